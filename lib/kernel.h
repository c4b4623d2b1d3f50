/* SPDX-License-Identifier: MIT
 * kernel.h - the one description of a kernel variant. READ THIS FIRST
 *
 * A variant is one way to compute one operation, with the finite set of configurations it may be compiled in. All that
 * is true of it on the host is said in its description, in cl/NAME.c beside cl/NAME.cl, once. Library, tuner, tests
 * and benchmark walk the list in cl/registry.c and know no kernel by name. */
#ifndef KERNEL_H
#define KERNEL_H
#include "problem.h"
#include "device.h"

enum { MAX_PARAMS = 8, MAX_LAUNCHES = 3, MAX_BUFFERS = 20, MAX_SCALARS = 32, MAX_DEFINES = 512 };
enum { MAX_KERNELS = 64 }; /* in kernels[] */

struct source {
    const char *file; /* "attn.cl": its name under FLASHDEC_CL_DIR and in logs */
    const char *text; /* with every #include "..." resolved; made by tools/embed.c */
};

/* What all variants of an operation share: the list of arguments, expanded from cl/NAME.h. */
struct operation {
    const char *name; /* "attn" */
    int n_buffers, n_scalars;
    int n_counts; /* u32 counters on the device that the plan keeps for its kernels; 0: none */
    unsigned char scalar_bytes[MAX_SCALARS]; /* 4 or 8 each, in order, as they lie in struct NAME_scalars */
};
extern const struct operation operations[OP_COUNT]; /* cl/registry.c */

/* The arguments of one run. offset in bytes; a NULL mem is an absent optional buffer. */
struct binding {
    cl_mem mem[MAX_BUFFERS];
    cl_ulong offset[MAX_BUFFERS];
    const void *scalars; /* struct NAME_scalars */
};

struct param {
    const char *name;  /* compiled in as -D<name>=<value>; a key of a table entry's configuration */
    const int *values; /* every value worth trying: a search list, no default in it */
    size_t n;
    bool host_only; /* geometry() alone reads it: programs that differ in it are one program */
};
#define PARAM(name, ...)      {#name, (const int[]) {__VA_ARGS__}, sizeof((int[]) {__VA_ARGS__}) / sizeof(int), false}
#define HOST_PARAM(name, ...) {#name, (const int[]) {__VA_ARGS__}, sizeof((int[]) {__VA_ARGS__}) / sizeof(int), true}

struct launch {
    size_t global[3], local[3]; /* trailing zeros: fewer dimensions; local[0] == 0: the driver's choice */
};

/* Where and how one configuration runs one problem. */
struct geometry {
    int n_launches;
    int first;                          /* launches before it are not needed, and not made */
    struct launch launch[MAX_LAUNCHES]; /* in order, each waits for the one before */
    int n_splits;                       /* the parts that launch 0 makes and launch 1 merges; 1: none */
    int span;                           /* attention: kv heads that one group of launch 0 takes */
    int prepared;                       /* linear: tokens side by side where launch 0 prepares x; 0: it does not */
    int split_keys;                     /* attention, batch-invariant: keys of each split; 0: it depends on the run */
    size_t workspace_bytes;             /* enough for this problem and every one with a smaller range (problem_range) */
};

/* A variant that is a call into another library, after the kernels of the description (if it has any), which have been
 * enqueued with the caller's wait list. Everything has been checked; called under the context's lock. */
struct host_call {
    const struct problem *problem; /* of this run */
    const struct binding *binding;
    cl_command_queue queue;
    cl_uint n_wait;
    const cl_event *wait;
    cl_event *event; /* NULL, or to be set to the last one's */
};

struct kernel {
    const char *name; /* "op/variant"; stable, the key of the tuning data */
    uint32_t rev;     /* raise when tuned entries of the old code no longer apply: a table names "op/variant@rev" */
    enum op op;
    const char *family; /* what a caller may ask for: "unified", "gemv", ...; several variants may share one */
    const struct source *source;
    const char *entry[MAX_LAUNCHES]; /* its __kernel functions, in the order of geometry.launch */
    struct param params[MAX_PARAMS];

    /* NULL if cfg can compute p on d, else the reason, in words, as a static string. cfg[i] is a value of params[i].
     * The only place where a limit is written down: tuner, selector and tests all ask here. */
    const char *(*reject)(const struct problem *p, const struct device *d, const int *cfg);

    /* True if the tuner need not time cfg on p. Never a matter of correctness: tests run pruned ones too. Optional. */
    bool (*prune)(const struct problem *p, const struct device *d, const int *cfg);

    /* The analytic default: sets cfg to the configuration of first choice for p on d and returns the share of the
     * roofline that it is expected to reach, 0..1. No measurement; only the order of the answers matters. Called by
     * kernel_expect(). */
    double (*expect)(const struct problem *p, const struct device *d, int *cfg);

    /* Appends " -DNAME=VALUE ..." for what p fixes at compile time (its class). Optional. opt has MAX_DEFINES bytes. */
    void (*define)(const struct problem *p, char *opt);

    /* True for a launch whose code is the same for many configurations: it is compiled apart, once for all of them,
     * from the same source. Appends its " -DNAME=VALUE ...", which stand in place of the parameters and define()'s.
     * Optional. */
    bool (*apart)(const struct problem *p, const struct device *d, int launch, char *opt);

    /* Geometry of an accepted configuration. Pure: the same inputs give the same answer. Lives here and nowhere else.
     * */
    struct geometry (*geometry)(const struct problem *p, const struct device *d, const int *cfg);

    /* Not NULL: called after the launches were enqueued. Returns an OpenCL error, or CL_SUCCESS. */
    cl_int (*host_run)(const struct host_call *call);
};

extern const struct kernel *const kernels[]; /* NULL-terminated; cl/registry.c. Order is preference among equals */

/* Steps cfg through all configurations of k like an odometer, at[] being its position (start: all zero, cfg from
 * kernel_first). Returns false after the last. */
void kernel_first(const struct kernel *k, int at[MAX_PARAMS], int cfg[MAX_PARAMS]);
bool kernel_next(const struct kernel *k, int at[MAX_PARAMS], int cfg[MAX_PARAMS]);
/* k's expect(). What that leaves unset is as kernel_first() sets it, so that reject() may be asked of cfg. */
double kernel_expect(const struct kernel *k, const struct problem *p, const struct device *d, int cfg[MAX_PARAMS]);
int kernel_n_params(const struct kernel *k);
const struct kernel *kernel_find(const char *name); /* NULL: there is none */
int kernel_index(const struct kernel *k); /* in kernels[]; one that is not there: their number */

/* "TILE=64 VEC=4" into buf; "" for a kernel without parameters. */
void kernel_print_config(const struct kernel *k, const int *cfg, char *buf, size_t n);
/* The reverse; every parameter exactly once, each a value of the search list. False: something else. */
bool kernel_parse_config(const struct kernel *k, const char *text, int *cfg);
#endif
