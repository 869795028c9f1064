# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Convolutions that cuDNN does, on what stands in for it: which ones, with what behind them, in which workspace, and the results
against NumPy in f64."""
import itertools
import json
import os
import subprocess

import ml_dtypes
import numpy as np
import onnx
import pytest
import simulator
from account import compile_model, snugc
from test_libraries import Case as Products
from test_models import snug

# Relative L2; of few bits a few units of the last place.
TOLERANCE = {np.float32: 1e-6, np.float16: 1e-3, ml_dtypes.bfloat16: 1e-2}


class Case(Products):
    def weights(self, *shape):
        """(name, values in f64); another one each time."""
        self.seed = getattr(self, "seed", 50) + 1
        values = (np.random.default_rng(self.seed).standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(self.dtype)
        return self.graph.constant(values), values.astype(np.float64)

    def conv(self, x, shape, bias=False, strides=None, pads=None, dilations=None, group=1):
        """A convolution of `x` (name, values) with new filters: (name, values)."""
        rank = len(shape) - 2
        strides, dilations, pads = strides or [1] * rank, dilations or [1] * rank, pads or [0] * 2 * rank
        inputs = [x[0], *([(w := self.weights(*shape))[0]])]
        want = convolve(x[1], w[1], strides, pads, dilations, group)
        if bias:
            b = self.weights(shape[0])
            inputs.append(b[0])
            want = want + b[1].reshape(-1, *[1] * rank)
        return self.graph.node("Conv", *inputs, strides=strides, pads=pads, dilations=dilations, group=group), want

    def relu(self, x):
        return self.graph.node("Relu", x[0]), np.maximum(x[1], 0)

    def add(self, x, y):
        return self.graph.node("Add", x[0], y[0]), x[1] + y[1]


def convolve(x, w, strides, pads, dilations, group):
    rank = len(strides)
    x = np.pad(x, [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:])])
    out = [(x.shape[2 + i] - (w.shape[2 + i] - 1) * dilations[i] - 1) // strides[i] + 1 for i in range(rank)]
    x = x.reshape(x.shape[0], group, -1, *x.shape[2:])
    w = w.reshape(group, -1, *w.shape[1:])
    made = 0
    for tap in itertools.product(*map(range, w.shape[3:])):
        window = tuple(slice(t * d, t * d + (o - 1) * s + 1, s) for t, d, o, s in zip(tap, dilations, out, strides))
        made = made + np.einsum("ngc...,gmc->ngm...", x[(..., *window)], w[(..., *tap)])
    return made.reshape(made.shape[0], -1, *out)


def calls_of(log):
    return [one for one in map(json.loads, log.read_text().splitlines()) if one.get("call") == "cudnnBackendExecute"]


def run(case, folder, dims={}, *words, expected=1, setting="", opset=18, **options):
    """What the library was called with, by a run; (calls, report)."""
    model = case.graph.save(folder / "m.onnx", opset)
    library, _ = compile_model(model, folder, dims, *words)
    report = json.loads((folder / "report.json").read_text())
    assert [one["library"] for one in report["library_kernels"]] == ["cudnn"] * expected
    os.environ["SNUG_FAKE_CUDNN"] = setting
    try:
        gpu = simulator.Gpu(folder / "kernels.mlir")
        before = gpu.stats().live_bytes
        with gpu:
            compiled = snug.load(str(library), **options)  # in which each convolution is called once, too
            with gpu.log(folder / "log"):
                made = compiled(**case.inputs)[case.name]
            assert gpu.stats().peak_bytes - before <= report["memory"]["total"]
    finally:
        del os.environ["SNUG_FAKE_CUDNN"]
    (folder / "log").touch()
    error = np.linalg.norm(made.astype(np.float64) - case.want) / np.linalg.norm(case.want)
    assert made.shape == case.want.shape and error <= TOLERANCE[case.dtype], error
    return calls_of(folder / "log"), report


KINDS = {
    "padded": ((2, 16, 9, 11), (24, 16, 3, 3), dict(pads=[1, 1, 1, 1])),
    "pads differ": ((2, 16, 9, 12), (24, 16, 3, 3), dict(pads=[0, 1, 2, 3], strides=[2, 1])),
    "strides": ((2, 16, 12, 13), (24, 16, 3, 3), dict(strides=[3, 2])),
    "dilations": ((2, 16, 12, 13), (24, 16, 3, 2), dict(dilations=[2, 3], pads=[2, 0, 2, 0])),
    "groups": ((2, 32, 9, 11), (48, 16, 3, 3), dict(group=2, pads=[1, 1, 1, 1])),
    "one dim": ((2, 16, 33), (24, 16, 5), dict(pads=[2, 2], strides=[2])),
    "three dims": ((1, 16, 5, 6, 7), (24, 16, 3, 3, 3), dict(pads=[1, 1, 1, 1, 1, 1])),
    "a row": ((2, 16, 8, 12), (24, 16, 1, 3), dict(pads=[0, 1, 0, 1])),
    "a column": ((2, 16, 8, 12), (24, 16, 3, 1), dict(pads=[1, 0, 1, 0], strides=[1, 2])),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", (np.float32, np.float16))
def test_kinds(kind, dtype, tmp_path):
    x, w, attributes = KINDS[kind]
    case = Case(dtype)
    case.output(*case.conv(case.input(*x), w, **attributes))
    (call,), _ = run(case, tmp_path)
    more = [1] * (4 - len(x))  # over one dim, it is one over two
    assert call["filters"] == [*w[:2], *more, *w[2:]] and call["groups"] == attributes.get("group", 1)
    assert call["made"] == [*case.want.shape[:2], *more, *case.want.shape[2:]]
    assert call["steps"] == more + attributes.get("strides", [1] * (len(x) - 2))
    assert (call["other"], call["bias"], call["relu"]) == (0, 0, 0) and call["engine"] == "split"


def test_bfloat16(tmp_path):
    case = Case(ml_dtypes.bfloat16)
    name, values = case.input(2, 16, 9, 11)
    case.output(*case.relu(case.conv((name, values), (24, 16, 3, 3), bias=True)))
    (call,), _ = run(case, tmp_path, opset=22)
    assert (call["other"], call["bias"], call["relu"]) == (0, 1, 1)


@pytest.mark.parametrize("dtype", (np.float32, np.float16))
@pytest.mark.parametrize("parts", list(itertools.product((False, True), repeat=3)))
def test_what_follows(parts, dtype, tmp_path):
    """A bias, a residual and ReLU, in each combination. Without a bias, what follows is another kernel, where nothing is rounded in between."""
    has_bias, has_other, has_relu = parts
    case = Case(dtype)
    x, other = case.input(2, 32, 9, 11), case.input(2, 24, 7, 9)
    made = case.conv(x, (24, 32, 3, 3), bias=has_bias)
    made = case.add(made, other) if has_other else made
    case.output(*(case.relu(made) if has_relu else made))
    is_whole = has_bias or not (has_other or has_relu)
    calls, _ = run(case, tmp_path, expected=int(is_whole or dtype == np.float32))
    assert [(call["other"], call["bias"], call["relu"], call["beta"]) for call in calls] == \
        ([(has_other, has_bias, has_relu, 0)] if is_whole else [(0, 0, 0, 0)] * (dtype == np.float32))


@pytest.mark.parametrize("dtype", (np.float32, np.float16))
def test_factors(dtype, tmp_path):
    """A factor alone; one of the residual; and one in front of a bias, which is a pass of its own where nothing is rounded in between."""
    for number, (bias, of_sums, expected) in enumerate(((False, True, 1), (True, False, 1), (True, True, int(dtype == np.float32)))):
        case = Case(dtype)
        x, other, half = case.input(2, 32, 9, 11), case.input(2, 24, 7, 9), case.number(0.5)
        made = case.conv(x, (24, 32, 3, 3))
        scaled = (case.graph.node("Mul", made[0], half), made[1] / 2) if of_sums else made
        if bias:
            b = case.weights(24, 1, 1)
            scaled = case.add(scaled, b)
        if not of_sums:
            scaled = case.add(scaled, (case.graph.node("Mul", other[0], half), other[1] / 2))
        case.output(*scaled)
        folder = tmp_path / str(number)
        folder.mkdir()
        calls, _ = run(case, folder, expected=expected)
        assert [(call["alpha"], call["bias"], call["other"]) for call in calls] == \
            [((0.5 if not bias else 1), int(bias and not of_sums), int(not of_sums))] * expected


def test_adding_in_place(tmp_path):
    """A residual lies where the result will be: the convolution adds to it, of f32, and the rest follows."""
    for dtype, expected in ((np.float32, 2), (np.float16, 1)):
        case = Case(dtype)
        first = case.relu(case.conv(case.input(2, 32, 9, 11), (32, 32, 3, 3), bias=True, pads=[1, 1, 1, 1]))
        second = case.conv(first, (32, 32, 3, 3), bias=True, pads=[1, 1, 1, 1])
        case.output(*case.relu(case.add(second, first)))
        folder = tmp_path / str(expected)
        folder.mkdir()
        calls, _ = run(case, folder, expected=expected)
        assert [(call["other"], call["bias"], call["relu"], call["beta"]) for call in calls] == [(0, 1, 1, 0), (0, 0, 0, 1)][:expected]


@pytest.mark.parametrize("dtype", (np.float32, np.float16))
def test_channels_last(dtype, tmp_path):
    """Transposes around a convolution are in how it reads and writes; filters are stored so, too. Where only the result is so, it is generated."""
    for before, expected in ((True, 1), (False, 0)):
        case = Case(dtype)
        name, values = case.input(*((2, 9, 11, 16) if before else (2, 16, 9, 11)))
        x = (case.graph.node("Transpose", name, perm=[0, 3, 1, 2]), values.transpose(0, 3, 1, 2)) if before else (name, values)
        made, want = case.relu(case.conv(x, (24, 16, 3, 3), bias=True))
        case.output(case.graph.node("Transpose", made, perm=[0, 2, 3, 1]), want.transpose(0, 2, 3, 1))
        folder = tmp_path / str(expected)
        folder.mkdir()
        calls, _ = run(case, folder, expected=expected)
        assert [call["made"] for call in calls] == [[2, 24, 7, 9]] * expected


def chain(dims=None):
    """Three convolutions, the last of which adds what the first one made."""
    case = Case()
    x = case.input(2, 16, 24, 24, dims=dims)
    first = case.relu(case.conv(x, (32, 16, 3, 3), bias=True, pads=[1, 1, 1, 1]))
    second = case.relu(case.conv(first, (32, 32, 3, 3), bias=True, pads=[1, 1, 1, 1]))
    third = case.conv(second, (32, 32, 3, 3), bias=True, pads=[1, 1, 1, 1])
    case.output(*case.relu(case.add(third, first)))
    return case


@pytest.mark.parametrize("dims", ({}, {"n": 2, "h": "8..24"}))
@pytest.mark.parametrize("budget", ([], ["--activation-budget", "60%"], ["--activation-budget", "35%"]))
def test_chunks(budget, dims, tmp_path):
    """Slices overlap, as windows need a halo."""
    calls, report = run(chain(("n", 16, "h", 24) if dims else None), tmp_path, dims, *budget, expected=3)
    assert (len(calls) > 3) == bool(budget) == bool(report["chunk_loops"]) and report["exact"] is not bool(budget)
    assert all(call["workspace"] <= report["memory"]["workspace"] for call in calls)


def test_sizes_that_differ(tmp_path):
    """Each size has its own choice, made once: that of the largest when the context is made, which also calls it once."""
    case = chain(("n", 16, "h", 24))
    library, _ = compile_model(case.graph.save(tmp_path / "m.onnx", 18), tmp_path, {"n": "1..2", "h": "8..24"})
    os.environ["SNUG_FAKE_CUDA_LOG"] = str(tmp_path / "log")
    try:
        with simulator.Gpu(tmp_path / "kernels.mlir"):
            compiled = snug.load(str(library))
            for n in (2, 1, 2, 1):
                made = compiled(x0=case.inputs["x0"][:n])[case.name]
                np.testing.assert_allclose(made, case.want[:n], rtol=1e-4, atol=1e-4)
    finally:
        del os.environ["SNUG_FAKE_CUDA_LOG"]
    lines = list(map(json.loads, (tmp_path / "log").read_text().splitlines()))
    chosen = [i for i, line in enumerate(lines) if line.get("call") == "cudnnHeuristic"]
    executed = [i for i, line in enumerate(lines) if line.get("call") == "cudnnBackendExecute"]
    assert len(chosen) == 3 * 2 and len(executed) == 5 * 3
    assert chosen[2] < executed[2] and executed[5] < chosen[3] and chosen[5] < executed[8]
    assert [call["made"][0] for call in calls_of(tmp_path / "log")] == [2] * 6 + [1] * 3 + [2] * 3 + [1] * 3


@pytest.mark.parametrize("budget, engine", (([], "split"), (["--activation-budget", "100%"], "plain")))
def test_workspaces(budget, engine, tmp_path):
    """With room the fastest engine is taken that is precise enough; without it the one that needs none."""
    calls, report = run(chain(), tmp_path, {}, *budget, expected=3)
    assert [call["engine"] for call in calls] == [engine] * 3
    assert report["memory"]["workspace"] == (0 if budget else 32 << 20)


def test_without_tensor_cores(tmp_path):
    """Of 16 bits, the generated kernel is better than what needs no workspace, but no tensor cores either."""
    case = Case(np.float16)
    case.output(*case.conv(case.input(2, 16, 9, 11), (24, 16, 3, 3)))
    calls, report = run(case, tmp_path, {}, "--activation-budget", "0B")
    assert not calls and report["memory"]["arena"] == 0


@pytest.mark.parametrize("setting", ("none", "greedy", "rough"))
@pytest.mark.parametrize("dtype", (np.float32, np.float16))
def test_without_an_engine(setting, dtype, tmp_path):
    """The generated kernel takes over, also where the library offers what does not fit, or what is not precise enough."""
    case = Case(dtype)
    case.output(*case.relu(case.conv(case.input(2, 16, 9, 11), (24, 16, 3, 3), bias=True, strides=[2, 1])))
    calls, _ = run(case, tmp_path, setting=setting)
    assert not calls


def test_graphs(tmp_path):
    case = chain()
    calls, _ = run(case, tmp_path, expected=3, cuda_graph=True)
    assert len(calls) == 3 and '"cuGraphLaunch"' in (tmp_path / "log").read_text()


@pytest.mark.parametrize("shape, filters, attributes", (
    ((2, 3, 9, 11), (24, 3, 3, 3), {}),               # a first layer
    ((2, 32, 9, 11), (32, 1, 3, 3), {"group": 32}),   # depthwise
    ((2, 64, 9, 11), (64, 8, 3, 3), {"group": 8}),    # many groups
    ((2, 20, 9, 11), (24, 20, 3, 3), {}),             # channels that are no multiple of eight
    ((2, 16, 9, 11), (8, 16, 3, 3), {}),              # few filters
))
def test_what_the_library_does_not_have(shape, filters, attributes, tmp_path):
    case = Case()
    case.output(*case.conv(case.input(*shape), filters, **attributes))
    calls, report = run(case, tmp_path, expected=0)
    assert not calls and report["memory"]["workspace"] == 0


def test_a_transposed_convolution_is_none(tmp_path):
    """It is one over the input with zeros in between, and the filters turned around."""
    case = Case()
    (x, values), (w, filters) = case.input(2, 16, 5, 6), case.weights(16, 24, 3, 3)
    spread = np.zeros((2, 16, 9, 11))
    spread[:, :, ::2, ::2] = values
    case.output(case.graph.node("ConvTranspose", x, w, strides=[2, 2]),
                convolve(spread, filters.swapaxes(0, 1)[:, :, ::-1, ::-1], [1, 1], [2] * 4, [1, 1], 1))
    calls, _ = run(case, tmp_path, expected=0)
    assert not calls


def test_filters_that_two_read(tmp_path):
    """They are stored once, in one order: where one of both convolutions is not the library's, none is."""
    for second, expected in (((2, 16, 9, 11), 2), ((1, 16, 3, 3), 0)):
        case = Case()
        w, values = case.weights(24, 16, 3, 3)
        made = []
        for shape in ((2, 16, 9, 11), second):
            x = case.input(*shape)
            one, want = case.graph.node("Conv", x[0], w), convolve(x[1], values, [1, 1], [0] * 4, [1, 1], 1)
            made.append((case.graph.node("GlobalMaxPool", one), want.max(axis=(2, 3), keepdims=True)))
        case.output(*case.add(*made))
        folder = tmp_path / str(expected)
        folder.mkdir()
        calls, _ = run(case, folder, expected=expected)
        assert len(calls) == expected


