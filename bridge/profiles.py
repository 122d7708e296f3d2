"""Backend profiles: what a backend is asked and how, as TOML; a prompt and a profile make a request.

A profile is ``config/backends/NAME.toml``. Its texts may hold ``${ENV}`` or ``${ENV:-default}``, filled in
once at start, and ``{name}``, filled in for each prompt: ``requestId``, ``roomId``, ``messageId``,
``content``, ``user``, what `Preparation` took, and any other field that the device sent. A text that is
nothing but ``{name}`` keeps the JSON type of the value; a field whose value is not there is left out.
"""

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import uritemplate

from bridge.errors import PromptUnusable, SettingsError
from bridge.events import valid_id
from bridge.ports import Prompt
from bridge.settings import read_toml

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ENV = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")
_HOLE = re.compile(r"\{(\w+)\}")
_RESUMES = ("none", "last-event-id")
_METHODS = ("GET", "POST")
_SETTINGS = ("backend_url", "dialect", "connect_s", "first_delta_s", "stall_s", "turn_s")
_BODY = {"requestId": "{requestId}", "roomId": "{roomId}", "messageId": "{messageId}", "content": "{content}"}


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a backend. ``path`` is a URI template (RFC 6570).

    ``defaults`` are fields of the body that the device may send otherwise, ``body`` those that it may not.
    """

    path: str
    method: str = "POST"
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Preparation:
    """A call before the streaming one; ``take`` names values of its JSON answer for the streaming call.

    Each is a JSON pointer, as `CompleteCall.content`; so is ``message_id``, the answer's name.
    """

    call: Call
    take: Mapping[str, str] = field(default_factory=dict)
    message_id: str = ""


@dataclass(frozen=True, slots=True)
class CompleteCall:
    """The call that answers at once; ``content`` and ``message_id`` say where in its JSON they stand.

    They are JSON pointers (RFC 6901), in which ``*`` takes each item of a list: the texts are joined.
    """

    call: Call
    content: str = "/content"
    message_id: str = "/messageId"


@dataclass(frozen=True, slots=True)
class Profile:
    """A backend, as the bridge speaks to it; the default is one of which only the two paths are known.

    ``extra_fields`` are the other fields of the device that go into a body: all, none, or those named.
    ``settings`` are the bridge's own settings that go with this backend, below what the operator set.
    """

    stream: Call = Call("/chat/messages/stream", body=_BODY)
    complete: CompleteCall | None = CompleteCall(Call("/chat/messages", body=_BODY))
    preparation: Preparation | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    extra_fields: bool | frozenset[str] = True
    idempotent: bool = False
    resumes: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, ready to be sent: ``target`` is path and query below the backend's address."""

    method: str
    target: str
    query: Mapping[str, str]
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)


def read(config: Path, name: str, environ: Mapping[str, str]) -> Profile:
    """Return the profile ``config/backends/NAME.toml``. Raises `SettingsError`."""
    folder = config / "backends"
    file = folder / f"{name}.toml"
    known = sorted(each.stem for each in folder.glob("*.toml"))
    if not _NAME.fullmatch(name) or not file.is_file():
        if name == "default":
            return Profile()
        why = f"there is no {file}, there are {', '.join(known)}"
        raise SettingsError(f"unable to use BRIDGE_BACKEND_PROFILE={name!r}; {why}")
    return _Reader(file, environ).profile(read_toml(file))


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
        body = json.dumps(fixed, ensure_ascii=False).encode()
    return Asked(call.method, _path(call.path, given), query, headers, body)


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
    path = uritemplate.URITemplate(template)
    used = {name: given[name] for name in path.variable_names if given.get(name) is not None}
    if not all(valid_id(value) and str(value).strip(".") for value in used.values()):
        raise PromptUnusable("unable to ask the backend; a field cannot stand in the path")
    return str(path.expand(used))


