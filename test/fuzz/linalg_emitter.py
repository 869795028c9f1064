# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Functions of linalg on tensors as text, with what they compute written down a second time in numpy."""
import math
import random
import re

import numpy as np

NUMPY = {"f32": np.float32, "f64": np.float64, "i64": np.int64}


class Value:
    def __init__(self, name, shape, dtype):
        self.name, self.shape, self.dtype = name, tuple(shape), dtype
        self.borrowed = name.startswith("%arg")  # or a view of an argument

    @property
    def rank(self):
        return len(self.shape)

    @property
    def type(self):
        return tensor(self.shape, self.dtype)


def tensor(shape, dtype):
    """Extents are numbers, or "n", the length that is known at run time."""
    return "tensor<" + "".join("?x" if e == "n" else f"{e}x" for e in shape) + dtype + ">"


def affine(rank, results):
    """results: a dim's number, None for 0, or the text of an expression."""
    texts = [f"d{r}" if isinstance(r, int) else "0" if r is None else r for r in results]
    return f"affine_map<({', '.join(f'd{i}' for i in range(rank))}) -> ({', '.join(texts)})>"


def spread(array, dims, rank):
    """An operand that the map's `dims` index, as numpy broadcasts it over an iteration space."""
    array = array[tuple(0 if d is None else slice(None) for d in dims)]
    present = [d for d in dims if d is not None]
    array = array.transpose(np.argsort(present)) if present else array
    shape = [1] * rank
    for d, extent in zip(sorted(present), array.shape):
        shape[d] = extent
    return array.reshape(shape)


