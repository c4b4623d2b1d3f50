/* SPDX-License-Identifier: MIT
 * unit_shapes.c - what is tuned for a preset and for a model file: the matrices in the calls that are made */
#include "tuner.h"
#include "tiny_gguf.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static bool has(const struct shapes *s, const char *class_text)
{
    for (int i = 0; i < s->n; i++)
        if (!strcmp(s->classes[i].text, class_text))
            return true;
    return false;
}

static int n_linear(const struct shapes *s)
{
    int n = 0;
    for (int i = 0; i < s->n; i++)
        n += s->classes[i].op == OP_LINEAR;
    return n;
}

/* These classes of linear layers and no others. */
static void check(const char *what, const char *const *classes, int n)
{
    struct shapes s;
    assert_int_equal(shapes_load(what, &s), FDEC_OK);
    for (int i = 0; i < n; i++)
        if (!has(&s, classes[i]))
            fail_msg("%s: no %s", what, classes[i]);
    assert_int_equal(n_linear(&s), n);
    free(s.classes);
}

static void check_file(struct tiny_options o, const char *const *classes, int n)
{
    char path[] = "/tmp/unit-shapes-XXXXXX";
    size_t size;
    unsigned char *bytes = tiny_gguf(o, &size);
    FILE *f = fdopen(mkstemp(path), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
    check(path, classes, n);
    unlink(path);
    free(bytes);
}

/* Two heads of 8, one kv head; n_embd 16, n_ff 24: Q, K and V have 16 + 8 + 8 rows. */
static void test_file(void **state)
{
    static const char *const classes[] = {"linear:f32 n=32 k=16", "linear:f32 n=16 k=16",
                                          "linear:f32 n=24 k=16 glu=silu", "linear:f32 n=16 k=24",
                                          "linear:f32 n=271 k=16"};
    (void) state;
    check_file((struct tiny_options){.type = FDEC_F32}, classes, ARRAY_LEN(classes));
}

/* Neighbours of another type are calls of their own: f32 are V and gate of the first layer, K and down of the second.
 * The list is what FLASHDEC_RECORD has of a run. */
static void test_mixed_file(void **state)
{
    static const char *const classes[] = {
        "linear:f16 n=24 k=16",          "linear:f32 n=8 k=16",  "linear:f16 n=16 k=16", /* QK, V; Q, O */
        "linear:f16 n=8 k=16",           "linear:f32 n=24 k=16", "linear:f16 n=16 k=24", /* K, V; gate; down */
        "linear:f16 n=24 k=16 glu=silu", "linear:f32 n=16 k=24", "linear:f16 n=271 k=16"};
    (void) state;
    check_file((struct tiny_options){.type = FDEC_F16, .mixed = true}, classes, ARRAY_LEN(classes));
}

/* Each matrix by itself, and those that one call takes. */
static void test_preset(void **state)
{
    static const char *const classes[] = {"linear:q4_0 n=14336 k=4096 glu=silu", "linear:q4_0 n=14336 k=4096",
                                          "linear:q4_0 n=4096 k=14336",          "linear:q4_0 n=6144 k=4096",
                                          "linear:q4_0 n=4096 k=4096",           "linear:q4_0 n=1024 k=4096",
                                          "linear:q4_0 n=128256 k=4096"};
    (void) state;
    check("llama3-8b:q4_0", classes, ARRAY_LEN(classes));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_file), cmocka_unit_test(test_mixed_file),
                                       cmocka_unit_test(test_preset)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
