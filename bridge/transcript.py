"""A node's copy of what a room heard of one turn, and the one repair: replay from any seq to the head."""

import dataclasses
from collections.abc import Iterable
from enum import Enum
from typing import assert_never

from bridge.errors import TurnError
from bridge.events import Id
from bridge.messages import (
    Message,
    MessageChunk,
    MessageEnd,
    MessageReasoning,
    MessageStart,
    MessageStatus,
    MessageTool,
    NewMessage,
)


class Applied(Enum):
    """What became of a message."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    GAP = "gap"


class Transcript:
    """What was heard of the turn ``turn_id``, in order; grows by `apply` and answers `since`."""

    def __init__(self, turn_id: str, request_id: Id) -> None:
        self.turn_id = turn_id
        self.request_id = request_id
        self.number = 0
        """How many batches it holds."""
        self._asked: NewMessage | None = None
        self._status: MessageStatus | None = None
        self._start: MessageStart | None = None
        self._tools: dict[str, MessageTool] = {}
        self._reasoning: list[MessageReasoning] = []
        self._deltas: list[str] = []
        self._end: MessageEnd | None = None
        self._answer: NewMessage | None = None

    def __repr__(self) -> str:
        state = "ended" if self.ended else "running"
        return f"<Transcript {self.request_id!r} {state} seq={self.seq}>"

    @property
    def seq(self) -> int:
        """The seq of the last chunk, 0 when there is none."""
        return len(self._deltas)

    @property
    def heard_seq(self) -> int | None:
        """What `since` must be asked with by who has heard all of it; None before the start."""
        return len(self._deltas) if self._start is not None or self.ended else None

    @property
    def text(self) -> str:
        """The text of all chunks."""
        return "".join(self._deltas)

    @property
    def size_bytes(self) -> int:
        """About how much memory the text takes; a message of any kind counts 500."""
        texts = [*self._deltas, *(said.delta for said in self._reasoning)]
        texts += [self._asked.content] if self._asked else []
        return 4 * sum(map(len, texts)) + 500 * (len(texts) + len(self._tools) + 3)

    @property
    def ended(self) -> bool:
        """True when nothing can follow."""
        return self._end is not None or self._answer is not None

    @property
    def asked(self) -> list[Message]:
        """What the user said, for devices that were there when it was said."""
        return [] if self._asked is None else [self._asked]

    @property
    def message_id(self) -> Id | None:
        """The answer's name, None until it is known."""
        for said in (self._start, self._end, self._answer):
            if said is not None:
                return said.message_id
        return None

    def take(self, number: int, messages: Iterable[Message]) -> Applied:
        """Take the ``number``-th batch of the turn if it is the next one; else nothing changes."""
        if number != self.number + 1:
            return Applied.DUPLICATE if number <= self.number else Applied.GAP
        self.number = number
        for message in messages:
            if isinstance(message, MessageChunk):  # nearly all are
                self._apply_chunk(message)
            else:
                self.apply(message)
        return Applied.APPLIED

    def apply(self, message: Message) -> Applied:
        """Take ``message`` if it is the next one; a duplicate or a message behind a gap changes nothing."""
        match message:
            case MessageChunk():
                return self._apply_chunk(message)
            case MessageStart():
                fresh, self._start = self._start is None, self._start or message
            case MessageEnd():
                fresh, self._end = self._end is None, self._end or message
            case NewMessage(role="user"):
                fresh, self._asked = self._asked is None, self._asked or message
            case NewMessage():
                fresh, self._answer = self._answer is None, self._answer or message
            case MessageStatus():
                fresh, self._status = True, message
            case MessageTool():
                fresh = True
                self._tools[message.tool_call_id] = message
            case MessageReasoning():
                fresh = True
                self._reasoning.append(message)
            case _:
                assert_never(message)
        return Applied.APPLIED if fresh else Applied.DUPLICATE

    def messages(self) -> list[Message]:
        """Return all that was heard, chunk by chunk, so that another transcript can be made of it."""
        chunks = [self._chunk(seq, delta) for seq, delta in enumerate(self._deltas, start=1)]
        return [*self.asked, *self._opening(), *chunks, *self.closing()]

    def since(self, seq: int | None) -> list[Message]:
        """Return what a device lacks that has heard up to ``seq``; None: it has not heard the start.

        The text comes as one merged chunk. A ``seq`` beyond the head lacks nothing but the end. What the
        user said is not among it: who comes later has it from the history.
        """
        opening = self._opening() if seq is None else []
        return opening + self._merged(seq or 0) + self.closing()

    def rejoin(self, theirs: "Transcript") -> list[Message] | None:
        """Return what leads from this text, which went its own way, to ``theirs``; None: wait for more.

        A device may not see a seq twice nor miss one, so it waits until theirs are beyond its own, or ended.
        """
        if self._start is None:
            return theirs.since(None)
        text = theirs.text
        goes_on = text.startswith(self.text)
        more = text[len(self.text) :] if goes_on else ""
        if more and (theirs.seq > self.seq or theirs.ended):
            head, first = max(theirs.seq, self.seq + 1), self.seq + 1
            chunk = self._chunk(head, more, first if first < head else None)
            return [chunk, *theirs.closing()]
        return theirs.closing() if theirs.ended else None

    def broken_off(self, error: TurnError) -> list[Message]:
        """Return what ends a turn that nobody can go on with; nothing where nothing was heard of it."""
        start = self._start
        if start is None:
            return []
        names = (start.request_id, start.room_id, start.message_id)
        return [MessageEnd(*names, self.text, error.finish_reason, (error.code, str(error)))]

    def closing(self) -> list[Message]:
        """Return the end, or the whole answer, where it was heard."""
        return [said for said in (self._end, self._answer) if said is not None]

    def _opening(self) -> list[Message]:
        said: list[Message] = [self._start] if self._start else []
        if self._status and not self.ended:
            said.append(self._status)
        if self._reasoning:
            thoughts = "".join(each.delta for each in self._reasoning)
            said.append(dataclasses.replace(self._reasoning[0], delta=thoughts))
        return [*said, *self._tools.values()]

    def _merged(self, seq: int) -> list[Message]:
        if self._start is None or seq >= self.seq:
            return []
        delta = "".join(self._deltas[seq:])
        return [self._chunk(self.seq, delta, seq + 1 if seq + 1 < self.seq else None)]

    def _chunk(self, seq: int, delta: str, from_seq: int | None = None) -> MessageChunk:
        first = self._start
        if first is None:
            raise RuntimeError("there are no chunks before the start")
        return MessageChunk(first.request_id, first.room_id, first.message_id, seq, delta, from_seq)

    def _apply_chunk(self, chunk: MessageChunk) -> Applied:
        seq = len(self._deltas)
        if chunk.seq != seq + 1:
            return Applied.DUPLICATE if chunk.seq <= seq else Applied.GAP
        self._deltas.append(chunk.delta)
        return Applied.APPLIED
