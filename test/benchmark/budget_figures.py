#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The figures that Snug is to reach under memory budgets, and what it reaches.

  budget_figures.py --bin build/release/bin --models DIR [--only NAME]... [--machine FILE] [--no-run]

DIR holds the complete models of FIGURES below, as NAME.onnx. Of each row a budget of the arena is asked for, and: that it
can be met in at most so many times the model's own time without a budget; or that it can be met and run; or that it can be
planned; or that the least budget is below it. All models of the table are also to get along with 5 % of their eager
arena (docs/report.md), and with half of it at no loss.

Memory is the plan's, and has to hold from outside of the process as docs/budget.md promises it. Time is the median ratio of
interleaved pairs of runs in one process, with its 90 % interval; pairs that other processes disturbed are void. A
program without chunk loops is the one without a budget, whose ratio is 1. The search is to take less than a second for
up to 1000 nodes of the ONNX file, and for each 1000 nodes of larger ones, at every budget asked for; and for 48 layers
at most twice as long as for 2.

--no-run judges time by the model. Printed is one line a figure, with `ok`, `NOT`, or `--` where a budget is below what can be
shown to be needed (BOUNDS); the exit status is 1 if one is `NOT`.
"""
import argparse
import os
import statistics
import sys
from pathlib import Path

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).resolve().parent))
from harness import Compiler, add_run_arguments, interval, prepare, remove, save_inputs  # noqa: E402
from timed_runs import TimedRuns  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "numerics"))
import snug  # noqa: E402
from ops import Graph  # noqa: E402

RUNS, PLAN, LEAST = "runs", "is planned", "is not the least"

# Model, its dims, and of each budget the most that it may cost, or what else is asked of it.
FIGURES = [
    ("gpt2_long", "batch=1 seq=4096", [("30MiB", 1.05), ("40MiB", 1.03)]),
    ("gpt2_long", "batch=1 seq=8192", [("60MiB", 1.05)]),
    ("gpt2_long", "batch=1 seq=32768", [("240MiB", 1.05)]),
    ("vit_2l_1024", "batch=1", [("32MiB", 1.05)]),
    ("esmfold_1b", "batch=1 n=256", [("90MiB", 1.10), ("64MiB", LEAST)]),
    ("esmfold_1b", "batch=1 n=512", [("320MiB", 1.10), ("240MiB", LEAST)]),
    ("esmfold_1b", "batch=1 n=640", [("1GiB", RUNS)]),
    ("esmfold_1b", "batch=1 n=900", [("1GiB", PLAN)]),
    ("sd_unet", "batch=1 height=128 width=128", [("60MiB", 1.15)]),
]
# Shares of the eager arena, asked of each row above that is run.
OF_EAGER = [(0.05, PLAN), (0.50, 1.00)]
# What no program of chunk loops can undercut, in bytes of the dims, and where that is shown. A budget below is not asked for.
SHOWN = "docs/budget.md, Pair updates"
BOUNDS = {"esmfold_1b": lambda dims: 4 * 128 * dims["n"] ** 2}
SEARCH_MS_PER_NODE, DEPTHS, DEPTH_RATIO = 1.0, (2, 48), 2.0

MIB, UNITS = snug.MIB, {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def bytes_of(text):
    """30MiB -> 31457280."""
    return int(float(text[:-3]) * UNITS[text[-3:]])


class Figure:
    """What is asked of one budget, and what was found."""

    def __init__(self, title, budget, asked, bound=0):
        self.title, self.budget, self.asked, self.bound = title, budget, asked, bound
        self.code, self.arena, self.least, self.loops = None, None, None, None
        self.outside, self.broken = None, []  # growth of the process, and what it breaks of the promises
        self.predicted, self.ratio, self.pairs = None, None, 0
        self.library = None

    @property
    def reached(self):
        if self.asked == LEAST:
            return self.least is not None and self.least < self.budget
        met = self.code == 0 and self.arena <= self.budget and not self.broken
        if self.asked == PLAN:
            return met
        if self.asked == RUNS:
            return met and self.outside is not None
        return met and self.ratio is not None and self.ratio[1] <= self.asked

    @property
    def is_out_of_reach(self):
        return self.code == snug.CANNOT_FIT and self.budget < self.bound <= self.least

    @property
    def is_timed(self):
        return isinstance(self.asked, float)

    def text(self):
        asked = f"at <= {self.asked:.2f}x" if self.is_timed else self.asked
        verdict = "-- " if self.is_out_of_reach else "ok " if self.reached else "NOT"
        line = f"{verdict} {self.title:38}{self.budget / MIB:9.2f} MiB {asked:17}"
        if self.code is None:
            line += f" least {self.least / MIB:.2f} MiB" if self.least is not None else " nothing was found out"
        elif self.code:
            line += f" exit code {self.code}" + (f", least {self.least / MIB:.2f} MiB" if self.least is not None else "")
        else:
            line += f" arena {self.arena / MIB:.2f} MiB, {self.loops} loops, modelled {self.predicted:.3f}x"
            line += f", process {self.outside / MIB:.2f} MiB" if self.outside is not None else ""
            if self.ratio:
                low, middle, high = self.ratio
                line += f", measured {middle:.3f}x ({low:.3f} to {high:.3f}, {self.pairs} pairs)" if self.pairs else \
                    ", as modelled" if self.loops else ", the program without a budget"
        if self.is_out_of_reach:
            line += f"; bound {self.bound / MIB:.2f} MiB ({SHOWN})"
        return line + "".join(f"; {text}" for text in self.broken)


def measure_memory(figure, memory):
    created, ran, allocations = snug.outside_memory(figure.library, {}, repeat=1)
    figure.outside = created
    if created > memory["arena"] + memory["library"]:
        figure.broken.append(f"creating a context added {created} bytes, planned are {memory['arena']} and {memory['library']}")
    if ran > MIB:
        figure.broken.append(f"runs added {ran} bytes")
    if allocations:
        figure.broken.append(f"{allocations} allocations in runs")


class Search:
    """How long the searches of one model took."""

    def __init__(self, title, nodes):
        self.title, self.nodes, self.ms = title, nodes, []

    @property
    def reached(self):
        return max(self.ms, default=0) <= SEARCH_MS_PER_NODE * max(self.nodes, 1000)

    def text(self):
        most = max(self.ms, default=0)
        return (f"{'ok ' if self.reached else 'NOT'} {self.title:38} search of {self.nodes} nodes: at most {most:.0f} ms")


class Row:
    """One row of FIGURES: compiles, measures, and holds its figures."""

    def __init__(self, args, name, dims, asked):
        self.args, self.title = args, f"{name} {dims}"
        self.model, self.dims = args.models / f"{name}.onnx", dims.split()
        self.runs = not args.no_run and any(what not in (PLAN, LEAST) for _, what in asked)
        bound = BOUNDS.get(name, lambda dims: 0)({dim: int(value) for dim, value in (d.split("=") for d in self.dims)})
        self.figure = lambda budget, what: Figure(self.title, budget, what, bound)
        self.figures = [self.figure(bytes_of(budget), what) for budget, what in asked]
        self.search = None
        self.of_eager = any(what != PLAN for _, what in asked)

    def compile(self, compiler, what, budget=None):
        library = self.args.work / f"{self.model.stem}_{what}.so"
        flags = ("-o", library) if self.runs else ("--emit", "plan", "-o", os.devnull)
        code, report, errors = compiler(*flags, budget=budget)
        if code not in (0, snug.CANNOT_FIT):
            sys.exit(f"budget_figures: {self.title}: snugc ended with exit code {code}\n{errors}")
        if budget and report["search"]["ms"] is not None:
            self.search.ms.append(report["search"]["ms"])
        return library, code, report

    def measure(self):
        if not self.model.is_file():
            print(f"budget_figures: there is no {self.model}", file=sys.stderr)
            return
        self.search = Search(self.title, len(onnx.load(self.model, load_external_data=False).graph.node))
        compiler = Compiler(self.args, self.model, self.dims)
        free, _, report = self.compile(compiler, "free")
        eager = report["memory"]["eager_arena"]
        print(f"{self.title}: eager arena {eager / MIB:.2f} MiB, without chunk loops "
              f"{report['memory']['unchunked_arena'] / MIB:.2f} MiB, LB2 {report['bounds']['lb2'] / MIB:.2f} MiB", flush=True)
        if self.of_eager:
            self.figures += [self.figure(int(eager * share), what) for share, what in OF_EAGER]
        for number, figure in enumerate(self.figures):
            self.fill(figure, compiler, number)
        timed = [figure for figure in self.figures if figure.is_timed and figure.code == 0]
        for figure in timed:
            if not figure.loops or not self.runs:
                figure.ratio = (figure.predicted,) * 3
        if timed := [figure for figure in timed if not figure.ratio]:
            self.time(free, timed)
        remove(free)
        for figure in self.figures:
            if figure.library:
                remove(figure.library)

    def fill(self, figure, compiler, number):
        if figure.asked == LEAST:
            figure.least = self.compile(compiler, "least", budget=1)[2]["budget"]["least_reachable"]
            return
        library, figure.code, report = self.compile(compiler, number, figure.budget)
        figure.arena, figure.loops = report["memory"]["arena"], len(report["chunk_loops"])
        figure.least = report["budget"]["least_reachable"]
        time = report["time_model"]
        figure.predicted = time["chunked_ms"] / time["unchunked_ms"]
        if figure.code == 0 and self.runs:
            figure.library = library
        # Without chunk loops it is the program without a budget: memory is measured where it is asked for.
        if figure.library and (figure.asked == RUNS or figure.is_timed and figure.loops):
            measure_memory(figure, report["memory"])

    def time(self, free, timed):
        inputs = save_inputs(self.model, self.dims, self.args.work)
        with TimedRuns(self.args, [free] + [figure.library for figure in timed], inputs) as runs:
            for index, figure in enumerate(timed, 1):
                ratios, _ = runs.quiet_ratios(index, self.args.rounds, self.args.foreign_cores)
                figure.pairs = len(ratios)
                figure.ratio = interval(ratios) if ratios else None


def stack_of_layers(layers, path, rows=1024, width=256, heads=4):
    """A transformer of so many layers, all alike, without fused attention."""
    graph, random = Graph(), np.random.default_rng(0)

    def weight(*shape):
        return graph.constant((random.standard_normal(shape) / shape[0] ** 0.5).astype(np.float32))

    def norm(x):
        return graph.node("LayerNormalization", x, weight(width), weight(width), axis=-1)
    x = graph.input("x", np.zeros((1, rows, width), np.float32))
    for _ in range(layers):
        normed, parts = norm(x), []
        for _ in range(3):
            part = graph.node("Reshape", graph.node("MatMul", normed, weight(width, width)),
                              graph.constant(np.array([1, rows, heads, width // heads])))
            parts.append(part)
        q, v = (graph.node("Transpose", part, perm=[0, 2, 1, 3]) for part in (parts[0], parts[2]))
        scores = graph.node("MatMul", q, graph.node("Transpose", parts[1], perm=[0, 2, 3, 1]))
        mixed = graph.node("Transpose", graph.node("MatMul", graph.node("Softmax", scores, axis=-1), v), perm=[0, 2, 1, 3])
        mixed = graph.node("Reshape", mixed, graph.constant(np.array([1, rows, width])))
        x = graph.node("Add", x, graph.node("MatMul", mixed, weight(width, width)))
        hidden = graph.node("Gelu", graph.node("MatMul", norm(x), weight(width, 4 * width)))
        x = graph.node("Add", x, graph.node("MatMul", hidden, weight(4 * width, width)))
    graph.output(x, 3)
    return graph.save(path)


class Depth:
    """Whether the search takes longer for more layers."""

    def __init__(self, args):
        self.ms = []
        for layers in DEPTHS:
            compiler = Compiler(args, stack_of_layers(layers, args.work / f"stack_{layers}.onnx"), [])
            took = [compiler.done("--emit", "plan", "-o", os.devnull, budget="50%")["search"]["ms"] for _ in range(5)]
            self.ms.append(statistics.median(took))
            compiler.model.unlink()

    @property
    def reached(self):
        return self.ms[1] <= DEPTH_RATIO * self.ms[0]

    def text(self):
        return (f"{'ok ' if self.reached else 'NOT'} {DEPTHS[1]} layers: search of {self.ms[1]:.1f} ms, {DEPTHS[0]} layers: "
                f"{self.ms[0]:.1f} ms; {self.ms[1] / self.ms[0]:.2f}x, asked is <= {DEPTH_RATIO:.2f}x")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_run_arguments(parser)
    parser.add_argument("--models", type=Path, required=True, metavar="DIR", help="folder of NAME.onnx, with weights")
    parser.add_argument("--only", action="append", metavar="NAME", help="rows of this model; may be repeated")
    args = parser.parse_args()
    prepare(args)
    rows = [Row(args, *figure) for figure in FIGURES if not args.only or figure[0] in args.only]
    for row in rows:
        row.measure()
    found = [figure for row in rows for figure in row.figures] + [row.search for row in rows if row.search]
    found += [] if args.only else [Depth(args)]
    print("\n" + "\n".join(figure.text() for figure in found))
    missed = sum(figure.text().startswith("NOT") for figure in found)
    beyond = sum(figure.text().startswith("--") for figure in found)
    print(f"{len(found) - missed - beyond} of {len(found)} figures are reached" +
          (f", {beyond} cannot be" if beyond else ""))
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
