# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the benchmarks compute: statistics, checks of tables, judgements of figures. No test has a timed assertion."""
import json
import os
import random
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import benchmark
import budget_figures
import budget_table
import harness
import link_runs
import links
import overlap_links
import shaped_links
import time_model

HERE = Path(__file__).resolve().parent


def test_interval_of_fifteen_rounds_is_the_fourth_to_the_twelfth():
    # P(Binomial(15, 1/2) <= 3) = 1.8 %, and <= 4 would be 5.9 %.
    assert benchmark.interval(range(1, 16)) == (4, 8, 12)


def test_few_rounds_give_the_whole_range():
    assert benchmark.interval([3, 1, 2]) == (1, 2, 3)
    assert benchmark.interval([2]) == (2, 2, 2)


def test_interval_holds_the_true_median_nine_times_in_ten():
    random.seed(0)
    hits = 0
    for _ in range(2000):
        low, _, high = benchmark.interval([random.gauss(1.0, 0.1) for _ in range(15)])
        hits += low <= 1.0 <= high
    assert 0.9 <= hits / 2000 < 0.99


def test_dims_belong_to_the_model_before_them():
    assert benchmark.cases(["a", "batch=1", "seq=8", "b.onnx", "c", "n=2"]) == [
        ("a", ["batch=1", "seq=8"]), ("b.onnx", []), ("c", ["n=2"])]


def contestant(name, *results):
    return types.SimpleNamespace(name=name, results=[np.array(one, np.float32) for one in results], peaks=[1, 2], load_seconds=3.0, files=4)


def test_a_case_has_ratios_of_the_same_round():
    rounds = [{"snug": 2.0, "onnxruntime": 4.0, "openvino-bf16": 1.0}, {"snug": 3.0, "onnxruntime": 6.0, "openvino-bf16": 1.0},
              {"snug": 10.0, "onnxruntime": 20.0, "openvino-bf16": 1.0}]
    found = [contestant("snug", [1, 1], [3, 4]), contestant("onnxruntime", [1, 1], [3, 5]), contestant("openvino-bf16", [1, 1], [3, 5])]
    made = benchmark.summary(found, rounds, 1)
    assert made["engines"]["snug"]["ms"] == 3 and made["engines"]["onnxruntime"]["ratio"] == (0.5, 0.5, 0.5) and made["void"] == 1
    assert made["engines"]["snug"]["error"] == pytest.approx(1 / 34**0.5) and made["engines"]["onnxruntime"]["error"] == 0
    text = list(benchmark.lines({"case": "m", "notes": ["iree: no"], **made}))
    assert text[0].endswith("WRONG") and text[1].endswith("0.0e+00") and "*" in text[1] and "*" not in text[2] and "iree: no" in text[3]


def test_results_of_another_number_are_an_error():
    with pytest.raises(ValueError):
        benchmark.relative_error([np.ones(2)], [np.ones(2), np.ones(2)])
    assert benchmark.relative_error([np.full(2, np.nan)], [np.ones(2)]) != benchmark.relative_error([np.ones(2)], [np.ones(2)]) == 0


def test_the_verdict_compares_with_the_best_peer_in_f32():
    def engine(ms, ratio):
        return {"ms": ms, "ratio": (ratio,) * 3}
    rows = [{"case": "gpt-512", "engines": {"snug": engine(10, 1), "snug 50%": engine(12.5, 0.8), "onnxruntime": engine(20, 0.5),
                                            "openvino": engine(5, 2.0), "openvino-bf16": engine(1, 10.0)}},
            {"case": "evo-128 x=1", "engines": {"snug": engine(10, 1), "snug 50%": engine(10, 1), "torch": engine(20, 0.5)}},
            {"case": "alone", "engines": {"snug": engine(10, 1)}}]
    assert list(benchmark.verdict(rows)) == ["Snug / the best peer (*): geometric mean 1.00 of 2 models; worst 2.00 (gpt-512)",
                                             "  of models of pairs: 0.50",
                                             "snug 50% / snug: geometric mean 1.12 of 2 models; worst 1.25"]


