/* SPDX-License-Identifier: MIT
 * softmax.cl - softmax over rows, and its log-sum-exp:  y[r,i] = e^x[r,i] / sum_j e^x[r,j],  lse[r] = ln sum_j e^x[r,j]
 *
 *   x, y  [rows, cols] f32, may be the same buffer;  lse  [rows] f32, optional
 *   work  [2, rows, n_splits] f32: the tops, then the sums, of the splits; unused when n_splits is 1
 *
 * A row is cut into n_splits equal chunks, one work-group each. Launch 0 reduces a chunk to (top, sum); launch 1
 * merges the pairs of its row, every group for itself (a few hundred at most), and writes its chunk. With one split
 * the group of launch 0 goes on and writes, and there is no launch 1. An item writes the elements that it read, so y
 * may be x.
 *
 * (top, sum) stands for  sum * e^top  (three-pass, online)  or  sum * 2^top  (two-pass, where top is the largest
 * exponent of the (mantissa, exponent) pairs: it cannot overflow, and rescaling is exact). Each lane keeps its own
 * until the end.
 *   three-pass  maximum of the chunk, then its sum, then the write: the chunk is read three times
 *   online      maximum and sum together, U vectors to one rescaling: read twice
 *   two-pass    (m, n) pairs: read twice, one exponential an element and pass
 *
 * -inf weighs 0. A row of nothing but -inf has sum 0: y = 0 * (1/0) = NaN, lse = ln 0 = -inf. NaN and +inf make the sum
 * NaN. Tops start from the lowest finite number, so that differences of tops are never inf - inf.
 * The order of all sums is fixed by cols, n_splits, WG and VEC: a run repeats bit for bit. Local memory: 4*WG bytes.
 * WG, VEC: row.h */
#if !defined(WG) || !defined(VEC)
#error "softmax.cl needs WG and VEC"
#endif
#include "softmax.h"
#include "row.h"

#define U 4 /* vectors an item has in flight */

/* Structs are handed on by pointer: an inlined struct result leaves an intrinsic that oclgrind does not know. */
struct chunk {
    size_t row, at;    /* row; its first element in x and y */
    size_t begin, end; /* of the chunk, in the row */
};

static void chunk_of_group(int cols, int n_splits, struct chunk *c)
{
    const size_t group = get_group_id(0), split = group % n_splits;
    const size_t width = div_up(div_up(cols, n_splits), STRIDE) * STRIDE;
    c->row = group / n_splits;
    c->at = c->row * cols;
    c->begin = split * width;
    c->end = min(c->begin + width, (size_t) cols);
}

struct lanes {
    fvec top, sum;
};

struct total {
    float top, sum;
};

static fvec higher(fvec a, fvec b)
{
    return a > b ? a : b; /* b where a is NaN */
}

/* U vectors of x from i on, STRIDE apart; -inf, which weighs nothing, past the end. */
static void load_block(global const float *x, size_t i, size_t end, fvec v[U])
{
    if (i + (U - 1) * STRIDE + VEC <= end) {
        #pragma unroll
        for (int u = 0; u < U; u++)
            v[u] = load_whole(x + i + u * STRIDE);
    } else {
        #pragma unroll
        for (int u = 0; u < U; u++)
            v[u] = load(x, i + u * STRIDE, end, -INFINITY);
    }
}

