/* SPDX-License-Identifier: MIT
 * check_attn.c - attention: few classes (programs), many lengths and score ranges in each
 *
 * Lengths stand on both sides of the blocks of 16 and the tiles of 32 to 256 keys of the kernels. What features do to
 * each other is check_attn_cover.c's. */
#include "checkcl.h"
#include "util.h"

#include <string.h>

#define RUN(b, n, what, ...)                                                                                           \
    {                                                                                                                  \
        .at = {b, n}, .fill = FILL_##what, __VA_ARGS__                                                                 \
    }

/* The longest first: each variant's workspace is then as large as it will be. */
static const struct trial all_kinds[] = {
    RUN(4, 257, UNIFORM, .lse = true),
    RUN(1, 1, UNIFORM, .lse = true),
    RUN(3, 2, UNIFORM, .lse = true),
    RUN(1, 15, UNIFORM, .in_place = true),
    RUN(1, 16, UNIFORM, .lse = true),
    RUN(1, 17, UNIFORM, .lse = false),
    RUN(2, 63, UNIFORM, .lse = true),
    RUN(2, 64, UNIFORM, .in_place = true),
    RUN(2, 65, UNIFORM, .lse = true),
    RUN(1, 127, UNIFORM, .lse = true),
    RUN(1, 128, UNIFORM, .lse = true),
    RUN(1, 129, UNIFORM, .lse = true),
    RUN(4, 256, OUTLIERS, .lse = true, .guard = GUARD_EITHER),
    RUN(3, 200, SPIKES, .lse = true, .guard = GUARD_FIRES),
    RUN(4, 100, EQUAL, .lse = true),
    RUN(3, 40, NAN, .lse = true, .guard = GUARD_FIRES),
    RUN(4, 130, WILD, .lse = true),
};

/* Scores of OPT-6.7B's range and spikes of 1e4, with every source of phi that a run can bring. */
static const struct trial ranges[] = {
    RUN(3, 200, SPIKES, .lse = true, .guard = GUARD_FIRES),
    RUN(3, 200, SPIKES, .lse = true, .guard = GUARD_EITHER, .with = {.bounds = true}),
    RUN(3, 200, SPIKES, .lse = true, .guard = GUARD_FIRES, .with = {.state = true}),
    RUN(3, 200, SPIKES, .lse = true, .guard = GUARD_FIRES, .with = {.phi = true, .sinks = true}),
    RUN(3, 200, OUTLIERS, .lse = true, .guard = GUARD_EITHER, .with = {.bounds = true}),
    RUN(3, 90, UNIFORM, .lse = true, .with = {.state = true}),
    RUN(3, 90, UNIFORM, .lse = true, .with = {.bounds = true}),
    RUN(3, 90, UNIFORM, .lse = true, .guard = GUARD_FIRES, .with = {.phi = true, .phi_shift = 200}),
    RUN(3, 90, UNIFORM, .lse = true, .guard = GUARD_FIRES, .with = {.phi = true, .phi_shift = -200}),
    RUN(3, 90, UNIFORM, .lse = true, .guard = GUARD_FIRES, .with = {.state = true, .state_shift = 200}),
    RUN(3, 90, UNIFORM, .lse = true, .guard = GUARD_FIRES, .with = {.state = true, .state_shift = -200}),
    RUN(3, 40, NAN, .lse = true, .guard = GUARD_FIRES, .with = {.bounds = true}),
    RUN(3, 40, NAN, .lse = true, .guard = GUARD_FIRES, .with = {.state = true}),
};

/* Several query tokens: NaN in what a row does not see must not reach it; ranges and lengths out of range. */
static const struct trial queries[] = {
    RUN(3, 100, UNIFORM, .lse = true),
    RUN(4, 100, FUTURE, .lse = true, .guard = GUARD_EITHER),
    RUN(4, 100, FUTURE, .lse = true, .guard = GUARD_EITHER, .q_len = 3, .with = {.q_starts = true, .bias = BIAS_FULL}),
    RUN(3, 40, NAN, .lse = true, .guard = GUARD_EITHER),
    RUN(3, 40, NAN, .lse = true, .guard = GUARD_EITHER, .with = {.q_pos = true, .sinks = true}),
    RUN(4, 97, WILD, .lse = true),
    RUN(4, 97, WILD, .lse = true, .with = {.q_starts = true}),
    RUN(4, 3, UNIFORM, .lse = true, .with = {.q_pos = true}),
    RUN(1, 1, UNIFORM, .lse = true, .with = {.bias = BIAS_KEY}),
    RUN(4, 64, SPIKES, .lse = true, .guard = GUARD_EITHER, .with = {.bias = BIAS_TREE, .alibi = true}),
};

