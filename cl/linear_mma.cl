/* SPDX-License-Identifier: MIT
 * linear_mma.cl - linear on the matrix units of GPUs; part of linear.cl, where the terms are explained
 *
 *   linear_mma  TM tokens x TN rows by WAVES waves, each of which takes TN / WAVES rows and all tokens. K in tiles of
 *               TK through STAGES buffers in local memory: tile t + STAGES - 1 is on its way while tile t is used.
 *               2*STAGES*(TN*W_PIECES + TM*X_PIECES)*(TK+8) bytes local. K may be split: see linear_wg_flat.
 *
 * Both sides are of one type of 16 bits: as they are where both are f16, or bf16; else as sums of X_PIECES and W_PIECES
 * pieces of bf16 (mma.h), all of whose products are made: nothing of x and W is rounded. Units may cut off what a sum
 * does not hold, where the library's own additions round; so the sums of a tile begin at 0, and are then added. */
#define STRIDE  (TK + 8) /* an odd number of 16 bytes: neighbouring lines start in other banks */
#define TK8     (TK / 8)
#define LINE8   (STRIDE / 8)
#define W_TILE  (W_PIECES * TN * LINE8) /* in uint4: 8 elements */
#define X_TILE  (X_PIECES * TM * LINE8)
#define W_LOADS ((TN * TK8 + WG - 1) / WG)
#define X_LOADS ((TM * TK8 + WG - 1) / WG)
#define ROWS    (TN / WAVES / MMA_M) /* of tiles of the unit, of a wave */
#define TOKENS  (TM / MMA_N)
#define W_ASYNC (MMA_ASYNC && W_PIECES == 1)
#define AT_ONCE (GLU ? 2 : 1) /* rows that finish() needs together */
#define X_ASYNC (MMA_ASYNC && X_PIECES == 1)

/* v as n pieces, `apart` from each other. */
INLINE void put_pieces(local uint4 *to, int apart, int n, float8 v)
{
    MMA_UNROLL for (int i = 0; i < n; i++) {
        const float8 piece = i + 1 < n ? mma_piece(v) : v;
        to[i * apart] = as_uint4(convert_ushort8(as_uint8(piece) >> 16));
        v -= piece;
    }
}

#if W_PIECES == 1
#define PUT_W(to, v) (*(to) = v)
#else
#define PUT_W(to, v) put_pieces(to, TN *LINE8, W_PIECES, half8_bits(v))
INLINE float8 half8_bits(uint4 bits)
{
    return vload_half8(0, (const half *) &bits);
}
#endif
#if X_PIECES == 1
typedef uint4 x_vec;
#define PUT_X(to, v) (*(to) = v)
#define GET_X(a, token, column, aligned) bits_piece(x_bits_of(a, token), column, (a)->k, aligned)
INLINE global const ushort *x_bits_of(const struct args *a, int token)
{
    return (global const ushort *) a->x + (size_t) min(token, a->m - 1) * a->k;
}
#else
typedef float8 x_vec;
#define PUT_X(to, v) put_pieces(to, TM *LINE8, X_PIECES, v)
#define GET_X        x_piece
#endif

INLINE global const ushort *w_bits_of(const struct args *a, int row)
{
    return (global const ushort *) w_row_of(a, row);
}

/* What a work-item loads ahead: the first steps of its way from global to local memory. */
struct ahead {
    uint4 w[W_LOADS];
    x_vec x[X_LOADS];
};

struct place_of_tile {
    int row0, token0, item;
    bool w_aligned, x_aligned;
};

/* Line and columns of load i of an item. */
#define LOAD_LINE(i) ((p->item + (i) * WG) / TK8)
#define LOAD_COL8(i) ((p->item + (i) * WG) % TK8)
#define LOAD_W_TO(i) (w_tile + (LOAD_LINE(i) / MMA_M * MMA_M + mma_place(LOAD_LINE(i) % MMA_M)) * LINE8 + LOAD_COL8(i))
#define LOAD_X_TO(i) (x_tile + LOAD_LINE(i) * LINE8 + LOAD_COL8(i))

/* Begins to bring a tile of K. */
INLINE void fetch(const struct args *a, const struct place_of_tile *p, int tile, struct ahead *next,
                  local uint4 *w_tile, local uint4 *x_tile)
{
    MMA_UNROLL for (int i = 0; i < W_LOADS; i++) {
        const int line = LOAD_LINE(i), column = tile * TK + LOAD_COL8(i) * 8;
        global const ushort *row = w_bits_of(a, p->row0 + line);
        if (W_ASYNC && p->w_aligned && column < a->k && line < TN)
            mma_copy(LOAD_W_TO(i), row + column);
        else
            next->w[i] = bits_piece(row, column, a->k, p->w_aligned);
    }
    MMA_UNROLL for (int i = 0; i < X_LOADS; i++) {
        const int line = LOAD_LINE(i), column = tile * TK + LOAD_COL8(i) * 8;
#if X_ASYNC
        if (p->x_aligned && column < a->k && line < TM)
            mma_copy(LOAD_X_TO(i), x_bits_of(a, p->token0 + line) + column);
        else
#endif
            next->x[i] = GET_X(a, p->token0 + line, column, p->x_aligned);
    }
}

