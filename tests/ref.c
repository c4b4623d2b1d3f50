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

static int64_t clamped(int64_t x, int64_t from, int64_t to)
{
    return x < from ? from : x > to ? to : x;
}

static int64_t length_of(const struct attn_run *r, int64_t b)
{
    return clamped(r->lens[b], 0, r->p->len);
}

struct attn_queries attn_queries_of(const struct attn_run *r, int64_t b)
{
    const int64_t most = r->p->q_len;
    struct attn_queries q = {.first = b * most, .n = most};
    if (r->q_starts) {
        q.first = clamped(r->q_starts[b], 0, r->n_q);
        q.n = clamped(clamped(r->q_starts[b + 1], 0, r->n_q) - q.first, 0, most);
    }
    q.pos = r->q_pos ? r->q_pos[b] : length_of(r, b) - q.n;
    return q;
}

struct attn_span attn_span_of(const struct attn_problem *p, int64_t len, int64_t pos)
{
    struct attn_span s = {0, len};
    if (p->causal || p->window)
        s.to = clamped(pos + 1, 0, len);
    if (p->window)
        s.from = clamped(pos - p->window + 1, 0, s.to);
    return s;
}

/* Where token t lies: in which block, -1 where the block table names none of the pool, and in which of its places. */
struct place {
    int64_t block, slot;
};

static struct place place_of(const struct attn_run *r, int64_t b, int64_t t)
{
    const fdec_kv_layout *kv = &r->p->kv;
    if (!kv->page_size)
        return (struct place){b, t};
    const int64_t block = r->block_table[b * kv->max_blocks + t / kv->page_size];
    return (struct place){block < 0 || block >= (int64_t) kv->n_blocks ? -1 : block, t % kv->page_size};
}

static int64_t element_at(const fdec_cache *c, struct place at, int64_t g)
{
    return at.block * c->block_stride + at.slot * c->token_stride + g * c->head_stride;
}

/* What one row weighs: its keys' scores x, each with the error that a kernel's score may have and the place of its
 * value; -1: a sink, which has none. */
struct keys {
    int64_t n, *v_at;
    double *x, *error;
};

/* y = c tanh(s / c), by a kernel as y = c (1 - 2 / (E + 1)), E = e^(2s/c). error: in, that of s; out, that of y.
 * With dy/ds = sech^2 = 1 - tanh^2 <= 1, and dy / d ln E = c/2 sech^2:
 *     s itself and up to 4 roundings on the way to the argument       sech^2 (error + 4u |s|)
 *     the exp, 6u + 3u |2s/c|                                         sech^2 (3u c + 3u |s|)
 *     E + 1 (u) and the division (5u), of 2 / (E + 1) = 1 - tanh      6u c (1 - tanh)
 *     1 - that, and the product with c                                2u |y|
 * Forms in |s| or e^(-2s/c) have the same terms, with 1 - |tanh| for 1 - tanh, which is smaller. */
static double soft_capped(double s, double c, double *error)
{
    const double t = tanh(s / c), slope = 1 - t * t;
    *error = (slope > 0 ? slope * (*error + U * (7 * fabs(s) + 3 * c)) : 0) + U * (6 * c * (1 - t) + 2 * fabs(c * t));
    return c * t;
}

/* The score of the row (b, i, h) at position pos for key t. Its error: the D products and additions of the dot product
 * and up to 4 roundings by scale and log2(e) (5 where blocks of q8_0 have a factor of their own) of sum_d |scale q_d
 * k_d|. What comes after it, soft-cap, ALiBi and bias, is at most three terms, each of which is rounded up to 3 times
 * (its product, log2(e)) and goes through two additions, whose roundings are of partial sums below the sum of absolute
 * values: 5u of each. */
static double score_of(const struct attn_run *r, const float *q, const float *k, double bias, double alibi,
                       double *error)
{
    const struct attn_problem *p = r->p;
    double mag, x = p->scale * dot(q, k, p->head_dim, &mag);
    *error = U * (chain(p->head_dim) + 4 + (p->kv.k.type == FDEC_Q8_0)) * fabs((double) p->scale) * mag;
    if (p->softcap > 0)
        x = soft_capped(x, p->softcap, error);
    if (p->softcap > 0 || bias != 0 || alibi != 0)
        *error += 5 * U * (fabs(x) + fabs(bias) + fabs(alibi));
    return x + alibi + bias;
}

