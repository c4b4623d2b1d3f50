/* SPDX-License-Identifier: MIT
 * ref_quant.h - the definition of every element type: what element i of a row is, in double
 *
 * Exact for all of them: products of an f16 and small integers, and sums of two such, fit a double. */
#ifndef REF_QUANT_H
#define REF_QUANT_H
#include "flashdec.h"

double ref_half(uint16_t bits);

/* row: as it lies in a file, aligned or not. NaN where the block's f16 say so. */
double ref_dequant(fdec_type type, const void *row, size_t i);
#endif
