# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import numpy as np
import pytest

from harness import build, memref, program

SIZES = [1, 7, 31, 33, 100, 257]
rng = np.random.default_rng(2)


def run_splits(model, *inputs, dims=()):
    whole = model.run(*inputs, dims=dims)
    assert np.array_equal(model.run(*inputs, dims=dims, split=-3), whole, equal_nan=True)
    return whole


@pytest.mark.parametrize("n", SIZES)
def test_softmax(tmp_path, n):
    x = (2, 3, n)
    body = f'''  snug_nn.softmax ins(%x : {memref(x)}) outs(%y : {memref(x)}) {{scale = 0.5 : f32}}'''
    m = build(tmp_path, program([("x", x, "f32")], [("y", x, "f32")], body))
    xs = rng.standard_normal(x, np.float32) * 20
    xs[0, 0, 0] = -np.inf if n > 1 else 1
    xs[1, 1, :] = 90  # exp alone would overflow
    e = np.exp(0.5 * xs.astype(np.float64) - (0.5 * xs).max(-1, keepdims=True))
    np.testing.assert_allclose(run_splits(m, xs), e / e.sum(-1, keepdims=True), rtol=5e-6, atol=1e-38)
    xs[0, 1, :] = -np.inf  # a row masked out whole is NaN in ONNX
    xs[1, 2, 0] = np.nan
    y = run_splits(m, xs)
    assert np.isnan(y[0, 1]).all() and np.isnan(y[1, 2]).all() and not np.isnan(y[1, 1]).any()


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("kind", ["layer", "rms"])
def test_norm_dynamic_strided(tmp_path, n, kind):
    x, v = ("seq", 2 * n), (n,)
    sub = f"memref<?x{n}xf32, strided<[{2 * n}, 1], offset: {n}>>"
    shift = f"shift(%b : {memref(v)})" if kind == "layer" else ""
    body = f'''  %n = memref.dim %x, %c0 : {memref(x)}
  %xs = memref.subview %x[0, {n}] [%n, {n}] [1, 1] : {memref(x)} to {sub}
  %ys = memref.subview %y[0, {n}] [%n, {n}] [1, 1] : {memref(x)} to {sub}
  memref.copy %x, %y : {memref(x)} to {memref(x)}
  snug_nn.norm {kind} ins(%xs : {sub}) scale(%s : {memref(v)}) {shift} outs(%ys : {sub}) {{epsilon = 1.0e-5 : f32}}'''
    m = build(tmp_path, program([("x", x, "f32"), ("s", v, "f32"), ("b", v, "f32")], [("y", x, "f32")], body,
                                [("seq", 20)]))
    xs = rng.standard_normal((9, 2 * n), np.float32) + 3
    s, b = rng.standard_normal(v, np.float32), rng.standard_normal(v, np.float32)
    z = xs[:, n:].astype(np.float64)
    if kind == "layer":
        z = z - z.mean(-1, keepdims=True)
    expected = z / np.sqrt((z * z).mean(-1, keepdims=True) + 1e-5) * s + (b if kind == "layer" else 0)
    got = run_splits(m, xs, s, b, dims=(9,))
    np.testing.assert_allclose(got[:, n:], expected, rtol=2e-5, atol=2e-5)
    assert (got[:, :n] == xs[:, :n]).all()


@pytest.mark.parametrize("data,indices,axis", [((50, 33), (2, 7), 0), ((50,), (), 0), ((4, 9, 5), (3,), 1),
                                               ((4, 9), (31,), 1), ((6, 8), (), 0)])
@pytest.mark.parametrize("dtype", ["i64", "i32"])
def test_gather(tmp_path, data, indices, axis, dtype):
    y = data[:axis] + indices + data[axis + 1:]
    body = f'''  snug_nn.gather ins(%d, %i : {memref(data)}, {memref(indices, dtype)}) outs(%y : {memref(y)}) axis = {axis}'''
    m = build(tmp_path, program([("d", data, "f32"), ("i", indices, dtype)], [("y", y, "f32")], body))
    d = rng.standard_normal(data, np.float32)
    i = rng.integers(-data[axis], data[axis], indices)
    assert (run_splits(m, d, i) == np.take(d, i, axis)).all()
    far = np.full(indices, 1 << 20)
    assert (run_splits(m, d, far) == np.take(d, np.full(indices, data[axis] - 1), axis)).all()
    assert (run_splits(m, d, -far) == np.take(d, np.zeros(indices, int), axis)).all()


@pytest.mark.parametrize("taps", [1, 4, 67])  # 67: more than are held in registers
@pytest.mark.parametrize("data,places,axis", [((50, 33), (7,), 0), ((4, 9, 5), (3,), 1), ((4, 9), (31,), 1), ((4, 9), (2, 3), 1)])
def test_weighted_gather(tmp_path, data, places, axis, taps):
    y, table = data[:axis] + places + data[axis + 1:], places + (taps,)
    body = f'''  snug_nn.gather ins(%d, %i : {memref(data)}, {memref(table, "i64")}) weights(%w : {memref(table)}) outs(%y : {memref(y)}) axis = {axis}'''
    m = build(tmp_path, program([("d", data, "f32"), ("i", table, "i64"), ("w", table, "f32")], [("y", y, "f32")], body))
    d, w = rng.standard_normal(data, np.float32), rng.standard_normal(table, np.float32)
    i = rng.integers(-data[axis], data[axis], table)
    taken = np.take(d.astype(np.float64), i, axis)
    weights = w.reshape((1,) * axis + table + (1,) * (len(data) - axis - 1))
    np.testing.assert_allclose(run_splits(m, d, i, w), (taken * weights).sum(axis + len(places)), rtol=1e-5, atol=1e-5)
