"""StreamEvent: ``{type: status | delta | tool_start | ... | finalized}``, plain or in tRPC's envelope.

``complete`` holds the final text, which stands above the joined deltas; the end is ``finalized``, behind
the backend's last write to its database. tRPC wraps the stream: named frames of its own (``connected``,
``ping``, ``return``, ``serialized-error``), and perhaps each object under ``json`` (superjson).
https://trpc.io/docs/server/subscriptions
"""

from bridge.dialects.base import Frame, Json, TypedDialect, object_of, text_of, word_of
from bridge.errors import BackendFailed, FinishReason, TurnError
from bridge.events import Delta, Event, Finished, Status, Tool

_ENVELOPE = frozenset({"connected", "ping", "return", "serialized-error", "restore-id"})
_FINALIZED: dict[str, FinishReason] = {"success": "stop", "building": "stop", "pending": "stop"}
_OWN_TYPES = frozenset({"status", "delta", "tool_start", "tool_result", "finalized"})


class StreamEvent(TypedDialect):
    """Decodes one stream of StreamEvents."""

    name = "stream_event"

    def __init__(self) -> None:
        super().__init__()
        self._final = ""
        self._of_tool = ""
        self._open_tools: dict[str, str] = {}
        self._tools = 0
        self.says = {
            "status": self._status,
            "delta": self._delta,
            "tool_start": self._tool_start,
            "tool_result": self._tool_result,
            "complete": self._complete,
            "error": self.failed,
            "finalized": self._finalized,
        }

    @staticmethod
    def speaks(frame: Frame, value: Json) -> bool:
        """Return whether the frame is of this dialect; see `Kind.speaks`."""
        kind = text_of(_unwrapped(value), "type")
        wrapped = frame.event in _ENVELOPE and not kind.startswith("ping")
        final = kind in ("complete", "error") and "finalContent" in value
        failed = kind == "error" and isinstance(value.get("error"), str)
        return kind in _OWN_TYPES or wrapped or final or failed

    def decode(self, frame: Frame) -> list[Event]:
        """Return the events of ``frame``; those of the envelope say nothing, but for the last ones."""
        if frame.event == "return":
            return self.eof()
        if frame.event == "serialized-error":
            return [] if self.ended else self.failed({})
        return [] if frame.event in _ENVELOPE else super().decode(frame)

    def said(self, value: Json) -> list[Event]:
        """Return the events of one object, out of its wrapping."""
        return super().said(_unwrapped(value))

    def failed(self, value: Json) -> list[Event]:
        """Return the failure, with the text that the backend has kept of the answer."""
        error = BackendFailed("unable to answer; the backend reported an error")
        self._complete(value)
        return self.fail(error)

    def fail(self, error: TurnError, content: str | None = None) -> list[Event]:
        """Return the failure, with the final text as far as it came."""
        return super().fail(error, content or self._settled())

    def _settled(self) -> str | None:
        """Return the final text: the whole answer's, else what a tool said that nothing followed."""
        return self._final or self._of_tool or None

    def _status(self, value: Json) -> list[Event]:
        status = word_of(value, "status")
        return [Status(status)] if status else []

    def _delta(self, value: Json) -> list[Event]:
        text = text_of(value, "content")
        if not text:
            return []
        self._of_tool = ""
        return [Delta(text)]

    def _tool_start(self, value: Json) -> list[Event]:
        name = word_of(value, "name")
        self._tools += 1  # its calls have no ids: the n-th is tool-n
        call_id = self._open_tools[name] = f"tool-{self._tools}"
        return [Tool(call_id, name, "start")]

    def _tool_result(self, value: Json) -> list[Event]:
        name, job = word_of(value, "name"), word_of(value, "jobId")
        self._of_tool = text_of(value, "finalContent") or self._of_tool
        started = [] if name in self._open_tools else self._tool_start(value)
        success = value.get("success") is not False
        call_id = self._open_tools.pop(name)
        return [*started, Tool(call_id, name, "result" if success else "error", success, job or None)]

    def _complete(self, value: Json) -> list[Event]:
        self._final = text_of(value, "finalContent") or self._final
        return []

    def _finalized(self, value: Json) -> list[Event]:
        status = text_of(value, "status")
        if status == "error":
            return self.failed(value)
        self.ended = True
        busy: list[Event] = [Status("building")] if status == "building" else []
        return [*busy, Finished(_FINALIZED.get(status, "other"), self._settled())]


def _unwrapped(value: Json) -> Json:
    if "type" in value:
        return value
    inner = object_of(value, "result") or value
    inner = object_of(inner, "data") or inner
    return object_of(inner, "json") or inner
