# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What is refused: exit code, a message that names fact and remedy, and nothing left behind."""
import json
import os
import re
import signal
import subprocess

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from conftest import files, model, numpy_tensor, refused, snug_run, snugc, values

ROWS = ("--dim", "rows=1024")


# --- usage: 1 ---------------------------------------------------------------------------------------------------------


def test_usage(mlp, tmp_path):
    path, out = mlp(), tmp_path / "m.so"
    refused(snugc(), 1, "no model named")
    refused(snugc("--bogus"), 1, "--bogus")
    refused(snugc(path), 1, "-o OUT.so")
    refused(snugc(path, "-o", out, "--emit", "nothing"), 1, "'nothing'", "import, canonicalize, shard, fuse")
    refused(snugc(path, "--dry-run", "--emit", "plan", *ROWS), 1, "exclude each other")
    refused(snugc(path, "-o", out, *ROWS, "--march", "pentium99"), 1, "pentium99", "leave --march out")
    refused(snugc(path, "-o", out, *ROWS, "--target", "toaster"), 1, "--target")
    refused(snugc(path, "-o", out, *ROWS, "--threads", "0"), 1, "--threads")
    refused(snugc(path, "-o", out, *ROWS, "--activation-budget", "12parsecs"), 1, "12parsecs", "KiB")
    refused(snugc(path, "-o", out, *ROWS, "--activation-budget", "101%"), 1, "101%")
    refused(snugc(path, "-o", out, *ROWS, "--memory-budget", "50%"), 1, "50%")
    refused(snugc(path, "-o", path, *ROWS), 1, "is the model itself")
    refused(snugc(path, "--dry-run", *ROWS, "--measure"), 1, "--measure", "--budget-sweep")
    assert files(tmp_path) == ["mlp.onnx", "mlp.onnx.data"]


def test_machine_files(mlp, tmp_path):
    path, out, file = mlp(), tmp_path / "m.so", tmp_path / "m.json"
    good = json.loads(snugc(path, "--dry-run", *ROWS, "--report", "/dev/stdout").out)["machine"]

    def refuses(text, code, *words):
        file.write_text(text)
        refused(snugc(path, "-o", out, *ROWS, "--machine", file), code, str(file), *words)
    refused(snugc(path, "-o", out, *ROWS, "--machine", tmp_path / "none.json"), 5, "none.json", "No such file")
    refuses("", 2, "no JSON object", "--calibrate")
    refuses(json.dumps({**good, "colour": "red"}), 2, "not known, 'colour'")
    refuses(json.dumps({key: value for key, value in good.items() if key != "fork_us"}), 2, "lacks the key 'fork_us'")
    refuses(json.dumps({**good, "contraction_gops": -3}), 2, "'contraction_gops' is -3, not a number from")
    refuses(json.dumps({**good, "contraction_gops": float("inf")}), 2, "not valid")
    refuses(json.dumps({**good, "memory_gbps": []}), 2, "'memory_gbps'")
    refuses(json.dumps({**good, "version": 7}), 2, "'version'")
    refuses(json.dumps({**good, "launch_us": "\x1b[31m"}), 2, "'launch_us'")
    file.write_text(json.dumps(good))
    refused(snugc(path, "-o", file, *ROWS, "--machine", file), 1, "is the machine file")
    refused(snugc(path, "-o", out, *ROWS, "--machine", file, "--march", "pentium99"), 1, "pentium99")
    assert files(tmp_path) == ["m.json", "mlp.onnx", "mlp.onnx.data"]


def test_calibrate_is_asked_for_in_full(mlp, tmp_path):
    refused(snugc("--calibrate"), 1, "-o FILE.json")
    refused(snugc(mlp(), "--calibrate", "-o", tmp_path / "m.json"), 1, "takes no model")
    refused(snugc("--calibrate", "-o", tmp_path / "m.json", "--march", "x86-64-v2"), 1, "leave --march out")
    refused(snugc("--calibrate", "-o", tmp_path / "none" / "m.json"), 5, "cannot write")


