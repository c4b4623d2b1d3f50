/* SPDX-License-Identifier: MIT
 * attn.c - what the host must know about attn.cl: nine variants, three styles times three schemes
 *
 * vec-...: WIDTH, ROWS, TILE, SPAN (0: as many kv heads in a task as are one stream and fit, or as make no splits
 * necessary where there are few keys), PREFETCH, PARTS.
 * wg-...: CHUNK, PARTS, WG, TILE. mma-...: CHUNK, PARTS, WAVES, TILE.
 * PARTS is the number of work-groups wanted per compute unit; the keys of a sequence are split until there are that
 * many, or until a split would be too short to be worth its merge. */
#include "attn.h"
#include "mma.h"
#include "registry.h"

enum { VEC_WIDTH, VEC_ROWS, VEC_TILE, VEC_SPAN, VEC_PREFETCH, VEC_PARTS };
enum { WG_CHUNK, WG_PARTS, WG_WG, WG_TILE };
enum { UNIT_CHUNK, UNIT_PARTS, UNIT_WAVES, UNIT_TILE };

enum { INVARIANT_SPLIT = 1024 /* keys of a split where the batch may not matter */, MAX_SPLITS = 1 << 20 };

static int rows_of(const struct attn_problem *p) /* of a (sequence, kv head) */
{
    return p->q_len * (p->n_heads / p->n_kv_heads);
}

/* ---- geometry ---- */

struct split_rule {
    int64_t units, wanted; /* compute units; work-groups on the device */
    int chunk, span;       /* rows of a head, kv heads, of a task */
};

static int64_t tasks_of_a_split(const struct attn_problem *p, const struct split_rule *r)
{
    return div_up(p->n_kv_heads, r->span) * div_up(rows_of(p), r->chunk);
}

/* Enough for `wanted` work-groups, and enough for the longest sequence alone to keep every unit busy while others are
 * short; none shorter than is worth a merge. */
static int64_t splits_of(const struct attn_problem *p, const struct split_rule *r)
{
    const int64_t per_sequence = tasks_of_a_split(p, r);
    if (p->invariant)
        return div_up(p->len, INVARIANT_SPLIT);
    const int64_t occupy = div_up(r->wanted, MAX(p->batch, 1) * per_sequence), balance = div_up(r->units, per_sequence);
    return MAX(1, MIN(MAX(occupy, balance), div_up(p->len, ATTN_LEAST_SPLIT)));
}

/* Smaller batches have more splits, and fewer query tokens never fewer: B * splits(B) is at most B * balance + wanted +
 * B, with what one task per sequence would take; so this is enough for all smaller ranges and query lengths. */
static size_t workspace_of(const struct attn_problem *p, const struct split_rule *r)
{
    const int64_t by_keys = p->batch * MAX(1, div_up(p->len, p->invariant ? INVARIANT_SPLIT : ATTN_LEAST_SPLIT));
    const int64_t by_rule = p->batch * (1 + r->units) + r->wanted;
    const int64_t splits = p->invariant ? by_keys : MIN(by_keys, by_rule);
    return (size_t) splits * (size_t) (p->q_len * p->n_heads) * ((size_t) p->v_head_dim + 2) * sizeof(float);
}

static struct geometry geometry_of(const struct attn_problem *p, const struct split_rule *r, size_t items,
                                   size_t merge_items)
{
    const int64_t splits = splits_of(p, r);
    return (struct geometry){
        .n_launches = 2,
        .launch = {{.global = {(size_t) (p->batch * splits * div_up(rows_of(p), r->chunk)) * items,
                               (size_t) div_up(p->n_kv_heads, r->span)},
                    .local = {items, 1}},
                   {.global = {(size_t) (p->batch * p->q_len * p->n_heads) * merge_items}, .local = {merge_items}}},
        .n_splits = (int) splits,
        .span = r->span,
        .split_keys = p->invariant ? INVARIANT_SPLIT : 0,
        .workspace_bytes = workspace_of(p, r),
    };
}