class Emitter:
    """One function. `env` maps names of values to arrays, at the bound of the length while the program is made."""

    def __init__(self, seed):
        self.random, self.seed, self.names = random.Random(seed), seed, 0
        self.dtype = "f32" if self.random.random() < 0.85 else "f64"
        self.bound = self.random.choice([17, 31, 48, 64, 97]) if self.random.random() < 0.35 else None
        self.keeps_arguments = self.random.random() < 0.7  # else bufferization may write into what dies
        self.lines, self.arguments, self.values, self.steps, self.depth = [], [], [], [], 0
        self.env = {"n": self.bound}

    # --- text

    def name(self):
        self.names += 1
        return f"%v{self.names}"

    def line(self, text):
        self.lines.append("    " + text)

    def constant(self, value, dtype=None):
        name = self.name()
        text = str(value) if dtype == "index" else f"{float(value):.6e}"
        self.line(f"{name} = arith.constant {text} : {dtype or self.dtype}")
        return name

    def empty(self, shape, dtype=None):
        name = self.name()
        sizes = ", ".join("%n" for e in shape if e == "n")
        self.line(f"{name} = tensor.empty({sizes}) : {tensor(shape, dtype or self.dtype)}")
        return name

    def filled(self, shape, number):
        empty, value, name, type_ = self.empty(shape), self.constant(number), self.name(), tensor(shape, self.dtype)
        self.line(f"{name} = linalg.fill ins({value} : {self.dtype}) outs({empty} : {type_}) -> {type_}")
        return name

    # --- values

    def elements(self, shape):
        return math.prod(self.bound if e == "n" else e for e in shape)

    def extents(self, shape, env):
        return [env["n"] if e == "n" else e for e in shape]

    def add(self, name, shape, function, dtype=None, view_of=None):
        """What a line has computed, and how numpy does it: from the environment."""
        value = Value(name, shape, dtype or self.dtype)
        value.borrowed = view_of is not None and view_of.borrowed
        self.steps.append((name, function))
        self.env[name] = function(self.env)
        assert list(self.env[name].shape) == self.extents(shape, self.env), (self.seed, name, self.env[name].shape, shape)
        self.values.append(value)
        return value

    def argument(self, shape, dtype=None, limit=None, scale=1.0):
        """limit: of a tensor of indices, what they stay below."""
        value = Value(f"%arg{len(self.arguments)}", shape, dtype or self.dtype)
        self.arguments.append((value, limit, scale))
        self.env[value.name] = self.data(len(self.arguments) - 1, self.bound)
        return value

    def data(self, index, n):
        value, limit, scale = self.arguments[index]
        numbers = np.random.default_rng([self.seed, index])
        shape = self.extents(value.shape, {"n": n})
        return numbers.integers(0, limit, shape) if limit else \
            (scale * numbers.standard_normal(shape)).astype(NUMPY[value.dtype])

    def size(self, value):
        array = self.env[value.name]
        return float(np.abs(array).max()) if array.size else 0.0

    def evaluate(self, n, precision=np.float64):
        """All values at one length."""
        env = {"n": n}
        for index, (value, limit, _) in enumerate(self.arguments):
            env[value.name] = self.data(index, n).astype(np.int64 if limit else precision)
        for name, function in self.steps:
            env[name] = function(env)
        return env

    # --- linalg

    def generic(self, operands, shape, out, kinds, body, init, function):
        """operands: (value, results of its map). body: from the names of the operands to (lines, what is yielded);
        %acc is the accumulator, %iD the index along dim D where the lines name it."""
        rank, name, type_ = len(kinds), self.name(), tensor(shape, self.dtype)
        names = [f"%a{i}" for i in range(len(operands))]
        lines, result = body(names)
        maps = ", ".join([affine(rank, dims) for _, dims in operands] + [affine(rank, out)])
        iterators = ", ".join('"parallel"' if k == "p" else '"reduction"' for k in kinds)
        ins = ""
        if operands:
            ins = f"ins({', '.join(v.name for v, _ in operands)} : {', '.join(v.type for v, _ in operands)}) "
        self.line(f"{name} = linalg.generic {{indexing_maps = [{maps}], iterator_types = [{iterators}]}} {ins}"
                  f"outs({init} : {type_}) {{")
        blocks = [f"{n}: {v.dtype}" for n, (v, _) in zip(names, operands)] + [f"%acc: {self.dtype}"]
        self.line(f"^bb0({', '.join(blocks)}):")
        for d in range(rank):
            if any(re.search(rf"%i{d}\b", line) for line in lines):
                self.line(f"  %i{d} = linalg.index {d} : index")
        for line in lines:
            self.line("  " + line)
        self.line(f"  linalg.yield {result} : {self.dtype}")
        self.line(f"}} -> {type_}")
        return self.add(name, shape, function)

    def map(self, operands, shape, body, function, out=None, init=None):
        """Elementwise. function: of the operands, spread over the iteration space. out: the result's map."""
        rank = len(shape)
        out = list(range(rank)) if out is None else out
        extents = [shape[out.index(d)] for d in range(rank)]

        def compute(env):
            parts = [spread(env[v.name], dims, rank) for v, dims in operands]
            return np.broadcast_to(function(*parts), self.extents(extents, env)).transpose(out)
        return self.generic(operands, shape, out, "p" * rank, body, init or self.empty(shape), compute)

    def scalar(self, op, *operands):
        """One line of a body, and its result."""
        name = self.name()
        return f"{name} = {op} {', '.join(operands)} : {self.dtype}", name

    def named(self, op, inputs, init, shape, function, attributes=""):
        name, type_ = self.name(), tensor(shape, self.dtype)
        types = ", ".join(v.type for v in inputs)
        self.line(f"{name} = {op} {attributes}ins({', '.join(v.name for v in inputs)} : {types}) outs({init} : {type_}) "
                  f"-> {type_}")
        return self.add(name, shape, lambda env: function(*(env[v.name] for v in inputs)))

    def product(self, a, b, a_dims, b_dims, out, extents, init=0.0):
        """The sum of products over all dims that are not in out; extents: of all dims."""
        shape = [extents[d] for d in out]
        if not shape or not self.fits(shape) or not self.affords(extents):
            return None
        kinds = "".join("p" if d in out else "r" for d in range(len(extents)))
        multiply, product = self.scalar("arith.mulf", "%a0", "%a1")
        add, total = self.scalar("arith.addf", "%acc", product)
        letters = "abcdefghij"
        equation = "".join(letters[d] for d in a_dims) + "," + "".join(letters[d] for d in b_dims) + "->" + \
            "".join(letters[d] for d in out)
        return self.generic([(a, a_dims), (b, b_dims)], shape, out, kinds, lambda names: ([multiply, add], total),
                            self.filled(shape, init), lambda env: init + np.einsum(equation, env[a.name], env[b.name]))

    def weight(self, shape):
        return self.argument(shape, scale=0.3)

    def expand_to(self, x, groups):
        """groups: for each dim the extents that it becomes."""
        shape = [e for group in groups for e in group]
        numbers = iter(range(len(shape)))
        places = [[next(numbers) for _ in group] for group in groups]
        name = self.name()
        sizes = ", ".join("%n" if e == "n" else str(e) for e in shape)
        self.line(f"{name} = tensor.expand_shape {x.name} {places} output_shape [{sizes}] : {x.type} into "
                  f"{tensor(shape, self.dtype)}")
        return self.add(name, shape, lambda env: env[x.name].reshape(self.extents(shape, env)), view_of=x)

    def fits(self, shape):
        """Whether a value may have this shape."""
        return True

    def affords(self, extents):
        """Whether a loop may have these extents."""
        return True

    def text(self, symbol, outputs):
        def attributes(shape):
            found = ["bufferization.writable = false"] if self.keeps_arguments else []
            if "n" in shape:
                texts = ", ".join(f'"{e}"' for e in shape)
                found.append(f"snug.dims = [{texts}]")
            return f" {{{', '.join(found)}}}" if found else ""
        arguments = ", ".join(f"{v.name}: {v.type}{attributes(v.shape)}" for v, _, _ in self.arguments)
        types = ", ".join(v.type for v in outputs)
        head = []
        if self.bound:
            value = next(v for v, _, _ in self.arguments if "n" in v.shape)
            at = value.shape.index("n")
            head = [f"    %at = arith.constant {at} : index", f"    %n = tensor.dim {value.name}, %at : {value.type}"]
        return "\n".join([f"  func.func @{symbol}({arguments}) -> ({types}) attributes {{llvm.emit_c_interface}} {{",
                          *head, *self.lines, f"    return {', '.join(v.name for v in outputs)} : {types}", "  }"])
