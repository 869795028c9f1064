# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The ways in which each case is compiled: a mode makes of a model another one with the same results.

given     as it stands
dynamic   every dim of every input that decides no shape has a name; those that the compiler does not find to follow from
          others are bounded, and the run is at their lower bound
constant  the inputs are initializers, so that what can be computed by the compiler is
tight     as it stands, in the least arena that can be reached
cuda      as it stands, for a GPU that is simulated (test/gpu); only where there is a CUDA toolkit
"""
import os
import pathlib
import sys

import onnx
from onnx import numpy_helper

try:
    import snug
except ImportError:  # in the source tree
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "python"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "gpu"))
from snug.onnx_backend import deciding_inputs, given_dims, graph_inputs, values  # noqa: E402, F401

MODES = ("given", "dynamic", "constant", "tight", *(["cuda"] if "SNUG_FAKE_CUDA" in os.environ else []))


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
CUTTING = {"Attention", "Col2Im", "Conv", "ConvTranspose", "DeformConv", "DepthToSpace", "GroupNormalization", "Reshape",
           "RotaryEmbedding", "SpaceToDepth", "Split"}


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
