# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Small models for tests of the command line. SNUGC and SNUG_RUN name the tools."""
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "models"))
FLOAT = TensorProto.FLOAT


def values(name, shape, dtype=FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def model(nodes, inputs, outputs, initializers=(), opset=20, path=None):
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(initializers))
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    if path:
        onnx.save(made, path)
        return path
    return made


@pytest.fixture
def mlp(tmp_path):
    """mlp() is the path of a two-layer perceptron [rows, 64] -> [rows, 64], with its weights in mlp.onnx.data."""
    def make(folder=tmp_path):
        rng = np.random.default_rng(0)
        weights = {"w1": rng.standard_normal((64, 256), np.float32) / 8, "w2": rng.standard_normal((256, 64), np.float32) / 16}
        tensors = []
        with open(folder / "mlp.onnx.data", "wb") as data:
            for name, value in weights.items():
                tensor = TensorProto(name=name, data_type=FLOAT, dims=value.shape, data_location=TensorProto.EXTERNAL)
                for key, text in (("location", "mlp.onnx.data"), ("offset", data.tell()), ("length", value.nbytes)):
                    tensor.external_data.add(key=key, value=str(text))
                tensors.append(tensor)
                data.write(value.tobytes())
        nodes = [helper.make_node("MatMul", ["x", "w1"], ["h"], name="up"),
                 helper.make_node("Relu", ["h"], ["r"], name="relu"),
                 helper.make_node("MatMul", ["r", "w2"], ["y"], name="down")]
        return model(nodes, [values("x", ["rows", 64])], [values("y", ["rows", 64])], tensors, path=folder / "mlp.onnx")
    return make


class Result:
    def __init__(self, done):
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr


def run_tool(variable, *arguments, **options):
    command = [os.environ[variable], *(str(a) for a in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300, **options)
    return Result(done)


def snugc(*arguments, **options):
    return run_tool("SNUGC", *arguments, **options)


def snug_run(*arguments, **options):
    return run_tool("SNUG_RUN", *arguments, **options)


def numpy_tensor(array, name=""):
    return numpy_helper.from_array(array, name)


def refused(result, code, *words):
    """Exit code, and what the message says."""
    assert result.code == code, result.err
    for word in words:
        assert word in result.err, result.err


def files(folder):
    return sorted(p.name for p in folder.iterdir())
