"""What dies in mid-turn, and what a chat-server of today still tells its devices: the answer, whole, once."""

import asyncio
import contextlib
import signal

import pytest
from bridge_process import node
from legacy_chat import legacy_device, legacy_server
from node_cluster_peers import bridge_at, followers, listeners, until
from redis_server import redis_server

from backend_stub.app import ReferenceBackend
from backend_stub.model import Pace
from backend_stub.settings import Settings as BackendSettings
from tests.held_model import WHOLE, HeldModel
from tests.held_ports import held_port

pytestmark = [pytest.mark.needs("node"), pytest.mark.needs("redis-server"), pytest.mark.needs("socket.io")]
ASKED = {"roomId": 42, "content": "Tell me of the sea", "requestId": "q-1"}


@pytest.fixture
async def backend(tmp_path):
    url = f"sqlite+aiosqlite:///{tmp_path / 'history.sqlite3'}"
    settings = BackendSettings(port=0, database_url=url, pace=Pace(first_token_s=0.01), grace_s=20)
    model = HeldModel()
    model.begins.set()
    backend = ReferenceBackend(settings, provider=model)
    backend.url = await backend.start()
    backend.go_on = model.goes_on.set
    try:
        yield backend
    finally:
        await backend.stop()


@pytest.fixture
def redis(tmp_path):
    with redis_server(tmp_path) as server:
        yield server


def answers(message):
    return message["role"] == "assistant"


async def told_once(*devices):
    """Check that each device is told the whole answer, once."""
    for device in devices:
        told = await device.first("new_message", answers)
        assert (told["requestId"], told["content"]) == ("q-1", WHOLE)
    await asyncio.sleep(0.3)  # time for a second one
    for device in devices:
        assert len([message for message in device.of("new_message") if answers(message)]) == 1
        assert not device.of("message_failed")


def text_of(device):
    """Return what a device heard in chunks: each once, in order, between one start and one end."""
    assert len(device.of("ai_message_start")) == 1
    (end,) = device.of("ai_message_end")
    seq, text = 0, ""
    for chunk in device.of("ai_message_chunk"):
        assert chunk.get("fromSeq", chunk["seq"]) == seq + 1
        seq, text = chunk["seq"], text + chunk["delta"]
    assert text == end["content"]
    return text


@pytest.mark.parametrize("comes", ["another bridge", "the same bridge again"])
async def test_a_bridge_killed_in_mid_post_and_the_repeat_is_told_once(backend, redis, comes):
    given = {"BRIDGE_NODE_ADAPTER": "on"}
    async with contextlib.AsyncExitStack() as running:
        enter = running.enter_async_context
        count = 2 if comes == "another bridge" else 1
        ports = [running.enter_context(held_port()) for _ in range(count)]
        bridges = [await enter(node(backend, redis, PORT=str(port), **given)) for port in ports]
        addresses = ",".join(bridge.address for bridge in bridges)
        servers = [await enter(legacy_server(redis.url, addresses, RETRIES="1000")) for _ in range(2)]
        devices = [
            await enter(legacy_device(server.address, 42, version=version))
            for server, version in zip(servers, (4, 2), strict=True)
        ]
        await devices[0].call("send_message", ASKED)
        await devices[0].first("ai_message_chunk")
        bridges[0].send(signal.SIGKILL)
        await bridges[0].process.wait()
        if comes == "the same bridge again":
            await enter(node(backend, redis, PORT=str(ports[0]), **given))
        backend.go_on()
        await told_once(*devices)
        for device in devices:
            await device.first("ai_message_end")
            assert text_of(device) == WHOLE
    assert backend.tally.calls["q-1"].answers == 1


@pytest.mark.parametrize("library", ["redis", "ioredis"])
async def test_redis_restarted_in_mid_post_and_devices_of_every_chat_server_are_told_once(
    backend, redis, library
):
    async with contextlib.AsyncExitStack() as running:
        enter = running.enter_async_context
        bridge = await enter(bridge_at(redis.url, backend.url, chat_streaming_enabled=True))
        servers = [
            await enter(legacy_server(redis.url, bridge.address, REDIS_CLIENT=library)) for _ in range(2)
        ]
        devices = [await enter(legacy_device(server.address, 42)) for server in servers]
        await until(lambda: bridge.shared.audience.there and len(followers(redis)) == 1 + len(servers))
        await devices[0].call("send_message", ASKED)
        for device in devices:
            await device.first("ai_message_chunk")
        listened = listeners(redis)
        redis.kill()
        await asyncio.sleep(0.2)
        redis.start()
        await until(lambda: listeners(redis) == listened and bridge.shared.audience.there)
        backend.go_on()
        await told_once(*devices)
        for device in devices:
            assert (await device.first("ai_message_end"))["content"] == WHOLE
    assert backend.tally.calls["q-1"].answers == 1


@pytest.mark.parametrize("way", ["direct", "through the bridge"])
async def test_a_chat_server_killed_in_mid_post_tells_the_answer_once_to_who_asks_again_bridge_or_not(
    backend, redis, way
):
    async with contextlib.AsyncExitStack() as running:
        enter = running.enter_async_context
        address = backend.url
        if way != "direct":
            given = {"node_adapter": "on", "chat_streaming_enabled": True}
            address = (await enter(bridge_at(redis.url, backend.url, **given))).address
        first, second = [await enter(legacy_server(redis.url, address)) for _ in range(2)]
        sender = await enter(legacy_device(first.address, 42, reconnection=True, reconnectionDelay=100))
        other = await enter(legacy_device(second.address, 42))
        await sender.call("send_message", ASKED)
        await other.first("new_message", lambda message: message["role"] == "user")
        await until(lambda: "q-1" in backend.tally.calls)
        await first.stop()
        await sender.until(lambda line: "disconnected" in line)
        await enter(legacy_server(redis.url, address, port=first.address.rpartition(":")[2]))
        await until(lambda: sum("connected" in line for line in sender.said) == 2)
        await sender.call("join_room", {"roomId": 42})
        backend.go_on()
        if way != "direct":
            assert (await sender.first("ai_message_end"))["content"] == WHOLE
        await asyncio.sleep(0.3)
        for device in (sender, other):  # its POST went with the server: nobody is told before it is repeated
            assert not [message for message in device.of("new_message") if answers(message)]
        await sender.call("send_message", ASKED)
        await told_once(sender, other)
        if way != "direct":
            assert text_of(other) == WHOLE
    assert backend.tally.calls["q-1"].answers == 1
