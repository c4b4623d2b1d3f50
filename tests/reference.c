/* SPDX-License-Identifier: MIT
 * reference.c - the reference of a workload, made or read from its file */
#include "inputs.h"
#include "attn.h"
#include "linear.h"
#include "softmax.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static uint64_t n_doubles(const struct reference *r)
{
    return 2 * (r->n + r->n_lse + r->n_state);
}

static void reference_place(struct reference *r, double *at)
{
    r->out = at;
    r->bound = r->out + r->n;
    r->lse = r->bound + r->n;
    r->lse_bound = r->lse + r->n_lse;
    r->state = r->lse_bound + r->n_lse;
    r->state_bound = r->state + r->n_state;
}

static void reference_shape(const struct workload_spec *spec, struct reference *r)
{
    const struct problem *p = &spec->problem;
    *r = (struct reference){0};
    if (p->op == OP_LINEAR) {
        r->n = (size_t) (p->linear.m * p->linear.n);
        return;
    }
    if (p->op == OP_SOFTMAX) {
        r->n_lse = (size_t) p->softmax.rows, r->n = r->n_lse * (size_t) p->softmax.cols;
        return;
    }
    struct inputs in;
    inputs_shape(spec, &in);
    r->n_lse = (size_t) (in.n_q * p->attn.n_heads);
    r->n = r->n_lse * (size_t) p->attn.v_head_dim;
    r->n_state = in.at[ATTN_STATE].n;
}

/* The source of phi that a run has, in the order of flashdec.h; ATTN_PHI_GATED: bounds or state. */
static int source_of(const struct attn_problem *p, const struct inputs *in, bool capped)
{
    const bool state = in->at[ATTN_STATE].n && !p->invariant;
    if (p->phi_source != FDEC_PHI_AUTO || capped)
        return capped ? FDEC_PHI_CONSTANT : (int) p->phi_source;
    return in->at[ATTN_BOUNDS].n ? (state ? ATTN_PHI_GATED : FDEC_PHI_BOUNDS)
           : state               ? FDEC_PHI_STATE
           : in->at[ATTN_PHI].n  ? FDEC_PHI_PER_HEAD
                                 : FDEC_PHI_CONSTANT;
}

/* The largest |k| (which = 0) or |v_d| (1) that the blocks of the keys which a row sees have. */
static double bound_over(const struct attn_run *r, const float *bounds, int64_t b, int g, struct attn_span seen,
                         int which)
{
    const fdec_kv_layout *kv = &r->p->kv;
    double most = 0;
    for (int64_t t = seen.from; t < seen.to; t++) {
        const int64_t block = kv->page_size ? r->block_table[b * kv->max_blocks + t / kv->page_size] : b;
        if (block >= 0 && block < (int64_t) kv->n_blocks)
            most = fmax(most, (double) bounds[(block * r->p->n_kv_heads + g) * 2 + which]);
    }
    return most;
}

/* FDEC_PHI_BOUNDS: the most that a score can be, less what keeps its weight, times |v_d| and summed over all keys,
 * below 2^80. A split goes by its own blocks. NaN, which counts for nothing, where a bound is infinite. */
static double phi_by_bounds(const struct attn_run *r, const struct inputs *in, int64_t b,
                            const struct attn_queries *seq, int64_t i, int h)
{
    const struct attn_problem *p = r->p;
    const float *bounds = in->at[ATTN_BOUNDS].f, *q = r->q + ((seq->first + i) * p->n_heads + h) * p->head_dim;
    const int64_t len = MIN(MAX(r->lens[b], 0), p->len);
    const struct attn_span seen = attn_span_of(p, len, seq->pos + i);
    const int g = h / (p->n_heads / p->n_kv_heads);
    double square = 0;
    for (int d = 0; d < p->head_dim; d++)
        square += (double) q[d] * q[d];
    double most = fabs((double) p->scale) * sqrt(square) * bound_over(r, bounds, b, g, seen, 0);
    if (p->softcap > 0)
        most = fmin(most, p->softcap);
    const double keys = (double) MAX(seen.to - seen.from, 1), v = fmax(1, bound_over(r, bounds, b, g, seen, 1));
    const double phi = most + (r->bias ? attn_bias_max : 0) - 80 * log(2) + log(keys * v);
    return isfinite(phi) ? phi : NAN;
}

