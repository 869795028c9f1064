#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Latency of Snug against ONNX Runtime, and OpenVINO where it is installed, in interleaved runs.

  benchmark.py --bin build/release/bin [MODEL [NAME=N]...]... [--rounds 15] [--threads 2] [--activation-budget B]

MODEL is a graph of test/models or the path of a complete model, with its dims after it; without any, a long
and a short prompt are measured. In each round every engine runs once, one after another; a round in which other
processes used more than --foreign-cores is void and repeated. Printed are medians, and the median of the rounds' ratios
with its 90 % interval: below 1, Snug is faster.
"""
import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from harness import cases, complete_model, interval, machine_seconds, own_seconds, save_inputs  # noqa: E402
import resident  # noqa: E402

DEFAULT = ["gpt2_long", "batch=1", "seq=1024", "gpt2_long", "batch=1", "seq=128"]
PEERS = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}


def peer_worker(engine, model, inputs, threads, repeat):
    """A process that holds one peer and times `repeat` runs whenever it is let go."""
    with np.load(inputs) as file:
        feeds = {name: file[name] for name in file.files}
    if engine == "onnxruntime":
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

        def run():
            session.run(None, feeds)
    else:
        import openvino
        compiled = openvino.Core().compile_model(model, "CPU", {
            "INFERENCE_NUM_THREADS": str(threads), "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"})
        request = compiled.create_infer_request()

        def run():
            request.infer(feeds, share_inputs=True, share_outputs=True)
    run()
    resident.arrive("ready")
    while True:
        times = []
        for _ in range(repeat):
            start = time.perf_counter()
            run()
            times.append(1e3 * (time.perf_counter() - start))
        resident.arrive("ran", latency=statistics.median(times))


def run_snug(args, library, inputs):
    stats = library.with_suffix(".stats.json")
    subprocess.run([args.bin / "snug-run", library, "--inputs", inputs, "--stats", stats, "--threads", str(args.threads),
                    "--warmup", "1", "--repeat", str(args.repeat)], check=True)
    return json.loads(stats.read_text())["latency_ms"]["median"]


def measure(args, library, inputs, workers):
    """[{engine: ms}] of the quiet rounds, and how many rounds were void."""
    rounds, void = [], 0
    pids = [worker.process.pid for worker in workers.values()]
    while len(rounds) < args.rounds and void < 3 * args.rounds:
        start, machine, own = time.perf_counter(), machine_seconds(), own_seconds(pids)
        latency = {"snug": run_snug(args, library, inputs)}
        for name, worker in workers.items():
            latency[name] = worker.go("ran")[2]["latency"]
        wall = time.perf_counter() - start
        foreign = (machine_seconds() - machine - own_seconds(pids) + own) / wall
        if foreign > args.foreign_cores:
            void += 1
            print(f"   void: other processes used {foreign:.2f} cores", file=sys.stderr)
            continue
        rounds.append(latency)
    return rounds, void


def row(title, rounds, void):
    """One line of the table: Snug's median, then of each peer its median and Snug's ratio to it."""
    line = f"{title:34}{statistics.median(r['snug'] for r in rounds):9.1f} ms"
    for name in PEERS:
        if name in rounds[0]:
            low, middle, high = interval([r["snug"] / r[name] for r in rounds])
            line += f"{statistics.median(r[name] for r in rounds):9.1f} ms  {middle:.2f} ({low:.2f} to {high:.2f})"
        else:
            line += f"{'-':>12}{'':21}"
    return line + f"{len(rounds):5}{void:5}"


def header():
    return f"{'':34}{'Snug':>12}" + "".join(f"{name:>14} {'Snug / it':>18}" for name in PEERS.values()) + " rounds void"


def run_case(args, name, dim_texts):
    model = complete_model(name, args.work)
    inputs = args.inputs or save_inputs(model, dim_texts, args.work)
    library = args.work / (model.stem + ".so")
    command = [args.bin / "snugc", model, "-o", library, "--threads", str(args.threads)]
    command += [text for dim in dim_texts for text in ("--dim", dim)]
    command += ["--activation-budget", args.activation_budget] if args.activation_budget else []
    subprocess.run(command, check=True)

    workers = {}
    try:
        for peer in PEERS:
            if importlib.util.find_spec(peer) is None:
                continue
            workers[peer] = resident.Steps([sys.executable, __file__, model, "--bin", args.bin, "--inputs", inputs,
                                            "--threads", args.threads, "--repeat", args.repeat, "--peer-worker", peer])
            workers[peer].go("ready", first=True)
        rounds, void = measure(args, library, inputs, workers)
    finally:
        for worker in workers.values():
            worker.__exit__()
    if len(rounds) < args.rounds:
        sys.exit(f"benchmark: only {len(rounds)} of {args.rounds} rounds were quiet: stop other work on this machine")
    return row(f"{model.stem} {' '.join(dim_texts)}", rounds, void)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=DEFAULT, metavar="MODEL [NAME=N]...")
    parser.add_argument("--bin", type=Path, required=True, help="folder of snugc and snug-run")
    parser.add_argument("--inputs", help=".npz, for one model; default: seeded")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--repeat", type=int, default=3, help="runs of an engine in a round, of which the median counts")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--activation-budget")
    parser.add_argument("--foreign-cores", type=float, default=0.1, help="what other processes may use in a round")
    parser.add_argument("--work", type=Path, default=Path("build/benchmark"))
    parser.add_argument("--peer-worker", choices=PEERS, help=argparse.SUPPRESS)
    args = parser.parse_intermixed_args()
    if args.peer_worker:
        return peer_worker(args.peer_worker, args.cases[0], args.inputs, args.threads, args.repeat)

    args.work.mkdir(parents=True, exist_ok=True)
    for name in PEERS:
        if importlib.util.find_spec(name) is None:
            print(f"{PEERS[name]} is not installed (pip install {name}): left out", file=sys.stderr)
    rows = [run_case(args, name, dims) for name, dims in cases(args.cases)]
    print(f"\n{args.threads} threads, {args.activation_budget or 'no'} activation budget; "
          "ratios with their 90 % interval")
    print(header())
    print("\n".join(rows))


if __name__ == "__main__":
    main()
