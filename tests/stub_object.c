/* SPDX-License-Identifier: MIT
 * stub_object.c - the objects of the stub driver, who may fail when, and what is told at exit */
#include "stub_object.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const kind_names[N_KINDS] = {"context", "queue", "buffer",   "program",
                                                "kernel",  "event", "platform", "device"};

enum { MAX_LIVE = 4096 };
struct object stub_platform = {&stub_dispatch, PLATFORM, .refs = 1}, stub_device = {&stub_dispatch, DEVICE, .refs = 1};
static struct object *live[MAX_LIVE];
static struct stub_control control;

struct stub_control *stub_control(void)
{
    return &control;
}

__attribute__((constructor)) static void start(void)
{
    const char *n = getenv("FLASHDEC_STUB_FAIL");
    control.fail_at = n ? atol(n) : 0;
}

__attribute__((destructor)) static void report(void)
{
    long alive[N_KINDS] = {0};
    for (long i = 0; i < control.live; i++)
        alive[live[i]->kind]++;
    for (int k = 0; k < N_KINDS; k++)
        if (alive[k])
            fprintf(stderr, "stub_icd: %ld %s(s) leaked\n", alive[k], kind_names[k]);
    if (control.misuses)
        fprintf(stderr, "stub_icd: %ld dead or wrong handle(s)\n", control.misuses);
}

void note(const char *call)
{
    if (control.called)
        control.called(call);
}

bool turn(const char *call, cl_uint question)
{
    note(call);
    if (++control.calls != control.fail_at)
        return false;
    control.name = call;
    control.question = question;
    return true;
}

void *created(struct object *o, cl_int error, cl_int *err)
{
    if (err)
        *err = o ? CL_SUCCESS : error;
    return o;
}

static long index_of(const void *handle)
{
    for (long i = control.live; i-- > 0;)
        if (live[i] == handle)
            return i;
    return -1;
}

struct object *check(const void *handle, enum kind kind)
{
    if (kind == PLATFORM && handle == &stub_platform)
        return &stub_platform;
    if (kind == DEVICE && handle == &stub_device)
        return &stub_device;
    const long i = index_of(handle);
    if (i >= 0 && live[i]->kind == kind)
        return live[i];
    control.misuses++;
    return NULL;
}

struct object *make(enum kind kind, cl_context context)
{
    control.allocating = true;
    struct object *o = control.live < MAX_LIVE ? calloc(1, sizeof *o) : NULL;
    control.allocating = false;
    if (!o)
        return NULL;
    o->dispatch = &stub_dispatch;
    o->kind = kind;
    o->refs = 1;
    o->context = context;
    return live[control.live++] = o;
}

cl_int retain(const void *handle, enum kind kind, cl_int error)
{
    struct object *o = check(handle, kind);
    if (!o)
        return error;
    o->refs++;
    return CL_SUCCESS;
}

cl_int release(const char *call, const void *handle, enum kind kind, cl_int error)
{
    note(call);
    struct object *o = check(handle, kind);
    if (!o)
        return error;
    if (--o->refs)
        return CL_SUCCESS;
    live[index_of(o)] = live[control.live - 1];
    control.live--;
    control.allocating = true;
    free(o);
    control.allocating = false;
    return CL_SUCCESS;
}

cl_int answer(const void *data, size_t n, size_t size, void *value, size_t *size_ret)
{
    if (size_ret)
        *size_ret = n;
    if (!value)
        return CL_SUCCESS;
    if (size < n)
        return CL_INVALID_VALUE;
    memcpy(value, data, n);
    return CL_SUCCESS;
}
