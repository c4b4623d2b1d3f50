/* SPDX-License-Identifier: MIT
 * search.c - the candidates of each class, in the order in which they are worth the budget
 *
 * Tiers: the analytic default of every point; then each variant's own first choice (expect()); then, around the M
 * where the winning family changes, points between; then one guess for the other kind of device, in case the probe
 * took this one for what it is not; then everything else, in an order that the strategy decides (strategy.c). Within a
 * tier classes take turns, so that every class has its n-th candidate timed before any has its n+1-th. */
#include "tuner.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool candidate_equal(const struct candidate *a, const struct candidate *b)
{
    return a->kernel == b->kernel && !memcmp(a->cfg, b->cfg, (size_t) kernel_n_params(a->kernel) * sizeof *a->cfg);
}

void candidate_print(const struct candidate *c, char *buf, size_t n)
{
    char config[256];
    kernel_print_config(c->kernel, c->cfg, config, sizeof config);
    snprintf(buf, n, "%s@%u%s%s", c->kernel->name, c->kernel->rev, *config ? " " : "", config);
}

uint64_t candidate_hash(const struct candidate *c)
{
    char text[512];
    candidate_print(c, text, sizeof text);
    return hash64(text, strlen(text), 0);
}

bool candidate_default(const struct problem *p, const struct device *d, const bool *denied, struct candidate *out)
{
    static const struct table_set no_tables;
    struct choice choices[MAX_CHOICES];
    int64_t at[N_RANGES];
    int n = 0, i = 0;
    if (select_choices(p, &(struct want){.no_table = true}, d, &no_tables, denied, choices, &n) != FDEC_OK || n == 0)
        return false;
    problem_range(p, at);
    while (i < n - 1 && !range_contains(&choices[i].range, at))
        i++;
    *out = (struct candidate){.kernel = choices[i].kernel};
    memcpy(out->cfg, choices[i].cfg, sizeof out->cfg);
    return true;
}

bool candidate_is_default(const struct candidate *c, const struct problem *p, const struct facts *f)
{
    struct candidate first;
    return candidate_default(p, &f->device, f->denied, &first) && candidate_equal(&first, c);
}

/* The device as its kernels are pruned for: CPU-like or GPU-like as probed, or the other way round. */
static struct device as_kind(const struct search *s, bool other)
{
    struct device d = s->facts->device;
    d.cpu_like = d.cpu_like != other;
    return d;
}

static bool kept_for(const struct search *s, const struct candidate *c, const struct problem *p, bool other)
{
    const struct device d = as_kind(s, other);
    return !c->kernel->prune || !c->kernel->prune(p, &d, c->cfg);
}

bool search_wants(const struct search *s, const struct candidate *c, const struct problem *p)
{
    if (c->kernel->op != p->op || c->kernel->reject(p, &s->facts->device, c->cfg))
        return false;
    const bool all = s->strategy == STRATEGY_EXHAUSTIVE || s->strategy == STRATEGY_RANDOM;
    return all || kept_for(s, c, p, false) || candidate_is_default(c, p, s->facts) ||
           (s->other_kind[p->op] && kept_for(s, c, p, true));
}

/* A long attention is costly to set up. A candidate that was clearly behind at the largest of the smaller ones is not
 * worth it. */
static bool is_behind(const struct search *s, const struct candidate *c, const struct shape_class *sc,
                      const struct point *p)
{
    const double costly_bytes = 128e6, behind = 1.25, bytes = problem_bytes(&p->problem);
    double largest = 0;
    bool is = false;
    if (s->strategy != STRATEGY_DEFAULT || sc->op != OP_ATTN || bytes < costly_bytes ||
        candidate_is_default(c, &p->problem, s->facts))
        return false;
    for (int i = 0; i < sc->n_points; i++) {
        const struct point *smaller = &sc->points[i];
        const double its_bytes = problem_bytes(&smaller->problem);
        const struct trial *t = journal_find(s->journal, c, smaller->text);
        if (!t || !t->done || its_bytes >= bytes || its_bytes <= largest)
            continue;
        largest = its_bytes;
        is = t->result.outcome == OUT_SLOW ||
             (t->result.outcome == OUT_OK && t->result.median_us > behind * smaller->best_us);
    }
    return is;
}

/* 0: the point with the fewest bytes. */
static int rank_of(const struct shape_class *sc, const struct point *p)
{
    const double bytes = problem_bytes(&p->problem);
    int rank = 0;
    for (const struct point *other = sc->points; other < sc->points + sc->n_points; other++) {
        const double its_bytes = problem_bytes(&other->problem);
        rank += its_bytes < bytes || (its_bytes == bytes && other < p);
    }
    return rank;
}

