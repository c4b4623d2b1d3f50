/* SPDX-License-Identifier: MIT
 * stub_object.h - what every call of the stub driver is made of: objects, the turn to fail, answers */
#ifndef STUB_OBJECT_H
#define STUB_OBJECT_H

#include "stub_icd.h"

#include <CL/cl_icd.h>
#include <stdbool.h>

enum { STORED = 4096 };
enum kind { CONTEXT, QUEUE, MEM, PROGRAM, KERNEL, EVENT, PLATFORM, DEVICE, N_KINDS };

struct object {
    const cl_icd_dispatch *dispatch; /* first: the loader reads it */
    enum kind kind;
    long refs;
    cl_context context; /* of a queue or buffer */
    bool built;         /* program */
    char name[64];      /* kernel */
    cl_mem out;         /* kernel: argument 0 */
    size_t size;        /* buffer */
    unsigned char bytes[STORED];
};

extern const cl_icd_dispatch stub_dispatch;
extern struct object stub_platform, stub_device;

struct stub_control *stub_control(void);

/* Tells the test of a call. */
void note(const char *call);

/* Whether this call is the one that fails; tells the test of it. */
bool turn(const char *call, cl_uint question);

#define MAY_FAIL(error)                                                                                                \
    if (turn(__func__, 0))                                                                                             \
    return error
#define MAY_FAIL_ASKED(question, error)                                                                                \
    if (turn(__func__, question))                                                                                      \
    return error
#define MAY_FAIL_TO_CREATE(error)                                                                                      \
    if (turn(__func__, 0))                                                                                             \
    return created(NULL, error, err)

/* What a call that makes an object returns. */
void *created(struct object *o, cl_int error, cl_int *err);

/* NULL, and counted, where the handle is not of this kind. Dead handles are never read. */
struct object *check(const void *handle, enum kind kind);

/* NULL: no memory. */
struct object *make(enum kind kind, cl_context context);
cl_int retain(const void *handle, enum kind kind, cl_int error);
cl_int release(const char *call, const void *handle, enum kind kind, cl_int error);

/* The common end of the clGet...Info calls. */
cl_int answer(const void *data, size_t n, size_t size, void *value, size_t *size_ret);

#define ANSWER(type, x) return answer(&(type){x}, sizeof(type), size, value, size_ret)
#define ANSWER_TEXT(x)  return answer(x, sizeof(x), size, value, size_ret)
#endif
