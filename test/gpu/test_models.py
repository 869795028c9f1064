# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models compiled for a GPU, on what stands in for one: results against ONNX Runtime, and memory to the byte."""
import json
import os
import pathlib
import random
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
import simulator
from account import BUDGETS, budget_words, compile_model, run_twice, snugc

for folder in ("models", "../python"):
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / folder))
import materialize  # noqa: E402
from family_dims import FAMILIES, tolerance  # noqa: E402
import snug  # noqa: E402
from graph_builder import GraphBuilder, noise  # noqa: E402

EXPORTED = {"gpt2_tiny": {"batch": 2, "seq": 40}, "gpt2_tiny_unoptimized": {"batch": 1, "seq": 33}, "gpt2_tiny_ts14": {"batch": 1, "seq": 24},
            "llama_tiny": {"batch": 1, "seq": 40}, "llama_tiny_decode": {"batch": 2, "past": 37}, "bert_tiny": {"batch": 2, "seq": 24},
            "vit_tiny": {"batch": 1}, "folding_tiny": {"batch": 1, "n": 12}, **{"families/" + name: dims for name, dims in FAMILIES.items()}}
LIBRARIES = ("none", "cublaslt,cudnn")
CASES = [(name, budget, libraries) for name in EXPORTED for budget in BUDGETS for libraries in LIBRARIES]
SHORT = random.Random(3).sample(CASES, 16)
DECISIONS = {"families/cond_branch": 1}  # values that a run reads, as they decide what it does next


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    folder, made = tmp_path_factory.mktemp("models"), {}
    models = pathlib.Path(materialize.__file__).parent

    def get(name):
        if name not in made:
            made[name] = materialize.materialize(models / f"{name}.onnx", folder)
        return made[name]
    return get


def check(model, inputs, folder, dims, *words, tolerance=1e-5, decisions=0):
    library, planned = compile_model(model, folder, dims, *words)
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    want = dict(zip(names, session.run(names, inputs)))
    first, second = run_twice(simulator.Gpu(folder / "kernels.mlir"), library, inputs, planned, folder, decisions)
    for name, value in want.items():
        error = np.linalg.norm(first[name].astype(np.float64) - value) / max(np.linalg.norm(value.astype(np.float64)), 1e-30)
        assert first[name].dtype == value.dtype and error <= tolerance, (name, error)
        np.testing.assert_array_equal(first[name], second[name])
    return planned, first


def run(name, budget, libraries, weights, folder):
    model, dims = weights(name), EXPORTED[name]
    extra = {"s22": dims["past"] + 1} if "past" in dims else {}
    planned, _ = check(model, materialize.make_inputs(model, {**dims, **extra}), folder, dims, "--gpu-libraries", libraries,
                    *budget_words(model, dims, budget, folder), tolerance=tolerance(pathlib.Path(name).name), decisions=DECISIONS.get(name, 0))
    kernels = json.loads((folder / "report.json").read_text())["library_kernels"]
    assert libraries != "none" or not kernels
    # Without a budget what is customary; with the least one, what is left by chance.
    assert planned["workspace"] == (32 << 20 if kernels else 0) if budget == "all" else planned["workspace"] <= planned["arena"]


def test_account_of_a_long_context(weights):
    """What a model of a length that takes hours to compute here needs: as planned, without a budget, for half of the arena and for the least."""
    done = subprocess.run([sys.executable, str(pathlib.Path(__file__).with_name("account.py")), weights("llama_tiny"), "--dim", "batch=4",
                           "--dim", "seq=8192"], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) == len(BUDGETS), done.stderr
    arenas = [int(line.split("arena ")[1].split()[0]) for line in lines]
    assert arenas[0] > arenas[1] > arenas[2] and all(line.endswith("as planned") for line in lines)


def test_a_decode_step_with_many_keys(weights, tmp_path):
    """Attention in parts of the keys."""
    model, dims = weights("llama_tiny_decode"), {"batch": 1, "past": 600}
    check(model, materialize.make_inputs(model, {**dims, "s22": dims["past"] + 1}), tmp_path, dims)
    assert "in_parts" in (tmp_path / "4-schedule.mlir").read_text()


