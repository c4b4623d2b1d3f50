/* SPDX-License-Identifier: MIT
 * attn.h - arguments of every attention kernel
 *
 * Q_T, OUT_T, K_T, V_T: what the types of q, out and the caches are on the device (float, half; ushort for bf16; uchar,
 * counted in bytes, for q8_0). On the host only the names count. Shapes: flashdec.h, fdec_attn_args. */
#ifndef ATTN_H
#define ATTN_H
#include "common.h"

#define ATTN_LEAST_SPLIT 64  /* keys: a shorter split is not worth its merge */
#define ATTN_VEC_CHUNK   128 /* rows of a chunk in attn_vec.cl */
#define ATTN_WG_WIDTH    8   /* floats in a vector in attn_wg.cl */
#define ATTN_WG_LANES(dim) ((dim) >= 64 ? 8 : (dim) >= 32 ? 4 : 2) /* items that share a dot product there */
/* Floats of a dot product in local memory: its lanes' parts, + 1: neighbours hit different banks; or the whole. */
#define ATTN_WG_PARTS_OF_DOT(dim, shuffle) ((shuffle) ? 1 : ATTN_WG_LANES(dim) + 1)
/* Pieces of 16 bytes, each aligned, over which a row of so many bytes of blocks lies at most: rows lie on 2 bytes. */
#define ATTN_WG_PIECES(bytes) (((bytes) + 29) / 16)

/* A line of dim elements of 16 bits in attn_mma.cl, in 16 bytes: an odd number, so that neighbouring lines start in
 * other banks; and what is between the rows of scores there, in floats, for the same reason. */
#define ATTN_MMA_LINE(dim) (((dim) + 15) / 16 * 2 + 1)
#define ATTN_MMA_APART     4

#define ATTN_PHI_GATED 5 /* by the bounds where they rule out a redo, else by the state, else by args.phi */

#define ATTN_BUFFERS(X) \
    X(const Q_T, q) \
    X(const K_T, k) \
    X(const V_T, v) \
    X(const int, lens)        /* [B] */ \
    X(const int, q_starts)    /* [B+1]; absent: b*q_len */ \
    X(const int, q_pos)       /* [B]; absent: bottom-right */ \
    X(const int, block_table) /* [B, max_blocks]; absent: contiguous */ \
    X(const float, bias) \
    X(const float, alibi)     /* [H] */ \
    X(const float, sinks)     /* [H] */ \
    X(const float, phi)       /* [H]; absent: phi0 */ \
    X(const float, bounds)    /* [n_blocks, G, 2] */ \
    X(float, state)           /* [n_slots, H] */ \
    X(const int, slots)       /* [B]; absent: b */ \
    X(OUT_T, out) \
    X(float, lse) \
    X(float, work)            /* partials: layout in attn.cl */ \
    X(uint, counts)           /* enum attn_count */

#define ATTN_SCALARS(X) \
    X(i64, k_block_stride)    /* elements */ \
    X(i64, k_token_stride) \
    X(i64, k_head_stride) \
    X(i64, v_block_stride) \
    X(i64, v_token_stride) \
    X(i64, v_head_stride) \
    X(i64, bias_batch_stride) \
    X(i64, bias_query_stride) \
    X(i64, bias_head_stride) \
    X(i32, batch)             /* B of this run */ \
    X(i32, n_heads) \
    X(i32, n_kv_heads) \
    X(i32, q_len)             /* Q: query tokens of a sequence, at most */ \
    X(i32, n_q)               /* rows of q */ \
    X(i32, max_len)           /* bound of lens in this run */ \
    X(i32, n_splits)          /* geometry.n_splits */ \
    X(i32, span)              /* kv heads of a task */ \
    X(i32, split_keys)        /* > 0: every split has just as many, from token 0 on; 0: as even as can be */ \
    X(i32, page_size)         /* 0: contiguous */ \
    X(i32, max_blocks)        /* columns of block_table */ \
    X(i32, n_blocks)          /* blocks in the pool */ \
    X(i32, n_slots) \
    X(i32, window)            /* 0: none */ \
    X(i32, causal) \
    X(i32, phi_source)        /* fdec_phi_source but AUTO, or ATTN_PHI_GATED */ \
    X(f32, scale) \
    X(f32, softcap)           /* 0: none */ \
    X(f32, bias_max) \
    X(f32, phi0)

#ifndef __OPENCL_VERSION__
enum attn_buffer {
    ATTN_Q, ATTN_K, ATTN_V, ATTN_LENS, ATTN_Q_STARTS, ATTN_Q_POS, ATTN_BLOCK_TABLE, ATTN_BIAS, ATTN_ALIBI, ATTN_SINKS,
    ATTN_PHI, ATTN_BOUNDS, ATTN_STATE, ATTN_SLOTS, ATTN_OUT, ATTN_LSE, ATTN_WORK, ATTN_COUNTS,
    ATTN_N_BUFFERS
};
enum attn_count { ATTN_ROWS_RECOMPUTED, ATTN_LENS_CLAMPED, ATTN_BLOCKS_CLAMPED, ATTN_N_COUNTS };
struct attn_scalars {
    ATTN_SCALARS(SCALAR_MEMBER)
};
#endif
#endif
