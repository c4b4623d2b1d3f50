/* SPDX-License-Identifier: MIT
 * main.c - flashdec-run: decode text from a GGUF model. Text goes to standard output, everything else to standard
 * error. Exit status 0 success, 1 failure, 2 usage, 130 interrupted */
#include "calibrate.h"
#include "decode.h"
#include "tokenizer.h"
#include <errno.h>
#include <float.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { EXIT_USAGE = 2, EXIT_INTERRUPTED = 130, DEFAULT_N = 256, DEFAULT_LAST = 64 };

static const char help[] =
    "usage: flashdec-run -m MODEL.gguf [options]\n"
    "Decodes text from a GGUF model (llama architecture) on an OpenCL device.\n"
    "\n"
    "  -m, --model FILE       the model\n"
    "  -p, --prompt TEXT      the prompt, BOS put in front; without -p and --tokens the prompt is BOS alone\n"
    "      --tokens 1,2,3     the whole prompt as token ids, BOS included\n"
    "  -n, --n-predict N      tokens to generate, 256 if not given; fewer at EOS or when the context is full\n"
    "      --temp T           sampling temperature; 0, the default, takes the best token\n"
    "      --top-k K          sample from the K best tokens, 1 to 1024\n"
    "      --top-p P          sample from the best tokens that have the share P together, 0 < P <= 1\n"
    "      --min-p P          sample from the tokens that have P times the best one's probability, 0 <= P < 1\n"
    "      --repeat-penalty R divide the positive logits of recent tokens by R, multiply the others; 1, the default: "
    "not\n"
    "      --repeat-last N    how many tokens are recent, 64 if not given\n"
    "      --seed S           of sampling, 0 if not given; the random number of a token depends on S and its position\n"
    "      --scheme S         softmax of attention: unified, online, pair; without it the tuning table decides\n"
    "      --linear I         matrix products: table (the default: the tuning table decides), gemv, flat, gemm\n"
    "      --kv TYPE          type of the key/value cache: f32 (the default), f16, bf16, q8_0\n"
    "      --calibrate FILE   run the prompt and write each head's constant for the unified softmax; -n is then 0\n"
    "      --phi FILE         take these constants from such a file\n"
    "  -c, --context C        tokens of context, at most the model's; prompt + N if not given\n"
    "      --ignore-eos       do not stop at the end-of-text token\n"
    "      --ids              print the generated token ids, space separated, instead of their text\n"
    "      --logits FILE      float32 rows, one per generated token: the logits it was chosen from\n"
    "      --stats json       statistics as a JSON object, the last line of standard error\n"
    "      --quiet            no notes and no summary on standard error\n"
    "  -h, --help             this text\n"
    "      --version          the version of the library\n"
    "\n"
    "Only generated text is printed, not the prompt, byte for byte as the tokens spell it (also a leading space); a "
    "newline\n"
    "is added at the end only on a terminal. FLASHDEC_DEVICE chooses the device (index, platform:device, pci:..., "
    "uuid:...,\n"
    "or a part of its name), FLASHDEC_TABLE the tuning table, FLASHDEC_CACHE_DIR where programs are cached.\n"
    "Exit status: 0 success, 1 failure, 2 usage, 130 interrupted by Ctrl-C.\n";

struct options {
    const char *model, *prompt, *tokens, *logits;
    uint32_t n, context; /* context 0: not given */
    float temperature, top_p, min_p, repeat_penalty;
    uint32_t top_k, repeat_last; /* top_k 0: all */
    uint64_t seed;
    fdec_scheme scheme;
    fdec_linear_impl linear;
    fdec_type kv;
    const char *calibrate, *phi;
    bool n_given, ids, ignore_eos, stats, quiet;
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int sig)
{
    (void) sig;
    interrupted = 1;
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double) t.tv_sec + 1e-9 * (double) t.tv_nsec;
}

static void complain(const char *where, const char *what)
{
    fprintf(stderr, "flashdec-run: %s%s%s\n", where ? where : "", where ? ": " : "", what);
}

/* ---- options ---- */

static bool parse_uint(const char *text, uint64_t lo, uint64_t hi, uint64_t *out)
{
    char *end;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && *end == 0 && errno == 0 && *out >= lo && *out <= hi;
}

static bool parse_u32(const char *text, uint32_t lo, uint32_t hi, uint32_t *out)
{
    uint64_t u;
    const bool ok = parse_uint(text, lo, hi, &u);
    *out = (uint32_t) u;
    return ok;
}

