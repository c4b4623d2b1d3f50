/* SPDX-License-Identifier: MIT
 * check.c - what a candidate has to get right before it is timed
 *
 * First the point itself, on the operands that it is timed with: each element within its bound of the double reference,
 * nothing written outside, and the same bits from a second run on outputs that were poisoned anew.
 *
 * Then small problems of the same class, from another seed, for which plans of the same program are made: values that
 * strain a kernel, the optional arguments, operands at odd offsets, sequences of different lengths. What is right by
 * the luck of one set of numbers, by alignment or for whole tiles alone, fails here. A reference of a small problem
 * takes milliseconds, and the worker makes it itself; only a linear layer's weights are as large as its class, so
 * that a large one is checked when it is measured again as one of the best, before it can get into a table. Then, too,
 * the small problems come once more with the work-items of each group numbered backwards: a missing barrier that the
 * order of items hides on this device fails. That costs a compile, and so only the best have it. */
#include "check.h"
#include "ctx.h"
#include "workload.h"

#include <math.h>
#include <string.h>

enum { SMALL_SEED = 2, SMALL_BATCH = 3, SMALL_LENGTH = 333, SMALL_ROWS = 5 };

void tune_spec(const struct problem *p, struct workload_spec *spec)
{
    *spec = (struct workload_spec){
        .problem = *p, .fill = FILL_UNIFORM, .seed = 1, .n_sets = 1, .timed = true, .reference = true};
}

/* ---- limits of the live device that reject() cannot know ---- */

bool check_limits(const fdec_plan *plan, const struct problem *p, char *text, size_t n)
{
    struct geometry g;
    const struct ready *r = plan_pick(plan, p, &g);
    const struct device *d = &plan->ctx->device;
    for (int i = g.first; i < g.n_launches; i++) {
        size_t items = 1, most = SIZE_MAX;
        cl_ulong local_bytes = 0;
        for (int dim = 0; dim < 3; dim++)
            items *= MAX(g.launch[i].local[dim], 1);
        clGetKernelWorkGroupInfo(r->sets[0][i], plan->ctx->device_id, CL_KERNEL_WORK_GROUP_SIZE, sizeof most, &most,
                                 NULL);
        clGetKernelWorkGroupInfo(r->sets[0][i], plan->ctx->device_id, CL_KERNEL_LOCAL_MEM_SIZE, sizeof local_bytes,
                                 &local_bytes, NULL);
        if (items > most)
            snprintf(text, n, "a group of %zu, the device takes %zu work-items of this kernel", items, most);
        else if (local_bytes > d->local_bytes)
            snprintf(text, n, "%zu bytes of local memory, the device has %zu", (size_t) local_bytes, d->local_bytes);
        else
            continue;
        return false;
    }
    return true;
}

/* ---- one workload ---- */

/* r is left as it is where both runs are right. first: the phase of the first run. */
static fdec_status run_twice(const struct checker *c, struct workload *w, fdec_plan *plan, const char *first,
                             struct result *r)
{
    fdec_status st = FDEC_OK;
    uint64_t hash[2];
    for (int run = 0; run < 2; run++) {
        double ratio;
        try_st(workload_poison(w));
        c->phase(run ? "again" : first);
        try_st(workload_run(w, plan, 0, NULL));
        try_cl(clFinish(c->queue));
        c->phase("check");
        if (!workload_check(w, &ratio, r->text, sizeof r->text)) {
            r->outcome = OUT_WRONG;
            return FDEC_OK;
        }
        r->error_ratio = fmax(r->error_ratio, ratio);
        hash[run] = workload_hash(w);
    }
    if (hash[0] != hash[1]) {
        r->outcome = OUT_UNSTABLE;
        snprintf(r->text, sizeof r->text, "two runs differ in their bits");
    }
out:
    return st;
}

fdec_status check_point(const struct checker *c, fdec_plan *plan, struct workload *w, struct result *r)
{
    return run_twice(c, w, plan, "first", r);
}

/* ---- small problems ---- */

/* What there is more than one of, one less, so that the last tile is not whole; and not many. */
static int64_t shrunk(int64_t n, int64_t most)
{
    return MIN(n > 1 ? n - 1 : n, most);
}

bool problem_at(const struct problem *p, const int64_t at[N_RANGES], char text[PROBLEM_TEXT], struct problem *out)
{
    char why[200];
    struct problem q = *p;
    problem_set_range(&q, at);
    problem_print(&q, text);
    return problem_parse(text, out, why, sizeof why);
}

/* p at another range; of linear layers with x normalised, which is the same program. False: the candidate does not take
 * it. */
