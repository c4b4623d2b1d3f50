/* SPDX-License-Identifier: MIT
 * inputs_attn.c - the operands of attention from a seed */
#include "inputs.h"
#include "attn.h"
#include "kv.h"
#include "util.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- shape ---- */

static struct stream order_of(const struct workload_spec *spec, int operand)
{
    return stream_of(spec, operand, ELEM_I32);
}

/* Query tokens of sequence b with q_starts: of the last one as many as there may be, 0 of the one before it, of the
 * others a random number. */
static int64_t n_queries(const struct workload_spec *spec, int64_t b)
{
    const struct attn_problem *p = &spec->problem.attn;
    const int64_t from_last = p->batch - 1 - b;
    if (from_last <= 1)
        return from_last ? 0 : p->q_len;
    return (int64_t) (hash_mix(order_of(spec, ATTN_Q_STARTS).key + (uint64_t) b) % (uint64_t) (p->q_len + 1));
}

/* With q_starts, the first row of q, and the last one where no range is to reach behind the end, are nobody's. */
static int64_t query_rows(const struct workload_spec *spec)
{
    const struct attn_problem *p = &spec->problem.attn;
    if (!spec->with.q_starts)
        return p->batch * p->q_len;
    int64_t n = spec->fill == FILL_WILD ? 1 : 2;
    for (int64_t b = 0; b < p->batch; b++)
        n += n_queries(spec, b);
    return n;
}

static int64_t cache_elements(const struct attn_problem *p, const fdec_cache *cache, int dim)
{
    fdec_cache floats = *cache;
    floats.type = FDEC_F32;
    return (int64_t) (kv_cache_bytes(&p->kv, &floats, (uint32_t) p->n_kv_heads, (uint32_t) dim) / sizeof(float));
}

static int64_t shape_bias(const struct workload_spec *spec, int64_t stride[3])
{
    const struct attn_problem *p = &spec->problem.attn;
    const int64_t t = p->len;
    switch (spec->with.bias) {
    case BIAS_NONE: return 0;
    case BIAS_KEY: stride[0] = t; break;
    case BIAS_FULL: stride[2] = t, stride[1] = p->n_heads * t, stride[0] = p->q_len * stride[1]; break;
    case BIAS_TREE: stride[1] = t, stride[0] = p->q_len * t; break;
    }
    return p->batch * stride[0];
}

void shape_attn(const struct workload_spec *spec, struct inputs *in)
{
    const struct attn_problem *p = &spec->problem.attn;
    const struct attn_with *with = &spec->with;
    const int64_t heads = p->n_heads, batch = p->batch;
    in->n_q = query_rows(spec);
    in->n_slots = with->slots ? batch + 2 : batch;
    operand_add(in, ATTN_Q, (enum element) p->q_type, in->n_q * heads * p->head_dim, false);
    operand_add(in, ATTN_K, (enum element) p->kv.k.type, cache_elements(p, &p->kv.k, p->head_dim), false);
    operand_add(in, ATTN_V, (enum element) p->kv.v.type, cache_elements(p, &p->kv.v, p->v_head_dim), false);
    operand_add(in, ATTN_LENS, ELEM_I32, batch, false);
    operand_add(in, ATTN_Q_STARTS, ELEM_I32, with->q_starts ? batch + 1 : 0, false);
    operand_add(in, ATTN_Q_POS, ELEM_I32, with->q_pos ? batch : 0, false);
    operand_add(in, ATTN_BLOCK_TABLE, ELEM_I32, p->kv.page_size ? batch * p->kv.max_blocks : 0, false);
    operand_add(in, ATTN_BIAS, ELEM_F32, shape_bias(spec, in->bias_stride), false);
    operand_add(in, ATTN_ALIBI, ELEM_F32, with->alibi ? heads : 0, false);
    operand_add(in, ATTN_SINKS, ELEM_F32, with->sinks ? heads : 0, false);
    operand_add(in, ATTN_PHI, ELEM_F32, with->phi || p->phi_source == FDEC_PHI_PER_HEAD ? heads : 0, false);
    operand_add(in, ATTN_BOUNDS, ELEM_F32,
                with->bounds || p->phi_source == FDEC_PHI_BOUNDS ? (int64_t) p->kv.n_blocks * p->n_kv_heads * 2 : 0,
                false);
    const bool state = with->state || p->phi_source == FDEC_PHI_STATE;
    operand_add(in, ATTN_STATE, ELEM_F32, state ? in->n_slots * heads : 0, true);
    operand_add(in, ATTN_SLOTS, ELEM_I32, state && with->slots ? batch : 0, false);
    operand_add(in, ATTN_OUT, (enum element) p->out_type, in->n_q * heads * p->v_head_dim, true);
    operand_add(in, ATTN_LSE, ELEM_F32, spec->lse ? in->n_q * heads : 0, true);
}

