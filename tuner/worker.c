/* SPDX-License-Identifier: MIT
 * worker.c - the process that touches OpenCL: builds a candidate, checks it, and only then times it
 *
 * What is run is what the library would run: the plan goes through plan_create and workload.h calls the public
 * functions. Each step is announced before it starts; the parent holds the clock and kills. */
#include "check.h"
#include "ctx.h"
#include "measure.h"
#include "workload.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WORKER_FD = 3, MAX_SETS = 256, MAX_PAIRS = 16 };
enum { LEAST_SAMPLES = 6, ENOUGH_SAMPLES = 12, MAX_SAMPLES = 512 }; /* 6: the fewest that have a 95 % interval */

struct worker {
    cl_context context;
    cl_command_queue queue;
    cl_device_id device;
    fdec_ctx *ctx;
    const char *work;
    struct workload *workload; /* of the last request, kept for the next one */
    int n_sets;
    char whole[PROBLEM_TEXT]; /* its problem */
    bool small_checked;       /* a worker has one candidate in one class */
};

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

enum side { DEFAULT, CANDIDATE, N_SIDES };

/* The candidate's runs, in turns with the default's: both then see the same moments of a machine that is never quite
 * the same, and what counts is the ratio of each pair. */
struct timing {
    struct workload *workload;
    fdec_plan *plans[N_SIDES]; /* DEFAULT: NULL where the candidate is the default, or there is none */
    cl_command_queue queue;
    int n_sets, set;
    int block;     /* runs in a row of one side: one sample, their mean */
    int pairs;     /* blocks of each side that are queued at once */
    int bad_clock; /* batches in a row whose timestamps were no times */
    int n, n_walls;
    double samples[N_SIDES][MAX_SAMPLES], walls[N_SIDES][MAX_SAMPLES];
};

static fdec_status one_run(struct timing *t, enum side side, cl_event *event)
{
    t->set = (t->set + 1) % t->n_sets;
    return workload_run(t->workload, t->plans[side], t->set, event);
}

static fdec_status one_block(struct timing *t, enum side side, cl_event *last)
{
    fdec_status st = FDEC_OK;
    for (int i = 0; i < t->block && st == FDEC_OK; i++)
        st = one_run(t, side, i == t->block - 1 ? last : NULL);
    return st;
}

/* Device times at which the blocks of a batch ended, in us. False: the driver's timestamps are no times; no device is
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

/* Queues blocks of both sides in turns, each run on the next operand set. What counts is the device time from the end
 * of one block to the end of the next: what its runs add to a queue of work, all of their launches and the gaps
 * between them included. The first block only starts the clock. */
static fdec_status batch(struct timing *t)
{
    fdec_status st = FDEC_OK;
    cl_event events[1 + N_SIDES * MAX_PAIRS] = {0};
    double ends[1 + N_SIDES * MAX_PAIRS];
    const int n_sides = t->plans[DEFAULT] ? 2 : 1, n = 1 + n_sides * t->pairs;
    const double begin = now_us();
    for (int i = 0; i < n; i++)
        try_st(one_block(t, n_sides == 2 && i % 2 ? DEFAULT : CANDIDATE, &events[i]));
    try_cl(clFinish(t->queue));
    if (!read_ends(events, n, now_us() - begin, ends)) {
        t->bad_clock++;
        goto out;
    }
    t->bad_clock = 0;
    for (int i = 1; i < n && t->n < MAX_SAMPLES; i += n_sides, t->n++)
        for (int side = N_SIDES - n_sides, at = i; side < N_SIDES; side++, at++)
            t->samples[side][t->n] = (ends[at] - ends[at - 1]) / t->block;
out:
    for (int i = 0; i < n; i++)
        if (events[i])
            clReleaseEvent(events[i]);
    return st;
}

