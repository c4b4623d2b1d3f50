/* SPDX-License-Identifier: MIT
 * unit_table.c - tables: round trips, hostile files, crossings */
#define _GNU_SOURCE
#include "select.h"
#include "scratch.h"
#include "util.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

/* ---- a small table with everything in it ---- */

static const struct table_entry sample_entries[] = {
    {.class_text = "attn:f16 h=8/2 d=64",
     .lo = {1, 1},
     .hi = {2, 512},
     .kernel = "attn/some",
     .rev = 3,
     .family = "unified",
     .n_config = 2,
     .config = {{"VEC", 16}, {"TILE", 8}},
     .point = {1, 256},
     .median_us = 12.345,
     .ci95_us = 0.5,
     .samples = 9,
     .default_us = 20,
     .error_ratio = 0.25},
    {.class_text = "attn:f16 h=8/2 d=64",
     .lo = {1, 512},
     .hi = {2, INT64_MAX},
     .kernel = "attn/other",
     .rev = 1,
     .family = "pair",
     .point = {1, 4096},
     .median_us = 100,
     .ci95_us = 2,
     .samples = 9,
     .default_us = 100,
     .error_ratio = 1},
    {.class_text = "linear:f32 n=64 k=172",
     .lo = {1, 1},
     .hi = {3, 2},
     .kernel = "linear/some",
     .rev = 1,
     .family = "gemv",
     .n_config = 1,
     .config = {{"ROWS", 4}},
     .point = {1, 1},
     .median_us = 5,
     .ci95_us = 0.1,
     .samples = 15,
     .default_us = 6,
     .error_ratio = 0.01,
     .family_us = {5, 7, 0}},
    {.class_text = "linear:f32 n=64 k=172",
     .lo = {3, 1},
     .hi = {32, 2},
     .kernel = "linear/flat",
     .rev = 1,
     .family = "flat",
     .point = {4, 1},
     .median_us = 8,
     .ci95_us = 0.1,
     .samples = 15,
     .default_us = 8,
     .error_ratio = 0.01,
     .family_us = {9, 8, 40},
     .holdout = {{12, 1}, 11, 10.5}},
    {.class_text = "linear:f32 n=64 k=172",
     .lo = {32, 1},
     .hi = {INT64_MAX, 2},
     .kernel = "linear/big",
     .rev = 1,
     .family = "gemm",
     .point = {64, 1},
     .median_us = 50,
     .ci95_us = 0.1,
     .samples = 15,
     .default_us = 60,
     .error_ratio = 0.01,
     .family_us = {0, 60, 50}},
    {.class_text = "softmax:f32 cols=512",
     .lo = {1, 1},
     .hi = {9, 2},
     .kernel = "softmax/x",
     .rev = 1,
     .family = "online",
     .point = {1, 1},
     .median_us = 3,
     .samples = 9,
     .error_ratio = 0.5},
};

static const struct table_device sample_device = {
    .name = "Some Device",
    .vendor = "Some Vendor",
    .driver = "1.2",
    .platform = "Some \"Platform\\",
    .architecture = "some",
    .vendor_id = 0xfeed1234,
    .cpu = true,
    .compute_units = 4,
    .local_bytes = 32768,
    .read_gbps = 31.5,
    .launch_us = 2.25,
};

