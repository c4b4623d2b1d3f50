/* SPDX-License-Identifier: MIT
 * checkcl.c - every kernel variant x a sample of its configurations against tests/ref.c, on one device
 *
 * The device is FLASHDEC_DEVICE's. In --tiny mode each variant runs in a process of its own, which this program
 * starts and watches: compilers of some drivers need minutes for a kernel, or never end, and only a process can be
 * stopped. The parent then makes no OpenCL call. A child tells of each plan it begins on a pipe (check_child.h). */
#include "check_child.h"
#include "checkcl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

enum { SKIP = 77, MAX_TRIALS = 32, MAX_SAMPLES = 4096, MAX_FAULTS = 32, MAX_BROKEN = 4, GIVE_UP = 2 };

struct check {
    const char *op, *style, *only, *kernel, *config;
    uint64_t seed;
    bool full, tiny, broken, no_device; /* children found none */
    int build_timeout_s;                /* tiny: of one plan with its runs */
    int start, progress;                /* child: the first plan to make; pipe to the parent, -1: none */

    fdec_ctx *ctx;
    cl_command_queue queue;
    int plans, passed, failed, timed_out;
    bool caught[MAX_BROKEN][MAX_FAULTS];
};

bool check_tiny(const struct check *c)
{
    return c->tiny;
}

const char *check_native(const struct check *c)
{
    return c->ctx->device.cpu_like ? "vec" : "wg";
}

bool check_full(const struct check *c)
{
    return c->full;
}

bool check_broken(const struct check *c)
{
    return c->broken;
}

bool check_filtered(const struct check *c)
{
    return c->style || c->kernel || c->config;
}

uint64_t check_seed(const struct check *c)
{
    return c->seed;
}

long check_number(const struct check *c)
{
    return c->only ? strtol(c->only, NULL, 10) : -1;
}

bool check_skips(const struct check *c, const char *text)
{
    return c->only && strcmp(c->only, text);
}

fdec_ctx *check_ctx(struct check *c)
{
    return c->ctx;
}

cl_command_queue check_queue_of(struct check *c)
{
    return c->queue;
}

void check_that(struct check *c, bool ok, const char *name, const char *what)
{
    c->passed += ok;
    c->failed += !ok;
    if (!ok)
        printf("FAIL %s: %s\n", name, what);
}

bool check_problem(struct check *c, const char *text, struct problem *p)
{
    char err[160];
    const bool ok = problem_parse(text, p, err, sizeof err);
    if (!ok)
        check_that(c, false, text, err);
    return ok;
}

/* ---- one plan, all its runs ---- */

struct group { /* of runs that share plans */
    const struct problem *plan;
    const char *note;
    const struct trial *trials;
    int n;
    char text[PROBLEM_TEXT + 64];
    struct workload *work[MAX_TRIALS];
    struct sieve sieve;
    bool no_plan; /* the last one could not be made */
};

static void name_trial(const struct group *g, int i, char *buf, size_t n)
{
    static const char *const fills[] = {"uniform", "outliers", "spikes", "equal", "nan",
                                        "wild",    "level",    "future", "ends"};
    static const char *const biases[] = {"", ", bias of keys", ", full bias", ", bias of a tree"};
    const struct trial *t = &g->trials[i];
    const struct attn_with *w = &t->with;
    struct problem p = *g->plan;
    char text[PROBLEM_TEXT];
    problem_set_range(&p, t->at);
    if (p.op == OP_ATTN && t->q_len)
        p.attn.q_len = t->q_len;
    problem_print(&p, text);
    const struct {
        bool on;
        const char *name;
    } flags[] = {
        {t->bias, "bias"},       {t->residual, "residual"}, {t->lse, "lse"},       {t->in_place, "in place"},
        {t->aligned, "aligned"}, {w->q_starts, "q_starts"}, {w->q_pos, "q_pos"},   {w->alibi, "alibi"},
        {w->sinks, "sinks"},     {w->phi, "phi"},           {w->bounds, "bounds"}, {w->state, "state"},
        {w->slots, "slots"},
    };
    snprintf(buf, n, "run %s, %s%s", text, fills[t->fill], biases[w->bias]);
    for (size_t f = 0; f < ARRAY_LEN(flags); f++)
        if (flags[f].on)
            append(buf, n, ", %s", flags[f].name);
}

