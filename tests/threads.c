/* SPDX-License-Identifier: MIT
 * threads.c - many threads, one plan; two contexts at once; wait lists on an out-of-order queue
 *
 * Only the public header. Every thread has inputs of its own, whose results a single thread has computed before: what
 * a run gives among others must be the same bits. Exit 77 without a device. */
#define _GNU_SOURCE
#include <flashdec.h>
#include <dirent.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N_THREADS = 8, ROUNDS = 50, BURST = 16 };
enum { B = 2, H = 4, G = 2, D = 16, T = 48 }; /* attention */
enum { M = 3, N = 32, K = 32 };               /* linear, square so that its result can be its input */
enum { MAX_FLOATS = B * T * G * D };

static cl_device_id device;
static int n_passed, n_failed; /* counted by the main thread alone */

static void verdict(const char *what, bool ok, const char *why)
{
    ok ? n_passed++ : n_failed++;
    if (!ok)
        printf("FAIL %s: %s\n", what, why);
}

/* ---- two operations with data ---- */

/* What one thread owns. */
struct job {
    cl_command_queue queue;
    fdec_plan *attn, *linear; /* shared */
    fdec_attn_args a;
    fdec_linear_args l;
    float want_attn[B * H * D], want_linear[M * N];
    int n_ok, n_busy;
    char text[300]; /* what went wrong, "" for nothing */
};

static bool wrong(struct job *j, const char *what)
{
    if (!*j->text)
        snprintf(j->text, sizeof j->text, "%.90s: %.200s", what, fdec_last_error());
    return false;
}

static fdec_buffer filled(cl_context context, size_t n, unsigned seed)
{
    float x[MAX_FLOATS];
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = (float) (seed >> 8) / (1 << 23) - 1;
    }
    const cl_mem_flags flags = CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR;
    return (fdec_buffer){clCreateBuffer(context, flags, n * sizeof *x, x, NULL), 0};
}

static fdec_buffer empty(cl_context context, size_t bytes)
{
    return (fdec_buffer){clCreateBuffer(context, CL_MEM_READ_WRITE, bytes + 1, NULL, NULL), 0};
}

static fdec_status make_plans(fdec_ctx *ctx, uint32_t max_concurrent, fdec_plan **attn, fdec_plan **linear)
{
    fdec_attn_params a = FDEC_ATTN_PARAMS_INIT;
    fdec_linear_params l = FDEC_LINEAR_PARAMS_INIT;
    a.max_batch = B, a.max_len = T, a.n_heads = H, a.n_kv_heads = G, a.head_dim = D;
    l.max_m = M, l.n = N, l.k = K;
    a.max_concurrent = l.max_concurrent = max_concurrent;
    const fdec_status st = fdec_attn_plan_create(ctx, &a, attn);
    return st == FDEC_OK ? fdec_linear_plan_create(ctx, &l, linear) : st;
}

static bool make_job(struct job *j, cl_context context, fdec_plan *attn, fdec_plan *linear, unsigned seed)
{
    const cl_int lens[B] = {T, (cl_int) (seed % T)};
    *j = (struct job){.attn = attn, .linear = linear, .a = FDEC_ATTN_ARGS_INIT, .l = FDEC_LINEAR_ARGS_INIT};
    j->queue = clCreateCommandQueue(context, device, 0, NULL);
    j->a.q = filled(context, B * H * D, seed);
    j->a.k = filled(context, B * T * G * D, seed + 1);
    j->a.v = filled(context, B * T * G * D, seed + 2);
    j->a.lens.mem = clCreateBuffer(context, CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR, sizeof lens, (void *) lens, NULL);
    j->a.out = empty(context, sizeof j->want_attn);
    j->a.workspace = empty(context, fdec_plan_workspace_bytes(attn));
    j->l.x = filled(context, M * K, seed + 3);
    j->l.w = filled(context, N * K, seed + 4);
    j->l.residual = filled(context, M * N, seed + 5);
    j->l.y = empty(context, sizeof j->want_linear);
    j->l.workspace = empty(context, fdec_plan_workspace_bytes(linear));
    return j->queue && j->a.q.mem && j->a.k.mem && j->a.v.mem && j->a.lens.mem && j->a.out.mem && j->a.workspace.mem &&
           j->l.x.mem && j->l.w.mem && j->l.residual.mem && j->l.y.mem && j->l.workspace.mem;
}

