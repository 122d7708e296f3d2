"""What has no type of its own elsewhere: acks, errors and what a device says of itself as types."""

from dataclasses import dataclass
from typing import Literal

from bridge.errors import RequestCode
from bridge.events import Id
from bridge.rooms import ActiveTurn


@dataclass(frozen=True, slots=True)
class WireError:
    """Why not: ``code`` is for programs, ``message`` for people."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The response to a request that was refused, or failed."""

    error: WireError


@dataclass(frozen=True, slots=True)
class Unacked:
    """The ack of what was refused."""

    ok: Literal[False]
    error: WireError


@dataclass(frozen=True, slots=True)
class Renew:
    """Show a fresh token in the place of the one that expires."""

    token: str


@dataclass(frozen=True, slots=True)
class Done:
    """It is done."""


@dataclass(frozen=True, slots=True)
class JoinAck:
    """What runs in the room; ``lost`` are messages to be resumed that nobody knows any more."""

    room_id: Id
    active: list[ActiveTurn]
    lost: list[str] | None


@dataclass(frozen=True, slots=True)
class SendAck:
    """The turn is claimed; a ``duplicate`` attached to one that was there."""

    request_id: Id
    message_id: Id | None
    duplicate: Literal[True] | None


@dataclass(frozen=True, slots=True)
class ResumeAck:
    """Whether the message was known, and its last seq."""

    recovered: bool
    seq: int


@dataclass(frozen=True, slots=True)
class AccessEnded:
    """The device may hear no more: of one room, or at all."""

    code: RequestCode
    room_id: Id | None


@dataclass(frozen=True, slots=True)
class Auth:
    """What a device says when it connects; it hears chunks (``streaming``), complete messages, or both."""

    token: str | None
    streaming: bool | None