static bool parse_float(const char *text, float lo, float hi, float *out)
{
    char *end;
    *out = strtof(text, &end);
    return end != text && *end == 0 && *out >= lo && *out <= hi;
}

/* Index of text in the n words; -1: it is none of them. */
static int parse_word(const char *text, const char *const *words, int n)
{
    for (int i = 0; i < n; i++)
        if (strcmp(text, words[i]) == 0)
            return i;
    return -1;
}

enum {
    OPT_TOKENS = 256,
    OPT_TEMP,
    OPT_TOP_K,
    OPT_TOP_P,
    OPT_MIN_P,
    OPT_REPEAT_PENALTY,
    OPT_REPEAT_LAST,
    OPT_SEED,
    OPT_SCHEME,
    OPT_LINEAR,
    OPT_KV,
    OPT_CALIBRATE,
    OPT_PHI,
    OPT_IDS,
    OPT_IGNORE_EOS,
    OPT_LOGITS,
    OPT_STATS,
    OPT_QUIET,
    OPT_VERSION
};

static const struct option long_options[] = {
    {"model", required_argument, NULL, 'm'},
    {"prompt", required_argument, NULL, 'p'},
    {"tokens", required_argument, NULL, OPT_TOKENS},
    {"n-predict", required_argument, NULL, 'n'},
    {"temp", required_argument, NULL, OPT_TEMP},
    {"top-k", required_argument, NULL, OPT_TOP_K},
    {"top-p", required_argument, NULL, OPT_TOP_P},
    {"min-p", required_argument, NULL, OPT_MIN_P},
    {"repeat-penalty", required_argument, NULL, OPT_REPEAT_PENALTY},
    {"repeat-last", required_argument, NULL, OPT_REPEAT_LAST},
    {"seed", required_argument, NULL, OPT_SEED},
    {"scheme", required_argument, NULL, OPT_SCHEME},
    {"linear", required_argument, NULL, OPT_LINEAR},
    {"kv", required_argument, NULL, OPT_KV},
    {"calibrate", required_argument, NULL, OPT_CALIBRATE},
    {"phi", required_argument, NULL, OPT_PHI},
    {"context", required_argument, NULL, 'c'},
    {"ids", no_argument, NULL, OPT_IDS},
    {"ignore-eos", no_argument, NULL, OPT_IGNORE_EOS},
    {"logits", required_argument, NULL, OPT_LOGITS},
    {"stats", required_argument, NULL, OPT_STATS},
    {"quiet", no_argument, NULL, OPT_QUIET},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, OPT_VERSION},
    {NULL, 0, NULL, 0},
};

/* One option with its argument. False: the argument is not possible. */
static bool take_option(struct options *o, int opt, const char *arg)
{
    static const char *const schemes[] = {[FDEC_SCHEME_AUTO] = "", "unified", "online", "pair"};
    static const char *const impls[] = {[FDEC_LINEAR_AUTO] = "table", "gemv", "flat", "gemm"};
    static const char *const kvs[] = {[FDEC_F32] = "f32", "f16", "bf16", "q8_0"};
    int word;
    switch (opt) {
    case 'm': o->model = arg; return true;
    case 'p': o->prompt = arg; return true;
    case 'n': o->n_given = true; return parse_u32(arg, 0, INT32_MAX, &o->n);
    case 'c': return parse_u32(arg, 1, INT32_MAX, &o->context);
    case OPT_TOKENS: o->tokens = arg; return true;
    case OPT_TEMP: return parse_float(arg, 0, FLT_MAX, &o->temperature);
    case OPT_TOP_K: return parse_u32(arg, 1, 1024, &o->top_k);
    case OPT_TOP_P: return parse_float(arg, FLT_MIN, 1, &o->top_p);
    case OPT_MIN_P: return parse_float(arg, 0, 1, &o->min_p) && o->min_p < 1;
    case OPT_REPEAT_PENALTY: return parse_float(arg, FLT_MIN, FLT_MAX, &o->repeat_penalty);
    case OPT_REPEAT_LAST: return parse_u32(arg, 0, 1 << 20, &o->repeat_last);
    case OPT_SEED: return parse_uint(arg, 0, UINT64_MAX, &o->seed);
    case OPT_SCHEME:
        word = parse_word(arg, schemes, 4);
        o->scheme = (fdec_scheme) word;
        return word > 0;
    case OPT_LINEAR:
        word = parse_word(arg, impls, 4);
        o->linear = (fdec_linear_impl) word;
        return word >= 0;
    case OPT_KV:
        word = parse_word(arg, kvs, 4);
        o->kv = (fdec_type) word;
        return word >= 0;
    case OPT_CALIBRATE: o->calibrate = arg; return true;
    case OPT_PHI: o->phi = arg; return true;
    case OPT_IDS: return o->ids = true;
    case OPT_IGNORE_EOS: return o->ignore_eos = true;
    case OPT_LOGITS: o->logits = arg; return true;
    case OPT_STATS: o->stats = true; return strcmp(arg, "json") == 0;
    case OPT_QUIET: return o->quiet = true;
    default: return false;
    }
}

