# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Key-value caches stay in parts: each device keeps its own from step to step, and only what is new is ever sent."""
import json
import random
import subprocess

import numpy as np
import onnx
import pytest

import materialize
import snug
from ops import Graph, noise
from test_mesh import TOLERANCE, join

LAYERS, HEADS, HEAD = 2, 2, 16  # of llama_tiny_decode: key-value heads, of four query heads
CACHES = [f"{what}_{layer}" for layer in range(LAYERS) for what in ("key", "value")]


def compiled(model, mesh, tmp_path, *flags, dims=None):
    _, report = snug.compile_model(model, tmp_path / "m.so", {"batch": 1, "past": "1..40"} if dims is None else dims, flags=["--mesh", f"{mesh[0]}x{mesh[1]}", *flags])
    return report


def cuts_of(report, kind):
    return {one[kind]: one["dims"] for one in report["mesh"]["parts"] if kind in one}


def part(whole, mesh, dims, rank):
    for dim, extent, place in zip(dims, mesh, divmod(rank, mesh[1])):
        if dim is not None:
            whole = np.split(whole, extent, axis=dim)[place]
    return whole


def step_inputs(model, past):
    return materialize.make_inputs(model, {"batch": 1, "past": past, "s22": past + 1})


@pytest.mark.parametrize("mesh", [(2, 1), (1, 2), (2, 2), (4, 1), (3, 1)], ids=lambda mesh: f"{mesh[0]}x{mesh[1]}")
def test_each_rank_keeps_its_part_from_step_to_step(mesh, weights, tmp_path):
    """What one step gives a rank is what it gives to the next one: nobody puts caches together in between."""
    model, ranks = weights("llama_tiny_decode"), mesh[0] * mesh[1]
    cuts = cuts_of(compiled(model, mesh, tmp_path), "input")
    outputs_in_parts = cuts_of(json.loads((tmp_path / "m.report.json").read_text()), "output")
    assert outputs_in_parts == {name.replace("past", "present"): dims for name, dims in cuts.items()}
    caches = {name: value for name, value in step_inputs(model, 3).items() if name.startswith("past")}
    for name, value in caches.items():
        for rank in range(ranks):
            np.save(tmp_path / f"{name}.{rank}.npy", part(value, mesh, cuts.get(name, (None, None)), rank))
    for past in (3, 4, 5):
        inputs = step_inputs(model, past)
        for name in ("input_ids", "attention_mask", "position_ids"):
            np.save(tmp_path / f"{name}.npy", inputs[name])
        want = snug.reference(model, {**inputs, **caches})
        words = [word for name in ("input_ids", "attention_mask", "position_ids") for word in ("--input", f"{name}={tmp_path / name}.npy")]
        for cache in CACHES:
            words += ["--input", f"past_{cache}={tmp_path}/past_{cache}.{{rank}}.npy", "--output", f"present_{cache}={tmp_path}/past_{cache}.{{rank}}.npy"]
        snug.command([snug.tool("SNUG_RUN"), tmp_path / "m.so", "--comm", "loopback", *words, "--output", f"logits={tmp_path}/logits.npy"])
        assert snug.relative_error(np.load(tmp_path / "logits.npy"), want["logits"]) <= TOLERANCE
        for cache in CACHES:
            parts = [np.load(tmp_path / f"past_{cache}.{rank}.npy") for rank in range(ranks)]
            got = join(parts, mesh, cuts.get(f"past_{cache}", (None, None)))
            assert snug.relative_error(got, want[f"present_{cache}"]) <= TOLERANCE, (past, cache)
            caches[f"past_{cache}"] = want[f"present_{cache}"]


@pytest.mark.parametrize("mesh, dims", [((2, 1), [1, None]), ((1, 2), [None, 1])], ids=["2x1", "1x2"])
def test_caches_are_cut_by_heads_and_take_their_share(mesh, dims, weights, tmp_path):
    report = compiled(weights("llama_tiny_decode"), mesh, tmp_path)
    assert cuts_of(report, "input") == {f"past_{cache}": dims for cache in CACHES}
    cache, past = len(CACHES) * HEADS * HEAD * 4, 40  # bytes of one token
    assert report["memory"]["inputs"] == cache * past // 2 + 8 * (2 + past + 1)  # token, position and mask
    assert report["memory"]["outputs"] == cache * (past + 1) // 2 + 4 * 256
    stats = run_whole(weights("llama_tiny_decode"), 40, tmp_path)
    assert stats["planned"]["inputs"] == report["memory"]["inputs"] and stats["planned"]["outputs"] == report["memory"]["outputs"]


