"""Bridges among Node servers with the sharded adapter, and with that of streams: one room, both ways.

Two clients of a Node server (n1, n2) and one each of two bridges (b1, b2) are in a room of every test's own.
"""

import asyncio
import contextlib
import itertools
from types import SimpleNamespace

import pytest
import pytest_asyncio
from node_cluster_peers import bridge_at, clients, node_server
from redis_server import redis_server

pytestmark = [
    pytest.mark.needs("node"),
    pytest.mark.needs("redis-server"),
    pytest.mark.needs("socket.io"),
    pytest.mark.asyncio(loop_scope="module"),
]
EVERYBODY = ("n1", "n2", "b1", "b2")
ONCE_EACH = dict.fromkeys(EVERYBODY, 1)
NUMBERS = itertools.count(1)
NO_LIMITS = {"events_per_second": 1000.0, "events_burst": 1000, "rooms_per_device": 1000}
FORMS = list(itertools.product(["sharded", "streams"], ["redis", "ioredis"]))


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=FORMS, ids="-".join)
async def mixed(request, tmp_path_factory):
    adapter, library = request.param
    async with contextlib.AsyncExitStack() as running:
        enter = running.enter_async_context
        redis = running.enter_context(redis_server(tmp_path_factory.mktemp("redis")))
        one, two = [await enter(bridge_at(redis.url, node_adapter=adapter, **NO_LIMITS)) for _ in range(2)]
        node = await enter(node_server(redis.url, ADAPTER=adapter, REDIS_CLIENT=library))
        heard = await enter(clients())
        for client, server in zip(EVERYBODY, (node, node, one, two), strict=True):
            await heard.connect(client, server.address)
        while await node.do("serverCount") < 3:
            await asyncio.sleep(0.02)
        yield SimpleNamespace(node=node, one=one, two=two, clients=heard, redis=redis)


@pytest_asyncio.fixture(loop_scope="module")
async def room(mixed):
    """A room that all are in, once what is said in it comes to all."""
    name = f"room-{next(NUMBERS)}"
    await mixed.clients.join(name, *EVERYBODY)
    while not all(mixed.clients.heard(client, f"warm {name}") for client in EVERYBODY):
        await mixed.node.do("emit", rooms=[name], event=f"warm {name}", args=[])
        await asyncio.sleep(0.02)
    return name


async def heard_by(mixed, room, event):
    """Return who has heard an event of the room, once words of all servers behind it came to all."""
    word = f"settled {next(NUMBERS)}"
    await mixed.node.do("emit", rooms=[room], event=word, args=[])
    for bridge in (mixed.one, mixed.two):
        await bridge.sio.emit(word, to=room)
    for client in EVERYBODY:
        await mixed.clients.until_heard(client, word, 3)
    counts = {client: len(mixed.clients.heard(client, event)) for client in EVERYBODY}
    return {client: count for client, count in counts.items() if count}


async def found(mixed, room):
    return {each["id"] for each in await mixed.node.do("fetchSockets", rooms=[room])}


def sids(mixed, *named):
    return {mixed.clients.sid(client) for client in named}


async def test_an_emit_of_a_node_server_reaches_everybody_once(mixed, room):
    event = f"of node {room}"
    await mixed.node.do("emit", rooms=[room], event=event, args=[{"a": "안녕"}, {"$bytes": "AAH/"}])
    assert await heard_by(mixed, room, event) == ONCE_EACH
    assert mixed.clients.heard("b1", event) == [[{"a": "안녕"}, {"$bytes": "AAH/"}]]


async def test_many_emits_of_a_node_server_come_in_order(mixed, room):
    for number in range(200):
        mixed.node.tell(id=0, do="emit", rooms=[room], event=f"many {room}", args=[number])
    for client in EVERYBODY:
        heard = await mixed.clients.until_heard(client, f"many {room}", 200)
        assert [number for (number,) in heard] == list(range(200))


@pytest.mark.parametrize("name", [42, "a-room-of-20-letters"])
async def test_an_emit_to_a_room_of_any_name(mixed, room, name):
    await mixed.clients.join(name, "n1", "b2")
    event = f"to {name!r} {room}"
    while not mixed.clients.heard("b2", event):  # its channel is followed from a moment later on
        await mixed.node.do("emit", rooms=[name], event=event, args=[])
        await asyncio.sleep(0.02)
    assert set(await heard_by(mixed, room, event)) == {"n1", "b2"}


