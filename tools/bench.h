/* SPDX-License-Identifier: MIT
 * bench.h - flashdec-bench: what its files share
 *
 * bench.c reads the command line and walks the problems; bench_run.c checks and times them; bench_print.c prints them;
 * bench_sweep.c judges a sweep over M, and bench_plot.c draws it; bench_peers.c, bench_clblast.c and bench_openblas.c
 * hold what the library is compared with. */
#ifndef BENCH_H
#define BENCH_H
#include "session.h"
#include "measure.h"
#include "workload.h"

enum { MAX_ROUNDS = 1001, MAX_PEERS = 6, MAX_RUNNERS = 1 + MAX_PEERS };

struct bench {
    struct session session;
    struct roof *roof;
    size_t cache_bytes; /* probed */
    int rounds;
    double seconds; /* no round begins later than that after the first; 0: no limit */
    bool json, peers, clblast_tuned;
    bool without_table; /* the library's own choice without a table is timed beside the table's */
    int n_printed;
    unsigned n_runs; /* operand sets take turns over all that run, or one would find what the one before has read */
    double last_us;  /* median of the last problem; 0: it was not timed */
};

/* One contestant of a problem: the library's plan, or a peer. */
struct runner {
    const char *name;
    fdec_status (*run)(void *self, int set); /* enqueues one run on an operand set; or does it, on the host */
    /* Optional, before a check: brings the result of a run on set 0 to where the workload's output is. */
    fdec_status (*deliver)(void *self);
    void (*destroy)(void *self);
    void *self;
    int n_sets;
    int batch;            /* runs between two calls of clFinish */
    int every;            /* a sample in each round, or in every so many */
    int n;                /* samples */
    double us[MAX_ROUNDS]; /* per run, in the order of the rounds */
    struct stats stats;
};

/* One problem of a sitting. */
struct point {
    struct sitting *sitting;
    struct problem problem;
    fdec_plan *plan;
    const struct choice *choice;
    bool right; /* else nothing of it is timed */
    double max_error_ratio, bytes, flops, floor_us;
    int n_runners;
    struct runner runners[MAX_RUNNERS]; /* the library comes first */
};

/* Where W, or the KV cache, lies at the start of a run: several sets of it take turns, or there is one. */
enum residence { IN_MEMORY, IN_CACHE };

/* Problems that are timed in the same rounds: one, or those of a sweep, which share the operands of the largest. */
struct sitting {
    struct bench *bench;
    struct want want;
    enum residence residence;
    struct workload *workload;
    int n_sets;
    int n_points;
    struct point *points; /* the smallest first, the largest last */
    double read_gbps, fma_gflops;
    struct clblast *clblast;   /* what the peers of all points share; NULL until one is asked for */
    struct openblas *openblas;
    unsigned left_out; /* peers that were told of, by bit */
};

/* Operand sets to rotate through, more than twice the cache in all. */
int bench_sets(const struct bench *b, double set_bytes);

enum outcome { BENCH_OK, BENCH_WRONG, BENCH_ERROR, BENCH_REFUSED };

/* Checks and times n problems that differ in M at most, M rising. IN_CACHE: the library alone, without peers.
 * BENCH_OK and BENCH_WRONG leave a sitting; else there is a message: BENCH_ERROR, or BENCH_REFUSED: a problem itself is
 * not possible. */
enum outcome sitting_open(struct bench *b, const struct problem *problems, int n, const struct want *want,
                          enum residence residence, struct sitting **out);
void sitting_close(struct sitting **s);
/* Enqueues one run of a plan on the point's rows of an operand set. */
fdec_status point_run(const struct point *pt, fdec_plan *plan, int set);
/* Compares one run of r on the point's rows with the reference. */
fdec_status sitting_check(struct point *pt, const struct runner *r, bool *right, double *ratio, char *why, size_t n);

/* Checks, times and prints one problem: exactly one line, or none and a message. family: NULL, or what the choice is
 * restricted to. */
enum outcome bench_problem(struct bench *b, const struct problem *p, const char *family);
/* M = 1..64 of p in one sitting: a line each, then the verdicts. svg: NULL, or the file that it is plotted into. */
enum outcome bench_sweep(struct bench *b, const struct problem *p, const char *family, const char *svg);

/* ---- output ---- */

void bench_print(struct bench *b, const struct point *pt); /* one line */
/* Prints the line time = a + b * context through n measured points, and by how much it misses the worst one. p: the
 * problem at any of the contexts. */
void bench_print_fit(struct bench *b, const struct problem *p, const double *context, const double *us, int n);

/* The two rules of a sweep. A ratio is t(M) over what the rule compares it with, in the same round. */
enum rule { RULE_STEP, RULE_PAD, N_RULES };
struct verdict {
    enum rule rule;
    int64_t m;
    struct stats ratio;
    double bytes_us, cached_us; /* of RULE_STEP: what memory needs for M's bytes, and M's run with W in the cache */
};
struct verdicts {
    int n_checked[N_RULES], n_broken[N_RULES];
    struct verdict worst[N_RULES]; /* m 0: nothing was checked */
    int n;
    struct verdict broken[N_RULES * 64];
};
extern const char *const rule_names[N_RULES];
extern const double rule_limits[N_RULES];
void bench_print_verdicts(struct bench *b, const struct sitting *s, const struct verdicts *v);

fdec_status plot_ready(void); /* is there a gnuplot? */
/* t(M) of a sweep, its floor and its peers as SVG. The file is there as a whole or not at all. */
fdec_status plot_sweep(const struct sitting *s, const char *path);

/* ---- peers ---- */

/* Adds to the point what is installed, can do its problem, and gives the right result. What fails is left out and told
 * on standard error. */
void peers_add(struct point *pt);
/* The library itself with the analytic rule alone, where that chooses otherwise than the table. */
void untuned_add(struct point *pt);
void peers_close(struct sitting *s); /* what the points shared; their runners are gone */
/* Takes a runner on the workload's operands in, if its result is right; else destroys it. kind: its bit in left_out. */
enum peer { PEER_CLBLAST_NK, PEER_CLBLAST_KN, PEER_CLBLAST_GEMV, PEER_OPENBLAS, PEER_NAIVE, PEER_UNTUNED };
void peer_take(struct point *pt, enum peer kind, const struct runner *r);
/* Tells once in a sitting that a peer is not timed. */
void peer_left_out(struct sitting *s, enum peer kind, const char *name, const char *why);

#ifdef HAVE_CLBLAST
void clblast_add(struct point *pt);
void clblast_close(struct clblast **c);
/* Parameters that CLBlast's own tuners found, from the JSON files they write: "FILE,FILE,...". */
fdec_status clblast_override(cl_device_id device, const char *files);
#endif
#ifdef HAVE_OPENBLAS
void openblas_add(struct point *pt);
void openblas_close(struct openblas **o);
#endif
#endif
