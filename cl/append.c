/* SPDX-License-Identifier: MIT
 * append.c - what the host must know about append.cl */
#include "append.h"
#include "registry.h"
#include "row_params.h"

static const char *append_reject(const struct problem *p, const struct device *d, const int *cfg)
{
    const struct append_problem *a = &p->append;
    if ((type_has_f16(a->act_type) || type_has_f16(a->kv.k.type) || type_has_f16(a->kv.v.type)) && !d->fp16_storage)
        return "the device does not store f16 right";
    if ((APPEND_MAX_DIM + (size_t) cfg[WG] + 1) * sizeof(float) > d->local_bytes)
        return "a head does not fit local memory";
    return row_reject(d, cfg);
}

static double append_expect(const struct problem *p, const struct device *d, int *cfg)
{
    (void) p;
    row_choose(d, cfg);
    cfg[WG] = MIN(cfg[WG], 64); /* a head has at most 144 vectors of 4 */
    return 0.5;
}

static void append_define(const struct problem *p, char *opt)
{
    const struct append_problem *a = &p->append;
    append(opt, MAX_DEFINES, " -DACT_TYPE=%s -DK_TYPE=%s -DV_TYPE=%s", type_name(a->act_type), type_name(a->kv.k.type),
           type_name(a->kv.v.type));
}

static struct geometry append_geometry(const struct problem *p, const struct device *d, const int *cfg)
{
    (void) d;
    const int64_t groups = p->append.rows * (p->append.n_heads + p->append.n_kv_heads);
    return (struct geometry){
        .n_launches = 1,
        .launch = {{.global = {(size_t) (groups * cfg[WG])}, .local = {(size_t) cfg[WG]}}},
        .n_splits = 1,
    };
}

const struct kernel append_group = {
    .name = "rope_append/group",
    .rev = 1,
    .op = OP_ROPE_APPEND,
    .family = "group",
    .source = &cl_append,
    .entry = {"rope_append"},
    .params = {[WG] = PARAM(WG, 1, 64, 256), [VEC] = PARAM(VEC, 16, 4)},
    .reject = append_reject,
    .expect = append_expect,
    .define = append_define,
    .geometry = append_geometry,
};