/* reversed: the same content in another order. */
static struct table *sample(bool reversed)
{
    const int n = (int) ARRAY_LEN(sample_entries);
    struct table *t = calloc(1, sizeof *t);
    assert_non_null(t);
    t->path = strdup("sample");
    strcpy(t->tuner_version, "0.1.0");
    t->seed = 42;
    t->complete = true;
    t->device = sample_device;
    t->n_entries = n;
    t->entries = calloc((size_t) n, sizeof *t->entries);
    t->denied = calloc(3, sizeof *t->denied);
    t->n_denied = 3;
    t->sources = calloc(2, sizeof *t->sources);
    t->n_sources = 2;
    for (int i = 0; i < 2; i++)
        t->sources[reversed ? 1 - i : i] = (struct table_source){
            .hash = 0xabc + (uint64_t) i, .tuner_version = "0.0.9", .seed = 7, .n_entries = 3 + i, .complete = true};
    for (int i = 0; i < n; i++)
        t->entries[i] = sample_entries[reversed ? n - 1 - i : i];
    for (int i = 0; i < 2; i++)
        t->denied[i] = (struct table_denied){
            .kernel = "attn/bad", .rev = (uint32_t) (reversed ? 2 - i : 1 + i), .reason = "wrong"};
    t->denied[2] = (struct table_denied){.kernel = "linear/flat",
                                         .rev = 1,
                                         .class_text = "linear:f32 n=64 k=172",
                                         .n_config = 2,
                                         .config = {{"MR", 4}, {"NR", 6}},
                                         .reason = "crash"};
    if (reversed) {
        t->denied[2].config[0] = (struct table_value){"NR", 6};
        t->denied[2].config[1] = (struct table_value){"MR", 4};
        struct table_entry *e = &t->entries[n - 1];
        e->config[0].value = 8, strcpy(e->config[0].name, "TILE");
        e->config[1].value = 16, strcpy(e->config[1].name, "VEC");
    }
    assert_int_equal(table_derive_crossings(t), FDEC_OK);
    return t;
}

__attribute__((noinline)) /* inlined, GCC 12 takes the result for a pointer to the local variable */
static char *
print(struct table *t)
{
    char *text;
    size_t n;
    if (table_print(t, &text, &n) != FDEC_OK)
        fail_msg("%s", fdec_last_error());
    assert_int_equal(strlen(text), n);
    return text;
}

static char *sample_text(void)
{
    struct table *t = sample(false);
    char *text = print(t);
    table_destroy(&t);
    return text;
}

static struct table *parse(const char *text)
{
    struct table *t;
    if (table_parse(text, strlen(text), "test", &t) != FDEC_OK)
        fail_msg("%s", fdec_last_error());
    return t;
}

/* ---- round trips ---- */

static void a_table_comes_back_as_it_was(void **state)
{
    struct table *t = sample(false);
    char *text = print(t), *again;
    (void) state;
    struct table *back = parse(text);
    assert_string_equal(back->path, "test");
    assert_string_equal(back->tuner_version, "0.1.0");
    assert_true(back->seed == 42 && back->complete && !back->modelled);
    assert_int_equal(back->n_entries, t->n_entries);
    assert_memory_equal(back->entries, t->entries, (size_t) t->n_entries * sizeof *t->entries);
    assert_int_equal(back->n_crossings, 1);
    assert_memory_equal(back->crossings, t->crossings, sizeof *t->crossings);
    assert_int_equal(back->n_sources, 2);
    assert_memory_equal(back->sources, t->sources, 2 * sizeof *t->sources);
    assert_int_equal(back->n_denied, 3);
    assert_memory_equal(back->denied, t->denied, 3 * sizeof *t->denied);
    assert_string_equal(back->device.platform, "Some \"Platform\\");
    assert_true(back->device.vendor_id == 0xfeed1234 && back->device.cpu && back->device.read_gbps == 31.5 &&
                back->device.launch_us == 2.25 && back->device.local_bytes == 32768);
    assert_int_equal(back->entries[0].op, OP_ATTN);
    assert_string_equal(back->entries[0].config[0].name, "TILE"); /* sorted */
    again = print(back);
    assert_string_equal(again, text);
    free(again);
    free(text);
    table_destroy(&back);
    table_destroy(&t);
}

static void the_same_content_is_the_same_file(void **state)
{
    struct table *t = sample(true);
    char *a = sample_text(), *b = print(t), *c = print(t);
    (void) state;
    assert_string_equal(a, b);
    assert_string_equal(a, c);
    int lines = 0;
    for (const char *s = a; *s; s++)
        lines += *s == '\n';
    assert_int_equal(lines, 2 + 4 * 2 + 2 + 6 + 1 + 3); /* head, device; four lists, opened and closed; their items */
    assert_int_equal(a[strlen(a) - 1], '\n');
    free(a), free(b), free(c);
    table_destroy(&t);
}

