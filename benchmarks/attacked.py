"""What the attacks are made against: a bridge process of our own, its backend, and devices of its users."""

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import jwt
from aiohttp import web

from benchmarks.nodes import Node, backend, node

SECRET = "attack" * 8
SOCKET_IO = "/socket.io/?EIO=4&transport="
DELTAS, DELTA_S = 20, 0.05
"""An answer is as long, and comes as fast, as that of a model that writes."""


@dataclass(slots=True)
class Backend:
    """Answers each message with its own words; knows who asked for them."""

    contents: list[str] = field(default_factory=list)

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Answer one turn."""
        content = (await request.json())["content"]
        self.contents.append(content)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for number in range(DELTAS):
            delta = {"type": "text-delta", "id": "t", "delta": f"{content}-{number} "}
            await response.write(b"data: " + json.dumps(delta).encode() + b"\n\n")
            await asyncio.sleep(DELTA_S)
        await response.write(b'data: {"type":"finish","finishReason":"stop"}\n\n')
        return response


class Device:
    """A websocket client of one user."""

    def __init__(self, session: aiohttp.ClientSession, address: str, user: str) -> None:
        self._session = session
        self._address = address
        self.user = user
        self.heard: list[str] = []
        self._numbers = itertools.count(1)

    async def connect(self, *rooms: str) -> "Device":
        """Connect with a token for ``rooms``, and join them."""
        claims = {"sub": self.user, "exp": time.time() + 3600, "rooms": rooms}
        self.ws = await self._session.ws_connect(f"{self._address}{SOCKET_IO}websocket")
        await self.ws.send_str("40" + json.dumps({"token": jwt.encode(claims, SECRET), "streaming": True}))
        for _ in range(2):
            await self.ws.receive_str(timeout=10)
        for room in rooms:
            await self.call("join_room", {"roomId": room})
        return self

    async def call(self, event: str, data: dict[str, Any]) -> dict[str, Any]:
        """Send an event and return its ack."""
        number = next(self._numbers)
        await self.ws.send_str(f"42{number}{json.dumps([event, data])}")
        ack: dict[str, Any] = json.loads(await self.until(f"43{number}["))[0]
        return ack

    async def turn_ms(self, room: str, request_id: str) -> float:
        """Run a turn to its end; return the time to its first chunk."""
        began_at = time.monotonic()
        sent = await self.call(
            "send_message", {"roomId": room, "content": self.user, "requestId": request_id}
        )
        if not sent["ok"]:
            raise RuntimeError(sent)
        await self.until('42["ai_message_chunk"')
        first_ms = (time.monotonic() - began_at) * 1000
        await self.until('42["ai_message_end"')
        return first_ms

    def write(self, frames: bytes) -> None:
        """Send frames as they are."""
        connection = self.ws._conn  # noqa: SLF001  (its own way of sending costs more than what it floods)
        if connection is not None and connection.transport is not None:
            connection.transport.write(frames)

    async def until(self, prefix: str) -> str:
        """Return the next packet that begins so, without its number."""
        while True:
            text = await self.ws.receive_str(timeout=30)
            self.heard.append(text)
            if text == "2":
                await self.ws.send_str("3")
            elif text.startswith(prefix):
                return text[text.index("[") :]


@contextlib.asynccontextmanager
async def bridge(answers: Backend, **settings: str) -> AsyncIterator[Node]:
    """Run a bridge process that asks everybody for a token."""
    guarded = {
        "CHAT_STREAMING_ENABLED": "on",
        "BRIDGE_AUTH": "jwt",
        "BRIDGE_JWT_SECRET": SECRET,
        "BRIDGE_CONNECTIONS_PER_ADDRESS": "10000",
        **settings,
    }
    async with backend(stream=answers.stream) as url, node(BACKEND_URL=url, **guarded) as started:
        yield started


def port_of(address: str) -> int:
    """Return the port of an address."""
    return int(address.rpartition(":")[2])