/* The same from end to end: the host's clock, from the first call to the end of the wait. */
static fdec_status batch_of_host(struct timing *t)
{
    fdec_status st = FDEC_OK;
    for (int side = t->plans[DEFAULT] ? DEFAULT : CANDIDATE; side < N_SIDES; side++) {
        const double begin = now_us();
        for (int i = 0; i < t->pairs; i++)
            try_st(one_block(t, (enum side) side, NULL));
        try_cl(clFinish(t->queue));
        t->walls[side][t->n_walls] = (now_us() - begin) / (t->block * t->pairs);
    }
    t->n_walls++;
out:
    return st;
}

static struct stats stats_copy(const double *x, int n)
{
    double sorted[MAX_SAMPLES];
    memcpy(sorted, x, (size_t) n * sizeof *sorted);
    return stats_of(sorted, n);
}

static struct stats ratios(double (*x)[MAX_SAMPLES], int n)
{
    double r[MAX_SAMPLES];
    for (int i = 0; i < n; i++)
        r[i] = x[CANDIDATE][i] / x[DEFAULT][i];
    return stats_of(r, n);
}

static void fill_result(const struct timing *t, double (*x)[MAX_SAMPLES], int n, struct result *r)
{
    const bool paired = t->plans[DEFAULT] != NULL;
    const struct stats own = stats_copy(x[CANDIDATE], n);
    const struct stats ratio = paired ? ratios(x, n) : (struct stats){0};
    r->outcome = OUT_OK;
    r->median_us = own.median;
    r->lo_us = own.lo;
    r->hi_us = own.hi;
    r->samples = own.n;
    r->default_us = paired ? stats_copy(x[DEFAULT], n).median : 0;
    r->ratio = ratio.median;
    r->ratio_lo = ratio.lo;
    r->ratio_hi = ratio.hi;
}

/* Is more time well spent: until the interval of what is asked for (the ratio to the default or, of the default itself,
 * the time) is within 1 %, within limits; and but for a final not on what is behind the default for sure. */
static bool wants_more(const struct result *r, double spent_us, bool final)
{
    const double least_us = 40e3, most_us = final ? 1500e3 : 400e3, behind = 1.2;
    const double middle = r->ratio > 0 ? r->ratio : r->median_us;
    const double width = r->ratio > 0 ? r->ratio_hi - r->ratio_lo : r->hi_us - r->lo_us;
    if (r->samples < LEAST_SAMPLES)
        return true;
    if (spent_us >= most_us || r->samples >= MAX_SAMPLES || (!final && r->ratio_lo > behind))
        return false;
    return r->samples < ENOUGH_SAMPLES || spent_us < least_us || width > 0.01 * middle;
}

static fdec_status take_samples(struct timing *t, bool final, struct result *r)
{
    fdec_status st = FDEC_OK;
    const double begin = now_us();
    do {
        try_st(batch(t));
        fill_result(t, t->samples, t->n, r);
    } while (t->bad_clock < 3 && wants_more(r, now_us() - begin, final));
    const bool host_clock = t->bad_clock >= 3; /* then the host's is all there is */
    const double begin_host = now_us();
    do {
        try_st(batch_of_host(t));
        if (host_clock)
            fill_result(t, t->walls, t->n_walls, r);
    } while (host_clock ? wants_more(r, now_us() - begin_host, final) : t->n_walls < 3);
    r->wall_us = stats_copy(t->walls[CANDIDATE], t->n_walls).median;
    r->default_wall_us = t->plans[DEFAULT] ? stats_copy(t->walls[DEFAULT], t->n_walls).median : 0;
out:
    return st;
}

/* The shortest of a few single runs: on a shared machine any one of them may be held up. *us: as the host sees it. */
static fdec_status time_single(struct timing *t, enum side side, double enough_us, double *us)
{
    enum { TRIES = 3 };
    fdec_status st = FDEC_OK;
    *us = INFINITY;
    for (int i = 0; i<TRIES && * us> enough_us; i++) {
        const double begin = now_us();
        try_st(one_run(t, side, NULL));
        try_cl(clFinish(t->queue));
        *us = MIN(*us, now_us() - begin);
    }
out:
    return st;
}

