"""aiohttp's server with deadlines: for the head of a request, and for a body that someone waits for.

The stock one waits an hour for a head, and logs the head that it cannot read, which may hold a token.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from aiohttp import http_exceptions, web
from aiohttp.web_protocol import RequestHandler

from bridge.errors import BridgeError
from bridge.failures import CODE, failure, last, said

KEEPALIVE_S = 75.0
"""Idle connections stay longer than those of the usual proxy, which would send into a closing one."""
LINGER_S = 2.0
"""So long the rest of a body that was refused is read, for its sender to see the answer."""


class ListenError(BridgeError):
    """The address cannot be listened on."""


async def listen(
    app: web.Application,
    host: str,
    port: int,
    *,
    header_s: float,
    shared: bool = False,
    refused: Callable[[str], None] = lambda _: None,
    **options: Any,
) -> "Site":
    """Serve ``app`` at ``host`` and ``port``, 0 being any, which other processes may have ``shared``.

    A head that is not there in ``header_s`` ends its connection. ``refused`` is told the code of what never
    became a request; ``options`` are aiohttp's. Raises `ListenError`.
    """
    runner = web.AppRunner(
        app,
        access_log=None,
        shutdown_timeout=0.1,
        keepalive_timeout=KEEPALIVE_S,
        lingering_time=LINGER_S,
        **options,
    )
    await runner.setup()
    try:
        site = Site(runner, _bound(host, port, shared=shared), header_s=header_s, refused=refused)
        await site.start()
    except BaseException:
        await runner.cleanup()
        raise
    return site


@contextlib.contextmanager
def reserved(host: str, port: int) -> Iterator[int]:
    """Give a port of ``host`` that nobody listens on, ``port`` unless that is 0, for processes to share.

    As long as the block takes it goes to no program that asks for any. Raises `ListenError`.
    """
    with _bound(host, port) as alone:  # who shares it already would not be noticed otherwise
        family, where = alone.family, alone.getsockname()
    with socket.socket(family) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        held.bind(where)
        yield int(where[1])


def _bound(host: str, port: int, *, shared: bool = False) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=1024, reuse_port=shared)
    except (OSError, OverflowError) as exc:
        why = "the port is in use" if getattr(exc, "errno", None) == errno.EADDRINUSE else str(exc)
        raise ListenError(f"unable to listen on {host}:{port}; {why}") from exc


async def read_body(request: web.Request, limit_bytes: int, *, within_s: float) -> bytes:
    """Return the body of ``request``.

    Raises aiohttp's 413 when it is over ``limit_bytes``, at once where its length says so, 408 when it is not
    there in ``within_s``, and 400 when it is cut.
    """
    if request.content_length is not None and request.content_length > limit_bytes:
        raise _too_large(limit_bytes, request.content_length)
    parts, size_bytes = [], 0
    try:
        async with asyncio.timeout(within_s):
            while part := await request.content.readany():
                size_bytes += len(part)
                if size_bytes > limit_bytes:
                    raise _too_large(limit_bytes, size_bytes)
                parts.append(part)
    except TimeoutError as exc:
        raise _last(web.HTTPRequestTimeout, "body_timeout", "its body is late") from exc
    except web.RequestPayloadError as exc:
        raise _last(web.HTTPBadRequest, "bad_body", "its body cannot be read") from exc
    return b"".join(parts)


class Site(web.BaseSite):
    """Serves what ``listener`` takes, and what it is given beside that."""

    def __init__(self, runner: web.AppRunner, listener: socket.socket, **ours: Any) -> None:
        super().__init__(runner)
        self._listener = listener
        self._ours = ours

    @property
    def address(self) -> str:
        """Where clients find it."""
        host, port = self._listener.getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    @property
    def name(self) -> str:
        """Where it listens; aiohttp asks for it."""
        return str(self._listener.getsockname())

    async def start(self) -> None:
        """Begin to serve."""
        await super().start()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._handler, sock=self._listener)

    async def adopt(self, connection: socket.socket, begun: bytes) -> None:
        """Serve a connection that was taken elsewhere; ``begun`` is what was read of it."""
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(partial(self._handler, begun), connection)

    async def close(self) -> None:
        """Take no more requests, and let those under way end."""
        await self._runner.cleanup()

    def _handler(self, begun: bytes = b"") -> "_Handler":
        server: Any = self._runner.server
        loop, options = asyncio.get_running_loop(), server._kwargs  # noqa: SLF001  (aiohttp has no door for it)
        return _Handler(server, loop=loop, begun=begun, **self._ours, **options)


class _Handler(RequestHandler):
    """One connection. A deadline runs whenever it waits for a head of which something may have come.

    ``begun`` was read of it before.
    """

    __slots__ = ("_begun", "_deadline", "_header_s", "_refused")

    def __init__(
        self,
        manager: Any,
        *,
        header_s: float,
        refused: Callable[[str], None],
        begun: bytes = b"",
        **options: Any,
    ) -> None:
        super().__init__(manager, **options)
        self._header_s = header_s
        self._refused = refused
        self._begun = begun
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._deadline = self._loop.call_later(self._header_s, self._late)
        if self._begun:
            self.data_received(self._begun)
            self._begun = b""

    def connection_lost(self, exc: BaseException | None) -> None:
        self._in_time()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._waits:
            self._in_time()
        elif self._deadline is None:
            self._deadline = self._loop.call_later(self._header_s, self._late)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if isinstance(exc, http_exceptions.HttpProcessingError):
            self._refused("bad_request")
            return last(failure(400, "bad_request", "unable to read the request"))
        super().handle_error(
            request, status, exc, message
        )  # which logs it, and raises if an answer has begun
        return last(failure(status, "internal", "unable to answer; the bridge failed"))

    @property
    def _waits(self) -> bool:
        return not (self._messages or self._request_in_progress)

    def _in_time(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self) -> None:
        self._deadline = None
        if self._waits:
            self._refused("head_timeout")
            self.force_close()


def _too_large(limit_bytes: int, size_bytes: int) -> web.HTTPException:
    made = partial(web.HTTPRequestEntityTooLarge, limit_bytes, size_bytes)
    return _last(made, "body_too_large", f"its body is over {limit_bytes} bytes")


def _last(made: Callable[..., web.HTTPException], code: str, why: str) -> web.HTTPException:
    """Return the refusal of a request as the last answer of its connection."""
    refusal = made(**said(code, f"unable to take the request; {why}"))
    refusal[CODE] = code
    refusal.force_close()
    return refusal
