/* SPDX-License-Identifier: MIT
 * probe_matrix.cl - one product of the matrix unit, through the functions that kernels use: out[token, row] = x w^T
 *
 * w [16, 16], x [MMA_N, 16], of 16 bits; MATRIX: the dialect that is asked for, MMA_F16: the type. */
#include "../cl/mma.h"

#define STRIDE 24

__attribute__((reqd_work_group_size(MMA_LANES, 1, 1)))
kernel void matrix(global const ushort *w, global const ushort *x, global float *out)
{
    local uint4 w_tile[MMA_M * STRIDE / 8], x_tile[MMA_N * STRIDE / 8];
    MMA_SCRATCH(scratch_of_wave, 1)
    const int lane = get_local_id(0);
    local float *scratch = MMA_SCRATCH_AT(scratch_of_wave, 0);
    for (int i = lane; i < MMA_M * 2; i += MMA_LANES)
        mma_copy(w_tile + mma_place(i / 2) * (STRIDE / 8) + i % 2, w + i * 8);
    for (int i = lane; i < MMA_N * 2; i += MMA_LANES)
        mma_copy(x_tile + i / 2 * (STRIDE / 8) + i % 2, x + i * 8);
    MMA_COPIES_END();
    MMA_COPIES_WAIT(0);
    barrier(CLK_LOCAL_MEM_FENCE);
    mma_sums sums = 0.0f;
    sums = mma(MMA_F16, mma_load_w((local const ushort *) w_tile, STRIDE, lane, scratch),
               mma_load_x((local const ushort *) x_tile, STRIDE, lane, scratch), sums, lane, scratch);
    for (int i = 0; i < MMA_TOKENS; i++)
        for (int j = 0; j < MMA_ROWS; j++)
            out[(mma_token(lane) + i) * MMA_M + mma_row(lane) + j] = mma_sum(sums, i, j);
}
