#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compiles a real model without a budget and with one, runs both and ONNX Runtime, and prints what it measured.

Every number comes from a command of this run; the commands shown can be typed again, their files stay. Memory is
measured from outside of each process (resident.py): what it grows by for its activations, with weights, inputs and
outputs there before.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import materialize
import resident

HERE = Path(__file__).resolve().parent
ALLOWANCE = 1 << 20  # what a process may grow by besides its plan: the kernel counts pages in batches


def bytes_text(count):
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return f"{count} B"


def step(text):
    print(f"-- {text}", flush=True)


def tool(command):
    """Runs a command, shown as a user would type it; ends the demo with its exit code when it fails."""
    shown = " ".join(os.path.relpath(c) if os.path.isabs(str(c)) else str(c) for c in command)
    step(shown)
    start = time.perf_counter()
    code = subprocess.run([str(c) for c in command]).returncode
    if code:
        print(f"demo: the command above failed with exit code {code}", file=sys.stderr)
        sys.exit(code)
    return time.perf_counter() - start


def snug(args, model, dims, inputs, name, budget):
    """Compiles, runs, and measures from outside. Returns a row and the outputs."""
    library, work = args.work / f"{name}.so", args.work
    report, stats, outputs = work / f"{name}.json", work / f"{name}.stats.json", work / f"{name}.npz"
    command = [args.bin / "snugc", model, "-o", library, "--report", report, "--threads", args.threads]
    for dim, value in dims.items():
        command += ["--dim", f"{dim}={value}"]
    seconds = tool(command + (["--activation-budget", budget] if budget else []))
    tool([args.bin / "snug-run", library, "--inputs", inputs, "--outputs", outputs, "--stats", stats,
          "--warmup", 1, "--repeat", args.repeat])
    memory = json.loads(report.read_text())["memory"]
    step("the same again, watched from outside")
    with resident.Steps([args.bin / "memory-probe", library, 2, *(f"{d}={v}" for d, v in dims.items())]) as probe:
        ready, _, _ = probe.go("ready", first=True)
        _, creating, _ = probe.go("created")
        _, first_run, _ = probe.go("warm")
        _, more_runs, _ = probe.go("ran", exact=True)
    with np.load(outputs) as file:
        values = {key: file[key] for key in file.files}
    latency = json.loads(stats.read_text())["latency_ms"]["median"]
    return {"name": f"Snug, {budget}" if budget else "Snug, no budget", "planned": memory["arena"] + memory["library"],
            "measured": max(creating, first_run, more_runs) - ready, "latency": latency, "compile": seconds}, values


def onnxruntime_worker(model, inputs, outputs, repeat, threads):
    """A process that runs ONNX Runtime in steps. Outputs are allocated before, as Snug's are, so they do not count."""
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    with np.load(inputs) as file:
        kept = {name: onnxruntime.OrtValue.ortvalue_from_numpy(file[name]) for name in file.files}
        lengths = dict(zip(("batch", "seq"), file["input_ids"].shape))
    for name, value in kept.items():
        binding.bind_ortvalue_input(name, value)
    result = session.get_outputs()[0]
    shape = [lengths[d] if isinstance(d, str) else d for d in result.shape]
    logits = onnxruntime.OrtValue.ortvalue_from_numpy(np.ones(shape, np.float32))
    binding.bind_ortvalue_output(result.name, logits)
    resident.arrive("ready")
    session.run_with_iobinding(binding)
    resident.arrive("warm")
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        session.run_with_iobinding(binding)
        times.append(1e3 * (time.perf_counter() - start))
    np.savez(outputs, **{result.name: logits.numpy()})
    resident.arrive("ran", latency=statistics.median(times))


