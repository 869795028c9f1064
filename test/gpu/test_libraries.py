# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Contractions that cuBLASLt does, on what stands in for it: which ones, with which epilogue, in which workspace, and the results
against NumPy in f64."""
import json
import os
import pathlib
import subprocess

import numpy as np
import onnx
import pytest
import simulator
from account import compile_model, snugc
from test_models import GraphBuilder, noise, snug

# Relative L2; of half precision a few units of the last place.
TOLERANCE = {np.float32: 1e-6, np.float16: 1e-3}
RELU, BIAS, GELU = 2, 4, 32  # epilogues as cublasLt.h numbers them; 1 is none


class Case:
    """A graph of which `want` is the result in f64."""

    def __init__(self, dtype=np.float32):
        self.graph, self.dtype, self.inputs, self.want = GraphBuilder(), dtype, {}, None

    def input(self, *shape, dims=None):
        """(name, values in f64)"""
        name = f"x{len(self.inputs)}"
        values = noise(*shape, seed=len(self.inputs)).astype(self.dtype)
        self.inputs[name] = values
        self.graph.inputs.append(onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype)), dims or shape))
        return name, values.astype(np.float64)

    def constant(self, *shape):
        values = noise(*shape, seed=99).astype(self.dtype)
        return self.graph.constant(values), values.astype(np.float64)

    def number(self, value):
        return self.graph.constant(np.array(value, self.dtype))

    def output(self, name, want):
        self.graph.outputs.append(onnx.helper.make_tensor_value_info(
            name, onnx.helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype)), [None] * want.ndim))
        self.name, self.want = name, want


def tf32(x):
    """Numbers of f32, rounded to 10 bits of mantissa, to nearest, ties away from zero."""
    bits = x.astype(np.float32).view(np.uint32)
    return ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32).astype(np.float64)


def calls_of(log):
    return [one for one in map(json.loads, log.read_text().splitlines()) if one.get("call") == "cublasLtMatmul"]


def run(case, folder, dims={}, *words, expected=1):
    """What the library was called with, by a run; (calls, report)."""
    model = case.graph.save(folder / "m.onnx", 18)
    library, _ = compile_model(model, folder, dims, *words)
    report = json.loads((folder / "report.json").read_text())
    assert len(report["library_kernels"]) == expected
    gpu = simulator.Gpu(folder / "kernels.mlir")
    before = gpu.stats().live_bytes
    with gpu:
        compiled = snug.load(str(library)) # in which each product is called once, too
        with gpu.log(folder / "log"):
            made = compiled(**case.inputs)[case.name]
        assert gpu.stats().peak_bytes - before <= report["memory"]["total"]
    (folder / "log").touch()
    error = np.linalg.norm(made.astype(np.float64) - case.want) / np.linalg.norm(case.want)
    assert error <= TOLERANCE[case.dtype], error
    return calls_of(folder / "log"), report


@pytest.mark.parametrize("left", (False, True))
@pytest.mark.parametrize("right", (False, True))
@pytest.mark.parametrize("dtype", (np.float32, np.float16))
def test_transposes(left, right, dtype, tmp_path):
    """Odd sizes: of columns that are not aligned, and of a row-major and a column-major operand each."""
    case = Case(dtype)
    a, x = case.input(*((37, 19) if left else (19, 37)))
    b, y = case.input(*((23, 37) if right else (37, 23)))
    case.output(case.graph.node("Gemm", a, b, transA=int(left), transB=int(right)), (x.T if left else x) @ (y.T if right else y))
    (call,), _ = run(case, tmp_path)
    # Their result is our transposed one.
    assert (call["m"], call["n"], call["k"], call["epilogue"], call["beta"]) == (23, 19, 37, 1, 0)


def test_batches(tmp_path):
    case = Case()
    (a, x), (b, y) = case.input(6, 20, 32), case.input(6, 32, 24)
    case.output(case.graph.node("MatMul", a, b), x @ y)
    (call,), _ = run(case, tmp_path)
    assert (call["m"], call["n"], call["k"]) == (24, 20, 32)


def test_tf32(tmp_path):
    """Of f32 only: operands are rounded, sums are not."""
    for dtype, compute in ((np.float32, 77), (np.float16, 68)):
        case, folder = Case(dtype), tmp_path / np.dtype(dtype).name
        (a, x), (b, y) = case.input(20, 48), case.input(48, 24)
        rounded = tf32 if dtype == np.float32 else lambda value: value
        case.output(case.graph.node("MatMul", a, b), rounded(x) @ rounded(y))
        folder.mkdir()
        (call,), report = run(case, folder, {}, "--precision", "tf32")
        assert call["compute"] == compute and report["precision"] == "tf32"


def test_rows_of_several_dims_are_one(tmp_path):
    case = Case()
    (a, x), (b, y) = case.input(3, 20, 32), case.constant(32, 24)
    case.output(case.graph.node("MatMul", a, b), x @ y)
    (call,), _ = run(case, tmp_path)
    assert (call["m"], call["n"], call["k"]) == (24, 60, 32)


@pytest.mark.parametrize("dtype", (np.float32, np.float16))
def test_epilogues(dtype, tmp_path):
    """A bias and ReLU; a bias and a residual; a factor."""
    case = Case(dtype)
    g = case.graph
    (a, x), (w, y), (v, z), (bias, t) = case.input(40, 48), case.constant(48, 64), case.constant(64, 48), case.constant(64)
    (last, s) = case.constant(48)
    hidden = g.node("Relu", g.node("Add", g.node("MatMul", a, w), bias))
    case.output(g.node("Add", a, g.node("Add", g.node("MatMul", hidden, v), last)), x + np.maximum(x @ y + t, 0) @ z + s)
    calls, report = run(case, tmp_path, expected=2)
    assert [(call["epilogue"], call["beta"]) for call in calls] == [(RELU | BIAS, 0), (BIAS, 1)]
    assert report["exact"] is True


def test_factors(tmp_path):
    case = Case()
    (a, x), (b, y), (c, z) = case.input(20, 32), case.input(32, 24), case.input(20, 24)
    case.output(case.graph.node("Gemm", a, b, c, alpha=0.5, beta=-2.0), 0.5 * x @ y - 2 * z)
    (call,), _ = run(case, tmp_path)
    assert call["beta"] == 1


@pytest.mark.parametrize("offsets", ((1, 0), (0, 3), (1, 3)))
def test_parts_of_matrices(offsets, tmp_path):
    """Columns in the midst of others: addresses that are aligned to an element only, which the library has to know."""
    case = Case()
    parts, want = [], []
    for offset, shape, width in zip(offsets, ((20, 36), (32, 28)), (32, 24)):
        name, values = case.input(*shape)
        ends = [case.graph.constant(np.array([value], np.int64)) for value in (offset, offset + width, 1)]
        parts.append(case.graph.node("Slice", name, *ends))
        want.append(values[:, offset:offset + width])
    case.output(case.graph.node("MatMul", *parts), want[0] @ want[1])
    (call,), _ = run(case, tmp_path)
    assert call["split"] == 0


def gelu(x):
    return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x ** 3)))


def add_gelu(case, x):
    n, node = case.number, case.graph.node
    cube = node("Mul", node("Mul", node("Mul", x, x), x), n(0.044715))
    inner = node("Mul", node("Add", x, cube), n(np.sqrt(2 / np.pi)))
    return node("Mul", node("Mul", x, n(0.5)), node("Add", node("Tanh", inner), n(1)))


def test_gelu_of_half_precision(tmp_path):
    case = Case(np.float16)
    (a, x), (w, y), (bias, t) = case.input(24, 64), case.constant(64, 40), case.constant(40)
    case.output(add_gelu(case, case.graph.node("Add", case.graph.node("MatMul", a, w), bias)), gelu(x @ y + t))
    (call,), _ = run(case, tmp_path)
    assert call["epilogue"] == GELU | BIAS


@pytest.mark.parametrize("sums, expected", ((64, 0), (256, 1)))
def test_other_epilogues_come_behind(sums, expected, tmp_path):
    """GELU of f32: in a kernel of its own where the sums are long, which takes no memory; else all is one kernel."""
    case = Case()
    (a, x), (w, y), (bias, t) = case.input(24, sums), case.constant(sums, 40), case.constant(40)
    case.output(add_gelu(case, case.graph.node("Add", case.graph.node("MatMul", a, w), bias)), gelu(x @ y + t))
    calls, report = run(case, tmp_path, expected=expected)
    assert [call["epilogue"] for call in calls] == [1] * expected
    assert report["memory"]["arena"] == report["memory"]["workspace"]


def test_what_the_library_does_not_have(tmp_path):
    """Few rows, few terms, and a factor along the rows; each in its own graph, as their results differ."""
    for number, (a, b, scaled) in enumerate((((8, 32), (32, 24), False), ((20, 8), (8, 24), False), ((20, 32), (32, 24), True))):
        case = Case()
        (left, x), (right, y) = case.input(*a), case.input(*b)
        made, want = case.graph.node("MatMul", left, right), x @ y
        if scaled:
            factor, t = case.input(20, 1)
            made, want = case.graph.node("Mul", made, factor), want * t
        case.output(made, want)
        folder = tmp_path / str(number)
        folder.mkdir()
        calls, report = run(case, folder, expected=0)
        assert not calls and report["memory"]["workspace"] == 0


def test_none_is_called(tmp_path):
    case = Case()
    (a, x), (b, y) = case.input(20, 32), case.input(32, 24)
    case.output(case.graph.node("MatMul", a, b), x @ y)
    calls, report = run(case, tmp_path, {}, "--gpu-libraries", "none", expected=0)
    assert not calls and report["memory"]["arena"] == 0


def test_without_an_algorithm(tmp_path):
    """The generated kernel takes over, also where the library offers what does not fit."""
    for setting in ("none", "greedy"):
        case = Case()
        (a, x), (b, y) = case.input(20, 32), case.input(32, 24)
        case.output(case.graph.node("MatMul", a, b), x @ y)
        folder = tmp_path / setting
        folder.mkdir()
        os.environ["SNUG_FAKE_CUBLASLT"] = setting
        try:
            calls, _ = run(case, folder)
        finally:
            del os.environ["SNUG_FAKE_CUBLASLT"]
        assert not calls


def chain(rows=512):
    """Two products with something in between that can be chunked."""
    case = Case()
    (a, x), (w, y), (v, z) = case.input(rows, 64), case.constant(64, rows), case.constant(rows, 64)
    hidden = case.graph.node("Relu", case.graph.node("MatMul", a, w))
    case.output(case.graph.node("MatMul", hidden, v), np.maximum(x @ y, 0) @ z)
    return case


def test_workspace_is_what_the_budget_leaves(tmp_path):
    case = chain()
    model = case.graph.save(tmp_path / "m.onnx", 18)

    def plan(*words, target="cuda:sm_90"):
        snugc(model, "--dry-run", "--target", target, "--report", tmp_path / "dry.json", *words)
        return json.loads((tmp_path / "dry.json").read_text())
    whole = plan()
    arena = whole["memory"]["unchunked_arena"]
    assert whole["memory"]["workspace"] == 32 << 20 and whole["memory"]["arena"] == arena + (32 << 20) and whole["exact"] is True
    assert plan(target="cuda:sm_80,sm_90")["memory"]["workspace"] == 4 << 20
    for more, workspace in ((0, 0), (255, 0), (256, 256), (5000, 4864), (64 << 20, 32 << 20)):
        made = plan("--activation-budget", f"{arena + more}B")
        assert made["memory"]["workspace"] == workspace and made["memory"]["arena"] == arena + workspace <= arena + more
        assert made["exact"] is (workspace == 32 << 20) and made["chunk_loops"] == []
    made = plan("--memory-budget", f"{whole['memory']['total'] - 1}B")
    assert made["memory"]["workspace"] == (32 << 20) - 256 and made["memory"]["total"] < whole["memory"]["total"]
    # Slices are other products, which the library may sum in another order.
    half = plan("--activation-budget", f"{arena // 2}B")
    assert half["chunk_loops"] and half["exact"] is False
    assert plan("--activation-budget", f"{arena // 2}B", "--gpu-libraries", "none")["exact"] is True


@pytest.mark.parametrize("budget, split", (([], 1), (["--activation-budget", "50%"], None), (["--activation-budget", "100%"], 0)))
def test_workspaces(budget, split, tmp_path):
    """With room the sums are split, and the workspace is written; without it is not."""
    case = chain()
    calls, report = run(case, tmp_path, {}, *budget, expected=2)
    assert split is None or [call["split"] for call in calls] == [split, split]
    assert all(call["workspace"] <= report["memory"]["workspace"] for call in calls)


@pytest.mark.parametrize("budget", ([], ["--activation-budget", "60%"], ["--activation-budget", "30%"]))
def test_blocks_in_slices(budget, tmp_path):
    """Batches of rows that are open, in slices: rows do not follow each other then, and are a batch; what follows long sums is in place."""
    case = Case()
    g = case.graph
    a, x = case.input(2, 40, 256, dims=("batch", "rows", 256))
    (w, y), (bias, t), (v, z) = case.constant(256, 48), case.constant(48), case.constant(48, 256)
    hidden = add_gelu(case, g.node("Add", g.node("MatMul", a, w), bias))
    case.output(g.node("Add", g.node("MatMul", hidden, v), a), gelu(x @ y + t) @ z + x)
    calls, report = run(case, tmp_path, {"batch": 2, "rows": "1..40"}, *budget, expected=2)
    assert (len(calls) > 2) == bool(budget) == bool(report["chunk_loops"]) and report["exact"] is not bool(budget)


def test_sizes_that_differ(tmp_path):
    """One library, several buckets of dims: each size has its own choice, made once."""
    case = Case()
    (a, x), (w, y), (bias, t) = case.input(100, 48, dims=("rows", 48)), case.constant(48, 64), case.constant(64)
    g = case.graph
    (v, z) = case.constant(64, 48)
    case.output(g.node("MatMul", g.node("Relu", g.node("Add", g.node("MatMul", a, w), bias)), v), np.maximum(x @ y + t, 0) @ z)
    model = g.save(tmp_path / "m.onnx", 18)
    library, planned = compile_model(model, tmp_path, {"rows": "1..300"})
    report = json.loads((tmp_path / "report.json").read_text())
    assert len(report["memory"]["buckets"]) > 2 and len(report["library_kernels"]) == 2
    os.environ["SNUG_FAKE_CUDA_LOG"] = str(tmp_path / "log")
    try:
        with simulator.Gpu(tmp_path / "kernels.mlir"):
            compiled = snug.load(str(library))
            for rows in (100, 17, 1, 100, 17):
                made = compiled(x0=case.inputs["x0"][:rows])[case.name]
                np.testing.assert_allclose(made, case.want[:rows], rtol=1e-4, atol=1e-4)
    finally:
        del os.environ["SNUG_FAKE_CUDA_LOG"]
    lines = list(map(json.loads, (tmp_path / "log").read_text().splitlines()))
    # Two products: at 300 rows for the context, which does them once, then at three other sizes.
    assert sum(line.get("call") == "cublasLtMatmulAlgoGetHeuristic" for line in lines) == 2 * 4
    assert [call["n"] for call in calls_of(tmp_path / "log")] == [300, 300, 100, 100, 17, 17, 1, 1, 100, 100, 17, 17]


def test_without_the_library(tmp_path):
    case = Case()
    (a, x), (b, y) = case.input(20, 32), case.input(32, 24)
    case.output(case.graph.node("MatMul", a, b), x @ y)
    model = case.graph.save(tmp_path / "m.onnx", 18)
    libraries = tmp_path / "lib"
    libraries.mkdir()
    (libraries / "libcuda.so.1").symlink_to(os.environ["SNUG_FAKE_CUDA"])
    for name in ("libcublasLt.so.13", "libcublasLt.so.12"):
        (libraries / name).write_text("none\n" * 100)  # in the way of one that this machine may have
    for words, code in (((), 5), (("--gpu-libraries", "none"), 0)):
        library, _ = compile_model(model, tmp_path, {}, *words)
        simulator.host_code(tmp_path / "kernels.mlir", tmp_path / "kernels.so")
        done = subprocess.run([os.environ["SNUG_RUN"], library, "--random-inputs", "1"], capture_output=True, text=True,
                              env={**os.environ, "LD_LIBRARY_PATH": str(libraries), "SNUG_SIM_KERNELS": str(tmp_path / "kernels.so")})
        assert done.returncode == code, done.stderr
        if code:
            assert "the model multiplies matrices with NVIDIA's cuBLASLt, and that library is not here (" in done.stderr
            assert "libcublasLt.so.13" in done.stderr and "the Python package nvidia-cublas" in done.stderr
            assert done.stderr.endswith("or compile the model with --gpu-libraries none\n")


def test_tune(tmp_path):
    """snug-run times what there is, and later runs take it: of three algorithms the last one, which splits nothing."""
    model = chain(rows=32).graph.save(tmp_path / "m.onnx", 18)
    library, _ = compile_model(model, tmp_path, {})
    simulator.host_code(tmp_path / "kernels.mlir", tmp_path / "kernels.so")

    def snug_run(*words, **environment):
        (tmp_path / "log").unlink(missing_ok=True)
        done = subprocess.run([os.environ["SNUG_RUN"], library, "--random-inputs", "1", "--stats", tmp_path / "stats.json", *words], capture_output=True,
                              text=True, env={**os.environ, "LD_LIBRARY_PATH": os.path.dirname(os.environ["SNUG_FAKE_CUDA"]), **environment,
                                              "SNUG_SIM_KERNELS": str(tmp_path / "kernels.so"), "SNUG_FAKE_CUDA_LOG": str(tmp_path / "log")})
        assert done.returncode == 0, done.stderr
        return done, json.loads((tmp_path / "stats.json").read_text())["tuning"], [call["split"] for call in calls_of(tmp_path / "log")]
    file = tmp_path / "m.so.tune"
    _, tuning, splits = snug_run()
    assert tuning == {"choices": 2, "tuned": 0, "file": "", "note": ""} and set(splits) == {1} and not file.exists()
    done, tuning, splits = snug_run("--tune")
    assert tuning == {"choices": 2, "tuned": 2, "file": str(file), "note": ""} and f"{file}: 2 algorithm(s) timed\n" in done.stdout
    assert len(splits) == 2 * 3 * 16 + 2 and splits[-2:] == [0, 0]
    part = json.loads(file.read_text())["libraries"]["cublaslt"]
    assert len(part["choices"]) == 2 and all(abs(one["microseconds"] - 1e6) < 3e5 for one in part["choices"].values())
    done, tuning, splits = snug_run()
    assert tuning["tuned"] == 2 and splits == [0] * 4 and done.stderr == ""
    done, tuning, splits = snug_run(SNUG_FAKE_CUBLASLT_VERSION="140000")
    said = f"'{file}' was made with version 130000 of cublaslt, and this is 140000: nothing of that is used"
    assert tuning == {"choices": 2, "tuned": 0, "file": str(file), "note": said} and done.stderr == f"snug-run: warning: {said}\n" and splits == [1] * 4


@pytest.mark.parametrize("text", ("cublas", "", "none,cublaslt", "cublaslt cudnn"))
def test_names_that_are_none(text, tmp_path):
    model = chain().graph.save(tmp_path / "m.onnx", 18)
    done = subprocess.run([os.environ["SNUGC"], model, "--dry-run", "--target", "cuda:sm_90", "--gpu-libraries", text], capture_output=True, text=True)
    assert done.returncode == 1 and f"--gpu-libraries: '{text}' is no list of libraries; write cublaslt, cudnn, both" in done.stderr
