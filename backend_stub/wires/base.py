"""What every wire format is: a body read, pieces in, frames out."""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, assert_never

from backend_stub.asks import Ask, Post
from backend_stub.messages import Message
from backend_stub.pieces import Ended, Opened, Piece, Text, TextStarted, ToolCalled, ToolResult, ToolStarted

Json = dict[str, Any]
EVENT_STREAM = {
    "content-type": "text/event-stream",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}
"""What the response of a stream says about itself."""

_LATE_TEXT = " too late"


FrameKind = Literal["delta", "closing", "end", "other"]
"""What a frame is to the faults: text of the answer, what leads to its end, the end, or none of these."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One SSE record: its bytes on the wire; ``number`` is its id, where it has one."""

    kind: FrameKind
    data: bytes
    number: int | None = None


def encoded(value: Any) -> str:
    """Return ``value`` as one line of JSON that keeps its letters."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def sse(data: str, *, event: str = "", event_id: int | None = None) -> bytes:
    """Return the SSE record of ``data``; half a surrogate pair is written as its JSON escape."""
    numbered = "" if event_id is None else f"id: {event_id}\n"
    named = f"event: {event}\n" if event else ""
    return f"{numbered}{named}data: {data}\n\n".encode(errors="backslashreplace")


class Wire(ABC):
    """One call in one wire format. A subclass says what differs from plain ``data:`` frames without ids."""

    headers: ClassVar[dict[str, str]] = EVENT_STREAM
    ping: ClassVar[bytes] = b": ping\n\n"
    """What is sent so that the connection is not taken for dead."""
    text_mark: ClassVar[bytes]
    """What stands directly before the text of a delta."""
    tells_failures: ClassVar[bool] = False
    """Whether what the complete call answers has a word for an answer that ended badly."""

    def __init__(self, ask: Ask) -> None:
        self.ask = ask

    @classmethod
    @abstractmethod
    def read(cls, post: Post) -> Self:
        """Return the call that ``post`` makes; raise `Refused` when it cannot be used."""

    @property
    def streaming(self) -> bool:
        """Whether the body asks for a stream, where the path does not say it."""
        return True

    def frames(self, piece: Piece) -> list[Frame]:
        """Return the frames of ``piece``, which comes in its place of the answer."""
        match piece:
            case Opened():
                told = self.opened(piece)
            case ToolStarted():
                told = self.tool_started(piece)
            case ToolCalled():
                told = self.tool_called(piece)
            case ToolResult():
                told = self.tool_result(piece)
            case TextStarted():
                told = self.text_started()
            case Text():
                told = self.text(piece)
            case Ended():
                told = self.ended(piece)
            case _:
                assert_never(piece)
        return told

    def opened(self, piece: Opened) -> list[Frame]:  # noqa: ARG002 - many have no word for it
        """Return what the answer begins with."""
        return []

    def tool_started(self, piece: ToolStarted) -> list[Frame]:  # noqa: ARG002
        """Return how a tool's call begins."""
        return []

    def tool_called(self, piece: ToolCalled) -> list[Frame]:  # noqa: ARG002
        """Return the call itself."""
        return []

    def tool_result(self, piece: ToolResult) -> list[Frame]:  # noqa: ARG002
        """Return what the tool gave."""
        return []

    def text_started(self) -> list[Frame]:
        """Return what stands before the text."""
        return []

    def text(self, piece: Text) -> list[Frame]:
        """Return the frames of one token."""
        return [Frame("delta", self.record(self.delta(piece.text)))]

    @abstractmethod
    def ended(self, piece: Ended) -> list[Frame]:
        """Return how the answer ends."""

    @abstractmethod
    def delta(self, text: str) -> Json:
        """Return the JSON object that carries ``text``."""

    def record(self, value: Json) -> bytes:
        """Return the SSE record of one JSON object."""
        return sse(encoded(value))

    def complete(self, message: Message, pieces: Sequence[Piece]) -> Json:
        """Return what the complete call answers; ``pieces`` are those of the whole answer."""
        raise NotImplementedError

    def late(self) -> bytes:
        """Return a delta that belongs nowhere."""
        return self.record(self.delta(_LATE_TEXT))

    def broken(self) -> bytes:
        """Return a delta whose JSON breaks off before its text."""
        whole = self.late()
        return whole[: whole.index(f'"{_LATE_TEXT}"'.encode())] + whole[whole.rindex(b"}") + 1 :]

    def unknown(self, name: str, data: str) -> bytes:
        """Return a record of a type that no reader knows; ``data`` is the JSON of its one field."""
        return self.record(self.stranger(name)).replace(b'"data":0', f'"data":{data}'.encode(), 1)

    def stranger(self, name: str) -> Json:
        """Return an object of the unknown type ``name`` with a field ``data``, which is 0."""
        return {"type": name, "data": 0}
