/* SPDX-License-Identifier: MIT
 * main.c - flashdec-tune: options and subcommands */
#include "tuner.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { EXIT_USAGE = 2, MAX_MERGED = 64 };

static const char usage[] =
    "Usage: flashdec-tune [OPTION...]\n"
    "       flashdec-tune build LOG --out TABLE\n"
    "       flashdec-tune check TABLE\n"
    "       flashdec-tune diff TABLE TABLE\n"
    "       flashdec-tune merge TABLE TABLE... --out TABLE\n"
    "       flashdec-tune verify TABLE [--budget SECONDS]\n"
    "       flashdec-tune report LOG [--table TABLE] --out PAGE.html\n"
    "       flashdec-tune export LOG --format F [--problem P --kernel K] [--out FILE]\n"
    "       flashdec-tune model --target NAME --resources FILE --out TABLE\n"
    "       flashdec-tune model --target NAME --samples N --shapes FILE\n"
    "       flashdec-tune model LOG\n"
    "\n"
    "Measures which kernels are fastest on a device and writes a table for the library to choose by.\n"
    "\n"
    "  --device D        the device to tune: N, P:D, pci:..., uuid:... or a part of its name;\n"
    "                    without it FLASHDEC_DEVICE, then the first GPU, then the first device\n"
    "  --shapes S        what to tune: a preset (stories260k, llama2-7b, llama2-13b, llama3-8b, mistral-7b,\n"
    "                    qwen2.5-7b, opt-6.7b, chatglm2-6b; with :TYPE for weights of another type than f16, and\n"
    "                    :TYPE:packed for packed ones), a model MODEL.gguf, or a file with one problem a line, as\n"
    "                    FLASHDEC_RECORD makes one (default: stories260k)\n"
    "  --budget SECONDS  time to spend; 0: until everything has been measured (default: 60; verify: 20)\n"
    "  --strategy S      default: best guesses first, then points around the crossings, then neighbours of what\n"
    "                    wins, else by a model of the device; local: descents from many starts; halving: many at\n"
    "                    the cheapest shape, few at all; random; exhaustive: all that is valid, in order\n"
    "  --seed N          of the random order (default: 1)\n"
    "  --out TABLE.json  where the table goes (default: the user's table directory, where the library finds it)\n"
    "  --fresh           measure everything again; without it earlier measurements of this device are used\n"
    "  --limits B,F,R    seconds after which a candidate is killed: while it builds, in its first launch, in a\n"
    "                    later one (default: 120,60,2; a run may always take 200 times the best)\n"
    "  --replay LOG      search in a log instead of on a device: prints how soon the strategy comes how near to the\n"
    "                    best of the log, as CSV; a table only with --out\n"
    "  --table TABLE     of report: whose choices it shows, instead of those that the log gives\n"
    "  --format F        of export: t4, kernel-tuner, csv, chrome-trace\n"
    "  --problem P, --kernel K   what export --format kernel-tuner is to write of\n"
    "  --target NAME     of model: a card of data/targets.json (a100, h100, h200, rtx4090, mi50, mi210, mi300x,\n"
    "                    rx6900xt, rx7900xtx, rx9060xt)\n"
    "  --resources FILE  of model: what tools/offline printed\n"
    "  --samples N       of model: list the programs that tools/offline compiles, with N configurations of each\n"
    "                    variant beside its first; --shapes is a file with problems of any operation then\n"
    "  --quiet           print nothing but errors\n"
    "  --help            print this and exit\n"
    "  --version         print the version and exit\n";

static const char usage_of_commands[] =
    "\n"
    "build LOG --out TABLE   makes a table from a log of measurements; the same log gives the same bytes\n"
    "check TABLE             validates a table and prints what is in it\n"
    "diff TABLE TABLE        prints what the second one has otherwise than the first\n"
    "merge TABLE TABLE...    one table out of several of a device: each class of shapes from the one that knows it "
    "best\n"
    "verify TABLE            measures as many of its entries again as the budget allows, winners over the default "
    "first;\n"
    "                        status 1 when one is wrong or slower than the default\n"
    "report LOG --out PAGE   makes an HTML page of a log: candidates, choices, crossings, bandwidth, failures\n"
    "export LOG --format F   writes the measurements of a log for other programs, to standard output or --out FILE\n"
    "model                   computes a table for a card that is not here, never measured; of a LOG: how well the\n"
    "                        model ranks what was measured\n"
    "\n"
    "Log: $XDG_STATE_HOME/flashdec/HASH.jsonl. Ctrl-C keeps the best so far; a second one exits at once.\n"
    "Exit status: 0 success, 1 failure, 2 usage.\n";

__attribute__((format(printf, 1, 2))) static int bad_usage(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("flashdec-tune: ", stderr);
    vfprintf(stderr, format, args);
    fputs(" (--help tells more)\n", stderr);
    va_end(args);
    return EXIT_USAGE;
}

static int failure(void)
{
    fprintf(stderr, "flashdec-tune: %s\n", fdec_last_error());
    return 1;
}

