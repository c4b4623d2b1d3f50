/* SPDX-License-Identifier: MIT
 * checkops.h - what a check of small operations is written with
 *
 * Outputs are poisoned and stand between guard bands, offsets are odd. U = 2^-24 is the unit roundoff of f32; an
 * OpenCL function of n ulp errs by at most 2*n*U. */
#ifndef CHECKOPS_H
#define CHECKOPS_H
#include "problem.h"
#include "ref_quant.h"

#define U        0x1p-24
#define COUNT(a) (sizeof(a) / sizeof *(a))

enum { POISON = 0xA5, MAX_DEVS = 16 };

struct dev {
    cl_mem mem;
    size_t offset, bytes;
};

extern struct tester {
    cl_context context;
    cl_device_id device;
    cl_command_queue queue;
    fdec_ctx *ctx;
    fdec_ops *ops;
    const char *setup; /* FLASHDEC_PRETEND in force */
    struct dev devs[MAX_DEVS];
    int n_devs, passed, failed;
    bool tiny; /* a slow device or an interpreter: short rows, few of them */
    uint64_t seed;
} t;

/* One check; the text is printed if it fails. Returns ok. */
__attribute__((format(printf, 2, 3))) bool check(bool ok, const char *format, ...);
void must(bool ok, const char *what); /* or the program ends */
void ran(fdec_status st, const char *what);

uint64_t random_u64(void);
float uniform(float lo, float hi); /* [lo, hi) */
float *floats(size_t n, float lo, float hi);

/* A device array of elements of elem bytes with guard bands around it; data NULL: poison. */
fdec_buffer put(const void *data, size_t bytes, size_t elem);
/* Reads an array back; the guard bands must be whole. */
void get(fdec_buffer b, void *out, const char *what);
void drop(void); /* the arrays of a case */

bool within(float got, double want, double bound); /* NaN and infinities as they are */
void compare(const float *got, const double *want, const double *bound, size_t n, const char *what, int rows, int cols);

/* The nearest value of f16, and of f32, f16 or bf16: ties to even, overflow to infinity. */
double half_nearest(double v);
double nearest(fdec_type type, double v);
/* v is a value of the type, one of these three. */
void put_element(fdec_type type, void *array, size_t i, double v);

bool wanted(size_t n); /* a row of n elements: not too long for --tiny */

void check_append(void);
void check_embed(void);
void check_sample(void);
#endif
