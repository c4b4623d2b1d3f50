/* SPDX-License-Identifier: MIT
 * measure.c - clock, statistics, and what this machine can do at best
 *
 * A roofline is only worth as much as its probes: too low, and every kernel looks good. So each rate is the better
 * of two implementations that share nothing, plain C on all cores (CPU devices only) and the better of two OpenCL
 * kernels, on memory that comes from clCreateBuffer as the operands of kernels do. */
#include "measure.h"
#include "kernel.h"
#include "program.h"
#include "util.h"
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

extern const struct source cl_roof;

enum { MAX_THREADS = 256, N_CHAINS = 12, N_CHAINS_MANY = 4 };

static const double sample_us = 5000; /* long enough to drown a launch and the start of threads */

/* ---- clock and statistics ---- */

double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double) t.tv_sec * 1e6 + (double) t.tv_nsec * 1e-3;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *) a, y = *(const double *) b;
    return (x > y) - (x < y);
}

/* The largest k with P(fewer than k of n samples lie below the median) <= 2.5 %: then the k-th smallest and the k-th
 * largest sample enclose the median with 95 %. 0: n is too small for that (under 6). */
static int interval_rank(int n)
{
    if (n > 1000) /* 2^-n would underflow; the normal law is exact enough here */
        return (int) (0.5 * n - 0.98 * sqrt(n));
    double term = ldexp(1, -n), below = 0; /* term: P(exactly k lie below) */
    int k = 0;
    while (below + term <= 0.025) {
        below += term;
        term *= (double) (n - k) / (k + 1);
        k++;
    }
    return k;
}

struct stats stats_of(double *x, int n)
{
    if (n == 0)
        return (struct stats){0};
    qsort(x, (size_t) n, sizeof *x, compare);
    const int rank = MAX(interval_rank(n), 1); /* too few samples: their whole range */
    return (struct stats){n, 0.5 * (x[(n - 1) / 2] + x[n / 2]), x[rank - 1], x[n - rank]};
}

/* ---- plain C on all cores ---- */

/* Optimised whatever the build type is: a probe of an -O0 build would call the machine slow. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC optimize("O3", "fp-contract=fast")
#endif

typedef float vec4 __attribute__((vector_size(16)));
typedef float vec8 __attribute__((vector_size(32)));
typedef float vec16 __attribute__((vector_size(64)));

/* Not known to the compiler, which drops a chain that it sees to stand still. Values stay near 1: no infinities, no
 * denormals. */
static const volatile float fma_factor = 0.999f, fma_term = 0.001f;

/* Twelve independent chains of n multiply-adds: two units of latency 4 need eight. */
#define FMA_CHAINS(type, n)                                                                                            \
    const float factor = fma_factor, term = fma_term;                                                                  \
    type a[N_CHAINS], sum = {0};                                                                                       \
    for (int j = 0; j < N_CHAINS; j++)                                                                                 \
        a[j] = (type){0} + (float) j;                                                                                  \
    for (uint64_t i = 0; i < (n); i++)                                                                                 \
        for (int j = 0; j < N_CHAINS; j++)                                                                             \
            a[j] = a[j] * factor + term;                                                                               \
    for (int j = 0; j < N_CHAINS; j++)                                                                                 \
        sum += a[j];                                                                                                   \
    return sum[0];

static float fma_base(uint64_t n)
{
    FMA_CHAINS(vec4, n)
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) static float fma_avx2(uint64_t n)
{
    FMA_CHAINS(vec8, n)
}

__attribute__((target("avx512f"))) static float fma_avx512(uint64_t n)
{
    FMA_CHAINS(vec16, n)
}
#endif

/* Sums n vec8, a multiple of 8. Loads of 32 bytes are enough for any memory. */
static inline __attribute__((always_inline)) float sum_stream(const vec8 *x, size_t n, uint64_t passes)
{
    vec8 s[8] = {{0}};
    for (uint64_t pass = 0; pass < passes; pass++)
        for (size_t i = 0; i < n; i += 8)
            for (int j = 0; j < 8; j++)
                s[j] += x[i + (size_t) j];
    for (int j = 1; j < 8; j++)
        s[0] += s[j];
    return s[0][0];
}

