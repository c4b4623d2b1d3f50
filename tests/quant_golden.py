#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes quant_golden.txt, which holds ref_quant.c to another program: gguf-py, the reader that ggml's authors publish.

    pip install gguf && python3 tests/quant_golden.py > tests/quant_golden.txt

A line is a type, the bytes of a random block whose f16 are finite, and its elements as float32; the last two in hex, low
byte first."""
import numpy as np
from gguf import GGMLQuantizationType as Type, quants
from gguf.constants import GGML_QUANT_SIZES

HALVES = {  # where the numbers of f16 lie in a block
    Type.Q8_0: [0], Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2],
    Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208],
}

random = np.random.default_rng(7)
for kind, halves in HALVES.items():
    block = random.integers(0, 256, GGML_QUANT_SIZES[kind][1], dtype=np.uint8)
    for at in halves:
        block[at + 1] &= 0xBB
    values = quants.dequantize(block, kind)
    print(kind.name.lower(), block.tobytes().hex(), values.astype("<f4").tobytes().hex())
