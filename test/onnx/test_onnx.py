# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The `onnx` package's own tests against expected_failures.txt: a seeded sample, and in the long tests all of them."""
import os
import pathlib
import subprocess
import sys
import unittest

import numpy as np
import onnx
import onnx.backend.test
import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import cases  # noqa: E402
import expected  # noqa: E402
import modes  # noqa: E402
import snug.onnx_backend  # noqa: E402


def score(*options):
    done = subprocess.run([sys.executable, HERE / "scoreboard.py", "--cache", os.environ["SNUG_ONNX_CACHE"], *options],
                          capture_output=True, text=True)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr
    return done.stdout


def test_sample():
    assert " results in " in score("--sample", "300", "--seed", "1")


@pytest.mark.long
@pytest.mark.parametrize("mode", modes.MODES)
def test_all(mode):
    assert " results in " in score("--mode", mode)


def case(name, *op_types):
    nodes = [onnx.helper.make_node(op, ["x"], ["y"]) for op in op_types]
    return cases.Case(name, "node", onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [], [])), [], 0, 0)


def test_the_table_is_kept(tmp_path):
    path = tmp_path / "table.txt"
    path.write_text("# comment\n*: not yet\n  op=Foo\ngiven,tight: only so\n  test_bar_*\n")
    table = expected.Table.read(path)
    foo, bar, other = case("test_foo", "Foo"), case("test_bar_1", "Bar"), case("test_other", "Bar")
    assert table.problems({(foo, "given"): "no", (bar, "tight"): "no", (other, "given"): "", (bar, "dynamic"): ""}) == []
    problems = table.problems({(foo, "given"): "", (bar, "dynamic"): "no", (other, "given"): "no"})
    assert [problem.split(" (")[0] for problem in problems] == ["PASSED test_foo", "FAILED test_bar_1",
                                                                 "FAILED test_other"]
    assert "line 3" in problems[0]
    for wrong in ("  op=Foo", "given", "sometimes: no", "given:"):
        path.write_text(wrong + "\n")
        with pytest.raises(ValueError, match="line 1"):
            expected.Table.read(path)


def test_a_proposed_table_covers_just_the_failures(tmp_path):
    all_cases = [case("test_foo_a", "Foo"), case("test_foo_b", "Foo", "Bar"), case("test_bar_a", "Bar"),
                 case("test_bar_b", "Bar")]
    outcomes = {(c, mode): "" for c in all_cases for mode in modes.MODES}
    for mode in modes.MODES:
        outcomes[all_cases[0], mode] = outcomes[all_cases[1], mode] = "exit 3: op Foo of opset 7 is not supported (1 node)"
    outcomes[all_cases[3], "dynamic"] = "wrong result: off"
    path = tmp_path / "table.txt"
    path.write_text("\n".join(expected.propose(outcomes)))
    assert path.read_text().splitlines() == ["*: the op is not supported", "  op=Foo", "dynamic: wrong result: off",
                                             "  test_bar_b"]
    assert expected.Table.read(path).problems(outcomes) == []


def test_modes_keep_what_a_model_computes():
    info = lambda name, shape: onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)  # noqa: E731
    graph = onnx.helper.make_graph([onnx.helper.make_node("Add", ["x", "y"], ["z"])], "g",
                                   [info("x", [3, 4]), info("y", [1, 4])], [info("z", [3, 4])])
    model, arrays = onnx.helper.make_model(graph), [np.ones((3, 4), "f4"), np.ones((1, 4), "f4")]
    dynamic, extents = modes.forced_dynamic(model, arrays)
    assert extents == {"i0d0": 3, "i0d1": 4, "i1d1": 4}
    assert modes.ranges(dynamic, {"i0d0": 3}) == {"i0d0": "3..6"}
    assert [d.dim_param or d.dim_value for i in dynamic.graph.input for d in i.type.tensor_type.shape.dim] == [
        "i0d0", "i0d1", 1, "i1d1"]
    assert not any(d.HasField("dim_value") for d in dynamic.graph.output[0].type.tensor_type.shape.dim)
    assert modes.given_dims(dynamic, arrays) == extents
    reshape = onnx.helper.make_graph(
        [onnx.helper.make_node("Cast", ["s"], ["t"], to=7), onnx.helper.make_node("Reshape", ["x", "t"], ["z"])], "g",
        [info("x", [3, 4]), info("s", [1])], [info("z", [12])])
    deciding, arrays_of_it = onnx.helper.make_model(reshape), [np.ones((3, 4), "f4"), np.array([12], "f4")]
    assert modes.values(deciding, arrays_of_it) == {"s": "12.0"} and modes.values(model, arrays) == {}
    assert modes.ranges(deciding, {"i0d0": 3}) == {"i0d0": "3..6:3"}
    assert modes.forced_dynamic(deciding, arrays_of_it)[0].graph.input[1].type.tensor_type.shape.dim[0].dim_value == 1
    constant, left = modes.with_constants(model, arrays)
    assert not left and not constant.graph.input and [t.name for t in constant.graph.initializer] == ["x", "y"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 3  # the original is as it was


def test_a_crash_is_the_failure_of_one_test(monkeypatch):
    import scoreboard
    monkeypatch.setattr(scoreboard, "judge", lambda case, mode: os._exit(9) if case.name == "test_dies" else "")
    results = {}
    scoreboard.run_all([case("test_a"), case("test_dies"), case("test_b")], [(0, "given"), (1, "given"), (2, "given")], 1,
                       lambda task, result: results.update({task: result[0]}))
    assert results == {(0, "given"): "", (1, "given"): "the process died with code 9", (2, "given"): ""}


def test_the_package_has_a_backend():
    """As onnx/backend-scoreboard runs it: ONNX's own runner over the module that the package installs."""
    tests = onnx.backend.test.BackendTest(snug.onnx_backend, __name__)
    tests.include("^test_(softmax_example|sequence_insert_at_back|reshape_one_dim|string_concat)_cpu$")
    run = unittest.TestResult()
    for case in tests.test_cases.values():
        unittest.defaultTestLoader.loadTestsFromTestCase(case).run(run)
    assert run.wasSuccessful(), run.failures + run.errors
    assert run.testsRun - len(run.skipped) == 4
