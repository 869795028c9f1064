# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A plugin of pytest for long.py: notes each test that passed, with its seconds, in the file that SNUG_LONG_STATE names."""
import json
import os

FAILED, SECONDS = set(), {}


def pytest_runtest_logreport(report):
    SECONDS[report.nodeid] = SECONDS.get(report.nodeid, 0) + report.duration
    if report.failed:
        FAILED.add(report.nodeid)
    if report.when == "teardown" and report.nodeid not in FAILED:
        with open(os.environ["SNUG_LONG_STATE"], "a") as state:
            state.write(json.dumps({"test": report.nodeid, "seconds": round(SECONDS[report.nodeid], 3)}) + "\n")
