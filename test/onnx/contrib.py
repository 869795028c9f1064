# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Small models with ONNX Runtime's own ops, and what it makes of them."""
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import helper

import backend

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "models"))
from graph_builder import CONTRIB, ML, GraphBuilder, noise  # noqa: E402, F401

OPSET = 21


def codes(*shape, dtype=np.uint8, seed=0):
    info = np.iinfo(dtype)
    return np.random.default_rng([seed, *shape]).integers(info.min, int(info.max) + 1, shape).astype(dtype)


def kind(array):
    return helper.np_dtype_to_tensor_dtype(array.dtype)


class Model(GraphBuilder):
    """`inputs` are (name, array, shape); `ranges` are the extents of dims that vary; `types` of outputs are known for some."""
    domain = CONTRIB

    def __init__(self, opset=OPSET):
        super().__init__()
        self.opset, self.types, self.ranges = opset, {}, {}

    def input(self, array, dims=None):
        """`dims`: a name for each dim that varies, None for the others."""
        array, name = np.asarray(array), f"x{len(self.inputs)}"
        shape = [given or extent for given, extent in zip(dims or [None] * array.ndim, array.shape)]
        self.inputs.append((name, array, shape))
        for given, extent in zip(dims or [], array.shape):
            if given:
                self.ranges[given] = extent
        self.values[name] = array
        return name

    def output(self, *names, types=()):
        self.outputs += names
        for name, number in zip(names, types):
            self.types[name] = helper.make_tensor_type_proto(number, None)

    def proto(self, dynamic=False):
        def info(name, array, shape):
            return helper.make_tensor_value_info(name, kind(array), shape if dynamic else array.shape)
        outputs = [onnx.ValueInfoProto(name=name, type=self.types.get(name, onnx.TypeProto())) for name in self.outputs]
        return self.model(self.opset, [info(*given) for given in self.inputs], outputs)

    def reference(self):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(self.proto().SerializeToString(), options, providers=["CPUExecutionProvider"])
        return dict(zip(self.outputs, session.run(self.outputs, self.values)))

    def run(self, mode="given", ranges=None):
        dims = {}
        if mode == "dynamic":
            dims = {name: f"{max(extent - 1, 1)}..{extent + 3}" for name, extent in self.ranges.items()}
            dims.update(ranges or {})
            dims = {name: text for name, text in dims.items() if text}
        model = self.proto(dynamic=mode == "dynamic").SerializeToString()
        return backend.compile_model(model, tuple(dims.items()), (), tight=mode == "tight")(**self.values)


def compare(got, want, tolerance):
    assert got.dtype == want.dtype and got.shape == want.shape, (got.dtype, got.shape, want.dtype, want.shape)
    if want.dtype.kind in "iub":
        difference = np.abs(got.astype(np.int64) - want.astype(np.int64)).max(initial=0)
        assert difference <= (tolerance if tolerance >= 1 else 0), difference
        return
    got, want = got.astype(np.float64), want.astype(np.float64)
    assert np.isfinite(want).all()
    assert np.linalg.norm(got - want) <= tolerance * np.linalg.norm(want), np.abs(got - want).max()


def check(model, *outputs, tolerance=2e-6, twin=None, ranges=None, types=(), modes=("given", "dynamic", "tight")):
    """`tolerance`: relative L2 of floats, and from 1 on steps of codes; `twin`: a model that says what is right."""
    model.output(*outputs, types=types)
    want = (twin or model).reference()
    if twin:
        want = dict(zip(outputs, want.values()))
    for mode in modes:
        if mode == "dynamic" and not model.ranges:
            continue
        got = model.run(mode, ranges)
        for name in outputs:
            compare(got[name], want[name], tolerance)
