/* SPDX-License-Identifier: MIT
 * attn.cl - decode attention, one query token:  out[b,h] = softmax(scale * q[b,h] . K[b,g]^T) V[b,g],  g = h / GROUP
 *
 *   q, out [B, H, D] f32, may be the same buffer     lens [B]        block_table [B, max_blocks]
 *   k, v   KV_T, at block*block_stride + slot*token_stride + g*head_stride (flashdec.h)      lse [B, H] f32
 *
 * Launch 1, attn_vec (attn_vec.cl) or attn_wg (attn_wg.cl): the keys of a sequence are cut into n_splits runs; each
 * gives a partial per query head,
 *
 *     (num[D], den, n)   standing for   num * 2^n = sum_i e^x_i v_i   and   den * 2^n = sum_i e^x_i
 *
 * with n integer-valued, so that changing it is exact. Launch 2, attn_merge: N = max n, sums of num and den times
 * 2^(n-N), one division, LSE = ln den + N ln 2. The schemes differ only in when n moves:
 *   unified  never: n = round(phi log2 e), the merge is plain sums, no maximum is taken. Guarded afterwards: a partial
 *            with !(den and every |num| <= 2^80 && den >= n_keys * 2^-76) is redone at once as `pair` and counted (with
 *            the other heads of its chunk, which are not).
 *            Below: the mass lost to underflow is under 2^-50 of the row. Above: 2^80, far from overflow, because the
 *            merge drops what is 2^128 smaller than another partial: under 2^-47 of the row even so.
 *   online   whenever the maximum of a block of keys is larger
 *   pair     when it is larger by more than 2^32: (m, n) arithmetic, hardly ever rescaled, cannot overflow
 * A split without keys has n = -inf, num = den = 0; a row of nothing else gives out = 0, lse = -inf. Scores of -inf
 * have n = EXP_NONE. Keys that are not there (past the length, or in a block outside the pool) are never multiplied,
 * not even by 0.
 *
 * work, R = B*H rows, S = n_splits, floats:   num [R][S][D] | den [R][S] | n [R][S]
 *
 * counts: [0] (row, split) out of range under `unified`; [1] sequences whose length is outside 0..max_len; [2] (page,
 * kv head) whose block id is outside 0..n_blocks-1 (-1 as well) while the sequence's length reaches into the page.
 *
 * Results repeat bit for bit: fixed order everywhere, no floating atomics.
 *
 * HEAD_DIM D, GROUP = H/G, KV_F16, SCHEME (fdec_scheme): the problem. HEADS query heads in a chunk; vec: PREFETCH; wg:
 * WG, TILE. */
#include "attn.h"
#if !defined(HEAD_DIM) || !defined(GROUP) || !defined(KV_F16) || !defined(SCHEME) || !defined(HEADS)
#error "attn.cl needs HEAD_DIM, GROUP, KV_F16, SCHEME and HEADS"
#endif
#ifdef WG
#define EXP_WIDTH 1
#define WIDTH     4 /* floats in a vector of a row */
#else
#define EXP_WIDTH 16
#define WIDTH     16
#endif
#include "exp.h"

enum { UNIFIED = 1, ONLINE = 2, PAIR = 3 };
#define SLACK    (SCHEME == ONLINE ? 0.0f : 32.0f)
#define VECS     ((HEAD_DIM + WIDTH - 1) / WIDTH)
#define CHUNK    (HEADS < GROUP ? HEADS : GROUP)
#define N_CHUNKS ((GROUP + CHUNK - 1) / CHUNK)
typedef PASTE(float, WIDTH) vec;
#if KV_F16
#define KV_T half
#else
#define KV_T float
#endif

/* Vector j of a row of D elements. Rows are aligned to their elements only. The last one of float16 may have 8 lanes.
 * */
static vec row_load(global const float *p, int j)
{
#if WIDTH == 16
    if (HEAD_DIM % 16 && j == VECS - 1)
        return (vec) (vload8(0, p + 16 * j), (float8) 0.0f);
#endif
    return PASTE(vload, WIDTH)(j, p);
}

static void row_store(vec v, global float *p, int j)
{
#if WIDTH == 16
    if (HEAD_DIM % 16 && j == VECS - 1) {
        vstore8(v.lo, 0, p + 16 * j);
        return;
    }
#endif
    PASTE(vstore, WIDTH)(v, j, p);
}

/* Where the keys of one (sequence, kv head) lie. */
struct cache {
    global const int *blocks; /* the sequence's row of block_table; 0: contiguous, all in `block` */
    global uint *bad_blocks;  /* where to count them; 0: not here */
    i64 base, block_stride, token_stride;
    int block, page_size, n_blocks;
};

/* Block that holds token t, -1: none. *slot: t's place in it. Counts a bad block when its first token is asked for. */
static int find_block(const struct cache *c, int t, int *slot)
{
    if (!c->blocks) {
        *slot = t;
        return c->block;
    }
    const int page = t / c->page_size, id = c->blocks[page];
    *slot = t - page * c->page_size;
    if (id >= 0 && id < c->n_blocks)
        return id;
    if (c->bad_blocks && *slot == 0)
        atomic_inc(c->bad_blocks);
    return -1;
}

