/* SPDX-License-Identifier: MIT
 * attn_vec.cl - launch 1 of attention for CPU-like devices; part of attn.cl, where the terms are explained
 *
 * One work-item makes the partials of one (sequence, split, kv head, chunk of query heads). 16 keys at a time: 16 dot
 * products, folded by a tree of lane shuffles into one float16 of scores; one vector exp; each probability broadcast
 * over its row of V. The heads of a chunk share the block while it is in the nearest cache. PREFETCH: each head also
 * asks for its share of the next block. */
enum { LANES = 16 }; /* keys in a block */

static vec kv_load(global const KV_T *p, int j)
{
#if KV_F16
    if (HEAD_DIM % 16 && j == VECS - 1)
        return (vec) (vload_half8(0, p + 16 * j), (float8) 0.0f);
    return vload_half16(j, p);
#else
    return row_load(p, j);
#endif
}

/* Offsets of the next keys that exist, from token *t on. Returns how many, at most LANES; the other lanes repeat the
 * first. */
static int next_rows(const struct cache *c, int *t, int end, i64 *row)
{
    int n = 0;
    while (n < LANES && *t < end) {
        int slot;
        const int block = find_block(c, *t, &slot);
        const int wanted = min(end - *t, block < 0 ? INT_MAX : LANES - n);
        const int n_here = min(wanted, c->blocks ? c->page_size - slot : INT_MAX);
        for (int i = 0; i < n_here && block >= 0; i++)
            row[n++] = row_offset(c, block, slot + i);
        *t += n_here;
    }
    for (int i = n; i < LANES && n > 0; i++)
        row[i] = row[0];
    return n;
}

static vec dot_lanes(const vec *q, global const KV_T *k)
{
    vec sum = q[0] * kv_load(k, 0);
    #pragma unroll
    for (int j = 1; j < VECS; j++)
        sum = fma(q[j], kv_load(k, j), sum);
    return sum;
}

/* Lane i: the dot product of q and row i. Each fold adds the halves of segments, so that 16 vectors of 16 lanes become
 * one vector of 16 sums, in order. */
static vec scores(const vec *q, global const KV_T *k, const i64 *row)
{
    vec a[LANES];
    #pragma unroll
    for (int i = 0; i < LANES; i++)
        a[i] = dot_lanes(q, k + row[i]);
    #pragma unroll
    for (int i = 0; i < 8; i++)
        a[i] = (vec) (a[2 * i].lo, a[2 * i + 1].lo) + (vec) (a[2 * i].hi, a[2 * i + 1].hi);
    #pragma unroll
    for (int i = 0; i < 4; i++) {
        const vec x = a[2 * i], y = a[2 * i + 1];
        a[i] = (vec) (x.s0123, x.s89ab, y.s0123, y.s89ab) + (vec) (x.s4567, x.scdef, y.s4567, y.scdef);
    }
    #pragma unroll
    for (int i = 0; i < 2; i++) {
        const vec x = a[2 * i], y = a[2 * i + 1];
        a[i] = (vec) (x.s0145, x.s89cd, y.s0145, y.s89cd) + (vec) (x.s2367, x.sabef, y.s2367, y.sabef);
    }
    return (vec) (a[0].even, a[1].even) + (vec) (a[0].odd, a[1].odd);
}

static float lanes_sum(vec x)
{
    const float8 a = x.lo + x.hi;
    const float4 b = a.lo + a.hi;
    return (b.x + b.y) + (b.z + b.w);
}

static float lanes_most(vec x) /* NaN: any lane's, the sums are NaN anyway */
{
    const float8 a = x.lo > x.hi ? x.lo : x.hi;
    const float4 b = a.lo > a.hi ? a.lo : a.hi;
    const float2 c = b.lo > b.hi ? b.lo : b.hi;
    return c.x > c.y ? c.x : c.y;
}

/* The running sums of one head. */
struct sums {
    vec num[VECS], den; /* den: one sum per lane */
    float n;
};

