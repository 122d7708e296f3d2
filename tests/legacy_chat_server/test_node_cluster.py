"""A bridge among Node servers with ``@socket.io/redis-adapter``: what each side can rely on, both ways.

Two clients of a Node server (n1, n2) and two of a bridge (b1, b2) are in a room of every test's own.
"""

import asyncio
import itertools
from types import SimpleNamespace

import pytest
import pytest_asyncio
from node_cluster_peers import bridge_at, clients, node_server, until
from one_batch_turn import say, say_in
from redis_server import redis_server

from bridge.errors import AnswersMissing, ClusterMalformed
from bridge.letters import Batch
from bridge.messages import MessageChunk, MessageEnd, MessageStart, NewMessage

pytestmark = [
    pytest.mark.needs("node"),
    pytest.mark.needs("redis-server"),
    pytest.mark.needs("socket.io"),
    pytest.mark.asyncio(loop_scope="module"),
]
EVERYBODY = ("n1", "n2", "b1", "b2")
ROOMS = itertools.count(1)
NO_LIMITS = {"events_per_second": 1000.0, "events_burst": 1000, "rooms_per_device": 1000}
FORMS = [
    ("redis", "0"),
    ("redis", "1"),
    ("ioredis", "0"),
    ("ioredis", "1"),
]


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=FORMS, ids=lambda form: f"{form[0]}-specific{form[1]}"
)
async def mixed(request, tmp_path_factory):
    library, specific = request.param
    form = {"REDIS_CLIENT": library, "PUBLISH_ON_SPECIFIC_RESPONSE_CHANNEL": specific}
    with redis_server(tmp_path_factory.mktemp("redis")) as redis:
        async with (
            node_server(redis.url, **form) as node,
            bridge_at(redis.url, **NO_LIMITS) as bridge,
            clients() as heard,
        ):
            await asyncio.gather(*(heard.connect(client, node.address) for client in ("n1", "n2")))
            await asyncio.gather(*(heard.connect(client, bridge.address) for client in ("b1", "b2")))
            await until(lambda: bridge.shared.audience.there)
            yield SimpleNamespace(redis=redis, node=node, bridge=bridge, clients=heard)


@pytest_asyncio.fixture(loop_scope="module")
async def room(mixed):
    name = f"room-{next(ROOMS)}"
    await mixed.clients.join(name, *EVERYBODY)
    return name


async def settled(mixed, room):
    """Return once all that was said in the room before, on either side, has been heard by everybody."""
    ours, theirs = (f"settled {room} {next(ROOMS)}" for _ in range(2))
    await mixed.bridge.sio.emit(ours, to=room)
    await mixed.node.do("emit", rooms=[room], event=theirs, args=[])
    for client in EVERYBODY:
        await mixed.clients.until_heard(client, ours)
        await mixed.clients.until_heard(client, theirs)


async def heard_by(mixed, room, event):
    """Return who has heard an event of the room, and how often."""
    await settled(mixed, room)
    counts = {client: len(mixed.clients.heard(client, event)) for client in EVERYBODY}
    return {client: count for client, count in counts.items() if count}


# -- what the bridge says


async def test_what_the_bridge_says_reaches_node_clients_in_order_and_everybody_once(mixed, room):
    said = [MessageChunk("r", room, "m", seq, f"{seq} ") for seq in range(1, 21)]
    for chunk in said:
        await say_in(mixed.bridge, room, [chunk])
    for client in EVERYBODY:
        chunks = await mixed.clients.until_heard(client, "ai_message_chunk", 20)
        ours = [chunk for (chunk,) in chunks if chunk["roomId"] == room]
        assert [chunk["seq"] for chunk in ours] == list(range(1, 21))
    assert (await heard_by(mixed, room, "ai_message_chunk")).keys() == set(EVERYBODY)


@pytest.mark.parametrize(
    ("room_id", "other"), [(42, "42"), ("43", 43), (2**53 + 1, str(2**53)), (-7, "-7"), ("a.b:c-1", "a.b:c-")]
)
async def test_rooms_keep_the_type_of_their_name(mixed, room_id, other):
    content = f"in {room_id!r}"
    await mixed.clients.join(room_id, "n1", "b1")
    await mixed.clients.join(other, "n2", "b2")
    await say_in(mixed.bridge, room_id, [NewMessage("r", room_id, "m", "user", content, "now")])
    message = await mixed.clients.until_told("n1", content)
    assert message["roomId"] == float(room_id) if isinstance(room_id, int) else room_id
    await mixed.node.do("emit", rooms=[room_id], event=f"word {content}", args=[])
    await mixed.clients.until_heard("b1", f"word {content}")
    await mixed.clients.until_heard("n1", f"word {content}")
    assert not [
        m for c in ("n2", "b2") for m in mixed.clients.heard(c, "new_message") if m[0]["content"] == content
    ]
    assert not mixed.clients.heard("n2", f"word {content}") + mixed.clients.heard("b2", f"word {content}")


