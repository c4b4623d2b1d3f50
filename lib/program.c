/* SPDX-License-Identifier: MIT
 * program.c - source + -D list -> cl_program */
#include "cache.h"
#include "ctx.h"
#include "shuffle.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_OPTIONS = 2 * MAX_DEFINES, MAX_LOG = 4000 };

const char *program_standard(int shuffle)
{
    return shuffle == SHUFFLE_KHR ? "-cl-std=CL3.0 -w" : PROGRAM_OPTIONS;
}

void program_options(const struct kernel *k, const struct problem *p, const struct device *d, const int *cfg,
                     int launch, char *buf, size_t n)
{
    char defines[MAX_DEFINES] = "";
    device_defines(d, defines, sizeof defines);
    snprintf(buf, n, "%s%s%s", program_standard(d->shuffle), d->unoptimised ? " -cl-opt-disable" : "", defines);
    defines[0] = 0;
    if (k->apart && k->apart(p, d, launch, defines)) {
        append(buf, n, "%s", defines);
        return;
    }
    for (int i = 0; i < kernel_n_params(k); i++)
        if (!k->params[i].host_only)
            append(buf, n, " -D%s=%d", k->params[i].name, cfg[i]);
    if (k->define)
        k->define(p, defines);
    append(buf, n, "%s", defines);
}

/* Everything that made the program, as one text; malloc'ed. kind keeps programs and answers apart. */
static char *full_key(const fdec_ctx *ctx, const char *kind, const char *options, const char *text, size_t *n)
{
    const struct device *d = &ctx->device;
    const size_t size = strlen(text) + strlen(options) + 2048;
    char *key = malloc(size);
    if (key)
        *n = (size_t) snprintf(key, size, "%s\nflashdec %s\n%s\n%s\n%s\n%s\n%s\n%s\n%s", kind, fdec_version(),
                               d->platform, d->platform_version, d->name, d->driver, d->version, options, text);
    return key;
}

const char *program_override_dir(void)
{
    const char *dir = getenv("FLASHDEC_CL_DIR");
    return dir && *dir ? dir : NULL;
}

/* While developing: FLASHDEC_CL_DIR/attn.cl instead of the embedded text; its includes are the compiler's to find. */
char *program_override_text(const struct source *src)
{
    const char *dir = program_override_dir();
    char path[1024], *text;
    size_t n;
    if (!dir)
        return NULL;
    snprintf(path, sizeof path, "%s/%s", dir, src->file);
    return file_read(path, 1 << 20, &text, &n) == FDEC_OK ? text : NULL;
}

static fdec_status build(fdec_ctx *ctx, cl_program program, const char *name, const char *options)
{
    const cl_int err = clBuildProgram(program, 1, &ctx->device_id, options, NULL, NULL);
    if (!err)
        return FDEC_OK;
    size_t n = 0;
    char *text = NULL;
    if (!clGetProgramBuildInfo(program, ctx->device_id, CL_PROGRAM_BUILD_LOG, 0, NULL, &n) && n < 64 << 20 &&
        (text = calloc(1, n + 1)))
        clGetProgramBuildInfo(program, ctx->device_id, CL_PROGRAM_BUILD_LOG, n, text, NULL);
    const fdec_status st = fail_cl_text(err, "clBuildProgram(%s, %s): %s (%d)\n%.*s", name, options, cl_error_name(err),
                                        (int) err, MAX_LOG / 4, text ? text : "");
    free(text);
    return st;
}

static fdec_status compile_source(fdec_ctx *ctx, const char *name, const char *text, const char *options,
                                  cl_program *out)
{
    fdec_status st = FDEC_OK;
    cl_int err;
    cl_program program = clCreateProgramWithSource(ctx->context, 1, &text, NULL, &err);
    try_made(err, "clCreateProgramWithSource");
    try_st(build(ctx, program, name, options));
    *out = program;
    program = NULL;
out:
    if (program)
        clReleaseProgram(program);
    return st;
}

static bool load_binary(fdec_ctx *ctx, const char *key, size_t n_key, const char *options, cl_program *out)
{
    void *data;
    size_t n;
    cl_int err, status = CL_SUCCESS;
    if (!cache_read(ctx->cache_dir, key, n_key, &data, &n))
        return false;
    cl_program program =
        clCreateProgramWithBinary(ctx->context, 1, &ctx->device_id, &n, (const unsigned char **) &data, &status, &err);
    free(data);
    if (err || status || clBuildProgram(program, 1, &ctx->device_id, options, NULL, NULL)) {
        if (!err)
            clReleaseProgram(program);
        return false; /* a driver may refuse its own binary: compile again */
    }
    *out = program;
    return true;
}

