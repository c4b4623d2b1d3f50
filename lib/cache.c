/* SPDX-License-Identifier: MIT
 * cache.c - blobs on disk under a full key */
#include "cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char MAGIC[8] = "fdecbin1";
enum { MAX_BLOB = 128 << 20, MAX_NAMES = 4096 };

struct head {
    char magic[8];
    uint64_t n_key, n_data, checksum; /* of key and data */
};

static uint64_t checksum(const void *key, size_t n_key, const void *data, size_t n)
{
    return hash64(data, n, hash64(key, n_key, 0));
}

static void blob_path(const char *dir, const void *key, size_t n_key, char *path, size_t n)
{
    snprintf(path, n, "%s/%016llx%016llx.bin", dir, (unsigned long long) hash64(key, n_key, 0),
             (unsigned long long) hash64(key, n_key, 0x9e3779b97f4a7c15u));
}

void cache_open(const char *params_dir, const struct log *log, char *dir, size_t n)
{
    const char *env = getenv("FLASHDEC_CACHE_DIR"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (!params_dir)
        params_dir = env;
    dir[0] = 0;
    if (params_dir)
        snprintf(dir, n, "%s", params_dir);
    else if (xdg && *xdg == '/')
        snprintf(dir, n, "%s/flashdec", xdg);
    else if (home && *home == '/')
        snprintf(dir, n, "%s/.cache/flashdec", home);
    if (!dir[0])
        return;
    struct stat s;
    if (!make_dirs(dir, 0700) || lstat(dir, &s) || !S_ISDIR(s.st_mode) || s.st_uid != geteuid() || (s.st_mode & 022)) {
        log_line(log, LOG_CACHE, "%s: no directory of this user alone; programs are not kept on disk", dir);
        dir[0] = 0;
    }
}

bool cache_read(const char *dir, const void *key, size_t n_key, void **data, size_t *n)
{
    char path[1024], *file;
    size_t size;
    if (!dir[0])
        return false;
    blob_path(dir, key, n_key, path, sizeof path);
    if (access(path, R_OK) || file_read(path, MAX_BLOB, &file, &size) != FDEC_OK)
        return false;

    struct head head;
    bool good = size >= sizeof head;
    if (good) {
        memcpy(&head, file, sizeof head);
        const char *its_key = file + sizeof head, *its_data = its_key + n_key;
        good = !memcmp(head.magic, MAGIC, sizeof MAGIC) && head.n_key == n_key && size - sizeof head >= n_key &&
               head.n_data == size - sizeof head - n_key && !memcmp(its_key, key, n_key) &&
               head.checksum == checksum(its_key, n_key, its_data, head.n_data);
        if (good && (*data = malloc(head.n_data + 1))) {
            memcpy(*data, its_data, head.n_data);
            *n = head.n_data;
            utimensat(AT_FDCWD, path, NULL, 0); /* used now: the oldest go first */
        } else {
            good = false;
        }
    }
    free(file);
    return good;
}

struct name {
    char name[64];
    struct timespec used;
    off_t bytes;
};

static int by_age(const void *a, const void *b)
{
    const struct timespec *x = &((const struct name *) a)->used, *y = &((const struct name *) b)->used;
    return x->tv_sec != y->tv_sec ? (x->tv_sec > y->tv_sec ? 1 : -1)
                                  : (x->tv_nsec > y->tv_nsec) - (x->tv_nsec < y->tv_nsec);
}

static void drop_oldest(const char *dir)
{
    DIR *d = opendir(dir);
    struct name *names = d ? calloc(MAX_NAMES, sizeof *names) : NULL;
    int n = 0;
    off_t total = 0;
    char path[1024];
    for (struct dirent *e; names && n < MAX_NAMES && (e = readdir(d));) {
        struct stat s;
        const size_t len = strlen(e->d_name);
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        if (len < 4 || len >= sizeof names->name || strcmp(e->d_name + len - 4, ".bin") || stat(path, &s))
            continue;
        memcpy(names[n].name, e->d_name, len + 1);
        names[n].used = s.st_mtim;
        names[n++].bytes = s.st_size;
        total += s.st_size;
    }
    if (names && (total > CACHE_MAX_BYTES || n == MAX_NAMES)) {
        qsort(names, (size_t) n, sizeof *names, by_age);
        for (int i = 0; i < n && (total > CACHE_MAX_BYTES / 2 || n - i > MAX_NAMES / 2); i++) {
            snprintf(path, sizeof path, "%s/%s", dir, names[i].name);
            if (!unlink(path))
                total -= names[i].bytes;
        }
    }
    free(names);
    if (d)
        closedir(d);
}

void cache_write(const char *dir, const void *key, size_t n_key, const void *data, size_t n, const struct log *log)
{
    char path[1024];
    if (!dir[0] || n > MAX_BLOB)
        return;
    struct head head = {.n_key = n_key, .n_data = n, .checksum = checksum(key, n_key, data, n)};
    memcpy(head.magic, MAGIC, sizeof MAGIC);
    char *file = malloc(sizeof head + n_key + n);
    if (!file)
        return;
    memcpy(file, &head, sizeof head);
    memcpy(file + sizeof head, key, n_key);
    memcpy(file + sizeof head + n_key, data, n);
    blob_path(dir, key, n_key, path, sizeof path);
    if (file_write_atomic(path, file, sizeof head + n_key + n, 0600) != FDEC_OK)
        log_line(log, LOG_CACHE, "%s", fdec_last_error());
    free(file);
    drop_oldest(dir);
}
