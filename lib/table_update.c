/* SPDX-License-Identifier: MIT
 * table_update.c - one table, many writers: they take turns, and none loses what another has written */
#define _GNU_SOURCE
#include "table.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* The lock is on a file of its own that is never removed: on the table itself it would be a lock on a file that the
 * rename has replaced, and removing it would leave two writers with a lock each. -1: failed. */
static int lock_beside(const char *path)
{
    char name[4096];
    if (snprintf(name, sizeof name, "%s.lock", path) >= (int) sizeof name) {
        fail(FDEC_E_DATA, "%.200s...: path too long", path);
        return -1;
    }
    const int fd = open(name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0) {
        fail(FDEC_E_DATA, "%s: cannot open: %s", name, strerror(errno));
        return -1;
    }
    int err;
    while ((err = flock(fd, LOCK_EX)) && errno == EINTR) {
    }
    if (!err)
        return fd;
    fail(FDEC_E_DATA, "%s: cannot lock: %s", name, strerror(errno));
    close(fd);
    return -1;
}

/* What is no table is none, and why is told; for want of memory nothing is given up. */
static fdec_status read_old(const char *path, struct table **old, char *why, size_t n)
{
    struct stat s;
    if (lstat(path, &s) && errno == ENOENT)
        return FDEC_OK;
    const fdec_status st = table_read(path, old);
    if (st != FDEC_E_DATA)
        return st;
    append(why, n, "%s", fdec_last_error());
    return FDEC_OK;
}

fdec_status table_update(const char *path, table_change change, void *arg)
{
    struct table *old = NULL, *new = NULL;
    const int lock = lock_beside(path);
    if (lock < 0)
        return FDEC_E_DATA;
    char unreadable[512] = "";
    fdec_status st = read_old(path, &old, unreadable, sizeof unreadable);
    if (st == FDEC_OK)
        st = change(arg, old, *unreadable ? unreadable : NULL, &new);
    if (st == FDEC_OK)
        st = table_write(new, path);
    table_destroy(&old);
    table_destroy(&new);
    close(lock);
    return st;
}
