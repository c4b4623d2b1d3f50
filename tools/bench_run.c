/* SPDX-License-Identifier: MIT
 * bench_run.c - one problem: check, time beside the roofline and the peers, print
 *
 * Memory of a shared machine changes its pace from second to second, so a round takes one sample of everything, one
 * after another: read bandwidth, multiply-add rate, the library, each peer; each number reported is the median over
 * the rounds. */
#include "bench.h"
#include "plan.h"
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double batch_us = 10000; /* what short runs are queued up to: the wait at the end costs little then */
enum { MAX_SETS = 1024, MAX_BATCH = 4096 };

struct result {
    double max_error_ratio;
    struct stats us;
    double bytes, flops, read_gbps, fma_gflops, floor_us, floor_share;
    int n_peers;
    struct stats peer_us[MAX_PEERS];
};

struct own { /* the library's contestant */
    struct workload *workload;
    fdec_plan *plan;
};

static fdec_status own_run(void *self, int set)
{
    struct own *own = self;
    return workload_run(own->workload, own->plan, set, NULL);
}

int bench_sets(const struct bench *b, double set_bytes)
{
    return (int) MIN(2 * (double) b->cache_bytes / set_bytes + 1, MAX_SETS);
}

/* ---- timing ---- */

static fdec_status time_batch(struct bench *b, struct runner *r, int n, double *us)
{
    fdec_status st = FDEC_OK;
    const double begin = now_us();
    for (int i = 0; i < n; i++) {
        try_st(r->run(r->self, r->next_set));
        r->next_set = (r->next_set + 1) % r->n_sets;
    }
    try_cl(clFinish(b->session.queue));
    *us = (now_us() - begin) / n;
out:
    return st;
}

/* Drivers compile at the first run; the second one says how many make a batch, and these bring the clocks up. */
static fdec_status warm_up(struct bench *b, struct runner *r)
{
    fdec_status st = FDEC_OK;
    double us = 0;
    try_st(time_batch(b, r, 1, &us));
    try_st(time_batch(b, r, 1, &us));
    try_st(time_batch(b, r, (int) MAX(MIN(batch_us / us, MAX_BATCH), 1), &us));
    r->batch = (int) MAX(MIN(batch_us / us, MAX_BATCH), 1);
out:
    return st;
}

static fdec_status time_rounds(struct bench *b, struct runner *runners, int n, struct result *res)
{
    fdec_status st = FDEC_OK;
    static double read[MAX_ROUNDS], fma[MAX_ROUNDS];
    for (int i = 0; i < n; i++)
        try_st(warm_up(b, &runners[i]));
    for (int round = 0; round < b->rounds; round++) {
        try_st(roof_read_gbps(b->roof, &read[round]));
        try_st(roof_fma_gflops(b->roof, &fma[round]));
        for (int i = 0; i < n; i++)
            try_st(time_batch(b, &runners[i], runners[i].batch, &runners[i].us[round]));
    }
    res->read_gbps = stats_of(read, b->rounds).median;
    res->fma_gflops = stats_of(fma, b->rounds).median;
    res->us = stats_of(runners[0].us, b->rounds);
    for (int i = 1; i < n; i++)
        res->peer_us[i - 1] = stats_of(runners[i].us, b->rounds);
    res->n_peers = n - 1;
    res->floor_us = 1e-3 * MAX(res->bytes / res->read_gbps, res->flops / res->fma_gflops);
    res->floor_share = res->floor_us / res->us.median;
out:
    return st;
}

/* ---- printing ---- */

static json_t *number(double x) /* JSON has no NaN and no infinity */
{
    return isfinite(x) ? json_real(x) : json_null();
}

static json_t *config_json(const struct choice *c)
{
    json_t *config = json_object();
    for (int i = 0; i < kernel_n_params(c->kernel); i++)
        json_object_set_new(config, c->kernel->params[i].name, json_integer(c->cfg[i]));
    return config;
}

