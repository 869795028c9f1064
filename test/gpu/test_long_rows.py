# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Reductions, softmax, norms, scans and sorts of few long rows, on what stands in for a GPU, against ONNX Runtime."""
import json
import re

import numpy as np
import onnx
import onnxruntime
import pytest
import simulator

from account import compile_model, snugc
from test_models import snug

h = onnx.helper
rng = np.random.default_rng(11)


def model_of(path, nodes, inputs, outputs, constants=(), opset=18):
    """inputs: name -> shape; outputs: name -> element type."""
    values = [h.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in inputs.items()]
    graph = h.make_graph(nodes, "g", values, [h.make_tensor_value_info(name, element, None) for name, element in outputs.items()],
                         [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in dict(constants).items()])
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", opset)], ir_version=9), path)
    return path


def run(model, folder, inputs, dims=(), words=(), calls=None):
    """What the compiled model gives (for each of `calls`, or for `inputs`), the program after fuse, and what its memory is."""
    library, memory = compile_model(model, folder, dict(dims), *words)
    gpu = simulator.Gpu(folder / "kernels.mlir")
    before = gpu.stats().live_bytes
    with gpu:
        compiled = snug.load(str(library))
        results = [compiled(**x) for x in calls or [inputs]]
        assert gpu.stats().peak_bytes - before <= memory["total"]
        del compiled
    text = next(folder.glob("*-fuse.mlir")).read_text()
    return (results if calls else results[0]), text, memory


def expected(model, inputs):
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs)))


def compare(got, want, rtol=1e-5, atol=1e-6):
    for name, value in want.items():
        if value.dtype.kind == "f":
            np.testing.assert_allclose(got[name], value, rtol=rtol, atol=atol, err_msg=name)
        else:
            np.testing.assert_array_equal(got[name], value, err_msg=name)


REDUCED = {"sum": ("ReduceSum", 1), "most": ("ReduceMax", 1), "mean": ("ReduceMean", 1), "norm": ("ReduceL2", 1), "product": ("ReduceProd", 1)}


@pytest.mark.parametrize("shape", [(2, 3, 101, 103), (1, 70001)])
def test_whole_tensors(tmp_path, shape):
    nodes = [h.make_node(op, ["x"], [name], keepdims=0) for name, (op, _) in REDUCED.items()]
    nodes += [h.make_node("ArgMax", ["x"], ["first"], axis=-1), h.make_node("ArgMin", ["x"], ["last"], axis=-1, select_last_index=1, keepdims=0)]
    model = model_of(tmp_path / "m.onnx", nodes, {"x": shape}, {**{name: 1 for name in REDUCED}, "first": 7, "last": 7})
    x = (1 + 0.01 * rng.standard_normal(shape)).astype(np.float32)
    x[..., 60::61] = x.max()  # ties: the first one, the last one
    x[..., 61::61] = x.min()
    got, text, _ = run(model, tmp_path, {"x": x})
    compare(got, expected(model, {"x": x}), rtol=2e-4)  # of a product of 60000
    np.testing.assert_allclose(got["sum"], x.astype(np.float64).sum(), rtol=1e-6)
    assert text.count("snug_nn.partial_reduce") == (4 if shape[0] == 2 else 8)  # sum and mean share one; long rows have places, too


def test_an_index_of_nan(tmp_path):
    """As numpy does: a NaN is the largest and the smallest."""
    model = model_of(tmp_path / "m.onnx", [h.make_node("ArgMax", ["x"], ["a"], axis=1), h.make_node("ArgMin", ["x"], ["b"], axis=1)],
                     {"x": (2, 40000)}, {"a": 7, "b": 7})
    x = rng.standard_normal((2, 40000)).astype(np.float32)
    x[1, [777, 30001]] = np.nan
    got, text, _ = run(model, tmp_path, {"x": x})
    assert text.count("snug_nn.partial_reduce") == 4
    np.testing.assert_array_equal(got["a"], x.argmax(1)[:, None])
    np.testing.assert_array_equal(got["b"], x.argmin(1)[:, None])


@pytest.mark.parametrize("length", [65536, 70003])
def test_softmax(tmp_path, length):
    nodes = [h.make_node("Softmax", ["x"], ["y"], axis=-1), h.make_node("LogSoftmax", ["x"], ["z"], axis=-1)]
    model = model_of(tmp_path / "m.onnx", nodes, {"x": (2, length)}, {"y": 1, "z": 1})
    x = 5 * rng.standard_normal((2, length)).astype(np.float32)
    x[0, :7] = -np.inf
    got, text, _ = run(model, tmp_path, {"x": x})
    wide = np.exp(x.astype(np.float64) - x.max(1, keepdims=True))
    np.testing.assert_allclose(got["y"], wide / wide.sum(1, keepdims=True), rtol=1e-5, atol=1e-12)
    compare(got, expected(model, {"x": x}), rtol=1e-4)
    assert "snug_nn.softmax" not in text and text.count("snug_nn.partial_reduce") >= 4


