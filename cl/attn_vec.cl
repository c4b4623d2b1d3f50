/* SPDX-License-Identifier: MIT
 * attn_vec.cl - launch 1 of attention for CPU-like devices; part of attn.cl, where the terms are explained
 *
 * One work-item makes the partials of one (sequence, split, span of kv heads, chunk of rows). It walks its keys in
 * tiles of TILE; for each tile the kv heads, which are one stream where a token's lie side by side, as in [B, T, G, D],
 * or where pages are small, and whose pages are looked up once; and for each head its rows in blocks of ROWS, while the
 * tile is in the nearest cache. A block works on WIDTH/ROWS keys at a time: WIDTH dot products in WIDTH registers, each
 * vector of K loaded (and converted) once for ROWS rows, folded by a tree of lane shuffles into one vector of scores,
 * lane r*KEYS + i for row r and key i. Then one vector exp. While that is on its way, the values of the block before
 * are added to its sums: each vector of V is loaded once for ROWS rows. Sums of V live in the workspace, where the
 * partial will be, and pass through registers once per tile.
 *
 * WIDTH floats in a vector, what the CPU has; ROWS 1, 2 or 4; TILE 8 or 16 keys, WIDTH/ROWS at least: the hardware's
 * prefetchers follow as many streams; PREFETCH: the first block of each head asks for its share of the next tile. */
#define KEYS     (WIDTH / ROWS) /* of one vector of scores */
#define GROUPS   (TILE / KEYS)  /* such vectors of a tile */
/* Vectors of V summed at a time: SUMS sums in registers, half of those that there are. A single row's stay with WIDTH:
 * they are bound by memory. */
#if defined(__AVX512F__) && ROWS > 1
#define SUMS 16
#else
#define SUMS WIDTH
#endif
#define COLS   (SUMS / ROWS)
#define SCORES (SUMS / WIDTH) /* vectors of scores at a time: more keys for each vector of q */
#define N_BLOCKS (CHUNK / ROWS)
/* Vectors of K, keys of V, whose arithmetic is one piece without a branch: of larger ones compilers load everything
 * first, and spill. A block of q8_0 is one piece, so that its scale is read once. */
#define IS_q8_0_q8_0 1
#define IS_Q8_(type) IS_q8_0_##type
#define IS_Q8(type)  IS_Q8_(type)
#if IS_Q8(K_TYPE)
#define K_STEP (32 / WIDTH)
#elif ROWS == 1
#define K_STEP 1
#else
#define K_STEP 2
#endif
#if ROWS == 1
#define V_STEP 1
#else
#define V_STEP KEYS
#endif

#define ADDRESSES         64 /* tokens whose addresses are asked for at a time */
#define DIV_UP(a, b)      (((a) + (b) - 1) / (b))
#define BYTES_OF(type, n) (UNITS(type, n) * (int) sizeof(PASTE(T_, type)))

#include "lanes.h"
#include "attn_tile.cl"

/* ROWS rows. Past the task's last row they repeat it, and all they do is done twice. Lanes as in scores. */
struct block {
    vec den, n, slope; /* den: sums of this lane's keys; n: the row's */
    ivec n_keys, lo, hi; /* n_keys: this lane's; lo, hi: the keys that the row sees */
    ivec position; /* the row's */
    int any_lo, any_hi, all_lo, all_hi; /* keys that some row sees, that all see */
    bool done;
    int g, first; /* kv head; number of the first row among those of the head */
    global const K_T *k;
    global const V_T *v;
    global const Q_T *q[ROWS];
    global const float *bias[ROWS];
    size_t partial[ROWS];
};

/* Lines to ask for at a step, so that a head's share is asked for while the head is worked on. */
#define ROW_LINES(type, dim) DIV_UP(BYTES_OF(type, dim), 64)
#define K_LINES              DIV_UP(SCORES * KEYS * ROW_LINES(K_TYPE, HEAD_DIM), DIV_UP(K_VECS, K_STEP))
#define V_LINES              DIV_UP(TILE * ROW_LINES(V_TYPE, V_DIM), DIV_UP(V_VECS, COLS) * TILE / V_STEP)

