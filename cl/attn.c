/* SPDX-License-Identifier: MIT
 * attn.c - what the host must know about attn.cl: six variants, two styles times three schemes
 *
 * vec/...: HEADS, PREFETCH, PARTS.  wg/...: HEADS, PARTS, WG, TILE. PARTS is the number of work-groups wanted per
 * compute unit; the keys of a sequence are split until there are that many, or until a split would be too short to be
 * worth its merge. */
#include "attn.h"
#include "registry.h"

enum { VEC_HEADS, VEC_PREFETCH, VEC_PARTS };
enum { WG_HEADS, WG_PARTS, WG_WG, WG_TILE };

enum { VEC_BLOCK = 16 /* keys */, VEC_MERGE_ITEMS = 1 };

/* How query heads of one kv head are cut into chunks. */
static int chunk_heads(const struct attn_problem *p, int heads)
{
    return MIN(heads, p->n_heads / p->n_kv_heads);
}

static int64_t n_chunks(const struct attn_problem *p, int heads)
{
    return div_up(p->n_heads / p->n_kv_heads, chunk_heads(p, heads));
}

/* The smallest value of HEADS that takes a whole group, else the largest. */
static int best_heads(const struct problem *p, const int *values, size_t n)
{
    const int group = p->attn.n_heads / p->attn.n_kv_heads;
    size_t i = 0;
    while (i + 1 < n && values[i] < group)
        i++;
    return values[i];
}

/* ---- geometry ---- */

struct split_rule {
    int64_t wanted;   /* work-groups on the device */
    int64_t min_keys; /* of a split */
    int heads;        /* HEADS */
};

static int64_t splits_of(const struct attn_problem *p, const struct split_rule *r)
{
    const int64_t groups = MAX(p->batch, 1) * p->n_kv_heads * n_chunks(p, r->heads);
    return MAX(1, MIN(div_up(r->wanted, groups), div_up(p->len, r->min_keys)));
}

/* B * ceil(wanted / (B * units)) <= B + wanted / units for every batch up to B, so this is enough for all smaller
 * ranges. */
static size_t workspace_of(const struct attn_problem *p, const struct split_rule *r)
{
    const int64_t units = p->n_kv_heads * n_chunks(p, r->heads);
    const int64_t by_keys = p->batch * MAX(1, div_up(p->len, r->min_keys));
    const int64_t partials = MIN(by_keys, p->batch + r->wanted / units) * p->n_heads;
    return (size_t) partials * ((size_t) p->head_dim + 2) * sizeof(float);
}

static struct geometry geometry_of(const struct attn_problem *p, const struct split_rule *r, size_t items,
                                   size_t merge_items)
{
    const int64_t splits = splits_of(p, r);
    return (struct geometry){
        .n_launches = 2,
        .launch = {{.global = {(size_t) (p->batch * splits * n_chunks(p, r->heads)) * items, (size_t) p->n_kv_heads},
                    .local = {items, 1}},
                   {.global = {(size_t) (p->batch * p->n_heads) * merge_items}, .local = {merge_items}}},
        .n_splits = (int) splits,
        .workspace_bytes = workspace_of(p, r),
    };
}

static const char *reject_any(const struct problem *p, const struct device *d, const struct split_rule *r)
{
    const struct attn_problem *a = &p->attn;
    if (p->op != OP_ATTN)
        return "not attention";
    if (a->head_dim < 8 || a->head_dim > 256 || a->head_dim % 8)
        return "head_dim is not a multiple of 8 in 8..256";
    if (a->n_kv_heads < 1 || a->n_heads < 1 || a->n_heads % a->n_kv_heads)
        return "the query heads are not a multiple of the kv heads";
    if (a->kv.k.type == FDEC_F16 && !d->fp16_storage)
        return "the device does not read f16 right";
    if (workspace_of(a, r) > d->max_alloc_bytes)
        return "the workspace is over the device's largest allocation";
    return NULL;
}

/* ---- vec ---- */

static const int vec_heads[] = {1, 2, 4, 8, 16};

static struct split_rule vec_rule(const struct device *d, const int *cfg)
{
    return (struct split_rule){(int64_t) d->compute_units * cfg[VEC_PARTS], 4 * VEC_BLOCK, cfg[VEC_HEADS]};
}

