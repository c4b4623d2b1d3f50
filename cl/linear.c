/* SPDX-License-Identifier: MIT
 * linear.c - what the host must know about linear.cl
 *
 * The shares that expect() returns are of the roofline max(bytes / read rate, flops / FMA rate); on CPUs they are
 * rounded measurements (two Zen 4 cores through PoCL), on GPUs estimates. Their order alone decides, and only where no
 * table does. */
#include "registry.h"
#include "linear.h"

/* ---- common ------------------------------------------------------------------------------------------------------ */

/* Sizes are 32-bit in the kernels, and steps past the end must not wrap. */
static const char *common_reject(const struct problem *p, const struct device *d, size_t wg, size_t local_bytes)
{
    const struct linear_problem *l = &p->linear;
    const int64_t limit = 1 << 30;
    if (l->m > limit || l->n > limit || l->k > limit)
        return "M, N or K is over 2^30";
    if (l->w_type != FDEC_F32 && l->w_type != FDEC_F16)
        return "only for W of f32 and f16";
    if (l->w_type == FDEC_F16 && !d->fp16_storage)
        return "the device does not read f16 right";
    if (wg > d->max_wg || wg > d->max_items[0])
        return "the work-group is over the device limit";
    if (local_bytes > d->local_bytes)
        return "local memory is over the device limit";
    return NULL;
}

static void add_define(const struct problem *p, char *opt, const char *variant)
{
    append(opt, MAX_DEFINES, " -D%s%s", variant, p->linear.w_type == FDEC_F16 ? " -DW_F16" : "");
}

/* One work-item per output; the local size is small enough for any device. */
static struct launch element_launch(const struct linear_problem *l, const struct device *d)
{
    const size_t wg = MIN((size_t) 64, d->max_wg);
    return (struct launch){.global = {(size_t) round_up(l->m * l->n, (int64_t) wg)}, .local = {wg}};
}

/* ---- CPUs: one work-item per group ------------------------------------------------------------------------------- */

/* Enough groups to even out the cores, no more than there are tiles. */
static size_t vec_groups(const struct device *d, int64_t tiles)
{
    return (size_t) MIN(tiles, 16 * (int64_t) MAX(d->compute_units, 1));
}

static const char *vec_reject(const struct problem *p, const struct device *d, const int *cfg)
{
    (void) cfg;
    return common_reject(p, d, 1, 0);
}

enum { GEMV_ROWS };

static bool vec_gemv_prune(const struct problem *p, const struct device *d, const int *cfg)
{
    (void) cfg;
    return !d->cpu_like || p->linear.m > 16;
}

static double vec_gemv_expect(const struct problem *p, const struct device *d, int *cfg)
{
    cfg[GEMV_ROWS] = 4;
    if (!d->cpu_like)
        return 0.02;
    return p->linear.m == 1 ? 0.95 : 0.5;
}

static void vec_gemv_define(const struct problem *p, char *opt)
{
    add_define(p, opt, "LINEAR_VEC -DMR=1 -DNR=ROWS");
}

static struct geometry vec_gemv_geometry(const struct problem *p, const struct device *d, const int *cfg)
{
    return (struct geometry){
        .n_launches = 1,
        .launch = {{.global = {vec_groups(d, div_up(p->linear.n, cfg[GEMV_ROWS]))}, .local = {1}}},
        .n_splits = 1,
    };
}

const struct kernel linear_vec_gemv = {
    .name = "linear/vec-gemv",
    .rev = 1,
    .op = OP_LINEAR,
    .family = "gemv",
    .source = &cl_linear,
    .entry = {"linear_vec"},
    .params = {[GEMV_ROWS] = PARAM(ROWS, 1, 2, 4, 8)},
    .reject = vec_reject,
    .prune = vec_gemv_prune,
    .expect = vec_gemv_expect,
    .define = vec_gemv_define,
    .geometry = vec_gemv_geometry,
};

enum { FLAT_MR, FLAT_NR };

static bool vec_flat_prune(const struct problem *p, const struct device *d, const int *cfg)
{
    const int tile = cfg[FLAT_MR] * cfg[FLAT_NR];
    return !d->cpu_like || tile > 24 || (tile < 8 && p->linear.m > 1) || cfg[FLAT_MR] > p->linear.m;
}

/* 4 x 6 for all M: below 4 the tokens too many are free, since W has to be read anyway. */
static double vec_flat_expect(const struct problem *p, const struct device *d, int *cfg)
{
    cfg[FLAT_MR] = 4;
    cfg[FLAT_NR] = 6;
    if (!d->cpu_like)
        return 0.02;
    return p->linear.m <= 64 ? 0.8 : 0.7;
}

