/* SPDX-License-Identifier: MIT
 * ctx.c - lifetime of a context */
#include "ctx.h"
#include "cache.h"
#include "plan.h"

#include <stdlib.h>
#include <string.h>

const char *fdec_version(void)
{
    return FDEC_VERSION;
}

static fdec_status find_device(fdec_ctx *ctx)
{
    fdec_status st = FDEC_OK;
    cl_device_id devices[64];
    size_t bytes = 0;
    bool found = false;
    try_cl(clGetContextInfo(ctx->context, CL_CONTEXT_DEVICES, sizeof devices, devices, &bytes));
    for (size_t i = 0; i < bytes / sizeof *devices; i++)
        found |= devices[i] == ctx->device_id;
    if (!found) {
        st = fail(FDEC_E_ARG, "fdec_ctx_create: device is one of context's devices: does not hold");
        goto out;
    }
    try_cl(clGetDeviceInfo(ctx->device_id, CL_DEVICE_PLATFORM, sizeof ctx->platform_id, &ctx->platform_id, NULL));
    try_st(device_query(ctx->platform_id, ctx->device_id, &ctx->device));
out:
    return st;
}

/* What a measured table says of the device itself. */
static void take_rates(fdec_ctx *ctx)
{
    const struct table_set *set = &ctx->tables->set;
    for (int t = 0; t < set->n && set->level[t] <= LEVEL_OTHER_DRIVER; t++) {
        const struct table *table = set->tables[t];
        if (!table->modelled && !ctx->device.read_gbps) {
            ctx->device.read_gbps = table->device.read_gbps;
            ctx->device.launch_us = table->device.launch_us;
        }
    }
}

/* ---- tables ---- */

static fdec_status find_tables(const fdec_ctx *ctx, struct tables **out)
{
    fdec_status st = FDEC_OK;
    struct tables *t = calloc(1, sizeof *t);
    try_alloc(t);
    t->n_users = 1;
    try_st(table_set_find(&ctx->device, ctx->table_path, &ctx->log, &t->set));
    *out = t;
    t = NULL;
out:
    free(t);
    return st;
}

struct tables *ctx_hold_tables(fdec_ctx *ctx)
{
    pthread_mutex_lock(&ctx->tables_lock);
    struct tables *t = ctx->tables;
    t->n_users++;
    pthread_mutex_unlock(&ctx->tables_lock);
    return t;
}

void ctx_release_tables(fdec_ctx *ctx, struct tables *t)
{
    if (!t)
        return;
    pthread_mutex_lock(&ctx->tables_lock);
    const bool last = --t->n_users == 0;
    pthread_mutex_unlock(&ctx->tables_lock);
    if (!last)
        return;
    table_set_clear(&t->set);
    free(t);
}

fdec_status fdec_ctx_reload_tables(fdec_ctx *ctx)
{
    fdec_status st = FDEC_OK;
    struct tables *found = NULL;
    require("fdec_ctx_reload_tables", ctx != NULL);
    try_st(find_tables(ctx, &found));
    pthread_mutex_lock(&ctx->tables_lock);
    struct tables *before = ctx->tables;
    ctx->tables = found;
    pthread_mutex_unlock(&ctx->tables_lock);
    ctx_release_tables(ctx, before);
    pthread_mutex_lock(&ctx->lock);
    ctx->counters.table_reloads++;
    pthread_mutex_unlock(&ctx->lock);
out:
    return st;
}

/* ---- lifetime ---- */

fdec_status fdec_ctx_create(cl_context context, cl_device_id device, const fdec_ctx_params *params, fdec_ctx **out)
{
    fdec_status st = FDEC_OK;
    fdec_ctx_params own = FDEC_CTX_PARAMS_INIT;
    fdec_ctx *ctx = NULL;
    require("fdec_ctx_create", context != NULL && device != NULL && out != NULL);
    *out = NULL;
    if (params)
        try_st(take_struct("fdec_ctx_create", &own, sizeof own, params));
    ctx = calloc(1, sizeof *ctx);
    try_alloc(ctx);
    ctx->record_fd = -1;
    pthread_mutex_init(&ctx->lock, NULL);
    pthread_mutex_init(&ctx->host_lock, NULL);
    pthread_mutex_init(&ctx->tables_lock, NULL);
    try_cl(clRetainContext(context));
    ctx->context = context;
    try_cl(clRetainDevice(device)); /* no-op for root devices */
    ctx->device_id = device;
    log_open(&ctx->log, own.log, own.log_user);
    cache_open(own.cache_dir, &ctx->log, ctx->cache_dir, sizeof ctx->cache_dir);
    try_st(find_device(ctx));
    try_st(ctx_probe(ctx));
    try_st(device_pretend(&ctx->device));
    if (own.table)
        try_alloc(ctx->table_path = strdup(own.table));
    try_st(find_tables(ctx, &ctx->tables));
    take_rates(ctx);
    ctx_load_denied(ctx);
    const char *table_only = getenv("FLASHDEC_TABLE_ONLY");
    ctx->table_only = table_only && !strcmp(table_only, "1");
    try_st(record_open(ctx));
    *out = ctx;
    ctx = NULL;
out:
    fdec_ctx_destroy(&ctx);
    return st;
}

void fdec_ctx_destroy(fdec_ctx **ctx)
{
    if (!ctx || !*ctx)
        return;
    fdec_ctx *c = *ctx;
    for (int i = 0; i < c->n_programs; i++) {
        clReleaseProgram(c->programs[i].program);
        free(c->programs[i].options);
    }
    record_close(c);
    ctx_release_tables(c, c->tables);
    free(c->table_path);
    if (c->device_id)
        clReleaseDevice(c->device_id);
    if (c->context)
        clReleaseContext(c->context);
    pthread_mutex_destroy(&c->lock);
    pthread_mutex_destroy(&c->host_lock);
    pthread_mutex_destroy(&c->tables_lock);
    free(c);
    *ctx = NULL;
}

void fdec_ctx_counters(const fdec_ctx *ctx, fdec_counters *out)
{
    if (!ctx || !out)
        return;
    pthread_mutex_lock((pthread_mutex_t *) &ctx->lock);
    *out = ctx->counters;
    pthread_mutex_unlock((pthread_mutex_t *) &ctx->lock);
}
