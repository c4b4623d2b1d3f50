/* SPDX-License-Identifier: MIT
 * export.c - a log for other programs
 *
 *     t4            results of the auto-tuning community's T4 schema: the last measurement of each candidate at each
 *                point
 *     kernel-tuner  the cache file of Kernel Tuner: one kernel at one problem
 *     csv           one row for each end line, with all that it says
 *     chrome-trace  one slice from each begin to its end, for chrome://tracing and Perfetto; sessions are processes
 *
 * All comes from the lines themselves, so that logs of kernels that have changed since can be exported, too. In T4 and
 * Kernel Tuner times are milliseconds; of one measurement the log knows only the whole time from begin to end (set up,
 * built, checked, timed), which stands as the time of the benchmark, and that from the end before it, which stands as
 * the strategy's. What is stopped says nothing about a candidate and is in neither. */
#include "tuner.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

bool export_format_parse(const char *text, enum export_format *out)
{
    static const char *const names[] = {[FORMAT_T4] = "t4",
                                        [FORMAT_KERNEL_TUNER] = "kernel-tuner",
                                        [FORMAT_CSV] = "csv",
                                        [FORMAT_CHROME_TRACE] = "chrome-trace"};
    for (size_t i = 1; i < ARRAY_LEN(names); i++)
        if (!strcmp(text, names[i])) {
            *out = (enum export_format) i;
            return true;
        }
    return false;
}

void time_text(int64_t unix_s, double us, char buf[40])
{
    const time_t t = (time_t) (unix_s + (int64_t) (us * 1e-6));
    struct tm utc;
    char day[24] = "";
    if (gmtime_r(&t, &utc))
        strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(buf, 40, "%s.%06d+00:00", day, (int) ((int64_t) us % 1000000));
}

fdec_status write_out(const char *path, const char *text, size_t n)
{
    if (path)
        return file_write_atomic(path, text, n, 0644);
    const bool written = fwrite(text, 1, n, stdout) == n && !fflush(stdout);
    return written ? FDEC_OK : fail(FDEC_E_DATA, "standard output: cannot write: %s", strerror(errno));
}

/* ---- walking through a log ---- */

struct walk {
    const json_t *lines;
    size_t at;
    int n_sessions;
    const json_t *session, *begin; /* in which the line lies; that of the candidate at work, NULL: none */
    double last_us;                /* of the last end of the session */
    const json_t *line;            /* the end line, or the begin line without one */
    bool ended;
    double begin_us, end_us, idle_us; /* since the session's line; before the begin. -1: not known */
};

static bool is_line(const json_t *line, const char *kind)
{
    return !strcmp(get_text(line, "line"), kind);
}

static double at_us(const json_t *line)
{
    const json_t *at = line ? json_object_get(line, "at_us") : NULL;
    return json_is_integer(at) && json_integer_value(at) >= 0 ? (double) json_integer_value(at) : -1;
}

static bool same_key(const json_t *a, const json_t *b)
{
    static const char *const key[] = {"kernel", "source", "config", "problem"};
    bool same = a && b;
    for (size_t i = 0; i < ARRAY_LEN(key) && same; i++)
        same = !strcmp(get_text(a, key[i]), get_text(b, key[i]));
    return same;
}

static void set_end(struct walk *w, const json_t *line)
{
    const json_t *begin = same_key(w->begin, line) ? w->begin : NULL;
    w->line = line;
    w->ended = true;
    w->begin_us = at_us(begin);
    w->end_us = MAX(at_us(line), w->begin_us);
    w->idle_us = w->begin_us < 0 ? -1 : MAX(w->begin_us - w->last_us, 0);
    w->last_us = MAX(w->end_us, w->last_us);
    w->begin = NULL;
}

static void set_unended(struct walk *w)
{
    w->line = w->begin;
    w->ended = false;
    w->begin_us = w->end_us = at_us(w->begin);
    w->begin = NULL;
}

