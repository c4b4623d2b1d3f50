/* SPDX-License-Identifier: MIT
 * workload.c - a problem made concrete: buffers, runs through the public calls, the comparison
 *
 * Each operand has a buffer of its own:   | GUARD bytes + skew elements | the operand | GUARD bytes |
 * with one bit pattern all around. Skew is odd where a workload is only checked, so that nothing is aligned to more
 * than an element (of blocks: than 2 bytes); it is 0 where it is timed, as operands in real use start where their
 * buffer does. The guards of inputs are NaN, those of outputs, and outputs before a run, an unlikely number;
 * workspace is NaN. */
#include "workload.h"
#include "attn.h"
#include "inputs.h"
#include "linear.h"
#include "softmax.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { GUARD = 256, PACKED_OFFSET = 4 };                       /* bytes */
static const uint32_t QUIET = 0x7fc0dead, POISON = 0xc640e600; /* a NaN; -12345.5 */

struct workload {
    fdec_ctx *ctx;
    cl_command_queue queue;
    struct workload_spec spec;
    struct inputs in;
    struct reference ref;
    int out, lse, state, alias; /* indices of operands; -1: none. alias: the input that `out` overwrites */
    cl_mem (*sets)[MAX_BUFFERS];
    cl_mem *packed; /* [n_sets], weights in panels; NULL: none */
    cl_mem work;
    size_t work_bytes, work_used; /* of all there is, guard included; of the last run's plan */
    int64_t rows;                 /* of x and y in use (linear) */
    uint64_t hash;
    unsigned char *got[MAX_BUFFERS]; /* buffers of outputs as the last check read them, by operand */
};

static size_t skew_of(const struct workload *w, int i)
{
    return w->spec.reference && !w->spec.timed ? (size_t) (2 * i + 1) : 0;
}

static size_t offset_of(const struct workload *w, int i)
{
    return GUARD + skew_of(w, i) * element_align(w->in.at[i].type);
}

static size_t operand_bytes(const struct workload *w, int i)
{
    return element_bytes(w->in.at[i].type, w->in.at[i].n);
}

static size_t buffer_bytes(const struct workload *w, int i)
{
    return offset_of(w, i) + operand_bytes(w, i) + GUARD;
}

/* Bytes first to before last of a buffer that has the pattern from its start on. */
static void fill_pattern(unsigned char *buffer, size_t first, size_t last, uint32_t pattern)
{
    size_t i = first;
    for (; i < last && (i & 3); i++)
        buffer[i] = (unsigned char) (pattern >> 8 * (i & 3));
    for (; i + sizeof pattern <= last; i += sizeof pattern)
        memcpy(buffer + i, &pattern, sizeof pattern);
    for (; i < last; i++)
        buffer[i] = (unsigned char) (pattern >> 8 * (i & 3));
}

static void write_values(const struct operand *o, unsigned char *at)
{
    const void *as_it_is = o->type == ELEM_F32         ? (const void *) o->f
                           : o->type == ELEM_I32       ? (const void *) o->i
                           : element_is_block(o->type) ? o->blocks
                                                       : NULL;
    if (as_it_is) {
        memcpy(at, as_it_is, element_bytes(o->type, o->n));
        return;
    }
    for (size_t j = 0; j < o->n; j++) {
        const uint16_t bits = o->type == ELEM_F16 ? half_bits(o->f[j]) : bfloat_bits(o->f[j]);
        memcpy(at + 2 * j, &bits, sizeof bits);
    }
}

/* The bytes of operand i's buffer as they are before a run. */
static unsigned char *stage(const struct workload *w, int i)
{
    const struct operand *o = &w->in.at[i];
    const size_t bytes = buffer_bytes(w, i);
    unsigned char *all = malloc(bytes);
    if (!all)
        return NULL;
    const bool written = !o->output || i == w->state;
    const size_t from = offset_of(w, i), to = from + operand_bytes(w, i);
    const uint32_t pattern = o->output ? POISON : QUIET;
    fill_pattern(all, 0, written ? from : bytes, pattern);
    if (written) {
        write_values(o, all + from);
        fill_pattern(all, to, bytes, pattern);
    }
    return all;
}

/* Into the first n_sets sets. All hold the same numbers in different memory: speed depends on where they lie, not on
 * what they are. */
