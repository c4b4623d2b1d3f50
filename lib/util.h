/* SPDX-License-Identifier: MIT
 * util.h - errors, log, and the small things every file needs */
#ifndef UTIL_H
#define UTIL_H
#include "flashdec.h"
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof *(a))
#define MIN(a, b)    ((a) < (b) ? (a) : (b))
#define MAX(a, b)    ((a) > (b) ? (a) : (b))

static inline int64_t div_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static inline int64_t round_up(int64_t a, int64_t b)
{
    return div_up(a, b) * b;
}

/* Sets the thread's error text and returns st. */
__attribute__((format(printf, 2, 3))) fdec_status fail(fdec_status st, const char *format, ...);
/* The same for an OpenCL error: FDEC_E_MEMORY for the allocation failures, else FDEC_E_DEVICE. */
fdec_status fail_cl(cl_int err, const char *call);
/* fail_cl with a text of one's own. */
__attribute__((format(printf, 2, 3))) fdec_status fail_cl_text(cl_int err, const char *format, ...);
/* The OpenCL error behind the thread's last failure; CL_SUCCESS: it was none of OpenCL's. */
cl_int last_cl_error(void);
/* "CL_OUT_OF_RESOURCES"; "unknown OpenCL error" for numbers nobody gave a name. */
const char *cl_error_name(cl_int err);
/* After it a context is of no use any more. */
bool cl_error_ends_context(cl_int err);

/* The only hidden jumps: they set `st` and go to the label `out`. */
#define require(who, cond)                                                                                             \
    do {                                                                                                               \
        if (!(cond)) {                                                                                                 \
            st = fail(FDEC_E_ARG, "%s: %s does not hold", who, #cond);                                                 \
            goto out;                                                                                                  \
        }                                                                                                              \
    } while (0)
#define try_st(call)                                                                                                   \
    do {                                                                                                               \
        if ((st = (call)) != FDEC_OK)                                                                                  \
            goto out;                                                                                                  \
    } while (0)
#define try_cl(call)                                                                                                   \
    do {                                                                                                               \
        cl_int err_ = (call);                                                                                          \
        if (err_ != CL_SUCCESS) {                                                                                      \
            st = fail_cl(err_, #call);                                                                                 \
            goto out;                                                                                                  \
        }                                                                                                              \
    } while (0)
/* err: what a clCreate... call, named by `call`, left. */
#define try_made(err, call)                                                                                            \
    do {                                                                                                               \
        if ((err) != CL_SUCCESS) {                                                                                     \
            st = fail_cl(err, call);                                                                                   \
            goto out;                                                                                                  \
        }                                                                                                              \
    } while (0)
#define try_alloc(p)                                                                                                   \
    do {                                                                                                               \
        if (!(p)) {                                                                                                    \
            st = fail(FDEC_E_MEMORY, "out of memory: %s", #p);                                                         \
            goto out;                                                                                                  \
        }                                                                                                              \
    } while (0)

/* ---- log ---- */
struct log {
    fdec_log_fn fn;
    void *user;
    unsigned mask; /* categories wanted, bit (1 << enum log_category) */
};
enum log_category { LOG_SELECT, LOG_COMPILE, LOG_CACHE, LOG_TABLE };
void log_open(struct log *log, fdec_log_fn fn, void *user); /* reads FLASHDEC_LOG */
bool log_wants(const struct log *log, enum log_category c);
__attribute__((format(printf, 3, 4))) void log_line(const struct log *log, enum log_category c, const char *format,
                                                    ...);

/* ---- files and hashes ---- */
uint64_t hash64(const void *data, size_t n, uint64_t seed); /* FNV-1a: keys and checksums, no security */
double now_ms(void);                                        /* monotonic */
/* Whole regular file, at most max bytes, links refused; malloc'ed with a terminating 0. FDEC_E_DATA with text. */
fdec_status file_read(const char *path, size_t max, char **data, size_t *n);
/* New file beside path, fsync, rename. mode: its permissions. */
fdec_status file_write_atomic(const char *path, const void *data, size_t n, unsigned mode);
bool make_dirs(const char *path, unsigned mode); /* like mkdir -p */
/* Appends text to buf of n bytes, always terminated; returns false if it was cut. */
__attribute__((format(printf, 3, 4))) bool append(char *buf, size_t n, const char *format, ...);
#endif