static fdec_status make_workloads(struct check *c, struct group *g)
{
    fdec_status st = FDEC_OK;
    for (int i = 0; i < g->n; i++) {
        const struct trial *t = &g->trials[i];
        struct workload_spec spec = {
            .problem = *g->plan, .fill = t->fill, .seed = c->seed, .n_sets = 1, .reference = true, .with = t->with};
        spec.bias = t->bias, spec.residual = t->residual, spec.lse = t->lse, spec.in_place = t->in_place;
        spec.timed = t->aligned;
        problem_set_range(&spec.problem, t->at);
        if (g->plan->op == OP_ATTN && t->q_len)
            spec.problem.attn.q_len = t->q_len;
        try_st(workload_create(c->ctx, c->queue, &spec, &g->work[i]));
    }
out:
    return st;
}

/* The counters of an attention plan after one more run. */
static bool counts_hold(struct check *c, const struct kernel *k, const struct group *g, int i, fdec_plan *plan,
                        fdec_attn_counts *before, char *text, size_t n)
{
    const struct trial *t = &g->trials[i];
    const bool unified = !strcmp(k->family, "unified"), wild = t->fill == FILL_WILD;
    fdec_attn_counts now;
    if (fdec_attn_counts_read(plan, c->queue, &now)) {
        snprintf(text, n, "counters: %s", fdec_last_error());
        return false;
    }
    const uint64_t rows = now.rows_recomputed - before->rows_recomputed, lens = now.lens_clamped - before->lens_clamped,
                   blocks = now.blocks_clamped - before->blocks_clamped;
    *before = now;
    const bool fires = unified && t->guard == GUARD_FIRES, may = unified && t->guard != GUARD_QUIET;
    const bool paged = g->plan->attn.kv.page_size && t->at[1] > g->plan->attn.kv.page_size;
    const uint64_t wild_lens = wild ? (uint64_t) MIN(t->at[0], 2) : 0;
    if ((rows > 0) < fires || (rows > 0) > may)
        snprintf(text, n, "%" PRIu64 " rows recomputed, which is %s", rows, rows ? "not needed" : "too few");
    else if (t->with.q_starts ? (lens > 0) != wild : lens != wild_lens)
        snprintf(text, n, "%" PRIu64 " lengths or ranges clamped, not %d", lens, (int) wild_lens);
    else if ((blocks > 0) != (wild && paged))
        snprintf(text, n, "%" PRIu64 " blocks clamped", blocks);
    else
        return true;
    return false;
}

/* Two runs on poisoned outputs. */
static bool run_trial(struct check *c, const struct kernel *k, const struct group *g, int i, fdec_plan *plan,
                      fdec_attn_counts *counts, char *text, size_t n)
{
    uint64_t hash[2];
    double ratio;
    for (int run = 0; run < 2; run++) {
        if (workload_poison(g->work[i]) || workload_run(g->work[i], plan, 0, NULL)) {
            snprintf(text, n, "%s", fdec_last_error());
            return false;
        }
        if (!workload_check(g->work[i], &ratio, text, n))
            return false;
        hash[run] = workload_hash(g->work[i]);
        if (g->plan->op == OP_ATTN && !c->broken && !counts_hold(c, k, g, i, plan, counts, text, n))
            return false;
    }
    if (hash[0] != hash[1])
        snprintf(text, n, "two runs differ in their bits");
    return hash[0] == hash[1];
}

/* Returns the first run that is wrong, g->n: none; text then says why. A plan that cannot be made is wrong in its
 * first. */
static int run_plan(struct check *c, const struct kernel *k, const int *cfg, struct group *g, char *text, size_t n)
{
    const struct want want = {.kernel = k, .cfg = cfg};
    fdec_attn_counts counts = {0};
    fdec_plan *plan = NULL;
    int i = 0;
    if (c->progress >= 0)
        dprintf(c->progress, "b%d %d %d\n", c->plans, c->passed, c->failed);
    g->no_plan = plan_create_problem(c->ctx, g->plan, &want, &plan);
    if (g->no_plan)
        snprintf(text, n, "%s", fdec_last_error());
    else
        while (i < g->n && run_trial(c, k, g, i, plan, &counts, text, n))
            i++;
    fdec_plan_destroy(&plan);
    return i;
}

static void report(struct check *c, const struct kernel *k, const int *cfg, const struct group *g, int wrong,
                   const char *text)
{
    char config[160], run[PROBLEM_TEXT + 80];
    kernel_print_config(k, cfg, config, sizeof config);
    c->plans++;
    c->passed += wrong == g->n;
    c->failed += wrong < g->n;
    if (wrong == g->n)
        return;
    name_trial(g, wrong, run, sizeof run);
    printf("FAIL %s %s: plan %s\n     %s: %s\n     again: checkcl --seed %" PRIu64
           " --only '%s' --kernel %s --config '%s'%s\n",
           k->name, config, g->text, run, text, c->seed, g->text, k->name, config, c->tiny ? " --tiny" : "");
    fflush(stdout);
}

