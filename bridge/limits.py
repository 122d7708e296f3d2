"""Limits as values: token buckets, counts per key, and the wait before a call is made again.

Time and chance come in as arguments.
"""

from collections import Counter
from collections.abc import Hashable

AGAIN_AFTER_S = (0.1, 0.3)
"""A call is made again between these: what cut one cut the idle connections too, and a call into one of those
may be the only one there is."""


def again_after_s(chance: float) -> float:
    """Return how long to wait before a call is made again; ``chance``, in [0, 1), spreads those of many."""
    least_s, most_s = AGAIN_AFTER_S
    return least_s + (most_s - least_s) * chance


class TokenBucket:
    """Lets ``burst`` through at once and ``per_second`` in the long run; full at first."""

    __slots__ = ("_burst", "_left", "_per_second", "_seen_at_s")

    def __init__(self, per_second: float, burst: float, now_s: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._left = burst
        self._seen_at_s = now_s

    def take(self, now_s: float) -> bool:
        """Take one token; False when there is none."""
        self._fill(now_s)
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def full(self, now_s: float) -> bool:
        """Return whether nothing is taken from it, so that a new one would be as good."""
        self._fill(now_s)
        return self._left >= self._burst

    def _fill(self, now_s: float) -> None:
        self._left = min(self._burst, self._left + (now_s - self._seen_at_s) * self._per_second)
        self._seen_at_s = now_s


class TokenBuckets:
    """One bucket for each key. At most ``limit`` are kept: the one unused for longest is given up first."""

    def __init__(self, per_second: float, burst: float, *, limit: int = 100_000) -> None:
        self._per_second = per_second
        self._burst = burst
        self._limit = limit
        self._buckets: dict[Hashable, TokenBucket] = {}

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: Hashable, now_s: float) -> bool:
        """Take one token of ``key``; False when there is none."""
        bucket = self._buckets.pop(key, None) or TokenBucket(self._per_second, self._burst, now_s)
        self._buckets[key] = bucket  # the last of the dict is the one used last
        taken = bucket.take(now_s)
        self._forget(now_s)
        return taken

    def _forget(self, now_s: float) -> None:
        oldest = next(iter(self._buckets))
        if len(self._buckets) > self._limit or self._buckets[oldest].full(now_s):
            del self._buckets[oldest]


class Places:
    """Counts who is in, by key, up to ``limit`` each; keys that nobody holds take no memory."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken: Counter[Hashable] = Counter()

    def __len__(self) -> int:
        return len(self._taken)

    def free(self, key: Hashable) -> bool:
        """Return whether one more may come in."""
        return self._taken[key] < self._limit

    def take(self, key: Hashable) -> bool:
        """Let one in; False, and nothing changed, when all places are taken."""
        if not self.free(key):
            return False
        self._taken[key] += 1
        return True

    def leave(self, key: Hashable) -> None:
        """Let one out that was let in."""
        self._taken[key] -= 1
        if self._taken[key] <= 0:
            del self._taken[key]
