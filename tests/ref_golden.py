#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes ref_golden.txt, which holds tests/ref.c to the formulas by another program: exact sums (math.fsum).

    python3 tests/ref_golden.py > tests/ref_golden.txt

Inputs are value(operand, i), the same in unit_ref.c: multiples of 1/1024 in [-1, 1], exact in any format. A line is a
case: its name, its numbers, ":", and the results (softmax: row by row, then lse; attn: [B, H, D], then lse [B, H])."""
import math


def value(operand, i):
    return ((i * 7919 + operand * 104729) % 2049 - 1024) / 1024


def softmax(x):
    top = max(x)
    e = [math.exp(v - top) for v in x]
    total = math.fsum(e)
    return [v / total for v in e], top + math.log(total)


def linear(m, n, k):
    for i in range(m):
        for j in range(n):
            products = [value(0, i * k + t) * value(1, j * k + t) for t in range(k)]
            yield math.fsum(products + [value(2, j), value(3, i * n + j)])


def softmax_rows(rows, cols):
    lses = []
    for r in range(rows):
        y, lse = softmax([20 * value(0, r * cols + c) for c in range(cols)])
        lses.append(lse)
        yield from y
    yield from lses


def attn(batch, heads, kv_heads, dim, length, page):
    """Sequence b has length - 3b tokens, none below 0. Paged: page j of sequence b is block (5j + 3b + 1) mod pool, but
    where that is 0 the table names a block outside the pool, whose keys do not exist."""
    pages = -(-length // page) if page else 0
    pool = batch * pages
    lses = []
    for b in range(batch):
        n = max(length - 3 * b, 0)
        for h in range(heads):
            g = h // (heads // kv_heads)

            def at(t, d):
                if not page:
                    return ((b * length + t) * kv_heads + g) * dim + d
                block = (5 * (t // page) + 3 * b + 1) % pool
                return None if block == 0 else ((block * page + t % page) * kv_heads + g) * dim + d

            keys = [t for t in range(n) if at(t, 0) is not None]
            q = [4 * value(0, (b * heads + h) * dim + d) for d in range(dim)]
            x = [0.25 * math.fsum(q[d] * value(1, at(t, d)) for d in range(dim)) for t in keys]
            if not keys:
                yield from [0.0] * dim
                lses.append(-math.inf)
                continue
            p, lse = softmax(x)
            lses.append(lse)
            for d in range(dim):
                yield math.fsum(p[i] * value(2, at(t, d)) for i, t in enumerate(keys))
    yield from lses


CASES = [
    (linear, (1, 1, 1)), (linear, (3, 5, 17)), (linear, (2, 3, 1000)),
    (softmax_rows, (1, 1)), (softmax_rows, (3, 50)), (softmax_rows, (1, 1000)),
    (attn, (1, 1, 1, 8, 1, 0)), (attn, (3, 6, 2, 16, 7, 0)), (attn, (2, 4, 4, 8, 40, 0)),
    (attn, (2, 4, 2, 24, 13, 4)), (attn, (3, 3, 1, 8, 6, 1)),
]
for f, numbers in CASES:
    print(f.__name__, *numbers, ":", *(repr(v) for v in f(*numbers)))
