# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""How a launch's iterations are cut: whatever its first dim is, a kernel with enough work feeds all threads, and where
it is cut changes no bit. A dynamic batch is the case in point: its bound says nothing about this run."""
import numpy as np
import pytest

from harness import build, memref, program
from test_contract import contract
from test_generic import generic

rng = np.random.default_rng(5)


def pieces(model):
    """Ranges that the last launch can be cut in."""
    extent, grain = model.launches[-1]
    return -(-extent // grain)


def check_cuts(model, inputs, dims, expected):
    for split in (None, -1, -3, -50, 4, 1000):
        np.testing.assert_array_equal(model.run(*inputs, dims=dims, split=split, threads=0), expected)
    np.testing.assert_array_equal(model.run(*inputs, dims=dims, split=-9, threads=4), expected)


# x[batch, rows, k] w[k, n]: rows static or dynamic; the number of row tiles is that of batch * rows together, or of
# rows times the batch. Tiles have 96 rows and 128 columns.
@pytest.mark.cpu
@pytest.mark.parametrize("rows,value,tiles", [(230, 230, lambda b: b * 3), (16, 16, lambda b: -(-b * 16 // 96)),
                                              ("s", 230, lambda b: -(-b * 230 // 96)), ("s", 7, lambda b: -(-b * 7 // 96)),
                                              (1, 1, lambda b: -(-b // 96))])
def test_contraction_with_a_dynamic_batch(tmp_path, rows, value, tiles):
    k, n = 70, 256
    x, y = ("b", rows, k), ("b", rows, n)
    body = contract("bmk,kn->bmn", ("x", memref(x)), ("w", memref((k, n))), memref(y),
                    epilogue=[("r", memref(y), "bmn"), ("c", memref((n,)), "n")],
                    body="""    %v = arith.addf %acc, %e0 : f32
    %u = arith.addf %v, %e1 : f32
    snug_nn.yield %u : f32""")
    symbols = [("b", 16)] + ([("s", 300)] if rows == "s" else [])
    m = build(tmp_path, program([("x", x, "f32"), ("w", (k, n), "f32"), ("r", y, "f32"), ("c", (n,), "f32")],
                                [("y", y, "f32")], body, symbols))
    w, c = rng.standard_normal((k, n), np.float32), rng.standard_normal(n, np.float32)
    for batch in (1, 2, 13):
        xs, r = rng.standard_normal((batch, value, k), np.float32), rng.standard_normal((batch, value, n), np.float32)
        dims = (batch, value) if rows == "s" else (batch,)
        whole = m.run(xs, w, r, c, dims=dims)
        np.testing.assert_allclose(whole, xs.astype(np.float64) @ w + r + c, rtol=1e-4, atol=1e-4)
        assert m.launches[-1][0] == tiles(batch) * 2
        check_cuts(m, (xs, w, r, c), dims, whole)
        # An element does not depend on what shares its tile.
        alone = m.run(xs[-1:], w, r[-1:], c, dims=(1,) + dims[1:])
        np.testing.assert_array_equal(alone[0], whole[-1])


def test_rows_of_a_slice_are_no_dim_with_the_batch(tmp_path):
    """Rows that are apart in memory: a slice of each batch's rows, of an extent known only at run time."""
    k, n, s = 40, 64, 30
    part = f"memref<?x?x{k}xf32, strided<[{s * k}, {k}, 1], offset: ?>>"
    out = f"memref<?x?x{n}xf32, strided<[{s * n}, {n}, 1], offset: ?>>"
    body = f'''  %b = memref.dim %x, %c0 : {memref(("b", s, k))}
  %q = memref.dim %z, %c0 : {memref(("q",))}
  %xs = memref.subview %x[0, 5, 0] [%b, %q, {k}] [1, 1, 1] : {memref(("b", s, k))} to memref<?x?x{k}xf32, strided<[{s * k}, {k}, 1], offset: {5 * k}>>
  %xc = memref.cast %xs : memref<?x?x{k}xf32, strided<[{s * k}, {k}, 1], offset: {5 * k}>> to {part}
  %ys = memref.subview %y[0, 5, 0] [%b, %q, {n}] [1, 1, 1] : {memref(("b", s, n))} to memref<?x?x{n}xf32, strided<[{s * n}, {n}, 1], offset: {5 * n}>>
  %yc = memref.cast %ys : memref<?x?x{n}xf32, strided<[{s * n}, {n}, 1], offset: {5 * n}>> to {out}
  memref.copy %init, %y : {memref(("b", s, n))} to {memref(("b", s, n))}
''' + contract("bmk,kn->bmn", ("xc", part), ("w", memref((k, n))), out, out_name="yc")
    m = build(tmp_path, program([("x", ("b", s, k), "f32"), ("w", (k, n), "f32"), ("z", ("q",), "f32"),
                                 ("init", ("b", s, n), "f32")], [("y", ("b", s, n), "f32")], body, [("b", 4), ("q", 20)]))
    x, w = rng.standard_normal((3, s, k), np.float32), rng.standard_normal((k, n), np.float32)
    init = rng.standard_normal((3, s, n), np.float32)
    for q in (1, 17):
        expected = init.copy()
        expected[:, 5:5 + q] = x[:, 5:5 + q].astype(np.float64) @ w
        y = m.run(x, w, np.zeros(q, np.float32), init, dims=(3, q))
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
        check_cuts(m, (x, w, np.zeros(q, np.float32), init), (3, q), y)


