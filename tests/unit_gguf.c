/* SPDX-License-Identifier: MIT
 * unit_gguf.c - the GGUF reader and the model's checks, on a right file, on every truncation of it, on chosen and on
 * random damage. Each case lies in its own allocation of exactly its size, so that a sanitizer or valgrind sees any
 * read past it. */
#include "model.h"
#include "problem.h"
#include "ref_quant.h"
#include "tiny_gguf.h"
#include "tokenizer.h"
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static unsigned char *copy(const unsigned char *p, size_t n)
{
    unsigned char *q = malloc(n ? n : 1);
    assert_non_null(q);
    memcpy(q, p, n);
    return q;
}

/* The whole way of flashdec-run up to the device. */
static bool load(const unsigned char *p, size_t n, struct err *e)
{
    struct gguf g;
    struct tokenizer t;
    struct model m;
    if (!gguf_parse(&g, p, n, e))
        return false;
    bool ok = tokenizer_open(&t, &g, e);
    if (ok) {
        ok = model_open(&m, &g, t.n, e);
        if (ok)
            model_close(&m);
        tokenizer_close(&t);
    }
    gguf_close(&g);
    return ok;
}

static void reads_a_right_file(void **state)
{
    (void) state;
    struct err e = {""};
    for (int i = 0; i < 4; i++) {
        size_t n;
        unsigned char *p = tiny_gguf((struct tiny_options){.tied = i & 1, .type = i & 2 ? FDEC_F16 : FDEC_F32}, &n);
        struct gguf g;
        struct model m;
        assert_true(gguf_parse(&g, p, n, &e));
        assert_true(model_open(&m, &g, TINY_PIECE_0 + TINY_N_PIECES, &e));
        assert_int_equal(m.tied, i & 1);
        assert_int_equal(m.n_layers, 2);
        assert_int_equal(m.head_dim, 8);
        assert_int_equal(m.rope_dim, 8);
        assert_true(m.rope_base == 10000);
        assert_int_equal(m.layers[1].w[W_DOWN].n, 16);
        assert_int_equal(m.layers[1].w[W_DOWN].k, 24);
        assert_int_equal(m.layers[1].w[W_DOWN].type, i & 2 ? FDEC_F16 : FDEC_F32);
        assert_int_equal(m.out_norm.n, 0);
        assert_ptr_equal(m.out.tensor == m.embd.tensor, (i & 1) != 0);
        model_close(&m);
        gguf_close(&g);
        free(p);
    }
}

/* Types of matrices, and where they lie: what is widened is what the blocks say. */
static void reads_blocks(void **state)
{
    (void) state;
    static const fdec_type types[] = {FDEC_BF16, FDEC_Q8_0, FDEC_Q4_0, FDEC_Q4_K};
    struct err e = {""};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        size_t n, n_wide;
        unsigned char *p = tiny_gguf((struct tiny_options){.large = true, .type = types[i]}, &n),
                      *wide =
                          tiny_gguf((struct tiny_options){.large = true, .type = types[i], .widened = true}, &n_wide);
        struct gguf g, g_wide;
        struct model m, m_wide;
        assert_true(gguf_parse(&g, p, n, &e) && gguf_parse(&g_wide, wide, n_wide, &e));
        assert_true(model_open(&m, &g, TINY_PIECE_0 + TINY_N_PIECES, &e));
        assert_true(model_open(&m_wide, &g_wide, TINY_PIECE_0 + TINY_N_PIECES, &e));
        const struct weight *w = &m.layers[1].w[W_DOWN], *f = &m_wide.layers[1].w[W_DOWN];
        assert_true(w->type == types[i] && f->type == FDEC_F32 && m.embd.type == types[i]);
        assert_true(m.out_norm.type == FDEC_F32 && w->n == 256 && w->k == 256);
        assert_int_equal(w->tensor->n_bytes, type_bytes(types[i], 65536));
        for (size_t k = 0; k < 65536; k++)
            assert_true(ref_dequant(w->type, w->tensor->data, k) == ref_dequant(FDEC_F32, f->tensor->data, k));
        model_close(&m), model_close(&m_wide);
        gguf_close(&g), gguf_close(&g_wide);
        free(p), free(wide);
    }
}

