"""The two calls that ask for an answer: as a stream, and complete."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from aiohttp import web

from backend_stub import wire
from backend_stub.answers import Answers
from backend_stub.asks import Ask, read_ask
from backend_stub.errors import Refused, SettingError
from backend_stub.faults import BEFORE_ANSWER, NONE, Fault, parse
from backend_stub.model import Pace
from backend_stub.spoiling import Spoiler
from backend_stub.tally import Tally
from backend_stub.wire import Line

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

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Answer frame by frame, from behind ``Last-Event-ID`` on if that is given."""
        ask, fault = await self._take(request, "stream")
        line = Line(request)
        with self._open(line):
            if fault.name in BEFORE_ANSWER:
                return await wire.misbehave(fault, line)
            await self._tell(ask, fault, line, after=_last_seen(request))
        return line.response

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """Answer once the answer is whole."""
        ask, fault = await self._take(request, "complete")
        if fault.name in BEFORE_ANSWER:
            return await wire.misbehave(fault, Line(request), streaming=False)
        with self._answers.attached(ask, fail_after=_fail_after(fault)) as answer:
            await answer.frame(0)
            answer.started.set()
            message = await answer.ended()
        told = json.dumps(message.told(), ensure_ascii=False)
        return web.Response(text=told, content_type="application/json")

    async def _take(self, request: web.Request, call: str) -> tuple[Ask, Fault]:
        ask = read_ask(await request.read(), request.headers.get("Idempotency-Key"), self._pace)
        calls = self._tally.of(ask.request_id)
        calls.posts += 1
        fault = self._fault(request, ask)
        return ask, fault if fault.concerns(call, calls.posts) else NONE

    def _fault(self, request: web.Request, ask: Ask) -> Fault:
        said = request.headers.get("X-Stub-Fault", ask.fault)
        if said is None:
            return self._usual_fault()
        try:
            return parse(said)
        except SettingError as exc:
            raise Refused(400, "bad_fault", str(exc)) from exc

    async def _tell(self, ask: Ask, fault: Fault, line: Line, *, after: int) -> None:
        spoiler = Spoiler(fault)
        with self._answers.attached(ask, fail_after=_fail_after(fault)) as answer:
            await answer.frame(0)  # from here on there is an answer
            await line.open()
            if after:
                answer.started.set()  # this caller says that it has the start
            while (frame := await answer.frame(after)) is not None:
                after += 1
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


def _fail_after(fault: Fault) -> int | None:
    return fault.after if fault.name == "error" else None


def _last_seen(request: web.Request) -> int:
    said = request.headers.get("Last-Event-ID", "")
    usable = said.isascii() and said.isdecimal() and len(said) <= _RESUME_DIGITS
    return int(said) if usable else 0
