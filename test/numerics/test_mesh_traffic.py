# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What goes over MPI is what the plan says, call for call and byte for byte; and a run over MPI is right."""
import collections
import os
import subprocess

import numpy as np
import pytest

import materialize
import snug
from ops import Graph, noise
from test_mesh import long_rows

pytestmark = pytest.mark.skipif("SNUG_COUNT_MPI" not in os.environ, reason="built without MPI")
ELEMENT = 4  # bytes; what ranks tell each other at the start of a run has elements of one


def run_counted(library, inputs, ranks, tmp_path):
    """Outputs of rank 0, and of each rank what it started: [(collective, ranks, elements)]."""
    np.savez(tmp_path / "in.npz", **inputs)
    environment = {**os.environ, "OMPI_MCA_rmaps_base_oversubscribe": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1",
                   "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "SNUG_MPI_LOG": str(tmp_path / "log")}
    command = [os.environ["SNUG_MPIRUN"], "-x", f"LD_PRELOAD={os.environ['SNUG_COUNT_MPI']}", "-x", "SNUG_MPI_LOG", "-n", str(ranks),
               snug.tool("SNUG_RUN"), str(library), "--inputs", str(tmp_path / "in.npz"), "--outputs", str(tmp_path / "out.npz"),
               "--threads", "1"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    calls = []
    for rank in range(ranks):
        lines = [line.split() for line in (tmp_path / f"log.{rank}").read_text().splitlines()]
        calls.append([(name, int(size), int(count)) for name, size, count, bytes in lines if int(bytes) == ELEMENT])
    with np.load(tmp_path / "out.npz") as file:
        return {name: file[name] for name in file.files}, calls


def sent(name, ranks, count):
    """Bytes that a rank sends (Thakur, Rabenseifner and Gropp, IJHPCA 2005)."""
    if name == "all_reduce":
        return 2 * (ranks - 1) * count * ELEMENT / ranks
    return (ranks - 1) * count * ELEMENT  # count is that of one part


@pytest.mark.parametrize("name, dims, mesh", [("gpt2_tiny", {"batch": 1, "seq": 16}, (4, 1)), ("llama_tiny", {"batch": 2, "seq": 8}, (2, 2)),
                                              ("bert_tiny", {"batch": 1, "seq": 12}, (1, 3))])
def test_calls_and_bytes_are_those_of_the_plan(name, dims, mesh, weights, tmp_path):
    model = weights(name)
    _, report = snug.compile_model(model, tmp_path / "m.so", dims, flags=["--mesh", f"{mesh[0]}x{mesh[1]}"])
    inputs = materialize.make_inputs(model, dims)
    outputs, calls = run_counted(tmp_path / "m.so", inputs, mesh[0] * mesh[1], tmp_path)
    for output, value in snug.reference(model, inputs).items():
        assert snug.relative_error(outputs[output], value) <= 1e-5, output
    planned = {(one["collective"], tuple(one["axes"])): (one["calls"], one["bytes"]) for one in report["mesh"]["collectives"]}
    by_kind = collections.defaultdict(lambda: [0, 0.0])
    for (kind, _), (number, bytes) in planned.items():
        by_kind[kind][0] += number
        by_kind[kind][1] += bytes
    for rank in calls:
        seen = collections.defaultdict(lambda: [0, 0.0])
        for kind, ranks, count in rank:
            seen[kind][0] += 1
            seen[kind][1] += sent(kind, ranks, count)
        assert dict(seen) == dict(by_kind)


@pytest.mark.parametrize("mesh, family", [((4, 1), "1d"), ((2, 2), "column-first"), ((2, 2), "hierarchical"), ((1, 3), "column-first")])
def test_large_tensors_go_in_messages_of_as_many_bytes(mesh, family, tmp_path):
    """Rings, each message no larger than what MPI sends without asking first."""
    graph = Graph()
    x = graph.input("x", noise(510, 252))
    up = graph.node("Relu", graph.node("MatMul", x, graph.constant(noise(252, 1020, seed=1) / np.float32(16))))
    graph.output(graph.node("MatMul", up, graph.constant(noise(1020, 252, seed=2) / np.float32(32))), 2)
    model = graph.save(tmp_path / "m.onnx")
    _, report = snug.compile_model(model, tmp_path / "m.so", {}, flags=["--mesh", f"{mesh[0]}x{mesh[1]}", "--mesh-family", family])
    outputs, calls = run_counted(tmp_path / "m.so", graph.values, mesh[0] * mesh[1], tmp_path)
    for output, value in snug.reference(model, graph.values).items():
        assert snug.relative_error(outputs[output], value) <= 1e-5, output
    assert not any(calls)  # none of MPI's own
    planned = sum(one["bytes"] for one in report["mesh"]["collectives"])
    for rank in range(len(calls)):
        sizes = [int(line.split()[2]) for line in (tmp_path / f"log.{rank}").read_text().splitlines() if line.startswith("message ")]
        # Parts of a tensor that does not divide differ by an element.
        assert abs(sum(sizes) - planned) <= 2 * len(calls) * ELEMENT and 0 < max(sizes) <= 32 << 10


def test_keys_go_round_in_messages_of_as_many_bytes(tmp_path):
    graph = long_rows()
    model = graph.save(tmp_path / "m.onnx")
    _, report = snug.compile_model(model, tmp_path / "m.so", {}, flags=["--mesh", "4x1", "--replicate-weights", "--ring-attention", "on"])
    planned = {one["collective"]: one["bytes"] for one in report["mesh"]["collectives"]}
    assert planned["shift"] == 2 * 3 * 1024 * 64 * ELEMENT  # keys and values, a quarter of each, to each other device
    outputs, calls = run_counted(tmp_path / "m.so", graph.values, 4, tmp_path)
    for output, value in snug.reference(model, graph.values).items():
        assert snug.relative_error(outputs[output], value) <= 1e-5, output
    assert not any(calls)
    for rank in range(4):
        sizes = [int(line.split()[2]) for line in (tmp_path / f"log.{rank}").read_text().splitlines() if line.startswith("message ")]
        assert sum(sizes) == sum(planned.values()) and max(sizes) <= 32 << 10


def test_caches_are_not_sent(weights, tmp_path):
    """All that goes over MPI is of one token, however long the cache is."""
    past, head, vocabulary = 60, 16, 256
    model, dims = weights("llama_tiny_decode"), {"batch": 1, "past": past}
    _, report = snug.compile_model(model, tmp_path / "m.so", dims, flags=["--mesh", "2x1"])
    inputs = materialize.make_inputs(model, {**dims, "s22": past + 1})
    outputs, calls = run_counted(tmp_path / "m.so", inputs, 2, tmp_path)
    for output, value in snug.reference(model, inputs).items():  # rank 0 has put the caches together for its file
        assert snug.relative_error(outputs[output], value) <= 1e-5, output
    assert sum("input" in one for one in report["mesh"]["parts"]) == 4
    assert max(count for rank in calls for _, _, count in rank) == vocabulary // 2 < past * head


def test_bytes_of_one_dimensional_parallelism_are_the_formula(weights, tmp_path):
    """Two all-reduces of tokens x hidden a layer (Shoeybi et al., arXiv 1909.08053); embeddings and logits are gathered."""
    tokens, hidden, vocabulary, layers, ranks = 16, 64, 256, 2, 4
    snug.compile_model(weights("gpt2_tiny"), tmp_path / "m.so", {"batch": 1, "seq": tokens}, flags=["--mesh", f"{ranks}x1"])
    inputs = materialize.make_inputs(weights("gpt2_tiny"), {"batch": 1, "seq": tokens})
    _, calls = run_counted(tmp_path / "m.so", inputs, ranks, tmp_path)
    want = [("all_gather", ranks, tokens * hidden // ranks)] + [("all_reduce", ranks, tokens * hidden)] * (2 * layers)
    want += [("all_gather", ranks, tokens * vocabulary // ranks)]
    assert calls == [want] * ranks


@pytest.mark.parametrize("mesh", [(4, 1), (2, 2)])
def test_pieces_are_more_calls_of_the_same_bytes(mesh, weights, tmp_path):
    model, dims = weights("gpt2_tiny"), {"batch": 1, "seq": 16}
    inputs, seen = materialize.make_inputs(model, dims), {}
    for pieces in (1, 4):
        flags = ["--mesh", f"{mesh[0]}x{mesh[1]}", "--overlap", str(pieces)]
        _, report = snug.compile_model(model, tmp_path / "m.so", dims, flags=flags)
        outputs, calls = run_counted(tmp_path / "m.so", inputs, mesh[0] * mesh[1], tmp_path)
        for output, value in snug.reference(model, inputs).items():
            assert snug.relative_error(outputs[output], value) <= 1e-5, output
        assert all(rank == calls[0] for rank in calls)
        assert len(calls[0]) == sum(one["calls"] for one in report["mesh"]["collectives"])
        seen[pieces] = collections.Counter()
        for kind, ranks, count in calls[0]:
            seen[pieces][kind, "calls"] += 1
            seen[pieces][kind, "bytes"] += sent(kind, ranks, count)
    cut = collections.Counter(one["collective"] for chain in report["mesh"]["overlap"] for one in chain["collectives"])
    assert cut and {chain["pieces"] for chain in report["mesh"]["overlap"]} == {4}
    for kind in cut:
        assert seen[4][kind, "calls"] == seen[1][kind, "calls"] + 3 * cut[kind]
        assert seen[4][kind, "bytes"] == seen[1][kind, "bytes"]