/* ---- which configurations ---- */

/* Kernels that are neither /vec nor /wg are of either style; "mma" is /mma alone. */
static bool has_style(const struct kernel *k, const char *style)
{
    if (style && !strcmp(style, "mma"))
        return strstr(k->name, "/mma");
    return !style || !strstr(k->name, strcmp(style, "wg") ? "/wg" : "/vec");
}

static bool wanted(const struct check *c, const struct kernel *k, enum op op, const struct sieve *s)
{
    if (k->op != op || (c->kernel && strcmp(k->name, c->kernel)))
        return false;
    return has_style(k, c->style) && has_style(k, s->style) && (!s->family || !strcmp(k->family, s->family));
}

/* Of a variant in a class: what the number of classes leaves time for. */
static const int samples_of[] = {[OP_ATTN] = 2, [OP_LINEAR] = 2, [OP_SOFTMAX] = 4};
struct sample {
    uint64_t order;
    int cfg[MAX_PARAMS];
};

static int by_order(const void *a, const void *b)
{
    const uint64_t x = ((const struct sample *) a)->order, y = ((const struct sample *) b)->order;
    return (x > y) - (x < y);
}

/* Do configurations a and b have a parameter in common that only the host knows? */
static bool share_host_param(const struct kernel *k, const int *a, const int *b)
{
    for (int i = 0; i < kernel_n_params(k); i++)
        if (k->params[i].host_only && a[i] == b[i])
            return true;
    return false;
}

/* The configurations of k to check p in: the analytic default, then others in an order that depends on the seed and
 * on what p fixes at compile time, so that plans of one class share programs. How the default splits its work others
 * do not, as far as they can. */
static int sample(const struct check *c, const struct kernel *k, const struct problem *p, int most, struct sample *out)
{
    const struct device *d = &c->ctx->device;
    char class_defines[MAX_DEFINES] = "";
    int at[MAX_PARAMS], cfg[MAX_PARAMS], first[MAX_PARAMS] = {0}, n = 0;
    if (k->define)
        k->define(p, class_defines);
    const uint64_t key = hash64(class_defines, strlen(class_defines), hash64(k->name, strlen(k->name), c->seed));
    const bool has_first = k->expect && kernel_expect(k, p, d, first) >= 0;
    kernel_first(k, at, cfg);
    do {
        if (k->reject(p, d, cfg) || n == MAX_SAMPLES)
            continue;
        char text[160];
        kernel_print_config(k, cfg, text, sizeof text);
        if (c->config && strcmp(c->config, text))
            continue;
        const bool is_first = has_first && !memcmp(cfg, first, (size_t) kernel_n_params(k) * sizeof *cfg);
        out[n].order = is_first ? 0 : hash64(text, strlen(text), key) >> 1;
        out[n].order |= (uint64_t) (!is_first && has_first && share_host_param(k, cfg, first)) << 63;
        memcpy(out[n++].cfg, cfg, sizeof cfg);
    } while (kernel_next(k, at, cfg));
    qsort(out, (size_t) n, sizeof *out, by_order);
    return c->full && !most ? n : MIN(n, c->tiny ? 1 : most ? most : samples_of[p->op]);
}

static void check_variants(struct check *c, struct group *g)
{
    static struct sample samples[MAX_SAMPLES];
    char text[1024];
    int accepted = 0;
    const bool unoptimised = c->ctx->device.unoptimised;
    for (const struct kernel *const *k = kernels; *k; k++) {
        c->ctx->device.unoptimised = unoptimised || (!c->full && !has_style(*k, check_native(c)));
        const int n = wanted(c, *k, g->plan->op, &g->sieve) ? sample(c, *k, g->plan, g->sieve.samples, samples) : 0;
        accepted += n;
        for (int i = 0; i < n; i++) {
            if (c->plans < c->start)
                c->plans++;
            else
                report(c, *k, samples[i].cfg, g, run_plan(c, *k, samples[i].cfg, g, text, sizeof text), text);
        }
    }
    c->ctx->device.unoptimised = unoptimised;
    if (!accepted && !c->kernel && !c->style)
        check_that(c, false, g->text, "every variant rejects it");
}

