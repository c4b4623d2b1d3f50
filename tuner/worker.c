/* SPDX-License-Identifier: MIT
 * worker.c - the process that touches OpenCL: builds a candidate, checks it, and only then times it
 *
 * What is run is what the library would run: the plan goes through plan_create and workload.h calls the public
 * functions. Each step is announced before it starts; the parent holds the clock and kills. */
#include "tuner.h"
#include "ctx.h"
#include "measure.h"
#include "workload.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WORKER_FD = 3, MAX_SAMPLES = 512, MAX_BATCH = 64, MIN_SAMPLES = 12, MAX_SETS = 256 };

struct worker {
    cl_context context;
    cl_command_queue queue;
    cl_device_id device;
    fdec_ctx *ctx;
    const char *work;
    struct workload *workload; /* of the last request, kept for the next one */
    int n_sets;
    char whole[PROBLEM_TEXT]; /* its problem */
};

void tune_spec(const struct problem *p, struct workload_spec *spec)
{
    *spec = (struct workload_spec){
        .problem = *p, .fill = FILL_UNIFORM, .seed = 1, .n_sets = 1, .timed = true, .reference = true};
}

/* ---- talking ---- */

/* False: the parent is gone. */
static bool say(json_t *line)
{
    char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
    json_decref(line);
    const bool said = text && dprintf(WORKER_FD, "%s\n", text) > 0;
    free(text);
    return said;
}

static void phase(const char *name)
{
    say(json_pack("{s:s}", "phase", name));
}

/* The first line that tells something: of a failed build the compiler's, not the long list of options. */
static void error_line(char *buf, size_t n)
{
    const char *text = fdec_last_error(), *end = strchr(text, '\n');
    if (end && end[1] && !strncmp(text, "clBuildProgram", 14))
        text = end + 1;
    snprintf(buf, n, "%.*s", (int) strcspn(text, "\n"), text);
    for (char *c = buf; *c; c++)
        if ((unsigned char) *c < 32 || (unsigned char) *c > 126)
            *c = '?';
}

static json_t *failed(void)
{
    char text[200];
    error_line(text, sizeof text);
    return json_pack("{s:b, s:s}", "done", 1, "error", text);
}

/* ---- the device ---- */

static fdec_status start(struct worker *w)
{
    fdec_status st = FDEC_OK;
    cl_platform_id platform;
    cl_int err;
    char cache[1100];
    if (w->ctx)
        return FDEC_OK;
    phase("start");
    snprintf(cache, sizeof cache, "%s/cache", w->work);
    const fdec_ctx_params params = {.size = sizeof params, .cache_dir = cache};
    try_st(fdec_device_pick(NULL, &platform, &w->device));
    w->context = clCreateContext((cl_context_properties[]){CL_CONTEXT_PLATFORM, (cl_context_properties) platform, 0}, 1,
                                 &w->device, NULL, NULL, &err);
    try_cl(err);
    w->queue = clCreateCommandQueue(w->context, w->device, CL_QUEUE_PROFILING_ENABLE, &err);
    try_cl(err);
    st = fdec_ctx_create(w->context, w->device, &params, &w->ctx);
out:
    return st;
}

static json_t *tell_device(const struct worker *w)
{
    struct facts f = {.device = w->ctx->device};
    for (int i = 0; kernels[i]; i++)
        f.denied[i] = w->ctx->denied[i];
    json_t *answer = facts_to_json(&f);
    json_object_set_new(answer, "done", json_true());
    return answer;
}

/* Rates that the table keeps, and the cache that timing has to stay out of. */
static json_t *tell_roof(const struct worker *w)
{
    fdec_status st = FDEC_OK;
    struct roof *r = NULL;
    double read = 0, launch = 0, sample;
    size_t cache = 0;
    phase("roof");
    try_st(roof_create(w->context, w->device, w->queue, &r));
    try_st(roof_cache_bytes(r, &cache));
    for (int i = 0; i < 5; i++) {
        try_st(roof_read_gbps(r, &sample));
        read = MAX(read, sample);
        try_st(roof_launch_us(r, &sample));
        launch = i ? MIN(launch, sample) : sample;
    }
out:
    roof_destroy(&r);
    return st == FDEC_OK ? json_pack("{s:b, s:f, s:f, s:I}", "done", 1, "read_gbps", read, "launch_us", launch,
                                     "cache_bytes", (json_int_t) cache)
                         : failed();
}

