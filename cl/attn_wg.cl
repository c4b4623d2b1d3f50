/* SPDX-License-Identifier: MIT
 * attn_wg.cl - launch 1 of attention for GPU-like devices; part of attn.cl, where the terms are explained
 *
 * One group of WG items makes the partials of one (sequence, split, kv head, chunk of CHUNK rows). A tile of TILE keys:
 * LANES neighbouring items share a key's dot products with all rows; the CHUNK * TILE pairs of a row and a key are
 * dealt out to all items, which turn products into weights; then each item owns WIDTH columns of V, for every V_KEYS-th
 * key. Four barriers a tile, six where exponents move. WG is a power of two, TILE a multiple of 4 and at most WG, CHUNK
 * at most WG. Local memory: struct tile, counted by wg_local_bytes in attn.c. What belongs to a pair lies there and not
 * in the item that owns it: registers are for num, and loops over pairs stay loops. */
#define LANES    ATTN_WG_LANES(HEAD_DIM)                       /* items that share a dot product */
#define V_KEYS   (WG < V_VECS ? 1 : WG / V_VECS)               /* keys of V that a group reads at a time */
#define COLS     ((V_VECS + WG - 1) / WG)                      /* vectors of V that an item owns of each */
#define PARTS_OF_DOT ATTN_WG_PARTS_OF_DOT(HEAD_DIM, SHUFFLE)
#define PARTS_FLOATS (CHUNK * TILE * PARTS_OF_DOT)
#define COLS_FLOATS  (V_KEYS * V_VECS * WIDTH) /* of a row */
#define UNSEEN       (-1.0f) /* the weight of a key that the row does not see; others are >= 0 or NaN */

struct tile {
    vec q[CHUNK][K_VECS];
    float scratch[PARTS_FLOATS > COLS_FLOATS ? PARTS_FLOATS : COLS_FLOATS];
    float p[CHUNK][TILE], n[CHUNK][TILE]; /* a pair's weight is p * 2^n, later p * 2^exponent */
    float den[CHUNK][TILE];               /* of a pair's row, over the pair's key in each tile */
    int n_keys[CHUNK][TILE];              /* and how many of these keys the row saw */
    float exponent[CHUNK], shrink[CHUNK]; /* of a row; what the last tile scaled its sums by */
    i64 k[TILE], v[TILE]; /* offsets of a key; -1: it is not there */
    int lo[CHUNK], hi[CHUNK]; /* the keys that a row sees */
    int bad;    /* rows out of the range of `unified`, a bit each */
    int masked; /* some row does not see a key that is there */
};

/* The running sums of one item: of columns item % V_VECS, + WG, ... of V for each V_KEYS-th key. */
struct sums {
    vec num[CHUNK][COLS];
};

INLINE float4 add_products(vec a, vec b, float4 sum)
{
    return fma(a.hi, b.hi, fma(a.lo, b.lo, sum));
}

INLINE float lanes_sum(float4 x)
{
    return (x.x + x.y) + (x.z + x.w);
}

/* May all rows of a cache be read 16 bytes at a time? A GPU then needs one instruction where it needs eight. */
INLINE bool rows_aligned(size_t base, i64 strides, int bytes)
{
    return (base | (size_t) (strides * bytes)) % 16 == 0;
}

/* Keys of the tile that begins at token t. */
INLINE void find_keys(local struct tile *s, const struct args *a, const struct task *k, int t, bool count)
{
    int slot;
    const int item = get_local_id(0);
    if (item >= TILE)
        return;
    const bool inside = t + item < k->end;
    const int block = inside ? find_block(a, k->s.b, t + item, &slot) : -1;
    if (inside && block < 0 && count)
        count_block(a, k, slot, t + item, 1);
    s->k[item] = block >= 0 ? k_offset(a, block, slot) : -1;
    s->v[item] = block >= 0 ? v_offset(a, block, slot) : -1;
    if (item == 0)
        s->masked = 0;
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
    const i64 strides = a->k_block_stride | a->k_token_stride | a->k_head_stride;
    const bool aligned = rows_aligned((size_t) from, strides, sizeof(K_T));
    const int lane = get_local_id(0) % LANES;
    for (int key = get_local_id(0) / LANES; key < TILE; key += WG / LANES) {
        float4 sum[CHUNK];
        #pragma unroll
        for (int r = 0; r < CHUNK; r++)
            sum[r] = 0.0f;
        for (int j = lane; j < K_VECS && s->k[key] >= 0; j += LANES) {
            const vec x = aligned ? K_ROW_ALIGNED(from + s->k[key], j) : K_ROW(from + s->k[key], j);
            #pragma unroll
            for (int r = 0; r < CHUNK; r++)
                sum[r] = add_products(s->q[r][j], x, sum[r]);
        }
        #pragma unroll
        for (int r = 0; r < CHUNK; r++)
            put_dot(s, r, key, lane, lanes_sum(sum[r]));
    }
}

/* Moves the exponents to the maxima of the tile, where they are too low. */
INLINE void raise_exponents(local struct tile *s, struct sums *sums)
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
    #pragma unroll
    for (int r = 0; r < CHUNK; r++) {
        const float shrink = s->shrink[r];
        #pragma unroll
        for (int c = 0; c < COLS; c++)
            sums->num[r][c] *= shrink;
    }
    for (int i = item; i < CHUNK * TILE; i += WG)
        s->den[i / TILE][i % TILE] *= s->shrink[i / TILE];
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

