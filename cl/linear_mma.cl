/* SPDX-License-Identifier: MIT
 * linear_mma.cl - linear on the matrix units of GPUs; part of linear.cl, where the terms are explained
 *
 *   linear_mma  TM tokens x TN rows by WAVES waves, each of which takes TN / WAVES rows and all tokens. K in tiles of
 *               TK through STAGES buffers in local memory: tile t + STAGES - 1 is on its way while tile t is used.
 *               2*STAGES*(TN*W_PIECES + TM*X_PIECES)*(TK+8) bytes local, of blocks 4*STAGES*TN*TK/SPAN*SCALES more.
 *               W of blocks comes in chunks of several tiles: while one is used, the next is on its way to a second
 *               buffer where copies go on by themselves, else to registers. K may be split: see linear_wg_flat.
 *
 * Both sides are of one type of 16 bits: as they are where both are f16, or bf16; else as sums of X_PIECES and W_PIECES
 * pieces of bf16 (mma.h), all of whose products are made: nothing of x and W is rounded. Units may cut off what a sum
 * does not hold, where the library's own additions round; so the sums of a tile begin at 0, and are then added.
 *
 * Blocks: their quants are whole numbers, which one piece holds. Sums begin at 0 for each SPAN columns that have a
 * scale of their own, are multiplied by it, and added. Where a minimum is added to elements (SCALES 2, else 1), it is
 * multiplied by the sum of x over the SPAN, which the unit makes by a row of ones: d sum(q x) + m sum(x) for
 * sum((d q + m) x). With an infinity in x that may be Inf - Inf, so sums that are no numbers are made again, element
 * by element, by a second pass of the group.
 *
 * What linear_mma.c says of the class: W_BITS, X_BITS of a significand; SPAN and SCALES of blocks. */
#define STRIDE  (TK + 8) /* an odd number of 16 bytes: neighbouring lines start in other banks */
#define TK8     (TK / 8)
#define LINE8   (STRIDE / 8)
#if !IS_BLOCKS
#define SPAN   TK
#define SCALES 0
#endif
#define LEAST   (SCALES == 2)
#define SPANS   (TK / SPAN)
#define W_LINES (W_PIECES * TN * LINE8) /* in uint4: 8 elements */
#define W_TILE  (W_LINES + SCALES * SPANS * TN / 4) /* [SCALES][SPANS][TN] float at the end */
#define X_TILE  (X_PIECES * TM * LINE8)
#define W_LOADS ((TN * TK8 + WG - 1) / WG)
#define X_LOADS ((TM * TK8 + WG - 1) / WG)
#define S_LOADS ((TN * SPANS + WG - 1) / WG)
#if IS_BLOCKS
#define CHUNK       (TN * CHUNK_PIECES) /* in uint4 */
#define CHUNKS      (MMA_ASYNC ? 2 : 1)
#define CHUNK_TILES (BLOCK_CHUNK / TK)
#define CHUNK_LOADS ((CHUNK + WG - 1) / WG)
#define CHUNK_OF(tile) (chunks + (tile) / CHUNK_TILES % CHUNKS * CHUNK)
#endif
#define ROWS    (TN / WAVES / MMA_M) /* of tiles of the unit, of a wave */
#define TOKENS  (TM / MMA_N)
#define W_ASYNC (MMA_ASYNC && W_PIECES == 1 && !IS_BLOCKS)
#define AT_ONCE (GLU ? 2 : 1) /* rows that finish() needs together */
#define X_ASYNC (MMA_ASYNC && X_PIECES == 1 && !IS_BLOCKS) /* waiting for x would be waiting for the next chunk */