def test_missing_dims_print_the_command(mlp, tmp_path):
    path, out = mlp(), tmp_path / "it's m.so"
    result = snugc(path, "-o", out, "--activation-budget", "1MiB", "--threads", 1)
    refused(result, 1, "dim 'rows' has no value")
    command = result.err.strip().splitlines()[-1]
    assert command.endswith(" --dim rows=1")
    assert subprocess.run(["sh", "-c", command], capture_output=True).returncode == 0, "the printed command does not work"
    assert out.exists()
    info = snug_run(out, "--info").out
    assert "1 thread(s)" in info, "the printed command has lost a flag"


def test_unknown_dim(mlp, tmp_path):
    refused(snugc(mlp(), "--dry-run", "--dim", "seq=4"), 1, "no dim 'seq'", "its dims are rows")


def test_unknown_input_to_donate(mlp):
    path = mlp()
    refused(snugc(path, "--dry-run", "--dim", "rows=4", "--donate", "y"), 1, "--donate", "no input 'y'", "its inputs are x")
    assert snugc(path, "--dry-run", "--dim", "rows=4", "--donate", "x").code == 0


@pytest.mark.parametrize("text", ["rows", "rows=", "rows=x", "rows=5..2", "rows=1..4:0", "rows=-1", "=4"])
def test_bad_dim(mlp, text):
    refused(snugc(mlp(), "--dry-run", "--dim", text), 1, text)


def test_longest_dim_needs_a_budget_in_bytes(mlp):
    path, longest = mlp(), ("--dim", "rows=max")
    refused(snugc(path, "--dry-run", *longest), 1, "rows=max", "--memory-budget or --activation-budget")
    refused(snugc(path, "--dry-run", *longest, "--activation-budget", "50%"), 1, "rows=max", "in bytes")
    refused(snugc(path, "--dry-run", *longest, "--dim", "cols=1..max", "--memory-budget", "1MiB"), 1, "only one", "cols=1..max")
    refused(snugc(path, "--dry-run", "--dim", "rows=x..max", "--memory-budget", "1MiB"), 1, "rows=x..max", "A..max")
    refused(snugc(path, "--dry-run", "--dim", "seq=max", "--memory-budget", "1MiB"), 1, "no dim 'seq'")
    refused(snugc(path, "--dry-run", *longest, "--memory-budget", "1KiB"), 4, "give --memory-budget")


# --- the file: 2, 3, 5 ------------------------------------------------------------------------------------------------


def test_not_a_file(tmp_path):
    refused(snugc(tmp_path / "none.onnx", "--dry-run"), 5, "none.onnx", "cannot be read")
    refused(snugc(tmp_path, "--dry-run"), 5, "is a folder")


def test_wrong_magic(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(64))
    refused(snugc(path, "-o", tmp_path / "m.so"), 2, "m.onnx", "no ONNX model")
    assert files(tmp_path) == ["m.onnx"]


def test_truncated(mlp, tmp_path):
    path = mlp()
    path.write_bytes(path.read_bytes()[:-20])
    refused(snugc(path, "-o", tmp_path / "m.so", *ROWS), 2, "truncated", "export it again")
    assert files(tmp_path) == ["mlp.onnx", "mlp.onnx.data"]


def test_missing_external_data(mlp, tmp_path):
    path = mlp()
    (tmp_path / "mlp.onnx.data").unlink()
    refused(snugc(path, "-o", tmp_path / "m.so", *ROWS), 2, "'w1'", "mlp.onnx.data", "missing")
    assert files(tmp_path) == ["mlp.onnx"]
    # What a run needs is known without weights.
    result = snugc(path, "--dry-run", *ROWS)
    assert result.code == 0 and "weights 128.0 KiB" in result.err, result.err


