#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Fills in what the stripped graphs of this folder lack: seeded weights, as NAME.onnx.data beside a copy of the graph.

A value depends on the seed, the initializer's name and its position alone, and comes from raw Philox words, so the file
is the same bytes on every platform and with every numpy.
"""
import argparse
import hashlib
import math
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

HERE = Path(__file__).resolve().parent
FLOATS = {TensorProto.FLOAT: "<f4", TensorProto.FLOAT16: "<f2"}
BELOW = {"type": 2, "position": 128, "timestep": 1000, "class_label": 1000}
INLINE_ELEMENTS = 1024  # float initializers of more elements than this live in NAME.onnx.data


def _words(seed, name, count):
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return np.random.Philox(key=int.from_bytes(digest[:16], "little")).random_raw(count)


def noise(seed, name, shape):
    """Zero mean, unit variance, |x| < 3.5: the sum of the four 16-bit numbers in each 64-bit word."""
    words = _words(seed, name, int(np.prod(shape, dtype=np.int64)))
    total = words.view("<u2").reshape(-1, 4).astype(np.float32).sum(axis=1)
    return ((total - np.float32(2 * 65535)) * np.float32(math.sqrt(3.0) / 65536.0)).reshape(shape)


def integers(seed, name, shape, high):
    words = _words(seed, name, int(np.prod(shape, dtype=np.int64)))
    return (words % np.uint64(high)).astype(np.int64).reshape(shape)


def uses(model):
    """Initializer name -> [(op type, operand index, transB)] over all nodes, looking through one Transpose."""
    consumers = {}
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            consumers.setdefault(name, []).append((node, index))

    def direct(name, transposed=False):
        for node, index in consumers.get(name, []):
            if node.op_type == "Transpose":
                yield from direct(node.output[0], not transposed)
            else:
                trans_b = any(a.name == "transB" and a.i for a in node.attribute)
                yield node.op_type, index, trans_b != transposed
    return {t.name: list(direct(t.name)) for t in model.graph.initializer}


def recipe(name, shape, used):
    """(offset, scale) of an initializer: value = offset + scale * noise. Matrices keep the variance of what they
    multiply, so that activations neither explode nor vanish and a wrong kernel shows."""
    kinds = {(op, index) for op, index, _ in used}
    for op, index, transposed in used:
        if op in ("MatMul", "Gemm") and index == 1 and len(shape) >= 2:
            return 0.0, 1.0 / math.sqrt(shape[-1] if transposed else shape[-2])
    if any(op.endswith("Normalization") and index == 1 for op, index in kinds) or \
            ("norm" in name.lower() and name.endswith("weight")):
        return 1.0, 0.1
    if ("Gather", 0) in kinds:  # embedding tables
        return 0.0, 0.5
    if len(shape) >= 2:
        return 0.0, 1.0 / math.sqrt(np.prod(shape[1:]))
    return 0.0, 0.05


def externals(model):
    for tensor in model.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            yield tensor, {e.key: e.value for e in tensor.external_data}


def materialize(source, outdir, seed=0):
    """Copies the graph `source` into `outdir` with its weights beside it; returns the path of the copy."""
    source, outdir = Path(source), Path(outdir)
    outdir.mkdir(parents=True, exist_ok=True)
    target = outdir / source.name
    model = onnx.load(source, load_external_data=False)
    used = uses(model)
    shutil.copyfile(source, target)
    with open(outdir / (source.name + ".data"), "wb") as out:
        for tensor, where in externals(model):
            if where["location"] != source.name + ".data" or tensor.data_type not in FLOATS:
                sys.exit(f"{source}: {tensor.name} is not a float weight in {source.name}.data")
            shape = tuple(tensor.dims)
            offset, scale = recipe(tensor.name, shape, used[tensor.name])
            data = (np.float32(offset) + np.float32(scale) * noise(seed, tensor.name, shape)).astype(FLOATS[tensor.data_type]).tobytes()
            if len(data) != int(where["length"]):
                sys.exit(f"{source}: {tensor.name} needs {len(data)} bytes, the graph says {where['length']}")
            out.seek(int(where["offset"]))
            out.write(data)
    return target


def make_inputs(path, dims, seed=0):
    """Seeded inputs: noise, masks of ones but for the second position, and integers: below what BELOW says of their name, or
    token ids below the vocabulary, which is the width of the output; where that is a named dim, zeros."""
    model = onnx.load(path, load_external_data=False)
    weights, made = {t.name for t in model.graph.initializer}, {}
    vocabulary = model.graph.output[0].type.tensor_type.shape.dim[-1].dim_value or 1
    for value in model.graph.input:
        if value.name in weights:
            continue
        shape = []
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param and dim.dim_param not in dims:
                sys.exit(f"{path}: give --dim {dim.dim_param}=N for input {value.name}")
            shape.append(dims[dim.dim_param] if dim.dim_param else dim.dim_value)
        is_float = value.type.tensor_type.elem_type == TensorProto.FLOAT
        if "mask" in value.name:
            made[value.name] = np.ones(shape, np.float32 if is_float else np.int64)
            if shape[-1] > 2:
                made[value.name][..., 1] = 0
        elif is_float:
            made[value.name] = noise(seed, "input/" + value.name, shape)
        else:
            most = next((most for word, most in BELOW.items() if word in value.name), vocabulary)
            made[value.name] = integers(seed, "input/" + value.name, shape, most)
    return made


def parse_dims(texts):
    return {name: int(value) for name, value in (text.split("=") for text in texts)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="NAME of this folder, or the path of a stripped graph")
    parser.add_argument("-o", "--outdir", default="materialized")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dim", action="append", default=[], metavar="NAME=N",
                        help="also write NAME.inputs.npz for these dims")
    args = parser.parse_args()
    source = Path(args.model) if args.model.endswith(".onnx") else HERE / (args.model + ".onnx")
    target = materialize(source, args.outdir, args.seed)
    if args.dim:
        np.savez(target.with_suffix(".inputs.npz"), **make_inputs(target, parse_dims(args.dim), args.seed))
    print(target)


if __name__ == "__main__":
    main()
