/* SPDX-License-Identifier: MIT
 * run_calls.c - what a run function does: it sets arguments, enqueues one or two kernels, and nothing else
 *
 * On the stub driver (stub_icd.c), which tells of every OpenCL call: each kind of plan runs once to be warm and once
 * counted. Calls outside `allowed` fail by name; so do malloc and its like, and pthread_mutex_lock, which this program
 * defines for the library too: the dynamic linker takes the executable's. The heap is counted where malloc can be
 * replaced so: on glibc, without a sanitizer, and not under valgrind. */
#define _GNU_SOURCE
#include "stub_icd.h"

#include <flashdec.h>
#include <dlfcn.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define SANITIZED
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED
#endif

#define ARRAY_LEN(a) (sizeof(a) / sizeof *(a))

/* Of a buffer the stub stores almost nothing: any size will do. */
enum { PARTS = 32, PART = 1 << 24 };

static struct {
    struct stub_control *stub;
    cl_platform_id platform;
    cl_device_id device;
    cl_context context;
    cl_command_queue queue;
    cl_mem pool;
    cl_event earlier; /* for wait lists */
    bool heap;        /* is counted */
    long launches;    /* the most of any run */
} world;

/* ---- counting ---- */

static const char *const allowed[] = {
    "clSetKernelArg", "clEnqueueNDRangeKernel", "clGetMemObjectInfo", "clGetCommandQueueInfo", "clReleaseEvent",
};

enum { MAX_OTHERS = 32 };

static struct {
    long launches, heap, locks, n_others;
    const char *others[MAX_OTHERS]; /* calls that are not allowed */
} tally;

static _Thread_local bool counting;

static void count_call(const char *call)
{
    bool known = false;
    if (!counting)
        return;
    tally.launches += !strcmp(call, "clEnqueueNDRangeKernel");
    for (size_t i = 0; i < ARRAY_LEN(allowed); i++)
        known = known || !strcmp(call, allowed[i]);
    if (!known && tally.n_others < MAX_OTHERS)
        tally.others[tally.n_others++] = call;
}

static bool was_called(const char *call)
{
    for (long i = 0; i < tally.n_others; i++)
        if (!strcmp(tally.others[i], call))
            return true;
    return false;
}

static void start_counting(void)
{
    memset(&tally, 0, sizeof tally);
    counting = true;
}

#if defined(__GLIBC__) && !defined(SANITIZED)
enum { HEAP_IS_OURS = 1 };
extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t n);
extern void __libc_free(void *p);

static void count_heap(void)
{
    if (counting && !world.stub->allocating)
        tally.heap++;
}

void *malloc(size_t n)
{
    count_heap();
    return __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    count_heap();
    return __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    count_heap();
    return __libc_realloc(p, n);
}

void free(void *p)
{
    count_heap();
    __libc_free(p);
}
#else
enum { HEAP_IS_OURS = 0 };
#endif

int pthread_mutex_lock(pthread_mutex_t *mutex)
{
    static union { /* as in find_stub */
        void *address;
        int (*lock)(pthread_mutex_t *mutex);
    } next;
    if (!next.address)
        next.address = dlsym(RTLD_NEXT, "pthread_mutex_lock");
    tally.locks += counting;
    return next.lock(mutex);
}

/* ---- one run ---- */

/* Ends the counting and judges it. */
static void judge(const char *what, fdec_status st, long least, long most)
{
    counting = false;
    if (st != FDEC_OK)
        fail_msg("%s: %s", what, fdec_last_error());
    if (tally.n_others)
        fail_msg("%s: calls %s", what, tally.others[0]);
    if (tally.launches < least || tally.launches > most)
        fail_msg("%s: enqueues %ld kernels", what, tally.launches);
    if (tally.launches > world.launches)
        world.launches = tally.launches;
    if (tally.heap || tally.locks)
        fail_msg("%s: uses the heap %ld times, locks %ld times", what, tally.heap, tally.locks);
}

