"""The architecture on one page: what the middle asks of the world, and what the world must keep to.

Every asynchronous method may be cancelled at any await and leaves nothing half done. No method blocks
the event loop. What an implementation must keep is written here; what it is made of, it alone knows.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from bridge.broadcast import Way
from bridge.changes import Edit, FlagState, Reason
from bridge.events import Completed, Event, Id
from bridge.facts import Happening, Refused, TurnReport
from bridge.figures import Figures
from bridge.letters import Batch, Letter
from bridge.messages import Message
from bridge.orders import Order
from bridge.transcript import Transcript


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the backend is asked; ``extra`` is what else the device sent, passed on as it came.

    ``headers`` go along with the calls for this prompt; they may be secrets, so they are kept nowhere: a
    node that takes the turn over has none.
    """

    request_id: Id
    room_id: Id
    message_id: Id
    content: str
    user: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def asked(self) -> tuple[Id, str, Id]:
        """What makes two prompts the same request: room, user, request id."""
        return (self.room_id, self.user, self.request_id)


Take = Callable[[Sequence[Event]], bool]
"""Takes what a backend says, when it comes, without waiting; returns whether it wants more."""


class Backend(Protocol):
    """The server that answers. It keeps the history; the bridge keeps none."""

    name: str
    """Which backend it is: a request that is asked of another one is another request."""
    idempotent: bool
    """True when a second call with the same request id never makes a second answer."""
    resumes: bool
    """True when a call may go on behind a position that an earlier one told."""

    async def stream(self, prompt: Prompt, take: Take, after: str = "") -> None:
        """Ask for the answer piece by piece, or for what is behind ``after``; returns once it has ended.

        The last event is Finished or Failed. Raises `BackendError`. Deadlines of the text are the relay's.
        """
        ...

    async def complete(self, prompt: Prompt) -> Completed:
        """Ask for the whole answer at once. Raises `BackendError`."""
        ...


@dataclass(frozen=True, slots=True)
class Claim:
    """A wish to own the turn of a request; ``digest`` tells its content from another's.

    ``turn_id`` names the turn inside the bridge, ``turn_limit`` is how many may run in the room. The prompt
    and whether the turn streams are kept with it, for the node that may have to take it over. So is whether
    its complete messages are ``announced_elsewhere``: another server tells the room, and the bridge must not.
    ``trace`` is the name its owner's span has, empty where it has none.
    """

    turn_id: str
    prompt: Prompt
    streaming: bool
    digest: str
    turn_limit: int
    announced_elsewhere: bool = False
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Claimed:
    """The turn is ours, in ``epoch`` 1: nobody else will call the backend for this request."""

    epoch: int = 1


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


class Kept(Enum):
    """What became of a batch."""

    OK = "ok"
    DUPLICATE = "duplicate"
    """It was kept before: a repeat of ours, and as good as OK."""
    GAP = "gap"
    """Batches before it are missing."""
    FENCED = "fenced"
    """Another node owns the turn now."""
    CLOSED = "closed"
    """The turn has ended."""
    GONE = "gone"
    """Nothing is known of the turn (any more)."""


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of a batch, and whether someone wants the turn to stop."""

    kept: Kept
    stop: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """A turn that is ours now because its owner's lease expired, as far as it came."""

    epoch: int
    claim: Claim
    transcript: Transcript
    position: str
    stop: bool


class Journal(Protocol):
    """The kept messages of every turn, until the resume window after its end has passed.

    The node that claims a turn owns it. It holds a lease, renewed by `renew` and some of its appends; once it
    has expired another node may take the turn over, under the next epoch. An owner of an earlier epoch is
    fenced: nothing it says is kept. The fence decides, not the clock. Every method but `append` raises
    `StoreUnavailable` when it got no answer in time.
    """

    async def claim(self, claim: Claim) -> Claimed | Attached | Conflict | Busy:
        """Decide in one step who owns the turn of (room, user, request id)."""
        ...

    def append(self, turn_id: str, epoch: int, batch: Batch) -> asyncio.Future[Appended]:
        """Keep ``batch``, and let every other node of the room know; may be asked again with the same batch.

        Does not wait: the future is done once it is kept, which may be as late as the store comes back.
        Batches of one turn are kept in the order of the calls.
        """
        ...

    async def read(self, turn_id: str) -> Transcript | None:
        """Return what was kept of a turn, None when it is unknown or its window has passed."""
        ...

    async def find(
        self, room_id: Id, *, message_id: Id | None = None, request_id: Id | None = None
    ) -> str | None:
        """Return the turn of a room by the name of its answer or of its request, None when unknown."""
        ...

    async def stop(self, turn_id: str) -> bool:
        """Ask the owner of a running turn to stop it; False when the turn is unknown or has ended."""
        ...

    async def restore(self, taken: Taken, batch: Batch) -> Kept:
        """Keep a turn anew whose journal is gone, under its epoch, ``batch`` being all it has said."""
        ...

    async def renew(self, turns: Mapping[str, int]) -> None:
        """Renew the leases of ``turns`` (turn id to epoch), as far as they are still ours."""
        ...

    async def release(self, turn_id: str, epoch: int) -> bool:
        """Give a running turn away: another node, or this one's successor, may take it at once.

        False where nobody could: the journal dies with this process.
        """
        ...

    async def overdue(self) -> list[Taken]:
        """Take over turns whose lease has expired, a few at a time; a beat a moment ago may know of none."""
        ...


