#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""train_demo.py - trains data/demo.gguf, a tiny Llama, on this project's own texts; a developer's tool, never needed to build or run

    pip install numpy jax && tools/train_demo.py [--steps N]

Writes data/demo.gguf (f16, tied output, SPM tokenizer of its own) and data/demo-golden.json: the greedy continuation of BOS,
computed in float64 with NumPy from the weights as the file stores them, independently of the library and of any GGUF reader.
"""
import argparse
import json
import re
import struct
from collections import Counter
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
DIM, LAYERS, HEADS, KV_HEADS, FFN, CONTEXT, VOCAB = 64, 3, 8, 4, 168, 256, 704
HEAD = DIM // HEADS
EPS, ROPE_BASE = 1e-5, 10000.0
UNK, BOS, EOS, FIRST_BYTE = 0, 1, 2, 3
SPACE = "\u2581"


# ---- text ----

def prose(path):
    """The paragraphs of a Markdown file as plain lines: no code, tables, headings or markup."""
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.S)
    out = []
    for block in re.split(r"\n\s*\n|\n(?=- |\d+\. )", text):
        if block.lstrip().startswith(("#", "|", "<", "@")) or block.startswith("    "):
            continue
        block = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", block)
        block = re.sub(r"[*`]|^(- |\d+\. )", "", " ".join(block.split()))
        if len(block) > 60 and block.isascii():
            out.append(block)
    return out


def corpus():
    paths = [ROOT / "README.md"] + sorted((ROOT / "docs").glob("*.md")) + [ROOT / "CONTRIBUTING.md"]
    return [p for path in paths if path.exists() for p in prose(path)]


# ---- tokenizer: byte-pair merges, stored the way SPM files do (score = -rank: the best merge first) ----

def train_pieces(paragraphs):
    words = Counter(SPACE + w for p in paragraphs for w in p.split(" "))
    split = {w: list(w) for w in words}
    chars = sorted({c for w in words for c in w})
    pieces = []
    while FIRST_BYTE + 256 + len(pieces) + len(chars) < VOCAB:
        pairs = Counter()
        for w, n in words.items():
            for a, b in zip(split[w], split[w][1:]):
                pairs[a + b] += n
        best = max(pairs, key=lambda p: (pairs[p], p))
        if best in pieces:
            raise SystemExit("a merge came twice")
        pieces.append(best)
        for w, s in split.items():
            i = 0
            while i < len(s) - 1:
                if s[i] + s[i + 1] == best:
                    s[i:i + 2] = [best]
                i += 1
    tokens = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % b for b in range(256)] + pieces + chars
    scores = [0.0] * (FIRST_BYTE + 256) + [-float(i) for i in range(len(pieces))] + [-1e6 - i for i in range(len(chars))]
    types = [2, 3, 3] + [6] * 256 + [1] * (len(pieces) + len(chars))  # unknown, control, byte, normal
    return tokens, scores, types


def encode(text, tokens, scores):
    ids = {t: i for i, t in enumerate(tokens)}
    parts = list(SPACE + text.replace(" ", SPACE))
    while True:
        found = [(scores[ids[a + b]], -i) for i, (a, b) in enumerate(zip(parts, parts[1:])) if a + b in ids]
        if not found:
            return [ids[p] for p in parts]
        i = -max(found)[1]
        parts[i:i + 2] = [parts[i] + parts[i + 1]]


def decode(ids, tokens):
    """The text after BOS, with the tokenizer's leading space."""
    return "".join(tokens[i] for i in ids if i > EOS).replace(SPACE, " ")


# ---- model, float32 JAX for training ----

def shapes():
    per_layer = {"attn_q": (DIM, DIM), "attn_k": (KV_HEADS * HEAD, DIM), "attn_v": (KV_HEADS * HEAD, DIM),
                 "attn_output": (DIM, DIM), "ffn_gate": (FFN, DIM), "ffn_up": (FFN, DIM), "ffn_down": (DIM, FFN)}
    out = {"token_embd": (VOCAB, DIM), "output_norm": (DIM,)}
    for i in range(LAYERS):
        out.update({f"blk.{i}.{k}": v for k, v in per_layer.items()})
        out.update({f"blk.{i}.attn_norm": (DIM,), f"blk.{i}.ffn_norm": (DIM,)})
    return out


