/* SPDX-License-Identifier: MIT
 * unit_find.c - how near a table is to a device, and where tables are found */
#include "select.h"
#include "util.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char dir[64];

/* No table of this machine may get in, and none may be written: every place that is searched is below dir. */
static int make_dirs_of_our_own(void **state)
{
    char path[256];
    (void) state;
    strcpy(dir, "/tmp/flashdec-find-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    unsetenv("FLASHDEC_TABLE");
    unsetenv("FLASHDEC_TABLE_PATH");
    snprintf(path, sizeof path, "%s/home", dir);
    setenv("XDG_DATA_HOME", path, 1);
    snprintf(path, sizeof path, "%s/etc", dir);
    setenv("XDG_CONFIG_DIRS", path, 1);
    snprintf(path, sizeof path, "%s/share1:%s/share2", dir, dir);
    setenv("XDG_DATA_DIRS", path, 1);
    return 0;
}

static int remove_dirs(void **state)
{
    char command[128];
    (void) state;
    snprintf(command, sizeof command, "rm -rf %s/*", dir);
    unsetenv("FLASHDEC_TABLE");
    unsetenv("FLASHDEC_TABLE_PATH");
    return system(command);
}

static int remove_all(void **state)
{
    return remove_dirs(state) || rmdir(dir);
}

static struct device some_device(void)
{
    return (struct device){.name = "pthread-skylake-avx512-AMD EPYC",
                           .vendor = "AuthenticAMD",
                           .driver = "3.1",
                           .platform = "Portable Computing Language",
                           .vendor_id = 0x7eed5678,
                           .type = CL_DEVICE_TYPE_CPU,
                           .compute_units = 4,
                           .local_bytes = 524288};
}

static struct table table_for(const struct device *d)
{
    struct table t = {.tuner_version = "0.1.0", .path = (char *) "test"};
    table_device_of(d, &t.device);
    return t;
}

/* Writes an empty table for d and returns its path. seed tells tables apart. */
static const char *write_table(const char *where, const char *name, const struct device *d, uint64_t seed)
{
    static char path[256];
    struct table t = table_for(d);
    t.seed = seed;
    snprintf(path, sizeof path, "%s/%s", dir, where);
    assert_true(make_dirs(path, 0700));
    append(path, sizeof path, "/%s", name);
    if (table_write(&t, path) != FDEC_OK)
        fail_msg("%s", fdec_last_error());
    return path;
}

/* ---- levels ---- */

static void levels(void **state)
{
    const struct device made_for = some_device();
    struct table t = table_for(&made_for);
    struct device d = made_for;
    (void) state;
    assert_int_equal(table_level(&t, &d), LEVEL_EXACT);
    strcpy(d.driver, "4.0");
    assert_int_equal(table_level(&t, &d), LEVEL_OTHER_DRIVER);
    d = made_for;
    d.compute_units = 400; /* the same processor with more cores */
    assert_int_equal(table_level(&t, &d), LEVEL_ARCHITECTURE);
    d = made_for;
    strcpy(d.name, "pthread-skylake-avx512-AMD EPYC 96-Core Processor");
    assert_int_equal(table_level(&t, &d), LEVEL_ARCHITECTURE);
    d = made_for;
    strcpy(d.platform, "Another"); /* another compiler: not the same device */
    assert_int_equal(table_level(&t, &d), LEVEL_ARCHITECTURE);
    d = made_for;
    strcpy(d.name, "pthread-haswell-Intel Xeon");
    assert_int_equal(table_level(&t, &d), LEVEL_NEAREST);
    d.compute_units = 8;
    assert_int_equal(table_level(&t, &d), LEVEL_NEAREST);
    d.compute_units = 9;
    assert_int_equal(table_level(&t, &d), 0);
    d.compute_units = 2;
    assert_int_equal(table_level(&t, &d), LEVEL_NEAREST);
    d.compute_units = 1;
    assert_int_equal(table_level(&t, &d), 0);
    d.compute_units = 4;
    d.local_bytes = 32768;
    assert_int_equal(table_level(&t, &d), 0);
    d = made_for;
    d.vendor_id++;
    assert_int_equal(table_level(&t, &d), 0);
    d = made_for;
    d.type = CL_DEVICE_TYPE_GPU;
    assert_int_equal(table_level(&t, &d), 0);
}

static void modelled_tables(void **state)
{
    struct device d = some_device();
    struct table t = table_for(&d);
    (void) state;
    t.modelled = true;
    assert_int_equal(table_level(&t, &d), LEVEL_MODELLED);
    d.compute_units++;
    assert_int_equal(table_level(&t, &d), LEVEL_MODELLED);
    strcpy(d.name, "another");
    assert_int_equal(table_level(&t, &d), 0);
}

static void architectures(void **state)
{
    static const char *const rows[][2] = {
        {"pthread-skylake-avx512-AMD EPYC", "pthread-skylake-avx512-amd epyc"},
        {"cpu-znver4-AMD EPYC 96-Core Processor", "cpu-znver4-amd epyc"},
        {"Intel(R) Xeon(R) CPU @ 2.20GHz", "intel(r) xeon(r)"},
        {"AMD Ryzen 7 with Radeon Graphics", "amd ryzen 7"},
        {"NVIDIA H200", "nvidia h200"},
        {"  ", "?"},
        {"CPU", "?"},
        {"", "?"},
        {"na\xc3\xafve", "na??ve"},
    };
    (void) state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct device d = {0};
        char out[64];
        strcpy(d.name, rows[i][0]);
        device_architecture(&d, out);
        assert_string_equal(out, rows[i][1]);
    }
    struct device d = {0};
    char out[64];
    memset(d.name, 'A', sizeof d.name - 1);
    device_architecture(&d, out);
    assert_int_equal(strlen(out), 63);
}