static void an_empty_table_is_a_table(void **state)
{
    struct table t = {.device = sample_device, .tuner_version = "0"};
    char *text = print(&t);
    struct table *back = parse(text);
    (void) state;
    assert_int_equal(back->n_entries + back->n_crossings + back->n_denied, 0);
    table_destroy(&back);
    free(text);
}

/* ---- hostile texts ---- */

static void refused(const char *text, size_t n, const char *why)
{
    struct table *t = (struct table *) &t;
    assert_int_equal(table_parse(text, n, "test", &t), FDEC_E_DATA);
    assert_null(t);
    assert_non_null(strstr(fdec_last_error(), "test"));
    if (!strstr(fdec_last_error(), why))
        fail_msg("refused, but not for \"%s\": %s", why, fdec_last_error());
}

static void cut_anywhere(void **state)
{
    char *text = sample_text();
    (void) state;
    for (size_t n = 0; n + 2 <= strlen(text); n++) { /* the last newline may go */
        char *exact = malloc(n + 1);                 /* so that a read past the end is seen */
        memcpy(exact, text, n);
        refused(exact, n, "");
        free(exact);
    }
    free(text);
}

/* Whatever a byte is made into: refused, or the same content: all but the head's values. */
static void any_byte_changed(void **state)
{
    static const char bytes[] = {'0', '9', '-', '.', 'e', '"', '\\', '{',
                                 '}', '[', ']', ',', ' ', 0,   '\n', (char) 0xff};
    char *text = sample_text();
    const size_t n = strlen(text);
    struct table *t = parse(text);
    uint64_t hash, other;
    (void) state;
    assert_int_equal(table_hash(t, &hash), FDEC_OK);
    table_destroy(&t);
    for (size_t i = 0; i < n; i++) {
        const char was = text[i];
        text[i] = bytes[i % sizeof bytes];
        if (table_parse(text, n, "test", &t) == FDEC_OK) {
            assert_int_equal(table_hash(t, &other), FDEC_OK);
            assert_true(hash == other);
            table_destroy(&t);
        }
        text[i] = was;
    }
    free(text);
}

/* The sample with the first `from` made `to`. */
static char *edited(const char *text, const char *from, const char *to)
{
    const char *at = strstr(text, from);
    if (!at)
        fail_msg("the sample has no %s", from);
    char *out = malloc(strlen(text) + strlen(to) + 1);
    sprintf(out, "%.*s%s%s", (int) (at - text), text, to, at + strlen(from));
    return out;
}

