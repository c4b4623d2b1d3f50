/* SPDX-License-Identifier: MIT
 * plan.h - a problem with its choices compiled, and the one way work is enqueued */
#ifndef PLAN_H
#define PLAN_H
#include "ctx.h"
#include <stdatomic.h>

/* One compiled (kernel, configuration) of a plan with max_concurrent sets of cl_kernel: clSetKernelArg is not
 * thread-safe. */
struct ready {
    struct choice choice;
    cl_kernel (*sets)[MAX_LAUNCHES]; /* [n_sets] */
    atomic_flag *busy;               /* [n_sets] */
};

/* What fdec_attn_adapt knows. */
struct adaption {
    fdec_plan *online;          /* not NULL: runs go through this plan's kernels instead */
    atomic_uint_fast64_t parts; /* (row, split) pairs enqueued under `unified` */
    uint64_t parts_before;      /* at the last decision; likewise the two below */
    uint32_t redone_before;
    bool was_high;
};

struct fdec_plan {
    fdec_ctx *ctx;
    struct tables *tables;  /* in force when it was made */
    struct problem problem; /* at its largest */
    int n_sets, n_ready;
    struct ready ready[MAX_CHOICES];
    size_t workspace_bytes;
    struct adaption adaption;
    atomic_uint_fast64_t *recorded; /* lib/record.c: bit i of [j]: range numbers up to 2^i and 2^j; NULL: not wanted */
    cl_mem counts;                  /* operation.n_counts device counters, u32, zero at the start; NULL: none */
};

/* Checks nothing about p: api_*.c does. want may be NULL. max_concurrent 0: 8. */
fdec_status plan_create(fdec_ctx *ctx, const struct problem *p, const struct want *want, uint32_t max_concurrent,
                        fdec_plan **out);
/* Another plan for the same problem, with other wishes and the same tables. */
fdec_status plan_create_like(const fdec_plan *plan, const struct want *want, fdec_plan **out);

/* FLASHDEC_RECORD: start allocates what run needs; run notes the shape of one run. */
fdec_status record_start(fdec_plan *plan);
void record_run(const fdec_plan *plan, const struct problem *p);

/* Does any choice of the plan use `unified`, so that fdec_attn_adapt may leave it? */
bool plan_may_move(const fdec_plan *plan);

/* The largest problem of the plan for which a choice can be taken. */
struct problem plan_largest_in(const fdec_plan *plan, const struct range *r);

/* Picks the choice for p (the plan's problem at this run's range) and gives its geometry. Pure. */
const struct ready *plan_pick(const fdec_plan *plan, const struct problem *p, struct geometry *g);

/* Binds and enqueues; the binding's scalars are complete. */
fdec_status plan_enqueue(const fdec_plan *plan, const struct ready *r, const struct geometry *g,
                         const struct problem *p, const struct binding *b, cl_command_queue queue, cl_uint n_wait,
                         const cl_event *wait, cl_event *event);

/* A buffer argument: present (unless optional), offset a multiple of align, offset + bytes within CL_MEM_SIZE. */
enum need { REQUIRED, OPTIONAL };
fdec_status check_buffer(const fdec_ctx *ctx, const char *who, const char *name, const fdec_buffer *b, uint64_t bytes,
                         size_t align, enum need need);
fdec_status check_queue(const fdec_ctx *ctx, const char *who, cl_command_queue queue, cl_uint n_wait,
                        const cl_event *wait);
void bind_buffer(struct binding *b, int i, const fdec_buffer *buffer);

/* Copies a caller's struct of `size` bytes into one of the library's n bytes, zero-filled. 0, or more than n with a
 * non-zero tail: FDEC_E_ARG. */
fdec_status take_struct(const char *who, void *ours, size_t n, const void *theirs);

/* For tuner, tests and benchmark: a plan exactly as fdec_*_plan_create makes it, with `want` on top. */
static inline fdec_status plan_create_problem(fdec_ctx *ctx, const struct problem *p, const struct want *want,
                                              fdec_plan **out)
{
    return plan_create(ctx, p, want, 0, out);
}
#endif
