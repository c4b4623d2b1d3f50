/* SPDX-License-Identifier: MIT
 * row_params.h - the host's side of row.h: parameters, limits and first choice of everything that walks rows */
#ifndef ROW_PARAMS_H
#define ROW_PARAMS_H
#include "kernel.h"
#include "util.h"

enum { WG, VEC };

#define ROW_PARAMS                                                                                                     \
    {                                                                                                                  \
        [WG] = PARAM(WG, 1, 64, 256), [VEC] = PARAM(VEC, 16, 4, 1)                                                     \
    }

static inline size_t row_max_wg(const struct device *d)
{
    return MIN(d->max_wg, d->max_items[0]);
}

static inline const char *row_reject(const struct device *d, const int *cfg)
{
    if ((size_t) cfg[WG] > row_max_wg(d))
        return "WG is over the device limit";
    if ((size_t) (cfg[WG] + 1) * sizeof(float) > d->local_bytes)
        return "WG + 1 floats do not fit local memory";
    return NULL;
}

static inline void row_choose(const struct device *d, int *cfg)
{
    const size_t most = d->cpu_like ? 1 : row_max_wg(d);
    cfg[WG] = most >= 256 ? 256 : most >= 64 ? 64 : 1;
    cfg[VEC] = d->cpu_like ? 16 : 4;
}
#endif
