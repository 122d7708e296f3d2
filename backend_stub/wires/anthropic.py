"""Messages, as Anthropic streams them.

https://docs.anthropic.com/en/docs/build-with-claude/streaming
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from backend_stub.asks import Ask, Post, messages_of, prompt_of
from backend_stub.errors import Refused
from backend_stub.messages import Message
from backend_stub.pieces import Ended, Opened, Piece, ToolCalled, ToolStarted
from backend_stub.tools import ToolCall
from backend_stub.wires import openai
from backend_stub.wires.base import Frame, Json, Wire, encoded, sse

_REASONS = {"stop": "end_turn", "tool-calls": "tool_use"}
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


class Anthropic(Wire):
    """The call with a body of ``{model, messages, stream?}``."""

    ping = b'event: ping\ndata: {"type":"ping"}\n\n'
    text_mark = b'"text":"'

    def __init__(self, ask: Ask, model: str, *, streaming: bool) -> None:
        super().__init__(ask)
        self._model = model
        self._streaming = streaming
        self._pieces: list[Piece] = []
        self._block = -1

    @classmethod
    def read(cls, post: Post) -> Self:
        """Return the call; see `Wire.read`."""
        _require_key(post.headers)
        said = post.said()
        model, messages = openai.model_of(said), messages_of(said)
        ask = post.ask(openai.ROOM, prompt_of(messages))
        message_id = openai.named("msg_", ask.message_id)
        ask = replace(ask, message_id=message_id, tool_use="none" if _brought(messages[-1]) else "call")
        return cls(ask, model, streaming=said.get("stream") is True)

    @property
    def streaming(self) -> bool:
        """Whether the body asks for a stream."""
        return self._streaming

    def frames(self, piece: Piece) -> list[Frame]:
        """Return the frames of ``piece``, which is counted for the usage at the end."""
        self._pieces.append(piece)
        return super().frames(piece)

    def opened(self, piece: Opened) -> list[Frame]:
        """Return the message without content."""
        message = self._message(piece.message_id, [], None, 1)
        return [self._other({"type": "message_start", "message": message})]

    def text_started(self) -> list[Frame]:
        """Return the start of the text, and a ping, as the API sends one there."""
        started = self._started({"type": "text", "text": ""})
        return [started, Frame("other", self.ping)]

    def tool_started(self, piece: ToolStarted) -> list[Frame]:
        """Return the end of the block before it and the start of the call."""
        return [*self._stopped(), self._started(_tool_use(piece.call) | {"input": {}})]

    def tool_called(self, piece: ToolCalled) -> list[Frame]:
        """Return the input in pieces, of which the first is empty."""
        return [
            self._other(self._delta({"type": "input_json_delta", "partial_json": part}))
            for part in ("", *piece.call.argument_pieces)
        ]

    def ended(self, piece: Ended) -> list[Frame]:
        """Return the end of the block, the stop reason and the end of the message; or the error."""
        if not piece.well:
            return [self._other({"type": "error", "error": {"type": "api_error", "message": piece.why}})]
        delta = {"stop_reason": _REASONS[piece.finish_reason], "stop_sequence": None}
        _, made = openai.counts(self.ask.content, self._pieces)
        closing = {"type": "message_delta", "delta": delta, "usage": {"output_tokens": made}}
        return [
            *self._stopped(),
            Frame("closing", self.record(closing)),
            Frame("end", self.record({"type": "message_stop"})),
        ]

    def delta(self, text: str) -> Json:
        """Return the event that carries ``text``."""
        return self._delta({"type": "text_delta", "text": text})

    def record(self, value: Json) -> bytes:
        """Return the SSE record of ``value`` under its own name."""
        return sse(encoded(value), event=value["type"])

    def complete(self, message: Message, pieces: Sequence[Piece]) -> Json:
        """Return the whole message."""
        content: list[Json] = [{"type": "text", "text": message.content}]
        content += [_tool_use(piece.call) for piece in pieces if isinstance(piece, ToolCalled)]
        _, made = openai.counts(self.ask.content, pieces)
        reason = _REASONS.get(message.finish_reason or "", "end_turn")
        return self._message(message.message_id, content, reason, made)

    def _message(self, message_id: Any, content: list[Json], reason: str | None, made: int) -> Json:
        asked, _ = openai.counts(self.ask.content, ())
        return {
            "id": message_id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": content,
            "stop_reason": reason,
            "stop_sequence": None,
            "usage": {
                "input_tokens": asked,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "output_tokens": made,
                "service_tier": "standard",
            },
        }

    def _started(self, block: Json) -> Frame:
        self._block += 1
        return self._other({"type": "content_block_start", "index": self._block, "content_block": block})

    def _stopped(self) -> list[Frame]:
        if self._block < 0:
            return []
        return [self._other({"type": "content_block_stop", "index": self._block})]

    def _delta(self, delta: Json) -> Json:
        return {"type": "content_block_delta", "index": self._block, "delta": delta}

    def _other(self, value: Json) -> Frame:
        return Frame("other", self.record(value))


def refusal(status: int, _: str, message: str) -> Json:
    """Return the JSON of a call that failed."""
    return {"type": "error", "error": {"type": _TYPES.get(status, "api_error"), "message": message}}


def _require_key(headers: Mapping[str, str]) -> None:
    for name in ("x-api-key", "anthropic-version"):
        if not headers.get(name):
            raise Refused(401, "unauthorized", f"unable to take the call; the header {name} is missing")


def _brought(message: Mapping[str, Any]) -> bool:
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    return any(isinstance(part, dict) and part.get("type") == "tool_result" for part in parts)


def _tool_use(call: ToolCall) -> Json:
    return {"type": "tool_use", "id": f"toolu_{call.call_id}", "name": call.name, "input": call.arguments}