static void drop(cl_event *event)
{
    if (*event)
        clReleaseEvent(*event);
    *event = NULL;
}

/* Without an event, with one, and with a wait list too. `call` sees n_wait, wait and event. */
#define CHECK_RUN(what, least, most, call)                                                                             \
    do {                                                                                                               \
        for (int form = 0; form < 3; form++) {                                                                         \
            const cl_uint n_wait = form == 2;                                                                          \
            const cl_event *wait = n_wait ? &world.earlier : NULL;                                                     \
            cl_event done = NULL, *event = form ? &done : NULL;                                                        \
            if ((call) != FDEC_OK)                                                                                     \
                fail_msg("%s, the first time: %s", what, fdec_last_error());                                           \
            drop(&done);                                                                                               \
            start_counting();                                                                                          \
            const fdec_status st = (call);                                                                             \
            judge(what, st, least, most);                                                                              \
            assert_int_equal(done != NULL, form != 0);                                                                 \
            drop(&done);                                                                                               \
        }                                                                                                              \
    } while (0)

static fdec_buffer part(int i)
{
    assert_in_range(i, 0, PARTS - 1);
    return (fdec_buffer){world.pool, (size_t) i * PART};
}

static fdec_ctx *make_ctx(void)
{
    fdec_ctx_params params = FDEC_CTX_PARAMS_INIT;
    fdec_ctx *ctx = NULL;
    params.cache_dir = "";
    if (fdec_ctx_create(world.context, world.device, &params, &ctx) != FDEC_OK)
        fail_msg("%s", fdec_last_error());
    return ctx;
}

/* The probe times its kernels, which take no time here: the kind of device is set. */
static void on_both_kinds(void (*check)(fdec_ctx *ctx))
{
    for (int cpu_like = 0; cpu_like <= 1; cpu_like++) {
        setenv("FLASHDEC_PRETEND", cpu_like ? "cpu_like=1" : "cpu_like=0", 1);
        fdec_ctx *ctx = make_ctx();
        check(ctx);
        fdec_ctx_destroy(&ctx);
    }
    unsetenv("FLASHDEC_PRETEND");
}

/* ---- attention ---- */

static const struct {
    const char *name;
    size_t at;
} optional[] = {
    {"q_starts", offsetof(fdec_attn_args, q_starts)}, {"q_pos", offsetof(fdec_attn_args, q_pos)},
    {"bias", offsetof(fdec_attn_args, bias)},         {"alibi", offsetof(fdec_attn_args, alibi)},
    {"sinks", offsetof(fdec_attn_args, sinks)},       {"phi", offsetof(fdec_attn_args, phi)},
    {"bounds", offsetof(fdec_attn_args, bounds)},     {"state", offsetof(fdec_attn_args, state)},
    {"slots", offsetof(fdec_attn_args, slots)},       {"lse", offsetof(fdec_attn_args, lse)},
};
enum { N_OPTIONAL = ARRAY_LEN(optional), NONE = -1, ALL = N_OPTIONAL };

static fdec_attn_params attn_params(fdec_scheme scheme, bool paged, bool invariant)
{
    fdec_attn_params p = FDEC_ATTN_PARAMS_INIT;
    p.max_batch = 2, p.max_len = 4000, p.max_q_len = 3, p.n_heads = 8, p.n_kv_heads = 2, p.head_dim = 64;
    p.kv.k.type = FDEC_F16, p.kv.v.type = FDEC_F16;
    p.scheme = scheme, p.batch_invariant = invariant, p.max_concurrent = 1;
    if (paged) {
        p.kv.page_size = 16, p.kv.n_blocks = 600, p.kv.v.type = FDEC_Q8_0;
    }
    return p;
}

