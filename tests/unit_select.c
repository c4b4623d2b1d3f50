/* SPDX-License-Identifier: MIT
 * unit_select.c - the choices for a problem, over a registry of its own
 *
 * kernels[] and operations[] are defined here: the linker then takes neither from the library, so the rules are tested
 * on kernels whose limits and expectations stand below. */
#include "select.h"
#include "util.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* ---- three linear kernels and two of attention, one parameter each ----
 *
 * gemv: T 1 2 4, expects T = 1 at 0.9 for M = 1, T = 2 at 0.4 above.   flat: T 1 2 4 8, expects T = M up to 8, at 0.6.
 * gemm: no parameter, expects M/100.      All: T may not exceed the compute units, M not 2^20. */

static const char *reject(const struct problem *p, const struct device *d, const int *cfg)
{
    int64_t at[N_RANGES];
    problem_range(p, at);
    if (cfg[0] > d->compute_units)
        return "T is over the compute units";
    return at[0] > 1 << 20 ? "M is over 2^20" : NULL;
}

static double gemv_expect(const struct problem *p, const struct device *d, int *cfg)
{
    (void) d;
    cfg[0] = p->linear.m == 1 ? 1 : 2;
    return p->linear.m == 1 ? 0.9 : 0.4;
}

static double flat_expect(const struct problem *p, const struct device *d, int *cfg)
{
    (void) d;
    cfg[0] = p->linear.m >= 8 ? 8 : p->linear.m >= 4 ? 4 : p->linear.m >= 2 ? 2 : 1;
    return 0.6;
}

static double gemm_expect(const struct problem *p, const struct device *d, int *cfg)
{
    (void) d, (void) cfg;
    return (double) p->linear.m / 100;
}

static double attn_expect(const struct problem *p, const struct device *d, int *cfg)
{
    (void) p, (void) d;
    cfg[0] = 1;
    return 0.5;
}

#define KERNEL(kernel_name, operation, kernel_family, expect_function, ...)                                            \
    {                                                                                                                  \
        .name = kernel_name, .rev = 2, .op = operation, .family = kernel_family, .params = {__VA_ARGS__},              \
        .reject = reject, .expect = expect_function                                                                    \
    }

static const struct kernel gemv = KERNEL("linear/v", OP_LINEAR, "gemv", gemv_expect, PARAM(T, 1, 2, 4));
static const struct kernel flat = KERNEL("linear/f", OP_LINEAR, "flat", flat_expect, PARAM(T, 1, 2, 4, 8));
static const struct kernel gemm = KERNEL("linear/g", OP_LINEAR, "gemm", gemm_expect, {0});
static const struct kernel attn_a = KERNEL("attn/a", OP_ATTN, "unified", attn_expect, PARAM(T, 1, 2));
static const struct kernel attn_b = KERNEL("attn/b", OP_ATTN, "pair", attn_expect, PARAM(T, 1, 2));

enum { GEMV, FLAT, GEMM, ATTN_A, ATTN_B, N_KERNELS };
const struct kernel *const kernels[] = {&gemv, &flat, &gemm, &attn_a, &attn_b, NULL};
const struct operation operations[OP_COUNT] = {
    [OP_ATTN] = {.name = "attn"},
    [OP_LINEAR] = {.name = "linear"},
    [OP_SOFTMAX] = {.name = "softmax"},
    [OP_RMSNORM] = {.name = "rmsnorm"},
    [OP_ROPE_APPEND] = {.name = "rope_append"},
    [OP_SWIGLU] = {.name = "swiglu"},
    [OP_ADD] = {.name = "add"},
    [OP_EMBED] = {.name = "embed"},
    [OP_ARGMAX] = {.name = "argmax"},
    [OP_SAMPLE] = {.name = "sample"},
    [OP_ATTN_MERGE] = {.name = "attn_merge"},
};

/* ---- asking ---- */

struct answer {
    fdec_status st;
    int n;
    struct choice choices[MAX_CHOICES];
};

