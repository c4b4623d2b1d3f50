/* SPDX-License-Identifier: MIT
 * api_attn.c - attention: every argument is checked here, before anything is enqueued */
#include "attn.h"
#include "kv.h"

#include <math.h>

static const char *const scheme_names[] = {
    [FDEC_SCHEME_AUTO] = NULL,
    [FDEC_SCHEME_UNIFIED] = "unified",
    [FDEC_SCHEME_ONLINE] = "online",
    [FDEC_SCHEME_PAIR] = "pair",
};

#define CREATE "fdec_attn_plan_create"
fdec_status fdec_attn_plan_create(fdec_ctx *ctx, const fdec_attn_params *params, fdec_plan **plan)
{
    fdec_status st = FDEC_OK;
    fdec_attn_params p;
    require(CREATE, ctx != NULL && plan != NULL);
    *plan = NULL;
    try_st(take_struct(CREATE, &p, sizeof p, params));
    require(CREATE, p.max_batch >= 1 && p.max_batch <= INT32_MAX);
    require(CREATE, p.max_len >= 1 && p.max_len <= INT32_MAX);
    require(CREATE, p.n_heads >= 1 && p.n_heads <= 65536);
    require(CREATE, p.n_kv_heads >= 1 && p.n_heads % p.n_kv_heads == 0);
    require(CREATE, p.head_dim >= 8 && p.head_dim % 8 == 0);
    require(CREATE, isfinite(p.scale) && isfinite(p.phi));
    require(CREATE, (unsigned) p.scheme < ARRAY_LEN(scheme_names));
    require(CREATE, (unsigned) p.phi_source <= FDEC_PHI_PER_HEAD);
    try_st(kv_layout_complete(CREATE, &p.kv, p.max_batch, p.max_len, p.n_kv_heads, p.head_dim));

    const struct problem problem = {
        .op = OP_ATTN,
        .attn = {.batch = p.max_batch,
                 .len = p.max_len,
                 .n_heads = (int) p.n_heads,
                 .n_kv_heads = (int) p.n_kv_heads,
                 .head_dim = (int) p.head_dim,
                 .scale = p.scale != 0 ? p.scale : 1 / sqrtf((float) p.head_dim),
                 .kv = p.kv,
                 .phi_source = p.phi_source,
                 .phi = p.phi_source == FDEC_PHI_CONSTANT ? p.phi : 0},
    };
    const struct want want = {.family = scheme_names[p.scheme]};
    try_st(plan_create(ctx, &problem, &want, p.max_concurrent, plan));
out:
    return st;
}

#define RUN "fdec_attn_run"
static fdec_status check_buffers(const fdec_plan *plan, const fdec_attn_args *a)
{
    fdec_status st = FDEC_OK;
    const fdec_ctx *ctx = plan->ctx;
    const struct attn_problem *p = &plan->problem.attn;
    const uint64_t rows = (uint64_t) a->batch * (uint64_t) p->n_heads,
                   row_bytes = (uint64_t) p->head_dim * sizeof(float);
    const uint64_t cache = kv_layout_bytes(&p->kv, (uint32_t) p->n_kv_heads, (uint32_t) p->head_dim);
    const size_t element = type_bytes(p->kv.type);
    const uint64_t table_bytes = (uint64_t) a->batch * p->kv.max_blocks * sizeof(int32_t);
    const bool paged = p->kv.page_size, per_head = p->phi_source == FDEC_PHI_PER_HEAD;
    try_st(check_buffer(ctx, RUN, "q", &a->q, rows * row_bytes, sizeof(float), REQUIRED));
    try_st(check_buffer(ctx, RUN, "k", &a->k, cache, element, REQUIRED));
    try_st(check_buffer(ctx, RUN, "v", &a->v, cache, element, REQUIRED));
    try_st(check_buffer(ctx, RUN, "lens", &a->lens, a->batch * sizeof(int32_t), sizeof(int32_t), REQUIRED));
    try_st(check_buffer(ctx, RUN, "out", &a->out, rows * row_bytes, sizeof(float), REQUIRED));
    try_st(check_buffer(ctx, RUN, "lse", &a->lse, rows * sizeof(float), sizeof(float), OPTIONAL));
    if (paged)
        try_st(check_buffer(ctx, RUN, "block_table", &a->block_table, table_bytes, sizeof(int32_t), REQUIRED));
    if (per_head)
        try_st(check_buffer(ctx, RUN, "phi", &a->phi, (uint64_t) p->n_heads * sizeof(float), sizeof(float), REQUIRED));
    if (plan->workspace_bytes)
        try_st(check_buffer(ctx, RUN, "workspace", &a->workspace, plan->workspace_bytes, sizeof(float), REQUIRED));
    require(RUN, paged || a->block_table.mem == NULL);
    require(RUN, per_head || a->phi.mem == NULL);
out:
    return st;
}

