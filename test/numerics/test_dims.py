# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Bounded dims that ops relate to one another: results at several values of them, and what a run refuses."""
import numpy as np
import onnx.reference
import pytest
from onnx import TensorProto

import snug
from ops import Graph, noise

WRONG_RUN = 6


def compiled(graph, tmp_path, dims, opset=23):
    model = graph.save(tmp_path / "ops.onnx", opset)
    snug.compile_model(model, tmp_path / "ops.so", dims)
    return onnx.reference.ReferenceEvaluator(str(model))


def agrees(reference, tmp_path, tolerance=2e-6, **inputs):
    got, _ = snug.run_model(tmp_path / "ops.so", inputs)
    for name, value in zip(reference.output_names, reference.run(None, inputs)):
        assert snug.relative_error(got[name], value) <= tolerance, name


def refused(tmp_path, **inputs):
    with pytest.raises(AssertionError, match=f"exit code {WRONG_RUN}") as error:
        snug.run_model(tmp_path / "ops.so", inputs)
    return str(error.value)


def attention_inputs(batch, heads, rows, keys, size, groups):
    return dict(q=noise(batch, heads * groups, rows, size), k=noise(batch, heads, keys, size, seed=1),
                v=noise(batch, heads, keys, size, seed=2), mask=noise(batch, 1, rows, keys, seed=3))


def test_attention_of_open_heads(tmp_path):
    """Numbers and sizes of heads are named dims; those of keys are found to be those of queries, and of values of keys."""
    graph = Graph()
    given = attention_inputs(1, 2, 3, 4, 8, 1)
    names = [graph.input(name, value, [f"{name}{axis}" if extent > 1 or axis != 1 else 1
                                       for axis, extent in enumerate(value.shape)]) for name, value in given.items()]
    graph.output(graph.node("Attention", *names, is_causal=1), 4)
    reference = compiled(graph, tmp_path, {"q0": "1..4", "q1": "1..12", "q2": "1..8", "q3": "2..16", "k1": "1..4",
                                           "k2": "1..9", "v3": "2..16"})
    for sizes in (1, 2, 3, 4, 8, 1), (2, 3, 1, 9, 5, 4), (4, 1, 8, 8, 16, 3):
        agrees(reference, tmp_path, **attention_inputs(*sizes))
    wrong = attention_inputs(1, 2, 3, 4, 8, 2)
    said = refused(tmp_path, **(wrong | dict(q=noise(1, 5, 3, 8))))
    assert "q1 % k1 == 0" in said and "q1=5, k1=2" in said and "Attention0_0" in said
    assert "[q0, k1, k2, q3]" in refused(tmp_path, **(wrong | dict(k=noise(1, 2, 4, 7))))


def test_masks_of_a_cache_with_room(tmp_path):
    """Where keys are counted, the mask may be shorter than they are: both are dims of their own."""
    graph = Graph()
    names = [graph.input(name, noise(*[2] * len(dims)), dims) for name, dims in (
        ("q", (2, 4, "rows", 8)), ("k", (2, 2, "room", 8)), ("v", (2, 2, "room", 8)), ("mask", ("rows", "used")))]
    graph.output(graph.node("Attention", *names, "", "", graph.input("count", np.array([3, 4]))), 4)
    reference = compiled(graph, tmp_path, {"rows": "1..4", "room": "4..9", "used": "4..9"}, opset=24)

    def given(rows, room, used):
        return dict(q=noise(2, 4, rows, 8), k=noise(2, 2, room, 8, seed=1), v=noise(2, 2, room, 8, seed=2),
                    mask=noise(rows, used, seed=3), count=np.array([3, 4]))
    for sizes in (1, 9, 4), (4, 6, 5), (3, 7, 7):
        agrees(reference, tmp_path, **given(*sizes))
    assert "room >= used" in refused(tmp_path, **given(3, 7, 8))


@pytest.mark.parametrize("size", [8, "4..16"])
def test_mask_of_one_key(size, tmp_path):
    """It is as short as a mask can be, and not spread over the others."""
    graph = Graph()
    dims = {name: ("size" if size != 8 else 8) for name in "qkv"}
    names = [graph.input(name, noise(1, 2, extent, 8), (1, 2, extent, dims[name])) for name, extent in zip("qkv", (3, 4, 4))]
    graph.output(graph.node("Attention", *names, graph.input("mask", noise(3, 1))), 4)
    agrees(compiled(graph, tmp_path, {} if size == 8 else {"size": size}), tmp_path, **graph.values)


def test_kernels_of_open_extents(tmp_path):
    graph = Graph()
    x = graph.input("x", noise(1, 4, 9, 9), ("n", "c", "h", "w"))
    kernel = graph.input("kernel", noise(6, 2, 3, 3), ("m", "inner", "kh", "kw"))
    graph.output(graph.node("Conv", x, kernel, group=2, pads=[1, 0, 1, 0], strides=[2, 1]), 4)
    reference = compiled(graph, tmp_path, {"n": "1..2", "inner": "1..3", "h": "4..12", "w": "4..12", "m": "2..8:2",
                                           "kh": "1..7", "kw": "1..5"})
    for n, inner, h, w, m, kh, kw in (1, 2, 9, 9, 6, 3, 3), (2, 3, 12, 5, 2, 7, 5), (1, 1, 5, 4, 8, 7, 1):
        agrees(reference, tmp_path, x=noise(n, 2 * inner, h, w), kernel=noise(m, inner, kh, kw, seed=1))
    said = refused(tmp_path, x=noise(1, 4, 4, 4), kernel=noise(2, 2, 7, 3))
    assert "h=4, kh=7" in said and "Conv0_0" in said
    assert "inner*2" in refused(tmp_path, x=noise(1, 5, 9, 9), kernel=noise(2, 2, 3, 3))