struct attn_run attn_run_of(const struct workload_spec *spec, const struct inputs *in)
{
    const struct operand *at = in->at;
    struct attn_run r = {.p = &spec->problem.attn, .q = at[ATTN_Q].f, .k = at[ATTN_K].f, .v = at[ATTN_V].f};
    r.lens = at[ATTN_LENS].i, r.q_starts = at[ATTN_Q_STARTS].i, r.q_pos = at[ATTN_Q_POS].i;
    r.block_table = at[ATTN_BLOCK_TABLE].i;
    r.n_q = in->n_q;
    r.bias = at[ATTN_BIAS].f, r.alibi = at[ATTN_ALIBI].f, r.sinks = at[ATTN_SINKS].f;
    memcpy(r.bias_stride, in->bias_stride, sizeof r.bias_stride);
    r.equal_scores = spec->fill == FILL_LEVEL;
    return r;
}

/* ---- lengths, tables, ranges ---- */

/* Sequence batch-1 has the longest length there is, 0 and 1 follow where there is room, the others are random. */
static int32_t length_of(const struct workload_spec *spec, int64_t b)
{
    const struct attn_problem *p = &spec->problem.attn;
    const int64_t from_last = p->batch - 1 - b;
    if (spec->with.lens)
        return spec->with.lens[b];
    if (!inputs_ragged(spec) || from_last == 0)
        return (int32_t) p->len;
    if (from_last <= 2)
        return (int32_t) MIN(from_last - 1, p->len);
    return (int32_t) (hash_mix(order_of(spec, ATTN_LENS).key + (uint64_t) b) % (uint64_t) (p->len + 1));
}

/* Which page is whose: a seeded permutation of the pool, handed out in order. Columns that no length reaches hold
 * -1. */
static fdec_status fill_table(const struct workload_spec *spec, const int32_t *lens, struct operand *table)
{
    const struct attn_problem *p = &spec->problem.attn;
    const uint64_t key = order_of(spec, ATTN_BLOCK_TABLE).key + spec->with.page_seed;
    const size_t pool = p->kv.n_blocks, page = p->kv.page_size;
    int32_t *order = malloc(pool * sizeof *order);
    if (!order)
        return fail(FDEC_E_MEMORY, "workload: out of memory");
    for (size_t i = 0; i < pool; i++) {
        const size_t j = hash_mix(key + i) % (i + 1);
        order[i] = order[j];
        order[j] = (int32_t) i;
    }
    size_t next = 0;
    fdec_status st = FDEC_OK;
    for (size_t i = 0; i < table->n && !st; i++) {
        const size_t b = i / p->kv.max_blocks, column = i % p->kv.max_blocks;
        table->i[i] = -1;
        if (column * page >= (size_t) lens[b])
            continue;
        if (next == pool)
            st = fail(FDEC_E_ARG, "workload: a pool of %zu pages is too small", pool);
        else
            table->i[i] = order[next++];
    }
    free(order);
    return st;
}

/* Positions by turns: at the end, as without q_pos; three tokens earlier; before the first key; behind the last. */
static int32_t position_of(const struct attn_run *r, int64_t b)
{
    const int64_t len = r->lens[b], n = attn_queries_of(r, b).n;
    switch (b % 4) {
    case 0: return (int32_t) (len - n);
    case 1: return (int32_t) (len - n - 3);
    case 2: return -2;
    default: return (int32_t) len + 5;
    }
}

