/* SPDX-License-Identifier: MIT
 * stub_icd.h - how a test talks to the stub driver: clGetExtensionFunctionAddressForPlatform(platform,
 * "stub_control") is a function that returns this */
#ifndef STUB_ICD_H
#define STUB_ICD_H

#include <stdbool.h>

struct stub_control {
    long calls;        /* calls that can fail, counted since the test set this to 0 */
    long fail_at;      /* the call that fails, counted from 1; 0: none */
    const char *name;  /* of the call that failed; NULL: none has */
    unsigned question; /* its param_name, where it has one */
    long live;         /* objects whose reference count is not 0 */
    long misuses;      /* handles that were dead, or of another kind, when they were passed in */
    void (*called)(const char *call); /* told of every call but clGetPlatformIDs and clGetExtension..., may be NULL */
    volatile bool allocating;         /* calloc or free is the stub's own; compilers think that neither would read it */
};

typedef struct stub_control *stub_control_fn(void);
#endif
