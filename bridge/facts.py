"""What is told of the bridge's own doings: the facts of a turn, and what is worth counting."""

from dataclasses import dataclass
from enum import Enum
from typing import Literal

from bridge.errors import FinishReason
from bridge.events import Id


@dataclass(frozen=True, slots=True)
class TurnReport:
    """The facts of one ended turn. Times count from the send, in seconds; None: it never happened.

    Of a turn that was taken over they count from the takeover, by the node that ended it.
    """

    request_id: Id
    room_id: Id
    message_id: Id
    streaming: bool
    finish_reason: FinishReason
    error_code: str | None
    deltas: int
    chunks: int
    content_chars: int
    backend_calls: int
    taken_over: bool
    first_event_s: float | None
    """The backend's first word, of whatever kind."""
    first_delta_s: float | None
    """Its first text."""
    first_kept_s: float | None
    """The first chunk in the journal; None also where the devices were not made to wait for it."""
    first_chunk_s: float | None
    """The first chunk given to every device of this node."""
    completion_s: float
    differs: bool


Refused = Literal["connection", "request", "event", "access"]
"""What can be refused: a device's connection, an HTTP request, an event; or ended: an access once given."""


class Happening(Enum):
    """What is worth counting besides turns."""

    TAKEN_OVER = "a turn of another node was taken over"
    FENCED = "a turn of this node is another's now"
    GAP_REPAIRED = "a batch of another node's turn was missing and was read from the journal"
    LETTERS_LOST = "letters in the inbox were lost"
    RESUMED = "a device resumed a message"
    RESUME_UNKNOWN = "a device wanted to resume a message that nobody knows any more"
    LAGGED = "a device was too slow; it is told what it lacks once it has drained"
    CUT_OFF = "a device was too slow and was disconnected"
    FLAG_CHANGED = "the flag was changed"
    FRAME_SKIPPED = "a frame of the backend could not be read"
    GAP_REPORTED = "a device asked again for text that it had been told"
    CONFIRMED = "a device confirmed what it was asked to confirm"
    UNCONFIRMED = "a device that confirms did not do so in time"
    GUARD_TRIPPED = "the guard turned streaming off"
    GUARD_REFRAINED = "the guard would have turned streaming off, and is not to"
    GUARD_REARMED = "the guard let rooms stream again"
    WEBHOOK_LOST = "nobody took what the guard had to tell"
