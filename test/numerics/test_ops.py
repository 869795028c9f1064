# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Single ops, against ONNX Runtime. A family's cases stand side by side in one model, an output each."""
import numpy as np
import onnx
import onnx.reference
import pytest
from onnx import TensorProto, helper, numpy_helper

import snug
from ops import OPSET, Graph, check, noise, run

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


ACTIVATIONS = [("LeakyRelu", {"alpha": 0.2}), ("LeakyRelu", {}), ("ThresholdedRelu", {"alpha": 0.5}), ("Elu", {"alpha": 1.5}),
               ("Celu", {"alpha": 2.0}), ("Selu", {}), ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}), ("HardSwish", {}),
               ("Softplus", {}), ("Mish", {}), ("Softsign", {}), ("Abs", {}), ("Sign", {}), ("Floor", {}), ("Ceil", {}),
               ("Round", {}), ("LogSoftmax", {"axis": 0}), ("LogSoftmax", {})]


def test_activations(tmp_path):
    graph = Graph()
    value = np.concatenate([4 * noise(5, 300), [[0.5] * 300, [-1.5] * 300, [60] * 300]]).astype(np.float32)
    x = graph.input("x", value)
    for op, attributes in ACTIVATIONS:
        graph.output(graph.node(op, x, **attributes), 2)
    graph.output(graph.node("PRelu", x, graph.constant(noise(300))), 2)
    graph.output(graph.node("Clip", x, graph.constant(np.float32(-1)), graph.constant(np.float32(2))), 2)
    graph.output(graph.node("Clip", x, "", graph.constant(np.float32(2))), 2)
    i = graph.input("i", np.arange(-6, 6).reshape(3, 4))
    for divisor in (4, -4):
        graph.output(graph.node("Mod", i, graph.constant(np.int64(divisor))), 2, TensorProto.INT64)
        graph.output(graph.node("Mod", i, graph.constant(np.int64(divisor)), fmod=1), 2, TensorProto.INT64)
    graph.output(graph.node("Abs", i), 2, TensorProto.INT64)
    check(graph, tmp_path, tolerance=3e-6)


