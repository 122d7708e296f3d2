"""The examples that need no browser, each run as its README says, against what the demo runs."""

import asyncio
import contextlib
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from door_laws import text_of
from end_to_end_apps import Device, backend_at, running
from redis_server import redis_server

from backend_stub.model import Pace
from tests.cluster.proxy import FaultProxy

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PYTHON = (sys.executable, EXAMPLES / "python" / "client.py")


@pytest.fixture
async def backend(tmp_path):
    async with backend_at(tmp_path, Pace(60, 80, 0.05)) as backend:
        yield backend


@contextlib.asynccontextmanager
async def process(*command, stderr=None, **environ):
    started = await asyncio.create_subprocess_exec(
        *map(str, command), env={**os.environ, **environ}, stdout=asyncio.subprocess.PIPE, stderr=stderr
    )
    try:
        yield started
    finally:
        with contextlib.suppress(ProcessLookupError):
            started.kill()
        await started.communicate()


async def whole(*command):
    """Run a command to its good end; return what it printed."""
    async with asyncio.timeout(60), process(*command) as started:
        said, _ = await started.communicate()
        assert started.returncode == 0, said.decode()
        return said.decode()


@pytest.mark.needs("curl")
async def test_curl_hears_resumes_asks_and_turns_streaming_off_and_on(bridge):
    said = await whole(shutil.which("bash"), EXAMPLES / "curl" / "chat.sh", bridge.address, "tea")
    before, resumed, streamed, complete, off, on = said.split("\n== ")
    events = [line.partition(" ") for line in f"{before}\n{resumed}".splitlines()]
    heard = [(name, json.loads(data)) for name, _, data in events if name.startswith("ai_message_")]
    name, end = heard[-1]
    assert name == "ai_message_end"
    assert text_of(heard) == {end["messageId"]: end["content"]}
    assert before.splitlines()[-1].startswith("ai_message_chunk")
    assert 'data: {"role":"user","delta":"And a lake?"}' in streamed
    assert streamed.rstrip().endswith("data: [DONE]")
    assert '"role": "assistant"' in complete
    assert '"streaming_off"' in off
    assert "/messages/" in off
    assert json.loads(on.splitlines()[-1])["value"] == "on"


async def test_python_prints_an_answer_once_though_its_connection_is_lost(bridge, backend):
    proxy = FaultProxy(int(bridge.address.rpartition(":")[2]))
    await proxy.start()
    try:
        ask = (*PYTHON, "안녕", "--room", "tea", "--address", f"http://127.0.0.1:{proxy.port}")
        async with (
            asyncio.timeout(60),
            Device.at(bridge.address, "tea") as other,
            process(*ask) as started,
        ):
            said = await started.stdout.readuntil(b"You wrote")
            proxy.cut()
            said += await started.stdout.read()
            assert await started.wait() == 0
            end = await other.first("ai_message_end")
            assert said.decode() == end["content"] + "\n"
            assert backend.tally.calls[end["requestId"]].answers == 1
    finally:
        await proxy.stop()


async def test_python_says_why_it_was_refused(bridge):
    ask = (*PYTHON, " ", "--address", bridge.address)
    async with asyncio.timeout(60), process(*ask, stderr=asyncio.subprocess.PIPE) as started:
        _, said = await started.communicate()
    assert started.returncode == 1
    assert said.startswith(b"unable to")
    assert len(said.splitlines()) == 1


async def test_python_prints_an_answer_that_comes_whole(backend):
    async with running(backend.url, demo=True, chat_streaming_enabled=False) as bridge:
        said = await whole(*PYTHON, "hi", "--address", bridge.address)
    assert "You wrote" in said


@contextlib.asynccontextmanager
async def chat_server(redis, bridge):
    server, given = (
        EXAMPLES / "chat_server" / "server.js",
        {"REDIS_URL": redis.url, "BACKEND_URL": bridge.address},
    )
    async with process(shutil.which("node"), server, PORT="0", **given) as started:
        async with asyncio.timeout(60):
            said = await started.stdout.readline()
        yield f"http://127.0.0.1:{int(said.split()[-1])}"


@pytest.mark.needs("node")
@pytest.mark.needs("redis-server")
@pytest.mark.needs("example-chat-server")
async def test_devices_of_a_chat_server_that_stays_hear_what_they_did_and_new_ones_see_it_grow(
    backend, tmp_path
):
    device = (shutil.which("node"), EXAMPLES / "chat_server" / "device.js", "안녕", "--room", "tea")
    with redis_server(tmp_path) as redis:
        async with (
            running(backend.url, demo=True, redis_url=redis.url) as bridge,
            chat_server(redis, bridge) as address,
        ):
            async with Device.at(bridge.address, "tea") as other:
                today = await whole(*device, "--address", address)
                end = await other.first("ai_message_end")
                assert today == f"user: 안녕\nassistant: {end['content']}\n"
            async with Device.at(bridge.address, "tea") as other:
                new = await whole(*device, "--grow", "--address", address)
                text = (await other.first("ai_message_end"))["content"]
                assert new == f"user: 안녕\n{text}\nassistant: {text}\n"
