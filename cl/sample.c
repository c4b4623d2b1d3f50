/* SPDX-License-Identifier: MIT
 * sample.c - what the host must know about sample.cl */
#include "registry.h"
#include "row_params.h"
#include "sample.h"
#include "tile_stats.h"

/* Local memory of sample_choose: a tile, and what its 64 segments come to. Less than every device of OpenCL has. */
enum { LOCAL_BYTES = 4096 };

static const char *sample_reject(const struct problem *p, const struct device *d, const int *cfg)
{
    if (p->small.cols > 1 << 30)
        return "cols must be at most 2^30";
    if (d->local_bytes < LOCAL_BYTES)
        return "4096 bytes do not fit local memory";
    return row_reject(d, cfg);
}

static double sample_expect(const struct problem *p, const struct device *d, int *cfg)
{
    (void) p;
    row_choose(d, cfg);
    cfg[WG] = MIN(cfg[WG], 64);
    return 0.5;
}

/* Launch 0: 16 items a tile, or enough single items to fill the device. Launch 1: a group per row. */
static struct geometry sample_geometry(const struct problem *p, const struct device *d, const int *cfg)
{
    const int64_t wg = cfg[WG], tiles = p->small.rows * div_up(p->small.cols, STATS_TILE);
    const int64_t groups = wg == 1 ? MIN(tiles, MAX(16, 8 * (int64_t) d->compute_units)) : div_up(16 * tiles, wg);
    return (struct geometry){.n_launches = 2,
                             .launch = {{.global = {(size_t) (groups * wg)}, .local = {(size_t) wg}},
                                        {.global = {(size_t) (p->small.rows * wg)}, .local = {(size_t) wg}}},
                             .n_splits = 1,
                             .workspace_bytes = (size_t) tiles * SAMPLE_WORDS * sizeof(uint32_t)};
}

const struct kernel sample_tiles = {
    .name = "sample/tiles",
    .rev = 1,
    .op = OP_SAMPLE,
    .family = "tiles",
    .source = &cl_sample,
    .entry = {"sample_tiles", "sample_choose"},
    .params = {[WG] = PARAM(WG, 1, 64), [VEC] = PARAM(VEC, 16, 4, 1)},
    .reject = sample_reject,
    .expect = sample_expect,
    .geometry = sample_geometry,
};
