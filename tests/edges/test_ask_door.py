"""One question over HTTP and its answer: /stream/ and /messages/."""

import asyncio

import aiohttp
import pytest
from door_clients import Sse
from loopback import Client, running

ASK = {"chat_id": "room", "content": "hi", "request_id": "r-1"}


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session


def said(stream, role):
    return [data["delta"] for data in stream.of("message") if data != "[DONE]" and data["role"] == role]


async def test_an_answer_streams_as_role_and_delta_and_the_room_hears_it(bridge, script):
    async with Client(bridge.address) as client:
        await client.call("join_room", {"roomId": "room"})
        async with Sse(f"{bridge.address}/stream/", json={**ASK, "lang": "de"}) as stream:
            assert (stream.status, stream.response.headers["Content-Type"]) == (200, "text/event-stream")
            script.say("Hel")
            await stream.until("message", 2)
            script.say("lo")
            script.finish()
            assert await stream.over()
        assert stream.of("message")[0] == {"role": "user", "delta": "hi"}
        assert stream.of("message")[-1] == "[DONE]"
        assert "".join(said(stream, "assistant")) == "Hello"
        assert (await client.until("ai_message_end"))["content"] == "Hello"
        assert script.requests[0]["lang"] == "de"


async def test_while_the_flag_is_off_it_points_to_the_complete_call(script, http):
    async with running(script, chat_streaming_enabled=False) as bridge:
        async with http.post(f"{bridge.address}/stream/", json=ASK) as answer:
            assert answer.status == 404
            assert (await answer.json())["error"]["code"] == "streaming_off"
            assert "/messages/" in answer.headers["Link"]
        assert not script.requests
        async with http.post(f"{bridge.address}/messages/", json=ASK) as answer:
            told = await answer.json()
        assert (answer.status, told["content"], told["mood"]) == (200, "whole", "good")
        assert told["id"] == told["messageId"] == "w-r-1"


async def test_the_complete_call_works_while_others_stream(bridge, script, http):
    async with Client(bridge.address, auth={"streaming": True}) as client:
        await client.call("join_room", {"roomId": "room"})
        script.say("Hel", "lo")
        script.finish()
        async with http.post(f"{bridge.address}/messages/", json=ASK) as answer:
            told = await answer.json()
        assert (told["role"], told["content"], told["finishReason"]) == ("assistant", "Hello", "stop")
        assert (await client.until("ai_message_end"))["content"] == "Hello"


async def test_a_repeat_attaches_to_the_answer(bridge, script, http):
    async with Sse(f"{bridge.address}/stream/", json=ASK) as first:
        script.say("Hel")
        await first.until("message", 2)
    script.say("lo")
    async with Sse(f"{bridge.address}/stream/", json=ASK) as second:
        script.finish()
        assert await second.over()
        assert said(second, "assistant") in (["Hel", "lo"], ["Hello"])
    async with http.post(f"{bridge.address}/messages/", json=ASK) as answer:
        assert (await answer.json())["content"] == "Hello"
    assert len(script.requests) == 1


async def test_an_error_is_an_error_event(bridge, script):
    async with Sse(f"{bridge.address}/stream/", json=ASK) as stream:
        script.say("Hel")
        script.steps.put_nowait({"type": "error", "errorText": "secret"})
        script.finish()
        assert await stream.over()
        assert stream.of("error")[0]["code"] == "backend_failed"
        assert stream.heard[-1] == ("message", "[DONE]")
        assert "secret" not in str(stream.heard)


async def test_a_failure_is_a_status_where_the_answer_is_complete(bridge, script, http):
    script.say("Hel")
    script.steps.put_nowait({"type": "error", "errorText": "secret"})
    script.finish()
    async with http.post(f"{bridge.address}/messages/", json=ASK) as answer:
        told = await answer.json()
    assert (answer.status, told["error"]["code"], told["message"]["content"]) == (
        502,
        "backend_failed",
        "Hel",
    )


async def test_a_backend_that_fails_unstreamed_is_told_at_once(script, http):
    script.url += "/nowhere"
    async with (
        asyncio.timeout(60),
        running(script, chat_streaming_enabled=False) as bridge,
        http.post(f"{bridge.address}/messages/", json=ASK) as answer,
    ):
        assert (answer.status, (await answer.json())["error"]["code"]) == (502, "backend_failed")


async def test_an_asker_that_leaves_does_not_end_the_answer(bridge, script):
    async with Client(bridge.address) as client:
        await client.call("join_room", {"roomId": "room"})
        async with Sse(f"{bridge.address}/stream/", json=ASK) as stream:
            script.say("Hel")
            await stream.until("message", 2)
        script.say("lo")
        script.finish()
        end = await client.until("ai_message_end")
        assert (end["content"], end["finishReason"]) == ("Hello", "stop")


async def test_a_stream_that_cannot_be_told_to_its_end_is_broken_off(bridge, script):
    async with Sse(f"{bridge.address}/stream/", json=ASK) as stream:
        script.say("Hel")
        await stream.until("message", 2)
        await bridge._connections.end_all(spread_s=0.0, flush_s=0.3)
        assert not await stream.over()
        assert "[DONE]" not in stream.of("message")


async def test_who_waits_for_the_complete_message_of_a_node_that_goes_down_may_ask_again(
    bridge, script, http
):
    asked = asyncio.create_task(http.post(f"{bridge.address}/messages/", json=ASK))
    async with asyncio.timeout(60):
        while not script.requests:
            await asyncio.sleep(0.01)
    await bridge._connections.end_all(spread_s=0.0, flush_s=0.3)
    async with await asked as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert (await answer.json())["error"]["code"] == "draining"
    script.finish()


@pytest.mark.parametrize("path", ["/stream/", "/messages/"])
@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"content": "x"}, 400, "missing_field"),
        ({"chat_id": "a b", "content": "x"}, 400, "bad_id"),
        ({"chat_id": 1, "content": " "}, 400, "empty_content"),
        ({"chat_id": 1, "content": "x" * 40_000}, 413, "content_too_large"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_what_cannot_be_asked_is_refused(bridge, script, http, path, body, status, code):
    async with http.post(bridge.address + path, json=body) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (status, code)
    assert not script.requests


async def test_a_form_of_another_site_is_refused(bridge, http):
    async with http.post(f"{bridge.address}/messages/", data='{"chat_id": 1, "content": "x"}') as answer:
        assert answer.status == 415


async def test_a_busy_room_says_when_to_come_again(script, http):
    async with (
        running(script, turns_per_room=1) as bridge,
        Sse(f"{bridge.address}/stream/", json=ASK) as stream,
    ):
        script.say("a")
        await stream.until("message", 2)
        async with http.post(f"{bridge.address}/messages/", json={**ASK, "request_id": "r-2"}) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
