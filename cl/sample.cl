/* SPDX-License-Identifier: MIT
 * sample.cl - a column of each row of logits, greedy or drawn, under penalty, temperature, top-k, top-p and min-p
 *
 * Launch 0 makes the records of all tiles (tile_stats.h), unless the caller has them. Launch 1, a group per row, goes
 * on from the records, and reads only those tiles of the logits that can matter:
 *
 *   penalty  a bit for each penalised column; tiles with a bit get new records
 *   greedy   the best of the records
 *   filters  order the columns by logit, equals by the lower column first. Each filter keeps a beginning of that order,
 *            so what all keep is one of these sets (struct set), found by halving an interval of them: by the middle of
 *            the two logits and by that of their keys in turns, then, where equal logits are cut apart, by columns. A
 *            step reads the tiles whose largest logit may be in the set; top-k knows from that number of tiles alone
 *            when the set is large enough. It ends when one column separates the ends of the interval: some 10 steps,
 *            95 at most (2 * 32 for the bits of a key, 31 for a column's).
 *   draw     the first column at which the running sum of the kept weights passes u * total
 *
 * The same columns on every device: weights are tile_weight()'s, and all sums are trees that cols alone fixes.
 *   mass of a set   column c of each tile, tile by tile; then 16 sums of the columns c % 16; then these in order
 *   running sums    a tile's as in its record; 64 segments of equally many tiles, each in order; the segments in
 *                   order. Inside the segment tiles, and inside the tile columns, add one by one. Rounding can keep an
 *                   inner sum short of its mark: the last tile or column with a weight then stands for it. So it does
 *                   for u that is not below 1, or NaN.
 * No weight at all (nothing but NaN and -inf): what greedy gives. WG, VEC: row.h, WG 64 or 1. */
#if !defined(WG) || !defined(VEC)
#error "sample.cl needs WG and VEC"
#endif
#include "sample.h"
#include "row.h"
#include "tile_stats.h"

enum { SEGMENTS = 64 };
#define KEY_LOWEST ((int) 0x807fffffu) /* of -inf */

/* ---- launch 0 --------------------------------------------------------------------------------------------------- */

__attribute__((reqd_work_group_size(WG, 1, 1)))
kernel void sample_tiles(SAMPLE_BUFFERS(BUFFER_PARAM) SAMPLE_SCALARS(SCALAR_PARAM) int unused)
{
    SAMPLE_BUFFERS(BUFFER_BEGIN)
    const size_t row_tiles = div_up(cols, STATS_TILE), n = rows * row_tiles;
    struct tile_stats s;
#if WG == 1
    const size_t each = div_up(n, get_num_groups(0)), begin = get_group_id(0) * each, end = min(begin + each, n);
    for (size_t i = begin; i < end; i++) {
        const struct logits l = {x + i / row_tiles * cols, cols, 0, 0.0f, 0.0f};
        tile_stats_1(&l, i % row_tiles * STATS_TILE, inv_temperature, &s);
        tile_write(work, i, &s);
    }
#else
    local uint part[WG];
    const size_t mine = get_global_id(0) / TILE_LANES, i = min(mine, n - 1);
    tile_stats_16(part, x + i / row_tiles * cols, i % row_tiles * STATS_TILE, cols, inv_temperature, &s);
    if (mine < n && get_local_id(0) % TILE_LANES == 0)
        tile_write(work, i, &s);
#endif
}

/* ---- launch 1: the row and its records -------------------------------------------------------------------------- */

struct row {
    struct logits l;
    global const uint *records;
    global int *list; /* of tiles to read; at the end, the bits of the kept weight of each */
    int n_tiles, cols;
    float inv_temperature, top; /* exponent of the row's largest weight */
};

/* What the items of a group share. */
struct shared {
    float cell[STATS_TILE], lane[TILE_LANES], sum[SEGMENTS];
    int n[SEGMENTS], key[SEGMENTS], id[SEGMENTS], count[WG];
};

