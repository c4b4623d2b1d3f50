/* SPDX-License-Identifier: MIT
 * check_linear.c - linear: M, N and K on both sides of every tile edge, every type of weights, every feature
 *
 * N and K are arguments and so are most features: what costs is a program, of types, layout and glu. */
#include "checkcl.h"
#include "ctx.h"
#include "util.h"

#include <string.h>

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

static const struct trial odd_rows[] = {RUN(1, UNIFORM, .bias = true), RUN(7, UNIFORM, .bias = false),
                                        RUN(31, UNIFORM, .bias = true), RUN(33, UNIFORM, .residual = true)};
static const struct trial many_rows[] = {RUN(4095, UNIFORM, .bias = true), RUN(4097, UNIFORM, .bias = false)};
static const struct trial equal[] = {RUN(3, EQUAL, .bias = true), RUN(17, EQUAL, .residual = true)};
static const struct trial one[] = {RUN(1, UNIFORM, .bias = true, .residual = true), RUN(1, UNIFORM, .bias = false)};
static const struct trial few[] = {RUN(9, UNIFORM, .bias = true), RUN(1, UNIFORM, .bias = false),
                                   RUN(6, OUTLIERS, .bias = true), RUN(8, UNIFORM, .aligned = true)};

/* both: the variants that this device is not made for too. They compile slowly here, and have their turn on a small
 * device, on rusticl and on oclgrind. */
static void check_shape(struct check *c, fdec_type type, bool both, int64_t m, int64_t n, int64_t k,
                        const struct trial *trials, size_t n_trials)
{
    const struct problem p = {.op = OP_LINEAR, .linear = {.m = m, .n = n, .k = k, .w_type = type, .scale = 1}};
    const struct sieve sieve = {.samples = type == FDEC_F32 ? 2 : 1,
                                .style = both || check_full(c) ? NULL : check_native(c)};
    check_plan_by(c, &sieve, &p, "", trials, (int) n_trials);
}

static void check_elements(struct check *c, fdec_type type)
{
    static const int64_t nk[][2] = {{1, 1},    {1, 131},    {97, 1},   {16, 16},  {97, 131},
                                    {64, 256}, {130, 1000}, {257, 64}, {33, 4227}};
    if (check_tiny(c)) {
        check_shape(c, type, true, 3, 19, 37, equal, 1);
        check_shape(c, type, true, 1, 33, 65, one, ARRAY_LEN(one));
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(nk); i++)
        check_shape(c, type, i % 3 == 2, 67, nk[i][0], nk[i][1], runs, ARRAY_LEN(runs));
    check_shape(c, type, false, 17, 50, 100, equal, ARRAY_LEN(equal));
    check_shape(c, type, false, 1, 1030, 700, one, ARRAY_LEN(one)); /* a plan for one token: other defaults */
    check_shape(c, type, false, 8, 1030, 700, runs + 1, 7);         /* and for eight */
}

/* Tiles of tokens between the powers of two, of linear/wg-flat: its first choice for as many. */
static void check_heights(struct check *c)
{
    static const int64_t heights[] = {3, 5, 6, 12, 24};
    const struct sieve flat = {.samples = 1, .family = "flat", .style = "wg"};
    for (size_t i = 0; i < ARRAY_LEN(heights); i++) {
        const struct trial trials[] = {RUN(heights[i], UNIFORM, .bias = true), RUN(2, UNIFORM, .bias = true),
                                       RUN(3, UNIFORM, .residual = true)};
        struct problem p = {.op = OP_LINEAR,
                            .linear = {.m = heights[i], .n = 70, .k = 150, .w_type = FDEC_F16, .scale = 1}};
        check_plan_by(c, &flat, &p, "", trials, ARRAY_LEN(trials));
        p.linear.w_type = FDEC_Q4_0, p.linear.k = 160;
        if (i % 2) /* compiling is slow */
            check_plan_by(c, &flat, &p, "", trials, 1);
    }
}

