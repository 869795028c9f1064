# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Scans and sorts of rows by blocks, on a simulated GPU, against numpy."""
import ml_dtypes
import numpy as np
import pytest

from harness import build, memref, program
from test_coalescing import pytestmark  # noqa: F401

rng = np.random.default_rng(5)
TYPES = {"f32": np.float32, "f16": np.float16, "f64": np.float64, "bf16": ml_dtypes.bfloat16, "i32": np.int32, "i64": np.int64, "i8": np.int8}


def scan(tmp_path, shape, dim, dtype="f32", kind="sum", words=""):
    t = memref(shape, dtype)
    return build(tmp_path, program([("x", shape, dtype)], [("y", shape, dtype)],
                                   f"  snug_nn.scan {kind} ins(%x : {t}) outs(%y : {t}) dim = {dim} {words}"))


def scanned(x, dim, kind="sum", exclusive=False, reverse=False):
    x = np.flip(x, dim) if reverse else x
    y = (np.cumsum if kind == "sum" else np.cumprod)(x, dim, dtype=x.dtype if x.dtype.kind == "i" else np.float64)
    if exclusive and x.shape[dim]:
        first = np.full_like(np.take(y, [0], dim), kind != "sum")
        y = np.concatenate([first, np.take(y, range(y.shape[dim] - 1), dim)], dim)
    return np.flip(y, dim) if reverse else y


