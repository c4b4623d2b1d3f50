/* SPDX-License-Identifier: MIT
 * decode_setup.c - memory, device, plans and weights of a decoder: from nothing to ready, and back */
#include "decoder.h"
#include <inttypes.h>

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

/* They lie on the device as in the file. */
static bool weight_buffer(struct decoder *d, struct weight *w, visit_buffer *visit)
{
    return visit(d, w->tensor->n_bytes, &w->mem);
}

/* Of n elements in a cache. q8_0 packs 32 into 34 bytes. */
static uint64_t kv_bytes(fdec_type type, uint64_t n)
{
    return type == FDEC_Q8_0 ? n / 32 * 34 : type == FDEC_F32 ? 4 * n : 2 * n;
}

/* Does a layer have gate and up of two types? */
static bool ffn_is_apart(const struct model *m)
{
    for (uint32_t i = 0; i < m->n_layers; i++)
        if (m->layers[i].w[W_GATE].type != m->layers[i].w[W_UP].type)
            return true;
    return false;
}

/* Else the best token is taken. */
static bool is_sampled(const struct decode_options *o)
{
    return o->temperature != 0 || (o->repeat_penalty != 1 && o->repeat_last > 0);
}

/* As fdec_sample_args has them: four words for each 256 logits. */
static uint64_t stats_bytes(const struct model *m)
{
    return 16 * (((uint64_t) m->n_vocab + 255) / 256);
}