/* The next end line, or begin line that has none. False: there is no more. */
static bool next_measurement(struct walk *w)
{
    while (w->at < json_array_size(w->lines)) {
        const json_t *line = json_array_get(w->lines, w->at);
        const bool ends = is_line(line, "end"), begins = is_line(line, "begin"), session = is_line(line, "session");
        if (w->begin && (begins || session)) {
            set_unended(w);
            return true; /* and the line once more */
        }
        w->at++;
        if (session) {
            w->session = line;
            w->n_sessions++;
            w->last_us = 0;
        }
        if (begins)
            w->begin = line;
        if (ends) {
            set_end(w, line);
            return true;
        }
    }
    if (w->begin)
        set_unended(w);
    else
        w->line = NULL;
    return w->line != NULL;
}

static bool next_end(struct walk *w)
{
    bool found;
    while ((found = next_measurement(w)) && !w->ended) {
    }
    return found;
}

static enum outcome outcome_of(const struct walk *w)
{
    enum outcome o = OUT_ERROR;
    outcome_parse(get_text(w->line, "outcome"), &o);
    return o;
}

static json_t *timestamp(const struct walk *w)
{
    const json_t *unix_s = json_object_get(w->session, "unix_s");
    char text[40];
    if (!json_is_integer(unix_s) || w->end_us < 0)
        return NULL;
    time_text((int64_t) json_integer_value(unix_s), w->end_us, text);
    return json_string(text);
}

/* ---- values ---- */

static double get_ms(const json_t *line, const char *name)
{
    return (double) json_integer_value(json_object_get(line, name)) * 1e-6;
}

static double span_ms(const struct walk *w)
{
    return w->begin_us < 0 ? 0 : (w->end_us - w->begin_us) * 1e-3;
}

static double idle_ms(const struct walk *w)
{
    return w->idle_us < 0 ? 0 : w->idle_us * 1e-3;
}

/* "MR=4 NR=6" into {"MR": 4, "NR": 6}; values, where not NULL, gets "4,6". */
static void set_config(json_t *object, const char *config, char *values, size_t n)
{
    while (*config) {
        char name[64];
        int value, length;
        if (sscanf(config, " %63[^= ]=%d%n", name, &value, &length) != 2)
            return;
        json_object_set_new(object, name, json_integer(value));
        if (values)
            append(values, n, "%s%d", *values ? "," : "", value);
        config += length;
    }
}

/* ---- T4 ---- */

static const char *invalidity(enum outcome o)
{
    switch (o) {
    case OUT_OK: return "correct";
    case OUT_CONSTRAINT: return "constraints";
    case OUT_COMPILE_ERROR: return "compile";
    case OUT_COMPILE_TIMEOUT:
    case OUT_HANG:
    case OUT_SLOW: return "timeout";
    case OUT_WRONG:
    case OUT_UNSTABLE: return "correctness";
    default: return "runtime";
    }
}

static json_t *measurements(const json_t *line)
{
    static const struct {
        const char *field, *name, *unit;
        double scale;
    } known[] = {
        {"median_ns", "time", "ms", 1e-6},
        {"lo_ns", "time_ci95_low", "ms", 1e-6},
        {"hi_ns", "time_ci95_high", "ms", 1e-6},
        {"wall_ns", "time_host", "ms", 1e-6},
        {"default_ns", "time_default", "ms", 1e-6},
        {"default_wall_ns", "time_default_host", "ms", 1e-6},
        {"ratio_ppm", "ratio_to_default", "", 1e-6},
        {"ratio_lo_ppm", "ratio_to_default_ci95_low", "", 1e-6},
        {"ratio_hi_ppm", "ratio_to_default_ci95_high", "", 1e-6},
        {"samples", "samples", "", 1},
        {"error_ratio", "error_over_bound", "", 1},
    };
    json_t *out = json_array();
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        const json_t *value = json_object_get(line, known[i].field);
        if (value)
            json_array_append_new(out, json_pack("{s:s, s:f, s:s}", "name", known[i].name, "value",
                                                 json_number_value(value) * known[i].scale, "unit", known[i].unit));
    }
    return out;
}

