/* SPDX-License-Identifier: MIT
 * shapes.c - what to tune: presets, models, lists */
#include "tuner.h"
#include "gguf.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_LINEAR = 64, LIST_MAX_BYTES = 1 << 20, MAX_CONTEXT = 1 << 20, MAX_DIM = INT32_MAX };

/* One matrix, or several that one call takes. */
struct matrix {
    int64_t n, k;
    fdec_type type;
    int count; /* how many matrices a model has */
    bool glu;  /* gate and up, n rows each */
};

/* What of a model decides shapes. */
struct model {
    int n_heads, n_kv_heads, head_dim;
    int64_t context, vocab;
    fdec_type kv_type[2]; /* most important first */
    int n_kv_types, n_linear;
    bool packed; /* the weights: as fdec_linear_pack_run lays them */
    struct matrix linear[MAX_LINEAR];
};

/* How a preset's model holds what joins. */
enum holds {
    APART,   /* Q, K, V, and gate and up, each a matrix: tuned as such, and as one call takes them together */
    NO_GATE, /* the same, with an MLP of two matrices */
    JOINED   /* one matrix of Q, K and V, one of gate and up */
};

/* Q's heads fill n_embd. context: at most 8192, longer ones follow from it. */
static const struct preset {
    const char *name;
    int n_layers, n_heads, n_kv_heads, head_dim;
    int64_t n_embd, n_ff, context, vocab;
    fdec_type type; /* of weights, and of the cache before others */
    enum holds holds;
} presets[] = {
    {"stories260k", 5, 8, 4, 8, 64, 172, 512, 512, FDEC_F32, APART},
    {"llama2-7b", 32, 32, 32, 128, 4096, 11008, 4096, 32000, FDEC_F16, APART},
    {"llama2-13b", 40, 40, 40, 128, 5120, 13824, 4096, 32000, FDEC_F16, APART},
    {"llama3-8b", 32, 32, 8, 128, 4096, 14336, 8192, 128256, FDEC_F16, APART},
    {"mistral-7b", 32, 32, 8, 128, 4096, 14336, 8192, 32000, FDEC_F16, APART},
    {"qwen2.5-7b", 28, 28, 4, 128, 3584, 18944, 8192, 152064, FDEC_F16, APART},
    {"opt-6.7b", 32, 32, 32, 128, 4096, 16384, 2048, 50272, FDEC_F16, NO_GATE},
    {"chatglm2-6b", 28, 32, 2, 128, 4096, 13696, 8192, 65024, FDEC_F16, JOINED},
};

/* `count` more matrices of a shape. False: there is no room. */
static bool add_matrix(struct model *m, struct matrix x)
{
    int i = 0;
    while (i < m->n_linear &&
           (m->linear[i].n != x.n || m->linear[i].k != x.k || m->linear[i].type != x.type || m->linear[i].glu != x.glu))
        i++;
    if (i == MAX_LINEAR)
        return false;
    x.count += m->linear[i].count;
    m->linear[i] = x;
    m->n_linear = MAX(m->n_linear, i + 1);
    return true;
}

static struct model model_of(const struct preset *p, fdec_type type)
{
    struct model m = {.n_heads = p->n_heads,
                      .n_kv_heads = p->n_kv_heads,
                      .head_dim = p->head_dim,
                      .context = p->context,
                      .vocab = p->vocab,
                      .kv_type = {p->type, FDEC_F32},
                      .n_kv_types = p->type == FDEC_F32 ? 1 : 2};
    const int64_t q = p->n_heads * p->head_dim, kv = p->n_kv_heads * p->head_dim;
    const int layers = p->n_layers, twice = 2 * layers;
    const bool joined = p->holds == JOINED, apart = p->holds == APART;
    add_matrix(&m, (struct matrix){joined ? 2 * p->n_ff : p->n_ff, p->n_embd, type, apart ? twice : layers, false});
    if (apart)
        add_matrix(&m, (struct matrix){p->n_ff, p->n_embd, type, twice, true});
    add_matrix(&m, (struct matrix){p->n_embd, p->n_ff, type, layers, false});
    add_matrix(&m, (struct matrix){q + 2 * kv, p->n_embd, type, joined ? layers : layers + twice, false});
    add_matrix(&m, (struct matrix){q, p->n_embd, type, joined ? layers : twice, false}); /* Q and O */
    if (!joined)
        add_matrix(&m, (struct matrix){kv, p->n_embd, type, twice, false});
    add_matrix(&m, (struct matrix){p->vocab, p->n_embd, type, 1, false});
    return m;
}