static struct answer ask(const char *text, const struct want *want, const struct table_set *tables, const bool *denied)
{
    const struct device d = {.compute_units = 8, .cpu_like = true};
    struct answer a = {0};
    struct problem p;
    char err[200];
    if (!problem_parse(text, &p, err, sizeof err))
        fail_msg("%s", err);
    a.st = select_choices(&p, want, &d, tables, denied, a.choices, &a.n);
    assert_int_equal(a.st == FDEC_OK, a.n > 0);
    if (a.st != FDEC_OK)
        return a;
    const struct range *last = &a.choices[a.n - 1].range; /* it contains them all */
    assert_true(last->lo[0] == 1 && last->lo[1] == 1 && last->hi[0] == INT64_MAX && last->hi[1] == INT64_MAX);
    for (int i = 0; i < a.n; i++)
        assert_true(a.choices[i].reason[0]);
    return a;
}

static const struct choice *pick(const struct answer *a, int64_t first, int64_t second)
{
    int i = 0;
    while (!range_contains(&a->choices[i].range, (const int64_t[]){first, second}))
        i++;
    return &a->choices[i];
}

static void expect_pick(const struct answer *a, int64_t first, int64_t second, const struct kernel *k, int t, int level)
{
    const struct choice *c = pick(a, first, second);
    if (c->kernel != k || c->cfg[0] != t || (int) c->level != level)
        fail_msg("at %d, %d: %s T=%d level %d (%s)", (int) first, (int) second, c->kernel->name, c->cfg[0],
                 (int) c->level, c->reason);
}

static void expect_reason(const struct answer *a, int64_t first, const char *part)
{
    const struct choice *c = pick(a, first, 1);
    if (!strstr(c->reason, part))
        fail_msg("\"%s\" does not say \"%s\"", c->reason, part);
}

/* ---- tables ---- */

static const char class[] = "linear:f32 n=64 k=32", attn_class[] = "attn:f32 h=2/1 d=8";

static struct table_entry entry(const struct kernel *k, int t, int64_t lo, int64_t hi)
{
    struct table_entry e = {.op = k->op,
                            .lo = {lo, 1},
                            .hi = {hi, 2},
                            .rev = 2,
                            .n_config = k->params[0].name ? 1 : 0,
                            .point = {lo, 1},
                            .median_us = 10,
                            .samples = 9};
    strcpy(e.class_text, k->op == OP_ATTN ? attn_class : class);
    strcpy(e.kernel, k->name);
    strcpy(e.family, k->family);
    strcpy(e.config[0].name, "T");
    e.config[0].value = t;
    return e;
}

static struct table_entry entry_2d(const struct kernel *k, int t, int64_t lo0, int64_t hi0, int64_t lo1, int64_t hi1)
{
    struct table_entry e = entry(k, t, lo0, hi0);
    e.lo[1] = e.point[1] = lo1;
    e.hi[1] = hi1;
    return e;
}

#define TABLE(...)                                                                                                     \
    {                                                                                                                  \
        .path = (char *) "/somewhere/tab.json", .entries = (struct table_entry[]){__VA_ARGS__},                        \
        .n_entries = sizeof((struct table_entry[]){__VA_ARGS__}) / sizeof(struct table_entry)                          \
    }

static struct table_set one(struct table *t)
{
    return (struct table_set){.n = 1, .tables = {t}, .level = {LEVEL_EXACT}};
}

static void ranges_are_half_open(void **state)
{
    struct table t = TABLE(entry(&gemv, 4, 1, 4), entry(&flat, 1, 4, 10), entry(&gemm, 0, 10, INT64_MAX));
    const struct table_set set = one(&t);
    (void) state;
    const struct answer a = ask("linear:f32 m=20 n=64 k=32", NULL, &set, NULL);
    for (int m = 1; m <= 20; m++)
        expect_pick(&a, m, 1, m < 4 ? &gemv : m < 10 ? &flat : &gemm, m < 4 ? 4 : m < 10 ? 1 : 0, LEVEL_EXACT);
    expect_reason(&a, 3, "tab.json entry 0 (exact device)");
    expect_reason(&a, 4, "tab.json entry 1 (exact device)");
    assert_ptr_equal(pick(&a, 4, 1)->table, &t);
    assert_int_equal(pick(&a, 4, 1)->entry, 1);
    assert_true(pick(&a, 4, 1)->expected_us == 10);
    for (int i = 0; i < a.n; i++) /* nothing to compile that the table does not name */
        assert_int_equal(a.choices[i].level, LEVEL_EXACT);
}

