/* SPDX-License-Identifier: MIT
 * faults.c - every OpenCL call of the library fails in turn
 *
 * Scenes run on the stub driver (stub_icd.c), which no device is needed for: once to count the calls that can fail,
 * then once for each of them, that call failing. Each time: the status is an error whose text names the call, or the
 * call is one that the library may do without; nothing leaks, nothing dead is used, the disk cache holds whole files
 * only; a run that failed gives no event, and the next run of the same plan succeeds; after that the same scene
 * succeeds on the cache as it was left. Each scene is played with an empty program cache and with a filled one, and
 * for the two kinds of device that the analytic rule knows. FLASHDEC_FAULTS_STRIDE=N takes every N-th call only, for
 * slow checkers. */
#define _GNU_SOURCE
#include "stub_icd.h"

#include <flashdec.h>
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

enum { POOL_BYTES = 1 << 20, PART = POOL_BYTES / 16 };

/* What all scenes share; made before anything is counted. */
static struct {
    struct stub_control *stub;
    cl_platform_id platform;
    cl_device_id device;
    cl_context context;
    cl_command_queue queue;
    cl_mem pool;
    char dir[64]; /* the program cache, and where tables would be */
    int stride;
} world;

/* ---- one call fails: what must hold ---- */

static struct {
    const char *scene, *cache;
    long call;  /* that fails; 0: none */
    int wrongs; /* of the whole test */
    char text[2048];
    fdec_status st;
} now;

static void wrong(const char *what)
{
    const struct stub_control *stub = world.stub;
    print_error("%s, %s cache, call %ld (%s 0x%x): %s; status %d, text \"%s\"\n", now.scene, now.cache, now.call,
                stub->name ? stub->name : "none", stub->question, what, (int) now.st, now.text);
    now.wrongs++;
}

/* From here on calls are counted, and now.call fails. The last error is another one. */
static void arm(void)
{
    uint64_t unused;
    world.stub->calls = 0;
    world.stub->fail_at = now.call;
    world.stub->name = NULL;
    world.stub->question = 0;
    fdec_rope_angles(NULL, &unused, NULL);
}

/* Keeps a call's outcome, to be judged when the scene is over. */
static fdec_status outcome(fdec_status st)
{
    if (st != FDEC_OK && now.st == FDEC_OK) {
        now.st = st;
        snprintf(now.text, sizeof now.text, "%s", fdec_last_error());
    }
    return st;
}

/* Calls whose failure may change nothing for the caller. */
static bool dispensable(void)
{
    const char *name = world.stub->name;
    const bool filled = !strcmp(now.cache, "filled");
    if (!strcmp(name, "clGetDeviceInfo")) /* the choice among devices; doubles, which drivers may refuse to speak of */
        return world.stub->question == CL_DEVICE_TYPE || world.stub->question == CL_DEVICE_DOUBLE_FP_CONFIG;
    if (!strcmp(name, "clGetProgramInfo") || !strcmp(name, "clRetainProgram")) /* not kept on disk; in memory */
        return true;
    return filled && (!strcmp(name, "clCreateProgramWithBinary") || !strcmp(name, "clBuildProgram"));
}

static void judge_status(void)
{
    const char *name = world.stub->name;
    if (!name) {
        wrong("the call was never made");
    } else if (now.st == FDEC_OK) {
        if (!dispensable())
            wrong("success");
    } else if (now.st == FDEC_E_ARG) { /* a handle that does not answer is the caller's mistake */
        if (!strstr(name, "Info") || strncmp(now.text, "fdec_", 5) != 0)
            wrong("a bad argument");
    } else if (now.st != FDEC_E_DEVICE && now.st != FDEC_E_MEMORY) {
        wrong("an odd status");
    } else if (!strstr(now.text, name) && !strstr(now.text, "there is no OpenCL device")) {
        wrong("the text does not name the call");
    }
}

/* Whole files and nothing else. */
static void judge_cache(void)
{
    DIR *d = opendir(world.dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        const size_t n = strlen(e->d_name);
        if (e->d_name[0] != '.' && (n < 4 || strcmp(e->d_name + n - 4, ".bin") != 0))
            wrong(e->d_name);
    }
    closedir(d);
}

