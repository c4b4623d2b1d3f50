/* SPDX-License-Identifier: MIT
 * tiny_gguf.h - a Llama model of two layers with random weights as the bytes of a GGUF file, for tests without a model
 * file */
#ifndef TINY_GGUF_H
#define TINY_GGUF_H
#include <stdbool.h>
#include <stddef.h>

struct tiny_options {
    bool tied; /* no output.weight; otherwise it is a copy of the embedding, so that the results are the same */
    bool wide; /* heads of 32 dimensions instead of 8: what a q8_0 cache needs */
    bool f16;  /* all matrices; all weights are exact in f16, so that the results are the same */
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
