/* SPDX-License-Identifier: MIT
 * bench_peers.c - what the library is compared with, where it is installed
 *
 *   clblast              linear f32 in three uses, and again with parameters of its own tuners (bench_clblast.c)
 *   openblas             linear f32 on CPU devices (bench_openblas.c)
 *   naive three-kernel   attention with one query token: scores, softmax and values through memory, contiguous cache
 *
 *   without table        the library itself, by its analytic rule
 *
 * Each is checked before it is timed: all but one work on the workload's operands and are held to its reference and
 * bound; the naive one has operands of its own, and a sample of its outputs is computed in double. */
#include "bench.h"
#include "bench_naive.h"
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

extern const struct source cl_bench_naive;

/* ---- taking them in ---- */

void peer_left_out(struct sitting *s, enum peer kind, const char *name, const char *why)
{
    if (!(s->left_out & 1u << kind))
        fprintf(stderr, "flashdec-bench: %s is not timed: %s\n", name, why);
    s->left_out |= 1u << kind;
}

static void keep(struct point *pt, const struct runner *r)
{
    pt->runners[pt->n_runners++] = *r;
}

void peer_take(struct point *pt, enum peer kind, const struct runner *r)
{
    char why[512] = "";
    double ratio;
    bool right = false;
    if (sitting_check(pt, r, &right, &ratio, why, sizeof why))
        snprintf(why, sizeof why, "%s", fdec_last_error());
    if (right) {
        keep(pt, r);
        return;
    }
    peer_left_out(pt->sitting, kind, r->name, why);
    r->destroy(r->self);
}

/* ---- attention in three kernels ---- */

enum { NAIVE_FILL_KV, NAIVE_SCORES, NAIVE_SOFTMAX, NAIVE_VALUES, NAIVE_KERNELS };
static const char *const naive_names[] = {"naive_fill", "naive_scores", "naive_softmax", "naive_values"};
enum { SEED_Q = 1, SEED_K = 0x10000000, SEED_V = 0x20000001 };

struct naive {
    struct bench *bench;
    struct attn_problem p;
    cl_program program;
    cl_kernel kernels[NAIVE_KERNELS];
    int n_sets;
    cl_mem q, scores, out, *kv; /* kv: K and V of each set in turn */
    size_t group;               /* of the softmax, a power of two */
};

static fdec_status naive_run(void *self, int set)
{
    struct naive *s = self;
    fdec_status st = FDEC_OK;
    const cl_command_queue queue = s->bench->session.queue;
    const cl_int h = s->p.n_heads, g = s->p.n_kv_heads, d = s->p.head_dim;
    const cl_ulong n = (cl_ulong) s->p.len;
    const size_t rows = (size_t) s->p.batch * (size_t) h;
    const size_t scores[2] = {(size_t) n, rows}, values[2] = {(size_t) d, rows}, softmax = rows * s->group;
    const cl_mem k = s->kv[2 * set], v = s->kv[2 * set + 1];
    const struct {
        int kernel;
        cl_uint index;
        size_t size;
        const void *value;
    } args[] = {
        {NAIVE_SCORES, 1, sizeof k, &k},
        {NAIVE_SCORES, 0, sizeof s->q, &s->q},
        {NAIVE_SCORES, 2, sizeof k, &s->scores},
        {NAIVE_SCORES, 3, sizeof h, &h},
        {NAIVE_SCORES, 4, sizeof g, &g},
        {NAIVE_SCORES, 5, sizeof d, &d},
        {NAIVE_SCORES, 6, sizeof(float), &s->p.scale},
        {NAIVE_SOFTMAX, 0, sizeof k, &s->scores},
        {NAIVE_SOFTMAX, 1, s->group * sizeof(float), NULL},
        {NAIVE_SOFTMAX, 2, sizeof n, &n},
        {NAIVE_VALUES, 0, sizeof k, &s->scores},
        {NAIVE_VALUES, 1, sizeof v, &v},
        {NAIVE_VALUES, 2, sizeof k, &s->out},
        {NAIVE_VALUES, 3, sizeof h, &h},
        {NAIVE_VALUES, 4, sizeof g, &g},
        {NAIVE_VALUES, 5, sizeof n, &n},
    };
    for (size_t i = 0; i < ARRAY_LEN(args); i++)
        try_cl(clSetKernelArg(s->kernels[args[i].kernel], args[i].index, args[i].size, args[i].value));
    try_cl(clEnqueueNDRangeKernel(queue, s->kernels[NAIVE_SCORES], 2, NULL, scores, NULL, 0, NULL, NULL));
    try_cl(clEnqueueNDRangeKernel(queue, s->kernels[NAIVE_SOFTMAX], 1, NULL, &softmax, &s->group, 0, NULL, NULL));
    try_cl(clEnqueueNDRangeKernel(queue, s->kernels[NAIVE_VALUES], 2, NULL, values, NULL, 0, NULL, NULL));
out:
    return st;
}