/* What `unified` takes for phi: [n_q, H]. */
static void phi_of_rows(const struct inputs *in, struct attn_run *run, float *phi)
{
    const struct attn_problem *p = run->p;
    const bool capped = p->phi_source == FDEC_PHI_AUTO && p->softcap > 0 && p->softcap <= 50;
    const int source = source_of(p, in, capped);
    const bool by_bounds = source == FDEC_PHI_BOUNDS || source == ATTN_PHI_GATED,
               by_state = source == FDEC_PHI_STATE || source == ATTN_PHI_GATED;
    const float *per_head = source == FDEC_PHI_CONSTANT ? NULL : in->at[ATTN_PHI].f;
    run->phi = phi;
    /* gated: a split may go by the state, which the guard lets pass within 80 ln 2 below and 76 ln 2 + ln n above */
    run->phi_slack = source == ATTN_PHI_GATED ? 80 * log(2) + log((double) p->len + 1) : by_bounds ? 80 * log(2) : 0;
    for (int64_t b = 0; b < p->batch; b++) {
        const struct attn_queries seq = attn_queries_of(run, b);
        const int64_t slot = slot_of(in, b);
        for (int64_t j = 0; j < seq.n * p->n_heads; j++) {
            const int h = (int) (j % p->n_heads);
            float *row = phi + seq.first * p->n_heads + j;
            *row = capped ? 0 : per_head ? per_head[h] : p->phi;
            if (by_state && slot >= 0 && in->at[ATTN_STATE].f[slot * p->n_heads + h] != 0)
                *row = in->at[ATTN_STATE].f[slot * p->n_heads + h];
            if (by_bounds)
                *row = (float) phi_by_bounds(run, in, b, &seq, j / p->n_heads, h);
        }
    }
}

/* The state afterwards: the LSE of each sequence's last query token, in its slot; 0, which says nothing to the next
 * step, where that is no finite number. */
static void reference_state(const struct attn_run *run, const struct inputs *in, struct reference *r)
{
    const int64_t heads = run->p->n_heads;
    for (size_t i = 0; i < r->n_state; i++)
        r->state[i] = REF_UNTOUCHED, r->state_bound[i] = 0;
    for (int64_t b = 0; r->n_state && b < run->p->batch; b++) {
        const struct attn_queries seq = attn_queries_of(run, b);
        const int64_t slot = slot_of(in, b), last = (seq.first + seq.n - 1) * heads;
        for (int64_t h = 0; slot >= 0 && seq.n && h < heads; h++) {
            const bool says = isfinite(r->lse[last + h]);
            r->state[slot * heads + h] = says ? r->lse[last + h] : 0;
            r->state_bound[slot * heads + h] = says ? r->lse_bound[last + h] : 0;
        }
    }
}

static fdec_status reference_attn(const struct workload_spec *spec, const struct inputs *in, struct reference *r)
{
    fdec_status st = FDEC_OK;
    struct attn_run run = attn_run_of(spec, in);
    float *phi = calloc((size_t) (in->n_q * spec->problem.attn.n_heads) + 1, sizeof *phi);
    try_alloc(phi);
    phi_of_rows(in, &run, phi);
    ref_attn(&run, r->out, r->bound, r->lse, r->lse_bound);
    reference_state(&run, in, r);
out:
    free(phi);
    return st;
}

fdec_status reference_make(const struct workload_spec *spec, const struct inputs *in, struct reference *r)
{
    fdec_status st = FDEC_OK;
    reference_shape(spec, r);
    double *at = malloc(n_doubles(r) * sizeof *at);
    try_alloc(at);
    reference_place(r, at);
    if (spec->problem.op == OP_ATTN)
        try_st(reference_attn(spec, in, r));
    else if (spec->problem.op == OP_LINEAR)
        ref_linear(&(struct linear_run){&spec->problem.linear, in->at[LINEAR_X].f, in->at[LINEAR_W].f,
                                        in->at[LINEAR_BIAS].f, in->at[LINEAR_RESIDUAL].f, in->at[LINEAR_NORM].f},
                   r->out, r->bound);
    else
        ref_softmax(&spec->problem.softmax, in->at[SOFTMAX_X].f, r->out, r->bound, r->lse, r->lse_bound);
out:
    if (st)
        reference_clear(r);
    return st;
}

void reference_clear(struct reference *r)
{
    if (r->map)
        munmap(r->map, r->map_bytes);
    else
        free(r->out);
    *r = (struct reference){0};
}

