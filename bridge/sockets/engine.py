"""python-engineio's aiohttp driver, with the faults mended that would cost a device its messages.

The stock driver reads a polling POST once and so loses what has not arrived yet, names 127.0.0.1 as every
device's address, and lets browsers switch on per-message compression that costs 90 KiB a connection.
"""

import asyncio
import contextlib
import sys
from typing import Any

from aiohttp import web
from engineio.async_drivers import aiohttp as stock

from bridge.sockets import direct
from bridge.sockets.intake import BODY, Intake
from bridge.sockets.line import Line, line_of
from bridge.sockets.packets import is_frame


class WholeBody:
    """A request's body, which was read to its end before."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def read(self, _: int) -> bytes:
        """Return all of it."""
        return self._body


def translate_request(request: web.Request) -> dict[str, Any]:
    """Return the WSGI-like environment of ``request`` with its whole body and its real address.

    It is kept as long as the connection: the names of its headers are the same strings for all of them.
    """
    environ: dict[str, Any] = stock.translate_request(request)
    body = request.get(BODY, b"")
    environ["wsgi.input"] = WholeBody(body)
    environ["CONTENT_LENGTH"] = str(len(body))
    environ["REMOTE_ADDR"] = request.remote or ""
    return {sys.intern(name): value for name, value in environ.items()}


class StockWebSocket(stock.WebSocket):  # type: ignore[misc]  # python-engineio has no types
    """The stock websocket without compression."""

    async def __call__(self, environ: dict[str, Any]) -> web.WebSocketResponse:
        """Serve one websocket to its end."""
        self._sock = await _prepared(self.server, environ)
        self.environ = environ
        await self.handler(self)
        return self._sock

    async def wait(self) -> Any:
        """Return the next packet. Raises OSError where none may come, or what comes is none: it ends."""
        if self.handler.__self__.closed:
            raise OSError
        data = await super().wait()
        if not is_frame(data):
            raise OSError
        return data


class DirectWebSocket:
    """A websocket as python-engineio's driver table wants it, served by `direct.serve`."""

    def __init__(self, handler: Any, server: Any) -> None:
        self._socket = handler.__self__
        self._server = server

    async def __call__(self, environ: dict[str, Any]) -> web.WebSocketResponse:
        """Serve one websocket to its end."""
        websocket = await _prepared(self._server, environ)
        await direct.serve(self._socket, websocket, environ["aiohttp.request"].transport)
        return websocket


async def _prepared(server: Any, environ: dict[str, Any]) -> web.WebSocketResponse:
    websocket = web.WebSocketResponse(max_msg_size=server.max_http_buffer_size, compress=False)
    await websocket.prepare(environ["aiohttp.request"])
    return websocket


def install(engine: Any, intake: Intake, *, fast: bool = True) -> str | None:
    """Put this driver in the place of the stock one in ``engine``, behind ``intake``.

    Returns why websockets are served in the stock way, None where they are not.
    """
    why = direct.misfit(engine) if fast else "the fast path is switched off"
    websocket = DirectWebSocket if why is None else StockWebSocket

    def create_route(app: web.Application, _: Any, path: str) -> None:
        app.router.add_route("*", path, intake.handle)

    ours = {"translate_request": translate_request, "websocket": websocket, "create_route": create_route}
    engine._async = {**engine._async, **ours}  # noqa: SLF001  (the driver table has no public door)
    return why


async def disconnect_all(engine: Any, *, flush_s: float, spread_s: float = 0.0) -> None:
    """Close every connection of ``engine``, in the course of ``spread_s``, and those that came meanwhile.

    They come back to another node: that must not be at one moment. One that does not read what waits for it
    is not waited for longer than ``flush_s``.
    """
    closing: set[asyncio.Task[None]] = set()
    lines = [line for socket in engine.sockets.values() if (line := line_of(socket))]
    for sid in (sids := _open(engine)):
        closing.add(asyncio.create_task(engine.disconnect(sid)))
        await asyncio.sleep(spread_s / len(sids))
    closing |= {asyncio.create_task(engine.disconnect(sid)) for sid in _open(engine)}
    if closing:
        _, late = await asyncio.wait(closing, timeout=flush_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*closing, return_exceptions=True)
    await _flushed(lines, flush_s)
    for line in lines:
        line.cut()


async def _flushed(lines: list[Line], within_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while any(line.waiting_bytes() for line in lines):  # noqa: ASYNC110  (nothing tells us)
                await asyncio.sleep(0.01)


def _open(engine: Any) -> list[str]:
    return [sid for sid, socket in engine.sockets.items() if not (socket.closed or socket.closing)]
