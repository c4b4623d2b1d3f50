/* SPDX-License-Identifier: MIT
 * inputs.c - operands from a seed, the reference and its file */
#include "inputs.h"
#include "attn.h"
#include "kv.h"
#include "linear.h"
#include "ref.h"
#include "softmax.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- numbers ---- */

size_t element_bytes(enum element type)
{
    return type == ELEM_F16 ? 2 : 4;
}

uint16_t half_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    const uint16_t sign = (uint16_t) (u >> 16 & 0x8000);
    u &= 0x7fffffff;
    if (u >= 0x7f800000)
        return sign | (u > 0x7f800000 ? 0x7e00 : 0x7c00);
    if (u >= 0x477ff000) /* 65520 and more */
        return sign | 0x7c00;
    if (u < 0x38800000) { /* subnormal: at 0.5 a float's last place is 2^-24, too, and the addition rounds */
        float f;
        memcpy(&f, &u, sizeof f);
        f += 0.5f;
        memcpy(&u, &f, sizeof u);
        return sign | (uint16_t) (u - 0x3f000000);
    }
    return sign | (uint16_t) (((u + 0xfff + (u >> 13 & 1)) >> 13) - (112 << 10));
}

float half_value(uint16_t bits)
{
    const float sign = bits & 0x8000 ? -1.0f : 1.0f;
    const int e = bits >> 10 & 31, m = bits & 1023;
    if (e == 31)
        return m ? NAN : sign * INFINITY;
    if (e == 0)
        return sign * (float) m * 0x1p-24f;
    const uint32_t u = (uint32_t) (e + 112) << 23 | (uint32_t) m << 13;
    float f;
    memcpy(&f, &u, sizeof f);
    return sign * f;
}