/* Times are null where the check failed: nothing was timed. */
static void print_json(const struct bench *b, const struct problem *p, const struct choice *c, const struct result *res,
                       const struct runner *peers)
{
    char text[PROBLEM_TEXT];
    problem_print(p, text);
    const bool timed = res->us.n > 0;
    json_t *o = json_object(), *list = json_array();
    json_object_set_new(o, "op", json_string(operations[p->op].name));
    json_object_set_new(o, "problem", json_string(text));
    json_object_set_new(o, "device", json_string(b->session.ctx->device.name));
    json_object_set_new(o, "driver", json_string(b->session.ctx->device.driver));
    json_object_set_new(o, "kernel", json_string(c->kernel->name));
    json_object_set_new(o, "config", config_json(c));
    json_object_set_new(o, "median_us", timed ? number(res->us.median) : json_null());
    json_object_set_new(o, "ci95_us", timed ? json_pack("[f,f]", res->us.lo, res->us.hi) : json_null());
    json_object_set_new(o, "bytes", json_integer((json_int_t) res->bytes));
    json_object_set_new(o, "flops", json_integer((json_int_t) res->flops));
    json_object_set_new(o, "read_gbps", timed ? number(res->read_gbps) : json_null());
    json_object_set_new(o, "fma_gflops", timed ? number(res->fma_gflops) : json_null());
    json_object_set_new(o, "floor_us", timed ? number(res->floor_us) : json_null());
    json_object_set_new(o, "floor_share", timed ? number(res->floor_share) : json_null());
    json_object_set_new(o, "max_error_ratio", number(res->max_error_ratio));
    for (int i = 0; i < res->n_peers; i++) {
        json_t *peer = json_object();
        json_object_set_new(peer, "name", json_string(peers[i].name));
        json_object_set_new(peer, "median_us", number(res->peer_us[i].median));
        json_object_set_new(peer, "speedup", number(res->peer_us[i].median / res->us.median));
        json_array_append_new(list, peer);
    }
    json_object_set_new(o, "peers", list);
    json_dumpf(o, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(o);
}

static void print_row(struct bench *b, const struct problem *p, const struct choice *c, const struct result *res,
                      const struct runner *peers)
{
    char text[PROBLEM_TEXT], config[256];
    problem_print(p, text);
    kernel_print_config(c->kernel, c->cfg, config, sizeof config);
    if (b->n_printed == 0)
        printf("%s, driver %s\n%-44s %11s %23s %7s %7s %11s %6s %6s  %s\n", b->session.ctx->device.name,
               b->session.ctx->device.driver, "problem", "median us", "95 %", "GB/s", "GF/s", "floor us", "share",
               "error", "kernel; peers: us (speedup of the library)");
    if (res->us.n > 0)
        printf("%-44s %11.1f %11.1f %11.1f %7.1f %7.0f %11.1f %6.3f %6.3f  %s", text, res->us.median, res->us.lo,
               res->us.hi, res->read_gbps, res->fma_gflops, res->floor_us, res->floor_share, res->max_error_ratio,
               c->kernel->name);
    else
        printf("%-44s WRONG: error %.3g times its bound, not timed; %s", text, res->max_error_ratio, c->kernel->name);
    if (config[0])
        printf(" (%s)", config);
    for (int i = 0; i < res->n_peers; i++)
        printf("; %s: %.1f (%.2fx)", peers[i].name, res->peer_us[i].median, res->peer_us[i].median / res->us.median);
    putchar('\n');
}

static void print_result(struct bench *b, const struct problem *p, const struct choice *c, const struct result *res,
                         const struct runner *peers)
{
    if (b->json)
        print_json(b, p, c, res, peers);
    else
        print_row(b, p, c, res, peers);
    fflush(stdout);
    b->n_printed++;
}

/* Least squares of the relative residuals, a + b * x against y: with absolute ones, the longest context alone would say
 * where the line is. Each point is divided by its y, so the model is a / y + b * (x / y) = 1. */
static void fit_line(const double *x, const double *y, int n, double *a, double *b, double *worst)
{
    double uu = 0, uv = 0, vv = 0, u1 = 0, v1 = 0;
    for (int i = 0; i < n; i++) {
        const double u = 1 / y[i], v = x[i] / y[i];
        uu += u * u, uv += u * v, vv += v * v, u1 += u, v1 += v;
    }
    const double det = uu * vv - uv * uv;
    *a = (u1 * vv - v1 * uv) / det;
    *b = (v1 * uu - u1 * uv) / det;
    *worst = 0;
    for (int i = 0; i < n; i++)
        *worst = fmax(*worst, fabs((*a + *b * x[i]) / y[i] - 1));
}

void bench_print_fit(struct bench *bench, const struct problem *p, const double *context, const double *us, int n)
{
    char text[PROBLEM_TEXT];
    double a, b, worst;
    fit_line(context, us, n, &a, &b, &worst);
    problem_class(p, text);
    append(text, sizeof text, " b=%lld", (long long) p->attn.batch);
    if (!bench->json) {
        printf("fit of %s: %.1f us + %.6f us * context, largest relative residual %.2f %%\n", text, a, b, 100 * worst);
        return;
    }
    json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o}", "op", "fit", "problem", text, "device",
                          bench->session.ctx->device.name, "driver", bench->session.ctx->device.driver, "a_us",
                          number(a), "b_us_per_token", number(b), "max_relative_residual", number(worst));
    json_dumpf(o, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(o);
}

