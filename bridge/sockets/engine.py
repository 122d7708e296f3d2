"""python-engineio's aiohttp driver, with the faults mended that would cost a device its messages.

The stock driver reads a polling POST once and so loses what has not arrived yet, names 127.0.0.1 as every
device's address, and lets browsers switch on per-message compression that costs 90 KiB a connection.
"""

import asyncio
from functools import partial
from typing import Any

from aiohttp import web
from engineio.async_drivers import aiohttp as stock

BODY_S = 10.0
"""How long the body of a polling POST may take."""


class WholeBody:
    """Reads a request's body to its end, where aiohttp's reader gives what has arrived."""

    def __init__(self, request: web.Request) -> None:
        self._request = request

    async def read(self, length: int) -> bytes:
        """Return ``length`` bytes. Raises TimeoutError when they take too long."""
        async with asyncio.timeout(BODY_S):
            return await self._request.content.readexactly(length)


def translate_request(request: web.Request) -> dict[str, Any]:
    """Return the WSGI-like environment of ``request`` with its whole body and its real address."""
    environ: dict[str, Any] = stock.translate_request(request)
    environ["wsgi.input"] = WholeBody(request)
    environ["REMOTE_ADDR"] = request.remote or ""
    return environ


async def poll(socket: Any) -> list[Any]:
    """Return all packets that wait for a websocket, once there is one; none when it is being closed.

    The stock method makes a task and a timer for every packet, to notice a silence that the heartbeat
    notices as well.
    """
    packets = [await socket.queue.get()]
    while not socket.queue.empty():
        packets.append(socket.queue.get_nowait())
    for _ in packets:
        socket.queue.task_done()
    return packets[: packets.index(None)] if None in packets else packets


class WebSocket(stock.WebSocket):  # type: ignore[misc]  # python-engineio has no types
    """The stock websocket without compression; its transport can be found from the Engine.IO socket."""

    async def __call__(self, environ: dict[str, Any]) -> web.WebSocketResponse:
        """Serve one websocket to its end."""
        request: web.Request = environ["aiohttp.request"]
        self._sock = web.WebSocketResponse(max_msg_size=self.server.max_http_buffer_size, compress=False)
        await self._sock.prepare(request)
        self.environ = environ
        socket = self.handler.__self__
        socket.bridge_transport = request.transport
        socket.poll = partial(poll, socket)
        await self.handler(self)
        return self._sock


def install(engine: Any) -> None:
    """Put this driver in the place of the stock one in ``engine``, an ``engineio.AsyncServer``."""
    ours = {"translate_request": translate_request, "websocket": WebSocket}
    engine._async = {**engine._async, **ours}  # noqa: SLF001  (the driver table has no public door)


async def disconnect_all(engine: Any, *, flush_s: float, spread_s: float = 0.0) -> None:
    """Close every connection of ``engine``, in the course of ``spread_s``, and those that came meanwhile.

    They come back to another node: that must not be at one moment. One that does not read what waits for it
    is not waited for longer than ``flush_s``.
    """
    closing: set[asyncio.Task[None]] = set()
    for sid in (sids := _open(engine)):
        closing.add(asyncio.create_task(engine.disconnect(sid)))
        await asyncio.sleep(spread_s / len(sids))
    closing |= {asyncio.create_task(engine.disconnect(sid)) for sid in _open(engine)}
    if closing:
        _, late = await asyncio.wait(closing, timeout=flush_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*closing, return_exceptions=True)


def _open(engine: Any) -> list[str]:
    return [sid for sid, socket in engine.sockets.items() if not (socket.closed or socket.closing)]