static void row_scores(const struct attn_run *r, int64_t b, int64_t i, int h, const struct attn_queries *seq,
                       struct keys *keys)
{
    const struct attn_problem *p = r->p;
    const int g = h / (p->n_heads / p->n_kv_heads);
    const float *q = r->q + ((seq->first + i) * p->n_heads + h) * p->head_dim;
    const float *bias =
        r->bias ? r->bias + b * r->bias_stride[0] + i * r->bias_stride[1] + h * r->bias_stride[2] : NULL;
    const struct attn_span seen = attn_span_of(p, length_of(r, b), seq->pos + i);
    keys->n = 0;
    for (int64_t t = seen.from; t < seen.to; t++) {
        const struct place at = place_of(r, b, t);
        if (at.block < 0 || (bias && bias[t] == -INFINITY))
            continue;
        const double distance = r->alibi ? r->alibi[h] * (double) (t - seq->pos - i) : 0;
        keys->x[keys->n] =
            score_of(r, q, r->k + element_at(&p->kv.k, at, g), bias ? bias[t] : 0, distance, &keys->error[keys->n]);
        keys->v_at[keys->n++] = element_at(&p->kv.v, at, g);
    }
    if (r->sinks && r->sinks[h] != -INFINITY) {
        keys->x[keys->n] = r->sinks[h];
        keys->error[keys->n] = 0;
        keys->v_at[keys->n++] = -1;
    }
}

/* What a kernel of any scheme may have taken for the maximum: how far from x that can lie. phi is rounded to a multiple
 * of ln 2. A split's own phi may lie below the row's by as much as its scores do, or by phi_slack. */
static double farthest(const struct attn_run *r, double x, double phi, double m)
{
    return fmax(fmax(fabs(x - phi), fabs(x - m)), r->phi_slack) + 0.7;
}

/* out[d] = sum_i p_i v_id,  p_i = e^(x_i - m) / sum_j e^(x_j - m),  lse = m + ln sum_j e^(x_j - m),  m = max_i x_i.
 *
 * A kernel's score errs by error_i, and its weight is off by a factor e^(+-delta_i),
 *     delta_i = error_i + u*(3 farthest_i + 6 + 4 (records + 1))
 *     num_d: sum_i p_i |v_id| (e^delta_i - 1) + s sum_i p_i |v_id|        s = u*(chain(n) + 2): the sum over keys, one
 *                                                                         more for the factor of a q8_0 block
 *     den:   sum_i p_i (e^delta_i - 1) + s                                =: rel
 *     out_d: (num_d's + |out_d| rel) / (1 - rel) + 8u |out_d| + 2^-50 max_i |v_id|
 * the last one for weights that underflow: the guard of `unified` keeps their mass below it. Where all scores are
 * equal, so are the terms of den, and its s is the rigorous u*(n + 2). */
struct sums {
    double m, den, rel;
    double top[576], mag[576]; /* of each dimension of V */
};

static void weigh_values(const struct attn_run *r, const struct keys *keys, double phi, struct sums *s, double *out,
                         double *bound)
{
    const int dim = r->p->v_head_dim;
    const double fixed = U * (EXP_U + RESCALE_U * (records((double) keys->n) + 1));
    for (int64_t i = 0; i < keys->n; i++) {
        const double w = exp(keys->x[i] - s->m) / s->den;
        if (w == 0)
            continue;
        const double off = w * expm1(keys->error[i] + 3 * U * farthest(r, keys->x[i], phi, s->m) + fixed);
        s->rel += off;
        if (keys->v_at[i] < 0)
            continue;
        const float *vi = r->v + keys->v_at[i];
        for (int d = 0; d < dim; d++) {
            const double mag = fabs((double) vi[d]);
            out[d] += w * vi[d];
            s->mag[d] += w * mag;
            bound[d] += off * mag;
            s->top[d] = fmax(s->top[d], mag);
        }
    }
}

