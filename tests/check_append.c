/* SPDX-License-Identifier: MIT
 * check_append.c - rope_append: rotation, places in the cache, what is skipped, every type, bounds, long positions
 *
 * A case is two runs into the same caches and bounds, so that the bounds must carry on. What a run may have written is
 * checked element by element against the formula and then struck out of the caches as they were and as they are: the
 * rest must be the same. */
#include "checkops.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PI 3.14159265358979323846264338327950288L

enum { MAX_LEN = 50, MAX_ROWS = 12, MAX_DIM = 576 };

enum place { CONTIGUOUS, HEAD_MAJOR, PADDED, BY_TABLE, BY_SLOTS }; /* BY_SLOTS: paged where there is a page size */

struct append_case {
    uint32_t rows, q_len, n_heads, n_kv_heads, head_dim, v_head_dim, rope_begin, rope_dim, page_size;
    enum place place;
    fdec_rope_style style;
    float attn_factor; /* 0: nothing turns */
    bool bounds;
};

struct types {
    fdec_type act, k, v;
};

struct side { /* of the keys, or of the values */
    fdec_type type;
    uint32_t dim;
    int64_t block_stride, token_stride, head_stride;
    size_t bytes;                /* of the cache */
    unsigned char *before, *got; /* the cache around the run */
    double *in;                  /* [rows, G, dim], values of the type of activations */
    fdec_buffer cache;
};

struct data {
    const struct append_case *c;
    struct types t;
    uint32_t tokens, columns, n_blocks, batch; /* tokens of a block; columns of the table */
    int32_t pos[MAX_ROWS], slots[MAX_ROWS], *table;
    double *q;
    void *q_got;
    struct side k, v;
    float *start, *bounds; /* [n_blocks, G, 2] before and after */
    double *want_bounds;   /* the same, exact */
    bool *touched;         /* [n_blocks, G] */
};

/* ---- where a row goes ---- */

static bool place_of(const struct data *d, uint32_t n, uint32_t *block, uint32_t *token)
{
    const int32_t pos = d->pos[n];
    int64_t b = n / d->c->q_len;
    if (pos < 0 || pos >= MAX_LEN)
        return false;
    *token = (uint32_t) pos;
    if (d->c->place == BY_SLOTS) {
        if (d->slots[n] < 0)
            return false;
        b = d->slots[n] / (int64_t) d->tokens, *token = (uint32_t) d->slots[n] % d->tokens;
    } else if (d->c->page_size) {
        b = d->table[b * d->columns + pos / d->tokens], *token = (uint32_t) pos % d->tokens;
    }
    *block = (uint32_t) b;
    return b >= 0 && b < d->n_blocks;
}

static size_t place_in(const struct side *s, uint32_t block, uint32_t token, uint32_t g)
{
    return (size_t) (block * s->block_stride + token * s->token_stride + g * s->head_stride);
}

/* Of one token per sequence the positions skip rows 3, 4 and 5, and in a paged cache the table rows 6, 7 and 8. Of
 * several tokens per sequence, those of the second sequence run over the end. */
static void set_places(struct data *d, int run)
{
    static const int32_t one[2][MAX_ROWS] = {{0, MAX_LEN - 1, 23, -1, MAX_LEN, INT32_MAX, 31, 17, 5, 6, 7, 8},
                                             {1, MAX_LEN - 2, 22, INT32_MIN, MAX_LEN, 99, 31, 17, 5, 7, 8, 9}};
    static const int32_t first[2][3] = {{0, MAX_LEN - 2, 23}, {30, 9, 29}};
    const uint32_t q_len = d->c->q_len, places = d->n_blocks * d->tokens;
    for (uint32_t n = 0; n < d->c->rows; n++) {
        d->pos[n] = q_len == 1 ? one[run][n] : first[run][n / q_len] + (int32_t) (n % q_len);
        d->slots[n] = (int32_t) ((n * 5 + 11 * (uint32_t) run + 2) % places); /* different ones: no case has under 60 */
    }
    if (d->c->rows > 9)
        d->slots[6] = -1, d->slots[7] = (int32_t) places, d->slots[8] = INT32_MIN, d->slots[9] = INT32_MAX;
    if (d->c->place == BY_TABLE && q_len == 1)
        for (uint32_t n = 6; n < 9 && n < d->c->rows; n++)
            d->table[n * d->columns + (uint32_t) one[run][n] / d->tokens] = n == 6   ? -1
                                                                            : n == 7 ? (int32_t) d->n_blocks
                                                                                     : INT32_MIN;
}

