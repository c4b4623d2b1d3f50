/* SPDX-License-Identifier: MIT
 * tell.c - tables for people: what is in one, and how two differ */
#include "tuner.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void entry_range(const struct table_entry *e, char *buf, size_t n)
{
    const char *const *names = problem_range_names(e->op);
    *buf = 0;
    for (int i = 0; i < N_RANGES && names[i]; i++) {
        if (e->hi[i] == INT64_MAX)
            append(buf, n, "%s%s>=%lld", i ? " " : "", names[i], (long long) e->lo[i]);
        else if (e->hi[i] == e->lo[i] + 1)
            append(buf, n, "%s%s=%lld", i ? " " : "", names[i], (long long) e->lo[i]);
        else
            append(buf, n, "%s%s=%lld..%lld", i ? " " : "", names[i], (long long) e->lo[i], (long long) e->hi[i] - 1);
    }
}

/* "linear/vec-flat@3 MR=4 NR=6" */
static void entry_code(const struct table_entry *e, char *buf, size_t n)
{
    *buf = 0;
    append(buf, n, "%s@%u", e->kernel, e->rev);
    for (int i = 0; i < e->n_config; i++)
        append(buf, n, " %s=%d", e->config[i].name, e->config[i].value);
}

/* ---- one table ---- */

static void summary_entry(const struct table_entry *e, FILE *f)
{
    char range[120], code[400];
    entry_range(e, range, sizeof range);
    entry_code(e, code, sizeof code);
    fprintf(f, "    %-18s %s  %.3f us", range, code, e->median_us);
    if (e->default_us > 0)
        fprintf(f, ", default %.3f us (%.2fx)", e->default_us, e->default_us / e->median_us);
    if (e->holdout.median_us > 0) {
        const char *const *names = problem_range_names(e->op);
        const int axis = names[1] ? 1 : 0;
        fprintf(f, "; held out at %s=%lld: %.2f of the best", names[axis], (long long) e->holdout.at[axis],
                e->holdout.median_us / e->holdout.best_us);
    }
    fputc('\n', f);
}

/* Up to where M was measured: the last range ends with its point. */
static long long largest_m(const struct table *t, const char *class_text)
{
    long long m = 0;
    for (int i = 0; i < t->n_entries; i++)
        if (!strcmp(t->entries[i].class_text, class_text))
            m = MAX(m, (long long) (t->entries[i].hi[0] == INT64_MAX ? t->entries[i].lo[0] : t->entries[i].hi[0] - 1));
    return m;
}

static void summary_family(const struct table_entry *e, int family, const char *end, FILE *f)
{
    e->family_us[family] > 0 ? fprintf(f, "%s %.3f us%s", table_family_name(family), e->family_us[family], end)
                             : fprintf(f, "%s not timed%s", table_family_name(family), end);
}

static void summary_families(const struct table_entry *e, int below, int above, const char *end, FILE *f)
{
    fprintf(f, "%lld: ", (long long) e->point[0]);
    summary_family(e, below, ", ", f);
    summary_family(e, above, end, f);
}

/* "9 (8: gemv 90.1 us, flat 92.0 us; 9: gemv 99.3 us, flat 92.2 us)": the two families below and at the crossing. */
static void summary_side(const struct table *t, const char *class_text, int64_t m, int below, int above, FILE *f)
{
    const struct table_entry *before = NULL, *at = NULL;
    for (int i = 0; i < t->n_entries && m; i++) {
        const struct table_entry *e = &t->entries[i];
        if (strcmp(e->class_text, class_text))
            continue;
        before = e->hi[0] == m ? e : before;
        at = e->lo[0] == m ? e : at;
    }
    if (!at) {
        fprintf(f, "not crossed up to %lld", largest_m(t, class_text));
        return;
    }
    fprintf(f, "%lld (", (long long) m);
    if (before)
        summary_families(before, below, above, "; ", f);
    summary_families(at, below, above, "", f);
    fprintf(f, ")");
}

static void summary_crossing(const struct table *t, const struct table_crossing *c, FILE *f)
{
    fprintf(f, "    M1 ");
    summary_side(t, c->class_text, c->m1, FAMILY_GEMV, FAMILY_FLAT, f);
    fprintf(f, ", M2 ");
    summary_side(t, c->class_text, c->m2, FAMILY_FLAT, FAMILY_GEMM, f);
    fputc('\n', f);
}

static void summary_denied(const struct table_denied *d, FILE *f)
{
    fprintf(f, "denied: %s@%u", d->kernel, d->rev);
    for (int i = 0; i < d->n_config; i++)
        fprintf(f, " %s=%d", d->config[i].name, d->config[i].value);
    fprintf(f, "%s%s, %s\n", *d->class_text ? " for " : "", d->class_text, d->reason);
}

