"""What a caller asks for: the body of a POST, checked."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backend_stub.errors import Refused
from backend_stub.messages import Id
from backend_stub.model import Pace

_ID_CHARS = 200
_ID_JSON_CHARS = 255  # as wide as the columns of the history
_PACE_NAMES = ("tokens", "tokensPerSecond", "firstTokenSeconds")


@dataclass(frozen=True, slots=True)
class Ask:
    """One request for an answer; ``message_id`` is the name the answer shall get."""

    room_id: Id
    request_id: Id
    message_id: Id
    content: str
    pace: Pace
    fault: str | None

    @property
    def key(self) -> tuple[str, str]:
        """What makes two calls the same request; 42 and "42" are two rooms."""
        return (json.dumps(self.room_id), json.dumps(self.request_id))


def read_ask(body: bytes, header_key: str | None, plain: Pace) -> Ask:
    """Return what ``body`` asks; ``header_key`` names the request if the body does not.

    Raises `Refused` when the body cannot be used.
    """
    said = _object(body)
    room_id = _id(said, "roomId")
    if room_id is None:
        raise _bad("roomId is missing")
    return Ask(
        room_id=room_id,
        request_id=_first(_id(said, "requestId"), _id({"Idempotency-Key": header_key}, "Idempotency-Key")),
        message_id=_first(_id(said, "messageId")),
        content=_text(said, "content"),
        pace=_pace(said, plain),
        fault=_text(said, "fault") if said.get("fault") is not None else None,
    )


def _object(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise _bad("it is no JSON") from exc
    if not isinstance(said, dict):
        raise _bad("it is no JSON object")
    return said


def _first(*given: Id | None) -> Id:
    return next((name for name in given if name is not None), str(uuid.uuid4()))


def _id(said: Mapping[str, Any], name: str) -> Id | None:
    value = said.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, int | str) or isinstance(value, bool):
        raise _bad(f"{name} must be a string or a whole number")
    if isinstance(value, str):
        _encodable(name, value)
    if len(str(value)) > _ID_CHARS or len(json.dumps(value, ensure_ascii=False)) > _ID_JSON_CHARS:
        raise _bad(f"{name} is over {_ID_CHARS} characters")
    return value


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    if not isinstance(value, str):
        raise _bad(f"{name} must be a string")
    return _encodable(name, value)


def _encodable(name: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as exc:
        raise _bad(f"{name} holds half a surrogate pair") from exc
    return value


def _pace(said: Mapping[str, Any], plain: Pace) -> Pace:
    figures = (plain.tokens, plain.tokens_per_s, plain.first_token_s)
    tokens, tokens_per_s, first_token_s = (
        said.get(name, figure) for name, figure in zip(_PACE_NAMES, figures, strict=True)
    )
    try:
        return Pace(tokens, tokens_per_s, first_token_s)
    except ValueError as exc:
        raise _bad(str(exc)) from exc


def _bad(why: str) -> Refused:
    return Refused(400, "bad_request", f"unable to read the body; {why}")
