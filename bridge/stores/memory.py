"""Everything kept in this process: the stores of a bridge without Redis, and the measure of any other."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass

from bridge.changes import Change, Edit, FlagState, Reason
from bridge.events import Id
from bridge.figures import BUCKETS, Figures
from bridge.letters import Batch, Letter
from bridge.ports import Appended, Attached, Busy, Claim, Claimed, Command, Conflict, Entered, Kept, Taken
from bridge.rollout import Rollout
from bridge.transcript import Applied, Transcript

Request = tuple[Id, str, Id]


@dataclass(slots=True)
class _Turn:
    claim: Claim
    transcript: Transcript
    ended_at_s: float | None = None

    @property
    def request(self) -> Request:
        return self.claim.prompt.asked


class MemoryJournal:
    """Keeps turns in dictionaries; an ended turn goes after ``window_s``, or when newer ones need its room.

    There is one node, so a turn has one owner and one epoch.

    ``now`` gives monotonic seconds; the text of ended turns stays below ``ended_limit_bytes``.
    """

    def __init__(
        self, now: Callable[[], float], *, window_s: float, ended_limit_bytes: int = 64 * 1024 * 1024
    ) -> None:
        self._now = now
        self._window_s = window_s
        self._ended_limit_bytes = ended_limit_bytes
        self._ended_bytes = 0
        self._turns: dict[str, _Turn] = {}
        self._requests: dict[Request, str] = {}
        self._rooms: dict[Id, set[str]] = {}
        self._ended: dict[str, int] = {}

    async def claim(self, claim: Claim) -> Claimed | Attached | Conflict | Busy:
        """Decide who owns the turn of a request; see `Journal.claim`."""
        self._forget_old()
        prompt = claim.prompt
        request = prompt.asked
        known = self._turns.get(self._requests.get(request, ""))
        if known is not None:
            return Attached(known.claim.turn_id) if known.claim.digest == claim.digest else Conflict()
        in_room = self._rooms.get(prompt.room_id, set())
        running = sum(1 for turn_id in in_room if self._turns[turn_id].ended_at_s is None)
        if running >= claim.turn_limit:
            return Busy()
        self._keep(claim, request)
        return Claimed()

    def append(self, turn_id: str, epoch: int, batch: Batch) -> asyncio.Future[Appended]:  # noqa: ARG002
        """Keep ``batch``; see `Journal.append`."""
        kept: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
        kept.set_result(Appended(self._append(turn_id, batch)))
        return kept

    def _append(self, turn_id: str, batch: Batch) -> Kept:
        turn = self._turns.get(turn_id)
        if turn is None:
            return Kept.GONE
        if batch.number <= turn.transcript.number:
            return Kept.DUPLICATE
        if turn.ended_at_s is not None:
            return Kept.CLOSED
        if turn.transcript.take(batch.number, batch.messages) is Applied.GAP:
            return Kept.GAP
        if batch.ended:
            turn.ended_at_s = self._now()
            self._ended[turn_id] = turn.transcript.size_bytes
            self._ended_bytes += turn.transcript.size_bytes
        return Kept.OK

    async def read(self, turn_id: str) -> Transcript | None:
        """Return what was kept of a turn; see `Journal.read`."""
        self._forget_old()
        kept = self._turns.get(turn_id)
        return kept.transcript if kept else None

    async def find(
        self, room_id: Id, *, message_id: Id | None = None, request_id: Id | None = None
    ) -> str | None:
        """Return the turn of a room by a name; see `Journal.find`."""
        self._forget_old()
        for turn_id in self._rooms.get(room_id, ()):
            kept = self._turns[turn_id]
            if message_id is not None and kept.transcript.message_id == message_id:
                return turn_id
            if request_id is not None and kept.claim.prompt.request_id == request_id:
                return turn_id
        return None

    async def stop(self, turn_id: str) -> bool:
        """Return whether the turn runs; its owner is this node, which knows already."""
        turn = self._turns.get(turn_id)
        return turn is not None and turn.ended_at_s is None

    async def restore(self, taken: Taken, batch: Batch) -> Kept:  # noqa: ARG002  (nothing is lost alone)
        """Return that the turn is gone for good: what is kept in this process is lost with it only."""
        return Kept.GONE

    async def renew(self, turns: Mapping[str, int]) -> None:
        """Do nothing: a lease that only this node can have needs no renewal."""

    async def release(self, turn_id: str, epoch: int) -> bool:  # noqa: ARG002
        """Return False: there is nobody to take it."""
        return False

    async def overdue(self) -> list[Taken]:
        """Return nothing: there is nobody to take from."""
        return []

    def _keep(self, claim: Claim, request: Request) -> None:
        prompt = claim.prompt
        self._turns[claim.turn_id] = _Turn(claim, Transcript(claim.turn_id, prompt.request_id))
        self._requests[request] = claim.turn_id
        self._rooms.setdefault(prompt.room_id, set()).add(claim.turn_id)

    def _forget_old(self) -> None:
        oldest_s = self._now() - self._window_s
        while self._ended:
            turn_id = next(iter(self._ended))
            ended_at_s = self._turns[turn_id].ended_at_s or 0.0
            if ended_at_s > oldest_s and self._ended_bytes <= self._ended_limit_bytes:
                return
            self._forget(turn_id)

    def _forget(self, turn_id: str) -> None:
        self._ended_bytes -= self._ended.pop(turn_id)
        kept = self._turns.pop(turn_id)
        del self._requests[kept.request]
        room_id = kept.claim.prompt.room_id
        self._rooms[room_id].discard(turn_id)
        if not self._rooms[room_id]:
            del self._rooms[room_id]


class MemoryInbox:
    """The inbox of a node that is alone: nobody writes to it."""

    async def enter(self, room_id: Id) -> Entered:  # noqa: ARG002
        """Return nothing: what runs in a room is known here."""
        return Entered([])

    async def leave(self, room_id: Id) -> None:
        """Do nothing."""

    def order(self, order: str, to: str = "", copies: Sequence[Command] = ()) -> None:
        """Do nothing: there is nobody to obey."""

    async def beat(self) -> bool:
        """Return True: this node lives as long as its store."""
        return True

    def silent_s(self) -> float:
        """Return 0: nothing that anybody says is lost on its way."""
        return 0.0

    async def letters(self) -> AsyncIterator[Letter]:
        """Give nothing, for ever."""
        await asyncio.Event().wait()
        yield  # type: ignore[misc]  # never reached: it makes this a generator


class MemoryFlag:
    """The flag of a node that is alone: what was changed at run time goes with the process.

    ``utc`` gives the wall clock, ``heard`` is told of each change.
    """

    def __init__(
        self, default: Rollout, utc: Callable[[], str], heard: Callable[[Change], None] = lambda _: None
    ) -> None:
        self._state = FlagState(default)
        self._utc = utc
        self._heard = heard
        self._changes = 0

    async def start(self) -> None:
        """Do nothing: the value is here."""

    async def close(self) -> None:
        """Do nothing."""

    async def streaming(self, room_id: Id, user: str) -> bool:
        """Return whether a turn that begins now streams; see `Flag.streaming`."""
        return self._state.rollout.streams(room_id, user)

    async def state(self) -> FlagState:
        """Return the value that holds; see `Switch.state`."""
        return self._state

    async def change(self, edit: Edit, reason: Reason) -> FlagState:
        """Change the flag; see `Switch.change`."""
        before = self._state.rollout
        if not self._state.settled(edit):
            self._changes += 1
            change = Change(str(self._changes), self._utc(), edit.applied(before), before, reason)
            self._state = self._state.changed(change)
            self._heard(change)
        return self._state


class MemoryTally:
    """The figures of a node that is alone; ``now`` gives monotonic seconds, ``window_s`` is how far back."""

    def __init__(self, now: Callable[[], float], *, window_s: float) -> None:
        self._now = now
        self._bucket_s = window_s / BUCKETS
        self._era = ""
        self._number = 0
        self._sums: dict[int, Figures] = {}

    async def add(self, era: str, number: int, figures: Figures) -> Figures:
        """Add, and return the sum; see `Tally.add`."""
        if era != self._era:
            self._era, self._sums = era, {}
        bucket = int(self._now() / self._bucket_s)
        self._sums = {at: sums for at, sums in self._sums.items() if at > bucket - BUCKETS}
        if number != self._number:
            self._number = number
            self._sums[bucket] = self._sums.get(bucket, Figures()) + figures
        return sum(self._sums.values(), Figures())
