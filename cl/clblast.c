/* SPDX-License-Identifier: MIT
 * clblast.c - the conventional GEMM of another library: y = bias + residual (linear_start), then CLBlast adds x W^T
 *
 * CLBlast compiles at its first call, may allocate and copy W, and is not safe to call from several threads: the engine
 * holds the context's host lock around it. Its half GEMM accumulates in half, so f32 only. */
#include "registry.h"
#include "linear.h"
#include <clblast_c.h>

/* CLBlast counts elements in a C int. */
static const char *clblast_reject(const struct problem *p, const struct device *d, const int *cfg)
{
    const struct linear_problem *l = &p->linear;
    const int64_t limit = INT32_MAX;
    (void) d, (void) cfg;
    if (!linear_is_plain(l))
        return "CLBlast computes y = x W^T + bias + residual of one f32 weight alone";
    if (l->w_layout != FDEC_W_STORED)
        return "CLBlast reads weights as they are stored";
    if (l->stats)
        return "CLBlast makes no records of y";
    if (l->invariant)
        return "CLBlast chooses its kernel by M";
    if (l->w_type != FDEC_F32)
        return "CLBlast is used for f32 weights only: its half accumulates in half";
    if (l->m > limit / l->k || l->n > limit / l->k || l->m > limit / l->n)
        return "an operand has 2^31 elements or more";
    return NULL;
}

/* Never the analytic default: its calls lock and copy, so it has to be measured to be chosen. */
static double clblast_expect(const struct problem *p, const struct device *d, int *cfg)
{
    (void) cfg;
    return (d->cpu_like ? 0.25 : 0.45) * (double) p->linear.m / (double) (p->linear.m + 64);
}

static void clblast_define(const struct problem *p, char *opt)
{
    (void) p;
    append(opt, MAX_DEFINES, " -DLINEAR_START -DX_TYPE=f32 -DW_TYPE=f32 -DY_TYPE=f32 -DGLU=0 -DSTATS=0");
}

static struct geometry clblast_geometry(const struct problem *p, const struct device *d, const int *cfg)
{
    const size_t wg = MIN((size_t) 64, d->max_wg);
    (void) cfg;
    return (struct geometry){
        .n_launches = 1,
        .launch = {{.global = {(size_t) round_up(p->linear.m * p->linear.n, (int64_t) wg)}, .local = {wg}}},
        .n_splits = 1,
    };
}

/* CLBlast's own numbers lie below -1000; the others are OpenCL's. */
static cl_int cl_error_of(CLBlastStatusCode code)
{
    if (code > -1000)
        return (cl_int) code;
    switch (code) {
    case CLBlastInsufficientMemoryTemp:
    case CLBlastInvalidLocalMemUsage: return CL_OUT_OF_RESOURCES;
    case CLBlastInsufficientMemoryA:
    case CLBlastInsufficientMemoryB:
    case CLBlastInsufficientMemoryC: return CL_INVALID_BUFFER_SIZE;
    default: return CL_INVALID_OPERATION;
    }
}

/* The barrier orders CLBlast's kernels after linear_start on an out-of-order queue: CLBlast takes no wait list. */
static cl_int clblast_run(const struct host_call *call)
{
    const struct linear_problem *l = &call->problem->linear;
    const struct binding *b = call->binding;
    const cl_ulong limit = INT32_MAX;
    const size_t m = (size_t) l->m, n = (size_t) l->n, k = (size_t) l->k;
    const cl_ulong x = b->offset[LINEAR_X] / sizeof(float), w = b->offset[LINEAR_W] / sizeof(float),
                   y = b->offset[LINEAR_Y] / sizeof(float);
    cl_command_queue queue = call->queue;
    if (x + m * k > limit || w + n * k > limit || y + m * n > limit)
        return CL_INVALID_BUFFER_SIZE;
    cl_int err = clEnqueueBarrierWithWaitList(queue, 0, NULL, NULL);
    if (err == CL_SUCCESS)
        err = cl_error_of(CLBlastSgemm(CLBlastLayoutRowMajor, CLBlastTransposeNo, CLBlastTransposeYes, m, n, k, 1.0f,
                                       b->mem[LINEAR_X], x, k, b->mem[LINEAR_W], w, k, 1.0f, b->mem[LINEAR_Y], y, n,
                                       &queue, call->event));
    return err;
}

const struct kernel linear_clblast = {
    .name = "linear/clblast",
    .rev = 2,
    .op = OP_LINEAR,
    .family = "gemm",
    .source = &cl_linear,
    .entry = {"linear_start"},
    .reject = clblast_reject,
    .expect = clblast_expect,
    .define = clblast_define,
    .geometry = clblast_geometry,
    .host_run = clblast_run,
};
