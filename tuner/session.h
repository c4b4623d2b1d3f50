/* SPDX-License-Identifier: MIT
 * session.h - a run of the tuner on a device: what its parent process knows, and how it asks its workers */
#ifndef SESSION_H
#define SESSION_H
#include "tuner.h"

struct session {
    const struct options *o;
    struct shapes shapes;
    struct facts facts;
    struct journal journal;
    struct search search;
    struct child child;
    char work[1024];              /* private directory: references, program binaries, the worker's standard error */
    double begin_ms, deadline_ms; /* 0: no deadline */
    int n_tasks, n_started, n_timed, n_reused, n_by_outcome[OUT_COUNT];
    bool out_of_time, failed;
    /* progress */
    bool terminal;
    double shown_ms;
    char doing[700];
};

/* The first SIGINT or SIGTERM stops in order, the second one at once. Makes the private directory, starts a worker and
 * asks it what device this is: s->facts. The worker is still there afterwards. */
fdec_status session_open_device(struct session *s);
/* Rates and cache size, measured once per journal by the worker that is still there. Into s->facts and the journal. */
fdec_status session_ask_roof(struct session *s);
void session_close(struct session *s);

bool session_stopped(void);                /* by a signal */
bool session_must_stop(struct session *s); /* by a signal, the budget, or a failure */

/* A line that stays, above the progress line. */
__attribute__((format(printf, 2, 3))) void session_tell(const struct session *s, const char *format, ...);
void session_progress(struct session *s);
void session_erase_progress(const struct session *s);
void session_tell_drift(const struct session *s);

bool session_start_worker(struct session *s);
void session_end_worker(struct session *s);
/* The reference results of a point, in a file for the workers. False: stopped, or it failed. */
bool session_make_reference(struct session *s, struct point *p);
/* One candidate at one point, by the worker that is there; whole: shapes_whole(), whose reference was made. False: the
 * worker is gone, or the log cannot be written. */
bool session_measure(struct session *s, const struct candidate *c, struct point *p, const struct point *whole,
                     bool final);
#endif
