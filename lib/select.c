/* SPDX-License-Identifier: MIT
 * select.c - from a problem, the device's facts and the tables to variants and configurations
 *
 * Table entries of the problem's class come first, the best level first; where they leave gaps the analytic rule
 * decides: each kernel's expect() names its configuration of first choice and the share of the roofline that it should
 * reach, the highest share wins, ties go to the order of the registry. It is evaluated at powers of two of the first
 * range number, each answer holding down to the point before, so a tile is never smaller than the M it is used for.
 *
 * A choice must be accepted by the kernel's reject() at the corners of every range it is used for: reject() knows upper
 * and lower limits of the range numbers, not holes between them. */
#include "select.h"
#include "util.h"
#include <string.h>

enum { MAX_FOUND = 64, REASONS_TEXT = 1600 };

/* What the tuner found miscompiled or fatal on this very device is used only where nothing else can: a table is
 * untrusted data, and must not be able to make a problem unsupported. */
static const double denied_by_table = 1e-3;
/* The configuration of first choice was refused: any other is worth a little less. */
static const double second_choice = 0.9;

/* What every step of one selection needs. */
struct search {
    const struct problem *p;
    const struct want *want;
    const struct device *d;
    const struct table_set *tables;
    const bool *denied;
    char class_text[PROBLEM_TEXT];
    char skipped[120]; /* the first table entry that fits and could not be used, and why; "" */
};

bool range_contains(const struct range *r, const int64_t at[N_RANGES])
{
    for (int i = 0; i < N_RANGES; i++)
        if (at[i] < r->lo[i] || at[i] >= r->hi[i])
            return false;
    return true;
}

static struct range intersect(struct range a, struct range b)
{
    for (int i = 0; i < N_RANGES; i++) {
        a.lo[i] = MAX(a.lo[i], b.lo[i]);
        a.hi[i] = MIN(a.hi[i], b.hi[i]);
    }
    return a;
}

static bool is_empty(struct range r)
{
    return r.lo[0] >= r.hi[0] || r.lo[1] >= r.hi[1];
}

static struct range everything(void)
{
    return (struct range){.lo = {1, 1}, .hi = {INT64_MAX, INT64_MAX}};
}

/* All points from (1, 1) to p's range. */
static struct range points_of_use(const struct problem *p)
{
    int64_t at[N_RANGES];
    problem_range(p, at);
    return (struct range){.lo = {1, 1}, .hi = {at[0] + 1, at[1] + 1}};
}

/* Do the choices together contain the box? What the first leaves of it (up to four boxes) is for the others. */
static bool covered(const struct choice *c, int n, struct range box)
{
    if (is_empty(box))
        return true;
    if (n == 0)
        return false;
    const struct range r = intersect(c->range, box);
    if (is_empty(r))
        return covered(c + 1, n - 1, box);
    for (int i = 0; i < N_RANGES; i++) {
        struct range below = box, above = box;
        below.hi[i] = r.lo[i];
        above.lo[i] = r.hi[i];
        if (!covered(c + 1, n - 1, below) || !covered(c + 1, n - 1, above))
            return false;
        box.lo[i] = r.lo[i];
        box.hi[i] = r.hi[i];
    }
    return true;
}

/* NULL if cfg can compute p at the corners of box, else the reason. */
static const char *reject_box(const struct search *s, const struct kernel *k, const int *cfg, struct range box)
{
    struct problem q = *s->p;
    for (int corner = 0; corner < 4; corner++) {
        const int64_t at[N_RANGES] = {corner & 1 ? box.lo[0] : box.hi[0] - 1, corner & 2 ? box.lo[1] : box.hi[1] - 1};
        problem_set_range(&q, at);
        const char *why = k->reject(&q, s->d, cfg);
        if (why)
            return why;
    }
    return NULL;
}

/* NULL if the caller's wishes and the self-test allow the kernel, else the reason. */
static const char *forbidden(const struct search *s, int index)
{
    const struct kernel *k = kernels[index];
    if (s->want->kernel && s->want->kernel != k)
        return "the caller forces another kernel";
    if (s->want->family && (!k->family || strcmp(s->want->family, k->family)))
        return "the caller forces another family";
    if (s->denied && s->denied[index])
        return "denied: this device fails its self-test";
    return NULL;
}

/* ---- tables ---- */

