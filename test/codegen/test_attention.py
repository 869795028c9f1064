# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import numpy as np
import pytest

import harness
from harness import TARGET, build, memref, program, tf32

rng = np.random.default_rng(6)
L = "bhstde"
FORM = {"few_rows": False}  # of a GPU's kernel

SCALE = """%scale = arith.constant {scale} : f32
      %scaled = arith.mulf %qk, %scale : f32"""
BIAS = """
      %biased = arith.addf %scaled, %in0 : f32"""
CAUSAL = """
      %s = snug_nn.index {row}
      %t = snug_nn.index {key}
      %past = arith.constant {past} : index
      %last = arith.addi %s, %past : index
      %seen = arith.cmpi sle, %t, %last : index
      %masked = arith.constant {masked} : f32
      %causal = arith.select %seen, {score}, %masked : f32"""
MINUS_INFINITY, LOWEST = "0xFF800000", "-3.40282347E+38"


def attention(q, k, v, y, inputs=(), scale=0.125, causal=None, past=0, zero=False, region=None, result=None, dims=L, stats=None,
              dtype="f32"):
    """Each operand: (indices of its map, separated by commas or one letter each; shape). causal: what hides later keys.
    stats: the operand that %m and %l are."""
    to_map = lambda s: f"affine_map<({', '.join(dims)}) -> ({', '.join(s.split(',') if ',' in s else s)})>"
    maps = ", ".join(to_map(o[0]) for o in (q, k, v, *inputs, *([stats] * 2 if stats else []), y))
    types = ["f32" if len(o) < 3 else o[2] for o in inputs]
    score = f"score({', '.join(f'%x{i}' for i in range(len(inputs)))} : {', '.join(memref(o[1], t) for o, t in zip(inputs, types))})"
    if region is None:
        region, result = SCALE.format(scale=scale), "%scaled"
        if inputs:
            region, result = region + BIAS, "%biased"
        if causal:
            region += CAUSAL.format(row=len(dims) - 4, key=len(dims) - 3, past=past, masked=causal, score=result)
            result = "%causal"
    arguments = "".join(f", %in{i}: {t}" for i, t in enumerate(types))
    return f'''  snug_nn.attention ins(%q, %k, %v : {memref(q[1], dtype)}, {memref(k[1], dtype)}, {memref(v[1], dtype)}) {score if inputs else ""}
    {f"stats(%m, %l : {memref(stats[1])}, {memref(stats[1])})" if stats else ""}
    outs(%y : {memref(y[1], dtype)}) attributes {{{"zero_if_masked, " if zero else ""}{"few_rows, " if FORM["few_rows"] else ""}indexing_maps = [{maps}]}} {{
    ^bb0(%qk: f32{arguments}):
      {region}
      snug_nn.yield {result} : f32
    }}'''


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


# Another block of keys, another block of rows, neither a multiple of a register tile, both products padded.
SHAPES = [(1, 1, 8, 8), (7, 31, 16, 33), (33, 257, 64, 64), (100, 100, 80, 80), (130, 150, 160, 32), (1, 700, 64, 64),
          (130, 129, 64, 128)]


# Causal rows without a key are test_masked_rows'.
@pytest.mark.parametrize("s,t,d,e,causal", [(*shape, causal) for shape in SHAPES
                                            for causal in (None, MINUS_INFINITY, LOWEST)
                                            if not causal or shape[0] <= shape[1]])
@pytest.mark.parametrize("layout", ["heads outside", "rows outside"])
def test_shapes(tmp_path, s, t, d, e, causal, layout):
    B, H, K = 2, 4, 2
    ls = ("bhsd", "bhtd", "bhte", "bhse") if layout == "heads outside" else ("bshd", "bthd", "bthe", "bshe")
    q, k, v = (rng.standard_normal(n, np.float32) for n in ((B, H, s, d), (B, K, t, d), (B, K, t, e)))
    qa, ka, va = as_layout(q, ls[0]), as_layout(k, ls[1]), as_layout(v, ls[2])
    y_shape = (B, H, s, e) if layout == "heads outside" else (B, s, H, e)
    grouped = lambda letters: ",".join(letters).replace("h", f"h floordiv {H // K}")
    body = attention((ls[0], qa.shape), (grouped(ls[1]), ka.shape), (grouped(ls[2]), va.shape), (ls[3], y_shape),
                     causal=causal, past=t - s)
    m = build(tmp_path, program([("q", qa.shape, "f32"), ("k", ka.shape, "f32"), ("v", va.shape, "f32")],
                                [("y", y_shape, "f32")], body))
    exact = reference(*(x.astype(np.float64) for x in (q, k, v)), 0, 0.125, causal)
    y = m.run(qa, ka, va)
    np.testing.assert_allclose(y, as_layout(exact, ls[3]), rtol=1e-5, atol=2e-6)
    assert (m.run(qa, ka, va, split=-1000) == y).all()