@pytest.mark.parametrize("libraries", LIBRARIES)
def test_in_tf32(libraries, weights, tmp_path):
    """Within what rounding operands to 11 bits makes of such a model, and not what f32 makes; in chunks the bits of the whole, where
    kernels are generated. A kernel for few rows is none of tensor cores."""
    model, dims = weights("gpt2_tiny"), EXPORTED["gpt2_tiny"]
    inputs, made = materialize.make_inputs(model, dims), []
    for budget in ("all", "half"):
        folder = tmp_path / budget
        folder.mkdir()
        words = budget_words(model, dims, budget, folder)
        _, outputs = check(model, inputs, folder, dims, "--precision", "tf32", "--gpu-libraries", libraries, *words, tolerance=2.0**-9)
        made.append(outputs)
        report = json.loads((folder / "report.json").read_text())
        assert report["precision"] == "tf32" and report["machine"]["name"].endswith("tf32") and bool(report["chunk_loops"]) == bool(words)
        assert "tf32Enabled" in (folder / "kernels.mlir").read_text()
        info = subprocess.run([os.environ["SNUG_RUN"], folder / "m.so", "--info"], capture_output=True, text=True)
        assert "products of f32 are made in tf32\n" in info.stdout
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    for name, value in zip(made[0], session.run(list(made[0]), inputs)):
        if value.dtype == np.float32:
            assert np.linalg.norm(made[0][name] - value) / np.linalg.norm(value) > 1e-5, name
        if libraries == "none":
            np.testing.assert_array_equal(made[0][name], made[1][name])


@pytest.mark.parametrize("name, budget, libraries", SHORT)
def test_exported(name, budget, libraries, weights, tmp_path):
    run(name, budget, libraries, weights, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("name, budget, libraries", [case for case in CASES if case not in SHORT])
def test_exported_whole(name, budget, libraries, weights, tmp_path):
    run(name, budget, libraries, weights, tmp_path)


LENGTHS = {"past": (5, 24, 1), "seq": (13, 24, 1), "n": (5, 9, 1)}
BOUNDED = [name for name, dims in EXPORTED.items() if set(dims) & set(LENGTHS)]
BOUNDED_SHORT = random.Random(7).sample(BOUNDED, 3)


def check_lengths(name, weights, folder):
    """One library for all lengths, with and without chunk loops: rows then start anywhere in memory."""
    model = weights(name)
    dim = next(dim for dim in EXPORTED[name] if dim in LENGTHS)
    bounded = {"batch": "1..2", dim: f"1..{max(LENGTHS[dim])}"}
    whole, planned = compile_model(model, folder, bounded)
    words = ["--activation-budget", f"{planned['arena'] * 2 // 3}B"]
    allowed = snugc(model, "--dry-run", "--target", "cuda:sm_90", *(f"--dim={key}={value}" for key, value in bounded.items()), *words, allowed=(0, 4))
    for options in [[]] if allowed else [[], words]:
        folder = folder / "part" # a library of kernels is loaded once by its path
        folder.mkdir()
        library, planned = compile_model(model, folder, bounded, *options)
        session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
        with simulator.Gpu(folder / "kernels.mlir") as gpu:
            before = gpu.stats().live_bytes
            compiled = snug.load(str(library))
            for length in LENGTHS[dim]:
                for batch in (1, 2):
                    extra = {"s22": length + 1} if dim == "past" else {}
                    inputs = materialize.make_inputs(model, {"batch": batch, dim: length, **extra})
                    got = compiled(**inputs)
                    for name_of, value in zip(got, session.run(list(got), inputs)):
                        error = np.linalg.norm(got[name_of].astype(np.float64) - value) / max(np.linalg.norm(value.astype(np.float64)), 1e-30)
                        assert error <= tolerance(pathlib.Path(name).name), (name_of, batch, length, error)
            assert gpu.stats().peak_bytes - before <= planned["total"]
            del compiled


@pytest.mark.parametrize("name", BOUNDED_SHORT)
def test_lengths(name, weights, tmp_path):
    check_lengths(name, weights, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in BOUNDED if name not in BOUNDED_SHORT])
def test_lengths_whole(name, weights, tmp_path):
    check_lengths(name, weights, tmp_path)


