/* SPDX-License-Identifier: MIT
 * model_run.c - a table for a card that is not here, and how well the model ranks where something was measured
 *
 * A modelled table has the model's choice at each point of the shapes, among the configurations that the resource table
 * of tools/offline knows to compile well for the card: the times in it are the model's, and it says so (modelled). */
#include "program.h"
#include "tuner.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ROWS = 20000, COLUMNS = 17, RESOURCES_MAX_BYTES = 16 << 20 };
enum column { C_TARGET = 2, C_OCCUPANCY = 11, C_LOAD_BITS = 13, C_VERDICT = 15, C_PROGRAM = 16 };

/* ---- the resource table ---- */

struct row {
    char target[32];
    uint64_t program; /* of its kernel: program_hash() */
    struct resources resources;
};

struct rows {
    int n;
    struct row *rows;
};

/* Cuts line up. False: it has other columns. */
static bool parse_row(char *line, struct row *r)
{
    char *at[COLUMNS];
    int n = 0;
    for (char *word = line; word && n < COLUMNS; n++) {
        at[n] = word;
        word = strchr(word, '\t');
        if (word)
            *word++ = 0;
    }
    if (n != COLUMNS)
        return false;
    *r = (struct row){.program = strtoull(at[C_PROGRAM], NULL, 16),
                      .resources = {.occupancy = atoi(at[C_OCCUPANCY]), .load_bits = atoi(at[C_LOAD_BITS])}};
    r->resources.good = !strcmp(at[C_VERDICT], "ok");
    snprintf(r->target, sizeof r->target, "%s", at[C_TARGET]);
    return true;
}

static fdec_status read_rows(const char *path, struct rows *out)
{
    fdec_status st = FDEC_OK;
    char *text = NULL, *rest;
    size_t n;
    *out = (struct rows){.rows = calloc(MAX_ROWS, sizeof *out->rows)};
    try_alloc(out->rows);
    try_st(file_read(path, RESOURCES_MAX_BYTES, &text, &n));
    strtok_r(text, "\n", &rest); /* titles */
    for (char *line; (line = strtok_r(NULL, "\n", &rest)) && out->n < MAX_ROWS; out->n++)
        if (!parse_row(line, &out->rows[out->n])) {
            st = fail(FDEC_E_DATA, "%s: line %d has not the %d columns of tools/offline", path, out->n + 2, COLUMNS);
            goto out;
        }
out:
    free(text);
    return st;
}

/* What is known of the launch that does the work: the one of most work-items. NULL: nothing. */
static const struct resources *find_resources(const struct rows *rows, const struct target *t, const struct problem *p,
                                              const struct candidate *c)
{
    const struct device *d = &t->facts.device;
    const int launch = model_launch(p, d, c);
    const uint64_t program = program_hash(c->kernel, p, d, c->cfg, launch);
    for (int i = 0; i < rows->n; i++)
        if (rows->rows[i].program == program && !strcmp(rows->rows[i].target, t->like))
            return &rows->rows[i].resources;
    return NULL;
}

/* ---- a table ---- */

struct modelling {
    const struct target *target;
    const struct rows *rows;
    struct journal journal;
    int n_known; /* configurations that the resource table has */
};

static fdec_status note(struct modelling *m, const struct point *p, const struct candidate *c, double us,
                        const struct candidate *against, double against_us)
{
    struct trial *t = journal_trial(&m->journal, c, p);
    if (!t)
        return fail(FDEC_E_MEMORY, "out of memory: journal");
    struct result r = {.outcome = OUT_OK, .median_us = us, .lo_us = us, .hi_us = us, .wall_us = us, .final = true};
    if (against) {
        r.ratio = r.ratio_lo = r.ratio_hi = us / against_us;
        r.against = candidate_hash(against);
        r.default_us = r.default_wall_us = against_us;
    }
    journal_note(&m->journal, t, &r);
    return FDEC_OK;
}

/* The best of a family at a point, by the model. False: none of its configurations is known. */
static bool best_of_family(struct modelling *m, const struct problem *p, const char *family, struct candidate *best,
                           double *best_us)
{
    const struct device *d = &m->target->facts.device;
    struct candidate c;
    int at[MAX_PARAMS];
    *best_us = 0;
    for (int i = 0; kernels[i]; i++) {
        c.kernel = kernels[i];
        if (c.kernel->op != p->op || c.kernel->host_run || strcmp(c.kernel->family, family))
            continue;
        kernel_first(c.kernel, at, c.cfg);
        do {
            if (c.kernel->reject(p, d, c.cfg))
                continue;
            const struct resources *r = find_resources(m->rows, m->target, p, &c);
            if (!r || !r->good)
                continue;
            m->n_known++;
            const double us = model_us(p, &m->target->facts, m->target, &c, r);
            if (*best_us == 0 || us < *best_us) {
                *best = c;
                *best_us = us;
            }
        } while (kernel_next(c.kernel, at, c.cfg));
    }
    return *best_us > 0;
}

static bool seen_before(int kernel)
{
    for (int i = 0; i < kernel; i++)
        if (kernels[i]->op == kernels[kernel]->op && !strcmp(kernels[i]->family, kernels[kernel]->family))
            return true;
    return false;
}

