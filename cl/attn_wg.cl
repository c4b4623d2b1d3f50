/* SPDX-License-Identifier: MIT
 * attn_wg.cl - launch 1 of attention for GPU-like devices; part of attn.cl, where the terms are explained
 *
 * One group of WG items makes the partials of one (sequence, split, kv head, chunk of CHUNK rows). A tile of TILE keys:
 * LANES neighbouring items share a key's dot products with all rows; products become weights (attn_pairs.cl); then each
 * item owns WIDTH columns of V, for every V_KEYS-th key. Four barriers a tile, six where exponents move, one more where
 * K is blocks. WG is a power of two, TILE a multiple of 4 and at most WG, CHUNK at most WG. Local memory: struct tile,
 * counted by wg_local_bytes in attn.c.
 *
 * Rows of floats are read 16 bytes at a time where they lie on 16 bytes. Rows of blocks seldom do, so those of a tile
 * come to local memory in aligned pieces, as they lie, and are taken apart there. */
#define LANES    ATTN_WG_LANES(HEAD_DIM)                       /* items that share a dot product */
#define V_KEYS   (WG < V_VECS ? 1 : WG / V_VECS)               /* keys of V that a group reads at a time */
#define COLS     ((V_VECS + WG - 1) / WG)                      /* vectors of V that an item owns of each */
#define PARTS_OF_DOT ATTN_WG_PARTS_OF_DOT(HEAD_DIM, SHUFFLE)
#define PARTS_FLOATS (CHUNK * TILE * PARTS_OF_DOT)
#define COLS_FLOATS  (V_KEYS * V_VECS * WIDTH) /* of a row */

#define K_BLOCKS (PASTE(BLOCK_, K_TYPE) > 1)
#define V_BLOCKS (PASTE(BLOCK_, V_TYPE) > 1)
#define K_BYTES  UNITS(K_TYPE, HEAD_DIM) /* of a row of blocks */
#define V_BYTES  UNITS(V_TYPE, V_DIM)
#define K_PIECES (K_BLOCKS ? ATTN_WG_PIECES(K_BYTES) : 0)
#define V_PIECES (V_BLOCKS ? ATTN_WG_PIECES(V_BYTES) : 0)

struct tile {
#if K_BLOCKS || V_BLOCKS
    uint4 rows[TILE * (K_PIECES > V_PIECES ? K_PIECES : V_PIECES)]; /* of K, then of V */
#endif
    vec q[CHUNK][K_VECS];
    float scratch[PARTS_FLOATS > COLS_FLOATS ? PARTS_FLOATS : COLS_FLOATS];
    struct pairs pairs;
    struct keys keys;
};

/* The running sums of one item: of columns item % V_VECS, + WG, ... of V for each V_KEYS-th key. */
struct sums {
    vec num[CHUNK][COLS];
};

#if K_BLOCKS || V_BLOCKS
/* The 16 bytes at p, of which those from `first` to `end` may be read. */
INLINE uint4 piece_of_row(global const uchar *p, global const uchar *first, global const uchar *end)
{
    if (p >= first && p + 16 <= end)
        return *(global const uint4 *) p;
    ushort v[8];
    #pragma unroll
    for (int i = 0; i < 8; i++)
        v[i] = p + 2 * i >= first && p + 2 * i < end ? *(global const ushort *) (p + 2 * i) : 0;
    return as_uint4(vload8(0, v));
}

/* The rows of a tile of K or V, whose memory begins at `first`; keys: where they lie from `from` on. */
INLINE void bring_rows(local uint4 *rows, global const uchar *first, global const uchar *from, local const i64 *keys,
                       int bytes)
{
    const int pieces = ATTN_WG_PIECES(bytes);
    for (int i = get_local_id(0); i < TILE * pieces; i += WG) {
        global const uchar *row = from + keys[i / pieces];
        if (keys[i / pieces] >= 0)
            rows[i] = piece_of_row(row - (size_t) row % 16 + i % pieces * 16, first, row + bytes);
    }
}

/* Row `key` of them. */
INLINE local const uchar *row_brought(local const uint4 *rows, global const uchar *row, int key, int bytes)
{
    return (local const uchar *) (rows + key * ATTN_WG_PIECES(bytes)) + (size_t) row % 16;
}
#endif

/* Vector j of a row of K, of V at `row`, of key number `key` of the tile. */
#if K_BLOCKS
#define K_VECTOR(s, row, key, j, aligned) K_ROW(row_brought((s)->rows, row, key, K_BYTES), j)
#else
#define K_VECTOR(s, row, key, j, aligned) (aligned ? K_ROW_ALIGNED(row, j) : K_ROW(row, j))
#endif
#if V_BLOCKS
#define V_VECTOR(s, row, key, j, aligned) V_ROW(row_brought((s)->rows, row, key, V_BYTES), j)
#else
#define V_VECTOR(s, row, key, j, aligned) (aligned ? V_ROW_ALIGNED(row, j) : V_ROW(row, j))
#endif

