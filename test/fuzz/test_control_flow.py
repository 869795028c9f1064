# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Loops and branches that were there before, with the peak in their bodies: these are chunked, as far as the budget asks
for it, and take what was planned."""
import re

import numpy as np
import pytest

from linalg_library import Failure, chunk
from test_traps import Written, least, run

ROWS, WIDTH = 96, 32


class Controlled(Written):
    def wide(self, x, place=None):
        """A part that is wide inside, added to x."""
        hidden = self.unary("tanh", self.linear(x, 8 * WIDTH), np.tanh)
        weight, into = self.weight([8 * WIDTH, WIDTH]), (place or x).name
        line, product = self.scalar("arith.mulf", "%a0", "%a1")
        add, total = self.scalar("arith.addf", "%acc", product)
        y = self.generic([(hidden, [0, 2]), (weight, [2, 1])], [ROWS, WIDTH], [0, 1], "ppr",
                         lambda names: ([line, add], total), into,
                         lambda env: env[into] + env[hidden.name] @ env[weight.name])
        return self.named("linalg.tanh", [y], into, y.shape, np.tanh)

    def fresh(self, x):
        """The same, into a tensor of its own."""
        return self.unary("tanh", self.linear(self.unary("tanh", self.linear(x, 8 * WIDTH), np.tanh), WIDTH), np.tanh)


def program(form, limit=0.0):
    p = Controlled()
    x = p.unary("tanh", p.argument([ROWS, WIDTH]), np.tanh)
    by = p.argument([1])
    if form in ("for", "while"):
        y = p.repeated(x, 3, form == "while", p.wide)
    elif form == "for, a new tensor each time":
        y = p.repeated(x, 3, False, p.fresh)
    elif form == "if":
        y = p.chosen(x, by, limit, lambda: p.fresh(x), lambda: p.unary("exp", p.fresh(p.fresh(x)), np.exp))
    elif form == "if, in place":
        y = p.chosen(x, by, limit, lambda: p.wide(x), None)
    elif form == "for in for":
        y = p.repeated(x, 2, False, lambda outer: p.repeated(outer, 2, False, p.wide))
    elif form == "if in for":
        y = p.repeated(x, 3, False, lambda carried: p.chosen(carried, by, limit, lambda: p.wide(carried), None))
    p.outputs = [y]
    return p


FORMS = ["for", "while", "for, a new tensor each time", "if", "if, in place", "for in for", "if in for"]


@pytest.mark.parametrize("form, limit", [(form, limit) for form in FORMS for limit in (-10.0, 10.0)
                                         if limit < 0 or "if" in form])
def test_bodies_are_chunked(form, limit, tmp_path):
    """Each at its least budget and at some above, with both outcomes of a condition."""
    p = program(form, limit)
    whole, lowest = least(p)
    hidden = ROWS * 8 * WIDTH * 4
    assert whole > 2 * hidden > hidden >= 2 * lowest
    budgets = [lowest, (3 * lowest + whole) // 4, (lowest + whole) // 2]
    for budget, (planned, measured) in zip(budgets, run(p, tmp_path, budgets)):
        assert planned <= budget
        assert measured <= planned + 1024  # what the deallocation of what may be one buffer or another takes


def test_no_more_than_the_budget_asks_for():
    p = program("for")
    whole, lowest = least(p)
    assert "snug.chunk_loop" not in chunk(p, f"activation-budget={whole}")[0]
    sizes = [int(re.findall(rf"to %c{ROWS}\w* step %c(\d+)", chunk(p, f"activation-budget={budget}")[0])[0])
             for budget in (lowest, whole - 1)]
    assert sizes[0] < sizes[1]


def test_a_budget_that_no_loop_in_a_body_reaches():
    p = program("if in for")
    _, lowest = least(p)
    with pytest.raises(Failure, match=rf"least peak that can be reached is {lowest} bytes, here in 'linalg"):
        chunk(p, f"activation-budget={lowest - 1}")
