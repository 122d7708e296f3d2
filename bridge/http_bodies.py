"""The bodies that only HTTP has, as JSON Schema: what operators and chat-servers say and hear."""

from collections.abc import Mapping

from bridge.alerts import ALERTS_LIMIT
from bridge.changes import WHY_LENGTH
from bridge.contract import ASKED, HEARD, TEXT
from bridge.identity import USER_LIMIT_CHARS
from bridge.rollout import NAME_LENGTH, PERCENTAGES
from bridge.schemas import NULL, Schema, ref


def _object(required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> Schema:
    properties = {**required, **(optional or {})}
    return {"type": "object", "properties": properties, "required": list(required)}


def _list(items: Schema, **more: int) -> Schema:
    return {"type": "array", "items": items, **more}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, NULL]}


_BOOLEAN: Schema = {"type": "boolean"}
_STRING: Schema = {"type": "string"}
_VALUE: Schema = {
    "description": "off, on, or the percentage of rooms that stream.",
    "anyOf": [
        {"enum": ["off", "on"]},
        {"type": "integer", "minimum": PERCENTAGES.start, "maximum": PERCENTAGES.stop - 1},
    ],
}
_LINE: Schema = {"description": "One line.", "type": "string", "maxLength": WHY_LENGTH}
_NAME: Schema = {"description": "One line.", "type": "string", "maxLength": NAME_LENGTH}
_ROLLOUT: Mapping[str, Schema] = {"value": _VALUE, "allow": ref("Listed"), "deny": ref("Listed")}
_CHANGE = _object(
    {"version": _STRING, "when": _STRING, "who": _STRING, "why": _STRING, **_ROLLOUT}
    | {"from": _object(_ROLLOUT)}
)
_SOMEBODY: Schema = {
    "type": "object",
    "anyOf": [{"required": [name], "properties": {name: {"minItems": 1}}} for name in ("rooms", "users")],
}
_LISTS = {name: _or_null(ref("Listed")) for name in ("allow", "deny", "forget")}

ALIVE: Schema = _object({"ok": {"const": True}})
READY: Schema = _object(
    {"ready": _BOOLEAN, "reasons": _list({"enum": ["draining", "store", "inbox", "backend"]})}
)
STOPPED: Schema = _object({"ok": {"const": True}, "stopped": _list(ref("Id"))})
FLAG: Schema = _object({**_ROLLOUT, "source": _STRING, "default": _VALUE, "history": _list(_CHANGE)})
EDIT: Schema = {
    **_object({}, {"value": _VALUE, **_LISTS, "at": _NAME, "who": _NAME, "why": _LINE}),
    "anyOf": [
        {"required": ["value"]},
        *({"required": [name], "properties": {name: _SOMEBODY}} for name in _LISTS),
    ],
}
_ALERT = _object({"labels": _object({"alertname": _NAME})}, {"status": {}, "startsAt": {}})
ALERTS: Schema = _object({"alerts": _list(_ALERT, maxItems=ALERTS_LIMIT)})
PULLED: Schema = _object({"firing": _list(_STRING), "pulled": _BOOLEAN})
REMOVAL: Schema = _object(
    {
        "roomId": ref("Id"),
        "user": {"type": "string", "minLength": 1, "maxLength": USER_LIMIT_CHARS},
    }
)
POSTED: Schema = {
    "description": "An event of the contract, and its data.",
    "anyOf": [
        _object({"event": {"const": event}, "data": ref(ASKED[event].data)})
        for event in ("send_message", "stop_message")
    ],
}
ASK: Schema = {
    "description": "A room is named chat_id or roomId, a request request_id or requestId.",
    **_object({"content": TEXT}, {name: ref("Id") for name in ("chat_id", "roomId")}),
    "oneOf": [{"required": ["chat_id"]}, {"required": ["roomId"]}],
}
ASK["properties"] |= {name: _or_null(ref("Id")) for name in ("request_id", "requestId")}
COMPLETE: Schema = {
    **_object(
        {
            "id": ref("Id"),
            "messageId": ref("Id"),
            "requestId": ref("Id"),
            "roomId": ref("Id"),
            "content": _STRING,
            "finishReason": ref("FinishReason"),
        }
    ),
    "additionalProperties": True,
}
USE_CHAT: Schema = {
    "description": "What useChat posts: of its messages the last of the user is asked.",
    **_object(
        {
            "messages": _list(
                _object(
                    {
                        "role": {"const": "user"},
                        "parts": _list(_object({"type": {"const": "text"}, "text": TEXT}), minItems=1),
                    },
                    {"id": _STRING},
                ),
                minItems=1,
            )
        },
        {
            "id": _or_null(ref("Id")),
            "trigger": {"description": "submit-message: a repeated id is no new request."},
        },
    ),
}
UNDER_WAY: Schema = _list(
    {
        "anyOf": [
            _object({"event": {"const": event}, "data": ref(kind)})
            for event, kind in HEARD.items()
            if event != "access_ended"
        ]
    }
)
