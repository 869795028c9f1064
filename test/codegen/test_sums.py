# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Sums in parts, on a simulated GPU: values, coalescing, and bits that do not depend on how results are chunked."""
import numpy as np
import pytest

from harness import build, memref, program
from test_coalescing import accesses, are_coalesced, pytestmark, requests  # noqa: F401
from test_generic import generic

rng = np.random.default_rng(4)
SUM = "    %s = arith.addf %a0, %a1 fastmath<reassoc> : f32\n    linalg.yield %s : f32"


def reduction(shape, kept, dtype="f32", body=SUM):
    letters = "ijkl"[:len(shape)]
    result = [letters[d] for d in kept]
    return generic([f"({', '.join(letters)}) -> ({', '.join(letters)})", f"({', '.join(letters)}) -> ({', '.join(result)})"],
                   ["parallel" if d in kept else "reduction" for d in range(len(shape))],
                   [("x", memref(shape, dtype))], [("y", memref([shape[d] for d in kept], dtype))], body)


SHAPES = [((5, 7), (0,)), ((37, 33), (0,)), ((19, 1000), (0,)), ((3, 4100), (0,)), ((2, 5001), (0,)), ((9000,), ()),
          ((37, 33), (1,)), ((1000, 40), (1,)), ((3, 50, 20), (1,)), ((20, 3, 50), (1,)), ((20, 50, 7), (2,)), ((6, 30, 5, 8), (0, 2))]


@pytest.mark.parametrize("shape,kept", SHAPES)
def test_sums(tmp_path, accesses, shape, kept):
    out = tuple(shape[d] for d in kept)
    m = build(tmp_path, program([("x", shape, "f32")], [("y", out, "f32")],
                                f"  %z = arith.constant 1.0 : f32\n  linalg.fill ins(%z : f32) outs(%y : {memref(out)})\n" +
                                reduction(shape, kept)))
    x = rng.standard_normal(shape, np.float32)
    y, (_, launch) = accesses(m, x)
    np.testing.assert_allclose(y, 1 + x.astype(np.float64).sum(tuple(d for d in range(len(shape)) if d not in kept)), rtol=2e-6, atol=2e-5)
    if len(shape) == 2 and shape[1] % 8 == 0:
        assert are_coalesced(launch)


@pytest.mark.parametrize("dtype,op,np_op", [("f32", "maximumf", np.max), ("f32", "minimumf", np.min), ("i32", "addi", np.sum), ("i64", "maxsi", np.max),
                                            ("i8", "minsi", np.min), ("i64", "muli", np.prod), ("f16", "maximumf", np.max)])
@pytest.mark.parametrize("shape,kept", [((3, 1300), (0,)), ((7, 100), (0,)), ((100, 7), (1,))])
def test_any_order(tmp_path, shape, kept, dtype, op, np_op):
    types = {"f32": np.float32, "f16": np.float16, "i32": np.int32, "i64": np.int64, "i8": np.int8}
    out = tuple(shape[d] for d in kept)
    m = build(tmp_path, program([("x", shape, dtype), ("b", out, dtype)], [("y", out, dtype)],
                                f"  memref.copy %b, %y : {memref(out, dtype)} to {memref(out, dtype)}\n" +
                                reduction(shape, kept, dtype, f"    %s = arith.{op} %a0, %a1 : {dtype}\n    linalg.yield %s : {dtype}")))
    x = rng.integers(-60, 60, shape).astype(types[dtype])
    if op == "muli":
        x = np.where(x > 55, 3, 1).astype(np.int64)
    b = x.take(0, 1 - kept[0])
    expected = np_op(np.concatenate([x, np.expand_dims(b, 1 - kept[0])], 1 - kept[0]), 1 - kept[0])
    assert (m.run(x, b) == expected).all()


@pytest.mark.parametrize("shape,kept", [((8, 1200), (0,)), ((8, 90), (0,)), ((300, 8), (1,)), ((40, 8, 25), (1,)), ((40, 8, 32), (1,))])
def test_chunks_have_the_same_bits(tmp_path, shape, kept):
    """Results one by one, of slices that are neither dense nor aligned, against all at once."""
    dim = kept[0]
    part = tuple(1 if d == dim else s for d, s in enumerate(shape))
    strides = [int(np.prod(shape[d + 1:])) for d in range(len(shape))]
    sub = "memref<" + "x".join(map(str, part)) + f"xf32, strided<{strides}, offset: ?>>"
    one = "memref<1xf32, strided<[1], offset: ?>>"
    offsets = ", ".join("%i" if d == dim else "0" for d in range(len(shape)))
    loop = f'''  %n = arith.constant {shape[dim]} : index
  scf.for %i = %c0 to %n step %c1 {{
    %a = memref.subview %x[{offsets}] [{", ".join(map(str, part))}] [{", ".join("1" for _ in shape)}] : {memref(shape)} to {sub}
    %r = memref.subview %w[%i] [1] [1] : {memref((shape[dim],))} to {one}
''' + reduction(part, kept).replace(f"%x : {memref(part)}", f"%a : {sub}").replace(f"%y : {memref((1,))}", f"%r : {one}") + "\n  }"
    out = (shape[dim],)
    fills = "".join(f"  linalg.fill ins(%z : f32) outs(%{n} : {memref(out)})\n" for n in "yw")
    m = build(tmp_path, program([("x", shape, "f32")], [("y", out, "f32"), ("w", out, "f32")],
                                "  %z = arith.constant 0.0 : f32\n" + fills + reduction(shape, kept) + "\n" + loop))
    y, w = m.run(rng.standard_normal(shape, np.float32))
    assert (y.view(np.int32) == w.view(np.int32)).all()


