/* SPDX-License-Identifier: MIT
 * bench_peers.c - what the library is compared with, where it is installed
 *
 *   clblast              linear f32: through the library's own variant that calls it, forced
 *   openblas             linear f32 on CPU devices: cblas_sgemm (cblas_sgemv at M = 1) of libopenblas.so.0
 *   naive three-kernel   attention with one query token: scores, softmax and values through memory, contiguous cache
 *
 * Each is checked before it is timed: the first against the workload's reference, the others, which have operands of
 * their own, against a sample of outputs computed in double. */
#include "bench.h"
#include "bench_naive.h"
#include <dlfcn.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

extern const struct source cl_bench_naive;

static void left_out(const char *name, const char *why)
{
    fprintf(stderr, "flashdec-bench: %s is not timed: %s\n", name, why);
}

/* ---- other libraries, as variants of ours ---- */

struct variant {
    struct workload *workload;
    fdec_plan *plan;
};

static fdec_status variant_run(void *self, int set)
{
    struct variant *v = self;
    return workload_run(v->workload, v->plan, set, NULL);
}

static void variant_destroy(void *self)
{
    struct variant *v = self;
    fdec_plan_destroy(&v->plan);
    free(v);
}

static bool is_peer(const struct kernel *k, const struct problem *p, const struct device *d)
{
    int cfg[MAX_PARAMS] = {0};
    if (k->op != p->op || !k->host_run)
        return false;
    k->expect(p, d, cfg);
    return !k->reject(p, d, cfg);
}

static bool variant_open(struct bench *b, const struct problem *p, const struct kernel *k, struct workload *w,
                         int n_sets, struct runner *out)
{
    fdec_status st = FDEC_OK;
    const char *name = strchr(k->name, '/') + 1;
    int cfg[MAX_PARAMS] = {0};
    char why[512] = "";
    double ratio;
    struct variant *v = calloc(1, sizeof *v);
    try_alloc(v);
    v->workload = w;
    k->expect(p, &b->session.ctx->device, cfg);
    try_st(plan_create_problem(b->session.ctx, p, &(struct want){.kernel = k, .cfg = cfg}, &v->plan));
    try_st(workload_poison(w));
    try_st(variant_run(v, 0));
    try_cl(clFinish(b->session.queue));
    if (!workload_check(w, &ratio, why, sizeof why)) {
        st = fail(FDEC_E_DEVICE, "wrong result: %s", why);
        goto out;
    }
    *out = (struct runner){.name = name, .run = variant_run, .destroy = variant_destroy, .self = v, .n_sets = n_sets};
    return true;
out:
    left_out(name, fdec_last_error());
    if (v)
        variant_destroy(v);
    return false;
}

/* ---- OpenBLAS ---- */

enum { CBLAS_ROW_MAJOR = 101, CBLAS_NO_TRANS = 111, CBLAS_TRANS = 112 };
typedef void sgemm_fn(int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float *a, int lda,
                      const float *b, int ldb, float beta, float *c, int ldc);
typedef void sgemv_fn(int order, int trans, int m, int n, float alpha, const float *a, int lda, const float *x,
                      int incx, float beta, float *y, int incy);

struct blas {
    void *library;
    sgemm_fn *sgemm;
    sgemv_fn *sgemv;
    int m, n, k;
    float *x, *w, *y; /* [M, K], n_sets of [N, K], [M, N] */
};

static fdec_status blas_run(void *self, int set)
{
    const struct blas *s = self;
    const float *w = s->w + (size_t) set * (size_t) s->n * (size_t) s->k;
    if (s->m == 1)
        s->sgemv(CBLAS_ROW_MAJOR, CBLAS_NO_TRANS, s->n, s->k, 1, w, s->k, s->x, 1, 0, s->y, 1);
    else
        s->sgemm(CBLAS_ROW_MAJOR, CBLAS_NO_TRANS, CBLAS_TRANS, s->m, s->n, s->k, 1, s->x, s->k, w, s->k, 0, s->y, s->n);
    return FDEC_OK;
}

static void blas_destroy(void *self)
{
    struct blas *s = self;
    free(s->x);
    free(s->w);
    free(s->y);
    free(s); /* the library stays loaded: its threads live in it */
}

