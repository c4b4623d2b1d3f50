/* SPDX-License-Identifier: MIT
 * attn_tile.cl - for attn_vec.cl: where the TILE keys of a tile lie, and asking for the lines of a tile to come */

/* Where the keys of a tile lie, head 0. */
struct tile {
    int first; /* token */
    uint there; /* a bit per key: before the task's end and in a block of the pool */
    i64 k[TILE], v[TILE]; /* offsets; of a key that is not there: another's */
};
#define ALL_THERE (0xffffffffu >> (32 - TILE))

/* end: of the keys. */
INLINE void find_tile(const struct args *a, const struct task *k, int first, int end, bool count, struct tile *tile)
{
    i64 some_k = 0, some_v = 0;
    tile->first = first;
    tile->there = 0;
    #pragma unroll 1
    for (int i = 0; i < TILE && first + i < end;) {
        int slot;
        const int block = find_block(a, k->s.b, first + i, &slot);
        const int run = a->block_table ? min(TILE - i, a->page_size - slot) : TILE - i;
        const int n = min(run, end - first - i);
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
 * they would fill the queue of misses, and every load behind them would wait. In order of their addresses, all heads of
 * a key and then the next key, whatever the order of the arithmetic: so memory and the hardware's own prefetchers like
 * it. */
struct cursor {
    size_t line, base; /* addresses */
    const i64 *at;     /* offsets of the keys */
    int unit, n_lines; /* bytes of an offset's unit; lines of a key */
    int key, left;     /* lines left of the key, 0: nothing to ask for */
};

INLINE struct cursor cursor_at(global const void *base, const i64 *at, int unit, int bytes)
{
    const size_t to = (size_t) base;
    return (struct cursor){to + at[0] * unit, to, at, unit, (bytes + 63) / 64, 0, (bytes + 63) / 64};
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
    if (c->left == 0 && ++c->key < TILE) {
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
