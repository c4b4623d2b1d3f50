/* SPDX-License-Identifier: MIT
 * unit_problem.c - problems and configurations as text, ranges, least work */
#include "kernel.h"
#include "util.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct problem parse(const char *text)
{
    struct problem p;
    char err[200] = "";
    if (!problem_parse(text, &p, err, sizeof err))
        fail_msg("\"%s\": %s", text, err);
    return p;
}

static void text_of_every_operation(void **state)
{
    static const struct {
        const char *text, *class, *other_order;
        enum op op;
    } rows[] = {
        {"attn:f16 b=1 h=32/8 d=128 n=4096", "attn:f16 h=32/8 d=128", "attn:f16 n=4096 d=128 h=32/8", OP_ATTN},
        {"attn:f32 b=3 h=7/7 d=8 n=1 page=16", "attn:f32 h=7/7 d=8 page=16", "attn:f32 page=16 b=3 h=7/7 d=8", OP_ATTN},
        {"attn:f16/q8_0 b=1 h=32/8 d=192/128 q=8 n=4096 page=16 window=1024 act=bf16/f32",
         "attn:f16/q8_0 h=32/8 d=192/128 q=8 page=16 window=1024 act=bf16/f32",
         "attn:f16/q8_0 act=bf16/f32 window=1024 q=8 page=16 n=4096 d=192/128 h=32/8", OP_ATTN},
        {"attn:bf16 b=1 h=4/4 d=576/512 q=64 n=1 act=f16", "attn:bf16 h=4/4 d=576/512 q=64 act=f16",
         "attn:bf16/bf16 act=f16/f16 h=4/4 d=576/512 q=64", OP_ATTN},
        {"linear:f16 m=8 n=4096 k=11008", "linear:f16 n=4096 k=11008", "linear:f16 k=11008 n=4096 m=8", OP_LINEAR},
        {"linear:f32 m=1 n=1 k=1", "linear:f32 n=1 k=1", "linear:f32 n=1 k=1", OP_LINEAR},
        {"linear_pack:q4_0 m=1 n=40 k=64 w=packed", "linear_pack:q4_0 n=40 k=64 w=packed",
         "linear_pack:q4_0 w=packed k=64 n=40", OP_LINEAR_PACK},
        {"softmax:f32 rows=2 cols=32000", "softmax:f32 cols=32000", "softmax:f32 cols=32000 rows=2", OP_SOFTMAX},
        {"rmsnorm:f32 rows=1 cols=64", "rmsnorm:f32 cols=64", "rmsnorm:f32 cols=64", OP_RMSNORM},
        {"rope_append:f16/q8_0 rows=4 h=8/2 d=192/128 act=bf16", "rope_append:f16/q8_0 h=8/2 d=192/128 act=bf16",
         "rope_append:f16/q8_0 act=bf16 d=192/128 h=8/2 rows=4", OP_ROPE_APPEND},
        {"rope_append:f32 rows=1 h=4/4 d=64", "rope_append:f32 h=4/4 d=64", "rope_append:f32/f32 d=64 h=4/4",
         OP_ROPE_APPEND},
        {"swiglu:f32 rows=1 cols=64", "swiglu:f32 cols=64", "swiglu:f32 cols=64", OP_SWIGLU},
        {"add:f32 rows=1 cols=64", "add:f32 cols=64", "add:f32 cols=64", OP_ADD},
        {"embed:f16 rows=1 cols=64", "embed:f16 cols=64", "embed:f16 cols=64", OP_EMBED},
        {"argmax:f32 rows=1 cols=64", "argmax:f32 cols=64", "argmax:f32 cols=64", OP_ARGMAX},
        {"sample:f32 rows=1 cols=64", "sample:f32 cols=64", "sample:f32 cols=64", OP_SAMPLE},
        {"attn_merge:f32 rows=8 cols=64", "attn_merge:f32 cols=64", "attn_merge:f32 cols=64 rows=8", OP_ATTN_MERGE},
    };
    unsigned seen = 0;
    (void) state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[PROBLEM_TEXT];
        const struct problem p = parse(rows[i].text), other = parse(rows[i].other_order);
        assert_int_equal(p.op, rows[i].op);
        problem_print(&p, text);
        assert_string_equal(text, rows[i].text);
        problem_print(&other, text);
        assert_string_equal(text, rows[i].text);
        problem_class(&p, text);
        assert_string_equal(text, rows[i].class);
        const struct problem smallest = parse(rows[i].class);
        problem_class(&smallest, text);
        assert_string_equal(text, rows[i].class);
        seen |= 1u << p.op;
    }
    assert_int_equal(seen, (1u << OP_COUNT) - 1); /* none is left out */
}