static fdec_status upload(struct workload *w, int n_sets, int i)
{
    fdec_status st = FDEC_OK;
    cl_int err = CL_SUCCESS;
    unsigned char *bytes = stage(w, i);
    try_alloc(bytes);
    for (int set = 0; set < n_sets; set++) {
        cl_mem *mem = &w->sets[set][i];
        if (!*mem)
            *mem = clCreateBuffer(w->ctx->context, CL_MEM_READ_WRITE, buffer_bytes(w, i), NULL, &err);
        try_cl(err);
        try_cl(clEnqueueWriteBuffer(w->queue, *mem, CL_TRUE, 0, buffer_bytes(w, i), bytes, 0, NULL, NULL));
    }
out:
    free(bytes);
    return st;
}

fdec_buffer workload_operand(const struct workload *w, int set, int i)
{
    if (i == w->out && w->alias >= 0)
        i = w->alias;
    return w->in.at[i].n ? (fdec_buffer){w->sets[set][i], offset_of(w, i)} : (fdec_buffer){NULL, 0};
}

fdec_buffer workload_weights(const struct workload *w, int set)
{
    return w->packed ? (fdec_buffer){w->packed[set], PACKED_OFFSET} : workload_operand(w, set, LINEAR_W);
}

/* The same from element n on. */
static fdec_buffer part_of(const struct workload *w, int set, int i, int64_t n)
{
    fdec_buffer b = workload_operand(w, set, i);
    if (b.mem)
        b.offset_bytes += element_bytes(w->in.at[i].type, (size_t) n);
    return b;
}

/* Packs the weights of every set, by the library's own call. */
static fdec_status pack_all(struct workload *w)
{
    fdec_status st = FDEC_OK;
    fdec_plan *plan = NULL;
    cl_int err;
    const struct linear_problem *p = &w->spec.problem.linear;
    fdec_linear_pack_params params = FDEC_LINEAR_PACK_PARAMS_INIT;
    params.n = (uint32_t) (p->n - p->n2 - p->n3), params.n2 = (uint32_t) p->n2, params.n3 = (uint32_t) p->n3;
    params.k = (uint32_t) p->k, params.w_type = p->w_type, params.glu = (fdec_glu) p->glu;
    try_st(fdec_linear_pack_plan_create(w->ctx, &params, &plan));
    for (int set = 0; set < w->spec.n_sets; set++) {
        fdec_linear_pack_args a = FDEC_LINEAR_PACK_ARGS_INIT;
        fdec_buffer *const ws[] = {&a.w, &a.w2, &a.w3};
        int64_t before = 0;
        w->packed[set] = clCreateBuffer(w->ctx->context, CL_MEM_READ_WRITE,
                                        PACKED_OFFSET + fdec_linear_packed_bytes(plan), NULL, &err);
        try_cl(err);
        for (int i = 0; i < 3 && linear_part_rows(p, i); before += linear_part_rows(p, i++))
            *ws[i] = part_of(w, set, LINEAR_W, before * p->k);
        a.packed = (fdec_buffer){w->packed[set], PACKED_OFFSET};
        try_st(fdec_linear_pack_run(plan, w->queue, &a, 0, NULL, NULL));
        try_cl(clFinish(w->queue));
    }
out:
    fdec_plan_destroy(&plan);
    return st;
}

static fdec_status upload_all(struct workload *w)
{
    fdec_status st = FDEC_OK;
    for (int i = 0; i < w->in.n; i++)
        if (w->in.at[i].n && (i != w->out || w->alias < 0))
            try_st(upload(w, w->spec.n_sets, i));
out:
    return st;
}

static void name_outputs(struct workload *w)
{
    const enum op op = w->spec.problem.op;
    const bool in_place = w->spec.in_place;
    w->state = op == OP_ATTN ? ATTN_STATE : -1;
    w->lse = op == OP_ATTN ? ATTN_LSE : op == OP_SOFTMAX ? SOFTMAX_LSE : -1;
    w->out = op == OP_ATTN ? ATTN_OUT : op == OP_SOFTMAX ? SOFTMAX_Y : LINEAR_Y;
    w->alias = !in_place ? -1 : op == OP_ATTN ? ATTN_Q : op == OP_SOFTMAX ? SOFTMAX_X : LINEAR_RESIDUAL;
}

