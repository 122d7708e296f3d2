"""The AI SDK's door, frame by frame; tests/ai_sdk has the SDK itself against it."""

import asyncio
import json

import aiohttp
import pytest
from door_clients import Sse
from loopback import Client, running

USER = {"id": "u-1", "role": "user", "parts": [{"type": "text", "text": "hi"}]}
CHAT = {"id": "room", "messages": [USER], "trigger": "submit-message"}


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session


def parts(stream, *kinds):
    told = [data for data in stream.of("message") if data != "[DONE]"]
    return [part for part in told if not kinds or part["type"] in kinds]


def text(stream):
    return "".join(part["delta"] for part in parts(stream, "text-delta"))


async def in_rooms(bridge, http, devices):
    """Wait until so many devices are in a room."""
    while True:
        async with http.get(f"{bridge.address}/metrics") as answer:
            if f"\nbridge_devices {devices}.0\n" in await answer.text():
                return
        await asyncio.sleep(0.02)


async def test_a_new_conversation_is_named_and_its_answer_streams(bridge, script):
    async with Sse(
        f"{bridge.address}/api/chat", json={"messages": [{"role": "user", "content": "hi"}]}
    ) as stream:
        assert stream.response.headers["x-vercel-ai-ui-message-stream"] == "v1"
        named = await stream.until("message")
        room = named["data"]["conversationId"]
        assert (named["type"], named["transient"]) == ("data-conversation", True)
        async with Client(bridge.address) as client:
            await client.call("join_room", {"roomId": room})
            script.say("Hel", "lo")
            script.finish()
            assert await stream.over()
            assert (await client.until("ai_message_end"))["content"] == "Hello"
    kinds = [part["type"] for part in parts(stream)]
    assert kinds[:3] == ["data-conversation", "data-question", "data-status"]
    assert [kind for kind in kinds[3:] if kind != "text-delta"] == [
        "start",
        "text-start",
        "text-end",
        "finish",
    ]
    assert parts(stream, "start")[0]["messageId"].startswith("m-")
    assert (text(stream), stream.of("message")[-1]) == ("Hello", "[DONE]")


async def test_what_is_posted_again_makes_no_second_answer(bridge, script):
    async with Sse(f"{bridge.address}/api/chat", json=CHAT) as first:
        script.say("Hel")
        await first.until("message", 4)
    script.say("lo")
    script.finish()
    async with Sse(f"{bridge.address}/api/chat/room", json=CHAT) as second:
        assert await second.over()
        assert text(second) == "Hello"
        assert not parts(second, "data-conversation")
    assert [asked["requestId"] for asked in script.requests] == ["u-1"]


async def test_to_regenerate_is_to_ask_anew(bridge, script):
    for trigger in ("submit-message", "regenerate-message"):
        script.say(trigger)
        script.finish()
        async with Sse(
            f"{bridge.address}/api/chat", json={**CHAT, "trigger": trigger, "model": "m"}
        ) as stream:
            assert await stream.over()
            assert text(stream) == trigger
    assert len(script.requests) == 2
    assert script.requests[1]["model"] == "m"


async def test_a_running_answer_is_found_again_and_what_does_not_run_is_204(bridge, script, http):
    async with Sse(f"{bridge.address}/api/chat", json=CHAT) as first:
        script.say("Hel")
        await first.until("message", 5)
    async with Sse(f"{bridge.address}/api/chat/room/stream") as again:
        script.say("lo")
        script.finish()
        assert await again.over()
        assert text(again) == "Hello"
        assert parts(again)[0]["type"] in ("start", "data-status")
    for room in ("room", "nobody"):
        async with http.get(f"{bridge.address}/api/chat/{room}/stream") as answer:
            assert answer.status == 204


async def test_who_waits_is_told_the_question_and_the_answer_of_another_device(bridge, script, http):
    waiting = asyncio.create_task(http.get(f"{bridge.address}/api/chat/room/stream?wait_s=25"))
    await in_rooms(bridge, http, 1)
    async with Client(bridge.address) as client:
        await client.call("join_room", {"roomId": "room"})
        script.say("Hello")
        script.finish()
        await client.call("send_message", {"roomId": "room", "content": "hi", "requestId": "r-1"})
        await client.until("ai_message_end")  # it is over before the waiting request is answered, or not
    async with await waiting as answer:
        said = [
            json.loads(line[6:]) for line in (await answer.text()).split("\n") if line.startswith("data: {")
        ]
    question = next(part for part in said if part["type"] == "data-question")
    assert (question["transient"], question["data"]["requestId"]) == (True, "r-1")
    assert (question["data"]["role"], question["data"]["content"]) == ("user", "hi")
    assert "".join(part["delta"] for part in said if part["type"] == "text-delta") == "Hello"
    assert said[-1]["type"] == "finish"