/* ---- operands ---- */

static double *values(fdec_type type, size_t n, double span)
{
    double *x = malloc(n * sizeof *x);
    must(x != NULL, "malloc");
    for (size_t i = 0; i < n; i++)
        x[i] = nearest(type, uniform((float) -span, (float) span));
    return x;
}

static void make_side(struct data *d, struct side *s, fdec_type type, uint32_t dim)
{
    const int64_t G = d->c->n_kv_heads, pad = d->c->place == PADDED ? 64 : 0;
    const bool head_major = d->c->place == HEAD_MAJOR;
    s->type = type, s->dim = dim;
    s->head_stride = head_major ? (int64_t) d->tokens * dim : dim + pad;
    s->token_stride = head_major ? dim : G * (dim + pad) + pad;
    s->block_stride = head_major || !pad ? d->tokens * G * dim : d->tokens * s->token_stride + pad;
    const int64_t last =
        (d->n_blocks - 1) * s->block_stride + (d->tokens - 1) * s->token_stride + (G - 1) * s->head_stride;
    s->bytes = type_bytes(type, (size_t) (last + dim));
    s->before = malloc(s->bytes), s->got = malloc(s->bytes);
    must(s->before && s->got, "malloc");
    memset(s->got, POISON, s->bytes);
    s->cache = put(NULL, s->bytes, type == FDEC_F32 ? 4 : 2);
}

static void make_data(struct data *d, const struct append_case *c, struct types types)
{
    *d = (struct data){.c = c, .t = types, .batch = c->rows / c->q_len};
    d->tokens = c->page_size ? c->page_size : MAX_LEN;
    d->columns = c->page_size ? (MAX_LEN + c->page_size - 1) / c->page_size : 1;
    d->n_blocks = d->batch * d->columns;
    must(c->rows <= MAX_ROWS && c->head_dim <= MAX_DIM, "append case");
    const size_t n_bounds = (size_t) d->n_blocks * c->n_kv_heads;
    d->table = malloc(d->n_blocks * sizeof *d->table),
    d->q_got = malloc((size_t) c->rows * c->n_heads * c->head_dim * 4);
    d->start = calloc(2 * n_bounds, sizeof *d->start), d->bounds = calloc(2 * n_bounds, sizeof *d->bounds);
    d->want_bounds = calloc(2 * n_bounds, sizeof *d->want_bounds), d->touched = calloc(n_bounds, sizeof *d->touched);
    must(d->table && d->q_got && d->start && d->bounds && d->want_bounds && d->touched, "malloc");
    for (uint32_t i = 0; i < d->n_blocks; i++)
        d->table[i] = (int32_t) ((i * 7 + 3) % d->n_blocks); /* 7 is prime to every n_blocks of the cases */
    d->start[0] = 1e30f;                                     /* larger than anything: it stays */
    d->want_bounds[0] = d->start[0];
    make_side(d, &d->k, types.k, c->head_dim);
    make_side(d, &d->v, types.v, c->v_head_dim);
}

static void free_data(struct data *d)
{
    free(d->table), free(d->q_got), free(d->start), free(d->bounds), free(d->want_bounds), free(d->touched);
    free(d->k.before), free(d->k.got), free(d->v.before), free(d->v.got);
    drop();
}

/* Values: halves between quants of a block whose d is 1; zeros; f16's largest, overflow, denormals. */
static void set_edges(const struct data *d, double *v, uint32_t dim)
{
    static const double edge[] = {65519, 65520, -1e9, 0x1p-24, 0x1.8p-25};
    for (uint32_t i = 0; i < 32 && i < dim; i++)
        v[i] = i ? nearest(d->t.act, ((int) i - 16) * 7 + 0.5) : 127;
    for (uint32_t i = 32; i < 64 && i < dim; i++)
        v[i] = 0;
    for (size_t i = 0; i < COUNT(edge) && d->c->rows > 2; i++) /* row 2, which is not skipped */
        v[(size_t) 2 * d->c->n_kv_heads * dim + i] = nearest(d->t.act, edge[i]);
}

static fdec_buffer put_values(fdec_type type, const double *x, size_t n)
{
    const size_t bytes = type_bytes(type, n);
    void *array = malloc(bytes);
    must(array != NULL, "malloc");
    for (size_t i = 0; i < n; i++)
        put_element(type, array, i, x[i]);
    const fdec_buffer b = put(array, bytes, bytes / n);
    free(array);
    return b;
}

