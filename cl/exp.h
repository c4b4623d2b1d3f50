/* SPDX-License-Identifier: MIT
 * exp.h - e^x on the device, the same bits on every device; one value or a vector at a time
 *
 * Define EXP_WIDTH (1, 2, 4, 8 or 16) before including: fvec is float or floatW, ivec int or intW.
 *
 *     m = exp_pair(x, &n)   e^x = m * 2^n, n integer-valued, m in [0.70, 1.42] (2.4 near |x| = 2^22)
 *     exp_pair_small(x, &n) the same bits for |x| < 2^22, in half the operations
 *     exp2i(n)              2^n for an integer-valued n: 0 below -126, inf above 127;  exp2i_1: of one float
 *     exp_plain(x)          e^x as a float: 0 below 2^-126, inf from 2^127.5
 *     exp_log(sum, n)       ln(sum * 2^n), one float: the way back, n as exp_pair made it
 *
 * Relative error of m: 1.7e-7 (degree 5, minimax); of exp_plain the same wherever it is a normal number.
 * x      finite    any value: scores of 1e30 still give ordered n, see below
 *        -inf      exp_pair gives (0, EXP_NONE): adds nothing, and N - EXP_NONE is finite for every other n
 *        +inf, NaN m is NaN: a sum that holds it is NaN, whatever n it is scaled by
 * Largest of two n: n > N ? n : N, never fmax, and start from N = EXP_NONE with a sum of 0.
 *
 * The rounding to n adds 1.5 * 2^23, whose last bit counts ones. Past |x| = 2^22 that no longer holds; neighbouring
 * floats are then at least 0.5 apart, an x is known no better than that, and n = 2x, m = 1 stands in: an integer,
 * exact, and in order.
 *
 * Nothing here may be contracted or reordered, so explicit fma() and FP_CONTRACT OFF, for the including file too. */
#ifndef EXP_H
#define EXP_H
#include "common.h"
#pragma OPENCL FP_CONTRACT OFF

#ifndef EXP_WIDTH
#error "exp.h needs EXP_WIDTH"
#endif
#if EXP_WIDTH == 1
typedef float fvec;
typedef int ivec;
#define AS_FVEC       as_float
#define AS_IVEC       as_int
#define FIRST_LANE(v) (v)
#else
typedef PASTE(float, EXP_WIDTH) fvec;
typedef PASTE(int, EXP_WIDTH) ivec;
#define AS_FVEC PASTE(as_float, EXP_WIDTH)
#define AS_IVEC PASTE(as_int, EXP_WIDTH)
#define FIRST_LANE(v) ((v).s0)
#endif

#define EXP_NONE (-FLT_MAX) /* the exponent of a sum that is still 0 */
#define LN2_HI   0x1.62e430p-1f
#define LN2_LO   (-0x1.05c610p-29f)

/* Rounds to the nearest integer, |x| < 2^22. */
static fvec exp_round(fvec x)
{
    const fvec magic = 0x1.8p23f;
    return (x + magic) - magic;
}

/* e^t for |t| <= ln 2 / 2 and a little more. Minimax, as in "The Two-Pass Softmax Algorithm". */
static fvec exp_poly(fvec t)
{
    fvec p = fma(t, (fvec) 0x1.0f9f9cp-7f, (fvec) 0x1.573a1ap-5f);
    p = fma(p, t, (fvec) 0x1.555a80p-3f);
    p = fma(p, t, (fvec) 0x1.fffdc6p-2f);
    p = fma(p, t, (fvec) 0x1.fffff6p-1f);
    return fma(p, t, (fvec) 1.0f);
}

/* 128 puts all ones into the exponent (inf), -127 all zeros. The comparisons let NaN through, whose result is 0. */
static fvec exp2i(fvec n)
{
    const fvec lo = -127.0f, hi = 128.0f;
    n = n < lo ? lo : n;
    n = n > hi ? hi : n;
    return AS_FVEC(AS_IVEC(n + 12583039.0f) << 23); /* 1.5 * 2^23 + 127 */
}

static float exp2i_1(float n)
{
    n = n < -127.0f ? -127.0f : n;
    n = n > 128.0f ? 128.0f : n;
    return as_float(as_int(n + 12583039.0f) << 23);
}

/* exp_pair of |x| < 2^22 or NaN. */
static fvec exp_pair_small(fvec x, fvec *n)
{
    *n = exp_round(x * M_LOG2E_F);
    return exp_poly(fma(*n, (fvec) -LN2_LO, fma(*n, (fvec) -LN2_HI, x)));
}

static fvec exp_pair(fvec x, fvec *n)
{
    const fvec most = FLT_MAX, none = EXP_NONE, zero = 0.0f;
    const fvec k = exp_round(x * M_LOG2E_F);
    const fvec t = fma(k, (fvec) -LN2_LO, fma(k, (fvec) -LN2_HI, x));
    const ivec huge = fabs(x) >= 0x1p22f; /* false for NaN */

    fvec twice = x + x;
    twice = twice > most ? most : twice;
    twice = twice < none ? none : twice;
    *n = huge ? twice : k;
    const fvec m = exp_poly(huge ? x - x : t); /* inf - inf is NaN */
    return x == -INFINITY ? zero : m;
}

static fvec exp_plain(fvec x)
{
    const fvec lo = -104.0f, hi = 104.0f;
    x = x < lo ? lo : x;
    x = x > hi ? hi : x;
    const fvec k = exp_round(x * M_LOG2E_F);
    return exp_poly(fma(k, (fvec) -LN2_LO, fma(k, (fvec) -LN2_HI, x))) * exp2i(k);
}

static float exp_log(float sum, float n)
{
    return fabs(n) >= 0x1p23f ? log(sum) + 0.5f * n : fma(n, LN2_HI, log(sum)); /* 2^23: n = 2x */
}
#endif