/* ---- scores ---- */

/* sum[u * WIDTH + r * KEYS + i] += q[r] * row[u * KEYS + i] in vector j of them. */
INLINE void add_products(const struct block *s, global const K_T *const *row, int j, vec *sum)
{
    vec q[ROWS];
    #pragma unroll
    for (int r = 0; r < ROWS; r++)
        q[r] = Q_ROW(s->q[r], j);
    #pragma unroll
    for (int i = 0; i < SCORES * KEYS; i++) {
        const vec x = K_ROW(row[i], j);
        vec *to = sum + i / KEYS * WIDTH + i % KEYS;
        #pragma unroll
        for (int r = 0; r < ROWS; r++)
            to[r * KEYS] = fma(q[r], x, to[r * KEYS]);
    }
}

/* x[0..SCORES-1] = scale (q . k) of the block's rows and the keys at s->k + at[0], s->k + at[1], ... */
INLINE void dots(const struct block *s, const i64 *at, float scale, vec *x, struct cursor *next)
{
    struct cursor ahead = *next;
    vec sum[SCORES * WIDTH];
    global const K_T *row[SCORES * KEYS];
    #pragma unroll
    for (int i = 0; i < SCORES * WIDTH; i++)
        sum[i] = 0.0f;
    #pragma unroll
    for (int i = 0; i < SCORES * KEYS; i++)
        row[i] = s->k + at[i];
    #pragma unroll 1
    for (int step = 0; step < DIV_UP(K_VECS, K_STEP); step++) {
        ask(&ahead, K_LINES);
        #pragma unroll
        for (int i = 0; i < K_STEP; i++)
            if (K_VECS % K_STEP == 0 || step * K_STEP + i < K_VECS)
                add_products(s, row, step * K_STEP + i, sum);
    }
    *next = ahead;
    #pragma unroll
    for (int u = 0; u < SCORES; u++)
        x[u] = fold(sum + u * WIDTH) * scale;
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

/* From scaled dot products to scores; -inf for what the row does not see, whose lanes are 0 in the result. whole: all
 * is seen but for the bias. */
INLINE ivec finish_scores(const struct args *a, const struct block *s, const struct tile *tile, int group, bool whole,
                          vec *x)
{
    const vec none = -INFINITY;
    const ivec key = LANE_KEY + group * KEYS, t = key + tile->first;
    ivec seen = -1;
    if (a->softcap > 0.0f)
        *x = capped(*x, a->softcap);
    if (a->alibi)
        *x = fma(s->slope, PASTE(convert_float, WIDTH)(sub_sat(t, s->position)), *x);
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

/* Weights of a tile in a block, before they meet the rows' exponents: m * 2^n = e^score. */
struct scores {
    vec m[GROUPS], n[GROUPS];
    int seen[GROUPS][WIDTH]; /* set where not all_seen */
    bool all_seen;           /* every row sees every key */
    i64 v[TILE];             /* the tile's */
    bool ends;               /* the tile's */
    struct block *block;
};

/* Is row r the task's last row once more? */
INLINE bool is_again(const struct block *s, int r)
{
    bool again = false;
    #pragma unroll 1
    for (int i = 0; i < r; i++)
        again = again || s->partial[i] == s->partial[r];
    return again;
}

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
    #pragma unroll 1
    for (int r = 0; r < ROWS; r++) {
        const bool again = is_again(s, r); /* scaled once */
        global float *num = num_of(a, s->partial[r]);
        #pragma unroll 1
        for (int j = 0; j < V_VECS && !again && lane[r * KEYS] != 1.0f; j++)
            store_f32(load_f32(num, j, V_DIM) * lane[r * KEYS], num, j, V_DIM);
    }
}

#include "attn_values.cl"

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
        #pragma unroll 1
        for (int u = 0; u < GROUPS; u++)
            m[u] = exp_pair(x[u], &n[u]);
    }
}