static void vec_flat_define(const struct problem *p, char *opt)
{
    add_define(p, opt, "LINEAR_VEC");
}

static struct geometry vec_flat_geometry(const struct problem *p, const struct device *d, const int *cfg)
{
    return (struct geometry){
        .n_launches = 1,
        .launch = {{.global = {vec_groups(d, div_up(p->linear.n, cfg[FLAT_NR]))}, .local = {1}}},
        .n_splits = 1,
    };
}

const struct kernel linear_vec_flat = {
    .name = "linear/vec-flat",
    .rev = 1,
    .op = OP_LINEAR,
    .family = "flat",
    .source = &cl_linear,
    .entry = {"linear_vec"},
    .params = {[FLAT_MR] = PARAM(MR, 1, 2, 3, 4, 6, 8), [FLAT_NR] = PARAM(NR, 2, 4, 6, 8)},
    .reject = vec_reject,
    .prune = vec_flat_prune,
    .expect = vec_flat_expect,
    .define = vec_flat_define,
    .geometry = vec_flat_geometry,
};

enum { VGEMM_MR, VGEMM_NV, VGEMM_KT };

static bool vec_gemm_prune(const struct problem *p, const struct device *d, const int *cfg)
{
    const int tile = cfg[VGEMM_MR] * cfg[VGEMM_NV];
    return !d->cpu_like || tile > 24 || tile < 8 || p->linear.m < 32;
}

static double vec_gemm_expect(const struct problem *p, const struct device *d, int *cfg)
{
    cfg[VGEMM_MR] = 4;
    cfg[VGEMM_NV] = 4;
    cfg[VGEMM_KT] = 256;
    return d->cpu_like ? 0.9 * (double) p->linear.m / (double) (p->linear.m + 24) : 0.02;
}

static void vec_gemm_define(const struct problem *p, char *opt)
{
    add_define(p, opt, "LINEAR_VEC_GEMM");
}

/* Tokens are divided as well where the rows alone are too few tiles, but W is packed once more for each part. */
static struct geometry vec_gemm_geometry(const struct problem *p, const struct device *d, const int *cfg)
{
    const size_t tiles = vec_groups(d, div_up(p->linear.n, 16 * cfg[VGEMM_NV]));
    const int64_t most = div_up(p->linear.m, 16 * cfg[VGEMM_MR]);
    const int64_t wish = 8 * (int64_t) MAX(d->compute_units, 1) / (int64_t) tiles;
    return (struct geometry){
        .n_launches = 1,
        .launch = {{.global = {tiles, (size_t) MAX(1, MIN(most, wish))}, .local = {1, 1}}},
        .n_splits = 1,
    };
}

const struct kernel linear_vec_gemm = {
    .name = "linear/vec-gemm",
    .rev = 1,
    .op = OP_LINEAR,
    .family = "gemm",
    .source = &cl_linear,
    .entry = {"linear_vec_gemm"},
    .params =
        {[VGEMM_MR] = PARAM(MR, 4, 6, 8, 12), [VGEMM_NV] = PARAM(NV, 1, 2, 3, 4), [VGEMM_KT] = PARAM(KT, 128, 256)},
    .reject = vec_reject,
    .prune = vec_gemm_prune,
    .expect = vec_gemm_expect,
    .define = vec_gemm_define,
    .geometry = vec_gemm_geometry,
};

/* ---- GPUs: work-groups ------------------------------------------------------------------------------------------- */

enum { WGV_WG, WGV_ROWS, WGV_TM, WGV_VEC };

static const char *wg_gemv_reject(const struct problem *p, const struct device *d, const int *cfg)
{
    const size_t local_bytes = sizeof(float) * (size_t) (cfg[WGV_TM] * cfg[WGV_ROWS] * cfg[WGV_WG]);
    return common_reject(p, d, (size_t) cfg[WGV_WG], local_bytes);
}

static bool wg_gemv_prune(const struct problem *p, const struct device *d, const int *cfg)
{
    const struct linear_problem *l = &p->linear;
    return d->cpu_like || cfg[WGV_TM] >= 2 * l->m || l->m > 8 || cfg[WGV_WG] * cfg[WGV_VEC] >= 2 * l->k;
}

