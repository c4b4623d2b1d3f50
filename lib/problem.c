/* SPDX-License-Identifier: MIT
 * problem.c - problems as text, their class, their range, their least work
 *
 * The text is "op:type key=value ...". A key is either a range number or part of the class; fields() lists the keys of
 * an operation once, in the order in which they are printed, and everything below walks that list. A value is a number,
 * or a pair "a/b", of numbers or of types; a pair of equals is written once. */
#include "problem.h"
#include "kernel.h"
#include "kv.h"
#include "util.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FIELDS = 8 };

enum field_kind {
    COUNT, /* a number 1..max in *wide */
    SIZE,  /* the same in *word */
    PAIR,  /* two numbers 1..max in *narrow, each a multiple of `multiple` */
    RATIO, /* two numbers, always both written, the first a multiple of the second, in *narrow */
    TYPES, /* two types of activations in *type */
    WORD   /* one of `words`, by its index in *word */
};

struct field {
    const char *name;
    enum field_kind kind;
    int64_t *wide;
    uint32_t *word;
    int *narrow[2];
    fdec_type *type[2];
    const char *const *words; /* NULL-terminated */
    bool is_range;
    int64_t max, multiple, absent; /* absent: taken where the key is missing, and not printed; -1: it may not be */
};

static const int64_t max_size = INT32_MAX; /* of anything that a kernel counts in an int */

static int attn_fields(struct attn_problem *a, struct field *f)
{
    const struct field list[] = {
        {.name = "b", .kind = COUNT, .wide = &a->batch, .is_range = true, .max = max_size, .absent = 1},
        {.name = "h", .kind = RATIO, .narrow = {&a->n_heads, &a->n_kv_heads}, .max = UINT16_MAX, .absent = -1},
        {.name = "d", .kind = PAIR, .narrow = {&a->head_dim, &a->v_head_dim}, .max = 576, .multiple = 8, .absent = -1},
        {.name = "q", .kind = PAIR, .narrow = {&a->q_len, &a->q_len}, .max = 64, .multiple = 1, .absent = 1},
        {.name = "n", .kind = COUNT, .wide = &a->len, .is_range = true, .max = max_size, .absent = 1},
        {.name = "page", .kind = SIZE, .word = &a->kv.page_size, .max = max_size},
        {.name = "window", .kind = COUNT, .wide = &a->window, .max = max_size},
        {.name = "act", .kind = TYPES, .type = {&a->q_type, &a->out_type}, .absent = FDEC_F32},
    };
    memcpy(f, list, sizeof list);
    return (int) ARRAY_LEN(list);
}

static int append_fields(struct append_problem *a, struct field *f)
{
    const struct field list[] = {
        {.name = "rows", .kind = COUNT, .wide = &a->rows, .is_range = true, .max = max_size, .absent = 1},
        {.name = "h", .kind = RATIO, .narrow = {&a->n_heads, &a->n_kv_heads}, .max = UINT16_MAX, .absent = -1},
        {.name = "d", .kind = PAIR, .narrow = {&a->head_dim, &a->v_head_dim}, .max = 576, .multiple = 8, .absent = -1},
        {.name = "act", .kind = TYPES, .type = {&a->act_type, &a->act_type}, .absent = FDEC_F32},
    };
    memcpy(f, list, sizeof list);
    return (int) ARRAY_LEN(list);
}

static int linear_fields(struct linear_problem *l, struct field f[MAX_FIELDS])
{
    static const char *const glus[] = {"none", "silu", "gelu", "gelu_erf", NULL}, /* fdec_glu */
        *const layouts[] = {"stored", "packed", NULL};                            /* fdec_w_layout */
    const struct field list[] = {
        {.name = "m", .kind = COUNT, .wide = &l->m, .is_range = true, .max = max_size, .absent = 1},
        {.name = "n", .kind = COUNT, .wide = &l->n, .max = max_size, .absent = -1},
        {.name = "k", .kind = COUNT, .wide = &l->k, .max = max_size, .absent = -1},
        {.name = "act", .kind = TYPES, .type = {&l->x_type, &l->y_type}, .absent = FDEC_F32},
        {.name = "glu", .kind = WORD, .word = &l->glu, .words = glus, .absent = FDEC_GLU_NONE},
        {.name = "w", .kind = WORD, .word = &l->w_layout, .words = layouts, .absent = FDEC_W_STORED},
    };
    memcpy(f, list, sizeof list);
    return (int) ARRAY_LEN(list);
}