@dataclass(frozen=True, slots=True)
class Entered:
    """A room as a node finds it: its running turns, and the names of those that ended a short time ago."""

    running: list[Transcript]
    ended: list[str] = field(default_factory=list)


Command = tuple[str | int | bytes, ...]
"""A Redis command and its arguments."""


class Inbox(Protocol):
    """What this node must still hear of the rooms it holds. Raises `StoreUnavailable` as the journal does."""

    async def enter(self, room_id: Id) -> Entered:
        """Hold a room, and return what runs in it, in one step: what follows reaches the inbox."""
        ...

    async def leave(self, room_id: Id) -> None:
        """Hold a room no longer."""
        ...

    def order(self, order: str, to: str = "", copies: Sequence[Command] = ()) -> None:
        """Put ``order`` into the inboxes of all other living nodes, or of the node ``to`` alone.

        ``copies`` are published with it, as those of `Outbound.of` are; an empty order is nothing but these.

        Does not wait: it arrives once, behind all that were given before, which may be as late as the store
        comes back. A node that is taken for dead meanwhile does not get it. Raises `StoreUnavailable` when
        too much waits already.
        """
        ...

    async def beat(self) -> bool:
        """Say that this node lives; False when it was taken for dead: it has to enter its rooms again."""
        ...

    def silent_s(self) -> float:
        """Return how long nothing came of what this node is sent; each `beat` comes back to it as well."""
        ...

    def letters(self) -> AsyncIterator[Letter]:
        """Give what comes, in order, for as long as it is iterated; survives every loss of the connection."""
        ...


class Sockets(Protocol):
    """The Socket.IO server of this node, as far as those of other nodes may command it."""

    def obey(self, sender: str, order: str) -> None:
        """Do what another node's server wants, without waiting, after all that came before; never raises."""
        ...


class Outbound(Protocol):
    """What else is published of a message, for servers that share the store and are no bridges."""

    def of(self, messages: Sequence[Message]) -> Sequence[Command]:
        """Return the commands that the store runs when it keeps ``messages``; none where nobody listens.

        Never raises. A store runs them at most once, and only for what it has kept.
        """
        ...


class Neighbours(Protocol):
    """Servers that share the store and are no bridges, as far as a node of ours may command them."""

    def told(self, order: Order) -> Sequence[Command]:
        """Return the commands by which they learn what the nodes are ordered; none where nobody listens.

        Never raises. What they answer to an emit with a number comes in by another way.
        """
        ...


class Flag(Protocol):
    """Whether new turns stream. Asked once per turn, and the answer is pinned to it."""

    async def streaming(self, room_id: Id, user: str) -> bool:
        """Return whether a turn that begins now in this room streams; never raises."""
        ...


class Switch(Protocol):
    """The flag in the hand of an operator; each way to reach it is one of these."""

    async def state(self) -> FlagState:
        """Return the value that holds and how it came to be. Raises `StoreUnavailable`."""
        ...

    async def change(self, edit: Edit, reason: Reason) -> FlagState:
        """Change the flag on all nodes at once, and return its state; what changes nothing is not kept.

        Running turns stay on their path. Raises `FlagRefused`, and `StoreUnavailable` where nobody says
        that all nodes will hear of it; it may be asked again.
        """
        ...


class LiveFlag(Flag, Switch, Protocol):
    """The flag of a running node: it follows what is changed elsewhere from `start` to `close`."""

    async def start(self) -> None:
        """Learn the value. Raises `StoreUnavailable` when it is not known yet, and goes on trying."""
        ...

    async def close(self) -> None:
        """Follow no more."""
        ...


class Tally(Protocol):
    """The figures of all nodes over the last while, as the guard looks at them."""

    async def add(self, era: str, number: int, figures: Figures) -> Figures:
        """Add what this node has, and return the sum of all nodes over the window.

        It is added once, however often it is asked with the same ``number``, which grows from call to call.
        Figures of one era are never in the sum of another. Raises `StoreUnavailable`.
        """
        ...


class Device(Protocol):
    """One connected client, behind whatever door."""

    streaming: bool | None
    """True: hears chunks and no complete message of a streamed answer. False: hears only complete
    messages. None: said nothing, hears both."""
    user: str

    @property
    def lagging(self) -> bool:
        """True while more waits for it than should: it is told no text, and all of it later as one chunk.

        Its door sees to it: it calls `Rooms.caught_up` when that is over, or cuts off what is stuck.
        """
        ...

    @property
    def way(self) -> Way | None:
        """The way on which any chunk but a turn's first may be written instead of heard, if it has one now.

        Once one was given it may be used for as long as the device is in the room.
        """
        ...

    def hear(self, message: Message) -> None:
        """Take ``message`` without waiting, after all that were given before."""
        ...


class Telemetry(Protocol):
    """Where facts go; never raises, never waits."""

    def turn_ended(self, report: TurnReport) -> None:
        """Take the facts of a turn, once per turn."""
        ...

    def fault(self, error: BaseException) -> None:
        """Take a fault of the bridge itself, which ended a turn or a request but not the process."""
        ...

    def happened(self, what: Happening, times: int = 1) -> None:
        """Count what happened."""
        ...

    def refused(self, what: Refused, code: str) -> None:
        """Count what was refused, by the code that its sender is told."""
        ...

    def beaten(self, late_s: float) -> None:
        """Take how late the heartbeat was: so long something held the event loop."""
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
