/* SPDX-License-Identifier: MIT
 * bench_plot.c - a sweep as a picture: t(M) of the library, its floor, and the peers, by gnuplot
 *
 * gnuplot is a program that may be there. Script and data go into its standard input, the picture comes from its
 * standard output into memory, and from there into the file, so that no file name is quoted and no half picture
 * stays. */
#include "bench.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* Runs gnuplot [argument]; in and out: its standard input and output. */
static fdec_status spawn_gnuplot(const char *argument, int in, int out, pid_t *pid)
{
    char *const argv[] = {(char *) "gnuplot", (char *) argument, NULL};
    posix_spawn_file_actions_t actions;
    if (posix_spawn_file_actions_init(&actions))
        return fail(FDEC_E_MEMORY, "gnuplot: out of memory");
    int err = posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
    err = err ? err : posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    err = err ? err : posix_spawnp(pid, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    return err ? fail(FDEC_E_DATA, "--svg needs gnuplot, which cannot be run: %s", strerror(err)) : FDEC_OK;
}

static fdec_status wait_for(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return fail(FDEC_E_DATA, "gnuplot: %s", strerror(errno));
    return status ? fail(FDEC_E_DATA, "gnuplot failed") : FDEC_OK;
}

fdec_status plot_ready(void)
{
    const int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
    pid_t pid;
    fdec_status st = FDEC_OK;
    if (nowhere < 0)
        return fail(FDEC_E_DATA, "/dev/null: %s", strerror(errno));
    try_st(spawn_gnuplot("--version", nowhere, nowhere, &pid));
    st = wait_for(pid);
out:
    close(nowhere);
    return st;
}

/* ---- the script ---- */

/* Between single quotes gnuplot takes everything as it is, but for the quote itself. */
static void print_quoted(FILE *f, const char *text)
{
    putc('\'', f);
    for (; *text; text++) {
        if (*text == '\'')
            putc('\'', f);
        putc(*text, f);
    }
    putc('\'', f);
}

static const struct runner *find_runner(const struct point *pt, const char *name)
{
    for (const struct runner *r = pt->runners; r < pt->runners + pt->n_runners; r++)
        if (!strcmp(r->name, name) && r->stats.n > 0)
            return r;
    return NULL;
}

/* The contestants of all points, each once: a peer can be missing at some of them. */
static int find_series(const struct sitting *s, const char *names[MAX_RUNNERS])
{
    int n = 0;
    for (int i = 0; i < s->n_points; i++)
        for (const struct runner *r = s->points[i].runners; r < s->points[i].runners + s->points[i].n_runners; r++) {
            int at = 0;
            while (at < n && strcmp(names[at], r->name))
                at++;
            if (at == n && n < MAX_RUNNERS && r->stats.n > 0)
                names[n++] = r->name;
        }
    return n;
}

static void print_script(FILE *f, const struct sitting *s)
{
    const char *names[MAX_RUNNERS];
    const int n = find_series(s, names);
    char title[PROBLEM_TEXT + 256];
    problem_class(&s->points[0].problem, title);
    append(title, sizeof title, " on %s", s->bench->session.ctx->device.name);
    for (int i = 0; i < n; i++) {
        fprintf(f, "$series%d << END\n", i);
        for (int j = 0; j < s->n_points; j++) {
            const struct runner *r = find_runner(&s->points[j], names[i]);
            if (r)
                fprintf(f, "%d %.9g\n", (int) s->points[j].problem.linear.m, r->stats.median);
        }
        fprintf(f, "END\n");
    }
    fprintf(f, "$floor << END\n");
    for (int j = 0; j < s->n_points; j++)
        fprintf(f, "%d %.9g\n", (int) s->points[j].problem.linear.m, s->points[j].floor_us);
    fprintf(f, "END\nset terminal svg size 960,640 noenhanced background 'white'\nset title ");
    print_quoted(f, title);
    fprintf(f, "\nset xlabel 'M, rows of x'\nset ylabel 'time of a run in us, median'\nset key outside right top\n"
               "set logscale x 2\nset logscale y 10\nset grid\n"
               "plot $floor with lines dashtype 2 linecolor 'black' title 'floor'");
    for (int i = 0; i < n; i++) {
        fprintf(f, ", $series%d with lines linewidth 2 title ", i);
        print_quoted(f, names[i]);
    }
    fprintf(f, "\n");
}

/* ---- the file ---- */

/* Feeds the script to a gnuplot that writes to `picture`. */
static fdec_status draw(const struct sitting *s, FILE *picture)
{
    fdec_status st = FDEC_OK;
    int ends[2];
    pid_t pid;
    if (pipe(ends))
        return fail(FDEC_E_DATA, "gnuplot: %s", strerror(errno));
    fcntl(ends[1], F_SETFD, FD_CLOEXEC); /* or gnuplot would hold its own input open */
    st = spawn_gnuplot(NULL, ends[0], fileno(picture), &pid);
    close(ends[0]);
    FILE *script = st ? NULL : fdopen(ends[1], "w");
    if (!script) {
        close(ends[1]);
        return st ? st : wait_for(pid);
    }
    struct sigaction before, ignore = {.sa_handler = SIG_IGN}; /* a gnuplot that ends early is told by its status */
    sigaction(SIGPIPE, &ignore, &before);
    print_script(script, s);
    fclose(script);
    sigaction(SIGPIPE, &before, NULL);
    return wait_for(pid);
}

fdec_status plot_sweep(const struct sitting *s, const char *path)
{
    fdec_status st = FDEC_OK;
    char *bytes = NULL;
    FILE *picture = tmpfile();
    if (!picture)
        return fail(FDEC_E_DATA, "temporary file: %s", strerror(errno));
    try_st(draw(s, picture));
    fseek(picture, 0, SEEK_END);
    const long n = ftell(picture);
    if (n <= 0) {
        st = fail(FDEC_E_DATA, "gnuplot drew nothing");
        goto out;
    }
    try_alloc(bytes = malloc((size_t) n));
    rewind(picture);
    if (fread(bytes, 1, (size_t) n, picture) != (size_t) n) {
        st = fail(FDEC_E_DATA, "what gnuplot drew cannot be read");
        goto out;
    }
    st = file_write_atomic(path, bytes, (size_t) n, 0644);
out:
    fclose(picture);
    free(bytes);
    return st;
}
