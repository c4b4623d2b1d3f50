/* SPDX-License-Identifier: MIT
 * report.c - a tuning run as one HTML page that needs nothing else: no network, no script
 *
 * Every table names the part of the embedded document that it shows (data-path) and every column its key (data-key), so
 * that a program can hold one against the other; tests/tune_report.sh does. */
#include "report.h"

#include <stdlib.h>
#include <string.h>

void html_text(FILE *f, const char *text)
{
    for (; *text; text++) {
        const unsigned char c = (unsigned char) *text;
        switch (c) {
        case '<': fputs("&lt;", f); break;
        case '>': fputs("&gt;", f); break;
        case '&': fputs("&amp;", f); break;
        case '"': fputs("&quot;", f); break;
        case '\'': fputs("&#39;", f); break;
        default: putc((c < ' ' && c != '\n' && c != '\t') || c == 0x7f ? '?' : c, f);
        }
    }
}

/* ---- tables ---- */

enum { TEXT = -1, CODE = -2, LINK = -3, WHOLE = 0 }; /* else so many decimals */

struct column {
    const char *key, *title;
    int kind;
};

static void print_value(FILE *f, const json_t *row, const struct column *c)
{
    const json_t *value = json_object_get(row, c->key);
    const char *text = json_string_value(value);
    if (json_is_number(value) && c->kind >= 0)
        fprintf(f, "%.*f", c->kind, json_number_value(value));
    else if (!text)
        fputs("<span class=\"none\">&ndash;</span>", f);
    else if (c->kind == LINK)
        fprintf(f, "<a href=\"#p%.0f\">", get_number(row, "id"));
    else if (c->kind == CODE)
        fputs("<code>", f);
    if (text)
        html_text(f, text);
    fputs(!text ? "" : c->kind == LINK ? "</a>" : c->kind == CODE ? "</code>" : "", f);
}

static void print_table(FILE *f, const char *path, const char *caption, const json_t *rows,
                        const struct column *columns, int n)
{
    size_t i;
    json_t *row;
    fprintf(f,
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"%s\"><table data-path=\"%s\"><caption>%s"
            "</caption><thead><tr>",
            caption, path, caption);
    for (int c = 0; c < n; c++)
        fprintf(f, "<th scope=\"col\" data-key=\"%s\"%s>%s</th>", columns[c].key,
                columns[c].kind >= 0 ? " class=\"number\"" : "", columns[c].title);
    fputs("</tr></thead><tbody>\n", f);
    json_array_foreach(rows, i, row)
    {
        fprintf(f, "<tr%s>", strstr(get_text(row, "mark"), "chosen") ? " class=\"is-chosen\"" : "");
        for (int c = 0; c < n; c++) {
            fputs(columns[c].kind >= 0 ? "<td class=\"number\">" : "<td>", f);
            print_value(f, row, &columns[c]);
            fputs("</td>", f);
        }
        fputs("</tr>\n", f);
    }
    fputs("</tbody></table></div>\n", f);
}

/* One object, a line for each of its values. */
static void print_facts(FILE *f, const char *path, const char *caption, const json_t *object,
                        const struct column *columns, int n)
{
    fprintf(f, "<table class=\"facts\" data-path=\"%s\"><caption>%s</caption><tbody>\n", path, caption);
    for (int c = 0; c < n; c++) {
        fprintf(f, "<tr><th scope=\"row\" data-key=\"%s\">%s</th><td>", columns[c].key, columns[c].title);
        print_value(f, object, &columns[c]);
        fputs("</td></tr>\n", f);
    }
    fputs("</tbody></table>\n", f);
}

/* ---- the page's style ---- */

