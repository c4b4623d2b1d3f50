/* SPDX-License-Identifier: MIT
 * table_print.c - what every table must satisfy, and a table as text
 *
 * The text is canonical: everything sorted, numbers whole, one entry a line. So equal tables are equal files, and the
 * hash in the head is that of the text the content would be printed as, whatever the file it was read from is like. */
#include "table.h"
#include "util.h"
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double max_us = 1e9, max_gbps = 1e6; /* far beyond anything real */

static const char *const family_names[N_FAMILIES] = {
    [FAMILY_GEMV] = "gemv", [FAMILY_FLAT] = "flat", [FAMILY_GEMM] = "gemm"};

const char *table_family_name(int family)
{
    return family_names[family];
}

int table_family(const char *name)
{
    for (int i = 0; i < N_FAMILIES; i++)
        if (!strcmp(family_names[i], name))
            return i;
    return -1;
}

/* ---- what a table must satisfy ---- */

/* Thousandths: us as ns, GB/s as MB/s. */
static int64_t thousandths(double x)
{
    return llround(x * 1e3);
}

static bool is_between(double x, double lo, double hi)
{
    return x >= lo && x <= hi; /* false for NaN */
}

/* One or more characters, none outside printable ASCII, and only those of the set (NULL: any). */
static bool is_text(const char *s, const char *set)
{
    const char *c = s;
    while (*c >= ' ' && *c <= '~' && (!set || strchr(set, *c)))
        c++;
    return c > s && !*c;
}

static const char name_set[] = "abcdefghijklmnopqrstuvwxyz0123456789_-";
static const char param_set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";

/* Sets op to that of a class in its one canonical spelling. */
static bool parse_class(const char *text, enum op *op)
{
    struct problem p;
    char err[128], canonical[PROBLEM_TEXT];
    if (!problem_parse(text, &p, err, sizeof err))
        return false;
    problem_class(&p, canonical);
    *op = p.op;
    return !strcmp(canonical, text);
}

static bool is_kernel_name(const char *name, enum op op)
{
    const char *of = operations[op].name;
    const size_t n = strlen(of);
    return !strncmp(name, of, n) && name[n] == '/' && is_text(name + n + 1, name_set);
}

static const char *wrong_device(const struct table_device *d)
{
    if (!is_text(d->name, NULL) || !is_text(d->vendor, NULL) || !is_text(d->driver, NULL) ||
        !is_text(d->platform, NULL) || !is_text(d->architecture, NULL))
        return "a name is empty or not printable ASCII";
    if (d->compute_units < 1 || d->local_bytes > INT32_MAX)
        return "compute_units or local_bytes is out of range";
    if (!is_between(d->read_gbps, 0, max_gbps) || !is_between(d->launch_us, 0, max_us))
        return "read_mbps or launch_ns is out of range";
    return NULL;
}

static const char *wrong_range(const struct table_entry *e)
{
    const char *const *names = problem_range_names(e->op);
    for (int i = 0; i < N_RANGES; i++) {
        if (!names[i] && (e->lo[i] != 1 || e->hi[i] != 2 || e->point[i] != 1))
            return "the operation has one range number";
        if (e->lo[i] < 1 || e->hi[i] <= e->lo[i] || (e->hi[i] > INT32_MAX && e->hi[i] != INT64_MAX))
            return "the range is empty, negative or too large";
        if (e->point[i] < e->lo[i] || e->point[i] >= e->hi[i] || e->point[i] > INT32_MAX)
            return "the measured point is outside the range";
    }
    return NULL;
}

static const char *wrong_config(const struct table_value *config, int n)
{
    if (n < 0 || n > MAX_PARAMS)
        return "too many configuration values";
    for (int i = 0; i < n; i++) {
        if (!is_text(config[i].name, param_set))
            return "the configuration has a malformed name";
        if (i && strcmp(config[i - 1].name, config[i].name) >= 0)
            return "the configuration has a name twice";
    }
    return NULL;
}

