# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Random graphs of ops that transformers are made of; the same graph for the same seed everywhere."""
import random

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

UNARY = ["Relu", "Tanh", "Exp", "Sigmoid", "Neg", "Abs", "Erf", "Gelu"]
STEPS = ["unary", "binary", "weight", "matmul", "softmax", "norm", "transpose", "heads", "reduce", "concat", "slice",
         "attention", "row", "where", "gather", "unsqueeze"]


class Graph:
    """One input x: [B, S, H]; B and S are named dims, and extents of values are names or numbers."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.numbers = np.random.default_rng(seed)
        self.nodes, self.initializers, self.names = [], [], 0
        self.dims = {"B": self.random.choice([1, 2]), "S": self.random.choice([5, 17, 33, 64])}
        self.width = self.random.choice([8, 16, 24])
        self.values = [("x", ("B", "S", self.width))]
        for _ in range(self.random.randint(3, 14)):
            name, shape = self.random.choice(self.values[-4:])
            getattr(self, self.random.choice(STEPS))(name, shape)
        if not self.nodes:  # no step fitted
            self.unary(*self.values[0])
        chosen = [self.values[-1]] + ([self.random.choice(self.values)] if self.random.random() < 0.3 else [])
        self.outputs = [name for name in dict.fromkeys(name for name, _ in chosen) if name != "x"]

    def save(self, path):
        graph = helper.make_graph(
            self.nodes, "random", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", "S", self.width])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in self.outputs], self.initializers)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), path)

    def input(self):
        return self.numbers.standard_normal((self.dims["B"], self.dims["S"], self.width), np.float32)

    # --- parts

    def name(self):
        self.names += 1
        return f"v{self.names}"

    def constant(self, array):
        name = self.name()
        self.initializers.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def floats(self, *shape):
        return self.constant(self.numbers.standard_normal(shape, np.float32) * np.float32(0.3))

    def ints(self, *values):
        return self.constant(np.array(values, np.int64))

    def add(self, op, inputs, shape, **attributes):
        name = self.name()
        self.nodes.append(helper.make_node(op, inputs, [name], name=f"node_{name}", **attributes))
        self.values.append((name, tuple(shape)))
        return name

    def like(self, shape):
        return self.random.choice([name for name, other in self.values if other == shape])

    # --- steps; one that does not fit the shape adds nothing

    def unary(self, x, shape):
        self.add(self.random.choice(UNARY), [x], shape)

    def binary(self, x, shape):
        self.add(self.random.choice(["Add", "Mul", "Sub"]), [x, self.like(shape)], shape)

    def weight(self, x, shape):
        if isinstance(shape[-1], int):
            self.add(self.random.choice(["Add", "Mul"]), [x, self.floats(shape[-1])], shape)

    def row(self, x, shape):
        if isinstance(shape[-1], int):
            self.add("Add", [x, self.floats(1, shape[-1])], shape)

    def matmul(self, x, shape):
        if isinstance(shape[-1], int):
            columns = self.random.choice([4, 8, 12, 24])
            self.add("MatMul", [x, self.floats(shape[-1], columns)], shape[:-1] + (columns,))

    def softmax(self, x, shape):
        self.add("Softmax", [x], shape, axis=self.random.choice([-1, len(shape) - 2]))

    def norm(self, x, shape):
        if isinstance(shape[-1], int):
            self.add("LayerNormalization", [x, self.floats(shape[-1]), self.floats(shape[-1])], shape, axis=-1)

    def transpose(self, x, shape):
        order = self.random.sample(range(len(shape)), len(shape))
        self.add("Transpose", [x], [shape[i] for i in order], perm=order)

    def heads(self, x, shape):
        if len(shape) == 3 and isinstance(shape[-1], int) and shape[-1] % 4 == 0:
            self.add("Reshape", [x, self.ints(0, 0, 4, shape[-1] // 4)], shape[:-1] + (4, shape[-1] // 4))

    def reduce(self, x, shape):
        axis = self.random.randrange(len(shape))
        self.add(self.random.choice(["ReduceMean", "ReduceSum", "ReduceMax"]), [x, self.ints(axis)],
                 [1 if i == axis else extent for i, extent in enumerate(shape)], keepdims=1)

    def concat(self, x, shape):
        if isinstance(shape[-1], int):
            self.add("Concat", [x, self.like(shape)], shape[:-1] + (2 * shape[-1],), axis=-1)

    def slice(self, x, shape):
        if isinstance(shape[-1], int) and shape[-1] > 2:
            inputs = [x, self.ints(1), self.ints(shape[-1] - 1), self.ints(-1)]
            self.add("Slice", inputs, shape[:-1] + (shape[-1] - 2,))

    def attention(self, x, shape):
        if len(shape) >= 3:
            order = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
            keys = self.add("Transpose", [x], [shape[i] for i in order], perm=order)
            scores = self.add("MatMul", [x, keys], shape[:-1] + (shape[-2],))
            weights = self.add("Softmax", [scores], shape[:-1] + (shape[-2],), axis=-1)
            self.add("MatMul", [weights, x], shape)

    def where(self, x, shape):
        condition = self.name()
        self.nodes.append(helper.make_node("Greater", [x, self.floats()], [condition], name=f"node_{condition}"))
        self.add("Where", [condition, x, self.floats()], shape)

    def gather(self, x, shape):
        if len(shape) == 3 and isinstance(shape[-1], int):
            self.add("Gather", [x, self.ints(0, shape[-1] - 1)], shape[:-1] + (2,), axis=2)

    def unsqueeze(self, x, shape):
        if len(shape) < 4:
            self.add("Unsqueeze", [x, self.ints(0)], (1,) + shape)
