/* SPDX-License-Identifier: MIT
 * check_softmax.c - softmax: short rows, long ones that are split, both sides of vectors, groups and splits */
#include "checkcl.h"
#include "util.h"

#define RUN(rows, what, ...)                                                                                           \
    {                                                                                                                  \
        .at = {rows, 1}, .fill = FILL_##what, __VA_ARGS__                                                              \
    }

static const struct trial runs[] = {
    RUN(3, UNIFORM, .lse = true), RUN(1, UNIFORM, .in_place = true),  RUN(2, OUTLIERS, .lse = true),
    RUN(3, SPIKES, .lse = true),  RUN(5, NAN, .lse = true),           RUN(5, NAN, .lse = true, .in_place = true),
    RUN(1, UNIFORM, .lse = true), RUN(5, OUTLIERS, .in_place = true),
};
static const struct trial equal[] = {RUN(1, EQUAL, .lse = true), RUN(2, EQUAL, .in_place = true)};
static const struct trial many[] = {RUN(300, UNIFORM, .lse = true), RUN(299, SPIKES, .in_place = true)};

static void check_cols(struct check *c, int64_t rows, int64_t cols, const struct trial *trials, size_t n)
{
    const struct problem p = {.op = OP_SOFTMAX, .softmax = {.rows = rows, .cols = cols}};
    check_plan(c, &p, "", trials, (int) n);
}

void check_softmax(struct check *c)
{
    static const int64_t cols[] = {1, 2, 3, 15, 16, 17, 63, 64, 65, 255, 257, 1023, 1025, 4096, 4097, 32000, 100003};
    if (check_tiny(c)) {
        check_cols(c, 5, 37, runs, ARRAY_LEN(runs));
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(cols); i++)
        check_cols(c, 5, cols[i], runs, ARRAY_LEN(runs));
    check_cols(c, 2, 1, equal, ARRAY_LEN(equal));
    check_cols(c, 2, 97, equal, ARRAY_LEN(equal));
    check_cols(c, 300, 77, many, ARRAY_LEN(many));
}
