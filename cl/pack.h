/* SPDX-License-Identifier: MIT
 * pack.h - the arguments of linear_pack: weights as stored to panels (panel.h) */
#ifndef PACK_H
#define PACK_H
#include "common.h"

#define PACK_BUFFERS(X) \
    X(const W_T, w)  /* [N, K] */ \
    X(const W_T, w2) /* [N2, K]; with GLU [N, K]; optional */ \
    X(const W_T, w3) /* [N3, K]; optional */ \
    X(W_T, packed)

#define PACK_SCALARS(X) X(i32, n) X(i32, n2) X(i32, n3) X(i32, k) X(i32, glu) /* glu 1: gate and up take turns */

#ifndef __OPENCL_VERSION__
enum pack_buffer { PACK_W, PACK_W2, PACK_W3, PACK_PACKED };
struct pack_scalars {
    PACK_SCALARS(SCALAR_MEMBER)
};
struct linear_problem;
_Bool linear_packs(const struct linear_problem *p); /* has panel.h a layout for its type? */
/* Bytes of all weights of p in panels. */
uint64_t linear_packed_bytes(const struct linear_problem *p);
#endif
#endif
