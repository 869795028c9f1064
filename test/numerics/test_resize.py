# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Resize in all of its modes, against the standard's own cases, its reference, and ONNX Runtime."""
import importlib

import numpy as np
import onnx
import onnx.reference
import pytest
from onnx import TensorProto, numpy_helper
from onnx.backend.test.case import node as standard

import snug
from ops import Graph, check, noise

UNSUPPORTED = 3  # exit code


def official():
    np.random.seed(0)
    for family in ("resize", "upsample"):
        importlib.import_module(f"{standard.__name__}.{family}")
    cases = [case for case in standard._NodeTestCases if case.model.graph.node[0].op_type in ("Resize", "Upsample")]
    return {case.name: case for case in cases}


CASES = official()


@pytest.mark.parametrize("name", CASES)
def test_cases_of_the_standard(name, tmp_path):
    """With what decides sizes as constants."""
    model, (inputs, wants) = CASES[name].model, CASES[name].data_sets[0]
    image, *others = [value.name for value in model.graph.input]
    del model.graph.input[1:]
    model.graph.initializer.extend(numpy_helper.from_array(x, name) for name, x in zip(others, inputs[1:]))
    onnx.save(model, tmp_path / "m.onnx")
    snug.compile_model(tmp_path / "m.onnx", tmp_path / "m.so", {})
    got, _ = snug.run_model(tmp_path / "m.so", {image: inputs[0]})
    np.testing.assert_allclose(got[model.graph.output[0].name], wants[0], rtol=1e-5, atol=1e-6)


def test_cases_of_the_standard_are_many():
    assert len(CASES) >= 40


# Resized by sizes that follow from other shapes, so that scales are known at run time only.
DYNAMIC = [
    dict(mode="cubic", coordinate_transformation_mode="half_pixel", nearest_mode="floor"),  # as torch exports bicubic
    dict(mode="cubic", cubic_coeff_a=-0.5, exclude_outside=1),
    dict(mode="linear", coordinate_transformation_mode="align_corners"),
    dict(mode="linear", coordinate_transformation_mode="pytorch_half_pixel"),
    dict(mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
    dict(mode="nearest", nearest_mode="ceil"),
    dict(mode="linear", antialias=1),
    dict(mode="cubic", antialias=1),
]


@pytest.mark.parametrize("target", [(7, 9), (20, 3), (1, 5)])
def test_sizes_of_dims(target, tmp_path):
    graph = Graph()
    x = graph.input("x", noise(2, 3, 5, 6), (2, 3, 5, 6))
    like = graph.input("like", noise(*target), ("h", "w"))
    sizes = graph.node("Concat", graph.constant(np.array([2, 3])), graph.node("Shape", like), axis=0)
    for attributes in DYNAMIC:
        graph.output(graph.node("Resize", x, "", "", sizes, **attributes), 4)
    model = graph.save(tmp_path / "ops.onnx")
    snug.compile_model(model, tmp_path / "ops.so", {"h": "1..24", "w": "2..12"})
    got, _ = snug.run_model(tmp_path / "ops.so", graph.values)
    want = onnx.reference.ReferenceEvaluator(str(model)).run(None, graph.values)
    for output, value in zip(graph.outputs, want):
        assert snug.relative_error(got[output.name], value) <= 1e-6, output.name


def test_extents_of_dims(tmp_path):
    """A scale that is no whole number, of extents that are known at run time only."""
    graph = Graph()
    x = graph.input("x", noise(1, 4, 14, 12), (1, 4, "h", "w"))
    half, more = (graph.constant(np.array([1, 1, *scales], np.float32)) for scales in ((0.5, 0.5), (1.5, 2)))
    graph.output(graph.node("Resize", x, "", half, mode="linear"), 4)
    graph.output(graph.node("Resize", x, "", half, mode="cubic"), 4)
    graph.output(graph.node("Resize", x, "", more, mode="cubic", coordinate_transformation_mode="asymmetric"), 4)
    check(graph, tmp_path, {"h": "2..32", "w": "2..32"})


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
def test_one_scale_of_dims(policy, tmp_path):
    """Which dim decides the scale of both depends on the run; extents are rounded, halves up."""
    graph = Graph()
    x, sizes = graph.input("x", noise(1, 2, 5, 5), (1, 2, "h", "w")), graph.constant(np.array([7, 9]))
    for attributes in dict(mode="nearest"), dict(mode="linear"), dict(mode="cubic", antialias=1):
        graph.output(graph.node("Resize", x, "", "", sizes, axes=[2, 3], keep_aspect_ratio_policy=policy, **attributes), 4)
    model = graph.save(tmp_path / "ops.onnx")
    snug.compile_model(model, tmp_path / "ops.so", {"h": "2..21", "w": "3..18"})
    evaluator = onnx.reference.ReferenceEvaluator(str(model))
    for h, w in (2, 3), (7, 9), (14, 9), (7, 18), (3, 17), (21, 4), (13, 18), (5, 6):
        x = noise(1, 2, h, w)
        got, _ = snug.run_model(tmp_path / "ops.so", {"x": x})
        for output, value in zip(graph.outputs, evaluator.run(None, {"x": x})):
            assert got[output.name].shape == value.shape and snug.relative_error(got[output.name], value) <= 2e-6, output.name


@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_chunked(mode, tmp_path):
    """Between convolutions, at the least budget."""
    graph = Graph()
    x = graph.input("x", noise(1, 3, 24, 20))
    x = graph.node("Relu", graph.node("Conv", x, graph.constant(noise(32, 3, 1, 1))))
    x = graph.node("Resize", x, "", graph.constant(np.array([1, 1, 2.5, 2], np.float32)), mode=mode)
    graph.output(graph.node("Conv", graph.node("Sigmoid", x), graph.constant(noise(8, 32, 1, 1))), 4)
    check(graph, tmp_path)
    unchunked, _ = snug.run_model(tmp_path / "ops.so", graph.values)
    code, report = snug.compile_model(tmp_path / "ops.onnx", tmp_path / "ops.so", {}, 1024, allowed=(snug.CANNOT_FIT,))
    _, tight = snug.compile_model(tmp_path / "ops.onnx", tmp_path / "ops.so", {}, report["budget"]["least_reachable"])
    assert tight["chunk_loops"] and tight["memory"]["arena"] < tight["memory"]["unchunked_arena"] / 2
    chunked, _ = snug.run_model(tmp_path / "ops.so", graph.values)
    for name, value in unchunked.items():
        assert np.array_equal(chunked[name], value) or snug.relative_error(chunked[name], value) <= 1e-6


def test_what_is_refused(tmp_path):
    def refused(scales, **attributes):
        graph = Graph()
        x = graph.input("x", noise(1, 1, 8), (1, 1, "n"))
        graph.output(graph.node("Resize", x, "", graph.constant(np.array([1, 1, scales], np.float32)), **attributes), 3)
        model = graph.save(tmp_path / "ops.onnx")
        with pytest.raises(AssertionError, match=f"(?s)exit code {UNSUPPORTED}.*Resize0_0") as error:
            snug.compile_model(model, tmp_path / "ops.so", {"n": "4..8"})
        return str(error.value)
    assert "--dim" in refused(1e-10, mode="linear")  # 1e-10 n is no extent that a map can say
    assert "mode 'quintic'" in refused(2, mode="quintic")
