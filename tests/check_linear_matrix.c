/* SPDX-License-Identifier: MIT
 * check_linear_matrix.c - linear on matrix units, or their stand-ins (FLASHDEC_PRETEND=matrix=n): what each type is
 * made of, tiles of K with and without a rest, aligned and not, spans of blocks past the end of K
 *
 * Stand-ins are slow to compile: few programs, most of them in the first dialect alone. */
#include "checkcl.h"
#include "ctx.h"
#include "mma.h"
#include "util.h"

#define RUN(m, what, ...)                                                                                              \
    {                                                                                                                  \
        .at = {m, 1}, .fill = FILL_##what, __VA_ARGS__                                                                 \
    }

/* Where there are two weights no residual is added. */
static const struct trial parts[] = {RUN(19, UNIFORM, .bias = true), RUN(7, OUTLIERS, .bias = false)};
static const struct trial runs[] = {RUN(19, UNIFORM, .bias = true, .residual = true), RUN(1, UNIFORM, .bias = false),
                                    RUN(17, UNIFORM, .aligned = true),
                                    RUN(8, OUTLIERS, .residual = true, .in_place = true), RUN(9, NAN, .bias = true)};

static const struct {
    fdec_type x, w;
    fdec_glu glu;
    int n2, norm;
    bool f16;    /* false: as if the unit took subnormals for 0 */
    int dialect; /* 0: all; others with --full */
    int samples;
    const char *note;
} types[] = {
    {FDEC_F32, FDEC_F16, FDEC_GLU_NONE, 0, 0, true, 0, 1, ""},
    {FDEC_F16, FDEC_F16, FDEC_GLU_NONE, 33, 0, true, MATRIX_PTX, 2, "parts"},
    {FDEC_F16, FDEC_BF16, FDEC_GLU_GELU, 0, 1, true, MATRIX_PTX, 1, "norm"},
    {FDEC_F16, FDEC_F16, FDEC_GLU_SILU, 0, 0, false, -1, 1, "pieces"},
    {FDEC_BF16, FDEC_BF16, FDEC_GLU_SILU, 0, 0, true, -1, 1, ""},
    {FDEC_BF16, FDEC_F16, FDEC_GLU_NONE, 0, 0, true, -1, 1, ""},
    {FDEC_F32, FDEC_F32, FDEC_GLU_NONE, 0, 0, true, MATRIX_PTX, 1, ""},
    /* one scale, scale and minimum, scales of 16 columns: in all dialects */
    {FDEC_F16, FDEC_Q8_0, FDEC_GLU_NONE, 0, 0, true, 0, 1, ""},
    {FDEC_F32, FDEC_Q4_K, FDEC_GLU_SILU, 0, 0, true, 0, 1, ""},
    {FDEC_BF16, FDEC_Q6_K, FDEC_GLU_NONE, 33, 0, true, 0, 1, "parts"},
    {FDEC_F32, FDEC_Q4_0, FDEC_GLU_NONE, 0, 1, true, MATRIX_PTX, 2, "norm"},
    {FDEC_F16, FDEC_Q4_1, FDEC_GLU_NONE, 0, 0, true, MATRIX_PTX, 1, ""},
    {FDEC_BF16, FDEC_Q5_0, FDEC_GLU_GELU, 0, 0, true, MATRIX_MFMA, 1, ""},
    {FDEC_F16, FDEC_Q5_1, FDEC_GLU_NONE, 0, 0, false, MATRIX_WMMA, 1, "pieces"},
    {FDEC_F16, FDEC_Q5_K, FDEC_GLU_NONE, 0, 0, true, MATRIX_WMMA_GFX12, 1, ""},
};

/* The dialect's own functions, one product. */
static void check_unit(struct check *c, int dialect)
{
    const bool standin = check_ctx(c)->device.matrix_standin;
    for (int f16 = 0; f16 < 2; f16++)
        check_that(c, probe_matrix_works(check_ctx(c), check_queue_of(c), dialect, f16, standin),
                   f16 ? "one product of f16" : "one product of bf16", fdec_last_error());
}

static void check_types(struct check *c, size_t i)
{
    static const int64_t floats[][2] = {{97, 131}, {40, 328}, {16, 16}};
    const int64_t block = (int64_t) type_block(types[i].w);
    const int64_t blocks[][2] = {{97, 3 * block}, {40, 5 * block}, {17, block}}, (*nk)[2] = block > 1 ? blocks : floats;
    const struct sieve sieve = {.style = "mma", .samples = types[i].samples};
    for (size_t j = 0; j < ARRAY_LEN(floats); j++) {
        struct problem p = {.op = OP_LINEAR, .linear = {.m = 19, .n = nk[j][0], .k = nk[j][1], .scale = 1}};
        p.linear.w_type = types[i].w, p.linear.x_type = types[i].x, p.linear.y_type = FDEC_F32;
        p.linear.glu = types[i].glu, p.linear.n2 = types[i].n2 < nk[j][0] ? types[i].n2 : 0;
        p.linear.norm = types[i].norm, p.linear.eps = types[i].norm ? 1e-5f : 0;
        if (p.linear.n2)
            check_plan_by(c, &sieve, &p, types[i].note, parts, (int) ARRAY_LEN(parts));
        else
            check_plan_by(c, &sieve, &p, types[i].note, runs, j ? 3 : (int) ARRAY_LEN(runs));
    }
}

/* The same bits whatever M is. */
static void check_band(struct check *c, const char *text)
{
    struct problem p;
    if (!check_problem(c, text, &p))
        return;
    p.linear.invariant = true;
    check_linear_band(c, kernel_find("linear/mma-flat"), &p, 2);
}

static void check_records(struct check *c)
{
    struct problem p;
    if (!check_problem(c, "linear:q5_1 m=3 n=1000 k=96", &p))
        return;
    p.linear.stats = true;
    check_linear_records(c, kernel_find("linear/mma-flat"), &p);
}

void check_linear_matrix(struct check *c)
{
    struct device *d = &check_ctx(c)->device;
    const bool f16 = d->matrix_f16, cpu_like = d->cpu_like;
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if (types[i].dialect && types[i].dialect != d->matrix && !check_full(c))
            continue;
        d->matrix_f16 = f16 && types[i].f16;
        check_types(c, i);
    }
    d->matrix_f16 = f16;
    if (check_filtered(c))
        return;
    check_unit(c, d->matrix);
    check_band(c, "linear:f16 m=19 n=41 k=328");
    if (d->matrix == MATRIX_PTX || check_full(c)) {
        check_band(c, "linear:q4_k m=19 n=41 k=512");
        check_records(c);
        d->cpu_like = false; /* then the unit is the default for so many tokens */
        check_linear_large(c, 8);
        d->cpu_like = cpu_like;
    }
}
