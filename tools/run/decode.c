/* SPDX-License-Identifier: MIT
 * decode.c - see decode.h: the forward pass, choosing a token, statistics */
#include "decoder.h"
#include <jansson.h>

enum { ANALYTIC_LEVEL = 6 }; /* no table: see fdec_explain */

/* ---- the forward pass ---- */

static bool embed(struct decoder *d, uint32_t pos, uint32_t rows)
{
    fdec_embed_args a = FDEC_EMBED_ARGS_INIT;
    a.rows = rows;
    a.n_rows_table = d->m->n_vocab;
    a.ids = at(d->ids, 4 * (uint64_t) pos);
    a.table = at(d->m->embd.mem, 0);
    a.y = at(d->x, 0);
    try_fdec(d, fdec_embed_run(d->embed, d->queue, &a, 0, NULL, NULL));
    return true;
}

static bool linear(struct decoder *d, const struct stage *s, uint32_t rows, const struct product *p, fdec_buffer x,
                   cl_mem residual)
{
    fdec_linear_args a = FDEC_LINEAR_ARGS_INIT;
    a.m = rows;
    a.x = x;
    a.norm = at(p->norm ? p->norm->mem : NULL, 0);
    fdec_buffer *w[] = {&a.w, &a.w2, &a.w3}, *y[] = {&a.y, &a.y2, &a.y3};
    for (int i = 0; i < 3; i++) {
        *w[i] = at(p->w[i] ? p->w[i]->mem : NULL, 0);
        *y[i] = at(p->y[i], 0);
    }
    a.residual = at(residual, 0);
    a.stats = at(p->stats ? d->stats : NULL, 0);
    a.stats_temperature = d->o.temperature;
    a.workspace = at(d->workspace, 0);
    try_fdec(d, fdec_linear_run(find_linear(s, p), d->queue, &a, 0, NULL, NULL));
    return true;
}

static bool linears(struct decoder *d, const struct stage *s, uint32_t rows, const struct product *p, int n)
{
    for (int i = 0; i < n; i++)
        if (!linear(d, s, rows, &p[i], at(d->x, 0), NULL))
            return false;
    return true;
}

/* x += y w^T */
static bool add_linear(struct decoder *d, const struct stage *s, uint32_t rows, const struct weight *w, cl_mem y)
{
    const struct product p = product_of(w, d->x);
    return linear(d, s, rows, &p, at(y, 0), d->x);
}

/* q and the cache of `layer`: rows of tokens pos, pos + 1, ... are all appended, then each attends to its own past. */
static bool attend(struct decoder *d, const struct stage *s, uint32_t layer, uint32_t pos, uint32_t rows)
{
    const struct model *m = d->m;
    const fdec_buffer k_cache = at(d->cache[2 * layer], 0), v_cache = at(d->cache[2 * layer + 1], 0);
    const uint64_t heads = 4 * (uint64_t) layer * m->n_heads;
    fdec_append_args r = FDEC_APPEND_ARGS_INIT;
    r.n_tokens = r.q_len = rows;
    r.pos = at(d->count, 4 * (uint64_t) pos);
    r.angles = at(d->angles, 0);
    r.q = at(d->q, 0);
    r.k = at(d->k, 0);
    r.v = at(d->v, 0);
    r.k_cache = k_cache;
    r.v_cache = v_cache;
    try_fdec(d, fdec_append_run(d->append, d->queue, &r, 0, NULL, NULL));

    fdec_attn_args a = FDEC_ATTN_ARGS_INIT;
    a.q_len = rows;
    a.max_len = pos + rows;
    a.q = a.out = at(d->q, 0);
    a.k = k_cache;
    a.v = v_cache;
    a.lens = at(d->count, 4 * ((uint64_t) pos + rows));
    a.state = at(d->state, heads);
    a.phi = at(d->phi, heads);
    a.lse = at(d->lse, d->rows * heads);
    a.workspace = at(d->workspace, 0);
    try_fdec(d, fdec_attn_run(s->attn, d->queue, &a, 0, NULL, NULL));
    return true;
}

static bool swiglu(struct decoder *d, uint32_t rows)
{
    fdec_swiglu_args a = FDEC_SWIGLU_ARGS_INIT;
    a.n = (uint64_t) rows * d->m->n_ff;
    a.gate = a.y = at(d->gate, 0);
    a.up = at(d->up, 0);
    try_fdec(d, fdec_swiglu_run(d->ops, d->queue, &a, 0, NULL, NULL));
    return true;
}