static const char *vec_reject(const struct problem *p, const struct device *d, const int *cfg)
{
    const struct split_rule rule = vec_rule(d, cfg);
    if (cfg[VEC_PREFETCH] && !d->prefetch)
        return "no prefetch on this device";
    return reject_any(p, d, &rule);
}

static bool vec_prune(const struct problem *p, const struct device *d, const int *cfg)
{
    (void) d;
    return cfg[VEC_HEADS] > best_heads(p, vec_heads, ARRAY_LEN(vec_heads));
}

static double vec_expect(const struct problem *p, const struct device *d, int *cfg)
{
    cfg[VEC_HEADS] = best_heads(p, vec_heads, ARRAY_LEN(vec_heads));
    /* one f32 head alone streams by itself: asking ahead costs it a fifth, and gains f16 or grouped heads a third */
    cfg[VEC_PREFETCH] = d->prefetch && (p->attn.n_heads > p->attn.n_kv_heads || p->attn.kv.k.type == FDEC_F16);
    cfg[VEC_PARTS] = 8;
    return d->cpu_like ? 0.90 : 0.05;
}

static struct geometry vec_geometry(const struct problem *p, const struct device *d, const int *cfg)
{
    const struct split_rule rule = vec_rule(d, cfg);
    return geometry_of(&p->attn, &rule, 1, VEC_MERGE_ITEMS);
}

/* ---- wg ---- */

static const int wg_heads[] = {1, 2, 4, 8};

static struct split_rule wg_rule(const struct device *d, const int *cfg)
{
    return (struct split_rule){(int64_t) d->compute_units * cfg[WG_PARTS], 2 * cfg[WG_TILE], cfg[WG_HEADS]};
}

/* sizeof(struct tile) of attn_wg.cl, rounded up. */
static size_t wg_local_bytes(const struct attn_problem *p, const int *cfg)
{
    const int d = p->head_dim, vecs = d / 4, tile = cfg[WG_TILE], chunk = chunk_heads(p, cfg[WG_HEADS]);
    const int lanes = d >= 32 ? 8 : d >= 16 ? 4 : 2, rows = MAX(1, cfg[WG_WG] / vecs);
    const int scratch = chunk * MAX(tile * (lanes + 1), rows * d);
    const int floats = chunk * d + scratch + chunk * (2 * tile + tile / 8 + 1);
    return (size_t) round_up(4 * floats + 8 * tile + 8, 16) + 16;
}

static const char *wg_reject(const struct problem *p, const struct device *d, const int *cfg)
{
    const struct split_rule rule = wg_rule(d, cfg);
    const char *why = reject_any(p, d, &rule);
    if (why)
        return why;
    if ((size_t) cfg[WG_WG] > d->max_wg || (size_t) cfg[WG_WG] > d->max_items[0])
        return "WG is over the device limit";
    if (cfg[WG_TILE] > cfg[WG_WG])
        return "TILE is over WG";
    if (wg_local_bytes(&p->attn, cfg) > d->local_bytes)
        return "the tile does not fit in local memory";
    return NULL;
}

static bool wg_prune(const struct problem *p, const struct device *d, const int *cfg)
{
    (void) d;
    return cfg[WG_HEADS] > best_heads(p, wg_heads, ARRAY_LEN(wg_heads)) || cfg[WG_TILE] > 2 * p->attn.len;
}

/* As many heads as share a group, tiles of 32 keys, 128 items; less where the device is small. */
static double wg_expect(const struct problem *p, const struct device *d, int *cfg)
{
    static const int sizes[][2] = {{128, 32}, {64, 32}, {32, 32}, {32, 16}}; /* WG, TILE */
    cfg[WG_PARTS] = 4;
    for (int heads = best_heads(p, wg_heads, ARRAY_LEN(wg_heads)); heads >= 1; heads /= 2) {
        cfg[WG_HEADS] = heads;
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
            cfg[WG_WG] = sizes[i][0];
            cfg[WG_TILE] = sizes[i][1];
            if (!wg_reject(p, d, cfg))
                return d->cpu_like ? 0.04 : 0.70;
        }
    }
    return 0;
}

