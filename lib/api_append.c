/* SPDX-License-Identifier: MIT
 * api_append.c - rotary embedding and append: every argument is checked here, before anything is enqueued */
#include "append.h"
#include "kv.h"

#include <math.h>

/* ---- plans ---- */

#define CREATE "fdec_append_plan_create"
static fdec_status check_params(fdec_append_params *p)
{
    fdec_status st = FDEC_OK;
    if (!p->v_head_dim)
        p->v_head_dim = p->head_dim;
    if (!p->rope_dim)
        p->rope_dim = p->head_dim;
    if (!p->max_batch)
        p->max_batch = p->max_tokens;
    require(CREATE, p->max_tokens >= 1 && p->max_tokens <= INT32_MAX);
    require(CREATE, p->max_batch >= 1 && p->max_batch <= INT32_MAX);
    require(CREATE, p->max_len >= 1 && p->max_len <= KV_MAX_TOKENS);
    require(CREATE, p->n_heads >= 1 && p->n_heads <= 65536);
    require(CREATE, p->n_kv_heads >= 1 && p->n_heads % p->n_kv_heads == 0);
    require(CREATE, p->head_dim >= 8 && p->head_dim % 8 == 0 && p->head_dim <= APPEND_MAX_DIM);
    require(CREATE, p->v_head_dim >= 8 && p->v_head_dim % 8 == 0 && p->v_head_dim <= APPEND_MAX_DIM);
    require(CREATE, p->rope_dim % 2 == 0 && p->rope_dim <= p->head_dim);
    require(CREATE, p->rope_begin <= p->head_dim - p->rope_dim);
    require(CREATE, p->style == FDEC_ROPE_INTERLEAVED || p->style == FDEC_ROPE_NEOX);
    require(CREATE, type_is_float(p->act_type));
    try_st(kv_layout_complete(CREATE, &p->kv, p->max_batch, p->max_len, p->n_kv_heads, p->head_dim, p->v_head_dim));
out:
    return st;
}

fdec_status fdec_append_plan_create(fdec_ctx *ctx, const fdec_append_params *params, fdec_plan **plan)
{
    fdec_status st = FDEC_OK;
    fdec_append_params p;
    require(CREATE, ctx != NULL && plan != NULL);
    *plan = NULL;
    try_st(take_struct(CREATE, &p, sizeof p, params));
    try_st(check_params(&p));
    const struct problem problem = {
        .op = OP_ROPE_APPEND,
        .append = {.rows = p.max_tokens,
                   .n_heads = (int) p.n_heads,
                   .n_kv_heads = (int) p.n_kv_heads,
                   .head_dim = (int) p.head_dim,
                   .v_head_dim = (int) p.v_head_dim,
                   .rope_begin = (int) p.rope_begin,
                   .rope_dim = (int) p.rope_dim,
                   .neox = p.style == FDEC_ROPE_NEOX,
                   .act_type = p.act_type,
                   .batch = p.max_batch,
                   .len = p.max_len,
                   .kv = p.kv},
    };
    try_st(plan_create(ctx, &problem, NULL, p.max_concurrent, plan));
out:
    return st;
}

/* ---- runs ---- */

#define RUN "fdec_append_run"
enum { F = sizeof(float), I = sizeof(int32_t) };

/* Fills in the defaults of a run's sizes and checks them, and which buffers go together. */
static fdec_status check_sizes(const struct append_problem *p, fdec_append_args *a)
{
    fdec_status st = FDEC_OK;
    require(RUN, a->slots.mem == NULL || a->q_len == 0);
    require(RUN, a->block_table.mem == NULL || (p->kv.page_size && a->slots.mem == NULL));
    require(RUN, a->angles.mem != NULL || (a->q.mem == NULL && a->attn_factor == 0));
    require(RUN, isfinite(a->attn_factor));
    if (!a->n_tokens)
        a->n_tokens = (uint32_t) p->rows;
    if (!a->q_len)
        a->q_len = 1;
    if (a->attn_factor == 0)
        a->attn_factor = 1;
    require(RUN, a->n_tokens <= p->rows);
    require(RUN, a->q_len <= INT32_MAX);
    require(RUN, a->slots.mem != NULL || div_up(a->n_tokens, a->q_len) <= p->batch);
out:
    return st;
}

