/* SPDX-License-Identifier: MIT
 * strategy.c - in which order the candidates are tried that nobody guessed
 *
 *   exhaustive  as they are listed
 *   random      shuffled by the seed
 *   local       from a start, the next by the model, to its best neighbour as long as that is better; then a new start
 *   halving     in brackets: all of a bracket at the cheapest point, a third of them at a third of the points, ...
 *   default     next to what wins at a point, as long as there is something left; then next to what is within a tenth
 *               of the best; then, by the model, of the variants that have come near to the best or are new; the rest
 *
 * A neighbour is the same variant with one parameter one step apart. */
#include "tuner.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[] = {
    [STRATEGY_DEFAULT] = "default", [STRATEGY_RANDOM] = "random",   [STRATEGY_EXHAUSTIVE] = "exhaustive",
    [STRATEGY_LOCAL] = "local",     [STRATEGY_HALVING] = "halving",
};

const char *strategy_name(enum strategy strategy)
{
    return names[strategy];
}

bool strategy_parse(const char *text, enum strategy *out)
{
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (!strcmp(text, names[i])) {
            *out = (enum strategy) i;
            return true;
        }
    return false;
}

/* ---- the order of the list ---- */

static uint64_t next_random(uint64_t *state) /* splitmix64 */
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void shuffle(struct search *s, int class, int from)
{
    const char *class_text = s->shapes->classes[class].text;
    uint64_t state = hash64(class_text, strlen(class_text), s->seed);
    for (int i = s->n - 1; i > from; i--) {
        const int other = from + (int) (next_random(&state) % (uint64_t) (i - from + 1));
        const struct candidate swap = s->tasks[i].candidate;
        s->tasks[i].candidate = s->tasks[other].candidate;
        s->tasks[other].candidate = swap;
    }
}

/* The best share of the roofline that the model sees for a candidate at any point of the class, in eighths: it knows
 * of no finer differences. */
static int promise(const struct search *s, const struct shape_class *sc, const struct candidate *c)
{
    double best = 0;
    for (int i = 0; i < sc->n_points; i++) {
        const struct problem *p = &sc->points[i].problem;
        if (search_wants(s, c, p))
            best = MAX(best, model_share(p, s->facts, c));
    }
    return (int) lround(8 * best);
}

static int compare_promise(const void *a, const void *b)
{
    const struct task *x = a, *y = b;
    if (x->promise != y->promise)
        return x->promise > y->promise ? -1 : 1;
    return (x->order > y->order) - (x->order < y->order);
}

void strategy_order(struct search *s, int class, int from)
{
    if (s->strategy == STRATEGY_EXHAUSTIVE || s->n == from)
        return;
    shuffle(s, class, from);
    if (s->strategy != STRATEGY_DEFAULT && s->strategy != STRATEGY_LOCAL)
        return;
    const int first = s->tasks[from].order;
    for (int i = from; i < s->n; i++)
        s->tasks[i].promise = promise(s, &s->shapes->classes[class], &s->tasks[i].candidate);
    qsort(s->tasks + from, (size_t) (s->n - from), sizeof *s->tasks, compare_promise);
    for (int i = from; i < s->n; i++)
        s->tasks[i].order = first + i - from;
}

/* ---- neighbours ---- */

static int step_of(const struct param *p, int value)
{
    int i = 0;
    while (p->values[i] != value)
        i++;
    return i;
}

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

static struct task *untaken_next_to(struct search *s, int class, const struct candidate *c)
{
    for (int i = s->at; i < s->n; i++) {
        struct task *t = &s->tasks[i];
        if (t->class == class && !t->taken && are_neighbours(&t->candidate, c))
            return t;
    }
    return NULL;
}

static struct task *untaken_in(struct search *s, int class)
{
    for (int i = s->at; i < s->n; i++)
        if (s->tasks[i].class == class && !s->tasks[i].taken)
            return &s->tasks[i];
    return NULL;
}

/* ---- local ---- */

/* Mean logarithm of what is known of a candidate in a class, over the default; infinite: nothing good. */
static double mean_cost(const struct search *s, const struct shape_class *sc, const struct candidate *c)
{
    double sum = 0;
    int n = 0;
    for (int i = 0; i < sc->n_points; i++) {
        const struct trial *t = journal_find(s->journal, c, sc->points[i].text);
        if (!t || !t->done || t->result.outcome != OUT_OK)
            continue;
        sum += log(trial_cost(s->journal, t));
        n++;
    }
    return n ? sum / n : INFINITY;
}

/* To the best of its neighbours. False: none is better. */
static bool step_down(struct search *s, int class)
{
    const struct shape_class *sc = &s->shapes->classes[class];
    struct class_state *state = &s->states[class];
    const struct candidate centre = state->centre;
    double least = mean_cost(s, sc, &centre);
    bool moved = false;
    for (int i = 0; i < s->n; i++) {
        const struct task *t = &s->tasks[i];
        if (t->class != class || !t->taken || !are_neighbours(&t->candidate, &centre))
            continue;
        const double cost = mean_cost(s, sc, &t->candidate);
        if (cost >= least)
            continue;
        least = cost;
        state->centre = t->candidate;
        moved = true;
    }
    return moved;
}

static struct task *descend(struct search *s, int class)
{
    struct class_state *state = &s->states[class];
    struct task *t = NULL;
    while (state->has_centre && !(t = untaken_next_to(s, class, &state->centre)))
        state->has_centre = step_down(s, class);
    if (t)
        return t;
    t = untaken_in(s, class);
    if (t) {
        state->has_centre = true;
        state->centre = t->candidate;
    }
    return t;
}

