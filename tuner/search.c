/* SPDX-License-Identifier: MIT
 * search.c - the candidates of each class, in the order in which they are worth the budget
 *
 * Tiers: the analytic default of every point; then each variant's own first choice (expect()); then, around the M
 * where the winning family changes, points between; then everything else, shuffled by the seed, but as long as a class
 * has a neighbour of a winner that was not tried that one goes first: a local search, which a random candidate starts
 * again when it has come to an end. Within a tier classes take turns, so that every class has its n-th candidate timed
 * before any has its n+1-th. */
#include "tuner.h"

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

bool search_wants(const struct search *s, const struct candidate *c, const struct problem *p)
{
    const struct device *d = &s->facts->device;
    if (c->kernel->op != p->op || c->kernel->reject(p, d, c->cfg))
        return false;
    return s->strategy == STRATEGY_EXHAUSTIVE || !c->kernel->prune || !c->kernel->prune(p, d, c->cfg) ||
           candidate_is_default(c, p, s->facts);
}

/* A long attention is costly to set up. A candidate that was clearly behind at the largest of the smaller ones is not
 * worth it. */
bool search_worth(const struct search *s, const struct candidate *c, const struct shape_class *sc,
                  const struct point *p)
{
    const double costly_bytes = 128e6, behind = 1.25, bytes = problem_bytes(&p->problem);
    double largest = 0;
    bool worth = true;
    if (s->strategy != STRATEGY_DEFAULT || sc->op != OP_ATTN || bytes < costly_bytes ||
        candidate_is_default(c, &p->problem, s->facts))
        return true;
    for (int i = 0; i < sc->n_points; i++) {
        const struct point *smaller = &sc->points[i];
        const double its_bytes = problem_bytes(&smaller->problem);
        const struct trial *t = journal_find(s->journal, c, smaller->text);
        if (!t || !t->done || its_bytes >= bytes || its_bytes <= largest)
            continue;
        largest = its_bytes;
        worth = t->result.outcome != OUT_SLOW &&
                (t->result.outcome != OUT_OK || t->result.median_us <= behind * smaller->best_us);
    }
    return worth;
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

static int index_of(const struct kernel *k)
{
    int i = 0;
    while (kernels[i] != k)
        i++;
    return i;
}

/* Every variant's best guess before any one's second: variants differ more than configurations. */
static int likelier_first(const void *a, const void *b)
{
    const struct guess *x = a, *y = b;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    if (x->share != y->share)
        return x->share > y->share ? -1 : 1;
    return index_of(x->candidate.kernel) - index_of(y->candidate.kernel);
}

/* What the variant would do at each point, each answer once, in the order of the points. Returns their number. */
static int guess(const struct search *s, const struct shape_class *sc, const struct kernel *k, struct guess *out)
{
    int n = 0;
    for (int i = 0; i < sc->n_points; i++) {
        struct guess g = {.candidate.kernel = k};
        g.share = k->expect(&sc->points[i].problem, &s->facts->device, g.candidate.cfg);
        if (!search_wants(s, &g.candidate, &sc->points[i].problem))
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
        for (int other = 0; other < n; other++)
            out[i].rank += out[other].share > out[i].share || (out[other].share == out[i].share && other < i);
    }
    return n;
}

static bool add_expected(struct search *s, int class, int first)
{
    const struct shape_class *sc = &s->shapes->classes[class];
    struct guess *guesses = malloc(MAX_KERNELS * MAX_POINTS * sizeof *guesses);
    int n = 0;
    for (int k = 0; guesses && kernels[k]; k++)
        if (kernels[k]->op == sc->op && !s->facts->denied[k])
            n += guess(s, sc, kernels[k], guesses + n);
    if (n)
        qsort(guesses, (size_t) n, sizeof *guesses, likelier_first);
    bool good = guesses != NULL;
    for (int i = 0; i < n && good; i++)
        good = listed(s, first, &guesses[i].candidate) || add(s, class, TIER_EXPECTED, first, &guesses[i].candidate);
    free(guesses);
    return good;
}

static uint64_t next_random(uint64_t *state) /* splitmix64 */
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void shuffle(const struct search *s, int from)
{
    const char *class_text = s->shapes->classes[s->tasks[from].class].text;
    uint64_t state = hash64(class_text, strlen(class_text), s->seed);
    for (int i = s->n - 1; i > from; i--) {
        const int other = from + (int) (next_random(&state) % (uint64_t) (i - from + 1));
        const struct candidate swap = s->tasks[i].candidate;
        s->tasks[i].candidate = s->tasks[other].candidate;
        s->tasks[other].candidate = swap;
    }
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
    if (s->n > from && s->strategy != STRATEGY_EXHAUSTIVE)
        shuffle(s, from);
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

fdec_status search_begin(struct search *s)
{
    for (int class = 0; class < s->shapes->n; class ++) {
        const int first = s->n;
        if (!add_defaults(s, class, first) || (s->strategy == STRATEGY_DEFAULT && !add_expected(s, class, first)) ||
            !add_rest(s, class, first))
            return fail(FDEC_E_MEMORY, "out of memory: the list of candidates");
    }
    qsort(s->tasks, (size_t) s->n, sizeof *s->tasks, compare_tasks);
    return FDEC_OK;
}

void search_end(struct search *s)
{
    free(s->tasks);
    free(s->extra);
    s->tasks = s->extra = NULL;
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

/* Between neighbouring points whose winners are of different families: a point in the middle, and both winners and the
 * default to be timed there. */
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
        const struct trial *a = winner_at(s->journal, &sorted[i]->problem, NULL, NULL);
        const struct trial *b = winner_at(s->journal, &sorted[i + 1]->problem, NULL, NULL);
        if (!a || !b || !strcmp(a->candidate.kernel->family, b->candidate.kernel->family) || above - below < 2)
            continue;
        struct candidate c;
        mid.linear.m = (below + above) / 2;
        if (!shapes_add(s->shapes, &mid))
            continue;
        if (!push_extra(s, class, &b->candidate) || !push_extra(s, class, &a->candidate) ||
            (candidate_default(&mid, &s->facts->device, s->facts->denied, &c) && !push_extra(s, class, &c)))
            return;
    }
}

/* ---- local search ---- */

static int step_of(const struct param *p, int value)
{
    int i = 0;
    while (p->values[i] != value)
        i++;
    return i;
}

/* The same variant, one parameter one step apart. */
static bool are_neighbours(const struct candidate *a, const struct candidate *b)
{
    int steps = 0;
    if (a->kernel != b->kernel)
        return false;
    for (int i = 0; i < kernel_n_params(a->kernel); i++) {
        const struct param *p = &a->kernel->params[i];
        if (a->cfg[i] != b->cfg[i])
            steps += abs(step_of(p, a->cfg[i]) - step_of(p, b->cfg[i]));
    }
    return steps == 1;
}

/* A task of the class that was not taken yet, next to what wins at one of its points. NULL: none. */
static struct task *neighbour_in(struct search *s, int class)
{
    const struct shape_class *sc = &s->shapes->classes[class];
    for (int p = 0; p < sc->n_points; p++) {
        const struct trial *winner = winner_at(s->journal, &sc->points[p].problem, NULL, NULL);
        for (int i = s->at; winner && i < s->n; i++) {
            struct task *t = &s->tasks[i];
            if (t->class == class && !t->taken && are_neighbours(&t->candidate, &winner->candidate))
                return t;
        }
    }
    return NULL;
}

static struct task *neighbour(struct search *s)
{
    for (int i = 0; i < s->shapes->n; i++) {
        struct task *t = neighbour_in(s, s->turn);
        s->turn = (s->turn + 1) % s->shapes->n;
        if (t)
            return t;
    }
    return NULL;
}

/* ---- what comes next ---- */

bool search_next(struct search *s, struct task *out)
{
    while (s->at < s->n && s->tasks[s->at].taken) {
        s->at++;
        s->n_taken--;
    }
    const bool guesses_done = s->at == s->n || s->tasks[s->at].tier == TIER_REST;
    if (s->n_extra == 0 && guesses_done && s->strategy == STRATEGY_DEFAULT)
        for (int class = 0; class < s->shapes->n; class ++)
            if (s->shapes->classes[class].op == OP_LINEAR)
                refine_class(s, class);
    if (s->n_extra) {
        *out = s->extra[--s->n_extra];
        return true;
    }
    if (s->at == s->n)
        return false;
    struct task *t = guesses_done && s->strategy == STRATEGY_DEFAULT ? neighbour(s) : NULL;
    if (!t)
        t = &s->tasks[s->at];
    t->taken = true;
    s->n_taken++;
    *out = *t;
    return true;
}

bool search_final(const struct search *s, struct task *out)
{
    for (int class = 0; class < s->shapes->n; class ++) {
        const struct shape_class *sc = &s->shapes->classes[class];
        for (int i = 0; i < sc->n_points; i++)
            for (int k = 0; k < s->journal->n_trials; k++) {
                const struct trial *t = &s->journal->trials[k];
                if (strcmp(t->problem_text, sc->points[i].text) ||
                    !is_finalist(s->journal, &t->candidate, &sc->points[i].problem))
                    continue;
                *out = (struct task){.class = class, .tier = TIER_FINAL, .candidate = t->candidate};
                return true;
            }
    }
    return false;
}