static bool blas_right(const struct blas *s)
{
    for (int i = 0; i < 64; i++) {
        const size_t row = (size_t) (i % s->m), col = (size_t) i * 7919 % (size_t) s->n, k = (size_t) s->k;
        double want = 0, magnitude = 0;
        for (size_t j = 0; j < k; j++) {
            const double term = (double) s->x[row * k + j] * s->w[col * k + j];
            want += term;
            magnitude += fabs(term);
        }
        if (!(fabs(s->y[row * (size_t) s->n + col] - want) <=
              FLT_EPSILON * s->k * magnitude)) /* K sums, in any order */
            return false;
    }
    return true;
}

static float *random_floats(size_t n)
{
    float *x = malloc(n * sizeof *x);
    for (size_t i = 0; x && i < n; i++)
        x[i] = naive_value((unsigned) i);
    return x;
}

/* Its threads must sleep after a call, or they would spin through the next sample of something else. */
static bool blas_load(struct blas *s)
{
    setenv("OPENBLAS_THREAD_TIMEOUT", "4", 0);
    s->library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!s->library)
        return false;
    *(void **) &s->sgemm = dlsym(s->library, "cblas_sgemm");
    *(void **) &s->sgemv = dlsym(s->library, "cblas_sgemv");
    return s->sgemm && s->sgemv;
}

static bool blas_open(const struct linear_problem *p, int n_sets, struct runner *out)
{
    const size_t m = (size_t) p->m, n = (size_t) p->n, k = (size_t) p->k;
    struct blas *s = calloc(1, sizeof *s);
    if (!s || !blas_load(s)) {
        free(s);
        return false;
    }
    s->m = (int) m;
    s->n = (int) n;
    s->k = (int) k;
    s->x = random_floats(m * k);
    s->w = random_floats((size_t) n_sets * n * k);
    s->y = calloc(m * n, sizeof *s->y);
    if (s->x && s->w && s->y) {
        blas_run(s, 0);
        if (blas_right(s)) {
            *out = (struct runner){
                .name = "openblas", .run = blas_run, .destroy = blas_destroy, .self = s, .n_sets = n_sets};
            return true;
        }
        left_out("openblas", "wrong result");
    } else {
        left_out("openblas", "out of memory");
    }
    blas_destroy(s);
    return false;
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

static bool naive_open(struct bench *b, const struct attn_problem *p, struct runner *out)
{
    static const char name[] = "naive three-kernel";
    fdec_status st = FDEC_OK;
    struct naive *s = calloc(1, sizeof *s);
    try_alloc(s);
    const double kv_bytes = 2.0 * (double) p->batch * (double) p->len * p->n_kv_heads * p->head_dim;
    *s = (struct naive){.bench = b, .p = *p, .n_sets = bench_sets(b, kv_bytes * (double) type_bytes(p->kv.k.type, 1))};
    try_st(naive_build(s));
    try_st(naive_fill(s));
    try_st(naive_check(s));
    *out = (struct runner){.name = name, .run = naive_run, .destroy = naive_destroy, .self = s, .n_sets = s->n_sets};
    return true;
out:
    left_out(name, fdec_last_error());
    if (s)
        naive_destroy(s);
    return false;
}

/* ---- all of them ---- */

int peers_open(struct bench *b, const struct problem *p, const struct kernel *chosen, struct workload *w, int n_sets,
               struct runner peers[MAX_PEERS])
{
    const bool cpu = b->session.ctx->device.type & CL_DEVICE_TYPE_CPU;
    int n = 0;
    for (int i = 0; kernels[i] && n < MAX_PEERS; i++)
        if (is_peer(kernels[i], p, &b->session.ctx->device) && kernels[i] != chosen)
            n += variant_open(b, p, kernels[i], w, n_sets, &peers[n]);
    if (p->op == OP_LINEAR && p->linear.w_type == FDEC_F32 && cpu && n < MAX_PEERS)
        n += blas_open(&p->linear, n_sets, &peers[n]);
    if (p->op == OP_ATTN && n < MAX_PEERS && naive_can(&p->attn))
        n += naive_open(b, &p->attn, &peers[n]);
    return n;
}

void peers_close(struct runner *peers, int n)
{
    for (int i = 0; i < n; i++)
        peers[i].destroy(peers[i].self);
}
