/* SPDX-License-Identifier: MIT
 * decode.h - the forward pass of a Llama model, through flashdec.h only
 *
 * One device, one in-order queue, one sequence. The device holds the history of token ids: choosing a token writes it
 * where the next step's embedding reads it, so the host only looks on, and has enqueued the next step before it waits
 * for the id that comes out of this one. Token i's position and the length seen by it are entries of one constant
 * buffer 0, 1, 2, ...: nothing is uploaded per token. A prompt of more than one token runs in chunks, each the query
 * tokens of one call of attention. */
#ifndef DECODE_H
#define DECODE_H
#include "model.h"

enum { DECODE_CHUNK = 32 }; /* tokens of the prompt that run at once */

struct decode_options {
    uint32_t n_ctx;           /* tokens of prompt and continuation, at most the model's */
    uint32_t n_prompt, n_new; /* n_new: tokens that will be wanted, at most; no step is begun for more */
    fdec_scheme scheme;
    fdec_linear_impl linear;
    fdec_type kv_type;
    float temperature; /* 0: greedy. It and what follows as in fdec_sample_args */
    uint32_t top_k;
    float top_p, min_p, repeat_penalty;
    uint32_t repeat_last; /* tokens of prompt and continuation that the penalty sees; 0: none */
    uint64_t seed;        /* the step is the position of the chosen token */
    const float *phi;     /* [n_layers, n_heads], of fdec_phi_read; NULL: none */
    float *mean_lse; /* not NULL: [n_layers, n_heads], decoder_prompt puts each head's mean LSE over the prompt here */
};

struct decoder;

/* Takes the device of FLASHDEC_DEVICE (or the default), builds every plan, checks the memory, uploads the weights.
 * False with a line. m must live as long as the decoder. */
bool decoder_create(struct model *m, const struct decode_options *o, struct decoder **out, struct err *e);
void decoder_destroy(struct decoder **d);

/* The whole prompt (o.n_prompt ids, each below n_vocab), once; then decoder_next for each further token, up to n_ctx
 * tokens in all. Both give the id of the token that follows and, unless NULL, the n_vocab logits it was chosen from. */
bool decoder_prompt(struct decoder *d, const int32_t *ids, int32_t *next, float *logits, struct err *e);
bool decoder_next(struct decoder *d, int32_t *next, float *logits, struct err *e);

struct decode_stats {
    uint64_t programs_compiled, programs_from_cache, rows_recomputed;
    char device[256];
    char table[4096]; /* "none" without one */
    int table_level;  /* 1..6 */
};
bool decoder_stats(struct decoder *d, struct decode_stats *s, struct err *e);
#endif
