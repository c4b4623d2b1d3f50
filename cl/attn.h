/* SPDX-License-Identifier: MIT
 * attn.h - arguments of every attention kernel
 *
 * ACT is float; KV_T the element type of the cache on the device (float or half). On the host only the names count. */
#ifndef ATTN_H
#define ATTN_H
#include "common.h"

#define ATTN_BUFFERS(X) \
    X(const float, q)         /* [B, H, D] */ \
    X(const KV_T, k)          /* cache, see the strides */ \
    X(const KV_T, v) \
    X(const int, lens)        /* [B] */ \
    X(const int, block_table) /* [B, max_blocks]; absent: contiguous */ \
    X(const float, phi)       /* [H]; absent: the scalar phi0 */ \
    X(float, out)             /* [B, H, D] */ \
    X(float, lse)             /* [B, H]; optional */ \
    X(float, work)            /* partials: layout in attn.cl */ \
    X(uint, counts)           /* [3] rows recomputed, lens clamped, blocks clamped */

#define ATTN_SCALARS(X) \
    X(i64, block_stride)  /* elements */ \
    X(i64, token_stride) \
    X(i64, head_stride) \
    X(i32, batch)         /* B of this run */ \
    X(i32, max_len)       /* bound of lens in this run */ \
    X(i32, n_splits)      /* geometry.n_splits */ \
    X(i32, page_size)     /* 0: contiguous */ \
    X(i32, max_blocks)    /* columns of block_table */ \
    X(i32, n_blocks)      /* blocks in the pool */ \
    X(f32, scale) \
    X(f32, phi0)

#ifndef __OPENCL_VERSION__
enum attn_buffer { ATTN_Q, ATTN_K, ATTN_V, ATTN_LENS, ATTN_BLOCK_TABLE, ATTN_PHI, ATTN_OUT, ATTN_LSE, ATTN_WORK,
                   ATTN_COUNTS, ATTN_N_BUFFERS };
enum attn_count { ATTN_ROWS_RECOMPUTED, ATTN_LENS_CLAMPED, ATTN_BLOCKS_CLAMPED, ATTN_N_COUNTS };
struct attn_scalars {
    ATTN_SCALARS(SCALAR_MEMBER)
};
#endif
#endif
