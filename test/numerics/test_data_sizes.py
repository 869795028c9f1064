# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Sizes that are computed from data: results of the actual shape, at several data, in memory that was planned for the bound."""
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

import snug
from ops import Graph, noise

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def sparse(*shape, share=0.4, seed=0):
    """Of ones and zeros, so many ones."""
    return (np.random.default_rng([seed, *shape]).random(shape) < share).astype(np.float32)


def check(graph, tmp_path, others=({},), dims=None, flags=(), tolerance=1e-6, budget=None):
    """Compiles once; compares with ONNX Runtime at the graph's values and at others. Gives the report."""
    model = graph.save(tmp_path / "ops.onnx")
    _, report = snug.compile_model(model, tmp_path / "ops.so", dims or {}, activation_budget=budget, flags=flags)
    for values in others:
        values = {**graph.values, **values}
        got, stats = snug.run_model(tmp_path / "ops.so", values)
        assert stats["measured"]["arena_high_water"] <= report["memory"]["arena"]
        assert stats["measured"]["allocations_in_run"] == 0
        for name, value in snug.reference(model, values).items():
            assert got[name].shape == value.shape and got[name].dtype == value.dtype, name
            if value.dtype.kind == "f" and value.size:
                assert np.linalg.norm(got[name] - value) <= tolerance * max(np.linalg.norm(value), 1e-30), name
            else:
                assert np.array_equal(got[name], value), name
    return report


def test_an_output_has_the_shape_of_the_data(tmp_path):
    graph = Graph()
    graph.output(graph.node("NonZero", graph.input("x", sparse(3, 5), ("rows", 5))), 2, INT64)
    full, none, nan = np.ones((4, 5), np.float32), np.zeros((2, 5), np.float32), np.full((1, 5), np.nan, np.float32)
    report = check(graph, tmp_path, [{}, {"x": full}, {"x": none}, {"x": nan}], {"rows": "1..4"})
    assert report["memory"]["outputs"] >= 2 * 4 * 5 * 8


def test_what_follows_has_its_size_of_the_data(tmp_path):
    """Rows chosen by a mask go through products, sums along and across them, and shape arithmetic."""
    graph = Graph()
    x, mask = graph.input("x", noise(9, 6), ("rows", 6)), graph.input("mask", sparse(9), ("rows",))
    places = graph.node("Squeeze", graph.node("NonZero", mask), graph.constant(np.array([0])))
    chosen = graph.node("Gather", x, places, axis=0)
    wide = graph.node("MatMul", chosen, graph.constant(noise(6, 16)))
    sharp = graph.node("Softmax", graph.node("Relu", wide), axis=0)
    graph.output(graph.node("ReduceSum", sharp, graph.constant(np.array([1])), keepdims=0), 1)
    graph.output(graph.node("Concat", sharp, wide, axis=0), 2)
    graph.output(graph.node("Shape", graph.node("Transpose", sharp, perm=[1, 0])), 1, INT64)
    graph.output(graph.node("Range", graph.constant(np.int64(0)), graph.node("Size", places), graph.constant(np.int64(1))), 1,
                 INT64)
    graph.output(graph.node("Reshape", graph.node("Reshape", wide, graph.constant(np.array([-1, 4]))),
                            graph.constant(np.array([-1, 2, 8]))), 3)
    all_of, one = {"mask": np.ones(9, np.float32)}, {"mask": np.eye(1, 9, 4, dtype=np.float32)[0]}
    check(graph, tmp_path, [{}, all_of, one], {"rows": "1..9"}, tolerance=1e-5)


def test_parts_where_a_condition_holds(tmp_path):
    graph = Graph()
    x, rows = graph.input("x", noise(6, 4), ("rows", 4)), graph.input("which", sparse(6) > 0, ("rows",))
    few = graph.input("few", np.array([False, True, True]), (3,))
    graph.output(graph.node("Compress", x, rows, axis=0), 2)
    graph.output(graph.node("Compress", x, few, axis=-1), 2)
    graph.output(graph.node("Compress", graph.node("Exp", x), few), 1)
    check(graph, tmp_path, [{}, {"which": np.ones(6, bool)}, {"few": np.zeros(3, bool), "which": np.zeros(6, bool)}],
          {"rows": "3..7"})


