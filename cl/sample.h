/* SPDX-License-Identifier: MIT
 * sample.h - arguments of the kernels that choose a column of each row of logits */
#ifndef SAMPLE_H
#define SAMPLE_H
#include "common.h"

#define SAMPLE_BUFFERS(X) \
    X(const float, x)    /* [rows, cols] */ \
    X(const uint, stats) /* [rows, tiles, 4]: tile_stats.h; optional */ \
    X(const int, recent) /* [rows, n_recent]; optional */ \
    X(const float, u)    /* [rows]; optional */ \
    X(int, ids)          /* [rows] */ \
    X(uint, work)        /* [rows, tiles, SAMPLE_WORDS] */

/* Words of the workspace for each tile: a record, one for the lists of tiles, a bit for each column. */
enum { SAMPLE_WORDS = 4 + 1 + 8 };

#define SAMPLE_SCALARS(X) \
    X(u64, seed) \
    X(u64, step) \
    X(i32, rows) \
    X(i32, cols) \
    X(i32, n_recent) \
    X(i32, greedy) \
    X(i32, top_k)           /* INT32_MAX: all */ \
    X(f32, top_p)           /* 1: all */ \
    X(f32, inv_temperature) /* of stats too */ \
    X(f32, reach)           /* what lies so far below the largest logit has no weight */ \
    X(f32, min_p_reach)     /* the same of min-p; inf: all */ \
    X(f32, penalty) \
    X(f32, inv_penalty)

#ifndef __OPENCL_VERSION__
enum sample_buffer {
    SAMPLE_X,
    SAMPLE_STATS,
    SAMPLE_RECENT,
    SAMPLE_U,
    SAMPLE_IDS,
    SAMPLE_WORK,
    SAMPLE_N_BUFFERS
};
struct sample_scalars {
    SAMPLE_SCALARS(SCALAR_MEMBER)
};
#endif
#endif
