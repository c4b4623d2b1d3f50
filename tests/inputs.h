/* SPDX-License-Identifier: MIT
 * inputs.h - the host side of a workload: operands from a seed, the reference and its file. No OpenCL call
 *
 * Every value is a hash of (seed, operand, logical index), so that a paged cache holds the same keys as a
 * contiguous one, and a strided one the same as a packed one. Cache tokens that no length reaches, and pages that
 * no table names, are NaN. */
#ifndef INPUTS_H
#define INPUTS_H
#include "workload.h"

enum element { ELEM_F32, ELEM_F16, ELEM_I32 };

struct operand {
    size_t n; /* elements; 0: absent */
    enum element type;
    bool output;
    float *f;   /* host copy, NULL for outputs; f16 is kept as float, already rounded */
    int32_t *i; /* ELEM_I32 */
};

struct inputs {
    int n;
    struct operand at[MAX_BUFFERS]; /* by enum attn_buffer, linear_buffer, softmax_buffer */
};

/* Sizes and types alone. */
void inputs_shape(const struct workload_spec *spec, struct inputs *in);
fdec_status inputs_make(const struct workload_spec *spec, struct inputs *in); /* shape and values */
void inputs_clear(struct inputs *in);

size_t element_bytes(enum element type);
uint16_t half_bits(float x); /* rounded to nearest even */
float half_value(uint16_t bits);

struct reference {
    size_t n, n_lse;                         /* elements of the output and of lse */
    double *out, *bound, *lse, *lse_bound;   /* in one piece, in this order */
    void *map;                               /* not NULL: the file it lies in */
    size_t map_bytes;
};
fdec_status reference_make(const struct workload_spec *spec, const struct inputs *in, struct reference *r);
fdec_status reference_map(const struct workload_spec *spec, const char *path, struct reference *r);
void reference_clear(struct reference *r);
#endif