async def test_a_room_that_is_the_id_of_a_node_client_is_that_client_alone(mixed, room):
    sid = mixed.clients.sid("n1")
    await say_in(mixed.bridge, sid, [NewMessage("r", sid, "m", "user", f"for you {room}", "now")])
    await mixed.clients.until_told("n1", f"for you {room}")
    await settled(mixed, room)
    told = {c: [m["content"] for (m,) in mixed.clients.heard(c, "new_message")] for c in EVERYBODY}
    assert [client for client in EVERYBODY if f"for you {room}" in told[client]] == ["n1"]


async def test_hostile_text_and_numbers_of_a_device_do_not_end_a_node_server(mixed, room):
    extra = {"lone": "\ud83c", "big": 10**30, "nan": float("nan"), "__proto__": {"a": 1}, "deep": [[[[1]]]]}
    await say(
        mixed.bridge.shared.journal, room, [NewMessage("r", room, "m", "user", "half \ud83c", "now", extra)]
    )
    message = await mixed.clients.until_told("n1", "half \ufffd")
    assert message["roomId"] == room
    assert await mixed.node.do("serverCount") == 2


async def test_what_cannot_be_said_at_all_is_left_out_and_the_next_message_comes(mixed, room):
    ids = ("r", room)
    await say(
        mixed.bridge.shared.journal, room, [NewMessage(*ids, "m1", "user", "big", "now", {"big": 10**400})]
    )
    await say(mixed.bridge.shared.journal, room, [NewMessage(*ids, "m2", "user", "next", "now")])
    await mixed.clients.until_told("n1", "next")
    ours = [m["content"] for (m,) in mixed.clients.heard("n1", "new_message") if m["roomId"] == room]
    assert ours == ["next"]


# -- what Node servers emit


async def test_an_emit_of_a_node_server_reaches_everybody_once(mixed, room):
    await mixed.node.do("emit", rooms=[room], event="word", args=[{"a": [1, "안녕 😀", None, 1.5]}])
    assert await heard_by(mixed, room, "word") == dict.fromkeys(EVERYBODY, 1)
    assert mixed.clients.heard("b1", "word") == [[{"a": [1, "안녕 😀", None, 1.5]}]]


@pytest.mark.parametrize(
    ("args", "heard"),
    [
        ([], []),
        (["a", 2, {"b": [True]}], ["a", 2, {"b": [True]}]),
        ([{"$date": "2026-11-21T10:20:30.400Z"}], ["2026-11-21T10:20:30.400Z"]),
        ([{"$bytes": "AAH/"}, "after"], [{"$bytes": "AAH/"}, "after"]),
    ],
    ids=["none", "several", "date", "binary"],
)
async def test_arguments_come_as_they_were_given(mixed, room, args, heard):
    event = f"args {next(ROOMS)}"
    await mixed.node.do("emit", rooms=[room], event=event, args=args)
    assert await heard_by(mixed, room, event) == dict.fromkeys(EVERYBODY, 1)
    for client in EVERYBODY:
        assert mixed.clients.heard(client, event) == [heard]


async def test_binary_data_reaches_a_polling_client_beside_a_websocket_one(mixed, room):
    await mixed.clients.connect("polls", mixed.bridge.address, transports=["polling"])
    await mixed.clients.join(room, "polls")
    await mixed.node.do("emit", rooms=[room], event="bytes", args=[{"$bytes": "AAH/"}])
    for client in ("polls", "b1"):
        assert await mixed.clients.until_heard(client, "bytes") == [[{"$bytes": "AAH/"}]]
    mixed.clients.tell(client="polls", close=True)
    await mixed.clients.disconnected("polls")


async def test_who_is_in_two_of_the_rooms_hears_once(mixed, room):
    await mixed.clients.join(f"{room}-too", "n1", "b1")
    await mixed.node.do("emit", rooms=[room, f"{room}-too"], event="union", args=[])
    assert await heard_by(mixed, room, "union") == dict.fromkeys(EVERYBODY, 1)


