"""What servers with ``createShardedAdapter`` and @socket.io/redis-streams-adapter say to each other.

Both build on one adapter and differ in how a message travels: here is the message. Values in, values out;
what comes from there becomes a value of ours or `ClusterMalformed`.

Source: dist/cluster-adapter.js of socket.io-adapter 2.5.8; @socket.io/redis-adapter 8.3.0,
@socket.io/redis-streams-adapter 0.3.1.
"""

import binascii
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from typing import Any, assert_never

from bridge.errors import ClusterMalformed
from bridge.javascript import as_json, from_json, packed, unpacked
from bridge.node_answers import Acked, Counted, Found, Reply, Said, described, first
from bridge.node_cluster import (
    NAMESPACE,
    UID,
    Asking,
    Disconnect,
    Emit,
    EmitWithAck,
    Join,
    Leave,
    Move,
    Request,
    ServerSideEmit,
    WantSockets,
    opts_of,
    packet_of,
    read_object,
    read_packet,
    read_rooms,
    read_selection,
    read_timeout_s,
)

# -- what the bridge says


def whole(word: Emit | EmitWithAck | Move, request_id: str) -> dict[str, Any]:
    """Return a message as it travels in one piece."""
    kind, data = said(word, request_id)
    return {"uid": UID, "nsp": NAMESPACE, "type": kind, "data": data}


def said(word: Emit | EmitWithAck | Move, request_id: str) -> tuple[int, dict[str, Any]]:
    """Return the type and the data of a message."""
    match word:
        case Emit():
            return 3, _broadcast(word, {})
        case EmitWithAck(emit, timeout_s):
            return 3, {**_broadcast(emit, {"timeout": round(timeout_s * 1000)}), "requestId": request_id}
        case Join(to, rooms):
            return 4, {"opts": {**opts_of(to), "flags": {}}, "rooms": [*rooms]}
        case Leave(to, rooms):
            return 5, {"opts": {**opts_of(to), "flags": {}}, "rooms": [*rooms]}
        case Disconnect(to):
            return 6, {"opts": {**opts_of(to), "flags": {}}, "close": False}
        case _:
            assert_never(word)


def as_field(data: dict[str, Any]) -> bytes:
    """Return the data of a message as a field of a stream: JSON, and where there are bytes base64."""
    try:
        return as_json(data)
    except ClusterMalformed:
        return b64encode(packed(data))


def _broadcast(emit: Emit, flags: dict[str, Any]) -> dict[str, Any]:
    event = packet_of(emit.event, emit.arguments)
    return {"packet": event, "opts": {**opts_of(emit.to), "flags": flags}}


def reply(request_id: str, said: Reply) -> dict[str, Any]:
    """Return what answers a request. Raises `ClusterMalformed` where these servers ask no such thing."""
    kind, answer = _replied(said)
    return {"uid": UID, "nsp": NAMESPACE, "type": kind, "data": {"requestId": request_id, **answer}}


def _replied(said: Reply) -> tuple[int, dict[str, Any]]:
    match said:
        case Found(sockets):
            return 8, {"sockets": [described(each) for each in sockets]}
        case Said(data):
            return 10, {"packet": data}
        case Counted(clients):
            return 11, {"clientCount": clients}
        case Acked():
            return 12, {"packet": first(said)}
    raise ClusterMalformed("unable to answer; these servers have no word for it")


# -- what these servers say


def in_one_piece(data: bytes) -> Any:
    """Return a message that travelled in one piece. Raises `ClusterMalformed`."""
    return from_json(data) if data.startswith(b"{") else unpacked(data)


def in_fields(fields: Mapping[bytes, bytes]) -> Any:
    """Return a message that travelled as an entry of a stream. Raises `ClusterMalformed`."""
    try:
        data = fields.get(b"data", b"{}")
        found = from_json(data) if data.startswith(b"{") else unpacked(b64decode(data, validate=True))
        head = {name: fields[name.encode()].decode() for name in ("uid", "nsp")}
        return {**head, "type": int(fields[b"type"]), "data": found}
    except (KeyError, ValueError, binascii.Error) as exc:
        raise ClusterMalformed(f"unable to read an entry; {type(exc).__name__}") from exc


def read(message: Any) -> tuple[Asking, Emit | Request | Acked] | None:
    """Return who says what; an ack is one to a callback of ours.

    None for what bridges said, and for what needs nothing done. Raises `ClusterMalformed`.
    """
    match message:
        case {"uid": str(uid), "nsp": str(namespace), "type": int(kind)}:
            read_data = _READ.get(kind)
            if uid == UID or namespace != NAMESPACE or read_data is None:
                return None
            data = read_object(message, "data")
            request_id = data.get("requestId")
            return Asking(uid, request_id if isinstance(request_id, str) else ""), read_data(data)
    raise ClusterMalformed("unable to read a message; it is of another shape")


def _emit(data: dict[str, Any]) -> Emit | EmitWithAck:
    opts = read_object(data, "opts")
    emit = read_packet(read_object(data, "packet"), opts)
    return emit if data.get("requestId") is None else EmitWithAck(emit, read_timeout_s(opts.get("flags")))


_READ: Mapping[int, Callable[[dict[str, Any]], Emit | Request | Acked]] = {
    3: _emit,
    4: lambda data: Join(read_selection(read_object(data, "opts")), read_rooms(data.get("rooms"))),
    5: lambda data: Leave(read_selection(read_object(data, "opts")), read_rooms(data.get("rooms"))),
    6: lambda data: Disconnect(read_selection(read_object(data, "opts"))),
    7: lambda data: WantSockets(read_selection(read_object(data, "opts")), whole=True),
    9: lambda _: ServerSideEmit(),
    12: lambda data: Acked((data["packet"],) if "packet" in data else ()),
}
