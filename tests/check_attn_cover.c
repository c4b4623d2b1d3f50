/* SPDX-License-Identifier: MIT
 * check_attn_cover.c - attention: every pair of values of two features is in some plan
 *
 * A feature is a column, and a case gives each a value. What fixes a program (types, head dimensions, scheme) comes
 * first: classes are chosen greedily until every pair among those columns is covered. Each class then gets cases until
 * every pair with one of the other columns, which cost a run alone, is covered, too. "Greedily": of some random
 * candidates, each made around a pair that is missing, the one that covers most new pairs. */
#include "checkcl.h"
#include "inputs.h"
#include "util.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum column {
    K_TYPE,
    V_TYPE,
    Q_TYPE,
    OUT_TYPE,
    DIMS,
    SCHEME,   /* the program's */
    IN_PLACE, /* needs a class with equal types of q and out */
    GROUP,
    LAYOUT,
    Q_LEN,
    Q_STARTS,
    Q_POS,
    MASK,
    WINDOW,
    SOFTCAP,
    ALIBI,
    BIAS,
    SINKS,
    SCALE,
    PHI,
    INVARIANT,
    LSE,
    N_COLUMNS,
    N_CLASS = GROUP
};
enum { MAX_VALUES = 8, MAX_CASES = 1024, CANDIDATES = 24, GIVE_UP = 500, MAX_WORK = 1 << 20 };

static const int dims[][2] = {{8, 8}, {24, 24}, {80, 80}, {128, 128}, {192, 128}, {576, 512}};
static const char *const schemes[] = {"unified", "online", "pair"};
static const int groups[] = {1, 4, 7, 128}, q_lens[] = {1, 3, 8, 64}, windows[] = {0, 1, 17, 1000};
static const float caps[] = {0, 30, 100};
enum layout { PACKED, BGTD, GAPS, PAGED }; /* PAGED + i: pages[i] */
static const int pages[] = {1, 7, 16, 100, 16};
enum { HEADS_FIRST = PAGED + 4 }; /* pages of [G, T, D] */
enum phi { PHI_DEFAULT, PHI_HIGH, PHI_LOW, PHI_PER_HEAD, PHI_BOUNDS, PHI_STATE };

static const int n_values[N_COLUMNS] = {
    [K_TYPE] = 4, [V_TYPE] = 4,    [Q_TYPE] = 3, [OUT_TYPE] = 3, [DIMS] = 6,  [SCHEME] = 3,
    [GROUP] = 4,  [LAYOUT] = 8,    [Q_LEN] = 4,  [Q_STARTS] = 2, [Q_POS] = 2, [MASK] = 2,
    [WINDOW] = 4, [SOFTCAP] = 3,   [ALIBI] = 2,  [BIAS] = 4,     [SINKS] = 2, [SCALE] = 2,
    [PHI] = 6,    [INVARIANT] = 2, [LSE] = 2,    [IN_PLACE] = 2,
};

struct row {
    int value[N_COLUMNS]; /* -1: not chosen yet */
};

struct cover {
    bool seen[N_COLUMNS][N_COLUMNS][MAX_VALUES][MAX_VALUES]; /* of columns a < b */
    struct row rows[MAX_CASES];
    int n_rows, n_classes;
    uint64_t random;
};

static int below(struct cover *v, int n)
{
    v->random = hash_mix(v->random);
    return (int) (v->random % (uint64_t) n);
}

/* ---- which pairs there are ---- */

/* Of columns a < b: not the pairs that are refused (flashdec.h), nor out in q's place where rows differ in size. */
static bool pair_allowed(int a, int x, int b, int y)
{
    if ((a == K_TYPE || a == V_TYPE) && b == DIMS)
        return x != FDEC_Q8_0 || dims[y][a == V_TYPE] % 32 == 0;
    if (a == DIMS && b == IN_PLACE)
        return !y || dims[x][0] == dims[x][1];
    return !(a == PHI && x == PHI_STATE && b == INVARIANT && y);
}

/* Columns that are -1 are free. */
static bool row_allowed(const struct row *r)
{
    const int *v = r->value;
    for (int a = 0; a < N_COLUMNS; a++)
        for (int b = a + 1; b < N_COLUMNS; b++)
            if (v[a] >= 0 && v[b] >= 0 && !pair_allowed(a, v[a], b, v[b]))
                return false;
    if (v[IN_PLACE] == 1 && v[Q_TYPE] >= 0 && v[OUT_TYPE] >= 0 && v[Q_TYPE] != v[OUT_TYPE])
        return false;
    const int64_t work = v[Q_LEN] < 0 || v[GROUP] < 0 || v[DIMS] < 0
                             ? 0
                             : (int64_t) q_lens[v[Q_LEN]] * groups[v[GROUP]] * (dims[v[DIMS]][0] + dims[v[DIMS]][1]);
    return work <= MAX_WORK; /* three features that are large at once are a matter of time alone */
}

/* ---- the greedy choice ---- */

