/* SPDX-License-Identifier: MIT
 * registry.c - every operation and every kernel variant there is
 *
 * The selector, the tuner, the tests and the benchmark walk these lists. Order is preference among equals. */
#include "registry.h"
#include "append.h"
#include "attn.h"
#include "embed.h"
#include "linear.h"
#include "pack.h"
#include "sample.h"
#include "softmax.h"
#include "small.h"

/* clang-format off */
#define ONE(type, name)           +1
#define OPERATION(text, buffers, scalars, ...) \
    {.name = text, .n_buffers = 0 buffers, .n_scalars = 0 scalars(ONE), .scalar_bytes = {scalars(SCALAR_BYTES)}, \
     __VA_ARGS__}

const struct operation operations[OP_COUNT] = {
    [OP_ATTN]        = OPERATION("attn", ATTN_BUFFERS(ONE), ATTN_SCALARS, .n_counts = ATTN_N_COUNTS),
    [OP_LINEAR]      = OPERATION("linear", LINEAR_BUFFERS(ONE), LINEAR_SCALARS, .n_counts = 0),
    [OP_LINEAR_PACK] = OPERATION("linear_pack", PACK_BUFFERS(ONE), PACK_SCALARS, .n_counts = 0),
    [OP_SOFTMAX]     = OPERATION("softmax", SOFTMAX_BUFFERS(ONE), SOFTMAX_SCALARS, .n_counts = 0),
    [OP_RMSNORM]     = OPERATION("rmsnorm", RMSNORM_BUFFERS(ONE), RMSNORM_SCALARS, .n_counts = 0),
    [OP_ROPE_APPEND] = OPERATION("rope_append", APPEND_BUFFERS(ONE), APPEND_SCALARS, .n_counts = 0),
    [OP_SWIGLU]      = OPERATION("swiglu", SWIGLU_BUFFERS(ONE), SWIGLU_SCALARS, .n_counts = 0),
    [OP_ADD]         = OPERATION("add", ADD_BUFFERS(ONE), ADD_SCALARS, .n_counts = 0),
    [OP_EMBED]       = OPERATION("embed", EMBED_BUFFERS(ONE), EMBED_SCALARS, .n_counts = 0),
    [OP_ARGMAX]      = OPERATION("argmax", ARGMAX_BUFFERS(ONE), ARGMAX_SCALARS, .n_counts = 0),
    [OP_SAMPLE]      = OPERATION("sample", SAMPLE_BUFFERS(ONE), SAMPLE_SCALARS, .n_counts = 0),
    [OP_ATTN_MERGE]  = OPERATION("attn_merge", MERGE_BUFFERS(ONE), MERGE_SCALARS, .n_counts = 0),
};

const struct kernel *const kernels[] = {
    &attn_vec_unified, &attn_vec_online, &attn_vec_pair, &attn_wg_unified, &attn_wg_online, &attn_wg_pair,
    &attn_mma_unified, &attn_mma_online, &attn_mma_pair,
    &linear_vec_gemv, &linear_vec_flat, &linear_vec_tokens, &linear_vec_gemm, &linear_vec_panel,
    &linear_wg_gemv, &linear_wg_flat, &linear_wg_gemm, &linear_mma_flat,
#ifdef HAVE_CLBLAST
    &linear_clblast,
#endif
    &linear_pack,
    &softmax_three_pass, &softmax_online, &softmax_two_pass,
    &append_group, &embed_group, &sample_tiles,
    &small_rmsnorm, &small_swiglu, &small_add, &small_argmax, &small_attn_merge,
    NULL,
};