static struct attn_scalars scalars_of(const struct attn_problem *p, const struct geometry *g)
{
    return (struct attn_scalars){
        .block_stride = p->kv.block_stride,
        .token_stride = p->kv.token_stride,
        .head_stride = p->kv.head_stride,
        .batch = (int32_t) p->batch,
        .max_len = (int32_t) p->len,
        .n_splits = g->n_splits,
        .page_size = (int32_t) p->kv.page_size,
        .max_blocks = (int32_t) p->kv.max_blocks,
        .n_blocks = (int32_t) p->kv.n_blocks,
        .scale = p->scale,
        .phi0 = p->phi,
    };
}

fdec_status fdec_attn_run(fdec_plan *plan, cl_command_queue queue, const fdec_attn_args *args, cl_uint n_wait,
                          const cl_event *wait, cl_event *event)
{
    fdec_status st = FDEC_OK;
    fdec_attn_args a;
    struct geometry g;
    require(RUN, plan != NULL && plan->problem.op == OP_ATTN);
    try_st(take_struct(RUN, &a, sizeof a, args));
    try_st(check_queue(plan->ctx, RUN, queue, n_wait, wait));
    struct problem p = plan->problem;
    if (!a.batch)
        a.batch = (uint32_t) p.attn.batch;
    if (!a.max_len)
        a.max_len = (uint32_t) p.attn.len;
    require(RUN, a.batch <= plan->problem.attn.batch);
    require(RUN, a.max_len <= plan->problem.attn.len);
    try_st(check_buffers(plan, &a));

    p.attn.batch = a.batch;
    p.attn.len = a.max_len;
    const struct ready *r = plan_pick(plan, &p, &g);
    const struct attn_scalars scalars = scalars_of(&p.attn, &g);
    struct binding b = {.scalars = &scalars};
    bind_buffer(&b, ATTN_Q, &a.q);
    bind_buffer(&b, ATTN_K, &a.k);
    bind_buffer(&b, ATTN_V, &a.v);
    bind_buffer(&b, ATTN_LENS, &a.lens);
    bind_buffer(&b, ATTN_BLOCK_TABLE, &a.block_table);
    bind_buffer(&b, ATTN_PHI, &a.phi);
    bind_buffer(&b, ATTN_OUT, &a.out);
    bind_buffer(&b, ATTN_LSE, &a.lse);
    bind_buffer(&b, ATTN_WORK, &a.workspace);
    b.mem[ATTN_COUNTS] = plan->counts;
    try_st(plan_enqueue(plan, r, &g, &p, &b, queue, n_wait, wait, event));
out:
    return st;
}

fdec_status fdec_attn_counts_read(fdec_plan *plan, cl_command_queue queue, fdec_attn_counts *out)
{
    fdec_status st = FDEC_OK;
    cl_uint counts[ATTN_N_COUNTS];
    require("fdec_attn_counts_read", plan != NULL && plan->problem.op == OP_ATTN && out != NULL);
    try_st(check_queue(plan->ctx, "fdec_attn_counts_read", queue, 0, NULL));
    try_cl(clFinish(queue)); /* an out-of-order queue would not wait for the runs */
    try_cl(clEnqueueReadBuffer(queue, plan->counts, CL_TRUE, 0, sizeof counts, counts, 0, NULL, NULL));
    *out = (fdec_attn_counts){counts[ATTN_ROWS_RECOMPUTED], counts[ATTN_LENS_CLAMPED], counts[ATTN_BLOCKS_CLAMPED]};
out:
    return st;
}