void table_summary(const struct table *t, FILE *f)
{
    fprintf(f, "%s, %s, driver %s: %d entries, %s, flashdec %s, seed %llu\n", t->device.name, t->device.platform,
            t->device.driver, t->n_entries, t->complete ? "complete" : "incomplete", t->tuner_version,
            (unsigned long long) t->seed);
    for (int i = 0; i < t->n_sources; i++)
        fprintf(f, "merged from %016llx: %d entries, %s, flashdec %s, seed %llu\n",
                (unsigned long long) t->sources[i].hash, t->sources[i].n_entries,
                t->sources[i].complete ? "complete" : "incomplete", t->sources[i].tuner_version,
                (unsigned long long) t->sources[i].seed);
    fprintf(f, "read %.1f GB/s, launch %.1f us\n", t->device.read_gbps, t->device.launch_us);
    for (int i = 0; i < t->n_entries; i++) {
        const struct table_entry *e = &t->entries[i];
        if (i == 0 || strcmp(e->class_text, e[-1].class_text)) {
            fprintf(f, "%s\n", e->class_text);
            for (int c = 0; c < t->n_crossings; c++)
                if (!strcmp(t->crossings[c].class_text, e->class_text))
                    summary_crossing(t, &t->crossings[c], f);
        }
        summary_entry(e, f);
    }
    for (int i = 0; i < t->n_denied; i++)
        summary_denied(&t->denied[i], f);
}

/* ---- two tables ---- */

static const struct table_entry *entry_at(const struct table *t, const struct table_entry *like)
{
    for (int i = 0; i < t->n_entries; i++)
        if (!strcmp(t->entries[i].class_text, like->class_text) &&
            !memcmp(t->entries[i].point, like->point, sizeof like->point))
            return &t->entries[i];
    return NULL;
}

/* Further apart than both medians' 95 % intervals. */
static bool times_differ(const struct table_entry *a, const struct table_entry *b)
{
    return fabs(a->median_us - b->median_us) > 0.5 * (a->ci95_us + b->ci95_us);
}

struct difference {
    FILE *f;
    const char *class_text; /* of the last line's heading */
    int n_same, n_moved, n_changed, n_gone, n_new;
};

static void heading(struct difference *d, const struct table_entry *e)
{
    if (!d->class_text || strcmp(d->class_text, e->class_text))
        fprintf(d->f, "%s\n", e->class_text);
    d->class_text = e->class_text;
}

static void lone_entry(struct difference *d, const struct table_entry *e, char sign)
{
    char range[120], code[400];
    heading(d, e);
    entry_range(e, range, sizeof range);
    entry_code(e, code, sizeof code);
    fprintf(d->f, "  %c %-18s %s  %.3f us\n", sign, range, code, e->median_us);
}

static void compare_entry(struct difference *d, const struct table_entry *a, const struct table_entry *b)
{
    char range_a[120], range_b[120], code_a[400], code_b[400];
    entry_range(a, range_a, sizeof range_a);
    entry_range(b, range_b, sizeof range_b);
    entry_code(a, code_a, sizeof code_a);
    entry_code(b, code_b, sizeof code_b);
    const bool same_code = !strcmp(code_a, code_b), same_range = !strcmp(range_a, range_b);
    if (same_code && same_range && !times_differ(a, b)) {
        d->n_same++;
        return;
    }
    *(same_code && same_range ? &d->n_moved : &d->n_changed) += 1;
    heading(d, a);
    fprintf(d->f, "    %-18s %s  %.3f us ->", range_a, code_a, a->median_us);
    if (!same_range)
        fprintf(d->f, " %s", range_b);
    if (!same_code)
        fprintf(d->f, " %s ", code_b);
    fprintf(d->f, " %.3f us (%.2fx)\n", b->median_us, a->median_us / b->median_us);
}

void table_diff(const struct table *a, const struct table *b, FILE *f)
{
    struct difference d = {.f = f};
    const struct table *const both[] = {a, b};
    for (int i = 0; i < 2; i++)
        fprintf(f, "%c %s: %s, %s, driver %s, read %.1f GB/s, launch %.1f us, %d entries, %s\n", "-+"[i],
                both[i] -> path, both[i] -> device.name, both[i]->device.platform, both[i]->device.driver,
                both[i]->device.read_gbps, both[i]->device.launch_us, both[i]->n_entries,
                both[i]->complete ? "complete" : "incomplete");
    for (int i = 0; i < a->n_entries; i++) {
        const struct table_entry *other = entry_at(b, &a->entries[i]);
        if (other) {
            compare_entry(&d, &a->entries[i], other);
        } else {
            lone_entry(&d, &a->entries[i], '-');
            d.n_gone++;
        }
    }
    for (int i = 0; i < b->n_entries; i++)
        if (!entry_at(a, &b->entries[i])) {
            lone_entry(&d, &b->entries[i], '+');
            d.n_new++;
        }
    fprintf(f, "%d the same, %d with another time, %d with another choice or range, %d gone, %d new\n", d.n_same,
            d.n_moved, d.n_changed, d.n_gone, d.n_new);
}
