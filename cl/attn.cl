/* SPDX-License-Identifier: MIT
 * attn.cl - decode attention: softmax(scores of the visible keys) V for the last tokens of each sequence
 *
 *   score(t) = cap(scale * q . K[t]) + alibi * (t - position) + bias[t]        shapes and features: flashdec.h
 *
 * A row is one (query token, query head). The rows of one (sequence, kv head) are numbered i*GROUP + head in group, and
 * cut into chunks of CHUNK; a chunk's keys are read once for all of its rows.
 * Launch 1, attn_vec, attn_wg or attn_mma (in files of these names): the keys that a chunk sees are cut into splits;
 * each gives a partial per row,
 *
 *     (num[DV], den, n)   standing for   num * 2^n = sum_t e^score v_t   and   den * 2^n = sum_t e^score
 *
 * with n integer-valued, so that changing it is exact. Launch 2, attn_merge: N = max (n + exponent of den), sums of num
 * and den times 2^(n-N), one division, LSE = ln den + N ln 2; attn_vec does that itself where there are one split and
 * one chunk. The schemes differ only in when n moves:
 *   unified  never: n = round(phi log2 e), no maximum is taken. Guarded afterwards: a partial with !(den and every
 *            |num| <= 2^80 && den >= n_keys * 2^-76) is redone at once as `pair` and counted (with its neighbours in a
 *            block of ROWS or CHUNK rows, which are not). Below: the mass lost to underflow is under 2^-50 of the row.
 *            Above: 2^80, far from overflow, because the merge drops a partial where 2^(n-N) is under 2^-126: of a row
 *            of weight 1 or more, under 2^-47.
 *   online   whenever the maximum of a tile of keys is larger
 *   pair     when it is larger by more than 2^32: (m, n) arithmetic, hardly ever rescaled, cannot overflow
 * A partial without keys has n = -inf, and nothing else of it counts; a row of nothing else gives out = 0, lse = -inf
 * or the sink.
 * Scores of -inf have n = EXP_NONE. Keys that a row does not see (past its position, before its window, of bias -inf,
 * in a block outside the pool) are never multiplied, not even by 0: what lies there may be NaN.
 *
 * work, R = B*Q*H rows, S = n_splits, floats:   num [R][S][DV] | den [R][S] | n [R][S]
 *
 * counts: [0] (row, split) out of range under `unified`; [1] sequences whose length or query tokens are out of range;
 * [2] (page, span of kv heads of a task) whose block id is outside 0..n_blocks-1 (-1 as well) and of which a row wants
 * a key.
 *
 * Results repeat bit for bit: fixed order everywhere, no floating atomics, nothing contracted.
 *
 * K_TYPE, V_TYPE (f32, f16, bf16, q8_0), Q_TYPE, OUT_TYPE (f32, f16, bf16), HEAD_DIM, V_DIM, SCHEME (fdec_scheme): the
 * problem.
 * vec: WIDTH, ROWS, TILE, PREFETCH; wg: WG, TILE, CHUNK; mma: WAVES, TILE, CHUNK. ATTN_MERGE: launch 2 alone, with
 * WIDTH or WG. */
#if !defined(HEAD_DIM) || !defined(V_DIM) || !defined(K_TYPE) || !defined(V_TYPE) || !defined(Q_TYPE) || \
    !defined(OUT_TYPE) || !defined(SCHEME)
#error "attn.cl needs HEAD_DIM, V_DIM, K_TYPE, V_TYPE, Q_TYPE, OUT_TYPE and SCHEME"
#endif
#include "attn.h"
#ifdef WAVES
#include "mma.h"
#define WG        (WAVES * MMA_LANES)
#define PAIR_LINE (TILE + ATTN_MMA_APART)
#else
#define PAIR_LINE TILE
#endif
#ifdef WG
#define EXP_WIDTH 1
#define WIDTH     ATTN_WG_WIDTH
#define BLOCK_SPACE local
#else
#define EXP_WIDTH WIDTH
#define CHUNK     ATTN_VEC_CHUNK
#endif
#include "load.h"
#define K_T   PASTE(T_, K_TYPE)
#define V_T   PASTE(T_, V_TYPE)
#define Q_T   PASTE(T_, Q_TYPE)
#define OUT_T PASTE(T_, OUT_TYPE)
#include "exp.h"
#include "shuffle.h"