/* ---- a run ---- */

static fdec_plan *make_plan(const struct data *d)
{
    const struct append_case *c = d->c;
    fdec_append_params p = FDEC_APPEND_PARAMS_INIT;
    fdec_plan *plan = NULL;
    p.max_tokens = c->rows, p.max_batch = d->batch, p.max_len = MAX_LEN, p.act_type = d->t.act;
    p.n_heads = c->n_heads, p.n_kv_heads = c->n_kv_heads, p.head_dim = c->head_dim, p.v_head_dim = c->v_head_dim;
    p.rope_begin = c->rope_begin, p.rope_dim = c->rope_dim, p.style = c->style;
    p.kv = (fdec_kv_layout){.page_size = c->page_size, .n_blocks = c->page_size ? d->n_blocks : 0};
    p.kv.k.type = d->t.k, p.kv.v.type = d->t.v;
    if (c->place == HEAD_MAJOR || c->place == PADDED) {
        p.kv.k = (fdec_cache){d->t.k, d->k.block_stride, d->k.token_stride, d->k.head_stride};
        p.kv.v = (fdec_cache){d->t.v, d->v.block_stride, d->v.token_stride, d->v.head_stride};
    }
    must(fdec_append_plan_create(t.ctx, &p, &plan) == FDEC_OK, "append plan");
    return plan;
}

static void run(struct data *d, fdec_plan *plan, fdec_buffer bounds)
{
    const struct append_case *c = d->c;
    const size_t n_q = (size_t) c->rows * c->n_heads * c->head_dim, n_kv = (size_t) c->rows * c->n_kv_heads;
    const int mine = t.n_devs;
    uint64_t angles[MAX_DIM / 2];
    fdec_append_args a = FDEC_APPEND_ARGS_INIT;
    a.q_len = c->place == BY_SLOTS ? 0 : c->q_len;
    a.pos = put(d->pos, c->rows * sizeof *d->pos, 4);
    a.k = put_values(d->t.act, d->k.in, n_kv * c->head_dim), a.v = put_values(d->t.act, d->v.in, n_kv * c->v_head_dim);
    a.k_cache = d->k.cache, a.v_cache = d->v.cache, a.bounds = bounds;
    if (c->attn_factor != 0) {
        fdec_rope_params r = FDEC_ROPE_PARAMS_INIT;
        r.rope_dim = c->rope_dim, r.base = 10000;
        must(fdec_rope_angles(&r, angles, NULL) == FDEC_OK, "fdec_rope_angles");
        a.angles = put(angles, c->rope_dim / 2 * sizeof *angles, 8), a.q = put_values(d->t.act, d->q, n_q);
        a.attn_factor = c->attn_factor != 1 ? c->attn_factor : 0;
    }
    if (c->place == BY_SLOTS)
        a.slots = put(d->slots, c->rows * sizeof *d->slots, 4);
    else if (c->page_size)
        a.block_table = put(d->table, d->n_blocks * sizeof *d->table, 4);
    memcpy(d->k.before, d->k.got, d->k.bytes), memcpy(d->v.before, d->v.got, d->v.bytes);
    ran(fdec_append_run(plan, t.queue, &a, 0, NULL, NULL), "append");
    if (c->attn_factor != 0)
        get(a.q, d->q_got, "append q");
    get(a.k_cache, d->k.got, "append k"), get(a.v_cache, d->v.got, "append v");
    if (c->bounds)
        get(bounds, d->bounds, "append bounds");
    while (t.n_devs > mine) /* the operands of this run; caches and bounds stay */
        clReleaseMemObject(t.devs[--t.n_devs].mem);
}

/* ---- what must be there ---- */

/* One head turned by pos * base^(-2i / rope_dim), in long double; bound: 8 U of |v0| + |v1|: the angle errs by 2 U
 * (conversion, constant, product, each of at most pi/4), sine and cosine by 1 ulp, their product with the factor by U,
 * the two products and their sum by 2 U. */
