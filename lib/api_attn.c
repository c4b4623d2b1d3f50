/* SPDX-License-Identifier: MIT
 * api_attn.c - attention: every argument is checked here, before anything is enqueued */
#include "attn.h"
#include "kv.h"

#include <math.h>
#include <string.h>

static const char *const scheme_names[] = {
    [FDEC_SCHEME_AUTO] = NULL,
    [FDEC_SCHEME_UNIFIED] = "unified",
    [FDEC_SCHEME_ONLINE] = "online",
    [FDEC_SCHEME_PAIR] = "pair",
};

enum { MAX_HEAD_DIM = 576, MAX_Q_LEN = 64, MAX_GROUP = 128 };
static const float max_phi_cap =
    50; /* scores of at most this, whatever the row's own maximum, leave phi = 0 in range */
static const float max_softcap = 1000; /* c - 2c / (e^(2x/c) + 1) is exact to c * 2^-23 */
/* Elements; all four terms of the largest offset together, in bytes, stay within 63 bits. */
static const int64_t max_bias_stride = (int64_t) 1 << 40, max_bias_extent = (int64_t) 1 << 58;

/* ---- plans ---- */

#define CREATE "fdec_attn_plan_create"
static fdec_status check_params(fdec_attn_params *p)
{
    fdec_status st = FDEC_OK;
    if (!p->v_head_dim)
        p->v_head_dim = p->head_dim;
    if (!p->max_q_len)
        p->max_q_len = 1;
    require(CREATE, p->max_batch >= 1 && p->max_batch <= INT32_MAX);
    require(CREATE, p->max_len >= 1 && p->max_len <= KV_MAX_TOKENS);
    require(CREATE, p->n_heads >= 1 && p->n_heads <= 65536);
    require(CREATE, p->n_kv_heads >= 1 && p->n_heads % p->n_kv_heads == 0);
    require(CREATE, p->n_heads / p->n_kv_heads <= MAX_GROUP);
    require(CREATE, p->head_dim >= 8 && p->head_dim % 8 == 0 && p->head_dim <= MAX_HEAD_DIM);
    require(CREATE, p->v_head_dim >= 8 && p->v_head_dim % 8 == 0 && p->v_head_dim <= MAX_HEAD_DIM);
    require(CREATE, p->max_q_len <= MAX_Q_LEN);
    require(CREATE, type_is_float(p->q_type) && type_is_float(p->out_type));
    require(CREATE, isfinite(p->scale) && isfinite(p->phi));
    require(CREATE, p->softcap >= 0 && p->softcap <= max_softcap);
    require(CREATE, p->window <= INT32_MAX);
    require(CREATE, p->mask == FDEC_MASK_CAUSAL || p->mask == FDEC_MASK_NONE);
    require(CREATE, (unsigned) p->scheme < ARRAY_LEN(scheme_names));
    require(CREATE, (unsigned) p->phi_source <= FDEC_PHI_STATE);
    require(CREATE, p->batch_invariant <= 1);
    if (p->batch_invariant && p->phi_source == FDEC_PHI_STATE) {
        st = fail(FDEC_E_UNSUPPORTED, CREATE ": batch_invariant with FDEC_PHI_STATE: an earlier step's LSE is not the "
                                             "sequence's own content");
        goto out;
    }
    try_st(kv_layout_complete(CREATE, &p->kv, p->max_batch, p->max_len, p->n_kv_heads, p->head_dim, p->v_head_dim));
out:
    return st;
}

fdec_status fdec_attn_plan_create(fdec_ctx *ctx, const fdec_attn_params *params, fdec_plan **plan)
{
    fdec_status st = FDEC_OK;
    fdec_attn_params p;
    require(CREATE, ctx != NULL && plan != NULL);
    *plan = NULL;
    try_st(take_struct(CREATE, &p, sizeof p, params));
    try_st(check_params(&p));
    const struct problem problem = {
        .op = OP_ATTN,
        .attn = {.batch = p.max_batch,
                 .len = p.max_len,
                 .q_len = (int) p.max_q_len,
                 .n_heads = (int) p.n_heads,
                 .n_kv_heads = (int) p.n_kv_heads,
                 .head_dim = (int) p.head_dim,
                 .v_head_dim = (int) p.v_head_dim,
                 .q_type = p.q_type,
                 .out_type = p.out_type,
                 .scale = p.scale != 0 ? p.scale : 1 / sqrtf((float) p.head_dim),
                 .softcap = p.softcap,
                 .window = p.window,
                 .causal = p.mask == FDEC_MASK_CAUSAL,
                 .invariant = p.batch_invariant,
                 .kv = p.kv,
                 .phi_source = p.phi_source,
                 .phi = p.phi},
    };
    const struct want want = {.family = scheme_names[p.scheme]};
    try_st(plan_create(ctx, &problem, &want, p.max_concurrent, plan));
out:
    return st;
}

