# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Element types where they are hard: the ends of integers, every code of the narrow floats, what lies between two."""
import pathlib
import sys

import ml_dtypes
import numpy as np
import onnx
import onnx.reference
import pytest
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "python"))
import snug  # noqa: E402
import snug.compiler  # noqa: E402

OPSET = 25
INTEGERS = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]
FLOAT8 = [ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e4m3fnuz, ml_dtypes.float8_e5m2, ml_dtypes.float8_e5m2fnuz]
PACKED = [ml_dtypes.int4, ml_dtypes.uint4, ml_dtypes.int2, ml_dtypes.uint2, ml_dtypes.float4_e2m1fn]
NARROW = [*FLOAT8, *PACKED, ml_dtypes.float8_e8m0fnu]
BITS = {"4": 4, "2": 2}


def kind(dtype):
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


class Program:
    """Nodes over given arrays, compiled and run by Snug; `reference` is what ONNX's evaluator makes of them."""

    def __init__(self, constants=None, **inputs):
        self.inputs, self.constants, self.nodes, self.outputs = inputs, constants or {}, [], []

    def node(self, op, *inputs, dtype, rank=1, **attributes):
        name = f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        self.outputs.append(helper.make_tensor_value_info(name, kind(dtype), [None] * rank))
        return name

    def model(self):
        inputs = [helper.make_tensor_value_info(n, kind(a.dtype), a.shape) for n, a in self.inputs.items()]
        constants = [numpy_helper.from_array(a, n) for n, a in self.constants.items()]
        graph = helper.make_graph(self.nodes, "types", inputs, self.outputs, constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])

    def run(self, tmp_path):
        snug.compiler.compile("-o", str(tmp_path / "model.so"), model=self.model().SerializeToString())
        return list(snug.load(tmp_path / "model.so")(**self.inputs).values())

    def reference(self):
        with np.errstate(all="ignore"):
            return onnx.reference.ReferenceEvaluator(self.model()).run(None, self.inputs)

    def check(self, tmp_path):
        for output, got, want in zip(self.outputs, self.run(tmp_path), self.reference()):
            assert got.dtype == want.dtype and got.shape == want.shape, output.name
            same = np.array_equal(wide(got), wide(want), equal_nan=True)
            assert same, (output.name, wide(got)[wide(got) != wide(want)], wide(want)[wide(got) != wide(want)])


def wide(array):
    return array if array.dtype.kind in "iub" else array.astype(np.float64)


