/* SPDX-License-Identifier: MIT
 * attn_tile.cl - for attn_vec.cl: where the TILE keys of a tile lie, and asking for the lines of a tile to come */

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
        const int run = a->block_table ? min(TILE - i, a->page_size - slot) : TILE - i;
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

/* Asks for the lines of a tile of K or V, a few at a time between the arithmetic, into the second cache: in the first
 * they would fill the queue of misses, and every load behind them would wait. In order of their addresses, whatever the
 * order of the arithmetic: so memory and the hardware's own prefetchers like it. That is all heads of a key and then
 * the next key, or, where heads do not lie side by side, all keys of a head. */
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

#if HAVE_PREFETCH && PREFETCH
/* The next n lines, of one key. */
INLINE void ask_lines(struct cursor *c, int n)
{
    #pragma unroll
    for (int i = 0; i < n; i++)
        __builtin_prefetch((const void *) (c->line + i * 64), 0, 2);
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
#if HAVE_PREFETCH && PREFETCH
    if (c->left >= n) {
        ask_lines(c, n);
        return;
    }
    #pragma unroll 1
    for (int i = 0; i < n && c->left; i++)
        ask_lines(c, 1);
#endif
}

/* A line in each 32 KiB of `bytes` bytes, and the last: so far reach the eight entries in a line of a page table. */
INLINE void ask_addresses(global const void *base, i64 bytes)
{
#if HAVE_PREFETCH && PREFETCH
    const size_t from = (size_t) base;
    #pragma unroll 1
    for (i64 at = 0; at < bytes; at += 32 * 1024)
        __builtin_prefetch((const void *) (from + at), 0, 2);
    __builtin_prefetch((const void *) (from + bytes - 1), 0, 2);
#endif
}

/* Of tokens first .. end - 1 the lines whose addresses need another line of the processor's page tables. That comes
 * from memory, too, and nothing behind it is asked for until it is there; those of several pages are waited for
 * together. */
INLINE void ask_pages(const struct args *a, const struct task *k, int first, int end)
{
    #pragma unroll 1
    for (int t = first, n; t < end; t += n) {
        int slot;
        const int block = find_block(a, k->s.b, t, &slot);
        n = a->block_table ? min(end - t, a->page_size - slot) : end - t;
        if (block < 0)
            continue;
        const i64 k_most = (n - 1) * a->k_token_stride + (k->n_g - 1) * a->k_head_stride + HEAD_DIM;
        const i64 v_most = (n - 1) * a->v_token_stride + (k->n_g - 1) * a->v_head_stride + V_DIM;
        ask_addresses(k_of_head(a, k->g) + k_offset(a, block, slot), UNITS(K_TYPE, k_most) * (i64) sizeof(K_T));
        ask_addresses(v_of_head(a, k->g) + v_offset(a, block, slot), UNITS(V_TYPE, v_most) * (i64) sizeof(V_T));
    }
}
