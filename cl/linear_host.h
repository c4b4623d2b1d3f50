/* SPDX-License-Identifier: MIT
 * linear_host.h - what the descriptions of linear's variants share; in linear.c */
#ifndef LINEAR_HOST_H
#define LINEAR_HOST_H
#include "registry.h"

/* For variants that read W as it is stored; rows: of W that a work-item has side by side. */
const char *linear_stored_reject(const struct problem *p, const struct device *d, size_t wg, size_t local_bytes,
                                 int rows);

/* What the class fixes, for the variant of that name (linear.cl). */
void linear_define(const struct problem *p, char *opt, const char *variant);

/* Of GPU-like variants: linear_prepare is compiled apart. */
bool linear_wg_apart(const struct problem *p, const struct device *d, int launch, char *opt);

/* Of the launches {prepare, product, after}; mr: tokens of a pass. */
struct geometry linear_product(const struct problem *p, int prepare_wg, int mr, struct launch launch);

/* The same for a GPU-like product of which each of n_splits groups side by side takes a part of K. */
struct geometry linear_split(const struct problem *p, const struct device *d, struct launch launch, int n_splits);
#endif