/* One edit of a good table each, and a word that the refusal must have. */
static const struct {
    const char *from, *to, *why;
} lies[] = {
    {"\"flashdec-table\"", "\"another\"", "no flashdec-table"},
    {"\"version\":1", "\"version\":2", "version 2"},
    {"\"version\":1", "\"version\":\"1\"", "no flashdec-table"},
    {"\"seed\":42", "\"seed\":42,\"seed\":42", "duplicate"},
    {"\"seed\":42", "\"seed\":-1", "seed"},
    {"\"seed\":42", "\"seed\":4.5", "integer"},
    {"\"seed\":42", "\"seed\":9223372036854775808", "integer"},
    {"\"seed\":42", "\"seed\":1e400", "number"},
    {"\"seed\":42", "\"seed\":NaN", "invalid"},
    {"\"seed\":42,", "", "seed"},
    {"\"seed\":42", "\"seed\":42,\"sed\":1", "sed"},
    {"\"complete\":true", "\"complete\":1", "true or false"},
    {"\"hash\":\"", "\"hash\":\"0", "hash"},
    {"\"entries\":[", "\"entries\":[[],", "entries[0]"},
    {"\"entries\":[", "\"entries\":[],\"x\":[", "x"},
    {"\"compute_units\":4", "\"compute_units\":0", "compute_units"},
    {"\"compute_units\":4", "\"compute_units\":-4", "compute_units"},
    {"\"compute_units\":4", "\"compute_units\":99999999999", "compute_units"},
    {"\"compute_units\":4", "\"compute_units\":5", "hash"},
    {"\"vendor_id\":4276949556", "\"vendor_id\":4294967296", "vendor_id"},
    {"\"Some Device\"", "\"\"", "printable"},
    {"\"Some Device\"", "\"Some\\nDevice\"", "printable"},
    {"\"Some Device\"", "\"Some\xc3\xa9\"", "printable"},
    {"\"Some Device\"", "\"Some\\u0000Device\"", "NUL"},
    {"\"Some Device\"", "[\"Some Device\"]", "device"},
    {"\"read_mbps\":31500", "\"read_mbps\":9999999999999", "read_mbps"},
    {"\"class\":\"attn:f16 h=8/2 d=64\"", "\"class\":\"attn:f16 h=8/2\"", "class"},
    {"\"class\":\"attn:f16 h=8/2 d=64\"", "\"class\":\"attn:f16 d=64 h=8/2\"", "class"},
    {"\"class\":\"attn:f16 h=8/2 d=64\"", "\"class\":\"attn:f16 b=1 h=8/2 d=64\"", "class"},
    {"{\"b\":[1,2]", "{\"b\":[0,2]", "range"},
    {"{\"b\":[1,2]", "{\"b\":[2,2]", "range"},
    {"{\"b\":[1,2]", "{\"b\":[2,1]", "range"},
    {"{\"b\":[1,2]", "{\"b\":[1,4294967296]", "range"},
    {"{\"b\":[1,2]", "{\"b\":[1,2,3]", "range"},
    {"{\"b\":[1,2]", "{\"b\":[1]", "range"},
    {"{\"b\":[1,2]", "{\"b\":1", "range"},
    {"{\"b\":[1,2]", "{\"b\":[null,2]", "range"},
    {"{\"b\":[1,2]", "{\"b\":[1,2.0]", "range"},
    {"{\"b\":[1,2]", "{\"c\":[1,2]", "range"},
    {"{\"b\":[1,2]", "{\"rows\":[1,2],\"b\":[1,2]", "range"},
    {"\"at\":{\"b\":1,\"n\":256}", "\"at\":{\"b\":1,\"n\":512}", "outside the range"},
    {"\"at\":{\"b\":1,\"n\":256}", "\"at\":{\"b\":1}", "range"},
    {"\"attn/some\"", "\"linear/some\"", "kernel"},
    {"\"attn/some\"", "\"attn/some -DX\"", "kernel"},
    {"\"attn/some\"", "\"attn/../../x\"", "kernel"},
    {"\"rev\":3", "\"rev\":-3", "rev"},
    {"\"rev\":3", "\"rev\":4294967296", "rev"},
    {"\"TILE\":8", "\"tile\":8", "configuration"},
    {"\"TILE\":8", "\"TILE -DX\":8", "configuration"},
    {"\"TILE\":8", "\"VEC\":8", "duplicate"},
    {"\"TILE\":8", "\"TILE\":\"8\"", "config"},
    {"\"TILE\":8", "\"TILE\":2147483648", "TILE"},
    {"\"TILE\":8", "\"A\":1,\"B\":1,\"C\":1,\"D\":1,\"E\":1,\"F\":1,\"G\":1,\"TILE\":8", "config"},
    {"\"TILE\":8", "\"A_NAME_THAT_IS_LONGER_THAN_ALLOWED\":8", "longer"},
    {"\"median_ns\":12345", "\"median_ns\":0", "time"},
    {"\"median_ns\":12345", "\"median_ns\":-5", "median_ns"},
    {"\"median_ns\":12345", "\"median_ns\":9000000000000000000", "median_ns"},
    {"\"median_ns\":12345", "\"median_ns\":12346", "hash"},
    {"\"median_ns\":12345", "\"median_ns\":12345,\"median_us\":12", "median_us"},
    {"\"samples\":9", "\"samples\":0", "samples"},
    {"\"error_ppm\":250000", "\"error_ppm\":1000001", "error_ppm"},
    {"\"family\":\"gemv\"", "\"family\":\"gem\"", "family"},
    {"\"family\":\"unified\"", "\"family\":\"\"", "family"},
    {"\"gemv\":5000", "\"gemv\":0", "family_ns"},
    {"\"gemv\":5000", "\"gemx\":5000", "gemv"},
    {",\"family_ns\":{\"gemv\":5000,\"flat\":7000,\"gemm\":0}", "", "family_ns"},
    {"\"error_ppm\":250000", "\"error_ppm\":250000,\"family_ns\":{\"gemv\":1,\"flat\":1,\"gemm\":1}", "family_ns"},
    {"\"holdout\":{\"at\":{\"m\":12}", "\"holdout\":{\"at\":{\"m\":32}", "outside the range"},
    {"\"holdout\":{\"at\":{\"m\":12}", "\"holdout\":{\"at\":{\"m\":12,\"b\":1}", "holdout"},
    {"\"holdout\":{\"at\":{\"m\":12}", "\"holdout\":{\"at\":{\"m\":\"12\"}", "holdout"},
    {"\"best_ns\":10500", "\"best_ns\":11001", "less than the best"},
    {"\"best_ns\":10500", "\"best_ns\":0", "hold-out"},
    {"\"median_ns\":11000", "\"median_ns\":0", "median_ns is 0"},
    {"{\"b\":[1,2],\"n\":[1,512]}", "{\"b\":[1,2],\"n\":[1,513]}", "overlaps"},
    {"{\"b\":[1,2],\"n\":[512,null]}", "{\"b\":[1,2],\"n\":[1,null]}", "overlaps"},
    {"\"m\":[1,3]", "\"m\":[1,4]", "overlaps"},
    {"\"m1\":3", "\"m1\":4", "crossings[0]"},
    {"\"m2\":32", "\"m2\":0", "crossings[0]"},
    {"\"max_m\":64", "\"max_m\":65", "crossings[0]"},
    {"\"m1_gemv_ns\":9000", "\"m1_gemv_ns\":9001", "crossings[0]"},
    {"\"m2_gemm_ns\":50000", "\"m2_gemm_ns\":-1", "m2_gemm_ns"},
    {"\"crossings\":[", "\"crossings\":[],\"deny\":[],\"deny\":[", "duplicate"},
    {"\"attn/bad\"", "\"bad\"", "deny[0]"},
    {"\"rev\":1,\"reason\"", "\"rev\":2,\"reason\"", "deny[1]"},
    {"\"reason\":\"wrong\"", "\"reason\":\"\"", "deny[0]"},
    {"\"rev\":1,\"class\":\"linear:f32 n=64", "\"rev\":1,\"class\":\"linear:f32 n=-4",
     "deny[2]: the class is no class"},
    {"\"config\":{\"MR\":4,\"NR\":6}", "\"config\":{\"MR\":4,\"nr\":6}", "deny[2]: the configuration"},
    {"\"config\":{\"MR\":4,\"NR\":6}", "\"config\":{\"MR\":4,\"MR\":6}", "duplicate"},
    {"\"config\":{\"MR\":4,\"NR\":6}", "\"config\":[4,6]", "config"},
    {"\"hash\":\"0000000000000abc\"", "\"hash\":\"abc\"", "merged_from[0]: hash"},
    {"\"hash\":\"0000000000000abc\"", "\"hash\":\"0000000000000aBc\"", "merged_from[0]: hash"},
    {"\"hash\":\"0000000000000abc\"", "\"hash\":\"0000000000000abd\"", "merged_from[1]: not sorted, or twice"},
    {"\"hash\":\"0000000000000abc\"", "\"hash\":\"0000000000000abe\"", "merged_from[1]: not sorted, or twice"},
    {"\"tuner_version\":\"0.0.9\"", "\"tuner_version\":\"\\n\"", "merged_from[0]: a value"},
    {"\"seed\":7", "\"seed\":-7", "merged_from[0]: seed"},
    {"\"entries\":3", "\"entries\":-3", "merged_from[0]: entries"},
    {"\"entries\":3", "\"entries\":4", "hash"},
    {"\"entries\":3,", "", "merged_from[0]"},
    {"\"merged_from\":[", "\"merged_from\":{},\"x\":[", "x"},
    {"\n]}\n", "\n]}\n{}", "end of file"},
};

