"""The door for Node servers that share the Redis: our devices hear what they emit, what they ask is answered.

What other bridges ask in the same way is answered too, and their own answers to us are given on.

Who listens where they ask is counted among them, and one that does not answer makes their ``fetchSockets``
and ``serverSideEmit`` fail: so every request is answered, if need be with nothing.
"""

import asyncio
import contextlib
from functools import partial

from bridge import node_answers, node_cluster
from bridge.copies import Audience
from bridge.errors import ClusterMalformed, StoreUnavailable
from bridge.everywhere import Everywhere
from bridge.node_answers import Reply, Said
from bridge.node_cluster import UID, Asking, Channels, ServerSideEmit
from bridge.ports import Telemetry
from bridge.redis_client import Ear, RedisClient
from bridge.sockets.crowd import Crowd
from bridge.sockets.obliging import Obliging

LOOK_S = 1.0
"""How often it is looked whether Node servers are there."""
GONE_LOOKS = 5
"""So often in a row nobody was there before they are gone: behind a restart of Redis they are late."""


def ear_for(client: RedisClient, channels: Channels, uid: str) -> Ear:
    """Return what hears all that Node servers say to bridges, and to the node ``uid``."""
    own = (channels.response_to(UID), channels.response_to(uid))
    return Ear(client, (channels.of_rooms, channels.of_answers), (channels.to_all, channels.request, *own))


class NodeServers:
    """Listens for them while `run` runs; ``audience`` knows whether they are there, if we ``look``."""

    def __init__(
        self,
        client: RedisClient,
        channels: Channels,
        crowd: Crowd,
        audience: Audience,
        telemetry: Telemetry,
        *,
        everywhere: Everywhere,
        look: bool,
    ) -> None:
        self.malformed = 0
        """How many of their messages could not be read."""
        self._redis = client
        self._channels = channels
        self._crowd = crowd
        self._audience = audience
        self._telemetry = telemetry
        self._everywhere = everywhere
        self._looks = look
        self._unseen = 0
        self._request, self._response = channels.request.encode(), channels.response.encode()
        self._obliging = Obliging(crowd, telemetry)

    async def run(self) -> None:
        """Listen, and look, until cancelled; survives every loss of the connection."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._listen(), name="node servers")
                if self._looks:
                    group.create_task(self._look_on(), name="look for node servers")
        finally:
            await self._obliging.close()

    async def look(self) -> None:
        """Know whether Node servers are there: they alone listen for answers. Raises `StoreUnavailable`."""
        _, count = await self._redis.call("PUBSUB", "NUMSUB", self._channels.response)
        self._unseen = 0 if count else self._unseen + 1
        if count or self._unseen >= GONE_LOOKS:
            self._audience.there = count > 0

    async def _look_on(self) -> None:
        while True:
            with contextlib.suppress(StoreUnavailable):  # the heartbeat tells of it
                await self.look()
            await asyncio.sleep(LOOK_S)

    async def _listen(self) -> None:
        async for channel, data in ear_for(self._redis, self._channels, self._everywhere.uid).published():
            await self._take(channel, data)

    async def _take(self, channel: bytes, data: bytes) -> None:
        try:
            if channel == self._request:
                await self._answer(data)
            elif channel.startswith(self._response):
                self._everywhere.take(data)
            else:
                self._give(channel, data)
        except ClusterMalformed:
            self.malformed += 1
        except Exception as fault:  # noqa: BLE001  (one bad message must not cost those behind it)
            self._telemetry.fault(fault)

    def _give(self, channel: bytes, data: bytes) -> None:
        """Give an emit to the devices that it is for; most are for rooms that nobody here is in."""
        room = self._channels.room_in(channel.decode())
        if node_cluster.is_ours(data) or (room and not self._crowd.knows(room)):
            return
        emit = node_cluster.read_emit(data)
        if emit is not None:
            self._crowd.emit(emit)

    async def _answer(self, data: bytes) -> None:
        found = node_cluster.read_request(data)
        if found is None or found[0].uid == UID:
            return  # the other bridges know it from their inboxes
        asking, request = found
        if asking.uid == self._everywhere.uid and isinstance(request, ServerSideEmit):
            return  # it is for the others; of anything else this server answers for its own clients
        await self._obliging.do(request, partial(self._reply, asking))

    async def _reply(self, asking: Asking, said: Reply) -> None:
        if isinstance(said, Said) and not asking.request_id:
            return
        try:
            answer = node_answers.reply(asking.request_id, said)
        except ClusterMalformed:
            self.malformed += 1
        else:
            await self._publish(asking, answer, to_all=isinstance(said, Said))

    async def _publish(self, asking: Asking, answer: bytes, *, to_all: bool = False) -> None:
        """Answer the one that asked, on its own channel where it listens to that, else on the one of all."""
        own = self._channels.response_to(asking.uid) if asking.uid and not to_all else ""
        try:
            if not (own and await self._redis.call("PUBLISH", own, answer)):
                await self._redis.call("PUBLISH", self._channels.response, answer)
        except StoreUnavailable as error:
            self._telemetry.fault(error)
