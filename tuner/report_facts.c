/* SPDX-License-Identifier: MIT
 * report_facts.c - the values of a report that stand in the log or the table as they are
 *
 *     device     what the driver says of it, and the rates that were measured
 *     table      from where, how many entries, complete; denied: kernels
 *     sessions   runs of the tuner
 *     outcomes   of candidates that were not timed: how many, by kind and class;  failures: each
 *
 * No host or user name is in them: of paths only the last part. */
#include "report.h"

#include <math.h>
#include <string.h>

/* ---- values ---- */

void set_real(json_t *o, const char *name, double value, double per_unit)
{
    json_object_set_new(o, name, json_real(round(value * per_unit) / per_unit));
}

void set_us(json_t *o, const char *name, double us)
{
    set_real(o, name, us, 1e3);
}

void set_ratio(json_t *o, const char *name, double ratio)
{
    set_real(o, name, ratio, 1e4);
}

void set_count(json_t *o, const char *name, int n)
{
    json_object_set_new(o, name, json_integer(n));
}

/* Text that was cut within a character is no UTF-8. */
json_t *any_text(const char *text)
{
    json_t *out = json_string(text);
    if (out)
        return out;
    char plain[512];
    snprintf(plain, sizeof plain, "%s", text);
    for (char *c = plain; *c; c++)
        if ((unsigned char) *c >= 0x80)
            *c = '?';
    return json_string(plain);
}

void set_text(json_t *o, const char *name, const char *text)
{
    json_object_set_new(o, name, any_text(text));
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Of every absolute path in a text the last part: directories can name a user. */
static void without_directories(const char *text, char *out, size_t n)
{
    size_t at = 0;
    bool between = true;
    while (*text && at + 1 < n) {
        if (between && *text == '/') {
            const size_t length = strcspn(text, " \t\n'\"(),;");
            for (const char *end = text + length, *c = text; c < end; c++)
                if (*c == '/')
                    text = c + 1;
            between = false;
            continue;
        }
        between = strchr(" \t\n'\"(),;:=", *text) != NULL;
        out[at++] = *text++;
    }
    out[at] = 0;
}

json_t *names_json(const struct candidate *c)
{
    char name[512];
    candidate_print(c, name, sizeof name);
    return any_text(name);
}

/* ---- what failed ---- */

static void count_outcome(json_t *outcomes, const char *outcome, const char *class_text)
{
    size_t i;
    json_t *o;
    json_array_foreach(outcomes, i,
                       o) if (!strcmp(get_text(o, "outcome"), outcome) && !strcmp(get_text(o, "class"), class_text))
    {
        set_count(o, "count", (int) get_number(o, "count") + 1);
        return;
    }
    json_array_append_new(outcomes, json_pack("{s:s, s:s, s:i}", "outcome", outcome, "class", class_text, "count", 1));
}

static void set_failures(const struct journal *j, json_t *out)
{
    json_t *outcomes = json_array(), *failures = json_array();
    for (int i = 0; i < j->n_trials; i++) {
        const struct trial *t = &j->trials[i];
        const bool never_ended = !t->done && t->failures > 0 && t->result.outcome == OUT_OK;
        char text[sizeof t->result.text];
        if ((t->done && t->result.outcome == OUT_OK) || (!t->done && !t->failures && t->result.outcome == OUT_OK))
            continue;
        const char *outcome = never_ended ? "never ended" : outcome_name(t->result.outcome);
        without_directories(t->result.text, text, sizeof text);
        json_t *o = json_pack("{s:s, s:s, s:o}", "outcome", outcome, "problem", t->problem_text, "candidate",
                              names_json(&t->candidate));
        set_text(o, "text", never_ended ? "the tuner ended while it ran" : text);
        json_array_append_new(failures, o);
        count_outcome(outcomes, outcome, t->class_text);
    }
    json_object_set_new(out, "outcomes", outcomes);
    json_object_set_new(out, "failures", failures);
}

/* ---- provenance ---- */

static json_t *device_json(const struct facts *f)
{
    json_t *o = json_object();
    set_text(o, "name", f->device.name);
    set_text(o, "platform", f->device.platform);
    set_text(o, "driver", f->device.driver);
    set_text(o, "opencl", f->device.version);
    set_count(o, "compute_units", f->device.compute_units);
    if (f->measured) {
        set_real(o, "read_gbps", f->read_gbps, 1e3);
        set_us(o, "launch_us", f->launch_us);
        set_real(o, "cache_mib", (double) f->cache_bytes / (1 << 20), 1e1);
    }
    return o;
}

static json_t *table_json(const struct journal *j, const struct table *t, const char *path)
{
    json_t *denied = json_array();
    for (int i = 0; i < t->n_denied; i++)
        json_array_append_new(denied, json_pack("{s:s, s:i, s:s}", "kernel", t->denied[i].kernel, "rev",
                                                (int) t->denied[i].rev, "reason", t->denied[i].reason));
    json_t *o = json_pack("{s:i, s:o}", "entries", t->n_entries, "denied", denied);
    set_text(o, "from", path ? last_part(path) : "made from this log");
    set_text(o, "device", t->device.name);
    set_text(o, "version", t->tuner_version);
    json_object_set_new(o, "seed", json_integer((json_int_t) t->seed));
    set_text(o, "complete", t->complete ? "yes" : "no: the budget ended, or it was stopped");
    set_count(o, "dropped", j->n_dropped);
    set_count(o, "stale", j->n_stale);
    return o;
}

static json_t *session_json(const json_t *line, int number)
{
    json_t *o = json_pack("{s:i, s:s}", "session", number, "ended", "no");
    const json_t *unix_s = json_object_get(line, "unix_s");
    char when[40] = "";
    if (json_is_integer(unix_s))
        time_text((int64_t) json_integer_value(unix_s), 0, when);
    set_text(o, "started", *when ? when : "not in the log");
    set_text(o, "version", get_text(line, "version"));
    set_text(o, "strategy", get_text(line, "strategy"));
    json_object_set_new(o, "seed", json_integer(json_integer_value(json_object_get(line, "seed"))));
    set_real(o, "budget_s", get_number(line, "budget_s"), 1);
    set_text(o, "shapes", last_part(get_text(line, "shapes")));
    set_text(o, "fresh", json_is_true(json_object_get(line, "fresh")) ? "yes" : "");
    set_count(o, "measurements", 0);
    return o;
}

static json_t *sessions_json(const json_t *lines)
{
    json_t *out = json_array(), *line, *session = NULL;
    size_t i;
    json_array_foreach(lines, i, line)
    {
        const char *kind = get_text(line, "line");
        if (!strcmp(kind, "session")) {
            session = session_json(line, (int) json_array_size(out) + 1);
            json_array_append_new(out, session);
        } else if (session && !strcmp(kind, "end")) {
            set_count(session, "measurements", (int) get_number(session, "measurements") + 1);
        } else if (session && !strcmp(kind, "finish")) {
            set_text(session, "ended", json_is_true(json_object_get(line, "complete")) ? "complete" : "incomplete");
        }
    }
    return out;
}

void report_facts(const struct journal *j, const struct table *t, const char *table_path, json_t *out)
{
    json_object_set_new(out, "device", device_json(&j->facts));
    json_object_set_new(out, "table", table_json(j, t, table_path));
    json_object_set_new(out, "sessions", sessions_json(j->lines));
    set_failures(j, out);
}
