/* SPDX-License-Identifier: MIT
 * info.c - flashdec-info: the devices, what works on the chosen one, and which kernels the library would choose
 *
 * Everything is gathered in one JSON object; --json prints it, the functions print_*() show it to people. */
#include "info.h"
#include "plan.h"
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEVICES = 64, EXPLAIN_TEXT = 16384 };

static const char help[] =
    "usage: flashdec-info [--json] [--self-test] [--warm MODEL.gguf] [--device D]\n"
    "Shows all OpenCL devices; of the chosen one what works, the tuning table in force, and the kernels it would use.\n"
    "\n"
    "  --json             one JSON object\n"
    "  --self-test        checks every attention, linear and softmax kernel on the device against a double\n"
    "                     precision reference; one that fails is not used any more\n"
    "  --warm MODEL.gguf  fills the program cache with all that flashdec-run needs for this model\n"
    "  --device D         index, P:D, pci:..., uuid:... or part of a name (default: FLASHDEC_DEVICE, else a GPU "
    "first)\n"
    "  --help  --version\n"
    "\n"
    "Exit status: 0 success, 1 no device or a failed test, 2 usage. See flashdec-info(1).\n";

/* What a decoder asks for, most of all. */
static const char *const usual_problems[] = {
    "attn:f16 b=1 h=32/32 d=128 n=4096", "attn:f16 b=1 h=32/8 d=128 n=4096",     "attn:f32 b=1 h=32/8 d=128 n=4096",
    "attn:q8_0 b=1 h=32/8 d=128 n=4096", "attn:f16 b=1 h=32/8 d=128 q=8 n=4096", "linear:f16 m=64 n=4096 k=4096",
    "linear:f32 m=64 n=4096 k=4096",     "softmax:f32 rows=1 cols=32000",
};

struct args {
    bool json, self_test;
    const char *warm, *device;
};

/* ---- gathering ---- */

static const char *type_text(cl_device_type type)
{
    return type & CL_DEVICE_TYPE_GPU           ? "GPU"
           : type & CL_DEVICE_TYPE_CPU         ? "CPU"
           : type & CL_DEVICE_TYPE_ACCELERATOR ? "accelerator"
                                               : "other";
}

