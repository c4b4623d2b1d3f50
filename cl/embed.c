/* SPDX-License-Identifier: MIT
 * embed.c - what the host must know about embed.cl */
#include "registry.h"
#include "row_params.h"

static const char *embed_reject(const struct problem *p, const struct device *d, const int *cfg)
{
    const fdec_type t = p->small.type;
    if (type_has_f16(t) && !d->fp16_storage)
        return "the device does not read f16 right";
    if ((size_t) cfg[WG] > row_max_wg(d))
        return "WG is over the device limit";
    return NULL;
}

static double embed_expect(const struct problem *p, const struct device *d, int *cfg)
{
    (void) p;
    row_choose(d, cfg);
    return 0.5;
}

static void embed_define(const struct problem *p, char *opt)
{
    append(opt, MAX_DEFINES, " -DTABLE=%s", type_name(p->small.type));
}

static struct geometry embed_geometry(const struct problem *p, const struct device *d, const int *cfg)
{
    (void) d;
    return (struct geometry){
        .n_launches = 1,
        .launch = {{.global = {(size_t) (p->small.rows * cfg[WG])}, .local = {(size_t) cfg[WG]}}},
        .n_splits = 1,
    };
}

const struct kernel embed_group = {
    .name = "embed/group",
    .rev = 1,
    .op = OP_EMBED,
    .family = "group",
    .source = &cl_embed,
    .entry = {"embed"},
    .params = {[WG] = PARAM(WG, 1, 64, 256), [VEC] = PARAM(VEC, 16, 8, 4)},
    .reject = embed_reject,
    .expect = embed_expect,
    .define = embed_define,
    .geometry = embed_geometry,
};