fdec_status workload_create(fdec_ctx *ctx, cl_command_queue queue, const struct workload_spec *spec,
                            struct workload **out)
{
    fdec_status st = FDEC_OK;
    struct workload *w = calloc(1, sizeof *w);
    try_alloc(w);
    w->ctx = ctx;
    w->queue = queue;
    w->spec = *spec;
    w->rows = spec->problem.linear.m;
    require("workload", spec->n_sets >= 1 && spec->problem.op <= OP_SOFTMAX);
    require("workload", !spec->in_place || spec->problem.op != OP_LINEAR || spec->residual);
    try_alloc(w->sets = calloc((size_t) spec->n_sets, sizeof *w->sets));
    name_outputs(w);
    try_st(inputs_make(spec, &w->in));
    try_st(upload_all(w));
    if (spec->problem.op == OP_LINEAR && spec->problem.linear.w_layout == FDEC_W_PACKED) {
        try_alloc(w->packed = calloc((size_t) spec->n_sets, sizeof *w->packed));
        try_st(pack_all(w));
    }
    if (spec->reference && spec->reference_file)
        try_st(reference_map(spec, spec->reference_file, &w->ref));
    else if (spec->reference)
        try_st(reference_make(spec, &w->in, &w->ref));
    for (int i = 0; i < w->in.n; i++) /* weights and caches are large, and only what runs overwrite is needed again */
        if (i != w->alias && i != w->state) {
            free(w->in.at[i].f);
            free(w->in.at[i].blocks);
            w->in.at[i].f = NULL, w->in.at[i].blocks = NULL;
        }
    *out = w;
    w = NULL;
out:
    workload_destroy(&w);
    return st;
}

void workload_destroy(struct workload **w)
{
    if (!w || !*w)
        return;
    for (int set = 0; (*w)->sets && set < (*w)->spec.n_sets; set++)
        for (int i = 0; i < MAX_BUFFERS; i++)
            if ((*w)->sets[set][i])
                clReleaseMemObject((*w)->sets[set][i]);
    for (int set = 0; (*w)->packed && set < (*w)->spec.n_sets; set++)
        if ((*w)->packed[set])
            clReleaseMemObject((*w)->packed[set]);
    free((*w)->packed);
    free((*w)->sets);
    if ((*w)->work)
        clReleaseMemObject((*w)->work);
    for (int i = 0; i < MAX_BUFFERS; i++)
        free((*w)->got[i]);
    inputs_clear(&(*w)->in);
    reference_clear(&(*w)->ref);
    free(*w);
    *w = NULL;
}

/* ---- runs ---- */

/* Written, not filled: oclgrind takes a filled buffer for one without values. */
static fdec_status fill_work(struct workload *w)
{
    fdec_status st = FDEC_OK;
    unsigned char *bytes = malloc(w->work_bytes);
    try_alloc(bytes);
    fill_pattern(bytes, 0, w->work_bytes, QUIET);
    try_cl(clEnqueueWriteBuffer(w->queue, w->work, CL_TRUE, 0, w->work_bytes, bytes, 0, NULL, NULL));
out:
    free(bytes);
    return st;
}

/* The skew of the workspace is that of an operand behind the last one. */
static size_t work_offset(const struct workload *w)
{
    return skew_of(w, MAX_BUFFERS) * sizeof(float);
}

static fdec_status need_work(struct workload *w, size_t bytes)
{
    fdec_status st = FDEC_OK;
    cl_int err;
    const size_t all = (size_t) round_up((int64_t) (work_offset(w) + bytes), 4) + GUARD;
    w->work_used = bytes;
    if (all <= w->work_bytes)
        return FDEC_OK;
    if (w->work)
        clReleaseMemObject(w->work);
    w->work_bytes = all;
    w->work = clCreateBuffer(w->ctx->context, CL_MEM_READ_WRITE, all, NULL, &err);
    try_cl(err);
    try_st(fill_work(w));
out:
    return st;
}

fdec_status workload_poison(struct workload *w)
{
    fdec_status st = FDEC_OK;
    try_st(upload(w, 1, w->alias >= 0 ? w->alias : w->out));
    const int others[] = {w->lse, w->state};
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        if (others[i] >= 0 && w->in.at[others[i]].n)
            try_st(upload(w, 1, others[i]));
    if (w->work)
        try_st(fill_work(w));
out:
    return st;
}

void workload_take_rows(struct workload *w, int64_t m)
{
    w->rows = m;
}