static json_t *device_list_json(cl_device_id chosen)
{
    json_t *list = json_array();
    struct device_id ids[MAX_DEVICES];
    const int n = device_list(ids, MAX_DEVICES);
    for (int i = 0; i < n; i++) {
        struct device d = {0};
        json_t *o = json_object();
        json_object_set_new(o, "index", json_integer(i));
        json_object_set_new(o, "position", json_sprintf("%d:%d", ids[i].platform_index, ids[i].device_index));
        json_object_set_new(o, "chosen", json_boolean(ids[i].device == chosen));
        if (device_query(ids[i].platform, ids[i].device, &d) == FDEC_OK) {
            json_object_set_new(o, "name", json_string(d.name));
            json_object_set_new(o, "platform", json_string(d.platform));
            json_object_set_new(o, "driver", json_string(d.driver));
            json_object_set_new(o, "version", json_string(d.version));
            json_object_set_new(o, "type", json_string(type_text(d.type)));
            json_object_set_new(o, "compute_units", json_integer(d.compute_units));
            json_object_set_new(o, "global_bytes", json_integer((json_int_t) d.global_bytes));
        } else {
            json_object_set_new(o, "error", json_string(fdec_last_error()));
        }
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *describe(const struct session *s)
{
    size_t n = 0;
    if (fdec_ctx_describe(s->ctx, NULL, 0, &n) != FDEC_OK)
        return NULL;
    char *text = malloc(n + 1);
    json_t *o = NULL;
    if (text && fdec_ctx_describe(s->ctx, text, n + 1, NULL) == FDEC_OK)
        o = json_loads(text, 0, NULL);
    free(text);
    return o;
}

/* NULL: some configuration of k can do some usual problem here; else why the first one tried cannot. */
static const char *why_not(const struct kernel *k, const struct device *d)
{
    const char *why = NULL;
    for (int f16 = 0; f16 < 2; f16++) {
        static const char *const big[] = {[OP_ATTN] = "b=1 h=32/8 d=128 n=4096", [OP_LINEAR] = "m=8 n=4096 k=4096"};
        const char *sizes = k->op == OP_ATTN || k->op == OP_LINEAR ? big[k->op] : "rows=1 cols=4096";
        char text[PROBLEM_TEXT], err[200];
        struct problem p;
        int at[MAX_PARAMS], cfg[MAX_PARAMS];
        snprintf(text, sizeof text, "%s:%s %s", operations[k->op].name, f16 ? "f16" : "f32", sizes);
        if (!problem_parse(text, &p, err, sizeof err))
            continue; /* an operation without this type */
        kernel_first(k, at, cfg);
        do {
            const char *reason = k->reject(&p, d, cfg);
            if (!reason)
                return NULL;
            why = why ? why : reason;
        } while (kernel_next(k, at, cfg));
    }
    return why;
}

/* A table's deny list makes a variant the last resort, a failed self-test rules it out. */
static const char *denial(const fdec_ctx *ctx, int i)
{
    if (ctx->denied[i])
        return "fails the self-test on this device";
    const struct table_set *set = &ctx->tables->set; /* nobody reloads them here */
    for (int t = 0; t < set->n && set->level[t] == LEVEL_EXACT; t++)
        for (int n = 0; n < set->tables[t]->n_denied; n++) {
            const struct table_denied *denied = &set->tables[t]->denied[n];
            if (!strcmp(denied->kernel, kernels[i]->name) && denied->rev == kernels[i]->rev && !denied->n_config &&
                !*denied->class_text)
                return denied->reason;
        }
    return NULL;
}

static json_t *kernels_json(const fdec_ctx *ctx)
{
    json_t *list = json_array();
    for (int i = 0; kernels[i]; i++) {
        const struct kernel *k = kernels[i];
        const char *denied = denial(ctx, i), *why = denied ? denied : why_not(k, &ctx->device);
        json_t *o = json_object();
        json_object_set_new(o, "name", json_string(k->name));
        json_object_set_new(o, "revision", json_integer(k->rev));
        json_object_set_new(o, "status", json_string(denied ? "denied" : why ? "unusable" : "works"));
        json_object_set_new(o, "reason", why ? json_string(why) : json_null());
        json_array_append_new(list, o);
    }
    return list;
}

/* M1 and M2 of every [N, K] of the table in force. */
static json_t *crossings_json(const struct table_set *tables)
{
    json_t *list = json_array();
    for (int i = 0; tables->n > 0 && i < tables->tables[0]->n_crossings; i++) {
        const struct table_crossing *c = &tables->tables[0]->crossings[i];
        json_t *o = json_object();
        json_object_set_new(o, "class", json_string(c->class_text));
        json_object_set_new(o, "m1", c->m1 ? json_integer((json_int_t) c->m1) : json_null());
        json_object_set_new(o, "m2", c->m2 ? json_integer((json_int_t) c->m2) : json_null());
        json_object_set_new(o, "max_m", json_integer((json_int_t) c->max_m));
        json_array_append_new(list, o);
    }
    return list;
}

/* What fdec_explain says of a plan for the problem. A plan without its programs will do: nothing is compiled to ask. */
static json_t *explain(fdec_ctx *ctx, const char *problem, fdec_format format)
{
    static struct fdec_plan plan;
    static char text[EXPLAIN_TEXT];
    struct choice choices[MAX_CHOICES];
    char err[200] = "";
    plan = (struct fdec_plan){.ctx = ctx};
    if (!problem_parse(problem, &plan.problem, err, sizeof err))
        return json_pack("{s:s, s:s}", "problem", problem, "error", err);
    if (select_choices(&plan.problem, NULL, &ctx->device, &ctx->tables->set, ctx->denied, choices, &plan.n_ready) !=
        FDEC_OK)
        return json_pack("{s:s, s:s}", "problem", problem, "error", fdec_last_error());
    for (int i = 0; i < plan.n_ready; i++)
        plan.ready[i].choice = choices[i];
    if (fdec_explain(&plan, format, text, sizeof text, NULL) != FDEC_OK)
        return json_pack("{s:s, s:s}", "problem", problem, "error", fdec_last_error());
    return format == FDEC_JSON ? json_loads(text, 0, NULL) : json_string(text);
}

static json_t *choices_json(fdec_ctx *ctx, fdec_format format)
{
    json_t *list = json_array();
    for (size_t i = 0; i < ARRAY_LEN(usual_problems); i++)
        json_array_append_new(list, explain(ctx, usual_problems[i], format));
    return list;
}

/* ---- printing ---- */

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

static long long number_of(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

static void print_devices(const json_t *list)
{
    size_t i;
    json_t *o;
    printf("flashdec %s\n\ndevices (* is the chosen one)\n", fdec_version());
    if (json_array_size(list) == 0)
        printf("  none: no OpenCL driver has a device here (clinfo -l shows the same)\n");
    json_array_foreach(list, i, o)
    {
        printf("%c %zu  %s  ", json_is_true(json_object_get(o, "chosen")) ? '*' : ' ', i, text_of(o, "position"));
        if (json_object_get(o, "error"))
            printf("cannot be asked: %s\n", text_of(o, "error"));
        else
            printf("%s\n          %s, %lld units, %.1f GiB; %s, driver %s, %s\n", text_of(o, "name"),
                   text_of(o, "type"), number_of(o, "compute_units"),
                   (double) number_of(o, "global_bytes") / 1073741824.0, text_of(o, "platform"), text_of(o, "driver"),
                   text_of(o, "version"));
    }
}

static void print_probed(const json_t *probed)
{
    const char *key;
    json_t *value;
    printf("\nprobed\n ");
    json_object_foreach((json_t *) probed, key, value) printf(" %s: %s;", key,
                                                              json_is_string(value) ? json_string_value(value)
                                                              : json_is_true(value) ? "yes"
                                                                                    : "no");
    putchar('\n');
}

static void print_kernels(const json_t *list)
{
    size_t i;
    json_t *o;
    printf("\nkernels\n");
    json_array_foreach(list, i, o) printf("  %-26s %s%s%s\n", text_of(o, "name"), text_of(o, "status"),
                                          json_is_null(json_object_get(o, "reason")) ? "" : ": ", text_of(o, "reason"));
}

static void print_crossing(const json_t *o, const char *key)
{
    const json_t *m = json_object_get(o, key);
    if (json_is_integer(m))
        printf("%lld", (long long) json_integer_value(m));
    else
        printf("over %lld", number_of(o, "max_m"));
}

static void print_tables(const json_t *list, const json_t *crossings)
{
    size_t i;
    json_t *o;
    printf("\ntuning table\n");
    if (json_array_size(list) == 0)
        printf("  none: the analytic default decides (flashdec-tune makes one)\n");
    json_array_foreach(list, i, o)
        printf("  %s %s\n     level %lld (%s), %lld entries%s%s\n", i ? "then    " : "in force", text_of(o, "path"),
               number_of(o, "table_level"), text_of(o, "level_name"), number_of(o, "entries"),
               json_is_true(json_object_get(o, "complete")) ? "" : ", not complete",
               json_is_true(json_object_get(o, "modelled")) ? ", modelled" : "");
    json_array_foreach(crossings, i, o)
    {
        printf("  %-36s M1 ", text_of(o, "class"));
        print_crossing(o, "m1");
        printf(", M2 ");
        print_crossing(o, "m2");
        putchar('\n');
    }
}

static void print_choices(const json_t *list)
{
    size_t i;
    json_t *o;
    printf("\nchoices\n");
    json_array_foreach(list, i, o)
    {
        if (json_is_string(o))
            printf("%s", json_string_value(o));
        else
            printf("%s: %s\n", text_of(o, "problem"), text_of(o, "error"));
    }
}

static void print_self_test(const json_t *list)
{
    size_t i;
    json_t *o;
    printf("\nself-test\n");
    json_array_foreach(list, i, o)
    {
        const bool pass = json_is_true(json_object_get(o, "pass"));
        printf("  %s  %-52s %-22s", pass ? "pass" : "FAIL", text_of(o, "problem"), text_of(o, "kernel"));
        if (pass)
            printf(" error %.3f of its bound\n", json_real_value(json_object_get(o, "error_ratio")));
        else
            printf(" %s\n", text_of(o, "reason"));
    }
}

static void print_all(const json_t *o)
{
    const json_t *context = json_object_get(o, "context"), *warmed = json_object_get(o, "warm");
    print_devices(json_object_get(o, "devices"));
    if (context) {
        print_probed(json_object_get(context, "probed"));
        print_kernels(json_object_get(o, "kernels"));
        print_tables(json_object_get(context, "tables"), json_object_get(o, "crossings"));
        print_choices(json_object_get(o, "choices"));
        printf("\nprogram cache: %s\n", text_of(context, "cache_dir")[0] ? text_of(context, "cache_dir") : "none");
    }
    if (json_object_get(o, "self_test"))
        print_self_test(json_object_get(o, "self_test"));
    if (warmed)
        printf("\nwarmed %s: %lld programs compiled, %lld were there\n", text_of(warmed, "model"),
               number_of(warmed, "programs_compiled"), number_of(warmed, "programs_from_cache"));
}

/* ---- main ---- */

/* 0, or the exit status that stops the program. */
static int parse(int argc, char **argv, struct args *a)
{
    static const struct option options[] = {
        {"json", 0, NULL, 'j'},
        {"self-test", 0, NULL, 's'},
        {"warm", 1, NULL, 'w'},
        {"device", 1, NULL, 'd'},
        {"help", 0, NULL, 'h'},
        {"version", 0, NULL, 'v'},
        {0},
    };
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;)
        switch (c) {
        case 'j': a->json = true; break;
        case 's': a->self_test = true; break;
        case 'w': a->warm = optarg; break;
        case 'd': a->device = optarg; break;
        case 'h': printf("%s", help); exit(0);
        case 'v': printf("%s\n", fdec_version()); exit(0);
        default: fprintf(stderr, "%s", help); return 2;
        }
    if (optind == argc)
        return 0;
    fprintf(stderr, "flashdec-info: %s: no arguments expected\n%s", argv[optind], help);
    return 2;
}

/* Adds what is known of the chosen device. False: something failed, and was told. */
static bool examine(json_t *o, const struct args *a)
{
    struct session s;
    char why[800] = "";
    int failures = 0;
    if (session_open(a->device, &s) != FDEC_OK) {
        fprintf(stderr, "flashdec-info: %s\n", fdec_last_error());
        json_object_set_new(o, "devices", device_list_json(NULL));
        json_object_set_new(o, "error", json_string(fdec_last_error()));
        return false;
    }
    json_object_set_new(o, "devices", device_list_json(s.device));
    if (a->self_test) /* first: what follows speaks of its results */
        json_object_set_new(o, "self_test", self_test(&s, &failures));
    json_object_set_new(o, "context", describe(&s));
    json_object_set_new(o, "kernels", kernels_json(s.ctx));
    json_object_set_new(o, "crossings", crossings_json(&s.ctx->tables->set));
    json_object_set_new(o, "choices", choices_json(s.ctx, a->json ? FDEC_JSON : FDEC_TEXT));
    session_close(&s);
    if (a->warm) {
        json_t *warmed = warm(a->warm, why, sizeof why);
        if (warmed)
            json_object_set_new(o, "warm", warmed);
        else
            fprintf(stderr, "flashdec-info: %s: %s\n", a->warm, why);
    }
    if (failures)
        fprintf(stderr, "flashdec-info: %d variants failed the self-test and are denied on this device\n", failures);
    return !failures && (!a->warm || json_object_get(o, "warm"));
}

int main(int argc, char **argv)
{
    struct args a = {0};
    const int status = parse(argc, argv, &a);
    if (status)
        return status;
    json_t *o = json_object();
    json_object_set_new(o, "version", json_string(fdec_version()));
    if (a.device)
        setenv("FLASHDEC_DEVICE", a.device, 1); /* the decoder of --warm takes it from there */
    const bool ok = examine(o, &a);
    if (a.json) {
        json_dumpf(o, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
        putchar('\n');
    } else {
        print_all(o);
    }
    json_decref(o);
    if (fflush(stdout) || ferror(stdout)) {
        fprintf(stderr, "flashdec-info: cannot write to standard output\n");
        return 1;
    }
    return ok ? 0 : 1;
}
