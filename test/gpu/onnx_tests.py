# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The tests of single ops that come with the `onnx` package, on a GPU: compiled where Snug is built, run where the GPU is (test/gpu/run)."""
import json
import os
import pathlib
import random
import subprocess
import sys

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent


def make(folder, binaries, chips, count, match=""):
    """Libraries, inputs and outputs of a seeded choice of `count` tests (0: all) below `folder`/tests."""
    os.environ.setdefault("SNUG_COMPILER", str(binaries.parent / "lib/libsnug_compiler.so"))
    os.environ.setdefault("SNUG_RUNTIME", str(binaries.parent / "lib/libsnug_runtime.so"))
    for place in (HERE.parents[1] / "python", HERE.parent / "onnx"):
        sys.path.insert(0, str(place))
    import cases
    import expected
    import snug.compiler
    from snug import onnx_backend
    known_to_fail = expected.Table.read(HERE.parent / "onnx/expected_failures.txt").lines
    chosen = [case for case in cases.load(("node",)) if match in case.name and holds_numbers(case)
              and not any(line.covers(case.name, case.ops(), "cuda") for line in known_to_fail)]
    if count:
        chosen = sorted(random.Random(1).sample(chosen, min(count, len(chosen))), key=lambda case: case.name)
    below = folder / "tests"
    below.mkdir(parents=True, exist_ok=True)
    made = []
    for case in chosen:
        inputs, outputs = case.data_sets[0]
        words = onnx_backend.words_of(onnx_backend.given_dims(case.model, inputs).items(), onnx_backend.values(case.model, inputs).items())
        snug.compiler.compile(*words, "--target", f"cuda:{chips}", "-o", below / f"{case.name}.so", model=case.model.SerializeToString(deterministic=True))
        arrays = {f"{side}{i}": value for side, values in (("in", inputs), ("out", outputs)) for i, value in enumerate(values)}
        np.savez(below / f"{case.name}.npz", **{name: np.asarray(value) for name, value in arrays.items()})
        made.append({"name": case.name, "rtol": case.rtol, "atol": case.atol})
    (below / "tests.json").write_text(json.dumps(made, indent=1))
    copied = folder / "snug"
    copied.mkdir(exist_ok=True)
    for path in ((HERE.parents[1] / "python/snug/__init__.py"), *(HERE.parents[1] / "python/snug").glob("_*.py")):
        (copied / path.name).write_bytes(path.read_bytes())
    print(f"{len(made)} tests of the onnx package")


def holds_numbers(case):
    """Tensors of types that NumPy has: a file of arrays can have no others."""
    values = [value for side in case.data_sets[0] for value in side]
    return len(case.data_sets) == 1 and all(isinstance(value, (np.ndarray, np.generic)) and np.asarray(value).dtype.kind in "biufc" and
                                            type(np.asarray(value).dtype).__module__.startswith("numpy") for value in values)


def check(below, one, load):
    """"" where the test passes, else why not."""
    with np.load(below / f"{one['name']}.npz") as arrays:
        inputs, want = ([arrays[f"{side}{i}"] for i in range(sum(name.startswith(side) for name in arrays.files))] for side in ("in", "out"))
    got = list(load(str(below / f"{one['name']}.so"))(*inputs).values())
    for mine, right in zip(got, want, strict=True):
        mine = np.asarray(mine)
        if mine.dtype != right.dtype or mine.shape != right.shape:
            return f"{mine.dtype}{mine.shape} instead of {right.dtype}{right.shape}"
        if not np.allclose(mine, right, rtol=one["rtol"], atol=one["atol"], equal_nan=True) if right.dtype.kind in "fc" else (mine != right).any():
            return "wrong result"
    return ""


def work(folder, first):
    """Runs tests from number `first` on; a line of JSON for each."""
    import snug  # the copy in the folder
    below = folder / "tests"
    for number, one in enumerate(json.loads((below / "tests.json").read_text())):
        if number < first:
            continue
        try:
            why = check(below, one, snug.load)
        except snug.Error as error:
            why = f"exit code {error.code}: {error}"
        print(json.dumps([number, why]), flush=True)
        if why: # a GPU that has met a fault is of no use to this process
            return


def run(folder, environment):
    """What is wrong with each test that fails, by its name; the number of tests."""
    tests = json.loads((folder / "tests/tests.json").read_text())
    problems, next_ = {}, 0
    while next_ < len(tests):
        done = subprocess.run([sys.executable, str(folder / "onnx_tests.py"), str(folder), str(next_)], capture_output=True, text=True,
                              env={**environment, "PYTHONPATH": str(folder), "SNUG_RUNTIME": str(next((folder / "lib").glob("libsnug_runtime.so*")))})
        for number, why in map(json.loads, done.stdout.splitlines()):
            next_ = number + 1
            if why:
                problems[tests[number]["name"]] = why
        if done.returncode:
            problems[tests[next_]["name"]] = f"the process ended with {done.returncode}: {done.stderr.strip()[-500:]}"
            next_ += 1
    return problems, len(tests)


if __name__ == "__main__":
    work(pathlib.Path(sys.argv[1]), int(sys.argv[2]))
