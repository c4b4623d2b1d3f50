/* SPDX-License-Identifier: MIT
 * report_data.c - the values of a report: log and table -> one JSON document
 *
 *     device, table, sessions, outcomes, failures: report_facts.c
 *     summary    counts; geomean_speedup: of the chosen over the default, over the points where both were timed
 *     points     what was tried, sorted by class and range; each with its candidates, by cost (time over the
 *                default's, taken in turns:
 *                trial_cost()); best, random: least cost after 1, 2, ... measurements
 *     unmeasured what a preset or the table has and nothing was tried at
 *     search     share of the measurements -> cost over the least, geometric mean over the points
 *     crossings  of linear classes: m1, m2 of the table, best time of each family at each measured M
 *
 * Numbers are rounded to what is shown. No host or user name is in it: of paths only the last part. */
#include "report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct spot { /* a point that the log, the table or a preset speaks of */
    struct problem problem;
    char text[PROBLEM_TEXT], class_text[PROBLEM_TEXT];
    bool holdout;
};

struct shown { /* a candidate that was right, and timed, at a point */
    const struct trial *trial;
    double cost;
    int turn; /* 1: the first that was measured there */
};

struct report {
    const struct journal *j;
    const struct table *table;
    int n, cap;
    struct spot *spots;
    struct shown *shown; /* [n_trials], of one point at a time */
    json_t *out;
    double log_speedup; /* sums of the summary */
    int n_speedups, n_measured_points, n_measurements, n_failed;
};

/* ---- which points ---- */

static fdec_status add_spot(struct report *r, const struct problem *p, bool holdout)
{
    struct spot s = {.problem = *p, .holdout = holdout};
    problem_print(p, s.text);
    problem_class(p, s.class_text);
    for (int i = 0; i < r->n; i++)
        if (!strcmp(r->spots[i].text, s.text))
            return FDEC_OK;
    if (r->n == r->cap) {
        const int cap = r->cap ? 2 * r->cap : 64;
        struct spot *grown = realloc(r->spots, (size_t) cap * sizeof *grown);
        if (!grown)
            return fail(FDEC_E_MEMORY, "out of memory: the points");
        r->spots = grown;
        r->cap = cap;
    }
    r->spots[r->n++] = s;
    return FDEC_OK;
}

static fdec_status add_entry_spot(struct report *r, const struct table_entry *e)
{
    struct problem p;
    if (!table_entry_problem(e, &p))
        return fail(FDEC_E_DATA, "the table's entry of %s: no problem", e->class_text);
    return add_spot(r, &p, false);
}

/* What a preset asks for. A list or a model is not in the log. */
static fdec_status add_preset_spots(struct report *r, const char *shapes)
{
    struct shapes s = {0};
    fdec_status st = FDEC_OK;
    if (!shapes_is_preset(shapes))
        return FDEC_OK;
    try_st(shapes_load(shapes, &s));
    for (int c = 0; c < s.n; c++)
        for (int i = 0; i < s.classes[c].n_points; i++)
            try_st(add_spot(r, &s.classes[c].points[i].problem, false));
out:
    shapes_clear(&s);
    return st;
}

static int compare_spots(const void *a, const void *b)
{
    const struct spot *x = a, *y = b;
    int64_t p[N_RANGES], q[N_RANGES];
    if (x->problem.op != y->problem.op)
        return x->problem.op < y->problem.op ? -1 : 1;
    const int order = strcmp(x->class_text, y->class_text);
    problem_range(&x->problem, p);
    problem_range(&y->problem, q);
    for (int i = 0; !order && i < N_RANGES; i++)
        if (p[i] != q[i])
            return p[i] < q[i] ? -1 : 1;
    return order;
}

static fdec_status find_spots(struct report *r)
{
    fdec_status st = FDEC_OK;
    size_t i;
    json_t *line;
    for (int t = 0; t < r->j->n_trials; t++)
        try_st(add_spot(r, &r->j->trials[t].problem, r->j->trials[t].holdout));
    for (int e = 0; e < r->table->n_entries; e++)
        try_st(add_entry_spot(r, &r->table->entries[e]));
    json_array_foreach(r->j->lines, i, line) if (!strcmp(get_text(line, "line"), "session"))
        try_st(add_preset_spots(r, get_text(line, "shapes")));
    qsort(r->spots, (size_t) r->n, sizeof *r->spots, compare_spots);
out:
    return st;
}

