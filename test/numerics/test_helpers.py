# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The yardsticks themselves: each must see the fault that it is for."""
import hashlib
import sys

import numpy as np
import pytest

import materialize
import resident
import snug
from snug import MIB


def test_relative_error_sees_one_wrong_element():
    want = np.ones((64, 64), np.float32)
    got = want.copy()
    assert snug.relative_error(got, want) == 0
    got[3, 3] += 1e-2
    assert snug.relative_error(got, want) > 1e-5
    got[3, 3] = np.nan
    assert not snug.relative_error(got, want) <= 1e-5
    with pytest.raises(AssertionError):
        snug.relative_error(want[:1], want)
    with pytest.raises(AssertionError):
        snug.relative_error(want.astype(np.float64), want)


GROWING = """
import sys
sys.path.insert(0, sys.argv[1])
from resident import arrive
import mmap
arrive("ready")
block = mmap.mmap(-1, int(sys.argv[2]), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for at in range(0, len(block), 4096):
    block[at] = 1
if sys.argv[3] == "free":
    block.close()
arrive("created", kept=sys.argv[3])
"""


@pytest.mark.parametrize("keep", ["keep", "free"])
def test_watcher_sees_memory_that_is_kept_and_that_is_given_back(keep):
    with resident.Steps([sys.executable, "-c", GROWING, materialize.HERE, 16 * MIB, keep]) as process:
        before, _, _ = process.go("ready", first=True)
        after, peak, said = process.go("created", exact=True)
    assert said == {"kept": keep}
    # The kernel keeps its peak in batches of pages a thread, so it may lack a few hundred KiB.
    assert 15.5 * MIB <= peak - before <= 17 * MIB
    assert (after - before >= 15.5 * MIB) == (keep == "keep")


def test_watcher_reports_a_process_that_fails():
    with resident.Steps([sys.executable, "-c", "import sys; sys.exit('no such model')"]) as process:
        with pytest.raises(RuntimeError, match="no such model"):
            process.go("ready", first=True)


def test_weights_are_the_same_bytes_everywhere(weights):
    data = weights("gpt2_tiny").with_name("gpt2_tiny.onnx.data").read_bytes()
    assert hashlib.sha256(data).hexdigest()[:12] == "875b964808d0"
    a, b = (materialize.noise(0, name, (1000,)) for name in "ab")
    assert abs(a.mean()) < 0.2 and 0.9 < a.std() < 1.1 and not np.array_equal(a, b)
