/* SPDX-License-Identifier: MIT
 * cross_validate.c - what the nearest table (level 5) and the analytic rule (level 6) cost a device that has a table
 *
 * For each table in data/ and each other one that is the nearest for its device, and for pretended neighbours of the
 * device itself (half and twice the compute units, another name): what each would choose at the points of the device's
 * own table, in the own table's times. Known are the times of the own choice, of the default, and for linear layers of
 * the best of each family; of everything else is told only how often it comes. A table does not have all limits of its
 * device: those assumed are in device_of(). Fails where a neighbour with the same limits does not get the very entry,
 * or gets it from elsewhere. */
#include "select.h"
#include "table.h"
#include "util.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct regret {
    int n_known, n_unknown, n_stale, n_elsewhere; /* elsewhere: not by the table of that level, or not at all */
    double sum_log, worst;                        /* of the known */
};

static struct device device_of(const struct table *t)
{
    const bool wide = strstr(t->device.name, "avx512") != NULL;
    struct device d = {.vendor_id = t->device.vendor_id,
                       .type = t->device.cpu ? CL_DEVICE_TYPE_CPU : CL_DEVICE_TYPE_GPU,
                       .compute_units = t->device.compute_units,
                       .float_lanes = t->device.cpu ? (wide ? 16 : 8) : 1,
                       .max_wg = t->device.cpu ? 4096 : 1024,
                       .max_items = {4096, 4096, 4096},
                       .local_bytes = t->device.local_bytes,
                       .global_bytes = (uint64_t) 16 << 30,
                       .max_alloc_bytes = (uint64_t) 4 << 30,
                       .cpu_like = t->device.cpu,
                       .fp16_storage = true,
                       .prefetch = t->device.cpu};
    snprintf(d.name, sizeof d.name, "%s", t->device.name);
    snprintf(d.vendor, sizeof d.vendor, "%s", t->device.vendor);
    snprintf(d.driver, sizeof d.driver, "%s", t->device.driver);
    snprintf(d.platform, sizeof d.platform, "%s", t->device.platform);
    return d;
}

static bool choose(const struct problem *p, const struct device *d, const struct table *t, int level,
                   struct choice *out)
{
    struct table_set set = {.n = t ? 1 : 0, .tables = {(struct table *) t}, .level = {level}};
    struct choice choices[MAX_CHOICES];
    int64_t at[N_RANGES];
    int n = 0, i = 0;
    if (select_choices(p, NULL, d, &set, NULL, choices, &n) != FDEC_OK)
        return false;
    problem_range(p, at);
    while (i < n - 1 && !range_contains(&choices[i].range, at))
        i++;
    *out = choices[i];
    return true;
}

/* Time of a choice at the entry's point, over the entry's own; 0: nobody has measured it. */
static double cost_of(const struct table_entry *e, const struct choice *own, const struct choice *analytic,
                      const struct choice *c)
{
    if (choice_equal(c, own))
        return 1;
    if (choice_equal(c, analytic) && e->default_us > 0)
        return e->default_us / e->median_us;
    const int family = e->op == OP_LINEAR ? table_family(c->kernel->family) : -1;
    return family >= 0 && strcmp(c->kernel->family, e->family) ? e->family_us[family] / e->median_us : 0;
}

static void count(struct regret *r, double cost)
{
    if (cost <= 0) {
        r->n_unknown++;
        return;
    }
    r->n_known++;
    r->sum_log += log(cost);
    r->worst = MAX(r->worst, cost);
}

/* What `from` (NULL: no table) gives a device at the points of its own table. */
static struct regret regret_of(const struct table *own, const struct device *d, const struct table *from, int level)
{
    struct regret r = {0};
    const struct device home = device_of(own);
    for (int i = 0; i < own->n_entries; i++) {
        const struct table_entry *e = &own->entries[i];
        struct choice mine, analytic, other;
        struct problem p;
        if (!table_entry_problem(e, &p) || !choose(&p, &home, own, LEVEL_EXACT, &mine) || mine.level != LEVEL_EXACT) {
            r.n_stale++;
            continue;
        }
        if (!choose(&p, &home, NULL, 0, &analytic) || !choose(&p, d, from, level, &other)) {
            r.n_elsewhere++;
            continue;
        }
        r.n_elsewhere += (int) other.level != level;
        count(&r, cost_of(e, &mine, &analytic, &other));
    }
    return r;
}

static void print_row(const char *device, const char *from, int level, const struct regret *r)
{
    printf("%-44.44s %-44.44s %d  ", device, from, level);
    r->n_known ? printf("%5.2f %5.2f", exp(r->sum_log / r->n_known), r->worst) : printf("    -     -");
    printf("  %4d %7d %5d\n", r->n_known, r->n_unknown, r->n_stale);
}

static void without_own(struct table *const *all, int n, int own)
{
    const struct device d = device_of(all[own]);
    for (int i = 0; i < n; i++) {
        const int level = i == own ? 0 : table_level(all[i], &d);
        if (!level)
            continue;
        const struct regret r = regret_of(all[own], &d, all[i], level);
        print_row(all[own]->path, all[i]->path, level, &r);
    }
    const struct regret r = regret_of(all[own], &d, NULL, LEVEL_ANALYTIC);
    print_row(all[own]->path, "no table", LEVEL_ANALYTIC, &r);
}

/* A neighbour of the device, so near that its table is the nearest: it gets the very entries, as all limits agree.
 * False: it does not. */
static bool with_neighbour(const struct table *t, int units, const char *what)
{
    struct device d = device_of(t);
    snprintf(d.name, sizeof d.name, "a neighbour");
    d.compute_units = MAX(units, 1);
    const int level = table_level(t, &d);
    const struct regret r = regret_of(t, &d, t, level);
    print_row(what, t->path, level, &r);
    return t->modelled ||
           (level == LEVEL_NEAREST && r.n_elsewhere == 0 && r.n_unknown == 0 && (r.n_known == 0 || r.worst == 1));
}

int main(void)
{
    enum { MOST = 64 };
    struct table *tables[MOST];
    int n = 0, failed = 0;
    for (const struct builtin_table *b = builtin_tables; b->name && n < MOST; b++)
        if (table_parse(b->text, strlen(b->text), b->name, &tables[n]) == FDEC_OK)
            n++;
        else
            failed += printf("FAIL: %s\n", fdec_last_error()) > 0;
    printf("%-44s %-44s level   mean worst  known unknown stale\n", "device", "its choices by the table of");
    for (int i = 0; i < n; i++) {
        without_own(tables, n, i);
        failed += !with_neighbour(tables[i], (tables[i]->device.compute_units + 1) / 2, "half its units");
        failed += !with_neighbour(tables[i], tables[i]->device.compute_units * 2, "twice its units");
    }
    for (int i = 0; i < n; i++)
        table_destroy(&tables[i]);
    if (failed)
        printf("%d failed: a neighbour is not given the entries of the nearest table\n", failed);
    return failed != 0;
}