static bool forward(struct decoder *d, const struct stage *s, uint32_t pos, uint32_t rows)
{
    if (!embed(d, pos, rows))
        return false;
    for (uint32_t i = 0; i < d->m->n_layers; i++) {
        const struct layer *l = &d->m->layers[i];
        struct product qkv[MAX_PRODUCTS], ffn[MAX_PRODUCTS];
        const int n_qkv = products_qkv(d, l, qkv), n_ffn = products_ffn(d, l, ffn);
        if (!linears(d, s, rows, qkv, n_qkv) || !attend(d, s, i, pos, rows) ||
            !add_linear(d, s, rows, &l->w[W_O], d->q) || !linears(d, s, rows, ffn, n_ffn) ||
            (n_ffn > 1 && !swiglu(d, rows)) || !add_linear(d, s, rows, &l->w[W_DOWN], d->gate))
            return false;
    }
    return true;
}

/* Logits of row `row` of x, the token at d->n_done; the id goes where that token's embedding will be read. */
static bool choose(struct decoder *d, uint32_t row)
{
    const fdec_buffer x = at(d->logits, 0), ids = at(d->ids, 4 * (uint64_t) d->n_done);
    const struct product out = product_out(d);
    if (!linear(d, &d->one, 1, &out, at(d->x, 4 * (uint64_t) row * d->m->n_embd), NULL))
        return false;
    if (d->sample) {
        const uint32_t n_recent = d->o.repeat_last < d->n_done ? d->o.repeat_last : d->n_done;
        fdec_sample_args a = FDEC_SAMPLE_ARGS_INIT;
        a.temperature = d->o.temperature;
        a.top_k = d->o.top_k;
        a.top_p = d->o.top_p;
        a.min_p = d->o.min_p;
        a.repeat_penalty = n_recent ? d->o.repeat_penalty : 0;
        a.n_recent = n_recent;
        a.seed = d->o.seed;
        a.step = d->n_done;
        a.x = x;
        a.stats = at(d->stats, 0);
        a.stats_temperature = d->o.temperature;
        if (n_recent)
            a.recent = at(d->ids, 4 * (uint64_t) (d->n_done - n_recent));
        a.ids = ids;
        a.workspace = at(d->workspace, 0);
        try_fdec(d, fdec_sample_run(d->sample, d->queue, &a, 0, NULL, NULL));
    } else {
        fdec_argmax_args a = FDEC_ARGMAX_ARGS_INIT;
        a.rows = 1;
        a.cols = d->m->n_vocab;
        a.x = x;
        a.ids = ids;
        try_fdec(d, fdec_argmax_run(d->ops, d->queue, &a, 0, NULL, NULL));
    }
    return true;
}

/* The token at d->n_done goes through the model and the next one is chosen. */
static bool step(struct decoder *d)
{
    if (!forward(d, &d->one, d->n_done, 1))
        return false;
    d->n_done++;
    return choose(d, 0);
}

static bool is_another_wanted(const struct decoder *d)
{
    return d->n_done + 1 < d->o.n_prompt + d->o.n_new;
}

/* The one point of a step where the host waits. The next step is begun before: the device has the id, and need not wait
 * for the host to enqueue. Not where logits are wanted, of which there is one buffer. */
static bool read_choice(struct decoder *d, int32_t *next, float *logits)
{
    cl_event is_read;
    if (logits)
        try_cl(d, clEnqueueReadBuffer(d->queue, d->logits, CL_FALSE, 0, 4 * (size_t) d->m->n_vocab, logits, 0, NULL,
                                      NULL));
    try_cl(d, clEnqueueReadBuffer(d->queue, d->ids, CL_FALSE, 4 * (size_t) d->n_done, sizeof d->chosen, &d->chosen, 0,
                                  NULL, &is_read));
    bool ok = true;
    if (!logits && is_another_wanted(d))
        d->is_ahead = ok = step(d);
    const cl_int code = clWaitForEvents(1, &is_read);
    clReleaseEvent(is_read);
    *next = d->chosen;
    return ok && (code == CL_SUCCESS || err_set(d->e, "clWaitForEvents: OpenCL error %d", code));
}

