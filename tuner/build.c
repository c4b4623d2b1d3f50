/* SPDX-License-Identifier: MIT
 * build.c - journal -> table: the same lines, the same bytes
 *
 * Per class and point, the best right result whose interval, timed in turns with the analytic default, excludes the
 * default, in a second process as well (one alone may have been lucky with where its memory lay); else the default.
 * What cannot be told from the best gives way to the neighbouring point's choice, then to the simpler. The winner of
 * a point holds from it up to the next measured one; the last one's range ends with its point, since nothing is known
 * beyond: lookup then falls back to the analytic rule. So it does, on one axis, from where that rule chooses otherwise
 * than at the point: the winner was not measured against that. On two axes (batch, length) each measured batch is a
 * row of such ranges, and a row holds up to the next measured batch. Neighbours that agree are merged, but for the
 * last M before another family; an entry keeps the figures of its lowest point. */
#include "tuner.h"

#include <stdlib.h>
#include <string.h>

static const double close_to_best = 1.03; /* so near to the best that both are looked at again */
enum { MAX_DENIED = 1024 };
enum { FINALISTS = 3 }; /* at a point, and one more where the last word unseats the best */

/* ---- one point ---- */

static bool usable(const struct journal *j, const struct trial *t)
{
    return t && t->done && t->result.outcome == OUT_OK && !journal_wrong(j, t->candidate.kernel) &&
           (!j->n_fatal || journal_failures(j, &t->candidate, t->class_text) < 2);
}

/* Simpler: earlier in the registry, then in the alphabet. */
static bool simpler(const struct candidate *a, const struct candidate *b)
{
    char x[512], y[512];
    for (int i = 0; a->kernel != b->kernel && kernels[i]; i++)
        if (kernels[i] == a->kernel || kernels[i] == b->kernel)
            return kernels[i] == a->kernel;
    candidate_print(a, x, sizeof x);
    candidate_print(b, y, sizeof y);
    return strcmp(x, y) < 0;
}

/* What is known at a point. */
struct field {
    const struct journal *j;
    char text[PROBLEM_TEXT];
    const struct trial *standard; /* the default's, NULL: it is of no use */
    uint64_t hash;                /* candidate_hash() of it */
};

struct cost {
    double middle, lo, hi;
};

static bool timed_with_default(const struct trial *t, const struct field *f)
{
    return f->standard && t->result.ratio > 0 && t->result.against == f->hash;
}

/* Time over the default's, with its 95 % interval: of each pair of samples where they were taken in turns, directly
 * or both with what was the default then. Where the default itself is of no use there is nothing to divide by, and
 * the times in us do as well. */
static struct cost cost_of(const struct trial *t, const struct field *f)
{
    const struct result *r = &t->result;
    if (t == f->standard)
        return (struct cost){1, 1, 1};
    if (!f->standard)
        return (struct cost){r->median_us, r->lo_us, r->hi_us};
    if (timed_with_default(t, f))
        return (struct cost){r->ratio, r->ratio_lo, r->ratio_hi};
    const struct result *d = &f->standard->result;
    if (r->ratio > 0 && d->ratio > 0 && r->against == d->against)
        return (struct cost){r->ratio / d->ratio, r->ratio_lo / d->ratio_hi, r->ratio_hi / d->ratio_lo};
    /* at other times: the worst of both intervals */
    return (struct cost){r->median_us / d->median_us, r->lo_us / d->hi_us, r->hi_us / d->lo_us};
}

/* False: the default was not tried, so nothing can be said to beat it. */
static bool find_field(const struct journal *j, const struct problem *p, struct field *f)
{
    struct candidate first;
    *f = (struct field){.j = j};
    problem_print(p, f->text);
    if (!candidate_default(p, &j->facts.device, j->facts.denied, &first))
        return false;
    f->standard = journal_find(j, &first, f->text);
    if (!f->standard || (!f->standard->done && !f->standard->failures)) {
        f->standard = NULL;
        return false;
    }
    if (!usable(j, f->standard))
        f->standard = NULL;
    f->hash = f->standard ? candidate_hash(&first) : 0;
    return true;
}

/* Right, measured here, and of the family (NULL: any). */
static bool is_in(const struct field *f, const struct trial *t, const char *family)
{
    return !strcmp(t->problem_text, f->text) && usable(f->j, t) &&
           (!family || !strcmp(t->candidate.kernel->family, family));
}

