/* SPDX-License-Identifier: MIT
 * prefetch.h - asking for lines of memory before they are needed, where the device's compiler can (HAVE_PREFETCH)
 *
 * Into the second cache: in the first they would fill the queue of misses, and every load behind them would wait. */
#ifndef PREFETCH_H
#define PREFETCH_H
#include "common.h"

/* The line of 64 bytes that holds the address. */
INLINE void ask_line(size_t address)
{
#if HAVE_PREFETCH
    __builtin_prefetch((const void *) address, 0, 2);
#endif
}

/* A line in each 32 KiB of the bytes at `from`, and the last: as far as eight entries reach, a line of a page table.
 * Lines of page tables come from memory, too, and nothing behind an address is asked for until it is known; this way
 * many are waited for together. */
INLINE void ask_addresses(size_t from, size_t bytes)
{
    #pragma unroll 1
    for (size_t at = 0; at < bytes; at += 32 * 1024)
        ask_line(from + at);
    ask_line(from + bytes - 1);
}

#endif
