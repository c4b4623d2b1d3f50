/* SPDX-License-Identifier: MIT
 * tokenizer.h - SentencePiece vocabularies as GGUF files hold them (tokenizer.ggml.model = "llama")
 *
 * Encoding: a space in front (unless tokenizer.ggml.add_space_prefix is false), spaces written as U+2581, the text cut
 * into characters, then the neighbouring pair whose union is the token of the best score is merged, again and again
 * (ties: the leftmost). A character that is no token becomes its bytes' tokens <0xNN>, or the unknown token where
 * there are none. Decoding: the tokens' texts one after another, U+2581 as a space; no space is taken away at the
 * beginning. */
#ifndef TOKENIZER_H
#define TOKENIZER_H
#include "gguf.h"

struct tokenizer {
    uint32_t n; /* tokens */
    int32_t bos, eos, unknown;
    bool add_bos, add_space;
    struct gguf_str *text;               /* [n] as in the file */
    struct gguf_str *output;             /* [n] what decoding prints; empty for control tokens */
    const unsigned char *scores, *types; /* [n] f32, i32, in the file, not aligned */
    int32_t byte_token[256];             /* -1: the vocabulary has none */
    struct {
        int32_t id;
        uint32_t hash;
    } * slots; /* open addressing, id -1: free */
    uint32_t slot_mask;
    uint32_t longest_user; /* bytes of the longest user-defined token that is looked for in a text; 0: there is none */
    char *arena;           /* of output */
};

/* Strings stay in the file: close the tokenizer before g. False with a line; nothing is then left to close. */
bool tokenizer_open(struct tokenizer *t, const struct gguf *g, struct err *e);
void tokenizer_close(struct tokenizer *t);

/* Token ids of n bytes of text, BOS in front if the file's add_bos_token says so (it does when it is silent). *ids is
 * malloc'ed. Any bytes are legal; what is not UTF-8 is taken byte by byte. */
bool tokenizer_encode(const struct tokenizer *t, const char *text, size_t n, int32_t **ids, uint32_t *n_ids,
                      struct err *e);

/* The length of the longest beginning of text that does not stop inside a UTF-8 character: n, or up to 3 less. */
size_t utf8_complete(const char *text, size_t n);
#endif
