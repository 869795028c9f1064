# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What holds for a library as a file: symbols, bytes, stack, weights beside it, failures."""
import json
import os
import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest

from harness import COMPILER, Model, build, memref, program
from test_attention import attention
from test_contract import GELU, contract

rng = np.random.default_rng(5)
NM, OBJDUMP = (shutil.which(n + "-22") or shutil.which("llvm-" + n + "-22") or shutil.which(n) for n in ("nm", "objdump"))
W = rng.standard_normal((300, 96), np.float32)


def linear(shift, rows=40):
    """A model with weights over the limit of embedding, an epilogue, softmax and libm."""
    x, y, packed = (rows, 300), (rows, 96), memref((3, 300, 32))
    prologue = '  snug_nn.data @w : tensor<300x96xf32> {file = "d", offset = 0 : i64, length = 115200 : i64}'
    body = f'''  %w = snug_nn.weight @w recipe [#snug_nn.pack<32>] : {packed}
  %t = memref.view %arena[%c0][] : memref<65536xi8> to {memref(y)}
''' + contract("mk,kn->mn", ("x", memref(x)), ("w", packed), memref(y), packed=True, out_name="t",
               body=f"    %c = arith.constant {shift} : f32\n    %s = arith.addf %acc, %c : f32\n    %p = math.sin %s : f32\n    snug_nn.yield %p : f32")
    body += f"\n  snug_nn.softmax ins(%t : {memref(y)}) outs(%y : {memref(y)})"
    return program([("x", x, "f32")], [("y", y, "f32")], body, arena=65536, prologue=prologue)


def expected(x, shift):
    e = np.exp(np.sin(x.astype(np.float64) @ W + shift))
    return e / e.sum(-1, keepdims=True)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "d").write_bytes(W.tobytes())
    return tmp_path


@pytest.mark.cpu
@pytest.mark.parametrize("march", ["native", "x86-64-v3"])
def test_symbols(folder, monkeypatch, march):
    monkeypatch.setenv("SNUG_MARCH", march)
    model = build(folder, linear(1.0), data=folder)
    lines = subprocess.run([NM, "-D", str(model.path)], capture_output=True, text=True, check=True).stdout.split("\n")
    defined = [l.split()[-1] for l in lines if re.search(r" [TDBRV] ", l)]
    undefined = {l.split()[-1].split("@")[0] for l in lines if " U " in l}
    assert defined == ["snug_model_query"]
    assert undefined <= {"sinf", "memcpy", "memset", "memmove"} and "sinf" in undefined


@pytest.mark.cpu
def test_two_libraries_in_one_process_and_separate_weights(folder):
    a, b = build(folder, linear(1.0), "a", folder), build(folder, linear(2.0), "b", folder)
    assert a.header.weights_file == b"a.so.safetensors" and a.header.weights_id == b.header.weights_id
    x = rng.standard_normal((40, 300), np.float32) * np.float32(0.1)
    for _ in range(2):
        np.testing.assert_allclose(a.run(x), expected(x, 1.0), rtol=1e-4)
        np.testing.assert_allclose(b.run(x), expected(x, 2.0), rtol=1e-4)
    tensor = a.safetensors["w.0"]
    assert tensor == {"dtype": "F32", "shape": [3, 300, 32], "data_offsets": [0, 115200]}


def test_same_bytes(folder):
    other = folder / "elsewhere"
    other.mkdir()
    first, second = build(folder, linear(1.0), "m", folder), build(other, linear(1.0), "m", folder)
    assert first.path.read_bytes() == second.path.read_bytes()
    assert (folder / "m.so.safetensors").read_bytes() == (other / "m.so.safetensors").read_bytes()
    W2 = W.copy()
    W2[7, 7] += 1
    (folder / "d").write_bytes(W2.tobytes())
    assert build(other, linear(1.0), "n", folder).header.weights_id != first.header.weights_id


def stack_bytes(library):
    """The largest fixed stack frame of any function, summed over a call of depth two (entry and kernel)."""
    text = subprocess.run([OBJDUMP, "-d", "--no-show-raw-insn", str(library)], capture_output=True, text=True,
                          check=True).stdout
    return [int(n, 16) for n in re.findall(r"sub[q]?\s+\$(0x[0-9a-f]+),\s*%rsp", text)]


@pytest.mark.cpu
@pytest.mark.parametrize("equation,a,b,y", [("mk,kn->mn", (400, 700), (700, 640), (400, 640)),
                                            ("mk,nk->mn", (400, 700), (333, 700), (400, 333))])
