# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the benchmarks share: cases of a command line, complete models, the compiler, statistics, and CPU time of others."""
import json
import math
import os
import resource
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
        """(exit code, report, None where there is none, and what it wrote to stderr). budget: bytes of the arena, or text."""
        self.report.unlink(missing_ok=True)
        text = f"{budget}B" if isinstance(budget, int) else budget
        flags += ("--activation-budget", text) if text else ()
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


def prepare(args):
    """What the scripts need that compile and run: the tools of --bin, found by test/numerics/snug.py too, a folder to work
    in, and a limit of memory for each process."""
    args.bin = args.bin.resolve()
    args.work.mkdir(parents=True, exist_ok=True)
    for variable, name in (("SNUGC", "snugc"), ("SNUG_RUN", "snug-run"), ("SNUG_MEMORY_PROBE", "memory-probe")):
        os.environ[variable] = str(args.bin / name)
    limit = int(args.memory_limit * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def remove(library):
    """A library, its weights, and what was read and written by its runs."""
    for path in library.parent.glob(library.stem + ".*"):
        path.unlink()


def add_run_arguments(parser):
    """The flags that the scripts about budgets share."""
    parser.add_argument("--bin", type=Path, required=True, help="folder of snugc, snug-run and memory-probe")
    parser.add_argument("--no-run", action="store_true", help="plan only, which reads no weights")
    parser.add_argument("--rounds", type=int, default=15, help="quiet pairs of runs for each slowdown")
    parser.add_argument("--foreign-cores", type=float, default=0.1, help="what other processes may use in a quiet pair")
    parser.add_argument("--memory-limit", type=float, default=24, help="GiB of address space for each process")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--machine", type=Path, help="a machine file; default: the compiler's built-in table")
    parser.add_argument("--work", type=Path, default=Path("build/benchmark"))


def own_seconds(pids):
    """CPU seconds of this process, of children that have ended, and of `pids`."""
    used = sum(os.times()[:4])
    for pid in pids:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        used += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return used
