"""The door for Node servers that share the Redis: our devices hear what they emit, what they ask is answered.

What other bridges ask in the same way is answered too, and their own answers to us are given on.

Who listens where they ask is counted among them, and one that does not answer makes their ``fetchSockets``
and ``serverSideEmit`` fail: so every request is answered, if need be with nothing.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, assert_never

from bridge import node_cluster
from bridge.copies import Audience
from bridge.errors import ClusterMalformed, StoreUnavailable
from bridge.everywhere import Everywhere
from bridge.node_cluster import (
    UID,
    Asking,
    Channels,
    Disconnect,
    EmitWithAck,
    Join,
    Leave,
    Request,
    ServerSideEmit,
    WantRooms,
    WantSockets,
)
from bridge.ports import Telemetry
from bridge.redis_client import BACK_OFF_S, TROUBLE, Ear, RedisClient
from bridge.sockets.crowd import Crowd

LOOK_S = 1.0
"""How often it is looked whether Node servers are there."""
GONE_LOOKS = 5
"""So often in a row nobody was there before they are gone: behind a restart of Redis they are late."""
DOING_LIMIT = 1000
"""So many answers and disconnections may be under way; beyond it they are left out."""


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
        self._doing: set[asyncio.Task[None]] = set()
        self._closed = False

    async def run(self) -> None:
        """Listen, and look, until cancelled; survives every loss of the connection."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._listen(), name="node servers")
                if self._looks:
                    group.create_task(self._look_on(), name="look for node servers")
        finally:
            self._closed = True
            for task in self._doing:
                task.cancel()
            await asyncio.gather(*self._doing, return_exceptions=True)

    async def look(self) -> None:
        """Know whether Node servers are there: they alone listen for answers. Raises `StoreUnavailable`."""
        ask: Callable[[], Any] = partial(self._redis.commands.pubsub_numsub, self._channels.response)
        ((_, count),) = await self._redis.ask(ask)
        self._unseen = 0 if count else self._unseen + 1
        if count or self._unseen >= GONE_LOOKS:
            self._audience.there = count > 0

    async def _look_on(self) -> None:
        while True:
            with contextlib.suppress(StoreUnavailable):  # the heartbeat tells of it
                await self.look()
            await asyncio.sleep(LOOK_S)

    async def _listen(self) -> None:
        patterns = [self._channels.of_rooms, *self._channels.answers_to(UID, self._everywhere.uid)]
        ear = Ear(self._redis, patterns, [self._channels.to_all, self._channels.request])
        pause_s = BACK_OFF_S[0]
        while True:
            try:
                published = await ear.hear()
                pause_s = BACK_OFF_S[0]
            except TROUBLE:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, BACK_OFF_S[1])
                continue
            for channel, data in published:
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
        answer = await self._done(asking, request)
        if answer is not None:
            self._do(self._publish(asking, answer, to_all=isinstance(request, ServerSideEmit)))

    async def _done(self, asking: Asking, request: Request) -> bytes | None:
        """Do what was asked, in the order of the asking, and return the answer if one is awaited."""
        match request:
            case WantSockets(to, whole):
                sockets = self._crowd.described(to) if whole else self._crowd.sids(to)
                return node_cluster.sockets_answer(asking.request_id, sockets)
            case WantRooms():
                return node_cluster.rooms_answer(asking.request_id, self._crowd.rooms())
            case ServerSideEmit():
                known = asking.request_id
                return node_cluster.server_side_answer(known) if known else None
            case EmitWithAck():
                count = self._crowd.emit_with_ack(request, partial(self._acked, asking))
                return node_cluster.count_answer(asking.request_id, count)
            case Join() | Leave() | Disconnect():
                found = await self._moved(request)
                return node_cluster.done_answer(asking.request_id) if request.alone and found else None
            case _:
                assert_never(request)

    async def _moved(self, request: Join | Leave | Disconnect) -> int:
        match request:
            case Join(to, rooms):
                return await self._crowd.join(to, rooms)
            case Leave(to, rooms):
                return self._crowd.leave(to, rooms)
            case Disconnect(to):
                sids = self._crowd.sids(to)
                for sid in sids:
                    self._do(self._crowd.disconnect(sid))
                return len(sids)
            case _:
                assert_never(request)

    def _acked(self, asking: Asking, said: Any) -> None:
        try:
            self._do(self._publish(asking, node_cluster.ack_answer(asking.request_id, said)))
        except ClusterMalformed:
            self.malformed += 1

    def _do(self, doing: Coroutine[Any, Any, None]) -> None:
        """Have something done beside the listening, which it must not hold up."""
        if self._closed or len(self._doing) >= DOING_LIMIT:
            doing.close()
            return
        task = asyncio.create_task(doing)
        self._doing.add(task)
        task.add_done_callback(self._did)

    def _did(self, task: asyncio.Task[None]) -> None:
        self._doing.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            self._telemetry.fault(fault)

    async def _publish(self, asking: Asking, answer: bytes, *, to_all: bool = False) -> None:
        """Answer the one that asked, on its own channel where it listens to that, else on the one of all."""
        publish = self._redis.commands.publish
        try:
            if asking.uid and not to_all:
                own = self._channels.response_to(asking.uid)
                if await self._redis.ask(lambda: publish(own, answer)):
                    return
            await self._redis.ask(lambda: publish(self._channels.response, answer))
        except StoreUnavailable as error:
            self._telemetry.fault(error)
