# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Extents that are the larger or the smaller of two, so that no one expression of the dims says them for a whole range."""
import numpy as np
import onnx.reference
import pytest
from onnx import TensorProto

import snug
from ops import Graph, noise


def compiled(graph, tmp_path, dims, opset=24):
    model = graph.save(tmp_path / "ops.onnx", opset)
    snug.compile_model(model, tmp_path / "ops.so", dims)
    return model


def agrees(wanted, tmp_path, **inputs):
    got, _ = snug.run_model(tmp_path / "ops.so", inputs)
    for name, value in wanted.items():
        assert got[name].shape == value.shape, name
        assert value.size == 0 or snug.relative_error(got[name], value) <= 2e-6, name


# Few values are tried one by one; of many, bounds are of the two cases of each extremum.
@pytest.mark.parametrize("most", [24, 3000])
def test_slices_that_end_outside(most, tmp_path):
    graph = Graph()
    x = graph.input("x", noise(9, 2), ("n", 2))
    names, cuts = [], [(2, 10, 1), (-10, -2, 1), (20, 3, -2), (-3, -12, -1), (4, 1 << 62, 3), (-1, -(1 << 62), -1), (7, 7, 1), (9, 4, 1)]
    for start, end, step in cuts:
        bounds = [graph.constant(np.array([value])) for value in (start, end, 0, step)]
        names.append(graph.node("Slice", x, *bounds))
        graph.output(names[-1], 2)
    compiled(graph, tmp_path, {"n": f"1..{most}"})
    for n in (*range(1, 25), most):
        x = noise(n, 2)
        agrees({name: x[start:None if end < -(1 << 60) else end:step]
                for name, (start, end, step) in zip(names, cuts)}, tmp_path, x=x)


@pytest.mark.parametrize("most", [24, 3000])
def test_crops_or_pads(most, tmp_path):
    """As one op, and as the standard defines it: as much as lacks before and behind, then what is too much cut off."""
    graph = Graph()
    x = graph.input("x", noise(9, 2), ("n", 2))
    wanted, two, axis = (graph.constant(np.array([value])) for value in (10, 2, 0))
    graph.output(graph.node("CenterCropPad", x, wanted, axes=[0]), 2)
    extent = graph.node("Shape", x, start=0, end=1)
    larger = graph.node("Max", extent, wanted)
    lack = graph.node("Sub", larger, extent)
    before = graph.node("Div", lack, two)
    pads = graph.node("Concat", before, graph.node("Sub", lack, before), axis=0)
    padded = graph.node("Pad", x, pads, "", axis)
    graph.output(padded, 2)
    start = graph.node("Div", graph.node("Sub", larger, wanted), two)
    graph.output(graph.node("Slice", padded, start, graph.node("Add", start, wanted), axis), 2)
    model = compiled(graph, tmp_path, {"n": f"1..{most}"})
    reference = onnx.reference.ReferenceEvaluator(str(model))
    for n in (*range(1, 25), most):
        x = noise(n, 2)
        agrees(dict(zip(reference.output_names, reference.run(None, dict(x=x)))), tmp_path, x=x)


@pytest.mark.parametrize("attributes", [dict(output_shape=[10], strides=[3]),
                                        dict(auto_pad="SAME_LOWER", strides=[2]), dict(pads=[4, 5], strides=[3]),
                                        dict(pads=[1, 4], strides=[2], output_padding=[1], dilations=[2])])
def test_pads_of_transposed_convolutions(attributes, tmp_path):
    graph = Graph()
    x, kernel = graph.input("x", noise(1, 2, 7), (1, 2, "n")), graph.input("kernel", noise(2, 3, 3), (2, 3, "k"))
    graph.output(graph.node("ConvTranspose", x, kernel, **attributes), 3)
    model = compiled(graph, tmp_path, {"n": "5..12", "k": "2..4"}, opset=22)
    for n, k in (5, 3), (6, 4), (8, 3), (11, 2), (12, 3), (12, 4):
        given = dict(x=noise(1, 2, n), kernel=noise(2, 3, k, seed=1))
        agrees(snug.reference(model, given), tmp_path, **given)


def test_parts_of_a_sequence(tmp_path):
    """How many there are only the run tells, and the last one may be shorter."""
    graph = Graph()
    x = graph.input("x", noise(9, 2), ("n", 2))
    parts = graph.node("SplitToSequence", x, graph.constant(np.array(3)), axis=0)
    places = 0, 1, -1, -2
    for place in places:
        graph.output(graph.node("SequenceAt", parts, graph.constant(np.array(place))), 2)
    rows = graph.node("SplitToSequence", graph.node("Neg", x), axis=0, keepdims=0)
    graph.output(graph.node("SequenceAt", rows, graph.constant(np.array(-4))), 1)
    graph.output(graph.node("ConcatFromSequence", rows, axis=0, new_axis=1), 2)
    graph.output(graph.node("SequenceLength", parts), 0, kind=TensorProto.INT64)
    model = compiled(graph, tmp_path, {"n": "4..14"}, opset=20)
    for n in range(4, 15):
        given = dict(x=noise(n, 2))
        agrees(snug.reference(model, given), tmp_path, **given)
