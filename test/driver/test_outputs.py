# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What snugc writes besides the library: reports, dry runs, depfiles, programs; and that it is the same each time."""
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from conftest import model, snug_run, snugc, values

DOCS = Path(__file__).resolve().parents[2] / "docs"
ROWS = ("--dim", "rows=1024")
STAGES = ["import", "canonicalize", "shard", "fuse", "schedule", "chunk", "plan"]


def report_of(path, *flags):
    file = path.with_name("report.json")
    result = snugc(path, "--report", file, *flags)
    assert result.code in (0, 4), result.err
    return json.loads(file.read_text())


def test_report_has_its_keys(mlp, tmp_path):
    path = mlp()
    for flags in [("--dry-run",), ("-o", tmp_path / "m.so"), ("--dry-run", "--activation-budget", "1KiB")]:
        report = report_of(path, *ROWS, *flags)
        assert report["version"] == 1 and report["target"] == "cpu" and report["dims"] == {"rows": 1024}
        assert report["model"] == str(path)
        assert {"memory", "activation", "least_reachable"} <= report["budget"].keys()
        memory = report["memory"]
        assert memory["total"] == sum(memory[k] for k in ("weights", "arena", "library", "inputs", "outputs"))
        assert memory["weights"] == 2 * 64 * 256 * 4 and memory["inputs"] == memory["outputs"] == 1024 * 64 * 4
        assert {"unchunked_arena", "eager_arena"} <= memory.keys()
        assert {"sched", "lb0", "lb1", "lb2"} == report["bounds"].keys()
        assert {"unchunked_ms", "chunked_ms"} == report["time_model"].keys()
        assert {"ops", "blocks", "distinct_blocks", "candidates", "ms"} == report["search"].keys()
        assert list(report["timing_ms"])[:4] == STAGES[:4]
    assert report_of(path, "--dim", "rows=1..9", "--dry-run")["dims"] == {"rows": "1..9"}


