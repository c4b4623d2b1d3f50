/* SPDX-License-Identifier: MIT
 * linear.cl - y[M,N] = glu(softcap(scale * x[M,K] W[N,K]^T + bias)) + residual, for one to three weights
 *
 * x is normalised before, where asked. Any M, N, K >= 1 (K in whole blocks of a quantised W). W is never copied or
 * transposed in global memory: it is read as it lies in a model file, or in panels that one call made of it.
 *
 * The rows of all weights are numbered through: those of w, of w2, of w3; with GLU gate and up take turns, so that a
 * pair is at hand where it is needed. A variant computes rows first..last-1 of them for some tokens, and hands each sum
 * to finish(). Sums are float32 in an order that configuration and K fix, whatever M and the token are: a run repeats
 * bit for bit, and so does a row in another batch. Rows and tokens past the end are computed on a clamped index and
 * not stored; columns past K count as 0 on both sides.
 *
 * One program holds one variant, named by a macro that linear.c defines with the variant's parameters:
 *   LINEAR_VEC    linear_vec.cl    CPUs: dot products of vectors along K
 *   LINEAR_TOKENS linear_tokens.cl CPUs: tokens side by side in a vector
 *   LINEAR_PANEL  linear_panel.cl  CPUs: outer products with panels of 16 rows, packed once
 *   LINEAR_WG_*   linear_wg.cl     GPUs
 *   LINEAR_MMA    linear_mma.cl    GPUs with a matrix unit
 *   LINEAR_PREPARE                 launch 0 of all of these, with its work-items
 *   LINEAR_START                   y = bias + residual, to which CLBlast adds x W^T
 * and what the class fixes: X_TYPE, W_TYPE, Y_TYPE by name (load.h); GLU 0 none, 1 SiLU, 2 GELU by tanh, 3 by erf;
 * STATS 1: records of each tile of 256 columns of y as well. On CPUs by the work-item that has just made them, which
 * takes whole tiles of 256 rows; on GPUs by linear_after.
 *
 * Work: x in f32 where it is prepared (linear_prepare: converted, normalised, laid out as linear.h says), then n_splits
 * [M, rows] f32. */
#define EXP_WIDTH 1
#include "exp.h"
#include "linear.h"
#ifndef WIDTH
#define WIDTH 8
#endif
/* Items of a group: quant.h reads as a GPU does where there are more than one. */
#ifdef LINEAR_WG_FLAT
#define RM   LINEAR_ITEM_TOKENS(TM) /* RN: rows of an item */
#define TEAM (TN / RN * (TM / RM))
#define WG   (TEAM * LINEAR_TEAMS(TEAM, TK))
#endif
#ifdef LINEAR_WG_GEMM
#define WG (TILE / R * (TILE / R))
#endif
#ifdef LINEAR_MMA
#define MMA_F16  MMA_TAKES_F16(MATRIX_F16, W_BITS, X_BITS)
#define W_PIECES MMA_PIECES(W_BITS, MMA_F16)
#define X_PIECES MMA_PIECES(X_BITS, MMA_F16)
#include "mma.h"
#define WG (WAVES * MMA_LANES)
#endif
#if defined(LINEAR_WG_GEMV) || defined(LINEAR_WG_FLAT) || defined(LINEAR_WG_GEMM) || defined(LINEAR_MMA)
#define LINEAR_GPU
#define BLOCK_SPACE local
#endif
#include "quant.h"
#include "place.h"
#include "prefetch.h"
#include "shuffle.h"
#if STATS
#include "tile_stats.h"
#endif

typedef float4 float4_any __attribute__((aligned(4)));

#define X_T PASTE(T_, X_TYPE)
#define W_T PASTE(T_, W_TYPE)
#define Y_T PASTE(T_, Y_TYPE)
#define W_UNITS(n) UNITS(W_TYPE, n) /* elements of W in what its pointers count */
#define W_BLOCK    PASTE(BLOCK_, W_TYPE)
#define IS_BLOCKS  (W_BLOCK > 1) /* a quantised type: K is whole blocks */
#define IS_F32_f32 1
#define IS_F32(type) PASTE(IS_F32_, type)
#if !IS_BLOCKS && !IS_F32(W_TYPE)
#define IS_16_BIT 1
#else
#define IS_16_BIT 0
#endif