/* next: of K, what to prefetch. */
INLINE void make_scores(const struct args *a, struct block *s, const struct tile *tile, struct cursor *next,
                        struct scores *to)
{
    const bool whole = tile->there == ALL_THERE && tile->first >= s->all_lo && tile->first + TILE <= s->all_hi;
    vec x[GROUPS];
    ivec all_seen = -1;
    #pragma unroll 1
    for (int u = 0; u < GROUPS; u += SCORES)
        dots(s, tile->k + u * KEYS, a->scale, x + u, next);
    if (!whole || a->bias || a->alibi || a->softcap > 0.0f) {
        #pragma unroll 1
        for (int u = 0; u < GROUPS; u++) {
            const ivec here = finish_scores(a, s, tile, u, whole, &x[u]);
            all_seen &= here;
            s->n_keys -= here; /* true is -1 */
            STORE_INTS(here, 0, to->seen[u]);
        }
    } else {
        s->n_keys += GROUPS;
    }
    exp_scores(x, to->m, to->n);
    to->all_seen = all(all_seen);
    to->block = s;
    to->ends = tile->ends;
    #pragma unroll
    for (int i = 0; i < TILE; i++)
        to->v[i] = tile->v[i];
}

/* Adds a tile to the sums of a block. next: of V, what to prefetch. moving: exponents may. */
INLINE void add_scores(const struct args *a, const struct scores *from, struct cursor *next, bool moving)
{
    struct block *s = from->block;
    vec w[GROUPS];
    if (moving)
        raise_exponents(a, s, from->n);
    #pragma unroll
    for (int u = 0; u < GROUPS; u++) {
        w[u] = from->m[u] * exp2i(from->n[u] - s->n);
        s->den += w[u];
    }
    if (from->all_seen)
        add_values(a, from, w, next);
    else
        add_seen_values(a, from, w);
}

/* ---- blocks of rows ---- */

INLINE void open_block(const struct args *a, const struct task *k, int g, int first, struct block *s)
{
    float slope[WIDTH];
    int position[WIDTH], lo[WIDTH], hi[WIDTH];
    s->any_lo = s->all_hi = INT_MAX;
    s->any_hi = s->all_lo = 0;
    s->g = g;
    s->first = first;
    s->k = k_of_head(a, g);
    s->v = v_of_head(a, g);
    #pragma unroll 1
    for (int r = 0; r < ROWS; r++) {
        const int row = min(first + r, k->n_rows - 1), i = token_of(k, row), h = head_of(k, g, row);
        s->q[r] = q_row(a, k, g, row);
        s->partial[r] = partial_of(a, k, g, row);
        s->bias[r] = a->bias ? a->bias + bias_offset(a, &k->s, i, h) : 0;
        const int from = max(first_visible(a, &k->s, i), k->begin), to = min(end_visible(a, &k->s, i), k->end);
        s->any_lo = min(s->any_lo, from);
        s->all_lo = max(s->all_lo, from);
        s->any_hi = max(s->any_hi, to);
        s->all_hi = min(s->all_hi, to);
        #pragma unroll 1
        for (int l = r * KEYS; l < r * KEYS + KEYS; l++) {
            slope[l] = a->alibi ? a->alibi[h] : 0.0f;
            position[l] = (int) clamp(k->s.pos + i, (i64) INT_MIN, (i64) INT_MAX);
            lo[l] = from;
            hi[l] = to;
        }
    }
    s->slope = PASTE(vload, WIDTH)(0, slope);
    s->position = PASTE(vload, WIDTH)(0, position);
    s->lo = PASTE(vload, WIDTH)(0, lo);
    s->hi = PASTE(vload, WIDTH)(0, hi);
    s->done = false;
}

