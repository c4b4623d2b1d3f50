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
 * in float32, and the sum of two is rounded in one fma. All are multiples of 2^-24: no float32 is subnormal.
 *
 * Of a block of type T, in vectors of WIDTH; g: a group of 64 columns of a block of 256, else 0; v: a vector of the
 * group, a constant after unrolling:
 *     whole_T(block, g, v)       q, or q - 8, q - 16, q - 32, exactly
 *     few_T(block, g, v)         the same, in the way that is faster where few sums share it (quant_looked)
 *     scales_T(block, &s)        what it is multiplied by and what is added, of the whole block
 *     element_T(&s, q, g, v, c)  the elements; c: 0 or 1, which copy of what is added (quant_with_least)
 *     IS_SCALED_T                1: all elements of a block are s.d * q. A sum of q * x is scaled once; with d = Inf
 *                                it is Inf where the sum of elements, Inf * 0 among them, is NaN
 *     quant_T(block, v)          vector v of the block
 *     part_T(block, p)           scale and what is added of part p alone: 32 elements, of q6_k 16 */
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

#define IS_SCALED_q8_0 1
#define IS_SCALED_q4_0 1
#define IS_SCALED_q4_1 0
#define IS_SCALED_q5_0 1
#define IS_SCALED_q5_1 0
#define IS_SCALED_q4_k 0
#define IS_SCALED_q5_k 0
#define IS_SCALED_q6_k 0

#if WIDTH == 4
#define LANE_BITS (uvec)(1, 2, 4, 8)
#elif WIDTH == 8
#define LANE_BITS (uvec)(1, 2, 4, 8, 16, 32, 64, 128)
#else
#define LANE_BITS (uvec)(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
#endif

/* The bytes at p, which is even, as 32 bits each. */
INLINE uvec quant_ints(BLOCK_SPACE const uchar *p)
{
    return PASTE(convert_uint, WIDTH)(quant_bytes(p));
}

/* n - less for an integer n below 2^23 in the bits of `low`: it is the mantissa's, and no conversion is needed. `high`
 * has n in its upper bits, above four that are 0: there a mantissa of 2^19 has its ones. */
INLINE vec quant_low(uvec low, float less)
{
    return PASTE(as_float, WIDTH)(low | 0x4b000000u) - (0x1p23f + less);
}

INLINE vec quant_high(uvec high, float less)
{
    return PASTE(as_float, WIDTH)(high | 0x49000000u) - (0x1p19f + less);
}

struct quant_scales {
    vec d, m;                      /* of a block of 32, in all lanes */
    float part[16], least_of[16];  /* of the parts of a block of 256; least_of twice, see quant_with_least */
};

typedef uint uint_even __attribute__((aligned(2)));

/* ---- blocks of 32 ------------------------------------------------------------------------------------------------ */

/* The lowest four bits, less `less`, looked up where one instruction does it, on the unit that has widened the bytes.
 * The two of quant_low are faster where multiply-adds are many, and leave other units with nothing to do. */
INLINE vec quant_looked(uvec b, float less)
{
#if WIDTH == 16 && defined(HAVE_PERMPS512)
    const float16 all = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return __builtin_ia32_permvarsf512(all - less, as_int16(b));
#else
    return quant_low(b & 15, less);
#endif
}

INLINE vec quant_nibbles(BLOCK_SPACE const uchar *qs, int v, float less, const bool few)
{
    const int e = v * WIDTH;
    const uvec b = quant_ints(qs + e % 16);
    return e >= 16 ? quant_high(b & 0xf0, less) : few ? quant_looked(b, less) : quant_low(b & 15, less);
}

/* Bits e .. e + WIDTH - 1 of 32, each 0 or all ones in its lane. With a constant e they stay where they are, and one
 * instruction compares them with a mask; a GPU loads the 16 bits it wants. */
