"""The real socket.io-client 4 of npm, over every transport, against a bridge and the reference backend."""

import asyncio
import contextlib
import json
import shutil
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent / "socket_io_client"
TRANSPORTS = {
    "websocket": {"transports": ["websocket"]},
    "polling": {"transports": ["polling"]},
    "upgrade": {"transports": ["polling", "websocket"]},
}

pytestmark = [pytest.mark.needs("node"), pytest.mark.needs("socket.io-client")]


class NodeDevice:
    """A socket.io-client in a Node process of its own."""

    def __init__(self, process):
        self.process = process
        self.said = []

    async def until(self, seen):
        async with asyncio.timeout(15):
            while True:
                for line in self.said:
                    if seen(line):
                        return line
                self.said.append(json.loads(await self.process.stdout.readline()))

    async def call(self, emit, data):
        self.process.stdin.write(json.dumps({"emit": emit, "data": data}).encode() + b"\n")
        known = len([line for line in self.said if "ack" in line])
        async with asyncio.timeout(15):
            while len(acks := [line["ack"] for line in self.said if "ack" in line]) == known:
                self.said.append(json.loads(await self.process.stdout.readline()))
        return acks[-1]

    def of(self, name):
        return [line["data"] for line in self.said if line.get("event") == name]


@contextlib.asynccontextmanager
async def node_device(address, **options):
    process = await asyncio.create_subprocess_exec(
        shutil.which("node"),
        str(HERE / "device.js"),
        address,
        json.dumps({"reconnection": False, **options}),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    device = NodeDevice(process)
    try:
        await device.until(lambda line: "connected" in line)
        yield device
    finally:
        process.stdin.write(b'{"close": true}\n')
        async with asyncio.timeout(5):
            await process.wait()


def first_law(device):
    """Check the first law on what a device heard; return the text."""
    (start,) = device.of("ai_message_start")
    (end,) = device.of("ai_message_end")
    seq, text = 0, ""
    for chunk in device.of("ai_message_chunk"):
        assert chunk.get("fromSeq", chunk["seq"]) == seq + 1
        assert chunk["messageId"] == start["messageId"]
        seq, text = chunk["seq"], text + chunk["delta"]
    assert text == end["content"]
    return text


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_streamed_turn(bridge, transport):
    async with node_device(bridge.address, **TRANSPORTS[transport]) as device:
        assert (await device.call("join_room", {"roomId": 7}))["ok"]
        ack = await device.call("send_message", {"roomId": 7, "content": "안녕", "requestId": "r-1"})
        assert ack == {"ok": True, "requestId": "r-1"}
        await device.until(lambda line: line.get("event") == "ai_message_end")
        await device.until(
            lambda line: line.get("event") == "new_message" and line["data"]["role"] == "assistant"
        )
        assert "안녕" in first_law(device)


async def test_a_device_that_joins_and_upgrades_in_mid_stream_loses_nothing(bridge):
    async with node_device(bridge.address, transports=["websocket"]) as sender:
        await sender.call("join_room", {"roomId": 7})
        await sender.call("send_message", {"roomId": 7, "content": "x", "requestId": "r-1", "tokens": 100})
        await sender.until(lambda line: line.get("event") == "ai_message_chunk")
        async with node_device(bridge.address, transports=["polling", "websocket"]) as late:
            await late.call("join_room", {"roomId": 7})
            await late.until(lambda line: line.get("upgraded") == "websocket")
            await late.until(lambda line: line.get("event") == "ai_message_end")
            await sender.until(lambda line: line.get("event") == "ai_message_end")
            assert first_law(late) == first_law(sender)
            order = [next(iter(line)) if "event" not in line else line["event"] for line in late.said]
            assert "ai_message_chunk" in order[order.index("upgraded") :]


async def test_a_refusal_reaches_connect_error_with_its_data(bridge):
    process = await asyncio.create_subprocess_exec(
        shutil.which("node"),
        str(HERE / "device.js"),
        bridge.address,
        json.dumps({"reconnection": False, "auth": {"streaming": "yes"}, "transports": ["websocket"]}),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    device = NodeDevice(process)
    refused = await device.until(lambda line: "refused" in line)
    assert refused["data"] == {"code": "bad_auth", "retryable": False}
    process.stdin.close()
    process.kill()
    await process.wait()