class _Reader:
    """Makes the profile of one file, and complains about what it cannot use."""

    def __init__(self, file: Path, environ: Mapping[str, str]) -> None:
        self._file = file
        self._environ = environ

    def profile(self, raw: dict[str, Any]) -> Profile:
        table = self._with_environment(raw)
        shared = {name: self._table(table, name) for name in ("body", "defaults")}
        own = {"prepare", "stream", "complete", "headers", "extra_fields", "idempotent", "resume", *shared}
        self._check_names(table, own | {*_SETTINGS})
        extra = table.get("extra_fields", False)
        return Profile(
            stream=self._call(table, "stream", shared),
            complete=self._complete(table, shared) if "complete" in table else None,
            preparation=self._preparation(table) if "prepare" in table else None,
            headers={name: str(value) for name, value in self._table(table, "headers").items()},
            extra_fields=extra if isinstance(extra, bool) else frozenset(self._texts(extra, "extra_fields")),
            idempotent=self._one_of(table, "idempotent", (False, True)),
            resumes=self._one_of(table, "resume", _RESUMES) == "last-event-id",
            settings={name: table[name] for name in _SETTINGS if name in table},
        )

    def _call(
        self, table: dict[str, Any], name: str, shared: Mapping[str, Mapping[str, Any]], *more: str
    ) -> Call:
        call = self._table(table, name)
        self._check_names(call, {"path", "method", "query", "body", "defaults", *more}, f"{name}.")
        return Call(
            path=self._path(call, name),
            method=self._one_of(call, "method", _METHODS[::-1]),
            query=self._table(call, "query"),
            body={**shared.get("body", {}), **self._table(call, "body")},
            defaults={**shared.get("defaults", {}), **self._table(call, "defaults")},
        )

    def _complete(self, table: dict[str, Any], shared: Mapping[str, Mapping[str, Any]]) -> CompleteCall:
        call = self._call(table, "complete", shared, "content", "message_id")
        plain, said = CompleteCall(call), table["complete"]
        content = self._pointer(said, "content", plain.content)
        return CompleteCall(call, content, self._pointer(said, "message_id", plain.message_id))

    def _preparation(self, table: dict[str, Any]) -> Preparation:
        call = self._call(table, "prepare", {}, "take", "message_id")
        take = self._table(table["prepare"], "take")
        named = {name: self._pointer(take, name, "") for name in take}
        return Preparation(call, named, self._pointer(table["prepare"], "message_id", ""))

    def _path(self, call: dict[str, Any], name: str) -> str:
        path = call.get("path")
        if not isinstance(path, str) or not path.startswith("/"):
            self._refuse(f"{name}.path must be there and begin with /")
        return path

    def _pointer(self, table: dict[str, Any], name: str, plain: str) -> str:
        pointer = table.get(name, plain)
        if not isinstance(pointer, str) or (pointer and not pointer.startswith("/")):
            self._refuse(f"{name} must be a JSON pointer, like /result/content")
        return pointer

    def _one_of(self, table: dict[str, Any], name: str, choices: tuple[Any, ...]) -> Any:
        value = table.get(name, choices[0])
        if not any(value is choice or (isinstance(value, str) and value == choice) for choice in choices):
            spoken = " or ".join(json.dumps(choice) for choice in choices)
            self._refuse(f"{name} must be {spoken}")
        return value

    def _table(self, table: dict[str, Any], name: str) -> dict[str, Any]:
        value = table.get(name, {})
        if not isinstance(value, dict):
            self._refuse(f"{name} must be a table")
        return value

    def _texts(self, value: Any, name: str) -> list[str]:
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            self._refuse(f"{name} must be true, false or a list of names")
        return value

    def _check_names(self, table: Iterable[str], known: set[str], prefix: str = "") -> None:
        for name in table:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
                self._refuse(f"there is no {prefix}{name}" + (f", did you mean {near[0]}?" if near else ""))

    def _with_environment(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self._with_environment(each) for name, each in value.items()}
        if isinstance(value, list):
            return [self._with_environment(each) for each in value]
        return _ENV.sub(self._variable, value) if isinstance(value, str) else value

    def _variable(self, found: re.Match[str]) -> str:
        name, default = found[1], found[2]
        value = self._environ.get(name) or default
        if value is None:
            self._refuse(f"it needs {name} in the environment")
        return value

    def _refuse(self, why: str) -> NoReturn:
        raise SettingsError(f"unable to use {self._file}; {why}")
