"""Every route of the bridge's own HTTP surface as data: what it takes, what it answers, how it refuses."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bridge.contract import acked
from bridge.errors import RequestCode
from bridge.http_bodies import (
    ALERTS,
    ALIVE,
    ASK,
    COMPLETE,
    EDIT,
    FLAG,
    POSTED,
    PULLED,
    READY,
    REMOVAL,
    STOPPED,
    UNDER_WAY,
    USE_CHAT,
)
from bridge.requests import WAIT_LIMIT_S
from bridge.schemas import Schema, ref

_GATE: tuple[RequestCode, ...] = (
    "bad_origin",
    "unauthorized",
    "token_expired",
    "auth_unavailable",
    "rate_limited",
    "too_many_connections",
)
_ROOM: tuple[RequestCode, ...] = (*_GATE, "bad_id", "not_a_member", "membership_unknown", "too_many_rooms")
_BODY: tuple[RequestCode, ...] = (
    "not_an_object",
    "missing_field",
    "bad_field",
    "bad_text",
    "bad_type",
    "empty_content",
    "content_too_large",
    "binary_refused",
)
_SEND: tuple[RequestCode, ...] = (*_ROOM, *_BODY, "busy", "draining", "request_id_conflict")
_OPERATOR: Mapping[int, str] = {401: "The token is wrong or missing.", 403: "BRIDGE_ADMIN_TOKEN is not set."}
_TAKEN: Mapping[int, str] = {
    400: "It cannot be read, or not be done.",
    408: "The body is late.",
    413: "The body is too large.",
    415: "Not application/json.",
    503: "The store does not answer.",
}
_FAILED: Mapping[int, str] = {502: "The backend failed.", 504: "The backend took too long."}
_DEVICE: list[dict[str, list[str]]] = [{}, {"device": []}]
_BEARER: list[dict[str, list[str]]] = [{"operator": []}]
JSON, EVENTS = "application/json", "text/event-stream"


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path: what it takes, what it answers, and the codes it may refuse with."""

    method: str
    path: str
    summary: str
    tag: str
    answers: Mapping[int, tuple[str, str, Schema]] = field(default_factory=dict)
    """Status to description, content type ("" for no body) and schema."""
    body: Schema | None = None
    codes: tuple[RequestCode, ...] = ()
    refusals: Mapping[int, str] = field(default_factory=dict)
    security: list[dict[str, list[str]]] = field(default_factory=list)
    query: Mapping[str, Schema] = field(default_factory=dict)
    headers: Mapping[str, Schema] = field(default_factory=dict)


def _json(said: str, schema: Schema) -> dict[int, tuple[str, str, Schema]]:
    return {200: (said, JSON, schema)}


def _events(said: str) -> dict[int, tuple[str, str, Schema]]:
    return {200: (said, EVENTS, {})}