static void what_the_text_leaves_out(void **state)
{
    (void) state;
    const struct problem c = parse("attn:f16 b=2 h=8/2 d=64 n=100");
    assert_true(c.attn.scale == 0.125f);
    assert_int_equal(c.attn.kv.k.type, FDEC_F16);
    assert_int_equal(c.attn.kv.v.type, FDEC_F16);
    assert_int_equal(c.attn.kv.capacity, 100);
    assert_int_equal(c.attn.kv.n_blocks, 2);
    assert_int_equal(c.attn.kv.k.block_stride, 100 * 2 * 64);
    assert_int_equal(c.attn.kv.k.token_stride, 2 * 64);
    assert_int_equal(c.attn.kv.k.head_stride, 64);
    assert_int_equal(c.attn.phi_source, FDEC_PHI_AUTO);
    assert_int_equal(c.attn.v_head_dim, 64);
    assert_int_equal(c.attn.q_len, 1);
    assert_true(c.attn.causal && !c.attn.invariant && c.attn.window == 0 && c.attn.softcap == 0);
    assert_true(c.attn.q_type == FDEC_F32 && c.attn.out_type == FDEC_F32);
    const struct problem p = parse("attn:f32/q8_0 b=3 h=4/4 d=8/32 n=33 page=16 act=f16/bf16");
    assert_int_equal(p.attn.kv.max_blocks, 3);
    assert_int_equal(p.attn.kv.n_blocks, 9);
    assert_int_equal(p.attn.kv.k.block_stride, 16 * 4 * 8);
    assert_int_equal(p.attn.kv.v.block_stride, 16 * 4 * 32);
    assert_int_equal(p.attn.kv.v.token_stride, 4 * 32);
    assert_true(p.attn.kv.k.type == FDEC_F32 && p.attn.kv.v.type == FDEC_Q8_0);
    assert_true(p.attn.q_type == FDEC_F16 && p.attn.out_type == FDEC_BF16);
    const struct problem m = parse("linear:f32 n=5 k=6");
    assert_int_equal(m.linear.m, 1);
}

