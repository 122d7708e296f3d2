"""The UI message stream for the body that ``useChat`` of the AI SDK posts."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from backend_stub.asks import Post, id_of, messages_of, needed_id, prompt_of, wished
from backend_stub.messages import Id, Message
from backend_stub.pieces import Piece
from backend_stub.wires.base import Json
from backend_stub.wires.ui_message import UiMessage


class UseChat(UiMessage):
    """The UI message stream for a body of ``{id, messages: [{id, role, parts}], trigger?, messageId?}``."""

    tells_failures = False

    @classmethod
    def read(cls, post: Post) -> Self:
        """Return the call; the room is the chat, and the prompt names the request, if no header does."""
        said = post.said()
        messages = messages_of(said)
        request_id = post.key if post.key is not None else _prompt_id(said, messages)
        ask = post.ask(needed_id(said, "id"), prompt_of(messages), request_id=request_id)
        return cls(wished(ask, said, "run"))

    def complete(self, message: Message, pieces: Sequence[Piece]) -> Json:  # noqa: ARG002 - its text is enough
        """Return the message as ``useChat`` keeps it."""
        parts = [{"type": "text", "text": message.content}]
        return {"id": message.message_id, "role": "assistant", "parts": parts}


def _prompt_id(said: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> Id | None:
    if said.get("trigger", "submit-message") != "submit-message":
        return None  # the same prompt shall get another answer
    prompts = [message for message in messages if message.get("role") == "user"]
    return id_of(prompts[-1], "id") if prompts else None
