"""The messages of the sharded adapter and that of streams, and the door for them: what strangers may say."""

import asyncio
import contextlib
import json
from base64 import b64encode

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import cluster_adapter
from bridge.doors.cluster_servers import ClusterServers
from bridge.errors import ClusterMalformed
from bridge.node_answers import Acked, Counted, Done, Found, Said, Socket
from bridge.node_cluster import (
    Asking,
    Disconnect,
    Emit,
    EmitWithAck,
    Join,
    Leave,
    Selection,
    ServerSideEmit,
    WantSockets,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 13) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
)
TO = Selection(("room", 42), ("apart",))
OPTS = {"rooms": ["room", 42], "except": ["apart"], "flags": {"timeout": 3000}}
EVENT = {"type": 2, "data": ["word", 1], "nsp": "/"}
EMIT = Emit("word", (1,), TO)
WORDS = [
    (3, {"packet": EVENT, "opts": OPTS}, "", EMIT),
    (3, {"packet": EVENT, "opts": OPTS, "requestId": "q"}, "q", EmitWithAck(EMIT, 3.0)),
    (4, {"opts": OPTS, "rooms": ["new"]}, "", Join(TO, ("new",))),
    (5, {"opts": OPTS, "rooms": ["old"]}, "", Leave(TO, ("old",))),
    (6, {"opts": OPTS, "close": True}, "", Disconnect(TO)),
    (7, {"opts": OPTS, "requestId": "q"}, "q", WantSockets(TO, whole=True)),
    (9, {"packet": ["hi"]}, "", ServerSideEmit()),
    (9, {"packet": ["hi"], "requestId": "q"}, "q", ServerSideEmit()),
    (12, {"packet": None, "requestId": "bridge-1:7"}, "bridge-1:7", Acked((None,))),
]


def message(kind, data, uid="0123456789abcdef", nsp="/"):
    return {"uid": uid, "nsp": nsp, "type": kind, "data": data}


def fields(kind, data):
    return {b"uid": b"0123456789abcdef", b"nsp": b"/", b"type": b"%d" % kind, b"data": data}


@pytest.mark.parametrize(("kind", "data", "request_id", "wanted"), WORDS)
def test_a_message_is_the_same_however_it_travels(kind, data, request_id, wanted):
    said = message(kind, data)
    for read in (
        cluster_adapter.in_one_piece(json.dumps(said).encode()),
        cluster_adapter.in_one_piece(msgpack.packb(said)),
        cluster_adapter.in_fields(fields(kind, json.dumps(data).encode())),
        cluster_adapter.in_fields(fields(kind, b64encode(msgpack.packb(data)))),
    ):
        assert cluster_adapter.read(read) == (Asking("0123456789abcdef", request_id), wanted)


@pytest.mark.parametrize(
    "said",
    [
        message(3, {"packet": EVENT, "opts": OPTS}, uid="bridge"),
        message(3, {"packet": EVENT, "opts": OPTS}, nsp="/admin"),
        message(1, None),
        message(8, {"requestId": "q", "sockets": []}),
        message(99, {}),
    ],
)
def test_what_is_of_bridges_of_other_namespaces_or_needs_nothing_done_is_left(said):
    assert cluster_adapter.read(said) is None


REPLIES = [
    (Found((Socket("s1", ("s1", 42), {}),)), 8),
    (Said(None), 10),
    (Counted(2), 11),
    (Acked(("yes",)), 12),
]


@pytest.mark.parametrize(("said", "kind"), REPLIES)
def test_a_reply_names_its_request(said, kind):
    answer = cluster_adapter.reply("q", said)
    assert (answer["uid"], answer["nsp"], answer["type"], answer["data"]["requestId"]) == (
        "bridge",
        "/",
        kind,
        "q",
    )


def test_what_these_servers_never_ask_has_no_reply():
    with pytest.raises(ClusterMalformed):
        cluster_adapter.reply("q", Done())


@given(
    st.builds(message, st.integers(0, 13), JSON)
    | st.builds(message, st.integers(3, 12), st.fixed_dictionaries({"packet": JSON, "opts": JSON}))
    | JSON
)
def test_any_value_is_a_message_or_none_or_malformed(said):
    with contextlib.suppress(ClusterMalformed):
        cluster_adapter.read(said)


@given(st.dictionaries(st.sampled_from([b"uid", b"nsp", b"type", b"data", b"x"]), st.binary(max_size=40)))
def test_any_entry_of_a_stream_is_read_or_malformed(entry):
    with contextlib.suppress(ClusterMalformed):
        cluster_adapter.in_fields(entry)


class Line:
    """Gives the messages it was made with, and keeps what is said."""

    def __init__(self, *messages):
        self.said = []
        self._messages = messages
        self.given = asyncio.Event()

    async def channel(self):
        for each in self._messages:
            yield lambda each=each: cluster_adapter.in_one_piece(each)
        self.given.set()
        await asyncio.Event().wait()

    async def beside(self):
        await asyncio.Event().wait()
        yield

    async def say(self, uid, message):
        self.said.append((uid, message["type"], message["data"]))


class OneSocket:
    """A crowd of one; remembers what it heard."""

    def __init__(self):
        self.heard = []

    def emit(self, emit):
        if emit.event == "fault":
            raise RuntimeError("planted")
        self.heard.append(emit.event)

    def described(self, _):
        return [Socket("s1", ("s1",), {})]


class Faults(list):
    def fault(self, error):
        self.append(error)


async def test_junk_and_faults_cost_nothing_but_themselves_and_all_that_is_asked_is_answered():
    event = {"packet": {"type": 2, "data": ["fault"], "nsp": "/"}, "opts": {"rooms": []}}
    junk = [b"", b"junk", b"{", b"[]", b"{}", json.dumps(message(7, None)).encode(), b"\xc1"]
    asked = [message(kind, data) for kind, data, _, _ in WORDS if kind in (3, 7, 9, 12) and data is not None]
    line = Line(
        *junk,
        json.dumps(message(3, event)).encode(),
        *(
            json.dumps(each).encode()
            for each in asked
            if not (each["type"] == 3 and "requestId" in each["data"])
        ),
    )
    crowd, faults, answered = OneSocket(), Faults(), []
    door = ClusterServers(line, crowd, faults, uid="bridge-1", answered=lambda *said: answered.append(said))
    running = asyncio.create_task(door.run())
    async with asyncio.timeout(60):
        await line.given.wait()
        while len(line.said) < 2:
            await asyncio.sleep(0)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert crowd.heard == ["word"]
    assert [type(fault) for fault in faults] == [RuntimeError]
    assert door.malformed == len(junk)
    assert answered == [(7, (None,))]
    assert sorted((uid, kind) for uid, kind, _ in line.said) == [
        ("0123456789abcdef", 8),
        ("0123456789abcdef", 10),
    ]
