/* SPDX-License-Identifier: MIT
 * softmax.h - arguments of every softmax kernel: y[r] = softmax(x[r]), lse[r] */
#ifndef SOFTMAX_H
#define SOFTMAX_H
#include "common.h"

#define SOFTMAX_BUFFERS(X) \
    X(const float, x) /* [rows, cols] */ \
    X(float, y)       /* [rows, cols]; may be x */ \
    X(float, lse)     /* [rows]; optional */ \
    X(float, work)    /* partials of the splits of a row: layout in softmax.cl */

#define SOFTMAX_SCALARS(X) \
    X(i32, rows) \
    X(i32, cols) \
    X(i32, n_splits) /* geometry.n_splits: parts of a row */

#ifndef __OPENCL_VERSION__
enum softmax_buffer { SOFTMAX_X, SOFTMAX_Y, SOFTMAX_LSE, SOFTMAX_WORK, SOFTMAX_N_BUFFERS };
struct softmax_scalars {
    SOFTMAX_SCALARS(SCALAR_MEMBER)
};
#endif
#endif