/* ---- one point ---- */

static bool is_shown(const struct journal *j, const struct trial *t)
{
    return t->done && t->result.outcome == OUT_OK && !journal_wrong(j, t->candidate.kernel);
}

static int compare_cost(const void *a, const void *b)
{
    const struct shown *x = a, *y = b;
    return x->cost != y->cost ? (x->cost < y->cost ? -1 : 1) : x->turn - y->turn;
}

/* Those of a point in order of cost; the log has them in order of their turn. *n_failed: the others. */
static int find_shown(const struct report *r, const char *problem_text, int *n_failed)
{
    int n = 0;
    *n_failed = 0;
    for (int i = 0; i < r->j->n_trials; i++) {
        const struct trial *t = &r->j->trials[i];
        if (strcmp(t->problem_text, problem_text))
            continue;
        if (is_shown(r->j, t)) {
            r->shown[n] = (struct shown){t, trial_cost(r->j, t), n + 1};
            n++;
        } else {
            *n_failed += t->result.outcome != OUT_STOPPED;
        }
    }
    qsort(r->shown, (size_t) n, sizeof *r->shown, compare_cost);
    return n;
}

/* Families of an operation in the order of the registry. */
static int family_number(const struct kernel *k)
{
    const char *seen[MAX_KERNELS];
    int n = 0;
    for (int i = 0; kernels[i]; i++) {
        int at = 0;
        while (at < n && strcmp(seen[at], kernels[i]->family))
            at++;
        if (kernels[i]->op != k->op || at < n)
            continue;
        if (!strcmp(kernels[i]->family, k->family))
            break;
        seen[n++] = kernels[i]->family;
    }
    return n;
}

static json_t *candidate_json(const struct shown *s, bool is_default, bool is_chosen)
{
    const struct result *x = &s->trial->result;
    json_t *o = json_object();
    json_object_set_new(o, "candidate", names_json(&s->trial->candidate));
    set_text(o, "family", s->trial->candidate.kernel->family);
    set_count(o, "series", family_number(s->trial->candidate.kernel));
    set_text(o, "mark",
             is_default && is_chosen ? "default, chosen"
             : is_default            ? "default"
             : is_chosen             ? "chosen"
                                     : "");
    set_ratio(o, "cost", s->cost);
    if (x->ratio > 0) {
        set_ratio(o, "cost_lo", x->ratio_lo);
        set_ratio(o, "cost_hi", x->ratio_hi);
        set_us(o, "default_us", x->default_us);
    }
    set_us(o, "median_us", x->median_us);
    set_us(o, "lo_us", x->lo_us);
    set_us(o, "hi_us", x->hi_us);
    set_count(o, "samples", x->samples);
    set_count(o, "turn", s->turn);
    set_ratio(o, "error", x->error_ratio);
    set_text(o, "again", x->final ? "yes" : "");
    return o;
}

/* The least of k drawn at random without replacement out of n, on average: the i-th least is it with the chance
 * C(n-i, k-1) / C(n, k). */
static double expected_least(const struct shown *sorted, int n, int k)
{
    double chance = (double) k / n, sum = 0;
    for (int i = 1; i <= n - k + 1; i++) {
        sum += chance * sorted[i - 1].cost;
        chance *= (double) (n - i - k + 1) / (n - i);
    }
    return sum;
}

static void set_curves(const struct report *r, int n, json_t *point)
{
    json_t *best = json_array(), *random = json_array();
    for (int k = 1; k <= n; k++) {
        double least = INFINITY;
        for (int i = 0; i < n && least == INFINITY; i++)
            if (r->shown[i].turn <= k)
                least = r->shown[i].cost;
        json_array_append_new(best, json_real(round(least * 1e4) / 1e4));
        json_array_append_new(random, json_real(round(expected_least(r->shown, n, k) * 1e4) / 1e4));
    }
    json_object_set_new(point, "best", best);
    json_object_set_new(point, "random", random);
}

/* "linear/vec-flat@3 MR=4 NR=6", of a kernel that is no more in the order of the file */
static json_t *entry_name(const struct table_entry *e)
{
    struct candidate c;
    char name[512] = "";
    if (table_entry_candidate(e, &c))
        return names_json(&c);
    append(name, sizeof name, "%s@%u", e->kernel, e->rev);
    for (int i = 0; i < e->n_config; i++)
        append(name, sizeof name, " %s=%d", e->config[i].name, e->config[i].value);
    return any_text(name);
}

