/* SPDX-License-Identifier: MIT
 * check_attn_whole.c - attention: what more than one plan or run shows. Batch-invariance, moving to `online`, two
 * pages by hand, refused pairs of features */
#include "checkcl.h"
#include "util.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the same bits alone, in a batch, in another order of pages, in a plan for longer sequences ---- */

static const int32_t lens[] = {2500, 1, 300, 1025, 2049}; /* on both sides of one and two splits */
enum { N_SEQUENCES = ARRAY_LEN(lens), LONGEST = 2500 };

/* A plan for `batch` sequences of `room` tokens; its run has n of them from `first` on, the longest of `len`. */
struct setting {
    int batch, room, n, first, len;
    uint64_t page_seed;
};

/* The hash of each sequence's results. k: in its default configuration; NULL: as the library chooses in the family. */
static bool hash_setting(struct check *c, const struct kernel *k, const char *family, const struct setting *s,
                         uint64_t *hash, char *text, size_t n)
{
    struct problem p;
    struct workload *w = NULL;
    fdec_plan *plan = NULL;
    int cfg[MAX_PARAMS] = {0};
    char problem[PROBLEM_TEXT];
    double ratio;
    bool right = false;
    snprintf(problem, sizeof problem, "attn:f16 b=%d h=6/2 d=64 q=3 n=%d page=7", s->batch, s->room);
    if (!check_problem(c, problem, &p))
        return false;
    p.attn.invariant = true;
    struct workload_spec spec = {.problem = p, .seed = check_seed(c), .n_sets = 1, .reference = true, .lse = true};
    spec.problem.attn.batch = s->n, spec.problem.attn.len = s->len;
    spec.with = (struct attn_with){.alibi = true,
                                   .sinks = true,
                                   .bias = BIAS_KEY,
                                   .phi = true,
                                   .lens = lens + s->first,
                                   .first_sequence = s->first,
                                   .page_seed = s->page_seed};
    if (k)
        kernel_expect(k, &p, &check_ctx(c)->device, cfg);
    const struct want want = {.kernel = k, .cfg = cfg, .family = family};
    snprintf(text, n, "%s", problem);
    if (plan_create_problem(check_ctx(c), &p, &want, &plan) ||
        workload_create(check_ctx(c), check_queue_of(c), &spec, &w) || workload_poison(w) ||
        workload_run(w, plan, 0, NULL))
        snprintf(text, n, "%s", fdec_last_error());
    else
        right = workload_check(w, &ratio, text, n);
    for (int b = 0; right && b < s->n; b++)
        hash[b] = workload_hash_sequence(w, b);
    workload_destroy(&w);
    fdec_plan_destroy(&plan);
    return right;
}

void check_attn_invariance(struct check *c, const struct kernel *k, const char *family)
{
    const struct setting all = {N_SEQUENCES, LONGEST, N_SEQUENCES, 0, LONGEST, 0},
                         longer = {2 * N_SEQUENCES, 2 * LONGEST, N_SEQUENCES, 0, LONGEST + 300, 7};
    uint64_t want[N_SEQUENCES], got[N_SEQUENCES];
    char text[600], name[100];
    snprintf(name, sizeof name, "invariant, %s", k ? k->name : family);
    if (!hash_setting(c, k, family, &all, want, text, sizeof text)) {
        check_that(c, false, name, text);
        return;
    }
    const bool right = hash_setting(c, k, family, &longer, got, text, sizeof text);
    check_that(c, right && !memcmp(want, got, sizeof want), name,
               right ? "other bits in a plan for more and longer sequences" : text);
    for (int b = 0; b < N_SEQUENCES; b++) {
        const struct setting alone = {1, lens[b], 1, b, lens[b], 11};
        const bool alone_right = hash_setting(c, k, family, &alone, got, text, sizeof text);
        if (alone_right)
            snprintf(text, sizeof text, "sequence %d of %d tokens has other bits alone", b, (int) lens[b]);
        check_that(c, alone_right && got[0] == want[b], name, text);
    }
}

/* ---- from `unified` to `online` ---- */

struct moving {
    struct check *c;
    const char *name;
    fdec_plan *plan;
    struct workload *flagged, *quiet;
};

