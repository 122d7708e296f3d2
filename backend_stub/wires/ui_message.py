"""The UI message stream, version 1, with numbered frames.

https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol#data-stream-protocol
"""

from collections.abc import Sequence
from typing import Self

from backend_stub.asks import Post, id_of, needed_id, text_of, wished
from backend_stub.messages import Message
from backend_stub.pieces import Ended, Opened, Piece, Text, ToolCalled, ToolResult, ToolStarted
from backend_stub.wires.base import EVENT_STREAM, Frame, FrameKind, Json, Wire, encoded, sse

_TEXT_ID = "text-1"
_KINDS: dict[str, FrameKind] = {"text-delta": "delta", "finish": "end", "abort": "end"}

# it has no id: a caller that resumes behind the last numbered frame gets it again
_DONE = Frame("end", b"data: [DONE]\n\n")


class UiMessage(Wire):
    """The UI message stream for a body of ``{roomId, content, requestId?, messageId?}``."""

    headers = EVENT_STREAM | {"x-vercel-ai-ui-message-stream": "v1"}
    text_mark = b'"delta":"'
    tells_failures = True
    _number = 0

    @classmethod
    def read(cls, post: Post) -> Self:
        """Return the call; see `Wire.read`."""
        said = post.said()
        room_id = needed_id(said, "roomId")
        names = {"request_id": id_of(said, "requestId"), "message_id": id_of(said, "messageId")}
        return cls(wished(post.ask(room_id, text_of(said, "content"), **names), said, "run"))

    def opened(self, piece: Opened) -> list[Frame]:
        """Return the start of the message and of its first step."""
        return self._numbered({"type": "start", "messageId": piece.message_id}, {"type": "start-step"})

    def tool_started(self, piece: ToolStarted) -> list[Frame]:
        """Return the start of the tool's input, and the input in pieces."""
        call_id = f"call_{piece.call.call_id}"
        deltas = (
            {"type": "tool-input-delta", "toolCallId": call_id, "inputTextDelta": part}
            for part in piece.call.argument_pieces
        )
        begin = {"type": "tool-input-start", "toolCallId": call_id, "toolName": piece.call.name}
        return self._numbered(begin, *deltas)

    def tool_called(self, piece: ToolCalled) -> list[Frame]:
        """Return the whole input."""
        call = piece.call
        named = {"toolCallId": f"call_{call.call_id}", "toolName": call.name}
        return self._numbered({"type": "tool-input-available", **named, "input": call.arguments})

    def tool_result(self, piece: ToolResult) -> list[Frame]:
        """Return the output, and the step that follows it."""
        call_id = f"call_{piece.call.call_id}"
        output = {"type": "tool-output-available", "toolCallId": call_id, "output": piece.call.result}
        return self._numbered(output, {"type": "finish-step"}, {"type": "start-step"})

    def text_started(self) -> list[Frame]:
        """Return the start of the text."""
        return self._numbered({"type": "text-start", "id": _TEXT_ID})

    def text(self, piece: Text) -> list[Frame]:
        """Return the delta; a part of a token has no number, since nobody can resume behind it."""
        if not piece.last:
            return super().text(piece)
        return self._numbered(self.delta(piece.text))

    def ended(self, piece: Ended) -> list[Frame]:
        """Return the end of text, step and message, or the error, or the abort."""
        return [*self._numbered(*_closing(piece)), _DONE]

    def delta(self, text: str) -> Json:
        """Return the object that carries ``text``."""
        return {"type": "text-delta", "id": _TEXT_ID, "delta": text}

    def complete(self, message: Message, pieces: Sequence[Piece]) -> Json:  # noqa: ARG002 - its text is enough
        """Return the whole message."""
        return message.told()

    def _numbered(self, *values: Json) -> list[Frame]:
        return [self._frame(value) for value in values]

    def _frame(self, value: Json) -> Frame:
        self._number += 1
        return Frame(
            _KINDS.get(value["type"], "other"), sse(encoded(value), event_id=self._number), self._number
        )


def _closing(piece: Ended) -> list[Json]:
    if piece.finish_reason == "cancelled":
        return [{"type": "abort"}]
    first = {"type": "text-end", "id": _TEXT_ID} if piece.well else {"type": "error", "errorText": piece.why}
    reason = piece.finish_reason if piece.well else "error"
    return [first, {"type": "finish-step"}, {"type": "finish", "finishReason": reason}]
