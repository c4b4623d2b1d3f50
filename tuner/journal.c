/* SPDX-License-Identifier: MIT
 * journal.c - the log of everything measured
 *
 * $XDG_STATE_HOME/flashdec/<hash of the device facts>.jsonl, one JSON object a line, its last field a checksum of the
 * bytes before it:
 *
 *     {"line":"device", ...}                                  the facts; the file's name is their hash
 *     {"line":"session","version":..,"seed":..,"fresh":..}    a tuner started; fresh: forget what came before
 *     {"line":"begin", KEY}                                   synced before the launch
 *     {"line":"end", KEY, "outcome":..,"median_ns":..}        after it; KEY: kernel, rev, source hash,
 *                                                             configuration, problem
 *     {"line":"finish","complete":..}
 *
 * A session line says when it was written ("unix_s"), begin and end lines how long after it they were ("at_us"): for
 * export and report alone, absent in older logs.
 *
 * Lines are only ever appended. A begin without its end is a run that took the tuner down: two of them and the
 * candidate is not tried again. Device and driver are part of each key through the file's name. */
#define _GNU_SOURCE
#include "program.h"
#include "tuner.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

enum { JOURNAL_MAX_BYTES = 512 << 20, SUM_TAIL = 26 }; /* ,"sum":"0123456789abcdef"} */

static const char *const outcome_names[OUT_COUNT] = {
    [OUT_OK] = "ok",
    [OUT_CONSTRAINT] = "constraint",
    [OUT_COMPILE_ERROR] = "compile error",
    [OUT_COMPILE_TIMEOUT] = "compile timeout",
    [OUT_CRASH] = "crash",
    [OUT_HANG] = "hang",
    [OUT_MEMORY] = "out of memory",
    [OUT_LOST] = "device lost",
    [OUT_WRONG] = "wrong result",
    [OUT_UNSTABLE] = "non-deterministic",
    [OUT_ERROR] = "error",
    [OUT_SLOW] = "slow",
    [OUT_STOPPED] = "stopped",
};

/* As older logs have them. */
static const struct {
    const char *name;
    enum outcome outcome;
} former_names[] = {{"build failed", OUT_COMPILE_ERROR}, {"build timeout", OUT_COMPILE_TIMEOUT}, {"wrong", OUT_WRONG}};

const char *outcome_name(enum outcome o)
{
    return outcome_names[o];
}

bool outcome_parse(const char *text, enum outcome *o)
{
    for (int i = 0; text && i < OUT_COUNT; i++)
        if (!strcmp(text, outcome_names[i])) {
            *o = (enum outcome) i;
            return true;
        }
    for (size_t i = 0; text && i < ARRAY_LEN(former_names); i++)
        if (!strcmp(text, former_names[i].name)) {
            *o = former_names[i].outcome;
            return true;
        }
    return false;
}

bool outcome_is_wrong(enum outcome o)
{
    return o == OUT_WRONG || o == OUT_UNSTABLE;
}

bool outcome_is_fatal(enum outcome o)
{
    return o == OUT_CRASH || o == OUT_HANG || o == OUT_COMPILE_TIMEOUT || o == OUT_LOST;
}

/* Of the text that the worker will compile: the embedded one, or what FLASHDEC_CL_DIR puts in its place. */
static uint64_t source_hash(const struct kernel *k)
{
    if (!k->source)
        return 0;
    char *text = program_override_text(k->source);
    const char *compiled = text ? text : k->source->text;
    const uint64_t hash = hash64(compiled, strlen(compiled), 0);
    free(text);
    return hash;
}

static void hash_sources(struct journal *j)
{
    for (size_t i = 0; kernels[i] && i < MAX_KERNELS; i++)
        j->sources[i] = source_hash(kernels[i]);
}

static void source_text(const struct journal *j, const struct kernel *k, char buf[17])
{
    snprintf(buf, 17, "%016" PRIx64, j->sources[kernel_index(k)]);
}

