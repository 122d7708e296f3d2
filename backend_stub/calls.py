"""The calls that ask for an answer: as a stream, and complete."""

import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from aiohttp import web

from backend_stub.answers import Answers
from backend_stub.asks import Ask, Post
from backend_stub.errors import Refused, SettingError
from backend_stub.faults import BEFORE_ANSWER, NONE, Fault, parse
from backend_stub.line import Line, misbehave
from backend_stub.model import Pace
from backend_stub.pieces import WELL, Ended
from backend_stub.spoiling import Spoiler
from backend_stub.tally import Tally
from backend_stub.wires.base import Wire

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
"""What a route calls."""

_RESUME_DIGITS = 9


class CallDesk:
    """Takes calls, counts them, and gives each the answer, or the fault, that it is due.

    ``usual_fault`` gives the fault of calls that ask for none, ``pace`` is that of calls that name none.
    """

    def __init__(self, answers: Answers, tally: Tally, usual_fault: Callable[[], Fault], pace: Pace) -> None:
        self._answers = answers
        self._tally = tally
        self._usual_fault = usual_fault
        self._pace = pace

    def streaming(self, kind: type[Wire]) -> Handler:
        """Return what answers posts of one format frame by frame."""

        async def handle(request: web.Request) -> web.StreamResponse:
            return await self.stream(request, kind.read(await self.post(request)))

        return handle

    def completing(self, kind: type[Wire]) -> Handler:
        """Return what answers posts of one format once the answer is whole."""

        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._complete(request, kind.read(await self.post(request)))

        return handle

    def choosing(self, kind: type[Wire]) -> Handler:
        """Return what answers posts of one format as their bodies say."""

        async def handle(request: web.Request) -> web.StreamResponse:
            wire = kind.read(await self.post(request))
            return await (self.stream if wire.streaming else self._complete)(request, wire)

        return handle

    async def post(self, request: web.Request) -> Post:
        """Return what came with a call."""
        return Post(await request.read(), request.headers, request.match_info, self._pace)

    async def stream(self, request: web.Request, wire: Wire) -> web.StreamResponse:
        """Answer frame by frame; of the numbered ones, those behind ``Last-Event-ID`` if that is given."""
        fault = self._take(request, wire.ask, "stream")
        line = Line(request, wire)
        with self._open(line):
            if fault.name in BEFORE_ANSWER:
                return await misbehave(fault, line)
            await self._tell(wire, fault, line, after=_last_seen(request))
        return line.response

    async def _complete(self, request: web.Request, wire: Wire) -> web.StreamResponse:
        fault = self._take(request, wire.ask, "complete")
        if fault.name in BEFORE_ANSWER:
            return await misbehave(fault, Line(request, wire), streaming=False)
        with self._answers.attached(wire.ask, fail_after=_fail_after(fault)) as answer:
            await answer.piece(0)
            answer.started.set()
            message = await answer.ended()
        if not wire.tells_failures and message.finish_reason not in WELL:
            raise Refused(500, "model_failed", f"unable to answer; {_why(answer.pieces[-1])}")
        told = json.dumps(wire.complete(message, answer.pieces), ensure_ascii=False)
        return web.Response(text=told, content_type="application/json")

    def _take(self, request: web.Request, ask: Ask, call: str) -> Fault:
        calls = self._tally.of(ask.request_id)
        calls.posts += 1
        fault = self._fault(request, ask)
        return fault if fault.concerns(call, calls.posts) else NONE

    def _fault(self, request: web.Request, ask: Ask) -> Fault:
        said = request.headers.get("X-Stub-Fault", ask.fault)
        if said is None:
            return self._usual_fault()
        try:
            return parse(said)
        except SettingError as exc:
            raise Refused(400, "bad_fault", str(exc)) from exc

    async def _tell(self, wire: Wire, fault: Fault, line: Line, *, after: int) -> None:
        spoiler = Spoiler(fault, wire)
        position = 0
        with self._answers.attached(wire.ask, fail_after=_fail_after(fault)) as answer:
            await answer.piece(0)  # from here on there is an answer
            await line.open()
            if after:
                answer.started.set()  # this caller says that it has the start
            while (piece := await answer.piece(position)) is not None:
                position += 1
                for frame in spoiler.frames(piece):
                    if frame.number is None or frame.number > after:
                        for step in spoiler.steps(frame):
                            await line.do(step)
                        answer.started.set()
        await line.close()

    @contextmanager
    def _open(self, line: Line) -> Iterator[None]:
        self._tally.open_streams += 1
        try:
            yield
        finally:
            self._tally.open_streams -= 1
            self._tally.dropped_by_caller += line.dropped


def _why(piece: object) -> str:
    return piece.why if isinstance(piece, Ended) else ""


def _fail_after(fault: Fault) -> int | None:
    return fault.after if fault.name == "error" else None


def _last_seen(request: web.Request) -> int:
    said = request.headers.get("Last-Event-ID", "")
    usable = said.isascii() and said.isdecimal() and len(said) <= _RESUME_DIGITS
    return int(said) if usable else 0
