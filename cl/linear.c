/* SPDX-License-Identifier: MIT
 * linear.c - what the host must know about linear.cl
 *
 * The shares that expect() returns are of the roofline max(bytes / read rate, flops / FMA rate); on CPUs they are
 * rounded measurements (PoCL), on GPUs estimates. Their order alone decides, and only where no table does. */
#include "registry.h"
#include "linear.h"
#include "linear_host.h"
#include "tile_stats.h"

/* ---- common ------------------------------------------------------------------------------------------------------ */

/* Sizes are 32-bit in the kernels, and steps past the end must not wrap. */
const char *linear_reject(const struct problem *p, const struct device *d, size_t wg, size_t local_bytes)
{
    const struct linear_problem *l = &p->linear;
    const int64_t limit = 1 << 30;
    if (l->m > limit || linear_rows(l) > limit || l->k > limit)
        return "M, the rows of W or K are over 2^30";
    if ((type_has_f16(l->w_type) || type_has_f16(l->x_type) || type_has_f16(l->y_type)) && !d->fp16_storage)
        return "the device does not read f16 right";
    if (wg > d->max_wg || wg > d->max_items[0])
        return "the work-group is over the device limit";
    if (local_bytes > d->local_bytes)
        return "local memory is over the device limit";
    return NULL;
}

const char *linear_tile_reject(const struct problem *p, int n, int rows)
{
    if (p->linear.glu != FDEC_GLU_NONE && n % 2)
        return "gate and up take turns: an odd number parts them";
    if (p->linear.stats && STATS_TILE % rows)
        return "a record's 256 columns are no whole tiles";
    return NULL;
}

const char *linear_stored_reject(const struct problem *p, const struct device *d, size_t wg, size_t local_bytes,
                                 int rows)
{
    if (p->linear.w_layout != FDEC_W_STORED)
        return "it reads weights as they are stored";
    const char *why = linear_tile_reject(p, rows, rows);
    return why ? why : linear_reject(p, d, wg, local_bytes);
}

void linear_define(const struct problem *p, char *opt, const char *variant)
{
    const struct linear_problem *l = &p->linear;
    append(opt, MAX_DEFINES, " -D%s -DX_TYPE=%s -DW_TYPE=%s -DY_TYPE=%s -DGLU=%u -DSTATS=%d", variant,
           type_name(l->x_type), type_name(l->w_type), type_name(l->y_type), l->glu, l->stats);
}

/* Launch 0 of all variants is the same for all configurations and weights. */
bool linear_prepare_apart(const struct problem *p, int launch, int prepare_wg, char *opt)
{
    if (launch == 0)
        append(opt, MAX_DEFINES, " -DLINEAR_PREPARE=%d -DX_TYPE=%s -DW_TYPE=f32 -DY_TYPE=f32 -DGLU=0 -DSTATS=0",
               prepare_wg, type_name(p->linear.x_type));
    return launch == 0;
}

bool linear_wg_apart(const struct problem *p, const struct device *d, int launch, char *opt)
{
    (void) d;
    return linear_prepare_apart(p, launch, LINEAR_WG_PREPARE, opt);
}

/* One work-item per output; the local size is small enough for any device. */
static struct launch element_launch(const struct linear_problem *l, const struct device *d)
{
    const size_t wg = MIN((size_t) 64, d->max_wg);
    return (struct launch){.global = {(size_t) round_up(l->m * l->n, (int64_t) wg)}, .local = {wg}};
}

/* CPU-like variants read x as f32, and apart in the cache (LINEAR_X_STRIDE) where they read it in more than one pass;
 * all read it normalised. */
