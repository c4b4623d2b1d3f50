/* SPDX-License-Identifier: MIT
 * bench.c - flashdec-bench: how fast, next to what the machine can do and to what else there is
 *
 *     flashdec-bench attn|linear|softmax|all [options]
 *
 * The options of a problem become the text that problem_parse() reads, "attn:f16 b=1 h=32/8 d=128 n=4096": one parser
 * for tables, tuner and benchmark. */
#include "bench.h"
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: flashdec-bench attn|linear|softmax|all [options]\n"
    "Checks the kernel the library would choose, then times it beside the roofline of the machine and other "
    "libraries.\n"
    "\n"
    "attn:     --batch B (1)  --heads H (32)  --kv-heads G (as H)  --head-dim D (128)  --v-head-dim D (as K's)\n"
    "          --context T (2048)  --contexts T,T,T,... (a line each, then the fit time = a + b * T)\n"
    "          --kv f32|f16|bf16|q8_0 (f16)  --v-type T (as K's)  --act f32|f16|bf16, of q and out (f32)\n"
    "          --q-len Q, 1..64 (1)  --window W (all keys)  --page-size P (contiguous)\n"
    "          --layout btgd|bgtd, of the cache, or of each page of it (btgd)\n"
    "          --scheme unified|online|pair (the library's choice)\n"
    "linear:   --m M (1)  --n N (4096)  --k K (4096)\n"
    "          --weights f32|f16|bf16|q8_0|q4_0|q4_1|q5_0|q5_1|q4_k|q5_k|q6_k (f16)  --packed (panels; as stored)\n"
    "          --impl gemv|flat|gemm (the library's choice)  --act f32|f16|bf16, of x and y (f32)\n"
    "          --glu silu|gelu|gelu_erf (one weight; else N rows each of gate and up)\n"
    "          --sweep      M = 1..64 in turn, a line each, then whether a row more ever costs more than it must\n"
    "          --svg FILE   plots the sweep, by gnuplot\n"
    "          --clblast-tuned FILE,...  CLBlast with parameters from the JSON files of its own tuners\n"
    "softmax:  --rows R (1)  --cols C (32000)  --impl three-pass|online|two-pass (the library's choice)\n"
    "all:      some usual problems, about two minutes\n"
    "\n"
    "every:    --json         one JSON object per line\n"
    "          --device D     index, P:D, pci:..., uuid:... or part of a name (default: FLASHDEC_DEVICE, else a GPU "
    "first)\n"
    "          --rounds R     samples of everything, 1..1001 (15)\n"
    "          --seconds S    no further round after S seconds of them (no limit)\n"
    "          --no-peers     do not time other libraries\n"
    "          --without-table  time what the library would choose without a table beside it, where that differs\n"
    "          --help  --version\n"
    "\n"
    "Exit status: 0 success, 1 failure or wrong result, 2 usage. See flashdec-bench(1).\n";

enum command { ATTN = 1, LINEAR = 2, SOFTMAX = 4, ALL = 8, EVERY = 15 };

static const struct {
    const char *name;
    enum command command;
} commands[] = {{"attn", ATTN}, {"linear", LINEAR}, {"softmax", SOFTMAX}, {"all", ALL}};

/* clang-format off */
enum { BATCH, HEADS, KV_HEADS, HEAD_DIM, V_HEAD_DIM, CONTEXT, CONTEXTS, Q_LEN, WINDOW, PAGE_SIZE,
       LAYOUT, KV, V_TYPE, SCHEME, M, N, K, WEIGHTS,
       PACKED, GLU, SWEEP, SVG, CLBLAST_TUNED, ACT,
       ROWS, COLS, IMPL, DEVICE, ROUNDS, SECONDS, JSON, NO_PEERS, WITHOUT_TABLE, HELP, VERSION, N_OPTIONS };