static struct geometry wg_geometry(const struct problem *p, const struct device *d, const int *cfg)
{
    const struct split_rule rule = wg_rule(d, cfg);
    return geometry_of(&p->attn, &rule, (size_t) cfg[WG_WG], MIN((size_t) p->attn.head_dim / 4, (size_t) cfg[WG_WG]));
}

/* ---- schemes ---- */

static void define(const struct problem *p, fdec_scheme scheme, char *opt)
{
    const struct attn_problem *a = &p->attn;
    append(opt, MAX_DEFINES, " -DHEAD_DIM=%d -DGROUP=%d -DKV_F16=%d -DSCHEME=%d", a->head_dim,
           a->n_heads / a->n_kv_heads, a->kv.k.type == FDEC_F16, (int) scheme);
}

static void define_unified(const struct problem *p, char *opt)
{
    define(p, FDEC_SCHEME_UNIFIED, opt);
}

static void define_online(const struct problem *p, char *opt)
{
    define(p, FDEC_SCHEME_ONLINE, opt);
}

static void define_pair(const struct problem *p, char *opt)
{
    define(p, FDEC_SCHEME_PAIR, opt);
}

/* Taking no maximum saves 4 to 12 % in cache, nothing from memory; `online` and `pair` differ in how often they
 * rescale. */
static double vec_expect_online(const struct problem *p, const struct device *d, int *cfg)
{
    return 0.97 * vec_expect(p, d, cfg);
}

static double vec_expect_pair(const struct problem *p, const struct device *d, int *cfg)
{
    return 0.96 * vec_expect(p, d, cfg);
}

static double wg_expect_online(const struct problem *p, const struct device *d, int *cfg)
{
    return 0.97 * wg_expect(p, d, cfg);
}

static double wg_expect_pair(const struct problem *p, const struct device *d, int *cfg)
{
    return 0.96 * wg_expect(p, d, cfg);
}

#define VEC_COMMON                                                                                                     \
    .rev = 1, .op = OP_ATTN, .source = &cl_attn, .entry = {"attn_vec", "attn_merge"},                                  \
    .params = {[VEC_HEADS] = {"HEADS", vec_heads, ARRAY_LEN(vec_heads)},                                               \
               [VEC_PREFETCH] = PARAM(PREFETCH, 0, 1),                                                                 \
               [VEC_PARTS] = PARAM(PARTS, 8, 4, 16)},                                                                  \
    .reject = vec_reject, .prune = vec_prune, .geometry = vec_geometry

#define WG_COMMON                                                                                                      \
    .rev = 1, .op = OP_ATTN, .source = &cl_attn, .entry = {"attn_wg", "attn_merge"},                                   \
    .params = {[WG_HEADS] = {"HEADS", wg_heads, ARRAY_LEN(wg_heads)},                                                  \
               [WG_PARTS] = PARAM(PARTS, 4, 2, 8),                                                                     \
               [WG_WG] = PARAM(WG, 128, 32, 64, 256),                                                                  \
               [WG_TILE] = PARAM(TILE, 32, 16, 64)},                                                                   \
    .reject = wg_reject, .prune = wg_prune, .geometry = wg_geometry

const struct kernel attn_vec_unified = {
    .name = "attn/vec-unified", .family = "unified", .define = define_unified, .expect = vec_expect, VEC_COMMON};
const struct kernel attn_vec_online = {
    .name = "attn/vec-online", .family = "online", .define = define_online, .expect = vec_expect_online, VEC_COMMON};
const struct kernel attn_vec_pair = {
    .name = "attn/vec-pair", .family = "pair", .define = define_pair, .expect = vec_expect_pair, VEC_COMMON};

const struct kernel attn_wg_unified = {
    .name = "attn/wg-unified", .family = "unified", .define = define_unified, .expect = wg_expect, WG_COMMON};
const struct kernel attn_wg_online = {
    .name = "attn/wg-online", .family = "online", .define = define_online, .expect = wg_expect_online, WG_COMMON};
const struct kernel attn_wg_pair = {
    .name = "attn/wg-pair", .family = "pair", .define = define_pair, .expect = wg_expect_pair, WG_COMMON};
