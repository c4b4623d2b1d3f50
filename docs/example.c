/* SPDX-License-Identifier: MIT
 * example.c - one step of decode attention over a ragged batch of two sequences */
#include <flashdec.h>
#include <stdio.h>
#include <stdlib.h>

enum { B = 2, H = 8, G = 2, D = 64, T = 1024 }; /* sequences, query heads, key/value heads, head_dim, capacity */

static void must(fdec_status st)
{
    if (st != FDEC_OK) {
        fprintf(stderr, "%s: %s\n", fdec_status_name(st), fdec_last_error());
        exit(1);
    }
}

static fdec_buffer device_buffer(cl_context context, size_t bytes, const void *data)
{
    return (fdec_buffer){
        clCreateBuffer(context, CL_MEM_READ_WRITE | (data ? CL_MEM_COPY_HOST_PTR : 0), bytes, (void *) data, NULL), 0};
}

int main(void)
{
    static float q[B * H * D], k[B * T * G * D], v[B * T * G * D], out[B * H * D]; /* [B,H,D] and [B,T,G,D] */
    const int lens[B] = {1000, 3};
    for (size_t i = 0; i < sizeof k / sizeof *k; i++)
        k[i] = (float) (i % 13) / 13, v[i] = (float) (i % 7);
    for (size_t i = 0; i < sizeof q / sizeof *q; i++)
        q[i] = (float) (i % 5) / 5;

    cl_platform_id platform;
    cl_device_id device;
    must(fdec_device_pick(NULL, &platform, &device)); /* FLASHDEC_DEVICE, else a GPU, else what there is */
    cl_context context = clCreateContext(NULL, 1, &device, NULL, NULL, NULL);
    cl_command_queue queue = clCreateCommandQueue(context, device, 0, NULL);
    fdec_ctx *ctx;
    must(fdec_ctx_create(context, device, NULL, &ctx));

    fdec_attn_params params =
        FDEC_ATTN_PARAMS_INIT; /* everything else is its default: contiguous f32 cache, scale, scheme */
    params.max_batch = B, params.max_len = T, params.n_heads = H, params.n_kv_heads = G, params.head_dim = D;
    fdec_plan *plan;
    must(fdec_attn_plan_create(ctx, &params, &plan));
    char why[2048];
    must(fdec_explain(plan, FDEC_TEXT, why, sizeof why, NULL));
    printf("%s", why);

    fdec_attn_args args = FDEC_ATTN_ARGS_INIT;
    args.q = device_buffer(context, sizeof q, q);
    args.k = device_buffer(context, sizeof k, k);
    args.v = device_buffer(context, sizeof v, v);
    args.lens = device_buffer(context, sizeof lens, lens);
    args.out = device_buffer(context, sizeof out, NULL);
    args.workspace = device_buffer(context, fdec_plan_workspace_bytes(plan) + 1, NULL);
    must(fdec_attn_run(plan, queue, &args, 0, NULL, NULL));
    clEnqueueReadBuffer(queue, args.out.mem, CL_TRUE, 0, sizeof out, out, 0, NULL, NULL);
    printf("sequence 0, head 0: %.4f %.4f ...   sequence 1, head 0: %.4f %.4f ...\n", out[0], out[1], out[H * D],
           out[H * D + 1]);

    fdec_plan_destroy(&plan);
    fdec_ctx_destroy(&ctx);
    return 0;
}
