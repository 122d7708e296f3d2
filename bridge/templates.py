"""Templates of a profile: a prompt makes a request of them, and a request gives back what it was made of.

``{name}`` is filled in for each prompt: ``requestId``, ``roomId``, ``messageId``, ``content``, ``user``, what
`Preparation` took, and any other field that the device sent. A text that is nothing but ``{name}`` keeps
the JSON type of the value; a field whose value is not there is left out.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import uritemplate

from bridge.errors import PromptUnusable
from bridge.events import valid_id
from bridge.ports import Prompt
from bridge.profiles import Answer, Call, Profile

_HOLE = re.compile(r"\{(\w+)\}")
_as_json = json.JSONEncoder(ensure_ascii=False).encode  # json.dumps would make an encoder each time
_uri_template = lru_cache(uritemplate.URITemplate)  # a profile has a few


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, ready to be sent: ``target`` is path and query below the backend's address."""

    method: str
    target: str
    query: Mapping[str, str]
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)


def values(prompt: Prompt, taken: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the holes of a template are filled with."""
    named = {
        "requestId": prompt.request_id,
        "roomId": prompt.room_id,
        "messageId": prompt.message_id,
        "content": prompt.content,
        "user": prompt.user or None,
    }
    return {**prompt.extra, **taken, **named}


def ask(profile: Profile, call: Call, prompt: Prompt, taken: Mapping[str, Any]) -> Asked:
    """Return the request that ``call`` is for ``prompt``. Raises `PromptUnusable`."""
    given = values(prompt, taken)
    query = {name: _query_text(value) for name, value in _filled(call.query, given).items()}
    headers = {name: _header_text(value) for name, value in _filled(profile.headers, given).items()}
    body = None
    if call.method != "GET":
        fixed = {**_filled(call.defaults, given), **_extra(profile, prompt), **_filled(call.body, given)}
        body = _as_json(fixed).encode()
    return Asked(call.method, _path(call.path, given), query, headers, body)


def fill(template: Any, prompt: Prompt, taken: Mapping[str, Any]) -> Any:
    """Return ``template``, filled in for ``prompt`` and with what is ``taken`` besides."""
    return _filled(template, values(prompt, taken))


def posted(call: Call, body: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the holes of ``call`` hold in a ``body`` made by it or like it, and its other fields."""
    if not isinstance(body, dict):
        return {}, {}
    extra = {name: value for name, value in body.items() if name not in call.body}
    return _holes({**call.defaults, **call.body}, body), extra


def frame_message(answer: Answer, text: str) -> str | None:
    """Return the JSON of the message that a frame's ``text`` carries, None where it carries none."""
    if not all(str(wanted) in text for wanted in answer.where.values()):
        return None  # most frames; the rest is read once more
    try:
        frame = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if any(pick(frame, pointer) != wanted for pointer, wanted in answer.where.items()):
        return None
    message = pick(frame, answer.value)
    return None if message is None else json.dumps(message, ensure_ascii=False)


def pick(value: Any, pointer: str) -> Any:
    """Return what ``pointer`` finds in ``value``, None where there is nothing; see `CompleteCall`."""
    for position, name in enumerate(pointer.split("/")[1:], start=1):
        if name == "*":
            rest = "".join(f"/{each}" for each in pointer.split("/")[position + 1 :])
            if not isinstance(value, list):
                return None
            found = [pick(item, rest) for item in value]
            return "".join(text for text in found if isinstance(text, str))
        value = _item(value, name.replace("~1", "/").replace("~0", "~"))
    return value


def _item(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return value.get(name)
    if isinstance(value, list) and name.isascii() and name.isdecimal() and int(name) < len(value):
        return value[int(name)]
    return None


def _filled(template: Any, given: Mapping[str, Any]) -> Any:
    if isinstance(template, Mapping):
        pairs = ((name, _filled(each, given)) for name, each in template.items())
        return {name: value for name, value in pairs if value is not None}
    if isinstance(template, list):
        return [value for value in (_filled(each, given) for each in template) if value is not None]
    if not isinstance(template, str):
        return template
    alone = _HOLE.fullmatch(template)
    return given.get(alone[1]) if alone else _HOLE.sub(lambda hole: _text(hole, given), template)


def _holes(template: Any, value: Any) -> dict[str, Any]:
    """Return what fills the holes of ``template`` in ``value``: the inverse of `_filled`, as far as it goes.

    Of two lists the last items are compared: what is asked now stands behind what was said before.
    """
    if isinstance(template, Mapping) and isinstance(value, dict):
        found: dict[str, Any] = {}
        for name in template.keys() & value.keys():
            found |= _holes(template[name], value[name])
        return found
    if isinstance(template, list) and isinstance(value, list) and template and value:
        return _holes(template[-1], value[-1])
    alone = _HOLE.fullmatch(template) if isinstance(template, str) else None
    return {alone[1]: value} if alone else {}


def _text(hole: re.Match[str], given: Mapping[str, Any]) -> str:
    value = given.get(hole[1])
    return hole[0] if value is None else str(value)


def _query_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _header_text(value: Any) -> str:
    text = str(value)
    if not text.isprintable() or not text.isascii():
        raise PromptUnusable("unable to ask the backend; a field cannot stand in a header")
    return text


def _extra(profile: Profile, prompt: Prompt) -> Mapping[str, Any]:
    if isinstance(profile.extra_fields, bool):
        return prompt.extra if profile.extra_fields else {}
    return {name: value for name, value in prompt.extra.items() if name in profile.extra_fields}


def _path(template: str, given: Mapping[str, Any]) -> str:
    """Return the path; what a device sent can be one segment of it, and none that climbs."""
    path = _uri_template(template)
    used = {name: given[name] for name in path.variable_names if given.get(name) is not None}
    if not all(valid_id(value) and str(value).strip(".") for value in used.values()):
        raise PromptUnusable("unable to ask the backend; a field cannot stand in the path")
    return str(path.expand(used))