def onnxruntime_row(args, model, inputs):
    step("ONNX Runtime on the same model and inputs")
    outputs = args.work / "onnxruntime.npz"
    command = [sys.executable, HERE / "demo.py", "--onnxruntime-worker", model, inputs, outputs,
               "--repeat", args.repeat, "--threads", args.threads]
    with resident.Steps(command) as worker:
        ready, _, _ = worker.go("ready", first=True)
        _, peak, _ = worker.go("warm")
        _, _, said = worker.go("ran")
    with np.load(outputs) as file:
        values = {key: file[key] for key in file.files}
    return {"name": "ONNX Runtime", "planned": None, "measured": peak - ready, "latency": said["latency"],
            "compile": None}, values


def difference_text(a, b):
    if all(np.array_equal(a[key], b[key]) for key in b):
        return "0, bit for bit"
    return f"{max(float(np.abs(a[key].astype(np.float64) - b[key]).max()) for key in b):.1e}"


def print_table(model, dims, args, rows, values):
    free, _, reference = values
    weights = model.with_name(model.name + ".data").stat().st_size
    print(f"\n{model.stem}, {', '.join(f'{d}={v}' for d, v in dims.items())}, {args.threads} threads; "
          f"weights ({bytes_text(weights)}), inputs and outputs not counted")
    lines = [("", "planned", "measured", "latency", "compiled in", "vs no budget", "vs ONNX Runtime")]
    for row, value in zip(rows, values):
        lines.append((row["name"],
                      "no plan" if row["planned"] is None else bytes_text(row["planned"]),
                      bytes_text(row["measured"]),
                      f"{row['latency']:.0f} ms",
                      "" if row["compile"] is None else f"{row['compile']:.1f} s",
                      "" if value is free else difference_text(value, free),
                      "" if value is reference else difference_text(value, reference)))
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())
    largest = max(float(np.abs(v).max()) for v in reference.values())
    print("\nplanned: the arena and what libraries need, known before running."
          "\nmeasured: what the process grew by for a run, its arena included, seen from outside."
          f"\nlatency: median of {args.repeat} runs. Last columns: largest difference of any output value "
          f"(the largest value is {largest:.1f}).")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bin", type=Path, help="folder of snugc, snug-run and memory-probe")
    parser.add_argument("--model", default="gpt2_long", help="a graph of this folder (default: %(default)s)")
    parser.add_argument("--seq", type=int, default=4096, help="tokens (default: %(default)s)")
    parser.add_argument("--activation-budget", default="40MiB", help="default: %(default)s")
    parser.add_argument("--repeat", type=int, default=3, help="timed runs of each (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="default: %(default)s")
    parser.add_argument("--work", type=Path, help="folder for all files (default: demo beside --bin)")
    parser.add_argument("--onnxruntime-worker", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.onnxruntime_worker:
        return onnxruntime_worker(*args.onnxruntime_worker, args.repeat, args.threads)
    if not args.bin:
        parser.error("--bin is needed; `./bootstrap demo` builds the tools and gives it")
    args.bin = args.bin.resolve()
    args.work = (args.work or args.bin.parent / "demo").resolve()
    args.work.mkdir(parents=True, exist_ok=True)
    step(f"seeded weights for {args.model}")
    model = materialize.materialize(HERE / (args.model + ".onnx"), args.work)
    dims = {"batch": 1, "seq": args.seq}
    inputs = args.work / "inputs.npz"
    np.savez(inputs, **materialize.make_inputs(model, dims))
    results = [snug(args, model, dims, inputs, "unbounded", None),
               snug(args, model, dims, inputs, "budget", args.activation_budget),
               onnxruntime_row(args, model, inputs)]
    rows, values = zip(*results)
    print_table(model, dims, args, rows, values)
    promises = [(row["measured"] <= row["planned"] + ALLOWANCE, f"{row['name']}: measured is more than planned")
                for row in rows[:2]]
    promises.append((all(np.array_equal(values[0][k], values[1][k]) for k in values[0]),
                     "the results with and without a budget differ"))
    broken = [text for kept, text in promises if not kept]
    if broken:
        sys.exit("demo: FAILED: " + "; ".join(broken))


if __name__ == "__main__":
    main()