def ends(dtype):
    info = np.iinfo(dtype)
    return np.unique(np.array([info.min, info.min + 1, info.max // 2, info.max // 2 + 1, info.max - 1, info.max, 0, 1, 2, 3, 7],
                              dtype))


@pytest.mark.parametrize("dtype", INTEGERS, ids=lambda t: t.__name__)
@pytest.mark.parametrize("constant", [False, True])
def test_the_ends_of_integers(dtype, constant, tmp_path):
    x, y = (a.ravel() for a in np.meshgrid(ends(dtype), ends(dtype)))
    held = {"x": x, "y": y, "positive": np.maximum(y, dtype(1)), "low": dtype(3), "high": dtype(100),
            "matrix": x.reshape(11, -1) if x.size % 11 == 0 else x.reshape(1, -1)}
    held = {name: np.asarray(array) for name, array in held.items()}
    program = Program(held, **{"unused": np.zeros(1, np.float32)}) if constant else Program(**held)
    for op in ("Add", "Sub", "Mul", "Max", "Min"):
        program.node(op, "x", "y", dtype=dtype)
    for op in ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"):
        program.node(op, "x", "y", dtype=bool)
    program.node("Mod", "x", "positive", dtype=dtype)
    if dtype in (np.uint8, np.uint16, np.uint32, np.uint64):
        program.node("Div", "x", "positive", dtype=dtype) # the evaluator's floors, ONNX's truncates
        program.node("BitShift", "x", "low", dtype=dtype, direction="RIGHT")
        program.node("BitShift", "x", "low", dtype=dtype, direction="LEFT")
    program.node("Clip", "x", "low", "high", dtype=dtype)
    program.node("Sign", "x", dtype=dtype)
    program.node("Where", program.node("Less", "x", "y", dtype=bool), "x", "y", dtype=dtype)
    if dtype not in (np.int16, np.uint16): # the standard has no others
        program.node("ReduceMax", "matrix", dtype=dtype, keepdims=0, rank=0)
        program.node("ReduceMin", "matrix", dtype=dtype, keepdims=0, rank=0)
    program.node("ArgMax", "matrix", dtype=np.int64, axis=1, rank=2)
    for other in (*INTEGERS, np.float32, np.float64, bool):
        program.node("Cast", "x", dtype=other, to=kind(other))
    program.check(tmp_path)


def codes(dtype):
    bits = next((width for digit, width in BITS.items() if np.dtype(dtype).name in (f"int{digit}", f"uint{digit}")), 8)
    bits = 4 if dtype == ml_dtypes.float4_e2m1fn else bits
    return np.arange(1 << bits, dtype=np.uint8).view(dtype)


@pytest.mark.parametrize("dtype", NARROW, ids=lambda t: t.__name__)
@pytest.mark.parametrize("constant", [False, True])
def test_every_code_is_read_right(dtype, constant, tmp_path):
    held = {"x": codes(dtype)}
    program = Program(held, unused=np.zeros(1, np.float32)) if constant else Program(**held)
    for other in (np.float32, np.float16, np.float64):
        program.node("Cast", "x", dtype=other, to=kind(other))
    program.node("Identity", "x", dtype=dtype)
    program.node("Reshape", "x", program_constant(program, [2, -1]), dtype=dtype, rank=2)
    program.check(tmp_path)


def program_constant(program, value):
    name = f"constant{len(program.constants)}"
    program.constants[name] = np.array(value)
    return name


def between(dtype):
    """All numbers of the type, the middles of neighbours, what is next to these, and what is beyond."""
    numbers = codes(dtype).astype(np.float32)
    numbers = np.unique(numbers[np.isfinite(numbers)])
    middles = (numbers[1:] + numbers[:-1]) / 2
    # Powers of two have no sign.
    beyond = np.array([464, 465, 480, 1e6, 61440, 61441, 1e-9, 1e-45, 3.4e38, np.inf, np.nan], np.float32)
    found = [numbers, middles, np.nextafter(middles, np.float32(np.inf)), np.nextafter(middles, np.float32(-np.inf)), beyond]
    signed = dtype not in (ml_dtypes.float8_e8m0fnu, ml_dtypes.uint4, ml_dtypes.uint2)
    return np.concatenate(found + [-beyond] * signed).astype(np.float32)


@pytest.mark.parametrize("dtype", [*FLOAT8, ml_dtypes.float4_e2m1fn], ids=lambda t: t.__name__)
def test_narrow_floats_are_rounded_to_nearest_even(dtype, tmp_path):
    x = between(dtype)
    program = Program(x=x, half=x[np.abs(x) < 60000].astype(np.float16))
    for name in ("x", "half"):
        program.node("Cast", name, dtype=dtype, to=kind(dtype))
        program.node("Cast", name, dtype=dtype, to=kind(dtype), saturate=0)
    sources = [program.inputs[name] for name in ("x", "x", "half", "half")]
    for source, got, want in zip(sources, program.run(tmp_path), program.reference()):
        assert np.array_equal(wide(got), wide(want), equal_nan=True)
        numbers = ~np.isnan(source) & ~np.isnan(wide(got))
        assert np.array_equal(np.signbit(wide(got)[numbers]), np.signbit(wide(want)[numbers]))


@pytest.mark.parametrize("dtype", [*FLOAT8, ml_dtypes.float4_e2m1fn], ids=lambda t: t.__name__)
def test_doubles_are_rounded_once(dtype, tmp_path):
    numbers = np.unique(codes(dtype).astype(np.float32))
    numbers = numbers[np.isfinite(numbers)]
    x = np.concatenate([numbers, (numbers[1:] + numbers[:-1]) / 2])
    # What lies just above a number goes where the next f32 does; by way of f32 it would be a middle that it is not.
    program = Program(double=np.nextafter(x.astype(np.float64), np.inf), single=np.nextafter(x, np.float32(np.inf)))
    for name in ("double", "single"):
        program.node("Cast", name, dtype=dtype, to=kind(dtype))
    double, single = program.run(tmp_path)
    assert np.array_equal(wide(double), wide(single))


def test_powers_of_two_are_rounded_as_said(tmp_path):
    program = Program(x=np.abs(between(ml_dtypes.float8_e8m0fnu)))
    for mode in ("up", "down", "nearest"):
        for saturate in (0, 1):
            program.node("Cast", "x", dtype=ml_dtypes.float8_e8m0fnu, to=TensorProto.FLOAT8E8M0, round_mode=mode, saturate=saturate)
    program.check(tmp_path)


@pytest.mark.parametrize("dtype", PACKED[:4], ids=lambda t: t.__name__)
def test_integers_of_less_than_a_byte_wrap_around(dtype, tmp_path):
    program = Program(x=np.arange(-40, 40, dtype=np.int32), y=np.arange(-40, 40, dtype=np.float32) + np.float32(0.5))
    program.node("Cast", "x", dtype=dtype, to=kind(dtype))
    program.node("Cast", "y", dtype=dtype, to=kind(dtype))
    program.check(tmp_path)


@pytest.mark.parametrize("dtype", PACKED, ids=lambda t: t.__name__)
def test_packed_weights_are_unpacked(dtype, tmp_path):
    # An odd number of elements, too large to be held by value; beside it steps of a recipe.
    weight = codes(dtype)[np.random.default_rng(1).integers(0, len(codes(dtype)), (601, 83))]
    program = Program({"weight": weight}, unused=np.zeros(1, np.float32))
    turned = program.node("Transpose", "weight", dtype=dtype, rank=2)
    program.node("Cast", turned, dtype=np.float32, to=TensorProto.FLOAT, rank=2)
    path = tmp_path / "model.onnx"
    onnx.save(program.model(), path, save_as_external_data=True, location="weights", size_threshold=0)
    snug.compiler.compile(str(path), "-o", str(tmp_path / "model.so"))
    got = snug.load(tmp_path / "model.so")(**program.inputs)
    assert np.array_equal(wide(got[turned]), wide(weight.T))
    assert np.array_equal(got[program.outputs[1].name], weight.T.astype(np.float32))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, *PACKED[:4]], ids=lambda t: t.__name__)
