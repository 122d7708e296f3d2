"""The example for those who add ten lines to their Node server: who joins late hears what is there."""

import asyncio
import json

import aiohttp
import pytest
from aiohttp import web
from legacy_chat import LegacyDevice, NodeProcess

pytestmark = [pytest.mark.needs("node"), pytest.mark.needs("socket.io")]

IDS = {"requestId": "q", "roomId": 42, "messageId": "m"}


def active(seq):
    """What the bridge says of a running turn (tests of the drop-in door show that it does)."""
    chunk = {**IDS, "seq": seq, "delta": "x" * seq, **({"fromSeq": 1} if seq > 1 else {})}
    return [{"event": "ai_message_start", "data": IDS}, {"event": "ai_message_chunk", "data": chunk}]


class Bridge:
    """Answers what the test says, and lets it act before the answer leaves."""

    def __init__(self):
        self.answers = []
        self.asked = []
        self.before = lambda: asyncio.sleep(0)

    async def active(self, request):
        self.asked.append(request.match_info["room"])
        answer = self.answers.pop(0)
        await self.before()
        return web.json_response(answer, status=200 if answer is not None else 503)


@pytest.fixture
async def bridge():
    bridge = Bridge()
    app = web.Application()
    app.router.add_get("/chat/rooms/{room}/active", bridge.active)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    bridge.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield bridge
    await runner.cleanup()


@pytest.fixture
async def server(bridge):
    server = await NodeProcess.start("joining_server.js", BRIDGE_URL=bridge.url)
    port = (await server.until(lambda line: "listening" in line))["listening"]
    server.address = f"http://127.0.0.1:{port}"
    yield server
    await server.stop()


@pytest.fixture
async def device(server):
    device = await LegacyDevice.start("device.js", "4", server.address, '{"reconnection": false}')
    await device.until(lambda line: "connected" in line)
    yield device
    await device.stop()


async def say(server, event, data):
    said = {"room": "42", "event": event, "data": json.dumps(data)}
    async with aiohttp.ClientSession() as session, session.get(server.address, params=said) as answer:
        assert answer.status == 200


def told(device):
    return [(line["event"], line["data"].get("seq")) for line in device.said if "event" in line]


async def test_a_device_hears_what_is_there_before_it_has_joined(bridge, server, device):
    bridge.answers = [active(3)]
    await device.call("join_room", {"roomId": 42})
    await say(server, "ai_message_chunk", {**IDS, "seq": 4, "delta": "y"})
    await device.until(lambda line: line.get("data", {}).get("seq") == 4)
    assert told(device) == [("ai_message_start", None), ("ai_message_chunk", 3), ("ai_message_chunk", 4)]
    assert bridge.asked == ["42"]


async def test_a_chunk_that_was_faster_makes_it_ask_again(bridge, server, device):
    bridge.answers = [active(3), active(4)]
    faster = [say(server, "ai_message_chunk", {**IDS, "seq": 4, "delta": "y"})]

    async def before():
        if faster:
            await faster.pop()

    bridge.before = before
    await device.call("join_room", {"roomId": 42})
    assert told(device) == [("ai_message_chunk", 4), ("ai_message_start", None), ("ai_message_chunk", 4)]


async def test_an_answer_that_begins_meanwhile_is_not_told_twice(bridge, server, device):
    bridge.answers = [active(1)]
    bridge.before = lambda: say(server, "ai_message_start", IDS)
    await device.call("join_room", {"roomId": 42})
    assert told(device) == [("ai_message_start", None)]


async def test_a_bridge_that_is_away_keeps_nobody_out(bridge, device):
    bridge.answers = [None]
    assert (await device.call("join_room", {"roomId": 42})) == {"ok": True}
    assert told(device) == []
