/* SPDX-License-Identifier: MIT
 * embed.h - arguments of embed. TABLE_T: what the table's type is on the device (load.h); on the host only the names
 * count */
#ifndef EMBED_H
#define EMBED_H
#include "common.h"

#define EMBED_BUFFERS(X) \
    X(const int, ids)       /* [rows] */ \
    X(const TABLE_T, table) /* [n_rows_table, cols] */ \
    X(float, y)             /* [rows, cols] */
#define EMBED_SCALARS(X) X(i32, rows) X(i32, cols) X(i32, n_rows_table)

#ifndef __OPENCL_VERSION__
enum embed_buffer { EMBED_IDS, EMBED_TABLE, EMBED_Y };
struct embed_scalars { EMBED_SCALARS(SCALAR_MEMBER) };
#endif
#endif