static void each_lie_is_named(void **state)
{
    char *text = sample_text();
    (void) state;
    for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
        char *bad = edited(text, lies[i].from, lies[i].to);
        refused(bad, strlen(bad), lies[i].why);
        free(bad);
    }
    free(text);
}

static void entries_out_of_order(void **state)
{
    char *text = sample_text(), *line = strstr(text, "{\"class\":\"attn"), *next = strstr(line, "\n") + 1;
    char *after = strstr(next, "\n") + 1;
    const size_t a = (size_t) (next - line), b = (size_t) (after - next);
    char *swapped = strdup(text);
    (void) state;
    memcpy(swapped + (line - text), next, b);
    memcpy(swapped + (line - text) + b, line, a);
    refused(swapped, strlen(swapped), "not sorted");
    free(swapped);
    free(text);
}

/* n times open, text, n times close. */
static char *nested(size_t n, char open, char close)
{
    char *s = malloc(2 * n + 1);
    memset(s, open, n);
    memset(s + n, close, n);
    s[2 * n] = 0;
    return s;
}

static void floods(void **state)
{
    char *text;
    (void) state;
    for (size_t n = TABLE_MAX_DEPTH + 1; n < 1000000; n *= 10) {
        text = nested(n, '[', ']');
        refused(text, 2 * n, "nested");
        free(text);
    }
    const size_t size = (size_t) 9 << 20;
    text = malloc(size);
    memset(text, ' ', size);
    refused(text, size, "limit");
    for (size_t i = 0; i + 2 < TABLE_MAX_BYTES; i += 3)
        memcpy(text + i, "{},", 3);
    refused(text, TABLE_MAX_BYTES, "too many");
    for (size_t i = 0; i + 1 < TABLE_MAX_BYTES; i += 2)
        memcpy(text + i, "1,", 2);
    refused(text, TABLE_MAX_BYTES, "too many");
    memset(text, '"', TABLE_MAX_BYTES);
    refused(text, TABLE_MAX_BYTES, "");
    memset(text, '\\', TABLE_MAX_BYTES);
    text[0] = '"';
    refused(text, TABLE_MAX_BYTES, "");
    free(text);
}

