# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The page of `snugc --report x.html`, in a browser. SNUG_CHROMIUM names it; CMake looks for it."""
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from playwright.sync_api import sync_playwright

from conftest import model, numpy_tensor, snugc, values

CHROMIUM = os.environ.get("SNUG_CHROMIUM", "").replace("SNUG_CHROMIUM-NOTFOUND", "")
MODELS = Path(__file__).resolve().parents[1] / "models"
TINY = ("--dim", "batch=1", "--dim", "seq=64")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium was found when this build was configured")


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        # As root Chromium has no sandbox; what it shows was made here.
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


def report_of(tmp_path, name, *flags, code=0):
    """The JSON report and the page of a compilation."""
    path = tmp_path / f"{name}.onnx"
    if not path.exists():
        shutil.copy(MODELS / path.name, path)
    result = snugc(path, "--dry-run", *flags, "--report", tmp_path / "r.json", "--report", tmp_path / "r.html")
    assert result.code == code, result.err
    return json.loads((tmp_path / "r.json").read_text()), tmp_path / "r.html"


class Page:
    """A page that is open, and all that it said or asked for."""

    def __init__(self, browser, file, width=1280, dark=False):
        self.said, self.asked = [], []
        self.page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light")
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(file.as_uri())
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.page.close()
        if kind is None:
            assert self.said == [], "the console is not empty"
            assert self.asked == [self.file.as_uri()], "the page asks for something"

    def count(self, selector):
        return self.page.locator(selector).count()

    def texts(self, selector):
        return self.page.locator(selector).all_text_contents()


def text_of(number):
    unit = 0
    while number >= 1024:
        number, unit = number / 1024, unit + 1
    return f"{number:.1f}\u00a0{['B', 'KiB', 'MiB', 'GiB'][unit]}" if unit else f"{number}\u00a0B"


def test_the_page_draws_the_report(browser, tmp_path):
    report, file = report_of(tmp_path, "bert_tiny", *TINY, "--activation-budget", "40KiB", "--budget-sweep")
    planned, unchunked = report["schedule"]["planned"], report["schedule"]["unchunked"]
    assert {loop["level"] for loop in planned["loops"]} == {1, 2}, "the test wants loops in loops"
    with Page(browser, file) as p:
        assert p.texts("h1") == ["bert_tiny.onnx"]
        assert p.texts(".limit-text").count("budget 40.0\u00a0KiB") == 3  # before, after, the curve
        peaks = [text_of(schedule["peak"]["bytes"]) for schedule in (unchunked, planned)]
        assert p.texts(".peak-text") == [f"peak {peaks[0]}", f"peak {peaks[1]}", "peak"]
        why = p.texts(".why")[0]
        at = planned["steps"][planned["peak"]["step"]]
        assert peaks[1] in why and f"step {planned['peak']['step']} " in why and at["nodes"][0] in why
        assert p.count(".band") == len(planned["loops"])
        for level in (1, 2):
            want = sum(loop["level"] == level for loop in planned["loops"])
            assert p.count(f'.band[data-level="{level}"]') == want
        for loop, row in zip(planned["loops"], p.page.locator(".loop-table tbody tr").all()):
            chunk = report["chunk_loops"][loop["chunk_loop"]]
            cells = row.locator("td").all_text_contents()
            assert cells[:4] == [f"dim {chunk['dim']}", *(str(chunk[k]) for k in ("extent", "size", "iterations"))]
        assert p.count(".box") == len(planned["buffers"])
        at_peak = sorted((planned["buffers"][i]["bytes"] for i in planned["peak"]["buffers"]), reverse=True)
        sizes = p.texts(".peak-table >> nth=0 >> tbody tr td:first-child")
        assert sizes == [text_of(size) for size in at_peak][:12]
        assert p.count(".sweep-point") == len(report["fits"]) == p.count(".sweep-table tbody tr") > 2
        assert p.count(".stage-table tbody tr") == len(report["timing_ms"])


@pytest.mark.skipif("SNUG_CUDA_TOOLKIT" not in os.environ, reason="without a CUDA toolkit")
def test_kernels_of_a_gpu(browser, mlp, tmp_path):
    result = snugc(mlp(), "-o", tmp_path / "m.so", "--dim", "rows=40", "--target", "cuda:sm_80,sm_90", "--report", tmp_path / "r.json",
                   "--report", tmp_path / "r.html")
    assert result.code == 0, result.err
    kernels = json.loads((tmp_path / "r.json").read_text())["gpu_kernels"]
    with Page(browser, tmp_path / "r.html") as p:
        most = max(one["registers"] for one in kernels)
        assert f"2 kernels, at most {most} registers of a thread; none has memory of its own" in p.texts("summary")
        rows = [row.locator("td").all_text_contents() for row in p.page.locator(".kernel-table tbody tr").all()]
    assert rows == [[one["kernel"], one["chip"], str(one["registers"]), *map(text_of, (one["shared"], one["stack"], one["spilled"]))] for one in kernels]
    assert len(rows) == 4