static void ref_rotate(const struct append_case *c, int pos, const double *from, double *to, double *bound)
{
    const uint32_t pairs = c->rope_dim / 2;
    const bool neox = c->style == FDEC_ROPE_NEOX;
    for (uint32_t i = 0; i < c->head_dim; i++)
        to[i] = from[i], bound[i] = 0;
    for (uint32_t i = 0; i < pairs && c->attn_factor != 0; i++) {
        const uint32_t i0 = c->rope_begin + (neox ? i : 2 * i), i1 = i0 + (neox ? pairs : 1);
        const long double a = fmodl(pos * powl(10000, -2.0L * i / c->rope_dim), 2 * PI), f = c->attn_factor;
        to[i0] = (double) (f * (from[i0] * cosl(a) - from[i1] * sinl(a)));
        to[i1] = (double) (f * (from[i0] * sinl(a) + from[i1] * cosl(a)));
        bound[i0] = bound[i1] = 8 * U * (double) f * (fabs(from[i0]) + fabs(from[i1]));
    }
}

/* got is want, within its bound, rounded to the type: rounding is monotone, so the result lies between the roundings of
 * the ends. */
static bool rounded(fdec_type type, double got, double want, double bound)
{
    const double lo = nearest(type, want - bound), hi = nearest(type, want + bound);
    return isnan(want) ? isnan(got) : got >= lo && got <= hi;
}

static bool q_is_right(const struct data *d)
{
    bool right = true;
    double want[MAX_DIM], bound[MAX_DIM];
    const struct append_case *c = d->c;
    for (uint32_t head = 0; head < c->rows * c->n_heads && c->attn_factor != 0; head++) {
        uint32_t block, token;
        const uint32_t n = head / c->n_heads;
        const bool there = place_of(d, n, &block, &token);
        ref_rotate(c, there ? d->pos[n] : 0, d->q + (size_t) head * c->head_dim, want, bound);
        for (uint32_t i = 0; i < c->head_dim; i++) {
            const size_t at = (size_t) head * c->head_dim + i;
            right &= there ? rounded(d->t.act, ref_dequant(d->t.act, d->q_got, at), want[i], bound[i])
                           : ref_dequant(d->t.act, d->q_got, at) == d->q[at];
        }
    }
    return right;
}

static float inverse(float d)
{
    return d > 0 && isfinite(d) ? 1 / d : 0;
}

/* A block of Q8_0 as the format defines it: d = max |x| / 127, stored as f16, q = round(x * (1/d)), in float. Each step
 * is monotone in x and in d, so where x is known within a bound, d and q lie between what the ends give; where it is
 * exact, there is one block that is right. An infinity leaves d infinite and q = 0. */
static bool block_is_right(const unsigned char *block, const double *want, const double *bound)
{
    double least = 0, most = 0; /* that max |x| can be */
    bool right = true;
    uint16_t h;
    memcpy(&h, block, sizeof h);
    for (int i = 0; i < 32; i++)
        least = fmax(least, fabs(want[i]) - bound[i]), most = fmax(most, fabs(want[i]) + bound[i]);
    const float d[2] = {(float) least / 127, (float) most / 127}, r[2] = {inverse(d[1]), inverse(d[0])};
    right &= ref_half(h) >= half_nearest(d[0]) && ref_half(h) <= half_nearest(d[1]);
    for (int i = 0; i < 32; i++) {
        const float x[2] = {(float) (want[i] - bound[i]), (float) (want[i] + bound[i])};
        const int q = (int8_t) block[2 + i];
        const float lo = x[0] * r[x[0] < 0], hi = x[1] * r[x[1] > 0];
        right &= isfinite(d[1]) ? q >= roundf(lo) && q <= roundf(hi) : q == 0;
    }
    return right;
}

/* The head at element `at` of a cache must hold want. Strikes it out. */
static bool head_is_right(struct side *s, size_t at, const double *want, const double *bound)
{
    bool right = true;
    const size_t first = type_bytes(s->type, at), bytes = type_bytes(s->type, s->dim);
    for (uint32_t i = 0; i < s->dim; i++)
        if (s->type != FDEC_Q8_0)
            right &= rounded(s->type, ref_dequant(s->type, s->got, at + i), want[i], bound[i]);
        else if (i % 32 == 0)
            right &= block_is_right(s->got + first + i / 32 * 34, want + i, bound + i);
    memset(s->got + first, POISON, bytes);
    memset(s->before + first, POISON, bytes);
    return right;
}

