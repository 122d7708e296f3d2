"""What a caller asks for: the body of a POST, checked."""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from backend_stub.errors import Refused
from backend_stub.messages import Id
from backend_stub.model import Pace
from backend_stub.tools import ToolUse

_ID_CHARS = 200
_ID_JSON_CHARS = 255  # as wide as the columns of the history
_PACE_NAMES = ("tokens", "tokensPerSecond", "firstTokenSeconds")
_TEXT_PARTS = frozenset({"text", "input_text"})


@dataclass(frozen=True, slots=True)
class Ask:
    """One request for an answer; ``message_id`` is the name the answer shall get."""

    room_id: Id
    request_id: Id
    message_id: Id
    content: str
    pace: Pace
    fault: str | None = None
    tool_use: ToolUse = "none"

    @property
    def key(self) -> tuple[str, str]:
        """What makes two calls the same request; 42 and "42" are two rooms."""
        return (json.dumps(self.room_id), json.dumps(self.request_id))


@dataclass(frozen=True, slots=True)
class Post:
    """What came with a call; ``path`` holds what the route takes from it, ``pace`` is the usual one."""

    body: bytes
    headers: Mapping[str, str]
    path: Mapping[str, str]
    pace: Pace

    @property
    def key(self) -> Id | None:
        """The name that the header gives the request."""
        return id_of({"Idempotency-Key": self.headers.get("Idempotency-Key")}, "Idempotency-Key")

    def said(self) -> dict[str, Any]:
        """Return the JSON object of the body; raise `Refused` when it is none."""
        return object_in(self.body)

    def ask(
        self, room_id: Id, content: str, *, request_id: Id | None = None, message_id: Id | None = None
    ) -> Ask:
        """Return the ask for an answer in a room; what is not named here gets its name."""
        return Ask(
            room_id=room_id,
            request_id=first(request_id, self.key),
            message_id=first(message_id),
            content=content,
            pace=self.pace,
        )


def wished(ask: Ask, said: Mapping[str, Any], tool_use: ToolUse = "none") -> Ask:
    """Return ``ask`` with the length, pace and fault that a body of our own wishes for."""
    fault = text_of(said, "fault") if said.get("fault") is not None else None
    return replace(ask, pace=_pace(said, ask.pace), fault=fault, tool_use=tool_use)


def object_in(body: str | bytes) -> dict[str, Any]:
    """Return the JSON object in ``body``; raise `Refused` when it is none."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise unusable("it is no JSON") from exc
    if not isinstance(said, dict):
        raise unusable("it is no JSON object")
    return said


def first(*given: Id | None) -> Id:
    """Return the first name that there is, or a new one."""
    return next((name for name in given if name is not None), str(uuid.uuid4()))


def id_of(said: Mapping[str, Any], name: str) -> Id | None:
    """Return the name in the field ``name``, None where it is missing or empty."""
    value = said.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, int | str) or isinstance(value, bool):
        raise unusable(f"{name} must be a string or a whole number")
    if isinstance(value, str):
        _encodable(name, value)
    if len(str(value)) > _ID_CHARS or len(json.dumps(value, ensure_ascii=False)) > _ID_JSON_CHARS:
        raise unusable(f"{name} is over {_ID_CHARS} characters")
    return value


def needed_id(said: Mapping[str, Any], name: str) -> Id:
    """Return the name in the field ``name``, which must be there."""
    value = id_of(said, name)
    if value is None:
        raise unusable(f"{name} is missing")
    return value


def text_of(said: Mapping[str, Any], name: str) -> str:
    """Return the string in the field ``name``."""
    value = said.get(name)
    if not isinstance(value, str):
        raise unusable(f"{name} must be a string")
    return _encodable(name, value)


def messages_of(said: Mapping[str, Any], name: str = "messages") -> list[dict[str, Any]]:
    """Return the list of messages in the field ``name``; a string is one message of the user."""
    value = said.get(name)
    if isinstance(value, str) and name == "input":
        return [{"role": "user", "content": value}]
    if not isinstance(value, list) or not value or not all(isinstance(message, dict) for message in value):
        raise unusable(f"{name} must be a list of messages")
    return value


def prompt_of(messages: Sequence[Mapping[str, Any]]) -> str:
    """Return the text of the last message of the user that holds any."""
    for message in reversed(messages):
        if message.get("role") == "user" and (text := _plain(message.get("content", message.get("parts")))):
            return _encodable("the last message of the user", text)
    raise unusable("no message of the user holds text")


def unusable(why: str) -> Refused:
    """Return the refusal of a body that cannot be used."""
    return Refused(400, "bad_request", f"unable to read the body; {why}")


def _plain(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = (part.get("text") for part in parts if isinstance(part, dict) and part.get("type") in _TEXT_PARTS)
    return "".join(text for text in texts if isinstance(text, str))


def _encodable(name: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as exc:
        raise unusable(f"{name} holds half a surrogate pair") from exc
    return value


def _pace(said: Mapping[str, Any], plain: Pace) -> Pace:
    figures = (plain.tokens, plain.tokens_per_s, plain.first_token_s)
    tokens, tokens_per_s, first_token_s = (
        said.get(name, figure) for name, figure in zip(_PACE_NAMES, figures, strict=True)
    )
    try:
        return Pace(tokens, tokens_per_s, first_token_s)
    except ValueError as exc:
        raise unusable(str(exc)) from exc
