/* SPDX-License-Identifier: MIT
 * attn_vec.cl - launch 1 of attention for CPU-like devices; part of attn.cl, where the terms are explained
 *
 * One work-item makes the partials of one (sequence, split, kv head, chunk of rows). It walks its keys in tiles of TILE, and
 * for each tile its rows in blocks of ROWS, while the tile is in the nearest cache. A block works on WIDTH/ROWS keys at a
 * time: WIDTH dot products in WIDTH registers, each vector of K loaded (and converted) once for ROWS rows, folded by a tree
 * of lane shuffles into one vector of scores, lane r*KEYS + i for row r and key i. Then one vector exp; then each vector of V
 * is loaded once for ROWS rows. Sums of V live in the workspace, where the partial will be, and pass through registers once
 * per tile.
 *
 * WIDTH floats in a vector, what the CPU has; ROWS 1, 2 or 4; PREFETCH: the first block asks for the next tile. */
#define TILE     ATTN_VEC_TILE
#define KEYS     (WIDTH / ROWS) /* of one vector of scores */
#define GROUPS   (TILE / KEYS)  /* such vectors of a tile */
#define COLS     (WIDTH / ROWS) /* vectors of V summed at a time: WIDTH sums in registers */
#define N_BLOCKS (CHUNK / ROWS)
#define DOTS_UNROLL _Pragma("unroll 2")

/* Where the keys of a tile lie. */
struct tile {
    int first; /* token */
    uint there; /* a bit per key: before the task's end and in a block of the pool */
    i64 k[TILE], v[TILE]; /* offsets; of a key that is not there: another's */
};
#define ALL_THERE (0xffffffffu >> (32 - TILE))

/* ROWS rows. Past the task's last row they repeat it, and all they do is done twice. Lanes as in scores. */
struct block {
    vec den, n, slope; /* den: sums of this lane's keys; n: the row's */
    ivec n_keys, lo, hi; /* n_keys: this lane's; lo, hi: the keys that the row sees */
    vec before; /* minus the row's position */
    int any_lo, any_hi, all_lo, all_hi; /* keys that some row sees, that all see */
    bool done;
    global const Q_T *q[ROWS];
    global const float *bias[ROWS];
    size_t partial[ROWS];
};

INLINE void find_tile(const struct args *a, const struct task *k, int first, bool count, struct tile *tile)
{
    i64 some_k = 0, some_v = 0;
    tile->first = first;
    tile->there = 0;
    for (int i = 0; i < TILE && first + i < k->end;) {
        int slot;
        const int block = find_block(a, k->s.b, first + i, &slot, count);
        const int run = a->block_table ? min(TILE - i, a->page_size - slot) : TILE - i, n = min(run, k->end - first - i);
        const i64 at_k = k_offset(a, k->g, max(block, 0), slot), at_v = v_offset(a, k->g, max(block, 0), slot);
        const i64 step_k = UNITS(K_TYPE, a->k_token_stride), step_v = UNITS(V_TYPE, a->v_token_stride);
        if (block >= 0) {
            for (int j = 0; j < n; j++) {
                tile->k[i + j] = at_k + j * step_k;
                tile->v[i + j] = at_v + j * step_v;
            }
            some_k = at_k, some_v = at_v;
            tile->there |= (0xffffffffu >> (32 - n)) << i;
        }
        i += n;
    }
    if (tile->there != ALL_THERE)
        for (int i = 0; i < TILE; i++)
            if (!(tile->there >> i & 1))
                tile->k[i] = some_k, tile->v[i] = some_v;
}

/* ---- lanes ---- */