/* p and n of each pair, from the parts of its dot product. */
INLINE void make_scores(local struct tile *s, const struct args *a, const struct task *k, int t)
{
    for (int i = get_local_id(0); i < CHUNK * TILE; i += WG) {
        const int r = i / TILE, key = i % TILE;
        const bool there = r < k->n_rows && s->k[key] >= 0;
        bool seen = there && t + key >= s->lo[r] && t + key < s->hi[r];
        float x = 0.0f, n;
        #pragma unroll
        for (int part = 0; part < (SHUFFLE ? 1 : LANES); part++)
            x += s->scratch[i * PARTS_OF_DOT + part];
        if (seen)
            x = finish_score(a, k, r, t + key, x, &seen);
        const float m = exp_pair(seen ? x : -INFINITY, &n);
        s->p[r][key] = seen ? m : UNSEEN;
        s->n[r][key] = n;
        if (there && !seen)
            s->masked = 1;
    }
}

INLINE void weigh(local struct tile *s)
{
    for (int i = get_local_id(0); i < CHUNK * TILE; i += WG) {
        const int r = i / TILE, key = i % TILE;
        if (s->p[r][key] != UNSEEN) {
            const float p = s->p[r][key] * exp2i(s->n[r][key] - s->exponent[r]);
            s->p[r][key] = p;
            s->den[r][key] += p;
            s->n_keys[r][key]++;
        }
    }
}

/* num += p[key] x, in the rows that see the key. masked: some does not. */
INLINE void add_value(local const struct tile *s, struct sums *sums, int key, int c, vec x, bool masked)
{
    #pragma unroll
    for (int r = 0; r < CHUNK; r++) {
        const float p = s->p[r][key];
        const vec sum = fma((vec) p, x, sums->num[r][c]);
        sums->num[r][c] = masked && p == UNSEEN ? sums->num[r][c] : sum;
    }
}

INLINE void add_values(local const struct tile *s, const struct args *a, global const V_T *from, struct sums *sums)
{
    const int first = get_local_id(0) / V_VECS;
    const bool masked = s->masked;
    const i64 strides = a->v_block_stride | a->v_token_stride | a->v_head_stride;
    const bool aligned = rows_aligned((size_t) from, strides, sizeof(V_T));
    for (int key = first; key < TILE && first < V_KEYS; key += V_KEYS) {
        if (s->v[key] < 0)
            continue;
        #pragma unroll
        for (int c = 0; c < COLS; c++) {
            const int j = get_local_id(0) % V_VECS + c * WG;
            if (j < V_VECS) {
                const vec x = aligned ? V_ROW_ALIGNED(from + s->v[key], j) : V_ROW(from + s->v[key], j);
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
        find_keys(s, a, k, t, count);
        barrier(CLK_LOCAL_MEM_FENCE);
        dot_lanes(s, a, k_of_head(a, k->g));
        barrier(CLK_LOCAL_MEM_FENCE);
        make_scores(s, a, k, t);
        if (moving)
            raise_exponents(s, sums);
        weigh(s);
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
            atomic_or(&s->bad, 1 << r);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

/* Stores the partials, row by row: all at once took so much local memory that few groups fitted on a compute unit. Sets
 * s->bad. */
INLINE void store_partials(local struct tile *s, const struct args *a, const struct task *k, const struct sums *sums)
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
    #pragma unroll
    for (int r = 0; r < CHUNK; r++)
        store_num(s, a, k, sums, r);
}

/* The exponent that row r begins with. */
INLINE float first_exponent(local const struct tile *s, const struct args *a, const struct task *k, int r,
                            float2 bounds)
{
    float4 sum = 0.0f;
    for (int j = 0; j < K_VECS && needs_bounds(a); j++)
        sum = add_products(s->q[r][j], s->q[r][j], sum);
    return exponent_of(phi_of(a, k, k->g, min(r, max(k->n_rows, 1) - 1), sqrt(lanes_sum(sum)), bounds));
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
    for (int i = item; i < CHUNK * TILE; i += WG) {
        s->den[i / TILE][i % TILE] = 0.0f;
        s->n_keys[i / TILE][i % TILE] = 0;
    }
    if (item < CHUNK) {
        const float2 bounds = !moving && needs_bounds(a) ? bounds_of(a, k, k->g) : (float2) 0.0f;
        s->exponent[item] = moving ? EXP_NONE : first_exponent(s, a, k, item, bounds);
    }
    if (item == 0)
        s->bad = 0;
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
    for (int r = get_local_id(0); r < CHUNK; r += WG) {
        const int i = token_of(k, min(r, max(k->n_rows, 1) - 1));
        s->lo[r] = first_visible(a, &k->s, i);
        s->hi[r] = end_visible(a, &k->s, i);
    }
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

    /* Where nothing is to be redone, as in a chunk without rows, the same code runs over no keys and stores nothing:
     * barriers under a condition, even one that is the same for all items, are what CPU compilers get wrong. */
    const int bad = s.bad;
    if (bad && get_local_id(0) == 0)
        atomic_add(a.counts, popcount(bad));
    k.end = bad ? k.end : k.begin;
    k.n_rows = bad ? k.n_rows : 0;
    barrier(CLK_LOCAL_MEM_FENCE);
    make_partials(&s, &a, &k, true);
}
