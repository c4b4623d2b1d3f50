/* SPDX-License-Identifier: MIT
 * probe.c - what a device can do, by compiling and running probe.cl; the answers are kept in the disk cache */
#include "ctx.h"

#include <stdlib.h>
#include <string.h>

extern const struct source cl_probe, cl_probe_matrix, cl_probe_shuffle;

enum { WG = 64, N_GROUPS = 64, STREAM_VECTORS = 1 << 17, ROUNDS = 7 }; /* 8 MiB of float16 */

struct answers {
    int32_t cpu_like, fp16_storage, prefetch;
};

struct probe {
    cl_command_queue queue;
    cl_program program;
    cl_mem data, out, halves;
};

static fdec_status make_stream(const struct probe *p, const char *entry, cl_kernel *kernel)
{
    fdec_status st = FDEC_OK;
    cl_int err;
    const cl_int n = STREAM_VECTORS;
    *kernel = clCreateKernel(p->program, entry, &err);
    try_made(err, "clCreateKernel");
    try_cl(clSetKernelArg(*kernel, 0, sizeof p->data, &p->data));
    try_cl(clSetKernelArg(*kernel, 1, sizeof p->out, &p->out));
    try_cl(clSetKernelArg(*kernel, 2, sizeof n, &n));
out:
    return st;
}

static fdec_status time_stream(const struct probe *p, cl_kernel kernel, size_t local, double *least_ms)
{
    fdec_status st = FDEC_OK;
    const size_t global = N_GROUPS * local;
    const double start = now_ms();
    try_cl(clEnqueueNDRangeKernel(p->queue, kernel, 1, NULL, &global, &local, 0, NULL, NULL));
    try_cl(clFinish(p->queue));
    const double took = now_ms() - start;
    *least_ms = MIN(*least_ms, took);
out:
    return st;
}

/* The shortest times of both, in turns: a busy machine slows both down. The first round may still compile. */
static fdec_status time_streams(const struct probe *p, double *vec_ms, double *wg_ms)
{
    fdec_status st = FDEC_OK;
    cl_kernel vec = NULL, wg = NULL;
    *vec_ms = *wg_ms = 1e30;
    try_st(make_stream(p, "stream_vec", &vec));
    try_st(make_stream(p, "stream_wg", &wg));
    for (int i = 0; i <= ROUNDS; i++) {
        try_st(time_stream(p, vec, 1, vec_ms));
        try_st(time_stream(p, wg, WG, wg_ms));
    }
out:
    if (vec)
        clReleaseKernel(vec);
    if (wg)
        clReleaseKernel(wg);
    return st;
}

/* What the driver calls itself decides unless the times say clearly otherwise. */
static bool decide_cpu_like(cl_device_type type, double vec_ms, double wg_ms)
{
    const double clearly = 1.5;
    return vec_ms < wg_ms * (type & CL_DEVICE_TYPE_CPU ? clearly : type & CL_DEVICE_TYPE_GPU ? 1 / clearly : 1);
}

static fdec_status run_facts(const struct probe *p, struct answers *a)
{
    /* exact in 16 bits: normal, subnormal, largest, signs */
    static const float values[16] = {
        0,   1,  -1,  0.5f, 65504, -65504, 6.103515625e-5f, 5.9604644775390625e-8f, 2, 3, 1024, -0.25f, 0.333251953125f,
        100, -7, 2048};
    fdec_status st = FDEC_OK;
    cl_int err, got[3] = {0};
    const size_t one = 1;
    cl_kernel kernel = clCreateKernel(p->program, "facts", &err);
    try_made(err, "clCreateKernel");
    try_cl(clEnqueueWriteBuffer(p->queue, p->data, CL_TRUE, 0, sizeof values, values, 0, NULL, NULL));
    try_cl(clSetKernelArg(kernel, 0, sizeof p->out, &p->out));
    try_cl(clSetKernelArg(kernel, 1, sizeof p->data, &p->data));
    try_cl(clSetKernelArg(kernel, 2, sizeof p->halves, &p->halves));
    try_cl(clEnqueueNDRangeKernel(p->queue, kernel, 1, NULL, &one, &one, 0, NULL, NULL));
    try_cl(clEnqueueReadBuffer(p->queue, p->out, CL_TRUE, 0, sizeof got, got, 0, NULL, NULL));
    if (got[0] != 1) {
        st = fail(FDEC_E_DEVICE, "the device runs kernels but their results do not arrive (probe)");
        goto out;
    }
    a->prefetch = got[1] == 1;
    a->fp16_storage = got[2] == 1;
out:
    if (kernel)
        clReleaseKernel(kernel);
    return st;
}