enum { UNIFIED = 1, ONLINE = 2, PAIR = 3 };                                /* fdec_scheme */
enum { PHI_CONSTANT = 1, PHI_PER_HEAD = 2, PHI_BOUNDS = 3, PHI_STATE = 4 }; /* fdec_phi_source */
#define SLACK   (SCHEME == ONLINE ? 0.0f : 32.0f)
#define K_VECS  ((HEAD_DIM + WIDTH - 1) / WIDTH)
#define V_VECS  ((V_DIM + WIDTH - 1) / WIDTH)
#define K_ROW(p, j)        PASTE(load_, K_TYPE)(p, j, HEAD_DIM)
#define V_ROW(p, j)        PASTE(load_, V_TYPE)(p, j, V_DIM)
#define K_ROW_ALIGNED(p, j) PASTE(load_aligned_, K_TYPE)(p, j, HEAD_DIM)
#define V_ROW_ALIGNED(p, j) PASTE(load_aligned_, V_TYPE)(p, j, V_DIM)
#define Q_ROW(p, j)        PASTE(load_, Q_TYPE)(p, j, HEAD_DIM)
#define OUT_STORE(v, p, j) PASTE(store_, OUT_TYPE)(v, p, j, V_DIM)

struct args {
    ATTN_BUFFERS(BUFFER_FIELD)
    ATTN_SCALARS(SCALAR_MEMBER)
};
#define TAKE_ARGS(a) \
    struct args a; \
    ATTN_BUFFERS(BUFFER_KEEP) \
    ATTN_SCALARS(SCALAR_KEEP)

/* One sequence of the batch. */
struct sequence {
    int b, len;
    int q_begin, n_tokens; /* its query tokens, in rows of q */
    i64 pos;               /* of the first of them */
    bool clamped;          /* a number on the device was out of range */
};

INLINE struct sequence find_sequence(const struct args *a, int b)
{
    struct sequence s;
    s.b = b;
    s.len = clamp(a->lens[b], 0, a->max_len);
    s.q_begin = b * a->q_len;
    s.n_tokens = a->q_len;
    s.clamped = s.len != a->lens[b];
    if (a->q_starts) {
        const int from = a->q_starts[b], to = a->q_starts[b + 1];
        s.q_begin = clamp(from, 0, a->n_q);
        const int end = clamp(to, s.q_begin, a->n_q);
        s.n_tokens = min(end - s.q_begin, a->q_len);
        s.clamped = s.clamped || s.q_begin != from || s.q_begin + s.n_tokens != to;
    }
    s.pos = a->q_pos ? a->q_pos[b] : (i64) s.len - s.n_tokens;
    return s;
}

/* The keys lo..hi-1 that query token i of a sequence sees. */
INLINE int first_visible(const struct args *a, const struct sequence *s, int i)
{
    return a->window ? (int) clamp(s->pos + i - a->window + 1, (i64) 0, (i64) s->len) : 0;
}

INLINE int end_visible(const struct args *a, const struct sequence *s, int i)
{
    return a->causal || a->window ? (int) clamp(s->pos + i + 1, (i64) 0, (i64) s->len) : s->len;
}

/* What one work-item or group of launch 1 does: rows row .. row + n_rows - 1 of the sequence's kv heads g .. g + n_g -
 * 1, keys begin..end-1. */
struct task {
    struct sequence s;
    int g, n_g, group;
    int row, n_rows;
    int split, begin, end;
    int last; /* end of the keys of the splits after it, too: the next work-group's */
    int fresh; /* the first key that no earlier chunk sees */
};

/* Splits are whole multiples of `unit` keys from a multiple of `unit` on. Of one size (split_keys), or as even as can
 * be and not below ATTN_LEAST_SPLIT: the keys that the chunk sees decide, not the batch's longest sequence. */