static fdec_status fill_order(const struct workload_spec *spec, struct inputs *in)
{
    const struct attn_problem *p = &spec->problem.attn;
    struct operand *at = in->at;
    for (int64_t b = 0; b < p->batch; b++)
        at[ATTN_LENS].i[b] = length_of(spec, b);
    int32_t *starts = at[ATTN_Q_STARTS].i;
    for (int64_t b = 0; starts && b <= p->batch; b++)
        starts[b] = b ? starts[b - 1] + (int32_t) n_queries(spec, b - 1) : 1;
    const struct attn_run r = attn_run_of(spec, in);
    for (int64_t b = 0; at[ATTN_Q_POS].i && b < p->batch; b++)
        at[ATTN_Q_POS].i[b] =
            position_of(&(struct attn_run){.p = p, .lens = r.lens, .q_starts = starts, .n_q = r.n_q}, b);
    for (int64_t b = 0; at[ATTN_SLOTS].i && b < p->batch; b++) /* from the last one down; one sequence has none */
        at[ATTN_SLOTS].i[b] = b == 1 && p->batch > 2 ? -1 : (int32_t) (in->n_slots - 1 - b);
    return at[ATTN_BLOCK_TABLE].n ? fill_table(spec, at[ATTN_LENS].i, &at[ATTN_BLOCK_TABLE]) : FDEC_OK;
}

int64_t slot_of(const struct inputs *in, int64_t b)
{
    return in->at[ATTN_SLOTS].n ? in->at[ATTN_SLOTS].i[b] : b;
}

/* ---- q and the caches ---- */

/* Of (sequence, token or query, head): the same wherever they lie. An element adds its dimension. */
static uint64_t row_key(const struct workload_spec *spec, int64_t b, int64_t t, int64_t head)
{
    return hash_mix(((uint64_t) (spec->with.first_sequence + b) << 31 | (uint64_t) t) << 17 | (uint64_t) head) << 16;
}

static float sign_of(const struct workload_spec *spec, int64_t b, int64_t g, int d)
{
    const uint64_t sequence = (uint64_t) (spec->with.first_sequence + b);
    return hash_mix(spec->seed ^ hash_mix((sequence * 65536 + (uint64_t) g) * 1024 + (uint64_t) d)) & 1 ? 1.0f : -1.0f;
}

/* q four times as large as k spreads the scores over about -4..4. With spikes, all of a group point the same way,
 * and the query heads of a group differ in length. Rows of no sequence are NaN. */
static void fill_q(const struct workload_spec *spec, struct inputs *in)
{
    const struct attn_problem *p = &spec->problem.attn;
    struct operand *q = &in->at[ATTN_Q];
    struct stream s = stream_of(spec, ATTN_Q, q->type);
    if (s.fill == FILL_OUTLIERS)
        s.fill = FILL_UNIFORM; /* outliers of q and k that meet would give scores over 1000 */
    const struct attn_run r = attn_run_of(spec, in);
    const int per_group = p->n_heads / p->n_kv_heads;
    for (size_t i = 0; i < q->n; i++)
        q->f[i] = NAN;
    for (int64_t b = 0; b < p->batch; b++) {
        const struct attn_queries seq = attn_queries_of(&r, b);
        for (int64_t j = 0; j < seq.n * p->n_heads; j++) {
            const int h = (int) (j % p->n_heads);
            const uint64_t key = row_key(spec, b, j / p->n_heads, h);
            const float spike = element_rounded(q->type, 1 - (float) (h % per_group % 16) / 16);
            float *row = q->f + (seq.first * p->n_heads + j) * p->head_dim;
            for (int d = 0; d < p->head_dim; d++)
                row[d] = s.fill == FILL_SPIKES ? spike * sign_of(spec, b, h / per_group, d)
                                               : 4 * stream_value(&s, key + (uint64_t) d);
        }
    }
}

static int64_t token_at(const fdec_kv_layout *kv, const fdec_cache *c, const int32_t *table, int64_t b, int64_t t)
{
    const int64_t page = kv->page_size;
    if (!page)
        return b * c->block_stride + t * c->token_stride;
    return table[b * kv->max_blocks + t / page] * c->block_stride + t % page * c->token_stride;
}

