/* SPDX-License-Identifier: MIT
 * quantize.c - one function per format: the block's scale from its largest elements, then the nearest quant of each
 *
 * Scales are rounded to f16 before quants are taken by them. */
#include "quantize.h"
#include "inputs.h"
#include "util.h"

#include <math.h>
#include <string.h>

static float put_half(uint8_t *at, float x)
{
    const uint16_t bits = half_bits(x);
    at[0] = (uint8_t) bits, at[1] = (uint8_t) (bits >> 8);
    return half_value(bits);
}

static int quant(float x, float d, int lo, int hi)
{
    return d == 0 ? MAX(lo, 0) : (int) fminf(fmaxf(roundf(x / d), (float) lo), (float) hi);
}

static float largest(const float *x, size_t n)
{
    float most = 0;
    for (size_t i = 0; i < n; i++)
        most = fmaxf(most, fabsf(x[i]));
    return most;
}

static void put_q8_0(const float *x, uint8_t *block)
{
    const float d = put_half(block, largest(x, 32) / 127);
    for (int i = 0; i < 32; i++)
        block[2 + i] = (uint8_t) quant(x[i], d, -127, 127);
}

static void put_q4_0(const float *x, uint8_t *block)
{
    const float d = put_half(block, largest(x, 32) / 7);
    for (int i = 0; i < 16; i++)
        block[2 + i] = (uint8_t) ((quant(x[i], d, -8, 7) + 8) | (quant(x[i + 16], d, -8, 7) + 8) << 4);
}

/* Scale and minimum of part p of eight, six bits each, into zeros. */
static void put_part(uint8_t scales[12], int p, int scale, int min)
{
    if (p < 4) {
        scales[p] |= (uint8_t) scale, scales[p + 4] |= (uint8_t) min;
        return;
    }
    scales[p + 4] = (uint8_t) ((scale & 15) | (min & 15) << 4);
    scales[p - 4] |= (uint8_t) (scale >> 4 << 6), scales[p] |= (uint8_t) (min >> 4 << 6);
}

/* A part's elements are scale * q - min, q 0..15: min is minus its least element, scale a 15th of its range. */
static void put_q4_k(const float *x, uint8_t *block)
{
    float scale[8], min[8];
    for (int p = 0; p < 8; p++) {
        float lo = 0, hi = 0;
        for (int i = 0; i < 32; i++)
            lo = fminf(lo, x[32 * p + i]), hi = fmaxf(hi, x[32 * p + i]);
        scale[p] = (hi - lo) / 15, min[p] = -lo;
    }
    memset(block, 0, 144);
    const float d = put_half(block, largest(scale, 8) / 63), dmin = put_half(block + 2, largest(min, 8) / 63);
    for (int p = 0; p < 8; p++) {
        const int s = quant(scale[p], d, 0, 63), m = quant(min[p], dmin, 0, 63);
        put_part(block + 4, p, s, m);
        for (int i = 0; i < 32; i++) {
            const int q = quant(x[32 * p + i] + dmin * (float) m, d * (float) s, 0, 15);
            block[16 + p / 2 * 32 + i] |= (uint8_t) (q << p % 2 * 4);
        }
    }
}

static void put_float(fdec_type type, float x, uint8_t *at)
{
    const uint16_t bits = type == FDEC_F16 ? half_bits(x) : bfloat_bits(x);
    if (type == FDEC_F32)
        memcpy(at, &x, sizeof x);
    else
        memcpy(at, &bits, sizeof bits);
}

bool quantize_can(fdec_type type)
{
    return type_is_float(type) || type == FDEC_Q8_0 || type == FDEC_Q4_0 || type == FDEC_Q4_K;
}

void quantize(fdec_type type, const float *x, size_t n, void *row)
{
    const size_t block = type_block(type), n_bytes = type_bytes(type, block);
    uint8_t *at = row;
    for (size_t i = 0; i < n; i += block, at += n_bytes)
        switch (type) {
        case FDEC_Q8_0: put_q8_0(x + i, at); break;
        case FDEC_Q4_0: put_q4_0(x + i, at); break;
        case FDEC_Q4_K: put_q4_k(x + i, at); break;
        default: put_float(type, x[i], at);
        }
}
