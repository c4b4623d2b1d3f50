/* SPDX-License-Identifier: MIT
 * api_linear.c - linear: every argument is checked here, before anything is enqueued */
#include "linear.h"
#include "plan.h"

static const char *const impl_names[] = {
    [FDEC_LINEAR_AUTO] = NULL,
    [FDEC_LINEAR_GEMV] = "gemv",
    [FDEC_LINEAR_FLAT] = "flat",
    [FDEC_LINEAR_GEMM] = "gemm",
};

#define CREATE "fdec_linear_plan_create"
fdec_status fdec_linear_plan_create(fdec_ctx *ctx, const fdec_linear_params *params, fdec_plan **plan)
{
    fdec_status st = FDEC_OK;
    fdec_linear_params p;
    require(CREATE, ctx != NULL && plan != NULL);
    *plan = NULL;
    try_st(take_struct(CREATE, &p, sizeof p, params));
    require(CREATE, p.max_m >= 1 && p.max_m <= INT32_MAX);
    require(CREATE, p.n >= 1 && p.n <= INT32_MAX);
    require(CREATE, p.k >= 1 && p.k <= INT32_MAX);
    require(CREATE, (unsigned) p.impl < ARRAY_LEN(impl_names));
    if (p.w_type != FDEC_F32 && p.w_type != FDEC_F16) {
        st = fail(FDEC_E_UNSUPPORTED, CREATE ": w_type %d is neither FDEC_F32 nor FDEC_F16", (int) p.w_type);
        goto out;
    }
    const struct problem problem = {.op = OP_LINEAR, .linear = {.m = p.max_m, .n = p.n, .k = p.k, .w_type = p.w_type}};
    const struct want want = {.family = impl_names[p.impl]};
    try_st(plan_create(ctx, &problem, &want, p.max_concurrent, plan));
out:
    return st;
}

#define RUN "fdec_linear_run"
static fdec_status check_buffers(const fdec_plan *plan, const fdec_linear_args *a)
{
    fdec_status st = FDEC_OK;
    const fdec_ctx *ctx = plan->ctx;
    const struct linear_problem *p = &plan->problem.linear;
    const size_t f = sizeof(float), w = type_bytes(p->w_type, 1);
    const uint64_t m = a->m, n = (uint64_t) p->n, k = (uint64_t) p->k;
    try_st(check_buffer(ctx, RUN, "x", &a->x, m * k * f, f, REQUIRED));
    try_st(check_buffer(ctx, RUN, "w", &a->w, n * k * w, w, REQUIRED));
    try_st(check_buffer(ctx, RUN, "bias", &a->bias, n * f, f, OPTIONAL));
    try_st(check_buffer(ctx, RUN, "residual", &a->residual, m * n * f, f, OPTIONAL));
    try_st(check_buffer(ctx, RUN, "y", &a->y, m * n * f, f, REQUIRED));
    if (plan->workspace_bytes)
        try_st(check_buffer(ctx, RUN, "workspace", &a->workspace, plan->workspace_bytes, f, REQUIRED));
out:
    return st;
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
    if (!a.m)
        a.m = (uint32_t) p.linear.m;
    require(RUN, a.m <= plan->problem.linear.m);
    try_st(check_buffers(plan, &a));

    p.linear.m = a.m;
    const struct ready *r = plan_pick(plan, &p, &g);
    const struct linear_scalars scalars = {
        .m = (int32_t) p.linear.m, .n = (int32_t) p.linear.n, .k = (int32_t) p.linear.k, .n_splits = g.n_splits};
    struct binding b = {.scalars = &scalars};
    bind_buffer(&b, LINEAR_X, &a.x);
    bind_buffer(&b, LINEAR_W, &a.w);
    bind_buffer(&b, LINEAR_BIAS, &a.bias);
    bind_buffer(&b, LINEAR_RESIDUAL, &a.residual);
    bind_buffer(&b, LINEAR_Y, &a.y);
    bind_buffer(&b, LINEAR_WORK, &a.workspace);
    try_st(plan_enqueue(plan, r, &g, &p, &b, queue, n_wait, wait, event));
out:
    return st;
}