static int segment_begin(const struct row *r, int g)
{
    return min(g * (int) div_up(r->n_tiles, SEGMENTS), r->n_tiles);
}

static int key_of_tile(const struct row *r, int t)
{
    return tile_key_1(as_float(r->records[t * STATS_WORDS + 2]));
}

/* Bits of the recent columns, others 0. */
INLINE void mark_recent(global uint *bits, int n_words, global const int *recent, int n_recent, int cols)
{
    for (int w = get_local_id(0); w < n_words; w += WG)
        bits[w] = 0;
    barrier(CLK_GLOBAL_MEM_FENCE);
    for (int i = get_local_id(0); i < n_recent; i += WG) {
        const int id = recent[i];
        if (id >= 0 && id < cols)
            atomic_or(&bits[id / 32], 1u << id % 32);
    }
    barrier(CLK_GLOBAL_MEM_FENCE);
}

/* Records in `mine`: those of the tiles with a penalised column new, the others from `from`. */
INLINE void renew_records(const struct row *r, global const uint *from, global uint *mine)
{
    for (int t = get_local_id(0); t < r->n_tiles; t += WG) {
        const uint8 bits = vload8(t, r->l.penalised);
        const uint4 any = bits.lo | bits.hi;
        struct tile_stats s;
        if ((any.x | any.y | any.z | any.w) != 0) {
            tile_stats_1(&r->l, (size_t) t * STATS_TILE, r->inv_temperature, &s);
            tile_write(mine, t, &s);
        } else if (from != mine) {
            vstore4(vload4(t, from), t, mine);
        }
    }
    barrier(CLK_GLOBAL_MEM_FENCE);
}

/* The largest logit's key, and its lowest column. */
WITH_LOCAL void find_best(local struct shared *s, const struct row *r, int *key, int *id)
{
    for (int g = get_local_id(0); g < SEGMENTS; g += WG) {
        int best = INT_MIN, at = INT_MAX;
        for (int t = segment_begin(r, g); t < segment_begin(r, g + 1); t++) {
            const int k = key_of_tile(r, t), a = as_int(r->records[t * STATS_WORDS + 3]);
            if (k > best || (k == best && a < at)) {
                best = k;
                at = a;
            }
        }
        s->key[g] = best;
        s->id[g] = at;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    *key = INT_MIN;
    *id = INT_MAX;
    for (int g = 0; g < SEGMENTS; g++)
        if (s->key[g] > *key || (s->key[g] == *key && s->id[g] < *id)) {
            *key = s->key[g];
            *id = s->id[g];
        }
}

/* ---- sets of columns -------------------------------------------------------------------------------------------- */

struct set {
    int key, id; /* the columns of a larger key, and those of this one below column id */
};

static fvec kept_weight(const struct row *r, const struct set *set, size_t i, ivec *in)
{
    const fvec v = tile_load(&r->l, i), zero = 0.0f;
    const ivec key = tile_key(v), column = VLOAD(tile_lane) + (int) i;
    *in = (key > set->key) | ((key == set->key) & (column < set->id));
    return *in ? tile_weight(v, r->inv_temperature, r->top) : zero;
}

/* Tiles that may have a column of this key or a larger one, in order, into r->list. Returns how many. */
WITH_LOCAL int list_tiles(local struct shared *s, const struct row *r, int key)
{
    for (int g = get_local_id(0); g < SEGMENTS; g += WG) {
        int n = 0;
        for (int t = segment_begin(r, g); t < segment_begin(r, g + 1); t++)
            n += key_of_tile(r, t) >= key;
        s->n[g] = n;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    int n = 0;
    for (int g = 0; g < SEGMENTS; g++) {
        if (g % WG == get_local_id(0))
            for (int t = segment_begin(r, g), i = n; t < segment_begin(r, g + 1); t++)
                if (key_of_tile(r, t) >= key)
                    r->list[i++] = t;
        n += s->n[g];
    }
    barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);
    return n;
}

/* Columns of a set that lies in the first n tiles of r->list; *mass: of their weights. */
WITH_LOCAL int measure(local struct shared *s, const struct row *r, const struct set *set, int n, float *mass)
{
    const int item = get_local_id(0);
    int count = 0;
    for (int c = item * VEC; c < STATS_TILE; c += STRIDE) {
        const ivec one = 1, none = 0;
        fvec sum = 0.0f;
        ivec hits = 0, in;
        #pragma unroll 4
        for (int i = 0; i < n; i++) {
            sum += kept_weight(r, set, (size_t) r->list[i] * STATS_TILE + c, &in);
            hits += in ? one : none;
        }
        VSTORE(sum, s->cell + c);
        int lane[VEC];
        VSTORE(hits, lane);
        #pragma unroll
        for (int l = 0; l < VEC; l++)
            count += lane[l];
    }
    s->count[item] = count;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int l = item; l < TILE_LANES; l += WG) {
        float sum = 0.0f;
        for (int c = l; c < STATS_TILE; c += TILE_LANES)
            sum += s->cell[c];
        s->lane[l] = sum;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    *mass = 0.0f;
    for (int l = 0; l < TILE_LANES; l++)
        *mass += s->lane[l];
    count = 0;
    for (int i = 0; i < WG; i++)
        count += s->count[i];
    barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE); /* the list is free again, too */
    return count;
}

