# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The command-line tools as functions. SNUGC, SNUG_RUN and SNUG_MEMORY_PROBE name the binaries."""
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "models"))
import resident  # noqa: E402

MIB = 1 << 20
CANNOT_FIT = 4  # exit code: the budget cannot be met, the least reachable one is in the report


def tool(variable):
    path = os.environ.get(variable)
    if not path:
        raise RuntimeError(f"{variable} is not set: run these tests through ctest, or set it to the binary's path")
    return path


def command(arguments, allowed=(0,)):
    done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode in allowed, f"{' '.join(map(str, arguments))}\nexit code {done.returncode}\n{done.stderr}"
    return done.returncode


def compile_model(model, output, dims, activation_budget=None, allowed=(0,), flags=()):
    """Returns (exit code, report). dims: name -> number, or text such as "1..256"; budget: bytes, or text as typed."""
    report = output.with_suffix(".report.json")
    arguments = [tool("SNUGC"), model, "-o", output, "--report", report, *flags]
    for name, value in dims.items():
        arguments += ["--dim", f"{name}={value}"]
    if activation_budget is not None:
        text = f"{activation_budget}B" if isinstance(activation_budget, int) else activation_budget
        arguments += ["--activation-budget", text]
    code = command(arguments, allowed)
    return code, json.loads(report.read_text())


def run_model(library, inputs, repeat=1):
    """Returns (outputs by name, stats)."""
    files = {what: library.with_suffix("." + what) for what in ("inputs.npz", "outputs.npz", "stats.json")}
    np.savez(files["inputs.npz"], **inputs)
    command([tool("SNUG_RUN"), library, "--inputs", files["inputs.npz"], "--outputs", files["outputs.npz"],
             "--stats", files["stats.json"], "--repeat", repeat])
    with np.load(files["outputs.npz"]) as outputs:
        return {name: outputs[name] for name in outputs.files}, json.loads(files["stats.json"].read_text())


def reference(model, inputs):
    """What ONNX Runtime computes, by output name."""
    import onnxruntime
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs)))


def relative_error(got, want):
    """Relative L2 error; not-a-number where it has no meaning, which no bound accepts."""
    if got.shape != want.shape or got.dtype != want.dtype:
        raise AssertionError(f"got {got.dtype}{got.shape}, want {want.dtype}{want.shape}")
    got, want = got.astype(np.float64), want.astype(np.float64)
    return float(np.linalg.norm(got - want) / np.linalg.norm(want))


def outside_memory(library, dims, repeat=3, fit=False):
    """Growth of a process in bytes, seen from outside: (by creating the context, by runs, allocations in runs). With `fit`
    the context is made for these dims, else for the largest."""
    arguments = [tool("SNUG_MEMORY_PROBE"), library, repeat, *(f"{name}={value}" for name, value in dims.items())]
    arguments += ["fit"] if fit else []
    with resident.Steps(arguments) as probe:
        ready, _, _ = probe.go("ready", first=True)
        created, creating, _ = probe.go("created")
        _, first_run, _ = probe.go("warm")  # reads the weights' file: its pages are no anonymous memory
        _, more_runs, said = probe.go("ran", exact=True)
    return max(created, creating) - ready, max(first_run, more_runs) - created, said["allocations"]
