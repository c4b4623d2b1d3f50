/* SPDX-License-Identifier: MIT
 * checkcl.h - what a check_<op>.c is written with
 *
 * A check names plans (a class, at its largest) and the runs made through each. check_plan() then takes every
 * variant, in a sample of the configurations that it does not reject, and puts all runs through one plan of it:
 * right within the bound of ref.c, nothing written outside, the same bits twice, counters as expected. Runs are
 * cheap, programs are not: many runs in few classes. */
#ifndef CHECKCL_H
#define CHECKCL_H
#include "workload.h"

struct check;

/* What `unified` must do with its guard in a run. */
enum guard { GUARD_QUIET, GUARD_FIRES, GUARD_EITHER };

struct trial {
    int64_t at[N_RANGES]; /* the run's range: {B, n}, {M}, {rows} */
    enum fill fill;
    bool bias, residual, lse, in_place;
    bool aligned;     /* all operands start on 16 bytes, and sequences are of full length */
    enum guard guard; /* attention, and what follows */
    int q_len;        /* 0: the plan's */
    struct attn_with with;
};

/* Which variants, and in how many configurations each: NULL and 0 for all that there are to sample. */
struct sieve {
    const char *family, *style; /* "unified"; "vec", "wg", "mma" */
    int samples;
};

/* note: what the problem's text does not say ("phi=200"), "" for nothing. */
void check_plan(struct check *c, const struct problem *plan, const char *note, const struct trial *trials, int n);
void check_plan_by(struct check *c, const struct sieve *sieve, const struct problem *plan, const char *note,
                   const struct trial *trials, int n);

/* One problem from its text; a text that does not parse fails aloud. */
bool check_problem(struct check *c, const char *text, struct problem *p);

/* True where only tiny problems may be run: a slow device, or an interpreter. */
bool check_tiny(const struct check *c);

/* For checks that make their own calls: one pass or fail. what may be NULL when ok. */
void check_that(struct check *c, bool ok, const char *name, const char *what);
/* The style that this device is made for, "vec" or "wg": the other one is slow to compile and to run. */
const char *check_native(const struct check *c);
bool check_full(const struct check *c);
bool check_broken(const struct check *c); /* only kernels that are wrong on purpose are run */
bool check_filtered(const struct check *c); /* one style, kernel or configuration alone is wanted */
uint64_t check_seed(const struct check *c);
long check_number(const struct check *c); /* --only as a number; -1: none */
/* True where this run was asked for one plan and this is not it. */
bool check_skips(const struct check *c, const char *text);
fdec_ctx *check_ctx(struct check *c);
cl_command_queue check_queue_of(struct check *c);

void check_attn(struct check *c);
void check_attn_cover(struct check *c);  /* every pair of features */
void check_attn_whole(struct check *c);  /* batch-invariance, moving to `online`, refused pairs */
void check_attn_random(struct check *c); /* --op random */
void check_attn_matrix(struct check *c); /* on the device's matrix unit, or its stand-in */
/* The same bits alone, in a batch, in a plan for longer sequences. k NULL: as the library chooses in the family. */
void check_attn_invariance(struct check *c, const struct kernel *k, const char *family);
void check_linear(struct check *c);
void check_linear_whole(struct check *c); /* a band of M, determinism, large sums */
void check_linear_stats(struct check *c); /* records for sampling */
void check_linear_band(struct check *c, const struct kernel *k, const struct problem *p, int runs);
/* Sampling by a kernel's records and without them takes the same tokens. p: of check_linear_stats.c's M and N. */
void check_linear_records(struct check *c, const struct kernel *k, const struct problem *p);
void check_linear_large(struct check *c, int64_t m); /* sums past the end of half; m up to 8 */
void check_linear_matrix(struct check *c); /* on the device's matrix unit, or its stand-in */
/* Each variant of linear that this device is made for and that can do p, W packed where it must be: check(c, k, p). Its
 * configuration is the one it expects. */
void check_each_linear(struct check *c, const struct problem *p,
                       void (*check)(struct check *c, const struct kernel *k, const struct problem *p));
void check_softmax(struct check *c);
void check_api(struct check *c); /* refusals of the public calls, families by name */
void check_reload(struct check *c);

/* Kernels that are wrong on purpose: .params[0] is FAULT; fault 0 is none, and must pass. NULL-terminated. */
extern const struct kernel *const broken[];
const char *broken_name(const struct kernel *k, int fault);
#endif
