/* SPDX-License-Identifier: MIT
 * bench_naive.h - the inputs of the naive peers, the same on host and device */
#ifndef BENCH_NAIVE_H
#define BENCH_NAIVE_H

/* Pseudo-random multiples of 1/1024 in [-1, 1): exact in f16 too. */
static float naive_value(unsigned i)
{
    i = (i ^ (i >> 16)) * 0x7feb352du;
    i = (i ^ (i >> 15)) * 0x846ca68bu;
    return (float) ((int) ((i ^ (i >> 16)) >> 21) - 1024) / 1024.0f;
}
#endif
