"""One frame to many connections at once: past the event loop to their sockets, where nothing waits in it.

In a large room nearly all time goes into this. To write a frame by way of its transport costs a tenth more.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import repeat
from socket import SocketType
from typing import Any

from bridge.broadcast import Burst
from bridge.sockets.line import Line

LAG_BYTES = 128 * 1024
"""A websocket that has so much to take yet lags; the kernel holds as much again, or more, for it."""


class _Borrowed(SocketType):
    """The socket of a transport, which alone closes it."""

    def __del__(self) -> None:
        self.detach()


def _socket_of(transport: asyncio.Transport) -> _Borrowed | None:
    """Return what ``transport`` writes to, None where it is closing, has none, or encrypts."""
    if transport.is_closing() or transport.get_extra_info("sslcontext") is not None:
        return None
    named = transport.get_extra_info("socket")
    if named is None:
        return None
    borrowed = _Borrowed(fileno=named.fileno())
    borrowed.settimeout(0)  # it is so already, but what stands for it here may have a timeout by default
    return borrowed


class LineBurst:
    """Lines whose transports are of one ``kind``; see `Burst`.

    A socket is written to only while its transport is not closing, so that it is still the transport's, and
    has nothing waiting, which would have to go before. What a socket does not take, its transport gets.
    """

    def __init__(self, kind: type[asyncio.Transport]) -> None:
        self._is_closing = kind.is_closing
        self._waiting_bytes = kind.get_write_buffer_size
        self._transports: list[asyncio.Transport] = []
        self._sockets: list[SocketType] = []

    def add(self, line: Line) -> None:
        """See `Burst.add`."""
        if line.socket is None:
            line.socket = _socket_of(line.transport)
        self._transports.append(line.transport)
        if line.socket is not None:
            self._sockets.append(line.socket)

    def write(self, data: bytes) -> Sequence[int]:
        """See `Burst.write`."""
        transports, sockets = self._transports, self._sockets
        if (
            len(sockets) < len(transports)
            or any(map(self._is_closing, transports))
            or any(map(self._waiting_bytes, transports))
        ):
            return self._write_by_transports(data)
        sent: list[int] = []
        left = iter(sockets)
        while len(sent) < len(sockets):
            try:
                sent.extend(map(SocketType.send, left, repeat(data)))
            except OSError:  # it takes nothing now, or is gone: its transport finds out which
                sent.append(0)
        if sent.count(len(data)) == len(sent):
            return ()
        return [
            place
            for place, size in enumerate(sent)
            if size < len(data) and not _write(transports[place], data[size:])
        ]

    def _write_by_transports(self, data: bytes) -> Sequence[int]:
        return [
            place
            for place, transport in enumerate(self._transports)
            if self._waiting_bytes(transport) >= LAG_BYTES or not _write(transport, data)
        ]


def _write(transport: asyncio.Transport, data: bytes) -> bool:
    """Return whether ``transport`` takes ``data``; uvloop's raises RuntimeError once it has closed."""
    try:
        transport.write(data)
    except RuntimeError:
        return False
    return True


@cache
def burst_for(kind: Any) -> Callable[[], Burst]:
    """Return what makes a burst of lines whose transports are of the type ``kind``; one for each type."""
    return partial(LineBurst, kind)
