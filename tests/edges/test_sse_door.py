"""The door for an EventSource through real sockets."""

import asyncio
import io

import aiohttp
import pytest
from door_clients import Room
from door_laws import text_of
from loopback import Client, running

IDS = {"requestId": "r-1", "roomId": "room"}


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session


async def joined(client, room="room"):
    assert (await client.call("join_room", {"roomId": room}))["ok"]


async def test_an_event_source_is_a_device_of_the_room(bridge, script):
    async with Client(bridge.address) as client, Room(bridge.address, "room") as source:
        await joined(client)
        assert (source.status, source.response.headers["Content-Type"]) == (200, "text/event-stream")
        await client.call("send_message", {**IDS, "content": "hi"})
        script.say("Hel")
        await source.until("ai_message_chunk")
        script.say("lo 🌞\u2028")
        script.finish()
        for each in (client, source):
            await each.until("new_message", 2)
        assert source.heard == client.heard
        assert 500 <= source.retry_ms < 1500
        assert source.ids[-3:] == ["m-r-1=2", "m-r-1=e", "m-r-1=x"]


async def test_it_goes_on_behind_any_event(bridge, script):
    async with Client(bridge.address) as client, Room(bridge.address, "room") as source:
        await joined(client)
        await client.call("send_message", {**IDS, "content": "hi"})
        for number in range(1, 6):
            script.say(f"{number} ")
            await source.until("ai_message_chunk", number)
        script.finish()
        await source.until("new_message", 2)
        heard, ids = list(source.heard), list(source.ids)
        for at in range(2, len(ids)):
            async with Room(bridge.address, "room", ids[at]) as again:
                if at < len(ids) - 1:
                    await again.until("new_message")
                else:
                    await client.call("join_room", {"roomId": "room"})
            whole = [each for each in heard[: at + 1] + again.heard if each[0] != "ai_message_status"]
            assert text_of(whole) == {"m-r-1": "1 2 3 4 5 "}
            assert [name for name, _ in whole].count("new_message") == 2


async def test_it_goes_on_in_the_middle_of_an_answer(bridge, script):
    async with Client(bridge.address) as client:
        await joined(client)
        async with Room(bridge.address, "room", query="?streaming=true") as source:
            await client.call("send_message", {**IDS, "content": "hi"})
            script.say("a")
            await source.until("ai_message_chunk")
        script.say("b", "c")
        await client.until("ai_message_chunk", 2)
        async with Room(bridge.address, "room", source.ids[-1], "?streaming=true") as again:
            script.finish()
            await again.until("ai_message_end")
        assert text_of(source.heard + again.heard) == {"m-r-1": "abc"}
        assert not again.answers()


async def test_a_message_that_nobody_knows_any_more_is_an_error_event(bridge):
    async with Room(bridge.address, "room", "gone=3") as source:
        error = await source.until("error")
        assert (error["code"], error["lost"]) == ("unknown_message", ["gone"])


async def test_a_room_named_by_a_number_is_heard_under_either_type(bridge):
    async with Client(bridge.address) as client, Room(bridge.address, "42") as source:
        for room in (42, "42"):
            await joined(client, room)
            await client.call("send_message", {"roomId": room, "content": str(room), "requestId": "r"})
        await source.until("new_message", 2)
        assert [data["roomId"] for data in source.of("new_message")] == [42, "42"]


async def test_what_it_wants_to_say_is_posted(bridge, script, http):
    url = f"{bridge.address}/chat/events"
    async with Room(bridge.address, "room") as source:
        say = {"event": "send_message", "data": {**IDS, "content": "hi"}}
        async with http.post(url, json=say) as answer:
            assert (answer.status, await answer.json()) == (200, {"ok": True, "requestId": "r-1"})
        script.say("Hel")
        await source.until("ai_message_chunk")
        stop = {"event": "stop_message", "data": IDS}
        async with http.post(url, json=stop) as answer:
            assert (answer.status, await answer.json()) == (200, {"ok": True})
        assert (await source.until("ai_message_end"))["finishReason"] == "cancelled"
        async with http.post(url, json={**say, "data": {**IDS, "content": "other"}}) as answer:
            assert (answer.status, (await answer.json())["error"]["code"]) == (409, "request_id_conflict")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "not_an_object"),
        (b"[]", "not_an_object"),
        (b'{"event": "join_room", "data": {"roomId": 1}}', "unknown_event"),
        (b'{"event": ["send_message"]}', "unknown_event"),
        (b'{"event": "send_message"}', "not_an_object"),
        (b'{"event": "send_message", "data": {"roomId": 1}}', "missing_field"),
        (b"x" * 3_000_000, "content_too_large"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_what_cannot_be_taken_is_refused_with_a_code(bridge, http, body, code):
    headers = {"Content-Type": "application/json"}
    async with http.post(f"{bridge.address}/chat/events", data=io.BytesIO(body), headers=headers) as answer:
        assert (await answer.json())["error"]["code"] == code
        assert answer.status >= 400


@pytest.mark.parametrize(("path", "code"), [("a%20b", "bad_id"), ("room?streaming=maybe", "bad_auth")])
async def test_a_stream_that_cannot_be_is_refused(bridge, http, path, code):
    path = path.replace("?", "/stream?") if "?" in path else f"{path}/stream"
    async with http.get(f"{bridge.address}/chat/rooms/{path}") as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (400, code)


async def test_a_page_of_another_site_may_read_if_it_is_named(script, http):
    async with running(script, origins=("https://chat.example",)) as bridge:
        url, good = f"{bridge.address}/chat/events", {"Origin": "https://chat.example"}
        async with http.options(url, headers=good) as answer:
            assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (204, good["Origin"])
        async with http.post(url, json={}, headers=good) as answer:
            assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (400, good["Origin"])
        stream, evil = f"{bridge.address}/chat/rooms/1/stream", {"Origin": "https://evil.example"}
        for call in (http.options(url, headers=evil), http.get(stream, headers=evil)):
            async with call as answer:
                assert answer.status == 403


async def test_at_the_end_of_the_process_a_stream_ends_cleanly_and_late_ones_are_sent_on(script):
    async with running(script) as bridge, Room(bridge.address, "room") as source:
        await bridge._connections.end_all(spread_s=0.0, flush_s=0.3)
        assert await source.over()
        async with Room(bridge.address, "room") as late:
            assert await late.over()
        assert late.retry_ms
        async with asyncio.timeout(60):
            await bridge.stop()