static bool open_moving(struct moving *m, bool invariant)
{
    fdec_attn_params a = FDEC_ATTN_PARAMS_INIT;
    a.max_batch = 4, a.max_len = 40, a.n_heads = 16, a.n_kv_heads = 4, a.head_dim = 64; /* 64 rows */
    a.scheme = FDEC_SCHEME_UNIFIED, a.phi_source = FDEC_PHI_PER_HEAD, a.batch_invariant = invariant;
    if (fdec_attn_plan_create(check_ctx(m->c), &a, &m->plan))
        return false;
    static const int32_t full[] = {40, 39, 40, 38};
    struct workload_spec spec = {.problem = m->plan->problem, .seed = 3, .n_sets = 1, .reference = true, .lse = true};
    spec.with.lens = full;
    if (workload_create(check_ctx(m->c), check_queue_of(m->c), &spec, &m->quiet))
        return false;
    spec.with.phi_shift = 200;
    return !workload_create(check_ctx(m->c), check_queue_of(m->c), &spec, &m->flagged);
}

static uint64_t redone(const struct moving *m)
{
    fdec_attn_counts counts = {0};
    check_that(m->c, !fdec_attn_counts_read(m->plan, check_queue_of(m->c), &counts), m->name, "counters");
    return counts.rows_recomputed;
}

/* A right run, then a call of fdec_attn_adapt: has the plan moved? */
static void step(const struct moving *m, struct workload *w, bool moves)
{
    char text[300] = "";
    double ratio;
    int moved = -1;
    if (workload_poison(w) || workload_run(w, m->plan, 0, NULL))
        snprintf(text, sizeof text, "%s", fdec_last_error());
    else
        workload_check(w, &ratio, text, sizeof text);
    check_that(m->c, !*text, m->name, text);
    const fdec_status st = fdec_attn_adapt(m->plan, check_queue_of(m->c), &moved);
    snprintf(text, sizeof text, "moved is %d, not %d: %s", moved, moves, st ? fdec_last_error() : "");
    check_that(m->c, !st && moved == moves, m->name, text);
}

static void close_moving(struct moving *m)
{
    workload_destroy(&m->flagged);
    workload_destroy(&m->quiet);
    fdec_plan_destroy(&m->plan);
}

static void check_adapt(struct check *c, bool invariant)
{
    struct moving m = {.c = c, .name = invariant ? "adapt, batch-invariant" : "adapt"};
    char text[4000] = "";
    if (!open_moving(&m, invariant)) {
        check_that(c, false, m.name, fdec_last_error());
        close_moving(&m);
        return;
    }
    step(&m, m.quiet, false);
    step(&m, m.quiet, false);
    step(&m, m.flagged, false);
    step(&m, m.quiet, false); /* the share must stay high */
    step(&m, m.flagged, false);
    const uint64_t before = redone(&m);
    step(&m, m.flagged, !invariant);
    step(&m, m.flagged, !invariant); /* for good */
    step(&m, m.quiet, !invariant);
    const uint64_t after = redone(&m);
    fdec_explain(m.plan, FDEC_TEXT, text, sizeof text, NULL);
    check_that(c, before > 0 && (invariant || strstr(text, "online")), m.name, text);
    check_that(c, invariant ? after == before + 2 * before / 2 : after == before + before / 2, m.name,
               "rows are redone after the move, or not before it");
    close_moving(&m);
}

/* A plan of another scheme stays as it is. */
static void check_adapt_others(struct check *c)
{
    fdec_attn_params a = FDEC_ATTN_PARAMS_INIT;
    a.max_batch = 1, a.max_len = 20, a.n_heads = 4, a.n_kv_heads = 2, a.head_dim = 64, a.scheme = FDEC_SCHEME_PAIR;
    fdec_plan *plan = NULL;
    int moved = -1;
    const bool ok = !fdec_attn_plan_create(check_ctx(c), &a, &plan) &&
                    !fdec_attn_adapt(plan, check_queue_of(c), &moved) && moved == 0 &&
                    !fdec_attn_adapt(plan, check_queue_of(c), NULL);
    check_that(c, ok, "adapt, another scheme", "moved, or failed");
    fdec_plan_destroy(&plan);
    check_that(c, fdec_attn_adapt(NULL, check_queue_of(c), &moved) == FDEC_E_ARG, "adapt no plan", "is not refused");
}

/* ---- two pages, by hand ---- */

enum { FAR_DIM = 8, FAR_PAGE = 64 };

static fdec_buffer filled(struct check *c, size_t bytes, const void *data)
{
    return (fdec_buffer){
        .mem = clCreateBuffer(check_ctx(c)->context, CL_MEM_COPY_HOST_PTR, bytes, (void *) (uintptr_t) data, NULL)};
}

/* Makes the plan and the workspace, and runs to the end. */
static bool run_pages(struct check *c, const fdec_attn_params *p, fdec_attn_args *a, fdec_plan **plan)
{
    if (fdec_attn_plan_create(check_ctx(c), p, plan))
        return false;
    a->workspace.mem =
        clCreateBuffer(check_ctx(c)->context, CL_MEM_READ_WRITE, fdec_plan_workspace_bytes(*plan) + 4, NULL, NULL);
    return fdec_attn_run(*plan, check_queue_of(c), a, 0, NULL, NULL) == FDEC_OK && !clFinish(check_queue_of(c));
}

