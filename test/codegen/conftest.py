# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
def pytest_configure(config):
    config.addinivalue_line("markers", "cpu: looks at machine code of a CPU, or at what a GPU has not")
