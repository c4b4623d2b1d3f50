/* SPDX-License-Identifier: MIT
 * check_attn_random.c - attention: 10,000 random calls, each right, or refused with a text before anything happens
 *
 * A call is a plan and a run with random shapes and features, some of them out of range. What fixes a program comes
 * from a list of classes, so that programs are few; all else is free. Call number n is the same in every run with one
 * seed: "--only n" repeats it. */
#include "checkcl.h"
#include "inputs.h"
#include "util.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N_CALLS = 10000, N_CLASSES = 8, MAX_WORK = 60000 };
static const double least_accepted = 0.7;

struct numbers { /* of random numbers */
    uint64_t state;
};

static int below(struct numbers *s, int n)
{
    s->state = hash_mix(s->state);
    return (int) ((s->state >> 20) % (uint64_t) n);
}

static bool one_in(struct numbers *s, int n)
{
    return below(s, n) == 0;
}

/* ---- a random call ---- */

struct call {
    fdec_attn_params params;
    struct attn_with with;
    uint32_t batch, len, q_len; /* of the run */
    enum fill fill;
    bool lse, in_place;
};

/* Types, head dimensions and scheme of class i: never a pair that is refused. */
static void take_class(int i, fdec_attn_params *p)
{
    static const uint32_t dims[] = {8, 16, 32, 40, 64, 96, 128};
    struct numbers s = {hash_mix((uint64_t) i)};
    p->head_dim = dims[below(&s, ARRAY_LEN(dims))];
    p->v_head_dim = one_in(&s, 2) ? 0 : dims[below(&s, ARRAY_LEN(dims))];
    p->kv.k.type = (fdec_type) below(&s, p->head_dim % 32 ? 3 : 4);
    p->kv.v.type = (fdec_type) below(&s, (p->v_head_dim ? p->v_head_dim : p->head_dim) % 32 ? 3 : 4);
    p->q_type = (fdec_type) below(&s, 3);
    p->out_type = one_in(&s, 2) ? p->q_type : (fdec_type) below(&s, 3);
    p->scheme = (fdec_scheme) (FDEC_SCHEME_UNIFIED + i % 3);
}

static uint32_t random_len(struct numbers *s)
{
    return one_in(s, 40) ? 300 : 1 + (uint32_t) below(s, one_in(s, 4) ? 70 : 20);
}

static void random_layout(struct numbers *s, fdec_attn_params *p)
{
    static const uint32_t pages[] = {1, 2, 7, 16, 64, 1000};
    p->kv =
        (fdec_kv_layout){.k.type = p->kv.k.type, .v.type = p->kv.v.type}; /* not that of a size that was too large */
    if (one_in(s, 2)) {
        p->kv.page_size = pages[below(s, ARRAY_LEN(pages))];
        p->kv.n_blocks = p->max_batch * (uint32_t) div_up(p->max_len, p->kv.page_size) + (uint32_t) below(s, 3);
        p->kv.max_blocks = one_in(s, 2) ? 0 : (uint32_t) div_up(p->max_len, p->kv.page_size) + (uint32_t) below(s, 2);
    } else if (one_in(s, 2)) {
        p->kv.capacity = p->max_len + (uint32_t) below(s, 9);
        p->kv.n_blocks = p->max_batch + (uint32_t) below(s, 3);
    }
    const int64_t g = p->n_kv_heads, tokens = p->kv.page_size  ? p->kv.page_size
                                              : p->kv.capacity ? p->kv.capacity
                                                               : p->max_len;
    fdec_cache *const caches[] = {&p->kv.k, &p->kv.v};
    for (int i = 0; i < 2; i++) {
        const int64_t d = i && p->v_head_dim ? p->v_head_dim : p->head_dim;
        const int64_t gap = (caches[i]->type == FDEC_Q8_0 ? 32 : 1) * below(s, 4);
        if (one_in(s, 3)) {
            caches[i]->head_stride = d * tokens + gap;
            caches[i]->token_stride = d;
            caches[i]->block_stride = g * caches[i]->head_stride + gap;
        } else if (one_in(s, 3)) {
            caches[i]->token_stride = g * d + gap;
            caches[i]->block_stride = tokens * caches[i]->token_stride + gap;
        }
    }
}

