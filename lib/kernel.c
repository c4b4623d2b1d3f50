/* SPDX-License-Identifier: MIT
 * kernel.c - walking the registry and the configurations of a variant; configurations as text */
#include "kernel.h"
#include "util.h"
#include <stdlib.h>
#include <string.h>

int kernel_n_params(const struct kernel *k)
{
    int n = 0;
    while (n < MAX_PARAMS && k->params[n].name)
        n++;
    return n;
}

void kernel_first(const struct kernel *k, int at[MAX_PARAMS], int cfg[MAX_PARAMS])
{
    const int n = kernel_n_params(k);
    for (int i = 0; i < MAX_PARAMS; i++) {
        at[i] = 0;
        cfg[i] = i < n ? k->params[i].values[0] : 0;
    }
}

bool kernel_next(const struct kernel *k, int at[MAX_PARAMS], int cfg[MAX_PARAMS])
{
    for (int i = kernel_n_params(k) - 1; i >= 0; i--) {
        at[i] = (size_t) at[i] + 1 < k->params[i].n ? at[i] + 1 : 0;
        cfg[i] = k->params[i].values[at[i]];
        if (at[i])
            return true;
    }
    return false;
}

double kernel_expect(const struct kernel *k, const struct problem *p, const struct device *d, int cfg[MAX_PARAMS])
{
    int at[MAX_PARAMS];
    kernel_first(k, at, cfg);
    return k->expect(p, d, cfg);
}

const struct kernel *kernel_find(const char *name)
{
    for (const struct kernel *const *k = kernels; *k; k++)
        if (!strcmp((*k)->name, name))
            return *k;
    return NULL;
}

int kernel_index(const struct kernel *k)
{
    int i = 0;
    while (kernels[i] && kernels[i] != k)
        i++;
    return i;
}

void kernel_print_config(const struct kernel *k, const int *cfg, char *buf, size_t n)
{
    const int n_params = kernel_n_params(k);
    if (n)
        buf[0] = 0;
    for (int i = 0; i < n_params; i++)
        append(buf, n, "%s%s=%d", i ? " " : "", k->params[i].name, cfg[i]);
}

/* Index of the parameter that "NAME=..." of n characters names, -1: none. */
static int find_param(const struct kernel *k, const char *word, size_t n)
{
    const int n_params = kernel_n_params(k);
    for (int i = 0; i < n_params; i++)
        if (strlen(k->params[i].name) == n && !memcmp(k->params[i].name, word, n))
            return i;
    return -1;
}

static bool has_value(const struct param *p, long value)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->values[i] == value)
            return true;
    return false;
}

bool kernel_parse_config(const struct kernel *k, const char *text, int *cfg)
{
    unsigned seen = 0; /* bit per parameter */
    while (*text) {
        const size_t n = strcspn(text, "= ");
        const int i = find_param(k, text, n);
        if (text[n] != '=' || i < 0 || (seen >> i & 1) || !strspn(text + n + 1, "-0123456789"))
            return false;
        char *end;
        const long value = strtol(text + n + 1, &end, 10);
        if (!has_value(&k->params[i], value) || (*end && *end != ' '))
            return false;
        cfg[i] = (int) value;
        seen |= 1u << i;
        text = *end ? end + 1 : end;
    }
    return seen + 1 == 1u << kernel_n_params(k);
}