async def test_except_and_the_ids_of_clients(mixed, room):
    b1, b2 = (mixed.clients.sid(client) for client in ("b1", "b2"))
    await mixed.node.do("emit", rooms=[room, b1], **{"except": [b2]}, event=f"but b2 {room}", args=[])
    await mixed.node.do("emit", rooms=[b2], event=f"to b2 {room}", args=[])
    assert await heard_by(mixed, room, f"but b2 {room}") == {"n1": 1, "n2": 1, "b1": 1}
    assert await heard_by(mixed, room, f"to b2 {room}") == {"b2": 1}


async def test_an_emit_of_a_bridge_reaches_everybody_once_but_who_is_skipped(mixed, room):
    await mixed.one.sio.emit(f"all {room}", ("a", b"1"), to=room)
    await mixed.two.sio.emit(f"but n2 {room}", to=room, skip_sid=mixed.clients.sid("n2"))
    assert await heard_by(mixed, room, f"all {room}") == ONCE_EACH
    assert mixed.clients.heard("n1", f"all {room}") == [["a", {"$bytes": "MQ=="}]]
    assert await heard_by(mixed, room, f"but n2 {room}") == {"n1": 1, "b1": 1, "b2": 1}


async def test_what_a_node_server_asks_is_answered(mixed, room):
    assert await found(mixed, room) == sids(mixed, *EVERYBODY)
    assert await found(mixed, "nobody is here") == set()
    acks = await mixed.node.do("emitWithAck", rooms=[room], event="ask", args=[1])
    assert sorted(ack["by"] for ack in acks) == sorted(EVERYBODY)
    assert await mixed.node.do("serverSideEmit", word="hello") == [None, None]


async def test_a_client_of_any_server_answers_a_callback_once(mixed):
    answered = asyncio.Queue()
    async with asyncio.timeout(60):
        for client in EVERYBODY:
            await mixed.one.sio.emit("ask", to=mixed.clients.sid(client), callback=answered.put)
            assert await answered.get() == {"by": client}
    assert answered.empty()


async def test_rooms_are_entered_and_left_by_order_of_the_other_side(mixed, room):
    n1, b1 = (mixed.clients.sid(client) for client in ("n1", "b1"))
    await mixed.node.do("join", rooms=[room], join=[f"{room}-other"])
    await mixed.one.sio.enter_room(n1, f"{room}-third")
    async with asyncio.timeout(60):
        while await found(mixed, f"{room}-other") != sids(mixed, *EVERYBODY):
            await asyncio.sleep(0.02)
        while await found(mixed, f"{room}-third") != {n1}:
            await asyncio.sleep(0.02)
        await mixed.node.do("leave", rooms=[b1], leave=[room])
        await mixed.two.sio.leave_room(n1, room)
        while await found(mixed, room) != sids(mixed, "n2", "b2"):
            await asyncio.sleep(0.02)


async def test_clients_are_disconnected_by_order_of_the_other_side(mixed):
    for client, server in (("out-n", mixed.node), ("out-b", mixed.two)):
        await mixed.clients.connect(client, server.address)
    await mixed.one.sio.disconnect(mixed.clients.sid("out-n"))
    await mixed.node.do("disconnect", rooms=[mixed.clients.sid("out-b")], close=True)
    for client in ("out-n", "out-b"):
        assert await mixed.clients.disconnected(client) == "io server disconnect"


async def test_a_cut_connection_is_made_anew(mixed, room):
    mixed.redis.command("CLIENT", "KILL", "TYPE", "pubsub")
    async with asyncio.timeout(60):
        while not all(mixed.clients.heard(client, f"back {room}") for client in EVERYBODY):
            await mixed.node.do("emit", rooms=[room], event=f"back {room}", args=[])
            await asyncio.sleep(0.05)
        while await mixed.node.do("serverCount") < 3:
            await asyncio.sleep(0.02)
    assert await found(mixed, room) == sids(mixed, *EVERYBODY)
