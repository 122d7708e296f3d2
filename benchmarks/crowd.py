"""Many websocket devices for little: frames are read as bytes, and what a whole room hears is decoded once.

A device of an ordinary client costs more than the bridge spends on it, and the figure would be the client's.
"""

import asyncio
import functools
import json
import time
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

ANSWER_S = 30.0
AT_ONCE = 20
"""Devices that come at the same time."""
_TEXT, _MASKED, _NO_MASK = 0x81, 0x80, b"\0\0\0\0"
_SHORT = 126
"""Sizes from here on stand behind the byte that says so."""


@dataclass(slots=True)
class Tally:
    """What the devices of one load have heard, together; a delivery is one token on one device."""

    written_ns: list[int] = field(default_factory=list)
    """When the backend wrote the token of each delivery."""
    latencies_ns: list[int] = field(default_factory=list)
    """Of each delivery, from that write to the device's read."""
    merged: int = 0
    """Deliveries that came in a chunk with one before them."""
    lost: int = 0
    repeated: int = 0
    failed: int = 0
    """Devices that heard no end, or another than `stop`: what the answer lacks is lost, and said to be."""


@functools.lru_cache(4096)
def tokens_of(payload: bytes) -> tuple[tuple[int, int], ...]:
    """Return the tokens of a chunk: number, and when the backend wrote it in nanoseconds."""
    delta: str = json.loads(payload[2:])[1]["delta"]
    numbers = (token.partition(":") for token in delta.split())
    return tuple((int(number), int(written_ns)) for number, _, written_ns in numbers)


class Device(asyncio.Protocol):
    """Joins a room over a websocket and tallies the tokens that it hears; ``tally`` may be shared."""

    def __init__(self, address: str, room: str, tally: Tally) -> None:
        self._address, self._room, self._tally = address, room, tally
        self._rest = b""
        self._upgraded = False
        self._next = 0
        self._finished = False
        self.joined: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.ended = asyncio.Event()
        """The answer has ended, or the connection."""

    async def join(self) -> None:
        """Connect, and return once it is in its room; ends the program where the bridge refuses."""
        at = urlsplit(self._address)
        host, port = at.hostname or "", at.port or 80
        async with asyncio.timeout(ANSWER_S):
            await asyncio.get_running_loop().create_connection(lambda: self, host, port)
            said = await self.joined
        if b'"ok":true' not in said:
            raise SystemExit(f"unable to measure; a device may not join: {said.decode()}")

    def ask(self, request_id: str) -> None:
        """Have an answer in the room."""
        asked = {"roomId": self._room, "content": "go", "requestId": request_id}
        self._send("421" + json.dumps(["send_message", asked]))

    def leave(self, tokens: int) -> None:
        """Disconnect; what of so many tokens was not heard is lost."""
        self._tally.lost += tokens - self._next
        self._tally.failed += not self._finished
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for a websocket."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's only looks like one
        self._transport.write(
            b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: bridge\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )

    def data_received(self, data: bytes) -> None:
        """Hear all frames that are complete."""
        now_ns = time.monotonic_ns()
        data, at = self._rest + data, 0
        if not self._upgraded:
            head, blank, data = data.partition(b"\r\n\r\n")
            if not blank:
                self._rest = head
                return
            self._upgraded = True
        while (frame := _frame(data, at)) is not None:
            payload, at = frame
            self._hear(payload, now_ns)
        self._rest = data[at:]

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        if not self.joined.done():
            self.joined.set_result(b"the connection has ended" if exc is None else str(exc).encode())
        self.ended.set()

    def _hear(self, payload: bytes, now_ns: int) -> None:
        if payload.startswith(b'42["ai_message_chunk"'):
            self._count(tokens_of(payload), now_ns)
        elif payload.startswith(b'42["ai_message_end"'):
            self._finished = b'"finishReason":"stop"' in payload
            self.ended.set()
        elif payload == b"2":
            self._send("3")
        elif payload.startswith(b"0"):
            self._send('40{"streaming":true}')
        elif payload.startswith(b"40"):
            self._send("420" + json.dumps(["join_room", {"roomId": self._room}]))
        elif payload.startswith(b"430"):
            self.joined.set_result(payload)

    def _count(self, tokens: tuple[tuple[int, int], ...], now_ns: int) -> None:
        tally = self._tally
        tally.merged += len(tokens) - 1
        for number, written_ns in tokens:
            if number < self._next:
                tally.repeated += 1
                continue
            tally.lost += number - self._next
            self._next = number + 1
            tally.written_ns.append(written_ns)
            tally.latencies_ns.append(now_ns - written_ns)

    def _send(self, text: str) -> None:
        """Write a masked text frame; a mask of zeros is one (RFC 6455, 5.3)."""
        payload = text.encode()
        size = len(payload)
        head = bytes((_TEXT, _MASKED | size)) if size < _SHORT else _long_head(size)
        self._transport.write(head + _NO_MASK + payload)


def _long_head(size: int) -> bytes:
    return bytes((_TEXT, _MASKED | _SHORT)) + size.to_bytes(2, "big")


def _frame(data: bytes, at: int) -> tuple[bytes, int] | None:
    """Return the payload at ``at`` and where it ends, None while it is incomplete (RFC 6455, 5.2)."""
    if len(data) < at + 2:
        return None
    size, begin = data[at + 1], at + 2
    if size >= _SHORT:
        begin += 2 if size == _SHORT else 8
        size = int.from_bytes(data[at + 2 : begin], "big")
    end = begin + size
    return (data[begin:end], end) if end <= len(data) else None


async def gather(address: str, rooms: list[str], devices: int, tally: Tally) -> list[list[Device]]:
    """Return so many joined devices for each of the rooms."""
    crowd = [[Device(address, room, tally) for _ in range(devices)] for room in rooms]
    each = [device for room in crowd for device in room]
    for first in range(0, len(each), AT_ONCE):
        await asyncio.gather(*(device.join() for device in each[first : first + AT_ONCE]))
    return crowd
