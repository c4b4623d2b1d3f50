/* SPDX-License-Identifier: MIT
 * unit_tokenizer.c - the tokenizer on a vocabulary made for it, and on the real one against the golden text */
#include "tiny_gguf.h"
#include "tokenizer.h"
#include <jansson.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

struct fixture {
    unsigned char *bytes;
    struct gguf g;
    struct tokenizer t;
};

static int open_tiny(void **state)
{
    static struct fixture f;
    struct err e;
    size_t n;
    f.bytes = tiny_gguf((struct tiny_options){.tied = true, .type = FDEC_F16}, &n);
    *state = &f;
    return gguf_parse(&f.g, f.bytes, n, &e) && tokenizer_open(&f.t, &f.g, &e) ? 0 : -1;
}

static int close_tiny(void **state)
{
    struct fixture *f = *state;
    tokenizer_close(&f->t);
    gguf_close(&f->g);
    free(f->bytes);
    return 0;
}

enum { BOS = 1, END = -1, SPACE = TINY_PIECE_0, A, B, C, AB, BC, ABC, SPACE_A, SPACE_ABC, E_ACUTE, USER, SPACE2 };
#define BYTE(b) (TINY_BYTE_0 + (b))

static void encodes(void **state)
{
    const struct fixture *f = *state;
    static const struct {
        const char *text;
        int32_t want[16]; /* BOS in front of each; END after the last */
    } cases[] = {
        {"", {END}},                          /* no text, no space */
        {"a", {SPACE_A, END}},                /* the space in front */
        {"abc", {SPACE_ABC, END}},            /* bc (-5), " a" (-8), then the two */
        {"aabc", {SPACE_A, ABC, END}},        /* bc (-5), " a" (-8), then abc (-20); ab (-10) has lost its b */
        {"b  a", {SPACE, B, SPACE2, A, END}}, /* two spaces: "  " scores -4, before " a" */
        {"\xc3\xa9", {SPACE, E_ACUTE, END}},  /* a character of two bytes */
        {"\xe2\x82\xac", {SPACE, BYTE(0xe2), BYTE(0x82), BYTE(0xac), END}}, /* no token: its bytes */
        {"\xc3", {SPACE, BYTE(0xc3), END}},                                 /* half a character */
        {"\n", {SPACE, BYTE('\n'), END}},
        {"a[U]b", {SPACE_A, USER, B, END}},                     /* user-defined: whole, and no part of a merge */
        {"<s>", {SPACE, BYTE('<'), BYTE('s'), BYTE('>'), END}}, /* control tokens cannot be spelt */
        {"<0x41>", {SPACE, BYTE('<'), BYTE('0'), BYTE('x'), BYTE('4'), BYTE('1'), BYTE('>'), END}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e;
        int32_t *ids;
        uint32_t n, n_want = 0;
        assert_true(tokenizer_encode(&f->t, cases[i].text, strlen(cases[i].text), &ids, &n, &e));
        while (cases[i].want[n_want] != END)
            n_want++;
        assert_int_equal(ids[0], BOS);
        for (uint32_t k = 0; k < n_want && k + 1 < n; k++)
            if (ids[k + 1] != cases[i].want[k])
                fail_msg("\"%s\": token %u is %d, not %d", cases[i].text, k, ids[k + 1], cases[i].want[k]);
        assert_int_equal(n, n_want + 1);
        free(ids);
    }
}

static void decodes(void **state)
{
    const struct fixture *f = *state;
    static const struct {
        int32_t id;
        const char *want;
    } cases[] = {
        {0, " \xe2\x81\x87 "}, {BOS, ""},           {2, ""},        {BYTE('A'), "A"},      {BYTE(0xff), "\xff"},
        {SPACE, " "},          {SPACE_ABC, " abc"}, {SPACE2, "  "}, {E_ACUTE, "\xc3\xa9"}, {USER, "[U]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_true(gguf_str_is(f->t.output[cases[i].id], cases[i].want));
    assert_int_equal(f->t.output[BYTE(0)].n, 1);
    assert_int_equal(f->t.output[BYTE(0)].p[0], 0);
}

/* What is encoded decodes to itself, with the space in front, whatever bytes it has. */
static void round_trip(void **state)
{
    const struct fixture *f = *state;
    static const char alphabet[] = "abc  \n[U]\xc3\xa9\xe2\x96\x82\xff<x";
    uint32_t random = 7;
    for (int round = 0; round < 2000; round++) {
        char text[40], back[64] = "";
        size_t n = 0, n_back = 0;
        for (const int want = 1 + round % 39; n < (size_t) want; n++) {
            random = random * 1664525u + 1013904223u;
            text[n] = alphabet[(random >> 16) % (sizeof alphabet - 1)];
        }
        struct err e;
        int32_t *ids;
        uint32_t n_ids;
        assert_true(tokenizer_encode(&f->t, text, n, &ids, &n_ids, &e));
        for (uint32_t i = 0; i < n_ids; i++) {
            const struct gguf_str s = f->t.output[ids[i]];
            assert_true(n_back + s.n <= sizeof back);
            memcpy(back + n_back, s.p, s.n);
            n_back += s.n;
        }
        assert_int_equal(n_back, n + 1);
        assert_int_equal(back[0], ' ');
        assert_memory_equal(back + 1, text, n);
        free(ids);
    }
}

static void finds_ends_of_characters(void **state)
{
    (void) state;
    static const struct {
        const char *text;
        size_t want;
    } cases[] = {
        {"", 0},
        {"a", 1},
        {"\xc3", 0},
        {"a\xc3", 1},
        {"\xc3\xa9", 2},
        {"\xe2\x82", 0},
        {"\xe2\x82\xac", 3},
        {"\xf0\x9f\x98", 0},
        {"\xf0\x9f\x98\x80", 4},
        {"\x80\x80\x80\x80", 4},
        {"\xff", 1},
        {"\xe2"
         "a",
         2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(utf8_complete(cases[i].text, strlen(cases[i].text)), cases[i].want);
}

/* The story was generated by a model trained on this tokenizer's own output, so encoding its text gives its tokens
 * back. */
static void golden_text(void **state)
{
    (void) state;
    const char *dir = getenv("FLASHDEC_MODELS");
    char path[4096];
    struct gguf g;
    struct tokenizer t;
    struct err e;
    snprintf(path, sizeof path, "%s/stories260K-f32.gguf", dir ? dir : "");
    if (!dir || !gguf_open(&g, path, &e)) {
        print_message("SKIP: FLASHDEC_MODELS names no folder with stories260K-f32.gguf\n");
        skip();
    }
    snprintf(path, sizeof path, "%s/stories260K-golden.json", dir);
    json_t *root = json_load_file(path, 0, NULL), *golden = json_object_get(root, "f32");
    const json_t *want = json_object_get(golden, "greedy_tokens");
    const char *text = json_string_value(json_object_get(golden, "text"));
    assert_non_null(text);
    assert_true(tokenizer_open(&t, &g, &e));
    int32_t *ids;
    uint32_t n;
    assert_true(
        tokenizer_encode(&t, text + 1, strlen(text) - 1, &ids, &n, &e)); /* its leading space is the tokenizer's */
    assert_int_equal(n, json_array_size(want));
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(ids[i], json_integer_value(json_array_get(want, i)));
        assert_memory_equal(t.output[ids[i]].p, text, t.output[ids[i]].n);
        text += t.output[ids[i]].n;
    }
    assert_int_equal(*text, 0);
    json_decref(root);
    free(ids);
    tokenizer_close(&t);
    gguf_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encodes),     cmocka_unit_test(decodes),
        cmocka_unit_test(round_trip),  cmocka_unit_test(finds_ends_of_characters),
        cmocka_unit_test(golden_text),
    };
    return cmocka_run_group_tests_name("tokenizer", tests, open_tiny, close_tiny);
}