def run_whole(model, past, tmp_path):
    """Whole arrays go in and come out, over as many ranks as there are. Statistics."""
    inputs = step_inputs(model, past)
    np.savez(tmp_path / "in.npz", **inputs)
    snug.command([snug.tool("SNUG_RUN"), tmp_path / "m.so", "--comm", "loopback", "--inputs", tmp_path / "in.npz", "--outputs",
                  tmp_path / "out.npz", "--stats", tmp_path / "stats.json"])
    with np.load(tmp_path / "out.npz") as file:
        for name, value in snug.reference(model, inputs).items():
            assert snug.relative_error(file[name], value) <= TOLERANCE, name
    return json.loads((tmp_path / "stats.json").read_text())


@pytest.mark.parametrize("mesh", [(2, 1), (2, 2), (1, 2), (2, 4)], ids=lambda mesh: f"{mesh[0]}x{mesh[1]}")  # two heads of keys
def test_whole_arrays_go_in_and_come_out(mesh, weights, tmp_path):
    """As a .npz of all outputs, and with random inputs, which are the same whatever the mesh."""
    model = weights("llama_tiny_decode")
    assert compiled(model, mesh, tmp_path)["mesh"]["parts"]
    run_whole(model, 7, tmp_path)
    words = ["--random-inputs", 5, "--random-range", "input_ids=0..255", "--dim", "past=9"]
    snug.command([snug.tool("SNUG_RUN"), tmp_path / "m.so", "--comm", "loopback", *words, "--outputs", tmp_path / "mesh.npz"])
    snug.compile_model(model, tmp_path / "one.so", {"batch": 1, "past": "1..40"})
    snug.command([snug.tool("SNUG_RUN"), tmp_path / "one.so", *words, "--outputs", tmp_path / "one.npz"])
    with np.load(tmp_path / "mesh.npz") as got, np.load(tmp_path / "one.npz") as want:
        for name in want.files:
            assert snug.relative_error(got[name], want[name]) <= TOLERANCE, name


# Of llama_tiny_decode: what 4x1, 2x2 and 1x4 devices can have parts of: names, dim, and whether by both axes at once.
PINNABLE = [("logits", 2), ("past_key_0", 3), ("present_value_1", 3), ("past_value_0", 3), ("inner.model.embed_tokens.weight", 1)]


def value_names(model):
    """Weights and results of nodes that are floats."""
    graph = onnx.load(model, load_external_data=False).graph
    return [tensor.name for tensor in graph.initializer] + [name for node in graph.node for name in node.output]


@pytest.mark.parametrize("seed", range(12))
def test_pins_change_no_result(seed, weights, tmp_path):
    """One that must be possible, and any others as long as they are: those that are not have a message."""
    rng, model = random.Random(seed), weights("llama_tiny_decode")
    mesh = rng.choice([(2, 1), (1, 2), (2, 2), (4, 1)])
    axes = [axis for axis in (0, 1) if mesh[axis] > 1]
    name, dim = PINNABLE[seed % len(PINNABLE)]
    pins = {(name, rng.choice(axes)): dim}
    for other in rng.sample(value_names(model), 40):
        trial = {**pins, (other, rng.choice(axes)): rng.randrange(4)}
        words = [word for (value, axis), cut in trial.items() for word in ("--shard", f"{value}={cut}:{axis}")]
        done = subprocess.run([snug.tool("SNUGC"), model, "--dry-run", "--dim", "batch=1", "--dim", "past=1..20", "--mesh", f"{mesh[0]}x{mesh[1]}",
                               *words], capture_output=True, text=True)
        assert done.returncode == 0 or (done.returncode == 3 and done.stderr.count("error: ") == 1), done.stderr
        if done.returncode == 0:
            pins = trial
        if len(pins) == 4:
            break
    words = [word for (value, axis), cut in pins.items() for word in ("--shard", f"{value}={cut}:{axis}")]
    report = compiled(model, mesh, tmp_path, *words)
    for (value, axis), cut in pins.items():
        for one in report["mesh"]["parts"]:
            assert value not in (one.get("input"), one.get("output")) or one["dims"][axis] == cut
    run_whole(model, 11, tmp_path)


def test_a_pinned_weight_is_cut(weights, tmp_path):
    """Where it is to be cut by its inputs, one that would be cut by its outputs."""
    model = weights("llama_tiny_decode")
    name = next(tensor.name for tensor in onnx.load(model, load_external_data=False).graph.initializer if list(tensor.dims) == [64, 176])
    sizes = [compiled(model, (2, 1), tmp_path, *words)["memory"]["weights"] for words in ([], ["--shard", f"{name}=0:0"], ["--shard", f"{name}=1:0"])]
    assert max(sizes) - min(sizes) <= 2 * 64 * 32 * 4  # bytes: panels of 32 columns may be filled up
    run_whole(model, 5, tmp_path)