/* Eight columns of W on their way; of blocks, out of the chunk. */
#if IS_BLOCKS
INLINE uint4 quants_piece(local const uchar *row, int column)
{
    const int v = column % W_BLOCK / 8;
    const float8 q = PASTE(whole_, W_TYPE)(row + W_UNITS(column), v / 8, v % 8);
#if MMA_F16
    ushort8 bits;
    vstore_half8(q, 0, (half *) &bits);
    return as_uint4(bits);
#else
    return as_uint4(convert_ushort8(as_uint8(q) >> 16));
#endif
}
#elif IS_16_BIT
typedef uint4 w_vec;
#define GET_W(row, column, k, aligned) bits_piece((global const ushort *) (row), column, k, aligned)
#else
typedef float8 w_vec;
#define GET_W w_piece
#endif
#if W_PIECES == 1
#define PUT_W(to, v) (*(to) = v)
#elif IS_16_BIT
#define PUT_W(to, v) mma_put_pieces(to, TN *LINE8, W_PIECES, PASTE(wide_, W_TYPE)(v))
#else
#define PUT_W(to, v) mma_put_pieces(to, TN *LINE8, W_PIECES, v)
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
#define PUT_X(to, v) mma_put_pieces(to, TM *LINE8, X_PIECES, v)
#define GET_X        x_piece
#endif

