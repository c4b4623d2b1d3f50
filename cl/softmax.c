/* SPDX-License-Identifier: MIT
 * softmax.c - what the host must know about softmax.cl */
#include "registry.h"
#include "row_params.h"
#include "softmax.h"

/* Below this many elements a split is dearer than what it saves: two launches against a microsecond of arithmetic. */
enum { MIN_CHUNK = 1024 };

static const char *softmax_reject(const struct problem *p, const struct device *d, const int *cfg)
{
    if (p->softmax.cols > INT32_MAX || p->softmax.rows > INT32_MAX)
        return "rows and cols must be below 2^31";
    return row_reject(d, cfg);
}

static bool softmax_prune(const struct problem *p, const struct device *d, const int *cfg)
{
    const bool for_gpus = cfg[WG] > 1;
    if (d->cpu_like ? for_gpus : !for_gpus && row_max_wg(d) >= 64)
        return true; /* the other kind of device's: 7 to 30 times slower */
    return cfg[WG] > 64 && cfg[WG] * cfg[VEC] > 2 * p->softmax.cols; /* half of the group would idle */
}

/* Work-groups that fill the device: enough per compute unit to even out, 16 at least (fewer may land on one thread). */
static int64_t groups_wanted(const struct device *d)
{
    return MAX(16, 4 * (int64_t) d->compute_units);
}

/* Splits of a row: none is empty. softmax.cl derives the same width from the result. */
static int64_t splits(const struct problem *p, const struct device *d, const int *cfg, int64_t rows)
{
    const int64_t cols = p->softmax.cols, stride = cfg[WG] * cfg[VEC];
    const int64_t wanted = MAX(1, MIN(groups_wanted(d) / rows, cols / MIN_CHUNK));
    const int64_t width = round_up(div_up(cols, wanted), stride);
    return div_up(cols, width);
}

static struct geometry softmax_geometry(const struct problem *p, const struct device *d, const int *cfg)
{
    const int64_t n = splits(p, d, cfg, p->softmax.rows);
    const struct launch all = {.global = {(size_t) (p->softmax.rows * n * cfg[WG])}, .local = {(size_t) cfg[WG]}};
    /* Fewer rows have more splits, but rows * splits is never over groups_wanted() where there is more than one. */
    const bool ever_split = splits(p, d, cfg, 1) > 1;
    return (struct geometry){.n_launches = n > 1 ? 2 : 1,
                             .launch = {all, all},
                             .n_splits = (int) n,
                             .workspace_bytes = ever_split ? 2 * sizeof(float) * (size_t) groups_wanted(d) : 0};
}

static double three_pass_expect(const struct problem *p, const struct device *d, int *cfg)
{
    (void) p;
    row_choose(d, cfg);
    return 0.5;
}

static double online_expect(const struct problem *p, const struct device *d, int *cfg)
{
    (void) p;
    row_choose(d, cfg);
    return 0.6;
}

static double two_pass_expect(const struct problem *p, const struct device *d, int *cfg)
{
    (void) p;
    row_choose(d, cfg);
    return d->cpu_like ? 0.65 : 0.55;
}

const struct kernel softmax_three_pass = {
    .name = "softmax/three-pass",
    .rev = 1,
    .op = OP_SOFTMAX,
    .family = "three-pass",
    .source = &cl_softmax,
    .entry = {"softmax_three_pass", "softmax_write"},
    .params = ROW_PARAMS,
    .reject = softmax_reject,
    .prune = softmax_prune,
    .expect = three_pass_expect,
    .geometry = softmax_geometry,
};

const struct kernel softmax_online = {
    .name = "softmax/online",
    .rev = 1,
    .op = OP_SOFTMAX,
    .family = "online",
    .source = &cl_softmax,
    .entry = {"softmax_online", "softmax_write"},
    .params = ROW_PARAMS,
    .reject = softmax_reject,
    .prune = softmax_prune,
    .expect = online_expect,
    .geometry = softmax_geometry,
};

const struct kernel softmax_two_pass = {
    .name = "softmax/two-pass",
    .rev = 1,
    .op = OP_SOFTMAX,
    .family = "two-pass",
    .source = &cl_softmax,
    .entry = {"softmax_two_pass", "softmax_write_pairs"},
    .params = ROW_PARAMS,
    .reject = softmax_reject,
    .prune = softmax_prune,
    .expect = two_pass_expect,
    .geometry = softmax_geometry,
};
