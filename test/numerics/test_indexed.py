# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Ops whose indices are data or whose steps follow each other, with bounded dims and inside chunk loops."""
import numpy as np
import onnx
import pytest
from onnx import TensorProto

import snug
from ops import Graph, noise, operator


def test_top_k_orders_equal_elements_and_nan(tmp_path):
    rows = np.random.default_rng(0).integers(-3, 4, (7, 40)).astype(np.float32)
    rows[1, 5], rows[2, :] = np.nan, 1
    for largest in (0, 1):
        graph = Graph()
        values, places = graph.node("TopK", graph.input("x", rows, ("rows", 40)), graph.constant(np.array([9])), outputs=2,
                                    largest=largest)
        graph.output(values, 2)
        graph.output(places, 2, TensorProto.INT64)
        model = graph.save(tmp_path / "ops.onnx")
        snug.compile_model(model, tmp_path / "ops.so", {"rows": "1..9"})
        got, _ = snug.run_model(tmp_path / "ops.so", graph.values)
        keys = np.where(np.isnan(rows), np.inf, rows)
        want = np.argsort(-keys if largest else keys, axis=1, kind="stable")[:, :9]
        assert np.array_equal(got[places], want)
        assert np.array_equal(got[values], np.take_along_axis(rows, want, 1), equal_nan=True)


@pytest.mark.parametrize("reduction", ["none", "add", "max", "mul"])
def test_scatter_of_the_same_place(reduction, tmp_path):
    """Updates of one place take effect in their order; those beyond the data have none."""
    data, updates = noise(6, 10, 4), noise(6, 5, 4, seed=1)
    indices = np.random.default_rng(1).integers(-10, 10, (6, 5, 4))
    operator("ScatterElements", [(data, ("b", "n", 4)), (indices, ("b", 5, 4)), (updates, ("b", 5, 4))], tmp_path, [3],
             dims={"b": "1..8", "n": "10..12"}, axis=1, reduction=reduction)
    pairs = np.random.default_rng(2).integers(-6, 6, (3, 7, 1))
    slices = noise(3, 7, 10, 4, seed=2)
    operator("ScatterND", [(data, (6, "n", 4)), (pairs, (3, "m", 1)), (slices, (3, "m", "n", 4))], tmp_path, [3],
             dims={"m": "1..7", "n": "2..12"}, reduction=reduction)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.uint32, np.uint64, np.int64, np.float16, np.float64, np.bool_])
def test_scatters_of_other_types(dtype, tmp_path):
    """Numbers without sign are compared as such, and wrap; booleans are joined by or and and."""
    rng, graph = np.random.default_rng(6), Graph()
    top = 1 if dtype == np.bool_ else 2 if dtype == np.float16 else 200 if dtype == np.uint8 else 20000
    data, updates = rng.integers(0, top + 1, (9, 3)).astype(dtype), rng.integers(0, top + 1, (30, 3)).astype(dtype)
    at = rng.integers(-9, 9, (30, 1))
    x, i, u = graph.input("x", data), graph.input("i", at), graph.input("u", updates)
    names = {reduction: graph.node("ScatterND", x, i, u, reduction=reduction) for reduction in ("add", "mul", "max", "min")}
    for name in names.values():
        graph.output(name, 2, onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
    snug.compile_model(graph.save(tmp_path / "ops.onnx"), tmp_path / "ops.so", {})
    got, _ = snug.run_model(tmp_path / "ops.so", graph.values)
    ufuncs = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}
    if dtype == np.bool_:
        ufuncs |= {"add": np.logical_or, "mul": np.logical_and, "max": np.logical_or, "min": np.logical_and}
    for reduction, name in names.items():
        want = data.copy()
        for place, update in zip(at[:, 0], updates):
            want[place] = ufuncs[reduction](want[place], update)
        assert got[name].dtype == dtype and np.array_equal(got[name], want), reduction


@pytest.mark.parametrize("shape", [None, (2, 3, 8, 12), (2, 3, 11, 13), (2, 3, 7, 13)])
def test_unpooling_into_other_images(shape, tmp_path):
    """Places are those of the image that kernel and strides say, which is the first corner of the one that is asked for."""
    x, dims = noise(2, 3, 4, 6), (2, 3, 8, 12)
    at = np.stack([np.random.default_rng(n).permutation(8 * 12)[:24].reshape(4, 6) + n * 96 for n in range(6)]).reshape(2, 3, 4, 6)
    graph = Graph()
    more = [graph.constant(np.array(shape))] if shape else []
    name = graph.node("MaxUnpool", graph.input("x", x, ("b", 3, 4, 6)), graph.input("i", at, ("b", 3, 4, 6)), *more, kernel_shape=[2, 2], strides=[2, 2])
    graph.output(name, 4)
    snug.compile_model(graph.save(tmp_path / "ops.onnx"), tmp_path / "ops.so", {"b": 2} if shape else {"b": "1..4"})
    got, _ = snug.run_model(tmp_path / "ops.so", graph.values)
    inferred = np.zeros(dims, np.float32)
    inferred.reshape(-1)[at.reshape(-1)] = x.reshape(-1)
    want = np.zeros(shape or dims, np.float32)
    corner = tuple(slice(0, min(a, b)) for a, b in zip(dims, want.shape))
    want[corner] = inferred[corner]
    assert np.array_equal(got[name], want)


