# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What snugc says of ops and inputs: --check, --list-ops, --value."""
from pathlib import Path

import numpy as np

from conftest import files, model, refused, snug_run, snugc, values
from onnx import TensorProto, helper

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_check_lists_all_that_is_not_supported(mlp, tmp_path):
    result = snugc(mlp(), "--check")
    assert (result.code, result.out) == (0, "") and "all of the model is supported" in result.err
    nodes = [helper.make_node("Bogus", ["x"], ["a"], "first bogus"), helper.make_node("Relu", ["a"], ["b"], "fine"),
             helper.make_node("Bogus", ["b"], ["c"], "second bogus"),
             helper.make_node("Slice", ["x", "i", "i"], ["d"], "slice"), helper.make_node("Odd", ["d"], ["e"], "odd",
                                                                                          domain="my.domain"),
             helper.make_node("Concat", ["c", "e"], ["y"], "concat", axis=0)]
    path = model(nodes, [values("x", ["n", 4]), values("i", [1], TensorProto.INT64)], [values("y", None)],
                 path=tmp_path / "bad.onnx")
    result = snugc(path, "--check")
    refused(result, 3, "'first bogus'", "op Bogus of opset 20", "(2 nodes, 'second bogus')", "'odd'", "op my.domain.Odd",
            "node 'slice': Slice: bounds computed from data")
    assert "fine" not in result.err and "concat" not in result.err
    assert len(result.err.splitlines()) == 3
    assert snugc(path, "--check", "--dry-run").code == 1
    assert files(tmp_path) == ["bad.onnx", "mlp.onnx", "mlp.onnx.data"]


def test_inputs_that_are_maps(tmp_path):
    nodes = [helper.make_node("DictVectorizer", ["x"], ["y"], domain="ai.onnx.ml", string_vocabulary=["a", "b"])]
    numbers = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    path = model(nodes, [helper.make_value_info("x", helper.make_map_type_proto(TensorProto.STRING, numbers))], [values("y", None)],
                 path=tmp_path / "maps.onnx")
    refused(snugc(path, "-o", tmp_path / "m.so"), 3, "input 'x' is a map", "export the model with a tensor")
    assert files(tmp_path) == ["maps.onnx"]


def test_the_table_of_operators_is_up_to_date():
    result = snugc("--list-ops")
    assert result.code == 0 and "| ai.onnx | Relu | 1 |" in result.out
    assert result.out == (DOCS / "ops.md").read_text(), "snugc --list-ops > docs/ops.md"


def test_values_of_inputs_that_decide_shapes(tmp_path):
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"], "the reshape")]
    path = model(nodes, [values("x", ["n", 6]), values("shape", [2], TensorProto.INT64)], [values("y", None)],
                 path=tmp_path / "reshape.onnx")
    library = tmp_path / "m.so"
    refused(snugc(path, "-o", library, "--dim", "n=4"), 3, "the reshape", "computed from data")
    assert snugc(path, "-o", library, "--dim", "n=4", "--value", "shape=-1,8").code == 0
    x = np.arange(24, dtype=np.float32).reshape(4, 6)
    np.savez(tmp_path / "in.npz", x=x, shape=np.array([-1, 8]))
    assert snug_run(library, "--inputs", tmp_path / "in.npz", "--outputs", tmp_path / "out.npz").code == 0
    np.testing.assert_array_equal(np.load(tmp_path / "out.npz")["y"], x.reshape(3, 8))
    for text, words in {"nope=1": ["'nope'", "x, shape"], "shape=1": ["2 elements, given are 1"],
                        "shape=1,z": ["'z' is no number"], "shape=4..1": ["a range goes up"], "shape=1.5,2": ["'1.5'"],
                        "x=1": ["not fixed"]}.items():
        refused(snugc(path, "-o", library, "--dim", "n=4", "--value", text), 1, "--value", *words)