INLINE float norm_of(global const Q_T *q)
{
    vec sum = 0.0f;
    #pragma unroll 1
    for (int j = 0; j < K_VECS; j++)
        sum = fma(Q_ROW(q, j), Q_ROW(q, j), sum);
    float lane[WIDTH], all = 0.0f;
    PASTE(vstore, WIDTH)(sum, 0, lane);
    #pragma unroll 1
    for (int l = 0; l < WIDTH; l++)
        all += lane[l];
    return sqrt(all);
}

/* Sums of nothing, with the exponent to begin with. */
INLINE void clear_block(const struct args *a, const struct task *k, bool moving, struct block *s)
{
    float n[WIDTH];
    const bool bounded = !moving && needs_bounds(a);
    const float2 bounds = bounded ? bounds_of(a, k, s->g) : (float2) 0.0f;
    #pragma unroll 1
    for (int r = 0; r < ROWS; r++) {
        const int row = min(s->first + r, k->n_rows - 1);
        const float q_norm = bounded ? norm_of(s->q[r]) : 0.0f;
        const float start = moving ? EXP_NONE : exponent_of(phi_of(a, k, s->g, row, q_norm, bounds));
        #pragma unroll 1
        for (int l = r * KEYS; l < r * KEYS + KEYS; l++)
            n[l] = start;
        #pragma unroll 1
        for (int j = 0; j < V_VECS; j++)
            store_f32(0.0f, num_of(a, s->partial[r]), j, V_DIM);
    }
    s->n = PASTE(vload, WIDTH)(0, n);
    s->den = 0.0f;
    s->n_keys = 0;
}

/* Stores den and n of the block's rows; returns how many rows are out of the range of `unified`. */
INLINE int close_block(const struct args *a, const struct task *k, const struct block *s)
{
    int n_bad = 0, keys[WIDTH];
    float den[WIDTH], n[WIDTH];
    PASTE(vstore, WIDTH)(s->den, 0, den);
    PASTE(vstore, WIDTH)(s->n, 0, n);
    STORE_INTS(s->n_keys, 0, keys);
    #pragma unroll 1
    for (int r = 0; r < ROWS && s->first + r < k->n_rows; r++) {
        float sum = den[r * KEYS];
        int n_keys = keys[r * KEYS];
        #pragma unroll 1
        for (int i = 1; i < KEYS; i++) {
            sum += den[r * KEYS + i];
            n_keys += keys[r * KEYS + i];
        }
        bool good = den_in_range(sum, n_keys);
        #pragma unroll 1
        for (int j = 0; j < V_VECS; j++)
            good = good && num_in_range(load_f32(num_of(a, s->partial[r]), j, V_DIM));
        store_den(a, s->partial[r], n_keys, sum, n[r * KEYS]);
        n_bad += !good;
    }
    return n_bad;
}

/* Makes the scores of a tile in each block; after each adds those that wait, and returns the last, which wait then: so
 * no sum waits for scores whose last additions are on their way. tile 0: adds those that wait, no more. The blocks of a
 * head follow each other: the first of them asks for its share of the next tile. */
INLINE struct scores *add_to_blocks(const struct args *a, const struct task *k, struct block *blocks, int per_head,
                                    const struct tile *tile, const struct tile *next, bool moving,
                                    struct scores *pair, struct scores *waiting)
{
    struct cursor none = {0}, next_k = none, next_v = none;
    if (next) {
        next_k = cursor_at(k_of_head(a, k->g), next->k, sizeof(K_T), BYTES_OF(K_TYPE, HEAD_DIM),
                           BYTES_OF(K_TYPE, a->k_head_stride), k->n_g);
        next_v = cursor_at(v_of_head(a, k->g), next->v, sizeof(V_T), BYTES_OF(V_TYPE, V_DIM),
                           BYTES_OF(V_TYPE, a->v_head_stride), k->n_g);
    }
    #pragma unroll 1
    for (int i = 0; i < (tile ? k->n_g * per_head : 1); i++) {
        struct block *s = &blocks[i];
        struct scores *made = 0;
        const bool first = i % per_head == 0;
        if (tile && (s->done || tile->first >= s->any_hi || tile->first + TILE <= s->any_lo))
            continue;
        if (tile) {
            made = waiting == pair ? pair + 1 : pair;
            make_scores(a, s, tile, first ? &next_k : &none, made);
        }
        if (waiting)
            add_scores(a, waiting, first ? &next_v : &none, moving);
        waiting = made;
    }
    return waiting;
}

