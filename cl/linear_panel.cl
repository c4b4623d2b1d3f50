/* SPDX-License-Identifier: MIT
 * linear_panel.cl - outer products with panels of 16 rows for CPU-like devices; part of linear.cl
 *
 * One work-item per group, a contiguous run of tiles per group. A tile is NV panels; MR tokens at a time have MR*NV
 * vectors of 16 sums in registers, one lane per row: no horizontal sums, and each element of x is broadcast. Tokens are
 * dealt out evenly over as few passes as MR allows. A tile is left every KT columns, while it is in a near cache;
 * the sums wait in private memory, and each pass prefetches its share of the next tile.
 *
 * W lies in panels (panel.h). DIRECT 1: each pass reads them as they are; 0: KT columns at a time are converted into
 * private memory once for all passes. */
#include "panel.h"

#define PASSES 16

INLINE int all_panels(const struct args *a)
{
    return GLU ? 2 * PANELS_OF(a->n) : PANELS_OF(a->n) + PANELS_OF(a->n2) + PANELS_OF(a->n3);
}

/* The first row of a panel. */
INLINE struct place place_of_panel(const struct args *a, int panel)
{
    const struct place p = place_in(panel, PANELS_OF(a->n), PANELS_OF(a->n2), GLU);
    return (struct place){p.part, p.row * PANEL_ROWS};
}

/* ---- what is read ------------------------------------------------------------------------------------------------ */

#define PANEL_UNITS(k) PASTE(PANEL_UNITS_, W_TYPE)(k)

/* Column c of the panel at p; of blocks: quants_ of a block, times its scales. */
INLINE float16 column_f32(global const float *p, int c)
{
    return *(global const vec_any *) (p + (size_t) c * 16);
}

INLINE float16 column_f16(global const half *p, int c)
{
    return load_f16(p, c, 0);
}

INLINE float16 column_bf16(global const ushort *p, int c)
{
    return load_bf16(p, c, 0);
}

#if IS_BLOCKS
INLINE float16 panel_scales(global const uchar *block)
{
    return load_f16((global const half *) block, 0, 0);
}

/* Columns c and c + 16 of a block, less their scales. */
INLINE void column_pair_q8_0(global const uchar *block, int c, float16 *low, float16 *high)
{
    *low = convert_float16(as_char16(quant_bytes(block + 32 + c * 16)));
    *high = convert_float16(as_char16(quant_bytes(block + 32 + (c + 16) * 16)));
}

INLINE void column_pair_q4_0(global const uchar *block, int c, float16 *low, float16 *high)
{
    const uint16 both = quant_ints(block + 32 + c * 16);
    *low = quant_low(both & 15, 8.0f);
    *high = quant_high(both & 0xf0, 8.0f);
}
#define COLUMN_PAIR(block, c, low, high) PASTE(column_pair_, W_TYPE)(block, c, low, high)
#endif

/* Panels past the last repeat it. */
INLINE global const W_T *panel_at(const struct args *a, int panel)
{
    return a->w + (size_t) min(panel, all_panels(a) - 1) * PANEL_UNITS((size_t) a->k);
}

#if !DIRECT
/* wide[c][v] = column k0 + c of panel first + v, for c < columns. */
INLINE void widen(const struct args *a, float16 wide[KT][NV], int first, int k0, int columns)
{
    ROLL for (int v = 0; v < NV; v++) {
        global const W_T *at = panel_at(a, first + v) + PANEL_UNITS((size_t) k0);
#if IS_BLOCKS
        ROLL for (int b = 0; b < columns; b += 32, at += PANEL_UNITS(32)) {
            const float16 d = panel_scales(at);
            UNROLL for (int c = 0; c < 16; c++) {
                float16 low, high;
                COLUMN_PAIR(at, c, &low, &high);
                wide[b + c][v] = low * d;
                wide[b + c + 16][v] = high * d;
            }
        }
#else
        for (int c = 0; c < columns; c++)
            wide[c][v] = PASTE(column_, W_TYPE)(at, c);
#endif
    }
}
#endif

/* ---- prefetch: the lines of the next tile, dealt out over the columns of all passes ------------------------------ */

/* A stream per panel. */
#define STREAM_BYTES(columns) (PANEL_UNITS(columns) * (int) sizeof(W_T))

/* Columns between two questions. */
#define ASK_COLUMNS (IS_BLOCKS ? 8 : 4)

struct cursor {
    size_t line;
    int panel, k0, n_lines; /* the tile's; lines of a stream */
    int stream, left;       /* left: lines of this stream; 0: nothing to ask for */
    int credit, lines, steps; /* `lines` are asked for in `steps` steps */
};

INLINE size_t stream_at(const struct args *a, const struct cursor *c)
{
    return (size_t) (panel_at(a, c->panel + c->stream) + PANEL_UNITS((size_t) c->k0));
}

