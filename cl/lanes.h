/* SPDX-License-Identifier: MIT
 * lanes.h - a vector of WIDTH scores of ROWS rows: lane r*KEYS + i is row r and key i
 *
 * WIDTH 8 or 16; ROWS 1, 2 or 4; KEYS is WIDTH / ROWS. */
#ifndef LANES_H
#define LANES_H

/* Lane i: the sum of the lanes of a[i]. Halves of vectors that lie near each other first: cheap shuffles. */
INLINE vec fold(vec *a)
{
#if WIDTH == 16
    #pragma unroll
    for (int i = 0; i < 8; i++) {
        const vec x = a[2 * i], y = a[2 * i + 1];
        a[i] = (vec) (x.s01, y.s01, x.s45, y.s45, x.s89, y.s89, x.scd, y.scd) +
               (vec) (x.s23, y.s23, x.s67, y.s67, x.sab, y.sab, x.sef, y.sef);
    }
    #pragma unroll
    for (int i = 0; i < 4; i++) {
        const vec x = a[2 * i], y = a[2 * i + 1];
        a[i] = (vec) (x.s02, y.s02, x.s46, y.s46, x.s8a, y.s8a, x.sce, y.sce) +
               (vec) (x.s13, y.s13, x.s57, y.s57, x.s9b, y.s9b, x.sdf, y.sdf);
    }
    #pragma unroll
    for (int i = 0; i < 2; i++)
        a[i] = (vec) (a[2 * i].lo, a[2 * i + 1].lo) + (vec) (a[2 * i].hi, a[2 * i + 1].hi);
    const vec x = a[0], y = a[1];
    return (vec) (x.s0123, x.s89ab, y.s0123, y.s89ab) + (vec) (x.s4567, x.scdef, y.s4567, y.scdef);
#else
    #pragma unroll
    for (int i = 0; i < 4; i++) {
        const vec x = a[2 * i], y = a[2 * i + 1];
        a[i] = (vec) (x.s01, y.s01, x.s45, y.s45) + (vec) (x.s23, y.s23, x.s67, y.s67);
    }
    #pragma unroll
    for (int i = 0; i < 2; i++) {
        const vec x = a[2 * i], y = a[2 * i + 1];
        a[i] = (vec) (x.s02, y.s02, x.s46, y.s46) + (vec) (x.s13, y.s13, x.s57, y.s57);
    }
    return (vec) (a[0].lo, a[1].lo) + (vec) (a[0].hi, a[1].hi);
#endif
}

/* Every lane: the largest among the lanes of its row. NaN: any lane's, the sums are NaN anyway. */
INLINE vec row_most(vec x)
{
    vec y = x;
#if WIDTH == 16
#if KEYS > 1
    y = x.s1032547698badcfe, x = y > x ? y : x;
#endif
#if KEYS > 2
    y = x.s23016745ab89efcd, x = y > x ? y : x;
#endif
#if KEYS > 4
    y = x.s45670123cdef89ab, x = y > x ? y : x;
#endif
#if KEYS > 8
    y = x.s89abcdef01234567, x = y > x ? y : x;
#endif
#else
#if KEYS > 1
    y = x.s10325476, x = y > x ? y : x;
#endif
#if KEYS > 2
    y = x.s23016745, x = y > x ? y : x;
#endif
#if KEYS > 4
    y = x.s45670123, x = y > x ? y : x;
#endif
#endif
    return x;
}

#if WIDTH == 16
#define LANE_INDEX ((ivec) (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))
#define STORE_INTS vstore16
#else
#define LANE_INDEX ((ivec) (0, 1, 2, 3, 4, 5, 6, 7))
#define STORE_INTS vstore8
#endif
#define LANE_KEY (LANE_INDEX & (KEYS - 1))
#endif
