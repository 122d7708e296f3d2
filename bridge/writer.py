"""The writer's side of a turn: what gathered is kept in the journal, and then heard by the room.

A journal that does not answer is not waited for: the devices of this node hear on, and the batches are kept
once it is back. What it says of a batch decides: who was fenced says nothing more.
"""

import asyncio
import contextlib

from bridge.errors import StoreUnavailable
from bridge.events import Finished
from bridge.facts import Happening
from bridge.lately import Lately
from bridge.letters import Batch
from bridge.patience import APPEND_S, Patience
from bridge.ports import Appended, Clock, Journal, Kept, Taken, Telemetry
from bridge.rooms import Rooms
from bridge.run import Run
from bridge.transcript import Transcript

BEHIND_LIMIT = 4096
"""So many batches of a turn may wait to be kept; beyond it the devices wait with them."""
KEEP_LATE_S = 60.0
"""How long the last batches of an ended turn may still be kept in."""


class Writer:
    """Writes the runs of this node, each in a task of its own."""

    def __init__(self, journal: Journal, rooms: Rooms, telemetry: Telemetry, clock: Clock) -> None:
        self._journal = journal
        self._rooms = rooms
        self._telemetry = telemetry
        self._clock = clock
        self._patience = Patience(clock)
        self._lately = Lately(clock)

    async def write(self, run: Run) -> None:
        """Have kept what gathers, and let the room hear it, until the turn has ended or is another node's."""
        ended = False
        while not (ended or run.fenced):
            await run.gathered.wait()
            ended = await self._write_gathered(run)
        if run.heard is not None and run.said_more_than_kept:
            with self._rooms.unkept(run.claim.prompt.room_id, run.heard):
                await self._keep_late(run)
        else:
            await self._keep_late(run)
        if run.fenced and run.said_more_than_kept:
            await self._follow(run)
        elif not run.fenced:
            self._lately.add(run)

    async def keep_again(self) -> None:
        """Keep what ended here a short time ago where the journal has lost it, for who has not heard it.

        Raises `StoreUnavailable`.
        """
        for run in self._lately.runs():
            kept = await self._journal.read(run.turn_id)
            if run.last is not None and (kept is None or not kept.ended):
                await self._restore(run, run.last)

    def lose(self, run: Run) -> None:
        """Say no more of a turn that is another node's: close its backend call, end nothing."""
        run.gathered.set()
        if run.said_more_than_kept and not run.fenced:
            self._rooms.stray(run.turn_id, run.claim.prompt.room_id)
        run.fenced = True
        if run.reader is not None:
            run.reader.cancel()

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
                self.lose(run)
            case Kept.GAP | Kept.GONE:
                run.behind.clear()
                await self._restore(run, batch)
            case Kept.OK | Kept.DUPLICATE:
                run.kept_number += 1
        if appended.stop:
            run.interrupt(Finished("cancelled"))

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
                self.lose(run)
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