INLINE uvec quant_fifth(BLOCK_SPACE const uchar *qh, int e)
{
#if defined(WG) && WG > 1
    const uvec set = (uint) (((BLOCK_SPACE const ushort *) qh)[e / 16] >> e % 16) & LANE_BITS;
#else
    const uvec set = *(BLOCK_SPACE const uint_even *) qh & LANE_BITS << (uint) e;
#endif
    return PASTE(as_uint, WIDTH)(set != 0);
}

/* The same with a fifth bit. */
INLINE vec quant_fives(BLOCK_SPACE const uchar *qh, BLOCK_SPACE const uchar *qs, int v, float less)
{
    const int e = v * WIDTH;
    const uvec b = quant_ints(qs + e % 16);
#if defined(WG) && WG > 1
    const uvec low = quant_fifth(qh, e), high = low;
#else
    const uvec low = quant_fifth(qh, e % 16), high = quant_fifth(qh, 16 + e % 16);
#endif
    return e < 16 ? quant_low((b & 15) | (low & 0x10), less) : quant_high((b & 0xf0) | (high & 0x100), less);
}

INLINE vec whole_q4_0(BLOCK_SPACE const uchar *block, int g, int v)
{
    return quant_nibbles(block + 2, v, 8.0f, false);
}

INLINE vec few_q4_0(BLOCK_SPACE const uchar *block, int g, int v)
{
    return quant_nibbles(block + 2, v, 8.0f, true);
}

INLINE vec whole_q4_1(BLOCK_SPACE const uchar *block, int g, int v)
{
    return quant_nibbles(block + 4, v, 0.0f, false);
}

INLINE vec few_q4_1(BLOCK_SPACE const uchar *block, int g, int v)
{
    return quant_nibbles(block + 4, v, 0.0f, true);
}

INLINE vec whole_q5_0(BLOCK_SPACE const uchar *block, int g, int v)
{
    return quant_fives(block + 2, block + 6, v, 16.0f);
}

INLINE vec whole_q5_1(BLOCK_SPACE const uchar *block, int g, int v)
{
    return quant_fives(block + 4, block + 8, v, 0.0f);
}

#define few_q8_0 whole_q8_0
#define few_q5_0 whole_q5_0
#define few_q5_1 whole_q5_1

INLINE void quant_one_scale(BLOCK_SPACE const uchar *block, struct quant_scales *s)
{
    s->d = load_splat_f16(block);
}

INLINE void quant_two_scales(BLOCK_SPACE const uchar *block, struct quant_scales *s)
{
#if defined(WG) && WG > 1
    s->d = load_splat_f16(block);
    s->m = load_splat_f16(block + 2);
#else
    const float4 both = load_half4(block);
    s->d = (vec) both.s0;
    s->m = (vec) both.s1;
#endif
}

#if !(defined(WG) && WG > 1)
/* d of two blocks, or d and m of two, which follow each other, in two floats or four. They are put together outside of
 * vector registers, where nothing else waits for its turn. */
INLINE float4 quant_d_of_two(BLOCK_SPACE const uchar *block, int bytes)
{
    const uint first = *(BLOCK_SPACE const ushort *) block, second = *(BLOCK_SPACE const ushort *) (block + bytes);
    return half4_bits(as_ushort4((ulong) (first | second << 16)));
}

INLINE float4 quant_d_m_of_two(BLOCK_SPACE const uchar *block, int bytes)
{
    const uint first = *(BLOCK_SPACE const uint_even *) block,
               second = *(BLOCK_SPACE const uint_even *) (block + bytes);
    return half4_bits(as_ushort4(first | (ulong) second << 32));
}
#endif

#define scales_q8_0(block, s) quant_one_scale(block, s)
#define scales_q4_0(block, s) quant_one_scale(block, s)
#define scales_q4_1(block, s) quant_two_scales(block, s)
#define scales_q5_0(block, s) quant_one_scale(block, s)
#define scales_q5_1(block, s) quant_two_scales(block, s)
#define element_q8_0(s, q, g, v, c) ((q) * (s)->d)
#define element_q4_0(s, q, g, v, c) ((q) * (s)->d)
#define element_q4_1(s, q, g, v, c) fma((s)->d, q, (s)->m)
#define element_q5_0(s, q, g, v, c) ((q) * (s)->d)
#define element_q5_1(s, q, g, v, c) fma((s)->d, q, (s)->m)

