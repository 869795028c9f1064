#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""How well the compiler's time model predicts what chunk loops cost.

  time_model.py --bin build/release/bin [MODEL [NAME=N]...]... [--plans 9] [--rounds 9] [--machine FILE]

Of each model (a graph of test/models or the path of a complete model, with its dims after it) the unchunked plan and
plans at --plans even steps down to the least budget are compiled. One process holds all libraries of a model, and in each
round runs each of them once, in an order of its own, with a run of the unchunked one before it. Two things are measured:

- undisturbed time: of each launch of the program the fastest of all rounds, summed up. Other work on the machine only
  ever adds to a launch, and a launch is short enough to find a quiet moment. With --threads 1 it is CPU time, to which
  others add nothing but what they take of caches and memory: the choice on a machine that is busy;
- pairs: the median over rounds of the ratio of a run to that of the unchunked one just before it. Rounds in which other
  processes used more than --foreign-cores count only where there are no quiet ones; how many were quiet is printed.

The machine is calibrated first, unless --machine names a file. Printed for each model: the rank correlation (Spearman)
of predicted and measured slowdown, the mean and largest error of the predicted slowdown, and predicted over measured
milliseconds of the unchunked plan. Then the same over all plans. Measured is the undisturbed time, or with --pairs pairs.
"""
import argparse
import json
import random
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from harness import Compiler, cases, complete_model, interval, save_inputs  # noqa: E402
from timed_runs import TimedRuns  # noqa: E402

# Graphs of test/models, at lengths at which a run takes long enough to be timed.
DEFAULT = ["gpt2_long", "batch=1", "seq=512", "gpt2_long", "batch=1", "seq=2048", "gpt2_tiny", "batch=1", "seq=2048",
           "gpt2_tiny_unoptimized", "batch=1", "seq=1024", "llama_tiny", "batch=1", "seq=4096", "bert_tiny", "batch=1",
           "seq=512", "vit_tiny", "batch=64", "folding_tiny", "batch=1", "n=96"]


def ranks(values):
    """Ranks from 0; equal values share their mean rank."""
    values = np.asarray(values, dtype=float)
    order = np.argsort(values, kind="stable")
    result = np.empty(len(values))
    result[order] = np.arange(len(values))
    for value in set(values):
        result[values == value] = result[values == value].mean()
    return result


def spearman(a, b):
    """Rank correlation; nan where one of both is constant."""
    a, b = ranks(a), ranks(b)
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / scale) if scale else float("nan")


class Plan:
    """One library with what was predicted and what was measured of it, in milliseconds."""

    def __init__(self, library, report):
        self.library, self.arena = library, report["memory"]["arena"]
        self.predicted, self.whole = report["time_model"]["chunked_ms"], report["time_model"]["unchunked_ms"]
        self.loops = len(report["chunk_loops"])
        self.times, self.ratios, self.launches = [], [], None

    def add(self, ms, launches, ratio=None, foreign=0.0):
        """One run: how long it took, and each launch of it."""
        self.times.append(ms)
        if ratio is not None:
            self.ratios.append((foreign, ratio))
        self.launches = launches if self.launches is None else [min(pair) for pair in zip(self.launches, launches)]

    @property
    def undisturbed(self):
        return sum(self.launches)

    @property
    def predicted_slowdown(self):
        return self.predicted / self.whole

    def quiet(self, limit):
        """Ratios of the rounds that others left alone; all where there are none."""
        return [r for foreign, r in self.ratios if foreign <= limit] or [r for _, r in self.ratios] or [1.0]

    def slowdown(self, unchunked, args):
        return statistics.median(self.quiet(args.foreign_cores)) if args.pairs else self.undisturbed / unchunked.undisturbed


def compile_plans(args, name, dims):
    """([Plan], inputs): the unchunked plan first; plans that came out equal are kept once."""
    model = complete_model(name, args.work)
    compiler = Compiler(args, model, dims)
    dry = compiler.done("--dry-run")
    least, unchunked = dry["budget"]["least_activation"], dry["memory"]["unchunked_arena"]
    plans, seen = [], set()
    for step in range(args.plans + 1):
        library = args.work / f"{model.stem}_{step}.so"
        done = compiler.done("-o", library, budget=unchunked - (unchunked - least) * step // args.plans)
        key = json.dumps(done["chunk_loops"])
        if key not in seen:
            seen.add(key)
            plans.append(Plan(library, done))
    return plans, save_inputs(model, dims, args.work)


def measure(args, plans, inputs):
    shuffler = random.Random(0)
    with TimedRuns(args, [plan.library for plan in plans], inputs) as runs:
        for _ in range(args.rounds):
            order = shuffler.sample(range(1, len(plans)), len(plans) - 1)
            if not order:
                alone = runs.run(0)
                plans[0].add(alone.ms, alone.launches)
            for turn, index in enumerate(order):
                first, other, foreign = runs.pair(index)
                if turn == 0:  # as often as any other: the least of more runs would be less
                    plans[0].add(first.ms, first.launches)
                plans[index].add(other.ms, other.launches, other.ms / first.ms, foreign)


def errors_of(plans, args):
    slowdowns = [p.slowdown(plans[0], args) for p in plans]
    return [abs(p.predicted_slowdown - s) / s for p, s in list(zip(plans, slowdowns))[1:]]


def correlation_of(plans, args):
    """Of the slowdowns, where there is a rank to speak of."""
    if len(plans) < 3:
        return float("nan")
    return spearman([p.predicted_slowdown for p in plans], [p.slowdown(plans[0], args) for p in plans])


def summary(name, plans, args):
    """One line about the plans of a model."""
    errors = errors_of(plans, args)
    if not errors:
        return f"{name:40} no plan but the unchunked one"
    quiet = sum(foreign <= args.foreign_cores for p in plans for foreign, _ in p.ratios)
    return (f"{name:40}{len(plans):4} plans  rank correlation {correlation_of(plans, args):5.2f}  slowdown: mean error "
            f"{100 * statistics.mean(errors):5.1f} %, largest {100 * max(errors):5.1f} %  unchunked "
            f"{plans[0].undisturbed:8.1f} ms, predicted {plans[0].predicted / plans[0].undisturbed:5.2f} of it  quiet "
            f"{quiet} of {sum(len(p.ratios) for p in plans)} pairs")


def overall(models, args):
    """Lines about all plans of all models, given as lists of plans."""
    plans = [p for model in models for p in model]
    errors = [error for model in models for error in errors_of(model, args)]
    correlations = [c for c in (correlation_of(model, args) for model in models) if c == c]
    ratios = [p.predicted / p.undisturbed for p in plans]
    milliseconds = spearman([p.predicted for p in plans], [p.undisturbed for p in plans])
    slowdowns = spearman([p.predicted_slowdown for p in plans], [p.slowdown(m[0], args) for m in models for p in m])
    return (f"{len(plans)} plans of {len(models)} models: rank correlation of milliseconds {milliseconds:.3f}, of slowdowns "
            f"{slowdowns:.3f}; within a model at least 0.9 in {sum(c >= 0.9 for c in correlations)} of {len(correlations)}\n"
            f"predicted slowdown: mean error {100 * statistics.mean(errors or [0]):.1f} %, largest "
            f"{100 * max(errors or [0]):.1f} %; predicted over measured milliseconds: {min(ratios):.2f} to "
            f"{max(ratios):.2f}, mean error {100 * statistics.mean(abs(r - 1) for r in ratios):.1f} %")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="MODEL [NAME=N]...")
    parser.add_argument("--bin", type=Path, required=True, help="folder of snugc")
    parser.add_argument("--plans", type=int, default=9, help="budgets below the unchunked one")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--pairs", action="store_true", help="judge by pairs of runs, not by undisturbed launches")
    parser.add_argument("--foreign-cores", type=float, default=0.1, help="what other processes may use in a quiet pair")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--machine", type=Path, help="a machine file; default: this machine is calibrated")
    parser.add_argument("--work", type=Path, default=Path("build/benchmark"))
    parser.add_argument("--json", type=Path, help="write every plan's figures")
    parser.add_argument("-v", "--verbose", action="store_true", help="print each plan")
    args = parser.parse_intermixed_args()
    args.bin = args.bin.resolve()
    args.work.mkdir(parents=True, exist_ok=True)
    if not args.machine:
        args.machine = args.work / "machine.json"
        subprocess.run([str(args.bin / "snugc"), "--calibrate", "-o", str(args.machine)], check=True)
    models, figures = [], []
    for name, dims in cases(args.cases or DEFAULT):
        title = f"{Path(name).stem} {' '.join(dims)}"
        plans, inputs = compile_plans(args, name, dims)
        measure(args, plans, inputs)
        if args.verbose:
            for plan in plans:
                low, middle, high = interval(plan.quiet(args.foreign_cores))
                print(f"{title:40}{plan.arena / 2**20:10.2f} MiB {plan.loops:4} loops  predicted {plan.predicted:9.2f} ms "
                      f"{plan.predicted_slowdown:6.3f}x  measured {plan.undisturbed:9.2f} ms "
                      f"{plan.undisturbed / plans[0].undisturbed:6.3f}x  pairs {middle:6.3f}x ({low:.3f} to {high:.3f})",
                      flush=True)
        print(summary(title, plans, args), flush=True)
        models.append(plans)
        figures += [{"model": title, "arena": p.arena, "loops": p.loops, "predicted_ms": p.predicted,
                     "predicted_slowdown": p.predicted_slowdown, "undisturbed_ms": p.undisturbed, "pairs": p.ratios}
                    for p in plans]
        if args.json:
            args.json.write_text(json.dumps(figures, indent=1))
    print(overall(models, args))


if __name__ == "__main__":
    main()
