"""What the guard watches: figures of the turns that streamed, which sum over turns, seconds and nodes.

Times are counted in slots a quarter of an octave wide, so a quantile of the sum is right to a slot, whichever
nodes it comes from, and a limit in round seconds is met to the turn.

Only turns that streamed count: what fails with the flag off, no flag mends.
"""

import bisect
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bridge.facts import Happening, Refused, TurnReport

_ROUND_S = {0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30, 45, 60, 90, 120}
BOUNDS_S = tuple(sorted({0.025 * 2 ** (step / 4) for step in range(50)} | _ROUND_S))
"""Upper bounds of the slots, to two minutes; behind the last is one more. A limit that is one is exact."""

BUCKETS = 12
"""The window slides in so many steps: the oldest twelfth goes at once."""

TURNS, FAILED, DIFFERING, GAPS = "turns", "failed", "differing", "gaps"
CONFIRMED, UNCONFIRMED = "confirmed", "unconfirmed"
FIRST_TEXT, COMPLETION = "first", "whole"
"""The names of figures; those of times have the number of a slot behind them."""

_FAILS = frozenset({"error", "timeout", "interrupted"})
_DEVICES_OWN = frozenset({"bad_field"})
"""Errors that a device makes by what it sends: no reason to take streaming from the others."""
_ENDS_EARLY = frozenset({"cancelled", *_FAILS})
_COUNTED = {
    Happening.GAP_REPORTED: GAPS,
    Happening.CONFIRMED: CONFIRMED,
    Happening.UNCONFIRMED: UNCONFIRMED,
}
_SLOTS = range(len(BOUNDS_S) + 1)
NAMES = frozenset(
    {TURNS, FAILED, DIFFERING, GAPS, CONFIRMED, UNCONFIRMED}
    | {f"{times}:{slot}" for times in (FIRST_TEXT, COMPLETION) for slot in _SLOTS}
)
"""Every figure there is: so many, and no more, are kept of a stretch of time."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Counts by name; what is not named is 0."""

    counts: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: "Figures") -> "Figures":
        return Figures(Counter(self.counts) + Counter(other.counts))

    def __bool__(self) -> bool:
        return bool(self.counts)

    def __getitem__(self, name: str) -> int:
        return self.counts.get(name, 0)

    def share(self, part: str, *whole: str) -> float:
        """Return how much of ``whole`` is ``part``, 0 to 1; 0 where there is nothing."""
        of = sum(self[name] for name in whole)
        return self[part] / of if of else 0.0

    def quantile_s(self, times: str, quantile: float) -> float:
        """Return the time that the part ``quantile`` of ``times`` stays below; 0 where there are none.

        Inside a bucket times are taken for evenly spread; what is beyond all bounds is infinite.
        """
        counts = [self[f"{times}:{slot}"] for slot in _SLOTS]
        left = quantile * sum(counts)
        if not left:
            return 0.0
        for count, low_s, high_s in zip(counts, (0.0, *BOUNDS_S), (*BOUNDS_S, math.inf), strict=True):
            if count and left <= count:
                return low_s + (high_s - low_s) * left / count
            left -= count
        return math.inf


def figures_of(report: TurnReport) -> Figures:
    """Return what one turn adds."""
    if not report.streaming:
        return Figures()
    failed = report.finish_reason in _FAILS and report.error_code not in _DEVICES_OWN
    counts = {TURNS: 1, FAILED: int(failed), DIFFERING: int(report.differs)}
    if report.first_chunk_s is not None and not report.taken_over:
        counts[_slot(FIRST_TEXT, report.first_chunk_s)] = 1
    if report.finish_reason not in _ENDS_EARLY:
        counts[_slot(COMPLETION, report.completion_s)] = 1
    return Figures({name: count for name, count in counts.items() if count})


def _slot(times: str, after_s: float) -> str:
    return f"{times}:{bisect.bisect_left(BOUNDS_S, after_s)}"


class Gathered:
    """What this node has to add since it was last asked; implements `Telemetry`.

    ``now`` gives monotonic seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._counts: Counter[str] = Counter()
        self._since_s = -math.inf

    def turn_ended(self, report: TurnReport) -> None:
        """Add a turn, unless it began before the flag was last armed; see `Telemetry.turn_ended`."""
        if self._now() - report.completion_s >= self._since_s:
            self._counts.update(figures_of(report).counts)

    def happened(self, what: Happening, times: int = 1) -> None:
        """Add what devices tell of themselves; see `Telemetry.happened`."""
        if times and what in _COUNTED:
            self._counts[_COUNTED[what]] += times

    def fault(self, error: BaseException) -> None:
        """Add nothing: what it cost a turn is in the turn's own report."""

    def refused(self, what: Refused, code: str) -> None:
        """Add nothing: whoever is refused must not pull the flag."""

    def beaten(self, late_s: float) -> None:
        """Add nothing."""

    def take(self) -> Figures:
        """Return what was added since the last call."""
        counts, self._counts = self._counts, Counter()
        return Figures(counts)

    def start_anew(self) -> None:
        """Forget all; turns that run already will not count."""
        self._counts.clear()
        self._since_s = self._now()
