/* SPDX-License-Identifier: MIT
 * linear_wg.cl - linear for GPU-like devices; part of linear.cl, where the terms are explained
 *
 *   linear_wg_gemv  a group per NR rows; items stride K, 8 columns at a time; MR tokens at a time; a tree of fixed
 *                   shape in local memory, 4*MR*NR*WG bytes.
 *   linear_wg_flat  TM tokens x TN rows, K in tiles of TK through two buffers in local memory: tile t+1 is on its way
 *                   while tile t is used. 8*(TM+TN)*(TK+4) bytes local. K may be split into n_splits parts, which
 *                   linear_after sums in order.
 *   linear_wg_gemm  TILE x TILE outputs, R x R per item, K in tiles of TK. 8*TK*(TILE+1) bytes local.
 *
 * Rows of W and x are read 16 bytes or more at a time where their addresses allow it; blocks of quantised types lie on
 * 2 bytes, and are read as they come. */

/* Eight columns from `column` on of a row of k; past the end 0. aligned: rows are whole aligned pieces. */
#if IS_BLOCKS
INLINE float8 w_piece(global const W_T *row, int column, int k, bool aligned)
{
    return column < k ? PASTE(load_, W_TYPE)(row, column / 8, 0) : (float8) 0.0f;
}
#endif

#define PIECE(name, TYPE) \
    INLINE float8 name(global const PASTE(T_, TYPE) *row, int column, int k, bool aligned) \
    { \
        if (aligned && column < k) \
            return PASTE(load_aligned_, TYPE)(row, column / 8, 0); \
        if (column + 8 <= k) \
            return PASTE(load_, TYPE)(row, column / 8, 0); \
        float v[8]; \
        UNROLL for (int i = 0; i < 8; i++) v[i] = column + i < k ? GET(TYPE, row + column + i) : 0.0f; \
        return vload8(0, v); \
    }
#if !IS_BLOCKS
PIECE(w_piece, W_TYPE)
#endif
PIECE(x_piece_raw, X_TYPE)
PIECE(x_piece_f32, f32)

INLINE float8 x_piece(const struct args *a, int token, int column, bool aligned)
{
    const size_t t = min(token, a->m - 1);
    if (a->prepared)
        return x_piece_f32(a->work + t * LINEAR_X_STRIDE(a->k), column, a->k, aligned);
    return x_piece_raw(a->x + t * a->k, column, a->k, aligned);
}

/* Whether rows of k elements are whole aligned pieces of 8. The same answer in every work-item. */
INLINE bool w_aligned(const struct args *a)
{
    const size_t any = (size_t) a->w | (size_t) a->w2 | (size_t) a->w3;
    return a->k % 8 == 0 && any % 16 == 0;
}

INLINE bool x_aligned(const struct args *a)
{
    return a->k % 8 == 0 && (a->prepared ? (size_t) a->work : (size_t) a->x) % 16 == 0;
}

/* [n_splits, M, rows] */
INLINE global float *partials(const struct args *a)
{
    return a->work + (a->prepared ? (size_t) a->m * LINEAR_X_STRIDE(a->k) : 0);
}

/* sum + x . w, in order. */
INLINE float dot8(float8 x, float8 w, float sum)
{
    sum = fma(x.s0, w.s0, sum);
    sum = fma(x.s1, w.s1, sum);
    sum = fma(x.s2, w.s2, sum);
    sum = fma(x.s3, w.s3, sum);
    sum = fma(x.s4, w.s4, sum);
    sum = fma(x.s5, w.s5, sum);
    sum = fma(x.s6, w.s6, sum);
    return fma(x.s7, w.s7, sum);
}

#ifdef LINEAR_WG_GEMV
__attribute__((reqd_work_group_size(WG, 1, 1)))
kernel void linear_wg_gemv(LINEAR_ARGS)
{
    TAKE_ARGS(a)
    local float part[MR * NR][WG];
    const int item = get_local_id(0), row0 = (int) get_group_id(0) * NR;
    const bool w_al = w_aligned(&a), x_al = x_aligned(&a);
    global const W_T *w_row[NR];
    UNROLL for (int r = 0; r < NR; r++)
        w_row[r] = w_row_of(&a, row0 + r);

    for (int t0 = 0; t0 < a.m; t0 += MR) {
        float acc[MR][NR];
        UNROLL for (int t = 0; t < MR; t++)
            UNROLL for (int r = 0; r < NR; r++)
                acc[t][r] = 0.0f;
        for (int i = item * 8; i < k; i += WG * 8) {
            float8 wv[NR];
            UNROLL for (int r = 0; r < NR; r++)
                wv[r] = w_piece(w_row[r], i, k, w_al);
            UNROLL for (int t = 0; t < MR; t++) {
                const float8 xv = x_piece(&a, t0 + t, i, x_al);
                UNROLL for (int r = 0; r < NR; r++)
                    acc[t][r] = dot8(xv, wv[r], acc[t][r]);
            }
        }
        UNROLL for (int t = 0; t < MR; t++)
            UNROLL for (int r = 0; r < NR; r++)
                part[t * NR + r][item] = acc[t][r];
        for (int half_wg = WG / 2; half_wg > 0; half_wg /= 2) {
            barrier(CLK_LOCAL_MEM_FENCE);
            if (item < half_wg)
                for (int i = 0; i < MR * NR; i++)
                    part[i][item] += part[i][item + half_wg];
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int t = item; t < MR; t += WG) {
            float sums[NR];
            UNROLL for (int r = 0; r < NR; r++)
                sums[r] = part[t * NR + r][0];
            finish(&a, sums, NR, t0 + t, row0);
        }
        barrier(CLK_LOCAL_MEM_FENCE); /* part is about to be overwritten */
    }
}
#endif