def test_stack(tmp_path, equation, a, b, y):
    body = contract(equation, ("a", memref(a)), ("b", memref(b)), memref(y), body=GELU,
                    epilogue=[("bias", memref((y[1],)), "n"), ("res", memref(y), "mn")])
    model = build(tmp_path, program([("a", a, "f32"), ("b", b, "f32"), ("bias", (y[1],), "f32"), ("res", y, "f32")],
                                    [("y", y, "f32")], body))
    frames = stack_bytes(model.path)
    assert max(frames) > 20000, "the accumulators are on the stack, or the pattern is out of date"
    assert sum(sorted(frames)[-2:]) <= 65536


@pytest.mark.cpu
@pytest.mark.parametrize("s,d,e", [(300, 64, 64), (300, 128, 80), (40, 256, 256)])
def test_stack_of_attention(tmp_path, s, d, e):
    q, v = (1, 2, s, d), (1, 2, s, e)
    body = attention(("bhsd", q), ("bhtd", q), ("bhte", v), ("bhse", v))
    model = build(tmp_path, program([("q", q, "f32"), ("k", q, "f32"), ("v", v, "f32")], [("y", v, "f32")], body))
    frames = stack_bytes(model.path)
    assert max(frames) > 20000 and sum(sorted(frames)[-2:]) <= 65536


@pytest.mark.cpu
def test_unsupported_says_what(folder):
    t = "memref<8x8xf64>"
    body = contract("mk,kn->mn", ("a", t), ("b", t), t).replace("%acc: f32", "%acc: f64").replace(": f32", ": f64")
    code, message = compile_error(folder, program([("a", (8, 8), "f64"), ("b", (8, 8), "f64")],
                                                  [("y", (8, 8), "f64")], body))
    assert code == 3 and "f32" in message


def compile_error(folder, text, output=None, data="."):
    source = folder / "e.mlir"
    source.write_text(text)
    output = output or folder / "e.so"
    result = subprocess.run([COMPILER, str(source), str(output), str(data)], capture_output=True, text=True)
    left = [p.name for p in folder.iterdir() if p.name.startswith("e.so")]
    assert not left, left
    return result.returncode, result.stderr


def test_failures_leave_nothing_and_say_why(folder):
    missing = folder / "missing"
    missing.mkdir()
    code, message = compile_error(folder, linear(1.0), data=missing)
    assert code == 2 and "@w" in message and "missing/d" in message
    (missing / "d").write_bytes(W.tobytes()[:-4])
    code, message = compile_error(folder, linear(1.0), data=missing)
    assert code == 2 and "115196 bytes" in message
    code, message = compile_error(folder, linear(1.0), output=folder / "nowhere" / "e.so", data=folder)
    assert code == 5 and "nowhere" in message
    code, message = compile_error(folder, linear(1.0).replace("pack<32>", "pack<24>"), data=folder)
    assert code == 2 and "its recipe does not give" in message
    code, message = compile_error(folder, linear(1.0).replace('"40", "300"', '"40", "300"').replace(
        "memref<40x300xf32>", "memref<?x300xf32>").replace('["40", "300"]', '["rows", "300"]'), data=folder)
    assert code != 0 and "rows" in message


def test_unknown_cpu(folder, monkeypatch):
    monkeypatch.setenv("SNUG_MARCH", "pentium99")
    code, message = compile_error(folder, linear(1.0), data=folder)
    assert code == 1 and "pentium99" in message


def test_narrower_cpu(folder, monkeypatch):
    monkeypatch.setenv("SNUG_MARCH", "x86-64-v3")
    model = build(folder, linear(1.0), data=folder)
    x = rng.standard_normal((40, 300), np.float32) * np.float32(0.1)
    np.testing.assert_allclose(model.run(x), expected(x, 1.0), rtol=1e-4)
    text = subprocess.run([OBJDUMP, "-d", str(model.path)], capture_output=True, text=True, check=True).stdout
    assert "ymm" in text and "zmm" not in text


def test_launches_have_names(folder):
    t = "memref<8x8xf32>"
    body = "\n".join(contract("mk,kn->mn", (a, t), ("b", t), t, out_name=y) + f' loc("{node}")'
                     for a, y, node in (("a", "y", "first"), ("y", "z", "second")))
    model = build(folder, program([("a", (8, 8), "f32"), ("b", (8, 8), "f32")],
                                  [("y", (8, 8), "f32"), ("z", (8, 8), "f32")], body), name="named")
    launches = [model.header.launches_table[i] for i in range(model.header.num_launches)]
    assert [(i.kernel, i.nodes) for i in launches] == [(b"contract_0", b"first"), (b"contract_0", b"second")]