/* Windows of one key, and such as lie before the first or behind the last one: rows without keys. */
static const struct trial windows[] = {
    RUN(4, 50, UNIFORM, .lse = true),
    RUN(4, 50, UNIFORM, .lse = true, .with = {.q_pos = true}),
    RUN(4, 50, UNIFORM, .lse = true, .with = {.q_pos = true, .sinks = true}),
    RUN(4, 50, UNIFORM, .lse = true, .with = {.q_pos = true, .q_starts = true, .bias = BIAS_KEY}),
};

static const struct trial few[] = {
    RUN(3, 100, UNIFORM, .lse = true),
    RUN(1, 33, UNIFORM, .lse = true),
    RUN(2, 100, SPIKES, .lse = true, .guard = GUARD_FIRES),
};

static const struct trial flagged[] = {
    RUN(3, 100, UNIFORM, .lse = true, .guard = GUARD_FIRES),
    RUN(1, 1, UNIFORM, .lse = true, .guard = GUARD_FIRES),
    RUN(2, 100, SPIKES, .lse = true, .guard = GUARD_FIRES),
    RUN(2, 100, UNIFORM, .lse = true, .guard = GUARD_FIRES, .with = {.sinks = true}),
};

static const struct trial paged[] = {
    RUN(3, 100, UNIFORM, .lse = true),
    RUN(1, 16, UNIFORM, .lse = true),
    RUN(2, 49, NAN, .lse = true, .guard = GUARD_FIRES),
    RUN(3, 96, WILD, .lse = true),
    RUN(2, 1, UNIFORM, .lse = true),
};

static const struct trial longer[] = {
    RUN(1, 2049, UNIFORM, .lse = true),
    RUN(1, 1500, SPIKES, .lse = true, .guard = GUARD_FIRES),
    RUN(1, 5, UNIFORM, .lse = true),
};

static const struct trial level[] = {RUN(1, 100000, LEVEL, .lse = true), RUN(1, 99999, UNIFORM, .lse = true)};

static const struct trial tiny[] = {
    RUN(2, 19, UNIFORM, .lse = true),
    RUN(1, 3, NAN, .lse = true, .guard = GUARD_FIRES),
    RUN(1, 17, SPIKES, .lse = true, .guard = GUARD_FIRES),
};

static const struct trial tiny_features[] = {
    RUN(3, 19, UNIFORM, .lse = true, .guard = GUARD_EITHER,
        .with = {.q_starts = true, .bias = BIAS_FULL, .alibi = true}),
    RUN(2, 11, UNIFORM, .lse = true, .guard = GUARD_EITHER,
        .with = {.q_pos = true, .sinks = true, .state = true, .slots = true}),
};

/* The style that is not this device's takes a minute to compile: its programs are those of one class, and each runs
 * there in one configuration. */
static void check_styles(struct check *c, const struct problem *p, const char *note, const struct trial *trials, int n)
{
    const struct attn_problem *a = &p->attn;
    const bool native = !check_full(c) && !check_tiny(c) && !check_broken(c);
    check_plan_by(c, &(struct sieve){.style = native ? check_native(c) : NULL}, p, note, trials, n);
    if (native && a->kv.k.type == FDEC_F16 && a->head_dim == 64 && a->len <= 257)
        check_plan_by(c, &(struct sieve){.style = strcmp(check_native(c), "wg") ? "wg" : "vec", .samples = 1}, p, note,
                      trials, n);
}

#define CHECK(c, p, note, trials) check_styles(c, p, note, trials, ARRAY_LEN(trials))

static void check_text(struct check *c, const char *text, const char *note, const struct trial *trials, int n)
{
    struct problem p;
    if (check_problem(c, text, &p))
        check_styles(c, &p, note, trials, n);
}
#define TEXT(c, text, note, trials) check_text(c, text, note, trials, ARRAY_LEN(trials))

