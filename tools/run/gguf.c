/* SPDX-License-Identifier: MIT
 * gguf.c - the GGUF reader: one cursor that cannot leave the file, and a check for every number before it is used */
#include "gguf.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    MAX_DEPTH = 8,                            /* of arrays in arrays */
    MIN_KV_BYTES = 8 + 1 + 4 + 1,             /* key of one byte, type, one byte */
    MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8, /* name of one byte, n_dims, one dimension, type, offset */
    DEFAULT_ALIGNMENT = 32,
    MAX_ALIGNMENT = 1 << 20
};

/* Tensor types as ggml numbers them; `block` elements take `bytes` bytes. */
static const struct ggml_type {
    uint32_t type;
    uint16_t block, bytes;
    const char *name;
    int weight;
} ggml_types[] = {
    {0, 1, 4, "F32", FDEC_F32},
    {1, 1, 2, "F16", FDEC_F16},
    {2, 32, 18, "Q4_0", FDEC_Q4_0},
    {3, 32, 20, "Q4_1", FDEC_Q4_1},
    {6, 32, 22, "Q5_0", FDEC_Q5_0},
    {7, 32, 24, "Q5_1", FDEC_Q5_1},
    {8, 32, 34, "Q8_0", FDEC_Q8_0},
    {9, 32, 36, "Q8_1", GGUF_NO_WEIGHT},
    {10, 256, 84, "Q2_K", GGUF_NO_WEIGHT},
    {11, 256, 110, "Q3_K", GGUF_NO_WEIGHT},
    {12, 256, 144, "Q4_K", FDEC_Q4_K},
    {13, 256, 176, "Q5_K", FDEC_Q5_K},
    {14, 256, 210, "Q6_K", FDEC_Q6_K},
    {15, 256, 292, "Q8_K", GGUF_NO_WEIGHT},
    {24, 1, 1, "I8", GGUF_NO_WEIGHT},
    {25, 1, 2, "I16", GGUF_NO_WEIGHT},
    {26, 1, 4, "I32", GGUF_NO_WEIGHT},
    {27, 1, 8, "I64", GGUF_NO_WEIGHT},
    {28, 1, 8, "F64", GGUF_NO_WEIGHT},
    {30, 1, 2, "BF16", FDEC_BF16},
};

struct cursor {
    const unsigned char *base;
    size_t size, at;
    struct err *e;
};

/* Moves over n bytes and returns their address; NULL, with a line: the file ends before. */
static const unsigned char *take(struct cursor *c, uint64_t n, const char *what)
{
    if (n > c->size - c->at) {
        err_set(c->e, "the file ends inside %s at byte %zu", what, c->at);
        return NULL;
    }
    const unsigned char *p = c->base + c->at;
    c->at += n;
    return p;
}

static bool take_u32(struct cursor *c, uint32_t *out, const char *what)
{
    const unsigned char *p = take(c, sizeof *out, what);
    if (!p)
        return false;
    memcpy(out, p, sizeof *out);
    return true;
}

static bool take_u64(struct cursor *c, uint64_t *out, const char *what)
{
    const unsigned char *p = take(c, sizeof *out, what);
    if (!p)
        return false;
    memcpy(out, p, sizeof *out);
    return true;
}

static bool take_string(struct cursor *c, struct gguf_str *s, const char *what)
{
    if (!take_u64(c, &s->n, what))
        return false;
    s->p = (const char *) take(c, s->n, what);
    return s->p != NULL;
}

/* Bytes of a scalar; 0 for strings and arrays. */
static size_t scalar_bytes(enum gguf_type t)
{
    switch (t) {
    case GGUF_U8:
    case GGUF_I8:
    case GGUF_BOOL: return 1;
    case GGUF_U16:
    case GGUF_I16: return 2;
    case GGUF_U32:
    case GGUF_I32:
    case GGUF_F32: return 4;
    case GGUF_U64:
    case GGUF_I64:
    case GGUF_F64: return 8;
    case GGUF_STRING:
    case GGUF_ARRAY: break;
    }
    return 0;
}

static bool take_type(struct cursor *c, enum gguf_type *type)
{
    uint32_t t;
    const size_t at = c->at;
    if (!take_u32(c, &t, "a metadata type"))
        return false;
    if (t > GGUF_F64)
        return err_set(c->e, "metadata type %" PRIu32 " at byte %zu is unknown", t, at);
    *type = (enum gguf_type) t;
    return true;
}

