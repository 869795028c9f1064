# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The command for hardware (test/gpu/run), on what stands in for it."""
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import simulator

import onnx_tests

RUN = pathlib.Path(__file__).with_name("run")
BINARIES = pathlib.Path(os.environ.get("SNUGC", "snugc")).parent


def run(*words, **more):
    done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                          env={**os.environ, "LD_LIBRARY_PATH": str(pathlib.Path(os.environ["SNUG_FAKE_CUDA"]).parent), **more})
    return done.returncode, done.stdout + done.stderr


def test_models(tmp_path):
    """What is packed runs as it is; a wrong result and memory that was not planned are found."""
    code, said = run(RUN, "--make", tmp_path, "--bin", BINARIES, "--chips", "sm_90", "--match", "lstm_tagger", "--save-temps")
    assert code == 0, said
    label = "lstm_tagger.half.cublaslt,cudnn"
    simulator.host_code(tmp_path / f"{label}.temps/kernels.mlir", tmp_path / "kernels.so")

    def check():
        code, said = run(tmp_path / "run", tmp_path, "--match", label, "--json", tmp_path / "rows.json", SNUG_SIM_KERNELS=str(tmp_path / "kernels.so"))
        return code, said, json.loads((tmp_path / "rows.json").read_text())

    code, said, rows = check()
    assert code == 0, said
    assert [row["flags"] for row in rows] == ["", "--cuda-graph"] and all(0 < row["allocated"] <= row["planned"] for row in rows)
    models = json.loads((tmp_path / "models.json").read_text())
    for one in models:
        one["planned"] -= 1
    (tmp_path / "models.json").write_text(json.dumps(models))
    assert check()[0] == 1 and "B of device memory, planned were" in check()[1]
    outputs = tmp_path / "lstm_tagger.outputs.npz"
    with np.load(outputs) as right:
        np.savez(outputs, **{name: right[name] * 1.001 for name in right.files})
    code, said, rows = check()
    assert code == 1 and all(row["problem"] == "wrong result" for row in rows)


def test_there_is_no_gpu(tmp_path):
    code, said = run(RUN, tmp_path, LD_LIBRARY_PATH="")
    assert (code, said[:7]) == (77, "no GPU:")


def test_tests_of_ops(tmp_path):
    """They are compiled, and each is compared with what the onnx package expects."""
    code, said = run(RUN, "--make", tmp_path, "--bin", BINARIES, "--chips", "sm_90", "--onnx-tests", "0", "--match", "test_softplus")
    assert code == 0 and "4 tests" in said, said
    one = json.loads((tmp_path / "tests/tests.json").read_text())[0]
    with np.load(tmp_path / f"tests/{one['name']}.npz") as arrays:
        x, y = arrays["in0"], arrays["out0"]

    def answer(value):
        return lambda path: lambda *inputs: {"y": value} if path.endswith(f"{one['name']}.so") and (inputs[0] == x).all() else None

    assert onnx_tests.check(tmp_path / "tests", one, answer(y)) == ""
    assert onnx_tests.check(tmp_path / "tests", one, answer(y + 0.01)) == "wrong result"
    assert "instead of" in onnx_tests.check(tmp_path / "tests", one, answer(y.astype(np.float64)))
    with pytest.raises(ValueError):
        onnx_tests.check(tmp_path / "tests", one, lambda path: lambda *inputs: {"y": y, "z": y})


def test_what_fails_or_dies_ends_no_other_test(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "snug").mkdir()
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/libsnug_runtime.so").touch()
    names = ["right", "dies", "wrong", "refused", "last"]
    (tmp_path / "tests/tests.json").write_text(json.dumps([{"name": name, "rtol": 0, "atol": 0} for name in names]))
    for name in names:
        np.savez(tmp_path / f"tests/{name}.npz", in0=np.ones(2), out0=np.ones(2))
    (tmp_path / "onnx_tests.py").write_bytes(pathlib.Path(onnx_tests.__file__).read_bytes())
    (tmp_path / "snug/__init__.py").write_text("""import os
class Error(RuntimeError):
    code = 6
def load(path):
    name = os.path.basename(path)[:-3]
    if name == "dies":
        os._exit(9)
    if name == "refused":
        raise Error("no")
    return lambda x: {"y": x + (name == "wrong")}
""")
    problems, count = onnx_tests.run(tmp_path, dict(os.environ))
    assert count == 5 and list(problems) == ["dies", "wrong", "refused"]
    assert problems["dies"].startswith("the process ended with 9") and problems["wrong"] == "wrong result" and problems["refused"] == "exit code 6: no"