/* best_us: of this point so far; 0: none, or this is the default, which is timed however slow it is. */
static fdec_status time_plans(struct timing *t, double best_us, bool final, struct result *r)
{
    fdec_status st = FDEC_OK;
    const double finish_us = 200; /* generous: what waiting costs the host */
    const double slow_us = best_us > 0 ? 5 * best_us + finish_us : INFINITY;
    double once_us, default_us = 0;
    try_st(time_single(t, CANDIDATE, slow_us, &once_us));
    if (once_us > slow_us) {
        r->outcome = OUT_SLOW;
        snprintf(r->text, sizeof r->text, "%.0f us a run, best %.0f us", once_us, best_us);
        return FDEC_OK;
    }
    if (t->plans[DEFAULT])
        try_st(time_single(t, DEFAULT, INFINITY, &default_us));
    t->block = once_us > 200 ? 1 : 32;
    t->pairs = (int) MIN(MAX(10e3 / (t->block * (once_us + default_us)), 2), MAX_PAIRS);
    try_st(take_samples(t, final, r));
out:
    return st;
}

/* ---- one candidate at one point ---- */

/* Does it still copy four bytes there and back. */
static bool device_answers(const struct worker *w)
{
    const cl_uint sent = 0x600dcafe;
    cl_uint got = 0;
    cl_int err;
    const cl_mem mem = clCreateBuffer(w->context, CL_MEM_READ_WRITE, sizeof sent, NULL, &err);
    if (err)
        return false;
    err = clEnqueueWriteBuffer(w->queue, mem, CL_TRUE, 0, sizeof sent, &sent, 0, NULL, NULL);
    if (!err)
        err = clEnqueueReadBuffer(w->queue, mem, CL_TRUE, 0, sizeof got, &got, 0, NULL, NULL);
    clReleaseMemObject(mem);
    return !err && got == sent;
}

static enum outcome outcome_of(fdec_status st, cl_int err, enum outcome otherwise)
{
    switch (err) {
    case CL_INVALID_WORK_GROUP_SIZE:
    case CL_INVALID_WORK_ITEM_SIZE:
    case CL_INVALID_GLOBAL_WORK_SIZE:
    case CL_OUT_OF_RESOURCES: return OUT_CONSTRAINT;
    case CL_INVALID_BUFFER_SIZE: return OUT_MEMORY;
    default: return st == FDEC_E_MEMORY ? OUT_MEMORY : st == FDEC_E_UNSUPPORTED ? OUT_CONSTRAINT : otherwise;
    }
}

static void set_failure(const struct worker *w, struct result *r, fdec_status st, enum outcome otherwise)
{
    const cl_int err = last_cl_error();
    error_line(r->text, sizeof r->text);
    const bool suspect = err != CL_SUCCESS && err != CL_BUILD_PROGRAM_FAILURE;
    const bool lost = cl_error_ends_context(err) || (suspect && !device_answers(w));
    r->outcome = lost ? OUT_LOST : outcome_of(st, err, otherwise);
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
    struct candidate candidate, against; /* against.kernel NULL: timed alone */
    struct problem problem, whole;       /* whole: what operands and reference are made for, see tuner.h */
    const char *reference;
    double best_us;
    bool final; /* an interval that decides: takes longer */
    size_t cache_bytes;
};

static fdec_status check(struct worker *w, const struct request *q, fdec_plan *plan, struct result *r)
{
    const struct checker c = {w->ctx, w->queue, phase};
    fdec_status st = FDEC_OK;
    if (!check_limits(plan, &q->problem, r->text, sizeof r->text)) {
        r->outcome = OUT_CONSTRAINT;
        return FDEC_OK;
    }
    try_st(check_point(&c, plan, w->workload, r));
    if (r->outcome != OUT_OK || w->small_checked || !(q->final || check_is_cheap(&q->problem)))
        return FDEC_OK;
    try_st(check_small(&c, &q->candidate, &q->problem, q->final, r));
    w->small_checked = true;
out:
    return st;
}

