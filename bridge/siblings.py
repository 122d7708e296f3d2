"""The bridge processes that share one port: a connection that another one is to answer is handed to it.

The kernel spreads connections over all who listen (SO_REUSEPORT), and knows nothing of sessions. The id of a
session says whose it is; a request of it that comes elsewhere goes there over a Unix socket together with its
connection (SCM_RIGHTS), and is served there as if it had come there first, and so is all that follows on it.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

HAND_OVER_S = 1.0
"""How long a connection may take from one process to the other."""
AT_ONCE = 64
"""So many may be on their way to this process; the others wait in its backlog."""
PIECE_BYTES = 64 * 1024
_LENGTH = struct.Struct(">I")
_SAID_ANEW = frozenset({b"content-length", b"transfer-encoding", b"expect"})

Adopt = Callable[[socket.socket, bytes], Awaitable[None]]


class Siblings:
    """The processes of one parent, as one of them sees the others.

    ``place`` is where it is handed connections: a socket in a folder that only its user can open, named by
    its number; those of the others are beside it. ``fault`` is told of what should not have happened.
    """

    def __init__(self, place: Path, fault: Callable[[BaseException], None]) -> None:
        self._place = place
        self._fault = fault
        self._free = asyncio.Semaphore(AT_ONCE)

    def __repr__(self) -> str:
        return f"<Siblings, this is {self._place.name}>"

    def mark(self, sid: str) -> str:
        """Return ``sid`` as the id of a session of this process."""
        return f"{self._place.name}.{sid}"

    def owner_of(self, sid: str) -> str | None:
        """Return which other process may have the session ``sid``, None where no other can."""
        number, dot, _ = sid.partition(".")
        known = bool(dot) and number.isascii() and number.isdecimal() and number != self._place.name
        return number if known else None

    async def hand_over(self, request: web.Request, body: bytes, owner: str) -> bool:
        """Let the process ``owner`` answer ``request``, of which ``body`` was read, and have its connection.

        False where it cannot be reached: the request is to be answered here.
        """
        transport = request.transport
        if transport is None or transport.is_closing() or transport.get_write_buffer_size():
            return False
        transport.pause_reading()
        try:
            async with asyncio.timeout(HAND_OVER_S):
                await self._send(owner, transport.get_extra_info("socket").fileno(), _begun(request, body))
        except (OSError, TimeoutError):
            transport.resume_reading()
            return False
        transport.abort()  # closes what this process has of it, and says nothing to the client
        return True

    async def run(self, adopt: Adopt) -> None:
        """Have ``adopt`` serve what is handed to this process, until cancelled."""
        loop = asyncio.get_running_loop()
        self._place.unlink(missing_ok=True)  # of one that had this place before
        with socket.socket(socket.AF_UNIX) as listener:
            listener.settimeout(0.0)
            listener.bind(str(self._place))
            listener.listen(1024)
            async with asyncio.TaskGroup() as group:
                while True:
                    await self._free.acquire()
                    line, _ = await loop.sock_accept(listener)
                    group.create_task(self._take(line, adopt), name="handed over")

    async def _send(self, owner: str, descriptor: int, begun: bytes) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(0.0)
            await loop.sock_connect(line, str(self._place.with_name(owner)))
            socket.send_fds(line, [_LENGTH.pack(len(begun))], [descriptor])
            await loop.sock_sendall(line, begun)

    async def _take(self, line: socket.socket, adopt: Adopt) -> None:
        try:
            with line, contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(HAND_OVER_S):
                    await _adopted(line, adopt)
        except Exception as fault:  # noqa: BLE001  (one bad connection must not cost the others)
            self._fault(fault)
        finally:
            self._free.release()


async def _adopted(line: socket.socket, adopt: Adopt) -> None:
    loop = asyncio.get_running_loop()
    await _readable(line)
    length, descriptors, _, _ = socket.recv_fds(line, _LENGTH.size, 1)
    if not descriptors:
        return
    with socket.socket(fileno=descriptors[0]) as connection:
        (size_bytes,) = _LENGTH.unpack(length)
        begun = bytearray()
        while part := await loop.sock_recv(line, PIECE_BYTES):
            begun += part
        if len(begun) == size_bytes:  # less: its sender gave up, and answers itself
            connection.settimeout(0.0)
            await adopt(connection.dup(), bytes(begun))


async def _readable(line: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(line, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(line)


def _begun(request: web.Request, body: bytes) -> bytes:
    """Return ``request`` as it came, with the length of what came as ``body``."""
    version = f"HTTP/{request.version.major}.{request.version.minor}"
    first = f"{request.method} {request.raw_path} {version}".encode("utf-8", "surrogateescape")
    lines = [name + b": " + value for name, value in request.raw_headers if name.lower() not in _SAID_ANEW]
    length = [b"Content-Length: %d" % len(body)] if request.method == "POST" else []
    return b"\r\n".join([first, *lines, *length, b"", body])
