# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import numpy as np
import pytest

from harness import build, memref, program

rng = np.random.default_rng(3)


@pytest.mark.parametrize("dtype,number", [("f32", np.float32), ("i64", np.int64)])
def test_running_sums(tmp_path, dtype, number):
    """Steps that follow each other, along a dim inside of one that is cut over threads."""
    x = ("rows", 9, 5)
    add, zero = ("arith.addi", "0 : i64") if dtype == "i64" else ("arith.addf", "0.0 : f32")
    body = f'''  snug_nn.scalar_kernel ins(%x : {memref(x, dtype)}) outs(%y : {memref(x, dtype)}) attributes {{
      indexing_maps = [affine_map<(b, n, k, l) -> (b, k, n)>, affine_map<(b, n, k, l) -> (b, l, n)>]}} {{
  ^bb0(%b: index, %n: index):
    %zero = arith.constant {zero}
    %first = arith.constant 0 : index
    %step = arith.constant 1 : index
    %count = snug_nn.extent 0, 1
    %sum = scf.for %i = %first to %count step %step iter_args(%s = %zero) -> {dtype} {{
      %v = snug_nn.load 0[%b, %i, %n] : {dtype}
      %next = {add} %s, %v : {dtype}
      snug_nn.store %next, 1[%b, %i, %n] : {dtype}
      scf.yield %next : {dtype}
    }}
    snug_nn.yield
  }}'''
    model = build(tmp_path, program([("x", x, dtype)], [("y", x, dtype)], body, [("rows", 40)]))
    xs = (rng.standard_normal((37, 9, 5)) * 8).astype(number)
    got = model.run(xs, dims=(37,))
    np.testing.assert_allclose(got, np.cumsum(xs, axis=1), rtol=2e-6)
    assert np.array_equal(model.run(xs, dims=(37,), split=-3), got)


def test_places(tmp_path):
    """A point that has nothing but its place; indices that are data."""
    x, y = (11,), (6, 7)
    body = f'''  snug_nn.scalar_kernel ins(%x : {memref(x)}) outs(%y : {memref(y)}) attributes {{
      indexing_maps = [affine_map<(a, b, n) -> (n)>, affine_map<(a, b, n) -> (a, b)>]}} {{
  ^bb0(%a: index, %b: index):
    %i = snug_nn.index 0
    %j = snug_nn.index 1
    %sum = arith.addi %i, %j : index
    %n = snug_nn.extent 0, 0
    %at = arith.remui %sum, %n : index
    %v = snug_nn.load 0[%at] : f32
    snug_nn.store %v, 1[%a, %b] : f32
    snug_nn.yield
  }}'''
    model = build(tmp_path, program([("x", x, "f32")], [("y", y, "f32")], body))
    xs = rng.standard_normal(x).astype(np.float32)
    got = model.run(xs)
    assert np.array_equal(got, xs[np.add.outer(np.arange(6), np.arange(7)) % 11])
    assert np.array_equal(model.run(xs, split=-3), got)


@pytest.mark.parametrize("count", [1, 33, 700])
def test_parallel_loops(tmp_path, count):
    """Steps of one loop read what other steps of the one before have stored, and what is stored between the two; all have read what the last
    one stores."""
    x = ("rows", count)
    of_row = "affine_map<(b, k) -> (b, k)>"
    body = f'''  snug_nn.scalar_kernel ins(%x : {memref(x)}) outs(%y, %z, %w : {memref(x)}, {memref(x)}, {memref(x[:1], "i64")}) attributes {{
      indexing_maps = [{of_row}, {of_row}, {of_row}, affine_map<(b, k) -> (b)>]}} {{
  ^bb0(%b: index):
    %zero = arith.constant 0 : i64
    %first = arith.constant 0 : index
    %step = arith.constant 1 : index
    %n = snug_nn.extent 0, 1
    %end = arith.subi %n, %step : index
    scf.parallel (%i) = (%first) to (%n) step (%step) {{
      %j = arith.subi %end, %i : index
      %v = snug_nn.load 0[%b, %j] : f32
      snug_nn.store %v, 1[%b, %i] : f32
      scf.reduce
    }}
    %before = snug_nn.load 1[%b, %first] : f32
    %last = snug_nn.load 1[%b, %end] : f32
    snug_nn.store %last, 1[%b, %first] : f32
    %larger = scf.parallel (%i) = (%first) to (%n) step (%step) init (%zero) -> i64 {{
      %next = arith.addi %i, %step : index
      %j = arith.remui %next, %n : index
      %v = snug_nn.load 1[%b, %j] : f32
      snug_nn.store %v, 2[%b, %i] : f32
      %is = arith.cmpf ogt, %v, %before : f32
      %one = arith.extui %is : i1 to i64
      scf.reduce(%one : i64) {{
      ^bb0(%p: i64, %q: i64):
        %sum = arith.addi %p, %q : i64
        scf.reduce.return %sum : i64
      }}
    }}
    snug_nn.store %larger, 3[%b] : i64
    %mark = snug_nn.load 2[%b, %first] : f32
    scf.parallel (%i) = (%first) to (%n) step (%step) {{
      %v = snug_nn.load 2[%b, %i] : f32
      %marked = arith.addf %v, %mark : f32
      snug_nn.store %marked, 2[%b, %i] : f32
      scf.reduce
    }}
    snug_nn.yield
  }}'''
    outputs = [("y", x, "f32"), ("z", x, "f32"), ("w", x[:1], "i64")]
    model = build(tmp_path, program([("x", x, "f32")], outputs, body, [("rows", 40)]))
    xs = rng.standard_normal((3, count)).astype(np.float32)
    y, z, w = model.run(xs, dims=(3,))
    want = xs[:, ::-1].copy()
    before = want[:, 0].copy()
    want[:, 0] = want[:, -1]
    np.testing.assert_array_equal(y, want)
    rolled = np.roll(want, -1, axis=1)
    np.testing.assert_array_equal(z, rolled + rolled[:, :1])
    np.testing.assert_array_equal(w, (want > before[:, None]).sum(1))
