/* SPDX-License-Identifier: MIT
 * check_small.c - every small operation through the public calls, against double arithmetic; append: check_append.c,
 * embed: check_quant.c, sample: check_sample.c
 *
 * Runs once for each work-group shape that a device can lead to, by FLASHDEC_PRETEND, or as the caller has set that.
 * The device is FLASHDEC_DEVICE's. Exit status 0 passed, 1 failed, 2 usage, 77 no OpenCL. */
#include "checkops.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- rmsnorm ---------------------------------------------------------------------------------------------------- */

/* The longest chain of additions is cols/4 + 12 (VEC = 4, WG = 1; trees), each of relative error U as all terms are
 * positive; the root halves it. Squares U, mean 5, eps 1: halved too. Root 3 ulp, quotient 2.5 ulp, two products: 6 +
 * 5 + 2. */
static void rmsnorm_case(int rows, int cols, bool in_place, int nan_row)
{
    const size_t n = (size_t) rows * cols;
    const float eps = 1e-5f;
    float *x = floats(n, -2, 2), *w = floats(cols, 0.5f, 1.5f), *got = floats(n, 0, 0);
    double *want = malloc(n * sizeof *want), *bound = malloc(n * sizeof *bound);
    must(want && bound, "malloc");
    for (size_t i = 0; i < n; i += 97)
        x[i] *= 50;
    if (nan_row >= 0)
        x[(size_t) nan_row * cols + cols / 2] = NAN;

    for (int r = 0; r < rows; r++) {
        double sum = 0;
        for (int i = 0; i < cols; i++)
            sum += (double) x[r * cols + i] * x[r * cols + i];
        for (int i = 0; i < cols; i++) {
            want[r * cols + i] = w[i] * x[r * cols + i] / sqrt(sum / cols + eps);
            bound[r * cols + i] = fabs(want[r * cols + i]) * (cols / 8.0 + 23) * U + 0x1p-126;
        }
    }
    fdec_rmsnorm_args a = FDEC_RMSNORM_ARGS_INIT;
    a.rows = rows, a.cols = cols, a.eps = eps;
    a.x = put(x, n * 4, 4), a.w = put(w, cols * 4u, 4), a.y = in_place ? a.x : put(NULL, n * 4, 4);
    ran(fdec_rmsnorm_run(t.ops, t.queue, &a, 0, NULL, NULL), "rmsnorm");
    get(a.y, got, "rmsnorm");
    compare(got, want, bound, n, "rmsnorm", rows, cols);
    free(x), free(w), free(got), free(want), free(bound);
    drop();
}

static void check_rmsnorm(void)
{
    static const int cols[] = {1, 3, 15, 16, 17, 63, 64, 65, 255, 257, 1023, 1024, 1025, 4096};
    for (size_t i = 0; i < COUNT(cols) && wanted(cols[i]); i++)
        rmsnorm_case(1 + (int) i % 3, cols[i], i % 2, i % 3 == 2 ? 1 : -1);
}

/* ---- swiglu, add ------------------------------------------------------------------------------------------------ */

/* exp 4 U, one addition, a quotient of 2.5 ulp, a product: 11 U. Below gate = -88.3 the result may be 0 instead of
 * less than 2^-119 * up. y: 0 its own buffer, 1 gate (a), 2 up (b). */
static void elementwise_case(size_t n, int alias, bool swiglu)
{
    float *a = floats(n, -20, 20), *b = floats(n, -3, 3), *got = floats(n, 0, 0);
    double *want = malloc(n * sizeof *want), *bound = malloc(n * sizeof *bound);
    must(want && bound, "malloc");
    static const float edge[] = {0, -0.0f, -80, -88, -88.5f, -200, 200, 1e30f, -1e30f, INFINITY, NAN, -INFINITY};
    for (size_t i = 0; i < COUNT(edge) && n > 100; i++)
        a[i * 7] = edge[i];
    for (size_t i = 0; i < n; i++) {
        want[i] = swiglu ? (double) a[i] / (1 + exp(-(double) a[i])) * b[i] : (double) (a[i] + b[i]);
        bound[i] = swiglu ? fabs(want[i]) * 11 * U + fabs(b[i]) * 0x1p-119 : 0;
    }
    const fdec_buffer da = put(a, n * 4, 4), db = put(b, n * 4, 4);
    const fdec_buffer dy = alias == 1 ? da : alias == 2 ? db : put(NULL, n * 4, 4);
    if (swiglu) {
        fdec_swiglu_args s = FDEC_SWIGLU_ARGS_INIT;
        s.n = n, s.gate = da, s.up = db, s.y = dy;
        ran(fdec_swiglu_run(t.ops, t.queue, &s, 0, NULL, NULL), "swiglu");
    } else {
        fdec_add_args s = FDEC_ADD_ARGS_INIT;
        s.n = n, s.a = da, s.b = db, s.y = dy;
        ran(fdec_add_run(t.ops, t.queue, &s, 0, NULL, NULL), "add");
    }
    get(dy, got, swiglu ? "swiglu" : "add");
    compare(got, want, bound, n, swiglu ? "swiglu" : "add", 1, (int) n);
    free(a), free(b), free(got), free(want), free(bound);
    drop();
}

