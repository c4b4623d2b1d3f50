/* SPDX-License-Identifier: MIT
 * check_linear_whole.c - linear: what more than one run shows. The same bits whatever M is, and over a hundred runs;
 * sums near the end of the range; refused calls */
#include "checkcl.h"
#include "linear.h"
#include "util.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BAND = 19, N = 41, RUNS = 100 };

/* The bytes of y after one run of m rows; false, and why, where the run is wrong. */
static bool take_y(struct check *c, struct workload *w, fdec_plan *plan, int64_t m, float *y, char *text, size_t n)
{
    double ratio;
    const fdec_buffer b = workload_operand(w, 0, LINEAR_Y);
    workload_take_rows(w, m);
    if (workload_poison(w) || workload_run(w, plan, 0, NULL)) {
        snprintf(text, n, "%s", fdec_last_error());
        return false;
    }
    return workload_check(w, &ratio, text, n) && !clEnqueueReadBuffer(check_queue_of(c), b.mem, CL_TRUE, b.offset_bytes,
                                                                      (size_t) (m * N) * sizeof *y, y, 0, NULL, NULL);
}

void check_each_linear(struct check *c, const struct problem *p,
                       void (*check)(struct check *c, const struct kernel *k, const struct problem *p))
{
    for (const struct kernel *const *k = kernels; *k; k++) {
        int cfg[MAX_PARAMS];
        struct problem q = *p;
        if ((*k)->op != OP_LINEAR || !strstr((*k)->name, check_native(c)))
            continue;
        q.linear.w_layout = strstr((*k)->name, "panel") ? FDEC_W_PACKED : FDEC_W_STORED;
        kernel_expect(*k, &q, &check_ctx(c)->device, cfg);
        if (!(*k)->reject(&q, &check_ctx(c)->device, cfg))
            check(c, *k, &q);
    }
}

/* Every M of the band, then the largest `runs` times. k NULL: as chosen. */
void check_linear_band(struct check *c, const struct kernel *k, const struct problem *p, int runs)
{
    float all[BAND * N], some[BAND * N];
    char text[600] = "", name[100];
    struct workload *w = NULL;
    fdec_plan *plan = NULL;
    int cfg[MAX_PARAMS] = {0};
    const struct workload_spec spec = {.problem = *p, .seed = check_seed(c), .n_sets = 1, .reference = true};
    const struct want want = {.kernel = k, .cfg = cfg};
    snprintf(name, sizeof name, "one band of M, %s, %s", k ? k->name : "as chosen", type_name(p->linear.w_type));
    if (k)
        kernel_expect(k, p, &check_ctx(c)->device, cfg);
    bool right = !plan_create_problem(check_ctx(c), p, k ? &want : NULL, &plan) &&
                 !workload_create(check_ctx(c), check_queue_of(c), &spec, &w);
    if (!right)
        snprintf(text, sizeof text, "%s", fdec_last_error());
    right = right && take_y(c, w, plan, BAND, all, text, sizeof text);
    for (int64_t m = 1; right && m < BAND; m++) {
        right = take_y(c, w, plan, m, some, text, sizeof text);
        if (right && memcmp(all, some, (size_t) (m * N) * sizeof *all)) {
            snprintf(text, sizeof text, "other bits with M = %d", (int) m);
            right = false;
        }
    }
    for (int i = 0; right && i < runs; i++) {
        right = take_y(c, w, plan, BAND, some, text, sizeof text);
        if (right && memcmp(all, some, sizeof all)) {
            snprintf(text, sizeof text, "other bits in run %d", i);
            right = false;
        }
    }
    check_that(c, right, name, text);
    workload_destroy(&w);
    fdec_plan_destroy(&plan);
}

static void check_band(struct check *c, const struct kernel *k, const struct problem *p)
{
    check_linear_band(c, k, p, RUNS);
}

/* More than one tile of K, and a rest that is no whole cache line. */
static void check_bands(struct check *c)
{
    static const char *const problems[] = {"linear:f16 m=19 n=41 k=5196", "linear:q4_0 m=19 n=41 k=4192",
                                           "linear:q6_k m=19 n=41 k=4352"};
    for (size_t i = 0; i < ARRAY_LEN(problems); i++) {
        struct problem p;
        if (!check_problem(c, problems[i], &p))
            continue;
        p.linear.invariant = true;
        check_each_linear(c, &p, check_band);
        check_band(c, NULL, &p);
    }
}

/* 65536 products of 60000 * 60000, each 0x1.adp31: the sum is far from the end of float32, that of half far past it. */
void check_linear_large(struct check *c, int64_t m)
{
    enum { K = 65536, MAX_M = 8 };
    fdec_linear_params params = FDEC_LINEAR_PARAMS_INIT;
    fdec_linear_args a = FDEC_LINEAR_ARGS_INIT;
    fdec_plan *plan = NULL;
    cl_int err[4] = {0};
    cl_mem mem[4] = {NULL};
    float y[MAX_M] = {0};
    const size_t n[] = {(size_t) m * K, K};
    uint16_t *ones = malloc(n[0] * sizeof *ones);
    for (size_t i = 0; ones && i < n[0]; i++)
        ones[i] = 0x7b53; /* 60000 */
    params.max_m = m, params.n = 1, params.k = K, params.w_type = params.x_type = FDEC_F16;
    bool right = ones && !fdec_linear_plan_create(check_ctx(c), &params, &plan);
    const cl_mem_flags copy = CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR;
    const size_t work = fdec_plan_workspace_bytes(plan) + 4, used = (size_t) m * sizeof *y;
    for (int i = 0; right && i < 2; i++)
        mem[i] = clCreateBuffer(check_ctx(c)->context, copy, n[i] * sizeof *ones, ones, &err[i]);
    mem[2] = clCreateBuffer(check_ctx(c)->context, CL_MEM_READ_WRITE, used, NULL, &err[2]);
    mem[3] = clCreateBuffer(check_ctx(c)->context, CL_MEM_READ_WRITE, work, NULL, &err[3]);
    a.x.mem = mem[0], a.w.mem = mem[1], a.y.mem = mem[2], a.workspace.mem = mem[3];
    right = right && !(err[0] | err[1] | err[2] | err[3]) &&
            !fdec_linear_run(plan, check_queue_of(c), &a, 0, NULL, NULL) && !clFinish(check_queue_of(c)) &&
            !clEnqueueReadBuffer(check_queue_of(c), mem[2], CL_TRUE, 0, used, y, 0, NULL, NULL);
    const double want = 60000.0 * 60000.0 * K;
    for (int64_t i = 0; i < m; i++)
        right = right && fabs((double) y[i] - want) < 1e-4 * want;
    check_that(c, right, "K = 65536 near the end of f16", fdec_last_error());
    for (int i = 0; i < 4; i++)
        if (mem[i])
            clReleaseMemObject(mem[i]);
    fdec_plan_destroy(&plan);
    free(ones);
}

void check_linear_whole(struct check *c)
{
    if (check_tiny(c) || check_broken(c) || check_filtered(c))
        return;
    check_bands(c);
    check_linear_large(c, 1);
}
