/* SPDX-License-Identifier: MIT
 * attn_wg.cl - launch 1 of attention for GPU-like devices; part of attn.cl, where the terms are explained
 *
 * One group of WG items makes the partials of one (sequence, split, kv head, chunk of query heads). A tile of TILE
 * keys: LANES neighbouring items share a key's dot products with all heads; item `key` turns its key's into
 * probabilities; then each item owns 4 columns of V, for every ROWS-th key. Four barriers a tile, six where exponents
 * move. WG is a power of two, TILE a multiple of SEGMENT and at most WG. Local memory: struct tile, counted by
 * wg_local_bytes in attn.c. */
#define LANES    (HEAD_DIM >= 32 ? 8 : HEAD_DIM >= 16 ? 4 : 2) /* items that share a dot product */
#define ROWS     (WG < VECS ? 1 : WG / VECS)                   /* keys of V that a group reads at a time */
#define COLS     ((VECS + WG - 1) / WG)                        /* vectors of V that an item owns of each */
#define SEGMENT  8                                             /* keys whose maximum one item takes */
#define SEGMENTS (TILE / SEGMENT)
#define LANES_FLOATS (CHUNK * TILE * (LANES + 1)) /* + 1: neighbours hit different banks */
#define COLS_FLOATS  (CHUNK * ROWS * VECS * WIDTH)

struct tile {
    vec q[CHUNK][VECS];
    float scratch[LANES_FLOATS > COLS_FLOATS ? LANES_FLOATS : COLS_FLOATS];
    float p[CHUNK][TILE], n[CHUNK][TILE], most[CHUNK][SEGMENTS], final_n[CHUNK];
    i64 row[TILE]; /* offset of a key in K and V, -1: none */
    int n_keys, bad; /* bad: heads out of the range of `unified`, a bit each */
};

/* The running sums of one item: of columns item % VECS, + WG, ... of V for each ROWS-th key, and den of key `item` of
 * each tile. The exponents are the same in all items. */
struct sums {
    vec num[CHUNK][COLS];
    float den[CHUNK], n[CHUNK];
    int n_keys;
};

/* A function with barriers: all items call it. PoCL 3.1 crashes on one that is called twice and not inlined. */
#define ALL_ITEMS __attribute__((always_inline)) static

/* The aligned loads are one instruction on a GPU, the others four. `aligned` is the same for all items. */
static vec kv_load(global const KV_T *p, int j, bool aligned)
{
#if KV_F16
    return aligned ? vloada_half4(j, p) : vload_half4(j, p);
#else
    return aligned ? ((global const float4 *) p)[j] : vload4(j, p);
#endif
}

static bool rows_aligned(const struct cache *c, global const KV_T *k, global const KV_T *v)
{
    const i64 strides = c->base | c->block_stride | c->token_stride;
    return ((size_t) k | (size_t) v) % (4 * sizeof(KV_T)) == 0 && strides % 4 == 0;
}

static void find_rows(local struct tile *s, const struct cache *c, int t, int end, struct sums *sums)
{
    int slot;
    const int item = get_local_id(0);
    if (item >= TILE)
        return;
    const int block = t + item < end ? find_block(c, t + item, &slot) : -1;
    s->row[item] = block >= 0 ? row_offset(c, block, slot) : -1;
    sums->n_keys += block >= 0;
}

/* scratch[head][key][lane] = this lane's part of q . k */
static void dot_lanes(local struct tile *s, global const KV_T *k, bool aligned)
{
    const int lane = get_local_id(0) % LANES;
    for (int key = get_local_id(0) / LANES; key < TILE; key += WG / LANES) {
        vec sum[CHUNK];
        #pragma unroll
        for (int h = 0; h < CHUNK; h++)
            sum[h] = 0.0f;
        for (int j = lane; j < VECS && s->row[key] >= 0; j += LANES) {
            const vec x = kv_load(k + s->row[key], j, aligned);
            #pragma unroll
            for (int h = 0; h < CHUNK; h++)
                sum[h] = fma(s->q[h][j], x, sum[h]);
        }
        #pragma unroll
        for (int h = 0; h < CHUNK; h++)
            s->scratch[(h * TILE + key) * (LANES + 1) + lane] = (sum[h].x + sum[h].y) + (sum[h].z + sum[h].w);
    }
}

/* Moves the exponents to the maxima of the tile, where they are too low. n: of key `item`. */
ALL_ITEMS void move_exponents(local struct tile *s, struct sums *sums, const float *n)
{
    const int item = get_local_id(0);
    #pragma unroll
    for (int h = 0; h < CHUNK; h++)
        if (item < TILE)
            s->n[h][item] = n[h];
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
    for (int h = 0; h < CHUNK; h++) {
        float most = s->most[h][0];
        for (int j = 1; j < SEGMENTS; j++)
            most = s->most[h][j] > most ? s->most[h][j] : most;
        if (most > sums->n[h] + SLACK) {
            const float shrink = exp2i(sums->n[h] - most);
            #pragma unroll
            for (int c = 0; c < COLS; c++)
                sums->num[h][c] *= shrink;
            sums->den[h] *= shrink;
            sums->n[h] = most;
        }
    }
}

/* p[head][key] from the parts of the dot products: item makes those of key `item`. */
ALL_ITEMS void weigh(local struct tile *s, struct sums *sums, float scale, bool moving)
{
    const int item = get_local_id(0);
    float m[CHUNK], n[CHUNK];
    #pragma unroll
    for (int h = 0; h < CHUNK; h++) {
        if (item < TILE) {
            float x = 0.0f;
            #pragma unroll
            for (int lane = 0; lane < LANES; lane++)
                x += s->scratch[(h * TILE + item) * (LANES + 1) + lane];
            m[h] = exp_pair(s->row[item] >= 0 ? x * scale : -INFINITY, &n[h]);
        }
    }
    if (moving)
        move_exponents(s, sums, n);
    #pragma unroll
    for (int h = 0; h < CHUNK; h++) {
        if (item < TILE) {
            s->p[h][item] = m[h] * exp2i(n[h] - sums->n[h]);
            sums->den[h] += s->p[h][item];
        }
    }
}