static void check_elementwise(void)
{
    static const size_t n[] = {1, 2, 15, 16, 17, 63, 64, 65, 200, 1000, 1023, 1024, 1025, 4097, 11008, 100003};
    for (size_t i = 0; i < COUNT(n) && wanted(n[i]); i++) {
        elementwise_case(n[i], (int) i % 3, true);
        elementwise_case(n[i], (int) (i + 1) % 3, false);
    }
}

/* ---- argmax: exact ---------------------------------------------------------------------------------------------- */

enum fill { FILL_RANDOM, FILL_TIES, FILL_NAN_FIRST, FILL_ALL_NAN, FILL_ALL_MINUS_INF, FILL_INF, FILL_KINDS };

static void fill_row(float *x, int cols, enum fill kind)
{
    for (int i = 0; i < cols; i++) {
        const float v = uniform(-9, 9);
        x[i] = kind == FILL_TIES            ? (float) (int) (v / 4) /* five values */
               : kind == FILL_ALL_NAN       ? NAN
               : kind == FILL_ALL_MINUS_INF ? -INFINITY
                                            : v;
    }
    if (kind == FILL_NAN_FIRST)
        x[0] = NAN, x[cols / 2] = NAN;
    if (kind == FILL_INF)
        x[cols - 1] = INFINITY, x[cols / 2] = INFINITY;
}

static int ref_argmax(const float *x, int cols)
{
    int best = -1;
    for (int i = 0; i < cols; i++)
        if (!isnan(x[i]) && (best < 0 || x[i] > x[best]))
            best = i;
    return best < 0 ? 0 : best;
}

static void argmax_case(int cols)
{
    float *x = floats((size_t) FILL_KINDS * cols, 0, 0);
    int32_t got[FILL_KINDS];
    for (int kind = 0; kind < FILL_KINDS; kind++)
        fill_row(x + (size_t) kind * cols, cols, kind);
    fdec_argmax_args a = FDEC_ARGMAX_ARGS_INIT;
    a.rows = FILL_KINDS, a.cols = cols;
    a.x = put(x, (size_t) FILL_KINDS * cols * 4, 4), a.ids = put(NULL, sizeof got, 4);
    ran(fdec_argmax_run(t.ops, t.queue, &a, 0, NULL, NULL), "argmax");
    get(a.ids, got, "argmax");
    for (int kind = 0; kind < FILL_KINDS; kind++) {
        const int want = ref_argmax(x + (size_t) kind * cols, cols);
        check(got[kind] == want, "argmax of %d, fill %d: %d, not %d", cols, kind, got[kind], want);
    }
    free(x);
    drop();
}

static void check_argmax(void)
{
    static const int cols[] = {1, 2, 15, 16, 17, 64, 65, 255, 1000, 1024, 1025, 4097, 32000, 128256 + 5};
    for (size_t i = 0; i < COUNT(cols) && wanted(cols[i]); i++)
        argmax_case(cols[i]);
}

/* ---- attn_merge ------------------------------------------------------------------------------------------------- */

struct merge {
    int rows, dim, n_parts;
    float *part, *lse_in, *out, *lse; /* out, lse: what came back */
};

enum { MERGE_PLAIN, MERGE_WIDE, MERGE_SOME_NONE, MERGE_ALL_NONE, MERGE_NAN_LSE, MERGE_NAN_PART, MERGE_ROWS };