static json_t *t4_result(const struct walk *w)
{
    const enum outcome o = outcome_of(w);
    json_t *config = json_pack("{s:s, s:s, s:I}", "problem", get_text(w->line, "problem"), "kernel",
                               get_text(w->line, "kernel"), "rev", json_integer_value(json_object_get(w->line, "rev")));
    set_config(config, get_text(w->line, "config"), NULL, 0);
    json_t *runtimes = json_array(), *stamp = timestamp(w);
    if (o == OUT_OK)
        json_array_append_new(runtimes, json_real(get_ms(w->line, "median_ns")));
    json_t *result = stamp ? json_pack("{s:o}", "timestamp", stamp) : json_object();
    json_t *rest =
        json_pack("{s:o, s:[s], s:{s:f, s:f, s:f, s:f, s:f, s:o}, s:s, s:i, s:o}", "configuration", config,
                  "objectives", "time", "times", "compilation", 0.0, "benchmark", span_ms(w), "framework", 0.0,
                  "search_algorithm", idle_ms(w), "validation", 0.0, "runtimes", runtimes, "invalidity", invalidity(o),
                  "correctness", o == OUT_OK || o == OUT_SLOW, "measurements", measurements(w->line));
    json_object_update(result, rest);
    json_decref(rest);
    return result;
}

/* A later measurement of the same takes the place of the earlier one. */
static void put_result(json_t *results, json_t *index, const struct walk *w)
{
    char key[1024] = "";
    append(key, sizeof key, "%s|%s|%s|%s", get_text(w->line, "kernel"), get_text(w->line, "source"),
           get_text(w->line, "config"), get_text(w->line, "problem"));
    const json_t *at = json_object_get(index, key);
    if (at) {
        json_array_set_new(results, (size_t) json_integer_value(at), t4_result(w));
        return;
    }
    json_object_set_new(index, key, json_integer((json_int_t) json_array_size(results)));
    json_array_append_new(results, t4_result(w));
}

static json_t *export_t4(const struct journal *j)
{
    struct walk w = {.lines = j->lines};
    json_t *results = json_array(), *index = json_object();
    while (next_end(&w))
        if (outcome_of(&w) != OUT_STOPPED)
            put_result(results, index, &w);
    json_decref(index);
    return json_pack("{s:s, s:o}", "schema_version", "1.0.0", "results", results);
}

/* ---- Kernel Tuner ---- */

static json_t *cache_time(const struct walk *w)
{
    switch (outcome_of(w)) {
    case OUT_OK: return json_real(get_ms(w->line, "median_ns"));
    case OUT_CONSTRAINT: return json_string("InvalidConfig");
    case OUT_COMPILE_ERROR:
    case OUT_COMPILE_TIMEOUT: return json_string("CompilationFailedConfig");
    default: return json_string("RuntimeFailedConfig");
    }
}

/* The schema wants a time of day: that of a log without any is the epoch. */
static void put_cached(json_t *cache, json_t *params, const struct walk *w)
{
    char key[256] = "", epoch[40];
    json_t *stamp = timestamp(w), *config = json_object();
    time_text(0, 0, epoch);
    json_t *entry = json_pack("{s:o, s:f, s:f, s:f, s:f, s:f, s:o}", "time", cache_time(w), "compile_time", 0.0,
                              "verification_time", 0.0, "benchmark_time", span_ms(w), "strategy_time", idle_ms(w),
                              "framework_time", 0.0, "timestamp", stamp ? stamp : json_string(epoch));
    if (outcome_of(w) == OUT_OK)
        json_object_set_new(entry, "times", json_pack("[f]", get_ms(w->line, "median_ns")));
    set_config(config, get_text(w->line, "config"), key, sizeof key);
    json_object_update(entry, config);
    json_object_set_new(cache, key, entry);
    const char *name;
    json_t *value;
    json_object_foreach(config, name, value)
    {
        json_t *seen = json_object_get(params, name);
        if (!seen)
            json_object_set_new(params, name, seen = json_array());
        size_t i = 0;
        while (i < json_array_size(seen) && json_integer_value(json_array_get(seen, i)) < json_integer_value(value))
            i++;
        if (i == json_array_size(seen) || !json_equal(json_array_get(seen, i), value))
            json_array_insert(seen, i, value);
    }
    json_decref(config);
}

