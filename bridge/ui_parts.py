"""What a room hears as the AI SDK's UI message stream v1, and what its ``useChat`` sends as ours.

Written for the package ``ai`` 5 and later, whose client throws at a part that refers to one it never saw:
a device that comes late hears the last state of a tool only, so what led to it is told too.
https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol#ui-message-stream-protocol
"""

from collections.abc import Mapping, Sequence
from typing import Any, assert_never

from bridge.errors import FinishReason
from bridge.events import Id, valid_id
from bridge.messages import (
    Message,
    MessageChunk,
    MessageEnd,
    MessageReasoning,
    MessageStart,
    MessageStatus,
    MessageTool,
    NewMessage,
    payload,
)

Part = dict[str, Any]

_FINISH: dict[FinishReason, str] = {
    "stop": "stop",
    "length": "length",
    "content-filter": "content-filter",
    "tool-calls": "tool-calls",
    "timeout": "error",
    "interrupted": "error",
    "error": "error",
}
_OWN_FIELDS = frozenset({"id", "messages", "trigger", "messageId", "roomId", "requestId", "content"})


class UiParts:
    """Makes the parts of one answer of its messages, in order."""

    def __init__(self) -> None:
        self._started = False
        self._open: tuple[str, str] | None = None
        """The kind and the id of the part that grows."""
        self._opened = 0
        self._told: list[str] = []
        self._tools: dict[str, str] = {}

    def parts(self, message: Message) -> list[Part]:
        """Return what ``message`` adds to the stream."""
        match message:
            case MessageStart():
                parts = self._start(message.message_id)
            case MessageChunk():
                parts = self._grow("text", message.delta)
            case MessageReasoning():
                parts = self._grow("reasoning", message.delta)
            case MessageStatus(status=status):
                parts = [{"type": "data-status", "data": {"status": status}, "transient": True}]
            case MessageTool():
                parts = [*self._close(), *self._tool(message)]
            case MessageEnd():
                parts = self._end(message)
            case NewMessage():
                parts = self._whole(message) if message.role == "assistant" else [_asked(message)]
            case _:
                assert_never(message)
        return parts

    def failed(self, why: str) -> list[Part]:
        """Return the end of a turn that said none."""
        return [
            *self._close(),
            {"type": "error", "errorText": why},
            {"type": "finish", "finishReason": "error"},
        ]

    def _start(self, message_id: Id) -> list[Part]:
        if self._started:
            return []
        self._started = True
        return [{"type": "start", "messageId": str(message_id)}]

    def _grow(self, kind: str, delta: str) -> list[Part]:
        if kind == "text":
            self._told.append(delta)
        opened: list[Part] = []
        if self._open is None or self._open[0] != kind:
            opened = self._close()
            self._opened += 1
            self._open = (kind, str(self._opened))
            opened.append({"type": f"{kind}-start", "id": self._open[1]})
        return [*opened, {"type": f"{kind}-delta", "id": self._open[1], "delta": delta}]

    def _close(self) -> list[Part]:
        if self._open is None:
            return []
        kind, part_id = self._open
        self._open = None
        return [{"type": f"{kind}-end", "id": part_id}]

    def _tool(self, tool: MessageTool) -> list[Part]:
        """Return the call's move, behind those that were not heard; its input stays with the backend."""
        call: Part = {"toolCallId": tool.tool_call_id}
        named: Part = {**call, "toolName": tool.name, "dynamic": True, "providerExecuted": True}
        seen, self._tools[tool.tool_call_id] = self._tools.get(tool.tool_call_id), tool.state
        parts: list[Part] = [] if seen else [{"type": "tool-input-start", **named}]
        if tool.state != "start" and seen in (None, "start"):
            parts.append({"type": "tool-input-available", **named, "input": {}})
        if tool.state == "result":
            output = {"success": tool.success, "jobId": tool.job_id}
            given = {name: value for name, value in output.items() if value is not None}
            parts.append({"type": "tool-output-available", **call, "output": given})
        elif tool.state == "error":
            parts.append({"type": "tool-output-error", **call, "errorText": "the tool failed"})
        return parts

    def _end(self, end: MessageEnd) -> list[Part]:
        told = "".join(self._told)
        goes_on = end.content.startswith(told)
        rest = end.content[len(told) :] if goes_on else ""
        more = self._grow("text", rest) if rest else []
        last = [*self._start(end.message_id), *more, *self._close()]
        if end.finish_reason == "cancelled":
            return [*last, {"type": "abort", "reason": "cancelled"}]
        known = {"conversationId": end.conversation_id, "content": None if goes_on else end.content}
        said = {name: value for name, value in known.items() if value is not None}
        finish = {"type": "finish", "finishReason": _FINISH.get(end.finish_reason, "other")}
        failed = [{"type": "error", "errorText": end.error[1]}] if end.error and _is_failure(end) else []
        return [*last, *failed, {**finish, "messageMetadata": said} if said else finish]

    def _whole(self, answer: NewMessage) -> list[Part]:
        finish: Part = {"type": "finish", "finishReason": "stop"}
        if answer.extra:
            finish["messageMetadata"] = dict(answer.extra)
        return [*self._start(answer.message_id), *self._grow("text", answer.content), *self._close(), finish]


def _asked(question: NewMessage) -> Part:
    """Return what the user said: whoever did not ask learns it so, and ``useChat`` by ``onData`` alone."""
    return {"type": "data-question", "data": payload(question), "transient": True}


def _is_failure(end: MessageEnd) -> bool:
    return _FINISH.get(end.finish_reason) == "error"


def sent_by_use_chat(body: Mapping[str, Any], room_id: object) -> dict[str, Any]:
    """Return what ``useChat`` posts as the data of a send, unchecked: of its messages the last alone.

    The id of the user's message names the request, so that a repeated POST makes no second answer; where
    the message was edited, or is to be answered anew, it does not.
    """
    last = _last(body.get("messages"))
    extra = {name: value for name, value in body.items() if name not in _OWN_FIELDS}
    content = body.get("content", _text(last))
    request_id = body.get("requestId")
    fresh = body.get("trigger", "submit-message") == "submit-message" and body.get("messageId") is None
    if request_id is None and fresh and valid_id(last.get("id")):
        request_id = last["id"]
    return {**extra, "roomId": room_id, "content": content, "requestId": request_id}


def _last(messages: object) -> Mapping[str, Any]:
    told = messages if isinstance(messages, Sequence) and messages else [{}]
    said = [each for each in told if isinstance(each, Mapping) and each.get("role") == "user"]
    return said[-1] if said else {}


def _text(message: Mapping[str, Any]) -> object:
    """Return the text of a message of version 5 and later, or of before."""
    parts = message.get("parts")
    if not isinstance(parts, list):
        return message.get("content")
    texts = [part.get("text") for part in parts if isinstance(part, Mapping) and part.get("type") == "text"]
    return "".join(text for text in texts if isinstance(text, str))
