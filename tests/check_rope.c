/* SPDX-License-Identifier: MIT
 * check_rope.c - rope_append: rotation, the cache's layouts, what is skipped, and the angle at positions to 2^20 */
#include "checkops.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PI 3.14159265358979323846264338327950288L

enum { MAX_LEN = 50, MAX_BATCH = 9, MAX_DIM = 256 };

struct rope_case {
    uint32_t batch, n_heads, n_kv_heads, head_dim, rope_dim, page_size;
    fdec_rope_style style;
    fdec_type type;
    bool head_major; /* [B, G, T, D] instead of [B, T, G, D] */
};

struct rope_data {
    uint32_t columns, n_blocks, tokens; /* of the block table; of the pool; of a block */
    size_t n_q, n_kv, n_cache, elem;
    int32_t pos[MAX_BATCH], *table;
    float *q, *k, *v, *q_got;
    unsigned char *k_cache, *v_cache;
};

/* One head turned by pos * base^(-2i / rope_dim), in long double; bound: 7 U of |v0| + |v1|: the angle errs by 2 U
 * (conversion, constant, product, each of at most pi/4), sine and cosine by 1 ulp, the two products and their sum by
 * 2 U. */
static void ref_rotate(const struct rope_case *c, int pos, const float *from, double *to, double *bound)
{
    const uint32_t pairs = c->rope_dim / 2;
    const bool neox = c->style == FDEC_ROPE_NEOX;
    for (uint32_t i = 0; i < c->head_dim; i++)
        to[i] = from[i], bound[i] = 0;
    for (uint32_t i = 0; i < pairs; i++) {
        const uint32_t i0 = neox ? i : 2 * i, i1 = neox ? i + pairs : 2 * i + 1;
        const long double a = fmodl(pos * powl(10000, -2.0L * i / c->rope_dim), 2 * PI);
        to[i0] = (double) (from[i0] * cosl(a) - from[i1] * sinl(a));
        to[i1] = (double) (from[i0] * sinl(a) + from[i1] * cosl(a));
        bound[i0] = bound[i1] = 7 * U * (fabs(from[i0]) + fabs(from[i1]));
    }
}

/* Tokens 0, last and 23 are written; -1, the first past the end and INT32_MAX are skipped; so are the last three in a
 * paged cache, whose block ids are -1, the pool's size and INT32_MIN. */
static const int32_t tokens[MAX_BATCH] = {0, MAX_LEN - 1, 23, -1, MAX_LEN, INT32_MAX, 31, 17, 5};

static bool skipped(const struct rope_case *c, uint32_t b)
{
    return b >= 3 && (b < 6 || c->page_size);
}

static struct rope_data make_data(const struct rope_case *c)
{
    const uint32_t page = c->page_size;
    struct rope_data d = {.columns = page ? (MAX_LEN + page - 1) / page : 1, .tokens = page ? page : MAX_LEN};
    d.n_blocks = c->batch * d.columns;
    d.n_q = (size_t) c->batch * c->n_heads * c->head_dim;
    d.n_kv = (size_t) c->batch * c->n_kv_heads * c->head_dim;
    d.n_cache = (size_t) d.n_blocks * d.tokens * c->n_kv_heads * c->head_dim;
    d.elem = c->type == FDEC_F16 ? 2 : 4;
    d.q = floats(d.n_q, -2, 2), d.k = floats(d.n_kv, -2, 2), d.v = floats(d.n_kv, -2, 2), d.q_got = floats(d.n_q, 0, 0);
    d.table = malloc(d.n_blocks * sizeof *d.table);
    d.k_cache = malloc(d.n_cache * d.elem), d.v_cache = malloc(d.n_cache * d.elem);
    must(d.table && d.k_cache && d.v_cache && c->batch <= MAX_BATCH && c->head_dim <= MAX_DIM, "rope data");

    static const float edge[] = {65519, 65520, -1e9f, 0x1p-24f, 0x1.8p-25f}; /* f16: largest, overflow, denormals */
    for (size_t i = 0; i < COUNT(edge); i++)
        d.v[i] = edge[i];
    for (uint32_t i = 0; i < d.n_blocks; i++)
        d.table[i] =
            (int32_t) ((i * 7 + 3) % d.n_blocks); /* 7 is prime to every n_blocks of check_rope: each block once */
    for (uint32_t b = 0; b < c->batch; b++) {
        d.pos[b] = tokens[b];
        if (page && b >= 6)
            d.table[b * d.columns + tokens[b] / page] = b == 6 ? -1 : b == 7 ? (int32_t) d.n_blocks : INT32_MIN;
    }
    return d;
}

