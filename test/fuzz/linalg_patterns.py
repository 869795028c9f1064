# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Steps of random programs that are more than one op, or read windows."""
import numpy as np

from linalg_emitter import Emitter, Value, affine, tensor


class Patterns(Emitter):
    # --- rows

    def over(self, x, dim, op, identity, function):
        """The reduction of one dim, as a value without it."""
        shape = [e for d, e in enumerate(x.shape) if d != dim]
        line, result = self.scalar(op, "%acc", "%a0")
        kinds = "".join("r" if d == dim else "p" for d in range(x.rank))
        return self.generic([(x, list(range(x.rank)))], shape, [d for d in range(x.rank) if d != dim], kinds,
                            lambda names: ([line], result), self.filled(shape, identity),
                            lambda env: np.asarray(function(env[x.name], axis=dim)))

    def combine(self, x, y, dim, op, function):
        """x with y, which lacks the dim."""
        line, result = self.scalar(op, "%a0", "%a1")
        dims = list(range(x.rank))
        return self.map([(x, dims), (y, [d for d in dims if d != dim])], x.shape, lambda names: ([line], result), function)

    def softmax(self, x, dim=None):
        if x.rank == 0:
            return None
        dim = self.random.randrange(x.rank) if dim is None else dim

        def whole(a):
            e = np.exp(a - a.max(axis=dim, keepdims=True))
            return e / e.sum(axis=dim, keepdims=True)
        if self.random.random() < 0.5:
            empty, name = self.empty(x.shape), self.name()
            self.line(f"{name} = linalg.softmax dimension({dim}) ins({x.name} : {x.type}) outs({empty} : {x.type}) -> {x.type}")
            return self.add(name, x.shape, lambda env: whole(env[x.name]))
        highest = self.over(x, dim, "arith.maximumf", -1e30, np.max)
        shifted = self.combine(x, highest, dim, "arith.subf", np.subtract)
        powers = self.named("linalg.exp", [shifted], self.empty(x.shape), x.shape, np.exp)
        return self.combine(powers, self.over(powers, dim, "arith.addf", 0.0, np.sum), dim, "arith.divf", np.divide)

    def norm(self, x):
        if x.rank < 2:
            return
        dim = x.rank - 1 if self.random.random() < 0.6 else self.random.randrange(x.rank)
        if x.shape[dim] == "n":
            return
        share = self.constant(1.0 / x.shape[dim])
        factor = float(f"{1.0 / x.shape[dim]:.6e}")
        small = self.constant(0.01)
        total = self.over(x, dim, "arith.addf", 0.0, np.sum)
        multiply, mean = self.scalar("arith.mulf", "%a1", share)
        subtract, centred = self.scalar("arith.subf", "%a0", mean)
        dims, others = list(range(x.rank)), [d for d in range(x.rank) if d != dim]
        y = self.map([(x, dims), (total, others)], x.shape, lambda names: ([multiply, subtract], centred),
                     lambda a, b: a - b * factor)
        square = self.named("linalg.square", [y], self.empty(x.shape), x.shape, np.square)
        variance = self.over(square, dim, "arith.addf", 0.0, np.sum)
        first, scaled = self.scalar("arith.mulf", "%a1", share)
        second, above = self.scalar("arith.addf", scaled, small)
        third, root = self.scalar("math.sqrt", above)
        last, result = self.scalar("arith.divf", "%a0", root)
        self.map([(y, dims), (variance, others)], x.shape, lambda names: ([first, second, third, last], result),
                 lambda a, b: a / np.sqrt(b * factor + 0.01))

    # --- windows

    def conv1d(self, x):
        """Along one dim, as a generic: out[.., i, ..] = sum of x[.., s i + j, ..] w[j]."""
        places = [d for d in range(x.rank) if x.shape[d] != "n" and x.shape[d] >= 8]
        if not places:
            return
        dim, width, stride = self.random.choice(places), self.random.choice([2, 3, 5]), self.random.choice([1, 1, 2])
        length = (x.shape[dim] - width) // stride + 1
        weight = self.weight([width])
        shape = [length if d == dim else e for d, e in enumerate(x.shape)]
        window = x.rank
        step = f"d{dim}" if stride == 1 else f"d{dim} * {stride}"
        multiply, product = self.scalar("arith.mulf", "%a0", "%a1")
        add, total = self.scalar("arith.addf", "%acc", product)

        def compute(env):
            windows = np.lib.stride_tricks.sliding_window_view(env[x.name], width, axis=dim)
            windows = windows[tuple(slice(None, None, stride) if d == dim else slice(None) for d in range(x.rank))]
            return windows[tuple(slice(0, length) if d == dim else slice(None) for d in range(x.rank))] @ env[weight.name]
        self.generic([(x, [f"{step} + d{window}" if d == dim else d for d in range(x.rank)]), (weight, [window])], shape,
                     list(range(x.rank)), "p" * x.rank + "r", lambda names: ([multiply, add], total),
                     self.filled(shape, 0.0), compute)

    def windows(self, x, width, stride, dilation):
        """An image [N, H, W, C] and its extents after a window, or None."""
        if x.rank != 4 or "n" in x.shape[1:3]:
            return None
        reach = (width - 1) * dilation + 1
        if min(x.shape[1:3]) < reach:
            return None
        return [(e - reach) // stride + 1 for e in x.shape[1:3]]

    @staticmethod
    def view(array, width, stride, dilation):
        reach = (width - 1) * dilation + 1
        view = np.lib.stride_tricks.sliding_window_view(array, (reach, reach), axis=(1, 2))
        return view[:, ::stride, ::stride, :, ::dilation, ::dilation]  # N H W C KH KW

    def image(self):
        n = self.random.choice([1, 2, "n" if self.bound else 1])
        shape = [n, self.random.choice([8, 9, 14]), self.random.choice([8, 11]), self.random.choice([1, 3, 4])]
        if self.fits(shape):
            self.values.append(self.argument(shape))
            return self.values[-1]
        return None

    def conv2d(self, x):
        width, stride, dilation = self.random.choice([1, 2, 3]), self.random.choice([1, 1, 2]), self.random.choice([1, 1, 2])
        x = x if x.rank == 4 else self.image()
        spatial = x and self.windows(x, width, stride, dilation)
        if not spatial or x.shape[3] == "n":
            return
        shape = [x.shape[0], *spatial, self.random.choice([3, 4, 8])]
        if not self.fits(shape) or not self.affords(shape + [width, width, x.shape[3]]):
            return
        kernel = self.weight([width, width, x.shape[3], shape[3]])
        attributes = f"{{dilations = dense<{dilation}> : tensor<2xi64>, strides = dense<{stride}> : tensor<2xi64>}} "
        self.named("linalg.conv_2d_nhwc_hwcf", [x, kernel], self.filled(shape, 0.0), shape,
                   lambda a, k: np.einsum("nhwcij,ijcf->nhwf", self.view(a, width, stride, dilation), k), attributes)

    def pool(self, x):
        width, stride = self.random.choice([2, 3]), self.random.choice([1, 2])
        x = x if x.rank == 4 else self.image()
        spatial = x and self.windows(x, width, stride, 1)
        if not spatial:
            return
        shape = [x.shape[0], *spatial, x.shape[3]]
        op, identity, function = self.random.choice([("max", -1e30, np.max), ("sum", 0.0, np.sum)])
        empty, name = self.empty([width, width]), self.name()
        window = Value(empty, [width, width], self.dtype)
        init, type_ = self.filled(shape, identity), tensor(shape, self.dtype)
        self.line(f"{name} = linalg.pooling_nhwc_{op} {{dilations = dense<1> : tensor<2xi64>, strides = dense<{stride}> : "
                  f"tensor<2xi64>}} ins({x.name}, {empty} : {x.type}, {window.type}) outs({init} : {type_}) -> {type_}")
        self.add(name, shape, lambda env: function(self.view(env[x.name], width, stride, 1), axis=(4, 5)))

    def loop(self, x):
        """A loop that was there before, carrying a value."""
        if x.name.startswith("%arg"):
            return
        other = self.like(x)
        low, high, step = (self.constant(i, "index") for i in (0, 3, 1))
        half, name, inner = self.constant(0.5), self.name(), self.name()
        dims = affine(x.rank, range(x.rank))
        kinds = ", ".join(['"parallel"'] * x.rank)
        self.line(f"{name} = scf.for %it = {low} to {high} step {step} iter_args(%carried = {x.name}) -> ({x.type}) {{")
        self.line(f"{inner} = linalg.generic {{indexing_maps = [{dims}, {dims}], iterator_types = [{kinds}]}} "
                  f"ins({other.name} : {other.type}) outs(%carried : {x.type}) {{")
        self.line(f"^bb0(%b: {self.dtype}, %a: {self.dtype}):")
        self.line(f"  %h = arith.mulf %a, {half} : {self.dtype}")
        self.line(f"  %s = arith.addf %h, %b : {self.dtype}")
        self.line(f"  linalg.yield %s : {self.dtype}")
        self.line(f"}} -> {x.type}")
        self.line(f"scf.yield {inner} : {x.type}")
        self.line("}")

        def compute(env):
            array = env[x.name]
            for _ in range(3):
                array = array * 0.5 + env[other.name]
            return array
        self.add(name, x.shape, compute)

    # --- loops and branches that were there before, with steps in their bodies

    def body(self, make, values=()):
        """(Lines, steps, what is yielded) of what `make` does with these values, beside all from outside."""
        outer = self.lines, self.steps, self.values
        self.lines, self.steps, self.values, self.depth = [], [], outer[2] + list(values), self.depth + 1
        result = make(*values)
        made = self.lines, self.steps, result
        self.lines, self.steps, self.values, self.depth = *outer, self.depth - 1
        return made

    def some_steps(self, shape, *carried):
        """What they end with is new, or written into what is carried, so that it stays in its buffer."""
        before = len(self.values) - len(carried)
        for _ in range(self.random.randint(1, 5)):
            self.step()
        found = [v for v in self.values[before:] if v.shape == shape]
        result = self.random.choice(found[-2:]) if found else self.like(Value("", shape, self.dtype))
        place = carried[-1].name if carried and self.random.random() < 0.6 else self.empty(shape)
        return self.named("linalg.tanh", [result], place, shape, np.tanh)  # stays small, however often

    @staticmethod
    def run(steps, env):
        for name, function in steps:
            env[name] = function(env)

    def inside(self, lines):
        self.lines += ["  " + line for line in lines]

    def repeated(self, x, count, by_condition, make):
        """A loop that carries a value on."""
        low, high, step = (self.constant(i, "index") for i in (0, count, 1))
        name, carried, here = self.name(), Value(self.name(), x.shape, self.dtype), self.name()
        self.env[carried.name] = self.env[x.name]
        lines, steps, result = self.body(make, [carried])
        if not by_condition:
            self.line(f"{name} = scf.for {here} = {low} to {high} step {step} iter_args({carried.name} = {x.name}) -> ({x.type}) {{")
            self.inside(lines)
            self.line(f"  scf.yield {result.name} : {x.type}")
        else:
            more, following, name, before = (self.name() for _ in range(4))
            types = f"(index, {x.type})"
            self.line(f"{name}:2 = scf.while ({here} = {low}, {before} = {x.name}) : {types} -> {types} {{")
            self.line(f"  {more} = arith.cmpi ult, {here}, {high} : index")
            self.line(f"  scf.condition({more}) {here}, {before} : index, {x.type}")
            self.line("} do {")
            self.line(f"^bb0({here}: index, {carried.name}: {x.type}):")
            self.inside(lines)
            self.line(f"  {following} = arith.addi {here}, {step} : index")
            self.line(f"  scf.yield {following}, {result.name} : index, {x.type}")
            name += "#1"
        self.line("}")

        def compute(env):
            local = dict(env)
            local[carried.name] = env[x.name]
            for _ in range(count):
                self.run(steps, local)
                local[carried.name] = local[result.name]
            return local[result.name]
        return self.add(name, x.shape, compute)

    def chosen(self, x, by, limit, one, other):
        """One of two bodies, each of x's shape, by the first element of an argument; `other` may be None for x."""
        zero, first, is_so, name = self.constant(0, "index"), self.name(), self.name(), self.name()
        level = self.constant(limit)
        self.line(f"{first} = tensor.extract {by.name}[{', '.join([zero] * by.rank)}] : {by.type}")
        self.line(f"{is_so} = arith.cmpf ogt, {first}, {level} : {self.dtype}")
        bodies = self.body(one), self.body(other) if other else ([], [], x)
        self.line(f"{name} = scf.if {is_so} -> ({x.type}) {{")
        self.inside(bodies[0][0])
        self.line(f"  scf.yield {bodies[0][2].name} : {x.type}")
        self.line("} else {")
        self.inside(bodies[1][0])
        self.line(f"  scf.yield {bodies[1][2].name} : {x.type}")
        self.line("}")

        def compute(env):
            _, steps, result = bodies[0] if env[by.name].flat[0] > limit else bodies[1]
            local = dict(env)
            self.run(steps, local)
            return local[result.name]
        return self.add(name, x.shape, compute)

    def repeat(self, x):
        if self.depth < 3:
            self.repeated(x, self.random.choice([1, 2, 3]), self.random.random() < 0.4,
                          lambda carried: self.some_steps(x.shape, carried))

    def branch(self, x):
        if self.depth < 3:
            by = self.random.choice([v for v, limits, _ in self.arguments if not limits])
            steps = lambda: self.some_steps(x.shape)
            self.chosen(x, by, self.random.choice([-0.25, 0.0, 0.25]), steps,
                        steps if self.random.random() < 0.6 or x.borrowed else None)

    def attention(self, x):
        """Heads, rows against rows, softmax, and back."""
        if x.rank != 2 or x.shape[1] == "n":
            return
        heads = self.random.choice([1, 2, 4])
        if x.shape[1] % heads:
            return
        head = x.shape[1] // heads
        parts = []
        for _ in range(3):
            weight = self.weight([x.shape[1], x.shape[1]])
            if not self.fits(weight.shape):
                return
            y = self.product(x, weight, [0, 2], [2, 1], [0, 1], [x.shape[0], x.shape[1], x.shape[1]])
            if y is None:
                return
            self.tame()
            parts.append(self.expand_to(self.values[-1], [[x.shape[0]], [heads, head]]))
        q, k, v = parts
        rows = x.shape[0]
        score = self.product(q, k, [1, 0, 3], [2, 0, 3], [0, 1, 2], [heads, rows, rows, head])
        if score is None:
            return
        self.tame()
        weights = self.softmax(self.values[-1], 2)
        mixed = self.product(weights, v, [0, 1, 3], [3, 0, 2], [1, 0, 2], [heads, rows, head, rows])
        name = self.name()
        self.line(f"{name} = tensor.collapse_shape {mixed.name} [[0], [1, 2]] : {mixed.type} into {x.type}")
        y = self.add(name, x.shape, lambda env: env[mixed.name].reshape(env[x.name].shape))
        self.named("linalg.add", [x, y], self.empty(x.shape), x.shape, np.add)

    def mlp(self, x):
        """Wide inside, and back into the residual stream."""
        if x.rank not in (2, 3) or x.shape[-1] == "n":
            return
        width, wide = x.shape[-1], self.random.choice([2, 3, 4]) * x.shape[-1]
        shape = list(x.shape[:-1]) + [wide]
        if not self.fits(shape) or not self.fits([width, wide]):
            return
        rows = list(range(x.rank - 1))
        column, inner = x.rank - 1, x.rank
        extents = list(x.shape[:-1])
        h = self.product(x, self.weight([width, wide]), rows + [inner], [inner, column], rows + [column], extents + [wide, width])
        if h is None:
            return
        h = self.named("linalg.tanh", [h], self.empty(shape), shape, np.tanh)
        y = self.product(h, self.weight([wide, width]), rows + [inner], [inner, column], rows + [column], extents + [width, wide])
        if y is not None:
            self.named("linalg.add", [x, y], self.empty(x.shape), x.shape, np.add)
