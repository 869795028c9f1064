# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Contractions of which one side has few rows or columns, and attention of few rows, on a simulated GPU: values, and the sectors of memory that are read."""
import ml_dtypes
import numpy as np
import pytest

from harness import TARGET, build, memref, program
from test_attention import FORM, LOWEST, MINUS_INFINITY, attention, reference
from test_coalescing import accesses, requests  # noqa: F401
from test_contract import check, contract

pytestmark = pytest.mark.skipif(TARGET == "cpu", reason="a form of kernels for GPUs")
rng = np.random.default_rng(8)
TYPES = {"f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16, "f64": np.float64}


def few_model(tmp_path, equation, a, b, y, dtype="f32", few="rows", dims=(), **more):
    real = "f64" if dtype == "f64" else "f32"
    body = contract(equation, ("a", memref(a, dtype)), ("b", memref(b, dtype)), memref(y, real), few=few, real=real, **more)
    return build(tmp_path, program([("a", a, dtype), ("b", b, dtype)], [("y", y, real)], body, dims))


def numbers(shape, dtype):
    return rng.standard_normal(shape).astype(np.float32).astype(TYPES[dtype])


def wide(x):
    return x.astype(np.float64)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("b", ["kn", "nk"])
@pytest.mark.parametrize("m,k,n", [(1, 1, 1), (1, 1024, 64), (1, 4096, 40), (2, 257, 33), (3, 100, 7), (5, 515, 70), (7, 31, 300), (12, 700, 130),
                                   (16, 1100, 64), (9, 64, 1)])
def test_plain(tmp_path, dtype, b, m, k, n):
    shape = tuple({"k": k, "n": n}[c] for c in b)
    model = few_model(tmp_path, f"mk,{b}->mn", (m, k), shape, (m, n), dtype)
    x, w = numbers((m, k), dtype), numbers(shape, dtype)
    y = model.run(x, w)
    check(y, wide(x), wide(w), f"mk,{b}->mn")
    if dtype == "f64":
        np.testing.assert_allclose(y, np.einsum(f"mk,{b}->mn", x, w), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("equation,a,b,y,few", [
    ("mk,kn->mn", (70, 600), (600, 3), (70, 3), "columns"),
    ("mk,nk->mn", (300, 600), (1, 600), (300, 1), "columns"),
    ("km,kn->mn", (600, 70), (600, 10), (70, 10), "columns"),
    ("km,kn->mn", (600, 6), (600, 50), (6, 50), "rows"),          # few rows, apart in memory
    ("mk,kn->nm", (6, 600), (600, 50), (50, 6), "rows"),
    ("bmk,bkn->bmn", (3, 4, 270), (3, 270, 64), (3, 4, 64), "rows"),
    ("bshd,bthd->bhst", (2, 2, 3, 64), (2, 300, 3, 64), (2, 3, 2, 300), "rows"),
    ("bhst,bthd->bshd", (2, 3, 2, 300), (2, 300, 3, 64), (2, 2, 3, 64), "rows"),
    ("abk,kn->abn", (2, 3, 520), (520, 96), (2, 3, 96), "rows"),
    ("k,kn->n", (520,), (520, 96), (96,), "rows"),
    ("mjk,jkn->mn", (3, 7, 80), (7, 80, 65), (3, 65), "rows"),      # two summed dims
    ("mjk,njk->mn", (3, 7, 80), (65, 7, 80), (3, 65), "rows"),
    ("mjk,njk->mn", (3, 40, 13), (65, 40, 13), (3, 65), "rows"),    # vectors would reach into the next row
    ("mk,kpq->mpq", (2, 260), (260, 5, 24), (2, 5, 24), "rows"),
    ("mk,knb->bmn", (2, 260), (260, 24, 5), (5, 2, 24), "rows"),    # the many side is contiguous along the batch
])
@pytest.mark.parametrize("dtype", ["f32", "f16"])
def test_einsums(tmp_path, equation, a, b, y, few, dtype):
    x, w = numbers(a, dtype), numbers(b, dtype)
    check(few_model(tmp_path, equation, a, b, y, dtype, few).run(x, w), wide(x), wide(w), equation)


@pytest.mark.parametrize("dtype", ["f32", "f16"])
def test_open_extents(tmp_path, dtype):
    model = few_model(tmp_path, "mk,nk->mn", ("m", "k"), ("n", "k"), ("m", "n"), dtype, dims=[("m", 16), ("k", 700), ("n", 200)])
    for m, k, n in ((1, 1, 1), (3, 700, 50), (16, 333, 200)):
        x, w = numbers((m, k), dtype), numbers((n, k), dtype)
        check(model.run(x, w, dims=(m, k, n)), wide(x), wide(w), "mk,nk->mn")


@pytest.mark.parametrize("dtype", ["f32", "f16"])
@pytest.mark.parametrize("b", ["kn", "nk"])
@pytest.mark.parametrize("k", [40, 600, 2050])
def test_slices_have_the_bits_of_the_whole(tmp_path, dtype, b, k):
    """Whatever is cut: rows, columns, both, at places where vectors are not aligned, and with how many is not known before."""
    m, n = 13, 72
    shape = lambda rows, columns: ((rows, k), tuple({"k": k, "n": columns}[c] for c in b), (rows, columns))
    make = lambda name, *shapes, **more: (tmp_path / name).mkdir() or few_model(tmp_path / name, f"mk,{b}->mn", *shapes, dtype, **more)
    (whole, open_) = make("whole", *shape(m, n)), make("open", ("m", k), shape(m, n)[1], ("m", n), dims=[("m", 16)])
    x, w = numbers((m, k), dtype), numbers(shape(m, n)[1], dtype)
    y = whole.run(x, w)
    check(y, wide(x), wide(w), f"mk,{b}->mn")
    assert (open_.run(x, w, dims=(m,)) == y).all() and (open_.run(x[3:5], w, dims=(2,)) == y[3:5]).all()
    for number, (rows, columns) in enumerate([((0, 1), (0, n)), ((3, 12), (0, n)), ((0, m), (5, 70)), ((2, 4), (8, 9))]):
        part = w[:, slice(*columns)] if b == "kn" else w[slice(*columns)]
        model = make(f"part{number}", *shape(rows[1] - rows[0], columns[1] - columns[0]))
        assert (model.run(x[slice(*rows)], part) == y[slice(*rows), slice(*columns)]).all()


def test_epilogue(tmp_path):
    """Bias, and what the result is added to in place; narrow floats are stored."""
    k, n = 520, 96
    y = ("m", n)
    body = f"  memref.copy %res, %y : {memref(y, 'f16')} to {memref(y, 'f16')}\n" + contract(
        "mk,kn->mn", ("a", memref(("m", k), "f16")), ("b", memref((k, n), "f16")), memref(y, "f16"), few="rows",
        epilogue=[("bias", memref((n,)), "n"), ("y", memref(y, "f16"), "mn")],
        body="""    %0 = arith.extf %e1 : f16 to f32
    %1 = arith.addf %acc, %e0 : f32
    %2 = arith.addf %1, %0 : f32
    %3 = arith.truncf %2 : f32 to f16
    snug_nn.yield %3 : f16""").replace("%e1: f32", "%e1: f16")
    model = build(tmp_path, program([("a", ("m", k), "f16"), ("b", (k, n), "f16"), ("bias", (n,), "f32"), ("res", y, "f16")], [("y", y, "f16")], body,
                                    [("m", 16)]))
    for m in (1, 5, 16):
        x, w, bias, res = numbers((m, k), "f16"), numbers((k, n), "f16"), numbers(n, "f32"), numbers((m, n), "f16")
        want = wide(x) @ wide(w) + bias + wide(res)
        np.testing.assert_allclose(model.run(x, w, bias, res, dims=(m,)), want, rtol=2e-3, atol=2e-2)


@pytest.mark.parametrize("dtype", ["f32", "f16"])
@pytest.mark.parametrize("b", ["kn", "nk"])
@pytest.mark.parametrize("m", [1, 4])
def test_the_many_side_is_read_once_in_whole_sectors(tmp_path, accesses, dtype, b, m):  # noqa: F811
    k, n = 2048, 128
    shape = tuple({"k": k, "n": n}[c] for c in b)
    x, w = numbers((m, k), dtype), numbers(shape, dtype)
    (tmp_path / "w").write_bytes(w.tobytes())
    prologue = f'snug_nn.data @w : tensor<{memref(shape, dtype)[7:-1]}> {{file = "w", offset = 0 : i64, length = {w.nbytes} : i64}}'
    body = f"  %b = snug_nn.weight @w : {memref(shape, dtype)}\n"
    body += contract(f"mk,{b}->mn", ("a", memref((m, k), dtype)), ("b", memref(shape, dtype)), memref((m, n)), few="rows")
    model = build(tmp_path, program([("a", (m, k), dtype)], [("y", (m, n), "f32")], body, prologue=prologue), data=tmp_path)
    y, (launch,) = accesses(model, x)
    check(y, wide(x), wide(w), f"mk,{b}->mn")
    reads = [a for a in launch if a["space"] == "global" and not a["writes"]]
    for a in launch: print(a)
    # 16 bytes a thread; the few rows may be read so, too, from the cache, and inputs are aligned to 16 bytes only.
    vectors = [a for a in reads if a["least"] == 16 * a["requests"]]
    whole = w.nbytes // (32 * 16)
    assert requests(vectors, False) >= whole
    assert sum(a["units"] for a in vectors) <= 16 * whole + 17 * (requests(vectors, False) - whole)
    assert all(a["units"] <= 1.5 * a["least"] for a in launch if a["space"] == "shared")


def decode_model(folder, dtype, heads, group, rows, keys, head, value, causal=None, past=0, dims=()):
    """Queries [head, row], of which `group` neighbours look at one head of keys and values; none: all at the same."""
    index = ",".join(["h"] if group == 1 else [] if group is None else [f"h floordiv {group}"])
    kv = () if group is None else (heads // group,)
    join = lambda *parts: ",".join(p for p in parts if p)
    q, k, v, y = (heads, rows, head), (*kv, keys, head), (*kv, keys, value), (heads, rows, value)
    body = attention(("hsd", q), (join(index, "t", "d"), k), (join(index, "t", "e"), v), ("hse", y), causal=causal, past=past, dims=list("hstde"),
                     dtype=dtype)
    folder.mkdir(exist_ok=True)
    return build(folder, program([("q", q, dtype), ("k", k, dtype), ("v", v, dtype)], [("y", y, dtype)], body, dims))


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
@pytest.mark.parametrize("heads,group,rows,keys,head,value,causal", [
    (8, 4, 1, 700, 128, 128, None), (6, 6, 2, 333, 64, 64, LOWEST), (12, 12, 1, 130, 128, 64, None), (5, None, 1, 300, 64, 96, MINUS_INFINITY),
    (3, 1, 7, 70, 40, 24, LOWEST), (14, 7, 1, 100, 256, 256, None), (2, 2, 16, 129, 80, 80, LOWEST)])
def test_decode(tmp_path, monkeypatch, dtype, heads, group, rows, keys, head, value, causal):
    monkeypatch.setitem(FORM, "few_rows", True)
    m = decode_model(tmp_path, dtype, heads, group, rows, keys, head, value, causal, keys - rows)
    q, k, v = (numbers(shape, dtype) for shape in ((heads, rows, head), (heads // (group or heads), keys, head), (heads // (group or heads), keys, value)))
    shaped = (lambda x: x[0]) if group is None else (lambda x: x)
    y = m.run(q, shaped(k), shaped(v))
    exact = reference(*(wide(x)[None] for x in (q, k, v)), 0, 0.125, causal)[0]
    tolerance = {"f32": 2e-6, "f16": 2e-3, "bf16": 2e-2}[dtype]
    np.testing.assert_allclose(wide(y), exact, rtol=tolerance, atol=tolerance)
    kernel = (tmp_path / "kernels.mlir").read_text()
    assert "mma" not in kernel and "device_async_copy" not in kernel
    # Whole groups of heads, and some rows of them, give the same bits, also where how many is not known before.
    if group and causal is None:
        part = decode_model(tmp_path / "part", dtype, heads // 2 // group * group or group, group, "s", "t", head, value, dims=[("s", 20), ("t", 800)])
        n = heads // 2 // group * group or group
        assert (part.run(q[:n, :1], k[:n // group], v[:n // group], dims=(1, keys)) == y[:n, :1]).all()


@pytest.mark.parametrize("dtype", ["f32", "f16"])
def test_keys_and_values_are_read_once_in_vectors(tmp_path, monkeypatch, accesses, dtype):  # noqa: F811
    monkeypatch.setitem(FORM, "few_rows", True)
    heads, group, keys, size = 8, 4, 512, 128
    m = decode_model(tmp_path, dtype, heads, group, 1, "t", size, size, dims=[("t", 600)])
    q, k, v = (numbers(shape, dtype) for shape in ((heads, 1, size), (heads // group, keys, size), (heads // group, keys, size)))
    _, (launch,) = accesses(m, q, k, v, dims=(keys,))
    reads = [a for a in launch if a["space"] == "global" and not a["writes"] and a["bytes"] == 16]
    assert requests(reads, False) * 32 * 16 == k.nbytes + v.nbytes
    assert sum(a["units"] for a in reads) <= 1.2 * sum(a["least"] for a in reads)  # inputs are aligned to 16 bytes only


@pytest.mark.parametrize("causal", [None, LOWEST, MINUS_INFINITY])
@pytest.mark.parametrize("parts,keys", [(1, 50), (4, 300), (5, 301), (7, 5)])
def test_parts_of_the_keys(tmp_path, causal, parts, keys):
    """Each part has statistics of its own, also one without keys, and all together are the attention to all keys."""
    heads, rows, size, past = 4, 3, 32, keys // 3
    q, k, v = (rng.standard_normal(shape, np.float32) for shape in ((heads, rows, size), (heads // 2, keys, size), (heads // 2, keys, size)))
    stats, out = (parts, heads, rows), (parts, heads, rows, size)
    body = attention(("hsd", q.shape), ("h floordiv 2,t,d", k.shape), ("h floordiv 2,t,e", v.shape), ("phse", out), causal=causal, past=past, zero=True,
                     stats=("phs", stats), dims=list("hpstde")).replace("zero_if_masked, ", "zero_if_masked, few_rows, in_parts, ", 1)
    m = build(tmp_path, program([("q", q.shape, "f32"), ("k", k.shape, "f32"), ("v", v.shape, "f32")],
                                [("m", stats, "f32"), ("l", stats, "f32"), ("y", out, "f32")], body))
    largest, total, y = m.run(q, k, v)
    length = -(-keys // parts)
    scores = np.einsum("hsd,htd->hst", wide(q), wide(k).repeat(2, 0)) * 0.125
    if causal:
        scores = np.where(np.arange(keys) <= np.arange(rows)[:, None] + past, scores, -np.inf if causal == MINUS_INFINITY else float(np.float32(LOWEST)))
    for p in range(parts):
        own = slice(min(p * length, keys), min((p + 1) * length, keys))
        most = scores[..., own].max(-1, initial=-np.inf)
        np.testing.assert_allclose(largest[p], most, rtol=1e-5, atol=1e-6)
        e = np.exp(scores[..., own] - np.where(np.isinf(most), 0, most)[..., None])
        np.testing.assert_allclose(total[p], e.sum(-1), rtol=1e-5, atol=1e-6)
        with np.errstate(invalid="ignore"):
            want = np.einsum("hst,hte->hse", np.nan_to_num(e / e.sum(-1, keepdims=True)), wide(v).repeat(2, 0)[:, own])
        np.testing.assert_allclose(y[p], want, rtol=1e-5, atol=2e-6)