static fdec_status run_attn(struct workload *w, fdec_plan *plan, int set, fdec_buffer work, cl_event *event)
{
    const struct attn_problem *p = &w->spec.problem.attn;
    fdec_attn_args a = FDEC_ATTN_ARGS_INIT;
    const struct {
        fdec_buffer *to;
        int operand;
    } list[] = {
        {&a.q, ATTN_Q},
        {&a.k, ATTN_K},
        {&a.v, ATTN_V},
        {&a.lens, ATTN_LENS},
        {&a.q_starts, ATTN_Q_STARTS},
        {&a.q_pos, ATTN_Q_POS},
        {&a.block_table, ATTN_BLOCK_TABLE},
        {&a.bias, ATTN_BIAS},
        {&a.alibi, ATTN_ALIBI},
        {&a.sinks, ATTN_SINKS},
        {&a.phi, ATTN_PHI},
        {&a.bounds, ATTN_BOUNDS},
        {&a.state, ATTN_STATE},
        {&a.slots, ATTN_SLOTS},
        {&a.out, ATTN_OUT},
        {&a.lse, ATTN_LSE},
    };
    for (size_t i = 0; i < ARRAY_LEN(list); i++)
        *list[i].to = workload_operand(w, set, list[i].operand);
    a.batch = (uint32_t) p->batch, a.max_len = (uint32_t) p->len, a.q_len = (uint32_t) p->q_len;
    if (a.q_starts.mem)
        a.n_q = (uint32_t) w->in.n_q;
    if (a.state.mem)
        a.n_slots = (uint32_t) w->in.n_slots;
    if (a.bias.mem)
        a.bias_max = attn_bias_max;
    a.bias_batch_stride = w->in.bias_stride[0], a.bias_query_stride = w->in.bias_stride[1];
    a.bias_head_stride = w->in.bias_stride[2];
    a.workspace = work;
    return fdec_attn_run(plan, w->queue, &a, 0, NULL, event);
}

static fdec_status run_linear(struct workload *w, fdec_plan *plan, int set, fdec_buffer work, cl_event *event)
{
    const struct linear_problem *p = &w->spec.problem.linear;
    const bool glu = p->glu != FDEC_GLU_NONE;
    fdec_linear_args a = FDEC_LINEAR_ARGS_INIT;
    fdec_buffer *const ws[] = {&a.w, &a.w2, &a.w3}, *const biases[] = {&a.bias, &a.bias2, &a.bias3},
                       *const ys[] = {&a.y, &a.y2, &a.y3};
    int64_t before = 0;
    for (int i = 0; i < 3 && linear_part_rows(p, i); before += linear_part_rows(p, i++)) {
        if (p->w_layout == FDEC_W_STORED)
            *ws[i] = part_of(w, set, LINEAR_W, before * p->k);
        *biases[i] = part_of(w, set, LINEAR_BIAS, before);
        if (i == 0 || !glu)
            *ys[i] = part_of(w, set, LINEAR_Y, before * w->rows);
    }
    if (w->packed)
        a.w = workload_weights(w, set);
    a.m = (uint32_t) w->rows;
    a.x = workload_operand(w, set, LINEAR_X);
    a.residual = workload_operand(w, set, LINEAR_RESIDUAL);
    a.norm = workload_operand(w, set, LINEAR_NORM);
    a.workspace = work;
    return fdec_linear_run(plan, w->queue, &a, 0, NULL, event);
}

static fdec_status run_softmax(struct workload *w, fdec_plan *plan, int set, fdec_buffer work, cl_event *event)
{
    fdec_softmax_args a = FDEC_SOFTMAX_ARGS_INIT;
    a.rows = (uint32_t) w->spec.problem.softmax.rows;
    a.x = workload_operand(w, set, SOFTMAX_X);
    a.y = workload_operand(w, set, SOFTMAX_Y);
    a.lse = workload_operand(w, set, SOFTMAX_LSE);
    a.workspace = work;
    return fdec_softmax_run(plan, w->queue, &a, 0, NULL, event);
}

fdec_status workload_run(struct workload *w, fdec_plan *plan, int set, cl_event *event)
{
    fdec_status st = FDEC_OK;
    const size_t bytes = fdec_plan_workspace_bytes(plan);
    if (bytes)
        try_st(need_work(w, bytes));
    const fdec_buffer work = bytes ? (fdec_buffer){w->work, work_offset(w)} : (fdec_buffer){NULL, 0};
    switch (w->spec.problem.op) {
    case OP_ATTN: try_st(run_attn(w, plan, set, work, event)); break;
    case OP_LINEAR: try_st(run_linear(w, plan, set, work, event)); break;
    default: try_st(run_softmax(w, plan, set, work, event));
    }
out:
    return st;
}

