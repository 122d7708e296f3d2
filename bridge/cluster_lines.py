"""How a message of `bridge.cluster_adapter` travels: over sharded channels, or over a stream and channels."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any

from bridge.cluster_adapter import in_fields, in_one_piece
from bridge.javascript import as_json_or_packed, packed
from bridge.node_cluster import UID, Channels
from bridge.redis_client import BACK_OFF_S, BLOCK_S, TROUBLE, Ear, Entry, RedisClient, entries_in

FOLLOW_S = 0.05
"""How often it is looked which rooms there are: so late is heard at first what is emitted to a new one."""
ENTRIES_AT_ONCE = 100

Reading = Callable[[], Any]
"""Reads a message that came. Raises `ClusterMalformed`."""


class ShardedLine:
    """One channel for all, one for each room; ``named`` gives the rooms of this node."""

    def __init__(
        self, client: RedisClient, channels: Channels, named: Callable[[], AbstractSet[Any]]
    ) -> None:
        self._redis = client
        self._channels = channels
        self._named = named
        self._always = (channels.to_all, channels.of_server(UID))
        self._ear = Ear(client, shards=self._always)

    async def channel(self) -> AsyncIterator[Reading]:
        """Give what is published, for as long as it is iterated; survives every loss of the connection."""
        async for _, data in self._ear.published():
            yield partial(in_one_piece, data)

    async def beside(self) -> AsyncIterator[Reading]:
        """Give nothing, but follow the rooms: no pattern catches their channels."""
        followed: AbstractSet[Any] = frozenset()
        while True:
            await asyncio.sleep(FOLLOW_S)
            named = self._named()
            if named != followed:
                followed = named
                rooms = (self._channels.of_server(str(room)) for room in named)
                await self._ear.follow(frozenset((*self._always, *rooms)))
        yield  # never reached: it makes this a generator

    async def say(self, uid: str, message: Mapping[str, Any]) -> None:
        """Say something to one server. Raises `ClusterMalformed` and `StoreUnavailable`."""
        channel, said = self._channels.of_server(uid), as_json_or_packed(message)
        await self._redis.call("SPUBLISH", channel, said)


class StreamsLine:
    """One stream for what is kept, channels for what is not."""

    def __init__(self, client: RedisClient, channels: Channels) -> None:
        self._redis = client
        self._line = client.waiting_line()
        self._channels = channels

    async def channel(self) -> AsyncIterator[Reading]:
        """Give what is published, for as long as it is iterated; survives every loss of the connection."""
        ear = Ear(self._redis, channels=(self._channels.to_all, self._channels.of_server(UID)))
        async for _, data in ear.published():
            yield partial(in_one_piece, data)

    async def beside(self) -> AsyncIterator[Reading]:
        """Give what is added to the stream from now on; what comes while the connection is cut comes late."""
        last, pause_s = b"", BACK_OFF_S[0]
        while True:
            try:
                last = last or await self._top()
                entries = await self._behind(last)
                pause_s = BACK_OFF_S[0]
            except TROUBLE:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, BACK_OFF_S[1])
                continue
            for last, values in entries:  # noqa: B007  (it is where the next read begins)
                fields = dict(zip(values[::2], values[1::2], strict=False))
                if fields.get(b"uid") != UID.encode():
                    yield partial(in_fields, fields)

    async def say(self, uid: str, message: Mapping[str, Any]) -> None:
        """Say something to one server. Raises `ClusterMalformed` and `StoreUnavailable`."""
        channel, said = self._channels.of_server(uid), packed(message)
        await self._redis.call("PUBLISH", channel, said)

    async def _top(self) -> bytes:
        top = await self._line.call("XREVRANGE", self._channels.prefix, "+", "-", "COUNT", 1)
        return bytes(top[0][0]) if top else b"0-0"

    async def _behind(self, last: bytes) -> list[Entry]:
        blocks = ("COUNT", ENTRIES_AT_ONCE, "BLOCK", round(BLOCK_S * 1000))
        return entries_in(await self._line.call("XREAD", *blocks, "STREAMS", self._channels.prefix, last))