static void what_is_not_used_is_not_compiled(void **state)
{
    struct table t = TABLE(entry(&gemv, 4, 1, 4), entry(&flat, 1, 4, 10), entry(&gemm, 0, 10, INT64_MAX));
    const struct table_set set = one(&t);
    (void) state;
    const struct answer a = ask("linear:f32 m=3 n=64 k=32", NULL, &set, NULL);
    assert_int_equal(a.n, 1);
    expect_pick(&a, 3, 1, &gemv, 4, LEVEL_EXACT);
    const struct answer b = ask("linear:f32 m=4 n=64 k=32", NULL, &set, NULL);
    expect_pick(&b, 3, 1, &gemv, 4, LEVEL_EXACT);
    expect_pick(&b, 4, 1, &flat, 1, LEVEL_EXACT);
}

static void gaps_go_to_the_analytic_rule(void **state)
{
    struct table t = TABLE(entry(&gemm, 0, 2, 3), entry(&gemv, 4, 5, 9));
    const struct table_set set = one(&t);
    (void) state;
    const struct answer a = ask("linear:f32 m=32 n=64 k=32", NULL, &set, NULL);
    expect_pick(&a, 1, 1, &gemv, 1, LEVEL_ANALYTIC);
    expect_pick(&a, 2, 1, &gemm, 0, LEVEL_EXACT);
    expect_pick(&a, 3, 1, &flat, 4, LEVEL_ANALYTIC); /* what M = 4 needs */
    expect_pick(&a, 4, 1, &flat, 4, LEVEL_ANALYTIC);
    for (int m = 5; m < 9; m++)
        expect_pick(&a, m, 1, &gemv, 4, LEVEL_EXACT);
    expect_pick(&a, 9, 1, &flat, 8, LEVEL_ANALYTIC);
    expect_pick(&a, 32, 1, &flat, 8, LEVEL_ANALYTIC);
    expect_reason(&a, 1, "no table entry for class linear:f32 n=64 k=32; analytic: cpu-like, expected share 0.90");
}

static void other_classes_do_not_count(void **state)
{
    struct table t = TABLE(entry(&gemm, 0, 1, INT64_MAX));
    const struct table_set set = one(&t);
    (void) state;
    strcpy(t.entries[0].class_text, "linear:f16 n=64 k=32");
    struct answer a = ask("linear:f32 m=1 n=64 k=32", NULL, &set, NULL);
    expect_pick(&a, 1, 1, &gemv, 1, LEVEL_ANALYTIC);
    a = ask("linear:f16 m=1 n=64 k=32", NULL, &set, NULL);
    expect_pick(&a, 1, 1, &gemm, 0, LEVEL_EXACT);
}

static void analytic_choices_alone(void **state)
{
    (void) state;
    struct answer a = ask("linear:f32 m=100 n=64 k=32", NULL, NULL, NULL);
    static const int64_t ms[] = {1, 2, 3, 4, 5, 8, 9, 16, 60, 64, 65, 100};
    for (size_t i = 0; i < ARRAY_LEN(ms); i++) {
        const int64_t m = ms[i];
        const struct kernel *k = m == 1 ? &gemv : m <= 32 ? &flat : &gemm;
        expect_pick(&a, m, 1, k, k == &gemm ? 0 : m == 1 ? 1 : m == 2 ? 2 : m <= 4 ? 4 : 8, LEVEL_ANALYTIC);
    }
    assert_int_equal(a.n, 5); /* gemv; flat 2, 4, 8; gemm: neighbours that agree are one */
    a = ask("linear:f32 m=1 n=64 k=32", NULL, NULL, NULL);
    assert_int_equal(a.n, 1);
    a = ask("linear:f32 m=3 n=64 k=32", NULL, NULL, NULL); /* no power of two: the largest counts as it is */
    expect_pick(&a, 3, 1, &flat, 2, LEVEL_ANALYTIC);
}