def check_resources(name, weights, folder):
    """A thread's own memory is in no plan: no kernel has any, on no chip."""
    model, chips = weights(name), ["sm_80", "sm_90", "sm_100"]
    words = [word for dim, value in EXPORTED[name].items() for word in ("--dim", f"{dim}=1..{value}" if dim in ("batch", "seq", "n") else f"{dim}={value}")]
    snugc(model, "-o", folder / "m.so", "--target", "cuda:" + ",".join(chips), "--report", folder / "report.json", *words)
    kernels = json.loads((folder / "report.json").read_text())["gpu_kernels"]
    assert sorted({one["chip"] for one in kernels}) == sorted(chips)
    assert [one for one in kernels if one["stack"] or one["spilled"]] == []


ASSEMBLED = random.Random(5).sample(list(EXPORTED), 5)


@pytest.mark.parametrize("name", ASSEMBLED)
def test_nothing_is_spilled(name, weights, tmp_path):
    check_resources(name, weights, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in EXPORTED if name not in ASSEMBLED])
def test_nothing_is_spilled_whole(name, weights, tmp_path):
    check_resources(name, weights, tmp_path)


def test_convolutions(tmp_path):
    """A small U-net: strides, a transposed convolution, group norms, and what is concatenated."""
    graph = GraphBuilder()
    import onnx
    x = noise(2, 4, 16, 16)
    graph.inputs.append(onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ("batch", 4, 16, 16)))
    c = graph.constant
    down = graph.node("Relu", graph.node("Conv", "x", c(noise(8, 4, 3, 3)), c(noise(8)), pads=[1] * 4))
    norm = graph.node("InstanceNormalization", down, c(noise(8)), c(noise(8)))
    half = graph.node("Relu", graph.node("Conv", norm, c(noise(16, 8, 3, 3)), strides=[2, 2], pads=[1] * 4))
    deep = graph.node("Conv", half, c(noise(16, 1, 3, 3)), group=16, pads=[1] * 4)
    up = graph.node("ConvTranspose", deep, c(noise(16, 8, 2, 2)), strides=[2, 2])
    both = graph.node("Concat", up, norm, axis=1)
    pooled = graph.node("MaxPool", graph.node("Conv", both, c(noise(4, 16, 1, 1))), kernel_shape=[2, 2], strides=[2, 2])
    graph.outputs.append(onnx.helper.make_tensor_value_info(pooled, onnx.TensorProto.FLOAT, [None] * 4))
    model = graph.save(tmp_path / "unet.onnx", 18)
    check(model, {"x": x}, tmp_path, {"batch": "1..2"})


def feed(graph, name, value):
    import onnx
    graph.inputs.append(onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(value.dtype), value.shape))
    graph.values[name] = value
    return name


def give(graph, name, rank):
    import onnx
    graph.outputs.append(onnx.helper.make_tensor_value_info(name, 1, [None] * rank))


def planned_kernels(folder):
    return [line for line in (folder / "kernels.mlir").read_text().splitlines() if "gpu.func" in line]


@pytest.mark.parametrize("budget", ["all", "least"])
@pytest.mark.parametrize("reduction", ["none", "add", "max"])
def test_messages_between_nodes(reduction, budget, tmp_path):
    """A thread an update: in place in what was made here, with one kernel more than without, and floats summed in some order."""
    graph, edges, nodes = GraphBuilder(), 700, 90
    rng = np.random.default_rng(3)
    to = rng.permutation(nodes)[:, None] if reduction == "none" else rng.integers(-nodes, nodes, (edges, 1))
    messages = graph.node("Tanh", feed(graph, "messages", noise(len(to), 48)))
    before = graph.node("Exp", feed(graph, "before", noise(nodes, 48, seed=1)))
    give(graph, graph.node("ScatterND", before, feed(graph, "to", to), messages, reduction=reduction), 2)
    model = graph.save(tmp_path / "m.onnx", 18)
    check(model, graph.values, tmp_path, {}, *budget_words(model, {}, budget, tmp_path))
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["exact"] == (reduction != "add") and bool(report["chunk_loops"]) == (budget == "least")
    assert len(planned_kernels(tmp_path)) == 3 and report["memory"]["arena"] <= len(to) * 48 * 4 + 512


