/* SPDX-License-Identifier: MIT
 * calibration.c - reads the constants of `unified` that flashdec-run --calibrate wrote:
 *
 *     {"schema": "flashdec-phi", "version": 1, "model": "name", "n_layers": 2, "n_heads": 4,
 *      "phi": [[0.5, 1.25, -3, 2], [1, 0.75, 2, 0.5]]} */
#include "util.h"

#include <float.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define WHO "fdec_phi_read"
enum { MAX_BYTES = 1 << 26, MAX_SIZE = 1 << 16, VERSION = 1 };

static bool is_count(const json_t *root, const char *key, uint32_t n)
{
    const json_t *v = json_object_get(root, key);
    return json_is_integer(v) && json_integer_value(v) == (json_int_t) n;
}

static fdec_status check_head(const char *path, const json_t *root, uint32_t n_layers, uint32_t n_heads)
{
    const char *schema = json_string_value(json_object_get(root, "schema"));
    if (!schema || strcmp(schema, "flashdec-phi") != 0)
        return fail(FDEC_E_DATA, "%s: \"schema\" is not \"flashdec-phi\"", path);
    if (!is_count(root, "version", VERSION))
        return fail(FDEC_E_DATA, "%s: \"version\" is not %d", path, VERSION);
    if (!is_count(root, "n_layers", n_layers) || !is_count(root, "n_heads", n_heads))
        return fail(FDEC_E_DATA, "%s: is not for %u layers of %u heads", path, n_layers, n_heads);
    return FDEC_OK;
}

/* Checks one layer's row, and copies it where to is not NULL. */
static fdec_status take_row(const char *path, const json_t *row, uint32_t layer, uint32_t n_heads, float *to)
{
    if (!json_is_array(row) || json_array_size(row) != n_heads)
        return fail(FDEC_E_DATA, "%s: phi[%u] is no list of %u numbers", path, layer, n_heads);
    for (uint32_t h = 0; h < n_heads; h++) {
        const json_t *v = json_array_get(row, h);
        const double phi = json_number_value(v);
        if (!json_is_number(v) || !(fabs(phi) <= FLT_MAX))
            return fail(FDEC_E_DATA, "%s: phi[%u][%u] is no float", path, layer, h);
        if (to)
            to[h] = (float) phi;
    }
    return FDEC_OK;
}

static fdec_status take_all(const char *path, const json_t *root, uint32_t n_layers, uint32_t n_heads, float *phi)
{
    const json_t *rows = json_object_get(root, "phi");
    fdec_status st = check_head(path, root, n_layers, n_heads);
    if (st == FDEC_OK && (!json_is_array(rows) || json_array_size(rows) != n_layers))
        st = fail(FDEC_E_DATA, "%s: \"phi\" is no list of %u layers", path, n_layers);
    for (int copy = 0; copy < 2; copy++) /* all is checked before anything is written */
        for (uint32_t l = 0; l < n_layers && st == FDEC_OK; l++)
            st = take_row(path, json_array_get(rows, l), l, n_heads, copy ? phi + (size_t) l * n_heads : NULL);
    return st;
}

fdec_status fdec_phi_read(const char *path, uint32_t n_layers, uint32_t n_heads, float *phi)
{
    fdec_status st = FDEC_OK;
    char *text = NULL;
    json_t *root = NULL;
    json_error_t e;
    size_t n;
    require(WHO, path != NULL && phi != NULL);
    require(WHO, n_layers >= 1 && n_layers <= MAX_SIZE && n_heads >= 1 && n_heads <= MAX_SIZE);
    try_st(file_read(path, MAX_BYTES, &text, &n));
    root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &e);
    if (root)
        st = take_all(path, root, n_layers, n_heads, phi);
    else
        st = fail(FDEC_E_DATA, "%s: line %d: %s", path, e.line, e.text);
out:
    json_decref(root);
    free(text);
    return st;
}
