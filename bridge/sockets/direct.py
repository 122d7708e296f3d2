"""Engine.IO over a websocket without queue and writer task: a packet is a frame, written to the transport.

All packets take this one way once the websocket is up, so there is no order to restore. A client that polls,
or is about to upgrade, is served by python-engineio's own queue until then.
"""

import asyncio
import contextlib
from functools import partial
from typing import Any

from aiohttp import WSMsgType, web
from engineio import packet
from engineio.async_socket import AsyncSocket

from bridge.sockets.line import Line, frame

UPGRADE_S = 10.0
"""How long a client may take from the probe to the upgrade."""

_FLAGS = ("connected", "upgraded", "upgrading", "closing", "closed")


class _NoQueue:
    """The queue of sockets whose packets wait nowhere: each would else hold three kilobytes for it."""

    def empty(self) -> bool:
        return True

    def get_nowait(self) -> Any:
        raise asyncio.QueueEmpty

    def put_nowait(self, _: None) -> None:
        """Be told that nobody need wait any more: nobody does."""

    def task_done(self) -> None:
        """Be told by the last poll, which took its packet before, that it was sent."""

    async def join(self) -> None:
        """Wait for nothing."""


NOTHING_WAITS = _NoQueue()


async def serve(socket: Any, websocket: web.WebSocketResponse, transport: Any) -> None:
    """Be the websocket of an Engine.IO ``socket`` to its end, from its handshake or from an upgrade on."""
    line = Line(transport)
    if socket.connected and not await _upgraded(socket, websocket, line):
        return
    socket.connected = socket.upgraded = True
    go_direct(socket, line)
    try:
        await _read(socket, websocket)
    finally:
        await socket.close(wait=False, abort=True, reason=socket.server.reason.TRANSPORT_CLOSE)


def go_direct(socket: Any, line: Line) -> None:
    """Write what waits in the queue of ``socket``, and from now on everything, to ``line``."""
    socket.bridge_line = line
    socket.send = partial(_send, socket, line)
    while not socket.queue.empty():
        waiting = socket.queue.get_nowait()
        socket.queue.task_done()
        if waiting is not None and waiting.packet_type != packet.NOOP:  # that one ended the last poll
            line.write(frame(waiting.encode()))
    socket.queue = NOTHING_WAITS


async def _send(socket: Any, line: Line, sent: Any) -> None:
    """Do what `AsyncSocket.send` does."""
    if not await socket.check_ping_timeout():
        return
    line.write(frame(sent.encode()))
    if sent.packet_type == packet.CLOSE:
        line.end()


async def _upgraded(socket: Any, websocket: web.WebSocketResponse, line: Line) -> bool:
    """Take a polling client over (Engine.IO protocol 4, Upgrade); False where it did not follow."""
    if socket.upgrading:
        return False
    socket.upgrading = True  # polls are answered with NOOP from now on
    try:
        async with asyncio.timeout(UPGRADE_S):
            if await _text(websocket) != "2probe":
                return False
            line.write(frame("3probe"))
            await socket.queue.put(packet.Packet(packet.NOOP))  # ends the poll that waits
            return await _text(websocket) == "5"
    except TimeoutError:
        return False
    finally:
        socket.upgrading = False


async def _text(websocket: web.WebSocketResponse) -> str | None:
    message = await websocket.receive()
    return message.data if message.type is WSMsgType.TEXT else None


async def _read(socket: Any, websocket: web.WebSocketResponse) -> None:
    """Take packets until the connection ends, or one comes that is none."""
    while not socket.closed:
        message = await websocket.receive()
        if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
            return
        try:
            await socket.receive(packet.Packet(encoded_packet=message.data))
        except Exception:  # noqa: BLE001  (whatever a packet does to the library costs its own connection)
            return


class _Probe(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[Any] = []

    def write(self, data: Any) -> None:
        self.written.append(data)


def misfit(server: Any) -> str | None:
    """Return why the python-engineio that is installed cannot be served this way, None if it can."""
    probe = _Probe()
    try:
        socket = AsyncSocket(server, "probe")
        flags = [getattr(socket, name) for name in _FLAGS]
        socket.queue.put_nowait(packet.Packet(packet.OPEN, data="{}"))
        go_direct(socket, Line(probe))
        with contextlib.suppress(StopIteration):
            socket.send(packet.Packet(packet.MESSAGE, data="x")).send(None)
    except Exception as exc:  # noqa: BLE001  (whatever it is, the stock way does not mind it)
        return f"{type(exc).__name__}: {exc}"
    if any(flags) or probe.written != [frame("0{}"), frame("4x")]:
        return "its sockets behave otherwise than those this was written for"
    return None