static float sum_base(const vec8 *x, size_t n, uint64_t passes)
{
    return sum_stream(x, n, passes);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static float sum_avx2(const vec8 *x, size_t n, uint64_t passes)
{
    return sum_stream(x, n, passes);
}
#endif

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC pop_options
#endif

struct thread {
    pthread_t id;
    const struct host *host;
    const char *data; /* NULL: multiply-add instead of reading */
    size_t bytes;
    uint64_t repeat;
    double begin_us, end_us;
    volatile float sink;
};

struct host {
    int n_threads; /* 0: not a CPU device */
    float (*fma)(uint64_t n);
    float (*sum)(const vec8 *x, size_t n, uint64_t passes);
    int fma_lanes;
};

static struct host host_make(void)
{
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    struct host h = {(int) MIN(MAX(cores, 1), MAX_THREADS), fma_base, sum_base, 4};
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        h.fma = fma_avx2;
        h.sum = sum_avx2;
        h.fma_lanes = 8;
    }
    if (__builtin_cpu_supports("avx512f")) {
        h.fma = fma_avx512;
        h.fma_lanes = 16;
    }
#endif
    return h;
}

static void *thread_main(void *arg)
{
    struct thread *t = arg;
    t->begin_us = now_us();
    t->sink =
        t->data ? t->host->sum((const vec8 *) t->data, t->bytes / sizeof(vec8), t->repeat) : t->host->fma(t->repeat);
    t->end_us = now_us();
    return NULL;
}

/* From the first thread's start to the last one's end, in us; 0 when no thread could be started. Each of them reads
 * its part of data `repeat` times, or with data NULL does `repeat` steps of all chains. */
static double host_time(const struct host *h, const char *data, size_t bytes, uint64_t repeat)
{
    struct thread threads[MAX_THREADS];
    const size_t part = bytes / (size_t) h->n_threads / 256 * 256; /* whole steps of sum_stream */
    double begin = INFINITY, end = 0;
    int n = 0;
    for (; n < h->n_threads; n++) {
        threads[n] =
            (struct thread){.host = h, .data = data ? data + part * (size_t) n : NULL, .bytes = part, .repeat = repeat};
        if (pthread_create(&threads[n].id, NULL, thread_main, &threads[n]))
            break;
    }
    for (int i = 0; i < n; i++) {
        pthread_join(threads[i].id, NULL);
        begin = MIN(begin, threads[i].begin_us);
        end = MAX(end, threads[i].end_us);
    }
    return n == h->n_threads ? end - begin : 0;
}

/* ---- OpenCL ---- */

struct probe {
    cl_kernel kernel;
    size_t global, local; /* powers of two */
    size_t item_bytes;    /* what a work-item reads in one step */
    int item_flops;       /* what it does in one step */
};

enum { READ_CHUNKS, READ_STRIDED, FMA_WIDE, FMA_MANY, NOTHING, N_KERNELS };
static const char *const kernel_names[] = {"read_chunks", "read_strided", "fma_wide", "fma_many", "nothing"};

struct roof {
    cl_command_queue queue;
    cl_program program;
    cl_kernel kernels[N_KERNELS];
    struct probe read, fma; /* the better one of each two */
    cl_mem data, sink;
    size_t bytes; /* of data, a power of two */
    size_t reported_cache_bytes;
    struct host host;
    const char *mapped; /* data as plain C sees it; mapped for reading all the time, which kernels may do meanwhile */
    uint32_t passes, fma_steps; /* so that a sample of a kernel lasts sample_us */
    uint64_t host_passes, host_fma_steps;
};

static fdec_status time_launch(struct roof *r, const struct probe *p, size_t global, double *us)
{
    fdec_status st = FDEC_OK;
    try_cl(clFinish(r->queue));
    const double begin = now_us();
    try_cl(clEnqueueNDRangeKernel(r->queue, p->kernel, 1, NULL, &global, &p->local, 0, NULL, NULL));
    try_cl(clFinish(r->queue));
    *us = MAX(now_us() - begin, 0.01);
out:
    return st;
}

