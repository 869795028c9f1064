# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models cut for a mesh of devices give what one device gives, whatever the mesh and whatever connects it."""
import itertools
import json
import random

import numpy as np
import pytest

import materialize
import snug
from ops import Graph, noise

TOLERANCE = 1e-5  # relative L2, fp32
MESHES = [(a, n // a) for n in (2, 3, 4, 6, 8) for a in range(1, n + 1) if n % a == 0]
# What connects the two axes decides how ops are cut: GB/s and microseconds of axis 0, then of axis 1.
LINKS = {"alike": None, "slow_first": ((0.05, 1), (50, 1)), "slow_second": ((50, 1), (0.05, 1)), "no_latency": ((1, 0), (1, 0)),
         "free": ((1e4, 0), (1e4, 0)), "latency": ((100, 5000), (100, 5000))}


def mixture_of_experts():
    """Each expert's part of a token is weighed by a softmax over the experts."""
    graph = Graph()
    c, x = graph.constant, graph.input("x", noise(2, 10, 24), ("batch", "seq", 24))
    gate = graph.node("Softmax", graph.node("MatMul", x, c(noise(24, 8))), axis=-1)
    rows = graph.node("Unsqueeze", x, c(np.array([1])))
    up = graph.node("MatMul", rows, c(noise(8, 24, 48, seed=1)))
    down = graph.node("MatMul", graph.node("Gelu", up), c(noise(8, 48, 24, seed=2)))
    weighed = graph.node("Mul", down, graph.node("Unsqueeze", graph.node("Transpose", gate, perm=[0, 2, 1]), c(np.array([3]))))
    graph.output(graph.node("Add", x, graph.node("ReduceSum", weighed, c(np.array([1])), keepdims=0)), 3)
    return graph


def parallel_branches():
    """Two feed-forward networks side by side, with biases, and what they read, added up."""
    graph = Graph()
    c, x = graph.constant, graph.input("x", noise(2, 10, 24), ("batch", "seq", 24))
    rows = graph.node("LayerNormalization", x, c(np.ones(24, np.float32)), c(np.zeros(24, np.float32)))

    def branch(activation, seed):
        up = graph.node("Add", graph.node("MatMul", rows, c(noise(24, 48, seed=seed))), c(noise(48, seed=seed + 1)))
        down = graph.node("MatMul", graph.node(activation, up), c(noise(48, 24, seed=seed + 2)))
        return graph.node("Add", graph.node("Neg", down), c(noise(24, seed=seed + 3)))
    graph.output(graph.node("Add", graph.node("Add", branch("Gelu", 1), branch("Tanh", 5)), x), 3)
    return graph


def unet():
    """Convolutions down and up again, with a skip, group norms and biases."""
    graph = Graph()
    c, x = graph.constant, graph.input("x", noise(1, 8, 12, 12), ("batch", 8, 12, 12))

    def block(value, channels, out, seed):
        value = graph.node("Conv", value, c(noise(out, channels, 3, 3, seed=seed) * np.float32(0.2)), c(noise(out, seed=seed)), pads=[1, 1, 1, 1])
        flat = graph.node("InstanceNormalization", graph.node("Reshape", value, c(np.array([0, 4, -1]))), c(np.ones(4, np.float32)), c(np.zeros(4, np.float32)))
        return graph.node("Relu", graph.node("Reshape", flat, graph.node("Shape", value)))
    first = block(x, 8, 24, 1)
    low = block(graph.node("MaxPool", first, kernel_shape=[2, 2], strides=[2, 2]), 24, 48, 2)
    up = graph.node("Resize", low, "", c(np.array([1, 1, 2, 2], np.float32)), mode="nearest")
    both = graph.node("Concat", up, first, axis=1)
    graph.output(graph.node("Conv", block(both, 72, 24, 3), c(noise(8, 24, 1, 1, seed=4))), 4)
    return graph


def long_keys(length):
    """A query of one head to many keys, some of which are masked."""
    graph = Graph()
    q, k, v = (graph.input(name, noise(1, 1, rows, 64, seed=seed), (1, 1, rows if name == "q" else "keys", 64))
               for name, rows, seed in (("q", 1, 1), ("k", length, 2), ("v", length, 3)))
    mask = graph.input("mask", np.where(noise(1, 1, 1, length, seed=4) > 0.5, -np.inf, 0).astype(np.float32), (1, 1, 1, "keys"))
    scores = graph.node("MatMul", q, graph.node("Transpose", k, perm=[0, 1, 3, 2]))
    weights = graph.node("Softmax", graph.node("Add", scores, mask), axis=-1)
    graph.output(graph.node("MatMul", weights, v), 4)
    return graph


def long_rows():
    """Attention of one head, 4096 rows to themselves."""
    graph = Graph()
    c, x = graph.constant, graph.input("x", noise(1, 4096, 64), (1, 4096, 64))
    q, k, v = (graph.node("MatMul", x, c(noise(64, 64, seed=i) / np.float32(8))) for i in range(3))
    scores = graph.node("MatMul", graph.node("Mul", q, c(np.float32(0.125))), graph.node("Transpose", k, perm=[0, 2, 1]))
    seen = graph.node("MatMul", graph.node("Softmax", scores, axis=-1), v)
    graph.output(graph.node("MatMul", seen, c(noise(64, 64, seed=9) / np.float32(8))), 3)
    return graph


# name -> (dims when compiled, dims of the run)
EXPORTED = {"gpt2_tiny": ({"batch": "1..2", "seq": "1..16"}, {"batch": 2, "seq": 13}),
            "gpt2_tiny_ts14": ({"batch": 1, "seq": 9}, {"batch": 1, "seq": 9}),
            "llama_tiny": ({"batch": 1, "seq": "1..16"}, {"batch": 1, "seq": 16}),
            "llama_tiny_decode": ({"batch": 1, "past": "1..20"}, {"batch": 1, "past": 11}),
            "bert_tiny": ({"batch": 2, "seq": 12}, {"batch": 2, "seq": 12}),
            "vit_tiny": ({"batch": "1..2"}, {"batch": 2}),
            "folding_tiny": ({"batch": 1, "n": "1..8"}, {"batch": 1, "n": 6})}
BUILT = {"moe": (mixture_of_experts, {"batch": "1..2", "seq": "1..12"}), "branches": (parallel_branches, {"batch": "1..2", "seq": "1..12"}),
         "unet": (unet, {"batch": 1})}
RANDOM = random.Random(6)
CASES = [(name, mesh, links) for name, mesh in itertools.product([*EXPORTED, *BUILT], MESHES) for links in RANDOM.sample(sorted(LINKS), 2)]
SHORT = RANDOM.sample(CASES, 40)


def topology_of(mesh, links):
    """A level for each axis."""
    levels = [{"fanout": extent, "p2p_gbps": gbps, "group_gbps": gbps * (mesh[1] if axis == 0 else 1), "latency_us": us}
              for axis, (extent, (gbps, us)) in enumerate(zip(mesh, links)) if extent > 1]
    return json.dumps({"version": 1, "name": "test", "rails": False, "levels": levels})


def model_of(name, weights, tmp_path):
    """Path, dims, inputs."""
    if name in BUILT:
        build, dims = BUILT[name]
        graph = build()
        return graph.save(tmp_path / "m.onnx"), dims, graph.values
    model, (dims, run) = weights(name), EXPORTED[name]
    extra = {"s22": run["past"] + 1} if "past" in run else {}
    return model, dims, materialize.make_inputs(model, {**run, **extra})


def run_ranks(library, inputs, tmp_path):
    """Outputs of each rank, and the statistics."""
    np.savez(tmp_path / "in.npz", **inputs)
    # All ranks read the same file, so each takes its part of what it has a part of.
    snug.command([snug.tool("SNUG_RUN"), library, "--comm", "loopback", "--inputs", tmp_path / "in.npz", "--outputs",
                  tmp_path / "out.{rank}.npz", "--stats", tmp_path / "stats.json"])
    stats = json.loads((tmp_path / "stats.json").read_text())
    outputs = []
    for rank in range(len(stats["ranks"])):
        with np.load(tmp_path / f"out.{rank}.npz") as file:
            outputs.append({name: file[name] for name in file.files})
    return outputs, stats


def join(parts, mesh, dims):
    """The whole of what ranks have parts of: of dim dims[0] along axis 0 and of dims[1] along axis 1, or all of it (None)."""
    def along(axis, pieces):
        assert dims[axis] is not None or all(np.array_equal(piece, pieces[0]) for piece in pieces)  # devices agree to the bit
        return pieces[0] if dims[axis] is None else np.concatenate(pieces, axis=dims[axis])
    rows = [along(1, parts[i * mesh[1]:(i + 1) * mesh[1]]) for i in range(mesh[0])]
    return along(0, rows)


def check(name, mesh, links, weights, tmp_path, flags=()):
    model, dims, inputs = model_of(name, weights, tmp_path)
    flags = ["--mesh", f"{mesh[0]}x{mesh[1]}", *flags]
    if LINKS[links]:
        (tmp_path / "topology.json").write_text(topology_of(mesh, LINKS[links]))
        flags += ["--topology", tmp_path / "topology.json"]
    _, report = snug.compile_model(model, tmp_path / "m.so", dims, flags=flags)
    outputs, stats = run_ranks(tmp_path / "m.so", inputs, tmp_path)
    want = snug.reference(model, inputs)
    assert len(outputs) == mesh[0] * mesh[1] and report["mesh"]["mesh"] == list(mesh)
    cuts = {one["output"]: one["dims"] for one in report["mesh"]["parts"] if "output" in one}
    assert all(got.keys() == want.keys() for got in outputs)
    for output, value in want.items():
        whole = join([got[output] for got in outputs], mesh, cuts.get(output, (None, None)))
        assert snug.relative_error(whole, value) <= TOLERANCE, output
    for rank in stats["ranks"]:
        assert rank["measured"]["arena_high_water"] <= rank["planned"]["arena"]
    return report


@pytest.mark.parametrize("name, mesh, links", SHORT, ids=lambda value: value if isinstance(value, str) else "x".join(map(str, value)))
def test_mesh_gives_what_one_device_gives(name, mesh, links, weights, tmp_path):
    check(name, mesh, links, weights, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("name, mesh, links", [case for case in CASES if case not in SHORT],
                         ids=lambda value: value if isinstance(value, str) else "x".join(map(str, value)))
def test_any_mesh_gives_what_one_device_gives(name, mesh, links, weights, tmp_path):
    check(name, mesh, links, weights, tmp_path)


def check_cut(model, dims, mesh, inputs, tmp_path, marks, flags=()):
    """Over fast links, where more is cut: the program has these marks, and all ranks give what one device gives, to the bit the same."""
    (tmp_path / "topology.json").write_text(topology_of(mesh, LINKS["free"]))
    snug.compile_model(model, tmp_path / "m.so", dims, flags=["--mesh", f"{mesh[0]}x{mesh[1]}", "--topology", tmp_path / "topology.json",
                                                             "--save-temps", tmp_path / "ir", *flags])
    assert marks in next((tmp_path / "ir").glob("*shard*")).read_text()
    outputs, stats = run_ranks(tmp_path / "m.so", inputs, tmp_path)
    for name, value in snug.reference(model, inputs).items():
        for got in outputs:
            np.testing.assert_array_equal(np.isnan(got[name]), np.isnan(value))
            assert snug.relative_error(np.nan_to_num(got[name]), np.nan_to_num(value)) <= TOLERANCE
            assert np.array_equal(got[name], outputs[0][name], equal_nan=True)
    for rank in stats["ranks"]:
        assert rank["measured"]["arena_high_water"] <= rank["planned"]["arena"]


@pytest.mark.parametrize("length", [1, 2, 5, 150])
@pytest.mark.parametrize("mesh", [(4, 1), (2, 3)], ids=lambda mesh: "x".join(map(str, mesh)))
def test_keys_are_cut_whatever_their_number(mesh, length, tmp_path):
    """Each device attends to some keys, the last ones to none where there are few."""
    graph = long_keys(length)
    if length > 1:  # a row without keys is NaN
        assert np.isfinite(graph.values["mask"]).any()
    check_cut(graph.save(tmp_path / "m.onnx"), {"keys": "1..4096"}, mesh, graph.values, tmp_path, "stats(")


FAMILIES = [("1d", (4, 1)), ("1d", (1, 8)), *itertools.product(("hierarchical", "column-first", "row-first"), ((2, 2), (4, 2))),
            ("column-first", (1, 4)), ("row-first", (4, 1))]


@pytest.mark.parametrize("name", ["gpt2_tiny", "llama_tiny"])
@pytest.mark.parametrize("family, mesh", FAMILIES, ids=lambda value: value if isinstance(value, str) else "x".join(map(str, value)))
def test_any_family_gives_what_one_device_gives(name, family, mesh, weights, tmp_path):
    report = check(name, mesh, "slow_first", weights, tmp_path, flags=["--mesh-family", family])
    assert report["mesh"]["replicated"] == []


RINGS = [("gpt2_tiny", (4, 1), 13), ("gpt2_tiny", (2, 2), 1), ("gpt2_tiny", (1, 3), 16), ("llama_tiny", (2, 2), 16), ("llama_tiny", (8, 1), 5),
         ("bert_tiny", (4, 1), 12), ("vit_tiny", (2, 3), None), ("folding_tiny", (2, 1), None)]


@pytest.mark.parametrize("name, mesh, length", RINGS, ids=lambda value: "x".join(map(str, value)) if isinstance(value, tuple) else str(value))
def test_keys_go_round(name, mesh, length, weights, tmp_path):
    """Rows and keys in parts, of which the last devices may have none, against one device; over fast links rows are cut."""
    model, (dims, run) = weights(name), EXPORTED[name]
    inputs = materialize.make_inputs(model, {**run, **({"seq": length} if length else {})})
    check_cut(model, dims, mesh, inputs, tmp_path, "snug_mesh.shift", ["--ring-attention", "on", "--replicate-weights"])


def test_a_mesh_chosen_for_a_mix_gives_what_one_device_gives(weights, tmp_path):
    report = check("llama_tiny", (2, 2), "latency", weights, tmp_path, flags=["--mesh-mix", "1:seq=16", "--mesh-mix", "0.5:seq=1"])
    assert [(one["name"], one["runs"]) for one in report["mesh"]["plan"]["phases"]] == [("seq=16", 1), ("seq=1", 0.5)]


@pytest.mark.parametrize("name", EXPORTED)
@pytest.mark.parametrize("mesh, family", [("4x1", "1d"), ("2x2", "free"), ("4x2", "column-first"), ("4x2", "hierarchical"), ("2x4", "row-first"),
                                          ("3x2", "free"), ("6x1", "1d")])
def test_what_was_priced_is_what_is_sent(name, mesh, family, weights, tmp_path):
    """Calls and bytes of each axis, and of both together, as the search had them, and as the program has them."""
    model, dims, _ = model_of(name, weights, tmp_path)
    _, report = snug.compile_model(model, tmp_path / "m.so", dims, flags=["--mesh", mesh, "--mesh-family", family, "--dry-run", "--overlap", "off"])
    found = report["mesh"]
    (own,) = [one for one in found["plan"]["candidates"] if one["mesh"] == found["mesh"] and one["family"] == found["family"]]
    (layout,) = own["phases"][0]["layouts"]
    for ring, axes in enumerate(([0], [1], [0, 1])):
        sent = [one for one in found["collectives"] if one["axes"] == axes]
        priced = layout["traffic"][ring]
        assert priced["collectives"] == sum(one["calls"] for one in sent), axes
        assert priced["bytes"] == pytest.approx(sum(one["bytes"] for one in sent), rel=5e-3), axes  # statistics of rows that are filled up


def test_keys_go_round_where_that_is_faster(tmp_path):
    """One head of 4096 rows on links whose time computing hides: round while devices compute, else brought together or not cut."""
    model = long_rows().save(tmp_path / "m.onnx")
    (tmp_path / "topology.json").write_text(topology_of((4, 1), ((1, 10), (1, 10))))

    def shifts(*flags):
        _, report = snug.compile_model(model, tmp_path / "m.so", {}, flags=["--mesh", "4x1", "--topology", tmp_path / "topology.json", *flags])
        return {one["collective"]: (one["calls"], one["bytes"]) for one in report["mesh"]["collectives"]}.get("shift")
    # Three times a quarter of keys and of values.
    assert shifts("--replicate-weights") == (6, 6 * 1024 * 64 * 4)
    assert shifts("--replicate-weights", "--overlap", "off") is None
    assert shifts("--replicate-weights", "--ring-attention", "off") is None


def test_heads_of_each_matrix_are_cut_and_weights_shared_out(weights, tmp_path):
    """A device of four has a quarter, but for vectors that are added to what all have, and panels that are not full."""
    report = check("gpt2_tiny", (4, 1), "alike", weights, tmp_path)
    alone = snug.compile_model(weights("gpt2_tiny"), tmp_path / "one.so", {"batch": "1..2", "seq": "1..16"})[1]
    vectors = 4 * 64 * (2 * 5 + 2 * 2)  # bytes: five norms, and in each layer the biases of two projections
    panels = 2 * 4 * 64 * (64 - 48)     # of queries, keys and values 48 columns, in panels of 32
    assert report["memory"]["weights"] == alone["memory"]["weights"] / 4 + vectors * 3 / 4 + panels
    assert report["mesh"]["replicated"] == []
    # One sum after attention and one after the FFN of each layer (Shoeybi et al., arXiv 1909.08053).
    sums = [one for one in report["mesh"]["collectives"] if one["collective"] == "all_reduce"]
    assert [one["calls"] for one in sums] == [4]


@pytest.mark.parametrize("mesh", [(2, 1), (4, 1), (1, 3)], ids=lambda mesh: "x".join(map(str, mesh)))
def test_sums_that_are_added_up_are_completed_together(mesh, weights, tmp_path):
    """Biases are added by one device; neither they nor the signs need the whole sum."""
    report = check("branches", mesh, "latency", weights, tmp_path)
    axis, devices = (0, mesh[0]) if mesh[0] > 1 else (1, mesh[1])
    assert report["mesh"]["collectives"] == [{"collective": "all_reduce", "axes": [axis], "calls": 1,
                                              "bytes": 2 * (devices - 1) / devices * 2 * 12 * 24 * 4}]


def test_what_does_not_divide_is_filled_up(weights, tmp_path):
    """A third of 256 columns is 86 of 258, whose sums are gathered: those of the next matrix are no thirds of 256 rows."""
    report = check("gpt2_tiny", (3, 1), "alike", weights, tmp_path)
    assert report["mesh"]["replicated"] == []
    alone = snug.compile_model(weights("gpt2_tiny"), tmp_path / "one.so", {"batch": "1..2", "seq": "1..16"})[1]
    assert report["memory"]["weights"] < alone["memory"]["weights"] * 0.45  # matrices are small, so panels that are not full count


@pytest.mark.parametrize("length", [1, 2, 7, 16])
@pytest.mark.parametrize("name, mesh", [("gpt2_tiny", (4, 2)), ("llama_tiny", (1, 3)), ("gpt2_tiny", (8, 1)), ("llama_tiny", (2, 2))],
                         ids=lambda value: value if isinstance(value, str) else "x".join(map(str, value)))
def test_sequences_are_cut_whatever_their_length(name, mesh, length, weights, tmp_path):
    """Tokens are cut where links are fast; of some lengths the last devices have none."""
    model = weights(name)
    inputs = materialize.make_inputs(model, {"batch": 1, "seq": length})
    check_cut(model, {"batch": 1, "seq": "1..16"}, mesh, inputs, tmp_path, "ceildiv")  # a part of the tokens


def test_the_fastest_mesh_is_chosen(weights, tmp_path):
    """Four devices in two boxes with a slow link between them."""
    (tmp_path / "t.json").write_text(topology_of((2, 2), ((0.001, 1), (50, 1))))
    model, dims, inputs = model_of("gpt2_tiny", weights, tmp_path)
    flags = ["--mesh", "auto", "--topology", tmp_path / "t.json"]
    _, report = snug.compile_model(model, tmp_path / "m.so", dims, flags=flags)
    times = {tuple(one["mesh"]): one["ms"] for one in report["mesh"]["candidates"]}
    assert times.keys() == {(4, 1), (2, 2), (1, 4)}
    assert times[tuple(report["mesh"]["mesh"])] == min(times.values())
    outputs, _ = run_ranks(tmp_path / "m.so", inputs, tmp_path)
    for name, value in snug.reference(model, inputs).items():
        assert snug.relative_error(outputs[-1][name], value) <= TOLERANCE


OVERLAPPED = [(name, mesh) for name in ("gpt2_tiny", "llama_tiny", "llama_tiny_decode", "bert_tiny", "vit_tiny", "moe", "unet")
              for mesh in [(2, 1), (1, 3), (2, 2), (4, 1), (2, 4)]]
SHORT_OVERLAPPED = RANDOM.sample(OVERLAPPED, 10)


def check_overlapped(name, mesh, weights, tmp_path):
    reports = {pieces: check(name, mesh, "alike", weights, tmp_path, ["--overlap", str(pieces)]) for pieces in (1, 2, 4)}
    assert reports[1]["mesh"]["overlap"] == []
    calls = {pieces: sum(one["calls"] for one in report["mesh"]["collectives"]) for pieces, report in reports.items()}
    for pieces, report in reports.items():
        for one in report["mesh"]["overlap"]:
            assert 1 < one["pieces"] <= pieces and one["nodes"] and one["hidden_ms"] > 0
        more = sum((one["pieces"] - 1) * len(one["collectives"]) for one in report["mesh"]["overlap"])
        assert calls[pieces] == calls[1] + more
    return reports


@pytest.mark.parametrize("name, mesh", SHORT_OVERLAPPED, ids=lambda value: value if isinstance(value, str) else "x".join(map(str, value)))
def test_overlap_gives_what_one_device_gives(name, mesh, weights, tmp_path):
    check_overlapped(name, mesh, weights, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("name, mesh", [case for case in OVERLAPPED if case not in SHORT_OVERLAPPED],
                         ids=lambda value: value if isinstance(value, str) else "x".join(map(str, value)))
def test_any_overlap_gives_what_one_device_gives(name, mesh, weights, tmp_path):
    check_overlapped(name, mesh, weights, tmp_path)


@pytest.mark.parametrize("seq", [1, 2, 3, 5, 8, 16])
def test_pieces_may_be_empty(seq, weights, tmp_path):
    """Open rows in four pieces: with one row, three of them have none."""
    dims = {"batch": 1, "seq": "1..16"}
    _, report = snug.compile_model(weights("gpt2_tiny"), tmp_path / "m.so", dims, flags=["--mesh", "2x1", "--overlap", "4"])
    assert {one["pieces"] for one in report["mesh"]["overlap"]} == {4}
    inputs = materialize.make_inputs(weights("gpt2_tiny"), {"batch": 1, "seq": seq})
    outputs, _ = run_ranks(tmp_path / "m.so", inputs, tmp_path)
    for output, value in snug.reference(weights("gpt2_tiny"), inputs).items():
        assert snug.relative_error(outputs[0][output], value) <= TOLERANCE
        assert np.array_equal(outputs[0][output], outputs[1][output])


@pytest.mark.parametrize("name", ["gpt2_tiny_ts14", "llama_tiny"])
def test_overlap_keeps_budgets(name, weights, tmp_path):
    """Beside chunk loops and in them."""
    def memory(*flags):
        return check(name, (2, 2), "alike", weights, tmp_path, flags)
    alone = memory("--overlap", "off")["memory"]["arena"]
    for share in (60, 80):
        for pieces in "48":
            report = memory("--overlap", pieces, "--activation-budget", f"{share}%")
            assert report["memory"]["arena"] <= alone * share / 100
            assert report["mesh"]["overlap"] and report["chunk_loops"]