static const char *wrong_times(const struct table_entry *e, bool modelled)
{
    if (!is_between(e->median_us, 1e-3, max_us) || !is_between(e->ci95_us, 0, max_us) ||
        !is_between(e->default_us, 0, max_us))
        return "a time is out of range";
    if (e->samples < (modelled ? 0 : 1))
        return "there are no samples";
    if (!is_between(e->error_ratio, 0, 1))
        return "error_ppm is outside 0..1000000";
    const int own = e->op == OP_LINEAR ? table_family(e->family) : -1;
    if (e->op == OP_LINEAR && own < 0)
        return "the family is none of gemv, flat, gemm";
    for (int i = 0; i < N_FAMILIES; i++) {
        const double us = e->family_us[i];
        if (!is_between(us, i == own ? 1e-3 : 0, e->op == OP_LINEAR ? max_us : 0))
            return "family_ns is out of range, lacks the entry's own family, or is not for this operation";
    }
    return NULL;
}

static const char *wrong_holdout(const struct table_entry *e)
{
    if (e->holdout.median_us == 0)
        return NULL;
    for (int i = 0; i < N_RANGES; i++)
        if (e->holdout.at[i] < e->lo[i] || e->holdout.at[i] >= e->hi[i])
            return "the hold-out is outside the range";
    if (!is_between(e->holdout.best_us, 1e-3, max_us) || !is_between(e->holdout.median_us, e->holdout.best_us, max_us))
        return "a time of the hold-out is out of range, or less than the best";
    return NULL;
}

static const char *wrong_entry(const struct table_entry *e, bool modelled)
{
    enum op op;
    if (!parse_class(e->class_text, &op) || op != e->op)
        return "the class is no class";
    if (!is_kernel_name(e->kernel, op) || !is_text(e->family, name_set))
        return "the kernel or its family has a malformed name";
    const char *why = wrong_range(e);
    why = why ? why : wrong_config(e->config, e->n_config);
    why = why ? why : wrong_holdout(e);
    return why ? why : wrong_times(e, modelled);
}

static int by_class_and_range(const void *a, const void *b)
{
    const struct table_entry *x = a, *y = b;
    int order = strcmp(x->class_text, y->class_text);
    for (int i = 0; i < N_RANGES && !order; i++)
        order = (x->lo[i] > y->lo[i]) - (x->lo[i] < y->lo[i]);
    return order;
}

/* Entries of one class are sorted by lo[0], so only those that begin before e ends on axis 0 can overlap it. */
static bool overlaps_later(const struct table_entry *e, const struct table_entry *end)
{
    for (const struct table_entry *f = e + 1; f < end && f->lo[0] < e->hi[0]; f++) {
        if (strcmp(f->class_text, e->class_text))
            return false;
        if (f->lo[1] < e->hi[1] && e->lo[1] < f->hi[1])
            return true;
    }
    return false;
}

static fdec_status check_entries(const struct table *t)
{
    if (t->n_entries < 0 || t->n_entries > TABLE_MAX_ENTRIES)
        return fail(FDEC_E_DATA, "%d entries, the limit is %d", t->n_entries, TABLE_MAX_ENTRIES);
    for (int i = 0; i < t->n_entries; i++) {
        const struct table_entry *e = &t->entries[i];
        const char *why = wrong_entry(e, t->modelled);
        if (!why && i && by_class_and_range(e - 1, e) > 0)
            why = "the entries are not sorted";
        if (!why && overlaps_later(e, t->entries + t->n_entries))
            why = "the next entry overlaps this one";
        if (why)
            return fail(FDEC_E_DATA, "entries[%d]: %s", i, why);
    }
    return FDEC_OK;
}

