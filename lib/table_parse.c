/* SPDX-License-Identifier: MIT
 * table_parse.c - a table from its text
 *
 * Three nets, in this order: bounds on size, depth and number of values before anything is built; the schema, every key
 * typed, none unknown, none twice; then table_check() and the hash, on the structs alone. */
#include "table.h"
#include "util.h"
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* A table of the largest size has less. Each object costs the parser some hundred bytes, each other value some ten. */
enum { MAX_OBJECTS = 8 * TABLE_MAX_ENTRIES, MAX_VALUES = 64 * TABLE_MAX_ENTRIES };

static fdec_status check_bounds(const char *text, size_t n)
{
    int depth = 0, objects = 0, values = 0;
    bool in_string = false;
    if (n > TABLE_MAX_BYTES)
        return fail(FDEC_E_DATA, "%zu bytes, the limit is %d", n, TABLE_MAX_BYTES);
    for (size_t i = 0; i < n; i++) {
        const char c = text[i];
        if (c == '"')
            in_string = !in_string;
        else if (in_string)
            i += c == '\\'; /* what is escaped ends no string */
        else if (c == '{' || c == '[')
            depth++;
        else if (c == '}' || c == ']')
            depth--;
        objects += !in_string && c == '{';
        values += !in_string && (c == '[' || c == ',');
        if (depth > TABLE_MAX_DEPTH)
            return fail(FDEC_E_DATA, "nested deeper than %d", TABLE_MAX_DEPTH);
        if (objects > MAX_OBJECTS || values > MAX_VALUES)
            return fail(FDEC_E_DATA, "too many values");
    }
    return FDEC_OK;
}

/* ---- the schema ---- */

/* json_unpack with every key demanded and no other allowed. */
#define unpack(object, ...)                                                                                            \
    do {                                                                                                               \
        json_error_t err_;                                                                                             \
        if (json_unpack_ex(object, &err_, JSON_STRICT, __VA_ARGS__))                                                   \
            return fail(FDEC_E_DATA, "%s", err_.text);                                                                 \
    } while (0)

static fdec_status take_text(char *out, size_t n, const char *text, const char *key)
{
    if (strlen(text) >= n)
        return fail(FDEC_E_DATA, "%s: longer than %zu characters", key, n - 1);
    strcpy(out, text);
    return FDEC_OK;
}
#define take(field, text) try_st(take_text(field, sizeof(field), text, #text))

