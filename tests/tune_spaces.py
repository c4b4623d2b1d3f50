#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tune_spaces.py - how soon the tuner's search finds what is best, on spaces that were measured whole

    tune_spaces.py [--all] FLASHDEC-TUNE LOG.jsonl.xz...

Each log holds every valid configuration of one shape (tests/spaces/README.md says how it was made). The search is
replayed against it from 100 seeds. After a tenth of the evaluations the median of what the default strategy knows has to
be within 5 % of the best, and better than what random search knows. With --all prints the curves of the other
strategies too, which docs/tuning.md shows."""
import csv
import io
import json
import lzma
import os
import subprocess
import sys
import tempfile

SEEDS = range(1, 101)
SHARES = (0.01, 0.02, 0.05, 0.10, 0.20, 0.50)
CHECKED = ("default", "random")
OTHERS = ("local", "halving")


def quantile(sorted_values, q):
    return sorted_values[min(int(q * len(sorted_values)), len(sorted_values) - 1)]


class Space:
    """What a log says: costs over the default's time; right but too slow to be timed counts as valid."""

    def __init__(self, path, scratch):
        self.name = os.path.basename(path).split(".")[0]
        self.log = os.path.join(scratch, "log.jsonl")
        text = lzma.open(path).read()
        with open(self.log, "wb") as f:
            f.write(text)
        ends = [json.loads(line) for line in text.splitlines() if b'"line":"end"' in line]
        self.problem = ends[0]["problem"]
        ok = [end for end in ends if end["outcome"] == "ok"]
        self.n_valid = len(ok) + sum(end["outcome"] == "slow" for end in ends)
        self.costs = [end.get("ratio_ppm", 1000000) / 1e6 for end in ok]

    def replay(self, tune, strategy, seed):
        """(evaluations, slowdown against the best of the log), of which the first is the default's."""
        run = subprocess.run([tune, "--replay", self.log, "--strategy", strategy, "--seed", str(seed)], check=True,
                             stdout=subprocess.PIPE, text=True)
        return [(int(r["measurements"]), float(r["mean_slowdown"])) for r in csv.DictReader(io.StringIO(run.stdout))]

    def share_better_than(self, slowdown):
        return sum(cost < slowdown * min(self.costs) * 0.9999 for cost in self.costs) / self.n_valid


def after(rows, count):
    return [slowdown for n, slowdown in rows if n <= max(count, rows[0][0])][-1]


def check(tune, path, strategies, scratch):
    space = Space(path, scratch)
    start = space.replay(tune, "default", 1)[0][1]
    rank = space.share_better_than(start)
    print(f"\n{space.name}: {space.problem}, {space.n_valid} valid configurations; {100 * rank:.0f} % of them are faster "
          f"than the default, the best {start:.2f} times\n")
    print("| slowdown after that share: median (quartiles) | " + " | ".join(f"{share:.0%}" for share in SHARES) + " |")
    print("|---" * (len(SHARES) + 1) + "|")
    counts = [int(share * space.n_valid) for share in SHARES]
    at_a_tenth = {}
    for strategy in strategies:
        runs = [space.replay(tune, strategy, seed) for seed in SEEDS]
        columns = [sorted(after(run, count) for run in runs) for count in counts]
        at_a_tenth[strategy] = quantile(columns[SHARES.index(0.10)], 0.5)
        print(f"| {strategy} | " + " | ".join(
            f"{quantile(c, 0.5):.2f} ({quantile(c, 0.25):.2f}..{quantile(c, 0.75):.2f})" for c in columns) + " |")
    wrong = []
    if space.n_valid < 500:
        wrong.append("fewer than 500 valid configurations")
    if at_a_tenth["default"] > 1.05:
        wrong.append("not within 5 % of the best after a tenth of the evaluations")
    if at_a_tenth["default"] >= at_a_tenth["random"]:
        wrong.append("no better than random search")
    for text in wrong:
        print(f"FAIL: {space.name}: {text}", file=sys.stderr)
    return not wrong


def main():
    args = [arg for arg in sys.argv[1:] if arg != "--all"]
    strategies = CHECKED + OTHERS if "--all" in sys.argv[1:] else CHECKED
    with tempfile.TemporaryDirectory() as scratch:
        good = [check(args[0], path, strategies, scratch) for path in args[1:]]
    return 0 if good and all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
