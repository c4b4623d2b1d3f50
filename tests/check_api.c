/* SPDX-License-Identifier: MIT
 * check_api.c - the public calls: refusals, families by name, what a plan tells
 *
 * Every refusal must have the right status, a text that names the condition, and leave everything as it was: all
 * buffers of a refused run are parts of one pool, whose bytes are compared at the end. */
#include "checkcl.h"
#include "util.h"

#include <stdlib.h>
#include <string.h>

enum { POOL_BYTES = 1 << 16, PART = POOL_BYTES / 16 };

struct api {
    struct check *c;
    fdec_ctx *ctx;
    cl_command_queue queue;
    cl_mem pool;
    fdec_plan *attn, *paged, *sources[3], *linear, *softmax, *append, *embed; /* sources: of phi, from _PER_HEAD */
    fdec_ops *ops;
};

static void refused(const struct api *a, const char *what, fdec_status got, fdec_status want, const char *part)
{
    char text[600];
    snprintf(text, sizeof text, "status %d, not %d; text \"%s\", wanted \"%s\" in it", (int) got, (int) want,
             fdec_last_error(), part);
    check_that(a->c, got == want && strstr(fdec_last_error(), part), what, text);
}

static void must(const struct api *a, const char *what, fdec_status st)
{
    check_that(a->c, st == FDEC_OK, what, fdec_last_error());
}

/* ---- plans ---- */

static fdec_attn_params attn_params(void)
{
    fdec_attn_params p = FDEC_ATTN_PARAMS_INIT;
    p.max_batch = 2, p.max_len = 20, p.n_heads = 4, p.n_kv_heads = 2, p.head_dim = 8;
    return p;
}

static fdec_linear_params linear_params(void)
{
    fdec_linear_params p = FDEC_LINEAR_PARAMS_INIT;
    p.max_m = 2, p.n = 17, p.k = 33;
    return p;
}

static fdec_linear_pack_params linear_pack_params(void)
{
    fdec_linear_pack_params p = FDEC_LINEAR_PACK_PARAMS_INIT;
    p.n = 17, p.k = 64;
    return p;
}

static fdec_softmax_params softmax_params(void)
{
    fdec_softmax_params p = FDEC_SOFTMAX_PARAMS_INIT;
    p.max_rows = 2, p.cols = 33;
    return p;
}

static fdec_embed_params embed_params(void)
{
    fdec_embed_params p = FDEC_EMBED_PARAMS_INIT;
    p.max_rows = 2, p.cols = 64, p.table_type = FDEC_Q4_0;
    return p;
}

static fdec_append_params append_params(void)
{
    fdec_append_params p = FDEC_APPEND_PARAMS_INIT;
    p.max_tokens = 4, p.max_batch = 2, p.max_len = 20, p.n_heads = 4, p.n_kv_heads = 2, p.head_dim = 64;
    p.kv.page_size = 4, p.kv.n_blocks = 10;
    return p;
}

