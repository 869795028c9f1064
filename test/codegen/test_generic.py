# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import numpy as np
import pytest

from harness import build, memref, program

SIZES = [1, 7, 31, 33, 100, 257]
rng = np.random.default_rng(0)


def generic(maps, iterators, ins, outs, body):
    maps = ", ".join(f"affine_map<{m}>" for m in maps)
    iterators = ", ".join(f'"{i}"' for i in iterators)
    names = lambda values: ", ".join(f"%{n}" for n, _ in values) + " : " + ", ".join(t for _, t in values)
    elements = [t[len("memref<"):-1].split(",")[0].split("x")[-1] for _, t in ins + outs]
    args = ", ".join(f"%a{i}: {e}" for i, e in enumerate(elements))
    return f'''  linalg.generic {{indexing_maps = [{maps}], iterator_types = [{iterators}]}}
    ins({names(ins)}) outs({names(outs)}) {{
  ^bb0({args}):
{body}
  }}'''


@pytest.mark.parametrize("n", SIZES)
def test_elementwise_broadcast(tmp_path, n):
    x, b, y = (3, n), (n,), (3, n)
    body = generic(["(i, j) -> (i, j)", "(i, j) -> (j)", "(i, j) -> (i, j)"], ["parallel"] * 2,
                   [("x", memref(x)), ("b", memref(b))], [("y", memref(y))],
                   "    %s = arith.addf %a0, %a1 : f32\n    linalg.yield %s : f32")
    m = build(tmp_path, program([("x", x, "f32"), ("b", b, "f32")], [("y", y, "f32")], body))
    xs, bs = rng.standard_normal(x, np.float32), rng.standard_normal(b, np.float32)
    assert (m.run(xs, bs) == xs + bs).all()
    assert (m.run(xs, bs, split=-3) == xs + bs).all()


def test_dynamic_flat_with_captures_and_index(tmp_path):
    x = ("batch", "seq + 1", 5)
    t = memref(x)
    flat = generic(["(i, j, k) -> (i, j, k)"] * 2, ["parallel"] * 3, [("x", t)], [("t", t)],
                   "    %s = arith.mulf %a0, %half : f32\n    linalg.yield %s : f32")
    index = generic(["(i, j, k) -> (i, j, k)"] * 2, ["parallel"] * 3, [("t", t)], [("y", t)], '''
    %i = linalg.index 1 : index
    %q = arith.addi %i, %n : index
    %w = arith.index_cast %q : index to i64
    %f = arith.sitofp %w : i64 to f32
    %s = arith.addf %a0, %f : f32
    linalg.yield %s : f32''')
    body = f'''  %half = arith.constant 0.5 : f32
  %b = memref.dim %x, %c0 : {t}
  %n = memref.dim %x, %c1 : {t}
  %c64 = arith.constant 64 : index
  %t = memref.view %arena[%c64][%b, %n] : memref<65536xi8> to {t}
{flat}
{index}'''
    m = build(tmp_path, program([("x", x, "f32")], [("y", x, "f32")], body, [("batch", 8), ("seq", 64)], arena=65536))
    for batch, seq in [(1, 1), (2, 30), (8, 64)]:
        xs = rng.standard_normal((batch, seq + 1, 5), np.float32)
        expected = xs * np.float32(0.5) + (np.arange(seq + 1) + seq + 1).astype(np.float32)[None, :, None]
        for split in (None, -3):
            assert (m.run(xs, dims=(batch, seq), split=split) == expected).all()
    extents = m.header.inputs[0].extents
    assert (extents[0].symbol, extents[0].scale, extents[0].offset) == (0, 1, 0)
    assert (extents[1].symbol, extents[1].scale, extents[1].offset, extents[1].text) == (1, 1, 1, b"seq + 1")
    assert (extents[2].symbol, extents[2].offset) == (-1, 5)
    assert m.header.memory.inputs == 8 * 65 * 5 * 4 and m.header.memory.arena == 65536