def test_blocks_of_a_quantized_tensor(dtype, tmp_path):
    random = np.random.default_rng(2)
    info = ml_dtypes.iinfo(dtype)
    x = random.uniform(info.min * 1.5 - 3, info.max * 1.5 + 3, (3, 11, 2)).astype(np.float32)
    for axis, scale, block in ((1, (3, 3, 2), 4), (2, (3, 11, 1), 2), (1, (11,), 0), (0, (), 0)):
        scale = random.uniform(0.5, 1.5, scale).astype(np.float32)
        zero = random.integers(int(info.min) // 2, int(info.max) // 2 + 1, scale.shape).astype(dtype)
        program = Program(x=x, scale=scale, zero=zero)
        extra = {"block_size": block} if block else {}
        q = program.node("QuantizeLinear", "x", "scale", "zero", dtype=dtype, rank=3, axis=axis, **extra)
        program.node("DequantizeLinear", q, "scale", "zero", dtype=np.float32, rank=3, axis=axis, **extra)
        program.check(tmp_path)


def test_integer_products_are_exact(tmp_path):
    random = np.random.default_rng(3)
    a, b = random.integers(0, 256, (5, 700), np.uint8), random.integers(-128, 128, (700, 9), np.int8)
    program = Program({"b": b}, a=a, row=np.arange(5, dtype=np.uint8), column=np.arange(9, dtype=np.int8))
    program.node("MatMulInteger", "a", "b", "row", "column", dtype=np.int32, rank=2)
    wide_a, wide_b = a.astype(np.int64) - np.arange(5)[:, None], b.astype(np.int64) - np.arange(9)
    assert np.array_equal(program.run(tmp_path)[0], wide_a @ wide_b)


def test_a_wrong_type_is_one_answer(tmp_path):
    for inputs, words in (({"x": np.zeros(3, np.float32), "y": np.zeros(3, np.int32)}, ["Add_0", "float32 and int32", "cast one"]),
                          ({"x": np.zeros(3, ml_dtypes.float8_e5m2), "y": np.zeros(3, ml_dtypes.float8_e5m2)},
                           ["Add_0", "float8e5m2", "float32", "cast it"])):
        program = Program(**inputs)
        program.node("Add", "x", "y", dtype=np.float32)
        code, _, messages = snug.compiler.run("--check", model=program.model().SerializeToString())
        assert code == 3 and all(word in messages for word in words), messages


def test_reductions_of_integers(tmp_path):
    """Means are cut off towards 0, roots and logarithms to whole numbers, as ONNX Runtime does."""
    a = np.random.default_rng(0).integers(-50, 50, (3, 40)).astype(np.int32)
    u = np.random.default_rng(1).integers(1, 50, (3, 40)).astype(np.uint64)
    program = Program({"axes": np.array([1])}, a=a, u=u)
    for name, dtype in (("a", np.int32), ("u", np.uint64)):
        for op in ("ReduceMean", "ReduceL2"):
            program.node(op, name, "axes", dtype=dtype, keepdims=0)
    for op in ("ReduceLogSum", "ReduceLogSumExp"):
        program.node(op, "u", "axes", dtype=np.uint64, keepdims=0)
    wide, natural = a.astype(np.float64), u.astype(np.float64)
    wants = [np.trunc(wide.mean(1)), np.floor(np.sqrt((wide**2).sum(1))), np.floor(natural.mean(1)),
             np.floor(np.sqrt((natural**2).sum(1))), np.floor(np.log(natural.sum(1))), np.floor(np.log(np.exp(natural).sum(1)))]
    for output, got, want in zip(program.outputs, program.run(tmp_path), wants):
        assert np.array_equal(got, want.astype(got.dtype)), (output.name, got, want)


@pytest.mark.parametrize("dtype", [np.int32, np.uint64, np.int64], ids=lambda t: t.__name__)
def test_gemm_of_integers(dtype, tmp_path):
    a, b, c = (np.random.default_rng(i).integers(0, 50, shape).astype(dtype) for i, shape in enumerate([(5, 7), (6, 7), (6,)]))
    program = Program(a=a, b=b, c=c)
    program.node("Gemm", "a", "b", "c", dtype=dtype, rank=2, transB=1)
    program.node("Gemm", "a", "b", "c", dtype=dtype, rank=2, transB=1, alpha=2.0, beta=3.0)
    whole, scaled = program.run(tmp_path)
    assert np.array_equal(whole, a @ b.T + c) and np.array_equal(scaled, 2 * (a @ b.T) + 3 * c)
