/* SPDX-License-Identifier: MIT
 * embed.c - turn one text into a C array, for OpenCL sources with their #include "..." lines resolved
 *
 *     embed NAME IN.cl OUT.c OUT.d            const struct source cl_NAME
 *     embed --tables OUT.c OUT.d [IN.json...] builtin_tables[]
 *     embed --text NAME IN OUT.c OUT.d        const char NAME[]
 *
 * A driver gets one string and no include path, so includes are resolved here (each file once), and named in OUT.d so
 * that the build knows them. #line directives keep compiler messages pointing at the real file and line. Bytes, not a
 * string literal: C promises only 4095 characters in one of those. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FILES = 32 };
static char seen[MAX_FILES][1024];
static int n_seen;

static FILE *open_or_die(const char *path, const char *mode)
{
    FILE *f = fopen(path, mode);
    if (!f) {
        fprintf(stderr, "embed: cannot open %s\n", path);
        exit(1);
    }
    return f;
}

static void put(FILE *out, const char *s)
{
    for (; *s; s++)
        fprintf(out, "%d,", (unsigned char) *s);
    fputc('\n', out);
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static void put_line(FILE *out, int n, const char *path)
{
    char text[1400];
    snprintf(text, sizeof text, "#line %d \"%.1300s\"\n", n, base_name(path));
    put(out, text);
}

static int first_time(const char *path)
{
    for (int i = 0; i < n_seen; i++)
        if (!strcmp(seen[i], path))
            return 0;
    if (n_seen == MAX_FILES) {
        fprintf(stderr, "embed: more than %d files\n", MAX_FILES);
        exit(1);
    }
    snprintf(seen[n_seen++], sizeof seen[0], "%s", path);
    return 1;
}

static void inline_file(FILE *out, FILE *deps, const char *path)
{
    if (!first_time(path))
        return;
    FILE *in = open_or_die(path, "rb");
    fprintf(deps, " %s", path);
    put_line(out, 1, path);

    char buf[1024], name[256], sub[1300];
    for (int n = 1; fgets(buf, sizeof buf, in); n++) {
        if (sscanf(buf, "#include \"%255[^\"]\"", name) != 1) {
            put(out, buf);
            continue;
        }
        snprintf(sub, sizeof sub, "%.*s%s", (int) (base_name(path) - path), path, name);
        inline_file(out, deps, sub);
        put_line(out, n + 1, path);
    }
    fclose(in);
}

static void embed_source(FILE *out, FILE *deps, const char *name, const char *path)
{
    fprintf(out, "#include \"kernel.h\"\nextern const struct source cl_%s;\nstatic const char text[] = {\n", name);
    inline_file(out, deps, path);
    fprintf(out, "0};\nconst struct source cl_%s = {\"%s\", text};\n", name, base_name(path));
}

/* The bytes of a file and a 0, as an array's initialiser. */
static void put_file(FILE *out, FILE *deps, const char *path)
{
    FILE *in = open_or_die(path, "rb");
    fprintf(deps, " %s", path);
    fputs("{\n", out);
    for (int c, col = 1; (c = fgetc(in)) != EOF; col++)
        fprintf(out, "%d,%s", c, col % 32 ? "" : "\n");
    fputs("0};\n", out);
    fclose(in);
}

static void embed_tables(FILE *out, FILE *deps, char **paths, int n)
{
    fprintf(out, "#include \"table.h\"\n");
    for (int i = 0; i < n; i++) {
        fprintf(out, "static const char text%d[] = ", i);
        put_file(out, deps, paths[i]);
    }
    fprintf(out, "const struct builtin_table builtin_tables[] = {\n");
    for (int i = 0; i < n; i++)
        fprintf(out, "    {\"%s\", text%d},\n", base_name(paths[i]), i);
    fprintf(out, "    {0, 0},\n};\n");
}

static void embed_text(FILE *out, FILE *deps, const char *name, const char *path)
{
    fprintf(out, "extern const char %s[];\nconst char %s[] = ", name, name);
    put_file(out, deps, path);
}

int main(int argc, char **argv)
{
    const int tables = argc >= 4 && !strcmp(argv[1], "--tables"), text = argc == 6 && !strcmp(argv[1], "--text");
    if (!tables && !text && argc != 5) {
        fprintf(stderr, "usage: embed NAME IN.cl OUT.c OUT.d\n       embed --tables OUT.c OUT.d [IN.json...]\n"
                        "       embed --text NAME IN OUT.c OUT.d\n");
        return 2;
    }
    const int at = tables ? 2 : 3 + text;
    FILE *out = open_or_die(argv[at], "wb"), *deps = open_or_die(argv[at + 1], "wb");
    fprintf(deps, "%s:", argv[at]);
    if (tables)
        embed_tables(out, deps, argv + 4, argc - 4);
    else if (text)
        embed_text(out, deps, argv[2], argv[3]);
    else
        embed_source(out, deps, argv[1], argv[2]);
    fputc('\n', deps);
    return fclose(out) | fclose(deps) ? 1 : 0;
}
