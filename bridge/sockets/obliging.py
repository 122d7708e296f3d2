"""Does what other servers want of this node's devices, in the order of their asking, and replies as values.

Every request has its reply, if need be an empty one: who asks counts them.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, assert_never

from bridge.node_answers import Acked, Counted, Done, Found, Ids, Named, Reply, Said
from bridge.node_cluster import (
    Disconnect,
    Emit,
    EmitWithAck,
    Join,
    Leave,
    Move,
    Request,
    ServerSideEmit,
    WantRooms,
    WantSockets,
)
from bridge.ports import Telemetry
from bridge.sockets.crowd import Crowd

DOING_LIMIT = 1000
"""So many replies and disconnections may be under way; beyond it they are left out."""

Answering = Callable[[Reply], Coroutine[Any, Any, None]]


class Obliging:
    """Does it with the ``crowd``, until `close`."""

    def __init__(self, crowd: Crowd, telemetry: Telemetry) -> None:
        self._crowd = crowd
        self._telemetry = telemetry
        self._doing: set[asyncio.Task[None]] = set()
        self._closed = False

    async def close(self) -> None:
        """End what is still being done."""
        self._closed = True
        for task in self._doing:
            task.cancel()
        await asyncio.gather(*self._doing, return_exceptions=True)

    async def do(self, wanted: Emit | Request, answer: Answering) -> None:
        """Do what is wanted, and have every reply to it given to ``answer``, beside what comes next."""
        if isinstance(wanted, Emit):
            self._crowd.emit(wanted)
            return
        said = await self._done(wanted, answer)
        if said is not None:
            self._see_to(answer(said))

    async def _done(self, request: Request, answer: Answering) -> Reply | None:
        match request:
            case WantSockets(to, whole):
                return Found(tuple(self._crowd.described(to))) if whole else Ids(tuple(self._crowd.sids(to)))
            case WantRooms():
                return Named(tuple(self._crowd.rooms()))
            case ServerSideEmit():
                return Said(None)
            case EmitWithAck():
                acked: Callable[[Any], None] = lambda said: self._see_to(answer(Acked((said,))))  # noqa: E731
                return Counted(self._crowd.emit_with_ack(request, acked))
            case Join() | Leave() | Disconnect():
                found = await self._moved(request)
                return Done() if request.alone and found else None
            case _:
                assert_never(request)

    async def _moved(self, request: Move) -> int:
        match request:
            case Join(to, rooms):
                return await self._crowd.join(to, rooms)
            case Leave(to, rooms):
                return self._crowd.leave(to, rooms)
            case Disconnect(to):
                sids = self._crowd.sids(to)
                for sid in sids:
                    self._see_to(self._crowd.disconnect(sid))
                return len(sids)
            case _:
                assert_never(request)

    def _see_to(self, doing: Coroutine[Any, Any, None]) -> None:
        """Have something done beside the listening, which it must not hold up."""
        if self._closed or len(self._doing) >= DOING_LIMIT:
            doing.close()
            return
        task = asyncio.create_task(doing)
        self._doing.add(task)
        task.add_done_callback(self._done_with)

    def _done_with(self, task: asyncio.Task[None]) -> None:
        self._doing.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            self._telemetry.fault(fault)