/* `which` of the optional buffers: one, NONE or ALL. */
static fdec_attn_args attn_args(bool paged, int which)
{
    fdec_attn_args a = FDEC_ATTN_ARGS_INIT;
    a.q = part(0), a.k = part(1), a.v = part(2), a.lens = part(3), a.out = part(4), a.workspace = part(5);
    if (paged)
        a.block_table = part(6);
    for (int i = 0; i < N_OPTIONAL; i++) {
        const fdec_buffer buffer = part(7 + i);
        if (which == i || which == ALL)
            memcpy((char *) &a + optional[i].at, &buffer, sizeof buffer);
    }
    if (a.slots.mem) /* are the slots of a state */
        a.state = part(7 + N_OPTIONAL);
    return a;
}

static void run_attn(fdec_plan *plan, const char *text, bool paged, int which)
{
    fdec_attn_args a = attn_args(paged, which);
    char what[256];
    const char *name = which == NONE  ? "no optional buffer"
                       : which == ALL ? "all optional buffers"
                                      : optional[which].name;
    snprintf(what, sizeof what, "fdec_attn_run, %s, %s", text, name);
    CHECK_RUN(what, 1, 2, fdec_attn_run(plan, world.queue, &a, n_wait, wait, event));
    a.batch = 1, a.max_len = 100, a.q_len = 1;
    CHECK_RUN(what, 1, 2, fdec_attn_run(plan, world.queue, &a, n_wait, wait, event));
}

static void check_attn_plan(fdec_ctx *ctx, const fdec_attn_params *p)
{
    fdec_plan *plan = NULL;
    char text[128];
    const bool paged = p->kv.page_size;
    snprintf(text, sizeof text, "scheme %d, phi source %d, %s%s", (int) p->scheme, (int) p->phi_source,
             paged ? "paged" : "contiguous", p->batch_invariant ? ", batch-invariant" : "");
    if (fdec_attn_plan_create(ctx, p, &plan) != FDEC_OK)
        fail_msg("%s: %s", text, fdec_last_error());
    assert_true(fdec_plan_workspace_bytes(plan) <= PART);
    for (int which = p->phi_source == FDEC_PHI_AUTO ? NONE : ALL; which <= ALL; which++)
        run_attn(plan, text, paged, which);
    fdec_plan_destroy(&plan);
}

static void check_attn(fdec_ctx *ctx)
{
    for (int scheme = FDEC_SCHEME_AUTO; scheme <= FDEC_SCHEME_PAIR; scheme++)
        for (int paged = 0; paged <= 1; paged++)
            for (int invariant = 0; invariant <= 1; invariant++)
                for (int source = FDEC_PHI_AUTO; source <= FDEC_PHI_STATE; source++) {
                    fdec_attn_params p = attn_params((fdec_scheme) scheme, paged, invariant);
                    p.phi_source = (fdec_phi_source) source;
                    if (!invariant || source != FDEC_PHI_STATE) /* refused */
                        check_attn_plan(ctx, &p);
                }
}

static void attention(void **state)
{
    (void) state;
    world.launches = 0;
    on_both_kinds(check_attn);
    assert_int_equal(world.launches, 2); /* else the events between launches were not seen */
}

/* ---- the other operations ---- */

static void check_append(fdec_ctx *ctx)
{
    for (int paged = 0; paged <= 1; paged++) {
        fdec_append_params p = FDEC_APPEND_PARAMS_INIT;
        fdec_append_args a = FDEC_APPEND_ARGS_INIT;
        fdec_plan *plan = NULL;
        p.max_tokens = 4, p.max_batch = 2, p.max_len = 40, p.n_heads = 4, p.n_kv_heads = 2, p.head_dim = 64;
        p.kv.k.type = FDEC_Q8_0, p.kv.v.type = FDEC_F16, p.max_concurrent = 1;
        if (paged)
            p.kv.page_size = 16, p.kv.n_blocks = 6, a.block_table = part(0);
        assert_int_equal(fdec_append_plan_create(ctx, &p, &plan), FDEC_OK);
        a.q_len = 2, a.pos = part(1), a.k = part(2), a.v = part(3), a.k_cache = part(4), a.v_cache = part(5);
        CHECK_RUN("fdec_append_run", 1, 1, fdec_append_run(plan, world.queue, &a, n_wait, wait, event));
        a.q = part(6), a.angles = part(7), a.bounds = part(8);
        CHECK_RUN("fdec_append_run, all", 1, 1, fdec_append_run(plan, world.queue, &a, n_wait, wait, event));
        a.q_len = 0, a.block_table.mem = NULL, a.slots = part(9);
        CHECK_RUN("fdec_append_run, slots", 1, 1, fdec_append_run(plan, world.queue, &a, n_wait, wait, event));
        fdec_plan_destroy(&plan);
    }
}

