/* SPDX-License-Identifier: MIT
 * bench_clblast.c - CLBlast beside the library, in each way a caller can use it for y = x W^T
 *
 *   W[N,K]   one GEMM, W as it lies, transposed by CLBlast on the way
 *   W[K,N]   one GEMM on a copy that was transposed beforehand: twice the weights' memory
 *   gemv     M matrix-vector products, one after another
 *
 * All of them again with other parameters: those that its own tuners found, where their files are given. Its half
 * accumulates in half, so f32 alone. Not safe to call from several threads; here is one. */
#include "bench.h"
#include "linear.h"
#include <clblast_c.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum use { NK, KN, GEMV, N_USES };
static const struct {
    const char *name, *tuned_name;
    enum peer kind;
} uses[N_USES] = {
    [NK] = {"clblast W[N,K]", "clblast tuned W[N,K]", PEER_CLBLAST_NK},
    [KN] = {"clblast W[K,N]", "clblast tuned W[K,N]", PEER_CLBLAST_KN},
    [GEMV] = {"clblast gemv", "clblast tuned gemv", PEER_CLBLAST_GEMV},
};

struct clblast { /* W[K,N] of each set */
    int n_sets;
    cl_mem *w;
};

struct call {
    struct sitting *sitting;
    size_t m, n, k;
    enum use use;
};

static fdec_status fail_clblast(CLBlastStatusCode code, const char *call)
{
    return code == CLBlastSuccess ? FDEC_OK : fail(FDEC_E_DEVICE, "%s: CLBlast's error %d", call, (int) code);
}

static fdec_status call_run(void *self, int set)
{
    const struct call *c = self;
    const struct sitting *s = c->sitting;
    cl_command_queue queue = s->bench->session.queue;
    const fdec_buffer x = workload_operand(s->workload, set, LINEAR_X),
                      w = workload_operand(s->workload, set, LINEAR_W),
                      y = workload_operand(s->workload, set, LINEAR_Y);
    const size_t x_at = x.offset_bytes / sizeof(float), w_at = w.offset_bytes / sizeof(float),
                 y_at = y.offset_bytes / sizeof(float);
    CLBlastStatusCode code = CLBlastSuccess;
    if (c->use == NK)
        code = CLBlastSgemm(CLBlastLayoutRowMajor, CLBlastTransposeNo, CLBlastTransposeYes, c->m, c->n, c->k, 1, x.mem,
                            x_at, c->k, w.mem, w_at, c->k, 0, y.mem, y_at, c->n, &queue, NULL);
    else if (c->use == KN)
        code = CLBlastSgemm(CLBlastLayoutRowMajor, CLBlastTransposeNo, CLBlastTransposeNo, c->m, c->n, c->k, 1, x.mem,
                            x_at, c->k, s->clblast->w[set], 0, c->n, 0, y.mem, y_at, c->n, &queue, NULL);
    for (size_t i = 0; c->use == GEMV && i < c->m && code == CLBlastSuccess; i++)
        code = CLBlastSgemv(CLBlastLayoutRowMajor, CLBlastTransposeNo, c->n, c->k, 1, w.mem, w_at, c->k, x.mem,
                            x_at + i * c->k, 1, 0, y.mem, y_at + i * c->n, 1, &queue, NULL);
    return fail_clblast(code, uses[c->use].name);
}

static void call_destroy(void *self)
{
    free(self);
}

/* ---- W[K,N] ---- */

static fdec_status transpose(struct sitting *s, const struct linear_problem *p, int set)
{
    fdec_status st = FDEC_OK;
    const size_t n = (size_t) p->n, k = (size_t) p->k;
    cl_command_queue queue = s->bench->session.queue;
    const fdec_buffer w = workload_operand(s->workload, set, LINEAR_W);
    cl_int err;
    s->clblast->w[set] =
        clCreateBuffer(s->bench->session.context, CL_MEM_READ_WRITE, n * k * sizeof(float), NULL, &err);
    try_made(err, "clCreateBuffer");
    st = fail_clblast(CLBlastSomatcopy(CLBlastLayoutRowMajor, CLBlastTransposeYes, n, k, 1, w.mem,
                                       w.offset_bytes / sizeof(float), k, s->clblast->w[set], 0, n, &queue, NULL),
                      "CLBlastSomatcopy");
out:
    return st;
}

static fdec_status transpose_all(struct sitting *s, const struct linear_problem *p)
{
    fdec_status st = FDEC_OK;
    const double bytes = 2.0 * s->n_sets * (double) p->n * (double) p->k * sizeof(float);
    if (bytes > (double) s->bench->session.ctx->device.global_bytes)
        return fail(FDEC_E_MEMORY, "no memory for transposed weights");
    try_alloc(s->clblast = calloc(1, sizeof *s->clblast));
    try_alloc(s->clblast->w = calloc((size_t) s->n_sets, sizeof(cl_mem)));
    s->clblast->n_sets = s->n_sets;
    for (int set = 0; set < s->n_sets; set++)
        try_st(transpose(s, p, set));
out:
    if (st)
        clblast_close(&s->clblast);
    return st;
}

