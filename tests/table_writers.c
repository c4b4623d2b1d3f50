/* SPDX-License-Identifier: MIT
 * table_writers.c - 8 processes of 16 threads load and rewrite one table: no torn read, no lost update
 *
 * Every thread adds a class of its own by table_update, and between that reads the table: each time it is whole, and
 * has all that the thread knows to be in it. Then writers are killed while they write. */
#define _GNU_SOURCE
#include "table.h"
#include "util.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "scratch.h"

enum { N_PROCESSES = 8, N_THREADS = 16, N_KILLS = 20, LOADS = 5 };

static char path[128];

struct entry_and_note {
    struct table_entry entry;
    bool had_old;
    char unreadable[600];
};

static struct table_entry entry_of(int writer, int round)
{
    struct table_entry e = {.rev = 1, .lo = {1, 1}, .hi = {2, 2}, .point = {1, 1}, .samples = 9, .error_ratio = 0.5};
    snprintf(e.class_text, sizeof e.class_text, "softmax:f32 cols=%d", 1000 * writer + round + 1);
    snprintf(e.kernel, sizeof e.kernel, "softmax/some");
    snprintf(e.family, sizeof e.family, "some");
    e.median_us = e.default_us = 1 + writer;
    return e;
}

/* What was there, and one entry more. */
static fdec_status add_entry(void *arg, const struct table *old, const char *unreadable, struct table **out)
{
    (void) unreadable;
    const int n = old ? old->n_entries : 0;
    struct table *t = calloc(1, sizeof *t);
    *out = t;
    if (!t || !(t->entries = calloc((size_t) n + 1, sizeof *t->entries)))
        return FDEC_E_MEMORY;
    snprintf(t->tuner_version, sizeof t->tuner_version, "0.1.0");
    snprintf(t->device.name, sizeof t->device.name, "some");
    snprintf(t->device.vendor, sizeof t->device.vendor, "some");
    snprintf(t->device.driver, sizeof t->device.driver, "1");
    snprintf(t->device.platform, sizeof t->device.platform, "some");
    snprintf(t->device.architecture, sizeof t->device.architecture, "some");
    t->device.compute_units = 1;
    if (n)
        memcpy(t->entries, old->entries, (size_t) n * sizeof *t->entries);
    t->entries[n] = *(const struct table_entry *) arg;
    t->n_entries = n + 1;
    return FDEC_OK;
}

static bool has(const struct table *t, const struct table_entry *e)
{
    for (int i = 0; i < t->n_entries; i++)
        if (!strcmp(t->entries[i].class_text, e->class_text))
            return true;
    return false;
}

/* A thread's writer number; NULL: all went well, else why not. */
static void *write_and_read(void *number)
{
    struct table_entry e = entry_of((int) (intptr_t) number, 0);
    if (table_update(path, add_entry, &e) != FDEC_OK)
        return strdup(fdec_last_error());
    for (int i = 0, most = 0; i < LOADS; i++) {
        struct table *t;
        if (table_read(path, &t) != FDEC_OK)
            return strdup(fdec_last_error());
        const bool there = has(t, &e) && t->n_entries >= most;
        most = t->n_entries;
        table_destroy(&t);
        if (!there)
            return strdup("an entry that was written is gone");
    }
    return NULL;
}

/* Exit status 0: all threads went well. */
static int process(int number)
{
    pthread_t threads[N_THREADS];
    int status = 0;
    for (int i = 0; i < N_THREADS; i++)
        if (pthread_create(&threads[i], NULL, write_and_read, (void *) (intptr_t) (number * N_THREADS + i)))
            return 2;
    for (int i = 0; i < N_THREADS; i++) {
        void *why;
        pthread_join(threads[i], &why);
        if (why)
            fprintf(stderr, "process %d, thread %d: %s\n", number, i, (char *) why);
        status |= why != NULL;
        free(why);
    }
    return status;
}

static void no_update_is_lost(void **state)
{
    pid_t pids[N_PROCESSES];
    struct table *t;
    (void) state;
    for (int i = 0; i < N_PROCESSES; i++)
        if ((pids[i] = fork()) == 0)
            _exit(process(i));
    for (int i = 0; i < N_PROCESSES; i++) {
        int status = 1;
        waitpid(pids[i], &status, 0);
        assert_int_equal(status, 0);
    }
    assert_int_equal(table_read(path, &t), FDEC_OK);
    assert_int_equal(t->n_entries, N_PROCESSES * N_THREADS);
    table_destroy(&t);
}

