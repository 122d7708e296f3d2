"""One turn: events in, messages out.

Theory. A turn is CLAIMED when its request is accepted, OPEN from the backend's first word on, ENDED once,
by whatever comes first: the backend's end, a failure, a stop. ``MOVES`` holds every legal move; an event
that has none raises `IllegalMove` and changes nothing. Nothing else in the bridge decides what a turn says.

Text is not numbered when it comes but when it is taken: all that gathered between two calls of `Turn.take`
is one chunk. So the first delta leaves at once, and a slow journal or an overloaded process merges text
instead of queueing messages.
"""

from collections.abc import Callable
from enum import Enum
from typing import assert_never

from bridge.errors import AnswerTooLarge, FinishReason, IllegalMove, TurnError
from bridge.events import Completed, Delta, Event, Failed, Finished, Id, Started, Status, Tool
from bridge.messages import (
    Message,
    MessageChunk,
    MessageEnd,
    MessageStart,
    MessageStatus,
    MessageTool,
    NewMessage,
)


class State(Enum):
    """Where a turn is."""

    CLAIMED = "claimed"
    OPEN = "open"
    ENDED = "ended"


MOVES: dict[State, dict[type[Event], State]] = {
    State.CLAIMED: {
        Started: State.OPEN,
        Delta: State.OPEN,
        Status: State.OPEN,
        Tool: State.OPEN,
        Finished: State.ENDED,
        Failed: State.ENDED,
        Completed: State.ENDED,
    },
    State.OPEN: {
        Delta: State.OPEN,
        Status: State.OPEN,
        Tool: State.OPEN,
        Finished: State.ENDED,
        Failed: State.ENDED,
        Completed: State.ENDED,
    },
    State.ENDED: {},
}