/* One row of each kind. What belongs to a part without keys is NaN: it may not be read. */
static struct merge merge_make(int dim, int n_parts)
{
    const size_t n = (size_t) MERGE_ROWS * dim;
    struct merge m = {MERGE_ROWS,
                      dim,
                      n_parts,
                      floats(n * n_parts, -3, 3),
                      floats((size_t) MERGE_ROWS * n_parts, -4, 9),
                      floats(n, 0, 0),
                      floats(MERGE_ROWS, 0, 0)};
    for (int p = 0; p < n_parts; p++) {
        float *lse = m.lse_in + (size_t) p * MERGE_ROWS;
        lse[MERGE_WIDE] = uniform(-300, 60);
        if (p % 3 != 1)
            lse[MERGE_SOME_NONE] = -INFINITY;
        lse[MERGE_ALL_NONE] = -INFINITY;
        for (int row = 0; row < MERGE_ROWS; row++)
            for (int i = 0; i < dim && lse[row] == -INFINITY; i++)
                m.part[(size_t) p * n + (size_t) row * dim + i] = NAN;
    }
    m.lse_in[(size_t) (n_parts / 2) * MERGE_ROWS + MERGE_NAN_LSE] = NAN;
    m.part[(size_t) (n_parts - 1) * n + MERGE_NAN_PART * dim + dim / 2] = NAN;
    return m;
}

static void merge_free(struct merge *m)
{
    free(m->part), free(m->lse_in), free(m->out), free(m->lse);
}

static void merge_run(struct merge *m, bool in_place)
{
    const size_t n = (size_t) m->rows * m->dim, rows = m->rows;
    fdec_attn_merge_args a = FDEC_ATTN_MERGE_ARGS_INIT;
    a.rows = m->rows, a.dim = m->dim, a.n_parts = m->n_parts;
    a.part = put(m->part, n * m->n_parts * 4, 4), a.lse_in = put(m->lse_in, rows * m->n_parts * 4, 4);
    a.out = in_place ? a.part : put(NULL, n * 4, 4), a.lse = in_place ? a.lse_in : put(NULL, rows * 4, 4);
    ran(fdec_attn_merge_run(t.ops, t.queue, &a, 0, NULL, NULL), "attn_merge");
    float *all = floats(n * m->n_parts, 0, 0), *all_lse = floats(rows * m->n_parts, 0, 0);
    get(a.out, all, "attn_merge"), get(a.lse, all_lse, "attn_merge");
    memcpy(m->out, all, n * 4), memcpy(m->lse, all_lse, rows * 4);
    free(all), free(all_lse);
    drop();
}

/* A weight e^x errs by 4 U of exp and |x| U of the rounding of x; n additions of rounded products; in the quotient that
 * comes from both sides, and 2.5 ulp. Weights under 2^-126 are 0. The logarithm turns the sum's relative error into an
 * absolute one; 3 ulp of its own, and one addition. times: of a result that was merged in as many levels. */
static void merge_compare(const struct merge *m, double times, const char *what)
{
    const size_t n = (size_t) m->rows * m->dim;
    double *want = malloc(n * sizeof *want), *bound = malloc(n * sizeof *bound), lse[MERGE_ROWS], lse_bound[MERGE_ROWS];
    must(want && bound, "malloc");
    for (int row = 0; row < m->rows; row++) {
        double top = -INFINITY, sum = 0, sum_error = 0;
        for (int p = 0; p < m->n_parts; p++)
            top = fmax(top, m->lse_in[p * m->rows + row]);
        for (int i = -1; i < m->dim; i++) { /* -1: the weights themselves */
            double total = 0, error = 0, tiny = 0;
            for (int p = 0; p < m->n_parts; p++) {
                const double x = m->lse_in[p * m->rows + row] - top;
                if (m->lse_in[p * m->rows + row] == -INFINITY)
                    continue;
                const double value = i < 0 ? 1 : m->part[p * n + (size_t) row * m->dim + i];
                total += exp(x) * value;
                error += exp(x) * fabs(value) * (m->n_parts + 4 + fabs(x)) * U;
                tiny += 0x1p-126 * fabs(value);
            }
            if (i < 0) {
                sum = total, sum_error = error + tiny;
                continue;
            }
            const size_t at = (size_t) row * m->dim + i;
            want[at] = top == -INFINITY && !isnan(sum) ? 0 : total / sum;
            bound[at] = top == -INFINITY
                            ? 0
                            : times * ((error + tiny + fabs(want[at]) * sum_error) / sum + 5 * U * fabs(want[at]));
        }
        lse[row] = top + log(sum);
        lse_bound[row] =
            top == -INFINITY ? 0 : times * (sum_error / sum + (6 * fabs(log(sum)) + fabs(lse[row]) + fabs(top)) * U);
    }
    compare(m->out, want, bound, n, what, m->n_parts, m->dim);
    compare(m->lse, lse, lse_bound, m->rows, what, m->n_parts, 1);
    free(want), free(bound);
}

