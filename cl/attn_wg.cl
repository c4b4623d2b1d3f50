/* SPDX-License-Identifier: MIT
 * attn_wg.cl - launch 1 of attention for GPU-like devices; part of attn.cl, where the terms are explained
 *
 * One group of WG items makes the partials of one (sequence, split, kv head, chunk of CHUNK rows). A tile of TILE keys:
 * LANES neighbouring items share a key's dot products with all rows; item `key` turns its key's into weights; then each
 * item owns WIDTH columns of V, for every V_KEYS-th key. Four barriers a tile, six where exponents move. WG is a power
 * of two, TILE a multiple of SEGMENT and at most WG. Local memory: struct tile, counted by wg_local_bytes in attn.c. */
#define LANES    ATTN_WG_LANES(HEAD_DIM)                       /* items that share a dot product */
#define V_KEYS   (WG < V_VECS ? 1 : WG / V_VECS)               /* keys of V that a group reads at a time */
#define COLS     ((V_VECS + WG - 1) / WG)                      /* vectors of V that an item owns of each */
#define SEGMENT  8                                             /* keys whose maximum one item takes */
#define SEGMENTS (TILE / SEGMENT)
#define LANES_FLOATS (CHUNK * TILE * (LANES + 1)) /* + 1: neighbours hit different banks */
#define COLS_FLOATS  (CHUNK * V_KEYS * V_VECS * WIDTH)
#define UNSEEN       (-1.0f) /* the weight of a key that the row does not see; others are >= 0 or NaN */

struct tile {
    vec q[CHUNK][K_VECS];
    float scratch[LANES_FLOATS > COLS_FLOATS ? LANES_FLOATS : COLS_FLOATS];
    float p[CHUNK][TILE], n[CHUNK][TILE], most[CHUNK][SEGMENTS], final_n[CHUNK];
    i64 k[TILE], v[TILE]; /* offsets of a key; -1: it is not there */
    int lo[CHUNK], hi[CHUNK], n_keys[CHUNK]; /* of a row: the keys that it sees, and how many were there */
    int bad, masked; /* bad: rows out of the range of `unified`, a bit each; masked: some row does not see a key that is
                        there */
};

/* The running sums of one item: of columns item % V_VECS, + WG, ... of V for each V_KEYS-th key, and den of key `item`
 * of each tile. The exponents are the same in all items. */
struct sums {
    vec num[CHUNK][COLS];
    float den[CHUNK], n[CHUNK];
    int n_keys[CHUNK];
};

INLINE float lanes_sum(vec x)
{
    const float4 a = x.lo + x.hi;
    return (a.x + a.y) + (a.z + a.w);
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
    const int block = t + item < k->end ? find_block(a, k->s.b, t + item, &slot, count) : -1;
    s->k[item] = block >= 0 ? k_offset(a, block, slot) : -1;
    s->v[item] = block >= 0 ? v_offset(a, block, slot) : -1;
    if (item == 0)
        s->masked = 0;
}

/* scratch[row][key][lane] = this lane's part of q . k */
INLINE void dot_lanes(local struct tile *s, const struct args *a, global const K_T *from)
{
    const bool aligned = rows_aligned((size_t) from, a->k_block_stride | a->k_token_stride | a->k_head_stride, sizeof(K_T));
    const int lane = get_local_id(0) % LANES;
    for (int key = get_local_id(0) / LANES; key < TILE; key += WG / LANES) {
        vec sum[CHUNK];
        #pragma unroll
        for (int r = 0; r < CHUNK; r++)
            sum[r] = 0.0f;
        for (int j = lane; j < K_VECS && s->k[key] >= 0; j += LANES) {
            const vec x = aligned ? K_ROW_ALIGNED(from + s->k[key], j) : K_ROW(from + s->k[key], j);
            #pragma unroll
            for (int r = 0; r < CHUNK; r++)
                sum[r] = fma(s->q[r][j], x, sum[r]);
        }
        #pragma unroll
        for (int r = 0; r < CHUNK; r++)
            s->scratch[(r * TILE + key) * (LANES + 1) + lane] = lanes_sum(sum[r]);
    }
}