static void block_scale(struct operand *o, int64_t i, float d)
{
    const uint16_t bits = half_bits(d);
    o->blocks[34 * i] = (uint8_t) bits, o->blocks[34 * i + 1] = (uint8_t) (bits >> 8);
}

/* Quantises block i from its floats: d = max / 127, q = x / d. */
static void block_write(struct operand *o, int64_t i)
{
    const float *x = o->f + 32 * i;
    float most = 0;
    for (int j = 0; j < 32; j++)
        most = fmaxf(most, fabsf(x[j]));
    const float d = half_value(half_bits(most / 127));
    block_scale(o, i, d);
    for (int j = 0; j < 32; j++)
        o->blocks[34 * i + 2 + j] = (uint8_t) (int8_t) (d == 0 ? 0 : fminf(fmaxf(roundf(x[j] / d), -127), 127));
    block_read(o, i);
}

/* Makes an element NaN or infinite; of a quantised cache its whole block, whose scale that is. */
static void spoil(struct operand *o, int64_t i, float x)
{
    if (o->type != ELEM_Q8_0) {
        o->f[i] = x;
        return;
    }
    block_scale(o, i / 32, x);
    block_read(o, i / 32);
}

struct cache {
    struct operand *o;
    const fdec_cache *layout;
    int operand, dim;
};

static struct cache cache_of(const struct attn_problem *p, struct inputs *in, int operand)
{
    const bool k = operand == ATTN_K;
    return (struct cache){&in->at[operand], k ? &p->kv.k : &p->kv.v, operand, k ? p->head_dim : p->v_head_dim};
}

static void fill_row(const struct workload_spec *spec, const struct cache *c, const struct stream *s, int64_t b,
                     int64_t t, int g, int64_t at)
{
    const struct attn_problem *p = &spec->problem.attn;
    const uint64_t key = row_key(spec, b, t, g);
    const bool spiked = c->operand == ATTN_K && spec->fill == FILL_SPIKES,
               level = c->operand == ATTN_K && spec->fill == FILL_LEVEL;
    const float score = spiked ? spike_score(s, b, key, t) / (p->scale * (float) p->head_dim) : 0;
    for (int d = 0; d < c->dim; d++)
        c->o->f[at + d] = spiked  ? element_rounded(s->type, score * sign_of(spec, b, g, d))
                          : level ? 0.5f
                                  : stream_value(s, key + (uint64_t) d);
    for (int64_t i = at / 32; c->o->type == ELEM_Q8_0 && i < (at + c->dim) / 32; i++)
        block_write(c->o, i);
}

static void fill_cache(const struct workload_spec *spec, struct inputs *in, int operand)
{
    const struct attn_problem *p = &spec->problem.attn;
    const struct cache c = cache_of(p, in, operand);
    const struct stream s = stream_of(spec, operand, c.o->type);
    for (size_t i = 0; i < c.o->n; i++)
        c.o->f[i] = NAN;
    for (int64_t i = 0; c.o->type == ELEM_Q8_0 && i < (int64_t) c.o->n / 32; i++)
        block_scale(c.o, i, NAN);
    for (int64_t b = 0; b < p->batch; b++)
        for (int64_t t = 0; t < in->at[ATTN_LENS].i[b]; t++)
            for (int g = 0; g < p->n_kv_heads; g++)
                fill_row(spec, &c, &s, b, t, g,
                         token_at(&p->kv, c.layout, in->at[ATTN_BLOCK_TABLE].i, b, t) + g * c.layout->head_stride);
}

/* FILL_NAN: NaN in a key of the first sequence, +Inf in a value of the second, -Inf in a key of the third. */
static void spoil_attn(const struct attn_problem *p, struct inputs *in)
{
    const struct cache k = cache_of(p, in, ATTN_K), v = cache_of(p, in, ATTN_V);
    const int32_t *table = in->at[ATTN_BLOCK_TABLE].i;
    const int64_t t = p->len / 2, last = p->n_kv_heads - 1;
    spoil(k.o, token_at(&p->kv, k.layout, table, 0, t), NAN);
    if (p->batch > 1)
        spoil(v.o, token_at(&p->kv, v.layout, table, 1, t) + last * v.layout->head_stride + 1, INFINITY);
    if (p->batch > 2)
        spoil(k.o, token_at(&p->kv, k.layout, table, 2, t) + last * k.layout->head_stride + 2, -INFINITY);
}

