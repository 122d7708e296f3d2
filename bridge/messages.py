"""What a room hears. The names and the camelCase of the wire live here and nowhere else."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, assert_never

from bridge.errors import FinishReason
from bridge.events import Id, ToolState


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A complete message; ``streamed`` when its text was heard in chunks before (not on the wire)."""

    request_id: Id
    room_id: Id
    message_id: Id
    role: Literal["user", "assistant"]
    content: str
    created_at: str
    extra: Mapping[str, Any] = field(default_factory=dict)
    streamed: bool = False


@dataclass(frozen=True, slots=True)
class MessageStart:
    """The backend began to answer."""

    request_id: Id
    room_id: Id
    message_id: Id


@dataclass(frozen=True, slots=True)
class MessageChunk:
    """Text; a merged chunk covers ``from_seq`` to ``seq``, any other covers ``seq`` alone (from 1)."""

    request_id: Id
    room_id: Id
    message_id: Id
    seq: int
    delta: str
    from_seq: int | None = None


@dataclass(frozen=True, slots=True)
class MessageEnd:
    """The turn is over; ``content`` is authoritative, ``error`` is (code, message)."""

    request_id: Id
    room_id: Id
    message_id: Id
    content: str
    finish_reason: FinishReason
    error: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class MessageStatus:
    """What the backend is busy with; ``message_id`` is None until the start."""

    request_id: Id
    room_id: Id
    message_id: Id | None
    status: str


@dataclass(frozen=True, slots=True)
class MessageTool:
    """A tool call of the answer moved to ``state``."""

    request_id: Id
    room_id: Id
    message_id: Id
    tool_call_id: str
    name: str
    state: ToolState


Message = NewMessage | MessageStart | MessageChunk | MessageEnd | MessageStatus | MessageTool


def event_name(message: Message) -> str:
    """Return the name under which a room hears ``message``."""
    match message:
        case MessageChunk():
            return "ai_message_chunk"
        case MessageStart():
            return "ai_message_start"
        case MessageEnd():
            return "ai_message_end"
        case MessageStatus():
            return "ai_message_status"
        case MessageTool():
            return "ai_message_tool"
        case NewMessage():
            return "new_message"
        case _:
            assert_never(message)


def payload(message: Message) -> dict[str, Any]:
    """Return ``message`` as the JSON object of the wire."""
    wire: dict[str, Any] = {"requestId": message.request_id, "roomId": message.room_id}
    if message.message_id is not None:
        wire["messageId"] = message.message_id
    match message:
        case MessageChunk():
            wire |= {"seq": message.seq, "delta": message.delta}
            if message.from_seq is not None:
                wire["fromSeq"] = message.from_seq
        case MessageStart():
            pass
        case MessageEnd():
            wire |= {"content": message.content, "finishReason": message.finish_reason}
            if message.error is not None:
                wire["error"] = {"code": message.error[0], "message": message.error[1]}
        case MessageStatus():
            wire["status"] = message.status
        case MessageTool():
            wire |= {"toolCallId": message.tool_call_id, "name": message.name, "state": message.state}
        case NewMessage():
            named = {"role": message.role, "content": message.content, "createdAt": message.created_at}
            wire = {**message.extra, **wire, **named}
        case _:
            assert_never(message)
    return wire
