/* SPDX-License-Identifier: MIT
 * ref.c - every operation in double, with the bound that a float32 kernel must keep per element
 *
 * Where the bounds come from. u = 2^-24 is the unit roundoff of float32.
 *
 * Sums. n rounded additions, in whatever order and however split, err by at most n*u*sum|terms|. That is rigorous
 * and grows far too fast: real rounding errors have random signs. Higham and Mary (SIAM J. Sci. Comput. 41-5, 2019,
 * theorem 3.1) show that errors of mean zero that do not depend on the past stay within
 * lambda*sqrt(n)*u*sum|terms|, except with probability 2n*exp(-lambda^2/2). With lambda = 10 that is below 1e-15
 * for every n here, so chain(n) = min(n, 10 sqrt n), which is the rigorous bound up to n = 100. Equal terms break
 * the theorem (their errors all have one sign): workloads of equal values keep n <= 100.
 *
 * Exponentials. e^z of a rounded z errs by z's own error, since d e^z = e^z dz; the subtraction z = x - m gives
 * u*|z|, and the range reduction of exp at most 2u*|z|: 3u*|z| together. OpenCL's exp adds at most 3 ulp = 6u, the
 * library's own less.
 *
 * A running maximum rescales what was summed before it by e^(m - m'). The |m - m'| of all steps and the |x - m| of
 * the term add up to the |x - m| of the last maximum, so they are in 3u*|z| already; what remains is 6u for each
 * exp and u for each product, but a rescale acts on num and den alike, and errs only in how it weighs old terms
 * against new: 4u is what half of the sum can see of it. New maxima in random order: mean below ln n + 1, variance
 * below ln n; records(n) is five deviations above. One more rescale comes from merging splits.
 *
 * Division and reciprocal: 2.5 ulp = 5u, and three products around it: 8u. */
#include "ref.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

static const double U = 0x1p-24;
enum { EXP_U = 6, RESCALE_U = 4, DIVIDE_U = 8, LOG_U = 6 }; /* in units of u; log: 3 ulp */

static double chain(double n)
{
    return fmin(n, 10 * sqrt(n));
}

static double records(double n)
{
    return n < 2 ? 0 : fmin(n - 1, log(n) + 1 + 5 * sqrt(log(n)));
}

/* NaN wins, as it does in the formula. */
static double max_nan(double a, double b)
{
    return isnan(a) || a > b ? a : b;
}

/* sum of a[i]*b[i]; *mag: sum of |a[i]*b[i]|. Eight sums at a time, so that the compiler can use vectors. */
static double dot(const float *a, const float *b, int64_t n, double *mag)
{
    enum { LANES = 8 };
    double s[LANES] = {0}, m[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int j = 0; j < LANES; j++) {
            const double t = (double) a[i + j] * b[i + j];
            s[j] += t;
            m[j] += fabs(t);
        }
    }
    for (; i < n; i++) {
        s[0] += (double) a[i] * b[i];
        m[0] += fabs((double) a[i] * b[i]);
    }
    *mag = ((m[0] + m[1]) + (m[2] + m[3])) + ((m[4] + m[5]) + (m[6] + m[7]));
    return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
}

/* ---- attention ---- */

/* Index of token t's vector in the cache, or -1 where the block table names no block of the pool. */
static int64_t token_at(const struct attn_problem *p, const int32_t *block_table, int64_t b, int g, int64_t t)
{
    const fdec_kv_layout *kv = &p->kv;
    int64_t block = b, slot = t;
    if (kv->page_size) {
        block = block_table[b * kv->max_blocks + t / kv->page_size];
        slot = t % kv->page_size;
        if (block < 0 || block >= (int64_t) kv->n_blocks)
            return -1;
    }
    return block * kv->block_stride + slot * kv->token_stride + g * kv->head_stride;
}

/* The n keys of one row: where each lies, its score, and scale * sum_d |q_d k_d|. */
struct keys {
    int64_t n, *at;
    double *x, *mag;
};

static void row_scores(const struct attn_problem *p, const float *q, const float *k, const int32_t *block_table,
                       int64_t b, int g, int64_t len, struct keys *keys)
{
    keys->n = 0;
    for (int64_t t = 0; t < len; t++) {
        const int64_t at = token_at(p, block_table, b, g, t);
        if (at < 0)
            continue;
        double mag;
        keys->x[keys->n] = p->scale * dot(q, k + at, p->head_dim, &mag);
        keys->mag[keys->n] = fabs((double) p->scale) * mag;
        keys->at[keys->n++] = at;
    }
}

/* out[d] = sum_i p_i v_id,  p_i = e^(x_i - m) / sum_j e^(x_j - m),  lse = m + ln sum_j e^(x_j - m),  m = max_i x_i.
 *
 * A kernel's score errs by the D products and additions, and up to 4 roundings of scale and log2(e), of mag_i. So its
 * weight is off by a factor e^(+-delta_i), and
 *     delta_i = u*((chain(D) + 4) mag_i + 3 max(|x_i - phi|, |x_i - m|) + 6 + 4 (records + 1))
 *     num_d: sum_i p_i |v_id| (e^delta_i - 1) + s sum_i p_i |v_id|        s = u*(chain(n) + 2): the sum over keys
 *     den:   sum_i p_i (e^delta_i - 1) + s                                =: rel
 *     out_d: (num_d's + |out_d| rel) / (1 - rel) + 8u |out_d| + 2^-50 max_i |v_id|
 * the last one for weights that underflow: the guard of `unified` keeps their mass below it. */