/* FILL_FUTURE. */
static void spoil_last(const struct attn_problem *p, struct inputs *in)
{
    for (int64_t b = 0; b < p->batch; b++) {
        const struct cache c = cache_of(p, in, b + 1 < p->batch ? ATTN_V : ATTN_K);
        const int64_t len = in->at[ATTN_LENS].i[b];
        if (len > 0)
            spoil(c.o, token_at(&p->kv, c.layout, in->at[ATTN_BLOCK_TABLE].i, b, len - 1), NAN);
    }
}

/* FILL_WILD: what the host's lengths, page numbers and ranges become after all has been filled for the sane ones. */
static void make_wild(const struct attn_problem *p, struct inputs *in)
{
    int32_t *lens = in->at[ATTN_LENS].i, *table = in->at[ATTN_BLOCK_TABLE].i, *starts = in->at[ATTN_Q_STARTS].i;
    lens[p->batch - 1] = (int32_t) p->len + 1000;
    if (p->batch > 1)
        lens[p->batch - 2] = -5;           /* was 0 */
    if (table && p->len > p->kv.page_size) /* the longest sequence loses its first two pages */
        table[(p->batch - 1) * p->kv.max_blocks] = (int32_t) p->kv.n_blocks,
                               table[(p->batch - 1) * p->kv.max_blocks + 1] = INT32_MIN;
    if (starts)
        starts[p->batch] = INT32_MAX;
}

/* ---- what is added to scores, and where phi comes from ---- */

/* The parent of node i of a tree is (i - 1) / 2: does query i see it, its ancestors and itself? */
static bool is_ancestor(int64_t node, int64_t i)
{
    while (i > node)
        i = (i - 1) / 2;
    return i == node;
}

/* For key t of len and query i of n. */
static float bias_value(enum bias_kind kind, const struct stream *s, uint64_t key, int64_t t, int64_t i, int64_t len,
                        int64_t n)
{
    const int64_t node = t - (len - n);
    if (kind == BIAS_TREE)
        return node < 0 || is_ancestor(node, i) ? 0 : -INFINITY;
    const uint64_t at = key + (uint64_t) t * 65536;
    return hash_mix(at) % 11 == 3 ? -INFINITY : attn_bias_max * stream_uniform(s, at);
}

/* One row, or the one row of all queries and heads. NaN for keys that nobody who reads it sees. */
static void fill_bias_row(const struct workload_spec *spec, const struct attn_run *r, float *row, int64_t b, int64_t i,
                          int h)
{
    const enum bias_kind kind = spec->with.bias;
    const struct stream s = stream_of(spec, ATTN_BIAS, ELEM_F32);
    const struct attn_queries seq = attn_queries_of(r, b);
    const int64_t len = r->lens[b];
    const struct attn_span seen = kind == BIAS_KEY ? (struct attn_span){0, len} : attn_span_of(r->p, len, seq.pos + i);
    for (int64_t t = 0; t < r->p->len; t++)
        row[t] = t >= seen.from && t < seen.to ? bias_value(kind, &s, row_key(spec, b, i, h), t, i, len, seq.n) : NAN;
}

static void fill_bias(const struct workload_spec *spec, struct inputs *in)
{
    const struct attn_run r = attn_run_of(spec, in);
    const int64_t *stride = in->bias_stride;
    const int64_t queries = stride[1] ? r.p->q_len : 1;
    const int heads = stride[2] ? r.p->n_heads : 1;
    for (int64_t b = 0; in->at[ATTN_BIAS].n && b < r.p->batch; b++)
        for (int64_t i = 0; i < queries; i++)
            for (int h = 0; h < heads; h++)
                fill_bias_row(spec, &r, in->at[ATTN_BIAS].f + b * stride[0] + i * stride[1] + h * stride[2], b, i, h);
}

