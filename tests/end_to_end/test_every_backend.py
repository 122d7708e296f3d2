"""Every profile x flag x story, through a real socket.io-client: the same story makes the same messages."""

import asyncio
from dataclasses import dataclass

import pytest
from end_to_end_apps import backend_at, running
from socket_io_device import node_device

from backend_stub.model import Pace

TOKENS, FAILS_AFTER = 12, 5
PROMPTS = {"text": "Hello 안녕", "tool": "the weather in Seoul?", "error": "Hello", "cut": "Hello"}
FAULTS = {"error": f"error;after={FAILS_AFTER};on=both", "cut": f"cut;after={FAILS_AFTER};times=1"}


@dataclass(frozen=True)
class Case:
    """What a backend is able to do."""

    tool: tuple[str, ...] = ()
    tool_finish: str = "stop"
    mends_cuts: bool = False
    gathers: bool = False
    completes_failures: bool = False
    """Its complete call gives what there is of an answer that failed."""


PROVIDER = Case(tool=("start", "call"), tool_finish="tool-calls")
PROFILES = {
    "default": Case(tool=("start", "call", "result"), completes_failures=True),
    "reference": Case(tool=("start", "call", "result"), completes_failures=True, mends_cuts=True),
    "use_chat": Case(tool=("start", "call", "result")),
    "fastapi": Case(),
    "conversations": Case(gathers=True),
    "trpc": Case(tool=("start", "result")),
    "openai_chat": PROVIDER,
    "openai_responses": PROVIDER,
    "anthropic": PROVIDER,
}

pytestmark = [pytest.mark.needs("node"), pytest.mark.needs("socket.io-client")]


@pytest.fixture
async def backend(tmp_path):
    async with backend_at(tmp_path, Pace(TOKENS, 500, 0.01)) as backend:
        yield backend


async def told(app, device, story):
    """Ask; return what the device heard of it, once nothing runs any more."""
    ack = await device.call("send_message", {"roomId": "r", "content": PROMPTS[story], "requestId": story})
    assert ack["ok"], ack
    async with asyncio.timeout(60):
        while app.relay.running:
            await asyncio.sleep(0.01)
    await device.call("leave_room", {"roomId": "elsewhere"})  # its ack comes behind all that was heard
    return Heard([line for line in device.said if line.get("data", {}).get("requestId") == story])


class Heard:
    """What a device heard of one request."""

    def __init__(self, lines):
        self.lines = lines
        self.seq = [chunk["seq"] for chunk in self.of("ai_message_chunk")]
        self.text = "".join(chunk["delta"] for chunk in self.of("ai_message_chunk"))
        self.answers = [data for data in self.of("new_message") if data["role"] == "assistant"]

    def of(self, name):
        return [line["data"] for line in self.lines if line.get("event") == name]

    @property
    def end(self):
        (end,) = self.of("ai_message_end")
        return end


def streamed(heard):
    """Check what holds for every streamed turn; return the finish reason and the error code."""
    assert heard.seq == list(range(1, len(heard.seq) + 1))
    assert len(heard.of("ai_message_start")) == 1
    assert heard.text == heard.end["content"]
    assert [answer["content"] for answer in heard.answers] == [heard.text]
    names = {data["messageId"] for data in [*heard.of("ai_message_chunk"), heard.end, *heard.answers]}
    assert len(names) == 1
    return heard.end["finishReason"], heard.end.get("error", {}).get("code")


@pytest.mark.parametrize("name", PROFILES)
async def test_with_the_flag_on(backend, name):
    case = PROFILES[name]
    async with (
        running(backend.url, name) as app,
        node_device(app.address, transports=["websocket"]) as device,
    ):
        await device.call("join_room", {"roomId": "r"})
        text = await told(app, device, "text")
        assert streamed(text) == ("stop", None)
        assert "안녕" in text.text
        assert text.seq
        if name == "conversations":
            assert text.end["conversationId"] == text.answers[0]["conversationId"]

        tool = await told(app, device, "tool")
        assert streamed(tool) == ((case.tool_finish if case.tool else "stop"), None)
        assert tuple(data["state"] for data in tool.of("ai_message_tool")) == case.tool
        assert all(data["name"] == "get_weather" for data in tool.of("ai_message_tool"))
        assert ("tool_calling" in [data["status"] for data in tool.of("ai_message_status")]) == bool(
            case.tool
        )

        backend.fault = FAULTS["error"]
        error = await told(app, device, "error")
        assert streamed(error) == ("error", "backend_failed")
        assert error.text

        backend.fault = FAULTS["cut"]
        cut = await told(app, device, "cut")
        assert streamed(cut) == (("stop", None) if case.mends_cuts else ("interrupted", "backend_cut"))
        assert cut.text.startswith("[call ")


@pytest.mark.parametrize("name", PROFILES)
async def test_with_the_flag_off(backend, name):
    case = PROFILES[name]
    async with (
        running(backend.url, name, chat_streaming_enabled=False) as app,
        node_device(app.address, transports=["websocket"]) as device,
    ):
        await device.call("join_room", {"roomId": "r"})
        for story in PROMPTS:
            backend.fault = FAULTS.get(story, "none")
            heard = await told(app, device, story)
            assert not [line for line in heard.lines if line.get("event", "").startswith("ai_")]
            whole = {"error": case.completes_failures, "cut": not case.gathers}.get(story, True)
            assert len(heard.answers) == whole, story
            assert not whole or heard.answers[0]["content"].startswith("[call "), story