static struct table_crossing crossing_of(const struct table_entry *e, int n)
{
    struct table_crossing c = {0};
    int first_flat = 0, first_gemm = 0; /* behind the last gemv; behind the last that is not gemm */
    memcpy(c.class_text, e->class_text, sizeof c.class_text);
    for (int i = 0; i < n; i++) {
        first_flat = table_family(e[i].family) == FAMILY_GEMV ? i + 1 : first_flat;
        first_gemm = table_family(e[i].family) != FAMILY_GEMM ? i + 1 : first_gemm;
        c.max_m = MAX(c.max_m, e[i].hi[0] == INT64_MAX ? e[i].point[0] : e[i].hi[0] - 1);
    }
    if (first_flat < n) {
        c.m1 = e[first_flat].lo[0];
        c.m1_gemv_us = e[first_flat].family_us[FAMILY_GEMV];
        c.m1_flat_us = e[first_flat].family_us[FAMILY_FLAT];
    }
    if (first_gemm < n) {
        c.m2 = e[first_gemm].lo[0];
        c.m2_flat_us = e[first_gemm].family_us[FAMILY_FLAT];
        c.m2_gemm_us = e[first_gemm].family_us[FAMILY_GEMM];
    }
    return c;
}

/* Crossings of sorted entries; malloc'ed. */
static fdec_status derive(const struct table *t, struct table_crossing **out, int *n)
{
    *n = 0;
    *out = calloc((size_t) t->n_entries + 1, sizeof **out);
    if (!*out)
        return fail(FDEC_E_MEMORY, "out of memory for crossings");
    for (int i = 0, next; i < t->n_entries; i = next) {
        for (next = i + 1; next < t->n_entries; next++)
            if (strcmp(t->entries[next].class_text, t->entries[i].class_text))
                break;
        if (!strncmp(t->entries[i].class_text, "linear:", 7))
            (*out)[(*n)++] = crossing_of(&t->entries[i], next - i);
    }
    return FDEC_OK;
}

static bool same_crossing(const struct table_crossing *a, const struct table_crossing *b)
{
    return !strcmp(a->class_text, b->class_text) && a->m1 == b->m1 && a->m2 == b->m2 && a->max_m == b->max_m &&
           thousandths(a->m1_gemv_us) == thousandths(b->m1_gemv_us) &&
           thousandths(a->m1_flat_us) == thousandths(b->m1_flat_us) &&
           thousandths(a->m2_flat_us) == thousandths(b->m2_flat_us) &&
           thousandths(a->m2_gemm_us) == thousandths(b->m2_gemm_us);
}

static fdec_status check_crossings(const struct table *t)
{
    struct table_crossing *want;
    int n;
    fdec_status st = derive(t, &want, &n);
    if (st == FDEC_OK && n != t->n_crossings)
        st = fail(FDEC_E_DATA, "%d crossings, the entries give %d", t->n_crossings, n);
    for (int i = 0; st == FDEC_OK && i < n; i++)
        if (!same_crossing(&want[i], &t->crossings[i]))
            st = fail(FDEC_E_DATA, "crossings[%d] disagrees with the entries, which give m1 %" PRId64 ", m2 %" PRId64,
                      i, want[i].m1, want[i].m2);
    free(want);
    return st;
}

static int by_kernel(const void *a, const void *b)
{
    const struct table_denied *x = a, *y = b;
    int order = strcmp(x->kernel, y->kernel);
    order = order ? order : (x->rev > y->rev) - (x->rev < y->rev);
    order = order ? order : strcmp(x->class_text, y->class_text);
    order = order ? order : (x->n_config > y->n_config) - (x->n_config < y->n_config);
    for (int i = 0; i < x->n_config && !order; i++) {
        order = strcmp(x->config[i].name, y->config[i].name);
        order = order ? order : (x->config[i].value > y->config[i].value) - (x->config[i].value < y->config[i].value);
    }
    return order;
}

static fdec_status check_denied(const struct table *t)
{
    for (int i = 0; i < t->n_denied; i++) {
        const struct table_denied *d = &t->denied[i];
        const char *slash = strchr(d->kernel, '/'), *why = wrong_config(d->config, d->n_config);
        enum op op;
        if (!slash || !is_text(slash + 1, name_set) || !is_text(d->kernel, NULL) || !is_text(d->reason, NULL))
            return fail(FDEC_E_DATA, "deny[%d]: a name or reason is malformed", i);
        if (why || (*d->class_text && !parse_class(d->class_text, &op)))
            return fail(FDEC_E_DATA, "deny[%d]: %s", i, why ? why : "the class is no class");
        if (i && by_kernel(d - 1, d) >= 0)
            return fail(FDEC_E_DATA, "deny[%d]: not sorted, or twice", i);
    }
    return FDEC_OK;
}