/* Fault 0 must pass everywhere; each other one must fail somewhere. */
static void check_faults(struct check *c, struct group *g)
{
    char text[1024];
    for (int b = 0; broken[b]; b++) {
        const struct param *faults = &broken[b]->params[0];
        for (size_t f = 0; broken[b]->op == g->plan->op && f < faults->n; f++) {
            const int cfg[MAX_PARAMS] = {faults->values[f]};
            if (c->caught[b][f] || broken[b]->reject(g->plan, &c->ctx->device, cfg))
                continue;
            const int wrong = run_plan(c, broken[b], cfg, g, text, sizeof text);
            if (f == 0)
                report(c, broken[b], cfg, g, wrong, text);
            else if ((c->caught[b][f] = wrong < g->n && !g->no_plan))
                printf("caught %s %s: %s\n", broken[b]->name, broken_name(broken[b], (int) f), text);
        }
    }
}

static void count_faults(struct check *c, bool (*op_wanted)(const struct check *c, enum op op))
{
    for (int b = 0; broken[b]; b++)
        for (size_t f = 1; op_wanted(c, broken[b]->op) && f < broken[b]->params[0].n; f++)
            check_that(c, c->caught[b][f], broken_name(broken[b], (int) f), "a wrong kernel was not caught");
}

void check_plan_by(struct check *c, const struct sieve *sieve, const struct problem *plan, const char *note,
                   const struct trial *trials, int n)
{
    struct group g = {.plan = plan, .note = note, .trials = trials, .n = MIN(n, MAX_TRIALS), .sieve = *sieve};
    problem_print(plan, g.text);
    if (*note)
        append(g.text, sizeof g.text, " %s", note);
    if (check_skips(c, g.text))
        return;
    if (make_workloads(c, &g))
        check_that(c, false, g.text, fdec_last_error());
    else if (c->broken)
        check_faults(c, &g);
    else
        check_variants(c, &g);
    for (int i = 0; i < g.n; i++)
        workload_destroy(&g.work[i]);
}

void check_plan(struct check *c, const struct problem *plan, const char *note, const struct trial *trials, int n)
{
    check_plan_by(c, &(struct sieve){0}, plan, note, trials, n);
}

/* ---- the program ---- */

static bool op_wanted(const struct check *c, enum op op)
{
    return !c->op || !strcmp(c->op, operations[op].name);
}

static fdec_status open_device(struct check *c)
{
    cl_platform_id platform;
    cl_device_id device;
    cl_int err;
    cl_command_queue_properties can = 0;
    fdec_status st = fdec_device_pick(NULL, &platform, &device);
    if (st)
        return st;
    const cl_context_properties props[] = {CL_CONTEXT_PLATFORM, (cl_context_properties) platform, 0};
    cl_context context = clCreateContext(props, 1, &device, NULL, NULL, &err);
    try_cl(err);
    st = fdec_ctx_create(context, device, NULL, &c->ctx);
    clReleaseContext(context);
    try_st(st);
    /* out of order where that exists: a launch that does not wait for the one before it shows */
    try_cl(clGetDeviceInfo(device, CL_DEVICE_QUEUE_PROPERTIES, sizeof can, &can, NULL));
    c->queue = clCreateCommandQueue(c->ctx->context, device, can & CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE, &err);
    try_cl(err);
out:
    return st;
}

static int run_here(struct check *c)
{
    const fdec_status st = open_device(c);
    if (st) {
        fprintf(stderr, "checkcl: %s\n", fdec_last_error());
        return st == FDEC_E_DEVICE && !c->ctx ? SKIP : 1;
    }
    if (c->progress < 0)
        printf("%s, seed %" PRIu64 "\n", c->ctx->device.name, c->seed);
    if (op_wanted(c, OP_ATTN))
        check_attn(c);
    if (op_wanted(c, OP_LINEAR))
        check_linear(c);
    if (op_wanted(c, OP_SOFTMAX))
        check_softmax(c);
    if (c->op && !strcmp(c->op, "random"))
        check_attn_random(c);
    if (!c->tiny && !c->broken && !c->only && !c->kernel && (!c->op || !strcmp(c->op, "api")))
        check_api(c);
    if (c->broken)
        count_faults(c, op_wanted);
    fdec_counters counters;
    fdec_ctx_counters(c->ctx, &counters);
    if (c->progress >= 0)
        dprintf(c->progress, "e%d %d %d\n", c->plans, c->passed, c->failed);
    else
        printf("%d plans, %" PRIu64 " programs compiled and %" PRIu64 " loaded in %.0f s\n", c->plans,
               counters.programs_compiled, counters.programs_from_cache, counters.compile_ms / 1000);
    clReleaseCommandQueue(c->queue);
    fdec_ctx_destroy(&c->ctx);
    return 0;
}

