/* SPDX-License-Identifier: MIT
 * plan.c - a problem with its choices compiled, and the one way work is enqueued */
#include "plan.h"

#include <stdlib.h>
#include <string.h>

enum { DEFAULT_CONCURRENT = 8, MAX_CONCURRENT = 256 };

static int count_entries(const struct kernel *k)
{
    int n = 0;
    while (n < MAX_LAUNCHES && k->entry[n])
        n++;
    return n;
}

static void release_ready(struct ready *r, int n_sets)
{
    for (int s = 0; r->sets && s < n_sets; s++)
        for (int i = 0; i < MAX_LAUNCHES; i++)
            if (r->sets[s][i])
                clReleaseKernel(r->sets[s][i]);
    free(r->sets);
    free(r->busy);
}

static fdec_status make_kernels(const fdec_plan *plan, struct ready *r, int launch, cl_program program)
{
    const char *entry = r->choice.kernel->entry[launch];
    cl_int err = CL_SUCCESS;
    for (int s = 0; s < plan->n_sets && !err; s++)
        r->sets[s][launch] = clCreateKernel(program, entry, &err);
    return err ? fail_cl_text(err, "clCreateKernel(%s): %s (%d)", entry, cl_error_name(err), (int) err) : FDEC_OK;
}

static fdec_status make_launch(fdec_plan *plan, struct ready *r, int launch, cl_program *common)
{
    const struct kernel *k = r->choice.kernel;
    const bool is_apart = program_is_apart(plan->ctx, k, &plan->problem, launch);
    cl_program own = NULL, *program = is_apart ? &own : common;
    fdec_status st = FDEC_OK;
    if (!*program)
        try_st(program_get(plan->ctx, k, &plan->problem, r->choice.cfg, launch, program));
    st = make_kernels(plan, r, launch, *program);
out:
    if (own)
        clReleaseProgram(own);
    return st;
}

static fdec_status make_ready(fdec_plan *plan, struct ready *r)
{
    fdec_status st = FDEC_OK;
    cl_program common = NULL;
    r->sets = calloc((size_t) plan->n_sets, sizeof *r->sets);
    r->busy = calloc((size_t) plan->n_sets, sizeof *r->busy);
    try_alloc(r->sets);
    try_alloc(r->busy);
    for (int s = 0; s < plan->n_sets; s++)
        atomic_flag_clear(&r->busy[s]);
    for (int i = 0; i < count_entries(r->choice.kernel); i++)
        try_st(make_launch(plan, r, i, &common));
out:
    if (common)
        clReleaseProgram(common);
    return st;
}

struct problem plan_largest_in(const fdec_plan *plan, const struct range *r)
{
    struct problem largest = plan->problem;
    int64_t at[N_RANGES];
    problem_range(&largest, at);
    for (int i = 0; i < N_RANGES; i++)
        at[i] = MIN(at[i], r->hi[i] - 1);
    problem_set_range(&largest, at);
    return largest;
}

static void log_choice(const fdec_plan *plan, const struct choice *c)
{
    char text[PROBLEM_TEXT], config[160];
    problem_print(&plan->problem, text);
    kernel_print_config(c->kernel, c->cfg, config, sizeof config);
    log_line(&plan->ctx->log, LOG_SELECT, "%s -> %s %s: %s", text, c->kernel->name, config, c->reason);
}

static fdec_status make_counts(fdec_plan *plan)
{
    static const cl_uint zeros[16];
    const int n = operations[plan->problem.op].n_counts;
    cl_int err = CL_SUCCESS;
    if (n)
        plan->counts = clCreateBuffer(plan->ctx->context, CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR,
                                      (size_t) n * sizeof *zeros, (void *) zeros, &err);
    return err ? fail_cl(err, "clCreateBuffer(counters)") : FDEC_OK;
}

static void add_workspace(fdec_plan *plan, const struct choice *c)
{
    const struct problem largest = plan_largest_in(plan, &c->range);
    const size_t bytes = c->kernel->geometry(&largest, &plan->ctx->device, c->cfg).workspace_bytes;
    plan->workspace_bytes = MAX(plan->workspace_bytes, bytes);
}

/* Room for what fdec_attn_adapt may move the plan to: the size is constant for the plan's life. */
static void add_workspace_of_online(fdec_plan *plan, const struct want *want)
{
    const fdec_ctx *ctx = plan->ctx;
    struct choice choices[MAX_CHOICES];
    int n = 0;
    if (!plan_may_move(plan) || (want && want->kernel))
        return;
    const struct want online = {.family = "online", .no_table = want && want->no_table};
    if (select_choices(&plan->problem, &online, &ctx->device, &plan->tables->set, ctx->denied, choices, &n) == FDEC_OK)
        for (int i = 0; i < n; i++)
            add_workspace(plan, &choices[i]);
}

