/* SPDX-License-Identifier: MIT
 * svg.c - the drawings of a report
 *
 * Each is an inline <svg> whose colours come from the page's style (classes s0..s3 of series, best, random, roof,
 * note),
 * so that they follow the reader's light or dark; series differ in shape, too. Units: 1/WIDTH of the column. */
#include "report.h"

#include <math.h>
#include <string.h>

enum { WIDTH = 320, LEFT = 38, RIGHT = 306, SERIES = 4 };

/* ---- axes ---- */

struct axis {
    double lo, hi, from, to; /* values, and where they lie */
    bool is_log;
};

static double place(const struct axis *a, double v)
{
    const double share = a->is_log ? log(v / a->lo) / log(a->hi / a->lo) : (v - a->lo) / (a->hi - a->lo);
    return a->from + share * (a->to - a->from);
}

static void widen(struct axis *a, double v)
{
    a->lo = a->lo > 0 ? MIN(a->lo, v) : v;
    a->hi = MAX(a->hi, v);
}

/* Some room at both ends, also where all values are one. */
static void pad(struct axis *a, double share)
{
    const double room = MAX(log(a->hi / a->lo) * share, 0.03);
    a->lo /= exp(room);
    a->hi *= exp(room);
    a->is_log = true;
}

/* 1, 2, 5 times a power of ten, next to v. */
static double round_step(double v)
{
    const double power = pow(10, floor(log10(v))), lead = v / power;
    return power * (lead < 1.5 ? 1 : lead < 3.5 ? 2 : lead < 7.5 ? 5 : 10);
}

enum { MAX_TICKS = 12 };

static int find_ticks(const struct axis *a, double ticks[MAX_TICKS])
{
    int n = 0;
    if (!a->is_log || a->hi / a->lo < 6) {
        const double step = round_step((a->hi - a->lo) / 4);
        for (double v = ceil(a->lo / step) * step; v <= a->hi && n < MAX_TICKS; v += step)
            ticks[n++] = v;
        return n;
    }
    const double per_decade = 7 / log10(a->hi / a->lo); /* as many labels as fit */
    const int decades = (int) ceil(1 / per_decade);
    for (int p = (int) floor(log10(a->lo)); p <= (int) ceil(log10(a->hi)); p++)
        for (int lead = 1; lead <= 5; lead += lead == 1 ? 1 : 3) {
            const double v = lead * pow(10, p);
            const bool fits = lead == 1 ? p % decades == 0 : per_decade >= (lead == 2 ? 4 : 2.8);
            if (fits && v >= a->lo && v <= a->hi && n < MAX_TICKS)
                ticks[n++] = v;
        }
    return n;
}

static void label(char buf[24], double v)
{
    if (v >= 1e6)
        snprintf(buf, 24, "%gM", v * 1e-6);
    else if (v >= 1e4)
        snprintf(buf, 24, "%gk", v * 1e-3);
    else
        snprintf(buf, 24, "%.4g", v);
}

static void text_at(FILE *f, double x, double y, const char *anchor, const char *class, const char *text)
{
    fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" class=\"%s\">", x, y, anchor, class);
    html_text(f, text);
    fputs("</text>", f);
}

static void line(FILE *f, const char *class, double x0, double y0, double x1, double y1)
{
    fprintf(f, "<line class=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>", class, x0, y0, x1, y1);
}

