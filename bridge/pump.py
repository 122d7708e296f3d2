"""Lets one turn have its answer: which calls are made, in which order, by which deadline.

No call can repeat shown text or make a second answer: what may have arrived is repeated only where the
backend knows repeats, and twice at most.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

from bridge.errors import (
    AnswerTooLarge,
    BackendCut,
    BackendError,
    BackendRefused,
    BackendSilent,
    BackendStalled,
    TurnError,
    TurnInterrupted,
    TurnOverdue,
)
from bridge.events import Delta, Event, Failed, Position, Started, Stored
from bridge.limits import again_after_s
from bridge.ports import Backend, Clock, Prompt
from bridge.turn import Turn

RETRY_AFTER_LIMIT_S = 2.0
"""A backend that wants to be left alone for longer than this is not asked again."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a turn may take and show: durations in seconds, sizes in bytes."""

    first_delta_s: float = 10.0
    stall_s: float = 15.0
    turn_s: float = 120.0
    turns_per_room: int = 4
    turns_per_user: int = 20
    turns_per_node: int = 2000
    answer_bytes: int = 1024 * 1024
    show_reasoning: bool = False


class Pump:
    """The calls of one turn; what they say goes into ``turn``, and ``grown`` is called whenever it grew."""

    def __init__(
        self,
        backend: Backend,
        limits: Limits,
        clock: Clock,
        *,
        turn: Turn,
        prompt: Prompt,
    ) -> None:
        self.grown: Callable[[], None] = _nobody_listens
        self.calls = 0
        """How many calls were made."""
        self.deltas = 0
        self.first_event_at_s: float | None = None
        self.first_delta_at_s: float | None = None
        """When the backend first said anything, and any text, in seconds of the clock."""
        self._arrived = 0
        self._failure: Failed | None = None
        self._backend = backend
        self._limits = limits
        self._clock = clock
        self._turn = turn
        self._prompt = prompt

    def take(self, event: Event) -> None:
        """Let the turn have an event."""
        self._apply(event)
        self.grown()

    def _apply(self, event: Event) -> None:
        """Let the turn have an event; too much text ends the turn."""
        if isinstance(event, Delta):
            self.deltas += 1
            if self.first_delta_at_s is None:
                self.first_delta_at_s = self._clock.monotonic_s()
        try:
            self._turn.apply(event)
        except AnswerTooLarge as error:
            self._turn.apply(Failed(error))

    async def run(self) -> Failed | None:
        """Ask for the answer by the path the turn is pinned to; return why there is none."""
        return await self._in_time(self._stream() if self._turn.streaming else self._complete(calls=2))

    async def go_on(self) -> Failed | None:
        """Ask for what is lacking of an answer that another node began; return why it stays a part."""
        return await self._in_time(self._rest())

    async def _in_time(self, answer: Awaitable[Failed | None]) -> Failed | None:
        try:
            async with asyncio.timeout(self._limits.turn_s):
                return await answer
        except TimeoutError:
            return Failed(TurnOverdue("unable to finish the answer; the turn took too long"))

    async def _stream(self) -> Failed | None:
        failed = await self._pump()
        if failed and not self._turn.shown and self._may_retry(failed.error):
            await self._pause(failed.error)
            failed = await self._pump()
        if failed and self._turn.shown:
            return await self._supply_rest(failed)
        if failed and self._may_ask_again(failed.error):
            return await self._complete(calls=1)
        return failed

    async def _rest(self) -> Failed | None:
        cut = Failed(TurnInterrupted("unable to finish the answer; the bridge that streamed it is gone"))
        if self._turn.streaming and self._backend.resumes and self._turn.position:
            failed = await self._pump(self._turn.position)
            return failed and (await self._supply_rest(failed) if self._backend.idempotent else cut)
        if not self._backend.idempotent:
            return cut
        if self._turn.streaming and not self._turn.shown:
            return await self._stream()
        return cut if await self._complete(calls=1) else None

    async def _complete(self, *, calls: int) -> Failed | None:
        """Ask for the whole answer, at most ``calls`` times."""
        failed = await self._ask()
        if failed and calls > 1 and self._may_retry(failed.error):
            await self._pause(failed.error)
            failed = await self._ask()
        return failed

    async def _supply_rest(self, failed: Failed) -> Failed | None:
        """Ask for the whole of an answer that was cut; where that gives none in time, it stays cut."""
        if not (isinstance(failed.error, BackendCut) and self._may_ask_again(failed.error)):
            return failed
        try:
            async with asyncio.timeout(self._limits.stall_s):
                await self._pause(failed.error)  # what cut the stream may not be over yet
                return failed if await self._ask() else None
        except TimeoutError:
            return failed

    def _may_ask_again(self, failure: TurnError) -> bool:
        """Return whether another call can make no second answer: a backend works once, or knows repeats."""
        calls = 2 if self._backend.idempotent else 1
        soon = not isinstance(failure, BackendRefused) or failure.retry_after_s <= RETRY_AFTER_LIMIT_S
        return soon and not failure.final and self._arrived < calls

    def _may_retry(self, failure: TurnError) -> bool:
        return failure.can_retry and self._may_ask_again(failure)

    async def _pause(self, failure: TurnError) -> None:
        asked_s = failure.retry_after_s if isinstance(failure, BackendRefused) else 0.0
        await asyncio.sleep(max(asked_s, again_after_s(self._clock.jitter())))

    async def _ask(self) -> Failed | None:
        """Make one complete call; return why it failed, None when the turn ended."""
        self.calls += 1
        try:
            answer = await self._backend.complete(self._prompt)
        except TurnError as error:
            return self._failed(Failed(error))
        if len(answer.content.encode()) > self._limits.answer_bytes:
            why = f"it is over {self._limits.answer_bytes} bytes"
            return Failed(AnswerTooLarge(f"unable to take the answer; {why}"))
        self.take(answer)
        return None

    async def _pump(self, after: str = "") -> Failed | None:
        """Make one streaming call and take its events; return why it failed, None when the turn ended."""
        self.calls += 1
        self._failure = None
        try:
            async with asyncio.timeout(self._limits.first_delta_s) as deadline:
                with _Stall(deadline, self._limits.stall_s) as stall:
                    await self._backend.stream(self._prompt, partial(self._take_all, stall), after)
        except TimeoutError:
            self._failure = Failed(self._missed_deadline())
        except BackendError as error:
            self._failure = Failed(error)
        if self._failure is None and not self._turn.ended:
            self._failure = Failed(BackendCut("unable to finish the answer; the stream said no end"))
        return self._failure and self._failed(self._failure)

    def _failed(self, failed: Failed) -> Failed:
        self._arrived += failed.error.arrived
        return failed

    def _take_all(self, stall: "_Stall", events: Sequence[Event]) -> bool:
        """Let the turn have what came at once, as far as its end; return whether it wants more."""
        if self.first_event_at_s is None and events:
            self.first_event_at_s = self._clock.monotonic_s()
        for event in events:
            match event:
                case Failed():
                    self._failure = event
                    return False
                case Position() | Stored():
                    self._turn.apply(event)  # nobody hears it: it goes along with the next batch
                case _:
                    self._apply(event)
                    if self._turn.ended:
                        break
                    if not isinstance(event, Started):
                        stall.put_off()
        self.grown()
        return not self._turn.ended

    def _missed_deadline(self) -> BackendError:
        if self._turn.shown:
            return BackendStalled("unable to finish the answer; the backend stalled")
        return BackendSilent("unable to answer; the backend gave no text in time")


def _nobody_listens() -> None:
    """Stand for who will be told."""


class _Stall:
    """Lets ``deadline`` pass ``stall_s`` after it was put off last; before that it stays as it was set.

    Its timer looks when the last event was and lies down again: to move a deadline costs more than an event.
    """

    def __init__(self, deadline: asyncio.Timeout, stall_s: float) -> None:
        self._deadline = deadline
        self._stall_s = stall_s
        self._loop = asyncio.get_running_loop()
        self._heard_at_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        return self

    def put_off(self) -> None:
        self._heard_at_s = self._loop.time()
        if self._timer is None:
            self._deadline.reschedule(None)
            self._look()

    def _look(self) -> None:
        due_s = self._heard_at_s + self._stall_s
        if self._loop.time() < due_s:
            self._timer = self._loop.call_at(due_s, self._look)
        else:
            self._deadline.reschedule(due_s)

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