static const char *level_name(int level)
{
    static const char *const names[] = {
        [LEVEL_EXACT] = "exact device",
        [LEVEL_OTHER_DRIVER] = "same device, other driver",
        [LEVEL_ARCHITECTURE] = "same architecture",
        [LEVEL_MODELLED] = "modelled, not measured",
        [LEVEL_NEAREST] = "nearest device",
    };
    return level >= LEVEL_EXACT && level <= LEVEL_NEAREST ? names[level] : "unknown level";
}

static const char *file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static bool denies(const struct table_denied *d, const struct search *s, const struct kernel *k, const int *cfg)
{
    int denied[MAX_PARAMS];
    if (d->rev != k->rev || strcmp(d->kernel, k->name) || (*d->class_text && strcmp(d->class_text, s->class_text)))
        return false;
    return d->n_config == 0 || (table_config(d->config, d->n_config, k, denied) &&
                                !memcmp(denied, cfg, (size_t) kernel_n_params(k) * sizeof *cfg));
}

static bool denied_in_tables(const struct search *s, const struct kernel *k, const int *cfg)
{
    for (int t = 0; s->tables && t < s->tables->n; t++) {
        const struct table *table = s->tables->tables[t];
        for (int i = 0; s->tables->level[t] == LEVEL_EXACT && i < table->n_denied; i++)
            if (denies(&table->denied[i], s, k, cfg))
                return true;
    }
    return false;
}

/* NULL, with kernel and cfg set, if the entry can be used for the points of box, else the reason. */
static const char *entry_refused(const struct search *s, const struct table_entry *e, struct range box,
                                 struct choice *c)
{
    const struct kernel *k = kernel_find(e->kernel);
    if (!k || k->op != s->p->op)
        return "this library has no such kernel";
    if (k->rev != e->rev)
        return "measured with another revision of the kernel";
    if (!k->family || strcmp(k->family, e->family))
        return "the kernel is of another family";
    const char *why = forbidden(s, kernel_index(k));
    if (why)
        return why;
    if (!table_config(e->config, e->n_config, k, c->cfg))
        return "the kernel has no such configuration";
    if (denied_in_tables(s, k, c->cfg))
        return "the tuner denies it on this device";
    c->kernel = k;
    return reject_box(s, k, c->cfg, box);
}

bool choice_equal(const struct choice *a, const struct choice *b)
{
    return a->kernel == b->kernel && !memcmp(a->cfg, b->cfg, (size_t) kernel_n_params(a->kernel) * sizeof *a->cfg);
}

static bool same_code(const struct choice *a, const struct choice *b)
{
    return a->kernel == b->kernel && a->table == b->table && !memcmp(a->cfg, b->cfg, sizeof a->cfg);
}

/* Grows a to a and b, if that is one box. */
static bool merge(struct choice *a, const struct choice *b)
{
    if (!same_code(a, b))
        return false;
    for (int i = 0; i < N_RANGES; i++) {
        struct range *r = &a->range;
        const int other = 1 - i;
        const bool level = r->lo[other] == b->range.lo[other] && r->hi[other] == b->range.hi[other];
        if (!level || (r->hi[i] != b->range.lo[i] && b->range.hi[i] != r->lo[i]))
            continue;
        r->lo[i] = MIN(r->lo[i], b->range.lo[i]);
        r->hi[i] = MAX(r->hi[i], b->range.hi[i]);
        return true;
    }
    return false;
}

/* Merges neighbours until nothing can be merged. Returns how many are left, in the same order. */
static int merge_all(struct choice *c, int n)
{
    for (int i = 0; i < n; i++)
        for (int j = i + 1; j < n; j++)
            if (merge(&c[i], &c[j])) {
                memmove(&c[j], &c[j + 1], (size_t) (n - j - 1) * sizeof *c);
                n--;
                i = -1; /* from the start: the grown box may fit others */
                break;
            }
    return n;
}

static void describe_entry(struct choice *c, const struct search *s)
{
    const struct table_entry *e = &c->table->entries[c->entry];
    struct problem q = *s->p;
    problem_set_range(&q, e->point);
    c->expected_us = e->median_us;
    if (c->table->device.read_gbps > 0) /* GB/s = 1000 bytes/us */
        c->expected_share = problem_bytes(&q) / (c->table->device.read_gbps * 1e3) / e->median_us;
    c->reason[0] = 0;
    append(c->reason, sizeof c->reason, "table %.100s entry %d (%s)", file_name(c->table->path), c->entry,
           level_name(c->level));
}

