/* SPDX-License-Identifier: MIT
 * check_quant.c - embed, and with it how every type of weights is read: what comes back is the exact value rounded once
 *
 * Blocks hold every byte at every place, every pair of a scale and a minimum in each part, and f16 of every exponent,
 * subnormals, zeros, infinities and NaN among them. */
#include "checkops.h"
#include "plan.h"
#include <math.h>
#include <stdlib.h>

/* Where the numbers of f16 lie in a block, -1: there is no second; and the six-bit scales, if there are any. */
static const struct format {
    int half[2], scales;
} formats[] = {
    [FDEC_Q8_0] = {{0, -1}, 0}, [FDEC_Q4_0] = {{0, -1}, 0}, [FDEC_Q4_1] = {{0, 2}, 0}, [FDEC_Q5_0] = {{0, -1}, 0},
    [FDEC_Q5_1] = {{0, 2}, 0},  [FDEC_Q4_K] = {{0, 2}, 4},  [FDEC_Q5_K] = {{0, 2}, 4}, [FDEC_Q6_K] = {{208, -1}, 0},
};

struct weights {
    fdec_type type;
    int rows, cols;
    unsigned char *bytes;
};

static struct weights table_make(fdec_type type, int rows, int cols)
{
    struct weights w = {type, rows, cols, malloc(type_bytes(type, (uint64_t) rows * cols))};
    must(w.bytes != NULL, "malloc");
    for (size_t i = 0; i < type_bytes(type, (uint64_t) rows * cols); i++)
        w.bytes[i] = (unsigned char) random_u64();
    return w;
}

static void put_half(unsigned char *at, unsigned bits)
{
    at[0] = (unsigned char) bits, at[1] = (unsigned char) (bits >> 8);
}

/* A normal number of either sign. */
static unsigned random_half(void)
{
    const unsigned bits = (unsigned) random_u64();
    return (bits & 0x83ff) | (1 + (bits >> 16) % 30) << 10;
}

/* ---- blocks ---- */

enum { BY_BYTE = 256, BY_HALF = 192, BY_PAIR = 4096 };

/* Six bits each of scale and minimum for part p of eight. */
static void put_pair(unsigned char scales[12], int p, int scale, int min)
{
    if (p < 4) {
        scales[p] = (unsigned char) ((scales[p] & 0xc0) | scale);
        scales[p + 4] = (unsigned char) ((scales[p + 4] & 0xc0) | min);
        return;
    }
    scales[p + 4] = (unsigned char) ((scale & 15) | (min & 15) << 4);
    scales[p - 4] = (unsigned char) ((scales[p - 4] & 63) | (scale >> 4) << 6);
    scales[p] = (unsigned char) ((scales[p] & 63) | (min >> 4) << 6);
}

/* Block n: one of BY_BYTE with byte (n + 37 i) mod 256 at place i; then one of BY_HALF with sign and exponent n mod 64
 * and one of three fractions in the first f16, others in the second; then one of BY_PAIR. */
static void fill_block(const struct format *f, unsigned char *block, int n_bytes, int n)
{
    static const unsigned fractions[] = {0, 1, 0x3ff};
    for (int i = 0; i < n_bytes && n < BY_BYTE; i++)
        block[i] = (unsigned char) (n + 37 * i);
    for (int i = 0; i < 2 && f->half[i] >= 0; i++)
        put_half(block + f->half[i], random_half());
    n -= BY_BYTE;
    if (n >= 0 && n < BY_HALF) {
        put_half(block + f->half[0], (unsigned) (n % 64) << 10 | fractions[n / 64]);
        if (f->half[1] >= 0)
            put_half(block + f->half[1], (unsigned) (n * 7 % 64) << 10 | fractions[(n + 1) % 3]);
    }
    n -= BY_HALF;
    for (int p = 0; p < 8 && n >= 0 && f->scales; p++)
        put_pair(block + f->scales, p, (n / 64 + p) % 64, (n + 3 * p) % 64);
}

/* Two blocks a row. */
static struct weights table_of_blocks(fdec_type type)
{
    const struct format *f = &formats[type];
    const int block = (int) type_block(type), n_bytes = (int) type_bytes(type, block);
    const int n = t.tiny ? 16 : BY_BYTE + BY_HALF + (f->scales ? BY_PAIR : 0);
    struct weights w = table_make(type, n / 2, 2 * block);
    for (int i = 0; i < n; i++) /* tiny: some of each */
        fill_block(f, w.bytes + i * n_bytes, n_bytes, t.tiny ? 97 * i % (BY_BYTE + BY_HALF) : i);
    return w;
}

/* ---- a case ---- */

struct way {     /* of computing it */
    bool chosen; /* false: the library's choice, by the public call */
    int cfg[MAX_PARAMS];
};

