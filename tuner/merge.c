/* SPDX-License-Identifier: MIT
 * merge.c - one table out of several of the same device
 *
 * The ranges of a class belong together, since each ends where the next point was measured, so a class is taken whole
 * from one table: from a complete one before others, then from the one with more entries, then with the narrower
 * intervals. Where three or more tables have timed the same configuration at the same point, one whose time over the
 * default's is a quarter off the median of all is an outlier there, and its class is not taken. The same tables in any
 * order give the same bytes. */
#include "tuner.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The widest 95 % interval of the tables in data/ is +-10 % of its median, on a busy machine of two cores: two tables
 * at its two ends are 1.1 / 0.9 = 1.22 apart by chance. */
static const double far_off = 1.25;

struct input {
    const struct table *table;
    uint64_t hash;
};

struct merge {
    int n;
    struct input *in;
    bool by_order; /* the first that has a class gives it */
    FILE *told;    /* of outliers */
};

bool table_has_class(const struct table *t, const char *class_text)
{
    for (int i = 0; i < t->n_entries; i++)
        if (!strcmp(t->entries[i].class_text, class_text))
            return true;
    return false;
}

/* The hash is of what stands below the head, so that two tables may differ in the head alone. */
static int by_content(const void *a, const void *b)
{
    const struct input *x = a, *y = b;
    int order = (x->hash > y->hash) - (x->hash < y->hash);
    order = order ? order : y->table->complete - x->table->complete;
    order = order ? order : (x->table->seed > y->table->seed) - (x->table->seed < y->table->seed);
    return order ? order : strcmp(x->table->tuner_version, y->table->tuner_version);
}

static double over_default(const struct table_entry *e)
{
    return e->default_us > 0 ? e->median_us / e->default_us : 0;
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *) a, y = *(const double *) b;
    return (x > y) - (x < y);
}

static bool same_measurement(const struct table_entry *a, const struct table_entry *b)
{
    return !strcmp(a->class_text, b->class_text) && !strcmp(a->kernel, b->kernel) && a->rev == b->rev &&
           a->n_config == b->n_config && !memcmp(a->point, b->point, sizeof a->point) &&
           !memcmp(a->config, b->config, (size_t) a->n_config * sizeof *a->config);
}

static const struct table_entry *same_in(const struct table *t, const struct table_entry *e)
{
    for (int i = 0; i < t->n_entries; i++)
        if (same_measurement(&t->entries[i], e))
            return &t->entries[i];
    return NULL;
}

static bool is_outlier(const struct merge *m, const struct table_entry *e, double *median)
{
    double all[64];
    int n = 0;
    for (int i = 0; i < m->n && n < (int) ARRAY_LEN(all); i++) {
        const struct table_entry *other = same_in(m->in[i].table, e);
        if (other && over_default(other) > 0)
            all[n++] = over_default(other);
    }
    if (n < 3 || over_default(e) <= 0)
        return false;
    qsort(all, (size_t) n, sizeof *all, compare_doubles);
    *median = 0.5 * (all[(n - 1) / 2] + all[n / 2]);
    return fabs(log(over_default(e) / *median)) > log(far_off);
}

/* How good a table is for a class; n_entries 0: it does not have it. */
struct merit {
    bool complete;
    int n_entries;
    double width; /* mean 95 % interval over the median */
};

static struct merit merit_of(const struct merge *m, const struct input *in, const char *class_text, bool *outlier)
{
    struct merit merit = {.complete = in->table->complete};
    double median = 0;
    *outlier = false;
    for (int i = 0; i < in->table->n_entries; i++) {
        const struct table_entry *e = &in->table->entries[i];
        if (strcmp(e->class_text, class_text))
            continue;
        merit.n_entries++;
        merit.width += e->ci95_us / e->median_us;
        if (*outlier || m->by_order || !is_outlier(m, e, &median))
            continue;
        *outlier = true;
        fprintf(m->told, "%s: %s is %.2f of the default, %.2f in the median of all tables: its class is not taken\n",
                in->table->path, class_text, over_default(e), median);
    }
    merit.width /= MAX(merit.n_entries, 1);
    return merit;
}

static bool better(const struct merit *a, const struct merit *b)
{
    if (a->complete != b->complete)
        return a->complete;
    if (a->n_entries != b->n_entries)
        return a->n_entries > b->n_entries;
    return a->width < b->width;
}

/* The table that gives a class; NULL: all of them are outliers. */
static const struct table *source_of(const struct merge *m, const char *class_text)
{
    const struct table *source = NULL;
    struct merit best = {0};
    for (int i = 0; i < m->n; i++) {
        bool outlier;
        const struct merit merit = merit_of(m, &m->in[i], class_text, &outlier);
        if (merit.n_entries == 0 || outlier || (source && (m->by_order || !better(&merit, &best))))
            continue;
        source = m->in[i].table;
        best = merit;
    }
    return source;
}

static void take_class(struct table *out, const struct table *from, const char *class_text)
{
    for (int i = 0; i < from->n_entries; i++)
        if (!strcmp(from->entries[i].class_text, class_text))
            out->entries[out->n_entries++] = from->entries[i];
}