struct point *shapes_add(struct shapes *s, const struct problem *p)
{
    char class_text[PROBLEM_TEXT];
    problem_class(p, class_text);
    int c = 0;
    while (c < s->n && strcmp(s->classes[c].text, class_text))
        c++;
    if (c == MAX_CLASSES)
        return NULL;
    struct shape_class *sc = &s->classes[c];
    if (c == s->n) {
        memcpy(sc->text, class_text, sizeof sc->text);
        sc->op = p->op;
        s->n++;
    }
    struct point add = {.problem = *p};
    problem_print(p, add.text);
    for (int i = 0; i < sc->n_points; i++)
        if (!strcmp(sc->points[i].text, add.text))
            return NULL;
    if (sc->n_points == MAX_POINTS)
        return NULL;
    sc->points[sc->n_points] = add;
    return &sc->points[sc->n_points++];
}

struct point *shapes_whole(struct shape_class *sc, struct point *p)
{
    const int64_t shared_m = 64; /* more rows would make the first measurements wait for their reference */
    struct point *whole = p;
    for (int i = 0; i < sc->n_points && sc->op == OP_LINEAR && p->problem.linear.m <= shared_m; i++) {
        const int64_t m = sc->points[i].problem.linear.m;
        if (m <= shared_m && m > whole->problem.linear.m)
            whole = &sc->points[i];
    }
    return whole;
}

static bool add_text(struct shapes *s, const char *text)
{
    struct problem p;
    char why[200];
    if (!problem_parse(text, &p, why, sizeof why)) {
        fail(FDEC_E_ARG, "'%.100s': %s", text, why);
        return false;
    }
    if (!op_is_tuned(p.op)) {
        fail(FDEC_E_ARG, "'%.100s': only attention, linear and softmax are tuned", text);
        return false;
    }
    shapes_add(s, &p);
    return true;
}

/* Attention at 1, 64, 256, 1024, ... and the model's context; batch 1 and 8. */
static bool add_attention(struct shapes *s, const struct model *m, fdec_type kv)
{
    char text[PROBLEM_TEXT];
    static const int batches[] = {1, 8};
    for (size_t b = 0; b < ARRAY_LEN(batches); b++)
        for (int64_t n = 1; n <= m->context; n = n == m->context ? n + 1 : MIN(n == 1 ? 64 : 4 * n, m->context)) {
            snprintf(text, sizeof text, "attn:%s b=%d h=%d/%d d=%d n=%lld", type_name(kv), batches[b], m->n_heads,
                     m->n_kv_heads, m->head_dim, (long long) n);
            if (!add_text(s, text))
                return false;
        }
    return true;
}

/* The most work in one decoding step first; of the same, what runs make. qsort alone leaves equals in any order. */
static int heavier_first(const void *a, const void *b)
{
    const struct matrix *x = a, *y = b;
    const double u = (double) x->n * (double) x->k * x->count, v = (double) y->n * (double) y->k * y->count;
    if (u != v)
        return (u < v) - (u > v);
    return x->n != y->n ? (x->n < y->n) - (x->n > y->n) : y->glu - x->glu;
}

static bool add_model(struct shapes *s, const struct model *m)
{
    char text[PROBLEM_TEXT];
    static const int rows[] = {1, 8}, tokens[] = {1, 2, 4, 8, 12, 16, 32, 64}; /* 8 to 16: where kernels change */
    struct matrix linear[MAX_LINEAR];
    memcpy(linear, m->linear, sizeof linear);
    qsort(linear, (size_t) m->n_linear, sizeof *linear, heavier_first);
    for (int i = 0; i < m->n_linear; i++)
        for (size_t t = 0; t < ARRAY_LEN(tokens); t++) {
            snprintf(text, sizeof text, "linear:%s m=%d n=%lld k=%lld%s%s", type_name(linear[i].type), tokens[t],
                     (long long) linear[i].n, (long long) linear[i].k, linear[i].glu ? " glu=silu" : "",
                     m->packed ? " w=packed" : "");
            if (!add_text(s, text))
                return false;
        }
    for (int i = 0; i < m->n_kv_types; i++)
        if (!add_attention(s, m, m->kv_type[i]))
            return false;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        snprintf(text, sizeof text, "softmax:f32 rows=%d cols=%lld", rows[i], (long long) m->vocab);
        if (!add_text(s, text))
            return false;
    }
    return true;
}