/* Walks one table from its largest ranges down, so that what does not fit in is farthest from the problem's range. */
static int table_choices(struct search *s, int t, struct choice *out, int n)
{
    const struct table *table = s->tables->tables[t];
    const struct range use = points_of_use(s->p);
    for (int i = table->n_entries - 1; i >= 0 && n < MAX_FOUND; i--) {
        const struct table_entry *e = &table->entries[i];
        if (strcmp(e->class_text, s->class_text))
            continue;
        struct choice c = {.level = (enum level) s->tables->level[t], .table = table, .entry = i};
        memcpy(c.range.lo, e->lo, sizeof e->lo);
        memcpy(c.range.hi, e->hi, sizeof e->hi);
        const struct range box = intersect(c.range, use);
        if (is_empty(box) || covered(out, n, box))
            continue;
        const char *why = entry_refused(s, e, box, &c);
        if (!why) {
            describe_entry(&c, s);
            out[n++] = c;
            n = merge_all(out, n);
        } else if (!s->skipped[0]) {
            append(s->skipped, sizeof s->skipped, "table %.40s entry %d not used: %s", file_name(table->path), i, why);
        }
    }
    return n;
}

/* ---- the analytic rule: level 6 ---- */

/* Share of the roofline that k should reach at `at`, with cfg accepted everywhere in box; -1, and why, if none is. The
 * configuration of first choice, else the first other one that no table denies, else one that is denied. */
static double analytic_kernel(const struct search *s, const struct kernel *k, const int64_t at[N_RANGES],
                              struct range box, int *cfg, const char **why)
{
    struct problem q = *s->p;
    int position[MAX_PARAMS];
    problem_set_range(&q, at);
    const double share = kernel_expect(k, &q, s->d, cfg);
    int last_resort[MAX_PARAMS];
    *why = reject_box(s, k, cfg, box);
    if (!*why && !denied_in_tables(s, k, cfg))
        return share;
    bool any = !*why;
    memcpy(last_resort, cfg, sizeof last_resort);
    kernel_first(k, position, cfg);
    do {
        if (reject_box(s, k, cfg, box))
            continue;
        if (!denied_in_tables(s, k, cfg))
            return share * second_choice;
        if (!any)
            memcpy(last_resort, cfg, sizeof last_resort);
        any = true;
    } while (kernel_next(k, position, cfg));
    memcpy(cfg, last_resort, sizeof last_resort);
    return any ? share * denied_by_table : -1;
}

/* The best variant at `at` for all of box. False: none; then reasons (may be NULL) gets each variant's. */
static bool analytic(const struct search *s, const int64_t at[N_RANGES], struct range box, struct choice *c,
                     char *reasons)
{
    double best = -1;
    for (int i = 0; kernels[i]; i++) {
        int cfg[MAX_PARAMS];
        if (kernels[i]->op != s->p->op)
            continue;
        const char *why = forbidden(s, i);
        const double share = why ? -1 : analytic_kernel(s, kernels[i], at, box, cfg, &why);
        if (share > best) {
            best = share;
            c->kernel = kernels[i];
            memcpy(c->cfg, cfg, sizeof cfg);
        } else if (share < 0 && reasons) {
            append(reasons, REASONS_TEXT, "; %s: %s", kernels[i]->name, why);
        }
    }
    if (best < 0)
        return false;
    c->level = LEVEL_ANALYTIC;
    c->expected_share = best;
    if (s->want->no_table)
        append(c->reason, sizeof c->reason, "tables not asked");
    else if (s->skipped[0])
        append(c->reason, sizeof c->reason, "%s", s->skipped);
    else
        append(c->reason, sizeof c->reason, "no table entry for class %.80s", s->class_text);
    append(c->reason, sizeof c->reason, "; analytic: %s, expected share %.2f", s->d->cpu_like ? "cpu-like" : "gpu-like",
           best);
    return true;
}

/* Fills the gaps between the n choices, from small sizes up, leaving one place in out[]. Returns how many there are. */
static int fill_gaps(const struct search *s, struct choice *out, int n)
{
    const struct range use = points_of_use(s->p);
    const int n_tables = n;
    const int64_t largest = use.hi[0] - 1;
    for (int64_t lo = 1, hi = 1; lo <= largest; lo = hi + 1, hi = MIN(2 * hi, largest)) {
        struct range box = use;
        box.lo[0] = lo;
        box.hi[0] = hi + 1;
        struct choice c = {.range = {.lo = {lo, 1}, .hi = {hi == largest ? INT64_MAX : hi + 1, INT64_MAX}}};
        const int64_t at[N_RANGES] = {hi, use.hi[1] - 1};
        if (covered(out, n_tables, box) || !analytic(s, at, box, &c, NULL))
            continue;
        if (n > n_tables && merge(&c, &out[n - 1]))
            out[n - 1] = c; /* the same code: what is expected at the larger size is told */
        else if (n < MAX_CHOICES - 1)
            out[n++] = c;
        else
            break;
    }
    return n;
}