/* Each class once, from the table that is best for it. */
static void take_entries(const struct merge *m, struct table *out)
{
    for (int t = 0; t < m->n; t++) {
        const struct table *table = m->in[t].table;
        for (int i = 0; i < table->n_entries; i++) {
            const char *class_text = table->entries[i].class_text;
            bool seen = i > 0 && !strcmp(table->entries[i - 1].class_text, class_text);
            for (int before = 0; before < t && !seen; before++)
                seen = table_has_class(m->in[before].table, class_text);
            const struct table *source = seen ? NULL : source_of(m, class_text);
            if (source)
                take_class(out, source, class_text);
        }
    }
}

static bool same_denied(const struct table_denied *a, const struct table_denied *b)
{
    return !strcmp(a->kernel, b->kernel) && a->rev == b->rev && !strcmp(a->class_text, b->class_text) &&
           a->n_config == b->n_config && !memcmp(a->config, b->config, (size_t) a->n_config * sizeof *a->config);
}

static void take_denied(const struct merge *m, struct table *out)
{
    for (int t = 0; t < m->n; t++)
        for (int i = 0; i < m->in[t].table->n_denied; i++) {
            const struct table_denied *d = &m->in[t].table->denied[i];
            int known = 0;
            while (known < out->n_denied && !same_denied(&out->denied[known], d))
                known++;
            if (known == out->n_denied)
                out->denied[out->n_denied++] = *d;
        }
}

static void add_source(struct table *out, const struct table_source *s)
{
    for (int i = 0; i < out->n_sources; i++)
        if (out->sources[i].hash == s->hash)
            return;
    if (out->n_sources < TABLE_MAX_SOURCES)
        out->sources[out->n_sources++] = *s;
}

/* Each input; then, while there is room, what those were merged from. By order the first is the table itself, to which
 * others add. */
static void take_sources(const struct merge *m, struct table *out)
{
    for (int t = m->by_order ? 1 : 0; t < m->n; t++) {
        const struct table *table = m->in[t].table;
        struct table_source own = {
            .hash = m->in[t].hash, .seed = table->seed, .n_entries = table->n_entries, .complete = table->complete};
        snprintf(own.tuner_version, sizeof own.tuner_version, "%s", table->tuner_version);
        add_source(out, &own);
    }
    for (int t = 0; t < m->n; t++)
        for (int i = 0; i < m->in[t].table->n_sources; i++)
            add_source(out, &m->in[t].table->sources[i]);
}

static fdec_status make_room(const struct merge *m, struct table *out)
{
    size_t entries = 1, denied = 1, sources = 1;
    fdec_status st = FDEC_OK;
    for (int t = 0; t < m->n; t++) {
        entries += (size_t) m->in[t].table->n_entries;
        denied += (size_t) m->in[t].table->n_denied;
        sources += (size_t) m->in[t].table->n_sources + 1;
    }
    try_alloc(out->entries = calloc(entries, sizeof *out->entries));
    try_alloc(out->denied = calloc(denied, sizeof *out->denied));
    try_alloc(out->sources = calloc(sources, sizeof *out->sources));
out:
    return st;
}

static fdec_status check_devices(const struct merge *m)
{
    const struct table_device *a = &m->in[0].table->device;
    for (int t = 1; t < m->n; t++) {
        const struct table_device *b = &m->in[t].table->device;
        if (strcmp(a->name, b->name) || strcmp(a->driver, b->driver) || strcmp(a->platform, b->platform) ||
            a->vendor_id != b->vendor_id || a->cpu != b->cpu || a->compute_units != b->compute_units ||
            a->local_bytes != b->local_bytes || m->in[0].table->modelled != m->in[t].table->modelled)
            return fail(FDEC_E_DATA, "%s is of %s, %s, driver %s, %d units; %s of %s, %s, driver %s, %d units%s",
                        m->in[0].table->path, a->name, a->platform, a->driver, a->compute_units, m->in[t].table->path,
                        b->name, b->platform, b->driver, b->compute_units,
                        m->in[0].table->modelled != m->in[t].table->modelled ? ", and one of them is modelled" : "");
    }
    return FDEC_OK;
}

static void set_head(const struct merge *m, struct table *out)
{
    const struct table *first = m->in[0].table;
    snprintf(out->tuner_version, sizeof out->tuner_version, "%s", fdec_version());
    out->seed = first->seed;
    out->device = first->device;
    out->modelled = first->modelled;
    out->complete = true;
    for (int t = 0; t < m->n; t++) {
        const struct table *table = m->in[t].table;
        out->complete = out->complete && table->complete;
        out->device.read_gbps = MAX(out->device.read_gbps, table->device.read_gbps);
        if (table->device.launch_us > 0)
            out->device.launch_us = MIN(out->device.launch_us, table->device.launch_us);
    }
}

fdec_status table_merge(const struct table *const *tables, int n, bool by_order, FILE *told, struct table **out)
{
    fdec_status st = FDEC_OK;
    struct merge m = {.by_order = by_order, .told = told};
    struct table *t = calloc(1, sizeof *t);
    try_alloc(t);
    try_alloc(m.in = calloc((size_t) n, sizeof *m.in));
    for (; m.n < n; m.n++) {
        m.in[m.n].table = tables[m.n];
        try_st(table_hash(tables[m.n], &m.in[m.n].hash));
    }
    if (!by_order)
        qsort(m.in, (size_t) n, sizeof *m.in, by_content);
    try_st(check_devices(&m));
    try_st(make_room(&m, t));
    set_head(&m, t);
    take_entries(&m, t);
    take_denied(&m, t);
    take_sources(&m, t);
    try_st(table_derive_crossings(t));
    *out = t;
    t = NULL;
out:
    free(m.in);
    table_destroy(&t);
    return st;
}
