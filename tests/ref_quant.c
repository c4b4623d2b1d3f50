/* SPDX-License-Identifier: MIT
 * ref_quant.c - one function per format, from ggml's definition: the struct of its block (ggml-common.h), without
 * padding, and the value of element i of it */
#include "ref_quant.h"

#include <math.h>
#include <string.h>

double ref_half(uint16_t bits)
{
    const int e = bits >> 10 & 31, m = bits & 1023;
    const double v = e == 31 ? (m ? NAN : INFINITY) : ldexp(e ? 1024 + m : m, (e ? e : 1) - 25);
    return bits & 0x8000 ? -v : v;
}

static double half_at(const uint8_t *p)
{
    return ref_half((uint16_t) (p[0] | p[1] << 8));
}

/* Element i of 32 in nibbles: the low ones are the first half. */
static int nibble(const uint8_t *qs, size_t i)
{
    return i < 16 ? qs[i] & 15 : qs[i - 16] >> 4;
}

static int bit(const uint8_t *bits, size_t i)
{
    return bits[i / 8] >> i % 8 & 1;
}

static double q4_0(const uint8_t *block, size_t i) /* f16 d; u8 qs[16] */
{
    return half_at(block) * (nibble(block + 2, i) - 8);
}

static double q4_1(const uint8_t *block, size_t i) /* f16 d, m; u8 qs[16] */
{
    return half_at(block) * nibble(block + 4, i) + half_at(block + 2);
}

static double q5_0(const uint8_t *block, size_t i) /* f16 d; u8 qh[4], qs[16] */
{
    return half_at(block) * ((nibble(block + 6, i) | bit(block + 2, i) << 4) - 16);
}

static double q5_1(const uint8_t *block, size_t i) /* f16 d, m; u8 qh[4], qs[16] */
{
    return half_at(block) * (nibble(block + 8, i) | bit(block + 4, i) << 4) + half_at(block + 2);
}

static double q8_0(const uint8_t *block, size_t i) /* f16 d; i8 qs[32] */
{
    return half_at(block) * (int8_t) block[2 + i];
}

/* Scale and minimum of part j of 8: six bits each. Of parts 4..7 the upper two lie above those of parts 0..3. */
static void six_bits(const uint8_t scales[12], size_t j, int *scale, int *min)
{
    *scale = j < 4 ? scales[j] & 63 : (scales[j + 4] & 15) | scales[j - 4] >> 6 << 4;
    *min = j < 4 ? scales[j + 4] & 63 : scales[j + 4] >> 4 | scales[j] >> 6 << 4;
}

/* Nibble i of 256: of each 32 bytes the low ones are 32 elements, the high ones the next 32. */
static int nibble_k(const uint8_t qs[128], size_t i)
{
    return qs[i / 64 * 32 + i % 32] >> i / 32 % 2 * 4 & 15;
}

static double q4_k(const uint8_t *block, size_t i) /* f16 d, dmin; u8 scales[12], qs[128] */
{
    int scale, min;
    six_bits(block + 4, i / 32, &scale, &min);
    return half_at(block) * scale * nibble_k(block + 16, i) - half_at(block + 2) * min;
}

static double q5_k(const uint8_t *block, size_t i) /* f16 d, dmin; u8 scales[12], qh[32], qs[128] */
{
    int scale, min;
    six_bits(block + 4, i / 32, &scale, &min);
    const int q = nibble_k(block + 48, i) | (block[16 + i % 32] >> i / 32 & 1) << 4;
    return half_at(block) * scale * q - half_at(block + 2) * min;
}

static double q6_k(const uint8_t *block, size_t i) /* u8 ql[128], qh[64]; i8 scales[16]; f16 d */
{
    const size_t half = i / 128, quarter = i / 32 % 4, l = i % 32;
    const int low = block[64 * half + quarter % 2 * 32 + l] >> quarter / 2 * 4 & 15,
              high = block[128 + 32 * half + l] >> 2 * quarter & 3;
    return half_at(block + 208) * (int8_t) block[192 + i / 16] * ((low | high << 4) - 32);
}

static double from_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

double ref_dequant(fdec_type type, const void *row, size_t i)
{
    const uint8_t *p = row;
    uint32_t word;
    switch (type) {
    case FDEC_F32: memcpy(&word, p + 4 * i, sizeof word); return from_bits(word);
    case FDEC_F16: return half_at(p + 2 * i);
    case FDEC_BF16: return from_bits((uint32_t) p[2 * i] << 16 | (uint32_t) p[2 * i + 1] << 24);
    case FDEC_Q8_0: return q8_0(p + i / 32 * 34, i % 32);
    case FDEC_Q4_0: return q4_0(p + i / 32 * 18, i % 32);
    case FDEC_Q4_1: return q4_1(p + i / 32 * 20, i % 32);
    case FDEC_Q5_0: return q5_0(p + i / 32 * 22, i % 32);
    case FDEC_Q5_1: return q5_1(p + i / 32 * 24, i % 32);
    case FDEC_Q4_K: return q4_k(p + i / 256 * 144, i % 256);
    case FDEC_Q5_K: return q5_k(p + i / 256 * 176, i % 256);
    case FDEC_Q6_K: return q6_k(p + i / 256 * 210, i % 256);
    }
    return NAN;
}
