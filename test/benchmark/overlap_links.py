# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""links.py --overlap: whether computing while sending gains on real links what the model of docs/topology.md says.

First by a model whose computing is a wait (timed_model.c), so that the cores of one machine are enough for all devices: in 1, 2, 4
and 8 pieces, where computing takes as long as sending is modelled to take, and half of it. The time that is modelled is that of the
links as snug-run --measure-links found them and snugc read them. Then by two GPTs as snugc compiles them, with --overlap off and auto;
there all devices compute on the cores of this machine, which the model knows nothing of."""
import json
import shutil
import statistics
import subprocess
from pathlib import Path

import numpy as np

import shaped_links
from link_runs import Runner, compile_candidate, gpt, noise

HERE = Path(__file__).resolve().parent
DEVICES = (2, 4)
RATE = 20e6  # bytes/s of each device, at one switch
ROWS, WIDTH = 2048, 512
PIECES = (1, 2, 4, 8)
SETTINGS = {"balanced": 1.0, "send-heavy": 0.5}  # computing / sending
WITHIN = 0.25
# Mesh and family, and sizes: of the first --mesh auto takes that mesh, in the second the way down computes as long as it sends.
GPTS = {"small": ("2x2", "free", {"tokens": 1024, "layers": 4, "hidden": 128}),
        "wide": ("4x1", "1d", {"batch": 8, "tokens": 128, "layers": 2, "hidden": 256, "ways_up": 64})}


def pipelined_time(pieces, kernel, links):
    """As lib/solver/MeshPlanner.h has it: of so many equal pieces, each computed and then sent."""
    return kernel + links + (pieces - 1) * max(kernel, links)


def sending(ring, devices, pieces=1):
    """Modelled ms that the sum of one of so many pieces of y takes, over a ring of so many GB/s and us of latency."""
    return ring["latency_us"] / 1e3 + 2 * (devices - 1) / devices * (ROWS * WIDTH * 4) / pieces / ring["gbps"] / 1e6


def judge(measured, modelled):
    """Of ms by number of pieces: rows with the gain over one piece, and whether that is as modelled in the best number by the model."""
    rows = []
    for pieces in sorted(measured):
        gain, expected = measured[1] - measured[pieces], modelled[1] - modelled[pieces]
        rows.append({"pieces": pieces, "measured_ms": measured[pieces], "modelled_ms": modelled[pieces], "gain_ms": gain,
                     "modelled_gain_ms": expected, "ratio": gain / expected if expected else None})
    best = min(rows, key=lambda row: row["modelled_ms"])
    return {"rows": rows, "best": best, "is_within": best["ratio"] is not None and abs(best["ratio"] - 1) <= WITHIN}


def in_turns(rounds, names, run):
    """What `run` says of each name, a list of so many; what disturbs one of them disturbs the others, too."""
    found = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            found[name].append(run(name))
    return found


def build(devices, library):
    """timed_model.c for so many devices."""
    compiler = shutil.which("cc") or shutil.which("clang")
    if not compiler:
        raise shaped_links.CannotShape("no 'cc' or 'clang' here: install a C compiler")
    words = (compiler, "-O2", "-shared", "-fPIC", "-fvisibility=hidden", "-I", HERE.parents[1] / "include", f"-DRANKS={devices}", f"-DROWS={ROWS}",
             f"-DWIDTH={WIDTH}", HERE / "timed_model.c", "-o", library)
    subprocess.run([str(word) for word in words], check=True)
    return library


def run_once(args, runner, work, library, inputs, *environment):
    """Milliseconds of the slowest rank, and the output."""
    stats, outputs = work / "stats.json", work / "y.npz"
    runner("env", *environment, args.bin / "snug-run", library, "--inputs", inputs, "--outputs", outputs, "--threads", 1, "--warmup", 1,
           "--repeat", args.repeat, "--stats", stats)
    with np.load(outputs) as found:
        output = next(iter(found.values()))
    return max(rank["latency_ms"]["median"] for rank in json.loads(stats.read_text())["ranks"]), output


def timed(args, runner, work, devices, ring):
    """The timed model in both settings."""
    library, x = build(devices, work / f"timed{devices}.so"), noise(ROWS, WIDTH)
    np.savez(work / "timed.npz", x=x)
    results = []
    for setting, share in SETTINGS.items():
        computing = share * sending(ring, devices)

        def run(pieces):
            ms, output = run_once(args, runner, work, library, work / "timed.npz", f"SNUG_TIMED_PIECES={pieces}",
                                  f"SNUG_TIMED_ROW={round(computing * 1e6 / ROWS)}")
            if not np.array_equal(output, devices * x):  # exact: the number of devices is a power of two
                raise SystemExit(f"links: {pieces} pieces on {devices} devices do not give the sum")
            return ms
        runs = in_turns(args.rounds, PIECES, run)
        found = judge({pieces: statistics.median(ms) for pieces, ms in runs.items()},
                      {pieces: pipelined_time(pieces, computing / pieces, sending(ring, devices, pieces)) for pieces in PIECES})
        print(f"  {setting}: computing {computing:.0f} ms, sending {sending(ring, devices):.0f} ms\n"
              f"    {'pieces':>6} {'modelled':>11} {'measured':>11} {'of all runs':>16} {'gain modelled':>14} {'measured':>11} {'ratio':>6}")
        for row in found["rows"]:
            low, high = min(runs[row["pieces"]]), max(runs[row["pieces"]])
            ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
            print(f"    {row['pieces']:6} {row['modelled_ms']:8.1f} ms {row['measured_ms']:8.1f} ms {low:8.1f} to {high:.1f} "
                  f"{row['modelled_gain_ms']:10.1f} ms {row['gain_ms']:8.1f} ms {ratio:>6}")
        best = found["best"]
        print(f"    best by the model: {best['pieces']} pieces, measured gain {best['ratio']:.2f} of the modelled one: "
              f"{'' if found['is_within'] else 'NOT '}within {WITHIN:.0%}", flush=True)
        results.append({"devices": devices, "setting": setting, "computing_ms": computing, "sending_ms": sending(ring, devices),
                        "runs_ms": runs, **found})
    return results


def compiled(args, runner, work, topology):
    """The GPTS, with --overlap off and auto."""
    results = []
    for name, (mesh, family, sizes) in GPTS.items():
        model, inputs = gpt(work / f"{name}.onnx", **sizes), work / "x.npz"
        np.savez(inputs, x=noise(sizes.get("batch", 1), sizes["tokens"], sizes["hidden"]))
        plans = {overlap: compile_candidate(args, model, work / f"{name}.{overlap}.so", topology, mesh, family, overlap)
                 for overlap in ("off", "auto")}
        outputs = {}

        def run(overlap):
            ms, outputs[overlap] = run_once(args, runner, work, work / f"{name}.{overlap}.so", inputs)
            return ms
        runs = in_turns(args.rounds, plans, run)
        if np.linalg.norm(outputs["auto"] - outputs["off"]) > 1e-5 * np.linalg.norm(outputs["off"]):
            raise SystemExit(f"links: the {name} GPT gives another result with --overlap auto than with --overlap off")
        print(f"  {name} GPT, " + ", ".join(f"{what} {value}" for what, value in sizes.items()) + f", {mesh} {family}")
        modelled = {}
        for overlap, plan in plans.items():
            ms, pieces = runs[overlap], ", ".join(f"{one['nodes'][-1]} {one['pieces']}" for one in plan["overlap"])
            modelled[overlap] = plan["candidates"][0]["ms"] - sum(one["alone_ms"] - one["ms"] for one in plan["overlap"])
            print(f"    --overlap {overlap:4} modelled {modelled[overlap]:7.1f} ms, measured {statistics.median(ms):7.1f} ms "
                  f"({min(ms):.1f} to {max(ms):.1f}); pieces: {pieces or 'none'}")
        ratio = statistics.median(runs["auto"]) / statistics.median(runs["off"])
        print(f"    auto / off {ratio:.3f}", flush=True)
        results.append({"gpt": name, "mesh": mesh, "family": family, **sizes, "runs_ms": runs, "modelled_ms": modelled, "ratio": ratio,
                        "overlap": plans["auto"]["overlap"]})
    return results


def ring_of(args, work, topology, devices):
    """GB/s and us of the ring of all devices, as snugc reads a topology."""
    model = gpt(work / "ring.onnx", tokens=64, layers=1, hidden=64)
    plan = compile_candidate(args, model, work / "ring.so", topology, f"{devices}x1", "1d")["plan"]
    return next(one for one in plan["candidates"] if one["mesh"] == [devices, 1])["rings"][0]


def measure(args, work):
    results = []
    for devices in DEVICES:
        print(f"\n{devices} devices at a switch, {RATE / 1e6:g} MB/s each")
        with shaped_links.Cluster([(devices, RATE, RATE)]) as cluster:
            runner, topology = Runner(cluster, args, work), work / f"{devices}.topology.json"
            runner(args.bin / "snug-run", "--measure-links", "-o", topology)
            ring = ring_of(args, work, topology, devices)
            print(f"  measured: {ring['gbps'] * 1e3:.3g} MB/s, latency {ring['latency_us']:.0f} us", flush=True)
            results += timed(args, runner, work, devices, ring)
            if devices == 4:
                results += compiled(args, runner, work, topology)
    return results