/* bytes: 2^i or 3 * 2^i, so that halving the number of work-items makes it divide. */
static fdec_status time_read(struct roof *r, const struct probe *p, size_t bytes, uint32_t passes, double *us)
{
    fdec_status st = FDEC_OK;
    const cl_ulong n = bytes / 64; /* float16s */
    size_t global = p->global;
    while (bytes % (global * p->item_bytes))
        global /= 2;
    try_cl(clSetKernelArg(p->kernel, 0, sizeof r->data, &r->data));
    try_cl(clSetKernelArg(p->kernel, 1, sizeof r->sink, &r->sink));
    try_cl(clSetKernelArg(p->kernel, 2, sizeof n, &n));
    try_cl(clSetKernelArg(p->kernel, 3, sizeof passes, &passes));
    st = time_launch(r, p, global, us);
out:
    return st;
}

static fdec_status time_fma(struct roof *r, const struct probe *p, uint32_t steps, double *us)
{
    fdec_status st = FDEC_OK;
    const float factor = fma_factor, term = fma_term;
    try_cl(clSetKernelArg(p->kernel, 0, sizeof r->sink, &r->sink));
    try_cl(clSetKernelArg(p->kernel, 1, sizeof steps, &steps));
    try_cl(clSetKernelArg(p->kernel, 2, sizeof factor, &factor));
    try_cl(clSetKernelArg(p->kernel, 3, sizeof term, &term));
    st = time_launch(r, p, p->global, us);
out:
    return st;
}

/* Time to read `bytes`. A probe made for other hardware can be a thousand times too slow: that is seen on a small
 * part. The first launch compiles and does not count. */
static fdec_status trial_read(struct roof *r, const struct probe *p, size_t bytes, double *us)
{
    fdec_status st = FDEC_OK;
    const size_t part = MIN((size_t) 4 << 20, bytes);
    try_st(time_read(r, p, part, 1, us));
    try_st(time_read(r, p, part, 1, us));
    if (*us > 1e5) {
        *us *= (double) bytes / (double) part;
        goto out;
    }
    double second;
    try_st(time_read(r, p, bytes, 1, us));
    try_st(time_read(r, p, bytes, 1, &second));
    *us = MIN(*us, second);
out:
    return st;
}

/* Doubles *steps until a launch lasts sample_us. */
static fdec_status trial_fma(struct roof *r, const struct probe *p, uint32_t *steps, double *gflops)
{
    fdec_status st = FDEC_OK;
    double us = 0;
    *steps = 64;
    try_st(time_fma(r, p, *steps, &us));
    for (;; *steps *= 2) {
        try_st(time_fma(r, p, *steps, &us));
        if (us >= sample_us || *steps >= 1u << 30)
            break;
    }
    *gflops = (double) p->global * p->item_flops * *steps / us * 1e-3;
out:
    return st;
}

static fdec_status choose_probes(struct roof *r, const struct probe read[2], const struct probe fma[2])
{
    fdec_status st = FDEC_OK;
    double us[2], gflops[2];
    uint32_t steps[2];
    for (int i = 0; i < 2; i++) {
        try_st(trial_read(r, &read[i], MIN(r->bytes, (size_t) 64 << 20), &us[i]));
        try_st(trial_fma(r, &fma[i], &steps[i], &gflops[i]));
    }
    r->read = read[us[1] < us[0]];
    const int best = gflops[1] > gflops[0];
    r->fma = fma[best];
    r->fma_steps = steps[best];
    try_st(time_read(r, &r->read, r->bytes, 1, &us[0]));
    r->passes = (uint32_t) ceil(sample_us / us[0]);
out:
    return st;
}

static fdec_status create_probes(struct roof *r, cl_context context, cl_device_id device)
{
    fdec_status st = FDEC_OK;
    cl_uint units = 1;
    size_t max_group = 1, group = 1, many = 1;
    cl_int err;
    try_cl(clGetDeviceInfo(device, CL_DEVICE_MAX_COMPUTE_UNITS, sizeof units, &units, NULL));
    try_cl(clGetDeviceInfo(device, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof max_group, &max_group, NULL));
    while (2 * group <= MIN(max_group, 256))
        group *= 2;
    while (many < 16 * (size_t) units * group) /* 16 groups for each unit */
        many *= 2;
    const struct probe chunks = {.global = 64, .local = 1, .item_bytes = 8 * 64, .item_flops = N_CHAINS * 16 * 2};
    const struct probe items = {.global = many, .local = group, .item_bytes = 64, .item_flops = N_CHAINS_MANY * 4 * 2};
    struct probe probes[] = {chunks, items, chunks, items};
    for (int i = 0; i < N_KERNELS; i++) {
        r->kernels[i] = clCreateKernel(r->program, kernel_names[i], &err);
        try_cl(err);
        if (i < NOTHING)
            probes[i].kernel = r->kernels[i];
    }
    r->sink = clCreateBuffer(context, CL_MEM_READ_WRITE, MAX(many, 64) * sizeof(float), NULL, &err);
    try_cl(err);
    st = choose_probes(r, &probes[READ_CHUNKS], &probes[FMA_WIDE]);
out:
    return st;
}

