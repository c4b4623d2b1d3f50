/* SPDX-License-Identifier: MIT
 * linear_tokens.cl - several tokens side by side in a vector, for CPU-like devices; part of linear.cl
 *
 * A vector is SIDE tokens x 4 columns. x is laid out so before (linear_prepare); of W, 16 bytes of a row are loaded
 * into every four lanes by one instruction. A vector of x serves NR rows, 16 bytes of W serve MR vectors, and the four
 * lanes of a token add up to an output: for a multiply-add a fraction is read of what linear_vec.cl reads, whose
 * vectors lie along K.
 *
 * One work-item per group, a contiguous run of tiles of NR rows per group. A tile is taken in pieces of at most KT
 * columns, and serves all tokens before it is left, MR vectors in a pass; the sums of the passes wait in private
 * memory, and every pass asks for its share of the next piece. What is not float32 is widened into private memory once
 * for all passes: f16 and bf16 by the first of them, a step ahead of its sums, blocks before it. Tokens are dealt out
 * evenly; lanes past the last one hold zeros. Where those are half of the last vector and W is f32, only its other half
 * is multiplied: half the work for a unit that takes a vector in two turns.
 *
 * WIDTH floats in a vector, what the CPU has; MR vectors of tokens, NR rows: MR*NR sums in registers. */
#define SIDE   (WIDTH / 4)
#define PASSES 16   /* MR*PASSES vectors use a tile before it is left */
#define KT     2048 /* the most columns of a piece, a multiple of all blocks */
#define STEP   16   /* columns whose arithmetic is one piece without a branch */
#define WIDE   (!IS_F32(W_TYPE))
#define WIDE_STRIDE (KT + 16) /* floats: rows of a power of two bytes would share a few sets of the cache */
#define LINE_UNITS  (64 / (int) sizeof(W_T))
#define ADDRESSES   4 /* tiles whose addresses are asked for at a time */

#if WIDTH == 16
typedef float8 half_vec;
#else
typedef float4 half_vec;
#endif
typedef half_vec half_vec_any __attribute__((aligned(4)));

INLINE vec in_every_four(float4 v)
{
#if WIDTH == 16
    return (vec) (v, v, v, v);
#else
    return (vec) (v, v);
#endif
}

struct tile {
    global const W_T *row[NR];
    float *wide; /* [NR][WIDE_STRIDE]: of a piece, where W is widened */
};

/* Four columns of row r, from column k0 + i on; k0: the piece's. */
INLINE float4 four_of(const struct tile *w, int r, int k0, int i)
{
#if WIDE
    return *(const float4 *) (w->wide + r * WIDE_STRIDE + i);
#else
    return *(global const float4_any *) (w->row[r] + k0 + i);
#endif
}

#if WIDE
/* Columns k0 + i .. k0 + i + n - 1 of every row to private memory; n: whole blocks or steps. */
INLINE void widen(const struct tile *w, int k0, int i, int n)
{
#if IS_BLOCKS
    ROLL for (int r = 0; r < NR; r++)
        ROLL for (int at = i; at < i + n; at += W_BLOCK) {
            global const uchar *block = w->row[r] + W_UNITS((uint) (k0 + at));
            struct quant_scales scales;
            PASTE(scales_, W_TYPE)(block, &scales);
            ROLL for (int g = 0; g < (W_BLOCK + 63) / 64; g++)
                UNROLL for (int v = 0; v < min(W_BLOCK, 64) / WIDTH; v++)
                    *(vec *) (w->wide + r * WIDE_STRIDE + at + g * 64 + v * WIDTH) =
                        PASTE(element_, W_TYPE)(&scales, PASTE(whole_, W_TYPE)(block, g, v), g, v, 0);
        }
#else
    UNROLL for (int r = 0; r < NR; r++)
        for (int at = i; at < i + n; at += WIDTH)
            *(vec *) (w->wide + r * WIDE_STRIDE + at) = PASTE(load_, W_TYPE)(w->row[r] + k0 + at, 0, 0);
#endif
}
#endif