/* ---- blocks of 256 ----------------------------------------------------------------------------------------------- */

/* d * scale and -dmin * min of a part of q4_k or q5_k. */
INLINE float2 quant_part(BLOCK_SPACE const uchar *block, int part)
{
    const uchar a = block[4 + part % 4], b = block[8 + part % 4], c = block[12 + part % 4];
    const int scale = part < 4 ? a & 63 : (c & 15) | a >> 6 << 4, least = part < 4 ? b & 63 : c >> 4 | b >> 6 << 4;
    BLOCK_SPACE const half *d = (BLOCK_SPACE const half *) block;
    return (float2) (vload_half(0, d) * scale, -vload_half(1, d) * least);
}

/* The same of all eight, in fewer instructions than two parts take alone. */
INLINE void quant_parts(BLOCK_SPACE const uchar *block, struct quant_scales *s)
{
    BLOCK_SPACE const uint_even *words = (BLOCK_SPACE const uint_even *) block;
    const uint a = words[1], b = words[2], c = words[3];
    const uint scales = (c & 0x0f0f0f0f) | (a >> 2 & 0x30303030), mins = (c >> 4 & 0x0f0f0f0f) | (b >> 2 & 0x30303030);
    const uchar8 all_scales = as_uchar8((a & 0x3f3f3f3f) | (ulong) scales << 32),
                 all_mins = as_uchar8((b & 0x3f3f3f3f) | (ulong) mins << 32);
    const float8 least = convert_float8(all_mins) * -load_splat8_f16(block + 2);
    vstore8(convert_float8(all_scales) * load_splat8_f16(block), 0, s->part);
    vstore8(least, 0, s->least_of);
    vstore8(least, 1, s->least_of);
}

/* The bytes of which one half is that of the quants: the even parts are low. */
INLINE uvec quant_ints_k(BLOCK_SPACE const uchar *qs, int g, int v)
{
    return quant_ints(qs + g * 32 + v * WIDTH % 32);
}

INLINE vec whole_q4_k(BLOCK_SPACE const uchar *block, int g, int v)
{
    const uvec b = quant_ints_k(block + 16, g, v);
    return v * WIDTH < 32 ? quant_low(b & 15, 0.0f) : quant_high(b & 0xf0, 0.0f);
}

INLINE vec few_q4_k(BLOCK_SPACE const uchar *block, int g, int v)
{
    return v * WIDTH < 32 ? quant_looked(quant_ints_k(block + 16, g, v), 0.0f) : whole_q4_k(block, g, v);
}

INLINE vec whole_q5_k(BLOCK_SPACE const uchar *block, int g, int v)
{
    const uvec b = quant_ints_k(block + 48, g, v), h = quant_ints(block + 16 + v * WIDTH % 32) >> (uint) (2 * g);
    return v * WIDTH < 32 ? quant_low((b & 15) | (h & 1) << 4, 0.0f) : quant_high((b & 0xf0) | (h & 2) << 7, 0.0f);
}

INLINE vec whole_q6_k(BLOCK_SPACE const uchar *block, int g, int v)
{
    const uint high = 4 * (g % 2); /* of ql and of qh: the second group of a half has upper bits */
    const uvec low = quant_ints(block + g / 2 * 64 + v * WIDTH) >> high,
               h = quant_ints(block + 128 + g / 2 * 32 + v * WIDTH % 32) >> (high + v * WIDTH / 32 * 2);
    return quant_low((low & 15) | (h & 3) << 4, 32.0f);
}

#define few_q5_k whole_q5_k
#define few_q6_k whole_q6_k

