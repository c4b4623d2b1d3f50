/* SPDX-License-Identifier: MIT
 * linear_vec.cl - dot products along K for CPU-like devices; part of linear.cl, where the terms are explained
 *
 * One work-item per group, a contiguous run of row tiles per group. A tile is NR rows; MR tokens at a time have MR*NR
 * vectors of sums in registers, along K, and one horizontal sum each at the end: each vector of W is loaded (converted,
 * dequantised) once for MR tokens, each vector of x once for NR rows. Tokens are dealt out evenly over as few passes as
 * MR allows, and there is code for every number of tokens up to MR, so that no token is computed in vain. With more
 * than one pass a tile of W is left column-wise while it is in a near cache; the sums of the passes wait in private
 * memory, and every pass prefetches its share of the next tile. With MR < 8 what is not float32 is widened into private
 * memory there, once for all passes: f16 and bf16 by the first of them. With MR = 1 it is the GEMV.
 *
 * WIDTH floats in a vector, what the CPU has; MR tokens, NR rows: MR*NR sums and NR vectors of W in registers. */
#if MR > 1 && MR < 8 && !IS_F32(W_TYPE)
#define WIDENS 1 /* with more than one pass; eight tokens at a time are enough for what each takes apart */
#else
#define WIDENS 0
#endif
#define PASSES 16    /* MR*PASSES tokens use a tile of W before it is left */
#define KT 4096      /* the most columns of a tile, where there is more than one pass */

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

typedef vec vec_any __attribute__((aligned(4))); /* one load where PoCL's vload16 is many */
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

/* What is to be prefetched in a pass: the lines of each row every `every` times that so many are used (0: nothing),
 * from `at` on, counted from the start of each row. Into the second cache, which can wait for more lines at a time than
 * the first. */
struct ahead {
    size_t at;
    int every;
};

/* Rows of a tile: as they lie in memory, and room for KT columns of them, from k0 on, in private memory as float32. */
struct rows {
    global const W_T *at[NR];
    float *wide; /* [NR][KT] */
    int k0;
};

/* Where W is read: from its rows; from its rows, which are widened on the way; wide. */
enum source { ROWS, WIDENING, WIDE };

