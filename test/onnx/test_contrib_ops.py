# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""ONNX Runtime's own ops (domain com.microsoft), against ONNX Runtime, or against standard ops that say the same where its CPU
provider has no kernel. Each case is compiled with fixed dims, with bounded ones and for the least arena."""
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import backend
import snug
import snug.compiler

CONTRIB = "com.microsoft"
OPSET = 21


def random(*key):
    return np.random.default_rng([abs(hash(str(k))) % 65536 if isinstance(k, str) else k for k in key])


def noise(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def codes(*shape, dtype=np.uint8, seed=0, low=None, high=None):
    info = np.iinfo(dtype)
    return np.random.default_rng([seed, *shape]).integers(info.min if low is None else low, (info.max if high is None else high) + 1,
                                                          shape).astype(dtype)


def kind(array):
    return helper.np_dtype_to_tensor_dtype(array.dtype)


class Model:
    """Nodes over inputs and constants."""

    def __init__(self, opset=OPSET):
        self.nodes, self.inputs, self.constants, self.outputs, self.values, self.ranges = [], [], [], [], {}, {}
        self.opset, self.kinds = opset, {}

    def input(self, array, dims=None):
        """`dims`: a name for each dim that varies, None for the others."""
        array, name = np.asarray(array), f"x{len(self.inputs)}"
        shape = [given or extent for given, extent in zip(dims or [None] * array.ndim, array.shape)]
        self.inputs.append((name, array, shape))
        for given, extent in zip(dims or [], array.shape):
            if given:
                self.ranges[given] = extent
        self.values[name] = array
        return name

    def constant(self, array):
        name = f"w{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def node(self, op, *inputs, outputs=1, domain=CONTRIB, **attributes):
        """`outputs`: how many, or which ones (names; "" leaves one out)."""
        made = [f"{op}{len(self.nodes)}_{i}" for i in range(outputs)] if isinstance(outputs, int) else \
            [name and f"{op}{len(self.nodes)}_{name}" for name in outputs]
        self.nodes.append(helper.make_node(op, [name or "" for name in inputs], made, name=made[0], domain=domain, **attributes))
        found = [name for name in made if name]
        return found[0] if len(found) == 1 else found

    def proto(self, dynamic=False):
        def info(name, array, shape):
            return helper.make_tensor_value_info(name, kind(array), shape if dynamic else array.shape)
        outputs = [onnx.ValueInfoProto(name=name, type=self.types.get(name, onnx.TypeProto())) for name in self.outputs]
        graph = helper.make_graph(self.nodes, "contrib", [info(*given) for given in self.inputs], outputs, self.constants)
        imports = [helper.make_opsetid("", self.opset), helper.make_opsetid(CONTRIB, 1)]
        return helper.make_model(graph, opset_imports=imports, ir_version=10)

    types = {}

    def output(self, *names, types=()):
        self.outputs += names
        self.types = dict(self.types)
        for name, number in zip(names, types):
            self.types[name] = helper.make_tensor_type_proto(number, None)

    def reference(self):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(self.proto().SerializeToString(), options, providers=["CPUExecutionProvider"])
        return dict(zip(self.outputs, session.run(self.outputs, self.values)))

    def run(self, mode="given", ranges=None):
        dims = {}
        if mode == "dynamic":
            dims = {name: f"{max(extent - 1, 1)}..{extent + 3}" for name, extent in self.ranges.items()}
            dims.update(ranges or {})
            dims = {name: text for name, text in dims.items() if text}
        model = self.proto(dynamic=mode == "dynamic").SerializeToString()
        return backend.compile_model(model, tuple(dims.items()), (), tight=mode == "tight")(**self.values)


def compare(got, want, tolerance):
    assert got.dtype == want.dtype and got.shape == want.shape, (got.dtype, got.shape, want.dtype, want.shape)
    if want.dtype.kind in "iub":
        difference = np.abs(got.astype(np.int64) - want.astype(np.int64)).max(initial=0)
        assert difference <= (tolerance if tolerance >= 1 else 0), difference
        return
    got, want = got.astype(np.float64), want.astype(np.float64)
    assert np.isfinite(want).all()
    assert np.linalg.norm(got - want) <= tolerance * np.linalg.norm(want), np.abs(got - want).max()


def check(model, *outputs, tolerance=2e-6, twin=None, ranges=None, types=(), modes=("given", "dynamic", "tight")):
    """`tolerance`: relative L2 of floats, and from 1 on steps of codes; `twin`: a model that says what is right."""
    model.output(*outputs, types=types)
    want = (twin or model).reference()
    if twin:
        want = dict(zip(outputs, want.values()))
    for mode in modes:
        if mode == "dynamic" and not model.ranges:
            continue
        got = model.run(mode, ranges)
        for name in outputs:
            compare(got[name], want[name], tolerance)


# --- activations and norms ---------------------------------------------------------------------------------------------

def test_activations():
    m = Model()
    x, bias = m.input(noise(2, 5, 16) * 3, ("b", "s", None)), m.constant(noise(16, seed=1))
    found = [m.node("Gelu", x), m.node("BiasGelu", x, bias), m.node("FastGelu", x), m.node("FastGelu", x, bias),
             m.node("QuickGelu", x), m.node("QuickGelu", x, alpha=0.7)]
    check(m, *found)


def test_activations_without_a_kernel_in_onnx_runtime():
    m, twin = Model(), Model()
    x, bias, skip = m.input(noise(2, 5, 16), ("b", "s", None)), m.constant(noise(16, seed=1)), m.input(noise(2, 5, 16, seed=2))
    found = [m.node("BiasSplitGelu", x, bias), m.node("BiasAdd", x, bias, skip)]
    weight = m.constant(noise(16, 12, seed=3))
    found.append(m.node("GemmFastGelu", x, weight))
    twin.inputs, twin.values, twin.constants = m.inputs, m.values, m.constants
    biased = twin.node("Add", x, bias, domain="")
    left, right = twin.node("Split", biased, outputs=2, domain="", axis=-1, num_outputs=2)
    twin.output(twin.node("Mul", left, twin.node("Gelu", right, domain=""), domain=""),
                twin.node("Add", biased, skip, domain=""),
                twin.node("Gelu", twin.node("MatMul", x, weight, domain=""), domain="", approximate="tanh"))
    check(m, *found, twin=twin, ranges={"b": None, "s": None}, modes=("given", "tight"))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_skip_norms(dtype):
    tolerance = 1e-6 if dtype == np.float32 else 1e-3
    m = Model()
    x, skip = (m.input(noise(2, 5, 24, seed=i, dtype=dtype), ("b", "s", None)) for i in range(2))
    scale, shift, bias = (m.constant(noise(24, seed=i, dtype=dtype)) for i in range(3))
    row = m.input(noise(5, 24, dtype=dtype), ("s", None))
    found = [m.node("SkipLayerNormalization", x, skip, scale, shift), m.node("SkipLayerNormalization", x, skip, scale),
             m.node("SkipLayerNormalization", x, row, scale, shift, bias, epsilon=1e-3),
             m.node("SkipSimplifiedLayerNormalization", x, skip, scale, epsilon=1e-5),
             m.node("SimplifiedLayerNormalization", x, scale, domain="", epsilon=1e-5, axis=-1)]
    for op, inputs in (("SkipLayerNormalization", (x, skip, scale, shift, bias)),
                       ("SkipSimplifiedLayerNormalization", (x, skip, scale, bias))):
        found += m.node(op, *inputs, outputs=["y", "", "", "sum"])
    check(m, *found, tolerance=tolerance)


@pytest.mark.parametrize("quantized", [False, True])
def test_embeddings(quantized):
    rng = np.random.default_rng(5)
    ids = rng.integers(0, 30, (3, 7)).astype(np.int32)
    mask = (np.arange(7) < np.array([[7], [4], [1]])).astype(np.int32)
    m = Model()
    words, segments = m.input(ids, ("b", "s")), m.input(ids % 2, ("b", "s"))
    shapes = [(30, 16), (12, 16), (2, 16), (16,), (16,)]
    if quantized:
        tables = [m.constant(codes(*shape, seed=i)) for i, shape in enumerate(shapes)]
        scales = [m.constant(np.float32(0.01 * (i + 1))) for i in range(5)]
        zeros = [m.constant(np.uint8(120 + i)) for i in range(5)]
        for rest in ([tables, scales, zeros], [[t if i != 2 else None for i, t in enumerate(p)] for p in (tables, scales, zeros)]):
            held, unit, zero = rest
            made = m.node("QEmbedLayerNormalization", words, segments if held[2] else None, *held,
                          m.input(mask, ("b", "s")), *unit, *zero, outputs=2)
            m.output(*made, types=(TensorProto.FLOAT, TensorProto.INT32))
        names, m.outputs = m.outputs, []
        check(m, *names)
        return
    tables = [m.constant(noise(*shape, seed=i)) for i, shape in enumerate(shapes)]
    given, places = m.input(mask, ("b", "s")), m.input((ids % 12).astype(np.int32), ("b", "s"))
    found = m.node("EmbedLayerNormalization", words, segments, *tables, given, outputs=3)
    found += m.node("EmbedLayerNormalization", words, None, *tables[:2], None, *tables[3:], outputs=2, epsilon=1e-5)
    found += m.node("EmbedLayerNormalization", words, segments, *tables, None, places, outputs=2)
    check(m, *found, ranges={"s": "3..12"})


def planes(m, x, groups, scale, shift, activation, last):
    def standard(op, *inputs, **attributes):
        return m.node(op, *inputs, domain="", **attributes)
    y = standard("Transpose", x, perm=[0, 3, 1, 2]) if last else x
    y = standard("GroupNormalization", y, scale, shift, num_groups=groups, epsilon=1e-5)
    y = standard("Mul", y, standard("Sigmoid", y)) if activation else y
    return standard("Transpose", y, perm=[0, 2, 3, 1]) if last else y


@pytest.mark.parametrize("activation", [0, 1])
@pytest.mark.parametrize("last", [0, 1])
def test_group_norms(last, activation):
    shape = (2, 5, 6, 8) if last else (2, 8, 5, 6)
    m, twin = Model(), Model()
    x = m.input(noise(*shape), ("b", "h", "w", None) if last else ("b", None, "h", "w"))
    scale, shift, bias = (m.constant(noise(8, seed=i)) for i in range(3))
    skip = m.constant(noise(2, 8, seed=9))
    attributes = dict(groups=4, activation=activation, channels_last=last, epsilon=1e-5)
    found = [m.node("GroupNorm", x, scale, shift, **attributes)]
    found += m.node("SkipGroupNorm", x, scale, shift, skip, bias, outputs=2, **attributes)
    twin.inputs, twin.values, twin.constants = m.inputs, m.values, m.constants[:]
    total = skip_total = noise(2, 8, seed=9) + noise(8, seed=2)
    spread = twin.constant(skip_total.reshape((2, 1, 1, 8) if last else (2, 8, 1, 1)))
    total = twin.node("Add", x, spread, domain="")
    twin.output(planes(twin, x, 4, scale, shift, activation, last), planes(twin, total, 4, scale, shift, activation, last), total)
    check(m, *found, twin=twin, ranges={"b": "2"}, tolerance=1e-5)


# --- products, convolutions, positions -----------------------------------------------------------------------------------

def test_fused_matrix_products():
    m = Model()
    x, w = m.input(noise(2, 5, 16), ("b", "s", None)), m.constant(noise(16, 12))
    found = [m.node("FusedMatMul", x, w, alpha=0.5), m.node("FusedMatMul", x, m.constant(noise(12, 16)), transB=1)]
    a, b = m.input(noise(3, 4, 5, 6)), m.input(noise(3, 4, 5, 6, seed=1))
    found += [m.node("FusedMatMul", a, b, transA=1, alpha=-0.25), m.node("FusedMatMul", a, b, transB=1)]
    batch = m.input(noise(5, 3, 4, 6, seed=2))  # rows first
    found += [m.node("FusedMatMul", batch, b, transBatchA=1, transB=1), m.node("FusedMatMul", b, batch, transBatchB=1, transB=1)]
    found += [m.node("TransposeMatMul", a, b, transA=1)]
    check(m, *found)


@pytest.mark.parametrize("name, numbers", [("Relu", {}), ("Tanh", {}), ("Sigmoid", {}), ("LeakyRelu", {"alpha": 0.2}),
                                           ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}), ("Elu", {"alpha": 0.7})])
def test_fused_gemm(name, numbers):
    m = Model()
    x, w, bias = m.input(noise(5, 16), ("s", None)), m.constant(noise(12, 16)), m.constant(noise(12))
    attributes = {f"activation_{key}": value for key, value in numbers.items()}
    check(m, m.node("FusedGemm", x, w, bias, transB=1, alpha=0.5, beta=2.0, activation=name, **attributes))


@pytest.mark.parametrize("name, numbers", [("Relu", None), ("Tanh", None), ("Sigmoid", None), ("LeakyRelu", [0.2]),
                                           ("Clip", [-0.5, 0.75]), ("HardSigmoid", [0.3, 0.4])])
def test_fused_convolution(name, numbers):
    m = Model()
    x, w, bias = m.input(noise(1, 4, 9, 10), (None, None, "h", "w")), m.constant(noise(6, 4, 3, 3)), m.constant(noise(6))
    attributes = dict(activation=name, pads=[1, 1, 1, 1], **({"activation_params": numbers} if numbers else {}))
    found = [m.node("FusedConv", x, w, bias, **attributes)]
    found.append(m.node("FusedConv", x, w, bias, m.node("Conv", x, w, domain="", pads=[1, 1, 1, 1]), **attributes))
    check(m, *found)


def test_convolution_with_channels_last():
    m, twin = Model(), Model()
    x, w, bias = m.input(noise(1, 9, 10, 4), (None, "h", "w", None)), noise(6, 3, 3, 4), m.constant(noise(6))
    found = m.node("NhwcConv", x, m.constant(w), bias, pads=[1, 1, 1, 1], strides=[2, 1])
    twin.inputs, twin.values, twin.constants = m.inputs, m.values, m.constants[:]
    turned = twin.node("Transpose", x, domain="", perm=[0, 3, 1, 2])
    y = twin.node("Conv", turned, twin.constant(w.transpose(0, 3, 1, 2)), bias, domain="", pads=[1, 1, 1, 1], strides=[2, 1])
    twin.output(twin.node("Transpose", y, domain="", perm=[0, 2, 3, 1]))
    check(m, found, twin=twin)


@pytest.mark.parametrize("interleaved", [0, 1])
def test_rotary_embedding(interleaved):
    m = Model()
    x, heads = m.input(noise(2, 5, 24), ("b", "s", None)), m.input(noise(2, 3, 5, 8), ("b", None, "s", None))
    tables, half = [m.constant(noise(16, 4, seed=i)) for i in (1, 2)], [m.constant(noise(16, 2, seed=i)) for i in (3, 4)]
    places = m.input(np.random.default_rng(0).integers(0, 16, (2, 5)), ("b", "s"))
    first = m.input(np.array([6]))
    found = [m.node("RotaryEmbedding", data, at, *tables, interleaved=interleaved) for data in (x, heads) for at in (places, first)]
    found.append(m.node("RotaryEmbedding", x, places, *half, interleaved=interleaved, num_heads=3, rotary_embedding_dim=4))
    check(m, *found, ranges={"s": "2..9"})


# --- attention -----------------------------------------------------------------------------------------------------------

FEW = "2..7"  # rows


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
    dims = [None if mask in ("lengths", "ends and starts") or i == 0 else "s" for i in range(array.ndim)] if array is not None else None
    given = m.input(array, dims) if array is not None else None
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
    units = m.constant(np.random.default_rng(0).uniform(0.005, 0.01, 48).astype(np.float32)) if signed else m.constant(np.float32(0.01))
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
        inputs = [m.input(noise(batch, rows, n * size, seed=i, dtype=dtype), (None, s, None)) for i, n in enumerate((heads, key_heads, key_heads))]
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


# --- quantized ops ---------------------------------------------------------------------------------------------------------

BYTES = [np.uint8, np.int8]


def units(m, dtype, *pairs):
    return [m.constant(np.asarray(value, kind)) for scale, zero in pairs for value, kind in ((scale, np.float32), (zero, dtype))]


@pytest.mark.parametrize("dtype", BYTES)
def test_quantized_elementwise_ops(dtype):
    m, middle = Model(), 128 if dtype == np.uint8 else 0
    a, b = m.input(codes(2, 3, 5, dtype=dtype, seed=1), ("b", "s", None)), m.input(codes(5, dtype=dtype, seed=2))
    one = units(m, dtype, (0.02, middle + 3))
    two, out = units(m, dtype, (0.05, middle - 7)), units(m, dtype, (0.06, middle + 9))
    found = [m.node(op, a, *one, b, *two, *out) for op in ("QLinearAdd", "QLinearMul")]
    found += [m.node("QLinearSigmoid", a, *one, *units(m, dtype, (1 / 256, middle - 128))),
              m.node("QLinearLeakyRelu", a, *one, *out, alpha=0.2),
              m.node("QLinearConcat", *out, a, *one, a, *two, axis=1),
              m.node("QLinearSoftmax", a, *one, *units(m, dtype, (1 / 256, middle - 128)), axis=-1, opset=13),
              m.node("QLinearWhere", m.constant(np.array([True, False, True, True, False])), a, *one, b, *two, *out)]
    check(m, *found, tolerance=1, types=[kind(np.zeros(1, dtype))] * len(found), modes=("given", "tight", "dynamic"))


@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("dtype", BYTES)
def test_quantized_pools(dtype, last):
    m, middle = Model(), 128 if dtype == np.uint8 else 0
    x = m.input(codes(2, 7, 8, 3, dtype=dtype) if last else codes(2, 3, 7, 8, dtype=dtype))
    one, out = units(m, dtype, (0.02, middle + 3)), units(m, dtype, (0.015, middle - 5))
    found = [m.node("QLinearAveragePool", x, *one, *out, kernel_shape=[3, 3], strides=[2, 1], pads=[1, 1, 1, 1], channels_last=last),
             m.node("QLinearGlobalAveragePool", x, *one, *out, channels_last=last)]
    check(m, *found, tolerance=1)


@pytest.mark.parametrize("last", [0, 1])
def test_quantized_convolution(last):
    m = Model()
    x = m.input(codes(1, 7, 8, 4) if last else codes(1, 4, 7, 8))
    w = m.constant(codes(6, 4, 3, 3, dtype=np.int8))
    scales = m.constant(np.random.default_rng(0).uniform(0.002, 0.01, 6).astype(np.float32))
    bias = m.constant(np.random.default_rng(1).integers(-2000, 2000, 6).astype(np.int32))
    check(m, m.node("QLinearConv", x, *units(m, np.uint8, (0.02, 131)), w, scales, m.constant(np.zeros(6, np.int8)),
                    *units(m, np.uint8, (0.05, 120)), bias, pads=[1, 1, 1, 1], channels_last=last), tolerance=1)


@pytest.mark.parametrize("turned", [0, 1])
def test_quantized_gemm(turned):
    m = Model()
    a, b = m.input(codes(5, 16), ("s", None)), m.constant(codes(12, 16, dtype=np.int8) if turned else codes(16, 12, dtype=np.int8))
    bias = m.constant(np.random.default_rng(1).integers(-2000, 2000, 12).astype(np.int32))
    scales = m.constant(np.random.default_rng(0).uniform(0.002, 0.01, 12).astype(np.float32))
    inputs = [a, *units(m, np.uint8, (0.02, 131)), b, scales, m.constant(np.zeros(12, np.int8)), bias]
    found = [m.node("QGemm", *inputs, transB=turned, alpha=0.5), m.node("QGemm", *inputs, *units(m, np.uint8, (0.1, 120)), transB=turned)]
    m.output(*found, types=(TensorProto.FLOAT, TensorProto.UINT8))
    want, got = m.reference(), m.run()
    compare(got[found[0]], want[found[0]], 1e-6)
    compare(got[found[1]], want[found[1]], 1)


@pytest.mark.parametrize("dtype", BYTES)
def test_products_of_dynamically_quantized_inputs(dtype):
    m = Model()
    x, w = m.input(noise(2, 5, 16), ("b", "s", None)), m.constant(codes(16, 12, dtype=dtype))
    scale, zero, bias = (m.constant(v) for v in (np.full(12, 0.01, np.float32), np.full(12, 3, dtype), noise(12)))
    one, single = m.constant(np.float32(0.02)), m.constant(dtype(5))
    found = [m.node("DynamicQuantizeMatMul", x, w, one, single), m.node("DynamicQuantizeMatMul", x, w, scale, zero, bias),
             m.node("DynamicQuantizeMatMul", x, w, one)]
    a = m.input(codes(2, 5, 16, dtype=np.uint8, seed=4), ("b", "s", None))
    found += [m.node("MatMulIntegerToFloat", a, w, one, scale, m.constant(np.uint8(120)), zero, bias),
              m.node("MatMulIntegerToFloat", a, w, one, one)]
    check(m, *found, tolerance=1e-5)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.uint8, np.int8])
def test_quantize_and_dequantize(dtype):
    m = Model()
    x, info = m.input(noise(2, 3, 5) * 40, ("b", None, "s")), np.iinfo(dtype)
    zero = (info.min + info.max) // 2
    q = m.node("QuantizeLinear", x, *units(m, dtype, (0.02 if dtype(0).itemsize == 2 else 0.9, zero)))
    rows = [m.constant(np.array([0.5, 0.25, 1], np.float32)), m.constant(np.array([zero, zero + 1, zero - 1], dtype))]
    other = m.node("QuantizeLinear", x, *rows, axis=1)
    found = [q, other, m.node("DequantizeLinear", other, *rows, axis=1), m.node("DequantizeLinear", q, *units(m, dtype, (0.02, zero)))]
    number = kind(np.zeros(1, dtype))
    check(m, *found, types=[number, number, TensorProto.FLOAT, TensorProto.FLOAT])


@pytest.mark.parametrize("bits, block, rows, zeros", [
    (bits, block, rows, zeros) for bits, block, rows in [(4, 16, 48), (4, 32, 80), (8, 32, 80), (2, 16, 48)]
    for zeros in ["none", "packed"] + ["floats"] * (bits != 8)])  # for 8 bits ONNX Runtime has no kernel
def test_products_with_weights_of_few_bits(bits, block, rows, zeros):
    m, columns = Model(), 24
    blocks = -(-rows // block)
    x = m.input(noise(2, 5, rows), ("b", "s", None))
    w = m.constant(codes(columns, blocks, block * bits // 8))
    scales = m.constant(np.random.default_rng(1).uniform(0.01, 0.1, (columns, blocks)).astype(np.float32))
    zero = {"none": None, "packed": codes(columns, -(-blocks * bits // 8), seed=2),
            "floats": np.random.default_rng(2).uniform(0, 1 << bits, (columns, blocks)).astype(np.float32)}[zeros]
    attributes = dict(K=rows, N=columns, bits=bits, block_size=block)
    zero = zero if zero is None else m.constant(zero)
    found = [m.node("MatMulNBits", x, w, scales, zero, **attributes)]
    if zeros != "floats":  # ONNX Runtime has no kernel for both
        found.append(m.node("MatMulNBits", x, w, scales, zero, None, m.constant(noise(columns)), **attributes))
    check(m, *found, tolerance=1e-5)


def test_products_with_groups_of_rows():
    m, rows, columns, block = Model(), 48, 8, 16
    x, w = m.input(noise(5, rows), ("s", None)), m.constant(codes(columns, 3, 8))
    scales = m.constant(np.random.default_rng(1).uniform(0.01, 0.1, (columns, 3)).astype(np.float32))
    groups = m.constant(np.random.default_rng(2).integers(0, 3, rows).astype(np.int32))
    check(m, m.node("MatMulNBits", x, w, scales, None, groups, K=rows, N=columns, bits=4, block_size=block), tolerance=1e-5)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("zeros", [False, True])
def test_rows_of_quantized_tables(bits, zeros):
    m, table, width, block = Model(), 20, 64, 16
    rows = m.input(np.random.default_rng(0).integers(0, table, (2, 5)), ("b", "s"))
    data = m.constant(codes(table, width * bits // 8))
    scales = m.constant(np.random.default_rng(1).uniform(0.01, 0.1, (table, width // block)).astype(np.float32))
    zero = m.constant(codes(table, width // block * bits // 8, seed=3)) if zeros else None
    check(m, m.node("GatherBlockQuantized", data, rows, scales, zero, bits=bits, block_size=block, gather_axis=0, quantize_axis=1))


def test_dynamically_quantized_lstm():
    m, hidden, width = Model(), 8, 6
    x = m.input(noise(7, 2, width))
    w, r = (m.constant(codes(1, n, 4 * hidden, dtype=np.int8, seed=n)) for n in (width, hidden))
    unit, zero = m.constant(np.full((1, 4 * hidden), 0.008, np.float32)), m.constant(np.zeros((1, 4 * hidden), np.int8))
    bias = m.constant(noise(1, 8 * hidden))
    found = m.node("DynamicQuantizeLSTM", x, w, r, bias, None, None, None, None, unit, zero, unit, zero, outputs=3, hidden_size=hidden)
    check(m, *found, tolerance=2e-2)  # ONNX Runtime rounds inputs and states to 8 bits
