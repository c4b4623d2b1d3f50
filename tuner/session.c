/* SPDX-License-Identifier: MIT
 * session.c - the parent: walks the search, one worker per candidate, and writes down what becomes of each
 *
 * The parent never touches OpenCL, so no driver can hang or crash it. It keeps the clock of every phase a worker
 * announces, kills what is over its limit, and goes on. */
#define _GNU_SOURCE
#include "tuner.h"
#include "workload.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct session {
    const struct options *o;
    struct shapes shapes;
    struct facts facts;
    struct journal journal;
    struct search search;
    struct child child;
    char work[1024];              /* private directory: references, program binaries, the worker's standard error */
    double begin_ms, deadline_ms; /* 0: no deadline */
    int n_tasks, n_started, n_timed, n_reused, n_by_outcome[OUT_COUNT];
    bool out_of_time, failed;
    /* progress */
    bool terminal;
    double shown_ms;
    char doing[700];
};

static const double start_s = 60, setup_s = 120, time_extra_s = 5, roof_s = 120;

/* ---- signals: the first one stops in order, the second one at once ---- */

static volatile sig_atomic_t stop_signals, worker_pid;

static void on_signal(int sig)
{
    (void) sig;
    if (stop_signals++) {
        if (worker_pid > 0)
            kill(-(pid_t) worker_pid, SIGKILL);
        _exit(1);
    }
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
}

static bool over_budget(const struct session *s, double grace_ms)
{
    return s->deadline_ms > 0 && now_ms() > s->deadline_ms + grace_ms;
}

static bool must_stop(struct session *s)
{
    s->out_of_time = s->out_of_time || over_budget(s, 0);
    return stop_signals || s->out_of_time || s->failed;
}

/* ---- progress ---- */

static void erase_progress(const struct session *s)
{
    if (s->terminal && s->shown_ms > 0)
        fputs("\r\033[K", stderr);
}

