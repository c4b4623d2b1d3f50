/* SPDX-License-Identifier: MIT
 * target.c - cards that are not here, as data/targets.json describes them */
#include "shuffle.h"
#include "tuner.h"

#include <string.h>

extern const char targets_json[]; /* data/targets.json */

static void unit_of(const json_t *unit, struct target *t)
{
    t->unit_local_bytes = (int) get_number(unit, "local_bytes");
    t->unit_registers = (int) get_number(unit, "registers");
    t->unit_items = (int) get_number(unit, "items");
    t->unit_groups = (int) get_number(unit, "groups");
}

/* What a driver would say of such a card, and probes find. */
static void device_of(const json_t *o, struct device *d)
{
    snprintf(d->name, sizeof d->name, "%s", get_text(o, "device"));
    snprintf(d->vendor, sizeof d->vendor, "%s", get_text(o, "vendor"));
    snprintf(d->platform, sizeof d->platform, "%s", get_text(o, "platform"));
    snprintf(d->driver, sizeof d->driver, "none");
    d->vendor_id = (uint32_t) get_number(o, "vendor_id");
    d->type = CL_DEVICE_TYPE_GPU;
    d->compute_units = (int) get_number(o, "compute_units");
    d->float_lanes = 1;
    d->max_wg = (size_t) get_number(o, "max_wg");
    for (int i = 0; i < 3; i++)
        d->max_items[i] = i < 2 ? d->max_wg : MIN(d->max_wg, (size_t) 64);
    d->local_bytes = (size_t) get_number(o, "local_bytes");
    d->global_bytes = (uint64_t) get_number(o, "global_gib") << 30;
    d->max_alloc_bytes = d->global_bytes / 4;
    d->base_align_bytes = 128;
    d->fp16_storage = d->fp64 = true;
    d->shuffle = d->vendor_id == 4318 ? SHUFFLE_PTX : SHUFFLE_AMD;
    d->wave = 32;
    d->matrix = (int) get_number(o, "matrix"); /* 0: it has none */
    d->matrix_f16 = get_number(o, "matrix_f16") != 0;
}

static void target_of(const json_t *o, struct target *t)
{
    *t = (struct target){.wave = (int) get_number(o, "wave"),
                         .f32_gflops = get_number(o, "f32_gflops"),
                         .f16_matrix_gflops = get_number(o, "f16_matrix_gflops")};
    snprintf(t->name, sizeof t->name, "%s", get_text(o, "name"));
    snprintf(t->arch, sizeof t->arch, "%s", get_text(o, "arch"));
    snprintf(t->like, sizeof t->like, "%s", get_text(o, json_object_get(o, "like") ? "like" : "name"));
    unit_of(json_object_get(o, "unit"), t);
    device_of(o, &t->facts.device);
    t->facts.measured = true; /* so says its maker */
    t->facts.read_gbps = get_number(o, "read_gbps");
    t->facts.launch_us = 5; /* a guess: no maker tells */
    t->facts.cache_bytes = (size_t) get_number(o, "cache_mib") << 20;
}

static void list_names(const json_t *targets, char *buf, size_t n)
{
    *buf = 0;
    for (size_t i = 0; i < json_array_size(targets); i++)
        append(buf, n, "%s%s", i ? ", " : "", get_text(json_array_get(targets, i), "name"));
}

fdec_status target_find(const char *name, struct target *out)
{
    json_t *all = json_loads(targets_json, 0, NULL);
    const json_t *targets = json_object_get(all, "targets");
    fdec_status st = FDEC_E_ARG;
    for (size_t i = 0; i < json_array_size(targets); i++)
        if (!strcmp(get_text(json_array_get(targets, i), "name"), name)) {
            target_of(json_array_get(targets, i), out);
            st = FDEC_OK;
        }
    if (st != FDEC_OK) {
        char names[400];
        list_names(targets, names, sizeof names);
        fail(FDEC_E_ARG, "%s is no target; there are: %s", name, names);
    }
    json_decref(all);
    return st;
}