@pytest.mark.parametrize("in_order", [0, 1])
def test_unique_elements_and_parts(in_order, tmp_path):
    graph = Graph()
    values = np.random.default_rng(1).integers(-3, 4, (5, 3, 4))
    whole, parts = graph.input("whole", values.astype(np.float32), ("n", 3, 4)), graph.input("parts", values % 2, ("n", 3, 4))
    for attributes in ({}, {"axis": 0}, {"axis": -1}):
        source = parts if attributes else whole
        results = graph.node("Unique", source, outputs=4, sorted=in_order, **attributes)
        graph.output(results[0], 3 if attributes else 1, INT64 if attributes else FLOAT)
        for result in results[1:]:
            graph.output(result, 1, INT64)
    other = np.random.default_rng(2).integers(0, 9, (7, 3, 4))
    check(graph, tmp_path, [{}, {"whole": other.astype(np.float32), "parts": other * 0}], {"n": "1..7"})


def boxes(images, count, seed=0):
    corners = np.random.default_rng(seed).random((images, count, 4)).astype(np.float32)
    return corners + np.array([0, 0, .5, .5], np.float32)


@pytest.mark.parametrize("centered", [0, 1])
def test_boxes_that_do_not_overlap(centered, tmp_path):
    graph = Graph()
    places, scores = graph.input("boxes", boxes(2, 40), ("b", "n", 4)), noise(2, 3, 40)
    scores = graph.input("scores", np.round(scores, 1), ("b", 3, "n"))
    most = graph.input("most", np.array([5]))
    overlap, least = graph.input("overlap", np.array([.3], np.float32)), graph.input("least", np.array([-.5], np.float32))
    graph.output(graph.node("NonMaxSuppression", places, scores, graph.constant(np.array([7])), center_point_box=centered), 2,
                 INT64)
    chosen = graph.node("NonMaxSuppression", places, scores, most, overlap, least, center_point_box=centered)
    graph.output(chosen, 2, INT64)
    # What detectors do with it.
    numbers = graph.node("Gather", chosen, graph.constant(np.array([0, 2])), axis=1)
    graph.output(graph.node("GatherND", places, numbers), 2)
    fewer = {"boxes": boxes(1, 12, seed=5), "scores": noise(1, 3, 12, seed=5)}
    report = check(graph, tmp_path, [{}, {"most": np.array([100])}, {"most": np.array([0])}, fewer,
                                     {"overlap": np.array([1], np.float32), "least": np.array([9], np.float32)}],
                   {"b": "1..2", "n": "1..40"})
    # As many as the number says, or else all.
    assert report["memory"]["outputs"] == (2 * 3 * 7 + 2 * 3 * 40) * 3 * 8 + 2 * 3 * 40 * 4 * 4


def test_as_many_of_the_largest_as_data_says(tmp_path):
    graph = Graph()
    x, mask = graph.input("x", noise(3, 20), ("rows", 20)), graph.input("mask", sparse(20))
    count = graph.node("Reshape", graph.node("Cast", graph.node("ReduceSum", mask), to=INT64), graph.constant(np.array([1])))
    values, places = graph.node("TopK", x, count, outputs=2)
    graph.output(graph.node("Tanh", values), 2)
    graph.output(places, 2, INT64)
    check(graph, tmp_path, [{}, {"mask": np.ones(20, np.float32)}, {"mask": np.zeros(20, np.float32)}], {"rows": "1..3"})


