# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Chunk loops that no model of test_models.py is cut by: equal to ONNX Runtime, and to no loops bit for bit."""
import numpy as np
import pytest
from onnx import TensorProto

import snug
from ops import Graph, noise


def check(graph, tmp_path, budget, dim, extent):
    """Compiles within the budget (bytes) and expects loops over this dim only."""
    model = graph.save(tmp_path / "model.onnx")
    _, whole = snug.compile_model(model, tmp_path / "whole.so", {})
    assert whole["chunk_loops"] == [] and whole["memory"]["arena"] > budget
    _, report = snug.compile_model(model, tmp_path / "cut.so", {}, activation_budget=budget)
    loops = report["chunk_loops"]
    assert loops and all((loop["dim"], loop["extent"]) == (dim, extent) for loop in loops), loops
    unchunked, _ = snug.run_model(tmp_path / "whole.so", graph.values)
    chunked, _ = snug.run_model(tmp_path / "cut.so", graph.values)
    for name, want in snug.reference(model, graph.values).items():
        assert snug.relative_error(chunked[name], want) < 1e-6, name
        np.testing.assert_array_equal(chunked[name], unchunked[name], err_msg=name)


def test_heads_of_grouped_queries(tmp_path):
    """Few query rows, many keys that are computed: one key head at a time, with the four query heads that share it."""
    heads, key_heads, rows, keys, size = 8, 2, 3, 1024, 32
    g = Graph()
    q = g.input("q", noise(1, heads, rows, size))
    bias = g.input("bias", noise(heads, 1, keys))

    def repeated(name, op):
        x = g.node(op, g.input(name, noise(1, key_heads, keys, size)))
        x = g.node("Unsqueeze", x, g.constant(np.array([2])))
        x = g.node("Expand", x, g.constant(np.array([1, key_heads, heads // key_heads, keys, size])))
        return g.node("Reshape", x, g.constant(np.array([1, heads, keys, size])))

    k, v = repeated("k", "Tanh"), repeated("v", "Exp")
    scores = g.node("MatMul", q, g.node("Transpose", k, perm=[0, 1, 3, 2]))
    scores = g.node("Mul", scores, g.constant(np.float32(size**-0.5)))
    weights = g.node("Softmax", g.node("Add", scores, bias), axis=-1)
    g.output(g.node("MatMul", weights, v), 4)
    check(g, tmp_path, budget=2 * keys * size * 4, dim=1, extent=key_heads)


def test_columns_of_a_gather(tmp_path):
    """Few long rows of a computed table: a part of the columns at a time."""
    g = Graph()
    table = g.node("Tanh", g.input("x", noise(4, 4096)))
    g.output(g.node("Gather", table, g.input("i", np.array([3, -4, 1])), axis=0), 2, TensorProto.FLOAT)
    check(g, tmp_path, budget=20000, dim=1, extent=4096)


@pytest.mark.parametrize("op, exact", [("ReduceSum", False), ("ReduceMax", True), ("ReduceMin", True), ("ReduceL2", False)])
def test_reductions_in_parts(op, exact, tmp_path):
    """What is reduced is never there as a whole, though the reduced dim is the only one that can be cut."""
    g = Graph()
    x = g.node("Softmax", g.input("x", noise(5000, 2)), axis=1)
    g.output(g.node(op, x, g.constant(np.array([0])), keepdims=0), 1)
    model = g.save(tmp_path / "model.onnx")
    _, whole = snug.compile_model(model, tmp_path / "whole.so", {})
    budget = whole["memory"]["arena"] // 10
    _, report = snug.compile_model(model, tmp_path / "cut.so", {}, activation_budget=budget)
    assert [loop["kind"] for loop in report["chunk_loops"]] == ["accumulate"]
    unchunked, _ = snug.run_model(tmp_path / "whole.so", g.values)
    chunked, _ = snug.run_model(tmp_path / "cut.so", g.values)
    for name, want in snug.reference(model, g.values).items():
        assert snug.relative_error(chunked[name], want) < 1e-6
        if exact:
            np.testing.assert_array_equal(chunked[name], unchunked[name])