static void naive_destroy(void *self)
{
    struct naive *s = self;
    for (int i = 0; i < NAIVE_KERNELS; i++)
        if (s->kernels[i])
            clReleaseKernel(s->kernels[i]);
    if (s->program)
        clReleaseProgram(s->program);
    const cl_mem own[] = {s->q, s->scores, s->out};
    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        if (own[i])
            clReleaseMemObject(own[i]);
    for (int i = 0; s->kv && i < 2 * s->n_sets; i++)
        if (s->kv[i])
            clReleaseMemObject(s->kv[i]);
    free(s->kv);
    free(s);
}

static fdec_status naive_build(struct naive *s)
{
    fdec_status st = FDEC_OK;
    const struct session *session = &s->bench->session;
    const char *options = s->p.kv.k.type == FDEC_F16 ? PROGRAM_OPTIONS " -DKV_HALF=1" : PROGRAM_OPTIONS " -DKV_HALF=0";
    cl_int err;
    s->program = clCreateProgramWithSource(session->context, 1, (const char **) &cl_bench_naive.text, NULL, &err);
    try_cl(err);
    try_cl(clBuildProgram(s->program, 1, &session->device, options, NULL, NULL));
    for (int i = 0; i < NAIVE_KERNELS; i++) {
        s->kernels[i] = clCreateKernel(s->program, naive_names[i], &err);
        try_cl(err);
    }
    for (s->group = 1; 2 * s->group <= MIN(session->ctx->device.max_wg, 256);)
        s->group *= 2;
out:
    return st;
}

static fdec_status naive_buffer(struct naive *s, size_t bytes, cl_mem *mem)
{
    fdec_status st = FDEC_OK;
    cl_int err;
    *mem = clCreateBuffer(s->bench->session.context, CL_MEM_READ_WRITE, bytes, NULL, &err);
    try_cl(err);
out:
    return st;
}

static fdec_status naive_fill(struct naive *s)
{
    fdec_status st = FDEC_OK;
    const size_t rows = (size_t) s->p.batch * (size_t) s->p.n_heads, d = (size_t) s->p.head_dim;
    const size_t n_kv = (size_t) s->p.batch * (size_t) s->p.len * (size_t) s->p.n_kv_heads * d;
    const cl_command_queue queue = s->bench->session.queue;
    float *q = NULL;
    try_alloc(s->kv = calloc(2 * (size_t) s->n_sets, sizeof(cl_mem)));
    try_st(naive_buffer(s, rows * d * sizeof(float), &s->q));
    try_st(naive_buffer(s, rows * d * sizeof(float), &s->out));
    try_st(naive_buffer(s, rows * (size_t) s->p.len * sizeof(float), &s->scores));
    for (int i = 0; i < 2 * s->n_sets; i++) {
        const cl_uint seed = i % 2 ? SEED_V : SEED_K;
        try_st(naive_buffer(s, type_bytes(s->p.kv.k.type, n_kv), &s->kv[i]));
        try_cl(clSetKernelArg(s->kernels[NAIVE_FILL_KV], 0, sizeof(cl_mem), &s->kv[i]));
        try_cl(clSetKernelArg(s->kernels[NAIVE_FILL_KV], 1, sizeof seed, &seed));
        try_cl(clEnqueueNDRangeKernel(queue, s->kernels[NAIVE_FILL_KV], 1, NULL, &n_kv, NULL, 0, NULL, NULL));
    }
    try_alloc(q = malloc(rows * d * sizeof *q));
    for (size_t i = 0; i < rows * d; i++)
        q[i] = naive_value(SEED_Q + (unsigned) i);
    try_cl(clEnqueueWriteBuffer(queue, s->q, CL_TRUE, 0, rows * d * sizeof *q, q, 0, NULL, NULL));
out:
    free(q);
    return st;
}

/* One output row in double, against `got`. weight: room for len doubles. The bound: a score, a sum of d products
 * under 1, is off by d * scale * d roundings at most, which e^score turns into a relative error; the weights' sum
 * has n / group + 8 of them; the serial sum over the values has one for each key, of the size of the sum so far. */
static bool naive_row_right(const struct naive *s, size_t row, const float *got, double *weight)
{
    const struct attn_problem *p = &s->p;
    const size_t h = (size_t) p->n_heads, g = (size_t) p->n_kv_heads, d = (size_t) p->head_dim, n = (size_t) p->len;
    const size_t first = (row / h * n * g + row % h / (h / g)) * d; /* of the row's first key */
    double sum = 0;
    for (size_t t = 0; t < n; t++) {
        double dot = 0;
        for (size_t i = 0; i < d; i++)
            dot += (double) naive_value((unsigned) (SEED_Q + row * d + i)) *
                   naive_value((unsigned) (SEED_K + first + t * g * d + i));
        sum += weight[t] = exp(p->scale * dot);
    }
    const double roundings = (double) d * (1 + p->scale * (double) d) + (double) (n / s->group) + 8;
    for (size_t i = 0; i < d; i++) {
        double want = 0, magnitude = 0, largest = 0;
        for (size_t t = 0; t < n; t++) {
            const double term = weight[t] / sum * naive_value((unsigned) (SEED_V + first + t * g * d + i));
            want += term;
            magnitude += fabs(term);
            largest = MAX(largest, fabs(want));
        }
        if (!(fabs(got[i] - want) <= FLT_EPSILON * (roundings * magnitude + (double) n * largest)))
            return false;
    }
    return true;
}

