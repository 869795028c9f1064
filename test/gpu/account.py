# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Holds what a model for a GPU takes against its plan, without a GPU and without computing: it is compiled without a budget, for half of
its arena and for the least, and run on what stands in for the driver, which counts bytes, allocations, waits and launches.

    test/gpu/account.py MODEL.onnx [--dim NAME=N ...] [--gpu-libraries none] [--decisions N]

needs what the tests have in their environment (test/gpu/CMakeLists.txt). Exit status 1 where plan and run differ, or the budget is exceeded. Of a
model in which data decides what is done next, which is then arbitrary, launches are not compared.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import planned as plan
import simulator

for folder in ("models", "../python"):
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / folder))
import materialize  # noqa: E402
import snug  # noqa: E402

BUDGETS = ("all", "half", "least")


def snugc(*words, allowed=(0,)):
    done = subprocess.run([os.environ["SNUGC"], *map(str, words)], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode in allowed, done.stderr
    return done.returncode


def compile_model(model, folder, dims, *words):
    """(path of the library, what the report says of memory)."""
    report = folder / "report.json"
    snugc(model, "-o", folder / "m.so", "--target", "cuda:sm_90", "--report", report, "--save-temps", folder,
          *(word for name, value in dims.items() for word in ("--dim", f"{name}={value}")), *words)
    return folder / "m.so", json.loads(report.read_text())["memory"]


def budget_words(model, dims, budget, folder):
    if budget == "all":
        return []
    words = [word for name, value in dims.items() for word in ("--dim", f"{name}={value}")]
    report = folder / "dry.json"
    snugc(model, "--dry-run", "--target", "cuda:sm_90", "--report", report, *words)
    whole = json.loads(report.read_text())["memory"]["unchunked_arena"]
    if budget == "half":
        asked = whole // 2
        code = snugc(model, "--dry-run", "--target", "cuda:sm_90", "--report", report, *words, "--activation-budget", f"{asked}B", allowed=(0, 4))
        if code == 0:
            return ["--activation-budget", f"{asked}B"]
    snugc(model, "--dry-run", "--target", "cuda:sm_90", "--report", report, *words, "--activation-budget", "0B", allowed=(4,))
    return ["--activation-budget", f"{json.loads(report.read_text())['budget']['least_activation']}B"]


def run_twice(gpu, library, inputs, planned, folder, decisions=0):
    """Results of two runs, which take what the plan says. `decisions`: values that a run reads, as they decide what it does next."""
    before = gpu.stats().live_bytes
    with gpu:
        compiled = snug.load(str(library))
        created = gpu.stats() # what a library does was done once
        with gpu.log(folder / "calls.json"):
            first = compiled(**inputs)
        made = gpu.stats()
        second = compiled(**inputs)
        after = gpu.stats()
    # One allocation each of the arena and the weights, of a copy of each input and output on the host, and of shapes.
    assert made.peak_bytes - before == planned["total"]
    assert after.allocations == made.allocations and after.peak_bytes == made.peak_bytes
    # A copy of each output to the host, and the end of the run; a copy of each decision, and its wait.
    assert after.waits == made.waits + len(first) + 1 + 2 * decisions
    assert after.launches - made.launches == made.launches - created.launches > 0
    if not decisions: # else the plan alone does not say what a run does
        assert plan.agree(plan.launches(folder / "plan.mlir"), plan.started(folder / "calls.json"))
    return first, second


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--dim", action="append", default=[], metavar="NAME=N")
    parser.add_argument("--input-dim", action="append", default=[], metavar="NAME=N", help="of inputs' dims that are no dims of the model")
    parser.add_argument("--decisions", type=int, default=0, help="values that a run reads for what it does next")
    parser.add_argument("--gpu-libraries", default="cublaslt,cudnn")
    args = parser.parse_args()
    dims = materialize.parse_dims(args.dim)
    inputs = materialize.make_inputs(args.model, {**dims, **materialize.parse_dims(args.input_dim)})
    for budget in BUDGETS:
        with tempfile.TemporaryDirectory(prefix="snug-account-") as folder:
            folder = pathlib.Path(folder)
            words = budget_words(args.model, dims, budget, folder)
            library, planned = compile_model(args.model, folder, dims, "--gpu-libraries", args.gpu_libraries, *words)
            run_twice(simulator.Gpu(), library, inputs, planned, folder, args.decisions)
            started = plan.started(folder / "calls.json")
            asked = int(words[1][:-1]) if words else planned["arena"]
            assert planned["arena"] <= asked, (planned["arena"], asked)
            print(f"{args.model.stem} {budget}: arena {planned['arena']} <= {asked}, {planned['total']} bytes, {len(started)} launches: as planned", flush=True)


if __name__ == "__main__":
    main()
