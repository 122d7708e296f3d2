"""What the Socket.IO server of one node wants of those of the others: as JSON text, and back.

Bytes in an event are carried beside it, as python-socketio takes them out of a packet and puts them back.
What comes from a store was written by whoever may write there: it is checked here and never executed.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from bridge.errors import OrderUnusable
from bridge.identity import Removal

ORDER_LIMIT_BYTES = 256 * 1024
"""A longer order is refused: every other node has to hold it."""

Room = str | int
"""The name of a Socket.IO room, or a sid, which is the room of one client."""


@dataclass(frozen=True, slots=True)
class Carried:
    """JSON values, and the bytes that were taken out of them."""

    values: list[Any]
    attachments: Sequence[bytes] = ()


@dataclass(frozen=True, slots=True)
class Emit:
    """Emit an event, its name and its arguments, to the clients of ``rooms`` (None: to all) but to ``skip``.

    ``number`` names the callback that waits for a client's answer, None where none does.
    """

    namespace: str
    event: Carried
    rooms: list[Room] | None
    skip: list[str]
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """Call the callback ``number`` with what a client answered."""

    number: int
    arguments: Carried


@dataclass(frozen=True, slots=True)
class EnterRoom:
    """Let a client into a room."""

    namespace: str
    sid: str
    room: Room


@dataclass(frozen=True, slots=True)
class LeaveRoom:
    """Let a client out of a room."""

    namespace: str
    sid: str
    room: Room


@dataclass(frozen=True, slots=True)
class CloseRoom:
    """Let all clients out of a room."""

    namespace: str
    room: Room


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Disconnect a client."""

    namespace: str
    sid: str


@dataclass(frozen=True, slots=True)
class RemoveMember:
    """Let every device of a user out of a room, and ask anew before it comes in again."""

    removal: Removal


Moved = EnterRoom | LeaveRoom | CloseRoom | Disconnect
Order = Emit | Answer | RemoveMember | Moved


def whole(carried: Carried) -> list[Any]:
    """Return the values with the bytes in their places. Raises `IndexError` where there are too few."""
    values: list[Any] = (
        _filled(carried.values, carried.attachments) if carried.attachments else carried.values
    )
    return values


def encode(order: Order) -> str:
    """Return ``order`` as ASCII. Raises `OrderUnusable` where it holds what JSON cannot, or too much."""
    try:
        text = json.dumps(_fields(order), separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as exc:
        why = "it holds what is neither JSON nor bytes"
        raise OrderUnusable(f"unable to tell other nodes; {why}") from exc
    if len(text) > ORDER_LIMIT_BYTES:
        raise OrderUnusable(f"unable to tell other nodes; it is longer than {ORDER_LIMIT_BYTES} bytes")
    return text


def decode(text: str) -> Order:
    """Return the order that `encode` wrote. Raises ValueError where ``text`` is none of its."""
    try:
        return _order(json.loads(text))
    except RecursionError as exc:
        raise ValueError("unable to read an order; it is too deep") from exc


def _filled(value: Any, attachments: Sequence[bytes]) -> Any:
    match value:
        case {"_placeholder": True, "num": int(number)}:
            return attachments[number]
        case dict():
            return {name: _filled(each, attachments) for name, each in value.items()}
        case list():
            return [_filled(each, attachments) for each in value]
        case _:
            return value


def _fields(order: Order) -> list[Any]:
    match order:
        case Emit(namespace, event, rooms, skip, number):
            return ["emit", namespace, _packed(event), rooms, skip, number]
        case Answer(number, arguments):
            return ["answer", number, _packed(arguments)]
        case RemoveMember(removal):
            return ["remove", removal.user, removal.room_id, removal.at_s]
        case _:
            return _fields_of_move(order)


def _fields_of_move(order: Moved) -> list[Any]:
    match order:
        case EnterRoom(namespace, sid, room):
            return ["enter", namespace, sid, room]
        case LeaveRoom(namespace, sid, room):
            return ["leave", namespace, sid, room]
        case CloseRoom(namespace, room):
            return ["close", namespace, room]
        case Disconnect(namespace, sid):
            return ["disconnect", namespace, sid]
        case _:
            assert_never(order)


def _order(fields: Any) -> Order:
    match fields:
        case ["emit", str(namespace), event, list() | None as rooms, list(skip), int() | None as number]:
            return Emit(namespace, _event(event), _rooms(rooms), skip, number)
        case ["answer", int(number), arguments]:
            return Answer(number, _carried(arguments))
        case ["remove", str(user), room, float() | int() as at_s]:
            return RemoveMember(Removal(user, _room(room), at_s))
    return _move(fields)


def _move(fields: Any) -> Moved:
    match fields:
        case ["enter", str(namespace), str(sid), room]:
            return EnterRoom(namespace, sid, _room(room))
        case ["leave", str(namespace), str(sid), room]:
            return LeaveRoom(namespace, sid, _room(room))
        case ["close", str(namespace), room]:
            return CloseRoom(namespace, _room(room))
        case ["disconnect", str(namespace), str(sid)]:
            return Disconnect(namespace, sid)
    raise ValueError("unable to read an order; it is of another make")


def _packed(carried: Carried) -> list[Any]:
    return [carried.values, *(b64encode(each).decode() for each in carried.attachments)]


def _carried(packed: Any) -> Carried:
    match packed:
        case [list(values), *attachments] if all(isinstance(each, str) for each in attachments):
            return Carried(values, [b64decode(each, validate=True) for each in attachments])
    raise ValueError("unable to read an order; its values are of another make")


def _event(packed: Any) -> Carried:
    event = _carried(packed)
    if not event.values:
        raise ValueError("unable to read an order; its event has no name")
    return event


def _rooms(values: list[Any] | None) -> list[Room] | None:
    if values == []:
        raise ValueError("unable to read an order; it is for nobody")
    return None if values is None else [_room(each) for each in values]


def _room(value: Any) -> Room:
    if isinstance(value, str | int):
        return value
    raise ValueError("unable to read an order; a room is a text or an integer")
