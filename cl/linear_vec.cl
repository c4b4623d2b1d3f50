/* SPDX-License-Identifier: MIT
 * linear_vec.cl - dot products along K for CPU-like devices; part of linear.cl, where the terms are explained
 *
 * One work-item per group, a contiguous run of row tiles per group. A tile is NR rows; MR tokens at a time have MR*NR
 * vectors of sums in registers, along K, and one horizontal sum each at the end: each vector of W is loaded (converted,
 * dequantised) once for MR tokens, each vector of x once for NR rows. Tokens are dealt out evenly over as few passes as
 * MR allows, and there is code for every number of tokens up to MR, so that no token is computed in vain. With more
 * than one pass a tile of W is left column-wise every KT columns, while it is in the nearest cache; the sums of the
 * passes wait in private memory, and every pass prefetches its share of the next tile. What is not float32 is widened
 * into private memory there, once for all passes. With MR = 1 it is the GEMV.
 *
 * WIDTH floats in a vector, what the CPU has; MR tokens, NR rows: MR*NR sums and NR vectors of W in registers. */
/* From how many passes on a tile is widened: blocks always are, one code that takes them apart and not one for every
 * number of tokens. */
#if MR == 1 || IS_F32(W_TYPE)
#define WIDEN 0
#elif IS_BLOCKS
#define WIDEN 1
#else
#define WIDEN 2
#endif
#define PASSES 16  /* MR*PASSES tokens use a tile of W before it is left */
#define KT     512 /* a multiple of every block */

/* Columns whose arithmetic is one piece without a branch; a block of 32 is one, so that its scale is read once. */
#define STEP         (!IS_BLOCKS ? WIDTH : W_BLOCK < 64 ? W_BLOCK : 64)
#define LINE_STEPS   (W_BLOCK > 64 ? 1 : (64 * W_BLOCK / (W_UNITS(W_BLOCK) * (int) sizeof(W_T)) + STEP - 1) / STEP)
#define LINE_COLUMNS (LINE_STEPS * STEP) /* in a cache line, about */
#define LINE_UNITS   (W_UNITS(KT) * LINE_COLUMNS / KT)

typedef vec vec_any __attribute__((aligned(4))); /* one load where PoCL's vload16 is many */
#define X_AT(p, i) (*(global const vec_any *) ((p) + (i)))
#define W_VEC_f32(row, i, s) X_AT(row, (i) + (s) * WIDTH)
#define W_VEC_f16(row, i, s) load_f16((row) + (i), s, 0)
#define W_VEC_bf16(row, i, s) load_bf16((row) + (i), s, 0)
#if IS_BLOCKS
/* Vector s of the step at column i. */
#define W_VEC(row, i, s) \
    PASTE(quant_, W_TYPE)((row) + W_UNITS((i) / W_BLOCK * W_BLOCK), (STEP < W_BLOCK ? (i) % W_BLOCK / WIDTH : 0) + (s))
#else
#define W_VEC(row, i, s) PASTE(W_VEC_, W_TYPE)(row, i, s)
#endif

