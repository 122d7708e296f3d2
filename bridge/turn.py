"""One turn: events in, messages out.

Theory. A turn is CLAIMED when its request is accepted, OPEN from the backend's first word on, ENDED once,
by whatever comes first: the backend's end, a failure, a stop. ``MOVES`` holds every legal move; an event
that has none raises `IllegalMove` and changes nothing. Nothing else in the bridge decides what a turn says.

Text is not numbered when it comes but when it is taken: all that gathered between two calls of `Turn.take`
is one chunk. So the first delta leaves at once, and a slow journal or an overloaded process merges text
instead of queueing messages.

A backend may give the final text besides the deltas: that text is the answer. Where it only goes on behind
what was heard, the rest is one more chunk; where it differs, the end's content is what counts.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from typing import assert_never

from bridge.errors import AnswerTooLarge, BackendRefused, FinishReason, IllegalMove, TurnError
from bridge.events import (
    Completed,
    Conversation,
    Delta,
    Event,
    Failed,
    Finished,
    Id,
    Position,
    Reasoning,
    Started,
    Status,
    Stored,
    Tool,
)
from bridge.messages import (
    Answered,
    Message,
    MessageChunk,
    MessageEnd,
    MessageReasoning,
    MessageStart,
    MessageStatus,
    MessageTool,
    NewMessage,
)
from bridge.transcript import Transcript

_JSON = {"Content-Type": "application/json"}


class State(Enum):
    """Where a turn is."""

    CLAIMED = "claimed"
    OPEN = "open"
    ENDED = "ended"


_SPEAKS: dict[type[Event], State] = dict.fromkeys((Delta, Reasoning, Conversation, Status, Tool), State.OPEN)
_ENDS: dict[type[Event], State] = dict.fromkeys((Finished, Failed, Completed), State.ENDED)

MOVES: dict[State, dict[type[Event], State]] = {
    State.CLAIMED: {Position: State.CLAIMED, Stored: State.CLAIMED, Started: State.OPEN, **_SPEAKS, **_ENDS},
    State.OPEN: {Position: State.OPEN, Stored: State.OPEN, Started: State.OPEN, **_SPEAKS, **_ENDS},
    State.ENDED: {},
}


class _Pairs:
    """Joins surrogate pairs that were split over two deltas."""

    def __init__(self) -> None:
        self.held = ""

    def whole(self, text: str) -> str:
        """Return what is whole of ``text``; half a pair at its end is held until the other half comes."""
        text, self.held = self.held + text, ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, self.held = text[:-1], text[-1]
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

    def rest(self) -> str:
        """Return what stands for a half that nothing followed."""
        rest, self.held = "\ufffd" if self.held else "", ""
        return rest


class Turn:
    """The state of one prompt and its answer.

    ``message_id`` is ours until the backend's first frame names its own. ``created_at`` gives the time of
    a message as ISO 8601. ``content_limit_bytes`` bounds the answer in UTF-8, and its reasoning with it.
    A turn that is not ``streaming`` says nothing but its complete message; one that is
    ``announced_elsewhere`` says all but that. ``reasoning`` makes the room hear what the model thinks.
    ``asked`` is the user's own message, which the room hears before all else.
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
        reasoning: bool = False,
        announced_elsewhere: bool = False,
        asked: NewMessage | None = None,
    ) -> None:
        self.request_id = request_id
        self.room_id = room_id
        self.message_id = message_id
        self.streaming = streaming
        self.state = State.CLAIMED
        self.ended = False
        """True once the turn is over."""
        self._moves = MOVES[State.CLAIMED]  # the hash of an Enum costs as much as the rest of a move
        self.finish_reason: FinishReason | None = None
        self.error: TurnError | None = None
        self.seq = 0
        self.differs = False
        """True when the backend's final text is not the joined deltas: some were missing or came twice."""
        self.conversation_id: Id | None = None
        self.position = ""
        """The id of the backend's last frame that the text holds in full."""
        self._reasoning = reasoning
        self._announced_elsewhere = announced_elsewhere
        self._answered: Answered | None = None
        self._created_at = created_at
        self._content_limit_bytes = content_limit_bytes
        self._content_bytes = 0
        self._parts: list[str] = []
        self._gathered: list[str] = []
        self._thoughts: list[str] = []
        self._thought = False
        self._pairs = _Pairs()
        self._thought_pairs = _Pairs()
        self._status = ""
        self._out: list[Message] = [] if asked is None else [asked]
        if streaming:
            self._say_status("thinking")

    def __repr__(self) -> str:
        how = f" {self.finish_reason}" if self.finish_reason else ""
        return (
            f"<Turn {self.request_id!r} {self.state.value}{how} seq={self.seq} bytes={self._content_bytes}>"
        )

    @property
    def shown(self) -> bool:
        """True once text was taken, or waits to be: from then on nothing may be said again."""
        return bool(self.seq or self._gathered or self._thought)

    @property
    def content(self) -> str:
        """The text so far."""
        return "".join(self._parts)

    def apply(self, event: Event) -> None:
        """Take one event; what the room hears of it waits in `take`.

        Raises `IllegalMove` when the state does not allow it and `AnswerTooLarge` when the text passes
        its limit; both change nothing.
        """
        target = self._moves.get(type(event))
        if target is None:
            raise IllegalMove(f"unable to take {type(event).__name__}; the turn is {self.state.value}")
        match event:
            case Delta():
                self._gather(event.text)
            case Reasoning():
                self._think(event.text)
            case Position() | Conversation() | Stored():
                self._note(event)
            case Started(message_id):
                self._begin(message_id)
            case Status(status):
                self._open()
                self._say_status(status)
            case Tool():
                self._open()
                self._say(self._tool(event))
            case Finished() | Failed() | Completed():
                self._apply_end(event)
            case _:
                assert_never(event)
        if target is not self.state:
            self.state, self.ended = target, target is State.ENDED
            self._moves = MOVES[target]

    def go_on(self, heard: Transcript) -> None:
        """Be where another node's copy of this turn came to; what it said is not said again."""
        if heard.number:
            self._out.clear()
        self._parts, self.seq = [heard.text], heard.seq
        self._content_bytes = len(heard.text.encode())
        if heard.message_id is not None:
            self.message_id = heard.message_id
            self.state, self._moves = State.OPEN, MOVES[State.OPEN]

    def _apply_end(self, event: Finished | Failed | Completed) -> None:
        match event:
            case Finished(reason, content):
                self._end(reason, content)
            case Failed(error, content):
                self.error = error
                self._end(error.finish(shown=self.shown), content)
            case Completed():
                self._complete(event)
            case _:
                assert_never(event)

    def take(self) -> list[Message]:
        """Return what the room has to hear since the last call, all gathered text as one chunk."""
        self._flush()
        out, self._out = self._out, []
        return out

    def _note(self, event: Position | Conversation | Stored) -> None:
        match event:
            case Stored(body):
                self._keep(200, _JSON, body)
            case Position(frame_id):
                if not self._pairs.held:  # the other half of a character is behind this frame
                    self.position = frame_id
            case Conversation(conversation_id):
                self._open()
                self.conversation_id = conversation_id
            case _:
                assert_never(event)

    def _keep(self, status: int, headers: Mapping[str, str], body: str) -> None:
        """Keep what the backend itself answered, where somebody has to say it after it."""
        if self._announced_elsewhere:
            self._answered = Answered(status, headers, body)

    def _begin(self, message_id: Id | None) -> None:
        """Take the backend's name for the answer; once something was said, the name stays."""
        if self.state is State.CLAIMED and message_id is not None:
            self.message_id = message_id
        self._open()

    def _open(self) -> None:
        if self.state is State.CLAIMED:
            self._out.append(MessageStart(self.request_id, self.room_id, self.message_id))

    def _gather(self, text: str) -> None:
        whole = self._counted(self._pairs, text)
        if whole:
            if self._thoughts:
                self._flush_thoughts()
            self._gathered.append(whole)
        if self.state is State.CLAIMED:
            self._open()

    def _think(self, text: str) -> None:
        whole = self._counted(self._thought_pairs, text) if self._reasoning else ""
        self._open()
        self._say_status("thinking")
        if whole:
            if self._gathered:
                self._flush_text()
            self._thought = True
            self._thoughts.append(whole)

    def _counted(self, pairs: _Pairs, text: str) -> str:
        if text.isascii() and not pairs.held:
            whole, size_bytes = text, len(text)
        else:
            whole = pairs.whole(text)
            size_bytes = len(whole.encode())
        if self._content_bytes + size_bytes > self._content_limit_bytes:
            pairs.rest()
            raise AnswerTooLarge(f"unable to hold the answer; it is over {self._content_limit_bytes} bytes")
        self._content_bytes += size_bytes
        return whole

    def _flush(self) -> None:
        if self._thoughts:
            self._flush_thoughts()
        if self._gathered:
            self._flush_text()

    def _flush_thoughts(self) -> None:
        delta = "".join(self._thoughts)
        self._thoughts.clear()
        self._out.append(MessageReasoning(self.request_id, self.room_id, self.message_id, delta))

    def _flush_text(self) -> None:
        delta = self._gathered[0] if len(self._gathered) == 1 else "".join(self._gathered)
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
        return MessageTool(*ids, tool.tool_call_id, tool.name, tool.state, tool.success, tool.job_id)

    def _end(self, reason: FinishReason, content: str | None) -> None:
        if rest := self._pairs.rest():
            self._gathered.append(rest)
        self._flush()
        if content is not None:
            self.differs = self._settle(_scalars(content))
        self.finish_reason = reason
        if not self.streaming:
            return
        if isinstance(self.error, BackendRefused) and self._answered is None:
            self._keep(self.error.status, self.error.headers, self.error.said)
        self._say_end()
        if self.content and not self._announced_elsewhere:
            self._say(self._answer(self.content, streamed=True))

    def _settle(self, content: str) -> bool:
        """Let ``content`` be the text, as one more chunk if it goes on behind it; return if it differed."""
        heard = self.content
        if content == heard:
            return False
        if self.streaming and content.startswith(heard):
            self._gathered.append(content[len(heard) :])
            self._flush()
        else:
            self._parts = [content]
        return True

    def _say_end(self) -> None:
        error = (self.error.code, str(self.error)) if self.error else None
        ids = (self.request_id, self.room_id, self.message_id)
        reason = self.finish_reason or "other"
        created_at = self._created_at() if self._announced_elsewhere else ""
        kept = (self.conversation_id, created_at, self._answered)
        self._say(MessageEnd(*ids, self.content, reason, error, *kept))

    def _complete(self, answer: Completed) -> None:
        if answer.body:
            self._keep(200, _JSON, answer.body)
        if self._announced_elsewhere:
            self._begin(answer.message_id)
        heard_start = self.state is State.OPEN or self._announced_elsewhere
        if not heard_start and answer.message_id is not None:
            self.message_id = answer.message_id
        self._flush()
        heard, self.finish_reason = self.content, "stop"
        if heard_start and self.streaming:
            self.differs = self._settle(answer.content) and not answer.content.startswith(heard)
            self._say_end()
        else:
            self._parts = [answer.content]
        streamed = heard_start and self.streaming
        if not self._announced_elsewhere:
            self._say(self._answer(answer.content, streamed=streamed, answer=answer))

    def _answer(self, content: str, *, streamed: bool, answer: Completed | None = None) -> NewMessage:
        extra = dict(answer.extra) if answer else {}
        if self.conversation_id is not None:
            extra["conversationId"] = self.conversation_id
        created_at = str(extra.pop("createdAt", "") or self._created_at())
        ids = (self.request_id, self.room_id, self.message_id)
        return NewMessage(*ids, "assistant", content, created_at, extra, streamed)


def _scalars(text: str) -> str:
    """Return ``text`` without halves of surrogate pairs."""
    pairs = _Pairs()
    return pairs.whole(text) + pairs.rest()
