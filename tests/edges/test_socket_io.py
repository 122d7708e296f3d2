"""The Socket.IO door through real sockets."""

import asyncio
import contextlib
import json
import logging
import time

import aiohttp
import pytest
import socketio
from loopback import Client, PollingClient, running

from bridge.sockets import burst, direct, engine
from bridge.sockets.line import Line, frame, line_of


@pytest.fixture(params=["straight to the websocket", "the library's own queue"])
async def bridge(script, request):
    async with running(script, fast_path=request.param.startswith("straight")) as app:
        yield app


IDS = {"requestId": "r-1", "roomId": 42}


async def send(client, content="hi", **extra):
    return await client.call("send_message", {**IDS, "content": content, **extra})


@pytest.mark.parametrize("kind", [Client, PollingClient])
async def test_the_contract_of_a_streamed_turn(bridge, script, kind):
    async with kind(bridge.address) as client:
        assert await client.call("join_room", {"roomId": 42}) == {"ok": True, "roomId": 42, "active": []}
        assert await send(client, lang="de") == {"ok": True, "requestId": "r-1"}
        script.say("Hel")
        first = await client.until("ai_message_chunk")
        script.say("lo 🌞")
        script.finish()
        end = await client.until("ai_message_end")
        await client.until("new_message", 2)
    names = {**IDS, "messageId": "m-r-1"}
    assert client.of("ai_message_status") == [{**IDS, "status": "thinking"}]
    assert client.of("ai_message_start") == [names]
    assert first == {**names, "seq": 1, "delta": "Hel"}
    assert end == {**names, "content": "Hello 🌞", "finishReason": "stop"}
    user, answer = client.of("new_message")
    assert (user["role"], user["content"]) == ("user", "hi")
    assert (answer["messageId"], answer["content"]) == ("m-r-1", "Hello 🌞")
    assert script.requests[0]["lang"] == "de"


async def test_flag_off_is_one_new_message_with_what_else_the_backend_gave(script):
    async with running(script, chat_streaming_enabled=False) as bridge, Client(bridge.address) as client:
        await client.call("join_room", {"roomId": 42})
        await send(client)
        answer = await client.until("new_message", 2)
        assert (answer["content"], answer["mood"], answer["messageId"]) == ("whole", "good", "w-r-1")
        assert {name for name, _ in client.heard} == {"new_message"}


async def test_a_late_device_catches_up_with_one_merged_chunk(bridge, script):
    async with Client(bridge.address) as first, Client(bridge.address) as late:
        await first.call("join_room", {"roomId": 42})
        await send(first)
        for number, delta in enumerate("abc", 1):
            script.say(delta)
            await first.until("ai_message_chunk", number)
        joined = await late.call("join_room", {"roomId": 42})
        assert joined["active"] == [{"requestId": "r-1", "messageId": "m-r-1", "seq": 3}]
        merged = await late.until("ai_message_chunk")
        assert (merged["fromSeq"], merged["seq"], merged["delta"]) == (1, 3, "abc")
        script.finish()
        assert (await late.until("ai_message_end"))["content"] == "abc"


async def test_a_device_that_comes_back_resumes(bridge, script):
    async with Client(bridge.address) as first:
        await first.call("join_room", {"roomId": 42})
        await send(first)
        script.say("a")
        await first.until("ai_message_chunk")
    async with Client(bridge.address) as second, Client(bridge.address) as third:
        joined = await second.call("join_room", {"roomId": 42, "resume": {"m-r-1": 1, "gone": 3}})
        assert joined["lost"] == ["gone"]
        script.say("b")
        assert (await second.until("ai_message_chunk"))["seq"] == 2
        await third.call("join_room", {"roomId": 42})
        resumed = await third.call("resume", {"roomId": 42, "messageId": "m-r-1", "seq": 0})
        assert resumed == {"ok": True, "recovered": True, "seq": 2}
        script.finish()
        await second.until("ai_message_end")
        assert not second.of("ai_message_start")


