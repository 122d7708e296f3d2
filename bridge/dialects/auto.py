"""Finds out which dialect a stream is in, from its headers and its first frames.

It chooses once, when a frame comes that exactly one dialect can have said, and never again in that
stream: what does not fit afterwards is judged by the rules of the dialect that was chosen.
"""

from collections.abc import Mapping, Sequence

from bridge.dialects.base import DONE, MALFORMED_IN_A_ROW, Dialect, Frame, Kind, read_object
from bridge.errors import BackendCut, BackendMalformed
from bridge.events import Event, Failed

HELD_LIMIT = 16
"""So many frames that no dialect alone can have said, and it gives up."""


class Auto:
    """Decodes one stream in one of ``kinds``; ``headers`` are those of the response, in lower case."""

    def __init__(self, kinds: Sequence[Kind], headers: Mapping[str, str]) -> None:
        self._kinds = kinds
        names = headers.keys()  # those of httpx are read anew for each question
        self._chosen = self._only([kind for kind in kinds if kind.header in names])
        self._held: list[Frame] = []
        self._unreadable = 0
        self._gave_up = False

    @property
    def name(self) -> str:
        """The chosen dialect's name; ``auto`` until there is one."""
        return self._chosen.name if self._chosen else "auto"

    @property
    def malformed(self) -> int:
        """How many frames could not be read."""
        return self._chosen.malformed if self._chosen else self._unreadable

    @property
    def whole(self) -> bool:
        """See `Dialect.whole`."""
        return self._chosen is not None and self._chosen.whole

    def decode(self, frame: Frame) -> list[Event]:
        """Return the events of ``frame``, and of those held until it told the dialect."""
        if self._chosen is not None:
            return self._chosen.decode(frame)
        if self._gave_up or not frame.data:
            return []
        self._held.append(frame)
        self._choose(frame)
        if self._chosen is not None:
            return [event for held in self._held for event in self._chosen.decode(held)]
        if self._unreadable >= MALFORMED_IN_A_ROW:
            return self._give_up(f"its first {MALFORMED_IN_A_ROW} frames are no JSON objects")
        if len(self._held) >= HELD_LIMIT:
            return self._give_up(f"its first {HELD_LIMIT} frames are of no known dialect")
        return []

    def eof(self) -> list[Event]:
        """Return what the end of the bytes means; see `Dialect.eof`."""
        if self._chosen is not None:
            return self._chosen.eof()
        if self._gave_up:
            return []
        if all(frame.data == DONE for frame in self._held):
            self._gave_up = True
            return [Failed(BackendCut("unable to finish the answer; the stream ended and said nothing"))]
        return self._give_up("its frames are of no known dialect")

    def _choose(self, frame: Frame) -> None:
        value = read_object(frame.data)
        if value is None and frame.data != DONE:
            self._unreadable += 1
        self._chosen = self._only([kind for kind in self._kinds if kind.speaks(frame, value or {})])

    @staticmethod
    def _only(kinds: Sequence[Kind]) -> Dialect | None:
        return kinds[0]() if len(kinds) == 1 else None

    def _give_up(self, why: str) -> list[Event]:
        self._gave_up = True
        return [Failed(BackendMalformed(f"unable to read the answer; {why}"))]
