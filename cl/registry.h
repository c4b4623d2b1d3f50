/* SPDX-License-Identifier: MIT
 * registry.h - the sources and descriptions that registry.c lists; read by the descriptions alone */
#ifndef REGISTRY_H
#define REGISTRY_H
#include "kernel.h"
#include "util.h"

extern const struct source cl_append, cl_attn, cl_embed, cl_linear, cl_pack, cl_sample, cl_softmax, cl_small;

extern const struct kernel attn_vec_unified, attn_vec_online, attn_vec_pair; /* wide vectors: CPU-like */
extern const struct kernel attn_wg_unified, attn_wg_online, attn_wg_pair;    /* work-groups: GPU-like */
extern const struct kernel attn_mma_unified, attn_mma_online, attn_mma_pair; /* matrix units */

extern const struct kernel linear_vec_gemv, linear_vec_flat, linear_vec_tokens, linear_vec_gemm, linear_vec_panel,
    linear_wg_gemv, linear_wg_flat, linear_wg_gemm, linear_mma_flat;
extern const struct kernel linear_pack;
#ifdef HAVE_CLBLAST
extern const struct kernel linear_clblast;
#endif

extern const struct kernel softmax_three_pass, softmax_online, softmax_two_pass;

extern const struct kernel small_rmsnorm, small_swiglu, small_add, small_argmax, small_attn_merge;

extern const struct kernel append_group, embed_group, sample_tiles;
#endif
