# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Loop, Scan and If against ONNX Runtime: what is carried is updated in place, each body has its place in the one arena, and
is searched for chunk loops like the program around it."""
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

import snug
from ops import noise

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
CODES = {"float32": FLOAT, "int64": INT64, "bool": BOOL}


def info(name, shape=None, dtype=FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs.split(), outputs.split(), name=f"{op}_{outputs.split()[0]}", **attributes)


def body(inputs, nodes, outputs):
    return helper.make_graph(nodes, "body", inputs, outputs)


def check(nodes, values, constants, outputs, tmp_path, dims=None, shapes=None, flags=(), name="m", **options):
    """Compiles the model, compares it with ONNX Runtime, and gives (report, outputs)."""
    inputs = [info(key, (shapes or {}).get(key, value.shape), CODES[str(value.dtype)]) for key, value in values.items()]
    made = [numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, made)
    path = tmp_path / f"{name}.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    _, report = snug.compile_model(path, tmp_path / f"{name}.so", dims or {}, flags=flags, **options)
    got, stats = snug.run_model(tmp_path / f"{name}.so", values)
    assert stats["measured"]["arena_high_water"] <= report["memory"]["arena"]
    for key, want in snug.reference(path, values).items():
        assert got[key].shape == want.shape and got[key].dtype == want.dtype, key
        if want.dtype.kind == "f":
            assert np.linalg.norm(got[key] - want) <= 1e-6 * max(np.linalg.norm(want), 1e-30), key
        else:
            assert np.array_equal(got[key], want), key
    return report, got


def loop_head(extra=()):
    return [info("i", (), INT64), info("go_in", (), BOOL), *extra]


def test_values_that_change_places(tmp_path):
    """What the next iteration gets in one place is now in another: one copy saves it."""
    step = body(loop_head([info("a", (4, 8)), info("b", (4, 8))]),
                [node("Identity", "go_in", "go"), node("Identity", "a", "a1"), node("Tanh", "b", "b1"),
                 node("Add", "a b", "seen")],
                [info("go", (), BOOL), info("b1"), info("a1"), info("seen")])
    report, _ = check([node("Loop", "count yes x y", "p q all", body=step)], {"x": noise(4, 8), "y": noise(4, 8, seed=1)},
                      {"count": np.int64(5), "yes": np.bool_(True)}, [info("p"), info("q"), info("all")], tmp_path)
    assert report["memory"]["arena"] <= 2 * 128


def test_one_value_in_two_places(tmp_path):
    step = body(loop_head([info("a", (4, 8)), info("b", (4, 8))]),
                [node("Identity", "go_in", "go"), node("Exp", "b", "e"), node("Mul", "a half", "m"), node("Sub", "m e", "n"),
                 node("Identity", "n", "again"), node("Identity", "a", "before"), node("Identity", "x", "outside")],
                [info("go", (), BOOL), info("n"), info("again"), info("before"), info("outside")])
    check([node("Loop", "count yes x x", "p q old outer", body=step)], {"x": noise(4, 8)},
          {"count": np.int64(4), "yes": np.bool_(True), "half": np.float32(0.5)},
          [info("p"), info("q"), info("old"), info("outer")], tmp_path)


def test_nothing_changes(tmp_path):
    step = body(loop_head([info("a", (4, 8))]), [node("Identity", "go_in", "go"), node("Cast", "i", "f", to=FLOAT), node("Identity", "y", "same")],
                [info("go", (), BOOL), info("same"), info("f")])
    check([node("Loop", "count yes x", "p places", body=step)], {"x": noise(4, 8), "y": noise(4, 8, seed=1)},
          {"count": np.int64(7), "yes": np.bool_(True)}, [info("p"), info("places")], tmp_path)


@pytest.mark.parametrize("limit", [0.1, 3.0, 1e9])
def test_until_a_computed_condition(limit, tmp_path):
    step = body(loop_head([info("a", (4, 8))]),
                [node("Mul", "a growth", "b"), node("Abs", "b", "m"), node("ReduceMax", "m", "most", keepdims=0),
                 node("Less", "most limit", "go")],
                [info("go", (), BOOL), info("b")])
    report, _ = check([node("Loop", "count yes x", "p", body=step)], {"x": noise(4, 8)},
                      {"count": np.int64(9), "yes": np.bool_(True), "growth": np.float32(1.5), "limit": np.float32(limit)},
                      [info("p")], tmp_path)
    assert report["memory"]["arena"] <= 128 + 3 * 64  # what is multiplied is carried in place


def test_a_condition_that_is_false_at_once(tmp_path):
    step = body(loop_head([info("a", (4, 8))]), [node("Exp", "a", "b"), node("Identity", "go_in", "go")],
                [info("go", (), BOOL), info("b")])
    nodes = [node("ReduceMax", "x", "most", keepdims=0), node("Greater", "most huge", "start"),
             node("Loop", "count start x", "p", body=step)]
    check(nodes, {"x": noise(4, 8)}, {"count": np.int64(9), "huge": np.float32(1e9)}, [info("p")], tmp_path)


def test_shapes_that_grow(tmp_path):
    """As much in each iteration: a part of one buffer, and no code for each."""
    step = body(loop_head([info("a", None)]), [node("Concat", "a x", "b", axis=0), node("Identity", "go_in", "go")],
                [info("go", (), BOOL), info("b")])
    _, got = check([node("Loop", "count yes x", "p", body=step)], {"x": noise(3, 8)},
                   {"count": np.int64(4000), "yes": np.bool_(True)}, [info("p")], tmp_path)
    assert got["p"].shape == (12003, 8)


def test_shapes_that_change_otherwise_are_written_out(tmp_path):
    step = body(loop_head([info("a", None)]), [node("Concat", "a a", "b", axis=0), node("Identity", "go_in", "go")],
                [info("go", (), BOOL), info("b")])
    _, got = check([node("Loop", "count yes x", "p", body=step)], {"x": noise(3, 8)},
                   {"count": np.int64(4), "yes": np.bool_(True)}, [info("p")], tmp_path)
    assert got["p"].shape == (48, 8)


def decoder(tmp_path, ends):
    """`while running and n < steps` as exporters write it: no trip count, a counter that is carried, and what is written grows
    by a column. `ends` are the nodes that make "go" of "running", "n1" (the counter) and "steps"."""
    step = body(loop_head([info("h", ["batch", 8]), info("written", None, INT64), info("n", (), INT64)]),
                [node("MatMul", "h w", "m"), node("Tanh", "m", "h1"), node("ArgMax", "h1", "token", axis=1),
                 node("Concat", "written token", "written1", axis=1), node("Add", "n one", "n1"),
                 node("Sub", "token stop", "differ"), node("Abs", "differ", "far"), node("ReduceSum", "far", "sum", keepdims=0),
                 node("Greater", "sum zero", "running"), *ends],
                [info("go", (), BOOL), info("h1", ["batch", 8]), info("written1", None, INT64), info("n1", (), INT64),
                 info("token", ["batch", 1], INT64)])
    constants = {"endless": np.int64(2**63 - 1), "w": np.roll(np.eye(8, dtype=np.float32), 1, axis=1), "one": np.int64(1), "zero": np.int64(0),
                 "no": np.bool_(False)}
    nodes = [node("Less", "zero steps", "start"), node("Loop", "endless start x begin zero", "h_out tokens count each", body=step)]
    inputs = [info("x", ["batch", 8]), info("begin", ["batch", 1], INT64), info("steps", (), INT64), info("stop", (), INT64)]
    outputs = [info("h_out"), info("tokens", None, INT64), info("count", None, INT64), info("each", None, INT64)]
    made = [numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()]
    path = tmp_path / "decoder.onnx"
    save(helper.make_model(helper.make_graph(nodes, "g", inputs, outputs, made),
                           opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def and_of_branches():
    less = body([], [node("Less", "n1 steps", "less")], [info("less", (), BOOL)])
    return [node("If", "running", "go", then_branch=less, else_branch=body([], [node("Identity", "no", "never")], [info("never", (), BOOL)]))]


@pytest.mark.parametrize("ends", [and_of_branches, lambda: [node("GreaterOrEqual", "n1 steps", "full"), node("Not", "full", "room"),
                                                            node("And", "room running", "go")]])
def test_a_counter_bounds_a_loop(ends, tmp_path):
    path = decoder(tmp_path, ends())
    _, report = snug.compile_model(path, tmp_path / "m.so", {"batch": "1..3"}, flags=["--value", "steps=0..20"])
    lengths = set()
    for batch, steps, stop in ((1, 20, 0), (3, 20, 3), (2, 5, 1), (1, 20, 2), (1, 20, 5), (1, 1, 0), (2, 0, 0)):
        values = {"x": noise(batch, 8, seed=stop), "begin": np.ones((batch, 1), np.int64), "steps": np.array(steps), "stop": np.array(stop)}
        got, stats = snug.run_model(tmp_path / "m.so", values)
        assert stats["measured"]["arena_high_water"] <= report["memory"]["arena"]
        want = snug.reference(path, values)
        lengths.add(int(want["count"]))
        assert got["tokens"].shape == (batch, 1 + want["count"])
        for key, value in want.items():
            if steps or key != "each":  # of no parts ONNX Runtime does not know how large they would be
                assert got[key].shape == value.shape and np.allclose(got[key], value, rtol=1e-5, atol=1e-6), key
    assert len(lengths) > 3  # some were ended by data


@pytest.mark.parametrize("axis,turned", [(0, 0), (1, 1)])
def test_scan(axis, turned, tmp_path):
    step = body([info("s", (3, 8)), info("x", (3, 8))],
                [node("Mul", "s decay", "m"), node("Add", "m x", "t"), node("MatMul", "t w", "o")], [info("t"), info("o")])
    shape = (5, 3, 8) if axis == 0 else (3, 5, 8)
    dims = ["time" if extent == 5 else extent for extent in shape]
    nodes = [node("Scan", "start xs", "last all", body=step, num_scan_inputs=1, scan_input_axes=[axis],
                  scan_input_directions=[turned], scan_output_axes=[axis], scan_output_directions=[1 - turned])]
    report, _ = check(nodes, {"start": noise(3, 8), "xs": noise(*shape, seed=1)},
                      {"decay": np.float32(0.5), "w": noise(8, 8, seed=2)}, [info("last"), info("all")], tmp_path,
                      {"time": "1..64"}, {"xs": dims})
    assert report["memory"]["arena"] <= 128


def test_loops_in_loops_and_branches(tmp_path):
    """Each level uses what is outside of it."""
    inner = body([info("s", (8,)), info("row", (8,))], [node("Max", "s row", "t"), node("Add", "t bias", "o")], [info("t"), info("o")])
    yes = body([], [node("Mul", "scanned a", "then_v")], [info("then_v")])
    no = body([], [node("Sub", "a scanned", "else_v")], [info("else_v")])
    step = body(loop_head([info("a", (6, 8))]),
                [node("Scan", "floor a", "top scanned", body=inner, num_scan_inputs=1),
                 node("ReduceSum", "scanned", "total", keepdims=0), node("Less", "total zero", "low"),
                 node("If", "low", "b", then_branch=yes, else_branch=no), node("Tanh", "b", "c"), node("Identity", "go_in", "go")],
                [info("go", (), BOOL), info("c"), info("top")])
    check([node("Loop", "count yes x", "p tops", body=step)], {"x": noise(6, 8)},
          {"count": np.int64(5), "yes": np.bool_(True), "floor": noise(8, seed=3), "bias": noise(8, seed=4) * 0.5,
           "zero": np.float32(0)}, [info("p"), info("tops")], tmp_path)


@pytest.mark.parametrize("condition", [False, True])
def test_branches_share_their_place(condition, tmp_path):
    """The hidden tensor of one branch is as large as eight of those around it; the other branch needs none of that."""
    yes = body([], [node("MatMul", "h w1", "a1"), node("Relu", "a1", "a2"), node("MatMul", "a2 w2", "then_v")], [info("then_v")])
    no = body([], [node("Neg", "h", "else_v")], [info("else_v")])
    nodes = [node("Exp", "x", "h"), node("If", "c", "b", then_branch=yes, else_branch=no), node("Softmax", "b", "y", axis=0)]
    report, _ = check(nodes, {"x": noise(32, 64), "c": np.array(condition)},
                      {"w1": noise(64, 512) * 0.1, "w2": noise(512, 64) * 0.1}, [info("y")], tmp_path)
    # h and the hidden tensor; the branch's result; nothing else.
    assert report["memory"]["arena"] <= 32 * (64 + 512 + 64) * 4


def test_bodies_are_searched(tmp_path):
    """At a quarter of the arena the body of a loop is cut in chunks, and gives the same bits."""
    step = body([info("s", (256, 64)), info("x", (256, 64))],
                [node("Add", "s x", "t"), node("MatMul", "t w1", "h"), node("Relu", "h", "r"), node("MatMul", "r w2", "n"),
                 node("Tanh", "n", "o")], [info("o")])
    nodes = [node("Scan", "start xs", "last", body=step, num_scan_inputs=1)]
    values = {"start": noise(256, 64), "xs": noise(4, 256, 64, seed=1)}
    constants = {"w1": noise(64, 512) * 0.1, "w2": noise(512, 64) * 0.1}
    whole, want = check(nodes, values, constants, [info("last")], tmp_path)
    budget = whole["memory"]["arena"] // 4
    small, got = check(nodes, values, constants, [info("last")], tmp_path, name="small", activation_budget=budget)
    assert small["memory"]["arena"] <= budget and len(small["chunk_loops"]) > 0
    assert np.array_equal(got["last"], want["last"])