static void texts_that_are_no_problem(void **state)
{
    static const char *const texts[] = {
        "",
        " ",
        "linear",
        "linear:",
        "linear:f16",
        "linear:f64 m=1 n=1 k=1",
        "nothing:f32 m=1",
        "linear m=1 n=1 k=1:f32",
        "linear:f32 m=1 n=1",
        "linear:f32 m=1 n=1 k=0",
        "linear:f32 m=-1 n=1 k=1",
        "linear:f32 m=1 n=1 k=1 m=1",
        "linear:f32 m=1 n=1 k=1 z=1",
        "linear:f32 m=1 n=1 k=",
        "linear:f32 m=1 n=1 k",
        "linear:f32 m=1 n=1 k=1x",
        "linear:f32 m=1 n=1 k=+1",
        "linear:f32 m=1 n=01 k=1",
        "linear:f32 m=1 n=1 k=2147483648",
        "linear:f32 m=1 n=1 k=99999999999999999999999999",
        "softmax:f16 rows=1 cols=1",
        "attn:f16 b=1 d=64 n=1",
        "attn:f16 b=1 h=8 d=64 n=1",
        "attn:f16 b=1 h=8/3 d=64 n=1",
        "attn:f16 b=1 h=8/0 d=64 n=1",
        "attn:f16 b=1 h=8/16 d=64 n=1",
        "attn:f16 b=1 h=8/8 d=60 n=1",
        "attn:f16 b=1 h=8/8 d=584 n=1",
        "attn:f16 b=1 h=8/8 d=64/60 n=1",
        "attn:f16 b=1 h=8/8 d=64/ n=1",
        "attn:f16 b=1 h=8/8 d=64/64/64 n=1",
        "attn:f16 b=1 h=8/8 d=64 q=65 n=1",
        "attn:f16 b=1 h=8/8 d=64 q=1/2 n=1",
        "attn:f16 b=1 h=8/8 d=64 window=0 n=1",
        "attn:f16 b=1 h=8/8 d=64 n=1 act=q8_0",
        "attn:f16 b=1 h=8/8 d=64 n=1 act=f16/",
        "attn:f16/f64 b=1 h=8/8 d=64 n=1",
        "attn:f16/f16/f16 b=1 h=8/8 d=64 n=1",
        "attn:q8_0/f16 b=1 h=8/8 d=24 n=1",
        "attn:f16/q8_0 b=1 h=8/8 d=32/24 n=1",
        "linear:q4_0 m=1 n=1 k=1",
        "linear:q6_k m=1 n=1 k=128",
        "embed:q8_0 rows=1 cols=48",
        "attn:q4_0 b=1 h=8/8 d=64 n=1",
        "attn:f16/q4_k b=1 h=8/8 d=256 n=1",
        "attn:f16 b=1 h=8/8 d=64 n=1 act=q4_0",
        "rmsnorm:q8_0 rows=1 cols=64",
        "linear:f16/f32 m=1 n=1 k=1",
        "attn:f16 b=1 h=8/8 d=64 n=1 page=0",
        "attn:f16 b=2000000000 h=8/8 d=64 n=2000000000 page=1",
        "attn:f16 b=1 h=65535/65535 d=256 n=2147483647",
    };
    (void) state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct problem p;
        char err[200] = "";
        if (problem_parse(texts[i], &p, err, sizeof err))
            fail_msg("\"%s\" is taken for a problem", texts[i]);
        assert_true(err[0]);
    }
    char big[4 * PROBLEM_TEXT], err[200] = "";
    struct problem p;
    memset(big, ' ', sizeof big - 1);
    memcpy(big, "linear:f32 n=1 k=1", 18);
    big[sizeof big - 1] = 0;
    assert_false(problem_parse(big, &p, err, sizeof err));
    assert_true(err[0]);
}

static void range_numbers(void **state)
{
    int64_t at[N_RANGES];
    (void) state;
    struct problem p = parse("attn:f16 b=4 h=32/8 d=128 n=512");
    problem_range(&p, at);
    assert_true(at[0] == 4 && at[1] == 512);
    problem_set_range(&p, (const int64_t[]){2, 100});
    assert_true(p.attn.batch == 2 && p.attn.len == 100 && p.attn.kv.capacity == 512);
    p = parse("linear:f16 m=7 n=4 k=5");
    problem_range(&p, at);
    assert_true(at[0] == 7 && at[1] == 1);
    problem_set_range(&p, (const int64_t[]){3, 1});
    assert_true(p.linear.m == 3 && p.linear.n == 4 && p.linear.k == 5);
    p = parse("softmax:f32 rows=9 cols=10");
    problem_range(&p, at);
    assert_true(at[0] == 9 && at[1] == 1);
    assert_string_equal(problem_range_names(OP_ATTN)[0], "b");
    assert_string_equal(problem_range_names(OP_ATTN)[1], "n");
    assert_string_equal(problem_range_names(OP_LINEAR)[0], "m");
    assert_null(problem_range_names(OP_LINEAR)[1]);
    assert_string_equal(problem_range_names(OP_LINEAR_PACK)[0], "m");
    assert_string_equal(problem_range_names(OP_SOFTMAX)[0], "rows");
    assert_string_equal(problem_range_names(OP_EMBED)[0], "rows");
}

