"""The AI SDK itself, `useChat` in React from npm, over its stock transport and over ours."""

import asyncio
import contextlib
import json
import shutil
from pathlib import Path

import pytest
from door_clients import WebSocketClient
from door_laws import text_of
from loopback import Client, running

DEVICE = Path(__file__).resolve().parents[1] / "ai_sdk" / "device.js"

pytestmark = [pytest.mark.needs("node"), pytest.mark.needs("ai-sdk")]


class UseChat:
    """A component in a Node process of its own."""

    def __init__(self, process):
        self.process = process
        self.told = []

    async def until(self, seen):
        async with asyncio.timeout(60):
            while True:
                for line in self.told:
                    if seen(line):
                        return line
                self.told.append(json.loads(await self.process.stdout.readline()))

    async def shows(self, status, text):
        """Wait until the last message is an assistant's with ``text`` in this status; return the state."""
        return (await self.until(lambda line: _shows(line.get("shown"), status, text)))["shown"]

    def call(self, name, argument=None):
        self.process.stdin.write(json.dumps({"call": name, "with": argument}).encode() + b"\n")


@pytest.fixture(params=["http", "socket.io"])
def transport(request):
    return request.param


def _shows(shown, status, text):
    if shown is None or shown["status"] != status or not shown["messages"]:
        return False
    last = shown["messages"][-1]
    return last["role"] == "assistant" and _text(last) == text


def _text(message):
    return "".join(part["text"] for part in message["parts"] if part["type"] == "text")


