/* SPDX-License-Identifier: MIT
 * util.c - error text, log, files, hashes */
#define _GNU_SOURCE
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Per thread, like errno: a failed creation has no object to keep its text in. */
static _Thread_local char error_text[2048];
static _Thread_local cl_int error_code; /* behind it; CL_SUCCESS: none */

const char *fdec_last_error(void)
{
    return error_text;
}

cl_int last_cl_error(void)
{
    return error_code;
}

__attribute__((format(printf, 2, 0))) static void set_error(cl_int err, const char *format, va_list ap)
{
    char text[sizeof error_text]; /* the arguments may point into error_text */
    vsnprintf(text, sizeof text, format, ap);
    memcpy(error_text, text, sizeof text);
    error_code = err;
}

fdec_status fail(fdec_status st, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    set_error(CL_SUCCESS, format, ap);
    va_end(ap);
    return st;
}

fdec_status fail_cl_text(cl_int err, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    set_error(err, format, ap);
    va_end(ap);
    return err == CL_OUT_OF_HOST_MEMORY || err == CL_MEM_OBJECT_ALLOCATION_FAILURE ? FDEC_E_MEMORY : FDEC_E_DEVICE;
}

fdec_status fail_cl(cl_int err, const char *call)
{
    return fail_cl_text(err, "%.200s: %s (%d)", call, cl_error_name(err), (int) err);
}

const char *fdec_status_name(fdec_status st)
{
    switch (st) {
    case FDEC_OK: return "ok";
    case FDEC_E_ARG: return "bad argument";
    case FDEC_E_UNSUPPORTED: return "no kernel for this problem on this device";
    case FDEC_E_MEMORY: return "out of memory";
    case FDEC_E_DEVICE: return "OpenCL error";
    case FDEC_E_DATA: return "bad data file";
    }
    return "unknown status";
}

/* ---- log ---- */

static const char *const category_names[] = {"select", "compile", "cache", "table"};

void log_open(struct log *log, fdec_log_fn fn, void *user)
{
    log->fn = fn;
    log->user = user;
    log->mask = fn ? ~0u : 0;
    const char *want = getenv("FLASHDEC_LOG");
    for (size_t i = 0; want && i < ARRAY_LEN(category_names); i++)
        if (strstr(want, category_names[i]) || strstr(want, "all"))
            log->mask |= 1u << i;
}

bool log_wants(const struct log *log, enum log_category c)
{
    return log && (log->mask & 1u << c);
}

void log_line(const struct log *log, enum log_category c, const char *format, ...)
{
    if (!log_wants(log, c))
        return;
    char line[2048];
    va_list ap;
    va_start(ap, format);
    vsnprintf(line, sizeof line, format, ap);
    va_end(ap);
    if (log->fn)
        log->fn(log->user, category_names[c], line);
    else
        dprintf(STDERR_FILENO, "flashdec %s: %s\n", category_names[c], line); /* one write: threads do not mix lines */
}

/* ---- files and hashes ---- */

uint64_t hash64(const void *data, size_t n, uint64_t seed)
{
    const unsigned char *p = data;
    uint64_t h = seed ^ 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}

double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec * 1e-6;
}

bool append(char *buf, size_t n, const char *format, ...)
{
    const size_t used = strnlen(buf, n);
    if (used >= n)
        return false;
    va_list ap;
    va_start(ap, format);
    const int len = vsnprintf(buf + used, n - used, format, ap);
    va_end(ap);
    return len >= 0 && (size_t) len < n - used;
}

fdec_status file_read(const char *path, size_t max, char **data, size_t *n)
{
    fdec_status st = FDEC_OK;
    char *text = NULL;
    struct stat s;
    /* O_NONBLOCK: a FIFO must not hang the caller */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        st = fail(FDEC_E_DATA, "%s: cannot open: %s", path, strerror(errno));
        goto out;
    }
    if (fstat(fd, &s) || !S_ISREG(s.st_mode)) {
        st = fail(FDEC_E_DATA, "%s: not a regular file", path);
        goto out;
    }
    if ((uint64_t) s.st_size > max) {
        st = fail(FDEC_E_DATA, "%s: %lld bytes, the limit is %zu", path, (long long) s.st_size, max);
        goto out;
    }
    text = malloc((size_t) s.st_size + 1);
    try_alloc(text);
    size_t got = 0;
    for (ssize_t r = 1; got < (size_t) s.st_size && r > 0; got += r > 0 ? (size_t) r : 0)
        r = read(fd, text + got, (size_t) s.st_size - got);
    if (got != (size_t) s.st_size) {
        st = fail(FDEC_E_DATA, "%s: read %zu of %lld bytes", path, got, (long long) s.st_size);
        goto out;
    }
    text[got] = 0;
    *data = text;
    *n = got;
    text = NULL;
out:
    free(text);
    if (fd >= 0)
        close(fd);
    return st;
}

static bool write_all(int fd, const char *data, size_t n)
{
    while (n) {
        const ssize_t w = write(fd, data, n);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return false;
        data += w;
        n -= (size_t) w;
    }
    return true;
}

fdec_status file_write_atomic(const char *path, const void *data, size_t n, unsigned mode)
{
    char temp[4096];
    if (snprintf(temp, sizeof temp, "%s.XXXXXX", path) >= (int) sizeof temp)
        return fail(FDEC_E_DATA, "%.200s...: path too long", path);
    const int fd = mkstemp(temp);
    if (fd < 0)
        return fail(FDEC_E_DATA, "%s: cannot create: %s", temp, strerror(errno));
    const bool written = write_all(fd, data, n) && !fchmod(fd, mode) && !fsync(fd);
    const int write_errno = errno;
    if (close(fd) || !written || rename(temp, path)) {
        const int err = written ? errno : write_errno;
        unlink(temp);
        return fail(FDEC_E_DATA, "%s: cannot write: %s", path, strerror(err));
    }
    return FDEC_OK;
}

bool make_dirs(const char *path, unsigned mode)
{
    char part[4096];
    if (snprintf(part, sizeof part, "%s", path) >= (int) sizeof part)
        return false;
    for (char *slash = part + 1; *slash; slash++) {
        if (*slash != '/')
            continue;
        *slash = 0;
        if (mkdir(part, mode) && errno != EEXIST)
            return false;
        *slash = '/';
    }
    struct stat s;
    return (!mkdir(part, mode) || errno == EEXIST) && !stat(part, &s) && S_ISDIR(s.st_mode);
}
