/* SPDX-License-Identifier: MIT
 * unit_quant.c - ref_quant.c against another program's results (quant_golden.py)
 *
 *     unit_quant quant_golden.txt */
#include "problem.h"
#include "ref_quant.h"
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

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    golden_path = argv[1];
    const struct CMUnitTest tests[] = {cmocka_unit_test(agrees_with_golden), cmocka_unit_test(reads_floats)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
