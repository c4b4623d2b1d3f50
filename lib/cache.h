/* SPDX-License-Identifier: MIT
 * cache.h - blobs on disk under a full key: program binaries, answers of probes
 *
 * One file a blob, named by a hash of its key. The key is stored in full and compared, the blob has a checksum, files
 * appear by rename: a reader sees a whole file or none, and any doubt means that the blob is made again. The directory
 * is private (0700, the user's own), because binaries are code. The oldest files go when there are more than
 * CACHE_MAX_BYTES. */
#ifndef CACHE_H
#define CACHE_H
#include "util.h"

enum { CACHE_MAX_BYTES = 256 << 20 };

/* params_dir as in fdec_ctx_params. dir becomes "" when there is to be no cache, or none can be had (logged). */
void cache_open(const char *params_dir, const struct log *log, char *dir, size_t n);

/* True: *data (malloc'ed) has n bytes. */
bool cache_read(const char *dir, const void *key, size_t n_key, void **data, size_t *n);
void cache_write(const char *dir, const void *key, size_t n_key, const void *data, size_t n, const struct log *log);
#endif
