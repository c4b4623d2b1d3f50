/* SPDX-License-Identifier: MIT
 * tuner.h - flashdec-tune: what its parts share
 *
 *   main.c     options and subcommands
 *   shapes.c   what to tune: classes of problems, each with the points to measure
 *   search.c   candidates of each class, in the order in which they are worth the budget
 *   strategy.c the order of those that nobody guessed
 *   model.c    roofline and occupancy
 *   model_run.c a table for a card that is not here
 *   holdout.c  a shape between the measured ones
 *   session.c  a tuning run: walks the search, one worker per candidate, then makes the table
 *   parent.c   the process that drives workers: limits, outcomes, signals, progress; never touches OpenCL
 *   verify.c   a table measured again on this device
 *   replay.c   the search against a log in place of a device
 *   child.c    a worker as the parent sees it: start, say, hear, kill
 *   worker.c   the exec'ed process that touches OpenCL: builds, checks, times
 *   check.c    what a candidate has to get right before it is timed
 *   journal.c  the log of everything measured, safe against being killed at any moment
 *   facts.c    device facts as JSON: worker -> parent -> journal
 *   build.c    journal -> table, deterministic
 *   merge.c    one table out of several
 *   tell.c     tables for people: what is in one, how two differ
 *   report.c   journal and table -> a page; report_data.c and report_facts.c its values, svg.c its drawings
 *   target.c   cards that are not here
 *   variants.c the programs that would be compiled for one
 *   export.c   journal -> T4, Kernel Tuner's cache, CSV, Chrome trace
 *
 * Parent and worker talk JSON lines. The parent asks {"do": "device" | "roof" | "measure", ...}; the worker answers
 * any number of {"phase": NAME} and then one {"done": true, ...}. */
#ifndef TUNER_H
#define TUNER_H
#include "kernel.h"
#include "select.h"
#include "util.h"
#include <jansson.h>

/* ---- values of a JSON object ---- */
static inline double get_number(const json_t *o, const char *name) /* 0: not there */
{
    return json_number_value(json_object_get(o, name));
}

static inline const char *get_text(const json_t *o, const char *name) /* "": not there */
{
    const char *text = json_string_value(json_object_get(o, name));
    return text ? text : "";
}

/* ---- outcomes ---- */
enum outcome {
    OUT_OK,
    OUT_CONSTRAINT, /* the live device, or the kernel's own reject, refuses the configuration */
    OUT_COMPILE_ERROR,
    OUT_COMPILE_TIMEOUT,
    OUT_CRASH,
    OUT_HANG,
    OUT_MEMORY,
    OUT_LOST, /* nothing can be done with the device any more: the worker is of no use */
    OUT_WRONG,
    OUT_UNSTABLE, /* other bits for the same operands */
    OUT_ERROR,    /* an OpenCL call failed when it ran */
    OUT_SLOW,     /* right, but over 5 times the best in each of three runs: not timed further */
    OUT_STOPPED,  /* by the user or the end of the budget: says nothing about the candidate */
    OUT_COUNT
};
const char *outcome_name(enum outcome o);
bool outcome_parse(const char *text, enum outcome *o);
/* The candidate must not run again: its kernel computes something else. */
bool outcome_is_wrong(enum outcome o);
/* It took its worker down: tried once more, as it may have been the machine's moment. */
bool outcome_is_fatal(enum outcome o);

struct result { /* of one candidate at one point */
    enum outcome outcome;
    double median_us, lo_us, hi_us; /* device time from one run's end to the next one's, queued in order */
    double wall_us;                 /* the host's clock from the first call to the end of the wait, per run */
    double default_us;              /* of the default's runs, in turns with these; 0: none, as for the default itself */
    double default_wall_us;         /* likewise */
    double ratio, ratio_lo, ratio_hi; /* of each pair of samples, candidate over default; 0: none */
    uint64_t against;                 /* candidate_hash() of that default, which another version may choose otherwise */
    double error_ratio;               /* worst error over its bound */
    int samples;
    bool final;     /* measured again, longer, as one of the best */
    char text[200]; /* why, when it is not ok */
};

/* ---- what to tune ---- */
struct point {
    struct problem problem;
    char text[PROBLEM_TEXT];
    double best_us;     /* of all candidates so far; 0: none yet */
    double drift_us[2]; /* shortest and longest time of the default, which is timed with every candidate */
    bool holdout;       /* see holdout.c */
    bool has_reference; /* its file lies in the session's work directory (of shapes_whole alone) */
};

enum { MAX_POINTS = 64, MAX_CLASSES = 256 };

struct shape_class {
    char text[PROBLEM_TEXT]; /* problem_class() */
    enum op op;
    int n_points;
    struct point points[MAX_POINTS];
    struct point holdout; /* none of the points; without a text: not chosen yet */
};