static int n_new(const struct cover *v, const struct row *r)
{
    int n = 0;
    for (int a = 0; a < N_COLUMNS; a++)
        for (int b = a + 1; b < N_COLUMNS; b++)
            n += r->value[a] >= 0 && r->value[b] >= 0 && !v->seen[a][b][r->value[a]][r->value[b]];
    return n;
}

static void mark(struct cover *v, const struct row *r)
{
    for (int a = 0; a < N_COLUMNS; a++)
        for (int b = a + 1; b < N_COLUMNS; b++)
            if (r->value[a] >= 0 && r->value[b] >= 0)
                v->seen[a][b][r->value[a]][r->value[b]] = true;
}

/* A missing pair of columns below n, in `r`; false: there is none. Starts at a random one. */
static bool missing_pair(struct cover *v, int n, struct row *r)
{
    const int first = below(v, n * n);
    for (int i = 0; i < n * n; i++) {
        const int a = (first + i) % (n * n) / n, b = (first + i) % n;
        for (int xy = 0; a < b && xy < n_values[a] * n_values[b]; xy++) {
            const int x = xy / n_values[b], y = xy % n_values[b];
            if (v->seen[a][b][x][y] || !pair_allowed(a, x, b, y))
                continue;
            r->value[a] = x, r->value[b] = y;
            return true;
        }
    }
    return false;
}

/* Gives each free column below n the value that covers most, in a random order. False: there is no such row. */
static bool complete(struct cover *v, int n, struct row *r)
{
    const int first = below(v, n), step = n == N_CLASS ? 5 : 13; /* no divisor in common with n */
    for (int i = 0; i < n; i++) {
        const int column = (first + i * step) % n;
        int best = -1, best_new = -1;
        const int start = below(v, n_values[column]);
        for (int j = 0; r->value[column] < 0 && j < n_values[column]; j++) {
            struct row with = *r;
            with.value[column] = (start + j) % n_values[column];
            const int news = row_allowed(&with) ? n_new(v, &with) : -1;
            if (news > best_new)
                best = with.value[column], best_new = news;
        }
        if (r->value[column] < 0 && best < 0)
            return false;
        if (r->value[column] < 0)
            r->value[column] = best;
    }
    return row_allowed(r);
}

/* `r` with the class of a random row; false: it has another value there already. */
static bool take_class(struct cover *v, struct row *r)
{
    const struct row *class = &v->rows[below(v, v->n_classes)];
    for (int a = 0; a < N_CLASS; a++) {
        if (r->value[a] >= 0 && r->value[a] != class->value[a])
            return false;
        r->value[a] = class->value[a];
    }
    return row_allowed(r);
}

/* Adds rows until no pair of columns below n is missing. Where n is all columns, of classes that there are. */
static void add_rows(struct cover *v, int n)
{
    struct row empty, missing, best;
    memset(&empty, -1, sizeof empty);
    for (int failures = 0; failures < GIVE_UP && v->n_rows < MAX_CASES;) {
        int best_new = 0;
        missing = empty;
        if (!missing_pair(v, n, &missing))
            return;
        for (int i = 0; i < CANDIDATES; i++) {
            struct row r = missing;
            if ((n == N_CLASS || take_class(v, &r)) && complete(v, n, &r) && n_new(v, &r) > best_new)
                best = r, best_new = n_new(v, &r);
        }
        if (best_new == 0) { /* the next missing pair, other classes */
            failures++;
            continue;
        }
        failures = 0;
        mark(v, &best);
        v->rows[v->n_rows++] = best;
    }
}

static void make_cover(struct cover *v, uint64_t seed)
{
    v->random = seed;
    add_rows(v, N_CLASS);
    v->n_classes = v->n_rows;
    memset(v->seen, 0, sizeof v->seen); /* a class alone runs nothing */
    add_rows(v, N_COLUMNS);
}

/* Pairs in the rows that are run: those behind the classes, each of which names a class. */
static int count_covered(struct cover *v, int *wanted, char *missing, size_t n)
{
    int covered = 0;
    memset(v->seen, 0, sizeof v->seen);
    for (int i = v->n_classes; i < v->n_rows; i++)
        mark(v, &v->rows[i]);
    *wanted = 0;
    for (int a = 0; a < N_COLUMNS; a++)
        for (int b = a + 1; b < N_COLUMNS; b++)
            for (int xy = 0; xy < n_values[a] * n_values[b]; xy++) {
                const int x = xy / n_values[b], y = xy % n_values[b];
                if (!pair_allowed(a, x, b, y))
                    continue;
                ++*wanted;
                covered += v->seen[a][b][x][y];
                if (!v->seen[a][b][x][y])
                    snprintf(missing, n, "columns %d and %d, values %d and %d", a, b, x, y);
            }
    return covered;
}

/* ---- a row as a plan and its run ---- */