size_t workload_set_bytes(const struct workload_spec *spec)
{
    struct inputs in;
    inputs_shape(spec, &in);
    size_t bytes = 0;
    for (int i = 0; i < in.n; i++)
        bytes += element_bytes(in.at[i].type, in.at[i].n);
    return bytes;
}

/* ---- the comparison ---- */

/* Half a unit in the last place of a value of the output's type; its largest number in *most. */
static double half_ulp(enum element type, double x, double *most)
{
    const int bits = type == ELEM_F16 ? 11 : type == ELEM_BF16 ? 8 : 24, least = type == ELEM_F16 ? -13 : -125;
    int e;
    *most = type == ELEM_F16 ? 65504 : type == ELEM_BF16 ? 0x1.fep127 : FLT_MAX;
    frexp(x, &e);
    return ldexp(1, MAX(e, least) - bits - 1);
}

/* How far got is from want, in bounds; infinity where one of them is no number and the other is not the same. The bound
 * is float32's: the rounding to a narrower type adds half a unit of the larger end of the range that it leaves, and
 * makes infinity of what is past the middle between the type's largest number and the next one. An lse with a score of
 * +Inf is +Inf by the formula, and NaN where a kernel subtracts Inf from Inf first: both are loud, both pass. */
static double error_of(enum element type, double got, double want, double bound, bool is_lse)
{
    if (isnan(want))
        return isnan(got) ? 0 : INFINITY;
    if (isinf(want))
        return got == want || (is_lse && want > 0 && isnan(got)) ? 0 : INFINITY;
    double most;
    const double end = fabs(want) + bound, rounding = half_ulp(type, end, &most);
    if (type != ELEM_F32 && isinf(got) && isfinite(end) && end >= most + half_ulp(type, most, &most))
        return signbit(got) == signbit(want) ? 1 : INFINITY;
    const double error = fabs(got - want);
    if (!isfinite(bound) || !isfinite(error))
        return INFINITY;
    return error == 0 ? 0 : error / (bound + (type == ELEM_F32 ? 0 : rounding));
}

static double value_at(enum element type, const unsigned char *at, size_t j)
{
    uint16_t bits;
    float f;
    if (type == ELEM_F32) {
        memcpy(&f, at + 4 * j, sizeof f);
        return f;
    }
    memcpy(&bits, at + 2 * j, sizeof bits);
    return type == ELEM_F16 ? half_value(bits) : bfloat_value(bits);
}

/* Where a buffer holds other bytes than before the run: first to before last. */
static bool unchanged(const struct workload *w, int layout, const unsigned char *got, const unsigned char *before,
                      size_t first, size_t last, char *text, size_t n)
{
    for (size_t i = first; i < last; i++)
        if (got[i] != before[i]) {
            const long long element = (long long) element_bytes(w->in.at[layout].type, 1);
            snprintf(text, n, "wrote where it must not: element %lld of %zu",
                     ((long long) i - (long long) offset_of(w, layout)) / element, w->in.at[layout].n);
            return false;
        }
    return true;
}

/* What element j of output i must be: rows that are not in use stay as they were. */
static double want_at(const struct workload *w, int i, const double *want, size_t j)
{
    const struct problem *p = &w->spec.problem;
    const bool out_of_use = p->op == OP_LINEAR && i == w->out && j >= (size_t) (w->rows * p->linear.n);
    return out_of_use ? REF_UNTOUCHED : want[j];
}

/* The guards, and the elements that are REF_UNTOUCHED. */
static bool rest_holds(const struct workload *w, int i, int layout, const double *want, char *text, size_t n)
{
    const size_t from = offset_of(w, layout), element = element_bytes(w->in.at[i].type, 1),
                 to = from + operand_bytes(w, i);
    unsigned char *before = stage(w, layout);
    bool same = before && unchanged(w, layout, w->got[i], before, 0, from, text, n) &&
                unchanged(w, layout, w->got[i], before, to, buffer_bytes(w, layout), text, n);
    for (size_t j = 0; same && j < w->in.at[i].n; j++)
        if (want_at(w, i, want, j) == REF_UNTOUCHED)
            same = unchanged(w, layout, w->got[i], before, from + j * element, from + (j + 1) * element, text, n);
    free(before);
    return same;
}

