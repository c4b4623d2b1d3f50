/* SPDX-License-Identifier: MIT
 * linear_wg.cl - linear for GPU-like devices; part of linear.cl, where the terms are explained
 *
 *   linear_wg_gemv  a group per NR rows; items stride K, 8 columns at a time; MR tokens at a time; a tree of fixed
 *                   shape in local memory, 4*MR*NR*WG bytes, or in registers (shuffle.h).
 *   linear_wg_flat  TM tokens x TN rows, K in tiles of TK through two buffers in local memory: tile t+1 is on its way
 *                   while tile t is used. 16 bits stay 16 bits until they are used; of blocks a tile is one buffer,
 *                   which is filled from a chunk. Teams (LINEAR_TEAMS) take parts of a tile's columns and add up at
 *                   the end; K may also be split into n_splits parts, which linear_after sums in order. Local memory:
 *                   wg_flat_local_bytes in linear.c.
 *   linear_wg_gemm  TILE x TILE outputs, R x R per item, K in tiles of TK. 8*TK*(TILE+1) bytes local; of blocks a
 *                   chunk, too.
 *
 * Rows of W and x are read 16 bytes or more at a time where their addresses allow it. Blocks lie on 2 bytes, rows of
 * them often on 16: chunks of rows come to local memory as they lie, and are taken apart there. */

#if IS_BLOCKS && defined(LINEAR_WG_GEMV)
#define BLOCK_CHUNK LINEAR_GEMV_CHUNK(WG)
#elif IS_BLOCKS && defined(LINEAR_WG_FLAT)
#define BLOCK_CHUNK LINEAR_FLAT_CHUNK
#elif IS_BLOCKS
#define BLOCK_CHUNK LINEAR_TILE_CHUNK(W_BLOCK)
#endif

/* Eight columns from `column` on of a row of k; past the end 0. aligned: rows are whole aligned pieces. */
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

/* Whether rows of k elements are whole aligned pieces of 8, rows of blocks of 16 bytes. The same answer in every
 * work-item. */