/* An entry for M in 3..8, made unusable in one way; the one for M = 2 stays. */
static void expect_unused(void (*spoil)(struct table_entry *), int compute_units, const char *why)
{
    const struct device d = {.compute_units = compute_units, .cpu_like = true};
    struct table t = TABLE(entry(&gemv, 2, 2, 3), entry(&flat, 4, 3, 9));
    const struct table_set set = one(&t);
    struct answer a = {0};
    struct problem p;
    char err[100];
    spoil(&t.entries[1]);
    assert_true(problem_parse("linear:f32 m=8 n=64 k=32", &p, err, sizeof err));
    assert_int_equal(select_choices(&p, NULL, &d, &set, NULL, a.choices, &a.n), FDEC_OK);
    for (int m = 1; m <= 8; m++)
        assert_int_equal(pick(&a, m, 1)->level, m == 2 ? LEVEL_EXACT : LEVEL_ANALYTIC);
    expect_reason(&a, 8, "tab.json entry 1 not used");
    expect_reason(&a, 8, why);
}

static void spoil_kernel(struct table_entry *e)
{
    strcpy(e->kernel, "linear/no-such");
}

static void spoil_operation(struct table_entry *e)
{
    strcpy(e->kernel, "attn/a");
}

static void spoil_revision(struct table_entry *e)
{
    e->rev = 1;
}

static void spoil_family(struct table_entry *e)
{
    strcpy(e->family, "gemm");
}

static void spoil_value(struct table_entry *e)
{
    e->config[0].value = 3;
}

static void spoil_name(struct table_entry *e)
{
    strcpy(e->config[0].name, "U");
}

static void spoil_number_of_values(struct table_entry *e)
{
    e->n_config = 0;
}

static void spoil_nothing(struct table_entry *e)
{
    (void) e;
}

static void entries_that_cannot_be_used(void **state)
{
    (void) state;
    expect_unused(spoil_kernel, 8, "no such kernel");
    expect_unused(spoil_operation, 8, "no such kernel");
    expect_unused(spoil_revision, 8, "another revision");
    expect_unused(spoil_family, 8, "another family");
    expect_unused(spoil_value, 8, "no such configuration");
    expect_unused(spoil_name, 8, "no such configuration");
    expect_unused(spoil_number_of_values, 8, "no such configuration");
    expect_unused(spoil_nothing, 3, "T is over the compute units"); /* the live device rejects T = 4 */
}

/* The kernels reject M over 2^20, and the plan reaches there. */
static void a_range_is_used_only_where_it_is_accepted_to_its_end(void **state)
{
    struct table t = TABLE(entry(&gemv, 2, 1, INT64_MAX));
    const struct table_set set = one(&t);
    (void) state;
    struct answer a = ask("linear:f32 m=1048576 n=64 k=32", NULL, &set, NULL);
    expect_pick(&a, 1048576, 1, &gemv, 2, LEVEL_EXACT);
    a = ask("linear:f32 m=1048577 n=64 k=32", NULL, &set, NULL);
    assert_int_equal(a.st, FDEC_E_UNSUPPORTED);
    for (int i = GEMV; i <= GEMM; i++)
        assert_non_null(strstr(fdec_last_error(), kernels[i]->name));
    assert_non_null(strstr(fdec_last_error(), "M is over 2^20"));
}