/* -1: run; else the exit status. */
static int parse_options(int argc, char **argv, struct options *o)
{
    *o = (struct options){.n = DEFAULT_N, .kv = FDEC_F32, .repeat_penalty = 1, .repeat_last = DEFAULT_LAST};
    int opt, index = -1;
    while ((opt = getopt_long(argc, argv, "m:p:n:c:h", long_options, &index)) != -1) {
        if (opt == '?')
            return EXIT_USAGE; /* getopt has said why */
        if (opt == 'h' || opt == OPT_VERSION) {
            printf("%s%s", opt == 'h' ? help : fdec_version(), opt == 'h' ? "" : "\n");
            if (fflush(stdout) == 0)
                return EXIT_SUCCESS;
            complain("cannot write to standard output", strerror(errno));
            return EXIT_FAILURE;
        }
        if (!take_option(o, opt, optarg)) {
            char name[2] = {(char) opt, 0};
            fprintf(stderr, "flashdec-run: \"%s\" is not possible for %s%s\n", optarg, index < 0 ? "-" : "--",
                    index < 0 ? name : long_options[index].name);
            return EXIT_USAGE;
        }
        index = -1;
    }
    if (o->calibrate && !o->n_given)
        o->n = 0;
    const bool has_phi = o->scheme == FDEC_SCHEME_AUTO || o->scheme == FDEC_SCHEME_UNIFIED;
    const char *wrong = optind < argc            ? "unexpected argument"
                        : !o->model              ? "no model: -m FILE"
                        : o->prompt && o->tokens ? "-p and --tokens exclude each other"
                        : o->phi && !has_phi     ? "--phi: only the unified scheme has a constant"
                                                 : NULL;
    if (!wrong)
        return -1;
    complain(optind < argc ? argv[optind] : NULL, wrong);
    return EXIT_USAGE;
}

/* ---- the prompt ---- */

struct prompt {
    int32_t *ids;
    uint32_t n;
};

/* "1,2,3"; every id below n_vocab. */
static bool parse_tokens(const char *text, uint32_t n_vocab, struct prompt *p, struct err *e)
{
    size_t most = 1;
    for (const char *c = text; *c; c++)
        most += *c == ',';
    p->ids = malloc(most * sizeof *p->ids);
    if (!p->ids || most > INT32_MAX)
        return err_set(e, "out of memory");
    for (const char *c = text;; c++) {
        char *end;
        const unsigned long long id = strtoull(c, &end, 10);
        if (*c < '0' || *c > '9' || (*end && *end != ','))
            return err_set(e, "--tokens: \"%s\" is no list of numbers with commas between them", text);
        if (id >= n_vocab)
            return err_set(e, "--tokens: %llu is no token, the vocabulary has %" PRIu32, id, n_vocab);
        p->ids[p->n++] = (int32_t) id;
        if (*end == 0)
            return true;
        c = end;
    }
}

static bool make_prompt(const struct options *o, const struct tokenizer *t, struct prompt *p, struct err *e)
{
    if (o->tokens)
        return parse_tokens(o->tokens, t->n, p, e);
    if (o->prompt && o->prompt[0]) {
        if (!tokenizer_encode(t, o->prompt, strlen(o->prompt), &p->ids, &p->n, e))
            return false;
        return p->n > 0 || err_set(e, "the prompt has no tokens");
    }
    p->ids = malloc(sizeof *p->ids);
    if (!p->ids)
        return err_set(e, "out of memory");
    p->ids[p->n++] = t->bos;
    return true;
}