def test_external_data_outside(mlp, tmp_path):
    path = mlp()
    proto = onnx.load(path, load_external_data=False)
    proto.graph.initializer[0].external_data[0].value = "../mlp.onnx.data"
    path.write_bytes(proto.SerializeToString())
    for flags in (("-o", tmp_path / "m.so"), ("--dry-run",)):
        refused(snugc(path, *ROWS, *flags), 2, "'w1'", "'..'")


def test_unsupported_ops_are_all_listed(tmp_path):
    nodes = [helper.make_node("Relu", ["x"], ["a"], name="fine"),
             helper.make_node("Other", ["a"], ["b"], name="first", domain="com.example"),
             helper.make_node("Other", ["a"], ["c"], name="second", domain="com.example"),
             helper.make_node("Own", ["a"], ["d"], name="third", domain="com.example")]
    graph = model(nodes, [values("x", [2, 2])], [values(n, []) for n in "bcd"])
    graph.opset_import.append(helper.make_opsetid("com.example", 1))
    onnx.save(graph, tmp_path / "m.onnx")
    result = snugc(tmp_path / "m.onnx", "-o", tmp_path / "m.so")
    refused(result, 3, "node 'first'", "op com.example.Other", "(2 nodes, 'second')", "node 'third'", "com.example.Own")
    assert "fine" not in result.err and files(tmp_path) == ["m.onnx"]


RELU = [helper.make_node("Relu", ["x"], ["y"], name="relu")]
SAME = [helper.make_node("Identity", ["x"], ["y"], name="same")]


@pytest.mark.parametrize("nodes,x,words", [
    (RELU, values("x", None), ["input 'x'", "no shape"]),
    (RELU, values("x", [2], TensorProto.STRING), ["node 'relu'", "element type string"]),
    (SAME, values("x", [2], TensorProto.COMPLEX64), ["input 'x'", "complex"]),
    (SAME, helper.make_tensor_sequence_value_info("x", TensorProto.COMPLEX64, None), ["input 'x'", "complex"]),
    ([helper.make_node("Cast", ["x"], ["y"], name="text", to=TensorProto.COMPLEX64)], values("x", [2]), ["node 'text'"]),
    ([helper.make_node("Softmax", ["x"], ["y"], name="soft", axis=7)], values("x", [2]), ["node 'soft'", "axis 7"]),
    ([helper.make_node("MatMul", ["x", "x"], ["y"], name="mul")], values("x", [2, 3]), ["node 'mul'", "[2, 3]"]),
], ids=lambda value: None)
def test_what_is_not_supported_is_refused(tmp_path, nodes, x, words):
    path = model(nodes, [x], [values("y", None)], path=tmp_path / "m.onnx")
    refused(snugc(path, "-o", tmp_path / "m.so"), 3, *words)
    assert files(tmp_path) == ["m.onnx"]


def test_what_the_standard_does_not_allow_is_no_model(tmp_path):
    for inputs, words in ((["x"], "has 1 input, where Add of opset 20 has 2"), (["x", ""], "leaves out input 1")):
        path = model([helper.make_node("Add", inputs, ["y"], name="sum")], [values("x", [2])], [values("y", None)], path=tmp_path / "m.onnx")
        refused(snugc(path, "-o", tmp_path / "m.so"), 2, "node 'sum'", words)
        assert files(tmp_path) == ["m.onnx"]


def test_sequences_need_their_length(tmp_path):
    x, y = (helper.make_tensor_sequence_value_info(name, TensorProto.FLOAT, None) for name in "xy")
    path, out = model(SAME, [x], [y], path=tmp_path / "m.onnx"), tmp_path / "m.so"
    refused(snugc(path, "-o", out), 1, "input 'x' is a sequence", "--dim x.length=1")
    refused(snugc(path, "-o", out, "--dim", "x.length=2"), 1, "input 'x' has no shape", "--dim x.rank=1")
    for text in ("-1", "1..2", "9999999"):
        refused(snugc(path, "-o", out, "--dim", f"x.length={text}"), 1, f"x.length={text}", "one number from 0 to")
    known = ["--dim", "x.length=2", "--dim", "x.rank=1", "--dim", "x.0_dim0=3", "--dim", "x.1_dim0=4"]
    assert snugc(path, "-o", out, *known).code == 0
    info = snug_run(out, "--info").out
    assert all(f"{name}.{i}" in info for name in "xy" for i in (0, 1))


