"""What a backend says, whatever its dialect: a closed union of frozen values."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from bridge.errors import FinishReason, TurnError

Id = str | int
"""A room's, message's or request's name; keeps the JSON type it came with."""

ID_PATTERN = r"[A-Za-z0-9_.:\-]{1,128}"
_ID = re.compile(ID_PATTERN)


def valid_id(value: object) -> bool:
    """Return whether ``value`` can be an `Id` on the wire: 1-128 safe characters, or a 64-bit integer."""
    if isinstance(value, str):
        return _ID.fullmatch(value) is not None
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


ToolState = Literal["start", "call", "result", "error"]


@dataclass(frozen=True, slots=True)
class Started:
    """The first frame came; ``message_id`` is the backend's own name for the answer, if it has one."""

    message_id: Id | None = None


@dataclass(frozen=True, slots=True)
class Delta:
    """The next piece of the answer's text; may be empty, and may end in half a surrogate pair."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """The next piece of what the model thinks to itself; no part of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """The backend's own name for the conversation, which it may give at any moment of an answer."""

    conversation_id: Id


@dataclass(frozen=True, slots=True)
class Position:
    """All before this is what the backend has said up to its frame ``frame_id``, from which it can go on."""

    frame_id: str


@dataclass(frozen=True, slots=True)
class Stored:
    """The message as the backend stored it: ``body`` is its JSON text."""

    body: str


@dataclass(frozen=True, slots=True)
class Status:
    """What the backend is busy with: ``thinking``, ``tool_calling``, ..."""

    status: str


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool call moved to ``state``; a result may say its ``success`` and the job it began."""

    tool_call_id: str
    name: str
    state: ToolState
    success: bool | None = None
    job_id: str | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """The answer is whole; ``content`` is the dialect's own final text, where it carries one."""

    reason: FinishReason = "stop"
    content: str | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The answer will not come, or not to its end; ``content`` as in `Finished`."""

    error: TurnError
    content: str | None = None


@dataclass(frozen=True, slots=True)
class Completed:
    """The whole answer at once, from the complete call; ``extra`` is what else the backend gave.

    ``body`` is all it gave, as it came, where there was such a call.
    """

    content: str
    message_id: Id | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    body: str = field(default="", compare=False)


Event = (
    Started
    | Delta
    | Reasoning
    | Conversation
    | Position
    | Stored
    | Status
    | Tool
    | Finished
    | Failed
    | Completed
)