/* ---- runs ---- */

#define RUN "fdec_attn_run"
enum { F = sizeof(float), I = sizeof(int32_t) };

/* Fills in the defaults of a run's sizes and checks them. */
static fdec_status check_sizes(const struct attn_problem *p, fdec_attn_args *a)
{
    fdec_status st = FDEC_OK;
    if (!a->batch)
        a->batch = (uint32_t) p->batch;
    if (!a->max_len)
        a->max_len = (uint32_t) p->len;
    if (!a->q_len)
        a->q_len = (uint32_t) p->q_len;
    if (!a->n_slots)
        a->n_slots = a->batch;
    require(RUN, a->batch <= p->batch);
    require(RUN, a->max_len <= p->len);
    require(RUN, a->q_len <= (uint32_t) p->q_len);
    require(RUN, a->q_starts.mem != NULL || a->n_q == 0);
    require(RUN, (uint64_t) a->batch * a->q_len <= INT32_MAX && a->n_q <= INT32_MAX && a->n_slots <= INT32_MAX);
    if (!a->n_q)
        a->n_q = a->batch * a->q_len;
    require(RUN, isfinite(a->bias_max));
    require(RUN, a->bias_batch_stride >= 0 && a->bias_batch_stride <= max_bias_stride);
    require(RUN, (int64_t) (a->batch - 1) <= max_bias_extent / (a->bias_batch_stride | 1));
    require(RUN, a->bias_query_stride >= 0 && a->bias_query_stride <= max_bias_stride);
    require(RUN, a->bias_head_stride >= 0 && a->bias_head_stride <= max_bias_stride);
    require(RUN, a->state.mem != NULL || a->slots.mem == NULL);
out:
    return st;
}

/* What the plan's features make required or refuse. */
static fdec_status check_features(const struct attn_problem *p, const fdec_attn_args *a)
{
    fdec_status st = FDEC_OK;
    const bool paged = p->kv.page_size;
    require(RUN, paged || a->block_table.mem == NULL);
    require(RUN, p->phi_source != FDEC_PHI_PER_HEAD || a->phi.mem != NULL);
    require(RUN, p->phi_source != FDEC_PHI_BOUNDS || a->bounds.mem != NULL);
    require(RUN, p->phi_source != FDEC_PHI_STATE || a->state.mem != NULL);
out:
    return st;
}

static fdec_status check_buffers(const fdec_plan *plan, const fdec_attn_args *a)
{
    fdec_status st = FDEC_OK;
    const fdec_ctx *ctx = plan->ctx;
    const struct attn_problem *p = &plan->problem.attn;
    const uint64_t H = (uint64_t) p->n_heads, G = (uint64_t) p->n_kv_heads, rows = a->n_q * H, batch = a->batch;
    const uint64_t q_bytes = type_bytes(p->q_type, rows * (uint64_t) p->head_dim),
                   out_bytes = type_bytes(p->out_type, rows * (uint64_t) p->v_head_dim);
    const uint64_t k_bytes = kv_cache_bytes(&p->kv, &p->kv.k, (uint32_t) G, (uint32_t) p->head_dim),
                   v_bytes = kv_cache_bytes(&p->kv, &p->kv.v, (uint32_t) G, (uint32_t) p->v_head_dim);
    const uint64_t bias = (batch - 1) * (uint64_t) a->bias_batch_stride +
                          (a->q_len - 1) * (uint64_t) a->bias_query_stride + (H - 1) * (uint64_t) a->bias_head_stride +
                          a->max_len;
    const struct {
        const char *name;
        const fdec_buffer *buffer;
        uint64_t bytes;
        size_t align;
        enum need need;
    } list[] = {
        {"q", &a->q, q_bytes, type_align(p->q_type), REQUIRED},
        {"k", &a->k, k_bytes, type_align(p->kv.k.type), REQUIRED},
        {"v", &a->v, v_bytes, type_align(p->kv.v.type), REQUIRED},
        {"lens", &a->lens, batch * I, I, REQUIRED},
        {"q_starts", &a->q_starts, (batch + 1) * I, I, OPTIONAL},
        {"q_pos", &a->q_pos, batch * I, I, OPTIONAL},
        {"block_table", &a->block_table, batch * p->kv.max_blocks * I, I, p->kv.page_size ? REQUIRED : OPTIONAL},
        {"bias", &a->bias, bias * F, F, OPTIONAL},
        {"alibi", &a->alibi, H * F, F, OPTIONAL},
        {"sinks", &a->sinks, H * F, F, OPTIONAL},
        {"phi", &a->phi, H * F, F, OPTIONAL},
        {"bounds", &a->bounds, p->kv.n_blocks * G * 2 * F, F, OPTIONAL},
        {"state", &a->state, a->n_slots * H * F, F, OPTIONAL},
        {"slots", &a->slots, batch * I, I, OPTIONAL},
        {"out", &a->out, out_bytes, type_align(p->out_type), REQUIRED},
        {"lse", &a->lse, rows * F, F, OPTIONAL},
        {"workspace", &a->workspace, plan->workspace_bytes, F, plan->workspace_bytes ? REQUIRED : OPTIONAL},
    };
    for (size_t i = 0; i < ARRAY_LEN(list); i++)
        try_st(check_buffer(ctx, RUN, list[i].name, list[i].buffer, list[i].bytes, list[i].align, list[i].need));
out:
    return st;
}

