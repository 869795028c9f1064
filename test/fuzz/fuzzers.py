#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs the fuzzers, which `ninja fuzzers` builds, under AddressSanitizer and UndefinedBehaviorSanitizer.

  fuzzers.py --bin build/dev/bin [--runs N | --seconds N] [--seed N] [--corpus DIR] [NAME]...

fuzz-import        bytes to the importer
fuzz-canonicalize  models that were valid once, changed in their structure, from import to the end of canonicalize
fuzz-weights       the runtime's reader of weights files
fuzz-topology      the reader of topology files

Each starts from models of the onnx package's own tests (or weights files made here), and first repeats what made it fail
once: test/fuzz/crashes/NAME. A crash, a run of more than 10 s and more than 2 GiB of memory are failures: the input is left in
the folder of --corpus (by default a temporary one, whose name is printed). Printed are executions and coverage (edges, as
libFuzzer counts them); the exit status is 1 if one failed.
"""
import argparse
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
NAMES = ("fuzz-import", "fuzz-canonicalize", "fuzz-weights", "fuzz-topology")
LARGEST = 8192  # bytes of a model to start from: fuzzers are fast on small inputs
OPTIONS = ["-timeout=10", "-rss_limit_mb=2048", f"-max_len={2 * LARGEST}", "-print_final_stats=1"]
# MLIR is not built with AddressSanitizer: its containers may hold what sanitized code allocated.
ENVIRONMENT = {"ASAN_OPTIONS": "detect_container_overflow=0:alloc_dealloc_mismatch=0:detect_leaks=0:handle_abort=1",
               "UBSAN_OPTIONS": "print_stacktrace=1"}


def models():
    """Small models, as bytes."""
    sys.path.insert(0, str(HERE.parent / "onnx"))
    import cases
    found = {case.model.SerializeToString(deterministic=True) for case in cases.node_cases()}
    return sorted(data for data in found if len(data) <= LARGEST)


def weights_files():
    """Weights files, after the offset and the size of the data that a model expects of each."""
    made = []
    for metadata, bytes_of_data in (({"snug_weights_id": "id"}, 64), ({"snug_weights_id": "other"}, 64), ({}, 128)):
        header = json.dumps({"__metadata__": metadata, "w": {"dtype": "F32", "shape": [16], "data_offsets": [0, 64]}}).encode()
        header += b" " * (-(len(header) + 8) % 64)
        file = struct.pack("<Q", len(header)) + header + bytes(bytes_of_data)
        made.append(struct.pack("<QQ", len(header) + 8, bytes_of_data) + file)
    return made


def topologies():
    """Topology files of both forms."""
    level = {"fanout": 2, "p2p_gbps": 25, "group_gbps": 50, "latency_us": 9.5}
    whole = {"version": 1, "name": "boxes", "rails": False}
    square = [[0, 5, 1, 1], [5, 0, 1, 1], [1, 1, 0, 5], [1, 1, 5, 0]]
    return [json.dumps(file).encode() for file in (
        {**whole, "levels": [level, {**level, "fanout": 4}]}, {**whole, "rails": True, "levels": [level], "devices": [1, 0]},
        {**whole, "p2p_gbps": square, "latency_us": square}, {**whole, "p2p_gbps": square, "latency_us": square, "contended_gbps": square})]


def fill(folder, name):
    made = {"fuzz-weights": weights_files, "fuzz-topology": topologies}.get(name, models)
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(made()):
        (folder / f"{number:05}").write_bytes(data)


def run(args, name, folder):
    """Whether nothing failed."""
    known = sorted((HERE / "crashes" / name).glob("*"))
    limit = f"-max_total_time={args.seconds}" if args.seconds else f"-runs={args.runs}"
    environment = {**os.environ, **ENVIRONMENT}
    if known:
        done = subprocess.run([args.bin / name, *OPTIONS, *known], env=environment, capture_output=True, text=True)
        if done.returncode:
            print(f"{name}: what failed once fails again\n{done.stderr[-5000:]}")
            return False
    corpus = folder / name
    fill(corpus, name)
    done = subprocess.run([args.bin / name, *OPTIONS, limit, f"-seed={args.seed}", f"-artifact_prefix={folder}/{name}-", corpus],
                          env=environment, capture_output=True, text=True, errors="replace")
    executions = re.search(r"stat::number_of_executed_units: (\d+)", done.stderr)
    coverage = re.findall(r"cov: (\d+)", done.stderr)
    memory = re.search(r"stat::peak_rss_mb: +(\d+)", done.stderr)
    print(f"{name}: {executions[1] if executions else '?'} executions, {coverage[-1] if coverage else '?'} edges, "
          f"{len(known)} old crashes, peak {memory[1] if memory else '?'} MiB", flush=True)
    if done.returncode:
        print(f"{name} failed, see {folder}\n{done.stderr[-8000:]}")
    return done.returncode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, required=True, help="folder of the fuzzers")
    parser.add_argument("--runs", type=int, default=5000, help="executions of each")
    parser.add_argument("--seconds", type=int, help="time for each, in place of --runs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, help="folder to start from and to leave new inputs in")
    parser.add_argument("names", nargs="*", choices=[*NAMES, []], metavar="NAME")
    args = parser.parse_args()
    folder = args.corpus or Path(tempfile.mkdtemp(prefix="snug-fuzz-"))
    results = [run(args, name, folder) for name in args.names or NAMES]
    return not all(results)


if __name__ == "__main__":
    sys.exit(main())
