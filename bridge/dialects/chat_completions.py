"""OpenAI's chat completion chunks, and those of the many servers that speak like it.

The finish reason makes the answer whole; a chunk of usage may follow it; ``[DONE]`` or, where a server
leaves that out, the end of the bytes ends it. An error inside of the stream is a top-level ``error``, and
``[DONE]`` behind it is no success. ``choices`` may be empty or null: Azure's first chunk, usage chunks.
https://platform.openai.com/docs/api-reference/chat-streaming
"""

from typing import Any

from bridge.dialects.base import Frame, Json, JsonDialect, id_of, object_of, text_of, word_of
from bridge.errors import BackendCut, FinishReason
from bridge.events import Delta, Event, Finished, Reasoning, Started, Status, Tool

_FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool-calls",
    "function_call": "tool-calls",
    "content_filter": "content-filter",
}


class ChatCompletions(JsonDialect):
    """Decodes one stream of chat completion chunks."""

    name = "chat_completions"

    def __init__(self) -> None:
        super().__init__()
        self._started = False
        self._refused = False
        self._reason: FinishReason = "stop"
        self._tools: dict[Any, tuple[str, str]] = {}

    @staticmethod
    def speaks(frame: Frame, value: Json) -> bool:
        """Return whether the frame is of this dialect; see `Kind.speaks`."""
        failed = "error" in value and "type" not in value and not frame.event
        return "choices" in value or value.get("object") == "chat.completion.chunk" or failed

    def said(self, value: Json) -> list[Event]:
        """Return the events of one chunk: those of its first choice."""
        if value.get("error"):
            return self.failed(value)
        choices = value.get("choices")
        if not isinstance(choices, list):
            return []
        for choice in choices:
            if isinstance(choice, dict) and choice.get("index", 0) == 0:
                return self._choice(choice) if self._started else self._start(value, choice)
        return []

    def done(self) -> list[Event]:
        """Return the end; before any finish reason it is a cut."""
        if self.whole:
            return self.finished()
        return self.fail(BackendCut("unable to finish the answer; [DONE] came before a finish reason"))

    def finished(self) -> list[Event]:
        """Return the end, by the finish reason that came before it."""
        self.ended = True
        return [Finished("content-filter" if self._refused and self._reason == "stop" else self._reason)]

    def _start(self, value: Json, choice: Json) -> list[Event]:
        self._started = True
        return [Started(id_of(value, "id")), *self._choice(choice)]

    def _choice(self, choice: Json) -> list[Event]:
        if self.whole:  # what comes behind the finish reason is late
            return []
        delta, reason = object_of(choice, "delta"), choice.get("finish_reason")
        text = delta.get("content")
        if reason is None and len(delta) == 1 and isinstance(text, str) and text:
            return [Delta(text)]  # the usual chunk holds text and nothing else
        events = self._thought(delta) + self._text(delta) + self._calls(delta)
        if isinstance(reason, str) and reason:
            self.whole = True
            self._reason = _FINISH.get(reason, "other")
            events += [Tool(call_id, name, "call") for call_id, name in self._tools.values()]
        return events

    def _thought(self, delta: Json) -> list[Event]:
        text = text_of(delta, "reasoning_content") or text_of(delta, "reasoning")
        return [Reasoning(text)] if text else []

    def _text(self, delta: Json) -> list[Event]:
        refusal = text_of(delta, "refusal")
        self._refused = self._refused or bool(refusal)
        text = text_of(delta, "content") + refusal
        return [Delta(text)] if text else []

    def _calls(self, delta: Json) -> list[Event]:
        calls = delta.get("tool_calls")
        old = delta.get("function_call")  # before there were several tools
        if isinstance(old, dict):
            calls = [{"index": 0, "id": "function_call", "function": old}]
        if not isinstance(calls, list):
            return []
        return [event for call in calls if isinstance(call, dict) for event in self._call(call)]

    def _call(self, call: Json) -> list[Event]:
        index, call_id = call.get("index", 0), word_of(call, "id")
        if not isinstance(index, int) or index in self._tools or not call_id:
            return [Status("tool_calling")]  # a piece of the arguments
        name = word_of(object_of(call, "function"), "name")
        self._tools[index] = (call_id, name)
        return [Status("tool_calling"), Tool(call_id, name, "start")]