async def test_an_emit_to_all_and_an_emit_to_nobody(mixed, room):
    everywhere, nowhere = f"all {room}", f"nobody {room}"
    await mixed.node.do("emit", event=everywhere, args=[])
    await mixed.node.do("emit", rooms=[True], event=nowhere, args=[])
    await mixed.node.do("emit", rooms=[None, "no such room"], event=nowhere, args=[])
    assert await heard_by(mixed, room, everywhere) == dict.fromkeys(EVERYBODY, 1)
    assert not await heard_by(mixed, room, nowhere)


async def test_except_takes_clients_and_rooms_away(mixed, room):
    sid = mixed.clients.sid("b1")
    await mixed.node.do("emit", rooms=[room], **{"except": [sid]}, event="not b1", args=[])
    assert set(await heard_by(mixed, room, "not b1")) == {"n1", "n2", "b2"}
    await mixed.clients.join(f"{room}-out", "n2", "b2")
    await mixed.node.do("emit", rooms=[room], **{"except": [f"{room}-out"]}, event="not 2", args=[])
    assert set(await heard_by(mixed, room, "not 2")) == {"n1", "b1"}


async def test_an_emit_to_the_id_of_a_client_of_the_bridge(mixed, room):
    await mixed.node.do("emit", rooms=[mixed.clients.sid("b2")], event=f"to {room}", args=["you"])
    assert await heard_by(mixed, room, f"to {room}") == {"b2": 1}


async def test_a_volatile_emit_reaches_who_is_not_busy(mixed, room):
    await mixed.node.do("emit", rooms=[room], volatile=True, event="typing", args=[])
    assert await heard_by(mixed, room, "typing") == dict.fromkeys(EVERYBODY, 1)


async def test_the_emitter_of_another_process_is_heard_too(mixed, room):
    await mixed.node.do("emitAsEmitter", rooms=[room], event="emitted", args=[{"a": 1}])
    for client in EVERYBODY:  # those words that tell when a room has settled came over another connection
        await mixed.clients.until_heard(client, "emitted")
    assert await heard_by(mixed, room, "emitted") == dict.fromkeys(EVERYBODY, 1)


async def test_many_emits_come_in_order(mixed, room):
    for number in range(200):
        mixed.node.tell(id=0, do="emit", rooms=[room], event=f"many {room}", args=[number])
    for client in EVERYBODY:
        heard = await mixed.clients.until_heard(client, f"many {room}", 200)
        assert [number for (number,) in heard] == list(range(200))


# -- who hears what


async def test_a_device_that_hears_chunks_is_not_told_the_same_answer_again_by_a_node_server(mixed, room):
    await mixed.clients.connect("streams", mixed.bridge.address, auth={"streaming": True})
    await mixed.clients.connect("plain", mixed.bridge.address, auth={"streaming": False})
    await mixed.clients.join(room, "streams", "plain")
    ids = ("r-1", room, "m-1")
    said = [MessageStart(*ids), MessageChunk(*ids, 1, "Hi"), MessageEnd(*ids, "Hi", "stop")]
    mixed.bridge.rooms.hear_turn("t-1", room, Batch(1, said, ended=True))
    for message_id in ("m-1", "m-2"):
        message = {"messageId": message_id, "roomId": room, "role": "assistant", "content": "Hi"}
        await mixed.node.do("emit", rooms=[room], event="new_message", args=[message])
    await settled(mixed, room)
    for client, expected in (("streams", ["m-2"]), ("plain", ["m-1", "m-2"]), ("b1", ["m-1", "m-2"])):
        await mixed.clients.until_told(client, "Hi")
        told = [m["messageId"] for (m,) in mixed.clients.heard(client, "new_message") if m["roomId"] == room]
        assert [m for m in told if m in ("m-1", "m-2")] == expected
    for client in ("streams", "plain"):
        mixed.clients.tell(client=client, close=True)
        await mixed.clients.disconnected(client)


# -- what Node servers ask


async def test_server_count_counts_the_bridge(mixed):
    assert await mixed.node.do("serverCount") == 2


async def test_fetch_sockets_sees_the_clients_of_the_bridge_and_their_rooms(mixed, room):
    found = {each["id"]: each for each in await mixed.node.do("fetchSockets", rooms=[room])}
    assert set(found) == {mixed.clients.sid(client) for client in EVERYBODY}
    b1 = found[mixed.clients.sid("b1")]
    assert {b1["id"], room} <= set(b1["rooms"])
    assert b1["data"] == {}


