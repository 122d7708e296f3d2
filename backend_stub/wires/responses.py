"""Responses, as OpenAI streams them.

https://platform.openai.com/docs/api-reference/responses-streaming
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Self

from backend_stub.asks import Ask, Post, messages_of, prompt_of
from backend_stub.messages import Message
from backend_stub.pieces import Ended, Opened, Piece, Text, ToolCalled, ToolStarted
from backend_stub.tools import ToolCall
from backend_stub.wires import openai
from backend_stub.wires.base import Frame, Json, Wire, encoded, sse


class Responses(Wire):
    """The call with a body of ``{model, input, stream?}``; ``input`` is a text or a list of messages."""

    text_mark = b'"delta":"'

    def __init__(self, ask: Ask, model: str, *, streaming: bool) -> None:
        super().__init__(ask)
        self._model = model
        self._streaming = streaming
        self._opened = Opened(ask.message_id, "1970-01-01T00:00:00Z")
        self._number = 0
        self._pieces: list[Piece] = []
        self._text: str | None = None
        self._output: list[Json] = []

    @classmethod
    def read(cls, post: Post) -> Self:
        """Return the call; see `Wire.read`."""
        openai.require_bearer(post.headers)
        said = post.said()
        model, messages = openai.model_of(said), messages_of(said, "input")
        ask = post.ask(openai.ROOM, prompt_of(messages))
        message_id = openai.named("resp_", ask.message_id)
        ask = replace(ask, message_id=message_id, tool_use=openai.tool_use_of(messages))
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
        """Return that the response exists and is in progress."""
        self._opened = piece
        begun = self._response("in_progress")
        return [self._state("response.created", begun), self._state("response.in_progress", begun)]

    def tool_started(self, piece: ToolStarted) -> list[Frame]:
        """Return the end of the text and the item of the call."""
        closed = self._closed_text()
        item = _call_item(piece.call, "in_progress", "")
        return [*closed, self._item("response.output_item.added", item)]

    def tool_called(self, piece: ToolCalled) -> list[Frame]:
        """Return the arguments in pieces, then whole, and the end of the item."""
        item = _call_item(piece.call, "completed", "".join(piece.call.argument_pieces))
        place = {"item_id": item["id"], "output_index": len(self._output)}
        said = "response.function_call_arguments"
        deltas = [
            self._other({"type": f"{said}.delta", **place, "delta": part})
            for part in piece.call.argument_pieces
        ]
        whole = {"type": f"{said}.done", **place, "arguments": item["arguments"], "name": item["name"]}
        return [*deltas, self._other(whole), self._done(item)]

    def text_started(self) -> list[Frame]:
        """Return the item of the message and its one part."""
        self._text = ""
        item = self._message_item("in_progress", [])
        part = {"type": "response.content_part.added", **self._place(), "part": _part("")}
        return [self._item("response.output_item.added", item), self._other(part)]

    def text(self, piece: Text) -> list[Frame]:
        """Return the delta."""
        self._text = (self._text or "") + piece.text
        return super().text(piece)

    def ended(self, piece: Ended) -> list[Frame]:
        """Return the end of the text and the whole response; or the error and the failed response."""
        if piece.well:
            return [*self._closed_text(), self._state("response.completed", self._final(piece), end=True)]
        error = {"type": "error", "error": openai.error_of(500, piece.why)}
        return [self._other(error), self._state("response.failed", self._final(piece), end=True)]

    def delta(self, text: str) -> Json:
        """Return the event that carries ``text``."""
        return {"type": "response.output_text.delta", **self._place(), "delta": text, "logprobs": []}

    def record(self, value: Json) -> bytes:
        """Return the SSE record of ``value`` under its own name and with the next sequence number."""
        numbered = value | {"sequence_number": self._number}
        self._number += 1
        return sse(encoded(numbered), event=value["type"])

    def complete(self, message: Message, pieces: Sequence[Piece]) -> Json:
        """Return the whole response."""
        for piece in pieces:
            self.frames(piece)
        return self._final(Ended(message.finish_reason or "stop", message.content))

    def _final(self, piece: Ended) -> Json:
        if not piece.well:
            return self._response("failed") | {"error": {"code": "server_error", "message": piece.why}}
        usage = _usage(*openai.counts(self.ask.content, self._pieces))
        return self._response("completed") | {"output": self._output, "usage": usage}

    def _closed_text(self) -> list[Frame]:
        if self._text is None:
            return []
        place, part = self._place(), _part(self._text)
        done = {"type": "response.output_text.done", **place, "text": self._text, "logprobs": []}
        ended = {"type": "response.content_part.done", **place, "part": part}
        self._text = None
        item = self._message_item("completed", [part])
        return [self._other(done), self._other(ended), self._done(item)]

    def _place(self) -> Json:
        item_id = openai.named("msg_", self._opened.message_id)
        return {"item_id": item_id, "output_index": len(self._output), "content_index": 0}

    def _message_item(self, status: str, content: list[Json]) -> Json:
        item_id = openai.named("msg_", self._opened.message_id)
        return {"id": item_id, "type": "message", "status": status, "role": "assistant", "content": content}

    def _done(self, item: Json) -> Frame:
        frame = self._item("response.output_item.done", item)
        self._output.append(item)
        return frame

    def _item(self, name: str, item: Json) -> Frame:
        return self._other({"type": name, "output_index": len(self._output), "item": item})

    def _other(self, value: Json) -> Frame:
        return Frame("other", self.record(value))

    def _state(self, name: str, response: Json, *, end: bool = False) -> Frame:
        return Frame("end" if end else "other", self.record({"type": name, "response": response}))

    def _response(self, status: str) -> Json:
        return {
            "id": self._opened.message_id,
            "object": "response",
            "created_at": openai.seconds_of(self._opened.created_at),
            "status": status,
            "model": self._model,
            **_USUAL,
        }


_USUAL: Json = {
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "max_output_tokens": None,
    "output": [],
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
    "usage": None,
    "metadata": {},
}


def _part(text: str) -> Json:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def _call_item(call: ToolCall, status: str, arguments: str) -> Json:
    return {
        "id": f"fc_{call.call_id}",
        "type": "function_call",
        "status": status,
        "arguments": arguments,
        "call_id": f"call_{call.call_id}",
        "name": call.name,
    }


def _usage(prompt: int, answer: int) -> Json:
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": answer,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt + answer,
    }
