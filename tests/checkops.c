/* SPDX-License-Identifier: MIT
 * checkops.c - device arrays with guard bands, seeded numbers, comparison */
#include "checkops.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GUARD_BYTES = 256 };

struct tester t;

bool check(bool ok, const char *format, ...)
{
    ok ? t.passed++ : t.failed++;
    if (!ok && t.failed <= 40) { /* more would bury the first */
        va_list args;
        va_start(args, format);
        printf("FAIL [%s] ", t.setup);
        vprintf(format, args);
        printf("\n");
        va_end(args);
    }
    return ok;
}

void must(bool ok, const char *what)
{
    if (ok)
        return;
    printf("FAIL [%s] %s: %s\n", t.setup ? t.setup : "", what, fdec_last_error());
    exit(1);
}

uint64_t random_u64(void) /* splitmix64 */
{
    uint64_t z = (t.seed += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

float uniform(float lo, float hi)
{
    return lo + (hi - lo) * (float) (random_u64() >> 40) * 0x1p-24f;
}

float *floats(size_t n, float lo, float hi)
{
    float *x = malloc(n * sizeof *x);
    must(x != NULL, "malloc");
    for (size_t i = 0; i < n; i++)
        x[i] = uniform(lo, hi);
    return x;
}

fdec_buffer put(const void *data, size_t bytes, size_t elem)
{
    const size_t offset = GUARD_BYTES + elem, all = offset + bytes + GUARD_BYTES;
    unsigned char *host = malloc(all);
    cl_int err;
    must(host && t.n_devs < MAX_DEVS, "put");
    memset(host, POISON, all);
    if (data)
        memcpy(host + offset, data, bytes);
    struct dev *d = &t.devs[t.n_devs++];
    *d = (struct dev){clCreateBuffer(t.context, CL_MEM_COPY_HOST_PTR, all, host, &err), offset, bytes};
    must(err == CL_SUCCESS, "clCreateBuffer");
    free(host);
    return (fdec_buffer){d->mem, offset};
}

void get(fdec_buffer b, void *out, const char *what)
{
    const struct dev *d = t.devs;
    while (d->mem != b.mem)
        d++;
    const size_t all = d->offset + d->bytes + GUARD_BYTES;
    unsigned char *host = malloc(all);
    must(host && clEnqueueReadBuffer(t.queue, d->mem, CL_TRUE, 0, all, host, 0, NULL, NULL) == CL_SUCCESS, what);
    bool whole = true;
    for (size_t i = 0; i < d->offset; i++)
        whole &= host[i] == POISON;
    for (size_t i = d->offset + d->bytes; i < all; i++)
        whole &= host[i] == POISON;
    check(whole, "%s: wrote outside its output", what);
    memcpy(out, host + d->offset, d->bytes);
    free(host);
}

void drop(void)
{
    while (t.n_devs > 0)
        clReleaseMemObject(t.devs[--t.n_devs].mem);
}

bool within(float got, double want, double bound)
{
    if (isnan(want) || isinf(want))
        return isnan(want) ? isnan(got) : got == want;
    return fabs(got - want) <= bound; /* false for NaN */
}

void compare(const float *got, const double *want, const double *bound, size_t n, const char *what, int rows, int cols)
{
    size_t bad = 0;
    while (bad < n && within(got[bad], want[bad], bound[bad]))
        bad++;
    if (bad < n)
        check(false, "%s %d x %d: [%zu] is %.9g, not %.9g +- %.3g", what, rows, cols, bad, got[bad], want[bad],
              bound[bad]);
    else
        check(true, "%s", what);
}

bool wanted(size_t n)
{
    return !t.tiny || n <= 260;
}

void ran(fdec_status st, const char *what)
{
    check(st == FDEC_OK, "%s: %s", what, fdec_last_error());
}

/* To `bits` significant bits, fewer below 2^least, infinity above `most`. */
static double round_to(double v, int bits, int least, double most)
{
    int e;
    if (!isfinite(v))
        return v;
    frexp(v, &e); /* |v| in [2^(e-1), 2^e) */
    e = e <= least ? least + 1 : e;
    const double r = ldexp(rint(ldexp(v, bits - e)), e - bits);
    return fabs(r) > most ? copysign(INFINITY, v) : r;
}

double half_nearest(double v)
{
    return round_to(v, 11, -14, 65504);
}

double nearest(fdec_type type, double v)
{
    return type == FDEC_F16 ? half_nearest(v) : type == FDEC_BF16 ? round_to(v, 8, -126, 0x1.fep127) : (float) v;
}

static uint16_t half_bits(double v)
{
    int e;
    const double a = fabs(v);
    const int sign = signbit(v) ? 0x8000 : 0;
    if (!isfinite(v))
        return (uint16_t) (sign | (isnan(v) ? 0x7e00 : 0x7c00));
    frexp(a, &e);
    return (uint16_t) (sign | (a < 0x1p-14 ? (int) ldexp(a, 24) : (e + 14) * 1024 + (int) ldexp(a, 11 - e) - 1024));
}

void put_element(fdec_type type, void *array, size_t i, double v)
{
    const float f = (float) v;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    if (type == FDEC_F32)
        ((float *) array)[i] = f;
    else
        ((uint16_t *) array)[i] = type == FDEC_F16 ? half_bits(v) : (uint16_t) (bits >> 16);
}