/* Times, and what they come to, of the chosen one (NULL: not measured there). */
static void set_chosen(struct report *r, const struct spot *s, const struct shown *chosen, json_t *point)
{
    const struct result *x = &chosen->trial->result;
    const double gbps = problem_bytes(&s->problem) / x->median_us * 1e-3;
    set_us(point, "chosen_us", x->median_us);
    set_real(point, "gbps", gbps, 1e2);
    if (r->j->facts.read_gbps > 0)
        set_real(point, "share_percent", 100 * gbps / r->j->facts.read_gbps, 1e1);
    if (!strcmp(get_text(point, "cost_unit"), "us"))
        return;
    set_ratio(point, "speedup", 1 / chosen->cost);
    set_us(point, "default_us", x->median_us / chosen->cost);
    r->log_speedup -= log(chosen->cost);
    r->n_speedups++;
}

static const char *point_note(int n, bool has_entry, bool chosen_measured, bool has_default)
{
    return n == 0             ? "not measured"
           : !has_entry       ? "no entry: the library's rule decides"
           : !chosen_measured ? "the chosen one was not measured here"
           : !has_default     ? "the default was not timed: costs are us"
                              : "";
}

static json_t *point_json(struct report *r, const struct spot *s)
{
    struct candidate standard, choice;
    int64_t at[N_RANGES];
    int n_failed;
    const int n = find_shown(r, s->text, &n_failed);
    problem_range(&s->problem, at);
    const struct table_entry *e = table_entry_at(r->table, s->class_text, at);
    const bool any_default = candidate_default(&s->problem, &r->j->facts.device, r->j->facts.denied, &standard);
    const bool has_choice = e && table_entry_candidate(e, &choice);
    const struct shown *chosen = NULL, *first = NULL;
    json_t *candidates = json_array(), *o = json_object();
    for (int i = 0; i < n; i++) {
        const struct candidate *c = &r->shown[i].trial->candidate;
        const bool is_default = any_default && candidate_equal(c, &standard);
        const bool is_chosen = has_choice && candidate_equal(c, &choice);
        first = is_default ? &r->shown[i] : first;
        chosen = is_chosen ? &r->shown[i] : chosen;
        json_array_append_new(candidates, candidate_json(&r->shown[i], is_default, is_chosen));
    }
    set_text(o, "problem", s->text);
    set_text(o, "class", s->class_text);
    json_object_set_new(o, "op", json_stringn(s->text, strcspn(s->text, ":")));
    set_text(o, "note", point_note(n, e != NULL, chosen != NULL, first != NULL));
    set_text(o, "held_out", s->holdout ? "yes" : "");
    set_count(o, "measured", n);
    set_count(o, "failed", n_failed);
    set_real(o, "mbytes", problem_bytes(&s->problem) * 1e-6, 1e6);
    set_text(o, "cost_unit", first ? "times the default" : "us");
    if (any_default)
        json_object_set_new(o, "default", names_json(&standard));
    if (e)
        json_object_set_new(o, "chosen", entry_name(e));
    if (chosen)
        set_chosen(r, s, chosen, o);
    set_curves(r, n, o);
    json_object_set_new(o, "candidates", candidates);
    r->n_measured_points += n > 0;
    r->n_measurements += n;
    r->n_failed += n_failed;
    return o;
}

/* A point that was tried gets a number, its place among them. */
static json_t *all_points(struct report *r, json_t *tried, json_t *others)
{
    json_t *all = json_array();
    for (int i = 0; i < r->n; i++) {
        json_t *o = point_json(r, &r->spots[i]);
        const bool was_tried = get_number(o, "measured") + get_number(o, "failed") > 0;
        if (was_tried)
            set_count(o, "id", (int) json_array_size(tried));
        json_array_append(was_tried ? tried : others, o);
        json_array_append_new(all, o);
    }
    return all;
}

/* ---- over all points ---- */

