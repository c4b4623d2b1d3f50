/* SPDX-License-Identifier: MIT
 * small.h - arguments of the small operations; they live in one program, so that a model needs one build for all of
 * them */
#ifndef SMALL_H
#define SMALL_H
#include "common.h"

/* y[b,i] = w[i] * x[b,i] / sqrt(mean_i(x[b,i]^2) + eps) */
#define RMSNORM_BUFFERS(X) X(const float, x) X(const float, w) X(float, y)
#define RMSNORM_SCALARS(X) X(i32, rows) X(i32, cols) X(f32, eps)

/* y = gate / (1 + e^-gate) * up */
#define SWIGLU_BUFFERS(X) X(const float, gate) X(const float, up) X(float, y)
#define SWIGLU_SCALARS(X) X(u64, n)

/* y = a + b */
#define ADD_BUFFERS(X) X(const float, a) X(const float, b) X(float, y)
#define ADD_SCALARS(X) X(u64, n)

/* ids[r] = argmax x[r] */
#define ARGMAX_BUFFERS(X) X(const float, x) X(int, ids)
#define ARGMAX_SCALARS(X) X(i32, rows) X(i32, cols)

/* out[r] and lse[r]: the attention whose parts have part[i,r] and lse_in[i,r] */
#define MERGE_BUFFERS(X) X(const float, part) X(const float, lse_in) X(float, out) X(float, lse)
#define MERGE_SCALARS(X) X(i32, rows) X(i32, dim) X(i32, n_parts)

#ifndef __OPENCL_VERSION__
struct rmsnorm_scalars { RMSNORM_SCALARS(SCALAR_MEMBER) };
struct swiglu_scalars { SWIGLU_SCALARS(SCALAR_MEMBER) };
struct add_scalars { ADD_SCALARS(SCALAR_MEMBER) };
struct argmax_scalars { ARGMAX_SCALARS(SCALAR_MEMBER) };
struct merge_scalars { MERGE_SCALARS(SCALAR_MEMBER) };
#endif
#endif
