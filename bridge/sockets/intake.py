"""HTTP of Engine.IO, looked at before python-engineio sees it: what is not of the protocol costs an answer.

python-engineio answers a body that it cannot read with 200 and lets the session live, does not answer one
that is too large, serves two polls of a session at once, and reads a body without a length as empty.
"""

import hmac
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from engineio import packet

from bridge.errors import RequestError
from bridge.failures import failure
from bridge.http_server import read_body
from bridge.siblings import Siblings
from bridge.sockets.packets import InvalidPacket, check_body

BODY = web.RequestKey("body", bytes)
"""Where a request keeps its body once it is read."""
_POLLING, _WEBSOCKET = "polling", "websocket"


class Intake:
    """Answers the requests of one Engine.IO path, by ``engine`` where they may be.

    ``address`` says where a request comes from, ``check_address`` raises `RequestError` where no more may
    come from, ``allows`` says whether the page that asks may. ``opened_by`` gives the request that opened a
    session, ``is_of`` says whether an Authorization header is of its user, ``cut_off`` ends it. ``siblings``
    are the processes that share its port, if any do.
    """

    def __init__(
        self,
        engine: Any,
        *,
        address: Callable[[web.Request], str],
        check_address: Callable[[str], None],
        allows: Callable[[web.Request], bool],
        opened_by: Callable[[str], web.Request | None],
        is_of: Callable[[str, str], Awaitable[bool]],
        cut_off: Callable[[str], Awaitable[None]],
        body_s: float,
        siblings: Siblings | None = None,
    ) -> None:
        self._engine = engine
        self._address = address
        self._check_address = check_address
        self._allows = allows
        self._opened_by = opened_by
        self._is_of = is_of
        self._cut_off = cut_off
        self._body_s = body_s
        self._siblings = siblings
        if siblings is not None:
            made = engine.generate_id
            engine.generate_id = lambda: siblings.mark(made())
        self._polls: set[str] = set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        sid = request.query.get("sid")
        if not self._allows(request):
            return failure(403, "bad_origin", "unable to connect; pages of that origin may not")
        if request.method == "OPTIONS":
            return await self._pass_on(request)
        if request.query.get("transport") not in (_POLLING, _WEBSOCKET) or "j" in request.query:
            return failure(400, "bad_transport", "unable to connect; the transport is unknown")
        return await (self._open(request) if sid is None else self._go_on(sid, request))

    async def _go_on(self, sid: str, request: web.Request) -> web.StreamResponse:
        if self._siblings is not None and (owner := self._siblings.owner_of(sid)):
            return await self._hand_over(self._siblings, owner, request)
        if not await self._may_use(sid, request):
            return failure(403, "unauthorized", "unable to go on; the session is another user's")
        if request.method == "POST":
            return await self._post(sid, request)
        if request.method != "GET":
            return failure(400, "bad_method", "unable to go on; the method is unknown")
        return await self._get(sid, request)

    async def _hand_over(self, siblings: Siblings, owner: str, request: web.Request) -> web.StreamResponse:
        body = await self._body(request) if request.method == "POST" else b""
        if await siblings.hand_over(request, body, owner):
            return web.Response()  # goes nowhere: the connection is the other's
        return _unknown()

    async def _open(self, request: web.Request) -> web.StreamResponse:
        if request.method != "GET":
            return failure(400, "bad_method", "unable to connect; the method is not GET")
        try:
            self._check_address(self._address(request))
        except RequestError as error:
            return failure(429, error.code, str(error))
        return await self._pass_on(request)

    async def _may_use(self, sid: str, request: web.Request) -> bool:
        """Return whether a session that was opened with an Authorization header is used by the same user.

        Some clients send it only once: without it the request must come from the same address.
        """
        opened = self._opened_by(sid)
        with_header = "" if opened is None else opened.headers.get("Authorization", "")
        if opened is None or not with_header:
            return True
        given = request.headers.get("Authorization", "")
        if not given:
            return self._address(request) == self._address(opened)
        return hmac.compare_digest(given.encode(), with_header.encode()) or await self._is_of(sid, given)

    async def _get(self, sid: str, request: web.Request) -> web.StreamResponse:
        if request.query["transport"] == _WEBSOCKET:
            return await self._pass_on(request)
        if sid in self._polls:
            await self._cut_off(sid)
            return failure(400, "bad_poll", "unable to go on; the session is polled already")
        self._polls.add(sid)
        try:
            return await self._pass_on(request)
        finally:
            self._polls.discard(sid)

    async def _post(self, sid: str, request: web.Request) -> web.StreamResponse:
        socket = self._engine.sockets.get(sid)
        if socket is None:
            return _unknown()
        body = await self._body(request)
        try:
            check_body(body)
        except InvalidPacket:
            await self._cut_off(sid)
            return failure(400, "bad_packet", "unable to go on; the body holds what is no packet")
        request[BODY] = body
        answer = await self._pass_on(request)
        if socket.closed:
            socket.queue.put_nowait(packet.Packet(packet.NOOP))  # ends the poll that waits
        return answer

    async def _body(self, request: web.Request) -> bytes:
        return await read_body(request, self._engine.max_http_buffer_size, within_s=self._body_s)

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        answer: web.StreamResponse = await self._engine.handle_request(request)
        return answer


def _unknown() -> web.Response:
    return failure(400, "unknown_session", "unable to go on; the session is unknown")
