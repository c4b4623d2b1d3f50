#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes rope_golden.txt, which holds lib/rope.c to the published formulas by another program.

    python3 tests/rope_golden.py > tests/rope_golden.txt

Written after the code of the models, not after lib/rope.c: transformers' modeling_rope_utils.py (_compute_linear_scaling_,
_compute_yarn_ and _compute_llama3_parameters). A line is a case: scaling, rope_dim, base, factor, original length, two
numbers of the scaling (yarn: beta_fast, beta_slow; llama3: low and high_freq_factor), unrounded, ":", the attention factor
and the inverse frequencies."""
import math


def default(dim, base):
    return [1.0 / base ** (2 * i / dim) for i in range(dim // 2)]


def linear(dim, base, factor):
    return 1.0, [f / factor for f in default(dim, base)]


def yarn(dim, base, factor, length, beta_fast, beta_slow, unrounded):
    def correction_dim(rotations):
        return dim * math.log(length / (rotations * 2 * math.pi)) / (2 * math.log(base))

    low, high = correction_dim(beta_fast), correction_dim(beta_slow)
    if not unrounded:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    if low == high:
        high += 0.001
    result = []
    for i, extrapolated in enumerate(default(dim, base)):
        ramp = min(max((i - low) / (high - low), 0), 1)
        keep = 1 - ramp
        result.append(extrapolated / factor * (1 - keep) + extrapolated * keep)
    return 0.1 * math.log(factor) + 1.0 if factor > 1 else 1.0, result


def llama3(dim, base, factor, length, low_freq_factor, high_freq_factor):
    result = []
    for f in default(dim, base):
        wavelen = 2 * math.pi / f
        if wavelen < length / high_freq_factor:
            result.append(f)
        elif wavelen > length / low_freq_factor:
            result.append(f / factor)
        else:
            smooth = (length / wavelen - low_freq_factor) / (high_freq_factor - low_freq_factor)
            result.append((1 - smooth) * f / factor + smooth * f)
    return 1.0, result


CASES = [("none", 128, 10000.0, 0, 0, 0, 0, 0), ("none", 20, 5e5, 0, 0, 0, 0, 0),
         ("linear", 64, 10000.0, 4.0, 0, 0, 0, 0),
         ("yarn", 128, 10000.0, 16.0, 4096, 32.0, 1.0, 0), ("yarn", 64, 10000.0, 40.0, 4096, 32.0, 1.0, 0),
         ("yarn", 64, 150000.0, 32.0, 4096, 32.0, 1.0, 1), ("yarn", 128, 1e6, 4.0, 32768, 24.0, 2.0, 0),
         ("yarn", 32, 10000.0, 1.0, 64, 32.0, 1.0, 0), ("yarn", 8, 100.0, 8.0, 6, 32.0, 1.0, 0),
         ("llama3", 128, 5e5, 8.0, 8192, 1.0, 4.0, 0), ("llama3", 64, 5e5, 32.0, 8192, 1.0, 4.0, 0),
         ("llama3", 64, 10000.0, 2.0, 2048, 0.5, 16.0, 0)]
for case in CASES:
    name, dim, base, factor, length, a, b, unrounded = case
    attention, frequencies = (
        (1.0, default(dim, base)) if name == "none" else linear(dim, base, factor) if name == "linear" else
        yarn(dim, base, factor, length, a, b, unrounded) if name == "yarn" else llama3(dim, base, factor, length, a, b))
    print(*case, ":", *(repr(v) for v in [attention] + frequencies))