static void begin(FILE *f, int height, const char *what)
{
    fprintf(f, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", WIDTH, height);
    html_text(f, what);
    fputs("\">", f);
}

static void draw_x(FILE *f, const struct axis *x, const struct axis *y, const char *name)
{
    double ticks[MAX_TICKS];
    const int n = find_ticks(x, ticks);
    line(f, "axis", x->from, y->from, x->to, y->from);
    for (int i = 0; i < n; i++) {
        char text[24];
        const double at = place(x, ticks[i]);
        label(text, ticks[i]);
        line(f, "grid", at, y->from, at, y->to);
        text_at(f, at, y->from + 13, "middle", "tick", text);
    }
    text_at(f, (x->from + x->to) / 2, y->from + 27, "middle", "name", name);
}

static void draw_y(FILE *f, const struct axis *x, const struct axis *y, const char *name)
{
    double ticks[MAX_TICKS];
    const int n = find_ticks(y, ticks);
    for (int i = 0; i < n; i++) {
        char text[24];
        const double at = place(y, ticks[i]);
        label(text, ticks[i]);
        line(f, "grid", x->from, at, x->to, at);
        text_at(f, x->from - 5, at + 3.5, "end", "tick", text);
    }
    text_at(f, 2, y->to - 8, "start", "name", name);
}

/* ---- marks ---- */

static void mark(FILE *f, int series, double x, double y, double r)
{
    const int s = series % SERIES;
    if (s == 0)
        fprintf(f, "<circle class=\"s0\" cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\">", x, y, r);
    else if (s == 1)
        fprintf(f, "<rect class=\"s1\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\">", x - 0.9 * r, y - 0.9 * r,
                1.8 * r, 1.8 * r);
    else
        fprintf(f, "<path class=\"s%d\" d=\"M%.1f %.1fl%.1f %.1fh%.1fz\">", s, x, s == 2 ? y - 1.2 * r : y + 1.2 * r,
                1.15 * r, s == 2 ? 2.1 * r : -2.1 * r, -2.3 * r);
}

static void end_mark(FILE *f, int series, const char *title)
{
    static const char *const names[SERIES] = {"circle", "rect", "path", "path"};
    fputs("<title>", f);
    html_text(f, title);
    fprintf(f, "</title></%s>", names[series % SERIES]);
}

void svg_mark(FILE *f, int series)
{
    fputs("<svg class=\"key\" viewBox=\"0 0 12 12\" aria-hidden=\"true\">", f);
    mark(f, series, 6, 6, 4.5);
    end_mark(f, series, "");
    fputs("</svg>", f);
}

/* ---- candidates of one point ---- */

static bool has_mark(const json_t *candidate, const char *word)
{
    return strstr(get_text(candidate, "mark"), word) != NULL;
}

/* A line over the whole height with a word at its top, on the side where there is room. */
static void pointer(FILE *f, const struct axis *x, double at, double top, double bottom, const char *class,
                    const char *word)
{
    const bool left = at > (x->from + x->to) / 2;
    line(f, class, at, top - 7, at, bottom);
    text_at(f, at + (left ? -4 : 4), top, left ? "end" : "start", class, word);
}

static void strip_pointers(FILE *f, const struct axis *x, const json_t *candidates, double bottom)
{
    size_t i;
    json_t *c;
    json_array_foreach(candidates, i, c)
    {
        const double at = place(x, get_number(c, "cost"));
        if (has_mark(c, "default"))
            pointer(f, x, at, 10, bottom, "standard", get_text(c, "mark"));
        else if (has_mark(c, "chosen"))
            pointer(f, x, at, 22, bottom, "chosen", "chosen");
    }
}

static void strip_dot(FILE *f, const json_t *c, const char *unit, double x, double y)
{
    char title[600] = "";
    const int series = (int) get_number(c, "series");
    append(title, sizeof title, "%s%s%s: %.4g %s, %.3f us", get_text(c, "candidate"), *get_text(c, "mark") ? ", " : "",
           get_text(c, "mark"), get_number(c, "cost"), unit, get_number(c, "median_us"));
    if (has_mark(c, "chosen"))
        fprintf(f, "<circle class=\"ring\" cx=\"%.1f\" cy=\"%.1f\" r=\"6.5\"/>", x, y);
    mark(f, series, x, y, 3.4);
    end_mark(f, series, title);
}

enum { BIN = 8, N_BINS = WIDTH / BIN };

void svg_strip(FILE *f, const json_t *point)
{
    const json_t *candidates = json_object_get(point, "candidates");
    const char *unit = get_text(point, "cost_unit");
    struct axis x = {.from = 14, .to = RIGHT - 4};
    int count[N_BINS] = {0}, put[N_BINS] = {0}, highest = 1;
    size_t i;
    json_t *c;
    json_array_foreach(candidates, i, c) widen(&x, get_number(c, "cost"));
    pad(&x, 0.04);
    json_array_foreach(candidates, i, c)
    {
        int *n = &count[(int) place(&x, get_number(c, "cost")) / BIN];
        highest = MAX(highest, ++*n);
    }
    const double step = MIN(9, 150.0 / highest), bottom = 40 + MAX(step * highest, 20);
    const struct axis y = {.from = bottom, .to = 28};
    char name[80];
    begin(f, (int) bottom + 34, "all candidates over their cost");
    snprintf(name, sizeof name, "cost: %s", strcmp(unit, "us") ? "time over the default's" : "us");
    draw_x(f, &x, &y, name);
    strip_pointers(f, &x, candidates, bottom);
    json_array_foreach(candidates, i, c)
    {
        const double at = place(&x, get_number(c, "cost"));
        strip_dot(f, c, unit, at, bottom - 7 - step * put[(int) at / BIN]++);
    }
    fputs("</svg>\n", f);
}

/* ---- the search ---- */

static void curve(FILE *f, const struct axis *x, const struct axis *y, const char *class, const double *values, int n,
                  double first_x, double step_x, bool steps)
{
    fprintf(f, "<path class=\"%s\" d=\"", class);
    for (int i = 0; i < n; i++) {
        const double at = place(x, first_x + i * step_x), up = place(y, values[i]);
        if (i && steps)
            fprintf(f, "H%.1f", at);
        fprintf(f, "%s%.1f %.1f", i ? "L" : "M", at, up);
    }
    fputs("\"/>", f);
}

enum { MAX_CURVE = 400 };

/* A curve of more values than can be seen is drawn from every so manieth. */
static int read_curve(const json_t *values, double out[MAX_CURVE], double *step)
{
    const int n = (int) json_array_size(values), every = (n + MAX_CURVE - 1) / MAX_CURVE;
    int kept = 0;
    for (int i = 0; i < n; i += every)
        out[kept++] = json_number_value(json_array_get(values, (size_t) i));
    *step = every;
    return kept;
}

static void two_curves(FILE *f, struct axis *x, const double *best, const double *random, int n, double step,
                       const char *names[2])
{
    struct axis y = {.from = 138, .to = 22};
    for (int i = 0; i < n; i++) {
        widen(&y, best[i]);
        widen(&y, random[i]);
    }
    pad(&y, 0.06);
    begin(f, 172, "cost of the best so far over the measurements");
    draw_x(f, x, &y, names[0]);
    draw_y(f, x, &y, names[1]);
    curve(f, x, &y, "random", random, n, x->lo, step, false);
    curve(f, x, &y, "best", best, n, x->lo, step, true);
    for (int i = 0; i < n; i++)
        if (!i || best[i] < best[i - 1]) {
            fprintf(f,
                    "<circle class=\"bestdot\" cx=\"%.1f\" cy=\"%.1f\" r=\"2.6\"><title>after %g: %.4g; random "
                    "order, on average: %.4g</title></circle>",
                    place(x, x->lo + i * step), place(&y, best[i]), x->lo + i * step, best[i], random[i]);
        }
    fputs("</svg>\n", f);
}

void svg_search(FILE *f, const json_t *point)
{
    double best[MAX_CURVE], random[MAX_CURVE], step;
    const int n = read_curve(json_object_get(point, "best"), best, &step);
    read_curve(json_object_get(point, "random"), random, &step);
    struct axis x = {.lo = 1, .hi = 1 + (n - 1) * step, .from = LEFT, .to = RIGHT};
    two_curves(f, &x, best, random, n, step, (const char *[]){"measurements", "least cost so far"});
}

void svg_search_mean(FILE *f, const json_t *search)
{
    double best[MAX_CURVE], random[MAX_CURVE];
    const int n = (int) MIN(json_array_size(search), MAX_CURVE);
    for (int i = 0; i < n; i++) {
        best[i] = get_number(json_array_get(search, (size_t) i), "best");
        random[i] = get_number(json_array_get(search, (size_t) i), "random");
    }
    const double first = get_number(json_array_get(search, 0), "percent");
    struct axis x = {.lo = first, .hi = 100, .from = LEFT, .to = RIGHT};
    two_curves(f, &x, best, random, n, (100 - first) / (n - 1),
               (const char *[]){"% of the measurements of each point", "least cost so far over the least of all"});
}

/* ---- families of linear ---- */

static void family_line(FILE *f, const struct axis *x, const struct axis *y, const json_t *families, int family)
{
    char key[40];
    bool drawn = false;
    size_t i;
    json_t *o;
    snprintf(key, sizeof key, "%s_us", table_family_name(family));
    fprintf(f, "<path class=\"l%d\" d=\"", family);
    json_array_foreach(families, i, o) if (json_object_get(o, key))
    {
        fprintf(f, "%s%.1f %.1f", drawn ? "L" : "M", place(x, get_number(o, "m")), place(y, get_number(o, key)));
        drawn = true;
    }
    fputs(drawn ? "\"/>" : "M0 0\"/>", f);
    json_array_foreach(families, i, o) if (json_object_get(o, key))
    {
        char title[120];
        snprintf(title, sizeof title, "%s, M = %.0f: %.3f us", table_family_name(family), get_number(o, "m"),
                 get_number(o, key));
        mark(f, family, place(x, get_number(o, "m")), place(y, get_number(o, key)), 3);
        end_mark(f, family, title);
    }
}

/* Ticks at the measured M, as many as fit. */
static void draw_m(FILE *f, const struct axis *x, const struct axis *y, const json_t *families)
{
    double last = -WIDTH;
    size_t i;
    json_t *o;
    line(f, "axis", x->from, y->from, x->to, y->from);
    json_array_foreach(families, i, o)
    {
        char text[24];
        const double at = place(x, get_number(o, "m"));
        if (at < last + 18)
            continue;
        label(text, get_number(o, "m"));
        text_at(f, at, y->from + 13, "middle", "tick", text);
        last = at;
    }
    text_at(f, (x->from + x->to) / 2, y->from + 27, "middle", "name", "M, rows of x");
}

void svg_crossing(FILE *f, const json_t *crossing)
{
    const json_t *families = json_object_get(crossing, "families");
    struct axis x = {.from = LEFT, .to = RIGHT}, y = {.from = 158, .to = 34};
    size_t i;
    json_t *o;
    json_array_foreach(families, i, o)
    {
        widen(&x, get_number(o, "m"));
        for (int k = 0; k < N_FAMILIES; k++) {
            char key[40];
            snprintf(key, sizeof key, "%s_us", table_family_name(k));
            if (json_object_get(o, key))
                widen(&y, get_number(o, key));
        }
    }
    pad(&x, 0.03);
    pad(&y, 0.05);
    begin(f, 192, "best time of each family over M");
    draw_m(f, &x, &y, families);
    draw_y(f, &x, &y, "us");
    for (int k = 0; k < 2; k++) {
        const double m = get_number(crossing, k ? "m2" : "m1");
        char word[40];
        snprintf(word, sizeof word, "%s %.0f", k ? "M2" : "M1", m);
        if (m >= x.lo && m <= x.hi)
            pointer(f, &x, place(&x, m), k ? 22 : 10, y.from, "chosen", word);
    }
    for (int k = 0; k < N_FAMILIES; k++)
        family_line(f, &x, &y, families, k);
    fputs("</svg>\n", f);
}

/* ---- roofline ---- */

/* No run is shorter than a launch, none reads faster than memory. */
static void roof(FILE *f, const struct axis *x, const struct axis *y, double gbps, double launch_us)
{
    const double knee = launch_us * gbps * 1e-3; /* MB */
    const double at = launch_us > 0 ? MIN(MAX(knee, x->lo), x->hi) : x->lo;
    fprintf(f, "<path class=\"roof\" d=\"");
    if (launch_us > 0 && knee > x->lo)
        fprintf(f, "M%.1f %.1fL", x->from, place(y, x->lo / launch_us * 1e3));
    else
        fputs("M", f);
    fprintf(f, "%.1f %.1fH%.1f\"/>", place(x, at), place(y, MIN(gbps, launch_us > 0 ? at / launch_us * 1e3 : gbps)),
            x->to);
}

static void roof_dot(FILE *f, const struct axis *x, const struct axis *y, const json_t *p, int series)
{
    char title[400];
    snprintf(title, sizeof title, "%s: %.2f GB/s, %.1f %% of the measured bandwidth; %s, %.3f us",
             get_text(p, "problem"), get_number(p, "gbps"), get_number(p, "share_percent"), get_text(p, "chosen"),
             get_number(p, "chosen_us"));
    fprintf(f, "<a href=\"#p%.0f\">", get_number(p, "id"));
    mark(f, series, place(x, get_number(p, "mbytes")), place(y, get_number(p, "gbps")), 4);
    end_mark(f, series, title);
    fputs("</a>", f);
}

void svg_roofline(FILE *f, const json_t *device, const json_t *points)
{
    const double gbps = get_number(device, "read_gbps"), launch_us = get_number(device, "launch_us");
    struct axis x = {.from = LEFT, .to = RIGHT}, y = {.from = 190, .to = 24};
    int series = -1;
    const char *op = "";
    size_t i;
    json_t *p;
    json_array_foreach(points, i, p) if (get_number(p, "gbps") > 0)
    {
        widen(&x, get_number(p, "mbytes"));
        widen(&y, get_number(p, "gbps"));
    }
    if (gbps > 0)
        widen(&y, gbps);
    pad(&x, 0.06);
    pad(&y, 0.08);
    begin(f, 224, "achieved bandwidth over the least bytes of each point");
    draw_x(f, &x, &y, "least traffic of a run, MB");
    draw_y(f, &x, &y, "GB/s");
    fprintf(f, "<svg x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" viewBox=\"%.1f %.1f %.1f %.1f\">", x.from,
            y.to, x.to - x.from, y.from - y.to, x.from, y.to, x.to - x.from, y.from - y.to); /* cuts the roof */
    if (gbps > 0)
        roof(f, &x, &y, gbps, launch_us);
    fputs("</svg>", f);
    if (gbps > 0) {
        char text[80];
        snprintf(text, sizeof text, "memory, measured: %.1f GB/s", gbps);
        text_at(f, x.to, y.to - 8, "end", "rooftext", text);
    }
    json_array_foreach(points, i, p)
    {
        series += strcmp(op, get_text(p, "op")) != 0;
        op = get_text(p, "op");
        if (get_number(p, "gbps") > 0)
            roof_dot(f, &x, &y, p, series);
    }
    fputs("</svg>\n", f);
}