static const char style[] =
    ":root{color-scheme:light "
    "dark;--page:#f4f5f7;--card:#fff;--ink:#1a1f26;--dim:#5b6572;--edge:#dde1e7;--grid:#e9ecf0;"
    "--accent:#b3261e;--chosen:#fdf0ee;--s0:#2f6fc4;--s1:#c7730a;--s2:#168a5b;--s3:#8a4fbf}"
    "@media(prefers-color-scheme:dark){:root{--page:#0f1216;--card:#181c22;--ink:#e5e8ec;--dim:#9aa4b1;--edge:#2c333c;"
    "--grid:#252b33;--accent:#ff8a7a;--chosen:#2b1f1f;--s0:#74aaf2;--s1:#f0a64a;--s2:#4fc795;--s3:#c096ec}}"
    "*{box-sizing:border-box}html{-webkit-text-size-adjust:100%}"
    "body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,\"Segoe "
    "UI\",sans-serif;"
    "overflow-wrap:anywhere}"
    "main,header{max-width:1100px;margin:0 auto;padding:0 16px}header{padding-top:20px}"
    "h1{font-size:1.5rem;line-height:1.25;margin:0 0 4px}h2{font-size:1.2rem;margin:36px 0 8px}"
    "h3{font-size:1rem;margin:24px 0 8px}h4{font-size:.95rem;margin:0 0 2px;font-weight:600}"
    "p{margin:0 0 10px;max-width:75ch}.dim,figcaption,caption{color:var(--dim)}a{color:var(--s0)}"
    "nav{display:flex;flex-wrap:wrap;gap:4px 16px;margin:14px 0 0}"
    ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(130px,1fr));gap:10px;margin:16px 0 0;padding:0}"
    ".tiles div,.card{background:var(--card);border:1px solid var(--edge);border-radius:10px;min-width:0}"
    ".tiles div{padding:10px 12px}.tiles dt{color:var(--dim);font-size:.8rem}"
    ".tiles dd{margin:0;font-size:1.3rem;font-weight:600;font-variant-numeric:tabular-nums}"
    ".card{padding:14px;margin:0 0 14px;scroll-margin-top:12px}"
    ".card:target{border-color:var(--s0)}"
    ".grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,330px),1fr));gap:14px;align-items:start}"
    ".grid>.card{margin:0}figure{margin:10px 0 "
    "0;min-width:0;max-width:480px}figcaption{font-size:.82rem;margin-top:2px}"
    "figure>svg{display:block;width:100%;height:auto}svg text{font:10.5px system-ui,sans-serif;fill:var(--dim)}"
    ".axis{stroke:var(--dim)}.key{width:12px;height:12px;vertical-align:-1px;margin-right:4px}"
    "line.grid{stroke:var(--grid)}.s0{fill:var(--s0)}.s1{fill:var(--s1)}.s2{fill:var(--s2)}.s3{fill:var(--s3)}"
    "[class^=l]{fill:none;stroke-width:1.8}.l0{stroke:var(--s0)}.l1{stroke:var(--s1)}.l2{stroke:var(--s2)}"
    ".best{fill:none;stroke:var(--s0);stroke-width:2}.bestdot{fill:var(--s0)}"
    ".random{fill:none;stroke:var(--dim);stroke-width:1.6;stroke-dasharray:4 3}"
    ".roof{fill:none;stroke:var(--accent);stroke-width:1.6}text.rooftext{fill:var(--accent)}"
    "line.standard{stroke:var(--dim);stroke-dasharray:3 3}line.chosen{stroke:var(--accent);stroke-dasharray:3 3}"
    "text.chosen{fill:var(--accent)}.ring{fill:none;stroke:var(--accent);stroke-width:2}"
    ".scroll{overflow-x:auto;max-width:100%}table{border-collapse:collapse;font-size:.86rem;width:100%}"
    "caption{text-align:left;padding:2px 0 6px;font-size:.82rem}"
    "th,td{padding:4px 10px 4px 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--edge)}"
    ".scroll th,.scroll "
    "td{white-space:nowrap;overflow-wrap:normal}.number{text-align:right!important;font-variant-numeric:tabular-nums}"
    "thead th{color:var(--dim);font-weight:500}.is-chosen td{background:var(--chosen)}"
    ".facts th{font-weight:500;color:var(--dim);width:40%}code{font:.92em ui-monospace,Menlo,Consolas,monospace}"
    "details{margin-top:10px}summary{cursor:pointer;color:var(--s0)}.legend{display:flex;flex-wrap:wrap;gap:2px 14px;"
    "font-size:.82rem;color:var(--dim);margin:6px 0 0}.none{color:var(--dim)}"
    ".tag{display:inline-block;border:1px solid var(--edge);border-radius:9px;padding:0 8px;font-size:.78rem;"
    "color:var(--dim);margin-left:6px;font-weight:400}"
    "@media(max-width:480px){main,header{padding-left:10px;padding-right:10px}.card{padding:10px}}"
    "@media print{body{background:none}.card{break-inside:avoid}}";

