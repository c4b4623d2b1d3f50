/* SPDX-License-Identifier: MIT
 * unit_quant.c - ref_quant.c against another program's results (quant_golden.py); weights in blocks, as workloads have
 * them
 *
 *     unit_quant quant_golden.txt */
#include "inputs.h"
#include "linear.h"
#include "quantize.h"
#include "ref_quant.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const char *golden_path;

/* Of hex digits, two a byte. */
static size_t bytes_of(const char *hex, unsigned char *bytes)
{
    const size_t n = strlen(hex) / 2;
    for (size_t i = 0; i < n; i++) {
        const char two[] = {hex[2 * i], hex[2 * i + 1], 0};
        bytes[i] = (unsigned char) strtoul(two, NULL, 16);
    }
    return n;
}

static void agrees_with_golden(void **state)
{
    (void) state;
    static char name[16], block_hex[1024], value_hex[4096];
    static unsigned char block[512], values[2048];
    FILE *f = fopen(golden_path, "r");
    int n_types = 0;
    assert_non_null(f);
    while (fscanf(f, "%15s %1023s %4095s", name, block_hex, value_hex) == 3) {
        fdec_type type = FDEC_F32;
        assert_true(type_parse(name, &type));
        assert_int_equal(bytes_of(block_hex, block), type_bytes(type, type_block(type)));
        assert_int_equal(bytes_of(value_hex, values), 4 * type_block(type));
        for (size_t i = 0; i < type_block(type); i++)
            assert_true((float) ref_dequant(type, block, i) == (float) ref_dequant(FDEC_F32, values, i));
        n_types++;
    }
    fclose(f);
    assert_int_equal(n_types, FDEC_Q6_K - FDEC_Q8_0 + 1);
}

/* What has no block: by the definition of the formats. */
static void reads_floats(void **state)
{
    (void) state;
    const uint16_t half[] = {0x3c00, 0xc000, 0x0001, 0x7bff}, bfloat[] = {0x3f80, 0xc000};
    assert_true(ref_dequant(FDEC_F16, half, 0) == 1 && ref_dequant(FDEC_F16, half, 1) == -2);
    assert_true(ref_dequant(FDEC_F16, half, 2) == 0x1p-24 && ref_dequant(FDEC_F16, half, 3) == 65504);
    assert_true(ref_dequant(FDEC_BF16, bfloat, 0) == 1 && ref_dequant(FDEC_BF16, bfloat, 1) == -2);
    assert_true(ref_half(0x7c00) > 65504 && ref_half(0x7e00) != ref_half(0x7e00));
}

enum { N = 14, K = 512 };

/* W of a linear problem of any type: f is what the blocks say. Returns the mean of |w|. */
static double mean_weight(fdec_type type, enum fill fill, double *most)
{
    const struct workload_spec spec = {
        .problem = {.op = OP_LINEAR, .linear = {.m = 1, .n = N, .k = K, .w_type = type}}, .fill = fill, .seed = 5};
    struct inputs in;
    double sum = 0;
    assert_int_equal(inputs_make(&spec, &in), FDEC_OK);
    const struct operand *w = &in.at[LINEAR_W];
    assert_int_equal(w->n, N * K);
    *most = 0;
    for (size_t i = 0; i < w->n; i++) {
        if (w->blocks)
            assert_true(w->f[i] == (float) ref_dequant(type, w->blocks, i));
        assert_true(isfinite(w->f[i]));
        assert_true(fill != FILL_EQUAL || w->f[i] == 0.5f);
        sum += fabs((double) w->f[i]);
        *most = fmax(*most, fabs((double) w->f[i]));
    }
    inputs_clear(&in);
    return sum / (N * K);
}

static void fills_weights(void **state)
{
    (void) state;
    for (int type = FDEC_F32; type <= FDEC_Q6_K; type++) {
        double most;
        const double mean = mean_weight((fdec_type) type, FILL_UNIFORM, &most);
        assert_true(mean > 0.15 && mean < 0.6 && most > 0.8 && most <= 2.01);
        assert_true(mean_weight((fdec_type) type, FILL_OUTLIERS, &most) > mean && most > 25 && most < 101);
        mean_weight((fdec_type) type, FILL_EQUAL, &most);
        mean_weight((fdec_type) type, FILL_ENDS, &most);
        assert_true(type < FDEC_Q8_0 || most >= 65504 * 8.0);
    }
}

/* An element is off by half a step of its block at most, and what the scales' own rounding adds. */
static void quantizes(void **state)
{
    (void) state;
    static const struct {
        fdec_type type;
        double off;
    } cases[] = {{FDEC_F32, 0},       {FDEC_F16, 0x1p-12}, {FDEC_BF16, 0x1p-9},
                 {FDEC_Q8_0, 0.0045}, {FDEC_Q4_0, 0.075},  {FDEC_Q4_K, 0.1}};
    const struct stream s = {.key = 77, .fill = FILL_UNIFORM, .type = ELEM_F32};
    float x[1024];
    unsigned char blocks[4096];
    for (size_t i = 0; i < 1024; i++)
        x[i] = stream_value(&s, i) * (i < 512 ? 1 : 0);
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        assert_true(quantize_can(cases[c].type));
        quantize(cases[c].type, x, 1024, blocks);
        for (size_t i = 0; i < 1024; i++)
            assert_true(fabs(ref_dequant(cases[c].type, blocks, i) - (double) x[i]) <= cases[c].off * (i < 512));
    }
    assert_false(quantize_can(FDEC_Q6_K));
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    golden_path = argv[1];
    const struct CMUnitTest tests[] = {cmocka_unit_test(agrees_with_golden), cmocka_unit_test(reads_floats),
                                       cmocka_unit_test(fills_weights), cmocka_unit_test(quantizes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
