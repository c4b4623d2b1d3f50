/* SPDX-License-Identifier: MIT
 * api_ops.c - the small operations: every argument is checked here, before anything is enqueued */
#include "plan.h"
#include "small.h"

#include <math.h>
#include <stdlib.h>

/* One plan per kernel; all share one program. */
enum small { RMSNORM, SWIGLU, ADD, ARGMAX, MERGE, N_SMALL };
static const enum op smalls[N_SMALL] = {
    [RMSNORM] = OP_RMSNORM, [SWIGLU] = OP_SWIGLU, [ADD] = OP_ADD, [ARGMAX] = OP_ARGMAX, [MERGE] = OP_ATTN_MERGE,
};

struct fdec_ops {
    fdec_ctx *ctx;
    fdec_plan *plans[N_SMALL];
};

fdec_status fdec_ops_create(fdec_ctx *ctx, fdec_ops **out)
{
    fdec_status st = FDEC_OK;
    fdec_ops *ops = NULL;
    require("fdec_ops_create", ctx != NULL && out != NULL);
    *out = NULL;
    ops = calloc(1, sizeof *ops);
    try_alloc(ops);
    ops->ctx = ctx;
    for (int i = 0; i < N_SMALL; i++) {
        const struct problem p = {.op = smalls[i], .small = {.rows = 1, .cols = 1}};
        try_st(plan_create(ctx, &p, NULL, 0, &ops->plans[i]));
    }
    *out = ops;
    ops = NULL;
out:
    fdec_ops_destroy(&ops);
    return st;
}

void fdec_ops_destroy(fdec_ops **ops)
{
    if (!ops || !*ops)
        return;
    for (int i = 0; i < N_SMALL; i++)
        fdec_plan_destroy(&(*ops)->plans[i]);
    free(*ops);
    *ops = NULL;
}

/* What is the same for all of them: one run's size, its kernel, the queue. */
struct call {
    cl_command_queue queue;
    cl_uint n_wait;
    const cl_event *wait;
    cl_event *event;
};

static fdec_status run_small(const fdec_ops *ops, enum small which, int64_t rows, int64_t cols, const struct binding *b,
                             const struct call *c)
{
    const fdec_plan *plan = ops->plans[which];
    struct problem p = plan->problem;
    struct geometry g;
    p.small.rows = rows;
    p.small.cols = cols;
    const struct ready *r = plan_pick(plan, &p, &g);
    return plan_enqueue(plan, r, &g, &p, b, c->queue, c->n_wait, c->wait, c->event);
}

/* Opens every run function: copies the caller's struct, checks queue and wait list. */
#define begin(who)                                                                                                     \
    require(who, ops != NULL);                                                                                         \
    try_st(take_struct(who, &a, sizeof a, args));                                                                      \
    try_st(check_queue(ops->ctx, who, queue, n_wait, wait));                                                           \
    const struct call call = {queue, n_wait, wait, event}

