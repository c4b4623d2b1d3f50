/* SPDX-License-Identifier: MIT
 * unit_stats.c - medians and their intervals: ranks from tables of the binomial law */
#include "measure.h"
#include "util.h" /* before cmocka.h, which makes a macro of fail */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* n, n - 1, ... 1: unsorted, and a value is its rank. */
static struct stats of_ranks(int n)
{
    static double x[2000];
    for (int i = 0; i < n; i++)
        x[i] = n - i;
    return stats_of(x, n);
}

static void intervals(void **state)
{
    (void) state;
    static const struct {
        int n;
        double median, lo, hi;
    } want[] = {
        {1, 1, 1, 1},      {2, 1.5, 1, 2},  {5, 3, 1, 5}, /* too few for 95 %: all of them */
        {6, 3.5, 1, 6},    {8, 4.5, 1, 8},  {9, 5, 2, 8},        {10, 5.5, 2, 9},         {15, 8, 4, 12},
        {20, 10.5, 6, 15}, {25, 13, 8, 18}, {100, 50.5, 40, 61}, {1000, 500.5, 469, 532},
    };
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        const struct stats s = of_ranks(want[i].n);
        assert_int_equal(s.n, want[i].n);
        assert_true(s.median == want[i].median);
        assert_true(s.lo == want[i].lo);
        assert_true(s.hi == want[i].hi);
    }
}

static void many_and_none(void **state)
{
    (void) state;
    const struct stats none = stats_of(NULL, 0), many = of_ranks(2000);
    assert_int_equal(none.n, 0);
    assert_true(none.median == 0 && none.lo == 0 && none.hi == 0);
    assert_true(many.median == 1000.5);
    assert_in_range((int) many.lo, 956, 957); /* 1000 - 1.96 * sqrt(2000) / 2 = 956.2 */
    assert_in_range((int) many.hi, 1044, 1045);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(intervals), cmocka_unit_test(many_and_none)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