/* Probabilities of a block's n_keys keys, from their scores; moving: n may change. */
static vec weigh(struct sums *s, vec x, int n_keys, bool moving)
{
    const ivec lane = (ivec) (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const vec none = -INFINITY;
    vec n;
    const vec m = exp_pair(lane < n_keys ? x : none, &n);
    if (moving) {
        const float most = lanes_most(n);
        if (most > s->n + SLACK) {
            const float shrink = exp2i_1(s->n - most);
            #pragma unroll
            for (int j = 0; j < VECS; j++)
                s->num[j] *= shrink;
            s->den *= shrink;
            s->n = most;
        }
    }
    const vec p = m * exp2i(n - s->n);
    s->den += p;
    return p;
}

/* Adds a block of n_keys keys. */
static void add_block(struct sums *s, global const float *q_row, float scale, global const KV_T *k,
                      global const KV_T *v, const i64 *row, int n_keys, bool moving)
{
    vec q[VECS], num[VECS];
    float p[LANES];
    #pragma unroll
    for (int j = 0; j < VECS; j++)
        q[j] = row_load(q_row, j);
    vstore16(weigh(s, scores(q, k, row) * scale, n_keys, moving), 0, p);

    #pragma unroll
    for (int j = 0; j < VECS; j++)
        num[j] = s->num[j];
    for (int i = 0; i < n_keys; i++) {
        #pragma unroll
        for (int j = 0; j < VECS; j++)
            num[j] = fma((vec) p[i], kv_load(v + row[i], j), num[j]);
    }
    #pragma unroll
    for (int j = 0; j < VECS; j++)
        s->num[j] = num[j];
}

static void prefetch_row(global const KV_T *p)
{
#if HAVE_PREFETCH && PREFETCH
    for (int line = 0; line < HEAD_DIM * (int) sizeof(KV_T); line += 64)
        __builtin_prefetch((const void *) ((size_t) p + line));
#endif
}

/* Sums of all keys of the task, for each head of its chunk. Returns how many keys there were. */
static int sum_keys(const struct task *task, struct sums *sums, global const float *q, global const KV_T *k,
                    global const KV_T *v, bool moving)
{
    i64 row[LANES], next[LANES];
    int t = task->begin, n_keys = 0;
    for (int n = next_rows(&task->cache, &t, task->end, row); n > 0;) {
        const int n_next = next_rows(&task->cache, &t, task->end, next);
        for (int h = 0; h < task->n_heads; h++) {
            for (int i = h; i < n_next && PREFETCH; i += task->n_heads) {
                prefetch_row(k + next[i]);
                prefetch_row(v + next[i]);
            }
            add_block(sums + h, q + (task->row + h) * HEAD_DIM, task->scale, k, v, row, n, moving);
        }
        for (int i = 0; i < n_next; i++)
            row[i] = next[i];
        n_keys += n;
        n = n_next;
    }
    return n_keys;
}

/* Stores the partials; returns how many heads are out of the range of `unified`. */
static int store_partials(const struct task *task, const struct sums *sums, int n_keys, global float *work)
{
    int n_bad = 0;
    for (int h = 0; h < task->n_heads; h++) {
        const float den = lanes_sum(sums[h].den);
        bool good = den_in_range(den, n_keys);
        for (int j = 0; j < VECS; j++) {
            row_store(sums[h].num[j], work + partial_index(task, h) * HEAD_DIM, j);
            good = good && num_in_range(sums[h].num[j]);
        }
        store_den(task, h, n_keys, den, sums[h].n, work);
        n_bad += !good;
    }
    return n_bad;
}

__attribute__((reqd_work_group_size(1, 1, 1)))
kernel void attn_vec(ATTN_BUFFERS(BUFFER_PARAM) ATTN_SCALARS(SCALAR_PARAM) int unused)
{
    ATTN_BUFFERS(BUFFER_BEGIN)
    struct task task;
    FIND_TASK(&task, LANES);
    struct sums sums[CHUNK];

    for (bool moving = SCHEME != UNIFIED;; moving = true) {
        for (int h = 0; h < task.n_heads; h++) {
            for (int j = 0; j < VECS; j++)
                sums[h].num[j] = 0.0f;
            sums[h].den = 0.0f;
            sums[h].n = first_exponent(&task, h, moving);
        }
        const int n_keys = sum_keys(&task, sums, q, k, v, moving);
        const int n_bad = store_partials(&task, sums, n_keys, work);
        if (moving || n_bad == 0)
            return;
        atomic_add(counts, n_bad);
        task.cache.bad_blocks = 0; /* counted */
    }
}
