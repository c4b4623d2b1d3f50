/* SPDX-License-Identifier: MIT
 * info_work.c - flashdec-info: the self-test, and filling the program cache */
#include "info.h"
#include "run/decode.h"
#include "run/tokenizer.h"
#include "workload.h"
#include <string.h>

/* ---- self-test ---- */

/* Small, and nothing divides by anything: tails everywhere. */
static const char *const test_problems[] = {
    "attn:f32 b=2 h=6/2 d=72 n=301",
    "attn:f16 b=2 h=6/2 d=72 n=301",
    "attn:q8_0/bf16 b=2 h=6/2 d=96/72 q=5 n=301 window=200",
    "attn:bf16/q8_0 b=2 h=6/2 d=72/96 n=301 page=7 act=bf16/f16",
    "linear:f32 m=5 n=131 k=203",
    "linear:f16 m=5 n=131 k=203",
    "softmax:f32 rows=3 cols=5003",
};

/* Runs p once by k in its configuration of first choice, and compares. FDEC_E_UNSUPPORTED: k is not for p; else not
 * FDEC_OK: it fails, text says why. */
static fdec_status test_one(struct session *s, const struct problem *p, const struct kernel *k, double *ratio,
                            char *text, size_t n)
{
    const struct workload_spec spec = {.problem = *p, .fill = FILL_UNIFORM, .seed = 7, .n_sets = 1, .reference = true};
    fdec_status st = FDEC_OK;
    fdec_plan *plan = NULL;
    struct workload *w = NULL;
    try_st(plan_create_problem(s->ctx, p, &(struct want){.kernel = k, .no_table = true}, &plan));
    try_st(workload_create(s->ctx, s->queue, &spec, &w));
    try_st(workload_poison(w));
    try_st(workload_run(w, plan, 0, NULL));
    try_cl(clFinish(s->queue));
    if (!workload_check(w, ratio, text, n))
        st = fail(FDEC_E_DEVICE, "%s", text);
out:
    if (st != FDEC_OK)
        snprintf(text, n, "%s", fdec_last_error());
    workload_destroy(&w);
    fdec_plan_destroy(&plan);
    return st;
}

/* Variants for the other kind of device are left out: they are not chosen here but by the tuner, after it has checked
 * them, and CPU compilers take minutes for those of GPUs. */
static bool is_for_device(const struct kernel *k, const struct problem *p, const struct device *d)
{
    const double much_more = 4;
    int cfg[MAX_PARAMS] = {0};
    struct device other = *d;
    other.cpu_like = !d->cpu_like;
    return !k->expect || k->expect(p, &other, cfg) <= much_more * k->expect(p, d, cfg);
}

/* Every variant for p and the device, each result appended to list; a variant that fails is denied. */
static void test_problem(struct session *s, const char *problem, const struct problem *p, json_t *list, bool *denied)
{
    for (int i = 0; kernels[i]; i++) {
        double ratio = 0;
        char why[512] = "";
        if (kernels[i]->op != p->op || !is_for_device(kernels[i], p, &s->ctx->device))
            continue;
        const fdec_status st = test_one(s, p, kernels[i], &ratio, why, sizeof why);
        if (st == FDEC_E_UNSUPPORTED)
            continue;
        denied[i] |= st != FDEC_OK;
        json_t *o = json_object();
        json_object_set_new(o, "problem", json_string(problem));
        json_object_set_new(o, "kernel", json_string(kernels[i]->name));
        json_object_set_new(o, "pass", json_boolean(st == FDEC_OK));
        json_object_set_new(o, "error_ratio", st == FDEC_OK ? json_real(ratio) : json_null());
        json_object_set_new(o, "reason", st == FDEC_OK ? json_null() : json_string(why));
        json_array_append_new(list, o);
    }
}

json_t *self_test(struct session *s, int *failures)
{
    json_t *list = json_array();
    bool denied[MAX_KERNELS] = {false};
    memset(s->ctx->denied, 0, sizeof s->ctx->denied); /* what an earlier self-test denied is tested again */
    for (size_t t = 0; t < ARRAY_LEN(test_problems); t++) {
        struct problem p;
        char err[200];
        if (problem_parse(test_problems[t], &p, err, sizeof err))
            test_problem(s, test_problems[t], &p, list, denied);
    }
    *failures = 0;
    for (int i = 0; kernels[i]; i++)
        *failures += denied[i];
    memcpy(s->ctx->denied, denied, sizeof denied);
    ctx_store_denied(s->ctx, denied);
    return list;
}

/* ---- the program cache ---- */

/* A prompt longer than a chunk and one token more go through every plan of the decoder. The context does not choose
 * programs except through the table's ranges: the largest that fits the memory has them all. */
static bool run_decoder(struct model *m, const struct tokenizer *t, struct decode_stats *stats, struct err *e)
{
    int32_t ids[DECODE_CHUNK + 1], next;
    struct decoder *d = NULL;
    struct decode_options o = {.n_ctx = m->n_ctx, .n_new = 2};
    o.n_prompt = MIN(DECODE_CHUNK + 1, m->n_ctx - 1);
    for (uint32_t i = 0; i < o.n_prompt; i++)
        ids[i] = t->bos >= 0 ? t->bos : 0;
    while (!decoder_create(m, &o, &d, e)) {
        if (o.n_ctx / 2 <= o.n_prompt)
            return false;
        o.n_ctx /= 2;
    }
    const bool ok =
        decoder_prompt(d, ids, &next, NULL, e) && decoder_next(d, &next, NULL, e) && decoder_stats(d, stats, e);
    decoder_destroy(&d);
    return ok;
}

json_t *warm(const char *model_path, char *why, size_t n)
{
    struct err e = {""};
    struct gguf g;
    struct tokenizer t;
    struct model m;
    struct decode_stats stats = {0};
    json_t *o = NULL;
    if (gguf_open(&g, model_path, &e)) {
        if (tokenizer_open(&t, &g, &e)) {
            if (model_open(&m, &g, t.n, &e)) {
                if (run_decoder(&m, &t, &stats, &e))
                    o = json_pack("{s:s, s:I, s:I}", "model", model_path, "programs_compiled",
                                  (json_int_t) stats.programs_compiled, "programs_from_cache",
                                  (json_int_t) stats.programs_from_cache);
                model_close(&m);
            }
            tokenizer_close(&t);
        }
        gguf_close(&g);
    }
    snprintf(why, n, "%s", e.text);
    return o;
}