static int by_source_hash(const void *a, const void *b)
{
    const struct table_source *x = a, *y = b;
    return (x->hash > y->hash) - (x->hash < y->hash);
}

static fdec_status check_sources(const struct table *t)
{
    if (t->n_sources > TABLE_MAX_SOURCES)
        return fail(FDEC_E_DATA, "merged_from has %d tables, the limit is %d", t->n_sources, TABLE_MAX_SOURCES);
    for (int i = 0; i < t->n_sources; i++) {
        const struct table_source *s = &t->sources[i];
        if (!is_text(s->tuner_version, NULL) || s->seed > INT64_MAX || s->n_entries < 0)
            return fail(FDEC_E_DATA, "merged_from[%d]: a value is out of range", i);
        if (i && by_source_hash(s - 1, s) >= 0)
            return fail(FDEC_E_DATA, "merged_from[%d]: not sorted, or twice", i);
    }
    return FDEC_OK;
}

fdec_status table_check(const struct table *t)
{
    fdec_status st = FDEC_OK;
    const char *why = wrong_device(&t->device);
    if (why)
        return fail(FDEC_E_DATA, "device: %s", why);
    if (!is_text(t->tuner_version, NULL) || t->seed > INT64_MAX)
        return fail(FDEC_E_DATA, "tuner_version or seed is out of range");
    try_st(check_entries(t));
    try_st(check_crossings(t));
    try_st(check_denied(t));
    try_st(check_sources(t));
out:
    return st;
}

/* ---- text ---- */

struct text {
    char *s;
    size_t n, room;
    bool failed; /* out of memory */
};

static void put(struct text *out, const char *s)
{
    const size_t n = strlen(s);
    if (out->n + n + 1 > out->room) {
        const size_t room = 2 * out->room + n + 1;
        char *grown = out->failed ? NULL : realloc(out->s, room);
        if (!grown) {
            out->failed = true;
            return;
        }
        out->s = grown;
        out->room = room;
    }
    memcpy(out->s + out->n, s, n + 1);
    out->n += n;
}