/* On standard error, what --problem and --kernel can be. */
static void tell_choices(const struct journal *j)
{
    struct walk w = {.lines = j->lines};
    json_t *choices = json_object();
    while (next_end(&w)) {
        char text[512] = "";
        append(text, sizeof text, "--problem '%s' --kernel %s", get_text(w.line, "problem"),
               get_text(w.line, "kernel"));
        json_object_set_new(choices, text, json_integer(1 + json_integer_value(json_object_get(choices, text))));
    }
    const char *text;
    json_t *n;
    fprintf(stderr, "flashdec-tune: %s has\n", j->path);
    json_object_foreach(choices, text, n)
        fprintf(stderr, "    %s   (%d measured)\n", text, (int) json_integer_value(n));
    json_decref(choices);
}

static json_t *export_cache(const struct journal *j, const struct options *o)
{
    struct walk w = {.lines = j->lines};
    json_t *cache = json_object(), *params = json_object(), *keys = json_array();
    while (o->problem && o->kernel && next_end(&w))
        if (!strcmp(get_text(w.line, "problem"), o->problem) && !strcmp(get_text(w.line, "kernel"), o->kernel) &&
            outcome_of(&w) != OUT_STOPPED)
            put_cached(cache, params, &w);
    const char *name;
    json_t *values;
    json_object_foreach(params, name, values) json_array_append_new(keys, json_string(name));
    if (!json_object_size(cache)) {
        tell_choices(j);
        o->problem && o->kernel ? fail(FDEC_E_DATA, "%s: no measurement of %s at '%s'", j->path, o->kernel, o->problem)
                                : fail(FDEC_E_ARG, "kernel-tuner: a cache is of one kernel at one problem: --problem "
                                                   "and --kernel must say which");
        json_decref(cache);
        json_decref(params);
        json_decref(keys);
        return NULL;
    }
    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:s, s:o}", "schema_version", "1.1.0", "device_name",
                     j->facts.device.name, "kernel_name", o->kernel, "problem_size", o->problem, "tune_params_keys",
                     keys, "tune_params", params, "objective", "time", "cache", cache);
}

/* ---- CSV ---- */

/* Quoted where it must be (RFC 4180). */
static void csv_text(FILE *f, const char *text)
{
    if (!text[strcspn(text, ",\"\r\n")]) {
        fputs(text, f);
        return;
    }
    putc('"', f);
    for (; *text; text++) {
        if (*text == '"')
            putc('"', f);
        putc(*text, f);
    }
    putc('"', f);
}

static void csv_value(FILE *f, const json_t *value)
{
    if (json_is_string(value))
        csv_text(f, json_string_value(value));
    else if (json_is_integer(value))
        fprintf(f, "%lld", (long long) json_integer_value(value));
    else if (json_is_real(value))
        fprintf(f, "%.9g", json_real_value(value));
    else
        fputs(json_is_true(value) ? "1" : "", f);
}

static void export_csv(const struct journal *j, FILE *f)
{
    static const char *const columns[] = {"kernel",       "rev",        "source",          "config",    "problem",
                                          "holdout",      "outcome",    "median_ns",       "lo_ns",     "hi_ns",
                                          "wall_ns",      "default_ns", "default_wall_ns", "ratio_ppm", "ratio_lo_ppm",
                                          "ratio_hi_ppm", "samples",    "error_ratio",     "final",     "text"};
    struct walk w = {.lines = j->lines};
    fputs("session,unix_s,begin_us,end_us", f);
    for (size_t i = 0; i < ARRAY_LEN(columns); i++)
        fprintf(f, ",%s", columns[i]);
    putc('\n', f);
    while (next_end(&w)) {
        fprintf(f, "%d,", w.n_sessions);
        csv_value(f, json_object_get(w.session, "unix_s"));
        fprintf(f, w.begin_us < 0 ? "," : ",%.0f", w.begin_us);
        fprintf(f, w.end_us < 0 ? "," : ",%.0f", w.end_us);
        for (size_t i = 0; i < ARRAY_LEN(columns); i++) {
            putc(',', f);
            csv_value(f, json_object_get(w.line, columns[i]));
        }
        putc('\n', f);
    }
}

