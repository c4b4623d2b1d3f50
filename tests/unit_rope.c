/* SPDX-License-Identifier: MIT
 * unit_rope.c - the angles of rotary embedding and their scalings against another program's results (rope_golden.py),
 * and what is refused
 *
 *     unit_rope rope_golden.txt */
#include "util.h"

#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { MAX_PAIRS = 64, MAX_LINE = 4096 };
static const char *golden_path;

/* The case of a line, up to the ":", which is returned. with_defaults: what may be 0 for a default is 0. */
static char *parse_case(char *line, bool with_defaults, fdec_rope_params *p)
{
    static const char *const names[] = {"none", "linear", "yarn", "llama3"};
    char name[16];
    double a, b;
    int used = 0;
    *p = (fdec_rope_params) FDEC_ROPE_PARAMS_INIT;
    assert_int_equal(sscanf(line, "%15s %u %lf %lf %u %lf %lf %u :%n", name, &p->rope_dim, &p->base, &p->factor,
                            &p->original_max_len, &a, &b, &p->yarn_unrounded, &used),
                     8);
    while (strcmp(name, names[p->scaling]) != 0)
        p->scaling = (fdec_rope_scaling) (p->scaling + 1);
    if (p->scaling == FDEC_ROPE_YARN && !(with_defaults && a == 32 && b == 1))
        p->beta_fast = a, p->beta_slow = b;
    if (p->scaling == FDEC_ROPE_LLAMA3 && !(with_defaults && a == 1 && b == 4))
        p->low_freq_factor = a, p->high_freq_factor = b;
    return line + used;
}

/* Frequencies agree to 1e-13 of themselves: a few roundings of double in either program, and an exponent of at most
 * ln(1e6) that multiplies one of them; and to the last bit of the fraction. */
static void check_line(char *line, bool with_defaults)
{
    uint64_t angles[MAX_PAIRS];
    fdec_rope_params p;
    float factor = 0;
    char *rest = parse_case(line, with_defaults, &p);
    assert_true(p.rope_dim / 2 <= MAX_PAIRS);
    assert_int_equal(fdec_rope_angles(&p, angles, &factor), FDEC_OK);
    assert_true(fabs(factor - strtod(rest, &rest)) <= 1e-7);
    for (uint32_t i = 0; i < p.rope_dim / 2; i++) {
        const double want = strtod(rest, &rest) / 6.283185307179586;
        assert_true(fabs(ldexp((double) angles[i], -64) - want) <= 1e-13 * want + 0x1p-63);
    }
    assert_int_equal(*rest, '\n');
}

static void golden(void **state)
{
    char line[MAX_LINE];
    int n = 0;
    (void) state;
    FILE *f = fopen(golden_path, "r");
    assert_non_null(f);
    for (; fgets(line, sizeof line, f); n++) {
        check_line(line, false);
        check_line(line, true);
    }
    fclose(f);
    assert_true(n >= 12);
}

static void attention_factor(void **state)
{
    uint64_t angles[4];
    float factor = 0;
    fdec_rope_params p = FDEC_ROPE_PARAMS_INIT;
    (void) state;
    p.rope_dim = 8, p.base = 1e4;
    assert_int_equal(fdec_rope_angles(&p, angles, NULL), FDEC_OK);
    p.attn_factor = 0.75;
    assert_int_equal(fdec_rope_angles(&p, angles, NULL), FDEC_E_ARG);
    assert_int_equal(fdec_rope_angles(&p, angles, &factor), FDEC_OK);
    assert_true(factor == 0.75f);
    p.scaling = FDEC_ROPE_YARN, p.factor = 40, p.original_max_len = 4096;
    assert_int_equal(fdec_rope_angles(&p, angles, &factor), FDEC_OK);
    assert_true(factor == 0.75f);
}

static fdec_rope_params yarn_params(void)
{
    fdec_rope_params p = FDEC_ROPE_PARAMS_INIT;
    p.rope_dim = 8, p.base = 1e4, p.scaling = FDEC_ROPE_YARN, p.factor = 4, p.original_max_len = 100;
    return p;
}

static void refused(const fdec_rope_params *p, uint64_t *angles, float *factor, const char *part)
{
    assert_int_equal(fdec_rope_angles(p, angles, factor), FDEC_E_ARG);
    if (!strstr(fdec_last_error(), part))
        fail_msg("\"%s\", wanted \"%s\" in it", fdec_last_error(), part);
}

#define BAD(change, part)                                                                                              \
    do {                                                                                                               \
        fdec_rope_params p = yarn_params();                                                                            \
        p.change;                                                                                                      \
        refused(&p, angles, &factor, part);                                                                            \
    } while (0)

static void refusals(void **state)
{
    uint64_t angles[4];
    float factor;
    const fdec_rope_params good = yarn_params();
    (void) state;
    BAD(size = 0, "size");
    BAD(rope_dim = 7, "rope_dim");
    BAD(rope_dim = 0, "rope_dim");
    BAD(base = 1, "base");
    BAD(scaling = (fdec_rope_scaling) 4, "scaling");
    BAD(scaling = FDEC_ROPE_UNSCALED, "factor");
    BAD(scaling = FDEC_ROPE_LINEAR, "original_max_len");
    BAD(factor = 0.5, "factor");
    BAD(original_max_len = 0, "original_max_len");
    BAD(beta_fast = 0.5, "beta_fast");
    BAD(beta_slow = -1, "beta_slow");
    BAD(yarn_unrounded = 2, "yarn_unrounded");
    BAD(low_freq_factor = 1, "low_freq_factor");
    BAD(high_freq_factor = (p.scaling = FDEC_ROPE_LLAMA3, 1), "high_freq_factor");
    BAD(beta_fast = (p.scaling = FDEC_ROPE_LLAMA3, 32), "beta_fast");
    BAD(attn_factor = -1, "attn_factor");
    refused(&good, NULL, &factor, "out");
    refused(&good, angles, NULL, "attn_factor");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(golden), cmocka_unit_test(attention_factor),
                                       cmocka_unit_test(refusals)};
    if (argc != 2) {
        fprintf(stderr, "usage: unit_rope rope_golden.txt\n");
        return 2;
    }
    golden_path = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
