# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models compiled for meshes of GPUs, each rank a thread with a stand-in for a GPU of its own, on what stands in for NCCL: results against
ONNX Runtime, memory of each device to the byte, and what a run waits for."""
import json
import os
import pathlib
import subprocess
import sys
import threading

import numpy as np
import onnxruntime
import pytest
import simulator
from account import compile_model
from test_models import DECISIONS, EXPORTED, weights  # noqa: F401

for folder in ("models", "../python"):
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / folder))
import materialize  # noqa: E402
from family_dims import tolerance  # noqa: E402
import snug  # noqa: E402
from graph_builder import GraphBuilder, noise  # noqa: E402

MESHES = ("2x1", "1x2", "2x2")


def on_ranks(size, body):
    """What body(rank, comm) gives, in a thread for each. The first failure is raised."""
    comms, given, failures = snug.Comm.loopback(size), [None] * size, []

    def run(rank):
        try:
            given[rank] = body(rank, comms[rank])
        except BaseException as failure:
            failures.append(failure)
        finally:
            comms[rank] = None  # so that nobody waits for it
    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return given


def check(model, inputs, folder, dims, mesh, *words, graph=False, tolerance=1e-5, decisions=0):
    """Compiles it and runs it three times. Returns the report."""
    library, planned = compile_model(model, folder, dims, "--mesh", mesh, *words)
    report = json.loads((folder / "report.json").read_text())
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    want = dict(zip([output.name for output in session.get_outputs()], session.run(None, inputs)))
    first, second = map(int, mesh.split("x"))
    ranks, gpu, meeting = first * second, simulator.Gpu(folder / "kernels.mlir"), threading.Barrier(first * second, timeout=300)
    os.environ["SNUG_FAKE_CUDA_DEVICES"] = str(ranks)

    def run(rank, comm):
        try:
            compiled = snug.load(str(library), device=rank, comm=comm, cuda_graph=graph)
            results, stats = [compiled(**inputs)], []
            for _ in range(2):
                meeting.wait()
                stats.append(gpu.stats())
                meeting.wait()
                results.append(compiled(**inputs))
            meeting.wait()
            stats.append(gpu.stats())
            meeting.wait()
            return results, stats, gpu.device_bytes(rank)[1]
        except BaseException:
            meeting.abort()
            raise
    with gpu:
        ranked = on_ranks(ranks, run)
    for results, stats, peak in ranked:
        for name, value in want.items():
            error = np.linalg.norm(results[0][name].astype(np.float64) - value) / max(np.linalg.norm(value.astype(np.float64)), 1e-30)
            assert results[0][name].dtype == value.dtype and error <= tolerance, (name, error)
            for other in results[1:]:
                np.testing.assert_array_equal(results[0][name], other[name])
        assert peak == planned["total"]
        assert stats[2].allocations == stats[0].allocations and stats[2].handles == stats[0].handles
        # A copy of each output to the host, and the end of the run; a copy of each decision, and its wait.
        assert stats[1].waits == stats[0].waits + ranks * (len(want) + 1 + 2 * decisions)
        assert stats[1].launches - stats[0].launches == stats[2].launches - stats[1].launches > 0
    for name in want:  # all ranks have the same bits
        for results, *_ in ranked[1:]:
            np.testing.assert_array_equal(ranked[0][0][0][name], results[0][name])
    return report


@pytest.mark.parametrize("mesh", MESHES)
def test_gpt(mesh, weights, tmp_path):  # noqa: F811
    dims = {"batch": 1, "seq": 16}
    model = weights("gpt2_tiny")
    check(model, materialize.make_inputs(model, dims), tmp_path, dims, mesh)


@pytest.mark.parametrize("mesh", ["1x2", "2x2"])
def test_overlap(mesh, weights, tmp_path):  # noqa: F811
    """Pieces whose collectives run beside the kernels, as a graph, too."""
    dims = {"batch": 1, "seq": 24}
    model = weights("llama_tiny")
    report = check(model, materialize.make_inputs(model, dims), tmp_path, dims, mesh, "--overlap", "2", graph=mesh == "2x2")
    assert report["mesh"]["overlap"]


def perceptron(folder):
    import onnx
    graph = GraphBuilder()
    x = noise(6, 32)
    graph.inputs.append(onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ("rows", 32)))
    c = graph.constant
    up = graph.node("Relu", graph.node("Add", graph.node("MatMul", "x", c(noise(32, 64, seed=1))), c(noise(64, seed=2))))
    y = graph.node("Add", graph.node("MatMul", up, c(noise(64, 32, seed=3))), c(noise(32, seed=4)))
    graph.outputs.append(onnx.helper.make_tensor_value_info(y, onnx.TensorProto.FLOAT, ("rows", 32)))
    return graph.save(folder / "mlp.onnx", 18), {"x": x}


@pytest.mark.parametrize("mesh", MESHES)
@pytest.mark.parametrize("graph", [False, True])
def test_perceptron(mesh, graph, tmp_path):
    model, inputs = perceptron(tmp_path)
    check(model, inputs, tmp_path, {"rows": "1..6"}, mesh, graph=graph)


@pytest.mark.long
@pytest.mark.parametrize("mesh", [*MESHES, "1x4", "3x2"])
@pytest.mark.parametrize("way", [[], ["--overlap", "4"], ["--ring-attention", "on", "--replicate-weights"]])
@pytest.mark.parametrize("name", [name for name in EXPORTED if name != "llama_tiny_decode"])
def test_exported(name, way, mesh, weights, tmp_path):  # noqa: F811
    model, dims = weights(name), EXPORTED[name]
    check(model, materialize.make_inputs(model, dims), tmp_path, dims, mesh, *way, tolerance=tolerance(pathlib.Path(name).name),
          decisions=DECISIONS.get(name, 0))


def test_ring_attention(weights, tmp_path):  # noqa: F811
    """Shifts, which groups of messages do."""
    dims = {"batch": 1, "seq": 16}
    model = weights("gpt2_tiny")
    links = {"fanout": 2, "p2p_gbps": 1e4, "group_gbps": 1e4, "latency_us": 0}
    (tmp_path / "free.json").write_text(json.dumps({"version": 1, "name": "free", "rails": False, "levels": [links]}))
    report = check(model, materialize.make_inputs(model, dims), tmp_path, dims, "2x1", "--ring-attention", "on", "--replicate-weights",
                   "--topology", tmp_path / "free.json")
    assert any(one["collective"] == "shift" for one in report["mesh"]["collectives"])


def test_the_command(tmp_path):
    """snug-run: each rank takes another device, unless one is named; rank 0 says what all have."""
    model, inputs = perceptron(tmp_path)
    library, planned = compile_model(model, tmp_path, {"rows": 6}, "--mesh", "2x1")
    simulator.host_code(tmp_path / "kernels.mlir", tmp_path / "kernels.so")
    np.savez(tmp_path / "in.npz", **inputs)
    environment = {**os.environ, "SNUG_SIM_KERNELS": str(tmp_path / "kernels.so"), "SNUG_FAKE_NCCL_BYTES": "1000",
                   "LD_LIBRARY_PATH": os.path.dirname(os.environ["SNUG_FAKE_CUDA"])}

    def run(*words, **more):
        return subprocess.run([os.environ["SNUG_RUN"], library, "--comm", "loopback", "--inputs", tmp_path / "in.npz", "--outputs", tmp_path / "out.npz",
                               "--stats", tmp_path / "stats.json", *words], capture_output=True, text=True, env={**environment, **more})
    for words in ((), ("--cuda-graph", "--repeat", "3")):
        done = run(*words, SNUG_FAKE_CUDA_DEVICES="2")
        assert done.returncode == 0 and " on 2 CUDA devices with " in done.stdout, (done.stdout, done.stderr)
        want = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"]).run(None, inputs)[0]
        with np.load(tmp_path / "out.npz") as got:
            np.testing.assert_allclose(got[got.files[0]], want, rtol=1e-4, atol=1e-5)
        stats = json.loads((tmp_path / "stats.json").read_text())
        assert [rank["measured"]["device"]["allocated"] for rank in stats["ranks"]] == [planned["total"]] * 2
        assert all(rank["measured"]["device"]["mesh"] == 1000 for rank in stats["ranks"])
    for words, devices in (((), "1"), (("--device", "1"), "2")):
        done = run(*words, SNUG_FAKE_CUDA_DEVICES=devices)
        assert done.returncode == 1 and "ranks 0 and 1 use the same GPU" in done.stderr and done.stderr.count("error") == 1, done.stderr
    # Found before one that this machine may have.
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "libcuda.so.1").symlink_to(os.environ["SNUG_FAKE_CUDA"])
    (empty / "libnccl.so.2").write_text("no library")
    done = run(SNUG_FAKE_CUDA_DEVICES="2", LD_LIBRARY_PATH=str(empty))
    assert done.returncode == 5 and "cut for a mesh of GPUs, which send to each other by NCCL, and there is none here" in done.stderr, done.stderr
    assert done.stderr.count("error") == 1
