# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Contractions on tensor cores, on a simulated GPU: tiles of each size, whose choice changes no bit, and how they reach memory."""
import ml_dtypes
import numpy as np
import pytest

from harness import TARGET, build, memref, program
from test_coalescing import accesses, requests  # noqa: F401
from test_contract import contract

pytestmark = pytest.mark.skipif(TARGET == "cpu", reason="a GPU's")
rng = np.random.default_rng(9)
TYPES = {"f16": np.float16, "bf16": ml_dtypes.bfloat16}
# %e0 as it is stored, along the columns; %e1 the same type, added in place.
EPILOGUE = """    %0 = arith.extf %e1 : {t} to f32
    %1 = arith.addf %acc, %e0 : f32
    %2 = arith.addf %1, %0 : f32
    %3 = arith.truncf %2 : f32 to {t}
    snug_nn.yield %3 : {t}"""


def model_of(folder, dtype, b, m, k, n, dims=()):
    """m and n: a number, or the name of an open dim."""
    a, y, w = (m, k), (m, n), tuple({"k": k, "n": n}[c] for c in b)
    body = f"  memref.copy %res, %y : {memref(y, dtype)} to {memref(y, dtype)}\n" + contract(
        f"mk,{b}->mn", ("a", memref(a, dtype)), ("b", memref(w, dtype)), memref(y, dtype),
        epilogue=[("bias", memref((n,)), "n"), ("y", memref(y, dtype), "mn")], body=EPILOGUE.format(t=dtype)).replace("%e1: f32", f"%e1: {dtype}")
    folder.mkdir(exist_ok=True)
    return build(folder, program([("a", a, dtype), ("b", w, dtype), ("bias", (n,), "f32"), ("res", y, dtype)], [("y", y, dtype)], body, dims))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("b", ["kn", "nk"])
@pytest.mark.parametrize("m,k,n", [(130, 72, 200), (257, 33, 136), (20, 160, 300), (128, 64, 128), (1, 8, 8)])
def test_tiles(tmp_path, dtype, b, m, k, n):
    numbers = lambda *shape: rng.standard_normal(shape).astype(np.float32).astype(TYPES[dtype])
    x, w, bias, res = numbers(m, k), numbers(*({"k": k, "n": n}[c] for c in b)), rng.standard_normal(n, np.float32), numbers(m, n)
    small = model_of(tmp_path / "small", dtype, b, m, k, n).run(x, w, bias, res)  # few blocks: small tiles
    exact = np.einsum(f"mk,{b}->mn", x.astype(np.float64), w.astype(np.float64)) + bias + res.astype(np.float64)
    unit = {"f16": 2.0**-11, "bf16": 2.0**-8}[dtype]
    assert (abs(small.astype(np.float64) - exact) <= 1.01 * unit * abs(exact) + 1e-4).all()
    for rows, columns in (("m", n), (m, "n"), ("m", "n")):
        folder = tmp_path / f"{rows}{columns}"
        open_ = model_of(folder, dtype, b, rows, k, columns, [(d, 300) for d in (rows, columns) if isinstance(d, str)])
        y = open_.run(x, w, bias, res, dims=[extent for d, extent in ((rows, m), (columns, n)) if isinstance(d, str)])
        assert (y.view(np.uint16) == small.view(np.uint16)).all()


@pytest.mark.parametrize("b", ["kn", "nk"])
def test_accesses(tmp_path, accesses, b):  # noqa: F811
    """Both operands 16 bytes a thread, each once a tile; no two lanes of a load of fragments in one bank; results four at once, in
    whole sectors."""
    m, k, n = 256, 128, 128
    x, w = (rng.standard_normal(shape).astype(np.float16) for shape in ((m, k), tuple({"k": k, "n": n}[c] for c in b)))
    y, launches = accesses(model_of(tmp_path, "f16", b, "m", k, n, [("m", m)]), x, w, np.zeros(n, np.float32), np.zeros((m, n), np.float16), dims=(m,))
    np.testing.assert_allclose(y.astype(np.float64), np.einsum(f"mk,{b}->mn", x.astype(np.float64), w.astype(np.float64)), rtol=1e-3, atol=1e-3)
    launch = launches[-1]
    copies = [a for a in launch if a["bytes"] == 16]
    assert requests([a for a in copies if a["space"] == "global" and not a["writes"]], False) * 32 * 16 == x.nbytes + 2 * w.nbytes + m * n / 4 * 16  # and the bias, by each lane
    fragments = [a for a in launch if a["space"] == "shared" and not a["writes"]]
    assert fragments and all(a["units"] == a["least"] for a in fragments)
    stores = [a for a in launch if a["space"] == "global" and a["writes"]]
    assert sum(a["requests"] for a in stores) == m * n / 4 / 32 and sum(a["units"] for a in stores) == y.nbytes / 32
