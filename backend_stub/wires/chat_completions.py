"""Chat completions, as OpenAI streams them.

https://platform.openai.com/docs/api-reference/chat-streaming
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

from backend_stub.asks import Ask, Post, messages_of, prompt_of
from backend_stub.messages import Message
from backend_stub.pieces import Ended, Opened, Piece, ToolCalled, ToolStarted
from backend_stub.tools import ToolCall
from backend_stub.wires import openai
from backend_stub.wires.base import Frame, Json, Wire

_REASONS = {"stop": "stop", "tool-calls": "tool_calls"}
_FINGERPRINT = "fp_builtin"
_NO_AUDIO = {"audio_tokens": 0}


class ChatCompletions(Wire):
    """The call with a body of ``{model, messages, stream?, stream_options?}``."""

    text_mark = b'"content":"'

    def __init__(self, ask: Ask, model: str, *, streaming: bool, usage: bool) -> None:
        super().__init__(ask)
        self._model = model
        self._streaming = streaming
        self._usage = usage
        self._pieces: list[Piece] = []
        self._name: Json = {}

    @classmethod
    def read(cls, post: Post) -> Self:
        """Return the call; see `Wire.read`."""
        openai.require_bearer(post.headers)
        said = post.said()
        model, messages = openai.model_of(said), messages_of(said)
        ask = post.ask(openai.ROOM, prompt_of(messages))
        ask = replace(
            ask,
            message_id=openai.named("chatcmpl-", ask.message_id),
            tool_use=openai.tool_use_of(messages),
        )
        options = said.get("stream_options")
        usage = isinstance(options, dict) and options.get("include_usage") is True
        return cls(ask, model, streaming=said.get("stream") is True, usage=usage)

    @property
    def streaming(self) -> bool:
        """Whether the body asks for a stream."""
        return self._streaming

    def frames(self, piece: Piece) -> list[Frame]:
        """Return the frames of ``piece``, which is counted for the usage at the end."""
        self._pieces.append(piece)
        return super().frames(piece)

    def opened(self, piece: Opened) -> list[Frame]:
        """Return the role."""
        self._name = {"id": piece.message_id, "created": openai.seconds_of(piece.created_at)}
        return [self._other({"role": "assistant", "content": "", "refusal": None})]

    def tool_started(self, piece: ToolStarted) -> list[Frame]:
        """Return the call without its arguments."""
        return [self._other({"tool_calls": [{"index": 0, **_function(piece.call, "")}]})]

    def tool_called(self, piece: ToolCalled) -> list[Frame]:
        """Return the arguments in pieces."""
        return [
            self._other({"tool_calls": [{"index": 0, "function": {"arguments": part}}]})
            for part in piece.call.argument_pieces
        ]

    def ended(self, piece: Ended) -> list[Frame]:
        """Return the finish reason and the usage, or the error; and the end mark."""
        done = Frame("end", b"data: [DONE]\n\n")
        if not piece.well:
            return [Frame("other", self.record({"error": openai.error_of(500, piece.why)})), done]
        chunks = [self._chunk({}, _REASONS[piece.finish_reason])]
        if self._usage:
            chunks.append(self._chunk() | {"usage": _usage(*openai.counts(self.ask.content, self._pieces))})
        return [*(Frame("closing", self.record(chunk)) for chunk in chunks), done]

    def delta(self, text: str) -> Json:
        """Return the chunk that carries ``text``."""
        return self._chunk({"content": text})

    def stranger(self, name: str) -> Json:
        """Return a chunk of an unknown type, which has no choices."""
        return self._chunk() | {"type": name, "data": 0}

    def complete(self, message: Message, pieces: Sequence[Piece]) -> Json:
        """Return the chat completion."""
        calls = [_function(piece.call) for piece in pieces if isinstance(piece, ToolCalled)]
        said: dict[str, Any] = {"role": "assistant", "content": message.content, "refusal": None}
        said |= {"tool_calls": calls} if calls else {}
        reason = _REASONS.get(message.finish_reason or "", "stop")
        return {
            "id": message.message_id,
            "object": "chat.completion",
            "created": openai.seconds_of(message.created_at),
            "model": self._model,
            "choices": [{"index": 0, "message": said, "logprobs": None, "finish_reason": reason}],
            "usage": _usage(*openai.counts(self.ask.content, pieces)),
            "service_tier": "default",
            "system_fingerprint": _FINGERPRINT,
        }

    def _other(self, delta: Json) -> Frame:
        return Frame("other", self.record(self._chunk(delta)))

    def _chunk(self, delta: Json | None = None, finish_reason: str | None = None) -> Json:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return {
            "id": self._name.get("id", self.ask.message_id),
            "object": "chat.completion.chunk",
            "created": self._name.get("created", 0),
            "model": self._model,
            "service_tier": "default",
            "system_fingerprint": _FINGERPRINT,
            "choices": [] if delta is None else [choice],
            **({"usage": None} if self._usage else {}),
        }


def _function(call: ToolCall, arguments: str | None = None) -> Json:
    text = "".join(call.argument_pieces) if arguments is None else arguments
    return {
        "id": f"call_{call.call_id}",
        "type": "function",
        "function": {"name": call.name, "arguments": text},
    }


def _usage(prompt: int, answer: int) -> Json:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": answer,
        "total_tokens": prompt + answer,
        "prompt_tokens_details": {"cached_tokens": 0, **_NO_AUDIO},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            **_NO_AUDIO,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