/* UNROLL: loops over tiles in registers, since an array is in registers only where every index is a constant.
 * ROLL: loops that run rarely and would cost more to compile, unrolled, than they save. */
#define UNROLL _Pragma("unroll")
#define ROLL   _Pragma("unroll 1")
/* X(1) X(2) ... X(MR): code for every number of tokens, which is then a constant. */
#define TOKENS_1(X)   X(1)
#define TOKENS_2(X)   TOKENS_1(X) X(2)
#define TOKENS_3(X)   TOKENS_2(X) X(3)
#define TOKENS_4(X)   TOKENS_3(X) X(4)
#define TOKENS_5(X)   TOKENS_4(X) X(5)
#define TOKENS_6(X)   TOKENS_5(X) X(6)
#define TOKENS_7(X)   TOKENS_6(X) X(7)
#define TOKENS_8(X)   TOKENS_7(X) X(8)
#define FOR_TOKENS(X) PASTE(TOKENS_, MR)(X)

#define LINEAR_ARGS LINEAR_BUFFERS(BUFFER_PARAM) LINEAR_SCALARS(SCALAR_PARAM) int unused
struct args {
    LINEAR_BUFFERS(BUFFER_FIELD)
    LINEAR_SCALARS(SCALAR_MEMBER)
};
#define TAKE_ARGS(a) \
    struct args a; \
    LINEAR_BUFFERS(BUFFER_KEEP) \
    LINEAR_SCALARS(SCALAR_KEEP)

/* ---- one element of x, of a float W, of y ------------------------------------------------------------------------ */

#define GET_f32(p)     (*(p))
#define GET_f16(p)     vload_half(0, p)
#define GET_bf16(p)    as_float((uint) * (p) << 16)
#define GET(type, p)   PASTE(GET_, type)(p)
#define PUT_f32(v, p)  (*(p) = (v))
#define PUT_f16(v, p)  vstore_half_rte(v, 0, p)
#define PUT_bf16(v, p) (*(p) = bf16_bits(v))
#define PUT(type, v, p) PASTE(PUT_, type)(v, p)

/* To nearest even; NaN stays one. */
INLINE ushort bf16_bits(float v)
{
    const uint bits = as_uint(v);
    return (ushort) ((v == v ? bits + 0x7fff + (bits >> 16 & 1) : bits | 0x400000) >> 16);
}

/* ---- rows and what is made of a sum ------------------------------------------------------------------------------ */

INLINE int all_rows(const struct args *a)
{
    return GLU ? 2 * a->n : a->n + a->n2 + a->n3;
}

INLINE struct place place_of(const struct args *a, int row)
{
    return place_in(row, a->n, a->n2, GLU);
}

/* What belongs to a weight: its rows, W itself, bias, output. */
INLINE int rows_of(const struct args *a, int part)
{
    return GLU || part == 0 ? a->n : part == 1 ? a->n2 : a->n3;
}

INLINE global const W_T *weights_of(const struct args *a, int part)
{
    return part == 0 ? a->w : part == 1 ? a->w2 : a->w3;
}

INLINE global const float *bias_of(const struct args *a, int part)
{
    return part == 0 ? a->bias : part == 1 ? a->bias2 : a->bias3;
}

INLINE global Y_T *y_of(const struct args *a, int part)
{
    return part == 0 ? a->y : part == 1 ? a->y2 : a->y3;
}

INLINE global const W_T *w_row_of(const struct args *a, int row)
{
    const struct place p = place_of(a, min(row, all_rows(a) - 1));
    return weights_of(a, p.part) + (size_t) p.row * W_UNITS((size_t) a->k);
}

/* Of what the product reads; not where tokens lie side by side. */
INLINE global const float *x_row_of(const struct args *a, int token)
{
    const size_t t = min(token, a->m - 1);
    return a->prepared ? a->work + t * LINEAR_X_STRIDE(a->k) : (global const float *) a->x + t * a->k;
}

/* scale * sum + bias, capped. */
INLINE float affine(const struct args *a, float sum, struct place p)
{
    global const float *bias = bias_of(a, p.part);
    float z = sum * a->scale;
    if (bias)
        z += bias[p.row];
    if (a->softcap > 0.0f)
        z = a->softcap * tanh(z / a->softcap);
    return z;
}