/* ---- timing ---- */

struct timing {
    struct workload *workload;
    fdec_plan *plan;
    cl_command_queue queue;
    int n_sets, set;
    int batch;     /* runs queued at once */
    bool each;     /* a sample is one run; else the mean over a batch of short ones */
    int bad_clock; /* batches in a row whose timestamps were no times */
    int n, n_walls;
    double samples[MAX_SAMPLES], walls[MAX_SAMPLES];
};

static fdec_status one_run(struct timing *t, cl_event *event)
{
    t->set = (t->set + 1) % t->n_sets;
    return workload_run(t->workload, t->plan, t->set, event);
}

/* Device times at which the runs of a batch ended, in us. False: the driver's timestamps are no times; no device is
 * done in a tenth of the time that its host waits for it, or takes longer than that. */
static bool read_ends(const cl_event *events, int n, double wall_us, double *ends)
{
    for (int i = 0; i < n; i++) {
        cl_ulong ns;
        if (clGetEventProfilingInfo(events[i], CL_PROFILING_COMMAND_END, sizeof ns, &ns, NULL))
            return false;
        ends[i] = (double) ns * 1e-3;
        if (i && ends[i] < ends[i - 1])
            return false;
    }
    const double share = (ends[n - 1] - ends[0]) / wall_us;
    return share > 0.1 && share < 1.1;
}

static void add_samples(struct timing *t, const double *ends, int n)
{
    if (!t->each)
        t->samples[t->n++] = (ends[n - 1] - ends[0]) / (n - 1);
    else
        for (int i = 1; i < n && t->n < MAX_SAMPLES; i++)
            t->samples[t->n++] = ends[i] - ends[i - 1];
}

/* Queues runs, each on the next operand set. What counts is the device time from the end of one run to the end of the
 * next: what a run adds to a queue of work, all of its launches and the gaps between them included. */
static fdec_status batch(struct timing *t)
{
    fdec_status st = FDEC_OK;
    cl_event events[MAX_BATCH] = {0};
    double ends[MAX_BATCH];
    const double begin = now_us();
    for (int i = 0; i < t->batch; i++)
        try_st(one_run(t, &events[i]));
    try_cl(clFinish(t->queue));
    const double wall_us = now_us() - begin;
    t->walls[t->n_walls++] = wall_us / t->batch;
    if (read_ends(events, t->batch, wall_us, ends)) {
        t->bad_clock = 0;
        add_samples(t, ends, t->batch);
    } else {
        t->bad_clock++;
    }
out:
    for (int i = 0; i < t->batch; i++)
        if (events[i])
            clReleaseEvent(events[i]);
    return st;
}

static struct stats stats_copy(const double *x, int n)
{
    double sorted[MAX_SAMPLES];
    memcpy(sorted, x, (size_t) n * sizeof *sorted);
    return stats_of(sorted, n);
}

/* Until the median's interval is within 1 %, or the time is up. */
static fdec_status take_samples(struct timing *t, struct result *r)
{
    fdec_status st = FDEC_OK;
    const double least_us = 40e3, most_us = 250e3, begin = now_us();
    struct stats s;
    double spent_us;
    do {
        try_st(batch(t));
        const bool host_clock = t->bad_clock >= 3; /* then the host's is all there is */
        s = host_clock ? stats_copy(t->walls, t->n_walls) : stats_copy(t->samples, t->n);
        spent_us = now_us() - begin;
    } while (t->n < MAX_SAMPLES && t->n_walls < MAX_SAMPLES &&
             (s.n < MIN_SAMPLES || spent_us < least_us || (spent_us < most_us && s.hi - s.lo > 0.01 * s.median)));
    r->outcome = OUT_OK;
    r->median_us = s.median;
    r->lo_us = s.lo;
    r->hi_us = s.hi;
    r->samples = s.n;
    r->wall_us = stats_copy(t->walls, t->n_walls).median;
out:
    return st;
}

