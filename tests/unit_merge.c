/* SPDX-License-Identifier: MIT
 * unit_merge.c - tables of one device joined: what is taken from which, outliers, provenance */
#include "tuner.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct table_entry entry(int cols, int64_t rows, int vec, double us)
{
    struct table_entry e = {.op = OP_SOFTMAX,
                            .rev = 1,
                            .lo = {rows, 1},
                            .hi = {rows + 1, 2},
                            .point = {rows, 1},
                            .n_config = 1,
                            .config = {{"VEC", vec}},
                            .median_us = us,
                            .ci95_us = 0.01 * us,
                            .samples = 9,
                            .default_us = 10};
    snprintf(e.class_text, sizeof e.class_text, "softmax:f32 cols=%d", cols);
    snprintf(e.kernel, sizeof e.kernel, "softmax/some");
    snprintf(e.family, sizeof e.family, "some");
    return e;
}

static struct table *table_of(uint64_t seed, bool complete, const struct table_entry *entries, int n)
{
    struct table *t = calloc(1, sizeof *t);
    assert_non_null(t);
    t->path = strdup("some.json");
    t->entries = malloc((size_t) n * sizeof *entries);
    assert_non_null(t->entries);
    memcpy(t->entries, entries, (size_t) n * sizeof *entries);
    t->n_entries = n;
    t->seed = seed;
    t->complete = complete;
    snprintf(t->tuner_version, sizeof t->tuner_version, "0.1.0");
    t->device = (struct table_device){.name = "some",
                                      .vendor = "some",
                                      .driver = "1",
                                      .platform = "some",
                                      .architecture = "some",
                                      .compute_units = 2,
                                      .read_gbps = (double) seed};
    return t;
}
#define TABLE(seed, complete, ...)                                                                                     \
    table_of(seed, complete, (const struct table_entry[]){__VA_ARGS__},                                                \
             sizeof((const struct table_entry[]){__VA_ARGS__}) / sizeof(struct table_entry))

static struct table *merged(struct table *const *tables, int n, bool by_order, FILE *told)
{
    struct table *out = NULL;
    if (table_merge((const struct table *const *) tables, n, by_order, told, &out) != FDEC_OK)
        fail_msg("%s", fdec_last_error());
    return out;
}

static void clear(struct table **tables, int n)
{
    for (int i = 0; i < n; i++)
        table_destroy(&tables[i]);
}

/* A complete table before another, then more entries; classes that one table has alone stay. In any order the same. */
static void the_best_table_gives_a_class(void **state)
{
    struct table *in[] = {TABLE(1, false, entry(8, 1, 4, 5), entry(8, 2, 4, 6), entry(16, 1, 1, 7)),
                          TABLE(2, true, entry(8, 1, 2, 8)), TABLE(3, true, entry(32, 1, 1, 9), entry(32, 4, 1, 9))};
    struct table *again[] = {in[2], in[0], in[1]};
    char *a, *b;
    size_t n, m;
    (void) state;
    struct table *t = merged(in, 3, false, stderr), *u = merged(again, 3, false, stderr);
    assert_int_equal(t->n_entries, 4);
    assert_false(t->complete);
    for (int i = 0; i < t->n_entries; i++)
        if (!strcmp(t->entries[i].class_text, "softmax:f32 cols=8"))
            assert_int_equal(t->entries[i].config[0].value, 2);
    assert_int_equal(t->n_sources, 3);
    assert_true(t->device.read_gbps == 3);
    assert_int_equal(table_print(t, &a, &n), FDEC_OK);
    assert_int_equal(table_print(u, &b, &m), FDEC_OK);
    assert_string_equal(a, b);
    free(b);

    /* Merged again: it, and what it was merged from. */
    struct table *parsed, *twice[2] = {in[0]};
    assert_int_equal(table_parse(a, n, "merged", &parsed), FDEC_OK);
    assert_int_equal(parsed->n_sources, 3);
    assert_memory_equal(parsed->sources, t->sources, 3 * sizeof *t->sources);
    twice[1] = parsed;
    struct table *more = merged(twice, 2, false, stderr);
    assert_int_equal(more->n_sources, 4);
    free(a);
    table_destroy(&parsed);
    table_destroy(&more);
    table_destroy(&t);
    table_destroy(&u);
    clear(in, 3);
}

static void an_outlier_is_told_and_not_taken(void **state)
{
    struct table *in[] = {TABLE(1, true, entry(8, 1, 4, 5), entry(8, 2, 4, 1)), TABLE(2, false, entry(8, 1, 4, 5.2)),
                          TABLE(3, false, entry(8, 2, 4, 5)), TABLE(4, false, entry(8, 2, 4, 5.1))};
    char told[1000] = "";
    FILE *f = fmemopen(told, sizeof told, "w");
    (void) state;
    struct table *t = merged(in, 4, false, f);
    fclose(f);
    assert_non_null(strstr(told, "0.10 of the default, 0.50 in the median"));
    for (int i = 0; i < t->n_entries; i++)
        assert_true(t->entries[i].median_us > 4);
    table_destroy(&t);
    clear(in, 4);
}

