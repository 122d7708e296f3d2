"""What the APIs of OpenAI share: who may call, what a call must hold, and how a refusal is told."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from backend_stub import model
from backend_stub.asks import text_of
from backend_stub.errors import Refused
from backend_stub.messages import Id
from backend_stub.pieces import Piece, Text, ToolCalled
from backend_stub.tools import ToolUse
from backend_stub.wires.base import Json

ROOM = "v1"
"""The room of every call to an API that knows no rooms."""

_TYPES = {429: "requests"}
_CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded", 500: "server_error", 503: "server_error"}
_TOOL_RESULTS = frozenset({"tool", "function_call_output"})
_OWN_CODES = frozenset({"model_not_found"})
_INVALID = 400
_FAILED = 500


def require_bearer(headers: Mapping[str, str]) -> None:
    """Raise `Refused` unless ``headers`` hold a bearer token; any will do."""
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Refused(401, "unauthorized", "unable to take the call; it has no API key as a bearer token")


def model_of(said: Mapping[str, Any]) -> str:
    """Return the model that a body asks for; raise `Refused` when it names none."""
    name = text_of(said, "model")
    if not name:
        raise Refused(400, "bad_request", "unable to read the body; model is empty")
    return name


def tool_use_of(messages: Sequence[Mapping[str, Any]]) -> ToolUse:
    """Return what the turn does with tools: it calls none once the caller brings a result."""
    last = messages[-1]
    brought = last.get("role") in _TOOL_RESULTS or last.get("type") in _TOOL_RESULTS
    return "none" if brought else "call"


def seconds_of(created_at: str) -> int:
    """Return an ISO time as whole seconds since 1970."""
    return int(datetime.fromisoformat(created_at).timestamp())


def named(prefix: str, message_id: Id) -> str:
    """Return the name of a part of the message ``message_id``, always the same."""
    return prefix + hashlib.sha256(str(message_id).encode()).hexdigest()[:32]


def counts(content: str, pieces: Sequence[Piece]) -> tuple[int, int]:
    """Return the tokens of the prompt and those of the answer."""
    made = sum((isinstance(piece, Text) and piece.last) or isinstance(piece, ToolCalled) for piece in pieces)
    return len(model.split(content)), made


def error_of(status: int, message: str, code: str | None = None) -> Json:
    """Return the error object of these APIs."""
    usual = "server_error" if status >= _FAILED else "invalid_request_error"
    kind = _TYPES.get(status, usual)
    return {"message": message, "type": kind, "param": None, "code": code or _CODES.get(status)}


def refusal(status: int, code: str, message: str) -> Json:
    """Return the JSON of a call that failed."""
    # an error that comes with a status of success is a failure all the same
    failed = status if status >= _INVALID else _FAILED
    return {"error": error_of(failed, message, code if code in _OWN_CODES else None)}