double trial_cost(const struct journal *j, const struct trial *t)
{
    struct field f;
    find_field(j, &t->problem, &f);
    return cost_of(t, &f).middle;
}

static bool beats_default(const struct field *f, const struct trial *t)
{
    return !f->standard || cost_of(t, f).hi < 1;
}

/* What a winner has to be. */
enum demand { ANY, BEATING, CONFIRMED }; /* the default; and in a process of its own once more */

static bool meets(const struct field *f, const struct trial *t, enum demand demand)
{
    if (demand == ANY || !f->standard)
        return true;
    return beats_default(f, t) && (demand == BEATING || t->result.final);
}

static const struct trial *best_of(const struct field *f, const char *family, enum demand demand)
{
    const struct trial *best = NULL;
    for (int i = 0; i < f->j->n_trials; i++) {
        const struct trial *t = &f->j->trials[i];
        if (!is_in(f, t, family) || !meets(f, t, demand))
            continue;
        const double cost = cost_of(t, f).middle, least = best ? cost_of(best, f).middle : 0;
        if (!best || cost < least || (cost == least && simpler(&t->candidate, &best->candidate)))
            best = t;
    }
    return best;
}

/* Within 3 % of the best, and their intervals meet. */
static bool is_as_good(const struct field *f, const struct trial *t, const struct trial *best)
{
    const struct cost a = cost_of(t, f), b = cost_of(best, f);
    return a.middle <= close_to_best * b.middle && a.lo <= b.hi;
}

static const struct trial *find_winner(const struct journal *j, const struct problem *p,
                                       const struct candidate *neighbour, enum demand demand, double *default_us)
{
    struct field f;
    if (default_us)
        *default_us = 0;
    if (!find_field(j, p, &f))
        return NULL;
    const struct trial *best = best_of(&f, NULL, demand), *winner = best ? best : f.standard;
    for (int i = 0; best && i < j->n_trials; i++) {
        const struct trial *t = &j->trials[i];
        if (!is_in(&f, t, NULL) || !meets(&f, t, demand) || !is_as_good(&f, t, best))
            continue;
        const bool near = neighbour && candidate_equal(&t->candidate, neighbour);
        const bool winner_near = neighbour && candidate_equal(&winner->candidate, neighbour);
        if (near || (!winner_near && simpler(&t->candidate, &winner->candidate)))
            winner = t;
    }
    if (default_us && winner && f.standard)
        *default_us = winner->result.median_us / cost_of(winner, &f).middle; /* in the winner's moments */
    return winner;
}

const struct trial *winner_at(const struct journal *j, const struct problem *p)
{
    return find_winner(j, p, NULL, BEATING, NULL);
}

/* The best so far was the best of many, so a part of its lead is luck: it and what is within 3 % of it are measured
 * once more before they are believed. */
bool is_finalist(const struct journal *j, const struct candidate *c, const struct problem *p)
{
    struct field f;
    int n_final = 0, n_better = 0;
    const struct trial *best = find_field(j, p, &f) ? best_of(&f, NULL, BEATING) : NULL;
    const struct trial *own = best ? journal_find(j, c, f.text) : NULL;
    if (!own || !is_in(&f, own, NULL) || own->result.final || own->passed_over || own == f.standard ||
        !is_as_good(&f, own, best))
        return false;
    for (int i = 0; i < j->n_trials; i++) {
        const struct trial *t = &j->trials[i];
        if (!is_in(&f, t, NULL))
            continue;
        n_final += t->result.final;
        n_better += cost_of(t, &f).middle < cost_of(own, &f).middle;
    }
    return own == best || (n_final < FINALISTS && n_better < FINALISTS);
}

/* ---- the points of one class ---- */

struct cell {
    const struct trial *winner;
    double default_us;
    int64_t at[N_RANGES];
};

static int compare_at(const void *a, const void *b)
{
    const struct cell *x = a, *y = b;
    for (int i = 0; i < N_RANGES; i++)
        if (x->at[i] != y->at[i])
            return x->at[i] < y->at[i] ? -1 : 1;
    return 0;
}