POOLS = [
    ((1, 3, 9, 11), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ((2, 3, 9, 11), {"kernel_shape": [2, 3]}),
    ((1, 3, 10, 11), {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    ((1, 3, 10, 11), {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    ((1, 3, 20), {"kernel_shape": [4], "strides": [3]}),
]


def test_pools(tmp_path):
    graph = Graph()
    for number, (shape, attributes) in enumerate(POOLS):
        x = graph.input(f"x{number}", noise(*shape) - 3)
        graph.output(graph.node("MaxPool", x, **attributes), len(shape))
        graph.output(graph.node("AveragePool", x, **attributes), len(shape))
        if "ceil_mode" not in attributes:
            graph.output(graph.node("AveragePool", x, count_include_pad=1, **attributes), len(shape))
        graph.output(graph.node("GlobalAveragePool", x), len(shape))
        graph.output(graph.node("GlobalMaxPool", x), len(shape))
    graph.output(graph.node("MaxPool", "x0", kernel_shape=[3, 3], dilations=[2, 3]), 4)
    check(graph, tmp_path)


def test_plane_normalizations(tmp_path):
    graph = Graph()
    x = graph.input("x", 2 * noise(2, 6, 5, 7) + 1)
    scale, shift, mean = (graph.constant(noise(6, seed=i)) for i in range(3))
    variance = graph.constant(np.abs(noise(6, seed=3)) + 0.5)
    graph.output(graph.node("BatchNormalization", x, scale, shift, mean, variance, epsilon=1e-3), 4)
    graph.output(graph.node("InstanceNormalization", x, scale, shift), 4)
    check(graph, tmp_path, tolerance=3e-6)


def test_group_normalization_of_both_kinds(tmp_path):
    for opset, count in ((20, 3), (21, 6)):
        graph = Graph()
        x = graph.input("x", 2 * noise(2, 6, 5, 7) + 1)
        scale, shift = (graph.constant(noise(count, seed=i)) for i in range(2))
        graph.output(graph.node("GroupNormalization", x, scale, shift, num_groups=3), 4)
        model = graph.save(tmp_path / "ops.onnx", opset)
        snug.compile_model(model, tmp_path / "ops.so", {})
        got, _ = snug.run_model(tmp_path / "ops.so", graph.values)
        want = onnx.reference.ReferenceEvaluator(str(model)).run(None, graph.values)
        assert snug.relative_error(got["GroupNormalization0_0"], want[0]) <= 3e-6


def test_nearest_upsampling(tmp_path):
    graph = Graph()
    x = graph.input("x", noise(1, 3, 5, 4), (1, 3, "h", 4))
    scales = graph.constant(np.array([1, 1, 2, 3], np.float32))
    graph.output(graph.node("Resize", x, "", scales, mode="nearest", nearest_mode="floor",
                            coordinate_transformation_mode="asymmetric"), 4)
    graph.output(graph.node("Resize", x, "", scales, mode="nearest"), 4)
    shape = graph.node("Shape", x)
    sizes = graph.node("Mul", shape, graph.constant(np.array([1, 1, 4, 1])))
    graph.output(graph.node("Resize", x, "", "", sizes, mode="nearest", nearest_mode="floor",
                            coordinate_transformation_mode="asymmetric"), 4)
    check(graph, tmp_path, {"h": "2..9"})


def test_skips_of_bounded_images(tmp_path):
    """A small U-Net: halves of halves, blown up again and joined with what was there before, for any size in steps."""
    graph = Graph()
    x = graph.input("x", noise(1, 3, 16, 24), (1, 3, "h", "w"))

    def convolution(x, channels, filters, **attributes):
        return graph.node("Conv", x, graph.constant(noise(filters, channels, 3, 3) / 9), pads=[1, 1, 1, 1], **attributes)
    a = convolution(x, 3, 8, strides=[2, 2])
    b = convolution(a, 8, 8, strides=[2, 2])
    c = graph.node("MaxPool", b, kernel_shape=[2, 2], strides=[2, 2])
    for skip in (b, a):
        c = graph.node("Resize", c, "", graph.constant(np.array([1, 1, 2, 2], np.float32)), mode="nearest")
        c = convolution(graph.node("Concat", skip, c, axis=1), 16, 8)
    graph.output(c, 4)
    check(graph, tmp_path, {"h": "8..32:8", "w": "8..40:8"})
    graph.values["x"] = noise(1, 3, 32, 8, seed=1)
    run(graph, tmp_path / "ops.onnx", tmp_path)


# (input, weight, attributes)
TRANSPOSED = [
    ((2, 6, 5, 7), (6, 4, 2, 2), {"strides": [2, 2]}),                     # blocks
    ((1, 6, 5), (6, 4, 3), {"strides": [3]}),
    ((2, 6, 5, 7), (6, 4, 3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 0]}),
    ((2, 6, 5, 7), (6, 2, 3, 2), {"group": 2, "strides": [1, 3], "dilations": [2, 1]}),
]


def test_transposed_convolution(tmp_path):
    graph = Graph()
    for number, (shape, weight, attributes) in enumerate(TRANSPOSED):
        inputs = [graph.input(f"x{number}", noise(*shape)), graph.constant(noise(*weight, seed=1))]
        if number % 2 == 0:
            inputs.append(graph.constant(noise(weight[1] * attributes.get("group", 1), seed=2)))
        graph.output(graph.node("ConvTranspose", *inputs, **attributes), len(shape))
    check(graph, tmp_path)


def test_tile(tmp_path):
    graph = Graph()
    x = graph.input("x", noise(2, 3, 4), ("n", 3, 4))
    graph.output(graph.node("Tile", x, graph.constant(np.array([2, 1, 3]))), 3)
    graph.output(graph.node("Tile", x, graph.constant(np.array([1, 2, 1]))), 3)
    check(graph, tmp_path, {"n": "1..5"})


def test_lists_turned_around(tmp_path):
    graph = Graph()
    x = graph.input("x", noise(2, 3, 4), ("n", 3, 4))
    back = graph.node("Slice", graph.node("Shape", x), *(graph.constant(np.array([i])) for i in (-1, -100, 0, -1)))
    graph.output(graph.node("Reshape", graph.node("Transpose", x), back), 3)
    check(graph, tmp_path, {"n": "1..5"})


@pytest.mark.parametrize("rows", [4, 7])
def test_a_known_condition_chooses_a_branch(rows, tmp_path):
    """What the exporter could not decide, the dims may: the other branch holds an op that nobody knows."""
    graph = Graph()
    x = graph.input("x", noise(rows, 5), ("n", 5))
    count = graph.node("Gather", graph.node("Shape", x), graph.constant(np.int64(0)))
    condition = graph.node("Greater", count, graph.constant(np.int64(5)))
    branches = {}
    for name, op in (("then_branch", "Neg"), ("else_branch", "Exp")):
        out = helper.make_tensor_value_info(name + "_y", TensorProto.FLOAT, [None, 5])
        branches[name] = helper.make_graph([helper.make_node(op, ["x"], [name + "_y"])], name, [], [out])
    graph.output(graph.node("Abs", graph.node("If", condition, **branches)), 2)
    check(graph, tmp_path, {"n": "1..5" if rows < 6 else "6..9"})


def test_functions_of_the_model_are_inlined(tmp_path):
    """Attributes come from the calling node, or from the function's defaults; functions call functions."""
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("own", 1)]

    def referring(op, inputs, outputs, **references):
        node = helper.make_node(op, inputs, outputs)
        for name, outer in references.items():
            node.attribute.append(onnx.AttributeProto(name=name, ref_attr_name=outer, type=onnx.AttributeProto.FLOAT))
        return node

    inner = helper.make_function("own", "Inner", ["x"], ["y"], [referring("LeakyRelu", ["x"], ["y"], alpha="slope")],
                                 opsets, ["slope"])
    outer = helper.make_function("own", "Outer", ["x", "z"], ["y"], [
        helper.make_node("Inner", ["x"], ["a"], domain="own", slope=0.5), referring("Elu", ["z"], ["b"], alpha="bend"),
        helper.make_node("Add", ["a", "b"], ["y"])], opsets, [], [helper.make_attribute("bend", 2.0)])
    inputs = {"x": noise(3, 4), "z": noise(3, 4, seed=1)}
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [3, 4]) for name in ("x", "z", "y1", "y2")]
    graph = helper.make_graph([helper.make_node("Outer", ["x", "z"], ["y1"], domain="own"),
                               helper.make_node("Outer", ["z", "x"], ["y2"], domain="own", bend=0.25)],
                              "calls", infos[:2], infos[2:])
    model = tmp_path / "ops.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, functions=[inner, outer], ir_version=9), model)
    snug.compile_model(model, tmp_path / "ops.so", {})
    got, _ = snug.run_model(tmp_path / "ops.so", inputs)
    for name, value in snug.reference(model, inputs).items():
        assert snug.relative_error(got[name], value) <= 1e-6


def test_pads_as_the_torchscript_exporter_writes_them(tmp_path):
    """Pairs of the last dims first, turned around in a table of two columns."""
    graph = Graph()
    x = graph.input("x", noise(2, 3, 4), ("n", 3, 4))
    missing = graph.node("Sub", graph.node("Mul", graph.node("Size", graph.node("Shape", x)), graph.constant(np.int64(2))),
                         graph.constant(np.int64(4)))
    zeros = graph.node("ConstantOfShape", graph.node("Unsqueeze", missing, graph.constant(np.array([0]))),
                       value=numpy_helper.from_array(np.array([0])))
    pairs = graph.node("Concat", graph.constant(np.array([1, 2, 0, 3])), zeros, axis=0)
    table = graph.node("Reshape", pairs, graph.constant(np.array([-1, 2])))
    turned = graph.node("Slice", table, *(graph.constant(np.array([i])) for i in (-1, -2**63 + 1, 0, -1)))
    flat = graph.node("Reshape", graph.node("Transpose", turned, perm=[1, 0]), graph.constant(np.array([-1])))
    graph.output(graph.node("Pad", x, flat), 3)
    graph.output(graph.node("Transpose", turned), 2, TensorProto.INT64)
    check(graph, tmp_path, {"n": "1..5"})