static void random_params(struct numbers *s, fdec_attn_params *p)
{
    static const uint32_t groups[] = {1, 1, 2, 3, 4, 5, 8, 16}, queries[] = {0, 1, 1, 2, 3, 5, 8};
    p->max_batch = 1 + (uint32_t) below(s, 4);
    p->max_len = random_len(s);
    p->n_kv_heads = 1 + (uint32_t) below(s, 3);
    p->n_heads = p->n_kv_heads * groups[below(s, ARRAY_LEN(groups))];
    p->max_q_len = queries[below(s, ARRAY_LEN(queries))];
    p->scale = one_in(s, 3) ? 0.05f * (float) (1 + below(s, 10)) : 0;
    p->softcap = one_in(s, 4) ? (float) (1 + below(s, 100)) : 0;
    p->window = one_in(s, 4) ? 1 + (uint32_t) below(s, 40) : 0;
    p->mask = one_in(s, 4) ? FDEC_MASK_NONE : FDEC_MASK_CAUSAL;
    p->phi_source = (fdec_phi_source) below(s, FDEC_PHI_STATE + 1);
    p->phi = one_in(s, 6) ? (float) (below(s, 401) - 200) : 0;
    p->batch_invariant = p->phi_source != FDEC_PHI_STATE && one_in(s, 5);
    random_layout(s, p);
}

/* One thing that is wrong. */
static void spoil_params(struct numbers *s, fdec_attn_params *p)
{
    switch (below(s, 12)) {
    case 0: p->head_dim = (uint32_t) below(s, 600) | 1; break;
    case 1: p->v_head_dim = 584; break;
    case 2: p->n_heads = p->n_kv_heads * 129; break;
    case 3: p->n_kv_heads = p->n_heads + 1; break;
    case 4: p->max_q_len = 65; break;
    case 5: p->kv.k.type = (fdec_type) 4; break;
    case 6: p->head_dim = 40, p->kv.k = (fdec_cache){.type = FDEC_Q8_0}; break;
    case 7: p->batch_invariant = 1, p->phi_source = FDEC_PHI_STATE; break;
    case 8: p->softcap = NAN; break;
    case 9: p->q_type = FDEC_Q8_0; break;
    case 10: p->kv.v.token_stride = -1; break;
    default: p->max_len = 0;
    }
}

static struct call random_call(uint64_t seed, int number)
{
    struct numbers s = {hash_mix(seed) + (uint64_t) number};
    struct call x = {.params = FDEC_ATTN_PARAMS_INIT};
    static const enum fill fills[] = {FILL_UNIFORM, FILL_UNIFORM,  FILL_UNIFORM, FILL_SPIKES,
                                      FILL_NAN,     FILL_OUTLIERS, FILL_FUTURE,  FILL_LEVEL};
    take_class(below(&s, N_CLASSES), &x.params);
    do
        random_params(&s, &x.params);
    while ((uint64_t) x.params.max_len * x.params.n_heads * MAX(x.params.max_q_len, 1u) > MAX_WORK / 8);
    x.batch = 1 + (uint32_t) below(&s, (int) x.params.max_batch);
    x.len = one_in(&s, 2) ? x.params.max_len : 1 + (uint32_t) below(&s, (int) x.params.max_len);
    x.q_len = 1 + (uint32_t) below(&s, (int) MAX(x.params.max_q_len, 1u));
    x.fill = fills[below(&s, ARRAY_LEN(fills))];
    x.lse = one_in(&s, 2);
    x.in_place = one_in(&s, 3) && x.params.q_type == x.params.out_type && !x.params.v_head_dim;
    x.with = (struct attn_with){.q_starts = one_in(&s, 3),
                                .q_pos = one_in(&s, 3),
                                .alibi = one_in(&s, 4),
                                .sinks = one_in(&s, 4),
                                .phi = one_in(&s, 5),
                                .bounds = one_in(&s, 5),
                                .state = one_in(&s, 5),
                                .slots = one_in(&s, 2),
                                .bias = one_in(&s, 3) ? (enum bias_kind)(1 + below(&s, 3)) : BIAS_NONE,
                                .phi_shift = one_in(&s, 5) ? 200 : 0,
                                .state_shift = one_in(&s, 5) ? -200 : 0};
    if (one_in(&s, 8))
        spoil_params(&s, &x.params);
    return x;
}

