# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Contractions on tensor cores, on a simulated GPU: tiles of each size, whose choice changes no bit, and how they reach memory."""
import ml_dtypes
import numpy as np
import pytest

from harness import TARGET, build, memref, program, tf32
from test_coalescing import accesses, requests  # noqa: F401
from test_attention import attention
from test_contract import contract

pytestmark = pytest.mark.skipif(TARGET == "cpu", reason="a GPU's")
rng = np.random.default_rng(9)
# How they are stored, what of them is multiplied, and half a unit of the last place of a result.
TYPES = {"f16": (np.float16, lambda x: x, 2.0**-11), "bf16": (ml_dtypes.bfloat16, lambda x: x, 2.0**-8), "tf32": (np.float32, tf32, 2.0**-24)}
# %e0 as it is stored, along the columns; %e1 the same type, added in place.
EPILOGUE = """    %0 = arith.extf %e1 : {t} to f32
    %1 = arith.addf %acc, %e0 : f32
    %2 = arith.addf %1, %0 : f32
    %3 = arith.truncf %2 : f32 to {t}
    snug_nn.yield %3 : {t}"""
EPILOGUE_F32 = """    %0 = arith.addf %acc, %e0 : f32
    %1 = arith.addf %0, %e1 : f32
    snug_nn.yield %1 : f32"""


def model_of(folder, dtype, b, m, k, n, dims=()):
    """m and n: a number, or the name of an open dim."""
    precision, dtype = ("tf32", "f32") if dtype == "tf32" else (None, dtype)
    epilogue = EPILOGUE_F32 if precision else EPILOGUE.format(t=dtype)
    a, y, w = (m, k), (m, n), tuple({"k": k, "n": n}[c] for c in b)
    body = f"  memref.copy %res, %y : {memref(y, dtype)} to {memref(y, dtype)}\n" + contract(
        f"mk,{b}->mn", ("a", memref(a, dtype)), ("b", memref(w, dtype)), memref(y, dtype),
        epilogue=[("bias", memref((n,)), "n"), ("y", memref(y, dtype), "mn")], body=epilogue).replace("%e1: f32", f"%e1: {dtype}")
    folder.mkdir(exist_ok=True)
    return build(folder, program([("a", a, dtype), ("b", w, dtype), ("bias", (n,), "f32"), ("res", y, dtype)], [("y", y, dtype)], body, dims, precision=precision))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("b", ["kn", "nk"])
@pytest.mark.parametrize("m,k,n", [(130, 72, 200), (257, 33, 136), (20, 160, 300), (128, 64, 128), (1, 8, 8)])
def test_tiles(tmp_path, dtype, b, m, k, n):
    """Products are exact and summed in f32, so of f32, too, a result is as exact as the sum of what was rounded to tf32; of operands that
    were not, the largest difference is some 20 times what this allows."""
    stored, taken, unit = TYPES[dtype]
    numbers = lambda *shape: rng.standard_normal(shape).astype(np.float32).astype(stored)
    x, w, bias, res = numbers(m, k), numbers(*({"k": k, "n": n}[c] for c in b)), rng.standard_normal(n, np.float32), numbers(m, n)
    small = model_of(tmp_path / "small", dtype, b, m, k, n).run(x, w, bias, res)  # few blocks: small tiles
    exact = np.einsum(f"mk,{b}->mn", taken(x).astype(np.float64), taken(w).astype(np.float64)) + bias + res.astype(np.float64)
    assert (abs(small.astype(np.float64) - exact) <= 1.01 * unit * abs(exact) + 1e-4).all()
    for rows, columns in (("m", n), (m, "n"), ("m", "n")):
        folder = tmp_path / f"{rows}{columns}"
        open_ = model_of(folder, dtype, b, rows, k, columns, [(d, 300) for d in (rows, columns) if isinstance(d, str)])
        y = open_.run(x, w, bias, res, dims=[extent for d, extent in ((rows, m), (columns, n)) if isinstance(d, str)])
        assert (y.view(np.uint8) == small.view(np.uint8)).all()


@pytest.mark.parametrize("dtype", ["f16", "tf32"])
@pytest.mark.parametrize("b", ["kn", "nk"])
def test_accesses(tmp_path, accesses, b, dtype):  # noqa: F811
    """Both operands 16 bytes a thread, each once a tile; no two lanes of a load of fragments in one bank; results four at once, in
    whole sectors."""
    m, k, n = 256, 128, 128
    stored = TYPES[dtype][0]
    x, w = (rng.standard_normal(shape).astype(stored) for shape in ((m, k), tuple({"k": k, "n": n}[c] for c in b)))
    y, launches = accesses(model_of(tmp_path, dtype, b, "m", k, n, [("m", m)]), x, w, np.zeros(n, np.float32), np.zeros((m, n), stored), dims=(m,))
    np.testing.assert_allclose(y.astype(np.float64), np.einsum(f"mk,{b}->mn", x.astype(np.float64), w.astype(np.float64)), rtol=1e-3, atol=1e-3 if dtype == "f16" else 5e-2)
    launch = launches[-1]
    copies = [a for a in launch if a["bytes"] == 16]
    inVectors = m * n * 4 * (2 if dtype == "tf32" else 1)  # what the epilogue adds, as far as it is f32
    assert requests([a for a in copies if a["space"] == "global" and not a["writes"]], False) * 32 * 16 == x.nbytes + 2 * w.nbytes + inVectors
    fragments = [a for a in launch if a["space"] == "shared" and not a["writes"]]
    assert fragments and all(a["units"] == a["least"] for a in fragments)
    stores = [a for a in launch if a["space"] == "global" and a["writes"]]
    assert sum(a["requests"] for a in stores) == m * n / 4 / 32 and sum(a["units"] for a in stores) == y.nbytes / 32


@pytest.mark.parametrize("dtype", ["f16", "tf32"])
@pytest.mark.parametrize("d", [64, 128])
def test_accesses_of_attention(tmp_path, accesses, dtype, d):  # noqa: F811
    """No two lanes of a load of keys or values in one bank; both 16 bytes a thread."""
    stored, precision = TYPES[dtype][0], "tf32" if dtype == "tf32" else None
    t = "f32" if precision else dtype
    shape = (1, 2, 128, d)
    body = attention(("bhsd", shape), ("bhtd", shape), ("bhte", shape), ("bhse", shape), dtype=t)
    m = build(tmp_path, program([(n, shape, t) for n in "qkv"], [("y", shape, t)], body, precision=precision))
    q, k, v = (rng.standard_normal(shape).astype(stored) for _ in "qkv")
    y, (launch,) = accesses(m, q, k, v)
    e = np.exp(np.einsum("bhsd,bhtd->bhst", q.astype(np.float64), k) * 0.125)
    np.testing.assert_allclose(y, np.einsum("bhst,bhte->bhse", e / e.sum(-1, keepdims=True), v), atol=2e-2)
    fragments = [a for a in launch if a["space"] == "shared" and not a["writes"]]
    assert fragments and all(a["units"] == a["least"] for a in fragments)
    assert requests([a for a in launch if a["space"] == "global" and not a["writes"] and a["bytes"] == 16], False) * 32 * 16 == k.nbytes + v.nbytes