/* The first parts and the others merged apart, then together. */
static void check_merge_grouping(int dim, int n_parts)
{
    struct merge all = merge_make(dim, n_parts);
    const int first = n_parts / 2;
    const size_t n = (size_t) all.rows * dim, rows = all.rows;
    struct merge halves = {all.rows,          dim, 2, floats(2 * n, 0, 0), floats(2 * rows, 0, 0), floats(n, 0, 0),
                           floats(rows, 0, 0)};
    for (int half = 0; half < 2; half++) {
        struct merge m = all;
        m.part += half * first * n, m.lse_in += half * first * rows;
        m.n_parts = half ? n_parts - first : first;
        merge_run(&m, false);
        memcpy(halves.part + half * n, all.out, n * 4), memcpy(halves.lse_in + half * rows, all.lse, rows * 4);
    }
    merge_run(&halves, false);
    memcpy(all.out, halves.out, n * 4), memcpy(all.lse, halves.lse, rows * 4);
    merge_compare(&all, 2, "attn_merge of merged");
    merge_free(&all), merge_free(&halves);
}

static void check_merge(void)
{
    static const int dims[] = {8, 1, 15, 16, 17, 24, 64, 72, 128, 136, 192, 256, 512, 576},
                     n_parts[] = {1, 2, 3, 7, 100};
    for (size_t i = 0; i < COUNT(dims) && wanted(dims[i]); i++)
        for (size_t p = 0; p < COUNT(n_parts); p++) {
            struct merge m = merge_make(dims[i], n_parts[p]);
            merge_run(&m, (i + p) % 2);
            merge_compare(&m, 1, "attn_merge");
            merge_free(&m);
        }
    check_merge_grouping(72, 9);
}

/* ---- all of it, on one shape of device -------------------------------------------------------------------------- */

static void run_setup(const char *pretend, void (*alone)(void))
{
    t.setup = pretend;
    t.seed = 1;
    setenv("FLASHDEC_PRETEND", pretend, 1);
    must(fdec_ctx_create(t.context, t.device, NULL, &t.ctx) == FDEC_OK, "fdec_ctx_create");
    if (alone) {
        alone();
    } else {
        must(fdec_ops_create(t.ctx, &t.ops) == FDEC_OK, "fdec_ops_create");
        check_rmsnorm();
        check_elementwise();
        check_argmax();
        check_append();
        check_merge();
    }
    fdec_ops_destroy(&t.ops);
    fdec_ctx_destroy(&t.ctx);
}

int main(int argc, char **argv)
{
    cl_platform_id platform;
    cl_int err;
    void (*alone)(void) = NULL; /* an operation that takes long */
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--tiny")) {
            t.tiny = true;
        } else if (!alone && !strcmp(argv[i], "--embed")) {
            alone = check_embed;
        } else if (!alone && !strcmp(argv[i], "--sample")) {
            alone = check_sample;
        } else {
            fprintf(stderr, "usage: checkops [--tiny] [--embed | --sample]\n");
            return 2;
        }
    }
    cl_uint n_platforms = 0;
    if (clGetPlatformIDs(0, NULL, &n_platforms) != CL_SUCCESS || n_platforms == 0) {
        printf("no OpenCL device\n");
        return 77;
    }
    must(fdec_device_pick(NULL, &platform, &t.device) == FDEC_OK, "fdec_device_pick");
    t.context = clCreateContext(NULL, 1, &t.device, NULL, NULL, &err);
    must(err == CL_SUCCESS, "clCreateContext");
    t.queue = clCreateCommandQueue(t.context, t.device, 0, &err);
    must(err == CL_SUCCESS, "clCreateCommandQueue");

    const char *const given = getenv("FLASHDEC_PRETEND");
    static const char *const setups[] = {"cpu_like=1", "cpu_like=0", "cpu_like=0,max_wg=64", "cpu_like=0,max_wg=32"};
    if (given)
        run_setup(given, alone);
    for (size_t i = 0; i < COUNT(setups) && !given; i++)
        if (alone != check_sample || i != 2) /* groups of 64 already */
            run_setup(setups[i], alone);

    clReleaseCommandQueue(t.queue);
    clReleaseContext(t.context);
    printf("%d passed, %d failed\n", t.passed, t.failed);
    return t.failed > 0;
}