static void reduce_three_pass(global const float *x, const struct chunk *c, struct lanes *s)
{
    fvec v[U], top[U], sum[U];
    #pragma unroll
    for (int u = 0; u < U; u++) {
        top[u] = EXP_NONE;
        sum[u] = 0.0f;
    }
    for (size_t i = c->begin + get_local_id(0) * VEC; i < c->end; i += U * STRIDE) {
        load_block(x + c->at, i, c->end, v);
        #pragma unroll
        for (int u = 0; u < U; u++)
            top[u] = higher(v[u], top[u]);
    }
    s->top = higher(higher(top[0], top[1]), higher(top[2], top[3]));
    for (size_t i = c->begin + get_local_id(0) * VEC; i < c->end; i += U * STRIDE) {
        load_block(x + c->at, i, c->end, v);
        #pragma unroll
        for (int u = 0; u < U; u++)
            sum[u] += exp_plain(v[u] - s->top);
    }
    s->sum = (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

static void reduce_online(global const float *x, const struct chunk *c, struct lanes *s)
{
    s->top = EXP_NONE;
    s->sum = 0.0f;
    for (size_t i = c->begin + get_local_id(0) * VEC; i < c->end; i += U * STRIDE) {
        fvec v[U], top = s->top, sum = 0.0f;
        load_block(x + c->at, i, c->end, v);
        #pragma unroll
        for (int u = 0; u < U; u++)
            top = higher(v[u], top);
        #pragma unroll
        for (int u = 0; u < U; u++)
            sum += exp_plain(v[u] - top);
        s->sum = s->sum * exp_plain(s->top - top) + sum;
        s->top = top;
    }
}

static void reduce_pairs(global const float *x, const struct chunk *c, struct lanes *s)
{
    s->top = EXP_NONE;
    s->sum = 0.0f;
    for (size_t i = c->begin + get_local_id(0) * VEC; i < c->end; i += U * STRIDE) {
        fvec v[U], n[U], top = s->top, sum = 0.0f;
        load_block(x + c->at, i, c->end, v);
        #pragma unroll
        for (int u = 0; u < U; u++) {
            v[u] = exp_pair(v[u], &n[u]);
            top = higher(n[u], top);
        }
        #pragma unroll
        for (int u = 0; u < U; u++)
            sum += v[u] * exp2i(n[u] - top);
        s->sum = s->sum * exp2i(s->top - top) + sum;
        s->top = top;
    }
}

WITH_LOCAL void group_total(local float *part, const struct lanes *s, bool pairs, struct total *t)
{
    t->top = group_max(part, lanes_max(s->top));
    t->sum = group_sum(part, lanes_sum(s->sum * (pairs ? exp2i(s->top - t->top) : exp_plain(s->top - t->top))));
}

/* The splits of one row: n tops and n sums. */
WITH_LOCAL void merge(local float *part, global const float *tops, global const float *sums, int n, bool pairs,
                      struct total *t)
{
    struct lanes s = {EXP_NONE, 0.0f};
    for (size_t i = get_local_id(0) * VEC; i < n; i += STRIDE) {
        const fvec a = load(tops, i, n, EXP_NONE), w = load(sums, i, n, 0.0f), top = higher(a, s.top);
        s.sum = pairs ? s.sum * exp2i(s.top - top) + w * exp2i(a - top)
                      : s.sum * exp_plain(s.top - top) + w * exp_plain(a - top);
        s.top = top;
    }
    group_total(part, &s, pairs, t);
}

static void write(global const float *x, global float *y, global float *lse, const struct chunk *c,
                  const struct total *t, bool pairs)
{
    const float inverse = 1.0f / t->sum;
    for (size_t i = c->begin + get_local_id(0) * VEC; i < c->end; i += STRIDE) {
        const fvec v = load(x + c->at, i, c->end, -INFINITY);
        fvec n;
        if (pairs) {
            const fvec m = exp_pair(v, &n);
            store(m * inverse * exp2i(n - t->top), y + c->at, i, c->end);
        } else {
            store(exp_plain(v - t->top) * inverse, y + c->at, i, c->end);
        }
    }
    if (!lse || c->begin > 0 || get_local_id(0) > 0)
        return;
    if (!pairs)
        lse[c->row] = t->top + log(t->sum);
    else if (fabs(t->top) < 0x1p23f)
        lse[c->row] = fma(t->top, LN2_HI, fma(t->top, LN2_LO, log(t->sum)));
    else
        lse[c->row] = 0.5f * t->top + log(t->sum); /* exp.h: n = 2x from |x| = 2^22 */
}

/* The end of launch 0. */
WITH_LOCAL void finish(local float *part, global const float *x, global float *y, global float *lse, global float *work,
                       int rows, int n_splits, const struct chunk *c, const struct lanes *s, bool pairs)
{
    struct total t;
    group_total(part, s, pairs, &t);
    if (n_splits == 1) {
        write(x, y, lse, c, &t, pairs);
    } else if (get_local_id(0) == 0) {
        work[get_group_id(0)] = t.top;
        work[(size_t) rows * n_splits + get_group_id(0)] = t.sum;
    }
}

__attribute__((reqd_work_group_size(WG, 1, 1))) IN_STEP
kernel void softmax_three_pass(SOFTMAX_BUFFERS(BUFFER_PARAM) SOFTMAX_SCALARS(SCALAR_PARAM) int unused)
{
    SOFTMAX_BUFFERS(BUFFER_BEGIN)
    local float part[WG];
    struct chunk c;
    struct lanes s;
    chunk_of_group(cols, n_splits, &c);
    reduce_three_pass(x, &c, &s);
    finish(part, x, y, HAS(lse) ? lse : 0, work, rows, n_splits, &c, &s, false);
}

__attribute__((reqd_work_group_size(WG, 1, 1))) IN_STEP
kernel void softmax_online(SOFTMAX_BUFFERS(BUFFER_PARAM) SOFTMAX_SCALARS(SCALAR_PARAM) int unused)
{
    SOFTMAX_BUFFERS(BUFFER_BEGIN)
    local float part[WG];
    struct chunk c;
    struct lanes s;
    chunk_of_group(cols, n_splits, &c);
    reduce_online(x, &c, &s);
    finish(part, x, y, HAS(lse) ? lse : 0, work, rows, n_splits, &c, &s, false);
}

__attribute__((reqd_work_group_size(WG, 1, 1))) IN_STEP
kernel void softmax_two_pass(SOFTMAX_BUFFERS(BUFFER_PARAM) SOFTMAX_SCALARS(SCALAR_PARAM) int unused)
{
    SOFTMAX_BUFFERS(BUFFER_BEGIN)
    local float part[WG];
    struct chunk c;
    struct lanes s;
    chunk_of_group(cols, n_splits, &c);
    reduce_pairs(x, &c, &s);
    finish(part, x, y, HAS(lse) ? lse : 0, work, rows, n_splits, &c, &s, true);
}

__attribute__((reqd_work_group_size(WG, 1, 1))) IN_STEP
kernel void softmax_write(SOFTMAX_BUFFERS(BUFFER_PARAM) SOFTMAX_SCALARS(SCALAR_PARAM) int unused)
{
    SOFTMAX_BUFFERS(BUFFER_BEGIN)
    local float part[WG];
    struct chunk c;
    struct total t;
    chunk_of_group(cols, n_splits, &c);
    global const float *tops = work + c.row * n_splits;
    merge(part, tops, tops + (size_t) rows * n_splits, n_splits, false, &t);
    write(x, y, HAS(lse) ? lse : 0, &c, &t, false);
}

__attribute__((reqd_work_group_size(WG, 1, 1))) IN_STEP
kernel void softmax_write_pairs(SOFTMAX_BUFFERS(BUFFER_PARAM) SOFTMAX_SCALARS(SCALAR_PARAM) int unused)
{
    SOFTMAX_BUFFERS(BUFFER_BEGIN)
    local float part[WG];
    struct chunk c;
    struct total t;
    chunk_of_group(cols, n_splits, &c);
    global const float *tops = work + c.row * n_splits;
    merge(part, tops, tops + (size_t) rows * n_splits, n_splits, true, &t);
    write(x, y, HAS(lse) ? lse : 0, &c, &t, true);
}
