/* SPDX-License-Identifier: MIT
 * api_sample.c - sampling: every argument is checked here, before anything is enqueued */
#include "plan.h"
#include "sample.h"
#include "tile_stats.h"

#include <math.h>

enum { MAX_TOP_K = 1024, MAX_RECENT = 1 << 20, WORD = 4 };

#define CREATE "fdec_sample_plan_create"
fdec_status fdec_sample_plan_create(fdec_ctx *ctx, const fdec_sample_params *params, fdec_plan **plan)
{
    fdec_status st = FDEC_OK;
    fdec_sample_params p;
    require(CREATE, ctx != NULL && plan != NULL);
    *plan = NULL;
    try_st(take_struct(CREATE, &p, sizeof p, params));
    require(CREATE, p.max_rows >= 1 && p.max_rows <= INT32_MAX);
    require(CREATE, p.cols >= 1 && p.cols <= 1 << 30);
    const struct problem problem = {.op = OP_SAMPLE, .small = {.rows = p.max_rows, .cols = p.cols}};
    try_st(plan_create(ctx, &problem, NULL, p.max_concurrent, plan));
out:
    return st;
}

#define RUN "fdec_sample_run"

/* So far that neither it nor its inverse overflows, nor a product with either vanishes beside the weight of 0. */
static bool is_moderate(float v)
{
    return v >= 0x1p-64f && v <= 0x1p64f; /* false for NaN */
}

/* Numbers without a default yet get it. */
static fdec_status check_numbers(const struct fdec_plan *plan, fdec_sample_args *a)
{
    fdec_status st = FDEC_OK;
    a->rows = a->rows ? a->rows : (uint32_t) plan->problem.small.rows;
    a->repeat_penalty = a->repeat_penalty == 0 ? 1 : a->repeat_penalty;
    a->top_p = a->top_p == 0 ? 1 : a->top_p;
    require(RUN, a->rows <= plan->problem.small.rows);
    require(RUN, a->temperature == 0 || is_moderate(a->temperature));
    require(RUN, a->top_k <= MAX_TOP_K);
    require(RUN, a->top_p > 0 && a->top_p <= 1);
    require(RUN, a->min_p >= 0 && a->min_p < 1);
    require(RUN, is_moderate(a->repeat_penalty));
    require(RUN, a->n_recent <= MAX_RECENT);
    require(RUN, (a->n_recent > 0) == (a->recent.mem != NULL));
    require(RUN, a->repeat_penalty == 1 || a->recent.mem != NULL);
    require(RUN, a->stats.mem == NULL || a->temperature == 0 || a->stats_temperature == a->temperature);
out:
    return st;
}

static fdec_status check_buffers(const struct fdec_plan *plan, const fdec_sample_args *a)
{
    fdec_status st = FDEC_OK;
    const uint64_t rows = a->rows, cols = (uint64_t) plan->problem.small.cols;
    const uint64_t stats = rows * (uint64_t) div_up((int64_t) cols, STATS_TILE) * STATS_WORDS * WORD;
    try_st(check_buffer(plan->ctx, RUN, "x", &a->x, rows * cols * WORD, WORD, REQUIRED));
    try_st(check_buffer(plan->ctx, RUN, "stats", &a->stats, stats, WORD, OPTIONAL));
    try_st(check_buffer(plan->ctx, RUN, "recent", &a->recent, rows * a->n_recent * WORD, WORD, OPTIONAL));
    try_st(check_buffer(plan->ctx, RUN, "u", &a->u, rows * WORD, WORD, OPTIONAL));
    try_st(check_buffer(plan->ctx, RUN, "ids", &a->ids, rows * WORD, WORD, REQUIRED));
    try_st(check_buffer(plan->ctx, RUN, "workspace", &a->workspace, plan->workspace_bytes, WORD, REQUIRED));
out:
    return st;
}

/* A weight is 0 below 2^-100 = e^-69.3 of the largest; 71 is past that, and past the rounding of what it bounds. */
static struct sample_scalars scalars_of(const fdec_sample_args *a, int64_t cols)
{
    const float temperature = a->temperature == 0 ? 1 : a->temperature;
    return (struct sample_scalars){
        .seed = a->seed,
        .step = a->step,
        .rows = (int32_t) a->rows,
        .cols = (int32_t) cols,
        .n_recent = (int32_t) a->n_recent,
        .greedy = a->temperature == 0,
        .top_k = a->top_k ? (int32_t) a->top_k : INT32_MAX,
        .top_p = a->top_p,
        .inv_temperature = 1 / temperature,
        .reach = 71 * temperature,
        .min_p_reach = a->min_p > 0 ? (float) (-log((double) a->min_p) * (double) temperature) : INFINITY,
        .penalty = a->repeat_penalty,
        .inv_penalty = 1 / a->repeat_penalty,
    };
}

fdec_status fdec_sample_run(fdec_plan *plan, cl_command_queue queue, const fdec_sample_args *args, cl_uint n_wait,
                            const cl_event *wait, cl_event *event)
{
    fdec_status st = FDEC_OK;
    fdec_sample_args a;
    struct geometry g;
    require(RUN, plan != NULL && plan->problem.op == OP_SAMPLE);
    try_st(take_struct(RUN, &a, sizeof a, args));
    try_st(check_queue(plan->ctx, RUN, queue, n_wait, wait));
    try_st(check_numbers(plan, &a));
    try_st(check_buffers(plan, &a));

    struct problem p = plan->problem;
    p.small.rows = a.rows;
    const struct ready *r = plan_pick(plan, &p, &g);
    if (a.stats.mem) /* there are records already */
        g.first = 1;
    if (a.repeat_penalty == 1)
        a.recent.mem = NULL;
    const struct sample_scalars scalars = scalars_of(&a, p.small.cols);
    struct binding b = {.scalars = &scalars};
    bind_buffer(&b, SAMPLE_X, &a.x);
    bind_buffer(&b, SAMPLE_STATS, &a.stats);
    bind_buffer(&b, SAMPLE_RECENT, &a.recent);
    bind_buffer(&b, SAMPLE_U, &a.u);
    bind_buffer(&b, SAMPLE_IDS, &a.ids);
    bind_buffer(&b, SAMPLE_WORK, &a.workspace);
    try_st(plan_enqueue(plan, r, &g, &p, &b, queue, n_wait, wait, event));
out:
    return st;
}
