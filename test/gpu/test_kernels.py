# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Kernels on the simulator against numpy: none of them has a fault."""
import numpy as np
import pytest
from harness import aligned, launch, source

random = np.random.default_rng(0)


def normal(*shape):
    return random.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("count", [1, 1024, 5000, 4099])
def test_elementwise(count):
    x, b, y = aligned(normal(count)), aligned(normal(count)), aligned(np.zeros(count, np.float32))
    assert launch(source("elementwise"), "elementwise", [-(-count // 1024)], [256], [x, b, y, count]) == []
    wide = x.astype(np.float64)
    np.testing.assert_allclose(y, wide / (1 + np.exp(-wide)) + b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kernel", ["tree", "shuffles"])
@pytest.mark.parametrize("count", [256, 1000, 1])
def test_sums_of_blocks(kernel, count):
    blocks = -(-count // 256)
    x, y = aligned(normal(count)), aligned(np.zeros(blocks, np.float32))
    assert launch(source("reduce"), kernel, [blocks], [256], [x, y, count]) == []
    parts = np.resize(np.append(x, np.zeros(blocks * 256 - count)), (blocks, 256)).astype(np.float64)
    np.testing.assert_allclose(y, parts.sum(1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rows, columns", [(64, 32), (100, 70), (1, 33)])
def test_transpose(rows, columns):
    x, y = aligned(normal(rows, columns)), aligned(np.zeros((columns, rows), np.float32))
    grid = [-(-columns // 32), -(-rows // 32)]
    assert launch(source("transpose"), "transpose", grid, [32, 8], [x, y, rows, columns]) == []
    np.testing.assert_array_equal(y, x.T)


def test_transpose_of_bytes_through_dynamic_shared_memory():
    x = aligned(random.integers(0, 256, (70, 45)).astype(np.uint8))
    y = aligned(np.zeros((45, 70), np.uint8))
    assert launch(source("transpose"), "transpose_bytes", [2, 3], [32, 32], [x, y, 70, 45], dynamic=32 * 33) == []
    np.testing.assert_array_equal(y, x.T)


@pytest.mark.parametrize("columns", [4, 1000, 1024])
def test_softmax(columns):
    x, y = aligned(normal(5, columns)), aligned(np.zeros((5, columns), np.float32))
    assert launch(source("softmax"), "softmax", [5], [256], [x, y, 5, columns]) == []
    e = np.exp(x.astype(np.float64) - x.max(1, keepdims=True))
    np.testing.assert_allclose(y, e / e.sum(1, keepdims=True), rtol=1e-5, atol=1e-7)


def to_bf16(x):
    """The bits of bf16, rounded to nearest even."""
    bits = x.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bf16(x):
    return (x.astype(np.uint32) << 16).view(np.float32)


@pytest.mark.parametrize("element", ["f16", "bf16"])
@pytest.mark.parametrize("m, n, k", [(16, 8, 16), (32, 24, 80)])
def test_matmul(element, m, n, k):
    narrow, wide = (to_bf16, from_bf16) if element == "bf16" else (lambda x: x.astype(np.float16), lambda x: x)
    a, b, c = aligned(narrow(normal(m, k))), aligned(narrow(normal(k, n))), aligned(np.zeros((m, n), np.float32))
    text = source("matmul").replace("ELEMENT", element)
    assert launch(text, "matmul", [n // 8, m // 16], [32], [a, b, c, m, n, k]) == []
    np.testing.assert_allclose(c, wide(a).astype(np.float64) @ wide(b).astype(np.float64), rtol=1e-5, atol=1e-5)


def test_matmul_tf32():
    m, n, k = 32, 16, 24
    a, b, c = aligned(normal(m, k)), aligned(normal(k, n)), aligned(np.zeros((m, n), np.float32))
    text = source("matmul").replace("ELEMENT", "f16")
    assert launch(text, "matmul_tf32", [n // 8, m // 16], [32], [a, b, c, m, n, k]) == []
    cut = lambda x: (x.view(np.uint32) & 0xFFFFE000).view(np.float32).astype(np.float64) # 10 bits of the fraction
    np.testing.assert_allclose(c, cut(a) @ cut(b), rtol=1e-5, atol=1e-5)


def test_atomics():
    x, counts = aligned(random.integers(0, 256, 1000).astype(np.uint8)), aligned(np.zeros(256, np.int32))
    assert launch(source("histogram"), "histogram", [16], [64], [x, counts, 1000]) == []
    np.testing.assert_array_equal(counts, np.bincount(x, minlength=256))
    y = aligned(random.integers(-1000, 1000, 1000).astype(np.int32))
    most, wide = aligned(np.full(1, -5000, np.int32)), aligned(np.full(1, -np.inf, np.float32))
    assert launch(source("histogram"), "largest", [16], [64], [y, most, wide, 1000]) == []
    assert most[0] == y.max() and wide[0] == y.max()