/* ---- one call ---- */

enum outcome { RIGHT, REFUSED, WRONG };

static enum outcome run_call(struct check *c, const struct call *x, uint64_t seed, char *text, size_t n)
{
    fdec_plan *plan = NULL;
    struct workload *w = NULL;
    double ratio;
    bool right = false;
    const fdec_status st = fdec_attn_plan_create(check_ctx(c), &x->params, &plan);
    if (st) {
        const bool said = (st == FDEC_E_ARG || st == FDEC_E_UNSUPPORTED) && *fdec_last_error() && !plan;
        snprintf(text, n, "status %d, \"%s\"", (int) st, fdec_last_error());
        return said ? REFUSED : WRONG;
    }
    struct workload_spec spec = {.problem = plan->problem,
                                 .fill = x->fill,
                                 .seed = seed,
                                 .n_sets = 1,
                                 .reference = true,
                                 .lse = x->lse,
                                 .in_place = x->in_place,
                                 .with = x->with};
    spec.problem.attn.batch = x->batch, spec.problem.attn.len = x->len, spec.problem.attn.q_len = (int) x->q_len;
    if (workload_create(check_ctx(c), check_queue_of(c), &spec, &w) || workload_poison(w) ||
        workload_run(w, plan, 0, NULL))
        snprintf(text, n, "%s", fdec_last_error());
    else
        right = workload_check(w, &ratio, text, n);
    workload_destroy(&w);
    fdec_plan_destroy(&plan);
    return right ? RIGHT : WRONG;
}

static void print_call(const struct call *x)
{
    const fdec_attn_params *p = &x->params;
    const struct attn_with *w = &x->with;
    printf("     plan b=%u n=%u h=%u/%u d=%u/%u q=%u types k=%d v=%d q=%d out=%d scheme=%d phi=%d:%g cap=%g window=%u "
           "mask=%d "
           "invariant=%u\n",
           p->max_batch, p->max_len, p->n_heads, p->n_kv_heads, p->head_dim, p->v_head_dim, p->max_q_len,
           (int) p->kv.k.type, (int) p->kv.v.type, (int) p->q_type, (int) p->out_type, (int) p->scheme,
           (int) p->phi_source, (double) p->phi, (double) p->softcap, p->window, (int) p->mask, p->batch_invariant);
    printf("     run b=%u n=%u q=%u page=%u fill=%d lse=%d in_place=%d q_starts=%d q_pos=%d alibi=%d sinks=%d phi=%d "
           "bounds=%d "
           "state=%d slots=%d bias=%d\n",
           x->batch, x->len, x->q_len, p->kv.page_size, (int) x->fill, x->lse, x->in_place, w->q_starts, w->q_pos,
           w->alibi, w->sinks, w->phi, w->bounds, w->state, w->slots, (int) w->bias);
}

void check_attn_random(struct check *c)
{
    const uint64_t seed = check_seed(c);
    const long only = check_number(c);
    int counts[3] = {0};
    char text[700] = "", name[40];
    for (int i = 0; i < N_CALLS && counts[WRONG] < 20; i++) {
        if (only >= 0 && i != only)
            continue;
        const struct call x = random_call(seed, i);
        const enum outcome o = run_call(c, &x, seed + (uint64_t) i, text, sizeof text);
        counts[o]++;
        if (i % 1000 == 0 && only < 0)
            printf("random: %d of %d\n", i, (int) N_CALLS); /* a compiler may be slow, and nothing else is said */
        snprintf(name, sizeof name, "random %d", i);
        check_that(c, o != WRONG, name, text);
        if (o == WRONG || only >= 0)
            print_call(&x);
        if (o == WRONG)
            printf("     again: checkcl --op random --seed %llu --only %d\n", (unsigned long long) seed, i);
    }
    const int all = counts[RIGHT] + counts[REFUSED] + counts[WRONG];
    printf("random: %d calls, %d right, %d refused, %d wrong\n", all, counts[RIGHT], counts[REFUSED], counts[WRONG]);
    check_that(c, only >= 0 || counts[RIGHT] >= least_accepted * all, "random", "too few were accepted");
}
