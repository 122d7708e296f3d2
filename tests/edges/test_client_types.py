"""The types of the client module: TypeScript holds what the bridge says, and how a page uses it, to them."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from bridge.errors import FinishReason
from bridge.messages import (
    MessageChunk,
    MessageEnd,
    MessageReasoning,
    MessageStart,
    MessageStatus,
    MessageTool,
    NewMessage,
    event_name,
    payload,
)

ROOT = Path(__file__).resolve().parents[2]
WEB = ROOT / "bridge" / "web"
TSC = ROOT / "tests" / "ai_sdk" / "node_modules" / "typescript" / "bin" / "tsc"
IDS = ("r", 42, "m")
SAID = [
    NewMessage(*IDS, "user", "hi", "2026-01-01T00:00:00.000Z"),
    NewMessage(*IDS, "assistant", "hi", "2026-01-01T00:00:00.000Z", {"mood": "good"}),
    MessageStart(*IDS),
    MessageChunk(*IDS, 1, "a"),
    MessageChunk(*IDS, 3, "bc", 2),
    MessageReasoning(*IDS, "hm"),
    MessageStatus("r", 42, None, "thinking"),
    MessageStatus(*IDS, "building"),
    *(MessageTool(*IDS, "t", "weather", state) for state in ("start", "call")),
    *(MessageTool(*IDS, "t", "weather", state, True, "j") for state in ("result", "error")),
    *(MessageEnd(*IDS, "abc", reason) for reason in FinishReason.__args__),
    MessageEnd(*IDS, "abc", "error", ("backend_failed", "unable to"), "c"),
]
PAGE = """
const auth = async () => ({ streaming: true, token: "t" });
const rooms = new Rooms(connect({ addresses: location.origin, auth }));
const room = rooms.get("42");
room.onerror = ({ code, message }) => console.log(code, message);
const draw = () => room.getSnapshot().messages.map(({ key, text }) => [key, text]);
const deaf: () => void = room.subscribe(draw);
const requestId: string = room.send("hi");
room.retry(requestId);
room.stop();
"""

pytestmark = [pytest.mark.needs("node"), pytest.mark.needs("ai-sdk")]


async def checked(folder, code):
    """Return what TypeScript finds wrong with ``code``, which may import from the client module."""
    file = folder / "page.mts"
    imports = f'import {{ connect, Rooms, type RoomEvents }} from "{WEB / "client.js"}";\n'
    file.write_text(imports + code, "utf-8")
    options = ["--noEmit", "--strict", "--target", "es2022", "--module", "nodenext"]
    process = await asyncio.create_subprocess_exec(
        shutil.which("node"), str(TSC), *options, str(file), stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(120):
        said, _ = await process.communicate()
    return said.decode()


def heard(event, data):
    return f'((_: RoomEvents["{event}"]) => {{}})({json.dumps(data)});\n'


async def test_what_the_bridge_says_is_of_these_types_and_a_page_can_use_them(tmp_path):
    said = "".join(heard(event_name(message), payload(message)) for message in SAID)
    assert await checked(tmp_path, said + PAGE) == ""


async def test_what_it_never_says_is_not(tmp_path):
    chunk = payload(MessageChunk(*IDS, 1, "a"))
    lacking = {name: value for name, value in chunk.items() if name != "seq"}
    wrong = await checked(
        tmp_path, heard("ai_message_chunk", lacking) + heard("ai_message_chunk", {**chunk, "x": 1})
    )
    assert wrong.count("error TS") == 2
