/* SPDX-License-Identifier: MIT
 * unit_ref.c - ref.c against another program's results (ref_golden.py), its bounds against plain float32; f16, files
 *
 *     unit_ref ref_golden.txt */
#include "inputs.h"
#include "ref.h"
#include "util.h"
#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

enum { MAX_VALUES = 4096 };
static const char *golden_path;

static float *values(int operand, size_t n, float times)
{
    float *v = malloc((n + 1) * sizeof *v);
    assert_non_null(v);
    for (size_t i = 0; i < n; i++)
        v[i] = times * (float) ((int) ((i * 7919 + (size_t) operand * 104729) % 2049) - 1024) / 1024;
    return v;
}

/* What a case gives: the output, then lse; bounds alike. */
struct result {
    double value[MAX_VALUES], bound[MAX_VALUES];
    size_t n;
};

static void run_linear(const int *a, struct result *r)
{
    const struct linear_problem p = {.m = a[0], .n = a[1], .k = a[2]};
    float *x = values(0, (size_t) (p.m * p.k), 1), *w = values(1, (size_t) (p.n * p.k), 1);
    float *bias = values(2, (size_t) p.n, 1), *residual = values(3, (size_t) (p.m * p.n), 1);
    ref_linear(&p, x, w, bias, residual, r->value, r->bound);
    r->n = (size_t) (p.m * p.n);
    for (int64_t i = 0; i < p.m * p.n; i++) { /* one serial sum in float32 keeps the bound */
        float sum = 0;
        for (int64_t k = 0; k < p.k; k++)
            sum += x[i / p.n * p.k + k] * w[i % p.n * p.k + k];
        sum = sum + bias[i % p.n] + residual[i];
        assert_true(fabs(sum - r->value[i]) <= r->bound[i]);
    }
    free(x), free(w), free(bias), free(residual);
}

static void run_softmax(const int *a, struct result *r)
{
    const struct softmax_problem p = {.rows = a[0], .cols = a[1]};
    const size_t n = (size_t) (p.rows * p.cols);
    float *x = values(0, n, 20);
    ref_softmax(&p, x, r->value, r->bound, r->value + n, r->bound + n);
    r->n = n + (size_t) p.rows;
    for (int64_t row = 0; row < p.rows; row++) { /* three serial passes in float32 keep it, too */
        float top = -INFINITY, sum = 0;
        for (int64_t c = 0; c < p.cols; c++)
            top = fmaxf(top, x[row * p.cols + c]);
        for (int64_t c = 0; c < p.cols; c++)
            sum += expf(x[row * p.cols + c] - top);
        for (int64_t i = row * p.cols; i < (row + 1) * p.cols; i++)
            assert_true(fabs(expf(x[i] - top) / sum - r->value[i]) <= r->bound[i]);
    }
    free(x);
}

static void run_attn(const int *a, struct result *r)
{
    struct attn_problem p = {
        .batch = a[0], .n_heads = a[1], .n_kv_heads = a[2], .head_dim = a[3], .len = a[4], .scale = 0.25f};
    const int page = a[5], pages = page ? (a[4] + page - 1) / page : 1, tokens = page ? page : a[4];
    p.kv.page_size = (uint32_t) page;
    p.kv.n_blocks = (uint32_t) (a[0] * pages), p.kv.max_blocks = (uint32_t) pages;
    p.kv.head_stride = a[3], p.kv.token_stride = a[2] * a[3], p.kv.block_stride = tokens * p.kv.token_stride;
    const size_t rows = (size_t) (a[0] * a[1]), n = rows * (size_t) a[3],
                 cache = p.kv.n_blocks * (size_t) p.kv.block_stride;
    float *q = values(0, n, 4), *k = values(1, cache, 1), *v = values(2, cache, 1), phi[64] = {0};
    int32_t lens[8], table[64];
    for (int b = 0; b < a[0]; b++) {
        lens[b] = MAX(a[4] - 3 * b, 0);
        for (int j = 0; j < pages; j++) {
            const int block = (5 * j + 3 * b + 1) % (a[0] * pages);
            table[b * pages + j] = block ? block : (j % 2 ? -1 : a[0] * pages); /* outside, on either side */
        }
    }
    ref_attn(&p, q, k, v, lens, page ? table : NULL, phi, r->value, r->bound, r->value + n, r->bound + n);
    r->n = n + rows;
    free(q), free(k), free(v);
}

/* Compares r with the rest of a golden line. */
static void compare(const char *name, const char *rest, const struct result *r)
{
    for (size_t i = 0; i < r->n; i++) {
        char *end;
        const double want = strtod(rest, &end);
        assert_true(end != rest);
        rest = end;
        if (isinf(want) ? r->value[i] != want : !(fabs(r->value[i] - want) <= 1e-13 * fmax(1, fabs(want))))
            fail_msg("%s [%zu]: %.17g, golden %.17g", name, i, r->value[i], want);
        if (isfinite(want) && !(r->bound[i] >= 0 && r->bound[i] < 1e-4 * fmax(1, fabs(want))))
            fail_msg("%s [%zu]: the bound %g is of no use", name, i, r->bound[i]);
    }
    assert_int_equal(strspn(rest, " \n"), strlen(rest));
}