def test_slices_of_scatters_change_no_bit(tmp_path):
    """A scatter is a part of chunk loops, cut along what data and updates share."""
    graph = Graph()
    x, m = noise(48, 512, seed=3), noise(40, 512, seed=4)
    sums = graph.node("ScatterND", graph.node("Exp", graph.input("x", x)), graph.input("i", np.random.default_rng(0).integers(0, 48, (40, 1))),
                      graph.node("Tanh", graph.input("m", m)), reduction="add")
    graph.output(graph.node("ReduceMax", graph.node("Exp", sums), graph.constant(np.array([0]))), 2)
    model, results = graph.save(tmp_path / "ops.onnx"), []
    _, free = snug.compile_model(model, tmp_path / "free.so", {})
    _, tight = snug.compile_model(model, tmp_path / "tight.so", {}, activation_budget="25%")
    assert tight["memory"]["arena"] * 4 <= free["memory"]["arena"] and tight["chunk_loops"] and tight["exact"]
    for library in ("free.so", "tight.so"):
        results.append(snug.run_model(tmp_path / library, graph.values)[0][graph.outputs[0].name])
    assert np.array_equal(*results)
    want = np.exp(x)
    np.add.at(want, graph.values["i"][:, 0], np.tanh(m))
    assert snug.relative_error(results[0], np.exp(want).max(0, keepdims=True)) <= 1e-4


def test_indices_beyond_the_data(tmp_path):
    data, updates = noise(3, 4), noise(3, 2, seed=1)
    far = np.array([[0, 2 ** 40], [-5, 1], [4, -(2 ** 62)]])
    graph = Graph()
    x, i, u = graph.input("x", data), graph.input("i", far), graph.input("u", updates)
    graph.output(graph.node("ScatterElements", x, i, u, axis=1), 2)
    graph.output(graph.node("GatherElements", x, i, axis=1), 2)
    snug.compile_model(graph.save(tmp_path / "ops.onnx"), tmp_path / "ops.so", {})
    got, _ = snug.run_model(tmp_path / "ops.so", graph.values)
    written, read = (got[output.name] for output in graph.outputs)
    want = data.copy()
    want[0, 0], want[1, 1] = updates[0, 0], updates[1, 1]
    assert np.array_equal(written, want)
    assert np.array_equal(read, data[[[0], [1], [2]], [[0, 3], [0, 1], [3, 0]]])


def test_chunks_change_no_bit(tmp_path):
    """Rows that are scanned, sorted and looked up one by one may be computed in slices."""
    x = noise(64, 48, seed=3)
    graph = Graph()
    wide = graph.node("MatMul", graph.input("x", x, ("rows", 48)), graph.constant(noise(48, 512)))
    sums = graph.node("CumSum", wide, graph.constant(np.array(1)))
    values, _ = graph.node("TopK", sums, graph.constant(np.array([16])), outputs=2)
    places = graph.node("Cast", graph.node("Min", graph.node("Abs", values), graph.constant(np.float32(511))), to=TensorProto.INT64)
    found = graph.node("GatherElements", wide, places, axis=1)
    graph.output(graph.node("MatMul", found, graph.constant(noise(16, 8))), 2)
    model, results = graph.save(tmp_path / "ops.onnx"), []
    _, free = snug.compile_model(model, tmp_path / "free.so", {"rows": "1..64"})
    _, tight = snug.compile_model(model, tmp_path / "tight.so", {"rows": "1..64"}, activation_budget="25%")
    assert tight["memory"]["arena"] * 4 <= free["memory"]["arena"] and tight["chunk_loops"]
    for library in ("free.so", "tight.so"):
        got, _ = snug.run_model(tmp_path / library, graph.values)
        results.append(got[graph.outputs[0].name])
    assert np.array_equal(*results)
    want = snug.reference(model, graph.values)
    assert snug.relative_error(results[0], want[graph.outputs[0].name]) <= 1e-5


def test_functions_of_the_schema(tmp_path):
    """Ops that have no lowering of their own are what the schema defines them by, with its defaults."""
    operator("SwiGLU", [(noise(3, 7), ("a", 7)), (noise(3, 7, seed=1), ("a", 7))], tmp_path, [2], dims={"a": "1..4"}, opset=28)
    operator("MeanVarianceNormalization", [(noise(2, 3, 5, 4), None)], tmp_path, [4], opset=13)


def test_random_numbers_are_the_same_in_every_run(tmp_path):
    graph = Graph()
    x = graph.input("x", noise(40, 50), ("rows", 50))
    uniform = graph.node("RandomUniformLike", x, low=-2.0, high=6.0, seed=1.0)
    normal = graph.node("RandomNormalLike", x, mean=3.0, scale=2.0)
    other = graph.node("RandomUniformLike", x, low=-2.0, high=6.0, seed=2.0)
    for name in (uniform, normal, other):
        graph.output(name, 2)
    snug.compile_model(graph.save(tmp_path / "ops.onnx"), tmp_path / "ops.so", {"rows": "1..64"})
    first, _ = snug.run_model(tmp_path / "ops.so", graph.values)
    again, _ = snug.run_model(tmp_path / "ops.so", graph.values)
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first[uniform], first[other])
    assert first[uniform].min() >= -2 and first[uniform].max() < 6
    assert abs(first[uniform].mean() - 2) < 0.15 and abs(first[uniform].std() - 8 / 12 ** 0.5) < 0.1
    assert abs(first[normal].mean() - 3) < 0.15 and abs(first[normal].std() - 2) < 0.1
