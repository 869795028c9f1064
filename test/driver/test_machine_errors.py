# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What stands in the way on a machine, most of it exit code 5: folders, permissions, full disks, signals, files in use,
tools that are not there. Nothing half-written stays."""
import os
import resource
import shutil
import signal
import subprocess

import onnx
import pytest
from onnx import TensorProto, helper

from conftest import files, model, refused, snugc, values

ROWS = ("--dim", "rows=1024")
NOBODY = 65534


@pytest.mark.parametrize("flag", ["-o", "--report", "--depfile"])
def test_no_such_folder(mlp, tmp_path, flag):
    flags = {"-o": tmp_path / "m.so", flag: tmp_path / "none" / "file"}
    result = snugc(mlp(), *ROWS, *(part for pair in flags.items() for part in pair))
    refused(result, 5, "none/file", "does not exist")
    assert files(tmp_path) == ["mlp.onnx", "mlp.onnx.data"]


def test_output_is_no_file(mlp, tmp_path):
    refused(snugc(mlp(), *ROWS, "-o", tmp_path), 5, "it is a folder")
    os.mkfifo(tmp_path / "pipe")
    refused(snugc(mlp(), *ROWS, "-o", tmp_path / "pipe"), 5, "no regular file")


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming somebody without permission needs root")
def test_no_permission(mlp, tmp_path, monkeypatch):
    path, closed = mlp(), tmp_path / "closed"
    # A build below root's home cannot be reached by anybody else: a copy of the tool can.
    monkeypatch.setenv("SNUGC", shutil.copy(os.environ["SNUGC"], tmp_path))
    closed.mkdir(mode=0o555)
    for folder in [tmp_path, *tmp_path.parents]:
        if folder.stat().st_uid == os.geteuid() and str(folder).startswith("/tmp/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    result = snugc(path, *ROWS, "-o", closed / "m.so", user=NOBODY, env={**os.environ, "TMPDIR": "/tmp"})
    refused(result, 5, "m.so", "permission")
    path.chmod(0o600)
    refused(snugc(path, *ROWS, "--dry-run", user=NOBODY), 5, "mlp.onnx", "ermission denied")


def test_nothing_to_measure_with(mlp, tmp_path, monkeypatch):
    path, folder = mlp(), tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("SNUGC", shutil.copy(os.environ["SNUGC"], folder))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    flags = (*ROWS, "--budget-sweep", "--measure", "-o", tmp_path / "m.so", "--report", tmp_path / "r.html")
    refused(snugc(path, *flags), 5, "--measure", "no snug-run beside snugc or on the PATH")
    runner = folder / "snug-run"
    runner.write_text("#!/bin/sh\necho 'snug-run: error: the cat ate it' >&2\nexit 6\n")
    runner.chmod(0o755)
    refused(snugc(path, *flags), 6, "snug-run failed with the arena at 1.0 MiB", "the cat ate it")
    runner.write_text("#!/bin/sh\nexit 0\n")
    refused(snugc(path, *flags), 70, "no latency")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "none"))
    refused(snugc(path, *ROWS, "--dry-run", "--budget-sweep", "--measure"), 5, "temporary folder", "TMPDIR")
    assert files(tmp_path) == ["bin", "mlp.onnx", "mlp.onnx.data"]


@pytest.mark.parametrize("limit", [0, 4096, 100 << 10])
def test_disk_full(mlp, tmp_path, limit):
    """Files that may not grow: the same errors come from write() as on a full disk. Nothing half-written stays."""
    def limited():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    result = snugc(mlp(), *ROWS, "-o", tmp_path / "m.so", "--report", tmp_path / "r.json", "--depfile", tmp_path / "d",
                   preexec_fn=limited, restore_signals=False)
    refused(result, 5, "cannot write")
    assert files(tmp_path) == ["mlp.onnx", "mlp.onnx.data"]


def test_report_that_cannot_be_written_takes_the_library_along(mlp, tmp_path):
    result = snugc(mlp(), *ROWS, "-o", tmp_path / "m.so", "--depfile", tmp_path / "d", "--report", "/dev/full")
    refused(result, 5, "/dev/full")
    assert files(tmp_path) == ["mlp.onnx", "mlp.onnx.data"]


def test_outputs_do_not_replace_each_other_or_the_model(mlp, tmp_path):
    path, same = mlp(), tmp_path / "m.so"
    before = (tmp_path / "mlp.onnx.data").read_bytes()
    refused(snugc(path, *ROWS, "-o", same, "--report", same), 1, "two things")
    refused(snugc(path, *ROWS, "-o", same, "--depfile", f"{same}.safetensors"), 1, "two things")
    refused(snugc(path, *ROWS, "-o", tmp_path / "mlp.onnx.data"), 1, "a file of the model")
    (tmp_path / "mlp.onnx.data").rename(tmp_path / "out.safetensors")
    proto = onnx.load(path, load_external_data=False)
    for tensor in proto.graph.initializer:
        tensor.external_data[0].value = "out.safetensors"
    path.write_bytes(proto.SerializeToString())
    refused(snugc(path, *ROWS, "-o", tmp_path / "out"), 1, "a file of the model")
    assert files(tmp_path) == ["mlp.onnx", "out.safetensors"]
    assert (tmp_path / "out.safetensors").read_bytes() == before


def test_ended_by_a_signal_leaves_nothing(tmp_path):
    size = 1 << 12
    with open(tmp_path / "data", "wb") as data:
        data.truncate(size * size * 4)
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[size, size], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="data")
    path = model([helper.make_node("MatMul", ["x", "w"], ["y"], name="mm")], [values("x", [1, size])],
                 [values("y", [1, size])], [tensor], path=tmp_path / "m.onnx")
    partial = tmp_path / "m.so.safetensors.partial"
    for _ in range(5):
        process = subprocess.Popen([os.environ["SNUGC"], path, "-o", tmp_path / "m.so"], stderr=subprocess.DEVNULL)
        while process.poll() is None and not partial.exists():
            pass
        process.send_signal(signal.SIGTERM)
        if process.wait() == -signal.SIGTERM:
            break
        (tmp_path / "m.so").unlink(), (tmp_path / "m.so.safetensors").unlink()  # it was faster than the signal
    else:
        pytest.fail("the compiler was never seen writing")
    assert files(tmp_path) == ["data", "m.onnx"]
