/* SPDX-License-Identifier: MIT
 * table.h - tuning tables: read, check, look up, write. One parser for library, tuner and tests
 *
 * A table is one JSON document per device (data/README.md has the format). Tables are untrusted: sizes and depth
 * are capped, the schema is checked, duplicate keys are refused, and every configuration is checked again against
 * the live device by the kernel's own reject() before it is used. The worst a table can do is be slow. */
#ifndef TABLE_H
#define TABLE_H
#include "kernel.h"

enum { TABLE_MAX_BYTES = 8 << 20, TABLE_MAX_ENTRIES = 20000, TABLE_MAX_DEPTH = 8, TABLE_MAX_SOURCES = 256,
       TABLE_SCHEMA = 1 };

/* The three implementations of linear, in the order of the dispatch: "gemv", "flat", "gemm". */
enum { FAMILY_GEMV, FAMILY_FLAT, FAMILY_GEMM, N_FAMILIES };
int table_family(const char *name); /* "gemv" -> FAMILY_GEMV; -1: none of them */
const char *table_family_name(int family);

struct table_value { char name[24]; int value; };

/* The file has times as whole nanoseconds, rates as whole MB/s, ratios in parts per million: what is written is
 * rounded to those. An operation with one range number has lo[1] = 1, hi[1] = 2, point[1] = 1; hi may be INT64_MAX:
 * no upper end. */
struct table_entry {
    enum op op;                    /* that of the class; set by table_print and table_parse */
    char class_text[PROBLEM_TEXT]; /* problem_class() */
    int64_t lo[N_RANGES], hi[N_RANGES]; /* half-open */
    char kernel[64];               /* "attn/vec-unified" */
    uint32_t rev;
    char family[16];               /* the kernel's: "unified", "gemv", ... */
    int n_config;
    struct table_value config[MAX_PARAMS];
    int64_t point[N_RANGES];       /* where it was measured */
    double median_us, ci95_us;     /* in the file: integer nanoseconds */
    int samples;
    double default_us;             /* the analytic default's median at the same point, in the same run */
    double error_ratio;            /* worst error over its bound when checked, <= 1 */
    double family_us[N_FAMILIES];  /* linear: best median of each family at the point, 0: none; own: > 0 */
    struct {                       /* a shape in the range that no range was made from */
        int64_t at[N_RANGES];
        double median_us, best_us; /* this entry's kernel there; the best of it, the default and the next; 0: none */
    } holdout;
};

/* Per [N, K, type]: M < m1 is `gemv`, M < m2 is `flat`, the rest `gemm`. m1 is where the entry after the last
 * `gemv` entry begins, m2 where the one after the last that is not `gemm` begins; 0: not crossed within what was
 * measured; m1 = m2: `flat` never wins. Derived from the entries: check proves they agree. The times are those of
 * both families at the point of the entry that begins at the crossing (family_us), 0 where there is no crossing. */
struct table_crossing {
    char class_text[PROBLEM_TEXT];
    int64_t m1, m2, max_m; /* max_m: largest M the entries speak for */
    double m1_gemv_us, m1_flat_us, m2_flat_us, m2_gemm_us;
};

struct table_device {
    char name[128], vendor[128], driver[128], platform[128], architecture[64];
    uint32_t vendor_id;
    bool cpu;           /* CL_DEVICE_TYPE_CPU */
    int compute_units;
    size_t local_bytes;
    double read_gbps, launch_us; /* measured */
};

struct table_denied {
    char kernel[64];
    uint32_t rev;
    char class_text[PROBLEM_TEXT]; /* "": in every class */
    int n_config;                  /* 0: in every configuration */
    struct table_value config[MAX_PARAMS];
    char reason[64];
};

/* A table that was merged into this one, or into one of those. */
struct table_source {
    uint64_t hash;
    char tuner_version[32];
    uint64_t seed;
    int n_entries;
    bool complete;
};

