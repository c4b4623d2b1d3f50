/* SPDX-License-Identifier: MIT
 * check_linear_matrix.c - linear on matrix units, or their stand-ins (FLASHDEC_PRETEND=matrix=n): what each type is
 * made of, tiles of K with and without a rest, aligned and not
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
    static const int64_t nk[][2] = {{97, 131}, {40, 328}, {16, 16}};
    const struct sieve sieve = {.style = "mma", .samples = types[i].samples};
    for (size_t j = 0; j < ARRAY_LEN(nk); j++) {
        struct problem p = {.op = OP_LINEAR, .linear = {.m = 19, .n = nk[j][0], .k = nk[j][1], .scale = 1}};
        p.linear.w_type = types[i].w, p.linear.x_type = types[i].x, p.linear.y_type = FDEC_F32;
        p.linear.glu = types[i].glu, p.linear.n2 = types[i].n2 < nk[j][0] ? types[i].n2 : 0;
        p.linear.norm = types[i].norm, p.linear.eps = types[i].norm ? 1e-5f : 0;
        if (p.linear.n2)
            check_plan_by(c, &sieve, &p, types[i].note, parts, (int) ARRAY_LEN(parts));
        else
            check_plan_by(c, &sieve, &p, types[i].note, runs, j ? 2 : (int) ARRAY_LEN(runs));
    }
}

void check_linear_matrix(struct check *c)
{
    struct device *d = &check_ctx(c)->device;
    const bool f16 = d->matrix_f16, cpu_like = d->cpu_like;
    struct problem p;
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if (types[i].dialect && types[i].dialect != d->matrix && !check_full(c))
            continue;
        d->matrix_f16 = f16 && types[i].f16;
        check_types(c, i);
    }
    d->matrix_f16 = f16;
    if (check_filtered(c) || !check_problem(c, "linear:f16 m=19 n=41 k=328", &p))
        return;
    p.linear.invariant = true;
    check_linear_band(c, kernel_find("linear/mma-flat"), &p, 2);
    check_unit(c, d->matrix);
    if (d->matrix == MATRIX_PTX || check_full(c)) {
        d->cpu_like = false; /* then the unit is the default for so many tokens */
        check_linear_large(c, 8);
        d->cpu_like = cpu_like;
    }
}
