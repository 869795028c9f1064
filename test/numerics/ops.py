# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Small models of few ops, compiled and run, against ONNX Runtime or the reference of ONNX."""
import numpy as np
import onnx.reference
from onnx import TensorProto, helper

import snug  # puts test/models on the path, too
from graph_builder import CONTRIB, ML, GraphBuilder, noise  # noqa: F401

OPSET = 20


class Graph(GraphBuilder):
    """With dims' names of inputs."""

    def input(self, name, value, dims=None):
        value = np.asarray(value)
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        self.inputs.append(helper.make_tensor_value_info(name, kind, dims or value.shape))
        self.values[name] = value
        return name

    def output(self, name, rank, kind=TensorProto.FLOAT):
        self.outputs.append(helper.make_tensor_value_info(name, kind, [None] * rank))

    def save(self, path, opset=OPSET):
        return super().save(path, opset)


def check(graph, tmp_path, dims=None, tolerance=1e-6):
    model = graph.save(tmp_path / "ops.onnx")
    snug.compile_model(model, tmp_path / "ops.so", dims or {})
    run(graph, model, tmp_path, tolerance)


def run(graph, model, tmp_path, tolerance=1e-6):
    want = snug.reference(model, graph.values)
    got, _ = snug.run_model(tmp_path / "ops.so", graph.values)
    for name, value in want.items():
        if value.dtype == np.float32:
            assert snug.relative_error(got[name], value) <= tolerance, name
        else:
            assert got[name].shape == value.shape and np.array_equal(got[name], value), name


def operator(op, inputs, tmp_path, outputs, dims=None, tolerance=2e-6, opset=23, **attributes):
    """One node of an opset that ONNX Runtime may lack, against the reference of ONNX; an input of None is left out."""
    graph = Graph()
    names = [graph.input(f"x{i}", *given) if given else "" for i, given in enumerate(inputs)]
    results = graph.node(op, *names, outputs=len(outputs), **attributes)
    for name, rank in zip([results] if len(outputs) == 1 else results, outputs):
        graph.output(name, rank)
    model = graph.save(tmp_path / "ops.onnx", opset)
    snug.compile_model(model, tmp_path / "ops.so", dims or {})
    got, _ = snug.run_model(tmp_path / "ops.so", graph.values)
    want = onnx.reference.ReferenceEvaluator(str(model)).run(None, graph.values)
    for output, value in zip(graph.outputs, want):
        assert snug.relative_error(got[output.name], value) <= tolerance, output.name


def strings(graph, name, value, dims=None):
    graph.inputs.append(helper.make_tensor_value_info(name, TensorProto.STRING, dims or value.shape))
    graph.values[name] = value.astype(str)
    return name


def compiled(graph, tmp_path, dims=None, flags=(), opset=20):
    model = graph.save(tmp_path / "ops.onnx", opset)
    snug.compile_model(model, tmp_path / "ops.so", dims or {}, flags=flags)
    return model


def against_onnxruntime(graph, tmp_path, dims=None, flags=()):
    model = compiled(graph, tmp_path, dims, flags)
    want = snug.reference(model, {name: value.astype(object) if value.dtype.kind == "U" else value
                                  for name, value in graph.values.items()})
    got, _ = snug.run_model(tmp_path / "ops.so", graph.values)
    for name, value in want.items():
        assert got[name].shape == value.shape, name
        if value.dtype == np.float32:
            assert np.allclose(got[name], value, rtol=1e-5, atol=1e-6), name
        else:
            assert got[name].tolist() == value.tolist(), name