bool journal_wrong(const struct journal *j, const struct kernel *k)
{
    return j->wrong[kernel_index(k)];
}

int journal_failures(const struct journal *j, const struct candidate *c, const char *class_text)
{
    int failures = 0;
    for (int i = 0; i < j->n_trials; i++) {
        const struct trial *t = &j->trials[i];
        if (candidate_equal(&t->candidate, c) && !strcmp(t->class_text, class_text))
            failures += t->done && t->result.outcome == OUT_COMPILE_ERROR ? 2 : t->failures;
    }
    return failures;
}

/* ---- trials ---- */

static int *slot_of(const struct journal *j, const struct candidate *c, const char *problem_text)
{
    char key[512];
    candidate_print(c, key, sizeof key);
    append(key, sizeof key, "|%s", problem_text);
    for (uint64_t at = hash64(key, strlen(key), 0);; at++) {
        int *slot = &j->slots[at & (uint64_t) (j->n_slots - 1)];
        if (*slot < 0 ||
            (candidate_equal(&j->trials[*slot].candidate, c) && !strcmp(j->trials[*slot].problem_text, problem_text)))
            return slot;
    }
}

const struct trial *journal_find(const struct journal *j, const struct candidate *c, const char *problem_text)
{
    if (!j->n_slots)
        return NULL;
    const int *slot = slot_of(j, c, problem_text);
    return *slot < 0 ? NULL : &j->trials[*slot];
}

static bool grow(struct journal *j)
{
    const int cap = j->cap ? 2 * j->cap : 256;
    struct trial *trials = realloc(j->trials, (size_t) cap * sizeof *trials);
    if (!trials)
        return false;
    j->trials = trials;
    int *slots = malloc(2 * (size_t) cap * sizeof *slots); /* half empty at most full */
    if (!slots)
        return false;
    free(j->slots);
    j->slots = slots;
    j->cap = cap;
    j->n_slots = 2 * cap;
    memset(slots, -1, 2 * (size_t) cap * sizeof *slots);
    for (int i = 0; i < j->n_trials; i++)
        *slot_of(j, &j->trials[i].candidate, j->trials[i].problem_text) = i;
    return true;
}

struct trial *journal_trial(struct journal *j, const struct candidate *c, const struct point *p)
{
    if (j->n_trials == j->cap && !grow(j))
        return NULL;
    int *slot = slot_of(j, c, p->text);
    if (*slot < 0) {
        struct trial *t = &j->trials[j->n_trials];
        *t = (struct trial){.candidate = *c, .problem = p->problem};
        memcpy(t->problem_text, p->text, sizeof t->problem_text);
        problem_class(&t->problem, t->class_text);
        *slot = j->n_trials++;
    }
    return &j->trials[*slot];
}

static void forget_trials(struct journal *j)
{
    j->n_trials = j->n_fatal = 0;
    memset(j->wrong, 0, sizeof j->wrong);
    if (j->n_slots)
        memset(j->slots, -1, (size_t) j->n_slots * sizeof *j->slots);
}

/* A tuner is gone: what it had begun and not ended took it down. */
static void close_open_trials(struct journal *j)
{
    for (int i = 0; i < j->n_trials; i++)
        if (j->trials[i].open) {
            j->trials[i].open = false;
            j->trials[i].failures++;
            j->n_fatal++;
        }
}

void journal_note(struct journal *j, struct trial *t, const struct result *r)
{
    t->open = false;
    if (r->outcome == OUT_STOPPED && t->done) /* a second measurement that was not finished takes nothing away */
        return;
    t->result = *r;
    j->n_fatal += outcome_is_fatal(r->outcome);
    if (outcome_is_fatal(r->outcome))
        t->done = ++t->failures >= 2;
    else
        t->done = r->outcome != OUT_STOPPED;
    if (outcome_is_wrong(r->outcome))
        j->wrong[kernel_index(t->candidate.kernel)] = true;
}

/* ---- reading ---- */

