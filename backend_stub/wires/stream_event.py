"""StreamEvents in the envelope that tRPC gives a subscription over SSE.

https://trpc.io/docs/server/subscriptions
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from backend_stub.asks import Ask, Post, id_of, needed_id, text_of, wished
from backend_stub.messages import Message
from backend_stub.pieces import Ended, Opened, Piece, ToolCalled, ToolResult, ToolStarted
from backend_stub.wires.base import Frame, Json, Wire, encoded

_NAMES = {
    400: ("BAD_REQUEST", -32600),
    404: ("NOT_FOUND", -32004),
    405: ("METHOD_NOT_SUPPORTED", -32005),
    413: ("PAYLOAD_TOO_LARGE", -32013),
    429: ("TOO_MANY_REQUESTS", -32029),
    503: ("SERVICE_UNAVAILABLE", -32603),
}
_OTHER_NAME = ("INTERNAL_SERVER_ERROR", -32603)


class StreamEvent(Wire):
    """The subscription to an answer; mutations have a body of ``{projectId, message, requestId?}``."""

    ping = b"event: ping\ndata: \n\n\n"
    text_mark = b'"content":"'

    @classmethod
    def read(cls, post: Post) -> Self:
        """Return the call; see `Wire.read`."""
        said = post.said()
        room_id = needed_id(said, "projectId")
        ask = post.ask(room_id, text_of(said, "message"), request_id=id_of(said, "requestId"))
        return cls(wished(ask, said, "run"))

    @classmethod
    def subscribed(cls, ask: Ask, said: Mapping[str, Any]) -> Self:
        """Return the subscription to the answer of ``ask`` that the input ``said`` wishes for."""
        return cls(wished(ask, said, "run"))

    def opened(self, piece: Opened) -> list[Frame]:  # noqa: ARG002 - the answer's name is known to the caller
        """Return the envelope's begin, and that the model thinks."""
        connected = Frame("other", b"event: connected\ndata: {}\n\n\n")
        return [connected, self._other({"type": "status", "status": "thinking"})]

    def tool_started(self, piece: ToolStarted) -> list[Frame]:
        """Return the tool's name."""
        return [self._other({"type": "tool_start", "name": piece.call.name})]

    def tool_called(self, piece: ToolCalled) -> list[Frame]:  # noqa: ARG002 - the arguments are not told
        """Return that the tool is at work."""
        return [self._other({"type": "status", "status": "tool_calling"})]

    def tool_result(self, piece: ToolResult) -> list[Frame]:
        """Return that the tool is done; no job of it goes on."""
        name = piece.call.name
        return [self._other({"type": "tool_result", "name": name, "success": True, "jobId": None})]

    def ended(self, piece: Ended) -> list[Frame]:
        """Return the final text, or the error with what text there is, and the end of the envelope."""
        if piece.well:
            final = Frame("closing", self.record({"type": "complete", "finalContent": piece.content}))
        else:
            final = self._other({"type": "error", "error": piece.why, "finalContent": piece.content})
        status = "success" if piece.well else "error"
        finalized = Frame("end", self.record({"type": "finalized", "status": status}))
        return [final, finalized, Frame("end", b"event: return\ndata: \n\n\n")]

    def delta(self, text: str) -> Json:
        """Return the object that carries ``text``."""
        return {"type": "delta", "content": text}

    def record(self, value: Json) -> bytes:
        """Return the SSE record of ``value``, which tRPC ends with three newlines."""
        return f"data: {encoded(value)}\n\n\n".encode(errors="backslashreplace")

    def complete(self, message: Message, pieces: Sequence[Piece]) -> Json:  # noqa: ARG002 - its text is enough
        """Return the whole message as the result of a mutation."""
        return result({"id": message.message_id, "role": "assistant", "content": message.content})

    def _other(self, value: Json) -> Frame:
        return Frame("other", self.record(value))


def result(data: Json) -> Json:
    """Return what a procedure answers with ``data``."""
    return {"result": {"data": data}}


def refusal(status: int, _: str, message: str) -> Json:
    """Return tRPC's JSON of an error."""
    name, code = _NAMES.get(status, _OTHER_NAME)
    return {"error": {"message": message, "code": code, "data": {"code": name, "httpStatus": status}}}
