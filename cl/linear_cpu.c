/* SPDX-License-Identifier: MIT
 * linear_cpu.c - what the host must know about linear's variants for CPU-like devices, in linear_vec.cl,
 * linear_tokens.cl and linear_panel.cl: one work-item per group */
#include "linear_host.h"
#include "linear.h"
#include "pack.h"
#include "panel.h"
#include "tile_stats.h"

enum { PREPARE_WG = 1 };

static bool vec_apart(const struct problem *p, const struct device *d, int launch, char *opt)
{
    (void) d;
    return linear_prepare_apart(p, launch, PREPARE_WG, opt);
}

/* Enough groups to even out the cores, no more than there are tiles of so many rows, or records. */
static size_t vec_groups(const struct problem *p, const struct device *d, int rows)
{
    const int64_t tiles = div_up(linear_rows(&p->linear), p->linear.stats ? STATS_TILE : rows);
    return (size_t) MIN(tiles, 16 * (int64_t) MAX(d->compute_units, 1));
}

/* Vectors of 8 that sums may take, so that all else has registers, too. */
static int vec_sums(const struct device *d)
{
    return d->float_lanes >= 16 ? 48 : 12;
}

static int vec_width(const struct device *d)
{
    return d->float_lanes >= 16 ? 16 : 8;
}

/* ---- vectors along K --------------------------------------------------------------------------------------------- */

enum { GEMV_WIDTH, GEMV_NR };

static const char *vec_gemv_reject(const struct problem *p, const struct device *d, const int *cfg)
{
    return linear_stored_reject(p, d, 1, 0, cfg[GEMV_NR]);
}

static bool vec_gemv_prune(const struct problem *p, const struct device *d, const int *cfg)
{
    return !d->cpu_like || p->linear.m > 4 || cfg[GEMV_WIDTH] != vec_width(d);
}

static double vec_gemv_expect(const struct problem *p, const struct device *d, int *cfg)
{
    cfg[GEMV_WIDTH] = vec_width(d);
    cfg[GEMV_NR] = 4;
    if (!d->cpu_like)
        return 0.02;
    return p->linear.m == 1 ? 0.95 : 0.3;
}

static void vec_gemv_define(const struct problem *p, char *opt)
{
    linear_define(p, opt, "LINEAR_VEC -DMR=1");
}

static struct geometry vec_gemv_geometry(const struct problem *p, const struct device *d, const int *cfg)
{
    return linear_product(p, PREPARE_WG, 1, 1,
                          (struct launch){.global = {vec_groups(p, d, cfg[GEMV_NR])}, .local = {1}});
}

const struct kernel linear_vec_gemv = {
    .name = "linear/vec-gemv",
    .rev = 6,
    .op = OP_LINEAR,
    .family = "gemv",
    .source = &cl_linear,
    .entry = {"linear_prepare", "linear_vec"},
    .apart = vec_apart,
    .params = {[GEMV_WIDTH] = PARAM(WIDTH, 8, 16), [GEMV_NR] = PARAM(NR, 1, 2, 4, 8)},
    .reject = vec_gemv_reject,
    .prune = vec_gemv_prune,
    .expect = vec_gemv_expect,
    .define = vec_gemv_define,
    .geometry = vec_gemv_geometry,
};

enum { TILE_WIDTH, TILE_MR, TILE_NR }; /* of vec-flat, vec-tokens and vec-gemm */

static const char *tile_reject(const struct problem *p, const struct device *d, const int *cfg)
{
    if (cfg[TILE_MR] * cfg[TILE_NR] > 24)
        return "more sums than registers";
    return linear_stored_reject(p, d, 1, 0, cfg[TILE_NR]);
}

/* Another width than the CPU's, or not about as many sums as it has registers for. */
static bool tile_prune(const struct device *d, const int *cfg)
{
    const int sums = cfg[TILE_MR] * cfg[TILE_NR] * cfg[TILE_WIDTH] / 8;
    return !d->cpu_like || cfg[TILE_WIDTH] != vec_width(d) || sums > vec_sums(d) || 2 * sums < vec_sums(d);
}

static bool vec_flat_prune(const struct problem *p, const struct device *d, const int *cfg)
{
    return tile_prune(d, cfg) || (cfg[TILE_MR] > p->linear.m && p->linear.m > 1);
}

static void set_tile(const struct device *d, int mr, int nr, int *cfg)
{
    cfg[TILE_WIDTH] = vec_width(d);
    cfg[TILE_MR] = mr;
    cfg[TILE_NR] = nr;
}

/* Blocks that are taken apart, and halves that are converted, are for many tokens, or few. */
static void vec_flat_default(const struct problem *p, const struct device *d, int *cfg)
{
    const struct linear_problem *l = &p->linear;
    const bool blocks = type_block(l->w_type) > 1, few = l->m <= 4, even = l->stats || l->glu != FDEC_GLU_NONE;
    if (d->float_lanes < 16 && even)
        set_tile(d, 6, 2, cfg);
    else if (d->float_lanes < 16)
        set_tile(d, l->w_type == FDEC_F32 ? 3 : 4, 3, cfg);
    else if (blocks && few)
        set_tile(d, 4, 4, cfg);
    else if (few && !l->stats)
        set_tile(d, 4, 6, cfg);
    else if (!even && (blocks || l->m > 6))
        set_tile(d, 8, 3, cfg);
    else
        set_tile(d, l->m == 5 ? 5 : 6, 4, cfg);
}

