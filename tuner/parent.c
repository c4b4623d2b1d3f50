/* SPDX-License-Identifier: MIT
 * parent.c - the process that drives workers: limits, outcomes, signals, progress
 *
 * It never touches OpenCL, so no driver can hang or crash it. It keeps the clock of every phase a worker announces,
 * kills what is over its limit, writes down what became of it, and goes on. */
#define _GNU_SOURCE
#include "session.h"
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

bool session_must_stop(struct session *s)
{
    s->out_of_time = s->out_of_time || over_budget(s, 0);
    return stop_signals || s->out_of_time || s->failed;
}

/* ---- progress ---- */

void session_erase_progress(const struct session *s)
{
    if (s->terminal && s->shown_ms > 0)
        fputs("\r\033[K", stderr);
}

/* A line that stays, above the progress line. */
__attribute__((format(printf, 2, 3))) void session_tell(const struct session *s, const char *format, ...)
{
    va_list args;
    if (s->o->quiet)
        return;
    session_erase_progress(s);
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

static int n_failed(const struct session *s)
{
    int n = 0;
    for (int i = 0; i < OUT_COUNT; i++)
        n += i != OUT_OK && i != OUT_SLOW && i != OUT_STOPPED ? s->n_by_outcome[i] : 0;
    return n;
}

void session_progress(struct session *s)
{
    const double every_ms = s->terminal ? 200 : 10e3;
    if (s->o->quiet || !s->n_tasks || now_ms() - s->shown_ms < every_ms)
        return;
    s->shown_ms = now_ms();
    const double left = MIN(seconds_left(s), 359999);
    char line[900];
    snprintf(line, sizeof line, "%d of %d candidates, %d timed, %d failed, %d:%02d left: %s", s->n_tasks,
             s->n_tasks + search_left(&s->search), s->n_timed, n_failed(s), (int) left / 60, (int) left % 60, s->doing);
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
bool session_make_reference(struct session *s, struct point *p)
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
        if (session_must_stop(s)) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            return false;
        }
        session_progress(s);
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
    if (!strcmp(phase, "again") || !strcmp(phase, "time"))
        return run_s + time_extra_s;
    return !strcmp(phase, "start") ? start_s : !strcmp(phase, "roof") ? roof_s : setup_s;
}

void session_end_worker(struct session *s)
{
    child_kill(&s->child, NULL, 0);
    worker_pid = 0;
}

/* What a worker may take of the address space. A CPU's memory is the host's; drivers of GPUs reserve far more addresses
 * than they use. The slack is for the programs, libraries and the compiler. */
static uint64_t address_limit(const struct device *d)
{
    const uint64_t slack = (uint64_t) 8 << 30;
    return d->type & CL_DEVICE_TYPE_CPU ? d->global_bytes + slack : 0;
}

bool session_start_worker(struct session *s)
{
    session_end_worker(s);
    if (child_start(&s->child, s->o->device, s->work, address_limit(&s->facts.device)) != FDEC_OK) {
        session_tell(s, "%s", fdec_last_error());
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
        session_progress(s);
        const bool over = now_ms() - since_ms > limit_s * 1e3;
        if (!over && !stop_signals && !over_budget(s, 1000))
            continue;
        why->outcome = !over ? OUT_STOPPED : !strcmp(phase, "build") ? OUT_COMPILE_TIMEOUT : OUT_HANG;
        if (over)
            snprintf(why->text, sizeof why->text, "over %g s in phase %s", limit_s, phase);
        session_end_worker(s);
        return NULL;
    }
}

/* ---- one candidate ---- */

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

/* The default that a candidate is timed in turns with. False: it is the default itself, or that is of no use here. */
static bool find_opponent(const struct session *s, const struct candidate *c, const struct point *p,
                          struct candidate *first)
{
    if (!candidate_default(&p->problem, &s->facts.device, s->facts.denied, first) || candidate_equal(c, first))
        return false;
    const struct trial *standard = journal_find(&s->journal, first, p->text);
    return standard && standard->done && standard->result.outcome == OUT_OK;
}