# x[batch, ...] + c[last], the sum over a dim, a transposition: at batch 1, what is inside feeds the threads.
@pytest.mark.parametrize("shape", [("b", 500, 192), ("b", 2, 90000), ("b", 150000), ("b", "n"), ("b", 3, "n", 64),
                                   (2, 90000), (1, 150000), (1, 8, 9, 1000)])
def test_elementwise_whatever_the_first_dim(tmp_path, shape):
    letters = "ijkl"[:len(shape)]
    maps = [f"({', '.join(letters)}) -> ({', '.join(s)})" for s in (letters, letters[-1], letters)]
    body = generic(maps, ["parallel"] * len(shape), [("x", memref(shape)), ("c", memref(shape[-1:]))], [("y", memref(shape))],
                   "    %s = arith.addf %a0, %a1 : f32\n    linalg.yield %s : f32")
    symbols = [("b", 5)] * ("b" in shape) + [("n", 140000)] * ("n" in shape)
    m = build(tmp_path, program([("x", shape, "f32"), ("c", shape[-1:], "f32")], [("y", shape, "f32")], body, symbols))
    for batch in (1, 3):
        values = {"b": batch, "n": 140000 if shape[-1] == "n" else 1500}
        size = tuple(values.get(s, s) for s in shape)
        x, c = rng.standard_normal(size, np.float32), rng.standard_normal(size[-1:], np.float32)
        dims = tuple(values[n] for n, _ in symbols)
        check_cuts(m, (x, c), dims, x + c)
        assert pieces(m) > 1


def test_sums_and_transpositions_of_a_dynamic_batch(tmp_path):
    s, n = 300, 400
    x, y, r = ("b", s, n), ("b", n, s), ("b", n)
    body = f'''  linalg.transpose ins(%x : {memref(x)}) outs(%y : {memref(y)}) permutation = [0, 2, 1]'''
    m = build(tmp_path, program([("x", x, "f32")], [("y", y, "f32")], body, [("b", 5)]))
    for batch in (1, 3):
        xs = rng.standard_normal((batch, s, n), np.float32)
        check_cuts(m, (xs,), (batch,), xs.transpose(0, 2, 1))
        assert pieces(m) > 1
    add = "    %s = arith.addf %a0, %a1 : f32\n    linalg.yield %s : f32"
    body = f'''  %z = arith.constant 0.0 : f32
  linalg.fill ins(%z : f32) outs(%r : {memref(r)})
''' + generic(["(i, j, k) -> (i, j, k)", "(i, j, k) -> (i, k)"], ["parallel", "reduction", "parallel"],
              [("x", memref(x))], [("r", memref(r))], add)
    body = body.replace(str(n), "2000")
    m = build(tmp_path, program([("x", ("b", s, 2000), "f32")], [("r", ("b", 2000), "f32")], body, [("b", 5)]), "sum")
    for batch in (1, 3):
        xs = rng.standard_normal((batch, s, 2000), np.float32)
        whole = m.run(xs, dims=(batch,))
        np.testing.assert_allclose(whole, xs.sum(1), rtol=1e-4, atol=1e-4)
        check_cuts(m, (xs,), (batch,), whole)
        assert pieces(m) > 1
