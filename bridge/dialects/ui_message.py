"""The Vercel AI SDK's UI message stream v1, as versions 5, 6 and 7 of the package ``ai`` write it.

``data: <JSON object>`` frames; the answer is whole at ``finish``, and only there: ``[DONE]`` also follows
an ``error`` and an ``abort``, and the end of the bytes alone is a cut.
https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol#ui-message-stream-protocol
"""

from collections.abc import Callable
from typing import Any

from bridge.dialects.base import Frame, JsonDialect
from bridge.errors import BackendCut, BackendFailed, FinishReason
from bridge.events import Delta, Event, Failed, Finished, Started, Status, Tool, ToolState

_DONE = "[DONE]"

_FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "content-filter": "content-filter",
    "tool-calls": "tool-calls",
    "interrupted": "interrupted",
}

_TOOL: dict[str, ToolState] = {
    "tool-input-start": "start",
    "tool-input-available": "call",
    "tool-input-error": "error",
    "tool-output-available": "result",
    "tool-output-error": "error",
    "tool-output-denied": "error",
}


class UiMessage(JsonDialect):
    """Decodes one UI message stream."""

    def __init__(self) -> None:
        super().__init__()
        self._started = False
        self._tool_names: dict[str, str] = {}
        self._says: dict[Any, Callable[[dict[str, Any]], list[Event]]] = {
            "start": self._start,
            "text-delta": self._text,
            "reasoning-start": self._thinking,
            "reasoning-delta": self._thinking,
            "error": self._error,
            "abort": self._abort,
            "finish": self._finish,
        } | dict.fromkeys(_TOOL, self._tool)

    def decode(self, frame: Frame) -> list[Event]:
        """Return the events of ``frame``; ``[DONE]`` before ``finish`` is a cut."""
        if frame.data == _DONE and not self.ended:
            return [self.fail(BackendCut("unable to finish the answer; [DONE] came before finish"))]
        return super().decode(frame)

    def said(self, value: dict[str, Any]) -> list[Event]:
        """Return the events of one part; parts of unknown types say nothing."""
        kind = value.get("type")
        says = self._says.get(kind) if isinstance(kind, str) else None
        return says(value) if says else []

    def _start(self, value: dict[str, Any]) -> list[Event]:
        if self._started:  # a replay, or merged streams
            return []
        self._started = True
        named = value.get("messageId")
        return [Started(named if isinstance(named, str) else None)]

    def _text(self, value: dict[str, Any]) -> list[Event]:
        delta = value.get("delta")
        return [Delta(delta)] if isinstance(delta, str) and delta else []

    def _thinking(self, _: dict[str, Any]) -> list[Event]:
        return [Status("thinking")]

    def _tool(self, value: dict[str, Any]) -> list[Event]:
        call_id, name = value.get("toolCallId"), value.get("toolName", "")
        if not isinstance(call_id, str) or not isinstance(name, str):
            return []
        if name:
            self._tool_names[call_id] = name
        state = _TOOL[value["type"]]
        busy = [Status("tool_calling")] if state in ("start", "call") else []
        return [*busy, Tool(call_id, name or self._tool_names.get(call_id, ""), state)]

    def _error(self, _: dict[str, Any]) -> list[Event]:
        self.ended = True
        return [Failed(BackendFailed("unable to answer; the backend reported an error"))]

    def _abort(self, _: dict[str, Any]) -> list[Event]:
        self.ended = True
        return [Finished("cancelled")]

    def _finish(self, value: dict[str, Any]) -> list[Event]:
        self.ended = True
        reason = value.get("finishReason", "stop")
        if reason == "error":
            return self._error(value)
        return [Finished(_FINISH.get(reason, "other") if isinstance(reason, str) else "other")]
