"""Runs turns: claim, flag, backend, journal, rooms; ends each exactly once; takes over those of the dead.

A turn has two tasks. The reader takes the backend's events into the `Turn` and never waits for the
journal; the writer takes all that gathered, has it journalled, and lets the room hear it. A journal that
does not answer is not waited for: the devices of this node hear on, and the batches are kept once it is
back. What the journal says of a batch decides: a writer that was fenced says nothing more.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from bridge.errors import RequestError, StoreUnavailable, TurnBroken, TurnInterrupted
from bridge.events import Failed, Finished, Id
from bridge.facts import Happening
from bridge.messages import NewMessage
from bridge.pace import Pace
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
    Taken,
    Telemetry,
)
from bridge.pump import Limits, Pump
from bridge.requests import Send
from bridge.rooms import Rooms
from bridge.run import Run, turn_name
from bridge.tracing import UNTRACED, Trace, Tracing
from bridge.turn import Turn
from bridge.writer import Writer

BEGIN_AT_ONCE = 32
"""So many turns begin in one turn of the event loop: each takes it as long as some twenty tokens.

A burst is over sooner where all are first brought to the backend and have the rest done then; with fewer at
once the last of them wait for what the first have left to do.
"""
LAST_WORD_S = 1.0
"""How long the last batches may still be kept in where the process goes down."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a send; a duplicate hears the turn that runs or ran already."""

    request_id: Id
    message_id: Id | None = None
    duplicate: bool = False


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
        tracing: Tracing = UNTRACED,
    ) -> None:
        self._backend = backend
        self._journal = journal
        self._rooms = rooms
        self._flag = flag
        self._telemetry = telemetry
        self._clock = clock
        self._limits = limits
        self._tracing = tracing
        self._runs: dict[str, Run] = {}
        self._claiming: Counter[str] = Counter()
        self._draining = False
        self._pace = Pace(BEGIN_AT_ONCE)
        self._writer = Writer(journal, rooms, telemetry, clock)

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

    @property
    def owned(self) -> Mapping[str, int]:
        """The turns of this node, turn id to epoch."""
        return {turn_id: run.epoch for turn_id, run in self._runs.items()}

    async def send(self, device: Device, send: Send) -> Sent:
        """Begin the turn of ``send``, or attach to the one its request id has.

        Raises `RequestError`: ``not_joined``, ``draining``, ``busy``, ``request_id_conflict``.
        """
        self._rooms.check_joined(device, send.room_id)
        if self._draining:
            raise RequestError("draining", "unable to take the message; this node is going down, try again")
        with self._counted(device.user):
            await self._pace.keep()
            return await self._take(device, send)

    @contextmanager
    def _counted(self, user: str) -> Iterator[None]:
        """Count a send that is no turn yet. Raises `RequestError`, ``busy``, where too much is under way."""
        mine = [run for run in self._runs.values() if run.claim.prompt.user == user] if user else []
        if len(mine) + self._claiming[user] >= self._limits.turns_per_user and user:
            raise RequestError("busy", "unable to take the message; the user has too many answers under way")
        if len(self._runs) + self._claiming.total() >= self._limits.turns_per_node:
            raise RequestError("busy", "unable to take the message; too many answers are under way")
        self._claiming[user] += 1
        try:
            yield
        finally:
            self._claiming -= Counter({user: 1})

    async def _take(self, device: Device, send: Send) -> Sent:
        claim = await self._claim(device, send)
        trace = self._tracing.begin(claim, send.headers)
        if trace.name:
            claim = replace(claim, trace=trace.name)
        request_id = claim.prompt.request_id
        match await self._claimed(claim):
            case Attached(turn_id):
                return await self._attach(device, send.room_id, request_id, turn_id)
            case Conflict():
                why = "its request id was used for other content"
                raise RequestError("request_id_conflict", f"unable to take the message; {why}")
            case Busy():
                why = f"{claim.turn_limit} answers are under way in the room"
                raise RequestError("busy", f"unable to take the message; {why}")
            case Claimed(epoch):
                self._begin(claim, epoch, trace)
                return Sent(request_id)  # the backend's first frame may name the answer otherwise

    async def stop(
        self, device: Device, room_id: Id, *, message_id: Id | None = None, request_id: Id | None = None
    ) -> None:
        """End a running turn as ``cancelled`` and close its backend call; an ended one stays as it is.

        A turn of another node is stopped there; this returns once that is sure to happen.
        Raises `RequestError`: ``not_joined``, ``unknown_message``.
        """
        self._rooms.check_joined(device, room_id)
        turn_id = await self._journal.find(room_id, message_id=message_id, request_id=request_id)
        if turn_id is None:
            raise RequestError("unknown_message", "unable to stop; the room has no such turn")
        run = self._runs.get(turn_id)
        if run is None or run.writer is None:
            await self._journal.stop(turn_id)
        else:
            run.interrupt(Finished("cancelled"))
            await asyncio.wait({run.writer})

    def stop_wanted(self, turn_id: str) -> None:
        """Stop a turn of this node because a device of another one wants it."""
        if run := self._runs.get(turn_id):
            run.interrupt(Finished("cancelled"))

    def when_over(self, room_id: Id, request_id: Id, then: Callable[[], None]) -> None:
        """Call ``then`` once that turn, if it runs here, is over: one that fails unstreamed says nothing."""
        for run in self._runs.values():
            prompt = run.claim.prompt
            if (prompt.room_id, prompt.request_id) == (room_id, request_id) and run.writer is not None:
                run.writer.add_done_callback(partial(_unless_fenced, run, then))

    def take_over(self, taken: Taken) -> None:
        """Go on with a turn whose owner is gone, from where its journal ends."""
        self._telemetry.happened(Happening.TAKEN_OVER)
        claim = taken.claim
        if claim.turn_id in self._runs:
            self._writer.lose(self._runs[claim.turn_id])  # our own lease expired
        run = self._run(claim, taken.epoch, self._tracing.go_on(claim))
        run.turn.go_on(taken.transcript)
        run.turn.position = taken.position
        run.number = run.kept_number = taken.transcript.number
        self._rooms.catch_up(claim.prompt.room_id, taken.transcript)
        self._start(run, asyncio.create_task(run.pump.go_on(), name=f"reader {run.turn_id}"))
        if taken.stop:
            run.interrupt(Finished("cancelled"))

    async def keep_again(self) -> None:
        """Keep again what ended here a short time ago, where the journal lost it; what runs does so itself.

        Raises `StoreUnavailable`.
        """
        await self._writer.keep_again()

    async def drain(self, for_s: float) -> None:
        """Take no new turn, give the running ones ``for_s`` seconds; hand the rest over.

        Where nobody could take them they end as ``interrupted``.
        """
        self._draining = True
        writers = {run.writer for run in self._runs.values() if run.writer is not None}
        if not writers:
            return
        _, late = await asyncio.wait(writers, timeout=for_s)
        for run in list(self._runs.values()):
            await self._hand_over(run)
        if late:
            _, unkept = await asyncio.wait(late, timeout=LAST_WORD_S)
            for writer in unkept:
                writer.cancel()
            await asyncio.gather(*unkept, return_exceptions=True)

    async def _hand_over(self, run: Run) -> None:
        try:
            given = await self._journal.release(run.turn_id, run.epoch)
        except StoreUnavailable:
            given = False
        if given:
            self._writer.lose(run)
        else:
            why = "unable to finish the answer; this node is going down"
            run.interrupt(Failed(TurnInterrupted(why)))

    async def _claim(self, device: Device, send: Send) -> Claim:
        request_id = self._clock.new_id() if send.request_id is None else send.request_id
        turn_id = self._turn_name((send.room_id, device.user, request_id))
        named = turn_id if send.message_id is None else send.message_id
        prompt = Prompt(request_id, send.room_id, named, send.content, device.user, send.extra)
        elsewhere = send.announced_elsewhere  # only a turn that streams is: its door has asked the flag
        streaming = elsewhere or await self._flag.streaming(send.room_id, device.user)
        digest = hashlib.sha256(send.content.encode()).hexdigest()
        return Claim(turn_id, prompt, streaming, digest, self._limits.turns_per_room, elsewhere)

    def _turn_name(self, asked: tuple[Id, str, Id]) -> str:
        """Name the turn; what the devices here heard to its end is never begun again under its name."""
        again = 0
        while self._rooms.has_ended(name := turn_name(self._backend.name, asked, again), asked[0]):
            again += 1
        return name

    async def _claimed(self, claim: Claim) -> Claimed | Attached | Conflict | Busy:
        """Claim; where no store answers, this node decides alone, for its own devices."""
        try:
            decided = None if claim.turn_id in self._runs else await self._journal.claim(claim)
        except StoreUnavailable as error:
            self._telemetry.fault(error)
            decided = Claimed()
        run = self._runs.get(claim.turn_id)  # a repeat may have been here meanwhile
        if run is None or isinstance(decided, Attached | Conflict | Busy):
            return decided or Claimed()
        return Attached(run.turn_id) if run.claim.digest == claim.digest else Conflict()

    async def _attach(self, device: Device, room_id: Id, request_id: Id, turn_id: str) -> Sent:
        await self._rooms.attach(device, room_id, turn_id)
        run = self._runs.get(turn_id)
        if run is not None:
            return Sent(request_id, run.turn.message_id, duplicate=True)
        kept = await self._journal.read(turn_id)
        return Sent(request_id, kept.message_id if kept else None, duplicate=True)

    def _begin(self, claim: Claim, epoch: int, trace: Trace) -> None:
        run = self._run(claim, epoch, trace)
        self._start(run, asyncio.create_task(run.pump.run(), name=f"reader {run.turn_id}"))

    def _asked(self, claim: Claim) -> NewMessage | None:
        prompt = claim.prompt
        if claim.announced_elsewhere:
            return None
        ids = (prompt.request_id, prompt.room_id, self._clock.new_id())
        return NewMessage(*ids, "user", prompt.content, self._clock.utc())

    def _run(self, claim: Claim, epoch: int, trace: Trace) -> Run:
        prompt = replace(claim.prompt, headers=trace.headers) if trace.headers else claim.prompt
        turn = Turn(
            request_id=prompt.request_id,
            room_id=prompt.room_id,
            message_id=prompt.message_id,
            streaming=claim.streaming,
            created_at=self._clock.utc,
            content_limit_bytes=self._limits.answer_bytes,
            reasoning=self._limits.show_reasoning,
            announced_elsewhere=claim.announced_elsewhere,
            asked=self._asked(claim),
        )
        calls = Pump(self._backend, self._limits, self._clock, turn=turn, prompt=prompt)
        return Run(claim, epoch, turn, calls, trace, began_at_s=self._clock.monotonic_s())

    def _start(self, run: Run, reader: asyncio.Task[Failed | None]) -> None:
        self._runs[run.turn_id] = run
        run.reader = reader
        run.reader.add_done_callback(lambda done: self._reader_done(run, done))
        run.writer = asyncio.create_task(self._write(run), name=f"writer {run.turn_id}")

    def heard_of(self, turn_id: str, number: int) -> None:
        """Say no more of a turn of ours of which another node said what we never had kept: it owns it."""
        run = self._runs.get(turn_id)
        if run is not None and number > run.kept_number:
            self._telemetry.happened(Happening.FENCED)
            self._writer.lose(run)

    def _reader_done(self, run: Run, reader: asyncio.Task[Failed | None]) -> None:
        """See to it that the turn has ended, however its reader did: the one place that knows every way."""
        fault = None if reader.cancelled() else reader.exception()
        if fault is not None:
            self._telemetry.fault(fault)
        if run.turn.ended or run.fenced:
            return
        if reader.cancelled():
            why = "unable to finish the answer; the bridge goes down"
            run.pump.take(run.ends_as or Failed(TurnInterrupted(why)))
        else:
            failed = None if fault else reader.result()
            run.pump.take(failed or Failed(TurnBroken("unable to finish the answer; the bridge failed")))

    async def _write(self, run: Run) -> None:
        try:
            await self._writer.write(run)
        except Exception as fault:  # noqa: BLE001  (the backend's call must not outlive it)
            self._telemetry.fault(fault)
            self._writer.lose(run)  # its lease runs out, and whoever can goes on
        finally:
            self._forget(run)
            report = run.report(self._clock.monotonic_s())
            if not run.fenced:
                self._telemetry.turn_ended(report)
            run.trace.ended(report, fenced=run.fenced)

    def _forget(self, run: Run) -> None:
        if self._runs.get(run.turn_id) is run:
            del self._runs[run.turn_id]


def _unless_fenced(run: Run, then: Callable[[], None], _: object) -> None:
    if not run.fenced:  # another node has it
        then()
