/* SPDX-License-Identifier: MIT
 * unit_limits.c - a table made on a larger device: each entry is checked again against the limits of the live one
 *
 * Over the library's own kernels. For each kernel and each limit an entry is made of a configuration that a large
 * device accepts and the small one does not: it is used there, and here passed over with the kernel's own reason. */
#include "select.h"
#include "table.h"
#include "util.h"

#include <setjmp.h>
#include <string.h>
#include <cmocka.h>

static const struct device large = {.name = "large",
                                    .type = CL_DEVICE_TYPE_GPU,
                                    .compute_units = 16,
                                    .float_lanes = 1,
                                    .max_wg = 1024,
                                    .max_items = {1024, 1024, 64},
                                    .local_bytes = 1 << 17,
                                    .global_bytes = (uint64_t) 16 << 30,
                                    .max_alloc_bytes = (uint64_t) 4 << 30,
                                    .fp16_storage = true};

static const char *const problems[] = {"linear:f16 m=8 n=4096 k=4096", "attn:f16 b=1 h=32/8 d=128 n=4096",
                                       "softmax:f32 rows=8 cols=32000"};

/* The first configuration that the large device accepts and the small one refuses, saying what. */
static bool find_config(const struct kernel *k, const struct problem *p, const struct device *small, const char *what,
                        int cfg[MAX_PARAMS])
{
    int at[MAX_PARAMS];
    kernel_first(k, at, cfg);
    do {
        const char *why = k->reject(p, &large, cfg) ? NULL : k->reject(p, small, cfg);
        if (why && strstr(why, what))
            return true;
    } while (kernel_next(k, at, cfg));
    return false;
}

static struct table_entry entry_of(const struct kernel *k, const struct problem *p, const int *cfg)
{
    struct table_entry e = {.op = k->op, .rev = k->rev, .median_us = 10, .samples = 9};
    problem_class(p, e.class_text);
    problem_range(p, e.point);
    for (int i = 0; i < N_RANGES; i++) {
        e.lo[i] = e.point[i];
        e.hi[i] = e.point[i] + 1;
    }
    snprintf(e.kernel, sizeof e.kernel, "%s", k->name);
    snprintf(e.family, sizeof e.family, "%s", k->family);
    for (e.n_config = 0; e.n_config < kernel_n_params(k); e.n_config++) {
        snprintf(e.config[e.n_config].name, sizeof e.config->name, "%s", k->params[e.n_config].name);
        e.config[e.n_config].value = cfg[e.n_config];
    }
    return e;
}

/* Of the choices on d, the one at p's own range. */
static struct choice choice_on(const struct device *d, const struct problem *p, struct table_entry *e)
{
    struct table t = {.path = (char *) "tab.json", .n_entries = 1, .entries = e};
    const struct table_set set = {.n = 1, .tables = {&t}, .level = {LEVEL_NEAREST}};
    struct choice choices[MAX_CHOICES];
    int n = 0, i = 0;
    if (select_choices(p, NULL, d, &set, NULL, choices, &n) != FDEC_OK)
        fail_msg("%s", fdec_last_error());
    while (!range_contains(&choices[i].range, e->point))
        i++;
    return choices[i];
}

static bool check_kernel(const struct kernel *k, const struct problem *p, const struct device *small, const char *what)
{
    int cfg[MAX_PARAMS];
    if (k->op != p->op || !k->family || !find_config(k, p, small, what, cfg))
        return false;
    struct table_entry e = entry_of(k, p, cfg);
    struct choice c = choice_on(&large, p, &e);
    if (c.level != LEVEL_NEAREST || c.kernel != k || memcmp(c.cfg, cfg, (size_t) kernel_n_params(k) * sizeof *cfg))
        fail_msg("%s is not used on the device it is for: %s", k->name, c.reason);
    c = choice_on(small, p, &e);
    if (c.level != LEVEL_ANALYTIC || !strstr(c.reason, "tab.json entry 0 not used") || !strstr(c.reason, what))
        fail_msg("%s: level %d, \"%s\" does not say \"%s\"", k->name, (int) c.level, c.reason, what);
    assert_null(c.kernel->reject(p, small, c.cfg));
    return true;
}

/* Over all kernels and problems; at least so many of them have the limit. */
static void check_limit(const struct device *small, const char *what, int least)
{
    int n = 0;
    for (size_t i = 0; i < ARRAY_LEN(problems); i++) {
        struct problem p;
        char why[200];
        assert_true(problem_parse(problems[i], &p, why, sizeof why));
        for (int k = 0; kernels[k]; k++)
            n += check_kernel(kernels[k], &p, small, what);
    }
    if (n < least)
        fail_msg("\"%s\": %d kernels have that limit, %d expected", what, n, least);
}

static void less_local_memory(void **state)
{
    struct device small = large;
    (void) state;
    small.local_bytes = 4096;
    check_limit(&small, "local memory", 3);
}

static void smaller_work_groups(void **state)
{
    struct device small = large;
    (void) state;
    small.max_wg = 32;
    check_limit(&small, "over the device limit", 3);
    small.max_wg = large.max_wg;
    small.max_items[0] = 32;
    check_limit(&small, "over the device limit", 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(less_local_memory),
        cmocka_unit_test(smaller_work_groups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
