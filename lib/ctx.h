/* SPDX-License-Identifier: MIT
 * ctx.h - what a context holds */
#ifndef CTX_H
#define CTX_H
#include "program.h"
#include "select.h"
#include <pthread.h>

enum { MAX_PROGRAMS = 256 };

struct cached_program {
    uint64_t key;
    char *options; /* compared in full, with source */
    const struct source *source;
    cl_program program;
};

/* The tables in force. A plan keeps those that it was made with, for its whole life. */
struct tables {
    struct table_set set;
    int n_users; /* the context while they are in force, and plans; under tables_lock */
};

struct fdec_ctx {
    cl_context context;
    cl_device_id device_id;
    cl_platform_id platform_id;
    struct device device;
    struct log log;
    struct tables *tables;
    char *table_path;           /* asked for by name; NULL: not */
    bool denied[MAX_KERNELS];   /* by index in kernels[]: fails the self-test on this device, never used */
    char cache_dir[512];        /* "": no disk cache */
    bool table_only;            /* FLASHDEC_TABLE_ONLY=1 */
    int record_fd;              /* FLASHDEC_RECORD, -1: not set */

    pthread_mutex_t lock;       /* programs[], counters; never held by a run */
    pthread_mutex_t host_lock;  /* calls into CLBlast */
    pthread_mutex_t tables_lock;
    int n_programs;
    struct cached_program programs[MAX_PROGRAMS];
    fdec_counters counters;
};

/* The tables in force now, for use until they are released. */
struct tables *ctx_hold_tables(struct fdec_ctx *ctx);
void ctx_release_tables(struct fdec_ctx *ctx, struct tables *t);

/* lib/record.c. open: FDEC_E_DATA where the file cannot be written. */
fdec_status record_open(struct fdec_ctx *ctx);
void record_close(struct fdec_ctx *ctx);

/* lib/probe.c: fills the probed part of ctx->device, from the cache or by running small kernels. */
fdec_status ctx_probe(struct fdec_ctx *ctx);

/* lib/probe_shuffle.c: which SHUFFLE of cl/shuffle.h the device has. */
fdec_status probe_shuffle(struct fdec_ctx *ctx, int32_t *shuffle);

/* lib/probe_matrix.c: the matrix unit of the device; dialect 0: none. works: whether one product by a dialect of mma.h,
 * or its stand-in, is right. Whatever goes wrong on the way means that it is not. */
struct matrix_unit {
    int32_t dialect, f16;
};
fdec_status probe_matrix(struct fdec_ctx *ctx, struct matrix_unit *unit);
bool probe_matrix_works(struct fdec_ctx *ctx, cl_command_queue queue, int dialect, bool f16, bool standin);

/* What the self-test (flashdec-info --self-test) found wrong on this device and driver, kept in the disk cache. */
void ctx_load_denied(struct fdec_ctx *ctx);
void ctx_store_denied(struct fdec_ctx *ctx, const bool denied[MAX_KERNELS]);
#endif
