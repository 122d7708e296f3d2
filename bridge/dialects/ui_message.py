"""The Vercel AI SDK's UI message stream v1, as versions 5, 6 and 7 of the package ``ai`` write it.

``data: <JSON object>`` frames; the answer is whole at ``finish``, and only there: ``[DONE]`` also follows
an ``error`` and an ``abort``, and the end of the bytes alone is a cut. Version 7 can take a step back
(``reset-step``): what was heard of it cannot be taken back, but the final text is without it.
https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol#ui-message-stream-protocol
"""

from bridge.dialects.base import Frame, Json, TypedDialect, id_of, text_of, word_of
from bridge.errors import BackendCut, FinishReason
from bridge.events import Delta, Event, Finished, Reasoning, Started, Status, Tool, ToolState

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

_OWN_TYPES = frozenset({"start", "finish", "abort", "file", "custom", "message-metadata", "steering-message"})
_OWN_FAMILIES = ("start-", "finish-", "reset-", "text-", "reasoning-", "tool-", "source-", "data-")


class UiMessage(TypedDialect):
    """Decodes one UI message stream."""

    name = "ui_message"
    header = "x-vercel-ai-ui-message-stream"

    def __init__(self) -> None:
        super().__init__()
        self._started = False
        self._tool_names: dict[str, str] = {}
        self._kept: list[str] = []
        self._step_begins_at = 0
        self._took_back = False
        self.says = {
            "start": self._start,
            "start-step": self._step,
            "reset-step": self._reset,
            "text-delta": self._text,
            "reasoning-start": self._thinking,
            "reasoning-delta": self._thought,
            "tool-input-delta": self._writes_call,
            "error": self.failed,
            "abort": self._abort,
            "finish": self._finish,
        } | dict.fromkeys(_TOOL, self._tool)

    @staticmethod
    def speaks(_: Frame, value: Json) -> bool:
        """Return whether the frame is of this dialect; see `Kind.speaks`."""
        kind = text_of(value, "type")
        own = kind in _OWN_TYPES or kind.startswith(_OWN_FAMILIES)
        return own or (kind == "error" and "errorText" in value)

    def done(self) -> list[Event]:
        """Return the cut that ``[DONE]`` before ``finish`` is."""
        return self.fail(BackendCut("unable to finish the answer; [DONE] came before finish"))

    def _start(self, value: Json) -> list[Event]:
        if self._started:  # a replay, or merged streams
            return []
        self._started = True
        return [Started(id_of(value, "messageId"))]

    def _step(self, _: Json) -> list[Event]:
        self._step_begins_at = len(self._kept)
        return []

    def _reset(self, _: Json) -> list[Event]:
        self._took_back = self._took_back or len(self._kept) > self._step_begins_at
        del self._kept[self._step_begins_at :]
        return []

    def _text(self, value: Json) -> list[Event]:
        delta = text_of(value, "delta")
        if not delta:
            return []
        self._kept.append(delta)
        return [Delta(delta)]

    def _thinking(self, _: Json) -> list[Event]:
        return [Status("thinking")]

    def _thought(self, value: Json) -> list[Event]:
        return [Reasoning(text_of(value, "delta"))]

    def _writes_call(self, _: Json) -> list[Event]:
        return [Status("tool_calling")]

    def _tool(self, value: Json) -> list[Event]:
        call_id, name = word_of(value, "toolCallId"), word_of(value, "toolName")
        if not call_id:
            return []
        name = self._tool_names[call_id] = name or self._tool_names.get(call_id, "")
        state = _TOOL[value["type"]]
        busy = [Status("tool_calling")] if state in ("start", "call") else []
        return [*busy, Tool(call_id, name, state)]

    def _abort(self, _: Json) -> list[Event]:
        self.ended = True
        return [Finished("cancelled", self._final())]

    def _finish(self, value: Json) -> list[Event]:
        reason = value.get("finishReason", "stop")
        if reason == "error":
            return self.failed(value)
        self.ended = True
        return [Finished(_FINISH.get(reason, "other") if isinstance(reason, str) else "other", self._final())]

    def _final(self) -> str | None:
        return "".join(self._kept) if self._took_back else None
