/* SPDX-License-Identifier: MIT
 * check_linear.c - linear: M, N and K on both sides of every tile edge; N and K are arguments, so programs are few */
#include "checkcl.h"
#include "util.h"

#define RUN(m, what, ...)                                                                                              \
    {                                                                                                                  \
        .at = {m, 1}, .fill = FILL_##what, __VA_ARGS__                                                                 \
    }

static const struct trial runs[] = {
    RUN(67, UNIFORM, .bias = true, .residual = true),
    RUN(1, UNIFORM, .bias = false),
    RUN(2, UNIFORM, .bias = true),
    RUN(3, OUTLIERS, .residual = true),
    RUN(4, UNIFORM, .residual = true, .in_place = true),
    RUN(5, UNIFORM, .bias = true, .residual = true, .in_place = true),
    RUN(7, UNIFORM, .bias = false),
    RUN(8, UNIFORM, .residual = true),
    RUN(9, NAN, .bias = true),
    RUN(16, UNIFORM, .bias = false),
    RUN(17, UNIFORM, .bias = true, .residual = true, .in_place = true),
    RUN(33, OUTLIERS, .bias = false),
    RUN(64, UNIFORM, .residual = true, .in_place = true),
    RUN(65, UNIFORM, .bias = false),
};

static const struct trial equal[] = {RUN(3, EQUAL, .bias = true), RUN(17, EQUAL, .residual = true)};
static const struct trial one[] = {RUN(1, UNIFORM, .bias = true, .residual = true), RUN(1, UNIFORM, .bias = false)};

static void check_shape(struct check *c, fdec_type type, int64_t m, int64_t n, int64_t k, const struct trial *trials,
                        size_t n_trials)
{
    const struct problem p = {.op = OP_LINEAR, .linear = {.m = m, .n = n, .k = k, .w_type = type}};
    check_plan(c, &p, "", trials, (int) n_trials);
}

void check_linear(struct check *c)
{
    static const int64_t nk[][2] = {{1, 1},    {1, 131},    {97, 1},   {16, 16},  {97, 131},
                                    {64, 256}, {130, 1000}, {257, 64}, {33, 4099}};
    for (int type = FDEC_F32; type <= FDEC_F16; type++) {
        if (check_tiny(c)) {
            check_shape(c, (fdec_type) type, 3, 19, 37, equal, 1);
            check_shape(c, (fdec_type) type, 1, 33, 65, one, ARRAY_LEN(one));
            continue;
        }
        for (size_t i = 0; i < ARRAY_LEN(nk); i++)
            check_shape(c, (fdec_type) type, 67, nk[i][0], nk[i][1], runs, ARRAY_LEN(runs));
        check_shape(c, (fdec_type) type, 17, 50, 100, equal, ARRAY_LEN(equal));
        check_shape(c, (fdec_type) type, 1, 1030, 700, one, ARRAY_LEN(one)); /* a plan for one token: other defaults */
        check_shape(c, (fdec_type) type, 8, 1030, 700, runs + 1, 7);         /* and for eight */
    }
}