static void better_levels_come_first(void **state)
{
    struct table far = TABLE(entry(&gemm, 0, 1, INT64_MAX)), near = TABLE(entry(&gemv, 4, 1, 3), entry(&flat, 4, 6, 8));
    const struct table_set set = {.n = 2, .tables = {&near, &far}, .level = {LEVEL_OTHER_DRIVER, LEVEL_NEAREST}};
    (void) state;
    const struct answer a = ask("linear:f32 m=20 n=64 k=32", NULL, &set, NULL);
    for (int m = 1; m <= 20; m++) {
        const bool in_near = m < 3 || (m >= 6 && m < 8);
        expect_pick(&a, m, 1,
                    m < 3     ? &gemv
                    : in_near ? &flat
                              : &gemm,
                    in_near ? 4 : 0, in_near ? LEVEL_OTHER_DRIVER : LEVEL_NEAREST);
    }
    expect_reason(&a, 1, "same device, other driver");
    expect_reason(&a, 3, "nearest device");
    const struct table_set all_near = {.n = 2, .tables = {&far, &near}, .level = {LEVEL_EXACT, LEVEL_NEAREST}};
    const struct answer b = ask("linear:f32 m=20 n=64 k=32", NULL, &all_near, NULL);
    assert_int_equal(b.n, 1); /* the worse table has nothing left to say */
}

static void the_caller_forces_a_family(void **state)
{
    struct table t = TABLE(entry(&gemv, 4, 1, 4), entry(&flat, 1, 4, INT64_MAX));
    const struct table_set set = one(&t);
    (void) state;
    struct answer a = ask("linear:f32 m=8 n=64 k=32", &(struct want){.family = "gemm"}, &set, NULL);
    for (int m = 1; m <= 8; m++)
        expect_pick(&a, m, 1, &gemm, 0, LEVEL_ANALYTIC);
    a = ask("linear:f32 m=8 n=64 k=32", &(struct want){.family = "flat"}, &set, NULL);
    expect_pick(&a, 1, 1, &flat, 1, LEVEL_ANALYTIC);
    expect_pick(&a, 8, 1, &flat, 1, LEVEL_EXACT);
    a = ask("linear:f32 m=8 n=64 k=32", &(struct want){.family = "online"}, &set, NULL);
    assert_int_equal(a.st, FDEC_E_UNSUPPORTED);
    assert_non_null(strstr(fdec_last_error(), "linear/v: the caller forces another family"));
    a = ask("linear:f32 m=8 n=64 k=32", &(struct want){.no_table = true}, &set, NULL);
    expect_pick(&a, 1, 1, &gemv, 1, LEVEL_ANALYTIC);
    expect_pick(&a, 8, 1, &flat, 8, LEVEL_ANALYTIC);
    expect_reason(&a, 1, "tables not asked");
}

static void the_caller_forces_a_configuration(void **state)
{
    const int four[MAX_PARAMS] = {4};
    static const bool denied[N_KERNELS] = {[GEMV] = true};
    struct table t = TABLE(entry(&flat, 1, 1, INT64_MAX));
    const struct table_set set = one(&t);
    const struct want want = {.kernel = &gemv, .cfg = four};
    (void) state;
    struct answer a = ask("linear:f32 m=8 n=64 k=32", &want, &set, NULL);
    assert_int_equal(a.n, 1);
    assert_true(a.choices[0].kernel == &gemv && a.choices[0].cfg[0] == 4);
    assert_string_equal(a.choices[0].reason, "forced by the caller");
    a = ask("linear:f32 m=2000000 n=64 k=32", &want, &set, NULL);
    assert_int_equal(a.st, FDEC_E_UNSUPPORTED);
    assert_non_null(strstr(fdec_last_error(), "M is over 2^20"));
    a = ask("linear:f32 m=8 n=64 k=32", &want, &set, denied);
    assert_int_equal(a.st, FDEC_E_UNSUPPORTED);
    assert_non_null(strstr(fdec_last_error(), "self-test"));
    a = ask("attn:f32 b=1 h=2/1 d=8 n=9", &want, &set, NULL);
    assert_int_equal(a.st, FDEC_E_UNSUPPORTED);
    assert_non_null(strstr(fdec_last_error(), "another operation"));
    a = ask("linear:f32 m=8 n=64 k=32", &(struct want){.kernel = &flat}, NULL, NULL); /* the configuration is ours */
    expect_pick(&a, 8, 1, &flat, 8, LEVEL_ANALYTIC);
}

