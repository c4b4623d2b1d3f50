/* SPDX-License-Identifier: MIT
 * softmax.cl - softmax over rows, and its log-sum-exp:  y[r,i] = e^x[r,i] / sum_j e^x[r,j],  lse[r] = ln sum_j e^x[r,j]
 *
 *   x, y  [rows, cols] f32, may be the same buffer;  lse  [rows] f32, optional
 *   work  [2, rows, n_splits] f32: the tops, then the sums, of the splits; unused when n_splits is 1
 *
 * A row is cut into n_splits equal chunks, one work-group each. Launch 0 reduces a chunk to (top, sum); launch 1 merges the
 * pairs of its row, every group for itself (a few hundred at most), and writes its chunk. With one split the group of launch 0
 * goes on and writes, and there is no launch 1. An element is written by the item that read it, so y may be x.
 *
 * (top, sum) stands for  sum * e^top  (three-pass, online)  or  sum * 2^top  (two-pass, where top is the largest exponent of
 * the (mantissa, exponent) pairs: it cannot overflow, and rescaling is exact). Each lane keeps its own until the end.
 *   three-pass  maximum of the chunk, then its sum, then the write: the chunk is read three times
 *   online      maximum and sum together, U vectors to one rescaling: read twice
 *   two-pass    (m, n) pairs: read twice, one exponential an element and pass
 *
 * -inf weighs 0. A row of nothing but -inf has sum 0: y = 0 * (1/0) = NaN, lse = ln 0 = -inf. NaN and +inf make the sum NaN.
 * Tops start from the lowest finite number, so that differences of tops are never inf - inf.
 * The order of all sums is fixed by cols, n_splits, WG and VEC: a run repeats bit for bit. Local memory: 4*WG bytes. */
#if !defined(WG) || !defined(VEC)
#error "softmax.cl needs WG and VEC"
#endif
#include "softmax.h"
#include "row.h"

#define U 4 /* vectors an item has in flight */

struct chunk {
    size_t row, at;    /* row; its first element in x and y */
    size_t begin, end; /* of the chunk, in the row */
};

