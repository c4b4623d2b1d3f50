/* SPDX-License-Identifier: MIT
 * linear.h - the arguments of linear: formula and shapes are flashdec.h's
 *
 * X_T, W_T, Y_T are the types of x, of the weights, of y and residual. */
#ifndef LINEAR_H
#define LINEAR_H
#include "common.h"

/* Elements from row to row of x in `work`: an odd number of cache lines. Rows of a power of two bytes lie on the same
 * few sets of a cache, with those of W, and push each other out of it. */
#define LINEAR_X_STRIDE(k) ((((k) + 15) / 16 | 1) * 16)

/* x in `work`: `side` tokens side by side, [ceil(M / side)][LINEAR_X_STRIDE(K) / 4][side][4]; tokens past M, and the
 * columns from K to the next multiple of 4, are 0. side = 1: rows. */

#define LINEAR_WG_PREPARE 64 /* work-items of a GPU's linear_prepare and linear_after */

/* Tokens of an item of linear_wg_flat, of a tile of tm: all, or a half, a third, ... of them. */
#define LINEAR_ITEM_TOKENS(tm) ((tm) <= 8 ? (tm) : (tm) % 8 ? 6 : 8)
/* Teams of a group of linear_wg_flat, of `team` items each: few outputs leave a GPU's compute unit without enough items
 * for the local memory that they take, so the columns of a tile of tk are dealt out. */
#define LINEAR_TEAMS(team, tk) ((team) >= 256 ? 1 : (team) >= 128 || (tk) < 32 ? 2 : 4)
/* Pieces of 16 bytes of a row of tk columns in local memory; + 1: neighbouring rows start in other banks. */
#define LINEAR_ROW_PIECES(is_16_bit, tk) ((is_16_bit) ? (tk) / 8 + 1 : (tk) / 4 + 1)

/* Columns of rows of blocks that a group of linear_wg_gemv, of linear_wg_flat, of the others brings at a time (at least
 * one block), and the pieces of 16 bytes in which a row of so many bytes comes. Blocks of q6_k are 210 bytes: pieces
 * may be cut at both ends. */
#define LINEAR_GEMV_CHUNK(wg)    ((wg) *32)
#define LINEAR_FLAT_CHUNK        256
#define LINEAR_TILE_CHUNK(block) ((block) > 128 ? (block) : 128)
#define LINEAR_CHUNK_PIECES(bytes) (((bytes) + ((bytes) % 16 ? 29 : 15)) / 16)

#define LINEAR_BUFFERS(X) \
    X(const X_T, x)        /* [M, K] */ \
    X(const W_T, w)        /* [N, K], or all weights in panels: linear_panel.cl */ \
    X(const W_T, w2)       /* [N2, K]; with GLU [N, K]; optional */ \
    X(const W_T, w3)       /* [N3, K]; optional */ \
    X(const float, bias)   /* [N], and so on; optional */ \
    X(const float, bias2) \
    X(const float, bias3) \
    X(const Y_T, residual) /* [M, N]; optional, may be y; only where y is the one output */ \
    X(const float, norm)   /* [K]: weights of the RMSNorm of x; optional */ \
    X(Y_T, y)              /* [M, N] */ \
    X(Y_T, y2)             /* [M, N2]; optional */ \
    X(Y_T, y3)             /* [M, N3]; optional */ \
    X(uint, stats)         /* [M, ceil(N / 256)] records of tile_stats.h; optional */ \
    X(float, work)         /* x as the product reads it, where prepared; then split-K partials: linear.cl */

#define LINEAR_SCALARS(X) \
    X(i32, m) \
    X(i32, n)        /* rows of w */ \
    X(i32, n2)       /* rows of w2; 0 with GLU */ \
    X(i32, n3) \
    X(i32, k) \
    X(i32, prepared) /* tokens side by side in work, from where the product then reads x in f32; 0: it reads x */ \
    X(i32, n_splits) /* geometry.n_splits: parts of K */ \
    X(f32, eps) \
    X(f32, scale) \
    X(f32, softcap)  /* 0: none */ \
    X(f32, inv_temperature) /* of stats */

#ifndef __OPENCL_VERSION__
enum linear_buffer {
    LINEAR_X, LINEAR_W, LINEAR_W2, LINEAR_W3, LINEAR_BIAS, LINEAR_BIAS2, LINEAR_BIAS3, LINEAR_RESIDUAL, LINEAR_NORM,
    LINEAR_Y, LINEAR_Y2, LINEAR_Y3, LINEAR_STATS, LINEAR_WORK, LINEAR_N_BUFFERS
};
struct linear_scalars {
    LINEAR_SCALARS(SCALAR_MEMBER)
};
#endif
#endif
