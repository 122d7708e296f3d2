"""The writer's side of a turn: what gathered is kept in the journal, and then heard by the room.

A journal that does not answer is not waited for: the devices of this node hear on, and the batches are kept
once it is back. What it says of a batch decides: who was fenced says nothing more.
"""

import asyncio
import contextlib
from functools import partial

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
    """Writes the runs of this node.

    One batch of a run is on its way at a time; what gathers meanwhile is the next one. No task has a part in
    that: each has its own only for what takes longer, and for the end.
    """

    def __init__(self, journal: Journal, rooms: Rooms, telemetry: Telemetry, clock: Clock) -> None:
        self._journal = journal
        self._rooms = rooms
        self._telemetry = telemetry
        self._clock = clock
        self._patience = Patience(clock)
        self._lately = Lately(clock)

    async def write(self, run: Run) -> None:
        """Have kept what gathers, and let the room hear it, until the turn has ended or is another node's."""
        with run.until_kept:
            run.pump.grown = partial(self._say, run)
            self._say(run)
            while not (run.over or run.fenced):
                await run.needs_writer.wait()
                run.needs_writer.clear()
                if run.fault is not None:
                    raise run.fault
                if run.lost and not run.fenced:
                    await self._find_again(run)
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
        run.needs_writer.set()
        if run.said_more_than_kept and not run.fenced:
            self._rooms.stray(run.turn_id, run.claim.prompt.room_id)
        run.fenced = True
        if run.reader is not None:
            run.reader.cancel()

    def _say(self, run: Run) -> None:
        """Have kept what gathered, unless what was said before has not been heard yet."""
        if run.unheard or run.lost or run.fenced or run.over or len(run.behind) >= BEHIND_LIMIT:
            run.grew = True
            return
        run.grew = False
        ended, messages = run.turn.ended, run.turn.take()
        if not (messages or ended):
            return
        run.number += 1
        run.unheard = batch = Batch(run.number, messages, ended, run.turn.position)
        kept = self._journal.append(run.turn_id, run.epoch, batch)
        run.behind.append(kept)
        kept.add_done_callback(partial(self._answered, run))
        self._patience.wait_for(kept, partial(self._late, run, batch))

    def _answered(self, run: Run, _: asyncio.Future[Appended]) -> None:
        """Let the room hear what is kept by now, and say what gathered meanwhile."""
        try:
            while run.behind and run.behind[0].done() and not (run.lost or run.fenced or run.over):
                self._judge(run, run.behind.popleft())
            if run.lost or run.fenced or run.over:
                return
            if run.unheard is None:
                if run.grew:
                    self._say(run)
            elif not run.behind:
                self._hear(run, run.unheard)
        except Exception as fault:  # noqa: BLE001  (who called is the event loop: its task raises it)
            run.fail(fault)

    def _late(self, run: Run, batch: Batch) -> None:
        """Wait no longer for the journal than a device would not mind."""
        try:
            if run.unheard is batch and not (run.lost or run.fenced):
                self._hear(run, batch)
        except Exception as fault:  # noqa: BLE001  (as above)
            run.fail(fault)

    def _hear(self, run: Run, batch: Batch) -> None:
        run.unheard, run.last, run.over = None, batch, batch.ended
        room_id = run.claim.prompt.room_id
        if run.first_chunk_s is None:
            kept_at_s = self._clock.monotonic_s()
            self._rooms.hear_turn(run.turn_id, room_id, batch)
            run.mark(kept_at_s, self._clock.monotonic_s())
        else:
            self._rooms.hear_turn(run.turn_id, room_id, batch)
        run.heard = run.heard or self._rooms.running(run.turn_id, room_id)
        if batch.ended:
            self._has_ended(run)
        elif run.grew:
            self._say(run)

    def _has_ended(self, run: Run) -> None:
        """Leave the rest to the task; who comes back before all is kept finds it here from now on."""
        run.needs_writer.set()
        if run.heard is not None and run.said_more_than_kept:
            run.until_kept.enter_context(self._rooms.unkept(run.claim.prompt.room_id, run.heard))

    def _judge(self, run: Run, kept: asyncio.Future[Appended]) -> None:
        """Act on what the journal said of a batch."""
        if kept.exception() is not None:
            return
        appended = kept.result()
        match appended.kept:
            case Kept.OK | Kept.DUPLICATE:
                run.kept_number += 1
            case Kept.FENCED | Kept.CLOSED:
                self._telemetry.happened(Happening.FENCED)
                self.lose(run)
            case Kept.GAP | Kept.GONE:
                run.behind.clear()
                run.lost = True
                run.needs_writer.set()
        if appended.stop:
            run.interrupt(Finished("cancelled"))

    async def _find_again(self, run: Run) -> None:
        """Keep anew what the journal has lost, and go on."""
        batch = run.unheard or run.last
        if batch is not None:
            await self._restore(run, batch)
        run.lost = False
        if run.fenced or run.over:
            return
        if run.unheard is not None:
            self._hear(run, run.unheard)
        else:
            self._say(run)

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
                    self._judge(run, run.behind.popleft())
                    if run.lost:
                        await self._find_again(run)

    async def _follow(self, run: Run) -> None:
        """Lead the devices here to what the owner of the turn said, as far as it is kept."""
        with contextlib.suppress(StoreUnavailable):
            kept = await self._journal.read(run.turn_id)
            if kept is not None:
                self._rooms.catch_up(run.claim.prompt.room_id, kept)