/* The measured points of a class in order, each with its winner; those without one are left out. */
static int find_cells(const struct journal *j, const char *class_text, struct cell *cells)
{
    int n = 0, kept = 0;
    for (int i = 0; i < j->n_trials; i++) {
        struct cell c = {.winner = &j->trials[i]}; /* carries the problem until the true winner is known */
        if (strcmp(j->trials[i].class_text, class_text) || j->trials[i].holdout)
            continue;
        problem_range(&j->trials[i].problem, c.at);
        cells[n++] = c;
    }
    qsort(cells, (size_t) n, sizeof *cells, compare_at);
    for (int i = 0; i < n; i++)
        if (!kept || compare_at(&cells[kept - 1], &cells[i]))
            cells[kept++] = cells[i];
    n = kept;
    kept = 0;
    const struct candidate *neighbour = NULL;
    for (int i = n - 1; i >= 0; i--) {
        struct cell *c = &cells[i];
        c->winner = find_winner(j, &c->winner->problem, neighbour, CONFIRMED, &c->default_us);
        if (c->winner)
            neighbour = &c->winner->candidate;
    }
    for (int i = 0; i < n; i++)
        if (cells[i].winner)
            cells[kept++] = cells[i];
    return kept;
}

static bool agree(const struct cell *a, const struct cell *b)
{
    return candidate_equal(&a->winner->candidate, &b->winner->candidate);
}

static int row_end(const struct cell *cells, int n, int begin)
{
    int end = begin;
    while (end < n && cells[end].at[0] == cells[begin].at[0])
        end++;
    return end;
}

/* Rows a0..a1 and b0..b1 say the same for every length. */
static bool rows_agree(const struct cell *cells, int a0, int a1, int b0, int b1)
{
    if (a1 - a0 != b1 - b0)
        return false;
    for (int i = 0; i < a1 - a0; i++)
        if (cells[a0 + i].at[1] != cells[b0 + i].at[1] || !agree(&cells[a0 + i], &cells[b0 + i]))
            return false;
    return true;
}

/* ---- the table ---- */

static bool is_choice_of(const struct table_entry *e, const struct candidate *c)
{
    bool is = !strcmp(e->kernel, c->kernel->name);
    for (int i = 0; i < e->n_config && is; i++)
        is = e->config[i].value == c->cfg[i];
    return is;
}

struct table_entry *table_entry_at(const struct table *t, const char *class_text, const int64_t at[N_RANGES])
{
    for (int i = 0; i < t->n_entries; i++) {
        struct table_entry *e = &t->entries[i];
        bool inside = !strcmp(e->class_text, class_text);
        for (int axis = 0; axis < N_RANGES; axis++)
            inside = inside && at[axis] >= e->lo[axis] && at[axis] < e->hi[axis];
        if (inside)
            return e;
    }
    return NULL;
}

/* A trial at a hold-out point: where it is that of the entry which has the point, what it costs over the best there. */
static void set_holdout(const struct journal *j, const struct trial *t, struct table *table)
{
    int64_t at[N_RANGES];
    struct field f;
    problem_range(&t->problem, at);
    struct table_entry *e = table_entry_at(table, t->class_text, at);
    if (!e || !usable(j, t) || !is_choice_of(e, &t->candidate) || !find_field(j, &t->problem, &f))
        return;
    const struct trial *best = best_of(&f, NULL, ANY);
    const double ratio = cost_of(t, &f).middle / cost_of(best, &f).middle;
    memcpy(e->holdout.at, at, sizeof at);
    e->holdout.median_us = t->result.median_us;
    e->holdout.best_us = t->result.median_us / MAX(ratio, 1);
}

static bool push_entry(struct table *t, const struct table_entry *e)
{
    if (t->n_entries == TABLE_MAX_ENTRIES)
        return true;                                /* the rest is left to the analytic rule */
    if ((t->n_entries & (t->n_entries - 1)) == 0) { /* at powers of two */
        struct table_entry *grown = realloc(t->entries, (size_t) MAX(2 * t->n_entries, 1) * sizeof *grown);
        if (!grown)
            return false;
        t->entries = grown;
    }
    t->entries[t->n_entries++] = *e;
    return true;
}

/* The best of each family, all in the moment of the winner's measurement: its ratio to the default, of the winner's. */
static void set_families(const struct journal *j, const struct cell *c, struct table_entry *e)
{
    struct field f;
    if (!find_field(j, &c->winner->problem, &f))
        return;
    const double unit_us = e->median_us / cost_of(c->winner, &f).middle;
    for (int i = 0; i < N_FAMILIES; i++) {
        const bool own = !strcmp(table_family_name(i), e->family);
        const struct trial *best = own ? NULL : best_of(&f, table_family_name(i), ANY);
        e->family_us[i] = own ? e->median_us : best ? cost_of(best, &f).middle * unit_us : 0;
    }
}

