/* SPDX-License-Identifier: MIT
 * shuffle.h - values of neighbouring work-items without local memory, where a probe found a way (lib/probe_shuffle.c)
 *
 * SHUFFLE  0 there is none; 1 PTX; 2 AMD's builtins; 3 cl_khr_subgroup_shuffle
 * WAVE     of 3: the size of sub-groups that kernels ask for, 32 or 64
 *
 * LANE_XOR(v, mask): v of the item whose number differs in the bits of mask, a constant below SHUFFLE_LANES. All of
 * SHUFFLE_LANES neighbouring items have to come here together: they go in step wherever waves have 32 or 64 items, so
 * nothing depends on which. Kernels that use it are declared IN_STEP. */
#ifndef SHUFFLE_H
#define SHUFFLE_H
#include "common.h"

#define SHUFFLE_LANES 32
enum { SHUFFLE_NONE, SHUFFLE_PTX, SHUFFLE_AMD, SHUFFLE_KHR }; /* what SHUFFLE may be */

#ifdef __OPENCL_VERSION__
#ifndef SHUFFLE
#define SHUFFLE 0
#endif
#if SHUFFLE == 3
#define IN_STEP __attribute__((intel_reqd_sub_group_size(WAVE)))
#else
#define IN_STEP
#endif

#if SHUFFLE == 1
INLINE float shuffle_ptx(float v, int mask)
{
    int from;
    __asm__ volatile("shfl.sync.bfly.b32 %0, %1, %2, 0x1f, 0xffffffff;" : "=r"(from) : "r"(as_int(v)), "r"(mask));
    return as_float(from);
}
#define LANE_XOR(v, mask) shuffle_ptx(v, mask)
#elif SHUFFLE == 2
#define LANE_XOR(v, mask) as_float(__builtin_amdgcn_ds_swizzle(as_int(v), (mask) << 10 | 0x1f)) /* in 32 lanes */
#elif SHUFFLE == 3
#pragma OPENCL EXTENSION cl_khr_subgroup_shuffle : enable
#define LANE_XOR(v, mask) sub_group_shuffle_xor(v, mask)
#endif

#if SHUFFLE
/* Over SHUFFLE_LANES neighbours, in each of them; a tree, so the order is fixed. The masks are spelt out: constants. */
INLINE float wave_sum(float v)
{
    v += LANE_XOR(v, 16);
    v += LANE_XOR(v, 8);
    v += LANE_XOR(v, 4);
    v += LANE_XOR(v, 2);
    return v + LANE_XOR(v, 1);
}

/* Of numbers: where one is NaN the items may get different answers. */
INLINE float larger(float a, float b)
{
    return b > a ? b : a;
}

INLINE float wave_max(float v)
{
    v = larger(v, LANE_XOR(v, 16));
    v = larger(v, LANE_XOR(v, 8));
    v = larger(v, LANE_XOR(v, 4));
    v = larger(v, LANE_XOR(v, 2));
    return larger(v, LANE_XOR(v, 1));
}
#endif
#endif
#endif
