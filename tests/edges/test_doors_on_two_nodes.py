"""The doors of two nodes that share a Redis: whoever leaves by one comes back by the other."""

import aiohttp
import pytest
from door_clients import Room, Sse, WebSocketClient
from door_laws import text_of
from loopback import running
from redis_server import redis_server

pytestmark = pytest.mark.needs("redis-server")
CHAT = {"id": "room", "messages": [{"id": "r-1", "role": "user", "parts": [{"type": "text", "text": "hi"}]}]}


@pytest.fixture
async def nodes(script, tmp_path):
    with redis_server(tmp_path) as redis:
        async with running(script, redis_url=redis.url) as one, running(script, redis_url=redis.url) as two:
            yield one, two


def text(stream):
    parts = [data for data in stream.of("message") if data != "[DONE]"]
    return "".join(part["delta"] for part in parts if part["type"] == "text-delta")


async def test_an_event_source_changes_the_node_at_every_event(nodes, script):
    one, two = nodes
    async with WebSocketClient(one.address, {"streaming": True}) as asker:
        await asker.call("join_room", {"roomId": "room"})
        heard, last = [], None
        async with Room(two.address, "room", query="?streaming=true") as source:
            await asker.call("send_message", {"roomId": "room", "content": "hi", "requestId": "r-1"})
            await source.until("ai_message_start")
            heard, last = heard + source.heard, source.ids[-1]
        for number in range(1, 7):
            script.say(f"{number} ")
            node = nodes[number % 2]
            async with Room(node.address, "room", last, "?streaming=true") as source:
                await source.until("ai_message_chunk")
                heard, last = heard + source.heard, source.ids[-1]
        script.say("7")
        script.finish()
        await asker.until("ai_message_end")
        async with Room(two.address, "room", last, "?streaming=true") as source:
            await source.until("ai_message_end")
        assert text_of(heard + source.heard) == text_of(asker.heard) == {"m-r-1": "1 2 3 4 5 6 7"}


async def test_an_answer_asked_at_one_node_is_found_repeated_and_stopped_at_the_other(nodes, script):
    one, two = nodes
    async with Sse(f"{one.address}/api/chat", json=CHAT) as asked, aiohttp.ClientSession() as session:
        script.say("Hel")
        await asked.until("message", 4)
        async with (
            Sse(f"{two.address}/api/chat/room/stream") as found,
            Sse(f"{two.address}/api/chat", json=CHAT) as repeated,
        ):
            script.say("lo")
            for stream in (asked, found, repeated):
                await stream.until("message", 4)
            async with session.post(f"{two.address}/api/chat/room/stop") as answer:
                assert (await answer.json())["stopped"] == ["r-1"]
            for stream in (asked, found, repeated):
                assert await stream.over()
                assert text(stream) in ("Hel", "Hello")
                assert stream.of("message")[-2]["type"] == "abort"
            assert text(found) == text(repeated) == text(asked)
    assert len(script.requests) == 1


async def test_when_a_node_goes_down_its_devices_go_on_at_the_other(nodes, script):
    one, two = nodes
    async with (
        WebSocketClient(two.address, {"streaming": True}) as witness,
        Room(one.address, "room", query="?streaming=true") as source,
        Sse(f"{one.address}/api/chat", json=CHAT) as asked,
    ):
        await witness.call("join_room", {"roomId": "room"})
        script.say("Hel")
        await source.until("ai_message_chunk")
        await one.stop()
        assert await source.over()
        assert not await asked.over()
        async with Room(two.address, "room", source.ids[-1], "?streaming=true") as again:
            end = await again.until("ai_message_end")
            await witness.until("ai_message_end")
        assert text_of(source.heard + again.heard) == text_of(witness.heard) == {"m-r-1": end["content"]}