/* One problem a line; '#' starts a comment. */
static fdec_status add_list(struct shapes *s, const char *path)
{
    char *text, *rest = NULL;
    size_t n;
    fdec_status st = file_read(path, LIST_MAX_BYTES, &text, &n);
    if (st != FDEC_OK)
        return st;
    for (char *line = strtok_r(text, "\n", &rest); line && st == FDEC_OK; line = strtok_r(NULL, "\n", &rest)) {
        line[strcspn(line, "#\r")] = 0;
        line += strspn(line, " \t");
        for (size_t end = strlen(line); end && strchr(" \t", line[end - 1]); end--)
            line[end - 1] = 0;
        if (*line && !add_text(s, line))
            st = FDEC_E_ARG;
    }
    if (st == FDEC_OK && s->n == 0)
        st = fail(FDEC_E_ARG, "%s: no problem in it", path);
    free(text);
    return st;
}

/* ---- models ---- */

/* What flashdec-run takes in one call where neighbours are of one type, by their names in "blk.7.attn_q.weight". */
static const struct joint {
    const char *part[3];
    bool glu;
} joints[] = {{{"attn_q", "attn_k", "attn_v"}, false}, {{"ffn_gate", "ffn_up"}, true}};

/* Which part of j t is; -1: none. *stem: how many characters of its name come before. */
static int part_of(const struct joint *j, struct gguf_str name, size_t *stem)
{
    for (int i = 0; i < (int) ARRAY_LEN(j->part) && j->part[i]; i++) {
        char end[32];
        const size_t n = (size_t) snprintf(end, sizeof end, ".%s.weight", j->part[i]);
        *stem = name.n - MIN(n, name.n) + 1;
        if (name.n > n && !memcmp(name.p + name.n - n, end, n))
            return i;
    }
    return -1;
}

/* Part i of the layer of t, if one call can take both. */
static const struct gguf_tensor *beside(const struct gguf *g, const struct gguf_tensor *t, size_t stem,
                                        const struct joint *j, int i)
{
    char name[128];
    if (i < 0 || i >= (int) ARRAY_LEN(j->part) || !j->part[i])
        return NULL;
    snprintf(name, sizeof name, "%.*s%s.weight", (int) stem, t->name.p, j->part[i]);
    const struct gguf_tensor *other = gguf_find_tensor(g, name);
    return other && other->n_dims == 2 && other->weight == t->weight && other->dims[0] == t->dims[0] ? other : NULL;
}

/* The rows of t and of those that its call takes as well; 0: another's call takes t. */
static int64_t rows_of_call(const struct gguf *g, const struct gguf_tensor *t, bool *glu)
{
    int64_t n = (int64_t) MIN(t->dims[1], MAX_DIM);
    size_t stem;
    *glu = false;
    for (size_t i = 0; i < ARRAY_LEN(joints); i++) {
        const struct joint *j = &joints[i];
        const struct gguf_tensor *other;
        int part = part_of(j, t->name, &stem);
        if (part < 0)
            continue;
        if (beside(g, t, stem, j, part - 1))
            return 0;
        while ((other = beside(g, t, stem, j, ++part)) != NULL)
            if (j->glu)
                *glu = true;
            else
                n = MIN(n + (int64_t) MIN(other->dims[1], MAX_DIM), MAX_DIM);
    }
    return n;
}

/* One matrix of the file. The embedding is a matrix only where the output is tied to it. */
static void add_tensor(const struct gguf *g, const struct gguf_tensor *t, struct model *m, int *n_other_types)
{
    if (t->n_dims != 2 || (gguf_str_is(t->name, "token_embd.weight") && gguf_find_tensor(g, "output.weight")))
        return;
    if (t->weight == GGUF_NO_WEIGHT) {
        ++*n_other_types;
        return;
    }
    const fdec_type type = (fdec_type) t->weight;
    bool glu;
    const int64_t n = rows_of_call(g, t, &glu), k = (int64_t) MIN(t->dims[0], MAX_DIM);
    if (!n || !add_matrix(m, (struct matrix){n, k, type, glu ? 2 : 1, glu}))
        return;
    if (gguf_str_is(t->name, "token_embd.weight") || gguf_str_is(t->name, "output.weight"))
        m->vocab = n;
}

static bool read_dim(const struct gguf *g, struct gguf_str arch, const char *name, uint64_t max, int64_t *out,
                     struct err *e)
{
    char key[128];
    uint32_t value = 0;
    snprintf(key, sizeof key, "%.*s.%s", (int) MIN(arch.n, 40), arch.p, name);
    if (!gguf_uint(g, key, 1, max, &value, e))
        return false;
    *out = value;
    return true;
}