/* Slopes 2^(-8 (h+1) / H), as models have them; sinks of about the scores' size, each fifth of them none. */
static void fill_heads(const struct workload_spec *spec, struct inputs *in)
{
    const int heads = spec->problem.attn.n_heads;
    const struct stream s = {stream_of(spec, ATTN_SINKS, ELEM_F32).key, FILL_UNIFORM, ELEM_F32};
    for (int h = 0; h < heads; h++) {
        if (in->at[ATTN_ALIBI].n)
            in->at[ATTN_ALIBI].f[h] = exp2f(-8 * (float) (h + 1) / (float) heads);
        if (in->at[ATTN_SINKS].n)
            in->at[ATTN_SINKS].f[h] = h % 5 == 4 ? -INFINITY : 3 * stream_uniform(&s, (uint64_t) h);
        if (in->at[ATTN_PHI].n)
            in->at[ATTN_PHI].f[h] = stream_uniform(&s, (uint64_t) (h + heads)) + spec->with.phi_shift;
    }
}

/* The state as an earlier step may have left it: of every third slot nothing. */
static void fill_state(const struct workload_spec *spec, struct inputs *in)
{
    const struct stream s = {stream_of(spec, ATTN_STATE, ELEM_F32).key, FILL_UNIFORM, ELEM_F32};
    const size_t heads = (size_t) spec->problem.attn.n_heads;
    for (size_t i = 0; i < in->at[ATTN_STATE].n; i++)
        in->at[ATTN_STATE].f[i] = i / heads % 3 == 1 ? 0 : 4 + 2 * stream_uniform(&s, i) + spec->with.state_shift;
}

/* Largest |k| and largest |v_d| of each block, as append keeps them: rounded up, NaN of a key left out. Of blocks
 * that nobody has: NaN. */
static void fill_bounds(const struct attn_problem *p, struct inputs *in)
{
    const struct cache k = cache_of(p, in, ATTN_K), v = cache_of(p, in, ATTN_V);
    const int32_t *table = in->at[ATTN_BLOCK_TABLE].i;
    struct operand *o = &in->at[ATTN_BOUNDS];
    for (size_t i = 0; i < o->n; i++)
        o->f[i] = NAN;
    for (int64_t b = 0; o->n && b < p->batch; b++) {
        for (int64_t t = 0; t < in->at[ATTN_LENS].i[b]; t++) {
            const int64_t block = table ? table[b * p->kv.max_blocks + t / p->kv.page_size] : b;
            for (int64_t g = 0; g < p->n_kv_heads; g++) {
                const float *ki = k.o->f + token_at(&p->kv, k.layout, table, b, t) + g * k.layout->head_stride,
                            *vi = v.o->f + token_at(&p->kv, v.layout, table, b, t) + g * v.layout->head_stride;
                float *most = o->f + (block * p->n_kv_heads + g) * 2;
                double square = 0;
                for (int d = 0; d < p->head_dim; d++)
                    square += (double) ki[d] * ki[d];
                most[0] = fmaxf(most[0], (float) (sqrt(square) * (1 + 1e-6)));
                for (int d = 0; d < p->v_head_dim; d++)
                    most[1] = fmaxf(most[1], fabsf(vi[d]));
            }
        }
    }
}

fdec_status fill_attn(const struct workload_spec *spec, struct inputs *in)
{
    const struct attn_problem *p = &spec->problem.attn;
    fdec_status st = FDEC_OK;
    const int64_t room = p->kv.page_size ? (int64_t) p->kv.max_blocks * p->kv.page_size : (int64_t) p->kv.capacity;
    if (room < p->len || (!p->kv.page_size && p->kv.n_blocks < p->batch))
        return fail(FDEC_E_ARG, "the cache of the problem has no room for %lld tokens of %lld sequences",
                    (long long) p->len, (long long) p->batch);
    try_st(fill_order(spec, in));
    fill_q(spec, in);
    fill_cache(spec, in, ATTN_K);
    fill_cache(spec, in, ATTN_V);
    fill_heads(spec, in);
    fill_state(spec, in);
    fill_bias(spec, in);
    if (spec->fill == FILL_NAN)
        spoil_attn(p, in);
    if (spec->fill == FILL_FUTURE)
        spoil_last(p, in);
    fill_bounds(p, in);
    if (spec->fill == FILL_WILD)
        make_wild(p, in);
out:
    return st;
}
