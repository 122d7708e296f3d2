"""The doctor sees which chat-servers share the Redis, and says what lets them hear the bridge."""

import asyncio
import contextlib

import pytest
import socketio
from node_cluster_peers import bridge_at, node_server
from redis_server import SERVERS, redis_server

from bridge.commands import chat_servers
from bridge.settings import load


@pytest.fixture
def redis(tmp_path):
    with redis_server(tmp_path) as server:
        yield server


@pytest.fixture
def examine(capsys):
    async def look(redis_url, *, opens=True, **chosen):
        wrong = []
        settings = load({}, None, redis_url=redis_url, **chosen)
        await chat_servers.look(settings, wrong.append, opens=opens)
        return capsys.readouterr().out, wrong

    return look


@contextlib.asynccontextmanager
async def python_server(redis_url):
    """A server of python-socketio, as far as others on the Redis see it."""
    manager = socketio.AsyncRedisManager(redis_url)
    server = socketio.AsyncServer(client_manager=manager)
    manager.set_server(server)
    manager.initialize()
    try:
        yield
    finally:
        manager.thread.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await manager.thread
        await manager.redis.aclose()


ADAPTERS = {
    "classic": ("@socket.io/redis-adapter, key socket.io", {}, {"node_adapter": "streams"}),
    "sharded": ("createShardedAdapter, channelPrefix socket.io", {"node_adapter": "sharded"}, {}),
    "streams": ("redis-streams-adapter, channelPrefix socket.io", {"node_adapter": "streams"}, {}),
}


@pytest.mark.needs("node")
@pytest.mark.needs("redis-server")
@pytest.mark.needs("socket.io")
@pytest.mark.parametrize("adapter", ADAPTERS)
async def test_node_servers_are_counted_and_the_setting_they_need_is_named(redis, examine, adapter):
    kind, rightly, wrongly = ADAPTERS[adapter]
    library = "ioredis" if adapter == "streams" else "redis"
    async with (
        bridge_at(redis.url),  # a bridge is no chat-server
        node_server(redis.url, ADAPTER=adapter, REDIS_CLIENT=library),
        node_server(redis.url, ADAPTER=adapter, REDIS_CLIENT=library),
    ):
        async with asyncio.timeout(60):
            while "2 Node servers" not in (said := await examine(redis.url, **rightly))[0]:
                await asyncio.sleep(0.05)
        assert f"{kind}: they hear the bridge" in said[0]
        assert not said[1]
        told, (wrong,) = await examine(redis.url, **wrongly)
        assert "they do not hear the bridge" in told
        assert f"set BRIDGE_NODE_ADAPTER={'auto' if adapter == 'classic' else adapter} " in wrong


@pytest.mark.needs("node")
@pytest.mark.needs("redis-server")
@pytest.mark.needs("socket.io")
async def test_another_key_is_named_and_a_closed_door(redis, examine):
    async with node_server(redis.url, ADAPTER_KEY="chat.a"):
        async with asyncio.timeout(60):
            while not (said := await examine(redis.url, opens=False))[1]:
                await asyncio.sleep(0.05)
        told, (wrong,) = said
        assert "set BRIDGE_NODE_ADAPTER=auto BRIDGE_NODE_ADAPTER_KEY=chat.a" in wrong
        assert "set BRIDGE_DROP_IN=on" in told
        told, wrong = await examine(redis.url, node_adapter_key="chat.a", drop_in_port=5001)
        assert not wrong
        assert "port 5001 of this bridge" in told
        assert (await examine(redis.url, node_adapter="off"))[1] == []  # so it was meant


@pytest.mark.parametrize("program", SERVERS)
async def test_a_cluster_of_python_socketio_is_named_and_a_bridge_alone_is_none(tmp_path, examine, program):
    with redis_server(tmp_path, program()) as redis:
        async with bridge_at(redis.url):
            told, wrong = await examine(redis.url)
            assert "no chat-server listens on this Redis" in told
            async with python_server(redis.url):
                async with asyncio.timeout(60):
                    while "1 python-socketio server, " not in (told := (await examine(redis.url))[0]):
                        await asyncio.sleep(0.05)
                assert "set BRIDGE_PYTHON_CHANNEL=socketio" in told
                told, _ = await examine(redis.url, python_channel="socketio")
                assert "channel socketio: they hear the bridge" in told
    assert not wrong


async def test_no_redis_and_one_that_is_away(examine):
    told, wrong = await examine("")
    assert "none (REDIS_URL)" in told
    assert not wrong
    _, (wrong,) = await examine("redis://:secret@127.0.0.1:9/0")
    assert "is REDIS_URL right?" in wrong
    assert "secret" not in wrong