struct table {
    char *path; /* where it was read from; "built in: NAME" for an embedded one */
    char tuner_version[32];
    uint64_t seed;  /* at most INT64_MAX */
    bool complete;  /* false: the tuner ran out of budget or was stopped */
    bool modelled;  /* true: computed for a card, never measured */
    struct table_device device;
    int n_sources, n_entries, n_crossings, n_denied;
    struct table_source *sources;      /* sorted by hash; none: made of one log */
    struct table_entry *entries;       /* sorted: class, then lo */
    struct table_crossing *crossings;  /* sorted by class */
    struct table_denied *denied;
};

/* The device as tables name it: what is not printable ASCII replaced by '?', the architecture derived; read_gbps and
 * launch_us are the device's, 0 where it has none. */
void table_device_of(const struct device *d, struct table_device *out);

/* "pthread-skylake-avx512-amd epyc": what devices of one architecture have in common. The device name in lower
 * case, cut at "@" (frequency) and " with " (accessories), without trailing words that count or decorate
 * ("64-core", "processor", "cpu"). */
void device_architecture(const struct device *d, char out[64]);

/* Parses and checks. On failure FDEC_E_DATA, *out NULL, and fdec_last_error() says what is wrong and where. */
fdec_status table_parse(const char *text, size_t n, const char *path, struct table **out);
fdec_status table_read(const char *path, struct table **out); /* never follows a link; regular files only */
void table_destroy(struct table **t);

/* What parser and printer both demand of a table, crossings that agree with the entries included. FDEC_E_DATA with
 * text. */
fdec_status table_check(const struct table *t);
/* Of all that the document says below its head. */
fdec_status table_hash(const struct table *t, uint64_t *hash);

/* Sorts, checks, and makes the document: one entry a line, ends in a newline, the same bytes for the same content.
 * malloc'ed. */
fdec_status table_print(struct table *t, char **text, size_t *n);
/* table_print into a new file beside path, fsync, rename: the old file or the new one, never half of one. */
fdec_status table_write(struct table *t, const char *path);

/* Rewrites the table at path while no other table_update of it runs; readers see the old table or the new one. change
 * makes *out, which is freed then, from what is there: old; or NULL, and then unreadable says why what is there is no
 * table, NULL where there is nothing. Its failure, or one to write, leaves everything as it was. PATH.lock stays. */
typedef fdec_status (*table_change)(void *arg, const struct table *old, const char *unreadable, struct table **out);
fdec_status table_update(const char *path, table_change change, void *arg);

/* Derives crossings from the entries (linear only), replacing what is there. */
fdec_status table_derive_crossings(struct table *t);

/* ---- the tables a context has found ---- */
struct table_set {
    int n;
    struct table *tables[16];
    int level[16];     /* enum level of each for this device; sorted, best first */
};

/* explicit_path (may be NULL), then FLASHDEC_TABLE: such a table wins alone, at LEVEL_NEAREST where it does not fit
 * the device at all, and one that cannot be read is FDEC_E_DATA. Else every table in the directories
 * FLASHDEC_TABLE_PATH (colon-separated), $XDG_DATA_HOME/flashdec, each $XDG_CONFIG_DIRS/flashdec, each
 * $XDG_DATA_DIRS/flashdec, and the built-in ones; the best level wins, then this order. A bad file there is logged
 * and passed over. */
struct log;
fdec_status table_set_find(const struct device *d, const char *explicit_path, const struct log *log,
                           struct table_set *out);
void table_set_clear(struct table_set *s);

/* The tables of data/, embedded at build time; ends with a NULL name. */
struct builtin_table {
    const char *name, *text;
};
extern const struct builtin_table builtin_tables[];

/* The values of an entry or a denial as k's configuration. False: k has no such one. */
bool table_config(const struct table_value *values, int n, const struct kernel *k, int *cfg);
/* The problem that an entry was measured at. False: there is no such problem. */
bool table_entry_problem(const struct table_entry *e, struct problem *p);

/* Level of a table for a device, or 0 when it does not fit at all. */
int table_level(const struct table *t, const struct device *d);

/* Where flashdec-tune writes by default: $XDG_DATA_HOME/flashdec/<vendor-device>.json. False: no home directory. */
bool table_default_path(const struct device *d, char *buf, size_t n);
#endif