static double wg_gemv_expect(const struct problem *p, const struct device *d, int *cfg)
{
    const int64_t m = p->linear.m;
    cfg[WGV_WG] = (int) MIN((size_t) 128, d->max_wg);
    cfg[WGV_ROWS] = 2;
    cfg[WGV_TM] = m == 1 ? 1 : 4;
    cfg[WGV_VEC] = p->linear.w_type == FDEC_F16 ? 8 : 4;
    if (d->cpu_like)
        return 0.05;
    return m == 1 ? 0.85 : m <= 4 ? 0.75 : 0.5; /* beyond TM tokens W is read again, from the cache at best */
}

static void wg_gemv_define(const struct problem *p, char *opt)
{
    add_define(p, opt, "LINEAR_WG_GEMV");
}

static struct geometry wg_gemv_geometry(const struct problem *p, const struct device *d, const int *cfg)
{
    (void) d;
    const size_t groups = (size_t) div_up(p->linear.n, cfg[WGV_ROWS]), wg = (size_t) cfg[WGV_WG];
    return (struct geometry){
        .n_launches = 1,
        .launch = {{.global = {groups * wg}, .local = {wg}}},
        .n_splits = 1,
    };
}

const struct kernel linear_wg_gemv = {
    .name = "linear/wg-gemv",
    .rev = 1,
    .op = OP_LINEAR,
    .family = "gemv",
    .source = &cl_linear,
    .entry = {"linear_wg_gemv"},
    .params = {[WGV_WG] = PARAM(WG, 32, 64, 128, 256),
               [WGV_ROWS] = PARAM(ROWS, 1, 2, 4),
               [WGV_TM] = PARAM(TM, 1, 2, 4),
               [WGV_VEC] = PARAM(VEC, 4, 8)},
    .reject = wg_gemv_reject,
    .prune = wg_gemv_prune,
    .expect = wg_gemv_expect,
    .define = wg_gemv_define,
    .geometry = wg_gemv_geometry,
};

enum { WGF_TM, WGF_TN, WGF_TK, WGF_RN, WGF_SPLITK };

/* Work-items of a group: each has min(TM, 8) tokens and RN rows. */
static size_t wg_flat_items(const int *cfg)
{
    return (size_t) (cfg[WGF_TN] / cfg[WGF_RN] * (cfg[WGF_TM] / MIN(cfg[WGF_TM], 8)));
}

static const char *wg_flat_reject(const struct problem *p, const struct device *d, const int *cfg)
{
    const size_t lines = 2 * (size_t) (cfg[WGF_TM] + cfg[WGF_TN]);
    const size_t local_bytes = lines * sizeof(float) * (size_t) (cfg[WGF_TK] + 4);
    return common_reject(p, d, wg_flat_items(cfg), local_bytes);
}

/* The tile of tokens that M nearly fills, and no split without a tile of K. */
static bool wg_flat_prune(const struct problem *p, const struct device *d, const int *cfg)
{
    const struct linear_problem *l = &p->linear;
    return d->cpu_like || cfg[WGF_TM] >= 2 * l->m || (cfg[WGF_TM] < 64 && cfg[WGF_TM] < l->m) ||
           cfg[WGF_SPLITK] > div_up(l->k, cfg[WGF_TK]) || wg_flat_items(cfg) < 32;
}

/* K is split when the rows alone leave compute units without two groups. */
static double wg_flat_expect(const struct problem *p, const struct device *d, int *cfg)
{
    const struct linear_problem *l = &p->linear;
    cfg[WGF_TM] = l->m <= 4 ? 4 : l->m <= 8 ? 8 : l->m <= 16 ? 16 : l->m <= 32 ? 32 : 64;
    cfg[WGF_TN] = l->n <= 16384 ? 64 : 128;
    cfg[WGF_TK] = 32;
    cfg[WGF_RN] = cfg[WGF_TM] >= 32 ? 2 : 1;
    const int64_t groups = div_up(l->n, cfg[WGF_TN]) * div_up(l->m, cfg[WGF_TM]);
    const int64_t wish = 2 * (int64_t) d->compute_units / groups;
    cfg[WGF_SPLITK] = wish >= 8 ? 8 : wish >= 4 ? 4 : wish >= 2 ? 2 : 1;
    while (cfg[WGF_TN] > 32 && wg_flat_reject(p, d, cfg))
        cfg[WGF_TN] /= 2;
    while (cfg[WGF_TM] > 1 && wg_flat_reject(p, d, cfg))
        cfg[WGF_TM] /= 2;
    if (d->cpu_like)
        return 0.04;
    return l->m <= 64 ? 0.7 : 0.35;
}

static void wg_flat_define(const struct problem *p, char *opt)
{
    add_define(p, opt, "LINEAR_WG_FLAT");
}