def test_loops_need_a_bound(tmp_path):
    scalar = [values("n", [], TensorProto.INT64), values("c", [], TensorProto.BOOL)]
    step = helper.make_graph([helper.make_node("Identity", ["go_in"], ["go"]), helper.make_node("Exp", ["a"], ["b"])], "step",
                             [values("i", [], TensorProto.INT64), values("go_in", [], TensorProto.BOOL), values("a", [2])],
                             [values("go", [], TensorProto.BOOL), values("b", [2])])
    loop = helper.make_node("Loop", ["n", "c", "x"], ["y"], name="loop", body=step)
    path = model([loop], [*scalar, values("x", [2])], [values("y", [2])], path=tmp_path / "m.onnx")
    refused(snugc(path, "-o", tmp_path / "m.so"), 3, "node 'loop'", "trip count", "--value NAME=COUNT")
    assert files(tmp_path) == ["m.onnx"]
    assert snugc(path, "-o", tmp_path / "m.so", "--value", "n=5").code == 0


def test_values_that_are_bounded(tmp_path):
    """A bound is stated by a flag, and data beyond it is refused by the run."""
    count, x = values("k", [1], TensorProto.INT64), values("x", [9])
    path, out = tmp_path / "m.onnx", tmp_path / "m.so"
    expand = [helper.make_node("Expand", ["x", "k"], ["y"], name="grow")]
    model(expand, [count, values("x", [1])], [values("y", None)], path=path)
    refused(snugc(path, "-o", out), 3, "node 'grow'", "--value NAME=A..B")
    model([helper.make_node("TopK", ["x", "k"], ["v", "i"], name="top")], [count, x],
          [values("v", None), values("i", None, TensorProto.INT64)], path=path)
    for text, word in [("k=4..1", "a range goes up"), ("k=-1..4", "0 or more"), ("k=1..b", "neither a number"), ("x=1..2", "integers"),
                       ("k=1..2,3", "given are 2"), ("q=1..2", "no input 'q'")]:
        refused(snugc(path, "-o", out, "--value", text), 1, text, word)
    refused(snugc(path, "-o", out, "--value", "k=1..4", "--value", "k=2"), 1, "given twice")
    assert files(tmp_path) == ["m.onnx"]
    assert snugc(path, "-o", out, "--value", "k=1..4").code == 0
    np.save(tmp_path / "x.npy", np.arange(9, dtype=np.float32))
    run = [out, "--input", f"x={tmp_path / 'x.npy'}", "--input", f"k={tmp_path / 'k.npy'}", "--output", f"v={tmp_path / 'v.npy'}"]
    np.save(tmp_path / "k.npy", np.array([5]))
    refused(snug_run(*run), 6, "input 'k'[0] is 5", "dim 'k' allows 1..4")
    np.save(tmp_path / "k.npy", np.array([3]))
    assert snug_run(*run).code == 0 and np.load(tmp_path / "v.npy").tolist() == [8, 7, 6]
    refused(snug_run(*run, "--dim", "k=2"), 6, "input 'k'[0] is 3", "was set to 2")
    assert snug_run(out, "--random-inputs", "1", "--dim", "k=2", "--output", f"v={tmp_path / 'v.npy'}").code == 0
    assert np.load(tmp_path / "v.npy").shape == (2,)


