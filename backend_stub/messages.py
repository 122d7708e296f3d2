"""A message of a room, as it is stored and told."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

Id = int | str
"""A name that callers choose; its JSON type is kept."""

Status = Literal["pending", "streaming", "success", "error"]
"""How far a message is: the first two are on their way, the others final."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message; ``finish_reason`` is None for the user's, and for answers on their way.

    Of an ended answer it is ``stop``, ``tool-calls``, ``error``, ``cancelled`` or ``interrupted``.
    ``lengths`` are those of its tokens in characters, where they are not those of the built-in model.
    """

    message_id: Id
    request_id: Id
    room_id: Id
    role: str
    content: str
    created_at: str
    finish_reason: str | None = None
    status: Status = "success"
    lengths: tuple[int, ...] | None = None

    def told(self) -> dict[str, Any]:
        """Return the JSON object of this message."""
        said: dict[str, Any] = {
            "messageId": self.message_id,
            "requestId": self.request_id,
            "roomId": self.room_id,
            "role": self.role,
            "content": self.content,
            "createdAt": self.created_at,
        }
        if self.finish_reason is not None:
            said["finishReason"] = self.finish_reason
        return said


def utc_now() -> str:
    """Return the time as ISO 8601 in UTC with milliseconds and ``Z``."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