static const char *reject_any(const struct problem *p, const struct device *d, const struct split_rule *r)
{
    const struct attn_problem *a = &p->attn;
    if (p->op != OP_ATTN)
        return "not attention";
    if (!d->fp16_storage && (type_has_f16(a->kv.k.type) || type_has_f16(a->kv.v.type) || type_has_f16(a->q_type) ||
                             type_has_f16(a->out_type)))
        return "the device does not read f16 right";
    if (splits_of(a, r) > MAX_SPLITS)
        return "more than 2^20 splits";
    if (workspace_of(a, r) > d->max_alloc_bytes)
        return "the workspace is over the device's largest allocation";
    return NULL;
}

/* ---- vec ---- */

/* Do a token's heads follow each other in both caches, as in [B, T, G, D]? Else each head is a stream of its own. */
static bool side_by_side(const struct attn_problem *p)
{
    const int64_t k = p->kv.k.head_stride, v = p->kv.v.head_stride; /* 0: that layout */
    return (!k || k == p->head_dim) && (!v || v == p->v_head_dim);
}

/* kv heads that lie together. In pages of [G, T, D] as many as make STREAM bytes: a head alone is little in a page. */
static int64_t heads_together(const struct attn_problem *p)
{
    enum { STREAM = 64 * 1024 };
    const int64_t page = p->kv.page_size, k = p->kv.k.head_stride, v = p->kv.v.head_stride;
    if (side_by_side(p))
        return p->n_kv_heads;
    if (!page || k != page * p->head_dim || v != page * p->v_head_dim)
        return 1;
    return MIN(p->n_kv_heads, div_up(STREAM, (int64_t) type_bytes(p->kv.k.type, (uint64_t) k)));
}

/* Can each unit have as many kv heads as the others, and are their keys so few that a merge would take longer than its
 * splits save? */
static bool share_heads(const struct attn_problem *p, const struct device *d)
{
    enum { SHARE = 2 << 20 }; /* bytes of K and V */
    const int64_t heads = p->n_kv_heads / d->compute_units;
    const int64_t key = (int64_t) kv_row_bytes(&p->kv, p->head_dim, p->v_head_dim);
    return !p->invariant && p->n_kv_heads % d->compute_units == 0 && p->len <= SHARE / (MAX(p->batch, 1) * heads * key);
}

static struct split_rule vec_rule(const struct problem *p, const struct device *d, const int *cfg)
{
    const int64_t units = d->compute_units, wanted = units * cfg[VEC_PARTS];
    if (cfg[VEC_SPAN])
        return (struct split_rule){units, wanted, ATTN_VEC_CHUNK, cfg[VEC_SPAN]};
    const int64_t per_head = div_up(MIN(rows_of(&p->attn), ATTN_VEC_CHUNK), cfg[VEC_ROWS]);
    const int64_t most = MIN(heads_together(&p->attn), ATTN_VEC_CHUNK / cfg[VEC_ROWS] / per_head);
    if (share_heads(&p->attn, d))
        return (struct split_rule){units, units, ATTN_VEC_CHUNK, (int) MIN(most, p->attn.n_kv_heads / units)};
    return (struct split_rule){units, wanted, ATTN_VEC_CHUNK, (int) most};
}

static const char *vec_reject(const struct problem *p, const struct device *d, const int *cfg)
{
    const struct split_rule rule = vec_rule(p, d, cfg);
    if (cfg[VEC_PREFETCH] && !d->prefetch)
        return "no prefetch on this device";
    if (cfg[VEC_TILE] * cfg[VEC_ROWS] < cfg[VEC_WIDTH])
        return "TILE keys of ROWS rows do not fill a vector";
    return reject_any(p, d, &rule);
}

static int best_rows(const struct problem *p)
{
    const int rows = rows_of(&p->attn);
    return rows >= 3 ? 4 : rows;
}

static bool vec_prune(const struct problem *p, const struct device *d, const int *cfg)
{
    return !d->cpu_like || cfg[VEC_ROWS] > best_rows(p);
}

