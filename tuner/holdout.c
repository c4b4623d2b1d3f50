/* SPDX-License-Identifier: MIT
 * holdout.c - a shape between the measured ones, to see what a table is worth where nobody measured
 *
 * One for each class: in the middle of the widest gap between neighbouring points, on the axis that varies (M, rows, or
 * the context length at one batch). The choices of both neighbours and the default are timed there. What the table says
 * of it, the choice below, over the best of them is the regret; the point itself never enters the table's ranges. */
#include "tuner.h"

#include <math.h>
#include <string.h>

struct gap {
    const struct point *below, *above;
    int axis;
    int64_t middle;
};

/* Are they at the same place but for one axis, a below b. */
static bool differ_on(const int64_t a[N_RANGES], const int64_t b[N_RANGES], int axis)
{
    for (int i = 0; i < N_RANGES; i++)
        if (i == axis ? a[i] >= b[i] : a[i] != b[i])
            return false;
    return true;
}

/* The point next above p on an axis. NULL: there is none. */
static const struct point *next_above(const struct shape_class *sc, const struct point *p, int axis)
{
    const struct point *next = NULL;
    int64_t at[N_RANGES], other[N_RANGES], least = INT64_MAX;
    problem_range(&p->problem, at);
    for (int i = 0; i < sc->n_points; i++) {
        problem_range(&sc->points[i].problem, other);
        if (!differ_on(at, other, axis) || other[axis] >= least)
            continue;
        least = other[axis];
        next = &sc->points[i];
    }
    return next;
}

/* False: no two points have room between them. */
static bool widest_gap(const struct shape_class *sc, struct gap *out)
{
    double widest = 1;
    for (int axis = N_RANGES - 1; axis >= 0 && widest == 1; axis--)
        for (int i = 0; i < sc->n_points; i++) {
            const struct point *p = &sc->points[i], *next = next_above(sc, p, axis);
            int64_t at[N_RANGES], above[N_RANGES];
            if (!next)
                continue;
            problem_range(&p->problem, at);
            problem_range(&next->problem, above);
            const double ratio = (double) above[axis] / (double) at[axis];
            if (above[axis] - at[axis] < 2 || ratio <= widest)
                continue;
            widest = ratio;
            *out = (struct gap){p, next, axis, llround(sqrt((double) at[axis] * (double) above[axis]))};
        }
    return widest > 1;
}

static bool set_point(struct shape_class *sc, const struct gap *gap)
{
    int64_t at[N_RANGES];
    problem_range(&gap->below->problem, at);
    at[gap->axis] = gap->middle;
    sc->holdout = (struct point){.holdout = true};
    return problem_at(&gap->below->problem, at, sc->holdout.text, &sc->holdout.problem);
}

static bool is_open(const struct search *s, const struct shape_class *sc, const struct candidate *c)
{
    const struct trial *t = journal_find(s->journal, c, sc->holdout.text);
    return !(t && (t->done || t->failures || t->passed_over)) &&
           !c->kernel->reject(&sc->holdout.problem, &s->facts->device, c->cfg);
}

bool search_holdout(const struct search *s, struct task *out)
{
    for (int class = 0; class < s->shapes->n; class ++) {
        struct shape_class *sc = &s->shapes->classes[class];
        struct gap gap;
        struct candidate three[3];
        if (!widest_gap(sc, &gap) || !set_point(sc, &gap))
            continue;
        const struct trial *below = winner_at(s->journal, &gap.below->problem);
        const struct trial *above = winner_at(s->journal, &gap.above->problem);
        if (!below || !above ||
            !candidate_default(&sc->holdout.problem, &s->facts->device, s->facts->denied, &three[0]))
            continue;
        three[1] = below->candidate;
        three[2] = above->candidate;
        for (int i = 0; i < 3; i++)
            if (is_open(s, sc, &three[i])) {
                *out = (struct task){.class = class, .tier = TIER_HOLDOUT, .candidate = three[i]};
                return true;
            }
    }
    return false;
}
