/* SPDX-License-Identifier: MIT
 * check_sample.c - sampling through the public calls: against the whole chain in double arithmetic, against the shares
 * that it should have, and bit by bit against the records of tile_stats.h made by the host */
#include "checkops.h"
#include "tile_stats.h"
#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a run is given beside the logits. recent: [rows, n_recent]; u: [rows]. The zeroed one is greedy. */
struct how {
    float temperature, top_p, min_p, penalty;
    uint32_t top_k, n_recent;
    uint64_t seed, step;
    const int32_t *recent;
    const float *u;
    const uint32_t *stats; /* [rows, tiles, 4] */
    uint32_t *records;     /* not NULL: where those that the run made go */
};

static size_t n_tiles(int cols)
{
    return ((size_t) cols + STATS_TILE - 1) / STATS_TILE;
}

static fdec_sample_args args_of(const float *x, int rows, int cols, const struct how *h)
{
    const size_t n_stats = rows * n_tiles(cols) * STATS_WORDS * 4;
    fdec_sample_args a = FDEC_SAMPLE_ARGS_INIT;
    a.temperature = h->temperature, a.top_k = h->top_k, a.top_p = h->top_p, a.min_p = h->min_p;
    a.repeat_penalty = h->penalty, a.n_recent = h->n_recent, a.seed = h->seed, a.step = h->step;
    a.x = put(x, (size_t) rows * cols * 4, 4);
    if (h->n_recent)
        a.recent = put(h->recent, (size_t) rows * h->n_recent * 4, 4);
    if (h->u)
        a.u = put(h->u, rows * 4u, 4);
    if (h->stats)
        a.stats = put(h->stats, n_stats, 4), a.stats_temperature = h->temperature;
    a.ids = put(NULL, rows * 4u, 4);
    return a;
}

static void sample(const float *x, int32_t *ids, int rows, int cols, const struct how *h)
{
    fdec_sample_params p = FDEC_SAMPLE_PARAMS_INIT;
    fdec_plan *plan = NULL;
    p.max_rows = rows, p.cols = cols, p.max_concurrent = 1;
    must(fdec_sample_plan_create(t.ctx, &p, &plan) == FDEC_OK, "fdec_sample_plan_create");
    fdec_sample_args a = args_of(x, rows, cols, h);
    a.workspace = put(NULL, fdec_plan_workspace_bytes(plan), 4);
    ran(fdec_sample_run(plan, t.queue, &a, 0, NULL, NULL), "sample");
    get(a.ids, ids, "sample");
    if (h->records) {
        void *all = malloc(fdec_plan_workspace_bytes(plan));
        must(all != NULL, "malloc");
        get(a.workspace, all, "workspace of sample");
        memcpy(h->records, all, rows * n_tiles(cols) * STATS_WORDS * 4); /* they come first */
        free(all);
    }
    fdec_plan_destroy(&plan);
    drop();
}

/* ---- the chain in double ----------------------------------------------------------------------------------------- */

static const float *sorted_by; /* of compare_columns */

static int compare_columns(const void *a, const void *b)
{
    const int i = *(const int *) a, j = *(const int *) b;
    const float x = sorted_by[i], y = sorted_by[j];
    if (isnan(x) || isnan(y))
        return isnan(x) - isnan(y) ? isnan(x) - isnan(y) : i - j;
    return x > y ? -1 : x < y ? 1 : i - j;
}

/* A row after the penalty. order: its columns, the best first; n of them are numbers. */
struct chain {
    int cols, n;
    float *x;
    int *order;
    double *weight;
};

static struct chain chain_make(const float *x, int cols, const int32_t *recent, uint32_t n_recent, float penalty)
{
    struct chain c = {cols, 0, malloc(cols * sizeof(float)), malloc(cols * sizeof(int)), malloc(cols * sizeof(double))};
    must(c.x && c.order && c.weight, "malloc");
    memcpy(c.x, x, cols * sizeof *x);
    for (uint32_t i = 0; i < n_recent; i++) {
        const int id = recent[i];
        if (id >= 0 && id < cols && penalty != 0)
            c.x[id] = x[id] > 0 ? x[id] * (1 / penalty) : x[id] * penalty;
    }
    for (int i = 0; i < cols; i++) {
        c.n += !isnan(c.x[i]);
        c.order[i] = i;
    }
    sorted_by = c.x;
    qsort(c.order, cols, sizeof *c.order, compare_columns);
    return c;
}

