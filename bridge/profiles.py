"""Backend profiles: what a backend is asked and how, as TOML.

A profile is ``config/backends/NAME.toml``. Its texts may hold ``${ENV}`` or ``${ENV:-default}``, filled in
once at start, and ``{name}``, filled in for each prompt (see `bridge.templates`).
"""

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from bridge.errors import SettingsError
from bridge.settings import read_toml

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ENV = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")
_RESUMES = ("none", "last-event-id")
_METHODS = ("GET", "POST")
_SETTINGS = ("backend_url", "dialect", "connect_s", "first_delta_s", "stall_s", "turn_s")
_ANSWERS = ("template", "complete", "stored", "frame")
_BODY = {"requestId": "{requestId}", "roomId": "{roomId}", "messageId": "{messageId}", "content": "{content}"}
_MESSAGE = {
    "messageId": "{messageId}",
    "requestId": "{requestId}",
    "roomId": "{roomId}",
    "role": "assistant",
    "content": "{content}",
    "createdAt": "{createdAt}",
}


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
class Answer:
    """Where the message comes from that answers a complete call in the backend's place.

    ``source`` is ``complete``: the call itself, made behind the stream, of a backend that knows repeats;
    ``stored``: a GET of ``call``; ``frame``: the frame of the stream in which each pointer of ``where``
    finds its value; or ``template``, which also stands in where another gives nothing. ``value`` is a JSON
    pointer to the message in what the GET or the frame holds.
    """

    source: str = "template"
    call: Call | None = None
    where: Mapping[str, Any] = field(default_factory=dict)
    value: str = ""
    template: Any = field(default_factory=lambda: _MESSAGE)


@dataclass(frozen=True, slots=True)
class MembershipCall:
    """The GET that says whether ``{user}`` may be in ``{roomId}``.

    ``allowed`` is a JSON pointer to the true in its answer; empty: the status alone says it.
    """

    call: Call
    allowed: str = ""


@dataclass(frozen=True, slots=True)
class Profile:
    """A backend, as the bridge speaks to it; the default is one of which only the two paths are known.

    ``extra_fields`` are the other fields of the device that go into a body: all, none, or those named.
    ``settings`` are the bridge's own settings that go with this backend, below what the operator set.
    """

    stream: Call = Call("/chat/messages/stream", body=_BODY)
    complete: CompleteCall | None = CompleteCall(Call("/chat/messages", body=_BODY))
    preparation: Preparation | None = None
    answer: Answer = Answer()
    membership: MembershipCall | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    extra_fields: bool | frozenset[str] = True
    idempotent: bool = False
    resumes: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def paths(self) -> tuple[str, ...]:
        """The backend's own paths, as templates: where it is asked for an answer."""
        complete = () if self.complete is None else (self.complete.call.path,)
        return (self.stream.path, *complete)


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


class _Reader:
    """Makes the profile of one file, and complains about what it cannot use."""

    def __init__(self, file: Path, environ: Mapping[str, str]) -> None:
        self._file = file
        self._environ = environ

    def profile(self, raw: dict[str, Any]) -> Profile:
        table = self._with_environment(raw)
        shared = {name: self._table(table, name) for name in ("body", "defaults")}
        own = {
            "prepare",
            "stream",
            "complete",
            "answer",
            "membership",
            "headers",
            "extra_fields",
            "idempotent",
            "resume",
            *shared,
        }
        self._check_names(table, own | {*_SETTINGS})
        extra = table.get("extra_fields", False)
        return Profile(
            stream=self._call(table, "stream", shared),
            complete=self._complete(table, shared) if "complete" in table else None,
            preparation=self._preparation(table) if "prepare" in table else None,
            answer=self._answer(table),
            membership=self._membership(table) if "membership" in table else None,
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

    def _answer(self, table: dict[str, Any]) -> Answer:
        said = self._table(table, "answer")
        plain = {"from": "complete" if table.get("idempotent") and "complete" in table else "template"}
        source = self._one_of({**plain, **said}, "from", _ANSWERS)
        if source == "complete" and plain["from"] != source:
            self._refuse('answer.from = "complete" needs idempotent = true and a complete call')
        keys = {
            "stored": ("path", "method", "query", "body", "defaults", "value"),
            "frame": ("where", "value"),
        }
        self._check_names(said, {"from", "template", *keys.get(source, ())}, "answer.")
        call = {name: said[name] for name in said if name not in ("from", "template", "value")}
        where = self._table(said, "where")
        return Answer(
            source,
            self._call({"answer": {"method": "GET", **call}}, "answer", {}) if source == "stored" else None,
            {self._pointer({"where": pointer}, "where", ""): wanted for pointer, wanted in where.items()},
            self._pointer(said, "value", ""),
            self._table(said, "template") or _MESSAGE,
        )

    def _membership(self, table: dict[str, Any]) -> MembershipCall:
        asked = self._table(table, "membership")
        self._check_names(asked, {"path", "query", "allowed"}, "membership.")
        call = Call(self._path(asked, "membership"), "GET", self._table(asked, "query"))
        return MembershipCall(call, self._pointer(asked, "allowed", ""))

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
