"""Who is due when, to the second: nobody is looked at before their time."""

import heapq
import math
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

STALE_LIMIT = 64
"""So many seconds at which nobody is due any more may be kept, beside as many as there are others."""


class Due(Generic[K]):
    """Those who are due, each at a second; a fraction of one counts as the whole."""

    def __init__(self) -> None:
        self._at: dict[int, set[K]] = {}
        self._seconds: list[int] = []
        """A heap of the keys of `_at`, and of some that are gone."""

    def __len__(self) -> int:
        return sum(map(len, self._at.values()))

    def add(self, who: K, at_s: float | None) -> None:
        """Let ``who`` be due; None: never."""
        if at_s is None:
            return
        second = math.ceil(at_s)
        if second not in self._at:
            self._at[second] = set()
            heapq.heappush(self._seconds, second)
        self._at[second].add(who)

    def remove(self, who: K, at_s: float | None) -> None:
        """Let ``who`` be due no more at the time that was given to `add`; they may be gone already."""
        second = None if at_s is None else math.ceil(at_s)
        if second is None or second not in self._at:
            return
        self._at[second].discard(who)
        if not self._at[second]:
            del self._at[second]
            if len(self._seconds) > 2 * len(self._at) + STALE_LIMIT:
                self._seconds = sorted(self._at)

    def take(self, now_s: float) -> list[K]:
        """Remove those who are due by now, and return them."""
        due: list[K] = []
        while self._seconds and self._seconds[0] <= now_s:
            due += self._at.pop(heapq.heappop(self._seconds), ())
        return due
