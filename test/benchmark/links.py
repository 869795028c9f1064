#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Whether the mesh and family that snugc chooses are the fastest ones on real links, and send what they are said to send.

  links.py --bin build/release/bin [TOPOLOGY...] [--tokens 1024] [--layers 4] [--hidden 128] [--repeat 2] [--json FILE]
  links.py --bin build/release/bin --overlap [--rounds 5] [--repeat 2] [--json FILE]

Makes a cluster of eight devices out of this machine (shaped_links.py): network namespaces with links as slow as those of a
topology below are fast, so that the cores have little to do. Runs Open MPI between them, over TCP; measures the links with
snug-run --measure-links; compiles a small GPT with large activations for each mesh and family by what was measured, and runs each.
Printed are modelled and measured times, bytes that a device sends as planned and as its link counted them, the share of the cores
that the ranks took (their start included), and for each topology chosen / best measured and one ring of all (1D) / chosen.

With --overlap, of two and of four devices at a switch: what computing while sending gains, measured and modelled (overlap_links.py).

Needs root, iproute2 and Open MPI (with --overlap a C compiler, too); ends with 77 where it cannot.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import overlap_links
import shaped_links
from link_runs import Runner, compile_candidate, gpt, noise

SKIPPED = 77
# Levels, outermost first: fan-out, GB/s of one flow and of all that leaves a unit; and MB/s here for a GB/s there.
TOPOLOGIES = {"T1": ("eight at one switch", [(8, 300, 300)], 0.02),
              "T3": ("four fast pairs, each device at a slow bus", [(4, 24, 48), (2, 300, 300)], 0.08),
              "T5": ("two boxes of four, one network card each", [(2, 25, 25), (4, 300, 300)], 0.08),
              "T11": ("two sockets of four, a link between them that is little slower", [(2, 20, 20), (4, 24, 24)], 0.2)}
CANDIDATES = [("8x1", "1d"), ("1x8", "column-first")] + [(mesh, family) for mesh in ("4x2", "2x4")
                                                        for family in ("hierarchical", "column-first", "row-first", "free")]
ONE_RING = ("8x1", "1d")
WARMUP = 1


# A rank, and what it took of the cores, as the shell says: two lines of user and system time, of itself and of what it ran.
TIMED = ["sh", "-c", '"$@"; code=$?; times >&2; exit $code', "sh"]


def seconds_of(text):
    """Of "1m2.5s"."""
    minutes, rest = text.split("m")
    return 60 * float(minutes) + float(rest.rstrip("s"))


def core_seconds(errors):
    """Of all ranks together, by what their shells wrote."""
    return sum(seconds_of(word) for word in re.findall(r"\d+m[\d.]+s", errors))


def measure(args, cluster, runner, model, topology, mesh, family, work):
    """One candidate: modelled and measured milliseconds, planned bytes of a device, and the most that a device's link counted."""
    library, stats = work / f"{mesh}-{family}.so", work / "stats.json"
    plan = compile_candidate(args, model, library, topology, mesh, family)
    before = [sum(cluster.sent(device)) for device in range(cluster.size)]
    said = runner(*TIMED, args.bin / "snug-run", library, "--inputs", work / "x.npz", "--outputs", work / "y.npz", "--threads", 1, "--warmup", WARMUP,
           "--repeat", args.repeat, "--stats", stats)
    sent = max(sum(cluster.sent(device)) - was for device, was in enumerate(before)) / (WARMUP + args.repeat)
    latency = max(rank["latency_ms"]["median"] for rank in json.loads(stats.read_text())["ranks"])
    busy = core_seconds(said) / (latency / 1e3 * (WARMUP + args.repeat) * os.cpu_count())
    with np.load(work / "y.npz") as outputs:
        output = next(iter(outputs.values()))
    return {"mesh": mesh, "family": family, "modelled_ms": plan["candidates"][0]["ms"], "measured_ms": latency, "busy": busy,
            "planned_bytes": sum(one["bytes"] for one in plan["collectives"]), "sent_bytes": sent}, output


def choose(args, model, topology, work):
    """Mesh and family that --mesh auto takes, as CANDIDATES has them."""
    report = work / "auto.json"
    subprocess.run([str(word) for word in (args.bin / "snugc", model, "--dry-run", "--threads", 1, "--mesh", "auto", "--topology", topology,
                                           "--report", report)], check=True, capture_output=True)
    mesh = json.loads(report.read_text())["mesh"]
    return "x".join(map(str, mesh["mesh"])), {"1D": "1d", "hierarchical 1D": "hierarchical"}.get(mesh["family"], mesh["family"])


