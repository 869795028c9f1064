# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import numpy as np
import pytest

from harness import build, memref, program

rng = np.random.default_rng(6)
L = "bhstde"


def attention(q, k, v, y, bias=None, scale=0.125, causal=False, zero=False):
    """Each operand: (letters, shape)."""
    to_map = lambda s: f"affine_map<({', '.join(L)}) -> ({', '.join(s)})>"
    maps = ", ".join(to_map(o[0]) for o in (q, k, v, *([bias] if bias else []), y))
    b = f"bias(%bias : {memref(bias[1])})" if bias else ""
    flags = ("causal, " if causal else "") + ("zero_if_masked, " if zero else "")
    return f'''  snug_nn.attention ins(%q, %k, %v : {memref(q[1])}, {memref(k[1])}, {memref(v[1])}) {b}
    outs(%y : {memref(y[1])}) {{{flags}indexing_maps = [{maps}], scale = {scale} : f32}}'''


def reference(q, k, v, bias, scale, causal):
    """Operands as b h s/t d in float64; k and v may have fewer heads."""
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat(group, 1), v.repeat(group, 1)
    x = np.einsum("bhsd,bhtd->bhst", q, k) * scale + bias
    s, t = x.shape[-2:]
    if causal:
        x = np.where(np.arange(t)[None] <= np.arange(s)[:, None] + (t - s), x, -np.inf)
    with np.errstate(invalid="ignore"):
        e = np.exp(x - x.max(-1, keepdims=True))
        return np.einsum("bhst,bhte->bhse", e / e.sum(-1, keepdims=True), v)


def as_layout(x, letters):
    """b h s/t d array to the order of `letters` (any of s/t and d/e)."""
    order = {"b": 0, "h": 1, "s": 2, "t": 2, "d": 3, "e": 3}
    return np.ascontiguousarray(x.transpose([order[c] for c in letters]))


@pytest.mark.parametrize("s,t,d,e", [(1, 1, 8, 8), (7, 31, 16, 33), (33, 257, 64, 64), (100, 100, 80, 80), (257, 300, 160, 32),
                                     (1, 700, 64, 64), (130, 129, 64, 128)])
@pytest.mark.parametrize("layout", ["heads outside", "rows outside"])
@pytest.mark.parametrize("causal", [False, True])
def test_shapes(tmp_path, s, t, d, e, layout, causal):
    if causal and s > t:
        pytest.skip("rows without a key are test_masked_rows'")
    B, H, K = 2, 4, 2
    ls = ("bhsd", "bhtd", "bhte", "bhse") if layout == "heads outside" else ("bshd", "bthd", "bthe", "bshe")
    q, k, v = (rng.standard_normal(n, np.float32) for n in ((B, H, s, d), (B, K, t, d), (B, K, t, e)))
    qa, ka, va = as_layout(q, ls[0]), as_layout(k, ls[1]), as_layout(v, ls[2])
    y_shape = (B, H, s, e) if layout == "heads outside" else (B, s, H, e)
    body = attention((ls[0], qa.shape), (ls[1], ka.shape), (ls[2], va.shape), (ls[3], y_shape), causal=causal)
    m = build(tmp_path, program([("q", qa.shape, "f32"), ("k", ka.shape, "f32"), ("v", va.shape, "f32")],
                                [("y", y_shape, "f32")], body))
    exact = reference(*(x.astype(np.float64) for x in (q, k, v)), 0, 0.125, causal)
    y = m.run(qa, ka, va)
    np.testing.assert_allclose(y, as_layout(exact, ls[3]), rtol=1e-5, atol=2e-6)
    assert (m.run(qa, ka, va, split=-1000) == y).all()


