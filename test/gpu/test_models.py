# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models compiled for a GPU, on what stands in for one: results against ONNX Runtime, and memory to the byte."""
import json
import os
import pathlib
import random
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
import simulator

for folder in ("models", "../python"):
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / folder))
import materialize  # noqa: E402
import snug  # noqa: E402
from graph_builder import GraphBuilder, noise  # noqa: E402

TOLERANCE = 1e-5  # relative L2, fp32
EXPORTED = {"gpt2_tiny": {"batch": 2, "seq": 40}, "gpt2_tiny_unoptimized": {"batch": 1, "seq": 33}, "gpt2_tiny_ts14": {"batch": 1, "seq": 24},
            "llama_tiny": {"batch": 1, "seq": 40}, "llama_tiny_decode": {"batch": 2, "past": 37}, "bert_tiny": {"batch": 2, "seq": 24},
            "vit_tiny": {"batch": 1}, "folding_tiny": {"batch": 1, "n": 12}}
BUDGETS = ("all", "half", "least")
CASES = [(name, budget) for name in EXPORTED for budget in BUDGETS]
SHORT = random.Random(3).sample(CASES, 8)


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    folder, made = tmp_path_factory.mktemp("models"), {}
    models = pathlib.Path(materialize.__file__).parent

    def get(name):
        if name not in made:
            made[name] = materialize.materialize(models / f"{name}.onnx", folder)
        return made[name]
    return get