def test_transposed_kernels_of_open_extents(tmp_path):
    graph = Graph()
    x = graph.input("x", noise(1, 2, 3, 3), ("n", "c", "h", "w"))
    kernel = graph.input("kernel", noise(2, 3, 3, 2), ("m", "f", "kh", "kw"))
    graph.output(graph.node("ConvTranspose", x, kernel, strides=[2, 1]), 4)
    reference = compiled(graph, tmp_path, {"n": "1..2", "c": "1..3", "h": "1..5", "w": "1..5", "f": "1..4", "kh": "1..4",
                                           "kw": "1..4"})
    for n, c, h, w, f, kh, kw in (1, 2, 3, 3, 3, 3, 2), (2, 3, 5, 1, 1, 1, 4):
        agrees(reference, tmp_path, x=noise(n, c, h, w), kernel=noise(c, f, kh, kw, seed=1))


def test_products_of_dims(tmp_path):
    """Scales of a norm over several axes have the input's extents, one by one."""
    graph = Graph()
    x, scale = graph.input("x", noise(2, 3, 4), ("a", "b", "c")), graph.input("scale", noise(3, 4), ("d", "e"))
    graph.output(graph.node("RMSNormalization", x, scale, axis=1), 3)
    reference = compiled(graph, tmp_path, {"a": "1..3", "b": "2..6", "c": "2..6"})
    for a, b, c in (2, 3, 4), (3, 6, 2), (1, 2, 6):
        agrees(reference, tmp_path, x=noise(a, b, c), scale=noise(b, c, seed=1))
    assert "expected [b, c]" in refused(tmp_path, x=noise(2, 3, 4), scale=noise(4, 3))


def test_shapes_of_as_many_elements(tmp_path):
    """A shape of numbers says what the product of dims is, not the dims."""
    graph = Graph()
    x = graph.input("x", noise(2, 3, 4), ("a", "b", "c"))
    graph.output(graph.node("Reshape", graph.node("Relu", x), graph.constant(np.array([6, 4]))), 2)
    reference = compiled(graph, tmp_path, {"a": "1..4", "b": "1..8", "c": "1..24"})
    for shape in (2, 3, 4), (4, 6, 1), (1, 1, 24):
        agrees(reference, tmp_path, x=noise(*shape))
    said = refused(tmp_path, x=noise(2, 3, 5))
    assert "== 24" in said and "a=2, b=3, c=5" in said and "Reshape1_0" in said


def test_the_one_element_of_a_matrix(tmp_path):
    graph = Graph()
    x = graph.input("x", noise(1, 1), ("a", "b"))
    graph.output(graph.node("Reshape", graph.node("Tanh", x), graph.constant(np.array([], np.int64))), 0)
    reference = compiled(graph, tmp_path, {"a": "1..4", "b": "1..8"})
    agrees(reference, tmp_path, x=noise(1, 1))
    assert "a*b == 1" in refused(tmp_path, x=noise(2, 1))


def test_windows_and_parts(tmp_path):
    """Numbers of windows, automatic pads, parts and scales that are no whole numbers, of every extent of a range."""
    graph = Graph()
    x = graph.input("x", noise(1, 2, 11), (1, 2, "n"))
    graph.output(graph.node("MaxPool", x, kernel_shape=[3], strides=[2], ceil_mode=1), 3)
    graph.output(graph.node("AveragePool", x, kernel_shape=[3], strides=[2], auto_pad="SAME_UPPER"), 3)
    graph.output(graph.node("Resize", x, "", graph.constant(np.array([1, 1, 1.7], np.float32)), mode="linear"), 3)
    for part in graph.node("Split", x, axis=2, num_outputs=3, outputs=3):
        graph.output(part, 3)
    reference = compiled(graph, tmp_path, {"n": "7..19"})
    for n in range(7, 20):
        agrees(reference, tmp_path, x=noise(1, 2, n))
    with pytest.raises(AssertionError, match="(?s)exit code 3.*MIN..MAX:STEP"):
        compiled(graph, tmp_path, {"n": "1..19"})


def test_steps_are_asked_for(tmp_path):
    graph = Graph()
    x = graph.input("x", noise(1, 2, 12), (1, "s", "w"))
    graph.output(graph.node("Reshape", x, graph.constant(np.array([1, 0, 4, -1]))), 4)
    with pytest.raises(AssertionError, match=r"(?s)exit code 3.*--dim w=8\.\.36:4"):
        compiled(graph, tmp_path, {"s": "1..4", "w": "6..38"})
    reference = compiled(graph, tmp_path, {"s": "1..4", "w": "8..36:4"})
    agrees(reference, tmp_path, x=noise(1, 3, 20))
