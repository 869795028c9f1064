# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""One narrow model of each architecture that exporters write differently: results against ONNX Runtime at the whole arena, half of
it and the least, and memory against the plan."""
import numpy as np
import pytest

import materialize
import snug
from family_dims import FAMILIES, tolerance


def check(model, library, dims, report, name, want, inputs):
    got, stats = snug.run_model(library, inputs)
    assert got.keys() == want.keys()
    for output, value in want.items():
        assert got[output].dtype == value.dtype
        assert snug.relative_error(got[output], value) <= tolerance(name), output
    assert stats["planned"]["arena"] == report["memory"]["arena"]
    assert stats["measured"]["arena_high_water"] <= report["memory"]["arena"]
    assert stats["measured"]["allocations_in_run"] == 0
    return got


@pytest.mark.parametrize("name", FAMILIES)
def test_at_three_budgets(name, weights, tmp_path):
    model, dims, library = weights("families/" + name), FAMILIES[name], tmp_path / "m.so"
    inputs = materialize.make_inputs(model, dims)
    want = snug.reference(model, inputs)
    _, free = snug.compile_model(model, library, dims)
    whole = check(model, library, dims, free, name, want, inputs)
    _, least = snug.compile_model(model, library, dims, 0, allowed=(snug.CANNOT_FIT,))
    for budget in {max(free["memory"]["arena"] // 2, least["budget"]["least_activation"]), least["budget"]["least_activation"]}:
        _, tight = snug.compile_model(model, library, dims, budget)
        assert tight["memory"]["arena"] <= budget
        got = check(model, library, dims, tight, name, want, inputs)
        for output in got if tight["exact"] else ():
            np.testing.assert_array_equal(got[output], whole[output])


@pytest.mark.parametrize("name", [name for name, dims in FAMILIES.items() if "seq" in dims])
def test_one_library_serves_all_lengths(name, weights, tmp_path):
    model, dims = weights("families/" + name), FAMILIES[name]
    _, report = snug.compile_model(model, tmp_path / "m.so", {"batch": f"1..{dims['batch']}", "seq": f"1..{dims['seq']}"})
    for length in (dims["seq"], 7, 1):
        inputs = materialize.make_inputs(model, {"batch": 1, "seq": length})
        got, stats = snug.run_model(tmp_path / "m.so", inputs)
        for output, value in snug.reference(model, inputs).items():
            assert snug.relative_error(got[output], value) <= tolerance(name), (length, output)
        assert stats["measured"]["arena_high_water"] <= report["memory"]["arena"]