static void chain_free(struct chain *c)
{
    free(c->x), free(c->order), free(c->weight);
}

/* What the filters leave: the first *kept of c->order; up to *may where top-p's sums cannot tell. share: by which they
 * may err. Sets the weights. Returns the sum of those kept. */
static double chain_filter(struct chain *c, const struct how *h, double share, int *kept, int *may)
{
    const float top = c->x[c->order[0]], reach = (float) (-log(h->min_p) * h->temperature), least = top - reach;
    double total = 0, run = 0;
    int n = h->top_k && (int) h->top_k < c->n ? (int) h->top_k : c->n;
    for (int i = 0; i < c->cols; i++)
        c->weight[i] = isnan(c->x[i]) ? 0 : c->x[i] == top ? 1 : exp(((double) c->x[i] - top) / h->temperature);
    for (int i = 0; i < n; i++)
        total += c->weight[c->order[i]];
    *kept = *may = n;
    for (int i = 0; i < n && h->top_p > 0 && h->top_p < 1; i++) {
        run += c->weight[c->order[i]];
        if (*kept == n && run >= h->top_p * total)
            *kept = i + 1;
        if (run >= (h->top_p + share) * total) {
            *may = i + 1;
            break;
        }
    }
    while (h->min_p > 0 && *may > 0 && c->x[c->order[*may - 1]] < least)
        --*may;
    *kept = *kept < *may ? *kept : *may;
    run = 0;
    for (int i = 0; i < *kept; i++)
        run += c->weight[c->order[i]];
    return run;
}

/* ---- one run against it ------------------------------------------------------------------------------------------ */

/* By which share of the total two sums of weights may be apart: a weight errs by 4 U and |x - max| / T rounded twice, 2
 * U of it, below 40 here; the longest chain of additions is that of a tile of 16 columns, 64 segments and their tiles,
 * and a tile's columns one by one. All terms are positive. Both sides of a comparison err. */
static double share_of_error(int cols)
{
    return 2 * (4 + 2 * 40 + 16 + 64 + 256 + cols / 256.0) * U;
}

/* An id is right if it is kept, and if u lies in its part of the total, up to the error of the sums; the columns of
 * which top-p cannot be sure have up to twice that. */
static void check_id(struct chain *c, const struct how *h, float u, int id, const char *what)
{
    const double share = share_of_error(c->cols);
    double before = 0, total;
    int kept, may;
    if (!check(id >= 0 && id < c->cols, "%s: %d", what, id))
        return;
    if (h->temperature == 0 || c->n == 0 || c->x[c->order[0]] == -INFINITY) {
        check(id == (c->n ? c->order[0] : 0), "%s: %d, not %d", what, id, c->order[0]);
        return;
    }
    total = chain_filter(c, h, share, &kept, &may);
    const double all = total / (h->top_p > 0 ? h->top_p : 1);
    bool in = false;
    for (int i = 0; i < may; i++) {
        const int column = c->order[i];
        in = in || column == id;
        before += i < kept && column < id ? c->weight[column] : 0;
    }
    const double at = u * total, slack = 4 * share * all;
    check(in && c->weight[id] > 0 && at >= before - slack && at <= before + c->weight[id] + slack,
          "%s: %d, %s, has [%.9g, +%.3g), u is at %.9g of %.9g, %d columns kept", what, id, in ? "kept" : "not kept",
          before, c->weight[id], at, total, kept);
}

enum kind { PLAIN, PEAKED, TIES, SOME_NAN, MASKED, ALL_NAN, ALL_MINUS_INF, ONE_INF, KINDS };