static void end_job(struct job *j)
{
    const fdec_buffer all[] = {j->a.q, j->a.k, j->a.v, j->a.lens,     j->a.out,      j->a.workspace,
                               j->l.x, j->l.w, j->l.y, j->l.residual, j->l.workspace};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].mem)
            clReleaseMemObject(all[i].mem);
    if (j->queue)
        clReleaseCommandQueue(j->queue);
    *j = (struct job){0};
}

static const char poison_byte = 0x5a;

static bool poison(struct job *j, const fdec_buffer *b, size_t bytes)
{
    return !clEnqueueFillBuffer(j->queue, b->mem, &poison_byte, 1, 0, bytes, 0, NULL, NULL);
}

/* The buffer holds these bits; want NULL: it is still poisoned. */
static bool holds(struct job *j, const fdec_buffer *b, const void *want, size_t bytes)
{
    char got[sizeof j->want_attn > sizeof j->want_linear ? sizeof j->want_attn : sizeof j->want_linear];
    if (clEnqueueReadBuffer(j->queue, b->mem, CL_TRUE, 0, bytes, got, 0, NULL, NULL))
        return false;
    bool same = true;
    for (size_t i = 0; i < bytes; i++)
        same &= got[i] == (want ? ((const char *) want)[i] : poison_byte);
    return same;
}

/* What a single thread gets: the truth for all others. */
static bool compute_alone(struct job *j)
{
    if (fdec_attn_run(j->attn, j->queue, &j->a, 0, NULL, NULL) ||
        fdec_linear_run(j->linear, j->queue, &j->l, 0, NULL, NULL))
        return wrong(j, "alone");
    const size_t a = sizeof j->want_attn, l = sizeof j->want_linear;
    return !clEnqueueReadBuffer(j->queue, j->a.out.mem, CL_TRUE, 0, a, j->want_attn, 0, NULL, NULL) &&
           !clEnqueueReadBuffer(j->queue, j->l.y.mem, CL_TRUE, 0, l, j->want_linear, 0, NULL, NULL);
}

/* ---- many threads ---- */

static pthread_barrier_t together;

static void join_all(const char *what, struct job *jobs, int n, void *(*work)(void *) )
{
    pthread_t ids[N_THREADS];
    pthread_barrier_init(&together, NULL, (unsigned) n);
    for (int i = 0; i < n; i++)
        if (pthread_create(&ids[i], NULL, work, &jobs[i])) {
            verdict(what, false, "pthread_create");
            exit(1); /* the others wait at the barrier */
        }
    for (int i = 0; i < n; i++) {
        pthread_join(ids[i], NULL);
        verdict(what, !*jobs[i].text, jobs[i].text);
    }
    pthread_barrier_destroy(&together);
}

static bool run_both(struct job *j)
{
    const size_t a = sizeof j->want_attn, l = sizeof j->want_linear;
    if (!poison(j, &j->a.out, a) || !poison(j, &j->l.y, l))
        return wrong(j, "poison");
    if (fdec_attn_run(j->attn, j->queue, &j->a, 0, NULL, NULL))
        return wrong(j, "attention");
    if (fdec_linear_run(j->linear, j->queue, &j->l, 0, NULL, NULL))
        return wrong(j, "linear");
    if (!holds(j, &j->a.out, j->want_attn, a))
        return wrong(j, "attention: other bits");
    if (!holds(j, &j->l.y, j->want_linear, l))
        return wrong(j, "linear: other bits");
    return true;
}

static void *run_rounds(void *job)
{
    pthread_barrier_wait(&together);
    for (int i = 0; i < ROUNDS && run_both(job); i++)
        ;
    return NULL;
}