/* A line that stays, above the progress line. */
__attribute__((format(printf, 2, 3))) static void tell(const struct session *s, const char *format, ...)
{
    va_list args;
    if (s->o->quiet)
        return;
    erase_progress(s);
    va_start(args, format);
    fputs("flashdec-tune: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

/* What the budget or, when that is shorter, the pace so far leaves. */
static double seconds_left(const struct session *s)
{
    const double spent = now_ms() - s->begin_ms, left = s->deadline_ms > 0 ? s->deadline_ms - now_ms() : 1e300;
    const double pace = s->n_tasks ? spent / s->n_tasks * search_left(&s->search) : left;
    return MAX(MIN(left, pace), 0) * 1e-3;
}

static void show_progress(struct session *s)
{
    const double every_ms = s->terminal ? 200 : 10e3;
    if (s->o->quiet || !s->n_tasks || now_ms() - s->shown_ms < every_ms)
        return;
    s->shown_ms = now_ms();
    const double left = MIN(seconds_left(s), 359999);
    char line[900];
    snprintf(line, sizeof line, "%d of %d candidates, %d timed, %d failed, %d:%02d left: %s", s->n_tasks,
             s->n_tasks + search_left(&s->search), s->n_timed,
             s->n_by_outcome[OUT_BUILD_FAILED] + s->n_by_outcome[OUT_BUILD_TIMEOUT] + s->n_by_outcome[OUT_CRASH] +
                 s->n_by_outcome[OUT_HANG] + s->n_by_outcome[OUT_MEMORY] + s->n_by_outcome[OUT_WRONG] +
                 s->n_by_outcome[OUT_ERROR],
             (int) left / 60, (int) left % 60, s->doing);
    if (s->terminal)
        fprintf(stderr, "\r\033[K%.110s", line);
    else
        fprintf(stderr, "flashdec-tune: %s\n", line);
}

/* ---- the private directory ---- */

static void remove_dir(const char *path)
{
    DIR *dir = opendir(path);
    if (!dir)
        return;
    for (struct dirent *e; (e = readdir(dir));) {
        char name[2048];
        struct stat st;
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        snprintf(name, sizeof name, "%s/%s", path, e->d_name);
        if (!lstat(name, &st) && S_ISDIR(st.st_mode))
            remove_dir(name);
        else
            unlink(name);
    }
    closedir(dir);
    rmdir(path);
}

/* work.PID beside the journals; those of tuners that were killed are cleared away. */
static fdec_status make_work_dir(struct session *s)
{
    char dir[900];
    const fdec_status st = journal_dir(dir, sizeof dir);
    if (st != FDEC_OK)
        return st;
    DIR *all = opendir(dir);
    for (struct dirent *e; all && (e = readdir(all));) {
        long pid;
        char end;
        if (sscanf(e->d_name, "work.%ld%c", &pid, &end) != 1 || pid <= 1 || !kill((pid_t) pid, 0) || errno != ESRCH)
            continue;
        snprintf(s->work, sizeof s->work, "%s/work.%ld", dir, pid);
        remove_dir(s->work);
    }
    if (all)
        closedir(all);
    snprintf(s->work, sizeof s->work, "%s/work.%ld", dir, (long) getpid());
    remove_dir(s->work); /* of an earlier process with this number */
    if (mkdir(s->work, 0700))
        return fail(FDEC_E_DATA, "%s: cannot create: %s", s->work, strerror(errno));
    return FDEC_OK;
}

static void reference_path(const struct session *s, const struct point *p, char *buf, size_t n)
{
    snprintf(buf, n, "%s/%016llx.ref", s->work, (unsigned long long) hash64(p->text, strlen(p->text), 0));
}

/* Computed in a forked process, which takes seconds for large shapes: signals and the budget are heeded meanwhile. */
static bool make_reference(struct session *s, struct point *p)
{
    char path[1100];
    struct workload_spec spec;
    if (p->has_reference)
        return true;
    reference_path(s, p, path, sizeof path);
    tune_spec(&p->problem, &spec);
    snprintf(s->doing, sizeof s->doing, "reference of %s", p->text);
    const pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        signal(SIGINT, SIG_IGN);
        const fdec_status st = workload_write_reference(&spec, path);
        if (st != FDEC_OK)
            fprintf(stderr, "flashdec-tune: %s: %s\n", p->text, fdec_last_error());
        _exit(st == FDEC_OK ? 0 : 1);
    }
    int status = 1;
    while (pid > 0 && waitpid(pid, &status, WNOHANG) == 0) {
        if (must_stop(s)) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            return false;
        }
        show_progress(s);
        poll(NULL, 0, 2);
    }
    p->has_reference = pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    return p->has_reference;
}

/* ---- one question to the worker ---- */

static double phase_limit_s(const struct session *s, const char *phase, double best_us)
{
    const double run_s = MAX(s->o->run_s, 200 * best_us * 1e-6);
    if (!strcmp(phase, "build"))
        return s->o->build_s;
    if (!strcmp(phase, "first"))
        return s->o->first_s;
    if (!strcmp(phase, "time"))
        return run_s + time_extra_s;
    return !strcmp(phase, "start") ? start_s : !strcmp(phase, "roof") ? roof_s : setup_s;
}

static void end_worker(struct session *s)
{
    child_kill(&s->child, NULL, 0);
    worker_pid = 0;
}

static bool start_worker(struct session *s)
{
    end_worker(s);
    if (child_start(&s->child, s->o->device, s->work) != FDEC_OK) {
        tell(s, "%s", fdec_last_error());
        s->failed = true;
        return false;
    }
    worker_pid = s->child.pid;
    return true;
}