_STRING: Schema = {"type": "string"}
_UI = "UI message stream v1 of the AI SDK, in server-sent events; the last is [DONE]."
ASKED_BY_PAGES = (
    "/chat/rooms/{roomId}/stream",
    "/chat/events",
    "/stream/",
    "/messages/",
    "/api/chat",
    "/api/chat/{roomId}",
    "/api/chat/{roomId}/stream",
    "/api/chat/{roomId}/stop",
)
OPERATIONS: tuple[Operation, ...] = (
    Operation("get", "/healthz", "The process lives", "operators", _json("It does.", ALIVE)),
    Operation(
        "get",
        "/readyz",
        "It takes new devices and hears the other nodes",
        "operators",
        {**_json("It is ready.", READY), 503: ("It is not; why.", JSON, READY)},
    ),
    Operation(
        "get",
        "/metrics",
        "The figures of this process, in Prometheus' text format",
        "operators",
        {200: ("The figures.", "text/plain", _STRING)},
        refusals={401: _OPERATOR[401]},
        security=[{}, *_BEARER],
    ),
    Operation(
        "get",
        "/admin/flag",
        "The flag, and its latest changes",
        "operators",
        _json("The flag.", FLAG),
        refusals={**_OPERATOR, 503: _TAKEN[503]},
        security=_BEARER,
    ),
    Operation(
        "put",
        "/admin/flag",
        "Change the flag; what is not named stays as it is",
        "operators",
        _json("The flag as it is now.", FLAG),
        EDIT,
        refusals={**_OPERATOR, **_TAKEN},
        security=_BEARER,
    ),
    Operation(
        "post",
        "/admin/alerts",
        "What Alertmanager's webhook says; alerts of BRIDGE_GUARD_ALERTS that fire turn streaming off",
        "operators",
        _json("Which of them fire, and whether the flag was pulled.", PULLED),
        ALERTS,
        refusals={**_OPERATOR, **_TAKEN, 409: "The flag is decided elsewhere."},
        security=_BEARER,
    ),
    Operation(
        "post",
        "/admin/removals",
        "A user is no member of a room any more: its devices are out of it at once, on all nodes",
        "operators",
        _json("They are.", acked("Done")),
        REMOVAL,
        refusals={**_OPERATOR, **_TAKEN},
        security=_BEARER,
    ),
    Operation(
        "get",
        "/api/v1/chat/ws",
        "Plain WebSocket; see the AsyncAPI document",
        "devices",
        {101: ("Frames both ways from here on.", "", {})},
        codes=_GATE,
        refusals={426: "It is no WebSocket handshake."},
        security=_DEVICE,
    ),
    Operation(
        "get",
        "/chat/rooms/{roomId}/stream",
        "An EventSource of the room: one event per message, under its Socket.IO name",
        "devices",
        _events("Events with ids; `event: error` tells what is lost."),
        codes=(*_ROOM, "bad_auth"),
        security=_DEVICE,
        query={
            "streaming": {"enum": ["", "true", "false"]},
            "access_token": _STRING,
            "lastEventId": _STRING,
        },
        headers={"Last-Event-ID": {"type": "string", "description": "How far it has heard."}},
    ),
    Operation(
        "post",
        "/chat/events",
        "What a device says that hears over an EventSource: a send or a stop",
        "devices",
        _json("The ack.", {"anyOf": [acked("SendAck"), acked("Done")]}),
        POSTED,
        codes=(*_SEND, "unknown_event", "unknown_message", "not_joined", "internal"),
        security=_DEVICE,
    ),
    Operation(
        "post",
        "/stream/",
        "Ask, and hear the answer as it grows; 404 while streaming is off",
        "one question",
        _events(
            "`{role, delta}`, the user's own text first; the last is [DONE]. `event: error` tells why not."
        ),
        ASK,
        codes=(*_SEND, "streaming_off"),
        security=_DEVICE,
    ),
    Operation(
        "post",
        "/messages/",
        "Ask, and get the complete answer; always works",
        "one question",
        _json("The complete message.", COMPLETE),
        ASK,
        codes=_SEND,
        refusals=_FAILED,
        security=_DEVICE,
    ),
    *(
        Operation("post", path, said, "AI SDK", _events(_UI), USE_CHAT, codes=_SEND, security=_DEVICE)
        for path, said in (
            ("/api/chat", "Ask in a conversation, a new one where it has no id"),
            ("/api/chat/{roomId}", "Ask in this conversation"),
        )
    ),
    Operation(
        "get",
        "/api/chat/{roomId}/stream",
        "Go on with the answer that runs, from its start",
        "AI SDK",
        {**_events(_UI), 204: ("Nothing runs, and nothing began within wait_s.", "", {})},
        codes=(*_ROOM, "bad_field"),
        security=_DEVICE,
        query={"wait_s": {"type": "number", "minimum": 0, "maximum": WAIT_LIMIT_S, "default": 0}},
    ),
    Operation(
        "post",
        "/api/chat/{roomId}/stop",
        "End what runs",
        "AI SDK",
        _json("The requests that were stopped.", STOPPED),
        codes=(*_ROOM, "unknown_message", "not_joined"),
        security=_DEVICE,
    ),
    *(
        Operation(
            "options",
            path,
            "May a page of another site ask",
            "pages of other sites",
            {204: ("It may.", "", {})},
            codes=("bad_origin",),
        )
        for path in ASKED_BY_PAGES
    ),
    Operation(
        "post",
        "/chat/messages",
        "In the backend's place: the room hears the answer grow, the chat-server gets it complete",
        "drop-in",
        {200: ("What the backend would answer; whatever it answers, where the turn is not ours.", JSON, {})},
        ref("Send"),
        refusals={404: "The drop-in is off.", **_FAILED},
    ),
    Operation(
        "get",
        "/chat/rooms/{roomId}/active",
        "What a device must hear that joins now",
        "drop-in",
        _json("Events, in order.", UNDER_WAY),
        refusals={400: "No room can be named so."},
    ),
)
"""Every route but those of Socket.IO, of the demo's page, and the drop-in's way to the backend."""
