/* SPDX-License-Identifier: MIT
 * tiny_gguf.c - writes a GGUF file, as gguf.h draws it, field by field */
#include "tiny_gguf.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    N_EMBD = 16,
    N_HEADS = 2,
    N_KV_HEADS = 1,
    HEAD_DIM = 8,
    WIDE_HEAD_DIM = 32,
    N_FF = 24,
    N_LAYERS = 2,
    N_CTX = 64,
    ALIGNMENT = 32,
    N_VOCAB = TINY_PIECE_0 + TINY_N_PIECES,
    MAX_TENSORS = 3 + 9 * N_LAYERS
};
enum { U32 = 4, F32 = 6, STRING = 8, ARRAY = 9, I32 = 5 };

#define SP "\xe2\x96\x81"
const struct tiny_piece tiny_pieces[TINY_N_PIECES] = {
    {SP, -1, 1},     {"a", -2, 1},    {"b", -2, 1},      {"c", -2, 1},        {"ab", -10, 1}, {"bc", -5, 1},
    {"abc", -20, 1}, {SP "a", -8, 1}, {SP "abc", -3, 1}, {"\xc3\xa9", -2, 1}, {"[U]", 0, 4},  {SP SP, -4, 1},
};

struct bytes {
    unsigned char *p;
    size_t n, room;
};

struct tensor {
    char name[48];
    uint64_t dims[2]; /* dims[1] 0: a vector */
    uint32_t seed;
};

static void put(struct bytes *b, const void *data, size_t n)
{
    if (b->n + n > b->room) {
        b->room = 2 * (b->n + n);
        b->p = realloc(b->p, b->room);
        if (!b->p) {
            fprintf(stderr, "tiny_gguf: out of memory\n");
            exit(1);
        }
    }
    memcpy(b->p + b->n, data, n);
    b->n += n;
}

static void put_u32(struct bytes *b, uint32_t u)
{
    put(b, &u, sizeof u);
}

static void put_u64(struct bytes *b, uint64_t u)
{
    put(b, &u, sizeof u);
}

static void put_f32(struct bytes *b, float f)
{
    put(b, &f, sizeof f);
}

static void put_string(struct bytes *b, const char *s)
{
    put_u64(b, strlen(s));
    put(b, s, strlen(s));
}

static void kv_u32(struct bytes *b, const char *key, uint32_t u)
{
    put_string(b, key);
    put_u32(b, U32);
    put_u32(b, u);
}

static void kv_string(struct bytes *b, const char *key, const char *s)
{
    put_string(b, key);
    put_u32(b, STRING);
    put_string(b, s);
}

static void kv_array(struct bytes *b, const char *key, uint32_t type, uint64_t n)
{
    put_string(b, key);
    put_u32(b, ARRAY);
    put_u32(b, type);
    put_u64(b, n);
}

static void put_vocabulary(struct bytes *b)
{
    kv_string(b, "tokenizer.ggml.model", "llama");
    kv_array(b, "tokenizer.ggml.tokens", STRING, N_VOCAB);
    put_string(b, "<unk>");
    put_string(b, "<s>");
    put_string(b, "</s>");
    for (int i = 0; i < 256; i++) {
        char text[8];
        snprintf(text, sizeof text, "<0x%02X>", i);
        put_string(b, text);
    }
    for (int i = 0; i < TINY_N_PIECES; i++)
        put_string(b, tiny_pieces[i].text);

    kv_array(b, "tokenizer.ggml.scores", F32, N_VOCAB);
    for (int i = 0; i < N_VOCAB; i++)
        put_f32(b, i < TINY_PIECE_0 ? 0 : tiny_pieces[i - TINY_PIECE_0].score);
    kv_array(b, "tokenizer.ggml.token_type", I32, N_VOCAB);
    for (int i = 0; i < N_VOCAB; i++)
        put_u32(b, i == 0             ? 2
                   : i < TINY_BYTE_0  ? 3
                   : i < TINY_PIECE_0 ? 6
                                      : (uint32_t) tiny_pieces[i - TINY_PIECE_0].type);
}

static uint64_t put_metadata(struct bytes *b, bool wide)
{
    kv_string(b, "general.architecture", "llama");
    kv_u32(b, "general.alignment", ALIGNMENT);
    kv_u32(b, "llama.context_length", N_CTX);
    kv_u32(b, "llama.embedding_length", N_EMBD);
    kv_u32(b, "llama.block_count", N_LAYERS);
    kv_u32(b, "llama.feed_forward_length", N_FF);
    kv_u32(b, "llama.attention.head_count", N_HEADS);
    kv_u32(b, "llama.attention.head_count_kv", N_KV_HEADS);
    put_string(b, "llama.attention.layer_norm_rms_epsilon");
    put_u32(b, F32);
    put_f32(b, 1e-5f);

    if (wide) {
        kv_u32(b, "llama.attention.key_length", WIDE_HEAD_DIM);
        kv_u32(b, "llama.attention.value_length", WIDE_HEAD_DIM);
    }
    put_string(b, "flashdec.nested"); /* two arrays of two arrays of one number: legal, and nobody's */
    put_u32(b, ARRAY);
    put_u32(b, ARRAY);
    put_u64(b, 2);
    for (int i = 0; i < 2; i++) {
        put_u32(b, ARRAY);
        put_u64(b, 2);
        for (int k = 0; k < 2; k++) {
            put_u32(b, U32);
            put_u64(b, 1);
            put_u32(b, 7);
        }
    }
    put_vocabulary(b);
    kv_u32(b, "tokenizer.ggml.eos_token_id", 2);
    return 10 + 5 + (wide ? 2 : 0);
}

