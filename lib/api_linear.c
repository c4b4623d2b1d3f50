/* SPDX-License-Identifier: MIT
 * api_linear.c - linear and its packing: every argument is checked here, before anything is enqueued */
#include "linear.h"
#include "pack.h"
#include "plan.h"
#include "tile_stats.h"

#include <math.h>

static const char *const impl_names[] = {
    [FDEC_LINEAR_AUTO] = NULL,
    [FDEC_LINEAR_GEMV] = "gemv",
    [FDEC_LINEAR_FLAT] = "flat",
    [FDEC_LINEAR_GEMM] = "gemm",
};

/* ---- what weights there are: the same for plans and for packing -------------------------------------------------- */

struct weights {
    uint32_t n, n2, n3, k;
    fdec_type w_type;
    fdec_glu glu;
};

static fdec_status check_weights(const char *who, const struct weights *p)
{
    fdec_status st = FDEC_OK;
    const uint64_t rows = (uint64_t) p->n + p->n2 + p->n3;
    require(who, p->n >= 1);
    require(who, p->k >= 1 && p->k <= INT32_MAX);
    require(who, rows <= INT32_MAX / 2);
    require(who, p->n3 == 0 || p->n2 > 0);
    require(who, (unsigned) p->glu <= FDEC_GLU_GELU_ERF);
    require(who, p->glu == FDEC_GLU_NONE || p->n2 == 0);
    require(who, type_exists((int) p->w_type));
    if (p->k % type_block(p->w_type))
        st = fail(FDEC_E_ARG, "%s: k = %u is no multiple of %s's blocks of %d", who, p->k, type_name(p->w_type),
                  (int) type_block(p->w_type));
out:
    return st;
}

/* Columns of output i. */
static uint64_t columns_of(const struct linear_problem *p, int i)
{
    return p->glu != FDEC_GLU_NONE && i > 0 ? 0 : (uint64_t) linear_part_rows(p, i);
}

/* Buffer i of three: there where it has a size, else absent. */
static fdec_status check_part(const fdec_ctx *ctx, const char *who, const char *const names[3],
                              const fdec_buffer *const parts[3], int i, uint64_t bytes, size_t align, enum need need)
{
    fdec_status st = FDEC_OK;
    if (bytes)
        return check_buffer(ctx, who, names[i], parts[i], bytes, align, need);
    if (parts[i]->mem)
        st = fail(FDEC_E_ARG, "%s: %s is given, and the plan has no such part", who, names[i]);
    return st;
}

/* ---- plans ------------------------------------------------------------------------------------------------------- */

#define CREATE "fdec_linear_plan_create"
static fdec_status check_params(const fdec_linear_params *p)
{
    fdec_status st = FDEC_OK;
    const struct weights w = {p->n, p->n2, p->n3, p->k, p->w_type, p->glu};
    try_st(check_weights(CREATE, &w));
    require(CREATE, p->max_m >= 1 && p->max_m <= INT32_MAX);
    require(CREATE, (unsigned) p->impl < ARRAY_LEN(impl_names));
    require(CREATE, type_exists((int) p->x_type) && type_is_float(p->x_type));
    require(CREATE, type_exists((int) p->y_type) && type_is_float(p->y_type));
    require(CREATE, (unsigned) p->w_layout <= FDEC_W_PACKED);
    require(CREATE, p->norm <= 1 && p->batch_invariant <= 1 && p->stats <= 1);
    require(CREATE, !p->stats || (p->glu == FDEC_GLU_NONE && p->n2 == 0 && p->y_type == FDEC_F32));
    require(CREATE, isfinite(p->eps) && p->eps >= 0 && (p->norm || p->eps == 0));
    require(CREATE, isfinite(p->scale));
    require(CREATE, isfinite(p->softcap) && p->softcap >= 0);
out:
    return st;
}

fdec_status fdec_linear_plan_create(fdec_ctx *ctx, const fdec_linear_params *params, fdec_plan **plan)
{
    fdec_status st = FDEC_OK;
    fdec_linear_params p;
    require(CREATE, ctx != NULL && plan != NULL);
    *plan = NULL;
    try_st(take_struct(CREATE, &p, sizeof p, params));
    try_st(check_params(&p));
    const struct problem problem = {.op = OP_LINEAR,
                                    .linear = {.m = p.max_m,
                                               .n = (int64_t) p.n + p.n2 + p.n3,
                                               .n2 = p.n2,
                                               .n3 = p.n3,
                                               .k = p.k,
                                               .w_type = p.w_type,
                                               .x_type = p.x_type,
                                               .y_type = p.y_type,
                                               .glu = p.glu,
                                               .w_layout = p.w_layout,
                                               .norm = p.norm,
                                               .invariant = p.batch_invariant,
                                               .stats = p.stats,
                                               .eps = p.eps,
                                               .scale = p.scale == 0 ? 1 : p.scale,
                                               .softcap = p.softcap}};
    const struct want want = {.family = impl_names[p.impl]};
    try_st(plan_create(ctx, &problem, &want, p.max_concurrent, plan));
out:
    return st;
}

