/* SPDX-License-Identifier: MIT
 * select.h - which variant, in which configuration, and why. Pure: no OpenCL, no files */
#ifndef SELECT_H
#define SELECT_H
#include "kernel.h"
#include "table.h"

/* Half-open on both axes: lo[i] <= at[i] < hi[i]. */
struct range {
    int64_t lo[N_RANGES], hi[N_RANGES];
};
bool range_contains(const struct range *r, const int64_t at[N_RANGES]);

/* How near the data is to this device; `table_level` in outputs. */
enum level {
    LEVEL_EXACT = 1,        /* same device, same driver */
    LEVEL_OTHER_DRIVER = 2, /* same device, other driver */
    LEVEL_ARCHITECTURE = 3, /* same architecture or alias */
    LEVEL_MODELLED = 4,     /* modelled for this card, never measured */
    LEVEL_NEAREST = 5,      /* nearest by measured features, same vendor and type */
    LEVEL_ANALYTIC = 6      /* no table entry: the rule in select.c */
};

struct want {            /* what the caller forces; all NULL: nothing */
    const char *family;  /* "unified", "gemv", ... */
    const struct kernel *kernel; /* tuner and tests: exactly this one ... */
    const int *cfg;              /* ... in this configuration */
    bool no_table;               /* the analytic rule alone (level 6) */
};

struct choice {
    const struct kernel *kernel;
    int cfg[MAX_PARAMS];
    struct range range; /* of the problem's range numbers in which it holds */
    enum level level;
    const struct table *table; /* NULL at level 6 */
    int entry;                 /* index in the table's entries */
    double expected_us;        /* measured at the entry's point, 0: unknown */
    double expected_share;     /* of the roofline, by the analytic rule; from a table: of read bandwidth, 0: unknown */
    char reason[200];
};

enum { MAX_CHOICES = 8 };

/* The same kernel in the same configuration. */
bool choice_equal(const struct choice *a, const struct choice *b);

/* Choices for every point from (1, 1) to p's range, in order of preference: the first whose range contains a point
 * is taken for it, and the last contains them all. denied[]: bit per registry index of kernels this device
 * miscompiles (may be NULL). FDEC_E_UNSUPPORTED: no variant can; the text has each one's reason. */
fdec_status select_choices(const struct problem *p, const struct want *want, const struct device *d,
                           const struct table_set *tables, const bool *denied, struct choice out[MAX_CHOICES], int *n);
#endif
