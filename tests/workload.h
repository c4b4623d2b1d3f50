/* SPDX-License-Identifier: MIT
 * workload.h - a problem made concrete: seeded inputs, device buffers, the double reference, the comparison
 *
 * Used by the tests, the tuner's worker and flashdec-bench, so that what is timed is what was checked, through the
 * public run functions. Outputs are poisoned before each checked run and stand between guard bands; offsets are
 * deliberately odd multiples of the element size. */
#ifndef WORKLOAD_H
#define WORKLOAD_H
#include "plan.h"

struct workload;

enum fill {
    FILL_UNIFORM,  /* [-1, 1) */
    FILL_OUTLIERS, /* the same, every 97th 50 times as large */
    FILL_SPIKES,   /* attention scores in -500..400, some spikes of 1e4 */
    FILL_EQUAL,    /* all equal */
    FILL_NAN,      /* uniform with one NaN, one +Inf and one -Inf in different rows or sequences */
    FILL_WILD,     /* attention, uniform: lengths and query ranges out of range, page numbers outside the pool */
    FILL_LEVEL,    /* attention: all keys equal, values uniform */
    FILL_FUTURE,   /* attention: NaN in each sequence's last token, in K of the last sequence, in V of the others */
    FILL_ENDS      /* linear, uniform: blocks of W have all they hold at one end or the other */
};

enum bias_kind {
    BIAS_NONE,
    BIAS_KEY,  /* [B, T], some -inf */
    BIAS_FULL, /* [B, Q, H, T], some -inf */
    BIAS_TREE  /* [B, Q, T]: of the last Q tokens a query sees only its ancestors in a tree */
};

/* Optional operands of attention that are in use. Shifts make phi wrong: they are added to args.phi and to what the
 * state holds. */
struct attn_with {
    bool q_starts, q_pos, alibi, sinks, phi, bounds, state, slots;
    enum bias_kind bias;
    float phi_shift, state_shift;
    const int32_t *lens;    /* [B] instead of lengths from the seed; host memory that outlives workload_create */
    int64_t first_sequence; /* sequence b has the content of first_sequence + b elsewhere */
    uint64_t page_seed;     /* another order of pages */
};

struct workload_spec {
    struct problem problem;
    enum fill fill;
    uint64_t seed;
    int n_sets;           /* operand sets that timing rotates through, >= 1; set 0 is the one that is checked */
    bool timed;           /* as in real use: operands start where their buffer does, all sequences of full length */
    bool reference;       /* false: timing only, nothing can be checked */
    const char *reference_file; /* not NULL: the reference is mapped read-only from this file; it must fit the spec */
    bool bias, residual, lse;   /* optional arguments in use; bias is linear's */
    bool in_place;              /* out is q; y is residual (which must be in use); y is x */
    struct attn_with with;
};

fdec_status workload_create(fdec_ctx *ctx, cl_command_queue queue, const struct workload_spec *spec,
                            struct workload **out);
void workload_destroy(struct workload **w);

/* The reference of a spec, without OpenCL (the tuner's parent may call it), into a file for spec.reference_file. */
fdec_status workload_write_reference(const struct workload_spec *spec, const char *path);

/* Linear: from now on runs and checks take the first m rows of x and y alone; the others of y must stay as they were.
 * So one workload serves a plan for every M up to its problem's, operands and reference being made once. */
void workload_take_rows(struct workload *w, int64_t m);
/* Where operand i (enum linear_buffer and the like) of a set lies; no mem: it is absent. For other libraries' runs. */
/* Linear: what args.w is, where there is one weight: operand LINEAR_W, or its panels. */
fdec_buffer workload_weights(const struct workload *w, int set);
fdec_buffer workload_operand(const struct workload *w, int set, int i);

/* Poisons the outputs (and guard bands) of set 0. Blocking. */
fdec_status workload_poison(struct workload *w);
/* Enqueues one run of the plan on operand set `set`. The workspace is the workload's, sized for the plan. */
fdec_status workload_run(struct workload *w, fdec_plan *plan, int set, cl_event *event);
/* Reads set 0's outputs back and compares. *ratio: worst error over its bound. False: wrong, with the worst
 * element, both values and the reason in text. */
bool workload_check(struct workload *w, double *ratio, char *text, size_t n);
/* Hash of the outputs as the last workload_check read them: the same twice where a kernel repeats bit for bit. */
uint64_t workload_hash(const struct workload *w);
/* The same of one sequence's rows of out and lse alone. */
uint64_t workload_hash_sequence(const struct workload *w, int64_t b);
/* Bytes of one operand set on the device: what rotating must exceed the cache with. */
size_t workload_set_bytes(const struct workload_spec *spec);
#endif