def test_dynamic_rows_bias_broadcast_and_row_cuts(tmp_path):
    H, d, t = 3, 64, 290
    q_, y_, bias_ = (1, H, "s", d), (1, H, "s", d), (1, 1, "s", t)
    body = attention(("bhsd", q_), ("bhtd", (1, H, t, d)), ("bhte", (1, H, t, d)), ("bhse", y_), ("bhst", bias_), 0.3)
    m = build(tmp_path, program([("q", q_, "f32"), ("k", (1, H, t, d), "f32"), ("v", (1, H, t, d), "f32"),
                                 ("bias", bias_, "f32")], [("y", y_, "f32")], body, [("s", 200)]))
    q = rng.standard_normal((1, H, 200, d), np.float32)
    k, v = (rng.standard_normal((1, H, t, d), np.float32) for _ in range(2))
    bias = rng.standard_normal((1, 1, 200, t), np.float32)
    bias[:, :, :, 200:] = -np.inf
    y = m.run(q, k, v, bias, dims=(200,))
    exact = reference(*(x.astype(np.float64) for x in (q, k, v, bias)), 0.3, False)
    np.testing.assert_allclose(y, exact, rtol=1e-5, atol=2e-6)
    for start, stop in [(0, 1), (5, 18), (50, 147), (199, 200)]:
        part = m.run(q[:, :, start:stop], k, v, bias[:, :, start:stop], dims=(stop - start,))
        assert (part == y[:, :, start:stop]).all()


@pytest.mark.parametrize("zero", [False, True])
def test_masked_rows(tmp_path, zero):
    s, t, d = 5, 140, 16
    body = attention(("bhsd", (1, 1, s, d)), ("bhtd", (1, 1, t, d)), ("bhte", (1, 1, t, d)), ("bhse", (1, 1, s, d)),
                     ("st", (s, t)), zero=zero)
    m = build(tmp_path, program([(n, (1, 1, r, d), "f32") for n, r in (("q", s), ("k", t), ("v", t))] +
                                [("bias", (s, t), "f32")], [("y", (1, 1, s, d), "f32")], body))
    q, k, v = (rng.standard_normal((1, 1, r, d), np.float32) for r in (s, t, t))
    bias = np.zeros((s, t), np.float32)
    bias[1] = -np.inf
    bias[2, :130] = -np.inf  # the first block of keys has nothing
    y = m.run(q, k, v, bias)
    exact = reference(*(x.astype(np.float64) for x in (q, k, v, bias)), 0.125, False)
    np.testing.assert_allclose(np.delete(y, 1, 2), np.delete(exact, 1, 2), rtol=1e-5, atol=2e-6)
    assert (y[0, 0, 1] == 0).all() if zero else np.isnan(y[0, 0, 1]).all()


def test_causal_rows_in_slices(tmp_path):
    """`past` places a slice of the rows: two slices give the bits of the whole."""
    H, s, t, d, cut = 2, 70, 90, 32, 41
    q, k, v = (rng.standard_normal((1, H, n, d), np.float32) for n in (s, t, t))
    keys = (1, H, "t", d)
    whole = attention(("bhsd", q.shape), ("bhtd", keys), ("bhte", keys), ("bhse", q.shape), causal=True)
    slices = f"  %c2 = arith.constant 2 : index\n  %t = memref.dim %k, %c2 : {memref(keys)}\n"
    for i, (offset, rows) in enumerate([(0, cut), (cut, s - cut)]):
        to = f"memref<1x{H}x{rows}x{d}xf32, strided<[{H * s * d}, {s * d}, {d}, 1], offset: {offset * d}>>"
        sizes = f"[0, 0, {offset}, 0] [1, {H}, {rows}, {d}] [1, 1, 1, 1] : {memref(q.shape)} to {to}"
        part = whole.replace("%q,", f"%q{i},").replace("%y", f"%z{i}").replace(memref(q.shape), to)
        part = part.replace("outs(", f"past(%past{i}) outs(")
        slices += f"""  %shift{i} = arith.constant {offset - s} : index
  %past{i} = arith.addi %t, %shift{i} : index
  %q{i} = memref.subview %q{sizes}
  %z{i} = memref.subview %z{sizes}
{part}
"""
    inputs = [("q", q.shape, "f32"), ("k", keys, "f32"), ("v", keys, "f32")]
    outputs = [("y", q.shape, "f32"), ("z", q.shape, "f32")]
    m = build(tmp_path, program(inputs, outputs, whole + "\n" + slices, [("t", 100)]))
    y, z = m.run(q, k, v, dims=(t,))
    exact = reference(*(x.astype(np.float64) for x in (q, k, v)), 0, 0.125, True)
    np.testing.assert_allclose(y, exact, rtol=1e-5, atol=2e-6)
    assert (y == z).all()
