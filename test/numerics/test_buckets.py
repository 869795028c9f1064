# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""One library for many lengths: short inputs need, and use, a small arena only."""
import itertools

import pytest

import materialize
import snug
from ops import Graph, noise


def powers(most):
    return [1 << i for i in range(most.bit_length()) if 1 << i < most] + [most]


def residual_stream(rows):
    """Updates of a stream of `rows` rows, and a table that is as large for any length."""
    c = 64
    g = Graph()
    x = g.input("x", noise(rows, c), ["n", c])
    table = g.node("Tanh", g.input("table", noise(32, c, seed=7)))
    for i in range(2):
        hidden = g.node("Tanh", g.node("MatMul", x, g.constant(noise(c, 4 * c, seed=i) * 0.1)))
        x = g.node("Add", x, g.node("MatMul", hidden, g.constant(noise(4 * c, c, seed=9 + i) * 0.1)))
    scores = g.node("MatMul", x, g.node("Transpose", table, perm=[1, 0]))
    g.output(g.node("MatMul", scores, table), 2)
    return g


@pytest.mark.parametrize("budget", [None, "40%"])
def test_each_length_uses_no_more_than_its_bucket(budget, tmp_path):
    graph = residual_stream(300)
    model = graph.save(tmp_path / "m.onnx")
    _, report = snug.compile_model(model, tmp_path / "m.so", {"n": "1..300"}, budget)
    buckets = report["memory"]["buckets"]
    assert [bucket["dims"]["n"] for bucket in buckets] == powers(300)
    needs = [bucket["arena"] for bucket in buckets]
    assert needs == sorted(needs) and needs[-1] == report["memory"]["arena"] and needs[0] < needs[-1] / 4
    exact = 0
    for n in (1, 2, 3, 16, 17, 128, 200, 256, 257, 300):
        graph.values["x"] = noise(n, 64, seed=n)
        need = next(bucket["arena"] for bucket in buckets if n <= bucket["dims"]["n"])
        got, stats = snug.run_model(tmp_path / "m.so", graph.values, repeat=2)
        assert stats["planned"]["arena"] == needs[-1] and stats["planned"]["arena_at_dims"] == need
        assert stats["measured"]["arena_high_water"] <= need, n
        exact += stats["measured"]["arena_high_water"] == need
        if n in (16, 128, 256, 300):  # a bucket's bound uses all of its arena; a chunk loop's last buffer may be ragged
            assert budget or stats["measured"]["arena_high_water"] == need, n
        for name, value in snug.reference(model, graph.values).items():
            assert snug.relative_error(got[name], value) < 1e-5, (name, n)
    assert exact


def test_two_dims_have_buckets_of_both(tmp_path):
    g = Graph()
    x = g.input("x", noise(5, 9), ["a", "b"])
    g.output(g.node("MatMul", g.node("Tanh", x), g.node("Transpose", g.node("Exp", x), perm=[1, 0])), 2)
    model = g.save(tmp_path / "m.onnx")
    _, report = snug.compile_model(model, tmp_path / "m.so", {"a": "2..1000", "b": "1..3000"})
    buckets = report["memory"]["buckets"]
    a, b = (sorted({bucket["dims"][name] for bucket in buckets}) for name in ("a", "b"))
    assert 32 < len(buckets) == len(a) * len(b) <= 64 and (a[-1], b[-1]) == (1000, 3000)
    assert set(a) <= set(powers(1000)) and set(b) <= set(powers(3000))
    need = {(bucket["dims"]["a"], bucket["dims"]["b"]): bucket["arena"] for bucket in buckets}
    for (a0, b0), (a1, b1) in itertools.product(need, need):
        assert need[a0, b0] <= need[a1, b1] or a0 > a1 or b0 > b1, "more than for larger dims"
    for rows, columns in ((2, 1), (2, 3000), (1000, 1), (33, 65), (1000, 3000)):
        g.values["x"] = noise(rows, columns) / columns**0.5
        got, stats = snug.run_model(tmp_path / "m.so", g.values)
        want = min(bytes_ for (a0, b0), bytes_ in need.items() if rows <= a0 and columns <= b0)
        assert stats["planned"]["arena_at_dims"] == want >= stats["measured"]["arena_high_water"]
        for name, value in snug.reference(model, g.values).items():
            assert snug.relative_error(got[name], value) < 1e-5, (rows, columns)


def test_fixed_dims_have_one_plan(tmp_path):
    graph = residual_stream(17)
    _, report = snug.compile_model(graph.save(tmp_path / "m.onnx"), tmp_path / "m.so", {"n": 17})
    assert report["memory"]["buckets"] == []


def test_process_grows_by_the_arena_of_the_bucket(weights, tmp_path):
    model = weights("gpt2_long")
    _, report = snug.compile_model(model, tmp_path / "m.so", {"batch": 1, "seq": "1..1024"}, "50%")
    need = {bucket["dims"]["seq"]: bucket["arena"] for bucket in report["memory"]["buckets"]}
    assert need[64] < need[1024] - 4 * snug.MIB
    for length in (64, 1024):
        created, ran, allocations = snug.outside_memory(tmp_path / "m.so", {"batch": 1, "seq": length}, fit=True)
        assert created <= need[length] + report["memory"]["library"]
        assert ran <= snug.MIB and allocations == 0
    inputs = materialize.make_inputs(model, {"batch": 1, "seq": 50})
    got, stats = snug.run_model(tmp_path / "m.so", inputs)
    assert stats["measured"]["arena_high_water"] <= stats["planned"]["arena_at_dims"] == need[64]
    for name, value in snug.reference(model, inputs).items():
        assert snug.relative_error(got[name], value) < 1e-5, name
