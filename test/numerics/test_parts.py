# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a concatenation or a padding takes in is made where it belongs: no copy, and no buffer of its own."""
import subprocess

import numpy as np
import pytest

import snug
from ops import Graph, noise

ROWS, COLUMNS = 256, 64


def projections(g, count):
    """So many tensors of ROWS x COLUMNS, each computed by a contraction."""
    x = g.input("x", noise(ROWS, COLUMNS), ["rows", COLUMNS])
    return [g.node("MatMul", x, g.constant(noise(COLUMNS, COLUMNS, seed=i) * 0.1)) for i in range(count)]


def concatenation(axis):
    g = Graph()
    whole = g.node("Concat", *projections(g, 3), axis=axis)
    return g, g.node("Softmax", g.node("Transpose", whole, perm=[1, 0]), axis=0), 3 * ROWS * COLUMNS * 4


def padding():
    g = Graph()
    padded = g.node("Pad", *projections(g, 1), g.constant(np.array([8, 8, 8, 8])))
    return g, g.node("Softmax", g.node("Transpose", padded, perm=[1, 0]), axis=0), (ROWS + 16) * (COLUMNS + 16) * 4


@pytest.mark.parametrize("case", [lambda: concatenation(0), lambda: concatenation(1), padding],
                         ids=["rows", "columns", "padding"])
@pytest.mark.parametrize("bounded", [False, True], ids=["static", "bounded"])
def test_parts_cost_nothing(case, bounded, tmp_path):
    g, result, whole = case()
    g.output(result, 2)
    model = g.save(tmp_path / "m.onnx")
    dims = {"rows": f"1..{ROWS}" if bounded else ROWS}
    _, report = snug.compile_model(model, tmp_path / "m.so", dims)
    # Live at the worst time: the whole, and its transposition; that is the result's, which softmax writes over.
    assert report["memory"]["arena"] == whole
    got, stats = snug.run_model(tmp_path / "m.so", g.values)
    assert stats["measured"]["arena_high_water"] == whole
    for name, value in snug.reference(model, g.values).items():
        assert snug.relative_error(got[name], value) < 1e-6, name
    arguments = [snug.tool("SNUGC"), model, "--emit", "plan", "--dim", f"rows={dims['rows']}"]
    plan = subprocess.run([str(a) for a in arguments], capture_output=True, text=True, check=True).stdout
    assert "snug_plan.arena" in plan and "copy" not in plan
