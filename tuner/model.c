/* SPDX-License-Identifier: MIT
 * model.c - roofline and occupancy: what a candidate can reach at best, from its geometry alone
 *
 * Of the time at the roofline, bytes over the measured read rate, a candidate keeps the share in which the compute
 * units are busy: with few groups some have none, and in the last wave of groups some have none left. Launches come
 * on top. The model says nothing of what a group does, so it orders candidates and decides nothing. */
#include "tuner.h"

static int64_t product(const size_t x[3])
{
    int64_t n = 1;
    for (int i = 0; i < 3 && x[i]; i++)
        n *= (int64_t) x[i];
    return n;
}

/* Groups that are on the device at once: one for each unit of a CPU; of a GPU's, which hide latency by taking turns,
 * what work-items it holds. */
static double resident(const struct device *d, int64_t group)
{
    const double items_of_unit = 2048, most_groups = 32;
    return d->cpu_like ? d->compute_units : d->compute_units * MAX(MIN(items_of_unit / (double) group, most_groups), 1);
}

/* The share of the units' time that the groups of a launch fill, 0..1. */
static double busy_share(const struct launch *l, const struct device *d)
{
    const int64_t group = l->local[0] ? product(l->local) : 1;
    const double waves = (double) product(l->global) / (double) group / resident(d, group);
    const int64_t whole = (int64_t) waves + (waves > (double) (int64_t) waves);
    return waves / (double) MAX(whole, 1);
}

double model_share(const struct problem *p, const struct facts *f, const struct candidate *c)
{
    const double read_bytes_per_us = f->measured && f->read_gbps > 0 ? f->read_gbps * 1e3 : 1e4;
    const double launch_us = f->measured ? f->launch_us : 5, roof_us = problem_bytes(p) / read_bytes_per_us;
    if (c->kernel->host_run) /* another library's: nothing is known of its launches */
        return 0.5;
    const struct geometry g = c->kernel->geometry(p, &f->device, c->cfg);
    const struct launch *most = &g.launch[g.first];
    for (int i = g.first; i < g.n_launches; i++)
        if (product(g.launch[i].global) > product(most->global))
            most = &g.launch[i];
    return roof_us / (roof_us / busy_share(most, &f->device) + (g.n_launches - g.first) * launch_us);
}