static double vec_flat_expect(const struct problem *p, const struct device *d, int *cfg)
{
    vec_flat_default(p, d, cfg);
    if (!d->cpu_like)
        return 0.02;
    return p->linear.m <= 8 ? 0.8 : 0.6;
}

static void vec_flat_define(const struct problem *p, char *opt)
{
    linear_define(p, opt, "LINEAR_VEC");
}

static struct geometry vec_flat_geometry(const struct problem *p, const struct device *d, const int *cfg)
{
    const struct launch all = {.global = {vec_groups(p, d, cfg[TILE_NR])}, .local = {1}};
    return linear_product(p, PREPARE_WG, cfg[TILE_MR], 1, all);
}

const struct kernel linear_vec_flat = {
    .name = "linear/vec-flat",
    .rev = 7,
    .op = OP_LINEAR,
    .family = "flat",
    .source = &cl_linear,
    .entry = {"linear_prepare", "linear_vec"},
    .apart = vec_apart,
    .params = {[TILE_WIDTH] = PARAM(WIDTH, 8, 16),
               [TILE_MR] = PARAM(MR, 2, 3, 4, 5, 6, 8),
               [TILE_NR] = PARAM(NR, 1, 2, 3, 4, 6, 8)},
    .reject = tile_reject,
    .prune = vec_flat_prune,
    .expect = vec_flat_expect,
    .define = vec_flat_define,
    .geometry = vec_flat_geometry,
};

/* ---- tokens side by side ----------------------------------------------------------------------------------------- */

enum { FLAT_MOST = 64 }; /* tokens; for more the same kernel is called gemm */

static bool tokens_prune(const struct problem *p, const struct device *d, const int *cfg)
{
    const int side = cfg[TILE_WIDTH] / 4;
    return tile_prune(d, cfg) || p->linear.m <= side * (cfg[TILE_MR] - 1) || p->linear.m <= side;
}

static bool vec_tokens_prune(const struct problem *p, const struct device *d, const int *cfg)
{
    return p->linear.m > FLAT_MOST || tokens_prune(p, d, cfg);
}

static bool vec_gemm_prune(const struct problem *p, const struct device *d, const int *cfg)
{
    return p->linear.m <= FLAT_MOST || tokens_prune(p, d, cfg);
}

static void tokens_default(const struct problem *p, const struct device *d, int *cfg)
{
    const bool wide = d->float_lanes >= 16, stats = p->linear.stats;
    set_tile(d, wide && stats ? 6 : wide ? 4 : stats ? 3 : 2, stats ? 4 : 6, cfg);
}

/* So many tokens do better along K: what is cheap to take apart may be so in two passes. */
static int few_tokens(const struct device *d, fdec_type w)
{
    if (d->float_lanes < 16 || w == FDEC_F32)
        return 4;
    return type_block(w) == 32 ? 14 : type_block(w) == 1 ? 10 : 8;
}

static double vec_tokens_expect(const struct problem *p, const struct device *d, int *cfg)
{
    const struct linear_problem *l = &p->linear;
    tokens_default(p, d, cfg);
    return !d->cpu_like ? 0.02 : l->m <= few_tokens(d, l->w_type) ? 0.5 : l->m <= FLAT_MOST ? 0.85 : 0.8;
}

static double vec_gemm_expect(const struct problem *p, const struct device *d, int *cfg)
{
    tokens_default(p, d, cfg);
    return !d->cpu_like ? 0.02 : p->linear.m <= FLAT_MOST ? 0.4 : 0.9;
}

static void tokens_define(const struct problem *p, char *opt)
{
    linear_define(p, opt, "LINEAR_TOKENS");
}

static struct geometry tokens_geometry(const struct problem *p, const struct device *d, const int *cfg)
{
    const struct launch all = {.global = {vec_groups(p, d, cfg[TILE_NR])}, .local = {1}};
    return linear_product(p, PREPARE_WG, cfg[TILE_MR], cfg[TILE_WIDTH] / 4, all);
}

#define TOKENS_MEMBERS                                                                                                 \
    .op = OP_LINEAR, .source = &cl_linear, .entry = {"linear_prepare", "linear_tokens"}, .apart = vec_apart,           \
    .params =                                                                                                          \
        {[TILE_WIDTH] = PARAM(WIDTH, 8, 16), [TILE_MR] = PARAM(MR, 2, 3, 4, 6), [TILE_NR] = PARAM(NR, 2, 4, 5, 6, 8)}, \
    .reject = tile_reject, .define = tokens_define, .geometry = tokens_geometry