async def test_fetch_sockets_of_an_empty_room_is_empty_and_does_not_fail(mixed):
    assert await mixed.node.do("fetchSockets", rooms=["nobody is here"]) == []
    assert await mixed.node.do("sockets", rooms=["nobody is here"]) == []


async def test_all_rooms_has_the_rooms_of_the_bridge(mixed, room):
    await mixed.clients.join(f"{room}-of-b", "b1")
    rooms = await mixed.node.do("allRooms")
    assert {room, f"{room}-of-b", mixed.clients.sid("b2"), mixed.clients.sid("n1")} <= set(rooms)


async def test_acks_of_the_clients_of_the_bridge(mixed, room):
    acks = await mixed.node.do("emitWithAck", rooms=[room], event="ask", args=[1])
    assert sorted(ack["by"] for ack in acks) == sorted(EVERYBODY)


async def test_an_ack_of_one_client_of_the_bridge(mixed):
    sid = mixed.clients.sid("b1")
    assert await mixed.node.do("emitWithAck", rooms=[sid], event="ask", args=[]) == [{"by": "b1"}]


async def test_acks_of_a_room_that_no_client_of_the_bridge_is_in_do_not_wait_for_it(mixed, room):
    await mixed.clients.join(f"{room}-of-n", "n1", "n2")
    acks = await mixed.node.do("emitWithAck", rooms=[f"{room}-of-n"], event="ask", args=[])
    assert sorted(ack["by"] for ack in acks) == ["n1", "n2"]


async def test_an_ack_that_never_comes_is_forgotten(mixed):
    sid = mixed.clients.sid("b1")
    with pytest.raises(RuntimeError, match="timed out"):
        await mixed.node.do("emitWithAck", rooms=[sid], event="never_acked", args=[], timeoutMs=300)
    known = mixed.bridge.sio.manager.callbacks
    await until(lambda: len(known.get(sid, {})) <= 1)  # the counter stays


async def test_server_side_emit_with_ack_gets_an_answer_of_every_server(mixed):
    assert await mixed.node.do("serverSideEmit", word="hello") == [None]


async def test_clients_of_the_bridge_join_and_leave_by_order_of_a_node_server(mixed, room):
    other = f"{room}-other"
    await mixed.node.do("join", rooms=[room], join=[other])
    while len(await mixed.node.do("fetchSockets", rooms=[other])) < len(EVERYBODY):
        await asyncio.sleep(0.02)  # a Node server obeys its own order when it comes back from Redis
    await mixed.node.do("emit", rooms=[other], event=f"in {other}", args=[])
    assert await heard_by(mixed, room, f"in {other}") == dict.fromkeys(EVERYBODY, 1)
    await mixed.node.do("leave", rooms=[mixed.clients.sid("b1")], leave=[other])
    await mixed.node.do("emit", rooms=[other], event=f"again in {other}", args=[])
    assert set(await heard_by(mixed, room, f"again in {other}")) == {"n1", "n2", "b2"}


@pytest.mark.parametrize("close", [True, False])
async def test_clients_of_the_bridge_are_disconnected_by_order_of_a_node_server(mixed, close):
    name = f"leaves-{close}"
    await mixed.clients.connect(name, mixed.bridge.address)
    await mixed.node.do("disconnect", rooms=[mixed.clients.sid(name)], close=close)
    assert await mixed.clients.disconnected(name) == "io server disconnect"


async def test_a_room_is_emptied_by_order_of_a_node_server_on_both_sides_but_for_who_is_excepted(mixed, room):
    doomed = f"{room}-doomed"
    gone = {"gone-n": mixed.node.address, "gone-b": mixed.bridge.address}
    for client, address in gone.items():
        await mixed.clients.connect(client, address)
    await mixed.clients.join(doomed, *gone, "b1")
    await mixed.node.do("disconnect", rooms=[doomed], **{"except": [mixed.clients.sid("b1")]}, close=True)
    for client in gone:
        assert await mixed.clients.disconnected(client) == "io server disconnect"
    left = await mixed.node.do("fetchSockets", rooms=[doomed])
    assert [each["id"] for each in left] == [mixed.clients.sid("b1")]


# -- what the bridge emits beside its turns


async def test_an_emit_of_the_bridge_reaches_everybody_once(mixed, room):
    await mixed.bridge.sio.emit("our word", {"a": [1, "안녕 😀", None, 1.5]}, to=room)
    assert await heard_by(mixed, room, "our word") == dict.fromkeys(EVERYBODY, 1)
    for client in EVERYBODY:
        assert mixed.clients.heard(client, "our word") == [[{"a": [1, "안녕 😀", None, 1.5]}]]