bool plan_may_move(const fdec_plan *plan)
{
    bool unified = false;
    for (int i = 0; i < plan->n_ready; i++)
        unified = unified || !strcmp(plan->ready[i].choice.kernel->family, "unified");
    return unified && plan->problem.op == OP_ATTN && !plan->problem.attn.invariant;
}

static void count_plan(fdec_ctx *ctx, enum level level)
{
    pthread_mutex_lock(&ctx->lock);
    ctx->counters.plans_at_level[level]++;
    pthread_mutex_unlock(&ctx->lock);
}

/* tables: one of their users is the plan, also where it fails. */
static fdec_status create(fdec_ctx *ctx, struct tables *tables, const struct problem *p, const struct want *want,
                          uint32_t max_concurrent, fdec_plan **out)
{
    fdec_status st = FDEC_OK;
    struct choice choices[MAX_CHOICES];
    fdec_plan *plan = calloc(1, sizeof *plan);
    if (!plan)
        ctx_release_tables(ctx, tables);
    try_alloc(plan);
    plan->ctx = ctx;
    plan->tables = tables;
    plan->problem = *p;
    require("plan", max_concurrent <= MAX_CONCURRENT);
    plan->n_sets = max_concurrent ? (int) max_concurrent : DEFAULT_CONCURRENT;
    try_st(select_choices(p, want, &ctx->device, &tables->set, ctx->denied, choices, &plan->n_ready));
    try_st(record_start(plan));
    for (int i = 0; i < plan->n_ready; i++) {
        plan->ready[i].choice = choices[i];
        log_choice(plan, &choices[i]);
        try_st(make_ready(plan, &plan->ready[i]));
        add_workspace(plan, &choices[i]);
    }
    add_workspace_of_online(plan, want);
    try_st(make_counts(plan));
    count_plan(ctx, choices[0].level);
    *out = plan;
    plan = NULL;
out:
    fdec_plan_destroy(&plan);
    return st;
}

fdec_status plan_create(fdec_ctx *ctx, const struct problem *p, const struct want *want, uint32_t max_concurrent,
                        fdec_plan **out)
{
    return create(ctx, ctx_hold_tables(ctx), p, want, max_concurrent, out);
}

fdec_status plan_create_like(const fdec_plan *plan, const struct want *want, fdec_plan **out)
{
    fdec_ctx *ctx = plan->ctx;
    pthread_mutex_lock(&ctx->tables_lock);
    plan->tables->n_users++;
    pthread_mutex_unlock(&ctx->tables_lock);
    return create(ctx, plan->tables, &plan->problem, want, (uint32_t) plan->n_sets, out);
}

void fdec_plan_destroy(fdec_plan **plan)
{
    if (!plan || !*plan)
        return;
    fdec_plan_destroy(&(*plan)->adaption.online);
    for (int i = 0; i < (*plan)->n_ready; i++)
        release_ready(&(*plan)->ready[i], (*plan)->n_sets);
    ctx_release_tables((*plan)->ctx, (*plan)->tables);
    if ((*plan)->counts)
        clReleaseMemObject((*plan)->counts);
    free((*plan)->recorded);
    free(*plan);
    *plan = NULL;
}

size_t fdec_plan_workspace_bytes(const fdec_plan *plan)
{
    return plan ? plan->workspace_bytes : 0;
}

const struct ready *plan_pick(const fdec_plan *plan, const struct problem *p, struct geometry *g)
{
    int64_t at[N_RANGES];
    problem_range(p, at);
    const struct ready *r = &plan->ready[plan->n_ready - 1]; /* contains every point */
    for (int i = 0; i < plan->n_ready - 1; i++)
        if (range_contains(&plan->ready[i].choice.range, at)) {
            r = &plan->ready[i];
            break;
        }
    *g = r->choice.kernel->geometry(p, &plan->ctx->device, r->choice.cfg);
    return r;
}

