"""A bridge, the reference backend and a device, each as it is run, on loopback."""

import asyncio
import contextlib
import itertools
from pathlib import Path

import aiohttp
import socketio

from backend_stub.app import ReferenceBackend
from backend_stub.settings import Settings as BackendSettings
from bridge import profiles
from bridge.app import App
from bridge.settings import load

CONFIG = Path(__file__).resolve().parents[2] / "config"
PATIENT = {"connect_s": 100.0, "first_delta_s": 100.0, "stall_s": 100.0}
"""A backend in this process is late when the machine stands still, and only then."""
KEYS = {"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k"}


@contextlib.asynccontextmanager
async def backend_at(tmp_path, pace, **settings):
    url = f"sqlite+aiosqlite:///{tmp_path / 'history.sqlite3'}"
    backend = ReferenceBackend(BackendSettings(port=0, database_url=url, pace=pace, **settings))
    backend.url = await backend.start()
    try:
        yield backend
    finally:
        await backend.stop()


@contextlib.asynccontextmanager
async def running(backend_url, profile="reference", **chosen):
    read = profiles.read(CONFIG, profile, KEYS)
    given = {"port": 0, "chat_streaming_enabled": True, "drain_s": 0.3, **PATIENT, **chosen}
    app = App(load({}, None, read.settings, backend_url=backend_url, **given), read)
    app.address = await app.start()
    try:
        yield app
    finally:
        await app.stop()


async def stored(backend, room_id, request_id):
    """Return the row of the answer that the backend has in its database, once its turn there is over."""
    async with aiohttp.ClientSession() as session, asyncio.timeout(60):
        while True:
            async with session.get(f"{backend.url}/chat/rooms/{room_id}/messages") as response:
                rows = (await response.json())["messages"]
            for row in rows:
                named = row["requestId"] == request_id and row["role"] == "assistant"
                if named and row["status"] in ("success", "error"):
                    return row
            await asyncio.sleep(0.01)


class Device:
    """A python-socketio client in a room."""

    def __init__(self, sio):
        self._sio = sio
        self._heard = []
        self._changed = asyncio.Event()

    @classmethod
    @contextlib.asynccontextmanager
    async def at(cls, address, room_id="r"):
        sio = socketio.AsyncClient(reconnection=False)
        device = cls(sio)
        sio.on("*", device._hear)
        await sio.connect(address, transports=["websocket"], wait_timeout=60)
        try:
            await sio.call("join_room", {"roomId": room_id})
            yield device
        finally:
            await sio.disconnect()

    @property
    def sid(self):
        return self._sio.sid

    async def _hear(self, event, data):
        self._heard.append((asyncio.get_running_loop().time(), event, data))
        self._changed.set()

    async def call(self, event, data):
        ack = await self._sio.call(event, data)
        assert ack["ok"], ack
        return ack

    async def until(self, event, request_id):
        """Wait until something was heard of a request."""
        return await self._first(lambda: self.of(event, request_id))

    async def send(self, request_id, content, room_id="r", **extra):
        asked = {"roomId": room_id, "content": content, "requestId": request_id, **extra}
        await self.call("send_message", asked)

    def of(self, event, request_id):
        return [data for _, name, data in self._heard if name == event and data["requestId"] == request_id]

    async def first(self, event):
        """Return the first of an event, of whatever request."""
        return await self._first(lambda: [data for _, name, data in self._heard if name == event])

    async def end_of(self, request_id):
        return await self._first(lambda: self.of("ai_message_end", request_id))

    async def answer_of(self, request_id):
        """Return the complete message of the assistant."""
        return await self._first(
            lambda: [data for data in self.of("new_message", request_id) if data["role"] == "assistant"]
        )

    async def _first(self, found):
        async with asyncio.timeout(60):
            while not found():
                self._changed.clear()
                await self._changed.wait()
        return found()[0]

    def text_of(self, request_id, *, merged=False):
        chunks = self.of("ai_message_chunk", request_id)
        assert merged or [chunk["seq"] for chunk in chunks] == list(range(1, len(chunks) + 1))
        return "".join(chunk["delta"] for chunk in chunks)

    def longest_gap_s(self, request_id):
        chunk_at = [
            at_s
            for at_s, event, data in self._heard
            if (event, data["requestId"]) == ("ai_message_chunk", request_id)
        ]
        return max(later - earlier for earlier, later in itertools.pairwise(chunk_at))