static int fields(struct problem *p, struct field f[MAX_FIELDS])
{
    const bool softmax = p->op == OP_SOFTMAX;
    memset(f, 0, MAX_FIELDS * sizeof *f);
    int64_t *row_count = softmax ? &p->softmax.rows : &p->small.rows,
            *col_count = softmax ? &p->softmax.cols : &p->small.cols;
    const struct field rows = {.name = "rows",
                               .kind = COUNT,
                               .wide = row_count,
                               .is_range = true,
                               .max = max_size,
                               .absent = 1},
                       cols = {.name = "cols", .kind = COUNT, .wide = col_count, .max = max_size, .absent = -1};
    switch (p->op) {
    case OP_ATTN: return attn_fields(&p->attn, f);
    case OP_ROPE_APPEND: return append_fields(&p->append, f);
    case OP_LINEAR:
    case OP_LINEAR_PACK: return linear_fields(&p->linear, f);
    default: f[0] = rows, f[1] = cols; return 2;
    }
}

static int64_t field_get(const struct field *f)
{
    switch (f->kind) {
    case COUNT: return *f->wide;
    case SIZE:
    case WORD: return *f->word;
    case TYPES: return *f->type[0];
    default: return *f->narrow[0];
    }
}

static int64_t field_get_second(const struct field *f)
{
    return f->kind == TYPES                      ? (int64_t) *f->type[1]
           : f->kind == PAIR || f->kind == RATIO ? *f->narrow[1]
                                                 : field_get(f);
}

static void field_set(const struct field *f, int64_t v, int64_t second)
{
    switch (f->kind) {
    case COUNT: *f->wide = v; break;
    case SIZE:
    case WORD: *f->word = (uint32_t) v; break;
    case TYPES: *f->type[0] = (fdec_type) v, *f->type[1] = (fdec_type) second; break;
    default: *f->narrow[0] = (int) v, *f->narrow[1] = (int) second; break;
    }
}

/* ---- types ---- */

static const struct {
    const char *name;
    size_t block, bytes, align; /* elements of a block, its bytes */
} types[] = {
    [FDEC_F32] = {"f32", 1, 4, 4},       [FDEC_F16] = {"f16", 1, 2, 2},       [FDEC_BF16] = {"bf16", 1, 2, 2},
    [FDEC_Q8_0] = {"q8_0", 32, 34, 2},   [FDEC_Q4_0] = {"q4_0", 32, 18, 2},   [FDEC_Q4_1] = {"q4_1", 32, 20, 2},
    [FDEC_Q5_0] = {"q5_0", 32, 22, 2},   [FDEC_Q5_1] = {"q5_1", 32, 24, 2},   [FDEC_Q4_K] = {"q4_k", 256, 144, 2},
    [FDEC_Q5_K] = {"q5_k", 256, 176, 2}, [FDEC_Q6_K] = {"q6_k", 256, 210, 2},
};

size_t type_block(fdec_type t)
{
    return types[t].block;
}

uint64_t type_bytes(fdec_type t, uint64_t n)
{
    return n / types[t].block * types[t].bytes;
}

uint64_t kv_row_bytes(const fdec_kv_layout *kv, int head_dim, int v_head_dim)
{
    return type_bytes(kv->k.type, (uint64_t) head_dim) + type_bytes(kv->v.type, (uint64_t) v_head_dim);
}

size_t type_align(fdec_type t)
{
    return types[t].align;
}

const char *type_name(fdec_type t)
{
    return types[t].name;
}

bool type_exists(int t)
{
    return t >= 0 && (size_t) t < ARRAY_LEN(types);
}

bool type_has_f16(fdec_type t)
{
    return t != FDEC_F32 && t != FDEC_BF16;
}