/* What bounds must cover: the exact norm and largest element of what is stored. */
static void raise_wanted(struct data *d, size_t bound_at, size_t k_at, size_t v_at)
{
    long double squares = 0;
    double top = 0;
    for (uint32_t i = 0; i < d->k.dim; i++) {
        const long double x = ref_dequant(d->k.type, d->k.got, k_at + i);
        squares += x * x;
    }
    for (uint32_t i = 0; i < d->v.dim; i++) {
        const double x = fabs(ref_dequant(d->v.type, d->v.got, v_at + i));
        top = isfinite(x) ? fmax(top, x) : INFINITY;
    }
    const double norm = isfinite(squares) ? (double) sqrtl(squares) : INFINITY;
    d->want_bounds[2 * bound_at] = fmax(d->want_bounds[2 * bound_at], norm);
    d->want_bounds[2 * bound_at + 1] = fmax(d->want_bounds[2 * bound_at + 1], top);
    d->touched[bound_at] = true;
}

static bool caches_are_right(struct data *d)
{
    bool right = true;
    double want[MAX_DIM], bound[MAX_DIM];
    static const double exact[MAX_DIM];
    const uint32_t G = d->c->n_kv_heads;
    for (uint32_t head = 0; head < d->c->rows * G; head++) {
        uint32_t block, token;
        const uint32_t n = head / G, g = head % G;
        if (!place_of(d, n, &block, &token))
            continue;
        const size_t k_at = place_in(&d->k, block, token, g), v_at = place_in(&d->v, block, token, g);
        raise_wanted(d, (size_t) block * G + g, k_at, v_at);
        ref_rotate(d->c, d->pos[n], d->k.in + (size_t) head * d->k.dim, want, bound);
        right &= head_is_right(&d->k, k_at, want, bound);
        right &= head_is_right(&d->v, v_at, d->v.in + (size_t) head * d->v.dim, exact);
    }
    return right && !memcmp(d->k.got, d->k.before, d->k.bytes) && !memcmp(d->v.got, d->v.before, d->v.bytes);
}

/* Above the norm by (n + 31) U of it at most: n squares a lane, n = dim / 4 where lanes are fewest, are what append.cl
 * gives back (n/2 + 16) U for, and rounding up may have added as much again. sqrt(dim) 2^-63: for underflow. */
static bool bounds_are_right(const struct data *d)
{
    bool right = true;
    const double slack = (d->k.dim / 4 + 32) * U, floor_of_it = sqrt(d->k.dim) * 0x1p-62;
    for (size_t i = 0; d->c->bounds && i < (size_t) d->n_blocks * d->c->n_kv_heads; i++) {
        const double k = d->want_bounds[2 * i], v = d->want_bounds[2 * i + 1];
        const float *got = d->bounds + 2 * i;
        if (d->touched[i])
            right &= got[0] >= k && got[0] <= k * (1 + slack) + floor_of_it && got[1] == v;
        else
            right &= got[0] == d->start[2 * i] && got[1] == d->start[2 * i + 1];
    }
    return right;
}

static void append_case(const struct append_case *c, struct types types)
{
    struct data d;
    make_data(&d, c, types);
    fdec_plan *plan = make_plan(&d);
    const size_t n_kv = (size_t) c->rows * c->n_kv_heads;
    fdec_buffer bounds = {0};
    if (c->bounds)
        bounds = put(d.start, (size_t) d.n_blocks * c->n_kv_heads * 2 * sizeof *d.start, 4);
    for (int i = 0; i < 2; i++) {
        set_places(&d, i);
        d.q = values(types.act, (size_t) c->rows * c->n_heads * c->head_dim, 2);
        d.k.in = values(types.act, n_kv * c->head_dim, i ? 20 : 2), d.v.in = values(types.act, n_kv * c->v_head_dim, 2);
        if (i == 0)
            set_edges(&d, d.v.in, c->v_head_dim);
        run(&d, plan, bounds);
        unsigned char *k = malloc(d.k.bytes), *v = malloc(d.v.bytes); /* as they are, for the next run */
        must(k && v, "malloc");
        memcpy(k, d.k.got, d.k.bytes), memcpy(v, d.v.got, d.v.bytes);
        const bool q_ok = q_is_right(&d), caches_ok = caches_are_right(&d), bounds_ok = bounds_are_right(&d);
        check(q_ok && caches_ok && bounds_ok,
              "append run %d rows=%u/%u h=%u/%u d=%u/%u rope=%u+%u page=%u place=%d neox=%d types %d: %d/%d: q %d, "
              "caches %d, bounds %d",
              i, c->rows, c->q_len, c->n_heads, c->n_kv_heads, c->head_dim, c->v_head_dim, c->rope_begin, c->rope_dim,
              c->page_size, c->place, c->style, types.act, types.k, types.v, q_ok, caches_ok, bounds_ok);
        memcpy(d.k.got, k, d.k.bytes), memcpy(d.v.got, v, d.v.bytes);
        free(k), free(v), free(d.q), free(d.k.in), free(d.v.in);
    }
    fdec_plan_destroy(&plan);
    free_data(&d);
}