/* ---- the filters ------------------------------------------------------------------------------------------------ */

/* lo is large enough, hi is not; hi is a part of lo. */
struct interval {
    struct set lo, hi;
    int n_lo, n_hi, step; /* n: columns, INT_MAX: not known */
};

/* The set of all columns is as good as any at hi's key + 1: `cols` ends every row. */
static void open_interval(struct interval *q, int best, int cols)
{
    q->hi.key = best + 1;
    q->hi.id = cols;
    q->n_hi = 0;
    q->step = 0;
}

static bool is_found(const struct interval *q)
{
    return q->n_lo - q->n_hi == 1 || (q->lo.key == q->hi.key && q->lo.id - q->hi.id <= 1);
}

static void take_middle(struct interval *q, int cols, struct set *mid)
{
    if (q->lo.key != q->hi.key && (uint) q->hi.key - (uint) q->lo.key == 1) {
        q->hi.key = q->lo.key; /* the same set */
        q->hi.id = 0;
    }
    if (q->lo.key == q->hi.key) {
        mid->key = q->lo.key;
        mid->id = q->hi.id + (q->lo.id - q->hi.id) / 2;
        return;
    }
    const float middle = 0.5f * tile_value_1(q->lo.key) + 0.5f * tile_value_1(q->hi.key);
    mid->key = tile_key_1(middle);
    mid->id = cols;
    if (q->step++ % 2 == 1 || mid->key <= q->lo.key || mid->key >= q->hi.key)
        mid->key = q->lo.key + (int) (((uint) q->hi.key - (uint) q->lo.key) / 2);
}

/* Member by member: of a choice between two structs GPU compilers make one between addresses, in slow memory. */
static void move_end(struct interval *q, const struct set *mid, int n, bool enough)
{
    q->lo.key = enough ? mid->key : q->lo.key;
    q->lo.id = enough ? mid->id : q->lo.id;
    q->n_lo = enough ? n : q->n_lo;
    q->hi.key = enough ? q->hi.key : mid->key;
    q->hi.id = enough ? q->hi.id : mid->id;
    q->n_hi = enough ? q->n_hi : n;
}

