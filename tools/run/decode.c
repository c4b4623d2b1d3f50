/* SPDX-License-Identifier: MIT
 * decode.c - see decode.h. Buffers, f32 unless said otherwise; R rows: the chunk, 1 in decoding
 *
 *     x [R, n_embd]  the residual stream        gate, up [R, n_ff]
 *     h [R, n_embd]  normalised                 logits [n_vocab], of the last row
 *     q [R, H*D]     also attention's output    ids i32 [n_ctx + 1], count i32 [n_ctx + 1] = 0, 1, 2, ...
 *     k, v [R, G*D]  before they are appended   uniform [n_ctx + 1], one random number for each position
 *     cache per layer [n_ctx, G, D] of kv_type: contiguous for decoding, one page for chunks - the same addresses */
#include "decode.h"
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { ANALYTIC_LEVEL = 6 }; /* no table: see fdec_explain */
enum { MAX_LINEAR = 16 };    /* kinds of matrices in a model (q, k and v, o, gate and up, down, out), times two types */

/* Both set d->e and return false from the function they stand in. */
#define try_fdec(d, call)                                                                                              \
    do {                                                                                                               \
        if ((call) != FDEC_OK)                                                                                         \
            return err_set((d)->e, "%s", fdec_last_error());                                                           \
    } while (0)