/* The plan serves one at a time: each run is done right, or refused and changes nothing. */
static bool run_or_busy(struct job *j)
{
    const size_t n = sizeof j->want_linear;
    int n_ok = 0;
    if (!poison(j, &j->l.y, n))
        return wrong(j, "poison");
    for (int i = 0; i < BURST; i++) {
        cl_event event = NULL;
        const fdec_status st = fdec_linear_run(j->linear, j->queue, &j->l, 0, NULL, &event);
        if (st != FDEC_OK && st != FDEC_E_MEMORY)
            return wrong(j, "neither done nor busy");
        if (!event != (st != FDEC_OK))
            return wrong(j, "event");
        if (event)
            clReleaseEvent(event);
        n_ok += st == FDEC_OK;
    }
    j->n_ok += n_ok;
    j->n_busy += BURST - n_ok;
    return holds(j, &j->l.y, n_ok ? j->want_linear : NULL, n) || wrong(j, n_ok ? "other bits" : "written");
}

static void *run_busy_rounds(void *job)
{
    pthread_barrier_wait(&together);
    for (int i = 0; i < ROUNDS && run_or_busy(job); i++)
        ;
    return NULL;
}

static void check_one_plan(cl_context context, fdec_ctx *ctx, uint32_t max_concurrent)
{
    const char *what = max_concurrent == 1 ? "a plan for one run at a time" : "one plan in many threads";
    static struct job jobs[N_THREADS];
    fdec_plan *attn = NULL, *linear = NULL;
    bool ready = make_plans(ctx, max_concurrent, &attn, &linear) == FDEC_OK;
    for (int i = 0; i < N_THREADS && ready; i++)
        ready = make_job(&jobs[i], context, attn, linear, 100u * (unsigned) i + 7) && compute_alone(&jobs[i]);
    verdict(what, ready, fdec_last_error());
    if (ready)
        join_all(what, jobs, N_THREADS, max_concurrent == 1 ? run_busy_rounds : run_rounds);
    int n_ok = 0, n_busy = 0;
    for (int i = 0; i < N_THREADS; i++) {
        n_ok += jobs[i].n_ok;
        n_busy += jobs[i].n_busy;
        end_job(&jobs[i]);
    }
    if (max_concurrent == 1) {
        printf("%s: %d done, %d refused\n", what, n_ok, n_busy);
        verdict(what, n_ok > 0, "every run was refused");
    }
    fdec_plan_destroy(&attn);
    fdec_plan_destroy(&linear);
}

/* ---- contexts and plans of several threads ---- */

static char cache_dir[] = "/tmp/flashdec-threads-XXXXXX";

static void remove_cache(void)
{
    DIR *d = opendir(cache_dir);
    for (struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] != '.')
            unlinkat(dirfd(d), e->d_name, 0);
    if (d)
        closedir(d);
    rmdir(cache_dir);
}

/* A whole life: cl_context, context, plans, runs. All threads fill the same disk cache, which is empty at first. */
static void *live(void *job)
{
    struct job *j = job, mine = {0};
    fdec_ctx_params params = FDEC_CTX_PARAMS_INIT;
    fdec_ctx *ctx = NULL;
    fdec_plan *attn = NULL, *linear = NULL;
    cl_context context = clCreateContext(NULL, 1, &device, NULL, NULL, NULL);
    params.cache_dir = cache_dir;
    pthread_barrier_wait(&together);
    for (int life = 0; life < 3; life++) {
        if (fdec_ctx_create(context, device, &params, &ctx) || make_plans(ctx, 0, &attn, &linear)) {
            wrong(j, "context or plan");
        } else if (!make_job(&mine, context, attn, linear, 7) || !compute_alone(&mine)) {
            wrong(j, "run");
        } else if (memcmp(mine.want_attn, j->want_attn, sizeof j->want_attn) ||
                   memcmp(mine.want_linear, j->want_linear, sizeof j->want_linear)) {
            wrong(j, "other bits");
        }
        end_job(&mine);
        fdec_plan_destroy(&attn);
        fdec_plan_destroy(&linear);
        fdec_ctx_destroy(&ctx);
    }
    clReleaseContext(context);
    return NULL;
}

static pthread_mutex_t making = PTHREAD_MUTEX_INITIALIZER;
static struct {
    cl_context context;
    fdec_ctx *ctx;
} shared;

