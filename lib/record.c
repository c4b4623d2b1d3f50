/* SPDX-License-Identifier: MIT
 * record.c - FLASHDEC_RECORD: the shapes that runs ask for, as a list that flashdec-tune --shapes reads
 *
 * One problem a line, appended by one write() each, so that processes and threads may share a file. A plan writes a
 * shape once. Its range numbers are those powers of two between which the run's lie (at most the plan's own), since a
 * context that grows by a token would be a new shape every time; a table's ranges begin and end at measured points. */
#include "plan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N_POWERS = 64 };

fdec_status record_open(struct fdec_ctx *ctx)
{
    const char *path = getenv("FLASHDEC_RECORD");
    if (!path || !*path)
        return FDEC_OK;
    ctx->record_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0644);
    return ctx->record_fd >= 0 ? FDEC_OK
                               : fail(FDEC_E_DATA, "FLASHDEC_RECORD=%s: cannot open: %s", path, strerror(errno));
}

void record_close(struct fdec_ctx *ctx)
{
    if (ctx->record_fd >= 0)
        close(ctx->record_fd);
}

fdec_status record_start(fdec_plan *plan)
{
    if (plan->ctx->record_fd < 0 || !op_is_tuned(plan->problem.op))
        return FDEC_OK;
    plan->recorded = calloc(N_POWERS, sizeof *plan->recorded);
    return plan->recorded ? FDEC_OK : fail(FDEC_E_MEMORY, "out of memory: what was recorded");
}

/* Writes the plan's problem at the range numbers 2^power (at most the plan's own), if it has not yet. */
static void record_point(const fdec_plan *plan, const int power[N_RANGES])
{
    const uint64_t bit = (uint64_t) 1 << power[0];
    if (atomic_fetch_or(&plan->recorded[power[1]], bit) & bit)
        return;
    struct problem p = plan->problem;
    char line[PROBLEM_TEXT + 1];
    int64_t at[N_RANGES];
    problem_range(&p, at);
    for (int i = 0; i < N_RANGES; i++)
        at[i] = MIN((int64_t) 1 << power[i], at[i]);
    problem_set_range(&p, at);
    problem_print(&p, line);
    const size_t n = strlen(line);
    line[n] = '\n';
    if (write(plan->ctx->record_fd, line, n + 1) != (ssize_t) (n + 1))
        log_line(&plan->ctx->log, LOG_SELECT, "FLASHDEC_RECORD: cannot write: %s", strerror(errno));
}

/* The largest i with 2^i <= v. */
static int power_below(int64_t v)
{
    int i = 0;
    while (i < N_POWERS - 2 && (int64_t) 2 << i <= v)
        i++;
    return i;
}

void record_run(const fdec_plan *plan, const struct problem *p)
{
    int64_t at[N_RANGES];
    if (!plan->recorded)
        return;
    problem_range(p, at);
    for (int corner = 0; corner < 4; corner++) {
        int power[N_RANGES];
        for (int i = 0; i < N_RANGES; i++) {
            power[i] = power_below(at[i]);
            power[i] += (corner >> i & 1) && at[i] > (int64_t) 1 << power[i];
        }
        record_point(plan, power);
    }
}
