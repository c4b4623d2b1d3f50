/* SPDX-License-Identifier: MIT
 * bench.h - flashdec-bench: what its files share
 *
 * bench.c reads the command line and walks the problems; bench_run.c checks and times one problem and prints its line;
 * bench_peers.c holds what the library is compared with. */
#ifndef BENCH_H
#define BENCH_H
#include "session.h"
#include "measure.h"
#include "workload.h"

enum { MAX_ROUNDS = 1001, MAX_PEERS = 4 };

struct bench {
    struct session session;
    struct roof *roof;
    size_t cache_bytes; /* probed */
    int rounds;
    bool json, peers;
    int n_printed;
    double last_us; /* median of the last problem; 0: it was not timed */
};

/* One contestant of a problem: the library's plan, or a peer. */
struct runner {
    const char *name;
    fdec_status (*run)(void *self, int set); /* enqueues one run on an operand set; or does it, on the host */
    void (*destroy)(void *self);
    void *self;
    int n_sets;
    int next_set, batch;   /* runs between two calls of clFinish */
    double us[MAX_ROUNDS]; /* per run */
};

/* Operand sets to rotate through, more than twice the cache in all. */
int bench_sets(const struct bench *b, double set_bytes);

enum outcome { BENCH_OK, BENCH_WRONG, BENCH_ERROR, BENCH_REFUSED };

/* Checks, times and prints one problem: exactly one line, or none and a message (BENCH_ERROR, or BENCH_REFUSED: the
 * problem itself is not possible). family: NULL, or what the choice is restricted to. */
enum outcome bench_problem(struct bench *b, const struct problem *p, const char *family);

/* Prints the line time = a + b * context through n measured points, and by how much it misses the worst one. p: the
 * problem at any of the contexts. */
void bench_print_fit(struct bench *b, const struct problem *p, const double *context, const double *us, int n);

/* Fills peers[] with what is installed, can do p, and gives the right result; returns how many. chosen: the library's
 * kernel, no peer of itself; w: the checked workload of p. What fails is left out and told on standard error. */
int peers_open(struct bench *b, const struct problem *p, const struct kernel *chosen, struct workload *w, int n_sets,
               struct runner peers[MAX_PEERS]);
void peers_close(struct runner *peers, int n);
#endif
