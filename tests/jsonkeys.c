/* SPDX-License-Identifier: MIT
 * jsonkeys.c - checks the JSON lines of flashdec-bench: exactly the keys of its man page, in their order, sane values
 *
 *     flashdec-bench ... --json | jsonkeys OP N
 *
 * OP: attn, linear, softmax, or any; N: lines expected. Says what is wrong on standard error. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const keys[] = {
    "op",    "problem", "device",    "driver",     "kernel",   "config",      "median_us",       "ci95_us",
    "bytes", "flops",   "read_gbps", "fma_gflops", "floor_us", "floor_share", "max_error_ratio", "peers",
};
static const char *const fit_keys[] = {
    "op", "problem", "device", "driver", "a_us", "b_us_per_token", "max_relative_residual",
};
static const char *const sweep_keys[] = {"op", "problem", "device", "driver", "step", "pad", "violations"};
static const char *const rule_keys[] = {"limit", "checked", "violated", "worst_m", "worst_ratio"};
static const char *const violation_keys[] = {"rule", "m", "ratio", "ci95", "bytes_us", "cached_us"};
enum {
    N_KEYS = sizeof keys / sizeof *keys,
    N_FIT_KEYS = sizeof fit_keys / sizeof *fit_keys,
    N_SWEEP_KEYS = sizeof sweep_keys / sizeof *sweep_keys,
    N_RULE_KEYS = sizeof rule_keys / sizeof *rule_keys,
    N_STEP_KEYS = sizeof violation_keys / sizeof *violation_keys,
    N_PAD_KEYS = N_STEP_KEYS - 2
};

static int line_number, n_wrong;

static void expect(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "jsonkeys: line %d: %s\n", line_number, what);
        n_wrong++;
    }
}

static double number(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    expect(json_is_number(v) && json_number_value(v) > 0, key);
    return json_number_value(v);
}

static void check_text(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    expect(s && *s, key);
}

static void check_keys(const json_t *o, const char *const *want, size_t n)
{
    const char *key;
    json_t *value;
    size_t i = 0;
    json_object_foreach((json_t *) o, key, value)
    {
        expect(i < n && !strcmp(key, want[i]), key);
        i++;
    }
    expect(i == n, "number of keys");
}

/* The line behind those of --contexts. That b is positive depends on the machine; that it is a number does not. */
static void check_fit(const json_t *o)
{
    check_keys(o, fit_keys, N_FIT_KEYS);
    for (size_t i = 1; i < 4; i++)
        check_text(o, fit_keys[i]);
    for (size_t i = 4; i < N_FIT_KEYS; i++)
        expect(json_is_number(json_object_get(o, fit_keys[i])), fit_keys[i]);
    const double worst = json_number_value(json_object_get(o, "max_relative_residual"));
    expect(worst >= 0 && worst < 10, "max_relative_residual is not in 0..10");
}

static json_int_t count(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    expect(json_is_integer(v) && json_integer_value(v) >= 0, key);
    return json_integer_value(v);
}

static void check_interval(const json_t *ci, double median, const char *what)
{
    expect(json_array_size(ci) == 2 && json_number_value(json_array_get(ci, 0)) <= median &&
               json_number_value(json_array_get(ci, 1)) >= median,
           what);
}

static void check_violation(const json_t *v, int pad, double limit)
{
    const double ratio = number(v, "ratio");
    check_keys(v, violation_keys, pad ? N_PAD_KEYS : N_STEP_KEYS);
    expect(count(v, "m") >= 2 && count(v, "m") <= 64, "m of a violation is not in 2..64");
    expect(ratio > limit, "a violation within");
    check_interval(json_object_get(v, "ci95"), ratio, "ci95 of a violation");
    if (!pad) {
        number(v, "bytes_us");
        number(v, "cached_us");
    }
}

