"""Rooms with devices on the chat-server of today and on bridges: whoever asks, everybody hears it once."""

import asyncio
import contextlib
import signal

import pytest
import socketio
from legacy_chat import legacy_device, legacy_server
from node_cluster_peers import bridge_at, clients, followers, listeners, node_server, until
from one_batch_turn import say_in
from redis_server import redis_server

from backend_stub.app import ReferenceBackend
from backend_stub.model import Pace
from backend_stub.settings import Settings as BackendSettings
from bridge.errors import AnswersMissing
from bridge.messages import MessageChunk
from tests.held_model import HeldModel

pytestmark = [pytest.mark.needs("node"), pytest.mark.needs("redis-server"), pytest.mark.needs("socket.io")]
ASKED = {"roomId": 42, "content": "Tell me of the sea", "requestId": "r-1"}


@pytest.fixture
async def backend(tmp_path):
    url = f"sqlite+aiosqlite:///{tmp_path / 'history.sqlite3'}"
    backend = ReferenceBackend(BackendSettings(port=0, database_url=url, pace=Pace(60, 40, 0.05)))
    backend.url = await backend.start()
    try:
        yield backend
    finally:
        await backend.stop()


@pytest.fixture
def backend_url(backend):
    return backend.url


@pytest.fixture
def redis(tmp_path):
    with redis_server(tmp_path) as server:
        yield server


class BridgeDevice:
    """A python-socketio client of a bridge."""

    def __init__(self):
        self._sio = socketio.AsyncClient(reconnection=False)
        self._sio.on("*", self._hear)
        self.heard = []

    async def _hear(self, event, data):
        self.heard.append((event, data))

    @classmethod
    @contextlib.asynccontextmanager
    async def at(cls, address, room_id):
        device = cls()
        await device._sio.connect(address, transports=["websocket"], wait_timeout=60)
        try:
            await device._sio.call("join_room", {"roomId": room_id})
            yield device
        finally:
            await device._sio.disconnect()

    async def send(self, **message):
        ack = await self._sio.call("send_message", message)
        assert ack["ok"], ack

    def of(self, name):
        return [data for event, data in self.heard if event == name]

    async def first(self, name, wanted=lambda _: True):
        await until(lambda: any(wanted(data) for data in self.of(name)))
        return next(data for data in self.of(name) if wanted(data))


def answers(message):
    return message["role"] == "assistant"


async def answer_of(device):
    """Return the complete answer that a device was told, after it has heard the whole turn once."""
    end = await device.first("ai_message_end")
    answer = await device.first("new_message", answers)
    chunks = device.of("ai_message_chunk")
    assert len(device.of("ai_message_start")) == len(device.of("ai_message_end")) == 1
    heard = 0
    for chunk in chunks:  # one that covers several is as good: a node that caught up tells so
        assert chunk.get("fromSeq", chunk["seq"]) == heard + 1
        heard = chunk["seq"]
    assert "".join(chunk["delta"] for chunk in chunks) == end["content"] == answer["content"]
    assert [message["role"] for message in device.of("new_message")] == ["user", "assistant"]
    assert {answer["roomId"], end["roomId"], chunks[0]["roomId"]} == {42}
    return answer


@pytest.mark.parametrize("library", ["redis", "ioredis"])
async def test_a_turn_of_a_bridge_is_heard_once_by_clients_of_every_version_and_by_other_bridges(
    redis, backend_url, library
):
    async with contextlib.AsyncExitStack() as running:
        enter = running.enter_async_context
        bridges = [
            await enter(bridge_at(redis.url, backend_url, chat_streaming_enabled=True)) for _ in range(2)
        ]
        servers = [await enter(legacy_server(redis.url, backend_url, REDIS_CLIENT=library)) for _ in range(2)]
        legacy = [
            await enter(legacy_device(server.address, 42, version=version))
            for server, version in ((servers[0], 4), (servers[1], 3), (servers[1], 2))
        ]
        devices = [await enter(BridgeDevice.at(bridge.address, 42)) for bridge in bridges]
        await until(lambda: all(bridge.shared.audience.there for bridge in bridges))
        await until(lambda: len(followers(redis)) == len(bridges) + len(servers))
        await devices[0].send(**ASKED)
        told = [await answer_of(device) for device in [*legacy, *devices]]
        assert all(answer["messageId"] == told[0]["messageId"] for answer in told)


