/* SPDX-License-Identifier: MIT
 * probe_shuffle.cl - do the items of a wave find one another's values? */
#include "../cl/shuffle.h"

__attribute__((reqd_work_group_size(64, 1, 1))) IN_STEP
kernel void probe_shuffle(global float *out)
{
    const int item = get_local_id(0);
    const float mine = (float) (item * item + 1);
    out[item] = LANE_XOR(mine, 1);
    out[64 + item] = LANE_XOR(mine, 16);
    out[128 + item] = wave_sum(mine);
    out[192 + item] = wave_max(-mine);
}