def snugc(*words, allowed=(0,)):
    done = subprocess.run([os.environ["SNUGC"], *map(str, words)], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode in allowed, done.stderr
    return done.returncode


def compile_model(model, folder, dims, *words):
    """(path of the library, what the report says of memory)."""
    report = folder / "report.json"
    snugc(model, "-o", folder / "m.so", "--target", "cuda:sm_90", "--report", report, "--save-temps", folder,
          *(word for name, value in dims.items() for word in ("--dim", f"{name}={value}")), *words)
    return folder / "m.so", json.loads(report.read_text())["memory"]


def budget_words(model, dims, budget, folder):
    if budget == "all":
        return []
    words = [word for name, value in dims.items() for word in ("--dim", f"{name}={value}")]
    report = folder / "dry.json"
    snugc(model, "--dry-run", "--target", "cuda:sm_90", "--report", report, *words)
    whole = json.loads(report.read_text())["memory"]["arena"]
    if budget == "half":
        asked = whole // 2
        code = snugc(model, "--dry-run", "--target", "cuda:sm_90", "--report", report, *words, "--activation-budget", f"{asked}B", allowed=(0, 4))
        if code == 0:
            return ["--activation-budget", f"{asked}B"]
    snugc(model, "--dry-run", "--target", "cuda:sm_90", "--report", report, *words, "--activation-budget", "0B", allowed=(4,))
    return ["--activation-budget", f"{json.loads(report.read_text())['budget']['least_activation']}B"]


def check(model, inputs, folder, dims, *words):
    library, planned = compile_model(model, folder, dims, *words)
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    want = dict(zip(names, session.run(names, inputs)))
    gpu = simulator.Gpu(folder / "kernels.mlir")
    before = gpu.stats().live_bytes
    with gpu:
        compiled = snug.load(str(library))
        first = compiled(**inputs)
        made = gpu.stats()
        second = compiled(**inputs)
        after = gpu.stats()
    for name, value in want.items():
        error = np.linalg.norm(first[name].astype(np.float64) - value) / max(np.linalg.norm(value.astype(np.float64)), 1e-30)
        assert first[name].dtype == value.dtype and error <= TOLERANCE, (name, error)
        np.testing.assert_array_equal(first[name], second[name])
    # One allocation each of the arena and the weights, of a copy of each input and output on the host, and of shapes.
    assert made.peak_bytes - before == planned["total"]
    assert after.allocations == made.allocations and after.peak_bytes == made.peak_bytes
    assert after.waits == made.waits + len(want) + 1  # a copy of each output to the host, and the end of the run
    assert after.launches == 2 * made.launches > 0
    return planned


def run(name, budget, weights, folder):
    model, dims = weights(name), EXPORTED[name]
    extra = {"s22": dims["past"] + 1} if "past" in dims else {}
    check(model, materialize.make_inputs(model, {**dims, **extra}), folder, dims, *budget_words(model, dims, budget, folder))


def test_a_decode_step_with_many_keys(weights, tmp_path):
    """Attention in parts of the keys."""
    model, dims = weights("llama_tiny_decode"), {"batch": 1, "past": 600}
    check(model, materialize.make_inputs(model, {**dims, "s22": dims["past"] + 1}), tmp_path, dims)
    assert "in_parts" in (tmp_path / "4-schedule.mlir").read_text()


@pytest.mark.parametrize("name, budget", SHORT)
def test_exported(name, budget, weights, tmp_path):
    run(name, budget, weights, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("name, budget", [case for case in CASES if case not in SHORT])
def test_exported_whole(name, budget, weights, tmp_path):
    run(name, budget, weights, tmp_path)


def test_convolutions(tmp_path):
    """A small U-net: strides, a transposed convolution, group norms, and what is concatenated."""
    graph = GraphBuilder()
    import onnx
    x = noise(2, 4, 16, 16)
    graph.inputs.append(onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ("batch", 4, 16, 16)))
    c = graph.constant
    down = graph.node("Relu", graph.node("Conv", "x", c(noise(8, 4, 3, 3)), c(noise(8)), pads=[1] * 4))
    norm = graph.node("InstanceNormalization", down, c(noise(8)), c(noise(8)))
    half = graph.node("Relu", graph.node("Conv", norm, c(noise(16, 8, 3, 3)), strides=[2, 2], pads=[1] * 4))
    deep = graph.node("Conv", half, c(noise(16, 1, 3, 3)), group=16, pads=[1] * 4)
    up = graph.node("ConvTranspose", deep, c(noise(16, 8, 2, 2)), strides=[2, 2])
    both = graph.node("Concat", up, norm, axis=1)
    pooled = graph.node("MaxPool", graph.node("Conv", both, c(noise(4, 16, 1, 1))), kernel_shape=[2, 2], strides=[2, 2])
    graph.outputs.append(onnx.helper.make_tensor_value_info(pooled, onnx.TensorProto.FLOAT, [None] * 4))
    model = graph.save(tmp_path / "unet.onnx", 18)
    check(model, {"x": x}, tmp_path, {"batch": "1..2"})


def test_data_decides(tmp_path):
    """A loop that a computed condition ends, and a shape of what data says."""
    import onnx
    h = onnx.helper
    body = h.make_graph([h.make_node("Mul", ["v", "half"], ["w"]), h.make_node("ReduceMax", ["w"], ["most"], keepdims=0),
                         h.make_node("Greater", ["most", "one"], ["more"])], "body",
                        [h.make_tensor_value_info("i", 7, []), h.make_tensor_value_info("c", 9, []), h.make_tensor_value_info("v", 1, [8])],
                        [h.make_tensor_value_info("more", 9, []), h.make_tensor_value_info("w", 1, [8])])
    nodes = [h.make_node("Loop", ["trips", "", "x"], ["y"], body=body), h.make_node("NonZero", ["y"], ["places"])]
    constants = [onnx.numpy_helper.from_array(np.array(value, dtype), name)
                 for name, value, dtype in (("trips", 20, np.int64), ("half", 0.5, np.float32), ("one", 1, np.float32))]
    graph = h.make_graph(nodes, "g", [h.make_tensor_value_info("x", 1, [8])],
                         [h.make_tensor_value_info("y", 1, [8]), h.make_tensor_value_info("places", 7, [1, None])], constants)
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=9), tmp_path / "m.onnx")
    library, planned = compile_model(tmp_path / "m.onnx", tmp_path, {})
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    gpu = simulator.Gpu(tmp_path / "kernels.mlir")
    before = gpu.stats().live_bytes
    with gpu:
        compiled = snug.load(str(library))
        assert gpu.stats().peak_bytes - before == planned["total"] and planned["library"] == 2 * 8
        for scale, zeros in ((100, 2), (1.5, 0), (1, 8)):
            x = np.linspace(0.1, 1, 8, dtype=np.float32) * np.float32(scale)
            x[:zeros] = 0
            want = session.run(None, {"x": x})
            got = compiled(x=x)
            np.testing.assert_array_equal(got["y"], want[0])
            np.testing.assert_array_equal(got["places"], want[1])