#ifdef LINEAR_WG_FLAT
#define ITEMS_N (TN / RN)
#define TK4     (TK / 4)
#define TK8     (TK / 8)
#define W_LOADS ((TN * TK8 + WG - 1) / WG)
#define X_LOADS ((TM * TK8 + WG - 1) / WG)
/* Row j of an item's: with GLU side by side, a pair; else apart, so that neighbouring items read neighbouring rows. */
#define MY_ROW(j) (GLU ? my_row * RN + (j) : my_row + (j) * ITEMS_N)

/* Groups: rows / TN, tokens / TM, parts of K. */
__attribute__((reqd_work_group_size(WG, 1, 1)))
kernel void linear_wg_flat(LINEAR_ARGS)
{
    TAKE_ARGS(a)
    local float4 w_tile[2][TN][TK4 + 1], x_tile[2][TM][TK4 + 1]; /* +1: neighbouring rows start in other banks */
    const int item = get_local_id(0), row0 = (int) get_group_id(0) * TN, token0 = (int) get_group_id(1) * TM;
    const int my_row = item % ITEMS_N, my_token = item / ITEMS_N * RM;
    const bool w_al = w_aligned(&a), x_al = x_aligned(&a);
    const int tiles = (k + TK - 1) / TK;
    const size_t split = get_group_id(2);
    const int first = (int) (split * tiles / a.n_splits), last = (int) ((split + 1) * tiles / a.n_splits);

    float8 w_next[W_LOADS], x_next[X_LOADS];
    float acc[RM][RN];
    UNROLL for (int i = 0; i < RM; i++)
        UNROLL for (int j = 0; j < RN; j++)
            acc[i][j] = 0.0f;

    /* Step t fetches tile t, computes tile t - 1, then puts tile t into the other buffer. */
    for (int tile = first; tile <= last; tile++) {
        if (tile < last) {
            UNROLL for (int i = 0; i < W_LOADS; i++) {
                const int at = item + i * WG;
                w_next[i] = w_piece(w_row_of(&a, row0 + at / TK8), tile * TK + at % TK8 * 8, k, w_al);
            }
            UNROLL for (int i = 0; i < X_LOADS; i++) {
                const int at = item + i * WG;
                x_next[i] = x_piece(&a, token0 + at / TK8, tile * TK + at % TK8 * 8, x_al);
            }
        }
        const int now = (tile - first + 1) % 2;
        if (tile > first)
            UNROLL for (int q = 0; q < TK4; q++) {
                float4 wv[RN];
                UNROLL for (int j = 0; j < RN; j++)
                    wv[j] = w_tile[now][MY_ROW(j)][q];
                UNROLL for (int i = 0; i < RM; i++) {
                    const float4 xv = x_tile[now][my_token + i][q];
                    UNROLL for (int j = 0; j < RN; j++) {
                        acc[i][j] = fma(xv.x, wv[j].x, acc[i][j]);
                        acc[i][j] = fma(xv.y, wv[j].y, acc[i][j]);
                        acc[i][j] = fma(xv.z, wv[j].z, acc[i][j]);
                        acc[i][j] = fma(xv.w, wv[j].w, acc[i][j]);
                    }
                }
            }
        if (tile < last) {
            UNROLL for (int i = 0; i < W_LOADS; i++) {
                const int at = item + i * WG;
                if (at < TN * TK8) {
                    w_tile[1 - now][at / TK8][at % TK8 * 2] = w_next[i].lo;
                    w_tile[1 - now][at / TK8][at % TK8 * 2 + 1] = w_next[i].hi;
                }
            }
            UNROLL for (int i = 0; i < X_LOADS; i++) {
                const int at = item + i * WG;
                if (at < TM * TK8) {
                    x_tile[1 - now][at / TK8][at % TK8 * 2] = x_next[i].lo;
                    x_tile[1 - now][at / TK8][at % TK8 * 2 + 1] = x_next[i].hi;
                }
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }

    UNROLL for (int i = 0; i < RM; i++) {
        const int token = token0 + my_token + i;
        if (a.n_splits == 1 && GLU)
            finish(&a, acc[i], RN, token, row0 + MY_ROW(0));
        UNROLL for (int j = 0; j < RN; j++) {
            const int row = row0 + MY_ROW(j);
            if (a.n_splits > 1 && row < all_rows(&a) && token < a.m)
                partials(&a)[(split * a.m + token) * all_rows(&a) + row] = acc[i][j];
            else if (a.n_splits == 1 && !GLU)
                finish(&a, &acc[i][j], 1, token, row);
        }
    }
}

#endif

#if STATS
/* 16 items per record. */
__attribute__((reqd_work_group_size(LINEAR_WG_PREPARE, 1, 1)))
kernel void linear_after(LINEAR_ARGS)
{
    TAKE_ARGS(a)
    local uint part[LINEAR_WG_PREPARE];
    const size_t tiles = (a.n + STATS_TILE - 1) / STATS_TILE, id = get_global_id(0) / 16;
    const size_t token = min(id / tiles, (size_t) a.m - 1);
    struct tile_stats s;
    tile_stats_16(part, a.y + token * a.n, id % tiles * STATS_TILE, a.n, a.inv_temperature, &s);
    if (id < tiles * a.m && get_global_id(0) % 16 == 0)
        tile_write(a.stats, id, &s);
}
#else
/* An item per output: the sum of its n_splits parts, in order. */
kernel void linear_after(LINEAR_ARGS)
{
    TAKE_ARGS(a)
    const int at_once = GLU ? 2 : 1, rows = all_rows(&a);
    const size_t id = get_global_id(0), outputs = (size_t) a.m * (rows / at_once);
    if (id >= outputs)
        return;
    const int token = (int) (id / (rows / at_once)), row = (int) (id % (rows / at_once)) * at_once;
    float sums[2];
    for (int r = 0; r < at_once; r++) {
        global const float *part = partials(&a) + (size_t) token * rows + row + r;
        sums[r] = part[0];
        for (int s = 1; s < a.n_splits; s++)
            sums[r] += part[(size_t) s * a.m * rows];
    }
    finish(&a, sums, at_once, token, row);
}
#endif

#ifdef LINEAR_WG_GEMM
#define SIDE  (TILE / R) /* items along a side of the tile */
#define TK8   (TK / 8)
#define LOADS ((TILE * TK8 + WG - 1) / WG)
#define MY_ROW(j) (GLU ? my_row * R + (j) : my_row + (j) * SIDE)

/* Not a function: see INLINE. */
#define PUT_COLUMN(tile, c, line, v) \
    { \
        tile[c][line] = v.s0, tile[(c) + 1][line] = v.s1; \
        tile[(c) + 2][line] = v.s2, tile[(c) + 3][line] = v.s3; \
        tile[(c) + 4][line] = v.s4, tile[(c) + 5][line] = v.s5; \
        tile[(c) + 6][line] = v.s6, tile[(c) + 7][line] = v.s7; \
    }

/* Groups: rows / TILE, tokens / TILE. */
__attribute__((reqd_work_group_size(WG, 1, 1)))
kernel void linear_wg_gemm(LINEAR_ARGS)
{
    TAKE_ARGS(a)
    local float w_tile[TK][TILE + 1], x_tile[TK][TILE + 1];
    const int item = get_local_id(0), row0 = (int) get_group_id(0) * TILE, token0 = (int) get_group_id(1) * TILE;
    const int my_row = item % SIDE, my_token = item / SIDE;
    const bool w_al = w_aligned(&a), x_al = x_aligned(&a);
    float acc[R][R];
    UNROLL for (int i = 0; i < R; i++)
        UNROLL for (int j = 0; j < R; j++)
            acc[i][j] = 0.0f;

    for (int k0 = 0; k0 < a.k; k0 += TK) {
        UNROLL for (int i = 0; i < LOADS; i++) {
            const int at = item + i * WG, line = at / TK8, c = at % TK8 * 8;
            if (at < TILE * TK8) {
                const float8 wv = w_piece(w_row_of(&a, row0 + line), k0 + c, a.k, w_al);
                const float8 xv = x_piece(&a, token0 + line, k0 + c, x_al);
                PUT_COLUMN(w_tile, c, line, wv)
                PUT_COLUMN(x_tile, c, line, xv)
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int c = 0; c < TK; c++) {
            float wv[R];
            UNROLL for (int j = 0; j < R; j++)
                wv[j] = w_tile[c][MY_ROW(j)];
            UNROLL for (int i = 0; i < R; i++) {
                const float xv = x_tile[c][my_token + i * SIDE];
                UNROLL for (int j = 0; j < R; j++)
                    acc[i][j] = fma(xv, wv[j], acc[i][j]);
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }

    UNROLL for (int i = 0; i < R; i++) {
        const int token = token0 + my_token + i * SIDE;
        if (GLU)
            finish(&a, acc[i], R, token, row0 + MY_ROW(0));
        else
            UNROLL for (int j = 0; j < R; j++)
                finish(&a, &acc[i][j], 1, token, row0 + MY_ROW(j));
    }
}
#endif