static void append(void **state)
{
    (void) state;
    on_both_kinds(check_append);
}

/* CLBlast is excepted in flashdec.h. */
static bool is_clblast(const fdec_plan *plan)
{
    char text[8192];
    assert_int_equal(fdec_explain(plan, FDEC_TEXT, text, sizeof text, NULL), FDEC_OK);
    return strcasestr(text, "clblast");
}

static void check_linear(fdec_ctx *ctx)
{
    int n_run = 0;
    for (int impl = FDEC_LINEAR_AUTO; impl <= FDEC_LINEAR_GEMM; impl++) {
        fdec_linear_params p = FDEC_LINEAR_PARAMS_INIT;
        fdec_linear_args a = FDEC_LINEAR_ARGS_INIT;
        fdec_plan *plan = NULL;
        p.max_m = 5, p.n = 24, p.k = 4096, p.w_type = FDEC_F16, p.impl = (fdec_linear_impl) impl;
        assert_int_equal(fdec_linear_plan_create(ctx, &p, &plan), FDEC_OK);
        a.x = part(0), a.w = part(1), a.y = part(2), a.workspace = part(3);
        for (a.m = 1; !is_clblast(plan) && a.m <= 5; a.m += 4, n_run++) {
            a.bias = (fdec_buffer){0}, a.residual = a.bias;
            CHECK_RUN("fdec_linear_run", 1, 2, fdec_linear_run(plan, world.queue, &a, n_wait, wait, event));
            a.bias = part(4), a.residual = part(5);
            CHECK_RUN("fdec_linear_run, all", 1, 2, fdec_linear_run(plan, world.queue, &a, n_wait, wait, event));
        }
        fdec_plan_destroy(&plan);
    }
    assert_true(n_run >= 4); /* the two that CLBlast never is */
}

static void linear(void **state)
{
    (void) state;
    on_both_kinds(check_linear);
}

static void check_softmax(fdec_ctx *ctx)
{
    for (int impl = FDEC_SOFTMAX_AUTO; impl <= FDEC_SOFTMAX_TWO_PASS; impl++) {
        fdec_softmax_params p = FDEC_SOFTMAX_PARAMS_INIT;
        fdec_softmax_args a = FDEC_SOFTMAX_ARGS_INIT;
        fdec_plan *plan = NULL;
        p.max_rows = 2, p.cols = 100000, p.impl = (fdec_softmax_impl) impl;
        assert_int_equal(fdec_softmax_plan_create(ctx, &p, &plan), FDEC_OK);
        a.x = part(0), a.y = part(1), a.workspace = part(2);
        CHECK_RUN("fdec_softmax_run", 1, 3, fdec_softmax_run(plan, world.queue, &a, n_wait, wait, event));
        a.lse = part(3);
        CHECK_RUN("fdec_softmax_run, lse", 1, 3, fdec_softmax_run(plan, world.queue, &a, n_wait, wait, event));
        fdec_plan_destroy(&plan);
    }
}

static void softmax(void **state)
{
    (void) state;
    on_both_kinds(check_softmax);
}

