"""What the README says of the doors beside Socket.IO is run, line by line."""

import asyncio
import re
import shlex
from pathlib import Path

import pytest
from door_clients import WebSocketClient

README = (Path(__file__).resolve().parents[2] / "README.md").read_text("utf-8")
BLOCK = re.search(r"### The other doors.*?```\n(.*?)```", README, re.DOTALL)[1].splitlines()
CURLS = [line.removesuffix(" &") for line in BLOCK if line.startswith("curl")]
SAID = [line.removeprefix("> ") for line in BLOCK if line.startswith("> ")]


async def curl(line, address):
    command = shlex.split(line.replace("http://127.0.0.1:8080", address))
    return await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)


def answer(script):
    script.say("Hel", "lo")
    script.finish()


@pytest.mark.needs("curl")
async def test_curl_hears_and_asks(bridge, script):
    hears, says, streams, waits = CURLS
    listening = await curl(hears, bridge.address)
    try:
        async with asyncio.timeout(60):
            assert (await listening.stdout.readline()).startswith(b"retry: ")
            answer(script)
            said, _ = await (await curl(says, bridge.address)).communicate()
            assert b'"ok": true' in said
            await listening.stdout.readuntil(b"event: ai_message_end\n")
            answer(script)
            said, _ = await (await curl(streams, bridge.address)).communicate()
            assert said.startswith(b'data: {"role":"user","delta":"hi"}\n')
            assert said.endswith(b"data: [DONE]\n\n")
            await listening.stdout.readuntil(b"event: ai_message_end\n")
            answer(script)
            said, _ = await (await curl(waits, bridge.address)).communicate()
            assert b'"content": "Hello"' in said
    finally:
        listening.terminate()
        await listening.communicate()


async def test_the_frames_of_a_plain_websocket(bridge, script):
    async with WebSocketClient(bridge.address) as client:
        acks = [asyncio.get_running_loop().create_future() for _ in SAID]
        client.acks = dict(enumerate(acks, start=1))
        answer(script)
        for frame, ack in zip(SAID, acks, strict=True):
            await client.say(frame)
            assert (await asyncio.wait_for(ack, 60))["ok"]
        assert (await client.until("ai_message_end"))["content"] == "Hello"
