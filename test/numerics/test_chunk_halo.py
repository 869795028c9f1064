# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Chunk loops whose iterations share a halo, as windows read it: equal to ONNX Runtime, and to no loops bit for bit, at
the least budget that can be reached and at one above."""
import numpy as np
import pytest

import snug
from ops import Graph, noise


def least(model, out, dims):
    code, report = snug.compile_model(model, out, dims, activation_budget=1, allowed=(4,))
    assert code == 4
    return report["budget"]["least_activation"]


def check(graph, tmp_path, share, dims={}, lengths=((),)):
    """Expects that the least arena is below this share of the unchunked one, and checks plans from there up. `lengths`:
    inputs at other dims, as lists of values by name. Returns the plans' reports."""
    model = graph.save(tmp_path / "model.onnx")
    _, whole = snug.compile_model(model, tmp_path / "whole.so", dims)
    arena = whole["memory"]["arena"]
    low = least(model, tmp_path / "x.so", dims)
    assert low < share * arena, (low, arena)
    reports = []
    for budget in (low, (low + arena) // 2):
        _, report = snug.compile_model(model, tmp_path / "cut.so", dims, activation_budget=budget)
        assert report["chunk_loops"] and report["exact"], budget
        reports.append(report)
        for values in lengths:
            inputs = dict(graph.values) | dict(values)
            unchunked, _ = snug.run_model(tmp_path / "whole.so", inputs)
            chunked, stats = snug.run_model(tmp_path / "cut.so", inputs)
            assert stats["measured"]["arena_high_water"] <= report["memory"]["arena"] <= budget
            for name, want in snug.reference(model, inputs).items():
                assert snug.relative_error(chunked[name], want) < 2e-6, (name, budget)
                np.testing.assert_array_equal(chunked[name], unchunked[name], err_msg=f"{name} at {budget}")
    return reports


def weight(g, *shape):
    return g.constant(noise(*shape) / np.float32(np.sqrt(np.prod(shape[1:]))))


def conv(g, x, inner, outer, size=3, **attributes):
    pads = attributes.pop("pads", [size // 2] * 4)
    group = attributes.get("group", 1)
    return g.node("Conv", x, weight(g, outer, inner // group, size, size), pads=pads, kernel_shape=[size, size],
                  **attributes)


def test_residual_blocks(tmp_path):
    """Two convolutions and the input, in place: what the window still reads is not written over."""
    g = Graph()
    x = conv(g, g.input("x", noise(1, 4, 48, 40)), 4, 16)
    for _ in range(2):
        y = conv(g, g.node("Relu", conv(g, x, 16, 16)), 16, 16)
        x = g.node("Relu", g.node("Add", x, y))
    g.output(x, 4)
    check(g, tmp_path, share=0.75)


@pytest.mark.parametrize("size, stride, dilation, height", [(7, 2, 1, 45), (3, 2, 1, 46), (3, 1, 2, 41), (2, 2, 1, 33),
                                                            (1, 2, 1, 44), (5, 3, 1, 50)])
def test_strides_and_dilation(tmp_path, size, stride, dilation, height):
    g = Graph()
    x = g.node("Tanh", g.input("x", noise(1, 8, height, 64)))
    x = conv(g, x, 8, 16, size, strides=[stride, stride], dilations=[dilation, dilation],
             pads=[dilation * (size - 1) // 2] * 4)
    g.output(g.node("Tanh", x), 4)
    check(g, tmp_path, share=0.6)


def test_depthwise_and_pooling(tmp_path):
    g = Graph()
    x = conv(g, g.input("x", noise(1, 3, 60, 64)), 3, 24)
    x = conv(g, g.node("Relu", x), 24, 24, 5, group=24)
    x = g.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    x = g.node("AveragePool", x, kernel_shape=[2, 2], strides=[1, 1])
    g.output(conv(g, x, 24, 8), 4)
    check(g, tmp_path, share=0.6)


def test_upsampling(tmp_path):
    g = Graph()
    x = conv(g, g.input("x", noise(1, 4, 24, 24)), 4, 16)
    x = g.node("Resize", x, g.constant(np.array([], np.float32)), g.constant(np.array([1, 1, 2, 2], np.float32)),
               mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    g.output(conv(g, g.node("Relu", conv(g, x, 16, 16)), 16, 4), 4)
    check(g, tmp_path, share=0.6)


def test_heights_known_at_run_time(tmp_path):
    """The first and the last iteration end where the image does, whatever its height."""
    g = Graph()
    x = g.input("x", noise(1, 4, 57, 32), dims=[1, 4, "height", 32])
    y = conv(g, g.node("Relu", conv(g, x, 4, 16)), 16, 16)
    g.output(g.node("Tanh", conv(g, y, 16, 4)), 4)
    check(g, tmp_path, share=0.7, dims={"height": "1..57"},
          lengths=[[("x", noise(1, 4, height, 32))] for height in (57, 33, 8, 1)])


def test_padded_and_strided_rows(tmp_path):
    """Each second row, of rows in a frame."""
    g = Graph()
    x = g.node("Exp", g.input("x", noise(600, 3)))
    x = g.node("Tanh", g.node("Pad", x, g.constant(np.array([1, 0, 5, 0])), g.constant(np.float32(0.5))))
    y = g.node("Slice", x, g.constant(np.array([1])), g.constant(np.array([600])), g.constant(np.array([0])),
               g.constant(np.array([2])))
    g.output(g.node("Exp", y), 2)
    check(g, tmp_path, share=0.2)


def test_channels_inside_of_rows(tmp_path):
    """Rows with a halo are cut outside, since each needs all channels in the end; what is wide between is cut by channels
    inside: no loop alone gets as low."""
    g = Graph()
    x = g.node("Relu", conv(g, g.input("x", noise(1, 8, 32, 32)), 8, 96, 1))
    x = g.node("Relu", conv(g, x, 96, 96, 5, group=96))
    g.output(conv(g, g.node("Softmax", x, axis=1), 96, 4, 1), 4)
    rows = 96 * 32 * 4  # bytes of one of them in all channels
    reports = check(g, tmp_path, share=0.1)
    loops = reports[0]["chunk_loops"]
    assert reports[0]["memory"]["arena"] < 5 * rows
    assert [(a["kind"], a["level"], b["level"]) for a, b in zip(loops, loops[1:])].count(("halo", 1, 2)) == 1


@pytest.mark.parametrize("height", [24, "1..24"])
def test_loops_inside_of_a_residual_block(tmp_path, height):
    """What is added in place is written to a new tensor, as iterations beside still read the old one."""
    g = Graph()
    dims, lengths = ({}, [()]) if height == 24 else ({"height": height}, [[("x", noise(1, 8, h, 24))] for h in (24, 9, 1)])
    x = g.input("x", noise(1, 8, 24, 24), dims=[1, 8, 24 if height == 24 else "height", 24])
    x = g.node("Relu", conv(g, x, 8, 64, 1))
    y = g.node("Relu", conv(g, g.node("Tanh", x), 64, 64, 3, group=64))
    x = g.node("Softmax", g.node("Add", x, y), axis=1)
    g.output(conv(g, x, 64, 4, 1), 4)
    reports = check(g, tmp_path, share=0.3, dims=dims, lengths=lengths)
    kinds = [(loop["level"], loop["kind"]) for loop in reports[0]["chunk_loops"]]
    assert (1, "halo") in kinds and 2 in [level for level, _ in kinds]


def test_group_normalization_between_convolutions(tmp_path):
    """Sums over the image, then what they normalize in parts: the last bits may differ."""
    g = Graph()
    x = conv(g, g.input("x", noise(1, 4, 40, 36)), 4, 32)
    for groups in (8, 32):
        y = g.node("GroupNormalization", x, g.constant(noise(32)), g.constant(noise(32, seed=1)), num_groups=groups)
        x = g.node("Add", x, conv(g, g.node("Relu", y), 32, 32))
    g.output(conv(g, x, 32, 4), 4)
    model = g.save(tmp_path / "model.onnx", opset=21)
    _, whole = snug.compile_model(model, tmp_path / "whole.so", {})
    low = least(model, tmp_path / "x.so", {})
    image = 32 * 40 * 36 * 4
    assert low < 2.5 * image < 3 * image <= whole["memory"]["arena"], low / image
    _, report = snug.compile_model(model, tmp_path / "cut.so", {}, activation_budget=low)
    assert "halo" in [loop["kind"] for loop in report["chunk_loops"]]
    assert whole["exact"] and not report["exact"], "the norms are sums of another order"
    got, stats = snug.run_model(tmp_path / "cut.so", g.values)
    assert stats["measured"]["arena_high_water"] <= report["memory"]["arena"] <= low
    (want,) = snug.reference(model, g.values).values()
    (result,) = got.values()
    assert snug.relative_error(result, want) < 3e-6


def test_halo_is_carried_where_that_is_cheaper(tmp_path):
    """Windows that reach far: to compute again what the iteration before has computed would take most of the time."""
    g = Graph()
    x = conv(g, g.input("x", noise(1, 4, 96, 32)), 4, 32)
    for size in (7, 5, 7):
        x = g.node("Relu", conv(g, x, 32, 32, size))
    g.output(conv(g, x, 32, 4), 4)
    reports = check(g, tmp_path, share=0.5)
    assert any(loop.get("carries", 0) >= 2 for report in reports for loop in report["chunk_loops"]), reports
    assert all(loop["kind"] == "halo" for report in reports for loop in report["chunk_loops"] if "carries" in loop)


def test_the_report_says_whether_bits_are_kept(tmp_path):
    """No loop accumulates, but the norms are said as sums so that rows of what they give can be made one after another."""
    g = Graph()
    x = y = conv(g, g.input("x", noise(1, 4, 32, 32)), 4, 32)
    for _ in range(2):
        y = g.node("GroupNormalization", y, g.constant(noise(32)), g.constant(noise(32, seed=1)), num_groups=8)
        y = conv(g, g.node("Mul", y, g.node("Sigmoid", y)), 32, 32)
    g.output(conv(g, g.node("Add", x, y), 32, 4), 4)
    model = g.save(tmp_path / "model.onnx", opset=21)
    _, whole = snug.compile_model(model, tmp_path / "whole.so", {})
    _, report = snug.compile_model(model, tmp_path / "cut.so", {}, "80%")
    assert {loop["kind"] for loop in report["chunk_loops"]} == {"halo"}
    assert whole["exact"] and not report["exact"]
    ((want,), (got,)) = (snug.run_model(tmp_path / name, g.values)[0].values() for name in ("whole.so", "cut.so"))
    assert 0 < snug.relative_error(got, want) < 3e-6
