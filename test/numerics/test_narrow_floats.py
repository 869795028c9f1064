# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""f16 and bf16: a way of storing. A kernel computes in f32 and rounds what it stores, once."""
import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto

import snug
from ops import Graph, noise

# Half of the distance of neighbours, relative: what one rounding may take from an element.
UNIT = {np.float16: 2.0**-11, ml_dtypes.bfloat16: 2.0**-8}
KIND = {np.float16: TensorProto.FLOAT16, ml_dtypes.bfloat16: TensorProto.BFLOAT16}
# "x86-64" has no instructions for them.
MARCHES = ["native", "x86-64"]


def build(graph, tmp_path, flags=(), dims=None, **options):
    model = graph.save(tmp_path / "ops.onnx")
    return snug.compile_model(model, tmp_path / "ops.so", dims or {}, flags=flags, **options)


def outputs(graph, tmp_path):
    got, _ = snug.run_model(tmp_path / "ops.so", graph.values)
    return [got[output.name] for output in graph.outputs]


def hard_cases(dtype, wide):
    """What is hard to round: each number of the type, the middles between neighbours, and what is next to those."""
    finite = np.arange(1 << 16, dtype=np.uint16).view(dtype).astype(wide)
    finite = np.unique(finite[np.isfinite(finite)])
    middles = (finite[1:] + finite[:-1]) / 2
    beyond = np.array([1e30, 3.4e38, 65504, 65519.9, 65520, 1e-30, 1e-45, np.inf, np.nan], wide)
    all_of = [finite, middles, np.nextafter(middles, np.inf), np.nextafter(middles, -np.inf), beyond, -beyond]
    return np.concatenate(all_of).astype(wide)


@pytest.mark.parametrize("march", MARCHES)
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_casts_round_to_nearest_even(dtype, march, tmp_path):
    graph = Graph()
    for wide, kind in ((np.float32, TensorProto.FLOAT), (np.float64, TensorProto.DOUBLE)):
        x = graph.input(f"x{kind}", hard_cases(dtype, wide))
        narrow = graph.node("Cast", x, to=KIND[dtype])
        # There and back is spelled out: the rounding is not left out, though one kernel could do both.
        graph.output(graph.node("Cast", narrow, to=kind), 1, kind)
        if dtype == np.float16:
            graph.output(narrow, 1, KIND[dtype])
    build(graph, tmp_path, ["--march", march])
    got = outputs(graph, tmp_path)
    for x in graph.values.values():
        with np.errstate(over="ignore"):
            want = x.astype(dtype)
        # ml_dtypes rounds doubles twice, by way of f32: a middle that f32 cannot hold tells nothing.
        sure = np.ones(x.shape, bool) if dtype == np.float16 or x.dtype == np.float32 else x == x.astype(np.float32)
        back = got.pop(0)
        assert np.array_equal(back[sure], want.astype(x.dtype)[sure], equal_nan=True)
        if dtype == np.float16:
            stored = got.pop(0)
            assert np.array_equal(stored, want, equal_nan=True)
            assert np.array_equal(np.signbit(stored), np.signbit(want))


def once(x, w, scale, shift, image, filters):
    """Graphs of one kernel each, with what they compute in f64."""
    def softmax(v):
        e = np.exp(v - v.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)

    def norm(v):
        v = v - v.mean(-1, keepdims=True)
        return v / np.sqrt((v * v).mean(-1, keepdims=True) + 1e-5) * scale + shift
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(image, ((0, 0), (0, 0), (1, 1), (1, 1))), (3, 3), (2, 3))
    return [
        (lambda g, n: g.node("MatMul", n["x"], n["w"]), x @ w),
        (lambda g, n: g.node("ReduceMean", g.node("Mul", n["x"], n["x"]), g.constant(np.array([1])), keepdims=0), (x * x).mean(1)),
        (lambda g, n: g.node("ReduceSum", n["x"], g.constant(np.array([0])), keepdims=0), x.sum(0)),
        (lambda g, n: g.node("Softmax", n["x"], axis=-1), softmax(x)),
        (lambda g, n: g.node("LayerNormalization", n["x"], n["scale"], n["shift"], epsilon=1e-5), norm(x)),
        # Three nodes in one kernel, whose intermediate values f16 cannot hold.
        (lambda g, n: g.node("Sqrt", g.node("Exp", g.node("Mul", n["x"], g.constant(np.array(6, g.dtype))))), np.exp(3 * x)),
        (lambda g, n: g.node("Relu", g.node("MatMul", n["x"], n["w"])), np.maximum(x @ w, 0)),
        (lambda g, n: g.node("Conv", n["image"], n["filters"], pads=[1, 1, 1, 1]),
         np.einsum("nchwij,fcij->nfhw", windows, filters)),
    ]


