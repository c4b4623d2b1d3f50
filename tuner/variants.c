/* SPDX-License-Identifier: MIT
 * variants.c - what would be compiled for a card: a line for each program, and for each of its kernels
 *
 * Of every variant that a problem and the card allow and that the tuner would time: the analytic default, and a few
 * other configurations (samples). tools/offline compiles them without the card. Columns, tab separated:
 *     kernel  configuration  problem  default|-  entry  items of a group  source file  options  program
 * default: what the library would take there without a table. program: a hash of options and entry. The first line
 * tells of the card:
 *     # name  architecture  items in step  local bytes, registers, items, groups of a compute unit */
#include "program.h"
#include "tuner.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SEEN = 4096, LIST_MAX_BYTES = 1 << 20 };

struct listing {
    const struct target *target;
    int n_seen;
    uint64_t seen[MAX_SEEN]; /* programs that have been listed */
};

uint64_t program_hash(const struct kernel *k, const struct problem *p, const struct device *d, const int *cfg,
                      int launch)
{
    char options[2 * MAX_DEFINES];
    program_options(k, p, d, cfg, launch, options, sizeof options);
    return hash64(options, strlen(options), hash64(k->entry[launch], strlen(k->entry[launch]), 0));
}

static bool first_time(struct listing *l, uint64_t program)
{
    for (int i = 0; i < l->n_seen; i++)
        if (l->seen[i] == program)
            return false;
    if (l->n_seen < MAX_SEEN)
        l->seen[l->n_seen++] = program;
    return true;
}

static size_t items_of(const struct launch *launch)
{
    size_t n = 1;
    for (int i = 0; i < 3 && launch->local[i]; i++)
        n *= launch->local[i];
    return n;
}

static void print_program(struct listing *l, const struct problem *p, const struct candidate *c, bool is_default)
{
    const struct device *d = &l->target->facts.device;
    const struct geometry g = c->kernel->geometry(p, d, c->cfg);
    char config[400], options[2 * MAX_DEFINES], text[PROBLEM_TEXT];
    kernel_print_config(c->kernel, c->cfg, config, sizeof config);
    problem_print(p, text);
    for (int i = 0; i < g.n_launches; i++) {
        const uint64_t program = program_hash(c->kernel, p, d, c->cfg, i);
        program_options(c->kernel, p, d, c->cfg, i, options, sizeof options);
        if (first_time(l, program))
            printf("%s\t%s\t%s\t%s\t%s\t%zu\t%s\t%s\t%016" PRIx64 "\n", c->kernel->name, *config ? config : "-", text,
                   is_default ? "default" : "-", c->kernel->entry[i], items_of(&g.launch[i]), c->kernel->source->file,
                   options, program);
    }
}

static bool allowed(const struct problem *p, const struct device *d, const struct candidate *c)
{
    return !c->kernel->reject(p, d, c->cfg) && (!c->kernel->prune || !c->kernel->prune(p, d, c->cfg));
}

/* So many of the kernel's configurations, evenly spread over their list. */
static void print_samples(struct listing *l, const struct problem *p, struct candidate *c, int samples)
{
    const struct device *d = &l->target->facts.device;
    int at[MAX_PARAMS], n = 0, i = 0;
    kernel_first(c->kernel, at, c->cfg);
    do
        n += allowed(p, d, c);
    while (kernel_next(c->kernel, at, c->cfg));
    kernel_first(c->kernel, at, c->cfg);
    do
        if (allowed(p, d, c)) {
            if (i * samples / n != (i + 1) * samples / n)
                print_program(l, p, c, false);
            i++;
        }
    while (kernel_next(c->kernel, at, c->cfg));
}

static void print_problem(struct listing *l, const struct problem *p, int samples)
{
    const struct device *d = &l->target->facts.device;
    const bool denied[MAX_KERNELS] = {0};
    struct candidate best;
    if (candidate_default(p, d, denied, &best))
        print_program(l, p, &best, true);
    for (int i = 0; kernels[i]; i++) {
        struct candidate c = {.kernel = kernels[i]};
        if (c.kernel->op != p->op || c.kernel->host_run)
            continue;
        if ((!c.kernel->expect || kernel_expect(c.kernel, p, d, c.cfg) > 0) && allowed(p, d, &c))
            print_program(l, p, &c, false);
        print_samples(l, p, &c, samples);
    }
}

/* A file with one problem a line, of any operation; '#' begins a comment. Cuts it up. */
static fdec_status print_list(struct listing *l, char *lines, int samples)
{
    struct problem p;
    char why[200];
    for (char *line = strtok(lines, "\n"); line; line = strtok(NULL, "\n")) {
        if (*line == '#')
            continue;
        if (!problem_parse(line, &p, why, sizeof why))
            return fail(FDEC_E_DATA, "'%.100s': %s", line, why);
        print_problem(l, &p, samples);
    }
    return FDEC_OK;
}

fdec_status variants_run(const char *target, const char *list, int samples)
{
    fdec_status st = FDEC_OK;
    struct target t;
    char *text = NULL;
    size_t n;
    struct listing *l = calloc(1, sizeof *l);
    try_alloc(l);
    try_st(target_find(target, &t));
    try_st(file_read(list, LIST_MAX_BYTES, &text, &n));
    l->target = &t;
    printf("# %s %s %d %d %d %d %d\n", t.name, t.arch, t.wave, t.unit_local_bytes, t.unit_registers, t.unit_items,
           t.unit_groups);
    try_st(print_list(l, text, samples));
out:
    free(text);
    free(l);
    return st;
}