/* Moves the exponents to the maxima of the tile, where they are too low. n: of key `item`. */
INLINE void raise_exponents(local struct tile *s, struct sums *sums, const float *n)
{
    const int item = get_local_id(0);
    #pragma unroll
    for (int r = 0; r < CHUNK; r++)
        if (item < TILE)
            s->n[r][item] = n[r];
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int i = item; i < CHUNK * SEGMENTS; i += WG) {
        local const float *of = s->n[i / SEGMENTS] + i % SEGMENTS * SEGMENT;
        float most = of[0];
        for (int j = 1; j < SEGMENT; j++)
            most = of[j] > most ? of[j] : most;
        s->most[i / SEGMENTS][i % SEGMENTS] = most;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    #pragma unroll
    for (int r = 0; r < CHUNK; r++) {
        float most = s->most[r][0];
        for (int j = 1; j < SEGMENTS; j++)
            most = s->most[r][j] > most ? s->most[r][j] : most;
        if (most > sums->n[r] + SLACK) {
            const float shrink = exp2i(sums->n[r] - most);
            #pragma unroll
            for (int c = 0; c < COLS; c++)
                sums->num[r][c] *= shrink;
            sums->den[r] *= shrink;
            sums->n[r] = most;
        }
    }
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
        const float bias =
            a->bias[k->s.b * a->bias_batch_stride + i * a->bias_query_stride + h * a->bias_head_stride + t];
        x += bias;
        *seen = *seen && bias != -INFINITY;
    }
    return x;
}

/* p[row][key] from the parts of the dot products: item makes those of key `item`, token t + item. */
INLINE void weigh(local struct tile *s, const struct args *a, const struct task *k, struct sums *sums, int t, bool moving)
{
    const int item = get_local_id(0);
    float m[CHUNK], n[CHUNK];
    bool seen[CHUNK];
    #pragma unroll
    for (int r = 0; r < CHUNK; r++) {
        seen[r] = item < TILE && r < k->n_rows && s->k[item] >= 0 && t + item >= s->lo[r] && t + item < s->hi[r];
        if (item < TILE) {
            float x = 0.0f;
            #pragma unroll
            for (int lane = 0; lane < LANES; lane++)
                x += s->scratch[(r * TILE + item) * (LANES + 1) + lane];
            if (seen[r])
                x = finish_score(a, k, r, t + item, x, &seen[r]);
            m[r] = exp_pair(seen[r] ? x : -INFINITY, &n[r]);
        }
    }
    if (moving)
        raise_exponents(s, sums, n);
    #pragma unroll
    for (int r = 0; r < CHUNK; r++) {
        if (item < TILE) {
            const float p = m[r] * exp2i(n[r] - sums->n[r]);
            s->p[r][item] = seen[r] ? p : UNSEEN;
            sums->den[r] += seen[r] ? p : 0.0f;
            sums->n_keys[r] += seen[r];
            if (!seen[r] && r < k->n_rows && s->k[item] >= 0)
                s->masked = 1;
        }
    }
}

INLINE void add_values(local const struct tile *s, const struct args *a, global const V_T *from, struct sums *sums)
{
    const int first = get_local_id(0) / V_VECS;
    const bool masked = s->masked;
    const bool aligned = rows_aligned((size_t) from, a->v_block_stride | a->v_token_stride | a->v_head_stride, sizeof(V_T));
    for (int key = first; key < TILE && first < V_KEYS; key += V_KEYS) {
        if (s->v[key] < 0)
            continue;
        #pragma unroll
        for (int c = 0; c < COLS; c++) {
            const int j = get_local_id(0) % V_VECS + c * WG;
            if (j < V_VECS) {
                const vec x = aligned ? V_ROW_ALIGNED(from + s->v[key], j) : V_ROW(from + s->v[key], j);
                #pragma unroll
                for (int r = 0; r < CHUNK; r++)
                    if (!masked || s->p[r][key] != UNSEEN)
                        sums->num[r][c] = fma((vec) s->p[r][key], x, sums->num[r][c]);
            }
        }
    }
}

