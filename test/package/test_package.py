# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Snug as its users get it: installed, found by find_package, models compiled by the build, run from C and Python.

SNUG_BUILD_DIR is the build that is installed, SNUG_CC the C compiler.
"""
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "driver"))
from conftest import mlp  # noqa: E402,F401  the model


def run(*command, code=0, **options):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, stdin=subprocess.DEVNULL, **options)
    assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prefix")
    run("cmake", "--install", os.environ["SNUG_BUILD_DIR"], "--prefix", folder)
    return folder


@pytest.fixture
def project(prefix, mlp, tmp_path):  # noqa: F811
    model, build = mlp(), tmp_path / "build"
    run("cmake", "-G", "Ninja", "-S", HERE, "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}", f"-DMODEL={model}",
        f"-DCMAKE_C_COMPILER={os.environ['SNUG_CC']}", f"-DCMAKE_C_FLAGS={os.environ.get('SNUG_C_FLAGS', '')} -Wall -Werror")
    run("cmake", "--build", build)
    return model, build


def expected(model, x):
    data = np.fromfile(f"{model}.data", np.float32)
    w1, w2 = data[:64 * 256].reshape(64, 256), data[64 * 256:].reshape(256, 64)
    return np.maximum(x.astype(np.float64) @ w1, 0) @ w2


def test_nothing_names_the_build_folder(prefix):
    """What is installed works where the build is gone."""
    build = os.environ["SNUG_BUILD_DIR"]
    for path in prefix.rglob("*"):
        if path.suffix in (".cmake", ".h", ".py"):
            assert build not in path.read_text(), path
        elif path.is_file() and path.stat().st_mode & 0o111:
            dynamic = subprocess.run(["readelf", "-d", path], capture_output=True, text=True).stdout
            assert build not in dynamic, path


def test_example_program(project):
    model, build = project
    want = expected(model, np.ones((1, 64)))[0, 0]
    for library in ("mlp.so", "models/small.so"):
        text = run(build / "example", build / library, 64)
        assert abs(float(re.search(r"y\[0\] = (.*)", text).group(1)) - want) <= 1e-5 * abs(want)
    assert "'rows'" in run(build / "example", build / "mlp.so", 65, code=6)


def test_models_are_compiled_again_when_they_change(project):
    model, build = project

    def compiled():
        return run("cmake", "--build", build).count("Compiling")
    assert compiled() == 0
    for path in (model, Path(f"{model}.data")):
        os.utime(path)
        assert compiled() == 2, f"nothing depends on {path.name}"
    assert compiled() == 0


def test_two_libraries_and_two_threads(project):
    """Weights are shared between contexts, and libraries do not get in each other's way."""
    model, build = project
    got = [float(line) for line in run(build / "threads", build / "mlp.so", build / "models/small.so", 64).split()]
    want = expected(model, np.array([[1.0] * 64, [2.0] * 64]))[:, 0]
    np.testing.assert_allclose(got, [*want, *want], rtol=1e-5)
    assert got[:2] == got[2:], "chunked differs from unchunked"


def test_undefined_symbols(project):
    """A library needs libc and libm only; what it shares with the runtime is handed to it."""
    _, build = project
    for library in ("mlp.so", "models/small.so"):
        lines = run("readelf", "-d", build / library)
        needed = set(re.findall(r"Shared library: \[(.*?)\]", lines))
        assert needed <= {"libc.so.6", "libm.so.6"}
        symbols = run("nm", "-D", build / library)
        assert re.findall(r" [TDBRV] (\w+)", symbols) == ["snug_model_query"]


def test_example_is_that_of_the_documentation():
    code = (HERE / "example.c").read_text()
    assert code.count("\n") <= 45
    assert code in (HERE.parents[1] / "docs" / "c-api.md").read_text()


def test_installed_compiler_measures_and_draws(prefix, mlp, tmp_path):  # noqa: F811
    """It needs nothing of the build: snug-run is beside it, the page's parts are in it."""
    page = tmp_path / "r.html"
    env = {**os.environ, "PATH": "/usr/bin:/bin"}
    text = run(prefix / "bin" / "snugc", mlp(), "--dim", "rows=64", "--dry-run", "--budget-sweep", "--measure", "--report",
               page, env=env)
    assert "as measured" in text and "d3js.org" in page.read_text()


def test_debian_package(mlp, tmp_path):  # noqa: F811
    """It holds what is installed, and names the packages that its programs need. Here it is unpacked, not installed."""
    run("cpack", "--config", Path(os.environ["SNUG_BUILD_DIR"]) / "CPackConfig.cmake", "-B", tmp_path / "made", cwd=tmp_path)
    package, = (tmp_path / "made").glob("snug_*.deb")
    needed = run("dpkg-deb", "-f", package, "Depends")
    assert all(name in needed for name in ("libmlir-22", "libomp5", "libprotobuf-lite32", "libc6"))
    assert "mpi" not in needed
    over_mpi, = (tmp_path / "made").glob("snug-mpi_*.deb")
    needed = run("dpkg-deb", "-f", over_mpi, "Depends")
    assert "libopenmpi" in needed and "snug (= " in needed
    assert run("dpkg-deb", "-c", over_mpi).count("libsnug_comm_mpi.so") == 1
    run("dpkg-deb", "-x", package, tmp_path / "root")
    bin, library = tmp_path / "root/usr/bin", tmp_path / "m.so"
    env = {**os.environ, "PATH": "/usr/bin:/bin"}
    run(bin / "snugc", mlp(), "--dim", "rows=64", "-o", library, env=env)
    assert "float32 64x64" in run(bin / "snug-run", library, "--random-inputs", "1", env=env)


@pytest.mark.skipif("SNUG_SANITIZER" in os.environ, reason="a sanitizer's runtime would have to be in Python itself")
def test_python_package(prefix, project):
    model, build = project
    code = """
import numpy, snug, sys
model = snug.load(sys.argv[1])
x = numpy.arange(3 * 64, dtype=numpy.float32).reshape(3, 64) / 192
numpy.save(sys.argv[2], model(x)["y"])
"""
    out = build / "y.npy"
    env = {**os.environ, "PYTHONPATH": str(prefix / "lib/python3/dist-packages"), "PYTHONDONTWRITEBYTECODE": "1"}
    env.pop("SNUG_RUNTIME", None)
    run(sys.executable, "-c", code, build / "mlp.so", out, env=env)
    x = np.arange(3 * 64, dtype=np.float32).reshape(3, 64) / 192
    np.testing.assert_allclose(np.load(out), expected(model, x), rtol=1e-4, atol=1e-6)