static void check_embed(fdec_ctx *ctx)
{
    fdec_embed_params p = FDEC_EMBED_PARAMS_INIT;
    fdec_embed_args a = FDEC_EMBED_ARGS_INIT;
    fdec_plan *plan = NULL;
    p.max_rows = 2, p.cols = 256, p.table_type = FDEC_Q6_K;
    assert_int_equal(fdec_embed_plan_create(ctx, &p, &plan), FDEC_OK);
    a.n_rows_table = 9, a.ids = part(0), a.table = part(1), a.y = part(2);
    CHECK_RUN("fdec_embed_run", 1, 1, fdec_embed_run(plan, world.queue, &a, n_wait, wait, event));
    fdec_plan_destroy(&plan);
}

static void embed(void **state)
{
    (void) state;
    on_both_kinds(check_embed);
}

static void check_sample(fdec_ctx *ctx)
{
    fdec_sample_params p = FDEC_SAMPLE_PARAMS_INIT;
    fdec_sample_args a = FDEC_SAMPLE_ARGS_INIT;
    fdec_plan *plan = NULL;
    p.max_rows = 2, p.cols = 100000;
    assert_int_equal(fdec_sample_plan_create(ctx, &p, &plan), FDEC_OK);
    a.x = part(0), a.ids = part(1), a.workspace = part(2);
    CHECK_RUN("fdec_sample_run, greedy", 2, 2, fdec_sample_run(plan, world.queue, &a, n_wait, wait, event));
    a.temperature = a.stats_temperature = 1, a.top_k = 40, a.top_p = 0.9f, a.min_p = 0.1f;
    a.recent = part(3), a.n_recent = 5, a.repeat_penalty = 2, a.u = part(4);
    CHECK_RUN("fdec_sample_run, all", 2, 2, fdec_sample_run(plan, world.queue, &a, n_wait, wait, event));
    a.stats = part(5);
    CHECK_RUN("fdec_sample_run, stats", 1, 1, fdec_sample_run(plan, world.queue, &a, n_wait, wait, event));
    fdec_plan_destroy(&plan);
}

static void sample(void **state)
{
    (void) state;
    on_both_kinds(check_sample);
}

#define SMALL(op, ...)                                                                                                 \
    do {                                                                                                               \
        const fdec_##op##_args a = {.size = sizeof a, __VA_ARGS__};                                                    \
        CHECK_RUN(#op, 1, 1, fdec_##op##_run(ops, world.queue, &a, n_wait, wait, event));                              \
    } while (0)

static void check_ops(fdec_ctx *ctx)
{
    const fdec_buffer a0 = part(0), a1 = part(1), a2 = part(2), a3 = part(3);
    fdec_ops *ops = NULL;
    assert_int_equal(fdec_ops_create(ctx, &ops), FDEC_OK);
    SMALL(rmsnorm, .rows = 2, .cols = 24, .eps = 1e-5f, .x = a0, .w = a1, .y = a2);
    SMALL(swiglu, .n = 100, .gate = a0, .up = a1, .y = a2);
    SMALL(add, .n = 100, .a = a0, .b = a1, .y = a2);
    SMALL(argmax, .rows = 2, .cols = 300, .x = a0, .ids = a1);
    SMALL(attn_merge, .rows = 16, .dim = 64, .n_parts = 3, .part = a0, .lse_in = a1, .out = a2);
    SMALL(attn_merge, .rows = 16, .dim = 64, .n_parts = 3, .part = a0, .lse_in = a1, .out = a2, .lse = a3);
    fdec_ops_destroy(&ops);
}

static void small_operations(void **state)
{
    (void) state;
    on_both_kinds(check_ops);
}

/* ---- what is counted would be seen ---- */

static void counting_counts(void **state)
{
    (void) state;
    fdec_ctx *ctx = make_ctx();
    fdec_plan *plan = NULL;
    fdec_attn_counts counts;
    const fdec_attn_params p = attn_params(FDEC_SCHEME_UNIFIED, true, false);

    start_counting();
    const fdec_status made = fdec_attn_plan_create(ctx, &p, &plan);
    counting = false;
    assert_int_equal(made, FDEC_OK);
    assert_true(was_called("clBuildProgram") && was_called("clCreateKernel") && was_called("clCreateBuffer"));
    assert_true(tally.locks > 0);
    assert_true(tally.heap > 0 || !world.heap);

    start_counting();
    const fdec_status read = fdec_attn_counts_read(plan, world.queue, &counts);
    counting = false;
    assert_int_equal(read, FDEC_OK);
    assert_true(was_called("clFinish") && was_called("clEnqueueReadBuffer"));
    assert_int_equal(tally.n_others, 2);

    start_counting();
    fdec_plan_destroy(&plan);
    counting = false;
    assert_true(was_called("clReleaseKernel") && was_called("clReleaseMemObject"));
    assert_true(tally.heap > 0 || !world.heap);
    fdec_ctx_destroy(&ctx);
}

/* ---- set up ---- */

static void find_stub(void)
{
    union { /* ISO C has no way from void * to a function's address; POSIX promises that they fit */
        void *address;
        stub_control_fn *call;
    } f;
    char name[64] = "";
    cl_uint n = 0;
    assert_int_equal(clGetPlatformIDs(1, &world.platform, &n), CL_SUCCESS);
    assert_int_equal(n, 1);
    clGetPlatformInfo(world.platform, CL_PLATFORM_NAME, sizeof name - 1, name, NULL);
    assert_string_equal(name, "flashdec stub"); /* else: OCL_ICD_VENDORS must be the directory of stub.icd */
    f.address = clGetExtensionFunctionAddressForPlatform(world.platform, "stub_control");
    assert_non_null(f.address);
    world.stub = f.call();
}

static void forget_the_user(void)
{
    static const char *const names[] = {"TABLE", "TABLE_PATH", "DEVICE", "CACHE_DIR", "CL_DIR", "PRETEND", "LOG"};
    static const char *const xdg[] = {"XDG_DATA_HOME", "XDG_CONFIG_DIRS", "XDG_DATA_DIRS"};
    char variable[64];
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(variable, sizeof variable, "FLASHDEC_%s", names[i]);
        unsetenv(variable);
    }
    for (size_t i = 0; i < ARRAY_LEN(xdg); i++)
        setenv(xdg[i], "/nonexistent", 1);
}

