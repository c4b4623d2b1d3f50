/* SPDX-License-Identifier: MIT
 * linear_vec.cl - dot products along K for CPU-like devices; part of linear.cl, where the terms are explained
 *
 * One work-item per group, a contiguous run of row tiles per group. A tile is NR rows; MR tokens at a time have MR*NR
 * vectors of sums in registers, along K, and one horizontal sum each at the end: each vector of W is loaded (converted,
 * dequantised) once for MR tokens, each vector of x once for NR rows. Tokens are dealt out evenly over as few passes as
 * MR allows, and there is code for every number of tokens up to MR, so that no token is computed in vain. Every pass
 * prefetches its share of the next tile. For few tokens: each pass reads x and W from the second cache again. With
 * MR = 1 it is the GEMV.
 *
 * WIDTH floats in a vector, what the CPU has; MR tokens, NR rows: MR*NR sums and NR vectors of W in registers. */

/* Columns whose arithmetic is one piece without a branch; as many of them as a cache line has, whose next are asked for
 * at a time. */
#define STEP       (IS_BLOCKS ? W_BLOCK : WIDTH)
#define STEP_BYTES ((int) (W_UNITS(STEP) * sizeof(W_T)))
#define LINE_STEPS (STEP_BYTES > 32 ? 1 : STEP_BYTES > 16 ? 2 : 4)
#define LINES      ((LINE_STEPS * STEP_BYTES + 63) / 64)
#define COLUMNS    (LINE_STEPS * STEP)
#if MR == 1
#define STEPS_LOOP UNROLL
#else
#define STEPS_LOOP ROLL /* compilers load for two steps first, and spill the sums */
#endif

#define X_AT(p, i) (*(global const vec_any *) ((p) + (i)))
#define W_VEC_f32(row, i) X_AT(row, i)
#define W_VEC_f16(row, i) load_f16((row) + (i), 0, 0)
#define W_VEC_bf16(row, i) load_bf16((row) + (i), 0, 0)
#define W_VEC(row, i) PASTE(W_VEC_, W_TYPE)(row, i)