static double vec_expect(const struct problem *p, const struct device *d, int *cfg)
{
    const bool wide = d->float_lanes >= 16, one_stream = p->attn.n_kv_heads == 1 || !side_by_side(&p->attn);
    const bool blocks = p->attn.kv.k.type == FDEC_Q8_0 || p->attn.kv.v.type == FDEC_Q8_0;
    cfg[VEC_ROWS] = best_rows(p);
    /* Eight of sixteen lanes: twice the operations, each in half the time; but blocks are more to take apart. */
    cfg[VEC_WIDTH] = wide && blocks && cfg[VEC_ROWS] > 1 ? 16 : 8;
    /* Keys that lie apart are as many streams. But with several rows, sums of V pass through registers once a tile,
     * which matters where memory does not: for all but f32. */
    cfg[VEC_TILE] = wide && (one_stream || (cfg[VEC_ROWS] > 1 && p->attn.kv.k.type != FDEC_F32)) ? 16 : 8;
    cfg[VEC_SPAN] = 0;
    cfg[VEC_PREFETCH] = d->prefetch;
    cfg[VEC_PARTS] = 4;
    return d->cpu_like ? 0.90 : 0.05;
}

static struct geometry vec_geometry(const struct problem *p, const struct device *d, const int *cfg)
{
    const struct split_rule rule = vec_rule(p, d, cfg);
    struct geometry g = geometry_of(&p->attn, &rule, 1, 1);
    if (g.n_splits == 1 && rows_of(&p->attn) <= ATTN_VEC_CHUNK)
        g.n_launches = 1; /* attn_vec finishes its rows */
    return g;
}

/* ---- what wg and mma share ---- */

/* Sums that an item holds. 64 of the 255 registers of a GPU's work-item; the rest is enough for what else is live, with
 * 128 compilers spill. */
enum { GROUP_MAX_SUMS = 64 };
static const char too_many_sums[] = "CHUNK rows of V are more sums than an item has registers for";

static struct split_rule group_rule(const struct device *d, int chunk, int parts)
{
    return (struct split_rule){d->compute_units, (int64_t) d->compute_units * parts, chunk, 1};
}

static const char *group_reject(const struct device *d, size_t items, size_t local_bytes)
{
    if (items > d->max_wg || items > d->max_items[0])
        return "the work-group is over the device limit";
    if (local_bytes > d->local_bytes)
        return "the tile does not fit in local memory";
    return NULL;
}

/* The smallest chunk that takes all rows of a kv head, else the largest. */
static int best_chunk(const struct problem *p, const int *chunks, size_t n)
{
    size_t i = 0;
    while (i + 1 < n && chunks[i] < rows_of(&p->attn))
        i++;
    return chunks[i];
}

static struct geometry group_geometry(const struct problem *p, const struct split_rule *r, size_t items)
{
    return geometry_of(&p->attn, r, items, MIN((size_t) p->attn.v_head_dim / ATTN_WG_WIDTH, items));
}

/* sizeof(struct pairs) of attn_pairs.cl; line: its PAIR_LINE. */
static int pairs_bytes(int chunk, int tile, int line)
{
    return 4 * (chunk * (line + 3 * tile + 4) + 2);
}

/* sizeof(struct keys) there. */
static int keys_bytes(int tile)
{
    return 16 * tile;
}

/* Of a struct with so much in it, and what alignment may cost. */
static size_t local_struct_bytes(int bytes)
{
    return (size_t) round_up(bytes, 32) + 64;
}

/* ---- wg ---- */

static const int wg_chunks[] = {1, 2, 4, 8};

static struct split_rule wg_rule(const struct device *d, const int *cfg)
{
    return group_rule(d, cfg[WG_CHUNK], cfg[WG_PARTS]);
}

/* Of a row of blocks, in local memory; rows of floats are not there. */
static int pieces_of_row(fdec_type type, int dim)
{
    return type_block(type) > 1 ? ATTN_WG_PIECES((int) type_bytes(type, (uint64_t) dim)) : 0;
}

/* struct tile of attn_wg.cl. */
static size_t wg_local_bytes(const struct attn_problem *p, const struct device *d, const int *cfg)
{
    const int k = p->head_dim, v = p->v_head_dim, tile = cfg[WG_TILE], chunk = cfg[WG_CHUNK];
    const int v_keys = MAX(1, cfg[WG_WG] / (v / ATTN_WG_WIDTH));
    const int scratch = MAX(chunk * tile * ATTN_WG_PARTS_OF_DOT(k, d->shuffle), v_keys * v);
    const int rows = 16 * tile * MAX(pieces_of_row(p->kv.k.type, k), pieces_of_row(p->kv.v.type, v));
    return local_struct_bytes(rows + 4 * (chunk * k + scratch) + pairs_bytes(chunk, tile, tile) + keys_bytes(tile));
}