struct shapes {
    int n;
    struct shape_class *classes; /* [MAX_CLASSES], most important first */
};

/* `what` is a preset ("llama2-7b", "llama2-7b:q4_0", "llama2-7b:q4_0:packed"), a GGUF model, or a file with one
 * problem text a line. */
fdec_status shapes_load(const char *what, struct shapes *out);
bool shapes_is_preset(const char *what);
void shapes_clear(struct shapes *s);
/* The problem that holds p's operands and reference: of linear layers the largest M up to 64 of the class, the rows of
 * a smaller one being its first; else p itself. */
struct point *shapes_whole(struct shape_class *sc, struct point *p);
/* The new point, or NULL: it is there already, or the class is full. */
struct point *shapes_add(struct shapes *s, const struct problem *p);

/* ---- candidates ---- */
struct candidate {
    const struct kernel *kernel;
    int cfg[MAX_PARAMS];
};
bool candidate_equal(const struct candidate *a, const struct candidate *b);
/* "linear/vec-flat@1 R=4 U=2" */
void candidate_print(const struct candidate *c, char *buf, size_t n);
uint64_t candidate_hash(const struct candidate *c); /* of that text */
/* The analytic choice for p: level 6. False: no variant can. */
bool candidate_default(const struct problem *p, const struct device *d, const bool *denied, struct candidate *out);

/* ---- facts about the device ---- */
struct facts {
    struct device device;
    bool denied[MAX_KERNELS]; /* by index in kernels[]: what the start-up self-test refuses */
    bool measured;            /* the three below */
    double read_gbps, launch_us;
    size_t cache_bytes; /* of the cache that timing runs in, as probed */
};
json_t *facts_to_json(const struct facts *f);
bool facts_from_json(const json_t *j, struct facts *f);
/* Of everything that decides what is fast, driver included; speeds and sizes of memory excluded. */
uint64_t facts_hash(const struct facts *f);

bool candidate_is_default(const struct candidate *c, const struct problem *p, const struct facts *f);

/* ---- journal ---- */
struct trial { /* all that is known of one candidate at one point */
    struct candidate candidate;
    struct problem problem;
    char problem_text[PROBLEM_TEXT], class_text[PROBLEM_TEXT];
    int failures; /* fatal outcomes, and begins whose end was never written */
    bool open;    /* a begin without its end */
    bool holdout; /* of a hold-out point: no range of the table comes from it */
    bool passed_over; /* cannot be measured as a finalist or at a hold-out: not asked for again; in memory alone */
    bool done;    /* result is the last end's, and final */
    struct result result;
};

struct journal {
    char path[1024];
    int fd; /* -1: only read, or in memory: what is written is not kept */
    struct facts facts;
    bool has_facts, complete, keep_stale;
    uint64_t seed;
    char version[32];
    uint64_t sources[MAX_KERNELS]; /* hash of each kernel's source, by index in kernels[] */
    bool wrong[MAX_KERNELS];       /* gave a wrong result, or not the same twice, somewhere */
    int n_fatal;                   /* times that a candidate took its worker or the tuner down */
    int n_dropped, n_stale;        /* lines that were damaged; lines of kernels that have changed since */
    int n_trials, cap;
    struct trial *trials;
    int n_slots;
    int *slots;        /* hash table of indices into trials, -1: free */
    json_t *lines;     /* every good one, in order; NULL: not kept */
    double session_ms; /* now_ms() at the line of this session */
};

/* Where journals lie, made when it is not there. */
fdec_status journal_dir(char *buf, size_t n);
/* Reads a journal; damaged lines are told on standard error and dropped. keep_stale: lines of kernels that have changed
 * since count like the others, as far as there still is such a configuration: for what does not run them. */
fdec_status journal_read(const char *path, bool keep_stale, struct journal *j);
/* The same, and keeps the lines: also those that no trial comes of, their kernels having changed. */
fdec_status journal_read_lines(const char *path, struct journal *j);
/* The journal of a device, locked against a second tuner, created if there is none, cut after its last whole line. */
fdec_status journal_open(const struct facts *f, struct journal *j);
/* One in memory alone, for a device. What its log on disk says of rates and cache is taken over. */
void journal_in_memory(const struct facts *f, struct journal *j);
void journal_close(struct journal *j);
/* The trial of a key, made when there is none. NULL: out of memory. */
struct trial *journal_trial(struct journal *j, const struct candidate *c, const struct point *p);
/* A kernel that was wrong once is not used, in no configuration. */
bool journal_wrong(const struct journal *j, const struct kernel *k);
/* Fatal outcomes of a candidate in a class, whatever the point; a program that does not compile counts as two. */
int journal_failures(const struct journal *j, const struct candidate *c, const char *class_text);
const struct trial *journal_find(const struct journal *j, const struct candidate *c, const char *problem_text);