static void reads_every_type(void **state)
{
    (void) state;
    static const struct {
        uint32_t type;
        unsigned char bytes[8];
        int64_t want; /* -1: no integer in 0..1e6 */
    } cases[] = {
        {GGUF_U8, {200}, 200},
        {GGUF_I8, {100}, 100},
        {GGUF_I8, {200}, -1},
        {GGUF_U16, {1, 1}, 257},
        {GGUF_I16, {255, 255}, -1},
        {GGUF_U32, {5}, 5},
        {GGUF_I32, {6}, 6},
        {GGUF_F32, {0, 0, 128, 63}, -1},
        {GGUF_BOOL, {1}, 1},
        {GGUF_U64, {7}, 7},
        {GGUF_I64, {8}, 8},
        {GGUF_F64, {0}, -1},
        {GGUF_U64, {0, 0, 0, 0, 1}, -1},
    };
    static const size_t sizes[] = {
        [GGUF_U8] = 1,  [GGUF_I8] = 1,   [GGUF_U16] = 2, [GGUF_I16] = 2, [GGUF_U32] = 4, [GGUF_I32] = 4,
        [GGUF_F32] = 4, [GGUF_BOOL] = 1, [GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_F64] = 8};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        unsigned char file[64] =
            "GGUF\3\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0k"; /* no tensor, one key "k" */
        memcpy(file + 33, &cases[i].type, 4);
        memcpy(file + 37, cases[i].bytes, sizes[cases[i].type]);
        unsigned char *p = copy(file, 37 + sizes[cases[i].type]);
        struct gguf g;
        struct err e = {""};
        uint32_t u = 0;
        assert_true(gguf_parse(&g, p, 37 + sizes[cases[i].type], &e));
        assert_int_equal(gguf_uint(&g, "k", 0, 1000000, &u, &e), cases[i].want >= 0);
        if (cases[i].want >= 0)
            assert_int_equal(u, cases[i].want);
        else
            assert_true(e.text[0] != 0);
        gguf_close(&g);
        free(p);
    }
}

static void refuses_every_truncation(void **state)
{
    (void) state;
    size_t n;
    unsigned char *p = tiny_gguf((struct tiny_options){.type = FDEC_F16}, &n);
    const size_t header = n - 16 * 1024; /* all of the metadata; data ends are taken in steps */
    for (size_t cut = 0; cut < n; cut += cut < header ? 1 : 61) {
        unsigned char *q = copy(p, cut);
        struct err e = {""};
        assert_false(load(q, cut, &e));
        assert_true(e.text[0] != 0);
        assert_null(strchr(e.text, '\n'));
        free(q);
    }
    struct err e = {""};
    assert_true(load(p, n, &e));
    free(p);
}

/* Where in the file a key's value, or a tensor's fields, begin. */
static size_t after(const unsigned char *p, size_t n, const char *name)
{
    const size_t len = strlen(name);
    for (size_t i = 0; i + len <= n; i++)
        if (memcmp(p + i, name, len) == 0)
            return i + len;
    fail_msg("%s is not in the file", name);
    return 0;
}