#if !IS_BLOCKS
constant int lane_numbers[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

/* The last k % WIDTH elements of a row of k, in some lanes that depend on k alone; the other lanes 0. */
#define TAIL(name, T, LOAD, GET_ONE) \
    INLINE vec name(global const T *row, int k) \
    { \
        const ivec_w lane = PASTE(vload, WIDTH)(0, lane_numbers); \
        float v[WIDTH]; \
        if (k >= WIDTH) \
            return select((vec) 0.0f, LOAD(row, k - WIDTH), lane >= WIDTH - k % WIDTH); \
        ROLL for (int i = 0; i < WIDTH; i++) v[i] = i < k ? GET_ONE(row + i) : 0.0f; \
        return PASTE(vload, WIDTH)(0, v); \
    }
#define GET_W(p) GET(W_TYPE, p)
TAIL(x_tail, float, W_VEC_f32, GET_f32)
TAIL(w_tail, W_T, W_VEC, GET_W)
#endif

INLINE float sum_lanes(vec v)
{
#if WIDTH == 16
    const float8 u = v.lo + v.hi;
#else
    const float8 u = v;
#endif
    const float4 b = u.lo + u.hi;
    const float2 c = b.lo + b.hi;
    return c.lo + c.hi;
}

/* acc[t][r] += x_row[t] . row r over the WIDTH columns from i on, of which wv are the rows'. */
INLINE void add_vector(const int tokens, vec *acc, global const float *const *x_row, const vec *wv, int i)
{
#if MR < NR
    vec xv[MR];
    UNROLL for (int t = 0; t < MR; t++)
        if (t < tokens)
            xv[t] = X_AT(x_row[t], i);
    UNROLL for (int r = 0; r < NR; r++)
        UNROLL for (int t = 0; t < MR; t++)
            if (t < tokens)
                acc[t * NR + r] = fma(xv[t], wv[r], acc[t * NR + r]);
#else
    UNROLL for (int t = 0; t < MR; t++)
        if (t < tokens) {
            const vec xv = X_AT(x_row[t], i);
            UNROLL for (int r = 0; r < NR; r++)
                acc[t * NR + r] = fma(xv, wv[r], acc[t * NR + r]);
        }
#endif
}

#if IS_BLOCKS
#define GROUP_VECS ((W_BLOCK < 64 ? W_BLOCK : 64) / WIDTH)
#define WHOLE(block, g, v)  PASTE(whole_, W_TYPE)(block, g, v)
#define ELEMENT(s, q, g, v) PASTE(element_, W_TYPE)(s, q, g, v)
#define SCALES(block, s)    PASTE(scales_, W_TYPE)(block, s)

/* The same over vector v of group g of the blocks, which begin at column i. */
INLINE void add_element(const int tokens, vec *acc, global const float *const *x_row, global const uchar *const *block,
                        const struct quant_scales *scales, int i, int g, int v)
{
    vec wv[NR];
    UNROLL for (int r = 0; r < NR; r++)
        wv[r] = ELEMENT(&scales[r], WHOLE(block[r], g, v), g, v);
    add_vector(tokens, acc, x_row, wv, i + g * 64 + v * WIDTH);
}

/* acc[t][r] += x_row[t] . row r over the block of columns from i on. */
INLINE void add_step(const int tokens, vec *acc, global const float *const *x_row,
                     global const W_T *const *w_row, int i)
{
    global const uchar *block[NR];
    struct quant_scales scales[NR];
    UNROLL for (int r = 0; r < NR; r++) {
        block[r] = w_row[r] + W_UNITS((uint) i);
        SCALES(block[r], &scales[r]);
    }
#if MR == 1 && PASTE(IS_SCALED_, W_TYPE)
    vec sum[NR];
    UNROLL for (int r = 0; r < NR; r++)
        sum[r] = X_AT(x_row[0], i) * WHOLE(block[r], 0, 0);
    UNROLL for (int v = 1; v < GROUP_VECS; v++)
        UNROLL for (int r = 0; r < NR; r++)
            sum[r] = fma(X_AT(x_row[0], i + v * WIDTH), WHOLE(block[r], 0, v), sum[r]);
    UNROLL for (int r = 0; r < NR; r++)
        acc[r] = fma(scales[r].d, sum[r], acc[r]);
#else
    ROLL for (int g = 0; g < (W_BLOCK + 63) / 64; g++) {
        if (tokens < 4)
            UNROLL for (int v = 0; v < GROUP_VECS; v++)
                add_element(tokens, acc, x_row, block, scales, i, g, v);
        else /* compilers would load for all of them first, and spill the sums */
            ROLL for (int v = 0; v < GROUP_VECS; v++)
                add_element(tokens, acc, x_row, block, scales, i, g, v);
    }
#endif
}

#else
/* The same over the WIDTH columns from i on. */
INLINE void add_step(const int tokens, vec *acc, global const float *const *x_row,
                     global const W_T *const *w_row, int i)
{
    vec wv[NR];
    UNROLL for (int r = 0; r < NR; r++)
        wv[r] = W_VEC(w_row[r], i);
    add_vector(tokens, acc, x_row, wv, i);
}
#endif

/* sums[t][r] = x_row[t] . row r over the first `columns` columns, a multiple of COLUMNS, for t < tokens. */
INLINE void add_dots(const int tokens, vec *sums, global const float *const *x_row, global const W_T *const *w_row,
                     int columns, struct ahead ahead)
{
    vec acc[MR * NR];
    UNROLL for (int i = 0; i < MR * NR; i++)
        acc[i] = (vec) 0.0f;
    int wait = ahead.every;
    for (int i = 0; i < columns; i += COLUMNS) {
        if (--wait == 0) {
            UNROLL for (int l = 0; l < LINES; l++)
                UNROLL for (int r = 0; r < NR; r++)
                    ask_line((size_t) (w_row[r] + ahead.at) + l * 64);
            ahead.at += W_UNITS(COLUMNS);
            wait = ahead.every;
        }
        STEPS_LOOP for (int step = 0; step < LINE_STEPS; step++)
            add_step(tokens, acc, x_row, w_row, i + step * STEP);
    }
    UNROLL for (int i = 0; i < MR * NR; i++)
        if (i < tokens * NR)
            sums[i] = acc[i];
}

/* sums[t][r] += x . row r over the last columns, from `from` on, less than COLUMNS, for the tokens from m0 on: once
 * for all numbers of tokens, in code that is small rather than fast. */
INLINE void add_rest(const struct args *a, int tile, int m0, int tokens, vec *sums, int from)
{
    ROLL for (int r = 0; r < NR; r++) {
        global const W_T *row = w_row_of(a, tile * NR + r);
        ROLL for (int i = from; i < a->k; i += WIDTH) {
#if IS_BLOCKS
            const vec wv = PASTE(load_, W_TYPE)(row, i / WIDTH, 0);
#else
            const vec wv = i + WIDTH > a->k ? w_tail(row, a->k) : W_VEC(row, i);
#endif
            ROLL for (int t = 0; t < tokens; t++) {
                global const float *x = x_row_of(a, m0 + t);
#if IS_BLOCKS
                const vec xv = X_AT(x, i);
#else
                const vec xv = i + WIDTH > a->k ? x_tail(x, a->k) : X_AT(x, i);
#endif
                sums[t * NR + r] = fma(xv, wv, sums[t * NR + r]);
            }
        }
    }
}

/* The tokens m0 .. m0 + tokens - 1 of one tile. */
INLINE void pass_of(const struct args *a, int tile, int m0, int tokens, struct ahead ahead)
{
    const int whole = a->k / COLUMNS * COLUMNS;
    vec sums[MR * NR];
    global const W_T *w_row[NR];
    global const float *x_row[MR];
    UNROLL for (int r = 0; r < NR; r++)
        w_row[r] = w_row_of(a, tile * NR + r);
    UNROLL for (int t = 0; t < MR; t++)
        x_row[t] = x_row_of(a, m0 + t);
    switch (tokens) {
#define CASE(n) case n: add_dots(n, sums, x_row, w_row, whole, ahead); break;
    FOR_TOKENS(CASE)
#undef CASE
    }
    if (whole < a->k)
        add_rest(a, tile, m0, tokens, sums, whole);
    ROLL for (int t = 0; t < tokens; t++) {
        float dots[NR];
        UNROLL for (int r = 0; r < NR; r++)
            dots[r] = sum_lanes(sums[t * NR + r]);
        finish(a, dots, NR, m0 + t, tile * NR);
    }
}

__attribute__((reqd_work_group_size(1, 1, 1)))
kernel void linear_vec(LINEAR_ARGS)
{
    TAKE_ARGS(a)
    const struct share s = share_of_group((all_rows(&a) + NR - 1) / NR, NR);
    const int passes = (a.m + MR - 1) / MR, lines = a.k / COLUMNS;
    const size_t next = (size_t) (GLU ? NR / 2 : NR) * W_UNITS((size_t) a.k);
    for (int tile = s.first; tile < s.end; tile++)
        for (int pass = 0; pass < passes; pass++) {
            const int m0 = share_of(a.m, pass, passes);
            const struct ahead ahead = {next + (size_t) share_of(lines, pass, passes) * W_UNITS(COLUMNS),
                                        tile + 1 < s.end ? passes : 0};
            pass_of(&a, tile, m0, share_of(a.m, pass + 1, passes) - m0, ahead);
        }
#if STATS
    write_stats(&a, s.first_unit, s.end_unit);
#endif
}
