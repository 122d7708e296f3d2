"""The wire contract as data: every type of it under its name, every event, and how it is acked.

OpenAPI, AsyncAPI and the types of TypeScript are written from this; `python -m bridge documents` does it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bridge.errors import FinishReason, RequestCode
from bridge.messages import (
    EVENT_NAMES,
    MessageChunk,
    MessageEnd,
    MessageReasoning,
    MessageStart,
    MessageStatus,
    MessageTool,
    NewMessage,
)
from bridge.requests import RESUMES_PER_JOIN, Join, Leave, Resume, Send, Stop
from bridge.rollout import LISTED_LIMIT, NAME_LENGTH, Listed
from bridge.rooms import ActiveTurn
from bridge.schemas import Schema, Schemas, Shape, ref
from bridge.wire_types import (
    AccessEnded,
    Auth,
    Done,
    JoinAck,
    Refused,
    Renew,
    ResumeAck,
    SendAck,
    Unacked,
    WireError,
)


@dataclass(frozen=True, slots=True)
class Asked:
    """An event that a device sends, and the types of its data and of its ack."""

    data: str
    ack: str


_FALSE_TRUE: Mapping[str, Schema] = {"ok": {"const": False}, "duplicate": {"const": True}}
TEXT: Schema = {
    "description": "At most BRIDGE_MAX_CONTENT_BYTES (32768) of UTF-8, without NUL.",
    "type": "string",
    "pattern": r"^[^\u0000]*[^\s\u0000][^\u0000]*$",
}
_OF_STOP: Schema = {
    "anyOf": [{"required": [name], "properties": {name: ref("Id")}} for name in ("messageId", "requestId")]
}
_RESUME: Schema = {
    "type": "object",
    "propertyNames": {"pattern": "^[A-Za-z0-9_.:-]{1,128}$"},
    "additionalProperties": {"type": "integer", "minimum": 0, "maximum": 2**53 - 1},
    "maxProperties": RESUMES_PER_JOIN,
}
_NOT_SENT = frozenset({"extra", "message_id", "headers", "announced_elsewhere"})
_NAMES: Schema = {
    "type": "array",
    "maxItems": LISTED_LIMIT,
    "items": {"anyOf": [{"type": "string", "minLength": 1, "maxLength": NAME_LENGTH}, {"type": "integer"}]},
}

SHAPES: Mapping[str, Shape] = {
    "WireError": Shape(WireError),
    "Refused": Shape(Refused),
    "Unacked": Shape(Unacked, instead=_FALSE_TRUE),
    "NewMessage": Shape(
        NewMessage,
        hidden=frozenset({"extra", "streamed"}),
        more={"description": "A complete message, with what else the backend gave."},
        open=True,
    ),
    "Start": Shape(MessageStart),
    "Chunk": Shape(MessageChunk),
    "Reasoning": Shape(MessageReasoning),
    "Status": Shape(
        MessageStatus,
        more={"description": "What the backend is busy with; `messageId` is missing until the start."},
    ),
    "Tool": Shape(MessageTool),
    "End": Shape(
        MessageEnd,
        hidden=frozenset({"created_at", "answered"}),
        instead={"error": ref("WireError")},
        more={"description": "The turn is over; `content` is authoritative."},
    ),
    "AccessEnded": Shape(AccessEnded),
    "Auth": Shape(Auth, nulls=True),
    "Join": Shape(Join, optional=frozenset({"resume"}), instead={"resume": _RESUME}, nulls=True),
    "Leave": Shape(Leave),
    "Send": Shape(
        Send,
        hidden=_NOT_SENT,
        instead={"content": TEXT},
        more={"description": "Ask the backend; what else is sent is passed on as it came."},
        open=True,
        nulls=True,
    ),
    "Stop": Shape(Stop, more=_OF_STOP, nulls=True),
    "Resume": Shape(Resume),
    "Renew": Shape(Renew),
    "ActiveTurn": Shape(ActiveTurn),
    "JoinAck": Shape(JoinAck),
    "SendAck": Shape(SendAck, instead=_FALSE_TRUE),
    "ResumeAck": Shape(ResumeAck),
    "Done": Shape(Done),
    "Listed": Shape(
        Listed, optional=frozenset({"rooms", "users"}), instead={"rooms": _NAMES, "users": _NAMES}
    ),
}
ALIASES: Mapping[str, Any] = {"FinishReason": FinishReason, "RequestCode": RequestCode}

_HEARD: Mapping[type, str] = {shape.type: name for name, shape in SHAPES.items()}
HEARD: Mapping[str, str] = {
    **{event: _HEARD[kind] for kind, event in EVENT_NAMES.items()},
    "access_ended": "AccessEnded",
}
"""The events that a device hears, and the types of their data."""
ASKED: Mapping[str, Asked] = {
    "join_room": Asked("Join", "JoinAck"),
    "leave_room": Asked("Leave", "Done"),
    "send_message": Asked("Send", "SendAck"),
    "stop_message": Asked("Stop", "Done"),
    "resume": Asked("Resume", "ResumeAck"),
    "renew": Asked("Renew", "Done"),
}
"""The events that a device sends."""


def schemas() -> dict[str, Schema]:
    """Return the schemas of the whole contract."""
    return Schemas(SHAPES, ALIASES).all()


def acked(ack: str) -> Schema:
    """Return the schema of an event's ack: done, or refused."""
    done = {"type": "object", "properties": {"ok": {"const": True}}, "required": ["ok"]}
    return {"anyOf": [{"allOf": [done, ref(ack)]}, ref("Unacked")]}