static struct chunk chunk_of_group(int cols, int n_splits)
{
    const size_t group = get_group_id(0), split = group % n_splits;
    const size_t width = div_up(div_up(cols, n_splits), STRIDE) * STRIDE;
    struct chunk c;
    c.row = group / n_splits;
    c.at = c.row * cols;
    c.begin = split * width;
    c.end = min(c.begin + width, (size_t) cols);
    return c;
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

static struct lanes reduce_three_pass(global const float *x, struct chunk c)
{
    fvec top[U], sum[U];
    for (int u = 0; u < U; u++) {
        top[u] = EXP_NONE;
        sum[u] = 0.0f;
    }
    for (size_t i = c.begin + get_local_id(0) * VEC; i < c.end; i += U * STRIDE)
        for (int u = 0; u < U; u++)
            top[u] = higher(load(x + c.at, i + u * STRIDE, c.end, -INFINITY), top[u]);
    for (int u = 1; u < U; u++)
        top[0] = higher(top[u], top[0]);
    for (size_t i = c.begin + get_local_id(0) * VEC; i < c.end; i += U * STRIDE)
        for (int u = 0; u < U; u++)
            sum[u] += exp_plain(load(x + c.at, i + u * STRIDE, c.end, -INFINITY) - top[0]);
    const struct lanes s = {top[0], (sum[0] + sum[1]) + (sum[2] + sum[3])};
    return s;
}

static struct lanes reduce_online(global const float *x, struct chunk c)
{
    struct lanes s = {EXP_NONE, 0.0f};
    for (size_t i = c.begin + get_local_id(0) * VEC; i < c.end; i += U * STRIDE) {
        fvec v[U], top = s.top, sum = 0.0f;
        for (int u = 0; u < U; u++) {
            v[u] = load(x + c.at, i + u * STRIDE, c.end, -INFINITY);
            top = higher(v[u], top);
        }
        for (int u = 0; u < U; u++)
            sum += exp_plain(v[u] - top);
        s.sum = s.sum * exp_plain(s.top - top) + sum;
        s.top = top;
    }
    return s;
}

static struct lanes reduce_pairs(global const float *x, struct chunk c)
{
    struct lanes s = {EXP_NONE, 0.0f};
    for (size_t i = c.begin + get_local_id(0) * VEC; i < c.end; i += U * STRIDE) {
        fvec m[U], n[U], top = s.top, sum = 0.0f;
        for (int u = 0; u < U; u++) {
            m[u] = exp_pair(load(x + c.at, i + u * STRIDE, c.end, -INFINITY), &n[u]);
            top = higher(n[u], top);
        }
        for (int u = 0; u < U; u++)
            sum += m[u] * exp2i(n[u] - top);
        s.sum = s.sum * exp2i(s.top - top) + sum;
        s.top = top;
    }
    return s;
}

WITH_LOCAL struct total group_total(local float *part, struct lanes s, bool pairs)
{
    const float top = group_max(part, lanes_max(s.top));
    const fvec scale = pairs ? exp2i(s.top - top) : exp_plain(s.top - top);
    const struct total t = {top, group_sum(part, lanes_sum(s.sum * scale))};
    return t;
}

/* The splits of one row: n tops and n sums. */
WITH_LOCAL struct total merge(local float *part, global const float *tops, global const float *sums, int n, bool pairs)
{
    struct lanes s = {EXP_NONE, 0.0f};
    for (size_t i = get_local_id(0) * VEC; i < n; i += STRIDE) {
        const fvec t = load(tops, i, n, EXP_NONE), w = load(sums, i, n, 0.0f), top = higher(t, s.top);
        s.sum = pairs ? s.sum * exp2i(s.top - top) + w * exp2i(t - top)
                      : s.sum * exp_plain(s.top - top) + w * exp_plain(t - top);
        s.top = top;
    }
    return group_total(part, s, pairs);
}

static void write(global const float *x, global float *y, global float *lse, struct chunk c, struct total t, bool pairs)
{
    const float inverse = 1.0f / t.sum;
    for (size_t i = c.begin + get_local_id(0) * VEC; i < c.end; i += STRIDE) {
        const fvec v = load(x + c.at, i, c.end, -INFINITY);
        fvec n;
        if (pairs) {
            const fvec m = exp_pair(v, &n);
            store(m * inverse * exp2i(n - t.top), y + c.at, i, c.end);
        } else {
            store(exp_plain(v - t.top) * inverse, y + c.at, i, c.end);
        }
    }
    if (!lse || c.begin > 0 || get_local_id(0) > 0)
        return;
    if (!pairs)
        lse[c.row] = t.top + log(t.sum);
    else if (fabs(t.top) < 0x1p23f)
        lse[c.row] = fma(t.top, LN2_HI, fma(t.top, LN2_LO, log(t.sum)));
    else
        lse[c.row] = 0.5f * t.top + log(t.sum); /* exp.h: n = 2x from |x| = 2^22 */
}

static void store_partial(global float *work, int rows, int n_splits, struct total t)
{
    if (get_local_id(0) == 0) {
        work[get_group_id(0)] = t.top;
        work[(size_t) rows * n_splits + get_group_id(0)] = t.sum;
    }
}

__attribute__((reqd_work_group_size(WG, 1, 1)))
kernel void softmax_three_pass(SOFTMAX_BUFFERS(BUFFER_PARAM) SOFTMAX_SCALARS(SCALAR_PARAM) int unused)
{
    SOFTMAX_BUFFERS(BUFFER_BEGIN)
    local float part[WG];
    const struct chunk c = chunk_of_group(cols, n_splits);
    const struct total t = group_total(part, reduce_three_pass(x, c), false);
    if (n_splits > 1)
        store_partial(work, rows, n_splits, t);
    else
        write(x, y, HAS(lse) ? lse : 0, c, t, false);
}

__attribute__((reqd_work_group_size(WG, 1, 1)))
kernel void softmax_online(SOFTMAX_BUFFERS(BUFFER_PARAM) SOFTMAX_SCALARS(SCALAR_PARAM) int unused)
{
    SOFTMAX_BUFFERS(BUFFER_BEGIN)
    local float part[WG];
    const struct chunk c = chunk_of_group(cols, n_splits);
    const struct total t = group_total(part, reduce_online(x, c), false);
    if (n_splits > 1)
        store_partial(work, rows, n_splits, t);
    else
        write(x, y, HAS(lse) ? lse : 0, c, t, false);
}

__attribute__((reqd_work_group_size(WG, 1, 1)))
kernel void softmax_two_pass(SOFTMAX_BUFFERS(BUFFER_PARAM) SOFTMAX_SCALARS(SCALAR_PARAM) int unused)
{
    SOFTMAX_BUFFERS(BUFFER_BEGIN)
    local float part[WG];
    const struct chunk c = chunk_of_group(cols, n_splits);
    const struct total t = group_total(part, reduce_pairs(x, c), true);
    if (n_splits > 1)
        store_partial(work, rows, n_splits, t);
    else
        write(x, y, HAS(lse) ? lse : 0, c, t, true);
}

__attribute__((reqd_work_group_size(WG, 1, 1)))
kernel void softmax_write(SOFTMAX_BUFFERS(BUFFER_PARAM) SOFTMAX_SCALARS(SCALAR_PARAM) int unused)
{
    SOFTMAX_BUFFERS(BUFFER_BEGIN)
    local float part[WG];
    const struct chunk c = chunk_of_group(cols, n_splits);
    global const float *tops = work + c.row * n_splits;
    write(x, y, HAS(lse) ? lse : 0, c, merge(part, tops, tops + (size_t) rows * n_splits, n_splits, false), false);
}

__attribute__((reqd_work_group_size(WG, 1, 1)))
kernel void softmax_write_pairs(SOFTMAX_BUFFERS(BUFFER_PARAM) SOFTMAX_SCALARS(SCALAR_PARAM) int unused)
{
    SOFTMAX_BUFFERS(BUFFER_BEGIN)
    local float part[WG];
    const struct chunk c = chunk_of_group(cols, n_splits);
    global const float *tops = work + c.row * n_splits;
    write(x, y, HAS(lse) ? lse : 0, c, merge(part, tops, tops + (size_t) rows * n_splits, n_splits, true), true);
}