struct geometry linear_product(const struct problem *p, int prepare_wg, int mr, int side, struct launch launch)
{
    const struct linear_problem *l = &p->linear;
    const bool prepared = l->norm || (prepare_wg == 1 && (l->x_type != FDEC_F32 || l->m > mr || side > 1));
    const size_t wg = (size_t) prepare_wg;
    const size_t records = (size_t) (l->m * div_up(l->n, STATS_TILE)) * 16; /* an item for each of 16 sums */
    const int64_t tokens = round_up(l->m, side);
    return (struct geometry){
        .n_launches = l->stats && prepare_wg > 1 ? 3 : 2,
        .first = prepared ? 0 : 1,
        .prepared = prepared ? side : 0,
        .launch = {{.global = {(size_t) (tokens / side) * wg}, .local = {wg}},
                   launch,
                   {.global = {(size_t) round_up((int64_t) records, prepare_wg)}, .local = {wg}}},
        .n_splits = 1,
        .workspace_bytes = prepared ? (size_t) (tokens * LINEAR_X_STRIDE(l->k)) * sizeof(float) : 0,
    };
}

struct geometry linear_split(const struct problem *p, const struct device *d, struct launch launch, int n_splits)
{
    const struct linear_problem *l = &p->linear;
    struct geometry g = linear_product(p, LINEAR_WG_PREPARE, 1, 1, launch);
    g.n_splits = n_splits;
    if (n_splits > 1) {
        g.n_launches = 3;
        g.launch[2] = element_launch(l, d);
        g.workspace_bytes += (size_t) (n_splits * l->m * linear_rows(l)) * sizeof(float);
    }
    return g;
}

/* ---- GPUs: work-groups ------------------------------------------------------------------------------------------- */

size_t linear_chunk_bytes(fdec_type type, int rows, int columns)
{
    return type_block(type) > 1 ? (size_t) rows * 16 * LINEAR_CHUNK_PIECES(type_bytes(type, (uint64_t) columns)) : 0;
}

enum { WGV_WG, WGV_NR, WGV_MR };

static const char *wg_gemv_reject(const struct problem *p, const struct device *d, const int *cfg)
{
    const size_t local_bytes = sizeof(float) * (size_t) (cfg[WGV_MR] * cfg[WGV_NR] * cfg[WGV_WG]) +
                               linear_chunk_bytes(p->linear.w_type, cfg[WGV_NR], LINEAR_GEMV_CHUNK(cfg[WGV_WG]));
    return linear_stored_reject(p, d, (size_t) cfg[WGV_WG], local_bytes, cfg[WGV_NR]);
}

static bool wg_gemv_prune(const struct problem *p, const struct device *d, const int *cfg)
{
    const struct linear_problem *l = &p->linear;
    return d->cpu_like || cfg[WGV_MR] >= 2 * l->m || l->m > 8 || cfg[WGV_WG] * 8 >= 2 * l->k;
}

static double wg_gemv_expect(const struct problem *p, const struct device *d, int *cfg)
{
    const int64_t m = p->linear.m;
    cfg[WGV_WG] = (int) MIN((size_t) 128, d->max_wg);
    cfg[WGV_NR] = 2;
    cfg[WGV_MR] = m == 1 ? 1 : 4;
    if (d->cpu_like)
        return 0.05;
    return m == 1 ? 0.85 : m <= 4 ? 0.75 : 0.5; /* beyond MR tokens W is read again, from the cache at best */
}

static void wg_gemv_define(const struct problem *p, char *opt)
{
    linear_define(p, opt, "LINEAR_WG_GEMV");
}

static struct geometry wg_gemv_geometry(const struct problem *p, const struct device *d, const int *cfg)
{
    (void) d;
    const size_t groups = (size_t) div_up(linear_rows(&p->linear), cfg[WGV_NR]), wg = (size_t) cfg[WGV_WG];
    return linear_product(p, LINEAR_WG_PREPARE, 1, 1, (struct launch){.global = {groups * wg}, .local = {wg}});
}

const struct kernel linear_wg_gemv = {
    .name = "linear/wg-gemv",
    .rev = 3,
    .op = OP_LINEAR,
    .family = "gemv",
    .source = &cl_linear,
    .entry = {"linear_prepare", "linear_wg_gemv", "linear_after"},
    .apart = linear_wg_apart,
    .params = {[WGV_WG] = PARAM(WG, 32, 64, 128, 256), [WGV_NR] = PARAM(NR, 1, 2, 4), [WGV_MR] = PARAM(MR, 1, 2, 4)},
    .reject = wg_gemv_reject,
    .prune = wg_gemv_prune,
    .expect = wg_gemv_expect,
    .define = wg_gemv_define,
    .geometry = wg_gemv_geometry,
};