static struct geometry wg_flat_geometry(const struct problem *p, const struct device *d, const int *cfg)
{
    const struct linear_problem *l = &p->linear;
    const size_t wg = wg_flat_items(cfg);
    const size_t rows = (size_t) div_up(l->n, cfg[WGF_TN]), tokens = (size_t) div_up(l->m, cfg[WGF_TM]);
    const int n_splits = (int) MIN((int64_t) cfg[WGF_SPLITK], div_up(l->k, cfg[WGF_TK]));
    const size_t work = (size_t) n_splits * (size_t) l->m * (size_t) l->n * sizeof(float);
    return (struct geometry){
        .n_launches = n_splits > 1 ? 2 : 1,
        .launch = {{.global = {rows * wg, tokens, (size_t) n_splits}, .local = {wg, 1, 1}}, element_launch(l, d)},
        .n_splits = n_splits,
        .workspace_bytes = n_splits > 1 ? work : 0,
    };
}

const struct kernel linear_wg_flat = {
    .name = "linear/wg-flat",
    .rev = 1,
    .op = OP_LINEAR,
    .family = "flat",
    .source = &cl_linear,
    .entry = {"linear_wg_flat", "linear_merge"},
    .params = {[WGF_TM] = PARAM(TM, 1, 2, 4, 8, 16, 32, 64),
               [WGF_TN] = PARAM(TN, 32, 64, 128),
               [WGF_TK] = PARAM(TK, 16, 32, 64),
               [WGF_RN] = PARAM(RN, 1, 2),
               [WGF_SPLITK] = PARAM(SPLITK, 1, 2, 4, 8)},
    .reject = wg_flat_reject,
    .prune = wg_flat_prune,
    .expect = wg_flat_expect,
    .define = wg_flat_define,
    .geometry = wg_flat_geometry,
};

enum { TILE_TILE, TILE_R, TILE_TK };

static size_t tile_items(const int *cfg)
{
    const size_t side = (size_t) (cfg[TILE_TILE] / cfg[TILE_R]);
    return side * side;
}

static const char *tile_gemm_reject(const struct problem *p, const struct device *d, const int *cfg)
{
    return common_reject(p, d, tile_items(cfg), 2 * sizeof(float) * (size_t) (cfg[TILE_TK] * (cfg[TILE_TILE] + 1)));
}

static bool tile_gemm_prune(const struct problem *p, const struct device *d, const int *cfg)
{
    return d->cpu_like || tile_items(cfg) < 64 || p->linear.m < 16 || cfg[TILE_TILE] >= 4 * p->linear.m;
}

static double tile_gemm_expect(const struct problem *p, const struct device *d, int *cfg)
{
    const struct linear_problem *l = &p->linear;
    const int64_t groups = div_up(l->m, 128) * div_up(l->n, 128);
    cfg[TILE_TILE] = groups >= d->compute_units && l->m >= 128 ? 128 : 64;
    cfg[TILE_R] = cfg[TILE_TILE] == 128 ? 8 : 4;
    cfg[TILE_TK] = 16;
    while (cfg[TILE_TILE] > 16 && tile_gemm_reject(p, d, cfg))
        cfg[TILE_TILE] /= 2;
    return d->cpu_like ? 0.03 : 0.5 * (double) MIN(l->m, 128) / 128;
}

static void tile_gemm_define(const struct problem *p, char *opt)
{
    add_define(p, opt, "LINEAR_TILE_GEMM");
}

static struct geometry tile_gemm_geometry(const struct problem *p, const struct device *d, const int *cfg)
{
    (void) d;
    const size_t rows = (size_t) div_up(p->linear.n, cfg[TILE_TILE]);
    const size_t tokens = (size_t) div_up(p->linear.m, cfg[TILE_TILE]), wg = tile_items(cfg);
    return (struct geometry){
        .n_launches = 1,
        .launch = {{.global = {rows * wg, tokens}, .local = {wg, 1}}},
        .n_splits = 1,
    };
}

const struct kernel linear_tile_gemm = {
    .name = "linear/tile-gemm",
    .rev = 1,
    .op = OP_LINEAR,
    .family = "gemm",
    .source = &cl_linear,
    .entry = {"linear_tile_gemm"},
    .params = {[TILE_TILE] = PARAM(TILE, 16, 32, 64, 128), [TILE_R] = PARAM(R, 4, 8), [TILE_TK] = PARAM(TK, 8, 16, 32)},
    .reject = tile_gemm_reject,
    .prune = tile_gemm_prune,
    .expect = tile_gemm_expect,
    .define = tile_gemm_define,
    .geometry = tile_gemm_geometry,
};
