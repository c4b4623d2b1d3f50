/* SPDX-License-Identifier: MIT
 * tiny_gguf.c - writes a GGUF file, as gguf.h draws it, field by field */
#include "tiny_gguf.h"
#include "problem.h"
#include "quantize.h"
#include "ref_quant.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    N_EMBD = 16,
    LARGE_N_EMBD = 256,
    N_HEADS = 2,
    N_KV_HEADS = 1,
    WIDE_HEAD_DIM = 32,
    N_FF = 24,
    LARGE_N_FF = 256,
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

static uint64_t put_metadata(struct bytes *b, const struct tiny_options *o)
{
    kv_string(b, "general.architecture", "llama");
    kv_u32(b, "general.alignment", ALIGNMENT);
    kv_u32(b, "llama.context_length", N_CTX);
    kv_u32(b, "llama.embedding_length", o->large ? LARGE_N_EMBD : N_EMBD);
    kv_u32(b, "llama.block_count", N_LAYERS);
    kv_u32(b, "llama.feed_forward_length", o->large ? LARGE_N_FF : N_FF);
    kv_u32(b, "llama.attention.head_count", N_HEADS);
    kv_u32(b, "llama.attention.head_count_kv", N_KV_HEADS);
    put_string(b, "llama.attention.layer_norm_rms_epsilon");
    put_u32(b, F32);
    put_f32(b, 1e-5f);

    if (o->wide) {
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
    return 10 + 5 + (o->wide ? 2 : 0);
}

static int list_tensors(struct tensor *t, const struct tiny_options *o)
{
    const uint64_t n_embd = o->large ? LARGE_N_EMBD : N_EMBD, n_ff = o->large ? LARGE_N_FF : N_FF,
                   head_dim = o->wide ? WIDE_HEAD_DIM : n_embd / N_HEADS;
    int n = 0;
    t[n++] = (struct tensor){"token_embd.weight", {n_embd, N_VOCAB}, 1};
    t[n++] = (struct tensor){"output_norm.weight", {n_embd, 0}, 2};
    if (!o->tied)
        t[n++] = (struct tensor){"output.weight", {n_embd, N_VOCAB}, 1};
    const struct {
        const char *name;
        uint64_t dims[2];
    } parts[] = {
        {"attn_norm", {n_embd, 0}},
        {"attn_q", {n_embd, N_HEADS * head_dim}},
        {"attn_k", {n_embd, N_KV_HEADS * head_dim}},
        {"attn_v", {n_embd, N_KV_HEADS * head_dim}},
        {"attn_output", {N_HEADS * head_dim, n_embd}},
        {"ffn_norm", {n_embd, 0}},
        {"ffn_gate", {n_embd, n_ff}},
        {"ffn_up", {n_embd, n_ff}},
        {"ffn_down", {n_ff, n_embd}},
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

/* As the file has it: vectors are f32. */
static fdec_type type_of(const struct tensor *t, const struct tiny_options *o)
{
    const bool f32 = !t->dims[1] || o->widened || (o->mixed && t->seed % 3 == 0);
    return f32 ? FDEC_F32 : o->type;
}

/* Matrices: multiples of 1/64 from -1/2 to 31/64; vectors 1 to 127/64. */
static void put_weights(struct bytes *b, const struct tensor *t, const struct tiny_options *o)
{
    const size_t n = n_elements(t), n_bytes = type_bytes(o->type, n);
    float *x = malloc(n * sizeof *x);
    unsigned char *blocks = malloc(n_bytes);
    uint32_t state = t->seed * 2654435761u;
    if (!x || !blocks) {
        fprintf(stderr, "tiny_gguf: out of memory\n");
        exit(1);
    }
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (float) ((int) (state >> 26) + (t->dims[1] ? -32 : 64)) / 64;
    }
    if (t->dims[1]) {
        quantize(o->type, x, n, blocks);
        for (size_t i = 0; i < n; i++)
            x[i] = (float) ref_dequant(o->type, blocks, i);
    }
    if (type_of(t, o) == FDEC_F32)
        put(b, x, n * sizeof *x);
    else
        put(b, blocks, n_bytes);
    free(x);
    free(blocks);
}

/* ggml's numbers. */
static uint32_t file_type(fdec_type type)
{
    return type == FDEC_F32    ? 0
           : type == FDEC_F16  ? 1
           : type == FDEC_Q4_0 ? 2
           : type == FDEC_Q8_0 ? 8
           : type == FDEC_Q4_K ? 12
                               : 30; /* bf16 */
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
    const int n_tensors = list_tensors(t, &o);
    put(&b, "GGUF", 4);
    put_u32(&b, 3);
    put_u64(&b, (uint64_t) n_tensors);
    const size_t at = b.n;
    put_u64(&b, 0);
    const uint64_t n_kv = put_metadata(&b, &o);
    memcpy(b.p + at, &n_kv, sizeof n_kv);

    uint64_t offset = 0;
    for (int i = 0; i < n_tensors; i++) {
        put_string(&b, t[i].name);
        put_u32(&b, t[i].dims[1] ? 2 : 1);
        put_u64(&b, t[i].dims[0]);
        if (t[i].dims[1])
            put_u64(&b, t[i].dims[1]);
        put_u32(&b, file_type(type_of(&t[i], &o)));
        put_u64(&b, offset);
        offset += type_bytes(type_of(&t[i], &o), n_elements(&t[i]));
        offset = (offset + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }
    for (int i = 0; i < n_tensors; i++) {
        pad(&b);
        put_weights(&b, &t[i], &o);
    }
    *n = b.n;
    return b.p;
}