/* ---- sections ---- */

static void tile(FILE *f, const json_t *d, const char *path, const char *title, const struct column *c)
{
    fprintf(f, "<div><dt>%s</dt><dd data-path=\"%s\" data-key=\"%s\">", title, path, c->key);
    print_value(f, json_object_get(d, path), c);
    fputs("</dd></div>\n", f);
}

static void print_head(FILE *f, const json_t *d)
{
    const json_t *device = json_object_get(d, "device"), *table = json_object_get(d, "table");
    fprintf(f, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
               "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
               "<link rel=\"icon\" href=\"data:,\"><title>flashdec-tune: ");
    html_text(f, get_text(device, "name"));
    fprintf(f, "</title><style>%s</style></head>\n<body><header><h1>What flashdec-tune measured</h1><p class=\"dim\">",
            style);
    html_text(f, get_text(device, "name"));
    fputs(", driver ", f);
    html_text(f, get_text(device, "driver"));
    fprintf(f, "</p>\n<nav aria-label=\"Sections\"><a href=\"#choices\">Choices</a><a href=\"#roofline\">Bandwidth</a>"
               "<a href=\"#search\">Search</a><a href=\"#crossings\">Crossings</a><a href=\"#points\">Candidates</a>"
               "<a href=\"#failures\">Failures</a><a href=\"#provenance\">Provenance</a></nav>\n<dl class=\"tiles\">");
    tile(f, d, "summary", "over the default, geometric mean", &(struct column){"geomean_speedup", "", 2});
    tile(f, d, "summary", "shapes measured", &(struct column){"points_measured", "", WHOLE});
    tile(f, d, "summary", "shapes in all", &(struct column){"points", "", WHOLE});
    tile(f, d, "summary", "measurements", &(struct column){"measurements", "", WHOLE});
    tile(f, d, "summary", "failed or slow", &(struct column){"failures", "", WHOLE});
    tile(f, d, "device", "GB/s read, measured", &(struct column){"read_gbps", "", 1});
    fprintf(f, "</dl></header>\n<main>\n");
    if (strcmp(get_text(table, "complete"), "yes"))
        fputs("<p style=\"margin-top:14px\">The search was not complete: more time would try more candidates.</p>\n",
              f);
}

