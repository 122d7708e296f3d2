"""``{type: token | conversationCreated | complete}``: a backend that streams first and stores later."""

import uuid
from typing import Self

from backend_stub.asks import Ask, Post, messages_of, needed_id, prompt_of, wished
from backend_stub.messages import Id
from backend_stub.pieces import Ended, Text
from backend_stub.wires.base import Frame, Json, Wire

_TOKENS_BEFORE_NAME = 3
_NEW = uuid.UUID("6b0f5f3c-0d43-4c0e-9d3e-0f7a8b5b1c55")


class Conversation(Wire):
    """The stream for a body of ``{messages: [{role, content}], workspaceId?, budId?, model?}``.

    The room is the conversation of the path; without one a new conversation begins, whose id comes late.
    """

    text_mark = b'"content":"'

    def __init__(self, ask: Ask, *, new: bool) -> None:
        super().__init__(ask)
        self._nameless = new
        self._tokens = 0

    @classmethod
    def read(cls, post: Post) -> Self:
        """Return the call; see `Wire.read`."""
        said = post.said()
        new = "conversationId" not in post.path
        room_id = _new_id(post) if new else needed_id(post.path, "conversationId")
        ask = post.ask(room_id, prompt_of(messages_of(said)))
        return cls(wished(ask, said), new=new)

    def text(self, piece: Text) -> list[Frame]:
        """Return the token, and behind the third one the new conversation."""
        self._tokens += piece.last
        named = self._created() if self._tokens == _TOKENS_BEFORE_NAME and piece.last else []
        return [*super().text(piece), *named]

    def ended(self, piece: Ended) -> list[Frame]:
        """Return the end, and behind it the conversation that no third token told; or the error."""
        if not piece.well:
            return [Frame("other", self.record({"type": "error", "message": piece.why}))]
        return [Frame("end", self.record({"type": "complete"})), *self._created()]

    def delta(self, text: str) -> Json:
        """Return the object that carries ``text``."""
        return {"type": "token", "content": text}

    def _created(self) -> list[Frame]:
        if not self._nameless:
            return []
        self._nameless = False
        return [
            Frame("other", self.record({"type": "conversationCreated", "conversationId": self.ask.room_id}))
        ]


def _new_id(post: Post) -> Id:
    # a repeated request must find the conversation that it began
    return str(uuid.uuid4() if post.key is None else uuid.uuid5(_NEW, str(post.key)))
