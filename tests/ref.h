/* SPDX-License-Identifier: MIT
 * ref.h - the definition of every operation in double: one loop per index of the formula, no tricks
 *
 * If a kernel and ref.c differ, the kernel is wrong. Each function gives the value and, per element, the bound that
 * float32 arithmetic of any order must keep (derived in ref.c, beside the formula). want may hold NaN and -inf
 * where the formula has them; a kernel must then give the same. */
#ifndef REF_H
#define REF_H
#include "problem.h"

#include <float.h>

/* In `want`: this element is not to be written at all. No float32 has this value. */
#define REF_UNTOUCHED DBL_MAX

/* One run of attention: host copies of its operands, widened to float. NULL: absent. Shapes are flashdec.h's. */
struct attn_run {
    const struct attn_problem *p; /* batch, len and q_len are this run's */
    const float *q, *k, *v;       /* caches as the device reads them, addressed by p->kv's strides */
    const int32_t *lens, *q_starts, *q_pos, *block_table; /* clamped here */
    int64_t n_q;                  /* query tokens in q: rows of q, out, lse are n_q * n_heads */
    const float *bias, *alibi, *sinks;
    int64_t bias_stride[3]; /* of a sequence, a query token, a head */
    const float *phi;       /* [n_q, H]: what `unified` takes for each row; enters the bound alone */
    double phi_slack;       /* how far below that a split's own phi may lie, where its scores are not below it, too */
    bool equal_scores;      /* of all keys of a row */
};

/* Which rows of q belong to sequence b, and the position of the first. */
struct attn_queries {
    int64_t first, n, pos;
};
struct attn_queries attn_queries_of(const struct attn_run *r, int64_t b);

/* Keys from `from` to before `to` are seen at position pos in a sequence of len tokens. */
struct attn_span {
    int64_t from, to;
};
struct attn_span attn_span_of(const struct attn_problem *p, int64_t len, int64_t pos);

/* out, out_bound: [n_q, H, Dv]; lse, lse_bound: [n_q, H]. Rows of no sequence are REF_UNTOUCHED. The bound is that of
 * float32: the rounding to out_type comes on top. */
void ref_attn(const struct attn_run *r, double *out, double *out_bound, double *lse, double *lse_bound);

/* One run of linear: host copies, widened to float. NULL: absent. */
struct linear_run {
    const struct linear_problem *p;
    const float *x;        /* [M, K] */
    const float *w, *bias; /* of all weights, one after the other: [linear_rows, K], [linear_rows] */
    const float *residual; /* [M, N] */
    const float *norm;     /* [K] */
};

/* y, bound: the outputs one after the other, [M, N1], [M, N2], [M, N3]. The bound is that of float32, as above. */
void ref_linear(const struct linear_run *r, double *y, double *bound);

void ref_softmax(const struct softmax_problem *p, const float *x, double *y, double *bound, double *lse,
                 double *lse_bound);
#endif
