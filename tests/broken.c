/* SPDX-License-Identifier: MIT
 * broken.c - descriptions of the kernels of broken.cl: one parameter, FAULT */
#include "checkcl.h"
#include "faults.h"
#include "util.h"

extern const struct source cl_broken;

#define FAULT_TEXT(name, text) text,
static const char *const attn_faults[] = {"none", ATTN_FAULTS(FAULT_TEXT)};
static const char *const linear_faults[] = {"none", LINEAR_FAULTS(FAULT_TEXT)};
static const char *const softmax_faults[] = {"none", SOFTMAX_FAULTS(FAULT_TEXT)};

enum { WG = 128 }; /* as in broken.cl */

static const char *reject_small(const struct problem *p, const struct device *d, const int *cfg)
{
    (void) p, (void) cfg;
    return d->max_wg < WG ? "the group is over the device limit" : NULL;
}

static const char *attn_reject(const struct problem *p, const struct device *d, const int *cfg)
{
    const struct attn_problem *a = &p->attn;
    if (a->q_type != FDEC_F32 || a->out_type != FDEC_F32 || a->kv.k.type > FDEC_F16 || a->kv.v.type > FDEC_F16)
        return "a type that broken.cl does not read";
    return reject_small(p, d, cfg);
}

static const char *linear_reject(const struct problem *p, const struct device *d, const int *cfg)
{
    const struct linear_problem *l = &p->linear;
    if (l->w_type > FDEC_F16 || l->w_layout != FDEC_W_STORED)
        return "weights that broken.cl does not read";
    if (!linear_is_plain(l))
        return "more than y = x W^T + bias + residual";
    return reject_small(p, d, cfg);
}

static double expect_none(const struct problem *p, const struct device *d, int *cfg)
{
    (void) p, (void) d;
    cfg[0] = 0;
    return 0;
}

static void attn_define(const struct problem *p, char *opt)
{
    const struct attn_problem *a = &p->attn;
    append(opt, MAX_DEFINES, " -DBROKEN_ATTN -DHEAD_DIM=%d -DV_DIM=%d%s%s", a->head_dim, a->v_head_dim,
           a->kv.k.type == FDEC_F16 ? " -DK_F16" : "", a->kv.v.type == FDEC_F16 ? " -DV_F16" : "");
}

static void linear_define(const struct problem *p, char *opt)
{
    append(opt, MAX_DEFINES, " -DBROKEN_LINEAR%s", p->linear.w_type == FDEC_F16 ? " -DW_F16" : "");
}

static void softmax_define(const struct problem *p, char *opt)
{
    (void) p;
    append(opt, MAX_DEFINES, " -DBROKEN_SOFTMAX");
}

static struct geometry groups(int64_t x, int64_t y)
{
    return (struct geometry){
        .n_launches = 1,
        .launch = {{.global = {(size_t) x * WG, (size_t) y}, .local = {WG, 1}}},
        .n_splits = 1,
    };
}

static struct geometry attn_geometry(const struct problem *p, const struct device *d, const int *cfg)
{
    (void) d, (void) cfg;
    return groups(p->attn.n_heads, p->attn.batch * p->attn.q_len);
}

static struct geometry linear_geometry(const struct problem *p, const struct device *d, const int *cfg)
{
    (void) d, (void) cfg;
    return groups(p->linear.n, 1);
}

static struct geometry softmax_geometry(const struct problem *p, const struct device *d, const int *cfg)
{
    (void) d, (void) cfg;
    return groups(p->softmax.rows, 1);
}

static const struct kernel broken_attn = {
    .name = "broken/attn",
    .rev = 1,
    .op = OP_ATTN,
    .family = "broken",
    .source = &cl_broken,
    .entry = {"broken_attn"},
    .params = {PARAM(FAULT, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24,
                     25)},
    .reject = attn_reject,
    .expect = expect_none,
    .define = attn_define,
    .geometry = attn_geometry,
};
static const struct kernel broken_linear = {
    .name = "broken/linear",
    .rev = 1,
    .op = OP_LINEAR,
    .family = "broken",
    .source = &cl_broken,
    .entry = {"broken_linear"},
    .params = {PARAM(FAULT, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)},
    .reject = linear_reject,
    .expect = expect_none,
    .define = linear_define,
    .geometry = linear_geometry,
};
static const struct kernel broken_softmax = {
    .name = "broken/softmax",
    .rev = 1,
    .op = OP_SOFTMAX,
    .family = "broken",
    .source = &cl_broken,
    .entry = {"broken_softmax"},
    .params = {PARAM(FAULT, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)},
    .reject = reject_small,
    .expect = expect_none,
    .define = softmax_define,
    .geometry = softmax_geometry,
};
const struct kernel *const broken[] = {&broken_attn, &broken_linear, &broken_softmax, NULL};

_Static_assert(ARRAY_LEN(attn_faults) == 26 && ARRAY_LEN(linear_faults) == 12 && ARRAY_LEN(softmax_faults) == 10,
               "each list of FAULT values above names every fault");

const char *broken_name(const struct kernel *k, int fault)
{
    return (k->op == OP_ATTN ? attn_faults : k->op == OP_LINEAR ? linear_faults : softmax_faults)[fault];
}
