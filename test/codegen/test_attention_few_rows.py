# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""All tests of attention, in the form for few rows, which takes any number of them."""
import pytest

import test_attention
from harness import TARGET
from test_attention import *  # noqa: F401, F403

pytestmark = pytest.mark.skipif(TARGET == "cpu", reason="a form of kernels for GPUs")


@pytest.fixture(autouse=True)
def few_rows(request, own_numbers, monkeypatch):
    monkeypatch.setitem(test_attention.FORM, "few_rows", True)
    monkeypatch.setattr(test_attention, "rng", request.module.rng)
