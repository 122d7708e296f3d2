"""Everything kept in this process: the stores of a bridge without Redis, and the measure of any other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bridge.events import Id
from bridge.messages import Message
from bridge.ports import Attached, Busy, Claim, Claimed, Conflict
from bridge.transcript import Transcript

Request = tuple[Id, str, Id]


@dataclass(slots=True)
class _Kept:
    claim: Claim
    transcript: Transcript
    ended_at_s: float | None = None

    @property
    def request(self) -> Request:
        return (self.claim.room_id, self.claim.user, self.claim.request_id)


class MemoryJournal:
    """Keeps turns in dictionaries; an ended turn goes after ``window_s``, or when newer ones need its room.

    ``now`` gives monotonic seconds; the text of ended turns stays below ``ended_limit_bytes``.
    """

    def __init__(
        self, now: Callable[[], float], *, window_s: float, ended_limit_bytes: int = 64 * 1024 * 1024
    ) -> None:
        self._now = now
        self._window_s = window_s
        self._ended_limit_bytes = ended_limit_bytes
        self._ended_bytes = 0
        self._turns: dict[str, _Kept] = {}
        self._requests: dict[Request, str] = {}
        self._rooms: dict[Id, set[str]] = {}
        self._ended: dict[str, int] = {}

    async def claim(self, claim: Claim) -> Claimed | Attached | Conflict | Busy:
        """Decide who owns the turn of a request; see `Journal.claim`."""
        self._forget_old()
        request = (claim.room_id, claim.user, claim.request_id)
        known = self._turns.get(self._requests.get(request, ""))
        if known is not None:
            return Attached(known.claim.turn_id) if known.claim.digest == claim.digest else Conflict()
        in_room = self._rooms.get(claim.room_id, set())
        running = sum(1 for turn_id in in_room if self._turns[turn_id].ended_at_s is None)
        if running >= claim.turn_limit:
            return Busy()
        self._keep(claim, request)
        return Claimed()

    async def append(self, turn_id: str, messages: Sequence[Message], *, ended: bool) -> None:
        """Keep ``messages``; see `Journal.append`."""
        kept = self._turns.get(turn_id)
        if kept is None or kept.ended_at_s is not None:
            return
        for message in messages:
            kept.transcript.apply(message)
        if ended:
            kept.ended_at_s = self._now()
            self._ended[turn_id] = kept.transcript.size_bytes
            self._ended_bytes += kept.transcript.size_bytes

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
            if request_id is not None and kept.claim.request_id == request_id:
                return turn_id
        return None

    def _keep(self, claim: Claim, request: Request) -> None:
        self._turns[claim.turn_id] = _Kept(claim, Transcript(claim.turn_id, claim.request_id))
        self._requests[request] = claim.turn_id
        self._rooms.setdefault(claim.room_id, set()).add(claim.turn_id)

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
        in_room = self._rooms[kept.claim.room_id]
        in_room.discard(turn_id)
        if not in_room:
            del self._rooms[kept.claim.room_id]


class MemoryFlag:
    """The flag of one process: a value that ops switch at run time."""

    def __init__(self, *, value: bool) -> None:
        self.value = value

    async def streaming(self, room_id: Id, user: str) -> bool:  # noqa: ARG002  (the port's arguments)
        """Return the value, the same for every room."""
        return self.value
