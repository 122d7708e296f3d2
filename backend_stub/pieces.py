"""What an answer is made of, before any wire format has a word for it."""

from dataclasses import dataclass

from backend_stub.messages import Id
from backend_stub.tools import ToolCall

WELL = frozenset({"stop", "tool-calls"})
"""The finish reasons of an answer that came to its own end."""

_WHY = {
    "error": "the model failed in the middle of its answer",
    "cancelled": "the answer was stopped before its end",
    "interrupted": "the backend ended in the middle of the answer",
}


@dataclass(frozen=True, slots=True)
class Opened:
    """The answer has a name and a time, and nothing else yet."""

    message_id: Id
    created_at: str


@dataclass(frozen=True, slots=True)
class ToolStarted:
    """The model begins to write a tool's call."""

    call: ToolCall


@dataclass(frozen=True, slots=True)
class ToolCalled:
    """The call is whole."""

    call: ToolCall


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The tool was run here, and gave its result."""

    call: ToolCall


@dataclass(frozen=True, slots=True)
class TextStarted:
    """Text follows, if there is any."""


@dataclass(frozen=True, slots=True)
class Text:
    """One token, or, where ``last`` is false, a part of it that is not the last."""

    text: str
    last: bool = True


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of the answer, with all of its text; ``failure`` says why where it is not the usual reason."""

    finish_reason: str
    content: str
    failure: str = ""

    @property
    def well(self) -> bool:
        """Tell whether the answer came to its own end."""
        return self.finish_reason in WELL

    @property
    def why(self) -> str:
        """The reason for people of an end that is not well."""
        return self.failure or _WHY.get(self.finish_reason, _WHY["error"])


Piece = Opened | ToolStarted | ToolCalled | ToolResult | TextStarted | Text | Ended
