/* SPDX-License-Identifier: MIT
 * whole.h - whole vectors of EXP_WIDTH floats from and to memory
 *
 * A GPU takes four floats at once where they are aligned, and else one after the other: of a vload4 and an aligned load
 * compilers make one that is not aligned. */
#ifndef WHOLE_H
#define WHOLE_H
#include "exp.h"

#if EXP_WIDTH == 1
#define VLOAD(p)     (*(p))
#define VSTORE(v, p) (*(p) = (v))
#else
#define VLOAD(p)     PASTE(vload, EXP_WIDTH)(0, p)
#define VSTORE(v, p) PASTE(vstore, EXP_WIDTH)(v, 0, p)
#endif

#if EXP_WIDTH == 4 && WG > 1
static fvec load_whole(global const float *p)
{
    if ((size_t) p % 16 == 0)
        return *(global const float4 *) p;
    return (fvec) (p[0], p[1], p[2], p[3]);
}

static void store_whole(fvec v, global float *p)
{
    if ((size_t) p % 16 == 0)
        *(global float4 *) p = v;
    else
        p[0] = v.x, p[1] = v.y, p[2] = v.z, p[3] = v.w;
}
#else
static fvec load_whole(global const float *p)
{
    return VLOAD(p);
}

static void store_whole(fvec v, global float *p)
{
    VSTORE(v, p);
}
#endif
#endif