static bool at_range(const struct checker *c, const struct candidate *candidate, const struct problem *p, int64_t first,
                     int64_t second, struct problem *small)
{
    char text[PROBLEM_TEXT];
    if (!problem_at(p, (const int64_t[N_RANGES]){first, second}, text, small))
        return false;
    if (p->op == OP_LINEAR)
        small->linear.norm = true, small->linear.eps = 1e-5f;
    return !candidate->kernel->reject(small, &c->ctx->device, candidate->cfg);
}

/* False: there is none. */
static bool small_problem(const struct checker *c, const struct candidate *candidate, const struct problem *p,
                          struct problem *small)
{
    int64_t at[N_RANGES];
    problem_range(p, at);
    if (p->op == OP_ATTN)
        return at_range(c, candidate, p, SMALL_BATCH, SMALL_LENGTH, small) ||
               at_range(c, candidate, p, MIN(at[0], SMALL_BATCH), shrunk(at[1], SMALL_LENGTH), small);
    return at_range(c, candidate, p, SMALL_ROWS, at[1], small) ||
           at_range(c, candidate, p, shrunk(at[0], SMALL_ROWS), at[1], small);
}

bool check_is_cheap(const struct problem *p)
{
    const int64_t few = 1 << 22; /* weights: a tenth of a second */
    return p->op != OP_LINEAR || p->linear.n * p->linear.k <= few;
}

/* The i-th workload of a small problem. False: there are no more. */
static bool small_spec(const struct problem *p, int i, struct workload_spec *spec)
{
    static const enum fill fills[][2] = {[OP_ATTN] = {FILL_UNIFORM, FILL_SPIKES},
                                         [OP_LINEAR] = {FILL_OUTLIERS, FILL_OUTLIERS},
                                         [OP_SOFTMAX] = {FILL_SPIKES, FILL_NAN}};
    const bool linear = p->op == OP_LINEAR;
    *spec = (struct workload_spec){.problem = *p, .seed = SMALL_SEED, .n_sets = 1, .reference = true};
    if (i == (linear ? 1 : 2))
        return false;
    spec->fill = fills[p->op][i];
    spec->lse = !linear;
    spec->bias = linear;
    spec->residual = linear && p->linear.n2 == 0;
    spec->in_place = spec->residual; /* what is stored twice adds twice */
    if (p->op == OP_ATTN && i == 0)
        spec->with = (struct attn_with){.bias = BIAS_FULL, .alibi = true, .sinks = true};
    return true;
}

static fdec_status check_one(const struct checker *c, fdec_plan *plan, const struct workload_spec *spec,
                             struct result *r)
{
    fdec_status st = FDEC_OK;
    struct workload *w = NULL;
    c->phase("setup");
    try_st(workload_create(c->ctx, c->queue, spec, &w));
    try_st(run_twice(c, w, plan, "again", r));
    if (r->outcome != OUT_OK) {
        char text[PROBLEM_TEXT], why[sizeof r->text];
        memcpy(why, r->text, sizeof why);
        problem_print(&spec->problem, text);
        snprintf(r->text, sizeof r->text, "%.100s, seed %d: %.80s", text, SMALL_SEED, why);
    }
out:
    workload_destroy(&w);
    return st;
}

static fdec_status check_plan(const struct checker *c, const struct candidate *candidate, const struct problem *small,
                              struct result *r)
{
    fdec_status st = FDEC_OK;
    struct workload_spec spec;
    fdec_plan *plan = NULL;
    c->phase("build");
    const struct want want = {.kernel = candidate->kernel, .cfg = candidate->cfg};
    try_st(plan_create_problem(c->ctx, small, &want, &plan));
    for (int i = 0; r->outcome == OUT_OK && small_spec(small, i, &spec); i++)
        try_st(check_one(c, plan, &spec, r));
out:
    fdec_plan_destroy(&plan);
    return st;
}

static bool has_groups(const struct problem *p, const struct device *d, const struct candidate *c)
{
    const struct geometry g = c->kernel->geometry(p, d, c->cfg);
    for (int i = g.first; i < g.n_launches; i++)
        if (g.launch[i].local[0] > 1)
            return true;
    return false;
}

fdec_status check_small(const struct checker *c, const struct candidate *candidate, const struct problem *p,
                        bool backwards, struct result *r)
{
    struct device *d = &c->ctx->device;
    struct problem small;
    if (!small_problem(c, candidate, p, &small))
        return FDEC_OK;
    fdec_status st = check_plan(c, candidate, &small, r);
    if (st != FDEC_OK || r->outcome != OUT_OK || !backwards || !has_groups(&small, d, candidate))
        return st;
    d->backwards = true;
    st = check_plan(c, candidate, &small, r);
    d->backwards = false;
    return st;
}