def test_rank_correlation():
    assert time_model.spearman([1, 2, 3, 4], [10, 20, 40, 80]) == 1
    assert time_model.spearman([1, 2, 3], [3, 2, 1]) == -1
    # d = 0, 1, 1, 0: 1 - 6 * 2 / (4 * 15).
    assert abs(time_model.spearman([1, 2, 3, 4], [1, 3, 2, 4]) - 0.8) < 1e-12
    assert list(time_model.ranks([5, 1, 5, 9])) == [1.5, 0, 1.5, 3], "equal values share their mean rank"


# --- budget_table.py: a table that is right, and each way to be wrong

def good_table():
    def row(budget, arena, loops, **more):
        return budget_table.Row(budget, arena=arena, sched=arena, loops=loops, planned=arena, measured=arena - 8,
                                created=arena + 1000, ran=0, library=4096, allocations=0, difference=0.0, **more)
    return budget_table.Table("m", 800, 200, [row(800, 800, 0), row(400, 320, 2), row(200, 200, 3)],
                              below=budget_table.Row(199, 4, named=200), at_named=row(200, 200, 3),
                              references={"the unchunked program": 3e-7})


def test_a_table_that_is_right_has_no_violation():
    table = good_table()
    assert budget_table.violations(table) == []
    table.rows[2].exact, table.rows[2].difference = False, 4e-7
    table.rows[1].loops, table.rows[1].recomputes = 0, True
    assert budget_table.violations(table) == []


@pytest.mark.parametrize("row, change, said", [
    (1, {"arena": 401, "sched": 401, "planned": 401}, "budget 400: arena 401 is over the budget"),
    (1, {"planned": 319}, "the library plans 319, the report 320"),
    (1, {"measured": 321}, "measured 321 is over the plan of 320"),
    (1, {"created": 320 + 4097}, "creating a context added 4417"),
    (1, {"ran": 2**20 + 1}, "runs added 1048577"),
    (1, {"allocations": 1}, "1 allocations in runs"),
    (1, {"sched": 321}, "below LB_sched 321"),
    (1, {"loops": 0}, "silently unchunked"),
    (1, {"code": 4, "named": 500}, "exit code 4, which names 500"),
    (1, {"code": 70, "arena": None}, "exit code 70"),
    (1, {"error": "a run failed: signal 11"}, "a run failed: signal 11"),
    (1, {"difference": 1e-9}, "outputs differ"),
    (2, {"difference": 2e-5, "exact": False}, "outputs differ"),
    (2, {"difference": float("nan"), "exact": False}, "outputs differ"),
    (1, {"arena": 199, "sched": 199, "planned": 199, "measured": 191}, "the arena grows from 199 at budget 400 to 200")])
def test_each_fault_of_a_row_is_seen(row, change, said):
    table = good_table()
    for name, value in change.items():
        setattr(table.rows[row], name, value)
    found = budget_table.violations(table)
    assert len(found) == 1 and said in found[0], found


def test_faults_of_the_least_budget_and_of_outputs_are_seen():
    table = good_table()
    table.below.code = 0
    assert "exit code 0, not 4" in budget_table.violations(table)[0]
    table = good_table()
    table.below.named = 210
    assert "names 210" in budget_table.violations(table)[0]
    table = good_table()
    table.at_named.code = 4
    assert "names 200, at which snugc ends with exit code 4" in budget_table.violations(table)[0]
    for wrong in (2e-5, float("nan")):
        table = good_table()
        table.references["the program at the least budget"] = wrong
        assert "differs from ONNX Runtime" in budget_table.violations(table)[0]
    assert budget_table.violations(budget_table.Table("m", 0, 0, [], failure="no")) == ["m: no"]


def test_budgets_have_even_ratios_and_both_ends():
    budgets = budget_table.budgets_between(51200, 100, 10)
    assert budgets == [100 * 2**i for i in range(9, -1, -1)]
    assert budget_table.budgets_between(1600, 1600, 10) == [1600]
    assert budget_table.budgets_between(102, 100, 10) == [102, 101, 100]


