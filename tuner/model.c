/* SPDX-License-Identifier: MIT
 * model.c - roofline and occupancy: what a candidate can reach at best, from its geometry alone
 *
 * Of the time at the roofline, bytes over the read rate, or operations over the card's, a candidate keeps the share in
 * which the compute units are busy: with few groups some have none, and in the last wave of groups some have none left.
 * Where the resources of its kernel are known, so is how many groups a unit holds, and whether what they can have under
 * way at a time covers the latency of memory. Launches come on top. The model says nothing of what a group does, so it
 * orders candidates and decides nothing that can be measured. */
#include "tuner.h"

static int64_t product(const size_t x[3])
{
    int64_t n = 1;
    for (int i = 0; i < 3 && x[i]; i++)
        n *= (int64_t) x[i];
    return n;
}

static int64_t group_of(const struct launch *l)
{
    return l->local[0] ? product(l->local) : 1;
}

int model_launch(const struct problem *p, const struct device *d, const struct candidate *c)
{
    const struct geometry g = c->kernel->geometry(p, d, c->cfg);
    int most = g.first;
    for (int i = g.first; i < g.n_launches; i++)
        if (product(g.launch[i].global) > product(g.launch[most].global))
            most = i;
    return most;
}

/* Groups that are on the device at once: one for each unit of a CPU; of a GPU's, which hide latency by taking turns,
 * what work-items it holds. */
static double resident(const struct device *d, const struct target *t, const struct resources *r, int64_t group)
{
    const double items_of_unit = 2048, most_groups = 32;
    if (d->cpu_like)
        return d->compute_units;
    const double items = t && r ? t->unit_items * r->occupancy / 100.0 : items_of_unit;
    return d->compute_units * MAX(MIN(items / (double) group, most_groups), 1);
}

/* The share of the units' time that the groups of a launch fill, 0..1. */
static double busy_share(const struct launch *l, double at_once)
{
    const double waves = (double) product(l->global) / (double) group_of(l) / at_once;
    const int64_t whole = (int64_t) waves + (waves > (double) (int64_t) waves);
    return waves / (double) MAX(whole, 1);
}

/* The share of the read rate that loads under way can fill: a few of the widest for each item, against what has to be
 * under way for as long as memory takes to answer. */
static double latency_share(const struct target *t, const struct resources *r, const struct launch *l, double at_once)
{
    const double latency_us = 0.7, loads_of_item = 2;
    const double items = MIN(at_once * (double) group_of(l), (double) product(l->global));
    return MIN(items * loads_of_item * r->load_bits / 8 / (t->facts.read_gbps * 1e3 * latency_us), 1);
}

static double roof_us(const struct problem *p, const struct facts *f, const struct target *t)
{
    const double bytes_per_us = f->measured && f->read_gbps > 0 ? f->read_gbps * 1e3 : 1e4;
    const double work_us = t ? problem_flops(p) / (t->f32_gflops * 1e3) : 0;
    return MAX(problem_bytes(p) / bytes_per_us, work_us);
}

double model_us(const struct problem *p, const struct facts *f, const struct target *t, const struct candidate *c,
                const struct resources *r)
{
    const double roof = roof_us(p, f, t), launch_us = f->measured ? f->launch_us : 5;
    if (c->kernel->host_run) /* another library's: nothing is known of its launches */
        return 2 * roof;
    const struct geometry g = c->kernel->geometry(p, &f->device, c->cfg);
    const struct launch *most = &g.launch[model_launch(p, &f->device, c)];
    const double at_once = resident(&f->device, t, r, group_of(most));
    const double share = busy_share(most, at_once) * (t && r ? latency_share(t, r, most, at_once) : 1);
    return roof / MAX(share, 1e-3) + (g.n_launches - g.first) * launch_us;
}

double model_share(const struct problem *p, const struct facts *f, const struct candidate *c)
{
    return roof_us(p, f, NULL) / model_us(p, f, NULL, c, NULL);
}
