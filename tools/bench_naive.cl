/* bench_naive.cl - attention as three plain kernels, through memory: what a runtime without a fused one does
 * SPDX-License-Identifier: MIT
 *   q, out [B, H, D] f32    k, v [B, T, G, D] of KV_HALF ? f16 : f32    scores [B, H, T] f32
 * naive_scores  one work-item per (b, h, t)        naive_softmax  one work-group per (b, h), in place
 * naive_values  one work-item per (b, h, d)        naive_fill     x[i] = naive_value(seed + i) */
#include "bench_naive.h"

#if KV_HALF
typedef half kv_type;
#define LOAD(p, i)     vload_half(i, p)
#define STORE(x, p, i) vstore_half(x, i, p)
#else
typedef float kv_type;
#define LOAD(p, i)     ((p)[i])
#define STORE(x, p, i) ((p)[i] = (x))
#endif

kernel void naive_fill(global kv_type *x, uint seed)
{
    const size_t i = get_global_id(0);
    STORE(naive_value(seed + (uint) i), x, i);
}

kernel void naive_scores(global const float *q, global const kv_type *k, global float *scores, int n_heads,
                         int n_kv_heads, int d, float scale)
{
    const size_t t = get_global_id(0), n = get_global_size(0), row = get_global_id(1);
    const size_t b = row / n_heads, g = row % n_heads / (n_heads / n_kv_heads);
    global const kv_type *key = k + ((b * n + t) * n_kv_heads + g) * d;
    float sum = 0;
    for (int i = 0; i < d; i++)
        sum += q[row * d + i] * LOAD(key, i);
    scores[row * n + t] = scale * sum;
}

float reduce(local float *part, float x, bool add)
{
    const size_t item = get_local_id(0);
    barrier(CLK_LOCAL_MEM_FENCE);
    part[item] = x;
    for (size_t half_size = get_local_size(0) / 2; half_size > 0; half_size /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < half_size)
            part[item] = add ? part[item] + part[item + half_size] : fmax(part[item], part[item + half_size]);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    return part[0];
}

kernel void naive_softmax(global float *scores, local float *part, ulong n)
{
    const size_t items = get_local_size(0);
    global float *x = scores + get_group_id(0) * n;
    float largest = -INFINITY, sum = 0;
    for (size_t i = get_local_id(0); i < n; i += items)
        largest = fmax(largest, x[i]);
    largest = reduce(part, largest, false);
    for (size_t i = get_local_id(0); i < n; i += items)
        sum += x[i] = exp(x[i] - largest);
    const float inverse = 1 / reduce(part, sum, true);
    for (size_t i = get_local_id(0); i < n; i += items)
        x[i] *= inverse;
}

kernel void naive_values(global const float *scores, global const kv_type *v, global float *out, int n_heads,
                         int n_kv_heads, ulong n)
{
    const size_t d = get_global_size(0), i = get_global_id(0), row = get_global_id(1);
    const size_t b = row / n_heads, g = row % n_heads / (n_heads / n_kv_heads);
    float sum = 0;
    for (size_t t = 0; t < n; t++)
        sum += scores[row * n + t] * LOAD(v, ((b * n + t) * n_kv_heads + g) * d + i);
    out[row * d + i] = sum;
}
