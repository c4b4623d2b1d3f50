/* SPDX-License-Identifier: MIT
 * check_reload.c - another table while the process lives */
#include "checkcl.h"
#include "table.h"
#include "util.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct reload {
    struct check *c;
    const fdec_ctx *ctx;
    struct problem problem; /* of params() */
};

static void must(const struct reload *a, const char *what, fdec_status st)
{
    check_that(a->c, st == FDEC_OK, what, fdec_last_error());
}

static void refused(const struct reload *a, const char *what, fdec_status got, fdec_status want, const char *part)
{
    check_that(a->c, got == want && strstr(fdec_last_error(), part), what, fdec_last_error());
}

static fdec_softmax_params params(void)
{
    fdec_softmax_params p = FDEC_SOFTMAX_PARAMS_INIT;
    p.max_rows = 2, p.cols = 50;
    return p;
}

/* A table for this device that has `name` compute the softmax of params(), in the first configuration
 * that can. */
static void write_table(const struct reload *a, const char *path, const char *name)
{
    const struct kernel *k = kernel_find(name);
    struct table_entry e = {
        .rev = k->rev, .lo = {1, 1}, .hi = {INT64_MAX, 2}, .point = {1, 1}, .median_us = 1, .samples = 9};
    struct table t = {.tuner_version = "0.1.0", .n_entries = 1, .entries = &e};
    int at[MAX_PARAMS] = {0}, cfg[MAX_PARAMS];
    kernel_first(k, at, cfg);
    while (k->reject(&a->problem, &a->ctx->device, cfg) && kernel_next(k, at, cfg)) {
    }
    problem_class(&a->problem, e.class_text);
    snprintf(e.kernel, sizeof e.kernel, "%s", k->name);
    snprintf(e.family, sizeof e.family, "%s", k->family);
    e.n_config = kernel_n_params(k);
    for (int i = 0; i < e.n_config; i++) {
        snprintf(e.config[i].name, sizeof e.config[i].name, "%s", k->params[i].name);
        e.config[i].value = cfg[i];
    }
    table_device_of(&a->ctx->device, &t.device);
    must(a, "write a table", table_write(&t, path));
}

static void expect_kernel(const struct reload *a, const fdec_plan *plan, const char *name, const char *when)
{
    char text[2000] = "";
    if (plan)
        must(a, when, fdec_explain(plan, FDEC_TEXT, text, sizeof text, NULL));
    check_that(a->c, strstr(text, name) != NULL, when, text);
}

static void replace_table(const struct reload *a)
{
    static const char *const names[] = {"softmax/online", "softmax/three-pass"};
    char dir[] = "/tmp/flashdec-reload-XXXXXX", path[64];
    const fdec_softmax_params sp = params();
    fdec_ctx_params p = FDEC_CTX_PARAMS_INIT;
    fdec_ctx *ctx = NULL;
    fdec_plan *plans[2] = {NULL};
    fdec_counters counters = {0};
    if (!mkdtemp(dir)) {
        check_that(a->c, false, "mkdtemp", dir);
        return;
    }
    snprintf(path, sizeof path, "%s/table.json", dir);
    p.table = path;
    write_table(a, path, names[0]);
    must(a, "context with a table", fdec_ctx_create(a->ctx->context, a->ctx->device_id, &p, &ctx));
    must(a, "plan by the table", fdec_softmax_plan_create(ctx, &sp, &plans[0]));
    write_table(a, path, names[1]);
    must(a, "reload", fdec_ctx_reload_tables(ctx));
    must(a, "plan by the new table", fdec_softmax_plan_create(ctx, &sp, &plans[1]));
    FILE *f = fopen(path, "w");
    check_that(a->c, f && fputs("{}", f) >= 0 && !fclose(f), "spoil the table", path);
    refused(a, "reload of a table that is none", fdec_ctx_reload_tables(ctx), FDEC_E_DATA, "table.json");
    refused(a, "reload of nothing", fdec_ctx_reload_tables(NULL), FDEC_E_ARG, "ctx");
    expect_kernel(a, plans[0], names[0], "a plan from before the reload");
    expect_kernel(a, plans[1], names[1], "a plan from after it");
    fdec_ctx_counters(ctx, &counters);
    check_that(a->c, counters.table_reloads == 1 && counters.plans_at_level[1] == 2 && counters.plans_at_level[6] == 0,
               "counters after a reload", "not 1 reload and 2 plans by an exact table");
    for (int i = 0; i < 2; i++)
        fdec_plan_destroy(&plans[i]);
    fdec_ctx_destroy(&ctx);
    unlink(path);
    rmdir(dir);
}

void check_reload(struct check *c)
{
    struct reload a = {.c = c, .ctx = check_ctx(c)};
    const fdec_softmax_params p = params();
    fdec_plan *plan = NULL;
    must(&a, "a plan without a table", fdec_softmax_plan_create(check_ctx(c), &p, &plan));
    if (!plan)
        return;
    a.problem = plan->problem;
    fdec_plan_destroy(&plan);
    replace_table(&a);
}