/* ---- a process for each variant ---- */

/* True: it has done what it could. */
static bool count_child(struct check *c, const struct child *ch, const char *kernel)
{
    c->passed += ch->passed;
    c->failed += ch->failed;
    if (ch->timed_out) {
        c->timed_out++;
        printf("TIMED OUT %s, plan %d: no answer within %d s\n", kernel, ch->at, c->build_timeout_s);
    } else if (!ch->ended && WIFEXITED(ch->status) && WEXITSTATUS(ch->status) == SKIP) {
        c->no_device = true;
        return true;
    } else if (!ch->ended) {
        c->failed++;
        printf("FAIL %s, plan %d: the process ended by %s %d\n", kernel, ch->at,
               WIFSIGNALED(ch->status) ? "signal" : "exit",
               WIFSIGNALED(ch->status) ? WTERMSIG(ch->status) : WEXITSTATUS(ch->status));
    }
    fflush(stdout);
    return ch->ended;
}

/* After a plan that never ends the variant goes on with its next plan, GIVE_UP times. */
static void run_children(struct check *c, char **argv, int argc)
{
    for (const struct kernel *const *k = kernels; *k; k++) {
        if ((*k)->op > OP_SOFTMAX || !op_wanted(c, (*k)->op) || !wanted(c, *k, (*k)->op, &(struct sieve){0}))
            continue;
        struct child ch = {.at = -1};
        for (int tries = 0; tries < GIVE_UP && !c->no_device; tries++) {
            if (!child_run(&ch, argv, argc, (*k)->name, ch.at + 1, c->build_timeout_s)) {
                check_that(c, false, (*k)->name, "cannot start a process");
                return;
            }
            if (count_child(c, &ch, (*k)->name))
                break;
        }
    }
}

static int usage(void)
{
    fprintf(stderr,
            "usage: checkcl [--op attn|linear|softmax|api|random] [--style wg|vec|mma] [--kernel NAME] [--seed N]\n"
            "               [--only PROBLEM|NUMBER] [--config TEXT] [--full] [--broken] [--tiny [--build-timeout S]]\n"
            "The device is FLASHDEC_DEVICE's. Exit status 0 passed, 1 failed, 2 usage, 77 no device.\n");
    return 2;
}

static bool parse_args(struct check *c, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i], *v = i + 1 < argc ? argv[i + 1] : NULL;
        bool *flag = !strcmp(a, "--full")     ? &c->full
                     : !strcmp(a, "--broken") ? &c->broken
                     : !strcmp(a, "--tiny")   ? &c->tiny
                                              : NULL;
        const char **text = !strcmp(a, "--op")       ? &c->op
                            : !strcmp(a, "--style")  ? &c->style
                            : !strcmp(a, "--only")   ? &c->only
                            : !strcmp(a, "--kernel") ? &c->kernel
                            : !strcmp(a, "--config") ? &c->config
                                                     : NULL;
        int *number = !strcmp(a, "--build-timeout") ? &c->build_timeout_s
                      : !strcmp(a, "--start")       ? &c->start
                      : !strcmp(a, "--progress")    ? &c->progress
                                                    : NULL;
        if (flag) {
            *flag = true;
            continue;
        }
        if (!v)
            return false;
        if (text)
            *text = v;
        else if (number)
            *number = atoi(v);
        else if (!strcmp(a, "--seed"))
            c->seed = strtoull(v, NULL, 0);
        else
            return false;
        i++;
    }
    return true;
}

int main(int argc, char **argv)
{
    struct check c = {.seed = 1, .build_timeout_s = 120, .progress = -1};
    if (!parse_args(&c, argc, argv))
        return usage();
    setvbuf(stdout, NULL, _IOLBF, 0);
    const bool parent = c.tiny && !c.kernel;
    if (parent)
        run_children(&c, argv, argc);
    const int status = !parent ? run_here(&c) : c.no_device ? SKIP : 0;
    if (status || c.progress >= 0)
        return status;
    if (c.timed_out)
        printf("%d timed out\n", c.timed_out);
    printf("%d passed, %d failed\n", c.passed, c.failed);
    return c.failed || !c.passed; /* nothing ran: a failure, too */
}