/* ---- one problem ---- */

static fdec_status check(struct bench *b, const struct own *own, const char *text, bool *right, double *ratio)
{
    fdec_status st = FDEC_OK;
    char why[512];
    try_st(workload_poison(own->workload));
    try_st(own_run((void *) own, 0));
    try_cl(clFinish(b->session.queue));
    *right = workload_check(own->workload, ratio, why, sizeof why);
    if (!*right)
        fprintf(stderr, "flashdec-bench: %s: wrong result: %s\n", text, why);
out:
    return st;
}

static fdec_status make_workload(struct bench *b, const struct problem *p, int *n_sets, struct workload **w)
{
    struct workload_spec spec = {.problem = *p, .fill = FILL_UNIFORM, .seed = 1, .n_sets = 1, .reference = true};
    const double set_bytes = (double) workload_set_bytes(&spec),
                 global_bytes = (double) b->session.ctx->device.global_bytes;
    *n_sets = MAX(bench_sets(b, set_bytes), 2); /* a single set lies at odd offsets */
    spec.n_sets = *n_sets;
    if (*n_sets * set_bytes > global_bytes) /* before the host tries to make as many numbers */
        return fail(FDEC_E_MEMORY, "%d sets of operands need %.1f GiB, the device has %.1f", *n_sets,
                    *n_sets * set_bytes / 1073741824.0, global_bytes / 1073741824.0);
    return workload_create(b->session.ctx, b->session.queue, &spec, w);
}

enum outcome bench_problem(struct bench *b, const struct problem *p, const char *family)
{
    static struct runner runners[1 + MAX_PEERS];
    fdec_status st = FDEC_OK;
    struct own own = {0};
    const struct choice *choice = NULL;
    struct result res = {.bytes = problem_bytes(p), .flops = problem_flops(p)};
    char text[PROBLEM_TEXT];
    int n_sets, n_peers = 0;
    bool right = false, refused = true;
    problem_print(p, text);
    try_st(plan_create_problem(b->session.ctx, p, &(struct want){.family = family}, &own.plan));
    refused = false;
    choice = &plan_pick(own.plan, p, &(struct geometry){0})->choice;
    try_st(make_workload(b, p, &n_sets, &own.workload));
    try_st(check(b, &own, text, &right, &res.max_error_ratio));
    runners[0] = (struct runner){.name = "flashdec", .run = own_run, .self = &own, .n_sets = n_sets};
    if (right) {
        if (b->peers)
            n_peers = peers_open(b, p, choice->kernel, own.workload, n_sets, &runners[1]);
        try_st(time_rounds(b, runners, 1 + n_peers, &res));
    }
    print_result(b, p, choice, &res, &runners[1]);
    b->last_us = res.us.n > 0 ? res.us.median : 0;
out:
    if (st != FDEC_OK)
        fprintf(stderr, "flashdec-bench: %s: %s\n", text, fdec_last_error());
    peers_close(&runners[1], n_peers);
    workload_destroy(&own.workload);
    fdec_plan_destroy(&own.plan);
    if (st != FDEC_OK)
        return refused && (st == FDEC_E_ARG || st == FDEC_E_UNSUPPORTED) ? BENCH_REFUSED : BENCH_ERROR;
    return right ? BENCH_OK : BENCH_WRONG;
}
