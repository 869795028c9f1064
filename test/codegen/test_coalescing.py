# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Kernels that are bound by memory, on a simulated GPU: values, and the sectors of memory that warps ask for."""
import json

import numpy as np
import pytest

from harness import TARGET, build, memref, program
from test_generic import generic

pytestmark = pytest.mark.skipif(TARGET == "cpu", reason="warps and sectors are a GPU's")
rng = np.random.default_rng(3)


@pytest.fixture
def accesses(tmp_path, monkeypatch):
    """Runs a model; returns its result and a list of {space, writes, requests, units, least} of each launch."""
    file = tmp_path / "profile.json"
    monkeypatch.setenv("SNUG_SIM_PROFILE", str(file))

    def run(model, *inputs, **more):
        file.unlink(missing_ok=True)
        result = model.run(*inputs, **more)
        return result, [json.loads(line)["accesses"] for line in file.read_text().splitlines()]

    return run


def requests(launch, writes, space="global"):
    return sum(a["requests"] for a in launch if a["space"] == space and a["writes"] == writes)


def are_coalesced(launch):
    """As few sectors as the bytes take, and one for the ends: tensors are aligned to 16 bytes, and sectors have 32."""
    return all(a["units"] <= a["least"] + a["requests"] for a in launch if a["space"] == "global")


TYPES = {"f32": np.float32, "f16": np.float16, "i8": np.int8, "i64": np.int64, "f64": np.float64}


@pytest.mark.parametrize("n", [1, 3, 64, 1021, 4100, 20000])
@pytest.mark.parametrize("dtype", TYPES)
def test_vectors_of_neighbours(tmp_path, accesses, n, dtype):
    t = memref((n,), dtype)
    add = "addf" if dtype[0] == "f" else "addi"
    body = generic(["(i) -> (i)"] * 3, ["parallel"], [("x", t), ("y", t)], [("z", t)],
                   f"    %s = arith.{add} %a0, %a1 : {dtype}\n    linalg.yield %s : {dtype}")
    m = build(tmp_path, program([("x", (n,), dtype), ("y", (n,), dtype)], [("z", (n,), dtype)], body))
    x, y = (rng.integers(-50, 50, n).astype(TYPES[dtype]) for _ in "xy")
    z, (launch,) = accesses(m, x, y)
    assert (z == x + y).all()
    lanes = 16 // np.dtype(TYPES[dtype]).itemsize
    warps, rest = -(-(n // lanes) // 32), n % lanes  # the rest is one thread's, element by element
    assert requests(launch, writes=True) == warps + rest and requests(launch, writes=False) == 2 * (warps + rest)
    assert are_coalesced(launch)


def test_broadcasts_masks_and_indices_on_lanes(tmp_path, accesses):
    shape, row = (5, 7, 24), (24,)
    t = memref(shape)
    body = generic(["(i, j, k) -> (i, j, k)", "(i, j, k) -> (k)", "(i, j, k) -> (i, j, 0)", "(i, j, k) -> (i, j, k)",
                    "(i, j, k) -> (i, j, k)", "(i, j, k) -> (i, j, k)"], ["parallel"] * 3,
                   [("x", t), ("b", memref(row)), ("c", memref((5, 7, 1))), ("m", memref(shape, "i1"))],
                   [("y", t), ("p", memref(shape, "i1"))], '''    %k = linalg.index 2 : index
    %ki = arith.index_cast %k : index to i32
    %kf = arith.sitofp %ki : i32 to f32
    %s0 = arith.addf %a0, %a1 : f32
    %s1 = arith.addf %s0, %a2 : f32
    %s2 = arith.select %a3, %s1, %kf : f32
    %q = arith.cmpf ogt, %s2, %a2 : f32
    %s3 = scf.if %q -> f32 {
      %d = arith.addf %s2, %s2 : f32
      scf.yield %d : f32
    } else {
      scf.yield %s2 : f32
    }
    linalg.yield %s3, %q : f32, i1''')
    m = build(tmp_path, program([("x", shape, "f32"), ("b", row, "f32"), ("c", (5, 7, 1), "f32"), ("m", shape, "i1")],
                                [("y", shape, "f32"), ("p", shape, "i1")], body))
    x, b, c = (rng.standard_normal(s, np.float32) for s in (shape, row, (5, 7, 1)))
    mask = rng.integers(0, 2, shape).astype(bool)
    (y, p), (launch,) = accesses(m, x, b, c, mask)
    want = np.where(mask, x + b + c, np.arange(24, dtype=np.float32))
    assert (p.view(np.uint8) == (want > c)).all() and (y == np.where(want > c, want + want, want)).all()
    assert requests(launch, writes=True) == 2 * 7  # 840 elements, 4 a thread


def test_slices_are_as_aligned_as_their_offset(tmp_path, accesses):
    """Offsets of 6 and 7 elements, rows of 40: pairs and single elements."""
    x = (24, 40)
    def part(name, offset, out):
        sub = f"memref<24x20xf32, strided<[40, 1], offset: {offset}>>"
        return f'''  %{name} = memref.subview %x[0, {offset}] [24, 20] [1, 1] : {memref(x)} to {sub}
''' + generic(["(i, j) -> (i, j)"] * 2, ["parallel"] * 2, [(name, sub)], [(out, memref((24, 20)))],
              "    %s = arith.negf %a0 : f32\n    linalg.yield %s : f32") + "\n"
    m = build(tmp_path, program([("x", x, "f32")], [(f"y{i}", (24, 20), "f32") for i in range(3)],
                                part("a", 8, "y0") + part("b", 6, "y1") + part("c", 7, "y2")))
    xs = rng.standard_normal(x, np.float32)
    got, launches = accesses(m, xs)
    for result, offset in zip(got, (8, 6, 7)):
        assert (result == -xs[:, offset:offset + 20]).all()
    assert [requests(launch, writes=True) for launch in launches] == [4, 8, 15]  # 480 elements


@pytest.mark.parametrize("width,lanes", [(64, 4), (6, 2), (33, 1)])
def test_gathered_rows_are_vectors(tmp_path, accesses, width, lanes):
    data, places = (50, width), (2, 64)
    y = places + (width,)
    m = build(tmp_path, program([("d", data, "f32"), ("i", places, "i64")], [("y", y, "f32")],
                                f"  snug_nn.gather ins(%d, %i : {memref(data)}, {memref(places, 'i64')}) outs(%y : {memref(y)}) axis = 0"))
    d, i = rng.standard_normal(data, np.float32), rng.integers(0, 50, places)
    got, (launch,) = accesses(m, d, i)
    assert (got == d[i]).all()
    assert requests(launch, writes=True) == 128 * width / lanes / 32
