/* SPDX-License-Identifier: MIT
 * attn_pairs.cl - from the scores of a tile of keys to its weights, in local memory; for attn_wg.cl and attn_mma.cl
 *
 * CHUNK * TILE pairs of a row and a key are dealt out to the items of a group: pair i is item i % WG's. What belongs to
 * a pair lies in local memory and not in the item that owns it: registers are for num, and loops over pairs stay loops.
 * CHUNK and TILE are at most WG, TILE is a multiple of 4. PAIR_LINE: floats that a row of p takes, at least TILE. */
#define UNSEEN (-1.0f) /* the weight of a key that the row does not see; others are >= 0 or NaN */

struct pairs {
    float p[CHUNK][PAIR_LINE];            /* a pair's weight is p * 2^n, later p * 2^exponent */
    float n[CHUNK][TILE];
    float den[CHUNK][TILE];               /* of a pair's row, over the pair's key in each tile */
    int n_keys[CHUNK][TILE];              /* and how many of these keys the row saw */
    float exponent[CHUNK], shrink[CHUNK]; /* of a row; what the last tile scaled its sums by */
    int lo[CHUNK], hi[CHUNK];             /* the keys that a row sees */
    int bad;                              /* rows out of the range of `unified`, a bit each */
    int masked;                           /* some row does not see a key that is there */
};

/* Where the keys of a tile lie: offsets; -1: it is not there. */
struct keys {
    i64 k[TILE], v[TILE];
};

/* May all rows of a cache be read 16 bytes at a time? A GPU then needs one instruction where it needs eight. */
INLINE bool rows_aligned(size_t base, i64 strides, int bytes)
{
    return (base | (size_t) (strides * bytes)) % 16 == 0;
}

INLINE bool k_aligned(const struct args *a, global const K_T *from)
{
    return rows_aligned((size_t) from, a->k_block_stride | a->k_token_stride | a->k_head_stride, sizeof(K_T));
}

INLINE bool v_aligned(const struct args *a, global const V_T *from)
{
    return rows_aligned((size_t) from, a->v_block_stride | a->v_token_stride | a->v_head_stride, sizeof(V_T));
}

/* Keys of the tile that begins at token t. */
INLINE void find_keys(local struct pairs *s, local struct keys *keys, const struct args *a, const struct task *k, int t,
                      bool count)
{
    int slot;
    const int item = get_local_id(0);
    if (item >= TILE)
        return;
    const bool inside = t + item < k->end;
    const int block = inside ? find_block(a, k->s.b, t + item, &slot) : -1;
    if (inside && block < 0 && count)
        count_block(a, k, slot, t + item, 1);
    keys->k[item] = block >= 0 ? k_offset(a, block, slot) : -1;
    keys->v[item] = block >= 0 ? v_offset(a, block, slot) : -1;
    if (item == 0)
        s->masked = 0;
}

/* The keys that each row sees. */
INLINE void find_visible(local struct pairs *s, const struct args *a, const struct task *k)
{
    for (int r = get_local_id(0); r < CHUNK; r += WG) {
        const int i = token_of(k, min(r, max(k->n_rows, 1) - 1));
        s->lo[r] = first_visible(a, &k->s, i);
        s->hi[r] = end_visible(a, &k->s, i);
    }
}

/* Before the first tile. first_exponent: of the item's row. */
INLINE void begin_pairs(local struct pairs *s, float first_exponent)
{
    const int item = get_local_id(0);
    for (int i = item; i < CHUNK * TILE; i += WG) {
        s->den[i / TILE][i % TILE] = 0.0f;
        s->n_keys[i / TILE][i % TILE] = 0;
    }
    if (item < CHUNK)
        s->exponent[item] = first_exponent;
    if (item == 0)
        s->bad = 0;
}

/* The exponent that row r begins with under `unified`; square: of the length of its q. */
INLINE float unified_exponent(const struct args *a, const struct task *k, int r, float square)
{
    const float2 bounds = needs_bounds(a) ? bounds_of(a, k, k->g) : (float2) 0.0f;
    return exponent_of(phi_of(a, k, k->g, min(r, max(k->n_rows, 1) - 1), sqrt(square), bounds));
}

