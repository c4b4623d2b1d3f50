/* SPDX-License-Identifier: MIT
 * probe.cl - small kernels that find out what a device can do
 *
 *   facts       answers of the compiler, and a round trip through 16-bit floats
 *   stream_vec  sums n float16, each work-item a contiguous run of its own: how a CPU wants it
 *   stream_wg   sums the same in groups of 64 neighbouring items with a tree and barriers: how a GPU wants it
 * Which of the two streams is faster, by a wide margin, makes a device cpu_like or not. */

kernel void facts(global int *out, global const float *in, global half *halves)
{
    out[0] = 1; /* ran at all */
#ifdef POCL_DEVICE_ADDRESS_BITS
    out[1] = 1; /* __builtin_prefetch is known to compile there; elsewhere asking can kill the compiler */
#else
    out[1] = 0;
#endif
    int exact = 1;
    for (int i = 0; i < 16; i++) {
        vstore_half_rte(in[i], i, halves);
        exact &= vload_half(i, halves) == in[i];
    }
    const float8 wide = vload_half8(1, halves), want = vload8(1, in);
    out[2] = exact && all(wide == want);
}

__attribute__((reqd_work_group_size(1, 1, 1)))
kernel void stream_vec(global const float *x, global float *sums, int n)
{
    const int chunk = n / (int) get_num_groups(0);
    const size_t first = (size_t) get_group_id(0) * chunk;
    float16 a = 0, b = 0;
    for (int i = 0; i < chunk; i += 2) {
        a += vload16(first + i, x);
        b += vload16(first + i + 1, x);
    }
    a += b;
    const float8 c = a.lo + a.hi;
    const float4 d = c.lo + c.hi;
    sums[get_group_id(0)] = d.x + d.y + d.z + d.w;
}

__attribute__((reqd_work_group_size(64, 1, 1)))
kernel void stream_wg(global const float *x, global float *sums, int n)
{
    local float part[64];
    const int item = get_local_id(0), chunk = n / (int) get_num_groups(0) * 16;
    const size_t first = (size_t) get_group_id(0) * chunk;
    float sum = 0;
    for (int i = item; i < chunk; i += 64)
        sum += x[first + i];
    part[item] = sum;
    for (int half_wg = 32; half_wg > 0; half_wg /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < half_wg)
            part[item] += part[item + half_wg];
    }
    if (item == 0)
        sums[get_group_id(0)] = part[0];
}