/* Shrinks *keep to what top-k, then top-p leave of it. total: of all weights. */
WITH_LOCAL void search(local struct shared *s, const struct row *r, int best, int top_k, float top_p, float total,
                       struct set *keep)
{
    enum { FIRST_OF_K, K, FIRST_OF_P, P, END };
    const bool has_p = top_p < 1.0f;
    struct interval q;
    float need = top_p * total;
    int stage = top_k < r->cols ? FIRST_OF_K : has_p ? P : END;
    q.lo = *keep;
    q.n_lo = INT_MAX;
    open_interval(&q, best, r->cols);
    while (stage != END) {
        struct set mid = q.lo;
        if (stage == K || stage == P)
            take_middle(&q, r->cols, &mid);
        const int n_tiles = list_tiles(s, r, mid.key);
        float mass = 0.0f;
        int n = INT_MAX; /* each tile has one */
        if (stage >= FIRST_OF_P || n_tiles < top_k || mid.id < r->cols)
            n = measure(s, r, &mid, n_tiles, &mass);
        if (stage == FIRST_OF_P)
            need = top_p * mass;
        move_end(&q, &mid, n, stage <= K ? n >= top_k : stage == FIRST_OF_P || mass >= need);
        const bool all = stage == FIRST_OF_K && n < top_k;
        q.lo.key = all ? keep->key : q.lo.key;
        q.lo.id = all ? keep->id : q.lo.id;
        if (all || (stage <= K && q.n_lo == top_k) || is_found(&q)) {
            stage = stage <= K && has_p ? FIRST_OF_P : END;
            open_interval(&q, best, r->cols);
        } else if (stage == FIRST_OF_K || stage == FIRST_OF_P) {
            stage++;
        }
    }
    *keep = q.lo;
}

/* ---- the draw --------------------------------------------------------------------------------------------------- */

