#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What benchmark.py compares. Each engine is in a process of its own, which speaks in steps (test/models/resident.py):
imported, loaded, first, second (the runs whose memory is watched), written, and then `ran` as often as it is let go."""
import argparse
import importlib.metadata
import importlib.util
import json
import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[2] / "python")]
import models  # noqa: E402
import resident  # noqa: E402


class Engine:
    """`load` makes what runs a model, `run` computes its outputs into memory that they keep or get anew, as their users do."""
    title, package, needs_module = "", "", False

    def __init__(self, args, inputs):
        self.args, self.inputs = args, inputs

    def prepare(self):
        """Imports what the engine is made of, which is no part of loading a model."""

    def load(self):
        raise NotImplementedError

    def run(self):
        """The outputs, as arrays."""
        raise NotImplementedError


class Snug(Engine):
    title = "Snug"

    def prepare(self):
        import snug
        self.package = snug

    def load(self):
        self.model, self.out = self.package.load(self.args.library, num_threads=self.args.threads), None

    def run(self):
        self.out = self.model(**self.inputs, **({"out": self.out} if self.out else {}))
        return list(self.out.values())


class OnnxRuntime(Engine):
    """With the memory pattern off, as with it the second run takes the first one's memory again."""
    title, package = "ONNX Runtime", "onnxruntime"

    def prepare(self):
        import onnxruntime
        self.package = onnxruntime

    def load(self):
        options = self.package.SessionOptions()
        options.intra_op_num_threads = self.args.threads
        options.enable_mem_pattern = False
        self.session = self.package.InferenceSession(self.args.model, options, providers=["CPUExecutionProvider"])

    def run(self):
        return self.session.run(None, self.inputs)


class OpenVino(Engine):
    """In f32: by default it takes bf16 where the CPU has it."""
    title, package, precision = "OpenVINO", "openvino", "f32"

    def prepare(self):
        import openvino
        self.package = openvino

    def load(self):
        self.compiled = self.package.Core().compile_model(self.args.model, "CPU", {
            "INFERENCE_NUM_THREADS": str(self.args.threads), "INFERENCE_PRECISION_HINT": self.precision, "PERFORMANCE_HINT": "LATENCY"})
        self.request = self.compiled.create_infer_request()

    def run(self):
        found = self.request.infer(self.inputs, share_inputs=True, share_outputs=True)
        return [found[output] for output in self.compiled.outputs]


class OpenVinoBf16(OpenVino):
    title, precision = "OpenVINO bf16", "bf16"


class Torch(Engine):
    """Attention as one op, where the model has it."""
    title, package, needs_module = "torch", "torch", True

    def prepare(self):
        import torch
        self.package = torch
        torch.set_num_threads(self.args.threads)
        self.case = models.case_of(self.args.name)
        self.tensors = [torch.from_numpy(self.inputs[name]) for name in self.case.inputs]

    def load(self):
        self.call = self.case.module

    def run(self):
        with self.package.inference_mode():
            found = self.call(*self.tensors)
        return [one.numpy() for one in (found if isinstance(found, (tuple, list)) else [found])]


class TorchCompile(Torch):
    title = "torch.compile"

    def load(self):
        self.call = self.package.compile(self.case.module)
        self.run()  # which is when it compiles


class Iree(Engine):
    """Compiled for this CPU, as its defaults are."""
    title, package = "IREE", "iree.runtime"

    def prepare(self):
        import iree.runtime
        self.package = iree.runtime
        folder = Path(self.args.model).parent
        text, self.binary = folder / "iree.mlir", folder / "iree.vmfb"
        if self.binary.exists():
            return
        import iree.compiler
        from iree.compiler.tools.import_onnx import __main__ as importer
        importer.main(importer.parse_arguments([str(self.args.model), "-o", str(text)]))
        iree.compiler.compile_file(str(text), input_type="onnx", target_backends=["llvm-cpu"], output_file=str(self.binary),
                                   extra_args=["--iree-llvmcpu-target-cpu=host"])

    def load(self):
        self.package.flags.parse_flags(f"--task_topology_max_group_count={self.args.threads}")
        self.module = self.package.load_vm_flatbuffer_file(str(self.binary), driver="local-sync" if self.args.threads == 1 else "local-task")

    def run(self):
        found = self.module.main_graph(*self.inputs.values())
        return [one.to_host() for one in (found if isinstance(found, (tuple, list)) else [found])]


ENGINES = {"snug": Snug, "onnxruntime": OnnxRuntime, "openvino": OpenVino, "torch": Torch, "torch-compile": TorchCompile, "iree": Iree,
           "openvino-bf16": OpenVinoBf16}


def installed(name):
    """Its version, or None."""
    package = ENGINES[name].package
    if not package:
        return ""
    try:
        found = importlib.util.find_spec(package)
    except ImportError:
        found = None
    return importlib.metadata.version({"iree.runtime": "iree-base-runtime"}.get(package, package)) if found else None


def timed(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("--name", help="of models.py, for engines that run the module")
    parser.add_argument("--model", help="ONNX file")
    parser.add_argument("--library", help="what snugc made of it")
    parser.add_argument("--inputs", required=True, help=".npz")
    parser.add_argument("--outputs", required=True, help=".npz to write, outputs as arr_0, arr_1, ...")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True, help="how long an engine runs in a round, at least")
    args = parser.parse_args()
    speech = sys.stdout
    sys.stdout = sys.stderr  # what libraries print is no step
    with np.load(args.inputs) as file:
        inputs = {name: file[name] for name in file.files}
    engine = ENGINES[args.engine](args, inputs)

    def arrive(step, **said):
        print(step, json.dumps(said) if said else "", flush=True, file=speech)
        input()

    engine.prepare()
    arrive("imported")
    arrive("loaded", seconds=timed(engine.load))
    for step in ("first", "second"):
        outputs = engine.run()
        arrive(step)
    np.savez(args.outputs, *outputs)
    arrive("written")
    while True:
        engine.run()  # caches hold what the engine before left there
        times = []
        while not times or sum(times) < args.seconds:
            times.append(timed(engine.run))
        arrive("ran", ms=1e3 * statistics.median(times), runs=len(times))


if __name__ == "__main__":
    main()