INLINE struct cursor cursor_at(const struct args *a, int panel, int k0, int columns, int steps)
{
    struct cursor c;
    c.panel = panel, c.k0 = k0;
    c.n_lines = c.left = (STREAM_BYTES(columns) + 63) / 64;
    c.stream = 0, c.credit = 0, c.lines = NV * c.n_lines, c.steps = steps;
    c.line = stream_at(a, &c);
    return c;
}

INLINE void ask(const struct args *a, struct cursor *c)
{
    for (c->credit += c->lines; c->credit >= c->steps && c->left; c->credit -= c->steps) {
        ask_line(c->line);
        c->line += 64;
        if (--c->left == 0 && ++c->stream < NV) {
            c->line = stream_at(a, c);
            c->left = c->n_lines;
        }
    }
}

/* ---- arithmetic -------------------------------------------------------------------------------------------------- */

#if DIRECT
#define SOURCE global const W_T *const *
#else
typedef float16 wide_column[NV];
#define SOURCE const wide_column *
#endif

/* acc[t][v] += x_row[t][c] * w[v]. */
INLINE void add_column(const int tokens, float16 *acc, global const float *const *x_row, int c, const float16 *w)
{
    UNROLL for (int t = 0; t < MR; t++) if (t < tokens) {
        const float16 xv = (float16) x_row[t][c];
        UNROLL for (int v = 0; v < NV; v++)
            acc[t * NV + v] = fma(xv, w[v], acc[t * NV + v]);
    }
}

#if !(DIRECT && IS_BLOCKS)
/* The same of column c. */
INLINE void add_column_from(const int tokens, float16 *acc, global const float *const *x_row, SOURCE from, int c)
{
    float16 w[NV];
    UNROLL for (int v = 0; v < NV; v++)
#if DIRECT
        w[v] = PASTE(column_, W_TYPE)(from[v], c);
#else
        w[v] = from[c][v];
#endif
    add_column(tokens, acc, x_row, c, w);
}
#endif

#if DIRECT && IS_BLOCKS
/* The same of the block at column b. With few sums in registers there is room for those of a block, and only they are
 * multiplied by its scales; else every column is. */
INLINE void add_block(const struct args *a, const int tokens, float16 *acc, global const float *const *x_row,
                      SOURCE from, int b, struct cursor *next)
{
    const bool later = MR * NV <= 8;
    float16 d[NV], sum[MR * NV];
    UNROLL for (int v = 0; v < NV; v++)
        d[v] = panel_scales(from[v] + PANEL_UNITS(b));
    UNROLL for (int i = 0; i < MR * NV; i++)
        sum[i] = later ? (float16) 0.0f : acc[i];
    ROLL for (int at = 0; at < 16; at += ASK_COLUMNS / 2) {
        ask(a, next);
        UNROLL for (int c = at; c < at + ASK_COLUMNS / 2; c++) {
            float16 low[NV], high[NV];
            UNROLL for (int v = 0; v < NV; v++) {
                COLUMN_PAIR(from[v] + PANEL_UNITS(b), c, &low[v], &high[v]);
                if (!later) {
                    low[v] *= d[v];
                    high[v] *= d[v];
                }
            }
            add_column(tokens, sum, x_row, b + c, low);
            add_column(tokens, sum, x_row, b + c + 16, high);
        }
    }
    UNROLL for (int i = 0; i < MR * NV; i++)
        if (i < tokens * NV)
            acc[i] = later ? fma(d[i % NV], sum[i], acc[i]) : sum[i];
}
#endif

/* sums[t][v] += x_row[t] . panel v over `columns` columns, for t < tokens; from: column 0 of them. */
INLINE void add_columns(const struct args *a, const int tokens, float16 *sums, global const float *const *x_row,
                        SOURCE from, int columns, struct cursor *next)
{
    float16 acc[MR * NV];
    UNROLL for (int i = 0; i < MR * NV; i++)
        acc[i] = sums[i];
#if DIRECT && IS_BLOCKS
    ROLL for (int b = 0; b < columns; b += 32)
        add_block(a, tokens, acc, x_row, from, b, next);
#else
    const int whole = columns / ASK_COLUMNS * ASK_COLUMNS;
    ROLL for (int at = 0; at < whole; at += ASK_COLUMNS) {
        ask(a, next);
        UNROLL for (int c = at; c < at + ASK_COLUMNS; c++)
            add_column_from(tokens, acc, x_row, from, c);
    }
    ROLL for (int c = whole; c < columns; c++)
        add_column_from(tokens, acc, x_row, from, c);
#endif
    UNROLL for (int i = 0; i < MR * NV; i++)
        if (i < tokens * NV)
            sums[i] = acc[i];
}

INLINE void add_columns_of(const struct args *a, int tokens, float16 *sums, global const float *const *x_row,
                           SOURCE from, int columns, struct cursor *next)
{
#if !DIRECT
    tokens = max(tokens, MR / 2); /* there are many but in tests: code for few is not worth its compilation */
#endif
    switch (tokens) {
#define CASE(n) case n: if (DIRECT || n >= MR / 2) add_columns(a, n, sums, x_row, from, columns, next); break;
    FOR_TOKENS(CASE)
#undef CASE
    }
}

