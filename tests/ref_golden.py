#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes ref_golden.txt, which holds tests/ref.c to the formulas by another program: exact sums (math.fsum).

    python3 tests/ref_golden.py > tests/ref_golden.txt

Inputs are value(operand, i), the same in unit_ref.c: multiples of 1/1024 in [-1, 1], exact in any format. A line is a
case: its name, its numbers, ":", and the results (softmax: row by row, then lse; attn: [n_q, H, Dv], then lse
[n_q, H])."""
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


def seen(n, pos, causal, window):
    """The keys that a query at position pos sees in a sequence of n tokens."""
    return [t for t in range(n) if (not causal and not window or t <= pos) and (not window or t > pos - window)]


def attn(batch, heads, kv_heads, dim, v_dim, length, page, q_len, causal, window, cap, alibi, bias, sinks, q_pos,
         q_starts):
    """Sequence b has length - 3b tokens, none below 0. Paged: page j of sequence b is block (5j + 3b + 1) mod pool, but
    where that is 0 the table names a block outside the pool, whose keys do not exist. Rows of V have 3 elements of room
    behind them, those of K none. q_starts: sequence b has (2b + 1) mod (Q + 1) query tokens, row 0 of q is nobody's
    (nan here). q_pos: sequence b's first query token is at length - 2b - 2. Slopes, sinks and bias [B, Q, H, T] are
    value()s, some of the bias -inf."""
    pool = batch * -(-length // page) if page else 0
    counts = [(2 * b + 1) % (q_len + 1) if q_starts else q_len for b in range(batch)]
    starts = [int(bool(q_starts)) + sum(counts[:b]) for b in range(batch)]
    rows = [[math.nan] * (heads * v_dim) for _ in range(starts[-1] + counts[-1])]
    lses = [[math.nan] * heads for _ in rows]
    for b in range(batch):
        n = max(length - 3 * b, 0)
        first_pos = length - 2 * b - 2 if q_pos else n - counts[b]

        def place(t):
            if not page:
                return b * length + t
            block = (5 * (t // page) + 3 * b + 1) % pool
            return None if block == 0 else block * page + t % page

        for i in range(counts[b]):
            row, pos = starts[b] + i, first_pos + i
            for h in range(heads):
                g = h // (heads // kv_heads)
                q = [4 * value(0, (row * heads + h) * dim + d) for d in range(dim)]
                x, at = [], []
                for t in seen(n, pos, causal, window):
                    index = ((b * q_len + i) * heads + h) * length + t
                    if place(t) is None or (bias and index % 7 == 3):
                        continue
                    k = (place(t) * kv_heads + g) * dim
                    s = 0.25 * math.fsum(q[d] * value(1, k + d) for d in range(dim))
                    s = cap * math.tanh(s / cap) if cap else s
                    s += value(4, h) * (t - pos) if alibi else 0
                    s += 2 * value(3, index) if bias else 0
                    x.append(s)
                    at.append((place(t) * kv_heads + g) * (v_dim + 3))
                if sinks:
                    x.append(2 * value(5, h))
                if not x:
                    rows[row][h * v_dim:(h + 1) * v_dim] = [0.0] * v_dim
                    lses[row][h] = -math.inf
                    continue
                p, lses[row][h] = softmax(x)
                for d in range(v_dim):
                    rows[row][h * v_dim + d] = math.fsum(p[j] * value(2, v + d) for j, v in enumerate(at))
    for values in rows + lses:
        yield from values


CASES = [
    (linear, (1, 1, 1)), (linear, (3, 5, 17)), (linear, (2, 3, 1000)),
    (softmax_rows, (1, 1)), (softmax_rows, (3, 50)), (softmax_rows, (1, 1000)),
    # batch heads kv_heads dim v_dim length page  q_len causal window cap  alibi bias sinks q_pos q_starts
    (attn, (1, 1, 1, 8, 8, 1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0)),
    (attn, (3, 6, 2, 16, 16, 7, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0)),
    (attn, (2, 4, 4, 8, 8, 40, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0)),
    (attn, (2, 4, 2, 24, 24, 13, 4, 1, 1, 0, 0, 0, 0, 0, 0, 0)),
    (attn, (3, 3, 1, 8, 8, 6, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0)),
    (attn, (2, 2, 1, 16, 8, 9, 0, 3, 1, 0, 0, 0, 0, 0, 0, 0)),
    (attn, (2, 2, 1, 8, 24, 9, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0)),
    (attn, (2, 2, 2, 8, 8, 20, 0, 4, 1, 5, 0, 0, 0, 0, 0, 0)),
    (attn, (2, 2, 2, 8, 8, 20, 0, 4, 0, 1, 0, 0, 0, 0, 1, 0)),
    (attn, (2, 4, 2, 8, 8, 12, 0, 1, 1, 0, 3, 0, 0, 0, 0, 0)),
    (attn, (2, 4, 2, 8, 8, 12, 0, 2, 1, 0, 0, 1, 0, 0, 0, 0)),
    (attn, (2, 4, 2, 8, 8, 12, 0, 2, 1, 0, 0, 0, 1, 0, 0, 0)),
    (attn, (3, 4, 2, 8, 8, 5, 0, 2, 1, 0, 0, 0, 0, 1, 1, 0)),
    (attn, (3, 2, 1, 8, 8, 8, 0, 4, 1, 0, 0, 0, 0, 0, 0, 1)),
    (attn, (3, 4, 2, 16, 8, 11, 3, 3, 1, 4, 2, 1, 1, 1, 1, 1)),
    (attn, (3, 4, 1, 8, 16, 11, 2, 3, 0, 0, 2, 1, 1, 1, 1, 1)),
]
for f, numbers in CASES:
    print(f.__name__, *numbers, ":", *(repr(v) for v in f(*numbers)))
