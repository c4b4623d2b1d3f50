/* SPDX-License-Identifier: MIT
 * golden.c - compares what flashdec-run wrote with a record of a golden file
 *
 *     golden FILE.json RECORD ids OUT [SKIP]  the tokens of --ids: the record's after the first 1 + SKIP, all of them
 *     golden FILE.json RECORD text OUT        standard output, byte for byte
 *     golden FILE.json RECORD logits OUT TOL  the first row of --logits, within TOL of first_logits
 *     golden FILE.json RECORD prompt N        prints the first N tokens with commas, for --tokens
 *
 * RECORD: a key of the file's object, or "." for the object itself. Exit status 0: the same; 1: not, with a line; 2:
 * usage. */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Noreturn void die(int status, const char *what, const char *why)
{
    fprintf(stderr, "golden: %s: %s\n", what, why);
    exit(status);
}

static FILE *open_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        die(2, path, "cannot be opened");
    return f;
}

static json_t *member(json_t *record, const char *key)
{
    json_t *o = json_object_get(record, key);
    if (!o)
        die(2, key, "not in the record");
    return o;
}

static int check_ids(const json_t *want, const char *path, size_t skip)
{
    FILE *f = open_file(path);
    const size_t n = json_array_size(want);
    size_t i = 1 + skip;
    long id;
    for (; fscanf(f, "%ld", &id) == 1; i++) {
        const json_t *at = json_array_get(want, i);
        if (!at || json_integer_value(at) != id) {
            fprintf(stderr, "golden: token %zu is %ld, not %" JSON_INTEGER_FORMAT "\n", i, id,
                    at ? json_integer_value(at) : -1);
            return 1;
        }
    }
    const bool rest = fgetc(f) != EOF;
    fclose(f);
    if (i != n || rest) {
        fprintf(stderr, "golden: %zu tokens, not %zu\n", i - 1 - skip, n - 1 - skip);
        return 1;
    }
    return 0;
}

static int check_text(const char *want, const char *path)
{
    FILE *f = open_file(path);
    size_t i = 0;
    int c;
    for (; (c = fgetc(f)) != EOF; i++)
        if (i >= strlen(want) || (unsigned char) want[i] != c)
            break;
    fclose(f);
    if (c == EOF && i == strlen(want))
        return 0;
    fprintf(stderr, "golden: the text differs at byte %zu of %zu\n", i, strlen(want));
    return 1;
}

static int check_logits(const json_t *want, const char *path, double tolerance)
{
    FILE *f = open_file(path);
    double worst = 0;
    const size_t n = json_array_size(want);
    for (size_t i = 0; i < n; i++) {
        float x;
        if (fread(&x, sizeof x, 1, f) != 1)
            die(1, path, "too short");
        const double error = fabs(x - json_number_value(json_array_get(want, i)));
        if (!(error <= tolerance)) {
            fprintf(stderr, "golden: logit %zu is %.9g, not %.9g\n", i, x, json_number_value(json_array_get(want, i)));
            return 1;
        }
        worst = error > worst ? error : worst;
    }
    fclose(f);
    printf("first logits: %zu, worst error %.2e\n", n, worst);
    return n == 0;
}

static int print_prompt(const json_t *tokens, size_t n)
{
    for (size_t i = 0; i < n; i++)
        printf("%s%" JSON_INTEGER_FORMAT, i ? "," : "", json_integer_value(json_array_get(tokens, i)));
    putchar('\n');
    return n > json_array_size(tokens);
}

int main(int argc, char **argv)
{
    if (argc < 5)
        die(2, "usage", "golden FILE.json RECORD ids|text|logits|prompt ...; see golden.c");
    json_error_t why;
    json_t *root = json_load_file(argv[1], 0, &why), *record = root;
    if (!root)
        die(2, argv[1], why.text);
    if (strcmp(argv[2], ".") != 0)
        record = member(root, argv[2]);

    int status = 2;
    if (strcmp(argv[3], "ids") == 0)
        status = check_ids(member(record, "greedy_tokens"), argv[4], argc > 5 ? strtoul(argv[5], NULL, 10) : 0);
    else if (strcmp(argv[3], "text") == 0)
        status = check_text(json_string_value(member(record, "text")), argv[4]);
    else if (strcmp(argv[3], "logits") == 0 && argc > 5)
        status = check_logits(member(record, "first_logits"), argv[4], strtod(argv[5], NULL));
    else if (strcmp(argv[3], "prompt") == 0)
        status = print_prompt(member(record, "greedy_tokens"), strtoul(argv[4], NULL, 10));
    json_decref(root);
    return status;
}
