/* SPDX-License-Identifier: MIT
 * broken.cl - the operations done plainly, a group at a time; FAULT n does one thing wrong (faults.h), FAULT 0 none
 *
 * A check that passes fault 0 and does not catch another one is worth nothing. */
#ifdef __clang__
#pragma clang diagnostic ignored "-Wconstant-logical-operand"
#endif
#define Q_T   float
#define OUT_T float
#include "../cl/attn.h"
#define X_T float
#define Y_T float
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
#ifdef K_F16
#define K_T           half
#define K_LOAD(p, at) vload_half(at, p)
#else
#define K_T           float
#define K_LOAD(p, at) (p)[at]
#endif
#ifdef V_F16
#define V_T           half
#define V_LOAD(p, at) vload_half(at, p)
#else
#define V_T           float
#define V_LOAD(p, at) (p)[at]
#endif
#define SCALAR_NAME(type, name)  name,
#define BUFFER_VALUE(type, name) global type *name,
#define BUFFER_NAME(type, name)  name,
#define PARAMS                   ATTN_BUFFERS(BUFFER_VALUE) ATTN_SCALARS(SCALAR_PARAM)
#define ARGS                     ATTN_BUFFERS(BUFFER_NAME) ATTN_SCALARS(SCALAR_NAME)

/* Where token t lies: x the block, -1 where it is none of the pool, y the place in it. */
static int2 place_of(PARAMS int b, int t)
{
    if (!page_size)
        return (int2) (b, t);
    const int at = b * max_blocks + t / page_size, block = FAULT == NO_TABLE ? at : block_table[at];
    return (int2) (block < 0 || block >= n_blocks ? -1 : block, t % page_size);
}

static size_t k_at(PARAMS int2 at, int g)
{
    if (FAULT == STRIDES)
        return at.x * k_block_stride + at.y * k_head_stride + g * k_token_stride;
    return at.x * k_block_stride + at.y * k_token_stride + g * k_head_stride;
}

/* Query tokens of a sequence: x the first row, y how many. */
static int2 queries_of(PARAMS int b)
{
    if (!q_starts)
        return (int2) (b * q_len, q_len);
    const int from = clamp(q_starts[b], 0, n_q), to = clamp(q_starts[b + 1], 0, n_q);
    return (int2) (from - (FAULT == Q_STARTS && from > 0), clamp(to - from, 0, q_len));
}

/* The score of query i, head h, at position pos for token t; *seen: whether it is there at all. */
static float score(PARAMS int b, int i, int h, int pos, int len, int t, global const float *row, bool *seen)
{
    const int g = FAULT == KV_HEAD ? h % n_kv_heads : h / (n_heads / n_kv_heads);
    const int2 at = place_of(ARGS b, t);
    const bool upto = !(causal || window) || t <= pos + (FAULT == CAUSAL),
               from = !window || t > pos - window + (FAULT == WINDOW);
    const size_t bias_at = b * bias_batch_stride + i * bias_query_stride + (FAULT == BIAS ? 0 : h) * bias_head_stride;
    const float add = bias ? bias[bias_at + t] : 0.0f;
    *seen = at.x >= 0 && upto && from && !(bias && add == -INFINITY);
    if (!*seen)
        return -INFINITY;
    float sum = 0;
    for (int d = 0; d < HEAD_DIM; d++)
        sum = fma(row[d], K_LOAD(k, k_at(ARGS at, g) + d), sum);
    if (FAULT == NAN_IGNORED && isnan(sum))
        return -INFINITY;
    sum *= FAULT == SCALE ? 1.0f / HEAD_DIM : scale;
    if (softcap > 0)
        sum = FAULT == SOFTCAP ? clamp(sum, -softcap, softcap) : softcap * tanh(sum / softcap);
    if (alibi)
        sum += alibi[h] * (t - (FAULT == ALIBI ? len : pos));
    return sum + add;
}
#define SCORE(t, seen) score(ARGS b, i, h, pos, len, t, row, seen)

