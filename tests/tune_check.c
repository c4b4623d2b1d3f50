/* SPDX-License-Identifier: MIT
 * tune_check.c - the tuner's own check of candidates on many (configuration, problem) pairs in one process
 *
 *     tune_check [--kernel TEXT] [--configs N] [--seed N] [--options] PROBLEM...
 *
 * For each kernel (with TEXT in its name) and N of its configurations, the library's choice first: each problem that
 * it does not reject, as a worker of flashdec-tune checks it. --options prints what each program is compiled with,
 * and runs nothing. Exit status 0: all right; 1: the first that is not, which is printed; 2: usage; 77: no device. */
#include "check.h"
#include "program.h"

#include <stdlib.h>
#include <string.h>

enum { SKIP = 77, MAX_CONFIGS = 4096 };

struct run {
    struct checker checker;
    const char *kernel;
    int n_configs, pairs, n_problems;
    uint64_t seed;
    bool options;
    struct problem *problems;
};

static void no_phase(const char *name)
{
    (void) name;
}

static fdec_status open_device(struct run *run)
{
    cl_platform_id platform;
    cl_device_id device;
    cl_int err;
    fdec_status st = fdec_device_pick(NULL, &platform, &device);
    if (st)
        return st;
    const cl_context_properties props[] = {CL_CONTEXT_PLATFORM, (cl_context_properties) platform, 0};
    cl_context context = clCreateContext(props, 1, &device, NULL, NULL, &err);
    try_cl(err);
    st = fdec_ctx_create(context, device, NULL, &run->checker.ctx);
    clReleaseContext(context);
    try_st(st);
    run->checker.queue = clCreateCommandQueue(run->checker.ctx->context, device, 0, &err);
    try_cl(err);
    run->checker.phase = no_phase;
out:
    return st;
}

struct choice_of {
    uint64_t order;
    int cfg[MAX_PARAMS];
};

static int by_order(const void *a, const void *b)
{
    const uint64_t x = ((const struct choice_of *) a)->order, y = ((const struct choice_of *) b)->order;
    return (x > y) - (x < y);
}

/* Configurations that p allows: the expected one, then others in the seed's order. */
static int configs_of(const struct run *run, const struct kernel *k, const struct problem *p, struct choice_of *out)
{
    const struct device *d = &run->checker.ctx->device;
    int at[MAX_PARAMS], cfg[MAX_PARAMS], first[MAX_PARAMS] = {0}, n = 0;
    const bool has_first = k->expect && kernel_expect(k, p, d, first) >= 0;
    kernel_first(k, at, cfg);
    do {
        char text[256];
        if (n == MAX_CONFIGS || k->reject(p, d, cfg))
            continue;
        kernel_print_config(k, cfg, text, sizeof text);
        const bool is_first = has_first && !memcmp(cfg, first, (size_t) kernel_n_params(k) * sizeof *cfg);
        out[n].order = is_first ? 0 : hash64(text, strlen(text), run->seed) | 1;
        memcpy(out[n++].cfg, cfg, sizeof cfg);
    } while (kernel_next(k, at, cfg));
    qsort(out, (size_t) n, sizeof *out, by_order);
    return MIN(n, run->n_configs);
}

static fdec_status check_pair(const struct run *run, const struct candidate *c, const struct problem *p,
                              struct result *r)
{
    fdec_status st = FDEC_OK;
    fdec_plan *plan = NULL;
    struct workload *w = NULL;
    struct workload_spec spec;
    tune_spec(p, &spec);
    try_st(plan_create_problem(run->checker.ctx, p, &(struct want){.kernel = c->kernel, .cfg = c->cfg}, &plan));
    try_st(workload_create(run->checker.ctx, run->checker.queue, &spec, &w));
    try_st(check_point(&run->checker, plan, w, r));
    if (r->outcome == OUT_OK)
        try_st(check_small(&run->checker, c, p, true, r));
out:
    workload_destroy(&w);
    fdec_plan_destroy(&plan);
    return st;
}

static bool pair_is_right(struct run *run, const struct candidate *c, const struct problem *p)
{
    char config[256], text[PROBLEM_TEXT];
    struct result r = {0};
    const fdec_status st = check_pair(run, c, p, &r);
    run->pairs++;
    if (st == FDEC_OK && r.outcome == OUT_OK)
        return true;
    kernel_print_config(c->kernel, c->cfg, config, sizeof config);
    problem_print(p, text);
    printf("%s: %s %s on %s: %s\n",
           st                       ? "error"
           : r.outcome == OUT_WRONG ? "wrong result"
                                    : "non-deterministic",
           c->kernel->name, config, text, st ? fdec_last_error() : r.text);
    return false;
}

static bool run_kernel(struct run *run, const struct kernel *k)
{
    static struct choice_of configs[MAX_CONFIGS];
    char options[2 * MAX_DEFINES];
    for (int i = 0; i < run->n_problems; i++) {
        const struct problem *p = &run->problems[i];
        const int n = p->op == k->op ? configs_of(run, k, p, configs) : 0;
        for (int j = 0; j < n; j++) {
            struct candidate c = {.kernel = k};
            memcpy(c.cfg, configs[j].cfg, sizeof c.cfg);
            for (int launch = 0; run->options && launch < MAX_LAUNCHES && k->entry[launch]; launch++) {
                program_options(k, p, &run->checker.ctx->device, c.cfg, launch, options, sizeof options);
                printf("%s\n", options);
            }
            if (!run->options && !pair_is_right(run, &c, p))
                return false;
        }
    }
    return true;
}

static bool parse_args(struct run *run, int argc, char **argv)
{
    int i = 1;
    char why[200];
    for (; i < argc && argv[i][0] == '-'; i++) {
        if (!strcmp(argv[i], "--options"))
            run->options = true;
        else if (!strcmp(argv[i], "--kernel") && i + 1 < argc)
            run->kernel = argv[++i];
        else if (!strcmp(argv[i], "--configs") && i + 1 < argc)
            run->n_configs = atoi(argv[++i]);
        else if (!strcmp(argv[i], "--seed") && i + 1 < argc)
            run->seed = strtoull(argv[++i], NULL, 10);
        else
            return false;
    }
    run->problems = calloc((size_t) argc, sizeof *run->problems);
    for (; run->problems && i < argc; i++)
        if (!problem_parse(argv[i], &run->problems[run->n_problems++], why, sizeof why)) {
            fprintf(stderr, "tune_check: %s: %s\n", argv[i], why);
            return false;
        }
    return run->n_problems > 0;
}

int main(int argc, char **argv)
{
    struct run run = {.n_configs = 1, .seed = 1};
    bool right = true;
    if (!parse_args(&run, argc, argv)) {
        fprintf(stderr, "usage: tune_check [--kernel TEXT] [--configs N] [--seed N] [--options] PROBLEM...\n");
        return 2;
    }
    const fdec_status st = open_device(&run);
    if (st) {
        fprintf(stderr, "tune_check: %s\n", fdec_last_error());
        return st == FDEC_E_DEVICE && !run.checker.ctx ? SKIP : 1;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 0; kernels[i] && right; i++)
        if (!run.kernel || strstr(kernels[i]->name, run.kernel))
            right = run_kernel(&run, kernels[i]);
    if (right && !run.options)
        printf("%d pairs of a configuration and a problem, none refused\n", run.pairs);
    clReleaseCommandQueue(run.checker.queue);
    fdec_ctx_destroy(&run.checker.ctx);
    free(run.problems);
    return right && (run.pairs || run.options) ? 0 : 1;
}
