# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The ways in which each case is compiled: a mode makes of a model another one with the same results.

given     as it stands
dynamic   every dim of every input that decides no shape has a name; those that the compiler does not find to follow from
          others are bounded, and the run is at their lower bound
constant  the inputs are initializers, so that what can be computed by the compiler is
tight     as it stands, in the least arena that can be reached
"""
import onnx
from onnx import numpy_helper

MODES = ("given", "dynamic", "constant", "tight")

# Inputs of ops whose elements decide shapes: a user states them with --value where they are inputs of the model.
DECIDING = {
    "Reshape": [1], "Expand": [1], "Tile": [1, 2], "Slice": [1, 2, 3, 4], "Pad": [1, 3], "Resize": [1, 2, 3],
    "Upsample": [1], "Squeeze": [1], "Unsqueeze": [1], "Split": [1], "SplitToSequence": [1], "TopK": [1],
    "Range": [0, 1, 2], "OneHot": [1], "ConstantOfShape": [0], "CenterCropPad": [1], "AffineGrid": [1], "Col2Im": [1, 2],
    "MaxUnpool": [2], "DFT": [1, 2], "STFT": [1, 3], "BlackmanWindow": [0], "HammingWindow": [0], "HannWindow": [0],
    "MelWeightMatrix": [0, 1, 2, 3, 4], "CumSum": [1], "CumProd": [1], "Dropout": [2],
    "Loop": [0, 1], "SequenceAt": [1], "SequenceErase": [1], "SequenceInsert": [2],
    **{f"Reduce{kind}": [1] for kind in ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "LogSum", "LogSumExp",
                                         "SumSquare")},
}


def deciding_inputs(model):
    """Names of the model's inputs that decide shapes, directly or through an op that passes them on."""
    found = set()
    optional = {info.name for info in model.graph.output if info.type.HasField("optional_type")}
    nodes = list(model.graph.node)
    for node in nodes:  # what a branch gives is an output of the node around it
        if node.op_type == "If":
            for body in (attribute.g for attribute in node.attribute):
                given = [onnx.NodeProto(op_type="Identity", input=[inside.name], output=[name])
                         for inside, name in zip(body.output, node.output)]
                nodes = [*nodes[:nodes.index(node) + 1], *body.node, *given, *nodes[nodes.index(node) + 1:]]
    for node in reversed(nodes):
        found.update(node.input[i] for i in DECIDING.get(node.op_type, []) if i < len(node.input))
        if node.op_type == "If" and optional & set(node.output):
            found.add(node.input[0])
        if found & set(node.output) and node.op_type in PASSING:
            found.update(node.input)
    return {info.name for info in graph_inputs(model)} & found


PASSING = {"Identity", "Cast", "CastLike", "Concat", "Unsqueeze", "Squeeze", "Reshape", "Slice", "Gather", "Add", "Sub", "Mul",
           "Div", "Split", "Neg", "Where", "Equal", "Less", "Greater", "Mod", "Max", "Min", "Abs", "Ceil", "Relu"}


def values(model, inputs):
    """Texts for --value, by the names of the inputs that decide shapes."""
    deciding = deciding_inputs(model)
    return {info.name: ",".join(str(int(v) if array.dtype.kind in "iub" else float(v)) for v in array.ravel())
            for info, array in zip(graph_inputs(model), inputs)
            if info.name in deciding and getattr(array, "dtype", None) is not None
            and (array.dtype.kind in "iubf" or array.dtype.name == "bfloat16")}


def graph_inputs(model):
    """The inputs of a run: those that are no initializers."""
    constants = {tensor.name for tensor in model.graph.initializer}
    constants |= {tensor.values.name for tensor in model.graph.sparse_initializer}
    return [info for info in model.graph.input if info.name not in constants]


