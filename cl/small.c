/* SPDX-License-Identifier: MIT
 * small.c - what the host must know about small.cl
 *
 * All variants have the same parameters and make the same choice, so that one program serves a model. rows and cols
 * of the problem mean: swiglu, add: 1 and n; attn_merge: the rows and cols of out; the others: those of x. */
#include "registry.h"
#include "row_params.h"
#include "small.h"

static const char *small_reject(const struct problem *p, const struct device *d, const int *cfg)
{
    (void) p;
    return row_reject(d, cfg);
}

static double small_expect(const struct problem *p, const struct device *d, int *cfg)
{
    (void) p;
    row_choose(d, cfg);
    return 0.5;
}

static struct geometry groups(int64_t n, const int *cfg)
{
    return (struct geometry){
        .n_launches = 1, .launch = {{.global = {(size_t) (n * cfg[WG])}, .local = {(size_t) cfg[WG]}}}, .n_splits = 1};
}

static struct geometry per_row(const struct problem *p, const struct device *d, const int *cfg)
{
    (void) d;
    return groups(p->small.rows, cfg);
}

/* Enough groups to fill the device, but none with less than four vectors an item. */
static struct geometry per_stretch(const struct problem *p, const struct device *d, const int *cfg)
{
    const int64_t least = 4 * (int64_t) cfg[WG] * cfg[VEC], most = MAX(16, 8 * (int64_t) d->compute_units);
    return groups(MIN(most, div_up(p->small.cols, least)), cfg);
}

#define SMALL(kernel_name, operation, function, geometry_function)                                                     \
    {                                                                                                                  \
        .name = kernel_name, .rev = 1, .op = operation, .family = "group", .source = &cl_small, .entry = {function},   \
        .params = ROW_PARAMS, .reject = small_reject, .expect = small_expect, .geometry = geometry_function            \
    }

/* clang-format off */
const struct kernel small_rmsnorm = SMALL("rmsnorm/group", OP_RMSNORM, "rmsnorm", per_row);
const struct kernel small_swiglu = SMALL("swiglu/group", OP_SWIGLU, "swiglu", per_stretch);
const struct kernel small_add = SMALL("add/group", OP_ADD, "add", per_stretch);
const struct kernel small_argmax = SMALL("argmax/group", OP_ARGMAX, "argmax", per_row);
const struct kernel small_attn_merge = SMALL("attn_merge/group", OP_ATTN_MERGE, "attn_merge", per_row);