/* Memory that was never written may be one shared page of zeros: it is filled. */
static fdec_status create_data(struct roof *r, cl_context context, cl_device_id device)
{
    fdec_status st = FDEC_OK;
    const float pattern[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
    cl_ulong max_alloc = 0, cache = 0;
    cl_device_type type = 0;
    cl_int err;
    try_cl(clGetDeviceInfo(device, CL_DEVICE_TYPE, sizeof type, &type, NULL));
    try_cl(clGetDeviceInfo(device, CL_DEVICE_MAX_MEM_ALLOC_SIZE, sizeof max_alloc, &max_alloc, NULL));
    try_cl(clGetDeviceInfo(device, CL_DEVICE_GLOBAL_MEM_CACHE_SIZE, sizeof cache, &cache, NULL));
    r->reported_cache_bytes = (size_t) cache;
    r->bytes = (size_t) 512 << 20; /* far out of any cache */
    while (r->bytes > max_alloc / 2)
        r->bytes /= 2;
    r->data = clCreateBuffer(context, CL_MEM_READ_WRITE, r->bytes, NULL, &err);
    try_cl(err);
    try_cl(clEnqueueFillBuffer(r->queue, r->data, pattern, sizeof pattern, 0, r->bytes, 0, NULL, NULL));
    try_cl(clFinish(r->queue));
    if (type & CL_DEVICE_TYPE_CPU) {
        r->host = host_make();
        r->mapped = clEnqueueMapBuffer(r->queue, r->data, CL_TRUE, CL_MAP_READ, 0, r->bytes, 0, NULL, NULL, &err);
        try_cl(err);
    }
out:
    return st;
}

static void calibrate_host(struct roof *r)
{
    double us = host_time(&r->host, r->mapped, r->bytes, 1);
    r->host_passes = us > 0 ? (uint64_t) ceil(sample_us / us) : 1;
    for (r->host_fma_steps = 1024; r->host_fma_steps < 1u << 30; r->host_fma_steps *= 2)
        if (host_time(&r->host, NULL, 0, r->host_fma_steps) >= sample_us)
            break;
}

fdec_status roof_create(cl_context context, cl_device_id device, cl_command_queue queue, struct roof **out)
{
    fdec_status st = FDEC_OK;
    cl_int err;
    *out = NULL;
    struct roof *r = calloc(1, sizeof *r);
    try_alloc(r);
    try_cl(clRetainCommandQueue(queue));
    r->queue = queue;
    r->program = clCreateProgramWithSource(context, 1, (const char **) &cl_roof.text, NULL, &err);
    try_cl(err);
    try_cl(clBuildProgram(r->program, 1, &device, PROGRAM_OPTIONS, NULL, NULL));
    try_st(create_data(r, context, device));
    try_st(create_probes(r, context, device));
    if (r->mapped)
        calibrate_host(r);
    *out = r;
    r = NULL;
out:
    roof_destroy(&r);
    return st;
}

void roof_destroy(struct roof **roof)
{
    struct roof *r = *roof;
    if (!r)
        return;
    if (r->mapped)
        clEnqueueUnmapMemObject(r->queue, r->data, (void *) r->mapped, 0, NULL, NULL);
    if (r->queue)
        clFinish(r->queue);
    for (int i = 0; i < N_KERNELS; i++)
        if (r->kernels[i])
            clReleaseKernel(r->kernels[i]);
    if (r->program)
        clReleaseProgram(r->program);
    if (r->data)
        clReleaseMemObject(r->data);
    if (r->sink)
        clReleaseMemObject(r->sink);
    if (r->queue)
        clReleaseCommandQueue(r->queue);
    free(r);
    *roof = NULL;
}

fdec_status roof_read_gbps(struct roof *r, double *gbps)
{
    fdec_status st = FDEC_OK;
    double us;
    try_st(time_read(r, &r->read, r->bytes, r->passes, &us));
    *gbps = (double) r->bytes * r->passes / us * 1e-3;
    if (r->mapped && (us = host_time(&r->host, r->mapped, r->bytes, r->host_passes)) > 0)
        *gbps = MAX(*gbps, (double) r->bytes * (double) r->host_passes / us * 1e-3);
out:
    return st;
}

fdec_status roof_fma_gflops(struct roof *r, double *gflops)
{
    fdec_status st = FDEC_OK;
    double us;
    try_st(time_fma(r, &r->fma, r->fma_steps, &us));
    *gflops = (double) r->fma.global * r->fma.item_flops * r->fma_steps / us * 1e-3;
    if (r->mapped && (us = host_time(&r->host, NULL, 0, r->host_fma_steps)) > 0) {
        const double step_flops = 2.0 * N_CHAINS * r->host.fma_lanes * r->host.n_threads;
        *gflops = MAX(*gflops, step_flops * (double) r->host_fma_steps / us * 1e-3);
    }
out:
    return st;
}

fdec_status roof_launch_us(struct roof *r, double *us)
{
    enum { WARM = 16, TIMED = 512 };
    fdec_status st = FDEC_OK;
    const size_t one = 1;
    double begin = 0;
    try_cl(clSetKernelArg(r->kernels[NOTHING], 0, sizeof r->sink, &r->sink));
    for (int i = -WARM; i < TIMED; i++) {
        if (i == 0) {
            try_cl(clFinish(r->queue));
            begin = now_us();
        }
        try_cl(clEnqueueNDRangeKernel(r->queue, r->kernels[NOTHING], 1, NULL, &one, &one, 0, NULL, NULL));
    }
    try_cl(clFinish(r->queue));
    *us = (now_us() - begin) / TIMED;
out:
    return st;
}

/* us to read the first `bytes` once, out of many passes. */
static fdec_status time_resident(struct roof *r, size_t bytes, double *us)
{
    fdec_status st = FDEC_OK;
    const uint64_t passes = MAX(r->bytes / bytes / 4, 1);
    if (r->mapped)
        *us = host_time(&r->host, r->mapped, bytes, passes);
    else
        try_st(time_read(r, &r->read, bytes, (uint32_t) passes, us));
    *us /= (double) passes;
out:
    return st;
}

/* Is reading `bytes` again and again clearly faster than reading all of data? Each sample stands beside one of the
 * latter: memory of a shared machine changes its pace from second to second. */
static fdec_status is_cached(struct roof *r, size_t bytes, bool *cached)
{
    enum { PAIRS = 7 };
    fdec_status st = FDEC_OK;
    double ratio[PAIRS];
    for (int i = 0; i < PAIRS; i++) {
        double part = 0, all = 0;
        try_st(time_resident(r, r->bytes, &all));
        try_st(time_resident(r, bytes, &part));
        ratio[i] = part > 0 ? all / part * ((double) bytes / (double) r->bytes) : 1;
    }
    stats_of(ratio, PAIRS);   /* sorts */
    *cached = ratio[1] > 1.3; /* in all pairs but one */
out:
    return st;
}

fdec_status roof_cache_bytes(struct roof *r, size_t *bytes)
{
    fdec_status st = FDEC_OK;
    *bytes = r->reported_cache_bytes; /* too many bytes do no harm: neighbours can shrink what the sweep sees */
    for (size_t size = r->bytes / 2; size >= (size_t) 1 << 20; size /= 2)
        for (int i = 0; i < 2; i++) { /* 3/4 and 1/2 of what was not cached */
            bool cached = false;
            try_st(is_cached(r, i ? size : size / 2 * 3, &cached));
            if (cached) {
                *bytes = MAX(*bytes, i ? size / 2 * 3 : size * 2); /* it ends somewhere below this */
                goto out;
            }
        }
out:
    return st;
}
