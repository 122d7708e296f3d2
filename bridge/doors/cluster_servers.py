"""The door for Node servers with ``createShardedAdapter`` or @socket.io/redis-streams-adapter.

They are heard and answered as those of `bridge.doors.node_servers` are; how a message travels is another in
each. Sources: those of `bridge.cluster_adapter`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

from bridge import cluster_adapter
from bridge.cluster_lines import Reading, ShardedLine, StreamsLine
from bridge.errors import ClusterMalformed, StoreUnavailable
from bridge.node_answers import Acked, Reply, Said
from bridge.node_cluster import Asking
from bridge.node_requests import number_in
from bridge.ports import Telemetry
from bridge.sockets.crowd import Crowd
from bridge.sockets.obliging import Obliging


class ClusterServers:
    """Listens for them while `run` runs.

    ``answered`` is given the number of a callback of the node ``uid``, and what a client of theirs answered.
    """

    def __init__(
        self,
        line: ShardedLine | StreamsLine,
        crowd: Crowd,
        telemetry: Telemetry,
        *,
        uid: str,
        answered: Callable[[int, tuple[Any, ...]], None],
    ) -> None:
        self.malformed = 0
        """How many of their messages could not be read."""
        self._line = line
        self._telemetry = telemetry
        self._uid = uid
        self._answered = answered
        self._obliging = Obliging(crowd, telemetry)

    async def run(self) -> None:
        """Listen until cancelled; survives every loss of the connection."""
        try:
            async with asyncio.TaskGroup() as group:
                for messages in (self._line.channel(), self._line.beside()):
                    group.create_task(self._listen(messages), name="cluster servers")
        finally:
            await self._obliging.close()

    async def _listen(self, messages: AsyncIterator[Reading]) -> None:
        async for read in messages:
            await self._take(read)

    async def _take(self, read: Reading) -> None:
        try:
            found = cluster_adapter.read(read())
            if found is None:
                return
            asking, wanted = found
            if not isinstance(wanted, Acked):
                await self._obliging.do(wanted, partial(self._reply, asking))
            elif (number := number_in(self._uid, asking.request_id)) is not None:
                self._answered(number, wanted.arguments)
        except ClusterMalformed:
            self.malformed += 1
        except Exception as fault:  # noqa: BLE001  (one bad message must not cost those behind it)
            self._telemetry.fault(fault)

    async def _reply(self, asking: Asking, said: Reply) -> None:
        if isinstance(said, Said) and not asking.request_id:
            return
        try:
            await self._line.say(asking.uid, cluster_adapter.reply(asking.request_id, said))
        except ClusterMalformed:
            self.malformed += 1
        except StoreUnavailable as error:
            self._telemetry.fault(error)
