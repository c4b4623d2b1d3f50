/* SPDX-License-Identifier: MIT
 * row.h - how a work-group walks a row: vectors of VEC floats, items interleaved, sums and maxima in fixed trees
 *
 * Item `item` of WG takes elements (k*WG + item)*VEC ... + VEC, k = 0, 1, ... WG = 1 with VEC = 16 is one stream of
 * wide vectors (CPU-like), WG = 64..256 with VEC = 4 is neighbouring items on neighbouring vectors (GPU-like). Rows
 * end anywhere: the last vector is filled up with a value that changes nothing.
 *
 * WG  work-items in a group, a power of two;  VEC  floats in a vector, 1 4 16   (values: row_params.h) */
#ifndef ROW_H
#define ROW_H
#define EXP_WIDTH VEC
#include "exp.h"
#include "shuffle.h"
#include "whole.h"

#define STRIDE (WG * VEC) /* of one item's consecutive vectors */

/* Functions that are handed local memory must vanish into their kernel: where one is left, PoCL 3.1 turns the kernel's
 * local array into a global one that the work-groups of all threads share. */
#define WITH_LOCAL static __attribute__((always_inline))

static size_t div_up(size_t a, size_t b)
{
    return (a + b - 1) / b;
}

static fvec load(global const float *p, size_t i, size_t end, float fill)
{
    if (i + VEC <= end)
        return load_whole(p + i);
    float lane[VEC];
    for (int l = 0; l < VEC; l++)
        lane[l] = i + l < end ? p[i + l] : fill;
    return VLOAD(lane);
}

static void store(fvec v, global float *p, size_t i, size_t end)
{
    if (i + VEC <= end) {
        store_whole(v, p + i);
        return;
    }
    float lane[VEC];
    VSTORE(v, lane);
    #pragma unroll
    for (int l = 0; l < VEC; l++) /* not to the end: an index that is no constant puts lane[] in memory */
        if (i + l < end)
            p[i + l] = lane[l];
}

static float lanes_sum(fvec v)
{
    float lane[VEC];
    VSTORE(v, lane);
    for (int step = VEC / 2; step > 0; step /= 2)
        for (int l = 0; l < step; l++)
            lane[l] += lane[l + step];
    return lane[0];
}

/* NaN lanes lose, unless lane 0 is NaN: start maxima from a number. */
static float lanes_max(fvec v)
{
    float lane[VEC];
    VSTORE(v, lane);
    for (int step = VEC / 2; step > 0; step /= 2)
        for (int l = 0; l < step; l++)
            lane[l] = lane[l + step] > lane[l] ? lane[l + step] : lane[l];
    return lane[0];
}

#define WITH_WAVES (SHUFFLE && WG >= SHUFFLE_LANES) /* sums and maxima go through registers as far as they can */

/* Every item gets the result. part: WG floats, free for the next call at once. */
WITH_LOCAL float group_sum(local float *part, float v)
{
#if WG > 1
    const int item = get_local_id(0);
    barrier(CLK_LOCAL_MEM_FENCE);
#if WITH_WAVES
    v = wave_sum(v);
    if (item % SHUFFLE_LANES == 0)
        part[item / SHUFFLE_LANES] = v;
    barrier(CLK_LOCAL_MEM_FENCE);
    v = part[0];
    for (int i = 1; i < WG / SHUFFLE_LANES; i++)
        v += part[i];
#else
    part[item] = v;
    for (int step = WG / 2; step > 0; step /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < step)
            part[item] += part[item + step];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    v = part[0];
#endif
#endif
    return v;
}

WITH_LOCAL float group_max(local float *part, float v)
{
#if WG > 1
    const int item = get_local_id(0);
    barrier(CLK_LOCAL_MEM_FENCE);
#if WITH_WAVES
    v = wave_max(v);
    if (item % SHUFFLE_LANES == 0)
        part[item / SHUFFLE_LANES] = v;
    barrier(CLK_LOCAL_MEM_FENCE);
    v = part[0];
    for (int i = 1; i < WG / SHUFFLE_LANES; i++)
        v = part[i] > v ? part[i] : v;
#else
    part[item] = v;
    for (int step = WG / 2; step > 0; step /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < step && part[item + step] > part[item])
            part[item] = part[item + step];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    v = part[0];
#endif
#endif
    return v;
}
#endif