static void least_work(void **state)
{
    static const struct {
        const char *text;
        double bytes, flops;
    } rows[] = {
        /* q and out 2 * 2*8*64*4, K and V 2 * 2*100*2*64*2, lens 2*4 */
        {"attn:f16 b=2 h=8/2 d=64 n=100", 8192 + 102400 + 8, 4.0 * 2 * 8 * 64 * 100},
        {"attn:f32 b=2 h=8/2 d=64 n=100", 8192 + 204800 + 8, 4.0 * 2 * 8 * 64 * 100},
        /* q 2 * 8*64*2, out 2 * 8*32*4; 100 keys of 2*34 and 32*4 bytes in 2 heads, 2 sequences; lens */
        {"attn:q8_0/f32 b=2 h=8/2 d=64/32 n=100 act=f16/f32", 2048 + 2048 + 2 * 2 * 100 * (68 + 128) + 8,
         2.0 * 2 * 8 * (64 + 32) * 100},
        /* 3 query tokens see 98, 99 and 100 keys, in a window of 10 keys 10 each and 12 together */
        {"attn:f32 b=1 h=1/1 d=8 q=3 n=100", 3 * 64 + 100 * 64 + 4, 2.0 * 16 * (98 + 99 + 100)},
        {"attn:f32 b=1 h=1/1 d=8 q=3 n=100 window=10", 3 * 64 + 12 * 64 + 4, 2.0 * 16 * 30},
        {"linear:f16 m=3 n=10 k=20", 400 + 240 + 120, 1200}, /* W, x, y */
        {"linear:f32 m=3 n=10 k=20", 800 + 240 + 120, 1200},
        {"linear:q4_k m=3 n=10 k=512", 10 * 2 * 144 + 12 * (10 + 512), 2.0 * 3 * 10 * 512},
        {"embed:q6_k rows=3 cols=512", 3 * 2 * 210 + 12 * 512 + 12, 4.0 * 3 * 512},
        {"softmax:f32 rows=2 cols=1000", 16000, 8000},
        {"add:f32 rows=1 cols=100", 1200, 400},
        {"linear:f16 m=2147483647 n=2147483647 k=2147483647", 2.0 * 0x7fffffff * 0x7fffffff * 5,
         2.0 * 0x7fffffff * 0x7fffffff * 0x7fffffff},
    };
    (void) state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct problem p = parse(rows[i].text);
        assert_true(problem_bytes(&p) == rows[i].bytes);
        assert_true(problem_flops(&p) == rows[i].flops);
    }
}

static void types(void **state)
{
    fdec_type t = FDEC_F32;
    (void) state;
    assert_true(type_parse("f16", &t) && t == FDEC_F16 && type_bytes(t, 3) == 6);
    assert_true(type_parse("f32", &t) && t == FDEC_F32 && type_bytes(t, 3) == 12);
    assert_true(type_parse("bf16", &t) && t == FDEC_BF16 && type_bytes(t, 3) == 6 && type_is_float(t));
    assert_true(type_parse("q8_0", &t) && t == FDEC_Q8_0 && type_bytes(t, 64) == 68 && type_block(t) == 32);
    assert_true(type_align(FDEC_F32) == 4 && type_align(FDEC_F16) == 2 && type_align(t) == 2 && !type_is_float(t));
    for (int i = FDEC_Q4_0; i <= FDEC_Q6_K; i++)
        assert_true(type_exists(i) && type_parse(type_name((fdec_type) i), &t) && (int) t == i && type_align(t) == 2);
    assert_true(type_bytes(FDEC_Q4_0, 64) == 36 && type_bytes(FDEC_Q4_1, 64) == 40 && type_bytes(FDEC_Q5_0, 64) == 44 &&
                type_bytes(FDEC_Q5_1, 64) == 48 && type_bytes(FDEC_Q4_K, 512) == 288 &&
                type_bytes(FDEC_Q5_K, 512) == 352 && type_bytes(FDEC_Q6_K, 512) == 420);
    assert_false(type_exists(-1) || type_exists(FDEC_Q6_K + 1));
    assert_false(type_parse("f8", &t));
    assert_false(type_parse("", &t));
    assert_string_equal(type_name(FDEC_F16), "f16");
}