static void set_layout(struct attn_problem *p, int layout)
{
    fdec_kv_layout *kv = &p->kv;
    fdec_cache *caches[] = {&kv->k, &kv->v};
    const int64_t tokens = layout >= PAGED ? kv->page_size : kv->capacity; /* of a block */
    for (int i = 0; i < 2; i++) {
        const int64_t d = i ? p->v_head_dim : p->head_dim, g = p->n_kv_heads;
        fdec_cache *c = caches[i];
        const int64_t gap = c->type == FDEC_Q8_0 ? 32 : 5 + 2 * i; /* not the same in both caches */
        if (layout == BGTD || layout == HEADS_FIRST) {
            c->token_stride = d;
            c->head_stride = d * tokens;
            c->block_stride = d * tokens * g;
        } else if (layout == GAPS) {
            c->token_stride = d * g + gap;
            c->block_stride = (kv->capacity + 2) * c->token_stride + 3 * gap;
        }
    }
    if (layout == GAPS) /* room that no sequence may use */
        kv->capacity += 2, kv->n_blocks += 1;
    if (layout >= PAGED)
        kv->n_blocks += 3; /* pages that nobody has */
}

static bool row_problem(struct check *c, const struct row *r, struct problem *p)
{
    const int *v = r->value, *d = dims[v[DIMS]], group = groups[v[GROUP]], kv_heads = group == 128 ? 1 : 2;
    const int64_t work = (int64_t) q_lens[v[Q_LEN]] * group * (d[0] + d[1]);
    const int len = work > MAX_WORK / 4 ? 70 : 113;
    char text[PROBLEM_TEXT], page[24] = "";
    if (v[LAYOUT] >= PAGED)
        snprintf(page, sizeof page, " page=%d", pages[v[LAYOUT] - PAGED]);
    snprintf(text, sizeof text, "attn:%s/%s b=%d h=%d/%d d=%d/%d q=%d n=%d act=%s/%s%s",
             type_name((fdec_type) v[K_TYPE]), type_name((fdec_type) v[V_TYPE]), work > MAX_WORK / 4 ? 2 : 4,
             group * kv_heads, kv_heads, d[0], d[1], q_lens[v[Q_LEN]], len, type_name((fdec_type) v[Q_TYPE]),
             type_name((fdec_type) v[OUT_TYPE]), page);
    if (!check_problem(c, text, p))
        return false;
    struct attn_problem *a = &p->attn;
    static const fdec_phi_source sources[] = {FDEC_PHI_AUTO,     FDEC_PHI_CONSTANT, FDEC_PHI_CONSTANT,
                                              FDEC_PHI_PER_HEAD, FDEC_PHI_BOUNDS,   FDEC_PHI_STATE};
    a->phi_source = sources[v[PHI]];
    a->phi = v[PHI] == PHI_HIGH ? 200 : v[PHI] == PHI_LOW ? -200 : 0;
    a->causal = v[MASK] == 0;
    a->window = windows[v[WINDOW]];
    a->softcap = caps[v[SOFTCAP]];
    a->scale *= v[SCALE] ? 1.5f : 1;
    a->invariant = v[INVARIANT];
    set_layout(a, v[LAYOUT]);
    return true;
}

static void run_row(struct check *c, const struct cover *v, int i)
{
    const int *x = v->rows[i].value;
    struct problem p;
    const char *native = check_native(c);
    char note[32];
    if (!row_problem(c, &v->rows[i], &p))
        return;
    const bool wrong = x[PHI] == PHI_HIGH || x[PHI] == PHI_LOW;
    /* A tree can hide the one key of a window from every row, where positions are not those of its nodes. */
    const bool hidden = windows[x[WINDOW]] == 1 && x[BIAS] == BIAS_TREE && x[Q_POS];
    const struct trial trial = {
        .at = {p.attn.batch, p.attn.len},
        .lse = x[LSE],
        .in_place = x[IN_PLACE],
        .guard = wrong && !hidden ? GUARD_FIRES : GUARD_EITHER,
        .with = {.q_starts = x[Q_STARTS],
                 .q_pos = x[Q_POS],
                 .alibi = x[ALIBI],
                 .sinks = x[SINKS],
                 .bias = (enum bias_kind) x[BIAS],
                 .slots = i % 2},
    };
    snprintf(note, sizeof note, "cover=%d", i - v->n_classes);
    check_plan_by(c, &(struct sieve){.family = schemes[x[SCHEME]], .style = native, .samples = 1}, &p, note, &trial, 1);
    if (i % 32 == 0)
        check_plan_by(
            c,
            &(struct sieve){.family = schemes[x[SCHEME]], .style = strcmp(native, "wg") ? "wg" : "vec", .samples = 1},
            &p, note, &trial, 1);
}

void check_attn_cover(struct check *c)
{
    struct cover *v = calloc(1, sizeof *v);
    char missing[80] = "";
    int wanted;
    if (!v) {
        check_that(c, false, "cover", "out of memory");
        return;
    }
    make_cover(v, check_seed(c));
    const int covered = count_covered(v, &wanted, missing, sizeof missing);
    printf("cover: %d plans of %d classes, %d of %d pairs\n", v->n_rows - v->n_classes, v->n_classes, covered, wanted);
    check_that(c, covered == wanted, "cover: not covered", missing);
    for (int i = v->n_classes; i < v->n_rows; i++)
        run_row(c, v, i);
    free(v);
}
