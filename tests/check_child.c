/* SPDX-License-Identifier: MIT
 * check_child.c - see check_child.h */
#define _GNU_SOURCE
#include "check_child.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static bool start_child(struct child *ch, char **argv, int argc, const char *kernel, int start)
{
    int fd[2];
    char progress[16], from[16];
    char *args[64];
    if (argc > 40 || pipe(fd))
        return false;
    memcpy(args, argv, (size_t) argc * sizeof *args);
    snprintf(progress, sizeof progress, "%d", fd[1]);
    snprintf(from, sizeof from, "%d", start);
    const char *const more[] = {"--kernel", kernel, "--start", from, "--progress", progress, NULL};
    memcpy(args + argc, more, sizeof more);
    *ch = (struct child){.pipe = fd[0], .at = start, .pid = fork()};
    if (ch->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(fd[0]);
        execv("/proc/self/exe", args);
        _exit(127);
    }
    close(fd[1]);
    return ch->pid > 0;
}

/* False: the child's end of the pipe is closed. */
static bool read_progress(struct child *ch)
{
    char c;
    const ssize_t n = read(ch->pipe, &c, 1);
    if (n <= 0)
        return n < 0 && errno == EINTR;
    if (c != '\n' && ch->used + 1 < sizeof ch->line) {
        ch->line[ch->used++] = c;
        return true;
    }
    ch->line[ch->used] = 0;
    ch->used = 0;
    ch->ended = ch->line[0] == 'e';
    sscanf(ch->line + 1, "%d %d %d", &ch->at, &ch->passed, &ch->failed);
    return true;
}

bool child_run(struct child *ch, char **argv, int argc, const char *kernel, int start, int timeout_s)
{
    int ready;
    if (!start_child(ch, argv, argc, kernel, start))
        return false;
    while ((ready = poll(&(struct pollfd){.fd = ch->pipe, .events = POLLIN}, 1, timeout_s * 1000)) != 0)
        if (ready > 0 && !read_progress(ch))
            break;
    ch->timed_out = ready == 0;
    if (ch->timed_out)
        kill(ch->pid, SIGKILL);
    close(ch->pipe);
    while (waitpid(ch->pid, &ch->status, 0) < 0 && errno == EINTR)
        continue;
    return true;
}
