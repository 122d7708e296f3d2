"""What the bridge asks and orders of Node servers with ``@socket.io/redis-adapter``.

Values in, bytes out, as in `bridge.node_cluster`: whole, or `ClusterMalformed`. A request is said in JSON
wherever that can hold it: servers older than 7.2 read nothing else, and some end when they cannot.
"""

from typing import Any, assert_never

from bridge.errors import ClusterMalformed
from bridge.javascript import as_json_or_packed
from bridge.node_cluster import (
    Asking,
    Disconnect,
    EmitWithAck,
    Join,
    Leave,
    Move,
    Request,
    ServerSideEmit,
    WantRooms,
    WantSockets,
    opts_of,
    packet_of,
)

RESERVED = frozenset({"connect", "connection", "new_namespace", "error"})
"""What Node servers say to themselves, and would take from others as said so."""


def callback_id(uid: str, number: int) -> str:
    """Return the request id under which the acks for a callback of the node ``uid`` come."""
    return f"{uid}:{number}"


def number_in(uid: str, request_id: str) -> int | None:
    """Return the number of the callback, None where the request is none of the node ``uid``."""
    number = request_id.rpartition(":")[2]
    known = number.isascii() and number.isdecimal() and request_id == callback_id(uid, int(number))
    return int(number) if known else None


def say(asking: Asking, request: Request) -> bytes:
    """Return a request as it is published. Raises `ClusterMalformed` where it cannot be said."""
    named = {"requestId": asking.request_id} if asking.request_id else {}
    return as_json_or_packed({"uid": asking.uid, **named, **_fields(request)})


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
