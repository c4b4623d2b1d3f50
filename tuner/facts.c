/* SPDX-License-Identifier: MIT
 * facts.c - device facts as JSON: the worker asks the device, the parent and the journal keep what it said */
#include "tuner.h"

#include <math.h>
#include <string.h>

enum kind { TEXT, INT, SIZE, U32, U64, BOOL };

/* Every field of struct device that selection looks at. */
static const struct field {
    const char *name;
    enum kind kind;
    size_t at, bytes;
    bool later; /* logs of older versions have it not: 0 */
} fields[] = {
#define ENTRY(kind, name, later)                                                                                       \
    {                                                                                                                  \
#name, kind, offsetof(struct device, name), sizeof(((struct device *) NULL)->name), later                      \
    }
#define FIELD(kind, name) ENTRY(kind, name, false)
#define LATER(kind, name) ENTRY(kind, name, true)
    FIELD(TEXT, name),
    FIELD(TEXT, vendor),
    FIELD(TEXT, driver),
    FIELD(TEXT, platform),
    FIELD(TEXT, version),
    FIELD(TEXT, platform_version),
    FIELD(U32, vendor_id),
    FIELD(U64, type),
    FIELD(INT, compute_units),
    FIELD(INT, float_lanes),
    FIELD(SIZE, max_wg),
    {"max_items_x", SIZE, offsetof(struct device, max_items[0]), sizeof(size_t), false},
    {"max_items_y", SIZE, offsetof(struct device, max_items[1]), sizeof(size_t), false},
    {"max_items_z", SIZE, offsetof(struct device, max_items[2]), sizeof(size_t), false},
    FIELD(SIZE, local_bytes),
    FIELD(U64, global_bytes),
    FIELD(U64, max_alloc_bytes),
    FIELD(SIZE, base_align_bytes),
    FIELD(BOOL, cpu_like),
    FIELD(BOOL, fp16_storage),
    FIELD(BOOL, prefetch),
    FIELD(BOOL, fp64),
    LATER(INT, shuffle),
    LATER(INT, wave),
    LATER(INT, matrix),
    LATER(BOOL, matrix_f16),
    LATER(BOOL, matrix_standin),
#undef ENTRY
#undef FIELD
#undef LATER
};

static json_t *field_get(const struct field *f, const struct device *d)
{
    const void *p = (const char *) d + f->at;
    switch (f->kind) {
    case TEXT: {
        json_t *text = json_string(p);
        return text ? text : json_string("not UTF-8");
    }
    case INT: return json_integer(*(const int *) p);
    case SIZE: return json_integer((json_int_t) * (const size_t *) p);
    case U32: return json_integer(*(const uint32_t *) p);
    case U64: return json_integer((json_int_t) * (const uint64_t *) p);
    case BOOL: return json_boolean(*(const bool *) p);
    }
    return NULL;
}

static bool field_set(const struct field *f, struct device *d, const json_t *v)
{
    void *p = (char *) d + f->at;
    if (f->kind == TEXT ? !json_is_string(v) : f->kind == BOOL ? !json_is_boolean(v) : !json_is_integer(v))
        return false;
    const json_int_t i = json_integer_value(v);
    switch (f->kind) {
    case TEXT: snprintf(p, f->bytes, "%s", json_string_value(v)); break;
    case INT: *(int *) p = (int) i; break;
    case SIZE: *(size_t *) p = (size_t) i; break;
    case U32: *(uint32_t *) p = (uint32_t) i; break;
    case U64: *(uint64_t *) p = (uint64_t) i; break;
    case BOOL: *(bool *) p = json_is_true(v); break;
    }
    return true;
}

static json_t *device_to_json(const struct device *d)
{
    json_t *j = json_object();
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        json_object_set_new(j, fields[i].name, field_get(&fields[i], d));
    return j;
}

json_t *facts_to_json(const struct facts *f)
{
    json_t *denied = json_array();
    for (int i = 0; kernels[i]; i++)
        if (f->denied[i])
            json_array_append_new(denied, json_string(kernels[i]->name));
    json_t *j = json_pack("{s:o, s:o}", "device", device_to_json(&f->device), "denied", denied);
    if (j && f->measured) {
        json_object_set_new(j, "read_mbps", json_integer((json_int_t) lround(f->read_gbps * 1e3)));
        json_object_set_new(j, "launch_ns", json_integer((json_int_t) lround(f->launch_us * 1e3)));
        json_object_set_new(j, "cache_bytes", json_integer((json_int_t) f->cache_bytes));
    }
    return j;
}

bool facts_from_json(const json_t *j, struct facts *f)
{
    *f = (struct facts){0};
    const json_t *device = json_object_get(j, "device");
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        const json_t *value = json_object_get(device, fields[i].name);
        if (!(fields[i].later && !value) && !field_set(&fields[i], &f->device, value))
            return false;
    }
    const json_t *denied = json_object_get(j, "denied");
    for (size_t n = 0; n < json_array_size(denied); n++)
        for (int i = 0; kernels[i]; i++) {
            const char *name = json_string_value(json_array_get(denied, n));
            if (name && !strcmp(name, kernels[i]->name))
                f->denied[i] = true;
        }
    const json_t *read = json_object_get(j, "read_mbps"), *launch = json_object_get(j, "launch_ns");
    const json_t *cache = json_object_get(j, "cache_bytes");
    f->measured = json_is_integer(read) && json_is_integer(launch) && json_is_integer(cache);
    if (f->measured) {
        f->read_gbps = (double) json_integer_value(read) * 1e-3;
        f->launch_us = (double) json_integer_value(launch) * 1e-3;
        f->cache_bytes = (size_t) json_integer_value(cache);
    }
    return true;
}

uint64_t facts_hash(const struct facts *f)
{
    struct device lasting = f->device;
    lasting.global_bytes = lasting.max_alloc_bytes = 0; /* some drivers tell what is free at the moment */
    json_t *j = device_to_json(&lasting);
    char *text = json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS);
    const uint64_t hash = text ? hash64(text, strlen(text), 0) : 0;
    free(text);
    json_decref(j);
    return hash;
}
