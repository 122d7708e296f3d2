"""OpenAI's Responses: named events, one of which ends the answer: ``completed``, ``incomplete``, ``failed``.

The ending event holds the whole response, so its text is the final one. ``error`` comes before
``response.failed`` and is where the failure is told. There is no ``[DONE]``; servers that add it do no harm.
https://platform.openai.com/docs/api-reference/responses-streaming
"""

import re
from typing import Any

from bridge.dialects.base import Frame, Json, TypedDialect, id_of, object_of, text_of, word_of
from bridge.errors import FinishReason
from bridge.events import Delta, Event, Finished, Reasoning, Started, Status, Tool

_BUILT_IN_CALL = re.compile(r"response\.\w+_call\.\w+")
_INCOMPLETE: dict[str, FinishReason] = {"max_output_tokens": "length", "content_filter": "content-filter"}


class Responses(TypedDialect):
    """Decodes one stream of response events."""

    name = "responses"

    def __init__(self) -> None:
        super().__init__()
        self._refused = False
        self._calls: dict[str, tuple[str, str]] = {}
        self.says = {
            "response.created": self._created,
            "response.output_text.delta": self._text,
            "response.refusal.delta": self._refusal,
            "response.reasoning_summary_text.delta": self._thought,
            "response.reasoning_text.delta": self._thought,
            "response.output_item.added": self._item,
            "response.function_call_arguments.delta": self._writes_call,
            "response.function_call_arguments.done": self._called,
            "response.completed": self._completed,
            "response.incomplete": self._incomplete,
            "response.failed": self.failed,
            "error": self.failed,
        }

    @staticmethod
    def speaks(_: Frame, value: Json) -> bool:
        """Return whether the frame is of this dialect; see `Kind.speaks`."""
        kind = text_of(value, "type")
        return kind.startswith("response.") or (kind == "error" and "sequence_number" in value)

    def said(self, value: Json) -> list[Event]:
        """Return the events of one object; a built-in tool at work is a status."""
        says = self.says.get(text_of(value, "type"))
        if says is not None:
            return says(value)
        return [Status("tool_calling")] if _BUILT_IN_CALL.fullmatch(text_of(value, "type")) else []

    def _created(self, value: Json) -> list[Event]:
        return [Started(id_of(object_of(value, "response"), "id"))]

    def _text(self, value: Json) -> list[Event]:
        text = text_of(value, "delta")
        return [Delta(text)] if text else []

    def _refusal(self, value: Json) -> list[Event]:
        self._refused = True
        return self._text(value)

    def _thought(self, value: Json) -> list[Event]:
        return [Reasoning(text_of(value, "delta"))]

    def _item(self, value: Json) -> list[Event]:
        item = object_of(value, "item")
        if item.get("type") != "function_call":
            return []
        call = (word_of(item, "call_id") or word_of(item, "id"), word_of(item, "name"))
        self._calls[text_of(item, "id")] = call
        return [Status("tool_calling"), Tool(*call, "start")]

    def _writes_call(self, _: Json) -> list[Event]:
        return [Status("tool_calling")]

    def _called(self, value: Json) -> list[Event]:
        call = self._calls.get(text_of(value, "item_id"))
        return [Tool(*call, "call")] if call else []

    def _completed(self, value: Json) -> list[Event]:
        output = _output(value)
        if self._refused:
            return self._end("content-filter", output)
        calls = output and output[-1].get("type") == "function_call"
        return self._end("tool-calls" if calls else "stop", output)

    def _incomplete(self, value: Json) -> list[Event]:
        why = text_of(object_of(object_of(value, "response"), "incomplete_details"), "reason")
        return self._end(_INCOMPLETE.get(why, "other"), _output(value))

    def _end(self, reason: FinishReason, output: list[Json]) -> list[Event]:
        self.ended = True
        return [Finished(reason, _final(output) or None)]


def _output(value: Json) -> list[Json]:
    return _objects(object_of(value, "response").get("output"))


def _objects(values: Any) -> list[Json]:
    return [each for each in values if isinstance(each, dict)] if isinstance(values, list) else []


def _final(output: list[Json]) -> str:
    parts = [
        part for item in output if item.get("type") == "message" for part in _objects(item.get("content"))
    ]
    return "".join(text_of(part, "text") or text_of(part, "refusal") for part in parts)