static void files_that_are_no_table(void **state)
{
    static const char *const names[] = {"missing", "link", "fifo", "big", "."};
    char *text = sample_text(), *big = calloc(1, (size_t) 9 << 20), target[128];
    struct table *t;
    (void) state;
    snprintf(target, sizeof target, "%s", in_dir("good"));
    assert_int_equal(file_write_atomic(target, text, strlen(text), 0644), FDEC_OK);
    assert_int_equal(file_write_atomic(in_dir("big"), big, (size_t) 9 << 20, 0644), FDEC_OK);
    assert_int_equal(symlink(target, in_dir("link")), 0);
    assert_int_equal(mkfifo(in_dir("fifo"), 0600), 0);
    alarm(20); /* a read that waits for a writer ends the test */
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        assert_int_equal(table_read(in_dir(names[i]), &t), FDEC_E_DATA);
        assert_null(t);
        assert_non_null(strstr(fdec_last_error(), in_dir(names[i])));
    }
    alarm(0);
    assert_int_equal(table_read(target, &t), FDEC_OK);
    assert_string_equal(t->path, target);
    table_destroy(&t);
    free(big);
    free(text);
}

static void what_is_not_a_table_is_not_written(void **state)
{
    struct table *t = sample(false);
    char path[128], *text, *before = sample_text();
    size_t n;
    (void) state;
    snprintf(path, sizeof path, "%s", in_dir("written"));
    assert_int_equal(table_write(t, path), FDEC_OK);
    t->entries[0].median_us = 0.0 / 0.0;
    assert_int_equal(table_write(t, path), FDEC_E_DATA);
    assert_non_null(strstr(fdec_last_error(), "entries[0]"));
    t->entries[0] = sample_entries[0];
    t->crossings[0].m1++;
    assert_int_equal(table_write(t, path), FDEC_E_DATA);
    t->crossings[0].m1--;
    t->seed = (uint64_t) INT64_MAX + 1;
    assert_int_equal(table_write(t, path), FDEC_E_DATA);
    assert_int_equal(file_read(path, TABLE_MAX_BYTES, &text, &n), FDEC_OK);
    assert_string_equal(text, before); /* the good one is still there */
    free(text);
    free(before);
    table_destroy(&t);
}