/* Asks and waits for the answer within the limits. NULL: *why says what happened, and the worker is gone. */
static json_t *ask(struct session *s, json_t *question, double best_us, struct result *why)
{
    char phase[32] = "start";
    double limit_s = start_s, since_ms = now_ms();
    json_t *line = NULL;
    *why = (struct result){.outcome = OUT_CRASH};
    if (!child_say(&s->child, question)) {
        child_kill(&s->child, why->text, sizeof why->text);
        worker_pid = 0;
        return NULL;
    }
    for (;;) {
        const enum heard heard = child_hear(&s->child, 100, &line);
        if (heard == HEARD_END) {
            char how[100];
            child_kill(&s->child, how, sizeof how);
            snprintf(why->text, sizeof why->text, "%s in phase %s", how, phase);
            worker_pid = 0;
            return NULL;
        }
        if (heard == HEARD_LINE && json_object_get(line, "done"))
            return line;
        if (heard == HEARD_LINE) {
            const char *name = json_string_value(json_object_get(line, "phase"));
            snprintf(phase, sizeof phase, "%s", name ? name : "");
            limit_s = phase_limit_s(s, phase, best_us);
            since_ms = now_ms();
            json_decref(line);
        }
        show_progress(s);
        const bool over = now_ms() - since_ms > limit_s * 1e3;
        if (!over && !stop_signals && !over_budget(s, 1000))
            continue;
        why->outcome = !over ? OUT_STOPPED : !strcmp(phase, "build") ? OUT_BUILD_TIMEOUT : OUT_HANG;
        if (over)
            snprintf(why->text, sizeof why->text, "over %g s in phase %s", limit_s, phase);
        end_worker(s);
        return NULL;
    }
}

/* ---- one candidate ---- */

static double get_number(const json_t *line, const char *name)
{
    return json_number_value(json_object_get(line, name));
}

/* Of what a worker says nothing is believed unseen: it may be a driver's victim. */
static struct result take_result(const json_t *line)
{
    struct result r = {.outcome = OUT_ERROR};
    const char *text = json_string_value(json_object_get(line, "text"));
    const char *error = json_string_value(json_object_get(line, "error"));
    snprintf(r.text, sizeof r.text, "%s", error ? error : text ? text : "");
    if (error || !outcome_parse(json_string_value(json_object_get(line, "outcome")), &r.outcome))
        return r;
    r.median_us = get_number(line, "median_us");
    r.lo_us = get_number(line, "lo_us");
    r.hi_us = get_number(line, "hi_us");
    r.wall_us = get_number(line, "wall_us");
    r.default_us = get_number(line, "default_us");
    r.default_wall_us = get_number(line, "default_wall_us");
    r.ratio = get_number(line, "ratio");
    r.ratio_lo = get_number(line, "ratio_lo");
    r.ratio_hi = get_number(line, "ratio_hi");
    r.error_ratio = get_number(line, "error_ratio");
    r.samples = (int) get_number(line, "samples");
    if (r.outcome == OUT_OK &&
        !(r.median_us > 0 && r.lo_us <= r.median_us && r.median_us <= r.hi_us && r.error_ratio <= 1 &&
          r.ratio_lo <= r.ratio && r.ratio <= r.ratio_hi && (r.ratio == 0 || r.default_us > 0)))
        r = (struct result){.outcome = OUT_ERROR, .text = "the worker's figures make no sense"};
    return r;
}

/* What is asked of a worker. The default is what all others are held against: it is timed however slow it is, alone,
 * and then in turns with each of the others. */
static json_t *question(const struct session *s, const struct candidate *c, const struct point *p,
                        const struct point *whole, bool final)
{
    char reference[1100], config[256];
    struct candidate first;
    reference_path(s, whole, reference, sizeof reference);
    kernel_print_config(c->kernel, c->cfg, config, sizeof config);
    const bool has_default = candidate_default(&p->problem, &s->facts.device, s->facts.denied, &first);
    const bool is_default = has_default && candidate_equal(c, &first);
    json_t *ask =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:f, s:b, s:I}", "do", "measure", "kernel", c->kernel->name, "config",
                  config, "problem", p->text, "whole", whole->text, "reference", reference, "best_us",
                  is_default ? 0 : p->best_us, "final", (int) final, "cache_bytes", (json_int_t) s->facts.cache_bytes);
    const struct trial *standard = has_default ? journal_find(&s->journal, &first, p->text) : NULL;
    if (!is_default && standard && standard->done && standard->result.outcome == OUT_OK) {
        kernel_print_config(first.kernel, first.cfg, config, sizeof config);
        json_object_set_new(ask, "against", json_string(first.kernel->name));
        json_object_set_new(ask, "against_config", json_string(config));
    }
    return ask;
}

static void watch_drift(struct point *p, double default_us)
{
    if (default_us <= 0)
        return;
    p->drift_us[0] = p->drift_us[0] > 0 ? MIN(p->drift_us[0], default_us) : default_us;
    p->drift_us[1] = MAX(p->drift_us[1], default_us);
}

