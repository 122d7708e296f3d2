"""The contract as types of TypeScript: what stands in ``web/events.d.ts``."""

import json
from collections.abc import Mapping

from bridge.contract import ASKED, HEARD, schemas
from bridge.schemas import Schema

_HEAD = (
    "// The wire contract as types. Written by `python -m bridge documents`; the source are types in Python."
)
_ACK = """\
export type Ack<E extends keyof DeviceEvents> = ({ ok: true } & Acks[E]) | Unacked;
"""
_PLAIN = {"string": "string", "integer": "number", "boolean": "boolean", "null": "null"}


def declarations() -> str:
    """Return the whole file."""
    named = [_declaration(name, schema) for name, schema in schemas().items()]
    events = [
        _events("RoomEvents", HEARD),
        _events("DeviceEvents", {event: asked.data for event, asked in ASKED.items()}),
        _events("Acks", {event: asked.ack for event, asked in ASKED.items()}),
    ]
    return "\n\n".join([_HEAD, *named, *events, _ACK])


def _declaration(name: str, schema: Schema) -> str:
    said = schema.get("description", "")
    return (f"/** {said} */\n" if said else "") + f"export type {name} = {type_of(schema)};"


def _events(name: str, kinds: Mapping[str, str]) -> str:
    fields = "".join(f"  {event}: {kind};\n" for event, kind in kinds.items())
    return f"export interface {name} {{\n{fields}}}"


def type_of(schema: Schema) -> str:
    """Return the type of what ``schema`` describes; patterns and limits have none."""
    match schema:
        case {"$ref": str(path)}:
            kind = path.rpartition("/")[2]
        case {"const": value}:
            kind = json.dumps(value)
        case {"enum": values}:
            kind = " | ".join(map(json.dumps, values))
        case {"type": "array", "items": items}:
            kind = f"{_grouped(type_of(items))}[]"
        case {"type": "object"}:
            kind = _object(schema)
        case {"type": str(plain)}:
            kind = _PLAIN[plain]
        case {"anyOf": kinds}:
            kind = " | ".join(map(type_of, kinds))
        case _:
            kind = "unknown"
    return kind


def _grouped(kind: str) -> str:
    return f"({kind})" if " | " in kind else kind


def _object(schema: Schema) -> str:
    required = schema.get("required", [])
    fields = [
        f"{name}{'' if name in required else '?'}: {type_of(field)}"
        for name, field in schema.get("properties", {}).items()
    ]
    others = schema.get("additionalProperties")
    if isinstance(others, dict):
        return f"Record<string, {type_of(others)}>"
    if others:
        fields.append("[further: string]: unknown")
    whole = f"{{ {'; '.join(fields)} }}" if fields else "object"
    ways = [_demanded(way) for way in schema.get("anyOf", [])]
    return f"{whole} & ({' | '.join(ways)})" if ways else whole


def _demanded(way: Schema) -> str:
    fields = [f"{name}: {type_of(way['properties'][name])}" for name in way["required"]]
    return f"{{ {'; '.join(fields)} }}"