static i64 row_offset(const struct cache *c, int block, int slot)
{
    return c->base + block * c->block_stride + slot * c->token_stride;
}

/* What one work-item or group of launch 1 does. */
struct task {
    int n_heads;        /* of the chunk */
    int begin, end;     /* tokens */
    size_t row, n_rows; /* b*H + the first head; B*H */
    size_t split, n_splits;
    float scale, phi0;
    global const float *phi; /* of the first head; 0: phi0 for all */
    struct cache cache;
};

/* Splits are whole multiples of `unit` keys, as even as can be: the sequence's own length decides, not the batch's
 * longest. */
static void find_task(struct task *k, global const int *lens, global const int *block_table, global const float *phi,
                      global uint *counts, ATTN_SCALARS(SCALAR_PARAM) int unit)
{
    const size_t id = get_group_id(0), per_seq = (size_t) n_splits * N_CHUNKS;
    const int b = id / per_seq, g = get_group_id(1), chunk = id % N_CHUNKS;

    k->scale = scale;
    k->phi0 = phi0;
    k->phi = phi ? phi + g * GROUP + chunk * CHUNK : 0;
    k->n_splits = n_splits;
    k->split = id % per_seq / N_CHUNKS;
    k->n_heads = GROUP % CHUNK == 0 ? CHUNK : min(CHUNK, GROUP - chunk * CHUNK);
    k->n_rows = (size_t) batch * get_num_groups(1) * GROUP;
    k->row = ((size_t) b * get_num_groups(1) + g) * GROUP + chunk * CHUNK;

    const int len = clamp(lens[b], 0, max_len);
    if (len != lens[b] && chunk == 0 && g == 0 && k->split == 0 && get_local_id(0) == 0)
        atomic_inc(counts + 1);
    const size_t n_units = ((size_t) len + unit - 1) / unit;
    k->begin = n_units * k->split / n_splits * unit;
    k->end = min((size_t) len, n_units * (k->split + 1) / n_splits * unit);

    k->cache.blocks = block_table ? block_table + (size_t) b * max_blocks : 0;
    k->cache.bad_blocks = chunk == 0 ? counts + 2 : 0;
    k->cache.base = g * head_stride;
    k->cache.block_stride = block_stride;
    k->cache.token_stride = token_stride;
    k->cache.block = b;
    k->cache.page_size = page_size;
    k->cache.n_blocks = n_blocks;
}
#define SCALAR_NAME(type, name) name,
#define GIVEN(name)             (HAS(name) ? name : 0)
#define FIND_TASK(task, unit) \
    find_task(task, lens, GIVEN(block_table), GIVEN(phi), counts, ATTN_SCALARS(SCALAR_NAME) unit)

/* Place of a head's partial among the R*S. */
static size_t partial_index(const struct task *k, int head)
{
    return (k->row + head) * k->n_splits + k->split;
}

static void store_den(const struct task *k, int head, int n_keys, float den, float n, global float *work)
{
    const size_t n_partials = k->n_rows * k->n_splits, i = n_partials * HEAD_DIM + partial_index(k, head);
    work[i] = den;
    work[i + n_partials] = n_keys ? n : -INFINITY;
}

/* The guard of `unified`. NaN is never in range. */
static bool den_in_range(float den, int n_keys)
{
    return n_keys == 0 || (den <= 0x1p80f && den >= n_keys * 0x1p-76f);
}

static bool num_in_range(vec num)
{
    return all(fabs(num) <= 0x1p80f);
}

/* The n to begin with. */
static float first_exponent(const struct task *k, int head, bool moving)
{
    if (moving)
        return EXP_NONE;
    return rint((k->phi && head < k->n_heads ? k->phi[head] : k->phi0) * M_LOG2E_F);
}

#ifdef WG
#include "attn_wg.cl"
#else
#include "attn_vec.cl"
#endif

/* ---- launch 2: one group per row, items share its vectors ----------------------------------------------------------
 * */

kernel void attn_merge(ATTN_BUFFERS(BUFFER_PARAM) ATTN_SCALARS(SCALAR_PARAM) int unused)
{
    ATTN_BUFFERS(BUFFER_BEGIN)
    const size_t row = get_group_id(0), n_partials = get_num_groups(0) * (size_t) n_splits;
    global const float *num = work + row * n_splits * HEAD_DIM;
    global const float *den = work + n_partials * HEAD_DIM + row * n_splits, *n = den + n_partials;

    float most = -INFINITY, total = 0.0f;
    for (int s = 0; s < n_splits; s++)
        most = n[s] > most ? n[s] : most;
    const bool no_keys = most == -INFINITY;
    most = no_keys ? 0.0f : most;
    for (int s = 0; s < n_splits; s++)
        total += den[s] * exp2i_1(n[s] - most);

    for (int j = get_local_id(0); j < VECS; j += get_local_size(0)) {
        vec sum = 0.0f;
        for (int s = 0; s < n_splits; s++)
            sum = fma(row_load(num + (size_t) s * HEAD_DIM, j), (vec) exp2i_1(n[s] - most), sum);
        row_store(no_keys ? 0.0f : sum / total, out + row * HEAD_DIM, j);
    }
    if (HAS(lse) && get_local_id(0) == 0)
        lse[row] = no_keys ? -INFINITY : exp_log(total, most);
}
