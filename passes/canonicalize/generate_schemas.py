# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes which element types the operators of the `onnx` package take, as rows of OpSchemas.cpp's table."""
import pathlib
import re
import sys

import onnx

OTHER = 1 << 31  # sequences, optionals, maps


def code(text):
    match = re.fullmatch(r"tensor\((\w+)\)", text)
    return 1 << onnx.TensorProto.DataType.Value(match[1].upper()) if match else OTHER


def row(schema):
    constraints = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}
    variables = {}

    def letters(parameters):
        return "".join(chr(ord("a") + variables.setdefault(p.type_str, len(variables))) for p in parameters)

    inputs, outputs = letters(schema.inputs), letters(schema.outputs)
    sets = [sum({code(text) for text in constraints.get(name, [name])}) for name in variables]
    last = schema.inputs[-1] if schema.inputs else None
    mixed = int(bool(last) and not last.is_homogeneous)
    domain = "" if schema.domain == "ai.onnx" else schema.domain
    sets = ", ".join(f"{bits:#x}u" for bits in sets)
    return f'{{"{domain}", "{schema.name}", {schema.since_version}, {mixed}, "{inputs}", "{outputs}", {{{sets}}}}},'


schemas = sorted(onnx.defs.get_all_schemas_with_history(), key=lambda s: (s.domain, s.name, s.since_version))
pathlib.Path(sys.argv[1]).write_text("\n".join(map(row, schemas)) + "\n")