static void set_config(const struct candidate *c, struct table_value *config, int *n)
{
    *n = kernel_n_params(c->kernel);
    for (int i = 0; i < *n; i++) {
        snprintf(config[i].name, sizeof config[i].name, "%s", c->kernel->params[i].name);
        config[i].value = c->cfg[i];
    }
}

static struct table_entry make_entry(const struct journal *j, const char *class_text, const struct cell *c)
{
    const struct kernel *k = c->winner->candidate.kernel;
    const struct result *r = &c->winner->result;
    struct table_entry e = {.op = c->winner->problem.op, .rev = k->rev};
    snprintf(e.class_text, sizeof e.class_text, "%s", class_text);
    snprintf(e.kernel, sizeof e.kernel, "%s", k->name);
    snprintf(e.family, sizeof e.family, "%s", k->family);
    set_config(&c->winner->candidate, e.config, &e.n_config);
    memcpy(e.point, c->at, sizeof e.point);
    e.median_us = r->median_us;
    e.ci95_us = r->hi_us - r->lo_us;
    e.samples = r->samples;
    e.default_us = c->default_us;
    e.error_ratio = r->error_ratio;
    if (e.op == OP_LINEAR)
        set_families(j, c, &e);
    return e;
}

static bool add_row(const struct journal *j, const char *class_text, const struct cell *cells, int begin, int end,
                    int64_t row_hi, struct table *t)
{
    for (int i = begin, next; i < end; i = next) {
        for (next = i + 1; next < end && agree(&cells[i], &cells[next]); next++) {
        }
        struct table_entry e = make_entry(j, class_text, &cells[i]);
        e.lo[0] = cells[i].at[0];
        e.hi[0] = row_hi;
        e.lo[1] = cells[i].at[1];
        e.hi[1] = next < end ? cells[next].at[1] : cells[end - 1].at[1] + 1;
        if (!push_entry(t, &e))
            return false;
    }
    return true;
}

/* Of a linear layer: does the next M go to another family? Such a point keeps an entry of its own, so that the table
 * has the times of both families on both sides of the crossing. */
static bool borders_crossing(const struct cell *cells, int n, int i)
{
    return cells[i].winner->problem.op == OP_LINEAR && i + 1 < n &&
           strcmp(cells[i].winner->candidate.kernel->family, cells[i + 1].winner->candidate.kernel->family) != 0;
}

/* The end of the row of c, `next` at most: so far the analytic rule chooses as at c's point. Rows of attention, on two
 * axes, end with `next`. */
static int64_t row_limit(const struct journal *j, const struct cell *c, int64_t next)
{
    struct problem p = c->winner->problem;
    struct candidate at_point, here;
    int64_t at[N_RANGES] = {c->at[0], c->at[1]};
    if (p.op == OP_ATTN || !candidate_default(&p, &j->facts.device, j->facts.denied, &at_point))
        return next;
    while (++at[0] < next) {
        problem_set_range(&p, at);
        if (!candidate_default(&p, &j->facts.device, j->facts.denied, &here) || !candidate_equal(&here, &at_point))
            break;
    }
    return at[0];
}

static bool add_class(const struct journal *j, const char *class_text, struct cell *cells, struct table *t)
{
    const int n = find_cells(j, class_text, cells);
    for (int begin = 0; begin < n;) {
        const int end = row_end(cells, n, begin);
        int last = begin, next = end; /* last: the first cell of the last row that agrees with this one */
        while (next < n && !borders_crossing(cells, n, next) &&
               rows_agree(cells, begin, end, next, row_end(cells, n, next)) &&
               row_limit(j, &cells[last], cells[next].at[0]) == cells[next].at[0]) {
            last = next;
            next = row_end(cells, n, next);
        }
        const int64_t row_hi = row_limit(j, &cells[last], next < n ? cells[next].at[0] : cells[last].at[0] + 1);
        if (!add_row(j, class_text, cells, begin, end, row_hi, t))
            return false;
        begin = next;
    }
    return true;
}

