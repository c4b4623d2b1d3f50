/* SPDX-License-Identifier: MIT
 * tile_stats.h - the statistics of a tile of 256 logits: what sampling needs to know of a row without reading it again
 *
 * A row of cols logits has ceil(cols / 256) tiles; what is past its end counts as NaN. A tile's record, four words:
 *
 *     m, n    f32: sum of e^(x * inv_temperature) = m * 2^n, n integer-valued (exp.h); (0, EXP_NONE): no weight at all
 *     max     f32: the largest logit, -inf of a tile without a number
 *     argmax  i32: the lowest column of the row that has it, INT_MAX of a tile without a number
 *
 * NaN has no weight and is never the largest. Denormals count as 0, so that it does not matter which devices keep them:
 * logits are compared by integer keys. n is the exponent of the largest logit's own weight. A weight is scaled by an
 * exact power of two to it, and is 0 where that is below 2^-100; column c is added to sum c % 16, in order, and the 16
 * sums are halved. So a record has the same bits on every device, in both forms, at every EXP_WIDTH:
 *
 *     tile_stats_1   by one work-item with vectors; takes penalised logits
 *     tile_stats_16  by 16 neighbouring work-items of a group, one of the 16 sums each
 *
 * Both read logits from global memory, where another item of the group may have written them before a barrier. Define
 * EXP_WIDTH as for exp.h: a divisor of 16. */
#ifndef TILE_STATS_H
#define TILE_STATS_H

enum { STATS_TILE = 256, STATS_WORDS = 4 };

#ifdef __OPENCL_VERSION__
#include "whole.h"

enum { TILE_LANES = 16, TILE_LEAST = -100 };