static const char *wg_reject(const struct problem *p, const struct device *d, const int *cfg)
{
    const struct split_rule rule = wg_rule(d, cfg);
    const char *why = reject_any(p, d, &rule);
    if (why)
        return why;
    if (cfg[WG_TILE] > cfg[WG_WG])
        return "TILE is over WG";
    const int vectors = cfg[WG_CHUNK] * (int) div_up(p->attn.v_head_dim, ATTN_WG_WIDTH * cfg[WG_WG]);
    if (vectors * ATTN_WG_WIDTH > GROUP_MAX_SUMS)
        return too_many_sums;
    return group_reject(d, (size_t) cfg[WG_WG], wg_local_bytes(&p->attn, d, cfg));
}

static bool wg_prune(const struct problem *p, const struct device *d, const int *cfg)
{
    return d->cpu_like || cfg[WG_CHUNK] > best_chunk(p, wg_chunks, ARRAY_LEN(wg_chunks)) ||
           cfg[WG_TILE] > 2 * p->attn.len;
}

/* As many rows as share a group, tiles of 32 keys, 128 items; less where the device is small. */
static double wg_expect(const struct problem *p, const struct device *d, int *cfg)
{
    static const int sizes[][2] = {{128, 32}, {64, 32}, {32, 32}, {32, 16}}; /* WG, TILE */
    cfg[WG_PARTS] = 4;
    for (int chunk = best_chunk(p, wg_chunks, ARRAY_LEN(wg_chunks)); chunk >= 1; chunk /= 2) {
        cfg[WG_CHUNK] = chunk;
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
    return group_geometry(p, &rule, (size_t) cfg[WG_WG]);
}

/* ---- mma ---- */

static const int unit_chunks[] = {8, 16, 32};

enum { UNIT_LEAST_ROWS = 4 /* fewer leave more than half of the unit empty */ };

static struct split_rule unit_rule(const struct device *d, const int *cfg)
{
    return group_rule(d, cfg[UNIT_CHUNK], cfg[UNIT_PARTS]);
}

static int unit_items(const struct device *d, const int *cfg)
{
    return cfg[UNIT_WAVES] * MMA_LANES_OF(d->matrix);
}

/* struct tile of attn_mma.cl, and the scratch of stand-ins. */
static size_t unit_local_bytes(const struct attn_problem *p, const struct device *d, const int *cfg)
{
    const int tile = cfg[UNIT_TILE], chunk = cfg[UNIT_CHUNK], k_bits = mma_bits(p->kv.k.type);
    const int k = ATTN_MMA_LINE(p->head_dim), v = ATTN_MMA_LINE(p->v_head_dim), weights = ATTN_MMA_LINE(tile);
    const int q_bits = mma_bits(p->q_type), q_pieces = MMA_PIECES(q_bits, MMA_TAKES_F16(d->matrix_f16, k_bits, q_bits));
    const int lines = chunk * (k * q_pieces + weights * MMA_PIECES(MMA_BITS_f32, false)) + tile * (k + v);
    const int scratch = d->matrix_standin ? cfg[UNIT_WAVES] * MMA_SCRATCH_OF(d->matrix) : 0;
    return local_struct_bytes(16 * lines + pairs_bytes(chunk, tile, tile + ATTN_MMA_APART) + 2 * keys_bytes(tile)) +
           4 * (size_t) scratch;
}

/* Of an item: sums of its columns of V. */
static int unit_sums(const struct attn_problem *p, const struct device *d, const int *cfg)
{
    return (int) div_up(div_up(p->v_head_dim, MMA_M), cfg[UNIT_WAVES]) * MMA_M * cfg[UNIT_CHUNK] /
           MMA_LANES_OF(d->matrix);
}

static const char *unit_reject(const struct problem *p, const struct device *d, const int *cfg)
{
    const struct split_rule rule = unit_rule(d, cfg);
    const char *why = reject_any(p, d, &rule);
    if (why)
        return why;
    if (!d->matrix)
        return "the device has no matrix unit that is known here";
    if (!type_is_16_bit(p->attn.kv.k.type) || !type_is_16_bit(p->attn.kv.v.type))
        return "the matrix unit is given caches of f16 and bf16";
    if (cfg[UNIT_CHUNK] % MMA_N_OF(d->matrix))
        return "CHUNK is no multiple of the unit's tokens";
    if (cfg[UNIT_CHUNK] * cfg[UNIT_TILE] < unit_items(d, cfg))
        return "a tile has fewer scores than the group has items";
    if (unit_sums(&p->attn, d, cfg) > GROUP_MAX_SUMS)
        return too_many_sums;
    return group_reject(d, (size_t) unit_items(d, cfg), unit_local_bytes(&p->attn, d, cfg));
}

/* Registers of an item for sums, and for the tiles of K and V on their way where those do not go straight to local
 * memory. */
static int unit_registers(const struct attn_problem *p, const struct device *d, const int *cfg)
{
    const int loads = (int) div_up(cfg[UNIT_TILE] * (p->head_dim + p->v_head_dim) / 8, unit_items(d, cfg));
    return unit_sums(p, d, cfg) + (d->matrix == MATRIX_PTX ? 0 : 4 * loads);
}

static bool unit_prune(const struct problem *p, const struct device *d, const int *cfg)
{
    return !d->matrix || d->cpu_like || rows_of(&p->attn) < UNIT_LEAST_ROWS ||
           cfg[UNIT_CHUNK] > MAX(best_chunk(p, unit_chunks, ARRAY_LEN(unit_chunks)), MMA_N_OF(d->matrix)) ||
           cfg[UNIT_TILE] > 2 * p->attn.len || unit_registers(&p->attn, d, cfg) > 100;
}

/* Where wg takes all rows in one chunk it is preferred: nobody has timed either on a card. With more rows it would read
 * the cache several times. */
static double unit_expect(const struct problem *p, const struct device *d, int *cfg)
{
    static const int sizes[][2] = {{4, 32}, {4, 16}, {2, 16}}; /* WAVES, TILE */
    /* Of two groups on a compute unit. What NVIDIA's driver calls local memory is a third of a unit's, or less. */
    const size_t share = d->matrix == MATRIX_PTX ? d->local_bytes : d->local_bytes / 2;
    const bool one_chunk = rows_of(&p->attn) <= wg_chunks[ARRAY_LEN(wg_chunks) - 1];
    if (!d->matrix)
        return 0;
    cfg[UNIT_PARTS] = 4;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        cfg[UNIT_WAVES] = sizes[i][0];
        cfg[UNIT_TILE] = sizes[i][1];
        for (int chunk = best_chunk(p, unit_chunks, ARRAY_LEN(unit_chunks)); chunk >= 8; chunk /= 2) {
            cfg[UNIT_CHUNK] = MAX(chunk, MMA_N_OF(d->matrix));
            const bool shares = unit_local_bytes(&p->attn, d, cfg) <= share || i + 1 == ARRAY_LEN(sizes);
            if (shares && !unit_reject(p, d, cfg))
                return d->cpu_like ? 0.03 : one_chunk ? 0.60 : 0.75;
        }
    }
    return 0;
}

