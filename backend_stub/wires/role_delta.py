"""``data:{role, delta}`` frames, without a space, as a FastAPI `StreamingResponse` writes them."""

from collections.abc import Sequence
from typing import Self

from backend_stub.asks import Post, id_of, needed_id, text_of, wished
from backend_stub.messages import Message
from backend_stub.pieces import Ended, Opened, Piece
from backend_stub.wires.base import Frame, Json, Wire, encoded


class RoleDelta(Wire):
    """The stream for a body of ``{chat_id, content, request_id?}``; it has no words for tools."""

    text_mark = b'"delta":"'

    @classmethod
    def read(cls, post: Post) -> Self:
        """Return the call; see `Wire.read`."""
        said = post.said()
        room_id = needed_id(said, "chat_id")
        ask = post.ask(room_id, text_of(said, "content"), request_id=id_of(said, "request_id"))
        return cls(wished(ask, said))

    def opened(self, piece: Opened) -> list[Frame]:  # noqa: ARG002 - the answer's name is not told
        """Return the user's own text."""
        return [Frame("other", self.record({"role": "user", "delta": self.ask.content}))]

    def ended(self, piece: Ended) -> list[Frame]:
        """Return the end mark, or the error."""
        if piece.well:
            return [Frame("end", b"data:[DONE]\n\n")]
        return [Frame("other", b"event: error\n" + self.record({"message": piece.why}))]

    def delta(self, text: str) -> Json:
        """Return the object that carries ``text``."""
        return {"role": "assistant", "delta": text}

    def record(self, value: Json) -> bytes:
        """Return the SSE record of ``value``, without the space that others have."""
        return f"data:{encoded(value)}\n\n".encode(errors="backslashreplace")

    def complete(self, message: Message, pieces: Sequence[Piece]) -> Json:  # noqa: ARG002 - its text is enough
        """Return the whole message."""
        return {
            "id": message.message_id,
            "chat_id": message.room_id,
            "role": message.role,
            "content": message.content,
            "created_at": message.created_at,
        }
