"""Runs turns: claim, flag, backend, journal, rooms; ends every turn exactly once, on every path.

A streamed turn has two tasks. The reader takes the backend's events into the `Turn` and never waits for
the journal; the writer takes all that gathered, journals it, and lets the room hear it.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from bridge.errors import (
    AnswerTooLarge,
    BackendCut,
    BackendError,
    BackendRefused,
    BackendSilent,
    BackendStalled,
    RequestError,
    TurnBroken,
    TurnError,
    TurnInterrupted,
    TurnOverdue,
)
from bridge.events import Event, Failed, Finished, Id, Started
from bridge.messages import NewMessage
from bridge.ports import (
    Attached,
    Backend,
    Busy,
    Claim,
    Claimed,
    Clock,
    Conflict,
    Device,
    Flag,
    Journal,
    Prompt,
    Telemetry,
    TurnReport,
)
from bridge.requests import Send
from bridge.rooms import Rooms
from bridge.turn import Turn

RETRY_AFTER_S = (0.1, 0.3)
"""The second call waits between these; where in between is chance."""
RETRY_AFTER_LIMIT_S = 2.0
"""A backend that wants to be left alone for longer than this is not asked again."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a turn may take and show: durations in seconds, sizes in bytes."""

    first_delta_s: float = 10.0
    stall_s: float = 15.0
    turn_s: float = 120.0
    turns_per_room: int = 4
    answer_bytes: int = 1024 * 1024
    show_reasoning: bool = False


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a send; a duplicate hears the turn that runs or ran already."""

    request_id: Id
    message_id: Id | None = None
    duplicate: bool = False


@dataclass(slots=True, eq=False)
class Run:
    """One running turn and what it is made of."""

    turn_id: str
    turn: Turn
    prompt: Prompt
    began_at_s: float = 0.0
    gathered: asyncio.Event = field(default_factory=asyncio.Event)
    reader: asyncio.Task[Failed | None] | None = None
    writer: asyncio.Task[None] | None = None
    ends_as: Finished | Failed | None = None
    backend_calls: int = 0
    arrived_calls: int = 0
    first_chunk_s: float | None = None

    def take(self, event: Event) -> None:
        """Let the turn have an event, and the writer know; too much text ends the turn."""
        try:
            self.turn.apply(event)
        except AnswerTooLarge as error:
            self.turn.apply(Failed(error))
        self.gathered.set()


class Relay:
    """The turns of this node."""

    def __init__(
        self,
        *,
        backend: Backend,
        journal: Journal,
        rooms: Rooms,
        flag: Flag,
        telemetry: Telemetry,
        clock: Clock,
        limits: Limits,
    ) -> None:
        self._backend = backend
        self._journal = journal
        self._rooms = rooms
        self._flag = flag
        self._telemetry = telemetry
        self._clock = clock
        self._limits = limits
        self._runs: dict[str, Run] = {}
        self._draining = False

    def __repr__(self) -> str:
        return f"<Relay {len(self._runs)} running turns{', draining' if self._draining else ''}>"

    @property
    def draining(self) -> bool:
        """True once no new turn is taken."""
        return self._draining

    @property
    def running(self) -> int:
        """How many turns run."""
        return len(self._runs)

    async def send(self, device: Device, send: Send) -> Sent:
        """Begin the turn of ``send``, or attach to the one its request id has.

        Raises `RequestError`: ``not_joined``, ``draining``, ``busy``, ``request_id_conflict``.
        """
        self._rooms.check_joined(device, send.room_id)
        if self._draining:
            raise RequestError("draining", "unable to take the message; this node is going down, try again")
        request_id = self._clock.new_id() if send.request_id is None else send.request_id
        claim = self._claim(device, send, request_id)
        match await self._journal.claim(claim):
            case Attached(turn_id):
                return await self._attach(device, send.room_id, request_id, turn_id)
            case Conflict():
                why = "its request id was used for other content"
                raise RequestError("request_id_conflict", f"unable to take the message; {why}")
            case Busy():
                why = f"{claim.turn_limit} answers are under way in the room"
                raise RequestError("busy", f"unable to take the message; {why}")
            case Claimed():
                await self._begin(device, send, claim)
                return Sent(request_id)  # the backend's first frame may name the answer otherwise

    async def stop(
        self, device: Device, room_id: Id, *, message_id: Id | None = None, request_id: Id | None = None
    ) -> None:
        """End a running turn as ``cancelled`` and close its backend call; an ended one stays as it is.

        Raises `RequestError`: ``not_joined``, ``unknown_message``.
        """
        self._rooms.check_joined(device, room_id)
        turn_id = await self._journal.find(room_id, message_id=message_id, request_id=request_id)
        if turn_id is None:
            raise RequestError("unknown_message", "unable to stop; the room has no such turn")
        run = self._runs.get(turn_id)
        if run is not None and run.writer is not None:
            self._interrupt(run, Finished("cancelled"))
            await asyncio.wait({run.writer})

    async def drain(self, for_s: float) -> None:
        """Take no new turn, give the running ones ``for_s`` seconds, end the rest as ``interrupted``."""
        self._draining = True
        writers = {run.writer for run in self._runs.values() if run.writer is not None}
        if not writers:
            return
        _, late = await asyncio.wait(writers, timeout=for_s)
        for run in self._runs.values():
            why = "unable to finish the answer; this node is going down"
            self._interrupt(run, Failed(TurnInterrupted(why)))
        if late:
            await asyncio.wait(late)

    def _claim(self, device: Device, send: Send, request_id: Id) -> Claim:
        digest = hashlib.sha256(send.content.encode()).hexdigest()
        turn_id = self._clock.new_id()
        return Claim(turn_id, send.room_id, device.user, request_id, digest, self._limits.turns_per_room)

    async def _attach(self, device: Device, room_id: Id, request_id: Id, turn_id: str) -> Sent:
        await self._rooms.attach(device, room_id, turn_id)
        run = self._runs.get(turn_id)
        if run is not None:
            return Sent(request_id, run.turn.message_id, duplicate=True)
        kept = await self._journal.read(turn_id)
        return Sent(request_id, kept.message_id if kept else None, duplicate=True)

    async def _begin(self, device: Device, send: Send, claim: Claim) -> None:
        streaming = await self._flag.streaming(send.room_id, device.user)
        turn = Turn(
            request_id=claim.request_id,
            room_id=send.room_id,
            message_id=claim.turn_id,
            streaming=streaming,
            created_at=self._clock.utc,
            content_limit_bytes=self._limits.answer_bytes,
            reasoning=self._limits.show_reasoning,
        )
        names = (claim.request_id, send.room_id, claim.turn_id)
        run = Run(claim.turn_id, turn, Prompt(*names, send.content, device.user, send.extra))
        run.began_at_s = self._clock.monotonic_s()
        self._rooms.hear(send.room_id, [self._said_by_user(run.prompt)])
        self._start(run)

    def _said_by_user(self, prompt: Prompt) -> NewMessage:
        ids = (prompt.request_id, prompt.room_id, self._clock.new_id())
        return NewMessage(*ids, "user", prompt.content, self._clock.utc())

    def _start(self, run: Run) -> None:
        self._runs[run.turn_id] = run
        run.gathered.set()
        run.reader = asyncio.create_task(self._read(run), name=f"reader {run.turn_id}")
        run.reader.add_done_callback(lambda reader: self._reader_done(run, reader))
        run.writer = asyncio.create_task(self._write(run), name=f"writer {run.turn_id}")

    def _interrupt(self, run: Run, ends_as: Finished | Failed) -> None:
        if run.reader is not None and run.ends_as is None:
            run.ends_as = ends_as
            run.reader.cancel()

    def _reader_done(self, run: Run, reader: asyncio.Task[Failed | None]) -> None:
        """See to it that the turn has ended, however its reader did: the one place that knows every way."""
        fault = None if reader.cancelled() else reader.exception()
        if fault is not None:
            self._telemetry.fault(fault)
        if run.turn.ended:
            return
        if reader.cancelled():
            why = "unable to finish the answer; the bridge goes down"
            run.take(run.ends_as or Failed(TurnInterrupted(why)))
        else:
            failed = None if fault else reader.result()
            run.take(failed or Failed(TurnBroken("unable to finish the answer; the bridge failed")))

    async def _read(self, run: Run) -> Failed | None:
        """Let the turn have its answer by the path it is pinned to; return why there is none."""
        try:
            async with asyncio.timeout(self._limits.turn_s):
                return await (self._stream(run) if run.turn.streaming else self._complete(run, calls=2))
        except TimeoutError:
            return Failed(TurnOverdue("unable to finish the answer; the turn took too long"))

    async def _stream(self, run: Run) -> Failed | None:
        """Stream; where that failed, do what can neither repeat shown text nor make a second answer."""
        failed = await self._pump(run)
        if failed and not run.turn.shown and self._may_retry(run, failed.error):
            await self._pause(failed.error)
            failed = await self._pump(run)
        if failed and run.turn.shown:
            return await self._supply_rest(run, failed)
        if failed and self._may_ask_again(run, failed.error):
            return await self._complete(run, calls=1)
        return failed

    async def _complete(self, run: Run, *, calls: int) -> Failed | None:
        """Ask for the whole answer, at most ``calls`` times."""
        failed = await self._ask(run)
        if failed and calls > 1 and self._may_retry(run, failed.error):
            await self._pause(failed.error)
            failed = await self._ask(run)
        return failed

    async def _supply_rest(self, run: Run, failed: Failed) -> Failed | None:
        """Ask for the whole of an answer that was cut; where that gives none in time, it stays cut."""
        if not (isinstance(failed.error, BackendCut) and self._may_ask_again(run, failed.error)):
            return failed
        try:
            async with asyncio.timeout(self._limits.stall_s):
                return failed if await self._ask(run) else None
        except TimeoutError:
            return failed

    def _may_ask_again(self, run: Run, failure: TurnError) -> bool:
        """Return whether another call can make no second answer: a backend works once, or knows repeats."""
        calls = 2 if self._backend.idempotent else 1
        soon = not isinstance(failure, BackendRefused) or failure.retry_after_s <= RETRY_AFTER_LIMIT_S
        return soon and not failure.final and run.arrived_calls < calls

    def _may_retry(self, run: Run, failure: TurnError) -> bool:
        return failure.can_retry and self._may_ask_again(run, failure)

    async def _pause(self, failure: TurnError) -> None:
        least_s, most_s = RETRY_AFTER_S
        asked_s = failure.retry_after_s if isinstance(failure, BackendRefused) else 0.0
        await asyncio.sleep(max(asked_s, least_s + (most_s - least_s) * self._clock.jitter()))

    async def _ask(self, run: Run) -> Failed | None:
        """Make one complete call; return why it failed, None when the turn ended."""
        run.backend_calls += 1
        try:
            answer = await self._backend.complete(run.prompt)
        except TurnError as error:
            return self._failed(run, Failed(error))
        if len(answer.content.encode()) > self._limits.answer_bytes:
            why = f"it is over {self._limits.answer_bytes} bytes"
            return Failed(AnswerTooLarge(f"unable to take the answer; {why}"))
        run.take(answer)
        return None

    async def _pump(self, run: Run) -> Failed | None:
        """Make one streaming call and take its events; return why it failed, None when the turn ended."""
        run.backend_calls += 1
        try:
            async with asyncio.timeout(self._limits.first_delta_s) as deadline:
                async with self._backend.stream(run.prompt) as events:
                    failed = await self._take_all(run, events, deadline)
        except TimeoutError:
            failed = Failed(self._missed_deadline(run))
        except BackendError as error:
            failed = Failed(error)
        return failed and self._failed(run, failed)

    @staticmethod
    def _failed(run: Run, failed: Failed) -> Failed:
        run.arrived_calls += failed.error.arrived
        return failed

    async def _take_all(
        self, run: Run, events: AsyncIterator[Event], deadline: asyncio.Timeout
    ) -> Failed | None:
        now = asyncio.get_running_loop().time
        async for event in events:
            match event:
                case Failed():
                    return event
                case Started():
                    run.take(event)
                case _:
                    run.take(event)
                    if run.turn.ended:
                        return None
                    deadline.reschedule(now() + self._limits.stall_s)
        return Failed(BackendCut("unable to finish the answer; the stream said no end"))

    def _missed_deadline(self, run: Run) -> BackendError:
        if run.turn.shown:
            return BackendStalled("unable to finish the answer; the backend stalled")
        return BackendSilent("unable to answer; the backend gave no text in time")

    async def _write(self, run: Run) -> None:
        """Journal what gathered, then let the room hear it, until the turn has ended. Forgets the run."""
        try:
            ended = False
            while not ended:
                await run.gathered.wait()
                ended = await self._write_gathered(run)
        finally:
            del self._runs[run.turn_id]
            self._telemetry.turn_ended(self._report(run))

    async def _write_gathered(self, run: Run) -> bool:
        run.gathered.clear()
        ended = run.turn.ended
        messages = run.turn.take()
        await self._journal.append(run.turn_id, messages, ended=ended)
        if run.first_chunk_s is None and run.turn.seq:
            run.first_chunk_s = self._clock.monotonic_s() - run.began_at_s
        if messages:
            self._rooms.hear_turn(run.turn_id, messages, ended=ended)
        return ended

    def _report(self, run: Run) -> TurnReport:
        turn = run.turn
        return TurnReport(
            request_id=turn.request_id,
            room_id=turn.room_id,
            message_id=turn.message_id,
            streaming=turn.streaming,
            finish_reason=turn.finish_reason or "other",
            error_code=turn.error.code if turn.error else None,
            chunks=turn.seq,
            content_chars=len(turn.content),
            backend_calls=run.backend_calls,
            first_chunk_s=run.first_chunk_s,
            completion_s=self._clock.monotonic_s() - run.began_at_s,
            differs=turn.differs,
        )