static cl_int bind(cl_kernel kernel, const struct operation *op, const struct binding *b)
{
    cl_uint arg = 0;
    const unsigned char *scalar = b->scalars;
    for (int i = 0; i < op->n_buffers; i++) {
        cl_int err = clSetKernelArg(kernel, arg++, sizeof(cl_mem), b->mem[i] ? &b->mem[i] : NULL);
        if (!err)
            err = clSetKernelArg(kernel, arg++, sizeof(cl_ulong), &b->offset[i]);
        if (err)
            return err;
    }
    for (int i = 0; i < op->n_scalars; scalar += op->scalar_bytes[i++]) {
        const cl_int err = clSetKernelArg(kernel, arg++, op->scalar_bytes[i], scalar);
        if (err)
            return err;
    }
    static const cl_int unused; /* closes every kernel's list: the expanded ones end in a comma */
    return clSetKernelArg(kernel, arg, sizeof unused, &unused);
}

static cl_int launch(cl_command_queue queue, cl_kernel kernel, const struct launch *l, cl_uint n_wait,
                     const cl_event *wait, cl_event *event)
{
    const cl_uint dims = l->global[2] ? 3 : l->global[1] ? 2 : 1;
    return clEnqueueNDRangeKernel(queue, kernel, dims, NULL, l->global, l->local[0] ? l->local : NULL, n_wait,
                                  n_wait ? wait : NULL, event);
}

/* One after the other; *event, if wanted, is the last one's. *call names the last OpenCL call made. */
static cl_int launch_all(cl_command_queue queue, cl_kernel *set, const struct operation *op, const struct geometry *g,
                         const struct binding *b, cl_uint n_wait, const cl_event *wait, cl_event *event,
                         const char **call)
{
    cl_int err = CL_SUCCESS;
    cl_event before = NULL;
    for (int i = g->first; i < g->n_launches && !err; i++) {
        const bool last = i == g->n_launches - 1;
        cl_event done = NULL;
        *call = "clSetKernelArg";
        if ((err = bind(set[i], op, b)))
            break;
        *call = "clEnqueueNDRangeKernel";
        err = launch(queue, set[i], &g->launch[i], i > g->first ? 1 : n_wait, i > g->first ? &before : wait,
                     last && !event ? NULL : &done);
        if (before)
            clReleaseEvent(before);
        before = done;
    }
    if (err && before)
        clReleaseEvent(before);
    else if (event)
        *event = before;
    return err;
}

static int take_set(const struct ready *r, int n_sets)
{
    for (int s = 0; s < n_sets; s++)
        if (!atomic_flag_test_and_set_explicit(&r->busy[s], memory_order_acquire))
            return s;
    return -1;
}

/* FLASHDEC_TABLE_ONLY=1: what was not measured on this very device is an error. */
static fdec_status check_measured(const fdec_plan *plan, const struct choice *c, const struct problem *p)
{
    char text[PROBLEM_TEXT];
    if (!plan->ctx->table_only || !op_is_tuned(p->op) || c->level <= LEVEL_OTHER_DRIVER)
        return FDEC_OK;
    problem_print(p, text);
    return fail(FDEC_E_UNSUPPORTED, "%s: FLASHDEC_TABLE_ONLY=1, and %s (level %d)", text, c->reason, (int) c->level);
}

fdec_status plan_enqueue(const fdec_plan *plan, const struct ready *r, const struct geometry *g,
                         const struct problem *p, const struct binding *b, cl_command_queue queue, cl_uint n_wait,
                         const cl_event *wait, cl_event *event)
{
    const struct kernel *k = r->choice.kernel;
    const fdec_status measured = check_measured(plan, &r->choice, p);
    if (measured != FDEC_OK)
        return measured;
    const int s = take_set(r, plan->n_sets);
    if (s < 0)
        return fail(FDEC_E_MEMORY, "%s: more than max_concurrent = %d runs at the same moment", k->name, plan->n_sets);
    cl_event first = NULL;
    const char *call = "";
    cl_int err =
        launch_all(queue, r->sets[s], &operations[k->op], g, b, n_wait, wait, k->host_run ? &first : event, &call);
    atomic_flag_clear_explicit(&r->busy[s], memory_order_release);
    if (!err && k->host_run) {
        const struct host_call host = {p, b, queue, first ? 1 : n_wait, first ? &first : wait, event};
        pthread_mutex_lock(&plan->ctx->host_lock);
        call = "host_run";
        err = k->host_run(&host);
        pthread_mutex_unlock(&plan->ctx->host_lock);
    }
    if (first)
        clReleaseEvent(first);
    if (!err) {
        record_run(plan, p);
        return FDEC_OK;
    }
    char text[96];
    snprintf(text, sizeof text, "%s(%s)", call, k->name);
    return fail_cl(err, text);
}