/* Adds the LSE of the chunk's rows to the sum of each layer's heads. Waits for the chunk. */
static bool add_lse(struct decoder *d, uint32_t rows, double *sum)
{
    const size_t n_heads = d->m->n_heads, bytes = rows * n_heads * sizeof(float);
    float *lse = malloc(bytes);
    if (!lse)
        return err_set(d->e, "out of memory");
    for (size_t l = 0; l < d->m->n_layers; l++) {
        const size_t from = l * d->rows * n_heads * sizeof(float);
        const cl_int code = clEnqueueReadBuffer(d->queue, d->lse, CL_TRUE, from, bytes, lse, 0, NULL, NULL);
        if (code != CL_SUCCESS) {
            free(lse);
            return err_set(d->e, "clEnqueueReadBuffer: OpenCL error %d", code);
        }
        for (size_t i = 0; i < rows * n_heads; i++)
            sum[l * n_heads + i % n_heads] += lse[i];
    }
    free(lse);
    return true;
}

/* sum: of each layer's heads, NULL unless it is wanted. *last: rows of the last chunk. */
static bool run_chunks(struct decoder *d, double *sum, uint32_t *last)
{
    const struct stage *s = d->rows > 1 ? &d->chunk : &d->one;
    for (uint32_t rows; d->n_done < d->o.n_prompt; d->n_done += rows) {
        rows = d->o.n_prompt - d->n_done < s->rows ? d->o.n_prompt - d->n_done : s->rows;
        if (!forward(d, s, d->n_done, rows) || (sum && !add_lse(d, rows, sum)))
            return false;
        *last = rows;
    }
    return true;
}

bool decoder_prompt(struct decoder *d, const int32_t *ids, int32_t *next, float *logits, struct err *e)
{
    const size_t n_heads = (size_t) d->m->n_layers * d->m->n_heads;
    uint32_t rows = 0;
    double *sum = NULL;
    d->e = e;
    if (d->o.mean_lse && !(sum = calloc(n_heads, sizeof *sum)))
        return err_set(e, "out of memory");
    const bool ok = write_buffer(d, d->ids, d->o.n_prompt * sizeof *ids, ids) && run_chunks(d, sum, &rows);
    for (size_t i = 0; ok && sum && i < n_heads; i++)
        d->o.mean_lse[i] = (float) (sum[i] / d->o.n_prompt);
    free(sum);
    return ok && choose(d, rows - 1) && read_choice(d, next, logits);
}

bool decoder_next(struct decoder *d, int32_t *next, float *logits, struct err *e)
{
    d->e = e;
    if (!d->is_ahead && !step(d))
        return false;
    d->is_ahead = false;
    return read_choice(d, next, logits);
}

/* ---- statistics ---- */

static bool read_description(struct decoder *d, struct decode_stats *s)
{
    size_t n;
    try_fdec(d, fdec_ctx_describe(d->ctx, NULL, 0, &n));
    char *text = malloc(n + 1);
    if (!text)
        return err_set(d->e, "out of memory");
    json_t *json = fdec_ctx_describe(d->ctx, text, n + 1, NULL) == FDEC_OK ? json_loads(text, 0, NULL) : NULL;
    free(text);
    json_t *best = json_array_get(json_object_get(json, "tables"), 0);
    const char *path = json_string_value(json_object_get(best, "path"));
    snprintf(s->table, sizeof s->table, "%s", path ? path : "none");
    s->table_level = best ? (int) json_integer_value(json_object_get(best, "table_level")) : ANALYTIC_LEVEL;
    json_decref(json);
    return true;
}

bool decoder_stats(struct decoder *d, struct decode_stats *s, struct err *e)
{
    d->e = e;
    *s = (struct decode_stats){.table_level = 0};
    fdec_counters counters;
    fdec_ctx_counters(d->ctx, &counters);
    s->programs_compiled = counters.programs_compiled;
    s->programs_from_cache = counters.programs_from_cache;
    const struct stage *stages[] = {&d->one, &d->chunk};
    for (int i = 0; i < 2 && stages[i]->rows; i++) {
        fdec_attn_counts counts;
        try_fdec(d, fdec_attn_counts_read(stages[i]->attn, d->queue, &counts));
        s->rows_recomputed += counts.rows_recomputed;
    }
    try_cl(d, clGetDeviceInfo(d->device, CL_DEVICE_NAME, sizeof s->device, s->device, NULL));
    for (char *c = s->device; *c; c++)
        if (*c < ' ' || *c > '~') /* what JSON would not take */
            *c = '?';
    return read_description(d, s);
}