/* Lane i: the sum of the lanes of a[i]. Halves of vectors that lie near each other first: cheap shuffles. */
INLINE vec fold(vec *a)
{
#if WIDTH == 16
    #pragma unroll
    for (int i = 0; i < 8; i++) {
        const vec x = a[2 * i], y = a[2 * i + 1];
        a[i] = (vec) (x.s01, y.s01, x.s45, y.s45, x.s89, y.s89, x.scd, y.scd) +
               (vec) (x.s23, y.s23, x.s67, y.s67, x.sab, y.sab, x.sef, y.sef);
    }
    #pragma unroll
    for (int i = 0; i < 4; i++) {
        const vec x = a[2 * i], y = a[2 * i + 1];
        a[i] = (vec) (x.s02, y.s02, x.s46, y.s46, x.s8a, y.s8a, x.sce, y.sce) +
               (vec) (x.s13, y.s13, x.s57, y.s57, x.s9b, y.s9b, x.sdf, y.sdf);
    }
    #pragma unroll
    for (int i = 0; i < 2; i++)
        a[i] = (vec) (a[2 * i].lo, a[2 * i + 1].lo) + (vec) (a[2 * i].hi, a[2 * i + 1].hi);
    const vec x = a[0], y = a[1];
    return (vec) (x.s0123, x.s89ab, y.s0123, y.s89ab) + (vec) (x.s4567, x.scdef, y.s4567, y.scdef);
#else
    #pragma unroll
    for (int i = 0; i < 4; i++) {
        const vec x = a[2 * i], y = a[2 * i + 1];
        a[i] = (vec) (x.s01, y.s01, x.s45, y.s45) + (vec) (x.s23, y.s23, x.s67, y.s67);
    }
    #pragma unroll
    for (int i = 0; i < 2; i++) {
        const vec x = a[2 * i], y = a[2 * i + 1];
        a[i] = (vec) (x.s02, y.s02, x.s46, y.s46) + (vec) (x.s13, y.s13, x.s57, y.s57);
    }
    return (vec) (a[0].lo, a[1].lo) + (vec) (a[0].hi, a[1].hi);
#endif
}

/* Every lane: the largest among the lanes of its row. NaN: any lane's, the sums are NaN anyway. */
INLINE vec row_most(vec x)
{
    vec y = x;
#if WIDTH == 16
#if KEYS > 1
    y = x.s1032547698badcfe, x = y > x ? y : x;
#endif
#if KEYS > 2
    y = x.s23016745ab89efcd, x = y > x ? y : x;
#endif
#if KEYS > 4
    y = x.s45670123cdef89ab, x = y > x ? y : x;
#endif
#if KEYS > 8
    y = x.s89abcdef01234567, x = y > x ? y : x;
#endif
#else
#if KEYS > 1
    y = x.s10325476, x = y > x ? y : x;
#endif
#if KEYS > 2
    y = x.s23016745, x = y > x ? y : x;
#endif
#if KEYS > 4
    y = x.s45670123, x = y > x ? y : x;
#endif
#endif
    return x;
}

#if WIDTH == 16
#define LANE_INDEX ((ivec) (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))
#define STORE_INTS vstore16
#else
#define LANE_INDEX ((ivec) (0, 1, 2, 3, 4, 5, 6, 7))
#define STORE_INTS vstore8
#endif
#define LANE_KEY (LANE_INDEX & (KEYS - 1))

INLINE void prefetch_row(global const void *p, int bytes)
{
#if HAVE_PREFETCH && PREFETCH
    #pragma unroll
    for (int line = 0; line < bytes; line += 64)
        __builtin_prefetch((const void *) ((size_t) p + line));
#endif
}
#define K_BYTES (UNITS(K_TYPE, HEAD_DIM) * (int) sizeof(K_T))
#define V_BYTES (UNITS(V_TYPE, V_DIM) * (int) sizeof(V_T))

/* ---- scores ---- */

/* q . k of the block's rows and the KEYS keys at k + at[0], k + at[1], ... */
INLINE vec dots(const struct block *s, global const K_T *k, const i64 *at)
{
    vec sum[WIDTH];
    global const K_T *row[KEYS];
    #pragma unroll
    for (int i = 0; i < WIDTH; i++)
        sum[i] = 0.0f;
    #pragma unroll
    for (int i = 0; i < KEYS; i++)
        row[i] = k + at[i];
    DOTS_UNROLL
    for (int j = 0; j < K_VECS; j++) {
        vec q[ROWS];
        #pragma unroll
        for (int r = 0; r < ROWS; r++)
            q[r] = Q_ROW(s->q[r], j);
        #pragma unroll
        for (int i = 0; i < KEYS; i++) {
            const vec x = K_ROW(row[i], j);
            #pragma unroll
            for (int r = 0; r < ROWS; r++)
                sum[r * KEYS + i] = fma(q[r], x, sum[r * KEYS + i]);
        }
    }
    return fold(sum);
}

/* c * tanh(x / c) */
INLINE vec capped(vec x, float c)
{
    return c - 2.0f * c / (exp_plain(x * (2.0f / c)) + 1.0f);
}

/* The bias of the keys at token `first` + lane; of keys past max_len none is read. */
INLINE vec bias_of(const struct args *a, const struct block *s, int first)
{
    float lane[WIDTH];
    #pragma unroll
    for (int r = 0; r < ROWS; r++)
        #pragma unroll
        for (int i = 0; i < KEYS; i++)
            lane[r * KEYS + i] = first + i < a->max_len ? s->bias[r][first + i] : 0.0f;
    return PASTE(vload, WIDTH)(0, lane);
}