static double get_us(const json_t *line, const char *name)
{
    return (double) json_integer_value(json_object_get(line, name)) * 1e-3;
}

static double get_ratio(const json_t *line, const char *name)
{
    return (double) json_integer_value(json_object_get(line, name)) * 1e-6;
}

/* NULL: a kernel that is no more, or has changed since; or damaged, then *bad. */
static struct trial *trial_of_line(struct journal *j, const json_t *line, bool *bad)
{
    const char *name, *source, *config, *problem;
    json_int_t rev;
    char why[200], expect[17];
    struct candidate c = {0};
    struct point p = {0};
    *bad = json_unpack((json_t *) line, "{s:s, s:I, s:s, s:s, s:s}", "kernel", &name, "rev", &rev, "source", &source,
                       "config", &config, "problem", &problem) != 0 ||
           !problem_parse(problem, &p.problem, why, sizeof why);
    if (*bad)
        return NULL;
    c.kernel = kernel_find(name);
    if (!c.kernel || c.kernel->op != p.problem.op || !kernel_parse_config(c.kernel, config, c.cfg))
        return NULL;
    source_text(j, c.kernel, expect);
    const bool stale = c.kernel->rev != rev || strcmp(expect, source);
    j->n_stale += stale && j->keep_stale;
    if (stale && !j->keep_stale)
        return NULL;
    problem_print(&p.problem, p.text);
    struct trial *t = journal_trial(j, &c, &p);
    *bad = t == NULL;
    if (t)
        t->holdout = json_is_true(json_object_get(line, "holdout"));
    return t;
}

/* Of the default, kernel@revision configuration, that a result was taken against (candidate_hash). Stale lines that are
 * kept count as if their kernels had not changed. */
static uint64_t hash_of_default(const char *text, bool keep_stale)
{
    char name[64], now[512];
    const size_t n = strcspn(text, "@");
    snprintf(name, sizeof name, "%.*s", (int) MIN(n, sizeof name - 1), text);
    const struct kernel *k = keep_stale && text[n] ? kernel_find(name) : NULL;
    if (!k)
        return hash64(text, strlen(text), 0);
    snprintf(now, sizeof now, "%s@%u%s", name, k->rev, text + n + 1 + strspn(text + n + 1, "0123456789"));
    return hash64(now, strlen(now), 0);
}

static bool read_result(const json_t *line, bool keep_stale, struct result *r)
{
    if (!outcome_parse(json_string_value(json_object_get(line, "outcome")), &r->outcome))
        return false;
    r->median_us = get_us(line, "median_ns");
    r->lo_us = get_us(line, "lo_ns");
    r->hi_us = get_us(line, "hi_ns");
    r->wall_us = get_us(line, "wall_ns");
    r->default_us = get_us(line, "default_ns");
    r->default_wall_us = get_us(line, "default_wall_ns");
    r->ratio = get_ratio(line, "ratio_ppm");
    r->ratio_lo = get_ratio(line, "ratio_lo_ppm");
    r->ratio_hi = get_ratio(line, "ratio_hi_ppm");
    const char *against = json_string_value(json_object_get(line, "against"));
    r->against = against ? hash_of_default(against, keep_stale) : 0;
    r->final = json_is_true(json_object_get(line, "final"));
    r->samples = (int) json_integer_value(json_object_get(line, "samples"));
    r->error_ratio = json_number_value(json_object_get(line, "error_ratio"));
    const char *text = json_string_value(json_object_get(line, "text"));
    snprintf(r->text, sizeof r->text, "%s", text ? text : "");
    return r->outcome != OUT_OK || (r->median_us > 0 && r->error_ratio <= 1);
}

static bool apply_session(struct journal *j, const json_t *line)
{
    const char *version = json_string_value(json_object_get(line, "version"));
    if (!version)
        return false;
    close_open_trials(j);
    if (json_is_true(json_object_get(line, "fresh")))
        forget_trials(j);
    snprintf(j->version, sizeof j->version, "%s", version);
    j->seed = (uint64_t) json_integer_value(json_object_get(line, "seed"));
    j->complete = false;
    return true;
}

