"""JSON Schema (draft 2020-12) of our types: what the documents of the contract are made of.

A field that may be None is one that may be missing on the wire; snake_case becomes camelCase.
"""

import inspect
import re
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from bridge.events import ID_PATTERN, Id

Schema = dict[str, Any]

ID: Schema = {
    "description": '42 and "42" are two ids.',
    "anyOf": [
        {"type": "string", "pattern": f"^{ID_PATTERN}$"},
        {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
    ],
}
NULL: Schema = {"type": "null"}
_PLAIN: Mapping[Any, Schema] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer", "minimum": 0, "maximum": 2**53 - 1},
    Any: {},
}


@dataclass(frozen=True, slots=True)
class Shape:
    """A type as it stands on the wire, where that is not what its fields say.

    ``hidden`` fields do not, ``optional`` ones may be missing; ``instead`` are schemas of single fields,
    ``more`` adds to the whole. It may be ``open`` for other fields, and ``nulls`` may stand for missing ones.
    """

    type: type
    hidden: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()
    instead: Mapping[str, Schema] = field(default_factory=dict)
    more: Schema = field(default_factory=dict)
    open: bool = False
    nulls: bool = False


class Schemas:
    """The schemas of ``shapes`` and of the sets of words ``aliases``, each under its name."""

    def __init__(self, shapes: Mapping[str, Shape], aliases: Mapping[str, Any]) -> None:
        self._shapes = shapes
        self._aliases = aliases
        self._names = {shape.type: name for name, shape in shapes.items()}

    def all(self) -> dict[str, Schema]:
        """Return every schema; one that holds another refers to it."""
        named = {name: _words(kind) for name, kind in self._aliases.items()}
        return {"Id": ID, **named, **{name: self._object(shape) for name, shape in self._shapes.items()}}

    def _object(self, shape: Shape) -> Schema:
        hints = {name: hint for name, hint in get_type_hints(shape.type).items() if name not in shape.hidden}
        lacking = {name for name, hint in hints.items() if _may_lack(hint) or name in shape.optional}
        properties = {}
        for name, hint in hints.items():
            schema = shape.instead.get(name) or self._of(hint)
            may_be_null = shape.nulls and name in lacking
            properties[camel(name)] = {"anyOf": [schema, NULL]} if may_be_null else schema
        required = [camel(name) for name in hints if name not in lacking]
        return {
            "description": _said(shape.type),
            "type": "object",
            "properties": properties,
            **({"required": required} if required else {}),
            **({"additionalProperties": True} if shape.open else {}),
            **shape.more,
        }

    def _of(self, hint: Any) -> Schema:
        known = [name for name, kind in self._aliases.items() if kind == hint]
        kinds = [kind for kind in _union(hint) if kind is not type(None)]
        if known:
            return ref(known[0])
        if set(kinds) == set(get_args(Id)):
            return ref("Id")
        return self._single(kinds[0]) if len(kinds) == 1 else {"anyOf": list(map(self._of, kinds))}

    def _single(self, kind: Any) -> Schema:
        if kind in self._names:
            return ref(self._names[kind])
        origin, inner = get_origin(kind), get_args(kind)
        if origin is Literal:
            return _words(kind)
        if origin in (list, frozenset):
            return {"type": "array", "items": self._of(inner[0])}
        if origin is Mapping:
            return {"type": "object", "additionalProperties": self._of(inner[1])}
        return dict(_PLAIN[kind])


def ref(name: str) -> Schema:
    """Return a reference to the schema of that name."""
    return {"$ref": f"#/components/schemas/{name}"}


def camel(name: str) -> str:
    """Return ``name`` as the wire has it."""
    return re.sub("_([a-z])", lambda found: found[1].upper(), name)


def _words(kind: Any) -> Schema:
    return {"type": "string", "enum": list(get_args(kind))}


def _may_lack(hint: Any) -> bool:
    return type(None) in _union(hint)


def _union(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (types.UnionType, Union) else (hint,)


def _said(kind: type) -> str:
    """Return the first paragraph about a type; what follows is for who reads the code."""
    first = inspect.cleandoc(kind.__doc__ or "").partition("\n\n")[0].replace("\n", " ")
    return re.sub("``(.+?)``", lambda found: f"`{camel(found[1])}`", first)