constant int tile_lane[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

struct tile_stats {
    float m, n, max;
    int argmax;
};

/* A row. A logit whose column has its bit set in `penalised` stands for what tile_penalise makes of it; 0: none has. */
struct logits {
    global const float *x;
    size_t end;
    global const uint *penalised;
    float penalty, inv_penalty;
};

/* In the order of the numbers; INT_MIN for NaN. tile_value: the way back, of NaN too. */
static ivec tile_key(fvec x)
{
    const ivec zero = 0, none = INT_MIN, magnitude = AS_IVEC(x) & INT_MAX;
    const ivec bits = magnitude < 0x00800000 ? zero : AS_IVEC(x); /* -0 and denormals */
    const ivec key = bits ^ ((bits >> 31) & INT_MAX);
    return magnitude > 0x7f800000 ? none : key;
}

static fvec tile_value(ivec key)
{
    return AS_FVEC(key ^ ((key >> 31) & INT_MAX));
}

static int tile_key_1(float x)
{
    const int magnitude = as_int(x) & INT_MAX, bits = magnitude < 0x00800000 ? 0 : as_int(x);
    return magnitude > 0x7f800000 ? INT_MIN : bits ^ ((bits >> 31) & INT_MAX);
}

static float tile_value_1(int key)
{
    return as_float(key ^ ((key >> 31) & INT_MAX));
}

/* i: a multiple of EXP_WIDTH, so one word has the bits of all lanes. */
static fvec tile_penalise(const struct logits *l, size_t i, fvec v)
{
    const ivec bits = (ivec) (int) (l->penalised[i / 32] >> i % 32), hit = bits >> VLOAD(tile_lane) & 1;
    const fvec x = tile_value(tile_key(v)), lower = x * l->inv_penalty, higher = x * l->penalty;
    return hit == 0 ? v : x > 0.0f ? lower : higher;
}

/* Logits i ... i + EXP_WIDTH, NaN past the end. */
static fvec tile_load(const struct logits *l, size_t i)
{
    fvec v;
    if (i + EXP_WIDTH <= l->end) {
        v = load_whole(l->x + i);
    } else {
        float lane[EXP_WIDTH];
        for (int k = 0; k < EXP_WIDTH; k++)
            lane[k] = i + k < l->end ? l->x[i + k] : NAN;
        v = VLOAD(lane);
    }
    return l->penalised && i < l->end ? tile_penalise(l, i, v) : v;
}

/* +inf, and all that becomes it, weighs like the largest number: it shares with nothing smaller. */
static fvec tile_pair(fvec x, float inv_temperature, fvec *n)
{
    const fvec most = FLT_MAX, y = x * inv_temperature;
    return exp_pair(y > most ? most : y, n);
}

static float tile_exponent(float x, float inv_temperature)
{
    fvec n;
    tile_pair((fvec) x, inv_temperature, &n);
    return FIRST_LANE(n);
}

/* e^(x * inv_temperature) / 2^top, top being the exponent of the largest. */
static fvec tile_weight(fvec x, float inv_temperature, float top)
{
    const fvec zero = 0.0f;
    fvec n;
    const fvec m = tile_pair(x, inv_temperature, &n), d = n - top;
    return d >= (float) TILE_LEAST ? m * exp2i(d) : zero; /* NaN: false */
}

static float tile_halve(float lane[TILE_LANES])
{
    #pragma unroll
    for (int step = TILE_LANES / 2; step > 0; step /= 2)
        #pragma unroll
        for (int l = 0; l < step; l++)
            lane[l] += lane[l + step];
    return lane[0];
}

static int tile_largest(ivec v)
{
    int lane[EXP_WIDTH], most = INT_MIN;
    VSTORE(v, lane);
    #pragma unroll
    for (int l = 0; l < EXP_WIDTH; l++)
        most = max(most, lane[l]);
    return most;
}

static int tile_lowest(ivec v)
{
    return ~tile_largest(~v);
}

static void tile_finish(float sum, float top, int key, int argmax, struct tile_stats *s)
{
    const bool none = key == INT_MIN;
    s->m = none ? 0.0f : sum;
    s->n = none ? EXP_NONE : top;
    s->max = none ? -INFINITY : tile_value_1(key);
    s->argmax = none ? INT_MAX : argmax;
}

static void tile_stats_1(const struct logits *l, size_t begin, float inv_temperature, struct tile_stats *s)
{
    const ivec none = INT_MAX;
    ivec keys = INT_MIN, first = none;
    fvec sum[TILE_LANES / EXP_WIDTH];
    for (size_t i = begin; i < begin + STATS_TILE; i += EXP_WIDTH)
        keys = max(keys, tile_key(tile_load(l, i)));
    const int key = tile_largest(keys);
    const float top = tile_exponent(tile_value_1(key), inv_temperature);

    #pragma unroll
    for (int u = 0; u < TILE_LANES / EXP_WIDTH; u++)
        sum[u] = 0.0f;
    for (size_t i = begin; i < begin + STATS_TILE; i += TILE_LANES)
        #pragma unroll
        for (int u = 0; u < TILE_LANES / EXP_WIDTH; u++) {
            const fvec v = tile_load(l, i + u * EXP_WIDTH);
            first = min(first, tile_key(v) == key ? VLOAD(tile_lane) + (int) i + u * EXP_WIDTH : none);
            sum[u] += tile_weight(v, inv_temperature, top);
        }
    float lane[TILE_LANES];
    #pragma unroll
    for (int u = 0; u < TILE_LANES / EXP_WIDTH; u++)
        VSTORE(sum[u], lane + u * EXP_WIDTH);
    tile_finish(tile_halve(lane), top, key, tile_lowest(first), s);
}

/* All items of the group call it together, each 16 of them with the same `begin`; each of the 16 gets the record. The
 * row is x[0 ... end). part: a word for each item of the group; free for the next call at once. */
INLINE void tile_stats_16(local uint *part, global const float *x, size_t begin, size_t end, float inv_temperature,
                               struct tile_stats *s)
{
    const int item = get_local_id(0), lane = item % TILE_LANES;
    local uint *all = part + (item - lane);
    fvec v[TILE_LANES / EXP_WIDTH];
    ivec keys = INT_MIN, first = INT_MAX;
    #pragma unroll
    for (int u = 0; u < TILE_LANES / EXP_WIDTH; u++) {
        float mine[EXP_WIDTH];
        for (int k = 0; k < EXP_WIDTH; k++) {
            const size_t i = begin + lane + TILE_LANES * (u * EXP_WIDTH + k);
            mine[k] = i < end ? x[i] : NAN;
        }
        v[u] = VLOAD(mine);
        keys = max(keys, tile_key(v[u]));
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    part[item] = as_uint(tile_largest(keys));
    barrier(CLK_LOCAL_MEM_FENCE);
    int key = INT_MIN;
    for (int i = 0; i < TILE_LANES; i++)
        key = max(key, as_int(all[i]));
    const float top = tile_exponent(tile_value_1(key), inv_temperature);

    float sum = 0.0f;
    #pragma unroll
    for (int u = 0; u < TILE_LANES / EXP_WIDTH; u++) {
        const ivec none = INT_MAX, step = TILE_LANES * (u * EXP_WIDTH + VLOAD(tile_lane));
        float w[EXP_WIDTH];
        first = min(first, tile_key(v[u]) == key ? step + (int) begin + lane : none);
        VSTORE(tile_weight(v[u], inv_temperature, top), w);
        for (int k = 0; k < EXP_WIDTH; k++)
            sum += w[k];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    part[item] = as_uint(tile_lowest(first));
    barrier(CLK_LOCAL_MEM_FENCE);
    int argmax = INT_MAX;
    for (int i = 0; i < TILE_LANES; i++)
        argmax = min(argmax, as_int(all[i]));
    barrier(CLK_LOCAL_MEM_FENCE);
    part[item] = as_uint(sum);
    barrier(CLK_LOCAL_MEM_FENCE);
    float sums[TILE_LANES];
    #pragma unroll
    for (int i = 0; i < TILE_LANES; i++)
        sums[i] = as_float(all[i]);
    tile_finish(tile_halve(sums), top, key, argmax, s);
}

static void tile_write(global uint *records, size_t tile, const struct tile_stats *s)
{
    vstore4((uint4) (as_uint(s->m), as_uint(s->n), as_uint(s->max), as_uint(s->argmax)), tile, records);
}
#endif
#endif
