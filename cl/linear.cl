/* SPDX-License-Identifier: MIT
 * linear.cl - y[M,N] = x[M,K] W[N,K]^T + bias[N] + residual[M,N]
 *
 *   x, y, bias, residual  f32;  W  f32 or f16, as it lies in a model file: never copied or transposed in global memory.
 *   Any M, N, K >= 1. residual may be y: each element is read and then written by the same work-item.
 *
 * One program holds one variant, named by a macro that linear.c defines with the variant's parameters. Sums are float32
 * in an order that shape and configuration fix, so a run repeats bit for bit. Rows and tokens beyond N and M are
 * computed on a clamped index and not stored; columns beyond K count as 0 on both sides.
 *
 * For CPUs: one work-item per group, float16 vectors, a contiguous run of rows per group.
 *   linear_vec        dot products. MR tokens x NR rows of vector sums in registers, one horizontal sum at the end.
 *                     Blocks of MR*PASSES tokens share a tile of W, KT columns wide so that it stays in the first-level
 *                     cache; each pass prefetches its part of the next tile. With MR = 1 it is the GEMV.
 *   linear_vec_gemm   outer products. KT columns of 16*NV rows of W are transposed into private memory once and serve
 *                     all tokens, MR at a time; y holds the partial sums between the K tiles.
 * For GPUs:
 *   linear_wg_gemv    a group per ROWS rows; items stride K, VEC columns at a time; TM tokens at a time; a tree of
 *                     fixed shape in local memory, 4*TM*ROWS*WG bytes.
 *   linear_wg_flat    TM tokens x TN rows, K in tiles of TK through two buffers in local memory: tile t+1 is on its way
 *                     while tile t is used. 8*(TM+TN)*(TK+4) bytes local. K may be split into n_splits parts, which
 *                     linear_merge sums in order: work is [n_splits, M, N].
 *   linear_tile_gemm  TILE x TILE outputs, R x R per item, K in tiles of TK. 8*TK*(TILE+1) bytes local.
 * Around CLBlast:
 *   linear_start      y = bias + residual, to which CLBlast adds x W^T. */
#include "linear.h"

#ifdef W_F16
#define W_T             half
#define W_LOAD1(p)      vload_half(0, p)
#define W_LOAD(n, p)    PASTE(vload_half, n)(0, p)
#define W_ALIGNED(n, p) PASTE(vloada_half, n)(0, p)
#else
#define W_T             float
#define W_LOAD1(p)      (*(p))
#define W_LOAD(n, p)    PASTE(vload, n)(0, p)
#define W_ALIGNED(n, p) (*(global const PASTE(float, n) *) (p))
#endif

/* UNROLL: loops over tiles in registers, since an array is in registers only where every index is a constant.
 * ROLL: loops that run rarely and would cost more to compile, unrolled, than they save. */
#define UNROLL _Pragma("unroll")
#define ROLL   _Pragma("unroll 1")

/* The whole argument list of the operation, for every kernel here. */
#define LINEAR_ARGS LINEAR_BUFFERS(BUFFER_PARAM) LINEAR_SCALARS(SCALAR_PARAM) int unused
#define BIAS        (HAS(bias) ? bias : 0)
#define RESIDUAL    (HAS(residual) ? residual : 0)

/* What belongs in y[at], an element of column `row`. */
static float finish(float sum, size_t at, int row, global const float *bias, global const float *residual)
{
    if (bias)
        sum += bias[row];
    if (residual)
        sum += residual[at];
    return sum;
}

/* ---- CPUs -------------------------------------------------------------------------------------------------------- */

#if defined(LINEAR_VEC) || defined(LINEAR_VEC_GEMM)
typedef float16 float16_any __attribute__((aligned(4))); /* one load where PoCL's vload16 is many */
#define X_LOAD16(p) (*(global const float16_any *) (p))
#ifdef W_F16
#define W_LOAD16(p) vload_half16(0, p)
#else
#define W_LOAD16(p) X_LOAD16(p)
#endif

