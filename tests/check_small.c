/* SPDX-License-Identifier: MIT
 * check_small.c - every small operation through the public calls, against double arithmetic; append: check_append.c,
 * embed: check_quant.c
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

/* ---- sample ----------------------------------------------------------------------------------------------------- */

static void sample(const float *x, const float *u, int32_t *ids, int rows, int cols, float temperature)
{
    fdec_sample_args a = FDEC_SAMPLE_ARGS_INIT;
    a.rows = rows, a.cols = cols, a.temperature = temperature;
    a.x = put(x, (size_t) rows * cols * 4, 4), a.u = put(u, rows * 4u, 4), a.ids = put(NULL, rows * 4u, 4);
    ran(fdec_sample_run(t.ops, t.queue, &a, 0, NULL, NULL), "sample");
    get(a.ids, ids, "sample");
    drop();
}

/* An index is right if u lies in its share of the total, up to the error of the two sums compared: a weight errs by 4
 * U and |x - max| / T rounded twice, 2 U of it, below 40 here; a chain of additions is at most 256 + 20 + cols/256
 * long. All terms are positive, so both sums are within that share of the total. */
static void sample_case(int cols, float temperature)
{
    enum { ROWS = 24 };
    float *x = floats((size_t) ROWS * cols, -9, 9), u[ROWS];
    int32_t ids[ROWS];
    for (int r = 0; r < ROWS; r++)
        u[r] = r == 0 ? 0 : r == 1 ? 1 - 0x1p-24f : uniform(0, 1);
    for (int i = 0; i < cols; i += 5) /* never drawn */
        x[(size_t) 2 * cols + i] = NAN, x[(size_t) 3 * cols + i] = cols > 1 ? -INFINITY : 0;
    sample(x, u, ids, ROWS, cols, temperature);

    const double tolerance = 2 * (4 + 2 * 40 + 256 + 20 + cols / 256.0) * U;
    for (int r = 0; r < ROWS; r++) {
        const float *row = x + (size_t) r * cols;
        double total = 0, before = 0, top = row[ref_argmax(row, cols)];
        for (int i = 0; i < cols; i++)
            total += isnan(row[i]) ? 0 : exp((row[i] - top) / temperature);
        const int id = ids[r];
        if (!check(id >= 0 && id < cols, "sample of %d, row %d: %d", cols, r, id))
            continue;
        if (total == 0) {
            check(id == 0, "sample of %d, row %d of NaN: %d", cols, r, id);
            continue;
        }
        for (int i = 0; i < id; i++)
            before += isnan(row[i]) ? 0 : exp((row[i] - top) / temperature);
        const double weight = isnan(row[id]) ? 0 : exp((row[id] - top) / temperature), at = u[r] * total;
        check(weight > 0 && at >= before - tolerance * total && at <= before + weight + tolerance * total,
              "sample of %d, row %d: %d has [%.9g, +%.3g), u is at %.9g of %.9g", cols, r, id, before, weight, at,
              total);
    }
    free(x);
}

static void check_sample_edges(void)
{
    enum { COLS = 600, ROWS = 7 };
    static float x[ROWS][COLS];
    int32_t ids[ROWS];
    for (int i = 0; i < COLS; i++) {
        x[0][i] = NAN;
        x[1][i] = i == 300 ? INFINITY : 5;
        x[2][i] = i < 280 ? -INFINITY : 1; /* u = 0: the first that can be drawn */
        x[3][i] = i < 280 ? 1 : -INFINITY; /* u = 1, outside: the last that can be drawn */
        x[4][i] = i == 17 ? 2 : 1;         /* NaN as u: the same */
        x[5][i] = -INFINITY;
        x[6][i] = i < 599 ? -1000 : 0; /* all else underflows */
    }
    const float u[ROWS] = {0.5f, 0.9f, 0, 1, NAN, 0, 0};
    sample(x[0], u, ids, ROWS, COLS, 1);
    static const int32_t want[ROWS] = {0, 300, 280, 279, 599, 0, 599};
    for (int r = 0; r < ROWS; r++)
        check(ids[r] == want[r], "sample edge %d: %d, not %d", r, ids[r], want[r]);
}