@pytest.mark.parametrize(
    ("data", "heard"),
    [
        (None, []),
        (("a", 2, {"b": [True]}), ["a", 2, {"b": [True]}]),
        ((b"\x00\x01\xff", "after"), [{"$bytes": "AAH/"}, "after"]),
        ("x" * 100_000, ["x" * 100_000]),
    ],
    ids=["none", "several", "binary", "long"],
)
async def test_what_the_bridge_emits_comes_as_it_was_given(mixed, room, data, heard):
    event = f"given {next(ROOMS)}"
    await mixed.bridge.sio.emit(event, data, to=room)
    await settled(mixed, room)
    for client in ("n1", "n2"):
        assert mixed.clients.heard(client, event) == [heard]


async def test_an_emit_of_the_bridge_to_all_to_several_rooms_and_to_nobody(mixed, room):
    words = [f"{name} {room}" for name in ("all", "union", "nobody")]
    await mixed.clients.join(f"{room}-too", "n1", "b1")
    await mixed.bridge.sio.emit(words[0])
    await mixed.bridge.sio.emit(words[1], to=[room, f"{room}-too"])
    await mixed.bridge.sio.emit(words[2], to="no such room")
    assert await heard_by(mixed, room, words[0]) == dict.fromkeys(EVERYBODY, 1)
    assert await heard_by(mixed, room, words[1]) == dict.fromkeys(EVERYBODY, 1)
    assert not await heard_by(mixed, room, words[2])


@pytest.mark.parametrize("skipped", EVERYBODY)
async def test_who_is_skipped_by_the_bridge_hears_nothing(mixed, room, skipped):
    event = f"skips {skipped}"
    await mixed.bridge.sio.emit(event, to=room, skip_sid=mixed.clients.sid(skipped))
    assert set(await heard_by(mixed, room, event)) == set(EVERYBODY) - {skipped}


async def test_several_are_skipped_by_the_bridge(mixed, room):
    await mixed.bridge.sio.emit("says", to=room, skip_sid=[mixed.clients.sid("n1"), mixed.clients.sid("b1")])
    assert set(await heard_by(mixed, room, "says")) == {"n2", "b2"}


async def test_an_emit_of_the_bridge_to_one_client_of_a_node_server(mixed, room):
    await mixed.bridge.sio.emit(f"to {room}", "you", to=mixed.clients.sid("n2"))
    assert await heard_by(mixed, room, f"to {room}") == {"n2": 1}


async def test_many_emits_of_the_bridge_come_in_order(mixed, room):
    for number in range(200):
        await mixed.bridge.sio.emit(f"ours {room}", number, to=room)
    for client in EVERYBODY:
        heard = await mixed.clients.until_heard(client, f"ours {room}", 200)
        assert [number for (number,) in heard] == list(range(200))


async def test_a_client_of_a_node_server_answers_the_bridge(mixed, room):
    sio, answered = mixed.bridge.sio, asyncio.Queue()
    async with asyncio.timeout(60):
        for client, question in (("n1", 1), ("n2", b"1")):
            await sio.emit("ask", question, to=mixed.clients.sid(client), callback=answered.put)
            assert await answered.get() == {"by": client}
        await sio.emit("ask", to=room, skip_sid=mixed.clients.sid("b1"), callback=answered.put)
        assert (await answered.get())["by"] in {"n1", "n2", "b2"}
    await settled(mixed, room)
    assert answered.empty()  # it is called once, with the first answer


async def test_a_client_of_a_node_server_enters_and_leaves_a_room_by_order_of_the_bridge(mixed, room):
    sio, other = mixed.bridge.sio, f"{room}-other"
    for client in ("n1", "b1"):
        await sio.enter_room(mixed.clients.sid(client), other)
    await sio.emit(f"in {other}", to=other)
    assert await heard_by(mixed, room, f"in {other}") == {"n1": 1, "b1": 1}
    await mixed.node.do("emit", rooms=[other], event=f"of node in {other}", args=[])
    assert await heard_by(mixed, room, f"of node in {other}") == {"n1": 1, "b1": 1}
    await sio.leave_room(mixed.clients.sid("n1"), other)
    await sio.emit(f"again in {other}", to=other)
    assert await heard_by(mixed, room, f"again in {other}") == {"b1": 1}


async def test_a_room_is_closed_on_all_servers_by_order_of_the_bridge(mixed, room):
    await mixed.bridge.sio.close_room(room)
    assert await mixed.bridge.everywhere.sockets([room]) == []


