/* SPDX-License-Identifier: MIT
 * pack.c - what the host must know about pack.cl */
#include "pack.h"
#include "panel.h"
#include "registry.h"

static int64_t panels_of(const struct linear_problem *p)
{
    int64_t n = 0;
    for (int i = 0; i < 3; i++)
        n += PANELS_OF(linear_part_rows(p, i));
    return n;
}

_Bool linear_packs(const struct linear_problem *p)
{
    const fdec_type t = p->w_type;
    return type_is_float(t) || t == FDEC_Q8_0 || t == FDEC_Q4_0;
}

uint64_t linear_packed_bytes(const struct linear_problem *p)
{
    return type_bytes(p->w_type, (uint64_t) (panels_of(p) * PANEL_ROWS * p->k));
}

static const char *pack_reject(const struct problem *p, const struct device *d, const int *cfg)
{
    const fdec_type t = p->linear.w_type;
    (void) cfg;
    if (!d->cpu_like)
        return "GPU-like devices read weights as they are stored";
    if (!linear_packs(&p->linear))
        return "weights of this type are read as they are stored";
    if (t == FDEC_F16 && !d->fp16_storage)
        return "the device does not read f16 right";
    return NULL;
}

static double pack_expect(const struct problem *p, const struct device *d, int *cfg)
{
    (void) p, (void) d, (void) cfg;
    return 0.5;
}

static void pack_define(const struct problem *p, char *opt)
{
    const fdec_type t = p->linear.w_type;
    append(opt, MAX_DEFINES, " -DW_TYPE=%s -DBLOCK_BYTES=%d", type_name(t),
           type_block(t) > 1 ? (int) type_bytes(t, type_block(t)) : 0);
}

static struct geometry pack_geometry(const struct problem *p, const struct device *d, const int *cfg)
{
    (void) d, (void) cfg;
    return (struct geometry){
        .n_launches = 1,
        .launch = {{.global = {(size_t) panels_of(&p->linear)}, .local = {1}}},
        .n_splits = 1,
    };
}

const struct kernel linear_pack = {
    .name = "linear_pack/panels",
    .rev = 1,
    .op = OP_LINEAR_PACK,
    .family = "panels",
    .source = &cl_pack,
    .entry = {"linear_pack"},
    .reject = pack_reject,
    .expect = pack_expect,
    .define = pack_define,
    .geometry = pack_geometry,
};