/* ---- sums to y --------------------------------------------------------------------------------------------------- */

/* A whole panel of the common case: f32, no activation. */
INLINE bool store_panel(const struct args *a, float16 sum, int token, struct place p)
{
#if GLU || !IS_F32(Y_TYPE)
    return false;
#else
    const int n = rows_of(a, p.part);
    const size_t at = (size_t) token * n + p.row;
    if (p.row + 16 > n || a->softcap > 0.0f)
        return false;
    global const float *bias = bias_of(a, p.part);
    sum *= a->scale;
    if (bias)
        sum += *(global const vec_any *) (bias + p.row);
    if (a->residual)
        sum += *(global const vec_any *) (a->residual + at);
    *(global vec_any *) (y_of(a, p.part) + at) = sum;
    return true;
#endif
}

/* sums[v]: of `token` and panel first + v. */
INLINE void finish_panels(const struct args *a, const float16 *sums, int token, int first)
{
    ROLL for (int v = 0; v < NV && first + v < all_panels(a); v += GLU ? 2 : 1) {
        const struct place p = place_of_panel(a, first + v);
        const float *sum = (const float *) &sums[v];
        if (store_panel(a, sums[v], token, p))
            continue;
        ROLL for (int r = 0; r < min(16, rows_of(a, p.part) - p.row); r++) {
            const struct place at = {p.part, p.row + r}, other = {1, p.row + r};
#if GLU
            store(a, activate(affine(a, sum[r], at)) * affine(a, sum[16 + r], other), token, at);
#else
            store(a, affine(a, sum[r], at), token, at);
#endif
        }
    }
}

/* NV panels from `first` on, for the tokens m0 .. m0 + n_tokens - 1. */
INLINE void tile_of(const struct args *a, int first, int m0, int n_tokens)
{
    float16 sums[PASSES * MR * NV];
#if !DIRECT
    float16 wide[KT][NV];
#endif
    const int passes = (n_tokens + MR - 1) / MR, k = a->k;
    for (int i = 0; i < passes * MR * NV; i++)
        sums[i] = (float16) 0.0f;
#if IS_F32(W_TYPE)
    ask_addresses((size_t) panel_at(a, first + NV), NV * PANEL_UNITS((size_t) k) * sizeof(W_T));
#endif
    for (int k0 = 0; k0 < k; k0 += KT) {
        const int columns = min(k - k0, KT);
        const bool last = k0 + columns >= k;
        struct cursor next = cursor_at(a, last ? first + NV : first, last ? 0 : k0 + columns,
                                       last ? min(k, KT) : min(k - k0 - columns, KT),
                                       passes * ((columns + ASK_COLUMNS - 1) / ASK_COLUMNS));
#if DIRECT
        global const W_T *from[NV];
        UNROLL for (int v = 0; v < NV; v++)
            from[v] = panel_at(a, first + v) + PANEL_UNITS((size_t) k0);
#else
        widen(a, wide, first, k0, columns);
#endif
        for (int pass = 0; pass < passes; pass++) {
            const int begin = n_tokens * pass / passes, tokens = n_tokens * (pass + 1) / passes - begin;
            global const float *x_row[MR];
            UNROLL for (int t = 0; t < MR; t++)
                x_row[t] = x_row_of(a, m0 + begin + t) + k0;
#if DIRECT
            add_columns_of(a, tokens, sums + pass * MR * NV, x_row, from, columns, &next);
#else
            add_columns_of(a, tokens, sums + pass * MR * NV, x_row, (const wide_column *) wide, columns, &next);
#endif
        }
    }
    ROLL for (int t = 0; t < n_tokens; t++) {
        const int pass = ((t + 1) * passes - 1) / n_tokens, begin = n_tokens * pass / passes;
        finish_panels(a, sums + (pass * MR + t - begin) * NV, m0 + t, first);
    }
}

/* Groups: tiles; parts of the tokens, where the tiles are too few. */
__attribute__((reqd_work_group_size(1, 1, 1)))
kernel void linear_panel(LINEAR_ARGS)
{
    TAKE_ARGS(a)
    const int blocks = (a.m + MR - 1) / MR;
    const struct share s = share_of_group((all_panels(&a) + NV - 1) / NV, PANEL_ROWS * NV);
    const int from = MR * share_of(blocks, get_group_id(1), get_num_groups(1));
    const int to = min(MR * share_of(blocks, get_group_id(1) + 1, get_num_groups(1)), a.m);
    for (int m0 = from; m0 < to; m0 += MR * PASSES)
        for (int tile = s.first; tile < s.end; tile++)
            tile_of(&a, tile * NV, m0, min(to - m0, MR * PASSES));
#if STATS
    write_stats(&a, s.first_unit, s.end_unit); /* there is one part of the tokens */
#endif
}
