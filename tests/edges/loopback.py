"""A whole bridge on loopback, in front of a backend whose every step the test decides."""

import asyncio
import contextlib
import io
import json

import aiohttp
import socketio
from aiohttp import web

from bridge.app import App
from bridge.profiles import Profile
from bridge.settings import Settings


class Script:
    """A backend that sends a delta when the test says so."""

    def __init__(self):
        self.requests = []
        self.headers = []
        self.closed = asyncio.Event()
        self.steps = asyncio.Queue()

    def say(self, *deltas):
        for delta in deltas:
            self.steps.put_nowait({"type": "text-delta", "id": "t", "delta": delta})

    def finish(self):
        self.steps.put_nowait({"type": "finish", "finishReason": "stop"})

    async def stream(self, request):
        body = await request.json()
        self.requests.append(body)
        self.headers.append(request.headers)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        try:
            await self._frame(response, {"type": "start", "messageId": f"m-{body['requestId']}"})
            kind = ""
            while kind != "finish":
                step = await self.steps.get()
                kind = step["type"]
                await self._frame(response, step)
        finally:
            self.closed.set()
        return response

    async def _frame(self, response, value):
        await response.write(b"data: " + json.dumps(value).encode() + b"\n\n")

    async def fails(self, _):
        return web.Response(status=500)

    async def complete(self, request):
        body = await request.json()
        self.requests.append(body)
        self.headers.append(request.headers)
        return web.json_response({"messageId": f"w-{body['requestId']}", "content": "whole", "mood": "good"})


@contextlib.asynccontextmanager
async def running(script, chosen_profile=None, **chosen):
    patient = dict.fromkeys(("connect_s", "first_delta_s", "stall_s"), 100.0)  # the machine may stand still
    settings = {"chat_streaming_enabled": True, "admin_token": "secret", "drain_s": 0.3, **patient, **chosen}
    app = App(Settings(**{"port": 0, **settings}, backend_url=script.url), chosen_profile or Profile())
    app.address = await app.start()
    try:
        yield app
    finally:
        await app.stop()


class Listener:
    """Keeps what a client hears."""

    def __init__(self):
        self.heard = []
        self.changed = asyncio.Event()

    def _hear(self, name, data):
        self.heard.append((name, data))
        self.changed.set()

    def of(self, name):
        return [data for heard, data in self.heard if heard == name]

    def answers(self):
        return [data for data in self.of("new_message") if data["role"] == "assistant"]

    async def until(self, name, count=1):
        async with asyncio.timeout(60):
            while len(self.of(name)) < count:
                self.changed.clear()
                await self.changed.wait()
        return self.of(name)[count - 1]


class Client(Listener):
    """python-socketio's own client, over websocket."""

    def __init__(self, address, auth=None):
        super().__init__()
        self.address, self.auth = address, auth
        self.sio = socketio.AsyncClient(reconnection=False)
        self.sio.on("*", self._told)

    async def __aenter__(self):
        await self.sio.connect(self.address, auth=self.auth, transports=["websocket"], wait_timeout=60)
        return self

    async def __aexit__(self, *_):
        await self.sio.disconnect()

    async def call(self, name, data=None):
        return await self.sio.call(name, data, timeout=60)

    def _told(self, name, data):
        self._hear(name, data)  # which a test may have replaced since


class PollingClient(Listener):
    """Long-polling spoken by hand: one GET that waits, POSTs beside it."""

    def __init__(self, address):
        super().__init__()
        self.address = address
        self.acks = {}

    async def __aenter__(self):
        self.session = aiohttp.ClientSession()
        self.url = f"{self.address}/socket.io/?EIO=4&transport=polling"
        (opened,) = await self._get()
        self.url += "&sid=" + json.loads(opened[1:])["sid"]
        await self.post("40")
        await self._get()
        self.poll = asyncio.create_task(self._poll())
        return self

    async def __aexit__(self, *_):
        self.poll.cancel()
        await asyncio.wait({self.poll})
        await self.session.close()

    async def post(self, packets):
        async with self.session.post(self.url, data=io.BytesIO(packets.encode())) as answer:
            assert answer.status == 200

    async def call(self, name, data=None):
        number = len(self.acks)
        self.acks[number] = asyncio.get_running_loop().create_future()
        await self.post(f"42{number}{json.dumps([name] if data is None else [name, data])}")
        return await asyncio.wait_for(self.acks[number], 60)

    async def _get(self):
        async with self.session.get(self.url) as answer:
            return (await answer.text()).split("\x1e")

    async def _poll(self):
        while True:
            for packet in await self._get():
                if packet.startswith("43"):
                    number, _, ack = packet[2:].partition("[")
                    self.acks[int(number)].set_result(json.loads("[" + ack)[0])
                elif packet.startswith("42"):
                    self._hear(*json.loads(packet[2:]))
