/* SPDX-License-Identifier: MIT
 * quant.h - the blocks of weights, read as load.h reads q8_0, by the same names for each type
 *
 * Blocks as ggml defines them, one beside the other, aligned to 2 bytes; d, m and dmin are f16:
 *
 *     q4_0    0 | d | qs[16] |                                         18    d * (q - 8)
 *     q4_1    0 | d | m | qs[16] |                                     20    d * q + m
 *     q5_0    0 | d | qh[4] | qs[16] |                                 22    d * (q - 16)
 *     q5_1    0 | d | m | qh[4] | qs[16] |                             24    d * q + m
 *     q4_k    0 | d | dmin | scales[12] | qs[128] |                   144    (d * scale) * q - dmin * min
 *     q5_k    0 | d | dmin | scales[12] | qh[32] | qs[128] |          176    the same
 *     q6_k    0 | ql[128] | qh[64] | i8 scales[16] | d |              210    (d * scale) * (q - 32)
 *
 * Blocks of 32: byte i of qs has the low four bits of element i below those of element i + 16; bit i of qh is the fifth
 * of element i. q4_k, q5_k: eight parts of 32 elements. Parts 2g and 2g + 1 share bytes 32g .. 32g + 31 of qs, the even
 * one has the low nibbles; bit p of byte i of qh is the fifth of element i of part p. Scale and minimum of a part have
 * six bits each, in three rows of four bytes:
 *
 *     a[p]   | scale of p + 4, bits 5 4 | scale of p            |      p = 0..3
 *     b[p]   | min of p + 4, bits 5 4   | min of p              |
 *     c[p]   | min of p + 4, bits 3..0  | scale of p + 4, 3..0  |
 *
 * q6_k: two halves of four parts of 32 elements. Parts 0 and 2 share the first 32 bytes of the half's ql, parts 1 and 3
 * the others, 0 and 1 in low nibbles; bits 2p and 2p + 1 of byte i of the half's qh are the upper two of element i of
 * part p. A scale is of 16 elements.
 *
 * An element is the exact value rounded once, so that every device and every order of contraction gives the same bits:
 * an f16 has 11 bits, scales at most 7, q at most 5 beside its sign (or is a power of two), so all products are exact
 * in float32, and the sum of two is rounded in one fma. All are multiples of 2^-24: no float32 is subnormal. */
#ifndef QUANT_H
#define QUANT_H
#include "load.h"

#define T_q4_0 uchar
#define T_q4_1 uchar
#define T_q5_0 uchar
#define T_q5_1 uchar
#define T_q4_k uchar
#define T_q5_k uchar
#define T_q6_k uchar
#define BLOCK_q4_0 32
#define BLOCK_q4_1 32
#define BLOCK_q5_0 32
#define BLOCK_q5_1 32
#define BLOCK_q4_k 256
#define BLOCK_q5_k 256
#define BLOCK_q6_k 256
#define BYTES_q4_0 18
#define BYTES_q4_1 20
#define BYTES_q5_0 22
#define BYTES_q5_1 24
#define BYTES_q4_k 144
#define BYTES_q5_k 176
#define BYTES_q6_k 210
#define UNITS_q4_0(n) ((n) / BLOCK_q4_0 * BYTES_q4_0)
#define UNITS_q4_1(n) ((n) / BLOCK_q4_1 * BYTES_q4_1)
#define UNITS_q5_0(n) ((n) / BLOCK_q5_0 * BYTES_q5_0)
#define UNITS_q5_1(n) ((n) / BLOCK_q5_1 * BYTES_q5_1)
#define UNITS_q4_k(n) ((n) / BLOCK_q4_k * BYTES_q4_k)
#define UNITS_q5_k(n) ((n) / BLOCK_q5_k * BYTES_q5_k)
#define UNITS_q6_k(n) ((n) / BLOCK_q6_k * BYTES_q6_k)

typedef PASTE(uchar, WIDTH) bvec;
typedef PASTE(char, WIDTH) cvec;
typedef PASTE(short, WIDTH) svec;

#if WIDTH == 4
#define LANE_BITS (hvec)(1, 2, 4, 8)
#define QUANT_PAIRS 2
#elif WIDTH == 8
#define LANE_BITS (hvec)(1, 2, 4, 8, 16, 32, 64, 128)
#define QUANT_PAIRS 4
#else
#define LANE_BITS (hvec)(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
#define QUANT_PAIRS 8
#endif

/* WIDTH bytes at an even address. A GPU's compiler does not know that it is even, and would load them one by one. */
INLINE bvec quant_bytes(global const uchar *p)
{
#if defined(WG) && WG > 1
    return PASTE(as_uchar, WIDTH)(PASTE(vload, QUANT_PAIRS)(0, (global const ushort *) p));
#else
    return PASTE(vload, WIDTH)(0, p);
#endif
}

/* ---- blocks of 32 ------------------------------------------------------------------------------------------------ */

/* The nibbles of elements e .. e + WIDTH - 1. */
INLINE bvec quant_nibbles(global const uchar *qs, int e)
{
    return quant_bytes(qs + e % 16) >> (uchar) (e / 16 * 4) & (uchar) 15;
}

/* The same with five bits. */
INLINE svec quant_fives(global const uchar *qh, global const uchar *qs, int e)
{
    const hvec bits = (ushort) (((global const ushort *) qh)[e / 16] >> e % 16);
    return PASTE(convert_short, WIDTH)(quant_nibbles(qs, e)) | (((bits & LANE_BITS) == LANE_BITS) & (short) 16);
}