/* The items first..last-1 of n that this group takes: contiguous, none empty, as even as can be. */
static int share_of(int n, size_t group, size_t groups)
{
    return (int) ((ulong) n * group / groups);
}
#endif

#ifdef LINEAR_VEC
#if !defined(MR) || !defined(NR)
#error "linear_vec needs MR and NR"
#endif
#define PASSES 16                        /* MR*PASSES tokens use a tile of W before it is left */
#define KT     512                       /* columns of a tile when there is more than one pass */
#define LINE   (64 / (int) sizeof(W_T))  /* columns in a cache line */

/* The last k % 16 elements of a row of k, in some lanes that depend on k alone; the other lanes 0. */
static float16 x_tail(global const float *row, int k)
{
    const int16 lane = (int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    float v[16];
    if (k >= 16)
        return select((float16) 0.0f, X_LOAD16(row + k - 16), lane >= 16 - k % 16);
    ROLL for (int i = 0; i < 16; i++)
        v[i] = i < k ? row[i] : 0.0f;
    return vload16(0, v);
}

static float16 w_tail(global const W_T *row, int k)
{
    const int16 lane = (int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    float v[16];
    if (k >= 16)
        return select((float16) 0.0f, W_LOAD16(row + k - 16), lane >= 16 - k % 16);
    ROLL for (int i = 0; i < 16; i++)
        v[i] = i < k ? W_LOAD1(row + i) : 0.0f;
    return vload16(0, v);
}

static float sum16(float16 v)
{
    const float8 a = v.lo + v.hi;
    const float4 b = a.lo + a.hi;
    const float2 c = b.lo + b.hi;
    return c.lo + c.hi;
}

/* acc[t][r] += x_row[t] . w_row[r] over the columns k0..k1-1; k1 is K or k1 - k0 a multiple of 16. Every `every` steps
 * of 16 columns (0: never) one cache line of each row is prefetched, from column `ahead` on, counted from its start. */
static void vec_dot(float16 acc[MR][NR], global const float *const x_row[MR], global const W_T *const w_row[NR], int k0,
                    int k1, size_t ahead, int every)
{
    const int k16 = k0 + (k1 - k0) / 16 * 16;
    int wait = every;
    for (int i = k0; i < k16; i += 16) {
#if HAVE_PREFETCH
        if (--wait == 0) {
            UNROLL for (int r = 0; r < NR; r++)
                __builtin_prefetch((const void *) (size_t) (w_row[r] + ahead));
            ahead += LINE;
            wait = every;
        }
#endif
        float16 xv[MR];
        UNROLL for (int t = 0; t < MR; t++)
            xv[t] = X_LOAD16(x_row[t] + i);
        UNROLL for (int r = 0; r < NR; r++) {
            const float16 wv = W_LOAD16(w_row[r] + i);
            UNROLL for (int t = 0; t < MR; t++)
                acc[t][r] = fma(xv[t], wv, acc[t][r]);
        }
    }
    if (k16 < k1) {
        float16 xv[MR];
        UNROLL for (int t = 0; t < MR; t++)
            xv[t] = x_tail(x_row[t], k1);
        UNROLL for (int r = 0; r < NR; r++) {
            const float16 wv = w_tail(w_row[r], k1);
            UNROLL for (int t = 0; t < MR; t++)
                acc[t][r] = fma(xv[t], wv, acc[t][r]);
        }
    }
}

__attribute__((reqd_work_group_size(1, 1, 1)))
kernel void linear_vec(LINEAR_ARGS)
{
    LINEAR_BUFFERS(BUFFER_BEGIN)
    const int tiles = (n + NR - 1) / NR;
    const int first = share_of(tiles, get_group_id(0), get_num_groups(0));
    const int last = share_of(tiles, get_group_id(0) + 1, get_num_groups(0));
    float16 sums[PASSES][MR][NR]; /* of the passes, while they are at another K tile */

    for (int m0 = 0; m0 < m; m0 += MR * PASSES) {
        const int passes = (min(m - m0, MR * PASSES) + MR - 1) / MR;
        const int kt = passes == 1 ? k : KT;
        for (int tile = first; tile < last; tile++) {
            global const W_T *w_row[NR];
            UNROLL for (int r = 0; r < NR; r++)
                w_row[r] = w + (size_t) min(tile * NR + r, n - 1) * k;
            for (int k0 = 0; k0 < k; k0 += kt) {
                const int k1 = min(k - k0, kt) + k0;
                const size_t next = k1 < k ? (size_t) k1 : (size_t) NR * k;
                const int every = k1 < k || tile + 1 < last ? passes * (LINE / 16) : 0;
                for (int pass = 0; pass < passes; pass++) {
                    const int t0 = m0 + pass * MR;
                    global const float *x_row[MR];
                    UNROLL for (int t = 0; t < MR; t++)
                        x_row[t] = x + (size_t) min(t0 + t, m - 1) * k;
                    float16 acc[MR][NR];
                    UNROLL for (int t = 0; t < MR; t++)
                        UNROLL for (int r = 0; r < NR; r++)
                            acc[t][r] = k0 ? sums[pass][t][r] : (float16) 0.0f;
                    vec_dot(acc, x_row, w_row, k0, k1, next + pass * (kt / LINE) / passes * LINE, every);
                    if (k1 < k) {
                        UNROLL for (int t = 0; t < MR; t++)
                            UNROLL for (int r = 0; r < NR; r++)
                                sums[pass][t][r] = acc[t][r];
                        continue;
                    }
                    float dots[MR][NR];
                    UNROLL for (int t = 0; t < MR; t++)
                        UNROLL for (int r = 0; r < NR; r++)
                            dots[t][r] = sum16(acc[t][r]);
                    ROLL for (int t = 0; t < min(MR, m - t0); t++)
                        ROLL for (int r = 0; r < min(NR, n - tile * NR); r++) {
                            const int row = tile * NR + r;
                            const size_t at = (size_t) (t0 + t) * n + row;
                            y[at] = finish(dots[t][r], at, row, BIAS, RESIDUAL);
                        }
                }
            }
        }
    }
}
#endif

#ifdef LINEAR_VEC_GEMM
#if !defined(MR) || !defined(NV) || !defined(KT)
#error "linear_vec_gemm needs MR, NV and KT"
#endif

/* The address of an element is 4 bits of row, then 4 of column. A round rotates it by one bit; four swap the halves. */
static void transpose16(float16 v[16])
{
    UNROLL for (int round = 0; round < 4; round++) {
        float16 turned[16];
        UNROLL for (int i = 0; i < 8; i++) {
            turned[2 * i].even = v[i].lo;
            turned[2 * i].odd = v[i + 8].lo;
            turned[2 * i + 1].even = v[i].hi;
            turned[2 * i + 1].odd = v[i + 8].hi;
        }
        UNROLL for (int i = 0; i < 16; i++)
            v[i] = turned[i];
    }
}

/* panel[c][v] = column k0 + c of rows row0 + 16*v .. + 15, for c < columns. */
static void pack(float16 panel[KT][NV], global const W_T *w, int row0, int n, int k, int k0, int columns)
{
    ROLL for (int v = 0; v < NV; v++) {
        float16 rows[16];
        const int whole = columns / 16 * 16, first = row0 + 16 * v;
        for (int c = 0; c < whole; c += 16) {
            float16 block[16];
            ROLL for (int r = 0; r < 16; r++)
                rows[r] = W_LOAD16(w + (size_t) min(first + r, n - 1) * k + k0 + c);
            UNROLL for (int i = 0; i < 16; i++)
                block[i] = rows[i];
            transpose16(block);
            UNROLL for (int i = 0; i < 16; i++)
                panel[c + i][v] = block[i];
        }
        ROLL for (int c = whole; c < columns; c++)
            ROLL for (int r = 0; r < 16; r++)
                ((float *) &panel[c][v])[r] = W_LOAD1(w + (size_t) min(first + r, n - 1) * k + k0 + c);
    }
}

__attribute__((reqd_work_group_size(1, 1, 1)))
kernel void linear_vec_gemm(LINEAR_ARGS)
{
    LINEAR_BUFFERS(BUFFER_BEGIN)
    const int tiles = (n + 16 * NV - 1) / (16 * NV);
    const int first = share_of(tiles, get_group_id(0), get_num_groups(0));
    const int last = share_of(tiles, get_group_id(0) + 1, get_num_groups(0));
    const int blocks = (m + MR - 1) / MR;
    const int m_first = MR * share_of(blocks, get_group_id(1), get_num_groups(1));
    const int m_last = min(MR * share_of(blocks, get_group_id(1) + 1, get_num_groups(1)), m);
    float16 panel[KT][NV];

    for (int tile = first; tile < last; tile++)
        for (int k0 = 0; k0 < k; k0 += KT) {
            const int columns = min(k - k0, KT), row0 = tile * 16 * NV;
            pack(panel, w, row0, n, k, k0, columns);
            for (int t0 = m_first; t0 < m_last; t0 += MR) {
                float16 acc[MR][NV];
                global const float *x_row[MR];
                UNROLL for (int t = 0; t < MR; t++) {
                    x_row[t] = x + (size_t) min(t0 + t, m - 1) * k + k0;
                    UNROLL for (int v = 0; v < NV; v++)
                        acc[t][v] = (float16) 0.0f;
                }
                for (int c = 0; c < columns; c++)
                    UNROLL for (int t = 0; t < MR; t++) {
                        const float16 xv = (float16) x_row[t][c];
                        UNROLL for (int v = 0; v < NV; v++)
                            acc[t][v] = fma(xv, panel[c][v], acc[t][v]);
                    }
                float16 sums[MR * NV];
                UNROLL for (int i = 0; i < MR * NV; i++)
                    sums[i] = acc[i / NV][i % NV];
                ROLL for (int i = 0; i < MR * NV; i++) {
                    const int token = t0 + i / NV, row = row0 + i % NV * 16;
                    const size_t at = (size_t) token * n + row;
                    if (token >= m_last)
                        break;
                    if (row + 16 <= n) {
                        if (k0)
                            sums[i] += X_LOAD16(y + at);
                        if (!k0 && HAS(bias))
                            sums[i] += X_LOAD16(bias + row);
                        if (!k0 && HAS(residual))
                            sums[i] += X_LOAD16(residual + at);
                        *(global float16_any *) (y + at) = sums[i];
                        continue;
                    }
                    ROLL for (int r = 0; r < n - row; r++) {
                        const float sum = ((float *) &sums[i])[r];
                        y[at + r] = k0 ? y[at + r] + sum : finish(sum, at + r, row + r, BIAS, RESIDUAL);
                    }
                }
            }
        }
}
#endif

/* ---- GPUs -------------------------------------------------------------------------------------------------------- */

#if defined(LINEAR_WG_GEMV) || defined(LINEAR_WG_FLAT) || defined(LINEAR_TILE_GEMM)
/* Whether rows of k elements can be read as whole aligned vectors of `width`. The same answer in every work-item. */
static bool rows_aligned(global const float *x, global const W_T *w, int k, int width)
{
    return k % width == 0 && (size_t) x % (width * sizeof *x) == 0 && (size_t) w % (width * sizeof *w) == 0;
}
#endif

#if defined(LINEAR_WG_FLAT) || defined(LINEAR_TILE_GEMM)
/* The first n (any number, also <= 0) of 4 elements, the rest 0. */
static float4 x_load4(global const float *p, int n, bool aligned)
{
    if (aligned && n >= 4)
        return *(global const float4 *) p;
    return (float4)(n > 0 ? p[0] : 0.0f, n > 1 ? p[1] : 0.0f, n > 2 ? p[2] : 0.0f, n > 3 ? p[3] : 0.0f);
}

static float4 w_load4(global const W_T *p, int n, bool aligned)
{
    if (aligned && n >= 4)
        return W_ALIGNED(4, p);
    return (float4)(n > 0 ? W_LOAD1(p) : 0.0f, n > 1 ? W_LOAD1(p + 1) : 0.0f, n > 2 ? W_LOAD1(p + 2) : 0.0f,
                    n > 3 ? W_LOAD1(p + 3) : 0.0f);
}
#endif

#ifdef LINEAR_WG_GEMV
#if !defined(WG) || !defined(ROWS) || !defined(TM) || !defined(VEC)
#error "linear_wg_gemv needs WG, ROWS, TM and VEC"
#endif
typedef PASTE(float, VEC) vec;

static float sum_vec(vec v)
{
#if VEC == 8
    const float4 a = v.lo + v.hi;
#else
    const float4 a = v;
#endif
    return (a.x + a.y) + (a.z + a.w);
}

__attribute__((reqd_work_group_size(WG, 1, 1)))
kernel void linear_wg_gemv(LINEAR_ARGS)
{
    LINEAR_BUFFERS(BUFFER_BEGIN)
    local float part[TM * ROWS][WG];
    const int item = get_local_id(0), row0 = (int) get_group_id(0) * ROWS;
    const bool aligned = rows_aligned(x, w, k, VEC);
    const int whole = k / VEC * VEC;
    global const W_T *w_row[ROWS];
    UNROLL for (int r = 0; r < ROWS; r++)
        w_row[r] = w + (size_t) min(row0 + r, n - 1) * k;

    for (int t0 = 0; t0 < m; t0 += TM) {
        global const float *x_row[TM];
        vec acc[TM][ROWS];
        UNROLL for (int t = 0; t < TM; t++) {
            x_row[t] = x + (size_t) min(t0 + t, m - 1) * k;
            UNROLL for (int r = 0; r < ROWS; r++)
                acc[t][r] = (vec) 0.0f;
        }
        for (int i = item * VEC; i < whole; i += WG * VEC) {
            vec wv[ROWS];
            UNROLL for (int r = 0; r < ROWS; r++)
                wv[r] = aligned ? W_ALIGNED(VEC, w_row[r] + i) : W_LOAD(VEC, w_row[r] + i);
            UNROLL for (int t = 0; t < TM; t++) {
                const vec xv = aligned ? *(global const vec *) (x_row[t] + i) : PASTE(vload, VEC)(0, x_row[t] + i);
                UNROLL for (int r = 0; r < ROWS; r++)
                    acc[t][r] += xv * wv[r];
            }
        }
        UNROLL for (int t = 0; t < TM; t++)
            UNROLL for (int r = 0; r < ROWS; r++) {
                float sum = sum_vec(acc[t][r]);
                for (int i = whole + item; i < k; i += WG)
                    sum += x_row[t][i] * W_LOAD1(w_row[r] + i);
                part[t * ROWS + r][item] = sum;
            }
        for (int half_wg = WG / 2; half_wg > 0; half_wg /= 2) {
            barrier(CLK_LOCAL_MEM_FENCE);
            if (item < half_wg)
                for (int i = 0; i < TM * ROWS; i++)
                    part[i][item] += part[i][item + half_wg];
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int i = item; i < TM * ROWS; i += WG) {
            const int row = row0 + i % ROWS;
            const size_t at = (size_t) (t0 + i / ROWS) * n + row;
            if (row < n && t0 + i / ROWS < m)
                y[at] = finish(part[i][0], at, row, BIAS, RESIDUAL);
        }
        barrier(CLK_LOCAL_MEM_FENCE); /* part is about to be overwritten */
    }
}
#endif

#ifdef LINEAR_WG_FLAT
#if !defined(TM) || !defined(TN) || !defined(TK) || !defined(RN)
#error "linear_wg_flat needs TM, TN, TK and RN"
#endif
#define RM      (TM < 8 ? TM : 8) /* tokens of an item; RN: its rows */
#define ITEMS_N (TN / RN)
#define WG      (ITEMS_N * (TM / RM))
#define TK4     (TK / 4)
#define W_LOADS ((TN * TK4 + WG - 1) / WG)
#define X_LOADS ((TM * TK4 + WG - 1) / WG)

/* Groups: rows / TN, tokens / TM, parts of K. */
__attribute__((reqd_work_group_size(WG, 1, 1)))
kernel void linear_wg_flat(LINEAR_ARGS)
{
    LINEAR_BUFFERS(BUFFER_BEGIN)
    local float4 w_tile[2][TN][TK4 + 1], x_tile[2][TM][TK4 + 1]; /* +1: neighbouring rows start in other banks */
    const int item = get_local_id(0), row0 = (int) get_group_id(0) * TN, token0 = (int) get_group_id(1) * TM;
    const int my_row = item % ITEMS_N, my_token = item / ITEMS_N * RM;
    const bool aligned = rows_aligned(x, w, k, 4);
    const int tiles = (k + TK - 1) / TK;
    const size_t split = get_group_id(2);
    const int first = (int) (split * tiles / n_splits), last = (int) ((split + 1) * tiles / n_splits);

    float4 w_next[W_LOADS], x_next[X_LOADS];
    float acc[RM][RN];
    UNROLL for (int i = 0; i < RM; i++)
        UNROLL for (int j = 0; j < RN; j++)
            acc[i][j] = 0.0f;

    /* Step t fetches tile t, computes tile t - 1, then puts tile t into the other buffer. */
    for (int tile = first; tile <= last; tile++) {
        if (tile < last) {
            UNROLL for (int i = 0; i < W_LOADS; i++) {
                const int at = item + i * WG, row = row0 + at / TK4, column = tile * TK + at % TK4 * 4;
                w_next[i] = w_load4(w + (size_t) min(row, n - 1) * k + column, k - column, aligned);
            }
            UNROLL for (int i = 0; i < X_LOADS; i++) {
                const int at = item + i * WG, token = token0 + at / TK4, column = tile * TK + at % TK4 * 4;
                x_next[i] = x_load4(x + (size_t) min(token, m - 1) * k + column, k - column, aligned);
            }
        }
        const int now = (tile - first + 1) % 2;
        if (tile > first)
            UNROLL for (int q = 0; q < TK4; q++) {
                float4 wv[RN];
                UNROLL for (int j = 0; j < RN; j++)
                    wv[j] = w_tile[now][my_row + j * ITEMS_N][q];
                UNROLL for (int i = 0; i < RM; i++) {
                    const float4 xv = x_tile[now][my_token + i][q];
                    UNROLL for (int j = 0; j < RN; j++) {
                        acc[i][j] += xv.x * wv[j].x;
                        acc[i][j] += xv.y * wv[j].y;
                        acc[i][j] += xv.z * wv[j].z;
                        acc[i][j] += xv.w * wv[j].w;
                    }
                }
            }
        if (tile < last) {
            UNROLL for (int i = 0; i < W_LOADS; i++) {
                const int at = item + i * WG;
                if (at < TN * TK4)
                    w_tile[1 - now][at / TK4][at % TK4] = w_next[i];
            }
            UNROLL for (int i = 0; i < X_LOADS; i++) {
                const int at = item + i * WG;
                if (at < TM * TK4)
                    x_tile[1 - now][at / TK4][at % TK4] = x_next[i];
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }

    UNROLL for (int i = 0; i < RM; i++)
        UNROLL for (int j = 0; j < RN; j++) {
            const int row = row0 + my_row + j * ITEMS_N, token = token0 + my_token + i;
            const size_t at = (size_t) token * n + row;
            if (row >= n || token >= m)
                continue;
            if (n_splits > 1)
                work[split * m * n + at] = acc[i][j];
            else
                y[at] = finish(acc[i][j], at, row, BIAS, RESIDUAL);
        }
}

kernel void linear_merge(LINEAR_ARGS)
{
    LINEAR_BUFFERS(BUFFER_BEGIN)
    const size_t at = get_global_id(0), outputs = (size_t) m * n;
    if (at >= outputs)
        return;
    float sum = work[at];
    for (int s = 1; s < n_splits; s++)
        sum += work[s * outputs + at];
    y[at] = finish(sum, at, (int) (at % n), BIAS, RESIDUAL);
}
#endif

#ifdef LINEAR_TILE_GEMM
#if !defined(TILE) || !defined(R) || !defined(TK)
#error "linear_tile_gemm needs TILE, R and TK"
#endif
#define SIDE  (TILE / R) /* items along a side of the tile */
#define WG    (SIDE * SIDE)
#define TK4   (TK / 4)
#define LOADS ((TILE * TK4 + WG - 1) / WG)

/* Groups: rows / TILE, tokens / TILE. */
__attribute__((reqd_work_group_size(WG, 1, 1)))
kernel void linear_tile_gemm(LINEAR_ARGS)
{
    LINEAR_BUFFERS(BUFFER_BEGIN)
    local float w_tile[TK][TILE + 1], x_tile[TK][TILE + 1];
    const int item = get_local_id(0), row0 = (int) get_group_id(0) * TILE, token0 = (int) get_group_id(1) * TILE;
    const int my_row = item % SIDE, my_token = item / SIDE;
    const bool aligned = rows_aligned(x, w, k, 4);
    float acc[R][R];
    UNROLL for (int i = 0; i < R; i++)
        UNROLL for (int j = 0; j < R; j++)
            acc[i][j] = 0.0f;

    for (int k0 = 0; k0 < k; k0 += TK) {
        UNROLL for (int i = 0; i < LOADS; i++) {
            const int at = item + i * WG, line = at / TK4, c = at % TK4 * 4;
            if (at < TILE * TK4) {
                const float4 wv = w_load4(w + (size_t) min(row0 + line, n - 1) * k + k0 + c, k - k0 - c, aligned);
                const float4 xv = x_load4(x + (size_t) min(token0 + line, m - 1) * k + k0 + c, k - k0 - c, aligned);
                /* Not a function: PoCL 3.1 lets groups share a local array whose address is passed on. */
                w_tile[c][line] = wv.x;
                w_tile[c + 1][line] = wv.y;
                w_tile[c + 2][line] = wv.z;
                w_tile[c + 3][line] = wv.w;
                x_tile[c][line] = xv.x;
                x_tile[c + 1][line] = xv.y;
                x_tile[c + 2][line] = xv.z;
                x_tile[c + 3][line] = xv.w;
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int c = 0; c < TK; c++) {
            float wv[R];
            UNROLL for (int j = 0; j < R; j++)
                wv[j] = w_tile[c][my_row + j * SIDE];
            UNROLL for (int i = 0; i < R; i++) {
                const float xv = x_tile[c][my_token + i * SIDE];
                UNROLL for (int j = 0; j < R; j++)
                    acc[i][j] += xv * wv[j];
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }

    UNROLL for (int i = 0; i < R; i++)
        UNROLL for (int j = 0; j < R; j++) {
            const int row = row0 + my_row + j * SIDE, token = token0 + my_token + i * SIDE;
            const size_t at = (size_t) token * n + row;
            if (row < n && token < m)
                y[at] = finish(acc[i][j], at, row, BIAS, RESIDUAL);
        }
}
#endif

/* ---- CLBlast ----------------------------------------------------------------------------------------------------- */

#ifdef LINEAR_START
kernel void linear_start(LINEAR_ARGS)
{
    LINEAR_BUFFERS(BUFFER_BEGIN)
    const size_t at = get_global_id(0);
    if (at < (size_t) m * n)
        y[at] = finish(0.0f, at, (int) (at % n), BIAS, RESIDUAL);
}
#endif
