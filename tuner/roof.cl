/* roof.cl - what a device can do at best: read memory, multiply and add, launch. SPDX-License-Identifier: MIT
 *
 * read_chunks, fma_wide    one work-item to a group, float16 vectors, a contiguous chunk each: what CPUs are fast at
 * read_strided, fma_many   neighbouring work-items read neighbouring float4, thousands of them: what GPUs are fast at
 * The host times both kinds once and goes on with the faster one. Eight sums (four on GPUs, where other work-items hide
 * latency) are independent, so that loads and multiplications overlap; sink keeps them from being optimised away.
 *   x [n] float16 (or 4 n float4), passed over `passes` times; n a multiple of 8 * groups and of 4/4 * work-items
 *   sink f32, one per work-item */

kernel void read_chunks(global const float16 *x, global float *sink, ulong n, uint passes)
{
    const size_t chunk = n / get_num_groups(0);
    x += get_group_id(0) * chunk;
    float16 s0 = 0, s1 = 0, s2 = 0, s3 = 0, s4 = 0, s5 = 0, s6 = 0, s7 = 0;
    for (uint pass = 0; pass < passes; pass++)
        for (size_t i = 0; i < chunk; i += 8) {
            s0 += x[i];
            s1 += x[i + 1];
            s2 += x[i + 2];
            s3 += x[i + 3];
            s4 += x[i + 4];
            s5 += x[i + 5];
            s6 += x[i + 6];
            s7 += x[i + 7];
        }
    const float16 s = (s0 + s1) + (s2 + s3) + (s4 + s5) + (s6 + s7);
    const float8 t = s.lo + s.hi;
    const float4 u = t.lo + t.hi;
    sink[get_global_id(0)] = u.x + u.y + u.z + u.w;
}

kernel void read_strided(global const float4 *x, global float *sink, ulong n, uint passes)
{
    const size_t items = get_global_size(0);
    float4 s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    for (uint pass = 0; pass < passes; pass++)
        for (size_t i = get_global_id(0); i < 4 * n; i += 4 * items) {
            s0 += x[i];
            s1 += x[i + items];
            s2 += x[i + 2 * items];
            s3 += x[i + 3 * items];
        }
    const float4 s = (s0 + s1) + (s2 + s3);
    sink[get_global_id(0)] = s.x + s.y + s.z + s.w;
}

kernel void fma_wide(global float *sink, uint n, float factor, float term)
{
    float16 a[12];
    #pragma unroll
    for (int j = 0; j < 12; j++)
        a[j] = (float) j;
    for (uint i = 0; i < n; i++) {
        #pragma unroll
        for (int j = 0; j < 12; j++)
            a[j] = mad(a[j], factor, term);
    }
    float16 s = 0;
    #pragma unroll
    for (int j = 0; j < 12; j++)
        s += a[j];
    const float8 t = s.lo + s.hi;
    const float4 u = t.lo + t.hi;
    sink[get_global_id(0)] = u.x + u.y + u.z + u.w;
}

kernel void fma_many(global float *sink, uint n, float factor, float term)
{
    float4 a0 = 0, a1 = 1, a2 = 2, a3 = 3;
    for (uint i = 0; i < n; i++) {
        a0 = mad(a0, factor, term);
        a1 = mad(a1, factor, term);
        a2 = mad(a2, factor, term);
        a3 = mad(a3, factor, term);
    }
    const float4 s = (a0 + a1) + (a2 + a3);
    sink[get_global_id(0)] = s.x + s.y + s.z + s.w;
}

kernel void nothing(global float *sink)
{
}
