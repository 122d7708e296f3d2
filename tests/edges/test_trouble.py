"""Trouble that the demo's page asks for: bounded, and only for that page."""

import asyncio
import contextlib
import signal
import sys
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
from loopback import Client, running

from bridge.commands import trouble
from bridge.commands.children import child
from bridge.commands.cluster import Node

WAITS = (sys.executable, "-c", "import time; print(flush=True); time.sleep(600)")
PAGE = "http://127.0.0.1:1"
OURS = {"Origin": PAGE}


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    monkeypatch.setattr(trouble, "ASK_S", 60.0)


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session


@contextlib.asynccontextmanager
async def offered(*nodes):
    async with child("the backend", *WAITS, quiet=True) as backend:
        async with trouble.offered(backend, nodes, f"{PAGE}/") as page:
            port = urlsplit(page).fragment.removeprefix("trouble=")
            yield f"http://127.0.0.1:{port}/trouble", backend.process
        assert backend.process.returncode is None


async def until_stands(process, still):
    """Wait until the process stands still, or does not."""
    async with asyncio.timeout(60):
        while stands(process) is not still:
            await asyncio.sleep(0.01)


def stands(process):
    """Whether it is stopped, as the kernel says it behind the name of the program: proc_pid_stat(5)."""
    return Path(f"/proc/{process.pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] == "T"


async def test_a_stalled_backend_goes_on_by_itself(http, monkeypatch):
    monkeypatch.setattr(trouble, "STALL_S", 2.0)
    async with offered() as (url, backend):
        for _ in range(2):  # asked again, it stalls no longer
            async with http.post(f"{url}/stall", headers=OURS) as answer:
                assert (await answer.json())["stallSeconds"] == 2.0
                assert answer.headers["Access-Control-Allow-Origin"] == PAGE
        await until_stands(backend, still=True)
        await until_stands(backend, still=False)


async def test_a_stall_ends_with_the_demo(http):
    async with offered() as (url, backend), http.post(f"{url}/stall", headers=OURS):
        await until_stands(backend, still=True)
    assert backend.returncode == -signal.SIGTERM  # heard, so it ran


@pytest.mark.parametrize("act", ["stall", "kill"])
async def test_another_page_causes_no_trouble(http, act):
    async with offered() as (url, backend):
        async with http.post(f"{url}/{act}", headers={"Origin": "http://evil.example"}) as answer:
            assert (answer.status, (await answer.json())["error"]["code"]) == (403, "bad_origin")
        await until_stands(backend, still=False)


@contextlib.asynccontextmanager
async def node(name, address):
    async with child(name, *WAITS, quiet=True) as process:
        yield Node(process, address, 1)


async def test_the_node_that_runs_the_answer_is_killed_and_the_last_one_is_not(http, script, bridge):
    async with (
        running(script) as idle,
        node("node 1", idle.address) as one,
        node("node 2", bridge.address) as two,
        offered(one, two) as (url, _),
    ):
        async with http.post(f"{url}/kill", headers=OURS) as answer:
            assert (answer.status, (await answer.json())["error"]["code"]) == (409, "idle")
        async with Client(bridge.address) as client:
            await client.call("join_room", {"roomId": 1})
            await client.call("send_message", {"roomId": 1, "content": "x"})
            await client.until("ai_message_start")
            async with http.post(f"{url}/kill", headers=OURS) as answer:
                told = await answer.json()
                assert (told["killed"], told["nodes"]) == (2, 1)
            assert await two.child.fate() == "killed by SIGKILL"
            assert one.child.process.returncode is None
        async with http.get(url) as answer:
            assert (await answer.json())["nodes"] == 1


async def test_the_last_node_is_never_killed(http, bridge):
    async with node("node 1", bridge.address) as only, offered(only) as (url, _):
        async with Client(bridge.address) as client:
            await client.call("join_room", {"roomId": 1})
            await client.call("send_message", {"roomId": 1, "content": "x"})
            await client.until("ai_message_start")
            async with http.post(f"{url}/kill", headers=OURS) as answer:
                assert (answer.status, (await answer.json())["error"]["code"]) == (409, "last_node")
        assert only.child.process.returncode is None
