"""What one device heard of one answer, and what the contract finds wrong with it. No I/O, no clock."""

from dataclasses import dataclass, field
from typing import Any

FAILED = ("error", "timeout", "interrupted")
"""The finish reasons of an answer that somebody has to look at."""
OWN_TEXT = ("error", "timeout", "content-filter", "other")
"""Those whose content need not be what was shown until then."""


@dataclass(slots=True)
class Heard:
    """What came of one answer, in the order in which it came; times are seconds of the caller's clock."""

    streamed: bool = False
    """Something that belongs to a growing answer was heard."""
    seq: int = 0
    gaps: int = 0
    """Chunks that began behind the next seq: text is missing."""
    repeats: int = 0
    """What was heard once too often: a chunk, a start, an end, a complete message, anything after the end."""
    content: str | None = None
    """The complete text; None: it never came."""
    reason: str = ""
    first_at_s: float | None = None
    done_at_s: float | None = None
    early: bool = False
    """A chunk came before the end."""
    _deltas: list[str] = field(default_factory=list)
    _started: bool = False

    def hear(self, name: str, data: dict[str, Any], at_s: float) -> None:
        """Take one message of the answer, by the name and the fields of the wire contract."""
        if name == "new_message":
            self._end(str(data.get("content")), "stop", at_s)
            return
        self.streamed = True
        if self.done_at_s is not None:
            self.repeats += 1
        elif name == "ai_message_start":
            self.repeats += self._started
            self._started = True
        elif name == "ai_message_chunk":
            self._chunk(data, at_s)
        elif name == "ai_message_end":
            self.early = self.first_at_s is not None
            self._end(str(data.get("content")), str(data.get("finishReason")), at_s)

    @property
    def whole(self) -> bool:
        """True when all of it came and, where it grew, the pieces are the whole."""
        grown = self.seq == 0 or "".join(self._deltas) == self.content or self.reason in OWN_TEXT
        return self.content is not None and not self.gaps and grown

    def _chunk(self, data: dict[str, Any], at_s: float) -> None:
        seq = int(data["seq"])
        first = int(data.get("fromSeq", seq))
        if first <= self.seq:
            self.repeats += 1
            return
        self.gaps += first > self.seq + 1
        self.seq = seq
        self._deltas.append(str(data["delta"]))
        if self.first_at_s is None:
            self.first_at_s = at_s

    def _end(self, content: str, reason: str, at_s: float) -> None:
        if self.done_at_s is not None:
            self.repeats += 1
            return
        self.content, self.reason, self.done_at_s = content, reason, at_s
        if self.first_at_s is None:
            self.first_at_s = at_s


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and what every device of its room heard of the answer. ``refused`` is the error code."""

    sent_at_s: float
    heard: tuple[Heard, ...]
    refused: str = ""

    @property
    def streamed(self) -> bool:
        """True when a device heard the answer grow."""
        return any(heard.streamed for heard in self.heard)

    @property
    def outcome(self) -> str:
        """The code of a refusal, else the finish reason, else ``unanswered``."""
        if self.refused:
            return self.refused
        return next((heard.reason for heard in self.heard if heard.reason), "unanswered")

    @property
    def failed(self) -> bool:
        """True when the one who asked did not get a whole answer."""
        return bool(self.refused) or self.outcome in (*FAILED, "unanswered")

    @property
    def lost(self) -> int:
        """On how many devices the answer, or a part of it, is missing though it was on its way.

        Where nobody heard anything of it there was none: that is an error and no loss.
        """
        on_its_way = self.streamed or any(heard.content is not None for heard in self.heard)
        return sum(not heard.whole for heard in self.heard) if on_its_way else 0

    @property
    def duplicated(self) -> int:
        """How many messages came once too often, over all devices."""
        return sum(heard.repeats for heard in self.heard)

    @property
    def unequal(self) -> bool:
        """True when two devices have different texts."""
        return len({heard.content for heard in self.heard if heard.content is not None}) > 1

    @property
    def early(self) -> bool:
        """True when every device had its first chunk before the answer was complete."""
        return all(heard.early for heard in self.heard)

    @property
    def ttft_ms(self) -> list[float]:
        """From the send to the first text, for every device that got one."""
        return [(at - self.sent_at_s) * 1000 for heard in self.heard if (at := heard.first_at_s) is not None]

    @property
    def completion_ms(self) -> list[float]:
        """From the send to the complete answer, for every device that got it."""
        return [(at - self.sent_at_s) * 1000 for heard in self.heard if (at := heard.done_at_s) is not None]