static void free_data(struct rope_data *d)
{
    free(d->q), free(d->k), free(d->v), free(d->q_got), free(d->table), free(d->k_cache), free(d->v_cache);
}

static void run(const struct rope_case *c, struct rope_data *d)
{
    uint64_t angles[MAX_DIM / 2];
    fdec_rope_append_args a = FDEC_ROPE_APPEND_ARGS_INIT;
    must(fdec_rope_angles(c->rope_dim, 10000, angles) == FDEC_OK, "fdec_rope_angles");
    a.batch = c->batch, a.n_heads = c->n_heads, a.n_kv_heads = c->n_kv_heads, a.head_dim = c->head_dim;
    a.rope_dim = c->rope_dim, a.max_len = MAX_LEN, a.style = c->style;
    a.kv = (fdec_kv_layout){.type = c->type, .page_size = c->page_size, .n_blocks = c->page_size ? d->n_blocks : 0};
    if (c->head_major)
        a.kv.head_stride = (int64_t) d->tokens * c->head_dim, a.kv.token_stride = c->head_dim;
    a.angles = put(angles, c->rope_dim / 2 * sizeof *angles, 8), a.pos = put(d->pos, c->batch * sizeof *d->pos, 4);
    a.q = put(d->q, d->n_q * 4, 4), a.k = put(d->k, d->n_kv * 4, 4), a.v = put(d->v, d->n_kv * 4, 4);
    a.k_cache = put(NULL, d->n_cache * d->elem, d->elem), a.v_cache = put(NULL, d->n_cache * d->elem, d->elem);
    if (c->page_size)
        a.block_table = put(d->table, d->n_blocks * sizeof *d->table, 4);
    ran(fdec_rope_append_run(t.ops, t.queue, &a, 0, NULL, NULL), "rope_append");
    get(a.q, d->q_got, "rope q"), get(a.k_cache, d->k_cache, "rope k"), get(a.v_cache, d->v_cache, "rope v");
    drop();
}

static bool q_is_right(const struct rope_case *c, const struct rope_data *d)
{
    bool right = true;
    double want[MAX_DIM], bound[MAX_DIM];
    for (uint32_t head = 0; head < c->batch * c->n_heads; head++) {
        const uint32_t b = head / c->n_heads;
        const float *from = d->q + (size_t) head * c->head_dim, *got = d->q_got + (size_t) head * c->head_dim;
        ref_rotate(c, skipped(c, b) ? 0 : d->pos[b], from, want, bound);
        for (uint32_t i = 0; i < c->head_dim; i++)
            right &= within(got[i], want[i], skipped(c, b) ? 0 : bound[i]);
    }
    return right;
}

/* The head at `at` of a cache must hold want. Poisons the elements it has looked at, so that all of the cache is, in
 * the end. */
static bool take_head(const struct rope_case *c, void *cache, size_t at, const double *want, const double *bound)
{
    bool right = true;
    for (uint32_t i = 0; i < c->head_dim; i++) {
        if (c->type == FDEC_F32) {
            float *f = (float *) cache + at + i;
            right &= within(*f, want[i], bound[i]);
            memset(f, POISON, sizeof *f);
        } else { /* rounding is monotone: the result lies between the roundings of the ends */
            uint16_t *h = (uint16_t *) cache + at + i;
            const double got = half_value(*h);
            right &= got >= half_nearest(want[i] - bound[i]) && got <= half_nearest(want[i] + bound[i]);
            memset(h, POISON, sizeof *h);
        }
    }
    return right;
}

static bool caches_are_right(const struct rope_case *c, struct rope_data *d)
{
    bool right = true;
    double want[MAX_DIM], bound[MAX_DIM];
    const uint32_t G = c->n_kv_heads, D = c->head_dim;
    for (uint32_t head = 0; head < c->batch * G; head++) {
        const uint32_t b = head / G, g = head % G;
        if (skipped(c, b))
            continue;
        const uint32_t token = (uint32_t) d->pos[b], slot = token % d->tokens;
        const uint32_t block = c->page_size ? (uint32_t) d->table[b * d->columns + token / d->tokens] : b;
        const size_t in_block = c->head_major ? (size_t) g * d->tokens + slot : (size_t) slot * G + g;
        const size_t at = ((size_t) block * d->tokens * G + in_block) * D;
        ref_rotate(c, d->pos[b], d->k + (size_t) head * D, want, bound);
        right &= take_head(c, d->k_cache, at, want, bound);
        for (uint32_t i = 0; i < D; i++)
            want[i] = d->v[(size_t) head * D + i], bound[i] = 0;
        right &= take_head(c, d->v_cache, at, want, bound);
    }
    for (size_t i = 0; i < d->n_cache * d->elem; i++)
        right &= d->k_cache[i] == POISON && d->v_cache[i] == POISON;
    return right;
}

