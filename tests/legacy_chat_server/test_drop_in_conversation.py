"""One conversation three ways: what devices of an unchanged chat-server hear is the same."""

import contextlib

import pytest
import socketio
from legacy_chat import legacy_device, legacy_server
from redis_server import redis_server

from backend_stub.app import ReferenceBackend
from backend_stub.model import Pace
from backend_stub.settings import Settings as BackendSettings
from bridge import profiles
from bridge.app import App
from bridge.settings import config_dir, load

pytestmark = [pytest.mark.needs("node"), pytest.mark.needs("redis-server"), pytest.mark.needs("socket.io")]

SAID = [
    {"roomId": 42, "content": "Hello", "requestId": "q-1", "messageId": "m-1"},
    {
        "roomId": 42,
        "content": "Ünd nöw 👋?",
        "requestId": "q-2",
        "messageId": "m-2",
        "mood": {"a": [1, None]},
    },
    {"roomId": 42, "content": "no", "requestId": "q-3", "fault": "status-503;on=both"},
    {"roomId": 42, "content": "a refusal", "requestId": "q-4", "messageId": "m-4", "fault": "status-503"},
    {
        "roomId": 42,
        "content": "a cut",
        "requestId": "q-5",
        "messageId": "m-5",
        "fault": "cut;after=3;times=1",
    },
    {
        "roomId": 42,
        "content": "Hello",
        "requestId": "q-1",
        "messageId": "m-1",
    },  # a chat-server that tries again
]
STREAMED = {"q-1": 0, "q-2": 1, "q-5": 4}
"""The requests of which devices hear chunks, and their place in what was said."""


class Parrot:
    """A model that says the same whenever it is asked the same."""

    async def check(self):
        pass

    async def pieces(self, content):
        for word in ("You", " said: ", *content, "."):
            yield word


@contextlib.asynccontextmanager
async def behind(way, backend_url, redis_url):
    """Give the address that the chat-servers take for their backend's, and that of the bridge, if any."""
    if way == "direct":
        yield backend_url, None
        return
    profile = profiles.read(config_dir(), "reference", {})
    given = {"chat_streaming_enabled": way == "flag on", "drain_s": 0.3}
    at = {"port": 0, "backend_url": backend_url, "redis_url": redis_url, "node_adapter": "on"}
    app = App(load({}, None, profile.settings, **at, **given), profile)
    address = await app.start()
    try:
        yield address, address
    finally:
        await app.stop()


class Watching:
    """A device of the bridge itself."""

    def __init__(self, sio):
        self.said = []
        sio.on("*", lambda event, data: self.said.append({"event": event, "data": data}))


async def conversation(way, tmp_path, redis_url):
    """Return what the devices heard whole, what each heard in chunks, and how many answers were made."""
    tmp_path.mkdir()
    history = f"sqlite+aiosqlite:///{tmp_path / 'history.sqlite3'}"
    settings = BackendSettings(port=0, database_url=history, pace=Pace(first_token_s=0.01))
    backend, watching = ReferenceBackend(settings, provider=Parrot()), []
    async with contextlib.AsyncExitStack() as running:
        running.push_async_callback(backend.stop)
        address, bridge = await running.enter_async_context(behind(way, await backend.start(), redis_url))
        devices = []
        for version in (4, 2):
            server = await running.enter_async_context(legacy_server(redis_url, address))
            devices.append(
                await running.enter_async_context(legacy_device(server.address, 42, version=version))
            )
        if bridge is not None:
            sio = socketio.AsyncClient(reconnection=False)
            watching.append(Watching(sio))
            await sio.connect(bridge, transports=["websocket"], wait_timeout=60)
            running.push_async_callback(sio.disconnect)
            await sio.call("join_room", {"roomId": 42})
        heard = [await said_and_answered(devices, message) for message in SAID]
        if way == "flag on":
            for device in devices:
                await device.first("ai_message_end", lambda data: data["requestId"] == "q-5")
    answers = sum(calls.answers for calls in backend.tally.calls.values())
    return heard, [device.said for device in [*devices, *watching]], answers


async def said_and_answered(devices, message):
    """Send a message and return what each device heard of it, once all of it has come."""
    known = [len(device.said) for device in devices]
    await devices[0].call("send_message", message)
    return [
        await heard_by(device, count, fails="both" in message.get("fault", ""), sends=device is devices[0])
        for device, count in zip(devices, known, strict=True)
    ]


async def heard_by(device, count, *, fails, sends):
    """Return what a device hears whole behind ``count`` lines; of a time, that it is there."""
    last = "message_failed" if fails and sends else "new_message"

    def ends(line):
        is_last = line.get("event") == last and (fails or line["data"]["role"] == "assistant")
        return is_last and any(line is each for each in device.said[count:])

    await device.until(ends)
    lines = [line for line in device.said[count:] if line.get("event") in ("new_message", "message_failed")]
    return [(line["event"], {**line["data"], "createdAt": "createdAt" in line["data"]}) for line in lines]


def streamed(said, request_id):
    """Return name and text of an answer that was heard in chunks, in order, each once."""
    mine = [line for line in said if line.get("data", {}).get("requestId") == request_id]
    counted = {
        event: [line["data"] for line in mine if line["event"] == event]
        for event in ("ai_message_start", "ai_message_chunk", "ai_message_end")
    }
    seq, text = 0, ""
    for chunk in counted["ai_message_chunk"]:
        assert chunk.get("fromSeq", chunk["seq"]) == seq + 1
        seq, text = chunk["seq"], text + chunk["delta"]
    (start,), (end,) = counted["ai_message_start"], counted["ai_message_end"]
    assert text == end["content"]
    assert start["messageId"] == end["messageId"]
    return end["messageId"], text


async def test_what_an_unchanged_client_hears_is_the_same_three_ways(tmp_path):
    told = {}
    with redis_server(tmp_path) as redis:
        for way in ("direct", "flag off", "flag on"):
            told[way] = await conversation(way, tmp_path / way.replace(" ", "-"), redis.url)
    heard = told["direct"][0]
    assert heard[0][0][1][1]["content"] == "You said: Hello."
    assert heard[0][0][1][1]["createdAt"]
    assert told["flag off"][0] == heard
    assert told["flag on"][0] == heard
    assert {told[way][2] for way in told} == {4}
    for said in told["flag off"][1]:
        assert not [line for line in said if line.get("event", "").startswith("ai_")]
    for said in told["flag on"][1]:
        for request_id, place in STREAMED.items():
            answer = heard[place][0][1][1]
            assert streamed(said, request_id) == (answer["messageId"], answer["content"])
