/* SPDX-License-Identifier: MIT
 * append.h - arguments of rope_append
 *
 * ACT_T, K_T, V_T: what the types of q, k, v and of the two caches are on the device (load.h). On the host only the
 * names count. Shapes: flashdec.h, fdec_append_args. */
#ifndef APPEND_H
#define APPEND_H
#include "common.h"

enum { APPEND_MAX_DIM = 576 }; /* of a head; what attention takes */

#define APPEND_BUFFERS(X) \
    X(const int, pos)         /* [N] */ \
    X(const int, slots)       /* [N]; absent: pos and the block table say where */ \
    X(const u64, angles)      /* [rope_dim / 2]; absent: nothing turns, q is not touched */ \
    X(ACT_T, q)               /* [N, H, D], in place */ \
    X(const ACT_T, k)         /* [N, G, D] */ \
    X(const ACT_T, v)         /* [N, G, Dv] */ \
    X(const int, block_table) /* [B, max_blocks]; absent: contiguous, or slots */ \
    X(K_T, k_cache) \
    X(V_T, v_cache) \
    X(float, bounds)          /* [n_blocks, G, 2]; optional */

#define APPEND_SCALARS(X) \
    X(i64, k_block_stride)    /* elements */ \
    X(i64, k_token_stride) \
    X(i64, k_head_stride) \
    X(i64, v_block_stride) \
    X(i64, v_token_stride) \
    X(i64, v_head_stride) \
    X(i32, n_heads) \
    X(i32, n_kv_heads) \
    X(i32, head_dim) \
    X(i32, v_head_dim) \
    X(i32, rope_begin) \
    X(i32, rope_dim) \
    X(i32, neox) \
    X(i32, q_len)             /* rows of a sequence */ \
    X(i32, max_len)           /* positions from here on are skipped */ \
    X(i32, paged)             /* the block table says where, if slots do not */ \
    X(i32, block_tokens)      /* tokens in a block: page_size, or the capacity of a sequence */ \
    X(i32, max_blocks)        /* columns of block_table */ \
    X(i32, n_blocks)          /* blocks in the pool, or sequences */ \
    X(f32, attn_factor)

struct append_scalars { APPEND_SCALARS(SCALAR_MEMBER) }; /* on the device a private one, to hand them on together */

#ifndef __OPENCL_VERSION__
enum append_buffer { APPEND_POS, APPEND_SLOTS, APPEND_ANGLES, APPEND_Q, APPEND_K, APPEND_V, APPEND_BLOCK_TABLE,
                     APPEND_K_CACHE, APPEND_V_CACHE, APPEND_BOUNDS, APPEND_N_BUFFERS };
#endif
#endif
