/* SPDX-License-Identifier: MIT
 * file_faults.c - kills flashdec-tune at one of its calls that change files, or lets it fail; preloaded (tune_kills.py)
 *
 * FILE_FAULT="CALL N ACTION": the N-th call (from 1) of write, fdatasync, fsync, rename, ftruncate or mkstemp; ACTION
 * is before or after, where it is killed, or the number of an error with which this call and all later ones fail.
 * Only in the process that was started: not in its workers, nor in what it forks. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SHIM __attribute__((visibility("default")))

static pid_t chosen;
static char call_wanted[32], action[32];
static int number;

__attribute__((constructor)) static void choose(void)
{
    const char *text = getenv("FILE_FAULT");
    if (text && sscanf(text, "%31s %d %31s", call_wanted, &number, action) == 3)
        chosen = getpid();
    unsetenv("FILE_FAULT");
}

static void find(void *function, const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    memcpy(function, &found, sizeof found);
}

/* True: the call is to fail, errno is set. *last: the process is to be killed after it. */
static bool enter(const char *call, bool *last)
{
    static int count;
    *last = false;
    if (getpid() != chosen || strcmp(call, call_wanted) || ++count < number)
        return false;
    if (!strcmp(action, "before"))
        raise(SIGKILL);
    *last = !strcmp(action, "after");
    if (!*last)
        errno = atoi(action);
    return !*last;
}

static void leave(bool last)
{
    if (last)
        raise(SIGKILL);
}

#define AROUND(name, call, type, params, args)                                                                         \
    SHIM type name params                                                                                              \
    {                                                                                                                  \
        type(*next) params;                                                                                            \
        bool last;                                                                                                     \
        find(&next, #name);                                                                                            \
        if (enter(call, &last))                                                                                        \
            return -1;                                                                                                 \
        const type r = next args;                                                                                      \
        leave(last);                                                                                                   \
        return r;                                                                                                      \
    }

AROUND(write, "write", ssize_t, (int fd, const void *data, size_t n), (fd, data, n))
AROUND(fdatasync, "fdatasync", int, (int fd), (fd))
AROUND(fsync, "fsync", int, (int fd), (fd))
AROUND(rename, "rename", int, (const char *from, const char *to), (from, to))
AROUND(ftruncate64, "ftruncate", int, (int fd, off64_t n), (fd, n))
AROUND(mkstemp64, "mkstemp", int, (char *path), (path))
