/* SPDX-License-Identifier: MIT
 * bench_sweep.c - M = 1..64 of one [N, K], and whether a row more ever costs more than it must
 *
 *   step   t(M) <= 1.15 t(M - 1), M = 2..64, where M is memory-bound: W is read anyway, so another row is nearly free
 *   pad    t(M) <= 1.05 min(M t(1), t(next power of two >= M)): neither M single rows nor a padded problem is faster
 *
 * Where M is memory-bound is judged by the floor, in which a weight costs one multiply-add and taking a block apart
 * nothing. So an M whose step is too long is timed once more, the same kernel on so few rows of W that they stay in the
 * cache: if that is no faster than memory brings M's bytes, the step is the kernel's arithmetic. It is told beside the
 * violation, which counts all the same. A wrong result anywhere: nothing is judged. */
#include "bench.h"

enum { MAX_M = 64, MIN_ROWS = 64, CACHE_PARTS = 2 };

const char *const rule_names[N_RULES] = {[RULE_STEP] = "step", [RULE_PAD] = "pad"};
const double rule_limits[N_RULES] = {[RULE_STEP] = 1.15, [RULE_PAD] = 1.05};

static double time_of(const struct sitting *s, int m, int round)
{
    return s->points[m - 1].runners[0].us[round];
}

/* Of one round: memory that changes its pace between rounds does so to both. */
static double ratio_of(const struct sitting *s, enum rule rule, int m, int round)
{
    int power = 2;
    while (power < m)
        power *= 2;
    const double against =
        rule == RULE_STEP ? time_of(s, m - 1, round) : MIN(m * time_of(s, 1, round), time_of(s, power, round));
    return time_of(s, m, round) / against;
}

static void judge(const struct sitting *s, struct verdicts *v, enum rule rule, int m)
{
    static double ratios[MAX_ROUNDS];
    const int n = s->points[m - 1].runners[0].n;
    for (int round = 0; round < n; round++)
        ratios[round] = ratio_of(s, rule, m, round);
    const struct verdict verdict = {.rule = rule, .m = m, .ratio = stats_of(ratios, n)};
    v->n_checked[rule]++;
    if (verdict.ratio.median > v->worst[rule].ratio.median)
        v->worst[rule] = verdict;
    if (verdict.ratio.median > rule_limits[rule]) {
        v->broken[v->n++] = verdict;
        v->n_broken[rule]++;
    }
}

static void judge_all(const struct sitting *s, struct verdicts *v)
{
    for (int m = 2; m <= MAX_M; m++) {
        const struct point *pt = &s->points[m - 1];
        if (pt->bytes / s->read_gbps >= pt->flops / s->fma_gflops)
            judge(s, v, RULE_STEP, m);
        judge(s, v, RULE_PAD, m);
    }
}

/* pt->choice on n rows of W, over and over. */
static enum outcome time_rows(const struct point *pt, int64_t n, double *us)
{
    const struct want want = {.kernel = pt->choice->kernel, .cfg = pt->choice->cfg};
    struct problem p = pt->problem;
    struct sitting *s = NULL;
    p.linear.n = n;
    const enum outcome o = sitting_open(pt->sitting->bench, &p, 1, &want, IN_CACHE, &s);
    if (o == BENCH_OK)
        *us = s->points[0].runners[0].stats.median;
    sitting_close(&s);
    return o;
}

/* What all rows would take if they came from the cache: the line through two numbers of rows that fit into a part of
 * it, so that what a launch costs counts once. */
static enum outcome time_cached(const struct point *pt, double *us)
{
    const double fitting = (double) pt->sitting->bench->cache_bytes / CACHE_PARTS;
    const int64_t n = pt->problem.linear.n;
    struct problem p = pt->problem;
    while (p.linear.n > MIN_ROWS && problem_bytes(&p) > fitting)
        p.linear.n = (p.linear.n + 1) / 2;
    const int64_t many = p.linear.n, few = (many + 3) / 4;
    double of_few = 0;
    enum outcome o = time_rows(pt, many, us);
    if (o != BENCH_OK || many == n)
        return o;
    o = time_rows(pt, few, &of_few);
    *us += (*us - of_few) * (double) (n - many) / (double) (many - few);
    return o;
}

static enum outcome explain_steps(const struct sitting *s, struct verdicts *v)
{
    enum outcome o = BENCH_OK;
    for (struct verdict *broken = v->broken; o == BENCH_OK && broken < v->broken + v->n; broken++) {
        const struct point *pt = &s->points[broken->m - 1];
        if (broken->rule != RULE_STEP)
            continue;
        broken->bytes_us = 1e-3 * pt->bytes / s->read_gbps;
        o = time_cached(pt, &broken->cached_us);
    }
    return o;
}

enum outcome bench_sweep(struct bench *b, const struct problem *p, const char *family, const char *svg)
{
    static struct problem problems[MAX_M];
    struct verdicts v = {0};
    struct sitting *s = NULL;
    for (int m = 1; m <= MAX_M; m++) {
        problems[m - 1] = *p;
        problems[m - 1].linear.m = m;
    }
    enum outcome o = sitting_open(b, problems, MAX_M, &(struct want){.family = family}, IN_MEMORY, &s);
    for (int i = 0; s && i < MAX_M; i++)
        bench_print(b, &s->points[i]);
    if (o == BENCH_OK) {
        judge_all(s, &v);
        o = explain_steps(s, &v);
    }
    if (o == BENCH_OK)
        bench_print_verdicts(b, s, &v);
    if (s && svg && plot_sweep(s, svg)) {
        fprintf(stderr, "flashdec-bench: %s\n", fdec_last_error());
        o = BENCH_ERROR;
    }
    sitting_close(&s);
    return o;
}
