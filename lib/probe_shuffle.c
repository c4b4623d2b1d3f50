/* SPDX-License-Identifier: MIT
 * probe_shuffle.c - a way to another work-item's registers, found by compiling and running probe_shuffle.cl
 *
 * A compiler is only asked in words that its platform's extensions say it knows: others have died of the question. */
#include "ctx.h"
#include "shuffle.h"

#include <stdlib.h>
#include <string.h>

extern const struct source cl_probe_shuffle;

enum { ITEMS = 64, TESTS = 4 };

static bool is_right(const float out[TESTS][ITEMS])
{
    for (int i = 0; i < ITEMS; i++) {
        const int first = i / SHUFFLE_LANES * SHUFFLE_LANES;
        float sum = 0, most = -1e30f;
        for (int k = first; k < first + SHUFFLE_LANES; k++) {
            sum += (float) (k * k + 1); /* whole numbers: exact in any order */
            most = MAX(most, (float) -(k * k + 1));
        }
        const int by_1 = i ^ 1, by_16 = i ^ 16;
        if (out[0][i] != (float) (by_1 * by_1 + 1) || out[1][i] != (float) (by_16 * by_16 + 1) || out[2][i] != sum ||
            out[3][i] != most)
            return false;
    }
    return true;
}

static fdec_status run(fdec_ctx *ctx, cl_program program, float out[TESTS][ITEMS])
{
    fdec_status st = FDEC_OK;
    cl_int err;
    cl_kernel kernel = NULL;
    cl_mem mem = NULL;
    const size_t items = ITEMS, bytes = TESTS * ITEMS * sizeof(float);
    cl_command_queue queue = clCreateCommandQueue(ctx->context, ctx->device_id, 0, &err);
    try_made(err, "clCreateCommandQueue");
    kernel = clCreateKernel(program, "probe_shuffle", &err);
    try_made(err, "clCreateKernel");
    mem = clCreateBuffer(ctx->context, CL_MEM_READ_WRITE, bytes, NULL, &err);
    try_made(err, "clCreateBuffer");
    try_cl(clSetKernelArg(kernel, 0, sizeof mem, &mem));
    try_cl(clEnqueueNDRangeKernel(queue, kernel, 1, NULL, &items, &items, 0, NULL, NULL));
    try_cl(clEnqueueReadBuffer(queue, mem, CL_TRUE, 0, bytes, out, 0, NULL, NULL));
out:
    if (mem)
        clReleaseMemObject(mem);
    if (kernel)
        clReleaseKernel(kernel);
    if (queue)
        clReleaseCommandQueue(queue);
    return st;
}

static bool works(fdec_ctx *ctx, int shuffle, int wave)
{
    char options[256];
    float out[TESTS][ITEMS] = {{0}};
    cl_program program = NULL;
    snprintf(options, sizeof options, "%s -DSHUFFLE=%d -DWAVE=%d", program_standard(shuffle), shuffle, wave);
    const bool right = program_build(ctx, &cl_probe_shuffle, options, &program) == FDEC_OK &&
                       run(ctx, program, out) == FDEC_OK && is_right((const float(*)[ITEMS]) out);
    if (program)
        clReleaseProgram(program);
    return right;
}

fdec_status probe_shuffle(fdec_ctx *ctx, int32_t *shuffle)
{
    char *extensions = NULL;
    fdec_status st = FDEC_OK;
    *shuffle = SHUFFLE_NONE;
    if (ctx->device.max_wg < ITEMS)
        return FDEC_OK;
    try_st(device_extensions(ctx->device_id, &extensions));
    const int asked =
        strstr(extensions, "cl_nv_")    ? SHUFFLE_PTX
        : strstr(extensions, "cl_amd_") ? SHUFFLE_AMD
        : strstr(extensions, "cl_khr_subgroup_shuffle") && strstr(extensions, "cl_intel_required_subgroup_size")
            ? SHUFFLE_KHR
            : SHUFFLE_NONE;
    if (asked != SHUFFLE_NONE && works(ctx, asked, SHUFFLE_LANES))
        *shuffle = asked;
    if (asked != SHUFFLE_NONE)
        log_line(&ctx->log, LOG_SELECT, "probe: shuffle %d %s", asked, *shuffle ? "works" : "does not work here");
out:
    free(extensions);
    return st;
}