INLINE void store(const struct args *a, float z, int token, struct place p)
{
    const size_t at = (size_t) token * rows_of(a, p.part) + p.row;
    if (a->residual)
        z += GET(Y_TYPE, a->residual + at);
    PUT(Y_TYPE, z, y_of(a, p.part) + at);
}

#if GLU
/* z / (1 + e^-z); z/2 (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3))) = z / (1 + e^-u); z/2 erfc(-z / sqrt 2). */
INLINE float activate(float z)
{
#if GLU == 1
    return z / (1.0f + FIRST_LANE(exp_plain((fvec) -z)));
#elif GLU == 2
    const float u = z * fma(0.07135481627f * z, z, 1.595769122f);
    return z / (1.0f + FIRST_LANE(exp_plain((fvec) -u)));
#else
    return 0.5f * z * erfc(-0.7071067812f * z);
#endif
}
#endif

/* sums[0..n-1]: of `token` and the rows from `row` on; n even with GLU. Rows and tokens past the end are left out. */
INLINE void finish(const struct args *a, const float *sums, int n, int token, int row)
{
    const int end = min(row + n, all_rows(a));
    if (token >= a->m)
        return;
#if GLU
    ROLL for (int r = row; r < end; r += 2) {
        const struct place gate = place_of(a, r), up = place_of(a, r + 1);
        store(a, activate(affine(a, sums[r - row], gate)) * affine(a, sums[r - row + 1], up), token, gate);
    }
#else
    const struct place first = place_of(a, row);
    const bool one_weight = first.row + n <= rows_of(a, first.part); /* then nothing is looked up for each row */
    ROLL for (int r = row; r < end; r++) {
        const struct place p = one_weight ? (struct place){first.part, first.row + r - row} : place_of(a, r);
        store(a, affine(a, sums[r - row], p), token, p);
    }
#endif
}

#if defined(LINEAR_VEC) || defined(LINEAR_TOKENS) || defined(LINEAR_PANEL)
#define LINEAR_CPU
#endif

#if STATS && defined(LINEAR_CPU)
/* The records of the tiles first..last-1 of every row of y, all of which this work-item has written. */
INLINE void write_stats(const struct args *a, int first, int last)
{
    const int tiles = (a->n + STATS_TILE - 1) / STATS_TILE;
    ROLL for (int token = 0; token < a->m; token++) {
        const struct logits l = {a->y + (size_t) token * a->n, a->n, 0, 0.0f, 0.0f};
        ROLL for (int tile = first; tile < last; tile++) {
            struct tile_stats s;
            tile_stats_1(&l, (size_t) tile * STATS_TILE, a->inv_temperature, &s);
            tile_write(a->stats, (size_t) token * tiles + tile, &s);
        }
    }
}
#endif

#ifdef LINEAR_CPU
/* What a pass through a tile asks for: lines of each row after every `every` steps (0: none), from `at` on, counted in
 * W_T from the start of each row. */
struct ahead {
    size_t at;
    int every;
};

/* The first of n items that part number `part` of `parts` takes: contiguous, none empty, as even as can be. */
INLINE int share_of(int n, size_t part, size_t parts)
{
    return (int) ((ulong) n * part / parts);
}

/* Tiles of so many rows that groups take together, a unit: those of a record. */
#if STATS
#define TILES_TOGETHER(rows) (STATS_TILE / (rows))
#else
#define TILES_TOGETHER(rows) 1
#endif

/* The units, and the tiles in them, of this group; `all`: tiles of so many rows there are. */
struct share {
    int first_unit, end_unit, first, end;
};

INLINE struct share share_of_group(int all, int rows)
{
    struct share s;
    const int together = TILES_TOGETHER(rows), units = (all + together - 1) / together;
    s.first_unit = share_of(units, get_group_id(0), get_num_groups(0));
    s.end_unit = share_of(units, get_group_id(0) + 1, get_num_groups(0));
    s.first = s.first_unit * together;
    s.end = min(s.end_unit * together, all);
    return s;
}
#endif

/* ---- x ----------------------------------------------------------------------------------------------------------- */

