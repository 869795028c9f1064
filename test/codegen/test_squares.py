# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Contractions in f32 and f64, on a simulated GPU: tiles of each size, whose choice changes no bit, and how they reach memory."""
import ml_dtypes
import numpy as np
import pytest

from harness import TARGET, build, memref, program
from test_coalescing import accesses, requests  # noqa: F401
from test_contract import contract

pytestmark = pytest.mark.skipif(TARGET == "cpu", reason="a GPU's")
rng = np.random.default_rng(11)
TYPES = {"f32": np.float32, "f64": np.float64, "bf16": ml_dtypes.bfloat16}


def model_of(folder, a, b, dtypes, real, m, k, n, dims=()):
    """y = a b + bias along the columns; m, n: a number, or the name of an open dim."""
    shapes = [tuple({"m": m, "k": k, "n": n}[c] for c in letters) for letters in (a, b, "mn", "n")]
    body = contract(f"{a},{b}->mn", ("a", memref(shapes[0], dtypes[0])), ("b", memref(shapes[1], dtypes[1])), memref(shapes[2], real),
                    epilogue=[("bias", memref(shapes[3], real), "n")],
                    body=f"    %0 = arith.addf %acc, %e0 : {real}\n    snug_nn.yield %0 : {real}")
    body = body.replace("%e0: f32", f"%e0: {real}").replace("%acc: f32", f"%acc: {real}")
    folder.mkdir(exist_ok=True)
    return build(folder, program([("a", shapes[0], dtypes[0]), ("b", shapes[1], dtypes[1]), ("bias", shapes[3], real)],
                                 [("y", shapes[2], real)], body, dims))


@pytest.mark.parametrize("dtypes,real", [(("f32", "f32"), "f32"), (("f64", "f64"), "f64"), (("f32", "bf16"), "f32")])
@pytest.mark.parametrize("a,b", [("mk", "kn"), ("mk", "nk"), ("km", "kn")])
@pytest.mark.parametrize("m,k,n", [(130, 36, 200), (257, 33, 130), (20, 40, 132)])
def test_tiles(tmp_path, dtypes, real, a, b, m, k, n):
    extent = {"m": m, "k": k, "n": n}
    x, w = (rng.standard_normal([extent[c] for c in letters]).astype(TYPES[t]) for letters, t in zip((a, b), dtypes))
    bias = rng.standard_normal(n).astype(TYPES[real])
    small = model_of(tmp_path / "small", a, b, dtypes, real, m, k, n).run(x, w, bias)  # few blocks: small tiles
    exact, size = (np.einsum(f"{a},{b}->mn", *(of(t).astype(np.float64) for t in (x, w))) for of in (np.asarray, np.abs))
    unit = 2.0**-24 if real == "f32" else 2.0**-53
    assert (abs(small - (exact + bias)) <= (k + 2) * unit * (size + abs(bias))).all()  # Higham, Accuracy and Stability, section 3.1
    for rows, columns in {"mk": (("m", n), ("m", "n")), "km": ((m, "n"),)}[a]:
        open_ = model_of(tmp_path / f"{rows}{columns}", a, b, dtypes, real, rows, k, columns, [(d, 300) for d in (rows, columns) if isinstance(d, str)])
        y = open_.run(x, w, bias, dims=[e for d, e in ((rows, m), (columns, n)) if isinstance(d, str)])
        assert y.tobytes() == small.tobytes()


@pytest.mark.parametrize("a", ["mk", "km"])
@pytest.mark.parametrize("b", ["kn", "nk"])
def test_accesses(tmp_path, accesses, a, b):  # noqa: F811
    """Each operand once a tile of 128 x 128: 16 bytes a thread where the tile's columns lie so, else 4; all else in vectors."""
    m, k, n = 256, 32, 128
    x, w = (rng.standard_normal([{"m": m, "k": k, "n": n}[c] for c in letters], np.float32) for letters in (a, b))
    y, launches = accesses(model_of(tmp_path, a, b, ("f32", "f32"), "f32", "m", k, n, [("m", m)]), x, w, np.zeros(n, np.float32), dims=(m,))
    np.testing.assert_allclose(y, np.einsum(f"{a},{b}->mn", x, w), rtol=1e-4, atol=1e-4)
    reads, writes = ({bytes: sum(r["requests"] for r in launches[-1] if r["space"] == "global" and r["writes"] == to and r["bytes"] == bytes)
                      for bytes in (4, 16)} for to in (False, True))
    ofBias = m * n // 4  # by each thread for each of its rows
    assert reads[4] * 32 == x.size + (2 * w.size if b == "nk" else 0)
    assert reads[16] * 32 == ofBias + (2 * w.size // 4 if b == "kn" else 0)
    assert writes == {4: 0, 16: m * n // 4 // 32}
    squares = [r for r in launches[-1] if r["space"] == "shared" and not r["writes"]]
    assert squares and all(r["bytes"] == 16 for r in squares)
