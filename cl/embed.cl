/* SPDX-License-Identifier: MIT
 * embed.cl - rows of a table, widened to float32:  y[r] = table[ids[r]],  NaN for an id outside the table
 *
 * A group per row; item i takes vectors i, i + WG, ... of the row, and of what is left behind the last whole vector
 * elements i, i + WG, ... Rows of blocks are whole vectors. One program for each type of table: a model has one.
 *
 * TABLE: a type by name, as load.h and quant.h take it.  WG: items of a group.  VEC: floats in a vector, 4, 8 or 16 */
#if !defined(WG) || !defined(VEC) || !defined(TABLE)
#error "embed.cl needs WG, VEC and TABLE"
#endif
#define WIDTH VEC
#include "quant.h"

#define TABLE_T PASTE(T_, TABLE)
#include "embed.h"

#define LOAD PASTE(load_, TABLE)
#define ONE  PASTE(one_, TABLE)
#define one_f32(p)  (*(p))
#define one_f16(p)  vload_half(0, p)
#define one_bf16(p) as_float((uint) *(p) << 16)

__attribute__((reqd_work_group_size(WG, 1, 1)))
kernel void embed(EMBED_BUFFERS(BUFFER_PARAM) EMBED_SCALARS(SCALAR_PARAM) int unused)
{
    EMBED_BUFFERS(BUFFER_BEGIN)
    const int id = ids[get_group_id(0)], item = get_local_id(0), n_vecs = cols / VEC;
    const bool there = id >= 0 && id < n_rows_table;
    global const TABLE_T *row = table + (there ? id * (size_t) UNITS(TABLE, (size_t) cols) : 0);
    global float *out = y + get_group_id(0) * (size_t) cols;

    for (int j = item; j < n_vecs; j += WG)
        store_f32(there ? LOAD(row, j, cols) : (vec) NAN, out, j, cols);
#if PASTE(BLOCK_, TABLE) == 1
    for (int i = n_vecs * VEC + item; i < cols; i += WG)
        out[i] = there ? ONE(row + i) : NAN;
#endif
}