/* Puts what was loaded where it belongs. */
INLINE void put(const struct args *a, const struct place_of_tile *p, int tile, const struct ahead *next,
                local uint4 *w_tile, local uint4 *x_tile)
{
    MMA_UNROLL for (int i = 0; i < W_LOADS; i++) {
        const int column = tile * TK + LOAD_COL8(i) * 8;
        if (LOAD_LINE(i) < TN && !(W_ASYNC && p->w_aligned && column < a->k))
            PUT_W(LOAD_W_TO(i), next->w[i]);
    }
    MMA_UNROLL for (int i = 0; i < X_LOADS; i++) {
        const int column = tile * TK + LOAD_COL8(i) * 8;
        if (LOAD_LINE(i) < TM && !(X_ASYNC && p->x_aligned && column < a->k))
            PUT_X(LOAD_X_TO(i), next->x[i]);
    }
}

/* The products of a tile, of a wave's rows. */
INLINE void add_tile(mma_sums sums[ROWS][TOKENS], local const ushort *w_tile, local const ushort *x_tile, int lane,
                     local float *scratch)
{
    mma_sums part[ROWS][TOKENS];
    MMA_UNROLL for (int r = 0; r < ROWS; r++)
        MMA_UNROLL for (int t = 0; t < TOKENS; t++)
            part[r][t] = 0.0f;
    MMA_UNROLL for (int c = 0; c < TK; c += MMA_K) {
        mma_w w[ROWS][W_PIECES];
        MMA_UNROLL for (int r = 0; r < ROWS; r++)
            MMA_UNROLL for (int i = 0; i < W_PIECES; i++)
                w[r][i] = mma_load_w(w_tile + (i * TN + r * MMA_M) * STRIDE + c, STRIDE, lane, scratch);
        MMA_UNROLL for (int t = 0; t < TOKENS; t++)
            MMA_UNROLL for (int j = 0; j < X_PIECES; j++) {
                const mma_x x = mma_load_x(x_tile + (j * TM + t * MMA_N) * STRIDE + c, STRIDE, lane, scratch);
                MMA_UNROLL for (int r = 0; r < ROWS; r++)
                    MMA_UNROLL for (int i = 0; i < W_PIECES; i++)
                        part[r][t] = mma(w[r][i], x, part[r][t], lane, scratch);
            }
    }
    MMA_UNROLL for (int r = 0; r < ROWS; r++)
        MMA_UNROLL for (int t = 0; t < TOKENS; t++)
            sums[r][t] += part[r][t];
}

/* Groups: rows / TN, tokens / TM, parts of K. */
__attribute__((reqd_work_group_size(WG, 1, 1)))
kernel void linear_mma(LINEAR_ARGS)
{
    TAKE_ARGS(a)
    local uint4 w_tiles[STAGES * W_TILE], x_tiles[STAGES * X_TILE];
    MMA_SCRATCH(all_scratch, WAVES)
    const int item = hardware_item(), wave = item / MMA_LANES, lane = item % MMA_LANES;
    local float *scratch = MMA_SCRATCH_AT(all_scratch, wave);
    const struct place_of_tile p = {(int) get_group_id(0) * TN, (int) get_group_id(1) * TM, item, w_aligned(&a),
                                    x_aligned(&a)};
    const int tiles = (k + TK - 1) / TK;
    const size_t split = get_group_id(2);
    const int first = (int) (split * tiles / a.n_splits), last = (int) ((split + 1) * tiles / a.n_splits);
    struct ahead next;
    mma_sums sums[ROWS][TOKENS];
    MMA_UNROLL for (int r = 0; r < ROWS; r++)
        MMA_UNROLL for (int t = 0; t < TOKENS; t++)
            sums[r][t] = 0.0f;

    for (int tile = first - (STAGES - 1); tile < last; tile++) { /* the first steps only bring tiles */
        const int ahead = tile + STAGES - 1, then = (ahead - first) % STAGES, now = (then + 1) % STAGES;
        MMA_COPIES_WAIT(STAGES - 2);
        barrier(CLK_LOCAL_MEM_FENCE); /* `now` is there, and nobody reads `then` any more */
        if (ahead < last)
            fetch(&a, &p, ahead, &next, w_tiles + then * W_TILE, x_tiles + then * X_TILE);
        MMA_COPIES_END();
        if (tile >= first)
            add_tile(sums, (local const ushort *) (w_tiles + now * W_TILE + wave * ROWS * MMA_M * LINE8),
                     (local const ushort *) (x_tiles + now * X_TILE), lane, scratch);
        if (ahead < last)
            put(&a, &p, ahead, &next, w_tiles + then * W_TILE, x_tiles + then * X_TILE);
    }

    MMA_UNROLL for (int r = 0; r < ROWS; r++)
        MMA_UNROLL for (int t = 0; t < TOKENS; t++)
            MMA_UNROLL for (int i = 0; i < MMA_TOKENS; i++) {
                const int token = p.token0 + t * MMA_N + mma_token(lane) + i;
                const int row = p.row0 + (wave * ROWS + r) * MMA_M + mma_row(lane);
                float out[MMA_ROWS];
                MMA_UNROLL for (int j = 0; j < MMA_ROWS; j++)
                    out[j] = mma_sum(sums[r][t], i, j);
                MMA_UNROLL for (int j = 0; j < MMA_ROWS; j += AT_ONCE)
                    store_sums(&a, out + j, AT_ONCE, token, row + j);
            }
}