/* ---- numbers ---- */

static bool parse_seconds(const char *text, double *out, char **end)
{
    *out = strtod(text, end);
    return *end != text && isfinite(*out) && *out >= 0 && *out <= 1e7;
}

static bool parse_seed(const char *text, uint64_t *out)
{
    char *end;
    errno = 0;
    const long long v = strtoll(text, &end, 10);
    *out = (uint64_t) v;
    return end != text && !*end && !errno && v >= 0;
}

static bool parse_limits(const char *text, struct options *o)
{
    char *end;
    return parse_seconds(text, &o->build_s, &end) && *end == ',' && parse_seconds(end + 1, &o->first_s, &end) &&
           *end == ',' && parse_seconds(end + 1, &o->run_s, &end) && !*end && o->build_s > 0 && o->first_s > 0 &&
           o->run_s > 0;
}

/* ---- subcommands ---- */

static int build_command(const char *log, const char *out)
{
    struct journal j = {.fd = -1};
    struct table *t = NULL;
    fdec_status st = FDEC_OK;
    try_st(journal_read(log, false, &j));
    try_st(build_table(&j, &t));
    try_st(table_write(t, out));
    if (j.n_stale)
        fprintf(stderr, "flashdec-tune: %s: %d lines are of kernels that have changed since, not used\n", log,
                j.n_stale);
out:
    table_destroy(&t);
    journal_close(&j);
    return st == FDEC_OK ? 0 : failure();
}

static int check_command(const char *path)
{
    struct table *t;
    if (table_read(path, &t) != FDEC_OK)
        return failure();
    table_summary(t, stdout);
    table_destroy(&t);
    return 0;
}

static int diff_command(const char *const paths[2])
{
    struct table *tables[2] = {NULL, NULL};
    fdec_status st = FDEC_OK;
    for (int i = 0; i < 2; i++)
        try_st(table_read(paths[i], &tables[i]));
    table_diff(tables[0], tables[1], stdout);
out:
    for (int i = 0; i < 2; i++)
        table_destroy(&tables[i]);
    return st == FDEC_OK ? 0 : failure();
}

struct merging {
    const char *const *paths;
    int n;
};

/* Under the lock of what is written, which may be one of the paths: a run that ends meanwhile loses nothing. */
static fdec_status merge_tables(void *arg, const struct table *old, const char *unreadable, struct table **out)
{
    const struct merging *m = arg;
    struct table *tables[MAX_MERGED] = {NULL};
    fdec_status st = FDEC_OK;
    (void) old, (void) unreadable;
    for (int i = 0; i < m->n; i++)
        try_st(table_read(m->paths[i], &tables[i]));
    try_st(table_merge((const struct table *const *) tables, m->n, false, stderr, out));
out:
    for (int i = 0; i < m->n; i++)
        table_destroy(&tables[i]);
    return st;
}

static int merge_command(const char *const *paths, int n, const char *out)
{
    return table_update(out, merge_tables, &(struct merging){paths, n}) == FDEC_OK ? 0 : failure();
}

static int model_command(int argc, char **argv, const struct options *o)
{
    fdec_status st;
    if (argc == 2 && !o->target)
        st = model_rank(argv[1]);
    else if (argc == 1 && o->target && o->samples >= 0)
        st = variants_run(o->target, o->shapes, o->samples);
    else if (argc == 1 && o->target && o->resources && o->out)
        st = model_table(o->target, o->shapes, o->resources, o->out);
    else
        return bad_usage("model needs --target NAME --resources FILE --out TABLE, or --target NAME --samples N, "
                         "or one LOG");
    return st == FDEC_OK ? 0 : failure();
}

static int subcommand(int argc, char **argv, const struct options *o)
{
    if (!strcmp(argv[0], "build")) {
        if (argc != 2 || !o->out)
            return bad_usage("build needs one LOG and --out TABLE");
        return build_command(argv[1], o->out);
    }
    if (!strcmp(argv[0], "check")) {
        if (argc != 2)
            return bad_usage("check needs one TABLE");
        return check_command(argv[1]);
    }
    if (!strcmp(argv[0], "diff")) {
        if (argc != 3)
            return bad_usage("diff needs two TABLEs");
        return diff_command((const char *const[]){argv[1], argv[2]});
    }
    if (!strcmp(argv[0], "merge")) {
        if (argc < 3 || argc - 1 > MAX_MERGED || !o->out)
            return bad_usage("merge needs 2 to %d TABLEs and --out TABLE", MAX_MERGED);
        return merge_command((const char *const *) argv + 1, argc - 1, o->out);
    }
    if (!strcmp(argv[0], "verify")) {
        if (argc != 2)
            return bad_usage("verify needs one TABLE");
        return verify_run(o, argv[1]);
    }
    if (!strcmp(argv[0], "report")) {
        if (argc != 2 || !o->out)
            return bad_usage("report needs one LOG and --out PAGE.html");
        return report_run(o, argv[1]) == FDEC_OK ? 0 : failure();
    }
    if (!strcmp(argv[0], "export")) {
        if (argc != 2 || !o->format)
            return bad_usage("export needs one LOG and --format t4, kernel-tuner, csv or chrome-trace");
        return export_run(o, argv[1]) == FDEC_OK ? 0 : failure();
    }
    if (!strcmp(argv[0], "model"))
        return model_command(argc, argv, o);
    return bad_usage("'%s' is no command", argv[0]);
}

