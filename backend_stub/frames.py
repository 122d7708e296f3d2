"""The UI message stream, version 1, as SSE records.

https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol#data-stream-protocol
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

HEADERS = {
    "content-type": "text/event-stream",
    "cache-control": "no-cache",
    "x-vercel-ai-ui-message-stream": "v1",
    "x-accel-buffering": "no",
}
"""What the response of a stream says about itself."""

PING = b": ping\n\n"
"""A comment, which readers skip."""

_TEXT_ID = "text-1"


@dataclass(frozen=True, slots=True)
class Frame:
    """One SSE record: ``kind`` is the type of its JSON object, ``data`` its bytes on the wire."""

    kind: str
    data: bytes


DONE = Frame("done", b"data: [DONE]\n\n")
"""The end mark. It has no id: a caller that resumes behind the last numbered frame gets it again."""


def record(value: dict[str, Any], number: int | None = None) -> bytes:
    """Return the SSE record of ``value``, numbered where ``number`` is given."""
    line = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    numbered = "" if number is None else f"id: {number}\n"
    return f"{numbered}data: {line}\n\n".encode()


def opening(message_id: Any) -> list[dict[str, Any]]:
    """Return what comes before the first token."""
    return [
        {"type": "start", "messageId": message_id},
        {"type": "start-step"},
        {"type": "text-start", "id": _TEXT_ID},
    ]


def deltas(pieces: Sequence[str]) -> list[dict[str, Any]]:
    """Return one object for each token."""
    return [{"type": "text-delta", "id": _TEXT_ID, "delta": piece} for piece in pieces]


def closing(finish_reason: str) -> list[dict[str, Any]]:
    """Return what comes behind the last token of an answer that ended as ``finish_reason`` says."""
    if finish_reason == "cancelled":
        return [{"type": "abort"}]
    if finish_reason == "error":
        first = {"type": "error", "errorText": "the model failed in the middle of its answer"}
    else:
        first = {"type": "text-end", "id": _TEXT_ID}
    return [first, {"type": "finish-step"}, {"type": "finish", "finishReason": finish_reason}]