bool type_is_float(fdec_type t)
{
    return t == FDEC_F32 || t == FDEC_F16 || t == FDEC_BF16;
}

bool type_is_16_bit(fdec_type t)
{
    return t == FDEC_F16 || t == FDEC_BF16;
}

bool type_parse(const char *text, fdec_type *t)
{
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (!strcmp(text, types[i].name)) {
            *t = (fdec_type) i;
            return true;
        }
    return false;
}

/* The types that the text names: of what is read most; K's and V's. */
static void problem_types(const struct problem *p, fdec_type t[2])
{
    switch (p->op) {
    case OP_ATTN: t[0] = p->attn.kv.k.type, t[1] = p->attn.kv.v.type; break;
    case OP_LINEAR:
    case OP_LINEAR_PACK: t[0] = t[1] = p->linear.w_type; break;
    case OP_ROPE_APPEND: t[0] = p->append.kv.k.type, t[1] = p->append.kv.v.type; break;
    case OP_EMBED: t[0] = t[1] = p->small.type; break;
    default: t[0] = t[1] = FDEC_F32;
    }
}

/* Which caches there can be is kv.c's to say; what linear and the small operations have kernels for, their reject's. */
static bool set_types(struct problem *p, const fdec_type t[2])
{
    if (p->op == OP_ATTN || p->op == OP_ROPE_APPEND) {
        fdec_kv_layout *kv = p->op == OP_ATTN ? &p->attn.kv : &p->append.kv;
        kv->k.type = t[0], kv->v.type = t[1];
        return true;
    }
    if (t[0] != t[1])
        return false;
    switch (p->op) {
    case OP_LINEAR:
    case OP_LINEAR_PACK: p->linear.w_type = t[0]; return true;
    case OP_EMBED: p->small.type = t[0]; return true;
    default: return t[0] == FDEC_F32;
    }
}

static void print_types(const fdec_type t[2], char buf[PROBLEM_TEXT])
{
    append(buf, PROBLEM_TEXT, "%s%s%s", type_name(t[0]), t[0] != t[1] ? "/" : "", t[0] != t[1] ? type_name(t[1]) : "");
}

static bool parse_types(char *text, fdec_type t[2])
{
    char *slash = strchr(text, '/');
    if (slash)
        *slash++ = 0;
    return type_parse(text, &t[0]) && type_parse(slash ? slash : text, &t[1]);
}

static void print_field(const struct field *f, char buf[PROBLEM_TEXT])
{
    const int64_t v[2] = {field_get(f), field_get_second(f)};
    append(buf, PROBLEM_TEXT, " %s=", f->name);
    if (f->kind == TYPES)
        print_types((const fdec_type[2]){(fdec_type) v[0], (fdec_type) v[1]}, buf);
    else if (f->kind == WORD)
        append(buf, PROBLEM_TEXT, "%s", f->words[v[0]]);
    else if (f->kind == RATIO || v[0] != v[1])
        append(buf, PROBLEM_TEXT, "%" PRId64 "/%" PRId64, v[0], v[1]);
    else
        append(buf, PROBLEM_TEXT, "%" PRId64, v[0]);
}

static void print(const struct problem *p, bool with_range, char buf[PROBLEM_TEXT])
{
    struct problem copy = *p;
    struct field f[MAX_FIELDS];
    fdec_type t[2];
    const int n = fields(&copy, f);
    problem_types(p, t);
    snprintf(buf, PROBLEM_TEXT, "%s:", operations[p->op].name);
    print_types(t, buf);
    for (int i = 0; i < n; i++) {
        const bool is_default = field_get(&f[i]) == f[i].absent && field_get_second(&f[i]) == f[i].absent;
        if (f[i].is_range ? with_range : !is_default)
            print_field(&f[i], buf);
    }
}

void problem_print(const struct problem *p, char buf[PROBLEM_TEXT])
{
    print(p, true, buf);
}

void problem_class(const struct problem *p, char buf[PROBLEM_TEXT])
{
    print(p, false, buf);
}

/* Digits alone, 1..max, up to one of the characters `ends` (the terminating 0 always is one). Returns where, NULL: no
 * such number. */