@contextlib.asynccontextmanager
async def use_chat(address, **options):
    process = await asyncio.create_subprocess_exec(
        shutil.which("node"),
        str(DEVICE),
        address,
        json.dumps({"id": "room", **options}),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    chat = UseChat(process)
    try:
        await chat.until(lambda line: "shown" in line)
        yield chat
    finally:
        with contextlib.suppress(ConnectionError):
            process.stdin.write(b'{"close": true}\n')
        async with asyncio.timeout(60):
            await process.wait()


async def test_an_answer_grows_in_use_chat_and_on_every_device_of_the_room(bridge, script, transport):
    async with (
        Client(bridge.address, auth={"streaming": True}) as socket_io,
        WebSocketClient(bridge.address, auth={"streaming": True}) as plain,
        use_chat(bridge.address, transport=transport) as chat,
    ):
        for client in (socket_io, plain):
            await client.call("join_room", {"roomId": "room"})
        chat.call("sendMessage", {"text": "hi"})
        script.say("Hel")
        await chat.shows("streaming", "Hel")
        script.say("lo 🌞")
        script.finish()
        shown = await chat.shows("ready", "Hello 🌞")
        if transport == "http":
            named = await chat.until(lambda line: line.get("data", {}).get("type") == "data-conversation")
            assert named["data"]["data"] == {"conversationId": "room"}
        for client in (socket_io, plain):
            await client.until("ai_message_end")
            assert text_of(client.heard) == {shown["messages"][-1]["id"]: "Hello 🌞"}
        finished = await chat.until(lambda line: "finished" in line)
        assert finished["finished"] == {"isAbort": False, "isError": False, "finishReason": "stop"}


async def test_a_page_that_is_reloaded_goes_on(bridge, script, transport):
    async with use_chat(bridge.address, transport=transport) as first:
        first.call("sendMessage", {"text": "hi"})
        script.say("Hel")
        user = (await first.shows("streaming", "Hel"))["messages"][0]
    async with use_chat(bridge.address, transport=transport, resume=True, messages=[user]) as second:
        await second.shows("streaming", "Hel")
        script.say("lo")
        script.finish()
        shown = await second.shows("ready", "Hello")
        assert [message["role"] for message in shown["messages"]] == ["user", "assistant"]
    async with use_chat(
        bridge.address, transport=transport, resume=True, messages=[user]
    ) as third:  # nothing runs
        third.call("sendMessage", {"text": "more", "messageId": None})
        script.say("x")
        script.finish()
        await third.shows("ready", "x")


async def test_a_stop_that_is_said_stops_for_all_and_keeps_the_text(bridge, script):
    async with Client(bridge.address) as client, use_chat(bridge.address) as chat:
        await client.call("join_room", {"roomId": "room"})
        chat.call("sendMessage", {"text": "hi"})
        script.say("Hel")
        await chat.shows("streaming", "Hel")
        chat.call("post stop")
        await chat.shows("ready", "Hel")
        assert (await client.until("ai_message_end"))["finishReason"] == "cancelled"


async def test_the_sdks_own_stop_leaves_the_answer_to_the_others_and_it_can_be_resumed(bridge, script):
    async with Client(bridge.address) as client, use_chat(bridge.address) as chat:
        await client.call("join_room", {"roomId": "room"})
        chat.call("sendMessage", {"text": "hi"})
        script.say("Hel")
        await chat.shows("streaming", "Hel")
        chat.call("stop")
        await chat.shows("ready", "Hel")
        script.say("lo")
        await client.until("ai_message_chunk", 2)
        chat.call("resumeStream")
        await chat.shows("streaming", "Hello")
        script.finish()
        shown = await chat.shows("ready", "Hello")
        assert [message["role"] for message in shown["messages"]] == ["user", "assistant"]
        assert (await client.until("ai_message_end"))["finishReason"] == "stop"


async def test_the_turn_after_and_to_regenerate(bridge, script, transport):
    async with use_chat(bridge.address, transport=transport) as chat:
        for call, argument, text in (
            ("sendMessage", {"text": "hi"}, "one"),
            ("sendMessage", {"text": "more"}, "two"),
            ("regenerate", {}, "three"),
        ):
            script.say(text)
            script.finish()
            chat.call(call, argument)
            shown = await chat.shows("ready", text)
    assert [_text(message) for message in shown["messages"]] == ["hi", "one", "more", "three"]
    assert [asked["content"] for asked in script.requests] == ["hi", "more", "more"]


async def test_a_failure_is_the_hooks_error(bridge, script, transport):
    async with use_chat(bridge.address, transport=transport) as chat:
        chat.call("sendMessage", {"text": "hi"})
        script.say("Hel")
        await chat.shows("streaming", "Hel")
        script.steps.put_nowait({"type": "error", "errorText": "secret"})
        script.finish()
        shown = await chat.shows("error", "Hel")
        assert shown["error"].startswith("unable to")


async def test_a_refusal_is_the_hooks_error(script):
    async with running(script, max_content_bytes=5) as bridge, use_chat(bridge.address) as chat:
        chat.call("sendMessage", {"text": "much too long"})
        line = await chat.until(lambda line: line.get("shown", {}).get("status") == "error")
        assert json.loads(line["shown"]["error"])["error"]["code"] == "content_too_large"


async def test_a_node_that_goes_down_is_a_lost_connection_not_an_end(bridge, script):
    async with use_chat(bridge.address) as chat:
        chat.call("sendMessage", {"text": "hi"})
        script.say("Hel")
        await chat.shows("streaming", "Hel")
        await bridge._connections.end_all(spread_s=0.0, flush_s=0.3)
        await chat.shows("error", "Hel")


async def test_tools_and_thoughts_are_shown_as_parts(script, transport):
    async with (
        running(script, show_reasoning=True) as bridge,
        use_chat(bridge.address, transport=transport) as chat,
    ):
        chat.call("sendMessage", {"text": "hi"})
        script.steps.put_nowait({"type": "reasoning-delta", "id": "r", "delta": "hm"})
        for kind in ("tool-input-start", "tool-input-available", "tool-output-available"):
            script.steps.put_nowait({"type": kind, "toolCallId": "c", "toolName": "weather", "input": {}})
        script.say("Sunny")
        await chat.shows("streaming", "Sunny")
        async with use_chat(bridge.address, transport=transport, resume=True) as late:
            await late.shows("streaming", "Sunny")
            script.finish()
            shown = [await each.shows("ready", "Sunny") for each in (chat, late)]
    for state in shown:
        thought, tool, text = state["messages"][-1]["parts"]
        assert (thought["type"], thought["text"]) == ("reasoning", "hm")
        assert (tool["type"], tool["toolName"], tool["state"]) == (
            "dynamic-tool",
            "weather",
            "output-available",
        )
        assert text["state"] == "done"


async def test_flag_off_is_an_answer_in_one_piece(script, transport):
    async with (
        running(script, chat_streaming_enabled=False) as bridge,
        use_chat(bridge.address, transport=transport) as chat,
    ):
        chat.call("sendMessage", {"text": "hi"})
        await chat.shows("ready", "whole")


async def test_over_a_socket_the_sdks_own_stop_stops_for_all(bridge, script):
    async with Client(bridge.address) as client, use_chat(bridge.address, transport="socket.io") as chat:
        await client.call("join_room", {"roomId": "room"})
        chat.call("sendMessage", {"text": "hi"})
        script.say("Hel")
        await chat.shows("streaming", "Hel")
        chat.call("stop")
        await chat.shows("ready", "Hel")
        assert (await client.until("ai_message_end"))["finishReason"] == "cancelled"


async def test_over_a_socket_a_connection_that_is_lost_before_the_first_word_is_no_harm(bridge, script):
    async with Client(bridge.address) as client, use_chat(bridge.address, transport="socket.io") as chat:
        await client.call("join_room", {"roomId": "room"})
        chat.call("sendMessage", {"text": "hi"})
        await client.until("new_message")
        chat.call("drop connection")
        script.say("Hello")
        script.finish()
        await client.until("ai_message_end")
        await chat.shows("ready", "Hello")
    assert len(script.requests) == 1


async def test_over_a_socket_a_lost_connection_is_resumed_unseen(bridge, script):
    async with Client(bridge.address) as client, use_chat(bridge.address, transport="socket.io") as chat:
        await client.call("join_room", {"roomId": "room"})
        chat.call("sendMessage", {"text": "hi"})
        script.say("Hel")
        await chat.shows("streaming", "Hel")
        chat.call("drop connection")
        script.say("l")
        await client.until("ai_message_chunk", 2)
        await chat.shows("streaming", "Hell")
        script.say("o")
        script.finish()
        await chat.shows("ready", "Hello")
        assert not [line for line in chat.told if line.get("shown", {}).get("error")]