static fdec_status ask_device(fdec_ctx *ctx, struct answers *a)
{
    fdec_status st = FDEC_OK;
    cl_int err;
    double vec_ms, wg_ms;
    const size_t bytes = (size_t) STREAM_VECTORS * 64;
    struct probe p = {0};
    float *zeros = calloc(1, bytes);
    try_alloc(zeros);
    p.queue = clCreateCommandQueue(ctx->context, ctx->device_id, 0, &err);
    try_made(err, "clCreateCommandQueue");
    try_st(program_build(ctx, &cl_probe, PROGRAM_OPTIONS, &p.program));
    p.data = clCreateBuffer(ctx->context, CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR, bytes, zeros, &err);
    try_made(err, "clCreateBuffer");
    p.out = clCreateBuffer(ctx->context, CL_MEM_READ_WRITE, N_GROUPS * sizeof(float), NULL, &err);
    try_made(err, "clCreateBuffer");
    p.halves = clCreateBuffer(ctx->context, CL_MEM_READ_WRITE, 16 * sizeof(cl_half), NULL, &err);
    try_made(err, "clCreateBuffer");
    try_st(run_facts(&p, a));
    a->cpu_like = true;
    if (ctx->device.max_wg >= WG) {
        try_st(time_streams(&p, &vec_ms, &wg_ms));
        a->cpu_like = decide_cpu_like(ctx->device.type, vec_ms, wg_ms);
        log_line(&ctx->log, LOG_SELECT, "probe: one work-item with vectors %.3f ms, a group %.3f ms: %s-like", vec_ms,
                 wg_ms, a->cpu_like ? "CPU" : "GPU");
    }
out:
    free(zeros);
    if (p.data)
        clReleaseMemObject(p.data);
    if (p.out)
        clReleaseMemObject(p.out);
    if (p.halves)
        clReleaseMemObject(p.halves);
    if (p.program)
        clReleaseProgram(p.program);
    if (p.queue)
        clReleaseCommandQueue(p.queue);
    return st;
}

fdec_status ctx_probe(fdec_ctx *ctx)
{
    struct answers a = {0};
    int32_t shuffle = 0;
    struct matrix_unit unit = {0};
    if (!cache_load(ctx, "probe", cl_probe.text, &a, sizeof a)) {
        const fdec_status st = ask_device(ctx, &a);
        if (st != FDEC_OK)
            return st;
        cache_store(ctx, "probe", cl_probe.text, &a, sizeof a);
    }
    if (!cache_load(ctx, "shuffle", cl_probe_shuffle.text, &shuffle, sizeof shuffle)) {
        const fdec_status st = probe_shuffle(ctx, &shuffle);
        if (st != FDEC_OK)
            return st;
        cache_store(ctx, "shuffle", cl_probe_shuffle.text, &shuffle, sizeof shuffle);
    }
    if (!cache_load(ctx, "matrix", cl_probe_matrix.text, &unit, sizeof unit)) {
        const fdec_status st = probe_matrix(ctx, &unit);
        if (st != FDEC_OK)
            return st;
        cache_store(ctx, "matrix", cl_probe_matrix.text, &unit, sizeof unit);
    }
    ctx->device.cpu_like = a.cpu_like;
    ctx->device.fp16_storage = a.fp16_storage;
    ctx->device.prefetch = a.prefetch;
    ctx->device.shuffle = shuffle;
    ctx->device.wave = 32;
    ctx->device.matrix = unit.dialect;
    ctx->device.matrix_f16 = unit.f16;
    return FDEC_OK;
}

/* Names and revisions of all variants: a self-test speaks of these and no others. */
static void all_kernels(char *buf, size_t n)
{
    *buf = 0;
    for (int i = 0; kernels[i]; i++)
        append(buf, n, "%s@%u ", kernels[i]->name, kernels[i]->rev);
}

void ctx_load_denied(fdec_ctx *ctx)
{
    char text[2048];
    all_kernels(text, sizeof text);
    if (program_override_dir() || !cache_load(ctx, "denied", text, ctx->denied, sizeof ctx->denied))
        return;
    for (int i = 0; kernels[i]; i++)
        ctx->counters.kernels_denied += ctx->denied[i];
}

void ctx_store_denied(fdec_ctx *ctx, const bool denied[MAX_KERNELS])
{
    char text[2048];
    all_kernels(text, sizeof text);
    if (!program_override_dir())
        cache_store(ctx, "denied", text, denied, sizeof ctx->denied);
}