/* From scaled dot products to scores; -inf for what the row does not see, whose lanes are 0 in the result. whole: all is
 * seen but for the bias. */
INLINE ivec finish_scores(const struct args *a, const struct block *s, const struct tile *tile, int group, bool whole,
                          vec *x)
{
    const vec none = -INFINITY;
    const ivec key = LANE_KEY + group * KEYS, t = key + tile->first;
    ivec seen = -1;
    if (a->softcap > 0.0f)
        *x = capped(*x, a->softcap);
    if (a->alibi)
        *x = fma(s->slope, PASTE(convert_float, WIDTH)(t) + s->before, *x);
    if (a->bias) {
        const vec bias = bias_of(a, s, tile->first + group * KEYS);
        *x += bias;
        seen = bias != none;
    }
    if (!whole)
        seen &= t >= s->lo && t < s->hi && ((ivec) (int) tile->there >> key & 1) != 0;
    *x = seen ? *x : none;
    return seen;
}

/* ---- sums ---- */

/* Raises the rows' exponents to their maxima over the tile, where these are larger by more than SLACK. */
INLINE void raise_exponents(const struct args *a, struct block *s, const vec *n)
{
    vec most = n[0];
    #pragma unroll
    for (int u = 1; u < GROUPS; u++)
        most = n[u] > most ? n[u] : most;
    most = row_most(most);
    const ivec higher = most > s->n + SLACK;
    if (!any(higher))
        return;
    const vec to = higher ? most : s->n, shrink = exp2i(s->n - to);
    float lane[WIDTH];
    PASTE(vstore, WIDTH)(shrink, 0, lane);
    s->den *= shrink;
    s->n = to;
    for (int r = 0; r < ROWS; r++) {
        bool again = false; /* a repeated last row is scaled once */
        for (int i = 0; i < r; i++)
            again = again || s->partial[i] == s->partial[r];
        global float *num = num_of(a, s->partial[r]);
        for (int j = 0; j < V_VECS && !again && lane[r * KEYS] != 1.0f; j++)
            store_f32(load_f32(num, j, V_DIM) * lane[r * KEYS], num, j, V_DIM);
    }
}

/* num[r] += p[r][i] * V[i] over all keys of a tile, for columns j .. j + n - 1 of V. n is a constant. */
INLINE void add_columns(const struct args *a, const struct block *s, const struct tile *tile, float p[GROUPS][WIDTH], int j,
                        int n, const struct tile *next)
{
    vec num[ROWS][COLS];
    #pragma unroll
    for (int r = 0; r < ROWS; r++)
        #pragma unroll
        for (int c = 0; c < n; c++)
            num[r][c] = load_f32(num_of(a, s->partial[r]), j + c, V_DIM);
    #pragma unroll 1
    for (int u = 0; u < GROUPS; u++) {
        #pragma unroll
        for (int i = 0; i < KEYS; i++) {
            global const V_T *row = a->v + tile->v[u * KEYS + i];
            if (next)
                prefetch_row(a->v + next->v[u * KEYS + i], V_BYTES);
            #pragma unroll
            for (int c = 0; c < n; c++) {
                const vec x = V_ROW(row, j + c);
                #pragma unroll
                for (int r = 0; r < ROWS; r++)
                    num[r][c] = fma((vec) p[u][r * KEYS + i], x, num[r][c]);
            }
        }
    }
    #pragma unroll
    for (int r = 0; r < ROWS; r++)
        #pragma unroll
        for (int c = 0; c < n; c++)
            store_f32(num[r][c], num_of(a, s->partial[r]), j + c, V_DIM);
}

INLINE void add_values(const struct args *a, const struct block *s, const struct tile *tile, float p[GROUPS][WIDTH],
                       const struct tile *next)
{
    int j = 0;
    for (; j + COLS <= V_VECS; j += COLS)
        add_columns(a, s, tile, p, j, COLS, j == 0 ? next : 0);
    if (V_VECS % COLS)
        add_columns(a, s, tile, p, j, V_VECS % COLS, j == 0 ? next : 0);
}

/* The same, only of keys that the row sees. */
INLINE void add_seen_values(const struct args *a, const struct block *s, const struct tile *tile, float p[GROUPS][WIDTH],
                            int seen[GROUPS][WIDTH])
{
    for (int r = 0; r < ROWS; r++) {
        bool again = false;
        for (int i = 0; i < r; i++)
            again = again || s->partial[i] == s->partial[r];
        global float *num = num_of(a, s->partial[r]);
        for (int i = 0; i < TILE && !again; i++)
            if (seen[i / KEYS][r * KEYS + i % KEYS])
                for (int j = 0; j < V_VECS; j++)
                    store_f32(fma((vec) p[i / KEYS][r * KEYS + i % KEYS], V_ROW(a->v + tile->v[i], j), load_f32(num, j, V_DIM)),
                              num, j, V_DIM);
    }
}