static const char *parse_count(const char *text, int64_t max, const char *ends, int64_t *v)
{
    int64_t x = 0;
    const char *s = text;
    for (; *s >= '0' && *s <= '9'; s++) {
        x = x * 10 + (*s - '0');
        if (x > max)
            return NULL;
    }
    if (s == text || *text == '0' || (*s && !strchr(ends, *s)))
        return NULL;
    *v = x;
    return s;
}

static bool parse_field(const struct field *f, char *value)
{
    int64_t v[2];
    if (f->kind == WORD) {
        int i = 0;
        while (f->words[i] && strcmp(f->words[i], value))
            i++;
        field_set(f, i, i);
        return f->words[i];
    }
    if (f->kind == TYPES) {
        fdec_type t[2];
        if (!parse_types(value, t) || !type_is_float(t[0]) || !type_is_float(t[1]))
            return false;
        if (f->type[0] == f->type[1] && t[0] != t[1])
            return false;
        field_set(f, t[0], t[1]);
        return true;
    }
    const bool two = f->kind == RATIO || (f->kind == PAIR && f->narrow[0] != f->narrow[1]);
    const char *end = parse_count(value, f->max, two ? "/" : "", &v[0]);
    if (!end || (f->kind == RATIO && !*end))
        return false;
    v[1] = v[0];
    if (*end && !parse_count(end + 1, f->max, "", &v[1]))
        return false;
    if (f->kind == RATIO ? v[0] % v[1] != 0 : f->kind == PAIR && (v[0] % f->multiple || v[1] % f->multiple))
        return false;
    field_set(f, v[0], v[1]);
    return true;
}

/* "key=value key=value ...", in any order, each key at most once. Cuts text up. */
static bool parse_fields(char *text, struct problem *p, char *err, size_t n_err)
{
    struct field f[MAX_FIELDS];
    bool seen[MAX_FIELDS] = {false};
    const int n = fields(p, f);
    char *rest = NULL;
    for (char *word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        char *eq = strchr(word, '=');
        int i = 0;
        if (eq)
            *eq = 0;
        while (i < n && strcmp(f[i].name, word))
            i++;
        if (!eq || i == n || seen[i]) {
            snprintf(err, n_err, "\"%s\" is %s", word, eq && i < n ? "given twice" : "no key=value of this operation");
            return false;
        }
        char value[32];
        snprintf(value, sizeof value, "%s", eq + 1);
        if (!parse_field(&f[i], eq + 1)) {
            snprintf(err, n_err, "%s=%s is out of range", word, value);
            return false;
        }
        seen[i] = true;
    }
    for (int i = 0; i < n; i++) {
        if (seen[i])
            continue;
        if (f[i].absent < 0) {
            snprintf(err, n_err, "%s= is missing", f[i].name);
            return false;
        }
        field_set(&f[i], f[i].absent, f[i].absent);
    }
    return true;
}

/* Scale, the causal mask, and a packed cache: contiguous, or with a pool of just the pages that are needed. */
static bool complete_attn(struct attn_problem *a, char *err, size_t n_err)
{
    const int64_t pages = a->kv.page_size ? a->batch * div_up(a->len, a->kv.page_size) : 0;
    a->scale = (float) (1 / sqrt((double) a->head_dim));
    a->causal = true;
    a->kv.n_blocks = (uint32_t) MIN(pages, UINT32_MAX); /* too many are refused by the next line */
    if (kv_layout_complete("kv cache", &a->kv, (uint32_t) a->batch, (uint32_t) a->len, (uint32_t) a->n_kv_heads,
                           (uint32_t) a->head_dim, (uint32_t) a->v_head_dim) == FDEC_OK)
        return true;
    snprintf(err, n_err, "%s", fdec_last_error());
    return false;
}

/* Rows of weights and of tables are whole blocks. */
static bool complete_rows(const struct problem *p, char *err, size_t n_err)
{
    const bool linear = p->op != OP_EMBED;
    const fdec_type type = linear ? p->linear.w_type : p->small.type;
    const int64_t row = linear ? p->linear.k : p->small.cols, block = (int64_t) type_block(type);
    if (row % block == 0)
        return true;
    snprintf(err, n_err, "%s is no multiple of %s's blocks of %d", linear ? "k" : "cols", type_name(type), (int) block);
    return false;
}

