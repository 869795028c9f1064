# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""ONNX Runtime's own ops of quantized values (domain com.microsoft), against ONNX Runtime.
Each case is compiled with fixed dims, with bounded ones and for the least arena."""
import numpy as np
import pytest
from onnx import TensorProto

from contrib import Model, check, codes, compare, kind, noise

BYTES = [np.uint8, np.int8]


def units(m, dtype, *pairs):
    return [m.constant(np.asarray(value, kind)) for scale, zero in pairs for value, kind in ((scale, np.float32), (zero, dtype))]


@pytest.mark.parametrize("dtype", BYTES)
def test_quantized_elementwise_ops(dtype):
    m, middle = Model(), 128 if dtype == np.uint8 else 0
    a, b = m.input(codes(2, 3, 5, dtype=dtype, seed=1), ("b", "s", None)), m.input(codes(5, dtype=dtype, seed=2))
    one = units(m, dtype, (0.02, middle + 3))
    two, out = units(m, dtype, (0.05, middle - 7)), units(m, dtype, (0.06, middle + 9))
    found = [m.node(op, a, *one, b, *two, *out) for op in ("QLinearAdd", "QLinearMul")]
    found += [m.node("QLinearSigmoid", a, *one, *units(m, dtype, (1 / 256, middle - 128))),
              m.node("QLinearLeakyRelu", a, *one, *out, alpha=0.2),
              m.node("QLinearConcat", *out, a, *one, a, *two, axis=1),
              m.node("QLinearSoftmax", a, *one, *units(m, dtype, (1 / 256, middle - 128)), axis=-1, opset=13),
              m.node("QLinearWhere", m.constant(np.array([True, False, True, True, False])), a, *one, b, *two, *out)]
    check(m, *found, tolerance=1, types=[kind(np.zeros(1, dtype))] * len(found), modes=("given", "tight", "dynamic"))


@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("dtype", BYTES)
def test_quantized_pools(dtype, last):
    m, middle = Model(), 128 if dtype == np.uint8 else 0
    x = m.input(codes(2, 7, 8, 3, dtype=dtype) if last else codes(2, 3, 7, 8, dtype=dtype))
    one, out = units(m, dtype, (0.02, middle + 3)), units(m, dtype, (0.015, middle - 5))
    found = [m.node("QLinearAveragePool", x, *one, *out, kernel_shape=[3, 3], strides=[2, 1], pads=[1, 1, 1, 1], channels_last=last),
             m.node("QLinearGlobalAveragePool", x, *one, *out, channels_last=last)]
    check(m, *found, tolerance=1)


@pytest.mark.parametrize("last", [0, 1])
def test_quantized_convolution(last):
    m = Model()
    x = m.input(codes(1, 7, 8, 4) if last else codes(1, 4, 7, 8))
    w = m.constant(codes(6, 4, 3, 3, dtype=np.int8))
    scales = m.constant(np.random.default_rng(0).uniform(0.002, 0.01, 6).astype(np.float32))
    bias = m.constant(np.random.default_rng(1).integers(-2000, 2000, 6).astype(np.int32))
    check(m, m.node("QLinearConv", x, *units(m, np.uint8, (0.02, 131)), w, scales, m.constant(np.zeros(6, np.int8)),
                    *units(m, np.uint8, (0.05, 120)), bias, pads=[1, 1, 1, 1], channels_last=last), tolerance=1)


@pytest.mark.parametrize("turned", [0, 1])
def test_quantized_gemm(turned):
    m = Model()
    a, b = m.input(codes(5, 16), ("s", None)), m.constant(codes(12, 16, dtype=np.int8) if turned else codes(16, 12, dtype=np.int8))
    bias = m.constant(np.random.default_rng(1).integers(-2000, 2000, 12).astype(np.int32))
    scales = m.constant(np.random.default_rng(0).uniform(0.002, 0.01, 12).astype(np.float32))
    inputs = [a, *units(m, np.uint8, (0.02, 131)), b, scales, m.constant(np.zeros(12, np.int8)), bias]
    found = [m.node("QGemm", *inputs, transB=turned, alpha=0.5), m.node("QGemm", *inputs, *units(m, np.uint8, (0.1, 120)), transB=turned)]
    m.output(*found, types=(TensorProto.FLOAT, TensorProto.UINT8))
    want, got = m.reference(), m.run()
    compare(got[found[0]], want[found[0]], 1e-6)
    compare(got[found[1]], want[found[1]], 1)


@pytest.mark.parametrize("dtype", BYTES)
def test_products_of_dynamically_quantized_inputs(dtype):
    m = Model()
    x, w = m.input(noise(2, 5, 16), ("b", "s", None)), m.constant(codes(16, 12, dtype=dtype))
    scale, zero, bias = (m.constant(v) for v in (np.full(12, 0.01, np.float32), np.full(12, 3, dtype), noise(12)))
    one, single = m.constant(np.float32(0.02)), m.constant(dtype(5))
    found = [m.node("DynamicQuantizeMatMul", x, w, one, single), m.node("DynamicQuantizeMatMul", x, w, scale, zero, bias),
             m.node("DynamicQuantizeMatMul", x, w, one)]
    a = m.input(codes(2, 5, 16, dtype=np.uint8, seed=4), ("b", "s", None))
    found += [m.node("MatMulIntegerToFloat", a, w, one, scale, m.constant(np.uint8(120)), zero, bias),
              m.node("MatMulIntegerToFloat", a, w, one, one)]
    check(m, *found, tolerance=1e-5)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.uint8, np.int8])
def test_quantize_and_dequantize(dtype):
    m = Model()
    x, info = m.input(noise(2, 3, 5) * 40, ("b", None, "s")), np.iinfo(dtype)
    zero = (info.min + info.max) // 2
    q = m.node("QuantizeLinear", x, *units(m, dtype, (0.02 if dtype(0).itemsize == 2 else 0.9, zero)))
    rows = [m.constant(np.array([0.5, 0.25, 1], np.float32)), m.constant(np.array([zero, zero + 1, zero - 1], dtype))]
    other = m.node("QuantizeLinear", x, *rows, axis=1)
    found = [q, other, m.node("DequantizeLinear", other, *rows, axis=1), m.node("DequantizeLinear", q, *units(m, dtype, (0.02, zero)))]
    number = kind(np.zeros(1, dtype))
    check(m, *found, types=[number, number, TensorProto.FLOAT, TensorProto.FLOAT])


@pytest.mark.parametrize("bits, block, rows, zeros", [
    (bits, block, rows, zeros) for bits, block, rows in [(4, 16, 48), (4, 32, 80), (8, 32, 80), (2, 16, 48)]
    for zeros in ["none", "packed"] + ["floats"] * (bits != 8)])  # for 8 bits ONNX Runtime has no kernel
def test_products_with_weights_of_few_bits(bits, block, rows, zeros):
    m, columns = Model(), 24
    blocks = -(-rows // block)
    x = m.input(noise(2, 5, rows), ("b", "s", None))
    w = m.constant(codes(columns, blocks, block * bits // 8))
    scales = m.constant(np.random.default_rng(1).uniform(0.01, 0.1, (columns, blocks)).astype(np.float32))
    zero = {"none": None, "packed": codes(columns, -(-blocks * bits // 8), seed=2),
            "floats": np.random.default_rng(2).uniform(0, 1 << bits, (columns, blocks)).astype(np.float32)}[zeros]
    attributes = dict(K=rows, N=columns, bits=bits, block_size=block)
    zero = zero if zero is None else m.constant(zero)
    found = [m.node("MatMulNBits", x, w, scales, zero, **attributes)]
    if zeros != "floats":  # ONNX Runtime has no kernel for both
        found.append(m.node("MatMulNBits", x, w, scales, zero, None, m.constant(noise(columns)), **attributes))
    check(m, *found, tolerance=1e-5)


def test_products_with_groups_of_rows():
    m, rows, columns, block = Model(), 48, 8, 16
    x, w = m.input(noise(5, rows), ("s", None)), m.constant(codes(columns, 3, 8))
    scales = m.constant(np.random.default_rng(1).uniform(0.01, 0.1, (columns, 3)).astype(np.float32))
    groups = m.constant(np.random.default_rng(2).integers(0, 3, rows).astype(np.int32))
    check(m, m.node("MatMulNBits", x, w, scales, None, groups, K=rows, N=columns, bits=4, block_size=block), tolerance=1e-5)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("zeros", [False, True])
def test_rows_of_quantized_tables(bits, zeros):
    m, table, width, block = Model(), 20, 64, 16
    rows = m.input(np.random.default_rng(0).integers(0, table, (2, 5)), ("b", "s"))
    data = m.constant(codes(table, width * bits // 8))
    scales = m.constant(np.random.default_rng(1).uniform(0.01, 0.1, (table, width // block)).astype(np.float32))
    zero = m.constant(codes(table, width // block * bits // 8, seed=3)) if zeros else None
    check(m, m.node("GatherBlockQuantized", data, rows, scales, zero, bits=bits, block_size=block, gather_axis=0, quantize_axis=1))


def test_dynamically_quantized_lstm():
    m, hidden, width = Model(), 8, 6
    x = m.input(noise(7, 2, width))
    w, r = (m.constant(codes(1, n, 4 * hidden, dtype=np.int8, seed=n)) for n in (width, hidden))
    unit, zero = m.constant(np.full((1, 4 * hidden), 0.008, np.float32)), m.constant(np.zeros((1, 4 * hidden), np.int8))
    bias = m.constant(noise(1, 8 * hidden))
    found = m.node("DynamicQuantizeLSTM", x, w, r, bias, None, None, None, None, unit, zero, unit, zero, outputs=3, hidden_size=hidden)
    check(m, *found, tolerance=2e-2)  # ONNX Runtime rounds inputs and states to 8 bits