def norms(path, batch):
    nodes = [h.make_node("InstanceNormalization", ["x", "s", "b"], ["y"], epsilon=1e-5),
             h.make_node("GroupNormalization", ["y", "s", "b"], ["z"], num_groups=1, epsilon=1e-5)]
    return model_of(path, nodes, {"x": (batch, 2, 257, 256)}, {"z": 1}, {"s": np.array([0.5, 2], np.float32), "b": np.array([1, -3], np.float32)}, 21)


def test_norms(tmp_path):
    model = norms(tmp_path / "m.onnx", 1)
    x = (3 + rng.standard_normal((1, 2, 257, 256))).astype(np.float32)
    got, text, memory = run(model, tmp_path, {"x": x}, words=("--gpu-libraries", "none"))
    compare(got, expected(model, {"x": x}), rtol=1e-4, atol=1e-4)
    assert "snug_nn.norm" not in text and text.count("snug_nn.partial_reduce") == 4
    # Their least memory is no more than a CPU's.
    least = {}
    for target in ("cuda:sm_90", "cpu"):
        report = tmp_path / f"{target[:3]}.json"
        fits = not snugc(model, "--dry-run", "--target", target, "--activation-budget", "0B", "--report", report, allowed=(0, 4))
        least[target] = 0 if fits else json.loads(report.read_text())["budget"]["least_activation"]
    assert least["cuda:sm_90"] <= least["cpu"] + (64 << 10)  # partial sums


def test_chunks_have_the_same_bits(tmp_path):
    """Rows of a loop's slices are in as many parts as those of the whole, and in as many steps."""
    nodes = [h.make_node("Softmax", ["x"], ["p"], axis=-1), h.make_node("Mul", ["p", "x"], ["q"]), h.make_node("ReduceSum", ["q", "axis"], ["t"]),
             h.make_node("CumSum", ["p", "one"], ["c"]), h.make_node("TopK", ["c", "k"], ["v", "i"], largest=0), h.make_node("TopK", ["p", "k"], ["w", "j"])]
    model = model_of(tmp_path / "m.onnx", nodes, {"x": (8, 40000)}, {"t": 1, "v": 1, "i": 7, "w": 1, "j": 7},
                     {"axis": np.array([1]), "one": np.array(1), "k": np.array([20])})
    x = rng.standard_normal((8, 40000)).astype(np.float32)
    (tmp_path / "whole").mkdir(), (tmp_path / "cut").mkdir()
    whole, text, memory = run(model, tmp_path / "whole", {"x": x})
    assert all(f"snug_nn.{op}" in text for op in ("partial_reduce", "scan", "top_k"))
    np.testing.assert_allclose(whole["t"], expected(model, {"x": x})["t"], rtol=1e-4)
    cut, _, smaller = run(model, tmp_path / "cut", {"x": x}, words=("--activation-budget", f"{memory['arena'] // 2}B"))
    assert smaller["arena"] <= memory["arena"] // 2
    assert json.loads((tmp_path / "cut" / "report.json").read_text())["chunk_loops"]
    assert all(whole[name].tobytes() == cut[name].tobytes() for name in whole)


def test_where_memory_is_scarce_a_loop_adds_up(tmp_path):
    """Parts are given up where only a loop over the terms fits."""
    nodes = [h.make_node("MatMul", ["x", "w"], ["y"]), h.make_node("ReduceSumSquare", ["y"], ["s"], keepdims=0)]
    model = model_of(tmp_path / "m.onnx", nodes, {"x": (4096, 16)}, {"s": 1}, {"w": rng.standard_normal((16, 32)).astype(np.float32)})
    x = rng.standard_normal((4096, 16)).astype(np.float32)
    (tmp_path / "whole").mkdir(), (tmp_path / "cut").mkdir()
    for folder, words in (("whole", ()), ("cut", ("--activation-budget", "64KiB"))):
        got, text, memory = run(model, tmp_path / folder, {"x": x}, words=(*words, "--gpu-libraries", "none"))
        assert "snug_nn.partial_reduce" in text
        compare(got, expected(model, {"x": x}), rtol=1e-4)
    assert "snug_nn.partial_reduce" not in next((tmp_path / "cut").glob("*-chunk.mlir")).read_text()
    assert memory["arena"] <= 64 << 10


def steps(path, shape, axis, k, dims_k=None):
    nodes = [h.make_node("CumSum", ["x", "axis"], ["a"]), h.make_node("CumSum", ["x", "axis"], ["b"], exclusive=1, reverse=1),
             h.make_node("TopK", ["x", "k"], ["v", "i"], axis=axis), h.make_node("TopK", ["x", "k"], ["w", "j"], axis=axis, largest=0)]
    return model_of(path, nodes, {"x": shape}, {"a": 1, "b": 1, "v": 1, "i": 7, "w": 1, "j": 7}, {"axis": np.array(axis), "k": np.array([k])})