bool search_asks(const struct search *s, const struct task *t, const struct shape_class *sc, const struct point *p)
{
    const struct candidate *c = &t->candidate;
    if (c->kernel->reject(&p->problem, &s->facts->device, c->cfg))
        return false;
    if (t->m)
        return p->problem.linear.m == t->m;
    const bool probes = t->tier == TIER_PROBE && kept_for(s, c, &p->problem, true);
    return (probes || search_wants(s, c, &p->problem)) && (t->n_points == 0 || rank_of(sc, p) < t->n_points) &&
           !is_behind(s, c, sc, p);
}

static bool wanted_somewhere(const struct search *s, const struct shape_class *sc, const struct candidate *c)
{
    for (int i = 0; i < sc->n_points; i++)
        if (search_wants(s, c, &sc->points[i].problem))
            return true;
    return false;
}

/* ---- the list of tasks ---- */

static bool push(struct task **tasks, int *n, int *cap, const struct task *t)
{
    if (*n == *cap) {
        const int more = *cap ? 2 * *cap : 256;
        struct task *grown = realloc(*tasks, (size_t) more * sizeof *grown);
        if (!grown)
            return false;
        *tasks = grown;
        *cap = more;
    }
    (*tasks)[(*n)++] = *t;
    return true;
}

/* Is it among the tasks from `first` on: those of this class in the earlier tiers. */
static bool listed(const struct search *s, int first, const struct candidate *c)
{
    for (int i = first; i < s->n; i++)
        if (candidate_equal(&s->tasks[i].candidate, c))
            return true;
    return false;
}

static bool add(struct search *s, int class, enum tier tier, int first, const struct candidate *c)
{
    const struct task t = {.class = class, .tier = tier, .order = s->n - first, .candidate = *c};
    return push(&s->tasks, &s->n, &s->cap, &t);
}

static bool add_defaults(struct search *s, int class, int first)
{
    const struct shape_class *sc = &s->shapes->classes[class];
    struct candidate c;
    for (int i = 0; i < sc->n_points; i++)
        if (candidate_default(&sc->points[i].problem, &s->facts->device, s->facts->denied, &c) &&
            !listed(s, first, &c) && !add(s, class, TIER_DEFAULT, first, &c))
            return false;
    return true;
}

struct guess {
    struct candidate candidate;
    double share; /* of the roofline, as expect() has it: the best over all points where it is the variant's choice */
    int rank;     /* among the guesses of its variant */
};

/* Every variant's best guess before any one's second: variants differ more than configurations. */
static int likelier_first(const void *a, const void *b)
{
    const struct guess *x = a, *y = b;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    if (x->share != y->share)
        return x->share > y->share ? -1 : 1;
    return kernel_index(x->candidate.kernel) - kernel_index(y->candidate.kernel);
}

/* What the variant would do at each point, each answer once, in the order of the points. Returns their number. */
static int guess(const struct search *s, const struct shape_class *sc, const struct kernel *k, bool other,
                 struct guess *out)
{
    const struct device d = as_kind(s, other);
    int n = 0;
    for (int i = 0; i < sc->n_points; i++) {
        struct guess g = {.candidate.kernel = k};
        const struct problem *p = &sc->points[i].problem;
        g.share = kernel_expect(k, p, &d, g.candidate.cfg);
        if (k->reject(p, &s->facts->device, g.candidate.cfg) || !kept_for(s, &g.candidate, p, other))
            continue;
        int known = 0;
        while (known < n && !candidate_equal(&out[known].candidate, &g.candidate))
            known++;
        if (known == n)
            out[n++] = g;
        out[known].share = MAX(out[known].share, g.share);
    }
    for (int i = 0; i < n; i++) {
        out[i].rank = 0;
        for (int than = 0; than < n; than++)
            out[i].rank += out[than].share > out[i].share || (out[than].share == out[i].share && than < i);
    }
    return n;
}

/* The guesses of all variants in order. Returns their number; -1: out of memory. *out is malloc'ed. */
static int all_guesses(const struct search *s, const struct shape_class *sc, bool other, struct guess **out)
{
    int n = 0;
    *out = malloc(MAX_KERNELS * MAX_POINTS * sizeof **out);
    if (!*out)
        return -1;
    for (int k = 0; kernels[k]; k++)
        if (kernels[k]->op == sc->op && !s->facts->denied[k])
            n += guess(s, sc, kernels[k], other, *out + n);
    if (n)
        qsort(*out, (size_t) n, sizeof **out, likelier_first);
    return n;
}

static bool add_expected(struct search *s, int class, int first, bool other)
{
    struct guess *guesses;
    const int n = all_guesses(s, &s->shapes->classes[class], other, &guesses);
    bool good = n >= 0;
    for (int i = 0; i < n && good; i++)
        good = listed(s, first, &guesses[i].candidate) || add(s, class, TIER_EXPECTED, first, &guesses[i].candidate);
    free(guesses);
    return good;
}