bool problem_parse(const char *text, struct problem *p, char *err, size_t n_err)
{
    char copy[PROBLEM_TEXT];
    fdec_type t[2];
    memset(p, 0, sizeof *p);
    if (strlen(text) >= sizeof copy) {
        snprintf(err, n_err, "longer than %d characters", PROBLEM_TEXT - 1);
        return false;
    }
    strcpy(copy, text);
    char *words = copy + strcspn(copy, " ");
    if (*words)
        *words++ = 0;
    char *type = strchr(copy, ':');
    if (type)
        *type++ = 0;
    int op = 0;
    while (op < OP_COUNT && strcmp(operations[op].name, copy))
        op++;
    p->op = (enum op) op;
    if (op == OP_COUNT || !type || !parse_types(type, t) || !set_types(p, t)) {
        snprintf(err, n_err, "\"%s\" is not of the form op:type", text);
        return false;
    }
    if (!parse_fields(words, p, err, n_err))
        return false;
    const bool linear = p->op == OP_LINEAR || p->op == OP_LINEAR_PACK;
    if (linear)
        p->linear.scale = 1;
    if (linear || p->op == OP_EMBED)
        return complete_rows(p, err, n_err);
    return p->op != OP_ATTN || complete_attn(&p->attn, err, n_err);
}

const char *const *problem_range_names(enum op op)
{
    static const char *const attn[N_RANGES] = {"b", "n"}, *const linear[N_RANGES] = {"m"},
                             *const rows[N_RANGES] = {"rows"};
    return op == OP_ATTN ? attn : op == OP_LINEAR || op == OP_LINEAR_PACK ? linear : rows;
}

void problem_range(const struct problem *p, int64_t at[N_RANGES])
{
    struct problem copy = *p;
    struct field f[MAX_FIELDS];
    const int n = fields(&copy, f);
    at[0] = at[1] = 1;
    for (int i = 0, r = 0; i < n; i++)
        if (f[i].is_range)
            at[r++] = *f[i].wide;
}

void problem_set_range(struct problem *p, const int64_t at[N_RANGES])
{
    struct field f[MAX_FIELDS];
    const int n = fields(p, f);
    for (int i = 0, r = 0; i < n; i++)
        if (f[i].is_range)
            *f[i].wide = at[r++];
}

bool op_is_tuned(enum op op)
{
    return op == OP_ATTN || op == OP_LINEAR || op == OP_SOFTMAX;
}

bool problem_pinned(const struct problem *p, int64_t at[N_RANGES])
{
    if (p->op == OP_LINEAR) {
        at[0] = 8, at[1] = 1; /* a few drafted tokens, whatever the largest M: what invariance over M is for */
        return p->linear.invariant;
    }
    at[0] = 1, at[1] = 4096; /* one long sequence: where decoding spends its time */
    return p->op == OP_ATTN && p->attn.invariant;
}

/* Keys that the query tokens of one sequence see: of any, and summed over them. */
static void visible_keys(const struct attn_problem *a, double *any, double *sum)
{
    int64_t lowest = a->len, total = 0;
    for (int i = 0; i < a->q_len; i++) {
        const int64_t pos = a->len - a->q_len + i, hi = a->causal || a->window ? MAX(MIN(pos + 1, a->len), 0) : a->len,
                      lo = a->window ? MIN(MAX(pos - a->window + 1, 0), hi) : 0;
        lowest = MIN(lowest, lo);
        total += hi - lo;
    }
    *any = (double) (a->len - lowest);
    *sum = (double) total;
}

static double attn_bytes(const struct attn_problem *a) /* q and out; K and V; lens */
{
    double any, sum;
    visible_keys(a, &any, &sum);
    const double key = (double) kv_row_bytes(&a->kv, a->head_dim, a->v_head_dim);
    const double row =
        (double) (type_bytes(a->q_type, (uint64_t) a->head_dim) + type_bytes(a->out_type, (uint64_t) a->v_head_dim));
    return (double) a->batch * (a->q_len * a->n_heads * row + any * a->n_kv_heads * key + 4);
}