def test_values_of_inputs_are_dims(tmp_path):
    """What decides sizes is read from the inputs, for all within the range."""
    graph = Graph()
    x, k = graph.input("x", noise(4, 12), ("rows", 12)), graph.input("k", np.array([3]))
    shape, limit = graph.input("shape", np.array([2, 5])), graph.input("limit", np.int64(7))
    repeats = graph.input("repeats", np.array([1, 2]))
    values, places = graph.node("TopK", x, k, outputs=2)
    graph.output(values, 2)
    graph.output(places, 2, INT64)
    graph.output(graph.node("Range", graph.constant(np.int64(0)), limit, graph.constant(np.int64(2))), 1, INT64)
    graph.output(graph.node("ConstantOfShape", shape), 2)
    graph.output(graph.node("Expand", graph.input("one", noise(1, 1)), shape), 2)
    graph.output(graph.node("Tile", values, repeats), 2)
    ends = graph.node("Concat", graph.constant(np.array([4])), k, axis=0)
    graph.output(graph.node("Slice", x, graph.constant(np.array([0, 0])), ends), 2)
    values = [{}, {"k": np.array([12])}, {"k": np.array([1]), "shape": np.array([6, 1]), "limit": np.array(0)},
              {"repeats": np.array([3, 1]), "x": noise(5, 12)}]
    flags = ["--value", "k=1..12", "--value", "shape=1..6", "--value", "limit=0..9", "--value", "repeats=1..3,1..2"]
    check(graph, tmp_path, values, {"rows": "4..5"}, flags=flags)


def loop_model(path, has_count, limit):
    """Doubles x and collects it until the sum is above `limit`, an input, and at most `n` times."""
    info = helper.make_tensor_value_info
    nodes = [helper.make_node("Add", ["a", "a"], ["b"]), helper.make_node("ReduceSum", ["b"], ["s"], keepdims=0),
             helper.make_node("Less", ["s", "limit"], ["go"]) if limit else helper.make_node("Identity", ["go_in"], ["go"]),
             helper.make_node("Identity", ["b"], ["part"]), helper.make_node("Identity", ["i"], ["number"])]
    step = helper.make_graph(nodes, "step", [info("i", INT64, ()), info("go_in", BOOL, ()), info("a", FLOAT, ["w"])],
                             [info("go", BOOL, ()), info("b", FLOAT, ["w"]), info("part", FLOAT, ["w"]), info("number", INT64, ())])
    loop = helper.make_node("Loop", ["n" if has_count else "nine", "yes", "x"], ["y", "all", "numbers"], name="loop", body=step)
    made = [numpy_helper.from_array(np.array(9), "nine"), numpy_helper.from_array(np.array(True), "yes")]
    graph = helper.make_graph([loop, helper.make_node("ReduceSum", ["all"], ["total"], keepdims=0)], "g",
                              [info("n", INT64, ())][:has_count] + [info("x", FLOAT, ["w"]), info("limit", FLOAT, ())],
                              [info("y", FLOAT, None), info("all", FLOAT, None), info("numbers", INT64, None),
                               info("total", FLOAT, None)], made)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


@pytest.mark.parametrize("has_count", [True, False])
@pytest.mark.parametrize("limit", [True, False])
def test_loops_of_as_many_iterations_as_there_are(has_count, limit, tmp_path):
    path = loop_model(tmp_path / "m.onnx", has_count, limit)
    flags = ["--value", "n=0..12"] if has_count else []
    _, report = snug.compile_model(path, tmp_path / "m.so", {"w": "1..5"}, flags=flags)
    for count, bound in ((12, 50.), (1, 9.), (0, 9.), (7, 1e9)):
        values = {"x": np.arange(1, 4, dtype=np.float32), "limit": np.array(bound, np.float32)}
        values.update({"n": np.array(count)} if has_count else {})
        got, stats = snug.run_model(tmp_path / "m.so", values)
        assert stats["measured"]["arena_high_water"] <= report["memory"]["arena"]
        for name, want in snug.reference(path, values).items():
            if has_count and count == 0 and name == "all":  # of no parts ONNX Runtime does not know how large they would be
                assert got[name].shape == (0, 3)
            else:
                assert got[name].shape == want.shape and np.allclose(got[name], want, rtol=1e-6), (name, count)


