#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs the tests marked "long", one after the other: `./bootstrap test --all` calls it after everything else.

A test that passed is not run again until a file of the repository changes, so an interrupted run goes on where it was.
With --shard I/N (or SNUG_SHARD=I/N) it runs every N-th test, from the I-th on. The environment is that of the tests (see test/CMakeLists.txt).
"""
import argparse
import hashlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = {".git", ".venv", ".bootstrap", "build", "__pycache__"}
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]


def sources():
    """A digest of all files of the repository."""
    digest = hashlib.sha256()
    for folder, names, files in os.walk(ROOT):
        names[:] = sorted(set(names) - LEFT_OUT)
        for name in sorted(files):
            path = Path(folder, name)
            digest.update(f"{path.relative_to(ROOT)}\0".encode())
            if path.is_file():
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def collect(folders):
    """Node ids of the long tests."""
    found = []
    for folder in folders:
        done = subprocess.run([*PYTEST, "--collect-only", "-m", "long", "--rootdir", ROOT, folder], cwd=ROOT,
                              capture_output=True, text=True)
        if done.returncode not in (0, 5):  # 5: none
            sys.exit(f"{folder}: pytest could not collect its tests\n{done.stdout}{done.stderr}")
        found += [line for line in done.stdout.splitlines() if "::" in line]
    return found


def shard(tests, text):
    index, count = (int(part) for part in text.split("/"))
    if not 1 <= index <= count:
        raise ValueError(text)
    return tests[index - 1::count]


def load(state, digest):
    """Node id -> seconds of what passed with these sources."""
    try:
        first, *rest = map(json.loads, state.read_text().splitlines())
    except (OSError, ValueError):
        return {}
    return {one["test"]: one["seconds"] for one in rest} if first == {"sources": digest} else {}


def run(tests, state, digest):
    """Runs what has not passed yet, the tests of a file in one process. Returns the tests that failed."""
    before = load(state, digest)
    if not before:
        state.write_text(json.dumps({"sources": digest}) + "\n")
    left = [test for test in tests if test not in before]
    print(f"{len(tests)} long tests, of which {len(tests) - len(left)} passed before", flush=True)
    environment = {**os.environ, "SNUG_LONG_STATE": str(state.resolve()), "PYTHONPATH": f"{Path(__file__).parent}:{os.environ.get('PYTHONPATH', '')}"}
    for _, group in itertools.groupby(left, key=lambda test: test.split("::")[0]):
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as names: # more than a command line holds
            names.write("\n".join(group))
            names.flush()
            subprocess.run([*PYTEST, "-p", "keep_passed", "-v", "--rootdir", ROOT, f"@{names.name}"], cwd=ROOT, env=environment)
    passed = load(state, digest)
    failed = [test for test in tests if test not in passed]
    print(f"{len(tests) - len(failed)} of {len(tests)} long tests passed; those that did took "
          f"{sum(passed.get(t, 0) for t in tests) / 60:.1f} minutes")
    for test in failed:
        print(f"failed: {test}")
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--state", type=Path, required=True, help="file that keeps what passed")
    parser.add_argument("--shard", default=os.environ.get("SNUG_SHARD", "1/1"), metavar="I/N")
    parser.add_argument("folders", nargs="+", help="folders of tests")
    args = parser.parse_args()
    try:
        tests = shard(collect(args.folders), args.shard)
    except ValueError:
        parser.error("--shard is I/N, as in 2/4")
    sys.exit(bool(run(tests, args.state, sources())))


if __name__ == "__main__":
    main()