/* 20,000 draws from 12 weights, every share over 1 %: the statistic of Pearson has 11 degrees of freedom and exceeds
 * 50.0 in one of 1.6 million seeds. */
static void check_sample_distribution(void)
{
    enum { COLS = 12, ROWS = 20000 };
    float *x = floats((size_t) ROWS * COLS, 0, 0), *u = floats(ROWS, 0, 1);
    int32_t *ids = malloc(ROWS * sizeof *ids);
    must(ids != NULL, "malloc");
    double share[COLS], total = 0, statistic = 0;
    int seen[COLS] = {0};
    for (int i = 0; i < COLS; i++) {
        const float logit = (float) (i * 5 % 12) * 0.25f;
        total += share[i] = exp(logit / 0.8);
        for (int r = 0; r < ROWS; r++)
            x[r * COLS + i] = logit;
    }
    sample(x, u, ids, ROWS, COLS, 0.8f);
    for (int r = 0; r < ROWS; r++)
        seen[ids[r] >= 0 && ids[r] < COLS ? ids[r] : 0]++;
    for (int i = 0; i < COLS; i++) {
        const double expected = ROWS * share[i] / total;
        statistic += (seen[i] - expected) * (seen[i] - expected) / expected;
    }
    check(statistic < 50, "sample: chi-square of 12 shares is %.1f", statistic);
    free(x), free(u), free(ids);
}

/* The promise that every device draws the same: inputs are exact by construction, and the answer is a constant. */
static void check_sample_same(void)
{
    enum { COLS = 5003, ROWS = 64 };
    t.seed = 20231101;
    float *x = floats((size_t) ROWS * COLS, -8, 8), *u = floats(ROWS, 0, 1);
    int32_t ids[ROWS];
    sample(x, u, ids, ROWS, COLS, 2.0f);
    uint64_t hash = 0xcbf29ce484222325u;
    for (int r = 0; r < ROWS; r++)
        hash = (hash ^ (uint32_t) ids[r]) * 0x100000001b3u;
    check(hash == 0x59866f19a21bf53du, "sample: draws other indices than other devices (hash %016llx)",
          (unsigned long long) hash);
    free(x), free(u);
}

static void check_sample(void)
{
    static const int cols[] = {1, 2, 17, 255, 256, 257, 512, 4099, 32000, 128256};
    for (size_t i = 0; i < COUNT(cols) && wanted(cols[i]); i++)
        sample_case(cols[i], i % 2 ? 1 : 0.7f);
    check_sample_edges();
    if (t.tiny)
        return;
    check_sample_distribution();
    check_sample_same();
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

static void run_setup(const char *pretend, bool embed)
{
    t.setup = pretend;
    t.seed = 1;
    setenv("FLASHDEC_PRETEND", pretend, 1);
    must(fdec_ctx_create(t.context, t.device, NULL, &t.ctx) == FDEC_OK, "fdec_ctx_create");
    if (embed) {
        check_embed();
    } else {
        must(fdec_ops_create(t.ctx, &t.ops) == FDEC_OK, "fdec_ops_create");
        check_rmsnorm();
        check_elementwise();
        check_argmax();
        check_append();
        check_sample();
        check_merge();
    }
    fdec_ops_destroy(&t.ops);
    fdec_ctx_destroy(&t.ctx);
}

int main(int argc, char **argv)
{
    cl_platform_id platform;
    cl_int err;
    bool embed = false; /* alone: it has a program for every type */
    for (int i = 1; i < argc; i++) {
        t.tiny |= !strcmp(argv[i], "--tiny");
        embed |= !strcmp(argv[i], "--embed");
    }
    if (argc > 1 + t.tiny + embed) {
        fprintf(stderr, "usage: checkops [--tiny] [--embed]\n");
        return 2;
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
        run_setup(given, embed);
    for (size_t i = 0; i < COUNT(setups) && !given; i++)
        run_setup(setups[i], embed);

    clReleaseCommandQueue(t.queue);
    clReleaseContext(t.context);
    printf("%d passed, %d failed\n", t.passed, t.failed);
    return t.failed > 0;
}
