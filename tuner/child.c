/* SPDX-License-Identifier: MIT
 * child.c - a worker as the parent sees it
 *
 * The worker is this program exec'ed again (OpenCL after fork() alone is broken), in a process group of its own, so
 * that a Ctrl-C on the terminal does not reach it and a kill reaches all that it has started. It dies with its
 * parent. */
#define _GNU_SOURCE
#include "tuner.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORKER_FD = 3, EXIT_WAIT_MS = 1000 };

/* A candidate that asks for more memory than there is fails, and the machine lives. */
static void limit_address_space(uint64_t bytes)
{
    const struct rlimit limit = {(rlim_t) bytes, (rlim_t) bytes};
#ifdef __SANITIZE_ADDRESS__
    bytes = 0; /* its shadow alone takes more addresses than any limit gives */
#endif
    if (bytes)
        setrlimit(RLIMIT_AS, &limit);
}

/* In the forked child; only async-signal-safe calls, except setenv: the parent has one thread. */
static void become_worker(pid_t parent, int fd, const char *device, const char *work, uint64_t limit_bytes)
{
    char errors[1100];
    const struct rlimit no_core = {0, 0};
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) /* it died before prctl */
        _exit(1);
    setrlimit(RLIMIT_CORE, &no_core);
    limit_address_space(limit_bytes);
    for (int sig = 1; sig < NSIG; sig++)
        signal(sig, SIG_DFL);
    snprintf(errors, sizeof errors, "%s/worker.err", work);
    const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    const int err = open(errors, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (null < 0 || err < 0 || dup2(fd, WORKER_FD) < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(err, 2) < 0)
        _exit(1);
    fcntl(WORKER_FD, F_SETFD, 0); /* where fd was WORKER_FD already, dup2 has not cleared it */
    if (device)
        setenv("FLASHDEC_DEVICE", device, 1);
    /* A candidate is forced: a table that cannot be read must not stop the worker, and nobody asked for its shapes. */
    unsetenv("FLASHDEC_TABLE");
    unsetenv("FLASHDEC_TABLE_ONLY");
    unsetenv("FLASHDEC_RECORD");
    execl("/proc/self/exe", "flashdec-tune", "--worker", work, (char *) NULL);
    _exit(1);
}

fdec_status child_start(struct child *c, const char *device, const char *work, uint64_t limit_bytes)
{
    int fds[2];
    c->n = 0;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
        return fail(FDEC_E_DEVICE, "socketpair: %s", strerror(errno));
    const pid_t parent = getpid(), pid = fork();
    if (pid == 0)
        become_worker(parent, fds[1], device, work, limit_bytes);
    close(fds[1]);
    if (pid < 0) {
        close(fds[0]);
        return fail(FDEC_E_DEVICE, "fork: %s", strerror(errno));
    }
    setpgid(pid, pid); /* in both, so that neither has to wait for the other */
    c->pid = pid;
    c->fd = fds[0];
    return FDEC_OK;
}

bool child_say(struct child *c, json_t *line)
{
    char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
    json_decref(line);
    if (!text)
        return false;
    const size_t n = strlen(text);
    text[n] = '\n'; /* in place of the terminating 0 */
    size_t sent = 0;
    while (sent < n + 1) {
        const ssize_t w = send(c->fd, text + sent, n + 1 - sent, MSG_NOSIGNAL);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            break;
        sent += (size_t) w;
    }
    free(text);
    return sent == n + 1;
}

static bool take_line(struct child *c, json_t **line)
{
    const char *end = memchr(c->buf, '\n', c->n);
    if (!end)
        return false;
    const size_t length = (size_t) (end - c->buf);
    *line = json_loadb(c->buf, length, JSON_REJECT_DUPLICATES, NULL);
    c->n -= length + 1;
    memmove(c->buf, end + 1, c->n);
    return true;
}

enum heard child_hear(struct child *c, int ms, json_t **line)
{
    *line = NULL;
    if (!take_line(c, line)) {
        struct pollfd p = {.fd = c->fd, .events = POLLIN};
        if (poll(&p, 1, ms) <= 0)
            return HEARD_NOTHING;
        const ssize_t got = read(c->fd, c->buf + c->n, sizeof c->buf - c->n);
        if (got < 0 && errno == EINTR)
            return HEARD_NOTHING;
        if (got <= 0)
            return HEARD_END; /* gone, or a line longer than the buffer: no line of ours */
        c->n += (size_t) got;
        if (!take_line(c, line))
            return HEARD_NOTHING;
    }
    return *line ? HEARD_LINE : HEARD_END;
}

void child_kill(struct child *c, char *why, size_t n)
{
    int status = 0;
    bool reaped = false;
    if (!c->pid)
        return;
    for (int waited = 0; why && !reaped && waited < EXIT_WAIT_MS; waited += 10) { /* how did it end by itself? */
        reaped = waitpid(c->pid, &status, WNOHANG) == c->pid;
        if (!reaped)
            poll(NULL, 0, 10);
    }
    kill(-c->pid, SIGKILL); /* also what it may have left behind */
    while (!reaped && waitpid(c->pid, &status, 0) < 0 && errno == EINTR) {
    }
    close(c->fd);
    c->pid = 0;
    if (!why)
        return;
    if (!reaped)
        snprintf(why, n, "closed its pipe and went on");
    else if (WIFSIGNALED(status))
        snprintf(why, n, "signal %d, %s", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        snprintf(why, n, "exit status %d", WEXITSTATUS(status));
}
