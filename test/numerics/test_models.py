# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Real models, end to end: results against ONNX Runtime, chunked against unchunked, memory against the plan."""
import os

import numpy as np
import pytest

import materialize
import snug
from snug import MIB

TOLERANCE = 1e-5  # relative L2, fp32
LENGTH = 512
watched = pytest.mark.skipif("SNUG_ASAN" in os.environ, reason="AddressSanitizer's own memory would be measured")

# name -> (the dim that is a length, a length whose memory is worth chunking); every exporter, every kind of architecture
MODELS = {"gpt2_tiny": ("seq", LENGTH), "gpt2_tiny_unoptimized": ("seq", LENGTH), "gpt2_tiny_ts14": ("seq", LENGTH),
          "llama_tiny": ("seq", LENGTH), "llama_tiny_decode": ("past", 500), "bert_tiny": ("seq", LENGTH),
          "vit_tiny": (None, None), "folding_tiny": ("n", 64)}
BOUNDED = [name for name, (dim, _) in MODELS.items() if dim]
TINY = ["gpt2_tiny", "llama_tiny"]


def dims_of(name, length=None, batch=1):
    dim, full = MODELS[name]
    return {"batch": batch, **({dim: full if length is None else length} if dim else {})}


def inputs_of(name, model, dims):
    # The decoder's mask has a dim of its own name, which the model shows to be one more than the past.
    extra = {"s22": dims["past"] + 1} if "past" in dims else {}
    return materialize.make_inputs(model, {**dims, **extra})


def assert_close(got, want):
    assert got.keys() == want.keys()
    for name in want:
        assert snug.relative_error(got[name], want[name]) <= TOLERANCE, name


@pytest.mark.parametrize("batch, length", [(1, 128), (2, 45), (1, 1)], ids=["1x128", "2x45", "1x1"])
@pytest.mark.parametrize("name", MODELS)
def test_fixed_length_matches_onnxruntime(name, batch, length, weights, tmp_path):
    model, dims = weights(name), dims_of(name, length, batch)
    snug.compile_model(model, tmp_path / "m.so", dims)
    inputs = inputs_of(name, model, dims)
    outputs, _ = snug.run_model(tmp_path / "m.so", inputs)
    assert_close(outputs, snug.reference(model, inputs))


@pytest.mark.parametrize("name", BOUNDED)
def test_one_bounded_library_serves_all_lengths(name, weights, tmp_path):
    model, most = weights(name), 96 if name == "folding_tiny" else 256
    snug.compile_model(model, tmp_path / "m.so", dims_of(name, f"1..{most}"))
    for length in (most, 77, 1):
        inputs = inputs_of(name, model, dims_of(name, length))
        outputs, _ = snug.run_model(tmp_path / "m.so", inputs)
        assert_close(outputs, snug.reference(model, inputs))


def test_mask_of_another_length_is_refused(weights, tmp_path):
    model, dims = weights("llama_tiny_decode"), dims_of("llama_tiny_decode", 20)
    snug.compile_model(model, tmp_path / "m.so", dims_of("llama_tiny_decode", "2..64"))
    inputs = inputs_of("llama_tiny_decode", model, dims)
    inputs["attention_mask"] = inputs["attention_mask"][:, :-1]
    with pytest.raises(AssertionError, match="exit code 6\n.*attention_mask"):
        snug.run_model(tmp_path / "m.so", inputs)


def compile_within(model, library, dims, budget):
    """Compiles for a budget, or for the least one that a refusal names, which must work. Returns (budget, report)."""
    code, report = snug.compile_model(model, library, dims, budget, allowed=(0, snug.CANNOT_FIT))
    if code == snug.CANNOT_FIT:
        least = report["budget"]["least_reachable"]
        assert least > budget, "refused a budget that it says it can reach"
        assert not library.exists(), "a refused model left a library behind"
        _, report = snug.compile_model(model, library, dims, least)
        return least, report
    return budget, report