INLINE void find_split(struct task *k, const struct args *a, int unit)
{
    const int first = k->row / k->group, last = (k->row + k->n_rows - 1) / k->group;
    const int lo = first_visible(a, &k->s, first), hi = end_visible(a, &k->s, last), base = lo / unit * unit;
    k->fresh = k->row ? max(lo, end_visible(a, &k->s, (k->row - 1) / k->group)) : lo;
    if (a->split_keys > 0) {
        const i64 from = (i64) k->split * a->split_keys;
        k->begin = (int) clamp(from, (i64) base, (i64) max(hi, base));
        k->end = (int) clamp(from + a->split_keys, (i64) base, (i64) max(hi, base));
        k->last = max(hi, k->end);
        return;
    }
    const i64 n_units = max(hi - base + unit - 1, 0) / unit;
    const i64 n_used = clamp((n_units * unit + ATTN_LEAST_SPLIT - 1) / ATTN_LEAST_SPLIT, (i64) 1, (i64) a->n_splits);
    const i64 used = min((i64) k->split, n_used), next = min((i64) k->split + 1, n_used);
    k->begin = base + (int) (n_units * used / n_used) * unit;
    k->end = min(max(hi, base), base + (int) (n_units * next / n_used) * unit);
    k->last = max(hi, k->end);
}

/* A chunk without rows has no keys. */
INLINE void find_task(struct task *k, const struct args *a, int unit)
{
    const int group = a->n_heads / a->n_kv_heads, n_chunks = (a->q_len * group + CHUNK - 1) / CHUNK;
    const size_t id = get_group_id(0);
    const int chunk = id % n_chunks;
    k->s = find_sequence(a, (int) (id / n_chunks / a->n_splits));
    k->split = id / n_chunks % a->n_splits;
    k->g = get_group_id(1) * a->span;
    k->n_g = min(a->span, a->n_kv_heads - k->g);
    k->group = group;
    k->row = chunk * CHUNK;
    k->n_rows = clamp(k->s.n_tokens * group - k->row, 0, (int) CHUNK);
    k->begin = k->end = k->last = k->fresh = 0;
    if (k->s.clamped && chunk == 0 && k->g == 0 && k->split == 0 && get_local_id(0) == 0)
        atomic_inc(a->counts + 1);
    if (k->n_rows > 0)
        find_split(k, a, unit);
}

/* Query token and query head of row r of kv head g. */
INLINE int token_of(const struct task *k, int r)
{
    return (k->row + r) / k->group;
}

INLINE int head_of(const struct task *k, int g, int r)
{
    return g * k->group + (k->row + r) % k->group;
}

INLINE global const Q_T *q_row(const struct args *a, const struct task *k, int g, int r)
{
    return a->q + ((size_t) (k->s.q_begin + token_of(k, r)) * a->n_heads + head_of(k, g, r)) * HEAD_DIM;
}

/* Place of a row's partial among the R*S. */
INLINE size_t partial_of(const struct args *a, const struct task *k, int g, int r)
{
    const size_t row = ((size_t) k->s.b * a->q_len + token_of(k, r)) * a->n_heads + head_of(k, g, r);
    return row * a->n_splits + k->split;
}

INLINE size_t n_partials(const struct args *a)
{
    return (size_t) a->batch * a->q_len * a->n_heads * a->n_splits;
}

INLINE global float *num_of(const struct args *a, size_t partial)
{
    return a->work + partial * V_DIM;
}

INLINE void store_den(const struct args *a, size_t partial, int n_keys, float den, float n)
{
    global float *at = a->work + n_partials(a) * V_DIM + partial;
    at[0] = den;
    at[n_partials(a)] = n_keys ? n : -INFINITY;
}

INLINE i64 bias_offset(const struct args *a, const struct sequence *s, int i, int h)
{
    return s->b * a->bias_batch_stride + i * a->bias_query_stride + h * a->bias_head_stride;
}

/* ---- where keys lie ---- */

/* Block that holds token t of the sequence, -1: none. */
INLINE int find_block(const struct args *a, int b, int t, int *slot)
{
    if (!a->block_table) {
        *slot = t;
        return b;
    }
    const int page = t / a->page_size, id = a->block_table[(size_t) b * a->max_blocks + page];
    *slot = t - page * a->page_size;
    return id >= 0 && id < a->n_blocks ? id : -1;
}

/* Of n tokens from `slot` on, those in the same block. */
INLINE int run_of(const struct args *a, int slot, int n)
{
    return a->block_table ? min(n, a->page_size - slot) : n;
}