static struct geometry unit_geometry(const struct problem *p, const struct device *d, const int *cfg)
{
    const struct split_rule rule = unit_rule(d, cfg);
    return group_geometry(p, &rule, (size_t) unit_items(d, cfg));
}

/* ---- schemes ---- */

static void define(const struct problem *p, fdec_scheme scheme, char *opt)
{
    const struct attn_problem *a = &p->attn;
    append(opt, MAX_DEFINES, " -DHEAD_DIM=%d -DV_DIM=%d -DK_TYPE=%s -DV_TYPE=%s -DQ_TYPE=%s -DOUT_TYPE=%s -DSCHEME=%d",
           a->head_dim, a->v_head_dim, type_name(a->kv.k.type), type_name(a->kv.v.type), type_name(a->q_type),
           type_name(a->out_type), (int) scheme);
}

/* The merge knows partials alone: it is the same for all schemes, types of the cache and configurations. */
static bool merge_apart(const struct problem *p, int launch, const char *style, char *opt)
{
    const struct attn_problem *a = &p->attn;
    if (launch == 1)
        append(opt, MAX_DEFINES,
               " -DATTN_MERGE -D%s -DHEAD_DIM=%d -DV_DIM=%d -DK_TYPE=f32 -DV_TYPE=f32 -DQ_TYPE=f32 -DOUT_TYPE=%s "
               "-DSCHEME=%d",
               style, a->v_head_dim, a->v_head_dim, type_name(a->out_type), (int) FDEC_SCHEME_UNIFIED);
    return launch == 1;
}

