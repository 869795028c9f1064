# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Random programs of linalg on tensors; the same program for the same seed everywhere."""
import numpy as np

from linalg_emitter import tensor
from linalg_patterns import Patterns

EXTENTS = [1, 2, 3, 4, 5, 7, 8, 12, 13, 16, 17, 24, 31, 32, 33, 48, 61, 64, 97, 128]
MOST = 16384  # elements of a value: plain loops are quick
LARGE = 20.0  # values are kept below, so that no cancellation hides what is compared
STEPS = ["unary", "binary", "expression", "indexed", "update", "contract", "contract", "contract", "matmul", "reduce",
         "reduce", "softmax", "norm", "transpose", "broadcast", "expand", "collapse", "concat", "insert", "slice", "pad",
         "gather", "conv1d", "conv2d", "pool", "loop", "attention", "mlp", "shared"]
CONTROL = ["repeat", "branch"]  # with bodies of steps; in each fifth program


class Program(Patterns):
    """steps: only so many of the seed's steps, to find the least that fails."""

    def __init__(self, seed, steps=None):
        super().__init__(seed)
        for _ in range(self.random.randint(1, 3)):
            self.values.append(self.argument(self.shape()))
        if self.bound and not any("n" in v.shape for v in self.values):
            self.values.append(self.argument(("n", self.random.choice([8, 13, 32, 64]))))
        inputs = len(self.values)
        self.kinds = []
        self.choices = STEPS + 6 * CONTROL if seed % 5 == 4 else STEPS
        count = self.random.randint(4, 16)
        for _ in range(3 * count):
            if len(self.kinds) == (count if steps is None else steps):
                break
            kind = self.step()
            if kind:
                self.kinds.append(kind)
        made = self.values[inputs:]
        made = [v for v in made if not v.borrowed]  # upstream copies what is returned of an argument
        if not made:
            self.unary(self.values[0])
            made = [self.values[-1]]
        outputs = [made[-1]]
        for value in made:
            used = any(f"{value.name}{end}" in line for line in self.lines for end in (" ", ",", ")") if
                       not line.strip().startswith(value.name + " ="))
            if not used or self.random.random() < 0.08:
                outputs.append(value)
        self.outputs = list(dict.fromkeys(outputs))[:6]

    def step(self):
        """Its kind, or None where it does not go with the value that was drawn."""
        kind, before = self.random.choice(self.choices), len(self.values)
        # Mostly what was made last, so that chains get long; sometimes anything, so that values live long.
        value = self.random.choice(self.values[-3:] if self.random.random() < 0.75 else self.values)
        getattr(self, kind)(value)
        if len(self.values) == before:
            return None
        self.tame()
        return kind

    def mlir(self):
        return self.text(f"p{self.seed}", self.outputs)

    # --- choices

    def extent(self):
        return self.random.choice(EXTENTS)

    def shape(self):
        while True:
            shape = [self.extent() for _ in range(self.random.choice([1, 2, 2, 3, 3, 3, 4, 4, 5]))]
            if self.bound and self.random.random() < 0.6:
                shape[self.random.randrange(len(shape))] = "n"
            if 256 <= self.elements(shape) <= MOST:
                return shape

    def fits(self, shape):
        return self.elements(shape) <= MOST and len(shape) <= 6

    def affords(self, extents):
        return self.elements(extents) <= 400000

    def like(self, value):
        """Another value of the shape, or a new argument."""
        others = [v for v in self.values if v.shape == value.shape]
        return self.random.choice(others) if self.random.random() < 0.9 else self.argument(value.shape)

    def part(self, value):
        """(operand, map results) that a value's shape can be combined with: a part of its dims in any order."""
        dims = [d for d in range(value.rank) if self.random.random() < 0.6]
        self.random.shuffle(dims)
        shape = [value.shape[d] for d in dims]
        found = [v for v in self.values if list(v.shape) == shape]
        operand = self.random.choice(found) if found else self.argument(shape)
        if shape and self.random.random() < 0.2:  # read at 0 along one dim
            at = self.random.randrange(len(shape))
            dims[at] = None
        return operand, dims

    def tame(self):
        value = self.values[-1]
        if value.dtype == self.dtype and self.size(value) > LARGE:
            factor = 2.0 ** -np.ceil(np.log2(self.size(value) / 4))
            scale = self.constant(factor)
            dims = list(range(value.rank))
            self.map([(value, dims)], value.shape, lambda a: (lambda l, r: ([l], r))(*self.scalar("arith.mulf", a[0], scale)),
                     lambda x: x * float(f"{factor:.6e}"))

    # --- elementwise

    def unary(self, x):
        op, function = self.random.choice([("tanh", np.tanh), ("abs", np.abs), ("negf", np.negative), ("square", np.square),
                                           ("exp", np.exp)])
        if op == "exp" and self.size(x) > 4:
            op, function = "tanh", np.tanh
        self.named(f"linalg.{op}", [x], self.empty(x.shape), x.shape, function)

    def binary(self, x):
        op, function = self.random.choice([("add", np.add), ("sub", np.subtract), ("mul", np.multiply), ("max", np.maximum),
                                           ("min", np.minimum)])
        self.named(f"linalg.{op}", [x, self.like(x)], self.empty(x.shape), x.shape, function)

    def scalars(self, names):
        """A random expression of the operands: (lines, result, the same of arrays)."""
        lines, result, function = [], names[0], lambda *a: a[0]
        for i in range(1, len(names)):
            op, other = self.random.choice([("arith.addf", np.add), ("arith.mulf", np.multiply), ("arith.subf", np.subtract),
                                            ("arith.maximumf", np.maximum), ("arith.minimumf", np.minimum)])
            line, result = self.scalar(op, result, names[i])
            lines.append(line)
            function = (lambda before, other, i: lambda *a: other(before(*a), a[i]))(function, other, i)
        if self.random.random() < 0.5:
            op, last = self.random.choice([("math.tanh", np.tanh), ("math.absf", np.abs), ("arith.negf", np.negative)])
            line, result = self.scalar(op, result)
            lines.append(line)
            function = (lambda before: lambda *a: last(before(*a)))(function)
        return lines, result, function

    def expression(self, x):
        """Any operands whose dims are among those of x, and the result in any order of dims."""
        operands = [(x, list(range(x.rank)))] + [self.part(x) for _ in range(self.random.randint(0, 2))]
        out = list(range(x.rank))
        if self.random.random() < 0.3:
            self.random.shuffle(out)
        lines, result, function = self.scalars([f"%a{i}" for i in range(len(operands))])
        self.map(operands, [x.shape[d] for d in out], lambda names: (lines, result), function, out)

    def indexed(self, x):
        """What depends on the place."""
        dim = self.random.randrange(x.rank) if x.rank else None
        if dim is None:
            return
        weight = 0.01
        number = self.constant(weight)
        lines = [f"%j = arith.index_cast %i{dim} : index to i32", f"%f = arith.sitofp %j : i32 to {self.dtype}",
                 f"%g = arith.mulf %f, {number} : {self.dtype}", f"%h = arith.addf %a0, %g : {self.dtype}"]
        dims = list(range(x.rank))
        self.map([(x, dims)], x.shape, lambda names: (lines, "%h"),
                 lambda a: a + weight * np.arange(a.shape[dim]).reshape([-1 if d == dim else 1 for d in dims]))

    def update(self, x):
        """Into a destination that has a value: bufferized in place where that value dies."""
        old = self.like(x)
        if old.name.startswith("%arg"):
            return
        dims = list(range(x.rank))
        op, function = self.random.choice([("arith.addf", np.add), ("arith.subf", np.subtract)])
        line, result = self.scalar(op, "%acc", "%a0")
        self.generic([(x, dims)], x.shape, dims, "p" * x.rank, lambda names: ([line], result), old.name,
                     lambda env: function(env[old.name], env[x.name]))

    def shared(self, x):
        """Two kernels with one destination: it is needed twice."""
        empty = self.empty(x.shape)
        first = self.named("linalg.tanh", [x], empty, x.shape, np.tanh)
        second = self.named("linalg.abs", [x], empty, x.shape, np.abs)
        self.named("linalg.add", [first, second], self.empty(x.shape), x.shape, np.add)

    # --- contractions and reductions

    def contract(self, x):
        """Any of its dims summed, with or without batch dims, over factors and results in any order."""
        if x.rank == 0:
            return
        dims = list(range(x.rank))
        summed = [d for d in dims if self.random.random() < 0.4] or [self.random.choice(dims)]
        batch = [d for d in dims if d not in summed and self.random.random() < 0.25]
        extents = list(x.shape) + [self.random.choice([1, 3, 8, 16, 24, 40]) for _ in range(self.random.randint(0, 2))]
        free = list(range(x.rank, len(extents)))
        b_dims = summed + batch + free
        out = [d for d in dims if d not in summed] + free
        order = list(range(len(extents)))
        for part in (b_dims, out, order):
            if self.random.random() < 0.5:
                self.random.shuffle(part)
        # The dims of the iteration space in any order, the sums too.
        place = {d: i for i, d in enumerate(order)}
        shape = [extents[d] for d in b_dims]
        if not self.fits(shape):
            return
        found = [v for v in self.values if list(v.shape) == shape]
        b = self.random.choice(found) if found and self.random.random() < 0.5 else self.weight(shape)
        self.product(x, b, [place[d] for d in dims], [place[d] for d in b_dims], [place[d] for d in out],
                     [extents[d] for d in order], self.random.choice([0.0, 0.0, 0.5]))

    def matmul(self, x):
        """The named ops."""
        if x.rank not in (2, 3):
            return
        columns = self.random.choice([5, 16, 24, 48])
        shape = list(x.shape[:-1]) + [columns]
        if not self.fits(shape):
            return
        weight = self.weight(([x.shape[0]] if x.rank == 3 else []) + [x.shape[-1], columns])
        op = "linalg.batch_matmul" if x.rank == 3 else "linalg.matmul"
        self.named(op, [x, weight], self.filled(shape, 0.0), shape, np.matmul)

    def reduce(self, x):
        dims = [d for d in range(x.rank) if self.random.random() < 0.4]
        if not dims:
            return
        shape = [e for d, e in enumerate(x.shape) if d not in dims]
        op, identity, function = self.random.choice([("arith.addf", 0.0, np.sum), ("arith.addf", 0.25, np.sum),
                                                     ("arith.maximumf", -1e30, np.max), ("arith.minimumf", 1e30, np.min)])
        start = identity if op == "arith.addf" else 0.0
        init, name, type_ = self.filled(shape, identity), self.name(), tensor(shape, self.dtype)
        axes = tuple(dims)
        if self.random.random() < 0.5:
            self.line(f"{name} = linalg.reduce ins({x.name} : {x.type}) outs({init} : {type_}) dimensions = {dims}")
            self.line(f"  (%in: {self.dtype}, %out: {self.dtype}) {{ %r = {op} %in, %out : {self.dtype} "
                      f"linalg.yield %r : {self.dtype} }}")
            self.add(name, shape, lambda env: np.asarray(function(env[x.name], axis=axes) + start))
        else:
            line, result = self.scalar(op, "%acc", "%a0")
            kinds = "".join("r" if d in dims else "p" for d in range(x.rank))
            self.generic([(x, list(range(x.rank)))], shape, [d for d in range(x.rank) if d not in dims], kinds,
                         lambda names: ([line], result), init, lambda env: np.asarray(function(env[x.name], axis=axes) + start))

    # --- movement

    def transpose(self, x):
        order = self.random.sample(range(x.rank), x.rank)
        if x.rank < 2:
            return
        shape = [x.shape[d] for d in order]
        empty, name, type_ = self.empty(shape), self.name(), tensor(shape, self.dtype)
        self.line(f"{name} = linalg.transpose ins({x.name} : {x.type}) outs({empty} : {type_}) permutation = {order}")
        self.add(name, shape, lambda env: env[x.name].transpose(order))

    def broadcast(self, x):
        shape, at = list(x.shape), self.random.randint(0, x.rank)
        shape.insert(at, self.random.choice([2, 3, 8]))
        if not self.fits(shape):
            return
        empty, name, type_ = self.empty(shape), self.name(), tensor(shape, self.dtype)
        self.line(f"{name} = linalg.broadcast ins({x.name} : {x.type}) outs({empty} : {type_}) dimensions = [{at}]")
        self.add(name, shape, lambda env: np.broadcast_to(np.expand_dims(env[x.name], at), self.extents(shape, env)))

    def expand(self, x):
        groups = []
        for e in x.shape:
            factors = [f for f in (2, 3, 4, 8, 16) if e != "n" and e % f == 0 and e > f]
            if factors and self.random.random() < 0.6:
                f = self.random.choice(factors)
                groups.append(self.random.choice([[e // f, f], [f, e // f]]))
            else:
                groups.append(self.random.choice([[e], [e], [e], [1, e], [e, 1]]))
        if sum(len(g) for g in groups) > x.rank and sum(len(g) for g in groups) <= 6:
            self.expand_to(x, groups)

    def collapse(self, x):
        groups, d = [], 0
        while d < x.rank:
            length = self.random.choice([1, 1, 2, 3])
            group = list(range(d, min(d + length, x.rank)))
            if any(x.shape[i] == "n" for i in group) and any(x.shape[i] not in ("n", 1) for i in group):
                group = group[:1]
            groups.append(group)
            d = group[-1] + 1
        if len(groups) == x.rank:
            return
        shape = ["n" if any(x.shape[i] == "n" for i in g) else int(np.prod([x.shape[i] for i in g])) for g in groups]
        name = self.name()
        self.line(f"{name} = tensor.collapse_shape {x.name} {groups} : {x.type} into {tensor(shape, self.dtype)}")
        self.add(name, shape, lambda env: env[x.name].reshape(self.extents(shape, env)), view_of=x)

    def insert_into(self, part, dest, shape, offsets, sizes):
        name, type_ = self.name(), tensor(shape, self.dtype)
        texts = [", ".join("%n" if e == "n" else str(e) for e in sizes), ", ".join(["1"] * len(shape))]
        self.line(f"{name} = tensor.insert_slice {part.name} into {dest}[{', '.join(map(str, offsets))}] [{texts[0]}] "
                  f"[{texts[1]}] : {part.type} into {type_}")
        return name

    def concat(self, x):
        fixed = [d for d in range(x.rank) if x.shape[d] != "n"]
        if not fixed:
            return
        dim = self.random.choice(fixed)
        parts = [x, self.like(x)] + ([self.like(x)] if self.random.random() < 0.3 else [])
        shape = list(x.shape)
        shape[dim] *= len(parts)
        if not self.fits(shape):
            return
        dest = self.empty(shape)
        for i, part in enumerate(parts):
            offsets = [0] * x.rank
            offsets[dim] = i * x.shape[dim]
            dest = self.insert_into(part, dest, shape, offsets, x.shape)
        self.add(dest, shape, lambda env: np.concatenate([env[p.name] for p in parts], axis=dim))

    def insert(self, x):
        """A part of a value is replaced; the value may be needed after."""
        places = [d for d in range(x.rank) if x.shape[d] != "n" and x.shape[d] > 2]
        if not places:
            return
        dim = self.random.choice(places)
        length = self.random.randint(1, x.shape[dim] - 1)
        start = self.random.randint(0, x.shape[dim] - length)
        part = self.cut(x if self.random.random() < 0.5 else self.like(x), dim, 0, length, 1)
        part = self.named("linalg.tanh", [part], self.empty(part.shape), part.shape, np.tanh)
        old = self.like(x)
        offsets, sizes = [0] * x.rank, list(x.shape)
        offsets[dim], sizes[dim] = start, length

        def compute(env):
            array = env[old.name].copy()
            array[tuple(slice(start, start + length) if d == dim else slice(None) for d in range(x.rank))] = env[part.name]
            return array
        self.add(self.insert_into(part, old.name, x.shape, offsets, sizes), x.shape, compute)

    def cut(self, x, dim, start, length, stride, drop=False):
        offsets, sizes, strides = [0] * x.rank, list(x.shape), [1] * x.rank
        offsets[dim], sizes[dim], strides[dim] = start, length, stride
        shape = [e for d, e in enumerate(sizes) if not (drop and d == dim)]
        name = self.name()
        texts = ["%n" if e == "n" else str(e) for e in sizes]
        self.line(f"{name} = tensor.extract_slice {x.name}{offsets} [{', '.join(texts)}] {strides} : {x.type} to "
                  f"{tensor(shape, self.dtype)}")
        places = tuple(start if drop and d == dim else slice(start, start + (length - 1) * stride + 1, stride) if d == dim
                       else slice(None) for d in range(x.rank))
        return self.add(name, shape, lambda env: env[x.name][places], view_of=x)

    def slice(self, x):
        places = [d for d in range(x.rank) if x.shape[d] != "n" and x.shape[d] > 2]
        if not places:
            return
        dim = self.random.choice(places)
        stride = self.random.choice([1, 1, 1, 2])
        start = self.random.randint(0, x.shape[dim] // 2)
        length = self.random.randint(1, (x.shape[dim] - start - 1) // stride + 1)
        drop = x.rank > 1 and self.random.random() < 0.3
        self.cut(x, dim, start, 1 if drop else length, stride, drop)

    def pad(self, x):
        if x.rank == 0:
            return
        low = [0 if e == "n" else self.random.choice([0, 0, 1, 2]) for e in x.shape]
        high = [0 if e == "n" else self.random.choice([0, 0, 1, 3]) for e in x.shape]
        shape = [e if e == "n" else l + e + h for e, l, h in zip(x.shape, low, high)]
        if not self.fits(shape) or not any(low + high):
            return
        value, name = self.constant(0.5), self.name()
        self.line(f"{name} = tensor.pad {x.name} low{low} high{high} {{")
        self.line(f"^bb0({', '.join(f'%p{d}: index' for d in range(x.rank))}):")
        self.line(f"  tensor.yield {value} : {self.dtype}")
        self.line(f"}} : {x.type} to {tensor(shape, self.dtype)}")
        self.add(name, shape, lambda env: np.pad(env[x.name], list(zip(low, high)), constant_values=0.5))

    def gather(self, x):
        """Rows of x, by their numbers."""
        if x.rank == 0 or x.shape[0] == "n":
            return
        rows = self.random.choice([1, 5, 16, 40])
        shape = [rows] + list(x.shape[1:])
        if not self.fits(shape):
            return
        index = self.argument([rows], "i64", limit=x.shape[0])
        lines = ["%row = arith.index_cast %a0 : i64 to index"]
        places = ", ".join(["%row"] + [f"%i{d}" for d in range(1, x.rank)])
        lines.append(f"%got = tensor.extract {x.name}[{places}] : {x.type}")
        self.generic([(index, [0])], shape, list(range(x.rank)), "p" * x.rank, lambda names: (lines, "%got"),
                     self.empty(shape), lambda env: env[x.name][env[index.name]])