/* sums[v][r] += x[v] . row r over a piece of `columns` columns from k0 on, a multiple of STEP, for v < n. x: of the
 * first vector, at column k0; x_stride: from vector to vector. widens: all but the first step are yet to be widened.
 * halved: the upper half of the last vector is zeros. */
INLINE void add_piece(const int n, const bool widens, const bool halved, vec *sums, global const float *x,
                      size_t x_stride, const struct tile *w, int k0, int columns, struct ahead ahead)
{
    const int whole = halved ? n - 1 : n;
    vec acc[MR * NR];
    half_vec last[NR];
    UNROLL for (int i = 0; i < MR * NR; i++)
        acc[i] = sums[i];
    UNROLL for (int r = 0; r < NR; r++)
        last[r] = sums[(n - 1) * NR + r].lo;
    int wait = ahead.every;
    for (int i = 0; i < columns; i += STEP) {
        if (--wait == 0) {
            UNROLL for (int r = 0; r < NR; r++)
                ask_line((size_t) (w->row[r] + ahead.at));
            ahead.at += LINE_UNITS;
            wait = ahead.every;
        }
#if IS_16_BIT
        if (widens)
            widen(w, k0, min(i + STEP, columns - STEP), STEP); /* the last one twice: no branch */
#endif
        ROLL for (int c = 0; c < STEP; c += 4) { /* compilers load for two of them first, and spill the sums */
            vec xv[MR];
            half_vec x_last;
            UNROLL for (int v = 0; v < MR; v++)
                if (v < whole)
                    xv[v] = *(global const vec_any *) (x + v * x_stride + (i + c) * SIDE);
            if (halved)
                x_last = *(global const half_vec_any *) (x + whole * x_stride + (i + c) * SIDE);
            UNROLL for (int r = 0; r < NR; r++) {
                const vec wv = in_every_four(four_of(w, r, k0, i + c));
                UNROLL for (int v = 0; v < MR; v++)
                    if (v < whole)
                        acc[v * NR + r] = fma(xv[v], wv, acc[v * NR + r]);
                if (halved)
                    last[r] = fma(x_last, wv.lo, last[r]);
            }
        }
    }
    UNROLL for (int i = 0; i < MR * NR; i++)
        if (i < whole * NR)
            sums[i] = acc[i];
    UNROLL for (int r = 0; r < NR; r++)
        if (halved)
            sums[whole * NR + r].lo = last[r];
}

/* The same for n and halved known at run time. */
INLINE void add_piece_of(int n, const bool widens, bool halved, vec *sums, global const float *x, size_t x_stride,
                         const struct tile *w, int k0, int columns, struct ahead ahead)
{
    switch (halved ? n + MR : n) {
#define CASE(c) case c: add_piece(c, widens, false, sums, x, x_stride, w, k0, columns, ahead); break;
    FOR_TOKENS(CASE)
#undef CASE
#if !WIDE
#define CASE(c) case c + MR: add_piece(c, false, true, sums, x, x_stride, w, k0, columns, ahead); break;
    FOR_TOKENS(CASE)
#undef CASE
#endif
    }
}

#if !IS_BLOCKS
/* The columns from `from` on, less than STEP, of `vectors` vectors: code that is small rather than fast. */
INLINE void add_rest(vec *sums, int vectors, global const float *x, size_t x_stride, const struct tile *w, int from,
                     int k)
{
    ROLL for (int r = 0; r < NR; r++)
        ROLL for (int i = from; i < k; i += 4) {
            float four[4];
            ROLL for (int c = 0; c < 4; c++)
                four[c] = i + c < k ? GET(W_TYPE, w->row[r] + i + c) : 0.0f;
            const vec wv = in_every_four(vload4(0, four));
            ROLL for (int v = 0; v < vectors; v++) {
                const vec xv = *(global const vec_any *) (x + v * x_stride + (size_t) i * SIDE);
                sums[v * NR + r] = fma(xv, wv, sums[v * NR + r]);
            }
        }
}
#endif

