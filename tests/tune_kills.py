#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tune_kills.py - flashdec-tune killed at any moment, and on disks that are full or cannot be written

    tune_kills.py FLASHDEC-TUNE FILE_FAULTS.so [--full]

kill -9 at random moments of a run (200 times with --full), and before and after each call that changes a file. After each:
all lines of the log that were whole are still there, the table is the old one or the new one, and the next run uses every
finished measurement. Times differ from run to run, so what a table must be is told from the log: the table of the last run is
byte for byte what `build` makes of the log; and tables of --replay, killed likewise, are that of an undisturbed one."""
import errno
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time

TUNE, SHIM = (os.path.abspath(p) for p in sys.argv[1:3])
KILLS = 200 if "--full" in sys.argv else 25
failures = 0


def wrong(*what):
    global failures
    failures += 1
    print("FAIL:", *what, flush=True)


def read(path):
    try:
        with open(path, "rb") as f:
            return f.read()
    except FileNotFoundError:
        return b""


class Tuner:
    def __init__(self, root):
        self.root = root
        self.table = os.path.join(root, "table.json")
        self.env = dict(os.environ, XDG_STATE_HOME=root + "/state", XDG_DATA_HOME=root + "/data",
                        XDG_CACHE_HOME=root + "/cache", POCL_CACHE_DIR=root + "/pocl")
        os.mkdir(root + "/pocl")
        with open(root + "/list", "w") as f:
            f.write("softmax:f32 rows=1 cols=500\nsoftmax:f32 rows=4 cols=500\n")
        self.args = ["--shapes", root + "/list", "--budget", "0", "--out", self.table]
        self.whole = b""     # lines of the log that are safe
        self.tables = {b""}  # what the table may be

    def start(self, args, fault=None):
        env = dict(self.env, FILE_FAULT=fault, LD_PRELOAD=SHIM) if fault else self.env
        return subprocess.Popen([TUNE] + args, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def run(self, args, fault=None):
        p = self.start(args, fault)
        err = p.communicate()[1].decode()
        return p.returncode, err

    def log(self):
        state = self.root + "/state/flashdec"
        logs = [f for f in os.listdir(state) if f.endswith(".jsonl")] if os.path.isdir(state) else []
        return os.path.join(state, logs[0]) if logs else None

    def finished(self):
        """Keys of finished measurements in the safe lines."""
        keys = set()
        for line in self.whole.decode().splitlines():
            entry = json.loads(line)
            if entry["line"] == "end" and entry["outcome"] in ("ok", "slow") and not entry.get("holdout"):
                keys.add((entry["kernel"], entry["config"], entry["problem"]))
        return keys

    def look(self, what, err):
        """After a run that ended in any way."""
        log = self.log()
        text = read(log) if log else b""
        if not text.startswith(self.whole):
            wrong(what, "lines of the log are lost")
        used = re.search(r"(\d+) measurements of earlier runs are used again", err)
        known = len(self.finished())
        if used and int(used[1]) != known:
            wrong(what, "%s of %d measurements are used again" % (used[1], known))
        if "table: " in err and known and not used:
            wrong(what, "none of %d measurements is used again" % known)
        self.whole = text[: text.rfind(b"\n") + 1]
        table = read(self.table)
        if table not in self.tables:
            status, err = self.run(["check", self.table])
            if status:
                wrong(what, "the table is not whole:", err)
            self.tables = {table}


def kill_at_random(t, seconds):
    p = t.start(t.args)
    time.sleep(seconds)
    p.send_signal(signal.SIGKILL)
    err = p.communicate()[1].decode()
    t.look("killed after %.2f s:" % seconds, err)


def kill_at_calls(t, args, calls, look):
    for call, number in calls:
        for moment in ("before", "after"):
            fault = "%s %d %s" % (call, number, moment)
            status, err = t.run(args, fault)
            if status != -signal.SIGKILL:
                wrong(fault, "was not reached:", status, err)
            look(fault, err)


def refuses(t, what, args, fault=None, limit=None):
    """The old table stays, the message names the reason, exit status 1."""
    before = read(t.table)
    args = ["sh", "-c", 'ulimit -f %d; exec "$@"' % limit, "sh", TUNE] + args if limit is not None else [TUNE] + args
    env = dict(t.env, FILE_FAULT=fault, LD_PRELOAD=SHIM) if fault else t.env
    run = subprocess.run(args, env=env, capture_output=True, text=True)
    if run.returncode != 1:
        wrong(what, "exit status %d: %s" % (run.returncode, run.stderr))
    if "cannot " not in run.stderr:
        wrong(what, "no clear message: " + run.stderr)
    if read(t.table) != before:
        wrong(what, "the old table is gone")


def main():
    random.seed(1)
    with tempfile.TemporaryDirectory() as root:
        t = Tuner(root)
        kill_at_calls(t, t.args, [(c, n) for c, most in (("write", 5), ("fdatasync", 3)) for n in range(1, most + 1)]
                      + [("ftruncate", 1)], t.look)
        for _ in range(KILLS):
            kill_at_random(t, random.uniform(0, 2))
        status, err = t.run(t.args)
        if status:
            wrong("an undisturbed run at the end:", err)
        t.look("at the end:", err)
        # all is measured: now the calls that write the table
        kill_at_calls(t, t.args, [("mkstemp", 1), ("fsync", 1), ("rename", 1)], t.look)
        if t.run(t.args)[0]:
            wrong("the last run failed")
        t.look("the last run:", "")
        built = os.path.join(root, "built.json")
        if t.run(["build", t.log(), "--out", built])[0] or read(built) != read(t.table):
            wrong("the log does not give the table of the last run")

        if len(t.finished()) < 2:  # kills in the middle of a candidate give it up, on a busy machine most of them
            wrong("only %d measurements" % len(t.finished()))
        log, replayed = t.log(), os.path.join(root, "replayed.json")
        replay = ["--replay", log, "--shapes", root + "/list", "--out", replayed]
        if t.run(replay)[0]:
            wrong("the log cannot be replayed")
        want = read(replayed)

        def same(fault, _):
            if read(replayed) != want:
                wrong("replay,", fault, "the table is another one")
        kill_at_calls(t, replay, [("mkstemp", 1), ("write", 1), ("fsync", 1), ("rename", 1)], same)
        os.unlink(replayed)
        if t.run(replay)[0] or read(replayed) != want:
            wrong("a replay after kills gives another table")

        for call, number in (("write", 1), ("write", 3), ("fdatasync", 2), ("mkstemp", 1), ("fsync", 1), ("rename", 1)):
            fault = "%s %d %d" % (call, number, errno.ENOSPC)
            refuses(t, fault, t.args, fault)
        refuses(t, "read-only directory:", t.args, "mkstemp 1 %d" % errno.EROFS)
        refuses(t, "no bytes may be written:", ["build", log, "--out", t.table], limit=0)
        with open(os.path.join(root, "file"), "w"):
            pass
        refuses(t, "no directory:", ["build", log, "--out", os.path.join(root, "file", "table.json")])
    print("%d failures; %d kills at random moments" % (failures, KILLS))
    return failures > 0


if __name__ == "__main__":
    sys.exit(main())
