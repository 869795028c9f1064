# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What snug-gpu-sim-build makes of modules, and what it refuses."""
import ctypes as C
import os
import subprocess

import numpy as np
import pytest
from harness import BUILD, SIMULATOR, aligned, build, launch, source

KERNEL = """module {
  func.func @host() { return }
  gpu.module @kernels {
    gpu.func @one(PARAMS) kernel ATTRIBUTES {
      BODY
      gpu.return
    }
  }
}
"""


def kernel(body="", params="%y: memref<1xi64>", attributes=""):
    return KERNEL.replace("BODY", body).replace("PARAMS", params).replace("ATTRIBUTES", attributes)


@pytest.mark.parametrize("text, message", [
    (kernel(params="%y: memref<?xf32>"), "a kernel takes bare pointers: memrefs of static shape, not 'memref<?xf32>'"),
    (kernel().replace(" kernel ", " "), "functions that kernels call are not simulated: inline them"),
    (kernel("gpu.printf \"x\""), "failed to legalize operation 'gpu.printf'"),
    (kernel("%c0 = arith.constant 0 : index\n %i = arith.constant dense<0> : vector<4xi32>\n %m = arith.constant dense<[true, true, false, false]> : vector<4xi1>\n"
            "%z = arith.constant dense<0> : vector<4xi64>\n"
            "%v = vector.gather %y[%c0] [%i], %m, %z : memref<1xi64>, vector<4xi32>, vector<4xi1>, vector<4xi64> into vector<4xi64>\n"
            "vector.store %v, %y[%c0] : memref<1xi64>, vector<4xi64>"), "the simulator has no lowering for llvm.intr.masked.gather"),
    (kernel(attributes="attributes {snug.index_bits = 16 : i32}"), "snug.index_bits is 32 or 64, not 16"),
])
def test_refused(text, message):
    with pytest.raises(RuntimeError) as error:
        build(text)
    assert "exit code 3" in str(error.value) and message in str(error.value)


def test_exit_codes(tmp_path):
    run = lambda *arguments: subprocess.run([BUILD, *arguments], capture_output=True).returncode
    assert run() == 1
    assert run(tmp_path / "missing.mlir", tmp_path / "out.so") == 2
    (tmp_path / "in.mlir").write_text(kernel())
    assert run(tmp_path / "in.mlir", tmp_path / "no folder" / "out.so") == 5


@pytest.mark.parametrize("bits, expected", [(32, 0), (64, 1 << 32)])
def test_bits_of_an_index(bits, expected):
    """As on the GPU: with 32 bits the product is too large."""
    body = """%c0 = arith.constant 0 : index
      %n = arith.constant 65536 : index
      %bid = gpu.block_id x
      %m = arith.addi %n, %bid : index
      %p = arith.muli %m, %m : index
      %v = arith.index_castui %p : index to i64
      memref.store %v, %y[%c0] : memref<1xi64>"""
    y = aligned(np.full(1, 7, np.int64))
    assert launch(kernel(body, attributes=f"attributes {{snug.index_bits = {bits} : i32}}"), "one", [1], [1], [y]) == []
    assert y[0] == expected


def test_number_of_parameters():
    entry = C.cast(build(source("transpose")).transpose_entry, C.c_void_p)
    assert SIMULATOR.snug_sim_num_params(entry) == 4
    assert SIMULATOR.snug_sim_num_params(C.cast(C.CDLL(None).malloc, C.c_void_p)) == -1


def test_a_function_that_is_no_kernel_is_not_launched():
    three = (C.c_uint32 * 3)(1, 1, 1)
    assert SIMULATOR.snug_sim_launch(C.cast(C.CDLL(None).malloc, C.c_void_p), three, three, 0, None, None, 0) == 1
    assert SIMULATOR.snug_sim_report(0) == b"launch in a launch: the function is no kernel of a library of snug-gpu-sim-build"


def test_constants_of_a_module():
    body = """%c0 = arith.constant 0 : index
      %i = gpu.thread_id x
      %table = memref.get_global @table : memref<4xi64>
      %v = memref.load %table[%i] : memref<4xi64>
      memref.store %v, %y[%i] : memref<4xi64>"""
    text = kernel(body, params="%y: memref<4xi64>").replace(
        "gpu.func", "memref.global \"private\" constant @table : memref<4xi64> = dense<[3, 1, 4, 1]>\n gpu.func", 1)
    y = aligned(np.zeros(4, np.int64))
    assert launch(text, "one", [1], [4], [y]) == []
    assert list(y) == [3, 1, 4, 1]


MATH = ["exp", "exp2", "expm1", "log", "log2", "log1p", "tanh", "erf", "sqrt", "rsqrt", "sin", "cos", "floor", "ceil", "absf", "atan",
        "cbrt", "roundeven", "sinh", "cosh"]