/* Adds to the dot product of row r and token t what is not a product; *seen: false where the bias hides the key. */
INLINE float finish_score(const struct args *a, const struct task *k, int r, int t, float x, bool *seen)
{
    const int i = token_of(k, r), h = head_of(k, k->g, r);
    x *= a->scale;
    if (a->softcap > 0.0f)
        x = a->softcap - 2.0f * a->softcap / (exp_plain(x * (2.0f / a->softcap)) + 1.0f);
    if (a->alibi)
        x = fma(a->alibi[h], (float) (t - (k->s.pos + i)), x);
    if (a->bias) {
        const float bias = a->bias[bias_offset(a, &k->s, i, h) + t];
        x += bias;
        *seen = *seen && bias != -INFINITY;
    }
    return x;
}

/* p and n of pair i from its dot product x, in the tile that begins at token t. */
INLINE void make_score(local struct pairs *s, local const struct keys *keys, const struct args *a,
                       const struct task *k, int t, int i, float x)
{
    const int r = i / TILE, key = i % TILE;
    const bool there = r < k->n_rows && keys->k[key] >= 0;
    bool seen = there && t + key >= s->lo[r] && t + key < s->hi[r];
    float n;
    if (seen)
        x = finish_score(a, k, r, t + key, x, &seen);
    const float m = exp_pair(seen ? x : -INFINITY, &n);
    s->p[r][key] = seen ? m : UNSEEN;
    s->n[r][key] = n;
    if (there && !seen)
        s->masked = 1;
}

/* Moves the exponents to the maxima of the tile, where they are too low. Sums of row r are to shrink by shrink[r]. */
INLINE void raise_exponents(local struct pairs *s)
{
    const int item = get_local_id(0);
    barrier(CLK_LOCAL_MEM_FENCE);
    if (item < CHUNK) {
        const float n = s->exponent[item];
        float4 four = EXP_NONE;
        for (int j = 0; j < TILE / 4; j++) {
            const float4 of = vload4(j, s->n[item]);
            four = of > four ? of : four; /* NaN never is */
        }
        const float2 two = four.lo > four.hi ? four.lo : four.hi;
        const float most = two.x > two.y ? two.x : two.y;
        const bool raise = most > n + SLACK;
        s->exponent[item] = raise ? most : n;
        s->shrink[item] = raise ? exp2i(n - most) : 1.0f;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

/* Makes a weight of what make_score() left. moving: after raise_exponents(). */
INLINE void weigh_pair(local struct pairs *s, int i, bool moving)
{
    const int r = i / TILE, key = i % TILE;
    if (moving)
        s->den[r][key] *= s->shrink[r];
    if (s->p[r][key] != UNSEEN) {
        const float p = s->p[r][key] * exp2i(s->n[r][key] - s->exponent[r]);
        s->p[r][key] = p;
        s->den[r][key] += p;
        s->n_keys[r][key]++;
    }
}

INLINE void weigh(local struct pairs *s, bool moving)
{
    for (int i = get_local_id(0); i < CHUNK * TILE; i += WG)
        weigh_pair(s, i, moving);
}

/* Stores what is of rows alone. May set s->bad. */
INLINE void store_dens(local struct pairs *s, const struct args *a, const struct task *k)
{
    const int item = get_local_id(0);
    if (item < k->n_rows) {
        float den = 0.0f;
        int n_keys = 0;
        for (int key = 0; key < TILE; key++) {
            den += s->den[item][key];
            n_keys += s->n_keys[item][key];
        }
        store_den(a, partial_of(a, k, k->g, item), n_keys, den, s->exponent[item]);
        if (!den_in_range(den, n_keys))
            atomic_or(&s->bad, 1 << item);
    }
}

/* What of the task is to be redone: all of it, or nothing. Where nothing is, as in a chunk without rows, the same code
 * runs over no keys and stores nothing: barriers under a condition, even one that is the same for all items, are what
 * CPU compilers get wrong. */
INLINE void keep_bad(local const struct pairs *s, const struct args *a, struct task *k)
{
    const int bad = s->bad;
    if (bad && get_local_id(0) == 0)
        atomic_add(a->counts, popcount(bad));
    k->end = bad ? k->end : k->begin;
    k->n_rows = bad ? k->n_rows : 0;
    barrier(CLK_LOCAL_MEM_FENCE);
}