static void store_binary(fdec_ctx *ctx, const char *key, size_t n_key, cl_program program)
{
    cl_uint n_devices = 0;
    cl_device_id devices[64];
    size_t sizes[64] = {0};
    unsigned char *binaries[64] = {0};
    if (clGetProgramInfo(program, CL_PROGRAM_NUM_DEVICES, sizeof n_devices, &n_devices, NULL) ||
        n_devices > ARRAY_LEN(devices) ||
        clGetProgramInfo(program, CL_PROGRAM_DEVICES, n_devices * sizeof *devices, devices, NULL) ||
        clGetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, n_devices * sizeof *sizes, sizes, NULL))
        return;
    for (cl_uint i = 0; i < n_devices; i++)
        if (devices[i] == ctx->device_id && sizes[i])
            binaries[i] = malloc(sizes[i]);
    const bool got = !clGetProgramInfo(program, CL_PROGRAM_BINARIES, n_devices * sizeof *binaries, binaries, NULL);
    for (cl_uint i = 0; i < n_devices; i++) {
        if (binaries[i] && got)
            cache_write(ctx->cache_dir, key, n_key, binaries[i], sizes[i], &ctx->log);
        free(binaries[i]);
    }
}

/* From disk or from source; the caller holds the lock. */
static fdec_status load_or_compile(fdec_ctx *ctx, const struct source *src, const char *options, cl_program *out)
{
    fdec_status st = FDEC_OK;
    char with_dir[MAX_OPTIONS + 1024], *key = NULL;
    size_t n_key = 0;
    char *text = program_override_text(src);
    const double start = now_ms();
    if (text) {
        snprintf(with_dir, sizeof with_dir, "%s -I%s", options, program_override_dir());
        st = compile_source(ctx, src->file, text, with_dir, out);
        free(text);
    } else {
        key = full_key(ctx, "program", options, src->text, &n_key);
        try_alloc(key);
        if (load_binary(ctx, key, n_key, options, out)) {
            ctx->counters.programs_from_cache++;
            ctx->counters.compile_ms += now_ms() - start;
            log_line(&ctx->log, LOG_CACHE, "%s %s: from disk, %.0f ms", src->file, options, now_ms() - start);
            goto out;
        }
        st = compile_source(ctx, src->file, src->text, options, out);
    }
    ctx->counters.programs_compiled++;
    if (st == FDEC_OK && key)
        store_binary(ctx, key, n_key, *out);
    ctx->counters.compile_ms += now_ms() - start;
    log_line(&ctx->log, LOG_COMPILE, "%s %s: %s, %.0f ms", src->file, options, fdec_status_name(st), now_ms() - start);
out:
    free(key);
    return st;
}

static cl_program find_in_memory(const fdec_ctx *ctx, const struct source *src, const char *options)
{
    const uint64_t key = hash64(options, strlen(options), (uintptr_t) src);
    for (int i = 0; i < ctx->n_programs; i++) {
        const struct cached_program *c = &ctx->programs[i];
        if (c->key == key && c->source == src && !strcmp(c->options, options))
            return c->program;
    }
    return NULL;
}

/* The oldest goes when the memory cache is full. */
static void keep_in_memory(fdec_ctx *ctx, const struct source *src, const char *options, cl_program program)
{
    char *copy = strdup(options);
    if (!copy || clRetainProgram(program) != CL_SUCCESS) {
        free(copy);
        return;
    }
    if (ctx->n_programs == MAX_PROGRAMS) {
        clReleaseProgram(ctx->programs[0].program);
        free(ctx->programs[0].options);
        memmove(ctx->programs, ctx->programs + 1, --ctx->n_programs * sizeof *ctx->programs);
    }
    ctx->programs[ctx->n_programs++] =
        (struct cached_program){hash64(options, strlen(options), (uintptr_t) src), copy, src, program};
}

fdec_status program_build(fdec_ctx *ctx, const struct source *src, const char *options, cl_program *out)
{
    fdec_status st = FDEC_OK;
    pthread_mutex_lock(&ctx->lock);
    cl_program program = find_in_memory(ctx, src, options);
    if (program) {
        ctx->counters.programs_shared++;
        try_cl(clRetainProgram(program));
    } else if ((st = load_or_compile(ctx, src, options, &program)) == FDEC_OK) {
        keep_in_memory(ctx, src, options, program);
    }
out:
    pthread_mutex_unlock(&ctx->lock);
    if (st == FDEC_OK)
        *out = program;
    return st;
}

bool program_is_apart(const fdec_ctx *ctx, const struct kernel *k, const struct problem *p, int launch)
{
    char defines[MAX_DEFINES] = "";
    return k->apart && k->apart(p, &ctx->device, launch, defines);
}

fdec_status program_get(fdec_ctx *ctx, const struct kernel *k, const struct problem *p, const int *cfg, int launch,
                        cl_program *out)
{
    char options[MAX_OPTIONS];
    program_options(k, p, &ctx->device, cfg, launch, options, sizeof options);
    return program_build(ctx, k->source, options, out);
}

bool cache_load(fdec_ctx *ctx, const char *name, const char *text, void *data, size_t n)
{
    void *got;
    size_t n_key, n_got;
    bool good = false;
    char *key = full_key(ctx, "answer", name, text, &n_key);
    if (key && cache_read(ctx->cache_dir, key, n_key, &got, &n_got)) {
        good = n_got == n;
        if (good)
            memcpy(data, got, n);
        free(got);
    }
    free(key);
    return good;
}

void cache_store(fdec_ctx *ctx, const char *name, const char *text, const void *data, size_t n)
{
    size_t n_key;
    char *key = full_key(ctx, "answer", name, text, &n_key);
    if (key)
        cache_write(ctx->cache_dir, key, n_key, data, n, &ctx->log);
    free(key);
}