@pytest.mark.parametrize("bias_letters,bias_shape", [("0,0,s,t", (1, 1, "s", 290)), ("h,s,t", (3, "s", 290)),
                                                     ("0,0,0,t", (1, 1, 1, 290)), ("s", ("s",))])
def test_dynamic_rows_bias_broadcast_and_row_cuts(tmp_path, bias_letters, bias_shape):
    H, d, t = 3, 64, 290
    q_, y_ = (1, H, "s", d), (1, H, "s", d)
    body = attention(("bhsd", q_), ("bhtd", (1, H, t, d)), ("bhte", (1, H, t, d)), ("bhse", y_),
                     [(bias_letters if "," in bias_letters else bias_letters + ",", bias_shape)], 0.3)
    body = body.replace("(s, )", "(s)")
    m = build(tmp_path, program([("q", q_, "f32"), ("k", (1, H, t, d), "f32"), ("v", (1, H, t, d), "f32"),
                                 ("x0", bias_shape, "f32")], [("y", y_, "f32")], body, [("s", 200)]))
    q = rng.standard_normal((1, H, 200, d), np.float32)
    k, v = (rng.standard_normal((1, H, t, d), np.float32) for _ in range(2))
    full = tuple(200 if n == "s" else n for n in bias_shape)
    bias = rng.standard_normal(full, np.float32)
    if full[-1] == t:
        bias[..., 200:] = -np.inf
    y = m.run(q, k, v, bias, dims=(200,))
    wide = bias[:, None] if bias_letters == "s" else bias
    exact = reference(*(x.astype(np.float64) for x in (q, k, v, wide)), 0.3, False)
    np.testing.assert_allclose(y, exact, rtol=1e-5, atol=2e-6)
    for start, stop in [(0, 1), (5, 18), (50, 147), (199, 200)]:
        part_bias = bias[tuple(slice(start, stop) if n == "s" else slice(None) for n in bias_shape)]
        part = m.run(q[:, :, start:stop], k, v, part_bias, dims=(stop - start,))
        assert (part == y[:, :, start:stop]).all()


@pytest.mark.parametrize("zero", [False, True])
def test_masked_rows(tmp_path, zero):
    s, t, d = 5, 140, 16
    body = attention(("bhsd", (1, 1, s, d)), ("bhtd", (1, 1, t, d)), ("bhte", (1, 1, t, d)), ("bhse", (1, 1, s, d)),
                     [("st", (s, t))], zero=zero)
    m = build(tmp_path, program([(n, (1, 1, r, d), "f32") for n, r in (("q", s), ("k", t), ("v", t))] +
                                [("x0", (s, t), "f32")], [("y", (1, 1, s, d), "f32")], body))
    q, k, v = (rng.standard_normal((1, 1, r, d), np.float32) for r in (s, t, t))
    bias = np.zeros((s, t), np.float32)
    bias[1] = -np.inf
    bias[2, :130] = -np.inf  # the first block of keys has nothing
    y = m.run(q, k, v, bias)
    exact = reference(*(x.astype(np.float64) for x in (q, k, v, bias)), 0.125, False)
    np.testing.assert_allclose(np.delete(y, 1, 2), np.delete(exact, 1, 2), rtol=1e-5, atol=2e-6)
    assert (y[0, 0, 1] == 0).all() if zero else np.isnan(y[0, 0, 1]).all()


