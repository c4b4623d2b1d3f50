/* SPDX-License-Identifier: MIT
 * table_find.c - which tables there are, and how near each is to a device */
#include "select.h"
#include "table.h"
#include "util.h"
#include <ctype.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PATH_TEXT = 1024, MAX_FILES = 256 };

static void copy_printable(char *out, size_t n, const char *text)
{
    size_t i = 0;
    for (; i + 1 < n && text[i]; i++)
        out[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
    out[i] = 0;
    if (i == 0)
        append(out, n, "?"); /* a driver that says nothing: names in tables are never empty */
}

static bool ends_with(const char *text, size_t n, const char *end)
{
    const size_t m = strlen(end);
    return n >= m && !memcmp(text + n - m, end, m);
}

void device_architecture(const struct device *d, char out[64])
{
    static const char *const noise[] = {"processor", "cpu", "-core"};
    char name[sizeof d->name];
    copy_printable(name, sizeof name, d->name);
    for (char *c = name; *c; c++)
        *c = (char) tolower((unsigned char) *c);
    char *with = strstr(name, " with ");
    if (with)
        *with = 0;
    size_t n = strcspn(name, "@");
    for (bool again = true; again;) {
        again = false;
        while (n && name[n - 1] == ' ')
            n--;
        for (size_t i = 0; i < ARRAY_LEN(noise) && !again; i++)
            again = ends_with(name, n, noise[i]);
        if (again) /* the whole word */
            while (n && name[n - 1] != ' ')
                n--;
    }
    name[n] = 0;
    out[0] = 0;
    append(out, 64, "%.63s", n ? name : "?");
}

void table_device_of(const struct device *d, struct table_device *out)
{
    *out = (struct table_device){
        .vendor_id = d->vendor_id,
        .cpu = d->type & CL_DEVICE_TYPE_CPU,
        .compute_units = d->compute_units,
        .local_bytes = d->local_bytes,
        .read_gbps = d->read_gbps,
        .launch_us = d->launch_us,
    };
    copy_printable(out->name, sizeof out->name, d->name);
    copy_printable(out->vendor, sizeof out->vendor, d->vendor);
    copy_printable(out->driver, sizeof out->driver, d->driver);
    copy_printable(out->platform, sizeof out->platform, d->platform);
    device_architecture(d, out->architecture);
}

bool table_config(const struct table_value *values, int n, const struct kernel *k, int *cfg)
{
    char text[MAX_PARAMS * 40] = "";
    for (int i = 0; i < n; i++)
        append(text, sizeof text, "%s%s=%d", i ? " " : "", values[i].name, values[i].value);
    return kernel_parse_config(k, text, cfg);
}

bool table_entry_problem(const struct table_entry *e, struct problem *p)
{
    const char *const *names = problem_range_names(e->op);
    char text[PROBLEM_TEXT], why[200];
    snprintf(text, sizeof text, "%s", e->class_text);
    for (int i = 0; i < N_RANGES && names[i]; i++)
        append(text, sizeof text, " %s=%lld", names[i], (long long) e->point[i]);
    return problem_parse(text, p, why, sizeof why);
}

int table_level(const struct table *t, const struct device *d)
{
    struct table_device here;
    const struct table_device *there = &t->device;
    table_device_of(d, &here);
    if (here.vendor_id != there->vendor_id || here.cpu != there->cpu)
        return 0;
    const bool same_name = !strcmp(here.name, there->name);
    const bool same_local = here.local_bytes == there->local_bytes;
    const bool same_device = same_name && same_local && here.compute_units == there->compute_units &&
                             !strcmp(here.platform, there->platform);
    if (t->modelled)
        return same_name ? LEVEL_MODELLED : 0;
    if (same_device)
        return strcmp(here.driver, there->driver) ? LEVEL_OTHER_DRIVER : LEVEL_EXACT;
    if (!strcmp(here.architecture, there->architecture))
        return LEVEL_ARCHITECTURE;
    const bool near = here.compute_units <= 2 * (int64_t) there->compute_units &&
                      there->compute_units <= 2 * (int64_t) here.compute_units;
    return near && same_local ? LEVEL_NEAREST : 0;
}

/* ---- the search ---- */

/* Keeps the set sorted by level, in the order of arrival among equals; what does not fit in is the worst. Takes t. */
static void add(struct table_set *s, struct table *t, int level)
{
    const int room = (int) ARRAY_LEN(s->tables);
    if (s->n == room && s->level[room - 1] <= level) {
        table_destroy(&t);
        return;
    }
    if (s->n == room)
        table_destroy(&s->tables[--s->n]);
    int i = s->n++;
    for (; i > 0 && s->level[i - 1] > level; i--) {
        s->tables[i] = s->tables[i - 1];
        s->level[i] = s->level[i - 1];
    }
    s->tables[i] = t;
    s->level[i] = level;
}

static void add_if_near(struct table_set *s, struct table *t, const struct device *d, const struct log *log)
{
    const int level = table_level(t, d);
    log_line(log, LOG_TABLE, "%s: level %d, for %s, %d entries", t->path, level, t->device.name, t->n_entries);
    if (level)
        add(s, t, level);
    else
        table_destroy(&t);
}

static int is_table_name(const struct dirent *e)
{
    return e->d_name[0] != '.' && ends_with(e->d_name, strlen(e->d_name), ".json");
}

static void search_dir(struct table_set *s, const char *dir, const struct device *d, const struct log *log)
{
    struct dirent **files;
    const int n = scandir(dir, &files, is_table_name, alphasort);
    for (int i = 0; i < n; i++) {
        char path[MAX_PATH_TEXT + sizeof files[i]->d_name + 1];
        struct table *t;
        snprintf(path, sizeof path, "%s/%s", dir, files[i]->d_name);
        if (i >= MAX_FILES)
            log_line(log, LOG_TABLE, "%s: passed over, more than %d tables in its directory", path, MAX_FILES);
        else if (table_read(path, &t) == FDEC_OK)
            add_if_near(s, t, d, log);
        else
            log_line(log, LOG_TABLE, "passed over: %s", fdec_last_error());
        free(files[i]);
    }
    if (n >= 0)
        free(files);
}

/* Each directory of a colon-separated list, with suffix. XDG's may not be relative; our own list has no suffix. */
static void search_dirs(struct table_set *s, const char *list, const char *suffix, const struct device *d,
                        const struct log *log)
{
    while (*list) {
        char dir[MAX_PATH_TEXT];
        const int n = (int) strcspn(list, ":");
        if (n && (*list == '/' || !*suffix) && snprintf(dir, sizeof dir, "%.*s%s", n, list, suffix) < (int) sizeof dir)
            search_dir(s, dir, d, log);
        list += n + (list[n] == ':');
    }
}

/* An environment variable; unset and empty are the same. */
static const char *variable(const char *name, const char *absent)
{
    const char *v = getenv(name);
    return v && *v ? v : absent;
}

/* $XDG_DATA_HOME. False: neither that nor a home directory. */
static bool data_home(char *buf, size_t n)
{
    const char *xdg = variable("XDG_DATA_HOME", ""), *home = variable("HOME", "");
    buf[0] = 0;
    if (*xdg == '/')
        return append(buf, n, "%s", xdg);
    return *home == '/' && append(buf, n, "%s/.local/share", home);
}

static fdec_status find_explicit(const struct device *d, const char *path, const struct log *log, struct table_set *out)
{
    struct table *t;
    const fdec_status st = table_read(path, &t);
    if (st != FDEC_OK)
        return st;
    const int level = table_level(t, d);
    log_line(log, LOG_TABLE, "%s: asked for by name, level %d%s", path, level ? level : LEVEL_NEAREST,
             level ? "" : ", made for quite another device");
    add(out, t, level ? level : LEVEL_NEAREST);
    return FDEC_OK;
}

static void find_builtin(const struct device *d, const struct log *log, struct table_set *out)
{
    for (const struct builtin_table *b = builtin_tables; b->name; b++) {
        char path[200];
        struct table *t;
        snprintf(path, sizeof path, "built in: %s", b->name);
        if (table_parse(b->text, strlen(b->text), path, &t) == FDEC_OK)
            add_if_near(out, t, d, log);
        else
            log_line(log, LOG_TABLE, "passed over: %s", fdec_last_error());
    }
}

fdec_status table_set_find(const struct device *d, const char *explicit_path, const struct log *log,
                           struct table_set *out)
{
    char home[MAX_PATH_TEXT];
    memset(out, 0, sizeof *out);
    const char *path = explicit_path ? explicit_path : variable("FLASHDEC_TABLE", NULL);
    if (path)
        return find_explicit(d, path, log, out);
    search_dirs(out, variable("FLASHDEC_TABLE_PATH", ""), "", d, log);
    if (data_home(home, sizeof home) && append(home, sizeof home, "/flashdec"))
        search_dir(out, home, d, log);
    search_dirs(out, variable("XDG_CONFIG_DIRS", "/etc/xdg"), "/flashdec", d, log);
    search_dirs(out, variable("XDG_DATA_DIRS", "/usr/local/share:/usr/share"), "/flashdec", d, log);
    find_builtin(d, log, out);
    return FDEC_OK;
}

void table_set_clear(struct table_set *s)
{
    for (int i = 0; i < s->n; i++)
        table_destroy(&s->tables[i]);
    s->n = 0;
}

/* Appends text in lower case, each run of anything but letters and digits as one '-'. */
static void append_slug(char *buf, size_t n, const char *text)
{
    for (; *text; text++) {
        const size_t used = strlen(buf);
        if (isalnum((unsigned char) *text))
            append(buf, n, "%c", tolower((unsigned char) *text));
        else if (used && buf[used - 1] != '-')
            append(buf, n, "-");
    }
}

bool table_default_path(const struct device *d, char *buf, size_t n)
{
    char slug[200] = "";
    append_slug(slug, sizeof slug, d->vendor);
    append_slug(slug, sizeof slug, "-");
    append_slug(slug, sizeof slug, d->name);
    return data_home(buf, n) && append(buf, n, "/flashdec/%s.json", slug);
}
