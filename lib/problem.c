/* SPDX-License-Identifier: MIT
 * problem.c - problems as text, their class, their range, their least work
 *
 * The text is "op:type key=value ...". A key is either a range number or part of the class; fields() lists the keys of
 * an operation once, in the order in which they are printed, and everything below walks that list. */
#include "problem.h"
#include "kernel.h"
#include "kv.h"
#include "util.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FIELDS = 5 };

struct field {
    const char *name;
    int64_t *wide; /* one of these three points at the number */
    int *narrow;
    uint32_t *word;
    bool is_range;
    int64_t max, absent; /* absent: taken where the key is missing; -1: it may not be */
};

static const int64_t max_size = INT32_MAX; /* of anything that a kernel counts in an int */

/* Heads are a field "h=H/G" of their own: neither range nor single number. */
static int fields(struct problem *p, struct field f[MAX_FIELDS])
{
    struct attn_problem *a = &p->attn;
    int n = 0;
    memset(f, 0, MAX_FIELDS * sizeof *f);
    switch (p->op) {
    case OP_ATTN:
        f[n++] = (struct field){.name = "b", .wide = &a->batch, .is_range = true, .max = max_size, .absent = 1};
        f[n++] = (struct field){.name = "h", .absent = -1};
        f[n++] = (struct field){.name = "d", .narrow = &a->head_dim, .max = 256, .absent = -1};
        f[n++] = (struct field){.name = "n", .wide = &a->len, .is_range = true, .max = max_size, .absent = 1};
        f[n++] = (struct field){.name = "page", .word = &a->kv.page_size, .max = max_size};
        break;
    case OP_LINEAR:
        f[n++] = (struct field){.name = "m", .wide = &p->linear.m, .is_range = true, .max = max_size, .absent = 1};
        f[n++] = (struct field){.name = "n", .wide = &p->linear.n, .max = max_size, .absent = -1};
        f[n++] = (struct field){.name = "k", .wide = &p->linear.k, .max = max_size, .absent = -1};
        break;
    case OP_SOFTMAX:
        f[n++] =
            (struct field){.name = "rows", .wide = &p->softmax.rows, .is_range = true, .max = max_size, .absent = 1};
        f[n++] = (struct field){.name = "cols", .wide = &p->softmax.cols, .max = max_size, .absent = -1};
        break;
    default:
        f[n++] = (struct field){.name = "rows", .wide = &p->small.rows, .is_range = true, .max = max_size, .absent = 1};
        f[n++] = (struct field){.name = "cols", .wide = &p->small.cols, .max = max_size, .absent = -1};
        break;
    }
    return n;
}

static bool is_heads(const struct field *f)
{
    return !f->wide && !f->narrow && !f->word;
}

static int64_t field_get(const struct field *f)
{
    return f->wide ? *f->wide : f->narrow ? *f->narrow : (int64_t) *f->word;
}

static void field_set(const struct field *f, int64_t v)
{
    if (f->wide)
        *f->wide = v;
    else if (f->narrow)
        *f->narrow = (int) v;
    else
        *f->word = (uint32_t) v;
}

size_t type_bytes(fdec_type t)
{
    return t == FDEC_F16 ? 2 : 4;
}

const char *type_name(fdec_type t)
{
    return t == FDEC_F16 ? "f16" : "f32";
}

bool type_parse(const char *text, fdec_type *t)
{
    const bool f16 = !strcmp(text, "f16");
    if (!f16 && strcmp(text, "f32"))
        return false;
    *t = f16 ? FDEC_F16 : FDEC_F32;
    return true;
}

/* The type that the text names: of what is read most. */
static fdec_type problem_type(const struct problem *p)
{
    switch (p->op) {
    case OP_ATTN: return p->attn.kv.type;
    case OP_LINEAR: return p->linear.w_type;
    case OP_EMBED:
    case OP_ROPE_APPEND: return p->small.type;
    default: return FDEC_F32;
    }
}

static bool set_type(struct problem *p, fdec_type t)
{
    switch (p->op) {
    case OP_ATTN: p->attn.kv.type = t; return true;
    case OP_LINEAR: p->linear.w_type = t; return true;
    case OP_EMBED:
    case OP_ROPE_APPEND: p->small.type = t; return true;
    default: return t == FDEC_F32;
    }
}

