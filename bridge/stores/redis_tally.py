"""The guard's figures in Redis: a hash for each twelfth of the window, to which every node adds.

A node adds once a second at most, and only if a turn ended meanwhile; one script adds and sums. There are
never more than `BUCKETS` + 1 hashes of an era, each of at most as many fields as there are figures, and all
expire behind the window.
"""

from bridge.figures import BUCKETS, NAMES, Figures
from bridge.redis_client import RedisClient


class RedisTally:
    """The figures of the nodes that share ``prefix``; ``node_id`` tells this one's from the others'."""

    def __init__(self, client: RedisClient, node_id: str, *, window_s: float, prefix: str) -> None:
        self._redis = client
        self._node_id = node_id
        self._bucket_ms = max(1, round(window_s * 1000 / BUCKETS))
        self._prefix = prefix

    async def add(self, era: str, number: int, figures: Figures) -> Figures:
        """Add, and return the sum; see `Tally.add`."""
        counts = [part for pair in figures.counts.items() for part in pair]
        where = (self._prefix, era, self._node_id, number, self._bucket_ms, BUCKETS)
        flat = await self._redis.run("tally", *where, *counts)
        sums = {name.decode(): int(count) for name, count in zip(flat[::2], flat[1::2], strict=True)}
        return Figures({name: count for name, count in sums.items() if name in NAMES})