def test_one_dim_along_both_axes(weights, tmp_path):
    """Axis 1 cuts the parts of axis 0, of what goes in and of what comes out; and a run may write over a part that is donated."""
    model = weights("llama_tiny_decode")
    pins = [f"{name}:{axis}" for name in ("past_key_0=3", "logits=2") for axis in (0, 1)]
    report = compiled(model, (2, 2), tmp_path, *(word for pin in pins for word in ("--shard", pin)), "--donate", "past_key_0")
    assert cuts_of(report, "input")["past_key_0"] == cuts_of(report, "output")["present_key_0"] == [3, 3]
    assert cuts_of(report, "output")["logits"] == [2, 2]
    run_whole(model, 6, tmp_path)


def test_a_part_of_another_shape_is_refused(weights, tmp_path):
    model = weights("llama_tiny_decode")
    compiled(model, (2, 1), tmp_path)
    inputs = step_inputs(model, 6)
    def refused(file, cache, message):
        np.savez(tmp_path / "in.npz", **{name: value for name, value in inputs.items() if name != "past_key_0"})
        for rank in range(2):
            np.save(tmp_path / f"k.{rank}.npy", cache)
        np.save(tmp_path / "k.npy", cache)
        done = subprocess.run([snug.tool("SNUG_RUN"), tmp_path / "m.so", "--comm", "loopback", "--inputs", tmp_path / "in.npz",
                               "--input", f"past_key_0={tmp_path}/{file}"], capture_output=True, text=True)
        assert done.returncode == 6 and done.stderr.count("error: ") == 1 and message in done.stderr, done.stderr
    whole = inputs["past_key_0"]
    refused("k.{rank}.npy", whole, "input 'past_key_0' has shape 1x2x6x16; expected [1, 1, past, 16] (one device's part of 2 along dim 1)")
    refused("k.npy", whole[:, :1], "input 'past_key_0' has shape 1x1x6x16; expected rank 4 with 2 along dim 1")
    refused("k.npy", whole[0], "input 'past_key_0' has shape 2x6x16; expected rank 4 with 2 along dim 1")


def test_a_cache_that_is_written_into(tmp_path):
    """One of fixed length, of which each step overwrites a row, is cut as one that grows."""
    graph = Graph()
    c, x = graph.constant, graph.input("x", noise(1, 1, 64), (1, 1, 64))
    cache = graph.input("cache", noise(1, 4, 16, 8), (1, 4, 16, 8))
    row = graph.input("row", np.full((1, 4, 1, 8), 5), (1, 4, 1, 8))

    def heads(seed):
        flat = graph.node("MatMul", x, c(noise(64, 32, seed=seed)))
        return graph.node("Transpose", graph.node("Reshape", flat, c(np.array([1, 1, 4, 8]))), perm=[0, 2, 1, 3])
    written = graph.node("ScatterElements", cache, row, heads(1), axis=2)
    scores = graph.node("Softmax", graph.node("MatMul", heads(2), graph.node("Transpose", written, perm=[0, 1, 3, 2])), axis=-1)
    mixed = graph.node("Transpose", graph.node("MatMul", scores, written), perm=[0, 2, 1, 3])
    graph.output(graph.node("MatMul", graph.node("Reshape", mixed, c(np.array([1, 1, 32]))), c(noise(32, 64, seed=3))), 3)
    graph.output(written, 4)
    model = graph.save(tmp_path / "m.onnx")
    report = compiled(model, (4, 1), tmp_path, dims={})
    assert cuts_of(report, "input") == {"cache": [1, None]} and cuts_of(report, "output") == {written: [1, None]}
    assert [one["collective"] for one in report["mesh"]["collectives"]] == ["all_reduce"]
    np.savez(tmp_path / "in.npz", **graph.values)
    snug.command([snug.tool("SNUG_RUN"), tmp_path / "m.so", "--comm", "loopback", "--inputs", tmp_path / "in.npz", "--outputs", tmp_path / "out.npz"])
    with np.load(tmp_path / "out.npz") as file:
        for name, value in snug.reference(model, graph.values).items():
            assert snug.relative_error(file[name], value) <= TOLERANCE, name


def test_caches_in_parts_make_room(weights, tmp_path):
    """The fewest devices for a long cache: half of it fits, with what else there is, where all of it does not."""
    past = 16384
    caches = len(CACHES) * HEADS * HEAD * 4 * (2 * past + 1)  # bytes, in and out
    _, report = snug.compile_model(weights("llama_tiny_decode"), tmp_path / "m.so", {"batch": 1, "past": f"1..{past}"},
                                   flags=["--mesh", "least", "--memory-budget", f"{caches * 3 // 4}B"])
    assert report["mesh"]["mesh"][0] * report["mesh"]["mesh"][1] == 2
    assert report["memory"]["total"] <= caches * 3 // 4 < caches
