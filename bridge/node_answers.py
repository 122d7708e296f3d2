"""What servers of a cluster answer each other, as values; and as bytes among those of `bridge.node_cluster`.

What comes from there becomes a value of ours or `ClusterMalformed`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, assert_never

from bridge.errors import ClusterMalformed
from bridge.javascript import as_json, from_json, packed, unpacked
from bridge.node_cluster import Room, same_room

NO_HANDSHAKE = {
    "headers": {},
    "time": "",
    "address": "",
    "xdomain": False,
    "secure": False,
    "issued": 0,
    "url": "",
    "query": {},
    "auth": {},
}
"""What is told of how a client of ours connected: nothing, it may hold secrets."""


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


@dataclass(frozen=True, slots=True)
class Ids:
    """The ids of one server's sockets."""

    sids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """What was wanted of one socket was done."""


Answer = Found | Named | Said | Counted | Acked
Reply = Answer | Ids | Done
"""What we answer; of that we ask for `Answer` alone."""


def reply(request_id: str, said: Reply) -> bytes:
    """Return what answers a request, as it is published. Raises `ClusterMalformed`."""
    if isinstance(said, Acked):
        return packed({"requestId": request_id, "type": 9, "packet": first(said)})
    return as_json({"requestId": request_id, **_replied(said)})


def first(acked: Acked) -> Any:
    """Return the one argument of an ack that travels, None where there is none."""
    return acked.arguments[0] if acked.arguments else None


def described(socket: Socket) -> dict[str, Any]:
    """Return a client of ours as Node servers know theirs."""
    rooms = [*socket.rooms]
    return {"id": socket.sid, "handshake": NO_HANDSHAKE, "rooms": rooms, "data": socket.data}


def _replied(said: Found | Named | Said | Counted | Ids | Done) -> dict[str, Any]:
    match said:
        case Found(sockets):
            return {"sockets": [described(each) for each in sockets]}
        case Ids(sids):
            return {"sockets": [*sids]}
        case Named(rooms):
            return {"rooms": [*rooms]}
        case Said(data):
            return {"type": 6, "data": data}
        case Counted(clients):
            return {"type": 8, "clientCount": clients}
        case Done():
            return {}
        case _:
            assert_never(said)


def read_answer(data: bytes) -> tuple[str, Answer] | None:
    """Return which request is answered, and how; None for what is no answer to one of ours.

    Raises `ClusterMalformed`.
    """
    match from_json(data) if data.startswith(b"{") else unpacked(data):
        case {"requestId": str(request_id), **said}:
            answer = _answer(said)
            return None if answer is None else (request_id, answer)
    raise ClusterMalformed("unable to read an answer; it is of another shape")


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
