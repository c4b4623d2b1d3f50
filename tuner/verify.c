/* SPDX-License-Identifier: MIT
 * verify.c - a table measured again on this device: a sample of its entries, in seconds
 *
 * Each entry's choice is checked and timed at the entry's point, in turns with the analytic default, as when the table
 * was made. It holds when it is right and not slower than the default. Nothing is written down. */
#include "session.h"

#include <stdlib.h>
#include <string.h>

enum verdict { HOLDS, SLOWER, FAILS, SKIPPED, N_VERDICTS };

struct verify {
    struct session s;
    const struct table *table;
    int n[N_VERDICTS];
    int n_drift;
    double *drift; /* time now over the table's, of each measured entry */
};

/* ---- what to measure ---- */

/* False: of a kernel or a configuration that this version does not have. */
bool table_entry_candidate(const struct table_entry *e, struct candidate *c)
{
    *c = (struct candidate){.kernel = kernel_find(e->kernel)};
    return c->kernel && c->kernel->rev == e->rev && kernel_n_params(c->kernel) == e->n_config &&
           table_config(e->config, e->n_config, c->kernel, c->cfg);
}

struct ticket { /* an entry's place in the order */
    int entry;
    bool won; /* against the default: those are the ones that can be wrong */
    uint64_t lot;
};

static int compare_tickets(const void *a, const void *b)
{
    const struct ticket *x = a, *y = b;
    if (x->won != y->won)
        return x->won ? -1 : 1;
    return (x->lot > y->lot) - (x->lot < y->lot);
}

/* ---- one entry ---- */

static double over_default(double us, double default_us)
{
    return default_us > 0 ? us / default_us : 1;
}

static enum verdict judge(const struct result *r)
{
    return r->outcome != OUT_OK ? FAILS : r->ratio_lo > 1 ? SLOWER : HOLDS;
}

static void tell_entry(struct verify *v, const struct table_entry *e, const struct trial *t)
{
    static const char *const words[N_VERDICTS] = {"holds", "SLOWER than the default", "FAILS", ""};
    const struct result *r = &t->result;
    const enum verdict verdict = judge(r);
    char name[512];
    candidate_print(&t->candidate, name, sizeof name);
    session_erase_progress(&v->s);
    v->n[verdict]++;
    printf("%s: %s\n    ", t->problem_text, name);
    if (verdict == FAILS) {
        printf("FAILS: %s%s%s\n", outcome_name(r->outcome), *r->text ? ", " : "", r->text);
        return;
    }
    v->drift[v->n_drift++] = r->median_us / e->median_us;
    printf("%.3f us, %.2f of the default (table: %.3f us, %.2f): %s\n", r->median_us, r->ratio > 0 ? r->ratio : 1,
           e->median_us, over_default(e->median_us, e->default_us), words[verdict]);
}

/* On a worker of its own, the default first where that is another candidate. False: stopped, or it failed. */
static bool measure(struct verify *v, const struct candidate *c, struct shape_class *sc, struct point *p)
{
    struct session *s = &v->s;
    const struct trial *known = journal_find(&s->journal, c, p->text);
    if (known && known->done)
        return true;
    char name[512];
    candidate_print(c, name, sizeof name);
    snprintf(s->doing, sizeof s->doing, "%s, %s", p->text, name);
    struct point *whole = shapes_whole(sc, p);
    if (session_must_stop(s) || !session_make_reference(s, whole) || !session_start_worker(s))
        return false;
    session_measure(s, c, p, whole, true);
    session_end_worker(s);
    return !session_must_stop(s);
}

static struct point *find_point(struct shapes *s, const struct problem *p, struct shape_class **sc)
{
    char class_text[PROBLEM_TEXT], text[PROBLEM_TEXT];
    shapes_add(s, p);
    problem_class(p, class_text);
    problem_print(p, text);
    for (int c = 0; c < s->n; c++)
        for (int i = 0; i < s->classes[c].n_points && !strcmp(s->classes[c].text, class_text); i++)
            if (!strcmp(s->classes[c].points[i].text, text)) {
                *sc = &s->classes[c];
                return &s->classes[c].points[i];
            }
    return NULL;
}