const struct kernel linear_vec_tokens = {
    TOKENS_MEMBERS,   .name = "linear/vec-tokens", .rev = 3,
    .family = "flat", .prune = vec_tokens_prune,   .expect = vec_tokens_expect,
};

const struct kernel linear_vec_gemm = {
    TOKENS_MEMBERS,   .name = "linear/vec-gemm", .rev = 6,
    .family = "gemm", .prune = vec_gemm_prune,   .expect = vec_gemm_expect,
};

/* ---- panels ------------------------------------------------------------------------------------------------------ */

enum { PANEL_MR, PANEL_NV, PANEL_KT, PANEL_DIRECT };

static const char *panel_reject(const struct problem *p, const struct device *d, const int *cfg)
{
    if (cfg[PANEL_MR] * cfg[PANEL_NV] > 24)
        return "more sums than registers";
    const char *why = linear_tile_reject(p, cfg[PANEL_NV], PANEL_ROWS * cfg[PANEL_NV]);
    return why ? why : linear_reject(p, d, 1, 0);
}

/* Tokens are divided as well where the rows alone are too few tiles, but W is widened once more for each part. */
static struct geometry panel_geometry(const struct problem *p, const struct device *d, const int *cfg)
{
    const size_t tiles = vec_groups(p, d, PANEL_ROWS * cfg[PANEL_NV]);
    const int64_t most = p->linear.stats ? 1 : div_up(p->linear.m, 16 * cfg[PANEL_MR]);
    const int64_t wish = 8 * (int64_t) MAX(d->compute_units, 1) / (int64_t) tiles;
    const struct launch all = {.global = {tiles, (size_t) MAX(1, MIN(most, wish))}, .local = {1, 1}};
    return linear_product(p, PREPARE_WG, cfg[PANEL_MR], 1, all);
}

static bool panel_prune(const struct problem *p, const struct device *d, const int *cfg)
{
    const int sums = 2 * cfg[PANEL_MR] * cfg[PANEL_NV];
    return !d->cpu_like || sums > vec_sums(d) || 3 * sums < vec_sums(d) ||
           (cfg[PANEL_MR] > p->linear.m && p->linear.m > 1);
}

static const char *vec_panel_reject(const struct problem *p, const struct device *d, const int *cfg)
{
    if (p->linear.w_layout != FDEC_W_PACKED)
        return "it reads packed weights";
    if (!linear_packs(&p->linear))
        return "weights of this type are not packed";
    return panel_reject(p, d, cfg);
}

static bool vec_panel_prune(const struct problem *p, const struct device *d, const int *cfg)
{
    return panel_prune(p, d, cfg) || (p->linear.w_type == FDEC_F32 && !cfg[PANEL_DIRECT]) ||
           (p->linear.m <= cfg[PANEL_MR] && !cfg[PANEL_DIRECT]);
}

static double vec_panel_expect(const struct problem *p, const struct device *d, int *cfg)
{
    const struct linear_problem *l = &p->linear;
    const bool wide = d->float_lanes >= 16, pairs = l->glu != FDEC_GLU_NONE, blocks = type_block(l->w_type) > 1;
    if (wide && (l->w_type == FDEC_F32 || (blocks && l->m <= 2))) {
        cfg[PANEL_MR] = blocks ? 2 : 4;
        cfg[PANEL_NV] = 4;
    } else if (wide) { /* what is taken apart is for many tokens */
        cfg[PANEL_MR] = pairs ? 4 : 8;
        cfg[PANEL_NV] = pairs ? 2 : l->m > 8 && !blocks && !l->stats ? 3 : 1;
    } else {
        cfg[PANEL_MR] = l->m <= 2 ? 2 : pairs || l->m <= 3 ? 3 : 6;
        cfg[PANEL_NV] = pairs || l->m <= 3 ? 2 : 1;
    }
    cfg[PANEL_KT] = wide ? 1024 : 256;
    cfg[PANEL_DIRECT] = wide || l->w_type == FDEC_F32 || l->m <= cfg[PANEL_MR];
    return d->cpu_like ? 0.9 : 0.02;
}

static void vec_panel_define(const struct problem *p, char *opt)
{
    linear_define(p, opt, "LINEAR_PANEL -DWIDTH=16");
}

const struct kernel linear_vec_panel = {
    .name = "linear/vec-panel",
    .rev = 3,
    .op = OP_LINEAR,
    .family = "flat",
    .source = &cl_linear,
    .entry = {"linear_prepare", "linear_panel"},
    .apart = vec_apart,
    .params = {[PANEL_MR] = PARAM(MR, 2, 3, 4, 6, 8),
               [PANEL_NV] = PARAM(NV, 1, 2, 3, 4),
               [PANEL_KT] = PARAM(KT, 256, 1024),
               [PANEL_DIRECT] = PARAM(DIRECT, 0, 1)},
    .reject = vec_panel_reject,
    .prune = vec_panel_prune,
    .expect = vec_panel_expect,
    .define = vec_panel_define,
    .geometry = panel_geometry,
};