static void close_pages(const cl_mem *mem, size_t n, fdec_plan **plan)
{
    for (size_t i = 0; i < n; i++)
        if (mem[i])
            clReleaseMemObject(mem[i]);
    fdec_plan_destroy(plan);
}

/* Two pages, each a split. In the first all scores are 19.9, just under its bound of 20; in the second 6, under a bound
 * of 109 (the keys are long, and not along q). So the sums of the first stand for themselves times 2^-45 and are near
 * 2^80, the others times 2^83 and near 2^-68: the first is nearly all of the row. The second page weighs e^-13.9 of it,
 * 9.2e-7, and moves out by twice that; the rest is rounding, of 64 terms and of scores of 20: under 1e-5. */
static void check_far_bounds(struct check *c)
{
    static const float phi_of_page[][2] = {{20, 1}, {109, 1}};
    static const int32_t table[] = {0, 1}, len = 2 * FAR_PAGE;
    float q[FAR_DIM] = {1}, k[2 * FAR_PAGE][FAR_DIM] = {{0}}, v[2 * FAR_PAGE][FAR_DIM], zero[FAR_DIM] = {0};
    float out[FAR_DIM] = {0}, lse = 0;
    char text[200];
    fdec_plan *plan = NULL;
    for (int t = 0; t < len; t++) {
        k[t][0] = t < FAR_PAGE ? 19.9f : 6.0f;
        k[t][1] = t < FAR_PAGE ? 0.0f : 108.8f;
        for (int d = 0; d < FAR_DIM; d++)
            v[t][d] = t < FAR_PAGE ? 1.0f : -1.0f;
    }
    fdec_attn_params p = FDEC_ATTN_PARAMS_INIT;
    p.max_batch = p.n_heads = p.n_kv_heads = 1, p.head_dim = FAR_DIM, p.max_len = (uint32_t) len, p.scale = 1;
    p.scheme = FDEC_SCHEME_UNIFIED, p.phi_source = FDEC_PHI_BOUNDS, p.kv.page_size = FAR_PAGE, p.kv.n_blocks = 2;
    fdec_attn_args a = FDEC_ATTN_ARGS_INIT;
    a.q = filled(c, sizeof q, q), a.k = filled(c, sizeof k, k), a.v = filled(c, sizeof v, v);
    a.lens = filled(c, sizeof len, &len), a.block_table = filled(c, sizeof table, table);
    a.bounds = filled(c, sizeof phi_of_page, phi_of_page);
    a.out = filled(c, sizeof zero, zero), a.lse = filled(c, sizeof lse, &lse);
    cl_command_queue queue = check_queue_of(c);
    const bool ran = run_pages(c, &p, &a, &plan) &&
                     !clEnqueueReadBuffer(queue, a.out.mem, CL_TRUE, 0, sizeof out, out, 0, NULL, NULL) &&
                     !clEnqueueReadBuffer(queue, a.lse.mem, CL_TRUE, 0, sizeof lse, &lse, 0, NULL, NULL);
    const double want = 19.9 + log(FAR_PAGE);
    snprintf(text, sizeof text, "out %g, lse %g; wanted 1, %g. %s", (double) out[0], (double) lse, want,
             ran ? "" : fdec_last_error());
    check_that(c, ran && fabs(out[0] - 1.0) < 1.2e-5 && fabs(lse - want) < 1.2e-5, "splits of far bounds", text);
    const cl_mem mem[] = {a.q.mem,      a.k.mem,   a.v.mem,   a.lens.mem,     a.block_table.mem,
                          a.bounds.mem, a.out.mem, a.lse.mem, a.workspace.mem};
    close_pages(mem, ARRAY_LEN(mem), &plan);
}

/* One sequence of two pages, the first without a block, and q_len query tokens: the block is counted where keys of it
 * are wanted, and only there. */
