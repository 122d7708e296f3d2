"""What every dialect is: frames in, events out, no I/O; and the JSON rules all of them share."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from bridge.errors import BackendCut, BackendFailed, BackendMalformed, TurnError
from bridge.events import Event, Failed, Id, valid_id

MALFORMED_IN_A_ROW = 3
"""So many frames in a row that cannot be read end the turn; fewer are skipped and counted."""

WORD_LIMIT = 256
"""So many characters of a tool's name, of a status, of a job's name are told."""

DONE = "[DONE]"
"""The data of a frame by which several backends say that nothing follows."""

Json = dict[str, Any]


class Frame(NamedTuple):
    """One SSE record; ``event`` and ``id`` are empty where the record has none."""

    data: str
    event: str = ""
    id: str = ""


class Dialect(Protocol):
    """A backend's way of speaking. One object decodes one stream, over a resumed connection too."""

    @property
    def name(self) -> str:
        """What the dialect is called in a setting."""
        ...

    @property
    def malformed(self) -> int:
        """How many frames could not be read."""
        ...

    @property
    def whole(self) -> bool:
        """True once the answer is whole and only trailers may follow: nobody need wait long for them."""
        ...

    def decode(self, frame: Frame) -> list[Event]:
        """Return what ``frame`` says, in order; nothing when it says nothing, or once the answer ended."""
        ...

    def eof(self) -> list[Event]:
        """Return what the end of the bytes means: nothing once the answer ended, else how it ends."""
        ...


class Kind(Protocol):
    """A class of dialects, as detection meets it."""

    name: str
    header: str
    """The response header by which it is announced, in lower case; empty where there is none."""

    def __call__(self) -> Dialect:
        """Return a decoder for one stream."""
        ...

    def speaks(self, frame: Frame, value: Json) -> bool:
        """Return whether only this dialect says such a frame; ``value`` is its JSON object, else empty."""
        ...


def read_object(text: str) -> Json | None:
    """Return the JSON object in ``text``, None where there is none that can be read."""
    text = text.strip(_WHITESPACE)
    try:
        value, end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and end == len(text) else None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_WHITESPACE = " \t\n\r"
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)  # `json.loads` makes one for each call


class JsonDialect:
    """A dialect whose frames are JSON objects; subclasses give `said`, and more where they differ."""

    name: str
    header = ""

    def __init__(self) -> None:
        self.malformed = 0
        self.whole = False
        self.ended = False
        self._in_a_row = 0

    def decode(self, frame: Frame) -> list[Event]:
        """Return the events of ``frame``; see `Dialect.decode`."""
        if self.ended or not frame.data:
            return []
        if frame.event == "error":
            return self.failed(read_object(frame.data) or {})
        if frame.data == DONE:
            return self.done()
        value = read_object(frame.data)
        if value is None:
            return self._unreadable()
        self._in_a_row = 0
        return self.said(value)

    def eof(self) -> list[Event]:
        """Return the failure that an end without end marker is; see `Dialect.eof`."""
        if self.ended:
            return []
        if self.whole:
            return self.finished()
        if self._in_a_row:
            why = "its last frame is no JSON object"
            return self.fail(BackendMalformed(f"unable to read the answer; {why}"))
        return self.fail(BackendCut("unable to finish the answer; the stream ended before its end marker"))

    def said(self, value: Json) -> list[Event]:
        """Return the events of one JSON object."""
        raise NotImplementedError

    def done(self) -> list[Event]:
        """Return what ``[DONE]`` means; nothing, in a dialect that has no such word."""
        return []

    def finished(self) -> list[Event]:
        """Return the end of an answer that is `whole`."""
        raise NotImplementedError

    def failed(self, value: Json) -> list[Event]:  # noqa: ARG002  (its text may hold what devices must not see)
        """Return the end that the backend's own error is."""
        return self.fail(BackendFailed("unable to answer; the backend reported an error"))

    def fail(self, error: TurnError, content: str | None = None) -> list[Event]:
        """Return the failure that ends the answer."""
        self.ended = True
        return [Failed(error, content)]

    def _unreadable(self) -> list[Event]:
        self.malformed += 1
        self._in_a_row += 1
        if self._in_a_row < MALFORMED_IN_A_ROW:
            return []
        if self.whole:
            return self.finished()
        why = f"{MALFORMED_IN_A_ROW} frames in a row are no JSON objects"
        return self.fail(BackendMalformed(f"unable to read the answer; {why}"))


class TypedDialect(JsonDialect):
    """A dialect whose objects say in ``type`` what they are; unknown types say nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.says: dict[Any, Callable[[Json], list[Event]]] = {}

    def said(self, value: Json) -> list[Event]:
        """Return the events of one object, by its type."""
        kind = value.get("type")
        says = self.says.get(kind) if isinstance(kind, str) else None
        return says(value) if says else []


def text_of(value: Json, name: str) -> str:
    """Return the text in a field; empty where there is none."""
    text = value.get(name)
    return text if isinstance(text, str) else ""


def word_of(value: Json, name: str) -> str:
    """Return a word that rooms hear as it is, such as a tool's name: whole characters, and not many."""
    word = text_of(value, name)[:WORD_LIMIT]
    return word.encode("utf-8", "replace").decode("utf-8")


def id_of(value: Json, name: str) -> Id | None:
    """Return the id in a field, None where there is none that can be on the wire."""
    found: Any = value.get(name)
    return found if valid_id(found) else None


def object_of(value: Any, name: str) -> Json:
    """Return the object in a field of ``value``, if both are objects; else an empty one."""
    inner = value.get(name) if isinstance(value, dict) else None
    return inner if isinstance(inner, dict) else {}
