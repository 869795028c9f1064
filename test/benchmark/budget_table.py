#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What each budget gives: ten of them for each model, from the arena without chunk loops to the least that can be reached.

  budget_table.py --bin build/release/bin [MODEL [NAME=N]...]... [--budgets 10] [--slowdown] [--no-run]

MODEL is a graph of test/models or the path of a complete model, with its dims after it; without any, all graphs of
test/models. Neighbouring budgets have the same ratio. Printed for each are, in bytes: the budget; `arena`, that of the
compiler's report; LB_sched, LB1 and LB2, what cannot be undercut (docs/report.md); `planned`, what the compiled library
says that it needs; `measured`, the highest byte of the arena that a run wrote to; `outside`, how much the process grew when
the context was created, less the arena, as the kernel counts it. Then the modelled slowdown, the exit code, the number of
chunk loops, and the relative difference (L2) to the outputs without chunk loops. The last row is for one byte less than
the least budget.

Checked for each model, and said at the end; the exit status is 1 if anything is violated:
- measured <= planned = arena <= budget, and from outside as docs/budget.md promises it; no allocation in a run;
- LB_sched <= arena, and a row below the arena without chunk loops has chunk loops, or computes something anew;
- the arena never grows when the budget shrinks;
- no budget from the least up is refused; one byte below the least is, with exit code 4, and the least budget that it
  names then works and is the one that --dry-run names;
- outputs are those without chunk loops, bit for bit unless the report says that they may not be (`exact`); at the least budget and without chunk
  loops they are those of ONNX Runtime.