async def test_stop_closes_the_backend_call(bridge, script):
    async with Client(bridge.address) as client, Client(bridge.address) as other:
        for each in (client, other):
            await each.call("join_room", {"roomId": 42})
        await send(client)
        script.say("Hel")
        await client.until("ai_message_chunk")
        assert await other.call("stop_message", {"roomId": 42, "messageId": "m-r-1"}) == {"ok": True}
        assert (await client.until("ai_message_end"))["finishReason"] == "cancelled"
        async with asyncio.timeout(60):
            await script.closed.wait()


async def test_what_a_device_says_at_connect_decides_what_it_hears(bridge, script):
    async with (
        Client(bridge.address, auth={"streaming": True}) as streaming,
        Client(bridge.address, auth={"streaming": False}) as legacy,
    ):
        for client in (streaming, legacy):
            await client.call("join_room", {"roomId": 42})
        await send(streaming)
        script.say("Hi")
        script.finish()
        await streaming.until("ai_message_end")
        await legacy.until("new_message", 2)
        assert not streaming.answers()
        assert {name for name, _ in legacy.heard} == {"new_message"}


async def test_a_wrong_auth_is_refused_with_a_code(bridge):
    url = f"{bridge.address}/socket.io/?EIO=4&transport=websocket"
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as ws:
        await ws.receive_str()
        await ws.send_str('40{"streaming":"yes"}')
        refused = await ws.receive_str(timeout=60)
    assert refused.startswith("44")
    assert json.loads(refused[2:])["data"] == {"code": "bad_auth", "retryable": False}


BAD = [
    ("join_room", None, "not_an_object"),
    ("join_room", [1], "not_an_object"),
    ("join_room", {}, "missing_field"),
    ("join_room", {"roomId": True}, "bad_field"),
    ("join_room", {"roomId": "a b"}, "bad_id"),
    ("join_room", {"roomId": "x" * 129}, "bad_id"),
    ("join_room", {"roomId": 2**63}, "bad_id"),
    ("join_room", {"roomId": 42, "resume": [1]}, "bad_field"),
    ("join_room", {"roomId": 42, "resume": {"m": -1}}, "bad_field"),
    ("send_message", {"roomId": 42}, "missing_field"),
    ("send_message", {"roomId": 42, "content": 1}, "bad_field"),
    ("send_message", {"roomId": 42, "content": " "}, "empty_content"),
    ("send_message", {"roomId": 42, "content": "ü" * 16385}, "content_too_large"),
    ("send_message", {"roomId": 42, "content": "x" * 1_048_576}, "content_too_large"),
    ("send_message", {"roomId": 42, "content": "a\0b"}, "bad_text"),
    ("send_message", {"roomId": 42, "content": "a\ud800"}, "bad_text"),
    ("send_message", {"roomId": 42, "content": "x", "mood": "\ud800"}, "bad_field"),
    ("send_message", {"roomId": 42, "content": b"x"}, "binary_refused"),
    ("send_message", {"roomId": "other", "content": "x"}, "not_joined"),
    ("stop_message", {"roomId": 42}, "missing_field"),
    ("stop_message", {"roomId": 42, "messageId": "none"}, "unknown_message"),
    ("resume", {"roomId": 42, "messageId": "m"}, "missing_field"),
    ("no_such_event", {}, "unknown_event"),
]


