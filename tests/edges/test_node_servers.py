"""The door for Node servers without them: what a stranger may publish, cuts of the connection, the look."""

import asyncio
import contextlib
import json

import msgpack
import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError  # noqa: A004
from redis_server import redis_server

from bridge import node_cluster
from bridge.copies import Audience
from bridge.doors.node_servers import NodeServers
from bridge.errors import StoreUnavailable
from bridge.everywhere import Everywhere
from bridge.node_answers import Socket, described
from bridge.node_cluster import Channels, Selection
from bridge.redis_client import HEARD_AT_ONCE, RedisClient
from bridge.stores.memory import MemoryInbox

pytestmark = pytest.mark.needs("redis-server")
CHANNELS = Channels("socket.io")
OURS = node_cluster.emit("ours", [], ["room"])


class OneSocket:
    """A crowd of one socket, ``s1`` in ``room``; remembers what it was told."""

    def __init__(self):
        self.heard = []
        self.orders = []

    def knows(self, name):
        return name == "room"

    def rooms(self):
        return ["s1", "room"]

    def sids(self, to):
        return ["s1"] if to in (Selection(), Selection(("room",)), Selection(("s1",))) else []

    def described(self, to):
        return [Socket(sid, (), {}) for sid in self.sids(to)]

    def emit(self, emit):
        if emit.event == "fault":
            raise RuntimeError("planted")
        self.heard.append(emit.event)

    def emit_with_ack(self, _, acked):
        asyncio.get_running_loop().call_soon(acked, {"by": "s1"})
        return 1

    async def join(self, to, rooms):
        self.orders.append(("join", *rooms))
        return len(self.sids(to))

    def leave(self, to, rooms):
        self.orders.append(("leave", *rooms))
        return len(self.sids(to))

    async def disconnect(self, sid):
        self.orders.append(("disconnect", sid))


class Faults:
    def __init__(self):
        self.said = []

    def fault(self, error):
        self.said.append(error)


