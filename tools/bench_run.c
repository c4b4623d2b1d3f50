/* SPDX-License-Identifier: MIT
 * bench_run.c - a sitting: one or more problems checked, then timed beside the roofline and the peers
 *
 * Memory of a shared machine changes its pace from second to second, so a round takes one sample of everything, one
 * after another: read bandwidth, multiply-add rate, and for each problem the library and each peer; each number
 * reported is the median over the rounds. */
#include "bench.h"
#include <stdlib.h>
#include <string.h>

static const double batch_us = 10000; /* what short runs are queued up to: the wait at the end costs little then */
static const double slow_peer = 20;   /* times the library's time: that one is sampled in fewer rounds */
enum { MAX_SETS = 1024, MAX_BATCH = 4096, SLOW_EVERY = 5, POINTS_PER_ROOF = 16 };

int bench_sets(const struct bench *b, double set_bytes)
{
    return (int) MIN(2 * (double) b->cache_bytes / set_bytes + 1, MAX_SETS);
}

/* ---- the library's contestant ---- */

fdec_status point_run(const struct point *pt, fdec_plan *plan, int set)
{
    struct workload *w = pt->sitting->workload;
    if (pt->problem.op == OP_LINEAR)
        workload_take_rows(w, pt->problem.linear.m);
    return workload_run(w, plan, set, NULL);
}

static fdec_status own_run(void *self, int set)
{
    const struct point *pt = self;
    return point_run(pt, pt->plan, set);
}

/* ---- timing ---- */

static fdec_status time_batch(struct bench *b, struct runner *r, int n, double *us)
{
    fdec_status st = FDEC_OK;
    const double begin = now_us();
    for (int i = 0; i < n; i++)
        try_st(r->run(r->self, (int) (b->n_runs++ % (unsigned) r->n_sets)));
    try_cl(clFinish(b->session.queue));
    *us = (now_us() - begin) / n;
out:
    return st;
}

/* Drivers compile at the first run, which was the check's. own_us: what the library takes; 0: r is the library. */
static fdec_status warm_up(struct bench *b, struct runner *r, double own_us, double *us)
{
    fdec_status st = FDEC_OK;
    *us = 0;
    try_st(time_batch(b, r, 1, us));
    if (*us < batch_us) /* these bring the clocks up */
        try_st(time_batch(b, r, (int) MAX(MIN(batch_us / *us, MAX_BATCH), 1), us));
    r->batch = (int) MAX(MIN(batch_us / *us, MAX_BATCH), 1);
    r->every = own_us > 0 && *us > batch_us && *us > slow_peer * own_us ? SLOW_EVERY : 1;
out:
    return st;
}

static fdec_status warm_up_all(struct sitting *s)
{
    fdec_status st = FDEC_OK;
    for (struct point *pt = s->points; pt < s->points + s->n_points; pt++) {
        double own_us = 0, us;
        for (int i = 0; pt->right && i < pt->n_runners; i++) {
            try_st(warm_up(s->bench, &pt->runners[i], own_us, &us));
            own_us = i ? own_us : us;
        }
    }
out:
    return st;
}

static fdec_status time_point(struct bench *b, struct point *pt, int round)
{
    fdec_status st = FDEC_OK;
    for (struct runner *r = pt->runners; pt->right && r < pt->runners + pt->n_runners; r++)
        if (round % r->every == 0)
            try_st(time_batch(b, r, r->batch, &r->us[r->n++]));
out:
    return st;
}

static void conclude(struct sitting *s)
{
    static double sorted[MAX_ROUNDS];
    for (struct point *pt = s->points; pt < s->points + s->n_points; pt++) {
        for (struct runner *r = pt->runners; r < pt->runners + pt->n_runners; r++) {
            memcpy(sorted, r->us, sizeof sorted);
            r->stats = stats_of(sorted, r->n);
        }
        pt->floor_us = 1e-3 * MAX(pt->bytes / s->read_gbps, pt->flops / s->fma_gflops);
    }
}

/* The roofline is sampled at the start of a round, and in a long one again and again. */
static fdec_status time_rounds(struct sitting *s)
{
    fdec_status st = FDEC_OK;
    struct bench *b = s->bench;
    const int most = b->rounds * (s->n_points / POINTS_PER_ROOF + 1);
    double *read = malloc((size_t) most * sizeof *read), *fma = malloc((size_t) most * sizeof *fma);
    int n = 0;
    try_alloc(read);
    try_alloc(fma);
    try_st(warm_up_all(s));
    const double begin = now_us();
    for (int round = 0; round < b->rounds; round++) {
        if (round && b->seconds > 0 && now_us() - begin > 1e6 * b->seconds)
            break;
        for (int i = 0; i < s->n_points; i++) {
            if (i % POINTS_PER_ROOF == 0) {
                try_st(roof_read_gbps(b->roof, &read[n]));
                try_st(roof_fma_gflops(b->roof, &fma[n]));
                n++;
            }
            try_st(time_point(b, &s->points[i], round));
        }
    }
    s->read_gbps = stats_of(read, n).median;
    s->fma_gflops = stats_of(fma, n).median;
    conclude(s);
out:
    free(read);
    free(fma);
    return st;
}

/* ---- one sitting ---- */

