"""The flag's value, as ops set it: who streams.

Asked in this order, the first that says something decides:

1. ``off``: nobody streams, listed or not; it is what one reaches for when something is wrong.
2. the deny lists: a room or a user in them does not stream.
3. ``on``: everybody else streams.
4. the allow lists: a room or a user in them streams.
5. a percentage: so many of a hundred rooms stream, always the same; a greater percentage only adds rooms.

Lists name rooms and users by their text, so ``42`` lists the room 42 and the room "42".
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn

from bridge.errors import FlagRefused
from bridge.events import Id

Value = Literal["off", "on"] | int
"""``off``, ``on``, or so many rooms of a hundred (0 to 100)."""

LISTED_LIMIT = 256
"""So many rooms and users may be listed in all: whoever lists more wants a percentage."""
NAME_LENGTH = 128
PERCENTAGES = range(101)


def percentile(room_id: Id) -> int:
    """Return where a room stands among a hundred, 0 to 99: from SHA-256 of its JSON, the same for ever."""
    digest = hashlib.sha256(json.dumps(room_id).encode()).digest()
    return int.from_bytes(digest[:8]) % 100


@dataclass(frozen=True, slots=True)
class Listed:
    """Rooms and users by name."""

    rooms: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()

    def __contains__(self, asked: tuple[Id, str]) -> bool:
        room_id, user = asked
        return user in self.users or str(room_id) in self.rooms

    def __or__(self, other: "Listed") -> "Listed":
        return Listed(self.rooms | other.rooms, self.users | other.users)

    def __sub__(self, other: "Listed") -> "Listed":
        return Listed(self.rooms - other.rooms, self.users - other.users)

    def __len__(self) -> int:
        return len(self.rooms) + len(self.users)

    def wire(self) -> dict[str, list[str]]:
        """Return the lists as JSON has them."""
        return {"rooms": sorted(self.rooms), "users": sorted(self.users)}


@dataclass(frozen=True, slots=True)
class Rollout:
    """The value of the flag; what decides is written at the top of this module."""

    value: Value = "off"
    allow: Listed = field(default_factory=Listed)
    deny: Listed = field(default_factory=Listed)

    def __str__(self) -> str:
        counts = {"allowed": len(self.allow), "denied": len(self.deny)}
        shown = self.value if isinstance(self.value, str) else f"{self.value} %"
        return ", ".join([shown, *(f"{count} {name}" for name, count in counts.items() if count)])

    def streams(self, room_id: Id, user: str = "") -> bool:
        """Return whether a turn of ``user`` in this room streams."""
        asked = (room_id, user)
        if self.value == "off" or asked in self.deny:
            return False
        if self.value == "on" or asked in self.allow:
            return True
        return percentile(room_id) < self.value

    def wire(self) -> dict[str, Any]:
        """Return the value as JSON has it."""
        return {"value": self.value, "allow": self.allow.wire(), "deny": self.deny.wire()}


def default_rollout(*, enabled: bool) -> Rollout:
    """Return the value that holds as long as nobody has changed it at run time."""
    return Rollout("on" if enabled else "off")


def parse_value(said: object) -> Value:
    """Return the value that JSON or a person said. Raises `FlagRefused`."""
    if said == "off":
        return "off"
    if said == "on":
        return "on"
    if type(said) is int and said in PERCENTAGES:  # true is an int too, and no percentage
        return said
    return refuse('its value must be "on", "off" or a whole percentage, 0 to 100')


def parse_listed(said: object) -> Listed:
    """Return rooms and users; None lists nobody. Raises `FlagRefused`."""
    if said is None:
        return Listed()
    if not isinstance(said, Mapping) or set(said) - {"rooms", "users"}:
        refuse('a list must look like {"rooms": ["..."], "users": ["..."]}')
    return Listed(_names(said.get("rooms", ())), _names(said.get("users", ())))


def parse_rollout(said: Mapping[str, Any]) -> Rollout:
    """Return what `Rollout.wire` wrote. Raises `FlagRefused`."""
    allow, deny = parse_listed(said.get("allow")), parse_listed(said.get("deny"))
    return Rollout(parse_value(said.get("value")), allow, deny)


def _names(said: object) -> frozenset[str]:
    if not isinstance(said, list | tuple) or len(said) > LISTED_LIMIT:
        refuse(f"a list must be an array of at most {LISTED_LIMIT} names")
    return frozenset(_name(each) for each in said)


def _name(said: object) -> str:
    text = str(said) if type(said) is int else said
    if not text:
        refuse("a name must not be empty")
    return parse_text(text, NAME_LENGTH)


def parse_text(said: object, length: int) -> str:
    """Return one line of text. Raises `FlagRefused`."""
    if not isinstance(said, str) or len(said) > length or not said.isprintable():
        refuse(f"a name or reason must be one line of at most {length} characters")
    return said


def refuse(why: str) -> NoReturn:
    """Raise `FlagRefused`."""
    raise FlagRefused(f"unable to set the flag; {why}")