static bool left_out(int t)
{
    return FAULT == TILE && (t & 63) / 16 == 1;
}

/* A group for each (sequence, query token, head). */
kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void broken_attn(ATTN_BUFFERS(BUFFER_PARAM) ATTN_SCALARS(SCALAR_PARAM) int unused)
{
    ATTN_BUFFERS(BUFFER_BEGIN)
    local float part[WG];
    const int item = get_local_id(0), b = get_group_id(1) / q_len, i = get_group_id(1) % q_len, h = get_group_id(0);
    if (!HAS(q_starts)) q_starts = 0;
    if (!HAS(bias)) bias = 0;
    if (!HAS(alibi)) alibi = 0;
    const int2 seq = queries_of(ARGS b);
    const int all = clamp(lens[b], 0, max_len), len = all - (FAULT == TAIL);
    const int pos = (HAS(q_pos) && FAULT != Q_POS ? q_pos[b] : all - seq.y) + i;
    if (i >= seq.y)
        return;
    const size_t at = (size_t) (seq.x + i) * n_heads + h;
    global const float *row = q + at * HEAD_DIM;
    const int g = FAULT == KV_HEAD ? h % n_kv_heads : h / (n_heads / n_kv_heads);
    const float sink = HAS(sinks) && FAULT != SINK ? sinks[h] : -INFINITY;
    bool seen;
    out += at * V_DIM;

    float most = sink;
    for (int t = item; t < len; t += WG)
        most = fmax(most, SCORE(t, &seen));
    most = group_max(most, part);
    if (FAULT == NO_GUARD)
        most = HAS(phi) ? phi[h] : phi0;

    float den = item == 0 && sink != -INFINITY ? exp(sink - most) : 0;
    for (int t = item; t < len; t += WG) {
        const float x = SCORE(t, &seen);
        if (seen && !left_out(t))
            den += exp(x - most);
    }
    den = group_sum(den, part, FAULT != BARRIER);

    /* out may be q: read it all before any of it is written */
    float num[(V_DIM + WG - 1) / WG];
    const int end = FAULT == MASK ? min((len + WG - 1) / WG * WG, max_len) : len;
    for (int d = item; d < V_DIM; d += WG)
        num[d / WG] = 0;
    for (int t = 0; t < end; t++) {
        const float x = SCORE(t, &seen);
        const bool late = t >= len, unseen = !seen && FAULT == NEXT_NAN;
        const int2 place = place_of(ARGS b, t);
        if ((!seen && !unseen && !late) || left_out(t) || place.x < 0)
            continue;
        float p = late || unseen ? 0.0f : exp(x - most);
        if (FAULT == HALF)
            p = to_11_bits(p);
        const size_t v_at = place.x * v_block_stride + place.y * v_token_stride + g * v_head_stride;
        for (int d = item; d < V_DIM; d += WG)
            num[d / WG] += p * V_LOAD(v, v_at + d);
    }
    barrier(CLK_GLOBAL_MEM_FENCE);
    const bool last = at + 1 == (size_t) n_q * n_heads;
    for (int d = item; d < V_DIM - (FAULT == STALE); d += WG)
        out[d] = den == 0 && FAULT != EMPTY ? 0 : num[d / WG] / den;
    if (FAULT == PAST_END && item == 0 && last)
        out[V_DIM] = 0;
    const float total = den == 0 ? -INFINITY : log(den) + (FAULT == LSE ? 0 : most);
    if (HAS(lse) && item == 0)
        lse[at] = total;
    const int slot = HAS(slots) ? slots[b] : FAULT == STATE ? (b + 1) % batch : b;
    if (HAS(state) && item == 0 && i + 1 == seq.y && slot >= 0 && slot < n_slots)
        state[(size_t) slot * n_heads + h] = isfinite(total) ? total : 0.0f;
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
