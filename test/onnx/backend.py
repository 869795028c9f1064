# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Snug's ONNX backend (python/snug/onnx_backend.py) in the modes of the tests.

    SNUG_COMPILER=.../libsnug_compiler.so SNUG_RUNTIME=.../libsnug_runtime.so
    rep = backend.SnugBackend.prepare(model, "CPU", mode="dynamic")
"""
import os
import pathlib
import re
import tempfile

import modes  # finds snug
import snug
import snug.compiler
from snug import onnx_backend

CANNOT_FIT = 4
THREADS = 2  # part of a plan: results of a test do not depend on the machine's number


class SnugRep(onnx_backend.SnugRep):
    def __init__(self, model, mode="given"):
        super().__init__(model)
        self.mode = mode

    def run(self, inputs, **kwargs):
        model, inputs = self.original, list(inputs)
        if self.mode == "dynamic":
            model, extents = modes.forced_dynamic(model, inputs)
        elif self.mode == "constant":
            model, inputs = modes.with_constants(model, inputs)
        said, elements, tensors = onnx_backend.taken_apart(model, inputs)
        known = modes.values(model, inputs)
        if self.mode == "dynamic":
            extents.update(elements)
            asked = open_dims(model.SerializeToString(deterministic=True), said.items(), known.items())
            dims = {**said, **modes.ranges(model, {name: extents[name] for name in asked if name in extents})}
        else:
            given = {} if self.mode == "constant" else modes.given_dims(model, inputs)
            dims = {**given, **said, **elements}
        return self.call(model, dims, known, tensors)

    def compile(self, model, dims, known):
        if self.mode == "cuda":
            return SimulatedModel(model, ["--threads", str(THREADS), *onnx_backend.words_of(dims, known)])
        return compile_model(model, dims, known, tight=self.mode == "tight")


class SimulatedModel:
    """Compiled for a GPU, with what stands in for one."""

    def __init__(self, model, words):
        import simulator  # of test/gpu
        with tempfile.TemporaryDirectory(prefix="snug-onnx-") as name:
            folder = pathlib.Path(name)
            snug.compiler.compile(*words, "--target", "cuda:sm_90", "--save-temps", name, "-o", f"{name}/model.so", model=model)
            self.gpu = simulator.Gpu(folder / "kernels.mlir")
            with self.gpu:
                self.model = snug.load(f"{name}/model.so")

    def __call__(self, *tensors):
        with self.gpu:
            return self.model(*tensors)


def open_dims(model, dims, known):
    """Dims that have to be given: those that do not follow from others."""
    words = onnx_backend.words_of(dims, known)
    _, _, messages = snug.compiler.run("--emit", "canonicalize", "-o", os.devnull, *words, model=model)
    return re.findall(r"--dim (\S+)=1\b", messages)


def compile_model(model, dims, known, tight=False):
    words = ["--threads", str(THREADS)]
    if not tight:
        return onnx_backend.compile_model(model, dims, known, words)
    budget = "0B"
    given = [*words, *onnx_backend.words_of(dims, known), "-o", os.devnull, "--dry-run", "--activation-budget", budget]
    code, _, messages = snug.compiler.run(*given, model=model)
    if code == CANNOT_FIT:
        budget = re.search(r"give --activation-budget (\d+B)", messages)[1]
    elif code:
        raise snug.Error(code, messages.strip())
    return onnx_backend.compile_model(model, dims, known, [*words, "--activation-budget", budget])


class SnugBackend(onnx_backend.SnugBackend):
    @classmethod
    def prepare(cls, model, device="CPU", mode="given", **kwargs):
        return SnugRep(model, mode)


prepare, run_model, run_node = SnugBackend.prepare, SnugBackend.run_model, SnugBackend.run_node
supports_device, is_compatible = SnugBackend.supports_device, SnugBackend.is_compatible