static uint64_t mix(uint64_t z) /* splitmix64 */
{
    z += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* One operand's stream of numbers. */
struct stream {
    uint64_t key;
    enum fill fill;
    bool half;
};

static struct stream stream_of(const struct workload_spec *spec, int operand, bool half)
{
    return (struct stream){mix(mix(spec->seed) + (uint64_t) operand), spec->fill, half};
}

static float uniform(const struct stream *s, uint64_t i) /* [-1, 1) */
{
    return (float) ((int32_t) (mix(s->key + i) >> 40) - (1 << 23)) * 0x1p-23f;
}

static float rounded(const struct stream *s, float x)
{
    return s->half ? half_value(half_bits(x)) : x;
}

static float value(const struct stream *s, uint64_t i)
{
    if (s->fill == FILL_EQUAL)
        return 0.5f;
    const float x = uniform(s, i);
    return rounded(s, s->fill == FILL_OUTLIERS && i % 97 == 0 ? 50 * x : x);
}

static void fill(struct operand *o, struct stream s)
{
    for (size_t i = 0; i < o->n; i++)
        o->f[i] = value(&s, i);
}

/* ---- attention ---- */

static bool ragged(const struct workload_spec *spec)
{
    return spec->reference && spec->n_sets <= 1 && spec->fill != FILL_NAN;
}

/* Sequence batch-1 has the longest length there is, 0 and 1 follow where there is room, the others are random. */
static int32_t length_of(const struct workload_spec *spec, int64_t b)
{
    const struct attn_problem *p = &spec->problem.attn;
    const int64_t from_last = p->batch - 1 - b;
    const struct stream s = stream_of(spec, ATTN_LENS, false);
    if (!ragged(spec) || from_last == 0)
        return (int32_t) p->len;
    if (from_last <= 2)
        return (int32_t) MIN(from_last - 1, p->len);
    return (int32_t) (mix(s.key + (uint64_t) b) % (uint64_t) (p->len + 1));
}

/* Which page is whose: a seeded permutation of the pool, handed out in order. Columns that no length reaches hold
 * -1. */
static fdec_status fill_table(const struct workload_spec *spec, const int32_t *lens, struct operand *table)
{
    const struct attn_problem *p = &spec->problem.attn;
    const struct stream s = stream_of(spec, ATTN_BLOCK_TABLE, false);
    const size_t pool = p->kv.n_blocks, page = p->kv.page_size;
    int32_t *order = malloc(pool * sizeof *order);
    if (!order)
        return fail(FDEC_E_MEMORY, "workload: out of memory");
    for (size_t i = 0; i < pool; i++) {
        const size_t j = mix(s.key + i) % (i + 1);
        order[i] = order[j];
        order[j] = (int32_t) i;
    }
    size_t next = 0;
    fdec_status st = FDEC_OK;
    for (size_t i = 0; i < table->n && !st; i++) {
        const size_t b = i / p->kv.max_blocks, column = i % p->kv.max_blocks;
        table->i[i] = -1;
        if (column * page >= (size_t) lens[b])
            continue;
        if (next == pool)
            st = fail(FDEC_E_ARG, "workload: a pool of %zu pages is too small", pool);
        else
            table->i[i] = order[next++];
    }
    free(order);
    return st;
}

/* FILL_SPIKES. Sequences take turns: some keys near 1e4 among the range of OPT-6.7B; that range alone; nothing
 * above -200. */
static float spike_score(const struct stream *s, int64_t b, uint64_t key, int64_t t)
{
    const float r = uniform(s, key);
    if (b % 3 == 2)
        return -350 + 150 * r;
    return b % 3 == 0 && t % 61 == 7 ? 1e4f + 3 * r : -66 + 430 * r;
}

static float sign_of(const struct workload_spec *spec, int64_t b, int64_t g, int d)
{
    return mix(spec->seed ^ mix((uint64_t) (b * 65536 + g) * 256 + (uint64_t) d)) & 1 ? 1.0f : -1.0f;
}

/* q four times as large as k spreads the scores over about -4..4. With spikes, all of a group point the same way,
 * and the query heads of a group differ in length. */
static void fill_q(const struct workload_spec *spec, struct operand *q)
{
    const struct attn_problem *p = &spec->problem.attn;
    struct stream s = stream_of(spec, ATTN_Q, false);
    if (s.fill == FILL_OUTLIERS)
        s.fill = FILL_UNIFORM; /* outliers of q and k that meet would give scores over 1000 */
    const int per_group = p->n_heads / p->n_kv_heads;
    for (size_t i = 0; i < q->n; i++) {
        const int64_t row = (int64_t) i / p->head_dim, b = row / p->n_heads;
        const int h = (int) (row % p->n_heads), d = (int) ((int64_t) i % p->head_dim);
        q->f[i] = 4 * value(&s, i);
        if (s.fill == FILL_SPIKES)
            q->f[i] = sign_of(spec, b, h / per_group, d) * (1 - (float) (h % per_group % 16) / 16);
    }
}

static int64_t token_offset(const struct attn_problem *p, const int32_t *table, int64_t b, int64_t t)
{
    const int64_t page = p->kv.page_size;
    if (!page)
        return b * p->kv.block_stride + t * p->kv.token_stride;
    return table[b * p->kv.max_blocks + t / page] * p->kv.block_stride + t % page * p->kv.token_stride;
}

static void fill_cache(const struct workload_spec *spec, const struct inputs *in, int operand, struct operand *o)
{
    const struct attn_problem *p = &spec->problem.attn;
    const struct stream s = stream_of(spec, operand, o->type == ELEM_F16);
    const bool spiked = operand == ATTN_K && spec->fill == FILL_SPIKES;
    for (size_t i = 0; i < o->n; i++)
        o->f[i] = NAN;
    for (int64_t b = 0; b < p->batch; b++) {
        for (int64_t t = 0; t < in->at[ATTN_LENS].i[b]; t++) {
            float *token = o->f + token_offset(p, in->at[ATTN_BLOCK_TABLE].i, b, t);
            for (int g = 0; g < p->n_kv_heads; g++) {
                const uint64_t key = (uint64_t) ((b * p->len + t) * p->n_kv_heads + g);
                const float score = spiked ? spike_score(&s, b, key, t) / (p->scale * (float) p->head_dim) : 0;
                for (int d = 0; d < p->head_dim; d++)
                    token[g * p->kv.head_stride + d] = spiked ? rounded(&s, score * sign_of(spec, b, g, d))
                                                              : value(&s, key * (uint64_t) p->head_dim + (uint64_t) d);
            }
        }
    }
}

/* NaN in a key of the first sequence, +Inf in a value of the second, -Inf in a key of the third. */
static void spoil_attn(const struct attn_problem *p, struct inputs *in)
{
    const int32_t *table = in->at[ATTN_BLOCK_TABLE].i;
    const int64_t t = p->len / 2, last = (p->n_kv_heads - 1) * p->kv.head_stride;
    in->at[ATTN_K].f[token_offset(p, table, 0, t)] = NAN;
    if (p->batch > 1)
        in->at[ATTN_V].f[token_offset(p, table, 1, t) + last + 1] = INFINITY;
    if (p->batch > 2)
        in->at[ATTN_K].f[token_offset(p, table, 2, t) + last + 2] = -INFINITY;
}

/* FILL_WILD: what the host's lengths and page numbers become after the cache has been filled for the sane ones. */
static void make_wild(const struct attn_problem *p, struct inputs *in)
{
    int32_t *lens = in->at[ATTN_LENS].i, *table = in->at[ATTN_BLOCK_TABLE].i;
    lens[p->batch - 1] = (int32_t) p->len + 1000;
    if (p->batch > 1)
        lens[p->batch - 2] = -5;           /* was 0 */
    if (table && p->len > p->kv.page_size) /* the longest sequence loses its first two pages */
        table[(p->batch - 1) * p->kv.max_blocks] = (int32_t) p->kv.n_blocks,
                               table[(p->batch - 1) * p->kv.max_blocks + 1] = INT32_MIN;
}

static fdec_status fill_attn(const struct workload_spec *spec, struct inputs *in)
{
    const struct attn_problem *p = &spec->problem.attn;
    fdec_status st = FDEC_OK;
    for (int64_t b = 0; b < p->batch; b++)
        in->at[ATTN_LENS].i[b] = length_of(spec, b);
    if (in->at[ATTN_BLOCK_TABLE].n)
        try_st(fill_table(spec, in->at[ATTN_LENS].i, &in->at[ATTN_BLOCK_TABLE]));
    fill_q(spec, &in->at[ATTN_Q]);
    fill_cache(spec, in, ATTN_K, &in->at[ATTN_K]);
    fill_cache(spec, in, ATTN_V, &in->at[ATTN_V]);
    fill(&in->at[ATTN_PHI], (struct stream){mix(spec->seed + ATTN_PHI), FILL_UNIFORM, false});
    if (spec->fill == FILL_NAN)
        spoil_attn(p, in);
    if (spec->fill == FILL_WILD)
        make_wild(p, in);
out:
    return st;
}

/* ---- all operations ---- */

static void add(struct inputs *in, int i, enum element type, int64_t n, bool output)
{
    in->at[i] = (struct operand){.n = (size_t) n, .type = type, .output = output};
    in->n = MAX(in->n, i + 1);
}

static enum element element_of(fdec_type t)
{
    return t == FDEC_F16 ? ELEM_F16 : ELEM_F32;
}

void inputs_shape(const struct workload_spec *spec, struct inputs *in)
{
    const struct attn_problem *a = &spec->problem.attn;
    const struct linear_problem *l = &spec->problem.linear;
    const struct softmax_problem *s = &spec->problem.softmax;
    memset(in, 0, sizeof *in);
    if (spec->problem.op == OP_ATTN) {
        const int64_t rows = a->batch * a->n_heads;
        const uint64_t bytes = kv_layout_bytes(&a->kv, (uint32_t) a->n_kv_heads, (uint32_t) a->head_dim);
        const int64_t cache = (int64_t) (bytes / type_bytes(a->kv.type));
        add(in, ATTN_Q, ELEM_F32, rows * a->head_dim, false);
        add(in, ATTN_K, element_of(a->kv.type), cache, false);
        add(in, ATTN_V, element_of(a->kv.type), cache, false);
        add(in, ATTN_LENS, ELEM_I32, a->batch, false);
        add(in, ATTN_BLOCK_TABLE, ELEM_I32, a->kv.page_size ? a->batch * a->kv.max_blocks : 0, false);
        add(in, ATTN_PHI, ELEM_F32, a->phi_source == FDEC_PHI_PER_HEAD ? a->n_heads : 0, false);
        add(in, ATTN_OUT, ELEM_F32, rows * a->head_dim, true);
        add(in, ATTN_LSE, ELEM_F32, spec->lse ? rows : 0, true);
    } else if (spec->problem.op == OP_LINEAR) {
        add(in, LINEAR_X, ELEM_F32, l->m * l->k, false);
        add(in, LINEAR_W, element_of(l->w_type), l->n * l->k, false);
        add(in, LINEAR_BIAS, ELEM_F32, spec->bias ? l->n : 0, false);
        add(in, LINEAR_RESIDUAL, ELEM_F32, spec->residual ? l->m * l->n : 0, false);
        add(in, LINEAR_Y, ELEM_F32, l->m * l->n, true);
    } else {
        add(in, SOFTMAX_X, ELEM_F32, s->rows * s->cols, false);
        add(in, SOFTMAX_Y, ELEM_F32, s->rows * s->cols, true);
        add(in, SOFTMAX_LSE, ELEM_F32, spec->lse ? s->rows : 0, true);
    }
}

/* NaN in the first row of x, +Inf in the second. */
static void fill_linear(const struct workload_spec *spec, struct inputs *in)
{
    const struct linear_problem *p = &spec->problem.linear;
    for (int i = LINEAR_X; i <= LINEAR_RESIDUAL; i++)
        fill(&in->at[i], stream_of(spec, i, in->at[i].type == ELEM_F16));
    if (spec->fill == FILL_NAN) {
        in->at[LINEAR_X].f[p->k / 2] = NAN;
        if (p->m > 1)
            in->at[LINEAR_X].f[p->k + p->k - 1] = INFINITY;
    }
}

/* Scores eight times as wide as uniform. Rows with NaN, +Inf, some -Inf, nothing but -Inf, in turn. */
static void fill_softmax(const struct workload_spec *spec, struct inputs *in)
{
    const struct softmax_problem *p = &spec->problem.softmax;
    const struct stream s = stream_of(spec, SOFTMAX_X, false);
    float *x = in->at[SOFTMAX_X].f;
    for (size_t i = 0; i < in->at[SOFTMAX_X].n; i++)
        x[i] = spec->fill == FILL_SPIKES ? spike_score(&s, (int64_t) i / p->cols, i, (int64_t) i % p->cols)
                                         : 8 * value(&s, i);
    for (int64_t r = 0; r < p->rows && spec->fill == FILL_NAN; r++) {
        float *row = x + r * p->cols;
        for (int64_t c = 0; c < p->cols; c++)
            if (r % 4 == 3 || (r % 4 == 2 && c % 3 == 0 && c + 1 < p->cols))
                row[c] = -INFINITY;
        if (r % 4 < 2)
            row[p->cols / 2] = r % 4 ? INFINITY : NAN;
    }
}

fdec_status inputs_make(const struct workload_spec *spec, struct inputs *in)
{
    fdec_status st = FDEC_OK;
    inputs_shape(spec, in);
    for (int i = 0; i < in->n; i++) {
        struct operand *o = &in->at[i];
        if (!o->n || o->output)
            continue;
        if (o->type == ELEM_I32)
            try_alloc(o->i = calloc(o->n, sizeof *o->i));
        else
            try_alloc(o->f = calloc(o->n, sizeof *o->f));
    }
    if (spec->problem.op == OP_ATTN)
        try_st(fill_attn(spec, in));
    else if (spec->problem.op == OP_LINEAR)
        fill_linear(spec, in);
    else
        fill_softmax(spec, in);
out:
    if (st)
        inputs_clear(in);
    return st;
}

void inputs_clear(struct inputs *in)
{
    for (int i = 0; i < in->n; i++) {
        free(in->at[i].f);
        free(in->at[i].i);
        in->at[i].f = NULL;
        in->at[i].i = NULL;
    }
}

/* ---- the reference ---- */

static void reference_place(struct reference *r, double *at)
{
    r->out = at;
    r->bound = r->out + r->n;
    r->lse = r->bound + r->n;
    r->lse_bound = r->lse + r->n_lse;
}

static void reference_shape(const struct workload_spec *spec, struct reference *r)
{
    const struct problem *p = &spec->problem;
    *r = (struct reference){0};
    if (p->op == OP_ATTN)
        r->n_lse = (size_t) (p->attn.batch * p->attn.n_heads), r->n = r->n_lse * (size_t) p->attn.head_dim;
    else if (p->op == OP_LINEAR)
        r->n = (size_t) (p->linear.m * p->linear.n);
    else
        r->n_lse = (size_t) p->softmax.rows, r->n = r->n_lse * (size_t) p->softmax.cols;
}

static fdec_status reference_attn(const struct workload_spec *spec, const struct inputs *in, struct reference *r)
{
    const struct attn_problem *p = &spec->problem.attn;
    fdec_status st = FDEC_OK;
    int32_t *lens = malloc((size_t) p->batch * sizeof *lens);
    float *phi = malloc((size_t) p->n_heads * sizeof *phi);
    try_alloc(lens);
    try_alloc(phi);
    for (int64_t b = 0; b < p->batch; b++)
        lens[b] = (int32_t) MIN(MAX(in->at[ATTN_LENS].i[b], 0), p->len);
    for (int h = 0; h < p->n_heads; h++)
        phi[h] = in->at[ATTN_PHI].n ? in->at[ATTN_PHI].f[h] : p->phi;
    ref_attn(p, in->at[ATTN_Q].f, in->at[ATTN_K].f, in->at[ATTN_V].f, lens, in->at[ATTN_BLOCK_TABLE].i, phi, r->out,
             r->bound, r->lse, r->lse_bound);
out:
    free(lens);
    free(phi);
    return st;
}

fdec_status reference_make(const struct workload_spec *spec, const struct inputs *in, struct reference *r)
{
    fdec_status st = FDEC_OK;
    reference_shape(spec, r);
    double *at = malloc(2 * (r->n + r->n_lse) * sizeof *at);
    try_alloc(at);
    reference_place(r, at);
    if (spec->problem.op == OP_ATTN)
        try_st(reference_attn(spec, in, r));
    else if (spec->problem.op == OP_LINEAR)
        ref_linear(&spec->problem.linear, in->at[LINEAR_X].f, in->at[LINEAR_W].f, in->at[LINEAR_BIAS].f,
                   in->at[LINEAR_RESIDUAL].f, r->out, r->bound);
    else
        ref_softmax(&spec->problem.softmax, in->at[SOFTMAX_X].f, r->out, r->bound, r->lse, r->lse_bound);
out:
    if (st)
        reference_clear(r);
    return st;
}

void reference_clear(struct reference *r)
{
    if (r->map)
        munmap(r->map, r->map_bytes);
    else
        free(r->out);
    *r = (struct reference){0};
}

struct file_head {
    char magic[8];
    uint64_t key, n_doubles;
};
static const char MAGIC[8] = "fdecref2";

/* Of all that makes the reference. */
static uint64_t spec_key(const struct workload_spec *spec)
{
    const struct attn_problem *a = &spec->problem.attn;
    char text[PROBLEM_TEXT + 512];
    problem_print(&spec->problem, text);
    append(text, sizeof text, " fill=%d seed=%llu ragged=%d bias=%d residual=%d", (int) spec->fill,
           (unsigned long long) spec->seed, ragged(spec), spec->bias, spec->residual);
    if (spec->problem.op == OP_ATTN)
        append(text, sizeof text, " scale=%a phi=%d:%a strides=%lld,%lld,%lld blocks=%u,%u", (double) a->scale,
               (int) a->phi_source, (double) a->phi, (long long) a->kv.block_stride, (long long) a->kv.token_stride,
               (long long) a->kv.head_stride, a->kv.n_blocks, a->kv.max_blocks);
    return hash64(text, strlen(text), 0);
}

fdec_status workload_write_reference(const struct workload_spec *spec, const char *path)
{
    struct inputs in = {0};
    struct reference r = {0};
    char *bytes = NULL;
    fdec_status st = FDEC_OK;
    try_st(inputs_make(spec, &in));
    try_st(reference_make(spec, &in, &r));
    inputs_clear(&in);
    struct file_head head = {.key = spec_key(spec), .n_doubles = 2 * (r.n + r.n_lse)};
    memcpy(head.magic, MAGIC, sizeof MAGIC);
    bytes = malloc(sizeof head + head.n_doubles * sizeof *r.out);
    try_alloc(bytes);
    memcpy(bytes, &head, sizeof head);
    memcpy(bytes + sizeof head, r.out, head.n_doubles * sizeof *r.out);
    try_st(file_write_atomic(path, bytes, sizeof head + head.n_doubles * sizeof *r.out, 0600));
out:
    free(bytes);
    inputs_clear(&in);
    reference_clear(&r);
    return st;
}

fdec_status reference_map(const struct workload_spec *spec, const char *path, struct reference *r)
{
    struct stat info;
    fdec_status st = FDEC_OK;
    reference_shape(spec, r);
    const uint64_t n_doubles = 2 * (r->n + r->n_lse);
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &info))
        st = fail(FDEC_E_DATA, "%s: %s", path, strerror(errno));
    else if ((uint64_t) info.st_size != sizeof(struct file_head) + n_doubles * sizeof *r->out)
        st = fail(FDEC_E_DATA, "%s: not the size of this problem's reference", path);
    if (!st) {
        r->map_bytes = (size_t) info.st_size;
        r->map = mmap(NULL, r->map_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
        if (r->map == MAP_FAILED) {
            r->map = NULL;
            st = fail(FDEC_E_MEMORY, "%s: %s", path, strerror(errno));
        }
    }
    if (fd >= 0)
        close(fd);
    const struct file_head *head = r->map;
    if (!st &&
        (memcmp(head->magic, MAGIC, sizeof MAGIC) || head->key != spec_key(spec) || head->n_doubles != n_doubles))
        st = fail(FDEC_E_DATA, "%s: the reference of another problem", path);
    if (st)
        reference_clear(r);
    else
        reference_place(r, (double *) (head + 1));
    return st;
}