/* Counts a block that is not there, found for its tokens slot .. slot + n - 1, which are the sequence's t .. t + n - 1:
 * once, by the first chunk and split that want one of its keys. */
INLINE void count_block(const struct args *a, const struct task *k, int slot, int t, int n)
{
    const bool mine = k->row ? slot == 0 && t >= k->fresh : t + n > k->fresh && (slot == 0 || t <= k->fresh);
    if (mine)
        atomic_inc(a->counts + 2);
}

/* Of the token's first kv head. */
INLINE i64 k_offset(const struct args *a, int block, int slot)
{
    return UNITS(K_TYPE, block * a->k_block_stride + slot * a->k_token_stride);
}

INLINE i64 v_offset(const struct args *a, int block, int slot)
{
    return UNITS(V_TYPE, block * a->v_block_stride + slot * a->v_token_stride);
}

INLINE global const K_T *k_of_head(const struct args *a, int g)
{
    return a->k + UNITS(K_TYPE, g * a->k_head_stride);
}

INLINE global const V_T *v_of_head(const struct args *a, int g)
{
    return a->v + UNITS(V_TYPE, g * a->v_head_stride);
}

/* ---- phi, and the guard of `unified` ---- */

INLINE bool needs_bounds(const struct args *a)
{
    return a->phi_source == PHI_BOUNDS || a->phi_source == ATTN_PHI_GATED;
}

/* The largest |k| and |v_d| that the caller's bounds allow in the task's keys of head g. */
INLINE float2 bounds_of(const struct args *a, const struct task *k, int g)
{
    const int page = a->block_table ? a->page_size : max(k->end, 1);
    float2 most = 0.0f;
    #pragma unroll 1
    for (int t = k->begin; t < k->end; t = (t / page + 1) * page) {
        int slot;
        const int block = find_block(a, k->s.b, t, &slot);
        if (block >= 0) {
            const float2 b = vload2((size_t) block * a->n_kv_heads + g, a->bounds);
            most = b > most ? b : most;
        }
    }
    return most;
}

/* Cauchy-Schwarz: no score is over scale * |q| * |k|, nor below minus that. *phi: from there down so far that no sum
 * can leave 2^80. True: no den can fall below n_keys * 2^-76 either: 80 ln 2 - 2 top - 2 ln(n_keys |v|) >= -76 ln 2. */
INLINE bool phi_by_bounds(const struct args *a, const struct task *k, float q_norm, float2 most, float *phi)
{
    float top = fabs(a->scale) * q_norm * most.x;
    if (a->softcap > 0.0f)
        top = fmin(top, a->softcap);
    const float ln_sum = log((float) max(k->end - k->begin, 1) * fmax(most.y, 1.0f));
    *phi = top + a->bias_max - 55.45f + ln_sum;
    return 2.0f * (top + ln_sum) <= 108.0f && !a->bias && !a->alibi;
}

/* phi of row r of head g. NaN and infinity become 0: what they came from makes the row NaN by itself, or the guard
 * decides. */
INLINE float phi_of(const struct args *a, const struct task *k, int g, int r, float q_norm, float2 most)
{
    const int h = head_of(k, g, r);
    float phi = a->phi && a->phi_source != PHI_CONSTANT ? a->phi[h] : a->phi0, bounded;
    if (a->phi_source == PHI_STATE || a->phi_source == ATTN_PHI_GATED) {
        const int slot = a->slots ? a->slots[k->s.b] : k->s.b;
        const bool is_there = a->state && slot >= 0 && slot < a->n_slots;
        const float before = is_there ? a->state[(size_t) slot * a->n_heads + h] : 0.0f;
        phi = before != 0.0f && isfinite(before) ? before : phi;
    }
    if (a->phi_source == PHI_BOUNDS || a->phi_source == ATTN_PHI_GATED) {
        const bool sure = phi_by_bounds(a, k, q_norm, most, &bounded);
        phi = sure || a->phi_source == PHI_BOUNDS ? bounded : phi;
    }
    return isfinite(phi) ? phi : 0.0f;
}