static fdec_status take_int(int64_t v, int64_t max, const char *key)
{
    return v >= 0 && v <= max ? FDEC_OK : fail(FDEC_E_DATA, "%s: %" PRId64 " is outside 0..%" PRId64, key, v, max);
}
#define take_number(field, v, max)                                                                                     \
    do {                                                                                                               \
        try_st(take_int(v, max, #v));                                                                                  \
        (field) = (__typeof__(field)) (v);                                                                             \
    } while (0)

/* ns as us, MB/s as GB/s: exact in double up to here, so that a table read and written again is the same file. */
static const int64_t max_thousandths = INT64_C(1) << 50;
#define take_thousandths(field, v)                                                                                     \
    do {                                                                                                               \
        try_st(take_int(v, max_thousandths, #v));                                                                      \
        (field) = (double) (v) / 1e3;                                                                                  \
    } while (0)

static fdec_status parse_device(json_t *o, struct table_device *d)
{
    fdec_status st = FDEC_OK;
    const char *name, *vendor, *driver, *platform, *architecture;
    json_int_t vendor_id, compute_units, local_bytes, read_mbps, launch_ns;
    int cpu;
    unpack(o, "{s:s,s:s,s:s,s:s,s:s,s:I,s:b,s:I,s:I,s:I,s:I}", "name", &name, "vendor", &vendor, "driver", &driver,
           "platform", &platform, "architecture", &architecture, "vendor_id", &vendor_id, "cpu", &cpu, "compute_units",
           &compute_units, "local_bytes", &local_bytes, "read_mbps", &read_mbps, "launch_ns", &launch_ns);
    take(d->name, name);
    take(d->vendor, vendor);
    take(d->driver, driver);
    take(d->platform, platform);
    take(d->architecture, architecture);
    take_number(d->vendor_id, vendor_id, UINT32_MAX);
    take_number(d->compute_units, compute_units, INT32_MAX);
    take_number(d->local_bytes, local_bytes, INT32_MAX);
    take_thousandths(d->read_gbps, read_mbps);
    take_thousandths(d->launch_us, launch_ns);
    d->cpu = cpu;
out:
    return st;
}

/* {"m":[4,8]} and {"m":4}: the range numbers by name. */
static fdec_status parse_range(json_t *range, json_t *at, struct table_entry *e)
{
    const char *const *names = problem_range_names(e->op);
    size_t n = 0;
    for (int i = 0; i < N_RANGES; i++) {
        e->lo[i] = e->point[i] = 1;
        e->hi[i] = 2;
        if (!names[i])
            continue;
        n++;
        const json_t *r = json_object_get(range, names[i]), *lo = json_array_get(r, 0), *hi = json_array_get(r, 1);
        const json_t *point = json_object_get(at, names[i]);
        if (json_array_size(r) != 2 || !json_is_integer(lo) || !(json_is_integer(hi) || json_is_null(hi)) ||
            !json_is_integer(point))
            return fail(FDEC_E_DATA, "range or at: %s is not of the form [lo, hi] and number", names[i]);
        e->lo[i] = json_integer_value(lo);
        e->hi[i] = json_is_null(hi) ? INT64_MAX : json_integer_value(hi);
        e->point[i] = json_integer_value(point);
    }
    if (json_object_size(range) != n || json_object_size(at) != n)
        return fail(FDEC_E_DATA, "range or at has a number that %s does not have", operations[e->op].name);
    return FDEC_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b); /* the name is the first member */
}

static fdec_status parse_config(json_t *config, struct table_value values[MAX_PARAMS], int *n)
{
    fdec_status st = FDEC_OK;
    const char *name;
    json_t *v;
    *n = 0;
    if (!json_is_object(config) || json_object_size(config) > MAX_PARAMS)
        return fail(FDEC_E_DATA, "config is no object of at most %d values", MAX_PARAMS);
    json_object_foreach(config, name, v)
    {
        if (!json_is_integer(v))
            return fail(FDEC_E_DATA, "config: %.40s is no integer", name);
        try_st(take_int(json_integer_value(v), INT32_MAX, name));
        take(values[*n].name, name);
        values[(*n)++].value = (int) json_integer_value(v);
    }
    qsort(values, (size_t) *n, sizeof *values, by_name);
out:
    return st;
}

static fdec_status parse_family_times(json_t *o, struct table_entry *e)
{
    fdec_status st = FDEC_OK;
    json_int_t gemv, flat, gemm;
    unpack(o, "{s:I,s:I,s:I}", "gemv", &gemv, "flat", &flat, "gemm", &gemm);
    take_thousandths(e->family_us[FAMILY_GEMV], gemv);
    take_thousandths(e->family_us[FAMILY_FLAT], flat);
    take_thousandths(e->family_us[FAMILY_GEMM], gemm);
out:
    return st;
}

static fdec_status parse_holdout(json_t *o, struct table_entry *e)
{
    fdec_status st = FDEC_OK;
    const char *const *names = problem_range_names(e->op);
    json_t *at;
    json_int_t median_ns, best_ns;
    size_t n = 0;
    unpack(o, "{s:o,s:I,s:I}", "at", &at, "median_ns", &median_ns, "best_ns", &best_ns);
    for (int i = 0; i < N_RANGES; i++) {
        const json_t *v = names[i] ? json_object_get(at, names[i]) : NULL;
        if (names[i] && !json_is_integer(v))
            return fail(FDEC_E_DATA, "holdout: at: %s is no number", names[i]);
        e->holdout.at[i] = v ? json_integer_value(v) : 1;
        n += v != NULL;
    }
    if (json_object_size(at) != n)
        return fail(FDEC_E_DATA, "holdout: at has a number that %s does not have", operations[e->op].name);
    take_thousandths(e->holdout.median_us, median_ns);
    take_thousandths(e->holdout.best_us, best_ns);
    if (e->holdout.median_us == 0)
        st = fail(FDEC_E_DATA, "holdout: median_ns is 0");
out:
    return st;
}

static fdec_status parse_class(const char *text, struct table_entry *e)
{
    struct problem p;
    char err[200];
    const fdec_status st = take_text(e->class_text, sizeof e->class_text, text, "class");
    if (st != FDEC_OK)
        return st;
    if (!problem_parse(text, &p, err, sizeof err))
        return fail(FDEC_E_DATA, "class: %s", err);
    e->op = p.op;
    return FDEC_OK;
}

static fdec_status parse_entry(json_t *o, struct table_entry *e)
{
    fdec_status st = FDEC_OK;
    const char *class, *kernel, *family;
    json_t *range, *config, *at, *family_ns = NULL, *holdout = NULL;
    json_int_t rev, median_ns, ci95_ns, samples, default_ns, error_ppm;
    unpack(o, "{s:s,s:o,s:s,s:I,s:s,s:o,s:o,s:I,s:I,s:I,s:I,s:I,s?o,s?o}", "class", &class, "range", &range, "kernel",
           &kernel, "rev", &rev, "family", &family, "config", &config, "at", &at, "median_ns", &median_ns, "ci95_ns",
           &ci95_ns, "samples", &samples, "default_ns", &default_ns, "error_ppm", &error_ppm, "family_ns", &family_ns,
           "holdout", &holdout);
    try_st(parse_class(class, e));
    try_st(parse_range(range, at, e));
    try_st(parse_config(config, e->config, &e->n_config));
    if (family_ns)
        try_st(parse_family_times(family_ns, e));
    if (holdout)
        try_st(parse_holdout(holdout, e));
    take(e->kernel, kernel);
    take(e->family, family);
    take_number(e->rev, rev, UINT32_MAX);
    take_thousandths(e->median_us, median_ns);
    take_thousandths(e->ci95_us, ci95_ns);
    take_thousandths(e->default_us, default_ns);
    take_number(e->samples, samples, INT32_MAX);
    take_number(e->error_ratio, error_ppm, INT32_MAX);
    e->error_ratio /= 1e6;
out:
    return st;
}

static fdec_status parse_crossing(json_t *o, struct table_crossing *c)
{
    fdec_status st = FDEC_OK;
    const char *class;
    json_int_t m1, m2, max_m, m1_gemv_ns, m1_flat_ns, m2_flat_ns, m2_gemm_ns;
    unpack(o, "{s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "class", &class, "m1", &m1, "m2", &m2, "max_m", &max_m, "m1_gemv_ns",
           &m1_gemv_ns, "m1_flat_ns", &m1_flat_ns, "m2_flat_ns", &m2_flat_ns, "m2_gemm_ns", &m2_gemm_ns);
    take(c->class_text, class);
    take_number(c->m1, m1, INT32_MAX);
    take_number(c->m2, m2, INT32_MAX);
    take_number(c->max_m, max_m, INT32_MAX);
    take_thousandths(c->m1_gemv_us, m1_gemv_ns);
    take_thousandths(c->m1_flat_us, m1_flat_ns);
    take_thousandths(c->m2_flat_us, m2_flat_ns);
    take_thousandths(c->m2_gemm_us, m2_gemm_ns);
out:
    return st;
}

static fdec_status parse_denied(json_t *o, struct table_denied *d)
{
    fdec_status st = FDEC_OK;
    const char *kernel, *reason, *class = "";
    json_int_t rev;
    json_t *config = NULL;
    unpack(o, "{s:s,s:I,s?s,s?o,s:s}", "kernel", &kernel, "rev", &rev, "class", &class, "config", &config, "reason",
           &reason);
    take(d->class_text, class);
    if (config)
        try_st(parse_config(config, d->config, &d->n_config));
    take(d->kernel, kernel);
    take(d->reason, reason);
    take_number(d->rev, rev, UINT32_MAX);
out:
    return st;
}

static fdec_status parse_source(json_t *o, struct table_source *s)
{
    fdec_status st = FDEC_OK;
    const char *hash, *tuner_version;
    json_int_t seed, entries;
    int complete;
    char *end;
    unpack(o, "{s:s,s:s,s:I,s:I,s:b}", "hash", &hash, "tuner_version", &tuner_version, "seed", &seed, "entries",
           &entries, "complete", &complete);
    s->hash = strtoull(hash, &end, 16);
    if (strlen(hash) != 16 || *end || strspn(hash, "0123456789abcdef") != 16)
        return fail(FDEC_E_DATA, "hash is no 16 hexadecimal digits");
    take(s->tuner_version, tuner_version);
    take_number(s->seed, seed, INT64_MAX);
    take_number(s->n_entries, entries, INT32_MAX);
    s->complete = complete;
out:
    return st;
}

/* An array of objects into a new array of structs. */
#define parse_array(key, array, items, n_items, parse_item)                                                            \
    do {                                                                                                               \
        const size_t n_ = json_array_size(array);                                                                      \
        if (!json_is_array(array) || n_ > TABLE_MAX_ENTRIES) {                                                         \
            st = fail(FDEC_E_DATA, key " is no array of at most %d", TABLE_MAX_ENTRIES);                               \
            goto out;                                                                                                  \
        }                                                                                                              \
        try_alloc((items) = calloc(n_ + 1, sizeof *(items)));                                                          \
        for (n_items = 0; (size_t) n_items < n_; n_items++) {                                                          \
            st = parse_item(json_array_get(array, (size_t) n_items), &(items)[n_items]);                               \
            if (st != FDEC_OK) {                                                                                       \
                st = fail(st, key "[%d]: %s", n_items, fdec_last_error());                                             \
                goto out;                                                                                              \
            }                                                                                                          \
        }                                                                                                              \
    } while (0)

static fdec_status check_hash(const struct table *t, const char *stated)
{
    uint64_t hash;
    char text[24];
    const fdec_status st = table_hash(t, &hash);
    if (st != FDEC_OK)
        return st;
    snprintf(text, sizeof text, "%016" PRIx64, hash);
    return !strcmp(text, stated) ? FDEC_OK : fail(FDEC_E_DATA, "hash is %.20s, the content has %s", stated, text);
}

static fdec_status parse_root(json_t *o, struct table *t)
{
    fdec_status st = FDEC_OK;
    const char *schema, *tuner_version, *hash;
    json_t *device, *entries, *crossings, *deny, *merged_from = NULL;
    json_int_t version, seed;
    int complete, modelled;
    /* The version first: another one has other keys. */
    if (json_unpack(o, "{s:s,s:I}", "schema", &schema, "version", &version) || strcmp(schema, "flashdec-table"))
        return fail(FDEC_E_DATA, "this is no flashdec-table");
    if (version != TABLE_SCHEMA)
        return fail(FDEC_E_DATA, "version %lld, this library reads %d", (long long) version, TABLE_SCHEMA);
    unpack(o, "{s:s,s:I,s:s,s:I,s:b,s:b,s:s,s:o,s?o,s:o,s:o,s:o}", "schema", &schema, "version", &version,
           "tuner_version", &tuner_version, "seed", &seed, "complete", &complete, "modelled", &modelled, "hash", &hash,
           "device", &device, "merged_from", &merged_from, "entries", &entries, "crossings", &crossings, "deny", &deny);
    take(t->tuner_version, tuner_version);
    take_number(t->seed, seed, INT64_MAX);
    t->complete = complete;
    t->modelled = modelled;
    st = parse_device(device, &t->device);
    if (st != FDEC_OK)
        return fail(st, "device: %s", fdec_last_error());
    parse_array("entries", entries, t->entries, t->n_entries, parse_entry);
    parse_array("crossings", crossings, t->crossings, t->n_crossings, parse_crossing);
    parse_array("deny", deny, t->denied, t->n_denied, parse_denied);
    if (merged_from)
        parse_array("merged_from", merged_from, t->sources, t->n_sources, parse_source);
    try_st(table_check(t));
    try_st(check_hash(t, hash));
out:
    return st;
}

fdec_status table_parse(const char *text, size_t n, const char *path, struct table **out)
{
    fdec_status st = FDEC_OK;
    json_error_t err;
    json_t *root = NULL;
    struct table *t = NULL;
    *out = NULL;
    try_st(check_bounds(text, n));
    root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &err);
    if (!root) {
        st = fail(FDEC_E_DATA, "line %d: %s", err.line, err.text);
        goto out;
    }
    try_alloc(t = calloc(1, sizeof *t));
    try_alloc(t->path = strdup(path));
    try_st(parse_root(root, t));
    *out = t;
    t = NULL;
out:
    table_destroy(&t);
    json_decref(root);
    return st == FDEC_OK ? st : fail(st, "table %s: %s", path, fdec_last_error());
}

fdec_status table_read(const char *path, struct table **out)
{
    char *text;
    size_t n;
    *out = NULL;
    fdec_status st = file_read(path, TABLE_MAX_BYTES, &text, &n);
    if (st != FDEC_OK)
        return st;
    st = table_parse(text, n, path, out);
    free(text);
    return st;
}

void table_destroy(struct table **t)
{
    if (!*t)
        return;
    free((*t)->path);
    free((*t)->entries);
    free((*t)->crossings);
    free((*t)->denied);
    free((*t)->sources);
    free(*t);
    *t = NULL;
}