/* One line: before, the object, after. Takes the object. */
static void put_json(struct text *out, const char *before, json_t *object, const char *after)
{
    char *s = object ? json_dumps(object, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;
    json_decref(object);
    if (!s) {
        out->failed = true;
        return;
    }
    put(out, before);
    put(out, s);
    put(out, after);
    free(s);
}

static json_t *json_device(const struct table_device *d)
{
    return json_pack("{s:s,s:s,s:s,s:s,s:s,s:I,s:b,s:I,s:I,s:I,s:I}", "name", d->name, "vendor", d->vendor, "driver",
                     d->driver, "platform", d->platform, "architecture", d->architecture, "vendor_id",
                     (json_int_t) d->vendor_id, "cpu", d->cpu, "compute_units", (json_int_t) d->compute_units,
                     "local_bytes", (json_int_t) d->local_bytes, "read_mbps", (json_int_t) thousandths(d->read_gbps),
                     "launch_ns", (json_int_t) thousandths(d->launch_us));
}

static json_t *json_config(const struct table_value *config, int n)
{
    json_t *o = json_object();
    for (int i = 0; i < n; i++)
        json_object_set_new(o, config[i].name, json_integer(config[i].value));
    return o;
}

static json_t *json_holdout(const struct table_entry *e)
{
    const char *const *names = problem_range_names(e->op);
    json_t *at = json_object();
    for (int i = 0; i < N_RANGES && names[i]; i++)
        json_object_set_new(at, names[i], json_integer(e->holdout.at[i]));
    return json_pack("{s:o,s:I,s:I}", "at", at, "median_ns", (json_int_t) thousandths(e->holdout.median_us), "best_ns",
                     (json_int_t) thousandths(e->holdout.best_us));
}

static json_t *json_entry(const struct table_entry *e)
{
    const char *const *names = problem_range_names(e->op);
    json_t *range = json_object(), *at = json_object();
    for (int i = 0; i < N_RANGES && names[i]; i++) {
        json_t *hi = e->hi[i] == INT64_MAX ? json_null() : json_integer(e->hi[i]);
        json_object_set_new(range, names[i], json_pack("[I,o]", (json_int_t) e->lo[i], hi));
        json_object_set_new(at, names[i], json_integer(e->point[i]));
    }
    json_t *config = json_config(e->config, e->n_config);
    json_t *o =
        json_pack("{s:s,s:o,s:s,s:I,s:s,s:o,s:o,s:I,s:I,s:I,s:I,s:I}", "class", e->class_text, "range", range, "kernel",
                  e->kernel, "rev", (json_int_t) e->rev, "family", e->family, "config", config, "at", at, "median_ns",
                  (json_int_t) thousandths(e->median_us), "ci95_ns", (json_int_t) thousandths(e->ci95_us), "samples",
                  (json_int_t) e->samples, "default_ns", (json_int_t) thousandths(e->default_us), "error_ppm",
                  (json_int_t) llround(e->error_ratio * 1e6));
    if (o && e->op == OP_LINEAR) {
        json_t *times = json_object();
        for (int i = 0; i < N_FAMILIES; i++)
            json_object_set_new(times, family_names[i], json_integer(thousandths(e->family_us[i])));
        json_object_set_new(o, "family_ns", times);
    }
    if (o && e->holdout.median_us > 0)
        json_object_set_new(o, "holdout", json_holdout(e));
    return o;
}

static json_t *json_crossing(const struct table_crossing *c)
{
    return json_pack("{s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "class", c->class_text, "m1", (json_int_t) c->m1, "m2",
                     (json_int_t) c->m2, "max_m", (json_int_t) c->max_m, "m1_gemv_ns",
                     (json_int_t) thousandths(c->m1_gemv_us), "m1_flat_ns", (json_int_t) thousandths(c->m1_flat_us),
                     "m2_flat_ns", (json_int_t) thousandths(c->m2_flat_us), "m2_gemm_ns",
                     (json_int_t) thousandths(c->m2_gemm_us));
}

static json_t *json_denied(const struct table_denied *d)
{
    json_t *o = json_pack("{s:s,s:I}", "kernel", d->kernel, "rev", (json_int_t) d->rev);
    if (*d->class_text)
        json_object_set_new(o, "class", json_string(d->class_text));
    if (d->n_config)
        json_object_set_new(o, "config", json_config(d->config, d->n_config));
    json_object_set_new(o, "reason", json_string(d->reason));
    return o;
}

static json_t *json_source(const struct table_source *s)
{
    char hash[24];
    snprintf(hash, sizeof hash, "%016" PRIx64, s->hash);
    return json_pack("{s:s,s:s,s:I,s:I,s:b}", "hash", hash, "tuner_version", s->tuner_version, "seed",
                     (json_int_t) s->seed, "entries", (json_int_t) s->n_entries, "complete", (int) s->complete);
}

static void put_body(struct text *out, const struct table *t)
{
    put_json(out, "\"device\":", json_device(&t->device), ",\n");
    for (int i = 0; i < t->n_sources; i++)
        put_json(out, i ? ",\n" : "\"merged_from\":[\n", json_source(&t->sources[i]),
                 i == t->n_sources - 1 ? "\n],\n" : "");
    put(out, "\"entries\":[");
    for (int i = 0; i < t->n_entries; i++)
        put_json(out, i ? ",\n" : "\n", json_entry(&t->entries[i]), "");
    put(out, "\n],\n\"crossings\":[");
    for (int i = 0; i < t->n_crossings; i++)
        put_json(out, i ? ",\n" : "\n", json_crossing(&t->crossings[i]), "");
    put(out, "\n],\n\"deny\":[");
    for (int i = 0; i < t->n_denied; i++)
        put_json(out, i ? ",\n" : "\n", json_denied(&t->denied[i]), "");
    put(out, "\n]}\n");
}

/* The body alone, of a table that table_check accepts. */
static fdec_status make_body(const struct table *t, struct text *body)
{
    put_body(body, t);
    if (!body->failed)
        return FDEC_OK;
    free(body->s);
    return fail(FDEC_E_MEMORY, "out of memory for the text of a table");
}

fdec_status table_hash(const struct table *t, uint64_t *hash)
{
    struct text body = {0};
    const fdec_status st = make_body(t, &body);
    if (st != FDEC_OK)
        return st;
    *hash = hash64(body.s, body.n, 0);
    free(body.s);
    return FDEC_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b); /* the name is the first member */
}