static int begin(void **state)
{
    const char *preload = getenv("LD_PRELOAD");
    const unsigned char byte = 0;
    cl_int err;
    (void) state;
    forget_the_user();
    world.heap = HEAP_IS_OURS && !(preload && strstr(preload, "vgpreload")); /* valgrind puts its own malloc here */
    if (!world.heap)
        print_message("    malloc is the checker's: the heap is not counted\n");
    find_stub();
    assert_int_equal(clGetDeviceIDs(world.platform, CL_DEVICE_TYPE_ALL, 1, &world.device, NULL), CL_SUCCESS);
    world.context = clCreateContext(NULL, 1, &world.device, NULL, NULL, &err);
    assert_int_equal(err, CL_SUCCESS);
    world.queue = clCreateCommandQueue(world.context, world.device, 0, &err);
    assert_int_equal(err, CL_SUCCESS);
    world.pool = clCreateBuffer(world.context, CL_MEM_READ_WRITE, (size_t) PARTS * PART, NULL, &err);
    assert_int_equal(err, CL_SUCCESS);
    err = clEnqueueWriteBuffer(world.queue, world.pool, CL_TRUE, 0, 1, &byte, 0, NULL, &world.earlier);
    assert_int_equal(err, CL_SUCCESS);
    world.stub->called = count_call;
    return 0;
}

static int end(void **state)
{
    (void) state;
    clReleaseEvent(world.earlier);
    clReleaseMemObject(world.pool);
    clReleaseCommandQueue(world.queue);
    clReleaseContext(world.context);
    return world.stub->live || world.stub->misuses ? -1 : 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counting_counts), cmocka_unit_test(attention),        cmocka_unit_test(append),
        cmocka_unit_test(linear),          cmocka_unit_test(softmax),          cmocka_unit_test(embed),
        cmocka_unit_test(sample),          cmocka_unit_test(small_operations),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