enum option_key {
    DEVICE = 256,
    SHAPES,
    BUDGET,
    STRATEGY,
    SEED,
    REPLAY,
    OUT,
    FRESH,
    LIMITS,
    TABLE,
    FORMAT,
    PROBLEM,
    KERNEL,
    TARGET,
    RESOURCES,
    SAMPLES,
    QUIET,
    HELP,
    VERSION
};

static const struct option long_options[] = {
    {"device", required_argument, NULL, DEVICE},
    {"shapes", required_argument, NULL, SHAPES},
    {"budget", required_argument, NULL, BUDGET},
    {"strategy", required_argument, NULL, STRATEGY},
    {"seed", required_argument, NULL, SEED},
    {"replay", required_argument, NULL, REPLAY},
    {"out", required_argument, NULL, OUT},
    {"fresh", no_argument, NULL, FRESH},
    {"limits", required_argument, NULL, LIMITS},
    {"table", required_argument, NULL, TABLE},
    {"format", required_argument, NULL, FORMAT},
    {"problem", required_argument, NULL, PROBLEM},
    {"kernel", required_argument, NULL, KERNEL},
    {"target", required_argument, NULL, TARGET},
    {"resources", required_argument, NULL, RESOURCES},
    {"samples", required_argument, NULL, SAMPLES},
    {"quiet", no_argument, NULL, QUIET},
    {"help", no_argument, NULL, HELP},
    {"version", no_argument, NULL, VERSION},
    {NULL, 0, NULL, 0},
};

/* -1: go on. Else the exit status. */
static int parse_option(int key, struct options *o)
{
    char *end;
    switch (key) {
    case DEVICE: o->device = optarg; return -1;
    case SHAPES: o->shapes = optarg; return -1;
    case OUT: o->out = optarg; return -1;
    case FRESH: o->fresh = true; return -1;
    case QUIET: o->quiet = true; return -1;
    case BUDGET:
        return parse_seconds(optarg, &o->budget_s, &end) && !*end
                   ? -1
                   : bad_usage("--budget %s: no number of seconds", optarg);
    case SEED: return parse_seed(optarg, &o->seed) ? -1 : bad_usage("--seed %s: no whole number >= 0", optarg);
    case LIMITS:
        return parse_limits(optarg, o) ? -1 : bad_usage("--limits %s: not three positive numbers B,F,R", optarg);
    case STRATEGY:
        return strategy_parse(optarg, &o->strategy)
                   ? -1
                   : bad_usage("--strategy %s: not default, random, local, halving or exhaustive", optarg);
    case TABLE: o->table = optarg; return -1;
    case FORMAT:
        return export_format_parse(optarg, &o->format)
                   ? -1
                   : bad_usage("--format %s: not t4, kernel-tuner, csv or chrome-trace", optarg);
    case PROBLEM: o->problem = optarg; return -1;
    case KERNEL: o->kernel = optarg; return -1;
    case TARGET: o->target = optarg; return -1;
    case RESOURCES: o->resources = optarg; return -1;
    case SAMPLES: {
        uint64_t n;
        if (!parse_seed(optarg, &n) || n > 1000)
            return bad_usage("--samples %s: no whole number from 0 to 1000", optarg);
        o->samples = (int) n;
        return -1;
    }
    case REPLAY: o->replay = optarg; return -1;
    case HELP: printf("%s%s", usage, usage_of_commands); return 0;
    case VERSION: printf("flashdec-tune %s\n", fdec_version()); return 0;
    default: return bad_usage("wrong option");
    }
}

int main(int argc, char **argv)
{
    struct options o = {
        .shapes = "stories260k", .budget_s = -1, .seed = 1, .samples = -1, .build_s = 120, .first_s = 60, .run_s = 2};
    signal(SIGXFSZ, SIG_IGN); /* over a limit on the size of files write() fails, like on a full disk */
    if (argc == 3 && !strcmp(argv[1], "--worker")) /* how the parent starts its workers */
        return worker_main(argv[2]);
    for (int key; (key = getopt_long(argc, argv, "", long_options, NULL)) != -1;) {
        const int status = parse_option(key, &o);
        if (status >= 0)
            return status;
    }
    const bool verifies = optind < argc && !strcmp(argv[optind], "verify");
    if (o.budget_s < 0)
        o.budget_s = verifies ? 20 : 60;
    if (optind < argc)
        return subcommand(argc - optind, argv + optind, &o);
    return o.replay ? replay_run(&o) : session_run(&o);
}
