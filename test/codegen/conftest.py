# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import zlib

import numpy as np
import pytest


def pytest_configure(config):
    config.addinivalue_line("markers", "cpu: looks at machine code of a CPU, or at what a GPU has not")


@pytest.fixture(autouse=True)
def own_numbers(request):
    """A test has the same numbers in whatever order tests run."""
    if hasattr(request.module, "rng"):
        request.module.rng = np.random.default_rng(zlib.crc32(request.node.name.encode()))
