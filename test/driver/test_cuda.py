# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""--target cuda: what is refused, and how. What is compiled is run in test/gpu."""
import json
import os
import subprocess

import numpy as np
import pytest
from conftest import model, values
from onnx import TensorProto, helper, numpy_helper


def snugc(*words, **environment):
    done = subprocess.run([os.environ["SNUGC"], *map(str, words)], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                          env={**os.environ, **environment})
    return done.returncode, done.stderr


@pytest.mark.parametrize("target, said", [
    ("gpu", "--target is cpu, cuda, or cuda:CHIP[,CHIP...] with chips like sm_90, not 'gpu'"),
    ("cuda:", "not 'cuda:'"),
    ("cuda:sm_90,", "'' is no chip"),
    ("cuda:90", "'90' is no chip"),
    ("cuda:sm_99999999999", "'sm_99999999999' is no chip"),
    ("cuda:sm_70", "'sm_70' is older than sm_80"),
    ("cpu:sm_90", "not 'cpu:sm_90'"),
])
def test_targets_that_are_none(mlp, tmp_path, target, said):
    code, message = snugc(mlp(), "-o", tmp_path / "m.so", "--dim", "rows=4", "--target", target)
    assert code == 1 and said in message and not (tmp_path / "m.so").exists()


def test_without_a_toolkit(mlp, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    for words, environment in (([], {"SNUG_CUDA_TOOLKIT": str(empty)}), (["--cuda-toolkit", empty], {})):
        code, message = snugc(mlp(), "-o", tmp_path / "m.so", "--dim", "rows=4", "--target", "cuda", *words, **environment)
        assert code == 5 and f"no CUDA toolkit in '{empty}'" in message and "nvidia-cuda-nvcc" in message
        assert not list(tmp_path.glob("m.so*"))
    # The plan needs none.
    assert snugc(mlp(), "--dry-run", "--dim", "rows=4", "--target", "cuda", SNUG_CUDA_TOOLKIT=str(empty))[0] == 0


@pytest.mark.skipif("SNUG_CUDA_TOOLKIT" not in os.environ, reason="without a CUDA toolkit")
def test_the_library_says_its_chips(mlp, tmp_path):
    assert snugc(mlp(), "-o", tmp_path / "m.so", "--dim", "rows=4", "--target", "cuda")[0] == 0
    info = subprocess.run([os.environ["SNUG_RUN"], tmp_path / "m.so", "--info"], capture_output=True, text=True, check=True).stdout
    assert "cuda:sm_80,sm_90,sm_100" in info


@pytest.mark.skipif("SNUG_CUDA_TOOLKIT" not in os.environ, reason="without a CUDA toolkit")
def test_the_report_says_what_kernels_take(mlp, tmp_path):
    report = tmp_path / "report.json"
    assert snugc(mlp(), "-o", tmp_path / "m.so", "--dim", "rows=100", "--target", "cuda:sm_80,sm_90", "--report", report)[0] == 0
    kernels = json.loads(report.read_text())["gpu_kernels"]
    assert {(one["kernel"].split("_")[0], one["chip"]) for one in kernels} == {("contract", "sm_80"), ("contract", "sm_90")}
    assert all(0 < one["registers"] <= 128 and one["shared"] > 4096 and one["stack"] == one["spilled"] == 0 for one in kernels)


@pytest.mark.skipif("SNUG_CUDA_TOOLKIT" not in os.environ, reason="without a CUDA toolkit")
def test_memory_that_no_plan_has_is_said(tmp_path):
    """libdevice's sine of f64 has tables on the stack."""
    path = model([helper.make_node("Sin", ["x"], ["y"])], [values("x", [4], TensorProto.DOUBLE)], [values("y", [4], TensorProto.DOUBLE)],
                 path=tmp_path / "sin.onnx")
    code, message = snugc(path, "-o", tmp_path / "m.so", "--target", "cuda:sm_90")
    assert code == 0 and "bytes of a thread's own memory on sm_90" in message and message.count("warning") == 1


def test_strings(tmp_path):
    path = model([helper.make_node("StringConcat", ["x", "x"], ["y"], name="twice")], [values("x", [4], TensorProto.STRING)],
                 [values("y", [4], TensorProto.STRING)], path=tmp_path / "strings.onnx")
    code, message = snugc(path, "--dry-run", "--target", "cuda")
    assert code == 3 and "node 'twice'" in message and "strings" in message


def test_meshes(tmp_path):
    """What NCCL does not combine, where each device has a part of the sum."""
    matrices = [numpy_helper.from_array((np.arange(32 * 64) % 7).astype(np.int16).reshape(shape), name)
                for name, shape in (("w", (32, 64)), ("v", (64, 32)))]
    path = model([helper.make_node("Einsum", ["x", "w"], ["h"], equation="ij,jk->ik", name="up"),
                  helper.make_node("Einsum", ["h", "v"], ["y"], equation="ij,jk->ik", name="down")],
                 [values("x", [4, 32], TensorProto.INT16)], [values("y", [4, 32], TensorProto.INT16)], matrices, path=tmp_path / "sums.onnx")
    code, message = snugc(path, "--dry-run", "--target", "cuda", "--mesh", "2x1")
    assert code == 3 and "node 'down': devices have to combine elements of type 'i16' here, which NCCL cannot" in message, message
    assert message.count("error") == 1
    assert snugc(path, "--dry-run", "--target", "cpu", "--mesh", "2x1")[0] == 0
    assert snugc(path, "--dry-run", "--target", "cuda")[0] == 0


@pytest.mark.parametrize("target, bandwidth", [("cuda:sm_80", 300), ("cuda:sm_90", 450), ("cuda:sm_100", 900), ("cuda:sm_89", 31.5), ("cuda", 300), ("cpu", 10)])
def test_links_are_those_of_the_chip(mlp, tmp_path, target, bandwidth):
    report = tmp_path / "report.json"
    assert snugc(mlp(), "--dry-run", "--dim", "rows=4", "--target", target, "--mesh", "2x1", "--report", report)[0] == 0
    rings = json.loads(report.read_text())["mesh"]["plan"]["candidates"][0]["rings"]
    assert rings[0]["gbps"] == pytest.approx(bandwidth, rel=1e-2)


@pytest.mark.parametrize("target, precision, said", [
    ("cpu", "tf32", "--target cpu has no --precision tf32; write --precision f32"),
    ("cuda:sm_90", "bf16", "--target cuda:sm_90 has no --precision bf16; write --precision f32 or tf32"),
])
def test_precisions_that_a_target_does_not_have(mlp, tmp_path, target, precision, said):
    for words in (["-o", tmp_path / "m.so"], ["--dry-run"]):
        code, message = snugc(mlp(), *words, "--dim", "rows=4", "--target", target, "--precision", precision)
        assert code == 1 and said in message and not (tmp_path / "m.so").exists()


def test_tensor_cores_are_in_the_time_model(tmp_path):
    """A product computes at the rate of the chip's data sheet; what memory takes, and the plan, are the same."""
    path = model([helper.make_node("MatMul", ["x", "w"], ["y"])], [values("x", ["rows", 8192]), values("w", [8192, 8192])], [values("y", ["rows", 8192])],
                 [], path=tmp_path / "m.onnx")

    def plan(*words):
        assert snugc(path, "--dry-run", "--dim", "rows=8192", "--target", "cuda:sm_90", "--report", tmp_path / "r.json", *words)[0] == 0
        return json.loads((tmp_path / "r.json").read_text())
    exact, rounding = plan(), plan("--precision", "tf32")
    assert exact["precision"] == "f32" and rounding["precision"] == "tf32"
    assert exact["memory"] == rounding["memory"]
    gained = exact["time_model"]["unchunked_ms"] - rounding["time_model"]["unchunked_ms"]
    assert gained == pytest.approx(2 * 8192**3 / 0.7 * (1 / 67e12 - 1 / 494e12) * 1e3, rel=1e-3)
