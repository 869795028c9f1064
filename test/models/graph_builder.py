# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes graphs down from their inputs to their outputs, for tests of few ops."""
import numpy as np
import onnx
from onnx import helper, numpy_helper

ML, CONTRIB = "ai.onnx.ml", "com.microsoft"


def noise(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


class GraphBuilder:
    """Collects nodes, inputs, outputs (all as ONNX has them), constants, and `values` of inputs by name."""
    domain = ""  # of nodes that name none

    def __init__(self):
        self.nodes, self.inputs, self.outputs, self.constants, self.values = [], [], [], [], {}

    def constant(self, array):
        """Name of an initializer."""
        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def node(self, op, *inputs, outputs=1, domain=None, **attributes):
        """Name of the output, or a list of names where there are more. Inputs are names, None for one that is left out;
        `outputs`: how many, or which ones (names; "" leaves one out)."""
        made = [f"{op}{len(self.nodes)}_{i}" for i in range(outputs)] if isinstance(outputs, int) else \
            [name and f"{op}{len(self.nodes)}_{name}" for name in outputs]
        self.nodes.append(helper.make_node(op, [name or "" for name in inputs], made, name=made[0],
                                           domain=self.domain if domain is None else domain, **attributes))
        found = [name for name in made if name]
        return found[0] if len(found) == 1 else found

    def model(self, opset, inputs=None, outputs=None):
        graph = helper.make_graph(self.nodes, "graph", self.inputs if inputs is None else inputs,
                                  self.outputs if outputs is None else outputs, self.constants)
        imports = [helper.make_opsetid("", opset), helper.make_opsetid(ML, 3), helper.make_opsetid(CONTRIB, 1)]
        return helper.make_model(graph, opset_imports=imports, ir_version=10)

    def save(self, path, opset):
        onnx.save(self.model(opset), path)
        return path
