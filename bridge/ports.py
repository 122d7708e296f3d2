"""The architecture on one page: what the middle asks of the world, and what the world must keep to.

Every asynchronous method may be cancelled at any await and leaves nothing half done. No method blocks
the event loop. What an implementation must keep is written here; what it is made of, it alone knows.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from bridge.errors import FinishReason
from bridge.events import Completed, Event, Id
from bridge.messages import Message
from bridge.transcript import Transcript


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the backend is asked; ``extra`` is what else the device sent, passed on as it came."""

    request_id: Id
    room_id: Id
    message_id: Id
    content: str
    user: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)


class Backend(Protocol):
    """The server that answers. It keeps the history; the bridge keeps none."""

    idempotent: bool
    """True when a second call with the same request id never makes a second answer."""

    def stream(self, prompt: Prompt) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        """Ask for the answer piece by piece; leaving the context closes the call.

        The last event is Finished or Failed. Entering and iterating raise `BackendError`. Only the
        connection has a deadline here: those of the text are the relay's.
        """
        ...

    async def complete(self, prompt: Prompt) -> Completed:
        """Ask for the whole answer at once. Raises `BackendError`."""
        ...


@dataclass(frozen=True, slots=True)
class Claim:
    """A wish to own the turn of a request; ``digest`` tells its content from another's.

    ``turn_id`` names the turn inside the bridge, ``turn_limit`` is how many may run in the room.
    """

    turn_id: str
    room_id: Id
    user: str
    request_id: Id
    digest: str
    turn_limit: int


@dataclass(frozen=True, slots=True)
class Claimed:
    """The turn is ours: nobody else will call the backend for this request."""


@dataclass(frozen=True, slots=True)
class Attached:
    """The request has its turn already."""

    turn_id: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """The request id was used for other content."""


@dataclass(frozen=True, slots=True)
class Busy:
    """As many turns run in the room as may."""


class Journal(Protocol):
    """The kept messages of every turn, until the resume window after its end has passed."""

    async def claim(self, claim: Claim) -> Claimed | Attached | Conflict | Busy:
        """Decide in one step who owns the turn of (room, user, request id)."""
        ...

    async def append(self, turn_id: str, messages: Sequence[Message], *, ended: bool) -> None:
        """Keep ``messages``, in order, and with ``ended`` that nothing follows. An ended turn is closed."""
        ...

    async def read(self, turn_id: str) -> Transcript | None:
        """Return what was kept of a turn, None when it is unknown or its window has passed."""
        ...

    async def find(
        self, room_id: Id, *, message_id: Id | None = None, request_id: Id | None = None
    ) -> str | None:
        """Return the turn of a room by the name of its answer or of its request, None when unknown."""
        ...


class Flag(Protocol):
    """Whether new turns stream. Asked once per turn, and the answer is pinned to it."""

    async def streaming(self, room_id: Id, user: str) -> bool:
        """Return whether a turn that begins now in this room streams; never raises."""
        ...


class Device(Protocol):
    """One connected client, behind whatever door."""

    streaming: bool | None
    """True: hears chunks and no complete message of a streamed answer. False: hears only complete
    messages. None: said nothing, hears both."""
    user: str

    def hear(self, message: Message) -> None:
        """Take ``message`` without waiting, after all that were given before.

        A device that cannot keep up is disconnected by its door; it comes back and resumes.
        """
        ...


@dataclass(frozen=True, slots=True)
class TurnReport:
    """The facts of one ended turn. Times count from the send, in seconds; None: it never happened."""

    request_id: Id
    room_id: Id
    message_id: Id
    streaming: bool
    finish_reason: FinishReason
    error_code: str | None
    chunks: int
    content_chars: int
    backend_calls: int
    first_chunk_s: float | None
    completion_s: float
    differs: bool


class Telemetry(Protocol):
    """Where facts go; never raises, never waits."""

    def turn_ended(self, report: TurnReport) -> None:
        """Take the facts of a turn, once per turn."""
        ...

    def fault(self, error: BaseException) -> None:
        """Take a fault of the bridge itself, which ended a turn or a request but not the process."""
        ...


class Clock(Protocol):
    """Time and names, so that tests can choose them."""

    def monotonic_s(self) -> float:
        """Return seconds that only grow."""
        ...

    def utc(self) -> str:
        """Return the wall clock as ISO 8601 in UTC with milliseconds."""
        ...

    def new_id(self) -> str:
        """Return a name never given before."""
        ...

    def jitter(self) -> float:
        """Return a number in [0, 1)."""
        ...
