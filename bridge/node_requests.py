"""What the bridge asks and orders of Node servers with ``@socket.io/redis-adapter``, and what they answer.

Values in, bytes out, and back, as in `bridge.node_cluster`: whole, or `ClusterMalformed`. A request is said
in JSON wherever that can hold it: servers older than 7.2 read nothing else, and some end when they cannot.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, assert_never

from bridge.errors import ClusterMalformed
from bridge.javascript import as_json_or_packed, from_json, unpacked
from bridge.node_cluster import (
    Asking,
    Disconnect,
    EmitWithAck,
    Join,
    Leave,
    Move,
    Request,
    Room,
    ServerSideEmit,
    WantRooms,
    WantSockets,
    opts_of,
    packet_of,
    same_room,
)

RESERVED = frozenset({"connect", "connection", "new_namespace", "error"})
"""What Node servers say to themselves, and would take from others as said so."""


@dataclass(frozen=True, slots=True)
class Socket:
    """A client of any server: its id, the rooms it is in, and what its server keeps with it."""

    sid: str
    rooms: tuple[Room, ...]
    data: Any


@dataclass(frozen=True, slots=True)
class Found:
    """The sockets of one server."""

    sockets: tuple[Socket, ...]


@dataclass(frozen=True, slots=True)
class Named:
    """The rooms of one server."""

    rooms: tuple[Room, ...]


@dataclass(frozen=True, slots=True)
class Said:
    """What one server says to a `ServerSideEmit`."""

    data: Any


@dataclass(frozen=True, slots=True)
class Counted:
    """So many clients of one server are to acknowledge an event."""

    clients: int


@dataclass(frozen=True, slots=True)
class Acked:
    """What one client acknowledged with: one argument, or none."""

    arguments: tuple[Any, ...]


Answer = Found | Named | Said | Counted | Acked


def callback_id(uid: str, number: int) -> str:
    """Return the request id under which the acks for a callback of the node ``uid`` come."""
    return f"{uid}:{number}"


def say(asking: Asking, request: Request) -> bytes:
    """Return a request as it is published. Raises `ClusterMalformed` where it cannot be said."""
    named = {"requestId": asking.request_id} if asking.request_id else {}
    return as_json_or_packed({"uid": asking.uid, **named, **_fields(request)})


def read_answer(data: bytes) -> tuple[str, Answer] | None:
    """Return which request is answered, and how; None for what is no answer to one of ours.

    Raises `ClusterMalformed`.
    """
    match from_json(data) if data.startswith(b"{") else unpacked(data):
        case {"requestId": str(request_id), **said}:
            answer = _answer(said)
            return None if answer is None else (request_id, answer)
    raise ClusterMalformed("unable to read an answer; it is of another shape")


def _fields(request: Request) -> dict[str, Any]:
    match request:
        case WantSockets(to, whole):
            return {"type": 5, "opts": opts_of(to)} if whole else {"type": 0, "rooms": [*to.rooms]}
        case WantRooms():
            return {"type": 1}
        case Join() | Leave() | Disconnect():
            return _moved(request)
        case ServerSideEmit(said):
            return {"type": 6, "data": _for_servers(said)}
        case EmitWithAck(emit, timeout_s):
            flags = {"timeout": round(timeout_s * 1000)}
            event = packet_of(emit.event, emit.arguments)
            return {"type": 7, "packet": event, "opts": {**opts_of(emit.to), "flags": flags}}
        case _:
            assert_never(request)


def _moved(request: Move) -> dict[str, Any]:
    match request:
        case Join(to, rooms):
            return {"type": 2, "opts": opts_of(to), "rooms": [*rooms]}
        case Leave(to, rooms):
            return {"type": 3, "opts": opts_of(to), "rooms": [*rooms]}
        case Disconnect(to):
            return {"type": 4, "opts": opts_of(to), "close": False}
        case _:
            assert_never(request)


def _for_servers(said: tuple[Any, ...]) -> list[Any]:
    match said:
        case [str(event), *_] if event not in RESERVED:
            return [*said]
    raise ClusterMalformed("unable to say it to servers; the event has no name, or one that is theirs")


def _answer(said: dict[Any, Any]) -> Answer | None:
    match said:
        case {"type": 6}:
            return Said(said.get("data"))
        case {"type": 8, "clientCount": int(clients)} if clients >= 0:
            return Counted(clients)
        case {"type": 9}:
            return Acked((said["packet"],) if "packet" in said else ())
        case {"sockets": list(sockets)}:
            return Found(tuple(_sockets(sockets)))
        case {"rooms": list(rooms)}:
            return Named(_rooms(rooms))
    return None


def _sockets(found: list[Any]) -> Iterable[Socket]:
    for each in found:
        match each:
            case {"id": str(sid), "rooms": list(rooms)}:
                yield Socket(sid, _rooms(rooms), each.get("data"))


def _rooms(named: list[Any]) -> tuple[Room, ...]:
    return tuple(room for each in named if (room := same_room(each)) is not None)