async def test_a_message_of_the_chat_server_reaches_the_devices_of_every_bridge_once(redis, backend_url):
    async with (
        bridge_at(redis.url, backend_url) as one,
        bridge_at(redis.url, backend_url) as two,
        legacy_server(redis.url, backend_url) as server,
        legacy_device(server.address, 42) as asks,
        BridgeDevice.at(one.address, 42) as first,
        BridgeDevice.at(two.address, 42) as second,
    ):
        await asks.call("send_message", ASKED)
        answer = await asks.first("new_message", answers)
        for device in (first, second):
            assert await device.first("new_message", answers) == answer
        await asks.call("send_message", {**ASKED, "requestId": "r-2"})
        for device in (first, second):
            await device.first("new_message", lambda m: answers(m) and m["requestId"] == "r-2")
            assert len(device.of("new_message")) == 4


@pytest.mark.parametrize("specific", ["0", "1"])
async def test_two_bridges_and_two_node_servers_are_one(redis, specific):
    form = {"REDIS_CLIENT": "ioredis", "PUBLISH_ON_SPECIFIC_RESPONSE_CHANNEL": specific}
    async with contextlib.AsyncExitStack() as running:
        enter = running.enter_async_context
        bridges = [await enter(bridge_at(redis.url)) for _ in range(2)]
        nodes = [await enter(node_server(redis.url, **form)) for _ in range(2)]
        heard, sids = await enter(clients()), {}
        for number, server in enumerate([*bridges, *nodes]):
            await heard.connect(f"c{number}", server.address)
            await heard.join("room", f"c{number}")
            sids[f"c{number}"] = heard.sid(f"c{number}")
        await until(lambda: all(bridge.shared.audience.there for bridge in bridges))
        await until(lambda: len(followers(redis)) == len(bridges) + len(nodes))
        for number, bridge in enumerate(bridges):
            await bridge.sio.emit("word", number, to="room")
            await bridge.sio.emit("said", number, to="room", skip_sid=sids["c1"])
            found = await bridge.everywhere.sockets(["room"])
            assert sorted(socket.sid for socket in found) == sorted(sids.values())
            acks = await bridge.everywhere.emit_with_ack("ask", rooms=["room"])
            assert sorted(ack["by"] for ack in acks) == sorted(sids)
            servers = await bridge.everywhere.ask_servers("greeting", "hello")
            assert sorted(map(str, servers)) == ["None", "hello from Node", "hello from Node"]
            answered = asyncio.Queue()
            for client in ("c0", "c1", "c2"):
                await bridge.sio.emit("ask", to=sids[client], callback=answered.put)
                async with asyncio.timeout(60):
                    assert await answered.get() == {"by": client}
            assert answered.empty()
        for bridge, node in zip(bridges, nodes, strict=True):
            await bridge.sio.emit("end", to="room")
            await node.do("emit", rooms=["room"], event="end", args=[])
        for client in sids:
            await heard.until_heard(client, "end", 4)
            assert sorted(number for (number,) in heard.heard(client, "word")) == [0, 1]
            assert len(heard.heard(client, "said")) == (0 if client == "c1" else 2)
            assert len(heard.heard(client, "ask")) == (2 if client == "c3" else 4)


async def test_a_server_that_does_not_answer_is_missing_and_is_asked_again_when_it_does(redis):
    async with bridge_at(redis.url) as bridge, node_server(redis.url) as node:
        await until(lambda: bridge.shared.audience.there)
        node.process.send_signal(signal.SIGSTOP)
        for ask in (bridge.everywhere.sockets, bridge.everywhere.rooms):
            with pytest.raises(AnswersMissing):
                await ask(within_s=0.5)
        node.process.send_signal(signal.SIGCONT)
        assert await bridge.everywhere.sockets() == []
        assert not bridge.everywhere._open


