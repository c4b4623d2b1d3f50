/* SPDX-License-Identifier: MIT
 * api_embed.c - embed: every argument is checked here, before anything is enqueued */
#include "embed.h"
#include "plan.h"

#define CREATE "fdec_embed_plan_create"
fdec_status fdec_embed_plan_create(fdec_ctx *ctx, const fdec_embed_params *params, fdec_plan **plan)
{
    fdec_status st = FDEC_OK;
    fdec_embed_params p;
    require(CREATE, ctx != NULL && plan != NULL);
    *plan = NULL;
    try_st(take_struct(CREATE, &p, sizeof p, params));
    require(CREATE, p.max_rows >= 1 && p.max_rows <= INT32_MAX);
    require(CREATE, p.cols >= 1 && p.cols <= INT32_MAX);
    require(CREATE, type_exists((int) p.table_type));
    if (p.cols % type_block(p.table_type)) {
        st = fail(FDEC_E_UNSUPPORTED, CREATE ": cols %u is no multiple of %s's blocks of %d", p.cols,
                  type_name(p.table_type), (int) type_block(p.table_type));
        goto out;
    }
    const struct problem problem = {.op = OP_EMBED,
                                    .small = {.rows = p.max_rows, .cols = p.cols, .type = p.table_type}};
    try_st(plan_create(ctx, &problem, NULL, p.max_concurrent, plan));
out:
    return st;
}

#define RUN "fdec_embed_run"
fdec_status fdec_embed_run(fdec_plan *plan, cl_command_queue queue, const fdec_embed_args *args, cl_uint n_wait,
                           const cl_event *wait, cl_event *event)
{
    fdec_status st = FDEC_OK;
    fdec_embed_args a;
    struct geometry g;
    require(RUN, plan != NULL && plan->problem.op == OP_EMBED);
    try_st(take_struct(RUN, &a, sizeof a, args));
    try_st(check_queue(plan->ctx, RUN, queue, n_wait, wait));
    struct problem p = plan->problem;
    if (!a.rows)
        a.rows = (uint32_t) p.small.rows;
    require(RUN, a.rows <= plan->problem.small.rows);
    require(RUN, a.n_rows_table >= 1 && a.n_rows_table <= INT32_MAX);
    const size_t f = sizeof(float), i = sizeof(int32_t);
    const uint64_t cols = (uint64_t) p.small.cols, table = a.n_rows_table * type_bytes(p.small.type, cols);
    try_st(check_buffer(plan->ctx, RUN, "ids", &a.ids, a.rows * i, i, REQUIRED));
    try_st(check_buffer(plan->ctx, RUN, "table", &a.table, table, type_align(p.small.type), REQUIRED));
    try_st(check_buffer(plan->ctx, RUN, "y", &a.y, a.rows * cols * f, f, REQUIRED));

    p.small.rows = a.rows;
    const struct ready *r = plan_pick(plan, &p, &g);
    const struct embed_scalars scalars = {(int32_t) a.rows, (int32_t) cols, (int32_t) a.n_rows_table};
    struct binding b = {.scalars = &scalars};
    bind_buffer(&b, EMBED_IDS, &a.ids);
    bind_buffer(&b, EMBED_TABLE, &a.table);
    bind_buffer(&b, EMBED_Y, &a.y);
    try_st(plan_enqueue(plan, r, &g, &p, &b, queue, n_wait, wait, event));
out:
    return st;
}