/* A number has a range, a word a list of values ("": any text), a switch neither. */
static struct flag {
    const char *name;
    unsigned commands;
    int64_t max, number;          /* default until given */
    const char *values, *word;
    bool given;
} flags[N_OPTIONS] = {
    [BATCH]     = {"batch", ATTN, .max = INT32_MAX, .number = 1},
    [HEADS]     = {"heads", ATTN, .max = INT32_MAX, .number = 32},
    [KV_HEADS]  = {"kv-heads", ATTN, .max = INT32_MAX},
    [HEAD_DIM]  = {"head-dim", ATTN, .max = INT32_MAX, .number = 128},
    [V_HEAD_DIM] = {"v-head-dim", ATTN, .max = INT32_MAX},
    [CONTEXT]   = {"context", ATTN, .max = INT32_MAX, .number = 2048},
    [CONTEXTS]  = {"contexts", ATTN, .values = ""},
    [Q_LEN]     = {"q-len", ATTN, .max = 64, .number = 1},
    [WINDOW]    = {"window", ATTN, .max = INT32_MAX},
    [PAGE_SIZE] = {"page-size", ATTN, .max = INT32_MAX},
    [LAYOUT]    = {"layout", ATTN, .values = "btgd bgtd", .word = "btgd"},
    [KV]        = {"kv", ATTN, .values = "f32 f16 bf16 q8_0", .word = "f16"},
    [V_TYPE]    = {"v-type", ATTN, .values = "f32 f16 bf16 q8_0"},
    [SCHEME]    = {"scheme", ATTN, .values = "unified online pair"},
    [M]         = {"m", LINEAR, .max = INT32_MAX, .number = 1},
    [N]         = {"n", LINEAR, .max = INT32_MAX, .number = 4096},
    [K]         = {"k", LINEAR, .max = INT32_MAX, .number = 4096},
    [WEIGHTS]   = {"weights", LINEAR, .values = "f32 f16 bf16 q8_0 q4_0 q4_1 q5_0 q5_1 q4_k q5_k q6_k", .word = "f16"},
    [PACKED]    = {.name = "packed", .commands = LINEAR},
    [GLU]       = {"glu", LINEAR, .values = "silu gelu gelu_erf", .word = "none"},
    [SWEEP]     = {.name = "sweep", .commands = LINEAR},
    [SVG]       = {"svg", LINEAR, .values = ""},
    [CLBLAST_TUNED] = {"clblast-tuned", LINEAR, .values = ""},
    [ACT]       = {"act", ATTN | LINEAR, .values = "f32 f16 bf16", .word = "f32"},
    [ROWS]      = {"rows", SOFTMAX, .max = INT32_MAX, .number = 1},
    [COLS]      = {"cols", SOFTMAX, .max = INT32_MAX, .number = 32000},
    [IMPL]      = {"impl", LINEAR | SOFTMAX, .values = ""},
    [DEVICE]    = {"device", EVERY, .values = ""},
    [ROUNDS]    = {"rounds", EVERY, .max = MAX_ROUNDS, .number = 15},
    [SECONDS]   = {"seconds", EVERY, .max = INT32_MAX},
    [JSON]      = {.name = "json", .commands = EVERY},
    [NO_PEERS]  = {.name = "no-peers", .commands = EVERY},
    [WITHOUT_TABLE] = {.name = "without-table", .commands = EVERY},
    [HELP]      = {.name = "help", .commands = EVERY},
    [VERSION]   = {.name = "version", .commands = EVERY},
};

enum { MAX_CONTEXTS = 64 };
static int64_t contexts[MAX_CONTEXTS]; /* of --contexts */
static int n_contexts;

static const char *const usual_problems[] = {
    "attn:f16 b=1 h=32/32 d=128 n=2048",
    "attn:f16 b=1 h=32/8 d=128 n=8192",
    "attn:f32 b=1 h=32/8 d=128 n=2048",
    "attn:f16 b=8 h=32/8 d=128 n=2048 page=16",
    "attn:q8_0 b=1 h=32/8 d=128 n=8192",
    "attn:q8_0 b=8 h=32/8 d=128 n=2048 page=16",
    "attn:f16 b=1 h=32/8 d=128 q=8 n=2048",
    "attn:f16 b=2 h=32/8 d=128 q=8 n=2048 page=16",
    "linear:f16 m=1 n=4096 k=4096",
    "linear:f16 m=8 n=4096 k=4096",
    "linear:f16 m=64 n=4096 k=4096",
    "linear:f32 m=1 n=11008 k=4096",
    "linear:f32 m=8 n=4096 k=4096",
    "softmax:f32 rows=1 cols=32000",
    "softmax:f32 rows=64 cols=128256",
};
/* clang-format on */

/* ---- the command line ---- */

__attribute__((format(printf, 1, 2))) static bool usage(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "flashdec-bench: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n(flashdec-bench --help)\n");
    va_end(args);
    return false;
}

/* Is word one of the space-separated values? */
static bool among(const char *values, const char *word)
{
    const size_t n = strlen(word);
    for (const char *v = values; n && (v = strstr(v, word)); v += n)
        if ((v == values || v[-1] == ' ') && (v[n] == ' ' || v[n] == 0))
            return true;
    return false;
}

static bool set_flag(struct flag *f, const char *text)
{
    f->given = true;
    if (f->max > 0) {
        char *end;
        errno = 0;
        f->number = strtoll(text, &end, 10);
        if (errno || end == text || *end || f->number < 1 || f->number > f->max)
            return usage("--%s %s: this version takes 1 to %" PRId64, f->name, text, f->max);
    } else if (f->values) {
        f->word = text;
        if (f->values[0] && !among(f->values, text))
            return usage("--%s %s: this version takes one of: %s", f->name, text, f->values);
    }
    return true;
}