enum { WGF_TM, WGF_TN, WGF_TK, WGF_RN, WGF_SPLITK };

/* Work-items of a team: each has LINEAR_ITEM_TOKENS(TM) tokens and RN rows. */
static int wg_flat_team(const int *cfg)
{
    return cfg[WGF_TN] / cfg[WGF_RN] * (cfg[WGF_TM] / LINEAR_ITEM_TOKENS(cfg[WGF_TM]));
}

static size_t wg_flat_items(const int *cfg)
{
    return (size_t) (wg_flat_team(cfg) * LINEAR_TEAMS(wg_flat_team(cfg), cfg[WGF_TK]));
}

static size_t wg_flat_local_bytes(const struct problem *p, const int *cfg)
{
    const bool is_16_bit = type_is_16_bit(p->linear.w_type);
    const int buffers = type_block(p->linear.w_type) > 1 ? 1 : 2;
    const int w = buffers * cfg[WGF_TN] * LINEAR_ROW_PIECES(is_16_bit, cfg[WGF_TK]);
    const int x = 2 * cfg[WGF_TM] * LINEAR_ROW_PIECES(false, cfg[WGF_TK]);
    const int teams = LINEAR_TEAMS(wg_flat_team(cfg), cfg[WGF_TK]), sums = (teams - 1) * cfg[WGF_TM] * cfg[WGF_TN] / 4;
    return 16 * (size_t) (MAX(w, sums) + x) + linear_chunk_bytes(p->linear.w_type, cfg[WGF_TN], LINEAR_FLAT_CHUNK);
}

static const char *wg_flat_reject(const struct problem *p, const struct device *d, const int *cfg)
{
    if (p->linear.stats && cfg[WGF_SPLITK] > 1)
        return "records are made of whole sums: K is not split";
    return linear_stored_reject(p, d, wg_flat_items(cfg), wg_flat_local_bytes(p, cfg), cfg[WGF_RN]);
}

/* The tile of tokens that M nearly fills, and no split without a tile of K. */
static bool wg_flat_prune(const struct problem *p, const struct device *d, const int *cfg)
{
    const struct linear_problem *l = &p->linear;
    return d->cpu_like || cfg[WGF_TM] >= 2 * l->m || (cfg[WGF_TM] < 64 && cfg[WGF_TM] < l->m) ||
           cfg[WGF_SPLITK] > div_up(l->k, cfg[WGF_TK]) || wg_flat_items(cfg) < 32;
}

/* The least tile that holds m tokens, three at least: fewer are the GEMV's. */
static int least_height(int64_t m)
{
    const struct param *heights = &linear_wg_flat.params[WGF_TM];
    size_t i = 0;
    while (i < heights->n - 1 && heights->values[i] < MAX(m, 3))
        i++;
    return heights->values[i];
}

/* K is split when the rows alone leave compute units without two groups. */
static double wg_flat_expect(const struct problem *p, const struct device *d, int *cfg)
{
    const struct linear_problem *l = &p->linear;
    cfg[WGF_TM] = least_height(l->m);
    cfg[WGF_TN] = linear_rows(l) <= 16384 ? 64 : 128;
    cfg[WGF_TK] = 32;
    cfg[WGF_RN] = cfg[WGF_TM] >= 32 || l->glu != FDEC_GLU_NONE ? 2 : 1;
    const int64_t groups = div_up(linear_rows(l), cfg[WGF_TN]) * div_up(l->m, cfg[WGF_TM]);
    const int64_t wish = 2 * (int64_t) d->compute_units / groups;
    cfg[WGF_SPLITK] = l->stats ? 1 : wish >= 8 ? 8 : wish >= 4 ? 4 : wish >= 2 ? 2 : 1;
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
    linear_define(p, opt, "LINEAR_WG_FLAT");
}