def test_heights_are_to_scale(browser, tmp_path):
    """The outline is as high at each step as the live bytes say."""
    report, file = report_of(tmp_path, "gpt2_tiny", *TINY, "--activation-budget", "60KiB")
    live = report["schedule"]["planned"]["live"]
    with Page(browser, file) as p:
        path = p.page.locator(".outline").nth(1).get_attribute("d")
        points = [tuple(map(float, point.split(","))) for point in re.findall(r"[-\d.]+,[-\d.]+", path)]
        limit = float(p.page.locator("line.limit").nth(1).get_attribute("y1"))
        zero = 260  # the height of the plot
        drawn = {}
        for x, y in points:
            drawn.setdefault(round(x, 2), []).append(y)
        scale = (zero - limit) / (60 << 10)
        heights = [(zero - ys[-1]) / scale for _, ys in sorted(drawn.items())][:len(live)]
    assert heights == pytest.approx(live, rel=1e-3, abs=64)


def test_click_and_pointer(browser, tmp_path):
    report, file = report_of(tmp_path, "gpt2_tiny", *TINY, "--activation-budget", "60KiB")
    loop = report["schedule"]["planned"]["loops"][1]
    with Page(browser, file) as p:
        p.page.locator(".band").nth(1).click()
        button = p.page.locator("button").first
        assert button.inner_text() == f"Steps {loop['begin']} to {loop['end'] - 1}: show all"
        seen = sum(b["begin"] < loop["end"] and b["end"] > loop["begin"] for b in report["schedule"]["planned"]["buffers"])
        assert p.count(".box") == seen < len(report["schedule"]["planned"]["buffers"])
        button.click()
        assert p.count("button") == 0 and p.count(".box") == len(report["schedule"]["planned"]["buffers"])
        p.page.locator(".box").last.hover()
        tip = p.page.locator("#tip").inner_text()
        largest = max((report["schedule"]["planned"]["buffers"][i] for i in report["schedule"]["planned"]["peak"]["buffers"]),
                      key=lambda buffer: (buffer["bytes"], -buffer["offset"]))
        assert largest["nodes"][0] in tip and largest["type"] in tip and text_of(largest["bytes"]) in tip
        p.page.locator(".all-buffers summary").click()
        p.page.wait_for_selector(".all-buffers input")
        assert p.count(".all-buffers tbody tr") == len(report["schedule"]["planned"]["buffers"])
        p.page.locator(".all-buffers input").fill(largest["nodes"][0])
        assert 0 < p.count(".all-buffers tbody tr") < len(report["schedule"]["planned"]["buffers"])


@pytest.mark.parametrize("width,dark", [(1280, False), (390, True)])
@pytest.mark.parametrize("name,budget", [("bert_tiny", "40KiB"), ("gpt2_tiny", "60KiB")])
def test_texts_can_be_read(browser, tmp_path, name, budget, width, dark):
    """Nothing runs out of the page, no two texts of a figure overlap, the budget's line crosses none, and none has the
    colour of the ground."""
    _, file = report_of(tmp_path, name, *TINY, "--activation-budget", budget, "--budget-sweep")
    with Page(browser, file, width, dark) as p:
        assert p.page.evaluate("document.documentElement.scrollWidth") == width
        figures = p.page.evaluate("""[...document.querySelectorAll('svg')].map((svg) => ({
            figure: svg.getBoundingClientRect().toJSON(),
            line: svg.querySelector('line.limit')?.getBoundingClientRect().top,
            texts: [...svg.querySelectorAll('text')].filter((t) => t.textContent).map((t) =>
                ({text: t.textContent, fill: getComputedStyle(t).fill, box: t.getBoundingClientRect().toJSON()}))}))""")
        ground = p.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert len(figures) == 4
        for figure in figures:
            box, texts = figure["figure"], figure["texts"]
            for i, a in enumerate(texts):
                one = a["box"]
                assert box["left"] <= one["left"] and one["right"] <= box["right"] + 1 and box["top"] <= one["top"], a
                assert one["bottom"] <= box["bottom"] + 1 and a["fill"] != ground, a
                if "peak" in a["text"] and figure.get("line"):
                    assert not one["top"] + 2 < figure["line"] < one["bottom"] - 2, "the budget's line crosses " + a["text"]
                for b in texts[:i]:
                    two = b["box"]
                    width_shared = min(one["right"], two["right"]) - max(one["left"], two["left"])
                    height_shared = min(one["bottom"], two["bottom"]) - max(one["top"], two["top"])
                    assert width_shared < 1 or height_shared < 4, f"{a['text']!r} lies on {b['text']!r}"


HOSTILE = [
    "</script><script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 2'>",
    "<!--<script>", "]]>", "{{script}}", "{{report}}", "${window.hacked = 3}", "`+(window.hacked=4)+`",
    "\"'&amp;\\\\u003cb>", "\u2028\u2029 \u202e\u05d0 \U0001f600 \x07\n\t", "__proto__", "javascript:window.hacked=5", "",
]


