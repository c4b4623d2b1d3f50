/* SPDX-License-Identifier: MIT
 * replay.c - a search against a log in place of a device
 *
 * What the search asks for is looked up in the log of an earlier, best an exhaustive, tuning run. That shows in
 * seconds how soon a strategy finds what that run found, and the same log, strategy and seed give the same table. */
#include "tuner.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct anchor { /* costs: trial_cost(); 0: not in the log, or not known yet */
    double best, known;
};

struct replay {
    const struct options *o;
    struct journal log, known; /* all there is; what has been asked for so far */
    struct shapes shapes;
    struct search search;
    struct anchor anchors[MAX_CLASSES][MAX_POINTS]; /* of the points in shapes */
    int n_asked, n_there;                           /* n_there: in the log, hold-outs aside */
};

static fdec_status find_shapes(struct replay *r)
{
    r->shapes = (struct shapes){.classes = calloc(MAX_CLASSES, sizeof *r->shapes.classes)};
    if (!r->shapes.classes)
        return fail(FDEC_E_MEMORY, "out of memory: shapes");
    for (int i = 0; i < r->log.n_trials; i++)
        if (!r->log.trials[i].holdout) {
            shapes_add(&r->shapes, &r->log.trials[i].problem);
            r->n_there++;
        }
    return r->shapes.n ? FDEC_OK : fail(FDEC_E_DATA, "%s: nothing was measured", r->o->replay);
}

static bool is_good(const struct trial *t)
{
    return t && t->done && t->result.outcome == OUT_OK;
}

/* What the log says of each point: the best, and what is known without having asked, the default. */
static void find_anchors(struct replay *r)
{
    const struct facts *f = &r->log.facts;
    for (int c = 0; c < r->shapes.n; c++)
        for (int i = 0; i < r->shapes.classes[c].n_points; i++) {
            const struct point *p = &r->shapes.classes[c].points[i];
            struct anchor *a = &r->anchors[c][i];
            for (int k = 0; k < r->log.n_trials; k++) {
                const struct trial *t = &r->log.trials[k];
                if (!is_good(t) || strcmp(t->problem_text, p->text))
                    continue;
                const double cost = trial_cost(&r->log, t);
                if (a->best == 0 || cost < a->best)
                    a->best = cost;
                if (candidate_is_default(&t->candidate, &p->problem, f))
                    a->known = cost;
            }
        }
}

/* Geometric mean over all points of the cost of what is known (the best so far, else the default) over that of the
 * log's best; *worst: the largest of them. */
static double slowdown(const struct replay *r, double *worst)
{
    double sum = 0;
    int n = 0;
    *worst = 1;
    for (int c = 0; c < r->shapes.n; c++)
        for (int i = 0; i < r->shapes.classes[c].n_points; i++) {
            const struct anchor *a = &r->anchors[c][i];
            if (a->known <= 0 || a->best <= 0)
                continue;
            sum += log(a->known / a->best);
            *worst = MAX(*worst, a->known / a->best);
            n++;
        }
    return n ? exp(sum / n) : 1;
}

static void print_row(const struct replay *r)
{
    double worst;
    const double mean = slowdown(r, &worst);
    printf("%d,%.4f,%.4f,%.4f\n", r->n_asked, (double) r->n_asked / r->n_there, mean, worst);
}

/* What the log has becomes known. NULL: out of memory. */
static struct trial *learn(struct replay *r, const struct trial *logged)
{
    struct point p = {.problem = logged->problem};
    problem_print(&p.problem, p.text);
    struct trial *t = journal_trial(&r->known, &logged->candidate, &p);
    if (!t)
        return NULL;
    t->holdout = logged->holdout;
    journal_note(&r->known, t, &logged->result);
    t->failures = logged->failures;
    t->done = true;
    r->known.n_fatal += logged->failures;
    return t;
}

/* False: out of memory. */
static bool ask(struct replay *r, const struct task *task)
{
    const struct candidate *c = &task->candidate;
    struct shape_class *sc = &r->shapes.classes[task->class];
    for (int i = 0; i < sc->n_points; i++) {
        struct point *p = &sc->points[i];
        const struct trial *known = journal_find(&r->known, c, p->text), *logged = journal_find(&r->log, c, p->text);
        if ((known && known->done) || !logged || !logged->done || !search_asks(&r->search, task, sc, p))
            continue;
        const struct trial *t = learn(r, logged);
        if (!t)
            return false;
        r->n_asked++;
        if (!is_good(t))
            continue;
        struct anchor *a = &r->anchors[task->class][i];
        const double cost = trial_cost(&r->log, logged);
        a->known = a->known == 0 ? cost : MIN(a->known, cost);
        p->best_us = p->best_us == 0 ? t->result.median_us : MIN(p->best_us, t->result.median_us);
    }
    return true;
}

static fdec_status search_all(struct replay *r)
{
    struct task task;
    fdec_status st = search_begin(&r->search);
    printf("measurements,share_of_log,mean_slowdown,worst_slowdown\n");
    while (st == FDEC_OK && search_next(&r->search, &task)) {
        const int before = r->n_asked;
        if (!ask(r, &task))
            st = fail(FDEC_E_MEMORY, "out of memory: trials");
        if (r->n_asked > before)
            print_row(r);
    }
    return st;
}

static fdec_status write_table(struct replay *r)
{
    struct table *t = NULL;
    fdec_status st = FDEC_OK;
    snprintf(r->known.version, sizeof r->known.version, "%s", r->log.version);
    r->known.seed = r->log.seed;
    r->known.complete = r->log.complete;
    for (int i = 0; i < r->log.n_trials; i++) /* they are no part of the search */
        if (r->log.trials[i].holdout && r->log.trials[i].done && !learn(r, &r->log.trials[i])) {
            st = fail(FDEC_E_MEMORY, "out of memory: trials");
            goto out;
        }
    try_st(build_table(&r->known, &t));
    try_st(table_write(t, r->o->out));
out:
    table_destroy(&t);
    return st;
}

int replay_run(const struct options *o)
{
    struct replay r = {.o = o, .known = {.fd = -1}};
    fdec_status st = FDEC_OK;
    try_st(journal_read(o->replay, true, &r.log));
    if (o->out && r.log.n_stale) {
        st = fail(FDEC_E_DATA, "%s: %d lines are of kernels that have changed since: no table can be made of them",
                  o->replay, r.log.n_stale);
        goto out;
    }
    try_st(find_shapes(&r));
    find_anchors(&r);
    r.known.facts = r.log.facts;
    r.known.has_facts = true;
    r.search = (struct search){
        .shapes = &r.shapes, .facts = &r.log.facts, .journal = &r.known, .strategy = o->strategy, .seed = o->seed};
    try_st(search_all(&r));
    if (o->out)
        try_st(write_table(&r));
out:
    if (st != FDEC_OK)
        fprintf(stderr, "flashdec-tune: %s\n", fdec_last_error());
    search_end(&r.search);
    journal_close(&r.known);
    journal_close(&r.log);
    shapes_clear(&r.shapes);
    return st == FDEC_OK ? 0 : 1;
}
