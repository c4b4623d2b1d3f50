/* SPDX-License-Identifier: MIT
 * inputs.c - numbers of every type, streams of them from a seed, the operands of linear and softmax */
#include "inputs.h"
#include "attn.h"
#include "linear.h"
#include "softmax.h"
#include "util.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- numbers ---- */

_Static_assert((int) ELEM_F32 == (int) FDEC_F32 && (int) ELEM_Q8_0 == (int) FDEC_Q8_0 &&
                   (int) ELEM_Q6_K == (int) FDEC_Q6_K,
               "all but the last are fdec_type");

size_t element_bytes(enum element type, size_t n)
{
    return type == ELEM_I32 ? 4 * n : (size_t) type_bytes((fdec_type) type, n);
}

size_t element_align(enum element type)
{
    return type == ELEM_I32 ? 4 : type_align((fdec_type) type);
}

bool element_is_block(enum element type)
{
    return type != ELEM_I32 && !type_is_float((fdec_type) type);
}

uint16_t half_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    const uint16_t sign = (uint16_t) (u >> 16 & 0x8000);
    u &= 0x7fffffff;
    if (u >= 0x7f800000)
        return sign | (u > 0x7f800000 ? 0x7e00 : 0x7c00);
    if (u >= 0x477ff000) /* 65520 and more */
        return sign | 0x7c00;
    if (u < 0x38800000) { /* subnormal: at 0.5 a float's last place is 2^-24, too, and the addition rounds */
        float f;
        memcpy(&f, &u, sizeof f);
        f += 0.5f;
        memcpy(&u, &f, sizeof u);
        return sign | (uint16_t) (u - 0x3f000000);
    }
    return sign | (uint16_t) (((u + 0xfff + (u >> 13 & 1)) >> 13) - (112 << 10));
}

float half_value(uint16_t bits)
{
    const float sign = bits & 0x8000 ? -1.0f : 1.0f;
    const int e = bits >> 10 & 31, m = bits & 1023;
    if (e == 31)
        return m ? NAN : sign * INFINITY;
    if (e == 0)
        return sign * (float) m * 0x1p-24f;
    const uint32_t u = (uint32_t) (e + 112) << 23 | (uint32_t) m << 13;
    float f;
    memcpy(&f, &u, sizeof f);
    return sign * f;
}