static fdec_plan *plan_make(const struct weights *w, int rows, const struct way *way)
{
    fdec_plan *plan = NULL;
    if (way->chosen) {
        const struct problem p = {.op = OP_EMBED, .small = {.rows = rows, .cols = w->cols, .type = w->type}};
        const struct want want = {.kernel = kernel_find("embed/group"), .cfg = way->cfg};
        must(plan_create_problem(t.ctx, &p, &want, &plan) == FDEC_OK, "embed");
        return plan;
    }
    fdec_embed_params p = FDEC_EMBED_PARAMS_INIT;
    p.max_rows = (uint32_t) rows, p.cols = (uint32_t) w->cols, p.table_type = w->type;
    must(fdec_embed_plan_create(t.ctx, &p, &plan) == FDEC_OK, "embed");
    return plan;
}

/* Every row once, backwards, and ids that name none. */
static int list_ids(const struct weights *w, int32_t **ids)
{
    static const int32_t outside[] = {-1, INT32_MAX, INT32_MIN, 0};
    const int n = w->rows + (int) COUNT(outside);
    *ids = malloc((size_t) n * sizeof **ids);
    must(*ids != NULL, "malloc");
    for (int i = 0; i < n; i++)
        (*ids)[i] = i < w->rows ? w->rows - 1 - i : outside[i - w->rows];
    (*ids)[n - 1] = w->rows;
    return n;
}

/* The sign of a zero aside, which Mesa's compiler does not keep. */
static bool same(float got, float want)
{
    return isnan(want) ? isnan(got) : got == want;
}

static void compare_rows(const struct weights *w, const int32_t *ids, int n_ids, const float *got,
                         const struct way *way)
{
    size_t bad = 0;
    const size_t n = (size_t) n_ids * w->cols;
    float want = NAN;
    for (; bad < n; bad++) {
        const int32_t id = ids[bad / w->cols];
        const bool there = id >= 0 && id < w->rows;
        want = there ? (float) ref_dequant(w->type, w->bytes, (size_t) id * w->cols + bad % w->cols) : NAN;
        if (!same(got[bad], want))
            break;
    }
    check(bad == n, "embed %s, cols %d, WG and VEC %d %d: [%zu][%zu] is %a, not %a", type_name(w->type), w->cols,
          way->cfg[0], way->cfg[1], bad / w->cols, bad % w->cols, bad < n ? got[bad] : 0, want);
}

static void embed_case(struct weights w, const struct way *way)
{
    int32_t *ids;
    const int n_ids = list_ids(&w, &ids);
    const size_t n = (size_t) n_ids * w.cols, align = type_align(w.type);
    float *got = floats(n, 0, 0);
    fdec_plan *plan = plan_make(&w, n_ids, way);
    fdec_embed_args a = FDEC_EMBED_ARGS_INIT;
    a.n_rows_table = (uint32_t) w.rows;
    a.ids = put(ids, (size_t) n_ids * sizeof *ids, 4), a.y = put(NULL, n * 4, 4);
    a.table = put(w.bytes, type_bytes(w.type, (uint64_t) w.rows * w.cols), align);
    ran(fdec_embed_run(plan, t.queue, &a, 0, NULL, NULL), "embed");
    get(a.y, got, "embed");
    compare_rows(&w, ids, n_ids, got, way);
    fdec_plan_destroy(&plan);
    free(got), free(ids), free(w.bytes);
    drop();
}

/* Rows that end anywhere, any bits in them, every f16 and bf16 among them. */
static void check_floats(fdec_type type, const struct way *way)
{
    static const int cols[] = {1, 8, 15, 16, 17, 64, 257, 1030};
    for (size_t i = 0; i < COUNT(cols) && wanted(cols[i]); i++)
        embed_case(table_make(type, 11, cols[i]), way);
    if (t.tiny || type == FDEC_F32)
        return;
    struct weights all = table_make(type, 64, 1024);
    for (unsigned i = 0; i < 65536; i++)
        put_half(all.bytes + 2 * i, i);
    embed_case(all, way);
}

void check_embed(void)
{
    static const struct way ways[] = {{false, {0}}, {true, {1, 8}}, {true, {64, 8}}, {true, {64, 16}}};
    static bool others_done; /* what no device of the list leads to; once */
    const size_t n = others_done || t.tiny ? 1 : COUNT(ways);
    for (size_t i = 0; i < n; i++)
        for (int type = FDEC_F32; type <= FDEC_Q6_K; type++)
            if (type_is_float((fdec_type) type))
                check_floats((fdec_type) type, &ways[i]);
            else
                embed_case(table_of_blocks((fdec_type) type), &ways[i]);
    others_done = true;
}
