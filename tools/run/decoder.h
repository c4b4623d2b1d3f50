/* SPDX-License-Identifier: MIT
 * decoder.h - what decode_setup.c makes and decode.c runs. Buffers, f32 unless said otherwise; R rows: the chunk, 1 in
 * decoding
 *
 *     x [R, n_embd]  the residual stream        gate, up [R, n_ff]
 *     h [R, n_embd]  normalised                 logits [n_vocab], of the last row
 *     q [R, H*D]     also attention's output    ids i32 [n_ctx + 1], count i32 [n_ctx + 1] = 0, 1, 2, ...
 *     k, v [R, G*D]  before they are appended   phi [n_layers, H], if there is one
 *     state [n_layers, H], each layer's last LSE
 *     lse [n_layers, R, H], only for calibration
 *     cache per layer [n_ctx, G, D] of kv_type */
#ifndef DECODER_H
#define DECODER_H
#include "decode.h"
#include <stdlib.h>
#include <string.h>

enum { MAX_LINEAR = 66 }; /* shapes of matrices (q, k and v, o, gate and up, down, out), times eleven types */

/* Both set d->e and return false from the function they stand in. */
#define try_fdec(d, call)                                                                                              \
    do {                                                                                                               \
        if ((call) != FDEC_OK)                                                                                         \
            return err_set((d)->e, "%s", fdec_last_error());                                                           \
    } while (0)
#define try_cl(d, call)                                                                                                \
    do {                                                                                                               \
        const cl_int code_ = (call);                                                                                   \
        if (code_ != CL_SUCCESS)                                                                                       \
            return err_set((d)->e, "%.*s: OpenCL error %d", (int) strcspn(#call, "("), #call, code_);                  \
    } while (0)

struct linear_plan {
    fdec_type type;
    uint32_t n, k;
    fdec_plan *plan;
};

struct stage { /* plans for up to `rows` rows at once */
    uint32_t rows;
    fdec_plan *attn;
    int n_linear;
    struct linear_plan linear[MAX_LINEAR];
};

struct decoder {
    struct err *e; /* of the call in progress */
    struct model *m;
    struct decode_options o;
    cl_device_id device;
    cl_context context;
    cl_command_queue queue;
    fdec_ctx *ctx;
    fdec_ops *ops;
    uint32_t rows;           /* at once, at most: the chunk, or 1 */
    fdec_plan *embed, *append;
    fdec_plan *sample;       /* NULL: the best token is taken, by argmax */
    struct stage one, chunk; /* chunk has no plans if rows is 1 */
    uint32_t n_done;         /* tokens in the cache */

    uint64_t need_bytes, largest_bytes, workspace_bytes;
    cl_mem x, h, q, k, v, gate, up, logits, ids, count, angles, state, phi, lse, workspace;
    cl_mem *cache; /* [n_layers][2]: K, V */
};

static inline fdec_buffer at(cl_mem mem, uint64_t offset_bytes)
{
    return (fdec_buffer){mem, offset_bytes};
}

fdec_plan *find_linear(const struct stage *s, const struct weight *w);
bool write_buffer(struct decoder *d, cl_mem mem, size_t bytes, const void *data);
#endif