/* The shortest of a few single runs: on a shared machine any one of them may be held up. *us: as the host sees it. */
static fdec_status time_single(struct timing *t, double enough_us, double *us)
{
    enum { TRIES = 3 };
    fdec_status st = FDEC_OK;
    *us = INFINITY;
    for (int i = 0; i<TRIES && * us> enough_us; i++) {
        const double begin = now_us();
        try_st(one_run(t, NULL));
        try_cl(clFinish(t->queue));
        *us = MIN(*us, now_us() - begin);
    }
out:
    return st;
}

/* best_us: of this point so far; 0: none, or this is the default, which is timed however slow it is. */
static fdec_status time_plan(struct timing *t, double best_us, struct result *r)
{
    fdec_status st = FDEC_OK;
    const double finish_us = 200; /* generous: what waiting costs the host */
    const double slow_us = best_us > 0 ? 5 * best_us + finish_us : INFINITY;
    double once_us;
    try_st(time_single(t, slow_us, &once_us));
    if (once_us > slow_us) {
        r->outcome = OUT_SLOW;
        snprintf(r->text, sizeof r->text, "%.0f us a run, best %.0f us", once_us, best_us);
        return FDEC_OK;
    }
    t->each = once_us > 200;
    t->batch = t->each ? (int) MIN(MAX(5000 / once_us, 4), MAX_BATCH) : MAX_BATCH / 2;
    try_st(take_samples(t, r));
out:
    return st;
}

/* ---- one candidate at one point ---- */

static void set_failure(struct result *r, fdec_status st, enum outcome otherwise)
{
    r->outcome = st == FDEC_E_MEMORY ? OUT_MEMORY : otherwise;
    error_line(r->text, sizeof r->text);
}

/* Operand sets to rotate through: over twice the cache, for which one set may be enough, within an eighth of the
 * memory. MAX_SETS is for problems so small that a launch costs more than their data: there it only saves the time to
 * make buffers. */
static int count_sets(const struct worker *w, const struct workload_spec *spec, size_t cache_bytes)
{
    const uint64_t bytes = MAX(workload_set_bytes(spec), 1), room = w->ctx->device.global_bytes / 8;
    const uint64_t wanted = bytes > 2 * (uint64_t) cache_bytes ? 1 : 2 * (uint64_t) cache_bytes / bytes + 2;
    return (int) MAX(MIN(MIN(wanted, room / bytes), MAX_SETS), 1);
}

/* Operands and reference of `whole`: those of the last request where it had the same. */
static fdec_status get_workload(struct worker *w, const struct problem *whole, const char *reference,
                                size_t cache_bytes)
{
    char text[PROBLEM_TEXT];
    struct workload_spec spec;
    problem_print(whole, text);
    if (w->workload && !strcmp(text, w->whole))
        return FDEC_OK;
    workload_destroy(&w->workload);
    tune_spec(whole, &spec);
    spec.reference_file = reference;
    w->n_sets = spec.n_sets = count_sets(w, &spec, cache_bytes);
    memcpy(w->whole, text, sizeof text);
    return workload_create(w->ctx, w->queue, &spec, &w->workload);
}

struct request {
    struct candidate candidate;
    struct problem problem, whole; /* whole: what operands and reference are made for, see tuner.h */
    const char *reference;
    double best_us;
    size_t cache_bytes;
};

