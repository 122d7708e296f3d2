"""The admission as the doors over plain HTTP ask it: by the request's origin, address and token."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from aiohttp import web

from bridge.admission import Admission
from bridge.auth import bearer
from bridge.guest import Visitor
from bridge.http_wire import CrossSite


class Gate:
    """``address`` says whose connection a request is counted for."""

    def __init__(
        self, admission: Admission, origins: CrossSite, address: Callable[[web.Request], str]
    ) -> None:
        self.origins = origins
        self._admission = admission
        self._address = address

    @asynccontextmanager
    async def visit(self, request: web.Request, shown: str | None = None) -> AsyncIterator[Visitor]:
        """Admit who sent ``request``, for as long as it is answered; it counts as one event.

        ``shown`` is the token of one that can send no header. Raises `RequestError`, before anything is read
        of the body.
        """
        self.origins.check(request)
        visitor = Visitor()
        address, token = self._address(request), _token(request) or shown
        async with self._admission.visit(address, token, visitor.end) as visitor.admitted:
            visitor.admitted.take_event()
            yield visitor

    @contextmanager
    def arrived(self, request: web.Request) -> Iterator[str | None]:
        """Count the connection of ``request``, and give the token of its head. Raises `RequestError`."""
        self.origins.check(request)
        address = self._address(request)
        self._admission.arrive(address)
        try:
            yield _token(request)
        finally:
            self._admission.depart(address)

    @asynccontextmanager
    async def admitted(self, token: str | None) -> AsyncIterator[Visitor]:
        """Admit who shows ``token``; see `Admission.admit`."""
        visitor = Visitor()
        visitor.admitted = await self._admission.admit(token, visitor.end)
        try:
            yield visitor
        finally:
            visitor.admitted.close()


def _token(request: web.Request) -> str | None:
    return bearer(request.headers.get("Authorization"))