@pytest.mark.parametrize("shape,dim", [((1,), 0), ((3000,), 0), ((9000,), 0), ((2, 8205), 1), ((4, 1024), 1), ((3, 2055), 1), ((1500, 5), 0), ((2, 1030, 3), 1), ((2, 0), 1)])
@pytest.mark.parametrize("exclusive,reverse", [(False, False), (True, False), (False, True), (True, True)])
def test_scans(tmp_path, shape, dim, exclusive, reverse):
    words = ", ".join(["exclusive"] * exclusive + ["reverse"] * reverse)
    m = scan(tmp_path, shape, dim, words=f"{{{words}}}" if words else "")
    x = rng.standard_normal(shape).astype(np.float32)
    np.testing.assert_allclose(m.run(x), scanned(x, dim, "sum", exclusive, reverse), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dtype", ["f16", "bf16", "f64", "i8", "i32", "i64"])
@pytest.mark.parametrize("length", [1040, 2051])
def test_types(tmp_path, dtype, length):
    m = scan(tmp_path, (2, length), 1, dtype)
    x = rng.integers(-3, 4, (2, length)).astype(TYPES[dtype])  # sums that are exact in f32
    assert (m.run(x) == np.cumsum(x.astype(np.int64 if dtype[0] == "i" else np.float64), 1).astype(TYPES[dtype])).all()


def test_products_and_what_comes_after_infinity(tmp_path):
    x = (1 + 0.01 * rng.standard_normal((2, 1500))).astype(np.float32)
    x[1, 1200] = np.inf
    np.testing.assert_allclose(scan(tmp_path, x.shape, 1, kind="product").run(x), scanned(x, 1, "product"), rtol=1e-4)


def test_a_scan_may_be_in_place_and_rows_are_the_same_in_slices(tmp_path):
    t, sub = memref((6, 1300)), "memref<1x1300xf32, strided<[1300, 1], offset: ?>>"
    m = build(tmp_path, program([("x", (6, 1300), "f32")], [("y", (6, 1300), "f32"), ("z", (6, 1300), "f32")], f'''
  memref.copy %x, %y : {t} to {t}
  snug_nn.scan sum ins(%y : {t}) outs(%y : {t}) dim = 1
  %n = arith.constant 6 : index
  scf.for %i = %c0 to %n step %c1 {{
    %a = memref.subview %x[%i, 0] [1, 1300] [1, 1] : {t} to {sub}
    %b = memref.subview %z[%i, 0] [1, 1300] [1, 1] : {t} to {sub}
    snug_nn.scan sum ins(%a : {sub}) outs(%b : {sub}) dim = 1
  }}'''))
    x = rng.standard_normal((6, 1300)).astype(np.float32)
    y, z = m.run(x)
    np.testing.assert_allclose(y, np.cumsum(x, 1, dtype=np.float64), atol=1e-4)
    assert (y.view(np.int32) == z.view(np.int32)).all()


def order(x, largest):
    """Of the elements of a row: NaN is the largest number, and of equal ones the first comes first."""
    nan = np.isnan(x) if x.dtype.kind == "f" else np.zeros(len(x), bool)
    return sorted(range(len(x)), key=lambda i: ((not nan[i]) if largest else nan[i], 0 if nan[i] else -x[i] if largest else x[i], i))


def top_k(tmp_path, shape, k, dim, dtype, words=""):
    out = tuple(k if d == dim else n for d, n in enumerate(shape))
    t, v, p = memref(shape, dtype), memref(out, dtype), memref(out, "i64")
    return build(tmp_path, program([("x", shape, dtype)], [("v", out, dtype), ("p", out, "i64")],
                                   f"  snug_nn.top_k ins(%x : {t}) outs(%v, %p : {v}, {p}) dim = {dim} {words}"))


def check_top_k(tmp_path, x, k, dim, dtype, largest, unsigned=False):
    words = ", ".join(["largest"] * largest + ["is_unsigned"] * unsigned)
    v, p = top_k(tmp_path, x.shape, k, dim, dtype, f"{{{words}}}" if words else "").run(x)
    numbers = (x.view(f"u{x.itemsize}") if unsigned else x).astype(object if x.dtype.kind == "i" else np.float64)
    rows = np.moveaxis(numbers, dim, -1).reshape(-1, x.shape[dim])
    want = np.array([order(row if row.dtype != object else row.astype(np.float64) if x.itemsize < 8 else row, largest)[:k]
                     for row in rows], np.int64).reshape(len(rows), k)
    assert (np.moveaxis(p, dim, -1).reshape(len(rows), k) == want).all()
    got = np.moveaxis(v, dim, -1).reshape(len(rows), k)
    taken = np.take_along_axis(np.moveaxis(x, dim, -1).reshape(rows.shape), want, 1)
    assert got.tobytes() == taken.tobytes()  # the elements themselves: -0 and NaN, too


@pytest.mark.parametrize("n,k", [(1, 1), (7, 3), (200, 1), (1000, 50), (1000, 1000), (3000, 2047), (3001, 2500), (2300, 2300), (9000, 8500), (4096, 4096), (300, 0)])
@pytest.mark.parametrize("largest", [True, False])
def test_top_k(tmp_path, n, k, largest):
    x = rng.standard_normal((2, n)).astype(np.float32)
    x[:, ::3] = rng.integers(-2, 3, x[:, ::3].shape)  # many are equal
    x[0, ::17] = np.nan
    x[0, 5::31] = -np.nan
    x[1, ::11] = -0.0
    x[1, 4::23] = np.inf
    x[1, 2::29] = 1e-42
    check_top_k(tmp_path, x, k, 1, "f32", largest)


@pytest.mark.parametrize("dtype", ["f16", "bf16", "f64", "i8", "i32", "i64"])
@pytest.mark.parametrize("k", [20, 700])
def test_types_of_top_k(tmp_path, dtype, k):
    x = rng.integers(-100, 100, (700, 2)).astype(TYPES[dtype])
    if dtype == "i64":
        x[::5] *= 1 << 40
    check_top_k(tmp_path, x, k, 0, dtype, True)


def test_unsigned(tmp_path):
    x = rng.integers(-100, 100, (2, 500)).astype(np.int32)
    check_top_k(tmp_path, x, 40, 1, "i32", False, unsigned=True)


@pytest.mark.parametrize("n,k", [(4000, 30), (4000, 3500), (150, 150)])
def test_extents_of_the_run(tmp_path, n, k):
    t, v, p = memref((2, "n")), memref((2, "k")), memref((2, "k"), "i64")
    m = build(tmp_path, program([("x", (2, "n"), "f32")], [("v", (2, "k"), "f32"), ("p", (2, "k"), "i64")],
                                f"  snug_nn.top_k ins(%x : {t}) outs(%v, %p : {v}, {p}) dim = 1 {{largest}}", [("n", 4000), ("k", 4000)]))
    x = rng.integers(0, 50, (2, n)).astype(np.float32)
    values, places = m.run(x, dims=(n, k))
    want = np.argsort(-x, 1, kind="stable")[:, :k]
    assert (places == want).all() and (values == np.take_along_axis(x, want, 1)).all()