class Turn:
    """The state of one prompt and its answer.

    ``message_id`` is ours until the backend's first frame names its own. ``created_at`` gives the time of
    a message as ISO 8601. ``content_limit_bytes`` bounds the answer in UTF-8. A turn that is not
    ``streaming`` says nothing but its complete message.
    """

    def __init__(
        self,
        *,
        request_id: Id,
        room_id: Id,
        message_id: Id,
        streaming: bool,
        created_at: Callable[[], str],
        content_limit_bytes: int,
    ) -> None:
        self.request_id = request_id
        self.room_id = room_id
        self.message_id = message_id
        self.streaming = streaming
        self.state = State.CLAIMED
        self.finish_reason: FinishReason | None = None
        self.error: TurnError | None = None
        self.seq = 0
        self.differs = False
        """True when the dialect's final text is not the joined deltas."""
        self._created_at = created_at
        self._content_limit_bytes = content_limit_bytes
        self._content_bytes = 0
        self._parts: list[str] = []
        self._gathered: list[str] = []
        self._held = ""
        self._status = ""
        self._out: list[Message] = []
        if streaming:
            self._say_status("thinking")

    def __repr__(self) -> str:
        how = f" {self.finish_reason}" if self.finish_reason else ""
        return (
            f"<Turn {self.request_id!r} {self.state.value}{how} seq={self.seq} bytes={self._content_bytes}>"
        )

    @property
    def ended(self) -> bool:
        """True once the turn is over."""
        return self.state is State.ENDED

    @property
    def shown(self) -> bool:
        """True once text was taken, or waits to be: from then on the backend is not asked again."""
        return bool(self.seq or self._gathered)

    @property
    def content(self) -> str:
        """The text so far."""
        return "".join(self._parts)

    def apply(self, event: Event) -> None:
        """Take one event; what the room hears of it waits in `take`.

        Raises `IllegalMove` when the state does not allow it and `AnswerTooLarge` when the text passes
        its limit; both change nothing.
        """
        target = MOVES[self.state].get(type(event))
        if target is None:
            raise IllegalMove(f"unable to take {type(event).__name__}; the turn is {self.state.value}")
        match event:
            case Delta(text):
                self._gather(text)
            case Started(message_id):
                self.message_id = self.message_id if message_id is None else message_id
                self._open()
            case Status(status):
                self._open()
                self._say_status(status)
            case Tool():
                self._open()
                self._say(self._tool(event))
            case Finished(reason, content):
                self._end(reason, content)
            case Failed(error):
                self.error = error
                self._end(error.finish(shown=self.shown), None)
            case Completed():
                self._complete(event)
            case _:
                assert_never(event)
        self.state = target

    def take(self) -> list[Message]:
        """Return what the room has to hear since the last call, all gathered text as one chunk."""
        self._flush()
        out, self._out = self._out, []
        return out

    def _open(self) -> None:
        if self.state is State.CLAIMED:
            self._out.append(MessageStart(self.request_id, self.room_id, self.message_id))

    def _gather(self, text: str) -> None:
        whole = self._whole(text)
        if whole:
            self._gathered.append(whole)
        self._open()

    def _whole(self, text: str) -> str:
        """Return ``text`` in whole characters; half a surrogate pair at its end waits for the other half."""
        if text.isascii() and not self._held:
            self._count(len(text))
            return text
        text, held = self._held + text, ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, held = text[:-1], text[-1]
        encoded = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        self._count(len(encoded.encode()))
        self._held = held
        return encoded

    def _count(self, size_bytes: int) -> None:
        if self._content_bytes + size_bytes > self._content_limit_bytes:
            raise AnswerTooLarge(f"unable to hold the answer; it is over {self._content_limit_bytes} bytes")
        self._content_bytes += size_bytes

    def _flush(self) -> None:
        if not self._gathered:
            return
        delta = "".join(self._gathered)
        self._gathered.clear()
        self._parts.append(delta)
        self.seq += 1
        self._out.append(MessageChunk(self.request_id, self.room_id, self.message_id, self.seq, delta))

    def _say(self, message: Message) -> None:
        self._flush()
        self._out.append(message)

    def _say_status(self, status: str) -> None:
        if status == self._status:
            return
        self._status = status
        heard_start = self.state is State.OPEN or any(isinstance(m, MessageStart) for m in self._out)
        message_id = self.message_id if heard_start else None
        self._say(MessageStatus(self.request_id, self.room_id, message_id, status))

    def _tool(self, tool: Tool) -> MessageTool:
        ids = (self.request_id, self.room_id, self.message_id)
        return MessageTool(*ids, tool.tool_call_id, tool.name, tool.state)

    def _end(self, reason: FinishReason, content: str | None) -> None:
        if self._held:
            self._gathered.append("\ufffd")
            self._held = ""
        self._flush()
        if content is not None and content != self.content:
            self.differs = True
            self._parts = [content]
        self.finish_reason = reason
        if not self.streaming:
            return
        self._say_end()
        if self.content:
            self._say(self._answer(self.content, streamed=True))

    def _say_end(self) -> None:
        error = (self.error.code, str(self.error)) if self.error else None
        ids = (self.request_id, self.room_id, self.message_id)
        self._say(MessageEnd(*ids, self.content, self.finish_reason or "other", error))

    def _complete(self, answer: Completed) -> None:
        if self.state is State.CLAIMED and answer.message_id is not None:
            self.message_id = answer.message_id
        self._gathered.clear()
        self._parts = [answer.content]
        self.finish_reason = "stop"
        if self.state is State.OPEN:
            self._say_end()
        self._say(self._answer(answer.content, streamed=False, answer=answer))

    def _answer(self, content: str, *, streamed: bool, answer: Completed | None = None) -> NewMessage:
        extra = dict(answer.extra) if answer else {}
        created_at = str(extra.pop("createdAt", "") or self._created_at())
        ids = (self.request_id, self.room_id, self.message_id)
        return NewMessage(*ids, "assistant", content, created_at, extra, streamed)