/* m * 2^n = e^x. Scores are small but for spikes and what a row does not see. */
INLINE void exp_scores(const vec *x, vec *m, vec *n)
{
    ivec small = -1;
    #pragma unroll
    for (int u = 0; u < GROUPS; u++)
        small &= !(fabs(x[u]) >= 0x1p22f);
    if (all(small)) {
        #pragma unroll
        for (int u = 0; u < GROUPS; u++)
            m[u] = exp_pair_small(x[u], &n[u]);
    } else {
        for (int u = 0; u < GROUPS; u++)
            m[u] = exp_pair(x[u], &n[u]);
    }
}

/* Adds a tile to the sums of a block. next: the tile to prefetch, 0: none. moving: exponents may. */
INLINE void add_tile(const struct args *a, struct block *s, const struct tile *tile, const struct tile *next, bool moving)
{
    const bool whole = tile->there == ALL_THERE && tile->first >= s->all_lo && tile->first + TILE <= s->all_hi;
    vec x[GROUPS], m[GROUPS], n[GROUPS];
    int seen[GROUPS][WIDTH];
    ivec all_seen = -1;
    float p[GROUPS][WIDTH];
    #pragma unroll 1
    for (int u = 0; u < GROUPS; u++) {
        x[u] = dots(s, a->k, tile->k + u * KEYS) * a->scale;
        for (int i = u * KEYS; next && i < u * KEYS + KEYS; i++)
            prefetch_row(a->k + next->k[i], K_BYTES);
    }
    if (!whole || a->bias || a->alibi || a->softcap > 0.0f) {
        for (int u = 0; u < GROUPS; u++) {
            const ivec here = finish_scores(a, s, tile, u, whole, &x[u]);
            all_seen &= here;
            s->n_keys -= here; /* true is -1 */
            STORE_INTS(here, 0, seen[u]);
        }
    } else {
        s->n_keys += GROUPS;
    }
    exp_scores(x, m, n);
    if (moving)
        raise_exponents(a, s, n);
    #pragma unroll
    for (int u = 0; u < GROUPS; u++) {
        const vec w = m[u] * exp2i(n[u] - s->n);
        s->den += w;
        PASTE(vstore, WIDTH)(w, 0, p[u]);
    }
    if (all(all_seen))
        add_values(a, s, tile, p, next);
    else
        add_seen_values(a, s, tile, p, seen);
}

/* ---- blocks of rows ---- */

INLINE void open_block(const struct args *a, const struct task *k, int first, struct block *s)
{
    float slope[WIDTH], before[WIDTH];
    int lo[WIDTH], hi[WIDTH];
    s->any_lo = s->all_hi = INT_MAX;
    s->any_hi = s->all_lo = 0;
    for (int r = 0; r < ROWS; r++) {
        const int row = min(first + r, k->n_rows - 1), i = token_of(k, row), h = head_of(k, row);
        s->q[r] = q_row(a, k, row);
        s->partial[r] = partial_of(a, k, row);
        s->bias[r] = a->bias ? a->bias + k->s.b * a->bias_batch_stride + i * a->bias_query_stride + h * a->bias_head_stride : 0;
        const int from = max(first_visible(a, &k->s, i), k->begin), to = min(end_visible(a, &k->s, i), k->end);
        s->any_lo = min(s->any_lo, from);
        s->all_lo = max(s->all_lo, from);
        s->any_hi = max(s->any_hi, to);
        s->all_hi = min(s->all_hi, to);
        for (int l = r * KEYS; l < r * KEYS + KEYS; l++) {
            slope[l] = a->alibi ? a->alibi[h] : 0.0f;
            before[l] = (float) -(k->s.pos + i);
            lo[l] = from;
            hi[l] = to;
        }
    }
    s->slope = PASTE(vload, WIDTH)(0, slope);
    s->before = PASTE(vload, WIDTH)(0, before);
    s->lo = PASTE(vload, WIDTH)(0, lo);
    s->hi = PASTE(vload, WIDTH)(0, hi);
    s->done = false;
}

