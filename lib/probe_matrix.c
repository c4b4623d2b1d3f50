/* SPDX-License-Identifier: MIT
 * probe_matrix.c - which dialect of mma.h gives right products on a device, by compiling and running probe_matrix.cl
 *
 * A compiler that does not know a dialect may do worse than refuse it. So a dialect is asked for only where the driver
 * has extensions of its maker, whose compilers refuse in good order. */
#include "ctx.h"
#include "mma.h"

#include <stdlib.h>
#include <string.h>

extern const struct source cl_probe_matrix;

enum { ROWS = MMA_M, COLS = MMA_K, MAX_TOKENS = 16 };

static const struct {
    int dialect;
    const char *extension; /* the beginning of one that such drivers have */
} dialects[] = {
    {MATRIX_PTX, "cl_nv_"}, {MATRIX_MFMA, "cl_amd_"}, {MATRIX_WMMA, "cl_amd_"}, {MATRIX_WMMA_GFX12, "cl_amd_"}};

struct matrix_case {
    uint16_t w[ROWS * COLS], x[MAX_TOKENS * COLS];
    float want[MAX_TOKENS * ROWS];
};

/* A quarter of n, n at most 8 either way, in f16 or bf16. */
static uint16_t quarters(int n, bool f16)
{
    const uint16_t sign = n < 0 ? 0x8000 : 0;
    int exponent = 0, m = abs(n);
    if (!m)
        return sign;
    while (m >> (exponent + 1))
        exponent++;
    const int fraction_bits = f16 ? 10 : 7, bias = f16 ? 15 : 127;
    const int fraction = (m << fraction_bits >> exponent) & ((1 << fraction_bits) - 1);
    return (uint16_t) (sign | (exponent - 2 + bias) << fraction_bits | fraction);
}

/* Sums that float32 holds exactly in any order. With f16 one product is near the end of its range, and one of the
 * smallest number: units that take subnormals for 0 are found. */
static void fill_case(struct matrix_case *c, bool f16)
{
    double w[ROWS * COLS], x[MAX_TOKENS * COLS];
    for (int i = 0; i < ROWS * COLS; i++) {
        const int n = i * 7 % 17 - 8, m = i * 5 % 13 - 6;
        w[i] = n / 4.0, c->w[i] = quarters(n, f16);
        x[i] = m / 4.0, c->x[i] = quarters(m, f16);
    }
    for (int k = 0; k < COLS && f16; k++) { /* rows 3 and 7, tokens 1 and 6: one column each */
        const int large = k == 5, small = k == 9;
        w[3 * COLS + k] = large * 60000.0, c->w[3 * COLS + k] = large ? 0x7b53 : 0;
        x[1 * COLS + k] = large * 60000.0, c->x[1 * COLS + k] = large ? 0x7b53 : 0;
        w[7 * COLS + k] = small * 0x1p-24, c->w[7 * COLS + k] = small ? 1 : 0;
        x[6 * COLS + k] = small * 0x1p-24, c->x[6 * COLS + k] = small ? 1 : 0;
    }
    for (int t = 0; t < MAX_TOKENS; t++)
        for (int r = 0; r < ROWS; r++) {
            double sum = 0;
            for (int k = 0; k < COLS; k++)
                sum += w[r * COLS + k] * x[t * COLS + k];
            c->want[t * ROWS + r] = (float) sum;
        }
}

/* One product by `program`, and the lanes of a wave as the compiler tells. */
static fdec_status run_case(fdec_ctx *ctx, cl_command_queue queue, cl_program program, size_t lanes,
                            const struct matrix_case *c, float *out, size_t *multiple)
{
    fdec_status st = FDEC_OK;
    cl_int err;
    cl_mem mem[3] = {NULL};
    const cl_mem_flags copy = CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR;
    cl_kernel kernel = clCreateKernel(program, "matrix", &err);
    try_made(err, "clCreateKernel");
    try_cl(clGetKernelWorkGroupInfo(kernel, ctx->device_id, CL_KERNEL_PREFERRED_WORK_GROUP_SIZE_MULTIPLE,
                                    sizeof *multiple, multiple, NULL));
    mem[0] = clCreateBuffer(ctx->context, copy, sizeof c->w, (void *) c->w, &err);
    try_made(err, "clCreateBuffer");
    mem[1] = clCreateBuffer(ctx->context, copy, sizeof c->x, (void *) c->x, &err);
    try_made(err, "clCreateBuffer");
    mem[2] = clCreateBuffer(ctx->context, copy, sizeof c->want, out, &err);
    try_made(err, "clCreateBuffer");
    for (cl_uint i = 0; i < 3; i++)
        try_cl(clSetKernelArg(kernel, i, sizeof mem[i], &mem[i]));
    try_cl(clEnqueueNDRangeKernel(queue, kernel, 1, NULL, &lanes, &lanes, 0, NULL, NULL));
    try_cl(clFinish(queue)); /* it may be out of order */
    try_cl(clEnqueueReadBuffer(queue, mem[2], CL_TRUE, 0, sizeof c->want, out, 0, NULL, NULL));
out:
    for (int i = 0; i < 3; i++)
        if (mem[i])
            clReleaseMemObject(mem[i]);
    if (kernel)
        clReleaseKernel(kernel);
    return st;
}

bool probe_matrix_works(fdec_ctx *ctx, cl_command_queue queue, int dialect, bool f16, bool standin)
{
    char options[128];
    struct matrix_case c;
    cl_program program = NULL;
    float out[MAX_TOKENS * ROWS] = {0};
    const size_t lanes = MMA_LANES_OF(dialect), used = sizeof *out * ROWS * MMA_N_OF(dialect);
    size_t multiple = 0;
    snprintf(options, sizeof options, PROGRAM_OPTIONS " -DMATRIX=%d -DMATRIX_STANDIN=%d -DMMA_F16=%d", dialect, standin,
             f16);
    fill_case(&c, f16);
    if (program_build(ctx, &cl_probe_matrix, options, &program))
        return false;
    const bool right = !run_case(ctx, queue, program, lanes, &c, out, &multiple) && !memcmp(out, c.want, used) &&
                       (standin || multiple == lanes);
    clReleaseProgram(program);
    log_line(&ctx->log, LOG_SELECT, "probe: matrix unit, dialect %d, %s: %s", dialect, f16 ? "f16" : "bf16",
             right ? "right" : "not right");
    return right;
}

fdec_status probe_matrix(fdec_ctx *ctx, struct matrix_unit *unit)
{
    fdec_status st = FDEC_OK;
    cl_int err;
    char *extensions = NULL;
    cl_command_queue queue = NULL;
    *unit = (struct matrix_unit){0};
    try_st(device_extensions(ctx->device_id, &extensions));
    for (size_t i = 0; i < ARRAY_LEN(dialects) && !unit->dialect; i++) {
        if (!strstr(extensions, dialects[i].extension))
            continue;
        if (!queue) {
            queue = clCreateCommandQueue(ctx->context, ctx->device_id, 0, &err);
            try_made(err, "clCreateCommandQueue");
        }
        if (probe_matrix_works(ctx, queue, dialects[i].dialect, false, false)) {
            unit->dialect = dialects[i].dialect;
            unit->f16 = probe_matrix_works(ctx, queue, unit->dialect, true, false);
        }
    }
out:
    if (queue)
        clReleaseCommandQueue(queue);
    free(extensions);
    return st;
}