def test_math():
    """Of scalars and of vectors."""
    from math import erf
    functions = {"erf": np.vectorize(erf), "rsqrt": lambda x: 1 / np.sqrt(x), "absf": np.abs, "roundeven": np.rint, "atan": np.arctan}
    x = aligned(np.linspace(0.1, 4, 4 * len(MATH)).astype(np.float32).reshape(-1, 4))
    vectors, scalars = aligned(np.zeros_like(x)), aligned(np.zeros_like(x))
    shape = f"memref<{len(MATH)}x4xf32>"
    body = "%c0 = arith.constant 0 : index\n"
    for i, name in enumerate(MATH):
        body += f"""%i{i} = arith.constant {i} : index
          %v{i} = vector.load %x[%i{i}, %c0] : {shape}, vector<4xf32>
          %w{i} = math.{name} %v{i} : vector<4xf32>
          vector.store %w{i}, %v[%i{i}, %c0] : {shape}, vector<4xf32>
          %a{i} = memref.load %x[%i{i}, %c0] : {shape}
          %b{i} = math.{name} %a{i} : f32
          memref.store %b{i}, %s[%i{i}, %c0] : {shape}
"""
    assert launch(kernel(body, f"%x: {shape}, %v: {shape}, %s: {shape}"), "one", [1], [1], [x, vectors, scalars]) == []
    for i, name in enumerate(MATH):
        expected = functions.get(name, getattr(np, name, None))(x[i].astype(np.float64))
        np.testing.assert_allclose(vectors[i], expected, rtol=1e-6, err_msg=name)
        np.testing.assert_allclose(scalars[i, 0], expected[0], rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("type, dtype", [("f16", np.float16), ("bf16", None)])
def test_narrow_floats(type, dtype):
    """Loaded, widened, computed with, rounded to nearest even and stored, as vectors."""
    x = np.random.default_rng(0).standard_normal(64).astype(np.float32)
    narrow = x.astype(np.float16) if dtype else (x.view(np.uint32) >> 16).astype(np.uint16)
    wide = narrow.astype(np.float32) if dtype else (narrow.astype(np.uint32) << 16).view(np.float32)
    x, y = aligned(narrow), aligned(np.zeros_like(narrow))
    body = f"""%c8 = arith.constant 8 : index
      %tid = gpu.thread_id x
      %i = arith.muli %tid, %c8 : index
      %v = vector.load %x[%i] {{alignment = 16 : i64}} : memref<64x{type}>, vector<8x{type}>
      %w = arith.extf %v : vector<8x{type}> to vector<8xf32>
      %m = arith.mulf %w, %w : vector<8xf32>
      %r = arith.truncf %m : vector<8xf32> to vector<8x{type}>
      vector.store %r, %y[%i] {{alignment = 16 : i64}} : memref<64x{type}>, vector<8x{type}>"""
    assert launch(kernel(body, f"%x: memref<64x{type}>, %y: memref<64x{type}>"), "one", [1], [8], [x, y]) == []
    square = wide * wide
    bits = square.view(np.uint32)
    expected = square.astype(np.float16) if dtype else ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    np.testing.assert_array_equal(y, expected)


def test_checks_are_switched_off(monkeypatch):
    """Only by the environment, and then nothing is found."""
    body = "%c0 = arith.constant 0 : index\n %v = arith.constant 1 : i64\n memref.store %v, %y[%c0] : memref<1xi64>"
    y = aligned(np.zeros(1, np.int64))
    assert len(launch(kernel(body), "one", [2], [1], [y])) == 1
    monkeypatch.setenv("SNUG_SIM_CHECKS", "0")
    assert launch(kernel(body), "one", [2], [1], [y]) == []


def test_reports_are_limited(monkeypatch):
    body = "%c0 = arith.constant 0 : index\n"
    for i in range(5):
        body += f"%v{i} = arith.constant {i} : i64\n memref.store %v{i}, %y[%c0] : memref<1xi64>\n"
    y = aligned(np.zeros(1, np.int64))
    assert len(launch(kernel(body), "one", [2], [1], [y])) == 5
    monkeypatch.setenv("SNUG_SIM_REPORTS", "2")
    assert len(launch(kernel(body), "one", [2], [1], [y])) == 2


def test_memory_of_a_thread():
    """Private buffers and those of memref.alloca: each thread has its own, and no other one races for them."""
    body = """%c0 = arith.constant 0 : index
      %c1 = arith.constant 1 : index
      %i = gpu.thread_id x
      %v = arith.index_cast %i : index to i64
      %b = memref.alloca() : memref<2xi64>
      memref.store %v, %p[%c1] : memref<2xi64, #gpu.address_space<private>>
      %w = memref.load %p[%c1] : memref<2xi64, #gpu.address_space<private>>
      memref.store %w, %b[%c0] : memref<2xi64>
      gpu.barrier
      %r = memref.load %b[%c0] : memref<2xi64>
      memref.store %r, %y[%i] : memref<64xi64>"""
    text = kernel(body, params="%y: memref<64xi64>").replace(
        "(%y: memref<64xi64>)", "(%y: memref<64xi64>) private(%p: memref<2xi64, #gpu.address_space<private>>)")
    y = aligned(np.zeros(64, np.int64))
    assert launch(text, "one", [1], [64], [y]) == []
    assert list(y) == list(range(64))