static void print(const struct problem *p, bool with_range, char buf[PROBLEM_TEXT])
{
    struct problem copy = *p;
    struct field f[MAX_FIELDS];
    const int n = fields(&copy, f);
    snprintf(buf, PROBLEM_TEXT, "%s:%s", operations[p->op].name, type_name(problem_type(p)));
    for (int i = 0; i < n; i++) {
        if (is_heads(&f[i]))
            append(buf, PROBLEM_TEXT, " h=%d/%d", p->attn.n_heads, p->attn.n_kv_heads);
        else if (f[i].is_range ? with_range : field_get(&f[i]) != 0) /* page 0 says nothing */
            append(buf, PROBLEM_TEXT, " %s=%" PRId64, f[i].name, field_get(&f[i]));
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

/* Digits alone, 1..max, up to the character `end`. Returns what follows, NULL: no such number. */
static const char *parse_count(const char *text, int64_t max, char end, int64_t *v)
{
    int64_t x = 0;
    const char *s = text;
    for (; *s >= '0' && *s <= '9'; s++) {
        x = x * 10 + (*s - '0');
        if (x > max)
            return NULL;
    }
    if (s == text || *text == '0' || *s != end)
        return NULL;
    *v = x;
    return *s ? s + 1 : s;
}

static bool parse_heads(const char *value, struct attn_problem *a)
{
    int64_t h, g;
    value = parse_count(value, UINT16_MAX, '/', &h);
    if (!value || !parse_count(value, UINT16_MAX, 0, &g) || h % g != 0)
        return false;
    a->n_heads = (int) h;
    a->n_kv_heads = (int) g;
    return true;
}

static bool parse_field(struct problem *p, const struct field *f, const char *value)
{
    int64_t v;
    if (is_heads(f))
        return parse_heads(value, &p->attn);
    if (!parse_count(value, f->max, 0, &v) || (f->narrow && v % 8 != 0)) /* narrow: head_dim */
        return false;
    field_set(f, v);
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
        if (!parse_field(p, &f[i], eq + 1)) {
            snprintf(err, n_err, "%s=%s is out of range", word, eq + 1);
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
        field_set(&f[i], f[i].absent);
    }
    return true;
}

/* Scale, and a packed cache: contiguous, or with a pool of just the pages that are needed. */
static bool complete_attn(struct attn_problem *a, char *err, size_t n_err)
{
    const int64_t pages = a->kv.page_size ? a->batch * div_up(a->len, a->kv.page_size) : 0;
    a->scale = (float) (1 / sqrt((double) a->head_dim));
    a->kv.n_blocks = (uint32_t) MIN(pages, UINT32_MAX); /* too many are refused by the next line */
    if (kv_layout_complete("kv cache", &a->kv, (uint32_t) a->batch, (uint32_t) a->len, (uint32_t) a->n_kv_heads,
                           (uint32_t) a->head_dim) == FDEC_OK)
        return true;
    snprintf(err, n_err, "%s", fdec_last_error());
    return false;
}

bool problem_parse(const char *text, struct problem *p, char *err, size_t n_err)
{
    char copy[PROBLEM_TEXT];
    fdec_type t;
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
    if (op == OP_COUNT || !type || !type_parse(type, &t) || !set_type(p, t)) {
        snprintf(err, n_err, "\"%s\" is not of the form op:type", text);
        return false;
    }
    if (!parse_fields(words, p, err, n_err))
        return false;
    return p->op != OP_ATTN || complete_attn(&p->attn, err, n_err);
}

const char *const *problem_range_names(enum op op)
{
    static const char *const attn[N_RANGES] = {"b", "n"}, *const linear[N_RANGES] = {"m"},
                             *const rows[N_RANGES] = {"rows"};
    return op == OP_ATTN ? attn : op == OP_LINEAR ? linear : rows;
}

void problem_range(const struct problem *p, int64_t at[N_RANGES])
{
    struct problem copy = *p;
    struct field f[MAX_FIELDS];
    const int n = fields(&copy, f);
    at[0] = at[1] = 1;
    for (int i = 0, r = 0; i < n; i++)
        if (f[i].is_range)
            at[r++] = field_get(&f[i]);
}

void problem_set_range(struct problem *p, const int64_t at[N_RANGES])
{
    struct field f[MAX_FIELDS];
    const int n = fields(p, f);
    for (int i = 0, r = 0; i < n; i++)
        if (f[i].is_range)
            field_set(&f[i], at[r++]);
}

double problem_bytes(const struct problem *p)
{
    const double t = (double) type_bytes(problem_type(p)), rows = (double) p->small.rows, cols = (double) p->small.cols;
    const struct attn_problem *a = &p->attn;
    const struct linear_problem *l = &p->linear;
    switch (p->op) {
    case OP_ATTN: /* q and out; K and V; lens */
        return (double) a->batch *
               (8.0 * a->n_heads * a->head_dim + 2 * t * a->n_kv_heads * a->head_dim * (double) a->len + 4);
    case OP_LINEAR: /* W; x and y */
        return (double) l->n * (double) l->k * t + 4.0 * (double) l->m * (double) (l->n + l->k);
    case OP_SOFTMAX: return 8.0 * (double) p->softmax.rows * (double) p->softmax.cols;
    case OP_RMSNORM: return 8 * rows * cols + 4 * cols;
    case OP_ROPE_APPEND: return (4 + t) * rows * cols;
    case OP_EMBED: return (4 + t) * rows * cols + 4 * rows;
    case OP_SWIGLU:
    case OP_ADD: return 12 * rows * cols;
    case OP_ARGMAX:
    case OP_SAMPLE: return 4 * rows * cols + 4 * rows;
    case OP_COUNT: break;
    }
    return 0;
}

double problem_flops(const struct problem *p)
{
    const struct attn_problem *a = &p->attn;
    const struct linear_problem *l = &p->linear;
    switch (p->op) {
    case OP_ATTN: return 4.0 * (double) a->batch * a->n_heads * a->head_dim * (double) a->len;
    case OP_LINEAR: return 2.0 * (double) l->m * (double) l->n * (double) l->k;
    case OP_SOFTMAX: return 4.0 * (double) p->softmax.rows * (double) p->softmax.cols; /* an exp counts as one */
    default: return 4.0 * (double) p->small.rows * (double) p->small.cols;
    }
}
