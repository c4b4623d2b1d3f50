/* SPDX-License-Identifier: MIT
 * attn_tile.cl - for attn_vec.cl: where the TILE keys of a tile lie, and asking for the lines of a tile to come */
#include "prefetch.h"

/* Where the keys of a tile lie, head 0. */
struct tile {
    int first; /* token */
    uint there; /* a bit per key: before the task's end and in a block of the pool */
    bool ends;  /* a page ends in the tile or with it */
    i64 k[TILE], v[TILE]; /* offsets; of a key that is not there: another's */
};
#define ALL_THERE (0xffffffffu >> (32 - TILE))

/* end: of the keys. */
INLINE void find_tile(const struct args *a, const struct task *k, int first, int end, bool count, struct tile *tile)
{
    i64 some_k = 0, some_v = 0;
    tile->first = first;
    tile->there = 0;
    tile->ends = false;
    #pragma unroll 1
    for (int i = 0; i < TILE && first + i < end;) {
        int slot;
        const int block = find_block(a, k->s.b, first + i, &slot);
        const int run = run_of(a, slot, TILE - i);
        const int n = min(run, end - first - i);
        tile->ends = tile->ends || (a->block_table && slot + run == a->page_size);
        const i64 at_k = k_offset(a, max(block, 0), slot), at_v = v_offset(a, max(block, 0), slot);
        const i64 step_k = UNITS(K_TYPE, a->k_token_stride), step_v = UNITS(V_TYPE, a->v_token_stride);
        if (block >= 0) {
            #pragma unroll 1
            for (int j = 0; j < n; j++) {
                tile->k[i + j] = at_k + j * step_k;
                tile->v[i + j] = at_v + j * step_v;
            }
            some_k = at_k, some_v = at_v;
            tile->there |= (0xffffffffu >> (32 - n)) << i;
        } else if (count) {
            count_block(a, k, slot, first + i, n);
        }
        i += n;
    }
    if (tile->there != ALL_THERE)
        #pragma unroll 1
        for (int i = 0; i < TILE; i++)
            if (!(tile->there >> i & 1))
                tile->k[i] = some_k, tile->v[i] = some_v;
}

/* Asks for the lines of a tile of K or V, a few at a time between the arithmetic. In order of their addresses, whatever
 * the order of the arithmetic: so memory and the hardware's own prefetchers like it. That is all heads of a key and
 * then the next key, or, where heads do not lie side by side, all keys of a head. */
struct cursor {
    size_t line, base; /* addresses */
    const i64 *at;     /* offsets of the keys */
    int unit, n_lines; /* bytes of an offset's unit; lines of a piece: a key, of one head or of all */
    int key, left;     /* lines left of the piece, 0: nothing to ask for */
    int heads;         /* to come after this one */
    i64 head_bytes;    /* from one to the next */
};

INLINE struct cursor cursor_at(global const void *base, const i64 *at, int unit, int row_bytes, i64 head_bytes, int n_g)
{
    const bool together = head_bytes == row_bytes;
    const size_t to = (size_t) base;
    const int n_lines = DIV_UP(together ? n_g * row_bytes : row_bytes, 64);
    return (struct cursor){to + at[0] * unit, to, at, unit, n_lines, 0, n_lines, together ? 0 : n_g - 1, head_bytes};
}

#if PREFETCH
/* The next n lines, of one piece. */
INLINE void ask_lines(struct cursor *c, int n)
{
    #pragma unroll
    for (int i = 0; i < n; i++)
        ask_line(c->line + i * 64);
    c->line += n * 64;
    c->left -= n;
    if (c->left)
        return;
    if (++c->key == TILE && c->heads-- > 0) {
        c->key = 0;
        c->base += c->head_bytes;
    }
    if (c->key < TILE) {
        c->line = c->base + c->at[c->key] * c->unit;
        c->left = c->n_lines;
    }
}
#endif

/* n is a constant. */
INLINE void ask(struct cursor *c, int n)
{
#if PREFETCH
    if (c->left >= n) {
        ask_lines(c, n);
        return;
    }
    #pragma unroll 1
    for (int i = 0; i < n && c->left; i++)
        ask_lines(c, 1);
#endif
}

/* Asks for the addresses of tokens first .. end - 1. */
INLINE void ask_pages(const struct args *a, const struct task *k, int first, int end)
{
    #pragma unroll 1
    for (int t = first, n; t < end; t += n) {
        int slot;
        const int block = find_block(a, k->s.b, t, &slot);
        n = run_of(a, slot, end - t);
        if (block < 0)
            continue;
        const i64 k_most = (n - 1) * a->k_token_stride + (k->n_g - 1) * a->k_head_stride + HEAD_DIM;
        const i64 v_most = (n - 1) * a->v_token_stride + (k->n_g - 1) * a->v_head_stride + V_DIM;
        ask_addresses((size_t) (k_of_head(a, k->g) + k_offset(a, block, slot)), BYTES_OF(K_TYPE, k_most));
        ask_addresses((size_t) (v_of_head(a, k->g) + v_offset(a, block, slot)), BYTES_OF(V_TYPE, v_most));
    }
}