/* The line behind those of --sweep. Whether a rule holds depends on the machine; that the counts fit does not. */
static void check_sweep(const json_t *o)
{
    size_t i, listed[2] = {0};
    json_t *v;
    check_keys(o, sweep_keys, N_SWEEP_KEYS);
    for (i = 1; i < 4; i++)
        check_text(o, sweep_keys[i]);
    json_array_foreach(json_object_get(o, "violations"), i, v)
    {
        const char *rule = json_string_value(json_object_get(v, "rule"));
        const int pad = rule && !strcmp(rule, "pad");
        expect(rule && (pad || !strcmp(rule, "step")), "rule of a violation");
        check_violation(v, pad, number(json_object_get(o, pad ? "pad" : "step"), "limit"));
        listed[pad]++;
    }
    for (int pad = 0; pad < 2; pad++) {
        const json_t *rule = json_object_get(o, pad ? "pad" : "step");
        check_keys(rule, rule_keys, N_RULE_KEYS);
        expect(count(rule, "violated") == (json_int_t) listed[pad], "violated is not how many are listed");
        expect(count(rule, "checked") <= 63 && (!pad || count(rule, "checked") == 63), "checked");
        expect((number(rule, "limit") < json_number_value(json_object_get(rule, "worst_ratio"))) == (listed[pad] > 0),
               "worst_ratio and the violations");
    }
}

static int near(double a, double b)
{
    return fabs(a - b) <= 1e-6 * fabs(b);
}

static void check_times(const json_t *o)
{
    const double median = number(o, "median_us"), floor = number(o, "floor_us"), share = number(o, "floor_share");
    const double by_bytes = number(o, "bytes") / number(o, "read_gbps") * 1e-3;
    const double by_flops = number(o, "flops") / number(o, "fma_gflops") * 1e-3;
    check_interval(json_object_get(o, "ci95_us"), median, "ci95_us is no pair about the median");
    expect(near(floor, fmax(by_bytes, by_flops)), "floor_us is not max(bytes / read_gbps, flops / fma_gflops)");
    expect(near(share, floor / median), "floor_share is not floor_us / median_us");
    expect(share > 0 && share <= 1.3, "floor_share is not in (0, 1.3]");
}

static void check_parts(const json_t *o)
{
    const char *key;
    json_t *value;
    size_t i;
    const double error = json_number_value(json_object_get(o, "max_error_ratio"));
    expect(json_is_real(json_object_get(o, "max_error_ratio")) && error >= 0 && error <= 1, "max_error_ratio");
    expect(json_is_object(json_object_get(o, "config")), "config");
    json_object_foreach(json_object_get(o, "config"), key, value) expect(json_is_integer(value), key);
    expect(json_is_array(json_object_get(o, "peers")), "peers");
    json_array_foreach(json_object_get(o, "peers"), i, value)
    {
        check_text(value, "name");
        expect(near(number(value, "speedup"), number(value, "median_us") / number(o, "median_us")), "speedup");
        expect(json_object_size(value) == 3, "keys of a peer");
    }
}

static void check_line(const char *line, const char *op)
{
    static const char *const texts[] = {"op", "problem", "device", "driver", "kernel"};
    json_error_t e;
    json_t *o = json_loads(line, JSON_REJECT_DUPLICATES, &e);
    if (!o) {
        expect(0, e.text);
        return;
    }
    const char *own = json_string_value(json_object_get(o, "op"));
    if (own && (!strcmp(own, "fit") || !strcmp(own, "sweep"))) {
        (*own == 'f' ? check_fit : check_sweep)(o);
        json_decref(o);
        return;
    }
    check_keys(o, keys, N_KEYS);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        check_text(o, texts[i]);
    expect(own && (!strcmp(op, "any") || !strcmp(op, own)), "op is another one");
    check_times(o);
    check_parts(o);
    json_decref(o);
}

int main(int argc, char **argv)
{
    static char line[1 << 16];
    if (argc != 3) {
        fprintf(stderr, "usage: jsonkeys OP N\n");
        return 2;
    }
    while (fgets(line, sizeof line, stdin)) {
        line_number++;
        check_line(line, argv[1]);
    }
    expect(line_number == atoi(argv[2]), "is the last one: not as many lines as expected");
    return n_wrong ? 1 : 0;
}
