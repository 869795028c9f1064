# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Each model on each mesh, cut in each way, by processes of MPI: what one device gives, within what was planned."""
import itertools
import json
import os
import random
import re
import subprocess

import numpy as np
import pytest

import snug
from test_mesh import BUILT, EXPORTED, LINKS, MESHES, TOLERANCE, model_of, topology_of

pytestmark = pytest.mark.skipif("SNUG_MPIRUN" not in os.environ, reason="built without MPI")
# What to compile with, and the links; each axis of a family is overlapped, too, as it is by itself with and without.
WAYS = {"free": ([], "alike"), "alone": (["--overlap", "off"], "slow_first"), "pieces": (["--overlap", "4"], "slow_second"),
        "ring": (["--ring-attention", "on", "--replicate-weights"], "free"),
        **{family: (["--mesh-family", family, "--overlap", "2"], "slow_first") for family in ("1d", "hierarchical", "column-first", "row-first")}}
CASES = [case for case in itertools.product([*EXPORTED, *BUILT], [(1, 1), *MESHES], WAYS) if case[1] != (1, 1) or case[2] == "free"]
SHORT = random.Random(7).sample([case for case in CASES if case[1][0] * case[1][1] <= 4], 12)
ENVIRONMENT = {"OMPI_MCA_rmaps_base_oversubscribe": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def compile_for(model, library, dims, mesh, flags):
    """The report, or None where the mesh has no such family: that is said."""
    words = [word for name, value in dims.items() for word in ("--dim", f"{name}={value}")]
    report = library.with_suffix(".json")
    done = subprocess.run([str(word) for word in (snug.tool("SNUGC"), model, "-o", library, "--report", report, "--mesh", f"{mesh[0]}x{mesh[1]}",
                                                  *words, *flags)], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        assert "--mesh-family" in flags and done.returncode in (1, 3), done.stderr
        assert f"{mesh[0]}x{mesh[1]}" in done.stderr and re.search(r"take (another family or mesh|1D|\d+x1)$", done.stderr.strip()) and not library.exists()
        return None
    return json.loads(report.read_text())


def check(name, mesh, way, weights, tmp_path):
    model, dims, inputs = model_of(name, weights, tmp_path)
    flags, links = WAYS[way]
    devices = mesh[0] * mesh[1]
    flags = flags if devices > 1 else []
    if LINKS[links] and devices > 1:
        (tmp_path / "topology.json").write_text(topology_of(mesh, LINKS[links]))
        flags = [*flags, "--topology", tmp_path / "topology.json"]
    library = tmp_path / "m.so"
    report = compile_for(model, library, dims, mesh, flags)
    if report is None:
        return
    np.savez(tmp_path / "in.npz", **inputs)
    done = subprocess.run([os.environ["SNUG_MPIRUN"], "-n", str(devices), snug.tool("SNUG_RUN"), str(library), "--threads", "1", "--inputs",
                           str(tmp_path / "in.npz"), "--outputs", str(tmp_path / "out.npz"), "--stats", str(tmp_path / "stats.json")],
                          capture_output=True, text=True, stdin=subprocess.DEVNULL, env={**os.environ, **ENVIRONMENT}, timeout=300)
    assert done.returncode == 0, done.stderr
    want = snug.reference(model, inputs)
    with np.load(tmp_path / "out.npz") as outputs:
        assert set(outputs.files) == want.keys()
        for output, value in want.items():
            assert snug.relative_error(outputs[output], value) <= TOLERANCE, output
    stats = json.loads((tmp_path / "stats.json").read_text())
    for rank in stats["ranks"] if devices > 1 else [stats]:
        assert rank["measured"]["arena_high_water"] <= rank["planned"]["arena"] == report["memory"]["arena"]


NAMES = {"ids": lambda value: value if isinstance(value, str) else "x".join(map(str, value))}


@pytest.mark.parametrize("name, mesh, way", SHORT, **NAMES)
def test_processes_give_what_one_device_gives(name, mesh, way, weights, tmp_path):
    check(name, mesh, way, weights, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("name, mesh, way", [case for case in CASES if case not in SHORT], **NAMES)
def test_processes_give_what_one_device_gives_in_every_way(name, mesh, way, weights, tmp_path):
    check(name, mesh, way, weights, tmp_path)


@pytest.mark.parametrize("name, mesh", [("gpt2_tiny", (2, 1)), ("llama_tiny", (2, 2)), ("bert_tiny", (1, 3)), ("unet", (2, 1))], **NAMES)
def test_budgets_are_those_of_each_process(name, mesh, weights, tmp_path):
    """The least that can be had, of the arena and of all that a device holds."""
    model, dims, inputs = model_of(name, weights, tmp_path)
    first = compile_for(model, tmp_path / "a.so", dims, mesh, ["--dry-run"])
    least = first["fits"][-1]["activation"]
    for flags in (["--activation-budget", f"{least}B"],
                  ["--memory-budget", f"{first['memory']['total'] - first['memory']['arena'] + least}B"]):
        report = compile_for(model, tmp_path / "m.so", dims, mesh, flags)
        np.savez(tmp_path / "in.npz", **inputs)
        done = subprocess.run([os.environ["SNUG_MPIRUN"], "-n", str(mesh[0] * mesh[1]), snug.tool("SNUG_RUN"), str(tmp_path / "m.so"), "--threads", "1",
                               "--inputs", str(tmp_path / "in.npz"), "--outputs", str(tmp_path / "out.npz"), "--stats", str(tmp_path / "s.json")],
                              capture_output=True, text=True, stdin=subprocess.DEVNULL, env={**os.environ, **ENVIRONMENT}, timeout=300)
        assert done.returncode == 0, done.stderr
        for rank in json.loads((tmp_path / "s.json").read_text())["ranks"]:
            assert rank["measured"]["arena_high_water"] <= rank["planned"]["arena"] <= least
        with np.load(tmp_path / "out.npz") as outputs:
            for output, value in snug.reference(model, inputs).items():
                assert snug.relative_error(outputs[output], value) <= TOLERANCE, (flags, output)
        assert report["memory"]["arena"] <= least