static bool take_array(struct cursor *c, struct gguf_array *a, int depth)
{
    const size_t at = c->at;
    if (depth > MAX_DEPTH)
        return err_set(c->e, "arrays nested more than %d deep at byte %zu", MAX_DEPTH, at);
    if (!take_type(c, &a->type) || !take_u64(c, &a->n, "the length of an array"))
        return false;

    const size_t fixed = scalar_bytes(a->type), least = fixed ? fixed : 8; /* a string has 8 bytes, an array 12 */
    if (a->n > (c->size - c->at) / least)
        return err_set(c->e, "the array of %" PRIu64 " elements at byte %zu is longer than the file", a->n, at);
    a->data = c->base + c->at;
    if (fixed) {
        c->at += a->n * fixed;
        return true;
    }
    for (uint64_t i = 0; i < a->n; i++) {
        struct gguf_str s;
        struct gguf_array inner;
        if (a->type == GGUF_STRING ? !take_string(c, &s, "a string of an array") : !take_array(c, &inner, depth + 1))
            return false;
    }
    return true;
}

static double f32_at(const unsigned char *p)
{
    float f;
    memcpy(&f, p, sizeof f);
    return f;
}

static bool take_scalar(struct cursor *c, struct gguf_kv *kv)
{
    const size_t n = scalar_bytes(kv->type);
    const unsigned char *p = take(c, n, "a metadata value");
    if (!p)
        return false;
    uint64_t u = 0;
    memcpy(&u, p, n);
    switch (kv->type) {
    case GGUF_I8: kv->i = (int8_t) u; break;
    case GGUF_I16: kv->i = (int16_t) u; break;
    case GGUF_I32: kv->i = (int32_t) u; break;
    case GGUF_F32: kv->f = f32_at(p); break;
    case GGUF_F64: memcpy(&kv->f, p, sizeof kv->f); break;
    case GGUF_BOOL:
        if (u > 1)
            return err_set(c->e, "a boolean that is neither 0 nor 1 at byte %zu", c->at - 1);
        kv->u = u;
        break;
    default: kv->u = u; break; /* unsigned; I64 has the same bits */
    }
    return true;
}

static bool take_kv(struct cursor *c, struct gguf_kv *kv)
{
    const size_t at = c->at;
    if (!take_string(c, &kv->key, "a metadata key"))
        return false;
    if (kv->key.n == 0)
        return err_set(c->e, "an empty metadata key at byte %zu", at);
    if (!take_type(c, &kv->type))
        return false;
    if (kv->type == GGUF_STRING)
        return take_string(c, &kv->s, "a metadata string");
    return kv->type == GGUF_ARRAY ? take_array(c, &kv->a, 1) : take_scalar(c, kv);
}

static bool tensor_bytes(struct gguf_tensor *t, struct err *e)
{
    const struct ggml_type *type = NULL;
    for (size_t i = 0; i < sizeof ggml_types / sizeof *ggml_types; i++)
        if (ggml_types[i].type == t->type)
            type = &ggml_types[i];
    if (!type)
        return err_set(e, "tensor \"%s\": type %" PRIu32 " is unknown", gguf_quote(t->name).text, t->type);

    uint64_t n = type->bytes;
    for (uint32_t d = 0; d < GGUF_MAX_DIMS; d++) {
        uint64_t len = t->dims[d];
        if (d == 0 && len % type->block)
            return err_set(e, "tensor \"%s\": dimension 0 is %" PRIu64 ", no multiple of %s's block of %d",
                           gguf_quote(t->name).text, len, type->name, type->block);
        if (d == 0)
            len /= type->block;
        if (len == 0)
            return err_set(e, "tensor \"%s\": dimension %" PRIu32 " is 0", gguf_quote(t->name).text, d);
        if (n > UINT64_MAX / len)
            return err_set(e, "tensor \"%s\": its size overflows", gguf_quote(t->name).text);
        n *= len;
    }
    t->type_name = type->name;
    t->weight = type->weight;
    t->n_bytes = n;
    return true;
}

static bool take_tensor(struct cursor *c, struct gguf_tensor *t)
{
    const size_t at = c->at;
    if (!take_string(c, &t->name, "a tensor name"))
        return false;
    if (t->name.n == 0)
        return err_set(c->e, "an empty tensor name at byte %zu", at);
    if (!take_u32(c, &t->n_dims, "a tensor's number of dimensions"))
        return false;
    if (t->n_dims < 1 || t->n_dims > GGUF_MAX_DIMS)
        return err_set(c->e, "tensor \"%s\": %" PRIu32 " dimensions, 1..%d are possible", gguf_quote(t->name).text,
                       t->n_dims, GGUF_MAX_DIMS);
    for (uint32_t d = 0; d < GGUF_MAX_DIMS; d++) {
        t->dims[d] = 1;
        if (d < t->n_dims && !take_u64(c, &t->dims[d], "a tensor's dimensions"))
            return false;
    }
    return take_u32(c, &t->type, "a tensor's type") && take_u64(c, &t->offset, "a tensor's offset") &&
           tensor_bytes(t, c->e);
}

