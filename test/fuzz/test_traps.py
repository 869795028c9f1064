# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What chunking is known to get wrong elsewhere, each as a program that would show it: five traps of putting loops around
tensor programs, and five defects (D1 to D5) of the AutoChunk reference implementation. Programs run through upstream's
lowering; memory is measured from outside."""
import re

import numpy as np
import pytest

import linalg_library as library
from linalg_library import Failure, chunk, compare
from linalg_patterns import Patterns


class Written(Patterns):
    """A program that is written down step by step."""

    def __init__(self, seed=0):
        super().__init__(seed)
        self.dtype, self.bound, self.keeps_arguments, self.env["n"] = "f32", None, True, None
        self.outputs = []

    def mlir(self):
        return self.text(f"p{self.seed}", self.outputs)

    def unary(self, op, x, function):
        return self.named(f"linalg.{op}", [x], self.empty(x.shape), x.shape, function)

    def linear(self, x, columns):
        rows, width = x.shape
        return self.product(x, self.weight([width, columns]), [0, 2], [2, 1], [0, 1], [rows, columns, width])

    def add_residual(self, x, y):
        return self.named("linalg.add", [x, y], self.empty(x.shape), x.shape, np.add)

    def softmax_op(self, x, dim):
        """In one op, not its parts."""
        def whole(env):
            e = np.exp(env[x.name] - env[x.name].max(axis=dim, keepdims=True))
            return e / e.sum(axis=dim, keepdims=True)
        empty, name = self.empty(x.shape), self.name()
        self.line(f"{name} = linalg.softmax dimension({dim}) ins({x.name} : {x.type}) outs({empty} : {x.type}) -> {x.type}")
        return self.add(name, x.shape, whole)

    def layer(self, x, heads, mask=None):
        """A block of a transformer: attention, then a wide part, each added to what came in."""
        rows, width = x.shape
        q, k, v = (self.expand_to(self.linear(x, width), [[rows], [heads, width // heads]]) for _ in range(3))
        score = self.product(q, k, [1, 0, 3], [2, 0, 3], [0, 1, 2], [heads, rows, rows, width // heads])
        if mask:
            score = self.combine(score, mask, 0, "arith.addf", np.add)
        mixed = self.product(self.softmax(score, 2), v, [0, 1, 3], [3, 0, 2], [1, 0, 2], [heads, rows, width // heads, rows])
        name = self.name()
        self.line(f"{name} = tensor.collapse_shape {mixed.name} [[0], [1, 2]] : {mixed.type} into {x.type}")
        y = self.add(name, x.shape, lambda env: env[mixed.name].reshape(rows, width))
        x = self.add_residual(x, self.linear(y, width))
        return self.add_residual(x, self.linear(self.unary("tanh", self.linear(x, 4 * width), np.tanh), width))


def stack(layers, rows=96, width=32, heads=2, masked=True):
    program = Written()
    x = program.argument([rows, width])
    mask = program.argument([rows, rows]) if masked else None
    x = program.unary("tanh", x, np.tanh)
    for _ in range(layers):
        x = program.layer(x, heads, mask)
    program.outputs = [x]
    return program


def least(program):
    _, whole, peak, _, _ = chunk(program)
    return whole, peak


def run(program, folder, budgets):
    """[(planned, measured)] at these budgets; results are checked."""
    functions, variants, planned = [program.mlir()], [], []
    for i, budget in enumerate(budgets):
        text, _, peak, exact, _ = chunk(program, f"activation-budget={budget}" if budget else "")
        functions.append(text.replace("@p0(", f"@p0_{i}("))
        variants.append((f"p0_{i}", exact))
        planned.append(peak)
    wrong, most = compare(program, library.library(folder, functions), variants)
    assert wrong is None
    return list(zip(planned, most[1:]))


# --- traps of loops over tensors


def test_trap_1_softmax_is_no_end_of_a_loop(tmp_path):
    program = Written()
    q, k, v = (program.argument([256, 16]) for _ in range(3))
    score = program.product(q, k, [0, 2], [1, 2], [0, 1], [256, 256, 16])
    weights = program.softmax_op(score, 1)
    program.outputs = [program.product(weights, v, [0, 2], [2, 1], [0, 1], [256, 16, 256])]
    (planned, measured), = run(program, tmp_path, [None])
    scores = 256 * 256 * 4
    assert measured < scores / 4 and planned < scores / 4


def test_trap_2_what_stays_in_the_loop_is_made_in_the_loop(tmp_path):
    program = Written()
    x = program.argument([512, 16])
    hidden = program.unary("tanh", program.linear(x, 128), np.tanh)
    program.outputs = [program.linear(hidden, 8)]
    (planned, measured), = run(program, tmp_path, [None])
    assert measured < 512 * 128 * 4 / 4 and measured <= planned + 1024


def test_trap_3_residual_updates_are_in_place(tmp_path):
    # The products of all columns need the stream whole, before what is added to it and after.
    program = Written()
    x = program.product(program.weight([512, 512]), program.argument([512, 16]), [0, 2], [2, 1], [0, 1], [512, 16, 512])

    def products():
        return program.product(x, x, [2, 0], [2, 1], [0, 1], [16, 16, 512])
    before = products()
    wide = program.unary("tanh", program.linear(x, 128), np.tanh)
    mixed = program.product(program.linear(wide, 16), before, [0, 2], [2, 1], [0, 1], [512, 16, 16])
    x = program.add_residual(x, mixed)
    program.outputs = [products()]
    (planned, measured), = run(program, tmp_path, [None])
    stream = 512 * 16 * 4
    assert planned < 1.75 * stream and measured <= planned + 1024


def test_trap_4_a_sum_starts_from_zero_once(tmp_path):
    # Long along what is summed: a loop over it saves most.
    program = Written()
    x = program.unary("tanh", program.argument([3, 8192]), np.tanh)
    weights = program.unary("exp", program.argument([8192, 2], scale=0.1), np.exp)
    program.outputs = [program.product(x, weights, [0, 2], [2, 1], [0, 1], [3, 2, 8192], init=1.0)]
    run(program, tmp_path, [None])


def test_trap_5_slices_of_the_keys_are_no_softmax(tmp_path):
    program = Written()
    q, k = program.argument([4, 8]), program.argument([4096, 8])
    keys = program.unary("tanh", k, np.tanh)
    score = program.product(q, keys, [0, 2], [1, 2], [0, 1], [4, 4096, 8])
    # What weights the keys got in total: all but the softmax is parallel in the keys.
    program.outputs = [program.over(program.softmax_op(score, 1), 0, "arith.addf", 0.0, np.sum)]
    run(program, tmp_path, [None])


# --- defects of the reference


def test_d1_no_plan_exceeds_its_budget(tmp_path):
    program = stack(1)
    whole, lowest = least(program)
    assert lowest < whole / 3
    budgets = [lowest + (whole - lowest) * i // 16 for i in range(16)] + [lowest + 1, whole - 1]
    for budget, (planned, measured) in zip(budgets, run(program, tmp_path, budgets)):
        assert planned <= budget
        assert measured <= 1.02 * planned + 1024


def test_d2_a_tight_budget_is_met_or_refused():
    program = stack(1)
    whole, lowest = least(program)
    text, _, peak, _, _ = chunk(program, f"activation-budget={(whole + 9 * lowest) // 10}")
    assert "scf.for" in text and peak < whole
    with pytest.raises(Failure, match=r"the least peak that can be reached is (\d+) bytes, here in 'linalg") as refused:
        chunk(program, f"activation-budget={lowest // 2}")
    named = int(re.search(r"can be reached is (\d+) bytes", str(refused.value)).group(1))
    assert named <= lowest
    assert chunk(program, f"activation-budget={named}")[2] <= named


@pytest.mark.parametrize("masked", [False, True])
def test_d3_depth_changes_nothing(masked):
    """With the mask an argument: what it reaches is far from where it is made."""
    shallow, deep = least(stack(2, masked=masked)), least(stack(12, masked=masked))
    assert deep[1] <= 1.02 * shallow[1] < deep[0] / 3


def test_d4_chunks_are_whole_tiles_and_low_enough():
    program = stack(1, rows=256)
    stdout, _ = library.run([library.SNUG_OPT, "--snug-select-chunks="], library.module(program.mlir(), program))
    sizes = [int(size) for nodes, size in re.findall(r'level = 1 : i64, nodes = \[([^]]*)\], size = (\d+)', stdout)
             if "generic" in nodes]
    assert sizes and max(sizes) > 1
    # The reference, at chunks of one row: six residual streams.
    assert least(program)[1] < 6 * 256 * 32 * 4


def test_d5_loops_add_up_and_equal_is_enough():
    # Two peaks that no one loop covers: what is between them is needed whole.
    program = Written()
    x = program.argument([256, 16])
    first = program.linear(program.unary("tanh", program.linear(x, 256), np.tanh), 16)
    between = program.product(program.weight([128, 256]), first, [0, 2], [2, 1], [0, 1], [128, 16, 256])
    program.outputs = [program.linear(program.unary("tanh", program.linear(between, 512), np.tanh), 8)]
    whole, lowest = least(program)
    text, _, peak, _, _ = chunk(program, f"activation-budget={lowest}")
    assert peak == lowest < whole / 4 and text.count("scf.for") >= 2
    assert "scf.for" not in chunk(program, f"activation-budget={whole}")[0]
    assert "scf.for" in chunk(program, f"activation-budget={whole - 1}")[0]
