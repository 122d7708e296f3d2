"""The way to a client whose websocket is up: frames made by us, written straight to its transport."""

import asyncio
import struct
from typing import Any

GOODBYE_S = 0.3
"""How long a client that is sent away may take to close the connection itself."""

_TEXT, _BINARY = 0x81, 0x82
_head_of_medium, _head_of_large = struct.Struct("!BBH").pack, struct.Struct("!BBQ").pack
_CLOSE_FRAME = b"\x88\x02" + struct.pack("!H", 1000)


def frame(data: str | bytes) -> bytes:
    """Return ``data`` as one unmasked websocket frame (RFC 6455, 5.2)."""
    opcode, body = (_TEXT, data.encode("utf-8", "replace")) if isinstance(data, str) else (_BINARY, data)
    size = len(body)
    if size < 126:  # noqa: PLR2004  (the standard's figures)
        return bytes((opcode, size)) + body
    if size < 65536:  # noqa: PLR2004
        return _head_of_medium(opcode, 126, size) + body
    return _head_of_large(opcode, 127, size) + body


class Line:
    """The way to a client whose websocket is up: what is written is sent in order, and never waited for."""

    __slots__ = ("socket", "transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        """What frames are written to; uvloop's raises RuntimeError where the connection has ended."""
        self.socket: Any = None
        """What the transport writes to, where it was asked for; see `bridge.sockets.burst`."""

    def __repr__(self) -> str:
        return f"<Line {self.waiting_bytes()} bytes waiting>"

    def write(self, frame: bytes) -> None:
        """Take a frame; behind the end of the connection it goes nowhere."""
        try:  # noqa: SIM105  (for every frame that is one device's own: a context takes longer than the frame)
            self.transport.write(frame)
        except RuntimeError:
            pass

    def waiting_bytes(self) -> int:
        """Return how much the client has not taken yet, beside what the kernel holds for it."""
        return self.transport.get_write_buffer_size()

    def end(self) -> None:
        """Say goodbye behind all that was written; who does not leave is cut off."""
        self.write(_CLOSE_FRAME)
        asyncio.get_running_loop().call_later(GOODBYE_S, self.cut)

    def cut(self) -> None:
        """End the connection now; what waits is lost."""
        self.transport.abort()


def line_of(socket: Any) -> Line | None:
    """Return the way to the client of an Engine.IO ``socket``, None while it polls or upgrades."""
    return getattr(socket, "bridge_line", None)
