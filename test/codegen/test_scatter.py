# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Elements combined into a tensor at places that are data, against numpy."""
import ml_dtypes
import numpy as np
import pytest

from harness import TARGET, build, memref, program

rng = np.random.default_rng(11)
TYPES = {"f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16, "f64": np.float64, "i64": np.int64, "i32": np.int32,
         "i16": np.int16, "i8": np.int8, "i1": np.bool_}
FLOAT_OPS = {"add": "arith.addf", "mul": "arith.mulf", "max": "arith.maximumf", "min": "arith.minimumf"}
INTEGER_OPS = {"add": "arith.addi", "mul": "arith.muli", "max": "arith.maxsi", "min": "arith.minsi", "umax": "arith.maxui", "umin": "arith.minui"}


def scatter(indices, updates, data, index_map, place, dtype="f32", op=None, index="i64", uneven=""):
    computed = "f32" if dtype in ("f16", "bf16") else dtype
    body = f"    snug_nn.yield %new : {computed}" if not op else f"    %r = {op} %old, %new : {computed}\n    snug_nn.yield %r : {computed}"
    more = f", uneven = array<i64: {uneven}>" if uneven else ""
    t = memref(data, dtype)
    copied = f"  memref.copy %x, %y : {t} to {t}\n"
    return program([("i", indices, index), ("u", updates, dtype), ("x", data, dtype)], [("y", data, dtype)], copied + f'''
  snug_nn.scatter ins(%i, %u : {memref(indices, index)}, {memref(updates, dtype)}) outs(%y : {t})
      attributes {{index_map = affine_map<{index_map}>, place = affine_map<{place}>{more}}} {{
  ^bb0(%old: {computed}, %new: {computed}):
{body}
  }}''', [(d, 64) for d in ("n", "e") if any(d in shape for shape in (indices, updates, data))])


def combined(op, x, places, updates):
    """One at a time; narrow floats are combined in f32 and rounded each time."""
    x = x.copy()
    wide = np.float32 if x.dtype.itemsize == 2 and x.dtype.kind not in "iu" else x.dtype
    unsigned = np.dtype(f"u{x.dtype.itemsize}") if op in ("umax", "umin") else None
    for place, update in zip(places, updates):
        if unsigned:
            old, new = x[place].view(unsigned), update.view(unsigned)
            x[place] = (max if op == "umax" else min)(old, new).view(x.dtype)
            continue
        old, new = x[place].astype(wide), update.astype(wide)
        with np.errstate(over="ignore"):
            x[place] = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}[op](old, new).astype(x.dtype)
    return x


@pytest.mark.parametrize("dtype,op", [(t, op) for t in TYPES if t != "i1" for op in (INTEGER_OPS if t[0] == "i" else FLOAT_OPS)])
def test_duplicates(tmp_path, dtype, op):
    """Many updates of few elements: none is lost, whatever the type and the number of its bits."""
    name = (INTEGER_OPS if dtype[0] == "i" else FLOAT_OPS)[op]
    m = build(tmp_path, scatter((300, 1), (300,), (7,), "(e) -> (e)", "(e)[i] -> (i)", dtype, name))
    places = rng.integers(-7, 7, 300)
    if op == "mul":  # powers of 2 that stay in the type, and any order gives the same
        updates = rng.choice([1, -1, 2] if dtype[0] != "i" else [1, -1, 3], 300, p=[.6, .38, .02])
    else:
        updates = rng.integers(-3, 4, 300)
    x = rng.integers(1, 5, 7).astype(TYPES[dtype])
    updates = updates.astype(TYPES[dtype])
    want = combined(op, x, places, updates)
    assert np.isfinite(want.astype(np.float64)).all() and (want != x).any()
    np.testing.assert_array_equal(m.run(places[:, None], updates, x), want)


@pytest.mark.parametrize("op", ["arith.ori", "arith.andi"])
def test_booleans(tmp_path, op):
    m = build(tmp_path, scatter((300, 1), (300,), (37,), "(e) -> (e)", "(e)[i] -> (i)", "i1", op))
    places, updates, x = rng.integers(0, 37, 300), rng.random(300) < (.1 if op == "arith.ori" else .9), rng.random(37) < .5
    want = x.copy()
    (np.logical_or if op == "arith.ori" else np.logical_and).at(want, places, updates)
    assert (want != x).any() and want.any() and not want.all()
    np.testing.assert_array_equal(m.run(places[:, None], updates, x), want)