/* The default is the clock by which the machine's own changes show. */
static void tell_drift(const struct session *s)
{
    const double worth_telling = 1.1;
    const struct point *worst = NULL;
    for (int c = 0; c < s->shapes.n; c++)
        for (int i = 0; i < s->shapes.classes[c].n_points; i++) {
            const struct point *p = &s->shapes.classes[c].points[i];
            if (p->drift_us[0] > 0 &&
                (!worst || p->drift_us[1] * worst->drift_us[0] > worst->drift_us[1] * p->drift_us[0]))
                worst = p;
        }
    if (worst && worst->drift_us[1] > worth_telling * worst->drift_us[0])
        tell(s,
             "drift: the same default took %.3f to %.3f us at %s (clock, heat, or other work on this machine); "
             "candidates are compared with it in turns, so choices hold, times may not",
             worst->drift_us[0], worst->drift_us[1], worst->text);
}

/* False: the worker is gone, or the log cannot be written. */
static bool measure_point(struct session *s, const struct candidate *c, struct point *p, const struct point *whole,
                          bool final)
{
    struct result r;
    struct trial *t = journal_trial(&s->journal, c, p);
    if (!t || journal_begin(&s->journal, t, p->holdout) != FDEC_OK)
        goto broken;
    json_t *answer = ask(s, question(s, c, p, whole, final), MAX(p->best_us, p->drift_us[1]), &r);
    if (answer)
        r = take_result(answer);
    json_decref(answer);
    r.final = final;
    if (journal_end(&s->journal, t, &r) != FDEC_OK)
        goto broken;
    s->n_by_outcome[r.outcome]++;
    if (r.outcome == OUT_OK) {
        s->n_timed++;
        watch_drift(p, r.ratio > 0 ? r.default_us : candidate_is_default(c, &p->problem, &s->facts) ? r.median_us : 0);
        if (p->best_us == 0 || r.median_us < p->best_us)
            p->best_us = r.median_us;
    } else if (r.outcome != OUT_SLOW && r.outcome != OUT_STOPPED) {
        char name[512];
        candidate_print(c, name, sizeof name);
        tell(s, "%s: %s on %s%s%s", outcome_name(r.outcome), name, p->text, *r.text ? ": " : "", r.text);
    }
    return s->child.pid > 0;
broken:
    tell(s, "%s", t ? fdec_last_error() : "out of memory: trials");
    s->failed = true;
    return false;
}

/* Two crashes or hangs of a candidate in one class, whatever the point: it is not tried again. */
static bool given_up(const struct session *s, const struct candidate *c, const char *class_text)
{
    int failures = 0;
    for (int i = 0; i < s->journal.n_trials; i++) {
        const struct trial *t = &s->journal.trials[i];
        if (candidate_equal(&t->candidate, c) && !strcmp(t->class_text, class_text))
            failures += t->failures;
    }
    return failures >= 2 || journal_wrong(&s->journal, c->kernel);
}

static bool wants_timing(const struct session *s, const struct task *task, const struct shape_class *sc,
                         const struct point *p)
{
    const struct candidate *c = &task->candidate;
    if (task->tier == TIER_FINAL)
        return is_finalist(&s->journal, c, &p->problem);
    const struct trial *t = journal_find(&s->journal, c, p->text);
    return !(t && t->done && !t->holdout) && search_asks(&s->search, task, sc, p);
}

/* What cannot be measured again keeps what it has. */
static bool can_measure(struct session *s, const struct task *task, struct shape_class *sc, struct point *p)
{
    const bool can = !given_up(s, &task->candidate, sc->text) && make_reference(s, shapes_whole(sc, p));
    if (can || task->tier < TIER_FINAL)
        return can;
    struct trial *t =
        journal_trial(&s->journal, &task->candidate, p); /* in memory: so that it is not asked for again */
    if (!t)
        s->failed = true;
    else if (task->tier == TIER_FINAL)
        t->result.final = true;
    else
        t->failures = 2;
    return false;
}

