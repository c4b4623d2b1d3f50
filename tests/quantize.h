/* SPDX-License-Identifier: MIT
 * quantize.h - weights into blocks, each quant rounded to nearest: plain, and good enough for models of tests */
#ifndef QUANTIZE_H
#define QUANTIZE_H
#include "flashdec.h"

#include <stdbool.h>

/* Whether quantize does it: f32, f16, bf16, q8_0, q4_0, q4_k. */
bool quantize_can(fdec_type type);

/* n whole blocks of elements of x to `row`. */
void quantize(fdec_type type, const float *x, size_t n, void *row);
#endif
