/* SPDX-License-Identifier: MIT
 * lanes.h - a vector of WIDTH scores of ROWS rows: lane r*KEYS + i is row r and key i
 *
 * WIDTH 8 or 16; ROWS 1, 2 or 4; KEYS is WIDTH / ROWS. */
#ifndef LANES_H
#define LANES_H

/* Sixteen lanes of x, 0 to 15, and y, 16 to 31. Of a literal of their parts compilers make a dozen instructions. */
#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define PICK __builtin_shufflevector
#endif
#endif
#ifndef PICK
#define PICK(x, y, ...) shuffle2(x, y, (uint16) (__VA_ARGS__))
#endif

/* Lane i: the sum of the lanes of a[i]. Halves of vectors that lie near each other first: cheap shuffles. */
INLINE vec fold(vec *a)
{
#if WIDTH == 16
    #pragma unroll
    for (int i = 0; i < 8; i++)
        a[i] = PICK(a[2 * i], a[2 * i + 1], 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
               PICK(a[2 * i], a[2 * i + 1], 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
    #pragma unroll
    for (int i = 0; i < 4; i++)
        a[i] = PICK(a[2 * i], a[2 * i + 1], 0, 2, 16, 18, 4, 6, 20, 22, 8, 10, 24, 26, 12, 14, 28, 30) +
               PICK(a[2 * i], a[2 * i + 1], 1, 3, 17, 19, 5, 7, 21, 23, 9, 11, 25, 27, 13, 15, 29, 31);
    #pragma unroll
    for (int i = 0; i < 2; i++)
        a[i] = PICK(a[2 * i], a[2 * i + 1], 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
               PICK(a[2 * i], a[2 * i + 1], 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
    return PICK(a[0], a[1], 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
           PICK(a[0], a[1], 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
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
