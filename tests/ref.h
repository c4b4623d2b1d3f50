/* SPDX-License-Identifier: MIT
 * ref.h - the definition of every operation in double: one loop per index of the formula, no tricks
 *
 * If a kernel and ref.c differ, the kernel is wrong. Each function gives the value and, per element, the bound that
 * float32 arithmetic of any order must keep (derived in ref.c, beside the formula). want may hold NaN and -inf
 * where the formula has them; a kernel must then give the same. */
#ifndef REF_H
#define REF_H
#include "problem.h"

/* k, v: host copies of the cache as the device reads it (f16 already widened), addressed by p->kv's strides. lens
 * clamped. block_table may be NULL. phi: [H], what `unified` will use (enters the bound alone).
 * out, out_bound: [B, H, D]; lse, lse_bound: [B, H]. */
void ref_attn(const struct attn_problem *p, const float *q, const float *k, const float *v, const int32_t *lens,
              const int32_t *block_table, const float *phi, double *out, double *out_bound, double *lse,
              double *lse_bound);

/* bias, residual may be NULL. w widened to float. */
void ref_linear(const struct linear_problem *p, const float *x, const float *w, const float *bias,
                const float *residual, double *y, double *bound);

void ref_softmax(const struct softmax_problem *p, const float *x, double *y, double *bound, double *lse,
                 double *lse_bound);
#endif
