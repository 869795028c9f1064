#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""How well the compiler's time model predicts what chunk loops cost.

  time_model.py --bin build/release/bin [MODEL [NAME=N]...]... [--plans 10] [--rounds 5]

Of each model (a graph of test/models or the path of a complete model, with its dims after it) the unchunked plan and
--plans plans at even steps down to the least budget are compiled. In each round every library runs once, one after another,
in an order of its own; of a library the median over rounds counts. Printed for each model: the rank correlation (Spearman)
of predicted and measured milliseconds, and the mean error of the predicted slowdown; then both over all plans.
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
from benchmark import DEFAULT, cases, materialize  # noqa: E402


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
    """One library with its predicted slowdown and the latencies measured of it."""

    def __init__(self, library, report):
        self.library, self.arena = library, report["memory"]["arena"]
        self.predicted = report["time_model"]["chunked_ms"]
        self.loops = len(report["chunk_loops"])
        self.times = []

    @property
    def measured(self):
        return statistics.median(self.times)


def compile_plans(args, name, dims):
    """[Plan], unchunked first; plans that came out equal are kept once."""
    model = Path(name)
    if not model.is_file():
        model = materialize.materialize(materialize.HERE / (name + ".onnx"), args.work)
    flags = ["--threads", args.threads] + [text for dim in dims for text in ("--dim", dim)]
    report = args.work / "report.json"

    def snugc(*more):
        subprocess.run([str(x) for x in (args.bin / "snugc", model, "--report", report, *flags, *more)],
                       check=True, stderr=subprocess.DEVNULL)
        return json.loads(report.read_text())

    dry = snugc("--dry-run")
    least, unchunked = dry["budget"]["least_activation"], dry["memory"]["unchunked_arena"]
    plans, seen = [], set()
    for step in range(args.plans + 1):
        budget = unchunked - (unchunked - least) * step // args.plans
        library = args.work / f"{model.stem}_{step}.so"
        done = snugc("-o", library, "--activation-budget", f"{budget}B")
        key = json.dumps(done["chunk_loops"])
        if key not in seen:
            seen.add(key)
            plans.append(Plan(library, done))
    inputs = args.work / (model.stem + ".inputs.npz")
    np.savez(inputs, **materialize.make_inputs(model, materialize.parse_dims(dims)))
    return model.stem, plans, inputs


def measure(args, plans, inputs):
    stats = args.work / "stats.json"
    shuffler = random.Random(0)
    for _ in range(args.rounds):
        for plan in shuffler.sample(plans, len(plans)):
            subprocess.run([str(x) for x in (args.bin / "snug-run", plan.library, "--inputs", inputs, "--stats", stats,
                                             "--threads", args.threads, "--warmup", 1, "--repeat", args.repeat)],
                           check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            plan.times.append(json.loads(stats.read_text())["latency_ms"]["min"])


def summary(name, plans):
    """One line: rank correlation of the milliseconds, mean and largest error of the slowdown."""
    predicted, measured = [p.predicted for p in plans], [p.measured for p in plans]
    errors = [abs(p.predicted / plans[0].predicted - p.measured / plans[0].measured) for p in plans[1:]]
    if not errors:
        return f"{name:32} no plan but the unchunked one"
    return (f"{name:32}{len(plans):4} plans  rank correlation {spearman(predicted, measured):5.2f}  slowdown: mean error "
            f"{100 * statistics.mean(errors):5.1f} %, largest {100 * max(errors):5.1f} %   unchunked: predicted "
            f"{predicted[0]:.1f} ms, measured {measured[0]:.1f} ms")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=DEFAULT, metavar="MODEL [NAME=N]...")
    parser.add_argument("--bin", type=Path, required=True, help="folder of snugc and snug-run")
    parser.add_argument("--plans", type=int, default=10, help="budgets below the unchunked one")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=3, help="runs of a library in a round, of which the fastest counts")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("build/benchmark"))
    parser.add_argument("-v", "--verbose", action="store_true", help="print each plan")
    args = parser.parse_intermixed_args()
    args.work.mkdir(parents=True, exist_ok=True)
    lines, predicted, measured = [], [], []
    for name, dims in cases(args.cases):
        stem, plans, inputs = compile_plans(args, name, dims)
        measure(args, plans, inputs)
        if args.verbose:
            for plan in plans:
                print(f"{stem:32}{plan.arena / 2**20:10.2f} MiB {plan.loops:4} loops  predicted "
                      f"{plan.predicted:9.2f} ms {plan.predicted / plans[0].predicted:6.3f}x  measured "
                      f"{plan.measured:9.2f} ms {plan.measured / plans[0].measured:6.3f}x", flush=True)
        lines.append(summary(f"{stem} {' '.join(dims)}", plans))
        predicted += [p.predicted for p in plans]
        measured += [p.measured for p in plans]
    print("\n".join(lines))
    print(f"{len(predicted)} plans in all: rank correlation of milliseconds {spearman(predicted, measured):.3f}")


if __name__ == "__main__":
    main()