def test_budgets_hold_whatever_the_data_is(tmp_path):
    """What has a size of data may be computed in slices like anything else, and changes no bit."""
    graph = Graph()
    x, mask = graph.input("x", noise(256, 48), ("rows", 48)), graph.input("mask", sparse(256), ("rows",))
    before = graph.node("MatMul", graph.node("Tanh", graph.node("MatMul", x, graph.constant(noise(48, 512)))),
                        graph.constant(noise(512, 48)))
    chosen = graph.node("Gather", before, graph.node("Squeeze", graph.node("NonZero", mask), graph.constant(np.array([0]))), axis=0)
    wide = graph.node("Tanh", graph.node("MatMul", chosen, graph.constant(noise(48, 512))))
    graph.output(graph.node("MatMul", graph.node("Softmax", wide, axis=-1), graph.constant(noise(512, 8))), 2)
    others = [{}, {"mask": np.ones(256, np.float32)}, {"mask": np.zeros(256, np.float32)}]
    free = check(graph, tmp_path, others, {"rows": "1..256"}, tolerance=1e-5)
    whole, _ = snug.run_model(tmp_path / "ops.so", graph.values)
    tight = check(graph, tmp_path, others, {"rows": "1..256"}, tolerance=1e-5, budget="60%")
    assert tight["chunk_loops"] and tight["memory"]["arena"] < free["memory"]["arena"]
    parts, _ = snug.run_model(tmp_path / "ops.so", graph.values)
    assert np.array_equal(whole[graph.outputs[0].name], parts[graph.outputs[0].name])


def test_the_smaller_of_a_number_and_a_size_of_data(tmp_path):
    """The best of what a mask leaves, as detectors pick them: both are counted from one mask that the file has twice."""
    graph = Graph()
    scores, limit = graph.input("scores", np.random.default_rng(3).random(12, dtype=np.float32), ("boxes",)), graph.constant(np.float32(0.5))
    masks = [graph.node("Cast", graph.node("Greater", scores, limit), to=FLOAT) for _ in range(2)]
    first, second = (graph.node("Squeeze", graph.node("NonZero", mask), graph.constant(np.array([0]))) for mask in masks)
    kept = graph.node("Gather", scores, first)
    count = graph.node("Min", graph.constant(np.array([5])), graph.node("Shape", second))
    best, places = graph.node("TopK", kept, count, outputs=2)
    graph.output(best, 1)
    graph.output(graph.node("Gather", second, places), 1, INT64)
    graph.output(graph.node("Slice", kept, graph.constant(np.array([0])), graph.constant(np.array([3]))), 1)
    others = [{"scores": np.full(12, value, np.float32)} for value in (0.1, 0.9)]
    check(graph, tmp_path, [{}, *others, {"scores": np.array([0.7, 0.2, 0.6], np.float32)}], {"boxes": "1..12"})


@pytest.mark.parametrize("rows", [3, 0])
def test_branches_of_different_sizes(rows, tmp_path):
    """What nothing is left of is an empty list in one branch, and computed in the other."""
    graph = Graph()
    x, mask = graph.input("x", noise(9, 4), ("n", 4)), graph.input("mask", np.arange(9) < rows, ("n",))
    places = graph.node("Squeeze", graph.node("NonZero", mask), graph.constant(np.array([0])))
    chosen = graph.node("Gather", x, places)
    is_empty = graph.node("Equal", graph.node("Size", chosen), graph.constant(np.int64(0)))
    info = helper.make_tensor_value_info
    empty = helper.make_graph([helper.make_node("Constant", [], ["none"], value=numpy_helper.from_array(np.zeros((1, 4), np.float32)))],
                              "then", [], [info("none", FLOAT, None)])
    doubled = helper.make_graph([helper.make_node("Concat", [chosen, chosen], ["both"], axis=0)], "else", [], [info("both", FLOAT, None)])
    result = graph.node("If", is_empty, then_branch=empty, else_branch=doubled)
    graph.output(result, 2)
    graph.output(graph.node("ReduceSum", result, graph.constant(np.array([1])), keepdims=0), 1)
    check(graph, tmp_path, [{}, {"x": noise(2, 4), "mask": np.array([False, True])}], {"n": "1..9"})