async def test_a_client_of_a_node_server_is_disconnected_by_order_of_the_bridge(mixed):
    await mixed.clients.connect("sent away", mixed.node.address)
    await mixed.bridge.sio.disconnect(mixed.clients.sid("sent away"))
    assert await mixed.clients.disconnected("sent away") == "io server disconnect"


# -- what the bridge asks all servers


async def test_the_bridge_knows_who_is_in_a_room_of_all_servers(mixed, room):
    sids = {client: mixed.clients.sid(client) for client in EVERYBODY}
    everywhere = mixed.bridge.everywhere
    found = {socket.sid: socket for socket in await everywhere.sockets([room])}
    assert set(found) == set(sids.values())
    assert all({sid, room} <= set(socket.rooms) for sid, socket in found.items())
    apart = await everywhere.sockets([room], [sids["n1"], sids["b1"]])
    assert {socket.sid for socket in apart} == {sids["n2"], sids["b2"]}
    assert set(sids.values()) <= {socket.sid for socket in await everywhere.sockets()}
    assert await everywhere.sockets(["nobody is here"]) == []


async def test_the_bridge_knows_the_rooms_of_all_servers(mixed, room):
    await mixed.clients.join(f"{room}-of-n", "n1")
    await mixed.clients.join(42, "n2")
    rooms = await mixed.bridge.everywhere.rooms()
    assert {room, f"{room}-of-n", 42, mixed.clients.sid("b2"), mixed.clients.sid("n1")} <= rooms


async def test_every_client_of_a_room_acknowledges_to_the_bridge(mixed, room):
    everywhere = mixed.bridge.everywhere
    acks = await everywhere.emit_with_ack("ask", 1, rooms=[room])
    assert sorted(ack["by"] for ack in acks) == sorted(EVERYBODY)
    acks = await everywhere.emit_with_ack("ask", b"1", rooms=[room], apart=[mixed.clients.sid("b2")])
    assert sorted(ack["by"] for ack in acks) == ["b1", "n1", "n2"]
    assert await everywhere.emit_with_ack("ask", rooms=["nobody is here"]) == []


async def test_a_client_that_acknowledges_nothing_is_missing(mixed, room):
    counted, within_s = 0, 0.25
    async with asyncio.timeout(60):
        while counted < len(EVERYBODY):  # in so short a time not every server may be heard
            within_s *= 2
            with pytest.raises(AnswersMissing, match="unable to have every answer to an emit") as error:
                await mixed.bridge.everywhere.emit_with_ack("never_acked", rooms=[room], within_s=within_s)
            counted = sum(each.clients for each in error.value.answers)
    assert counted == len(EVERYBODY)


async def test_the_bridge_asks_the_servers_themselves(mixed):
    everywhere = mixed.bridge.everywhere
    assert await everywhere.ask_servers("greeting", "hello") == ["hello from Node"]
    with pytest.raises(AnswersMissing):
        await everywhere.ask_servers("nobody listens to this", within_s=0.5)
    everywhere.tell_servers("told", "by the bridge")
    await mixed.node.until(lambda line: line.get("told") == "by the bridge")


@pytest.mark.parametrize("event", ["connection", "connect", "new_namespace", "error"])
async def test_what_would_end_a_node_server_is_not_said_to_it(mixed, event):
    with pytest.raises(ClusterMalformed):
        mixed.bridge.everywhere.tell_servers(event, {})
    assert await mixed.node.do("serverCount") == 2


async def test_clients_of_all_servers_join_leave_and_go_by_order_of_the_bridge(mixed, room):
    everywhere, other = mixed.bridge.everywhere, f"{room}-by-bridge"
    everywhere.join([other], [room], [mixed.clients.sid("n2")])
    in_it = {mixed.clients.sid(client) for client in ("n1", "b1", "b2")}
    assert {socket.sid for socket in await everywhere.sockets([other])} == in_it
    everywhere.leave([other], [mixed.clients.sid("n1"), mixed.clients.sid("b1")])
    assert [socket.sid for socket in await everywhere.sockets([other])] == [mixed.clients.sid("b2")]
    gone = {"out-n": mixed.node.address, "out-b": mixed.bridge.address}
    for client, address in gone.items():
        await mixed.clients.connect(client, address)
    await mixed.clients.join(f"{room}-doomed", *gone)
    everywhere.disconnect([f"{room}-doomed"])
    for client in gone:
        assert await mixed.clients.disconnected(client) == "io server disconnect"