static void fill(float *x, int cols, enum kind kind)
{
    for (int i = 0; i < cols; i++) {
        const float v = uniform(-9, 9);
        x[i] = kind == TIES            ? (float) (int) (v / 4) /* five values, -0 among them */
               : kind == PEAKED        ? v / 3 + (random_u64() % 64 ? 0 : uniform(0, 14))
               : kind == ALL_NAN       ? NAN
               : kind == ALL_MINUS_INF ? -INFINITY
                                       : v;
        if (kind == SOME_NAN && i % 5 == 0)
            x[i] = i % 2 ? NAN : -NAN;
        if (kind == MASKED && i % 37 != 5 % cols)
            x[i] = -INFINITY;
    }
    if (kind == ONE_INF)
        x[cols / 2] = INFINITY;
}

static const struct how hows[] = {
    {0},
    {.penalty = 1.3f},
    {.temperature = 1},
    {.temperature = 2, .penalty = 1.5f},
    {.temperature = 0.7f, .top_k = 40},
    {.temperature = 1, .top_k = 5, .top_p = 0.9f, .penalty = 1.1f},
    {.temperature = 1.5f, .top_k = 1},
    {.temperature = 1, .top_p = 0.9f},
    {.temperature = 3, .top_p = 0.5f, .min_p = 0.05f, .penalty = 0.7f},
    {.temperature = 0.8f, .min_p = 0.1f},
    {.temperature = 1.2f, .top_k = 1024, .top_p = 0.97f, .min_p = 0.003f, .penalty = 1.2f},
};

/* Every kind of row under one of the ways; once more with the records that the first run made. */
static void sample_case(int cols, const struct how *way)
{
    enum { RECENT = 9 };
    const size_t n_records = KINDS * n_tiles(cols) * STATS_WORDS;
    float *x = floats((size_t) KINDS * cols, 0, 0), u[KINDS];
    int32_t ids[KINDS], again[KINDS], recent[KINDS * RECENT];
    uint32_t *records = malloc(n_records * 4);
    struct how h = *way;
    char what[200];
    must(records != NULL, "malloc");
    for (int r = 0; r < KINDS; r++) {
        fill(x + (size_t) r * cols, cols, r);
        u[r] = random_u64() % 4 ? uniform(0, 1) : random_u64() % 2 ? 0 : 1 - 0x1p-24f;
        for (int i = 0; i < RECENT; i++)
            recent[r * RECENT + i] = (int32_t) (random_u64() % (2 * (unsigned) cols)) - cols / 2;
        recent[r * RECENT + 3] = recent[r * RECENT + 1];
        recent[r * RECENT + 4] = (int32_t) (random_u64() % (unsigned) cols);
    }
    h.u = u;
    if (h.penalty != 0)
        h.recent = recent, h.n_recent = RECENT;
    sample(x, ids, KINDS, cols, &h);
    for (int r = 0; r < KINDS; r++) {
        struct chain c = chain_make(x + (size_t) r * cols, cols, recent + r * RECENT, h.n_recent, h.penalty);
        snprintf(what, sizeof what,
                 "sample of %d, row of kind %d, temperature %g, top-k %u, top-p %g, min-p %g, "
                 "penalty %g",
                 cols, r, h.temperature, h.top_k, h.top_p, h.min_p, h.penalty);
        check_id(&c, &h, u[r], ids[r], what);
        chain_free(&c);
    }
    struct how plain = {.temperature = h.temperature, .records = records};
    sample(x, again, KINDS, cols, &plain);
    h.stats = records;
    sample(x, again, KINDS, cols, &h);
    check(!memcmp(ids, again, sizeof ids), "%s: other columns with the records given", what);
    free(x), free(records);
}

/* ---- edges, exactly ---------------------------------------------------------------------------------------------- */