def taken_apart(model, inputs):
    """(what --dim says of inputs that are sequences or optionals, extents of the dims of their elements that the model leaves
    open, the tensors of all inputs), as the compiler takes such inputs apart."""
    said, extents, tensors = {}, {}, []
    for info, value in zip(graph_inputs(model), inputs):
        kind, elements = info.type, [(info.name, value)]
        if kind.HasField("optional_type"):
            said[f"{info.name}.present"] = int(value is not None)
            kind, elements = kind.optional_type.elem_type, elements if value is not None else []
        if kind.HasField("sequence_type") and elements:
            said[f"{info.name}.length"] = len(value)
            elements = [(f"{info.name}.{i}", element) for i, element in enumerate(value)]
            kind = kind.sequence_type.elem_type
        tensors += [array for _, array in elements]
        if info.type.HasField("tensor_type"):
            continue
        shape = kind.tensor_type.shape.dim if kind.tensor_type.HasField("shape") else None
        if shape is None and elements:
            said[f"{info.name}.rank"] = elements[0][1].ndim
        for name, array in elements:
            for axis, extent in enumerate(array.shape):
                if shape is None or not shape[axis].HasField("dim_value"):
                    extents[f"{name}_dim{axis}"] = extent
    return said, extents, tensors


def put_together(infos, outputs):
    """What the model's outputs are, of the tensors by name that a run gives."""
    values = []
    for info in infos:
        kind, is_optional = info.type, info.type.HasField("optional_type")
        kind = kind.optional_type.elem_type if is_optional else kind
        if kind.HasField("sequence_type"):
            count = 0
            while f"{info.name}.{count}" in outputs:
                count += 1
            values.append([outputs[f"{info.name}.{i}"] for i in range(count)])
        else:
            values.append(outputs.get(info.name) if is_optional else outputs[info.name])
    return values


def given_dims(model, inputs):
    """Values of the dims that the model names, from arrays for its inputs."""
    values = {}
    for info, array in zip(graph_inputs(model), inputs):
        if not info.type.HasField("tensor_type") or not info.type.tensor_type.HasField("shape"):
            continue
        for axis, dim in enumerate(info.type.tensor_type.shape.dim):
            if not dim.HasField("dim_value") and axis < getattr(array, "ndim", 0):
                values[dim.dim_param or f"{info.name}_dim{axis}"] = array.shape[axis]
    return values


def forced_dynamic(model, inputs):
    """(model, extent of each dim by its name). Each dim has a name of its own: which ones have to be equal, or what an
    attribute says they are, is for the compiler to find out. Extents of 1 stay: a dim that is broadcast is no other dim."""
    copy, extents = onnx.ModelProto(), {}
    copy.CopyFrom(model)
    deciding = deciding_inputs(model)
    for number, (info, array) in enumerate(zip(graph_inputs(copy), inputs)):
        if info.name in deciding or not info.type.HasField("tensor_type") or not hasattr(array, "shape"):
            continue
        shape = info.type.tensor_type.shape
        del shape.dim[:]
        for axis, extent in enumerate(array.shape):
            dim = shape.dim.add()
            if extent > 1:
                dim.dim_param = f"i{number}d{axis}"
                extents[dim.dim_param] = extent
            else:
                dim.dim_value = extent
    del copy.graph.value_info[:]
    for info in copy.graph.output:
        if info.type.HasField("tensor_type") and not any(node.op_type == "ImageDecoder" for node in copy.graph.node):
            for dim in info.type.tensor_type.shape.dim:
                dim.Clear()
    return copy, extents


# Ops that cut an extent into as many parts as an attribute or an input says, so that not all extents are possible.
CUTTING = {"Attention", "Col2Im", "Conv", "ConvTranspose", "DepthToSpace", "GroupNormalization", "Reshape", "RotaryEmbedding",
           "SpaceToDepth", "Split"}


def ranges(model, extents):
    """Ranges of dims, each from the extent in the test; of a model that cuts some, in steps of it."""
    ops = {node.op_type for nodes in (model.graph.node, *(function.node for function in model.functions)) for node in nodes}
    return {name: f"{extent}..{2 * extent}" + (f":{extent}" if ops & CUTTING else "") for name, extent in extents.items()}


def with_constants(model, inputs):
    """(model, the inputs that are left). Only a tensor can be an initializer."""
    copy, left = onnx.ModelProto(), []
    copy.CopyFrom(model)
    for info, array in zip(graph_inputs(model), inputs):
        if not info.type.HasField("tensor_type"):
            left.append(array)
            continue
        copy.graph.initializer.append(numpy_helper.from_array(array, info.name))
        kept = [other for other in copy.graph.input if other.name != info.name]
        del copy.graph.input[:]
        copy.graph.input.extend(kept)
    return copy, left