def test_bounds_of_a_known_model(mlp):
    """The hidden layer, 1024 x 256 floats, is all that is in the arena; rows can be cut."""
    report = report_of(mlp(), *ROWS, "--dry-run")
    hidden = 1024 * 256 * 4
    assert report["bounds"] == {"sched": hidden, "lb0": 2 * 64 * 256 * 4 + 2 * 1024 * 64 * 4, "lb1": hidden,
                                "lb2": hidden // 1024}
    assert report["memory"]["unchunked_arena"] == hidden
    assert report["budget"]["least_activation"] == 16 * report["bounds"]["lb2"], "rows are cut in tiles of 16"
    assert report["memory"]["eager_arena"] == hidden, "relu works in place without fusion, too"


def test_longest_dim(mlp, tmp_path):
    """A row takes 256 bytes as input and as output; of the hidden layer 16 rows of 1 KiB are in the arena."""
    path, budget, threads = mlp(), 2 << 20, ("--threads", "1")
    fixed = 2 * 64 * 256 * 4 + (384 << 10) + 16 * 1024
    longest = (budget - fixed) // 512
    for text, resolved in (("max", longest), ("7..max", f"7..{longest}")):
        report = report_of(path, "--dim", f"rows={text}", "--memory-budget", f"{budget}B", "--dry-run", *threads)
        assert report["dims"] == {"rows": resolved} and report["memory"]["total"] <= budget
    result = snugc(path, "-o", tmp_path / "m.so", "--dim", "rows=max", "--memory-budget", f"{budget}B", *threads)
    assert result.code == 0 and f"longest 'rows' that fits: {longest}" in result.err
    assert f"rows = {longest}" in snug_run(tmp_path / "m.so", "--info").out
    more = snugc(path, "--dry-run", "--dim", f"rows={longest + 1}", "--memory-budget", f"{budget}B", *threads)
    assert more.code == 4


def test_longest_dim_is_bounded_by_the_arena_alone(mlp):
    """With an arena of 5 rows of the hidden layer, and no tile to keep, 5 rows fit; with 16 of them any number does."""
    report = report_of(mlp(), "--dim", "rows=max", "--activation-budget", "5KiB", "--dry-run")
    assert report["dims"] == {"rows": 5}
    report = report_of(mlp(), "--dim", "rows=max", "--activation-budget", "16KiB", "--dry-run")
    assert report["dims"] == {"rows": 1 << 31}


def test_report_keys_are_documented(mlp):
    documented = set(re.findall(r"`(\w+)`", (DOCS / "report.md").read_text()))
    report = report_of(mlp(), *ROWS, "--dry-run", "--activation-budget", "40%")
    machine = report["machine"]
    page = (DOCS / "machine-file.md").read_text()
    assert set(machine) == set(re.findall(r"^\| `(\w+)` \|", page, re.M)), "docs/machine-file.md has other keys"
    documented |= set(re.findall(r"`(\w+)`", page))

    def keys(value):
        for key, inner in value.items():
            yield key
            if isinstance(inner, dict) and key not in ("dims", "timing_ms"):
                yield from keys(inner)
            for item in inner if isinstance(inner, list) else ():
                if isinstance(item, dict):
                    yield from keys(item)
    found = set(keys(report))
    assert {"slowdown", "chunk_loop", "iterations", "offset"} <= found
    missing = found - documented
    assert not missing, f"docs/report.md does not say what {sorted(missing)} are"


def test_chunk_loops_are_reported(mlp, tmp_path):
    path = mlp()
    report = report_of(path, *ROWS, "-o", tmp_path / "m.so", "--activation-budget", "50%")
    text = snugc(path, *ROWS, "--dry-run", "--activation-budget", "50%", "-v").err
    loop, = report["chunk_loops"]
    assert f"extent 1024, {loop['iterations']} iterations of {loop['size']}" in text and "'up'" in text
    memory = report["memory"]
    assert memory["arena"] <= memory["unchunked_arena"] / 2 == report["budget"]["activation"]
    loop, = report["chunk_loops"]
    assert {"up", "down"} <= set(loop["nodes"]) and loop["kind"] == "parallel"
    assert loop["extent"] == 1024 and loop["iterations"] == -(-1024 // loop["size"]) > 1
    assert report["time_model"]["chunked_ms"] >= report["time_model"]["unchunked_ms"] * 0.5 > 0


def test_report_agrees_with_the_library(mlp, tmp_path):
    report = report_of(mlp(), *ROWS, "-o", tmp_path / "m.so", "--threads", 3)
    info = snug_run(tmp_path / "m.so", "--info").out
    for key in ("weights", "arena", "library", "inputs", "outputs", "total"):
        assert re.search(rf"^  {key} +{report['memory'][key]} B", info, re.M), info
    assert report["memory"]["library"] == (256 + 3 * 128) << 10


def test_dry_run_says_what_fits(mlp, tmp_path):
    path = mlp()
    (tmp_path / "mlp.onnx.data").unlink()  # no weights are read
    start = time.monotonic()
    result = snugc(path, "--dry-run", *ROWS, "--report", tmp_path / "r.json")
    assert result.code == 0 and time.monotonic() - start < 60
    fits = json.loads((tmp_path / "r.json").read_text())["fits"]
    assert len(fits) == 5, "unchunked, least, and three between"
    budgets = [point["activation"] for point in fits]
    assert budgets == sorted(budgets, reverse=True) and len(set(budgets)) == 5
    assert fits[0]["slowdown"] == 1 and all(point["slowdown"] > 0 for point in fits)
    assert re.search(r"Unchunked, the peak is at node '(up|relu|down)'", result.err)
    printed = [int(b) for b in re.findall(r"--activation-budget +(\d+)B", result.err)]
    assert printed == budgets
    mlp()
    for budget in budgets:
        assert snugc(path, *ROWS, "-o", tmp_path / "m.so", "--activation-budget", f"{budget}B").code == 0
    assert snugc(path, *ROWS, "--dry-run", "--activation-budget", f"{budgets[-1] - 1}B").code == 4


def test_budget_sweep(mlp, tmp_path):
    """From unchunked to the least; a compilation at each of them has what the curve says."""
    path = mlp()
    report = tmp_path / "r.json"
    result = snugc(path, *ROWS, "-o", tmp_path / "m.so", "--budget-sweep", "--report", report)
    assert result.code == 0, result.err
    fits = json.loads(report.read_text())["fits"]
    assert (tmp_path / "m.so").exists() and len(fits) >= 5
    for key in ("activation", "arena"):
        values = [point[key] for point in fits]
        assert values == sorted(values, reverse=True) and len(set(values)) == len(values), "a plan is listed twice"
    times = [point["ms"] for point in fits[1:]]
    assert times == sorted(times) and len(set(times)) == len(times), "a larger arena buys no time"
    assert fits[0]["activation"] == fits[0]["arena"] == 1 << 20 and fits[-1]["arena"] == 16 << 10
    table = re.findall(r"--activation-budget +(\d+)B +\S+ \S+ +([\d.]+) ms +([\d.]+)x", result.out)
    assert [(int(b), float(ms), float(x)) for b, ms, x in table] == [
        (point["activation"], round(point["ms"], 1), round(point["slowdown"], 2)) for point in fits]
    for point in fits:
        assert point["measured_ms"] is None
        report = report_of(path, *ROWS, "--dry-run", "--activation-budget", f"{point['activation']}B")
        model = report["time_model"]
        assert report["memory"]["arena"] == point["arena"] <= point["activation"]
        assert model["chunked_ms"] == pytest.approx(point["ms"])
        assert model["chunked_ms"] / model["unchunked_ms"] == pytest.approx(point["slowdown"])


def test_budget_sweep_where_the_budget_cannot_be_met(mlp):
    """The curve answers what to ask for instead; a program that is printed stays alone on standard output."""
    result = snugc(mlp(), *ROWS, "--dry-run", "--budget-sweep", "--activation-budget", "1KiB")
    assert result.code == 4 and re.search(r"--activation-budget +16384B.* least$", result.out, re.M), result.out
    result = snugc(mlp(), *ROWS, "--emit", "plan", "--budget-sweep")
    assert result.code == 0 and "What fits" in result.err and result.out == snugc(mlp(), *ROWS, "--emit", "plan").out


@pytest.mark.parametrize("rows", ["rows=1024", "rows=8..1001:8"])
def test_budget_sweep_is_measured(mlp, tmp_path, monkeypatch, rows):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temp"))
    (tmp_path / "temp").mkdir()
    path, report = mlp(), tmp_path / "r.json"
    result = snugc(path, "--dim", rows, "--dry-run", "--budget-sweep", "--measure", "--report", report)
    assert result.code == 0, result.err
    fits = json.loads(report.read_text())["fits"]
    assert len(fits) >= 5 and all(point["measured_ms"] > 0 for point in fits)
    assert "as measured" in result.out
    assert fits[0]["measured_slowdown"] == 1 and all(point["measured_slowdown"] > 0 for point in fits)
    measured = re.findall(r"x +([\d.]+) ms +([\d.]+)x", result.out)
    assert measured == [(f"{p['measured_ms']:.1f}", f"{p['measured_slowdown']:.2f}") for p in fits]
    assert list((tmp_path / "temp").iterdir()) == [], "what was measured is left behind"


def test_two_reports(mlp, tmp_path):
    path, json_file, page = mlp(), tmp_path / "r.json", tmp_path / "r.html"
    result = snugc(path, *ROWS, "--dry-run", "--report", json_file, "--report", page)
    assert result.code == 0, result.err
    embedded = re.search(r'<script type="application/json" id="report">(.*?)</script>', page.read_text(), re.S).group(1)
    assert json.loads(embedded) == json.loads(json_file.read_text())


def schedules(report):
    for name in ("unchunked", "planned"):
        assert report["schedule"][name]["buffers"], name
        yield report["schedule"][name]


@pytest.mark.parametrize("name,budget,levels", [("bert_tiny", "40KiB", 2), ("gpt2_tiny", "60KiB", 1), ("gpt2_tiny", None, 0)])
def test_schedule_in_the_report(tmp_path, name, budget, levels):
    """The arena as it is drawn is the arena as it is planned: nothing overlaps, and the sums are those of the plan."""
    path = tmp_path / f"{name}.onnx"
    shutil.copy(DOCS.parent / "test" / "models" / path.name, path)
    # Which plan is the fastest is not what is tested: one machine for all.
    flags = ("--machine", DOCS.parent / "test" / "passes" / "chunk" / "Inputs" / "machine.json")
    flags += ("--activation-budget", budget) if budget else ()
    report = report_of(path, "--dry-run", "--dim", "batch=1", "--dim", "seq=64", *flags)
    for schedule in schedules(report):
        buffers, steps = schedule["buffers"], len(schedule["steps"])
        for i, a in enumerate(buffers):
            assert 0 <= a["begin"] < a["end"] <= steps and a["nodes"] and a["bytes"] > 0
            assert 0 <= a["offset"] <= a["offset"] + a["bytes"] <= schedule["arena"]
            for b in buffers[:i]:
                apart = a["end"] <= b["begin"] or b["end"] <= a["begin"]
                assert apart or a["offset"] + a["bytes"] <= b["offset"] or b["offset"] + b["bytes"] <= a["offset"]
        live = [sum(b["bytes"] for b in buffers if b["begin"] <= step < b["end"]) for step in range(steps)]
        peak = schedule["peak"]
        assert schedule["live"] == live and live[peak["step"]] == peak["bytes"] == max(live)
        assert peak["buffers"] == [i for i, b in enumerate(buffers) if b["begin"] <= peak["step"] < b["end"]]
    planned, unchunked = report["schedule"]["planned"], report["schedule"]["unchunked"]
    assert planned["arena"] == report["memory"]["arena"] and planned["peak"]["bytes"] == report["bounds"]["sched"]
    assert unchunked["arena"] == report["memory"]["unchunked_arena"] and unchunked["loops"] == []
    assert [loop["chunk_loop"] for loop in planned["loops"]] == list(range(len(report["chunk_loops"])))
    assert max([loop["level"] for loop in planned["loops"]], default=0) == levels
    for loop in planned["loops"]:
        chunk = report["chunk_loops"][loop["chunk_loop"]]
        assert loop["level"] == chunk["level"] and loop["begin"] < loop["end"]
        inside = {node for step in planned["steps"][loop["begin"]:loop["end"]] for node in step["nodes"]}
        assert set(chunk["nodes"]) & inside
    for outer, inner in zip(planned["loops"], planned["loops"][1:]):
        if inner["level"] > outer["level"]:
            assert outer["begin"] <= inner["begin"] and inner["end"] <= outer["end"]


def test_budgets_hold(mlp, tmp_path):
    path = mlp()
    free = report_of(path, *ROWS, "--dry-run")["memory"]
    budget = free["total"] - 100_000
    memory = report_of(path, *ROWS, "-o", tmp_path / "m.so", "--memory-budget", f"{budget}B")["memory"]
    assert memory["total"] <= budget and memory["arena"] < free["arena"]


@pytest.mark.parametrize("stage", STAGES)
def test_emit(mlp, stage):
    result = snugc(mlp(), *ROWS, "--emit", stage)
    assert result.code == 0, result.err
    assert "func.func @main" in result.out
    assert ("snug_onnx.node" in result.out) == (stage == "import")


def test_save_temps_and_time_report(mlp, tmp_path):
    result = snugc(mlp(), *ROWS, "-o", tmp_path / "m.so", "--save-temps", tmp_path / "temps" / "deep", "--time-report")
    assert result.code == 0, result.err
    names = {p.name for p in (tmp_path / "temps" / "deep").iterdir()}
    assert {f"{i}-{stage}.mlir" for i, stage in enumerate(STAGES)} | {"kernels0.ll", "kernels0.s", "host.ll"} <= names
    assert re.findall(r"^ *(\w+) +[\d.]+ ms$", result.err, re.M) == STAGES + ["library"]


def test_the_same_flags_give_the_same_bytes(mlp, tmp_path):
    path, made = mlp(), []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        out = tmp_path / name / "m.so"
        assert snugc(path, *ROWS, "-o", out, "--activation-budget", "50%", "--threads", 2).code == 0
        made.append((out.read_bytes(), (tmp_path / name / "m.so.safetensors").read_bytes()))
    assert made[0] == made[1]
    other = tmp_path / "c.so"
    assert snugc(path, *ROWS, "-o", other, "--threads", 2).code == 0
    assert other.read_bytes() != made[0][0]
    for stage in ("import", "plan"):
        assert snugc(path, *ROWS, "--emit", stage).out == snugc(path, *ROWS, "--emit", stage).out


def test_machine_file_decides_the_plan(mlp, tmp_path):
    """The report's machine is a machine file; with a machine on which launches are dear, there are fewer."""
    path, file = mlp(), tmp_path / "m.json"
    plan = ("--dry-run", "--activation-budget", "512KiB", *ROWS)
    builtin = report_of(path, *plan)
    file.write_text(json.dumps(builtin["machine"]))
    again = report_of(path, *plan, "--machine", file)
    assert again["machine"] == builtin["machine"] and again["time_model"] == builtin["time_model"]
    slow = {**builtin["machine"], "name": "slow", "contraction_gops": builtin["machine"]["contraction_gops"] / 10}
    file.write_text(json.dumps(slow))
    slowed = report_of(path, *plan, "--machine", file)
    assert slowed["machine"]["name"] == "slow"
    assert slowed["time_model"]["chunked_ms"] > 5 * builtin["time_model"]["chunked_ms"]
    old = report_of(path, *plan, "--march", "x86-64-v2")
    assert old["machine"]["vector_bits"] == 128
    assert old["time_model"]["unchunked_ms"] > report_of(path, *plan, "--march", "x86-64-v4")["time_model"]["unchunked_ms"]


def test_calibrate_measures_a_machine(mlp, tmp_path):
    """What it writes is a machine file, of a machine that computes; how fast is not for a test to say."""
    file = tmp_path / "m.json"
    done = snugc("--calibrate", "-o", file, "--threads", 2)
    assert done.code == 0, done.err
    machine = json.loads(file.read_text())
    assert machine["contraction_gops"] > 1 and machine["transcendental_gops"] > 0.05
    assert len(machine["memory_gbps"]) == 2 and all(x > 0.1 for x in machine["memory_gbps"])
    assert 0 <= machine["launch_us"] < 1000
    assert report_of(mlp(), "--dry-run", *ROWS, "--machine", file)["machine"] == machine


def test_depfile(mlp, tmp_path):
    """ninja reads it: the library is made again when the model's data changes, and not else."""
    folder = tmp_path / "with space"
    folder.mkdir()
    machine = report_of(mlp(folder), "--dry-run", "--dim", "rows=4")["machine"]
    (folder / "machine.json").write_text(json.dumps(machine))
    (tmp_path / "build.ninja").write_text(f"""
rule snugc
  command = {os.environ["SNUGC"]} 'with space/mlp.onnx' -o m.so --dim rows=4 --depfile m.d --machine 'with space/machine.json'
  depfile = m.d
build m.so: snugc
""")

    def ninja():
        done = subprocess.run(["ninja"], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
        return "no work to do" not in done.stdout
    assert ninja() and not ninja()
    for name in ("mlp.onnx", "mlp.onnx.data", "machine.json"):
        later = time.time() + 60
        os.utime(folder / name, (later, later))
        assert ninja(), f"{name} is no dependency"
        os.utime(folder / name, (1, 1))
        assert not ninja()


def test_chunked_equals_unchunked(mlp, tmp_path):
    path, x = mlp(), np.random.default_rng(1).standard_normal((1024, 64), np.float32)
    np.save(tmp_path / "x.npy", x)
    outputs = []
    for name, flags in (("a", ()), ("b", ("--activation-budget", "30%"))):
        assert snugc(path, *ROWS, "-o", tmp_path / f"{name}.so", *flags).code == 0
        done = snug_run(tmp_path / f"{name}.so", "--input", f"x={tmp_path / 'x.npy'}", "--output",
                        f"y={tmp_path / f'{name}.npy'}")
        assert done.code == 0, done.err
        outputs.append(np.load(tmp_path / f"{name}.npy"))
    assert np.array_equal(*outputs)


def test_help_is_readable_and_documented():
    text = snugc("--help").out
    stages = re.search(r"--emit STAGE +(.*)", text).group(1)
    assert stages.endswith(", ".join(STAGES))
    assert "->" not in text and "{" not in text
    assert all(len(line) <= 130 for line in text.splitlines())


@pytest.mark.parametrize("tool,run", [("snugc", snugc), ("snug-run", snug_run)])
def test_docs_list_the_flags_of_help(tool, run):
    synopsis = (DOCS / "command-line.md").read_text().split("```")[1]
    part = re.search(rf"^{tool} .*?(?=^\S|\Z)", synopsis, re.M | re.S).group(0)
    flags = re.findall(r"^ +(?:-\w,)?(--[\w-]+)", run("--help").out.split("Exit codes")[0], re.M)
    assert len(flags) > 10
    documented = re.findall(r"--[a-z][\w-]*", part)
    assert sorted(documented) == sorted(set(flags) - {"--help", "--version", "--verbose", "--output"} |
                                        ({"--output"} if tool == "snug-run" else set()))
