/* SPDX-License-Identifier: MIT
 * linear.h - arguments of every linear kernel: y[M,N] = x[M,K] W[N,K]^T + bias + residual */
#ifndef LINEAR_H
#define LINEAR_H
#include "common.h"

#define LINEAR_BUFFERS(X) \
    X(const float, x)        /* [M, K] */ \
    X(const W_T, w)          /* [N, K] */ \
    X(const float, bias)     /* [N]; optional */ \
    X(const float, residual) /* [M, N]; optional, may be y */ \
    X(float, y)              /* [M, N] */ \
    X(float, work)           /* split-K partials: layout in linear.cl */

#define LINEAR_SCALARS(X) \
    X(i32, m) \
    X(i32, n) \
    X(i32, k) \
    X(i32, n_splits) /* geometry.n_splits: parts of K */

#ifndef __OPENCL_VERSION__
enum linear_buffer { LINEAR_X, LINEAR_W, LINEAR_BIAS, LINEAR_RESIDUAL, LINEAR_Y, LINEAR_WORK, LINEAR_N_BUFFERS };
struct linear_scalars {
    LINEAR_SCALARS(SCALAR_MEMBER)
};
#endif
#endif
