/* SPDX-License-Identifier: MIT
 * broken.cl - the operations done plainly, a group at a time; FAULT n does one thing wrong (faults.h), FAULT 0 none
 *
 * A check that passes fault 0 and does not catch another one is worth nothing. */
#ifdef __clang__
#pragma clang diagnostic ignored "-Wconstant-logical-operand"
#endif
#include "../cl/attn.h"
#include "../cl/linear.h"
#include "../cl/softmax.h"
#include "faults.h"

/* Above what any device runs in lockstep, so that a missing barrier shows. */
#define WG 128

/* Sum over the group, in part[0..WG). The barrier that may be missing has no loop behind it: PoCL puts barriers of its
 * own around loops, which would mend the fault. */
static float group_sum(float x, local float *part, bool with_barrier)
{
    const int item = get_local_id(0);
    part[item] = x;
    if (with_barrier)
        barrier(CLK_LOCAL_MEM_FENCE);
    x += part[(item + WG / 2) % WG];
    barrier(CLK_LOCAL_MEM_FENCE);
    part[item] = x;
    barrier(CLK_LOCAL_MEM_FENCE);
    float sum = 0;
    for (int i = 0; i < WG / 2; i++)
        sum += part[i];
    barrier(CLK_LOCAL_MEM_FENCE);
    return sum;
}

static float group_max(float x, local float *part) /* NaN loses */
{
    const int item = get_local_id(0);
    part[item] = x;
    barrier(CLK_LOCAL_MEM_FENCE);
    float most = part[0];
    for (int i = 1; i < WG; i++)
        most = fmax(most, part[i]);
    barrier(CLK_LOCAL_MEM_FENCE);
    return most;
}

static float to_11_bits(float x) /* as a half has; no overflow here */
{
    return as_float((as_int(x) + 0x1000) & ~0x1fff);
}

#ifdef BROKEN_ATTN
enum { NONE, ATTN_FAULTS(FAULT_NAME) N_FAULTS };
#ifdef KV_F16
#define KV_T           half
#define KV_LOAD(p, at) vload_half(at, p)
#else
#define KV_T           float
#define KV_LOAD(p, at) (p)[at]
#endif

/* Where token t lies, -1: in no block of the pool. */
static i64 token_at(global const int *table, ATTN_SCALARS(SCALAR_PARAM) int b, int g, int t)
{
    i64 block = b, slot = t;
    if (page_size) {
        block = FAULT == NO_TABLE ? b * max_blocks + t / page_size : table[b * max_blocks + t / page_size];
        slot = t % page_size;
        if (block < 0 || block >= n_blocks)
            return -1;
    }
    if (FAULT == STRIDES)
        return block * block_stride + slot * head_stride + g * token_stride;
    return block * block_stride + slot * token_stride + g * head_stride;
}
#define SCALAR_NAME(type, name) name,
#define TOKEN_AT(t)             token_at(block_table, ATTN_SCALARS(SCALAR_NAME) b, g, t)

static float score(global const float *q, global const KV_T *k, float scale)
{
    float sum = 0;
    for (int d = 0; d < HEAD_DIM; d++)
        sum = fma(q[d], KV_LOAD(k, d), sum);
    if (FAULT == NAN_IGNORED && isnan(sum))
        return -INFINITY;
    return sum * (FAULT == SCALE ? 1.0f / HEAD_DIM : scale);
}

static bool left_out(int t)
{
    return FAULT == TILE && (t & 63) / 16 == 1;
}

kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void broken_attn(ATTN_BUFFERS(BUFFER_PARAM) ATTN_SCALARS(SCALAR_PARAM) int unused)
{
    ATTN_BUFFERS(BUFFER_BEGIN)
    local float part[WG];
    const int item = get_local_id(0), b = get_group_id(1), h = get_group_id(0), n_heads = get_num_groups(0);
    const int g = FAULT == KV_HEAD ? h % (n_heads / GROUP) : h / GROUP;
    const size_t row = (size_t) b * n_heads + h;
    const int len = clamp(lens[b], 0, max_len) - (FAULT == TAIL);
    q += row * HEAD_DIM;
    out += row * HEAD_DIM;

    float most = -INFINITY;
    for (int t = item; t < len; t += WG) {
        const i64 at = TOKEN_AT(t);
        if (at >= 0)
            most = fmax(most, score(q, k + at, scale));
    }
    most = group_max(most, part);
    if (FAULT == NO_GUARD)
        most = HAS(phi) ? phi[h] : phi0;

    float den = 0;
    for (int t = item; t < len; t += WG) {
        const i64 at = TOKEN_AT(t);
        if (at >= 0 && !left_out(t))
            den += exp(score(q, k + at, scale) - most);
    }
    den = group_sum(den, part, FAULT != BARRIER);

    /* out may be q: read it all before any of it is written */
    float num[(HEAD_DIM + WG - 1) / WG];
    const int end = FAULT == MASK ? min((len + WG - 1) / WG * WG, max_len) : len;
    for (int d = item; d < HEAD_DIM; d += WG)
        num[d / WG] = 0;
    for (int t = 0; t < end; t++) {
        const i64 at = TOKEN_AT(min(t, end - 1));
        if (at < 0 || left_out(t))
            continue;
        float p = t < len ? exp(score(q, k + at, scale) - most) : 0.0f;
        if (FAULT == HALF)
            p = to_11_bits(p);
        for (int d = item; d < HEAD_DIM; d += WG)
            num[d / WG] += p * KV_LOAD(v, at + d);
    }
    barrier(CLK_GLOBAL_MEM_FENCE);
    for (int d = item; d < HEAD_DIM - (FAULT == STALE); d += WG)
        out[d] = den == 0 && FAULT != EMPTY ? 0 : num[d / WG] / den;
    if (FAULT == PAST_END && item == 0 && row + 1 == n_heads * get_num_groups(1))
        out[HEAD_DIM] = 0;
    if (HAS(lse) && item == 0)
        lse[row] = log(den) + (FAULT == LSE || den == 0 ? 0 : most);
}
#endif