static fdec_status make_workload(struct sitting *s)
{
    struct bench *b = s->bench;
    struct workload_spec spec = {.problem = s->points[0].problem,
                                 .fill = FILL_UNIFORM,
                                 .seed = 1,
                                 .n_sets = 1,
                                 .timed = true,
                                 .reference = true};
    s->n_sets = s->residence == IN_CACHE ? 1 : MAX(bench_sets(b, (double) workload_set_bytes(&spec)), 2);
    spec.n_sets = s->n_sets;
    spec.problem = s->points[s->n_points - 1].problem;
    const double bytes = s->n_sets * (double) workload_set_bytes(&spec),
                 global_bytes = (double) b->session.ctx->device.global_bytes;
    if (bytes > global_bytes) /* before the host tries to make as many numbers */
        return fail(FDEC_E_MEMORY, "%d sets of operands need %.1f GiB, the device has %.1f", s->n_sets,
                    bytes / 1073741824.0, global_bytes / 1073741824.0);
    return workload_create(b->session.ctx, b->session.queue, &spec, &s->workload);
}

fdec_status sitting_check(struct point *pt, const struct runner *r, bool *right, double *ratio, char *why, size_t n)
{
    fdec_status st = FDEC_OK;
    struct workload *w = pt->sitting->workload;
    if (pt->problem.op == OP_LINEAR)
        workload_take_rows(w, pt->problem.linear.m);
    try_st(workload_poison(w));
    try_st(r->run(r->self, 0));
    if (r->deliver)
        try_st(r->deliver(r->self));
    try_cl(clFinish(pt->sitting->bench->session.queue));
    *right = workload_check(w, ratio, why, n);
out:
    return st;
}

static fdec_status plan_point(struct point *pt)
{
    fdec_status st = FDEC_OK;
    try_st(plan_create_problem(pt->sitting->bench->session.ctx, &pt->problem, &pt->sitting->want, &pt->plan));
    pt->choice = &plan_pick(pt->plan, &pt->problem, &(struct geometry){0})->choice;
    pt->bytes = problem_bytes(&pt->problem);
    pt->flops = problem_flops(&pt->problem);
out:
    return st;
}

static fdec_status check_point(struct point *pt)
{
    fdec_status st = FDEC_OK;
    char text[PROBLEM_TEXT], why[512];
    pt->runners[0] = (struct runner){.name = "flashdec", .run = own_run, .self = pt, .n_sets = pt->sitting->n_sets};
    pt->n_runners = 1;
    try_st(sitting_check(pt, &pt->runners[0], &pt->right, &pt->max_error_ratio, why, sizeof why));
    problem_print(&pt->problem, text);
    if (!pt->right)
        fprintf(stderr, "flashdec-bench: %s: wrong result: %s\n", text, why);
    if (!pt->right || pt->sitting->residence == IN_CACHE)
        return st;
    if (pt->sitting->bench->without_table)
        untuned_add(pt);
    if (pt->sitting->bench->peers)
        peers_add(pt);
out:
    return st;
}

enum outcome sitting_open(struct bench *b, const struct problem *problems, int n, const struct want *want,
                          enum residence residence, struct sitting **out)
{
    fdec_status st = FDEC_OK;
    bool refused = true, right = true;
    int at = 0; /* the point that a failure is about */
    char text[PROBLEM_TEXT];
    struct sitting *s = calloc(1, sizeof *s);
    try_alloc(s);
    try_alloc(s->points = calloc((size_t) n, sizeof *s->points));
    s->bench = b;
    s->want = *want;
    s->residence = residence;
    for (s->n_points = 0; s->n_points < n; s->n_points++) {
        at = s->n_points;
        s->points[at].sitting = s;
        s->points[at].problem = problems[at];
        try_st(plan_point(&s->points[at]));
    }
    refused = false;
    try_st(make_workload(s));
    for (at = 0; at < n; at++) {
        try_st(check_point(&s->points[at]));
        right &= s->points[at].right;
    }
    at = n - 1;
    try_st(time_rounds(s));
    *out = s;
    return right ? BENCH_OK : BENCH_WRONG;
out:
    problem_print(&problems[at], text);
    fprintf(stderr, "flashdec-bench: %s: %s\n", text, fdec_last_error());
    sitting_close(&s);
    return refused && (st == FDEC_E_ARG || st == FDEC_E_UNSUPPORTED) ? BENCH_REFUSED : BENCH_ERROR;
}

void sitting_close(struct sitting **sitting)
{
    struct sitting *s = *sitting;
    if (!s)
        return;
    for (int i = 0; i < s->n_points; i++) {
        struct point *pt = &s->points[i];
        for (int j = 1; j < pt->n_runners; j++)
            pt->runners[j].destroy(pt->runners[j].self);
        fdec_plan_destroy(&pt->plan);
    }
    peers_close(s);
    workload_destroy(&s->workload);
    free(s->points);
    free(s);
    *sitting = NULL;
}

enum outcome bench_problem(struct bench *b, const struct problem *p, const char *family)
{
    struct sitting *s = NULL;
    const enum outcome o = sitting_open(b, p, 1, &(struct want){.family = family}, IN_MEMORY, &s);
    if (s) {
        bench_print(b, &s->points[0]);
        b->last_us = s->points[0].runners[0].stats.median;
    }
    sitting_close(&s);
    return o;
}