INLINE bool w_aligned(const struct args *a)
{
    const size_t any = (size_t) a->w | (size_t) a->w2 | (size_t) a->w3, row = W_UNITS((size_t) a->k) * sizeof(W_T);
    return a->k % 8 == 0 && (row | any) % 16 == 0;
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
INLINE float dot4(float4 x, float4 w, float sum)
{
    return fma(x.w, w.w, fma(x.z, w.z, fma(x.y, w.y, fma(x.x, w.x, sum))));
}

INLINE float dot8(float8 x, float8 w, float sum)
{
    return dot4(x.hi, w.hi, dot4(x.lo, w.lo, sum));
}

/* Eight columns as they are stored, of a type of 16 bits; past the end 0. */
INLINE uint4 bits_piece(global const ushort *row, int column, int k, bool aligned)
{
    if (aligned && column < k)
        return *(global const uint4 *) (row + column);
    if (column + 8 <= k)
        return as_uint4(vload8(0, row + column));
    ushort v[8];
    UNROLL for (int i = 0; i < 8; i++) v[i] = column + i < k ? row[column + i] : 0;
    return as_uint4(vload8(0, v));
}

#ifdef BLOCK_CHUNK
#define CHUNK_PIECES LINEAR_CHUNK_PIECES(W_UNITS(BLOCK_CHUNK))

/* Piece number `piece` of the chunk of columns from..end-1 of a row. Pieces lie on 16 bytes from the row's start on, so
 * the first may begin before the chunk. Past the end all is 0, blocks too. */
INLINE uint4 chunk_piece(global const W_T *row, int from, int end, int piece, bool aligned)
{
    return bits_piece((global const ushort *) row, (W_UNITS(from) / 16 + piece) * 8, W_UNITS(end) / 2, aligned);
}

/* The chunk of columns from `from` on of `rows` rows from row0 on, four pieces of an item at a time. */
INLINE void bring_chunk(const struct args *a, local uint4 *chunk, const int rows, int row0, int from, int item,
                        bool aligned)
{
    const int end = min(from + BLOCK_CHUNK, a->k), all = rows * CHUNK_PIECES;
    ROLL for (int at = item; at < all; at += 4 * WG) {
        uint4 v[4];
        UNROLL for (int i = 0; i < 4; i++) {
            const int j = at + i * WG, row = row0 + j / CHUNK_PIECES, limit = j < all ? end : 0;
            v[i] = chunk_piece(w_row_of(a, row), from, limit, j % CHUNK_PIECES, aligned);
        }
        UNROLL for (int i = 0; i < 4; i++)
            if (at + i * WG < all)
                chunk[at + i * WG] = v[i];
    }
}

/* Blocks of a row of it. */
INLINE local const uchar *chunk_row(local const uint4 *row, int from)
{
    return (local const uchar *) row + W_UNITS(from) % 16;
}

/* Columns from + 8j .. from + 8j + 7 of a row of it. */
INLINE float8 chunk_vector(local const uint4 *row, int from, int j)
{
    return PASTE(load_, W_TYPE)(chunk_row(row, from), j, 0);
}
#endif

/* n sums of a token, rows side by side: whole ones, or those of the group's part of K. */
INLINE void store_sums(const struct args *a, const float *sums, int n, int token, int row)
{
    if (a->n_splits == 1) {
        finish(a, sums, n, token, row);
        return;
    }
    const size_t at = (get_group_id(2) * a->m + token) * all_rows(a) + row;
    UNROLL for (int i = 0; i < n; i++)
        if (token < a->m && row + i < all_rows(a))
            partials(a)[at + i] = sums[i];
}

#ifdef LINEAR_WG_GEMV
#define PARTS (SHUFFLE ? WG / SHUFFLE_LANES : WG) /* of a sum, in local memory */
#define CHUNK_LOADS ((CHUNK_PIECES + WG - 1) / WG)

/* acc += the products of MR tokens and NR rows, of eight columns. */
INLINE void add_columns(const struct args *a, float acc[MR][NR], const float8 *wv, int token0, int column, bool x_al)
{
    UNROLL for (int t = 0; t < MR; t++) {
        const float8 xv = x_piece(a, token0 + t, column, x_al);
        UNROLL for (int r = 0; r < NR; r++)
            acc[t][r] = dot8(xv, wv[r], acc[t][r]);
    }
}

__attribute__((reqd_work_group_size(WG, 1, 1))) IN_STEP
kernel void linear_wg_gemv(LINEAR_ARGS)
{
    TAKE_ARGS(a)
    local float part[MR * NR][PARTS];
#ifdef BLOCK_CHUNK
    local uint4 chunk[NR * CHUNK_PIECES];
#endif
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
#ifdef BLOCK_CHUNK
        for (int from = 0; from < k; from += BLOCK_CHUNK) {
            const int end = min(from + BLOCK_CHUNK, k);
            uint4 pieces[NR][CHUNK_LOADS];
            UNROLL for (int r = 0; r < NR; r++)
                UNROLL for (int i = 0; i < CHUNK_LOADS; i++)
                    pieces[r][i] = chunk_piece(w_row[r], from, end, item + i * WG, w_al);
            barrier(CLK_LOCAL_MEM_FENCE); /* the chunk before has been read */
            UNROLL for (int r = 0; r < NR; r++)
                UNROLL for (int i = 0; i < CHUNK_LOADS; i++)
                    if (item + i * WG < CHUNK_PIECES)
                        chunk[r * CHUNK_PIECES + item + i * WG] = pieces[r][i];
            barrier(CLK_LOCAL_MEM_FENCE);
            ROLL for (int i = from + item * 8; i < end; i += WG * 8) {
                float8 wv[NR];
                UNROLL for (int r = 0; r < NR; r++)
                    wv[r] = chunk_vector(chunk + r * CHUNK_PIECES, from, (i - from) / 8);
                add_columns(&a, acc, wv, t0, i, x_al);
            }
        }
#else
        for (int i = item * 8; i < k; i += WG * 8) {
            float8 wv[NR];
            UNROLL for (int r = 0; r < NR; r++)
                wv[r] = w_piece(w_row[r], i, k, w_al);
            add_columns(&a, acc, wv, t0, i, x_al);
        }
#endif
#if SHUFFLE
        UNROLL for (int t = 0; t < MR; t++)
            UNROLL for (int r = 0; r < NR; r++) {
                const float sum = wave_sum(acc[t][r]);
                if (item % SHUFFLE_LANES == 0)
                    part[t * NR + r][item / SHUFFLE_LANES] = sum;
            }
#else
        UNROLL for (int t = 0; t < MR; t++)
            UNROLL for (int r = 0; r < NR; r++)
                part[t * NR + r][item] = acc[t][r];
        for (int half_wg = WG / 2; half_wg > 0; half_wg /= 2) {
            barrier(CLK_LOCAL_MEM_FENCE);
            if (item < half_wg)
                for (int i = 0; i < MR * NR; i++)
                    part[i][item] += part[i][item + half_wg];
        }
#endif
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int t = item; t < MR; t += WG) {
            float sums[NR];
            UNROLL for (int r = 0; r < NR; r++) {
                sums[r] = part[t * NR + r][0];
                for (int i = 1; i < (SHUFFLE ? PARTS : 1); i++)
                    sums[r] += part[t * NR + r][i];
            }
            finish(&a, sums, NR, t0 + t, row0);
        }
        barrier(CLK_LOCAL_MEM_FENCE); /* part is about to be overwritten */
    }
}
#endif

