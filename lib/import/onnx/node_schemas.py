# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes what the operators of the `onnx` package have as inputs, outputs and attributes, as rows of NodeSchemas.cpp's table."""
import pathlib
import sys

from onnx import defs

VARIADIC = "kAny"
FORMS = {defs.OpSchema.FormalParameterOption.Single: "s", defs.OpSchema.FormalParameterOption.Optional: "o",
         defs.OpSchema.FormalParameterOption.Variadic: "v"}


def most(parameters):
    return VARIADIC if parameters and FORMS[parameters[-1].option] == "v" else len(parameters)


def row(schema):
    attributes = "".join(f"{name}:{attribute.type.value}{'!' if attribute.required else ''} "
                         for name, attribute in sorted(schema.attributes.items()))
    domain = "" if schema.domain == "ai.onnx" else schema.domain
    forms = "".join(FORMS[parameter.option] for parameter in schema.inputs)
    return (f'{{"{domain}", "{schema.name}", {schema.since_version}, {schema.min_input}, {most(schema.inputs)}, '
            f'{schema.min_output}, {most(schema.outputs)}, "{forms}", "{attributes}"}},')


schemas = sorted(defs.get_all_schemas_with_history(), key=lambda s: (s.domain, s.name, s.since_version))
pathlib.Path(sys.argv[1]).write_text("\n".join(map(row, schemas)) + "\n")
