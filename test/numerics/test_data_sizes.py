# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Sizes that are computed from data: results of the actual shape, at several data, in memory that was planned for the bound."""
import numpy as np
import pytest
from onnx import TensorProto

import snug
from ops import Graph, noise

INT64 = TensorProto.INT64


def sparse(*shape, share=0.4, seed=0):
    """Of ones and zeros, so many ones."""
    return (np.random.default_rng([seed, *shape]).random(shape) < share).astype(np.float32)


def check(graph, tmp_path, others=({},), dims=None, flags=(), tolerance=1e-6, budget=None, want=None):
    """Compiles once; compares with ONNX Runtime at the graph's values and at others. Gives the report."""
    model = graph.save(tmp_path / "ops.onnx")
    _, report = snug.compile_model(model, tmp_path / "ops.so", dims or {}, activation_budget=budget, flags=flags)
    for values in others:
        values = {**graph.values, **values}
        got, stats = snug.run_model(tmp_path / "ops.so", values)
        assert stats["measured"]["arena_high_water"] <= report["memory"]["arena"]
        assert stats["measured"]["allocations_in_run"] == 0
        for name, value in snug.reference(model, values).items():
            assert got[name].shape == value.shape and got[name].dtype == value.dtype, name
            if value.dtype.kind == "f" and value.size:
                assert np.linalg.norm(got[name] - value) <= tolerance * max(np.linalg.norm(value), 1e-30), name
            else:
                assert np.array_equal(got[name], value), name
    return report


def test_an_output_has_the_shape_of_the_data(tmp_path):
    graph = Graph()
    graph.output(graph.node("NonZero", graph.input("x", sparse(3, 5), ("rows", 5))), 2, INT64)
    full, none, nan = np.ones((4, 5), np.float32), np.zeros((2, 5), np.float32), np.full((1, 5), np.nan, np.float32)
    report = check(graph, tmp_path, [{}, {"x": full}, {"x": none}, {"x": nan}], {"rows": "1..4"})
    assert report["memory"]["outputs"] >= 2 * 4 * 5 * 8


def test_what_follows_has_its_size_of_the_data(tmp_path):
    """Rows chosen by a mask go through products, sums along and across them, and shape arithmetic."""
    graph = Graph()
    x, mask = graph.input("x", noise(9, 6), ("rows", 6)), graph.input("mask", sparse(9), ("rows",))
    places = graph.node("Squeeze", graph.node("NonZero", mask), graph.constant(np.array([0])))
    chosen = graph.node("Gather", x, places, axis=0)
    wide = graph.node("MatMul", chosen, graph.constant(noise(6, 16)))
    sharp = graph.node("Softmax", graph.node("Relu", wide), axis=0)
    graph.output(graph.node("ReduceSum", sharp, graph.constant(np.array([1])), keepdims=0), 1)
    graph.output(graph.node("Concat", sharp, wide, axis=0), 2)
    graph.output(graph.node("Shape", graph.node("Transpose", sharp, perm=[1, 0])), 1, INT64)
    graph.output(graph.node("Range", graph.constant(np.int64(0)), graph.node("Size", places), graph.constant(np.int64(1))), 1,
                 INT64)
    graph.output(graph.node("Reshape", graph.node("Reshape", wide, graph.constant(np.array([-1, 4]))),
                            graph.constant(np.array([-1, 2, 8]))), 3)
    all_of, one = {"mask": np.ones(9, np.float32)}, {"mask": np.eye(1, 9, 4, dtype=np.float32)[0]}
    check(graph, tmp_path, [{}, all_of, one], {"rows": "1..9"}, tolerance=1e-5)