#if !IS_BLOCKS
constant int lane_numbers[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

/* The last k % WIDTH elements of a row of k, in some lanes that depend on k alone; the other lanes 0. */
#define TAIL(name, T, LOAD, GET_ONE) \
    INLINE vec name(global const T *row, int k) \
    { \
        const ivec_w lane = PASTE(vload, WIDTH)(0, lane_numbers); \
        float v[WIDTH]; \
        if (k >= WIDTH) \
            return select((vec) 0.0f, LOAD(row, k - WIDTH, 0), lane >= WIDTH - k % WIDTH); \
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

/* What is to be prefetched in a pass: a line of each row every `every` lines that are used (0: nothing), from `at` on,
 * counted from the start of each row. */
struct ahead {
    size_t at;
    int every;
};

/* Rows of a tile: as they lie in memory, or KT columns of them, from k0 on, in private memory as float32. */
struct rows {
    global const W_T *at[NR];
    const vec *wide; /* [NR][KT / WIDTH] */
    int k0;
};

INLINE vec w_vec(const bool is_wide, const struct rows *w, int r, int i, int s)
{
    return is_wide ? w->wide[r * (KT / WIDTH) + (i - w->k0) / WIDTH + s] : W_VEC(w->at[r], i, s);
}

/* acc[t][r] += x_row[t] . row r over the STEP columns from i on. */
INLINE void add_step(const int tokens, const bool is_wide, vec *acc, global const float *const *x_row,
                     const struct rows *w, int i)
{
    UNROLL for (int s = 0; s < STEP / WIDTH; s++) {
        vec wv[NR];
        UNROLL for (int r = 0; r < NR; r++)
            wv[r] = w_vec(is_wide, w, r, i, s);
        UNROLL for (int t = 0; t < MR; t++)
            if (t < tokens) {
                const vec xv = X_AT(x_row[t], i + s * WIDTH);
                UNROLL for (int r = 0; r < NR; r++)
                    acc[t * NR + r] = fma(xv, wv[r], acc[t * NR + r]);
            }
    }
}

/* Columns k0..k1-1 of all rows to private memory; the last K % WIDTH as w_tail() has them. */
INLINE void widen(vec *wide, const struct rows *w, int k0, int k1)
{
    const int whole = k0 + (k1 - k0) / STEP * STEP;
    ROLL for (int r = 0; r < NR; r++) {
        for (int i = k0; i < whole; i += STEP)
            UNROLL for (int s = 0; s < STEP / WIDTH; s++)
                wide[r * (KT / WIDTH) + (i - k0) / WIDTH + s] = W_VEC(w->at[r], i, s);
#if !IS_BLOCKS
        if (whole < k1)
            wide[r * (KT / WIDTH) + (whole - k0) / WIDTH] = w_tail(w->at[r], k1);
#endif
    }
}

/* sums[t][r] += x_row[t] . row r over the columns k0..k1-1, for t < tokens; k1 is K or k1 - k0 a multiple of KT. */
INLINE void add_dots(const int tokens, const bool is_wide, vec *sums, global const float *const *x_row,
                     const struct rows *w, int k0, int k1, struct ahead ahead)
{
    vec acc[MR * NR];
    UNROLL for (int i = 0; i < MR * NR; i++)
        acc[i] = k0 ? sums[i] : (vec) 0.0f;
    const int lines = k0 + (k1 - k0) / LINE_COLUMNS * LINE_COLUMNS, whole = k0 + (k1 - k0) / STEP * STEP;
    int wait = ahead.every;
    for (int i = k0; i < lines; i += LINE_COLUMNS) {
#if HAVE_PREFETCH
        if (--wait == 0) {
            UNROLL for (int r = 0; r < NR; r++)
                __builtin_prefetch((const void *) (size_t) (w->at[r] + ahead.at));
            ahead.at += LINE_UNITS;
            wait = ahead.every;
        }
#endif
        UNROLL for (int step = 0; step < LINE_STEPS; step++)
            add_step(tokens, is_wide, acc, x_row, w, i + step * STEP);
    }
    ROLL for (int i = lines; i < whole; i += STEP)
        add_step(tokens, is_wide, acc, x_row, w, i);
#if !IS_BLOCKS
    if (whole < k1) {
        vec xv[MR];
        UNROLL for (int t = 0; t < MR; t++)
            if (t < tokens)
                xv[t] = x_tail(x_row[t], k1);
        UNROLL for (int r = 0; r < NR; r++) {
            const vec wv = is_wide ? w_vec(true, w, r, whole, 0) : w_tail(w->at[r], k1);
            UNROLL for (int t = 0; t < MR; t++)
                if (t < tokens)
                    acc[t * NR + r] = fma(xv[t], wv, acc[t * NR + r]);
        }
    }
#endif
    UNROLL for (int i = 0; i < MR * NR; i++)
        if (i < tokens * NR)
            sums[i] = acc[i];
}

INLINE void add_dots_of(int tokens, const bool is_wide, vec *sums, global const float *const *x_row,
                        const struct rows *w, int k0, int k1, struct ahead ahead)
{
    switch (tokens) {
#define CASE(n) case n: add_dots(n, is_wide, sums, x_row, w, k0, k1, ahead); break;
    FOR_TOKENS(CASE)
#undef CASE
    }
}

/* One tile for the tokens m0 .. m0 + n_tokens - 1, in `passes`. is_last: this group has no tile after it. */
INLINE void tile_of(const struct args *a, int tile, int m0, int n_tokens, bool is_last)
{
    vec sums[PASSES * MR * NR];
#if WIDEN
    vec wide[NR * (KT / WIDTH)];
#endif
    struct rows w;
    const int passes = (n_tokens + MR - 1) / MR, k = a->k, kt = passes == 1 && WIDEN != 1 ? k : KT;
    UNROLL for (int r = 0; r < NR; r++)
        w.at[r] = w_row_of(a, tile * NR + r);
    for (int k0 = 0; k0 < k; k0 += kt) {
        const int k1 = min(k - k0, kt) + k0;
        struct ahead ahead;
        ahead.every = k1 < k || !is_last ? passes : 0;
#if WIDEN
        w.wide = wide, w.k0 = k0;
        if (passes >= WIDEN)
            widen(wide, &w, k0, k1);
#endif
        for (int pass = 0; pass < passes; pass++) {
            const int first = n_tokens * pass / passes, tokens = n_tokens * (pass + 1) / passes - first;
            const size_t next = k1 < k ? W_UNITS((size_t) k1) : (size_t) (GLU ? NR / 2 : NR) * W_UNITS((size_t) k);
            global const float *x_row[MR];
            UNROLL for (int t = 0; t < MR; t++)
                x_row[t] = x_row_of(a, m0 + first + t);
            ahead.at = next + (size_t) pass * (kt / LINE_COLUMNS) / passes * LINE_UNITS;
#if WIDEN
            if (passes >= WIDEN)
                add_dots_of(tokens, true, sums + pass * MR * NR, x_row, &w, k0, k1, ahead);
#endif
#if WIDEN != 1
            if (!WIDEN || passes < WIDEN)
                add_dots_of(tokens, false, sums + pass * MR * NR, x_row, &w, k0, k1, ahead);
#endif
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