#ifdef LINEAR_WG_FLAT
#define ITEMS_N    (TN / RN)
#define TEAMS      LINEAR_TEAMS(TEAM, TK)
#define TK8        (TK / 8)
#define TEAM_TK8   (TK8 / TEAMS)
#define W_PIECES   LINEAR_ROW_PIECES(IS_16_BIT, TK)
#define X_PIECES   LINEAR_ROW_PIECES(0, TK)
#define W_LOADS    ((TN * TK8 + WG - 1) / WG)
#define X_LOADS    ((TM * TK8 + WG - 1) / WG)
#define TEAMS_SUMS ((TEAMS - 1) * TM * TN / 4) /* of all teams but the first, in pieces */
#ifdef BLOCK_CHUNK
#define W_BUFFERS  1 /* it is filled from the chunk */
#define W_NEXT(i)  chunk_vector(chunk + at / TK8 * CHUNK_PIECES, from, (tile * TK - from) / 8 + at % TK8)
#else
#define W_BUFFERS  2
#define W_NEXT(i)  w_next[i]
#endif
#define W_MEMORY   (W_BUFFERS * TN * W_PIECES > TEAMS_SUMS ? W_BUFFERS * TN * W_PIECES : TEAMS_SUMS)
/* Row j of an item's: with GLU side by side, a pair; else apart, so that neighbouring items read neighbouring rows. */
#define MY_ROW(j) (GLU ? my_row * RN + (j) : my_row + (j) * ITEMS_N)

/* Eight columns of W on their way to local memory, and out of it. at: the row's first piece. */
#if IS_16_BIT
typedef uint4 w_hold;

INLINE w_hold w_take(global const W_T *row, int column, int k, bool aligned)
{
    return bits_piece((global const ushort *) row, column, k, aligned);
}

INLINE void w_put(local uint4 *at, int c, w_hold v)
{
    at[c] = v;
}

INLINE void w_get(local const uint4 *at, int c, float4 v[2])
{
    const float8 wide = PASTE(wide_, W_TYPE)(at[c]);
    v[0] = wide.lo;
    v[1] = wide.hi;
}
#else
typedef float8 w_hold;
#ifndef BLOCK_CHUNK
#define w_take w_piece
#endif

