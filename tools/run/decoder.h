/* SPDX-License-Identifier: MIT
 * decoder.h - what decode_setup.c makes and decode.c runs. Buffers, f32 unless said otherwise; R rows: the chunk, 1 in
 * decoding
 *
 *     x [R, n_embd]  the residual stream        gate [R, n_ff], up likewise where a layer's two differ in type
 *     q [R, H*D]     also attention's output    logits [n_vocab], of the last row; stats, where tokens are sampled
 *     k, v [R, G*D]  before they are appended   ids i32 [n_ctx + 1], count i32 [n_ctx + 1] = 0, 1, 2, ...
 *     state [n_layers, H], each layer's last LSE
 *     phi [n_layers, H], if there is one
 *     lse [n_layers, R, H], only for calibration
 *     cache per layer [n_ctx, G, D] of kv_type */
#ifndef DECODER_H
#define DECODER_H
#include "decode.h"
#include <stdlib.h>
#include <string.h>

enum { MAX_PRODUCTS = 3, MAX_LINEAR = 110 }; /* of the same x; ten kinds of products, eleven types */

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

/* What one call of linear computes: y[i] = x w[i]^T for one to three weights of one type; with glu silu(x w[0]^T) times
 * x w[1]^T. x is normalised before where `norm` is not NULL. */
struct product {
    const struct weight *w[3], *norm;
    cl_mem y[3];
    bool glu, stats;
};

struct linear_plan {
    struct product of; /* its y does not matter, nor which weights of these sizes they are */
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
    uint32_t rows; /* at once, at most: the chunk, or 1 */
    fdec_plan *embed, *append;
    fdec_plan *sample;       /* NULL: the best token is taken, by argmax */
    struct stage one, chunk; /* chunk has no plans if rows is 1 */
    uint32_t n_done;         /* tokens in the cache, or on their way there */
    bool is_ahead;           /* the step that decoder_next would begin is begun */
    int32_t chosen;          /* read from the device */

    uint64_t need_bytes, largest_bytes, workspace_bytes;
    cl_mem x, q, k, v, gate, up, logits, stats, ids, count, angles, state, phi, lse, workspace;
    cl_mem *cache; /* [n_layers][2]: K, V */
};

static inline fdec_buffer at(cl_mem mem, uint64_t offset_bytes)
{
    return (fdec_buffer){mem, offset_bytes};
}

/* A layer's q, k and v, its gate and up, and logits, in as few calls as their types allow; the number of calls. */
int products_qkv(const struct decoder *d, const struct layer *l, struct product p[MAX_PRODUCTS]);
int products_ffn(const struct decoder *d, const struct layer *l, struct product p[MAX_PRODUCTS]);
struct product product_out(const struct decoder *d);
struct product product_of(const struct weight *w, cl_mem y);
fdec_plan *find_linear(const struct stage *s, const struct product *p);
bool write_buffer(struct decoder *d, cl_mem mem, size_t bytes, const void *data);
#endif