static fdec_status naive_check(struct naive *s)
{
    fdec_status st = FDEC_OK;
    const size_t rows = (size_t) s->p.batch * (size_t) s->p.n_heads, d = (size_t) s->p.head_dim;
    float *out = malloc(rows * d * sizeof *out);
    double *weight = malloc((size_t) s->p.len * sizeof *weight);
    try_alloc(out);
    try_alloc(weight);
    try_st(naive_run(s, 0));
    try_cl(
        clEnqueueReadBuffer(s->bench->session.queue, s->out, CL_TRUE, 0, rows * d * sizeof *out, out, 0, NULL, NULL));
    const size_t sample[] = {0, rows / 2, rows - 1};
    for (size_t i = 0; i < ARRAY_LEN(sample); i++)
        if (!naive_row_right(s, sample[i], out + sample[i] * d, weight)) {
            st = fail(FDEC_E_DEVICE, "wrong result");
            goto out;
        }
out:
    free(out);
    free(weight);
    return st;
}

/* One query token, f32 around a cache of one type, D the same everywhere, every key seen. */
static bool naive_can(const struct attn_problem *p)
{
    return p->q_len == 1 && p->q_type == FDEC_F32 && p->out_type == FDEC_F32 && p->kv.k.type == p->kv.v.type &&
           (p->kv.k.type == FDEC_F32 || p->kv.k.type == FDEC_F16) && p->head_dim == p->v_head_dim &&
           (p->window == 0 || p->window >= p->len);
}

static void naive_add(struct point *pt)
{
    static const char name[] = "naive three-kernel";
    fdec_status st = FDEC_OK;
    struct bench *b = pt->sitting->bench;
    const struct attn_problem *p = &pt->problem.attn;
    struct naive *s = calloc(1, sizeof *s);
    try_alloc(s);
    const double kv_bytes = 2.0 * (double) p->batch * (double) p->len * p->n_kv_heads * p->head_dim;
    *s = (struct naive){.bench = b, .p = *p, .n_sets = bench_sets(b, kv_bytes * (double) type_bytes(p->kv.k.type, 1))};
    try_st(naive_build(s));
    try_st(naive_fill(s));
    try_st(naive_check(s));
    keep(pt,
         &(struct runner){.name = name, .run = naive_run, .destroy = naive_destroy, .self = s, .n_sets = s->n_sets});
    return;
out:
    peer_left_out(pt->sitting, PEER_NAIVE, name, fdec_last_error());
    if (s)
        naive_destroy(s);
}

/* ---- the library without a table ---- */

struct untuned {
    struct point *pt;
    fdec_plan *plan;
};

static fdec_status untuned_run(void *self, int set)
{
    const struct untuned *u = self;
    return point_run(u->pt, u->plan, set);
}

static void untuned_destroy(void *self)
{
    struct untuned *u = self;
    fdec_plan_destroy(&u->plan);
    free(u);
}

void untuned_add(struct point *pt)
{
    static const char name[] = "without table";
    struct sitting *s = pt->sitting;
    const struct want want = {.family = s->want.family, .no_table = true};
    fdec_status st = FDEC_OK;
    struct untuned *u = calloc(1, sizeof *u);
    try_alloc(u);
    u->pt = pt;
    try_st(plan_create_problem(s->bench->session.ctx, &pt->problem, &want, &u->plan));
    if (choice_equal(pt->choice, &plan_pick(u->plan, &pt->problem, &(struct geometry){0})->choice)) {
        untuned_destroy(u);
        return;
    }
    peer_take(
        pt, PEER_UNTUNED,
        &(struct runner){.name = name, .run = untuned_run, .destroy = untuned_destroy, .self = u, .n_sets = s->n_sets});
    return;
out:
    peer_left_out(s, PEER_UNTUNED, name, fdec_last_error());
    if (u)
        untuned_destroy(u);
}

/* ---- all of them ---- */

void peers_add(struct point *pt)
{
    if (pt->problem.op == OP_ATTN && naive_can(&pt->problem.attn))
        naive_add(pt);
#ifdef HAVE_CLBLAST
    if (pt->problem.op == OP_LINEAR)
        clblast_add(pt);
#endif
#ifdef HAVE_OPENBLAS
    if (pt->problem.op == OP_LINEAR)
        openblas_add(pt);
#endif
}

void peers_close(struct sitting *s)
{
    (void) s;
#ifdef HAVE_CLBLAST
    clblast_close(&s->clblast);
#endif
#ifdef HAVE_OPENBLAS
    openblas_close(&s->openblas);
#endif
}