/* Checks each tensor's offset against the data section, which starts at the next multiple of general.alignment. */
static bool place_tensors(struct gguf *g, const struct cursor *c)
{
    uint32_t align = DEFAULT_ALIGNMENT;
    if (gguf_find(g, "general.alignment") && !gguf_uint(g, "general.alignment", 1, MAX_ALIGNMENT, &align, c->e))
        return false;
    if (align & (align - 1))
        return err_set(c->e, "general.alignment is %" PRIu32 ", no power of two", align);

    const size_t pad = (align - c->at % align) % align;
    const uint64_t n_data = pad < c->size - c->at ? c->size - c->at - pad : 0; /* no tensors, no data: a legal file */
    for (uint64_t i = 0; i < g->n_tensors; i++) {
        struct gguf_tensor *t = &g->tensors[i];
        if (t->offset % align)
            return err_set(c->e, "tensor \"%s\": offset %" PRIu64 " is no multiple of the alignment %" PRIu32,
                           gguf_quote(t->name).text, t->offset, align);
        if (t->offset > n_data || t->n_bytes > n_data - t->offset)
            return err_set(c->e, "tensor \"%s\": %" PRIu64 " bytes at data offset %" PRIu64 " pass the end of the file",
                           gguf_quote(t->name).text, t->n_bytes, t->offset);
        t->data = c->base + c->at + pad + t->offset;
    }
    return true;
}

static int compare_str(struct gguf_str a, struct gguf_str b)
{
    const int order = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
    return order ? order : (a.n > b.n) - (a.n < b.n);
}

static int compare_kv(const void *a, const void *b)
{
    return compare_str(((const struct gguf_kv *) a)->key, ((const struct gguf_kv *) b)->key);
}

static int compare_tensor(const void *a, const void *b)
{
    return compare_str(((const struct gguf_tensor *) a)->name, ((const struct gguf_tensor *) b)->name);
}

static bool read_header(struct gguf *g, struct cursor *c)
{
    uint32_t version;
    const unsigned char *magic = take(c, 4, "the magic number");
    if (!magic)
        return false;
    if (memcmp(magic, "GGUF", 4) != 0)
        return err_set(c->e, "not a GGUF file: it does not start with \"GGUF\"");
    if (!take_u32(c, &version, "the version") || !take_u64(c, &g->n_tensors, "the number of tensors") ||
        !take_u64(c, &g->n_kv, "the number of metadata entries"))
        return false;
    if (version != 3)
        return err_set(c->e, "GGUF version %" PRIu32 ", only version 3 (little-endian) can be read", version);
    if (g->n_tensors > (c->size - c->at) / MIN_TENSOR_BYTES)
        return err_set(c->e, "%" PRIu64 " tensors cannot be in a file of %zu bytes", g->n_tensors, c->size);
    if (g->n_kv > (c->size - c->at) / MIN_KV_BYTES)
        return err_set(c->e, "%" PRIu64 " metadata entries cannot be in a file of %zu bytes", g->n_kv, c->size);
    return true;
}

static bool read_lists(struct gguf *g, struct cursor *c)
{
    g->kv = calloc(g->n_kv + 1, sizeof *g->kv);
    g->tensors = calloc(g->n_tensors + 1, sizeof *g->tensors);
    if (!g->kv || !g->tensors)
        return err_set(c->e, "out of memory");
    for (uint64_t i = 0; i < g->n_kv; i++)
        if (!take_kv(c, &g->kv[i]))
            return false;
    for (uint64_t i = 0; i < g->n_tensors; i++)
        if (!take_tensor(c, &g->tensors[i]))
            return false;

    qsort(g->kv, g->n_kv, sizeof *g->kv, compare_kv);
    for (uint64_t i = 1; i < g->n_kv; i++)
        if (compare_kv(&g->kv[i - 1], &g->kv[i]) == 0)
            return err_set(c->e, "metadata key \"%s\" is there twice", gguf_quote(g->kv[i].key).text);
    qsort(g->tensors, g->n_tensors, sizeof *g->tensors, compare_tensor);
    for (uint64_t i = 1; i < g->n_tensors; i++)
        if (compare_tensor(&g->tensors[i - 1], &g->tensors[i]) == 0)
            return err_set(c->e, "tensor \"%s\" is there twice", gguf_quote(g->tensors[i].name).text);
    return true;
}

static void free_lists(struct gguf *g)
{
    free(g->kv);
    free(g->tensors);
    g->kv = NULL;
    g->tensors = NULL;
    g->n_kv = g->n_tensors = 0;
}

bool gguf_parse(struct gguf *g, const void *bytes, size_t size, struct err *e)
{
    struct cursor c = {bytes, size, 0, e};
    *g = (struct gguf){.base = NULL};
    if (read_header(g, &c) && read_lists(g, &c) && place_tensors(g, &c))
        return true;
    free_lists(g);
    return false;
}

