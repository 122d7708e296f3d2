"""One running turn that this node owns: what it is made of, and how far it came."""

import asyncio
import hashlib
import json
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass, field

from bridge.events import Failed, Finished, Id
from bridge.facts import TurnReport
from bridge.letters import Batch
from bridge.ports import Appended, Claim
from bridge.pump import Pump
from bridge.tracing import Trace
from bridge.transcript import Transcript
from bridge.turn import Turn


def turn_name(backend: str, asked: tuple[Id, str, Id], again: int) -> str:
    """Name the turn of a request as every node does: what two of them claim apart is one to the journal.

    ``again`` is how often the request had ended and was forgotten before.
    """
    return hashlib.sha256(json.dumps([backend, *asked, again]).encode()).hexdigest()[:32]


@dataclass(slots=True, eq=False)
class Run:
    """What `Relay` knows of a turn while it runs here."""

    claim: Claim
    turn_id: str = field(init=False)
    """The turn's name inside the bridge."""
    epoch: int
    turn: Turn
    pump: Pump
    trace: Trace
    number: int = 0
    """Of the batch that was said last."""
    kept_number: int = 0
    """Of the batch that was kept last."""
    began_at_s: float = 0.0
    reader: asyncio.Task[Failed | None] | None = None
    writer: asyncio.Task[None] | None = None
    ends_as: Finished | Failed | None = None
    behind: deque[asyncio.Future[Appended]] = field(default_factory=deque)
    """What the journal has not answered yet."""
    unheard: Batch | None = None
    """What the journal was given last, while the devices of this node wait for its answer."""
    lost: bool = False
    """True while the journal has lost the turn."""
    until_kept: ExitStack = field(default_factory=ExitStack)
    """What holds as long as the devices of this node have heard an end that the journal does not hold."""
    needs_writer: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the writer's task has to see to it: the turn is over, lost, or another node's."""
    grew: bool = False
    """True when more gathered while that was on its way."""
    over: bool = False
    """True once the devices of this node heard its end."""
    fault: Exception | None = None
    """What went wrong in the writer while nobody waited for it."""
    heard: Transcript | None = None
    fenced: bool = False
    last: Batch | None = None
    """What the devices of this node heard last."""
    first_kept_s: float | None = None
    first_chunk_s: float | None = None

    def __post_init__(self) -> None:
        self.turn_id = self.claim.turn_id

    @property
    def said_more_than_kept(self) -> bool:
        """True when the devices of this node heard what the journal does not hold."""
        return self.last is not None and self.last.number > self.kept_number

    def mark(self, kept_at_s: float, heard_at_s: float) -> None:
        """Take the times of the first chunk, which the devices of this node have by now."""
        if self.first_chunk_s is None and self.turn.seq:
            self.first_chunk_s = heard_at_s - self.began_at_s
            self.first_kept_s = self._after(kept_at_s if self.kept_number == self.number else None)

    def _after(self, at_s: float | None) -> float | None:
        return None if at_s is None else at_s - self.began_at_s

    def fail(self, fault: Exception) -> None:
        """Have the writer's task raise ``fault``."""
        self.fault = fault
        self.needs_writer.set()

    def interrupt(self, ends_as: Finished | Failed) -> None:
        """Have its reader stop, and the turn end so."""
        if self.reader is not None and self.ends_as is None:
            self.ends_as = ends_as
            self.reader.cancel()

    def report(self, now_s: float) -> TurnReport:
        """Return the facts of the turn, which ended now."""
        turn, pump = self.turn, self.pump
        return TurnReport(
            request_id=turn.request_id,
            room_id=turn.room_id,
            message_id=turn.message_id,
            streaming=turn.streaming,
            finish_reason=turn.finish_reason or "other",
            error_code=turn.error.code if turn.error else None,
            deltas=pump.deltas,
            chunks=turn.seq,
            content_chars=len(turn.content),
            backend_calls=pump.calls,
            taken_over=self.epoch > 1,
            first_event_s=self._after(pump.first_event_at_s),
            first_delta_s=self._after(pump.first_delta_at_s),
            first_kept_s=self.first_kept_s,
            first_chunk_s=self.first_chunk_s,
            completion_s=now_s - self.began_at_s,
            differs=turn.differs,
        )