#define try_cl(d, call)                                                                                                \
    do {                                                                                                               \
        const cl_int code_ = (call);                                                                                   \
        if (code_ != CL_SUCCESS)                                                                                       \
            return err_set((d)->e, "%.*s: OpenCL error %d", (int) strcspn(#call, "("), #call, code_);                  \
    } while (0)

struct linear_plan {
    fdec_type type;
    uint32_t n, k;
    fdec_plan *plan;
};

struct stage { /* plans for up to `rows` rows at once */
    uint32_t rows;
    fdec_plan *attn, *append;
    int n_linear;
    struct linear_plan linear[MAX_LINEAR];
};

struct decoder {
    struct err *e; /* of the call in progress */
    struct model *m;
    struct decode_options o;
    cl_device_id device;
    cl_context context;
    cl_command_queue queue;
    fdec_ctx *ctx;
    fdec_ops *ops;
    uint32_t rows;           /* at once, at most: the chunk, or 1 */
    struct stage one, chunk; /* chunk has no plans if rows is 1 */
    uint32_t n_done;         /* tokens in the cache */

    uint64_t need_bytes, largest_bytes, workspace_bytes;
    cl_mem x, h, q, k, v, gate, up, logits, ids, count, uniform, angles, block_table, workspace;
    cl_mem *cache; /* [n_layers][2]: K, V */
};

static fdec_buffer at(cl_mem mem, uint64_t offset_bytes)
{
    return (fdec_buffer){mem, offset_bytes};
}

/* ---- memory: one list of buffers, walked to count, to create and to release them ---- */

typedef bool visit_buffer(struct decoder *d, uint64_t bytes, cl_mem *mem);

static bool count_buffer(struct decoder *d, uint64_t bytes, cl_mem *mem)
{
    (void) mem;
    d->need_bytes += bytes;
    d->largest_bytes = bytes > d->largest_bytes ? bytes : d->largest_bytes;
    return true;
}

static bool create_buffer(struct decoder *d, uint64_t bytes, cl_mem *mem)
{
    cl_int code;
    *mem = clCreateBuffer(d->context, CL_MEM_READ_WRITE, bytes, NULL, &code);
    return *mem || err_set(d->e, "clCreateBuffer of %" PRIu64 " bytes: OpenCL error %d", bytes, code);
}

static bool release_buffer(struct decoder *d, uint64_t bytes, cl_mem *mem)
{
    (void) d, (void) bytes;
    if (*mem)
        clReleaseMemObject(*mem);
    *mem = NULL;
    return true;
}

typedef bool visit_weight(struct decoder *d, struct weight *w, visit_buffer *visit);

static bool each_weight(struct decoder *d, visit_weight *f, visit_buffer *visit)
{
    struct model *m = d->m;
    for (uint32_t i = 0; i < m->n_layers; i++)
        for (int w = 0; w < N_LAYER_WEIGHTS; w++)
            if (!f(d, &m->layers[i].w[w], visit))
                return false;
    return f(d, &m->embd, visit) && f(d, &m->out_norm, visit) && (m->tied || f(d, &m->out, visit));
}

/* Matrices lie on the device as in the file; vectors are f32 there. */
static bool weight_buffer(struct decoder *d, struct weight *w, visit_buffer *visit)
{
    return visit(d, w->n ? w->tensor->n_bytes : 4 * (uint64_t) w->k, &w->mem);
}

static bool each_buffer(struct decoder *d, visit_buffer *visit)
{
    const struct model *m = d->m;
    const uint64_t rows = d->rows, n_ctx = d->o.n_ctx;
    const uint64_t n_q = (uint64_t) m->n_heads * m->head_dim, n_kv = (uint64_t) m->n_kv_heads * m->head_dim;
    for (uint32_t c = 0; c < 2 * m->n_layers; c++)
        if (!visit(d, n_ctx * n_kv * (d->o.kv_type == FDEC_F16 ? 2 : 4), &d->cache[c]))
            return false;
    const struct {
        uint64_t bytes;
        cl_mem *mem;
    } list[] = {
        {4 * rows * m->n_embd, &d->x},  {4 * rows * m->n_embd, &d->h},
        {4 * rows * n_q, &d->q},        {4 * rows * n_kv, &d->k},
        {4 * rows * n_kv, &d->v},       {4 * rows * m->n_ff, &d->gate},
        {4 * rows * m->n_ff, &d->up},   {4 * m->n_vocab, &d->logits},
        {4 * (n_ctx + 1), &d->ids},     {4 * (n_ctx + 1), &d->count},
        {4 * (n_ctx + 1), &d->uniform}, {8 * (m->rope_dim / 2), &d->angles},
        {4 * rows, &d->block_table},    {d->workspace_bytes, &d->workspace},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (!visit(d, list[i].bytes, list[i].mem))
            return false;
    return each_weight(d, weight_buffer, visit);
}

/* Drivers may accept more than there is, and then swap or die. */
static bool check_memory(struct decoder *d)
{
    cl_ulong global, largest;
    d->need_bytes = d->largest_bytes = 0;
    each_buffer(d, count_buffer);
    try_cl(d, clGetDeviceInfo(d->device, CL_DEVICE_GLOBAL_MEM_SIZE, sizeof global, &global, NULL));
    try_cl(d, clGetDeviceInfo(d->device, CL_DEVICE_MAX_MEM_ALLOC_SIZE, sizeof largest, &largest, NULL));
    if (d->need_bytes > global)
        return err_set(d->e, "a context of %" PRIu32 " tokens needs %.1f MiB of device memory, the device has %.1f MiB",
                       d->o.n_ctx, (double) d->need_bytes / 1048576, (double) global / 1048576);
    if (d->largest_bytes > largest)
        return err_set(d->e, "a context of %" PRIu32 " tokens needs a buffer of %.1f MiB, the device allows %.1f MiB",
                       d->o.n_ctx, (double) d->largest_bytes / 1048576, (double) largest / 1048576);
    return true;
}

/* ---- start ---- */

static bool open_device(struct decoder *d)
{
    cl_platform_id platform;
    cl_int code;
    try_fdec(d, fdec_device_pick(NULL, &platform, &d->device));
    if (!check_memory(d)) /* before anything is built, which takes longer; again when the workspace is known */
        return false;
    const cl_context_properties properties[] = {CL_CONTEXT_PLATFORM, (cl_context_properties) platform, 0};
    d->context = clCreateContext(properties, 1, &d->device, NULL, NULL, &code);
    if (!d->context)
        return err_set(d->e, "clCreateContext: OpenCL error %d", code);
    d->queue = clCreateCommandQueue(d->context, d->device, 0, &code);
    if (!d->queue)
        return err_set(d->e, "clCreateCommandQueue: OpenCL error %d", code);
    const fdec_ctx_params params = FDEC_CTX_PARAMS_INIT;
    try_fdec(d, fdec_ctx_create(d->context, d->device, &params, &d->ctx));
    try_fdec(d, fdec_ops_create(d->ctx, &d->ops));
    return true;
}

static fdec_kv_layout kv_layout(const struct decoder *d, const struct stage *s)
{
    fdec_kv_layout kv = {.type = d->o.kv_type, .n_blocks = 1};
    if (s == &d->chunk) {
        kv.page_size = d->o.n_ctx;
        kv.max_blocks = 1;
    } else {
        kv.capacity = d->o.n_ctx;
    }
    return kv;
}

static fdec_plan *find_linear(const struct stage *s, const struct weight *w)
{
    for (int i = 0; i < s->n_linear; i++)
        if (s->linear[i].type == w->type && s->linear[i].n == w->n && s->linear[i].k == w->k)
            return s->linear[i].plan;
    return NULL;
}

static bool plan_linear(struct decoder *d, struct stage *s, const struct weight *w)
{
    if (w->n == 0 || find_linear(s, w))
        return true;
    struct linear_plan *l = &s->linear[s->n_linear];
    *l = (struct linear_plan){w->type, w->n, w->k, NULL};
    fdec_linear_params p = FDEC_LINEAR_PARAMS_INIT;
    p.max_m = s->rows;
    p.n = w->n;
    p.k = w->k;
    p.w_type = w->type;
    p.impl = d->o.linear;
    p.max_concurrent = 1;
    try_fdec(d, fdec_linear_plan_create(d->ctx, &p, &l->plan));
    s->n_linear++;
    const uint64_t need = fdec_plan_workspace_bytes(l->plan);
    d->workspace_bytes = need > d->workspace_bytes ? need : d->workspace_bytes;
    return true;
}

static bool plan_append(struct decoder *d, struct stage *s)
{
    const struct model *m = d->m;
    fdec_append_params p = FDEC_APPEND_PARAMS_INIT;
    p.max_tokens = s->rows;
    p.max_len = d->o.n_ctx;
    p.n_heads = m->n_heads;
    p.n_kv_heads = m->n_kv_heads;
    p.head_dim = m->head_dim;
    p.rope_dim = m->rope_dim;
    p.kv = kv_layout(d, s);
    p.max_concurrent = 1;
    try_fdec(d, fdec_append_plan_create(d->ctx, &p, &s->append));
    return true;
}

static bool plan_stage(struct decoder *d, struct stage *s, uint32_t rows)
{
    const struct model *m = d->m;
    s->rows = rows;
    fdec_attn_params p = FDEC_ATTN_PARAMS_INIT;
    p.max_batch = rows;
    p.max_len = d->o.n_ctx;
    p.n_heads = m->n_heads;
    p.n_kv_heads = m->n_kv_heads;
    p.head_dim = m->head_dim;
    p.kv = kv_layout(d, s);
    p.scheme = d->o.scheme;
    p.max_concurrent = 1;
    try_fdec(d, fdec_attn_plan_create(d->ctx, &p, &s->attn));
    const uint64_t need = fdec_plan_workspace_bytes(s->attn);
    d->workspace_bytes = need > d->workspace_bytes ? need : d->workspace_bytes;

    if (!plan_append(d, s))
        return false;
    for (uint32_t i = 0; i < m->n_layers; i++)
        for (int w = 0; w < N_LAYER_WEIGHTS; w++)
            if (!plan_linear(d, s, &m->layers[i].w[w]))
                return false;
    return s != &d->one || plan_linear(d, s, &m->out); /* logits are of one row, always */
}

static bool write_buffer(struct decoder *d, cl_mem mem, size_t bytes, const void *data)
{
    try_cl(d, clEnqueueWriteBuffer(d->queue, mem, CL_TRUE, 0, bytes, data, 0, NULL, NULL));
    return true;
}

static bool upload_weight(struct decoder *d, struct weight *w, visit_buffer *visit)
{
    (void) visit;
    const struct gguf_tensor *t = w->tensor;
    if (w->n || w->type == FDEC_F32)
        return write_buffer(d, w->mem, t->n_bytes, t->data);

    /* A vector in f16 is widened by reading it as row 0 of an embedding table. It goes by way of x, which is free now
     * and has the room. */
    if (!write_buffer(d, d->x, t->n_bytes, t->data))
        return false;
    fdec_embed_args a = FDEC_EMBED_ARGS_INIT;
    a.rows = a.n_rows_table = 1;
    a.cols = w->k;
    a.table_type = FDEC_F16;
    a.ids = at(d->count, 0);
    a.table = at(d->x, 0);
    a.y = at(w->mem, 0);
    try_fdec(d, fdec_embed_run(d->ops, d->queue, &a, 0, NULL, NULL));
    return true;
}

/* The random number for the token at a position, in [0, 1): the top 24 bits of splitmix64's output number `position`
 * from the state `seed`. It depends on nothing else. */
static float uniform_at(uint64_t seed, uint64_t position)
{
    uint64_t z = seed + (position + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (float) ((z ^ (z >> 31)) >> 40) * 0x1p-24f;
}

static bool upload_constants(struct decoder *d)
{
    const size_t n = (size_t) d->o.n_ctx + 1;
    int32_t *count = malloc(n * sizeof *count);
    float *uniform = malloc(n * sizeof *uniform);
    uint64_t *angles = malloc(d->m->rope_dim / 2 * sizeof *angles);
    bool ok = count && uniform && angles;
    if (!ok)
        err_set(d->e, "out of memory");
    for (size_t i = 0; ok && i < n; i++) {
        count[i] = (int32_t) i;
        uniform[i] = uniform_at(d->o.seed, i);
    }
    fdec_rope_params rope = FDEC_ROPE_PARAMS_INIT;
    rope.rope_dim = d->m->rope_dim;
    rope.base = d->m->rope_base;
    if (ok && fdec_rope_angles(&rope, angles, NULL) != FDEC_OK)
        ok = err_set(d->e, "%s", fdec_last_error());
    const int32_t zeros[DECODE_CHUNK] = {0};
    ok = ok && write_buffer(d, d->count, n * sizeof *count, count) &&
         write_buffer(d, d->uniform, n * sizeof *uniform, uniform) &&
         write_buffer(d, d->angles, d->m->rope_dim / 2 * sizeof *angles, angles) &&
         write_buffer(d, d->block_table, d->rows * sizeof *zeros, zeros);
    free(count);
    free(uniform);
    free(angles);
    return ok;
}

static bool start(struct decoder *d)
{
    struct model *m = d->m;
    d->rows = d->o.n_prompt < DECODE_CHUNK ? d->o.n_prompt : DECODE_CHUNK;
    d->cache = calloc(2 * (size_t) m->n_layers, sizeof *d->cache);
    if (!d->cache)
        return err_set(d->e, "out of memory");
    d->workspace_bytes = 4; /* OpenCL has no buffers of 0 bytes */
    if (!open_device(d) || !plan_stage(d, &d->one, 1) || (d->rows > 1 && !plan_stage(d, &d->chunk, d->rows)) ||
        !check_memory(d) || !each_buffer(d, create_buffer) || !upload_constants(d) ||
        !each_weight(d, upload_weight, NULL))
        return false;
    if (m->tied)
        m->out.mem = m->embd.mem;
    return true;
}

bool decoder_create(struct model *m, const struct decode_options *o, struct decoder **out, struct err *e)
{
    struct decoder *d = calloc(1, sizeof *d);
    *out = NULL;
    if (!d)
        return err_set(e, "out of memory");
    d->m = m;
    d->o = *o;
    d->e = e;
    if (!start(d)) {
        decoder_destroy(&d);
        return false;
    }
    *out = d;
    return true;
}

void decoder_destroy(struct decoder **out)
{
    struct decoder *d = *out;
    if (!d)
        return;
    *out = NULL;
    if (d->queue)
        clFinish(d->queue);
    struct stage *stages[] = {&d->one, &d->chunk};
    for (int s = 0; s < 2; s++) {
        fdec_plan_destroy(&stages[s]->attn);
        fdec_plan_destroy(&stages[s]->append);
        for (int i = 0; i < stages[s]->n_linear; i++)
            fdec_plan_destroy(&stages[s]->linear[i].plan);
    }
    if (d->cache)
        each_buffer(d, release_buffer);
    fdec_ops_destroy(&d->ops);
    fdec_ctx_destroy(&d->ctx);
    if (d->queue)
        clReleaseCommandQueue(d->queue);
    if (d->context)
        clReleaseContext(d->context);
    free(d->cache);
    free(d);
}

/* ---- the forward pass ---- */

static bool embed(struct decoder *d, uint32_t pos, uint32_t rows)
{
    fdec_embed_args a = FDEC_EMBED_ARGS_INIT;
    a.rows = rows;
    a.cols = d->m->n_embd;
    a.n_rows_table = d->m->n_vocab;
    a.table_type = d->m->embd.type;
    a.ids = at(d->ids, 4 * (uint64_t) pos);
    a.table = at(d->m->embd.mem, 0);
    a.y = at(d->x, 0);
    try_fdec(d, fdec_embed_run(d->ops, d->queue, &a, 0, NULL, NULL));
    return true;
}

/* h = rmsnorm of x from row `first` on */
static bool norm(struct decoder *d, const struct weight *w, uint32_t first, uint32_t rows)
{
    fdec_rmsnorm_args a = FDEC_RMSNORM_ARGS_INIT;
    a.rows = rows;
    a.cols = d->m->n_embd;
    a.eps = d->m->eps;
    a.x = at(d->x, 4 * (uint64_t) first * d->m->n_embd);
    a.w = at(w->mem, 0);
    a.y = at(d->h, 0);
    try_fdec(d, fdec_rmsnorm_run(d->ops, d->queue, &a, 0, NULL, NULL));
    return true;
}

/* y = x w^T + residual (which may be NULL, or y) */
static bool linear(struct decoder *d, const struct stage *s, uint32_t rows, const struct weight *w, cl_mem x,
                   cl_mem residual, cl_mem y)
{
    fdec_linear_args a = FDEC_LINEAR_ARGS_INIT;
    a.m = rows;
    a.x = at(x, 0);
    a.w = at(w->mem, 0);
    a.residual = at(residual, 0);
    a.y = at(y, 0);
    a.workspace = at(d->workspace, 0);
    try_fdec(d, fdec_linear_run(find_linear(s, w), d->queue, &a, 0, NULL, NULL));
    return true;
}

/* q and the cache of `layer`: rows of tokens pos, pos + 1, ... are all appended, then each attends to its own past. */
static bool attend(struct decoder *d, const struct stage *s, uint32_t layer, uint32_t pos, uint32_t rows)
{
    const fdec_buffer k_cache = at(d->cache[2 * layer], 0), v_cache = at(d->cache[2 * layer + 1], 0);
    const fdec_buffer table = at(s == &d->chunk ? d->block_table : NULL, 0);
    fdec_append_args r = FDEC_APPEND_ARGS_INIT;
    r.n_tokens = rows;
    r.angles = at(d->angles, 0);
    r.pos = at(d->count, 4 * (uint64_t) pos);
    r.q = at(d->q, 0);
    r.k = at(d->k, 0);
    r.v = at(d->v, 0);
    r.block_table = table;
    r.k_cache = k_cache;
    r.v_cache = v_cache;
    try_fdec(d, fdec_append_run(s->append, d->queue, &r, 0, NULL, NULL));

    fdec_attn_args a = FDEC_ATTN_ARGS_INIT;
    a.batch = rows;
    a.max_len = pos + rows;
    a.q = a.out = at(d->q, 0);
    a.k = k_cache;
    a.v = v_cache;
    a.lens = at(d->count, 4 * ((uint64_t) pos + 1));
    a.block_table = table;
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
        const struct weight *w = d->m->layers[i].w;
        if (!norm(d, &w[W_ATTN_NORM], 0, rows) || !linear(d, s, rows, &w[W_Q], d->h, NULL, d->q) ||
            !linear(d, s, rows, &w[W_K], d->h, NULL, d->k) || !linear(d, s, rows, &w[W_V], d->h, NULL, d->v) ||
            !attend(d, s, i, pos, rows) || !linear(d, s, rows, &w[W_O], d->q, d->x, d->x) ||
            !norm(d, &w[W_FFN_NORM], 0, rows) || !linear(d, s, rows, &w[W_GATE], d->h, NULL, d->gate) ||
            !linear(d, s, rows, &w[W_UP], d->h, NULL, d->up) || !swiglu(d, rows) ||
            !linear(d, s, rows, &w[W_DOWN], d->gate, d->x, d->x))
            return false;
    }
    return true;
}

/* Logits of row `row` of x, the token at d->n_done; the id goes where that token's embedding will be read. */
static bool choose(struct decoder *d, uint32_t row)
{
    const fdec_buffer x = at(d->logits, 0), ids = at(d->ids, 4 * (uint64_t) d->n_done);
    if (!norm(d, &d->m->out_norm, row, 1) || !linear(d, &d->one, 1, &d->m->out, d->h, NULL, d->logits))
        return false;
    if (d->o.temperature > 0) {
        fdec_sample_args a = FDEC_SAMPLE_ARGS_INIT;
        a.rows = 1;
        a.cols = d->m->n_vocab;
        a.temperature = d->o.temperature;
        a.x = x;
        a.u = at(d->uniform, 4 * (uint64_t) d->n_done);
        a.ids = ids;
        try_fdec(d, fdec_sample_run(d->ops, d->queue, &a, 0, NULL, NULL));
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

/* The one point of a step where the host waits. */
static bool read_choice(struct decoder *d, int32_t *next, float *logits)
{
    if (logits)
        try_cl(d, clEnqueueReadBuffer(d->queue, d->logits, CL_FALSE, 0, 4 * (size_t) d->m->n_vocab, logits, 0, NULL,
                                      NULL));
    try_cl(d,
           clEnqueueReadBuffer(d->queue, d->ids, CL_TRUE, 4 * (size_t) d->n_done, sizeof *next, next, 0, NULL, NULL));
    return true;
}

bool decoder_prompt(struct decoder *d, const int32_t *ids, int32_t *next, float *logits, struct err *e)
{
    const struct stage *s = d->rows > 1 ? &d->chunk : &d->one;
    uint32_t rows = 0;
    d->e = e;
    if (!write_buffer(d, d->ids, d->o.n_prompt * sizeof *ids, ids))
        return false;
    for (; d->n_done < d->o.n_prompt; d->n_done += rows) {
        rows = d->o.n_prompt - d->n_done < s->rows ? d->o.n_prompt - d->n_done : s->rows;
        if (!forward(d, s, d->n_done, rows))
            return false;
    }
    return choose(d, rows - 1) && read_choice(d, next, logits);
}

bool decoder_next(struct decoder *d, int32_t *next, float *logits, struct err *e)
{
    d->e = e;
    if (!forward(d, &d->one, d->n_done, 1))
        return false;
    d->n_done++;
    return choose(d, 0) && read_choice(d, next, logits);
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