/* The source of phi that this run has, in the order of flashdec.h. */
static int phi_source_of(const struct attn_problem *p, const fdec_attn_args *a)
{
    const bool state = a->state.mem && !p->invariant;
    if (p->phi_source != FDEC_PHI_AUTO)
        return (int) p->phi_source;
    if (p->softcap > 0 && p->softcap <= max_phi_cap)
        return FDEC_PHI_CONSTANT;
    if (a->bounds.mem)
        return state ? ATTN_PHI_GATED : FDEC_PHI_BOUNDS;
    return state ? FDEC_PHI_STATE : a->phi.mem ? FDEC_PHI_PER_HEAD : FDEC_PHI_CONSTANT;
}

static struct attn_scalars scalars_of(const struct attn_problem *p, const fdec_attn_args *a, const struct geometry *g)
{
    const bool capped = p->phi_source == FDEC_PHI_AUTO && p->softcap > 0 && p->softcap <= max_phi_cap;
    return (struct attn_scalars){
        .k_block_stride = p->kv.k.block_stride,
        .k_token_stride = p->kv.k.token_stride,
        .k_head_stride = p->kv.k.head_stride,
        .v_block_stride = p->kv.v.block_stride,
        .v_token_stride = p->kv.v.token_stride,
        .v_head_stride = p->kv.v.head_stride,
        .bias_batch_stride = a->bias_batch_stride,
        .bias_query_stride = a->bias_query_stride,
        .bias_head_stride = a->bias_head_stride,
        .batch = (int32_t) a->batch,
        .n_heads = p->n_heads,
        .n_kv_heads = p->n_kv_heads,
        .q_len = (int32_t) a->q_len,
        .n_q = (int32_t) a->n_q,
        .max_len = (int32_t) a->max_len,
        .n_splits = g->n_splits,
        .span = g->span,
        .split_keys = g->split_keys,
        .page_size = (int32_t) p->kv.page_size,
        .max_blocks = (int32_t) p->kv.max_blocks,
        .n_blocks = (int32_t) p->kv.n_blocks,
        .n_slots = (int32_t) a->n_slots,
        .window = (int32_t) p->window,
        .causal = p->causal,
        .phi_source = phi_source_of(p, a),
        .scale = p->scale,
        .softcap = p->softcap,
        .bias_max = a->bias_max,
        .phi0 = capped ? 0 : p->phi,
    };
}

static void bind_all(struct binding *b, const fdec_attn_args *a)
{
    bind_buffer(b, ATTN_Q, &a->q);
    bind_buffer(b, ATTN_K, &a->k);
    bind_buffer(b, ATTN_V, &a->v);
    bind_buffer(b, ATTN_LENS, &a->lens);
    bind_buffer(b, ATTN_Q_STARTS, &a->q_starts);
    bind_buffer(b, ATTN_Q_POS, &a->q_pos);
    bind_buffer(b, ATTN_BLOCK_TABLE, &a->block_table);
    bind_buffer(b, ATTN_BIAS, &a->bias);
    bind_buffer(b, ATTN_ALIBI, &a->alibi);
    bind_buffer(b, ATTN_SINKS, &a->sinks);
    bind_buffer(b, ATTN_PHI, &a->phi);
    bind_buffer(b, ATTN_BOUNDS, &a->bounds);
    bind_buffer(b, ATTN_STATE, &a->state);
    bind_buffer(b, ATTN_SLOTS, &a->slots);
    bind_buffer(b, ATTN_OUT, &a->out);
    bind_buffer(b, ATTN_LSE, &a->lse);
    bind_buffer(b, ATTN_WORK, &a->workspace);
}