static bool each_buffer(struct decoder *d, visit_buffer *visit)
{
    const struct model *m = d->m;
    const uint64_t rows = d->rows, n_ctx = d->o.n_ctx;
    const uint64_t n_q = (uint64_t) m->n_heads * m->head_dim, n_kv = (uint64_t) m->n_kv_heads * m->head_dim;
    for (uint32_t c = 0; c < 2 * m->n_layers; c++)
        if (!visit(d, kv_bytes(d->o.kv_type, n_ctx * n_kv), &d->cache[c]))
            return false;
    const uint64_t heads = 4 * (uint64_t) m->n_layers * m->n_heads;
    const struct {
        uint64_t bytes;
        cl_mem *mem;
    } list[] = {
        {heads, &d->state},
        {d->o.phi ? heads : 0, &d->phi},
        {d->o.mean_lse ? rows * heads : 0, &d->lse},
        {4 * rows * m->n_embd, &d->x},
        {4 * rows * n_q, &d->q},
        {4 * rows * n_kv, &d->k},
        {4 * rows * n_kv, &d->v},
        {4 * rows * m->n_ff, &d->gate},
        {ffn_is_apart(m) ? 4 * rows * m->n_ff : 0, &d->up},
        {4 * m->n_vocab, &d->logits},
        {is_sampled(&d->o) ? stats_bytes(m) : 0, &d->stats},
        {4 * (n_ctx + 1), &d->ids},
        {4 * (n_ctx + 1), &d->count},
        {8 * (m->rope_dim / 2), &d->angles},
        {d->workspace_bytes, &d->workspace},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (list[i].bytes && !visit(d, list[i].bytes, list[i].mem))
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

static fdec_kv_layout kv_layout(const struct decoder *d)
{
    return (fdec_kv_layout){
        .capacity = d->o.n_ctx, .n_blocks = 1, .k = {.type = d->o.kv_type}, .v = {.type = d->o.kv_type}};
}

static void make_room(struct decoder *d, const fdec_plan *plan)
{
    const uint64_t need = fdec_plan_workspace_bytes(plan);
    d->workspace_bytes = need > d->workspace_bytes ? need : d->workspace_bytes;
}

/* ---- products ---- */

struct product product_of(const struct weight *w, cl_mem y)
{
    return (struct product){.w = {w}, .y = {y}};
}

/* Neighbours of one type are one call. */
int products_qkv(const struct decoder *d, const struct layer *l, struct product p[MAX_PRODUCTS])
{
    const cl_mem y[] = {d->q, d->k, d->v};
    int n = 0, of_call = 0;
    for (int i = 0; i < 3; i++) {
        const struct weight *w = &l->w[W_Q + i];
        if (i == 0 || w->type != w[-1].type) {
            p[n++] = (struct product){.norm = &l->w[W_ATTN_NORM]};
            of_call = 0;
        }
        p[n - 1].w[of_call] = w;
        p[n - 1].y[of_call++] = y[i];
    }
    return n;
}

int products_ffn(const struct decoder *d, const struct layer *l, struct product p[MAX_PRODUCTS])
{
    const struct weight *gate = &l->w[W_GATE], *up = &l->w[W_UP], *norm = &l->w[W_FFN_NORM];
    p[0] = (struct product){.w = {gate}, .norm = norm, .y = {d->gate}};
    if (gate->type == up->type) {
        p[0].w[1] = up;
        p[0].glu = true;
        return 1;
    }
    p[1] = (struct product){.w = {up}, .norm = norm, .y = {d->up}};
    return 2;
}

struct product product_out(const struct decoder *d)
{
    return (struct product){.w = {&d->m->out}, .norm = &d->m->out_norm, .y = {d->logits}, .stats = d->sample};
}

static uint32_t rows_of(const struct product *p, int i)
{
    return p->w[i] ? p->w[i]->n : 0;
}

static bool same_plan(const struct product *a, const struct product *b)
{
    for (int i = 0; i < 3; i++)
        if (rows_of(a, i) != rows_of(b, i))
            return false;
    return a->w[0]->type == b->w[0]->type && a->w[0]->k == b->w[0]->k && a->glu == b->glu && a->stats == b->stats &&
           !a->norm == !b->norm;
}

fdec_plan *find_linear(const struct stage *s, const struct product *p)
{
    for (int i = 0; i < s->n_linear; i++)
        if (same_plan(&s->linear[i].of, p))
            return s->linear[i].plan;
    return NULL;
}

static bool plan_linear(struct decoder *d, struct stage *s, const struct product *of)
{
    if (find_linear(s, of))
        return true;
    struct linear_plan *l = &s->linear[s->n_linear];
    *l = (struct linear_plan){*of, NULL};
    fdec_linear_params p = FDEC_LINEAR_PARAMS_INIT;
    p.max_m = s->rows;
    p.n = of->w[0]->n;
    p.n2 = of->glu ? 0 : rows_of(of, 1);
    p.n3 = rows_of(of, 2);
    p.k = of->w[0]->k;
    p.w_type = of->w[0]->type;
    p.glu = of->glu ? FDEC_GLU_SILU : FDEC_GLU_NONE;
    p.norm = of->norm != NULL;
    p.eps = of->norm ? d->m->eps : 0;
    p.stats = of->stats;
    p.impl = d->o.linear;
    p.max_concurrent = 1;
    try_fdec(d, fdec_linear_plan_create(d->ctx, &p, &l->plan));
    s->n_linear++;
    make_room(d, l->plan);
    return true;
}

static bool plan_layer(struct decoder *d, struct stage *s, const struct layer *l)
{
    struct product p[2 * MAX_PRODUCTS + 2];
    int n = products_qkv(d, l, p);
    n += products_ffn(d, l, p + n);
    p[n++] = product_of(&l->w[W_O], d->x);
    p[n++] = product_of(&l->w[W_DOWN], d->x);
    for (int i = 0; i < n; i++)
        if (!plan_linear(d, s, &p[i]))
            return false;
    return true;
}

/* ---- plans ---- */

static bool plan_embed(struct decoder *d)
{
    fdec_embed_params p = FDEC_EMBED_PARAMS_INIT;
    p.max_rows = d->rows;
    p.cols = d->m->n_embd;
    p.table_type = d->m->embd.type;
    p.max_concurrent = 1;
    try_fdec(d, fdec_embed_plan_create(d->ctx, &p, &d->embed));
    return true;
}

static bool plan_append(struct decoder *d)
{
    const struct model *m = d->m;
    fdec_append_params p = FDEC_APPEND_PARAMS_INIT;
    p.max_tokens = d->rows;
    p.max_batch = 1;
    p.max_len = d->o.n_ctx;
    p.n_heads = m->n_heads;
    p.n_kv_heads = m->n_kv_heads;
    p.head_dim = m->head_dim;
    p.rope_dim = m->rope_dim;
    p.kv = kv_layout(d);
    p.max_concurrent = 1;
    try_fdec(d, fdec_append_plan_create(d->ctx, &p, &d->append));
    return true;
}

static bool plan_sample(struct decoder *d)
{
    fdec_sample_params p = FDEC_SAMPLE_PARAMS_INIT;
    p.max_rows = 1;
    p.cols = d->m->n_vocab;
    p.max_concurrent = 1;
    if (!is_sampled(&d->o))
        return true;
    try_fdec(d, fdec_sample_plan_create(d->ctx, &p, &d->sample));
    make_room(d, d->sample);
    return true;
}

static bool plan_stage(struct decoder *d, struct stage *s, uint32_t rows)
{
    const struct model *m = d->m;
    s->rows = rows;
    fdec_attn_params p = FDEC_ATTN_PARAMS_INIT;
    p.max_batch = 1;
    p.max_len = d->o.n_ctx;
    p.max_q_len = rows;
    p.n_heads = m->n_heads;
    p.n_kv_heads = m->n_kv_heads;
    p.head_dim = m->head_dim;
    p.kv = kv_layout(d);
    p.scheme = d->o.scheme;
    p.max_concurrent = 1;
    try_fdec(d, fdec_attn_plan_create(d->ctx, &p, &s->attn));
    make_room(d, s->attn);
    for (uint32_t i = 0; i < m->n_layers; i++)
        if (!plan_layer(d, s, &m->layers[i]))
            return false;
    const struct product out = product_out(d);
    return s != &d->one || plan_linear(d, s, &out); /* logits are of one row, always */
}

bool write_buffer(struct decoder *d, cl_mem mem, size_t bytes, const void *data)
{
    try_cl(d, clEnqueueWriteBuffer(d->queue, mem, CL_TRUE, 0, bytes, data, 0, NULL, NULL));
    return true;
}

static bool upload_weight(struct decoder *d, struct weight *w, visit_buffer *visit)
{
    (void) visit;
    return write_buffer(d, w->mem, w->tensor->n_bytes, w->tensor->data);
}

/* No layer has seen a step yet: the library's state is zero. */
static bool upload_heads(struct decoder *d)
{
    const size_t n = (size_t) d->m->n_layers * d->m->n_heads;
    float *zeros = calloc(n, sizeof *zeros);
    if (!zeros)
        return err_set(d->e, "out of memory");
    const bool ok = write_buffer(d, d->state, n * sizeof *zeros, zeros) &&
                    (!d->o.phi || write_buffer(d, d->phi, n * sizeof *zeros, d->o.phi));
    free(zeros);
    return ok;
}

static bool upload_constants(struct decoder *d)
{
    const size_t n = (size_t) d->o.n_ctx + 1;
    int32_t *count = malloc(n * sizeof *count);
    uint64_t *angles = malloc(d->m->rope_dim / 2 * sizeof *angles);
    bool ok = count && angles;
    if (!ok)
        err_set(d->e, "out of memory");
    for (size_t i = 0; ok && i < n; i++)
        count[i] = (int32_t) i;
    fdec_rope_params rope = FDEC_ROPE_PARAMS_INIT;
    rope.rope_dim = d->m->rope_dim;
    rope.base = d->m->rope_base;
    if (ok && fdec_rope_angles(&rope, angles, NULL) != FDEC_OK)
        ok = err_set(d->e, "%s", fdec_last_error());
    ok = ok && write_buffer(d, d->count, n * sizeof *count, count) &&
         write_buffer(d, d->angles, d->m->rope_dim / 2 * sizeof *angles, angles);
    free(count);
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
    if (!open_device(d) || !plan_embed(d) || !plan_append(d) || !plan_sample(d) || !plan_stage(d, &d->one, 1) ||
        (d->rows > 1 && !plan_stage(d, &d->chunk, d->rows)) || !check_memory(d) || !each_buffer(d, create_buffer) ||
        !upload_constants(d) || !upload_heads(d) || !each_weight(d, upload_weight, NULL))
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
    fdec_plan_destroy(&d->embed);
    fdec_plan_destroy(&d->append);
    fdec_plan_destroy(&d->sample);
    struct stage *stages[] = {&d->one, &d->chunk};
    for (int s = 0; s < 2; s++) {
        fdec_plan_destroy(&stages[s]->attn);
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
