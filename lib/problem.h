/* SPDX-License-Identifier: MIT
 * problem.h - what is to be computed
 *
 * A problem is one call's shape: the key of everything. It has a class (what must match exactly: types, head_dim,
 * [N, K]) and a range, two numbers that vary from run to run (attention: batch x kv length; linear: M; softmax:
 * rows). */
#ifndef PROBLEM_H
#define PROBLEM_H
#include "flashdec.h"
#include <stdbool.h>
#include <stdio.h>

enum op {
    OP_ATTN, OP_LINEAR, OP_SOFTMAX,
    OP_RMSNORM, OP_ROPE_APPEND, OP_SWIGLU, OP_ADD, OP_EMBED, OP_ARGMAX, OP_SAMPLE, OP_ATTN_MERGE,
    OP_LINEAR_PACK,
    OP_COUNT
};

struct attn_problem {
    int64_t batch, len; /* range: B, and the longest sequence */
    int q_len;          /* query tokens of a sequence, at most */
    int n_heads, n_kv_heads, head_dim, v_head_dim;
    fdec_type q_type, out_type;
    float scale;         /* never 0 here */
    float softcap;       /* 0: none */
    int64_t window;      /* 0: none */
    bool causal, invariant;
    fdec_kv_layout kv;   /* every default filled in */
    fdec_phi_source phi_source;
    float phi;
};
struct linear_problem {
    int64_t m; /* range */
    int64_t n, k;   /* columns of all outputs together */
    int64_t n2, n3; /* of them, those of the second and third; 0: there is none */
    fdec_type w_type, x_type, y_type;
    uint32_t glu, w_layout; /* fdec_glu: not none, W has 2n rows; fdec_w_layout */
    bool norm, invariant, stats;
    float eps, scale, softcap; /* scale never 0 here; softcap 0: none */
};
struct softmax_problem {
    int64_t rows; /* range */
    int64_t cols;
};
struct append_problem {
    int64_t rows; /* range: tokens of a run */
    int n_heads, n_kv_heads, head_dim, v_head_dim, rope_begin, rope_dim;
    bool neox;
    fdec_type act_type;
    int64_t batch, len; /* sequences, and the longest */
    fdec_kv_layout kv;  /* every default filled in */
};
struct small_problem { /* the small operations: sizes are arguments of a run, only types choose the kernel */
    int64_t rows, cols;
    fdec_type type; /* of the table (embed) */
};

struct problem {
    enum op op;
    union {
        struct attn_problem attn;
        struct linear_problem linear;
        struct softmax_problem softmax;
        struct append_problem append;
        struct small_problem small;
    };
};

enum { PROBLEM_TEXT = 160, N_RANGES = 2 };

/* "attn:f16 b=1 h=32/8 d=128 n=4096", "attn:f16/q8_0 b=1 h=32/8 d=192/128 q=8 n=4096 page=16 window=1024 act=bf16/f32",
 * "linear:q4_0 m=8 n=4096 k=4096 act=f16/f32 glu=silu w=packed", "softmax:f32 rows=1 cols=32000",
 * "rmsnorm:f32 rows=1 cols=4096", "rope_append:f16/q8_0 rows=1 h=32/8 d=192/128 act=bf16". The pairs are K and V,
 * head_dim and v_head_dim, q and out, x and y, one number or type where both are the same. Scale, softcap, mask,
 * strides, phi, pool sizes, what turns, norm and how n is divided among weights are not part of the text: they do not
 * change what is fastest. */
void problem_print(const struct problem *p, char buf[PROBLEM_TEXT]);

/* The reverse, for tuner, benchmark and tests. What the text does not say gets its default (range numbers 1,
 * contiguous or identity-paged packed layout, scale 1/sqrt(head_dim), phi 0), so a class is the text of its
 * smallest problem. False, with a reason in err: text is no problem. */
bool problem_parse(const char *text, struct problem *p, char *err, size_t n_err);

/* The class alone: the text without the range: "attn:f16 h=32/8 d=128", "linear:f16 n=4096 k=4096". */
void problem_class(const struct problem *p, char buf[PROBLEM_TEXT]);

/* The two range numbers; the second is 1 where an operation has only one. set: the same problem at another point. */
void problem_range(const struct problem *p, int64_t at[N_RANGES]);
void problem_set_range(struct problem *p, const int64_t at[N_RANGES]);
/* Tables speak of attention, linear and softmax; of the other operations there is one kernel each. */
bool op_is_tuned(enum op op);

/* Their names, as in the text: {"b", "n"}, {"m", NULL}, {"rows", NULL}. */
const char *const *problem_range_names(enum op op);

/* True where every run takes the kernel chosen for the one point `at`, whatever its own range: batch-invariant
 * attention and linear. */
bool problem_pinned(const struct problem *p, int64_t at[N_RANGES]);

int64_t linear_rows(const struct linear_problem *l);             /* of all weights together */
int64_t linear_part_rows(const struct linear_problem *l, int i); /* of weight i of three; 0: there is none */
/* y = x W^T + bias + residual of one weight, x and y f32: what other libraries compute, too. */
bool linear_is_plain(const struct linear_problem *l);
double problem_bytes(const struct problem *p); /* the least traffic: every operand once */
double problem_flops(const struct problem *p); /* multiply and add count as two */

bool type_exists(int t);                      /* of a caller's number */
size_t type_block(fdec_type t);               /* elements in a block: 1, 32 or 256 */
uint64_t type_bytes(fdec_type t, uint64_t n); /* of n elements, whole blocks */
uint64_t kv_row_bytes(const fdec_kv_layout *kv, int head_dim, int v_head_dim); /* of a key and its value, of one head */
size_t type_align(fdec_type t);               /* what a buffer offset must be a multiple of */
bool type_has_f16(fdec_type t);               /* elements, or the scales of blocks, are f16 */
bool type_is_float(fdec_type t);              /* f32, f16, bf16: what activations may be */
bool type_is_16_bit(fdec_type t);             /* f16, bf16 */
const char *type_name(fdec_type t);           /* "f32" */
bool type_parse(const char *text, fdec_type *t);
#endif