def test_what_is_not_declared_stays_in_sequence(tmp_path):
    shape = (3, 2000)
    body = f"  %z = arith.constant 0.0 : f32\n  linalg.fill ins(%z : f32) outs(%y : {memref((3,))})\n"
    m = build(tmp_path, program([("x", shape, "f32")], [("y", (3,), "f32")], body + reduction(shape, (0,), body=SUM.replace(" fastmath<reassoc>", ""))))
    x = rng.standard_normal(shape, np.float32)
    assert (m.run(x) == np.add.accumulate(x, 1, dtype=np.float32)[:, -1]).all()


@pytest.mark.parametrize("shape", [(33, 100), (64, 32), (8, 257), (70, 3), (100, 1000)])
@pytest.mark.parametrize("dtype", ["f32", "i8", "f16", "i64"])
def test_transpositions_are_coalesced(tmp_path, accesses, shape, dtype):
    out = shape[::-1]
    m = build(tmp_path, program([("x", shape, dtype)], [("y", out, dtype)],
                                f"  linalg.transpose ins(%x : {memref(shape, dtype)}) outs(%y : {memref(out, dtype)}) permutation = [1, 0]"))
    x = rng.integers(-50, 50, shape).astype({"f32": np.float32, "i8": np.int8, "f16": np.float16, "i64": np.int64}[dtype])
    y, (launch,) = accesses(m, x)
    assert (y == x.T).all()
    if min(shape) >= 8:
        assert are_coalesced(launch)
        assert requests(launch, True, "shared") > 0 and all(a["units"] == a["least"] for a in launch if a["space"] == "shared")


@pytest.mark.parametrize("n", [100, 1200])
def test_elements_that_are_not_aligned_are_added_in_the_same_order(tmp_path, n):
    wide, shape = (5, n + 1), (5, n)
    sub = f"memref<5x{n}xf32, strided<[{n + 1}, 1], offset: 1>>"
    fills = "".join(f"  linalg.fill ins(%z : f32) outs(%{r} : {memref((5,))})\n" for r in "yw")
    body = f"  %z = arith.constant 0.0 : f32\n{fills}  %a = memref.subview %x[0, 1] [5, {n}] [1, 1] : {memref(wide)} to {sub}\n"
    body += reduction(shape, (0,)).replace(f"%x : {memref(shape)}", f"%a : {sub}") + "\n"
    body += reduction(shape, (0,)).replace("%x : ", "%b : ").replace("%y : ", "%w : ")
    m = build(tmp_path, program([("x", wide, "f32"), ("b", shape, "f32")], [("y", (5,), "f32"), ("w", (5,), "f32")], body))
    x = rng.standard_normal(wide, np.float32)
    y, w = m.run(x, x[:, 1:])
    assert (y.view(np.int32) == w.view(np.int32)).all()


@pytest.mark.parametrize("n", [1, 7, 100, 1024, 1026, 2500, 4096, 5000])
@pytest.mark.parametrize("dtype", ["f32", "f16", "f64"])
def test_rows_in_one_pass(tmp_path, accesses, n, dtype):
    """Softmax and a norm: what fits into registers is read once."""
    real = {"f32": np.float32, "f16": np.float16, "f64": np.float64}[dtype]
    x, v = (3, 5, n), (n,)
    body = f'''  snug_nn.softmax ins(%x : {memref(x, dtype)}) outs(%y : {memref(x, dtype)}) {{scale = 0.5 : f32}}
  snug_nn.norm layer ins(%x : {memref(x, dtype)}) scale(%s : {memref(v, dtype)}) shift(%b : {memref(v, dtype)}) outs(%w : {memref(x, dtype)}) {{epsilon = 1.0e-5 : f32}}'''
    m = build(tmp_path, program([("x", x, dtype), ("s", v, dtype), ("b", v, dtype)], [("y", x, dtype), ("w", x, dtype)], body))
    xs, s, b = (rng.standard_normal(shape).astype(real) for shape in (x, v, v))
    (y, w), launches = accesses(m, xs, s, b)
    z = xs.astype(np.float64)
    e = np.exp(0.5 * (z - z.max(-1, keepdims=True)))
    tolerance = {"f32": 5e-6, "f16": 2e-3, "f64": 1e-12}[dtype]
    np.testing.assert_allclose(y, e / e.sum(-1, keepdims=True), rtol=tolerance, atol=1e-7)
    z = z - z.mean(-1, keepdims=True)
    np.testing.assert_allclose(w, z / np.sqrt((z * z).mean(-1, keepdims=True) + 1e-5) * s + b, rtol=20 * tolerance, atol=20 * tolerance)
    for launch, tensors in zip(launches, (1, 3)):
        moved = sum(a["least"] for a in launch if a["space"] == "global" and not a["writes"]) * 32
        passes = moved / (tensors * y.nbytes)
        if n in (1024, 4096) and dtype != "f64":
            assert passes == 1 and are_coalesced(launch)
            lanes = 16 // np.dtype(real).itemsize
            assert requests(launch, True) == 15 * n / lanes / 32 and requests(launch, False) == 15 * n / lanes / 32 * tensors


