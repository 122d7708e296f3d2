"""``{role, delta}`` frames, as a FastAPI `StreamingResponse` over a provider's stream writes them.

The user's own text comes first and is no part of the answer; ``[DONE]`` ends it. A failure is
``event: error`` with JSON or plain text, and whatever follows it is no success.
"""

from bridge.dialects.base import Frame, Json, JsonDialect, text_of
from bridge.events import Delta, Event, Finished


class RoleDelta(JsonDialect):
    """Decodes one stream of role and delta."""

    name = "role_delta"

    @staticmethod
    def speaks(frame: Frame, value: Json) -> bool:
        """Return whether the frame is of this dialect; see `Kind.speaks`."""
        return ("role" in value and "delta" in value) or (frame.event == "error" and "type" not in value)

    def said(self, value: Json) -> list[Event]:
        """Return the assistant's delta; an object that holds nothing but an error is one."""
        if "error" in value and "delta" not in value:
            return self.failed(value)
        delta = text_of(value, "delta")
        return [Delta(delta)] if delta and value.get("role") == "assistant" else []

    def done(self) -> list[Event]:
        """Return the end."""
        self.ended = True
        return [Finished("stop")]
