# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Small models as ONNX Runtime's tools leave them: fused by its optimizer, quantized by its quantizer, or written in the form of
its builder of language models. Each is compared with ONNX Runtime on the same file."""
import collections
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

import backend
import snug
import snug.compiler
from contrib import CONTRIB, GraphBuilder

# A value that lies just between two codes may become either of them, by the order in which sums are taken: results of
# quantized models agree as far as one code in some places does.
EXACT, CODES = 1e-5, 2e-2


class Net(GraphBuilder):
    def __init__(self, seed=0):
        super().__init__()
        self.random = np.random.default_rng(seed)

    def input(self, name, shape, kind=TensorProto.FLOAT):
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def weight(self, *shape, scale=None):
        scale = scale or 1 / np.sqrt(np.prod(shape[1:]) if len(shape) > 2 else shape[0])
        return self.constant((self.random.standard_normal(shape) * scale).astype(np.float32))

    def save(self, path, *outputs):
        self.outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        return super().save(path, opset=17)


def ops_of(path):
    return collections.Counter(node.op_type for node in onnx.load(path).graph.node)


def session(path, level=onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL, saved=None):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level, options.log_severity_level = level, 3
    if saved:
        options.optimized_model_filepath = str(saved)
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def optimized(path, level=onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED):
    """What ONNX Runtime's own optimizer makes of a model."""
    saved = path.with_suffix(".optimized.onnx")
    session(path, level, saved)
    return saved


def check(path, tolerance, inputs, **dims):
    reference = session(path)
    names = [output.name for output in reference.get_outputs()]
    want = dict(zip(names, reference.run(names, inputs)))
    for tight in (False, True):
        got = backend.compile_model(path.read_bytes(), tuple(dims.items()), (), tight=tight)(**inputs)
        for name in names:
            assert got[name].shape == want[name].shape and got[name].dtype == want[name].dtype
            error = np.linalg.norm(got[name].astype(np.float64) - want[name]) / np.linalg.norm(want[name].astype(np.float64))
            assert error <= tolerance, (name, error)


# --- an image classifier -------------------------------------------------------------------------------------------------

def image(seed=0):
    return {"image": np.random.default_rng(seed).standard_normal((2, 3, 16, 16)).astype(np.float32)}


def classifier(path):
    net = Net()
    x = net.input("image", ["batch", 3, 16, 16])
    x = net.node("Relu", net.node("Conv", x, net.weight(8, 3, 3, 3), net.weight(8, scale=0.1), pads=[1, 1, 1, 1]))
    y = net.node("LeakyRelu", net.node("Conv", x, net.weight(8, 8, 3, 3), net.weight(8, scale=0.1), pads=[1, 1, 1, 1]), alpha=0.1)
    x = net.node("AveragePool", net.node("Add", x, y), kernel_shape=[2, 2], strides=[2, 2])
    x = net.node("Mul", x, net.node("Sigmoid", net.node("Conv", x, net.weight(8, 8, 1, 1))))
    x = net.node("Concat", x, net.node("MaxPool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1]), axis=1)
    x = net.node("Flatten", net.node("GlobalAveragePool", x))
    x = net.node("Softmax", net.node("Gemm", x, net.weight(16, 10), net.weight(10, scale=0.1)), axis=-1)
    return net.save(path, x)


class Images(CalibrationDataReader):
    def __init__(self):
        self.rest = [image(seed) for seed in range(4)]

    def get_next(self):
        return self.rest.pop() if self.rest else None


def test_fused_convolutions(tmp_path):
    path = optimized(classifier(tmp_path / "net.onnx"))
    assert ops_of(path)["FusedConv"] >= 2
    check(path, EXACT, image(9), batch="1..4")


@pytest.mark.parametrize("weights", [QuantType.QInt8, QuantType.QUInt8])
@pytest.mark.parametrize("form", [QuantFormat.QDQ, QuantFormat.QOperator])
def test_quantized_classifier(form, weights, tmp_path):
    path = tmp_path / "quantized.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantize_static(classifier(tmp_path / "net.onnx"), path, Images(), quant_format=form, weight_type=weights,
                        activation_type=QuantType.QUInt8, per_channel=weights == QuantType.QInt8)
    found = ops_of(path)
    assert found["QLinearAdd"] and found["QLinearConv"] if form == QuantFormat.QOperator else found["DequantizeLinear"] > 10
    check(path, CODES, image(9), batch="1..4")
    if form == QuantFormat.QDQ:
        check(optimized(path), CODES, image(9), batch="1..4")


def test_quantized_classifier_of_16_bits(tmp_path):
    path = tmp_path / "quantized.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantize_static(classifier(tmp_path / "net.onnx"), path, Images(), quant_format=QuantFormat.QDQ,
                        weight_type=QuantType.QInt8, activation_type=QuantType.QUInt16,
                        extra_options={"UseQDQContribOps": True})
    assert CONTRIB in {node.domain for node in onnx.load(path).graph.node if node.op_type == "QuantizeLinear"}
    check(path, 1e-3, image(9), batch="1..4")  # finer codes