void clblast_close(struct clblast **clblast)
{
    struct clblast *c = *clblast;
    if (!c)
        return;
    for (int set = 0; set < c->n_sets; set++)
        if (c->w[set])
            clReleaseMemObject(c->w[set]);
    free(c->w);
    free(c);
    *clblast = NULL;
}

/* ---- at one point ---- */

static fdec_status prepare(struct point *pt, enum use use, struct call **call)
{
    fdec_status st = FDEC_OK;
    struct sitting *s = pt->sitting;
    const struct linear_problem *p = &pt->problem.linear;
    if (use == KN && !s->clblast)
        try_st(transpose_all(s, p));
    try_alloc(*call = calloc(1, sizeof **call));
    **call = (struct call){s, (size_t) p->m, (size_t) p->n, (size_t) p->k, use};
out:
    return st;
}

void clblast_add(struct point *pt)
{
    struct sitting *s = pt->sitting;
    const struct linear_problem *p = &pt->problem.linear;
    const int64_t limit = INT32_MAX / 2; /* CLBlast counts elements in an int; half: offsets stay far inside */
    if (p->w_type != FDEC_F32 || !linear_is_plain(p) || p->m > limit / p->k || p->n > limit / p->k ||
        p->m > limit / p->n)
        return;
    for (int use = 0; use < N_USES; use++) {
        const char *name = s->bench->clblast_tuned ? uses[use].tuned_name : uses[use].name;
        struct call *call = NULL;
        if (s->left_out & 1u << uses[use].kind)
            continue;
        if (prepare(pt, (enum use) use, &call))
            peer_left_out(s, uses[use].kind, name, fdec_last_error());
        else
            peer_take(pt, uses[use].kind,
                      &(struct runner){
                          .name = name, .run = call_run, .destroy = call_destroy, .self = call, .n_sets = s->n_sets});
    }
}

/* ---- parameters of its own tuners ---- */

/* A tuner's "kernel_family", less the number of the search behind it, and the kernel that takes its parameters. */
static const char *const families[][2] = {
    {"xgemm", "Xgemm"},
    {"xgemm_direct", "XgemmDirect"},
    {"xgemv", "Xgemv"},
    {"xgemv_fast", "XgemvFast"},
    {"xgemv_fast_rot", "XgemvFastRot"},
    {"copy", "Copy"},
    {"pad", "Pad"},
    {"transpose", "Transpose"},
    {"padtranspose", "Padtranspose"},
};

static const char *kernel_of(const char *family)
{
    for (size_t i = 0; i < ARRAY_LEN(families); i++) {
        const char *rest = family + strlen(families[i][0]);
        if (strncmp(family, families[i][0], strlen(families[i][0])))
            continue;
        if (*rest == '_')
            rest += 1 + strspn(rest + 1, "0123456789");
        if (*rest == 0)
            return families[i][1];
    }
    return NULL;
}

/* parameters: "NAME=VALUE NAME=VALUE ..."; is cut up. */
static fdec_status override(cl_device_id device, const char *kernel, char *parameters)
{
    enum { MOST = 32 };
    const char *names[MOST];
    size_t values[MOST], n = 0;
    char *rest = NULL;
    for (char *word = strtok_r(parameters, " ", &rest); word && n < MOST; word = strtok_r(NULL, " ", &rest)) {
        char *eq = strchr(word, '=');
        if (!eq)
            return fail(FDEC_E_DATA, "\"%s\" is no NAME=VALUE", word);
        *eq = 0;
        names[n] = word;
        values[n++] = (size_t) strtoull(eq + 1, NULL, 10);
    }
    return fail_clblast(CLBlastOverrideParameters(device, kernel, CLBlastPrecisionSingle, n, names, values), kernel);
}

static fdec_status override_by(cl_device_id device, const char *path)
{
    enum { MAX_BYTES = 64 << 20 };
    fdec_status st = FDEC_OK;
    json_t *o = NULL;
    char *text = NULL, *parameters = NULL, why[512];
    size_t n;
    try_st(file_read(path, MAX_BYTES, &text, &n));
    o = json_loadb(text, n, 0, NULL);
    const char *family = json_string_value(json_object_get(o, "kernel_family")),
               *best = json_string_value(json_object_get(o, "best_parameters"));
    const char *kernel = family ? kernel_of(family) : NULL;
    if (!kernel || !best) {
        st = fail(FDEC_E_DATA, "%s: not what a tuner of CLBlast writes for a kernel of GEMM or GEMV", path);
        goto out;
    }
    try_alloc(parameters = strdup(best));
    st = override(device, kernel, parameters);
    snprintf(why, sizeof why, "%s", st ? fdec_last_error() : "");
    if (st)
        st = fail(st, "%s: %s", path, why);
out:
    json_decref(o);
    free(text);
    free(parameters);
    return st;
}

fdec_status clblast_override(cl_device_id device, const char *files)
{
    fdec_status st = FDEC_OK;
    char *rest = NULL, *list = strdup(files);
    try_alloc(list);
    for (char *path = strtok_r(list, ",", &rest); path; path = strtok_r(NULL, ",", &rest))
        try_st(override_by(device, path));
out:
    free(list);
    return st;
}
