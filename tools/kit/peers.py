#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""peers.py - what a user would take instead of flashdec, timed in alternating rounds with flashdec-bench

    peers.py FLASHDEC-BENCH SHAPES SECONDS OUT.jsonl gpu|cpu     what flashdec's device is

PyTorch (SDPA and linear; f16 on CUDA or HIP, f32 on a CPU), else cuBLAS or hipBLAS through ctypes (linear alone). The
peer runs on the first GPU that it sees. Of SHAPES, options of flashdec-bench, it takes what a peer can do: caches and
weights of f16. A line for what the peer copies per second (bytes read and written), then one for each problem.
Operands take turns, together larger than caches, as flashdec-bench's do. Exit status 77: there is no peer.
"""
import ctypes
import glob
import json
import os
import shlex
import signal
import statistics
import subprocess
import sys
import time

ROUNDS = 3              # of the peer and flashdec-bench in turns
SAMPLE_S = 0.1          # of the peer, at least, in each round
OPERANDS = 512 << 20    # bytes of operands that take turns, at least two sets


class TimeIsUp(BaseException):
    """No failure, so that nothing that handles failures takes it."""


def options_of(line):
    """Of a line of SHAPES: (operation, {option: value}); None where no peer does the like."""
    words = shlex.split(line, comments=True)
    if not words:
        return None
    given = dict(zip((w[2:] for w in words[1::2]), words[2::2]))
    known = {"attn": {"batch", "heads", "kv-heads", "head-dim", "context", "kv", "act"},
             "linear": {"m", "n", "k", "weights", "act"}}.get(words[0], set())
    if not set(given) <= known or given.get("kv", "f16") != "f16" or given.get("weights", "f16") != "f16":
        return None
    return words[0], {key: value if key in ("kv", "weights", "act") else int(value) for key, value in given.items()}


class Torch:
    """PyTorch's own choice of kernels, timed by the device's events."""

    def __init__(self, gpu):
        import torch
        self.torch = torch
        self.gpu = gpu
        if gpu and not torch.cuda.is_available():
            raise OSError("PyTorch has neither CUDA nor HIP here")
        self.device = "cuda" if self.gpu else "cpu"
        self.type = torch.float16 if self.gpu else torch.float32
        name = torch.cuda.get_device_name() if self.gpu else "CPU, f32, %d threads" % torch.get_num_threads()
        self.name = "PyTorch %s (%s)" % (torch.__version__, name)

    def tensor(self, *shape):
        return self.torch.randn(*shape, device=self.device, dtype=self.type)

    def copy(self):
        n = OPERANDS // 2 // self.torch.empty(0, dtype=self.type).element_size()
        source, target = self.tensor(n), self.tensor(n)
        return [lambda: target.copy_(source)], 2 * source.nbytes

    def attn(self, o):
        heads, d = o.get("heads", 32), o.get("head-dim", 128)
        batch, groups, tokens = o.get("batch", 1), o.get("kv-heads", heads), o.get("context", 2048)
        sdpa = self.torch.nn.functional.scaled_dot_product_attention
        grouped = {"enable_gqa": True} if groups != heads else {}

        def one():
            q, k, v = (self.tensor(batch, *shape, d) for shape in ((heads, 1), (groups, tokens), (groups, tokens)))
            return lambda: sdpa(q, k, v, **grouped)
        return "SDPA", self.sets(one, 2 * batch * groups * tokens * d)

    def linear(self, o):
        m, n, k = o.get("m", 1), o.get("n", 4096), o.get("k", 4096)

        def one():
            x, w = self.tensor(m, k), self.tensor(n, k)
            return lambda: self.torch.nn.functional.linear(x, w)
        return "linear", self.sets(one, n * k)

    def release(self):
        pass  # tensors go with the calls that hold them

    def sets(self, one, elements):
        size = elements * self.torch.empty(0, dtype=self.type).element_size()
        return [one() for _ in range(min(64, max(2, OPERANDS // size)))]

    def sample(self, calls, n):
        """Seconds of n calls, queued, taking turns."""
        if not self.gpu:
            began = time.perf_counter()
            for i in range(n):
                calls[i % len(calls)]()
            return time.perf_counter() - began
        begin, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for i in range(n):
            calls[i % len(calls)]()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3


class Blas:
    """cuBLAS or hipBLAS without PyTorch: y = x W^T as f16 with sums in f32, timed by the device's events."""
    KINDS = (  # libraries, prefixes, suffix; operations N and T, f16, sums in f32, default algorithm
        ("libcudart.so", "libcublas.so", "cuda", "cublas", "_v2", 0, 1, 2, 68, -1),
        ("libamdhip64.so", "libhipblas.so", "hip", "hipblas", "", 111, 112, 150, 151, 160))

    def __init__(self, gpu):
        for kind in self.KINDS if gpu else ():
            try:
                self.runtime, blas = self.load(kind[0]), self.load(kind[1])
            except OSError:
                continue
            _, library, self.prefix, name, suffix, self.no, self.yes, self.half, self.compute, self.algorithm = kind
            self.handle = ctypes.c_void_p()
            self.must(getattr(blas, name + "Create" + suffix)(ctypes.byref(self.handle)), name + "Create")
            self.gemm_ex = getattr(blas, name + "GemmEx")
            self.name, self.held = library[3:-3], []
            return
        raise OSError("there is neither cuBLAS nor hipBLAS for it with its runtime")

    @staticmethod
    def load(name):
        folders = os.environ.get("LD_LIBRARY_PATH", "").split(":") + \
            ["/usr/local/cuda/lib64", *glob.glob("/opt/rocm*/lib"), *glob.glob("/usr/lib/*-linux-gnu")]
        for path in [name] + [p for folder in folders if folder for p in sorted(glob.glob(folder + "/" + name + "*"))]:
            try:
                return ctypes.CDLL(path)
            except OSError:
                pass
        raise OSError(name)

    @staticmethod
    def must(status, what):
        if status:
            raise OSError("%s: status %d" % (what, status))

    def call(self, name, *args):
        self.must(getattr(self.runtime, self.prefix + name)(*args), self.prefix + name)

    def memory(self, size):
        pointer = ctypes.c_void_p()
        self.call("Malloc", ctypes.byref(pointer), ctypes.c_size_t(size))
        self.call("Memset", pointer, 0x2c, ctypes.c_size_t(size))  # 0x2c2c is 0.065 in f16
        self.held.append(pointer)
        return pointer

    def release(self):
        while self.held:
            self.call("Free", self.held.pop())

    def copy(self):
        size, on_device = OPERANDS // 2, 3
        source, target = self.memory(size), self.memory(size)
        return [lambda: self.call("MemcpyAsync", target, source, ctypes.c_size_t(size), on_device, None)], 2 * size

    def attn(self, o):
        return None

    def linear(self, o):
        m, n, k = o.get("m", 1), o.get("n", 4096), o.get("k", 4096)
        one, zero = ctypes.c_float(1), ctypes.c_float(0)
        x, y = self.memory(2 * m * k), self.memory(2 * m * n)

        def of(w):  # columns are contiguous there: y^T[n,m] = (W^T)^T x^T
            return lambda: self.must(self.gemm_ex(
                self.handle, self.yes, self.no, n, m, k, ctypes.byref(one), w, self.half, k, x, self.half, k,
                ctypes.byref(zero), y, self.half, n, self.compute, self.algorithm), "GemmEx")
        return "GemmEx", [of(self.memory(2 * n * k)) for _ in range(min(64, max(2, OPERANDS // (2 * n * k))))]

    def sample(self, calls, n):
        begin, end, ms = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_float()
        for event in (begin, end):
            self.call("EventCreate", ctypes.byref(event))
        self.call("EventRecord", begin, None)
        for i in range(n):
            calls[i % len(calls)]()
        self.call("EventRecord", end, None)
        self.call("EventSynchronize", end)
        self.call("EventElapsedTime", ctypes.byref(ms), begin, end)
        return ms.value / 1e3


def peer_of_this_machine(gpu):
    """The first that there is; None, with a line for each that there is not."""
    for kind in (Torch, Blas):
        try:
            return kind(gpu)
        except Exception as why:  # whatever a broken installation raises
            print("%s: %s" % (kind.__name__, str(why).split("\n")[0]))
    return None


def seconds_of(peer, calls):
    """Of one call; as many in a sample as take SAMPLE_S."""
    n = 1
    while True:
        took = peer.sample(calls, n)
        if took >= SAMPLE_S / 2 or n >= 1 << 16:
            return took / n
        n = max(2 * n, int(n * SAMPLE_S / max(took, 1e-6)))


def flashdec_of(bench, line):
    """flashdec-bench's JSON object for the problem, None where it failed, with its words in the log."""
    command = [bench, *shlex.split(line), "--json", "--no-peers", "--rounds", "5", "--seconds", "2"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else None


def compare(peer, bench, line):
    """The object of one problem; None where the peer does not do it or flashdec-bench failed."""
    op, options = options_of(line)
    made = getattr(peer, op)(options)
    if not made:
        return None
    what, calls = made
    peer.sample(calls, len(calls))  # compiles, chooses, touches all operands
    theirs, ours = [], []
    for _ in range(ROUNDS):
        theirs.append(seconds_of(peer, calls) * 1e6)
        told = flashdec_of(bench, line)
        if not told:
            return None
        ours.append(told["median_us"])
    peer_us, flashdec_us = statistics.median(theirs), statistics.median(ours)
    return {"problem": told["problem"], "peer": peer.name + " " + what, "peer_us": peer_us, "flashdec_us": flashdec_us,
            "speedup": peer_us / flashdec_us, "peer_rounds_us": theirs, "flashdec_rounds_us": ours}


def copy_rate(peer):
    """Bytes a second, read and written."""
    calls, size = peer.copy()
    peer.sample(calls, 1)
    rate = statistics.median(size / seconds_of(peer, calls) for _ in range(ROUNDS))
    peer.release()
    return rate


def compare_all(peer, bench, shapes, tell):
    """Whether the peer could do all that it said it can."""
    good = True
    with open(shapes, encoding="utf-8") as problems:
        for line in filter(options_of, problems):
            try:
                told = compare(peer, bench, line)
                peer.release()
                if told:
                    tell(told)
            except Exception as why:  # a peer that cannot do this problem, however it says so
                print("%s: %s" % (line.strip(), str(why).split("\n")[0]))
                good = False
    return good


def time_is_up(_signal, _frame):
    raise TimeIsUp


def main():
    bench, shapes, seconds, out, device = sys.argv[1:]
    signal.signal(signal.SIGALRM, time_is_up)
    signal.alarm(max(1, int(seconds)))
    told, good = [], True
    with open(out, "w", encoding="utf-8") as lines:
        def tell(what):
            print(json.dumps(what), file=lines, flush=True)
            print(json.dumps(what))
            told.append(what)
        try:
            peer = peer_of_this_machine(device == "gpu")
            if not peer:
                print("there is neither PyTorch nor cuBLAS nor hipBLAS")
                return 77
            tell({"peer": peer.name, "copy_gbps": copy_rate(peer) / 1e9})
            good = compare_all(peer, bench, shapes, tell)
        except TimeIsUp:
            print("the time is up")
    if not told:
        print("nothing was timed")
        return 1
    print("%d problems beside %s, which copies %.0f GB/s" % (len(told) - 1, told[0]["peer"], told[0]["copy_gbps"]))
    return 0 if good else 1


sys.exit(main())