/* Row 0 has a NaN in its key, row 1 an infinity in its value, each a page of its own: NaN stays where it is (Q8_0: in
 * its block), and the bounds of just these are infinite. */
static void nonfinite_case(struct types types)
{
    enum { ROWS = 3, D = 64, AT = 40, LAST_OF_FIRST = 31 };
    static const int32_t pos[ROWS] = {0, 0, 0}, slots[ROWS] = {2, 0, 1};
    double k[ROWS * D], v[ROWS * D];
    float bounds[ROWS][2] = {{0}};
    unsigned char got[2][ROWS * D * 4];
    fdec_append_params p = FDEC_APPEND_PARAMS_INIT;
    fdec_append_args a = FDEC_APPEND_ARGS_INIT;
    fdec_plan *plan = NULL;
    for (int i = 0; i < ROWS * D; i++)
        k[i] = v[i] = i % 7 - 3;
    k[AT] = NAN, v[D + AT] = -INFINITY;
    p.max_tokens = ROWS, p.max_len = 1, p.n_heads = p.n_kv_heads = 1, p.head_dim = D, p.act_type = types.act;
    p.kv = (fdec_kv_layout){.page_size = 1, .n_blocks = ROWS, .k.type = types.k, .v.type = types.v};
    must(fdec_append_plan_create(t.ctx, &p, &plan) == FDEC_OK, "append plan");
    a.pos = put(pos, sizeof pos, 4), a.slots = put(slots, sizeof slots, 4), a.bounds = put(bounds, sizeof bounds, 4);
    a.k = put_values(types.act, k, ROWS * D), a.v = put_values(types.act, v, ROWS * D);
    a.k_cache = put(NULL, type_bytes(types.k, ROWS * D), 4), a.v_cache = put(NULL, type_bytes(types.v, ROWS * D), 4);
    ran(fdec_append_run(plan, t.queue, &a, 0, NULL, NULL), "append of NaN");
    get(a.k_cache, got[0], "append of NaN"), get(a.v_cache, got[1], "append of NaN"),
        get(a.bounds, bounds, "append of NaN");
    bool right = true;
    for (int n = 0; n < ROWS; n++) {
        for (int i = 0; i < D; i++) {
            const double x = ref_dequant(types.k, got[0], (size_t) (slots[n] * D + i)),
                         y = ref_dequant(types.v, got[1], (size_t) (slots[n] * D + i));
            right &= isnan(x) == (n == 0 && (types.k == FDEC_Q8_0 ? i > LAST_OF_FIRST : i == AT));
            right &= isfinite(y) == !(n == 1 && (types.v == FDEC_Q8_0 ? i > LAST_OF_FIRST : i == AT));
        }
        right &= (bounds[slots[n]][0] == INFINITY) == (n == 0) && (bounds[slots[n]][1] == INFINITY) == (n == 1);
    }
    check(right, "append of NaN and infinity, types %d: %d/%d", types.act, types.k, types.v);
    fdec_plan_destroy(&plan);
    drop();
}