static bool is_first_of_op(const struct search *s, int class)
{
    int c = 0;
    while (s->shapes->classes[c].op != s->shapes->classes[class].op)
        c++;
    return c == class;
}

/* One candidate an operation for the kind of device that this one was not taken for. */
static bool add_probe(struct search *s, int class, int first)
{
    struct guess *guesses;
    if (!is_first_of_op(s, class))
        return true;
    const int n = all_guesses(s, &s->shapes->classes[class], true, &guesses);
    int i = 0;
    while (i < n && listed(s, first, &guesses[i].candidate))
        i++;
    const bool good = n >= 0 && (i == n || add(s, class, TIER_PROBE, first, &guesses[i].candidate));
    free(guesses);
    return good;
}

static bool add_rest(struct search *s, int class, int first)
{
    const struct shape_class *sc = &s->shapes->classes[class];
    const int from = s->n;
    for (int k = 0; kernels[k]; k++) {
        struct candidate c = {.kernel = kernels[k]};
        int at[MAX_PARAMS] = {0};
        if (kernels[k]->op != sc->op || s->facts->denied[k])
            continue;
        kernel_first(c.kernel, at, c.cfg);
        do {
            bool known = false; /* the earlier tiers only: these do not repeat themselves */
            for (int i = first; i < from && !known; i++)
                known = candidate_equal(&s->tasks[i].candidate, &c);
            if (!known && wanted_somewhere(s, sc, &c) && !add(s, class, TIER_REST, first, &c))
                return false;
        } while (kernel_next(c.kernel, at, c.cfg));
    }
    strategy_order(s, class, from);
    return true;
}

static int compare_tasks(const void *a, const void *b)
{
    const struct task *x = a, *y = b;
    if (x->tier != y->tier)
        return x->tier < y->tier ? -1 : 1;
    if (x->order != y->order)
        return x->order < y->order ? -1 : 1;
    return (x->class > y->class) - (x->class < y->class);
}

static bool add_class(struct search *s, int class)
{
    const bool guesses = s->strategy == STRATEGY_DEFAULT;
    const int first = s->n;
    return add_defaults(s, class, first) && (!guesses || add_expected(s, class, first, false)) &&
           (!guesses || add_probe(s, class, first)) && add_rest(s, class, first);
}

fdec_status search_begin(struct search *s)
{
    s->states = calloc((size_t) s->shapes->n, sizeof *s->states);
    for (int class = 0; class < s->shapes->n; class ++)
        if (!s->states || !add_class(s, class))
            return fail(FDEC_E_MEMORY, "out of memory: the list of candidates");
    qsort(s->tasks, (size_t) s->n, sizeof *s->tasks, compare_tasks);
    return FDEC_OK;
}

void search_end(struct search *s)
{
    free(s->tasks);
    free(s->extra);
    free(s->sides);
    free(s->states);
    s->tasks = s->extra = s->sides = NULL;
    s->states = NULL;
}

int search_left(const struct search *s)
{
    return s->n - s->at - s->n_taken + s->n_extra;
}

/* ---- refinement ---- */

static int compare_m(const void *a, const void *b)
{
    const struct point *x = *(const struct point *const *) a, *y = *(const struct point *const *) b;
    return (x->problem.linear.m > y->problem.linear.m) - (x->problem.linear.m < y->problem.linear.m);
}

static bool push_extra(struct search *s, int class, const struct candidate *c)
{
    const struct task t = {.class = class, .tier = TIER_REFINE, .candidate = *c};
    return push(&s->extra, &s->n_extra, &s->cap_extra, &t);
}

static void push_untried(struct search *s, int class, const struct point *p, const struct candidate *c)
{
    const struct task t = {.class = class, .tier = TIER_REFINE, .m = p->problem.linear.m, .candidate = *c};
    for (int i = 0; i < s->n_sides; i++)
        if (s->sides[i].class == class && s->sides[i].m == t.m && candidate_equal(&s->sides[i].candidate, c))
            return;
    if (!journal_find(s->journal, c, p->text) && push(&s->sides, &s->n_sides, &s->cap_sides, &t))
        push(&s->extra, &s->n_extra, &s->cap_extra, &t);
}

/* Between neighbouring points whose winners are of different families: a point in the middle, and both winners and the
 * default to be timed there; where there is no middle, each winner on the other side of the crossing. */
