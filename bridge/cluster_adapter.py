"""What servers with ``createShardedAdapter`` and @socket.io/redis-streams-adapter say to each other.

Both build on one adapter and differ in how a message travels: here is the message. Values in, values out;
what comes from there becomes a value of ours or `ClusterMalformed`.

Source: dist/cluster-adapter.js of socket.io-adapter 2.5.8; @socket.io/redis-adapter 8.3.0,
@socket.io/redis-streams-adapter 0.3.1.
"""

from base64 import b64encode
from typing import Any, assert_never

from bridge.errors import ClusterMalformed
from bridge.javascript import as_json, packed
from bridge.node_cluster import (
    NAMESPACE,
    UID,
    Disconnect,
    Emit,
    EmitWithAck,
    Join,
    Leave,
    Move,
    opts_of,
    packet_of,
)


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
