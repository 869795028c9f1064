# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""ONNX Runtime's own forms of attention (domain com.microsoft), against ONNX Runtime.
Each case is compiled with fixed dims, with bounded ones and for the least arena."""
import numpy as np
import pytest

from contrib import Model, check, codes, compare, noise
import snug.compiler  # noqa: E402  where `contrib` has found it


def int32(values):
    return np.asarray(values, np.int32)


MASKS = {
    "none": None,
    "lengths": int32([5, 3]),
    "ends and starts": int32([5, 4, 1, 0]),
    "keys": int32([[1, 1, 1, 0, 0], [0, 1, 1, 1, 1]]),
    "rows and keys": (np.random.default_rng(1).random((2, 5, 5)) < 0.7).astype(np.int32),
}


@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("mask", list(MASKS))
def test_attention_with_projections(mask, causal):
    m, array = Model(), MASKS[mask]
    x, w, bias = m.input(noise(2, 5, 12), (None, "s", None)), m.constant(noise(12, 48, seed=1)), m.constant(noise(48, seed=2))
    given = None
    if array is not None:
        per_sequence = mask in ("lengths", "ends and starts")
        given = m.input(array, [None if per_sequence or i == 0 else "s" for i in range(array.ndim)])
    found = [m.node("Attention", x, w, bias, given, num_heads=4, unidirectional=causal, scale=0.3)]
    if mask != "ends and starts":  # the operands of a second one are of other sizes
        wide = m.constant(noise(12, 16 + 16 + 24, seed=3))
        found.append(m.node("Attention", x, wide, m.constant(noise(56, seed=4)), given, num_heads=4, unidirectional=causal,
                            qkv_hidden_sizes=[16, 16, 24]))
    check(m, *found, ranges={"s": "5..9"})


@pytest.mark.parametrize("causal", [0, 1])
def test_attention_with_a_past(causal):
    m = Model()
    x, w, bias = m.input(noise(2, 3, 12), ("b", "s", None)), m.constant(noise(12, 48, seed=1)), m.constant(noise(48, seed=2))
    past = m.input(noise(2, 2, 4, 6, 4, seed=3), (None, "b", None, "p", None))
    found = m.node("Attention", x, w, bias, None, past, num_heads=4, unidirectional=causal, outputs=2)
    check(m, *found)
    m = Model()
    x, past = m.input(noise(2, 3, 12)), m.input(noise(2, 2, 4, 6, 4, seed=3))
    w, bias = m.constant(noise(12, 48, seed=1)), m.constant(noise(48, seed=2))
    mask, added = m.input(int32(np.random.default_rng(3).random((2, 9)) < 0.8)), m.input(noise(1, 4, 3, 3, seed=4))
    found = m.node("Attention", x, w, bias, mask, past, num_heads=4, unidirectional=causal, outputs=2)
    check(m, *found, m.node("Attention", x, w, bias, None, None, added, num_heads=4, unidirectional=causal))


@pytest.mark.parametrize("signed", [False, True])
def test_quantized_attention(signed):
    m = Model()
    x, scale = m.input(codes(2, 5, 12, seed=1), ("b", "s", None)), m.constant(np.float32(0.02))
    dtype = np.int8 if signed else np.uint8
    w, bias = m.constant(codes(12, 48, dtype=dtype, seed=2)), m.constant(noise(48))
    units = m.constant(np.random.default_rng(0).uniform(0.005, 0.01, 48 if signed else ()).astype(np.float32))
    zeros = m.constant(np.zeros(48, np.int8)) if signed else m.constant(np.uint8(120))
    mask = m.input(int32([5, 3]), ("b",))
    check(m, m.node("QAttention", x, w, bias, scale, units, mask, m.constant(np.uint8(127)), zeros, num_heads=4), tolerance=1e-5,
          ranges={"b": "2"})


def test_multi_head_attention():
    m = Model()
    q, k, v = (m.input(noise(2, 5, 16, seed=i), ("b", "s", None)) for i in range(3))
    wide, bias = m.input(noise(2, 5, 24, seed=3), ("b", "s", None)), m.constant(noise(48, seed=4))
    others = [m.input(noise(2, 7, 16, seed=i), ("b", "t", None)) for i in (5, 6)]
    mask = m.input(int32(np.random.default_rng(3).random((2, 7)) < 0.8), ("b", "t"))
    added = m.input(noise(2, 4, 5, 7, seed=8), ("b", None, "s", "t"))
    found = [m.node("MultiHeadAttention", q, k, v, num_heads=4), m.node("MultiHeadAttention", q, k, v, bias, num_heads=4),
             m.node("MultiHeadAttention", q, k, wide, num_heads=4, unidirectional=1),
             m.node("MultiHeadAttention", q, *others, None, mask, num_heads=4, scale=0.4, mask_filter_value=-50.0),
             m.node("MultiHeadAttention", q, *others, None, mask, added, num_heads=4),
             *m.node("MultiHeadAttention", q, k, v, bias, outputs=3, num_heads=4)]
    check(m, *found)


def test_multi_head_attention_of_cached_keys():
    m = Model()
    q, bias = m.input(noise(2, 5, 32, seed=1), ("b", "s", None)), m.constant(noise(96, seed=5))
    keys, values = (m.input(noise(2, 4, 7, 8, seed=i), ("b", None, "t", None)) for i in (3, 4))
    check(m, m.node("MultiHeadAttention", q, keys, values, num_heads=4),
          m.node("MultiHeadAttention", q, keys, values, bias, num_heads=4))


def test_multi_head_attention_of_packed_inputs():
    """ONNX Runtime takes them on GPUs only; here they are as apart."""
    m, twin = Model(), Model()
    all_three, two = noise(2, 5, 4, 3, 8), noise(2, 7, 4, 2, 8, seed=2)
    qkv, kv = m.input(all_three, ("b", "s", None, None, None)), m.input(two, ("b", "t", None, None, None))
    q = m.input(noise(2, 5, 32, seed=1), ("b", "s", None))
    found = [m.node("MultiHeadAttention", qkv, num_heads=4), m.node("MultiHeadAttention", q, kv, num_heads=4)]
    for array in m.values.values():
        twin.input(array)
    apart = [twin.constant(all_three[:, :, :, i].reshape(2, 5, 32)) for i in range(3)]
    keys = [twin.constant(two[:, :, :, i].reshape(2, 7, 32)) for i in range(2)]
    twin.output(twin.node("MultiHeadAttention", *apart, num_heads=4), twin.node("MultiHeadAttention", q, *keys, num_heads=4))
    check(m, *found, twin=twin)


@pytest.mark.parametrize("causal", [0, 1])
def test_multi_head_attention_with_a_past(causal):
    m = Model()
    q, k, v = (m.input(noise(2, 3, 16, seed=i), ("b", "s", None)) for i in range(3))
    past = [m.input(noise(2, 4, 6, 4, seed=i), ("b", None, "p", None)) for i in (3, 4)]
    found = m.node("MultiHeadAttention", q, k, v, None, None, None, *past, num_heads=4, unidirectional=causal, outputs=3)
    check(m, *found)


def grouped(dtype, rows, past, lengths, room=None, heads=4, key_heads=2, size=16, flat=True, total=None, data=False, mask=False,
            names=("s", "p"), **attributes):
    """A node with `past` entries of each sequence in caches of `room`; `lengths`: keys of each sequence with the new ones."""
    m, batch = Model(), len(lengths)
    s, p = names
    total = total or max(lengths)
    wide = (heads + 2 * key_heads) * size
    if flat:
        inputs = [m.input(noise(batch, rows, wide, dtype=dtype), (None, s, None)), None, None]
    else:
        inputs = [m.input(noise(batch, rows, n * size, seed=i, dtype=dtype), (None, s, None))
                  for i, n in enumerate((heads, key_heads, key_heads))]
    for seed in (5, 6):
        if past is None:
            inputs.append(None)
            continue
        cache = noise(batch, key_heads, room or past, size, seed=seed, dtype=dtype)
        for b, length in enumerate(lengths):
            cache[b, :, 0 if rows == total else length - rows:] = 0
        inputs.append(m.input(cache, (None, None, p, None)))
    counts = int32(lengths) - 1
    inputs.append(m.input(counts))
    inputs.append(m.input(int32(total)) if data else m.constant(int32(total)))
    if attributes.get("do_rotary"):
        half = attributes.pop("half", size // 2)
        inputs += [m.constant(noise(32, half, seed=i, dtype=dtype)) for i in (7, 8)]
    if mask:
        inputs += [None] * (10 - len(inputs)) + [m.input(noise(batch, heads, rows, total, seed=9, dtype=dtype))]
    made = m.node("GroupQueryAttention", *inputs, num_heads=heads, kv_num_heads=key_heads, outputs=3, **attributes)
    return m, made


GROUPED = {
    "prompt": dict(rows=5, past=None, lengths=[5, 5]),
    "prompt of empty caches": dict(rows=5, past=0, lengths=[5, 5]),
    "step": dict(rows=1, past=6, lengths=[7, 7]),
    "step of uneven sequences": dict(rows=1, past=6, lengths=[7, 4]),
    "step in place": dict(rows=1, past=6, room=12, lengths=[7, 5]),
    "step in place, its place being data": dict(rows=1, past=6, room=12, lengths=[7, 5], data=True),
    "prompt in place": dict(rows=5, past=0, room=12, lengths=[5, 5], data=True),
    "several rows": dict(rows=3, past=6, lengths=[9]),
    "rotary": dict(rows=1, past=6, room=12, lengths=[7, 5], do_rotary=1),
    "rotary prompt": dict(rows=5, past=None, lengths=[5, 5], do_rotary=1, rotary_interleaved=1),
    "rotary of a half": dict(rows=5, past=None, lengths=[5, 5], do_rotary=1, half=8),
    "window": dict(rows=6, past=None, lengths=[6, 6], local_window_size=3),
    "window of a step": dict(rows=1, past=6, room=12, lengths=[7, 5], local_window_size=3),
    "soft cap and scale": dict(rows=5, past=None, lengths=[5, 5], softcap=0.8, scale=0.7),
    "bias": dict(rows=1, past=6, lengths=[7, 7], mask=True),
}


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("case", list(GROUPED))
def test_group_query_attention(case, flat):
    m, found = grouped(np.float32, flat=flat, names=(None, None), **GROUPED[case])
    check(m, *found)


def test_group_query_attention_of_a_padded_prompt():
    m, found = grouped(np.float32, rows=5, past=None, lengths=[5, 3], total=5)
    m.output(*found)
    want, got = m.reference(), m.run()
    rows = np.arange(5) < np.array([[5], [3]])  # what is behind the end of a prompt means nothing
    compare(got[found[0]][rows], want[found[0]][rows], 2e-6)


@pytest.mark.parametrize("case", ["step in place, its place being data", "prompt in place"])
def test_group_query_attention_with_bounded_caches(case):
    m, found = grouped(np.float32, **{**GROUPED[case], "names": (None, "p")})
    check(m, *found, ranges={"p": "8..16"})


@pytest.mark.parametrize("case", ["step", "step in place"])
def test_group_query_attention_with_caches_of_any_room(case):
    """Shorter than the sequence becomes in some runs and longer in others: the next cache is as long as the longer one."""
    m, found = grouped(np.float32, **{**GROUPED[case], "names": (None, "p")})
    check(m, *found, ranges={"p": "6..16"})


def test_group_query_attention_of_half_floats():
    m, found = grouped(np.float16, names=(None, None), **GROUPED["rotary"])
    check(m, *found, tolerance=2e-3)


def test_what_grouped_attention_lacks_is_said():
    m, found = grouped(np.float32, rows=5, past=None, lengths=[5, 5], smooth_softmax=1)
    m.output(*found)
    code, _, messages = snug.compiler.run("--check", model=m.proto().SerializeToString())
    assert code == 3 and all(word in messages for word in ("GroupQueryAttention", "smooth_softmax", "export")), messages


def test_attention_never_has_all_scores():
    m = Model()
    q, k, v = (m.input(noise(1, 512, 64, seed=i), (None, "s", None)) for i in range(3))
    mask = m.input(int32(np.ones((1, 512))), (None, "s"))
    m.output(m.node("MultiHeadAttention", q, k, v, None, mask, num_heads=4))
    code, text, messages = snug.compiler.run("--emit", "canonicalize", "-o", "/dev/stdout", model=m.proto().SerializeToString())
    assert code == 0 and "snug_nn.attention" in text + messages and "512x512" not in text + messages