/* Checks args.name and binds it as buffer number i. */
#define buffer(who, i, name, bytes, align)                                                                             \
    try_st(check_buffer(ops->ctx, who, #name, &a.name, (bytes), (align), REQUIRED));                                   \
    bind_buffer(&b, (i), &a.name)

enum { F = sizeof(float), I = sizeof(int32_t) };

#define WHO "fdec_rmsnorm_run"
fdec_status fdec_rmsnorm_run(fdec_ops *ops, cl_command_queue queue, const fdec_rmsnorm_args *args, cl_uint n_wait,
                             const cl_event *wait, cl_event *event)
{
    fdec_status st = FDEC_OK;
    fdec_rmsnorm_args a;
    struct binding b = {0};
    begin(WHO);
    require(WHO, a.rows >= 1 && a.rows <= INT32_MAX && a.cols >= 1 && a.cols <= INT32_MAX);
    require(WHO, isfinite(a.eps) && a.eps >= 0);
    const uint64_t bytes = (uint64_t) a.rows * a.cols * F;
    buffer(WHO, 0, x, bytes, F);
    buffer(WHO, 1, w, (uint64_t) a.cols * F, F);
    buffer(WHO, 2, y, bytes, F);
    const struct rmsnorm_scalars s = {(int32_t) a.rows, (int32_t) a.cols, a.eps};
    b.scalars = &s;
    try_st(run_small(ops, RMSNORM, a.rows, a.cols, &b, &call));
out:
    return st;
}

#undef WHO
#define WHO "fdec_swiglu_run"
fdec_status fdec_swiglu_run(fdec_ops *ops, cl_command_queue queue, const fdec_swiglu_args *args, cl_uint n_wait,
                            const cl_event *wait, cl_event *event)
{
    fdec_status st = FDEC_OK;
    fdec_swiglu_args a;
    struct binding b = {0};
    begin(WHO);
    require(WHO, a.n >= 1 && a.n <= (uint64_t) 1 << 40);
    buffer(WHO, 0, gate, a.n * F, F);
    buffer(WHO, 1, up, a.n * F, F);
    buffer(WHO, 2, y, a.n * F, F);
    const struct swiglu_scalars s = {a.n};
    b.scalars = &s;
    try_st(run_small(ops, SWIGLU, 1, (int64_t) a.n, &b, &call));
out:
    return st;
}

#undef WHO
#define WHO "fdec_add_run"
fdec_status fdec_add_run(fdec_ops *ops, cl_command_queue queue, const fdec_add_args *args, cl_uint n_wait,
                         const cl_event *wait, cl_event *event)
{
    fdec_status st = FDEC_OK;
    fdec_add_args a;
    struct binding b = {0};
    begin(WHO);
    require(WHO, a.n >= 1 && a.n <= (uint64_t) 1 << 40);
    buffer(WHO, 0, a, a.n * F, F);
    buffer(WHO, 1, b, a.n * F, F);
    buffer(WHO, 2, y, a.n * F, F);
    const struct add_scalars s = {a.n};
    b.scalars = &s;
    try_st(run_small(ops, ADD, 1, (int64_t) a.n, &b, &call));
out:
    return st;
}

#undef WHO
#define WHO "fdec_argmax_run"
fdec_status fdec_argmax_run(fdec_ops *ops, cl_command_queue queue, const fdec_argmax_args *args, cl_uint n_wait,
                            const cl_event *wait, cl_event *event)
{
    fdec_status st = FDEC_OK;
    fdec_argmax_args a;
    struct binding b = {0};
    begin(WHO);
    require(WHO, a.rows >= 1 && a.rows <= INT32_MAX && a.cols >= 1 && a.cols <= INT32_MAX);
    buffer(WHO, 0, x, (uint64_t) a.rows * a.cols * F, F);
    buffer(WHO, 1, ids, (uint64_t) a.rows * I, I);
    const struct argmax_scalars s = {(int32_t) a.rows, (int32_t) a.cols};
    b.scalars = &s;
    try_st(run_small(ops, ARGMAX, a.rows, a.cols, &b, &call));
out:
    return st;
}

#undef WHO
#define WHO "fdec_attn_merge_run"
fdec_status fdec_attn_merge_run(fdec_ops *ops, cl_command_queue queue, const fdec_attn_merge_args *args, cl_uint n_wait,
                                const cl_event *wait, cl_event *event)
{
    fdec_status st = FDEC_OK;
    fdec_attn_merge_args a;
    struct binding b = {0};
    begin(WHO);
    require(WHO, a.rows >= 1 && a.rows <= INT32_MAX);
    require(WHO, a.dim >= 1 && a.dim <= 65536);
    require(WHO, a.n_parts >= 1 && a.n_parts <= 4096);
    const uint64_t values = (uint64_t) a.rows * a.dim * F, rows = (uint64_t) a.rows * F;
    buffer(WHO, 0, part, values * a.n_parts, F);
    buffer(WHO, 1, lse_in, rows * a.n_parts, F);
    buffer(WHO, 2, out, values, F);
    try_st(check_buffer(ops->ctx, WHO, "lse", &a.lse, rows, F, OPTIONAL));
    bind_buffer(&b, 3, &a.lse);
    const struct merge_scalars s = {(int32_t) a.rows, (int32_t) a.dim, (int32_t) a.n_parts};
    b.scalars = &s;
    try_st(run_small(ops, MERGE, a.rows, a.dim, &b, &call));
out:
    return st;
}
