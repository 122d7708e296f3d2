"""``config/redis.conf`` on every Redis that the bridge accepts."""

import asyncio
from pathlib import Path

import pytest
from redis_server import SERVERS, redis_server
from test_journal_contract import claim, said

from bridge.letters import Batch
from bridge.ports import Appended, Claimed, Kept
from bridge.redis_client import RedisClient
from bridge.stores.redis import RedisStore

CONFIG = Path(__file__).resolve().parents[2] / "config" / "redis.conf"


@pytest.fixture(params=SERVERS)
def server(request, tmp_path):
    with redis_server(tmp_path, request.param(), [str(CONFIG)]) as server:
        yield server


async def test_the_bridge_accepts_it_and_a_killed_server_has_lost_nothing(server):
    store = RedisStore(RedisClient(server.url), "one", lease_s=2.0, turn_s=60.0, window_s=600.0)
    await store.start()
    try:
        assert await store.claim(claim()) == Claimed()
        assert await store.append("t-1", 1, Batch(1, said())) == Appended(Kept.OK)
        await written(store)
        server.kill()
        server.start()
        kept = await store.read("t-1")
        assert kept is not None
        assert kept.number == 1
    finally:
        await store.close()


async def written(store):
    """Wait until the log holds everything: while it is flushed to the disk, what comes waits in memory."""
    async with asyncio.timeout(60):
        while (await store._redis.commands.info("persistence"))["aof_buffer_length"]:
            await asyncio.sleep(0.01)


async def test_what_it_says_is_what_the_server_does(server):
    client = RedisClient(server.url)
    answers = await client.commands.config_get("*")
    await client.close()
    lines = [line for line in CONFIG.read_text("utf-8").splitlines() if line[:1].isalpha()]
    said = dict(line.split(None, 1) for line in lines)
    del said["bind"], said["port"]  # the test gives its own
    assert {name: answers[name] for name in said} == {name: _answered(value) for name, value in said.items()}


def _answered(value):
    if value.endswith("mb"):
        return str(int(value.removesuffix("mb")) * 1024**2)
    return "" if value == '""' else value
