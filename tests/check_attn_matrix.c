/* SPDX-License-Identifier: MIT
 * check_attn_matrix.c - attention on matrix units, or their stand-ins (FLASHDEC_PRETEND=matrix=n): what each type is
 * made of, lengths on both sides of a tile's edge, lines with and without a rest, aligned and not, what a row may not
 * see
 *
 * Stand-ins are slow to compile: few programs, most of them in the first dialect alone. */
#include "checkcl.h"
#include "ctx.h"
#include "mma.h"
#include "util.h"

#include <string.h>

#define RUN(b, n, what, when, ...)                                                                                     \
    {                                                                                                                  \
        .at = {b, n}, .fill = FILL_##what, .guard = GUARD_##when, __VA_ARGS__                                          \
    }

static const struct trial edges[] = {
    RUN(3, 161, UNIFORM, QUIET, .lse = true),
    RUN(3, 161, UNIFORM, QUIET, .aligned = true),
    RUN(1, 1, UNIFORM, QUIET, .lse = true),
    RUN(1, 15, UNIFORM, QUIET, .lse = true),
    RUN(1, 16, UNIFORM, QUIET, .aligned = true),
    RUN(1, 17, UNIFORM, QUIET, .lse = true, .aligned = true),
    RUN(1, 31, UNIFORM, QUIET, .aligned = true),
    RUN(2, 32, UNIFORM, QUIET, .lse = true, .aligned = true),
    RUN(2, 33, UNIFORM, QUIET, .lse = true),
    RUN(2, 64, UNIFORM, QUIET, .aligned = true),
    RUN(2, 65, UNIFORM, QUIET, .lse = true, .aligned = true),
    RUN(3, 128, OUTLIERS, EITHER, .lse = true, .aligned = true),
    RUN(3, 130, SPIKES, EITHER, .lse = true),
    RUN(3, 100, EQUAL, QUIET, .lse = true),
    RUN(3, 40, NAN, EITHER, .lse = true),
    RUN(3, 97, WILD, QUIET, .lse = true),
    RUN(3, 97, WILD, QUIET, .lse = true, .with = {.q_starts = true}),
    RUN(3, 100, FUTURE, EITHER, .lse = true),
    RUN(3, 100, FUTURE, EITHER, .lse = true, .aligned = true),
};

static const struct trial features[] = {
    RUN(3, 100, UNIFORM, QUIET, .lse = true, .with = {.q_starts = true, .alibi = true, .bias = BIAS_FULL}),
    RUN(3, 97, FUTURE, EITHER, .q_len = 2, .with = {.q_starts = true, .bias = BIAS_KEY, .sinks = true}),
    RUN(3, 70, SPIKES, EITHER, .lse = true, .with = {.bias = BIAS_TREE, .alibi = true}),
    RUN(3, 50, UNIFORM, QUIET, .lse = true, .with = {.q_pos = true, .sinks = true}),
    RUN(3, 40, NAN, EITHER, .lse = true, .with = {.q_pos = true}),
    RUN(3, 90, UNIFORM, EITHER, .lse = true, .with = {.bounds = true, .state = true, .slots = true}),
};

static const struct trial flagged[] = {
    RUN(3, 100, UNIFORM, FIRES, .lse = true),
    RUN(2, 65, SPIKES, FIRES, .aligned = true),
};

static const struct {
    const char *text, *family;
    bool f16;    /* false: as if the unit took subnormals for 0 */
    int dialect; /* 0: all; others with --full */
    int samples;
    const char *note;
} classes[] = {
    {"attn:f16 b=3 h=8/2 d=40/24 q=3 n=161", "online", true, 0, 2, ""},
    {"attn:bf16 b=3 h=6/1 d=64 q=2 n=161 act=bf16", "online", true, 0, 1, ""},
    {"attn:f16 b=3 h=10/2 d=32 q=2 n=161 page=7 act=f16", "unified", true, MATRIX_PTX, 1, ""},
    {"attn:bf16/f16 b=3 h=8/2 d=16/136 q=5 n=161 act=f16/bf16", "pair", true, MATRIX_PTX, 1, ""},
    {"attn:f16/bf16 b=3 h=4/4 d=48 q=9 n=161 act=f16", "online", false, -1, 1, "pieces"},
};

static void check_run(struct check *c, size_t i, const struct problem *p, const char *what, const struct trial *trials,
                      int n)
{
    const struct sieve sieve = {.style = "mma", .family = classes[i].family, .samples = classes[i].samples};
    char note[64];
    snprintf(note, sizeof note, "%s%s%s", classes[i].note, *classes[i].note && *what ? " " : "", what);
    check_plan_by(c, &sieve, p, note, trials, n);
}

#define CHECK(c, i, p, what, trials) check_run(c, i, p, what, trials, ARRAY_LEN(trials))

/* One program or two; what they are run with. */
static void check_one_class(struct check *c, size_t i)
{
    struct problem p;
    if (!check_problem(c, classes[i].text, &p))
        return;
    p.attn.kv.n_blocks += p.attn.kv.page_size ? 3 : 0; /* pages that nobody has */
    CHECK(c, i, &p, "", edges);
    CHECK(c, i, &p, "features", features);
    struct problem q = p;
    q.attn.window = 19;
    CHECK(c, i, &q, "window", features);
    q.attn.causal = false, q.attn.softcap = 30;
    CHECK(c, i, &q, "mask=none cap=30", features);
    if (strcmp(classes[i].family, "unified"))
        return;
    q = p;
    q.attn.phi_source = FDEC_PHI_CONSTANT, q.attn.phi = 200;
    CHECK(c, i, &q, "phi=200", flagged);
}

void check_attn_matrix(struct check *c)
{
    struct device *d = &check_ctx(c)->device;
    const bool f16 = d->matrix_f16;
    for (size_t i = 0; i < ARRAY_LEN(classes); i++) {
        if (classes[i].dialect && classes[i].dialect != d->matrix && !check_full(c))
            continue;
        d->matrix_f16 = f16 && classes[i].f16;
        check_one_class(c, i);
    }
    d->matrix_f16 = f16;
    if (!check_filtered(c) && (d->matrix == MATRIX_PTX || check_full(c)))
        check_attn_invariance(c, kernel_find("attn/mma-online"), NULL);
}