static void check_edges(void)
{
    enum { COLS = 600, ROWS = 9 };
    static float x[ROWS][COLS];
    int32_t ids[ROWS];
    for (int i = 0; i < COLS; i++) {
        x[0][i] = NAN;
        x[1][i] = i == 300 ? INFINITY : 5;
        x[2][i] = i < 280 ? -INFINITY : 1; /* u = 0: the first that can be drawn */
        x[3][i] = i < 280 ? 1 : -INFINITY; /* u = 1, outside: the last that can be drawn */
        x[4][i] = i == 17 ? 2 : 1;         /* NaN as u: the same */
        x[5][i] = i < 7 ? NAN : -INFINITY;
        x[6][i] = i < 599 ? -1000 : 0;  /* all else has no weight */
        x[7][i] = i % 2 ? 0.0f : -0.0f; /* equals, and so are denormals */
        x[8][i] = i % 2 ? 0x1p-140f : -0x1p-130f;
    }
    const float u[ROWS] = {0.5f, 0.9f, 0, 1, NAN, 0, 0, 0.999f, 0.999f};
    struct how h = {.temperature = 1, .u = u};
    static const int32_t plain[ROWS] = {0, 300, 280, 279, 599, 7, 599, 599, 599};
    static const int32_t top_3[ROWS] = {0, 300, 280, 2, 17, 7, 599, 2, 2}; /* row 4: 17, 0, 1, the last of them 17 */
    static const int32_t top_half[ROWS] = {0, 300, 280, 139, 299, 7, 599, 299, 299};
    static const int32_t greedy[ROWS] = {0, 300, 280, 0, 17, 7, 599, 0, 0};
    for (int way = 0; way < 5; way++) { /* the last: top-1 is greedy, whatever u */
        const int32_t *want = way == 0 ? plain : way == 1 ? top_3 : way == 2 ? top_half : greedy;
        h.top_k = way == 1 ? 3 : way == 4 ? 1 : 0;
        h.top_p = way == 2 ? 0.5f : 0;
        h.temperature = way == 3 ? 0 : 1;
        sample(x[0], ids, ROWS, COLS, &h);
        for (int r = 0; r < ROWS; r++)
            check(ids[r] == want[r], "sample edge %d, way %d: %d, not %d", r, way, ids[r], want[r]);
    }
}

/* ---- records, bit by bit ----------------------------------------------------------------------------------------- */

/* exp_pair of exp.h for |x| < 2^22, operation by operation. */
static float host_exp_pair(float x, float *n)
{
    const volatile float magic = 0x1.8p23f; /* or the compiler might cancel it */
    const float k = (float) (x * 0x1.715476p+0f) + magic;
    *n = k - magic;
    const float rest = fmaf(*n, 0x1.05c610p-29f, fmaf(*n, -0x1.62e430p-1f, x));
    float p = fmaf(rest, 0x1.0f9f9cp-7f, 0x1.573a1ap-5f);
    p = fmaf(p, rest, 0x1.555a80p-3f);
    p = fmaf(p, rest, 0x1.fffdc6p-2f);
    p = fmaf(p, rest, 0x1.fffff6p-1f);
    return fmaf(p, rest, 1.0f);
}

static void host_record(const float *x, int begin, int end, float inv_temperature, uint32_t record[STATS_WORDS])
{
    float lane[16] = {0}, top = 0, n, max = -INFINITY;
    int32_t argmax = INT32_MAX;
    for (int i = begin; i < end; i++)
        if (!isnan(x[i]) && (argmax == INT32_MAX || x[i] > max))
            max = x[i], argmax = i;
    host_exp_pair(max * inv_temperature, &top);
    for (int i = begin; i < end; i++)
        if (!isnan(x[i]) && x[i] != -INFINITY) {
            const float m = host_exp_pair(x[i] * inv_temperature, &n);
            lane[(i - begin) % 16] += n - top >= -100 ? m * ldexpf(1, (int) (n - top)) : 0;
        }
    for (int step = 8; step > 0; step /= 2)
        for (int l = 0; l < step; l++)
            lane[l] += lane[l + step];
    const bool none = max == -INFINITY;
    const float words[3] = {none ? 0 : lane[0], none ? -FLT_MAX : top, max};
    memcpy(record, words, sizeof words);
    memcpy(record + 3, &argmax, sizeof argmax);
}

