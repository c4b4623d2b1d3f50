/* SPDX-License-Identifier: MIT
 * load.h - rows of caches and activations, a vector of WIDTH floats at a time, whatever their type
 *
 * Types go by their names: f32, f16, bf16, q8_0; the other block types are quant.h's. T_f16 is what a pointer to one
 * counts in: half; bf16 in ushort, q8_0 in bytes. UNITS(q8_0, n): n elements in such units, n whole blocks. A block has
 * BLOCK_q8_0 elements in BYTES_q8_0 bytes.
 *     load_f16(p, j, dim)   vector j of the row of dim elements at p, dim a multiple of 8; lanes past the end are 0
 *     load_aligned_f16(p, j, dim)   the same where rows are aligned to 16 bytes, WIDTH 8: 16 bytes at a time
 *     quant_q8_0(block, v)      vector v of one block; fastest where v is a constant after unrolling
 *     store_f16(v, p, j, dim)   the same, rounded to nearest even
 * Rows are aligned to their elements only (q8_0: to 2 bytes). A q8_0 block:  | d f16 | q[0..31] i8 |  element i = d *
 * q[i]. WIDTH  4, 8 or 16. WG, if it is defined and over 1: for GPUs. BLOCK_SPACE  local: blocks are read from local
 * memory, where a work-group has put them */
#ifndef LOAD_H
#define LOAD_H
#include "common.h"

#ifndef BLOCK_SPACE
#define BLOCK_SPACE global
#endif

typedef PASTE(float, WIDTH) vec;
typedef PASTE(int, WIDTH) ivec_w;
typedef PASTE(uint, WIDTH) uvec;
typedef PASTE(ushort, WIDTH) hvec;
typedef PASTE(uchar, WIDTH) bvec;
/* Of memory aligned to elements: one load or store where PoCL's vload16 and vstore16 are many. */
typedef vec vec_any __attribute__((aligned(4)));
typedef hvec hvec_any __attribute__((aligned(2)));
typedef bvec bvec_any __attribute__((aligned(2)));

#define T_f32  float
#define T_f16  half
#define T_bf16 ushort
#define T_q8_0 uchar
#define UNITS_f32(n)  (n)
#define UNITS_f16(n)  (n)
#define UNITS_bf16(n) (n)
#define UNITS_q8_0(n) ((n) / BLOCK_q8_0 * BYTES_q8_0)
#define BLOCK_f32  1
#define BLOCK_f16  1
#define BLOCK_bf16 1
#define BLOCK_q8_0 32
#define BYTES_q8_0 34
#define UNITS(type, n) PASTE(UNITS_, type)(n)

/* Is vector j the half one at the end? Only float16 has one: rows are multiples of 8. */
#define HALF_END(j, dim) (WIDTH == 16 && (dim) % 16 && (j) == (dim) / 16)

#if WIDTH == 16
#define WIDEN(v8) (vec)(v8, (float8) 0.0f)
#else
#define WIDEN(v8) 0.0f /* never asked for */
#endif

INLINE vec load_f32(global const float *p, int j, int dim)
{
    if (HALF_END(j, dim))
        return WIDEN(vload8(0, p + WIDTH * j));
    return PASTE(vload, WIDTH)(0, p + WIDTH * j);
}

/* Halves as bits. PoCL 3.1 takes the address of vload_halfN for a multiple of N halves when it does not fold the load
 * into the conversion, and the process dies of one that is not: so they are loaded as integers. */
INLINE float8 half8_bits(ushort8 bits)
{
    return vload_half8(0, (const half *) &bits);
}

#if defined(__AVX512F__) && defined(__has_builtin)
#if __has_builtin(__builtin_ia32_vcvtph2ps512_mask)
#define HAVE_CVTPH2PS512
#endif
#if __has_builtin(__builtin_ia32_permvarsf512)
#define HAVE_PERMPS512
#endif
#endif

/* Where one instruction does it clang must be told: it makes three of two times eight. */
#if WIDTH == 16
INLINE float16 half16_bits(ushort16 bits)
{
#ifdef HAVE_CVTPH2PS512
    return __builtin_ia32_vcvtph2ps512_mask(as_short16(bits), (float16) 0.0f, 0xffff, 4);
#else
    return (float16) (half8_bits(bits.lo), half8_bits(bits.hi));
#endif
}
#endif

INLINE vec load_f16(global const half *p, int j, int dim)
{
#if WIDTH == 16
    if (HALF_END(j, dim))
        return WIDEN(half8_bits(vload8(0, (global const ushort *) p + 16 * j)));
    return half16_bits(*(global const hvec_any *) (p + 16 * j));
#elif WIDTH == 8
    return half8_bits(vload8(0, (global const ushort *) p + 8 * j));
#else
    const hvec bits = PASTE(vload, WIDTH)(0, (global const ushort *) p + WIDTH * j);
    return PASTE(vload_half, WIDTH)(0, (const half *) &bits);
#endif
}

