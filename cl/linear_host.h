/* SPDX-License-Identifier: MIT
 * linear_host.h - what the descriptions of linear's variants share; in linear.c */
#ifndef LINEAR_HOST_H
#define LINEAR_HOST_H
#include "registry.h"

/* Why no variant that takes so many work-items and so much local memory for a group runs it; NULL: it does. */
const char *linear_reject(const struct problem *p, const struct device *d, size_t wg, size_t local_bytes);

/* A tile of n rows, or panels, that take turns with GLU; of `rows` rows. */
const char *linear_tile_reject(const struct problem *p, int n, int rows);

/* Both, for variants that read W as it is stored; rows: of W that a work-item has side by side. */
const char *linear_stored_reject(const struct problem *p, const struct device *d, size_t wg, size_t local_bytes,
                                 int rows);

/* Local memory of a chunk of so many rows and columns of blocks; of floats, which come without, 0. */
size_t linear_chunk_bytes(fdec_type type, int rows, int columns);

/* What the class fixes, for the variant of that name (linear.cl). */
void linear_define(const struct problem *p, char *opt, const char *variant);

/* Launch 0 of all variants, of so many work-items, is compiled apart: it is the same for all configurations. */
bool linear_prepare_apart(const struct problem *p, int launch, int prepare_wg, char *opt);

/* The same as struct kernel's apart, of GPU-like variants. */
bool linear_wg_apart(const struct problem *p, const struct device *d, int launch, char *opt);

/* Of the launches {prepare, product, after}; mr: tokens of a pass; side: tokens that lie side by side (linear.h). */
struct geometry linear_product(const struct problem *p, int prepare_wg, int mr, int side, struct launch launch);

/* The same for a GPU-like product of which each of n_splits groups side by side takes a part of K. */
struct geometry linear_split(const struct problem *p, const struct device *d, struct launch launch, int n_splits);
#endif