/* Plans of its own on the shared context: made and destroyed one thread at a time, run by all at once. */
static void *make_and_run(void *job)
{
    struct job *j = job, mine = {0};
    fdec_plan *attn = NULL, *linear = NULL;
    pthread_barrier_wait(&together);
    for (int i = 0; i < 5; i++) {
        if (fdec_ctx_reload_tables(shared.ctx)) /* whatever the others are doing */
            wrong(j, "reload");
        pthread_mutex_lock(&making);
        const fdec_status st = make_plans(shared.ctx, 1, &attn, &linear);
        pthread_mutex_unlock(&making);
        if (st) {
            wrong(j, "plan");
        } else if (make_job(&mine, shared.context, attn, linear, 7)) {
            memcpy(mine.want_attn, j->want_attn, sizeof j->want_attn);
            memcpy(mine.want_linear, j->want_linear, sizeof j->want_linear);
            if (!run_both(&mine))
                wrong(j, mine.text);
        } else {
            wrong(j, "buffers");
        }
        end_job(&mine);
        pthread_mutex_lock(&making);
        fdec_plan_destroy(&attn);
        fdec_plan_destroy(&linear);
        pthread_mutex_unlock(&making);
    }
    return NULL;
}

static void check_lives(cl_context context, fdec_ctx *ctx)
{
    static struct job jobs[N_THREADS], truth;
    fdec_plan *attn = NULL, *linear = NULL;
    const bool ready = make_plans(ctx, 0, &attn, &linear) == FDEC_OK && make_job(&truth, context, attn, linear, 7) &&
                       compute_alone(&truth);
    verdict("contexts at once", ready, fdec_last_error());
    if (ready) {
        for (int i = 0; i < N_THREADS; i++) {
            memcpy(jobs[i].want_attn, truth.want_attn, sizeof truth.want_attn);
            memcpy(jobs[i].want_linear, truth.want_linear, sizeof truth.want_linear);
        }
        verdict("contexts at once", mkdtemp(cache_dir) != NULL, cache_dir);
        join_all("contexts at once", jobs, 2, live);
        remove_cache();
        join_all("plans of many threads", jobs, N_THREADS, make_and_run);
    }
    end_job(&truth);
    fdec_plan_destroy(&attn);
    fdec_plan_destroy(&linear);
}

/* ---- out of order ---- */

static bool is_complete(cl_event event)
{
    cl_int status = CL_QUEUED;
    clGetEventInfo(event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof status, &status, NULL);
    return status == CL_COMPLETE;
}

/* write q -> attention, and linear, all behind a gate: nothing is done before it opens, all when the events say so. */
static bool chain(struct job *j, cl_context context, cl_command_queue loose, const float *q)
{
    cl_int err;
    cl_event gate = clCreateUserEvent(context, &err), e[3] = {NULL};
    bool good = !err && poison(j, &j->a.q, sizeof j->want_attn) && poison(j, &j->a.out, sizeof j->want_attn) &&
                poison(j, &j->l.y, sizeof j->want_linear) && !clFinish(j->queue);
    good = good && !clEnqueueWriteBuffer(loose, j->a.q.mem, CL_FALSE, 0, sizeof j->want_attn, q, 1, &gate, &e[0]);
    good = good && !fdec_attn_run(j->attn, loose, &j->a, 1, &e[0], &e[1]);
    good = good && !fdec_linear_run(j->linear, loose, &j->l, 1, &gate, &e[2]);
    good = good && !clFlush(loose);
    if (good && (is_complete(e[1]) || is_complete(e[2]) || !holds(j, &j->a.out, NULL, sizeof j->want_attn) ||
                 !holds(j, &j->l.y, NULL, sizeof j->want_linear)))
        good = wrong(j, "it did not wait");
    clSetUserEventStatus(gate, CL_COMPLETE); /* always: nothing may hang */
    for (int i = 1; i < 3 && good; i++) {
        good = !clWaitForEvents(1, &e[i]) || wrong(j, "clWaitForEvents");
        if (i == 1) /* at once, on another queue: an event that is not the last one's would come too early */
            good =
                good && (holds(j, &j->a.out, j->want_attn, sizeof j->want_attn) || wrong(j, "attention: other bits"));
        else
            good = good && (holds(j, &j->l.y, j->want_linear, sizeof j->want_linear) || wrong(j, "linear: other bits"));
    }
    clFinish(loose);
    for (int i = 0; i < 3; i++)
        if (e[i])
            clReleaseEvent(e[i]);
    clReleaseEvent(gate);
    return good || wrong(j, "enqueue");
}

