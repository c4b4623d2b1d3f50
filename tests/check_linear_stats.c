/* SPDX-License-Identifier: MIT
 * check_linear_stats.c - linear's records of the logits: sampling by them and without them takes the same tokens */
#include "checkcl.h"
#include "linear.h"
#include "tile_stats.h"
#include "util.h"

#include <stdlib.h>
#include <string.h>

enum { M = 3, N = 1000, K = 96, STEPS = 40, TILES = (N + STATS_TILE - 1) / STATS_TILE };

struct head {
    struct check *c;
    const struct kernel *k;
    struct workload *w;
    fdec_plan *linear, *sample;
    cl_mem stats, ids, work;
};

static cl_mem device_memory(struct check *c, size_t bytes)
{
    cl_int err;
    cl_mem mem = clCreateBuffer(check_ctx(c)->context, CL_MEM_READ_WRITE, bytes, NULL, &err);
    return err ? NULL : mem;
}

static bool open_head(struct head *h, const struct problem *p)
{
    int cfg[MAX_PARAMS];
    const struct workload_spec spec = {.problem = *p, .seed = check_seed(h->c), .n_sets = 1, .reference = true};
    const struct want want = {.kernel = h->k, .cfg = cfg};
    fdec_sample_params s = FDEC_SAMPLE_PARAMS_INIT;
    s.max_rows = M, s.cols = N;
    kernel_expect(h->k, p, &check_ctx(h->c)->device, cfg);
    if (plan_create_problem(check_ctx(h->c), p, &want, &h->linear) ||
        fdec_sample_plan_create(check_ctx(h->c), &s, &h->sample) ||
        workload_create(check_ctx(h->c), check_queue_of(h->c), &spec, &h->w))
        return false;
    h->stats = device_memory(h->c, (size_t) M * TILES * STATS_WORDS * sizeof(uint32_t));
    h->ids = device_memory(h->c, M * sizeof(int32_t));
    h->work = device_memory(h->c, fdec_plan_workspace_bytes(h->sample) + fdec_plan_workspace_bytes(h->linear) + 4);
    return h->stats && h->ids && h->work;
}

static bool sample_ids(const struct head *h, float temperature, uint64_t step, bool with_stats, int32_t *ids)
{
    fdec_sample_args a = FDEC_SAMPLE_ARGS_INIT;
    a.temperature = temperature, a.seed = 7, a.step = step, a.top_k = step % 3 ? 0 : 20;
    a.x = workload_operand(h->w, 0, LINEAR_Y);
    a.ids.mem = h->ids, a.workspace.mem = h->work;
    if (with_stats)
        a.stats.mem = h->stats, a.stats_temperature = temperature;
    return !fdec_sample_run(h->sample, check_queue_of(h->c), &a, 0, NULL, NULL) && !clFinish(check_queue_of(h->c)) &&
           !clEnqueueReadBuffer(check_queue_of(h->c), h->ids, CL_TRUE, 0, M * sizeof *ids, ids, 0, NULL, NULL);
}

static bool run_head(const struct head *h, float temperature)
{
    fdec_linear_args a = FDEC_LINEAR_ARGS_INIT;
    const cl_uint poison[M * TILES * STATS_WORDS] = {0};
    a.x = workload_operand(h->w, 0, LINEAR_X), a.w = workload_weights(h->w, 0);
    a.y = workload_operand(h->w, 0, LINEAR_Y);
    a.stats.mem = h->stats, a.workspace.mem = h->work, a.stats_temperature = temperature;
    return !clEnqueueWriteBuffer(check_queue_of(h->c), h->stats, CL_TRUE, 0, sizeof poison, poison, 0, NULL, NULL) &&
           !fdec_linear_run(h->linear, check_queue_of(h->c), &a, 0, NULL, NULL);
}

void check_linear_records(struct check *c, const struct kernel *k, const struct problem *p)
{
    static const float temperatures[] = {0, 0.1f, 1};
    struct head h = {.c = c, .k = k};
    char name[120], text[600] = "";
    double ratio;
    bool right = open_head(&h, p);
    snprintf(name, sizeof name, "records of logits, %s", k->name);
    for (size_t i = 0; right && i < ARRAY_LEN(temperatures); i++) {
        right =
            !workload_poison(h.w) && run_head(&h, temperatures[i]) && workload_check(h.w, &ratio, text, sizeof text);
        for (uint64_t step = 0; right && step < STEPS; step++) {
            int32_t with[M], without[M];
            right = sample_ids(&h, temperatures[i], step, true, with) &&
                    sample_ids(&h, temperatures[i], step, false, without);
            if (right && memcmp(with, without, sizeof with)) {
                snprintf(text, sizeof text, "temperature %g, step %d: %d by the records, %d without",
                         (double) temperatures[i], (int) step, (int) with[0], (int) without[0]);
                right = false;
            }
        }
    }
    check_that(c, right, name, text[0] ? text : fdec_last_error());
    cl_mem all[] = {h.stats, h.ids, h.work};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (all[i])
            clReleaseMemObject(all[i]);
    workload_destroy(&h.w);
    fdec_plan_destroy(&h.linear);
    fdec_plan_destroy(&h.sample);
}

void check_linear_stats(struct check *c)
{
    struct problem p;
    if (check_tiny(c) || check_broken(c) || check_filtered(c) || !check_problem(c, "linear:f16 m=3 n=1000 k=96", &p))
        return;
    p.linear.stats = true;
    check_each_linear(c, &p, check_linear_records);
}