# --- transformers --------------------------------------------------------------------------------------------------------

HIDDEN, HEADS = 32, 4


def fused_encoder(path, layers=2):
    """As onnxruntime.transformers.optimizer leaves an encoder."""
    net = Net()
    ids, segments, mask = (net.input(name, ["batch", "seq"], TensorProto.INT32) for name in ("ids", "segments", "mask"))
    tables = [net.weight(*shape, scale=0.5) for shape in ((50, HIDDEN), (40, HIDDEN), (2, HIDDEN))]
    scale = lambda: net.constant((1 + 0.1 * net.random.standard_normal(HIDDEN)).astype(np.float32))  # noqa: E731
    shift = lambda n=HIDDEN: net.weight(n, scale=0.1)  # noqa: E731
    x, lengths = net.node("EmbedLayerNormalization", ids, segments, *tables, scale(), shift(), mask, domain=CONTRIB, outputs=2)
    for layer in range(layers):
        y = net.node("Attention", x, net.weight(HIDDEN, 3 * HIDDEN), shift(3 * HIDDEN), lengths if layer else mask, domain=CONTRIB,
                     num_heads=HEADS)
        y = net.node("MatMul", y, net.weight(HIDDEN, HIDDEN))
        x = net.node("SkipLayerNormalization", y, x, scale(), shift(), shift(), domain=CONTRIB)
        y = net.node("BiasGelu", net.node("MatMul", x, net.weight(HIDDEN, 64)), shift(64), domain=CONTRIB)
        x = net.node("SkipLayerNormalization", net.node("MatMul", y, net.weight(64, HIDDEN)), x, scale(), shift(), shift(),
                     domain=CONTRIB)
    return net.save(path, x)


def words():
    ids = np.random.default_rng(0).integers(0, 50, (2, 11)).astype(np.int32)
    mask = (np.arange(11) < [[11], [7]]).astype(np.int32)
    return {"ids": ids, "segments": ids % 2, "mask": mask}


def test_fused_encoder(tmp_path):
    check(fused_encoder(tmp_path / "net.onnx"), EXACT, words(), batch="1..3", seq="4..16")


def test_dynamically_quantized_encoder(tmp_path):
    path = tmp_path / "quantized.onnx"
    quantize_dynamic(fused_encoder(tmp_path / "net.onnx"), path, weight_type=QuantType.QInt8,
                     extra_options={"DefaultTensorType": TensorProto.FLOAT})
    assert {"QAttention", "MatMulInteger", "DynamicQuantizeLinear"} <= set(ops_of(path))
    check(path, CODES, words(), batch="1..3", seq="4..16")
    fused = optimized(path)
    assert ops_of(fused)["DynamicQuantizeMatMul"] or ops_of(fused)["MatMulIntegerToFloat"]
    check(fused, CODES, words(), batch="1..3", seq="4..16")


def plain_encoder(path):
    """Of standard ops, for the optimizer of a session."""
    net = Net()
    x = net.input("x", ["batch", "seq", HIDDEN])
    scale, shift = net.constant(np.ones(HIDDEN, np.float32)), net.weight(HIDDEN, scale=0.1)
    for _ in range(2):
        y = net.node("MatMul", x, net.weight(HIDDEN, 64))
        y = net.node("Add", y, net.weight(64, scale=0.1))
        half = net.node("Mul", y, net.constant(np.float32(0.5)))
        erf = net.node("Erf", net.node("Div", y, net.constant(np.float32(np.sqrt(2)))))
        y = net.node("Mul", half, net.node("Add", erf, net.constant(np.float32(1))))
        y = net.node("Add", net.node("Add", net.node("MatMul", y, net.weight(64, HIDDEN)), net.weight(HIDDEN, scale=0.1)), x)
        x = net.node("LayerNormalization", y, scale, shift, axis=-1, epsilon=1e-5)
        turned = net.node("Transpose", x, perm=[0, 2, 1])
        y = net.node("MatMul", net.node("Mul", net.node("MatMul", x, turned), net.constant(np.float32(0.2))), x)
        x = net.node("Mul", y, net.node("Sigmoid", net.node("Mul", y, net.constant(np.float32(1.702)))))
    return net.save(path, x)