static fdec_status model_point(struct modelling *m, const struct point *p)
{
    const struct facts *f = &m->target->facts;
    struct candidate standard, best;
    double us;
    if (!candidate_default(&p->problem, &f->device, f->denied, &standard))
        return FDEC_OK;
    const struct resources *r = find_resources(m->rows, m->target, &p->problem, &standard);
    const double standard_us = model_us(&p->problem, f, m->target, &standard, r);
    fdec_status st = note(m, p, &standard, standard_us, NULL, 0);
    for (int i = 0; kernels[i] && st == FDEC_OK; i++)
        if (kernels[i]->op == p->problem.op && !seen_before(i) &&
            best_of_family(m, &p->problem, kernels[i]->family, &best, &us) && !candidate_equal(&best, &standard))
            st = note(m, p, &best, us, &standard, standard_us);
    return st;
}

fdec_status model_table(const char *name, const char *shapes, const char *resources, const char *out)
{
    fdec_status st = FDEC_OK;
    struct target t;
    struct rows rows = {0};
    struct shapes s = {0};
    struct table *table = NULL;
    struct modelling m = {.target = &t, .rows = &rows, .journal = {.fd = -1}};
    try_st(target_find(name, &t));
    try_st(read_rows(resources, &rows));
    try_st(shapes_load(shapes, &s));
    m.journal.facts = t.facts;
    m.journal.has_facts = m.journal.complete = true;
    snprintf(m.journal.version, sizeof m.journal.version, "%s", fdec_version());
    for (int i = 0; i < s.n; i++)
        for (int j = 0; j < s.classes[i].n_points; j++)
            try_st(model_point(&m, &s.classes[i].points[j]));
    if (!m.n_known) {
        st = fail(FDEC_E_DATA, "%s has no row of %s for these shapes", resources, t.like);
        goto out;
    }
    try_st(build_table(&m.journal, &table));
    table->modelled = true;
    for (int i = 0; i < table->n_entries; i++)
        table->entries[i].samples = 0;
    try_st(table_write(table, out));
    fprintf(stderr, "flashdec-tune: %s: %d entries for %s, modelled, never measured\n", out, table->n_entries,
            t.facts.device.name);
out:
    table_destroy(&table);
    journal_close(&m.journal);
    shapes_clear(&s);
    free(rows.rows);
    return st;
}

/* ---- how well it ranks ---- */

struct pair {
    double cost, model, rank[2];
};

static int by_cost(const void *a, const void *b)
{
    const double x = ((const struct pair *) a)->cost, y = ((const struct pair *) b)->cost;
    return (x > y) - (x < y);
}

static int by_model(const void *a, const void *b)
{
    const double x = ((const struct pair *) a)->model, y = ((const struct pair *) b)->model;
    return (x > y) - (x < y);
}

/* Equals share their middle rank. which: 0 cost, 1 model, by which the pairs are sorted. */
static void set_ranks(struct pair *p, int n, int which)
{
    for (int i = 0, j; i < n; i = j) {
        for (j = i; j < n && (which ? p[j].model == p[i].model : p[j].cost == p[i].cost); j++)
            ;
        for (int k = i; k < j; k++)
            p[k].rank[which] = (i + j - 1) / 2.0;
    }
}

/* Spearman's: the correlation of the ranks. */
static double rank_correlation(struct pair *p, int n)
{
    double xy = 0, xx = 0, yy = 0;
    qsort(p, (size_t) n, sizeof *p, by_cost);
    set_ranks(p, n, 0);
    qsort(p, (size_t) n, sizeof *p, by_model);
    set_ranks(p, n, 1);
    for (int i = 0; i < n; i++) {
        const double x = p[i].rank[0] - (n - 1) / 2.0, y = p[i].rank[1] - (n - 1) / 2.0;
        xy += x * y, xx += x * x, yy += y * y;
    }
    return xx > 0 && yy > 0 ? xy / (sqrt(xx) * sqrt(yy)) : 0;
}

static void print_rank(const struct journal *j, const char *text, struct pair *pairs)
{
    int n = 0;
    double least = 0;
    for (int i = 0; i < j->n_trials; i++) {
        const struct trial *t = &j->trials[i];
        if (strcmp(t->problem_text, text) || !t->done || t->result.outcome != OUT_OK || t->candidate.kernel->host_run)
            continue;
        pairs[n] = (struct pair){.cost = trial_cost(j, t),
                                 .model = model_us(&t->problem, &j->facts, NULL, &t->candidate, NULL)};
        least = n == 0 || pairs[n].cost < least ? pairs[n].cost : least;
        n++;
    }
    if (n < 10)
        return;
    const double correlation = rank_correlation(pairs, n); /* leaves them sorted by the model */
    double chosen = 0;
    int equals = 0;
    for (; equals < n && pairs[equals].model == pairs[0].model; equals++)
        chosen += pairs[equals].cost;
    printf("| %s | %d | %.2f | %.2f |\n", text, n, correlation, chosen / equals / least);
}

fdec_status model_rank(const char *log)
{
    fdec_status st = FDEC_OK;
    struct journal j = {.fd = -1};
    struct pair *pairs = NULL;
    try_st(journal_read(log, true, &j));
    pairs = calloc((size_t) j.n_trials + 1, sizeof *pairs);
    try_alloc(pairs);
    printf("| problem | configurations | rank correlation | model's choice over the best |\n|---|---|---|---|\n");
    for (int i = 0; i < j.n_trials; i++) {
        bool first = true;
        for (int k = 0; k < i && first; k++)
            first = strcmp(j.trials[k].problem_text, j.trials[i].problem_text);
        if (first)
            print_rank(&j, j.trials[i].problem_text, pairs);
    }
out:
    free(pairs);
    journal_close(&j);
    return st;
}
