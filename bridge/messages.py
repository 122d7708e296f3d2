"""What a room hears. The names and the camelCase of the wire live here and nowhere else."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, assert_never

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


class MessageChunk(NamedTuple):
    """Text; a merged chunk covers ``from_seq`` to ``seq``, any other covers ``seq`` alone (from 1).

    The one value made for every delta, and a tuple is made three times faster than a frozen dataclass.
    """

    request_id: Id
    room_id: Id
    message_id: Id
    seq: int
    delta: str
    from_seq: int | None = None


class Answered(NamedTuple):
    """What the backend itself answered, for who must answer in its place; no device hears it."""

    status: int
    headers: Mapping[str, str]
    body: str


@dataclass(frozen=True, slots=True)
class MessageEnd:
    """The turn is over; ``content`` is authoritative, ``error`` is (code, message).

    ``conversation_id`` is the backend's name for the conversation, where it gave one. ``created_at`` and
    ``answered`` are there for a turn that is announced elsewhere, and not on the wire.
    """

    request_id: Id
    room_id: Id
    message_id: Id
    content: str
    finish_reason: FinishReason
    error: tuple[str, str] | None = None
    conversation_id: Id | None = None
    created_at: str = ""
    answered: Answered | None = None


@dataclass(frozen=True, slots=True)
class MessageReasoning:
    """What the model thinks to itself; heard only where the operator wants it shown. Has no seq."""

    request_id: Id
    room_id: Id
    message_id: Id
    delta: str


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
    success: bool | None = None
    job_id: str | None = None


Message = (
    NewMessage | MessageStart | MessageChunk | MessageReasoning | MessageEnd | MessageStatus | MessageTool
)


EVENT_NAMES: dict[type[Message], str] = {
    MessageChunk: "ai_message_chunk",
    MessageStart: "ai_message_start",
    MessageEnd: "ai_message_end",
    MessageStatus: "ai_message_status",
    MessageTool: "ai_message_tool",
    MessageReasoning: "ai_message_reasoning",
    NewMessage: "new_message",
}


def is_asked(message: Message) -> bool:
    """Return whether ``message`` is what the user said, and none of the answer."""
    return isinstance(message, NewMessage) and message.role == "user"


def event_name(message: Message) -> str:
    """Return the name under which a room hears ``message``."""
    return EVENT_NAMES[type(message)]


def payload(message: Message) -> dict[str, Any]:
    """Return ``message`` as the JSON object of the wire."""
    wire: dict[str, Any] = {"requestId": message.request_id, "roomId": message.room_id}
    if message.message_id is not None:
        wire["messageId"] = message.message_id
    match message:
        case MessageChunk():
            wire |= _chunk(message)
        case MessageStart():
            pass
        case MessageReasoning(delta=delta):
            wire["delta"] = delta
        case MessageEnd():
            wire |= _end(message)
        case MessageStatus(status=status):
            wire["status"] = status
        case MessageTool():
            wire |= _tool(message)
        case NewMessage():
            named = {"role": message.role, "content": message.content, "createdAt": message.created_at}
            wire = {**message.extra, **wire, **named}
        case _:
            assert_never(message)
    return wire


def _chunk(chunk: MessageChunk) -> dict[str, Any]:
    fields: dict[str, Any] = {"seq": chunk.seq, "delta": chunk.delta}
    return fields if chunk.from_seq is None else fields | {"fromSeq": chunk.from_seq}


def _end(end: MessageEnd) -> dict[str, Any]:
    error = end.error and {"code": end.error[0], "message": end.error[1]}
    named = {"error": error, "conversationId": end.conversation_id}
    return {"content": end.content, "finishReason": end.finish_reason, **_given(named)}


def _tool(tool: MessageTool) -> dict[str, Any]:
    told = _given({"success": tool.success, "jobId": tool.job_id})
    return {"toolCallId": tool.tool_call_id, "name": tool.name, "state": tool.state, **told}


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
