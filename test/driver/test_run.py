# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""snug-run on a library that snugc made: files in and out."""
import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from conftest import model, numpy_tensor, snug_run, snugc, values

TYPES = [TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL]


@pytest.fixture
def copies(tmp_path):
    """A library with an input and an output of each dtype, the output being the input twice."""
    inputs = [values(f"i{t}", ["n"], t) for t in TYPES]
    nodes = [helper.make_node("Concat", [f"i{t}", f"i{t}"], [f"o{t}"], axis=0) for t in TYPES]
    path = model(nodes, inputs, [values(f"o{t}", ["m"], t) for t in TYPES], path=tmp_path / "m.onnx")
    result = snugc(path, "-o", tmp_path / "m.so", "--dim", "n=1..9")
    assert result.code == 0, result.err
    return tmp_path / "m.so"


def arrays():
    return {f"i{t}": np.array([1, 0, 1], helper.tensor_dtype_to_np_dtype(t)) for t in TYPES}


@pytest.mark.parametrize("raw", [True, False])
def test_onnx_tensor_files(copies, tmp_path, raw):
    flags = []
    for name, array in arrays().items():
        dtype = helper.np_dtype_to_tensor_dtype(array.dtype)
        tensor = numpy_tensor(array, name) if raw else helper.make_tensor(name, dtype, array.shape, array)
        (tmp_path / f"{name}.pb").write_bytes(tensor.SerializeToString())
        flags += ["--input", f"{name}={tmp_path / name}.pb", "--output", f"{name.replace('i', 'o')}={tmp_path / name}.out.pb"]
    result = snug_run(copies, *flags, "--output", f"o1={tmp_path / 'o1.npy'}")
    assert result.code == 1 and "twice" in result.err
    result = snug_run(copies, *flags)
    assert result.code == 0, result.err
    for name, array in arrays().items():
        got = onnx.load_tensor(tmp_path / f"{name}.out.pb")
        assert got.name == name.replace("i", "o")
        assert np.array_equal(numpy_helper.to_array(got), np.concatenate([array, array]))


@pytest.mark.parametrize("data,words", [
    (b"\xff\xff\xff", ["no ONNX TensorProto"]),
    (b"", ["no ONNX TensorProto"]),
    (TensorProto(dims=[3], data_type=TensorProto.FLOAT, raw_data=b"123").SerializeToString(), ["size that its dims"]),
    (TensorProto(dims=[-3], data_type=TensorProto.FLOAT).SerializeToString(), ["negative"]),
    (TensorProto(dims=[3], data_type=TensorProto.STRING).SerializeToString(), ["as many strings as its dims"]),
    (TensorProto(dims=[3], data_type=99).SerializeToString(), ["element type 99"]),
    (TensorProto(dims=[3], data_type=TensorProto.DOUBLE, raw_data=bytes(24)).SerializeToString(), ["'i1'", "float64"]),
])
def test_bad_onnx_tensor_files(copies, tmp_path, data, words):
    (tmp_path / "x.pb").write_bytes(data)
    result = snug_run(copies, "--random-inputs", 1, "--input", f"i1={tmp_path / 'x.pb'}", "--dim", "n=3")
    assert result.code == 6, result.err
    assert all(word in result.err for word in words), result.err


def test_stats(copies, tmp_path):
    result = snug_run(copies, "--random-inputs", 1, "--dim", "n=9", "--warmup", 2, "--repeat", 5, "--threads", 1,
                      "--stats", tmp_path / "s.json")
    assert result.code == 0, result.err
    stats = json.loads((tmp_path / "s.json").read_text())
    assert {"weights", "arena", "total"} <= stats["planned"].keys()
    assert stats["measured"]["allocations_in_run"] == 0
    assert stats["measured"]["arena_high_water"] <= stats["planned"]["arena"]
    assert {"arena_high_water", "allocations_in_run", "rss_growth"} <= stats["measured"].keys()
    assert stats["threads"] == 1 and len(stats["latency_ms"]["all"]) == 5
    assert stats["latency_ms"]["min"] == min(stats["latency_ms"]["all"])


def test_usage(copies, tmp_path):
    for flags, word in [((), "missing"), (("--bogus",), "--bogus"), (("--random-range", "i7=1..2"), "--random-inputs"),
                        (("--random-inputs", 1), "'n'"), (("--output", f"q={tmp_path}/q.npy", "--random-inputs", 1), "'q'")]:
        result = snug_run(copies, *flags)
        assert result.code == 1 and word in result.err, result.err
    assert snug_run().code == 1
    assert snug_run(tmp_path / "none.so").code == 5
    (tmp_path / "text.so").write_text("no library")
    assert snug_run(tmp_path / "text.so").code == 2