fdec_status fdec_attn_run(fdec_plan *plan, cl_command_queue queue, const fdec_attn_args *args, cl_uint n_wait,
                          const cl_event *wait, cl_event *event)
{
    fdec_status st = FDEC_OK;
    fdec_attn_args a;
    struct geometry g;
    struct binding b = {0};
    require(RUN, plan != NULL && plan->problem.op == OP_ATTN);
    try_st(take_struct(RUN, &a, sizeof a, args));
    try_st(check_queue(plan->ctx, RUN, queue, n_wait, wait));
    struct problem p = plan->problem;
    try_st(check_sizes(&p.attn, &a));
    try_st(check_features(&p.attn, &a));
    try_st(check_buffers(plan, &a));

    p.attn.batch = a.batch;
    p.attn.len = a.max_len;
    p.attn.q_len = (int) a.q_len;
    const fdec_plan *use = plan->adaption.online ? plan->adaption.online : plan;
    const struct ready *r = plan_pick(use, &p, &g);
    const struct attn_scalars scalars = scalars_of(&p.attn, &a, &g);
    b.scalars = &scalars;
    bind_all(&b, &a);
    b.mem[ATTN_COUNTS] = plan->counts;
    try_st(plan_enqueue(use, r, &g, &p, &b, queue, n_wait, wait, event));
    if (use == plan && !strcmp(r->choice.kernel->family, "unified"))
        atomic_fetch_add_explicit(&plan->adaption.parts,
                                  (uint64_t) a.n_q * (uint64_t) p.attn.n_heads * (uint64_t) g.n_splits,
                                  memory_order_relaxed);
out:
    return st;
}

size_t fdec_attn_state_bytes(const fdec_plan *plan, uint32_t n_slots)
{
    return plan && plan->problem.op == OP_ATTN ? (size_t) n_slots * (size_t) plan->problem.attn.n_heads * F : 0;
}

/* ---- counters ---- */

static fdec_status read_counts(const fdec_plan *plan, cl_command_queue queue, cl_uint counts[ATTN_N_COUNTS])
{
    fdec_status st = FDEC_OK;
    try_cl(clFinish(queue)); /* an out-of-order queue would not wait for the runs */
    try_cl(clEnqueueReadBuffer(queue, plan->counts, CL_TRUE, 0, ATTN_N_COUNTS * sizeof *counts, counts, 0, NULL, NULL));
out:
    return st;
}

fdec_status fdec_attn_counts_read(fdec_plan *plan, cl_command_queue queue, fdec_attn_counts *out)
{
    fdec_status st = FDEC_OK;
    cl_uint counts[ATTN_N_COUNTS];
    require("fdec_attn_counts_read", plan != NULL && plan->problem.op == OP_ATTN && out != NULL);
    try_st(check_queue(plan->ctx, "fdec_attn_counts_read", queue, 0, NULL));
    try_st(read_counts(plan, queue, counts));
    *out = (fdec_attn_counts){counts[ATTN_ROWS_RECOMPUTED], counts[ATTN_LENS_CLAMPED], counts[ATTN_BLOCKS_CLAMPED]};
out:
    return st;
}

enum {
    LEAST_PARTS = 64,
    HIGH_SHARE = 16 /* one in so many is high: what the redone ones cost is then what `online` costs */
};

#define ADAPT "fdec_attn_adapt"
fdec_status fdec_attn_adapt(fdec_plan *plan, cl_command_queue queue, int *moved)
{
    fdec_status st = FDEC_OK;
    cl_uint counts[ATTN_N_COUNTS];
    require(ADAPT, plan != NULL && plan->problem.op == OP_ATTN);
    try_st(check_queue(plan->ctx, ADAPT, queue, 0, NULL));
    struct adaption *a = &plan->adaption;
    const uint64_t parts = atomic_load(&a->parts);
    if (!a->online && plan_may_move(plan) && parts - a->parts_before >= LEAST_PARTS) {
        try_st(read_counts(plan, queue, counts));
        const uint32_t redone = counts[ATTN_ROWS_RECOMPUTED] - a->redone_before;
        const bool is_high = (uint64_t) redone * HIGH_SHARE > parts - a->parts_before;
        if (is_high && a->was_high)
            try_st(plan_create_like(plan, &(struct want){.family = "online"}, &a->online));
        a->parts_before = parts;
        a->redone_before = counts[ATTN_ROWS_RECOMPUTED];
        a->was_high = is_high;
    }
    if (moved)
        *moved = a->online != NULL;
out:
    return st;
}