/* n = round(phi log2 e), kept where it is an exact integer. */
INLINE float exponent_of(float phi)
{
    return rint(clamp(phi * M_LOG2E_F, -0x1p22f, 0x1p22f));
}

/* NaN is never in range. */
INLINE bool den_in_range(float den, int n_keys)
{
    return n_keys == 0 || (den <= 0x1p80f && den >= n_keys * 0x1p-76f);
}

INLINE bool num_in_range(vec num)
{
    return all(fabs(num) <= 0x1p80f);
}

/* ---- from a row's partials to its result ---- */

INLINE void keep_state(const struct args *a, const struct sequence *s, int i, int h, float lse)
{
    const int slot = a->slots ? a->slots[s->b] : s->b;
    if (a->state && i == s->n_tokens - 1 && slot >= 0 && slot < a->n_slots)
        a->state[(size_t) slot * a->n_heads + h] = isfinite(lse) ? lse : 0.0f;
}

/* The power of two below den; 0 where den is none that can be weighed (0, infinity, NaN). */
INLINE float den_exponent(float den)
{
    const int e = as_int(den) >> 23 & 255;
    return e == 0 || e == 255 ? 0.0f : (float) (e - 127);
}

/* Merges the partials first .. first + n_splits - 1 of query token i and head h; n_items items share its vectors. */
INLINE void finish_row(const struct args *a, const struct sequence *s, int i, int h, size_t first, int item,
                       int n_items)
{
    global const float *num = num_of(a, first), *den = a->work + n_partials(a) * V_DIM + first;
    global const float *n = den + n_partials(a);
    float most = -INFINITY, total = 0.0f, sink_n = -INFINITY, sink = 0.0f;
    #pragma unroll 1
    for (int k = 0; k < a->n_splits; k++)
        if (n[k] != -INFINITY)
            most = fmax(most, n[k] + den_exponent(den[k]));
    const bool no_keys = most == -INFINITY;
    if (a->sinks) {
        fvec one_n;
        const fvec one = exp_pair((fvec) a->sinks[h], &one_n);
        sink = FIRST_LANE(one), sink_n = FIRST_LANE(one_n);
        most = sink_n > most ? sink_n : most;
    }
    most = most == -INFINITY ? 0.0f : most;
    #pragma unroll 1
    for (int k = 0; k < a->n_splits; k++)
        if (n[k] != -INFINITY)
            total = fma(den[k], exp2i_1(n[k] - most), total);
    if (a->sinks)
        total = fma(sink, exp2i_1(sink_n - most), total);

    const size_t at = (size_t) (s->q_begin + i) * a->n_heads + h;
    #pragma unroll 1
    for (int j = item; j < V_VECS; j += n_items) {
        vec sum = 0.0f;
        #pragma unroll 1
        for (int k = 0; k < a->n_splits; k++)
            if (n[k] != -INFINITY)
                sum = fma(load_f32(num + (size_t) k * V_DIM, j, V_DIM), (vec) exp2i_1(n[k] - most), sum);
        OUT_STORE(no_keys ? (vec) 0.0f : sum / total, a->out + at * V_DIM, j);
    }
    if (item == 0) {
        const float lse = no_keys && total == 0.0f ? -INFINITY : exp_log(total, most);
        if (a->lse)
            a->lse[at] = lse;
        keep_state(a, s, i, h, lse);
    }
}

/* ---- launch 1 ---- */

#ifndef ATTN_MERGE
#ifdef WG
#include "attn_pairs.cl"
#ifdef WAVES
#include "attn_mma.cl"
#else
#include "attn_wg.cl"
#endif
#else
#include "attn_vec.cl"
#endif
#else

/* ---- launch 2, compiled apart: one group per row ---- */

kernel void attn_merge(ATTN_BUFFERS(BUFFER_PARAM) ATTN_SCALARS(SCALAR_PARAM) int unused)
{
    TAKE_ARGS(a)
    const size_t row = get_group_id(0);
    const int h = row % n_heads, i = row / n_heads % q_len;
    const struct sequence s = find_sequence(&a, (int) (row / n_heads / q_len));
    if (i < s.n_tokens)
        finish_row(&a, &s, i, h, row * n_splits, get_local_id(0), get_local_size(0));
}
#endif