static int list_tensors(struct tensor *t, bool tied, uint64_t head_dim)
{
    int n = 0;
    t[n++] = (struct tensor){"token_embd.weight", {N_EMBD, N_VOCAB}, 1};
    t[n++] = (struct tensor){"output_norm.weight", {N_EMBD, 0}, 2};
    if (!tied)
        t[n++] = (struct tensor){"output.weight", {N_EMBD, N_VOCAB}, 1};
    const struct {
        const char *name;
        uint64_t dims[2];
    } parts[] = {
        {"attn_norm", {N_EMBD, 0}},
        {"attn_q", {N_EMBD, N_HEADS * head_dim}},
        {"attn_k", {N_EMBD, N_KV_HEADS * head_dim}},
        {"attn_v", {N_EMBD, N_KV_HEADS * head_dim}},
        {"attn_output", {N_HEADS * head_dim, N_EMBD}},
        {"ffn_norm", {N_EMBD, 0}},
        {"ffn_gate", {N_EMBD, N_FF}},
        {"ffn_up", {N_EMBD, N_FF}},
        {"ffn_down", {N_FF, N_EMBD}},
    };
    for (int layer = 0; layer < N_LAYERS; layer++) {
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++, n++) {
            t[n] = (struct tensor){"", {parts[i].dims[0], parts[i].dims[1]}, (uint32_t) (3 + 16 * layer + (int) i)};
            snprintf(t[n].name, sizeof t[n].name, "blk.%d.%s.weight", layer, parts[i].name);
        }
    }
    return n;
}

static uint64_t n_elements(const struct tensor *t)
{
    return t->dims[0] * (t->dims[1] ? t->dims[1] : 1);
}

/* Multiples of 1/64 in (-1, 1), in vectors 1 more: exact in f16, where 1 + m/64 is sign 0, exponent 15, fraction 16 m.
 * */
static void put_weights(struct bytes *b, const struct tensor *t, bool f16)
{
    uint32_t state = t->seed * 2654435761u;
    for (uint64_t i = 0; i < n_elements(t); i++) {
        state = state * 1664525u + 1013904223u;
        const int m = (int) (state >> 26) + (t->dims[1] ? -32 : 64); /* matrices -32..31, vectors 64..127, of 1/64 */
        if (!f16) {
            put_f32(b, (float) m / 64);
            continue;
        }
        unsigned bits = m < 0 ? 0x8000u : 0, magnitude = (unsigned) abs(m), exponent = 15 - 6;
        while (magnitude >> 1 >> (exponent - 9)) /* the position of the leading bit */
            exponent++;
        if (magnitude)
            bits |= exponent << 10 | ((magnitude << (10 - (exponent - 9))) & 0x3ffu);
        const uint16_t half = (uint16_t) bits;
        put(b, &half, sizeof half);
    }
}

static void pad(struct bytes *b)
{
    while (b->n % ALIGNMENT)
        put(b, "", 1);
}

unsigned char *tiny_gguf(struct tiny_options o, size_t *n)
{
    struct bytes b = {NULL, 0, 0};
    struct tensor t[MAX_TENSORS];
    const int n_tensors = list_tensors(t, o.tied, o.wide ? WIDE_HEAD_DIM : HEAD_DIM);
    put(&b, "GGUF", 4);
    put_u32(&b, 3);
    put_u64(&b, (uint64_t) n_tensors);
    const size_t at = b.n;
    put_u64(&b, 0);
    const uint64_t n_kv = put_metadata(&b, o.wide);
    memcpy(b.p + at, &n_kv, sizeof n_kv);

    uint64_t offset = 0;
    for (int i = 0; i < n_tensors; i++) {
        put_string(&b, t[i].name);
        put_u32(&b, t[i].dims[1] ? 2 : 1);
        put_u64(&b, t[i].dims[0]);
        if (t[i].dims[1])
            put_u64(&b, t[i].dims[1]);
        put_u32(&b, o.f16 && t[i].dims[1]);
        put_u64(&b, offset);
        offset += n_elements(&t[i]) * (o.f16 && t[i].dims[1] ? 2 : 4);
        offset = (offset + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }
    for (int i = 0; i < n_tensors; i++) {
        pad(&b);
        put_weights(&b, &t[i], o.f16 && t[i].dims[1]);
    }
    *n = b.n;
    return b.p;
}