/* What a work-item loads ahead: the first steps of its way from global to local memory. */
struct ahead {
#if !IS_BLOCKS
    w_vec w[W_LOADS];
#elif !MMA_ASYNC
    uint4 chunk[CHUNK_LOADS];
#endif
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
/* Row and span of scale i of an item. */
#define SCALE_ROW(i)  ((p->item + (i) * WG) / SPANS)
#define SCALE_SPAN(i) ((p->item + (i) * WG) % SPANS)

#if IS_BLOCKS
/* Begins to bring the chunk that begins with `tile`. */
INLINE void fetch_chunk(const struct args *a, const struct place_of_tile *p, int tile, struct ahead *next,
                        local uint4 *chunk)
{
    const int from = tile * TK, end = min(from + BLOCK_CHUNK, a->k);
    MMA_UNROLL for (int i = 0; i < CHUNK_LOADS; i++) {
        const int at = p->item + i * WG, piece = at % CHUNK_PIECES;
        global const W_T *row = w_row_of(a, p->row0 + at / CHUNK_PIECES);
#if MMA_ASYNC
        const int byte = (W_UNITS(from) / 16 + piece) * 16;
        if (at < CHUNK && p->w_aligned && byte < W_UNITS(end))
            mma_copy(chunk + at, row + byte);
        else if (at < CHUNK)
            chunk[at] = chunk_piece(row, from, end, piece, p->w_aligned);
#else
        next->chunk[i] = chunk_piece(row, from, at < CHUNK ? end : 0, piece, p->w_aligned);
#endif
    }
    MMA_COPIES_END();
}

/* The chunk that was fetched last is in local memory: after a barrier, for all. */
INLINE void take_chunk(const struct place_of_tile *p, const struct ahead *next, local uint4 *chunk)
{
    MMA_COPIES_WAIT(0);
#if !MMA_ASYNC
    MMA_UNROLL for (int i = 0; i < CHUNK_LOADS; i++)
        if (p->item + i * WG < CHUNK)
            chunk[p->item + i * WG] = next->chunk[i];
#endif
}

/* W of the tile, from its chunk to where it belongs. */
INLINE void unpack(const struct place_of_tile *p, int tile, local const uint4 *chunk, local uint4 *w_tile)
{
    const int from = tile / CHUNK_TILES * BLOCK_CHUNK, column0 = tile * TK - from;
    local float *scales = (local float *) (w_tile + W_LINES);
    MMA_UNROLL for (int i = 0; i < W_LOADS; i++)
        if (LOAD_LINE(i) < TN) {
            local const uchar *row = chunk_row(chunk + LOAD_LINE(i) * CHUNK_PIECES, from);
            *LOAD_W_TO(i) = quants_piece(row, column0 + LOAD_COL8(i) * 8);
        }
    MMA_UNROLL for (int i = 0; i < S_LOADS; i++) {
        const int row = SCALE_ROW(i), column = column0 + SCALE_SPAN(i) * SPAN;
        if (row < TN) {
            local const uchar *block = chunk_row(chunk + row * CHUNK_PIECES, from) + W_UNITS(column);
            const float2 part = PASTE(part_, W_TYPE)(block, column % W_BLOCK / SPAN);
            scales[SCALE_SPAN(i) * TN + row] = part.x;
            if (LEAST)
                scales[(SPANS + SCALE_SPAN(i)) * TN + row] = part.y;
        }
    }
}
#endif

/* Begins to bring a tile of K; of blocks only x. */
INLINE void fetch(const struct args *a, const struct place_of_tile *p, int tile, struct ahead *next,
                  local uint4 *w_tile, local uint4 *x_tile)
{
#if !IS_BLOCKS
    MMA_UNROLL for (int i = 0; i < W_LOADS; i++) {
        const int line = LOAD_LINE(i), column = tile * TK + LOAD_COL8(i) * 8;
        global const W_T *row = w_row_of(a, p->row0 + line);
        if (W_ASYNC && p->w_aligned && column < a->k && line < TN)
            mma_copy(LOAD_W_TO(i), row + column);
        else
            next->w[i] = GET_W(row, column, a->k, p->w_aligned);
    }
#endif
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
#if !IS_BLOCKS
    MMA_UNROLL for (int i = 0; i < W_LOADS; i++) {
        const int column = tile * TK + LOAD_COL8(i) * 8;
        if (LOAD_LINE(i) < TN && !(W_ASYNC && p->w_aligned && column < a->k))
            PUT_W(LOAD_W_TO(i), next->w[i]);
    }
#endif
    MMA_UNROLL for (int i = 0; i < X_LOADS; i++) {
        const int column = tile * TK + LOAD_COL8(i) * 8;
        if (LOAD_LINE(i) < TM && !(X_ASYNC && p->x_aligned && column < a->k))
            PUT_X(LOAD_X_TO(i), next->x[i]);
    }
}

/* The products of a span of columns, of a wave's rows, and of ones where a minimum needs them. */
INLINE void multiply(mma_sums part[ROWS + LEAST][TOKENS], local const ushort *w_lines, local const ushort *x_lines,
                     int lane, local float *scratch)
{
    MMA_UNROLL for (int r = 0; r < ROWS + LEAST; r++)
        MMA_UNROLL for (int t = 0; t < TOKENS; t++)
            part[r][t] = 0.0f;
    MMA_UNROLL for (int c = 0; c < SPAN; c += MMA_K) {
        mma_w w[ROWS + LEAST][W_PIECES];
        MMA_UNROLL for (int r = 0; r < ROWS; r++)
            MMA_UNROLL for (int i = 0; i < W_PIECES; i++)
                w[r][i] = mma_load_w(w_lines + (i * TN + r * MMA_M) * STRIDE + c, STRIDE, lane, scratch);
#if LEAST
        w[ROWS][0] = mma_ones(MMA_F16);
#endif
        MMA_UNROLL for (int t = 0; t < TOKENS; t++)
            MMA_UNROLL for (int j = 0; j < X_PIECES; j++) {
                const mma_x x = mma_load_x(x_lines + (j * TM + t * MMA_N) * STRIDE + c, STRIDE, lane, scratch);
                MMA_UNROLL for (int r = 0; r < ROWS + LEAST; r++)
                    MMA_UNROLL for (int i = 0; i < W_PIECES; i++)
                        part[r][t] = mma(MMA_F16, w[r][i], x, part[r][t], lane, scratch);
            }
    }
}

/* Those of a tile, scaled where W is blocks. */
INLINE void add_tile(mma_sums sums[ROWS][TOKENS], local const uint4 *w_tile, local const uint4 *x_tile, int wave,
                     int lane, local float *scratch)
{
    const int row0 = wave * ROWS * MMA_M;
    MMA_UNROLL for (int s = 0; s < SPANS; s++) {
        mma_sums part[ROWS + LEAST][TOKENS];
        multiply(part, (local const ushort *) w_tile + row0 * STRIDE + s * SPAN,
                 (local const ushort *) x_tile + s * SPAN, lane, scratch);
        MMA_UNROLL for (int r = 0; r < ROWS; r++) {
#if IS_BLOCKS
            local const float *scales = (local const float *) (w_tile + W_LINES) + s * TN + row0 + r * MMA_M;
            const mma_sums scale = mma_of_rows(scales, lane);
#if LEAST
            const mma_sums least = mma_of_rows(scales + SPANS * TN, lane);
            MMA_UNROLL for (int t = 0; t < TOKENS; t++)
                sums[r][t] += fma(scale, part[r][t], least * part[ROWS][t]);
#else
            MMA_UNROLL for (int t = 0; t < TOKENS; t++)
                sums[r][t] = fma(scale, part[r][t], sums[r][t]);
#endif
#else
            MMA_UNROLL for (int t = 0; t < TOKENS; t++)
                sums[r][t] += part[r][t];
#endif
        }
    }
}

/* Of a lane: row 0 of its tile r, and its token i of tile t. */
#define LANE_ROW(r)      (p->row0 + (wave * ROWS + (r)) * MMA_M + mma_row(lane))
#define LANE_TOKEN(t, i) (p->token0 + (t) * MMA_N + mma_token(lane) + (i))
#define TOKEN_BIT(t, i)  (1u << ((t) * MMA_TOKENS + (i)))

INLINE void store_lane(const struct args *a, const struct place_of_tile *p, mma_sums sums[ROWS][TOKENS],
                       int wave, int lane)
{
    MMA_UNROLL for (int r = 0; r < ROWS; r++)
        MMA_UNROLL for (int t = 0; t < TOKENS; t++)
            MMA_UNROLL for (int i = 0; i < MMA_TOKENS; i++) {
                float out[MMA_ROWS];
                MMA_UNROLL for (int j = 0; j < MMA_ROWS; j++)
                    out[j] = mma_sum(sums[r][t], i, j);
                MMA_UNROLL for (int j = 0; j < MMA_ROWS; j += AT_ONCE)
                    store_sums(a, out + j, AT_ONCE, LANE_TOKEN(t, i), LANE_ROW(r) + j);
            }
}

#if LEAST
/* The tokens of a lane some of whose sums are no numbers. */
INLINE uint not_finite(mma_sums sums[ROWS][TOKENS])
{
    uint tokens = 0;
    MMA_UNROLL for (int r = 0; r < ROWS; r++)
        MMA_UNROLL for (int t = 0; t < TOKENS; t++)
            MMA_UNROLL for (int i = 0; i < MMA_TOKENS; i++)
                MMA_UNROLL for (int j = 0; j < MMA_ROWS; j++)
                    tokens |= isfinite(mma_sum(sums[r][t], i, j)) ? 0 : TOKEN_BIT(t, i);
    return tokens;
}

/* Adds v to sum number n of a lane, or begins it. Every index is a constant: sums stay in registers. */
INLINE void add_to(mma_sums sums[ROWS][TOKENS], int n, float v, bool begin)
{
    MMA_UNROLL for (int r = 0; r < ROWS; r++)
        MMA_UNROLL for (int t = 0; t < TOKENS; t++) {
            float s[MMA_SUMS];
            PASTE(vstore, MMA_SUMS)(sums[r][t], 0, s);
            MMA_UNROLL for (int e = 0; e < MMA_SUMS; e++)
                if ((r * TOKENS + t) * MMA_SUMS + e == n)
                    s[e] = begin ? v : s[e] + v;
            sums[r][t] = PASTE(vload, MMA_SUMS)(0, s);
        }
}

/* Of a lane's tokens whose bits are in `only` the sums over tiles first..last-1, element by element. */
INLINE void sum_elements(const struct args *a, const struct place_of_tile *p, mma_sums sums[ROWS][TOKENS],
                         local uint4 *chunk, int wave, int lane, uint only, int first, int last)
{
    const int end = min(last * TK, a->k);
    for (int tile = first; tile < last; tile = (tile / CHUNK_TILES + 1) * CHUNK_TILES) {
        const int from = tile / CHUNK_TILES * BLOCK_CHUNK;
        barrier(CLK_LOCAL_MEM_FENCE); /* the chunk before has been used */
        bring_chunk(a, chunk, TN, p->row0, from, p->item, p->w_aligned);
        barrier(CLK_LOCAL_MEM_FENCE);
        ROLL for (int n = 0; n < ROWS * TOKENS * MMA_SUMS; n++) {
            const int e = n % MMA_SUMS, t = n / MMA_SUMS % TOKENS, r = n / MMA_SUMS / TOKENS;
            const int row = LANE_ROW(r) + e / MMA_TOKENS - p->row0, token = LANE_TOKEN(t, e % MMA_TOKENS);
            float sum = 0.0f;
            if (only & TOKEN_BIT(t, e % MMA_TOKENS)) {
                ROLL for (int c = tile * TK; c < min(from + BLOCK_CHUNK, end); c += 8)
                    sum = dot8(x_piece(a, token, c, p->x_aligned),
                               chunk_vector(chunk + row * CHUNK_PIECES, from, (c - from) / 8), sum);
                add_to(sums, n, sum, tile == first);
            }
        }
    }
}
#endif

/* Groups: rows / TN, tokens / TM, parts of K. */
__attribute__((reqd_work_group_size(WG, 1, 1)))
kernel void linear_mma(LINEAR_ARGS)
{
    TAKE_ARGS(a)
    local uint4 w_tiles[STAGES * W_TILE], x_tiles[STAGES * X_TILE];
#if IS_BLOCKS
    local uint4 chunks[CHUNKS * CHUNK];
#endif
#if LEAST
    local uint again;
#endif
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

#if IS_BLOCKS
    fetch_chunk(&a, &p, first / CHUNK_TILES * CHUNK_TILES, &next, CHUNK_OF(first));
#endif
#if LEAST
    if (item == 0)
        again = 0;
#endif
    for (int tile = first - (STAGES - 1); tile < last; tile++) { /* the first steps only bring tiles */
        const int ahead = tile + STAGES - 1, then = (ahead - first) % STAGES, now = (then + 1) % STAGES;
#if !IS_BLOCKS
        MMA_COPIES_WAIT(STAGES - 2);
#endif
        barrier(CLK_LOCAL_MEM_FENCE); /* `now` is there, and nobody reads `then` any more */
        if (ahead < last)
            fetch(&a, &p, ahead, &next, w_tiles + then * W_TILE, x_tiles + then * X_TILE);
#if !IS_BLOCKS
        MMA_COPIES_END();
#endif
        if (tile >= first)
            add_tile(sums, w_tiles + now * W_TILE, x_tiles + now * X_TILE, wave, lane, scratch);
#if IS_BLOCKS
        if (ahead < last && (ahead == first || ahead % CHUNK_TILES == 0)) {
            const int after = (ahead / CHUNK_TILES + 1) * CHUNK_TILES;
            take_chunk(&p, &next, CHUNK_OF(ahead));
            barrier(CLK_LOCAL_MEM_FENCE);
            if (after < last)
                fetch_chunk(&a, &p, after, &next, CHUNK_OF(after));
        }
        if (ahead < last)
            unpack(&p, ahead, CHUNK_OF(ahead), w_tiles + then * W_TILE);
#endif
        if (ahead < last)
            put(&a, &p, ahead, &next, w_tiles + then * W_TILE, x_tiles + then * X_TILE);
    }

#if LEAST
    const uint mine = not_finite(sums);
    atomic_or(&again, mine);
    barrier(CLK_LOCAL_MEM_FENCE);
    if (again)
        sum_elements(&a, &p, sums, chunks, wave, lane, mine, first, last);
#endif
    store_lane(&a, &p, sums, wave, lane);
}
