# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What exporters make of models of the wild, in small."""
import numpy as np
import pytest

import snug
from ops import Graph, noise


def agrees(graph, tmp_path, dims=None, opset=18, tolerance=1e-5, **inputs):
    model = graph.save(tmp_path / "m.onnx", opset)
    snug.compile_model(model, tmp_path / "m.so", dims or {})
    values = {**graph.values, **inputs}
    got, stats = snug.run_model(tmp_path / "m.so", values)
    assert stats["measured"]["allocations_in_run"] == 0
    for name, value in snug.reference(model, values).items():
        assert snug.relative_error(got[name], value) <= tolerance, name


def test_an_image_is_resized_and_padded_as_floats_say(tmp_path):
    """The scale is the smaller of two quotients of floats, sizes are rounded down, and pads fill up to a multiple of 32."""
    graph = Graph()
    c, x = graph.constant, graph.input("x", noise(1, 3, 48, 80))
    shape = graph.node("Cast", graph.node("Slice", graph.node("Shape", x), c(np.array([2])), c(np.array([4]))), to=1)
    low, high = (graph.node(op, shape, keepdims=0) for op in ("ReduceMin", "ReduceMax"))
    scale = graph.node("Min", graph.node("Div", c(np.float32(50)), low), graph.node("Mul", graph.node("Reciprocal", high), c(np.float32(75))))
    sides = [graph.node("Floor", graph.node("Mul", c(np.float32(side)), scale)) for side in (48, 80)]
    sizes = graph.node("Cast", graph.node("Concat", *(graph.node("Unsqueeze", side, c(np.array([0]))) for side in sides), axis=0), to=7)
    resized = graph.node("Resize", x, "", "", graph.node("Concat", c(np.array([1, 3])), sizes, axis=0), mode="linear")
    real = graph.node("Cast", sizes, to=1)
    full = graph.node("Mul", graph.node("Ceil", graph.node("Div", real, c(np.float32(32)))), c(np.float32(32)))
    pads = graph.node("Cast", graph.node("Sub", full, real), to=7)
    zeros = c(np.zeros(6, np.int64))
    graph.output(graph.node("Pad", resized, graph.node("Concat", zeros, pads, axis=0)), 4)
    agrees(graph, tmp_path)


@pytest.mark.parametrize("axes", [[1], [1, 2]])
def test_every_other_row_in_a_row(axes, tmp_path):
    """Dims that parts were left out of become one dim: a copy puts the elements side by side."""
    graph = Graph()
    c, x = graph.constant, graph.node("Relu", graph.input("x", noise(2, 6, 6, 8), ("batch", 6, 6, 8)))
    for axis in axes:
        x = graph.node("Slice", x, c(np.array([0])), c(np.array([2**60])), c(np.array([axis])), c(np.array([2])))
    graph.output(graph.node("MatMul", graph.node("Reshape", x, c(np.array([0, -1, 8]))), c(noise(8, 4))), 3)
    agrees(graph, tmp_path, {"batch": "1..4"})
    agrees(graph, tmp_path, {"batch": "1..4"}, x=noise(3, 6, 6, 8))


def test_layouts_change_to_and_fro_in_a_deep_model(tmp_path):
    """Each block normalizes its channels last and works on them first; what a block becomes depends on the one before."""
    graph = Graph()
    c, x = graph.constant, graph.input("x", noise(2, 8, 4, 4), ("batch", 8, 4, 4))
    for layer in range(24):
        last = graph.node("Transpose", x, perm=[0, 2, 3, 1])
        normed = graph.node("LayerNormalization", last, c(noise(8, seed=layer)), c(noise(8, seed=layer + 50)))
        inner = graph.node("Relu", graph.node("Conv", graph.node("Transpose", normed, perm=[0, 3, 1, 2]), c(noise(16, 8, 1, 1, seed=layer))))
        x = graph.node("Add", x, graph.node("Conv", inner, c(noise(8, 16, 1, 1, seed=layer + 90) * np.float32(0.1))))
    graph.output(x, 4)
    agrees(graph, tmp_path, {"batch": "1..4"})
