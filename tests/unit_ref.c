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
    const struct linear_problem p = {.m = a[0], .n = a[1], .k = a[2], .scale = 1};
    float *x = values(0, (size_t) (p.m * p.k), 1), *w = values(1, (size_t) (p.n * p.k), 1);
    float *bias = values(2, (size_t) p.n, 1), *residual = values(3, (size_t) (p.m * p.n), 1);
    ref_linear(&(struct linear_run){&p, x, w, bias, residual, NULL}, r->value, r->bound);
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

/* The numbers of an attention case, in the order of the golden file. */
struct attn_case {
    int batch, heads, kv_heads, dim, v_dim, len, page, q_len, causal, window, cap, alibi, bias, sinks, q_pos, q_starts;
};

static void fill_case(const struct attn_case *a, struct attn_problem *p)
{
    const int tokens = a->page ? a->page : a->len, pages = a->page ? (a->len + a->page - 1) / a->page : 1;
    *p = (struct attn_problem){.batch = a->batch, .len = a->len, .q_len = a->q_len, .n_heads = a->heads};
    p->n_kv_heads = a->kv_heads, p->head_dim = a->dim, p->v_head_dim = a->v_dim;
    p->scale = 0.25f, p->softcap = (float) a->cap, p->window = a->window, p->causal = a->causal;
    fdec_kv_layout *kv = &p->kv;
    kv->page_size = (uint32_t) a->page, kv->max_blocks = (uint32_t) pages, kv->n_blocks = (uint32_t) (a->batch * pages);
    kv->k.head_stride = a->dim, kv->v.head_stride = a->v_dim + 3;
    fdec_cache *caches[] = {&kv->k, &kv->v};
    for (int i = 0; i < 2; i++) {
        caches[i]->token_stride = a->kv_heads * caches[i]->head_stride;
        caches[i]->block_stride = tokens * caches[i]->token_stride;
    }
}

/* lens, block table, q_starts and q_pos, as ref_golden.py says. */
static void fill_order(const struct attn_case *a, const struct attn_problem *p, int32_t *lens, int32_t *table,
                       int32_t *starts, int32_t *pos)
{
    const int pages = (int) p->kv.max_blocks, pool = (int) p->kv.n_blocks;
    starts[0] = 1;
    for (int b = 0; b < a->batch; b++) {
        lens[b] = MAX(a->len - 3 * b, 0);
        starts[b + 1] = starts[b] + (2 * b + 1) % (a->q_len + 1);
        pos[b] = a->len - 2 * b - 2;
        for (int j = 0; j < pages; j++) {
            const int block = (5 * j + 3 * b + 1) % pool;
            table[b * pages + j] = block ? block : (j % 2 ? -1 : pool); /* outside, on either side */
        }
    }
}

static void run_attn(const int *numbers, struct result *r)
{
    struct attn_case a;
    struct attn_problem p;
    int32_t lens[8], table[64], starts[9], pos[8];
    memcpy(&a, numbers, sizeof a);
    fill_case(&a, &p);
    fill_order(&a, &p, lens, table, starts, pos);
    const int64_t n_q = a.q_starts ? starts[a.batch] : a.batch * a.q_len;
    const size_t rows = (size_t) n_q * (size_t) a.heads, n = rows * (size_t) a.v_dim,
                 tokens = (size_t) (a.len * a.heads);
    const size_t n_bias = (size_t) (a.batch * a.q_len) * tokens;
    float *q = values(0, rows * (size_t) a.dim, 4), *k = values(1, p.kv.n_blocks * (size_t) p.kv.k.block_stride, 1),
          *v = values(2, p.kv.n_blocks * (size_t) p.kv.v.block_stride, 1), *bias = values(3, n_bias, 2),
          *alibi = values(4, (size_t) a.heads, 1), *sinks = values(5, (size_t) a.heads, 2), *phi = values(0, rows, 0);
    for (size_t i = 3; i < n_bias; i += 7)
        bias[i] = -INFINITY;
    struct attn_run run = {.p = &p, .q = q, .k = k, .v = v, .lens = lens, .n_q = n_q, .phi = phi};
    run.q_starts = a.q_starts ? starts : NULL, run.q_pos = a.q_pos ? pos : NULL,
    run.block_table = a.page ? table : NULL;
    run.bias = a.bias ? bias : NULL, run.alibi = a.alibi ? alibi : NULL, run.sinks = a.sinks ? sinks : NULL;
    run.bias_stride[0] = a.q_len * (int64_t) tokens, run.bias_stride[1] = (int64_t) tokens, run.bias_stride[2] = a.len;
    r->n = n + rows;
    assert_true(r->n <= MAX_VALUES);
    ref_attn(&run, r->value, r->bound, r->value + n, r->bound + n);
    free(q), free(k), free(v), free(bias), free(alibi), free(sinks), free(phi);
}