class Stranger:
    """Another server of the cluster, ``uid``, made by hand."""

    def __init__(self, redis):
        self._redis = redis
        self._heard = redis.pubsub()

    async def listen(self, *channels):
        await self._heard.subscribe(*channels)
        for _ in channels:
            await self._heard.get_message(timeout=60)

    async def publish(self, channel, message):
        return await self._redis.publish(channel, message)

    async def ask(self, **request):
        await self.publish(CHANNELS.request, json.dumps({"uid": "strang", "requestId": "q1", **request}))

    async def answer(self):
        message = await self._heard.get_message(timeout=60)
        assert message is not None
        data = message["data"]
        return message["channel"].decode(), json.loads(data) if data[:1] == b"{" else msgpack.unpackb(data)

    async def emit(self, event, room="room"):
        packed = msgpack.packb(
            ["strang", {"type": 2, "data": [event], "nsp": "/"}, {"rooms": [room], "except": []}]
        )
        await self.publish(f"socket.io#/#{room}#", packed)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with redis_server(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
async def door(server):
    client, audience = RedisClient(server.url), Audience()
    acked = []
    everywhere = Everywhere(client, MemoryInbox(), CHANNELS, "bridge-1", lambda *said: acked.append(said))
    door = NodeServers(client, CHANNELS, OneSocket(), audience, Faults(), everywhere=everywhere, look=True)
    door.everywhere, door.acked = everywhere, acked
    door.crowd, door.audience, door.faults = door._crowd, audience, door._telemetry
    running = asyncio.create_task(door.run())
    yield door
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    await client.close()


@pytest.fixture
async def stranger(server, door):  # noqa: ARG001  (it listens)
    async with Redis.from_url(server.url) as redis:
        stranger = Stranger(redis)
        await until_listening(stranger)
        yield stranger
        await stranger._heard.aclose()


async def until_listening(stranger):
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(ConnectionError):
                if await stranger.publish(CHANNELS.to_all, OURS):
                    return
            await asyncio.sleep(0.02)


async def until(is_so):
    async with asyncio.timeout(60):
        while not is_so():
            await asyncio.sleep(0.02)


REQUESTS = [
    ({"type": 0, "rooms": ["room"]}, {"sockets": ["s1"]}),
    ({"type": 0, "rooms": ["other"]}, {"sockets": []}),
    ({"type": 1}, {"rooms": ["s1", "room"]}),
    ({"type": 2, "sid": "s1", "room": "new"}, {}),
    ({"type": 3, "sid": "s1", "room": "old"}, {}),
    ({"type": 4, "sid": "s1", "close": True}, {}),
    ({"type": 5, "opts": {"rooms": [], "except": []}}, {"sockets": [described(Socket("s1", (), {}))]}),
    ({"type": 5, "opts": {"rooms": ["other"], "except": []}}, {"sockets": []}),
]


@pytest.mark.parametrize("listens", [CHANNELS.response, CHANNELS.response_to("strang")])
@pytest.mark.parametrize(("request_", "answer"), REQUESTS)
async def test_every_request_is_answered_where_the_asking_server_listens(stranger, listens, request_, answer):
    await stranger.listen(listens)
    await stranger.ask(**request_)
    assert await stranger.answer() == (listens, {"requestId": "q1", **answer})


async def test_an_answer_goes_to_the_asking_server_alone_where_it_listens_to_both(stranger):
    await stranger.listen(CHANNELS.response, CHANNELS.response_to("strang"))
    for _ in range(3):
        await stranger.ask(type=1)
        channel, _ = await stranger.answer()
        assert channel == CHANNELS.response_to("strang")


async def test_a_server_side_emit_is_answered_to_all_and_only_where_an_ack_is_wanted(stranger):
    await stranger.listen(CHANNELS.response, CHANNELS.response_to("strang"))
    await stranger.publish(CHANNELS.request, json.dumps({"uid": "strang", "type": 6, "data": ["word"]}))
    await stranger.ask(type=6, data=["word"])
    assert await stranger.answer() == (CHANNELS.response, {"type": 6, "requestId": "q1", "data": None})


async def test_an_emit_with_ack_is_answered_with_a_count_and_each_ack(stranger):
    await stranger.listen(CHANNELS.response)
    packet = {"type": 2, "data": ["ask"], "nsp": "/"}
    opts = {"rooms": ["room"], "except": [], "flags": {"timeout": 1000}}
    asked = {"uid": "strang", "requestId": "q1", "type": 7, "packet": packet, "opts": opts}
    await stranger.publish(CHANNELS.request, msgpack.packb(asked))
    answers = [(await stranger.answer())[1] for _ in range(2)]
    assert {"type": 8, "requestId": "q1", "clientCount": 1} in answers
    assert {"type": 9, "requestId": "q1", "packet": {"by": "s1"}} in answers


async def test_orders_are_obeyed_and_not_answered(stranger, door):
    await stranger.listen(CHANNELS.response, CHANNELS.response_to("strang"))
    opts = {"rooms": ["room"], "except": []}
    await stranger.ask(type=2, opts=opts, rooms=["a", "b"])
    await stranger.ask(type=3, opts=opts, rooms=["a"])
    await stranger.ask(type=4, opts=opts, close=False)
    await stranger.ask(type=1)
    assert (await stranger.answer())[1] == {"requestId": "q1", "rooms": ["s1", "room"]}
    assert door.crowd.orders == [("join", "a", "b"), ("leave", "a"), ("disconnect", "s1")]


JUNK = [
    b"",
    b"junk",
    b"{",
    b"[]",
    b'{"type": 99}',
    b'{"type": 5}',
    b'{"type": 7, "packet": {}}',
    b'{"type": {}}',
]
JUNK += [
    b'{"type": 2, "opts": 3}',
    b"\xc1",
    b"\x93\x01",
    b"\x91" * 5000,
    b"{" * 100_000,
    b'{"type": 0, "rooms": 5}',
]


async def test_junk_costs_nothing_but_itself(stranger, door):
    for junk in JUNK:
        for channel in (CHANNELS.request, CHANNELS.to_all, "socket.io#/#room#"):
            await stranger.publish(channel, junk)
    await stranger.emit("fault")
    await stranger.emit("word")
    await until(lambda: door.crowd.heard == ["word"])
    assert door.malformed > len(JUNK)
    assert [type(fault) for fault in door.faults.said] == [RuntimeError]


async def test_emits_of_rooms_nobody_is_in_and_of_bridges_are_not_given(stranger, door):
    await stranger.emit("elsewhere", room="other")
    await stranger.publish("socket.io#/#room#", OURS)
    await stranger.publish(CHANNELS.of_room("room"), OURS)
    await stranger.emit("word")
    await until(lambda: door.crowd.heard == ["word"])
    assert not door.malformed


async def test_a_burst_comes_whole_and_in_order(stranger, door):
    words = [str(number) for number in range(3 * HEARD_AT_ONCE + 7)]
    pipeline = stranger._redis.pipeline(transaction=False)
    for word in words:
        packed = ["strang", {"type": 2, "data": [word], "nsp": "/"}, {"rooms": ["room"], "except": []}]
        pipeline.publish("socket.io#/#room#", msgpack.packb(packed))
    await pipeline.execute()
    await until(lambda: len(door.crowd.heard) >= len(words))
    assert door.crowd.heard == words


async def test_a_cut_connection_is_made_anew(stranger, door):
    await stranger._redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    await until_listening(stranger)
    await stranger.emit("word")
    await until(lambda: "word" in door.crowd.heard)


async def test_a_restarted_redis_is_listened_to_again(server, stranger, door):
    server.kill()
    server.start()
    await until_listening(stranger)
    await stranger.emit("word")
    await until(lambda: "word" in door.crowd.heard)


async def test_node_servers_are_there_while_somebody_listens_for_answers(stranger, door):
    assert not door.audience.there
    await stranger.listen(CHANNELS.response)
    await until(lambda: door.audience.there)
    await stranger._heard.unsubscribe(CHANNELS.response)
    await until(lambda: not door.audience.there)


async def test_junk_among_the_answers_costs_nothing_but_itself(stranger, door):
    asking = asyncio.create_task(door.everywhere.sockets(["room"], within_s=60))
    await until(lambda: door.everywhere._open)
    named = {"requestId": "bridge-1?1"}
    answers = [json.dumps(named), json.dumps({**named, "sockets": 5})]
    for junk in ("{bridge-1", "[bridge-1]", *answers, "bridge-1 junk"):
        await stranger.publish(CHANNELS.response, junk)
    sockets = [{"id": "s1", "rooms": ["room", None], "data": 1}, 5, {"id": 3, "rooms": []}, {"id": "s2"}]
    answer = json.dumps({**named, "sockets": sockets})
    await stranger.publish(CHANNELS.response_to("bridge-1"), answer)
    assert await asking == [Socket("s1", ("room",), 1)]
    assert door.malformed == 3
    assert not door.faults.said


async def test_too_many_open_questions_are_refused(door, monkeypatch):
    monkeypatch.setattr("bridge.everywhere.QUESTIONS_LIMIT", 0)
    with pytest.raises(StoreUnavailable, match="too many questions"):
        await door.everywhere.rooms()


async def test_an_ack_is_given_to_the_callback_of_its_number_and_others_to_none(stranger, door):
    for request_id in ("bridge-2:7", "bridge-1:x", "bridge-1:07", "x-bridge-1:7", "bridge-1:7"):
        packed = msgpack.packb({"type": 9, "requestId": request_id, "packet": "yes"})
        await stranger.publish(CHANNELS.response_to("bridge"), packed)
    await until(lambda: door.acked)
    assert door.acked == [(7, ("yes",))]