def test_outputs_are_compared_bit_for_bit():
    want = {"y": np.array([1.0, 2.0], np.float32)}
    assert budget_table.difference({"y": want["y"].copy()}, want) == 0
    assert 0 < budget_table.difference({"y": np.nextafter(want["y"], 3)}, want) < 1e-6
    nan = budget_table.difference({"y": np.array([np.nan, 2], np.float32)}, want)
    assert nan != nan
    nan = budget_table.difference({}, want)
    assert nan != nan


# --- budget_figures.py

def figure(asked, **found):
    made = budget_figures.Figure("m", 100, asked)
    for name, value in {"code": 0, "arena": 100, "loops": 1, "predicted": 1.0, "outside": 100, **found}.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize("asked, found, reached", [
    (1.05, {"ratio": (1.0, 1.05, 1.2)}, True),
    (1.05, {"ratio": (1.0, 1.06, 1.2)}, False),
    (1.05, {"ratio": None}, False),
    (1.05, {"ratio": (1.0, 1.0, 1.0), "arena": 101}, False),
    (1.05, {"ratio": (1.0, 1.0, 1.0), "broken": ["runs added 2000000 bytes"]}, False),
    (budget_figures.PLAN, {"outside": None}, True),
    (budget_figures.PLAN, {"code": 4, "least": 120}, False),
    (budget_figures.RUNS, {}, True),
    (budget_figures.RUNS, {"outside": None}, False),
    (budget_figures.LEAST, {"code": None, "least": 99}, True),
    (budget_figures.LEAST, {"code": None, "least": 100}, False),
    (budget_figures.LEAST, {"code": None}, False)])
def test_what_reaches_a_figure(asked, found, reached):
    made = figure(asked, **found)
    assert made.reached == reached
    assert made.text().startswith("ok " if reached else "NOT")


@pytest.mark.parametrize("found, verdict", [
    ({"code": 4, "least": 120, "bound": 110}, "-- "),
    ({"code": 4, "least": 120, "bound": 100}, "NOT"),   # the budget is not below the bound
    ({"code": 4, "least": 105, "bound": 110}, "NOT"),   # the bound is wrong
    ({"code": 5, "bound": 110}, "NOT"),
    ({"bound": 110}, "ok ")])
def test_figures_below_a_bound_are_not_missed(found, verdict):
    assert figure(budget_figures.PLAN, **found).text().startswith(verdict)


def test_budgets_of_the_figures_are_bytes():
    assert budget_figures.bytes_of("30MiB") == 30 * 2**20 and budget_figures.bytes_of("1GiB") == 2**30
    for _, _, asked in budget_figures.FIGURES:
        assert all(budget_figures.bytes_of(budget) > 0 for budget, _ in asked)


# --- both, with the tools

tools = pytest.mark.skipif("SNUG_BIN" not in os.environ, reason="needs the tools: run it through ctest")


def script(name, *arguments):
    return subprocess.run([sys.executable, str(HERE / name), "--bin", os.environ["SNUG_BIN"], *map(str, arguments)],
                          capture_output=True, text=True)


@tools
def test_table_of_a_small_model(tmp_path):
    done = script("budget_table.py", "gpt2_tiny", "batch=1", "seq=64", "--budgets", 3, "--work", tmp_path, "--json",
                  tmp_path / "table.json", "--slowdown", "--rounds", 1, "--foreign-cores", 99, "--threads", 1)
    assert done.returncode == 0, done.stdout + done.stderr
    table, = json.loads((tmp_path / "table.json").read_text())
    assert [row["budget"] for row in table["rows"]][::2] == [table["unchunked"], table["least"]]
    assert table["below"]["code"] == 4 and table["rows"][-1]["loops"] > 0
    assert all(0 < row["measured"] <= row["planned"] <= row["budget"] for row in table["rows"])
    assert table["rows"][-1]["ratio"][3] == 1 and len(table["references"]) == 2
    assert not list(tmp_path.glob("*.so*")), "libraries are left behind"


