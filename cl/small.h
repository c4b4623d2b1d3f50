/* SPDX-License-Identifier: MIT
 * small.h - arguments of the small operations; they live in one program, so that a model needs one build for all of
 * them */
#ifndef SMALL_H
#define SMALL_H
#include "common.h"

/* y[b,i] = w[i] * x[b,i] / sqrt(mean_i(x[b,i]^2) + eps) */
#define RMSNORM_BUFFERS(X) X(const float, x) X(const float, w) X(float, y)
#define RMSNORM_SCALARS(X) X(i32, rows) X(i32, cols) X(f32, eps)

/* Rotates q in place; rotated k, and v, go to token pos[b] of the cache. KV_T: the entry's, float or half
 * (ROPE_BUFFERS is expanded once per type). */
#define ROPE_BUFFERS(X, KV_T) \
    X(const u64, angles) X(const int, pos) X(float, q) X(const float, k) X(const float, v) X(const int, block_table) \
    X(KV_T, k_cache) X(KV_T, v_cache)
#define ROPE_SCALARS(X) \
    X(i64, block_stride) X(i64, token_stride) X(i64, head_stride) \
    X(i32, batch) X(i32, n_heads) X(i32, n_kv_heads) X(i32, head_dim) X(i32, rope_dim) X(i32, max_len) X(i32, neox) \
    X(i32, page_size) X(i32, max_blocks) X(i32, n_blocks)

/* y = gate / (1 + e^-gate) * up */
#define SWIGLU_BUFFERS(X) X(const float, gate) X(const float, up) X(float, y)
#define SWIGLU_SCALARS(X) X(u64, n)

/* y = a + b */
#define ADD_BUFFERS(X) X(const float, a) X(const float, b) X(float, y)
#define ADD_SCALARS(X) X(u64, n)

/* y[r] = table[ids[r]] */
#define EMBED_BUFFERS(X, TABLE_T) X(const int, ids) X(const TABLE_T, table) X(float, y)
#define EMBED_SCALARS(X) X(i32, rows) X(i32, cols) X(i32, n_rows_table)

/* ids[r] = argmax x[r] */
#define ARGMAX_BUFFERS(X) X(const float, x) X(int, ids)
#define ARGMAX_SCALARS(X) X(i32, rows) X(i32, cols)

/* ids[r] drawn from softmax(x[r] / temperature) by u[r] */
#define SAMPLE_BUFFERS(X) X(const float, x) X(const float, u) X(int, ids)
#define SAMPLE_SCALARS(X) X(i32, rows) X(i32, cols) X(f32, inv_temperature)

/* out[r] and lse[r]: the attention whose parts have part[i,r] and lse_in[i,r] */
#define MERGE_BUFFERS(X) X(const float, part) X(const float, lse_in) X(float, out) X(float, lse)
#define MERGE_SCALARS(X) X(i32, rows) X(i32, dim) X(i32, n_parts)

struct rope_scalars { ROPE_SCALARS(SCALAR_MEMBER) }; /* on the device a private one, to hand them on together */

#ifndef __OPENCL_VERSION__
struct rmsnorm_scalars { RMSNORM_SCALARS(SCALAR_MEMBER) };
struct swiglu_scalars { SWIGLU_SCALARS(SCALAR_MEMBER) };
struct add_scalars { ADD_SCALARS(SCALAR_MEMBER) };
struct embed_scalars { EMBED_SCALARS(SCALAR_MEMBER) };
struct argmax_scalars { ARGMAX_SCALARS(SCALAR_MEMBER) };
struct sample_scalars { SAMPLE_SCALARS(SCALAR_MEMBER) };
struct merge_scalars { MERGE_SCALARS(SCALAR_MEMBER) };
#endif
#endif
