"""What the processes and Redis hold before and after: it must come back to where it was."""

import asyncio

from redis.asyncio import Redis

SHARE, KEYS_MORE, DESCRIPTORS_MORE = 1.05, 5, 3


class Ledger:
    """Figures of ``world`` at rest: keys, memory, file descriptors, tasks."""

    def __init__(self, world):
        self._world = world
        self._base = {}
        self._keys = 0

    async def open_keys(self):
        """Count the keys to compare with: before the first turn."""
        self._keys = (await self._figures())["keys"]

    async def open(self):
        """Take all other figures: after some turns, when everything was used once."""
        self._base = {**await self._figures(), "keys": self._keys}

    async def close(self, patience_s):
        """Return name -> "before -> after", once the keys are back or ``patience_s`` is over."""
        now = asyncio.get_running_loop().time
        ends_s = now() + patience_s
        figures = await self._figures()
        while figures["keys"] > self._limit("keys") and now() < ends_s:
            await asyncio.sleep(1.0)
            figures = await self._figures()
        told = {name: f"{self._base[name]} -> {value}" for name, value in figures.items()}
        bounded = figures.keys() - {"inboxes MB"}  # they are capped, and go with their nodes
        over = sorted(name for name in bounded if figures[name] > self._limit(name))
        return {**told, "over": over}

    def _limit(self, name):
        more = {"keys": KEYS_MORE, "descriptors": DESCRIPTORS_MORE}.get(name, 0)
        return self._base[name] * SHARE + more

    async def _figures(self):
        nodes = await asyncio.gather(*(node.figures() for node in self._world.nodes))
        async with Redis(port=self._world.redis.port) as redis:
            keys = [key async for key in redis.scan_iter(count=1000)]
            eternal = [key for key in keys if await redis.ttl(key) == -1]
            running = await redis.zcard("bridge:leases")
            inboxes = [key for key in keys if key.startswith(b"bridge:inbox:")]
            inbox_bytes = sum([await redis.memory_usage(key) or 0 for key in inboxes])
            redis_bytes = (await redis.info("memory"))["used_memory"] - inbox_bytes
        return {
            "keys": len(keys),
            "keys without TTL": len(eternal),
            "running turns": running,
            "descriptors": sum(each["descriptors"] for each in nodes),
            "tasks": sum(each["tasks"] for each in nodes),
            "memory MB": round(sum(each["memory_bytes"] for each in nodes) / 1e6, 1),
            "redis MB": round(redis_bytes / 1e6, 2),
            "inboxes MB": round(inbox_bytes / 1e6, 2),
        }