static void refuses_damage(void **state)
{
    (void) state;
    static const struct {
        const char *name; /* after it ... */
        int skip;         /* ... and this many bytes */
        int n_bytes;
        uint64_t value;
        const char *message; /* part of it */
    } cases[] = {
        {"GGU", 0, 1, 'g', "does not start with"},
        {"GGUF", 0, 4, 2, "version 2"},
        {"GGUF", 0, 4, 0x03000000, "version 50331648"},
        {"GGUF", 4, 8, UINT64_MAX, "tensors cannot be"},
        {"GGUF", 4, 8, 20, "\"blk.1.ffn_down.weight\" is missing"},
        {"GGUF", 12, 8, UINT64_MAX, "metadata entries cannot be"},
        {"general.architecture", 0, 4, 99, "type 99"},
        {"general.architecture", 4, 8, UINT64_MAX - 3, "ends inside a metadata string"},
        {"general.alignment", 4, 4, 0, "general.alignment\" is 0"},
        {"general.alignment", 4, 4, 24, "no power of two"},
        {"general.alignment", 4, 4, 1u << 31, "general.alignment"},
        {"llama.context_length", 4, 4, 0, "llama.context_length\" is 0"},
        {"llama.context_length", 4, 4, UINT32_MAX, "llama.context_length"},
        {"llama.embedding_length", 4, 4, 17, "no multiple"},
        {"llama.embedding_length", 4, 4, 32, "shape"},
        {"llama.embedding_length", 0, 4, GGUF_F32, "no integer"},
        {"llama.block_count", 4, 4, 3, "too few"},
        {"llama.block_count", 4, 4, 1, "nothing this program knows"},
        {"llama.feed_forward_length", 4, 4, 25, "shape"},
        {"llama.attention.head_count", 4, 4, 0, "head_count\" is 0"},
        {"llama.attention.head_count_kv", 4, 4, 3, "no multiple"},
        {"llama.attention.head_count_kv", 4, 4, 2, "shape"},
        {"llama.attention.layer_norm_rms_epsilon", 4, 4, 0x7f800000, "no finite float"},
        {"llama.attention.layer_norm_rms_epsilon", 4, 4, 0xbf800000, "is -1"},
        {"flashdec.nested", 4, 4, 13, "type 13"},
        {"flashdec.nested", 8, 8, UINT64_MAX / 12, "longer than the file"},
        {"tokenizer.ggml.tokens", 4, 4, GGUF_ARRAY, ""},
        {"tokenizer.ggml.tokens", 8, 8, UINT64_MAX, "longer than the file"},
        {"tokenizer.ggml.tokens", 16, 8, UINT64_MAX, "ends inside a string"},
        {"tokenizer.ggml.scores", 4, 4, GGUF_I32, "right type"},
        {"tokenizer.ggml.token_type", 16, 4, 0, "token_type of token 0"},
        {"tokenizer.ggml.token_type", 16, 4, 6, "byte token"},
        {"output_norm.weight", 0, 4, 0, "0 dimensions"},
        {"output_norm.weight", 0, 4, 5, "5 dimensions"},
        {"output_norm.weight", 4, 8, 0, "dimension 0 is 0"},
        {"output_norm.weight", 4, 8, UINT64_MAX, "size overflows"},
        {"output_norm.weight", 4, 8, UINT64_MAX / 4, "pass the end"},
        {"output_norm.weight", 4, 8, 15, "shape"},
        {"output_norm.weight", 12, 4, 4, "type 4"},
        {"output_norm.weight", 12, 4, 2, "no multiple of Q4_0's block"},
        {"output_norm.weight", 12, 4, 30, "type BF16, vectors must be F32"},
        {"token_embd.weight", 20, 4, 25, "type I16, which cannot be run"},
        {"output_norm.weight", 16, 8, 16, "no multiple of the alignment"},
        {"output_norm.weight", 16, 8, UINT64_MAX - 31, "pass the end"},
        {"output_norm.weigh", 0, 1, 'x', "missing"},
        {"token_embd.weigh", 0, 1, 'x', "missing"},
        {"blk.1.ffn_dow", 0, 1, 'x', "missing"},
        {"blk.0.attn_q", -1, 1, 'k', "tensor \"blk.0.attn_k.weight\" is there twice"},
        {"tokenizer.ggml.scores", -6, 6, 0x736e656b6f74, "key \"tokenizer.ggml.tokens\" is there twice"},
    };
    size_t n;
    unsigned char *p = tiny_gguf((struct tiny_options){.tied = false}, &n);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        unsigned char *q = copy(p, n);
        memcpy(q + after(p, n, cases[i].name) + cases[i].skip, &cases[i].value, (size_t) cases[i].n_bytes);
        struct err e = {""};
        if (load(q, n, &e))
            fail_msg("case %zu (%s) was not refused", i, cases[i].name);
        if (!strstr(e.text, cases[i].message))
            fail_msg("case %zu (%s): \"%s\" says nothing of \"%s\"", i, cases[i].name, e.text, cases[i].message);
        free(q);
    }
    free(p);
}

static void refuses_deep_nesting(void **state)
{
    (void) state;
    enum { DEPTH = 100000 };
    const size_t n = 24 + 9 + 4 + 12 * DEPTH;
    unsigned char *p = calloc(1, n);
    assert_non_null(p);
    memcpy(p, "GGUF\3\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0k\11\0\0\0", 37);
    for (size_t i = 0; i < DEPTH; i++) {
        p[37 + 12 * i] = GGUF_ARRAY;
        p[37 + 12 * i + 4] = 1;
    }
    struct gguf g;
    struct err e = {""};
    assert_false(gguf_parse(&g, p, n, &e));
    assert_non_null(strstr(e.text, "nested"));
    free(p);
}

/* Random damage, mostly to the metadata: anything may come out but a crash. */
static void survives_random_damage(void **state)
{
    (void) state;
    size_t n, refused = 0;
    unsigned char *p = tiny_gguf((struct tiny_options){.tied = true, .type = FDEC_F16}, &n);
    const size_t header = n - 16 * 1024;
    uint64_t random = 20240229;
    for (int round = 0; round < 20000; round++) {
        unsigned char *q = copy(p, n);
        const int n_hits = 1 + round % 4;
        for (int i = 0; i < n_hits; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            const size_t at = (size_t) (random >> 33) % header;
            q[at] = (random >> 20) & 1 ? (unsigned char) (random >> 24)
                                       : (unsigned char) (q[at] ^ 1u << ((random >> 24) & 7));
        }
        struct err e = {""};
        refused += !load(q, n, &e);
        free(q);
    }
    assert_true(refused > 1000); /* much of the metadata is texts and scores, which may be anything */
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_right_file),     cmocka_unit_test(reads_blocks),
        cmocka_unit_test(reads_every_type),       cmocka_unit_test(refuses_every_truncation),
        cmocka_unit_test(refuses_damage),         cmocka_unit_test(refuses_deep_nesting),
        cmocka_unit_test(survives_random_damage),
    };
    return cmocka_run_group_tests_name("gguf", tests, NULL, NULL);
}