uint16_t bfloat_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    if (isnan(x))
        return (uint16_t) (u >> 16 | 0x40);
    return (uint16_t) ((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

float bfloat_value(uint16_t bits)
{
    const uint32_t u = (uint32_t) bits << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

float element_rounded(enum element type, float x)
{
    return type == ELEM_F16 ? half_value(half_bits(x)) : type == ELEM_BF16 ? bfloat_value(bfloat_bits(x)) : x;
}

/* ---- streams ---- */

uint64_t hash_mix(uint64_t z) /* splitmix64 */
{
    z += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

struct stream stream_of(const struct workload_spec *spec, int operand, enum element type)
{
    return (struct stream){hash_mix(hash_mix(spec->seed) + (uint64_t) operand), spec->fill, type};
}

float stream_uniform(const struct stream *s, uint64_t i)
{
    return (float) ((int32_t) (hash_mix(s->key + i) >> 40) - (1 << 23)) * 0x1p-23f;
}

float stream_value(const struct stream *s, uint64_t i)
{
    if (s->fill == FILL_EQUAL)
        return 0.5f;
    const float x = stream_uniform(s, i);
    return element_rounded(s->type, s->fill == FILL_OUTLIERS && i % 97 == 0 ? 50 * x : x);
}

float spike_score(const struct stream *s, int64_t b, uint64_t key, int64_t t)
{
    const float r = stream_uniform(s, key);
    if (b % 3 == 2)
        return -350 + 150 * r;
    return b % 3 == 0 && t % 61 == 7 ? 1e4f + 3 * r : -66 + 430 * r;
}

static void fill(struct operand *o, struct stream s)
{
    for (size_t i = 0; i < o->n; i++)
        o->f[i] = stream_value(&s, i);
}

bool inputs_ragged(const struct workload_spec *spec)
{
    return spec->reference && !spec->timed && spec->fill != FILL_NAN;
}

/* ---- all operations ---- */

void operand_add(struct inputs *in, int i, enum element type, int64_t n, bool output)
{
    in->at[i] = (struct operand){.n = (size_t) n, .type = type, .output = output};
    in->n = MAX(in->n, i + 1);
}

void inputs_shape(const struct workload_spec *spec, struct inputs *in)
{
    const struct linear_problem *l = &spec->problem.linear;
    const struct softmax_problem *s = &spec->problem.softmax;
    memset(in, 0, sizeof *in);
    if (spec->problem.op == OP_ATTN) {
        shape_attn(spec, in);
    } else if (spec->problem.op == OP_LINEAR) {
        /* all weights in one operand, one after the other; so biases and outputs */
        operand_add(in, LINEAR_X, (enum element) l->x_type, l->m * l->k, false);
        operand_add(in, LINEAR_W, (enum element) l->w_type, linear_rows(l) * l->k, false);
        operand_add(in, LINEAR_BIAS, ELEM_F32, spec->bias ? linear_rows(l) : 0, false);
        operand_add(in, LINEAR_RESIDUAL, (enum element) l->y_type, spec->residual ? l->m * l->n : 0, false);
        operand_add(in, LINEAR_NORM, ELEM_F32, l->norm ? l->k : 0, false);
        operand_add(in, LINEAR_Y, (enum element) l->y_type, l->m * l->n, true);
    } else {
        operand_add(in, SOFTMAX_X, ELEM_F32, s->rows * s->cols, false);
        operand_add(in, SOFTMAX_Y, ELEM_F32, s->rows * s->cols, true);
        operand_add(in, SOFTMAX_LSE, ELEM_F32, spec->lse ? s->rows : 0, true);
    }
}

/* NaN in the first row of x, +Inf in the second. */
static void fill_linear(const struct workload_spec *spec, struct inputs *in)
{
    const struct linear_problem *p = &spec->problem.linear;
    for (int i = LINEAR_X; i <= LINEAR_NORM; i++)
        if (element_is_block(in->at[i].type))
            fill_blocks(p, &in->at[i], stream_of(spec, i, in->at[i].type));
        else if (in->at[i].n)
            fill(&in->at[i], stream_of(spec, i, in->at[i].type));
    if (spec->fill == FILL_NAN) {
        in->at[LINEAR_X].f[p->k / 2] = NAN;
        if (p->m > 1)
            in->at[LINEAR_X].f[p->k + p->k - 1] = INFINITY;
    }
}

/* Scores eight times as wide as uniform. Rows with NaN, +Inf, some -Inf, nothing but -Inf, in turn. */
static void fill_softmax(const struct workload_spec *spec, struct inputs *in)
{
    const struct softmax_problem *p = &spec->problem.softmax;
    const struct stream s = stream_of(spec, SOFTMAX_X, ELEM_F32);
    float *x = in->at[SOFTMAX_X].f;
    for (size_t i = 0; i < in->at[SOFTMAX_X].n; i++)
        x[i] = spec->fill == FILL_SPIKES ? spike_score(&s, (int64_t) i / p->cols, i, (int64_t) i % p->cols)
                                         : 8 * stream_value(&s, i);
    for (int64_t r = 1; r < p->rows && spec->fill == FILL_SPIKES; r += 3) /* a maximum that one lane alone sees */
        x[r * p->cols + (7 * r + 4) % p->cols] = 1e4f;
    for (int64_t r = 0; r < p->rows && spec->fill == FILL_NAN; r++) {
        float *row = x + r * p->cols;
        for (int64_t c = 0; c < p->cols; c++)
            if (r % 4 == 3 || (r % 4 == 2 && c % 3 == 0 && c + 1 < p->cols))
                row[c] = -INFINITY;
        if (r % 4 < 2)
            row[p->cols / 2] = r % 4 ? INFINITY : NAN;
    }
}

fdec_status inputs_make(const struct workload_spec *spec, struct inputs *in)
{
    fdec_status st = FDEC_OK;
    const int state = spec->problem.op == OP_ATTN ? ATTN_STATE : -1;
    inputs_shape(spec, in);
    for (int i = 0; i < in->n; i++) {
        struct operand *o = &in->at[i];
        if (!o->n || (o->output && i != state))
            continue;
        if (o->type == ELEM_I32)
            try_alloc(o->i = calloc(o->n, sizeof *o->i));
        else
            try_alloc(o->f = calloc(o->n, sizeof *o->f));
        if (element_is_block(o->type))
            try_alloc(o->blocks = calloc(1, element_bytes(o->type, o->n)));
    }
    if (spec->problem.op == OP_ATTN)
        try_st(fill_attn(spec, in));
    else if (spec->problem.op == OP_LINEAR)
        fill_linear(spec, in);
    else
        fill_softmax(spec, in);
out:
    if (st)
        inputs_clear(in);
    return st;
}

void inputs_clear(struct inputs *in)
{
    for (int i = 0; i < in->n; i++) {
        free(in->at[i].f);
        free(in->at[i].i);
        free(in->at[i].blocks);
        in->at[i].f = NULL;
        in->at[i].i = NULL;
        in->at[i].blocks = NULL;
    }
}