@pytest.mark.parametrize("percent", [80, 60, 40, 30, 20])
@pytest.mark.parametrize("name", MODELS)
def test_budget_changes_memory_not_results(name, percent, weights, tmp_path):
    model, dims = weights(name), dims_of(name)
    _, free = snug.compile_model(model, tmp_path / "free.so", dims)
    unchunked = free["memory"]["arena"]
    budget, tight = compile_within(model, tmp_path / "tight.so", dims, unchunked * percent // 100)
    assert tight["memory"]["arena"] <= budget
    if budget < unchunked:  # the least may be what is needed anyway
        assert tight["memory"]["arena"] < unchunked
        # One row cannot be cut, but cheap values can be computed anew for each reader.
        assert tight["chunk_loops"] or name == "llama_tiny_decode", "a smaller arena without a chunk loop"

    inputs = inputs_of(name, model, dims)
    want, _ = snug.run_model(tmp_path / "free.so", inputs)
    got, stats = snug.run_model(tmp_path / "tight.so", inputs, repeat=2)
    assert got.keys() == want.keys()
    for output in want:
        assert np.array_equal(got[output], want[output]), f"{output}: chunked differs from unchunked"
    assert stats["planned"]["arena"] == tight["memory"]["arena"]
    assert stats["measured"]["arena_high_water"] <= stats["planned"]["arena"]
    assert stats["measured"]["allocations_in_run"] == 0
    assert len(stats["latency_ms"]["all"]) == 2 and stats["latency_ms"]["min"] > 0


# A decoder's step has one row, which cannot be cut.
@pytest.mark.parametrize("name", [name for name in MODELS if name != "llama_tiny_decode"])
def test_80_and_60_percent_are_not_refused(name, weights, tmp_path):
    model, dims = weights(name), dims_of(name)
    for percent in (80, 60):
        snug.compile_model(model, tmp_path / "m.so", dims, f"{percent}%")  # asserts exit code 0


def test_loops_over_heads_with_loops_over_rows_inside(weights, tmp_path):
    """A row of attention reads the keys and values of all rows, so that with loops over rows alone the residual stream, keys
    and values are there at one time."""
    model, dims = weights("gpt2_long"), {"batch": 1, "seq": LENGTH}
    residual = LENGTH * 768 * 4
    _, dry = snug.compile_model(model, tmp_path / "dry.so", dims, flags=("--dry-run",))
    least = dry["budget"]["least_activation"]
    assert least < 2.5 * residual
    _, tight = snug.compile_model(model, tmp_path / "tight.so", dims, least)
    levels = [loop["level"] for loop in tight["chunk_loops"]]
    assert 2 in levels and levels[0] == 1
    snug.compile_model(model, tmp_path / "free.so", dims)
    inputs = materialize.make_inputs(model, dims)
    want, _ = snug.run_model(tmp_path / "free.so", inputs)
    got, stats = snug.run_model(tmp_path / "tight.so", inputs)
    for name in want:
        assert np.array_equal(got[name], want[name]), name
    assert stats["measured"]["arena_high_water"] <= least and stats["measured"]["allocations_in_run"] == 0


@pytest.mark.parametrize("name", MODELS)
def test_bounds_are_bounds(name, weights, tmp_path):
    _, report = snug.compile_model(weights(name), tmp_path / "m.so", dims_of(name), flags=("--dry-run",))
    memory, bounds, least = report["memory"], report["bounds"], report["budget"]["least_activation"]
    assert 0 < bounds["lb2"] <= bounds["lb1"] <= memory["unchunked_arena"]
    assert least <= memory["unchunked_arena"]
    assert bounds["lb2"] <= least
    assert bounds["sched"] <= memory["arena"] <= bounds["sched"] * 1.01


def test_impossible_budget_is_refused(weights, tmp_path):
    dims = {"batch": 1, "seq": LENGTH}
    code, report = snug.compile_model(weights("gpt2_tiny"), tmp_path / "m.so", dims, "1KiB", allowed=(snug.CANNOT_FIT,))
    assert code == snug.CANNOT_FIT and report["budget"]["least_reachable"] > 1024
    assert not (tmp_path / "m.so").exists()


def assert_measured_within_plan(library, dims, memory):
    creation, runs, allocations = snug.outside_memory(library, dims)
    # The arena is touched at creation, so growth far below it means that something else was measured.
    assert memory["arena"] <= creation + MIB // 2
    assert creation <= memory["arena"] + memory["library"]
    assert runs <= MIB
    assert allocations == 0


@watched
@pytest.mark.parametrize("tight", [False, True])
@pytest.mark.parametrize("name", TINY)
def test_process_grows_by_the_plan(name, tight, weights, tmp_path):
    dims = {"batch": 2, "seq": LENGTH}
    _, report = snug.compile_model(weights(name), tmp_path / "m.so", dims)
    if tight:
        _, report = compile_within(weights(name), tmp_path / "m2.so", dims, report["memory"]["arena"] // 2)
        (tmp_path / "m2.so").replace(tmp_path / "m.so")
    assert_measured_within_plan(tmp_path / "m.so", dims, report["memory"])


@watched
@pytest.mark.parametrize("threads", [1, 2, 8, 32])
def test_library_bytes_bound_what_threads_need(threads, weights, tmp_path):
    """Stacks of workers, OpenMP's state: what the runtime adds besides the arena, whatever the number of threads."""
    dims = {"batch": 1, "seq": 8}
    _, report = snug.compile_model(weights("gpt2_tiny"), tmp_path / "m.so", dims, flags=("--threads", threads))
    memory = report["memory"]
    creation, runs, _ = snug.outside_memory(tmp_path / "m.so", dims)
    assert memory["library"] // 8 <= creation - memory["arena"] <= memory["library"]
    assert runs <= MIB


@watched
@pytest.mark.long
@pytest.mark.parametrize("budget", [None, "40MiB"])
def test_gpt2_long_process_grows_by_the_plan(budget, weights, tmp_path):
    model, dims = weights("gpt2_long"), {"batch": 1, "seq": 4096}
    _, report = snug.compile_model(model, tmp_path / "m.so", dims, budget)
    assert report["memory"]["arena"] <= (78 if budget is None else 40) * MIB
    assert_measured_within_plan(tmp_path / "m.so", dims, report["memory"])
    inputs = materialize.make_inputs(model, dims)
    outputs, _ = snug.run_model(tmp_path / "m.so", inputs)
    assert_close(outputs, snug.reference(model, inputs))
