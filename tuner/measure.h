/* SPDX-License-Identifier: MIT
 * measure.h - clock, statistics, and what this machine can do at best */
#ifndef MEASURE_H
#define MEASURE_H
#include "flashdec.h"
#include <stdbool.h>

struct stats { /* of n samples, in the samples' unit */
    int n;
    double median, lo, hi; /* lo..hi: 95 % interval of the median, by order statistics (the binomial law) */
};
/* Sorts x. n = 0 gives zeros. */
struct stats stats_of(double *x, int n);

double now_us(void); /* monotonic */

/* Best rates of one device, on 512 MiB (or what fits), by plain C on all cores (CPU devices) and by the best read
 * kernel and FMA kernel; interleave them with what they are compared with. */
struct roof;
fdec_status roof_create(cl_context context, cl_device_id device, cl_command_queue queue, struct roof **out);
void roof_destroy(struct roof **r);
fdec_status roof_read_gbps(struct roof *r, double *gbps);    /* one sample; the caller keeps the best */
fdec_status roof_fma_gflops(struct roof *r, double *gflops); /* one sample */
fdec_status roof_launch_us(struct roof *r, double *us);      /* empty kernel, queued in order, per launch */
/* Bytes of the cache that timing really runs in, by a sweep of read bandwidth over sizes; not less than is reported. */
fdec_status roof_cache_bytes(struct roof *r, size_t *bytes);
#endif