static void print_choices(FILE *f, const json_t *d)
{
    static const struct column columns[] = {
        {"problem", "shape", LINK},
        {"speedup", "over the default", 2},
        {"chosen_us", "chosen, us", 3},
        {"default_us", "default, us", 3},
        {"gbps", "GB/s", 2},
        {"share_percent", "% of read", 1},
        {"measured", "candidates", WHOLE},
        {"failed", "failed", WHOLE},
        {"held_out", "held out", TEXT},
        {"note", "note", TEXT},
        {"chosen", "chosen", CODE},
        {"default", "default", CODE},
    };
    static const struct column others[] = {
        {"problem", "shape", TEXT}, {"chosen", "chosen", CODE}, {"default", "default", CODE}, {"note", "note", TEXT}};
    const json_t *unmeasured = json_object_get(d, "unmeasured");
    fputs(
        "<section id=\"choices\"><h2>Choices</h2><p>What the table takes for each shape, and how it compares with the "
        "library&#39;s own choice without a table (the default), both timed in turns. A held-out shape was measured "
        "apart; no range of the table comes from it.</p><div class=\"card\">",
        f);
    print_table(f, "points", "Shapes", json_object_get(d, "points"), columns, ARRAY_LEN(columns));
    if (json_array_size(unmeasured)) {
        fprintf(f, "<details><summary>%zu shapes were not measured</summary>", json_array_size(unmeasured));
        print_table(f, "unmeasured", "Shapes of a preset or of the table that no session came to", unmeasured, others,
                    ARRAY_LEN(others));
        fputs("</details>", f);
    }
    fputs("</div></section>\n", f);
}

static bool any_bandwidth(const json_t *points)
{
    size_t i;
    json_t *p;
    json_array_foreach(points, i, p) if (get_number(p, "gbps") > 0) return true;
    return false;
}

static void print_roofline(FILE *f, const json_t *d)
{
    const json_t *points = json_object_get(d, "points");
    const char *op = "";
    int series = 0;
    size_t i;
    json_t *p;
    fputs(
        "<section id=\"roofline\"><h2>Bandwidth</h2><p>The least traffic of a run (every operand once) over its time, "
        "for what the table takes. The line is what the device can: memory as the tuner measured it, and on the left "
        "no run shorter than a launch. Products with many rows are bound by arithmetic and lie lower.</p>"
        "<div class=\"card\">",
        f);
    if (!any_bandwidth(points)) {
        fputs("<p>Nothing was measured.</p></div></section>\n", f);
        return;
    }
    fputs("<figure>", f);
    svg_roofline(f, json_object_get(d, "device"), points);
    fputs("</figure><p class=\"legend\">", f);
    json_array_foreach(points, i, p) if (strcmp(op, get_text(p, "op")))
    {
        op = get_text(p, "op");
        fputs("<span>", f);
        svg_mark(f, series++);
        html_text(f, op);
        fputs("</span>", f);
    }
    fputs("</p></div></section>\n", f);
}

static const char search_legend[] =
    "<p class=\"legend\"><span><svg class=\"key\" viewBox=\"0 0 12 12\" aria-hidden=\"true\"><path class=\"best\" "
    "d=\"M0 "
    "6H12\"/></svg>this search</span><span><svg class=\"key\" viewBox=\"0 0 12 12\" aria-hidden=\"true\"><path "
    "class=\"random\" d=\"M0 6H12\"/></svg>the same candidates in random order, on average</span></p>";

static void print_search(FILE *f, const json_t *d)
{
    static const struct column columns[] = {
        {"percent", "% measured", WHOLE}, {"best", "this search", 4}, {"random", "random, on average", 4}};
    const json_t *search = json_object_get(d, "search");
    fputs(
        "<section id=\"search\"><h2>Search</h2><p>How soon the best was found: at each share of a shape&#39;s "
        "measurements the least cost so far over the least of all, as geometric mean over the shapes. The dashed line "
        "is the exact mean of drawing the same candidates at random without replacement.</p><div class=\"card\">",
        f);
    if (json_array_size(search) < 2) {
        fputs("<p>No shape has two measurements: there is nothing to compare.</p></div></section>\n", f);
        return;
    }
    fputs("<figure>", f);
    svg_search_mean(f, search);
    fprintf(f, "</figure>%s<details><summary>Values</summary>", search_legend);
    print_table(f, "search", "Least cost so far over the least of all", search, columns, ARRAY_LEN(columns));
    fputs("</details></div></section>\n", f);
}