INLINE void w_put(local uint4 *at, int c, w_hold v)
{
    at[2 * c] = as_uint4(v.lo);
    at[2 * c + 1] = as_uint4(v.hi);
}

INLINE void w_get(local const uint4 *at, int c, float4 v[2])
{
    v[0] = as_float4(at[2 * c]);
    v[1] = as_float4(at[2 * c + 1]);
}
#endif

/* acc += an item's products of a tile, of its team's columns. */
INLINE void add_team(float acc[RM][RN], local const uint4 *w_tile, local const float4 (*x_tile)[X_PIECES], int team,
                     int my_row, int my_token)
{
    UNROLL for (int q = 0; q < TEAM_TK8; q++) {
        const int c = team * TEAM_TK8 + q;
        float4 wv[RN][2];
        UNROLL for (int j = 0; j < RN; j++)
            w_get(w_tile + MY_ROW(j) * W_PIECES, c, wv[j]);
        UNROLL for (int i = 0; i < RM; i++) {
            local const float4 *x_row = x_tile[my_token + i];
            const float4 x_lo = x_row[2 * c], x_hi = x_row[2 * c + 1];
            UNROLL for (int j = 0; j < RN; j++)
                acc[i][j] = dot4(x_hi, wv[j][1], dot4(x_lo, wv[j][0], acc[i][j]));
        }
    }
}

