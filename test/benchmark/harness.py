# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the benchmarks share: cases of a command line, complete models, the compiler, statistics, and CPU time of others."""
import json
import math
import os
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "models"))
import materialize  # noqa: E402


def cases(words):
    """[(model, ["NAME=N"])] of a command line: dims belong to the model before them."""
    found = []
    for word in words:
        if "=" not in word:
            found.append((word, []))
        elif found:
            found[-1][1].append(word)
        else:
            sys.exit(f"{Path(sys.argv[0]).stem}: {word} stands before any model")
    return found


def complete_model(name, work):
    """The path of a model with weights: `name` itself where it is a file, else that graph of test/models."""
    if Path(name).is_file():
        return Path(name)
    return materialize.materialize(materialize.HERE / (name + ".onnx"), work)


def save_inputs(model, dims, work):
    """Seeded inputs of a model for ["NAME=N"], as a file."""
    inputs = work / (model.stem + ".inputs.npz")
    np.savez(inputs, **materialize.make_inputs(model, materialize.parse_dims(dims)))
    return inputs


class Compiler:
    """snugc for one model, at given dims."""

    def __init__(self, args, model, dims):
        self.snugc, self.model, self.report = args.bin / "snugc", model, args.work / (model.stem + ".report.json")
        self.flags = ["--threads", args.threads] + [text for dim in dims for text in ("--dim", dim)]
        self.flags += ["--machine", args.machine] if args.machine else []

    def __call__(self, *flags, budget=None):
        """(exit code, report, None where there is none, and what it wrote to stderr). budget: bytes of the arena."""
        self.report.unlink(missing_ok=True)
        flags += ("--activation-budget", f"{budget}B") if budget is not None else ()
        command = [self.snugc, self.model, "--report", self.report, *self.flags, *flags]
        done = subprocess.run([str(x) for x in command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True)
        report = json.loads(self.report.read_text()) if self.report.exists() else None
        return done.returncode, report, done.stderr

    def done(self, *flags, budget=None):
        """The report of a compilation that must work."""
        code, report, errors = self(*flags, budget=budget)
        if code:
            sys.exit(f"{Path(sys.argv[0]).stem}: {self.model}: snugc ended with exit code {code}\n{errors}")
        return report


def interval(ratios):
    """(low, median, high): the distribution-free 90 % interval of the median, by order statistics."""
    ordered, count = sorted(ratios), len(ratios)
    below, k = 0.0, 0  # the largest k with P(Binomial(n, 1/2) < k) <= 5 %
    while below + math.comb(count, k) / 2 ** count <= 0.05:
        below += math.comb(count, k) / 2 ** count
        k += 1
    return ordered[max(k - 1, 0)], statistics.median(ordered), ordered[min(count - k, count - 1)]


def machine_seconds():
    """CPU seconds that all processes have used."""
    with open("/proc/stat") as file:
        user, nice, system, _, _, irq, soft = (int(x) for x in file.readline().split()[1:8])
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")


def own_seconds(pids):
    """CPU seconds of this process, of children that have ended, and of `pids`."""
    used = sum(os.times()[:4])
    for pid in pids:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        used += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return used