@pytest.mark.parametrize("shape,axis,k", [((3, 5000), 1, 50), ((2, 4999), 1, 4999), ((1300, 4), 0, 1300), ((2, 300, 3), 1, 299), ((3, 20), 1, 5)])
def test_steps(tmp_path, shape, axis, k):
    model = steps(tmp_path / "m.onnx", shape, axis, k)
    x = rng.integers(-20, 20, shape).astype(np.float32)
    got, text, _ = run(model, tmp_path, {"x": x})
    compare(got, expected(model, {"x": x}))
    scalar = shape[axis] < 128
    assert (text.count("snug_nn.scan"), text.count("snug_nn.top_k"), text.count("snug_nn.scalar_kernel")) == ((0, 0, 4) if scalar else (2, 2, 0))


def test_lengths_of_the_run(tmp_path):
    """Open dims: what is done by blocks is decided by the upper bound, and a shorter row is no other one."""
    nodes = [h.make_node("CumSum", ["x", "axis"], ["a"]), h.make_node("TopK", ["x", "k"], ["v", "i"]), h.make_node("Softmax", ["x"], ["y"]),
             h.make_node("ReduceSum", ["x"], ["s"], keepdims=0), h.make_node("ArgMax", ["x"], ["m"], axis=1)]
    model = model_of(tmp_path / "m.onnx", nodes, {"x": ("batch", "n")}, {"a": 1, "v": 1, "i": 7, "y": 1, "s": 1, "m": 7},
                     {"axis": np.array(1), "k": np.array([3])})
    calls = [{"x": rng.integers(-9, 9, (b, n)).astype(np.float32)} for b, n in ((1, 66000), (2, 5), (1, 1025))]
    results, text, _ = run(model, tmp_path, None, {"batch": "1..2", "n": "4..66000"}, calls=calls)
    assert "snug_nn.scan" in text and "snug_nn.top_k" in text and text.count("snug_nn.partial_reduce") == 5
    for call, got in zip(calls, results):
        compare(got, expected(model, call))


def test_nothing_is_spilled(tmp_path):
    model = steps(tmp_path / "steps.onnx", ("rows", 5000), 1, 3000)
    for one, dims in ((model, {"rows": "1..4"}), (norms(tmp_path / "norms.onnx", "batch"), {"batch": "1..2"})):
        snugc(one, "-o", tmp_path / "m.so", "--target", "cuda:sm_80,sm_90,sm_100", "--report", tmp_path / "report.json",
              *(word for name, value in dims.items() for word in ("--dim", f"{name}={value}")))
        kernels = json.loads((tmp_path / "report.json").read_text())["gpu_kernels"]
        assert {kernel["chip"] for kernel in kernels} == {"sm_80", "sm_90", "sm_100"}
        assert [kernel for kernel in kernels if kernel["stack"] or kernel["spilled"]] == []
        names = {re.sub(r"_\d+$", "", kernel["kernel"]) for kernel in kernels}
        assert names & {"scan", "partial_reduce"}


@pytest.mark.parametrize("shape", [(3, 5, 700), (9001,), (2, 1)])
@pytest.mark.parametrize("share", [0, 0.3, 1])
def test_what_is_not_zero(tmp_path, shape, share):
    """Places by a scan of how many there are; no kernel goes through all elements by itself. NaN is not zero."""
    nodes = [h.make_node("NonZero", ["x"], ["places"]), h.make_node("Cast", ["m"], ["chosen"], to=9),
             h.make_node("Compress", ["x", "chosen"], ["kept"]), h.make_node("Compress", ["x", "chosen"], ["slices"], axis=0)]
    model = model_of(tmp_path / "m.onnx", nodes, {"x": shape, "m": (shape[0] - 1,)}, {"places": 7, "kept": 1, "slices": 1})
    x = np.where(rng.random(shape) < share, rng.standard_normal(shape), 0).astype(np.float32)
    x.flat[0] = np.nan if share else 0
    m = (rng.random(shape[0] - 1) < share).astype(np.float32)
    got, text, _ = run(model, tmp_path, {"x": x, "m": m})
    np.testing.assert_array_equal(got["places"], np.array(np.nonzero(x)))
    np.testing.assert_array_equal(got["kept"], np.compress(m != 0, x))
    np.testing.assert_array_equal(got["slices"], np.compress(m != 0, x, axis=0))
    assert text.count("snug_nn.scan ") == {(3, 5, 700): 1, (9001,): 2, (2, 1): 0}[shape]  # short rows are a thread's; both Compress share one


def test_as_many_as_the_run_has(tmp_path):
    nodes = [h.make_node("NonZero", ["x"], ["places"])]
    model = model_of(tmp_path / "m.onnx", nodes, {"x": ("rows", 300)}, {"places": 7})
    calls = [{"x": (rng.random((rows, 300)) < share).astype(np.float32)} for rows, share in ((7, 0.5), (1, 0), (5, 1))]
    results, _, _ = run(model, tmp_path, None, {"rows": "1..7"}, calls=calls)
    for got, x in zip(results, calls):
        np.testing.assert_array_equal(got["places"], np.array(np.nonzero(x["x"])))