/* Groups: rows / TN, tokens / TM, parts of K. */
__attribute__((reqd_work_group_size(WG, 1, 1))) IN_STEP
kernel void linear_wg_flat(LINEAR_ARGS)
{
    TAKE_ARGS(a)
    local uint4 w_tile[W_MEMORY]; /* [W_BUFFERS][TN][W_PIECES], in the end [TEAMS - 1][TM * TN] sums */
    local float4 x_tile[2][TM][X_PIECES];
#ifdef BLOCK_CHUNK
    local uint4 chunk[TN * CHUNK_PIECES];
#endif
    const int item = get_local_id(0), row0 = (int) get_group_id(0) * TN, token0 = (int) get_group_id(1) * TM;
    const int team = item / TEAM, member = item % TEAM, my_row = member % ITEMS_N, my_token = member / ITEMS_N * RM;
    const bool w_al = w_aligned(&a), x_al = x_aligned(&a);
    const int tiles = (k + TK - 1) / TK;
    const size_t split = get_group_id(2);
    const int first = (int) (split * tiles / a.n_splits), last = (int) ((split + 1) * tiles / a.n_splits);

    w_hold w_next[W_LOADS]; /* not of blocks */
    float8 x_next[X_LOADS];
    float acc[RM][RN];
    UNROLL for (int i = 0; i < RM; i++)
        UNROLL for (int j = 0; j < RN; j++)
            acc[i][j] = 0.0f;

    /* Step t fetches tile t, computes tile t - 1, then puts tile t into the other buffer. W of blocks is fetched in
     * chunks of several tiles. */
    for (int tile = first; tile <= last; tile++) {
        if (tile < last) {
#ifndef BLOCK_CHUNK
            UNROLL for (int i = 0; i < W_LOADS; i++) {
                const int at = item + i * WG;
                w_next[i] = w_take(w_row_of(&a, row0 + at / TK8), tile * TK + at % TK8 * 8, k, w_al);
            }
#endif
            UNROLL for (int i = 0; i < X_LOADS; i++) {
                const int at = item + i * WG;
                x_next[i] = x_piece(&a, token0 + at / TK8, tile * TK + at % TK8 * 8, x_al);
            }
        }
        const int now = (tile - first + 1) % 2;
        if (tile > first)
            add_team(acc, w_tile + now % W_BUFFERS * TN * W_PIECES, x_tile[now], team, my_row, my_token);
        if (tile < last) {
#ifdef BLOCK_CHUNK
            const int from = tile * TK / BLOCK_CHUNK * BLOCK_CHUNK;
            barrier(CLK_LOCAL_MEM_FENCE); /* the tile before has been used */
            if (tile == first || tile * TK == from) {
                bring_chunk(&a, chunk, TN, row0, from, item, w_al);
                barrier(CLK_LOCAL_MEM_FENCE);
            }
#endif
            UNROLL for (int i = 0; i < W_LOADS; i++) {
                const int at = item + i * WG;
                if (at < TN * TK8)
                    w_put(w_tile + ((1 - now) % W_BUFFERS * TN + at / TK8) * W_PIECES, at % TK8, W_NEXT(i));
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

#if TEAMS > 1
    local float *sums = (local float *) w_tile;
    if (team > 0)
        UNROLL for (int i = 0; i < RM * RN; i++)
            sums[((team - 1) * RM * RN + i) * TEAM + member] = acc[i / RN][i % RN];
    barrier(CLK_LOCAL_MEM_FENCE);
    if (team > 0)
        return;
    UNROLL for (int t = 0; t < TEAMS - 1; t++)
        UNROLL for (int i = 0; i < RM * RN; i++)
            acc[i / RN][i % RN] += sums[(t * RM * RN + i) * TEAM + member];
#endif

    UNROLL for (int i = 0; i < RM; i++)
        UNROLL for (int j = 0; j < RN; j += GLU ? RN : 1)
            store_sums(&a, &acc[i][j], GLU ? RN : 1, token0 + my_token + i, row0 + MY_ROW(j));
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
#ifdef BLOCK_CHUNK
#define W_EIGHT(line, c) chunk_vector(chunk + (line) * CHUNK_PIECES, from, (k0 - from + (c)) / 8)
#else
#define W_EIGHT(line, c) w_piece(w_row_of(&a, row0 + (line)), k0 + (c), a.k, w_al)
#endif

/* Not a function: see INLINE. */
#define PUT_COLUMN(tile, c, line, v) \
    { \
        tile[c][line] = v.s0, tile[(c) + 1][line] = v.s1; \
        tile[(c) + 2][line] = v.s2, tile[(c) + 3][line] = v.s3; \
        tile[(c) + 4][line] = v.s4, tile[(c) + 5][line] = v.s5; \
        tile[(c) + 6][line] = v.s6, tile[(c) + 7][line] = v.s7; \
    }

/* Groups: rows / TILE, tokens / TILE. */
__attribute__((reqd_work_group_size(WG, 1, 1))) IN_STEP
kernel void linear_wg_gemm(LINEAR_ARGS)
{
    TAKE_ARGS(a)
    local float w_tile[TK][TILE + 1], x_tile[TK][TILE + 1];
#ifdef BLOCK_CHUNK
    local uint4 chunk[TILE * CHUNK_PIECES];
#endif
    const int item = get_local_id(0), row0 = (int) get_group_id(0) * TILE, token0 = (int) get_group_id(1) * TILE;
    const int my_row = item % SIDE, my_token = item / SIDE;
    const bool w_al = w_aligned(&a), x_al = x_aligned(&a);
    float acc[R][R];
    UNROLL for (int i = 0; i < R; i++)
        UNROLL for (int j = 0; j < R; j++)
            acc[i][j] = 0.0f;

    for (int k0 = 0; k0 < a.k; k0 += TK) {
#ifdef BLOCK_CHUNK
        const int from = k0 / BLOCK_CHUNK * BLOCK_CHUNK;
        if (k0 == from) {
            bring_chunk(&a, chunk, TILE, row0, from, item, w_al);
            barrier(CLK_LOCAL_MEM_FENCE);
        }
#endif
        UNROLL for (int i = 0; i < LOADS; i++) {
            const int at = item + i * WG, line = at / TK8, c = at % TK8 * 8;
            if (at < TILE * TK8) {
                const float8 wv = W_EIGHT(line, c);
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
