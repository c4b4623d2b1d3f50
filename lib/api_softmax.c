/* SPDX-License-Identifier: MIT
 * api_softmax.c - softmax: every argument is checked here, before anything is enqueued */
#include "plan.h"
#include "softmax.h"

static const char *const impl_names[] = {
    [FDEC_SOFTMAX_AUTO] = NULL,
    [FDEC_SOFTMAX_THREE_PASS] = "three-pass",
    [FDEC_SOFTMAX_ONLINE] = "online",
    [FDEC_SOFTMAX_TWO_PASS] = "two-pass",
};

#define CREATE "fdec_softmax_plan_create"
fdec_status fdec_softmax_plan_create(fdec_ctx *ctx, const fdec_softmax_params *params, fdec_plan **plan)
{
    fdec_status st = FDEC_OK;
    fdec_softmax_params p;
    require(CREATE, ctx != NULL && plan != NULL);
    *plan = NULL;
    try_st(take_struct(CREATE, &p, sizeof p, params));
    require(CREATE, p.max_rows >= 1 && p.max_rows <= INT32_MAX);
    require(CREATE, p.cols >= 1 && p.cols <= INT32_MAX);
    require(CREATE, (unsigned) p.impl < ARRAY_LEN(impl_names));
    const struct problem problem = {.op = OP_SOFTMAX, .softmax = {.rows = p.max_rows, .cols = p.cols}};
    const struct want want = {.family = impl_names[p.impl]};
    try_st(plan_create(ctx, &problem, &want, p.max_concurrent, plan));
out:
    return st;
}

#define RUN "fdec_softmax_run"
fdec_status fdec_softmax_run(fdec_plan *plan, cl_command_queue queue, const fdec_softmax_args *args, cl_uint n_wait,
                             const cl_event *wait, cl_event *event)
{
    fdec_status st = FDEC_OK;
    fdec_softmax_args a;
    struct geometry g;
    require(RUN, plan != NULL && plan->problem.op == OP_SOFTMAX);
    try_st(take_struct(RUN, &a, sizeof a, args));
    try_st(check_queue(plan->ctx, RUN, queue, n_wait, wait));
    struct problem p = plan->problem;
    if (!a.rows)
        a.rows = (uint32_t) p.softmax.rows;
    require(RUN, a.rows <= plan->problem.softmax.rows);
    const size_t f = sizeof(float);
    const uint64_t bytes = (uint64_t) a.rows * (uint64_t) p.softmax.cols * f;
    try_st(check_buffer(plan->ctx, RUN, "x", &a.x, bytes, f, REQUIRED));
    try_st(check_buffer(plan->ctx, RUN, "y", &a.y, bytes, f, REQUIRED));
    try_st(check_buffer(plan->ctx, RUN, "lse", &a.lse, a.rows * f, f, OPTIONAL));
    if (plan->workspace_bytes)
        try_st(check_buffer(plan->ctx, RUN, "workspace", &a.workspace, plan->workspace_bytes, f, REQUIRED));

    p.softmax.rows = a.rows;
    const struct ready *r = plan_pick(plan, &p, &g);
    const struct softmax_scalars scalars = {
        .rows = (int32_t) p.softmax.rows, .cols = (int32_t) p.softmax.cols, .n_splits = g.n_splits};
    struct binding b = {.scalars = &scalars};
    bind_buffer(&b, SOFTMAX_X, &a.x);
    bind_buffer(&b, SOFTMAX_Y, &a.y);
    bind_buffer(&b, SOFTMAX_LSE, &a.lse);
    bind_buffer(&b, SOFTMAX_WORK, &a.workspace);
    try_st(plan_enqueue(plan, r, &g, &p, &b, queue, n_wait, wait, event));
out:
    return st;
}