/* One tile for the tokens m0 .. m0 + n_tokens - 1. is_last: this group has no tile after it. */
INLINE void tile_of(const struct args *a, int tile, int m0, int n_tokens, bool is_last)
{
    vec sums[PASSES * MR * NR];
    struct tile w;
#if WIDE
    vec wide[NR * (WIDE_STRIDE / WIDTH)];
    w.wide = (float *) wide;
#endif
    const int vectors = (n_tokens + SIDE - 1) / SIDE, passes = (vectors + MR - 1) / MR;
#if WIDE
    const bool halved = false;
#else
    const bool halved = vectors * SIDE - n_tokens >= SIDE / 2;
#endif
    const int k = a->k, whole = k / STEP * STEP;
    const int pieces = (k + KT - 1) / KT, kt = ((k + pieces - 1) / pieces + 255) / 256 * 256; /* even */
    const size_t x_stride = (size_t) SIDE * LINEAR_X_STRIDE(k);
    global const float *x = a->work + m0 / SIDE * x_stride;
    UNROLL for (int r = 0; r < NR; r++)
        w.row[r] = w_row_of(a, tile * NR + r);
    for (int i = 0; i < vectors * NR; i++)
        sums[i] = (vec) 0.0f;
    for (int k0 = 0; k0 < whole; k0 += kt) {
        const int columns = min(whole - k0, kt), k1 = k0 + columns, steps = columns / STEP;
        const bool ends = k1 >= whole;
        const size_t next = ends ? (size_t) (GLU ? NR / 2 : NR) * W_UNITS((size_t) k) : W_UNITS((size_t) k1);
        const int lines = ((int) W_UNITS((uint) columns) + LINE_UNITS - 1) / LINE_UNITS;
        const int every = max(passes * steps / lines, 1);
#if WIDE
        widen(&w, k0, 0, IS_BLOCKS ? columns : STEP);
#endif
        for (int pass = 0; pass < passes; pass++) {
            const int first = vectors * pass / passes, n = vectors * (pass + 1) / passes - first;
            const struct ahead ahead = {next + (size_t) (pass * steps / every) * LINE_UNITS,
                                        ends && is_last ? 0 : every};
            global const float *of_pass = x + first * x_stride + (size_t) k0 * SIDE;
            vec *to = sums + first * NR;
            if (IS_16_BIT && pass == 0)
                add_piece_of(n, true, false, to, of_pass, x_stride, &w, k0, columns, ahead);
            else
                add_piece_of(n, false, halved && pass + 1 == passes, to, of_pass, x_stride, &w, k0, columns, ahead);
        }
    }
#if !IS_BLOCKS
    if (whole < k)
        add_rest(sums, vectors, x, x_stride, &w, whole, k);
#endif
    ROLL for (int t = 0; t < n_tokens; t++) {
        float dots[NR];
        UNROLL for (int r = 0; r < NR; r++) {
            const float4 four = vload4(t % SIDE, (const float *) &sums[t / SIDE * NR + r]);
            const float2 two = four.lo + four.hi;
            dots[r] = two.lo + two.hi;
        }
        finish(a, dots, NR, m0 + t, tile * NR);
    }
}

/* Asks for the addresses of the next ADDRESSES tiles from `tile` on; blocks are so few bytes that nothing waits. */
INLINE void ask_tiles(const struct args *a, int tile)
{
    const int weights = GLU ? 2 : 1;
    const size_t bytes = (size_t) (ADDRESSES * NR / weights) * W_UNITS((size_t) a->k) * sizeof(W_T);
    UNROLL for (int i = 0; i < weights; i++)
        ask_addresses((size_t) w_row_of(a, tile * NR + i), bytes);
}

__attribute__((reqd_work_group_size(1, 1, 1)))
kernel void linear_tokens(LINEAR_ARGS)
{
    TAKE_ARGS(a)
    const struct share s = share_of_group((all_rows(&a) + NR - 1) / NR, NR);
    for (int m0 = 0; m0 < a.m; m0 += SIDE * MR * PASSES)
        for (int tile = s.first; tile < s.end; tile++) {
            if (!IS_BLOCKS && (tile - s.first) % ADDRESSES == 0 && tile + 2 < s.end)
                ask_tiles(&a, tile + 2);
            tile_of(&a, tile, m0, min(a.m - m0, SIDE * MR * PASSES), tile + 1 == s.end);
        }
#if STATS
    write_stats(&a, s.first_unit, s.end_unit);
#endif
}