/* A plan from params that are good but for one change. */
#define BAD_PLAN(op, change, status, part)                                                                             \
    do {                                                                                                               \
        fdec_##op##_params p = op##_params();                                                                          \
        fdec_plan *plan = NULL;                                                                                        \
        p.change;                                                                                                      \
        refused(a, #op " plan, " #change, fdec_##op##_plan_create(a->ctx, &p, &plan), status, part);                   \
        check_that(a->c, plan == NULL, #op " plan, " #change, "a refusal leaves a plan");                              \
        fdec_plan_destroy(&plan);                                                                                      \
    } while (0)

static void refuse_attn_plans(const struct api *a)
{
    BAD_PLAN(attn, size = 0, FDEC_E_ARG, "size");
    BAD_PLAN(attn, max_batch = 0, FDEC_E_ARG, "max_batch");
    BAD_PLAN(attn, max_len = 0, FDEC_E_ARG, "max_len");
    BAD_PLAN(attn, max_len = 1u << 31, FDEC_E_ARG, "max_len");
    BAD_PLAN(attn, n_heads = 0, FDEC_E_ARG, "n_heads");
    BAD_PLAN(attn, n_kv_heads = 0, FDEC_E_ARG, "n_kv_heads");
    BAD_PLAN(attn, n_kv_heads = 3, FDEC_E_ARG, "n_heads % p->n_kv_heads");
    BAD_PLAN(attn, head_dim = 0, FDEC_E_ARG, "head_dim");
    BAD_PLAN(attn, head_dim = 12, FDEC_E_ARG, "head_dim % 8");
    BAD_PLAN(attn, head_dim = 584, FDEC_E_ARG, "head_dim <=");
    BAD_PLAN(attn, v_head_dim = 12, FDEC_E_ARG, "v_head_dim % 8");
    BAD_PLAN(attn, v_head_dim = 584, FDEC_E_ARG, "v_head_dim <=");
    BAD_PLAN(attn, n_heads = 258, FDEC_E_ARG, "MAX_GROUP");
    BAD_PLAN(attn, max_q_len = 65, FDEC_E_ARG, "max_q_len");
    BAD_PLAN(attn, q_type = FDEC_Q8_0, FDEC_E_ARG, "q_type");
    BAD_PLAN(attn, out_type = (fdec_type) 9, FDEC_E_ARG, "out_type");
    BAD_PLAN(attn, softcap = -1, FDEC_E_ARG, "softcap");
    BAD_PLAN(attn, softcap = (float) (1 / 0.0), FDEC_E_ARG, "softcap");
    BAD_PLAN(attn, window = 1u << 31, FDEC_E_ARG, "window");
    BAD_PLAN(attn, mask = (fdec_mask) 2, FDEC_E_ARG, "mask");
    BAD_PLAN(attn, batch_invariant = 2, FDEC_E_ARG, "batch_invariant");
    BAD_PLAN(attn, scale = (float) (0.0 / 0.0), FDEC_E_ARG, "scale");
    BAD_PLAN(attn, phi = (float) (1 / 0.0), FDEC_E_ARG, "phi");
    BAD_PLAN(attn, scheme = (fdec_scheme) 4, FDEC_E_ARG, "scheme");
    BAD_PLAN(attn, phi_source = (fdec_phi_source) 5, FDEC_E_ARG, "phi_source");
    BAD_PLAN(attn, kv.k.type = (fdec_type) 7, FDEC_E_UNSUPPORTED, "kv.k.type");
    BAD_PLAN(attn, kv.v.type = (fdec_type) -1, FDEC_E_UNSUPPORTED, "kv.v.type");
    BAD_PLAN(attn, kv.capacity = 19, FDEC_E_ARG, "kv.capacity");
    BAD_PLAN(attn, kv.n_blocks = 1, FDEC_E_ARG, "kv.n_blocks");
    BAD_PLAN(attn, kv.page_size = 16, FDEC_E_ARG, "kv.n_blocks");
    BAD_PLAN(attn, kv.page_size = (p.kv.n_blocks = p.kv.max_blocks = 1, 16), FDEC_E_ARG, "kv.max_blocks");
    BAD_PLAN(attn, kv.k.token_stride = -8, FDEC_E_ARG, "kv.k strides");
    BAD_PLAN(attn, kv.v.head_stride = ((int64_t) 1 << 32) + 1, FDEC_E_ARG, "kv.v strides");
    BAD_PLAN(attn, kv.k.token_stride = (p.head_dim = 32, p.kv.k.type = FDEC_Q8_0, 80), FDEC_E_ARG, "kv.k strides");
    BAD_PLAN(attn, max_concurrent = 100000, FDEC_E_ARG, "max_concurrent");
}

static void refuse_plans(const struct api *a)
{
    BAD_PLAN(linear, size = 0, FDEC_E_ARG, "size");
    BAD_PLAN(linear, max_m = 0, FDEC_E_ARG, "max_m");
    BAD_PLAN(linear, n = 0, FDEC_E_ARG, "p->n");
    BAD_PLAN(linear, k = 0, FDEC_E_ARG, "p->k");
    BAD_PLAN(linear, k = 1u << 31, FDEC_E_ARG, "p->k");
    BAD_PLAN(linear, w_type = (fdec_type) 11, FDEC_E_ARG, "w_type");
    BAD_PLAN(linear, w_type = FDEC_Q6_K, FDEC_E_ARG, "blocks of 256");
    BAD_PLAN(linear, x_type = FDEC_Q8_0, FDEC_E_ARG, "x_type");
    BAD_PLAN(linear, y_type = (fdec_type) 12, FDEC_E_ARG, "y_type");
    BAD_PLAN(linear, n3 = 4, FDEC_E_ARG, "n2");
    BAD_PLAN(linear, n2 = INT32_MAX, FDEC_E_ARG, "rows <=");
    BAD_PLAN(linear, glu = (fdec_glu) 4, FDEC_E_ARG, "glu");
    BAD_PLAN(linear, glu = FDEC_GLU_SILU; p.n2 = 4, FDEC_E_ARG, "n2");
    BAD_PLAN(linear, w_layout = (fdec_w_layout) 2, FDEC_E_ARG, "w_layout");
    BAD_PLAN(linear, w_layout = FDEC_W_PACKED; p.w_type = FDEC_Q4_K; p.k = 256, FDEC_E_UNSUPPORTED, "packed");
    BAD_PLAN(linear, eps = 1, FDEC_E_ARG, "eps");
    BAD_PLAN(linear, norm = 2, FDEC_E_ARG, "norm");
    BAD_PLAN(linear, scale = (float) (0.0 / 0.0), FDEC_E_ARG, "scale");
    BAD_PLAN(linear, softcap = -1, FDEC_E_ARG, "softcap");
    BAD_PLAN(linear_pack, size = 0, FDEC_E_ARG, "size");
    BAD_PLAN(linear_pack, n = 0, FDEC_E_ARG, "n");
    BAD_PLAN(linear_pack, w_type = FDEC_Q5_1, FDEC_E_UNSUPPORTED, "as they are stored");
    BAD_PLAN(linear, impl = (fdec_linear_impl) 4, FDEC_E_ARG, "impl");
    BAD_PLAN(softmax, size = 0, FDEC_E_ARG, "size");
    BAD_PLAN(softmax, max_rows = 0, FDEC_E_ARG, "max_rows");
    BAD_PLAN(softmax, cols = 0, FDEC_E_ARG, "cols");
    BAD_PLAN(softmax, impl = (fdec_softmax_impl) -1, FDEC_E_ARG, "impl");
    BAD_PLAN(embed, size = 0, FDEC_E_ARG, "size");
    BAD_PLAN(embed, max_rows = 0, FDEC_E_ARG, "max_rows");
    BAD_PLAN(embed, cols = 0, FDEC_E_ARG, "cols");
    BAD_PLAN(embed, table_type = (fdec_type) 11, FDEC_E_ARG, "table_type");
    BAD_PLAN(embed, table_type = (fdec_type) -1, FDEC_E_ARG, "table_type");
    BAD_PLAN(embed, cols = 80, FDEC_E_UNSUPPORTED, "cols 80 is no multiple of q4_0's blocks of 32");
    BAD_PLAN(embed, table_type = FDEC_Q6_K, FDEC_E_UNSUPPORTED, "blocks of 256");
    BAD_PLAN(append, size = 0, FDEC_E_ARG, "size");
    BAD_PLAN(append, max_tokens = 0, FDEC_E_ARG, "max_tokens");
    BAD_PLAN(append, max_batch = 1u << 31, FDEC_E_ARG, "max_batch");
    BAD_PLAN(append, max_len = 0, FDEC_E_ARG, "max_len");
    BAD_PLAN(append, n_heads = 3, FDEC_E_ARG, "n_heads % p->n_kv_heads");
    BAD_PLAN(append, n_kv_heads = 0, FDEC_E_ARG, "n_kv_heads");
    BAD_PLAN(append, head_dim = 12, FDEC_E_ARG, "head_dim % 8");
    BAD_PLAN(append, v_head_dim = 584, FDEC_E_ARG, "v_head_dim");
    BAD_PLAN(append, rope_dim = 7, FDEC_E_ARG, "rope_dim % 2");
    BAD_PLAN(append, rope_dim = 66, FDEC_E_ARG, "rope_dim <=");
    BAD_PLAN(append, rope_begin = (p.rope_dim = 32, 33), FDEC_E_ARG, "rope_begin");
    BAD_PLAN(append, style = (fdec_rope_style) 2, FDEC_E_ARG, "style");
    BAD_PLAN(append, act_type = FDEC_Q8_0, FDEC_E_ARG, "act_type");
    BAD_PLAN(append, kv.k.type = (fdec_type) 4, FDEC_E_UNSUPPORTED, "kv.k.type");
    BAD_PLAN(append, v_head_dim = (p.kv.v.type = FDEC_Q8_0, 40), FDEC_E_UNSUPPORTED, "q8_0");
    BAD_PLAN(append, kv.n_blocks = 0, FDEC_E_ARG, "kv.n_blocks");
    BAD_PLAN(append, max_concurrent = 100000, FDEC_E_ARG, "max_concurrent");

    fdec_plan *plan = NULL;
    fdec_linear_params p = linear_params();
    refused(a, "no params", fdec_linear_plan_create(a->ctx, NULL, &plan), FDEC_E_ARG, "params");
    refused(a, "no context", fdec_linear_plan_create(NULL, &p, &plan), FDEC_E_ARG, "ctx");
    refused(a, "no place for the plan", fdec_linear_plan_create(a->ctx, &p, NULL), FDEC_E_ARG, "plan");
    struct { /* of a later version, with a field that this one does not know */
        fdec_linear_params known;
        uint64_t later;
    } longer = {p, 0};
    longer.known.size = sizeof longer;
    must(a, "a longer struct whose tail is zero", fdec_linear_plan_create(a->ctx, &longer.known, &plan));
    fdec_plan_destroy(&plan);
    longer.later = 1;
    refused(a, "a longer struct", fdec_linear_plan_create(a->ctx, &longer.known, &plan), FDEC_E_ARG, "does not know");
    p.size = offsetof(fdec_linear_params, max_concurrent);
    p.max_concurrent = 100000; /* beyond the size that is given */
    must(a, "a shorter struct", fdec_linear_plan_create(a->ctx, &p, &plan));
    fdec_plan_destroy(&plan);
}

static void make_plans(struct api *a)
{
    fdec_attn_params p = attn_params();
    must(a, "attention plan", fdec_attn_plan_create(a->ctx, &p, &a->attn));
    for (int i = 0; i < 3; i++) {
        p.phi_source = (fdec_phi_source) (FDEC_PHI_PER_HEAD + i);
        must(a, "attention plan, a source of phi", fdec_attn_plan_create(a->ctx, &p, &a->sources[i]));
    }
    p = attn_params();
    p.kv.page_size = 4;
    p.kv.n_blocks = 10;
    must(a, "attention plan, paged", fdec_attn_plan_create(a->ctx, &p, &a->paged));
    fdec_linear_params l = linear_params();
    must(a, "linear plan", fdec_linear_plan_create(a->ctx, &l, &a->linear));
    fdec_softmax_params s = softmax_params();
    must(a, "softmax plan", fdec_softmax_plan_create(a->ctx, &s, &a->softmax));
    fdec_append_params append = append_params();
    must(a, "append plan", fdec_append_plan_create(a->ctx, &append, &a->append));
    fdec_embed_params embed = embed_params();
    must(a, "embed plan", fdec_embed_plan_create(a->ctx, &embed, &a->embed));
    must(a, "small operations", fdec_ops_create(a->ctx, &a->ops));
}

/* ---- runs ---- */

static fdec_buffer part(const struct api *a, int i)
{
    return (fdec_buffer){a->pool, (size_t) i * PART};
}

static fdec_attn_args attn_args(const struct api *a)
{
    fdec_attn_args x = FDEC_ATTN_ARGS_INIT;
    x.q = part(a, 0), x.k = part(a, 1), x.v = part(a, 2), x.lens = part(a, 3), x.out = part(a, 4), x.lse = part(a, 5);
    x.workspace = part(a, 6); /* and all that follows */
    return x;
}

static fdec_linear_args linear_args(const struct api *a)
{
    fdec_linear_args x = FDEC_LINEAR_ARGS_INIT;
    x.x = part(a, 0), x.w = part(a, 1), x.bias = part(a, 2), x.residual = part(a, 3), x.y = part(a, 4),
    x.workspace = part(a, 6);
    return x;
}

static fdec_append_args append_args(const struct api *a)
{
    fdec_append_args x = FDEC_APPEND_ARGS_INIT;
    x.q_len = 2, x.pos = part(a, 0), x.angles = part(a, 1), x.q = part(a, 2), x.k = part(a, 3), x.v = part(a, 4);
    x.block_table = part(a, 5), x.bounds = part(a, 6);
    x.k_cache = x.v_cache =
        (fdec_buffer){a->pool, POOL_BYTES - 4 * 10 * 4 * 2 * 64}; /* a cache fills the end of the pool */
    return x;
}

static fdec_softmax_args softmax_args(const struct api *a)
{
    fdec_softmax_args x = FDEC_SOFTMAX_ARGS_INIT;
    x.x = part(a, 0), x.y = part(a, 4), x.lse = part(a, 5), x.workspace = part(a, 6);
    return x;
}

static fdec_embed_args embed_args(const struct api *a)
{
    fdec_embed_args x = FDEC_EMBED_ARGS_INIT;
    x.n_rows_table = 2, x.ids = part(a, 0), x.table = part(a, 1), x.y = part(a, 4);
    return x;
}

/* A run with arguments that are good but for one change. */
#define BAD_RUN(op, plan, change, part)                                                                                \
    do {                                                                                                               \
        fdec_##op##_args x = op##_args(a);                                                                             \
        cl_event event = NULL;                                                                                         \
        x.change;                                                                                                      \
        refused(a, #op " run, " #change, fdec_##op##_run(plan, a->queue, &x, 0, NULL, &event), FDEC_E_ARG, part);      \
        check_that(a->c, event == NULL, #op " run, " #change, "a refusal gives an event");                             \
    } while (0)

static void refuse_runs(const struct api *a)
{
    const fdec_buffer none = {NULL, 0}, end = {a->pool, POOL_BYTES - 4}, past = {a->pool, POOL_BYTES + 4};
    BAD_RUN(attn, a->attn, size = 0, "size");
    BAD_RUN(attn, a->attn, batch = 3, "batch");
    BAD_RUN(attn, a->attn, max_len = 21, "max_len");
    BAD_RUN(attn, a->attn, q = none, "q.mem");
    BAD_RUN(attn, a->attn, k = none, "k.mem");
    BAD_RUN(attn, a->attn, v = none, "v.mem");
    BAD_RUN(attn, a->attn, lens = none, "lens.mem");
    BAD_RUN(attn, a->attn, out = none, "out.mem");
    BAD_RUN(attn, a->attn, q = end, "q needs");
    BAD_RUN(attn, a->attn, k = end, "k needs");
    BAD_RUN(attn, a->attn, v = past, "v needs");
    BAD_RUN(attn, a->attn, lens = end, "lens needs");
    BAD_RUN(attn, a->attn, out = end, "out needs");
    BAD_RUN(attn, a->attn, lse = end, "lse needs");
    BAD_RUN(attn, a->attn, q.offset_bytes += 2, "q.offset_bytes");
    BAD_RUN(attn, a->attn, lens.offset_bytes += 1, "lens.offset_bytes");
    BAD_RUN(attn, a->attn, block_table = x.lens, "block_table");
    BAD_RUN(attn, a->attn, q_len = 2, "q_len");
    BAD_RUN(attn, a->attn, n_q = 2, "q_starts");
    BAD_RUN(attn, a->attn, slots = x.lens, "state");
    BAD_RUN(attn, a->attn, bias_max = (float) (0.0 / 0.0), "bias_max");
    BAD_RUN(attn, a->attn, bias_batch_stride = -1, "bias_batch_stride");
    BAD_RUN(attn, a->attn, bias_query_stride = -1, "bias_query_stride");
    BAD_RUN(attn, a->attn, bias_head_stride = ((int64_t) 1 << 40) + 1, "bias_head_stride");
    BAD_RUN(attn, a->attn, bias_head_stride = (x.bias = x.q, POOL_BYTES), "bias needs");
    BAD_RUN(attn, a->attn, q_starts = end, "q_starts needs");
    BAD_RUN(attn, a->attn, q_pos = end, "q_pos needs");
    BAD_RUN(attn, a->attn, bias = end, "bias needs");
    BAD_RUN(attn, a->attn, alibi = end, "alibi needs");
    BAD_RUN(attn, a->attn, sinks = end, "sinks needs");
    BAD_RUN(attn, a->attn, phi = end, "phi needs");
    BAD_RUN(attn, a->attn, bounds = end, "bounds needs");
    BAD_RUN(attn, a->attn, state = end, "state needs");
    BAD_RUN(attn, a->attn, n_slots = (x.state = x.lse, POOL_BYTES), "state needs");
    BAD_RUN(attn, a->attn, slots = (x.state = x.lse, end), "slots needs");
    BAD_RUN(attn, a->attn, n_q = (x.q_starts = x.lens, POOL_BYTES), "q needs");
    BAD_RUN(attn, a->paged, batch = 1, "block_table");
    BAD_RUN(attn, a->sources[0], batch = 1, "phi.mem");
    BAD_RUN(attn, a->sources[1], batch = 1, "bounds.mem");
    BAD_RUN(attn, a->sources[2], batch = 1, "state.mem");
    BAD_RUN(attn, a->linear, batch = 1, "plan");
    BAD_RUN(attn, NULL, batch = 1, "plan");
    if (fdec_plan_workspace_bytes(a->attn)) {
        BAD_RUN(attn, a->attn, workspace = none, "workspace");
        BAD_RUN(attn, a->attn, workspace = end, "workspace");
    }
    BAD_RUN(linear, a->linear, size = 0, "size");
    BAD_RUN(linear, a->linear, m = 3, "m <=");
    BAD_RUN(linear, a->linear, x = none, "x.mem");
    BAD_RUN(linear, a->linear, w = end, "w needs");
    BAD_RUN(linear, a->linear, bias = end, "bias needs");
    BAD_RUN(linear, a->linear, residual = end, "residual needs");
    BAD_RUN(linear, a->linear, y.offset_bytes += 1, "y.offset_bytes");
    BAD_RUN(linear, a->softmax, m = 1, "plan");
    BAD_RUN(linear, a->linear, w2 = end, "w2 is given");
    BAD_RUN(linear, a->linear, bias2 = end, "bias2 is given");
    BAD_RUN(linear, a->linear, y3 = end, "y3 is given");
    BAD_RUN(linear, a->linear, norm = end, "norm");
    BAD_RUN(softmax, a->softmax, size = 0, "size");
    BAD_RUN(softmax, a->softmax, rows = 3, "rows");
    BAD_RUN(softmax, a->softmax, x = none, "x.mem");
    BAD_RUN(softmax, a->softmax, y = end, "y needs");
    BAD_RUN(softmax, a->softmax, lse = end, "lse needs");
    BAD_RUN(softmax, a->attn, rows = 1, "plan");
}

static void refuse_append_runs(const struct api *a)
{
    const fdec_buffer none = {NULL, 0}, end = {a->pool, POOL_BYTES - 4}, past = {a->pool, POOL_BYTES + 4};
    BAD_RUN(append, a->append, size = 0, "size");
    BAD_RUN(append, a->append, n_tokens = 5, "n_tokens");
    BAD_RUN(append, a->append, q_len = 1, "q_len");
    BAD_RUN(append, a->append, slots = (x.q_len = 0, x.pos), "block_table");
    BAD_RUN(append, a->append, slots = x.pos, "q_len");
    BAD_RUN(append, a->append, block_table = none, "block_table.mem");
    BAD_RUN(append, a->append, angles = none, "angles");
    BAD_RUN(append, a->append, q = none, "q.mem");
    BAD_RUN(append, a->append, attn_factor = (float) (1 / 0.0), "attn_factor");
    BAD_RUN(append, a->append, pos = none, "pos.mem");
    BAD_RUN(append, a->append, k = end, "k needs");
    BAD_RUN(append, a->append, v.offset_bytes += 2, "v.offset_bytes");
    BAD_RUN(append, a->append, angles.offset_bytes += 4, "angles.offset_bytes");
    BAD_RUN(append, a->append, k_cache = past, "k_cache needs");
    BAD_RUN(append, a->append, v_cache = none, "v_cache.mem");
    BAD_RUN(append, a->append, bounds = end, "bounds needs");
    BAD_RUN(append, a->linear, n_tokens = 1, "plan");
}

static void refuse_embed_runs(const struct api *a)
{
    const fdec_buffer none = {NULL, 0}, end = {a->pool, POOL_BYTES - 4};
    BAD_RUN(embed, a->embed, size = 0, "size");
    BAD_RUN(embed, a->embed, rows = 3, "rows");
    BAD_RUN(embed, a->embed, n_rows_table = 0, "n_rows_table");
    BAD_RUN(embed, a->embed, ids = none, "ids.mem");
    BAD_RUN(embed, a->embed, table = end, "table needs 72 bytes");
    BAD_RUN(embed, a->embed, table.offset_bytes += 1, "table.offset_bytes");
    BAD_RUN(embed, a->embed, y = end, "y needs");
    BAD_RUN(embed, a->softmax, rows = 1, "plan");
}

#define SMALL(op, fields, st, text)                                                                                    \
    do {                                                                                                               \
        fdec_##op##_args x = {.size = sizeof x};                                                                       \
        fields;                                                                                                        \
        refused(a, #op ", " #fields, fdec_##op##_run(a->ops, a->queue, &x, 0, NULL, NULL), st, text);                  \
    } while (0)

static void refuse_small(const struct api *a)
{
    const fdec_buffer p = part(a, 0), end = {a->pool, POOL_BYTES - 4}, odd = {a->pool, 2};
    SMALL(rmsnorm, (x.x = x.w = x.y = p, x.cols = 8), FDEC_E_ARG, "rows");
    SMALL(rmsnorm, (x.x = x.w = x.y = p, x.rows = 1), FDEC_E_ARG, "cols");
    SMALL(rmsnorm, (x.x = x.w = x.y = p, x.rows = 1, x.cols = 8, x.eps = -1), FDEC_E_ARG, "eps");
    SMALL(rmsnorm, (x.x = x.w = p, x.rows = 1, x.cols = 8), FDEC_E_ARG, "y.mem");
    SMALL(rmsnorm, (x.x = end, x.w = x.y = p, x.rows = 1, x.cols = 8), FDEC_E_ARG, "x needs");
    SMALL(swiglu, (x.gate = x.up = x.y = p), FDEC_E_ARG, "n >= 1");
    SMALL(swiglu, (x.gate = x.up = p, x.y = odd, x.n = 8), FDEC_E_ARG, "y.offset_bytes");
    SMALL(add, (x.a = x.b = x.y = p), FDEC_E_ARG, "n >= 1");
    SMALL(add, (x.a = end, x.b = x.y = p, x.n = 2), FDEC_E_ARG, "a needs");
    SMALL(argmax, (x.x = x.ids = p, x.rows = 1), FDEC_E_ARG, "cols");
    SMALL(attn_merge, (x.part = x.lse_in = x.out = p, x.dim = 8, x.n_parts = 2), FDEC_E_ARG, "rows");
    SMALL(attn_merge, (x.part = x.lse_in = x.out = p, x.rows = 2, x.n_parts = 2), FDEC_E_ARG, "dim");
    SMALL(attn_merge, (x.part = x.lse_in = x.out = p, x.rows = 2, x.dim = 8), FDEC_E_ARG, "n_parts");
    SMALL(attn_merge, (x.part = x.out = p, x.rows = 2, x.dim = 8, x.n_parts = 2), FDEC_E_ARG, "lse_in.mem");
    SMALL(attn_merge, (x.part = end, x.lse_in = x.out = p, x.rows = 1, x.dim = 1, x.n_parts = 2), FDEC_E_ARG,
          "part needs");
    SMALL(attn_merge, (x.part = x.lse_in = x.out = p, x.lse = end, x.rows = 2, x.dim = 8, x.n_parts = 2), FDEC_E_ARG,
          "lse needs");

    fdec_add_args x = FDEC_ADD_ARGS_INIT;
    refused(a, "no ops", fdec_add_run(NULL, a->queue, &x, 0, NULL, NULL), FDEC_E_ARG, "ops");
}

/* Queue and wait list, and buffers and queues of another cl_context. */
static void refuse_queues(const struct api *a)
{
    cl_int err;
    fdec_softmax_args x = softmax_args(a);
    cl_event event = clCreateUserEvent(a->ctx->context, &err);
    refused(a, "no queue", fdec_softmax_run(a->softmax, NULL, &x, 0, NULL, NULL), FDEC_E_ARG, "queue");
    refused(a, "a wait list of NULL", fdec_softmax_run(a->softmax, a->queue, &x, 1, NULL, NULL), FDEC_E_ARG, "wait");
    refused(a, "an empty wait list", fdec_softmax_run(a->softmax, a->queue, &x, 0, &event, NULL), FDEC_E_ARG, "wait");
    clReleaseEvent(event);

    cl_context other = clCreateContext(NULL, 1, &a->ctx->device_id, NULL, NULL, &err);
    cl_command_queue queue = clCreateCommandQueue(other, a->ctx->device_id, 0, &err);
    cl_mem mem = clCreateBuffer(other, CL_MEM_READ_WRITE, POOL_BYTES, NULL, &err);
    refused(a, "queue of another context", fdec_softmax_run(a->softmax, queue, &x, 0, NULL, NULL), FDEC_E_ARG,
            "another context");
    x.x.mem = mem;
    refused(a, "buffer of another context", fdec_softmax_run(a->softmax, a->queue, &x, 0, NULL, NULL), FDEC_E_ARG,
            "another cl_context");
    clReleaseMemObject(mem);
    clReleaseCommandQueue(queue);
    clReleaseContext(other);
}

static void refuse_devices(const struct api *a)
{
    cl_platform_id platform;
    cl_device_id device;
    refused(a, "a device of no such name", fdec_device_pick("no such device", &platform, &device), FDEC_E_DEVICE,
            "no such device");
    refused(a, "a device of no such number", fdec_device_pick("4000", &platform, &device), FDEC_E_DEVICE, "4000");
    fdec_ctx_params p = FDEC_CTX_PARAMS_INIT;
    fdec_ctx *ctx = NULL;
    p.table = "/nonexistent/table.json";
    refused(a, "a table that is not there", fdec_ctx_create(a->ctx->context, a->ctx->device_id, &p, &ctx), FDEC_E_DATA,
            "table.json");
    p.size = 0;
    refused(a, "context params of size 0", fdec_ctx_create(a->ctx->context, a->ctx->device_id, &p, &ctx), FDEC_E_ARG,
            "size");
    refused(a, "no cl_context", fdec_ctx_create(NULL, a->ctx->device_id, NULL, &ctx), FDEC_E_ARG, "context");
    check_that(a->c, ctx == NULL, "refused contexts", "one was made");
}

/* ---- what must work ---- */

/* Each family that a caller may name: its own kernels, the right result. */
static void check_families(const struct api *a)
{
    static const char *const schemes[] = {"", "unified", "online", "pair"},
                             *const impls[] = {"", "gemv", "flat", "gemm"},
                             *const softmaxes[] = {"", "three-pass", "online", "two-pass"};
    for (int f = 0; f < 4; f++) {
        fdec_attn_params ap = attn_params();
        fdec_linear_params lp = linear_params();
        fdec_softmax_params sp = softmax_params();
        ap.scheme = (fdec_scheme) f, lp.impl = (fdec_linear_impl) f, sp.impl = (fdec_softmax_impl) f;
        const char *const names[] = {schemes[f], impls[f], softmaxes[f]};
        fdec_plan *plans[3] = {NULL};
        must(a, names[0], fdec_attn_plan_create(a->ctx, &ap, &plans[0]));
        must(a, names[1], fdec_linear_plan_create(a->ctx, &lp, &plans[1]));
        must(a, names[2], fdec_softmax_plan_create(a->ctx, &sp, &plans[2]));
        for (int i = 0; i < 3 && plans[i]; i++) {
            const struct workload_spec spec = {
                .problem = plans[i]->problem, .seed = 5, .n_sets = 1, .reference = true, .lse = true};
            struct workload *w = NULL;
            char text[300] = "", explained[2000] = "";
            double ratio;
            must(a, names[i], workload_create(a->ctx, a->queue, &spec, &w));
            if (!w)
                continue;
            must(a, names[i], workload_poison(w));
            must(a, names[i], workload_run(w, plans[i], 0, NULL));
            check_that(a->c, workload_check(w, &ratio, text, sizeof text), names[i], text);
            must(a, names[i], fdec_explain(plans[i], FDEC_JSON, explained, sizeof explained, NULL));
            check_that(a->c, strstr(explained, names[i]) != NULL, names[i], explained);
            workload_destroy(&w);
        }
        for (int i = 0; i < 3; i++)
            fdec_plan_destroy(&plans[i]);
    }
}

static void check_texts(const struct api *a)
{
    char buf[64];
    size_t needed = 0, same = 0;
    must(a, "explain into nothing", fdec_explain(a->attn, FDEC_TEXT, NULL, 0, &needed));
    must(a, "explain into too little", fdec_explain(a->attn, FDEC_TEXT, buf, sizeof buf, &same));
    check_that(a->c, needed == same && needed > sizeof buf && strlen(buf) == sizeof buf - 1, "explain",
               "length or termination");
    must(a, "describe into too little", fdec_ctx_describe(a->ctx, buf, sizeof buf, &needed));
    check_that(a->c, needed > sizeof buf && strlen(buf) == sizeof buf - 1 && *buf == '{', "describe", buf);
    refused(a, "explain nothing", fdec_explain(NULL, FDEC_TEXT, buf, sizeof buf, NULL), FDEC_E_ARG, "plan");
    refused(a, "explain in no format", fdec_explain(a->attn, (fdec_format) 5, buf, sizeof buf, NULL), FDEC_E_ARG,
            "format");
    for (int st = FDEC_E_DATA - 1; st <= 1; st++)
        check_that(a->c, fdec_status_name((fdec_status) st) != NULL, "fdec_status_name", "NULL");
}

/* A second plan of the same class compiles nothing. */
static void check_sharing(const struct api *a)
{
    fdec_counters before, after;
    fdec_plan *plan = NULL;
    fdec_attn_params p = attn_params();
    fdec_ctx_counters(a->ctx, &before);
    must(a, "the same plan again", fdec_attn_plan_create(a->ctx, &p, &plan));
    fdec_ctx_counters(a->ctx, &after);
    check_that(a->c,
               after.programs_compiled == before.programs_compiled &&
                   after.programs_from_cache == before.programs_from_cache &&
                   after.programs_shared > before.programs_shared,
               "the same plan again", "a program was loaded once more");
    fdec_plan_destroy(&plan);
    fdec_plan_destroy(&plan);
    fdec_plan_destroy(NULL);
    check_that(a->c, fdec_plan_workspace_bytes(NULL) == 0, "workspace of no plan", "not 0");
}

void check_api(struct check *c)
{
    struct api a = {.c = c, .ctx = check_ctx(c), .queue = check_queue_of(c)};
    static unsigned char bytes[POOL_BYTES], after[POOL_BYTES];
    cl_int err;
    memset(bytes, 0x3d, sizeof bytes);
    a.pool = clCreateBuffer(a.ctx->context, CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR, sizeof bytes, bytes, &err);
    if (err) {
        check_that(c, false, "api", cl_error_name(err));
        return;
    }
    refuse_attn_plans(&a);
    refuse_plans(&a);
    refuse_devices(&a);
    make_plans(&a);
    if (a.attn && a.paged && a.sources[0] && a.sources[1] && a.sources[2] && a.linear && a.softmax && a.append &&
        a.embed && a.ops) {
        refuse_runs(&a);
        refuse_append_runs(&a);
        refuse_embed_runs(&a);
        refuse_small(&a);
        refuse_queues(&a);
        clFinish(a.queue);
        err = clEnqueueReadBuffer(a.queue, a.pool, CL_TRUE, 0, sizeof after, after, 0, NULL, NULL);
        check_that(c, !err && !memcmp(bytes, after, sizeof bytes), "after all refusals", "a buffer has changed");
        check_texts(&a);
        check_sharing(&a);
        check_families(&a);
    }
    check_reload(c);
    fdec_plan_destroy(&a.attn);
    fdec_plan_destroy(&a.paged);
    for (int i = 0; i < 3; i++)
        fdec_plan_destroy(&a.sources[i]);
    fdec_plan_destroy(&a.linear);
    fdec_plan_destroy(&a.softmax);
    fdec_plan_destroy(&a.append);
    fdec_plan_destroy(&a.embed);
    fdec_ops_destroy(&a.ops);
    clReleaseMemObject(a.pool);
}