static void row_out(const struct attn_run *r, const struct keys *keys, double phi, double *out, double *bound,
                    double *lse, double *lse_bound)
{
    const int dim = r->p->v_head_dim;
    const double n = (double) keys->n;
    struct sums s = {.m = -INFINITY};
    for (int64_t i = 0; i < keys->n; i++)
        s.m = max_nan(keys->x[i], s.m);
    for (int64_t i = 0; i < keys->n; i++)
        s.den += exp(keys->x[i] - s.m);
    for (int d = 0; d < dim; d++)
        out[d] = bound[d] = 0;
    weigh_values(r, keys, phi, &s, out, bound);
    const double sum = U * (chain(n) + 2 + (r->p->kv.v.type == FDEC_Q8_0)),
                 den_rel = s.rel + U * ((r->equal_scores ? n : chain(n)) + 2);
    for (int d = 0; d < dim && keys->n; d++)
        bound[d] = (bound[d] + sum * s.mag[d] + fabs(out[d]) * den_rel) / fmax(1 - den_rel, 0) +
                   DIVIDE_U * U * fabs(out[d]) + 0x1p-50 * s.top[d] + FLT_MIN;
    /* phi + ln den, m + ln den, or ln M + N ln 2: the log's own error, and a few roundings of the parts, each at
     * most |lse| */
    *lse = isinf(s.m) ? s.m : s.m + log(s.den);
    const double part = farthest(r, *lse, phi, s.m);
    *lse_bound = -log1p(-fmin(den_rel, 1)) + U * (LOG_U * part + 4 * fabs(*lse) + 4);
}

/* A row without keys is 0; one whose scores are all -inf is NaN, by the formula. */
void ref_attn(const struct attn_run *r, double *out, double *out_bound, double *lse, double *lse_bound)
{
    const struct attn_problem *p = r->p;
    const int64_t n_rows = r->n_q * p->n_heads, dim = p->v_head_dim;
    const size_t most = (size_t) p->len + 1; /* with a sink */
    struct keys keys = {.v_at = malloc(most * sizeof *keys.v_at),
                        .x = malloc(most * sizeof *keys.x),
                        .error = malloc(most * sizeof *keys.error)};
    for (int64_t i = 0; i < n_rows; i++)
        lse[i] = REF_UNTOUCHED, lse_bound[i] = 0;
    for (int64_t i = 0; i < n_rows * dim; i++)
        out[i] = REF_UNTOUCHED, out_bound[i] = 0;
    for (int64_t b = 0; keys.v_at && keys.x && keys.error && b < p->batch; b++) {
        const struct attn_queries seq = attn_queries_of(r, b);
        for (int64_t i = 0; i < seq.n * p->n_heads; i++) {
            const int64_t row = seq.first * p->n_heads + i;
            row_scores(r, b, i / p->n_heads, (int) (i % p->n_heads), &seq, &keys);
            row_out(r, &keys, r->phi[row], out + row * dim, out_bound + row * dim, lse + row, lse_bound + row);
        }
    }
    free(keys.v_at);
    free(keys.x);
    free(keys.error);
}

/* ---- linear ----
 * s = sum_k x_k w_k: chain(K) additions and one rounding for a product that is not fused, one more for a weight that is
 * not exact in float32 (a sum in q4_1, q5_1, q4_k and q5_k), 2 where partial sums come together. A normalised x: the
 * sum of squares adds K positive terms, halved by the root; the division (5u), the root (3u), mean and eps, and two
 * products: chain(K)/2 + 14 roundings. Then, each with the error that comes in:
 *     scale * s + bias     2 roundings
 *     c tanh(z / c)        the slope is at most 1; division 5u, tanh 10u, product 1u, of |z| at most
 *     act(z)               the slope is at most 1.13; exp_plain, sum, division, erfc (32u): 48u, and the roundings of
 *                          its argument, which change e^u by |u| of them: 4u (1 + |z|^3) covers tanh's cubic and
 *                          z^2 of erfc. e^-z overflows at 88, where 4e-37 |z| is lost.
 *     gate * up, residual  1 rounding each */
static bool rounds_weights(fdec_type t)
{
    return t == FDEC_Q4_1 || t == FDEC_Q5_1 || t == FDEC_Q4_K || t == FDEC_Q5_K;
}

struct approx {
    double value, error;
};