def test_every_second_element_and_unpooling(tmp_path):
    """x[..., ::2] = y as torch says it: all indices of each element. And places in a flat image."""
    graph = GraphBuilder()
    x = noise(3, 5, 8)
    places = np.stack(np.meshgrid(np.arange(3), np.arange(5), np.arange(0, 8, 2), indexing="ij"), -1)
    give(graph, graph.node("ScatterND", feed(graph, "x", x), feed(graph, "i", places), feed(graph, "y", noise(3, 5, 4, seed=1))), 3)
    image = noise(1, 2, 6, 6, seed=2)
    pooled, at = graph.node("MaxPool", feed(graph, "image", image), outputs=2, kernel_shape=[2, 2], strides=[2, 2])
    give(graph, graph.node("MaxUnpool", pooled, at, kernel_shape=[2, 2], strides=[2, 2]), 4)
    check(graph.save(tmp_path / "m.onnx", 18), graph.values, tmp_path, {})
    assert json.loads((tmp_path / "report.json").read_text())["exact"]


def test_data_decides(tmp_path):
    """A loop that a computed condition ends, and a shape of what data says."""
    import onnx
    h = onnx.helper
    body = h.make_graph([h.make_node("Mul", ["v", "half"], ["w"]), h.make_node("ReduceMax", ["w"], ["most"], keepdims=0),
                         h.make_node("Greater", ["most", "one"], ["more"])], "body",
                        [h.make_tensor_value_info("i", 7, []), h.make_tensor_value_info("c", 9, []), h.make_tensor_value_info("v", 1, [8])],
                        [h.make_tensor_value_info("more", 9, []), h.make_tensor_value_info("w", 1, [8])])
    nodes = [h.make_node("Loop", ["trips", "", "x"], ["y"], body=body), h.make_node("NonZero", ["y"], ["places"])]
    constants = [onnx.numpy_helper.from_array(np.array(value, dtype), name)
                 for name, value, dtype in (("trips", 20, np.int64), ("half", 0.5, np.float32), ("one", 1, np.float32))]
    graph = h.make_graph(nodes, "g", [h.make_tensor_value_info("x", 1, [8])],
                         [h.make_tensor_value_info("y", 1, [8]), h.make_tensor_value_info("places", 7, [1, None])], constants)
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=9), tmp_path / "m.onnx")
    library, planned = compile_model(tmp_path / "m.onnx", tmp_path, {})
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    gpu = simulator.Gpu(tmp_path / "kernels.mlir")
    before = gpu.stats().live_bytes
    with gpu:
        compiled = snug.load(str(library))
        assert gpu.stats().peak_bytes - before == planned["total"] and planned["library"] == 2 * 8
        for scale, zeros in ((100, 2), (1.5, 0), (1, 8)):
            x = np.linspace(0.1, 1, 8, dtype=np.float32) * np.float32(scale)
            x[:zeros] = 0
            want = session.run(None, {"x": x})
            got = compiled(x=x)
            np.testing.assert_array_equal(got["y"], want[0])
            np.testing.assert_array_equal(got["places"], want[1])


def test_shapes_of_outputs(tmp_path):
    """Each has as many extents as its output has dims, and they stand next to each other, 8 bytes each."""
    import onnx
    h = onnx.helper
    outputs = ["values", "first", "back", "counts"]
    graph = h.make_graph([h.make_node("Unique", ["x"], outputs, sorted=1)], "g", [h.make_tensor_value_info("x", 1, [12])],
                         [h.make_tensor_value_info(name, 1 if name == "values" else 7, [None]) for name in outputs])
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=9), tmp_path / "m.onnx")
    x = np.array([3, 1, 3, 3, 0, -2, 1, 3, 7, 7, 0, 3], np.float32)
    library, _ = compile_model(tmp_path / "m.onnx", tmp_path, {})
    want = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"]).run(outputs, {"x": x})
    with simulator.Gpu(tmp_path / "kernels.mlir"):
        got = snug.load(str(library))(x=x)
    for name, value in zip(outputs, want):
        np.testing.assert_array_equal(got[name], value)