static void check_records(void)
{
    static const enum kind kinds[] = {PLAIN, PEAKED, TIES, SOME_NAN, MASKED, ALL_NAN, ALL_MINUS_INF};
    static const int all_cols[] = {1, 17, 255, 256, 257, 1000};
    for (size_t i = 0; i < COUNT(all_cols) && wanted(all_cols[i]); i++) {
        enum { ROWS = COUNT(kinds) };
        const int cols = all_cols[i], tiles = (int) n_tiles(cols);
        float *x = floats((size_t) ROWS * cols, 0, 0);
        uint32_t *got = malloc(ROWS * tiles * sizeof(uint32_t[STATS_WORDS])), want[STATS_WORDS];
        int32_t ids[ROWS];
        must(got != NULL, "malloc");
        for (int r = 0; r < ROWS; r++)
            fill(x + (size_t) r * cols, cols, kinds[r]);
        for (int k = 0; k < ROWS * cols; k++)
            x[k] = x[k] == 0 ? 0.0f : x[k]; /* -0 comes back as 0 */
        const struct how h = {.temperature = i % 2 ? 1 : 0.7f, .records = got};
        sample(x, ids, ROWS, cols, &h);
        for (int k = 0; k < ROWS * tiles; k++) {
            const int begin = k % tiles * STATS_TILE, end = begin + STATS_TILE < cols ? begin + STATS_TILE : cols;
            host_record(x + (size_t) (k / tiles) * cols, begin, end, 1 / h.temperature, want);
            check(!memcmp(want, got + k * STATS_WORDS, sizeof want),
                  "record %d of rows of %d, row of kind %d: %08x "
                  "%08x %08x %d, not %08x %08x %08x %d",
                  k % tiles, cols, kinds[k / tiles], got[k * 4], got[k * 4 + 1], got[k * 4 + 2], (int) got[k * 4 + 3],
                  want[0], want[1], want[2], (int) want[3]);
        }
        free(x), free(got);
    }
}

/* ---- random numbers and shares ----------------------------------------------------------------------------------- */

/* Philox4x32-10 by its paper, "Parallel Random Numbers: As Easy as 1, 2, 3". */
static void philox(uint32_t c[4], uint32_t k0, uint32_t k1)
{
    for (int round = 0; round < 10; round++) {
        const uint64_t a = (uint64_t) 0xD2511F53 * c[0], b = (uint64_t) 0xCD9E8D57 * c[2];
        const uint32_t next[4] = {(uint32_t) (b >> 32) ^ c[1] ^ k0, (uint32_t) b, (uint32_t) (a >> 32) ^ c[3] ^ k1,
                                  (uint32_t) a};
        memcpy(c, next, sizeof next);
        k0 += 0x9E3779B9, k1 += 0xBB67AE85;
    }
}

