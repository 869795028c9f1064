# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The compiler's C API, from C and from Python. COMPILE_IN_PROCESS is the C program of this folder."""
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "python"))
import snug  # noqa: E402
import snug.compiler  # noqa: E402


def model(op="Add", external=None, rows="n"):
    """x[rows, 700] op w, as bytes. The weight is larger than what is held by value in a file."""
    info = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [rows, 700])  # noqa: E731
    weight = numpy_helper.from_array(np.arange(700, dtype="f4"), "w")
    if external:
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        weight.external_data.add(key="location", value=external)
    graph = helper.make_graph([helper.make_node(op, ["x", "w"], ["y"], "the node")], "g", [info("x")], [info("y")],
                              [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]).SerializeToString()


def test_from_c(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(model(rows=3))
    subprocess.run([os.environ["COMPILE_IN_PROCESS"], path, tmp_path], check=True)


def test_a_model_in_memory_has_its_weights(tmp_path):
    library = tmp_path / "m.so"
    said = snug.compiler.compile("-o", library, "--dim", "n=1..8", model=model())
    assert said.startswith("arena ") and "weights 2.7 KiB" in said
    x = np.ones((2, 700), "f4")
    np.testing.assert_array_equal(snug.load(library)(x)["y"], x + np.arange(700))


def test_errors_name_model_and_node(tmp_path):
    def refuse(code, *parts, **options):
        with pytest.raises(snug.Error) as error:
            snug.compiler.compile("-o", tmp_path / "m.so", "--dim", "n=1", **options)
        assert error.value.code == code
        assert all(part in str(error.value) for part in parts), error.value
        assert not list(tmp_path.glob("m.so*"))

    refuse(3, "the node", "NoSuchOp", model=model("NoSuchOp"))
    refuse(2, "mine.onnx", model=b"\xff" * 9, name="mine.onnx")
    refuse(2, "'w'", "in no folder", model=model(external="weights.bin"))
    refuse(2, "'w'", "in no folder", model=model(external="../model.onnx"))


def test_a_depfile_names_no_file_for_a_model_in_memory(tmp_path):
    snug.compiler.compile("-o", tmp_path / "m.so", "--dim", "n=1", "--depfile", tmp_path / "m.d", model=model())
    assert (tmp_path / "m.d").read_text().split(":")[1].strip() == ""


def test_prints_what_a_flag_asks_for():
    code, output, messages = snug.compiler.run("--emit", "canonicalize", "--dim", "n=1", model=model())
    assert (code, messages) == (0, "") and "linalg.generic" in output
    assert snug.compiler.run("--version")[1].strip() == snug.compiler.version() == snug.version()