static void check_counted(struct check *c, uint32_t page, uint32_t window, uint32_t q_len, uint64_t want)
{
    static const float zeros[2 * FAR_PAGE * FAR_DIM];
    static const int32_t table[] = {-1, 1};
    const int32_t len = (int32_t) (2 * page);
    char name[100], text[300];
    fdec_plan *plan = NULL;
    fdec_attn_params p = FDEC_ATTN_PARAMS_INIT;
    p.max_batch = p.n_heads = p.n_kv_heads = 1, p.head_dim = FAR_DIM, p.max_len = 2 * page, p.max_q_len = q_len;
    p.window = window, p.kv.page_size = page, p.kv.n_blocks = 2;
    fdec_attn_args a = FDEC_ATTN_ARGS_INIT;
    a.q = a.k = a.v = filled(c, sizeof zeros, zeros), a.out = filled(c, sizeof zeros, zeros);
    a.lens = filled(c, sizeof len, &len), a.block_table = filled(c, sizeof table, table);
    fdec_attn_counts counts = {0};
    const bool ran = run_pages(c, &p, &a, &plan) && fdec_attn_counts_read(plan, check_queue_of(c), &counts) == FDEC_OK;
    snprintf(name, sizeof name, "blocks that are not there, page=%u window=%u q=%u", page, window, q_len);
    snprintf(text, sizeof text, "%llu counted, not %llu. %s", (unsigned long long) counts.blocks_clamped,
             (unsigned long long) want, ran ? "" : fdec_last_error());
    check_that(c, ran && counts.blocks_clamped == want, name, text);
    const cl_mem mem[] = {a.q.mem, a.out.mem, a.lens.mem, a.block_table.mem, a.workspace.mem};
    close_pages(mem, ARRAY_LEN(mem), &plan);
}

static void check_counted_blocks(struct check *c)
{
    check_counted(c, FAR_PAGE, 0, 1, 1);
    check_counted(c, FAR_PAGE, FAR_PAGE, 1, 0);      /* the page is just out of the window */
    check_counted(c, FAR_PAGE, FAR_PAGE + 1, 1, 1);  /* its last key is not */
    check_counted(c, FAR_PAGE, FAR_PAGE + 36, 1, 1); /* nor 36 */
    check_counted(c, 5, 5, 1, 0);                    /* both in one tile */
    check_counted(c, 5, 7, 1, 1);
    check_counted(c, FAR_PAGE, 1, FAR_PAGE, 0); /* many rows, each its own key of the second page */
    check_counted(c, FAR_PAGE, 0, FAR_PAGE, 1);
}

/* ---- the pairs that the header names ---- */

static void must_refuse(struct check *c, const fdec_attn_params *a, const char *name, const char *part)
{
    fdec_plan *plan = NULL;
    char text[400];
    const fdec_status st = fdec_attn_plan_create(check_ctx(c), a, &plan);
    snprintf(text, sizeof text, "status %d, text \"%s\", wanted \"%s\" in it", (int) st, fdec_last_error(), part);
    check_that(c, st == FDEC_E_UNSUPPORTED && !plan && strstr(fdec_last_error(), part), name, text);
    fdec_plan_destroy(&plan);
}

static void check_refused_pairs(struct check *c)
{
    static const uint32_t dims[] = {8, 24, 80, 568};
    for (size_t i = 0; i < ARRAY_LEN(dims); i++) {
        fdec_attn_params a = FDEC_ATTN_PARAMS_INIT;
        a.max_batch = 1, a.max_len = 20, a.n_heads = 4, a.n_kv_heads = 2, a.head_dim = dims[i], a.v_head_dim = 64;
        a.kv.k.type = FDEC_Q8_0;
        must_refuse(c, &a, "q8_0 keys of broken blocks", "kv.k is q8_0");
        a.head_dim = 64, a.v_head_dim = dims[i], a.kv.k.type = FDEC_F32, a.kv.v.type = FDEC_Q8_0;
        must_refuse(c, &a, "q8_0 values of broken blocks", "kv.v is q8_0");
    }
    fdec_attn_params a = FDEC_ATTN_PARAMS_INIT;
    a.max_batch = 1, a.max_len = 20, a.n_heads = 4, a.n_kv_heads = 2, a.head_dim = 64;
    a.batch_invariant = 1, a.phi_source = FDEC_PHI_STATE;
    must_refuse(c, &a, "batch-invariant from the state", "batch_invariant with FDEC_PHI_STATE");
}

void check_attn_whole(struct check *c)
{
    static const char *const families[] = {"unified", "online", "pair"};
    if (check_skips(c, "whole") || check_filtered(c))
        return;
    for (size_t i = 0; i < ARRAY_LEN(families); i++)
        check_attn_invariance(c, NULL, families[i]);
    for (const struct kernel *const *k = kernels; *k; k++)
        if ((*k)->op == OP_ATTN && !strstr((*k)->name, check_native(c)) && !strstr((*k)->name, "/mma"))
            check_attn_invariance(c, *k, NULL);
    check_adapt(c, false);
    check_adapt(c, true);
    check_adapt_others(c);
    check_far_bounds(c);
    check_counted_blocks(c);
    check_refused_pairs(c);
}