static void agrees_with_golden(void **state)
{
    (void) state;
    static struct result r;
    static char line[1 << 20];
    int n_cases = 0;
    FILE *f = fopen(golden_path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        char name[32];
        int a[6] = {0};
        char *colon = strchr(line, ':');
        assert_non_null(colon);
        assert_true(sscanf(line, "%31s %d %d %d %d %d %d", name, &a[0], &a[1], &a[2], &a[3], &a[4], &a[5]) >= 3);
        if (!strcmp(name, "linear"))
            run_linear(a, &r);
        else if (!strcmp(name, "attn"))
            run_attn(a, &r);
        else
            run_softmax(a, &r);
        compare(name, colon + 1, &r);
        n_cases++;
    }
    fclose(f);
    assert_int_equal(n_cases, 11);
}

/* NaN and infinities as the formulas have them. */
static void knows_what_is_no_number(void **state)
{
    (void) state;
    const float x[4][3] = {{1, NAN, 2}, {1, INFINITY, 2}, {1, -INFINITY, 2}, {-INFINITY, -INFINITY, -INFINITY}};
    double y[12], bound[12], lse[4], lse_bound[4];
    ref_softmax(&(struct softmax_problem){.rows = 4, .cols = 3}, x[0], y, bound, lse, lse_bound);
    for (int i = 0; i < 3; i++)
        assert_true(isnan(y[i]) && isnan(y[3 + i]) && isnan(y[9 + i]));
    assert_true(isnan(lse[0]) && lse[1] == INFINITY && lse[3] == -INFINITY);
    assert_true(y[7] == 0 && fabs(y[6] + y[8] - 1) < 1e-15 && isfinite(lse[2]));

    const float row[2] = {1, -2}, w[2] = {INFINITY, 1};
    ref_linear(&(struct linear_problem){.m = 1, .n = 1, .k = 2}, row, w, NULL, NULL, y, bound);
    assert_true(y[0] == INFINITY);
}

/* Every half survives the way to float and back; what lies between goes to the nearer, ties to the even one. */
static void converts_halves(void **state)
{
    (void) state;
    for (uint32_t h = 0; h < 65536; h++) {
        const float f = half_value((uint16_t) h);
        if (isnan(f)) {
            assert_true(isnan(half_value(half_bits(f))));
            continue;
        }
        assert_int_equal(half_bits(f), h);
        const float next = half_value((uint16_t) (h + 1));
        if ((h & 0x7fff) >= 0x7bff)
            continue;
        const float middle = f / 2 + next / 2;
        assert_int_equal(half_bits(middle), h + (h & 1));
        assert_int_equal(half_bits(nextafterf(middle, f)), h);
        assert_int_equal(half_bits(nextafterf(middle, next)), h + 1);
    }
    assert_int_equal(half_bits(65519.996f), 0x7bff);
    assert_int_equal(half_bits(65520), 0x7c00);
    assert_int_equal(half_bits(-1e30f), 0xfc00);
    assert_true(half_value(0x3c00) == 1 && half_value(1) == 0x1p-24f && half_value(0x7bff) == 65504);
}

/* A reference goes through its file; another problem's, a damaged and a missing one are refused. */
static void maps_reference_files(void **state)
{
    (void) state;
    char path[] = "/tmp/unit_ref.XXXXXX", err[100];
    struct workload_spec spec = {.seed = 3, .n_sets = 2, .reference = true};
    struct inputs in;
    struct reference made, mapped;
    assert_true(problem_parse("attn:f16 b=2 h=4/2 d=16 n=20", &spec.problem, err, sizeof err));
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(workload_write_reference(&spec, path), FDEC_OK);
    assert_int_equal(inputs_make(&spec, &in), FDEC_OK);
    assert_int_equal(reference_make(&spec, &in, &made), FDEC_OK);
    assert_int_equal(reference_map(&spec, path, &mapped), FDEC_OK);
    assert_memory_equal(made.out, mapped.out, made.n * sizeof *made.out);
    assert_memory_equal(made.lse_bound, mapped.lse_bound, made.n_lse * sizeof *made.out);
    reference_clear(&mapped);
    spec.seed = 4;
    assert_int_equal(reference_map(&spec, path, &mapped), FDEC_E_DATA);
    spec.seed = 3;
    spec.problem.attn.len = 21;
    assert_int_equal(reference_map(&spec, path, &mapped), FDEC_E_DATA);
    spec.problem.attn.len = 20;
    assert_int_equal(truncate(path, 100), 0);
    assert_int_equal(reference_map(&spec, path, &mapped), FDEC_E_DATA);
    unlink(path);
    close(fd);
    assert_int_equal(reference_map(&spec, path, &mapped), FDEC_E_DATA);
    reference_clear(&made);
    inputs_clear(&in);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    golden_path = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_golden),
        cmocka_unit_test(knows_what_is_no_number),
        cmocka_unit_test(converts_halves),
        cmocka_unit_test(maps_reference_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