static void rope_case(const struct rope_case *c)
{
    struct rope_data d = make_data(c);
    run(c, &d);
    const bool q = q_is_right(c, &d), caches = caches_are_right(c, &d);
    check(q && caches, "rope b=%u h=%u/%u d=%u/%u page=%u neox=%d f16=%d head-major=%d: q %d, caches %d", c->batch,
          c->n_heads, c->n_kv_heads, c->head_dim, c->rope_dim, c->page_size, c->style, c->type, c->head_major, q,
          caches);
    free_data(&d);
}

/* The angle that a pair (1, 0) has turned by is right to 1e-6 rad. */
static void angle_case(double base)
{
    static const int32_t pos[] = {0, 1, 2, 7, 1000, 65535, 65536, 131071, 524289, 1000003, 1048575, 1048576};
    enum { B = COUNT(pos), D = 128, PAGE = 1024, COLUMNS = 1025 };
    static int32_t table[B][COLUMNS]; /* every page of a sequence is one block, its own */
    static float q[B][D];
    uint64_t angles[D / 2];
    double worst = 0;
    for (int b = 0; b < B; b++) {
        for (int i = 0; i < D; i++)
            q[b][i] = i % 2 == 0;
        for (int i = 0; i < COLUMNS; i++)
            table[b][i] = b;
    }
    must(fdec_rope_angles(D, base, angles) == FDEC_OK, "fdec_rope_angles");
    fdec_rope_append_args a = FDEC_ROPE_APPEND_ARGS_INIT;
    a.batch = B, a.n_heads = 1, a.n_kv_heads = 1, a.head_dim = D, a.max_len = (1 << 20) + 1;
    a.kv = (fdec_kv_layout){.type = FDEC_F32, .page_size = PAGE, .n_blocks = B};
    a.angles = put(angles, sizeof angles, 8), a.pos = put(pos, sizeof pos, 4), a.q = put(q, sizeof q, 4);
    a.k = put(q, sizeof q, 4), a.v = put(q, sizeof q, 4), a.block_table = put(table, sizeof table, 4);
    a.k_cache = put(NULL, B * PAGE * D * 4, 4), a.v_cache = put(NULL, B * PAGE * D * 4, 4);
    ran(fdec_rope_append_run(t.ops, t.queue, &a, 0, NULL, NULL), "rope angles");
    get(a.q, q, "rope angles");
    for (int b = 0; b < B; b++)
        for (int i = 0; i < D; i += 2) {
            const long double want = pos[b] * powl(base, -(long double) i / D);
            worst = fmax(worst, fabs((double) remainderl(atan2l(q[b][i + 1], q[b][i]) - want, 2 * PI)));
            worst = fmax(worst, fabs(hypot(q[b][i], q[b][i + 1]) - 1));
        }
    check(worst <= 1e-6, "rope: an angle of base %g is wrong by %.3g rad", base, worst);
    drop();
}

void check_rope(void)
{
    static const struct rope_case cases[] = {
        {1, 1, 1, 8, 8, 0, FDEC_ROPE_INTERLEAVED, FDEC_F32, false},
        {9, 4, 2, 64, 64, 16, FDEC_ROPE_NEOX, FDEC_F16, false},
        {9, 8, 8, 128, 128, 0, FDEC_ROPE_NEOX, FDEC_F32, true},
        {5, 6, 3, 40, 24, 0, FDEC_ROPE_INTERLEAVED, FDEC_F16, true},
        {9, 4, 1, 80, 20, 3, FDEC_ROPE_NEOX, FDEC_F32, true},
        {9, 2, 2, 256, 256, 1, FDEC_ROPE_INTERLEAVED, FDEC_F16, false},
        {4, 5, 1, 8, 2, 64, FDEC_ROPE_NEOX, FDEC_F32, false},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        rope_case(&cases[i]);
    angle_case(10000);
    angle_case(5e5);
    angle_case(1.01);
}