INLINE float norm_of(global const Q_T *q)
{
    vec sum = 0.0f;
    for (int j = 0; j < K_VECS; j++)
        sum = fma(Q_ROW(q, j), Q_ROW(q, j), sum);
    float lane[WIDTH], all = 0.0f;
    PASTE(vstore, WIDTH)(sum, 0, lane);
    for (int l = 0; l < WIDTH; l++)
        all += lane[l];
    return sqrt(all);
}

/* Sums of nothing, with the exponent to begin with. */
INLINE void clear_block(const struct args *a, const struct task *k, int first, float2 bounds, bool moving, struct block *s)
{
    float n[WIDTH];
    for (int r = 0; r < ROWS; r++) {
        const int row = min(first + r, k->n_rows - 1);
        const float q_norm = !moving && a->phi_source == PHI_BOUNDS ? norm_of(s->q[r]) : 0.0f;
        const float start = moving ? EXP_NONE : exponent_of(phi_of(a, k, row, q_norm, bounds));
        for (int l = r * KEYS; l < r * KEYS + KEYS; l++)
            n[l] = start;
        for (int j = 0; j < V_VECS; j++)
            store_f32(0.0f, num_of(a, s->partial[r]), j, V_DIM);
    }
    s->n = PASTE(vload, WIDTH)(0, n);
    s->den = 0.0f;
    s->n_keys = 0;
}

/* Stores den and n of the block's rows; returns how many rows are out of the range of `unified`. */
INLINE int close_block(const struct args *a, const struct task *k, int first, const struct block *s)
{
    int n_bad = 0, keys[WIDTH];
    float den[WIDTH], n[WIDTH];
    PASTE(vstore, WIDTH)(s->den, 0, den);
    PASTE(vstore, WIDTH)(s->n, 0, n);
    STORE_INTS(s->n_keys, 0, keys);
    for (int r = 0; r < ROWS && first + r < k->n_rows; r++) {
        float sum = den[r * KEYS];
        int n_keys = keys[r * KEYS];
        for (int i = 1; i < KEYS; i++) {
            sum += den[r * KEYS + i];
            n_keys += keys[r * KEYS + i];
        }
        bool good = den_in_range(sum, n_keys);
        for (int j = 0; j < V_VECS; j++)
            good = good && num_in_range(load_f32(num_of(a, s->partial[r]), j, V_DIM));
        store_den(a, s->partial[r], n_keys, sum, n[r * KEYS]);
        n_bad += !good;
    }
    return n_bad;
}

INLINE void sum_tiles(const struct args *a, const struct task *k, struct block *blocks, int n_blocks, bool moving)
{
    struct tile tiles[2];
    const bool count = k->row == 0 && moving == (SCHEME != UNIFIED); /* bad blocks: once, not when a split is redone */
    find_tile(a, k, k->begin, count, &tiles[0]);
    for (int t = k->begin, at = 0; t < k->end; t += TILE, at = 1 - at) {
        struct tile *next = t + TILE < k->end ? &tiles[1 - at] : 0;
        if (next)
            find_tile(a, k, t + TILE, count, next);
        for (int i = 0; i < n_blocks; i++)
            if (!blocks[i].done && t < blocks[i].any_hi && t + TILE > blocks[i].any_lo && tiles[at].there) {
                add_tile(a, &blocks[i], &tiles[at], next, moving);
                next = 0;
            }
    }
}

__attribute__((reqd_work_group_size(1, 1, 1)))
kernel void attn_vec(ATTN_BUFFERS(BUFFER_PARAM) ATTN_SCALARS(SCALAR_PARAM) int unused)
{
    TAKE_ARGS(a)
    struct task k;
    struct block blocks[N_BLOCKS];
    find_task(&k, &a, TILE);
    const int n_used = (k.n_rows + ROWS - 1) / ROWS;
    const float2 bounds = SCHEME == UNIFIED && a.phi_source == PHI_BOUNDS ? bounds_of(&a, &k) : (float2) 0.0f;
    for (int i = 0; i < n_used; i++)
        open_block(&a, &k, i * ROWS, &blocks[i]);

    for (bool moving = SCHEME != UNIFIED;; moving = true) {
        int n_bad = 0;
        for (int i = 0; i < n_used; i++)
            if (!blocks[i].done)
                clear_block(&a, &k, i * ROWS, bounds, moving, &blocks[i]);
        sum_tiles(&a, &k, blocks, n_used, moving);
        for (int i = 0; i < n_used; i++)
            if (!blocks[i].done) {
                const int bad = close_block(&a, &k, i * ROWS, &blocks[i]);
                blocks[i].done = moving || bad == 0;
                n_bad += bad;
            }
        if (moving || n_bad == 0)
            return;
        atomic_add(a.counts, n_bad);
    }
}
