/* SPDX-License-Identifier: MIT
 * bench_openblas.c - OpenBLAS beside the library, on CPU devices: cblas_sgemv at M = 1, else cblas_sgemm
 *
 * It reads the workload's x and W where they lie, mapped, and takes the better of one thread and as many as there are
 * cores. Loaded when it is first wanted, not linked: its threads must be told before they start to sleep when there is
 * nothing to do, or they would spin through the next sample of something else. */
#include "bench.h"
#include "linear.h"
#include <cblas.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static const char name[] = "openblas";

static struct {
    bool tried;
    __typeof__(&cblas_sgemm) sgemm;
    __typeof__(&cblas_sgemv) sgemv;
    __typeof__(&openblas_set_num_threads) set_num_threads;
} blas;

struct openblas {
    cl_command_queue queue;
    int n_sets;
    struct set {
        cl_mem mem[2];
        const float *x, *w; /* [M, K], [N, K] */
    } * sets;
    float *y; /* [M, N] of the largest M */
};

struct call {
    struct sitting *sitting;
    int m, n, k, n_threads;
};

static bool load(void)
{
    void *library = NULL;
    if (!blas.tried) {
        setenv("OPENBLAS_THREAD_TIMEOUT", "4", 0);
        library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL); /* stays: its threads live in it */
    }
    blas.tried = true;
    if (library) {
        *(void **) &blas.sgemm = dlsym(library, "cblas_sgemm");
        *(void **) &blas.sgemv = dlsym(library, "cblas_sgemv");
        *(void **) &blas.set_num_threads = dlsym(library, "openblas_set_num_threads");
    }
    return blas.sgemm && blas.sgemv && blas.set_num_threads;
}

/* ---- operands ---- */

static fdec_status map(struct sitting *s, int set, int operand, const float **at)
{
    fdec_status st = FDEC_OK;
    const fdec_buffer b = workload_operand(s->workload, set, operand);
    size_t bytes = 0;
    cl_int err;
    try_cl(clGetMemObjectInfo(b.mem, CL_MEM_SIZE, sizeof bytes, &bytes, NULL));
    const char *all =
        clEnqueueMapBuffer(s->bench->session.queue, b.mem, CL_TRUE, CL_MAP_READ, 0, bytes, 0, NULL, NULL, &err);
    try_made(err, "clEnqueueMapBuffer");
    *at = (const float *) (all + b.offset_bytes);
    s->openblas->sets[set].mem[operand == LINEAR_W] = b.mem;
out:
    return st;
}

static fdec_status map_all(struct sitting *s)
{
    fdec_status st = FDEC_OK;
    const struct linear_problem *p = &s->points[s->n_points - 1].problem.linear;
    struct openblas *o = calloc(1, sizeof *o);
    try_alloc(s->openblas = o);
    o->queue = s->bench->session.queue;
    try_alloc(o->sets = calloc((size_t) s->n_sets, sizeof *o->sets));
    o->n_sets = s->n_sets;
    try_alloc(o->y = malloc((size_t) p->m * (size_t) p->n * sizeof *o->y));
    for (int set = 0; set < s->n_sets; set++) {
        try_st(map(s, set, LINEAR_X, &o->sets[set].x));
        try_st(map(s, set, LINEAR_W, &o->sets[set].w));
    }
out:
    if (st)
        openblas_close(&s->openblas);
    return st;
}

void openblas_close(struct openblas **openblas)
{
    struct openblas *o = *openblas;
    if (!o)
        return;
    for (int set = 0; set < o->n_sets; set++) {
        const float *const mapped[2] = {o->sets[set].x, o->sets[set].w};
        for (int i = 0; i < 2; i++)
            if (o->sets[set].mem[i])
                clEnqueueUnmapMemObject(o->queue, o->sets[set].mem[i], (void *) mapped[i], 0, NULL, NULL);
    }
    clFinish(o->queue);
    free(o->sets);
    free(o->y);
    free(o);
    *openblas = NULL;
}

/* ---- at one point ---- */

static fdec_status call_run(void *self, int set)
{
    const struct call *c = self;
    const struct openblas *o = c->sitting->openblas;
    const float *x = o->sets[set].x, *w = o->sets[set].w;
    blas.set_num_threads(c->n_threads);
    if (c->m == 1)
        blas.sgemv(CblasRowMajor, CblasNoTrans, c->n, c->k, 1, w, c->k, x, 1, 0, o->y, 1);
    else
        blas.sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, c->m, c->n, c->k, 1, x, c->k, w, c->k, 0, o->y, c->n);
    return FDEC_OK;
}

static fdec_status call_deliver(void *self)
{
    fdec_status st = FDEC_OK;
    const struct call *c = self;
    const fdec_buffer y = workload_operand(c->sitting->workload, 0, LINEAR_Y);
    const size_t bytes = (size_t) c->m * (size_t) c->n * sizeof(float);
    try_cl(clEnqueueWriteBuffer(c->sitting->openblas->queue, y.mem, CL_TRUE, y.offset_bytes, bytes,
                                c->sitting->openblas->y, 0, NULL, NULL));
out:
    return st;
}

static void call_destroy(void *self)
{
    free(self);
}

/* Small problems are faster on one thread: the best of three runs of each decides. */
static void choose_threads(struct call *c)
{
    const int counts[] = {1, (int) MAX(sysconf(_SC_NPROCESSORS_ONLN), 1)};
    double best_us = 0;
    int best = 1;
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        c->n_threads = counts[i];
        call_run(c, 0);
        for (int run = 0; run < 3; run++) {
            const double begin = now_us();
            call_run(c, run % c->sitting->n_sets);
            const double us = now_us() - begin;
            if (best_us == 0 || us < best_us) {
                best_us = us;
                best = counts[i];
            }
        }
    }
    c->n_threads = best;
}

void openblas_add(struct point *pt)
{
    fdec_status st = FDEC_OK;
    struct sitting *s = pt->sitting;
    const struct linear_problem *p = &pt->problem.linear;
    struct call *c = NULL;
    if (p->w_type != FDEC_F32 || !linear_is_plain(p) || !(s->bench->session.ctx->device.type & CL_DEVICE_TYPE_CPU) ||
        s->left_out & 1u << PEER_OPENBLAS || !load())
        return;
    if (!s->openblas)
        try_st(map_all(s));
    try_alloc(c = calloc(1, sizeof *c));
    *c = (struct call){s, (int) p->m, (int) p->n, (int) p->k, 1};
    choose_threads(c);
    peer_take(pt, PEER_OPENBLAS,
              &(struct runner){.name = name,
                               .run = call_run,
                               .deliver = call_deliver,
                               .destroy = call_destroy,
                               .self = c,
                               .n_sets = s->n_sets});
    return;
out:
    peer_left_out(s, PEER_OPENBLAS, name, fdec_last_error());
}
