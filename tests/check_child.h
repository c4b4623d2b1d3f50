/* SPDX-License-Identifier: MIT
 * check_child.h - checkcl in a process of its own, for compilers that crash or never end */
#ifndef CHECK_CHILD_H
#define CHECK_CHILD_H
#include <stdbool.h>
#include <sys/types.h>

struct child {
    pid_t pid;
    int pipe;
    char line[64];
    size_t used;
    int at, passed, failed; /* the plan it is at; what it has counted so far */
    bool ended, timed_out;  /* it told its end; it said nothing for too long and was killed */
    int status;             /* waitpid's */
};

/* This program with these arguments, for one kernel, from plan `start` on, until it ends or says nothing for
 * `timeout_s` seconds. It tells through a pipe, the number of which is its --progress: a line for each plan, "e..." at
 * the end, and three numbers, `at`, `passed` and `failed`. False: there is no process. */
bool child_run(struct child *ch, char **argv, int argc, const char *kernel, int start, int timeout_s);
#endif
