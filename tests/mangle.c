/* SPDX-License-Identifier: MIT
 * mangle.c - makes a GGUF file wrong in one chosen place, or a tiny right one
 *
 *     mangle tiny OUT [tied] [wide] [large] [widened] [mixed] [TYPE]   a small random model (tiny_gguf.h)
 *     mangle truncate IN OUT BYTES              its first bytes
 *     mangle u32|u64 IN OUT OFFSET VALUE        a number at a byte of the file
 *     mangle kv IN OUT KEY u32|u64|f32 VALUE    a metadata value (of an array: after its type and length, of a string:
 * its length)
 *     mangle kv-type IN OUT KEY TYPE            a metadata type
 *     mangle array IN OUT KEY type|n VALUE      an array's element type or length
 *     mangle rename IN OUT NAME NEW             a key or tensor name, to one of the same length
 *     mangle tensor IN OUT NAME n_dims|dim0|dim1|type|offset VALUE */
#include "gguf.h"
#include "problem.h"
#include "quantize.h"
#include "tiny_gguf.h"
#include <stdlib.h>
#include <string.h>

struct file {
    unsigned char *p;
    size_t n;
    struct gguf g; /* of the same bytes, elsewhere: IN must be right */
};

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "mangle: %s\n", what);
    exit(2);
}

static void write_file(const char *path, const unsigned char *p, size_t n)
{
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(p, 1, n, f) != n || fclose(f))
        die(path);
}

static struct file read_file(const char *path)
{
    struct file f = {NULL, 0, {NULL, 0, 0, 0, NULL, NULL}};
    struct err e;
    if (!gguf_open(&f.g, path, &e))
        die(e.text);
    f.n = f.g.size;
    f.p = malloc(f.n);
    if (!f.p)
        die("out of memory");
    memcpy(f.p, f.g.base, f.n);
    return f;
}

static void patch(struct file *f, size_t at, const void *value, size_t n)
{
    if (at > f->n || n > f->n - at)
        die("outside the file");
    memcpy(f->p + at, value, n);
}

static void patch_number(struct file *f, size_t at, const char *type, const char *text)
{
    const uint64_t u = strtoull(text, NULL, 0);
    const float value = strtof(text, NULL);
    if (strcmp(type, "f32") == 0)
        patch(f, at, &value, sizeof value);
    else
        patch(f, at, &u, strcmp(type, "u64") == 0 ? 8 : 4);
}

static size_t end_of(const struct file *f, struct gguf_str name)
{
    return (size_t) ((const unsigned char *) name.p - f->g.base) + name.n;
}

static size_t after_key(const struct file *f, const char *key)
{
    const struct gguf_kv *kv = gguf_find(&f->g, key);
    if (!kv)
        die("there is no such key");
    return end_of(f, kv->key);
}

static void patch_tensor(struct file *f, const char *name, const char *field, const char *value)
{
    const struct gguf_tensor *t = gguf_find_tensor(&f->g, name);
    if (!t)
        die("there is no such tensor");
    const size_t at = end_of(f, t->name), dims = at + 4, type = dims + 8 * (size_t) t->n_dims;
    if (strcmp(field, "n_dims") == 0)
        patch_number(f, at, "u32", value);
    else if (strcmp(field, "dim0") == 0)
        patch_number(f, dims, "u64", value);
    else if (strcmp(field, "dim1") == 0)
        patch_number(f, dims + 8, "u64", value);
    else if (strcmp(field, "type") == 0)
        patch_number(f, type, "u32", value);
    else if (strcmp(field, "offset") == 0)
        patch_number(f, type + 4, "u64", value);
    else
        die("there is no such field");
}

static void rename_it(struct file *f, const char *name, const char *new_name)
{
    const struct gguf_kv *kv = gguf_find(&f->g, name);
    const struct gguf_tensor *t = gguf_find_tensor(&f->g, name);
    if ((!kv && !t) || strlen(name) != strlen(new_name))
        die("no such name, or the new one is of another length");
    patch(f, end_of(f, kv ? kv->key : t->name) - strlen(name), new_name, strlen(name));
}

int main(int argc, char **argv)
{
    if (argc < 3)
        die("what?");
    const char *how = argv[1];
    if (strcmp(how, "tiny") == 0) {
        struct tiny_options o = {false};
        for (int i = 3; i < argc; i++) {
            o.tied |= strcmp(argv[i], "tied") == 0;
            o.wide |= strcmp(argv[i], "wide") == 0;
            o.large |= strcmp(argv[i], "large") == 0;
            o.widened |= strcmp(argv[i], "widened") == 0;
            o.mixed |= strcmp(argv[i], "mixed") == 0;
            type_parse(argv[i], &o.type);
        }
        if (!quantize_can(o.type) || (type_block(o.type) > 1 && !o.large))
            die("no such weights; blocks need large");
        size_t n;
        unsigned char *p = tiny_gguf(o, &n);
        write_file(argv[2], p, n);
        free(p);
        return 0;
    }
    if (argc < 5)
        die("what, and where?");
    struct file f = read_file(argv[2]);
    if (strcmp(how, "truncate") == 0 && strtoull(argv[4], NULL, 0) <= f.n)
        f.n = strtoull(argv[4], NULL, 0);
    else if (argc == 6 && (strcmp(how, "u32") == 0 || strcmp(how, "u64") == 0))
        patch_number(&f, strtoull(argv[4], NULL, 0), how, argv[5]);
    else if (argc == 6 && strcmp(how, "kv-type") == 0)
        patch_number(&f, after_key(&f, argv[4]), "u32", argv[5]);
    else if (argc == 6 && strcmp(how, "rename") == 0)
        rename_it(&f, argv[4], argv[5]);
    else if (argc == 7 && strcmp(how, "kv") == 0)
        patch_number(&f, after_key(&f, argv[4]) + 4, argv[5], argv[6]);
    else if (argc == 7 && strcmp(how, "array") == 0)
        patch_number(&f, after_key(&f, argv[4]) + (strcmp(argv[5], "n") == 0 ? 8 : 4),
                     strcmp(argv[5], "n") == 0 ? "u64" : "u32", argv[6]);
    else if (argc == 7 && strcmp(how, "tensor") == 0)
        patch_tensor(&f, argv[4], argv[5], argv[6]);
    else
        die("not like this; see the top of mangle.c");
    write_file(argv[3], f.p, f.n);
    free(f.p);
    gguf_close(&f.g);
    return 0;
}
