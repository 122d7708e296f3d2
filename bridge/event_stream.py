"""A response of server-sent events that goes on for as long as somebody hears it (WHATWG HTML, 9.2)."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping

from aiohttp import web

from bridge.http_wire import AT_ONCE_BYTES, write_at_once
from bridge.messages import Message, MessageChunk
from bridge.queued_device import QueuedDevice

OPEN = b": open\n\n"
KEEP_ALIVE = b": keep-alive\n\n"
SHORT_CHARS = AT_ONCE_BYTES // 16
"""Text that is no longer is sent at once: as JSON it is at most six times as long."""
KEEP_ALIVE_S = 15.0
"""After so long without a word a comment is sent: proxies close what is silent for a minute."""


class EventStream:
    """A response of server-sent events, begun by `begin`; ``stuck_s`` is what a client may take to read."""

    def __init__(self, request: web.Request, headers: Mapping[str, str], *, stuck_s: float) -> None:
        self._request = request
        self._stuck_s = stuck_s
        self.response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream",
                "Cache-Control": "private, no-cache, no-transform",
                "X-Accel-Buffering": "no",
                **headers,
            }
        )

    @property
    def wanted(self) -> bool:
        """True while its client is there."""
        return self._request.transport is not None and not self._request.transport.is_closing()

    async def begin(self, first: bytes) -> None:
        """Send the head and ``first``, so that the client knows at once that it is heard; see `write`."""
        await self.response.prepare(self._request)
        await self.write(first or OPEN)

    async def write(self, events: bytes) -> None:
        """Send ``events``. Raises ConnectionError when the client is gone, TimeoutError when it is stuck."""
        async with asyncio.timeout(self._stuck_s):
            await self.response.write(events)

    def write_at_once(self, events: bytes) -> bool:
        """Send ``events`` if that takes no waiting; return whether it did."""
        return write_at_once(self._request, events, self.response.write)

    def grow_at_once(self, device: QueuedDevice[Message], events: Callable[[Message], bytes]) -> None:
        """Send what ``events`` makes of the text of ``device`` at once, where that takes no waiting."""

        def at_once(message: Message) -> bool:
            if not isinstance(message, MessageChunk) or len(message.delta) > SHORT_CHARS:
                return False  # what events makes must be sent: it is not made twice
            return self._has_room() and self.write_at_once(events(message))

        device.at_once = at_once

    def _has_room(self) -> bool:
        transport = self._request.transport
        return transport is not None and transport.get_write_buffer_size() < AT_ONCE_BYTES // 2

    async def tell(self, device: QueuedDevice[bytes]) -> None:
        """Write what ``device`` hears until it has ended and all is written; raises as `write` does."""
        device.at_once = self.write_at_once
        events: list[bytes] = []
        while events or not device.ended:
            events = await device.take(KEEP_ALIVE_S)
            if events or not device.ended:
                await self.write(b"".join(events) or KEEP_ALIVE)

    @contextlib.asynccontextmanager
    async def breaking_off(self) -> AsyncIterator[None]:
        """Break the connection when its client is gone or stuck, and be done with it."""
        try:
            yield
        except (ConnectionError, TimeoutError):
            self.cut()

    def cut(self) -> None:
        """Break the connection, so that the client takes no part for the whole."""
        if self._request.transport is not None:
            self._request.transport.abort()


def event(data: bytes, name: str = "", event_id: str = "") -> bytes:
    """Return one event as it stands on the wire; ``data`` is one line."""
    named = f"event: {name}\n" if name else ""
    numbered = f"id: {event_id}\n" if event_id else ""
    return f"{named}{numbered}data: ".encode() + data + b"\n\n"


def json_line(value: object) -> bytes:
    """Return ``value`` as one line of JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