/* Sums of all keys of the task. */
INLINE void sum_keys(local struct tile *s, const struct args *a, const struct task *k, struct sums *sums, bool moving)
{
    const bool count = k->row == 0 && moving == (SCHEME != UNIFIED); /* bad blocks: once, not when a split is redone */
    for (int t = k->begin; t < k->end; t += TILE) {
        find_keys(s, a, k, t, count);
        barrier(CLK_LOCAL_MEM_FENCE);
        dot_lanes(s, a, k_of_head(a, k->g));
        barrier(CLK_LOCAL_MEM_FENCE);
        weigh(s, a, k, sums, t, moving);
        barrier(CLK_LOCAL_MEM_FENCE);
        add_values(s, a, v_of_head(a, k->g), sums);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
}

/* Adds up the items' sums in a fixed order and stores the partials; sets s->bad. */
INLINE void store_partials(local struct tile *s, const struct args *a, const struct task *k, const struct sums *sums)
{
    const int item = get_local_id(0);
    local vec *num = (local vec *) s->scratch; /* [CHUNK][V_KEYS][V_VECS] */
    #pragma unroll
    for (int r = 0; r < CHUNK; r++) {
        if (item < TILE)
            s->p[r][item] = sums->den[r];
        if (item == 0)
            s->final_n[r] = sums->n[r];
        #pragma unroll
        for (int c = 0; c < COLS; c++)
            if (item + c * WG < V_KEYS * V_VECS)
                num[r * V_KEYS * V_VECS + item + c * WG] = sums->num[r][c];
        if (sums->n_keys[r])
            atomic_add(&s->n_keys[r], sums->n_keys[r]);
    }
    barrier(CLK_LOCAL_MEM_FENCE);

    for (int i = item; i < k->n_rows * V_VECS; i += WG) {
        const int r = i / V_VECS, j = i % V_VECS;
        const size_t partial = partial_of(a, k, k->g, r);
        vec sum = num[r * V_KEYS * V_VECS + j];
        for (int key = 1; key < V_KEYS; key++)
            sum += num[(r * V_KEYS + key) * V_VECS + j];
        store_f32(sum, num_of(a, partial), j, V_DIM);
        bool good = num_in_range(sum);
        if (j == 0) {
            float den = 0.0f;
            for (int key = 0; key < TILE; key++)
                den += s->p[r][key];
            store_den(a, partial, s->n_keys[r], den, s->final_n[r]);
            good = good && den_in_range(den, s->n_keys[r]);
        }
        if (!good)
            atomic_or(&s->bad, 1 << r);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

/* The exponent that row r begins with. */
INLINE float first_exponent(local const struct tile *s, const struct args *a, const struct task *k, int r, float2 bounds)
{
    float sum = 0.0f;
    for (int j = 0; j < K_VECS && needs_bounds(a); j++)
        sum += lanes_sum(s->q[r][j] * s->q[r][j]);
    return exponent_of(phi_of(a, k, k->g, min(r, max(k->n_rows, 1) - 1), sqrt(sum), bounds));
}

/* The partials of the task by one way through its keys. */
INLINE void make_partials(local struct tile *s, const struct args *a, const struct task *k, bool moving)
{
    struct sums sums;
    const float2 bounds = !moving && needs_bounds(a) ? bounds_of(a, k, k->g) : (float2) 0.0f;
    #pragma unroll
    for (int r = 0; r < CHUNK; r++) {
        #pragma unroll
        for (int c = 0; c < COLS; c++)
            sums.num[r][c] = 0.0f;
        sums.den[r] = 0.0f;
        sums.n[r] = moving ? EXP_NONE : first_exponent(s, a, k, r, bounds);
        sums.n_keys[r] = 0;
        if (get_local_id(0) == 0)
            s->n_keys[r] = 0;
    }
    if (get_local_id(0) == 0)
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

__attribute__((reqd_work_group_size(WG, 1, 1)))
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