static bool find_command(const char *name, enum command *command)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (!strcmp(commands[i].name, name)) {
            *command = commands[i].command;
            return true;
        }
    return usage("%s: no such benchmark; there are attn, linear, softmax, all", name);
}

/* "2048,4096,8192": three or more, and not all the same, so that a line through them says something. */
static bool parse_contexts(const char *text)
{
    bool differ = false;
    for (const char *c = text;; c++) {
        char *end;
        errno = 0;
        const long long n = strtoll(c, &end, 10);
        if (errno || *c < '1' || *c > '9' || n > INT32_MAX || (*end && *end != ',') || n_contexts == MAX_CONTEXTS)
            return usage("--contexts %s: no list of 3 to %d numbers with commas between them", text, MAX_CONTEXTS);
        contexts[n_contexts++] = n;
        differ |= n != contexts[0];
        if (*end == 0)
            break;
        c = end;
    }
    return (n_contexts >= 3 && differ) || usage("--contexts %s: three or more, not all the same", text);
}

static bool parse(int argc, char **argv, enum command *command)
{
    struct option options[N_OPTIONS + 1] = {0};
    for (int i = 0; i < N_OPTIONS; i++)
        options[i] = (struct option){flags[i].name, flags[i].max > 0 || flags[i].values, NULL, i};
    for (int i; (i = getopt_long(argc, argv, "", options, NULL)) != -1;)
        if (i == '?' || !set_flag(&flags[i], optarg))
            return i == '?' ? usage("bad option") : false;
    if (flags[HELP].given || flags[VERSION].given)
        return true;
    if (optind != argc - 1)
        return usage("one benchmark expected: attn, linear, softmax or all");
    if (!find_command(argv[optind], command))
        return false;
    for (int i = 0; i < N_OPTIONS; i++)
        if (flags[i].given && !(flags[i].commands & *command))
            return usage("--%s is no option of %s", flags[i].name, argv[optind]);
    if (flags[CONTEXT].given && flags[CONTEXTS].given)
        return usage("--context and --contexts exclude each other");
    if (flags[SWEEP].given && flags[M].given)
        return usage("--sweep and --m exclude each other");
    if (flags[SVG].given && !flags[SWEEP].given)
        return usage("--svg plots a --sweep");
    if (flags[CLBLAST_TUNED].given && flags[NO_PEERS].given)
        return usage("--clblast-tuned and --no-peers exclude each other");
    if (flags[CONTEXTS].given && !parse_contexts(flags[CONTEXTS].word))
        return false;
    const char *impls = *command == LINEAR ? "gemv flat gemm" : "three-pass online two-pass";
    if (flags[IMPL].given && !among(impls, flags[IMPL].word))
        return usage("--impl %s: one of: %s", flags[IMPL].word, impls);
    return true;
}

/* ---- problems ---- */

static int64_t number_or(int flag, int otherwise)
{
    return flags[flags[flag].given ? flag : otherwise].number;
}

static void print_attn(char text[PROBLEM_TEXT])
{
    snprintf(text, PROBLEM_TEXT,
             "attn:%s/%s b=%" PRId64 " h=%" PRId64 "/%" PRId64 " d=%" PRId64 "/%" PRId64 " q=%" PRId64 " n=%" PRId64
             " act=%s",
             flags[KV].word, flags[flags[V_TYPE].given ? V_TYPE : KV].word, flags[BATCH].number, flags[HEADS].number,
             number_or(KV_HEADS, HEADS), flags[HEAD_DIM].number, number_or(V_HEAD_DIM, HEAD_DIM), flags[Q_LEN].number,
             flags[CONTEXT].number, flags[ACT].word);
    if (flags[PAGE_SIZE].given)
        append(text, PROBLEM_TEXT, " page=%" PRId64, flags[PAGE_SIZE].number);
    if (flags[WINDOW].given)
        append(text, PROBLEM_TEXT, " window=%" PRId64, flags[WINDOW].number);
}

/* [B, G, T, D] by strides: the tokens of one kv head in one piece. */
static void heads_first(struct attn_problem *p)
{
    const int64_t tokens = p->kv.page_size ? p->kv.page_size : p->kv.capacity;
    p->kv.k.token_stride = p->head_dim, p->kv.k.head_stride = tokens * p->head_dim;
    p->kv.v.token_stride = p->v_head_dim, p->kv.v.head_stride = tokens * p->v_head_dim;
}