/* Whatever a driver calls its device, a table can be written for it, and fits it. */
static void strange_names(void **state)
{
    struct device d = {.name = "na\xc3\xafve\n\"device\\", .type = CL_DEVICE_TYPE_GPU, .compute_units = 1};
    struct table *back;
    (void) state;
    assert_int_equal(table_read(write_table("strange", "t.json", &d, 0), &back), FDEC_OK);
    assert_int_equal(table_level(back, &d), LEVEL_EXACT);
    table_destroy(&back);
}

/* ---- the search ---- */

struct heard {
    int n;
    char lines[4000];
};

static void hear(void *user, const char *category, const char *line)
{
    struct heard *h = user;
    h->n += !strcmp(category, "table");
    append(h->lines, sizeof h->lines, "%s\n", line);
}

static void find(const char *path, struct table_set *set, struct heard *heard)
{
    const struct device d = some_device();
    const struct log log = {.fn = hear, .user = heard, .mask = ~0u};
    *heard = (struct heard){0};
    if (table_set_find(&d, path, &log, set) != FDEC_OK)
        fail_msg("%s", fdec_last_error());
}

static void nothing_is_found_in_empty_places(void **state)
{
    struct table_set set;
    struct heard heard;
    (void) state;
    find(NULL, &set, &heard);
    assert_int_equal(set.n, 0);
    table_set_clear(&set);
}

static void the_best_level_then_the_order_of_places(void **state)
{
    struct device d = some_device(), other_driver = d, other = d, stranger = d;
    struct table_set set;
    struct heard heard;
    char path[256];
    (void) state;
    strcpy(other_driver.driver, "0.1");
    strcpy(other.name, "another");
    stranger.vendor_id++;
    write_table("own1", "a.json", &other, 1);
    write_table("own2", "a.json", &other_driver, 2);
    write_table("home/flashdec", "b.json", &d, 4);
    write_table("home/flashdec", "a.json", &d, 3); /* files in the order of their names */
    write_table("home/flashdec", "c.text", &d, 99);
    write_table("home/flashdec", ".d.json", &d, 99);
    write_table("etc/flashdec", "a.json", &d, 5);
    write_table("share1/flashdec", "a.json", &stranger, 99);
    write_table("share2/flashdec", "a.json", &d, 6);
    snprintf(path, sizeof path, "%s/none::%s/own1:%s/own2", dir, dir, dir);
    setenv("FLASHDEC_TABLE_PATH", path, 1);
    find(NULL, &set, &heard);
    static const uint64_t order[] = {3, 4, 5, 6, 2, 1};
    static const int want[] = {LEVEL_EXACT, LEVEL_EXACT, LEVEL_EXACT, LEVEL_EXACT, LEVEL_OTHER_DRIVER, LEVEL_NEAREST};
    assert_int_equal(set.n, ARRAY_LEN(order));
    for (int i = 0; i < set.n; i++) {
        assert_true(set.tables[i]->seed == order[i]);
        assert_int_equal(set.level[i], want[i]);
    }
    assert_non_null(strstr(heard.lines, "share1"));
    table_set_clear(&set);
    assert_int_equal(set.n, 0);
}

static void bad_files_are_passed_over_aloud(void **state)
{
    const struct device d = some_device();
    struct table_set set;
    struct heard heard;
    char path[256], target[256];
    (void) state;
    snprintf(target, sizeof target, "%s", write_table("home/flashdec", "m.json", &d, 1));
    snprintf(path, sizeof path, "%s/home/flashdec/a.json", dir);
    assert_int_equal(file_write_atomic(path, "{}", 2, 0644), FDEC_OK);
    snprintf(path, sizeof path, "%s/home/flashdec/b.json", dir);
    assert_true(make_dirs(path, 0700));
    snprintf(path, sizeof path, "%s/home/flashdec/z.json", dir);
    assert_int_equal(symlink(target, path), 0);
    find(NULL, &set, &heard);
    assert_int_equal(set.n, 1);
    assert_true(set.tables[0]->seed == 1);
    assert_non_null(strstr(heard.lines, "a.json"));
    assert_non_null(strstr(heard.lines, "b.json"));
    assert_non_null(strstr(heard.lines, "z.json"));
    table_set_clear(&set);
}