/* False: damaged. */
static bool apply(struct journal *j, const json_t *line)
{
    const char *kind = json_string_value(json_object_get(line, "line"));
    if (!kind)
        return false;
    if (!strcmp(kind, "device")) {
        struct facts f;
        if (!facts_from_json(line, &f) || (j->has_facts && facts_hash(&f) != facts_hash(&j->facts)))
            return false;
        j->facts = f;
        j->has_facts = true;
        return true;
    }
    if (!strcmp(kind, "session"))
        return apply_session(j, line);
    if (!strcmp(kind, "finish")) {
        j->complete = json_is_true(json_object_get(line, "complete"));
        return true;
    }
    const bool begin = !strcmp(kind, "begin");
    if (!begin && strcmp(kind, "end"))
        return false;
    bool bad;
    struct result r = {0};
    struct trial *t = trial_of_line(j, line, &bad);
    if (bad || (!begin && !read_result(line, j->keep_stale, &r)))
        return false;
    if (!t)
        j->n_stale++;
    else if (!begin)
        journal_note(j, t, &r);
    else
        t->open = true;
    return true;
}

static bool checksum_good(const char *line, size_t n)
{
    char tail[SUM_TAIL + 1];
    if (n <= SUM_TAIL)
        return false;
    snprintf(tail, sizeof tail, ",\"sum\":\"%016" PRIx64 "\"}", hash64(line, n - SUM_TAIL, 0));
    return !memcmp(tail, line + n - SUM_TAIL, SUM_TAIL);
}

/* *whole: bytes up to the end of the last whole line. */
static void read_lines(struct journal *j, const char *text, size_t n, size_t *whole)
{
    size_t at = 0;
    *whole = 0;
    for (int number = 1; at < n; number++) {
        const char *end = memchr(text + at, '\n', n - at);
        if (!end) {
            fprintf(stderr, "flashdec-tune: %s: the last line is torn, dropped\n", j->path);
            j->n_dropped++;
            return;
        }
        const size_t length = (size_t) (end - text) - at;
        json_t *line =
            checksum_good(text + at, length) ? json_loadb(text + at, length, JSON_REJECT_DUPLICATES, NULL) : NULL;
        if (!line || !apply(j, line)) {
            fprintf(stderr, "flashdec-tune: %s:%d: damaged line, dropped\n", j->path, number);
            j->n_dropped++;
        } else if (j->lines) {
            json_array_append(j->lines, line);
        }
        json_decref(line);
        at += length + 1;
        *whole = at;
    }
}

static fdec_status load(struct journal *j, size_t *whole)
{
    char *text;
    size_t n;
    hash_sources(j);
    const fdec_status st = file_read(j->path, JOURNAL_MAX_BYTES, &text, &n);
    if (st != FDEC_OK)
        return st;
    read_lines(j, text, n, whole);
    close_open_trials(j);
    free(text);
    return FDEC_OK;
}

/* *j: as it is to be before the first line. */
static fdec_status read_into(const char *path, struct journal *j)
{
    if (snprintf(j->path, sizeof j->path, "%s", path) >= (int) sizeof j->path)
        return fail(FDEC_E_DATA, "%.100s...: path too long", path);
    size_t whole;
    fdec_status st = load(j, &whole);
    if (st == FDEC_OK && !j->has_facts)
        st = fail(FDEC_E_DATA, "%s: no line of it says which device this is", path);
    return st;
}

fdec_status journal_read(const char *path, bool keep_stale, struct journal *j)
{
    *j = (struct journal){.fd = -1, .keep_stale = keep_stale};
    return read_into(path, j);
}

fdec_status journal_read_lines(const char *path, struct journal *j)
{
    *j = (struct journal){.fd = -1, .lines = json_array()};
    return j->lines ? read_into(path, j) : fail(FDEC_E_MEMORY, "out of memory: the lines of the log");
}

