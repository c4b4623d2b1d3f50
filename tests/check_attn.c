/* SPDX-License-Identifier: MIT
 * check_attn.c - attention: few classes (programs), many layouts, lengths and score ranges in each
 *
 * head_dim 8, 24, 64, 128, 256; 1, 4, 7 query heads to a kv head; both cache types. Lengths stand on both sides of
 * the blocks of 16 and the tiles of 32 to 256 keys of the kernels. */
#include "checkcl.h"
#include "util.h"

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

static const struct trial few[] = {
    RUN(3, 100, UNIFORM, .lse = true),
    RUN(1, 33, UNIFORM, .lse = true),
    RUN(2, 100, SPIKES, .lse = true, .guard = GUARD_FIRES),
};

static const struct trial flagged[] = {
    RUN(3, 100, UNIFORM, .lse = true, .guard = GUARD_FIRES),
    RUN(1, 1, UNIFORM, .lse = true, .guard = GUARD_FIRES),
    RUN(2, 100, SPIKES, .lse = true, .guard = GUARD_FIRES),
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

static const struct trial tiny[] = {
    RUN(2, 19, UNIFORM, .lse = true),
    RUN(1, 3, NAN, .lse = true, .guard = GUARD_FIRES),
    RUN(1, 17, SPIKES, .lse = true, .guard = GUARD_FIRES),
};

#define CHECK(c, p, note, trials) check_plan(c, p, note, trials, ARRAY_LEN(trials))

/* The cache as [B, G, T, D], then as [B, T, G, D] with gaps of 5 elements after each token and 3 after each
 * sequence. */
static void check_strides(struct check *c, const struct problem *packed)
{
    struct problem p = *packed;
    fdec_kv_layout *kv = &p.attn.kv;
    const int64_t d = p.attn.head_dim, g = p.attn.n_kv_heads;
    kv->token_stride = d;
    kv->head_stride = d * kv->capacity;
    kv->block_stride = d * kv->capacity * g;
    CHECK(c, &p, "strides=bgtd", few);
    kv->token_stride = d * g + 5;
    kv->head_stride = d;
    kv->block_stride = kv->capacity * kv->token_stride + 3;
    kv->capacity += 2; /* room that no sequence may use */
    kv->block_stride += 2 * kv->token_stride;
    kv->n_blocks += 1;
    CHECK(c, &p, "strides=gaps", few);
}

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

    struct problem scaled = p;
    scaled.attn.scale *= 1.5f;
    CHECK(c, &scaled, "scale=1.5/sqrt(d)", few);
    check_strides(c, &p);
}

static void check_paged(struct check *c, const char *text)
{
    struct problem p;
    if (!check_problem(c, text, &p))
        return;
    p.attn.kv.n_blocks += 3; /* pages that nobody has */
    CHECK(c, &p, "", paged);
}

void check_attn(struct check *c)
{
    static const char *const tiny_texts[] = {"attn:f32 b=2 h=2/2 d=8 n=19", "attn:f16 b=2 h=4/1 d=16 n=19 page=3"};
    for (size_t i = 0; i < ARRAY_LEN(tiny_texts) && check_tiny(c); i++) {
        struct problem p;
        if (check_problem(c, tiny_texts[i], &p))
            CHECK(c, &p, "", tiny);
    }
    if (check_tiny(c))
        return;

    check_class(c, "attn:f32 b=4 h=4/4 d=8 n=257");
    check_class(c, "attn:f16 b=4 h=8/2 d=64 n=257");
    check_class(c, "attn:f32 b=4 h=14/2 d=24 n=257");
    check_class(c, "attn:f32 b=4 h=7/1 d=128 n=257");
    check_class(c, "attn:f16 b=4 h=2/2 d=256 n=257");
    check_paged(c, "attn:f32 b=4 h=4/4 d=8 n=257 page=16");
    check_paged(c, "attn:f16 b=4 h=8/2 d=64 n=129 page=1");
    check_paged(c, "attn:f32 b=4 h=7/1 d=128 n=257 page=7");
    check_paged(c, "attn:f16 b=4 h=2/2 d=256 n=257 page=100");
    struct problem p;
    if (check_problem(c, "attn:f16 b=1 h=8/2 d=64 n=2049", &p))
        CHECK(c, &p, "", longer);
}
