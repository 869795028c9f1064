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
    elements = [t.rstrip(">").split("x")[-1].split(",")[0] if t.startswith("memref") else t for _, t in ins + outs]
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
