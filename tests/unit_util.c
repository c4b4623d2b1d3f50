/* SPDX-License-Identifier: MIT
 * unit_util.c - errors, log, files */
#define _GNU_SOURCE
#include "scratch.h"
#include "util.h"

#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#undef fail /* cmocka's; ours is under test */

static int count_files(void)
{
    int n = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

/* ---- errors ---- */

static fdec_status needs_positive(int x)
{
    fdec_status st = FDEC_OK;
    require("needs_positive", x > 0);
out:
    return st;
}

static void errors_have_texts(void **state)
{
    (void) state;
    assert_int_equal(fail(FDEC_E_DATA, "first %d", 1), FDEC_E_DATA);
    assert_string_equal(fdec_last_error(), "first 1");
    fail(FDEC_E_ARG, "second: %s", fdec_last_error()); /* its own text as an argument */
    assert_string_equal(fdec_last_error(), "second: first 1");
    assert_int_equal(needs_positive(1), FDEC_OK);
    assert_int_equal(needs_positive(0), FDEC_E_ARG);
    assert_string_equal(fdec_last_error(), "needs_positive: x > 0 does not hold");
    assert_int_equal(fail_cl(CL_MEM_OBJECT_ALLOCATION_FAILURE, "call"), FDEC_E_MEMORY);
    assert_int_equal(fail_cl(CL_OUT_OF_HOST_MEMORY, "call"), FDEC_E_MEMORY);
    assert_int_equal(fail_cl(CL_OUT_OF_RESOURCES, "call"), FDEC_E_DEVICE);
    assert_non_null(strstr(fdec_last_error(), "CL_OUT_OF_RESOURCES"));
    assert_non_null(strstr(fdec_last_error(), "call"));
    assert_string_equal(cl_error_name(12345), "unknown OpenCL error");
    for (int st = FDEC_E_DATA; st <= FDEC_OK; st++)
        assert_string_not_equal(fdec_status_name((fdec_status) st), fdec_status_name((fdec_status) 7));
    char big[5000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = 0;
    fail(FDEC_E_ARG, "%s", big);
    assert_true(strlen(fdec_last_error()) > 100 && strlen(fdec_last_error()) < sizeof big - 1);
}

/* ---- log ---- */

struct heard {
    int n;
    char category[16], line[64];
};

static void hear(void *user, const char *category, const char *line)
{
    struct heard *h = user;
    h->n++;
    snprintf(h->category, sizeof h->category, "%s", category);
    snprintf(h->line, sizeof h->line, "%s", line);
}

static void log_categories(void **state)
{
    struct log log;
    struct heard heard = {0};
    (void) state;
    unsetenv("FLASHDEC_LOG");
    log_open(&log, NULL, NULL);
    for (int c = LOG_SELECT; c <= LOG_TABLE; c++)
        assert_false(log_wants(&log, (enum log_category) c));
    setenv("FLASHDEC_LOG", "select,cache", 1);
    log_open(&log, NULL, NULL);
    assert_true(log_wants(&log, LOG_SELECT) && log_wants(&log, LOG_CACHE));
    assert_false(log_wants(&log, LOG_COMPILE) || log_wants(&log, LOG_TABLE));
    setenv("FLASHDEC_LOG", "all", 1);
    log_open(&log, NULL, NULL);
    assert_true(log_wants(&log, LOG_COMPILE) && log_wants(&log, LOG_TABLE));
    unsetenv("FLASHDEC_LOG");
    log_open(&log, hear, &heard); /* a callback hears everything */
    log_line(&log, LOG_TABLE, "line %d", 5);
    assert_int_equal(heard.n, 1);
    assert_string_equal(heard.category, "table");
    assert_string_equal(heard.line, "line 5");
}

static void log_without_callback_is_one_line_on_standard_error(void **state)
{
    struct log log;
    char got[200] = "";
    int pipes[2];
    (void) state;
    setenv("FLASHDEC_LOG", "compile", 1);
    log_open(&log, NULL, NULL);
    unsetenv("FLASHDEC_LOG");
    assert_int_equal(pipe(pipes), 0);
    const int saved = dup(STDERR_FILENO);
    dup2(pipes[1], STDERR_FILENO);
    log_line(&log, LOG_COMPILE, "wanted");
    log_line(&log, LOG_SELECT, "not wanted");
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(pipes[1]);
    assert_true(read(pipes[0], got, sizeof got - 1) > 0);
    close(pipes[0]);
    assert_string_equal(got, "flashdec compile: wanted\n");
}

/* ---- files ---- */

static void read_back(const char *path, const char *want)
{
    char *data;
    size_t n;
    assert_int_equal(file_read(path, 1000, &data, &n), FDEC_OK);
    assert_int_equal(n, strlen(want));
    assert_string_equal(data, want);
    free(data);
}

static void files_that_are_not_read(void **state)
{
    char *data, target[128];
    size_t n;
    (void) state;
    assert_int_equal(file_write_atomic(in_dir("five"), "12345", 5, 0600), FDEC_OK);
    read_back(in_dir("five"), "12345");
    assert_int_equal(file_read(in_dir("five"), 4, &data, &n), FDEC_E_DATA);
    assert_non_null(strstr(fdec_last_error(), "limit"));
    assert_int_equal(file_read(in_dir("missing"), 10, &data, &n), FDEC_E_DATA);
    assert_non_null(strstr(fdec_last_error(), "missing"));
    assert_int_equal(file_read(dir, 10, &data, &n), FDEC_E_DATA);
    snprintf(target, sizeof target, "%s", in_dir("five"));
    assert_int_equal(symlink(target, in_dir("link")), 0);
    assert_int_equal(file_read(in_dir("link"), 10, &data, &n), FDEC_E_DATA);
    assert_int_equal(mkfifo(in_dir("fifo"), 0600), 0);
    alarm(20); /* a read that waits for a writer ends the test */
    assert_int_equal(file_read(in_dir("fifo"), 10, &data, &n), FDEC_E_DATA);
    alarm(0);
    assert_int_equal(file_write_atomic(in_dir("empty"), "", 0, 0600), FDEC_OK);
    read_back(in_dir("empty"), "");
}

/* The disk is full after 3 bytes: a limit on file size does the same, and holds for root as well. */
static void old_file_outlives_a_failed_write(void **state)
{
    struct rlimit old, small;
    char path[128];
    (void) state;
    snprintf(path, sizeof path, "%s", in_dir("kept"));
    assert_int_equal(file_write_atomic(path, "old", 3, 0644), FDEC_OK);
    const int files = count_files();
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 3;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    const fdec_status st = file_write_atomic(path, "new and longer", 14, 0644);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(st, FDEC_E_DATA);
    assert_non_null(strstr(fdec_last_error(), path));
    read_back(path, "old");
    assert_int_equal(count_files(), files); /* nothing half-written is left */

    struct stat s;
    assert_int_equal(file_write_atomic(path, "new and longer", 14, 0640), FDEC_OK);
    read_back(path, "new and longer");
    assert_int_equal(stat(path, &s), 0);
    assert_int_equal(s.st_mode & 0777, 0640);
}

static void directories_that_cannot_be_written(void **state)
{
    (void) state;
    assert_int_equal(file_write_atomic(in_dir("none/file"), "x", 1, 0644), FDEC_E_DATA);
    assert_int_equal(file_write_atomic(in_dir("plain"), "x", 1, 0644), FDEC_OK);
    assert_int_equal(file_write_atomic(in_dir("plain/file"), "x", 1, 0644), FDEC_E_DATA);
    assert_true(make_dirs(in_dir("a/b/c"), 0700));
    assert_true(make_dirs(in_dir("a/b/c"), 0700));
    assert_false(make_dirs(in_dir("plain"), 0700));
    assert_false(make_dirs(in_dir("plain/deeper"), 0700));
    const int files = count_files();
    assert_int_equal(file_write_atomic(in_dir("a"), "x", 1, 0644), FDEC_E_DATA); /* a directory stays one */
    assert_int_equal(count_files(), files);
}

/* ---- the rest ---- */

static void append_cuts_and_terminates(void **state)
{
    char buf[8] = "";
    (void) state;
    assert_true(append(buf, sizeof buf, "%d", 123));
    assert_true(append(buf, sizeof buf, "4567"));
    assert_string_equal(buf, "1234567");
    assert_true(append(buf, sizeof buf, "%s", ""));
    assert_false(append(buf, sizeof buf, "8"));
    assert_string_equal(buf, "1234567");
    buf[3] = 0;
    assert_false(append(buf, sizeof buf, "abcdefgh"));
    assert_string_equal(buf, "123abcd");
}

static void hashes_and_rounding(void **state)
{
    (void) state;
    assert_true(hash64("", 0, 0) == 0xcbf29ce484222325u); /* FNV-1a's published values */
    assert_true(hash64("a", 1, 0) == 0xaf63dc4c8601ec8cu);
    assert_true(hash64("foobar", 6, 0) == 0x85944171f73967e8u);
    assert_true(hash64("foobar", 6, 1) != hash64("foobar", 6, 0));
    assert_true(div_up(0, 4) == 0 && div_up(1, 4) == 1 && div_up(4, 4) == 1 && div_up(5, 4) == 2);
    assert_true(round_up(5, 4) == 8 && round_up(8, 4) == 8);
    const double t = now_ms();
    assert_true(now_ms() >= t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_have_texts),
        cmocka_unit_test(log_categories),
        cmocka_unit_test(log_without_callback_is_one_line_on_standard_error),
        cmocka_unit_test(files_that_are_not_read),
        cmocka_unit_test(old_file_outlives_a_failed_write),
        cmocka_unit_test(directories_that_cannot_be_written),
        cmocka_unit_test(append_cuts_and_terminates),
        cmocka_unit_test(hashes_and_rounding),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