@pytest.mark.parametrize("causal", [None, MINUS_INFINITY, LOWEST])
def test_statistics_of_rows(tmp_path, causal):
    """By them attentions of rows to two sets of keys become the one to all."""
    B, H, s, t, d = 1, 2, 100, 300, 32
    keys = {"all": slice(0, t), "first": slice(0, 170), "last": slice(170, t), "none": slice(0, 0)}
    q, k, v = (rng.standard_normal((B, H, n, d), np.float32) for n in (s, t, t))
    got = {}
    for name, part in keys.items():
        n = part.stop - part.start
        body = attention(("bhsd", q.shape), ("bhtd", (B, H, n, d)), ("bhte", (B, H, n, d)), ("bhse", q.shape), causal=causal,
                         past=60 - part.start, zero=True, stats=("hbs", (H, B, s)))
        (tmp_path / name).mkdir()
        m = build(tmp_path / name, program([("q", q.shape, "f32"), ("k", (B, H, n, d), "f32"), ("v", (B, H, n, d), "f32")],
                                           [("m", (H, B, s), "f32"), ("l", (H, B, s), "f32"), ("y", q.shape, "f32")], body))
        largest, total, y = m.run(q, k[:, :, part], v[:, :, part])
        got[name] = (largest.transpose(1, 0, 2)[..., None], total.transpose(1, 0, 2)[..., None], y)
        scores = np.einsum("bhsd,bhtd->bhst", q.astype(np.float64), k[:, :, part]) * 0.125
        if causal:
            hidden = -np.inf if causal == MINUS_INFINITY else float(np.float32(LOWEST))
            scores = np.where(np.arange(t)[part] <= np.arange(s)[:, None] + 60, scores, hidden)
        want = scores.max(-1, keepdims=True, initial=-np.inf)
        np.testing.assert_allclose(got[name][0], want, rtol=1e-5, atol=1e-6)
        base = np.where(np.isinf(want), 0, want)
        np.testing.assert_allclose(got[name][1], np.exp(scores - base).sum(-1, keepdims=True), rtol=1e-5, atol=1e-6)
    assert np.isinf(got["none"][0]).all() and (got["none"][1] == 0).all() and (got["none"][2] == 0).all()
    most = np.maximum(got["first"][0], got["last"][0])
    weights = [got[name][1] * np.exp(got[name][0] - most) for name in ("first", "last")]
    joined = sum(w * got[name][2] for w, name in zip(weights, ("first", "last"))) / sum(weights)
    np.testing.assert_allclose(joined, got["all"][2], rtol=2e-5, atol=2e-6)