static void check_and_time(struct worker *w, const struct request *q, fdec_plan *plan, struct result *r)
{
    fdec_status st = FDEC_OK;
    struct timing *t = calloc(1, sizeof *t);
    try_alloc(t);
    phase("setup");
    try_st(get_workload(w, &q->whole, q->reference, q->cache_bytes));
    t->plan = plan;
    t->queue = w->queue;
    t->n_sets = w->n_sets;
    t->workload = w->workload;
    if (q->problem.op == OP_LINEAR)
        workload_take_rows(t->workload, q->problem.linear.m);
    try_st(workload_poison(t->workload));
    phase("first");
    try_st(workload_run(t->workload, plan, 0, NULL));
    try_cl(clFinish(w->queue));
    phase("check");
    if (!workload_check(t->workload, &r->error_ratio, r->text, sizeof r->text)) {
        r->outcome = OUT_WRONG;
        goto out;
    }
    r->text[0] = 0;
    phase("time");
    st = time_plan(t, q->best_us, r);
out:
    if (st != FDEC_OK)
        set_failure(r, st, OUT_ERROR);
    free(t);
}

static bool read_request(const json_t *ask, struct request *q)
{
    const char *kernel, *config, *text, *whole;
    json_int_t cache_bytes;
    char why[200];
    struct candidate *c = &q->candidate;
    if (json_unpack((json_t *) ask, "{s:s, s:s, s:s, s:s, s:s, s:F, s:I}", "kernel", &kernel, "config", &config,
                    "problem", &text, "whole", &whole, "reference", &q->reference, "best_us", &q->best_us,
                    "cache_bytes", &cache_bytes))
        return false;
    q->cache_bytes = (size_t) cache_bytes;
    c->kernel = kernel_find(kernel);
    return c->kernel && kernel_parse_config(c->kernel, config, c->cfg) &&
           problem_parse(text, &q->problem, why, sizeof why) && problem_parse(whole, &q->whole, why, sizeof why);
}

static void measure(struct worker *w, const json_t *ask, struct result *r)
{
    struct request q = {0};
    fdec_plan *plan = NULL;
    if (!read_request(ask, &q)) {
        *r = (struct result){.outcome = OUT_ERROR, .text = "worker: the request makes no sense"};
        return;
    }
    phase("build");
    const struct want want = {.kernel = q.candidate.kernel, .cfg = q.candidate.cfg};
    const fdec_status st = plan_create_problem(w->ctx, &q.problem, &want, &plan);
    if (st != FDEC_OK) {
        set_failure(r, st, OUT_BUILD_FAILED);
        return;
    }
    check_and_time(w, &q, plan, r);
    fdec_plan_destroy(&plan);
}

static json_t *tell_result(const struct result *r)
{
    json_t *text = json_string(r->text);
    return json_pack("{s:b, s:s, s:f, s:f, s:f, s:f, s:f, s:i, s:o}", "done", 1, "outcome", outcome_name(r->outcome),
                     "median_us", r->median_us, "lo_us", r->lo_us, "hi_us", r->hi_us, "wall_us", r->wall_us,
                     "error_ratio", r->error_ratio, "samples", r->samples, "text",
                     text ? text : json_string("not UTF-8"));
}

int worker_main(const char *work)
{
    struct worker w = {.work = work};
    char *line = NULL;
    size_t cap = 0;
    FILE *in = fdopen(dup(WORKER_FD), "r");
    while (in && getline(&line, &cap, in) > 0) {
        json_t *ask = json_loads(line, JSON_REJECT_DUPLICATES, NULL), *answer;
        const char *what = json_string_value(json_object_get(ask, "do"));
        struct result r = {0};
        if (!what)
            _exit(1);
        if (start(&w) != FDEC_OK)
            answer = failed();
        else if (!strcmp(what, "device"))
            answer = tell_device(&w);
        else if (!strcmp(what, "roof"))
            answer = tell_roof(&w);
        else {
            measure(&w, ask, &r);
            answer = tell_result(&r);
        }
        json_decref(ask);
        if (!say(answer))
            break;
    }
    _exit(0); /* drivers that hang or crash while they unload would cost a result that is safe already */
}