/* False: stopped. */
static bool verify_entry(struct verify *v, const struct table_entry *e)
{
    struct session *s = &v->s;
    struct candidate c, standard;
    struct problem p;
    struct shape_class *sc = NULL;
    struct point *point = NULL;
    if (table_entry_candidate(e, &c) && table_entry_problem(e, &p) && !c.kernel->reject(&p, &s->facts.device, c.cfg))
        point = find_point(&s->shapes, &p, &sc);
    if (!point) {
        v->n[SKIPPED]++;
        return true;
    }
    const bool has_default = candidate_default(&p, &s->facts.device, s->facts.denied, &standard);
    if ((has_default && !measure(v, &standard, sc, point)) || !measure(v, &c, sc, point))
        return false;
    const struct trial *t = journal_find(&s->journal, &c, point->text);
    if (t)
        tell_entry(v, e, t);
    return true;
}

/* ---- the whole ---- */

static fdec_status open_device(struct verify *v)
{
    struct session *s = &v->s;
    fdec_status st = FDEC_OK;
    try_st(session_open_device(s));
    const int level = table_level(v->table, &s->facts.device);
    if (!level) {
        st = fail(FDEC_E_DATA, "%s: made for %s, which is quite another device than %s", v->table->path,
                  v->table->device.name, s->facts.device.name);
        goto out;
    }
    if (level > 2)
        session_tell(s, "%s was made for another device (level %d): its times are not comparable", v->table->path,
                     level);
    journal_in_memory(&s->facts, &s->journal);
    try_st(session_ask_roof(s));
    session_end_worker(s);
    s->shapes.classes = calloc(MAX_CLASSES, sizeof *s->shapes.classes);
    try_alloc(s->shapes.classes);
out:
    return st;
}

static fdec_status verify_sample(struct verify *v)
{
    const struct table *t = v->table;
    struct session *s = &v->s;
    fdec_status st = FDEC_OK;
    struct ticket *order = calloc((size_t) t->n_entries + 1, sizeof *order);
    v->drift = calloc((size_t) t->n_entries + 1, sizeof *v->drift);
    try_alloc(order);
    try_alloc(v->drift);
    for (int i = 0; i < t->n_entries; i++)
        order[i] =
            (struct ticket){i, t->entries[i].median_us < t->entries[i].default_us, hash64(&i, sizeof i, s->o->seed)};
    qsort(order, (size_t) t->n_entries, sizeof *order, compare_tickets);
    s->deadline_ms = s->o->budget_s > 0 ? now_ms() + s->o->budget_s * 1e3 : 0;
    for (int i = 0; i < t->n_entries && !session_must_stop(s); i++)
        if (!verify_entry(v, &t->entries[order[i].entry]))
            break;
    if (s->failed)
        st = FDEC_E_DEVICE;
out:
    free(order);
    return st;
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *) a, y = *(const double *) b;
    return (x > y) - (x < y);
}

static void tell_summary(struct verify *v)
{
    const int n = v->n_drift;
    printf("%d of %d entries measured: %d hold, %d are slower than the default, %d fail; %d are of other kernels than "
           "this version's\n",
           v->n[HOLDS] + v->n[SLOWER] + v->n[FAILS], v->table->n_entries, v->n[HOLDS], v->n[SLOWER], v->n[FAILS],
           v->n[SKIPPED]);
    qsort(v->drift, (size_t) n, sizeof *v->drift, compare_doubles);
    if (n)
        printf("times are %.2f of the table's in the median (%.2f to %.2f)\n", v->drift[n / 2], v->drift[0],
               v->drift[n - 1]);
}

int verify_run(const struct options *o, const char *path)
{
    struct verify v = {.s = {.o = o, .journal = {.fd = -1}, .begin_ms = now_ms()}};
    struct table *t = NULL;
    fdec_status st = FDEC_OK;
    try_st(table_read(path, &t));
    v.table = t;
    try_st(open_device(&v));
    try_st(verify_sample(&v));
    tell_summary(&v);
    if (v.n[HOLDS] + v.n[SLOWER] + v.n[FAILS] == 0)
        st = fail(FDEC_E_DATA, "%s: no entry could be measured in that time", path);
out:
    if (st != FDEC_OK)
        fprintf(stderr, "flashdec-tune: %s\n", fdec_last_error());
    session_close(&v.s);
    free(v.drift);
    table_destroy(&t);
    return st == FDEC_OK && !v.n[SLOWER] && !v.n[FAILS] ? 0 : 1;
}
