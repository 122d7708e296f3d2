"""Every event with any JSON: a clear error or a clean close; no trace to anyone, no dead process."""

import asyncio
import contextlib
import json
import logging

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loopback import running

from bridge.errors import RequestError
from bridge.requests import (
    check_values,
    parse_join,
    parse_leave,
    parse_renew,
    parse_resume,
    parse_send,
    parse_stop,
)

ODD = [
    "__proto__",
    "constructor",
    "toString",
    "a\0b",
    "\ud800",
    "🌞",
    "x" * 129,
    "",
    "../..",
    "a,b",
    "\u2028",
]
NUMBERS = st.one_of(st.integers(), st.sampled_from([2**53, 2**63, -(2**63) - 1, 10**30, 0, -0.0, 1e308]))
TEXTS = st.one_of(st.sampled_from(ODD), st.text(max_size=20))
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=12,
)
FIELDS = [
    "roomId",
    "content",
    "requestId",
    "messageId",
    "seq",
    "resume",
    "token",
    "__proto__",
    "user",
    "headers",
]
DATA = st.one_of(JSON, st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6))
EVENTS = [
    "join_room",
    "leave_room",
    "send_message",
    "stop_message",
    "resume",
    "renew",
    "disconnecting ",
    "message",
]
PARSERS = [
    parse_join,
    parse_leave,
    parse_renew,
    parse_resume,
    parse_stop,
    lambda data: parse_send(data, content_limit_bytes=100),
]


@given(st.sampled_from(PARSERS), DATA)
def test_any_json_is_taken_or_refused(parse, data):
    try:
        check_values([data])
        parse(data)
    except RequestError as error:
        assert str(error).startswith("unable to ")  # noqa: PT017


@pytest.mark.parametrize("depth", [63, 64, 65, 900, 100_000])
def test_what_is_too_deep_is_refused_at_any_depth(depth):
    value = "x"
    for _ in range(depth):
        value = [value]
    if depth < 64:
        check_values([value])
        return
    with pytest.raises(RequestError, match="deep"):
        check_values([value])


def examples(strategy, count):
    """Draw first, send later: the draws must not be disturbed by a process that uses chance itself."""
    drawn = []

    @settings(max_examples=count, database=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def draw(value):
        drawn.append(value)

    draw()
    return drawn


class Line:
    """A websocket that comes back when it is closed."""

    def __init__(self, bridge):
        self.url = f"{bridge.address}/socket.io/?EIO=4&transport=websocket"
        self.ws = None
        self.number = 0

    async def __aenter__(self):
        self.session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_):
        await self.session.close()

    async def call(self, packet):
        """Send ``packet`` with an ack id; return the ack, or None where the connection was closed."""
        if self.ws is None or self.ws.closed:
            self.ws = await self.session.ws_connect(self.url)
            await self.ws.send_str("40")
        self.number += 1
        await self.ws.send_str(packet.replace("#", str(self.number), 1))
        async with asyncio.timeout(60):
            async for message in self.ws:
                kind, _, ack = message.data.partition("[")
                if kind == f"43{self.number}":
                    return json.loads("[" + ack)[0]
        return None


@contextlib.asynccontextmanager
async def quiet(caplog, capsys):
    caplog.set_level(logging.DEBUG)
    yield
    # the exporter of another test may speak on in its thread
    ours = [each for each in caplog.records if not each.name.startswith("urllib3")]
    said = "".join([*map(caplog.handler.format, ours), *capsys.readouterr()])
    assert "Traceback" not in said
    assert "fault" not in said


async def test_any_json_in_any_event_is_answered(script, caplog, capsys):
    limits = {"events_per_second": 1e6, "events_burst": 10**6, "rooms_per_device": 10**6}
    async with (
        running(script, chat_streaming_enabled=False, **limits) as bridge,
        quiet(caplog, capsys),
        Line(bridge) as line,
    ):
        for event, data in examples(st.tuples(st.sampled_from(EVENTS), DATA), 300):
            ack = await line.call("42#" + json.dumps([event, data]))
            if ack is not None and not ack["ok"]:
                assert set(ack["error"]) == {"code", "message"}
                assert ack["error"]["code"] != "internal"
        assert (await line.call('42#["join_room",{"roomId":1}]'))["ok"]