def in_parts(shape, kept, parts, dtype="f32", body=SUM):
    """partial_reduce of %x into %p, and the reduction of that into %y."""
    letters, result = "ijkl"[:len(shape)], ["ijkl"[d] for d in kept]
    kinds = ["parallel" if d in kept else "reduction" for d in range(len(shape))] + ["parallel"]
    many, one = (parts, *(shape[d] for d in kept)), tuple(shape[d] for d in kept)
    text = f'''  snug_nn.partial_reduce ins(%x : {memref(shape, dtype)}) outs(%p : {memref(many, dtype)}) attributes {{indexing_maps = [
      affine_map<({", ".join(letters)}, p) -> ({", ".join(letters)})>, affine_map<({", ".join(letters)}, p) -> ({", ".join(["p", *result])})>],
      iterator_types = [{", ".join(f'"{k}"' for k in kinds)}]}} {{
  ^bb0(%a0: {dtype}, %a1: {dtype}):
{body}
  }}
'''
    dims = ", ".join(["p", *result])
    return text + generic([f"({dims}) -> ({dims})", f"({dims}) -> ({', '.join(result)})"], ["reduction"] + ["parallel"] * len(kept),
                          [("p", memref(many, dtype))], [("y", memref(one, dtype))], body)


@pytest.mark.parametrize("shape,kept,parts", [((30000,), (), 9), ((30001,), (), 2), ((100,), (), 7), ((3, 40, 100), (), 5), ((2, 9000), (0,), 4),
                                              ((3, 9001), (0,), 3), ((5000, 3), (1,), 6), ((900, 40), (1,), 5), ((2, 50, 3, 60), (0, 2), 3)])
def test_sums_of_parts(tmp_path, accesses, shape, kept, parts):
    out = tuple(shape[d] for d in kept)
    m = build(tmp_path, program([("x", shape, "f32")], [("p", (parts, *out), "f32"), ("y", out, "f32")],
                                f"  %z = arith.constant 1.0 : f32\n  linalg.fill ins(%z : f32) outs(%y : {memref(out)})\n" +
                                in_parts(shape, kept, parts)))
    x = rng.standard_normal(shape, np.float32)
    (p, y), (_, launch, _) = accesses(m, x)
    assert p.shape == (parts, *out)
    want = x.astype(np.float64).sum(tuple(d for d in range(len(shape)) if d not in kept))
    np.testing.assert_allclose(y, 1 + want, rtol=2e-6, atol=2e-5)
    np.testing.assert_allclose(p.astype(np.float64).sum(0), want, rtol=2e-6, atol=2e-5)
    if shape == (30000,):
        assert are_coalesced(launch)
        each = [x.reshape(-1)[1024 * first:].copy() for first in range(parts)]  # in stretches of 256 vectors by turns
        each = [sum(e[i:i + 1024].astype(np.float64).sum() for i in range(0, len(e), 1024 * parts)) for e in each]
        np.testing.assert_allclose(p, each, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype,op,np_op", [("f32", "maximumf", np.max), ("i32", "addi", np.sum), ("i64", "minsi", np.min), ("f16", "minimumf", np.min)])
def test_any_order_of_parts(tmp_path, dtype, op, np_op):
    types = {"f32": np.float32, "f16": np.float16, "i32": np.int32, "i64": np.int64}
    body = f"    %s = arith.{op} %a0, %a1 : {dtype}\n    linalg.yield %s : {dtype}"
    m = build(tmp_path, program([("x", (4999,), dtype)], [("p", (5,), dtype), ("y", (), dtype)],
                                f"  %q = memref.subview %p[0] [1] [1] : {memref((5,), dtype)} to memref<{dtype}, strided<[]>>\n" +
                                in_parts((4999,), (), 5, dtype, body).replace(
                                    "  linalg.generic", f"  memref.copy %q, %y : memref<{dtype}, strided<[]>> to memref<{dtype}>\n  linalg.generic")))
    x = rng.integers(-60, 60, 4999).astype(types[dtype])
    if dtype == "f32":
        x[1234] = np.nan
    p, y = m.run(x)
    if op == "addi":
        assert p.sum() == x.sum()  # the first part stands in for what was there before
        assert y == x.sum() + p[0]
    else:
        assert np.array_equal(y, np_op(x), equal_nan=True)