static void add_values(local const struct tile *s, struct sums *sums, global const KV_T *v, bool aligned)
{
    const int first = get_local_id(0) / VECS;
    for (int key = first; key < TILE && first < ROWS; key += ROWS) {
        if (s->row[key] < 0)
            continue;
        #pragma unroll
        for (int c = 0; c < COLS; c++) {
            const int j = get_local_id(0) % VECS + c * WG;
            if (j < VECS) {
                const vec x = kv_load(v + s->row[key], j, aligned);
                #pragma unroll
                for (int h = 0; h < CHUNK; h++)
                    sums->num[h][c] = fma((vec) s->p[h][key], x, sums->num[h][c]);
            }
        }
    }
}

/* Sums of all keys of the task. */
ALL_ITEMS void sum_keys(local struct tile *s, const struct task *task, struct sums *sums, global const KV_T *k,
                     global const KV_T *v, bool moving)
{
    const bool aligned = rows_aligned(&task->cache, k, v);
    for (int t = task->begin; t < task->end; t += TILE) {
        find_rows(s, &task->cache, t, task->end, sums);
        barrier(CLK_LOCAL_MEM_FENCE);
        dot_lanes(s, k, aligned);
        barrier(CLK_LOCAL_MEM_FENCE);
        weigh(s, sums, task->scale, moving);
        barrier(CLK_LOCAL_MEM_FENCE);
        add_values(s, sums, v, aligned);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
}

/* Adds up the items' sums in a fixed order and stores the partials; sets s->bad. */
ALL_ITEMS void store_partials(local struct tile *s, const struct task *task, const struct sums *sums,
                              global float *work)
{
    const int item = get_local_id(0);
    local vec *num = (local vec *) s->scratch; /* [CHUNK][ROWS][VECS] */
    #pragma unroll
    for (int h = 0; h < CHUNK; h++) {
        if (item < TILE)
            s->p[h][item] = sums->den[h];
        if (item == 0)
            s->final_n[h] = sums->n[h];
        #pragma unroll
        for (int c = 0; c < COLS; c++)
            if (item + c * WG < ROWS * VECS)
                num[h * ROWS * VECS + item + c * WG] = sums->num[h][c];
    }
    if (sums->n_keys)
        atomic_add(&s->n_keys, sums->n_keys);
    barrier(CLK_LOCAL_MEM_FENCE);

    for (int i = item; i < task->n_heads * VECS; i += WG) {
        const int h = i / VECS, j = i % VECS;
        vec sum = num[h * ROWS * VECS + j];
        for (int r = 1; r < ROWS; r++)
            sum += num[(h * ROWS + r) * VECS + j];
        row_store(sum, work + partial_index(task, h) * HEAD_DIM, j);
        bool good = num_in_range(sum);
        if (j == 0) {
            float den = 0.0f;
            for (int key = 0; key < TILE; key++)
                den += s->p[h][key];
            store_den(task, h, s->n_keys, den, s->final_n[h], work);
            good = good && den_in_range(den, s->n_keys);
        }
        if (!good)
            atomic_or(&s->bad, 1 << h);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

/* The partials of the task by one way through its keys. */
ALL_ITEMS void make_partials(local struct tile *s, const struct task *task, global const KV_T *k, global const KV_T *v,
                          global float *work, bool moving)
{
    struct sums sums;
    #pragma unroll
    for (int h = 0; h < CHUNK; h++) {
        #pragma unroll
        for (int c = 0; c < COLS; c++)
            sums.num[h][c] = 0.0f;
        sums.den[h] = 0.0f;
        sums.n[h] = first_exponent(task, h, moving);
    }
    sums.n_keys = 0;
    if (get_local_id(0) == 0)
        s->n_keys = s->bad = 0;
    barrier(CLK_LOCAL_MEM_FENCE);
    sum_keys(s, task, &sums, k, v, moving);
    store_partials(s, task, &sums, work);
}

__attribute__((reqd_work_group_size(WG, 1, 1)))
kernel void attn_wg(ATTN_BUFFERS(BUFFER_PARAM) ATTN_SCALARS(SCALAR_PARAM) int unused)
{
    ATTN_BUFFERS(BUFFER_BEGIN)
    local struct tile s;
    struct task task;
    FIND_TASK(&task, TILE);

    for (int i = get_local_id(0); i < CHUNK * VECS; i += WG) {
        const int h = i / VECS;
        s.q[h][i % VECS] = h < task.n_heads ? row_load(q + (task.row + h) * HEAD_DIM, i % VECS) : 0.0f;
    }
    make_partials(&s, &task, k, v, work, SCHEME != UNIFIED);
    if (SCHEME != UNIFIED)
        return;

    /* Where nothing is to be redone the same code runs over no keys and stores nothing: barriers under a condition,
     * even one that is the same for all items, are what CPU compilers get wrong. */
    const int bad = s.bad;
    if (bad && get_local_id(0) == 0)
        atomic_add(counts, popcount(bad));
    task.end = bad ? task.end : task.begin;
    task.n_heads = bad ? task.n_heads : 0;
    task.cache.bad_blocks = 0; /* counted */
    barrier(CLK_LOCAL_MEM_FENCE);
    make_partials(&s, &task, k, v, work, true);
}
