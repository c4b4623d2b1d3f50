/* SPDX-License-Identifier: MIT
 * calibrate.c - the constants of a model as JSON, one layer a line: beside the file, then renamed onto it */
#include "calibrate.h"
#include <errno.h>
#include <math.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void print(FILE *f, const char *model, uint32_t n_layers, uint32_t n_heads, const float *phi)
{
    const char *slash = strrchr(model, '/');
    json_t *text = json_string(slash ? slash + 1 : model); /* NULL where it is no UTF-8 */
    fprintf(f, "{\"schema\": \"flashdec-phi\", \"version\": 1, \"model\": ");
    if (!text || json_dumpf(text, f, JSON_ENCODE_ANY | JSON_ENSURE_ASCII))
        fputs("\"\"", f);
    json_decref(text);
    fprintf(f, ", \"n_layers\": %u, \"n_heads\": %u,\n \"phi\": [", (unsigned) n_layers, (unsigned) n_heads);
    for (uint32_t l = 0; l < n_layers; l++)
        for (uint32_t h = 0; h < n_heads; h++)
            fprintf(f, "%s%.9g%s",
                    h   ? ", "
                    : l ? "\n         ["
                        : "[",
                    phi[(size_t) l * n_heads + h],
                    h + 1 < n_heads    ? ""
                    : l + 1 < n_layers ? "],"
                                       : "]");
    fprintf(f, "]}\n");
}

bool calibration_write(const char *path, const char *model, uint32_t n_layers, uint32_t n_heads, const float *phi,
                       struct err *e)
{
    char temp[4096];
    for (size_t i = 0; i < (size_t) n_layers * n_heads; i++)
        if (!isfinite(phi[i]))
            return err_set(e, "%s: not written, the scores of layer %zu, head %zu are not finite", path, i / n_heads,
                           i % n_heads);
    if (snprintf(temp, sizeof temp, "%s.XXXXXX", path) >= (int) sizeof temp)
        return err_set(e, "%.200s...: path too long", path);
    const int fd = mkstemp(temp);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
    if (!f) {
        err_set(e, "%s: %s", temp, strerror(errno));
        if (fd >= 0)
            close(fd), unlink(temp);
        return false;
    }
    print(f, model, n_layers, n_heads, phi);
    bool ok = fflush(f) == 0 && !ferror(f) && fchmod(fd, 0644) == 0 && fsync(fd) == 0;
    ok = fclose(f) == 0 && ok && rename(temp, path) == 0;
    if (!ok) {
        err_set(e, "%s: %s", path, strerror(errno));
        unlink(temp);
    }
    return ok;
}