/* One configuration of each variant. The variants that this device is not made for, and on CPUs gemm, take some of the
 * types alone: they are slow here, or slow to compile, and every type's loads are tested bit by bit by embedding's
 * check. */
static void check_blocks(struct check *c)
{
    for (int type = FDEC_BF16; type <= FDEC_Q6_K; type++) {
        const bool few_types = type == FDEC_Q8_0 || type == FDEC_Q4_K;
        if (check_tiny(c) && !few_types)
            continue;
        const bool both = check_full(c) || few_types;
        const struct sieve one_each = {.samples = 1, .style = both ? NULL : check_native(c)};
        struct sieve part = one_each;
        const int64_t block = (int64_t) type_block((fdec_type) type);
        struct problem p = {.op = OP_LINEAR,
                            .linear = {.m = 9, .n = 97, .k = 3 * block, .w_type = (fdec_type) type, .scale = 1}};
        if (check_tiny(c)) {
            p.linear.m = 3, p.linear.n = 19, p.linear.k = 256;
            check_plan_by(c, &one_each, &p, "", equal, 1);
            continue;
        }
        static const char *const families[] = {"gemv", "flat", "gemm"};
        for (int f = 0; f < (both ? 3 : 2); f++) {
            part.family = families[f];
            p.linear.m = 9, p.linear.n = 97, p.linear.k = 3 * block;
            check_plan_by(c, &part, &p, "", few, (int) ARRAY_LEN(few));
            /* more than one tile of K; rows of 8 blocks of any type are a multiple of 16 bytes */
            p.linear.n = 31, p.linear.k = 4096 + (block > 1 ? 8 * block : 131);
            check_plan_by(c, &part, &p, "", few, (int) ARRAY_LEN(few));
        }
        part.family = "flat", p.linear.m = 8; /* other defaults */
        check_plan_by(c, &part, &p, "", few + 1, (int) ARRAY_LEN(few) - 1);
    }
}

/* Every type in every variant for this device: each of these sizes as M, N and K (of blocks N and M alone). */
static void check_odd(struct check *c)
{
    static const int64_t odd[] = {1, 7, 31, 33, 4095, 4097};
    const struct sieve native = {.samples = 1, .style = check_native(c)};
    for (int type = FDEC_F32; type <= FDEC_Q6_K; type++) {
        const int64_t block = (int64_t) type_block((fdec_type) type);
        struct problem p = {.op = OP_LINEAR, .linear = {.m = 33, .w_type = (fdec_type) type, .scale = 1}};
        for (size_t i = 0; i < ARRAY_LEN(odd); i++) {
            p.linear.n = odd[i];
            p.linear.k = block > 1 ? (int64_t) (i + 1) * block : odd[ARRAY_LEN(odd) - 1 - i];
            check_plan_by(c, &native, &p, "", odd_rows, ARRAY_LEN(odd_rows));
        }
        p.linear.m = 4097, p.linear.n = 7, p.linear.k = block > 1 ? block : 31;
        check_plan_by(c, &native, &p, "", many_rows, ARRAY_LEN(many_rows));
    }
}

static void check_packed(struct check *c)
{
    static const fdec_type types[] = {FDEC_F32, FDEC_F16, FDEC_BF16, FDEC_Q8_0, FDEC_Q4_0};
    if (strcmp(check_native(c), "vec"))
        return;
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        struct problem p = {
            .op = OP_LINEAR,
            .linear = {.m = 67, .n = 97, .k = 1344, .w_type = types[i], .w_layout = FDEC_W_PACKED, .scale = 1}};
        const struct sieve vec = {.samples = types[i] == FDEC_Q8_0 ? 1 : 2, .style = "vec"};
        check_plan_by(c, &vec, &p, "", runs, (int) ARRAY_LEN(runs));
        p.linear.n2 = 17, p.linear.n3 = 40;
        check_plan_by(c, &vec, &p, "parts=40,17,40", few, (int) ARRAY_LEN(few));
        if (types[i] > FDEC_F16)
            continue;
        p.linear.n2 = p.linear.n3 = 0, p.linear.k = 131;
        check_plan_by(c, &vec, &p, "", runs, (int) ARRAY_LEN(runs));
        p.linear.glu = FDEC_GLU_SILU;
        check_plan_by(c, &vec, &p, "", few, (int) ARRAY_LEN(few));
    }
}

