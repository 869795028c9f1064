# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Random graphs on random meshes with random links, against ONNX Runtime; all devices give the same bits."""
import json
import random

import numpy as np
import pytest

from graphs import Graph
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
    pieces = rng.choice(["auto", "off", "2", "4", "8"])
    run("SNUGC", tmp_path / "m.onnx", "-o", library, *words, "--mesh", f"{mesh[0]}x{mesh[1]}", "--topology", tmp_path / "t.json",
        "--overlap", pieces)
    np.save(tmp_path / "x.npy", x)
    run("SNUG_RUN", library, "--comm", "loopback", "--input", f"x={tmp_path / 'x.npy'}", "--outputs", tmp_path / "y.{rank}.npz",
        "--stats", tmp_path / "stats.json")
    ranks = json.loads((tmp_path / "stats.json").read_text())["ranks"]
    assert len(ranks) == mesh[0] * mesh[1]
    for rank, stats in enumerate(ranks):
        assert stats["measured"]["arena_high_water"] <= stats["planned"]["arena"]
        assert stats["measured"]["allocations_in_run"] == 0
        with np.load(tmp_path / f"y.{rank}.npz") as file:
            got = {name: file[name] for name in file.files}
        if rank == 0:
            first = got
            assert_close(got, want)
        for name, value in got.items():
            assert np.array_equal(value, first[name], equal_nan=True), f"{name}: rank {rank} has other bits"