static void more_tables_than_there_is_room_for(void **state)
{
    struct device d = some_device(), other = d;
    struct table_set set;
    struct heard heard;
    char name[32];
    (void) state;
    strcpy(other.name, "another");
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof name, "a%02d.json", i);
        write_table("home/flashdec", name, &other, (uint64_t) i);
    }
    write_table("home/flashdec", "b.json", &d, 100);
    find(NULL, &set, &heard);
    assert_int_equal(set.n, ARRAY_LEN(set.tables));
    assert_true(set.tables[0]->seed == 100 && set.level[0] == LEVEL_EXACT);
    for (int i = 1; i < set.n; i++)
        assert_true(set.tables[i]->seed == (uint64_t) i - 1);
    table_set_clear(&set);
}

static void a_table_asked_for_by_name(void **state)
{
    struct device d = some_device(), stranger = d;
    struct table_set set;
    struct heard heard;
    char path[256];
    (void) state;
    write_table("home/flashdec", "a.json", &d, 1);
    stranger.vendor_id++;
    snprintf(path, sizeof path, "%s", write_table("far", "a.json", &stranger, 2));
    find(path, &set, &heard);
    assert_int_equal(set.n, 1); /* alone, however little it fits */
    assert_true(set.tables[0]->seed == 2 && set.level[0] == LEVEL_NEAREST);
    table_set_clear(&set);
    setenv("FLASHDEC_TABLE", path, 1);
    find(NULL, &set, &heard);
    assert_true(set.n == 1 && set.tables[0]->seed == 2);
    table_set_clear(&set);
    find(write_table("far", "b.json", &d, 3), &set, &heard); /* the caller's word counts more than the environment's */
    assert_true(set.n == 1 && set.tables[0]->seed == 3 && set.level[0] == LEVEL_EXACT);
    table_set_clear(&set);
    assert_int_equal(table_set_find(&d, "/no/such.json", NULL, &set), FDEC_E_DATA);
    assert_int_equal(set.n, 0);
    assert_non_null(strstr(fdec_last_error(), "/no/such.json"));
    setenv("FLASHDEC_TABLE", "/no/such.json", 1);
    assert_int_equal(table_set_find(&d, NULL, NULL, &set), FDEC_E_DATA);
    setenv("FLASHDEC_TABLE", "", 1); /* empty is unset */
    find(NULL, &set, &heard);
    assert_true(set.n == 1 && set.tables[0]->seed == 1);
    table_set_clear(&set);
}

static void where_the_tuner_writes_is_where_tables_are_found(void **state)
{
    const struct device d = some_device();
    struct table_set set;
    struct heard heard;
    struct table t = table_for(&d);
    char path[256], folder[256], small[16], saved[128];
    (void) state;
    assert_true(table_default_path(&d, path, sizeof path));
    snprintf(folder, sizeof folder, "%s/home/flashdec/", dir);
    assert_int_equal(strncmp(path, folder, strlen(folder)), 0);
    assert_string_equal(path + strlen(folder), "authenticamd-pthread-skylake-avx512-amd-epyc.json");
    assert_true(make_dirs(folder, 0700));
    assert_int_equal(table_write(&t, path), FDEC_OK);
    find(NULL, &set, &heard);
    assert_int_equal(set.n, 1);
    assert_string_equal(set.tables[0]->path, path);
    table_set_clear(&set);
    assert_false(table_default_path(&d, small, sizeof small));
    snprintf(saved, sizeof saved, "%s", getenv("XDG_DATA_HOME"));
    unsetenv("XDG_DATA_HOME");
    setenv("HOME", "/home/someone", 1);
    assert_true(table_default_path(&d, path, sizeof path));
    assert_int_equal(strncmp(path, "/home/someone/.local/share/flashdec/", 36), 0);
    unsetenv("HOME");
    assert_false(table_default_path(&d, path, sizeof path));
    setenv("XDG_DATA_HOME", saved, 1);
}

static void built_in_tables_are_tables(void **state)
{
    (void) state;
    for (const struct builtin_table *b = builtin_tables; b->name; b++) {
        struct table *t;
        if (table_parse(b->text, strlen(b->text), b->name, &t) != FDEC_OK)
            fail_msg("%s", fdec_last_error());
        table_destroy(&t);
    }
}

#define test_in_dirs(f) cmocka_unit_test_setup_teardown(f, NULL, remove_dirs)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels),
        cmocka_unit_test(modelled_tables),
        cmocka_unit_test(architectures),
        test_in_dirs(strange_names),
        test_in_dirs(nothing_is_found_in_empty_places),
        test_in_dirs(the_best_level_then_the_order_of_places),
        test_in_dirs(bad_files_are_passed_over_aloud),
        test_in_dirs(more_tables_than_there_is_room_for),
        test_in_dirs(a_table_asked_for_by_name),
        test_in_dirs(where_the_tuner_writes_is_where_tables_are_found),
        cmocka_unit_test(built_in_tables_are_tables),
    };
    return cmocka_run_group_tests(tests, make_dirs_of_our_own, remove_all);
}