/* ---- configurations ---- */

static const struct kernel three = {.name = "add/three",
                                    .params = {PARAM(WG, 1, 64), PARAM(VEC, 4, 8, 16), PARAM(X, 0)}};
static const struct kernel none = {.name = "add/none"};

static void every_configuration_once(void **state)
{
    int at[MAX_PARAMS], cfg[MAX_PARAMS], n = 0;
    bool seen[65][17] = {{false}};
    (void) state;
    kernel_first(&three, at, cfg);
    do {
        assert_false(seen[cfg[0]][cfg[1]]);
        seen[cfg[0]][cfg[1]] = true;
        n++;
        char text[64];
        int back[MAX_PARAMS] = {-1, -1, -1};
        kernel_print_config(&three, cfg, text, sizeof text);
        assert_true(kernel_parse_config(&three, text, back));
        assert_memory_equal(back, cfg, 3 * sizeof *cfg);
    } while (kernel_next(&three, at, cfg));
    assert_int_equal(n, 6);
    kernel_first(&none, at, cfg);
    assert_false(kernel_next(&none, at, cfg));
    assert_int_equal(kernel_n_params(&none), 0);
}

static void texts_that_are_no_configuration(void **state)
{
    static const char *const texts[] = {
        "",
        "WG=64",
        "WG=64 VEC=8",
        "WG=64 VEC=8 X=0 X=0",
        "WG=64 WG=64 VEC=8 X=0",
        "WG=63 VEC=8 X=0",
        "WG=64 VEC=8 Y=0",
        "WG= VEC=8 X=0",
        "WG VEC=8 X=0",
        "WG=64,VEC=8,X=0",
        "WG=64 VEC=8 X=0x0",
        "WG=+64 VEC=8 X=0",
        "WG=64  VEC=8 X=0",
        "WG=99999999999999999999 VEC=8 X=0",
        "=64 VEC=8 X=0",
        "WG=\t64 VEC=8 X=0",
    };
    int cfg[MAX_PARAMS];
    char text[8] = "old";
    (void) state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (kernel_parse_config(&three, texts[i], cfg))
            fail_msg("\"%s\" is taken for a configuration", texts[i]);
    assert_true(kernel_parse_config(&three, "X=0 VEC=16 WG=1", cfg));
    assert_true(cfg[0] == 1 && cfg[1] == 16 && cfg[2] == 0);
    assert_true(kernel_parse_config(&none, "", cfg));
    assert_false(kernel_parse_config(&none, "X=0", cfg));
    kernel_print_config(&none, cfg, text, sizeof text);
    assert_string_equal(text, "");
}

static void registry_is_sound(void **state)
{
    (void) state;
    assert_non_null(kernels[0]);
    for (int i = 0; kernels[i]; i++) {
        const struct kernel *k = kernels[i];
        const char *op = operations[k->op].name;
        assert_ptr_equal(kernel_find(k->name), k); /* so names are unique */
        assert_int_equal(strncmp(k->name, op, strlen(op)), 0);
        assert_int_equal(k->name[strlen(op)], '/');
        assert_true(k->rev >= 1 && k->family && k->reject && k->expect && k->geometry);
    }
    for (int op = 0; op < OP_COUNT; op++)
        assert_non_null(operations[op].name);
    assert_null(kernel_find("linear/no-such"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_of_every_operation),
        cmocka_unit_test(what_the_text_leaves_out),
        cmocka_unit_test(texts_that_are_no_problem),
        cmocka_unit_test(range_numbers),
        cmocka_unit_test(least_work),
        cmocka_unit_test(types),
        cmocka_unit_test(every_configuration_once),
        cmocka_unit_test(texts_that_are_no_configuration),
        cmocka_unit_test(registry_is_sound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