INLINE void sum_tiles(const struct args *a, const struct task *k, struct block *blocks, int per_head, bool moving)
{
    struct tile tiles[2];
    struct scores pair[2], *waiting = 0;
    const bool count = moving == (SCHEME != UNIFIED); /* bad blocks: once, not when a split is redone */
    find_tile(a, k, k->begin, k->end, count, &tiles[0]);
    #pragma unroll 1
    for (int t = k->begin, at = 0; t < k->end || waiting; t += TILE, at = 1 - at) {
        /* The tile after the last is the first of the next work-group. */
        const bool over = t >= k->end, ends = t + TILE >= k->end;
        struct tile *next = !over && t + TILE < k->last ? &tiles[1 - at] : 0;
        if (next)
            find_tile(a, k, t + TILE, ends ? k->last : k->end, count && !ends, next);
        if (PREFETCH && (t - k->begin) % ADDRESSES == 0)
            ask_pages(a, k, t + 2 * TILE, min(t + 2 * TILE + ADDRESSES, k->last));
        if (over || tiles[at].there)
            waiting = add_to_blocks(a, k, blocks, per_head, over ? 0 : &tiles[at], next, moving, pair, waiting);
    }
}

/* Stores the partials of the blocks that are not done; returns how many rows are out of the range of `unified`. */
INLINE int close_blocks(const struct args *a, const struct task *k, struct block *blocks, int n, bool moving)
{
    int n_bad = 0;
    #pragma unroll 1
    for (int i = 0; i < n; i++)
        if (!blocks[i].done) {
            const int bad = close_block(a, k, &blocks[i]);
            blocks[i].done = moving || bad == 0;
            n_bad += bad;
        }
    return n_bad;
}

__attribute__((reqd_work_group_size(1, 1, 1)))
kernel void attn_vec(ATTN_BUFFERS(BUFFER_PARAM) ATTN_SCALARS(SCALAR_PARAM) int unused)
{
    TAKE_ARGS(a)
    struct task k;
    struct block blocks[N_BLOCKS];
    find_task(&k, &a, TILE);
    const int per_head = (k.n_rows + ROWS - 1) / ROWS, n_used = k.n_g * per_head;
    /* Not with several chunks: one would overwrite the state that another still reads. As in vec_geometry. */
    const bool finishes = n_splits == 1 && q_len * k.group <= CHUNK;
    #pragma unroll 1
    for (int i = 0; i < n_used; i++)
        open_block(&a, &k, k.g + i / per_head, i % per_head * ROWS, &blocks[i]);

    #pragma unroll 1
    for (bool moving = SCHEME != UNIFIED;; moving = true) {
        #pragma unroll 1
        for (int i = 0; i < n_used; i++)
            if (!blocks[i].done)
                clear_block(&a, &k, moving, &blocks[i]);
        sum_tiles(&a, &k, blocks, per_head, moving);
        const int n_bad = close_blocks(&a, &k, blocks, n_used, moving);
        if (moving || n_bad == 0)
            break;
        atomic_add(a.counts, n_bad);
    }
    #pragma unroll 1
    for (int g = k.g; finishes && g < k.g + k.n_g; g++)
        #pragma unroll 1
        for (int r = 0; r < k.n_rows; r++)
            finish_row(&a, &k.s, token_of(&k, r), head_of(&k, g, r), partial_of(&a, &k, g, r), 0, 1);
}
