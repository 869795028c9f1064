# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The runner of the long tests goes on where it was interrupted, and shards lose no test."""
import importlib.util
from pathlib import Path

import pytest

SPEC = importlib.util.spec_from_file_location("long", Path(__file__).resolve().parents[1] / "long.py")
runner = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(runner)


def test_shards_are_a_partition():
    tests = [str(i) for i in range(10)]
    parts = [runner.shard(tests, f"{i}/3") for i in (1, 2, 3)]
    assert sorted(sum(parts, [])) == tests and max(map(len, parts)) - min(map(len, parts)) <= 1
    for text in ("0/3", "4/3", "x", "1"):
        with pytest.raises(ValueError):
            runner.shard(tests, text)


@pytest.fixture
def suite(tmp_path):
    (tmp_path / "conftest.py").write_text("def pytest_configure(config):\n"
                                          "    config.addinivalue_line('markers', 'long: x')\n")
    (tmp_path / "test_it.py").write_text(f"""
import pathlib, pytest
@pytest.mark.long
@pytest.mark.parametrize("n", [1, 2])
def test_one(n):
    with open({str(tmp_path / "log")!r}, "a") as log:
        log.write(str(n))
    assert n == 1 or pathlib.Path({str(tmp_path / "fixed")!r}).exists()
def test_short():
    assert False
""")
    return tmp_path


def test_goes_on_where_it_was(suite, monkeypatch):
    monkeypatch.setattr(runner, "ROOT", suite)
    tests, state = runner.collect([suite]), suite / "state.json"
    assert tests == ["test_it.py::test_one[1]", "test_it.py::test_one[2]"]
    assert runner.run(tests, state, "a") == tests[1:]
    assert list(runner.load(state, "a")) == tests[:1]
    (suite / "fixed").touch()
    assert runner.run(tests, state, "a") == []
    assert (suite / "log").read_text() == "122", "what passed was run again"
    assert runner.run(tests[:1], state, "b") == []
    assert (suite / "log").read_text() == "1221", "other sources, yet not run again"


def test_sources_see_every_change(suite, monkeypatch):
    monkeypatch.setattr(runner, "ROOT", suite)
    before = runner.sources()
    assert runner.sources() == before
    (suite / "new").touch()
    assert runner.sources() != before