/* Makes the last choice one that contains every point. */
static fdec_status add_last(const struct search *s, struct choice *out, int *n)
{
    const struct range use = points_of_use(s->p);
    const int64_t at[N_RANGES] = {use.hi[0] - 1, use.hi[1] - 1};
    struct choice last = {.range = everything()};
    if (covered(out, *n, use)) { /* a formality: no program that is not there already */
        int i = 0;
        while (!range_contains(&out[i].range, at))
            i++;
        if (i < *n - 1)
            out[(*n)++] = out[i];
        out[*n - 1].range = everything();
        return FDEC_OK;
    }
    char reasons[REASONS_TEXT] = "", text[PROBLEM_TEXT];
    if (!analytic(s, at, use, &last, reasons)) {
        problem_print(s->p, text);
        return fail(FDEC_E_UNSUPPORTED, "%s: no kernel can%s", text, reasons);
    }
    out[(*n)++] = last;
    return FDEC_OK;
}

static fdec_status forced(const struct search *s, struct choice *c)
{
    const struct kernel *k = s->want->kernel;
    const int n_params = kernel_n_params(k), index = kernel_index(k);
    char text[PROBLEM_TEXT];
    *c = (struct choice){.kernel = k, .range = everything(), .level = LEVEL_ANALYTIC, .reason = "forced by the caller"};
    for (int i = 0; i < n_params; i++)
        c->cfg[i] = s->want->cfg[i];
    const char *why = k->op != s->p->op                                 ? "it computes another operation"
                      : s->denied && kernels[index] && s->denied[index] ? "denied: this device fails its self-test"
                                                                        : reject_box(s, k, c->cfg, points_of_use(s->p));
    if (!why)
        return FDEC_OK;
    problem_print(s->p, text);
    return fail(FDEC_E_UNSUPPORTED, "%s: %s: %s", text, k->name, why);
}

/* The choice for one point is taken for all. */
static fdec_status pin(const struct search *s, const struct problem *p, struct choice out[MAX_CHOICES], int *n)
{
    int64_t at[N_RANGES];
    char text[PROBLEM_TEXT];
    int i = 0;
    problem_range(s->p, at);
    while (i < *n - 1 && !range_contains(&out[i].range, at))
        i++;
    out[0] = out[i];
    out[0].range = everything();
    *n = 1;
    const char *why = out[0].kernel->reject(p, s->d, out[0].cfg);
    if (!why)
        return FDEC_OK;
    problem_print(p, text);
    return fail(FDEC_E_UNSUPPORTED, "%s, batch-invariant: %s: %s", text, out[0].kernel->name, why);
}

fdec_status select_choices(const struct problem *p, const struct want *want, const struct device *d,
                           const struct table_set *tables, const bool *denied, struct choice out[MAX_CHOICES], int *n)
{
    static const struct want nothing;
    struct problem point = *p;
    int64_t at[N_RANGES];
    const bool pinned = problem_pinned(p, at);
    if (pinned)
        problem_set_range(&point, at);
    struct search s = {.p = &point, .want = want ? want : &nothing, .d = d, .tables = tables, .denied = denied};
    struct choice found[MAX_FOUND];
    int n_found = 0;
    problem_class(p, s.class_text);
    *n = 0;
    if (s.want->kernel && s.want->cfg) {
        s.p = p;
        const fdec_status st = forced(&s, &out[0]);
        *n = st == FDEC_OK;
        return st;
    }
    for (int t = 0; tables && !s.want->no_table && t < tables->n; t++)
        n_found = table_choices(&s, t, found, n_found);
    *n = MIN(n_found, MAX_CHOICES - 1);
    memcpy(out, found, (size_t) *n * sizeof *out);
    *n = fill_gaps(&s, out, *n);
    fdec_status st = add_last(&s, out, n);
    if (st == FDEC_OK && pinned)
        st = pin(&s, p, out, n);
    if (st != FDEC_OK)
        *n = 0;
    return st;
}
