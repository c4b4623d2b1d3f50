/* SPDX-License-Identifier: MIT
 * bench_sweep.c - M = 1..64 of one [N, K], and whether a row more ever costs more than it must
 *
 *   step   t(M) <= 1.15 t(M - 1), M = 2..64, where M is memory-bound: W is read anyway, so another row is nearly free
 *   pad    t(M) <= 1.05 min(M t(1), t(next power of two >= M)): neither M single rows nor a padded problem is faster */
#include "bench.h"
#include <stdlib.h>

enum { MAX_M = 64 };

const char *const rule_names[N_RULES] = {[RULE_STEP] = "step", [RULE_PAD] = "pad"};
const double rule_limits[N_RULES] = {[RULE_STEP] = 1.15, [RULE_PAD] = 1.05};

static double time_of(const struct sitting *s, int m)
{
    return s->points[m - 1].runners[0].stats.median;
}

/* against: 0: M was not timed, or what it is compared with was not. */
static void judge(struct verdicts *v, enum rule rule, int m, double us, double against)
{
    const struct verdict verdict = {rule, m, us / against};
    if (!(us > 0 && against > 0))
        return;
    v->n_checked[rule]++;
    if (verdict.ratio > v->worst[rule].ratio)
        v->worst[rule] = verdict;
    if (verdict.ratio > rule_limits[rule]) {
        v->broken[v->n++] = verdict;
        v->n_broken[rule]++;
    }
}

static void judge_all(const struct sitting *s, struct verdicts *v)
{
    for (int m = 2; m <= MAX_M; m++) {
        const struct point *pt = &s->points[m - 1];
        int power = 2;
        while (power < m)
            power *= 2;
        if (pt->bytes / s->read_gbps >= pt->flops / s->fma_gflops)
            judge(v, RULE_STEP, m, time_of(s, m), time_of(s, m - 1));
        judge(v, RULE_PAD, m, time_of(s, m), MIN(m * time_of(s, 1), time_of(s, power)));
    }
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
    enum outcome o = sitting_open(b, problems, MAX_M, family, &s);
    for (int i = 0; s && i < MAX_M; i++)
        bench_print(b, &s->points[i]);
    if (s) {
        judge_all(s, &v);
        bench_print_verdicts(b, s, &v);
    }
    if (s && svg && plot_sweep(s, svg)) {
        fprintf(stderr, "flashdec-bench: %s\n", fdec_last_error());
        o = BENCH_ERROR;
    }
    sitting_close(&s);
    return o;
}