static bool check_output(struct workload *w, int i, const double *want, const double *bound, double *ratio, char *text,
                         size_t n)
{
    const int layout = i == w->out && w->alias >= 0 ? w->alias : i;
    const size_t bytes = buffer_bytes(w, layout), count = w->in.at[i].n;
    const enum element type = w->in.at[i].type;
    const char *name = i == w->lse ? "lse" : i == w->state ? "state" : "out";
    size_t worst = 0;
    double over = -1;
    if (!w->got[i])
        w->got[i] = malloc(bytes);
    if (!w->got[i] || clEnqueueReadBuffer(w->queue, w->sets[0][layout], CL_TRUE, 0, bytes, w->got[i], 0, NULL, NULL)) {
        snprintf(text, n, "%s cannot be read back", name);
        return false;
    }
    const unsigned char *got = w->got[i] + offset_of(w, layout);
    w->hash = hash64(got, operand_bytes(w, i), w->hash);
    for (size_t j = 0; j < count; j++) {
        const double wanted = want_at(w, i, want, j);
        const double e =
            wanted == REF_UNTOUCHED ? 0 : error_of(type, value_at(type, got, j), wanted, bound[j], i != w->out);
        if (e > over) {
            over = e;
            worst = j;
        }
    }
    *ratio = fmax(*ratio, over);
    if (over <= 1)
        return rest_holds(w, i, layout, want, text, n);
    snprintf(text, n, "%s[%zu] of %zu is %.9g, want %.9g: %.3g times the bound %.3g", name, worst, count,
             value_at(type, got, worst), want[worst], over, bound[worst]);
    return false;
}

static bool work_guard_holds(const struct workload *w, char *text, size_t n)
{
    uint32_t got[GUARD / sizeof(uint32_t)];
    const size_t at = (size_t) round_up((int64_t) (work_offset(w) + w->work_used), 4);
    if (clEnqueueReadBuffer(w->queue, w->work, CL_TRUE, at, sizeof got, got, 0, NULL, NULL)) {
        snprintf(text, n, "workspace cannot be read back");
        return false;
    }
    for (size_t i = 0; i < ARRAY_LEN(got); i++) {
        if (got[i] == QUIET)
            continue;
        snprintf(text, n, "wrote outside its workspace: word %zu behind %zu bytes", i, w->work_used);
        return false;
    }
    return true;
}

bool workload_check(struct workload *w, double *ratio, char *text, size_t n)
{
    *ratio = 0;
    w->hash = 0;
    if (!w->spec.reference) {
        snprintf(text, n, "this workload has no reference");
        return false;
    }
    const cl_int err = clFinish(w->queue); /* an out-of-order queue would read too early */
    if (err) {
        snprintf(text, n, "clFinish: %s", cl_error_name(err));
        return false;
    }
    if (!check_output(w, w->out, w->ref.out, w->ref.bound, ratio, text, n))
        return false;
    if (w->lse >= 0 && w->in.at[w->lse].n && !check_output(w, w->lse, w->ref.lse, w->ref.lse_bound, ratio, text, n))
        return false;
    if (w->state >= 0 && w->in.at[w->state].n &&
        !check_output(w, w->state, w->ref.state, w->ref.state_bound, ratio, text, n))
        return false;
    return !w->work || !w->work_used || work_guard_holds(w, text, n);
}

uint64_t workload_hash(const struct workload *w)
{
    return w->hash;
}

uint64_t workload_hash_sequence(const struct workload *w, int64_t b)
{
    const struct attn_run run = attn_run_of(&w->spec, &w->in);
    const struct attn_queries seq = attn_queries_of(&run, b);
    const int outputs[] = {w->out, w->lse};
    uint64_t hash = 0;
    for (size_t k = 0; k < ARRAY_LEN(outputs); k++) {
        const int i = outputs[k], layout = i == w->out && w->alias >= 0 ? w->alias : i;
        const size_t row = operand_bytes(w, i) / (size_t) MAX(w->in.n_q, 1);
        if (w->got[i])
            hash = hash64(w->got[i] + offset_of(w, layout) + (size_t) seq.first * row, (size_t) seq.n * row, hash);
    }
    return hash;
}