/* What is asked of a worker. The default is what all others are held against: it is timed however slow it is, alone,
 * and then in turns with each of the others. */
static json_t *question(const struct session *s, const struct candidate *c, const struct point *p,
                        const struct point *whole, bool final, const struct candidate *against)
{
    char reference[1100], config[256];
    reference_path(s, whole, reference, sizeof reference);
    kernel_print_config(c->kernel, c->cfg, config, sizeof config);
    const bool is_default = candidate_is_default(c, &p->problem, &s->facts);
    json_t *ask =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:f, s:b, s:I}", "do", "measure", "kernel", c->kernel->name, "config",
                  config, "problem", p->text, "whole", whole->text, "reference", reference, "best_us",
                  is_default ? 0 : p->best_us, "final", (int) final, "cache_bytes", (json_int_t) s->facts.cache_bytes);
    if (against) {
        kernel_print_config(against->kernel, against->cfg, config, sizeof config);
        json_object_set_new(ask, "against", json_string(against->kernel->name));
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
void session_tell_drift(const struct session *s)
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
        session_tell(s,
                     "drift: the same default took %.3f to %.3f us at %s (clock, heat, or other work on this machine); "
                     "candidates are compared with it in turns, so choices hold, times may not",
                     worst->drift_us[0], worst->drift_us[1], worst->text);
}

/* False: the worker is gone, or the log cannot be written. */
bool session_measure(struct session *s, const struct candidate *c, struct point *p, const struct point *whole,
                     bool final)
{
    struct result r;
    struct trial *t = journal_trial(&s->journal, c, p);
    if (!t || journal_begin(&s->journal, t, p->holdout) != FDEC_OK)
        goto broken;
    struct candidate first;
    const struct candidate *against = find_opponent(s, c, p, &first) ? &first : NULL;
    json_t *answer = ask(s, question(s, c, p, whole, final, against), MAX(p->best_us, p->drift_us[1]), &r);
    if (answer)
        r = take_result(answer);
    json_decref(answer);
    r.final = final;
    if (journal_end(&s->journal, t, &r, against) != FDEC_OK)
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
        session_tell(s, "%s: %s on %s%s%s", outcome_name(r.outcome), name, p->text, *r.text ? ": " : "", r.text);
    }
    if (r.outcome == OUT_LOST)
        session_end_worker(s);
    return s->child.pid > 0 && r.outcome != OUT_COMPILE_ERROR; /* which is the same at every point of the class */
broken:
    session_tell(s, "%s", t ? fdec_last_error() : "out of memory: trials");
    s->failed = true;
    return false;
}

/* ---- the device ---- */

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
    if (!session_start_worker(s))
        return FDEC_E_DEVICE;
    fdec_status st = ask_plainly(s, "device", &answer);
    if (st == FDEC_OK && !facts_from_json(answer, &s->facts))
        st = fail(FDEC_E_DEVICE, "the worker's facts about the device make no sense");
    json_decref(answer);
    return st;
}

/* Rates and cache size are measured once per journal, by the worker that is still there. */
fdec_status session_ask_roof(struct session *s)
{
    const struct facts *known = &s->journal.facts;
    if (s->journal.has_facts && known->measured && !s->o->fresh) {
        s->facts.measured = true;
        s->facts.read_gbps = known->read_gbps;
        s->facts.launch_us = known->launch_us;
        s->facts.cache_bytes = known->cache_bytes;
        return journal_facts(&s->journal, &s->facts); /* limits and denied kernels may be other ones today */
    }
    session_tell(s, "measuring memory bandwidth and cache");
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

/* ---- begin and end ---- */

fdec_status session_open_device(struct session *s)
{
    catch_signals();
    fdec_status st = make_work_dir(s);
    return st == FDEC_OK ? ask_device(s) : st;
}

bool session_stopped(void)
{
    return stop_signals;
}

void session_close(struct session *s)
{
    session_end_worker(s);
    search_end(&s->search);
    journal_close(&s->journal);
    shapes_clear(&s->shapes);
    if (*s->work)
        remove_dir(s->work);
}