def forward(xp, w, ids):
    """Logits [..., T, VOCAB] for ids [..., T]; xp is numpy or jax.numpy."""
    T = ids.shape[-1]
    angle = np.arange(T)[:, None] * ROPE_BASE ** (-2.0 * np.arange(HEAD // 2) / HEAD)
    cos, sin = xp.asarray(np.cos(angle))[:, None], xp.asarray(np.sin(angle))[:, None]
    mask = np.triu(np.full((T, T), -1e30), 1)

    def norm(x, g):
        return g * x / xp.sqrt(xp.mean(x * x, -1, keepdims=True) + EPS)

    def rope(x):  # pairs (2i, 2i+1)
        a, b = x[..., 0::2], x[..., 1::2]
        return xp.stack([a * cos - b * sin, a * sin + b * cos], -1).reshape(x.shape)

    x = w["token_embd"][ids]
    for i in range(LAYERS):
        p = f"blk.{i}."
        h = norm(x, w[p + "attn_norm"])
        q = rope((h @ w[p + "attn_q"].T).reshape(*ids.shape, HEADS, HEAD))
        k = rope((h @ w[p + "attn_k"].T).reshape(*ids.shape, KV_HEADS, HEAD))
        v = (h @ w[p + "attn_v"].T).reshape(*ids.shape, KV_HEADS, HEAD)
        k, v = (xp.repeat(t, HEADS // KV_HEADS, -2) for t in (k, v))
        s = xp.einsum("...qhd,...khd->...hqk", q, k) / np.sqrt(HEAD) + mask
        s = xp.exp(s - s.max(-1, keepdims=True))
        s = s / s.sum(-1, keepdims=True)
        o = xp.einsum("...hqk,...khd->...qhd", s, v).reshape(*ids.shape, DIM)
        x = x + o @ w[p + "attn_output"].T
        h = norm(x, w[p + "ffn_norm"])
        gate = h @ w[p + "ffn_gate"].T
        x = x + (gate / (1 + xp.exp(-gate)) * (h @ w[p + "ffn_up"].T)) @ w[p + "ffn_down"].T
    return norm(x, w["output_norm"]) @ w["token_embd"].T


def train(ids, steps, seed=1):
    import jax
    import jax.numpy as jnp
    rng = np.random.default_rng(seed)
    w = {k: jnp.asarray(np.ones(s) if len(s) == 1 else rng.normal(0, s[-1] ** -0.5 / (2 if "output" in k or "down" in k else 1), s),
                        jnp.float32) for k, s in shapes().items()}
    w["token_embd"] = w["token_embd"] * 0.3
    stream, length, batch, peak = np.asarray(ids), CONTEXT + 1, 8, 6e-3

    def loss(w, x):
        logits = forward(jnp, w, x[:, :-1])
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), x[:, 1:, None], -1).mean()

    @jax.jit
    def step(w, m, v, x, t):
        value, g = jax.value_and_grad(loss)(w, x)
        rate = peak * jnp.minimum(t / 100, 0.5 * (1 + jnp.cos(jnp.pi * t / steps)))
        m = jax.tree.map(lambda a, b: 0.9 * a + 0.1 * b, m, g)
        v = jax.tree.map(lambda a, b: 0.99 * a + 0.01 * b * b, v, g)
        w = jax.tree.map(lambda p, a, b: p - rate * (a / (1 - 0.9 ** t)) / (jnp.sqrt(b / (1 - 0.99 ** t)) + 1e-8), w, m, v)
        return w, m, v, value

    m = jax.tree.map(jnp.zeros_like, w)
    v = jax.tree.map(jnp.zeros_like, w)
    for t in range(1, steps + 1):
        starts = rng.integers(0, len(stream) - length, batch)
        starts[0] = 0  # the first text follows BOS at position 0
        x = np.stack([stream[s:s + length] for s in starts])
        x[1:, 0] = np.where(rng.random(batch - 1) < 0.1, BOS, x[1:, 0])
        w, m, v, value = step(w, m, v, jnp.asarray(x), float(t))
        if t % 100 == 0 or t == steps:
            print(f"step {t}: loss {float(value):.3f}", flush=True)
    return {k: np.asarray(a) for k, a in w.items()}


# ---- file ----

def gguf_string(s):
    b = s.encode()
    return struct.pack("<Q", len(b)) + b


def gguf_value(v):
    if isinstance(v, str):
        return struct.pack("<I", 8) + gguf_string(v)
    if isinstance(v, bool):
        return struct.pack("<IB", 7, v)
    if isinstance(v, int):
        return struct.pack("<II", 4, v)
    if isinstance(v, float):
        return struct.pack("<If", 6, v)
    kind, items = v  # an array: (type, list)
    body = b"".join(gguf_string(x) for x in items) if kind == 8 else struct.pack(f"<{len(items)}{'f' if kind == 6 else 'i'}", *items)
    return struct.pack("<IIQ", 9, kind, len(items)) + body


def write_gguf(path, w, tokens, scores, types):
    meta = {
        "general.architecture": "llama", "general.name": "flashdec demo", "general.license": "MIT",
        "llama.context_length": CONTEXT, "llama.embedding_length": DIM, "llama.block_count": LAYERS,
        "llama.feed_forward_length": FFN, "llama.attention.head_count": HEADS, "llama.attention.head_count_kv": KV_HEADS,
        "llama.attention.layer_norm_rms_epsilon": EPS, "llama.rope.dimension_count": HEAD, "llama.rope.freq_base": ROPE_BASE,
        "llama.vocab_size": VOCAB, "tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": (8, tokens),
        "tokenizer.ggml.scores": (6, scores), "tokenizer.ggml.token_type": (5, types),
        "tokenizer.ggml.bos_token_id": BOS, "tokenizer.ggml.eos_token_id": EOS, "tokenizer.ggml.unknown_token_id": UNK,
    }
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(w), len(meta))
    head += b"".join(gguf_string(k) + gguf_value(v) for k, v in meta.items())
    data = b""
    for name, a in w.items():
        f16 = a.ndim == 2
        data += b"\0" * (-len(data) % 32)
        head += gguf_string(name + ".weight") + struct.pack("<I", a.ndim)
        head += struct.pack(f"<{a.ndim}Q", *reversed(a.shape)) + struct.pack("<IQ", 1 if f16 else 0, len(data))
        data += a.astype("<f2" if f16 else "<f4").tobytes()
    path.write_bytes(head + b"\0" * (-len(head) % 32) + data)


def golden(w, tokens, n):
    stored = {k: a.astype(np.float16 if a.ndim == 2 else np.float32).astype(np.float64) for k, a in w.items()}
    ids, margin, first = [BOS], np.inf, None
    while len(ids) < n:
        logits = forward(np, stored, np.asarray(ids))[-1]
        first = logits if first is None else first
        top = np.sort(logits)[-2:]
        margin = min(margin, top[1] - top[0])
        ids.append(int(logits.argmax()))
        if ids[-1] == EOS:
            break
    return {"greedy_tokens": ids, "text": decode(ids, tokens), "min_top2_margin": margin,
            "first_logits": [float(x) for x in first]}


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--steps", type=int, default=3000)
    ap.add_argument("--out", type=Path, default=ROOT / "data")
    args = ap.parse_args()
    paragraphs = corpus()
    tokens, scores, types = train_pieces(paragraphs)
    ids = [BOS]
    for p in paragraphs:
        ids += encode(p, tokens, scores)
    print(f"{len(paragraphs)} paragraphs, {sum(map(len, paragraphs))} characters, {len(ids)} tokens")
    w = train(ids, args.steps)
    write_gguf(args.out / "demo.gguf", w, tokens, scores, types)
    record = golden(w, tokens, CONTEXT)
    (args.out / "demo-golden.json").write_text(json.dumps({"bos": BOS, "f16": record}) + "\n")
    print(f"smallest margin {record['min_top2_margin']:.4f}\n{record['text']}")


if __name__ == "__main__":
    main()
