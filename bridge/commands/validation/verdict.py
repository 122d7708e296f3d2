"""Figures of many turns, and whether they are good enough. No I/O, no clock."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.commands.validation.heard import Turn

PERCENTS = (50, 95, 99)
JUDGED_PERCENT = 95


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a validated bridge keeps; times in milliseconds, at the device."""

    ttft_p95_ms: float = 1500.0
    completion_p95_ms: float = 8000.0
    errors_percent: float = 1.0
    lost: int = 0
    duplicated: int = 0


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured under one value of the flag: ``off``, ``on``, or ``as is``."""

    flag: str
    turns: int
    ttft_ms: tuple[float, ...]
    completion_ms: tuple[float, ...]
    failed: int
    lost: int
    duplicated: int
    unequal: int
    streamed: int
    late: int
    """How many of those that streamed were complete before every device had a chunk."""
    strayed: int
    """How many answers came by the way that the flag did not say."""
    outcomes: Mapping[str, int]
    reconnects: int

    @property
    def errors_percent(self) -> float:
        """How many of a hundred questions got no whole answer."""
        return 100 * self.failed / self.turns if self.turns else 100.0

    def wire(self) -> dict[str, Any]:
        """Return the figures as JSON has them."""
        return {
            "flag": self.flag,
            "turns": self.turns,
            "ttft_ms": _cuts(self.ttft_ms),
            "completion_ms": _cuts(self.completion_ms),
            "errors_percent": round(self.errors_percent, 2),
            "outcomes": dict(self.outcomes),
            "lost": self.lost,
            "duplicated": self.duplicated,
            "unequal": self.unequal,
            "streamed": self.streamed,
            "late": self.late,
            "strayed": self.strayed,
            "reconnects": self.reconnects,
        }


@dataclass(frozen=True, slots=True)
class Check:
    """One figure against its limit; ``flag`` says of which side."""

    name: str
    flag: str
    value: float
    limit: float
    passed: bool

    def wire(self) -> dict[str, Any]:
        """Return the check as JSON has it; a figure that does not exist is null."""
        value = round(self.value, 2) if math.isfinite(self.value) else None
        said = {"name": self.name, "flag": self.flag, "value": value, "limit": self.limit}
        return said | {"passed": self.passed}


def figures(flag: str, turns: Sequence[Turn], reconnects: int = 0) -> Figures:
    """Return the figures of ``turns``, which ran under one value of the flag."""
    return Figures(
        flag=flag,
        turns=len(turns),
        ttft_ms=tuple(sorted(ms for turn in turns for ms in turn.ttft_ms)),
        completion_ms=tuple(sorted(ms for turn in turns for ms in turn.completion_ms)),
        failed=sum(turn.failed for turn in turns),
        lost=sum(turn.lost for turn in turns),
        duplicated=sum(turn.duplicated for turn in turns),
        unequal=sum(turn.unequal for turn in turns),
        streamed=sum(turn.streamed for turn in turns),
        late=sum(turn.streamed and not turn.failed and not turn.early for turn in turns),
        strayed=sum(_strayed(flag, turn) for turn in turns),
        outcomes=Counter(turn.outcome for turn in turns),
        reconnects=reconnects,
    )


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the least of the sorted ``values`` that so many percent do not exceed; NaN of none."""
    return values[max(0, math.ceil(len(values) * percent / 100) - 1)] if values else math.nan


def checks(side: Figures, limits: Limits) -> list[Check]:
    """Return every figure of ``side`` that has a limit.

    How soon text comes is judged where it streams: with the flag off it is what it is, the baseline.
    Errors, losses and repeats are judged either way, for off means exactly the old behaviour.
    """
    found = [
        _at_most("errors_percent", side.flag, side.errors_percent, limits.errors_percent),
        _at_most("lost", side.flag, side.lost, limits.lost),
        _at_most("duplicated", side.flag, side.duplicated, limits.duplicated),
        _at_most("unequal", side.flag, side.unequal, 0),
        _at_most("strayed", side.flag, side.strayed, 0),
    ]
    if side.flag == "off":
        return found
    return [
        _at_most("ttft_p95_ms", side.flag, percentile(side.ttft_ms, JUDGED_PERCENT), limits.ttft_p95_ms),
        _at_most(
            "completion_p95_ms",
            side.flag,
            percentile(side.completion_ms, JUDGED_PERCENT),
            limits.completion_p95_ms,
        ),
        _at_most("late", side.flag, side.late, 0),
        *found,
    ]


def _strayed(flag: str, turn: Turn) -> bool:
    match flag:
        case "off":
            return turn.streamed
        case "on":
            return not turn.streamed and not turn.failed
        case _:
            return False


def _at_most(name: str, flag: str, value: float, limit: float) -> Check:
    return Check(name, flag, value, limit, value <= limit)  # NaN, where nothing was measured, does not pass


def _cuts(values: Sequence[float]) -> dict[str, float | None]:
    cuts = {f"p{percent}": percentile(values, percent) for percent in PERCENTS}
    return {name: round(value, 1) if math.isfinite(value) else None for name, value in cuts.items()}
