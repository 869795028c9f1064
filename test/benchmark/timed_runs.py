#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs compiled libraries in turns: one process holds all of them, and each run of one is paired with a run of the first.

Used by the benchmarks beside it, which start this file as that process.
"""
import argparse
import collections
import ctypes
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from harness import machine_seconds  # noqa: E402


# What is compared takes this long at least, so that one wake-up of a thread or one tick of the kernel's clock is little.
LEAST_MS = 200


class Run:
    """Runs of one library, one after another: the median of their milliseconds, the mean of those of each launch, and the
    CPU seconds that the process had used after them."""

    def __init__(self, line):
        self.ms, self.launches, self.cpu_seconds = json.loads(line)


class TimedRuns:
    """The process that holds `libraries`. Leave the `with` block to end it."""

    def __init__(self, args, libraries, inputs):
        self.libraries = libraries
        command = [sys.executable, __file__, *libraries, "--inputs", inputs, "--threads", args.threads]
        environment = dict(os.environ, SNUG_RUNTIME=str(args.bin.parent / "lib" / "libsnug_runtime.so"))
        self.process = subprocess.Popen([str(x) for x in command], env=environment, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        for index in range(len(self.libraries)):  # the first run of each reads its weights
            self.run(index)
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()

    def run(self, index, repeat=1):
        try:
            self.process.stdin.write(f"{index} {repeat}\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            sys.exit(f"{Path(sys.argv[0]).stem}: {self.libraries[index]} could not be run")
        return Run(line)

    def pair(self, index, repeat=1):
        """(runs of the first library, runs of this one, cores that other processes used meanwhile)."""
        start, machine, own = time.perf_counter(), machine_seconds(), sum(os.times()[:2])
        first = self.run(0, repeat)
        other = self.run(index, repeat)
        # What the first of the two runs used is not known apart: as much as the second in proportion.
        own = (other.cpu_seconds - first.cpu_seconds) * (1 + first.ms / other.ms) + sum(os.times()[:2]) - own
        return first, other, (machine_seconds() - machine - own) / (time.perf_counter() - start)

    def quiet_ratios(self, index, rounds, foreign_cores):
        """(time of this library over the first's in each of `rounds` quiet pairs, void pairs). Fewer than `rounds` where
        three times as many pairs had not enough quiet ones among them."""
        ratios, void = [], 0
        repeat = min(max(round(LEAST_MS / self.run(0).ms), 1), 50)
        while len(ratios) < rounds and len(ratios) + void < 3 * rounds:
            first, other, foreign = self.pair(index, repeat)
            if foreign > foreign_cores:
                void += 1
            else:
                ratios.append(other.ms / first.ms)
        return ratios, void


def cpu_profiled(snug, libraries):
    """(models, counters): run on this thread alone; a run adds to counters[launch] the CPU nanoseconds of each launch."""
    kernel_type = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
    parallel_for_type = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int64),
                                         ctypes.c_int64, ctypes.c_int64)
    kernels, counters = {}, collections.Counter()

    def parallel_for(_, address, arguments, extent, grain):
        kernel = kernels.get(address) or kernels.setdefault(address, kernel_type(address))
        pointer, launch = ctypes.cast(arguments, ctypes.c_void_p), arguments[-1]  # include/snug/ModelABI.h
        start = time.thread_time_ns()
        kernel(pointer, 0, extent, 0)
        counters[launch] += time.thread_time_ns() - start
    callback = parallel_for_type(parallel_for)
    models = [snug.load(library, 1, profile=True, parallel_for=callback) for library in libraries]
    return models, counters


def main():
    """Holds the libraries named on the command line. For each line "INDEX REPEAT" that it reads it runs one, and prints
    what Run has."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("libraries", nargs="+")
    parser.add_argument("--inputs", required=True)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_intermixed_args()
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python"))
    import snug
    with np.load(args.inputs) as file:
        feeds = {name: file[name] for name in file.files}
    if args.threads == 1:
        models, counters = cpu_profiled(snug, args.libraries)
    else:
        models = [snug.load(library, args.threads, profile=True) for library in args.libraries]
    for line in sys.stdin:
        index, repeat = (int(word) for word in line.split())
        model, times = models[index], []
        for _ in range(repeat):
            start = time.perf_counter()
            model(**feeds)
            times.append(1e3 * (time.perf_counter() - start))
        launches = [ns / 1e6 / repeat for _, _, ns in model.profile()]
        if args.threads == 1:
            launches = [counters[launch] / 1e6 / repeat for launch in range(len(launches))]
            counters.clear()
        print(json.dumps([statistics.median(times), launches, time.process_time()]), flush=True)


if __name__ == "__main__":
    main()