/* False: the worker is gone, or none can be had. */
static bool run_point(struct session *s, const struct task *task, struct shape_class *sc, struct point *p)
{
    const bool again = task->tier == TIER_FINAL;
    char name[512];
    candidate_print(&task->candidate, name, sizeof name);
    snprintf(s->doing, sizeof s->doing, "%s%s, %s", again ? "again: " : "", p->text, name);
    show_progress(s);
    if (!s->child.pid) {
        s->n_started += task->tier < TIER_FINAL;
        if (!start_worker(s))
            return false;
    }
    return measure_point(s, &task->candidate, p, shapes_whole(sc, p), again);
}

/* On one worker. */
static void run_task(struct session *s, const struct task *task)
{
    struct shape_class *sc = &s->shapes.classes[task->class];
    bool alive = true;
    if (task->tier == TIER_HOLDOUT)
        alive = can_measure(s, task, sc, &sc->holdout) && run_point(s, task, sc, &sc->holdout);
    for (int i = 0; task->tier != TIER_HOLDOUT && i < sc->n_points && alive && !must_stop(s); i++) {
        struct point *p = &sc->points[i];
        if (wants_timing(s, task, sc, p) && can_measure(s, task, sc, p))
            alive = run_point(s, task, sc, p);
    }
    end_worker(s);
}

/* ---- the whole ---- */

/* A question that is not about a candidate. */
static fdec_status ask_plainly(struct session *s, const char *what, json_t **answer)
{
    struct result why;
    *answer = ask(s, json_pack("{s:s}", "do", what), 0, &why);
    if (!*answer)
        return fail(FDEC_E_DEVICE, "%s: %s", what, why.outcome == OUT_STOPPED ? "stopped" : why.text);
    const char *error = json_string_value(json_object_get(*answer, "error"));
    return error ? fail(FDEC_E_DEVICE, "%s", error) : FDEC_OK;
}

static fdec_status ask_device(struct session *s)
{
    json_t *answer = NULL;
    if (!start_worker(s))
        return FDEC_E_DEVICE;
    fdec_status st = ask_plainly(s, "device", &answer);
    if (st == FDEC_OK && !facts_from_json(answer, &s->facts))
        st = fail(FDEC_E_DEVICE, "the worker's facts about the device make no sense");
    json_decref(answer);
    return st;
}

/* Rates and cache size are measured once per journal, by the worker that is still there. */
static fdec_status ask_roof(struct session *s)
{
    const struct facts *known = &s->journal.facts;
    if (s->journal.has_facts && known->measured && !s->o->fresh) {
        s->facts.measured = true;
        s->facts.read_gbps = known->read_gbps;
        s->facts.launch_us = known->launch_us;
        s->facts.cache_bytes = known->cache_bytes;
        return journal_facts(&s->journal, &s->facts); /* limits and denied kernels may be other ones today */
    }
    tell(s, "measuring memory bandwidth and cache");
    json_t *answer = NULL;
    const fdec_status st = ask_plainly(s, "roof", &answer);
    if (st != FDEC_OK) {
        json_decref(answer);
        return st;
    }
    s->facts.read_gbps = get_number(answer, "read_gbps");
    s->facts.launch_us = get_number(answer, "launch_us");
    s->facts.cache_bytes = (size_t) get_number(answer, "cache_bytes");
    s->facts.measured = true;
    json_decref(answer);
    return journal_facts(&s->journal, &s->facts);
}

/* What an earlier session has measured: best times, and how much of it there is. */
static void recall(struct session *s)
{
    for (int c = 0; c < s->shapes.n; c++)
        for (int i = 0; i < s->shapes.classes[c].n_points; i++) {
            struct point *p = &s->shapes.classes[c].points[i];
            for (int k = 0; k < s->journal.n_trials; k++) {
                const struct trial *t = &s->journal.trials[k];
                if (strcmp(t->problem_text, p->text) || !t->done)
                    continue;
                s->n_reused++;
                if (t->result.outcome == OUT_OK && (p->best_us == 0 || t->result.median_us < p->best_us))
                    p->best_us = t->result.median_us;
            }
        }
    if (s->n_reused)
        tell(s, "%d measurements of earlier runs are used again (%s)", s->n_reused, s->journal.path);
}