static void print_crossing(FILE *f, const json_t *crossing, size_t number)
{
    static const struct column columns[] = {
        {"m", "M", WHOLE}, {"gemv_us", "gemv, us", 3}, {"flat_us", "flat, us", 3}, {"gemm_us", "gemm, us", 3}};
    const json_t *families = json_object_get(crossing, "families");
    const double m1 = get_number(crossing, "m1"), m2 = get_number(crossing, "m2");
    char path[64];
    snprintf(path, sizeof path, "crossings/%zu/families", number);
    fputs("<div class=\"card\"><h4>", f);
    html_text(f, get_text(crossing, "class"));
    fputs("</h4><p class=\"dim\">", f);
    if (!json_object_get(crossing, "max_m"))
        fputs("no entry in the table", f);
    else {
        fprintf(f, m1 > 0 ? "M1 = %.0f" : "M1: not crossed", m1);
        fprintf(f, m2 > 0 ? ", M2 = %.0f" : ", M2: not crossed", m2);
        fprintf(f, ", up to M = %.0f", get_number(crossing, "max_m"));
    }
    fputs("</p>", f);
    if (json_array_size(families) > 1) {
        fputs("<figure>", f);
        svg_crossing(f, crossing);
        fputs("</figure><p class=\"legend\">", f);
        for (int k = 0; k < N_FAMILIES; k++) {
            fputs("<span>", f);
            svg_mark(f, k);
            fprintf(f, "%s</span>", table_family_name(k));
        }
        fputs("</p>", f);
    }
    json_array_size(families) ? print_table(f, path, "Best time of each family", families, columns, ARRAY_LEN(columns))
                              : (void) fputs("<p>Not measured.</p>", f);
    fputs("</div>\n", f);
}

static void print_crossings(FILE *f, const json_t *d)
{
    const json_t *crossings = json_object_get(d, "crossings");
    size_t i;
    json_t *c;
    fputs(
        "<section id=\"crossings\"><h2>Crossings</h2><p>Linear layers: below M1 the GEMV is fastest, from M2 the GEMM, "
        "between them the flat GEMM. The times are those of the best of each family, as ratios to the default times "
        "the default&#39;s time when the chosen one was measured.</p>",
        f);
    if (!json_array_size(crossings))
        fputs("<p>No linear layer was tuned.</p>", f);
    fputs("<div class=\"grid\">\n", f);
    json_array_foreach(crossings, i, c) print_crossing(f, c, i);
    fputs("</div></section>\n", f);
}

/* ---- points ---- */

static void print_families(FILE *f, const json_t *candidates)
{
    unsigned seen = 0;
    size_t i;
    json_t *c;
    fputs("<p class=\"legend\">", f);
    json_array_foreach(candidates, i, c)
    {
        const int series = (int) get_number(c, "series");
        if (seen & (1u << series))
            continue;
        seen |= 1u << series;
        fputs("<span>", f);
        svg_mark(f, series);
        html_text(f, get_text(c, "family"));
        fputs("</span>", f);
    }
    fputs("</p>", f);
}

static void print_point_text(FILE *f, const json_t *p)
{
    fputs("<p class=\"dim\">", f);
    if (*get_text(p, "chosen")) {
        fputs("<code>", f);
        html_text(f, get_text(p, "chosen"));
        fputs("</code>", f);
        if (get_number(p, "chosen_us") > 0)
            fprintf(f, ", %.3f us", get_number(p, "chosen_us"));
        if (get_number(p, "speedup") > 0)
            fprintf(f, ", %.2f times as fast as the default", get_number(p, "speedup"));
    }
    if (*get_text(p, "note")) {
        fputs(*get_text(p, "chosen") ? "; " : "", f);
        html_text(f, get_text(p, "note"));
    }
    fputs("</p>", f);
}

