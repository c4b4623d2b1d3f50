/* SPDX-License-Identifier: MIT
 * session.c - a tuning run: walks the search, one worker per candidate, then makes the table */
#include "session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- one candidate ---- */

/* Two fatal outcomes of a candidate in one class, whatever the point, or one program that does not compile: it is not
 * tried again. */
static bool given_up(const struct session *s, const struct candidate *c, const char *class_text)
{
    return journal_failures(&s->journal, c, class_text) >= 2 || journal_wrong(&s->journal, c->kernel);
}

static bool wants_timing(const struct session *s, const struct task *task, const struct shape_class *sc,
                         const struct point *p)
{
    const struct candidate *c = &task->candidate;
    if (task->tier == TIER_FINAL)
        return is_finalist(&s->journal, c, &p->problem);
    const struct trial *t = journal_find(&s->journal, c, p->text);
    return !(t && t->done && !t->holdout) && search_asks(&s->search, task, sc, p);
}

/* What cannot be measured again keeps what it has. */
static bool can_measure(struct session *s, const struct task *task, struct shape_class *sc, struct point *p)
{
    const bool can = !given_up(s, &task->candidate, sc->text) && session_make_reference(s, shapes_whole(sc, p));
    if (can || task->tier < TIER_FINAL)
        return can;
    struct trial *t = journal_trial(&s->journal, &task->candidate, p);
    if (t)
        t->passed_over = true;
    else
        s->failed = true;
    return false;
}

/* False: the worker is gone, or none can be had. */
static bool run_point(struct session *s, const struct task *task, struct shape_class *sc, struct point *p)
{
    const bool again = task->tier == TIER_FINAL;
    char name[512];
    candidate_print(&task->candidate, name, sizeof name);
    snprintf(s->doing, sizeof s->doing, "%s%s, %s", again ? "again: " : "", p->text, name);
    session_progress(s);
    if (!s->child.pid) {
        s->n_started += task->tier < TIER_FINAL;
        if (!session_start_worker(s))
            return false;
    }
    return session_measure(s, &task->candidate, p, shapes_whole(sc, p), again);
}

/* On one worker. */
static void run_task(struct session *s, const struct task *task)
{
    struct shape_class *sc = &s->shapes.classes[task->class];
    bool alive = true;
    if (task->tier == TIER_HOLDOUT)
        alive = can_measure(s, task, sc, &sc->holdout) && run_point(s, task, sc, &sc->holdout);
    for (int i = 0; task->tier != TIER_HOLDOUT && i < sc->n_points && alive && !session_must_stop(s); i++) {
        struct point *p = &sc->points[i];
        if (wants_timing(s, task, sc, p) && can_measure(s, task, sc, p))
            alive = run_point(s, task, sc, p);
    }
    session_end_worker(s);
}

/* ---- the whole ---- */

/* What an earlier session has measured: best times, and how much of it there is. */
static void recall(struct session *s)
{
    for (int c = 0; c < s->shapes.n; c++)
        for (int i = 0; i < s->shapes.classes[c].n_points; i++) {
            struct point *p = &s->shapes.classes[c].points[i];
            for (int k = 0; k < s->journal.n_trials; k++) {
                const struct trial *t = &s->journal.trials[k];
                if (strcmp(t->problem_text, p->text) || !t->done)
                    continue;
                s->n_reused++;
                if (t->result.outcome == OUT_OK && (p->best_us == 0 || t->result.median_us < p->best_us))
                    p->best_us = t->result.median_us;
            }
        }
    if (s->n_reused)
        session_tell(s, "%d measurements of earlier runs are used again (%s)", s->n_reused, s->journal.path);
}

static fdec_status prepare(struct session *s)
{
    fdec_status st = FDEC_OK;
    try_st(shapes_load(s->o->shapes, &s->shapes));
    try_st(session_open_device(s));
    try_st(journal_open(&s->facts, &s->journal));
    try_st(session_ask_roof(s));
    session_end_worker(s);
    try_st(
        journal_session(&s->journal, &(struct session_info){s->o->seed, s->o->budget_s, strategy_name(s->o->strategy),
                                                            s->o->shapes, s->o->fresh}));
    session_tell(s, "%s, driver %s", s->facts.device.name, s->facts.device.driver);
    session_tell(s, "read %.1f GB/s, launch %.1f us, cache %.1f MiB", s->facts.read_gbps, s->facts.launch_us,
                 (double) s->facts.cache_bytes / (1 << 20));
    recall(s);
    s->search = (struct search){.shapes = &s->shapes,
                                .facts = &s->facts,
                                .journal = &s->journal,
                                .strategy = s->o->strategy,
                                .seed = s->o->seed};
    st = search_begin(&s->search);
out:
    return st;
}