static json_t *search_json(const json_t *points)
{
    enum { STEPS = 20 };
    json_t *out = json_array();
    for (int step = 1; step <= STEPS; step++) {
        double best = 0, random = 0;
        int n_points = 0;
        size_t i;
        json_t *point;
        json_array_foreach(points, i, point)
        {
            const json_t *b = json_object_get(point, "best"), *r = json_object_get(point, "random");
            const size_t n = json_array_size(b), k = (n * (size_t) step + STEPS - 1) / STEPS;
            if (n < 2)
                continue;
            const double least = json_number_value(json_array_get(b, n - 1));
            best += log(json_number_value(json_array_get(b, k - 1)) / least);
            random += log(json_number_value(json_array_get(r, k - 1)) / least);
            n_points++;
        }
        if (!n_points)
            break;
        json_t *o = json_object();
        set_real(o, "percent", 100.0 * step / STEPS, 1);
        set_ratio(o, "best", exp(best / n_points));
        set_ratio(o, "random", exp(random / n_points));
        json_array_append_new(out, o);
    }
    return out;
}

/* Best of each family, all in the moment of the chosen one's measurement: cost times the default's time there. */
static json_t *family_json(const struct spot *s, const json_t *point)
{
    const double unit_us = get_number(point, "default_us");
    json_t *o = json_object(), *c;
    size_t i;
    set_count(o, "m", (int) s->problem.linear.m);
    json_array_foreach(json_object_get(point, "candidates"), i, c)
    {
        char name[40];
        snprintf(name, sizeof name, "%s_us", get_text(c, "family"));
        if (!json_object_get(o, name)) /* they come in the order of cost */
            set_us(o, name, unit_us > 0 ? get_number(c, "cost") * unit_us : get_number(c, "median_us"));
    }
    return o;
}

static json_t *crossing_json(const struct report *r, int first, int end, const json_t *points)
{
    json_t *o = json_object(), *families = json_array();
    set_text(o, "class", r->spots[first].class_text);
    for (int i = 0; i < r->table->n_crossings; i++) {
        const struct table_crossing *x = &r->table->crossings[i];
        if (strcmp(x->class_text, r->spots[first].class_text))
            continue;
        set_count(o, "m1", (int) x->m1);
        set_count(o, "m2", (int) x->m2);
        set_count(o, "max_m", (int) x->max_m);
    }
    for (int i = first; i < end; i++) {
        const json_t *point = json_array_get(points, (size_t) i);
        if (get_number(point, "measured") > 0)
            json_array_append_new(families, family_json(&r->spots[i], point));
    }
    json_object_set_new(o, "families", families);
    return o;
}

/* Of classes that were measured, or that the table speaks of. */
static json_t *crossings_json(const struct report *r, const json_t *points)
{
    json_t *out = json_array();
    for (int first = 0, end; first < r->n; first = end) {
        for (end = first + 1; end < r->n && !strcmp(r->spots[end].class_text, r->spots[first].class_text); end++) {
        }
        if (r->spots[first].problem.op != OP_LINEAR)
            continue;
        json_t *o = crossing_json(r, first, end, points);
        if (json_array_size(json_object_get(o, "families")) || json_object_get(o, "max_m"))
            json_array_append(out, o);
        json_decref(o);
    }
    return out;
}

/* ---- the whole ---- */

static void set_summary(const struct report *r)
{
    json_t *o = json_object();
    set_count(o, "points", r->n);
    set_count(o, "points_measured", r->n_measured_points);
    set_count(o, "measurements", r->n_measurements);
    set_count(o, "failures", r->n_failed);
    if (r->n_speedups)
        set_ratio(o, "geomean_speedup", exp(r->log_speedup / r->n_speedups));
    json_object_set_new(r->out, "summary", o);
}

fdec_status report_data(const struct journal *j, const struct table *t, const char *table_path, json_t **out)
{
    struct report r = {.j = j, .table = t, .out = json_object()};
    json_t *points = json_array(), *others = json_array(), *all = NULL;
    fdec_status st = FDEC_OK;
    r.shown = malloc((size_t) (j->n_trials + 1) * sizeof *r.shown);
    try_alloc(r.shown);
    try_st(find_spots(&r));
    all = all_points(&r, points, others);
    report_facts(j, t, table_path, r.out);
    set_summary(&r);
    json_object_set(r.out, "points", points);
    json_object_set(r.out, "unmeasured", others);
    json_object_set_new(r.out, "search", search_json(points));
    json_object_set_new(r.out, "crossings", crossings_json(&r, all));
    *out = r.out;
    r.out = NULL;
out:
    json_decref(points);
    json_decref(others);
    json_decref(all);
    json_decref(r.out);
    free(r.shown);
    free(r.spots);
    return st;
}