async def test_a_chat_server_that_is_killed_and_started_again_hears_again(redis):
    async with bridge_at(redis.url) as bridge:
        for seq in (1, 2):
            async with (
                legacy_server(redis.url, "http://127.0.0.1:9") as server,
                legacy_device(server.address, "r") as device,
            ):
                await until(lambda: bridge.shared.audience.there)
                await say_in(bridge, "r", [MessageChunk("q", "r", "m", seq, "Hi")])
                assert (await device.first("ai_message_chunk"))["seq"] == seq
            await until(lambda: not bridge.shared.audience.there)


@pytest.mark.parametrize("trouble", ["restart", "flush"])
async def test_redis_in_trouble_in_mid_turn_and_everybody_still_hears_the_end_once(redis, backend, trouble):
    backend._provider = model = HeldModel()
    model.begins.set()
    async with (
        bridge_at(redis.url, backend.url, chat_streaming_enabled=True) as bridge,
        legacy_server(redis.url, backend.url) as server,
        legacy_device(server.address, 42) as legacy,
        BridgeDevice.at(bridge.address, 42) as device,
    ):
        await until(lambda: bridge.shared.audience.there)
        await device.send(**ASKED)
        await legacy.first("ai_message_chunk")
        listened = listeners(redis)
        if trouble == "flush":
            redis.command("FLUSHALL")
        else:
            redis.kill()
            await asyncio.sleep(0.2)
            redis.start()
        await until(lambda: listeners(redis) == listened and bridge.shared.audience.there)
        model.goes_on.set()
        end, told = await device.first("ai_message_end"), await legacy.first("ai_message_end")
        assert told["content"] == end["content"]
        assert (await legacy.first("new_message", answers))["content"] == end["content"]
        await asyncio.sleep(0.3)
        for each in (device, legacy):
            assert len(each.of("ai_message_end")) == 1
            assert len([m for m in each.of("new_message") if answers(m)]) == 1


@pytest.mark.parametrize("adapter", ["sharded", "streams"])
@pytest.mark.parametrize("library", ["redis", "ioredis"])
async def test_servers_with_the_other_adapters_hear_what_a_bridge_says(redis, adapter, library):
    async with (
        bridge_at(redis.url, node_adapter=adapter) as bridge,
        node_server(redis.url, ADAPTER=adapter, REDIS_CLIENT=library) as node,
        clients() as heard,
    ):
        await heard.connect("n1", node.address)
        room = "a-room-of-20-letters"  # such a name is taken for the id of a socket
        await heard.join(room, "n1")
        await asyncio.sleep(0.3)  # a reader of streams begins behind what is there
        for seq in range(1, 21):
            await say_in(bridge, room, [MessageChunk("q", room, "m", seq, f"{seq} ")])
        chunks = await heard.until_heard("n1", "ai_message_chunk", 20)
        assert [chunk["seq"] for (chunk,) in chunks] == list(range(1, 21))
        assert await node.do("serverCount") == 2


async def test_a_server_of_python_socketio_hears_what_a_bridge_says(redis, unused_tcp_port):
    from aiohttp import web  # noqa: PLC0415

    manager = socketio.AsyncRedisManager(redis.url)
    server = socketio.AsyncServer(async_mode="aiohttp", client_manager=manager)

    @server.event
    async def join_room(sid, data):
        await server.enter_room(sid, data["roomId"])
        return {"ok": True}

    app = web.Application()
    server.attach(app)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", unused_tcp_port).start()
    try:
        async with (
            bridge_at(redis.url, python_channel="socketio") as bridge,
            BridgeDevice.at(f"http://127.0.0.1:{unused_tcp_port}", 42) as device,
        ):
            await asyncio.sleep(0.3)  # its manager listens from the first client on
            for room in (42, "42"):
                await say_in(bridge, room, [MessageChunk("q", room, "m", 1, "안녕")])
            await say_in(bridge, 42, [MessageChunk("q", 42, "m", 2, "!")])
            await until(lambda: len(device.of("ai_message_chunk")) == 2)
            heard = [(c["roomId"], c["seq"], c["delta"]) for c in device.of("ai_message_chunk")]
            assert heard == [(42, 1, "안녕"), (42, 2, "!")]
    finally:
        await server.shutdown()
        manager.thread.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await manager.thread
        await manager.redis.aclose()
        await runner.cleanup()