#ifdef BROKEN_LINEAR
enum { NONE, LINEAR_FAULTS(FAULT_NAME) N_FAULTS };
#ifdef W_F16
#define W_T           half
#define W_LOAD(p, at) vload_half(at, p)
#else
#define W_T           float
#define W_LOAD(p, at) (p)[at]
#endif

/* A group for each row of W. */
kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void broken_linear(LINEAR_BUFFERS(BUFFER_PARAM) LINEAR_SCALARS(SCALAR_PARAM) int unused)
{
    LINEAR_BUFFERS(BUFFER_BEGIN)
    local float part[WG];
    const int item = get_local_id(0), col = get_group_id(0);
    for (int i = 0; i < m; i++) {
        const size_t at = (size_t) i * n + col;
        float sum = 0;
        for (int j = item; j < k - (FAULT == TAIL); j += WG) {
            if (FAULT == TILE && (j & 63) / 16 == 1)
                continue;
            const float a = x[(size_t) i * k + j];
            const size_t at_w = FAULT == STRIDES ? (size_t) j * n + col : (size_t) col * k + j;
            const float p = (FAULT == HALF_X ? to_11_bits(a) : a) * W_LOAD(w, at_w);
            sum += FAULT == NAN_IGNORED && isnan(p) ? 0 : p;
            if (FAULT == HALF)
                sum = to_11_bits(sum);
        }
        sum = group_sum(sum, part, FAULT != BARRIER);
        if (item != 0 || (FAULT == STALE && i == m - 1 && col == n - 1))
            continue;
        if (HAS(bias) && FAULT != NO_BIAS)
            sum += bias[col];
        if (HAS(residual))
            sum += residual[at];
        if (FAULT == ACCUMULATE)
            sum += y[at];
        y[at] = sum;
        if (FAULT == PAST_END && i == m - 1 && col == n - 1)
            y[at + 1] = 0;
    }
}
#endif

#ifdef BROKEN_SOFTMAX
enum { NONE, SOFTMAX_FAULTS(FAULT_NAME) N_FAULTS };

/* A group for each row. */
kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void broken_softmax(SOFTMAX_BUFFERS(BUFFER_PARAM) SOFTMAX_SCALARS(SCALAR_PARAM) int unused)
{
    SOFTMAX_BUFFERS(BUFFER_BEGIN)
    local float part[WG];
    const int item = get_local_id(0);
    const size_t row = get_group_id(0);
    x += row * cols;
    y += row * cols;

    float most = -INFINITY;
    for (int i = item; i < cols; i += WG)
        most = fmax(most, x[i]);
    most = group_max(most, part);
    if (FAULT == NO_MAX)
        most = 0;

    float sum = 0;
    for (int i = item; i < cols; i += WG) {
        if (FAULT == IN_PLACE)
            y[i] = exp(x[i] - most);
        if (FAULT == NAN_IGNORED && isnan(x[i]))
            continue;
        if (i < cols - (FAULT == TAIL) && x[i] != -INFINITY)
            sum += exp(x[i] - most);
    }
    sum = group_sum(sum, part, FAULT != BARRIER);
    for (int i = item; i < cols - (FAULT == STALE && row + 1 == get_num_groups(0)); i += WG) {
        const float e = exp(x[i] - most);
        y[i] = (FAULT == HALF ? to_11_bits(e) : FAULT == NAN_IGNORED && isnan(e) ? 0 : e) / sum;
    }
    if (FAULT == PAST_END && item == 0 && row + 1 == get_num_groups(0))
        y[cols] = 0;
    if (HAS(lse) && item == 0)
        lse[row] = log(sum) + (FAULT == LSE ? 0 : most);
}
#endif