INLINE float4 add_products(vec a, vec b, float4 sum)
{
    return fma(a.hi, b.hi, fma(a.lo, b.lo, sum));
}

INLINE float lanes_sum(float4 x)
{
    return (x.x + x.y) + (x.z + x.w);
}

/* Hands on this lane's part of the dot product of row r and a key: scratch[row][key][lane], or the whole,
 * scratch[row][key], where lanes need no local memory to add up. */
INLINE void put_dot(local struct tile *s, int r, int key, int lane, float part)
{
    const int at = (r * TILE + key) * PARTS_OF_DOT;
#if SHUFFLE
    if (LANES > 4)
        part += LANE_XOR(part, 4);
    if (LANES > 2)
        part += LANE_XOR(part, 2);
    part += LANE_XOR(part, 1);
    if (lane == r % LANES)
        s->scratch[at] = part;
#else
    s->scratch[at + lane] = part;
#endif
}

INLINE void dot_lanes(local struct tile *s, const struct args *a, global const K_T *from)
{
    const bool aligned = k_aligned(a, from);
    const int lane = get_local_id(0) % LANES;
    for (int key = get_local_id(0) / LANES; key < TILE; key += WG / LANES) {
        float4 sum[CHUNK];
        #pragma unroll
        for (int r = 0; r < CHUNK; r++)
            sum[r] = 0.0f;
        for (int j = lane; j < K_VECS && s->keys.k[key] >= 0; j += LANES) {
            const vec x = K_VECTOR(s, from + s->keys.k[key], key, j, aligned);
            #pragma unroll
            for (int r = 0; r < CHUNK; r++)
                sum[r] = add_products(s->q[r][j], x, sum[r]);
        }
        #pragma unroll
        for (int r = 0; r < CHUNK; r++)
            put_dot(s, r, key, lane, lanes_sum(sum[r]));
    }
}

/* p and n of each pair, from the parts of its dot product; where exponents do not move its weight at once. Not in a
 * loop of its own: where CHUNK * TILE is under WG, two loops that only some items enter would stand between two
 * barriers, and PoCL 6 then lost what all items do there. */
INLINE void make_scores(local struct tile *s, const struct args *a, const struct task *k, int t, bool moving)
{
    for (int i = get_local_id(0); i < CHUNK * TILE; i += WG) {
        float x = 0.0f;
        #pragma unroll
        for (int part = 0; part < (SHUFFLE ? 1 : LANES); part++)
            x += s->scratch[i * PARTS_OF_DOT + part];
        make_score(&s->pairs, &s->keys, a, k, t, i, x);
        if (!moving)
            weigh_pair(&s->pairs, i, false);
    }
}

INLINE void shrink_sums(local const struct pairs *s, struct sums *sums)
{
    #pragma unroll
    for (int r = 0; r < CHUNK; r++) {
        const float shrink = s->shrink[r];
        #pragma unroll
        for (int c = 0; c < COLS; c++)
            sums->num[r][c] *= shrink;
    }
}

/* num += p[key] x, in the rows that see the key. masked: some does not. */
INLINE void add_value(local const struct tile *s, struct sums *sums, int key, int c, vec x, bool masked)
{
    #pragma unroll
    for (int r = 0; r < CHUNK; r++) {
        const float p = s->pairs.p[r][key];
        const vec sum = fma((vec) p, x, sums->num[r][c]);
        sums->num[r][c] = masked && p == UNSEEN ? sums->num[r][c] : sum;
    }
}

INLINE void add_values(local const struct tile *s, const struct args *a, global const V_T *from, struct sums *sums)
{
    const int first = get_local_id(0) / V_VECS;
    const bool masked = s->pairs.masked, aligned = v_aligned(a, from);
    for (int key = first; key < TILE && first < V_KEYS; key += V_KEYS) {
        if (s->keys.v[key] < 0)
            continue;
        #pragma unroll
        for (int c = 0; c < COLS; c++) {
            const int j = get_local_id(0) % V_VECS + c * WG;
            if (j < V_VECS) {
                const vec x = V_VECTOR(s, from + s->keys.v[key], key, j, aligned);
                if (masked)
                    add_value(s, sums, key, c, x, true);
                else
                    add_value(s, sums, key, c, x, false);
            }
        }
    }
}