/* x -> y -> x -> y by three runs that only their events order; ends with y. */
static bool run_three(struct job *j, cl_command_queue queue)
{
    fdec_linear_args back = j->l;
    cl_event e[3] = {NULL};
    back.x = j->l.y, back.y = j->l.x;
    const bool good = !fdec_linear_run(j->linear, queue, &j->l, 0, NULL, &e[0]) &&
                      !fdec_linear_run(j->linear, queue, &back, 1, &e[0], &e[1]) &&
                      !fdec_linear_run(j->linear, queue, &j->l, 1, &e[1], &e[2]) && !clWaitForEvents(1, &e[2]);
    for (int i = 0; i < 3; i++)
        if (e[i])
            clReleaseEvent(e[i]);
    return good || wrong(j, "three runs");
}

static bool check_three(struct job *j, cl_command_queue loose)
{
    float x[M * K], want[M * N];
    cl_mem in = j->l.x.mem, out = j->l.y.mem;
    bool good = !clEnqueueReadBuffer(j->queue, in, CL_TRUE, 0, sizeof x, x, 0, NULL, NULL) && run_three(j, j->queue) &&
                !clEnqueueReadBuffer(j->queue, out, CL_TRUE, 0, sizeof want, want, 0, NULL, NULL);
    for (int i = 0; i < ROUNDS && good; i++)
        good = !clEnqueueWriteBuffer(j->queue, in, CL_TRUE, 0, sizeof x, x, 0, NULL, NULL) &&
               poison(j, &j->l.y, sizeof want) && !clFinish(j->queue) && run_three(j, loose) &&
               holds(j, &j->l.y, want, sizeof want);
    return good || wrong(j, "three runs: other bits");
}

static void check_out_of_order(cl_context context, fdec_ctx *ctx)
{
    static struct job j;
    fdec_plan *attn = NULL, *linear = NULL;
    float q[B * H * D];
    cl_int err;
    cl_command_queue loose = clCreateCommandQueue(context, device, CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE, &err);
    bool ready = !err && make_plans(ctx, 0, &attn, &linear) == FDEC_OK && make_job(&j, context, attn, linear, 9) &&
                 compute_alone(&j) && !clEnqueueReadBuffer(j.queue, j.a.q.mem, CL_TRUE, 0, sizeof q, q, 0, NULL, NULL);
    for (int i = 0; i < ROUNDS && ready; i++)
        ready = chain(&j, context, loose, q);
    ready = ready && check_three(&j, loose);
    verdict("out of order", ready, *j.text ? j.text : fdec_last_error());
    end_job(&j);
    fdec_plan_destroy(&attn);
    fdec_plan_destroy(&linear);
    if (!err)
        clReleaseCommandQueue(loose);
}

int main(void)
{
    cl_platform_id platform;
    if (fdec_device_pick(NULL, &platform, &device) != FDEC_OK) {
        printf("skipped: %s\n", fdec_last_error());
        return 77;
    }
    cl_int err;
    cl_context context = clCreateContext(NULL, 1, &device, NULL, NULL, &err);
    if (err || fdec_ctx_create(context, device, NULL, &shared.ctx) != FDEC_OK) {
        printf("FAIL context: %s\n", fdec_last_error());
        return 1;
    }
    shared.context = context;
    check_one_plan(context, shared.ctx, N_THREADS);
    check_one_plan(context, shared.ctx, 1);
    check_lives(context, shared.ctx);
    check_out_of_order(context, shared.ctx);
    fdec_ctx_destroy(&shared.ctx);
    clReleaseContext(context);
    printf("%d passed, %d failed\n", n_passed, n_failed);
    return n_failed != 0;
}
