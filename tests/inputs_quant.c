/* SPDX-License-Identifier: MIT
 * inputs_quant.c - weights in blocks: random bytes for what the quants and scales are, and f16 that make the values as
 * large as those of the other types */
#include "inputs.h"
#include "ref_quant.h"

#include <math.h>
#include <string.h>

/* Where a block has its numbers of f16, d and m or dmin (-1: none), and how large they are for values in -1..1; its
 * scales, if it has them, are random. equal: ranges of bytes that make every scale 1 and every quant, less what its
 * format takes off, 1; the others are 0, and d is then the value. */
static const struct format {
    int d, m;
    float d_size, m_size;
    struct {
        int from, to;
        uint8_t byte;
    } equal[3];
} formats[] = {
    [FDEC_Q8_0] = {0, -1, 1 / 128.0f, 0, {{2, 34, 1}}},
    [FDEC_Q4_0] = {0, -1, 1 / 8.0f, 0, {{2, 18, 0x99}}},
    [FDEC_Q4_1] = {0, 2, 2 / 15.0f, -1, {{4, 20, 0x11}}},
    [FDEC_Q5_0] = {0, -1, 1 / 16.0f, 0, {{2, 6, 0xff}, {6, 22, 0x11}}},
    [FDEC_Q5_1] = {0, 2, 2 / 31.0f, -1, {{4, 8, 0}, {8, 24, 0x11}}},
    [FDEC_Q4_K] = {0, 2, 2 / (63 * 15.0f), 1 / 63.0f, {{4, 8, 1}, {12, 16, 1}, {16, 144, 0x11}}},
    [FDEC_Q5_K] = {0, 2, 2 / (63 * 31.0f), 1 / 63.0f, {{4, 8, 1}, {12, 16, 1}, {48, 176, 0x11}}},
    [FDEC_Q6_K] = {208, -1, 1 / (128 * 32.0f), 0, {{0, 128, 0x11}, {128, 192, 0xaa}, {192, 208, 1}}},
};

static void put_half(uint8_t *at, uint16_t bits)
{
    at[0] = (uint8_t) bits, at[1] = (uint8_t) (bits >> 8);
}

static void random_bytes(uint8_t *at, size_t n, uint64_t key)
{
    for (size_t i = 0; i < n; i++)
        at[i] = (uint8_t) (hash_mix(key + i / 8) >> i % 8 * 8);
}

/* Values of up to `size`; minima go with d, so that their mean stays near 0. */
static void fill_uniform(const struct format *f, uint8_t *block, uint64_t key, float size)
{
    const float r = size * (0.5f + (float) (key >> 40) * 0x1p-25f), sign = key & 1 ? -1 : 1;
    put_half(block + f->d, half_bits(sign * r * f->d_size));
    if (f->m >= 0)
        put_half(block + f->m, half_bits(sign * r * f->m_size));
}

static void fill_equal(const struct format *f, uint8_t *block, size_t n_bytes)
{
    memset(block, 0, n_bytes);
    for (int i = 0; i < 3; i++)
        memset(block + f->equal[i].from, f->equal[i].byte, (size_t) (f->equal[i].to - f->equal[i].from));
    put_half(block + f->d, half_bits(0.5f));
}

/* The f16 of a row are of one size, as a bound follows its largest value; the bytes of a block are all the same. */
static void fill_ends(const struct format *f, uint8_t *block, size_t n_bytes, uint64_t key, int64_t row)
{
    static const uint16_t halves[] = {0x7bff, 0x0001, 0x8000, 0xfbff, 0x03ff, 0x8400, 0x0000};
    static const uint8_t bytes[] = {0x00, 0xff, 0x80, 0x7f, 0x0f, 0xf0};
    const uint16_t d = halves[row % 7];
    if (key % 7 < 6)
        memset(block, bytes[key % 7], n_bytes);
    put_half(block + f->d, d);
    if (f->m >= 0)
        put_half(block + f->m, key & 64 ? d ^ 0x8000 : d);
}

void block_read(struct operand *o, int64_t i)
{
    const fdec_type type = (fdec_type) o->type;
    const size_t n = type_block(type);
    for (size_t j = 0; j < n; j++)
        o->f[(size_t) i * n + j] = (float) ref_dequant(type, o->blocks + (size_t) i * type_bytes(type, n), j);
}

void fill_blocks(const struct linear_problem *p, struct operand *w, struct stream s)
{
    const struct format *f = &formats[w->type];
    const int64_t block = (int64_t) type_block(p->w_type), row_blocks = p->k / block;
    const size_t n_bytes = type_bytes(p->w_type, (uint64_t) block);
    for (int64_t i = 0; i < p->n * row_blocks; i++) {
        uint8_t *at = w->blocks + (size_t) i * n_bytes;
        const uint64_t key = hash_mix(s.key + (uint64_t) i);
        random_bytes(at, n_bytes, key);
        if (s.fill == FILL_EQUAL)
            fill_equal(f, at, n_bytes);
        else if (s.fill == FILL_ENDS)
            fill_ends(f, at, n_bytes, key, i / row_blocks);
        else
            fill_uniform(f, at, key, s.fill == FILL_OUTLIERS && i % 13 == 0 ? 50 : 1);
        block_read(w, i);
    }
}
