"""What Node servers say to each other, as values and as bytes; and that no bytes of strangers do harm."""

import contextlib
import json
from base64 import b64decode

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import node_answers, node_cluster, node_requests, orders
from bridge.copies import Audience, Copies, classic, python, sharded, streams
from bridge.errors import ClusterMalformed
from bridge.messages import MessageChunk, NewMessage
from bridge.node_cluster import (
    Asking,
    Channels,
    Disconnect,
    Emit,
    EmitWithAck,
    Join,
    Leave,
    Selection,
    ServerSideEmit,
    WantRooms,
    WantSockets,
)
from bridge.orders import Carried

RECORDED = (
    b"\x93\xa6bridge\x83\xa4type\x02\xa4data\x92\xb0ai_message_chunk\x81\xa3seq\x00\xa3nsp\xa1/"
    b"\x83\xa5rooms\x91\xa5room1\xa6except\x90\xa5flags\x80"
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
SAME_JSON = st.recursive(  # what comes back as it went
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def test_an_emit_is_as_node_records_it():
    assert node_cluster.emit("ai_message_chunk", [{"seq": 0}], ["room1"]) == RECORDED


@given(
    st.text(min_size=1), st.lists(SAME_JSON, max_size=3), st.lists(st.text(min_size=1) | st.integers(-9, 9))
)
def test_an_emit_comes_back_as_it_was_said(event, arguments, rooms):
    emit = node_cluster.read_emit(node_cluster.emit(event, arguments, rooms, ["apart"]))
    assert emit == Emit(event, tuple(arguments), Selection(tuple(rooms), ("apart",)))


@given(JSON)
def test_whatever_is_said_is_whole_or_refused(value):
    try:
        said = node_cluster.emit("e", [value], ["r"])
    except ClusterMalformed:
        return
    uid, packet, opts = msgpack.unpackb(said, strict_map_key=False)
    assert (uid, packet["type"], packet["nsp"], packet["data"][0]) == ("bridge", 2, "/", "e")
    assert opts == {"rooms": ["r"], "except": [], "flags": {}}


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_whatever_strangers_say_is_read_or_refused(data):
    for read in (node_cluster.read_emit, node_cluster.read_request):
        with contextlib.suppress(ClusterMalformed):
            read(data)


@given(
    st.dictionaries(
        st.sampled_from(
            ["type", "uid", "requestId", "opts", "rooms", "sid", "room", "packet", "data", "nsp"]
        ),
        JSON | st.integers(0, 9) | st.fixed_dictionaries({"rooms": JSON, "except": JSON, "flags": JSON}),
    ),
    JSON,
)
def test_whatever_shape_strangers_choose_is_read_or_refused(fields, opts):
    for data in (
        json.dumps(fields).encode(),
        msgpack_or_nothing(fields),
        msgpack_or_nothing(["u", fields, opts]),
    ):
        for read in (node_cluster.read_emit, node_cluster.read_request):
            with contextlib.suppress(ClusterMalformed):
                read(data)


def msgpack_or_nothing(value):
    try:
        return msgpack.packb(value)
    except (OverflowError, UnicodeEncodeError):
        return b""


@pytest.mark.parametrize(
    ("value", "heard"),
    [
        ("half \ud83c", "half \ufffd"),
        ("\ud83c\udf1e", "🌞"),
        (2**64, float(2**64)),
        (-(2**63) - 1, float(-(2**63) - 1)),
        (2**53 + 1, 2**53 + 1),
        ({"a\ud800": 1}, {"a\ufffd": 1}),
        (b"\x00\xff", b"\x00\xff"),
        (float("inf"), None),
    ],
)
def test_what_messagepack_has_not_is_said_as_javascript_would(value, heard):
    assert node_cluster.read_emit(node_cluster.emit("e", [value], ["r"])).arguments == (heard,)


@pytest.mark.parametrize("value", [10**400, object(), {1, 2}])
def test_what_cannot_be_said_is_refused(value):
    with pytest.raises(ClusterMalformed):
        node_cluster.emit("e", [value], ["r"])


def test_a_date_becomes_the_text_that_json_makes_of_it():
    date = msgpack.packb(msgpack.Timestamp(1795256430, 400_000_000))
    data = b"\x93\xa1u\x82\xa4type\x02\xa4data\x92\xa1e" + date + b"\x80"
    assert node_cluster.read_emit(data).arguments == ("2026-11-21T10:20:30.400Z",)


@pytest.mark.parametrize("room", [True, None, [1], {"a": 1}, float("nan")])
def test_what_is_no_name_of_a_room_selects_nobody_and_not_everybody(room):
    packet, opts = {"type": 2, "data": ["e"]}, {"rooms": [room], "except": []}
    selected = node_cluster.read_emit(msgpack.packb(["u", packet, opts])).to.rooms
    assert len(selected) == 1
    assert selected[0] not in ({1, 0, None, "room"})


def test_requests_are_read_in_both_encodings_and_both_forms():
    asked = {"uid": "u", "requestId": "q", "type": 0, "rooms": ["a", 42]}
    expected = (Asking("u", "q"), WantSockets(Selection(("a", 42)), whole=False))
    assert node_cluster.read_request(json.dumps(asked).encode()) == expected
    assert node_cluster.read_request(msgpack.packb(asked)) == expected
    old = {"uid": "u", "requestId": "q", "type": 2, "sid": "s", "room": "r"}
    assert node_cluster.read_request(json.dumps(old).encode())[1] == Join(
        Selection(("s",)), ("r",), alone=True
    )
    emit = {
        "type": 7,
        "packet": {"type": 2, "data": ["e", 1]},
        "opts": {"rooms": ["r"], "flags": {"timeout": 1500}},
    }
    request = node_cluster.read_request(json.dumps(emit).encode())[1]
    assert request == EmitWithAck(Emit("e", (1,), Selection(("r",))), 1.5)


def test_an_emit_of_another_namespace_is_none_of_ours():
    packet = {"type": 2, "data": ["e"], "nsp": "/admin"}
    assert node_cluster.read_emit(msgpack.packb(["u", packet, {"rooms": []}])) is None


def test_the_pattern_of_rooms_takes_the_prefix_as_it_is_written():
    assert Channels("a*[b]?").of_rooms == r"a\*\[b\]\?#/#*#"
    assert Channels().of_room(42) == "socket.io#/#42."
    assert Channels().room_in("socket.io#/#42#") == "42"
    assert not Channels().room_in("socket.io#/#")


CHUNK = MessageChunk("r", 42, "m", 1, "Hi")


def copies(*formats, fault=None):
    return Copies(formats, uid="bridge-1", names={"new_message": "answer"}, fault=fault or pytest.fail)


def test_nothing_is_made_while_nobody_listens():
    there = Audience()
    made = copies((classic(Channels()), lambda: there.there))
    assert not made.of([CHUNK])
    there.there = True
    assert len(made.of([CHUNK, CHUNK])) == 2


def test_each_format_says_the_same_event_and_ids_keep_their_type():
    channels, always = Channels("key"), lambda: True
    formats = (
        classic(channels),
        sharded(channels),
        streams("key"),
        python("py"),
    )
    said = copies(*((make, always) for make in formats)).of([CHUNK])
    event = ["ai_message_chunk", {"requestId": "r", "roomId": 42, "messageId": "m", "seq": 1, "delta": "Hi"}]
    node, shard, stream, stock = said
    assert node[:2] == ("PUBLISH", "key#/#42.")
    assert msgpack.unpackb(node[2])[1:] == [
        {"type": 2, "data": event, "nsp": "/"},
        {"rooms": [42], "except": [], "flags": {}},
    ]
    broadcast = {
        "packet": {"type": 2, "data": event, "nsp": "/"},
        "opts": {"rooms": [42], "except": [], "flags": {}},
    }
    assert shard[:2] == ("SPUBLISH", "key#/#")
    assert json.loads(shard[2]) == {"uid": "bridge", "nsp": "/", "type": 3, "data": broadcast}
    assert stream[:2] == ("XADD", "key")
    assert json.loads(stream[-1]) == broadcast
    assert stock[:2] == ("PUBLISH", "py")
    said = json.loads(stock[2])
    assert (said["method"], said["event"], said["data"], said["room"]) == ("emit", event[0], [event[1]], 42)


def test_a_renamed_event_is_said_under_its_other_name_and_what_cannot_be_said_is_left_out():
    faults = []
    made = copies((classic(Channels()), lambda: True), fault=faults.append)
    messages = [
        NewMessage("r", "room", "m", "user", "a", "now", {"big": 10**400}),
        NewMessage("r", "room", "m", "user", "b", "now"),
    ]
    (command,) = made.of(messages)
    assert msgpack.unpackb(command[2])[1]["data"][0] == "answer"
    assert [type(fault) for fault in faults] == [ClusterMalformed]


TO = Selection(("room", 42), ("apart",))
ROOM_NAMES = st.text() | st.integers(-(2**53), 2**53)
SELECTIONS = st.builds(
    Selection, st.lists(ROOM_NAMES, max_size=3).map(tuple), st.lists(ROOM_NAMES, max_size=3).map(tuple)
)
EMITS = st.builds(Emit, st.text(), st.lists(SAME_JSON, max_size=3).map(tuple), SELECTIONS)
REQUESTS = (
    st.builds(WantSockets, SELECTIONS, st.just(True))
    | st.builds(WantRooms)
    | st.builds(Join, SELECTIONS, st.lists(ROOM_NAMES, max_size=3).map(tuple))
    | st.builds(Leave, SELECTIONS, st.lists(ROOM_NAMES, max_size=3).map(tuple))
    | st.builds(Disconnect, SELECTIONS)
    | st.builds(EmitWithAck, EMITS, st.integers(1, 60).map(float))
)


@given(REQUESTS)
def test_a_request_is_read_as_it_was_said(request_):
    asking = Asking("bridge-1", "bridge-1?1")
    assert node_cluster.read_request(node_requests.say(asking, request_)) == (asking, request_)


@given(st.text(), st.lists(JSON, max_size=3))
def test_whatever_is_said_to_servers_is_whole_or_refused(event, arguments):
    said = ServerSideEmit((event, *arguments))
    try:
        asked = json.loads(node_requests.say(Asking("bridge-1", ""), said))
    except ClusterMalformed:
        return
    assert (asked["uid"], asked["type"]) == ("bridge-1", 6)
    assert "requestId" not in asked  # who has one is answered
    assert asked["data"][0] not in node_requests.RESERVED


def test_bytes_go_as_message_pack_and_all_else_as_json():
    ask = EmitWithAck(Emit("e", (b"1",), TO), 1.0)
    asked = msgpack.unpackb(node_requests.say(Asking("bridge", "1"), ask))
    assert asked["packet"]["data"] == ["e", b"1"]
    assert node_requests.say(Asking("bridge", "1"), WantRooms()).startswith(b"{")


@given(st.binary(max_size=100) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_an_answer_or_none_or_malformed(data):
    with contextlib.suppress(ClusterMalformed):
        node_answers.read_answer(data)


ORDERS = [
    (orders.Emit("/", Carried(["e", 1]), ["room"], ["s1"]), 3),
    (orders.Emit("/", Carried(["e"]), None, [], 7), 3),
    (orders.EnterRoom("/", "s1", "room"), 4),
    (orders.LeaveRoom("/", "s1", 42), 5),
    (orders.CloseRoom("/", "room"), 5),
    (orders.Disconnect("/", "s1"), 6),
]


@pytest.mark.parametrize(("order", "kind"), ORDERS)
def test_every_format_has_an_order_of_a_node(order, kind):
    channels, always = Channels("key"), lambda: True
    formats = (classic(channels), sharded(channels), streams("key"))
    node, shard, stream = copies(*((make, always) for make in formats)).told(order)
    assert node[0] == "PUBLISH"
    assert (shard[0], json.loads(shard[2])["type"]) == ("SPUBLISH", kind)
    if isinstance(order, orders.Emit) and order.number:
        assert json.loads(node[2])["requestId"] == "bridge-1:7"
        assert stream[:2] == ("PUBLISH", "key#/#")
    else:
        assert stream[:2] == ("XADD", "key")
        assert json.loads(stream[-1]) == json.loads(shard[2])["data"]


def test_an_order_with_bytes_is_carried_by_every_format_that_can():
    order = orders.Emit("/", Carried(["e", {"_placeholder": True, "num": 0}], [b"\xff"]), ["room"], [])
    formats = (classic(Channels()), sharded(Channels()), streams("key"))
    node, shard, stream = copies(*((make, lambda: True) for make in formats)).told(order)
    assert msgpack.unpackb(node[2])[1]["data"] == ["e", b"\xff"]
    assert msgpack.unpackb(shard[2])["data"]["packet"]["data"] == ["e", b"\xff"]
    assert msgpack.unpackb(b64decode(stream[-1]))["packet"]["data"] == ["e", b"\xff"]


@pytest.mark.parametrize(
    "order",
    [
        orders.Emit("/", Carried(["e"]), [], []),  # no rooms mean everybody to Node servers
        orders.Emit("/", Carried([7]), None, []),
        orders.Emit("/other", Carried(["e"]), None, []),
        orders.Answer(1, Carried([])),
    ],
)
def test_what_is_for_nobody_there_is_not_told(order):
    assert copies((classic(Channels()), lambda: True)).told(order) == ()
