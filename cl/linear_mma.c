/* SPDX-License-Identifier: MIT
 * linear_mma.c - what the host must know about linear_mma.cl: products on the matrix units of GPUs */
#include "linear_host.h"
#include "linear.h"
#include "mma.h"

enum { TN, TM, TK, WAVES, STAGES, SPLITK };

static int w_bits(const struct linear_problem *l)
{
    return mma_bits(l->w_type);
}

/* A normalised x is in the workspace, f32. */
static int x_bits(const struct linear_problem *l)
{
    return mma_bits(l->norm ? FDEC_F32 : l->x_type);
}

/* Of blocks: columns that have a scale of their own, and how many numbers that is: a scale, or with what is added. */
static int span(fdec_type type)
{
    return type == FDEC_Q6_K ? 16 : 32;
}

static int scales(fdec_type type)
{
    switch (type) {
    case FDEC_F32:
    case FDEC_F16:
    case FDEC_BF16: return 0;
    case FDEC_Q4_1:
    case FDEC_Q5_1:
    case FDEC_Q4_K:
    case FDEC_Q5_K: return 2;
    default: return 1;
    }
}

/* Of the rows of a tile; 0 where W is not blocks. */
static size_t chunk_bytes(const struct linear_problem *l, const int *cfg)
{
    return linear_chunk_bytes(l->w_type, cfg[TN], LINEAR_TILE_CHUNK(type_block(l->w_type)));
}

static size_t local_bytes(const struct linear_problem *l, const struct device *d, const int *cfg)
{
    const bool f16 = MMA_TAKES_F16(d->matrix_f16, w_bits(l), x_bits(l));
    const int lines = cfg[TN] * MMA_PIECES(w_bits(l), f16) + cfg[TM] * MMA_PIECES(x_bits(l), f16);
    const int numbers = scales(l->w_type) * cfg[TN] * cfg[TK] / span(l->w_type);
    const int scratch = d->matrix_standin ? cfg[WAVES] * MMA_SCRATCH_OF(d->matrix) : 0, flag = scales(l->w_type) == 2;
    return (size_t) (cfg[STAGES] * (lines * (cfg[TK] + 8) * 2 + numbers * 4) + 4 * (scratch + flag)) +
           (MMA_ASYNC_OF(d->matrix) ? 2 : 1) * chunk_bytes(l, cfg);
}

static const char *mma_reject(const struct problem *p, const struct device *d, const int *cfg)
{
    const struct linear_problem *l = &p->linear;
    if (!d->matrix)
        return "the device has no matrix unit that is known here";
    if (cfg[TM] % MMA_N_OF(d->matrix))
        return "TM is no multiple of the unit's tokens";
    if (cfg[TN] % (cfg[WAVES] * MMA_M))
        return "TN is no multiple of the waves' rows";
    if (l->stats && cfg[SPLITK] > 1)
        return "records are made of whole sums: K is not split";
    return linear_stored_reject(p, d, (size_t) (cfg[WAVES] * MMA_LANES_OF(d->matrix)), local_bytes(l, d, cfg), 2);
}

enum { MOST_REGISTERS = 100 };

/* Registers of a work-item for sums, twice, for those of ones, and for what is loaded ahead. All others are about as
 * many again. */
static int registers(const struct linear_problem *l, const struct device *d, const int *cfg)
{
    const int lanes = MMA_LANES_OF(d->matrix), items = cfg[WAVES] * lanes, pieces_of_8 = cfg[TK] / 8;
    const int x_words = MMA_PIECES(x_bits(l), MMA_TAKES_F16(d->matrix_f16, w_bits(l), x_bits(l))) > 1 ? 8 : 4;
    const int w_words = type_is_16_bit(l->w_type) ? 4 : 8, ones = scales(l->w_type) == 2 ? MMA_M * cfg[TM] / lanes : 0;
    const int chunk = (int) chunk_bytes(l, cfg) / 16;
    const int w = chunk ? (MMA_ASYNC_OF(d->matrix) ? 8 : 4 * (int) div_up(chunk, items))
                        : w_words * (int) div_up(cfg[TN] * pieces_of_8, items);
    return 2 * cfg[TN] * cfg[TM] / items + ones + w + x_words * (int) div_up(cfg[TM] * pieces_of_8, items);
}

/* The tile of tokens that M nearly fills, no registers in memory, and no split without a tile of K. */
static bool mma_prune(const struct problem *p, const struct device *d, const int *cfg)
{
    const struct linear_problem *l = &p->linear;
    const bool blocks = type_block(l->w_type) > 1; /* more than two of their tiles would save no wait */
    return !d->matrix || d->cpu_like || (blocks && cfg[STAGES] > 2) ||
           (cfg[TM] >= 2 * l->m && cfg[TM] > MMA_N_OF(d->matrix)) || (cfg[TM] < 64 && cfg[TM] < l->m) ||
           registers(l, d, cfg) > MOST_REGISTERS || cfg[SPLITK] > div_up(l->k, cfg[TK]);
}

