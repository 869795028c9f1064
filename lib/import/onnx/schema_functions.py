# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes, as C++ source, the function bodies that ONNX's schemas define operators by.

Only bodies that do not depend on a node's types and attributes. They are one ModelProto. A function's overload has the
opsets of the model for which it holds, and the opset of its nodes: "13 27 18".
"""
import sys

import onnx
from onnx import defs


FOREVER = 1 << 30


def bodies():
    versions = {}
    for schema in defs.get_all_schemas_with_history():
        versions.setdefault((schema.domain, schema.name), []).append(schema)
    model = onnx.ModelProto()
    for (domain, name), schemas in sorted(versions.items()):
        schemas.sort(key=lambda schema: schema.since_version)
        for schema, later in zip(schemas, [*schemas[1:], None]):
            for opset in schema.function_opset_versions:
                if body := schema.get_function_with_opset_version(opset):
                    until = later.since_version - 1 if later else FOREVER
                    function = model.functions.add()
                    function.ParseFromString(body)
                    function.domain, function.name = domain, name
                    function.overload = f"{max(schema.since_version, opset)} {until} {opset}"
                    complete(function, schema)
    return model.SerializeToString(deterministic=True)


def complete(function, schema):
    """Gives attributes the defaults that the schema states."""
    for name in list(function.attribute):
        default = schema.attributes[name].default_value
        if default.name:
            function.attribute.remove(name)
            function.attribute_proto.add().CopyFrom(default)


def main():
    data = bodies()
    lines = [",".join(str(byte) for byte in data[i:i + 40]) for i in range(0, len(data), 40)]
    with open(sys.argv[1], "w") as file:
        file.write("extern const unsigned char snugSchemaFunctions[];\nextern const unsigned long snugSchemaFunctionsSize;\n"
                   "const unsigned char snugSchemaFunctions[] = {\n" + ",\n".join(lines) + "};\n"
                   f"const unsigned long snugSchemaFunctionsSize = {len(data)};\n")


if __name__ == "__main__":
    main()
