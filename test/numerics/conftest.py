# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
import snug  # noqa: E402,F401  puts test/models on the path, too
import materialize  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "long: not in tier 1")


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """weights("gpt2_tiny") is the path of that graph with weights beside it."""
    folder, made = tmp_path_factory.mktemp("models"), {}

    def get(name):
        if name not in made:
            made[name] = materialize.materialize(materialize.HERE / (name + ".onnx"), folder)
        return made[name]
    return get