static bool read_attention(const struct gguf *g, struct model *m, struct err *e)
{
    struct gguf_str arch;
    struct err optional;
    int64_t heads, kv_heads, embd, head_dim;
    if (!gguf_string(g, "general.architecture", &arch, e) ||
        !read_dim(g, arch, "attention.head_count", 1 << 16, &heads, e) ||
        !read_dim(g, arch, "embedding_length", 1 << 24, &embd, e) ||
        !read_dim(g, arch, "context_length", INT32_MAX, &m->context, e))
        return false;
    if (!read_dim(g, arch, "attention.head_count_kv", 1 << 16, &kv_heads, &optional))
        kv_heads = heads;
    if (!read_dim(g, arch, "attention.key_length", 1 << 16, &head_dim, &optional))
        head_dim = embd / heads;
    m->n_heads = (int) heads;
    m->n_kv_heads = (int) kv_heads;
    m->head_dim = (int) head_dim;
    m->context = MIN(m->context, MAX_CONTEXT);
    return true;
}

static fdec_status add_gguf(struct shapes *s, const char *path)
{
    struct err e;
    struct gguf g;
    struct model m = {.kv_type = {FDEC_F32, FDEC_F16}, .n_kv_types = 2};
    int n_other_types = 0;
    if (!gguf_open(&g, path, &e))
        return fail(FDEC_E_ARG, "%s", e.text);
    for (uint64_t i = 0; i < g.n_tensors; i++)
        add_tensor(&g, &g.tensors[i], &m, &n_other_types);
    const bool read = read_attention(&g, &m, &e);
    gguf_close(&g);
    if (!read)
        return fail(FDEC_E_ARG, "%s: %s", path, e.text);
    if (n_other_types)
        fprintf(stderr, "flashdec-tune: %s: %d matrices are of types without kernels, left out\n", path, n_other_types);
    if (!m.n_linear || !m.vocab)
        return fail(FDEC_E_ARG, "%s: no output matrix of a known type in it", path);
    return add_model(s, &m) ? FDEC_OK : FDEC_E_ARG;
}

static bool is_gguf(const char *path)
{
    char magic[4] = "";
    FILE *f = fopen(path, "rb");
    const bool yes = f && fread(magic, 1, 4, f) == 4 && !memcmp(magic, "GGUF", 4);
    if (f)
        fclose(f);
    return yes;
}

/* The preset NAME of "NAME[:TYPE[:packed]]", NULL: there is none. *rest: what follows the name. */
static const struct preset *find_preset(const char *what, const char **rest)
{
    const size_t n = strcspn(what, ":");
    *rest = what + n;
    for (size_t i = 0; i < ARRAY_LEN(presets); i++)
        if (strlen(presets[i].name) == n && !memcmp(what, presets[i].name, n))
            return &presets[i];
    return NULL;
}

bool shapes_is_preset(const char *what)
{
    const char *rest;
    return find_preset(what, &rest) != NULL;
}

static fdec_status add_preset(struct shapes *s, const struct preset *preset, const char *rest)
{
    char type_text[16];
    fdec_type type = preset->type;
    if (*rest) {
        const size_t n = strcspn(++rest, ":");
        snprintf(type_text, sizeof type_text, "%.*s", (int) MIN(n, sizeof type_text), rest);
        if (!type_parse(type_text, &type))
            return fail(FDEC_E_ARG, "--shapes: '%s' after the preset's name is no type of weights", type_text);
        rest += n;
    }
    if (*rest && strcmp(rest, ":packed"))
        return fail(FDEC_E_ARG, "--shapes: '%s' after the type is not ':packed'", rest);
    struct model m = model_of(preset, type);
    m.packed = *rest;
    return add_model(s, &m) ? FDEC_OK : FDEC_E_ARG;
}

fdec_status shapes_load(const char *what, struct shapes *out)
{
    char names[256] = "";
    const char *rest;
    *out = (struct shapes){.classes = calloc(MAX_CLASSES, sizeof *out->classes)};
    if (!out->classes)
        return fail(FDEC_E_MEMORY, "out of memory: shapes");
    const struct preset *preset = find_preset(what, &rest);
    if (preset)
        return add_preset(out, preset, rest);
    for (size_t i = 0; i < ARRAY_LEN(presets); i++)
        append(names, sizeof names, "%s%s", i ? ", " : "", presets[i].name);
    if (access(what, R_OK))
        return fail(FDEC_E_ARG, "--shapes %s: no preset (%s), and no file that can be read", what, names);
    return is_gguf(what) ? add_gguf(out, what) : add_list(out, what);
}

void shapes_clear(struct shapes *s)
{
    free(s->classes);
    *s = (struct shapes){0};
}
