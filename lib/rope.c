/* SPDX-License-Identifier: MIT
 * rope.c - how fast each pair of dimensions turns: rotary embedding's frequencies and their scalings, on the host */
#include "plan.h"

#include <math.h>

#define WHO "fdec_rope_angles"

static const double two_pi = 6.283185307179586476925;

/* Fills in the defaults and checks. */
static fdec_status check_params(fdec_rope_params *p)
{
    fdec_status st = FDEC_OK;
    const bool yarn = p->scaling == FDEC_ROPE_YARN, llama3 = p->scaling == FDEC_ROPE_LLAMA3;
    require(WHO, (unsigned) p->scaling <= FDEC_ROPE_LLAMA3);
    require(WHO, p->rope_dim >= 2 && p->rope_dim % 2 == 0);
    require(WHO, isfinite(p->base) && p->base > 1);
    require(WHO, p->scaling != FDEC_ROPE_UNSCALED || p->factor == 0);
    require(WHO, p->scaling == FDEC_ROPE_UNSCALED || (isfinite(p->factor) && p->factor >= 1));
    require(WHO, yarn || llama3 ? p->original_max_len >= 1 : p->original_max_len == 0);
    require(WHO, yarn || (p->beta_fast == 0 && p->beta_slow == 0 && p->yarn_unrounded == 0));
    require(WHO, llama3 || (p->low_freq_factor == 0 && p->high_freq_factor == 0));
    p->beta_fast = p->beta_fast != 0 ? p->beta_fast : 32;
    p->beta_slow = p->beta_slow != 0 ? p->beta_slow : 1;
    p->low_freq_factor = p->low_freq_factor != 0 ? p->low_freq_factor : 1;
    p->high_freq_factor = p->high_freq_factor != 0 ? p->high_freq_factor : 4;
    require(WHO, p->beta_slow > 0 && p->beta_fast >= p->beta_slow && isfinite(p->beta_fast));
    require(WHO, p->low_freq_factor > 0 && p->high_freq_factor > p->low_freq_factor && isfinite(p->high_freq_factor));
    require(WHO, p->yarn_unrounded <= 1);
    require(WHO, isfinite(p->attn_factor) && p->attn_factor >= 0);
    if (p->attn_factor == 0)
        p->attn_factor = yarn ? 0.1 * log(p->factor) + 1 : 1;
out:
    return st;
}

/* The pair, as a real number, that turns `turns` times in the original length. */
static double pair_of(const fdec_rope_params *p, double turns)
{
    return p->rope_dim / 2.0 * log(p->original_max_len / (turns * two_pi)) / log(p->base);
}

/* How far a pair is from its own frequency (0) to the one divided by the factor (1). */
static double yarn_share(const fdec_rope_params *p, uint32_t pair)
{
    double lo = pair_of(p, p->beta_fast), hi = pair_of(p, p->beta_slow);
    if (!p->yarn_unrounded) {
        lo = floor(lo);
        hi = ceil(hi);
    }
    lo = fmax(lo, 0);
    hi = fmin(hi, p->rope_dim - 1.0);
    if (lo == hi)
        hi += 0.001; /* a step */
    return fmin(fmax((pair - lo) / (hi - lo), 0), 1);
}

/* The same for Llama 3.1, which looks at how often the pair turns in the original length. */
static double llama3_share(const fdec_rope_params *p, double frequency)
{
    const double turns = p->original_max_len * frequency / two_pi;
    return fmin(fmax((p->high_freq_factor - turns) / (p->high_freq_factor - p->low_freq_factor), 0), 1);
}

fdec_status fdec_rope_angles(const fdec_rope_params *params, uint64_t *out, float *attn_factor)
{
    fdec_status st = FDEC_OK;
    fdec_rope_params p;
    require(WHO, out != NULL);
    try_st(take_struct(WHO, &p, sizeof p, params));
    try_st(check_params(&p));
    require(WHO, attn_factor != NULL || p.attn_factor == 1);
    for (uint32_t i = 0; i < p.rope_dim / 2; i++) {
        const double frequency = pow(p.base, -2.0 * i / p.rope_dim);
        const double share = p.scaling == FDEC_ROPE_UNSCALED ? 0
                             : p.scaling == FDEC_ROPE_LINEAR ? 1
                             : p.scaling == FDEC_ROPE_YARN   ? yarn_share(&p, i)
                                                             : llama3_share(&p, frequency);
        const double scaled = share > 0 ? frequency * (1 - share) + frequency / p.factor * share : frequency;
        out[i] = (uint64_t) ldexp(scaled / two_pi, 64);
    }
    if (attn_factor)
        *attn_factor = (float) p.attn_factor;
out:
    return st;
}