static void row_out(const struct attn_problem *p, const float *v, const struct keys *keys, double phi, double *out,
                    double *bound, double *lse, double *lse_bound)
{
    const int dim = p->head_dim;
    double m = -INFINITY, den = 0, rel = 0;
    for (int64_t i = 0; i < keys->n; i++)
        m = max_nan(keys->x[i], m);
    for (int64_t i = 0; i < keys->n; i++)
        den += exp(keys->x[i] - m);

    double top[256] = {0}, mag[256] = {0};
    for (int d = 0; d < dim; d++)
        out[d] = bound[d] = 0;
    for (int64_t i = 0; i < keys->n; i++) {
        const double w = exp(keys->x[i] - m) / den;
        if (w == 0)
            continue;
        const double far = fmax(fabs(keys->x[i] - phi), fabs(keys->x[i] - m));
        const double off = w * expm1(U * ((chain(dim) + 4) * keys->mag[i] + 3 * far + EXP_U +
                                          RESCALE_U * (records((double) keys->n) + 1)));
        rel += off;
        const float *vi = v + keys->at[i];
        for (int d = 0; d < dim; d++) {
            out[d] += w * vi[d];
            mag[d] += w * fabs((double) vi[d]);
            bound[d] += off * fabs((double) vi[d]);
            top[d] = fmax(top[d], fabs((double) vi[d]));
        }
    }
    const double sum = U * (chain((double) keys->n) + 2);
    const double den_rel = rel + sum;
    for (int d = 0; d < dim && keys->n; d++) {
        bound[d] = (bound[d] + sum * mag[d] + fabs(out[d]) * den_rel) / fmax(1 - den_rel, 0) +
                   DIVIDE_U * U * fabs(out[d]) + 0x1p-50 * top[d] + FLT_MIN;
    }
    /* phi + ln den, m + ln den, or ln M + N ln 2: the log's own error, and a few roundings of the parts, each at
     * most |lse| */
    *lse = isinf(m) ? m : m + log(den);
    const double part = fmax(fabs(*lse - phi), fabs(*lse - m));
    *lse_bound = -log1p(-fmin(den_rel, 1)) + U * (LOG_U * part + 4 * fabs(*lse) + 4);
}

void ref_attn(const struct attn_problem *p, const float *q, const float *k, const float *v, const int32_t *lens,
              const int32_t *block_table, const float *phi, double *out, double *out_bound, double *lse,
              double *lse_bound)
{
    struct keys keys = {.at = malloc((size_t) (p->len + 1) * sizeof *keys.at),
                        .x = malloc((size_t) (p->len + 1) * sizeof *keys.x),
                        .mag = malloc((size_t) (p->len + 1) * sizeof *keys.mag)};
    for (int64_t b = 0; keys.at && keys.x && keys.mag && b < p->batch; b++) {
        for (int h = 0; h < p->n_heads; h++) {
            const int64_t row = b * p->n_heads + h, at = row * p->head_dim;
            const int g = h / (p->n_heads / p->n_kv_heads);
            row_scores(p, q + at, k, block_table, b, g, lens[b], &keys);
            row_out(p, v, &keys, phi[h], out + at, out_bound + at, lse + row, lse_bound + row);
        }
    }
    free(keys.at);
    free(keys.x);
    free(keys.mag);
}

/* ---- linear ----
 * y = sum_k x_k w_k + bias + residual: chain(K) additions and one rounding for a product that is not fused, and up to
 * 3 more where partial sums, bias and residual come together. */
void ref_linear(const struct linear_problem *p, const float *x, const float *w, const float *bias,
                const float *residual, double *y, double *bound)
{
    const double terms = U * (chain((double) p->k) + 4);
    for (int64_t n = 0; n < p->n; n++) {
        for (int64_t m = 0; m < p->m; m++) {
            const double b = bias ? bias[n] : 0, r = residual ? residual[m * p->n + n] : 0;
            double mag;
            y[m * p->n + n] = dot(x + m * p->k, w + n * p->k, p->k, &mag) + b + r;
            bound[m * p->n + n] = terms * mag + 3 * U * (fabs(b) + fabs(r)) + FLT_MIN;
        }
    }
}

/* ---- softmax ----
 * y_i = e^(x_i - m) / sum_j e^(x_j - m): the error of attention's weights with exact scores,
 *     delta_i = u*(3 |x_i - m| + 6 + 4 (records + 1)),
 *     y_i:  y_i (delta_i + sum_j y_j delta_j + u*(chain(n) + 8)). All of second order is far below u here. */
static void softmax_row(const float *x, int64_t n, double *y, double *bound, double *lse, double *lse_bound)
{
    double m = -INFINITY, den = 0, rel = U * chain((double) n);
    for (int64_t i = 0; i < n; i++)
        m = max_nan(x[i], m);
    for (int64_t i = 0; i < n; i++)
        den += exp(x[i] - m);
    const double fixed = U * (EXP_U + RESCALE_U * (records((double) n) + 1));
    for (int64_t i = 0; i < n; i++) {
        y[i] = exp(x[i] - m) / den;
        bound[i] = y[i] == 0 ? 0 : 3 * U * fabs(x[i] - m) + fixed;
        rel += y[i] * bound[i];
    }
    for (int64_t i = 0; i < n; i++)
        bound[i] = y[i] * (bound[i] + rel + DIVIDE_U * U) + FLT_MIN;
    *lse = isinf(m) ? m : m + log(den);
    *lse_bound = rel + U * (LOG_U * fabs(*lse - m) + 4 * fabs(*lse) + 4);
}

void ref_softmax(const struct softmax_problem *p, const float *x, double *y, double *bound, double *lse,
                 double *lse_bound)
{
    for (int64_t r = 0; r < p->rows; r++)
        softmax_row(x + r * p->cols, p->cols, y + r * p->cols, bound + r * p->cols, lse + r, lse_bound + r);
}