static void empty_cache(void)
{
    DIR *d = opendir(world.dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.')
            assert_int_equal(unlinkat(dirfd(d), e->d_name, 0), 0);
    closedir(d);
}

/* ---- scenes ---- */

static fdec_buffer part(int i)
{
    return (fdec_buffer){world.pool, (size_t) i * PART};
}

/* A run: judged at once, and made again if it failed. `call` sees `event`. */
#define RUN(call)                                                                                                      \
    do {                                                                                                               \
        cl_event event = NULL;                                                                                         \
        if (outcome(call) != FDEC_OK) {                                                                                \
            if (event)                                                                                                 \
                wrong("an event of a run that failed");                                                                \
            event = NULL;                                                                                              \
            if ((call) != FDEC_OK)                                                                                     \
                wrong("the next run fails too");                                                                       \
        }                                                                                                              \
        if (!event)                                                                                                    \
            wrong("no event");                                                                                         \
        else                                                                                                           \
            clReleaseEvent(event);                                                                                     \
    } while (0)

static void explain(const fdec_plan *plan)
{
    char text[4096];
    for (int format = FDEC_TEXT; format <= FDEC_JSON; format++)
        outcome(fdec_explain(plan, (fdec_format) format, text, sizeof text, NULL));
}

static void play_attn(fdec_ctx *ctx)
{
    fdec_attn_params p = FDEC_ATTN_PARAMS_INIT;
    fdec_attn_args a = FDEC_ATTN_ARGS_INIT;
    fdec_attn_counts counts;
    fdec_plan *plan = NULL;
    p.max_batch = 2, p.max_len = 40, p.n_heads = 4, p.n_kv_heads = 2, p.head_dim = 8, p.max_concurrent = 1;
    p.kv.page_size = 16, p.kv.n_blocks = 6, p.phi_source = FDEC_PHI_PER_HEAD;
    a.q = part(0), a.k = part(1), a.v = part(2), a.lens = part(3), a.block_table = part(4), a.phi = part(5);
    a.out = part(6), a.lse = part(7), a.workspace = part(8);
    if (outcome(fdec_attn_plan_create(ctx, &p, &plan)) == FDEC_OK) {
        RUN(fdec_attn_run(plan, world.queue, &a, 0, NULL, &event));
        outcome(fdec_attn_counts_read(plan, world.queue, &counts));
        explain(plan);
    }
    fdec_plan_destroy(&plan);
}

static void play_linear(fdec_ctx *ctx)
{
    fdec_linear_params p = FDEC_LINEAR_PARAMS_INIT;
    fdec_linear_args a = FDEC_LINEAR_ARGS_INIT;
    fdec_plan *plan = NULL;
    p.max_m = 5, p.n = 24, p.k = 40, p.w_type = FDEC_F16, p.max_concurrent = 1;
    a.x = part(0), a.w = part(1), a.bias = part(2), a.residual = part(3), a.y = part(4), a.workspace = part(5);
    if (outcome(fdec_linear_plan_create(ctx, &p, &plan)) == FDEC_OK) {
        RUN(fdec_linear_run(plan, world.queue, &a, 0, NULL, &event));
        a.m = 1;
        RUN(fdec_linear_run(plan, world.queue, &a, 0, NULL, &event));
        explain(plan);
    }
    fdec_plan_destroy(&plan);
}

static void play_append(fdec_ctx *ctx)
{
    fdec_append_params p = FDEC_APPEND_PARAMS_INIT;
    fdec_append_args a = FDEC_APPEND_ARGS_INIT;
    fdec_plan *plan = NULL;
    p.max_tokens = 4, p.max_batch = 2, p.max_len = 40, p.n_heads = 4, p.n_kv_heads = 2, p.head_dim = 64,
    p.max_concurrent = 1;
    p.kv.page_size = 16, p.kv.n_blocks = 6, p.kv.k.type = FDEC_Q8_0, p.kv.v.type = FDEC_F16;
    a.q_len = 2, a.pos = part(0), a.angles = part(1), a.q = part(2), a.k = part(3), a.v = part(4);
    a.block_table = part(5), a.k_cache = part(6), a.v_cache = part(7), a.bounds = part(8);
    if (outcome(fdec_append_plan_create(ctx, &p, &plan)) == FDEC_OK) {
        RUN(fdec_append_run(plan, world.queue, &a, 0, NULL, &event));
        explain(plan);
    }
    fdec_plan_destroy(&plan);
}

static void play_softmax(fdec_ctx *ctx)
{
    fdec_softmax_params p = FDEC_SOFTMAX_PARAMS_INIT;
    fdec_softmax_args a = FDEC_SOFTMAX_ARGS_INIT;
    fdec_plan *plan = NULL;
    a.x = part(0), a.y = part(1), a.lse = part(2), a.workspace = part(3);
    p.max_rows = 2, p.cols = 4000, p.max_concurrent = 1;
    for (int impl = FDEC_SOFTMAX_THREE_PASS; impl <= FDEC_SOFTMAX_TWO_PASS; impl++) {
        p.impl = (fdec_softmax_impl) impl;
        if (outcome(fdec_softmax_plan_create(ctx, &p, &plan)) == FDEC_OK) {
            RUN(fdec_softmax_run(plan, world.queue, &a, 0, NULL, &event));
            explain(plan);
        }
        fdec_plan_destroy(&plan);
    }
}

static void play_embed(fdec_ctx *ctx)
{
    fdec_embed_params p = FDEC_EMBED_PARAMS_INIT;
    fdec_embed_args a = FDEC_EMBED_ARGS_INIT;
    fdec_plan *plan = NULL;
    p.max_rows = 2, p.cols = 64, p.table_type = FDEC_Q4_0, p.max_concurrent = 1;
    a.n_rows_table = 9, a.ids = part(0), a.table = part(1), a.y = part(2);
    if (outcome(fdec_embed_plan_create(ctx, &p, &plan)) == FDEC_OK) {
        RUN(fdec_embed_run(plan, world.queue, &a, 0, NULL, &event));
        explain(plan);
    }
    fdec_plan_destroy(&plan);
}

static void play_sample(fdec_ctx *ctx)
{
    fdec_sample_params p = FDEC_SAMPLE_PARAMS_INIT;
    fdec_sample_args a = FDEC_SAMPLE_ARGS_INIT;
    fdec_plan *plan = NULL;
    a.x = part(0), a.recent = part(1), a.u = part(2), a.ids = part(3), a.workspace = part(4);
    a.temperature = a.stats_temperature = 1, a.n_recent = 5, a.repeat_penalty = 2;
    p.max_rows = 2, p.cols = 300, p.max_concurrent = 1;
    if (outcome(fdec_sample_plan_create(ctx, &p, &plan)) == FDEC_OK) {
        RUN(fdec_sample_run(plan, world.queue, &a, 0, NULL, &event));
        a.stats = part(5);
        RUN(fdec_sample_run(plan, world.queue, &a, 0, NULL, &event));
        explain(plan);
    }
    fdec_plan_destroy(&plan);
}

#define SMALL(op, ...)                                                                                                 \
    do {                                                                                                               \
        const fdec_##op##_args a = {.size = sizeof a, __VA_ARGS__};                                                    \
        RUN(fdec_##op##_run(ops, world.queue, &a, 0, NULL, &event));                                                   \
    } while (0)

static void play_ops(fdec_ctx *ctx)
{
    const fdec_buffer a0 = part(0), a1 = part(1), a2 = part(2);
    fdec_ops *ops = NULL;
    if (outcome(fdec_ops_create(ctx, &ops)) == FDEC_OK) {
        SMALL(rmsnorm, .rows = 2, .cols = 24, .eps = 1e-5f, .x = a0, .w = a1, .y = a2);
        SMALL(swiglu, .n = 100, .gate = a0, .up = a1, .y = a2);
        SMALL(add, .n = 100, .a = a0, .b = a1, .y = a2);
        SMALL(argmax, .rows = 2, .cols = 300, .x = a0, .ids = a1);
    }
    fdec_ops_destroy(&ops);
}

/* Creating the context is what is played. */
static void play_ctx(fdec_ctx *ctx)
{
    char text[8192];
    outcome(fdec_ctx_describe(ctx, text, sizeof text, NULL));
}

/* play_ctx is armed before the context is made, the others after. */
static void perform(void (*play)(fdec_ctx *ctx))
{
    fdec_ctx_params params = FDEC_CTX_PARAMS_INIT;
    fdec_ctx *ctx = NULL;
    cl_platform_id platform;
    cl_device_id device;
    params.cache_dir = world.dir;
    now.st = FDEC_OK;
    *now.text = 0;
    world.stub->fail_at = 0;
    if (play == play_ctx)
        arm();
    if (outcome(fdec_device_pick(NULL, &platform, &device)) == FDEC_OK &&
        outcome(fdec_ctx_create(world.context, device, &params, &ctx)) == FDEC_OK) {
        if (play != play_ctx)
            arm();
        play(ctx);
    }
    fdec_ctx_destroy(&ctx);
}

static void perform_well(void (*play)(fdec_ctx *ctx))
{
    now.call = 0;
    perform(play);
    if (now.st != FDEC_OK)
        wrong("nothing was made to fail");
}

static void fail_each(const char *scene, void (*play)(fdec_ctx *ctx), const char *cache)
{
    const long alive = world.stub->live, misuses = world.stub->misuses;
    const bool filled = !strcmp(cache, "filled");
    now.scene = scene;
    now.cache = cache;
    empty_cache();
    if (filled)
        perform_well(play);
    perform_well(play);
    const long n = world.stub->calls;
    assert_true(n > 10);
    for (long call = 1; call <= n; call += world.stride) {
        if (!filled)
            empty_cache();
        now.call = call;
        perform(play);
        judge_status();
        judge_cache();
        if (world.stub->live != alive)
            wrong("objects leaked");
        if (world.stub->misuses != misuses)
            wrong("dead handles used");
        assert_true(world.stub->live == alive && world.stub->misuses == misuses); /* what follows would be noise */
        perform_well(play);
    }
    print_message("    %s, %s cache: %ld calls\n", scene, cache, n);
}

static void fail_both(const char *scene, void (*play)(fdec_ctx *ctx))
{
    const int before = now.wrongs;
    fail_each(scene, play, "empty");
    fail_each(scene, play, "filled");
    assert_int_equal(now.wrongs, before);
}

/* The probe times its kernels, which take no time here: the outcome is set. */
static void fail_on_both_kinds(const char *scene, void (*play)(fdec_ctx *ctx))
{
    for (int cpu_like = 0; cpu_like <= 1; cpu_like++) {
        setenv("FLASHDEC_PRETEND", cpu_like ? "cpu_like=1" : "cpu_like=0", 1);
        fail_both(scene, play);
    }
}

static void context(void **state)
{
    (void) state;
    fail_both("context", play_ctx);
}

static void attention(void **state)
{
    (void) state;
    fail_on_both_kinds("attention", play_attn);
}

static void append(void **state)
{
    (void) state;
    fail_both("append", play_append);
}

static void linear(void **state)
{
    (void) state;
    fail_on_both_kinds("linear", play_linear);
}

static void softmax(void **state)
{
    (void) state;
    fail_both("softmax", play_softmax);
}

static void embed(void **state)
{
    (void) state;
    fail_both("embed", play_embed);
}

static void sample(void **state)
{
    (void) state;
    fail_both("sample", play_sample);
}

static void small_operations(void **state)
{
    (void) state;
    fail_both("small operations", play_ops);
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

static int begin(void **state)
{
    static const char *const names[] = {"TABLE", "TABLE_PATH", "DEVICE", "CACHE_DIR", "CL_DIR", "PRETEND", "LOG"};
    char variable[64];
    cl_int err;
    (void) state;
    strcpy(world.dir, "/dev/shm/flashdec-faults-XXXXXX"); /* the cache syncs its files: memory is fast at that */
    if (!mkdtemp(world.dir)) {
        strcpy(world.dir, "/tmp/flashdec-faults-XXXXXX");
        assert_non_null(mkdtemp(world.dir));
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(variable, sizeof variable, "FLASHDEC_%s", names[i]);
        unsetenv(variable);
    }
    setenv("XDG_DATA_HOME", world.dir, 1);
    setenv("XDG_CONFIG_DIRS", world.dir, 1);
    setenv("XDG_DATA_DIRS", world.dir, 1);
    const char *stride = getenv("FLASHDEC_FAULTS_STRIDE");
    world.stride = stride && atoi(stride) > 0 ? atoi(stride) : 1;
    find_stub();
    assert_int_equal(clGetDeviceIDs(world.platform, CL_DEVICE_TYPE_ALL, 1, &world.device, NULL), CL_SUCCESS);
    world.context = clCreateContext(NULL, 1, &world.device, NULL, NULL, &err);
    assert_int_equal(err, CL_SUCCESS);
    world.queue = clCreateCommandQueue(world.context, world.device, 0, &err);
    assert_int_equal(err, CL_SUCCESS);
    world.pool = clCreateBuffer(world.context, CL_MEM_READ_WRITE, POOL_BYTES, NULL, &err);
    assert_int_equal(err, CL_SUCCESS);
    return 0;
}

static int end(void **state)
{
    (void) state;
    empty_cache();
    rmdir(world.dir);
    clReleaseMemObject(world.pool);
    clReleaseCommandQueue(world.queue);
    clReleaseContext(world.context);
    return world.stub->live ? -1 : 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(context), cmocka_unit_test(attention),        cmocka_unit_test(append),
        cmocka_unit_test(linear),  cmocka_unit_test(softmax),          cmocka_unit_test(embed),
        cmocka_unit_test(sample),  cmocka_unit_test(small_operations),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