@pytest.mark.parametrize("n", SIZES)
def test_sums_over_inner_and_outer_dim(tmp_path, n):
    x = (37, n)
    add = "    %s = arith.addf %a0, %a1 : f32\n    linalg.yield %s : f32"
    body = f'''  %z = arith.constant 0.0 : f32
  linalg.fill ins(%z : f32) outs(%r : {memref((37,))})
  linalg.fill ins(%z : f32) outs(%c : {memref((n,))})
''' + generic(["(i, j) -> (i, j)", "(i, j) -> (i)"], ["parallel", "reduction"], [("x", memref(x))],
              [("r", memref((37,)))], add) + "\n" + \
        generic(["(i, j) -> (i, j)", "(i, j) -> (j)"], ["reduction", "parallel"], [("x", memref(x))],
                [("c", memref((n,)))], add)
    m = build(tmp_path, program([("x", x, "f32")], [("r", (37,), "f32"), ("c", (n,), "f32")], body))
    xs = rng.standard_normal(x, np.float32)
    for split in (None, -4):
        r, c = m.run(xs, split=split)
        np.testing.assert_allclose(r, xs.sum(1), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(c, xs.sum(0), rtol=1e-5, atol=1e-5)


def test_strided_views_transpose_copy_and_chunk_loop(tmp_path):
    x, y, z = (24, 40), (40, 24), (24, 10)
    sub = "memref<24x10xf32, strided<[40, 1], offset: 7>>"
    row = "memref<?x40xf32, strided<[40, 1], offset: ?>>"
    body = f'''  linalg.transpose ins(%x : {memref(x)}) outs(%y : {memref(y)}) permutation = [1, 0]
  %s = memref.subview %x[0, 7] [24, 10] [1, 1] : {memref(x)} to {sub}
  memref.copy %s, %z : {sub} to {memref(z)}
  %c5 = arith.constant 5 : index
  %c24 = arith.constant 24 : index
  scf.for %i = %c0 to %c24 step %c5 {{
    %n = affine.min affine_map<(i) -> (5, 24 - i)>(%i)
    %a = memref.subview %x[%i, 0] [%n, 40] [1, 1] : {memref(x)} to {row}
    %b = memref.subview %w[%i, 0] [%n, 40] [1, 1] : {memref(x)} to {row}
''' + generic(["(i, j) -> (i, j)"] * 2, ["parallel"] * 2, [("a", row)], [("b", row)],
              "    %s1 = arith.addf %a0, %a0 : f32\n    linalg.yield %s1 : f32").replace("^bb0(%a0: f32, %a1: f32)", "^bb0(%a0: f32, %a1: f32)") + "\n  }"
    m = build(tmp_path, program([("x", x, "f32")], [("y", y, "f32"), ("z", z, "f32"), ("w", x, "f32")], body))
    xs = rng.standard_normal(x, np.float32)
    y_, z_, w_ = m.run(xs)
    assert (y_ == xs.T).all() and (z_ == xs[:, 7:17]).all() and (w_ == xs + xs).all()
    assert len(m.launches) == 2 + 5


def test_masks_are_bytes(tmp_path):
    x = (3, 21)
    body = generic(["(i, j) -> (i, j)"] * 3, ["parallel"] * 2, [("x", memref(x)), ("m", memref(x, "i1"))],
                   [("y", memref(x))], '''    %z = arith.constant 0.0 : f32
    %s = arith.select %a1, %a0, %z : f32
    linalg.yield %s : f32''') + "\n" + \
        generic(["(i, j) -> (i, j)"] * 2, ["parallel"] * 2, [("x", memref(x))], [("p", memref(x, "i1"))],
                '''    %z = arith.constant 0.0 : f32
    %s = arith.cmpf ogt, %a0, %z : f32
    linalg.yield %s : i1''')
    m = build(tmp_path, program([("x", x, "f32"), ("m", x, "i1")], [("y", x, "f32"), ("p", x, "i1")], body))
    xs, ms = rng.standard_normal(x, np.float32), rng.integers(0, 2, x).astype(bool)
    y, p = m.run(xs, ms)
    assert (y == np.where(ms, xs, 0)).all()
    assert (p.view(np.uint8) == (xs > 0).astype(np.uint8)).all()


@pytest.mark.cpu
def test_in_place_shares_a_pointer_and_vectorizes(tmp_path):
    t = memref((4, 100))
    body = f'''  %t = memref.view %arena[%c0][] : memref<1600xi8> to {t}
  %u = memref.view %arena[%c0][] : memref<1600xi8> to memref<400xf32>
  %v = memref.expand_shape %u [[0, 1]] output_shape [4, 100] : memref<400xf32> into {t}
  memref.copy %x, %t : {t} to {t}
''' + generic(["(i, j) -> (i, j)"] * 2, ["parallel"] * 2, [("t", t)], [("v", t)],
              "    %s = arith.addf %a0, %a0 : f32\n    linalg.yield %s : f32") + f"\n  memref.copy %v, %y : {t} to {t}"
    m = build(tmp_path, program([("x", (4, 100), "f32")], [("y", (4, 100), "f32")], body, arena=1600), dump=True)
    xs = rng.standard_normal((4, 100), np.float32)
    assert (m.run(xs) == 2 * xs).all()
    plan = (tmp_path / "plan.mlir").read_text()
    assert m.report["launches"] == 3 and m.report["kernels"] == 2  # the two copies are one kernel
    assert any(line.count("memref<f32>") == 1 for line in plan.splitlines() if "func.func private" in line)
    assert "<16 x float>" in (tmp_path / "kernels0.ll").read_text() or "<8 x float>" in (
        tmp_path / "kernels0.ll").read_text()


@pytest.mark.parametrize("shape,permutation", [((33, 100), (1, 0)), ((257, 31), (1, 0)), ((3, 40, 50), (0, 2, 1)),
                                               ((40, 3, 50), (2, 1, 0)), ((20, 17, 64), (1, 2, 0)),
                                               ((64, 48), (1, 0)), ((5, 4, 32, 32), (1, 0, 3, 2)),
                                               ((40, 50, 8), (2, 0, 1)), ((50, 2), (1, 0)), ((3, 1, 40), (2, 1, 0)),
                                               ((20, 40, 24), (2, 1, 0)), ((17, 20, 40, 24), (0, 3, 2, 1))])
def test_transpositions(tmp_path, shape, permutation):
    y = tuple(shape[p] for p in permutation)
    letters = "ijkl"[:len(shape)]
    source = [None] * len(shape)
    for result, p in enumerate(permutation):
        source[p] = letters[result]
    to_map = lambda s: f"({', '.join(letters)}) -> ({', '.join(s)})"
    body = f"  linalg.transpose ins(%x : {memref(shape)}) outs(%y : {memref(y)}) permutation = [{', '.join(map(str, permutation))}]\n"
    body += generic([to_map(source), to_map(letters), to_map(letters)], ["parallel"] * len(shape),
                    [("x", memref(shape)), ("r", memref(y))], [("z", memref(y))],
                    "    %s = arith.addf %a0, %a1 : f32\n    linalg.yield %s : f32")
    m = build(tmp_path, program([("x", shape, "f32"), ("r", y, "f32")], [("y", y, "f32"), ("z", y, "f32")], body))
    x, r = rng.standard_normal(shape, np.float32), rng.standard_normal(y, np.float32)
    for split in (None, -3, 4):
        y_, z_ = m.run(x, r, split=split)
        assert (y_ == x.transpose(permutation)).all() and (z_ == x.transpose(permutation) + r).all()


SCALAR_OPS = {  # f32 -> f32
    "math.floor": np.floor, "math.ceil": np.ceil, "math.roundeven": np.rint, "math.absf": np.abs, "math.trunc": np.trunc,
    "math.log1p": np.log1p, "math.expm1": np.expm1, "math.exp2": np.exp2, "math.log2": np.log2, "math.tan": np.tan,
    "math.atan": np.arctan, "math.cbrt": np.cbrt, "arith.negf": np.negative,
}


def test_scalar_ops(tmp_path):
    n = 100
    t = memref((n,))
    body = "".join(generic(["(i) -> (i)"] * 2, ["parallel"], [("x", t)], [(f"y{i}", t)],
                           f"    %s = {op} %a0 : f32\n    linalg.yield %s : f32") + "\n" for i, op in enumerate(SCALAR_OPS))
    m = build(tmp_path, program([("x", (n,), "f32")], [(f"y{i}", (n,), "f32") for i in range(len(SCALAR_OPS))], body))
    x = rng.uniform(0.01, 5, n).astype(np.float32)
    for got, (op, exact) in zip(m.run(x), SCALAR_OPS.items()):
        np.testing.assert_allclose(got, exact(x.astype(np.float64)), rtol=1e-6, err_msg=op)


def test_log1p_of_small_numbers_and_at_the_edges(tmp_path):
    small = np.array([0, 1e-38, 1e-9, 1e-7, 6e-8, 1e-4, 0.0233, 0.3], np.float32)
    x = np.concatenate([small, -small, np.float32([-1, -0.9999999, -2, 1e30, np.inf, -np.inf, np.nan])])
    t = memref((x.size,))
    body = generic(["(i) -> (i)"] * 2, ["parallel"], [("x", t)], [("y", t)],
                   "    %s = math.log1p %a0 : f32\n    linalg.yield %s : f32")
    m = build(tmp_path, program([("x", x.shape, "f32")], [("y", x.shape, "f32")], body))
    with np.errstate(all="ignore"):
        want = np.log1p(x.astype(np.float64))
    np.testing.assert_allclose(np.asarray(m.run(x)).reshape(x.shape), want, rtol=5e-7)


def test_integer_masks_and_casts(tmp_path):
    """The mask of a decoder: a comparison of positions, cast to what is added to scores."""
    n, t = 77, memref((77, 77))
    body = generic(["(i, j) -> (j)", "(i, j) -> (i, j)", "(i, j) -> (i, j)"], ["parallel"] * 2,
                   [("ids", memref((n,), "i64"))], [("y", t), ("z", memref((n, n), "i32"))], '''    %i = linalg.index 0 : index
    %p = arith.index_cast %i : index to i64
    %m = arith.cmpi sle, %a0, %p : i64
    %f = arith.uitofp %m : i1 to f32
    %w = arith.trunci %a0 : i64 to i32
    linalg.yield %f, %w : f32, i32''')
    m = build(tmp_path, program([("ids", (n,), "i64")], [("y", (n, n), "f32"), ("z", (n, n), "i32")], body))
    ids = rng.permutation(n)
    for split in (None, -5):
        y, z = m.run(ids, split=split)
        assert (y == (ids[None] <= np.arange(n)[:, None])).all() and (z == ids[None]).all()


def test_max_min_and_total(tmp_path):
    x = (9, 133)
    ops = {"max": "arith.maximumf", "min": "arith.minimumf"}
    body = "  %lo = arith.constant 0xFF800000 : f32\n  %hi = arith.constant 0x7F800000 : f32\n  %z = arith.constant 0.0 : f32\n"
    for name, init in (("max", "lo"), ("min", "hi"), ("sum", "z")):
        shape = (9,) if name != "sum" else ()
        body += f"  linalg.fill ins(%{init} : f32) outs(%{name} : {memref(shape)})\n"
        body += generic(["(i, j) -> (i, j)", "(i, j) -> (i)" if shape else "(i, j) -> ()"],
                        ["parallel" if shape else "reduction", "reduction"], [("x", memref(x))], [(name, memref(shape))],
                        f"    %s = {ops.get(name, 'arith.addf')} %a0, %a1 : f32\n    linalg.yield %s : f32") + "\n"
    m = build(tmp_path, program([("x", x, "f32")], [("max", (9,), "f32"), ("min", (9,), "f32"), ("sum", (), "f32")], body))
    xs = rng.standard_normal(x, np.float32)
    largest, smallest, total = m.run(xs)
    assert (largest == xs.max(1)).all() and (smallest == xs.min(1)).all()
    np.testing.assert_allclose(total, xs.astype(np.float64).sum(), rtol=1e-4)
    xs[3, 100] = np.nan
    assert np.isnan(m.run(xs)[0]).tolist() == [i == 3 for i in range(9)]


def test_one_dim_expanded_to_several_dynamic_ones(tmp_path):
    """Of a dense buffer and of a slice whose place and stride are known at run time only."""
    flat, x = "memref<?xf32>", memref(("b", "s", 4))
    part, wide = "memref<?x3xf32, strided<[4, 1], offset: ?>>", "memref<?x?x3xf32, strided<[?, 4, 1], offset: ?>>"
    body = f'''  %b = memref.dim %x, %c0 : {x}
  %s = memref.dim %x, %c1 : {x}
  %n = arith.muli %b, %s : index
  %f = memref.collapse_shape %x [[0, 1, 2]] : {x} into {flat}
  %e = memref.expand_shape %f [[0, 1, 2]] output_shape [%s, %b, 4] : {flat} into {memref(("s", "b", 4))}
  memref.copy %e, %y : {memref(("s", "b", 4))} to {memref(("s", "b", 4))}
  %g = memref.collapse_shape %x [[0, 1], [2]] : {x} into {memref(("n", 4))}
  %h = memref.subview %g[0, %k] [%n, 3] [1, 1] : {memref(("n", 4))} to {part}
  %i = memref.expand_shape %h [[0, 1], [2]] output_shape [%s, %b, 3] : {part} into {wide}
  memref.copy %i, %z : {wide} to {memref(("s", "b", 3))}
'''
    body = body.replace("%k", "%k_").replace("  %g =", '''  %o = memref.dim %w, %c0 : memref<?xf32>
  %k_ = arith.subi %o, %c1 : index
  %g =''')
    m = build(tmp_path, program([("x", ("b", "s", 4), "f32"), ("w", ("o",), "f32")],
                                [("y", ("s", "b", 4), "f32"), ("z", ("s", "b", 3), "f32")], body,
                                [("b", 5), ("s", 9), ("o", 2)]))
    for b, s, o in [(2, 9, 2), (3, 1, 1)]:
        x = rng.standard_normal((b, s, 4), np.float32)
        y, z = m.run(x, np.zeros(o, np.float32), dims=(b, s, o))
        assert (y == x.reshape(s, b, 4)).all() and (z == x.reshape(s, b, 4)[..., o - 1:o + 2]).all()
