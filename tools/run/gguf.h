/* SPDX-License-Identifier: MIT
 * gguf.h - GGUF version 3 files, read-only
 *
 *     magic "GGUF"  u32 version  u64 n_tensors  u64 n_kv      all integers little-endian
 *     n_kv times        string key, u32 type, value           string: u64 length, bytes (no terminating 0)
 *     n_tensors times   string name, u32 n_dims, u64 dims[n_dims], u32 type, u64 offset in the data
 *     zeros up to a multiple of general.alignment (32)
 *     tensor data
 *
 * The file is mapped, never copied: strings, arrays and tensor data point into the mapping and live until gguf_close.
 * It is untrusted: everything that is handed out here has been checked to lie inside the file. */
#ifndef GGUF_H
#define GGUF_H
#include "err.h"
#include "flashdec.h"
#include <stddef.h>
#include <stdint.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "flashdec-run reads model files where they lie: it needs a little-endian machine"
#endif

struct gguf_str {
    const char *p;
    uint64_t n;
};

enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64
};

struct gguf_array {
    enum gguf_type type; /* of the elements */
    uint64_t n;
    const unsigned char *data; /* elements as they lie in the file, not aligned */
};

struct gguf_kv {
    struct gguf_str key;
    enum gguf_type type;
    union {
        uint64_t u; /* unsigned types and bool */
        int64_t i;  /* signed types */
        double f;
        struct gguf_str s;
        struct gguf_array a;
    };
};

enum { GGUF_MAX_DIMS = 4, GGML_F32 = 0, GGML_F16 = 1, GGUF_NO_WEIGHT = -1 };

struct gguf_tensor {
    struct gguf_str name;
    uint32_t n_dims;
    uint64_t dims[GGUF_MAX_DIMS]; /* dims[0] is contiguous; those past n_dims are 1 */
    uint32_t type;                /* ggml's number */
    const char *type_name;        /* "F32" */
    int weight;                   /* fdec_type, or GGUF_NO_WEIGHT: one that the library does not read */
    uint64_t offset;              /* in the data section */
    const unsigned char *data;
    uint64_t n_bytes;
};

struct gguf {
    const unsigned char *base;
    size_t size;
    uint64_t n_kv, n_tensors;
    struct gguf_kv *kv;          /* sorted by key */
    struct gguf_tensor *tensors; /* sorted by name */
};

/* False with a line that says what is wrong and where; g is then closed. */
bool gguf_open(struct gguf *g, const char *path, struct err *e);
/* The same for bytes in memory, which stay the caller's. */
bool gguf_parse(struct gguf *g, const void *bytes, size_t size, struct err *e);
void gguf_close(struct gguf *g);

/* NULL: there is none. */
const struct gguf_kv *gguf_find(const struct gguf *g, const char *key);
const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name);

/* Typed values: an integer of any width in lo..hi, a finite float, a string, an array of one element type. False:
 * missing or something else, with a line. */
bool gguf_uint(const struct gguf *g, const char *key, uint64_t lo, uint64_t hi, uint32_t *out, struct err *e);
bool gguf_float(const struct gguf *g, const char *key, double *out, struct err *e);
bool gguf_string(const struct gguf *g, const char *key, struct gguf_str *out, struct err *e);
bool gguf_array(const struct gguf *g, const char *key, enum gguf_type type, const struct gguf_array **out,
                struct err *e);

/* Takes the next element off an array of strings: *data starts as a->data and moves on. At most a->n times. */
struct gguf_str gguf_next_string(const unsigned char **data);

bool gguf_str_is(struct gguf_str s, const char *text);
/* For messages: at most 60 bytes, what is not printable ASCII as '?'. */
struct gguf_quote {
    char text[64];
};
struct gguf_quote gguf_quote(struct gguf_str s);
#endif
