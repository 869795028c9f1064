# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Single ops, against ONNX Runtime. A family's cases stand side by side in one model, an output each."""
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import snug

OPSET = 20


def noise(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


class Graph:
    """Collects nodes, inputs with their dims' names, and constants."""

    def __init__(self):
        self.nodes, self.inputs, self.constants, self.outputs, self.values = [], [], [], [], {}

    def input(self, name, value, dims=None):
        value = np.asarray(value)
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        self.inputs.append(helper.make_tensor_value_info(name, kind, dims or value.shape))
        self.values[name] = value
        return name

    def constant(self, value):
        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, op, *inputs, outputs=1, **attributes):
        names = [f"{op}{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, name=names[0], **attributes))
        return names[0] if outputs == 1 else names

    def output(self, name, rank, kind=TensorProto.FLOAT):
        self.outputs.append(helper.make_tensor_value_info(name, kind, [None] * rank))

    def save(self, path):
        graph = helper.make_graph(self.nodes, "ops", self.inputs, self.outputs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
        onnx.save(model, path)
        return path


def check(graph, tmp_path, dims=None, tolerance=1e-6):
    model = graph.save(tmp_path / "ops.onnx")
    snug.compile_model(model, tmp_path / "ops.so", dims or {})
    run(graph, model, tmp_path, tolerance)


def run(graph, model, tmp_path, tolerance=1e-6):
    want = snug.reference(model, graph.values)
    got, _ = snug.run_model(tmp_path / "ops.so", graph.values)
    for name, value in want.items():
        if value.dtype == np.float32:
            assert snug.relative_error(got[name], value) <= tolerance, name
        else:
            assert got[name].shape == value.shape and np.array_equal(got[name], value), name


EINSUMS = [
    ("ij,jk->ik", (3, 4), (4, 5)),
    ("ij,jk", (3, 4), (4, 5)),                        # classic form: the output is implied
    ("...qc,...kc->...qk", (2, 3, 7, 8), (2, 3, 9, 8)),
    ("...hqk,...hkc->...qhc", (2, 3, 5, 6), (2, 3, 6, 4)),
    ("...ij,jk->...ik", (2, 3, 4), (4, 5)),           # an ellipsis that the other operand lacks
    ("b...,b...->b...", (2, 1, 4), (2, 3, 4)),        # broadcast inside of it
    ("bhid,bhjd->bhij", (2, 3, 5, 4), (2, 3, 6, 4)),
    ("ijk,kjl->il", (3, 4, 5), (5, 4, 6)),            # two summed labels, in different orders
    ("ijk,jkl->li", (3, 4, 5), (4, 5, 6)),
    ("i,j->ij", (3,), (4,)),
    ("i,i->", (5,), (5,)),
    ("ij,ij->i", (3, 4), (3, 4)),
    ("ij,j->i", (3, 4), (4,)),
    ("ij,kl->ik", (3, 4), (5, 6)),                    # labels of one operand alone are summed there
    ("ii->i", (4, 4)),
    ("ii->", (4, 4)),
    ("iij,jk->ik", (3, 3, 4), (4, 5)),
    ("ijk->kij", (2, 3, 4)),
    ("ijk->j", (2, 3, 4)),
    ("...i->...", (2, 3, 4)),
    ("ij,jk,kl->il", (3, 4), (4, 5), (5, 6)),
    ("bn,anm,bm->ba", (2, 3), (4, 3, 5), (2, 5)),
    ("ij,jk->ik", (3, 1), (4, 5)),                    # an extent of 1 of a summed label is broadcast
]


def test_einsum(tmp_path):
    graph = Graph()
    for number, (equation, *shapes) in enumerate(EINSUMS):
        names = [graph.input(f"x{number}_{i}", noise(*shape, seed=i)) for i, shape in enumerate(shapes)]
        result = graph.node("Einsum", *names, equation=equation)
        graph.output(result, np.einsum(equation, *(graph.values[name] for name in names)).ndim)
    check(graph, tmp_path)


def test_einsum_of_weights_and_integers(tmp_path):
    graph = Graph()
    x = graph.input("x", noise(2, 5, 48))
    w, heads = graph.constant(noise(48, 40)), graph.constant(noise(48, 4, 40))
    graph.output(graph.node("Einsum", x, w, equation="bsc,cd->bsd"), 3)
    graph.output(graph.node("Einsum", w, x, equation="cd,bsc->sbd"), 3)
    graph.output(graph.node("Einsum", x, heads, equation="bsc,chd->bhsd"), 4)
    i = graph.input("i", np.arange(12, dtype=np.int64).reshape(3, 4))
    graph.output(graph.node("Einsum", i, i, equation="ij,kj->ik"), 2, TensorProto.INT64)
    check(graph, tmp_path)


# (input, weight, attributes)
CONVOLUTIONS = [
    ((2, 3, 16, 24), (8, 3, 4, 4), {"strides": [4, 4]}),                    # patches
    ((2, 3, 18, 25), (8, 3, 4, 4), {"strides": [4, 4]}),                    # the last ones do not fit
    ((1, 3, 12), (5, 3, 3), {"strides": [3]}),
    ((2, 6, 5, 7), (4, 6, 1, 1), {}),                                       # pointwise
    ((2, 6, 5, 7), (4, 6, 1, 1), {"strides": [2, 3]}),
    ((2, 3, 9, 11), (4, 3, 3, 3), {"pads": [1, 1, 1, 1]}),
    ((2, 3, 9, 11), (4, 3, 3, 2), {"pads": [0, 1, 2, 1], "strides": [2, 1], "dilations": [1, 3]}),
    ((1, 4, 9, 11), (4, 1, 3, 3), {"group": 4, "pads": [1, 1, 1, 1]}),      # depthwise
    ((1, 4, 9, 11), (6, 2, 3, 3), {"group": 2}),
    ((1, 3, 10, 11), (4, 3, 3, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ((1, 3, 10, 11), (4, 3, 4, 4), {"auto_pad": "SAME_LOWER", "strides": [1, 3]}),
    ((1, 3, 10, 11), (4, 3, 3, 3), {"auto_pad": "VALID"}),
    ((1, 3, 20), (4, 3, 5), {"pads": [2, 2], "dilations": [2]}),
    ((1, 2, 5, 6, 7), (3, 2, 2, 3, 2), {"pads": [1, 0, 1, 0, 1, 0]}),
]


def test_convolution(tmp_path):
    graph = Graph()
    for number, (shape, weight, attributes) in enumerate(CONVOLUTIONS):
        inputs = [graph.input(f"x{number}", noise(*shape)), graph.constant(noise(*weight, seed=1))]
        if number % 2 == 0:
            inputs.append(graph.constant(noise(weight[0], seed=2)))
        graph.output(graph.node("Conv", *inputs, **attributes), len(shape))
    check(graph, tmp_path)


def test_convolution_of_dynamic_extents(tmp_path):
    graph = Graph()
    x = graph.input("x", noise(1, 3, 33, 40), (1, 3, "h", "w"))
    patches = graph.node("Conv", x, graph.constant(noise(8, 3, 8, 8)), strides=[8, 8])
    graph.output(patches, 4)
    graph.output(graph.node("Conv", x, graph.constant(noise(4, 3, 3, 3)), pads=[1, 1, 1, 1], strides=[2, 2]), 4)
    graph.output(graph.node("Conv", patches, graph.constant(noise(5, 8, 1, 1)), graph.constant(noise(5))), 4)
    check(graph, tmp_path, {"h": "8..64", "w": "8..48"})
    graph.values["x"] = noise(1, 3, 64, 47, seed=1)
    run(graph, tmp_path / "ops.onnx", tmp_path)


def test_pad(tmp_path):
    graph = Graph()
    x = graph.input("x", noise(2, 3, 4))
    graph.output(graph.node("Pad", x, graph.constant(np.array([0, 1, 2, 3, 0, 1]))), 3)
    graph.output(graph.node("Pad", x, graph.constant(np.array([1, 2])), graph.constant(np.float32(5)),
                            graph.constant(np.array([-1]))), 3)
    check(graph, tmp_path)


def test_sequences(tmp_path):
    graph = Graph()
    x = graph.input("x", noise(2, 3, 7))
    two, minus = graph.constant(np.int64(2)), graph.constant(np.int64(-1))
    parts = graph.node("SplitToSequence", x, graph.constant(np.int64(3)), axis=2)  # 3, 3 and 1
    graph.output(graph.node("SequenceAt", parts, two), 3)
    uneven = graph.node("SplitToSequence", x, graph.constant(np.array([5, 2])), axis=2)
    graph.output(graph.node("SequenceAt", uneven, minus), 3)
    rows = graph.node("SplitToSequence", x, axis=1, keepdims=0)
    graph.output(graph.node("SequenceAt", rows, graph.constant(np.int64(1))), 2)
    graph.output(graph.node("ConcatFromSequence", rows, axis=-1, new_axis=1), 3)
    made = graph.node("SequenceConstruct", x, x)
    grown = graph.node("SequenceInsert", made, graph.node("Neg", x), graph.constant(np.int64(1)))
    graph.output(graph.node("ConcatFromSequence", grown, axis=0), 3)
    graph.output(graph.node("ConcatFromSequence", graph.node("SequenceErase", grown, minus), axis=0), 3)
    graph.output(graph.node("SequenceLength", grown), 0, TensorProto.INT64)
    check(graph, tmp_path)


def test_shape_arithmetic_stays_out_of_the_arena(tmp_path):
    """Expand to a shape made by ConstantOfShape, Equal and Where, as the TorchScript exporter writes it."""
    graph = Graph()
    x = graph.input("x", noise(2, 1, 5), ("batch", 1, "seq"))
    shape = graph.node("Shape", x)
    wanted = graph.node("Concat", graph.node("Gather", shape, graph.constant(np.array([0]))),
                        graph.constant(np.array([4, -1])), axis=0)
    ones = graph.node("ConstantOfShape", graph.node("Shape", wanted), value=numpy_helper.from_array(np.array([1])))
    unknown = graph.node("Equal", wanted, graph.node("Mul", ones, graph.constant(np.int64(-1))))
    graph.output(graph.node("Expand", x, graph.node("Where", unknown, ones, wanted)), 3)
    count = graph.node("ReduceProd", shape, keepdims=0)
    half = graph.node("Div", graph.node("Cast", count, to=TensorProto.INT32), graph.constant(np.int32(5)))
    graph.output(graph.node("Max", half, graph.constant(np.int32(1))), 0, TensorProto.INT32)
    model = graph.save(tmp_path / "ops.onnx")
    _, report = snug.compile_model(model, tmp_path / "ops.so", {"batch": 2, "seq": "5..9"})
    assert report["memory"]["arena"] == 0
    run(graph, model, tmp_path)


def test_gathers_at_positions(tmp_path):
    """A mask of keys read at (b, t) for every (b, 1, s, t), causal besides, as exporters write it; positions of an
    embedding; and indices that are data."""
    graph = Graph()
    mask = graph.input("mask", np.array([[1, 0, 1, 1, 1, 1], [1, 1, 1, 0, 0, 1]]), ("batch", "seq"))
    flags = graph.node("Cast", mask, to=TensorProto.BOOL)
    shape = graph.node("Shape", mask)
    extent = [graph.node("Gather", shape, graph.constant(np.int64(i))) for i in (0, 1)]
    zero, one = graph.constant(np.int64(0)), graph.constant(np.int64(1))
    batches, places = (graph.node("Range", zero, e, one) for e in extent)
    b = graph.node("Unsqueeze", batches, graph.constant(np.array([1, 2, 3])))
    t = graph.node("Unsqueeze", places, graph.constant(np.array([0, 1, 2])))
    s = graph.node("Unsqueeze", places, graph.constant(np.array([0, 1, 3])))
    both = graph.node("Shape", graph.node("Max", b, t))
    last = graph.constant(np.array([-1]))
    pairs = [graph.node("Unsqueeze", graph.node("Expand", grid, both), last) for grid in (b, t)]
    keys = graph.node("GatherND", flags, graph.node("Concat", *pairs, axis=-1))
    seen = graph.node("And", graph.node("LessOrEqual", t, s), keys)
    scores = graph.node("Where", seen, graph.constant(np.float32(1)), graph.constant(np.float32(-2)))
    graph.output(scores, 4)
    # The same over a flattened mask.
    at = graph.node("Add", t, graph.node("Mul", b, graph.node("Gather", shape, graph.constant(np.array([1])))))
    graph.output(graph.node("Gather", graph.node("Reshape", flags, last), at), 4, TensorProto.BOOL)
    table = graph.constant(noise(16, 40))
    graph.output(graph.node("Gather", table, places), 2)
    graph.output(graph.node("Gather", table, graph.node("Sub", places, graph.constant(np.int64(9)))), 2)
    graph.output(graph.node("Gather", table, mask), 3)
    check(graph, tmp_path, {"batch": 2, "seq": "2..8"})
    check(graph, tmp_path, {"batch": 2, "seq": 6})


def test_constant_positions_and_masks(tmp_path):
    """Constants of more than 64 elements: arange tables are expressions, masks that are all true vanish."""
    graph = Graph()
    x = graph.input("x", noise(1, 80), (1, "seq"))
    positions = graph.constant(np.arange(100)[None])
    seq = graph.node("Slice", graph.node("Shape", x), graph.constant(np.array([1])), graph.constant(np.array([2])))
    own = graph.node("Slice", positions, graph.constant(np.array([0])), seq, graph.constant(np.array([1])))
    graph.output(graph.node("Add", x, graph.node("Cast", own, to=TensorProto.FLOAT)), 2)
    true = graph.constant(np.ones((1, 3000), bool))
    graph.output(graph.node("Where", graph.node("Slice", true, graph.constant(np.array([0])), seq,
                                                graph.constant(np.array([1]))), x, graph.node("Neg", x)), 2)
    check(graph, tmp_path, {"seq": "2..100"})


@pytest.mark.parametrize("op", ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1",
                                "ReduceL2", "ReduceSumSquare", "ReduceLogSum"])
def test_reductions(op, tmp_path):
    graph = Graph()
    x = graph.input("x", np.abs(noise(3, 4, 5)) + 0.5)
    graph.output(graph.node(op, x, graph.constant(np.array([1]))), 3)
    graph.output(graph.node(op, x, graph.constant(np.array([0, -1])), keepdims=0), 1)
    graph.output(graph.node(op, x, keepdims=0), 0)
    if op in ("ReduceSum", "ReduceMax", "ReduceMin"):
        i = graph.input("i", np.arange(12).reshape(3, 4) - 5)
        graph.output(graph.node(op, i, graph.constant(np.array([1])), keepdims=0), 1, TensorProto.INT64)
    check(graph, tmp_path)


def test_scalars_gain_and_lose_dims(tmp_path):
    graph = Graph()
    x = graph.input("x", np.float32(3))
    grown = graph.node("Unsqueeze", x, graph.constant(np.array([0, 1])))
    graph.output(graph.node("Add", grown, graph.input("y", noise(2, 3))), 2)
    graph.output(graph.node("Squeeze", graph.node("Neg", grown)), 0)
    check(graph, tmp_path)
