/* SPDX-License-Identifier: MIT
 * tiny_gguf.h - a Llama model of two layers with random weights as the bytes of a GGUF file, for tests without a model
 * file */
#ifndef TINY_GGUF_H
#define TINY_GGUF_H
#include "flashdec.h"
#include <stdbool.h>
#include <stddef.h>

struct tiny_options {
    bool tied; /* no output.weight; otherwise it is a copy of the embedding, so that the results are the same */
    bool wide; /* heads of 32 dimensions instead of 8: what a q8_0 cache needs */
    fdec_type type; /* of all matrices, one of quantize's. Weights are exact in f16 and bf16: the same results */
    bool large;     /* rows of whole blocks of any type: n_embd 256 instead of 16, n_ff 256 instead of 24 */
    bool widened;   /* matrices are f32, of the values that they have in type */
    bool mixed;     /* every third tensor is: v and gate of the first layer, k of the second */
};

/* Tokens: <unk> <s> </s>, 256 byte tokens from TINY_BYTE_0 on, then the pieces of tiny_pieces. */
enum { TINY_BYTE_0 = 3, TINY_PIECE_0 = TINY_BYTE_0 + 256, TINY_N_PIECES = 12 };
struct tiny_piece {
    const char *text;
    float score;
    int type; /* 1 normal, 4 user-defined */
};
extern const struct tiny_piece tiny_pieces[TINY_N_PIECES];

/* malloc'ed; the program ends if there is no memory. */
unsigned char *tiny_gguf(struct tiny_options o, size_t *n);
#endif