static double attn_flops(const struct attn_problem *a)
{
    double any, sum;
    visible_keys(a, &any, &sum);
    return 2.0 * (double) a->batch * a->n_heads * (a->head_dim + a->v_head_dim) * sum;
}

static double append_bytes(const struct append_problem *a) /* q twice; k and v, and where they go; pos */
{
    const uint64_t d = (uint64_t) a->head_dim, dv = (uint64_t) a->v_head_dim;
    const double q = 2.0 * (double) type_bytes(a->act_type, d), kv = (double) type_bytes(a->act_type, d + dv),
                 cache = (double) kv_row_bytes(&a->kv, a->head_dim, a->v_head_dim);
    return (double) a->rows * (a->n_heads * q + a->n_kv_heads * (kv + cache) + 4);
}

int64_t linear_rows(const struct linear_problem *l)
{
    return l->glu == FDEC_GLU_NONE ? l->n : 2 * l->n;
}

bool linear_is_plain(const struct linear_problem *l)
{
    return l->x_type == FDEC_F32 && l->y_type == FDEC_F32 && l->glu == FDEC_GLU_NONE && !l->n2 && !l->norm &&
           l->scale == 1 && l->softcap == 0;
}

int64_t linear_part_rows(const struct linear_problem *l, int i)
{
    if (l->glu != FDEC_GLU_NONE)
        return i < 2 ? l->n : 0;
    return i == 0 ? l->n - l->n2 - l->n3 : i == 1 ? l->n2 : l->n3;
}

static double linear_bytes(const struct linear_problem *l) /* W; x and y */
{
    const double row = (double) type_bytes(l->w_type, (uint64_t) l->k), k = (double) l->k, n = (double) l->n;
    return (double) linear_rows(l) * row +
           (double) l->m * (k * (double) type_bytes(l->x_type, 1) + n * (double) type_bytes(l->y_type, 1));
}

double problem_bytes(const struct problem *p)
{
    const double rows = (double) p->small.rows, cols = (double) p->small.cols;
    switch (p->op) {
    case OP_ATTN: return attn_bytes(&p->attn);
    case OP_LINEAR: return linear_bytes(&p->linear);
    case OP_LINEAR_PACK: /* read and written */
        return 2.0 * (double) type_bytes(p->linear.w_type, (uint64_t) (linear_rows(&p->linear) * p->linear.k));
    case OP_SOFTMAX: return 8.0 * (double) p->softmax.rows * (double) p->softmax.cols;
    case OP_RMSNORM: return 8 * rows * cols + 4 * cols;
    case OP_ROPE_APPEND: return append_bytes(&p->append);
    case OP_EMBED: return rows * (double) type_bytes(p->small.type, (uint64_t) p->small.cols) + 4 * rows * (cols + 1);
    case OP_SWIGLU:
    case OP_ADD: return 12 * rows * cols;
    case OP_ARGMAX:
    case OP_SAMPLE: return 4 * rows * cols + 4 * rows;
    case OP_ATTN_MERGE: return 12 * rows * cols + 8 * rows; /* of two parts */
    case OP_COUNT: break;
    }
    return 0;
}

double problem_flops(const struct problem *p)
{
    const struct linear_problem *l = &p->linear;
    switch (p->op) {
    case OP_ATTN: return attn_flops(&p->attn);
    case OP_LINEAR: return 2.0 * (double) l->m * (double) linear_rows(l) * (double) l->k;
    case OP_LINEAR_PACK: return 0;
    case OP_SOFTMAX: return 4.0 * (double) p->softmax.rows * (double) p->softmax.cols; /* an exp counts as one */
    case OP_ROPE_APPEND: /* four products and two sums a pair */
        return 3.0 * (double) p->append.rows * (p->append.n_heads + p->append.n_kv_heads) * p->append.head_dim;
    default: return 4.0 * (double) p->small.rows * (double) p->small.cols;
    }
}
