"""The connection to one caller: what is written to it, and how it ends."""

import asyncio
from typing import NoReturn

from aiohttp import web

from backend_stub.errors import Refused
from backend_stub.faults import STATUSES, Fault
from backend_stub.spoiling import Act, Step
from backend_stub.wires.base import Wire

_DRIP_S = 0.2


class Line:
    """Writes the stream of one call in the format of ``wire``."""

    def __init__(self, request: web.Request, wire: Wire) -> None:
        self.response = web.StreamResponse(headers=wire.headers)
        self._request = request
        self._ping = wire.ping
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
        """Say only that the connection is alive, until the caller goes away."""
        while True:
            await self.response.write(self._ping)
            await asyncio.sleep(_DRIP_S)

    async def sever(self) -> NoReturn:
        """Break the connection at once, whatever was sent so far."""
        self._over = True
        if self._request.transport is not None:
            self._request.transport.abort()
        await until_gone()

    def refuse(self, status: int, code: str, message: str) -> NoReturn:
        """Raise the refusal that is the answer of the call, which ends it."""
        self._over = True
        raise Refused(status, code, message)

    def redirect(self) -> web.Response:
        """Return the response that sends the caller elsewhere, which ends the call."""
        self._over = True
        return web.Response(status=302, headers={"Location": "/elsewhere"})


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
        line.refuse(STATUSES[fault.name], "fault", "unable to answer; this was asked for")
    if fault.name == "json-error":
        line.refuse(200, "model_failed", "unable to answer; the model is not there")
    if fault.name == "redirect":
        return line.redirect()
    if fault.name == "refuse":
        return await line.sever()
    if fault.name == "hang" and streaming:
        await line.open()
        return await line.drip()
    return await until_gone()