fdec_status journal_dir(char *buf, size_t n)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    if (state && *state == '/')
        snprintf(buf, n, "%s/flashdec", state);
    else if (home && *home == '/')
        snprintf(buf, n, "%s/.local/state/flashdec", home);
    else
        return fail(FDEC_E_ARG, "neither XDG_STATE_HOME nor HOME is an absolute path: no place for the log");
    return make_dirs(buf, 0700) ? FDEC_OK : fail(FDEC_E_DATA, "%s: cannot create: %s", buf, strerror(errno));
}

static void journal_path(const struct facts *f, const char *dir, char *buf, size_t n)
{
    snprintf(buf, n, "%s/%016" PRIx64 ".jsonl", dir, facts_hash(f));
}

void journal_in_memory(const struct facts *f, struct journal *j)
{
    char dir[900];
    struct journal known = {.fd = -1};
    *j = (struct journal){.fd = -1, .facts = *f, .has_facts = true};
    if (journal_dir(dir, sizeof dir) == FDEC_OK)
        journal_path(f, dir, known.path, sizeof known.path);
    size_t whole;
    if (*known.path && load(&known, &whole) == FDEC_OK && known.has_facts)
        j->facts = known.facts;
    journal_close(&known);
    hash_sources(j);
}

fdec_status journal_open(const struct facts *f, struct journal *j)
{
    char dir[900];
    size_t whole = 0;
    *j = (struct journal){.fd = -1};
    fdec_status st = journal_dir(dir, sizeof dir);
    if (st != FDEC_OK)
        return st;
    journal_path(f, dir, j->path, sizeof j->path);
    j->fd = open(j->path, O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (j->fd < 0)
        return fail(FDEC_E_DATA, "%s: cannot open: %s", j->path, strerror(errno));
    if (flock(j->fd, LOCK_EX | LOCK_NB))
        return fail(FDEC_E_DATA, "%s: another flashdec-tune is tuning this device", j->path);
    if ((st = load(j, &whole)) != FDEC_OK)
        return st;
    if (ftruncate(j->fd, (off_t) whole))
        return fail(FDEC_E_DATA, "%s: cannot cut the torn line: %s", j->path, strerror(errno));
    return FDEC_OK;
}

void journal_close(struct journal *j)
{
    if (j->fd >= 0)
        close(j->fd);
    free(j->trials);
    free(j->slots);
    json_decref(j->lines);
    *j = (struct journal){.fd = -1};
}

/* ---- writing ---- */

/* One write() a line, so that a kill leaves a whole line, or one torn one at the end. Takes the reference. */
static fdec_status put(struct journal *j, json_t *line, bool sync)
{
    char *text = line ? json_dumps(line, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;
    json_decref(line);
    if (!text)
        return fail(FDEC_E_MEMORY, "out of memory: a line of the log");
    if (j->fd < 0) {
        free(text);
        return FDEC_OK;
    }
    const size_t n = strlen(text) - 1, size = n + SUM_TAIL + 2;
    char *out = malloc(size);
    fdec_status st = FDEC_OK;
    try_alloc(out);
    snprintf(out, size, "%.*s,\"sum\":\"%016" PRIx64 "\"}\n", (int) n, text, hash64(text, n, 0));
    const ssize_t written = write(j->fd, out, n + SUM_TAIL + 1);
    if (written != (ssize_t) (n + SUM_TAIL + 1) || (sync && fdatasync(j->fd)))
        st = fail(FDEC_E_DATA, "%s: cannot write: %s", j->path, strerror(written < 0 || errno ? errno : ENOSPC));
out:
    free(out);
    free(text);
    return st;
}

static json_t *key_line(const struct journal *j, const char *kind, const struct trial *t)
{
    char source[17], config[256];
    source_text(j, t->candidate.kernel, source);
    kernel_print_config(t->candidate.kernel, t->candidate.cfg, config, sizeof config);
    json_t *line = json_pack("{s:s, s:s, s:I, s:s, s:s, s:s}", "line", kind, "kernel", t->candidate.kernel->name, "rev",
                             (json_int_t) t->candidate.kernel->rev, "source", source, "config", config, "problem",
                             t->problem_text);
    if (t->holdout)
        json_object_set_new(line, "holdout", json_true());
    json_object_set_new(line, "at_us", json_integer((json_int_t) ((now_ms() - j->session_ms) * 1e3)));
    return line;
}

fdec_status journal_facts(struct journal *j, const struct facts *f)
{
    json_t *line = json_pack("{s:s}", "line", "device"), *facts = facts_to_json(f);
    json_object_update(line, facts);
    json_decref(facts);
    j->facts = *f;
    j->has_facts = true;
    return put(j, line, true);
}

fdec_status journal_session(struct journal *j, const struct session_info *s)
{
    json_t *line = json_pack("{s:s, s:s, s:I, s:f, s:s, s:s, s:b, s:I}", "line", "session", "version", fdec_version(),
                             "seed", (json_int_t) s->seed, "budget_s", s->budget_s, "strategy", s->strategy, "shapes",
                             s->shapes, "fresh", (int) s->fresh, "unix_s", (json_int_t) time(NULL));
    j->session_ms = now_ms();
    const bool applied = apply_session(j, line);
    return applied ? put(j, line, true) : fail(FDEC_E_MEMORY, "out of memory: a line of the log");
}

fdec_status journal_begin(struct journal *j, struct trial *t, bool holdout)
{
    t->open = true;
    t->holdout = holdout;
    return put(j, key_line(j, "begin", t), true);
}

static void set_scaled(json_t *line, const char *name, double value, double scale)
{
    json_object_set_new(line, name, json_integer((json_int_t) llround(value * scale)));
}

/* against: the default that it was timed in turns with; NULL: none. */
static void set_times(json_t *line, const struct result *r, const struct candidate *against)
{
    set_scaled(line, "median_ns", r->median_us, 1e3);
    set_scaled(line, "lo_ns", r->lo_us, 1e3);
    set_scaled(line, "hi_ns", r->hi_us, 1e3);
    set_scaled(line, "wall_ns", r->wall_us, 1e3);
    if (r->ratio > 0 && against) {
        char text[512];
        candidate_print(against, text, sizeof text);
        json_object_set_new(line, "against", json_string(text));
        set_scaled(line, "default_ns", r->default_us, 1e3);
        set_scaled(line, "default_wall_ns", r->default_wall_us, 1e3);
        set_scaled(line, "ratio_ppm", r->ratio, 1e6);
        set_scaled(line, "ratio_lo_ppm", r->ratio_lo, 1e6);
        set_scaled(line, "ratio_hi_ppm", r->ratio_hi, 1e6);
    }
    json_object_set_new(line, "samples", json_integer(r->samples));
    json_object_set_new(line, "error_ratio", json_real(r->error_ratio));
    if (r->final)
        json_object_set_new(line, "final", json_true());
}

fdec_status journal_end(struct journal *j, struct trial *t, const struct result *r, const struct candidate *against)
{
    json_t *line = key_line(j, "end", t);
    json_object_set_new(line, "outcome", json_string(outcome_name(r->outcome)));
    if (r->outcome == OUT_OK)
        set_times(line, r, against);
    if (*r->text) {
        json_t *text = json_string(r->text);
        json_object_set_new(line, "text", text ? text : json_string("not UTF-8"));
    }
    struct result kept = *r; /* as a later run will read it */
    if (!read_result(line, j->keep_stale, &kept))
        kept.outcome = OUT_ERROR;
    journal_note(j, t, &kept);
    return put(j, line, false);
}

fdec_status journal_finish(struct journal *j, bool complete)
{
    j->complete = complete;
    return put(j, json_pack("{s:s, s:b}", "line", "finish", "complete", (int) complete), true);
}
