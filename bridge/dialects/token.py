"""``{type: token | conversationCreated | complete}`` frames of a backend that streams first and stores later.

The id of a new conversation comes when the database has it: between tokens, or even behind ``complete``.
So ``complete`` makes the answer whole, and the conversation's id or the end of the bytes ends it.
"""

from bridge.dialects.base import Frame, Json, TypedDialect, id_of, text_of
from bridge.errors import TurnError
from bridge.events import Conversation, Delta, Event, Finished


class Token(TypedDialect):
    """Decodes one stream of tokens."""

    name = "token"

    def __init__(self) -> None:
        super().__init__()
        self._named = False
        self._final: str | None = None
        self.says = {
            "token": self._token,
            "conversationCreated": self._conversation,
            "complete": self._complete,
            "error": self.failed,
        }

    @staticmethod
    def speaks(_: Frame, value: Json) -> bool:
        """Return whether the frame is of this dialect; see `Kind.speaks`."""
        kind = text_of(value, "type")
        failed = kind == "error" and "message" in value and not value.keys() & {"error", "sequence_number"}
        whole = kind == "complete" and "finalContent" not in value
        return kind in ("token", "conversationCreated") or whole or failed

    def finished(self) -> list[Event]:
        """Return the end, with the final text if there was one."""
        self.ended = True
        return [Finished("stop", self._final)]

    def fail(self, error: TurnError, content: str | None = None) -> list[Event]:
        """Return the failure, with the final text if there was one."""
        return super().fail(error, content or self._final)

    def _token(self, value: Json) -> list[Event]:
        text = "" if self.whole else text_of(value, "content")
        return [Delta(text)] if text else []

    def _conversation(self, value: Json) -> list[Event]:
        name = id_of(value, "conversationId")
        if self._named or name is None:
            return []
        self._named = True
        events: list[Event] = [Conversation(name)]
        return events + (self.finished() if self.whole else [])

    def _complete(self, value: Json) -> list[Event]:
        self.whole = True
        self._final = text_of(value, "content") or self._final
        return self.finished() if self._named else []
