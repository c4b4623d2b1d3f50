#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""mutants.py - does the tuner's check of candidates catch kernels that are subtly wrong?

    mutants.py TUNE_CHECK [--full] [--only FILE]      FILE: of TARGETS

Makes mutants of the tuned kernels' sources, one change each: at every place where an operator of the list below fits, in an
order that depends on the seed alone, up to a quota. A mutant counts where it compiles and its LLVM code, of some of the options
that the check uses, differs from the original's. Each is then checked by TUNE_CHECK, as a worker of flashdec-tune checks a
candidate. One that ends the process, or takes longer than a minute, is caught, too: to the tuner it is a crash or a hang.
Without --full: a dozen. What survives because it computes the same is listed in SAME, with the reason, and does not count.
Exit status: 0 when at least 98 % of the others are caught; survivors are listed."""
import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile

CL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cl")
SHORT = 12
BARRIERS = 3 # of a target

# (name, what to look for, what to put there); the whole line is the place
OPERATORS = [
    ("first iteration dropped", r"(for \((?:int|size_t) \w+ = )0;", r"\g<1>1;"),
    ("one iteration too many", r"(for \([^;]*;[^;<]* )< ([a-z])", r"\1<= \2"),
    ("last iteration dropped", r"(for \([^;]*; \w+ < )([^;]+);", r"\1(\2) - 1;"),
    ("every other iteration", r"(for \([^;]*;[^;]*; \w+ \+= )(\w+)\)", r"\1 2 * (\2))"),
    ("no barrier", r"barrier\([A-Z_]+\);", r";"),
    ("wrong sign", r" \+= ", r" -= "),
    ("wrong sign of a term", r"(\w) - (?!1\b)(\w)", r"\1 + \2"),
    ("wrong scale", r"\* (\w+->scale|inverse|scale)\b", r"* 1.01f * \1"),
    ("rounded to half", r"= fma\((.*)\);$", r"= MUTANT_HALF(fma(\1));"),
    ("rounded to half at the end", r"(store(?:_f32)?\()([^,]+),", r"\1MUTANT_HALF(\2),"),
    ("stale output", r"^(\s+)(?:\w+ = )?(store(?:_f32)?\(.*\));$", r"\1if (get_global_id(0) > 0) \2;"),
    ("skipped store", r"^(\s+)(y\[.*\] = .*;|\*\w+ = .*;)$", r"\1;"),
    ("wrong first maximum", r"EXP_NONE|-INFINITY", r"0.0f"),
    ("minimum for maximum", r" > (\w+(?:\.\w+)?) \? ", r" < \1 ? "),
    ("dropped mask", r"^(\s+)if \((?!.*\breturn|.*\{)(.*)\)$", r"\1if (1)"),
    ("inverted condition", r"^(\s+)if \(([^{}]*)\) \{$", r"\1if (!(\2)) {"),
    ("limit off by one", r"\bmin\(([^,()]+), ([^()]+)\)", r"(min(\1, \2) - 1)"),
    ("index off by one", r"\[([a-z]\w*)\](?! = )", r"[\1 + 1]"),
    ("offset off by one", r"(\w+) \* (WIDTH|VEC|STRIDE|W_BLOCK|V_DIM|HEAD_DIM|KEYS)\b", r"(\1 * \2 + 1)"),
    ("swapped strides", r"(token|head)_stride", lambda m: ("head" if m[1] == "token" else "token") + "_stride"),
    ("compared the other way", r" >= ", r" > "),
]

# Problems: small, with tails, the cheapest first; what code needs them for
ATTN = ["attn:f16 b=2 h=8/2 d=40 n=150", "attn:f16 b=2 h=8/2 d=40 n=150 page=5"]
ATTN_BLOCKS = ATTN + ["attn:q8_0 b=2 h=8/2 d=96 n=150", "attn:q8_0 b=1 h=8/2 d=192 n=40"] # columns with a scale each; and two each
ATTN_WG = ["attn:f16 b=1 h=8/1 d=40 n=70"] # more pairs of a row and a key than items
ATTN_MMA = ["attn:f16 b=1 h=6/1 d=40 q=3 n=70"] # keys that not all rows see
LINEAR = ["linear:f16 m=5 n=70 k=145", "linear:f16 m=24 n=33 k=4500"] # one column left; MR tokens a pass, four columns left
TOKENS = ["linear:f16 m=5 n=70 k=150", "linear:f16 m=27 n=33 k=2085", "linear:f16 m=261 n=14 k=70"] # a vector not full; two pieces; tokens after 256
GEMV = LINEAR + ["linear:f16 m=1 n=33 k=9009"]
PANEL = ["linear:f16 m=3 n=20 k=100 w=packed", "linear:f16 m=129 n=300 k=70 w=packed", # one tile alone; a token after 128
         "linear:f16 m=3 n=20 k=1025 w=packed"] # a column after 1024
WG = ["linear:f16 m=8 n=70 k=150"] # all tokens of a tile
QUANT = ["linear:q4_k m=5 n=22 k=512", "linear:q5_1 m=2 n=22 k=416"]
BLOCKS = ["linear:q4_0 m=7 n=22 k=416", "linear:q4_1 m=3 n=22 k=416"] # vectors one by one and at once; a block left
SOFTMAX = ["softmax:f32 rows=3 cols=1030", "softmax:f32 rows=1 cols=16400"]
FEW_LANES = ["--configs", "2", "--seed", "2"] # WG=1 VEC=4, too: merge() takes four steps for 16 splits

# file, kernels to check, problems, quota, options of TUNE_CHECK
TARGETS = [
    ("softmax.cl", "softmax/", SOFTMAX, 14, FEW_LANES),
    ("row.h", "softmax/online", SOFTMAX, 6, FEW_LANES),
    ("exp.h", "softmax/", SOFTMAX, 5, FEW_LANES),
    ("linear_vec.cl", "linear/vec-flat", LINEAR, 8, []),
    ("linear_vec.cl", "linear/vec-flat", BLOCKS, 5, []),
    ("linear_vec.cl", "linear/vec-gemv", GEMV, 4, []),
    ("linear.cl", "linear/vec-flat", LINEAR, 5, []),
    ("linear_tokens.cl", "linear/vec-tokens", TOKENS, 9, []),
    ("linear_panel.cl", "linear/vec-panel", PANEL, 6, []),
    ("linear_wg.cl", "linear/wg-flat", WG, 7, ["--configs", "3"]),
    ("quant.h", "linear/vec-flat", QUANT, 4, []),
    ("load.h", "linear/vec-flat", LINEAR, 3, []),
    ("lanes.h", "attn/vec-online", ATTN, 2, []),
    ("attn.cl", "attn/vec-online", ATTN, 5, []),
    ("attn_vec.cl", "attn/vec-", ATTN, 12, []), # all schemes: a source that is wrong is caught in one of them
    ("attn_values.cl", "attn/vec-online", ATTN_BLOCKS, 4, []),
    ("attn_tile.cl", "attn/vec-online", ATTN, 3, []),
    ("attn_wg.cl", "attn/wg-online", ATTN_WG, 7, []),
    ("attn_pairs.cl", "attn/wg-online", ATTN_WG, 7, []),
    ("attn_mma.cl", "attn/mma-online", ATTN_MMA, 8, []),
]

# (file, a part of the mutated line): why the results are the same
SAME = {
    ("softmax.cl", "i <= n; i += STRIDE"): "splits past the last are filled up with what weighs nothing",
    ("linear.cl", "i < (whole) - 1; i += LINEAR_PREPARE"): "i and whole are multiples of 16",
    ("attn_pairs.cl", "if (1) s->masked = 1;"): "where all keys are seen, a look at each changes nothing",
    ("attn_mma.cl", "i < CHUNK * TILE / 8; i +=  2 * (WG)"): "one step is enough",
    ("attn_pairs.cl", "if (1) count_block("): "it counts table entries without a block, and the count is no output",
    ("attn_pairs.cl", "r < CHUNK; r +=  2 * (WG)"): "CHUNK is at most WG",
    ("attn_pairs.cl", "k_head_stride | a->k_head_stride"): "here all strides are multiples of 16 bytes, or none is",
    ("attn_wg.cl", "t <= k->end; t += TILE"): "a tile past the end has no key that is there",
    ("attn_vec.cl", "all += lane[l]"): "the norm of q bounds the power of two that sums start with; a row that it fails is redone",
    ("attn.cl", "t > k->fresh"): "it counts table entries without a block, of which there are none, and the count is no output",
    ("attn.cl", "if (1) total = fma(den[k], exp2i_1(n[k] - most), total);"): "a split without keys weighs 0",
    ("attn_tile.cl", "min(run, end - first + i)"): "rows do not see keys past the end of their split",
    ("attn_tile.cl", "if (!(c->left >= n)) {"): "only prefetches are others",
    ("attn_tile.cl", "if (c->left > n) {"): "only prefetches are others",
    ("attn_vec.cl", "MUTANT_HALF(fma(Q_ROW(q, j), Q_ROW(q, j), sum))"): "the norm of q bounds the power of two that sums start with",
    ("attn.cl", "sink_n = 0.0f, sink"): "with sinks it gets another value before it is used, without it is not used",
    ("quant.h", "(v * WIDTH + 1) < 32"): "v * WIDTH and 32 are multiples of 8",
    ("linear_panel.cl", "(min(k, KT) - 1)"): "only prefetches are others",
    ("linear_panel.cl", "if (1) sums[i] = acc[i];"): "it keeps sums that nobody reads",
    ("linear_wg.cl", "id > outputs"): "the item past the end has a token that finish() leaves out",
    ("softmax.cl", "i <= c->end; i += U * STRIDE"): "a block past the end is -inf, which weighs nothing",
    ("row.h", "l <= step"): "it changes a lane that is not used any more",
    ("exp.h", "fabs(x) > 0x1p22f"): "at 2^22 itself, and nowhere else, it takes the other form, which holds there, too",
    ("linear_vec.cl", "if (1) sums[i] = acc[i];"): "it keeps sums that nobody reads",
    ("linear_vec.cl", "--wait == 0"): "only prefetches are others",
    ("linear_vec.cl", "if (k > WIDTH)"): "at k = WIDTH both ways load the same",
    ("linear_vec.cl", "m0 <= a.m"): "a pass without tokens",
    ("attn_vec.cl", "s->all_hi = (min(s->all_hi, to) - 1)"): "a tile goes the way of tiles that are not whole",
    ("attn_vec.cl", "s->any_lo = (min(s->any_lo, from) - 1)"): "a tile more, in which no row sees a key",
    ("attn_values.cl", "for (int c = 0; c <= n; c++) num[r][c] = load_f32("): "it loads a column that is not stored",
    ("row.h", "(a + b + 1) / b"): "chunks are a little wider",
    ("linear_vec.cl", "ask_line"): "only prefetches are others",
    ("linear_vec.cl", "c <= copies"): "a copy more, which nobody reads",
    ("linear_vec.cl", "i <= a->k; i += WIDTH"): "a step more, in which all lanes of floats are 0",
    ("linear_vec.cl", "if (1) add_rest("): "where nothing is left, nothing is added",
    ("quant.h", "(v * WIDTH + 1) / 64"): "v * WIDTH and 64 are multiples of 8",
    ("linear_panel.cl", "c->credit > c->steps"): "only prefetches are others",
    ("linear_panel.cl", "pass <= passes"): "a pass whose sums nobody reads",
    ("linear_tokens.cl", "ahead.at -= LINE_UNITS"): "only prefetches are others",
    ("linear_tokens.cl", "--wait == 0"): "only prefetches are others",
    ("linear_tokens.cl", "ends = k1 > whole"): "only prefetches are others",
    ("linear_tokens.cl", "if (1) xv[v]"): "it loads what nobody uses",
    ("linear_tokens.cl", "min(a.m + m0"): "finish() leaves out tokens past the end",
    ("linear_vec.cl", "r <= NR"): "only prefetches are others",
    ("linear.cl", "i <= a.k"): "one element more into the padding between rows",
    ("linear.cl", "if (token > a->m)"): "kernels for CPUs have no token past the end",
}

HALF = """
#ifndef MUTANT_HALF
#define MUTANT_HALF mutant_half
static float __attribute__((overloadable)) mutant_half(float x) { return as_float((as_int(x) + 0x1000) & ~0x1fff); }
static float8 __attribute__((overloadable)) mutant_half(float8 x) { return as_float8((as_int8(x) + 0x1000) & ~0x1fff); }
static float16 __attribute__((overloadable)) mutant_half(float16 x) { return as_float16((as_int16(x) + 0x1000) & ~0x1fff); }
#endif
"""


def places(text):
    """(line, operator, new text) of every possible mutant of a source: code alone, no comment, nothing the preprocessor decides."""
    lines = text.split("\n")
    comment = False
    for n, line in enumerate(lines):
        inside = comment
        comment = (comment or "/*" in line) and "*/" not in line[line.rfind("/*") if "/*" in line else 0:]
        code = line.split("/*")[0].rstrip()
        if inside or not code.strip() or re.match(r"\s*#\s*(if|el|end|include|error|pragma|ifdef|ifndef)", code):
            continue
        for name, pattern, new in OPERATORS:
            for m in re.finditer(pattern, code):
                mutated = code[: m.start()] + m.expand(new) + code[m.end():] if isinstance(new, str) else (
                    code[: m.start()] + new(m) + code[m.end():])
                whole = "\n".join(lines[:n] + [mutated + line[len(code):]] + lines[n + 1:])
                shown = mutated.strip() + (" " + lines[n + 1].strip() if mutated.endswith(")") else "")
                yield n + 1, name, shown, (HALF + whole if "MUTANT_HALF" in mutated else whole)


class Tree:
    """A copy of cl/ in which one file may be another."""

    def __init__(self, root):
        self.dir = os.path.join(root, "cl")
        shutil.copytree(CL, self.dir)

    def put(self, name, text):
        with open(os.path.join(self.dir, name), "w") as f:
            f.write(text)

    def restore(self, name):
        shutil.copy(os.path.join(CL, name), os.path.join(self.dir, name))


def code_of(tree, source, options):
    """LLVM code, without the line that names the file. None: it does not compile."""
    run = subprocess.run(
        ["clang-14", "-x", "cl", "-target", "x86_64-linux-gnu", "-Xclang", "-finclude-default-header",
         "-Xclang", "-fdeclare-opencl-builtins", "-D__OPENCL_VERSION__=120", "-O1", "-S", "-emit-llvm", "-o", "-", "-I", tree.dir]
        + options.split() + [os.path.join(tree.dir, source)], capture_output=True, text=True)
    return run.stdout if run.returncode == 0 else None


def source_of(kernels):
    return kernels.split("/")[0] + ".cl"


def check(tree, tune_check, target, work):
    """What became of it: None where all was right."""
    pocl = os.path.join(work, "pocl")
    shutil.rmtree(pocl, ignore_errors=True)
    os.mkdir(pocl)
    env = dict(environment(target[1]), FLASHDEC_CL_DIR=tree.dir, POCL_CACHE_DIR=pocl, FLASHDEC_CACHE_DIR=os.path.join(work, "cache"))
    try:
        run = subprocess.run([tune_check, "--kernel", target[1]] + target[4] + target[2], env=env, capture_output=True, text=True,
                             errors="replace", timeout=60)
    except subprocess.TimeoutExpired:
        return "hang"
    if run.returncode == 77:
        sys.exit(77)
    if run.returncode < 0:
        return "crash: signal %d" % -run.returncode
    return None if run.returncode == 0 else (run.stdout + run.stderr).strip().split("\n")[-1]


def environment(kernels):
    """Matrix units are stand-ins."""
    return dict(os.environ, FLASHDEC_PRETEND="matrix=1") if "/mma" in kernels else dict(os.environ)


def order(seed, *what):
    return hashlib.sha256(repr((seed,) + what).encode()).hexdigest()


def mutants(tree, tune_check, target):
    """Active mutants of one target, each by another operator, but for BARRIERS."""
    name, kernels, problems, quota, how = target
    listed = subprocess.run([tune_check, "--options", "--kernel", kernels] + how + problems, env=environment(kernels),
                            capture_output=True, text=True)
    if listed.returncode == 77:
        sys.exit(77)
    options = sorted(set(listed.stdout.strip().split("\n")))
    original = [code_of(tree, source_of(kernels), o) for o in options]
    if None in original:
        sys.exit("mutants.py: %s does not compile" % source_of(kernels))
    taken = []
    with open(os.path.join(CL, name)) as f:
        text = f.read()
    seen = set()
    for line, operator, new, whole in sorted(
            places(text), key=lambda p: (p[1] != "no barrier", order(1, name, kernels, p[:3]))):
        barrier = operator == "no barrier"
        if taken.count(operator) == (BARRIERS if barrier else 1) or len(taken) == quota or (barrier and "/wg" not in kernels):
            continue # a group of one needs no barrier, and stand-ins of matrix units have many of their own
        tree.put(name, whole)
        for option, before in zip(options, original):
            code = code_of(tree, source_of(kernels), option)
            if code != before: # by the first program that is another: the rest takes most of the time
                break
        if code not in original and code is not None and code not in seen:
            taken.append(operator)
            seen.add(code)
            yield line, operator, new
        tree.restore(name)


def same(name, new):
    for (file, part), reason in SAME.items():
        if file == name and part in new:
            return reason
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tune_check")
    parser.add_argument("--full", action="store_true", help="all, not a dozen")
    parser.add_argument("--only", help="mutants of this file alone", metavar="FILE")
    args = parser.parse_args()
    if not shutil.which("clang-14"):
        print("SKIP: no clang-14")
        return 77
    caught = total = 0
    survivors = []
    with tempfile.TemporaryDirectory() as work:
        tree = Tree(work)
        for target in TARGETS if args.full or args.only else TARGETS[:2]:
            if args.only and target[0] != args.only:
                continue
            for line, operator, new in mutants(tree, args.tune_check, target):
                if total == SHORT and not args.full:
                    break
                became = check(tree, args.tune_check, target, work)
                at = "%s:%d (%s) %s: %s" % (target[0], line, target[1], operator, new)
                print("%s\n    %s" % (at, became or "SURVIVED"), flush=True)
                reason = same(target[0], new) if became is None else None
                if reason:
                    print("    the same: " + reason)
                    continue
                total += 1
                caught += became is not None
                if became is None:
                    survivors.append(at)
                if became and "clBuildProgram" in became:
                    sys.exit("mutants.py: a mutant compiles for clang-14 alone: " + at)
    print("%d of %d mutants caught" % (caught, total))
    for at in survivors:
        print("survived: " + at)
    return 0 if total >= (1 if args.only else SHORT) and caught >= 0.98 * total else 1


if __name__ == "__main__":
    sys.exit(main())