static void denied_kernels_are_passed_over(void **state)
{
    static const bool no_gemv[N_KERNELS] = {[GEMV] = true}, nothing[N_KERNELS] = {true, true, true, true, true};
    struct table t = TABLE(entry(&gemv, 4, 1, INT64_MAX));
    const struct table_set set = one(&t);
    (void) state;
    struct answer a = ask("linear:f32 m=4 n=64 k=32", NULL, &set, no_gemv);
    for (int m = 1; m <= 4; m++)
        assert_ptr_equal(pick(&a, m, 1)->kernel, &flat);
    expect_reason(&a, 1, "self-test");
    a = ask("linear:f32 m=4 n=64 k=32", NULL, &set, nothing);
    assert_int_equal(a.st, FDEC_E_UNSUPPORTED);
    for (int i = GEMV; i <= GEMM; i++)
        assert_non_null(strstr(fdec_last_error(), kernels[i]->name));
    assert_null(strstr(fdec_last_error(), "attn/"));
}

/* A table's deny list makes the rule avoid a kernel, but cannot make a problem unsupported. */
static void what_a_table_denies_is_the_last_resort(void **state)
{
    struct table t = TABLE(entry(&gemm, 0, 500, 501));
    struct table_denied deny[] = {{.kernel = "linear/v", .rev = 2, .reason = "wrong"},
                                  {.kernel = "linear/f", .rev = 1}};
    struct table_set set = one(&t);
    (void) state;
    t.denied = deny;
    t.n_denied = 2;
    struct answer a = ask("linear:f32 m=1 n=64 k=32", NULL, &set, NULL);
    expect_pick(&a, 1, 1, &flat, 1, LEVEL_ANALYTIC); /* denied in another revision: not meant */
    a = ask("linear:f32 m=1 n=64 k=32", &(struct want){.family = "gemv"}, &set, NULL);
    expect_pick(&a, 1, 1, &gemv, 1, LEVEL_ANALYTIC);
    set.level[0] = LEVEL_OTHER_DRIVER; /* another driver, another compiler */
    a = ask("linear:f32 m=1 n=64 k=32", NULL, &set, NULL);
    expect_pick(&a, 1, 1, &gemv, 1, LEVEL_ANALYTIC);
}

/* One configuration, in one class: the kernel's next one is taken, from a table as well. */
static void a_denied_configuration_gives_way(void **state)
{
    struct table t = TABLE(entry(&flat, 4, 1, INT64_MAX));
    struct table_denied deny[] = {{.kernel = "linear/f",
                                   .rev = 2,
                                   .class_text = "linear:f32 n=64 k=32",
                                   .n_config = 1,
                                   .config = {{"T", 4}},
                                   .reason = "crash"}};
    struct table_set set = one(&t);
    (void) state;
    struct answer a = ask("linear:f32 m=4 n=64 k=32", NULL, &set, NULL);
    expect_pick(&a, 4, 1, &flat, 4, LEVEL_EXACT);
    t.denied = deny;
    t.n_denied = 1;
    a = ask("linear:f32 m=4 n=64 k=32", NULL, &set, NULL);
    expect_pick(&a, 4, 1, &flat, 1, LEVEL_ANALYTIC);
    expect_reason(&a, 4, "denies");
    expect_pick(&a, 1, 1, &gemv, 1, LEVEL_ANALYTIC);
    struct table other = TABLE(entry(&flat, 4, 1, INT64_MAX)); /* where it was not seen to crash */
    snprintf(other.entries[0].class_text, sizeof other.entries[0].class_text, "linear:f32 n=128 k=32");
    other.denied = deny;
    other.n_denied = 1;
    const struct table_set others = one(&other);
    a = ask("linear:f32 m=4 n=128 k=32", NULL, &others, NULL);
    expect_pick(&a, 4, 1, &flat, 4, LEVEL_EXACT);
}

static void a_refused_first_choice_gives_way(void **state)
{
    const struct device d = {.compute_units = 1};
    struct answer a = {0};
    struct problem p;
    char err[100];
    (void) state;
    assert_true(problem_parse("linear:f32 m=32 n=64 k=32", &p, err, sizeof err));
    a.st = select_choices(&p, NULL, &d, NULL, NULL, a.choices, &a.n);
    assert_int_equal(a.st, FDEC_OK);
    expect_pick(&a, 32, 1, &flat, 1, LEVEL_ANALYTIC); /* T = 8 wanted, 1 is all the device can */
    expect_pick(&a, 1, 1, &gemv, 1, LEVEL_ANALYTIC);
    expect_reason(&a, 32, "gpu-like, expected share 0.54");
}