static fdec_status prepare(struct session *s)
{
    fdec_status st = FDEC_OK;
    try_st(shapes_load(s->o->shapes, &s->shapes));
    try_st(make_work_dir(s));
    try_st(ask_device(s));
    try_st(journal_open(&s->facts, &s->journal));
    try_st(ask_roof(s));
    end_worker(s);
    try_st(
        journal_session(&s->journal, &(struct session_info){s->o->seed, s->o->budget_s, strategy_name(s->o->strategy),
                                                            s->o->shapes, s->o->fresh}));
    tell(s, "%s, driver %s", s->facts.device.name, s->facts.device.driver);
    tell(s, "read %.1f GB/s, launch %.1f us, cache %.1f MiB", s->facts.read_gbps, s->facts.launch_us,
         (double) s->facts.cache_bytes / (1 << 20));
    recall(s);
    s->search = (struct search){.shapes = &s->shapes,
                                .facts = &s->facts,
                                .journal = &s->journal,
                                .strategy = s->o->strategy,
                                .seed = s->o->seed};
    st = search_begin(&s->search);
out:
    return st;
}

/* The user's table directory, made when it is not there yet. */
static fdec_status default_path(const struct device *d, char *path, size_t n)
{
    if (!table_default_path(d, path, n))
        return fail(FDEC_E_ARG, "neither XDG_DATA_HOME nor HOME is set: name the table with --out");
    char *slash = strrchr(path, '/');
    *slash = 0;
    const bool made = make_dirs(path, 0755);
    *slash = '/';
    return made ? FDEC_OK : fail(FDEC_E_DATA, "%s: cannot create its directory: %s", path, strerror(errno));
}

static fdec_status write_table(struct session *s, bool complete)
{
    struct table *t = NULL;
    char path[1024];
    fdec_status st = FDEC_OK;
    try_st(journal_finish(&s->journal, complete));
    try_st(build_table(&s->journal, &t));
    if (t->n_entries == 0) {
        st = fail(FDEC_E_DATA, "nothing was measured: no table written");
        goto out;
    }
    if (s->o->out)
        snprintf(path, sizeof path, "%s", s->o->out);
    else
        try_st(default_path(&s->facts.device, path, sizeof path));
    try_st(table_write(t, path));
    tell(s, "%d entries; %d candidates tried, %d measurements in %.0f s%s", t->n_entries, s->n_started, s->n_timed,
         (now_ms() - s->begin_ms) * 1e-3, complete ? "" : "; incomplete: more time would try more candidates");
    tell_drift(s);
    tell(s, "table: %s", path);
out:
    table_destroy(&t);
    return st;
}

/* The best are measured again, and hold-outs, when the search has come to its end, or the budget nearly has. False: all
 * is done. */
static bool next_task(struct session *s, struct task *task)
{
    const double search_share = 0.8; /* of the budget */
    const bool late = s->deadline_ms > 0 && now_ms() > s->begin_ms + search_share * (s->deadline_ms - s->begin_ms);
    if (late && (search_final(&s->search, task) || search_holdout(&s->search, task)))
        return true;
    return search_next(&s->search, task) || search_final(&s->search, task) || search_holdout(&s->search, task);
}

int session_run(const struct options *o)
{
    struct session s = {.o = o, .journal = {.fd = -1}, .begin_ms = now_ms(), .terminal = isatty(2)};
    struct task task;
    bool complete = false;
    catch_signals();
    fdec_status st = prepare(&s);
    if (st == FDEC_OK) {
        s.deadline_ms = o->budget_s > 0 ? s.begin_ms + o->budget_s * 1e3 : 0;
        while (!must_stop(&s) && !(complete = !next_task(&s, &task))) {
            s.n_tasks++;
            run_task(&s, &task);
        }
        erase_progress(&s);
        if (stop_signals)
            tell(&s, "stopped: the best so far is kept");
        st = write_table(&s, complete && !s.failed);
    }
    if (st != FDEC_OK)
        fprintf(stderr, "flashdec-tune: %s\n", fdec_last_error());
    end_worker(&s);
    search_end(&s.search);
    journal_close(&s.journal);
    shapes_clear(&s.shapes);
    if (*s.work)
        remove_dir(s.work);
    return st == FDEC_OK && !s.failed ? 0 : 1;
}