static bool vec_apart(const struct problem *p, const struct device *d, int launch, char *opt)
{
    return merge_apart(p, launch, d->float_lanes >= 16 ? "WIDTH=16" : "WIDTH=8", opt);
}

static bool group_apart(const struct problem *p, const struct device *d, int launch, char *opt)
{
    (void) d;
    return merge_apart(p, launch, "WG=1 -DCHUNK=1", opt);
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
#define EXPECT_OTHERS(style)                                                                                           \
    static double style##_expect_online(const struct problem *p, const struct device *d, int *cfg)                     \
    {                                                                                                                  \
        return 0.97 * style##_expect(p, d, cfg);                                                                       \
    }                                                                                                                  \
    static double style##_expect_pair(const struct problem *p, const struct device *d, int *cfg)                       \
    {                                                                                                                  \
        return 0.96 * style##_expect(p, d, cfg);                                                                       \
    }
EXPECT_OTHERS(vec)
EXPECT_OTHERS(wg)
EXPECT_OTHERS(unit)

#define VEC_COMMON                                                                                                     \
    .rev = 10, .op = OP_ATTN, .source = &cl_attn, .entry = {"attn_vec", "attn_merge"},                                 \
    .params = {[VEC_WIDTH] = PARAM(WIDTH, 8, 16),      [VEC_ROWS] = PARAM(ROWS, 1, 2, 4),                              \
               [VEC_TILE] = PARAM(TILE, 8, 16),        [VEC_SPAN] = HOST_PARAM(SPAN, 0, 1),                            \
               [VEC_PREFETCH] = PARAM(PREFETCH, 0, 1), [VEC_PARTS] = HOST_PARAM(PARTS, 8, 4, 16)},                     \
    .reject = vec_reject, .prune = vec_prune, .apart = vec_apart, .geometry = vec_geometry

#define WG_COMMON                                                                                                      \
    .rev = 3, .op = OP_ATTN, .source = &cl_attn, .entry = {"attn_wg", "attn_merge"},                                   \
    .params = {[WG_CHUNK] = {"CHUNK", wg_chunks, ARRAY_LEN(wg_chunks), false},                                         \
               [WG_PARTS] = HOST_PARAM(PARTS, 4, 2, 8),                                                                \
               [WG_WG] = PARAM(WG, 128, 32, 64, 256),                                                                  \
               [WG_TILE] = PARAM(TILE, 32, 16, 64)},                                                                   \
    .reject = wg_reject, .prune = wg_prune, .apart = group_apart, .geometry = wg_geometry

#define UNIT_COMMON                                                                                                    \
    .rev = 1, .op = OP_ATTN, .source = &cl_attn, .entry = {"attn_mma", "attn_merge"},                                  \
    .params = {[UNIT_CHUNK] = {"CHUNK", unit_chunks, ARRAY_LEN(unit_chunks), false},                                   \
               [UNIT_PARTS] = HOST_PARAM(PARTS, 4, 2, 8),                                                              \
               [UNIT_WAVES] = PARAM(WAVES, 2, 4, 8),                                                                   \
               [UNIT_TILE] = PARAM(TILE, 16, 32, 64)},                                                                 \
    .reject = unit_reject, .prune = unit_prune, .apart = group_apart, .geometry = unit_geometry

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

const struct kernel attn_mma_unified = {
    .name = "attn/mma-unified", .family = "unified", .define = define_unified, .expect = unit_expect, UNIT_COMMON};
const struct kernel attn_mma_online = {
    .name = "attn/mma-online", .family = "online", .define = define_online, .expect = unit_expect_online, UNIT_COMMON};
const struct kernel attn_mma_pair = {
    .name = "attn/mma-pair", .family = "pair", .define = define_pair, .expect = unit_expect_pair, UNIT_COMMON};