/* Tokens of context, and how many of the o->n wanted fit. */
static bool fit_context(const struct options *o, uint32_t n_prompt, uint32_t model_ctx, uint32_t *n_ctx,
                        uint32_t *n_new, struct err *e)
{
    const uint64_t want = (uint64_t) n_prompt + o->n;
    *n_ctx = o->context ? o->context : want < model_ctx ? (uint32_t) want : model_ctx;
    if (*n_ctx > model_ctx)
        return err_set(e, "a context of %" PRIu32 " tokens is over the model's %" PRIu32, *n_ctx, model_ctx);
    if (n_prompt > *n_ctx || (o->n && n_prompt == *n_ctx))
        return err_set(e, "the prompt's %" PRIu32 " tokens leave no room in a context of %" PRIu32, n_prompt, *n_ctx);
    *n_new = o->n < *n_ctx - n_prompt ? o->n : *n_ctx - n_prompt;
    return true;
}

/* ---- output ---- */

struct output {
    const struct tokenizer *t;
    bool ids;
    uint32_t n;   /* tokens so far */
    char held[4]; /* the beginning of a UTF-8 character */
    size_t n_held;
    char last;  /* byte written */
    float *row; /* of logits; NULL: not wanted */
    uint32_t n_row;
    FILE *logits;
    const char *logits_path;
};

static void put_text(struct output *out, struct gguf_str s)
{
    for (uint64_t i = 0; i < s.n; i++) {
        out->last = out->held[out->n_held++] = s.p[i];
        if (utf8_complete(out->held, out->n_held) == out->n_held) {
            fwrite(out->held, 1, out->n_held, stdout);
            out->n_held = 0;
        }
    }
}

static bool flush_stdout(struct err *e)
{
    return (fflush(stdout) == 0 && !ferror(stdout)) ||
           err_set(e, "cannot write to standard output: %s", strerror(errno));
}

static bool put_token(struct output *out, int32_t id, struct err *e)
{
    if (out->logits && fwrite(out->row, sizeof *out->row, out->n_row, out->logits) != out->n_row)
        return err_set(e, "%s: %s", out->logits_path, strerror(errno));
    if (out->ids)
        printf("%s%" PRId32, out->n ? " " : "", id);
    else
        put_text(out, out->t->output[id]);
    out->n++;
    return flush_stdout(e);
}

static bool open_output(struct output *out, const struct options *o, const struct tokenizer *t, struct err *e)
{
    *out = (struct output){.t = t, .ids = o->ids, .n_row = t->n, .logits_path = o->logits};
    if (!o->logits)
        return true;
    out->row = malloc(t->n * sizeof *out->row);
    out->logits = fopen(o->logits, "wb");
    return (out->row && out->logits) || err_set(e, "%s: %s", o->logits, strerror(errno));
}

/* False if something could not be written after all. e keeps the earlier failure, if there was one. */
static bool close_output(struct output *out, bool ok, struct err *e)
{
    fwrite(out->held, 1, out->n_held, stdout);
    if (out->n && (out->ids || (out->last != '\n' && isatty(STDOUT_FILENO))))
        putchar('\n');
    if (ok)
        ok = flush_stdout(e);
    free(out->row);
    if (out->logits && fclose(out->logits) && ok)
        ok = err_set(e, "%s: %s", out->logits_path, strerror(errno));
    return ok;
}

/* ---- decoding ---- */

struct times { /* seconds: main() entered, prompt begun, first token known, last token known */
    double main, prompt, first, last;
};

static bool generate(struct decoder *d, const struct options *o, const struct prompt *p, uint32_t n_new,
                     struct output *out, struct times *time, struct err *e)
{
    int32_t id;
    time->prompt = now_s();
    if (!decoder_prompt(d, p->ids, &id, out->row, e))
        return false;
    time->first = time->last = now_s();
    while (out->n < n_new && (id != out->t->eos || o->ignore_eos)) {
        if (!put_token(out, id, e))
            return false;
        if (out->n == n_new || interrupted)
            break;
        if (!decoder_next(d, &id, out->row, e))
            return false;
        time->last = now_s();
    }
    return true;
}

/* The standard error lines after a run: the summary for people, the object for programs. */
static bool report(struct decoder *d, const struct options *o, uint32_t n_prompt, uint32_t n, const struct times *t,
                   struct err *e)
{
    struct decode_stats s;
    if (!decoder_stats(d, &s, e))
        return false;
    const double prefill = n_prompt / (t->first - t->prompt);
    const double decode = n > 1 ? (n - 1) / (t->last - t->first) : 0; /* the first token came with the prompt */
    const double first_ms = 1000 * (t->first - t->main);
    if (!o->quiet)
        fprintf(stderr,
                "flashdec-run: %s: %" PRIu32 " + %" PRIu32
                " tokens, first after %.0f ms, then %.1f tokens/s, table %s\n",
                s.device, n_prompt, n, first_ms, decode, s.table);
    if (!o->stats)
        return true;
    json_t *json =
        json_pack("{sI sI sf sf sf sI sI sI ss si ss}", "prompt_tokens", (json_int_t) n_prompt, "generated_tokens",
                  (json_int_t) n, "prefill_tokens_per_s", prefill, "decode_tokens_per_s", decode,
                  "time_to_first_token_ms", first_ms, "programs_compiled", (json_int_t) s.programs_compiled,
                  "programs_from_cache", (json_int_t) s.programs_from_cache, "rows_recomputed",
                  (json_int_t) s.rows_recomputed, "table", s.table, "table_level", s.table_level, "device", s.device);
    char *text = json ? json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(7)) : NULL;
    json_decref(json);
    if (!text)
        return err_set(e, "out of memory");
    fprintf(stderr, "%s\n", text);
    free(text);
    return true;
}

