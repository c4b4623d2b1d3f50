/* SPDX-License-Identifier: MIT
 * report.h - a tuning run as a page: report_data.c and report_facts.c find the values, report.c makes the page, svg.c
 * draws
 *
 * The values are one JSON document, which the page carries (id="data"): what is shown is read from it and from nowhere
 * else. */
#ifndef REPORT_H
#define REPORT_H
#include "tuner.h"

/* table_path: where the table is from, NULL: made from the log. */
fdec_status report_data(const struct journal *j, const struct table *t, const char *table_path, json_t **out);

/* The part of it that stands in log and table as it is. */
void report_facts(const struct journal *j, const struct table *t, const char *table_path, json_t *out);

/* ---- making the document: numbers are rounded to what is shown ---- */
void set_real(json_t *o, const char *name, double value, double per_unit);
void set_us(json_t *o, const char *name, double us);
void set_ratio(json_t *o, const char *name, double ratio);
void set_count(json_t *o, const char *name, int n);
void set_text(json_t *o, const char *name, const char *text); /* any bytes */
json_t *any_text(const char *text); /* any bytes */
json_t *names_json(const struct candidate *c);

/* Text as HTML has it; what is no character of a text becomes '?'. */
void html_text(FILE *f, const char *text);

/* ---- drawings: each an <svg> of the width of its column ---- */
void svg_mark(FILE *f, int series); /* colour and shape number `series`, for a legend */
/* All candidates of a point over their cost, the default's and the chosen one marked. */
void svg_strip(FILE *f, const json_t *point);
/* The best so far and the mean of random search over the measurements of a point. */
void svg_search(FILE *f, const json_t *point);
void svg_search_mean(FILE *f, const json_t *search);
/* Times of the families of a linear class over M. */
void svg_crossing(FILE *f, const json_t *crossing);
/* Achieved bandwidth of each point over its bytes, under what the device can. */
void svg_roofline(FILE *f, const json_t *device, const json_t *points);
#endif