static void in_order_the_first_has_precedence(void **state)
{
    struct table *in[] = {TABLE(1, false, entry(8, 1, 4, 5)),
                          TABLE(2, true, entry(8, 1, 2, 8), entry(8, 2, 2, 8), entry(16, 1, 1, 7))};
    (void) state;
    struct table *t = merged(in, 2, true, stderr);
    assert_int_equal(t->n_entries, 2);
    assert_int_equal(t->n_sources, 1);
    assert_true(t->sources[0].seed == 2);
    for (int i = 0; i < t->n_entries; i++)
        if (!strcmp(t->entries[i].class_text, "softmax:f32 cols=8"))
            assert_int_equal(t->entries[i].config[0].value, 4);
    table_destroy(&t);
    clear(in, 2);
}

/* Equal below their heads, so their hashes are: the order of the files must not show in the head either. */
static void tables_that_differ_in_the_head_alone(void **state)
{
    struct table *in[] = {TABLE(1, false, entry(8, 1, 4, 5)), TABLE(1, false, entry(8, 1, 4, 5)),
                          TABLE(1, true, entry(8, 1, 4, 5))};
    char *first = NULL, *text;
    size_t n;
    (void) state;
    in[1]->seed = 7;
    for (int turn = 0; turn < 6; turn++) {
        struct table *order[] = {in[turn % 3], in[(turn + 1 + turn / 3) % 3], in[(turn + 2 - turn / 3) % 3]};
        struct table *t = merged(order, 3, false, stderr);
        assert_int_equal(table_print(t, &text, &n), FDEC_OK);
        if (first)
            assert_string_equal(text, first);
        else
            first = strdup(text);
        free(text);
        table_destroy(&t);
    }
    free(first);
    clear(in, 3);
}

/* Three runs with a class each: the third names the second table, and the first that is in it. */
static void no_run_is_forgotten(void **state)
{
    struct table *runs[] = {TABLE(1, true, entry(8, 1, 4, 5)), TABLE(2, true, entry(16, 1, 4, 5)),
                            TABLE(3, true, entry(32, 1, 4, 5))};
    (void) state;
    struct table *two = merged((struct table *[]){runs[1], runs[0]}, 2, true, stderr);
    struct table *three = merged((struct table *[]){runs[2], two}, 2, true, stderr);
    uint64_t first, second;
    assert_int_equal(three->n_entries, 3);
    assert_int_equal(table_hash(runs[0], &first), FDEC_OK);
    assert_int_equal(table_hash(two, &second), FDEC_OK);
    assert_int_equal(three->n_sources, 2);
    for (int i = 0; i < 2; i++)
        assert_true(three->sources[i].hash == first || three->sources[i].hash == second);
    table_destroy(&two);
    table_destroy(&three);
    clear(runs, 3);
}

/* However often a table is joined, it stays one that can be read. */
static void sources_are_bounded(void **state)
{
    struct table *in[] = {TABLE(1, true, entry(8, 1, 4, 5)), TABLE(2, true, entry(16, 1, 4, 5))};
    (void) state;
    in[1]->sources = calloc(TABLE_MAX_SOURCES, sizeof *in[1]->sources);
    assert_non_null(in[1]->sources);
    for (in[1]->n_sources = 0; in[1]->n_sources < TABLE_MAX_SOURCES; in[1]->n_sources++)
        in[1]->sources[in[1]->n_sources] =
            (struct table_source){.hash = (uint64_t) in[1]->n_sources, .tuner_version = "0"};
    struct table *t = merged(in, 2, false, stderr);
    assert_int_equal(t->n_sources, TABLE_MAX_SOURCES);
    assert_int_equal(table_check(t), FDEC_OK);
    table_destroy(&t);
    clear(in, 2);
}

static void another_device_is_refused(void **state)
{
    struct table *in[] = {TABLE(1, true, entry(8, 1, 4, 5)), TABLE(2, true, entry(8, 1, 4, 5))}, *out = NULL;
    (void) state;
    snprintf(in[1]->device.driver, sizeof in[1]->device.driver, "2");
    assert_int_equal(table_merge((const struct table *const *) in, 2, false, stderr, &out), FDEC_E_DATA);
    assert_non_null(strstr(fdec_last_error(), "driver 2"));
    assert_null(out);
    clear(in, 2);
}

static void deny_lists_are_united(void **state)
{
    struct table *in[] = {TABLE(1, true, entry(8, 1, 4, 5)), TABLE(2, true, entry(8, 1, 4, 5))};
    (void) state;
    for (int i = 0; i < 2; i++) {
        in[i]->denied = calloc(2, sizeof *in[i]->denied);
        assert_non_null(in[i]->denied);
        in[i]->denied[0] = (struct table_denied){.kernel = "softmax/x", .rev = 1, .reason = "wrong result"};
        in[i]->n_denied = 1;
    }
    in[1]->denied[1] = (struct table_denied){
        .kernel = "softmax/x", .rev = 1, .n_config = 1, .config = {{"VEC", 4}}, .reason = "crash"};
    in[1]->n_denied = 2;
    struct table *t = merged(in, 2, false, stderr);
    assert_int_equal(t->n_denied, 2);
    table_destroy(&t);
    clear(in, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_best_table_gives_a_class),
        cmocka_unit_test(an_outlier_is_told_and_not_taken),
        cmocka_unit_test(in_order_the_first_has_precedence),
        cmocka_unit_test(tables_that_differ_in_the_head_alone),
        cmocka_unit_test(no_run_is_forgotten),
        cmocka_unit_test(sources_are_bounded),
        cmocka_unit_test(another_device_is_refused),
        cmocka_unit_test(deny_lists_are_united),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
