# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Kernels on the simulator against numpy: none of them has a fault."""
import numpy as np
import pytest
from harness import aligned, launch, source

random = np.random.default_rng(0)


def normal(*shape):
    return random.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("count", [1, 1024, 5000, 4099])
def test_elementwise(count):
    x, b, y = aligned(normal(count)), aligned(normal(count)), aligned(np.zeros(count, np.float32))
    assert launch(source("elementwise"), "elementwise", [-(-count // 1024)], [256], [x, b, y, count]) == []
    wide = x.astype(np.float64)
    np.testing.assert_allclose(y, wide / (1 + np.exp(-wide)) + b, rtol=1e-6, atol=1e-6)
