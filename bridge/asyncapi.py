"""The events of a device as an AsyncAPI 3.0 document: over Socket.IO, and as frames of a plain WebSocket.

It is said from the bridge's side: it receives what devices ask, and sends what a room hears. ``x-ack`` is
what an event is acknowledged with.
"""

from typing import Any

from bridge import __version__
from bridge.contract import ASKED, HEARD, acked, schemas
from bridge.schemas import Schema, ref

_ACK: Schema = {
    "type": "object",
    "properties": {
        "event": {"const": "ack"},
        "ack": ref("Id"),
        "data": {"anyOf": [acked(kind) for kind in sorted({asked.ack for asked in ASKED.values()})]},
    },
    "required": ["event", "ack", "data"],
}


def document() -> dict[str, Any]:
    """Return the AsyncAPI document."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "bridge",
            "version": __version__,
            "description": "The answer of a backend, token by token on every device of a room: its events.",
        },
        "defaultContentType": "application/json",
        "channels": {
            "socketIo": _channel("/socket.io/", "Socket.IO, namespace /; `Auth` is said at connect.", ""),
            "webSocket": _channel("/api/v1/chat/ws", "Frames {event, data, ack?} of a WebSocket.", "frame_"),
        },
        "operations": {**_operations("socketIo", ""), **_operations("webSocket", "frame_")},
        "components": {"messages": {**_events(), **_frames()}, "schemas": schemas()},
    }


def _channel(address: str, description: str, prefix: str) -> dict[str, Any]:
    names = [f"{prefix}{name}" for name in (*_events(), *(_OWN if prefix else ()))]
    messages = {name: {"$ref": f"#/components/messages/{name}"} for name in names}
    return {"address": address, "description": description, "messages": messages}


def _operations(channel: str, prefix: str) -> dict[str, Any]:
    asked = [*ASKED, *(_OWN_ASKED if prefix else ())]
    told = [*HEARD, *(name for name in _OWN if prefix and name not in _OWN_ASKED)]
    return {
        f"{channel}_{action}": {
            "action": action,
            "channel": {"$ref": f"#/channels/{channel}"},
            "messages": [{"$ref": f"#/channels/{channel}/messages/{prefix}{name}"} for name in names],
        }
        for action, names in (("receive", asked), ("send", told))
    }


def _events() -> dict[str, Any]:
    heard = {name: {"name": name, "payload": ref(kind)} for name, kind in HEARD.items()}
    asked = {
        name: {"name": name, "payload": ref(event.data), "x-ack": acked(event.ack)}
        for name, event in ASKED.items()
    }
    return {**asked, **heard}


def _frames() -> dict[str, Any]:
    frames = {name: {**event, "payload": _frame(name, event["payload"])} for name, event in _events().items()}
    return {f"frame_{name}": frame for name, frame in {**frames, **_OWN}.items()}


def _frame(name: str, data: Schema) -> Schema:
    properties: dict[str, Schema] = {"event": {"const": name}, "data": data}
    if name in ASKED or name in _OWN_ASKED:
        properties["ack"] = ref("Id")
    return {"type": "object", "properties": properties, "required": ["event", "data"]}


_OWN_ASKED = ("auth",)
_OWN: dict[str, Any] = {
    "auth": {"name": "auth", "payload": _frame("auth", ref("Auth")), "x-ack": acked("Done")},
    "ack": {"name": "ack", "payload": _ACK},
    "error": {"name": "error", "payload": _frame("error", ref("WireError"))},
    "ping": {"name": "ping", "payload": _frame("ping", {"type": "object"})},
}
"""What only frames have: who they are, answers, refusals of what asked for no answer, and signs of life."""
