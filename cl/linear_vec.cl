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

/* Columns between two questions for lines: those of a cache line of floats, two blocks of 32, or a block of 256. */
#define COLUMNS (!IS_BLOCKS ? 64 / (int) sizeof(W_T) : W_BLOCK < 64 ? 64 : W_BLOCK)
#define LINES   (((int) (W_UNITS(COLUMNS) * sizeof(W_T)) + 63) / 64)

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

/* ---- blocks ------------------------------------------------------------------------------------------------------ */

#if IS_BLOCKS
#define IS_SCALED  PASTE(IS_SCALED_, W_TYPE)
#define GROUP_VECS ((W_BLOCK < 64 ? W_BLOCK : 64) / WIDTH)
#define ELEMENT(s, q, g, v, c) PASTE(element_, W_TYPE)(s, q, g, v, c)
#define FEW 4 /* tokens; for more compilers would load all vectors of a block first, and spill the sums */
#define WHOLE(tokens, block, g, v) \
    ((tokens) < FEW ? PASTE(few_, W_TYPE)(block, g, v) : PASTE(whole_, W_TYPE)(block, g, v))
#endif

#if W_BLOCK == 32
/* The scales of two blocks of each row, from memory to all lanes; a copy of what each vector of a block takes as its
 * operand (quant_with_least says why). */
#define N_SCALES (IS_SCALED ? 1 : 2) /* of a block: d, or d and m */
struct two_scales {
    float of[GROUP_VECS][NR][2 * N_SCALES];
};

INLINE void take_scales(global const uchar *const *block, int copies, struct two_scales *s)
{
    UNROLL for (int r = 0; r < NR; r++)
        UNROLL for (int c = 0; c < copies; c++)
#if IS_SCALED
            vstore2(quant_d_of_two(block[r], W_UNITS(32)).lo, 0, s->of[c][r]);
#else
            vstore4(quant_d_m_of_two(block[r], W_UNITS(32)), 0, s->of[c][r]);
#endif
}

/* acc[t][r] += x_row[t] . row r over vector v of block b of the two at block[], which begin at column i. Scales are
 * taken from their copy c. */
INLINE void add_element(const int tokens, vec *acc, global const float *const *x_row, global const uchar *const *block,
                        const struct two_scales *two, int i, int b, int v, int c)
{
    vec wv[NR];
    UNROLL for (int r = 0; r < NR; r++) {
        struct quant_scales s;
        s.d = (vec) two->of[IS_SCALED ? c : 0][r][b * N_SCALES];
        s.m = (vec) two->of[c][r][b * N_SCALES + N_SCALES - 1];
        wv[r] = ELEMENT(&s, WHOLE(tokens, block[r] + b * W_UNITS(32), 0, v), 0, v, 0);
    }
    add_vector(tokens, acc, x_row, wv, i + b * 32 + v * WIDTH);
}

/* acc[t][r] += x_row[t] . row r over the COLUMNS from i on. */
INLINE void add_columns(const int tokens, vec *acc, global const float *const *x_row,
                        global const W_T *const *w_row, int i)
{
    const bool at_once = tokens < FEW;
    global const uchar *block[NR];
    struct two_scales two;
    UNROLL for (int r = 0; r < NR; r++)
        block[r] = w_row[r] + W_UNITS((uint) i);
    take_scales(block, at_once && !(MR == 1 && IS_SCALED) ? GROUP_VECS : 1, &two);
#if MR == 1 && IS_SCALED
    ROLL for (int b = 0; b < 2; b++) {
        vec sum[NR];
        UNROLL for (int v = 0; v < GROUP_VECS; v++)
            UNROLL for (int r = 0; r < NR; r++) {
                const vec xv = X_AT(x_row[0], i + b * 32 + v * WIDTH), q = WHOLE(1, block[r] + b * W_UNITS(32), 0, v);
                sum[r] = v == 0 ? xv * q : fma(xv, q, sum[r]);
            }
        UNROLL for (int r = 0; r < NR; r++)
            acc[r] = fma((vec) two.of[0][r][b], sum[r], acc[r]);
    }
#else
    if (at_once)
        ROLL for (int b = 0; b < 2; b++)
            UNROLL for (int v = 0; v < GROUP_VECS; v++)
                add_element(tokens, acc, x_row, block, &two, i, b, v, v);
    else
        ROLL for (int at = 0; at < 2 * GROUP_VECS; at++)
            add_element(tokens, acc, x_row, block, &two, i, at / GROUP_VECS, at % GROUP_VECS, 0);
#endif
}

#elif IS_BLOCKS
/* acc[t][r] += x_row[t] . row r over vector v of group g of the blocks, which begin at column i. */
INLINE void add_element(const int tokens, vec *acc, global const float *const *x_row, global const uchar *const *block,
                        const struct quant_scales *scales, int i, int g, int v, int c)
{
    vec wv[NR];
    UNROLL for (int r = 0; r < NR; r++)
        wv[r] = ELEMENT(&scales[r], WHOLE(tokens, block[r], g, v), g, v, c);
    add_vector(tokens, acc, x_row, wv, i + g * 64 + v * WIDTH);
}

/* acc[t][r] += x_row[t] . row r over the block of columns from i on. */
INLINE void add_columns(const int tokens, vec *acc, global const float *const *x_row,
                        global const W_T *const *w_row, int i)
{
    global const uchar *block[NR];
    struct quant_scales scales[NR];
    UNROLL for (int r = 0; r < NR; r++) {
        block[r] = w_row[r] + W_UNITS((uint) i);
        PASTE(scales_, W_TYPE)(block[r], &scales[r]);
    }
    ROLL for (int g = 0; g < W_BLOCK / 64; g++) {
        if (tokens < FEW)
            UNROLL for (int v = 0; v < GROUP_VECS; v++)
                add_element(tokens, acc, x_row, block, scales, i, g, v, v % 2);
        else
            ROLL for (int v = 0; v < GROUP_VECS; v++)
                add_element(tokens, acc, x_row, block, scales, i, g, v, 0);
    }
}

#else
#if MR == 1
#define STEPS_LOOP UNROLL
#else
#define STEPS_LOOP ROLL /* compilers load for two steps first, and spill the sums */
#endif

/* The same over COLUMNS columns of floats. */
INLINE void add_columns(const int tokens, vec *acc, global const float *const *x_row,
                        global const W_T *const *w_row, int i)
{
    STEPS_LOOP for (int at = i; at < i + COLUMNS; at += WIDTH) {
        vec wv[NR];
        UNROLL for (int r = 0; r < NR; r++)
            wv[r] = W_VEC(w_row[r], at);
        add_vector(tokens, acc, x_row, wv, at);
    }
}
#endif

/* ---- tiles ------------------------------------------------------------------------------------------------------- */

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
        add_columns(tokens, acc, x_row, w_row, i);
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
