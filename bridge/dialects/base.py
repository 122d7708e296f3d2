"""What every dialect is: frames in, events out, no I/O; and the JSON rules all of them share."""

import json
from dataclasses import dataclass
from typing import Any, Protocol

from bridge.errors import BackendCut, BackendMalformed
from bridge.events import Event, Failed

MALFORMED_IN_A_ROW = 3
"""So many frames in a row that cannot be read end the turn; fewer are skipped and counted."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One SSE record; ``event`` and ``id`` are empty where the record has none."""

    data: str
    event: str = ""
    id: str = ""


class Dialect(Protocol):
    """A backend's way of speaking. One object decodes one stream."""

    malformed: int
    """How many frames could not be read."""

    def decode(self, frame: Frame) -> list[Event]:
        """Return what ``frame`` says, in order; nothing when it says nothing, or once the answer ended."""
        ...

    def eof(self) -> list[Event]:
        """Return what the end of the bytes means: nothing once the answer ended, else a failure."""
        ...


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


class JsonDialect:
    """A dialect whose frames are JSON objects; subclasses give `said` and may look at frames first."""

    def __init__(self) -> None:
        self.malformed = 0
        self.ended = False
        self._in_a_row = 0

    def decode(self, frame: Frame) -> list[Event]:
        """Return the events of ``frame``; see `Dialect.decode`."""
        if self.ended or not frame.data:
            return []
        try:
            value = json.loads(frame.data, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            return self._unreadable()
        if not isinstance(value, dict):
            return self._unreadable()
        self._in_a_row = 0
        return self.said(value)

    def eof(self) -> list[Event]:
        """Return the failure that an end without end marker is; see `Dialect.eof`."""
        if self.ended:
            return []
        if self._in_a_row:
            return [
                self.fail(BackendMalformed("unable to read the answer; its last frame is no JSON object"))
            ]
        return [self.fail(BackendCut("unable to finish the answer; the stream ended before its end marker"))]

    def said(self, value: dict[str, Any]) -> list[Event]:
        """Return the events of one JSON object."""
        raise NotImplementedError

    def fail(self, error: BackendCut | BackendMalformed) -> Failed:
        """Return the failure that ends the answer."""
        self.ended = True
        return Failed(error)

    def _unreadable(self) -> list[Event]:
        self.malformed += 1
        self._in_a_row += 1
        if self._in_a_row < MALFORMED_IN_A_ROW:
            return []
        why = f"{MALFORMED_IN_A_ROW} frames in a row are no JSON objects"
        return [self.fail(BackendMalformed(f"unable to read the answer; {why}"))]