/* The user's table directory, made when it is not there yet. */
static fdec_status default_path(const struct device *d, char *path, size_t n)
{
    if (!table_default_path(d, path, n))
        return fail(FDEC_E_ARG, "neither XDG_DATA_HOME nor HOME is set: name the table with --out");
    char *slash = strrchr(path, '/');
    *slash = 0;
    const bool made = make_dirs(path, 0755);
    *slash = '/';
    return made ? FDEC_OK : fail(FDEC_E_DATA, "%s: cannot create its directory: %s", path, strerror(errno));
}

/* What the table says nothing of, because the time was up. */
static void tell_not_reached(const struct session *s)
{
    for (int c = 0; c < s->shapes.n; c++) {
        const struct shape_class *sc = &s->shapes.classes[c];
        int n = 0;
        for (int i = 0; i < sc->n_points; i++)
            n += winner_at(&s->journal, &sc->points[i].problem) == NULL;
        if (n)
            session_tell(s, "not reached: %d of the %d points of %s", n, sc->n_points, sc->text);
    }
}

struct joining {
    struct session *s;
    struct table **own;
};

/* Why nothing of what was there can stay; NULL: it can. */
static const char *foreign(const struct table *old, const char *unreadable, const struct device *d)
{
    if (!old)
        return unreadable;
    return table_level(old, d) == LEVEL_EXACT ? NULL : "it is of another device or driver";
}

/* What this run made replaces what was there, class by class; classes that it does not have stay, if they are of the
 * same device and driver. */
static fdec_status join_old(void *arg, const struct table *old, const char *unreadable, struct table **out)
{
    struct joining *j = arg;
    const char *why = foreign(old, unreadable, &j->s->facts.device);
    if (why)
        session_tell(j->s, "the table that was there is replaced as a whole: %s", why);
    const struct table *own = *j->own;
    bool more = false;
    for (int i = 0; old && !why && i < old->n_entries && !more; i++)
        more = !table_has_class(own, old->entries[i].class_text);
    if (!more) {
        *out = *j->own;
        *j->own = NULL;
        return FDEC_OK;
    }
    const fdec_status st = table_merge((const struct table *const[]){own, old}, 2, true, stderr, out);
    if (st == FDEC_OK)
        session_tell(j->s, "%d entries of other shapes were there before and stay", (*out)->n_entries - own->n_entries);
    return st;
}

static fdec_status write_table(struct session *s, bool complete)
{
    struct table *t = NULL;
    char path[1024];
    fdec_status st = FDEC_OK;
    try_st(journal_finish(&s->journal, complete));
    try_st(build_table(&s->journal, &t));
    if (t->n_entries == 0) {
        st = fail(FDEC_E_DATA, "nothing was measured: no table written");
        goto out;
    }
    if (s->o->out)
        snprintf(path, sizeof path, "%s", s->o->out);
    else
        try_st(default_path(&s->facts.device, path, sizeof path));
    const int n_entries = t->n_entries;
    try_st(table_update(path, join_old, &(struct joining){s, &t}));
    session_tell(s, "%d entries; %d candidates tried, %d measurements in %.0f s%s", n_entries, s->n_started, s->n_timed,
                 (now_ms() - s->begin_ms) * 1e-3, complete ? "" : "; incomplete: more time would try more candidates");
    tell_not_reached(s);
    session_tell_drift(s);
    session_tell(s, "table: %s", path);
out:
    table_destroy(&t);
    return st;
}

/* The best are measured again, and hold-outs, when the search has come to its end, or the budget nearly has. False: all
 * is done. */
static bool next_task(struct session *s, struct task *task)
{
    const double search_share = 0.7; /* of the budget */
    const bool late = s->deadline_ms > 0 && now_ms() > s->begin_ms + search_share * (s->deadline_ms - s->begin_ms);
    if (late && (search_final(&s->search, task) || search_holdout(&s->search, task)))
        return true;
    return search_next(&s->search, task) || search_final(&s->search, task) || search_holdout(&s->search, task);
}

int session_run(const struct options *o)
{
    struct session s = {.o = o, .journal = {.fd = -1}, .begin_ms = now_ms(), .terminal = isatty(2)};
    struct task task;
    bool complete = false;
    fdec_status st = prepare(&s);
    if (st == FDEC_OK) {
        s.deadline_ms = o->budget_s > 0 ? s.begin_ms + o->budget_s * 1e3 : 0;
        while (!session_must_stop(&s) && !(complete = !next_task(&s, &task))) {
            s.n_tasks++;
            run_task(&s, &task);
        }
        session_erase_progress(&s);
        if (session_stopped())
            session_tell(&s, "stopped: the best so far is kept");
        st = write_table(&s, complete && !s.failed);
    }
    if (st != FDEC_OK)
        fprintf(stderr, "flashdec-tune: %s\n", fdec_last_error());
    session_close(&s);
    return st == FDEC_OK && !s.failed ? 0 : 1;
}