/* Random123's Philox4x32-10, its first word: key = seed, counter = (step, row). 24 bits of it, in [0, 1). */
static float philox_uniform(ulong seed, ulong step, uint row)
{
    uint k0 = seed, k1 = seed >> 32;
    uint4 c = (uint4) ((uint) step, (uint) (step >> 32), row, 0);
    for (int round = 0; round < 10; round++) {
        const uint a = mul_hi(0xD2511F53u, c.x), b = mul_hi(0xCD9E8D57u, c.z);
        c = (uint4) (b ^ c.y ^ k0, c.z * 0xCD9E8D57u, a ^ c.w ^ k1, c.x * 0xD2511F53u);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return (float) (c.x >> 8) * 0x1p-24f;
}

/* The first place at which a running sum passes target, else the last one with a weight. */
struct walk {
    float run, target, before; /* before: the sum before `at` */
    int at;                    /* -1: no weight so far */
};

static void walk_on(struct walk *w, float weight, int at)
{
    if ((w->at < 0 || !(w->run > w->target)) && weight > 0.0f) {
        w->at = at;
        w->before = w->run;
        w->run += weight;
    }
}

static void walk_into(struct walk *w)
{
    w->run = w->before;
    w->at = -1;
}

/* Of a tile, on the scale of the row. */
static float mass_of_tile(const struct row *r, int t, bool filtered)
{
    if (filtered)
        return as_float(r->list[t]);
    const float d = as_float(r->records[t * STATS_WORDS + 1]) - r->top;
    return d >= (float) TILE_LEAST ? as_float(r->records[t * STATS_WORDS]) * exp2i_1(d) : 0.0f;
}

/* In the order of a record. */
static float kept_sum(const struct row *r, const struct set *keep, size_t begin)
{
    fvec sum[TILE_LANES / VEC];
    float lane[TILE_LANES];
    ivec in;
    #pragma unroll
    for (int u = 0; u < TILE_LANES / VEC; u++)
        sum[u] = 0.0f;
    for (size_t i = begin; i < begin + STATS_TILE; i += TILE_LANES)
        #pragma unroll
        for (int u = 0; u < TILE_LANES / VEC; u++)
            sum[u] += kept_weight(r, keep, i + u * VEC, &in);
    #pragma unroll
    for (int u = 0; u < TILE_LANES / VEC; u++)
        VSTORE(sum[u], lane + u * VEC);
    return tile_halve(lane);
}

INLINE void keep_sums(const struct row *r, const struct set *keep)
{
    for (int t = get_local_id(0); t < r->n_tiles; t += WG)
        r->list[t] = as_int(key_of_tile(r, t) >= keep->key ? kept_sum(r, keep, (size_t) t * STATS_TILE) : 0.0f);
    barrier(CLK_GLOBAL_MEM_FENCE);
}

/* s->sum: of each segment. Returns that of the row. */
WITH_LOCAL float sum_segments(local struct shared *s, const struct row *r, bool filtered)
{
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int g = get_local_id(0); g < SEGMENTS; g += WG) {
        float sum = 0.0f;
        for (int t = segment_begin(r, g); t < segment_begin(r, g + 1); t++)
            sum += mass_of_tile(r, t, filtered);
        s->sum[g] = sum;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    float total = 0.0f;
    for (int g = 0; g < SEGMENTS; g++)
        total += s->sum[g];
    return total;
}

/* s->sum as sum_segments left it. Returns -1 where there is no weight; of use to item 0 only. */
WITH_LOCAL int draw(local struct shared *s, const struct row *r, const struct set *keep, bool filtered, float target)
{
    struct walk w = {0.0f, target, 0.0f, -1};
    for (int g = 0; g < SEGMENTS; g++)
        walk_on(&w, s->sum[g], g);
    const int segment = max(w.at, 0);
    walk_into(&w);
    for (int t = segment_begin(r, segment); t < segment_begin(r, segment + 1); t++)
        walk_on(&w, mass_of_tile(r, t, filtered), t);
    const int tile = max(w.at, 0);
    walk_into(&w);
    for (int c = get_local_id(0) * VEC; c < STATS_TILE; c += STRIDE) {
        ivec in;
        VSTORE(kept_weight(r, keep, (size_t) tile * STATS_TILE + c, &in), s->cell + c);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (get_local_id(0) == 0)
        for (int c = 0; c < STATS_TILE; c++)
            walk_on(&w, s->cell[c], c);
    return w.at < 0 ? -1 : tile * STATS_TILE + w.at;
}

__attribute__((reqd_work_group_size(WG, 1, 1)))
kernel void sample_choose(SAMPLE_BUFFERS(BUFFER_PARAM) SAMPLE_SCALARS(SCALAR_PARAM) int unused)
{
    SAMPLE_BUFFERS(BUFFER_BEGIN)
    local struct shared s;
    const size_t row = get_group_id(0), n = div_up(cols, STATS_TILE), all = rows * n;
    global uint *mine = work + row * n * STATS_WORDS;
    global uint *bits = work + all * (STATS_WORDS + 1) + row * n * (STATS_TILE / 32);
    global const uint *given = HAS(stats) ? stats + row * n * STATS_WORDS : mine;
    struct row r = {{x + row * cols, cols, HAS(recent) ? bits : 0, penalty, inv_penalty}, HAS(recent) ? mine : given,
                    (global int *) work + all * STATS_WORDS + row * n, n, cols, inv_temperature, 0.0f};
    if (HAS(recent)) {
        mark_recent(bits, n * (STATS_TILE / 32), recent + row * n_recent, n_recent, cols);
        renew_records(&r, given, mine);
    }
    int best, id;
    find_best(&s, &r, &best, &id);
    if (!greedy && id < INT_MAX) {
        const float most = tile_value_1(best);
        const bool narrows = top_k < cols || top_p < 1.0f, filtered = narrows || min_p_reach < INFINITY;
        struct set keep = {max(KEY_LOWEST + 1, tile_key_1(most - reach)), cols};
        r.top = tile_exponent(most, inv_temperature);
        float total = sum_segments(&s, &r, false);
        if (narrows)
            search(&s, &r, best, top_k, top_p, total, &keep);
        const int least = tile_key_1(most - min_p_reach);
        if (least > keep.key) {
            keep.key = least;
            keep.id = cols;
        }
        if (filtered) {
            keep_sums(&r, &keep);
            total = sum_segments(&s, &r, true);
        }
        const float target = (HAS(u) ? u[row] : philox_uniform(seed, step, row)) * total;
        const int drawn = draw(&s, &r, &keep, filtered, target);
        id = drawn < 0 ? id : drawn;
    }
    if (get_local_id(0) == 0)
        ids[row] = id < INT_MAX ? id : 0;
}