@pytest.mark.parametrize("dtype", list(TYPES))
@pytest.mark.parametrize("width", ["n", 1, 8, 33])
def test_slices_are_moved(tmp_path, dtype, width):
    """Rows at places of their own; some places are outside and some count from the end. The dim of rows is cut over threads."""
    m = build(tmp_path, scatter(("e", 2), ("e", width), (5, 6, width), "(e, n) -> (e)", "(e, n)[i, j] -> (i, j, n)", dtype))
    n, e = 13 if width == "n" else width, 12
    flat = rng.permutation(30)[:e]
    places = np.stack([flat // 6, flat % 6], 1)
    places[3] -= (5, 0)
    places[4] -= (0, 6)
    updates = (rng.standard_normal((e, n)) * 9).astype(TYPES[dtype])
    x = (rng.standard_normal((5, 6, n)) * 9).astype(TYPES[dtype])
    want = x.copy()
    places[0], places[1], places[2] = (5, 0), (0, -7), (2 ** 40, 1)
    for place, update in list(zip(places, updates))[3:]:
        want[tuple(place)] = update
    dims = (n, e) if width == "n" else (e,)
    np.testing.assert_array_equal(m.run(places, updates, x, dims=dims), want)
    if TARGET == "cpu":
        np.testing.assert_array_equal(m.run(places, updates, x, dims=dims, split=-3), want)


@pytest.mark.parametrize("op", [None, "arith.addf"])
def test_an_index_an_element(tmp_path, op):
    """Dims beside the axis are in place; one of them has fewer updates than the destination has elements, and another more."""
    m = build(tmp_path, scatter((4, 3, 7, 5, 1), (4, 3, 7, 5), (4, 9, 6, 5), "(a, b, c, d) -> (a, b, c, d)",
                                "(a, b, c, d)[i] -> (a, i, c, d)", op=op, index="i32", uneven="2"))
    places = np.stack([rng.permutation(9)[:3] for _ in range(4 * 7 * 5)]).reshape(4, 7, 5, 3).transpose(0, 3, 1, 2).astype(np.int32)
    places[1, 1] = 9
    places[2, 0] -= 9
    updates, x = rng.standard_normal((4, 3, 7, 5)).astype(np.float32), rng.standard_normal((4, 9, 6, 5)).astype(np.float32)
    want = x.copy()
    for a, b, c, d in np.ndindex(4, 3, 6, 5):
        if places[a, b, c, d] < 9:
            place = a, places[a, b, c, d], c, d
            want[place] = updates[a, b, c, d] + (want[place] if op else 0)
    np.testing.assert_allclose(m.run(places[..., None], updates, x), want, rtol=1e-6)
    if TARGET == "cpu":
        np.testing.assert_allclose(m.run(places[..., None], updates, x, split=-3), want, rtol=1e-6)


def test_slices_between_dims_with_indices(tmp_path):
    """Dims in place with and without indices of their own, in no order."""
    m = build(tmp_path, scatter((6, 4, 1), (3, 4, 5, 6), (5, 8, 3, 4), "(n, a, m, e) -> (e, a)", "(n, a, m, e)[i] -> (m, i, n, a)", op="arith.addf"))
    places, updates = rng.integers(0, 8, (6, 4)), rng.standard_normal((3, 4, 5, 6)).astype(np.float32)
    x = rng.standard_normal((5, 8, 3, 4)).astype(np.float32)
    want = x.astype(np.float64)
    for n, a, k, e in np.ndindex(3, 4, 5, 6):
        want[k, places[e, a], n, a] += updates[n, a, k, e]
    np.testing.assert_allclose(m.run(places[..., None], updates, x), want, rtol=1e-5, atol=1e-6)
    if TARGET == "cpu":
        np.testing.assert_allclose(m.run(places[..., None], updates, x, split=-4), want, rtol=1e-5, atol=1e-6)


def test_rows_of_many_updates(tmp_path):
    """Messages to nodes: floats are added in some order."""
    m = build(tmp_path, scatter(("e", 1), ("e", 24), (10, 24), "(e, n) -> (e)", "(e, n)[i] -> (i, n)", op="arith.addf"))
    places, updates = rng.integers(0, 10, (60, 1)), rng.standard_normal((60, 24)).astype(np.float32)
    want = np.zeros((10, 24))
    np.add.at(want, places[:, 0], updates.astype(np.float64))
    np.testing.assert_allclose(m.run(places, updates, np.zeros((10, 24)), dims=(60,)), want, rtol=1e-5, atol=1e-5)
    assert len(m.launches) == 2


def test_no_updates_and_no_indices(tmp_path):
    x = np.arange(6, dtype=np.float32)
    m = build(tmp_path, scatter(("e", 1), ("e",), (6,), "(e) -> (e)", "(e)[i] -> (i)", op="arith.addf"))
    np.testing.assert_array_equal(m.run(np.zeros((0, 1)), np.zeros(0), x, dims=(0,)), x)
    m = build(tmp_path, scatter((1, 0), (1, 6), (6,), "(e, n) -> (e)", "(e, n) -> (n)", op="arith.addf"), name="none")
    np.testing.assert_array_equal(m.run(np.zeros((1, 0)), x[None], x), 2 * x)


@pytest.mark.skipif(TARGET == "cpu", reason="of threads at the same time")
def test_two_updates_of_one_element_need_a_reduction(tmp_path):
    """Which one wins is not said: the simulator reports what ONNX forbids."""
    m = build(tmp_path, scatter((300, 1), (300,), (7,), "(e) -> (e)", "(e)[i] -> (i)"))
    with pytest.raises(AssertionError, match="race in scatter_1"):
        m.run(np.zeros((300, 1)), np.ones(300), np.zeros(7))