/* The largest tile, and the most of them on their way, of which a compute unit holds two groups. What NVIDIA's driver
 * calls local memory is a third of a unit's, or less. */
static void choose_buffers(const struct linear_problem *l, const struct device *d, int *cfg)
{
    static const int tries[][2] = {{64, 3}, {64, 2}, {32, 2}};
    const bool ptx = d->matrix == MATRIX_PTX, copies = ptx && type_is_16_bit(l->w_type);
    for (size_t i = copies ? 0 : 1; i < ARRAY_LEN(tries); i++) { /* else the next tile comes through registers */
        cfg[TK] = tries[i][0];
        cfg[STAGES] = tries[i][1];
        if (local_bytes(l, d, cfg) <= (ptx ? d->local_bytes : d->local_bytes / 2) &&
            registers(l, d, cfg) <= MOST_REGISTERS)
            break;
    }
}

/* K is split when the rows alone leave compute units without two groups. Blocks are taken apart as in wg-flat: the
 * unit gains nothing before that one's multiply-adds take longer than memory. */
static double mma_expect(const struct problem *p, const struct device *d, int *cfg)
{
    const struct linear_problem *l = &p->linear;
    cfg[TM] = l->m <= 8 ? 8 : l->m <= 16 ? 16 : l->m <= 32 ? 32 : 64;
    cfg[TN] = linear_rows(l) <= 16384 ? 64 : 128;
    cfg[WAVES] = 4;
    cfg[TK] = 32;
    cfg[STAGES] = 2;
    cfg[SPLITK] = 1;
    if (!d->matrix)
        return 0;
    cfg[TM] = MAX(cfg[TM], MMA_N_OF(d->matrix));
    choose_buffers(l, d, cfg);
    const int64_t groups = div_up(linear_rows(l), cfg[TN]) * div_up(l->m, cfg[TM]);
    const int64_t wish = 2 * (int64_t) d->compute_units / groups;
    cfg[SPLITK] = l->stats ? 1 : wish >= 8 ? 8 : wish >= 4 ? 4 : wish >= 2 ? 2 : 1;
    while (cfg[TM] > MMA_N_OF(d->matrix) && (mma_reject(p, d, cfg) || registers(l, d, cfg) > MOST_REGISTERS))
        cfg[TM] /= 2;
    while (cfg[WAVES] > 2 && mma_reject(p, d, cfg))
        cfg[WAVES] /= 2;
    while (cfg[TN] > 32 && mma_reject(p, d, cfg))
        cfg[TN] /= 2;
    if (d->cpu_like)
        return 0.01;
    if (l->w_type == FDEC_F32)
        return 0.3; /* up to nine products for one: on many cards no faster than multiply-adds */
    return l->m > (scales(l->w_type) ? 16 : 4) ? 0.75 : 0.6;
}

static void mma_define(const struct problem *p, char *opt)
{
    const struct linear_problem *l = &p->linear;
    linear_define(p, opt, "LINEAR_MMA");
    append(opt, MAX_DEFINES, " -DW_BITS=%d -DX_BITS=%d", w_bits(l), x_bits(l));
    if (scales(l->w_type))
        append(opt, MAX_DEFINES, " -DSPAN=%d -DSCALES=%d", span(l->w_type), scales(l->w_type));
}

static struct geometry mma_geometry(const struct problem *p, const struct device *d, const int *cfg)
{
    const size_t rows = (size_t) div_up(linear_rows(&p->linear), cfg[TN]);
    const size_t tokens = (size_t) div_up(p->linear.m, cfg[TM]);
    const size_t wg = (size_t) (cfg[WAVES] * MMA_LANES_OF(d->matrix));
    const int n_splits = (int) MIN((int64_t) cfg[SPLITK], div_up(p->linear.k, cfg[TK]));
    const struct launch all = {.global = {rows * wg, tokens, (size_t) n_splits}, .local = {wg, 1, 1}};
    return linear_split(p, d, all, n_splits);
}

const struct kernel linear_mma_flat = {
    .name = "linear/mma-flat",
    .rev = 2,
    .op = OP_LINEAR,
    .family = "flat",
    .source = &cl_linear,
    .entry = {"linear_prepare", "linear_mma", "linear_after"},
    .apart = linear_wg_apart,
    .params = {[TN] = PARAM(TN, 32, 64, 128),
               [TM] = PARAM(TM, 8, 16, 32, 64),
               [TK] = PARAM(TK, 32, 64),
               [WAVES] = PARAM(WAVES, 2, 4, 8),
               [STAGES] = PARAM(STAGES, 2, 3),
               [SPLITK] = HOST_PARAM(SPLITK, 1, 2, 4, 8)},
    .reject = mma_reject,
    .prune = mma_prune,
    .expect = mma_expect,
    .define = mma_define,
    .geometry = mma_geometry,
};
