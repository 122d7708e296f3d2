"""The plain WebSocket door through real sockets."""

import asyncio
import json

import aiohttp
import pytest
from door_clients import WebSocketClient
from door_laws import text_of
from loopback import Client, running

IDS = {"requestId": "r-1", "roomId": 42}


async def send(client, content="hi", **extra):
    return await client.call("send_message", {**IDS, "content": content, **extra})


async def test_the_names_and_the_data_are_those_of_socket_io(bridge, script):
    async with WebSocketClient(bridge.address) as plain, Client(bridge.address) as socket_io:
        assert await plain.call("join_room", {"roomId": 42}) == {"ok": True, "roomId": 42, "active": []}
        await socket_io.call("join_room", {"roomId": 42})
        assert await send(plain, lang="de") == {"ok": True, "requestId": "r-1"}
        script.say("Hel")
        await plain.until("ai_message_chunk")
        script.say("lo 🌞")
        script.finish()
        for client in (plain, socket_io):
            await client.until("new_message", 2)
    assert plain.heard == socket_io.heard
    assert text_of(plain.heard) == {"m-r-1": "Hello 🌞"}
    assert script.requests[0]["lang"] == "de"


async def test_a_device_that_comes_back_resumes(bridge, script):
    async with WebSocketClient(bridge.address) as first:
        await first.call("join_room", {"roomId": 42})
        await send(first)
        script.say("a")
        await first.until("ai_message_chunk")
        await first.drop()
    script.say("b", "c")
    async with WebSocketClient(bridge.address) as second:
        joined = await second.call("join_room", {"roomId": 42, "resume": {"m-r-1": 1, "gone": 3}})
        assert joined["lost"] == ["gone"]
        script.finish()
        assert (await second.until("ai_message_end"))["content"] == "abc"
    assert "".join(chunk["delta"] for chunk in second.of("ai_message_chunk")) == "bc"
    assert not second.of("ai_message_start")


async def test_stop_and_resume_are_acked(bridge, script):
    async with WebSocketClient(bridge.address) as client:
        await client.call("join_room", {"roomId": 42})
        await send(client)
        script.say("Hel")
        await client.until("ai_message_chunk")
        resumed = await client.call("resume", {"roomId": 42, "messageId": "m-r-1", "seq": 1})
        assert resumed == {"ok": True, "recovered": True, "seq": 1}
        assert await client.call("stop_message", {"roomId": 42, "messageId": "m-r-1"}) == {"ok": True}
        assert (await client.until("ai_message_end"))["finishReason"] == "cancelled"
        assert await client.call("leave_room", {"roomId": 42}) == {"ok": True}


async def test_what_the_first_frame_says_decides_what_is_heard(bridge, script):
    async with (
        WebSocketClient(bridge.address, auth={"streaming": True}) as streaming,
        WebSocketClient(bridge.address, auth={"streaming": False}) as legacy,
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


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("nonsense", "not_an_object"),
        ("[" * 100_000, "not_an_object"),
        ("9" * 5000, "not_an_object"),
        ("[1]", "not_an_object"),
        ({"data": {}}, "missing_field"),
        ({"event": "join_room", "ack": {"deep": 1}}, "bad_id"),
        ({"event": "join_room", "ack": "\ud800"}, "bad_id"),
        ({"event": "no_such"}, "unknown_event"),
        ({"event": "join_room", "data": {"roomId": "a b"}}, "bad_id"),
        ({"event": "send_message", "data": {"roomId": 7, "content": "x"}}, "not_joined"),
        ({"event": "auth", "data": {"streaming": "yes"}}, "bad_auth"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_what_cannot_be_taken_is_told_and_the_connection_lives(bridge, frame, code):
    async with WebSocketClient(bridge.address) as client:
        await client.say(frame)
        assert (await client.until("error"))["code"] == code
        assert (await client.call("join_room", {"roomId": 42}))["ok"]


async def test_binary_is_refused(bridge):
    async with WebSocketClient(bridge.address) as client:
        await client.ws.send_bytes(b'{"event":"ping"}')
        assert (await client.until("error"))["code"] == "binary_refused"


async def test_auth_that_comes_late_is_refused(bridge):
    async with WebSocketClient(bridge.address) as client:
        await client.call("join_room", {"roomId": 42})
        assert (await client.call("auth", {"streaming": True}))["error"]["code"] == "bad_auth"


async def test_a_page_of_another_site_may_not_connect_unless_it_is_named(script):
    async with running(script, origins=("https://chat.example",)) as bridge:
        async with WebSocketClient(bridge.address, origin="https://chat.example") as client:
            assert (await client.call("ping"))["ok"]
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await WebSocketClient(bridge.address, origin="https://evil.example").__aenter__()
        assert refused.value.status == 403


async def test_a_quiet_way_is_shown_to_be_open_and_a_dead_one_is_closed(script):
    async with (
        running(script, ping_interval_s=0.1, ping_timeout_s=60) as bridge,
        WebSocketClient(bridge.address) as client,
    ):
        await client.until("ping", 25)
        assert not client.ws.closed
    async with (
        running(script, ping_interval_s=0.1, ping_timeout_s=0.5) as bridge,
        WebSocketClient(bridge.address, autoping=False) as mute,  # no pong ever
    ):
        await asyncio.wait_for(asyncio.shield(mute.reader), 60)
        assert mute.ws.closed


async def test_at_the_end_of_the_process_the_devices_are_sent_away(script):
    async with running(script) as bridge, WebSocketClient(bridge.address) as client:
        await client.call("join_room", {"roomId": 42})
        await bridge.stop()
        await asyncio.wait_for(asyncio.shield(client.reader), 60)
        assert client.ws.close_code == aiohttp.WSCloseCode.GOING_AWAY


async def test_a_hundred_users_lose_nothing(script):
    async with running(script, turns_per_room=1) as bridge:
        clients = [WebSocketClient(bridge.address, auth={"streaming": True}) for _ in range(100)]
        for client in clients:
            await client.__aenter__()
        for room, client in enumerate(clients):
            await client.call("join_room", {"roomId": room})
        await asyncio.gather(
            *(
                client.call("send_message", {"roomId": room, "content": "hi", "requestId": f"r-{room}"})
                for room, client in enumerate(clients)
            )
        )
        for number in range(2000):  # whoever is next takes the step
            script.say(f"{number} ")
        for _ in clients:
            script.finish()
        async with asyncio.timeout(60):
            for client in clients:
                await client.until("ai_message_end")
        texts = [text_of(client.heard) for client in clients]
        for client in clients:
            await client.__aexit__()
    told = sorted(int(word) for text in texts for answer in text.values() for word in answer.split())
    assert told == list(range(2000))
    assert json.dumps(texts).count("m-r-") == 100