/* Killed at whatever it does: the table is whole, has lost nothing, and the next writer gets the lock. */
static void a_killed_writer_leaves_a_table_and_a_lock(void **state)
{
    struct table *t;
    (void) state;
    for (int i = 0; i < N_KILLS; i++) {
        const pid_t pid = fork();
        for (int round = 1; pid == 0; round++) {
            struct table_entry e = entry_of(200 + i, round % 900);
            if (table_read(path, &t) == FDEC_OK && !has(t, &e))
                table_update(path, add_entry, &e);
            table_destroy(&t);
        }
        usleep((useconds_t) (3000 + 1777 * i % 9000));
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        assert_int_equal(table_read(path, &t), FDEC_OK);
        assert_true(t->n_entries >= N_PROCESSES * N_THREADS + i);
        table_destroy(&t);
        struct table_entry mine = entry_of(300 + i, 0);
        assert_int_equal(table_update(path, add_entry, &mine), FDEC_OK);
    }
}

static fdec_status refuse(void *arg, const struct table *old, const char *unreadable, struct table **out)
{
    (void) arg, (void) old, (void) unreadable, (void) out;
    return FDEC_E_DATA;
}

/* Notes what the writer is told of the table that was there. */
static fdec_status note(void *arg, const struct table *old, const char *unreadable, struct table **out)
{
    struct entry_and_note *n = arg;
    snprintf(n->unreadable, sizeof n->unreadable, "%s", unreadable ? unreadable : "");
    n->had_old = old != NULL;
    return add_entry(&n->entry, old, unreadable, out);
}

static void what_is_no_table_is_told_and_replaced(void **state)
{
    struct entry_and_note n = {.entry = entry_of(500, 0)};
    char other[128];
    struct table *t;
    (void) state;
    snprintf(other, sizeof other, "%s", in_dir("other.json"));
    assert_int_equal(table_update(other, note, &n), FDEC_OK); /* there was nothing */
    assert_true(!n.had_old && !*n.unreadable);
    n.entry = entry_of(501, 0);
    assert_int_equal(table_update(other, note, &n), FDEC_OK);
    assert_true(n.had_old && !*n.unreadable);
    assert_int_equal(file_write_atomic(other, "{", 1, 0644), FDEC_OK);
    assert_int_equal(table_update(other, note, &n), FDEC_OK);
    assert_true(!n.had_old && strstr(n.unreadable, "other.json"));
    assert_int_equal(table_read(other, &t), FDEC_OK);
    assert_int_equal(t->n_entries, 1);
    table_destroy(&t);
}

/* A link in the place of the lock is not followed, and nothing is written. */
static void a_lock_is_no_link(void **state)
{
    struct table_entry e = entry_of(600, 0);
    char target[128];
    (void) state;
    snprintf(target, sizeof target, "%s", in_dir("target"));
    assert_int_equal(symlink(target, in_dir("linked.json.lock")), 0);
    assert_int_equal(table_update(in_dir("linked.json"), add_entry, &e), FDEC_E_DATA);
    assert_non_null(strstr(fdec_last_error(), "linked.json.lock"));
    assert_int_equal(access(target, F_OK), -1);
    assert_int_equal(access(in_dir("linked.json"), F_OK), -1);
}

static void a_failure_changes_nothing(void **state)
{
    char *before, *after;
    size_t n, m;
    struct table_entry e = entry_of(400, 0);
    (void) state;
    assert_int_equal(file_read(path, 1 << 24, &before, &n), FDEC_OK);
    assert_int_equal(table_update(path, refuse, NULL), FDEC_E_DATA);
    e.samples = 0; /* which the writer refuses */
    assert_int_equal(table_update(path, add_entry, &e), FDEC_E_DATA);
    assert_int_equal(file_read(path, 1 << 24, &after, &m), FDEC_OK);
    assert_true(n == m && !memcmp(before, after, n));
    free(before);
    free(after);
    assert_int_equal(table_update("/nonexistent/table.json", add_entry, &e), FDEC_E_DATA);
    assert_non_null(strstr(fdec_last_error(), "table.json.lock"));
}

static int make_path(void **state)
{
    const int made = make_dir(state);
    snprintf(path, sizeof path, "%s", in_dir("table.json"));
    return made;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_update_is_lost),         cmocka_unit_test(a_killed_writer_leaves_a_table_and_a_lock),
        cmocka_unit_test(a_failure_changes_nothing), cmocka_unit_test(what_is_no_table_is_told_and_replaced),
        cmocka_unit_test(a_lock_is_no_link),
    };
    return cmocka_run_group_tests(tests, make_path, remove_dir);
}