/* Each class once, in the order of the journal. */
static fdec_status add_classes(const struct journal *j, struct cell *cells, struct table *t)
{
    const char *seen[MAX_CLASSES];
    int n_seen = 0;
    for (int i = 0; i < j->n_trials; i++) {
        const char *text = j->trials[i].class_text;
        int c = 0;
        while (c < n_seen && strcmp(seen[c], text))
            c++;
        if (c < n_seen)
            continue;
        if (n_seen == MAX_CLASSES)
            return fail(FDEC_E_DATA, "%s: more than %d classes of shapes", j->path, MAX_CLASSES);
        seen[n_seen++] = text;
        if (!add_class(j, text, cells, t))
            return fail(FDEC_E_MEMORY, "out of memory: table entries");
    }
    return FDEC_OK;
}

/* What was begun twice and never ended has no outcome of its own. */
static const char *denied_for(const struct trial *t)
{
    const enum outcome o = t->result.outcome;
    return outcome_is_wrong(o) || outcome_is_fatal(o) ? outcome_name(o) : "took the tuner down";
}

static struct table_denied *push_denied(struct table *t, const struct trial *why)
{
    const struct kernel *k = why->candidate.kernel;
    struct table_denied *d = &t->denied[t->n_denied++];
    snprintf(d->kernel, sizeof d->kernel, "%s", k->name);
    d->rev = k->rev;
    snprintf(d->reason, sizeof d->reason, "%s: %.40s", denied_for(why), why->problem_text);
    return d;
}

/* A kernel that was wrong once, altogether. */
static void deny_wrong(const struct journal *j, struct table *t)
{
    for (int k = 0; kernels[k]; k++) {
        if (!j->wrong[k])
            continue;
        int i = 0;
        while (j->trials[i].candidate.kernel != kernels[k] || !outcome_is_wrong(j->trials[i].result.outcome))
            i++;
        push_denied(t, &j->trials[i]);
    }
}

static bool is_denied(const struct table *t, const struct trial *trial)
{
    for (int i = 0; i < t->n_denied; i++) {
        const struct table_denied *d = &t->denied[i];
        if (strcmp(d->kernel, trial->candidate.kernel->name))
            continue;
        bool same = !*d->class_text || !strcmp(d->class_text, trial->class_text);
        for (int v = 0; v < d->n_config && same; v++)
            same = d->config[v].value == trial->candidate.cfg[v];
        if (same)
            return true;
    }
    return false;
}

/* A configuration that took its process down twice in a class, in that class. */
static void deny_fatal(const struct journal *j, struct table *t)
{
    for (int i = 0; i < j->n_trials && t->n_denied < MAX_DENIED; i++) {
        const struct trial *trial = &j->trials[i];
        if (!trial->failures || journal_failures(j, &trial->candidate, trial->class_text) < 2 || is_denied(t, trial))
            continue;
        struct table_denied *d = push_denied(t, trial);
        snprintf(d->class_text, sizeof d->class_text, "%s", trial->class_text);
        set_config(&trial->candidate, d->config, &d->n_config);
    }
}

static fdec_status add_denied(const struct journal *j, struct table *t)
{
    t->denied = calloc(MAX_DENIED, sizeof *t->denied);
    if (!t->denied)
        return fail(FDEC_E_MEMORY, "out of memory: the deny list");
    deny_wrong(j, t);
    deny_fatal(j, t);
    return FDEC_OK;
}

fdec_status build_table(const struct journal *j, struct table **out)
{
    fdec_status st = FDEC_OK;
    struct table *t = calloc(1, sizeof *t);
    struct cell *cells = malloc((size_t) (j->n_trials + 1) * sizeof *cells);
    try_alloc(t);
    try_alloc(cells);
    snprintf(t->tuner_version, sizeof t->tuner_version, "%s", j->version);
    t->seed = j->seed;
    t->complete = j->complete;
    struct device device = j->facts.device;
    device.read_gbps = j->facts.read_gbps;
    device.launch_us = j->facts.launch_us;
    table_device_of(&device, &t->device);
    try_st(add_classes(j, cells, t));
    for (int i = 0; i < j->n_trials; i++)
        if (j->trials[i].holdout)
            set_holdout(j, &j->trials[i], t);
    try_st(add_denied(j, t));
    try_st(table_derive_crossings(t));
    *out = t;
    t = NULL;
out:
    free(cells);
    table_destroy(&t);
    return st;
}
