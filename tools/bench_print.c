/* SPDX-License-Identifier: MIT
 * bench_print.c - what flashdec-bench prints: a line for each problem, as a table or as JSON, and what follows them */
#include "bench.h"
#include <jansson.h>
#include <math.h>

static json_t *number(double x) /* JSON has no NaN and no infinity */
{
    return isfinite(x) ? json_real(x) : json_null();
}

static void print_line(json_t *o) /* takes o */
{
    json_dumpf(o, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(o);
}

static json_t *config_json(const struct choice *c)
{
    json_t *config = json_object();
    for (int i = 0; i < kernel_n_params(c->kernel); i++)
        json_object_set_new(config, c->kernel->params[i].name, json_integer(c->cfg[i]));
    return config;
}

/* Times are null where the check failed: nothing was timed. */
static void print_json(const struct bench *b, const struct point *pt)
{
    char text[PROBLEM_TEXT];
    const struct problem *p = &pt->problem;
    const struct choice *c = pt->choice;
    const struct stats *us = &pt->runners[0].stats;
    const bool timed = us->n > 0;
    problem_print(p, text);
    json_t *o = json_object(), *list = json_array();
    json_object_set_new(o, "op", json_string(operations[p->op].name));
    json_object_set_new(o, "problem", json_string(text));
    json_object_set_new(o, "device", json_string(b->session.ctx->device.name));
    json_object_set_new(o, "driver", json_string(b->session.ctx->device.driver));
    json_object_set_new(o, "kernel", json_string(c->kernel->name));
    json_object_set_new(o, "config", config_json(c));
    json_object_set_new(o, "median_us", timed ? number(us->median) : json_null());
    json_object_set_new(o, "ci95_us", timed ? json_pack("[f,f]", us->lo, us->hi) : json_null());
    json_object_set_new(o, "bytes", json_integer((json_int_t) pt->bytes));
    json_object_set_new(o, "flops", json_integer((json_int_t) pt->flops));
    json_object_set_new(o, "read_gbps", timed ? number(pt->sitting->read_gbps) : json_null());
    json_object_set_new(o, "fma_gflops", timed ? number(pt->sitting->fma_gflops) : json_null());
    json_object_set_new(o, "floor_us", timed ? number(pt->floor_us) : json_null());
    json_object_set_new(o, "floor_share", timed ? number(pt->floor_us / us->median) : json_null());
    json_object_set_new(o, "max_error_ratio", number(pt->max_error_ratio));
    for (const struct runner *r = pt->runners + 1; r < pt->runners + pt->n_runners; r++) {
        json_t *peer = json_object();
        json_object_set_new(peer, "name", json_string(r->name));
        json_object_set_new(peer, "median_us", number(r->stats.median));
        json_object_set_new(peer, "speedup", number(r->stats.median / us->median));
        json_array_append_new(list, peer);
    }
    json_object_set_new(o, "peers", list);
    print_line(o);
}

static void print_row(const struct bench *b, const struct point *pt)
{
    char text[PROBLEM_TEXT], config[256];
    const struct choice *c = pt->choice;
    const struct stats *us = &pt->runners[0].stats;
    problem_print(&pt->problem, text);
    kernel_print_config(c->kernel, c->cfg, config, sizeof config);
    if (b->n_printed == 0)
        printf("%s, driver %s\n%-44s %11s %23s %7s %7s %11s %6s %6s  %s\n", b->session.ctx->device.name,
               b->session.ctx->device.driver, "problem", "median us", "95 %", "GB/s", "GF/s", "floor us", "share",
               "error", "kernel; peers: us (speedup of the library)");
    if (us->n > 0)
        printf("%-44s %11.1f %11.1f %11.1f %7.1f %7.0f %11.1f %6.3f %6.3f  %s", text, us->median, us->lo, us->hi,
               pt->sitting->read_gbps, pt->sitting->fma_gflops, pt->floor_us, pt->floor_us / us->median,
               pt->max_error_ratio, c->kernel->name);
    else
        printf("%-44s WRONG: error %.3g times its bound, not timed; %s", text, pt->max_error_ratio, c->kernel->name);
    if (config[0])
        printf(" (%s)", config);
    for (const struct runner *r = pt->runners + 1; r < pt->runners + pt->n_runners; r++)
        printf("; %s: %.1f (%.2fx)", r->name, r->stats.median, r->stats.median / us->median);
    putchar('\n');
}

void bench_print(struct bench *b, const struct point *pt)
{
    if (b->json)
        print_json(b, pt);
    else
        print_row(b, pt);
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
    print_line(o);
}

static void print_verdicts_json(const struct bench *b, const char *text, const struct verdicts *v)
{
    json_t *o = json_pack("{s:s, s:s, s:s, s:s}", "op", "sweep", "problem", text, "device", b->session.ctx->device.name,
                          "driver", b->session.ctx->device.driver);
    json_t *broken = json_array();
    for (int r = 0; r < N_RULES; r++) {
        const struct verdict *worst = &v->worst[r];
        json_t *rule = json_pack("{s:f, s:i, s:i, s:o, s:o}", "limit", rule_limits[r], "checked", v->n_checked[r],
                                 "violated", v->n_broken[r], "worst_m", worst->m ? json_integer(worst->m) : json_null(),
                                 "worst_ratio", worst->m ? number(worst->ratio.median) : json_null());
        json_object_set_new(o, rule_names[r], rule);
    }
    for (const struct verdict *i = v->broken; i < v->broken + v->n; i++) {
        json_t *one = json_pack("{s:s, s:I, s:f, s:[f,f]}", "rule", rule_names[i->rule], "m", (json_int_t) i->m,
                                "ratio", i->ratio.median, "ci95", i->ratio.lo, i->ratio.hi);
        if (i->rule == RULE_STEP) {
            json_object_set_new(one, "bytes_us", number(i->bytes_us));
            json_object_set_new(one, "cached_us", number(i->cached_us));
        }
        json_array_append_new(broken, one);
    }
    json_object_set_new(o, "violations", broken);
    print_line(o);
}

static const char *const rule_texts[N_RULES] = {
    [RULE_STEP] = "t(M) over t(M - 1), memory-bound",
    [RULE_PAD] = "t(M) over the lesser of M t(1) and t(next power of two)",
};

void bench_print_verdicts(struct bench *b, const struct sitting *s, const struct verdicts *v)
{
    char text[PROBLEM_TEXT];
    int n_of_memory = 0;
    problem_class(&s->points[0].problem, text);
    if (b->json) {
        print_verdicts_json(b, text, v);
        return;
    }
    for (const struct verdict *i = v->broken; i < v->broken + v->n; i++) {
        printf("violation of %s at M=%d: ratio %.3f (%.3f..%.3f), over %.2f: %s", rule_names[i->rule], (int) i->m,
               i->ratio.median, i->ratio.lo, i->ratio.hi, rule_limits[i->rule], rule_texts[i->rule]);
        if (i->rule == RULE_STEP) {
            const bool of_memory = i->cached_us < i->bytes_us;
            n_of_memory += of_memory;
            printf("; %.1f us with W in the cache, %.1f us for its bytes: %s", i->cached_us, i->bytes_us,
                   of_memory ? "memory's" : "arithmetic's");
        }
        putchar('\n');
    }
    printf("sweep of %s:", text);
    for (int r = 0; r < N_RULES; r++) {
        printf("%s %s: %d of %d over %.2f", r ? ";" : "", rule_names[r], v->n_broken[r], v->n_checked[r],
               rule_limits[r]);
        if (v->worst[r].m)
            printf(", worst %.3f at M=%d", v->worst[r].ratio.median, (int) v->worst[r].m);
        if (r == RULE_STEP && v->n_broken[r])
            printf(", %d of them memory's by the clock", n_of_memory);
    }
    putchar('\n');
}