static fdec_status check_buffers(const fdec_plan *plan, const fdec_append_args *a)
{
    fdec_status st = FDEC_OK;
    const struct append_problem *p = &plan->problem.append;
    const uint64_t rows = a->n_tokens, G = (uint64_t) p->n_kv_heads, batch = (uint64_t) div_up(a->n_tokens, a->q_len);
    const uint64_t kv_rows = rows * G, q_rows = rows * (uint64_t) p->n_heads;
    const uint64_t k_bytes = kv_cache_bytes(&p->kv, &p->kv.k, (uint32_t) G, (uint32_t) p->head_dim),
                   v_bytes = kv_cache_bytes(&p->kv, &p->kv.v, (uint32_t) G, (uint32_t) p->v_head_dim);
    const size_t act = type_align(p->act_type);
    const bool by_table = p->kv.page_size && !a->slots.mem;
    const struct {
        const char *name;
        const fdec_buffer *buffer;
        uint64_t bytes;
        size_t align;
        enum need need;
    } list[] = {
        {"pos", &a->pos, rows * I, I, REQUIRED},
        {"slots", &a->slots, rows * I, I, OPTIONAL},
        {"angles", &a->angles, (uint64_t) p->rope_dim / 2 * sizeof(uint64_t), sizeof(uint64_t), OPTIONAL},
        {"q", &a->q, q_rows * (uint64_t) p->head_dim * act, act, a->angles.mem ? REQUIRED : OPTIONAL},
        {"k", &a->k, kv_rows * (uint64_t) p->head_dim * act, act, REQUIRED},
        {"v", &a->v, kv_rows * (uint64_t) p->v_head_dim * act, act, REQUIRED},
        {"block_table", &a->block_table, batch * p->kv.max_blocks * I, I, by_table ? REQUIRED : OPTIONAL},
        {"k_cache", &a->k_cache, k_bytes, type_align(p->kv.k.type), REQUIRED},
        {"v_cache", &a->v_cache, v_bytes, type_align(p->kv.v.type), REQUIRED},
        {"bounds", &a->bounds, p->kv.n_blocks * G * 2 * F, F, OPTIONAL},
    };
    for (size_t i = 0; i < ARRAY_LEN(list); i++)
        try_st(check_buffer(plan->ctx, RUN, list[i].name, list[i].buffer, list[i].bytes, list[i].align, list[i].need));
out:
    return st;
}

static struct append_scalars scalars_of(const struct append_problem *p, const fdec_append_args *a)
{
    return (struct append_scalars){
        .k_block_stride = p->kv.k.block_stride,
        .k_token_stride = p->kv.k.token_stride,
        .k_head_stride = p->kv.k.head_stride,
        .v_block_stride = p->kv.v.block_stride,
        .v_token_stride = p->kv.v.token_stride,
        .v_head_stride = p->kv.v.head_stride,
        .n_heads = p->n_heads,
        .n_kv_heads = p->n_kv_heads,
        .head_dim = p->head_dim,
        .v_head_dim = p->v_head_dim,
        .rope_begin = p->rope_begin,
        .rope_dim = p->rope_dim,
        .neox = p->neox,
        .q_len = (int32_t) a->q_len,
        .max_len = (int32_t) p->len,
        .paged = p->kv.page_size > 0,
        .block_tokens = (int32_t) (p->kv.page_size ? p->kv.page_size : p->kv.capacity),
        .max_blocks = (int32_t) p->kv.max_blocks,
        .n_blocks = (int32_t) p->kv.n_blocks,
        .attn_factor = a->attn_factor,
    };
}

static void bind_all(struct binding *b, const fdec_append_args *a)
{
    bind_buffer(b, APPEND_POS, &a->pos);
    bind_buffer(b, APPEND_SLOTS, &a->slots);
    bind_buffer(b, APPEND_ANGLES, &a->angles);
    bind_buffer(b, APPEND_Q, &a->q);
    bind_buffer(b, APPEND_K, &a->k);
    bind_buffer(b, APPEND_V, &a->v);
    bind_buffer(b, APPEND_BLOCK_TABLE, &a->block_table);
    bind_buffer(b, APPEND_K_CACHE, &a->k_cache);
    bind_buffer(b, APPEND_V_CACHE, &a->v_cache);
    bind_buffer(b, APPEND_BOUNDS, &a->bounds);
}

fdec_status fdec_append_run(fdec_plan *plan, cl_command_queue queue, const fdec_append_args *args, cl_uint n_wait,
                            const cl_event *wait, cl_event *event)
{
    fdec_status st = FDEC_OK;
    fdec_append_args a;
    struct geometry g;
    struct binding b = {0};
    require(RUN, plan != NULL && plan->problem.op == OP_ROPE_APPEND);
    try_st(take_struct(RUN, &a, sizeof a, args));
    try_st(check_queue(plan->ctx, RUN, queue, n_wait, wait));
    struct problem p = plan->problem;
    try_st(check_sizes(&p.append, &a));
    try_st(check_buffers(plan, &a));

    p.append.rows = a.n_tokens;
    const struct ready *r = plan_pick(plan, &p, &g);
    const struct append_scalars scalars = scalars_of(&p.append, &a);
    b.scalars = &scalars;
    bind_all(&b, &a);
    try_st(plan_enqueue(plan, r, &g, &p, &b, queue, n_wait, wait, event));
out:
    return st;
}