static void refine_class(struct search *s, int class)
{
    struct shape_class *sc = &s->shapes->classes[class];
    const struct point *sorted[MAX_POINTS];
    const int n = sc->n_points;
    for (int i = 0; i < n; i++)
        sorted[i] = &sc->points[i];
    qsort(sorted, (size_t) n, sizeof *sorted, compare_m);
    for (int i = 0; i + 1 < n; i++) {
        struct problem mid = sorted[i]->problem;
        const int64_t below = mid.linear.m, above = sorted[i + 1]->problem.linear.m;
        const struct trial *a = winner_at(s->journal, &sorted[i]->problem);
        const struct trial *b = winner_at(s->journal, &sorted[i + 1]->problem);
        if (!a || !b || !strcmp(a->candidate.kernel->family, b->candidate.kernel->family))
            continue;
        if (above - below < 2) {
            push_untried(s, class, sorted[i], &b->candidate);
            push_untried(s, class, sorted[i + 1], &a->candidate);
            continue;
        }
        struct candidate c;
        mid.linear.m = (below + above) / 2;
        if (!shapes_add(s->shapes, &mid))
            continue;
        if (!push_extra(s, class, &b->candidate) || !push_extra(s, class, &a->candidate) ||
            (candidate_default(&mid, &s->facts->device, s->facts->denied, &c) && !push_extra(s, class, &c)))
            return;
    }
}

/* ---- the other kind of device ---- */

/* Did a candidate that is pruned here, but not for the other kind, come out best at a point? */
static bool other_kind_wins(const struct search *s, enum op op)
{
    for (int class = 0; class < s->shapes->n; class ++) {
        const struct shape_class *sc = &s->shapes->classes[class];
        for (int i = 0; sc->op == op && i < sc->n_points; i++) {
            const struct problem *p = &sc->points[i].problem;
            const struct trial *t = winner_at(s->journal, p);
            if (t && !search_wants(s, &t->candidate, p))
                return true;
        }
    }
    return false;
}

/* Then what is kept for that kind is listed as well. */
static fdec_status add_other_kind(struct search *s, enum op op)
{
    s->other_kind[op] = true;
    for (int class = 0; class < s->shapes->n; class ++) {
        const int first = s->n;
        if (s->shapes->classes[class].op == op && (!add_expected(s, class, first, true) || !add_rest(s, class, first)))
            return fail(FDEC_E_MEMORY, "out of memory: the list of candidates");
    }
    qsort(s->tasks + s->at, (size_t) (s->n - s->at), sizeof *s->tasks, compare_tasks);
    return FDEC_OK;
}

/* ---- what comes next ---- */

void search_take(struct search *s, struct task *t)
{
    t->taken = true;
    s->n_taken++;
}

static void skip_taken(struct search *s)
{
    while (s->at < s->n && s->tasks[s->at].taken) {
        s->at++;
        s->n_taken--;
    }
}

/* When all guesses have been timed. */
static void look_around(struct search *s)
{
    for (int class = 0; class < s->shapes->n; class ++)
        if (s->shapes->classes[class].op == OP_LINEAR)
            refine_class(s, class);
    for (int op = 0; op < OP_COUNT; op++)
        if (!s->other_kind[op] && other_kind_wins(s, (enum op) op) && add_other_kind(s, (enum op) op) != FDEC_OK)
            return; /* what is listed is enough to go on with */
}

bool search_next(struct search *s, struct task *out)
{
    skip_taken(s);
    const bool guesses_done = s->at == s->n || s->tasks[s->at].tier > TIER_PROBE;
    if (s->n_extra == 0 && guesses_done && s->strategy == STRATEGY_DEFAULT)
        look_around(s);
    skip_taken(s);
    if (s->n_extra) {
        *out = s->extra[--s->n_extra];
        return true;
    }
    if (s->at == s->n || s->tasks[s->at].tier == TIER_REST)
        return strategy_next(s, out);
    search_take(s, &s->tasks[s->at]);
    *out = s->tasks[s->at];
    return true;
}

/* The one that promises most comes first: there may be no time for all. */
bool search_final(const struct search *s, struct task *out)
{
    double least = INFINITY;
    for (int class = 0; class < s->shapes->n; class ++) {
        const struct shape_class *sc = &s->shapes->classes[class];
        for (int i = 0; i < sc->n_points; i++)
            for (int k = 0; k < s->journal->n_trials; k++) {
                const struct trial *t = &s->journal->trials[k];
                if (strcmp(t->problem_text, sc->points[i].text) ||
                    !is_finalist(s->journal, &t->candidate, &sc->points[i].problem))
                    continue;
                const double cost = trial_cost(s->journal, t);
                if (cost >= least)
                    continue;
                least = cost;
                *out = (struct task){.class = class, .tier = TIER_FINAL, .candidate = t->candidate};
            }
    }
    return least < INFINITY;
}