static void neighbours_with_the_same_code_are_one_choice(void **state)
{
    struct table t = TABLE(entry_2d(&attn_a, 1, 1, 2, 1, 64), entry_2d(&attn_a, 1, 1, 2, 64, 512),
                           entry_2d(&attn_b, 2, 1, 2, 512, INT64_MAX), entry_2d(&attn_a, 1, 2, 8, 1, 512),
                           entry_2d(&attn_b, 2, 2, 8, 512, INT64_MAX));
    const struct table_set set = one(&t);
    (void) state;
    const struct answer a = ask("attn:f32 b=7 h=2/1 d=8 n=1000", NULL, &set, NULL);
    assert_true(a.n <= 3);
    for (int b = 1; b <= 7; b++)
        for (int n = 1; n <= 1000; n += 7)
            expect_pick(&a, b, n, n < 512 ? &attn_a : &attn_b, n < 512 ? 1 : 2, LEVEL_EXACT);
    const struct answer more = ask("attn:f32 b=9 h=2/1 d=8 n=1000", NULL, &set, NULL); /* beyond the table */
    expect_pick(&more, 7, 600, &attn_b, 2, LEVEL_EXACT);
    expect_pick(&more, 9, 600, &attn_a, 1, LEVEL_ANALYTIC);
}

static void more_entries_than_choices(void **state)
{
    struct table_entry entries[100];
    struct table t = {.path = (char *) "tab.json", .entries = entries, .n_entries = 100};
    const struct table_set set = one(&t);
    (void) state;
    for (int i = 0; i < 100; i++)
        entries[i] = entry(i % 2 ? &gemv : &flat, 4, i + 1, i + 2);
    const struct answer a = ask("linear:f32 m=100 n=64 k=32", NULL, &set, NULL);
    assert_int_equal(a.n, MAX_CHOICES);
    for (int m = 94; m <= 100; m++) /* the largest sizes: what the plan was made for */
        expect_pick(&a, m, 1, m % 2 ? &flat : &gemv, 4, LEVEL_EXACT);
    assert_int_equal(pick(&a, 1, 1)->level, LEVEL_ANALYTIC);
}

static void range_edges(void **state)
{
    const struct range r = {.lo = {2, 5}, .hi = {4, 6}};
    (void) state;
    assert_true(range_contains(&r, (const int64_t[]){2, 5}) && range_contains(&r, (const int64_t[]){3, 5}));
    assert_false(range_contains(&r, (const int64_t[]){1, 5}) || range_contains(&r, (const int64_t[]){4, 5}) ||
                 range_contains(&r, (const int64_t[]){2, 4}) || range_contains(&r, (const int64_t[]){2, 6}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(range_edges),
        cmocka_unit_test(ranges_are_half_open),
        cmocka_unit_test(what_is_not_used_is_not_compiled),
        cmocka_unit_test(gaps_go_to_the_analytic_rule),
        cmocka_unit_test(other_classes_do_not_count),
        cmocka_unit_test(analytic_choices_alone),
        cmocka_unit_test(entries_that_cannot_be_used),
        cmocka_unit_test(a_range_is_used_only_where_it_is_accepted_to_its_end),
        cmocka_unit_test(better_levels_come_first),
        cmocka_unit_test(the_caller_forces_a_family),
        cmocka_unit_test(the_caller_forces_a_configuration),
        cmocka_unit_test(denied_kernels_are_passed_over),
        cmocka_unit_test(a_denied_configuration_gives_way),
        cmocka_unit_test(what_a_table_denies_is_the_last_resort),
        cmocka_unit_test(a_refused_first_choice_gives_way),
        cmocka_unit_test(neighbours_with_the_same_code_are_one_choice),
        cmocka_unit_test(more_entries_than_choices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