/* Compares r with the rest of a golden line. */
static void compare(const char *name, const char *rest, const struct result *r)
{
    for (size_t i = 0; i < r->n; i++) {
        char *end;
        const double want = strtod(rest, &end);
        assert_true(end != rest);
        rest = end;
        if (isnan(want) != (r->value[i] == REF_UNTOUCHED))
            fail_msg("%s [%zu]: %g, golden %g", name, i, r->value[i], want);
        if (isnan(want))
            continue;
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
        int a[16] = {0}, used;
        char *colon = strchr(line, ':'), *at = line;
        assert_non_null(colon);
        assert_int_equal(sscanf(at, "%31s%n", name, &used), 1);
        at += used;
        for (size_t i = 0; i < ARRAY_LEN(a) && sscanf(at, "%d%n", &a[i], &used) == 1; i++)
            at += used;
        assert_int_equal(strspn(at, " "), colon - at);
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
    assert_int_equal(n_cases, 22);
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
    const struct linear_problem p = {.m = 1, .n = 1, .k = 2, .scale = 1};
    ref_linear(&(struct linear_run){.p = &p, .x = row, .w = w}, y, bound);
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

/* The same for bfloat16, whose numbers are the upper halves of floats. */
static void converts_bfloats(void **state)
{
    (void) state;
    for (uint32_t h = 0; h < 65536; h++) {
        const float f = bfloat_value((uint16_t) h);
        if (isnan(f)) {
            assert_true(isnan(bfloat_value(bfloat_bits(f))));
            continue;
        }
        assert_int_equal(bfloat_bits(f), h);
        if ((h & 0x7fff) >= 0x7f7f)
            continue;
        const float next = bfloat_value((uint16_t) (h + 1)), middle = f / 2 + next / 2;
        assert_int_equal(bfloat_bits(middle), h + (h & 1));
        assert_int_equal(bfloat_bits(nextafterf(middle, f)), h);
        assert_int_equal(bfloat_bits(nextafterf(middle, next)), h + 1);
    }
}

/* A cache of q8_0 blocks is what its bytes say, near what it was made from, and NaN where nobody may read. */
static void quantises_caches(void **state)
{
    (void) state;
    char err[100];
    struct workload_spec spec = {.seed = 3, .n_sets = 1, .reference = true}, plain = spec;
    struct inputs in, floats;
    assert_true(problem_parse("attn:q8_0/f16 b=3 h=4/2 d=64 n=20 page=4", &spec.problem, err, sizeof err));
    assert_true(problem_parse("attn:f32/f16 b=3 h=4/2 d=64 n=20 page=4", &plain.problem, err, sizeof err));
    assert_int_equal(inputs_make(&spec, &in), FDEC_OK);
    assert_int_equal(inputs_make(&plain, &floats), FDEC_OK);
    const struct operand *k = &in.at[1], *f = &floats.at[1];
    size_t n_values = 0;
    assert_int_equal(k->n, f->n);
    for (size_t i = 0; i < k->n; i++) {
        const uint8_t *block = k->blocks + i / 32 * 34;
        const float d = half_value((uint16_t) (block[0] | block[1] << 8));
        assert_int_equal(isnan(f->f[i]), isnan(d));
        if (isnan(d))
            continue;
        n_values++;
        assert_true(k->f[i] == d * (float) (int8_t) block[2 + i % 32]);
        assert_true(fabsf(k->f[i] - f->f[i]) <= 0.51f * d + 1e-3f * fabsf(f->f[i]));
    }
    assert_true(n_values >= 20 * 2 * 64 && n_values < k->n);
    inputs_clear(&in);
    inputs_clear(&floats);
}

/* A reference goes through its file; another problem's, a damaged and a missing one are refused. */
static void maps_reference_files(void **state)
{
    (void) state;
    char path[] = "/tmp/unit_ref.XXXXXX", err[100];
    struct workload_spec spec = {.seed = 3, .n_sets = 2, .timed = true, .reference = true};
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
        cmocka_unit_test(agrees_with_golden), cmocka_unit_test(knows_what_is_no_number),
        cmocka_unit_test(converts_halves),    cmocka_unit_test(converts_bfloats),
        cmocka_unit_test(quantises_caches),   cmocka_unit_test(maps_reference_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
