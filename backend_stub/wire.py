"""The connection to one caller: what is written to it, and how it ends."""

import asyncio
from typing import NoReturn

from aiohttp import web

from backend_stub.faults import STATUSES, Fault
from backend_stub.frames import HEADERS, PING
from backend_stub.spoiling import Act, Step

_DRIP_S = 0.2


class Line:
    """Writes the stream of one call."""

    def __init__(self, request: web.Request) -> None:
        self.response = web.StreamResponse(headers=HEADERS)
        self._request = request
        self._over = False

    @property
    def dropped(self) -> bool:
        """Tell whether the caller went away before the end that this side meant to make."""
        return not self._over and not connected(self._request)

    async def open(self) -> None:
        """Send the headers."""
        await self.response.prepare(self._request)

    async def close(self) -> None:
        """End the body cleanly."""
        self._over = True
        await self.response.write_eof()

    async def do(self, step: Step) -> None:
        """Write ``step``, or do what it says; raise `ConnectionError` when the caller is gone."""
        if isinstance(step, bytes):
            await self.response.write(step)
        elif step is Act.STALL:
            await self.drip()
        else:
            await self.sever()

    async def drip(self) -> NoReturn:
        """Send comments until the caller goes away."""
        while True:
            await self.response.write(PING)
            await asyncio.sleep(_DRIP_S)

    async def sever(self) -> NoReturn:
        """Break the connection at once, whatever was sent so far."""
        self._over = True
        if self._request.transport is not None:
            self._request.transport.abort()
        await until_gone()

    def answered(self, response: web.Response) -> web.Response:
        """Take ``response`` for the answer of the call, which ends it."""
        self._over = True
        return response


def connected(request: web.Request) -> bool:
    """Tell whether the caller is still there."""
    return request.transport is not None and not request.transport.is_closing()


async def until_gone() -> NoReturn:
    """Do nothing until the caller goes away, which cancels this."""
    await asyncio.Event().wait()
    raise AssertionError  # the event is nobody's to set


async def misbehave(fault: Fault, line: Line, *, streaming: bool = True) -> web.StreamResponse:
    """Do what ``fault`` says in the place of an answer."""
    if fault.name in STATUSES:
        return line.answered(_status(STATUSES[fault.name]))
    if fault.name == "json-error":
        return line.answered(_error(200, "model_failed", "unable to answer; the model is not there"))
    if fault.name == "redirect":
        return line.answered(web.Response(status=302, headers={"Location": "/elsewhere"}))
    if fault.name == "refuse":
        return await line.sever()
    if fault.name == "hang" and streaming:
        await line.open()
        return await line.drip()
    return await until_gone()


def _status(status: int) -> web.Response:
    response = _error(status, "fault", "unable to answer; this was asked for")
    if status == 429:  # noqa: PLR2004 - too many requests
        response.headers["Retry-After"] = "1"
    return response


def _error(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": message}}, status=status)