@pytest.mark.parametrize("libraries, expected", (("cudnn", {"cudnn"}), ("cublaslt", {"cublaslt"}), ("cublaslt,cudnn", {"cublaslt", "cudnn"}), ("none", set())))
def test_choice_of_libraries(libraries, expected, tmp_path):
    case = Case()
    made = case.relu(case.conv(case.input(2, 16, 9, 11), (32, 16, 3, 3), bias=True))
    case.output(*case.conv(made, (24, 32, 1, 1)))
    snugc(case.graph.save(tmp_path / "m.onnx", 18), "--dry-run", "--target", "cuda:sm_90", "--report", tmp_path / "report.json", "--gpu-libraries", libraries)
    report = json.loads((tmp_path / "report.json").read_text())
    assert {one["library"] for one in report["library_kernels"]} == expected and len(report["library_kernels"]) == len(expected)


def test_without_the_library(tmp_path):
    model = chain().graph.save(tmp_path / "m.onnx", 18)
    libraries = tmp_path / "lib"
    libraries.mkdir()
    (libraries / "libcuda.so.1").symlink_to(os.environ["SNUG_FAKE_CUDA"])
    (libraries / "libcudnn.so.9").write_text("none\n" * 100)  # in the way of one that this machine may have
    for words, code in (((), 5), (("--gpu-libraries", "cublaslt"), 0)):
        library, _ = compile_model(model, tmp_path, {}, *words)
        simulator.host_code(tmp_path / "kernels.mlir", tmp_path / "kernels.so")
        done = subprocess.run([os.environ["SNUG_RUN"], library, "--random-inputs", "1"], capture_output=True, text=True,
                              env={**os.environ, "LD_LIBRARY_PATH": str(libraries), "SNUG_SIM_KERNELS": str(tmp_path / "kernels.so")})
        assert done.returncode == code, done.stderr
        if code:
            assert "the model does convolutions with NVIDIA's cuDNN, and that library is not here (" in done.stderr
            assert "libcudnn.so.9" in done.stderr and "the Python package nvidia-cudnn-cu13" in done.stderr
            assert done.stderr.endswith("or compile the model with --gpu-libraries cublaslt or none\n")
