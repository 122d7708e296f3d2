"""Anthropic's Messages: blocks of content between ``message_start`` and ``message_stop``.

The reason stands in ``message_delta``, the end is ``message_stop``. ``error`` ends the stream, nothing
follows it. Events of unknown types must be ignored, says the documentation; ``ping`` may come anywhere.
https://docs.anthropic.com/en/docs/build-with-claude/streaming
"""

from typing import Any

from bridge.dialects.base import Frame, Json, TypedDialect, id_of, object_of, text_of, word_of
from bridge.errors import FinishReason
from bridge.events import Delta, Event, Finished, Reasoning, Started, Status, Tool

_FINISH: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool-calls",
    "refusal": "content-filter",
}
_OWN_TYPES = frozenset(
    {
        "message_start",
        "message_delta",
        "message_stop",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "ping",
    }
)


class Anthropic(TypedDialect):
    """Decodes one stream of message events."""

    name = "anthropic"

    def __init__(self) -> None:
        super().__init__()
        self._reason: FinishReason = "stop"
        self._calls: dict[Any, tuple[str, str]] = {}
        self.says = {
            "message_start": self._start,
            "content_block_start": self._block,
            "content_block_delta": self._delta,
            "content_block_stop": self._block_end,
            "message_delta": self._stops,
            "message_stop": self._stopped,
            "error": self.failed,
        }

    @staticmethod
    def speaks(_: Frame, value: Json) -> bool:
        """Return whether the frame is of this dialect; see `Kind.speaks`."""
        kind = text_of(value, "type")
        failed = kind == "error" and isinstance(value.get("error"), dict) and "sequence_number" not in value
        return kind in _OWN_TYPES or failed

    def _start(self, value: Json) -> list[Event]:
        return [Started(id_of(object_of(value, "message"), "id"))]

    def _block(self, value: Json) -> list[Event]:
        block = object_of(value, "content_block")
        kind = text_of(block, "type")
        if kind in ("tool_use", "server_tool_use"):
            call = (word_of(block, "id"), word_of(block, "name"))
            self._calls[_index(value)] = call
            return [Status("tool_calling"), Tool(*call, "start")]
        if kind.endswith("_tool_result"):
            return self._result(word_of(block, "tool_use_id"))
        text = text_of(block, "text") if kind == "text" else ""
        return [Delta(text)] if text else []

    def _result(self, call_id: str) -> list[Event]:
        names = [name for known, name in self._calls.values() if known == call_id]
        return [Tool(call_id, names[0], "result")] if names else []

    def _delta(self, value: Json) -> list[Event]:
        delta = object_of(value, "delta")
        match delta.get("type"):
            case "text_delta":
                text = text_of(delta, "text")
                return [Delta(text)] if text else []
            case "thinking_delta":
                return [Reasoning(text_of(delta, "thinking"))]
            case "input_json_delta":
                return [Status("tool_calling")]
            case _:
                return []

    def _block_end(self, value: Json) -> list[Event]:
        call = self._calls.get(_index(value))
        return [Tool(*call, "call")] if call else []

    def _stops(self, value: Json) -> list[Event]:
        reason = object_of(value, "delta").get("stop_reason")
        if isinstance(reason, str):
            self._reason = _FINISH.get(reason, "other")
        return []

    def _stopped(self, _: Json) -> list[Event]:
        self.ended = True
        return [Finished(self._reason)]


def _index(value: Json) -> int | None:
    index = value.get("index")
    return index if isinstance(index, int) else None
