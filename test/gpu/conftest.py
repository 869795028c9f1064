# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
def pytest_configure(config):
    config.addinivalue_line("markers", "long: not in tier 1")