def test_shapes_of_values_fit_or_are_refused(tmp_path):
    path, out = tmp_path / "m.onnx", tmp_path / "m.so"
    model([helper.make_node("Reshape", ["x", "shape"], ["y"], name="fold")], [values("shape", [2], TensorProto.INT64), values("x", [12])],
          [values("y", None)], path=path)
    refused(snugc(path, "-o", out, "--value", "shape=0..12"), 3, "node 'fold'", "may be 0")
    assert snugc(path, "-o", out, "--value", "shape=1..12").code == 0
    np.save(tmp_path / "x.npy", np.arange(12, dtype=np.float32))
    run = [out, "--input", f"x={tmp_path / 'x.npy'}", "--input", f"shape={tmp_path / 's.npy'}", "--output", f"y={tmp_path / 'y.npy'}"]
    np.save(tmp_path / "s.npy", np.array([3, 5]))
    refused(snug_run(*run), 6, "node 'fold'", "shape.0=3", "shape.1=5")
    np.save(tmp_path / "s.npy", np.array([6, 2]))
    assert snug_run(*run).code == 0 and np.load(tmp_path / "y.npy").shape == (6, 2)


def test_names_cannot_steer_a_terminal_or_a_shell(tmp_path):
    evil = "\x1b[2Jrm\n"
    path = model([helper.make_node("Own", ["x"], ["y"], name=evil, domain="com.example")], [values("x", [2, 2])], [values("y", None)],
                 path=tmp_path / "m.onnx")
    result = snugc(path, "--dry-run")
    refused(result, 3, r"node '\x1b[2Jrm\x0a'")
    assert "\x1b" not in result.err and len(result.err.splitlines()) == 1
    path = model(RELU, [values("x", ["$(touch evil);"])], [values("y", None)], path=tmp_path / "n.onnx")
    command = snugc(path, "--dry-run").err.strip().splitlines()[-1]
    subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True)
    assert "'$(touch evil);=1'" in command and not (tmp_path / "evil").exists()


def test_dims_without_a_name(tmp_path):
    path = model(RELU, [values("x", [None, 3, None])], [values("y", None)], path=tmp_path / "m.onnx")
    refused(snugc(path, "--dry-run"), 1, "'x_dim0', 'x_dim2'", "--dim x_dim0=1 --dim x_dim2=1")
    assert snugc(path, "-o", tmp_path / "m.so", "--dim", "x_dim0=1..5", "--dim", "x_dim2=2").code == 0
    np.save(tmp_path / "x.npy", np.ones((4, 3, 2), np.float32))
    assert snug_run(tmp_path / "m.so", "--input", f"x={tmp_path / 'x.npy'}").code == 0


def test_no_upper_bound(tmp_path):
    """A size that depends on data and that nothing bounds: the node is named, and it is no fault of Snug's."""
    nodes = [helper.make_node("Range", ["zero", "n", "one"], ["y"], name="count")]
    tensors = [numpy_tensor(np.int64(0), "zero"), numpy_tensor(np.int64(1), "one")]
    path = model(nodes, [values("n", [], TensorProto.INT64)], [values("y", ["k"], TensorProto.INT64)], tensors,
                 path=tmp_path / "m.onnx")
    result = snugc(path, "-o", tmp_path / "m.so")
    refused(result, 3, "node 'count'")
    assert files(tmp_path) == ["m.onnx"]


def test_dry_run_refuses_what_a_compilation_refuses(tmp_path):
    """A kernel that code generation lacks: values of attention that no block on the stack can hold."""
    heads = [1, 2, 8, 1024]
    node = helper.make_node("Attention", ["q", "k", "v"], ["y"], name="wide")
    path = model([node], [values(name, heads) for name in "qkv"], [values("y", heads)], opset=23, path=tmp_path / "m.onnx")
    whole, dry = snugc(path, "-o", tmp_path / "m.so"), snugc(path, "--dry-run")
    refused(whole, 3, "'wide'", "values of size 1024")
    assert (dry.code, dry.err) == (whole.code, whole.err)
    assert files(tmp_path) == ["m.onnx"]


# --- budgets: 4 -------------------------------------------------------------------------------------------------------