@tools
def test_benchmark_of_a_small_model(tmp_path):
    done = script("benchmark.py", "gpt2_tiny", "batch=1", "seq=64", "--engines", "onnxruntime,torch", "--budgets", "80%,1KiB", "--work", tmp_path,
                  "--json", tmp_path / "figures.json", "--rounds", 1, "--seconds", 0, "--foreign-cores", 99, "--threads", 1)
    assert done.returncode == 0, done.stdout + done.stderr
    case, = json.loads((tmp_path / "figures.json").read_text())["cases"]
    assert set(case["engines"]) == {"snug", "snug 80%", "onnxruntime"} and case["rounds"] == 1
    assert case["notes"][0].startswith("snug 1KiB: ") and "error" in case["notes"][0]
    assert all(one["error"] < benchmark.EXACT and one["ms"] > 0 and one["files"] > 100_000 for one in case["engines"].values())
    assert case["engines"]["snug 80%"]["peak"] < case["engines"]["onnxruntime"]["peak"]
    assert "geometric mean" in done.stdout and not list(tmp_path.glob("*.npz.npz"))


@tools
def test_figures_of_a_small_model(tmp_path, monkeypatch):
    monkeypatch.setattr(budget_figures, "FIGURES", [
        ("gpt2_tiny", "batch=1 seq=64", [("60KiB", 99.0), ("1KiB", budget_figures.LEAST), ("1KiB", budget_figures.PLAN)])])
    harness.materialize.materialize(harness.materialize.HERE / "gpt2_tiny.onnx", tmp_path)
    monkeypatch.setattr(sys, "argv", ["budget_figures.py", "--bin", os.environ["SNUG_BIN"], "--models", str(tmp_path),
                                      "--only", "gpt2_tiny", "--work", str(tmp_path / "work"), "--rounds", "1",
                                      "--foreign-cores", "99", "--threads", "1", "--memory-limit", "1000"])
    assert budget_figures.main() == 1, "a figure that cannot be reached is reached"


def row(mesh, family, modelled, measured, planned=100, sent=102):
    return {"mesh": mesh, "family": family, "modelled_ms": modelled, "measured_ms": measured, "planned_bytes": planned, "sent_bytes": sent}


def test_links_judges_what_is_chosen_by_what_is_measured():
    rows = [row("8x1", "1d", 30, 33), row("2x4", "column-first", 10, 12), row("2x4", "hierarchical", 11, 10, 100, 98), row("4x2", "free", 10, 9)]
    found = links.judge(rows, ("2x4", "column-first"))
    assert found["chosen"] is rows[1] and found["best"] is rows[3]
    assert found["to_best"] == 12 / 9 and found["gain"] == 33 / 12 and found["bytes"] == [0.98, 1.02]


def test_what_ranks_took_of_the_cores():
    assert links.core_seconds("0m0.001s 0m0.002s\n1m1.5s 0m0.25s\nwarning\n0m0.0s 0m0.0s\n0m2.0s 0m1.0s\n") == 0.003 + 61.75 + 3


def test_candidates_are_those_of_eight_devices():
    meshes = {mesh for mesh, _ in links.CANDIDATES}
    assert meshes == {"8x1", "4x2", "2x4", "1x8"} and links.ONE_RING in links.CANDIDATES
    assert all(np.prod([fanout for fanout, _, _ in levels]) == 8 for _, levels, _ in links.TOPOLOGIES.values())


def test_the_gpt_of_links_is_a_model_that_runs(tmp_path):
    import onnxruntime
    path = links.gpt(tmp_path / "gpt.onnx", tokens=16, layers=2, hidden=32)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {"x": links.noise(1, 16, 32)})
    assert output.shape == (1, 16, 32) and np.isfinite(output).all()