static int by_class(const void *a, const void *b)
{
    return strcmp(((const struct table_crossing *) a)->class_text, ((const struct table_crossing *) b)->class_text);
}

#define sort(array, n, order)                                                                                          \
    do {                                                                                                               \
        if ((n) > 1)                                                                                                   \
            qsort(array, (size_t) (n), sizeof *(array), order);                                                        \
    } while (0)

static void normalise(struct table *t)
{
    for (int i = 0; i < t->n_entries; i++) {
        struct table_entry *e = &t->entries[i];
        if (e->n_config <= MAX_PARAMS)
            sort(e->config, e->n_config, by_name);
        if (!parse_class(e->class_text, &e->op))
            e->op = OP_COUNT; /* table_check says so */
    }
    sort(t->entries, t->n_entries, by_class_and_range);
    sort(t->crossings, t->n_crossings, by_class);
    for (int i = 0; i < t->n_denied; i++)
        if (t->denied[i].n_config <= MAX_PARAMS)
            sort(t->denied[i].config, t->denied[i].n_config, by_name);
    sort(t->denied, t->n_denied, by_kernel);
    sort(t->sources, t->n_sources, by_source_hash);
}

fdec_status table_derive_crossings(struct table *t)
{
    struct table_crossing *c;
    int n;
    normalise(t);
    const fdec_status st = derive(t, &c, &n);
    if (st != FDEC_OK)
        return st;
    free(t->crossings);
    t->crossings = c;
    t->n_crossings = n;
    return FDEC_OK;
}

fdec_status table_print(struct table *t, char **text, size_t *n)
{
    fdec_status st = FDEC_OK;
    struct text out = {0}, body = {0};
    char hash[24];
    normalise(t);
    try_st(table_check(t));
    try_st(make_body(t, &body));
    snprintf(hash, sizeof hash, "%016" PRIx64, hash64(body.s, body.n, 0));
    put_json(&out, "",
             json_pack("{s:s,s:i,s:s,s:I,s:b,s:b,s:s}", "schema", "flashdec-table", "version", TABLE_SCHEMA,
                       "tuner_version", t->tuner_version, "seed", (json_int_t) t->seed, "complete", t->complete,
                       "modelled", t->modelled, "hash", hash),
             "");
    if (!out.failed) {
        out.n--; /* the closing brace: the body goes on */
        put(&out, ",\n");
        put(&out, body.s);
    }
    free(body.s);
    if (out.failed || out.n > TABLE_MAX_BYTES) {
        free(out.s);
        return out.failed ? fail(FDEC_E_MEMORY, "out of memory for the text of a table")
                          : fail(FDEC_E_DATA, "%zu bytes, the limit is %d", out.n, TABLE_MAX_BYTES);
    }
    *text = out.s;
    *n = out.n;
out:
    return st;
}

fdec_status table_write(struct table *t, const char *path)
{
    char *text;
    size_t n;
    fdec_status st = table_print(t, &text, &n);
    if (st != FDEC_OK)
        return fail(st, "%s: %s", path, fdec_last_error());
    st = file_write_atomic(path, text, n, 0644);
    free(text);
    return st;
}
