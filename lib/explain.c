/* SPDX-License-Identifier: MIT
 * explain.c - what a plan chose and why, what a context found, for people and as JSON */
#include "mma.h"
#include "plan.h"
#include "shuffle.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char *const level_names[] = {
    [LEVEL_EXACT] = "this device and driver",   [LEVEL_OTHER_DRIVER] = "this device, another driver",
    [LEVEL_ARCHITECTURE] = "same architecture", [LEVEL_MODELLED] = "modelled, never measured",
    [LEVEL_NEAREST] = "nearest by features",    [LEVEL_ANALYTIC] = "analytic default",
};

/* The time to move the least bytes at the bandwidth that the table measured; 0: unknown. */
static double floor_us(const struct problem *p, const struct device *d)
{
    return d->read_gbps > 0 ? problem_bytes(p) / (d->read_gbps * 1e3) : 0;
}

static double expected_us(const fdec_plan *plan, const struct choice *c)
{
    if (c->expected_us > 0)
        return c->expected_us;
    const struct problem p = plan_largest_in(plan, &c->range);
    return c->expected_share > 0 ? floor_us(&p, &plan->ctx->device) / c->expected_share : 0;
}

static json_t *range_json(const struct choice *c, enum op op)
{
    json_t *o = json_object();
    const char *const *names = problem_range_names(op);
    for (int i = 0; i < N_RANGES && names[i]; i++)
        json_object_set_new(o, names[i],
                            c->range.hi[i] == INT64_MAX
                                ? json_pack("[I, n]", (json_int_t) c->range.lo[i])
                                : json_pack("[I, I]", (json_int_t) c->range.lo[i], (json_int_t) c->range.hi[i]));
    return o;
}

static json_t *choice_json(const fdec_plan *plan, const struct choice *c)
{
    json_t *o = json_object(), *config = json_object();
    for (int i = 0; i < kernel_n_params(c->kernel); i++)
        json_object_set_new(config, c->kernel->params[i].name, json_integer(c->cfg[i]));
    json_object_set_new(o, "kernel", json_string(c->kernel->name));
    json_object_set_new(o, "revision", json_integer(c->kernel->rev));
    json_object_set_new(o, "family", json_string(c->kernel->family));
    json_object_set_new(o, "config", config);
    json_object_set_new(o, "range", range_json(c, plan->problem.op));
    json_object_set_new(o, "table", c->table ? json_string(c->table->path) : json_null());
    json_object_set_new(o, "entry", c->table ? json_integer(c->entry) : json_null());
    json_object_set_new(o, "table_level", json_integer(c->level));
    json_object_set_new(o, "reason", json_string(c->reason));
    json_object_set_new(o, "expected_us", json_real(expected_us(plan, c)));
    json_object_set_new(o, "expected_share", json_real(c->expected_share));
    return o;
}

static json_t *plan_json(const fdec_plan *plan)
{
    char text[PROBLEM_TEXT];
    json_t *o = json_object(), *choices = json_array();
    problem_print(&plan->problem, text);
    json_object_set_new(o, "problem", json_string(text));
    json_object_set_new(o, "device", json_string(plan->ctx->device.name));
    json_object_set_new(o, "workspace_bytes", json_integer((json_int_t) plan->workspace_bytes));
    json_object_set_new(o, "floor_us", json_real(floor_us(&plan->problem, &plan->ctx->device)));
    for (int i = 0; i < plan->n_ready; i++)
        json_array_append_new(choices, choice_json(plan, &plan->ready[i].choice));
    json_object_set_new(o, "choices", choices);
    return o;
}

static void range_text(const struct choice *c, enum op op, char *buf, size_t n)
{
    const char *const *names = problem_range_names(op);
    *buf = 0;
    for (int i = 0; i < N_RANGES && names[i]; i++) {
        append(buf, n, "%s%s %lld..", i ? ", " : "", names[i], (long long) c->range.lo[i]);
        if (c->range.hi[i] != INT64_MAX)
            append(buf, n, "%lld", (long long) c->range.hi[i] - 1);
    }
}

static char *plan_text(const fdec_plan *plan)
{
    enum { SIZE = 8192 };
    char *buf = calloc(1, SIZE), text[PROBLEM_TEXT], config[160], range[120];
    if (!buf)
        return NULL;
    problem_print(&plan->problem, text);
    append(buf, SIZE, "%s on %s\n", text, plan->ctx->device.name);
    for (int i = 0; i < plan->n_ready; i++) {
        const struct choice *c = &plan->ready[i].choice;
        const double us = expected_us(plan, c);
        kernel_print_config(c->kernel, c->cfg, config, sizeof config);
        range_text(c, plan->problem.op, range, sizeof range);
        append(buf, SIZE, "  %s: %s %s\n    level %d (%s): %s\n", range, c->kernel->name, config, c->level,
               level_names[c->level], c->reason);
        if (us > 0)
            append(buf, SIZE, "    expected %.1f us\n", us);
    }
    return buf;
}