#ifdef LINEAR_PREPARE
#define FOUR_f32(p)   (*(global const float4_any *) (p))
#define FOUR_f16(p)   (float4) (GET_f16(p), GET_f16((p) + 1), GET_f16((p) + 2), GET_f16((p) + 3))
#define FOUR_bf16(p)  (float4) (GET_bf16(p), GET_bf16((p) + 1), GET_bf16((p) + 2), GET_bf16((p) + 3))
#define FOUR(type, p) PASTE(FOUR_, type)(p)

/* 1 / sqrt(mean(x^2) + eps) of a row, the same in all items of the group. */
INLINE float norm_factor(const struct args *a, global const X_T *x, int item, local float *part)
{
    float sum[16] = {0.0f};
    const int whole = a->k / 16 * 16;
    for (int i = item * 16; i < whole; i += LINEAR_PREPARE * 16)
        UNROLL for (int l = 0; l < 16; l++) {
            const float v = GET(X_TYPE, x + i + l);
            sum[l] = fma(v, v, sum[l]);
        }
    for (int i = whole + item; i < a->k; i += LINEAR_PREPARE) {
        const float v = GET(X_TYPE, x + i);
        sum[0] = fma(v, v, sum[0]);
    }
    UNROLL for (int step = 8; step > 0; step /= 2)
        UNROLL for (int l = 0; l < step; l++)
            sum[l] += sum[l + step];
#if LINEAR_PREPARE > 1
    float total = 0.0f;
    barrier(CLK_LOCAL_MEM_FENCE); /* the token before has been read */
    part[item] = sum[0];
    barrier(CLK_LOCAL_MEM_FENCE);
    ROLL for (int i = 0; i < LINEAR_PREPARE; i++)
        total += part[i];
#else
    const float total = sum[0]; /* a barrier would part the loops of a CPU's kernel, and leave them slow */
#endif
    return 1.0f / sqrt(total / a->k + a->eps);
}

/* Token t of the `side` side by side at `to`: x, times factor and norm where there is one; zeros where x is none. */
INLINE void lay_token(const struct args *a, global float *to, int side, int t, global const X_T *x, float factor,
                      int item)
{
    const int whole = a->k / 4 * 4;
    for (int i = item * 4; i < whole; i += LINEAR_PREPARE * 4) {
        float4 v = x ? FOUR(X_TYPE, x + i) : 0.0f;
        if (a->norm)
            v = v * factor * FOUR_f32(a->norm + i);
        *(global float4_any *) (to + (size_t) i * side + t * 4) = v;
    }
    for (int i = whole + item; i < (a->k + 3) / 4 * 4; i += LINEAR_PREPARE) {
        float v = x && i < a->k ? GET(X_TYPE, x + i) : 0.0f;
        if (a->norm && i < a->k)
            v = v * factor * a->norm[i];
        to[(size_t) whole * side + t * 4 + i - whole] = v;
    }
}

/* work = x, prepared: a group for the tokens that lie side by side. */
__attribute__((reqd_work_group_size(LINEAR_PREPARE, 1, 1)))
kernel void linear_prepare(LINEAR_ARGS)
{
    TAKE_ARGS(a)
    local float part[LINEAR_PREPARE];
    const int item = get_local_id(0), side = a.prepared, first = (int) get_group_id(0) * side;
    global float *to = a.work + (size_t) first * LINEAR_X_STRIDE(a.k);
    for (int t = 0; t < side; t++) {
        global const X_T *x = first + t < a.m ? a.x + (size_t) (first + t) * a.k : 0;
        lay_token(&a, to, side, t, x, a.norm && x ? norm_factor(&a, x, item, part) : 0.0f, item);
    }
}
#endif

#ifdef LINEAR_VEC
#include "linear_vec.cl"
#endif
#ifdef LINEAR_TOKENS
#include "linear_tokens.cl"
#endif
#ifdef LINEAR_PANEL
#include "linear_panel.cl"
#endif
#ifdef LINEAR_GPU
#include "linear_wg.cl"
#endif
#ifdef LINEAR_MMA
#include "linear_mma.cl"
#endif

/* ---- CLBlast ----------------------------------------------------------------------------------------------------- */

#ifdef LINEAR_START
kernel void linear_start(LINEAR_ARGS)
{
    TAKE_ARGS(a)
    const size_t at = get_global_id(0);
    const float nothing = 0.0f;
    if (at < (size_t) a.m * a.n)
        finish(&a, &nothing, 1, (int) (at / a.n), (int) (at % a.n));
}
#endif