static struct geometry wg_flat_geometry(const struct problem *p, const struct device *d, const int *cfg)
{
    const struct linear_problem *l = &p->linear;
    const size_t wg = wg_flat_items(cfg);
    const size_t rows = (size_t) div_up(linear_rows(l), cfg[WGF_TN]), tokens = (size_t) div_up(l->m, cfg[WGF_TM]);
    const int n_splits = (int) MIN((int64_t) cfg[WGF_SPLITK], div_up(l->k, cfg[WGF_TK]));
    const struct launch all = {.global = {rows * wg, tokens, (size_t) n_splits}, .local = {wg, 1, 1}};
    return linear_split(p, d, all, n_splits);
}

const struct kernel linear_wg_flat = {
    .name = "linear/wg-flat",
    .rev = 4,
    .op = OP_LINEAR,
    .family = "flat",
    .source = &cl_linear,
    .entry = {"linear_prepare", "linear_wg_flat", "linear_after"},
    .apart = linear_wg_apart,
    .params = {[WGF_TM] = PARAM(TM, 1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 64),
               [WGF_TN] = PARAM(TN, 32, 64, 128),
               [WGF_TK] = PARAM(TK, 16, 32, 64),
               [WGF_RN] = PARAM(RN, 1, 2),
               [WGF_SPLITK] = HOST_PARAM(SPLITK, 1, 2, 4, 8)},
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

static const char *wg_gemm_reject(const struct problem *p, const struct device *d, const int *cfg)
{
    const fdec_type type = p->linear.w_type;
    const size_t local_bytes = 2 * sizeof(float) * (size_t) (cfg[TILE_TK] * (cfg[TILE_TILE] + 1)) +
                               linear_chunk_bytes(type, cfg[TILE_TILE], LINEAR_TILE_CHUNK(type_block(type)));
    return linear_stored_reject(p, d, tile_items(cfg), local_bytes, cfg[TILE_R]);
}

static bool wg_gemm_prune(const struct problem *p, const struct device *d, const int *cfg)
{
    return d->cpu_like || tile_items(cfg) < 64 || p->linear.m < 16 || cfg[TILE_TILE] >= 4 * p->linear.m;
}

static double wg_gemm_expect(const struct problem *p, const struct device *d, int *cfg)
{
    const struct linear_problem *l = &p->linear;
    const int64_t groups = div_up(l->m, 128) * div_up(linear_rows(l), 128);
    cfg[TILE_TILE] = groups >= d->compute_units && l->m >= 128 ? 128 : 64;
    cfg[TILE_R] = cfg[TILE_TILE] == 128 ? 8 : 4;
    cfg[TILE_TK] = 16;
    while (cfg[TILE_TILE] > 16 && wg_gemm_reject(p, d, cfg))
        cfg[TILE_TILE] /= 2;
    return d->cpu_like ? 0.03 : 0.5 * (double) MIN(l->m, 128) / 128;
}

static void wg_gemm_define(const struct problem *p, char *opt)
{
    linear_define(p, opt, "LINEAR_WG_GEMM");
}

static struct geometry wg_gemm_geometry(const struct problem *p, const struct device *d, const int *cfg)
{
    (void) d;
    const size_t rows = (size_t) div_up(linear_rows(&p->linear), cfg[TILE_TILE]);
    const size_t tokens = (size_t) div_up(p->linear.m, cfg[TILE_TILE]), wg = tile_items(cfg);
    return linear_product(p, LINEAR_WG_PREPARE, 1, 1, (struct launch){.global = {rows * wg, tokens}, .local = {wg, 1}});
}

const struct kernel linear_wg_gemm = {
    .name = "linear/wg-gemm",
    .rev = 3,
    .op = OP_LINEAR,
    .family = "gemm",
    .source = &cl_linear,
    .entry = {"linear_prepare", "linear_wg_gemm", "linear_after"},
    .apart = linear_wg_apart,
    .params = {[TILE_TILE] = PARAM(TILE, 16, 32, 64, 128), [TILE_R] = PARAM(R, 4, 8), [TILE_TK] = PARAM(TK, 8, 16, 32)},
    .reject = wg_gemm_reject,
    .prune = wg_gemm_prune,
    .expect = wg_gemm_expect,
    .define = wg_gemm_define,
    .geometry = wg_gemm_geometry,
};
