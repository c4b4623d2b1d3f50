/* SPDX-License-Identifier: MIT
 * pack.cl - weights as they lie in a model file to panels of 16 rows (panel.h), bit for bit
 *
 * One work-item per panel, read row by row 32 columns at a time, so that what is written stays in the cache until it is
 * whole. Once per model: no tuned parameter. */
#include "pack.h"
#include "panel.h"
#include "place.h"

#define W_f32  uint /* as bits */
#define W_f16  ushort
#define W_bf16 ushort
#define W_q8_0 uchar
#define W_q4_0 uchar
#define W_T    PASTE(W_, W_TYPE)

struct source {
    global const W_T *w;
    int rows, row; /* of the weight; the panel's first */
};

/* Elements: 32 columns from c0 on, of k. */
static void pack_elements(const struct source *s, size_t c0, size_t k, global W_T *panel)
{
    const size_t end = min(c0 + 32, k);
    for (int r = 0; r < PANEL_ROWS; r++)
        for (size_t c = c0; c < end; c++)
            panel[c * PANEL_ROWS + r] = s->row + r < s->rows ? s->w[(s->row + r) * k + c] : (W_T) 0;
}

/* One block of 16 rows: scales, then quants, column by column; a q4_0 byte keeps both of its columns. */
static void pack_block(const struct source *s, size_t block, size_t k, int bytes, global uchar *panel)
{
    global uchar *to = (global uchar *) panel + block * (bytes * PANEL_ROWS);
    for (int r = 0; r < PANEL_ROWS; r++) {
        const bool there = s->row + r < s->rows;
        global const uchar *from =
            (global const uchar *) s->w + ((size_t) (there ? s->row + r : 0) * (k / 32) + block) * bytes;
        for (int i = 0; i < bytes; i++)
            to[i < 2 ? 2 * r + i : 2 * PANEL_ROWS + (i - 2) * PANEL_ROWS + r] = there ? from[i] : 0;
    }
}

kernel void linear_pack(PACK_BUFFERS(BUFFER_PARAM) PACK_SCALARS(SCALAR_PARAM) int unused)
{
    PACK_BUFFERS(BUFFER_BEGIN)
    const int panel = get_global_id(0);
    const struct place p = place_in(panel, PANELS_OF(n), PANELS_OF(n2), glu);
    const struct source s = {p.part == 0 ? w : p.part == 1 ? w2 : w3, glu || p.part == 0 ? n : p.part == 1 ? n2 : n3,
                             p.row * PANEL_ROWS};
    global W_T *to = packed + (size_t) panel * PASTE(PANEL_UNITS_, W_TYPE)((size_t) k);
    for (int c0 = 0; c0 < k; c0 += 32) {
        if (BLOCK_BYTES)
            pack_block(&s, c0 / 32, k, BLOCK_BYTES, (global uchar *) to);
        else
            pack_elements(&s, c0, k, to);
    }
}