@pytest.mark.parametrize("march", MARCHES)
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_a_kernel_rounds_once(dtype, march, tmp_path):
    graph = Graph()
    graph.dtype = dtype
    made = {"x": noise(61, 700), "w": noise(700, 37), "scale": 1 + noise(700) / 8, "shift": noise(700, seed=1),
            "image": noise(2, 19, 12, 13), "filters": noise(24, 19, 3, 3) / 8}
    made = {name: value.astype(dtype) for name, value in made.items()}
    names = {name: graph.constant(value) if name in ("w", "filters") else
             graph.node("Cast", graph.input(name, value.astype(np.float32)), to=KIND[dtype]) for name, value in made.items()}
    cases = once(*(value.astype(np.float64) for value in made.values()))
    for make, want in cases:
        graph.output(graph.node("Cast", make(graph, names), to=TensorProto.FLOAT), want.ndim)
    build(graph, tmp_path, ["--march", march])
    for (_, want), got in zip(cases, outputs(graph, tmp_path)):
        # The cast at the end is of what is stored where that is another kernel, else of what was computed.
        error = np.abs(got - want)
        assert np.all(error <= 1.01 * UNIT[dtype] * np.abs(want) + 1e-4 * np.abs(want).max())
        rounded = want.astype(dtype).astype(np.float64)
        assert np.linalg.norm(got - want) <= 1.05 * np.linalg.norm(rounded - want) + 1e-6 * np.linalg.norm(want)


def decoder_layer(dtype, kind):
    """A layer as exporters write it: the norm in f32, between casts; the rest as it is stored."""
    graph = Graph()
    size, heads, inner = 128, 4, 256

    def weight(*shape, seed):
        return graph.constant((noise(*shape, seed=seed) / np.sqrt(shape[0])).astype(dtype))

    def number(value, of=dtype):
        return graph.constant(np.array(value, of))

    def cast(x, to):
        return graph.node("Cast", x, to=to) if dtype != np.float32 else x

    def norm(x, seed):
        wide = cast(x, TensorProto.FLOAT)
        mean = graph.node("ReduceMean", graph.node("Pow", wide, number(2, np.float32)), graph.constant(np.array([-1])))
        root = graph.node("Sqrt", graph.node("Add", mean, number(1e-5, np.float32)))
        normal = cast(graph.node("Mul", wide, graph.node("Reciprocal", root)), kind)
        return graph.node("Mul", normal, graph.constant((1 + noise(size, seed=seed) / 8).astype(dtype)))

    def split(x, permutation):
        whole = graph.node("Reshape", x, graph.constant(np.array([0, 0, heads, size // heads])))
        return graph.node("Transpose", whole, perm=permutation)
    x = cast(graph.input("x", noise(1, 50, size), (1, "s", size)), kind)
    y = norm(x, 1)
    q, k, v = (graph.node("MatMul", y, weight(size, size, seed=seed)) for seed in (2, 3, 4))
    scores = graph.node("MatMul", split(q, [0, 2, 1, 3]), split(k, [0, 2, 3, 1]))
    scores = graph.node("Mul", scores, number((size // heads) ** -0.5))
    hidden = np.where(np.tri(50, dtype=bool), 0, -65504).astype(dtype)  # the least number of f16
    weights = graph.node("Softmax", graph.node("Add", scores, graph.constant(hidden)))
    values = graph.node("Transpose", graph.node("MatMul", weights, split(v, [0, 2, 1, 3])), perm=[0, 2, 1, 3])
    joined = graph.node("Reshape", values, graph.constant(np.array([0, 0, size])))
    x = graph.node("Add", x, graph.node("MatMul", joined, weight(size, size, seed=5)))
    y = norm(x, 6)
    gate, up = (graph.node("MatMul", y, weight(size, inner, seed=seed)) for seed in (7, 8))
    gated = graph.node("Mul", graph.node("Mul", gate, graph.node("Sigmoid", gate)), up)
    x = graph.node("Add", x, graph.node("MatMul", gated, weight(inner, size, seed=9)))
    graph.output(cast(x, TensorProto.FLOAT), 3)
    return graph


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_layer(dtype, tmp_path):
    exact = decoder_layer(np.float32, None)
    (tmp_path / "f32").mkdir()
    want = snug.reference(exact.save(tmp_path / "f32" / "ops.onnx"), exact.values)[exact.outputs[0].name]
    _, wide = build(exact, tmp_path / "f32", dims={"s": 50})
    graph = decoder_layer(dtype, KIND[dtype])
    _, report = build(graph, tmp_path, dims={"s": 50})
    unchunked, = outputs(graph, tmp_path)
    # Of 14 values that are stored, each is rounded; a few times as much as one rounding is what that may add up to.
    bound = 4 * UNIT[dtype]
    assert snug.relative_error(unchunked, want) <= bound
    if dtype == np.float16:  # ONNX Runtime has no bf16 on CPUs
        other = snug.reference(tmp_path / "ops.onnx", graph.values)[graph.outputs[0].name]
        assert snug.relative_error(unchunked, other) <= bound
    # Two bytes an element instead of four. Only in f32 can the residual stream be in the output, which is f32.
    residual = 50 * 128 * 2
    assert report["memory"]["arena"] - residual <= wide["memory"]["arena"] / 2
    code, tight = build(graph, tmp_path, dims={"s": 50}, activation_budget=1024, allowed=(snug.CANNOT_FIT,))
    build(graph, tmp_path, dims={"s": 50}, activation_budget=tight["budget"]["least_reachable"])
    least, = outputs(graph, tmp_path)
    assert np.array_equal(least, unchunked)