/* The angle that a pair (1, 0) has turned by is right to 1e-6 rad. */
static void angle_case(double base)
{
    static const int32_t pos[] = {0, 1, 2, 7, 1000, 65535, 65536, 131071, 524289, 1000003, 1048575, 1048576};
    enum { N = COUNT(pos), D = 128 };
    static float q[N][D];
    int32_t slots[N];
    uint64_t angles[D / 2];
    double worst = 0;
    fdec_rope_params r = FDEC_ROPE_PARAMS_INIT;
    fdec_append_params p = FDEC_APPEND_PARAMS_INIT;
    fdec_append_args a = FDEC_APPEND_ARGS_INIT;
    fdec_plan *plan = NULL;
    for (int n = 0; n < N; n++) {
        slots[n] = n;
        for (int i = 0; i < D; i++)
            q[n][i] = i % 2 == 0;
    }
    r.rope_dim = D, r.base = base;
    must(fdec_rope_angles(&r, angles, NULL) == FDEC_OK, "fdec_rope_angles");
    p.max_tokens = N, p.max_len = (1 << 20) + 1, p.n_heads = p.n_kv_heads = 1, p.head_dim = D;
    p.kv = (fdec_kv_layout){.page_size = N, .n_blocks = 1};
    must(fdec_append_plan_create(t.ctx, &p, &plan) == FDEC_OK, "append plan");
    a.angles = put(angles, sizeof angles, 8), a.pos = put(pos, sizeof pos, 4), a.slots = put(slots, sizeof slots, 4);
    a.q = put(q, sizeof q, 4), a.k = put(q, sizeof q, 4), a.v = put(q, sizeof q, 4);
    a.k_cache = put(NULL, sizeof q, 4), a.v_cache = put(NULL, sizeof q, 4);
    ran(fdec_append_run(plan, t.queue, &a, 0, NULL, NULL), "append, angles");
    get(a.q, q, "append, angles");
    for (int n = 0; n < N; n++)
        for (int i = 0; i < D; i += 2) {
            const long double want = pos[n] * powl(base, -(long double) i / D);
            worst = fmax(worst, fabs((double) remainderl(atan2l(q[n][i + 1], q[n][i]) - want, 2 * PI)));
            worst = fmax(worst, fabs(hypot(q[n][i], q[n][i + 1]) - 1));
        }
    check(worst <= 1e-6, "append: an angle of base %g is wrong by %.3g rad", base, worst);
    fdec_plan_destroy(&plan);
    drop();
}

/* All pairs of types of K and V, all of K and activations and of V and activations: 16 programs. Where there are few to
 * be compiled, K and V are the same. */
void check_append(void)
{
    static const struct append_case cases[] = {
        {1, 1, 1, 1, 32, 32, 0, 32, 0, CONTIGUOUS, FDEC_ROPE_INTERLEAVED, 1, true},
        {12, 1, 4, 2, 64, 64, 0, 64, 16, BY_TABLE, FDEC_ROPE_NEOX, 1, true},
        {9, 1, 8, 8, 128, 128, 0, 128, 0, HEAD_MAJOR, FDEC_ROPE_NEOX, 1, true},
        {12, 4, 6, 3, 64, 32, 8, 24, 0, PADDED, FDEC_ROPE_INTERLEAVED, 1.5f, true},
        {9, 3, 4, 1, 96, 64, 32, 20, 3, BY_TABLE, FDEC_ROPE_NEOX, 1, false},
        {12, 1, 2, 2, 256, 256, 0, 256, 1, BY_SLOTS, FDEC_ROPE_INTERLEAVED, 1, true},
        {12, 1, 5, 1, 192, 128, 128, 64, 64, BY_SLOTS, FDEC_ROPE_INTERLEAVED, 0.75f, true},
        {12, 1, 2, 1, 576, 512, 512, 64, 0, BY_SLOTS, FDEC_ROPE_NEOX, 1, true},
        {12, 4, 2, 2, 64, 96, 0, 64, 16, BY_TABLE, FDEC_ROPE_NEOX, 0, true},
    };
    static const struct append_case odd[] = {
        /* no whole vectors of 16; not for Q8_0 */
        {4, 1, 5, 1, 8, 24, 0, 2, 64, BY_TABLE, FDEC_ROPE_NEOX, 1, true},
        {5, 1, 6, 3, 40, 8, 3, 24, 0, HEAD_MAJOR, FDEC_ROPE_INTERLEAVED, 1, true},
        {12, 4, 3, 3, 8, 8, 0, 8, 0, CONTIGUOUS, FDEC_ROPE_NEOX, 1, true},
    };
    const bool few = t.tiny || strcmp(t.setup, "cpu_like=1") != 0;
    for (int i = 0; i < 16; i++) {
        const struct types types = {(fdec_type) ((i / 4 + i % 4) % 3), (fdec_type) (i / 4), (fdec_type) (i % 4)};
        if (few && types.k != types.v)
            continue;
        for (size_t j = 0; j < COUNT(cases); j++)
            append_case(&cases[j], types);
        for (size_t j = 0; j < COUNT(odd) && types.k != FDEC_Q8_0 && types.v != FDEC_Q8_0; j++)
            append_case(&odd[j], types);
        nonfinite_case(types);
    }
    angle_case(10000);
    angle_case(5e5);
    angle_case(1.01);
}