static bool decode_with(struct model *m, const struct options *o, const struct tokenizer *t, const struct prompt *p,
                        const float *phi, float *mean_lse, struct times *time, struct err *e)
{
    struct output out;
    struct decode_options d_options = {
        .n_prompt = p->n,
        .scheme = o->scheme,
        .linear = o->linear,
        .kv_type = o->kv,
        .temperature = o->temperature,
        .top_k = o->top_k,
        .top_p = o->top_p,
        .min_p = o->min_p,
        .repeat_penalty = o->repeat_penalty,
        .repeat_last = o->repeat_last,
        .seed = o->seed,
        .phi = phi,
        .mean_lse = mean_lse,
    };
    struct decoder *d;
    if (!fit_context(o, p->n, m->n_ctx, &d_options.n_ctx, &d_options.n_new, e) || !decoder_create(m, &d_options, &d, e))
        return false;
    bool ok = open_output(&out, o, t, e) && generate(d, o, p, d_options.n_new, &out, time, e);
    ok = close_output(&out, ok, e);
    if (ok && o->calibrate)
        ok = calibration_write(o->calibrate, o->model, m->n_layers, m->n_heads, mean_lse, e);
    if (ok && !o->quiet && d_options.n_new < o->n && out.n == d_options.n_new && !interrupted)
        fprintf(stderr, "flashdec-run: stopped after %" PRIu32 " tokens: the context of %" PRIu32 " is full\n", out.n,
                d_options.n_ctx);
    ok = ok && report(d, o, p->n, out.n, time, e);
    decoder_destroy(&d);
    return ok;
}

static bool decode(struct model *m, const struct options *o, const struct tokenizer *t, const struct prompt *p,
                   struct times *time, struct err *e)
{
    const size_t n = (size_t) m->n_layers * m->n_heads;
    float *phi = malloc(2 * n * sizeof *phi), *mean_lse = phi ? phi + n : NULL;
    bool ok = phi || err_set(e, "out of memory");
    if (ok && o->phi && fdec_phi_read(o->phi, m->n_layers, m->n_heads, phi) != FDEC_OK)
        ok = err_set(e, "%s", fdec_last_error());
    ok = ok && decode_with(m, o, t, p, o->phi ? phi : NULL, o->calibrate ? mean_lse : NULL, time, e);
    free(phi);
    return ok;
}

/* Every step that reads the file names it in its message; where: NULL for the others. */
static bool run(const struct options *o, struct times *time, const char **where, struct err *e)
{
    struct gguf g;
    struct tokenizer t;
    struct model m;
    struct prompt p = {NULL, 0};
    *where = o->model;
    if (!gguf_open(&g, o->model, e))
        return false;
    bool ok = tokenizer_open(&t, &g, e);
    if (ok) {
        ok = model_open(&m, &g, t.n, e);
        if (ok) {
            *where = NULL;
            ok = make_prompt(o, &t, &p, e) && decode(&m, o, &t, &p, time, e);
            free(p.ids);
            model_close(&m);
        }
        tokenizer_close(&t);
    }
    gguf_close(&g);
    return ok;
}

int main(int argc, char **argv)
{
    struct times time = {.main = now_s()};
    struct options o;
    const int status = parse_options(argc, argv, &o);
    if (status >= 0)
        return status;
    sigaction(SIGINT, &(struct sigaction){.sa_handler = on_interrupt, .sa_flags = (int) SA_RESETHAND}, NULL);
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is a write error, and reported as one */

    const char *where;
    struct err e;
    if (!run(&o, &time, &where, &e)) {
        complain(where, e.text);
        return EXIT_FAILURE;
    }
    return interrupted ? EXIT_INTERRUPTED : EXIT_SUCCESS;
}