/* ---- crossings ---- */

/* One entry a letter, M = 1, 2, ...: v gemv, f flat, g gemm. Gives M1 and M2. */
static void crossing_of(const char *winners, int64_t m1, int64_t m2)
{
    struct table t = {.device = sample_device, .tuner_version = "0", .n_entries = (int) strlen(winners)};
    t.entries = calloc(strlen(winners), sizeof *t.entries);
    for (int i = 0; i < t.n_entries; i++) {
        struct table_entry *e = &t.entries[i];
        *e = sample_entries[2];
        strcpy(e->family, winners[i] == 'v' ? "gemv" : winners[i] == 'f' ? "flat" : "gemm");
        e->lo[0] = e->point[0] = i + 1;
        e->hi[0] = i + 2;
        for (int f = 0; f < N_FAMILIES; f++)
            e->family_us[f] = 10 * (i + 1) + f;
    }
    assert_int_equal(table_derive_crossings(&t), FDEC_OK);
    assert_int_equal(t.n_crossings, 1);
    const struct table_crossing *c = t.crossings;
    if (c->m1 != m1 || c->m2 != m2)
        fail_msg("%s: m1 %d m2 %d", winners, (int) c->m1, (int) c->m2);
    assert_int_equal(c->max_m, strlen(winners));
    assert_true(c->m1_gemv_us == (m1 ? 10.0 * (double) m1 : 0) && c->m1_flat_us == (m1 ? 10.0 * (double) m1 + 1 : 0));
    assert_true(c->m2_flat_us == (m2 ? 10.0 * (double) m2 + 1 : 0) &&
                c->m2_gemm_us == (m2 ? 10.0 * (double) m2 + 2 : 0));
    assert_int_equal(table_check(&t), FDEC_OK);
    free(t.entries);
    free(t.crossings);
}

static void crossings(void **state)
{
    (void) state;
    crossing_of("v", 0, 0);
    crossing_of("f", 1, 0);
    crossing_of("g", 1, 1);
    crossing_of("vvf", 3, 0);
    crossing_of("vfg", 2, 3);
    crossing_of("vgg", 2, 2);
    crossing_of("vfvfg", 4, 5); /* from which on gemv never wins again */
    crossing_of("vfgfgg", 2, 5);
    crossing_of("vfv", 0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_table_comes_back_as_it_was),
        cmocka_unit_test(the_same_content_is_the_same_file),
        cmocka_unit_test(an_empty_table_is_a_table),
        cmocka_unit_test(cut_anywhere),
        cmocka_unit_test(any_byte_changed),
        cmocka_unit_test(each_lie_is_named),
        cmocka_unit_test(entries_out_of_order),
        cmocka_unit_test(floods),
        cmocka_unit_test(files_that_are_no_table),
        cmocka_unit_test(what_is_not_a_table_is_not_written),
        cmocka_unit_test(crossings),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