INLINE void scales_q6_k(BLOCK_SPACE const uchar *block, struct quant_scales *s)
{
    const float8 d = load_splat8_f16(block + 208);
    vstore16(convert_float16(vload16(12, (BLOCK_SPACE const char *) block)) * (float16) (d, d), 0, s->part);
}

#define scales_q4_k(block, s) quant_parts(block, s)
#define scales_q5_k(block, s) quant_parts(block, s)
#define element_q6_k(s, q, g, v, c) ((q) * (s)->part[(g) * 4 + (v) * WIDTH / 16])
#define element_q4_k(s, q, g, v, c) quant_with_least(s, q, (g) * 2 + (v) * WIDTH / 32, c)
#define element_q5_k(s, q, g, v, c) quant_with_least(s, q, (g) * 2 + (v) * WIDTH / 32, c)

/* Vectors take turns in the copies of what is added: what one instruction wants from memory in all lanes is its
 * operand, what two want compilers load to a register, which takes as long as a multiplication. */
INLINE vec quant_with_least(const struct quant_scales *s, vec q, int part, int c)
{
    return fma((vec) s->part[part], q, (vec) s->least_of[8 * c + part]);
}

/* ---- parts of blocks --------------------------------------------------------------------------------------------- */

INLINE float2 quant_scale(BLOCK_SPACE const uchar *block)
{
    return (float2) (vload_half(0, (BLOCK_SPACE const half *) block), 0.0f);
}

INLINE float2 quant_scale_and_least(BLOCK_SPACE const uchar *block)
{
    return (float2) (vload_half(0, (BLOCK_SPACE const half *) block), vload_half(1, (BLOCK_SPACE const half *) block));
}

INLINE float2 part_q6_k(BLOCK_SPACE const uchar *block, int p)
{
    BLOCK_SPACE const char *scales = (BLOCK_SPACE const char *) block + 192;
    return (float2) (vload_half(104, (BLOCK_SPACE const half *) block) * scales[p], 0.0f);
}

#define part_q8_0(block, p) quant_scale(block)
#define part_q4_0(block, p) quant_scale(block)
#define part_q4_1(block, p) quant_scale_and_least(block)
#define part_q5_0(block, p) quant_scale(block)
#define part_q5_1(block, p) quant_scale_and_least(block)
#define part_q4_k(block, p) quant_part(block, p)
#define part_q5_k(block, p) quant_part(block, p)

/* ---- vectors of blocks ------------------------------------------------------------------------------------------- */

/* All scales of a block of 256 are computed for one vector, and once where a block is unrolled; a GPU's item takes
 * one vector, and has use for one. */
#define QUANT_VECTOR(type) \
    INLINE vec quant_##type(BLOCK_SPACE const uchar *block, int v) \
    { \
        const int g = v * WIDTH / 64, in_g = v % (64 / WIDTH); \
        struct quant_scales s; \
        scales_##type(block, &s); \
        return element_##type(&s, whole_##type(block, g, in_g), g, in_g, 0); \
    }
QUANT_VECTOR(q4_0)
QUANT_VECTOR(q4_1)
QUANT_VECTOR(q5_0)
QUANT_VECTOR(q5_1)
#if defined(WG) && WG > 1
#define QUANT_VECTOR_OF_PART(type) \
    INLINE vec quant_##type(BLOCK_SPACE const uchar *block, int v) \
    { \
        const float2 part = quant_part(block, v * WIDTH / 32); \
        return fma((vec) part.x, whole_##type(block, v * WIDTH / 64, v % (64 / WIDTH)), (vec) part.y); \
    }
QUANT_VECTOR_OF_PART(q4_k)
QUANT_VECTOR_OF_PART(q5_k)

INLINE vec quant_q6_k(BLOCK_SPACE const uchar *block, int v)
{
    return whole_q6_k(block, v * WIDTH / 64, v % (64 / WIDTH)) * part_q6_k(block, v * WIDTH / 16).x;
}
#else
QUANT_VECTOR(q4_k)
QUANT_VECTOR(q5_k)
QUANT_VECTOR(q6_k)
#endif

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