MASKS = {  # %cond: whether key t is seen by row s; %in0: whether key t is no padding
    "select": """%score = arith.select %cond, %scaled, %low : f32""",
    "add": """%zero = arith.constant 0.0 : f32
      %bias = arith.select %cond, %zero, %low : f32
      %score = arith.addf %scaled, %bias : f32""",
    "inverted": """%true = arith.constant true
      %hidden = arith.xori %cond, %true : i1
      %score = arith.select %hidden, %low, %scaled : f32""",
    "product": """%true = arith.constant true
      %hidden = arith.xori %cond, %true : i1
      %one = arith.uitofp %hidden : i1 to f32
      %finite = arith.constant -3.0e38 : f32
      %bias = arith.mulf %one, %finite : f32
      %score = arith.addf %scaled, %bias : f32""",
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("low", [MINUS_INFINITY, LOWEST])
@pytest.mark.parametrize("zero", [False, True])
def test_causal_with_padding(tmp_path, mask, low, zero):
    """Padding on the left: the first rows see no key at all, so finite masks give all keys, later ones too, equal weight."""
    B, s, d, pad = (2, 300, 32, 131) if TARGET == "cpu" else (2, 150, 32, 67)
    region = SCALE.format(scale=0.5) + f"""
      %s = snug_nn.index 2
      %t = snug_nn.index 3
      %s64 = arith.index_cast %s : index to i64
      %t64 = arith.index_cast %t : index to i64
      %before = arith.cmpi sle, %t64, %s64 : i64
      %cond = arith.andi %before, %in0 : i1
      %low = arith.constant {low} : f32
      """ + MASKS[mask]
    shape = (B, 1, s, d)
    body = attention(("bhsd", shape), ("bhtd", shape), ("bhte", shape), ("bhse", shape), [("bt", (B, s), "i1")], zero=zero,
                     region=region, result="%score")
    m = build(tmp_path, program([(n, shape, "f32") for n in "qkv"] + [("x0", (B, s), "i1")], [("y", shape, "f32")], body))
    q, k, v = (rng.standard_normal(shape, np.float32) for _ in range(3))
    real = np.ones((B, s), bool)
    real[1, :pad] = False
    y = m.run(q, k, v, real)
    seen = (np.arange(s)[None] <= np.arange(s)[:, None]) & real[:, None, None, :]
    finite = low == LOWEST or mask == "product"
    exact = reference(*(x.astype(np.float64) for x in (q, k, v)), np.where(seen, 0, -3e38 if finite else -np.inf), 0.5, False)
    if zero:
        exact = np.nan_to_num(exact)
    assert finite or zero or np.isnan(exact[1, 0, :pad]).all()
    np.testing.assert_allclose(y, exact, rtol=1e-5, atol=2e-6)
    assert np.array_equal(m.run(q, k, v, real, split=-1000), y, equal_nan=True)


def test_three_batch_dims_and_index_of_a_batch_dim(tmp_path):
    """Triangle attention: a bias for (head, row, key) shared by the outer rows, a slope a head, a mask a key."""
    I, H, n, d = 3, 4, 70, 32
    dims = ["b", "i", "h", "s", "t", "d", "e"]
    region = SCALE.format(scale=1.0) + """
      %h = snug_nn.index 2
      %h64 = arith.index_cast %h : index to i64
      %slope = arith.sitofp %h64 : i64 to f32
      %tilted = arith.addf %scaled, %slope : f32
      %biased = arith.mulf %tilted, %in0 : f32
      %score = arith.addf %biased, %in1 : f32"""
    shape = (1, I, n, H, d)
    body = attention(("bishd", shape), ("bithd", shape), ("bithe", shape), ("bishe", shape),
                     [("bhst", (1, H, n, n)), ("0,i,0,0,t", (1, I, 1, 1, n))], region=region, result="%score", dims=dims)
    m = build(tmp_path, program([(x, shape, "f32") for x in "qkv"] + [("x0", (1, H, n, n), "f32"), ("x1", (1, I, 1, 1, n), "f32")],
                                [("y", shape, "f32")], body))
    q, k, v = (rng.standard_normal(shape, np.float32) for _ in range(3))
    bias, mask = rng.standard_normal((1, H, n, n), np.float32), np.where(rng.random((1, I, 1, 1, n)) < 0.3, -1e9, 0).astype(np.float32)
    y = m.run(q, k, v, bias, mask)
    x = np.einsum("bishd,bithd->bihst", q.astype(np.float64), k) + np.arange(H)[:, None, None]
    x = x * bias[:, None] + mask
    e = np.exp(x - x.max(-1, keepdims=True))
    exact = np.einsum("bihst,bithd->bishd", e / e.sum(-1, keepdims=True), v)
    np.testing.assert_allclose(y, exact, rtol=1e-4, atol=1e-5)


def test_causal_rows_in_slices(tmp_path):
    """What places a slice of the rows comes from outside of the region: two slices give the bits of the whole."""
    H, s, t, d, cut = 2, 70, 90, 32, 41
    q, k, v = (rng.standard_normal((1, H, n, d), np.float32) for n in (s, t, t))
    keys = (1, H, "t", d)
    whole = attention(("bhsd", q.shape), ("bhtd", keys), ("bhte", keys), ("bhse", q.shape), causal=LOWEST)
    whole = whole.replace("      %past = arith.constant 0 : index\n", "")
    slices = f"  %c2 = arith.constant 2 : index\n  %t_ = memref.dim %k, %c2 : {memref(keys)}\n"
    for i, (offset, rows) in enumerate([(0, s), (0, cut), (cut, s - cut)]):
        to = f"memref<1x{H}x{rows}x{d}xf32, strided<[{H * s * d}, {s * d}, {d}, 1], offset: {offset * d}>>"
        sizes = f"[0, 0, {offset}, 0] [1, {H}, {rows}, {d}] [1, 1, 1, 1] : {memref(q.shape)} to {to}"
        part = whole.replace("%q,", f"%q{i},").replace("%y", f"%{'z' if i else 'y'}{i}").replace(memref(q.shape), to)
        slices += f"""  %shift{i} = arith.constant {offset - s} : index
  %past{i} = arith.addi %t_, %shift{i} : index
  %q{i} = memref.subview %q{sizes}
  %{'z' if i else 'y'}{i} = memref.subview %{'z' if i else 'y'}{sizes}
{part.replace("%past", f"%past{i}")}
"""
    inputs = [("q", q.shape, "f32"), ("k", keys, "f32"), ("v", keys, "f32")]
    outputs = [("y", q.shape, "f32"), ("z", q.shape, "f32")]
    m = build(tmp_path, program(inputs, outputs, slices, [("t", 100)]))
    y, z = m.run(q, k, v, dims=(t,))
    exact = reference(*(x.astype(np.float64) for x in (q, k, v)), 0, 0.125, True)
    np.testing.assert_allclose(y, exact, rtol=1e-5, atol=2e-6)
    assert (y == z).all()


def test_unseen_keys_are_not_read(tmp_path):
    """Blocks of keys beyond the last row's bound are skipped: NaN there does no harm, though 0 times NaN is NaN."""
    s, t, d = 100, 400, 16
    body = attention(("sd", (s, d)), ("td", (t, d)), ("te", (t, d)), ("se", (s, d)), causal=LOWEST, dims="stde")
    m = build(tmp_path, program([("q", (s, d), "f32"), ("k", (t, d), "f32"), ("v", (t, d), "f32")], [("y", (s, d), "f32")], body))
    q, k, v = (rng.standard_normal((n, d), np.float32) for n in (s, t, t))
    k[s:], v[s:] = np.nan, np.nan
    exact = reference(*(x.astype(np.float64)[None, None] for x in (q, k[:s], v[:s])), 0, 0.125, True)[0, 0]
    np.testing.assert_allclose(m.run(q, k, v), exact, rtol=1e-5, atol=2e-6)


gpu_only = pytest.mark.skipif(TARGET == "cpu", reason="a GPU's")


@pytest.mark.parametrize("causal", [None, LOWEST, MINUS_INFINITY])
@pytest.mark.parametrize("size, precision", [*((size, None) for size in (1, 13, 50, 95, 97, 130)), pytest.param(50, "tf32", marks=gpu_only)])
def test_a_loop_over_rows_gives_the_bits_of_the_whole(tmp_path, causal, size, precision):
    """A chunk loop whose steps are no multiples of the tile of 96 rows, nor of its parts; heads outside of the rows."""
    H, s, t, d = (2, 211, 300, 64) if TARGET == "cpu" else (2, 131, 140, 64)  # a GPU's tiles: 64 rows and keys
    y, keys = ("b", H, s, d), ("b", H, t, d)
    to = f"memref<?x{H}x?x{d}xf32, strided<[{H * s * d}, {s * d}, {d}, 1], offset: ?>>"
    whole = attention(("bhsd", y), ("bhtd", keys), ("bhte", keys), ("bhse", y), causal=causal)
    part = whole.replace("%q,", "%qi,").replace("%y", "%zi").replace(
        f"ins(%qi, %k, %v : {memref(y)}", f"ins(%qi, %k, %v : {to}").replace(f"outs(%zi : {memref(y)}", f"outs(%zi : {to}")
    part = part.replace("      %past = arith.constant 0 : index\n", "").replace("%past", "%i")
    slices = f"[0, 0, %i, 0] [%b, {H}, %n, {d}] [1, 1, 1, 1] : {memref(y)} to {to}"
    body = f'''{whole}
  %b = memref.dim %q, %c0 : {memref(y)}
  %step = arith.constant {size} : index
  %s_ = arith.constant {s} : index
  scf.for %i = %c0 to %s_ step %step {{
    %n = affine.min affine_map<(i) -> ({size}, {s} - i)>(%i)
    %qi = memref.subview %q{slices}
    %zi = memref.subview %z{slices}
{part}
  }}'''
    inputs = [("q", y, "f32"), ("k", keys, "f32"), ("v", keys, "f32")]
    m = build(tmp_path, program(inputs, [("y", y, "f32"), ("z", y, "f32")], body, [("b", 3)], precision=precision))
    q, k, v = (rng.standard_normal((2, H, n, d), np.float32) for n in (s, t, t))
    for split in (None, -5):
        y_, z_ = m.run(q, k, v, dims=(2,), split=split)
        assert (y_ == z_).all()
    x = np.einsum("bhsd,bhtd->bhst", q.astype(np.float64), k) * 0.125
    if causal:
        x = np.where(np.arange(t)[None] <= np.arange(s)[:, None], x, -np.inf)
    e = np.exp(x - x.max(-1, keepdims=True))
    np.testing.assert_allclose(y_, np.einsum("bhst,bhte->bhse", e / e.sum(-1, keepdims=True), v), rtol=1e-4, atol=2.0**-8 if precision else 1e-5)


def bf16_bits(x):
    """Rounded to nearest even, as the bits that numpy has no type for."""
    bits = x.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


# How operands are made, what of them is multiplied, and half a unit of the last place of that. f32 is rounded to tf32 by the kernel.
NARROW = {"f16": (lambda x: x.astype(np.float16), lambda x: x.astype(np.float64), 2.0**-11),
          "bf16": (bf16_bits, lambda x: (x.astype(np.uint32) << 16).view(np.float32).astype(np.float64), 2.0**-8),
          "tf32": (lambda x: x, lambda x: tf32(x).astype(np.float64), 2.0**-11)}


@pytest.mark.parametrize("dtype", ["f16", "bf16", pytest.param("tf32", marks=gpu_only)])
@pytest.mark.parametrize("s,t,d,e,causal", [(1, 1, 8, 8, None), (33, 70, 7, 9, None), (130, 129, 64, 64, None), (130, 200, 64, 64, LOWEST),
                                            (100, 100, 80, 72, MINUS_INFINITY), (140, 70, 128, 128, None), (20, 90, 256, 256, None)])
def test_narrow_operands(tmp_path, monkeypatch, dtype, s, t, d, e, causal):
    """Results within the rounding of the weights and of the result itself to the operands' type: what tensor cores make."""
    monkeypatch.setitem(harness.DTYPES, (4, 16), np.uint16)
    narrow, wide, unit = NARROW[dtype]
    precision, dtype = ("tf32", "f32") if dtype == "tf32" else (None, dtype)
    if precision and FORM["few_rows"]: # which tensor cores have no part in
        wide, unit = lambda x: x.astype(np.float64), 2.0**-24
    B, H, K = 1, 2, 1
    shapes = (B, H, s, d), (B, K, t, d), (B, K, t, e)
    grouped = lambda letters: ",".join(letters).replace("h", "h floordiv 2")
    body = attention(("bhsd", shapes[0]), (grouped("bhtd"), shapes[1]), (grouped("bhte"), shapes[2]), ("bhse", (B, H, s, e)),
                     scale=d**-0.5, causal=causal, past=t - s, dtype=dtype)
    m = build(tmp_path, program([(n, shape, dtype) for n, shape in zip("qkv", shapes)], [("y", (B, H, s, e), dtype)], body, precision=precision))
    operands = [narrow(rng.standard_normal(shape, np.float32)) for shape in shapes]
    y = m.run(*operands)
    exact = reference(*map(wide, operands), 0, float(np.float32(d**-0.5)), causal)
    size = reference(*map(wide, operands[:2]), abs(wide(operands[2])), 0, float(np.float32(d**-0.5)), causal)
    made = y.astype(np.float64) if precision else wide(y) # rounded to the type of the results, which has more bits than tf32
    assert (abs(made - exact) <= 1.01 * unit * (size + (0 if precision else abs(exact))) + 2e-5).all()
    if precision:
        assert ("tf32Enabled" in (tmp_path / "kernels.mlir").read_text()) is not FORM["few_rows"]
    if t == 1: # the one weight is 1
        assert (made == wide(operands[2]).repeat(2, 1)).all()
    assert (m.run(*operands, split=-1000) == y).all()
