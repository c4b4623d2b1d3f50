/* SPDX-License-Identifier: MIT
 * small.cl - the operations between attention and linear: rmsnorm, swiglu, add, argmax, attn_merge
 *
 * One program for all, because a build costs more than a thousand of their launches. Formulas and shapes: flashdec.h
 * and small.h. Sums are trees of fixed shape (row.h), so a run repeats bit for bit; nothing is contracted.
 * WG, VEC: row.h. Local memory: 4*WG bytes. */
#if !defined(WG) || !defined(VEC)
#error "small.cl needs WG and VEC"
#endif
#include "small.h"
#include "row.h"

/* ---- rmsnorm: a group per row; x is read twice, the second time from cache --------------------------------------- */

__attribute__((reqd_work_group_size(WG, 1, 1))) IN_STEP
kernel void rmsnorm(RMSNORM_BUFFERS(BUFFER_PARAM) RMSNORM_SCALARS(SCALAR_PARAM) int unused)
{
    RMSNORM_BUFFERS(BUFFER_BEGIN)
    local float part[WG];
    const size_t begin = get_local_id(0) * VEC, at = get_group_id(0) * (size_t) cols;

    fvec sum = 0.0f;
    for (size_t i = begin; i < cols; i += STRIDE) {
        const fvec v = load(x + at, i, cols, 0.0f);
        sum = fma(v, v, sum);
    }
    const float scale = 1.0f / sqrt(group_sum(part, lanes_sum(sum)) / cols + eps);
    for (size_t i = begin; i < cols; i += STRIDE)
        store(load(x + at, i, cols, 0.0f) * scale * load(w, i, cols, 0.0f), y + at, i, cols);
}

/* ---- swiglu, add: each group a stretch of the n elements --------------------------------------------------------- */

struct stretch {
    size_t begin, end;
};

static struct stretch stretch_of_group(size_t n)
{
    const size_t width = div_up(div_up(n, get_num_groups(0)), STRIDE) * STRIDE;
    struct stretch r;
    r.begin = get_group_id(0) * width + get_local_id(0) * VEC;
    r.end = min((get_group_id(0) + 1) * width, n);
    return r;
}

/* e^-gate is inf from gate = -88.4: y is then -0 where the formula has less than 4e-37 * up. */
__attribute__((reqd_work_group_size(WG, 1, 1))) IN_STEP
kernel void swiglu(SWIGLU_BUFFERS(BUFFER_PARAM) SWIGLU_SCALARS(SCALAR_PARAM) int unused)
{
    SWIGLU_BUFFERS(BUFFER_BEGIN)
    const struct stretch r = stretch_of_group(n);
    for (size_t i = r.begin; i < r.end; i += STRIDE) {
        const fvec g = load(gate, i, r.end, 0.0f);
        store(g / (1.0f + exp_plain(-g)) * load(up, i, r.end, 0.0f), y, i, r.end);
    }
}

__attribute__((reqd_work_group_size(WG, 1, 1))) IN_STEP
kernel void add(ADD_BUFFERS(BUFFER_PARAM) ADD_SCALARS(SCALAR_PARAM) int unused)
{
    ADD_BUFFERS(BUFFER_BEGIN)
    const struct stretch r = stretch_of_group(n);
    for (size_t i = r.begin; i < r.end; i += STRIDE)
        store(load(a, i, r.end, 0.0f) + load(b, i, r.end, 0.0f), y, i, r.end);
}

/* ---- argmax: a group per row; the largest value, then the first place that has it -------------------------------- */

/* -inf for a row of nothing but NaN: x > top is false for NaN. */
WITH_LOCAL float row_max(local float *part, global const float *x, size_t cols)
{
    fvec top[4] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
    for (size_t i = get_local_id(0) * VEC; i < cols; i += 4 * STRIDE)
        #pragma unroll
        for (int u = 0; u < 4; u++) {
            const fvec v = load(x, i + u * STRIDE, cols, -INFINITY);
            top[u] = v > top[u] ? v : top[u];
        }
    const fvec low = top[0] > top[1] ? top[0] : top[1], high = top[2] > top[3] ? top[2] : top[3];
    return group_max(part, lanes_max(low > high ? low : high));
}

constant int lane_index[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

__attribute__((reqd_work_group_size(WG, 1, 1))) IN_STEP
kernel void argmax(ARGMAX_BUFFERS(BUFFER_PARAM) ARGMAX_SCALARS(SCALAR_PARAM) int unused)
{
    ARGMAX_BUFFERS(BUFFER_BEGIN)
    local float part[WG];
    local int lowest;
    const size_t row = get_group_id(0), at = row * cols;
    const float top = row_max(part, x + at, cols);

    const ivec none = INT_MAX;
    ivec first = none;
    for (size_t i = get_local_id(0) * VEC; i < cols; i += STRIDE)
        first = min(first, load(x + at, i, cols, NAN) == top ? VLOAD(lane_index) + (int) i : none);

    if (get_local_id(0) == 0)
        lowest = INT_MAX;
    barrier(CLK_LOCAL_MEM_FENCE);
    int lane[VEC];
    VSTORE(first, lane);
    for (int l = 0; l < VEC; l++)
        if (lane[l] < INT_MAX)
            atomic_min(&lowest, lane[l]);
    barrier(CLK_LOCAL_MEM_FENCE);
    if (get_local_id(0) == 0)
        ids[row] = lowest < INT_MAX ? lowest : 0;
}

/* ---- attn_merge: a group per row; every item finds the row's largest LSE and the weights itself ------------------ */

/* Weights are exactly 1 for the largest, so the sum is at least 1, and one part alone comes out as it is. Those under
 * 2^-126 are 0: such a part adds nothing, and a NaN or Inf in it NaN. */
__attribute__((reqd_work_group_size(WG, 1, 1))) IN_STEP
kernel void attn_merge(MERGE_BUFFERS(BUFFER_PARAM) MERGE_SCALARS(SCALAR_PARAM) int unused)
{
    MERGE_BUFFERS(BUFFER_BEGIN)
    const size_t row = get_group_id(0), size = (size_t) rows * dim;
    float top = -INFINITY;
    for (size_t p = 0; p < n_parts; p++) {
        const float l = lse_in[p * rows + row];
        top = l > top ? l : top; /* NaN loses here, and shows in the sum of the weights */
    }
    fvec total = 0.0f;
    for (size_t p = 0; p < n_parts; p++) {
        const float l = lse_in[p * rows + row];
        if (l != -INFINITY)
            total += exp_plain((fvec) (l - top));
    }
    const fvec none = total == 0.0f ? (fvec) 1.0f : total;
    for (size_t i = get_local_id(0) * VEC; i < dim; i += STRIDE) {
        fvec sum = 0.0f;
        for (size_t p = 0; p < n_parts; p++) {
            const float l = lse_in[p * rows + row];
            if (l != -INFINITY)
                sum = fma(exp_plain((fvec) (l - top)), load(part + p * size + row * dim, i, dim, 0.0f), sum);
        }
        store(sum / none, out + row * dim, i, dim);
    }
    if (!HAS(lse))
        return;
    barrier(CLK_GLOBAL_MEM_FENCE); /* lse may lie on lse_in */
    if (get_local_id(0) == 0) {
        float lane[VEC];
        VSTORE(total, lane);
        lse[row] = top + log(lane[0]);
    }
}
