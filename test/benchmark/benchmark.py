#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Snug beside ONNX Runtime, OpenVINO, torch (eager and compiled) and IREE: latency, memory, time to load, size of files.

  benchmark.py --bin build/release/bin [MODEL [NAME=N]...]... [--engines E,E...] [--budgets 50%,20%] [--json FILE]

MODEL is a name of models.py, a graph of test/models or the path of a complete model, with its dims after it; without any, all of
models.py is measured. Peers are those of requirements-benchmark.txt that are installed; torch has only models of models.py.

Each engine is a fresh process for each model. In each round all of them run, one after the other, in an order that changes;
a round in which other processes used more than --foreign-cores is void and repeated. Printed are the median of Snug's
milliseconds and, of each peer, its median and the median of the rounds' ratios with its 90 % interval: below 1, Snug is faster.
Then, of each: peak bytes of the second run above what was resident when the model was loaded (of Snug, before), seconds to load, and bytes of files;
what an engine computes is compared with the first peer's outputs.
"""
import argparse
import datetime
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
import engines  # noqa: E402
import models  # noqa: E402
from harness import cases, complete_model, interval, machine_seconds, own_seconds, save_inputs  # noqa: E402
import resident  # noqa: E402

PEERS = [name for name in engines.ENGINES if name != "snug"]
NARROW = {"openvino-bf16": 0.1}  # relative L2 to an engine that computes in f32
EXACT = 1e-4
PAUSE = 0.25  # threads of an engine may spin for 0.2 s after a run


def folder_bytes(*paths):
    return sum(path.stat().st_size for path in paths if path.exists())


class Contestant:
    """An engine that holds a model, in a process of its own: what it needed so far, and its runs."""

    def __init__(self, args, name, engine, model, inputs, case, library=None):
        self.name, self.outputs = name, args.work / f"{os.getpid()}-{name.replace(' ', '-').replace('%', '')}.npz"
        command = [sys.executable, engines.__file__, engine, "--name", case, "--model", model, "--inputs", inputs, "--outputs", self.outputs,
                   "--threads", args.threads, "--seconds", args.seconds] + (["--library", library] if library else [])
        environment = dict(os.environ, SNUG_RUNTIME=str(args.bin.parent / "lib" / "libsnug_runtime.so"))
        self.steps = resident.Steps(command, env=environment)
        self.pid = self.steps.process.pid
        self.files = folder_bytes(Path(library), Path(f"{library}.safetensors")) if library else folder_bytes(model, Path(f"{model}.data"))
        try:
            imported, _, _ = self.steps.go("imported", first=True, watch=False)
            before, _, said = self.steps.go("loaded", watch=False)
            if engine == "snug":  # whose arena is there once it is loaded; its weights are pages of the file
                before = imported
            self.load_seconds = said["seconds"]
            self.peaks = [self.steps.go(step)[1] - before for step in ("first", "second")]
            self.steps.go("written", watch=False)
            with np.load(self.outputs) as file:
                self.results = [file[key] for key in file.files]
        except BaseException:
            self.end()
            raise

    def run(self):
        """Milliseconds of a run, in this round."""
        time.sleep(PAUSE)
        return self.steps.go("ran", watch=False)[2]["ms"]

    def end(self):
        self.steps.__exit__()
        self.outputs.unlink(missing_ok=True)


def relative_error(got, want):
    """The largest relative L2 of all outputs."""
    errors = []
    for mine, theirs in zip(got, want, strict=True):
        mine, theirs = np.asarray(mine, np.float64), np.asarray(theirs, np.float64)
        errors.append(float(np.linalg.norm(mine - theirs) / max(np.linalg.norm(theirs), 1e-30)))
    return max(errors)


def compile_model(args, model, dims, budget):
    library = args.work / f"{model.stem}{'-' + budget.rstrip('%') if budget else ''}.so"
    command = [args.bin / "snugc", model, "-o", library, "--threads", args.threads]
    command += [text for dim in dims for text in ("--dim", dim)] + (["--activation-budget", budget] if budget else [])
    start = time.perf_counter()
    done = subprocess.run([str(x) for x in command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        return None, done.stderr.strip().split("\n")[0], 0
    return library, "", time.perf_counter() - start


def contestants(args, name, dims, model, inputs):
    """Starts all that can run a model. Returns them and what is to be said of the others."""
    found, notes = [], []
    for budget in ["", *args.budgets]:
        library, problem, seconds = compile_model(args, model, dims, budget)
        title = f"snug {budget}".strip()
        if not library:
            notes.append(f"{title}: {problem}")
            continue
        found.append(Contestant(args, title, "snug", model, inputs, name, library))
        found[-1].compile_seconds = seconds
    for peer in args.engines:
        if engines.ENGINES[peer].needs_module and name not in models.MODELS:
            continue
        try:
            found.append(Contestant(args, peer, peer, model, inputs, name))
        except RuntimeError as problem:
            lines = [line for line in str(problem).splitlines() if line.strip()]
            notes.append(f"{peer}: {lines[-1][:200]}")
    return found, notes


def measure(args, found):
    """[{name: ms}] of the quiet rounds, and how many rounds were void."""
    rounds, void, pids = [], 0, [one.pid for one in found]
    while len(rounds) < args.rounds and void < 3 * args.rounds:
        turn = (len(rounds) + void) % len(found)
        start, machine, own = time.perf_counter(), machine_seconds(), own_seconds(pids)
        latency = {one.name: one.run() for one in found[turn:] + found[:turn]}
        wall = time.perf_counter() - start
        foreign = (machine_seconds() - machine - own_seconds(pids) + own) / wall
        if foreign > args.foreign_cores:
            void += 1
            print(f"   void: other processes used {foreign:.2f} cores", file=sys.stderr)
            continue
        rounds.append(latency)
    return rounds, void


def summary(found, rounds, void):
    """A case as numbers: of each engine its median, the interval of the ratio to it, and the rest."""
    peers = [one for one in found if not one.name.startswith("snug")]
    reference = peers[0].results if peers else found[0].results
    made = {}
    for one in found:
        made[one.name] = {
            "ms": statistics.median(r[one.name] for r in rounds), "ratio": interval([r["snug"] / r[one.name] for r in rounds]),
            "first_peak": one.peaks[0], "peak": one.peaks[1], "load_seconds": one.load_seconds, "files": one.files,
            "error": relative_error(one.results, reference), "compile_seconds": getattr(one, "compile_seconds", None)}
    return {"engines": made, "rounds": len(rounds), "void": void}


def run_case(args, name, dims):
    args.work.mkdir(parents=True, exist_ok=True)
    model = models.onnx_of(name, args.work) if name in models.MODELS else complete_model(name, args.work)
    inputs, found = save_inputs(model, dims, args.work), []
    try:
        found, notes = contestants(args, name, dims, model, inputs)
        if not found or found[0].name != "snug":
            return {"case": " ".join([name, *dims]), "engines": {}, "notes": notes}
        rounds, void = measure(args, found)
        if len(rounds) < args.rounds:
            sys.exit(f"benchmark: only {len(rounds)} of {args.rounds} rounds were quiet: stop other work on this machine")
        return {"case": " ".join([name, *dims]), **summary(found, rounds, void), "notes": notes}
    finally:
        for one in found:
            one.end()


def best_of(row):
    """The peer in f32 with the least median."""
    peers = {name: one["ms"] for name, one in row["engines"].items() if not name.startswith("snug") and name not in NARROW}
    return min(peers, key=peers.get) if peers else None


def lines(row):
    """The text of a case: a line an engine."""
    best = best_of(row)
    for name, one in row["engines"].items():
        low, middle, high = one["ratio"]
        wrong = " WRONG" if not one["error"] <= NARROW.get(name, EXACT) else ""
        yield (f"{row['case'] if name == 'snug' else '':27} {name:15}{one['ms']:10.2f}{middle:8.2f} ({low:.2f} to {high:.2f}){' *' if name == best else '  '}"
               f"{one['peak'] / 2**20:10.1f}{one['load_seconds']:8.2f}{one['files'] / 2**20:9.1f}{one['error']:10.1e}{wrong}")
    for note in row["notes"]:
        yield f"{'':28}{note}"


HEADER = f"{'model':28}{'':15}{'ms':>10}{'Snug / it, 90 % interval':>25}{'peak MiB':>12}{'load s':>8}{'file MiB':>9}{'error':>10}"


def geometric_mean(values):
    return math.exp(statistics.fmean(math.log(value) for value in values))


def verdict(rows):
    """What the goals speak of: the ratio to the best peer in f32, over all models, and of budgets to Snug without one."""
    compared = {row["case"]: row["engines"][best_of(row)]["ratio"][1] for row in rows if best_of(row)}
    if compared:
        worst = max(compared, key=compared.get)
        yield f"Snug / the best peer (*): geometric mean {geometric_mean(compared.values()):.2f} of {len(compared)} models; worst {compared[worst]:.2f} ({worst})"
        pairs = [ratio for case, ratio in compared.items() if case.split()[0] in models.PAIRS]
        if pairs:
            yield f"  of models of pairs: {geometric_mean(pairs):.2f}"
    for name in sorted({name for row in rows for name in row["engines"] if name.startswith("snug ")}):
        slower = [1 / row["engines"][name]["ratio"][1] for row in rows if name in row["engines"]]
        yield f"{name} / snug: geometric mean {geometric_mean(slower):.2f} of {len(slower)} models; worst {max(slower):.2f}"


def machine():
    with open("/proc/cpuinfo") as file:
        cpu = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), platform.machine())
    return cpu


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=list(models.MODELS), metavar="MODEL [NAME=N]...")
    parser.add_argument("--bin", type=Path, required=True, help="folder of snugc, with ../lib/libsnug_runtime.so")
    parser.add_argument("--engines", type=lambda text: text.split(","), default=[name for name in PEERS if name != "openvino-bf16"],
                        help="peers, of " + ", ".join(PEERS))
    parser.add_argument("--budgets", type=lambda text: text.split(","), default=[], help="activation budgets beside none, as 50%%,20%%")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.2, help="how long an engine runs in a round, at least; the median run counts")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--foreign-cores", type=float, default=0.1, help="what other processes may use in a round")
    parser.add_argument("--work", type=Path, default=Path("build/benchmark"))
    parser.add_argument("--json", type=Path, help="file to write all figures to")
    args = parser.parse_intermixed_args()
    args.bin, args.work = args.bin.resolve(), args.work.resolve()
    for name in args.engines:
        if name not in PEERS:
            parser.error(f"--engines: {name} is none of {', '.join(PEERS)}")
    versions = {name: engines.installed(name) for name in args.engines}
    missing = [name for name, version in versions.items() if not version]
    if missing:
        print(f"not installed, so left out: {', '.join(missing)} (pip install -r requirements-benchmark.txt)", file=sys.stderr)
    args.engines = [name for name in args.engines if versions[name]]

    about = {"date": datetime.date.today().isoformat(), "cpu": machine(), "threads": args.threads, "rounds": args.rounds,
             "versions": {name: versions[name] for name in args.engines}}
    print(f"{about['date']}, {about['cpu']}, {args.threads} threads, {args.rounds} rounds; "
          + ", ".join(f"{name} {version}" for name, version in about["versions"].items()))
    print(HEADER, flush=True)
    rows = []
    for name, dims in cases(args.cases):
        rows.append(run_case(args, name, dims))
        print("\n".join(lines(rows[-1])), flush=True)
        if args.json:
            args.json.write_text(json.dumps({**about, "cases": rows}, indent=1))
    print("\n" + "\n".join(verdict(rows)))


if __name__ == "__main__":
    main()
