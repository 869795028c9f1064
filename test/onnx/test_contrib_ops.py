# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""ONNX Runtime's own activations, norms, products and positions (domain com.microsoft), against ONNX Runtime, or against
standard ops that say the same where its CPU provider has no kernel.
Each case is compiled with fixed dims, with bounded ones and for the least arena."""
import numpy as np
import pytest
from onnx import TensorProto

from contrib import Model, check, codes, noise


# --- activations and norms ---------------------------------------------------------------------------------------------

def test_activations():
    m = Model()
    x, bias = m.input(noise(2, 5, 16) * 3, ("b", "s", None)), m.constant(noise(16, seed=1))
    found = [m.node("Gelu", x), m.node("BiasGelu", x, bias), m.node("FastGelu", x), m.node("FastGelu", x, bias),
             m.node("QuickGelu", x), m.node("QuickGelu", x, alpha=0.7)]
    check(m, *found)


def test_activations_without_a_kernel_in_onnx_runtime():
    m, twin = Model(), Model()
    x, bias, skip = m.input(noise(2, 5, 16), ("b", "s", None)), m.constant(noise(16, seed=1)), m.input(noise(2, 5, 16, seed=2))
    found = [m.node("BiasSplitGelu", x, bias), m.node("BiasAdd", x, bias, skip)]
    weight = m.constant(noise(16, 12, seed=3))
    found.append(m.node("GemmFastGelu", x, weight))
    twin.inputs, twin.values, twin.constants = m.inputs, m.values, m.constants
    biased = twin.node("Add", x, bias, domain="")
    left, right = twin.node("Split", biased, outputs=2, domain="", axis=-1, num_outputs=2)
    twin.output(twin.node("Mul", left, twin.node("Gelu", right, domain=""), domain=""),
                twin.node("Add", biased, skip, domain=""),
                twin.node("Gelu", twin.node("MatMul", x, weight, domain=""), domain="", approximate="tanh"))
    check(m, *found, twin=twin, ranges={"b": None, "s": None}, modes=("given", "tight"))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_skip_norms(dtype):
    tolerance = 1e-6 if dtype == np.float32 else 1e-3
    m = Model()
    x, skip = (m.input(noise(2, 5, 24, seed=i, dtype=dtype), ("b", "s", None)) for i in range(2))
    scale, shift, bias = (m.constant(noise(24, seed=i, dtype=dtype)) for i in range(3))
    row = m.input(noise(5, 24, dtype=dtype), ("s", None))
    found = [m.node("SkipLayerNormalization", x, skip, scale, shift), m.node("SkipLayerNormalization", x, skip, scale),
             m.node("SkipLayerNormalization", x, row, scale, shift, bias, epsilon=1e-3),
             m.node("SkipSimplifiedLayerNormalization", x, skip, scale, epsilon=1e-5),
             m.node("SimplifiedLayerNormalization", x, scale, domain="", epsilon=1e-5, axis=-1)]
    for op, inputs in (("SkipLayerNormalization", (x, skip, scale, shift, bias)),
                       ("SkipSimplifiedLayerNormalization", (x, skip, scale, bias))):
        found += m.node(op, *inputs, outputs=["y", "", "", "sum"])
    check(m, *found, tolerance=tolerance)


@pytest.mark.parametrize("quantized", [False, True])
def test_embeddings(quantized):
    rng = np.random.default_rng(5)
    ids = rng.integers(0, 30, (3, 7)).astype(np.int32)
    mask = (np.arange(7) < np.array([[7], [4], [1]])).astype(np.int32)
    m = Model()
    words, segments = m.input(ids, ("b", "s")), m.input(ids % 2, ("b", "s"))
    shapes = [(30, 16), (12, 16), (2, 16), (16,), (16,)]
    if quantized:
        tables = [m.constant(codes(*shape, seed=i)) for i, shape in enumerate(shapes)]
        scales = [m.constant(np.float32(0.01 * (i + 1))) for i in range(5)]
        zeros = [m.constant(np.uint8(120 + i)) for i in range(5)]
        for rest in ([tables, scales, zeros], [[t if i != 2 else None for i, t in enumerate(p)] for p in (tables, scales, zeros)]):
            held, unit, zero = rest
            made = m.node("QEmbedLayerNormalization", words, segments if held[2] else None, *held,
                          m.input(mask, ("b", "s")), *unit, *zero, outputs=2)
            m.output(*made, types=(TensorProto.FLOAT, TensorProto.INT32))
        names, m.outputs = m.outputs, []
        check(m, *names)
        return
    tables = [m.constant(noise(*shape, seed=i)) for i, shape in enumerate(shapes)]
    given, places = m.input(mask, ("b", "s")), m.input((ids % 12).astype(np.int32), ("b", "s"))
    found = m.node("EmbedLayerNormalization", words, segments, *tables, given, outputs=3)
    found += m.node("EmbedLayerNormalization", words, None, *tables[:2], None, *tables[3:], outputs=2, epsilon=1e-5)
    found += m.node("EmbedLayerNormalization", words, segments, *tables, None, places, outputs=2)
    check(m, *found, ranges={"s": "3..12"})


def planes(m, x, groups, scale, shift, activation, last):
    def standard(op, *inputs, **attributes):
        return m.node(op, *inputs, domain="", **attributes)
    y = standard("Transpose", x, perm=[0, 3, 1, 2]) if last else x
    y = standard("GroupNormalization", y, scale, shift, num_groups=groups, epsilon=1e-5)
    y = standard("Mul", y, standard("Sigmoid", y)) if activation else y
    return standard("Transpose", y, perm=[0, 2, 3, 1]) if last else y


@pytest.mark.parametrize("activation", [0, 1])
@pytest.mark.parametrize("last", [0, 1])
def test_group_norms(last, activation):
    shape = (2, 5, 6, 8) if last else (2, 8, 5, 6)
    m, twin = Model(), Model()
    x = m.input(noise(*shape), ("b", "h", "w", None) if last else ("b", None, "h", "w"))
    scale, shift, bias = (m.constant(noise(8, seed=i)) for i in range(3))
    skip = m.constant(noise(2, 8, seed=9))
    attributes = dict(groups=4, activation=activation, channels_last=last, epsilon=1e-5)
    found = [m.node("GroupNorm", x, scale, shift, **attributes)]
    found += m.node("SkipGroupNorm", x, scale, shift, skip, bias, outputs=2, **attributes)
    twin.inputs, twin.values, twin.constants = m.inputs, m.values, m.constants[:]
    total = skip_total = noise(2, 8, seed=9) + noise(8, seed=2)
    spread = twin.constant(skip_total.reshape((2, 1, 1, 8) if last else (2, 8, 1, 1)))
    total = twin.node("Add", x, spread, domain="")
    twin.output(planes(twin, x, 4, scale, shift, activation, last), planes(twin, total, 4, scale, shift, activation, last), total)
    check(m, *found, twin=twin, ranges={"b": "2"}, tolerance=1e-5)


# --- products, convolutions, positions -----------------------------------------------------------------------------------

def test_fused_matrix_products():
    m = Model()
    x, w = m.input(noise(2, 5, 16), ("b", "s", None)), m.constant(noise(16, 12))
    found = [m.node("FusedMatMul", x, w, alpha=0.5), m.node("FusedMatMul", x, m.constant(noise(12, 16)), transB=1)]
    a, b = m.input(noise(3, 4, 5, 6)), m.input(noise(3, 4, 5, 6, seed=1))
    found += [m.node("FusedMatMul", a, b, transA=1, alpha=-0.25), m.node("FusedMatMul", a, b, transB=1)]
    batch = m.input(noise(5, 3, 4, 6, seed=2))  # rows first
    found += [m.node("FusedMatMul", batch, b, transBatchA=1, transB=1), m.node("FusedMatMul", b, batch, transBatchB=1, transB=1)]
    found += [m.node("TransposeMatMul", a, b, transA=1)]
    check(m, *found)


@pytest.mark.parametrize("name, numbers", [("Relu", {}), ("Tanh", {}), ("Sigmoid", {}), ("LeakyRelu", {"alpha": 0.2}),
                                           ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}), ("Elu", {"alpha": 0.7})])
def test_fused_gemm(name, numbers):
    m = Model()
    x, w, bias = m.input(noise(5, 16), ("s", None)), m.constant(noise(12, 16)), m.constant(noise(12))
    attributes = {f"activation_{key}": value for key, value in numbers.items()}
    check(m, m.node("FusedGemm", x, w, bias, transB=1, alpha=0.5, beta=2.0, activation=name, **attributes))


@pytest.mark.parametrize("name, numbers", [("Relu", None), ("Tanh", None), ("Sigmoid", None), ("LeakyRelu", [0.2]),
                                           ("Clip", [-0.5, 0.75]), ("HardSigmoid", [0.3, 0.4])])
def test_fused_convolution(name, numbers):
    m = Model()
    x, w, bias = m.input(noise(1, 4, 9, 10), (None, None, "h", "w")), m.constant(noise(6, 4, 3, 3)), m.constant(noise(6))
    attributes = dict(activation=name, pads=[1, 1, 1, 1], **({"activation_params": numbers} if numbers else {}))
    found = [m.node("FusedConv", x, w, bias, **attributes)]
    found.append(m.node("FusedConv", x, w, bias, m.node("Conv", x, w, domain="", pads=[1, 1, 1, 1]), **attributes))
    check(m, *found)


def test_convolution_with_channels_last():
    m, twin = Model(), Model()
    x, w, bias = m.input(noise(1, 9, 10, 4), (None, "h", "w", None)), noise(6, 3, 3, 4), m.constant(noise(6))
    found = m.node("NhwcConv", x, m.constant(w), bias, pads=[1, 1, 1, 1], strides=[2, 1])
    twin.inputs, twin.values, twin.constants = m.inputs, m.values, m.constants[:]
    turned = twin.node("Transpose", x, domain="", perm=[0, 3, 1, 2])
    y = twin.node("Conv", turned, twin.constant(w.transpose(0, 3, 1, 2)), bias, domain="", pads=[1, 1, 1, 1], strides=[2, 1])
    twin.output(twin.node("Transpose", y, domain="", perm=[0, 2, 3, 1]))
    check(m, found, twin=twin)


@pytest.mark.parametrize("interleaved", [0, 1])
def test_rotary_embedding(interleaved):
    m = Model()
    x, heads = m.input(noise(2, 5, 24), ("b", "s", None)), m.input(noise(2, 3, 5, 8), ("b", None, "s", None))
    tables, half = [m.constant(noise(16, 4, seed=i)) for i in (1, 2)], [m.constant(noise(16, 2, seed=i)) for i in (3, 4)]
    places = m.input(np.random.default_rng(0).integers(0, 16, (2, 5)), ("b", "s"))
    first = m.input(np.array([6]))
    found = [m.node("RotaryEmbedding", data, at, *tables, interleaved=interleaved) for data in (x, heads) for at in (places, first)]
    found.append(m.node("RotaryEmbedding", x, places, *half, interleaved=interleaved, num_heads=3, rotary_embedding_dim=4))
    check(m, *found, ranges={"s": "2..9"})