static fdec_status hand_out(char *text, char *buf, size_t n, size_t *needed)
{
    fdec_status st = FDEC_OK;
    try_alloc(text);
    if (needed)
        *needed = strlen(text);
    if (buf && n)
        snprintf(buf, n, "%s", text);
out:
    free(text);
    return st;
}

static char *dump(json_t *o)
{
    char *text = json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(6));
    json_decref(o);
    return text;
}

fdec_status fdec_explain(const fdec_plan *plan, fdec_format format, char *buf, size_t n, size_t *needed)
{
    fdec_status st = FDEC_OK;
    require("fdec_explain", plan != NULL);
    require("fdec_explain", format == FDEC_TEXT || format == FDEC_JSON);
    if (plan->adaption.online) /* fdec_attn_adapt has moved it */
        plan = plan->adaption.online;
    try_st(hand_out(format == FDEC_JSON ? dump(plan_json(plan)) : plan_text(plan), buf, n, needed));
out:
    return st;
}

static json_t *device_json(const struct device *d)
{
    json_t *o = json_object();
    json_object_set_new(o, "name", json_string(d->name));
    json_object_set_new(o, "vendor", json_string(d->vendor));
    json_object_set_new(o, "driver", json_string(d->driver));
    json_object_set_new(o, "platform", json_string(d->platform));
    json_object_set_new(o, "version", json_string(d->version));
    json_object_set_new(o, "vendor_id", json_integer(d->vendor_id));
    json_object_set_new(o, "cpu", json_boolean(d->type & CL_DEVICE_TYPE_CPU));
    json_object_set_new(o, "compute_units", json_integer(d->compute_units));
    json_object_set_new(o, "max_work_group", json_integer((json_int_t) d->max_wg));
    json_object_set_new(o, "local_bytes", json_integer((json_int_t) d->local_bytes));
    json_object_set_new(o, "global_bytes", json_integer((json_int_t) d->global_bytes));
    json_object_set_new(o, "max_alloc_bytes", json_integer((json_int_t) d->max_alloc_bytes));
    return o;
}

static const char *const shuffles[] = {
    [SHUFFLE_NONE] = "none", [SHUFFLE_PTX] = "PTX", [SHUFFLE_AMD] = "AMD", [SHUFFLE_KHR] = "sub-groups"};

static const char *const matrix_names[] = {"none", [MATRIX_PTX] = "PTX mma", [MATRIX_MFMA] = "MFMA",
                                           [MATRIX_WMMA] = "WMMA", [MATRIX_WMMA_GFX12] = "WMMA gfx12"};

static json_t *probed_json(const struct device *d)
{
    json_t *o = json_object();
    json_object_set_new(o, "cpu_like", json_boolean(d->cpu_like));
    json_object_set_new(o, "fp16_storage", json_boolean(d->fp16_storage));
    json_object_set_new(o, "prefetch", json_boolean(d->prefetch));
    json_object_set_new(o, "fp64", json_boolean(d->fp64));
    json_object_set_new(o, "shuffle", json_string(shuffles[d->shuffle]));
    json_object_set_new(o, "matrix", json_string(matrix_names[d->matrix]));
    json_object_set_new(o, "matrix_f16", json_boolean(d->matrix_f16));
    return o;
}

static json_t *tables_json(const struct table_set *s)
{
    json_t *list = json_array();
    for (int i = 0; i < s->n; i++) {
        const struct table *t = s->tables[i];
        json_t *o = json_object();
        json_object_set_new(o, "path", json_string(t->path));
        json_object_set_new(o, "table_level", json_integer(s->level[i]));
        json_object_set_new(o, "level_name", json_string(level_names[s->level[i]]));
        json_object_set_new(o, "entries", json_integer(t->n_entries));
        json_object_set_new(o, "complete", json_boolean(t->complete));
        json_object_set_new(o, "modelled", json_boolean(t->modelled));
        json_object_set_new(o, "read_gbps", json_real(t->device.read_gbps));
        json_array_append_new(list, o);
    }
    return list;
}

fdec_status fdec_ctx_describe(const fdec_ctx *ctx, char *buf, size_t n, size_t *needed)
{
    fdec_status st = FDEC_OK;
    require("fdec_ctx_describe", ctx != NULL);
    json_t *o = json_object(), *denied = json_array();
    for (int i = 0; kernels[i]; i++)
        if (ctx->denied[i])
            json_array_append_new(denied, json_string(kernels[i]->name));
    json_object_set_new(o, "flashdec", json_string(fdec_version()));
    json_object_set_new(o, "device", device_json(&ctx->device));
    json_object_set_new(o, "probed", probed_json(&ctx->device));
    json_object_set_new(o, "denied", denied);
    struct tables *tables = ctx_hold_tables((fdec_ctx *) ctx);
    json_object_set_new(o, "tables", tables_json(&tables->set)); /* best first */
    ctx_release_tables((fdec_ctx *) ctx, tables);
    json_object_set_new(o, "cache_dir", json_string(ctx->cache_dir));
    try_st(hand_out(dump(o), buf, n, needed));
out:
    return st;
}