#define RUN "fdec_linear_run"
/* w, bias and y, each of up to three parts. */
static fdec_status check_parts(const fdec_plan *plan, const fdec_linear_args *a)
{
    static const char *const w_names[] = {"w", "w2", "w3"}, *const bias_names[] = {"bias", "bias2", "bias3"},
                             *const y_names[] = {"y", "y2", "y3"};
    fdec_status st = FDEC_OK;
    const fdec_ctx *ctx = plan->ctx;
    const struct linear_problem *p = &plan->problem.linear;
    const fdec_buffer *const w[] = {&a->w, &a->w2, &a->w3}, *const bias[] = {&a->bias, &a->bias2, &a->bias3},
                             *const y[] = {&a->y, &a->y2, &a->y3};
    const bool packed = p->w_layout == FDEC_W_PACKED;
    for (int i = 0; i < 3; i++) {
        const uint64_t rows = (uint64_t) linear_part_rows(p, i), stored = type_bytes(p->w_type, rows * (uint64_t) p->k);
        const uint64_t w_bytes = !packed ? stored : i == 0 ? fdec_linear_packed_bytes(plan) : 0;
        const uint64_t y_bytes = type_bytes(p->y_type, a->m * columns_of(p, i));
        try_st(check_part(ctx, RUN, w_names, w, i, w_bytes, packed ? 4 : type_align(p->w_type), REQUIRED));
        try_st(check_part(ctx, RUN, bias_names, bias, i, rows * sizeof(float), sizeof(float), OPTIONAL));
        try_st(check_part(ctx, RUN, y_names, y, i, y_bytes, type_align(p->y_type), REQUIRED));
    }
out:
    return st;
}

static fdec_status check_buffers(const fdec_plan *plan, const fdec_linear_args *a)
{
    fdec_status st = FDEC_OK;
    const fdec_ctx *ctx = plan->ctx;
    const struct linear_problem *p = &plan->problem.linear;
    const uint64_t m = a->m, n = (uint64_t) p->n, k = (uint64_t) p->k;
    try_st(check_buffer(ctx, RUN, "x", &a->x, type_bytes(p->x_type, m * k), type_align(p->x_type), REQUIRED));
    try_st(check_parts(plan, a));
    require(RUN, a->residual.mem == NULL || p->n2 == 0);
    try_st(check_buffer(ctx, RUN, "residual", &a->residual, type_bytes(p->y_type, m * n), type_align(p->y_type),
                        OPTIONAL));
    require(RUN, p->norm || a->norm.mem == NULL);
    if (p->norm)
        try_st(check_buffer(ctx, RUN, "norm", &a->norm, k * sizeof(float), sizeof(float), REQUIRED));
    require(RUN, p->stats || a->stats.mem == NULL);
    require(RUN, isfinite(a->stats_temperature) && a->stats_temperature >= 0);
    if (p->stats)
        try_st(check_buffer(ctx, RUN, "stats", &a->stats,
                            m * (uint64_t) div_up(p->n, STATS_TILE) * STATS_WORDS * sizeof(uint32_t), sizeof(uint32_t),
                            REQUIRED));
    if (plan->workspace_bytes)
        try_st(check_buffer(ctx, RUN, "workspace", &a->workspace, plan->workspace_bytes, sizeof(float), REQUIRED));
out:
    return st;
}

static void bind_buffers(struct binding *b, const fdec_linear_args *a)
{
    bind_buffer(b, LINEAR_X, &a->x);
    bind_buffer(b, LINEAR_W, &a->w);
    bind_buffer(b, LINEAR_W2, &a->w2);
    bind_buffer(b, LINEAR_W3, &a->w3);
    bind_buffer(b, LINEAR_BIAS, &a->bias);
    bind_buffer(b, LINEAR_BIAS2, &a->bias2);
    bind_buffer(b, LINEAR_BIAS3, &a->bias3);
    bind_buffer(b, LINEAR_RESIDUAL, &a->residual);
    bind_buffer(b, LINEAR_NORM, &a->norm);
    bind_buffer(b, LINEAR_Y, &a->y);
    bind_buffer(b, LINEAR_Y2, &a->y2);
    bind_buffer(b, LINEAR_Y3, &a->y3);
    bind_buffer(b, LINEAR_STATS, &a->stats);
    bind_buffer(b, LINEAR_WORK, &a->workspace);
}