static void print_point(FILE *f, const json_t *p)
{
    static const struct column columns[] = {
        {"candidate", "candidate", CODE}, {"mark", "", TEXT},      {"cost", "cost", 4},
        {"cost_lo", "95 % from", 4},      {"cost_hi", "to", 4},    {"median_us", "us", 3},
        {"lo_us", "95 % from", 3},        {"hi_us", "to", 3},      {"default_us", "default in turns, us", 3},
        {"samples", "runs", WHOLE},       {"turn", "turn", WHOLE}, {"again", "timed again", TEXT},
        {"error", "error over bound", 4},
    };
    const json_t *candidates = json_object_get(p, "candidates");
    char path[64];
    snprintf(path, sizeof path, "points/%.0f/candidates", get_number(p, "id"));
    fprintf(f, "<article class=\"card\" id=\"p%.0f\"><h4>", get_number(p, "id"));
    html_text(f, get_text(p, "problem"));
    fputs(*get_text(p, "held_out") ? "<span class=\"tag\">held out</span></h4>" : "</h4>", f);
    print_point_text(f, p);
    if (json_array_size(candidates)) {
        fputs("<div class=\"grid\"><figure>", f);
        svg_strip(f, p);
        print_families(f, candidates);
        fputs("</figure>", f);
        if (json_array_size(candidates) > 1) {
            fputs("<figure>", f);
            svg_search(f, p);
            fprintf(f, "%s</figure>", search_legend);
        }
        fprintf(f, "</div><details><summary>%zu candidate%s</summary>", json_array_size(candidates),
                json_array_size(candidates) == 1 ? "" : "s");
        print_table(f, path, "Candidates by cost", candidates, columns, ARRAY_LEN(columns));
        fputs("</details>", f);
    }
    fputs("</article>\n", f);
}

static void print_points(FILE *f, const json_t *d)
{
    const json_t *points = json_object_get(d, "points");
    const char *class_text = "";
    size_t i;
    json_t *p;
    fputs("<section id=\"points\"><h2>Candidates</h2><p>Each mark is a candidate that was right and was timed. Its "
          "cost is "
          "its time over the default&#39;s, of runs in turns; less is better.</p>\n",
          f);
    json_array_foreach(points, i, p)
    {
        if (strcmp(class_text, get_text(p, "class"))) {
            class_text = get_text(p, "class");
            fputs("<h3>", f);
            html_text(f, class_text);
            fputs("</h3>\n", f);
        }
        print_point(f, p);
    }
    fputs("</section>\n", f);
}

/* ---- the rest ---- */

static void print_failures(FILE *f, const json_t *d)
{
    static const struct column counts[] = {
        {"outcome", "outcome", TEXT}, {"count", "how many", WHOLE}, {"class", "class of shapes", TEXT}};
    static const struct column each[] = {{"outcome", "outcome", TEXT},
                                         {"problem", "shape", TEXT},
                                         {"candidate", "candidate", CODE},
                                         {"text", "why", TEXT}};
    static const struct column denied[] = {
        {"kernel", "kernel", CODE}, {"rev", "revision", WHOLE}, {"reason", "why", TEXT}};
    const json_t *failures = json_object_get(d, "failures"),
                 *deny = json_object_get(json_object_get(d, "table"), "denied");
    fputs("<section id=\"failures\"><h2>Failures</h2>", f);
    if (!json_array_size(failures))
        fputs("<p>None: every candidate that was begun was right and was timed.</p>", f);
    else {
        fputs("<div class=\"card\">", f);
        print_table(f, "outcomes", "What became of the others", json_object_get(d, "outcomes"), counts,
                    ARRAY_LEN(counts));
        fputs("<details><summary>Each of them</summary>", f);
        print_table(f, "failures", "Each of them", failures, each, ARRAY_LEN(each));
        fputs("</details></div>", f);
    }
    if (json_array_size(deny)) {
        fputs("<div class=\"card\">", f);
        print_table(f, "table/denied", "Kernels that the table denies", deny, denied, ARRAY_LEN(denied));
        fputs("</div>", f);
    }
    fputs("</section>\n", f);
}