static void check_and_time(struct worker *w, const struct request *q, fdec_plan *const plans[N_SIDES], struct result *r)
{
    fdec_status st = FDEC_OK;
    struct timing *t = calloc(1, sizeof *t);
    try_alloc(t);
    phase("setup");
    try_st(get_workload(w, &q->whole, q->reference, q->cache_bytes));
    memcpy(t->plans, plans, sizeof t->plans);
    t->queue = w->queue;
    t->n_sets = w->n_sets;
    t->workload = w->workload;
    if (q->problem.op == OP_LINEAR)
        workload_take_rows(t->workload, q->problem.linear.m);
    try_st(check(w, q, plans[CANDIDATE], r));
    if (r->outcome != OUT_OK)
        goto out;
    phase("time");
    st = time_plans(t, q->best_us, q->final, r);
out:
    if (st != FDEC_OK)
        set_failure(w, r, st, OUT_ERROR);
    free(t);
}

static bool read_candidate(const char *kernel, const char *config, struct candidate *c)
{
    c->kernel = kernel_find(kernel);
    return c->kernel && kernel_parse_config(c->kernel, config, c->cfg);
}

static bool read_request(const json_t *ask, struct request *q)
{
    const char *kernel, *config, *text, *whole, *against = NULL, *against_config = NULL;
    json_int_t cache_bytes;
    int final;
    char why[200];
    if (json_unpack((json_t *) ask, "{s:s, s:s, s:s, s:s, s:s, s:F, s:b, s:I, s?s, s?s}", "kernel", &kernel, "config",
                    &config, "problem", &text, "whole", &whole, "reference", &q->reference, "best_us", &q->best_us,
                    "final", &final, "cache_bytes", &cache_bytes, "against", &against, "against_config",
                    &against_config))
        return false;
    q->cache_bytes = (size_t) cache_bytes;
    q->final = final;
    return read_candidate(kernel, config, &q->candidate) &&
           (!against || (against_config && read_candidate(against, against_config, &q->against))) &&
           problem_parse(text, &q->problem, why, sizeof why) && problem_parse(whole, &q->whole, why, sizeof why);
}

static fdec_status make_plan(struct worker *w, const struct problem *p, const struct candidate *c, fdec_plan **plan)
{
    return plan_create_problem(w->ctx, p, &(struct want){.kernel = c->kernel, .cfg = c->cfg}, plan);
}

static void measure(struct worker *w, const json_t *ask, struct result *r)
{
    struct request q = {0};
    fdec_plan *plans[N_SIDES] = {NULL};
    if (!read_request(ask, &q)) {
        *r = (struct result){.outcome = OUT_ERROR, .text = "worker: the request makes no sense"};
        return;
    }
    phase("build");
    const fdec_status st = make_plan(w, &q.problem, &q.candidate, &plans[CANDIDATE]);
    if (st != FDEC_OK) {
        set_failure(w, r, st, OUT_COMPILE_ERROR);
        return;
    }
    if (q.against.kernel && make_plan(w, &q.problem, &q.against, &plans[DEFAULT]) != FDEC_OK)
        plans[DEFAULT] = NULL; /* it had worked before; the candidate is measured all the same */
    check_and_time(w, &q, plans, r);
    for (int side = 0; side < N_SIDES; side++)
        fdec_plan_destroy(&plans[side]);
}

static json_t *tell_result(const struct result *r)
{
    json_t *text = json_string(r->text);
    return json_pack("{s:b, s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:i, s:o}", "done", 1, "outcome",
                     outcome_name(r->outcome), "median_us", r->median_us, "lo_us", r->lo_us, "hi_us", r->hi_us,
                     "wall_us", r->wall_us, "default_us", r->default_us, "default_wall_us", r->default_wall_us, "ratio",
                     r->ratio, "ratio_lo", r->ratio_lo, "ratio_hi", r->ratio_hi, "error_ratio", r->error_ratio,
                     "samples", r->samples, "text", text ? text : json_string("not UTF-8"));
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
