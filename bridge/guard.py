"""What the guard decides: figures of a window in, one move of the flag out. No clock, no store.

Theory. The guard keeps no state of its own: where it stands is read from the flag and its history, so all
nodes agree on it, and it outlives them. ``Standing`` holds the four places:

- WATCHING: somebody streams. Figures beyond a limit trip it: the flag goes off for everybody.
- TRIPPED: the guard turned it off. A person turns it on again; or, where that is set, the guard itself does
  after a rest, for a small percentage:
- HALF_OPEN: figures beyond a limit trip it again; a whole sample well within all limits (`SOUND`, the
  hysteresis) gives the rooms back what a person had last set. After `ATTEMPTS` it waits for a person.
- IDLE: a person turned it off; there is nothing to watch.

Every move holds only for the version of the flag it was decided on, so of several nodes one makes it.
An era begins whenever the flag is armed: turned from off to anything else. Figures of one never count in
the next, and so a flag that is turned on again does not trip over what turned it off.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from bridge.changes import Edit, FlagState
from bridge.figures import (
    COMPLETION,
    CONFIRMED,
    DIFFERING,
    FAILED,
    FIRST_TEXT,
    GAPS,
    TURNS,
    UNCONFIRMED,
    Figures,
)
from bridge.rollout import Value

GUARD = "guard"
"""Who changed the flag, in its history."""
SOUND = 0.75
"""What was tripped is sound again below so much of a limit."""
EVIDENCE = 3
"""A share is beyond its limit only if so many were bad: one bad turn in fifty is no storm."""
ATTEMPTS = 3
"""So often in a row the guard lets rooms stream again without a person."""
QUANTILE = 0.95


class Standing(Enum):
    """Where the guard is; its value is the figure that shows it."""

    IDLE = 0
    WATCHING = 1
    HALF_OPEN = 2
    TRIPPED = 3


@dataclass(frozen=True, slots=True)
class Limits:
    """What a window may hold: shares 0 to 1, p95 in seconds; judged from ``sample`` turns on.

    ``integrity`` is the share of turns whose text was not right: it differed from the backend's final text,
    or a device reported a gap. ``unconfirmed`` is the share of confirmations that did not come in time.
    ``half_open`` is the percentage that is tried ``rest_s`` after a trip; 0: a person turns it on.
    """

    errors: float = 0.01
    first_text_s: float = 1.5
    completion_s: float = 8.0
    integrity: float = 0.01
    unconfirmed: float = 0.05
    sample: int = 50
    half_open: int = 0
    rest_s: float = 600.0


class Kind(Enum):
    """What a move is for."""

    TRIP = "trip"
    REOPEN = "reopen"
    CLOSE = "close"


@dataclass(frozen=True, slots=True)
class Move:
    """A change of the flag that the guard wants, and why."""

    kind: Kind
    edit: Edit
    why: str


def standing(state: FlagState) -> Standing:
    """Return where the guard is; what a provider decides, the flag does not show."""
    latest = state.history[0] if state.history else None
    by_guard = latest is not None and latest.reason.who == GUARD
    if state.rollout.value == "off" and not state.provider:
        return Standing.TRIPPED if by_guard else Standing.IDLE
    if by_guard and latest is not None and latest.before.value == "off":
        return Standing.HALF_OPEN
    return Standing.WATCHING


def era(state: FlagState) -> str:
    """Return the version of the change that armed the flag last, empty for none."""
    armed = (c.version for c in state.history if c.before.value == "off" and c.rollout.value != "off")
    return next(armed, "")


def trip(state: FlagState, why: str) -> Move | None:
    """Return the move that turns streaming off, None where it is off."""
    if standing(state) in (Standing.IDLE, Standing.TRIPPED):
        return None
    return Move(Kind.TRIP, Edit("off", at=state.version), why)


def judged(state: FlagState, figures: Figures, limits: Limits) -> Move | None:
    """Return what follows from the figures of the window."""
    if found := breaches(figures, limits):
        return trip(state, "; ".join(found))
    if standing(state) is Standing.HALF_OPEN and sound(figures, limits):
        return Move(Kind.CLOSE, Edit(_wanted(state), at=state.version), f"{figures[TURNS]} turns were sound")
    return None


def rested(state: FlagState, for_s: float, limits: Limits) -> Move | None:
    """Return the move that lets a few rooms stream again, ``for_s`` seconds after the trip."""
    if standing(state) is not Standing.TRIPPED or not limits.half_open or for_s < limits.rest_s:
        return None
    tried = _tried(state)
    if tried >= ATTEMPTS:
        return None
    wanted = _wanted(state)
    percent = min(limits.half_open, wanted) if isinstance(wanted, int) else limits.half_open
    return Move(Kind.REOPEN, Edit(percent, at=state.version), f"half-open, attempt {tried + 1} of {ATTEMPTS}")


def breaches(figures: Figures, limits: Limits, of_limit: float = 1.0) -> list[str]:
    """Return what is beyond ``of_limit`` of its limit, for people; nothing before the sample is full."""
    turns = figures[TURNS]
    if turns < limits.sample:
        return []
    return [*_shares(figures, limits, of_limit), *_times(figures, limits, of_limit)]


def sound(figures: Figures, limits: Limits) -> bool:
    """Return whether a whole sample is well within all limits."""
    return figures[TURNS] >= limits.sample and not breaches(figures, limits, SOUND)


def _shares(figures: Figures, limits: Limits, of_limit: float) -> Iterator[str]:
    asked = (CONFIRMED, UNCONFIRMED)
    for says, part, whole, limit in (
        ("failed turns", FAILED, (TURNS,), limits.errors),
        ("turns whose text differs from the backend's", DIFFERING, (TURNS,), limits.integrity),
        ("turns with gaps that devices report", GAPS, (TURNS,), limits.integrity),
        ("messages that devices do not confirm", UNCONFIRMED, asked, limits.unconfirmed),
    ):
        share, of = figures.share(part, *whole), sum(figures[name] for name in whole)
        if figures[part] >= EVIDENCE and share > limit * of_limit:
            yield f"{says}: {share * 100:.1f} % of {of}, limit {limit * 100:g} %"


def _times(figures: Figures, limits: Limits, of_limit: float) -> Iterator[str]:
    for says, times, limit_s in (
        ("first text", FIRST_TEXT, limits.first_text_s),
        ("whole answers", COMPLETION, limits.completion_s),
    ):
        p95_s = figures.quantile_s(times, QUANTILE)
        if p95_s > limit_s * of_limit:
            yield f"{says}: p95 {p95_s:.2f} s of {figures[TURNS]} turns, limit {limit_s:g} s"


def _wanted(state: FlagState) -> Value:
    """Return the value that a person set last, or the default."""
    return next((c.rollout.value for c in state.history if c.reason.who != GUARD), state.default.value)


def _tried(state: FlagState) -> int:
    """Return how often the guard let rooms stream again since a person last changed the flag."""
    tried = 0
    for change in state.history:
        if change.reason.who != GUARD:
            break
        tried += change.before.value == "off"
    return tried
