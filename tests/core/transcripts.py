"""Streams as backends write them, and what they mean: (events, finish reason or failure)."""

import json

from bridge.errors import BackendCut, BackendFailed
from bridge.events import Delta, Reasoning, Started, Status, Tool


def parts(*values, done=True):
    lines = [f"data: {json.dumps(value, ensure_ascii=False)}\n\n" for value in values]
    return "".join([*lines, "data: [DONE]\n\n" if done else ""]).encode()


def delta(text):
    return {"type": "text-delta", "id": "t1", "delta": text}


START, FINISH = {"type": "start", "messageId": "m-1"}, {"type": "finish", "finishReason": "stop"}
FAILED = {"type": "finish", "finishReason": "error"}

TEXT = parts(
    START,
    {"type": "start-step"},
    {"type": "text-start", "id": "t1"},
    delta("Hel"),
    delta(""),
    delta("lo 🌞"),
    {"type": "text-end", "id": "t1"},
    {"type": "finish-step"},
    FINISH,
)
FULL = parts(
    START,
    START,
    {"type": "reasoning-start", "id": "r"},
    {"type": "reasoning-delta", "id": "r", "delta": "hm"},
    {"type": "tool-input-start", "toolCallId": "c", "toolName": "weather"},
    {"type": "tool-input-delta", "toolCallId": "c", "inputTextDelta": "{"},
    {"type": "tool-input-available", "toolCallId": "c", "toolName": "weather", "input": {}},
    {"type": "tool-output-available", "toolCallId": "c", "output": {"t": 21}},
    {"type": "source-url", "sourceId": "s", "url": "https://example.org"},
    {"type": "data-weather", "data": [1]},
    {"type": "something-new", "delta": "no text"},
    delta("one\u2028"),
    {"type": "text-delta", "id": "t2", "delta": "two"},
    {"type": "message-metadata", "messageMetadata": {}},
    {"type": "finish", "finishReason": "length"},
)
ERROR = parts(START, delta("Par"), {"type": "error", "errorText": "secret"}, FAILED)
ABORT = parts(START, delta("Hello"), {"type": "abort", "reason": "user"})
LATE = parts(START, delta("a"), FINISH) + parts(delta("b"), FINISH)
NO_END = parts(START, delta("a"), done=False)
DONE_ONLY = parts(START, delta("a"))

MEANINGS = {
    "text": (TEXT, [Started("m-1"), Delta("Hel"), Delta("lo 🌞")], "stop"),
    "full": (
        FULL,
        [
            Started("m-1"),
            Status("thinking"),
            Reasoning("hm"),
            Status("tool_calling"),
            Tool("c", "weather", "start"),
            Status("tool_calling"),
            Status("tool_calling"),
            Tool("c", "weather", "call"),
            Tool("c", "weather", "result"),
            Delta("one\u2028"),
            Delta("two"),
        ],
        "length",
    ),
    "error": (ERROR, [Started("m-1"), Delta("Par")], BackendFailed),
    "abort": (ABORT, [Started("m-1"), Delta("Hello")], "cancelled"),
    "after the end": (LATE, [Started("m-1"), Delta("a")], "stop"),
    "no end": (NO_END, [Started("m-1"), Delta("a")], BackendCut),
    "[DONE] without finish": (DONE_ONLY, [Started("m-1"), Delta("a")], BackendCut),
}