struct file_head {
    char magic[8];
    uint64_t key, n_doubles;
};
static const char MAGIC[8] = "fdecref3";

/* Of all that makes the reference. */
static uint64_t spec_key(const struct workload_spec *spec)
{
    const struct attn_problem *a = &spec->problem.attn;
    const struct attn_with *w = &spec->with;
    char text[PROBLEM_TEXT + 700];
    problem_print(&spec->problem, text);
    append(text, sizeof text, " fill=%d seed=%llu ragged=%d bias=%d residual=%d", (int) spec->fill,
           (unsigned long long) spec->seed, inputs_ragged(spec), spec->bias, spec->residual);
    const struct linear_problem *l = &spec->problem.linear;
    if (spec->problem.op == OP_LINEAR)
        append(text, sizeof text, " parts=%lld,%lld norm=%d:%a scale=%a cap=%a", (long long) l->n2, (long long) l->n3,
               l->norm, (double) l->eps, (double) l->scale, (double) l->softcap);
    if (spec->problem.op != OP_ATTN)
        return hash64(text, strlen(text), 0);
    append(text, sizeof text,
           " scale=%a cap=%a causal=%d phi=%d:%a blocks=%u,%u with=%d%d%d%d%d%d%d%d bias=%d %a %a %lld %llu",
           (double) a->scale, (double) a->softcap, a->causal, (int) a->phi_source, (double) a->phi, a->kv.n_blocks,
           a->kv.max_blocks, w->q_starts, w->q_pos, w->alibi, w->sinks, w->phi, w->bounds, w->state, w->slots,
           (int) w->bias, (double) w->phi_shift, (double) w->state_shift, (long long) w->first_sequence,
           (unsigned long long) w->page_seed);
    const fdec_cache *caches[] = {&a->kv.k, &a->kv.v};
    for (int i = 0; i < 2; i++)
        append(text, sizeof text, " strides=%lld,%lld,%lld", (long long) caches[i]->block_stride,
               (long long) caches[i]->token_stride, (long long) caches[i]->head_stride);
    for (int64_t b = 0; w->lens && b < a->batch; b++)
        append(text, sizeof text, " %d", (int) w->lens[b]);
    return hash64(text, strlen(text), 0);
}

fdec_status workload_write_reference(const struct workload_spec *spec, const char *path)
{
    struct inputs in = {0};
    struct reference r = {0};
    char *bytes = NULL;
    fdec_status st = FDEC_OK;
    try_st(inputs_make(spec, &in));
    try_st(reference_make(spec, &in, &r));
    inputs_clear(&in);
    struct file_head head = {.key = spec_key(spec), .n_doubles = n_doubles(&r)};
    memcpy(head.magic, MAGIC, sizeof MAGIC);
    bytes = malloc(sizeof head + head.n_doubles * sizeof *r.out);
    try_alloc(bytes);
    memcpy(bytes, &head, sizeof head);
    memcpy(bytes + sizeof head, r.out, head.n_doubles * sizeof *r.out);
    try_st(file_write_atomic(path, bytes, sizeof head + head.n_doubles * sizeof *r.out, 0600));
out:
    free(bytes);
    inputs_clear(&in);
    reference_clear(&r);
    return st;
}

fdec_status reference_map(const struct workload_spec *spec, const char *path, struct reference *r)
{
    struct stat info;
    fdec_status st = FDEC_OK;
    reference_shape(spec, r);
    const uint64_t doubles = n_doubles(r);
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &info))
        st = fail(FDEC_E_DATA, "%s: %s", path, strerror(errno));
    else if ((uint64_t) info.st_size != sizeof(struct file_head) + doubles * sizeof *r->out)
        st = fail(FDEC_E_DATA, "%s: not the size of this problem's reference", path);
    if (!st) {
        r->map_bytes = (size_t) info.st_size;
        r->map = mmap(NULL, r->map_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
        if (r->map == MAP_FAILED) {
            r->map = NULL;
            st = fail(FDEC_E_MEMORY, "%s: %s", path, strerror(errno));
        }
    }
    if (fd >= 0)
        close(fd);
    const struct file_head *head = r->map;
    if (!st && (memcmp(head->magic, MAGIC, sizeof MAGIC) || head->key != spec_key(spec) || head->n_doubles != doubles))
        st = fail(FDEC_E_DATA, "%s: the reference of another problem", path);
    if (st)
        reference_clear(r);
    else
        reference_place(r, (double *) (head + 1));
    return st;
}
