"""Runs turns: claim, flag, backend, journal, rooms; ends each exactly once; takes over those of the dead.

A turn has two tasks. The reader takes the backend's events into the `Turn` and never waits for the
journal; the writer takes all that gathered, has it journalled, and lets the room hear it. A journal that
does not answer is not waited for: the devices of this node hear on, and the batches are kept once it is
back. What the journal says of a batch decides: a writer that was fenced says nothing more.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from bridge.errors import RequestError, StoreUnavailable, TurnBroken, TurnInterrupted
from bridge.events import Failed, Finished, Id
from bridge.facts import Happening
from bridge.letters import Batch
from bridge.messages import NewMessage
from bridge.patience import APPEND_S, Patience
from bridge.ports import (
    Appended,
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
    Kept,
    Prompt,
    Taken,
    Telemetry,
)
from bridge.pump import Limits, Pump
from bridge.requests import Send
from bridge.rooms import Rooms
from bridge.run import Run, turn_name
from bridge.transcript import Transcript
from bridge.turn import Turn

BEHIND_LIMIT = 4096
"""So many batches of a turn may wait to be kept; beyond it the devices wait with them."""
KEEP_LATE_S, LAST_WORD_S = 60.0, 1.0
"""How long the last batches of an ended turn may still be kept in; and where the process goes down."""
_NONE: Mapping[str, str] = {}


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
        self._patience = Patience(clock)

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
        claim = await self._claim(device, send)
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
                await self._begin(claim, epoch, send.headers)
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
            self._interrupt(run, Finished("cancelled"))
            await asyncio.wait({run.writer})

    def stop_wanted(self, turn_id: str) -> None:
        """Stop a turn of this node because a device of another one wants it."""
        if run := self._runs.get(turn_id):
            self._interrupt(run, Finished("cancelled"))

    def take_over(self, taken: Taken) -> None:
        """Go on with a turn whose owner is gone, from where its journal ends."""
        self._telemetry.happened(Happening.TAKEN_OVER)
        claim = taken.claim
        if claim.turn_id in self._runs:
            self._lose(self._runs[claim.turn_id])  # our own lease expired
        run = self._run(claim, taken.epoch)
        run.turn.go_on(taken.transcript)
        run.turn.position = taken.position
        run.number = run.kept_number = taken.transcript.number
        self._rooms.catch_up(claim.prompt.room_id, taken.transcript)
        self._start(run, asyncio.create_task(run.pump.go_on(), name=f"reader {run.turn_id}"))
        if taken.stop:
            self._interrupt(run, Finished("cancelled"))

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
            self._lose(run)
        else:
            why = "unable to finish the answer; this node is going down"
            self._interrupt(run, Failed(TurnInterrupted(why)))

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

    async def _begin(self, claim: Claim, epoch: int, headers: Mapping[str, str]) -> None:
        run = self._runs[claim.turn_id] = self._run(claim, epoch, headers)
        try:
            if not claim.announced_elsewhere:
                await self._rooms.tell(claim.prompt.room_id, [self._said_by_user(claim.prompt)])
        except BaseException:
            self._forget(run)
            raise
        run.gathered.set()
        self._start(run, asyncio.create_task(run.pump.run(), name=f"reader {run.turn_id}"))

    def _said_by_user(self, prompt: Prompt) -> NewMessage:
        ids = (prompt.request_id, prompt.room_id, self._clock.new_id())
        return NewMessage(*ids, "user", prompt.content, self._clock.utc())

    def _run(self, claim: Claim, epoch: int, headers: Mapping[str, str] = _NONE) -> Run:
        prompt, gathered = replace(claim.prompt, headers=headers), asyncio.Event()
        turn = Turn(
            request_id=prompt.request_id,
            room_id=prompt.room_id,
            message_id=prompt.message_id,
            streaming=claim.streaming,
            created_at=self._clock.utc,
            content_limit_bytes=self._limits.answer_bytes,
            reasoning=self._limits.show_reasoning,
            announced_elsewhere=claim.announced_elsewhere,
        )
        calls = Pump(self._backend, self._limits, self._clock, turn=turn, prompt=prompt, gathered=gathered)
        return Run(claim, epoch, turn, calls, gathered, began_at_s=self._clock.monotonic_s())

    def _start(self, run: Run, reader: asyncio.Task[Failed | None]) -> None:
        self._runs[run.turn_id] = run
        run.reader = reader
        run.reader.add_done_callback(lambda done: self._reader_done(run, done))
        run.writer = asyncio.create_task(self._write(run), name=f"writer {run.turn_id}")

    def _interrupt(self, run: Run, ends_as: Finished | Failed) -> None:
        if run.reader is not None and run.ends_as is None:
            run.ends_as = ends_as
            run.reader.cancel()

    def heard_of(self, turn_id: str, number: int) -> None:
        """Say no more of a turn of ours of which another node said what we never had kept: it owns it."""
        run = self._runs.get(turn_id)
        if run is not None and number > run.kept_number:
            self._telemetry.happened(Happening.FENCED)
            self._lose(run)

    def _lose(self, run: Run) -> None:
        """Say no more of a turn that is another node's: close its backend call, end nothing."""
        run.gathered.set()
        if run.said_more_than_kept and not run.fenced:
            self._rooms.stray(run.turn_id, run.claim.prompt.room_id)
        run.fenced = True
        if run.reader is not None:
            run.reader.cancel()

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
        """Have kept what gathered, and let the room hear it, until the turn has ended. Forgets the run."""
        try:
            ended = False
            while not (ended or run.fenced):
                await run.gathered.wait()
                ended = await self._write_gathered(run)
            await self._keep_late(run)
            if run.fenced and run.said_more_than_kept:
                await self._follow(run)
        finally:
            self._forget(run)
            if not run.fenced:
                self._telemetry.turn_ended(run.report(self._clock.monotonic_s()))

    def _forget(self, run: Run) -> None:
        if self._runs.get(run.turn_id) is run:
            del self._runs[run.turn_id]

    async def _write_gathered(self, run: Run) -> bool:
        run.gathered.clear()
        ended, messages = run.turn.ended, run.turn.take()
        if run.fenced or not (messages or ended):
            return False
        run.number += 1
        batch = Batch(run.number, messages, ended, run.turn.position)
        await self._keep(run, batch)
        if run.fenced:
            return False
        run.last = batch
        kept_at_s = self._clock.monotonic_s()
        self._rooms.hear_turn(run.turn_id, run.claim.prompt.room_id, batch)
        run.mark(kept_at_s, self._clock.monotonic_s())
        run.heard = run.heard or self._rooms.running(run.turn_id, run.claim.prompt.room_id)
        return ended

    async def _keep(self, run: Run, batch: Batch) -> None:
        """Have ``batch`` kept; wait for it as long as a device would not mind."""
        if len(run.behind) >= BEHIND_LIMIT:
            await asyncio.wait({run.behind[0]})
        kept = self._journal.append(run.turn_id, run.epoch, batch)
        if kept.done():
            await self._judge(run, kept, batch)
            return
        run.behind.append(kept)
        await self._patience.wait_for(kept)
        while run.behind and run.behind[0].done():
            await self._judge(run, run.behind.popleft(), batch)

    async def _judge(self, run: Run, kept: asyncio.Future[Appended], batch: Batch) -> None:
        """Act on what the journal said of a batch; ``batch`` is the last one."""
        if kept.exception() is not None:
            return
        appended = kept.result()
        match appended.kept:
            case Kept.FENCED | Kept.CLOSED:
                self._telemetry.happened(Happening.FENCED)
                self._lose(run)
            case Kept.GAP | Kept.GONE:
                run.behind.clear()
                await self._restore(run, batch)
            case Kept.OK | Kept.DUPLICATE:
                run.kept_number += 1
        if appended.stop:
            self._interrupt(run, Finished("cancelled"))

    async def _restore(self, run: Run, batch: Batch) -> None:
        """Keep a turn anew whose journal was lost: the living owner has all of it."""
        said = run.heard.messages() if run.heard is not None else []
        more = batch.messages if run.heard is None or run.heard.number < batch.number else []
        whole = Batch(batch.number, [*said, *more], batch.ended, batch.position)
        nothing = Transcript(run.turn_id, run.claim.prompt.request_id)
        taken = Taken(run.epoch, run.claim, nothing, batch.position, stop=False)
        try:
            kept = await self._journal.restore(taken, whole)
        except StoreUnavailable as error:
            self._telemetry.fault(error)  # the next batch, or the last one again, brings it here once more
        else:
            if kept is Kept.FENCED:
                self._lose(run)
            else:
                run.kept_number = batch.number

    async def _keep_late(self, run: Run) -> None:
        """Wait until what is behind was kept, for a time that no device waits for."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KEEP_LATE_S):
                while run.last is not None and run.kept_number < run.number and not run.fenced:
                    if not run.behind:  # what lost the turn could not be mended
                        await asyncio.sleep(APPEND_S)
                        run.behind.append(self._journal.append(run.turn_id, run.epoch, run.last))
                    await asyncio.wait({run.behind[0]})
                    await self._judge(run, run.behind.popleft(), run.last)

    async def _follow(self, run: Run) -> None:
        """Lead the devices here to what the owner of the turn said, as far as it is kept."""
        with contextlib.suppress(StoreUnavailable):
            kept = await self._journal.read(run.turn_id)
            if kept is not None:
                self._rooms.catch_up(run.claim.prompt.room_id, kept)
