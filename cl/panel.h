/* SPDX-License-Identifier: MIT
 * panel.h - weights in panels of 16 rows, column after column: what fdec_linear_pack_run writes and linear_panel.cl
 * reads
 *
 *   f32, f16, bf16   | column 0: 16 rows | column 1: 16 rows | ... K columns
 *   q8_0             blocks of 32 columns:  | d f16 [16] | q i8 [32][16] |
 *   q4_0             blocks of 32 columns:  | d f16 [16] | u8 [16][16]: column c in the low, c + 16 in the high half |
 *
 * Panels of w come first, then those of w2, of w3; with GLU panels of gate and up take turns. Each weight begins a
 * panel of its own; rows past its end are 0. */
#ifndef PANEL_H
#define PANEL_H

#define PANEL_ROWS     16
#define PANELS_OF(n)   (((n) + PANEL_ROWS - 1) / PANEL_ROWS)
#define PANEL_UNITS_f32(k)  ((k) * PANEL_ROWS) /* of a panel, in T_f32 and so on of load.h */
#define PANEL_UNITS_f16(k)  ((k) * PANEL_ROWS)
#define PANEL_UNITS_bf16(k) ((k) * PANEL_ROWS)
#define PANEL_UNITS_q8_0(k) ((k) / 32 * 544)
#define PANEL_UNITS_q4_0(k) ((k) / 32 * 288)
#endif
