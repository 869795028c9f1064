# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Coalescing and bank conflicts, counted: against what the addresses say."""
import json

import numpy as np
import pytest
from harness import aligned, launch, source


@pytest.fixture
def profile(tmp_path, monkeypatch):
    """Runs a kernel without faults; returns {(space, writes): [(requests, units, least)]}, in the order of its ops."""
    file = tmp_path / "profile.json"
    monkeypatch.setenv("SNUG_SIM_PROFILE", str(file))

    def run(*arguments):
        assert launch(*arguments) == []
        lines = file.read_text().splitlines()
        assert len(lines) == 1
        found = {}
        for access in json.loads(lines[0])["accesses"]:
            place = (int(access["at"].split(":")[-2]), int(access["at"].split(":")[-1]))
            counts = (access["requests"], access["units"], access["least"])
            found.setdefault((access["space"], access["writes"]), []).append((place, counts))
        return {key: [counts for _, counts in sorted(rows)] for key, rows in found.items()}

    return run


def test_coalesced(profile):
    """Vectors of 16 bytes: a warp wants 512 bytes, 16 sectors."""
    x, y = aligned(np.zeros(4096, np.float32)), aligned(np.zeros(4096, np.float32))
    found = profile(source("elementwise"), "elementwise", [4], [256], [x, x, y, 4096])
    assert found == {("global", False): [(32, 512, 512)] * 2, ("global", True): [(32, 512, 512)]}


@pytest.mark.parametrize("stride, sectors", [(0, 1), (1, 4), (2, 8), (8, 32), (9, 32)])
def test_strided(profile, stride, sectors):
    text = f"""module {{
  gpu.module @kernels {{
    gpu.func @strided(%x: memref<512xi32>, %y: memref<32xi32>) kernel {{
      %stride = arith.constant {stride} : index
      %tid = gpu.thread_id x
      %i = arith.muli %tid, %stride : index
      %v = memref.load %x[%i] : memref<512xi32>
      memref.store %v, %y[%tid] : memref<32xi32>
      gpu.return
    }}
  }}
}}
"""
    x, y = aligned(np.zeros(512, np.int32)), aligned(np.zeros(32, np.int32))
    found = profile(text, "strided", [1], [32], [x, y])
    assert found == {("global", False): [(1, sectors, min(sectors, 4))], ("global", True): [(1, 4, 4)]}


@pytest.mark.parametrize("pitch, turns", [(33, 1), (32, 32), (34, 2), (36, 4)])
def test_bank_conflicts(profile, pitch, turns):
    """Columns of the tile are read: by 32 lanes at multiples of the pitch."""
    x = aligned(np.zeros((32, 32), np.float32))
    text = source("transpose").replace("32x33xf32", f"32x{pitch}xf32")
    found = profile(text, "transpose", [1, 1], [32, 8], [x, aligned(np.zeros((32, 32), np.float32)), 32, 32])
    assert found[("shared", True)] == [(32, 32, 32)]
    assert found[("shared", False)] == [(32, 32 * turns, 32)]


@pytest.mark.parametrize("pitch, turns", [(24, 1), (16, 2), (32, 4)])
def test_bank_conflicts_of_ldmatrix(profile, pitch, turns):
    """8 rows of 16 bytes at a time, `pitch` elements of 2 bytes apart."""
    a, b, c = (aligned(np.zeros(shape, dtype)) for shape, dtype in (((16, 32), np.float16), ((32, 8), np.float16), ((16, 8), np.float32)))
    text = source("matmul").replace("ELEMENT", "f16").replace("2x16x24x", f"2x16x{pitch}x")
    found = profile(text, "matmul", [1, 1], [32], [a, b, c, 16, 8, 32])
    assert found[("shared", False)] == [(2, 8 * turns, 8), (2, 4, 4)] # two steps: of a's tile 4 matrices each, of b's 2