struct session_info {
    uint64_t seed;
    double budget_s;
    const char *strategy, *shapes;
    bool fresh; /* what came before is not to be used */
};
/* In memory alone. */
void journal_note(struct journal *j, struct trial *t, const struct result *r);
fdec_status journal_facts(struct journal *j, const struct facts *f);
fdec_status journal_session(struct journal *j, const struct session_info *s);
fdec_status journal_begin(struct journal *j, struct trial *t, bool holdout); /* on disk when it returns */
/* against: the default that it was timed in turns with, where it was; else NULL. */
fdec_status journal_end(struct journal *j, struct trial *t, const struct result *r, const struct candidate *against);
fdec_status journal_finish(struct journal *j, bool complete); /* on disk when it returns */

/* ---- search ---- */
enum strategy { STRATEGY_DEFAULT, STRATEGY_RANDOM, STRATEGY_LOCAL, STRATEGY_HALVING, STRATEGY_EXHAUSTIVE };
const char *strategy_name(enum strategy strategy);
bool strategy_parse(const char *text, enum strategy *out);

enum tier { TIER_DEFAULT, TIER_EXPECTED, TIER_REFINE, TIER_PROBE, TIER_REST, TIER_FINAL, TIER_HOLDOUT };

struct task { /* one candidate, on every point of one class that it may be timed on */
    int class;
    enum tier tier;
    int order;    /* within class and tier */
    int promise;  /* what the model sees in it, more is better */
    int n_points; /* only on so many of the cheapest ones; 0: on all */
    int64_t m;    /* only there, though it be pruned; 0: wherever it is wanted */
    bool taken;
    double cost;  /* of those taken, over the default's: what the default strategy has made of it; 0: not looked at */
    struct candidate candidate;
};

enum { BRACKET = 27, RUNGS = 3 };

struct class_state { /* of a strategy */
    bool has_centre; /* local */
    struct candidate centre;
    int n, done, rung; /* halving */
    struct candidate bracket[BRACKET];
};

struct search {
    struct shapes *shapes;
    const struct facts *facts;
    const struct journal *journal;
    enum strategy strategy;
    uint64_t seed;
    bool other_kind[OP_COUNT];  /* candidates of the other kind of device won: they are searched too */
    int n, cap, at, n_taken;    /* n_taken: of those from `at` on */
    int turn;                   /* the class that the strategy looks at next */
    struct task *tasks;         /* by tier, then order, then class: each class gets its n-th before any its n+1-th */
    struct class_state *states; /* one a class */
    int n_extra, cap_extra;
    struct task *extra; /* of refinement, taken first, from the end */
    int n_sides, cap_sides;
    struct task *sides; /* what has been asked for at one M alone: once, whatever came of it */
};

fdec_status search_begin(struct search *s);
void search_end(struct search *s);
/* False: nothing is left. */
bool search_next(struct search *s, struct task *out);
int search_left(const struct search *s);
/* A candidate that is to be measured again, and longer, at the points where it is_finalist(). False: none is left. */
bool search_final(const struct search *s, struct task *out);
/* What is to be timed at the hold-out point of a class. False: nothing is left. */
bool search_holdout(const struct search *s, struct task *out);
/* May the candidate be timed here: reject() allows and prune() keeps it, or it is the default. */
bool search_wants(const struct search *s, const struct candidate *c, const struct problem *p);
/* Is the task's candidate to be timed there: wanted, and worth it after what is known of it at other points. */
bool search_asks(const struct search *s, const struct task *t, const struct shape_class *sc, const struct point *p);
void search_take(struct search *s, struct task *t);

/* Puts the tasks of a class from `from` on, the last in the list, in the strategy's order. */
void strategy_order(struct search *s, int class, int from);
/* The next of TIER_REST; false: none is left. */
bool strategy_next(struct search *s, struct task *out);

/* The time of a candidate, as roofline and occupancy have it. target, resources: NULL where nothing is known. */
struct target;
struct resources;
double model_us(const struct problem *p, const struct facts *f, const struct target *t, const struct candidate *c,
                const struct resources *r);
/* The share of the roofline that its geometry lets a candidate reach, 0..1. */
double model_share(const struct problem *p, const struct facts *f, const struct candidate *c);
/* The launch of the most work-items. */
int model_launch(const struct problem *p, const struct device *d, const struct candidate *c);

/* ---- table ---- */
/* The best right result at a point whose interval excludes the default's time, else the default's own; the simpler is
 * preferred among what cannot be told from the best. NULL: nothing to go by. */