def judge(rows, choice):
    """chosen / best measured, and 1D / chosen."""
    chosen = next(row for row in rows if (row["mesh"], row["family"]) == choice)
    one_ring = next(row for row in rows if (row["mesh"], row["family"]) == ONE_RING)
    best = min(rows, key=lambda row: row["measured_ms"])
    return {"chosen": chosen, "best": best, "to_best": chosen["measured_ms"] / best["measured_ms"],
            "gain": one_ring["measured_ms"] / chosen["measured_ms"],
            "bytes": [min(row["sent_bytes"] / row["planned_bytes"] for row in rows), max(row["sent_bytes"] / row["planned_bytes"] for row in rows)]}


def name_of(row):
    return f"{row['mesh']} {row['family']}"


def run_topology(args, name, model, reference, work):
    what, levels, scale = TOPOLOGIES[name]
    levels = [(fanout, flow * scale * 1e6, group * scale * 1e6) for fanout, flow, group in levels]
    print(f"\n{name}: {what}; MB/s " + ", ".join(f"{fanout} x {flow / 1e6:g}/{group / 1e6:g}" for fanout, flow, group in levels), flush=True)
    rows = []
    with shaped_links.Cluster(levels) as cluster:
        runner = Runner(cluster, args, work)
        topology = work / f"{name}.topology.json"
        start = time.time()
        runner(args.bin / "snug-run", "--measure-links", "-o", topology)
        links = json.loads(topology.read_text())
        flows = sorted(value * 1e3 for row in links["p2p_gbps"] for value in row if value)
        print(f"measured in {time.time() - start:.0f} s: flows of {flows[0]:.3g} to {flows[-1]:.3g} MB/s")
        print(f"  {'candidate':22} {'modelled':>9} {'measured':>9}  {'planned':>8} {'sent':>8}       {'busy':>5}")
        for mesh, family in CANDIDATES:
            row, output = measure(args, cluster, runner, model, topology, mesh, family, work)
            if reference is not None and np.linalg.norm(output - reference) > 1e-5 * np.linalg.norm(reference):
                sys.exit(f"links: {mesh} {family} gives another result than one device")
            rows.append(row)
            print(f"  {name_of(row):22} {row['modelled_ms']:6.0f} ms {row['measured_ms']:6.0f} ms  {row['planned_bytes'] / 1e6:5.2f} MB "
                  f"{row['sent_bytes'] / 1e6:5.2f} MB {row['sent_bytes'] / row['planned_bytes']:5.3f}x {row['busy']:4.0%}", flush=True)
    found = judge(rows, choose(args, model, topology, work))
    print(f"  chosen {name_of(found['chosen'])}, best {name_of(found['best'])}: chosen / best {found['to_best']:.3f}, one ring / chosen "
          f"{found['gain']:.2f}, sent / planned {found['bytes'][0]:.3f} to {found['bytes'][1]:.3f}", flush=True)
    return {"topology": name, "rows": rows, **found}


def one_device(args, model, work):
    library = work / "one.so"
    for words in ((args.bin / "snugc", model, "-o", library), (args.bin / "snug-run", library, "--inputs", work / "x.npz", "--outputs", work / "y.npz")):
        subprocess.run([str(word) for word in words], check=True, capture_output=True)
    with np.load(work / "y.npz") as outputs:
        return next(iter(outputs.values()))


def measure_meshes(args, work):
    model = gpt(work / "gpt.onnx", args.tokens, args.layers, args.hidden)
    np.savez(work / "x.npz", x=noise(1, args.tokens, args.hidden))
    reference = one_device(args, model, work)
    return [run_topology(args, name, model, reference, work) for name in args.topologies or TOPOLOGIES]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("topologies", nargs="*", metavar="TOPOLOGY", help=f"of {', '.join(TOPOLOGIES)} (default: all)")
    parser.add_argument("--bin", type=Path, required=True)
    parser.add_argument("--mpirun", default="mpirun")
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--overlap", action="store_true", help="what computing while sending gains, instead of meshes and families")
    parser.add_argument("--rounds", type=int, default=5, help="with --overlap: starts of each program, in turns (default: 5)")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    args.bin = args.bin.resolve()
    for name in args.topologies:
        if name not in TOPOLOGIES:
            parser.error(f"there is no topology {name}; there are {', '.join(TOPOLOGIES)}")
    if args.overlap and args.topologies:
        parser.error("--overlap has links of its own, and takes no TOPOLOGY")
    try:
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            results = overlap_links.measure(args, work) if args.overlap else measure_meshes(args, work)
    except (shaped_links.CannotShape, FileNotFoundError) as problem:
        print(f"links: not measured: {problem}")
        sys.exit(SKIPPED)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
