"""What every ring shares: tools that may be missing are named, and where nothing may be missing that fails."""

import os
import shutil

import pytest

TOOLS = {
    "node": "Node.js 20 is not on PATH",
    "chromium": "Debian's chromium is not on PATH",
}


def pytest_runtest_setup(item):
    for mark in item.iter_markers("needs"):
        (tool,) = mark.args
        if shutil.which(tool) is None:
            missing(TOOLS[tool])


def missing(why):
    if os.environ.get("BRIDGE_TESTS_SKIP_NOTHING"):
        pytest.fail(f"nothing may be skipped here, but {why}")
    pytest.skip(why)
