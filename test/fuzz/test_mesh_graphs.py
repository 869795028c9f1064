# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Random graphs on random meshes with random links, against ONNX Runtime; all devices give the same bits."""
import json
import os
import random
import subprocess

import numpy as np
import pytest

from graphs import Graph
import onnx
from test_graphs import assert_close, reference, run

TIER_1, ALL = 8, 200  # graphs


def topology(mesh, rng):
    """Links that differ between the axes, now one, now the other, by up to a million times."""
    levels = []
    for extent in mesh:
        if extent > 1:
            gbps = 10 ** rng.uniform(-3, 3)
            levels.append({"fanout": extent, "p2p_gbps": gbps, "group_gbps": gbps * 8, "latency_us": rng.choice([0, 1, 1000])})
    return {"version": 1, "name": "random", "rails": False, "levels": levels}


def pins_that_can_be(model, mesh, words, rng):
    """Flags --shard for some of the graph's values; those that cannot be have one message."""
    graph = onnx.load(model, load_external_data=False).graph
    names = [value.name for value in [*graph.input, *graph.output]] + [tensor.name for tensor in graph.initializer]
    names = list(dict.fromkeys(names + [name for node in graph.node for name in node.output if name]))
    pins, axes = [], [axis for axis in (0, 1) if mesh[axis] > 1]
    for name in rng.sample(names, min(len(names), rng.randrange(8))):
        pin = ["--shard", f"{name}={rng.randrange(3)}:{rng.choice(axes)}"]
        done = subprocess.run([os.environ["SNUGC"], str(model), "--dry-run", *map(str, words), *pins, *pin], capture_output=True, text=True)
        assert done.returncode == 0 or (done.returncode == 3 and done.stderr.count("error: ") == 1), f"{pin}: {done.returncode} {done.stderr}"
        pins += pin if done.returncode == 0 else []
    return pins


@pytest.mark.parametrize("seed", [pytest.param(seed, marks=[] if seed < TIER_1 else pytest.mark.long) for seed in range(ALL)])
def test_random_graph_on_a_mesh(seed, tmp_path):
    graph, rng = Graph(seed), random.Random(seed)
    graph.save(tmp_path / "m.onnx")
    x = graph.input()
    want = reference(graph, tmp_path / "m.onnx", x)
    mesh = rng.choice([(2, 1), (1, 2), (2, 2), (3, 1), (4, 1), (2, 3), (4, 2), (2, 4), (1, 8)])
    (tmp_path / "t.json").write_text(json.dumps(topology(mesh, rng)))
    dims = graph.dims if rng.random() < 0.7 else {"B": "1..2", "S": "1..80"}
    words = [word for name, value in dims.items() for word in ("--dim", f"{name}={value}")]
    library = tmp_path / "m.so"
    words += ["--mesh", f"{mesh[0]}x{mesh[1]}", "--topology", tmp_path / "t.json", "--overlap", rng.choice(["auto", "off", "2", "4", "8"]),
              "--ring-attention", rng.choice(["auto", "off", "on"])]
    words += ["--replicate-weights"] if rng.random() < 0.5 else []
    words += pins_that_can_be(tmp_path / "m.onnx", mesh, words, rng)
    run("SNUGC", tmp_path / "m.onnx", "-o", library, *words, "--report", tmp_path / "r.json")
    np.save(tmp_path / "x.npy", x)
    run("SNUG_RUN", library, "--comm", "loopback", "--input", f"x={tmp_path / 'x.npy'}", "--outputs", tmp_path / "y.{rank}.npz",
        "--stats", tmp_path / "stats.json")
    run("SNUG_RUN", library, "--comm", "loopback", "--input", f"x={tmp_path / 'x.npy'}", "--outputs", tmp_path / "y.npz")
    with np.load(tmp_path / "y.npz") as file:
        assert_close({name: file[name] for name in file.files}, want)
    report = json.loads((tmp_path / "r.json").read_text())
    in_parts = {one["output"] for one in report["mesh"]["parts"] if "output" in one}
    ranks = json.loads((tmp_path / "stats.json").read_text())["ranks"]
    assert len(ranks) == mesh[0] * mesh[1]
    for rank, stats in enumerate(ranks):
        assert stats["measured"]["arena_high_water"] <= stats["planned"]["arena"]
        assert stats["measured"]["allocations_in_run"] == 0
        with np.load(tmp_path / f"y.{rank}.npz") as file:
            got = {name: file[name] for name in file.files}
        first = got if rank == 0 else first
        for name, value in got.items():
            assert name in in_parts or np.array_equal(value, first[name], equal_nan=True), f"{name}: rank {rank} has other bits"