async def test_who_waits_in_vain_is_told_that_nothing_runs(bridge, http):
    async with http.get(f"{bridge.address}/api/chat/room/stream?wait_s=0.01") as answer:
        assert answer.status == 204


async def test_a_waiting_client_that_leaves_keeps_no_place(bridge, http):
    waiting = asyncio.create_task(http.get(f"{bridge.address}/api/chat/room/stream?wait_s=25"))
    await in_rooms(bridge, http, 1)
    waiting.cancel()
    await in_rooms(bridge, http, 0)


@pytest.mark.parametrize("wait_s", ["25.1", "-1", "nan", "inf", "soon", ""])
async def test_a_wait_without_bounds_is_refused(bridge, http, wait_s):
    async with http.get(f"{bridge.address}/api/chat/room/stream?wait_s={wait_s}") as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (400, "bad_field")


async def test_stop_ends_the_answer_for_all(bridge, script, http):
    async with Sse(f"{bridge.address}/api/chat", json=CHAT) as stream, Client(bridge.address) as client:
        await client.call("join_room", {"roomId": "room"})
        script.say("Hel")
        await client.until("ai_message_chunk")
        async with http.post(f"{bridge.address}/api/chat/room/stop") as answer:
            assert await answer.json() == {"ok": True, "stopped": ["u-1"]}
        assert await stream.over()
        assert parts(stream)[-1]["type"] == "abort"
        assert (await client.until("ai_message_end"))["finishReason"] == "cancelled"


async def test_tools_and_reasoning_are_parts(script):
    async with running(script, show_reasoning=True) as bridge:
        script.steps.put_nowait({"type": "reasoning-delta", "id": "r", "delta": "hm"})
        for kind in ("tool-input-start", "tool-input-available", "tool-output-available"):
            script.steps.put_nowait({"type": kind, "toolCallId": "c", "toolName": "weather", "input": {}})
        script.say("Sunny")
        script.finish()
        async with Sse(f"{bridge.address}/api/chat", json=CHAT) as stream:
            assert await stream.over()
    kinds = [part["type"] for part in parts(stream) if not part["type"].startswith("data-")]
    assert kinds == [
        "start",
        "reasoning-start",
        "reasoning-delta",
        "reasoning-end",
        "tool-input-start",
        "tool-input-available",
        "tool-output-available",
        "text-start",
        "text-delta",
        "text-end",
        "finish",
    ]


async def test_flag_off_and_failures_are_streams_too(script):
    async with (
        running(script, chat_streaming_enabled=False) as bridge,
        Sse(f"{bridge.address}/api/chat", json=CHAT) as stream,
    ):
        assert await stream.over()
        assert (text(stream), parts(stream)[-1]["messageMetadata"]) == ("whole", {"mood": "good"})
    script.url += "/nowhere"
    for streaming in (True, False):
        async with (
            running(script, chat_streaming_enabled=streaming) as bridge,
            Sse(f"{bridge.address}/api/chat", json=CHAT) as stream,
        ):
            assert await stream.over()
            assert [part["type"] for part in parts(stream)][-2:] == ["error", "finish"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "missing_field"),
        ({"messages": []}, "missing_field"),
        ({"messages": "hi"}, "missing_field"),
        ({"messages": [{"role": "user", "parts": [{"type": "file"}]}]}, "empty_content"),
        ({"messages": [USER], "id": {}}, "bad_field"),
        ({"messages": [USER], "id": "a b"}, "bad_id"),
        ({"messages": [{**USER, "parts": {}}]}, "missing_field"),
    ],
    ids=str,
)
async def test_what_cannot_be_asked_is_refused(bridge, http, body, code):
    async with http.post(f"{bridge.address}/api/chat", json=body) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (400, code)
