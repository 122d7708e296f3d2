"""The chat-server of today, without the bridge: what its devices hear when nothing of ours is there."""

import asyncio
import contextlib

import pytest
from legacy_chat import legacy_device, legacy_server
from redis_server import redis_server

from backend_stub.app import ReferenceBackend
from backend_stub.model import Pace
from backend_stub.settings import Settings

pytestmark = [pytest.mark.needs("node"), pytest.mark.needs("redis-server"), pytest.mark.needs("socket.io")]


@pytest.fixture
async def backend_url(tmp_path):
    url = f"sqlite+aiosqlite:///{tmp_path / 'history.sqlite3'}"
    backend = ReferenceBackend(Settings(port=0, database_url=url, pace=Pace(first_token_s=0.01)))
    address = await backend.start()
    try:
        yield address
    finally:
        await backend.stop()


@pytest.fixture
def redis_url(tmp_path):
    with redis_server(tmp_path) as server:
        yield server.url


@pytest.mark.parametrize("client", ["redis", "ioredis"])
async def test_devices_of_two_servers_and_every_client_version_hear_one_answer(
    backend_url, redis_url, client
):
    async with contextlib.AsyncExitStack() as running:
        first, second = [
            await running.enter_async_context(legacy_server(redis_url, backend_url, REDIS_CLIENT=client))
            for _ in range(2)
        ]
        devices = [
            await running.enter_async_context(legacy_device(server.address, 42, version=version))
            for server, version in ((first, 4), (second, 3), (second, 2))
        ]
        sent = await devices[0].call("send_message", {"roomId": 42, "content": "Hi", "requestId": "r1"})
        assert sent == {"ok": True, "requestId": "r1"}
        answers = await asyncio.gather(
            *(device.first("new_message", lambda m: m["role"] == "assistant") for device in devices)
        )
        assert all(answer == answers[0] for answer in answers)
        assert answers[0]["roomId"] == 42
        assert answers[0]["content"]


async def test_the_sender_is_told_when_the_backend_is_away(redis_url):
    async with (
        legacy_server(redis_url, "http://127.0.0.1:9") as server,
        legacy_device(server.address, "r") as device,
    ):
        await device.call("send_message", {"roomId": "r", "content": "Hi", "requestId": "r1"})
        failed = await device.first("message_failed")
        assert (failed["requestId"], failed["roomId"]) == ("r1", "r")
