# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Inputs that the caller gives up (--donate): less memory, the same results, and nothing else is written."""
import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import pytest

import snug
from ops import Graph, noise


def load(library, **options):
    """With the Python wrapper, whose name is that of the tests' own module."""
    path = Path(__file__).resolve().parents[2] / "python" / "snug" / "__init__.py"
    spec = importlib.util.spec_from_file_location("snug_wrapper", path, submodule_search_locations=[str(path.parent)])
    wrapper = sys.modules["snug_wrapper"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(wrapper)
    return wrapper.load(library, **options)


def residual_stream(n=256, c=64):
    """Three updates of x, by rows; mask is read by each. The result is none of them."""
    g = Graph()
    x, mask = g.input("x", noise(n, c), ["n", "c"]), g.input("mask", noise(n, 1, seed=1), ["n", 1])
    for i in range(3):
        hidden = g.node("Tanh", g.node("MatMul", x, g.constant(noise(c, 4 * c, seed=i) * 0.1)))
        update = g.node("MatMul", hidden, g.constant(noise(4 * c, c, seed=9 + i) * 0.1))
        x = g.node("Add", x, g.node("Mul", update, mask))
    g.output(g.node("MatMul", x, g.constant(noise(c, 2, seed=30))), 2)
    return g, "x", {"n": n, "c": c}, n * c * 4


def pair_updates(n=64, c=16):
    """Two updates of a pair representation, each of which needs all of it."""
    g = Graph()
    z, mask = g.input("z", noise(n, n, c), ["n", "n", c]), g.input("mask", noise(n, n, 1, seed=1), ["n", "n", 1])
    for i in range(2):
        left = g.node("Sigmoid", g.node("MatMul", z, g.constant(noise(c, c, seed=i) * 0.1)))
        right = g.node("MatMul", z, g.constant(noise(c, c, seed=5 + i) * 0.1))
        update = g.node("Einsum", left, right, equation="ikc,jkc->ijc")
        update = g.node("MatMul", update, g.constant(noise(c, c, seed=9 + i) * 0.01))
        z = g.node("Add", z, g.node("Mul", update, mask))
    g.output(g.node("ReduceMean", z, g.constant(np.array([2])), keepdims=0), 2)
    return g, "z", {"n": n}, n * n * c * 4


@pytest.fixture(params=[residual_stream, pair_updates], ids=lambda f: f.__name__)
def case(request, tmp_path):
    graph, donated, dims, size = request.param()
    return graph, graph.save(tmp_path / "model.onnx"), donated, dims, size


def test_updates_take_no_memory_of_their_own(case, tmp_path):
    graph, model, donated, dims, size = case
    _, kept = snug.compile_model(model, tmp_path / "kept.so", dims)
    _, given = snug.compile_model(model, tmp_path / "given.so", dims, flags=("--donate", donated))
    assert (kept["donated"], given["donated"]) == ([], [donated])
    assert given["memory"]["arena"] == kept["memory"]["arena"] - size
    want, _ = snug.run_model(tmp_path / "kept.so", graph.values)
    got, stats = snug.run_model(tmp_path / "given.so", graph.values, repeat=3)  # each run finds the input anew
    assert stats["measured"]["arena_high_water"] == given["memory"]["arena"]
    for name, value in snug.reference(model, graph.values).items():
        np.testing.assert_array_equal(got[name], want[name], err_msg=name)
        assert snug.relative_error(got[name], value) < 1e-5, name


def test_a_donation_never_stands_in_the_way(tmp_path):
    """Rows of a convolution read rows that the one before it would have written over."""
    g = Graph()
    x = g.input("x", noise(1, 8, 64, 64))
    for i in range(2):
        kernel = g.constant(noise(8, 8, 3, 3, seed=i) * 0.1)
        x = g.node("Add", x, g.node("Relu", g.node("Conv", x, kernel, pads=[1, 1, 1, 1], kernel_shape=[3, 3])))
    g.output(g.node("ReduceMean", x, g.constant(np.array([1])), keepdims=0), 3)
    model = g.save(tmp_path / "m.onnx")
    least = []
    for flags in ((), ("--donate", "x")):
        _, report = snug.compile_model(model, tmp_path / "dry.so", {}, flags=("--dry-run", *flags))
        least.append(report["budget"]["least_activation"])
    assert least[1] <= least[0]
    _, report = snug.compile_model(model, tmp_path / "m.so", {}, least[1], flags=("--donate", "x"))
    assert report["memory"]["arena"] <= least[1]
    got, stats = snug.run_model(tmp_path / "m.so", g.values, repeat=2)
    assert stats["measured"]["arena_high_water"] <= report["memory"]["arena"]
    for name, value in snug.reference(model, g.values).items():
        assert snug.relative_error(got[name], value) < 1e-5


@pytest.mark.skipif("SNUG_RUNTIME" not in os.environ, reason="a sanitizer's runtime would have to be in Python itself")
@pytest.mark.parametrize("percent", [None, 70, 50])
def test_only_donated_inputs_are_written(case, percent, tmp_path):
    graph, model, donated, dims, _ = case
    bounded = {name: f"1..{value}" for name, value in dims.items()} | ({"c": dims["c"]} if "c" in dims else {})
    budget = percent and f"{percent}%"
    for flags in ((), ("--donate", donated)):
        path = tmp_path / f"m{len(flags)}.so"
        snug.compile_model(model, path, bounded, budget, allowed=(0, snug.CANNOT_FIT), flags=flags)
        if not path.exists():
            continue  # less than what can be reached without a donation
        library = load(path, donate=True)
        assert library.overwritten == ([donated] if flags else [])
        values = {name: value.copy() for name, value in graph.values.items()}
        got = library(**values)
        for name, value in snug.reference(model, graph.values).items():
            assert snug.relative_error(got[name], value) < 1e-5, name
        for name, value in graph.values.items():
            assert np.array_equal(values[name], value) == (name != donated or not flags), name
