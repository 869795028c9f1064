# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Snug as an ONNX backend (onnx.backend.base.Backend): compiles and runs models in this process.

    import onnx, snug.onnx_backend
    outputs = snug.onnx_backend.run_model(onnx.load("model.onnx"), [array, ...])

The libraries are found as snug and snug.compiler say. Needs the Python package onnx.
"""

import tempfile

import onnx
from onnx.backend.base import Backend, BackendRep, Device, DeviceType, namedtupledict

import snug
import snug.compiler

__all__ = ["SnugBackend", "SnugRep", "is_compatible", "prepare", "run_model", "run_node", "supports_device"]


def words_of(dims, values):
    """Words of a command line, from pairs."""
    return [word for flag, pairs in (("--dim", dims), ("--value", values)) for name, value in pairs
            for word in (flag, f"{name}={value}")]


def compile_model(model, dims=(), values=(), words=()):
    """The model, given as bytes, compiled with these dims and values (pairs) and further words of a command line."""
    with tempfile.TemporaryDirectory(prefix="snug-onnx-") as folder:
        library = f"{folder}/model.so"
        snug.compiler.compile(*words, *words_of(dims, values), "-o", library, model=model)
        return snug.load(library)  # mapped: the files are needed no longer


class SnugRep(BackendRep):
    """A model, compiled for the shapes that it is first run with: what decides shapes may be known from the inputs only."""

    def __init__(self, model):
        self.original = model
        self.compiled = {}

    def run(self, inputs, **kwargs):
        """Arrays for the inputs that are no initializers, in order: a list for a sequence, None for an optional that is
        missing. Returns a named tuple of the outputs."""
        inputs = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        said, elements, tensors = taken_apart(self.original, inputs)
        dims = {**given_dims(self.original, inputs), **said, **elements}
        return self.call(self.original, dims, values(self.original, inputs), tensors)

    def call(self, model, dims, known, tensors):
        """Runs a form of the model, which is compiled once for each set of dims and known values (dicts)."""
        key = (model.SerializeToString(deterministic=True), tuple(dims.items()), tuple(known.items()))
        if key not in self.compiled:
            self.compiled[key] = self.compile(*key)
        outputs = self.compiled[key](*tensors)
        infos = self.original.graph.output
        return namedtupledict("Outputs", [info.name for info in infos])(*put_together(infos, outputs))

    def compile(self, model, dims, known):
        return compile_model(model, dims, known)


class SnugBackend(Backend):
    @classmethod
    def is_compatible(cls, model, device="CPU", **kwargs):
        return cls.supports_device(device)

    @classmethod
    def prepare(cls, model, device="CPU", **kwargs):
        return SnugRep(model)

    @classmethod
    def run_model(cls, model, inputs, device="CPU", **kwargs):
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(cls, node, inputs, device="CPU", outputs_info=None, opset_version=None, **kwargs):
        types = [onnx.helper.np_dtype_to_tensor_dtype(array.dtype) for array in inputs]
        given = [onnx.helper.make_tensor_value_info(name, dtype, array.shape)
                 for name, dtype, array in zip(filter(None, node.input), types, inputs)]
        made = [onnx.ValueInfoProto(name=name) for name in node.output]
        opset = onnx.helper.make_opsetid(node.domain, opset_version or onnx.defs.onnx_opset_version())
        model = onnx.helper.make_model(onnx.helper.make_graph([node], "node", given, made), opset_imports=[opset])
        return cls.run_model(model, inputs, device, **kwargs)

    @classmethod
    def supports_device(cls, device):
        return Device(device).type == DeviceType.CPU


# --- what a model's inputs say ------------------------------------------------------------------------------------

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

# Ops that pass on what decides one.
PASSING = {"Identity", "Cast", "CastLike", "Concat", "Unsqueeze", "Squeeze", "Reshape", "Slice", "Gather", "Add", "Sub", "Mul",
           "Div", "Split", "Neg", "Where", "Equal", "Less", "Greater", "Mod", "Max", "Min", "Abs", "Ceil", "Relu"}


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
        if kind.HasField("sequence_type") and not kind.sequence_type.elem_type.HasField("map_type"):
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


prepare, run_model, run_node = SnugBackend.prepare, SnugBackend.run_model, SnugBackend.run_node
supports_device, is_compatible = SnugBackend.supports_device, SnugBackend.is_compatible
