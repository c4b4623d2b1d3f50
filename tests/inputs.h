/* SPDX-License-Identifier: MIT
 * inputs.h - the host side of a workload: operands from a seed, the reference and its file. No OpenCL call
 *
 * Every value is a hash of (seed, operand, logical index), so that a paged cache holds the same keys as a
 * contiguous one, and a strided one the same as a packed one. Cache tokens that no length reaches, and pages that
 * no table names, are NaN; so is what a bias holds for keys that its row does not see. */
#ifndef INPUTS_H
#define INPUTS_H
#include "ref.h"
#include "workload.h"

enum element { /* all but the last: fdec_type */
    ELEM_F32, ELEM_F16, ELEM_BF16,
    ELEM_Q8_0, ELEM_Q4_0, ELEM_Q4_1, ELEM_Q5_0, ELEM_Q5_1, ELEM_Q4_K, ELEM_Q5_K, ELEM_Q6_K,
    ELEM_I32
};

struct operand {
    size_t n; /* elements; 0: absent */
    enum element type;
    bool output;   /* poisoned before a run; one with values, the state, is an input that is written, too */
    float *f;        /* host copy of any type but ELEM_I32: already rounded to it. NULL for outputs */
    int32_t *i;      /* ELEM_I32 */
    uint8_t *blocks; /* of types that have them: what f was taken from */
};

struct inputs {
    int n;
    struct operand at[MAX_BUFFERS]; /* by enum attn_buffer, linear_buffer, softmax_buffer */
    int64_t n_q, n_slots;           /* attention: rows of q, slots of state */
    int64_t bias_stride[3];         /* of a sequence, a query token, a head */
};
static const float attn_bias_max = 2; /* no bias is above */

/* Sizes and types alone. */
void inputs_shape(const struct workload_spec *spec, struct inputs *in);
fdec_status inputs_make(const struct workload_spec *spec, struct inputs *in); /* shape and values */
void inputs_clear(struct inputs *in);

size_t element_bytes(enum element type, size_t n);
size_t element_align(enum element type);
bool element_is_block(enum element type);
uint16_t half_bits(float x); /* rounded to nearest even */
float half_value(uint16_t bits);
uint16_t bfloat_bits(float x); /* likewise */
float bfloat_value(uint16_t bits);
float element_rounded(enum element type, float x); /* to f32, f16 or bf16 */

struct reference {
    size_t n, n_lse, n_state;              /* elements of the output, lse, state */
    double *out, *bound, *lse, *lse_bound; /* in one piece, in this order */
    double *state, *state_bound;           /* [n_slots, H]; REF_UNTOUCHED where it stays as it was */
    void *map;                             /* not NULL: the file it lies in */
    size_t map_bytes;
};
fdec_status reference_make(const struct workload_spec *spec, const struct inputs *in, struct reference *r);
fdec_status reference_map(const struct workload_spec *spec, const char *path, struct reference *r);
void reference_clear(struct reference *r);

/* Whether lengths and the like differ from sequence to sequence: not where a workload is timed. */
bool inputs_ragged(const struct workload_spec *spec);

/* ---- between inputs.c, inputs_attn.c and inputs_quant.c ---- */

struct stream { /* one operand's numbers */
    uint64_t key;
    enum fill fill;
    enum element type;
};
uint64_t hash_mix(uint64_t z);
struct stream stream_of(const struct workload_spec *spec, int operand, enum element type);
float stream_uniform(const struct stream *s, uint64_t i); /* [-1, 1) */
float stream_value(const struct stream *s, uint64_t i);   /* by the fill, rounded to the type */
/* FILL_SPIKES. Sequences take turns: some keys near 1e4 among the range of OPT-6.7B; that range alone; nothing above
 * -200. */
float spike_score(const struct stream *s, int64_t b, uint64_t key, int64_t t);

/* W of linear in blocks, and f from them. As large as by the other fills; FILL_ENDS: see workload.h. */
void fill_blocks(const struct linear_problem *p, struct operand *w, struct stream s);
void block_read(struct operand *o, int64_t i); /* f of block i */

void operand_add(struct inputs *in, int i, enum element type, int64_t n, bool output);
void shape_attn(const struct workload_spec *spec, struct inputs *in);
fdec_status fill_attn(const struct workload_spec *spec, struct inputs *in);
struct attn_run attn_run_of(const struct workload_spec *spec, const struct inputs *in); /* phi is not set */
int64_t slot_of(const struct inputs *in, int64_t b); /* of state; -1: none */
#endif
