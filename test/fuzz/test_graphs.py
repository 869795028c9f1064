# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Random graphs against ONNX Runtime: with fixed dims, from one bounded library, and at the least budget, where results
must be those without a budget, bit for bit."""
import json
import os
import subprocess

import numpy as np
import onnxruntime
import pytest

from graphs import Graph

TIER_1, ALL = 12, 300  # graphs
FOUND = {  # by this test before
    135, 231,  # sums across the contiguous dim of a chunk one element wide
    321, 349, 402, 437, 471, 509, 541,  # attention of one row, or of heads of one element
}


def run(variable, *arguments):
    command = [os.environ[variable], *(str(a) for a in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300)
    assert done.returncode == 0, f"{' '.join(command)}\nexit code {done.returncode}\n{done.stderr}"


def results(folder, x, dims, *flags):
    """Outputs by name, and the report's memory."""
    library, report, stats = folder / "m.so", folder / "report.json", folder / "stats.json"
    words = [word for name, value in dims.items() for word in ("--dim", f"{name}={value}")]
    run("SNUGC", folder / "m.onnx", "-o", library, *words, "--report", report, *flags)
    np.save(folder / "x.npy", x)
    run("SNUG_RUN", library, "--input", f"x={folder / 'x.npy'}", "--outputs", folder / "y.npz", "--stats", stats)
    measured, memory = json.loads(stats.read_text())["measured"], json.loads(report.read_text())["memory"]
    assert measured["arena_high_water"] <= memory["arena"] and measured["allocations_in_run"] == 0
    with np.load(folder / "y.npz") as file:
        return {name: file[name] for name in file.files}, memory


def assert_close(got, want):
    assert got.keys() == want.keys()
    for name, value in want.items():
        assert got[name].shape == value.shape, name
        if np.isfinite(value).all():
            error = np.linalg.norm((got[name] - value).ravel()) / max(np.linalg.norm(value.ravel()), 1e-12)
            # Differences that cancel leave few correct digits, in ONNX Runtime as here.
            assert error <= 1e-4 or np.abs(got[name] - value).max() <= 1e-5, (name, error)


def reference(graph, model, x):
    """What ONNX Runtime computes, by output."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return dict(zip(graph.outputs, session.run(graph.outputs, {"x": x})))


@pytest.mark.parametrize("seed", [pytest.param(seed, marks=[] if seed < TIER_1 or seed in FOUND else pytest.mark.long)
                                  for seed in sorted({*range(ALL), *FOUND})])
def test_random_graph(seed, tmp_path):
    graph = Graph(seed)
    graph.save(tmp_path / "m.onnx")
    x = graph.input()
    want = reference(graph, tmp_path / "m.onnx", x)
    free, memory = results(tmp_path, x, graph.dims)
    assert_close(free, want)
    bounded, _ = results(tmp_path, x, {"B": "1..2", "S": "1..80"})
    assert_close(bounded, want)
    run("SNUGC", tmp_path / "m.onnx", "--dry-run", "--report", tmp_path / "dry.json",
        *(word for name, value in graph.dims.items() for word in ("--dim", f"{name}={value}")))
    least = json.loads((tmp_path / "dry.json").read_text())["budget"]["least_activation"]
    tight, tight_memory = results(tmp_path, x, graph.dims, "--activation-budget", f"{least}B")
    assert tight_memory["arena"] <= least <= memory["arena"]
    for name in want:
        assert np.array_equal(tight[name], free[name], equal_nan=True), f"{name}: chunked differs from unchunked"


def test_graphs_are_varied():
    """The generator makes what it says it makes."""
    graphs = [Graph(seed) for seed in range(TIER_1)]
    assert {node.op_type for graph in graphs for node in graph.nodes} >= {"MatMul", "Softmax", "Transpose", "Reshape"}
    assert sum(len(graph.nodes) for graph in graphs) > 5 * TIER_1
    assert [str(n) for n in Graph(3).nodes] == [str(n) for n in Graph(3).nodes]