/* Types of activations, glu, and what is an argument: each with each other one at least once. */
static void check_features(struct check *c)
{
    static const struct {
        fdec_type w, x, y;
        fdec_glu glu;
        int n2, n3, norm;
        float scale, softcap;
        const char *note;
    } cover[] = {
        {FDEC_F32, FDEC_F16, FDEC_F16, FDEC_GLU_SILU, 0, 0, 1, 1, 0, "norm"},
        {FDEC_F16, FDEC_F16, FDEC_F32, FDEC_GLU_NONE, 33, 16, 1, 0.5f, 3, "norm parts=48,33,16 scale=0.5 cap=3"},
        {FDEC_F16, FDEC_BF16, FDEC_BF16, FDEC_GLU_GELU, 0, 0, 0, 0.25f, 0, "scale=0.25"},
        {FDEC_BF16, FDEC_F32, FDEC_F16, FDEC_GLU_GELU_ERF, 0, 0, 0, 1, 2, "cap=2"},
        {FDEC_Q8_0, FDEC_F16, FDEC_F16, FDEC_GLU_NONE, 0, 0, 1, 2, 0, "norm scale=2"},
        {FDEC_Q4_K, FDEC_BF16, FDEC_F32, FDEC_GLU_SILU, 0, 0, 1, 1, 5, "norm cap=5"},
        {FDEC_F32, FDEC_F32, FDEC_BF16, FDEC_GLU_NONE, 48, 0, 0, 1, 1, "parts=49,48 cap=1"},
    };
    static const struct trial trials[] = {RUN(9, UNIFORM, .bias = true), RUN(1, OUTLIERS, .bias = false),
                                          RUN(5, UNIFORM, .bias = true, .residual = true, .in_place = true),
                                          RUN(4, NAN, .residual = true)};
    const struct sieve sieve = {.samples = 1, .style = check_native(c)};
    for (size_t i = 0; i < ARRAY_LEN(cover); i++) {
        const bool blocks = type_block(cover[i].w) > 1;
        const struct problem p = {.op = OP_LINEAR,
                                  .linear = {.m = 9,
                                             .n = 97,
                                             .n2 = cover[i].n2,
                                             .n3 = cover[i].n3,
                                             .k = blocks ? 512 : 331,
                                             .w_type = cover[i].w,
                                             .x_type = cover[i].x,
                                             .y_type = cover[i].y,
                                             .glu = cover[i].glu,
                                             .norm = cover[i].norm,
                                             .eps = cover[i].norm ? 1e-5f : 0,
                                             .scale = cover[i].scale,
                                             .softcap = cover[i].softcap}};
        check_plan_by(c, &sieve, &p, cover[i].note, trials, cover[i].n2 ? 2 : (int) ARRAY_LEN(trials));
    }
}

void check_linear(struct check *c)
{
    if (check_ctx(c)->device.matrix && !check_tiny(c) && !check_broken(c))
        check_linear_matrix(c);
    if (check_ctx(c)->device.matrix_standin)
        return;
    for (int type = FDEC_F32; type <= FDEC_F16; type++)
        check_elements(c, (fdec_type) type);
    check_blocks(c);
    if (check_tiny(c))
        return;
    if (!check_broken(c)) {
        check_odd(c);
        check_heights(c);
    }
    check_packed(c);
    check_features(c);
    check_linear_whole(c);
    check_linear_stats(c);
}