/* Of the products and of their magnitudes. Eight sums of each, which do not wait for one another. */
static void dot_of_weights(const double *x, const float *w, int64_t n, double *sum, double *mag)
{
    enum { LANES = 8 };
    double sums[LANES] = {0}, mags[LANES] = {0};
    int64_t k = 0;
    for (; k + LANES <= n; k += LANES)
        for (int i = 0; i < LANES; i++) {
            const double product = x[k + i] * w[k + i];
            sums[i] += product, mags[i] += fabs(product);
        }
    for (int i = 0; k < n; k++, i++)
        sums[i] += x[k] * w[k], mags[i] += fabs(x[k] * w[k]);
    *sum = *mag = 0;
    for (int i = 0; i < LANES; i++)
        *sum += sums[i], *mag += mags[i];
}

static struct approx linear_value(const struct linear_run *r, const double *x, double x_error, int64_t row)
{
    const struct linear_problem *p = r->p;
    const double b = r->bias ? r->bias[row] : 0, terms = chain((double) p->k) + 3 + rounds_weights(p->w_type) + x_error;
    double sum, mag;
    dot_of_weights(x, r->w + row * p->k, p->k, &sum, &mag);
    struct approx z = {(double) p->scale * sum + b, fabs((double) p->scale) * U * (terms + 1) * mag};
    z.error += 2 * U * (fabs((double) p->scale) * mag + fabs(b));
    if (isinf(z.value))
        z.error = 0; /* which a cap makes finite again */
    if (p->softcap > 0) {
        const double capped = p->softcap * tanh(z.value / p->softcap);
        z.error += U * (5 * fmin(fabs(z.value), 20 * p->softcap) + 12 * fabs(capped));
        z.value = capped;
    }
    return z;
}

static double glu_value(uint32_t glu, double z)
{
    const double u = 0.79788456080286535588 * (z + 0.044715 * z * z * z); /* sqrt(2 / pi) */
    switch (glu) {
    case FDEC_GLU_SILU: return z / (1 + exp(-z));
    case FDEC_GLU_GELU: return z / (1 + exp(-2 * u));
    default: return z / 2 * erfc(-z / sqrt(2));
    }
}

static struct approx linear_glu(uint32_t glu, struct approx gate, struct approx up)
{
    const double z = fabs(gate.value), act = glu_value(glu, gate.value), slope = 1.13;
    const double act_error =
        slope * gate.error + U * (48 + 4 * fmin(z * z * z, 1e6)) * fabs(act) + 4e-37 * fmax(z, 1) + FLT_MIN;
    struct approx y = {act * up.value, act_error * fabs(up.value) + fabs(act) * up.error};
    y.error += act_error * up.error + U * fabs(y.value);
    return y;
}

/* x as the product takes it. */
static double linear_x(const struct linear_run *r, int64_t m, double *x)
{
    const struct linear_problem *p = r->p;
    double squares = 0;
    for (int64_t k = 0; k < p->k; k++) {
        x[k] = r->x[m * p->k + k];
        squares += x[k] * x[k];
    }
    if (!p->norm)
        return 0;
    for (int64_t k = 0; k < p->k; k++)
        x[k] = x[k] / sqrt(squares / (double) p->k + (double) p->eps) * r->norm[k];
    return chain((double) p->k) / 2 + 14;
}

/* Where the output of row `row` and token m lies. */
static int64_t linear_at(const struct linear_problem *p, int64_t m, int64_t row)
{
    const int64_t n[] = {p->n - p->n2 - p->n3, p->n2, p->n3};
    int64_t first = 0, part = 0;
    while (row - first >= n[part])
        first += n[part++];
    return p->m * first + m * n[part] + row - first;
}

void ref_linear(const struct linear_run *r, double *y, double *bound)
{
    const struct linear_problem *p = r->p;
    double *x = malloc((size_t) (p->m * p->k) * sizeof *x), x_error = 0;
    for (int64_t m = 0; x && m < p->m; m++)
        x_error = linear_x(r, m, x + m * p->k);
    for (int64_t n = 0; n < p->n; n++)
        for (int64_t m = 0; m < p->m; m++) {
            const int64_t at = linear_at(p, m, n);
            const double res = r->residual ? r->residual[at] : 0;
            struct approx z = {NAN, 0}; /* without memory nothing passes */
            if (x)
                z = linear_value(r, x + m * p->k, x_error, n);
            if (x && p->glu != FDEC_GLU_NONE)
                z = linear_glu(p->glu, z, linear_value(r, x + m * p->k, x_error, p->n + n));
            y[at] = z.value + res;
            bound[at] = z.error + U * (fabs(z.value) + fabs(res)) + FLT_MIN;
        }
    free(x);
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