static bool make_problem(enum command command, struct problem *p)
{
    char text[PROBLEM_TEXT] = "", why[256] = "";
    if (command == ATTN) {
        print_attn(text);
    } else if (command == LINEAR) {
        snprintf(text, sizeof text, "linear:%s m=%" PRId64 " n=%" PRId64 " k=%" PRId64 " act=%s glu=%s w=%s",
                 flags[WEIGHTS].word, flags[M].number, flags[N].number, flags[K].number, flags[ACT].word,
                 flags[GLU].word, flags[PACKED].given ? "packed" : "stored");
    } else {
        snprintf(text, sizeof text, "softmax:f32 rows=%" PRId64 " cols=%" PRId64, flags[ROWS].number,
                 flags[COLS].number);
    }
    if (!problem_parse(text, p, why, sizeof why))
        return usage("%s: %s", text, why);
    if (command == ATTN && !strcmp(flags[LAYOUT].word, "bgtd"))
        heads_first(&p->attn);
    return true;
}

static enum outcome bench_usual(struct bench *b)
{
    enum outcome worst = BENCH_OK;
    for (size_t i = 0; i < ARRAY_LEN(usual_problems); i++) {
        struct problem p;
        char why[256];
        if (!problem_parse(usual_problems[i], &p, why, sizeof why) || bench_problem(b, &p, NULL) != BENCH_OK)
            worst = BENCH_ERROR; /* a refusal is no mistake of the user's here */
    }
    return worst;
}

/* A line for each context, then the fit, if all of them were timed. */
static enum outcome bench_contexts(struct bench *b, const char *family)
{
    static double context[MAX_CONTEXTS], us[MAX_CONTEXTS];
    enum outcome worst = BENCH_OK;
    struct problem p;
    for (int i = 0; i < n_contexts; i++) {
        flags[CONTEXT].number = contexts[i];
        if (!make_problem(ATTN, &p))
            return BENCH_REFUSED;
        const enum outcome o = bench_problem(b, &p, family);
        worst = MAX(worst, o);
        if (o == BENCH_REFUSED)
            break;
        context[i] = (double) contexts[i];
        us[i] = b->last_us;
    }
    if (worst == BENCH_OK)
        bench_print_fit(b, &p, context, us, n_contexts);
    return worst;
}

static enum outcome bench_command(struct bench *b, enum command command, struct problem *p)
{
    const char *family = command == ATTN ? flags[SCHEME].word : flags[IMPL].word;
    if (command == ALL)
        return bench_usual(b);
    if (flags[CONTEXTS].given)
        return bench_contexts(b, family);
    return flags[SWEEP].given ? bench_sweep(b, p, family, flags[SVG].word) : bench_problem(b, p, family);
}

static fdec_status take_tuned(struct bench *b, const char *files)
{
    b->clblast_tuned = true;
#ifdef HAVE_CLBLAST
    return clblast_override(b->session.device, files);
#else
    return fail(FDEC_E_UNSUPPORTED, "--clblast-tuned %s: built without CLBlast", files);
#endif
}

static fdec_status bench_open(struct bench *b)
{
    fdec_status st = FDEC_OK;
    b->rounds = (int) flags[ROUNDS].number;
    b->seconds = (double) flags[SECONDS].number;
    b->json = flags[JSON].given;
    b->peers = !flags[NO_PEERS].given;
    b->without_table = flags[WITHOUT_TABLE].given;
    if (flags[SVG].given) /* not after minutes of measuring */
        try_st(plot_ready());
    try_st(session_open(flags[DEVICE].word, &b->session));
    if (flags[CLBLAST_TUNED].given)
        try_st(take_tuned(b, flags[CLBLAST_TUNED].word));
    try_st(roof_create(b->session.context, b->session.device, b->session.queue, &b->roof));
    st = roof_cache_bytes(b->roof, &b->cache_bytes);
out:
    return st;
}

int main(int argc, char **argv)
{
    static struct bench bench;
    enum command command = ALL;
    struct problem problem;
    if (!parse(argc, argv, &command))
        return 2;
    if (flags[HELP].given || flags[VERSION].given) {
        printf("%s%s", flags[HELP].given ? help : fdec_version(), flags[HELP].given ? "" : "\n");
        return 0;
    }
    if (command != ALL && !make_problem(command, &problem))
        return 2;
    enum outcome outcome = BENCH_ERROR;
    if (bench_open(&bench) == FDEC_OK)
        outcome = bench_command(&bench, command, &problem);
    else
        fprintf(stderr, "flashdec-bench: %s\n", fdec_last_error());
    roof_destroy(&bench.roof);
    session_close(&bench.session);
    if (fflush(stdout) || ferror(stdout)) {
        fprintf(stderr, "flashdec-bench: cannot write to standard output\n");
        return 1;
    }
    return outcome == BENCH_OK ? 0 : outcome == BENCH_REFUSED ? 2 : 1;
}