fdec_status fdec_linear_run(fdec_plan *plan, cl_command_queue queue, const fdec_linear_args *args, cl_uint n_wait,
                            const cl_event *wait, cl_event *event)
{
    fdec_status st = FDEC_OK;
    fdec_linear_args a;
    struct geometry g;
    require(RUN, plan != NULL && plan->problem.op == OP_LINEAR);
    try_st(take_struct(RUN, &a, sizeof a, args));
    try_st(check_queue(plan->ctx, RUN, queue, n_wait, wait));
    struct problem p = plan->problem;
    const struct linear_problem *l = &p.linear;
    if (!a.m)
        a.m = (uint32_t) l->m;
    require(RUN, a.m <= plan->problem.linear.m);
    try_st(check_buffers(plan, &a));

    p.linear.m = a.m;
    const struct ready *r = plan_pick(plan, &p, &g);
    const struct linear_scalars scalars = {
        .m = (int32_t) l->m,
        .n = (int32_t) columns_of(l, 0),
        .n2 = (int32_t) l->n2,
        .n3 = (int32_t) l->n3,
        .k = (int32_t) l->k,
        .prepared = g.prepared,
        .n_splits = g.n_splits,
        .eps = l->eps,
        .scale = l->scale,
        .softcap = l->softcap,
        .inv_temperature = a.stats_temperature > 0 ? 1.0f / a.stats_temperature : 1,
    };
    struct binding b = {.scalars = &scalars};
    bind_buffers(&b, &a);
    try_st(plan_enqueue(plan, r, &g, &p, &b, queue, n_wait, wait, event));
out:
    return st;
}

/* ---- packing ----------------------------------------------------------------------------------------------------- */

#define PACK_CREATE "fdec_linear_pack_plan_create"
fdec_status fdec_linear_pack_plan_create(fdec_ctx *ctx, const fdec_linear_pack_params *params, fdec_plan **plan)
{
    fdec_status st = FDEC_OK;
    fdec_linear_pack_params p;
    require(PACK_CREATE, ctx != NULL && plan != NULL);
    *plan = NULL;
    try_st(take_struct(PACK_CREATE, &p, sizeof p, params));
    const struct weights w = {p.n, p.n2, p.n3, p.k, p.w_type, p.glu};
    try_st(check_weights(PACK_CREATE, &w));
    const struct problem problem = {.op = OP_LINEAR_PACK,
                                    .linear = {.m = 1,
                                               .n = (int64_t) p.n + p.n2 + p.n3,
                                               .n2 = p.n2,
                                               .n3 = p.n3,
                                               .k = p.k,
                                               .w_type = p.w_type,
                                               .glu = p.glu,
                                               .w_layout = FDEC_W_PACKED}};
    try_st(plan_create(ctx, &problem, NULL, p.max_concurrent, plan));
out:
    return st;
}

uint64_t fdec_linear_packed_bytes(const fdec_plan *plan)
{
    if (!plan || (plan->problem.op != OP_LINEAR && plan->problem.op != OP_LINEAR_PACK))
        return 0;
    return plan->problem.linear.w_layout == FDEC_W_PACKED ? linear_packed_bytes(&plan->problem.linear) : 0;
}

#define PACK_RUN "fdec_linear_pack_run"
fdec_status fdec_linear_pack_run(fdec_plan *plan, cl_command_queue queue, const fdec_linear_pack_args *args,
                                 cl_uint n_wait, const cl_event *wait, cl_event *event)
{
    static const char *const names[] = {"w", "w2", "w3"};
    fdec_status st = FDEC_OK;
    fdec_linear_pack_args a;
    struct geometry g;
    require(PACK_RUN, plan != NULL && plan->problem.op == OP_LINEAR_PACK);
    try_st(take_struct(PACK_RUN, &a, sizeof a, args));
    try_st(check_queue(plan->ctx, PACK_RUN, queue, n_wait, wait));
    const struct linear_problem *p = &plan->problem.linear;
    const fdec_buffer *const w[] = {&a.w, &a.w2, &a.w3};
    for (int i = 0; i < 3; i++)
        try_st(check_part(plan->ctx, PACK_RUN, names, w, i,
                          type_bytes(p->w_type, (uint64_t) (linear_part_rows(p, i) * p->k)), type_align(p->w_type),
                          REQUIRED));
    try_st(check_buffer(plan->ctx, PACK_RUN, "packed", &a.packed, fdec_linear_packed_bytes(plan), 4, REQUIRED));

    const struct ready *r = plan_pick(plan, &plan->problem, &g);
    const struct pack_scalars scalars = {.n = (int32_t) columns_of(p, 0),
                                         .n2 = (int32_t) p->n2,
                                         .n3 = (int32_t) p->n3,
                                         .k = (int32_t) p->k,
                                         .glu = p->glu != FDEC_GLU_NONE};
    struct binding b = {.scalars = &scalars};
    bind_buffer(&b, PACK_W, &a.w);
    bind_buffer(&b, PACK_W2, &a.w2);
    bind_buffer(&b, PACK_W3, &a.w3);
    bind_buffer(&b, PACK_PACKED, &a.packed);
    try_st(plan_enqueue(plan, r, &g, &plan->problem, &b, queue, n_wait, wait, event));
out:
    return st;
}