--slowdown measures four of the budgets against the unchunked program, in interleaved pairs of runs in one process: the
median ratio with its 90 % interval. --no-run plans only, which reads no weights.
"""
import argparse
import dataclasses
import json
import os
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from harness import (Compiler, add_run_arguments, cases, complete_model, interval, materialize, prepare,  # noqa: E402
                     remove, save_inputs)
from timed_runs import TimedRuns  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "numerics"))
import snug  # noqa: E402

TOLERANCE = 1e-5  # relative L2, fp32
OTHER_DIMS = {"llama_tiny_decode": ["past=255", "s22=256"], "folding_tiny": ["n=64"], "vit_tiny": []}  # of test/models: else seq=512


@dataclasses.dataclass
class Row:
    """One budget of a model. What was not found out is None."""
    budget: int
    code: int = 0
    arena: int = None
    sched: int = None
    lb1: int = None
    lb2: int = None
    slowdown: float = None   # as modelled
    loops: int = 0
    exact: bool = True       # what the report says of the outputs
    recomputes: bool = False
    planned: int = None      # by the library
    measured: int = None
    created: int = None      # growth of the process by creating the context
    ran: int = None          # and by runs
    library: int = None      # what the report allows `created` besides the arena
    allocations: int = None
    difference: float = None  # from the unchunked program's outputs; 0: bit for bit
    named: int = None        # least budget that exit code 4 names
    error: str = None
    ratio: tuple = None      # measured slowdown: low, median, high, quiet pairs


@dataclasses.dataclass
class Table:
    """All rows of a model, budgets falling."""
    title: str
    unchunked: int
    least: int
    rows: list
    below: Row = None        # one byte below the least
    at_named: Row = None     # at what that one names
    references: dict = dataclasses.field(default_factory=dict)  # what -> relative error against ONNX Runtime
    failure: str = None


def budgets_between(most, least, number):
    """`number` budgets in even ratios, falling; fewer where they coincide."""
    ratio = (least / most) ** (1 / max(number - 1, 1)) if most else 1
    inner = [round(most * ratio ** i) for i in range(1, number - 1)]
    return list(dict.fromkeys([most, *(min(max(b, least), most) for b in inner), least]))


def memory_violations(row):
    if row.arena > row.budget:
        yield f"arena {row.arena} is over the budget"
    if row.sched is not None and row.sched > row.arena:
        yield f"arena {row.arena} is below LB_sched {row.sched}"
    if row.planned is None:
        return
    if row.planned != row.arena:
        yield f"the library plans {row.planned}, the report {row.arena}"
    if row.measured > row.planned:
        yield f"measured {row.measured} is over the plan of {row.planned}"
    if row.created > row.planned + row.library:
        yield f"creating a context added {row.created}, over arena {row.planned} and library {row.library}"
    if row.ran > snug.MIB:
        yield f"runs added {row.ran} to the process"
    if row.allocations:
        yield f"{row.allocations} allocations in runs"


def row_violations(row, unchunked):
    if row.error:
        yield row.error
    if row.code:
        yield f"exit code {row.code}" + (f", which names {row.named}" if row.named else "")
    if row.code or row.arena is None:
        return
    yield from memory_violations(row)
    if row.budget < unchunked and not row.loops and not row.recomputes:
        yield "neither a chunk loop nor anything computed anew: silently unchunked"
    if row.difference is not None:
        allowed = 0 if row.exact else TOLERANCE
        if not row.difference <= allowed:
            yield f"outputs differ from the unchunked program's by {row.difference:.1e}, allowed is {allowed}"


def violations(table):
    """What the table breaks of the promises, as text."""
    if table.failure:
        return [f"{table.title}: {table.failure}"]
    found = [f"{table.title}, budget {row.budget}: {text}" for row in table.rows
             for text in row_violations(row, table.unchunked)]
    reached = [row for row in table.rows if row.code == 0 and row.arena is not None]
    for larger, smaller in zip(reached, reached[1:]):
        if smaller.arena > larger.arena:
            found.append(f"{table.title}: the arena grows from {larger.arena} at budget {larger.budget} to "
                         f"{smaller.arena} at budget {smaller.budget}")
    if table.below:
        where = f"{table.title}, one byte below the least budget {table.least}:"
        if table.below.code != snug.CANNOT_FIT:
            found.append(f"{where} exit code {table.below.code}, not {snug.CANNOT_FIT}")
        elif table.below.named != table.least:
            found.append(f"{where} names {table.below.named}")
        if table.at_named and (table.at_named.code or table.at_named.arena > table.at_named.budget):
            found.append(f"{where} names {table.at_named.budget}, at which snugc ends with exit code "
                         f"{table.at_named.code}, arena {table.at_named.arena}")
    for what, error in table.references.items():
        if not error <= TOLERANCE:
            found.append(f"{table.title}: {what} differs from ONNX Runtime by {error:.1e}")
    return found


def difference(got, want):
    """0 where outputs are equal bit for bit, else the largest relative error (L2) of one of them."""
    if got.keys() != want.keys():
        return float("nan")
    equal = [got[name].tobytes() == want[name].tobytes() and got[name].shape == want[name].shape for name in want]
    return 0.0 if all(equal) else max((snug.relative_error(got[name], want[name]) for name in want), key=lambda e: (e != e, e))


def plan_row(budget, code, report):
    """A row of what the compiler says."""
    row = Row(budget, code)
    if report:
        row.named = report["budget"]["least_reachable"]
        row.arena, row.library, bounds = report["memory"]["arena"], report["memory"]["library"], report["bounds"]
        row.sched, row.lb1, row.lb2 = bounds["sched"], bounds["lb1"], bounds["lb2"]
        time, schedule = report["time_model"], report["schedule"]
        row.slowdown = time["chunked_ms"] / time["unchunked_ms"] if time["unchunked_ms"] else 1.0
        row.loops = len(report["chunk_loops"])
        row.exact = report["exact"]
        row.recomputes = code == 0 and len(schedule["planned"]["steps"]) > len(schedule["unchunked"]["steps"])
    return row


def run_row(row, library, inputs):
    """Fills in what running says; returns the outputs."""
    outputs, stats = snug.run_model(library, inputs)
    row.planned, row.measured = stats["planned"]["arena"], stats["measured"]["arena_high_water"]
    row.created, row.ran, row.allocations = snug.outside_memory(library, {}, repeat=1)
    row.allocations += stats["measured"]["allocations_in_run"]
    return outputs


class Case:
    """One model at given dims: makes its table."""

    def __init__(self, args, name, dims):
        self.args, self.dims, self.inputs = args, dims, None
        self.title = f"{Path(name).stem} {' '.join(dims)}".strip()
        self.model = complete_model(name, args.work)
        self.compiler = Compiler(args, self.model, dims)

    def library(self, what):
        return self.args.work / f"{self.model.stem}_{what}.so"

    def compile(self, what, budget=None):
        """(row, library): compiled to be run, or with --no-run only planned."""
        library = self.library(what)
        flags = ("--emit", "plan", "-o", os.devnull) if self.args.no_run else ("-o", library)
        code, report, errors = self.compiler(*flags, budget=budget)
        row = plan_row(budget, code, report)
        if code not in (0, snug.CANNOT_FIT) or not report:
            row.error = f"exit code {code}: " + " ".join(errors.split("\n")[:2])
        return row, library

    def at_budget(self, index, budget, want, keep):
        row, library = self.compile(index, budget)
        got = None
        if not self.args.no_run and row.code == 0:
            try:
                got = run_row(row, library, self.inputs)
                row.difference = difference(got, want)
            except (AssertionError, RuntimeError) as error:
                row.error = "a run failed: " + " ".join(str(error).split("\n")[-3:])
        if not keep:
            remove(library)
        return row, got

    def table(self):
        code, dry, errors = self.compiler("--dry-run")
        if code:
            return Table(self.title, 0, 0, [], failure=f"--dry-run ended with exit code {code}: {errors.strip()}")
        table = Table(self.title, dry["memory"]["unchunked_arena"], dry["budget"]["least_activation"], [])
        want, got = None, None
        if not self.args.no_run:
            path = self.args.inputs or save_inputs(self.model, self.dims, self.args.work)
            with np.load(path) as file:
                self.inputs = {name: file[name] for name in file.files}
            row, library = self.compile("free")
            row.budget = table.unchunked
            if row.code or row.error:
                table.failure = f"without a budget: {row.error or row.code}"
                return table
            want = run_row(row, library, self.inputs)
            if bad := list(row_violations(row, table.unchunked)):
                table.failure = "without a budget: " + "; ".join(bad)
        budgets = budgets_between(table.unchunked, table.least, self.args.budgets)
        timed = range(len(budgets) - 1, 0, -2)[:4] if self.args.slowdown else ()
        for index, budget in enumerate(budgets):
            row, outputs = self.at_budget(index, budget, want, index in timed)
            table.rows.append(row)
            got = outputs or got
        self.below(table, want)
        if want and not self.args.no_reference:
            self.compare(table, want, got)
        if timed:
            self.measure(table, timed, path)
        remove(self.library("free"))
        return table

    def below(self, table, want):
        if table.least < 2:
            return
        table.below = self.compile("below", table.least - 1)[0]
        if table.below.named:
            table.at_named = self.at_budget("named", table.below.named, want, False)[0]

    def compare(self, table, want, got):
        try:
            reference = snug.reference(self.model, self.inputs)
        except Exception as error:  # of its own kinds, and out of memory
            table.failure = f"ONNX Runtime could not run it: {str(error)[:200]}"
            return
        table.references = {"the unchunked program": difference(want, reference)}
        if got:
            table.references["the program at the least budget"] = difference(got, reference)

    def measure(self, table, timed, inputs):
        libraries = [self.library("free")] + [self.library(index) for index in timed]
        with TimedRuns(self.args, libraries, inputs) as runs:
            for number, index in enumerate(timed, 1):
                ratios, _ = runs.quiet_ratios(number, self.args.rounds, self.args.foreign_cores)
                table.rows[index].ratio = (*interval(ratios), len(ratios)) if ratios else (float("nan"),) * 3 + (0,)
        for index in timed:
            remove(self.library(index))


def cell(value, width, form=""):
    return f"{'-':>{width}}" if value is None else f"{value:>{width}{form}}"


def row_text(row):
    outside = None if row.created is None else row.created - row.planned
    line = f"{row.budget:12}" + "".join(cell(value, 12) for value in (
        row.arena, row.sched, row.lb1, row.lb2, row.planned, row.measured)) + cell(outside, 9)
    line += cell(row.slowdown, 9, ".3f") + f"{row.code:5}{row.loops:6}" + cell(row.difference, 9, ".0e")
    if row.ratio:
        low, middle, high, quiet = row.ratio
        line += f"   {middle:.3f} ({low:.3f} to {high:.3f}), {quiet} pairs"
    return line


def header():
    names = ("budget", "arena", "LB_sched", "LB1", "LB2", "planned", "measured")
    return "".join(f"{name:>12}" for name in names) + "  outside predicted exit loops  differs   measured slowdown"


def print_table(table):
    print(f"\n{table.title}: unchunked arena {table.unchunked}, least budget {table.least}\n{header()}")
    for row in table.rows + [table.below] * bool(table.below):
        print(row_text(row))
    for what, error in table.references.items():
        print(f"   {what} against ONNX Runtime: {error:.1e}")
    sys.stdout.flush()


def all_graphs():
    """The graphs of test/models with dims."""
    words = []
    for path in sorted(materialize.HERE.glob("*.onnx")):
        words += [path.stem, "batch=1", *OTHER_DIMS.get(path.stem, ["seq=512"])]
    return words


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="MODEL [NAME=N]...")
    add_run_arguments(parser)
    parser.add_argument("--budgets", type=int, default=10)
    parser.add_argument("--inputs", help=".npz, for one model; default: seeded")
    parser.add_argument("--no-reference", action="store_true", help="leave ONNX Runtime out")
    parser.add_argument("--slowdown", action="store_true", help="measure it at four of the budgets")
    parser.add_argument("--json", type=Path, help="write all figures")
    args = parser.parse_intermixed_args(arguments)
    if args.no_run and args.slowdown:
        parser.error("--slowdown needs runs")
    return args


def main():
    args = parse()
    prepare(args)
    tables = []
    for name, dims in cases(args.cases or all_graphs()):
        tables.append(Case(args, name, dims).table())
        print_table(tables[-1])
        if args.json:
            args.json.write_text(json.dumps([dataclasses.asdict(table) for table in tables], indent=1))
    bad = [text for table in tables for text in violations(table)]
    rows = [row for table in tables for row in table.rows]
    print(f"\n{len(rows)} rows of {len(tables)} models, " + (f"{len(bad)} violations:" if bad else "no violation"))
    packing = max((row.arena / row.sched for row in rows if row.arena and row.sched), default=1)
    print(f"largest arena over LB_sched: {packing:.4f}")
    print("\n".join(bad))
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