/* ---- default ---- */

/* Sets what has become known of the candidates of a class; returns the least. */
static double update_costs(struct search *s, int class)
{
    const struct shape_class *sc = &s->shapes->classes[class];
    double least = INFINITY;
    for (int i = 0; i < s->n; i++) {
        struct task *t = &s->tasks[i];
        if (t->class != class || !t->taken)
            continue;
        if (t->cost == 0)
            t->cost = exp(mean_cost(s, sc, &t->candidate));
        least = fmin(least, t->cost);
    }
    return least;
}

/* A neighbour of the best that has one left, among those within a tenth of the best of all: the best may be so by luck,
 * and what is as good lies elsewhere as well. */
static struct task *next_to_good(struct search *s, int class, double least)
{
    const double good = 1.1;
    const struct task *best = NULL;
    struct task *next = NULL;
    for (int i = 0; i < s->n; i++) {
        const struct task *t = &s->tasks[i];
        if (t->class != class || !t->taken || t->cost > good * least || (best && t->cost >= best->cost))
            continue;
        struct task *neighbour = untaken_next_to(s, class, &t->candidate);
        if (neighbour) {
            best = t;
            next = neighbour;
        }
    }
    return next;
}

/* The next of a kernel that has come near to the best, or that nobody has tried. */
static struct task *of_good_kernel(struct search *s, int class, double least)
{
    const double near = 1.3;
    double best[MAX_KERNELS] = {0}; /* 0: not tried */
    for (int i = 0; i < s->n; i++) {
        const struct task *t = &s->tasks[i];
        double *of = &best[kernel_index(t->candidate.kernel)];
        if (t->class == class && t->taken)
            *of = *of > 0 ? fmin(*of, t->cost) : t->cost;
    }
    for (int i = s->at; i < s->n; i++) {
        struct task *t = &s->tasks[i];
        if (t->class == class && !t->taken && best[kernel_index(t->candidate.kernel)] <= near * least)
            return t;
    }
    return NULL;
}

static struct task *next_to_winner(struct search *s, int class)
{
    const struct shape_class *sc = &s->shapes->classes[class];
    struct task *t = NULL;
    for (int p = 0; p < sc->n_points && !t; p++) {
        const struct trial *winner = winner_at(s->journal, &sc->points[p].problem);
        t = winner ? untaken_next_to(s, class, &winner->candidate) : NULL;
    }
    return t;
}

static struct task *best_guess(struct search *s, int class)
{
    struct task *t = next_to_winner(s, class);
    if (t)
        return t;
    const double least = update_costs(s, class);
    t = next_to_good(s, class, least);
    return t ? t : of_good_kernel(s, class, least);
}

/* ---- halving ---- */

static void new_bracket(struct search *s, int class)
{
    struct class_state *state = &s->states[class];
    struct task *t;
    state->n = state->done = state->rung = 0;
    while (state->n < BRACKET && (t = untaken_in(s, class)) != NULL) {
        search_take(s, t);
        state->bracket[state->n++] = t->candidate;
    }
}

/* The best third goes on. */
static void next_rung(struct search *s, int class)
{
    struct class_state *state = &s->states[class];
    const int n = state->n, kept = (n + 2) / 3;
    for (int i = 0; i < kept; i++) {
        int best = i;
        for (int k = i + 1; k < n; k++)
            if (mean_cost(s, &s->shapes->classes[class], &state->bracket[k]) <
                mean_cost(s, &s->shapes->classes[class], &state->bracket[best]))
                best = k;
        const struct candidate swap = state->bracket[i];
        state->bracket[i] = state->bracket[best];
        state->bracket[best] = swap;
    }
    state->n = kept;
    state->done = 0;
    state->rung++;
}

/* False: the class is done. */
static bool next_in_bracket(struct search *s, int class, struct task *out)
{
    struct class_state *state = &s->states[class];
    const int n_points = s->shapes->classes[class].n_points;
    if (state->done == state->n)
        state->n > 1 && n_points > 1 && state->rung < RUNGS - 1 ? next_rung(s, class) : new_bracket(s, class);
    if (state->n == 0)
        return false;
    int share = 1; /* 1/9, 1/3, all of the points */
    for (int rung = state->rung; rung < RUNGS - 1; rung++)
        share *= 3;
    *out = (struct task){.class = class,
                         .tier = TIER_REST,
                         .n_points = (n_points + share - 1) / share,
                         .candidate = state->bracket[state->done++]};
    return true;
}

/* ---- what comes next ---- */

static bool next_of_class(struct search *s, int class, struct task *out)
{
    struct task *t;
    if (s->strategy == STRATEGY_HALVING)
        return next_in_bracket(s, class, out);
    t = s->strategy == STRATEGY_LOCAL ? descend(s, class) : best_guess(s, class);
    if (!t)
        return false;
    search_take(s, t);
    *out = *t;
    return true;
}

bool strategy_next(struct search *s, struct task *out)
{
    const bool by_class = s->strategy != STRATEGY_RANDOM && s->strategy != STRATEGY_EXHAUSTIVE;
    for (int i = 0; by_class && i < s->shapes->n; i++) {
        const int class = s->turn;
        s->turn = (s->turn + 1) % s->shapes->n;
        if (next_of_class(s, class, out))
            return true;
    }
    if (s->at == s->n)
        return false;
    search_take(s, &s->tasks[s->at]);
    *out = s->tasks[s->at];
    return true;
}
