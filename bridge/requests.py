"""What a device may ask: JSON from the wire, checked and made a value, or refused with a code.

Every door uses these, so that what is bad behind one door is bad behind all.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from bridge.errors import RequestCode, RequestError
from bridge.events import Id, valid_id

RESUMES_PER_JOIN = 32
DEPTH_LIMIT = 64
EXTRA_LIMIT_BYTES = 65536
MAX_DIGITS = 20
"""Of a 64-bit integer with its sign."""
WAIT_LIMIT_S = 25
"""So long a request may wait for its answer: many proxies give up what is silent for half a minute."""

_SEND_FIELDS = frozenset({"roomId", "content", "requestId"})


@dataclass(frozen=True, slots=True)
class Join:
    """Enter a room; ``resume`` is the last seq the device has of each unfinished message."""

    room_id: Id
    resume: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Leave:
    """Leave a room."""

    room_id: Id


@dataclass(frozen=True, slots=True)
class Send:
    """Ask the backend; ``extra`` is what else was sent, passed on as it came.

    A server that asks in the place of its clients may name the answer, add ``headers`` of its own to the
    backend's calls, and announce the complete messages itself.
    """

    room_id: Id
    content: str
    request_id: Id | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    message_id: Id | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    announced_elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class Stop:
    """End a running turn, named by its answer or by its request."""

    room_id: Id
    message_id: Id | None
    request_id: Id | None


@dataclass(frozen=True, slots=True)
class Resume:
    """Ask for what follows ``seq`` in one message."""

    room_id: Id
    message_id: Id
    seq: int


def check_values(values: Iterable[object]) -> None:
    """Refuse what no event may hold: bytes, and values too deep for whoever reads them next.

    Raises `RequestError`.
    """
    level: list[object] = list(values)
    for _ in range(DEPTH_LIMIT):
        if any(isinstance(each, bytes | bytearray) for each in level):
            _refuse("binary_refused", "it holds binary data")
        level = [inner for each in level for inner in _inner(each)]
        if not level:
            return
    _refuse("bad_field", f"its data is over {DEPTH_LIMIT} deep")


def _inner(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def parse_join(data: object) -> Join:
    """Return the join in ``data``. Raises `RequestError`."""
    wire = _object(data)
    resume = wire.get("resume")
    resume = {} if resume is None else resume
    if not isinstance(resume, dict) or len(resume) > RESUMES_PER_JOIN:
        _refuse("bad_field", f"resume must be an object of at most {RESUMES_PER_JOIN} messages")
    return Join(_id(wire, "roomId"), {_named(name): _seq(seq) for name, seq in resume.items()})


def parse_leave(data: object) -> Leave:
    """Return the leave in ``data``. Raises `RequestError`."""
    return Leave(_id(_object(data), "roomId"))


def parse_send(data: object, *, content_limit_bytes: int) -> Send:
    """Return the send in ``data``. Raises `RequestError`."""
    wire = _object(data)
    room_id = _id(wire, "roomId")
    request_id = None if wire.get("requestId") is None else _id(wire, "requestId")
    content = _content(wire, content_limit_bytes)
    return Send(room_id, content, request_id, _extra(wire))


def parse_stop(data: object) -> Stop:
    """Return the stop in ``data``. Raises `RequestError`."""
    wire = _object(data)
    room_id = _id(wire, "roomId")
    message_id = None if wire.get("messageId") is None else _id(wire, "messageId")
    request_id = None if wire.get("requestId") is None else _id(wire, "requestId")
    if message_id is None and request_id is None:
        _refuse("missing_field", "messageId or requestId is missing")
    return Stop(room_id, message_id, request_id)


def parse_resume(data: object) -> Resume:
    """Return the resume in ``data``. Raises `RequestError`."""
    wire = _object(data)
    if "seq" not in wire:
        _refuse("missing_field", "seq is missing")
    return Resume(_id(wire, "roomId"), _id(wire, "messageId"), _seq(wire["seq"]))


def parse_renew(data: object) -> str:
    """Return the token in ``data``. Raises `RequestError`."""
    token = _object(data).get("token")
    if not isinstance(token, str):
        _refuse("missing_field" if token is None else "bad_field", "token must be a string")
    return token


def parse_wait(told: str) -> float:
    """Return how many seconds somebody waits for an answer to begin. Raises `RequestError`."""
    try:
        wait_s = float(told)
    except ValueError:
        wait_s = math.nan
    if not 0 <= wait_s <= WAIT_LIMIT_S:
        _refuse("bad_field", f"wait_s must be seconds from 0 to {WAIT_LIMIT_S}")
    return wait_s


def rooms_named(text: str) -> list[Id]:
    """Return the rooms that ``text`` in a path can name: 42 and "42" are two. Raises `RequestError`."""
    rooms: list[Id] = [text]
    digits = text.removeprefix("-")
    if len(text) <= MAX_DIGITS and digits.isascii() and digits.isdecimal() and str(int(text)) == text:
        rooms.append(int(text))
    if not all(map(valid_id, rooms)):
        _refuse("bad_id", "the room's name cannot be one")
    return rooms


def _refuse(code: RequestCode, why: str) -> NoReturn:
    raise RequestError(code, f"unable to take the event; {why}")


def _object(data: object) -> dict[str, Any]:
    if not isinstance(data, dict):
        _refuse("not_an_object", "its data is no JSON object")
    return data


def _id(wire: dict[str, Any], name: str) -> Id:
    value = wire.get(name)
    if value is None:
        _refuse("missing_field", f"{name} is missing")
    if not isinstance(value, str | int) or isinstance(value, bool):
        _refuse("bad_field", f"{name} must be a string or an integer")
    if not valid_id(value):
        _refuse("bad_id", f"{name} must be 1-128 of letters, digits, _ . : - or a 64-bit integer")
    return value


def _named(name: object) -> str:
    if not isinstance(name, str) or not valid_id(name):
        _refuse("bad_id", "a messageId in resume is no id")
    return name


def _seq(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**53:
        _refuse("bad_field", "seq must be an integer from 0")
    return value


def _content(wire: dict[str, Any], limit_bytes: int) -> str:
    content = wire.get("content")
    if content is None:
        _refuse("missing_field", "content is missing")
    if not isinstance(content, str):
        _refuse("bad_field", "content must be a string")
    if len(content) > limit_bytes or _utf8_bytes(content) > limit_bytes:
        _refuse("content_too_large", f"content is over {limit_bytes} bytes")
    if not content.strip():
        _refuse("empty_content", "content is empty")
    return content


def _utf8_bytes(text: str) -> int:
    if "\0" in text:
        _refuse("bad_text", "content holds a NUL")
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        _refuse("bad_text", "content holds half a surrogate pair")


def _extra(wire: dict[str, Any]) -> dict[str, Any]:
    extra = {name: value for name, value in wire.items() if name not in _SEND_FIELDS}
    try:
        size_bytes = len(json.dumps(extra, ensure_ascii=False, allow_nan=False).encode())
    except (ValueError, TypeError, RecursionError):
        _refuse("bad_field", "its other fields are no JSON of whole characters")
    if size_bytes > EXTRA_LIMIT_BYTES:
        _refuse("content_too_large", f"its other fields are over {EXTRA_LIMIT_BYTES} bytes")
    return extra
