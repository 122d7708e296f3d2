"""The real socket.io-client 4 of npm, over every transport, against a bridge and the reference backend."""

import asyncio
import json
import shutil

import pytest
from socket_io_device import HERE, NodeDevice, node_device

from tests.held_model import HeldModel

TRANSPORTS = {
    "websocket": {"transports": ["websocket"]},
    "polling": {"transports": ["polling"]},
    "upgrade": {"transports": ["polling", "websocket"]},
}

pytestmark = [pytest.mark.needs("node"), pytest.mark.needs("socket.io-client")]


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


async def test_a_device_that_joins_and_upgrades_in_mid_stream_loses_nothing(bridge, backend):
    backend._provider = model = HeldModel()
    model.begins.set()
    async with node_device(bridge.address, transports=["websocket"]) as sender:
        await sender.call("join_room", {"roomId": 7})
        await sender.call("send_message", {"roomId": 7, "content": "x", "requestId": "r-1"})
        await sender.until(lambda line: line.get("event") == "ai_message_chunk")
        async with node_device(bridge.address, transports=["polling", "websocket"]) as late:
            await late.call("join_room", {"roomId": 7})
            await late.until(lambda line: line.get("upgraded") == "websocket")
            model.goes_on.set()
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