const struct trial *winner_at(const struct journal *j, const struct problem *p);
/* Time over the default's at the same point; where the default is of no use, us. t is usable: right, and timed. */
double trial_cost(const struct journal *j, const struct trial *t);
/* Is it one of the best at a point and not measured again yet. */
bool is_finalist(const struct journal *j, const struct candidate *c, const struct problem *p);
fdec_status build_table(const struct journal *j, struct table **out);
/* The entry whose range has the point; NULL: none. */
struct table_entry *table_entry_at(const struct table *t, const char *class_text, const int64_t at[N_RANGES]);
/* What an entry chose. False: there is no such kernel any more. */
bool table_entry_candidate(const struct table_entry *e, struct candidate *c);
bool table_has_class(const struct table *t, const char *class_text);
/* Of one device and driver; told gets a line for each outlier. by_order: a class comes from the first table that has
 * it; else from the best, and the order does not matter. */
fdec_status table_merge(const struct table *const *tables, int n, bool by_order, FILE *told, struct table **out);
void table_summary(const struct table *t, FILE *f);
/* Entries are paired by class and measured point. */
void table_diff(const struct table *a, const struct table *b, FILE *f);

/* ---- parent and worker ---- */
struct child {
    int pid, fd; /* pid 0: none */
    size_t n;    /* bytes of an unfinished line */
    char buf[1 << 16];
};

enum heard { HEARD_LINE, HEARD_NOTHING, HEARD_END };

/* device: FLASHDEC_DEVICE of the worker, NULL: as it is. work: a private directory for program binaries and standard
 * error. limit_bytes: of its address space, 0: none. */
fdec_status child_start(struct child *c, const char *device, const char *work, uint64_t limit_bytes);
bool child_say(struct child *c, json_t *line); /* takes the reference */
/* Waits up to ms for a line; a signal ends the wait. */
enum heard child_hear(struct child *c, int ms, json_t **line);
void child_kill(struct child *c, char *why, size_t n); /* the whole process group; why: how it ended, may be NULL */

int worker_main(const char *work);

/* ---- cards that are not here ---- */
struct target {
    char name[32], arch[16]; /* "mi210", "gfx90a" */
    char like[32];           /* whose compiled kernels are its own: itself, or one of the same architecture */
    struct facts facts;      /* rates are the maker's */
    int wave;                /* work-items that go in step */
    int unit_local_bytes, unit_registers, unit_items, unit_groups; /* what a compute unit holds */
    double f32_gflops, f16_matrix_gflops;
};
fdec_status target_find(const char *name, struct target *out);

struct resources { /* of a compiled kernel: a row of tools/offline */
    int occupancy;  /* per cent of the work-items that a compute unit can hold */
    int load_bits;  /* of its widest loads */
    bool good;      /* its verdict is "ok" */
};
/* Tells programs, and the kernels in them, apart. */
uint64_t program_hash(const struct kernel *k, const struct problem *p, const struct device *d, const int *cfg,
                      int launch);
/* The model's table for a target, from the rows of tools/offline. */
fdec_status model_table(const char *target, const char *shapes, const char *resources, const char *out);
/* Prints how the model ranks what a log has measured. */
fdec_status model_rank(const char *log);
/* Prints the programs of a file with one problem a line. samples: configurations of each variant beside its first. */
fdec_status variants_run(const char *target, const char *list, int samples);

/* ---- a log for other programs ---- */
enum export_format { FORMAT_NONE, FORMAT_T4, FORMAT_KERNEL_TUNER, FORMAT_CSV, FORMAT_CHROME_TRACE };
bool export_format_parse(const char *text, enum export_format *out);
/* "2026-01-31T23:59:59.000000+00:00" */
void time_text(int64_t unix_s, double us, char buf[40]);
/* Into a new file, or to standard output (path NULL). */
fdec_status write_out(const char *path, const char *text, size_t n);

struct options {
    const char *device, *shapes, *out, *replay, *problem, *kernel, *table, *target, *resources;
    int samples; /* -1: no list of variants is wanted */
    enum export_format format;
    double budget_s; /* 0: none */
    uint64_t seed;
    enum strategy strategy;
    bool fresh, quiet;
    double build_s, first_s, run_s; /* limits of a candidate */
};
int session_run(const struct options *o); /* exit status */
int replay_run(const struct options *o);
int verify_run(const struct options *o, const char *table);
fdec_status report_run(const struct options *o, const char *log);
fdec_status export_run(const struct options *o, const char *log);

/* What a worker and a reference must agree on: the same inputs for the same problem. */
struct workload_spec;
void tune_spec(const struct problem *p, struct workload_spec *spec);
/* p at another range, made from its text, so that strides and sizes of caches are its own. False: there is no such. */
bool problem_at(const struct problem *p, const int64_t at[N_RANGES], char text[PROBLEM_TEXT], struct problem *out);
#endif