def test_hostile_names(browser, tmp_path):
    """Names are shown as they are, and never run."""
    nodes, last = [], "x"
    for i, name in enumerate(HOSTILE):  # a contraction each, so that each has a buffer
        nodes.append(helper.make_node("MatMul", [last, "w"], [f"t{i}"], name=name))
        last = f"t{i}"
    dim = "d<b>&'\"{{script}}"
    path = tmp_path / "a<b>&'\".onnx"
    made = model(nodes, [values("x", [dim, 64])], [values(last, [dim, 64])], [numpy_tensor(np.eye(64, dtype=np.float32), "w")])
    onnx.save(made, path)
    report, file = report_of(tmp_path, path.stem, "--dim", f"{dim}=256", "--activation-budget", "50%", "--budget-sweep")
    in_steps = {node for step in report["schedule"]["unchunked"]["steps"] for node in step["nodes"]}
    assert set(HOSTILE) - {""} <= in_steps
    assert file.read_text().lower().count("<script") == 2, "a name has become a script element"
    with Page(browser, file) as p:
        assert p.page.evaluate("window.hacked") is None
        assert p.page.evaluate("JSON.parse(document.getElementById('report').textContent)") == report
        p.page.locator(".all-buffers summary").click()
        p.page.wait_for_selector(".all-buffers input")
        shown = p.page.evaluate("document.body.textContent")
        drawn = {name for b in report["schedule"]["planned"]["buffers"] for name in b["nodes"]}
        assert len(drawn) >= len(HOSTILE) - 3
        for name in drawn:
            assert name in shown
        assert p.texts("h1") == [path.name] and dim in p.texts(".sub")[0]
        assert p.count("main img") == p.count("main b >> text=hacked") == 0
        for box in p.page.locator(".box").all():
            box.dispatch_event("pointermove")
        for band in p.page.locator(".band").all():
            band.dispatch_event("pointermove")
        assert p.page.evaluate("window.hacked") is None and p.count("#tip img") == 0


def test_no_other_code_may_run(browser, tmp_path):
    """Even what had become markup could not run, load or send anything."""
    _, file = report_of(tmp_path, "gpt2_tiny", *TINY)
    page, failed = Page(browser, file), []
    page.page.on("requestfailed", lambda request: failed.append((request.url, request.failure)))
    page.page.evaluate("""() => {
        const script = document.createElement('script');
        script.textContent = 'window.hacked = 1';
        document.body.append(script);
        const image = document.createElement('img');
        image.src = 'http://127.0.0.1:9/x.png';
        document.body.append(image);
    }""")
    page.page.wait_for_timeout(100)
    assert page.page.evaluate("window.hacked") is None
    refusals = " ".join(page.said)
    assert "script-src" in refusals and "img-src" in refusals
    assert failed == [("http://127.0.0.1:9/x.png", "csp")]
    page.page.close()


def test_without_a_budget_and_beyond_it(browser, tmp_path):
    report, file = report_of(tmp_path, "gpt2_tiny", *TINY)
    with Page(browser, file) as p:
        assert "no budget was given" in p.texts(".verdict")[0] and p.count(".limit, .band") == 0
        assert p.count("svg") == 3 and p.count(".box") == len(report["schedule"]["planned"]["buffers"])
    report, file = report_of(tmp_path, "gpt2_tiny", *TINY, "--activation-budget", "1KiB", code=4)
    with Page(browser, file) as p:
        verdict, = p.texts(".verdict.bad")
        assert "does not fit" in verdict and text_of(report["budget"]["least_reachable"]) in verdict
        assert p.count(".band") == len(report["schedule"]["planned"]["loops"]) > 0


def test_nothing_in_the_arena(browser, tmp_path):
    path = tmp_path / "relu.onnx"
    model([helper.make_node("Relu", ["x"], ["y"], name="relu")], [values("x", [4, 4])], [values("y", [4, 4])], path=path)
    report, file = report_of(tmp_path, "relu")
    assert report["schedule"]["planned"]["peak"] is None
    with Page(browser, file) as p:
        assert "Nothing is in the arena" in p.texts(".why")[0]


@pytest.mark.parametrize("stage", ["import", "chunk"])
def test_before_memory_is_planned(browser, mlp, tmp_path, stage):
    file = tmp_path / "r.html"
    result = snugc(mlp(), "--dim", "rows=1024", "--activation-budget", "50%", "--emit", stage, "--report", file)
    assert result.code == 0, result.err
    with Page(browser, file) as p:
        assert "nothing to draw" in p.texts(".verdict")[0] and p.count("svg") == 0


def test_measured_curve(browser, mlp, tmp_path):
    result = snugc(mlp(), "--dim", "rows=1024", "--dry-run", "--budget-sweep", "--measure", "--report", tmp_path / "r.html")
    assert result.code == 0, result.err
    with Page(browser, tmp_path / "r.html") as p:
        fits = p.page.evaluate("JSON.parse(document.getElementById('report').textContent).fits")
        assert p.count(".sweep-point.measured") == p.count(".sweep-point.modelled") == len(fits)
        assert p.texts(".sweep-table tbody tr td:last-child") == [f"{x['measured_slowdown']:.2f}\u00d7" for x in fits]