@pytest.mark.parametrize("mode", [[], ["--overlap"]])
def test_who_may_not_make_links_is_told(monkeypatch, capsys, mode):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(links, "one_device", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["links.py", "--bin", ".", *mode])
    with pytest.raises(SystemExit) as ended:
        links.main()
    assert ended.value.code == links.SKIPPED == 77 and "need root" in capsys.readouterr().out


def test_units_of_a_cluster():
    cluster = shaped_links.Cluster([(2, 1e6, 1e6), (3, 2e6, 2e6), (4, 3e6, 3e6)])
    assert cluster.size == 24 and [cluster.span(level) for level in range(3)] == [12, 4, 1]
    assert len({cluster.address(device) for device in range(24)}) == 24


# --- overlap_links.py

def test_pipelined_time_is_that_of_the_document():
    times = [overlap_links.pipelined_time(c, 4 / c, 0.02 + 2 / c) for c in (1, 2, 4, 8)]
    assert times == pytest.approx([6.02, 5.02, 4.52, 4.27])


def test_sending_is_that_of_an_all_reduce():
    ring = {"gbps": 0.02, "latency_us": 100}
    # 4 MiB; 3/4 of it twice.
    assert overlap_links.sending(ring, 4) == pytest.approx(0.1 + 1.5 * 2**22 / 20e6 * 1e3)
    assert overlap_links.sending(ring, 2, pieces=8) == pytest.approx(0.1 + 2**22 / 8 / 20e6 * 1e3)


@pytest.mark.parametrize("eight, ratio, is_within", [(240, 1.0, True), (261, 0.869, True), (202, 1.2375, True), (281, 0.744, False),
                                                     (199, 1.256, False), (410, -0.0625, False)])
def test_the_gain_is_judged_where_the_model_has_the_most(eight, ratio, is_within):
    found = overlap_links.judge({1: 400, 4: 200, 8: eight}, {1: 390, 4: 260, 8: 230})
    assert found["best"]["pieces"] == 8 and found["best"]["ratio"] == pytest.approx(ratio, abs=1e-3) and found["is_within"] == is_within
    assert found["rows"][1]["gain_ms"] == 200 and found["rows"][1]["modelled_gain_ms"] == 130 and found["rows"][0]["ratio"] is None


def test_no_gain_is_not_as_modelled():
    assert not overlap_links.judge({1: 4, 2: 4}, {1: 4, 2: 5})["is_within"]


def test_programs_take_turns():
    order = []
    found = overlap_links.in_turns(2, "ab", lambda name: order.append(name) or len(order))
    assert order == ["a", "b", "a", "b"] and found == {"a": [1, 3], "b": [2, 4]}


def test_what_overlap_does_not_take(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["links.py", "--bin", ".", "--overlap", "T1"])
    with pytest.raises(SystemExit) as ended:
        links.main()
    assert ended.value.code == 2 and "takes no TOPOLOGY" in capsys.readouterr().err


def test_no_launcher_is_told(tmp_path):
    with pytest.raises(shaped_links.CannotShape, match="no 'no-such-mpirun' here"):
        link_runs.Runner(None, types.SimpleNamespace(mpirun="no-such-mpirun"), tmp_path)


@tools
@pytest.mark.parametrize("pieces", overlap_links.PIECES)
def test_the_timed_model_gives_the_sum_in_all_pieces(tmp_path, pieces):
    library, x = overlap_links.build(2, tmp_path / "timed.so"), links.noise(overlap_links.ROWS, overlap_links.WIDTH)
    np.savez(tmp_path / "x.npz", x=x)
    subprocess.run([Path(os.environ["SNUG_BIN"]) / "snug-run", library, "--comm", "loopback:2", "--inputs", tmp_path / "x.npz", "--outputs",
                    tmp_path / "y.npz"], check=True, env={**os.environ, "SNUG_TIMED_PIECES": str(pieces), "SNUG_TIMED_ROW": "1000"})
    with np.load(tmp_path / "y.npz") as outputs:
        assert np.array_equal(outputs["y"], 2 * x)