def test_activation_budget_that_cannot_be_met(mlp, tmp_path):
    path, report, out = mlp(), tmp_path / "r.json", tmp_path / "m.so"
    result = snugc(path, "-o", out, *ROWS, "--activation-budget", "1KiB", "--report", report, "--depfile", tmp_path / "d")
    refused(result, 4, "--activation-budget 1.0 KiB", "least", "needs less than", "stands in the way")
    assert re.search(r"node '(up|relu|down)'", result.err)
    least = int(re.search(r"give --activation-budget (\d+)B", result.err).group(1))
    budget = json.loads(report.read_text())["budget"]
    assert budget["least_reachable"] == least == budget["least_activation"] and budget["activation"] == 1024
    assert files(tmp_path) == ["mlp.onnx", "mlp.onnx.data", "r.json"]
    again = snugc(path, "-o", out, *ROWS, "--activation-budget", f"{least}B", "--report", report)
    assert again.code == 0, again.err
    assert json.loads(report.read_text())["memory"]["arena"] <= least
    assert snugc(path, "--dry-run", *ROWS, "--activation-budget", f"{least - 1}B").code == 4


def test_memory_budget_that_cannot_be_met(mlp, tmp_path):
    path, report, out = mlp(), tmp_path / "r.json", tmp_path / "m.so"
    result = snugc(path, "-o", out, *ROWS, "--memory-budget", "100KiB", "--report", report)  # less than the weights
    refused(result, 4, "--memory-budget 100.0 KiB", "weights 128.0 KiB", "stands in the way")
    least = int(re.search(r"give --memory-budget (\d+)B", result.err).group(1))
    assert json.loads(report.read_text())["budget"]["least_reachable"] == least
    again = snugc(path, "-o", out, *ROWS, "--memory-budget", f"{least}B", "--report", report)
    assert again.code == 0, again.err
    assert json.loads(report.read_text())["memory"]["total"] <= least


def test_both_budgets(mlp, tmp_path):
    result = snugc(mlp(), "--dry-run", *ROWS, "--memory-budget", "1KiB", "--activation-budget", "1KiB")
    refused(result, 4)
    flags = result.err.splitlines()[0].split("; give ")[1].split()
    assert flags[::2] == ["--activation-budget", "--memory-budget"]
    assert snugc(mlp(), "--dry-run", *ROWS, *flags).code == 0


# --- runs: 6 ----------------------------------------------------------------------------------------------------------


def test_inputs_of_wrong_shape_or_dtype(mlp, tmp_path):
    out = tmp_path / "m.so"
    assert snugc(mlp(), "-o", out, "--dim", "rows=1..100").code == 0

    def run(array):
        np.save(tmp_path / "x.npy", array)
        return snug_run(out, "--input", f"x={tmp_path / 'x.npy'}")
    assert run(np.ones((7, 64), np.float32)).code == 0
    refused(run(np.ones((7, 65), np.float32)), 6, "'x'", "65")
    refused(run(np.ones((7, 64, 1), np.float32)), 6, "'x'")
    refused(run(np.ones((7, 64), np.float64)), 6, "'x'", "float64")
    refused(run(np.ones((101, 64), np.float32)), 6, "'x'", "rows", "101")


# --- faults: 70 -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif("SNUG_SANITIZER" in os.environ, reason="a sanitizer reports crashes in its own way")
def test_a_crash_says_how_to_report_it(mlp):
    read, write = os.pipe()
    os.set_blocking(write, False)
    while True:  # full, so that snugc waits for room to print its program
        try:
            os.write(write, bytes(4096))
        except BlockingIOError:
            break
    os.set_blocking(write, True)
    process = subprocess.Popen([os.environ["SNUGC"], str(mlp()), *ROWS, "--emit", "plan"], stdout=write,
                               stderr=subprocess.PIPE, text=True)
    os.close(write)
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=5)
    process.send_signal(signal.SIGSEGV)
    errors = process.communicate(timeout=60)[1]
    os.close(read)
    assert process.returncode == 70, errors
    assert "fault of Snug's own" in errors and "report it" in errors