@pytest.mark.parametrize(("event", "data", "code"), BAD, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("kind", [Client, PollingClient])
async def test_bad_input_is_answered_with_its_code_and_the_connection_lives(
    bridge, script, kind, event, data, code
):
    if kind is PollingClient and event == "send_message" and isinstance(data.get("content"), bytes):
        return  # bytes have no form of their own in an event over polling
    async with kind(bridge.address) as client:
        await client.call("join_room", {"roomId": 42})
        refused = await client.call(event, data)
        assert (refused["ok"], refused["error"]["code"]) == (False, code)
        assert refused["error"]["message"].startswith("unable to ")
        assert (await client.call("join_room", {"roomId": 42}))["ok"]
    assert not script.requests


async def raw(bridge, *packets):
    """Speak to the bridge packet by packet; return every packet it answers until it is quiet."""
    async with aiohttp.ClientSession() as session:
        url = f"{bridge.address}/socket.io/?EIO=4&transport=websocket"
        async with session.ws_connect(url) as ws:
            for packet in ("40", *packets, '429["join_room",{"roomId":1}]'):
                await (ws.send_bytes if isinstance(packet, bytes) else ws.send_str)(packet)
            heard = []
            async with asyncio.timeout(60):
                while not heard or not heard[-1].startswith("439"):
                    message = await ws.receive()
                    assert message.type == aiohttp.WSMsgType.TEXT, heard
                    heard.append(message.data)
            return heard


@pytest.mark.parametrize("packet", ["42[1,2]", '42["join_room",{"a":NaN}]', '437["late answer"]'])
async def test_packets_that_no_client_library_sends_disturb_nothing(bridge, packet):
    heard = await raw(bridge, packet)
    assert json.loads(heard[-1].removeprefix("439"))[0]["ok"]


class SlowReader:
    """A websocket that stops and goes on reading when the test says so."""

    def __init__(self, bridge):
        self.address, self.chunks, self.end, self.seq, self.text = bridge.address, [], None, 0, ""

    async def __aenter__(self):
        self.session = aiohttp.ClientSession(read_bufsize=1024)
        self.ws = await self.session.ws_connect(
            f"{self.address}/socket.io/?EIO=4&transport=websocket", max_msg_size=0
        )
        for packet in ("40", '420["join_room",{"roomId":1}]'):
            await self.ws.send_str(packet)
        while not (await self.ws.receive_str()).startswith("430"):
            pass
        self.transport = self.ws._response.connection.transport
        return self

    async def __aexit__(self, *_):
        await self.session.close()

    async def to_the_end(self):
        async with asyncio.timeout(60):
            while self.end is None:
                text = await self.ws.receive_str()
                if text.startswith("42["):
                    self._take(*json.loads(text[2:]))

    def _take(self, name, data):
        if name == "ai_message_chunk":
            assert data.get("fromSeq", data["seq"]) == self.seq + 1
            self.seq, self.text = data["seq"], self.text + data["delta"]
            self.chunks.append(data)
        elif name == "ai_message_end":
            self.end = data


async def flood(reader, script, chunks, size=20_000):
    await reader.call("send_message", {"roomId": 1, "content": "x", "requestId": "r"})
    for number in range(1, chunks + 1):
        script.say("y" * size)
        await reader.until("ai_message_chunk", number)


async def test_a_device_that_was_slow_gets_what_it_lacks_as_one_chunk_and_costs_the_others_nothing(script):
    async with (
        running(script, max_answer_bytes=2**26) as bridge,
        Client(bridge.address) as reader,
        SlowReader(bridge) as slow,
    ):
        await reader.call("join_room", {"roomId": 1})
        slow.transport.pause_reading()
        await flood(reader, script, 600)
        (line,) = [
            line
            for socket in bridge.sio.eio.sockets.values()
            if (line := line_of(socket)) and line.waiting_bytes()
        ]
        assert line.waiting_bytes() < 2 * burst.LAG_BYTES
        slow.transport.resume_reading()
        script.finish()
        await slow.to_the_end()
        assert len(slow.chunks) < 500
        assert slow.text == slow.end["content"] == "y" * 600 * 20_000


async def test_a_device_that_is_stuck_is_cut_off_and_the_others_hear_on(script):
    async with (
        running(script, device_stuck_s=0.5, max_answer_bytes=2**26) as bridge,
        Client(bridge.address) as reader,
        SlowReader(bridge) as stuck,
    ):
        await reader.call("join_room", {"roomId": 1})
        stuck.transport.pause_reading()
        await flood(reader, script, 400)
        async with asyncio.timeout(60):
            while bridge.rooms.devices == 2:
                await asyncio.sleep(0.05)
        assert len(reader.of("ai_message_chunk")) == 400


async def test_a_polling_post_in_many_segments_is_read_whole(bridge, script):
    async with PollingClient(bridge.address) as client:
        await client.call("join_room", {"roomId": 42})
        assert (await send(client, "x" * 30_000, note="y" * 60_000))["ok"]
        script.finish()
        await client.until("ai_message_end")
    assert len(script.requests[0]["note"]) == 60_000


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_pages_of_other_sites_may_not_connect(bridge, transport):
    async with aiohttp.ClientSession(headers={"Origin": "https://evil.example"}) as session:
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"} if transport == "websocket" else {}
        async with session.get(
            f"{bridge.address}/socket.io/?EIO=4&transport={transport}", headers=upgrade
        ) as answer:
            assert (answer.status, (await answer.json())["error"]["code"]) == (403, "bad_origin")


async def test_a_clients_old_event_names_are_settings(script):
    names = {"join_event": "enter", "send_event": "say", "new_message_event": "message_received"}
    async with (
        running(script, chat_streaming_enabled=False, **names) as bridge,
        Client(bridge.address) as client,
    ):
        assert (await client.call("enter", {"roomId": 1}))["ok"]
        assert (await client.call("say", {"roomId": 1, "content": "x"}))["ok"]
        assert (await client.until("message_received", 2))["content"] == "whole"


async def test_no_payload_is_logged(bridge, script, caplog, capsys):
    caplog.set_level(logging.DEBUG)
    async with Client(bridge.address) as client:
        caplog.clear()
        await client.call("join_room", {"roomId": 42})
        await send(client, "canary-prompt")
        script.say("canary-answer")
        script.finish()
        await client.until("ai_message_end")
    ours = [line.getMessage() for line in caplog.records if not line.name.endswith("client")]
    said = "\n".join(ours) + "".join(capsys.readouterr())
    assert "canary" not in said


async def test_a_process_that_goes_down_does_not_send_all_devices_away_at_one_moment(script, monkeypatch):
    monkeypatch.setattr("bridge.app.SENT_AWAY_PER_S", 50)
    gone_at_s = []
    async with contextlib.AsyncExitStack() as stack:  # noqa: SIM117  (the bridge ends before its clients)
        async with running(script, drain_s=2) as bridge:
            for _ in range(20):
                client = await stack.enter_async_context(Client(bridge.address))
                client.sio.on("disconnect", lambda _: gone_at_s.append(time.monotonic()))
    assert len(gone_at_s) == 20
    assert gone_at_s[-1] - gone_at_s[0] > 0.2


def test_an_engine_that_is_not_as_it_was_is_served_in_the_stock_way(monkeypatch):
    server = socketio.AsyncServer(async_mode="aiohttp").eio
    assert direct.misfit(server) is None
    monkeypatch.setattr(direct.AsyncSocket, "check_ping_timeout", None)
    assert engine.install(server, None).startswith("TypeError")
    assert server._async["websocket"] is engine.StockWebSocket


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_a_frame_says_its_length_as_the_standard_wants(size):
    made = frame("x" * size)
    head = {0: 2, 125: 2, 126: 4, 65_535: 4, 65_536: 10}[size]
    assert (made[0], len(made), made[head:]) == (0x81, head + size, b"x" * size)
    length = made[1] if head == 2 else int.from_bytes(made[2:head], "big")
    assert length == size


async def test_a_client_that_probes_and_does_not_upgrade_polls_on(bridge, script, monkeypatch):
    monkeypatch.setattr(direct, "UPGRADE_S", 0.2)
    async with PollingClient(bridge.address) as client:
        await client.call("join_room", {"roomId": 42})
        sid = client.url.rpartition("=")[2]
        url = f"{bridge.address}/socket.io/?EIO=4&transport=websocket&sid={sid}"
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as ws:
            await ws.send_str("2probe")
            assert await ws.receive_str() == "3probe"
            await ws.send_str("6")
            await ws.receive()
        await send(client)
        script.say("Hello")
        script.finish()
        assert (await client.until("ai_message_end"))["content"] == "Hello"


async def test_what_is_written_behind_the_end_of_a_connection_goes_nowhere():
    class Ended:
        """What uvloop's transports do once they are closed; the door hears of that a moment later."""

        def write(self, _):
            raise RuntimeError("unable to perform operation; the handler is closed")

        def get_write_buffer_size(self):
            return 0

    Line(Ended()).write(frame("4"))