INLINE vec quant_q4_0(global const uchar *block, int v)
{
    const cvec q = PASTE(as_char, WIDTH)(quant_nibbles(block + 2, v * WIDTH)) - (char) 8;
    return PASTE(convert_float, WIDTH)(q) * load_splat_f16(block);
}

INLINE vec quant_q4_1(global const uchar *block, int v)
{
    const vec q = PASTE(convert_float, WIDTH)(quant_nibbles(block + 4, v * WIDTH));
    return fma(load_splat_f16(block), q, load_splat_f16(block + 2));
}

INLINE vec quant_q5_0(global const uchar *block, int v)
{
    const svec q = quant_fives(block + 2, block + 6, v * WIDTH) - (short) 16;
    return PASTE(convert_float, WIDTH)(q) * load_splat_f16(block);
}

INLINE vec quant_q5_1(global const uchar *block, int v)
{
    const vec q = PASTE(convert_float, WIDTH)(quant_fives(block + 4, block + 8, v * WIDTH));
    return fma(load_splat_f16(block), q, load_splat_f16(block + 2));
}

/* ---- blocks of 256 ----------------------------------------------------------------------------------------------- */

/* d * scale and dmin * min of a part of q4_k or q5_k. On CPUs of all eight, of which one is taken: that is fewer
 * instructions than two parts take alone, and is done once where a block is unrolled. */
INLINE float2 quant_part(global const uchar *block, int part)
{
#if defined(WG) && WG > 1
    const uchar a = block[4 + part % 4], b = block[8 + part % 4], c = block[12 + part % 4];
    const int scale = part < 4 ? a & 63 : (c & 15) | a >> 6 << 4, least = part < 4 ? b & 63 : c >> 4 | b >> 6 << 4;
    global const half *d = (global const half *) block;
    return (float2) (vload_half(0, d) * scale, vload_half(1, d) * least);
#else
    const uint a = as_uint(vload4(1, block)), b = as_uint(vload4(2, block)), c = as_uint(vload4(3, block));
    const uint2 scales = (uint2) (a & 0x3f3f3f3f, (c & 0x0f0f0f0f) | (a >> 2 & 0x30303030)),
                mins = (uint2) (b & 0x3f3f3f3f, (c >> 4 & 0x0f0f0f0f) | (b >> 2 & 0x30303030));
    float scale[8], least[8];
    vstore8(convert_float8(as_uchar8(scales)) * load_splat8_f16(block), 0, scale);
    vstore8(convert_float8(as_uchar8(mins)) * load_splat8_f16(block + 2), 0, least);
    return (float2) (scale[part], least[part]);
#endif
}

/* The nibbles of elements e .. of q4_k and q5_k. */
INLINE bvec quant_nibbles_k(global const uchar *qs, int e)
{
    return quant_bytes(qs + e / 64 * 32 + e % 32) >> (uchar) (e / 32 % 2 * 4) & (uchar) 15;
}

INLINE vec quant_q4_k(global const uchar *block, int v)
{
    const int e = v * WIDTH;
    const float2 part = quant_part(block, e / 32);
    return fma((vec) part.x, PASTE(convert_float, WIDTH)(quant_nibbles_k(block + 16, e)), (vec) -part.y);
}

INLINE vec quant_q5_k(global const uchar *block, int v)
{
    const int e = v * WIDTH;
    const float2 part = quant_part(block, e / 32);
    const bvec fifth = (quant_bytes(block + 16 + e % 32) >> (uchar) (e / 32) & (uchar) 1) << (uchar) 4;
    return fma((vec) part.x, PASTE(convert_float, WIDTH)(quant_nibbles_k(block + 48, e) | fifth), (vec) -part.y);
}

/* d * scale of 16 elements of q6_k; on CPUs of all, as above. */
INLINE float quant_scale_q6_k(global const uchar *block, int i)
{
    global const char *scales = (global const char *) block + 192;
#if defined(WG) && WG > 1
    return vload_half(0, (global const half *) (block + 208)) * scales[i];
#else
    const float8 d = load_splat8_f16(block + 208);
    float scale[16];
    vstore16(convert_float16(vload16(0, scales)) * (float16) (d, d), 0, scale);
    return scale[i];
#endif
}

INLINE vec quant_q6_k(global const uchar *block, int v)
{
    const int e = v * WIDTH, part = e / 32 % 4;
    const bvec low = quant_bytes(block + e / 128 * 64 + part % 2 * 32 + e % 32) >> (uchar) (part / 2 * 4) & (uchar) 15,
               high = quant_bytes(block + 128 + e / 128 * 32 + e % 32) >> (uchar) (2 * part) & (uchar) 3;
    const cvec q = PASTE(as_char, WIDTH)(low | high << (uchar) 4) - (char) 32;
    return PASTE(convert_float, WIDTH)(q) * quant_scale_q6_k(block, e / 16);
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

/* As in load.h. */
#define LOAD_BLOCKS(type, p, j) \
    quant_##type((p) + (j) / (BLOCK_##type / WIDTH) * BYTES_##type, (j) % (BLOCK_##type / WIDTH))
#define load_q4_0(p, j, dim) LOAD_BLOCKS(q4_0, p, j)
#define load_q4_1(p, j, dim) LOAD_BLOCKS(q4_1, p, j)
#define load_q5_0(p, j, dim) LOAD_BLOCKS(q5_0, p, j)
#define load_q5_1(p, j, dim) LOAD_BLOCKS(q5_1, p, j)
#define load_q4_k(p, j, dim) LOAD_BLOCKS(q4_k, p, j)
#define load_q5_k(p, j, dim) LOAD_BLOCKS(q5_k, p, j)
#define load_q6_k(p, j, dim) LOAD_BLOCKS(q6_k, p, j)
#endif
