/* SPDX-License-Identifier: MIT
 * check.h - what a candidate has to get right before it is timed; see check.c */
#ifndef CHECK_H
#define CHECK_H
#include "plan.h"
#include "tuner.h"
#include "workload.h"

struct checker {
    fdec_ctx *ctx;
    cl_command_queue queue;
    void (*phase)(const char *name); /* told before each step */
};

/* May the plan's kernels run p on this device: their own limits. False: text says why not. */
bool check_limits(const fdec_plan *plan, const struct problem *p, char *text, size_t n);

/* Both set r->outcome, r->text and r->error_ratio where something is wrong; r->outcome is OUT_OK before. A status that
 * is not FDEC_OK: a call failed. */
fdec_status check_point(const struct checker *c, fdec_plan *plan, struct workload *w, struct result *r);
/* On small problems of p's class; backwards: with work-items numbered backwards as well. */
fdec_status check_small(const struct checker *c, const struct candidate *candidate, const struct problem *p,
                        bool backwards, struct result *r);
/* Are p's small problems so small that every candidate can be checked on them. */
bool check_is_cheap(const struct problem *p);
#endif