/* Known answers of Random123's kat_vectors; then the device: of 2^n equal logits the top n bits of u choose. */
static void check_philox(void)
{
    static const struct {
        uint32_t c[4], k[2], want[4];
    } known[] = {
        {{0}, {0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < COUNT(known); i++) {
        uint32_t c[4];
        memcpy(c, known[i].c, sizeof c);
        philox(c, known[i].k[0], known[i].k[1]);
        check(!memcmp(c, known[i].want, sizeof c), "philox: known answer %zu is %08x %08x %08x %08x", i, c[0], c[1],
              c[2], c[3]);
    }
    enum { ROWS = 5 };
    const int bits = t.tiny ? 8 : 14;
    static const uint64_t keys[][2] = {
        {0, 0}, {~0ull, ~0ull}, {0x299f31d0a4093822, 0x85a308d3243f6a88}, {1, 1ull << 32}};
    float *x = floats((size_t) ROWS << bits, 0, 0);
    for (size_t i = 0; i < COUNT(keys); i++) {
        int32_t ids[ROWS];
        const struct how h = {.temperature = 1, .seed = keys[i][0], .step = keys[i][1]};
        sample(x, ids, ROWS, 1 << bits, &h);
        for (uint32_t r = 0; r < ROWS; r++) {
            uint32_t c[4] = {(uint32_t) h.step, (uint32_t) (h.step >> 32), r, 0};
            philox(c, (uint32_t) h.seed, (uint32_t) (h.seed >> 32));
            check((uint32_t) ids[r] == c[0] >> (32 - bits), "philox: seed %zu, row %u: %d, not %u", i, r, ids[r],
                  c[0] >> (32 - bits));
        }
    }
    free(x);
}

/* 20,000 draws of one row's columns. Pearson's statistic of d degrees of freedom exceeds d + 2 sqrt(d y) + 2 y with a
 * probability below e^-y (Laurent and Massart, 2000, lemma 1): y = 14, one in a million. Nothing else may be drawn. */
static void check_shares(const struct how *way)
{
    enum { COLS = 24, ROWS = 20000, N_RECENT = 3 };
    float *x = floats((size_t) ROWS * COLS, 0, 0);
    int32_t *ids = malloc(ROWS * sizeof *ids), *recent = malloc(ROWS * N_RECENT * sizeof *recent);
    must(ids && recent, "malloc");
    for (int i = 0; i < ROWS * COLS; i++)
        x[i] = (float) (i % COLS * 7 % COLS) * 0.1f - 0.6f;
    for (int i = 0; i < ROWS * N_RECENT; i++)
        recent[i] = i % N_RECENT * 10 + 1;
    struct how h = *way;
    h.seed = 2023, h.step = 11;
    if (h.penalty != 0)
        h.recent = recent, h.n_recent = N_RECENT;
    sample(x, ids, ROWS, COLS, &h);

    struct chain c = chain_make(x, COLS, recent, h.n_recent, h.penalty);
    int kept, may, seen[COLS] = {0}, within_kept = 0;
    const double total = chain_filter(&c, &h, 0, &kept, &may);
    double statistic = 0;
    for (int r = 0; r < ROWS; r++)
        seen[ids[r] >= 0 && ids[r] < COLS ? ids[r] : 0]++;
    for (int i = 0; i < kept; i++) {
        const double expected = ROWS * c.weight[c.order[i]] / total;
        statistic += (seen[c.order[i]] - expected) * (seen[c.order[i]] - expected) / expected;
        within_kept += seen[c.order[i]];
    }
    const double d = kept - 1, most = d + 2 * sqrt(d * 14) + 2 * 14;
    check(within_kept == ROWS && statistic <= most,
          "sample: top-k %u, top-p %g, min-p %g, penalty %g: %d of %d draws "
          "of the %d columns kept, chi-square %.1f, limit %.1f",
          h.top_k, h.top_p, h.min_p, h.penalty, within_kept, ROWS, kept, statistic, most);
    chain_free(&c);
    free(x), free(ids), free(recent);
}

/* The promise that every device draws the same: inputs are exact by construction, and the answer is a constant. */
static void check_same(void)
{
    enum { ROWS = 32, N_RECENT = 5 };
    const int cols = t.tiny ? 260 : 5003, rows = t.tiny ? 3 : ROWS;
    uint64_t hash = 0xcbf29ce484222325u;
    t.seed = 20231101;
    float *x = floats((size_t) rows * cols, -8, 8);
    int32_t ids[ROWS], recent[ROWS * N_RECENT];
    for (int i = 0; i < ROWS * N_RECENT; i++)
        recent[i] = (int32_t) (random_u64() % (unsigned) cols);
    for (size_t i = 0; i < COUNT(hows); i++) {
        struct how h = hows[i];
        h.seed = 42, h.step = i;
        if (h.penalty != 0)
            h.recent = recent, h.n_recent = N_RECENT;
        sample(x, ids, rows, cols, &h);
        for (int r = 0; r < rows; r++)
            hash = (hash ^ (uint32_t) ids[r]) * 0x100000001b3u;
    }
    check(hash == (t.tiny ? 0x33406858e9730418u : 0x4f94bb2a827e8b61u),
          "sample: draws other columns than other devices (hash %016llx)", (unsigned long long) hash);
    free(x);
}

/* ---- refusals ---------------------------------------------------------------------------------------------------- */

static void refused(fdec_status st, const char *text)
{
    check(st == FDEC_E_ARG && strstr(fdec_last_error(), text), "sample: %s: status %d, \"%s\"", text, (int) st,
          fdec_last_error());
}

#define BAD(change, text)                                                                                              \
    do {                                                                                                               \
        fdec_sample_args a = good;                                                                                     \
        change;                                                                                                        \
        refused(fdec_sample_run(plan, t.queue, &a, 0, NULL, NULL), text);                                              \
    } while (0)

static void check_refused(void)
{
    fdec_sample_params p = FDEC_SAMPLE_PARAMS_INIT;
    fdec_plan *plan = NULL;
    int32_t ids[2], before;
    p.max_rows = 2, p.cols = 300;
    must(fdec_sample_plan_create(t.ctx, &p, &plan) == FDEC_OK, "fdec_sample_plan_create");
    float *x = floats(2 * 300, 0, 1);
    fdec_sample_args good = args_of(x, 2, 300, &(struct how){.temperature = 1});
    size_t size = 0;
    clGetMemObjectInfo(good.ids.mem, CL_MEM_SIZE, sizeof size, &size, NULL);
    const fdec_buffer small = {good.ids.mem, size - 4}; /* one word is left */
    good.workspace = put(NULL, fdec_plan_workspace_bytes(plan), 4);
    BAD(a.size = 0, "size");
    BAD(a.rows = 3, "a->rows <= plan->problem.small.rows");
    BAD(a.temperature = -1, "a->temperature == 0");
    BAD(a.temperature = NAN, "a->temperature == 0");
    BAD(a.temperature = 1e30f, "is_moderate(a->temperature)");
    BAD(a.top_k = 1025, "a->top_k <= MAX_TOP_K");
    BAD(a.top_p = -0.1f, "a->top_p > 0");
    BAD(a.top_p = 1.1f, "a->top_p <= 1");
    BAD(a.min_p = 1, "a->min_p < 1");
    BAD(a.min_p = NAN, "a->min_p");
    BAD(a.repeat_penalty = -2, "repeat_penalty");
    BAD(a.repeat_penalty = 2, "a->recent.mem != NULL");
    BAD(a.n_recent = 4, "a->recent.mem != NULL");
    BAD((a.n_recent = 4, a.recent = small), "recent needs 32 bytes");
    BAD((a.stats = small, a.stats_temperature = 2), "a->stats_temperature == a->temperature");
    BAD((a.stats = small, a.stats_temperature = 1), "stats needs 64 bytes");
    BAD(a.x = small, "x needs");
    BAD(a.u = small, "u needs");
    BAD(a.ids.mem = NULL, "ids.mem != NULL");
    BAD(a.workspace = small, "workspace needs");
    BAD(a.x.offset_bytes = 2, "x.offset_bytes");
    get(good.ids, ids, "sample");
    memset(&before, POISON, sizeof before);
    check(ids[0] == before && ids[1] == before, "sample: a refused call wrote");
    fdec_plan_destroy(&plan);
    refused(fdec_sample_run(NULL, t.queue, &good, 0, NULL, NULL), "plan != NULL");
    p.cols = 0;
    refused(fdec_sample_plan_create(t.ctx, &p, &plan), "p.cols >= 1");
    p.cols = 8, p.max_rows = 0;
    refused(fdec_sample_plan_create(t.ctx, &p, &plan), "p.max_rows >= 1");
    free(x);
    drop();
}

void check_sample(void)
{
    static const int cols[] = {1, 2, 255, 256, 257, 4099, 32000, 128256, 262144 + 3};
    for (size_t i = 0; i < COUNT(cols) && wanted(cols[i]); i++)
        for (size_t k = 0; k < COUNT(hows); k++)
            if ((cols[i] < 5000 && !t.tiny) || k % 5 == i % 5) /* a fifth of the ways where each takes long */
                sample_case(cols[i], &hows[k]);
    check_edges();
    check_records();
    check_philox();
    check_refused();
    check_same();
    for (size_t k = 0; k < COUNT(hows) && !t.tiny; k++)
        if (hows[k].temperature > 0)
            check_shares(&hows[k]);
}
