"""How the flag is changed, and what is remembered of a change: who, when, why, from which value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bridge.rollout import (
    LISTED_LIMIT,
    NAME_LENGTH,
    Listed,
    Rollout,
    Value,
    parse_listed,
    parse_rollout,
    parse_text,
    parse_value,
    refuse,
)

HISTORY_LENGTH = 100
WHY_LENGTH = 500


@dataclass(frozen=True, slots=True)
class Edit:
    """What an operator wants changed; what it does not name stays as it is.

    Who is allowed is denied no more, and the other way round; ``forget`` takes out of both lists. ``at``
    makes it a compare-and-set: it holds only while the change of that version is the latest ("": none is).
    """

    value: Value | None = None
    allow: Listed = field(default_factory=Listed)
    deny: Listed = field(default_factory=Listed)
    forget: Listed = field(default_factory=Listed)
    at: str | None = None

    def applied(self, to: Rollout) -> Rollout:
        """Return ``to`` as it is after this edit. Raises `FlagRefused` when the lists grow too long."""
        allow = (to.allow - self.deny - self.forget) | self.allow
        deny = (to.deny - self.allow - self.forget) | self.deny
        if len(allow) + len(deny) > LISTED_LIMIT:
            refuse(f"more than {LISTED_LIMIT} rooms and users would be listed")
        return Rollout(to.value if self.value is None else self.value, allow, deny)

    def wire(self) -> dict[str, Any]:
        """Return the edit as JSON has it."""
        lists = {"allow": self.allow, "deny": self.deny, "forget": self.forget}
        given = {"value": self.value, "at": self.at}
        said: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        return said | {name: listed.wire() for name, listed in lists.items() if len(listed)}


@dataclass(frozen=True, slots=True)
class Reason:
    """Who wants a change, and why; for the history only."""

    who: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """One change that was made; ``version`` names it, ``when`` is UTC (ISO 8601)."""

    version: str
    when: str
    rollout: Rollout
    before: Rollout
    reason: Reason

    def wire(self) -> dict[str, Any]:
        """Return the change as JSON has it."""
        said = {"version": self.version, "when": self.when, "who": self.reason.who, "why": self.reason.why}
        return said | self.rollout.wire() | {"from": self.before.wire()}


@dataclass(frozen=True, slots=True)
class FlagState:
    """The flag as an operator sees it: the default, and the changes since, the latest first."""

    default: Rollout
    history: Sequence[Change] = ()
    provider: str = ""
    """Who decides in our place, where somebody does."""

    @property
    def rollout(self) -> Rollout:
        """The value that holds."""
        return self.history[0].rollout if self.history else self.default

    @property
    def source(self) -> str:
        """Where it comes from: ``default`` (the settings), ``run-time`` (a change), or a provider."""
        return self.provider or ("run-time" if self.history else "default")

    @property
    def version(self) -> str:
        """The name of the change that holds, empty while the default does."""
        return self.history[0].version if self.history else ""

    def settled(self, edit: Edit) -> bool:
        """Return whether ``edit`` would change nothing, or comes too late; then it is not remembered."""
        late = edit.at is not None and edit.at != self.version
        return late or (bool(self.history) and edit.applied(self.rollout) == self.rollout)

    def changed(self, change: Change) -> "FlagState":
        """Return the state after ``change``."""
        return replace(self, history=(change, *self.history)[:HISTORY_LENGTH])

    def wire(self) -> dict[str, Any]:
        """Return the state as JSON has it."""
        known = {"source": self.source, "default": self.default.value}
        return self.rollout.wire() | known | {"history": [change.wire() for change in self.history]}


def parse_edit(body: object) -> tuple[Edit, Reason]:
    """Return what a request wants changed, by whom and why. Raises `FlagRefused`."""
    if not isinstance(body, Mapping):
        refuse('send an object such as {"value": "on", "why": "..."}')
    edit = Edit(
        parse_value(body["value"]) if "value" in body else None,
        parse_listed(body.get("allow")),
        parse_listed(body.get("deny")),
        parse_listed(body.get("forget")),
        parse_text(body["at"], NAME_LENGTH) if "at" in body else None,
    )
    if replace(edit, at=None) == Edit():
        refuse('send at least one of "value", "allow", "deny" and "forget"')
    return edit, parse_reason(body)


def parse_reason(body: Mapping[str, Any]) -> Reason:
    """Return who and why, both may be missing. Raises `FlagRefused`."""
    return Reason(parse_text(body.get("who", ""), NAME_LENGTH), parse_text(body.get("why", ""), WHY_LENGTH))


def parse_change(said: Mapping[str, Any]) -> Change:
    """Return what `Change.wire` wrote. Raises `FlagRefused`."""
    before = said.get("from")
    if not isinstance(before, Mapping):
        refuse("the change does not say from which value")
    version, when = (parse_text(said.get(name), NAME_LENGTH) for name in ("version", "when"))
    return Change(version, when, parse_rollout(said), parse_rollout(before), parse_reason(said))


def parse_state(said: Mapping[str, Any]) -> FlagState:
    """Return what `FlagState.wire` wrote. Raises `FlagRefused`."""
    history = said.get("history")
    if not isinstance(history, list):
        refuse("its history is missing")
    changes = tuple(parse_change(each) for each in history[:HISTORY_LENGTH])
    source = parse_text(said.get("source", ""), NAME_LENGTH)
    provider = "" if source in ("default", "run-time") else source
    return FlagState(Rollout(parse_value(said.get("default"))), changes, provider)