bool gguf_open(struct gguf *g, const char *path, struct err *e)
{
    *g = (struct gguf){.base = NULL};
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* do not wait for the writer of a fifo */
    if (fd < 0)
        return err_set(e, "%s", strerror(errno));
    struct stat st;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size == 0) {
        close(fd);
        return err_set(e, "not a regular file with content");
    }
    const size_t size = (size_t) st.st_size;
    void *base = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    const int error = errno;
    close(fd);
    if (base == MAP_FAILED)
        return err_set(e, "cannot map the file: %s", strerror(error));

    if (!gguf_parse(g, base, size, e)) {
        munmap(base, size);
        return false;
    }
    g->base = base;
    g->size = size;
    return true;
}

void gguf_close(struct gguf *g)
{
    free_lists(g);
    if (g->base)
        munmap((void *) (uintptr_t) g->base, g->size);
    g->base = NULL;
    g->size = 0;
}

const struct gguf_kv *gguf_find(const struct gguf *g, const char *key)
{
    const struct gguf_kv want = {.key = {key, strlen(key)}};
    return g->n_kv ? bsearch(&want, g->kv, g->n_kv, sizeof want, compare_kv) : NULL;
}

const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name)
{
    const struct gguf_tensor want = {.name = {name, strlen(name)}};
    return g->n_tensors ? bsearch(&want, g->tensors, g->n_tensors, sizeof want, compare_tensor) : NULL;
}

static bool find_or_say(const struct gguf *g, const char *key, const struct gguf_kv **kv, struct err *e)
{
    *kv = gguf_find(g, key);
    return *kv || err_set(e, "metadata key \"%s\" is missing", key);
}

bool gguf_uint(const struct gguf *g, const char *key, uint64_t lo, uint64_t hi, uint32_t *out, struct err *e)
{
    const struct gguf_kv *kv;
    if (!find_or_say(g, key, &kv, e))
        return false;
    const bool is_signed = kv->type == GGUF_I8 || kv->type == GGUF_I16 || kv->type == GGUF_I32 || kv->type == GGUF_I64;
    if (kv->type == GGUF_F32 || kv->type == GGUF_F64 || kv->type == GGUF_STRING || kv->type == GGUF_ARRAY)
        return err_set(e, "metadata key \"%s\" is no integer", key);
    if (is_signed && kv->i < 0)
        return err_set(e, "metadata key \"%s\" is %" PRId64 ", not in %" PRIu64 "..%" PRIu64, key, kv->i, lo, hi);
    if (kv->u < lo || kv->u > hi)
        return err_set(e, "metadata key \"%s\" is %" PRIu64 ", not in %" PRIu64 "..%" PRIu64, key, kv->u, lo, hi);
    *out = (uint32_t) kv->u;
    return true;
}

bool gguf_float(const struct gguf *g, const char *key, double *out, struct err *e)
{
    const struct gguf_kv *kv;
    if (!find_or_say(g, key, &kv, e))
        return false;
    if ((kv->type != GGUF_F32 && kv->type != GGUF_F64) || !isfinite(kv->f))
        return err_set(e, "metadata key \"%s\" is no finite float", key);
    *out = kv->f;
    return true;
}

bool gguf_string(const struct gguf *g, const char *key, struct gguf_str *out, struct err *e)
{
    const struct gguf_kv *kv;
    if (!find_or_say(g, key, &kv, e))
        return false;
    if (kv->type != GGUF_STRING)
        return err_set(e, "metadata key \"%s\" is no string", key);
    *out = kv->s;
    return true;
}

bool gguf_array(const struct gguf *g, const char *key, enum gguf_type type, const struct gguf_array **out,
                struct err *e)
{
    const struct gguf_kv *kv;
    if (!find_or_say(g, key, &kv, e))
        return false;
    if (kv->type != GGUF_ARRAY || kv->a.type != type)
        return err_set(e, "metadata key \"%s\" is no array of the right type", key);
    *out = &kv->a;
    return true;
}

struct gguf_str gguf_next_string(const unsigned char **data)
{
    struct gguf_str s;
    memcpy(&s.n, *data, sizeof s.n);
    s.p = (const char *) *data + sizeof s.n;
    *data += sizeof s.n + s.n;
    return s;
}

bool gguf_str_is(struct gguf_str s, const char *text)
{
    return s.n == strlen(text) && memcmp(s.p, text, s.n) == 0;
}

struct gguf_quote gguf_quote(struct gguf_str s)
{
    struct gguf_quote q = {""};
    const size_t n = s.n < 60 ? (size_t) s.n : 60;
    for (size_t i = 0; i < n; i++)
        q.text[i] = s.p[i] >= ' ' && s.p[i] <= '~' ? s.p[i] : '?';
    return q;
}