async def test_any_text_is_a_packet_or_ends_the_connection(script, caplog, capsys):
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    near = st.from_regex(r"4[0-6]([0-9]{0,3}-)?(/[a-z]{0,3},)?[0-9]{0,3}[\[{\"]?[ -~]{0,9}", fullmatch=True)
    async with running(script) as bridge, quiet(caplog, capsys), Line(bridge) as line:
        for packet in examples(st.one_of(st.binary(max_size=20), text, near), 150):
            line.ws = await line.session.ws_connect(line.url)
            await line.ws.send_str("40")
            with contextlib.suppress(ConnectionError):
                await (line.ws.send_bytes if isinstance(packet, bytes) else line.ws.send_str)(packet)
            await line.ws.close()
        assert (await line.call('42#["join_room",{"roomId":1}]'))["ok"]


class Frames:
    """A plain WebSocket that comes back when it is closed; a ping behind each frame is answered."""

    def __init__(self, http, bridge):
        self.http, self.url = http, f"{bridge.address}/api/v1/chat/ws"
        self.ws = None
        self.number = 0

    async def say(self, frame):
        """Send ``frame``; return what was answered before the ping behind it, None where it was closed."""
        if self.ws is None or self.ws.closed:
            self.ws = await self.http.ws_connect(self.url)
        self.number += 1
        await (self.ws.send_bytes if isinstance(frame, bytes) else self.ws.send_str)(frame)
        await self.ws.send_str(json.dumps({"event": "ping", "ack": f"end-{self.number}"}))
        heard = []
        async with asyncio.timeout(20):
            async for message in self.ws:
                said = json.loads(message.data)
                if said.get("ack") == f"end-{self.number}":
                    return heard
                heard.append(said)
        return None


async def test_any_json_in_any_frame_of_a_websocket_is_answered(script, caplog, capsys):
    limits = {"events_per_second": 1e6, "events_burst": 10**6, "rooms_per_device": 10**6}
    frames = st.one_of(
        st.fixed_dictionaries(
            {"event": st.sampled_from([*EVENTS, "auth", "ping"]), "data": DATA, "ack": JSON}
        ),
        st.fixed_dictionaries({"event": st.sampled_from(EVENTS), "data": DATA}),
        JSON,
    )
    any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    async with (
        running(script, chat_streaming_enabled=False, **limits) as bridge,
        quiet(caplog, capsys),
        aiohttp.ClientSession() as http,
    ):
        line = Frames(http, bridge)
        drawn = [json.dumps(frame) for frame in examples(frames, 200)]
        for frame in [*drawn, *examples(st.one_of(any_text, st.binary(max_size=20)), 50), "[" * 100_000]:
            for said in await line.say(frame) or ():
                if said["event"] == "error":
                    assert set(said["data"]) == {"code", "message"}
                    assert said["data"]["code"] != "internal"
        assert await line.say('{"event": "join_room", "data": {"roomId": 1}, "ack": "a"}') is not None


HTTP_FIELDS = [
    *FIELDS,
    "event",
    "data",
    "chat_id",
    "request_id",
    "id",
    "messages",
    "trigger",
    "role",
    "parts",
]
HTTP_DOORS = [
    "/chat/events",
    "/stream/",
    "/messages/",
    "/api/chat",
    "/api/chat/42",
    "/admin/removals",
    "/admin/flag",
]


async def test_any_json_as_the_body_of_a_request_is_answered(script, caplog, capsys):
    limits = {"events_per_second": 1e6, "events_burst": 10**6}
    bodies = st.one_of(JSON, st.dictionaries(st.sampled_from(HTTP_FIELDS), st.one_of(JSON, DATA), max_size=6))
    head = {"Content-Type": "application/json", "Authorization": "Bearer secret"}
    async with (
        running(script, chat_streaming_enabled=False, **limits) as bridge,
        quiet(caplog, capsys),
        aiohttp.ClientSession(headers=head) as http,
    ):
        drawn = [
            (door, json.dumps(body))
            for door, body in examples(st.tuples(st.sampled_from(HTTP_DOORS), bodies), 250)
        ]
        odd = [(door, body) for door in HTTP_DOORS for body in (b"", b"\xff\xfe", b"[" * 100_000, b'{"a":')]
        for door, body in [*drawn, *odd]:
            method = "PUT" if door == "/admin/flag" else "POST"
            async with http.request(method, bridge.address + door, data=body) as answer:
                assert answer.status < 500, (door, body)
                text = await answer.text()
                assert "Traceback" not in text
                if answer.status >= 400:
                    assert set(json.loads(text)["error"]) == {"code", "message"}