INLINE vec load_bf16(global const ushort *p, int j, int dim)
{
    if (HALF_END(j, dim))
        return WIDEN(as_float8(convert_uint8(vload8(0, p + WIDTH * j)) << 16));
    return PASTE(as_float, WIDTH)(PASTE(convert_uint, WIDTH)(*(global const hvec_any *) (p + WIDTH * j)) << 16);
}

/* The f16 at p, in all lanes. On CPUs by vector conversions: PoCL's for one half is fifteen instructions with a branch
 * among them. */
INLINE float8 load_splat8_f16(BLOCK_SPACE const uchar *p)
{
    return half8_bits(*(BLOCK_SPACE const ushort *) p);
}

#if !(defined(WG) && WG > 1)
INLINE float4 half4_bits(ushort4 bits)
{
    return vload_half4(0, (const half *) &bits);
}

INLINE float4 load_half4(BLOCK_SPACE const uchar *p)
{
    return half4_bits(vload4(0, (BLOCK_SPACE const ushort *) p));
}
#endif

/* The same; 8 bytes are read: four are converted in less time than as many as there are lanes. */
INLINE vec load_splat_f16(BLOCK_SPACE const uchar *p)
{
#if defined(WG) && WG > 1
    return vload_half(0, (BLOCK_SPACE const half *) p);
#else
    return (vec) load_half4(p).s0;
#endif
}

/* WIDTH bytes at an even address. A GPU's compiler does not know that it is even, and would load them one by one. */
#if WIDTH == 4
#define QUANT_PAIRS 2
#elif WIDTH == 8
#define QUANT_PAIRS 4
#else
#define QUANT_PAIRS 8
#endif
INLINE bvec quant_bytes(BLOCK_SPACE const uchar *p)
{
#if defined(WG) && WG > 1
    return PASTE(as_uchar, WIDTH)(PASTE(vload, QUANT_PAIRS)(0, (BLOCK_SPACE const ushort *) p));
#else
    return *(BLOCK_SPACE const bvec_any *) p;
#endif
}

/* Vector v of q. */
INLINE vec whole_q8_0(BLOCK_SPACE const uchar *block, int g, int v)
{
    return PASTE(convert_float, WIDTH)(PASTE(as_char, WIDTH)(quant_bytes(block + 2 + v * WIDTH)));
}

INLINE vec quant_q8_0(BLOCK_SPACE const uchar *block, int v)
{
    return whole_q8_0(block, 0, v) * load_splat_f16(block);
}

INLINE vec load_q8_0(BLOCK_SPACE const uchar *p, int j, int dim)
{
    const int n = BLOCK_q8_0 / WIDTH;
    return quant_q8_0(p + j / n * BYTES_q8_0, j % n);
}

#if WIDTH == 8
/* Eight elements as they lie. vloada_half8 is eight loads in some compilers. */
INLINE vec wide_f16(uint4 bits)
{
    return vload_half8(0, (const half *) &bits);
}

INLINE vec wide_bf16(uint4 bits)
{
    const uint4 even = bits << 16, odd = bits & 0xffff0000;
    return as_float8((uint8) (even.x, odd.x, even.y, odd.y, even.z, odd.z, even.w, odd.w));
}

INLINE vec load_aligned_f32(global const float *p, int j, int dim)
{
    global const float4 *at = (global const float4 *) p + 2 * j;
    return (vec) (at[0], at[1]);
}

INLINE vec load_aligned_f16(global const half *p, int j, int dim)
{
    return wide_f16(((global const uint4 *) p)[j]);
}

INLINE vec load_aligned_bf16(global const ushort *p, int j, int dim)
{
    return wide_bf16(((global const uint4 *) p)[j]);
}

#endif

INLINE void store_f32(vec v, global float *p, int j, int dim)
{
#if WIDTH == 16
    if (HALF_END(j, dim)) {
        vstore8(v.lo, 0, p + 16 * j);
        return;
    }
    *(global vec_any *) (p + 16 * j) = v;
#else
    PASTE(vstore, WIDTH)(v, 0, p + WIDTH * j);
#endif
}

INLINE void store_f16(vec v, global half *p, int j, int dim)
{
    global ushort *at = (global ushort *) p + WIDTH * j;
    hvec bits;
    PASTE(PASTE(vstore_half, WIDTH), _rte)(v, 0, (half *) &bits);
#if WIDTH == 16
    if (HALF_END(j, dim)) {
        vstore8(bits.lo, 0, at);
        return;
    }
#endif
    PASTE(vstore, WIDTH)(bits, 0, at);
}

/* NaN keeps its sign and becomes quiet. */
INLINE hvec to_bf16(vec v)
{
    const uvec bits = PASTE(as_uint, WIDTH)(v), rounded = bits + 0x7fff + (bits >> 16 & 1);
    return PASTE(convert_ushort, WIDTH)((v == v ? rounded : bits | 0x400000) >> 16);
}

INLINE void store_bf16(vec v, global ushort *p, int j, int dim)
{
#if WIDTH == 16
    if (HALF_END(j, dim)) {
        vstore8(to_bf16(v).lo, 0, p + 16 * j);
        return;
    }
#endif
    PASTE(vstore, WIDTH)(to_bf16(v), 0, p + WIDTH * j);
}
#endif
