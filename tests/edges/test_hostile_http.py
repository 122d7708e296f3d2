"""HTTP as no client library sends it; Engine.IO and Socket.IO to the letter. Only against our own bridge."""

import asyncio
import contextlib
import json
import logging

import aiohttp
import pytest
from loopback import Client, running

URL = "/socket.io/?EIO=4&transport="


def port_of(bridge):
    return int(bridge.address.rpartition(":")[2])


async def answered(bridge, sent=b"", within_s=60):
    """Send bytes over TCP; return what came until the other side closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(bridge))
    try:
        writer.write(sent)
        async with asyncio.timeout(within_s):
            return await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def polling(bridge):
    """An open polling session: an HTTP session, and the address with its sid."""
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{bridge.address}{URL}polling") as answer:
            opened = json.loads((await answer.text())[1:])
        yield session, f"{bridge.address}{URL}polling&sid={opened['sid']}"


@contextlib.asynccontextmanager
async def websocket(bridge, query=""):
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{bridge.address}{URL}websocket{query}") as ws,
    ):
        yield ws


async def closes(ws, within_s=60):
    """Wait until the other side closes; return the texts that came before."""
    async with asyncio.timeout(within_s):
        return [message.data async for message in ws]


async def until_empty(bridge):
    """Nothing of a connection is left."""
    async with asyncio.timeout(60):
        while bridge.sio.eio.sockets or bridge.sio.environ or bridge._border.admission._addresses:
            await asyncio.sleep(0.01)
    assert not bridge.rooms.devices
    assert not bridge.sio.manager.rooms.get("/", {}).get(None)
    assert not bridge._namespace._guests


# -- slow


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET /socket.io/?EIO=4 HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["silent", "half a head", "half a second head"],
)
async def test_a_head_that_does_not_come_ends_its_connection(script, begun):
    async with running(script, header_s=1.0) as bridge:
        if begun.endswith(b"\r\n\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port_of(bridge))
            writer.write(begun)
            await reader.readuntil(b'{"ok": true}')
            await asyncio.sleep(1.5)  # an idle connection may stay
            writer.write(b"GET /hea")
            async with asyncio.timeout(60):
                assert await reader.read() == b""
            writer.close()
        else:
            assert await answered(bridge, begun) == b""


async def test_a_connection_that_waits_for_its_answer_is_not_late(script):
    async with running(script, header_s=1.0) as bridge, polling(bridge) as (session, url):
        poll = asyncio.create_task(session.get(url))
        await asyncio.sleep(1.5)
        async with session.post(url, data=b"40") as answer:
            assert answer.status == 200
        async with await poll as answer:
            assert (await answer.text()).startswith("40")


async def test_a_websocket_is_not_late(script):
    async with running(script, header_s=1.0) as bridge, Client(bridge.address) as client:
        await asyncio.sleep(1.5)
        assert (await client.call("join_room", {"roomId": 1}))["ok"]


async def test_a_body_that_does_not_come_is_answered_in_time(script):
    async with running(script, body_s=0.3) as bridge, polling(bridge) as (_, url):
        path = url.removeprefix(bridge.address).encode()
        head = b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n40"
        assert (await answered(bridge, head)).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("kind", ["websocket", "polling"])
async def test_who_makes_no_connect_is_closed(script, kind):
    async with running(script, handshake_s=0.3) as bridge:
        if kind == "websocket":
            async with websocket(bridge) as ws:
                assert [text[:1] for text in await closes(ws)] == ["0"]
        else:
            async with polling(bridge) as (session, url), asyncio.timeout(60), session.get(url) as answer:
                assert answer.status in (200, 400)
        await until_empty(bridge)


async def test_a_refused_connect_does_not_stop_the_deadline(script):
    async with running(script, handshake_s=1.5, auth="closed") as bridge, websocket(bridge) as ws:
        await ws.send_str("40")
        heard = await closes(ws)
        assert heard[1].startswith("44")


async def test_many_silent_connections_keep_nobody_out(script):
    async with running(script) as bridge:
        silent = [await asyncio.open_connection("127.0.0.1", port_of(bridge)) for _ in range(200)]
        async with asyncio.timeout(60), Client(bridge.address) as client:
            assert (await client.call("join_room", {"roomId": 1}))["ok"]
        for _, writer in silent:
            writer.close()


# -- too large, malformed


@pytest.mark.parametrize("more", ["Content-Length: 9000000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n"])
async def test_a_body_that_is_too_large_is_answered_at_once(bridge, more):
    async with polling(bridge) as (_, url):
        path = url.removeprefix(bridge.address)
        sent = f"POST {path} HTTP/1.1\r\nHost: x\r\n{more}".encode()
        if "chunked" in more:
            sent += (b"%x\r\n" % 2**20 + b"4" * 2**20 + b"\r\n") * 3
        reply = await answered(bridge, sent)
        assert reply.startswith(b"HTTP/1.1 413 ")
        assert b"body_too_large" in reply


async def test_a_body_without_a_length_is_read_whole(bridge):
    async def pieces():
        for piece in (b"4", b"0"):
            yield piece
            await asyncio.sleep(0.01)

    async with polling(bridge) as (session, url):
        async with session.post(url, data=pieces()) as answer:
            assert answer.status == 200
        async with session.get(url) as answer:
            assert (await answer.text()).startswith("40")


@pytest.mark.parametrize(
    "body",
    [
        b"abc",
        b"",
        b"4\xff\xfe",
        b"\x1e".join([b"3"] * 17),
        b"3\x1e9",
        b"b!!!",
        b"3\x1e",
        b'4{"a":1}',
        b"42[",
        b"5" + b"1-" + b'["x"]\x1ebAAAA',
        b"4" + b"[" * 50_000,
    ],
    ids=lambda body: repr(body)[:20],
)
async def test_a_body_that_holds_no_packets_ends_the_session(bridge, caplog, body):
    caplog.set_level(logging.DEBUG)
    async with polling(bridge) as (session, url):
        async with session.post(url, data=body) as answer:
            assert answer.status in (200, 400)
        async with session.get(url) as answer:
            assert answer.status == 400
    assert "Traceback" not in caplog.text


HEADS = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer canary\x00\r\n\r\n",
    b"GET /?token=canary HTTP/1.1\r\nbad header canary\r\n\r\n",
    b"GET /?token=canary HTTP/1.1\r\nHost: x\r\nX: " + b"canary" * 20_000 + b"\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
]


@pytest.mark.parametrize("head", HEADS, ids=lambda head: repr(head)[:30])
async def test_a_malformed_head_is_answered_without_a_trace_of_it(script, caplog, capsys, head):
    caplog.set_level(logging.DEBUG)
    async with running(script, header_s=1.0, body_s=1.0) as bridge:
        reply = await answered(bridge, head)
        assert reply[9:10] in (b"4", b"")
        async with Client(bridge.address) as client:
            assert (await client.call("join_room", {"roomId": 1}))["ok"]
    said = caplog.text + "".join(capsys.readouterr())
    assert "Traceback" not in said
    assert "canary" not in said


# -- Engine.IO to the letter


@pytest.mark.parametrize(
    ("method", "query"),
    [
        ("GET", "transport=polling"),
        ("GET", "EIO=abc&transport=polling"),
        ("GET", "EIO=3&transport=polling"),
        ("GET", "EIO=4"),
        ("GET", "EIO=4&transport=abc"),
        ("GET", "EIO=4&transport=websocket"),
        ("GET", "EIO=4&transport=polling&sid=nobody"),
        ("GET", "EIO=4&transport=polling&j=0"),
        ("POST", "EIO=4&transport=polling"),
        ("POST", "EIO=4&transport=polling&sid=nobody"),
        ("PUT", "EIO=4&transport=polling"),
        ("DELETE", "EIO=4&transport=polling&sid=nobody"),
    ],
    ids=str,
)
async def test_what_is_no_engine_io_is_answered_with_400(bridge, method, query):
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"{bridge.address}/socket.io/?{query}") as answer,
    ):
        assert answer.status == 400


async def test_two_polls_at_once_end_the_session(bridge):
    async with polling(bridge) as (session, url):
        async with asyncio.timeout(60):
            answers = await asyncio.gather(session.get(url), session.get(url))
        statuses = {answer.status for answer in answers}
        assert 400 in statuses <= {200, 400}
        for answer in answers:
            answer.release()
        async with session.get(url) as answer:
            assert answer.status == 400


async def test_a_poll_is_answered_when_its_client_closes(bridge):
    async with polling(bridge) as (session, url):
        poll = asyncio.create_task(session.get(url))
        await asyncio.sleep(0.1)
        async with session.post(url, data=b"1") as answer:
            assert answer.status == 200
        async with asyncio.timeout(60), await poll as answer:
            assert answer.status in (200, 400)
        async with session.get(url) as answer:
            assert answer.status == 400


async def test_a_session_is_upgraded_and_then_no_more_polled(bridge):
    async with polling(bridge) as (session, url):
        async with session.post(url, data=b"40") as answer:
            assert answer.status == 200
        async with session.get(url) as answer:
            assert (await answer.text()).startswith("40")
        async with session.ws_connect(url.replace("polling", "websocket")) as ws:
            await ws.send_str("2probe")
            assert await ws.receive_str(timeout=60) == "3probe"
            await ws.send_str("5")
            await ws.send_str('421["join_room",{"roomId":1}]')
            assert (await ws.receive_str(timeout=60)).startswith("431")
            async with session.get(url) as answer:
                assert answer.status == 400
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await session.ws_connect(url.replace("polling", "websocket"))
            await ws.send_str('422["join_room",{"roomId":1}]')
            assert (await ws.receive_str(timeout=60)).startswith("432")


async def test_the_heartbeat_ends_who_does_not_answer(script):
    async with running(script, ping_interval_s=0.2, ping_timeout_s=0.3) as bridge, websocket(bridge) as ws:
        await ws.send_str("40")
        heard = await closes(ws, within_s=60)
        assert "2" in heard


@pytest.mark.parametrize("packet", ["abc", "", "9", "1", "bAAAA"])
async def test_what_is_no_engine_io_packet_closes_the_websocket(bridge, caplog, packet):
    caplog.set_level(logging.DEBUG)
    async with websocket(bridge) as ws:
        await ws.send_str(packet)
        await closes(ws)
    await until_empty(bridge)
    assert "Traceback" not in caplog.text


# -- Socket.IO to the letter


@pytest.mark.parametrize("connect", ["40/random", "40/random,", "40/random?abc=123,", '40/random,{"a":1}'])
async def test_an_unknown_namespace_is_refused_by_name(bridge, connect):
    async with websocket(bridge) as ws:
        await ws.receive_str()
        await ws.send_str(connect)
        assert await ws.receive_str(timeout=60) == '44/random,{"message":"Invalid namespace"}'
        await ws.send_str("40")
        assert (await ws.receive_str(timeout=60)).startswith('40{"sid":')


@pytest.mark.parametrize(
    "packet",
    [
        "4abc",
        "42{}",
        "42[]",
        "42[",
        '42["disconnect"]',
        '42["connect",{}]',
        "42[null]",
        '42abc["join_room",1]',
        "429" + "[" * 50_000,
        "421" + "0" * 200 + '["join_room",{}]',
        '40["no object"]',
        "40",
        "43[1]",
        '44{"message":"x"}',
        '42/other,["join_room",{}]',
        "45",
        '450-["x"]',
        '4599-["x"]',
        '452-["x",{"_placeholder":true,"num":0}]|4x',
        b"\x00\x01",
        "47",
    ],
    ids=lambda packet: repr(packet)[:24],
)
async def test_what_is_no_socket_io_packet_closes_the_connection(bridge, caplog, packet):
    caplog.set_level(logging.DEBUG)
    async with websocket(bridge) as ws:
        await ws.send_str("40")
        if isinstance(packet, bytes):
            await ws.send_bytes(packet)
        else:
            for each in packet.split("|"):
                await ws.send_str(each)
        assert not any(text.startswith("42") for text in await closes(ws))
    await until_empty(bridge)
    assert "Traceback" not in caplog.text


async def test_an_event_before_the_connect_closes_the_connection(bridge):
    async with websocket(bridge) as ws:
        await ws.send_str('421["join_room",{"roomId":1}]')
        assert len(await closes(ws)) == 1


async def test_the_connect_is_answered_before_the_event_behind_it(bridge):
    async with websocket(bridge) as ws:
        await ws.send_str("40")
        await ws.send_str('421["join_room",{"roomId":1}]')
        kinds = [(await ws.receive_str(timeout=60))[:2] for _ in range(3)]
        assert kinds[1:] == ["40", "43"]


async def test_connects_again_and_again_close_the_connection(script):
    async with running(script, auth="closed") as bridge, websocket(bridge) as ws:
        for _ in range(6):
            await ws.send_str("40")
        heard = await closes(ws)
        assert [text[:2] for text in heard[1:]] == ["44"] * 5


async def test_attachments_are_refused_and_not_kept(bridge):
    async with websocket(bridge) as ws:
        await ws.send_str("40")
        await ws.receive_str()
        await ws.receive_str()
        await ws.send_str('451-7["send_message",{"_placeholder":true,"num":0}]')
        await ws.send_bytes(b"x" * 1_000_000)
        ack = await ws.receive_str(timeout=60)
        assert json.loads(ack[3:])[0]["error"]["code"] == "binary_refused"
        assert not bridge.sio._binary_packet


async def test_a_packet_that_is_too_large_closes_the_websocket(bridge):
    async with websocket(bridge) as ws:
        await ws.send_str("40")
        await ws.send_str("4" * 3_000_000)
        await closes(ws)
        assert ws.close_code == 1009
