/* SPDX-License-Identifier: MIT
 * small.cl - the operations between attention and linear: rmsnorm, swiglu, add, argmax, sample, attn_merge
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

__attribute__((reqd_work_group_size(WG, 1, 1)))
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
__attribute__((reqd_work_group_size(WG, 1, 1)))
kernel void swiglu(SWIGLU_BUFFERS(BUFFER_PARAM) SWIGLU_SCALARS(SCALAR_PARAM) int unused)
{
    SWIGLU_BUFFERS(BUFFER_BEGIN)
    const struct stretch r = stretch_of_group(n);
    for (size_t i = r.begin; i < r.end; i += STRIDE) {
        const fvec g = load(gate, i, r.end, 0.0f);
        store(g / (1.0f + exp_plain(-g)) * load(up, i, r.end, 0.0f), y, i, r.end);
    }
}

__attribute__((reqd_work_group_size(WG, 1, 1)))
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

__attribute__((reqd_work_group_size(WG, 1, 1)))
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

/* ---- sample: a group per row ------------------------------------------------------------------------------------ */

/* The same id on every device for the same x, u and temperature. Weights are e^((x - max) / T) of exp.h, exactly 1 for
 * the maximum (so +inf wins), 0 for NaN. A row is cut into chunks of 256 = 16 lanes * 16. A chunk's sum adds lane by
 * lane in order, then halves the lanes; chunk sums add up in order; inside the chunk in which the running sum passes
 * u * total, weights add one by one. Rounding can keep that inner walk short of its mark: the chunk's last index of
 * non-zero weight then stands for it. u outside [0, 1) or NaN gives the row's last index of non-zero weight, or 0 in
 * a row of NaN. */
enum { CHUNK = 256, LANES = 16 };

static fvec weights(fvec v, float top, float inv_temperature)
{
    const fvec one = 1.0f, zero = 0.0f;
    const fvec w = v == top ? one : exp_plain((v - top) * inv_temperature);
    return w > zero ? w : zero;
}

static float chunk_sum(global const float *x, size_t begin, size_t cols, float top, float inv_temperature)
{
    fvec sum[LANES / VEC];
    for (int u = 0; u < LANES / VEC; u++)
        sum[u] = 0.0f;
    for (size_t i = begin; i < begin + CHUNK; i += LANES)
        #pragma unroll
        for (int u = 0; u < LANES / VEC; u++)
            sum[u] += weights(load(x, i + u * VEC, cols, NAN), top, inv_temperature);

    float lane[LANES];
    for (int u = 0; u < LANES / VEC; u++)
        VSTORE(sum[u], lane + u * VEC);
    for (int step = LANES / 2; step > 0; step /= 2)
        for (int l = 0; l < step; l++)
            lane[l] += lane[l + step];
    return lane[0];
}

/* Adds chunk sums in order up to the chunk whose sum would pass target; *chunk: its number, or the number of chunks.
 * Every item makes the same additions, so all leave the loop together. */
WITH_LOCAL float sum_chunks(local float *part, global const float *x, size_t cols, float top, float inv_temperature,
                            float target, int *chunk)
{
    const int n = div_up(cols, CHUNK), item = get_local_id(0);
    float sum = 0.0f;
    int c = 0;
    bool passed = false;
    while (c < n && !passed) {
        const int first = c, end = min(n, first + WG);
        barrier(CLK_LOCAL_MEM_FENCE);
        if (first + item < end)
            part[item] = chunk_sum(x, (size_t) (first + item) * CHUNK, cols, top, inv_temperature);
        barrier(CLK_LOCAL_MEM_FENCE);
        while (c < end && !passed) {
            passed = sum + part[c - first] > target;
            if (!passed)
                sum += part[c++ - first];
        }
    }
    *chunk = c;
    return sum;
}

/* First index in [begin, end) at which sum passes target, else the last one of non-zero weight, else 0. */
static int walk(global const float *x, size_t begin, size_t end, float top, float inv_temperature, float sum,
                float target)
{
    int last = 0;
    for (size_t i = begin; i < end; i += VEC) {
        float w[VEC];
        VSTORE(weights(load(x, i, end, NAN), top, inv_temperature), w);
        for (int l = 0; l < VEC; l++) {
            sum += w[l];
            if (w[l] > 0)
                last = i + l;
            if (sum > target)
                return last;
        }
    }
    return last;
}

__attribute__((reqd_work_group_size(WG, 1, 1)))
kernel void sample(SAMPLE_BUFFERS(BUFFER_PARAM) SAMPLE_SCALARS(SCALAR_PARAM) int unused)
{
    SAMPLE_BUFFERS(BUFFER_BEGIN)
    local float part[WG];
    const size_t row = get_group_id(0), n = cols;
    global const float *mine = x + row * n;
    const float top = row_max(part, mine, n);

    int chunk;
    const float total = sum_chunks(part, mine, n, top, inv_temperature, INFINITY, &chunk);
    const float target = u[row] * total;
    const float before = sum_chunks(part, mine, n, top, inv_temperature, target, &chunk);
    if (get_local_id(0) > 0)
        return;
    const size_t begin = (size_t) chunk * CHUNK;
    if (begin < n)
        ids[row] = walk(mine, begin, min(begin + CHUNK, n), top, inv_temperature, before, target);
    else
        ids[row] = walk(mine, 0, n, top, inv_temperature, 0, INFINITY);
}

/* ---- attn_merge: a group per row; every item finds the row's largest LSE and the weights itself ------------------ */

/* Weights are exactly 1 for the largest, so the sum is at least 1, and one part alone comes out as it is. Those under
 * 2^-126 are 0: such a part adds nothing, and a NaN or Inf in it NaN. */
__attribute__((reqd_work_group_size(WG, 1, 1)))
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
