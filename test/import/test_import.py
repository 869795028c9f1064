# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The importer on small models: what it keeps, and each way in which it refuses a file.

SNUG_IMPORT_ONNX is the program import-onnx (ImportMain.cpp)."""

import os
import re
import subprocess

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


def run(path, *options):
    return subprocess.run([os.environ["SNUG_IMPORT_ONNX"], str(path), *options], capture_output=True, text=True)


def info(name, shape=(2, 3), dtype=FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def model(nodes, inputs=None, outputs=None, initializers=(), opset=20, functions=(), domains=(), **graph):
    inputs = [info("x")] if inputs is None else inputs
    outputs = [info("y")] if outputs is None else outputs
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(initializers), **graph)
    imports = [helper.make_opsetid("", opset)] + [helper.make_opsetid(domain, 1) for domain in domains]
    return helper.make_model(graph, opset_imports=imports, functions=list(functions), ir_version=10)


def relu(source="x", target="y", **kwargs):
    return helper.make_node("Relu", [source], [target], **kwargs)


def save(tmp_path, proto, name="m.onnx"):
    path = tmp_path / name
    path.write_bytes(proto if isinstance(proto, bytes) else proto.SerializeToString())
    return path


def imported(tmp_path, proto):
    """The printed module, which was parsed and printed again on the way."""
    path = save(tmp_path, proto)
    result = run(path, "--round-trip")
    assert result.returncode == 0, result.stderr
    return run(path).stdout


def refused(path, code, *words):
    result = run(path)
    assert result.returncode == code, (result.returncode, result.stderr)
    assert result.stdout == ""
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    for word in words:
        assert word in result.stderr


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_interface(tmp_path):
    shape = ["batch", "past + 1", None, 4]
    text = imported(tmp_path, model([relu()], [info("x", shape)], [info("y", shape)]))
    dims = lambda name: f'snug.dims = ["batch", "past + 1", "{name}_dim2", "4"]'
    typed = lambda name: f'tensor<?x?x?x4xf32> {{{dims(name)}, snug.name = "{name}"}})'
    assert typed("x") + " -> (" + typed("y") in text
    assert 'snug.ir_version = 10 : i64, snug.model_name = "g", snug.opset_imports = {ai.onnx = 20 : i64}' in text


def test_attributes(tmp_path):
    node = helper.make_node("Any", ["x"], ["y"], domain="com.example", i=-1, f=0.5, s="a\"b", ints=[1, -2],
                            floats=[1.5], strings=["p", "q"], t=numpy_helper.from_array(np.array([1, 2], np.int64)),
                            tp=helper.make_tensor_type_proto(FLOAT, [None, 2]))
    text = imported(tmp_path, model([node], domains=["com.example"]))
    for part in ["i = -1 : i64", "f = 5.000000e-01 : f32", r's = "a\22b"', "ints = array<i64: 1, -2>",
                 "floats = array<f32: 1.500000e+00>", 'strings = ["p", "q"]', "t = dense<[1, 2]> : tensor<2xi64>",
                 "tp = tensor<?x2xf32>", 'opset 1 domain "com.example"']:
        assert part in text


def test_absent_inputs_and_outputs(tmp_path):
    node = helper.make_node("LSTM", ["x", "x", "x", "", "x"], ["", "y"], hidden_size=4)
    text = imported(tmp_path, model([node]))
    assert re.search(r"%none = snug_onnx.none\n", text)
    assert re.search(r'"LSTM"\(%arg0, %arg0, %arg0, %none, %arg0\).*none, .*-> \(none, tensor<2x3xf32>\)', text)


def test_types_unknown_and_exotic(tmp_path):
    sequence = helper.make_tensor_sequence_value_info("s", FLOAT, None)
    optional = helper.make_value_info("o", helper.make_optional_type_proto(helper.make_tensor_type_proto(FLOAT, [1])))
    nodes = [relu("x", "t"), helper.make_node("SequenceConstruct", ["t"], ["s"]), relu("t", "y")]
    inputs = [info("x"), optional, info("u", None), info("w", [1], TensorProto.STRING),
              info("v", [1], TensorProto.UINT8)]
    text = imported(tmp_path, model(nodes, inputs, [info("y"), sequence]))
    for part in ["-> !snug_onnx.unknown", "!snug_onnx.sequence<tensor<*xf32>>", "!snug_onnx.optional<tensor<1xf32>>",
                 "tensor<*xf32>", "tensor<1x!snug_onnx.string>", "tensor<1xui8>"]:
        assert part in text


def test_locations_are_node_names(tmp_path):
    path = save(tmp_path, model([relu("x", "t", name="/layer.0/Relu"), relu("t", "y")]))
    text = run(path, "--locations").stdout
    assert 'loc("/layer.0/Relu")' in text and 'loc("Relu:y")' in text


@pytest.mark.parametrize("dtype, values, expected", [
    (TensorProto.BOOL, [1, 0], "dense<[true, false]> : tensor<2xi1>"),
    (TensorProto.INT4, [7, -8], "dense<[7, -8]> : tensor<2xi4>"),
    (TensorProto.UINT4, [15, 1], "dense<[15, 1]> : tensor<2xui4>"),
    (TensorProto.INT64, [-1, 5], "dense<[-1, 5]> : tensor<2xi64>"),
    (TensorProto.UINT8, [255, 5], "dense<[255, 5]> : tensor<2xui8>"),
    (TensorProto.UINT32, [4294967295, 5], "dense<[4294967295, 5]> : tensor<2xui32>"),
    (TensorProto.FLOAT16, [1.5, -2], "dense<[1.500000e+00, -2.000000e+00]> : tensor<2xf16>"),
    (TensorProto.BFLOAT16, [1.5, -2], "dense<[1.500000e+00, -2.000000e+00]> : tensor<2xbf16>"),
    (TensorProto.FLOAT8E4M3FN, [1.5, -2], "dense<[1.500000e+00, -2.000000e+00]> : tensor<2xf8E4M3FN>"),
    (TensorProto.FLOAT4E2M1, [1.5, -2], "dense<[1.500000e+00, -2.000000e+00]> : tensor<2xf4E2M1FN>"),
    (TensorProto.DOUBLE, [1.5, -2], "dense<[1.500000e+00, -2.000000e+00]> : tensor<2xf64>"),
    (TensorProto.COMPLEX64, [1 + 2j, 3], "dense<[(1.000000e+00,2.000000e+00), (3.000000e+00,0.000000e+00)]>"),
    (TensorProto.STRING, ["a", "b"], 'dense<["a", "b"]> : tensor<2x!snug_onnx.string>'),
])
def test_small_initializers_are_values(tmp_path, dtype, values, expected):
    tensor = helper.make_tensor("w", dtype, [2], values)  # typed fields
    assert f"snug_onnx.initializer @w value {expected}" in imported(tmp_path, model([relu()], initializers=[tensor]))


def test_empty_tensor_and_scalar(tmp_path):
    tensors = [numpy_helper.from_array(np.zeros([0, 3], np.float32), "e"), numpy_helper.from_array(np.float32(2), "s")]
    text = imported(tmp_path, model([relu()], initializers=tensors))
    assert "@e value dense<> : tensor<0x3xf32>" in text and "@s value dense<2.000000e+00> : tensor<f32>" in text


def place(text, symbol):
    file, offset, length = re.search(rf'initializer @{symbol} file "(.*)" offset (\d+) length (\d+)', text).groups()
    return file, int(offset), int(length)


@pytest.mark.parametrize("raw", [True, False])
def test_large_tensors_stay_in_the_model_file(tmp_path, raw):
    weight, constant, nested = (np.random.default_rng(i).random(300, np.float32) for i in range(3))
    make = lambda name, value: helper.make_tensor(name, FLOAT, [300], value.tobytes() if raw else value, raw=raw)
    then = helper.make_graph([relu("n", "r")], "then", [], [info("r", [300])], [make("n", nested)])
    nodes = [helper.make_node("Constant", [], ["c"], value=make("", constant)),
             helper.make_node("If", ["x"], ["y"], then_branch=then, else_branch=then)]
    text = imported(tmp_path, model(nodes, initializers=[make("w", weight)]))
    content = (tmp_path / "m.onnx").read_bytes()
    for symbol, value in [("w", weight), ("c", constant), ("n", nested), ("n_0", nested)]:
        file, offset, length = place(text, symbol)
        assert file == "m.onnx" and content[offset:offset + length] == value.tobytes()
    assert "%c = snug_onnx.get @c : tensor<300xf32>" in text


def external(tmp_path, location="w.data", offset="16", length="16", size=64, shape=(4,)):
    tensor = TensorProto(name="w", data_type=FLOAT, dims=shape, data_location=TensorProto.EXTERNAL)
    for key, value in [("location", location), ("offset", offset), ("length", length)]:
        if value is not None:
            tensor.external_data.add(key=key, value=value)
    if size is not None:
        (tmp_path / "w.data").write_bytes(bytes(size))
    return save(tmp_path, model([relu()], initializers=[tensor]))


def test_external_data_is_a_reference(tmp_path):
    path = external(tmp_path, shape=(300,), length="1200", size=2000)
    result = run(path, "--round-trip")
    assert place(result.stdout, "w") == ("w.data", 16, 1200)


def test_small_external_data_is_a_value(tmp_path):
    text = run(external(tmp_path), "--round-trip").stdout
    assert "initializer @w value dense<0.000000e+00> : tensor<4xf32>" in text


@pytest.mark.parametrize("count, by_value", [(8192, True), (8193, False)])
def test_integers_up_to_64_kib_are_values(tmp_path, count, by_value):
    tensor = numpy_helper.from_array(np.full([count], 7, np.int64), "w")
    text = imported(tmp_path, model([relu()], initializers=[tensor]))
    assert (f"@w value dense<7> : tensor<{count}xi64>" in text) == by_value


def test_subgraphs_capture_outer_values(tmp_path):
    body = helper.make_graph(
        [helper.make_node("Add", ["state", "k"], ["next"]), helper.make_node("Identity", ["cond"], ["cond_out"])],
        "body", [info("i", [], TensorProto.INT64), info("cond", [], TensorProto.BOOL), info("state")],
        [info("cond_out", [], TensorProto.BOOL), info("next")])
    nodes = [relu("x", "k"), helper.make_node("Loop", ["", "", "x"], ["y"], body=body)]
    text = imported(tmp_path, model(nodes))
    assert 'body "body" {\n    ^bb0(%arg1: tensor<i64>, %arg2: tensor<i1>, %arg3: tensor<2x3xf32>):' in text
    assert re.search(r'"Add"\(%arg3, %Relu\)', text)
    assert re.search(r"snug_onnx.yield %Identity, %Add", text)


def test_functions(tmp_path):
    node = helper.make_node("LeakyRelu", ["a"], ["b"])
    node.attribute.add(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT)
    function = helper.make_function("local", "F", ["a"], ["b"], [node], [helper.make_opsetid("", 16)], ["slope"])
    call = helper.make_node("F", ["x"], ["y"], domain="local", slope=0.5)
    text = imported(tmp_path, model([call], functions=[function], domains=["local"]))
    assert 'func.func private @"local::F"' in text and 'snug.attributes = ["slope"]' in text
    assert 'alpha = #snug_onnx.ref<"slope", "FLOAT">} opset 16' in text


def test_initializer_named_like_main(tmp_path):
    tensor = numpy_helper.from_array(np.float32(2), "main")
    text = imported(tmp_path, model([relu("main")], initializers=[tensor]))
    assert "snug_onnx.initializer @main_0" in text and "snug_onnx.get @main_0" in text


def test_input_with_initializer_is_a_constant(tmp_path):
    tensor = numpy_helper.from_array(np.zeros([2, 3], np.float32), "w")
    text = imported(tmp_path, model([relu("w")], [info("x"), info("w")], initializers=[tensor]))
    assert 'snug.name = "x"' in text and 'snug.name = "w"' not in text


def test_sparse_initializer(tmp_path):
    values = helper.make_tensor("w", FLOAT, [2], [1.0, 2.0])
    indices = helper.make_tensor("i", TensorProto.INT64, [2], [1, 5])
    sparse = helper.make_sparse_tensor(values, indices, [2, 3])
    text = imported(tmp_path, model([relu("w")], sparse_initializer=[sparse]))
    assert "@w value sparse<[[0, 1], [1, 2]], [1.000000e+00, 2.000000e+00]> : tensor<2x3xf32>" in text


# --- what is refused --------------------------------------------------------------------------------------------------


def test_not_a_file(tmp_path):
    refused(tmp_path / "none.onnx", 5, "none.onnx", "cannot be read")
    refused(tmp_path, 5, "is a folder")
    refused("/dev/null", 5, "no regular file")


def test_no_model(tmp_path):
    refused(save(tmp_path, b""), 2, "is empty")
    refused(save(tmp_path, b"\x7fELF\x02\x01\x01" + bytes(100)), 2, "no ONNX model")
    refused(save(tmp_path, b"\x00\x01\x02\x03"), 2, "no ONNX model")
    refused(save(tmp_path, b"ir_version: 8 graph { }"), 2, "no ONNX model")
    refused(save(tmp_path, onnx.ModelProto(ir_version=8)), 2, "no graph")


def test_truncated(tmp_path):
    tensor = numpy_helper.from_array(np.zeros(1000, np.float32), "w")
    content = model([relu()], initializers=[tensor]).SerializeToString()
    for size in range(1, len(content), 97):
        result = run(save(tmp_path, content[:size]))
        assert result.returncode == 2 and "ONNX model" in result.stderr, (size, result.stderr)


def test_larger_than_2_gib(tmp_path):
    path = tmp_path / "m.onnx"
    with open(path, "wb") as file:
        file.truncate(2**31)  # sparse: takes no disk
    refused(path, 2, "2 GiB", "external data")


@pytest.mark.parametrize("arguments, words", [
    ({"size": None}, ["initializer 'w'", "'w.data'", "missing", "put the file"]),
    ({"size": 20}, ["initializer 'w'", "16 bytes at offset 16", "has 20", "truncated"]),
    ({"offset": str(2**64 - 8)}, ["initializer 'w'", "has 64"]),
    ({"offset": "-4"}, ["initializer 'w'", "offset '-4'"]),
    ({"length": "8"}, ["initializer 'w'", "16 bytes by its type and dims"]),
    ({"location": "/etc/passwd"}, ["initializer 'w'", "absolute"]),
    ({"location": "a/../../w.data"}, ["initializer 'w'", "'..'"]),
    ({"location": None}, ["initializer 'w'", "no file name"]),
    ({"location": "."}, ["initializer 'w'", "no regular file"]),
    ({"shape": (2**40, 2**40)}, ["initializer 'w'", "overflow"]),
    ({"shape": (-4,)}, ["initializer 'w'", "negative dim -4"]),
])
def test_external_data_refused(tmp_path, arguments, words):
    refused(external(tmp_path, **arguments), 2, *words)


def test_external_data_behind_links(tmp_path):
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.mkdir(), folder.mkdir()
    (outside / "secret").write_bytes(bytes(64))
    (folder / "w.data").symlink_to(outside / "secret")
    refused(external(folder, size=None), 2, "initializer 'w'", "link out of")
    (folder / "sub").symlink_to(outside)
    refused(external(folder, "sub/secret", size=None), 2, "initializer 'w'", "link out of")
    (folder / "w.data").unlink()
    (folder / "real").write_bytes(bytes(64))
    (folder / "w.data").symlink_to("real")
    assert run(external(folder, size=None)).returncode == 0


def nested(levels):
    graph = helper.make_graph([relu("x", "r", name="innermost")], "g", [], [info("r")])
    other = helper.make_graph([relu("x", "r")], "g", [], [info("r")])
    for level in range(levels):
        node = helper.make_node("If", ["x"], ["r"], name=f"level{level}", then_branch=graph, else_branch=other)
        graph = helper.make_graph([node], "g", [], [info("r")])
    return model([helper.make_node("If", ["x"], ["y"], name="outermost", then_branch=graph, else_branch=other)])


@pytest.mark.parametrize("proto, words", [
    (model([relu("z", name="n")]), ["node 'n' (Relu)", "'z'", "nothing defines"]),
    (model([relu("b", "y", name="n"), relu("x", "b", name="m")]), ["node 'n'", "before node 'm'", "cycle"]),
    (model([relu("x", "y"), relu("x", "y", name="n")]), ["node 'n'", "'y'", "already defined"]),
    (model([relu("x", "x", name="n")]), ["node 'n'", "'x'", "already defined"]),
    (model([relu()], [info("x"), info("x")]), ["'x'", "already defined"]),
    (model([relu()], outputs=[info("q")]), ["output list", "'q'", "nothing defines"]),
    (model([relu()], outputs=[info("y"), info("y")]), ["'y'", "twice"]),
    (model([relu()], [info("x", [-2])]), ["input 'x'", "negative dim -2"]),
    (model([relu("x", "t", name="n"), relu("t", "y")], value_info=[info("t", [-2])]), ["'t'", "negative dim -2"]),
    (model([onnx.NodeProto(name="n", input=["x"], output=["y"])]), ["node 'n'", "no operator type"]),
    (model([relu()], initializers=[TensorProto(data_type=FLOAT)]), ["initializer has no name"]),
    (model([relu()], initializers=[TensorProto(name="w")]), ["initializer 'w'", "element type"]),
    (model([relu()], initializers=[TensorProto(name="w", dims=[2], data_type=FLOAT, raw_data=b"123")]),
     ["initializer 'w'", "3 bytes", "need 8"]),
    (model([relu()], initializers=[TensorProto(name="w", dims=[2], data_type=FLOAT, raw_data=bytes(2000))]),
     ["initializer 'w'", "8 bytes by its type", "2000"]),
    (model([relu()], initializers=[TensorProto(name="w", dims=[2], data_type=TensorProto.INT64, int32_data=[1] * 4)]),
     ["initializer 'w'", "0 bytes", "need 16"]),
    (model([relu()], initializers=[numpy_helper.from_array(np.float32(1), "w")] * 2), ["'w'", "already defined"]),
    (nested(24), ["subgraphs deeper", "node 'level0'"]),
    (model([relu(name="n")], opset=0), ["opset version 0"]),
])
def test_model_refused(tmp_path, proto, words):
    refused(save(tmp_path, proto), 2, *words)


@pytest.mark.parametrize("levels", [40, 100000])
def test_nested_beyond_protobuf(tmp_path, levels):
    def varint(value):
        return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)

    parts, size = [], 0  # innermost first; joined once, since each level wraps all before it
    for _ in range(levels):
        for field in (6, 5, 1):  # AttributeProto.g, NodeProto.attribute, GraphProto.node
            parts.append(bytes([field << 3 | 2]) + varint(size))
            size += len(parts[-1])
    graph = b"".join(reversed(parts))
    refused(save(tmp_path, b"\x08\x08\x3a" + varint(len(graph)) + graph), 2, "too deeply")


def test_attribute_refused(tmp_path):
    node = relu(name="n", a=1)
    node.attribute.add().CopyFrom(node.attribute[0])
    refused(save(tmp_path, model([node])), 2, "node 'n'", "attribute 'a' twice")
    node.attribute.pop()
    node.attribute[0].name = ""
    refused(save(tmp_path, model([node])), 2, "node 'n'", "attribute without a name")


@pytest.mark.parametrize("node, words", [
    (helper.make_node("Relu", ["x", "x"], ["y"], name="n"), "has 2 inputs, where Relu of opset 20 has 1"),
    (helper.make_node("Relu", ["x"], ["y", "z"], name="n"), "has 2 outputs, where Relu of opset 20 has 1"),
    (helper.make_node("Conv", ["x"], ["y"], name="n"), "has 1 input, where Conv of opset 20 has 2 to 3"),
    (helper.make_node("Concat", [], ["y"], name="n", axis=0), "has 0 inputs, where Concat of opset 20 has at least 1"),
    (helper.make_node("Conv", ["x", ""], ["y"], name="n"), "leaves out input 1, which Conv of opset 20 must have"),
    (helper.make_node("Squeeze", ["x"], ["y"], name="n", axes=[0]), "has attribute 'axes', which Squeeze of opset 20 does not know"),
    (helper.make_node("Softmax", ["x"], ["y"], name="n", axis=1.0),
     "has attribute 'axis' of type float, where Softmax of opset 20 has one of type int"),
    (helper.make_node("Concat", ["x"], ["y"], name="n"), "lacks attribute 'axis', which Concat of opset 20 must have"),
    (helper.make_node("If", ["x"], ["y"], name="n", then_branch=1, else_branch=1),
     "has attribute 'else_branch' of type int, where If of opset 20 has one of type graph"),
])
def test_node_that_the_standard_does_not_allow(node, words, tmp_path):
    node.attribute.sort(key=lambda attribute: attribute.name)
    refused(save(tmp_path, model([node])), 2, f"node 'n' ({node.op_type}) {words}")


def test_what_another_opset_allows(tmp_path):
    squeeze = helper.make_node("Squeeze", ["x"], ["y"], axes=[0])
    assert "axes = array<i64: 0>" in imported(tmp_path, model([squeeze], opset=11))
    own = helper.make_function("", "Relu", ["a", "b"], ["c"], [helper.make_node("Add", ["a", "b"], ["c"])],
                               [helper.make_opsetid("", 20)])
    imported(tmp_path, model([helper.make_node("Relu", ["x", "x"], ["y"])], functions=[own]))  # the model's own Relu


def test_unknown_element_type(tmp_path):
    tensor = TensorProto(name="w", data_type=99)
    refused(save(tmp_path, model([relu()], initializers=[tensor])), 3, "initializer 'w'", "element type 99")


def test_deepest_subgraph_that_is_taken(tmp_path):
    assert 'loc("innermost")' in run(save(tmp_path, nested(23)), "--locations").stdout