def test_encoder_that_a_session_optimizes(tmp_path):
    path = optimized(plain_encoder(tmp_path / "net.onnx"))
    found = set(ops_of(path))
    assert {"BiasGelu", "SkipLayerNormalization", "FusedMatMul", "QuickGelu"} <= found, found
    x = np.random.default_rng(0).standard_normal((2, 9, HIDDEN)).astype(np.float32)
    check(path, EXACT, {"x": x}, batch="1..3", seq="4..16")


def language_model(path, bits, layers=2, size=16, key_heads=2):
    """As onnxruntime-genai's builder writes one: weights of few bits, caches that are filled in place."""
    net = Net()
    width, wide, vocabulary, block = HEADS * size, (HEADS + 2 * key_heads) * size, 60, 32
    ids = net.input("input_ids", ["batch", "seq"], TensorProto.INT64)
    mask = net.input("attention_mask", ["batch", "total"], TensorProto.INT64)
    caches = [[net.input(f"past_key_values.{i}.{what}", ["batch", key_heads, "past", size]) for what in ("key", "value")]
              for i in range(layers)]
    one, zero = net.constant(np.int64([1])), net.constant(np.int64(1))
    last = net.node("Cast", net.node("Sub", net.node("ReduceSum", mask, one, keepdims=0), one), to=TensorProto.INT32)
    total = net.node("Cast", net.node("Gather", net.node("Shape", mask), zero, axis=0), to=TensorProto.INT32)
    angles = np.arange(32)[:, None] / 100 ** (np.arange(size // 2) / (size // 2))
    tables = [net.constant(np.cos(angles).astype(np.float32)), net.constant(np.sin(angles).astype(np.float32))]

    def product(x, rows, columns):
        blocks = -(-rows // block)
        codes = net.constant(net.random.integers(0, 256, (columns, blocks, block * bits // 8)).astype(np.uint8))
        scales = net.random.uniform(0.5, 1.5, (columns, blocks)) / np.sqrt(rows) / (1 << (bits - 2))
        scales = net.constant(scales.astype(np.float32))
        return net.node("MatMulNBits", x, codes, scales, domain=CONTRIB, K=rows, N=columns, bits=bits, block_size=block)

    def scale():
        return net.constant((1 + 0.1 * net.random.standard_normal(width)).astype(np.float32))

    x = net.node("Gather", net.weight(vocabulary, width, scale=1), ids)
    y, outputs = net.node("SimplifiedLayerNormalization", x, scale(), axis=-1, epsilon=1e-5, stash_type=1), []
    for key, value in caches:
        attended, present_key, present_value = net.node(
            "GroupQueryAttention", product(y, width, wide), None, None, key, value, last, total, *tables, domain=CONTRIB, outputs=3,
            num_heads=HEADS, kv_num_heads=key_heads, do_rotary=1)
        outputs += [present_key, present_value]
        y, x = skip(net, product(attended, width, width), x, scale())
        gate, up = product(y, width, 96), product(y, width, 96)
        y = net.node("Mul", net.node("Mul", gate, net.node("Sigmoid", gate)), up)
        y, x = skip(net, product(y, 96, width), x, scale())
    return net.save(path, product(y, width, vocabulary), *outputs)


def skip(net, x, residual, scale):
    y, _, _, total = net.node("SkipSimplifiedLayerNormalization", x, residual, scale, domain=CONTRIB, outputs=4, epsilon=1e-5)
    return y, total


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("rows, past", [(6, 0), (1, 7)])
def test_language_model(bits, rows, past, tmp_path):
    path, random = language_model(tmp_path / "net.onnx", bits), np.random.default_rng(1)
    inputs = {"input_ids": random.integers(0, 60, (2, rows)), "attention_mask": np.ones((2, past + rows), np.int64)}
    for layer in range(2):
        for what in ("key", "value"):
            inputs[f"past_key_values.{layer}.{what}"] = random.standard_normal((2, 2, past, 16)).astype(np.float32)
    dims = {"seq": str(rows), "total": f"past + {rows}", "past": "0..16" if past else "0"}
    check(path, EXACT, inputs, batch="1..2", **dims)