/* Sums of all keys of the task. */
INLINE void sum_keys(local struct tile *s, const struct args *a, const struct task *k, struct sums *sums, bool moving)
{
    const bool count = moving == (SCHEME != UNIFIED); /* bad blocks: once, not when a split is redone */
    for (int t = k->begin; t < k->end; t += TILE) {
        find_keys(&s->pairs, &s->keys, a, k, t, count);
        barrier(CLK_LOCAL_MEM_FENCE);
#if K_BLOCKS
        bring_rows(s->rows, a->k, k_of_head(a, k->g), s->keys.k, K_BYTES);
        barrier(CLK_LOCAL_MEM_FENCE);
#endif
        dot_lanes(s, a, k_of_head(a, k->g));
        barrier(CLK_LOCAL_MEM_FENCE);
#if V_BLOCKS
        bring_rows(s->rows, a->v, v_of_head(a, k->g), s->keys.v, V_BYTES);
#endif
        make_scores(s, a, k, t, moving);
        if (moving) {
            raise_exponents(&s->pairs);
            shrink_sums(&s->pairs, sums);
            weigh(&s->pairs, true);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        add_values(s, a, v_of_head(a, k->g), sums);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
}

/* Adds up the items' sums of row r in a fixed order and stores them. */
INLINE void store_num(local struct tile *s, const struct args *a, const struct task *k, const struct sums *sums, int r)
{
    const int item = get_local_id(0);
    local vec *num = (local vec *) s->scratch; /* [V_KEYS][V_VECS] */
    #pragma unroll
    for (int c = 0; c < COLS; c++)
        if (item + c * WG < V_KEYS * V_VECS)
            num[item + c * WG] = sums->num[r][c];
    barrier(CLK_LOCAL_MEM_FENCE);

    for (int j = item; j < V_VECS && r < k->n_rows; j += WG) {
        vec sum = num[j];
        for (int key = 1; key < V_KEYS; key++)
            sum += num[key * V_VECS + j];
        store_f32(sum, num_of(a, partial_of(a, k, k->g, r)), j, V_DIM);
        if (!num_in_range(sum))
            atomic_or(&s->pairs.bad, 1 << r);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

/* Stores the partials, row by row: all at once took so much local memory that few groups fitted on a compute unit. Sets
 * s->pairs.bad. */
INLINE void store_partials(local struct tile *s, const struct args *a, const struct task *k, const struct sums *sums)
{
    store_dens(&s->pairs, a, k);
    #pragma unroll
    for (int r = 0; r < CHUNK; r++)
        store_num(s, a, k, sums, r);
}

/* The exponent that row r begins with. */
INLINE float first_exponent(local const struct tile *s, const struct args *a, const struct task *k, int r)
{
    float4 sum = 0.0f;
    for (int j = 0; j < K_VECS && needs_bounds(a); j++)
        sum = add_products(s->q[r][j], s->q[r][j], sum);
    return unified_exponent(a, k, r, lanes_sum(sum));
}

/* The partials of the task by one way through its keys. */
INLINE void make_partials(local struct tile *s, const struct args *a, const struct task *k, bool moving)
{
    const int item = get_local_id(0);
    struct sums sums;
    #pragma unroll
    for (int r = 0; r < CHUNK; r++)
        #pragma unroll
        for (int c = 0; c < COLS; c++)
            sums.num[r][c] = 0.0f;
    begin_pairs(&s->pairs, moving || item >= CHUNK ? EXP_NONE : first_exponent(s, a, k, item));
    barrier(CLK_LOCAL_MEM_FENCE);
    sum_keys(s, a, k, &sums, moving);
    store_partials(s, a, k, &sums);
}

INLINE void load_rows(local struct tile *s, const struct args *a, const struct task *k)
{
    for (int i = get_local_id(0); i < CHUNK * K_VECS; i += WG) {
        const int r = i / K_VECS, j = i % K_VECS;
        s->q[r][j] = r < k->n_rows ? Q_ROW(q_row(a, k, k->g, r), j) : 0.0f;
    }
    find_visible(&s->pairs, a, k);
    barrier(CLK_LOCAL_MEM_FENCE);
}

__attribute__((reqd_work_group_size(WG, 1, 1))) IN_STEP
kernel void attn_wg(ATTN_BUFFERS(BUFFER_PARAM) ATTN_SCALARS(SCALAR_PARAM) int unused)
{
    TAKE_ARGS(a)
    local struct tile s;
    struct task k;
    find_task(&k, &a, TILE);
    load_rows(&s, &a, &k);
    make_partials(&s, &a, &k, SCHEME != UNIFIED);
    if (SCHEME != UNIFIED)
        return;
    keep_bad(&s.pairs, &a, &k);
    make_partials(&s, &a, &k, true);
}