INLINE vec *wide_at(const struct rows *w, int r, int i)
{
    return (vec *) (w->wide + r * KT + i - w->k0);
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

/* A block of each row. */
INLINE void add_blocks(const int tokens, vec *acc, global const float *const *x_row, const struct rows *w, int i)
{
    global const uchar *block[NR];
    struct quant_scales scales[NR];
    UNROLL for (int r = 0; r < NR; r++) {
        block[r] = w->at[r] + W_UNITS((uint) i);
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
    ROLL for (int g = 0; g < (W_BLOCK + 63) / 64; g++)
        UNROLL for (int v = 0; v < GROUP_VECS; v++) {
            vec wv[NR];
            UNROLL for (int r = 0; r < NR; r++)
                wv[r] = ELEMENT(&scales[r], WHOLE(block[r], g, v), g, v);
            add_vector(tokens, acc, x_row, wv, i + g * 64 + v * WIDTH);
        }
#endif
}

/* Columns k0..k1-1 of all rows to private memory. */
INLINE void widen(const struct rows *w, int k0, int k1)
{
    ROLL for (int r = 0; r < NR; r++)
        ROLL for (int i = k0; i < k1; i += W_BLOCK) {
            global const uchar *block = w->at[r] + W_UNITS((uint) i);
            struct quant_scales scales;
            SCALES(block, &scales);
            ROLL for (int g = 0; g < (W_BLOCK + 63) / 64; g++)
                UNROLL for (int v = 0; v < GROUP_VECS; v++)
                    *wide_at(w, r, i + g * 64 + v * WIDTH) = ELEMENT(&scales, WHOLE(block, g, v), g, v);
        }
}

/* acc[t][r] += x_row[t] . row r over the block of columns from i on. */
INLINE void add_step(const int tokens, const enum source source, vec *acc, global const float *const *x_row,
                     const struct rows *w, int i)
{
    if (source == ROWS)
        add_blocks(tokens, acc, x_row, w, i);
    else
        ROLL for (int part = i; part < i + W_BLOCK; part += 32)
            UNROLL for (int v = 0; v < 32; v += WIDTH) {
                vec wv[NR];
                UNROLL for (int r = 0; r < NR; r++)
                    wv[r] = *wide_at(w, r, part + v);
                add_vector(tokens, acc, x_row, wv, part + v);
            }
}
#else
/* acc[t][r] += x_row[t] . row r over the WIDTH columns from i on. */
INLINE void add_step(const int tokens, const enum source source, vec *acc, global const float *const *x_row,
                     const struct rows *w, int i)
{
    vec wv[NR];
    UNROLL for (int r = 0; r < NR; r++) {
        wv[r] = source == WIDE ? *wide_at(w, r, i) : W_VEC(w->at[r], i);
        if (source == WIDENING)
            *wide_at(w, r, i) = wv[r];
    }
    add_vector(tokens, acc, x_row, wv, i);
}
#endif

/* sums[t][r] += x_row[t] . row r over the columns k0..k1-1, a multiple of COLUMNS, for t < tokens. */
INLINE void add_dots(const int tokens, const enum source source, vec *sums, global const float *const *x_row,
                     const struct rows *w, int k0, int k1, struct ahead ahead)
{
    vec acc[MR * NR];
    UNROLL for (int i = 0; i < MR * NR; i++)
        acc[i] = k0 ? sums[i] : (vec) 0.0f;
    int wait = ahead.every;
    for (int i = k0; i < k1; i += COLUMNS) {
#if HAVE_PREFETCH
        if (--wait == 0) {
            UNROLL for (int l = 0; l < LINES; l++)
                UNROLL for (int r = 0; r < NR; r++)
                    __builtin_prefetch((const uchar *) (size_t) (w->at[r] + ahead.at) + l * 64, 0, 2);
            ahead.at += W_UNITS(COLUMNS);
            wait = ahead.every;
        }
#endif
        STEPS_LOOP for (int step = 0; step < LINE_STEPS; step++)
            add_step(tokens, source, acc, x_row, w, i + step * STEP);
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

/* Of several passes none has less than half of MR. */
INLINE void add_dots_of(int tokens, const enum source source, vec *sums, global const float *const *x_row,
                        const struct rows *w, int k0, int k1, struct ahead ahead)
{
    switch (tokens) {
#define CASE(n) \
    case n: \
        if (source == ROWS || 2 * n >= MR) \
            add_dots(n, source, sums, x_row, w, k0, k1, ahead); \
        break;
    FOR_TOKENS(CASE)
#undef CASE
    }
}

/* One tile for the tokens m0 .. m0 + n_tokens - 1, in `passes`. is_last: this group has no tile after it. */
INLINE void tile_of(const struct args *a, int tile, int m0, int n_tokens, bool is_last)
{
    vec sums[PASSES * MR * NR];
    struct rows w;
    const int passes = (n_tokens + MR - 1) / MR, k = a->k;
    const bool is_wide = WIDENS && passes > 1;
    const int tiles = passes == 1 ? 1 : (k + KT - 1) / KT, kt = ((k + tiles - 1) / tiles + 255) / 256 * 256; /* even */
#if WIDENS
    vec wide[NR * (KT / WIDTH)];
    w.wide = (float *) wide;
#endif
    UNROLL for (int r = 0; r < NR; r++)
        w.at[r] = w_row_of(a, tile * NR + r);
    for (int k0 = 0; k0 < k; k0 += kt) {
        const int k1 = min(k - k0, kt) + k0, whole = k0 + (k1 - k0) / COLUMNS * COLUMNS;
        struct ahead ahead;
        ahead.every = k1 < k || !is_last ? passes : 0;
        w.k0 = k0;
#if WIDENS && IS_BLOCKS
        if (is_wide)
            widen(&w, k0, whole);
#endif
        for (int pass = 0; pass < passes; pass++) {
            const int first = n_tokens * pass / passes, tokens = n_tokens * (pass + 1) / passes - first;
            const size_t next = k1 < k ? W_UNITS((size_t) k1) : (size_t) (GLU ? NR / 2 : NR) * W_UNITS((size_t) k);
            vec *const sum = sums + pass * MR * NR;
            global const float *x_row[MR];
            UNROLL for (int t = 0; t < MR; t++)
                x_row[t] = x_row_of(a, m0 + first + t);
            ahead.at = next + (size_t) (pass * ((k1 - k0) / COLUMNS) / passes) * W_UNITS(COLUMNS);
#if WIDENS
            if (is_wide && (pass || IS_BLOCKS))
                add_dots_of(tokens, WIDE, sum, x_row, &w, k0, whole, ahead);
#if !IS_BLOCKS
            else if (is_wide)
                add_dots_of(tokens, WIDENING, sum, x_row, &w, k0, whole, ahead);
#endif
#endif
            if (!is_wide)
                add_dots_of(tokens, ROWS, sum, x_row, &w, k0, whole, ahead);
            if (whole < k1)
                add_rest(a, tile, m0 + first, tokens, sum, whole);
        }
    }
    ROLL for (int t = 0; t < n_tokens; t++) {
        const int pass = ((t + 1) * passes - 1) / n_tokens, first = n_tokens * pass / passes;
        float dots[NR];
        UNROLL for (int r = 0; r < NR; r++)
            dots[r] = sum_lanes(sums[(pass * MR + t - first) * NR + r]);
        finish(a, dots, NR, m0 + t, tile * NR);
    }
}

__attribute__((reqd_work_group_size(1, 1, 1)))
kernel void linear_vec(LINEAR_ARGS)
{
    TAKE_ARGS(a)
    const int tiles = (all_rows(&a) + NR - 1) / NR, together = TILES_TOGETHER(NR);
    const int units = (tiles + together - 1) / together;
    const int from = share_of(units, get_group_id(0), get_num_groups(0));
    const int to = share_of(units, get_group_id(0) + 1, get_num_groups(0));
    const int last = min(to * together, tiles);
    for (int m0 = 0; m0 < a.m; m0 += MR * PASSES)
        for (int tile = from * together; tile < last; tile++)
            tile_of(&a, tile, m0, min(a.m - m0, MR * PASSES), tile + 1 == last);
#if STATS
    write_stats(&a, from, to);
#endif
}
