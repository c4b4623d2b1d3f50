/* SPDX-License-Identifier: MIT
 * place.h - one numbering for the rows, or the panels, of up to three weights
 *
 * Those of w, then those of w2, of w3; in pairs (GLU), one of w and one of w2 take turns. */
#ifndef PLACE_H
#define PLACE_H
#include "common.h"

struct place {
    int part, row; /* 0 w, 1 w2, 2 w3; its row, or panel */
};

/* Number i, where w has n of them and w2 has n2. */
INLINE struct place place_in(int i, int n, int n2, bool pairs)
{
    const int in_2 = i - n, in_3 = in_2 - n2;
    if (pairs)
        return (struct place){i & 1, i >> 1};
    return in_2 < 0 ? (struct place){0, i} : in_3 < 0 ? (struct place){1, in_2} : (struct place){2, in_3};
}
#endif