/* One class: all kinds of runs, and each way to say phi. */
static void check_class(struct check *c, const char *text)
{
    struct problem p;
    if (!check_problem(c, text, &p))
        return;
    CHECK(c, &p, "", all_kinds);

    struct problem wrong = p;
    wrong.attn.phi_source = FDEC_PHI_CONSTANT;
    wrong.attn.phi = 200;
    CHECK(c, &wrong, "phi=200", flagged);
    wrong.attn.phi = -200;
    CHECK(c, &wrong, "phi=-200", flagged);

    struct problem per_head = p;
    per_head.attn.phi_source = FDEC_PHI_PER_HEAD;
    CHECK(c, &per_head, "phi=per-head", few);
}

static void check_paged(struct check *c, const char *text)
{
    struct problem p;
    if (!check_problem(c, text, &p))
        return;
    p.attn.kv.n_blocks += 3; /* pages that nobody has */
    CHECK(c, &p, "", paged);
}

static void check_queries(struct check *c)
{
    struct problem p;
    if (!check_problem(c, "attn:f16 b=4 h=8/2 d=64 q=5 n=257", &p))
        return;
    CHECK(c, &p, "", queries);
    p.attn.causal = false;
    CHECK(c, &p, "mask=none", queries);
    p.attn.window = 1;
    CHECK(c, &p, "mask=none", windows);
    p.attn.causal = true;
    CHECK(c, &p, "", windows);
    p.attn.window = 9;
    CHECK(c, &p, "", windows);
    p.attn.window = 0;
    p.attn.softcap = 30;
    check_styles(c, &p, "cap=30", ranges + 5, 2);
}

/* What --broken's kernels can do. */
static void check_against_broken(struct check *c)
{
    struct problem p;
    check_class(c, "attn:f32 b=4 h=4/4 d=8 n=257");
    check_paged(c, "attn:f16 b=4 h=8/2 d=64 n=129 page=1");
    TEXT(c, "attn:f16 b=4 h=8/2 d=64 n=257", "", ranges);
    TEXT(c, "attn:f32/f16 b=4 h=8/2 d=24/64 q=5 n=257", "", queries);
    if (!check_problem(c, "attn:f16 b=4 h=8/2 d=64 q=5 n=257 window=9", &p))
        return;
    p.attn.softcap = 3;
    CHECK(c, &p, "cap=3", windows);
}

static void check_small_device(struct check *c)
{
    TEXT(c, "attn:f32 b=2 h=2/2 d=8 n=19", "", tiny);
    TEXT(c, "attn:f16 b=2 h=4/1 d=16 n=19 page=3", "", tiny);
    TEXT(c, "attn:q8_0/bf16 b=3 h=4/2 d=32/8 q=3 n=19 window=7 act=f16/bf16", "", tiny_features);
}

void check_attn(struct check *c)
{
    if (check_ctx(c)->device.matrix && !check_tiny(c) && !check_broken(c))
        check_attn_matrix(c);
    if (check_ctx(c)->device.matrix_standin)
        return;
    if (check_tiny(c)) {
        check_small_device(c);
        return;
    }
    if (check_broken(c)) {
        check_against_broken(c);
        return;
    }
    check_class(c, "attn:f32 b=4 h=4/4 d=8 n=257");
    check_class(c, "attn:f16 b=4 h=8/2 d=64 n=257");
    check_class(c, "attn:f32 b=4 h=7/1 d=128 n=257");
    check_paged(c, "attn:f32 b=4 h=4/4 d=8 n=257 page=16");
    check_paged(c, "attn:f16 b=4 h=8/2 d=64 n=129 page=1");
    check_paged(c, "attn:f32 b=4 h=7/1 d=128 n=257 page=7");
    TEXT(c, "attn:f16 b=4 h=8/2 d=64 n=257", "ranges", ranges);
    TEXT(c, "attn:f16 b=1 h=8/2 d=64 n=2049", "", longer);
    TEXT(c, "attn:f16 b=1 h=2/1 d=64 n=100000", "", level);
    check_queries(c);
    check_attn_cover(c);
    check_attn_whole(c);
}