/* ---- Chrome trace ---- */

static json_t *trace_process(const struct walk *w)
{
    char name[200] = "";
    append(name, sizeof name, "session %d: strategy %s, seed %lld", w->n_sessions, get_text(w->session, "strategy"),
           (long long) json_integer_value(json_object_get(w->session, "seed")));
    json_t *unix_s = json_object_get(w->session, "unix_s");
    if (unix_s) {
        char when[40];
        time_text((int64_t) json_integer_value(unix_s), 0, when);
        append(name, sizeof name, ", %.19s UTC", when);
    }
    return json_pack("{s:s, s:s, s:i, s:i, s:{s:s}}", "ph", "M", "name", "process_name", "pid", w->n_sessions, "tid", 1,
                     "args", "name", name);
}

/* Each session from its own 0, so that those of several days lie beneath one another. */
static json_t *trace_slice(const struct walk *w)
{
    char name[512] = "";
    const char *outcome = w->ended ? get_text(w->line, "outcome") : "never ended";
    append(name, sizeof name, "%s %s", get_text(w->line, "kernel"), get_text(w->line, "config"));
    json_t *args = json_pack("{s:s, s:s}", "problem", get_text(w->line, "problem"), "outcome", outcome);
    if (json_object_get(w->line, "median_ns"))
        json_object_set_new(args, "median_us", json_real(get_ms(w->line, "median_ns") * 1e3));
    if (*get_text(w->line, "text"))
        json_object_set(args, "text", json_object_get(w->line, "text"));
    return json_pack("{s:s, s:s, s:s, s:f, s:f, s:i, s:i, s:o}", "ph", "X", "name", name, "cat", outcome, "ts",
                     w->begin_us, "dur", w->end_us - w->begin_us, "pid", w->n_sessions, "tid", 1, "args", args);
}

static json_t *export_trace(const struct journal *j)
{
    struct walk w = {.lines = j->lines};
    json_t *events = json_array();
    for (int named = 0; next_measurement(&w);) {
        if (w.begin_us < 0)
            continue;
        if (named != w.n_sessions)
            json_array_append_new(events, trace_process(&w));
        named = w.n_sessions;
        json_array_append_new(events, trace_slice(&w));
    }
    if (!json_array_size(events)) {
        json_decref(events);
        fail(FDEC_E_DATA, "%s: chrome-trace: no line says when it was written, as those of this version do", j->path);
        return NULL;
    }
    return json_pack("{s:o, s:s}", "traceEvents", events, "displayTimeUnit", "ms");
}

/* ---- the whole ---- */

/* malloc'ed; NULL, with the reason in fdec_last_error(). */
static char *export_text(const struct journal *j, const struct options *o)
{
    if (o->format == FORMAT_CSV) {
        char *text = NULL;
        size_t n;
        FILE *f = open_memstream(&text, &n);
        if (f)
            export_csv(j, f);
        if (f && !fclose(f))
            return text;
        fail(FDEC_E_MEMORY, "out of memory: the text");
        return NULL;
    }
    json_t *document = o->format == FORMAT_T4             ? export_t4(j)
                       : o->format == FORMAT_KERNEL_TUNER ? export_cache(j, o)
                                                          : export_trace(j);
    if (!document)
        return NULL;
    char *text = json_dumps(document, JSON_INDENT(1) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(12));
    json_decref(document);
    if (!text)
        fail(FDEC_E_MEMORY, "out of memory: the text");
    return text;
}

fdec_status export_run(const struct options *o, const char *log)
{
    struct journal j = {.fd = -1};
    char *text = NULL;
    fdec_status st = FDEC_OK;
    try_st(journal_read_lines(log, &j));
    text = export_text(&j, o);
    st = text ? write_out(o->out, text, strlen(text)) : FDEC_E_DATA;
out:
    free(text);
    journal_close(&j);
    return st;
}