static void print_provenance(FILE *f, const json_t *d)
{
    static const struct column device[] = {
        {"name", "device", TEXT},
        {"platform", "platform", TEXT},
        {"driver", "driver", TEXT},
        {"opencl", "OpenCL", TEXT},
        {"compute_units", "compute units", WHOLE},
        {"read_gbps", "read, GB/s", 3},
        {"launch_us", "launch, us", 3},
        {"cache_mib", "cache, MiB", 1},
    };
    static const struct column table[] = {
        {"from", "table", TEXT},
        {"device", "its device", TEXT},
        {"version", "flashdec", TEXT},
        {"seed", "seed", WHOLE},
        {"entries", "entries", WHOLE},
        {"complete", "complete", TEXT},
        {"dropped", "damaged lines of the log, dropped", WHOLE},
        {"stale", "lines of kernels that have changed since, not used", WHOLE},
    };
    static const struct column sessions[] = {
        {"session", "session", WHOLE},  {"started", "started", TEXT}, {"version", "flashdec", TEXT},
        {"strategy", "strategy", TEXT}, {"seed", "seed", WHOLE},      {"budget_s", "budget, s", WHOLE},
        {"shapes", "shapes", TEXT},     {"fresh", "fresh", TEXT},     {"measurements", "measurements", WHOLE},
        {"ended", "ended", TEXT},
    };
    fputs("<section id=\"provenance\"><h2>Provenance</h2><div class=\"grid\"><div class=\"card\">", f);
    print_facts(f, "device", "Device", json_object_get(d, "device"), device, ARRAY_LEN(device));
    fputs("</div><div class=\"card\">", f);
    print_facts(f, "table", "Table", json_object_get(d, "table"), table, ARRAY_LEN(table));
    fputs("</div></div><div class=\"card\" style=\"margin-top:14px\">", f);
    print_table(f, "sessions", "Sessions", json_object_get(d, "sessions"), sessions, ARRAY_LEN(sessions));
    fputs("</div><p class=\"dim\">Shapes that a list or a model asked for and no session came to are not in the log; "
          "those of "
          "presets are shown as not measured.</p></section>\n",
          f);
}

/* In a script element nothing may look like a tag: those characters lie in strings only, where they can be escaped. */
static bool print_data(FILE *f, const json_t *d)
{
    char *text = json_dumps(d, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(12));
    fputs("<script type=\"application/json\" id=\"data\">", f);
    for (const char *c = text; c && *c; c++)
        *c == '<' || *c == '>' || *c == '&' ? (void) fprintf(f, "\\u%04x", *c) : (void) putc(*c, f);
    fputs("</script>\n", f);
    const bool printed = text != NULL;
    free(text);
    return printed;
}

/* *text: malloc'ed. */
static fdec_status print_page(const json_t *d, char **text, size_t *n)
{
    FILE *f = open_memstream(text, n);
    if (!f)
        return fail(FDEC_E_MEMORY, "out of memory: the page");
    print_head(f, d);
    print_choices(f, d);
    print_roofline(f, d);
    print_search(f, d);
    print_crossings(f, d);
    print_points(f, d);
    print_failures(f, d);
    print_provenance(f, d);
    fputs("</main>\n", f);
    const bool printed = print_data(f, d);
    fputs("</body></html>\n", f);
    return !fclose(f) && printed ? FDEC_OK : fail(FDEC_E_MEMORY, "out of memory: the page");
}

fdec_status report_run(const struct options *o, const char *log)
{
    struct journal j = {.fd = -1};
    struct table *t = NULL;
    json_t *data = NULL;
    char *text = NULL;
    size_t n;
    fdec_status st = FDEC_OK;
    try_st(journal_read_lines(log, &j));
    try_st(o->table ? table_read(o->table, &t) : build_table(&j, &t));
    try_st(report_data(&j, t, o->table, &data));
    try_st(print_page(data, &text, &n));
    st = write_out(o->out, text, n);
out:
    free(text);
    json_decref(data);
    table_destroy(&t);
    journal_close(&j);
    return st;
}
