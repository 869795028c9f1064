# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Snug as a backend of ONNX's own tests (onnx.backend.base), compiling and running in this process.

    SNUG_COMPILER=.../libsnug_compiler.so SNUG_RUNTIME=.../libsnug_runtime.so
    onnx.backend.test.BackendTest(backend.SnugBackend, __name__)
"""
import os
import pathlib
import re
import sys
import tempfile

import onnx
from onnx.backend.base import Backend, BackendRep, Device, DeviceType, namedtupledict

try:
    import snug
except ImportError:  # in the source tree
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "python"))
    import snug
import snug.compiler  # noqa: E402

import modes  # noqa: E402

CANNOT_FIT = 4
THREADS = 2  # part of a plan: results of a test do not depend on the machine's number


class SnugRep(BackendRep):
    """A model, compiled for the shapes that it is first run with: ONNX's tests state some of them nowhere else."""

    def __init__(self, model, mode="given"):
        self.original, self.mode = model, mode
        self.compiled = {}

    def run(self, inputs, **kwargs):
        model, dims, inputs = self.original, {}, list(inputs)
        extents = {}
        if self.mode == "dynamic":
            model, extents = modes.forced_dynamic(model, inputs)
        elif self.mode == "constant":
            model, inputs = modes.with_constants(model, inputs)
        else:
            dims = modes.given_dims(model, inputs)
        values = modes.values(model, inputs)
        said, elements, tensors = modes.taken_apart(model, inputs)
        if self.mode == "dynamic":
            extents.update(elements)
            dims.update(said)
        else:
            dims.update(said, **elements)
        key = (model.SerializeToString(deterministic=True), tuple(dims.items()), tuple(values.items()))
        if extents:
            given = modes.ranges(model, {name: extents[name] for name in open_dims(*key) if name in extents})
            key = (key[0], (*key[1], *given.items()), key[2])
        if key not in self.compiled:
            self.compiled[key] = compile_model(*key, tight=self.mode == "tight")
        outputs = self.compiled[key](*tensors)
        names = [info.name for info in self.original.graph.output]
        return namedtupledict("Outputs", names)(*modes.put_together(self.original.graph.output, outputs))


def words_of(dims, values):
    return [word for flag, pairs in (("--dim", dims), ("--value", values)) for name, value in pairs
            for word in (flag, f"{name}={value}")]


def open_dims(model, dims, values):
    """Dims that have to be given: those that do not follow from others."""
    _, _, messages = snug.compiler.run("--emit", "canonicalize", "-o", os.devnull, *words_of(dims, values), model=model)
    return re.findall(r"--dim (\S+)=1\b", messages)


def compile_model(model, dims, values, tight=False):
    words = ["--threads", str(THREADS), *words_of(dims, values)]
    with tempfile.TemporaryDirectory(prefix="snug-onnx-") as folder:
        words += ["-o", f"{folder}/model.so"]
        if tight:
            words += ["--activation-budget", "0B"]
            code, _, messages = snug.compiler.run(*words, model=model)
            if code == CANNOT_FIT:
                words[-1] = re.search(r"give --activation-budget (\d+B)", messages)[1]
                snug.compiler.compile(*words, model=model)
            elif code:
                raise snug.Error(code, messages.strip())
        else:
            snug.compiler.compile(*words, model=model)
        return snug.load(f"{folder}/model.so")  # mapped: the files are needed no longer


class SnugBackend(Backend):
    @classmethod
    def is_compatible(cls, model, device="CPU", **kwargs):
        return cls.supports_device(device)

    @classmethod
    def prepare(cls, model, device="CPU", mode="given", **kwargs):
        return SnugRep(model, mode)

    @classmethod
    def run_model(cls, model, inputs, device="CPU", **kwargs):
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(cls, node, inputs, device="CPU", outputs_info=None, opset_version=None, **kwargs):
        types = [onnx.helper.np_dtype_to_tensor_dtype(array.dtype) for array in inputs]
        given = [onnx.helper.make_tensor_value_info(name, dtype, array.shape)
                 for name, dtype, array in zip(filter(None, node.input), types, inputs)]
        made = [onnx.ValueInfoProto(name=name) for name in node.output]
        opset = onnx.helper.make_opsetid(node.domain, opset_version or onnx.defs.onnx_opset_version())
        model = onnx.helper.make_model(onnx.helper.make_graph([node], "node", given, made), opset_imports=[opset])
        return cls.run_model(model, inputs, device, **kwargs)

    @classmethod
    def supports_device(cls, device):
        return Device(device).type == DeviceType.CPU


prepare, run_model, run_node = SnugBackend.prepare, SnugBackend.run_model, SnugBackend.run_node
supports_device, is_compatible = SnugBackend.supports_device, SnugBackend.is_compatible
